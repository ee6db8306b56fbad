"""Sample data of the plugin: the bundled images, with their attribution."""

from __future__ import annotations

from importlib.resources import as_file, files
from typing import Any

from napari.utils.notifications import show_info

from napari_zssr.errors import ComputeError
from napari_zssr.plugin._layers import ATTRIBUTION
from napari_zssr.stack.records import ImageStack

LayerData = tuple[Any, dict[str, Any], str]

_NEUBIAS = (
    "NEUBIAS training resources, https://github.com/NEUBIAS/training-resources, "
    "CC BY 4.0, https://creativecommons.org/licenses/by/4.0/"
)
_BEI_LIU = (
    "(c) 2019 Bei Liu, https://github.com/drbeiliu/DeepLearning, MIT licence; "
    "Jin et al., Nature Communications 11, 1934 (2020)"
)
# Nothing in the stack is brighter; by itself napari would show the whole of 8 bits.
MITOSIS_LIMITS = (0, 120)
_COLOURS = {"DNA": "bop blue", "microtubules": "bop orange", "actin": "green"}


def cells() -> list[LayerData]:
    """One cell in three channels, one layer each."""
    stack = _bundled("cells")
    show_info(f"Image from {_NEUBIAS}")
    return [
        _layer(
            stack,
            f"cells {channel.name}",
            _NEUBIAS,
            plane=number,
            colormap=_COLOURS[channel.name],
            blending="additive",
        )
        for number, channel in enumerate(stack.channels)
    ]


def mitosis() -> list[LayerData]:
    """Chromosomes of a dividing cell, a z-stack."""
    show_info(f"Image from {_NEUBIAS}")
    stack = _bundled("mitosis")
    return [_layer(stack, "mitotic plate", _NEUBIAS, contrast_limits=MITOSIS_LIMITS)]


def microtubules() -> list[LayerData]:
    """Microtubules by widefield microscopy, and below them the same field by SIM."""
    fine = _layer(_bundled("microtubules_sim"), "SIM reference", _BEI_LIU)
    coarse = _layer(_bundled("microtubules"), "microtubules", _BEI_LIU)
    show_info(f"Images {_BEI_LIU}")
    # Centre of the first 2 x 2 pixels of the reference.
    coarse[1]["translate"] = [step / 2 for step in fine[1]["scale"]]
    return [fine, coarse]


def _bundled(name: str) -> ImageStack:
    from napari_zssr.files import read

    resource = files("napari_zssr") / "data" / f"{name}.ome.tif"
    if not resource.is_file():
        raise ComputeError(
            f"The image {name!r} is missing from this installation; install "
            "napari-zssr again."
        )
    with as_file(resource) as path:
        return read(path)


def _layer(
    stack: ImageStack,
    name: str,
    attribution: str,
    *,
    plane: int | None = None,
    **looks: Any,
) -> LayerData:
    """Layer of a whole image, or of one plane along its first axis."""
    kept = slice(None) if plane is None else slice(1, None)
    place = {
        "name": name,
        "scale": [size or 1 for size in stack.spacing[kept]],
        "units": [unit or "pixel" for unit in stack.units[kept]],
        "axis_labels": list(stack.axes[kept].lower()),
        "metadata": {ATTRIBUTION: attribution},
    }
    data = stack.data if plane is None else stack.data[plane]
    return (data, place | looks, "image")
