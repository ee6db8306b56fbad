"""Opening images with their pixel sizes, units, axes and channels."""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Sequence
from dataclasses import replace
from importlib.resources import as_file, files
from itertools import cycle, islice
from pathlib import Path
from tokenize import TokenError
from typing import Any

import numpy as np
from napari.layers import Image
from napari.utils.notifications import show_info

from napari_zssr.errors import ComputeError, InputError
from napari_zssr.plugin.layers.layers import (
    ATTRIBUTION,
    KEY,
    layer_channels,
    layer_stack,
    taken,
)
from napari_zssr.plugin.layers.results import lazy_planes, zarr_arrays
from napari_zssr.plugin.layers.selection import level0
from napari_zssr.stack.image import Channel, ImageStack, is_lazy, load_pixels

# Of a file with more only the largest one is opened.
MOST_IMAGES = 8
# Of a TIFF that is larger only the planes that are shown are read.
LOADED_BYTES = 2**30


def read_images(path: Path) -> list[list[ImageStack]]:
    """Read all images of a file, or the largest where there are very many.

    What was assumed of them, and why one is left out, is shown in napari.

    Parameters
    ----------
    path : Path
        File, or the folder of a Zarr image.

    Returns
    -------
    list of list of ImageStack
        The levels of each image, as `read_levels` gives them.

    Raises
    ------
    InputError
        None of them can be read.
    """
    from napari_zssr.io.read import list_images

    entries = list_images(path)
    several = 1 < len(entries) <= MOST_IMAGES
    images: list[list[ImageStack]] = []
    refused: list[InputError] = []
    for index in [entry.index for entry in entries] if several else [None]:
        try:
            images.append(read_levels(path, index, loaded_bytes=LOADED_BYTES))
        except InputError as error:
            refused.append(error)
    if not images:
        raise refused[0]
    messages = [message for levels in images for message in levels[0].messages]
    for message in dict.fromkeys([*messages, *map(str, refused)]):
        show_info(message)
    return images


def read_levels(
    path: Path, image: int | None = None, *, loaded_bytes: int = 0
) -> list[ImageStack]:
    """Levels of an image, the full resolution first, all of them described as it is.

    Parameters
    ----------
    path : Path
        File, or the folder of a Zarr image.
    image : int, optional
        Which one of several; the largest unless given.
    loaded_bytes : int
        Pixels that need no more are loaded; those of Zarr and others are dask arrays.

    Raises
    ------
    InputError
        It cannot be read.
    """
    from napari_zssr.io.read import read

    stack = read(path, image=image, lazy=True, labels=path.is_dir())
    if path.is_dir():
        arrays = zarr_arrays(path, stack.image_index)
        return [replace(stack, data=array) for array in arrays]
    size = math.prod(stack.data.shape) * stack.data.dtype.itemsize
    lazy = size > loaded_bytes and is_lazy(stack.data)
    return [
        replace(stack, data=lazy_planes(stack) if lazy else load_pixels(stack.data))
    ]


LayerData = tuple[Any, dict[str, Any], str]
Reader = Callable[[Any], list[LayerData]]

_ENDINGS = {".tif", ".tiff"}
_STARTS = {b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"}
_ZARR = ("zarr.json", ".zattrs", ".zarray", ".zgroup")
_SECONDS = {"us": 1e-6, "ms": 1e-3, "min": 60.0, "h": 3600.0, "d": 86400.0}


def read_image(path: str | Path | Sequence[str | Path]) -> Reader | None:
    """Find the reader of a TIFF or of an OME-Zarr image.

    Parameters
    ----------
    path : str or Path
        A file, the folder of a Zarr image, or the ``zarr.json`` or ``.zattrs`` in it.
        A list of several, to be stacked, is not read here.

    Returns
    -------
    callable or None
        Gives one layer for each channel of each image in the file, or labels: of Zarr
        lazy ones with all levels, of a large TIFF lazy ones. It raises InputError for
        a damaged file. None for what is no such image, and for masks and complex
        numbers, which can be looked at but not enlarged.
    """
    listed = [path] if isinstance(path, str | Path) else list(path)
    source = _image(Path(listed[0])) if len(listed) == 1 else None
    if source is None:
        return None

    def layers(_: Any) -> list[LayerData]:
        images = read_images(source)
        return [layer for levels in images for layer in _multiscale_layers(levels)]

    return layers


def _image(path: Path) -> Path | None:
    """The file or Zarr folder to read, after a look at its first bytes only."""
    folder = path.parent if path.name in _ZARR else path
    if folder.is_dir():
        return folder if any((folder / mark).is_file() for mark in _ZARR) else None
    if path.name.lower().endswith(".companion.ome"):
        return path if path.is_file() else None
    fits = path.suffix.lower() in _ENDINGS and path.is_file()
    return path if fits and _holds_numbers(path) else None


def _holds_numbers(path: Path) -> bool:
    """Whether a file is a TIFF, neither of a mask nor of complex numbers."""
    import tifffile

    try:
        with path.open("rb") as file:
            if file.read(4) not in _STARTS:
                return False
        with tifffile.TiffFile(path) as tiff:
            dtype = tiff.pages.first.dtype
    except (OSError, ValueError, LookupError, struct.error):
        return True  # Damaged: the reader says how, and what helps.
    return dtype is None or dtype.kind in "iuf"


def _layers(stack: ImageStack) -> list[LayerData]:
    """One layer for each channel, each a view of the pixels."""
    kind = "labels" if stack.labels else "image"
    if stack.guessed:
        # Without labels a guess stays one, also in the form.
        place = _place(stack, stack.axes) | {"name": stack.name}
        place["metadata"] = taken(stack.channels, stack.image_index)
        del place["axis_labels"]
        return [(stack.data, _fitting(place, kind), kind)]
    many = "C" in stack.axes
    axes = "".join(letter for letter in stack.axes if letter not in "CYXS") + "YX"
    axes += "S" if "S" in stack.axes else ""
    order = [stack.axes.index(letter) for letter in ("C" if many else "") + axes]
    pixels: Any = stack.data
    data = pixels.transpose(order)
    images = list(data) if many else [data]
    place = _place(stack, axes)
    return [
        (image, _fitting(place | looks, kind), kind)
        for image, looks in zip(images, _looks(stack, len(images)), strict=True)
    ]


def lazy_layers(path: Path) -> list[LayerData]:
    """Layers of a file, none of its pixels read yet.

    Parameters
    ----------
    path : Path
        An OME-Zarr, whose levels become a multiscale layer, or a TIFF.

    Raises
    ------
    InputError
        It cannot be read.
    """
    return _multiscale_layers(read_levels(path))


def _multiscale_layers(levels: Sequence[ImageStack]) -> list[LayerData]:
    """Layers of an image, multiscale ones where it has several levels."""
    full, *coarser = [_layers(level) for level in levels]
    if not coarser:
        return full
    return [
        ([data for data, _, _ in of], of[0][1] | {"multiscale": True}, of[0][2])
        for of in zip(full, *coarser, strict=True)
    ]


def _fitting(attributes: dict[str, Any], kind: str) -> dict[str, Any]:
    """Attributes that a layer of that kind has; labels have colours of their own."""
    none = {"rgb", "colormap", "blending"} if kind == "labels" else set()
    return {key: value for key, value in attributes.items() if key not in none}


def _place(stack: ImageStack, axes: str) -> dict[str, Any]:
    """Scale, place, units and labels of the axes."""
    letters = axes.replace("S", "")
    sizes, starts, units = zip(*(_axis(stack, a) for a in letters), strict=True)
    return {
        "scale": list(sizes),
        "translate": list(starts),
        "units": list(units),
        "axis_labels": list(letters.lower()),
        "rgb": "S" in axes,
    }


def _axis(stack: ImageStack, letter: str) -> tuple[float, float, str]:
    """Size of a pixel, centre of the first one, and unit.

    Times are in seconds where their unit is known; napari knows no size by 1 and pixel.
    """
    at = stack.axes.index(letter)
    size, unit = stack.spacing[at] or 1.0, stack.units[at]
    start = stack.origin[at] if stack.origin else 0.0
    if letter == "T" and unit in _SECONDS:
        return size * _SECONDS[unit], start * _SECONDS[unit], "s"
    return size, start, _known_unit(unit)


def _known_unit(unit: str | None) -> str:
    """Unit as napari takes it, which refuses those that pint does not know."""
    import pint

    try:
        pint.application_registry.Unit(unit or "pixel")
    except (pint.PintError, TokenError, AssertionError, TypeError, ValueError):
        return "pixel"
    return unit or "pixel"


def _looks(stack: ImageStack, count: int) -> list[dict[str, Any]]:
    """Name, colour and blending of each layer."""
    told = [taken(stack.channels[n : n + 1], stack.image_index) for n in range(count)]
    named: list[dict[str, Any]] = [
        {"name": name, "metadata": how}
        for name, how in zip(_names(stack, count), told, strict=True)
    ]
    if "S" in stack.axes:
        return named
    maps = _colormaps(stack, count)
    coloured = count > 1 or maps != ["gray"]
    blending = {"blending": "additive"} if coloured else {}
    return [
        name | {"colormap": colormap} | blending
        for name, colormap in zip(named, maps, strict=True)
    ]


def _names(stack: ImageStack, count: int) -> list[str]:
    """Name of the file, and of the channel where there are several."""
    if count == 1:
        return [stack.name]
    told = [channel.name for channel in stack.channels] or [""] * count
    names = [name or f"channel {number}" for number, name in enumerate(told, 1)]
    # Our own files hold the names of layers, which start so already.
    return [
        name if name.startswith(stack.name) else f"{stack.name} {name}"
        for name in names
    ]


def _colormaps(stack: ImageStack, count: int) -> list[str]:
    """The file's colours; napari's usual ones where it has none but grey."""
    from napari.utils.colormaps.colormap_utils import CMYBGR, MAGENTA_GREEN

    told = [_hex(channel.color) for channel in stack.channels]
    if any(told):
        return [color or "gray" for color in told]
    usual = {1: ["gray"], 2: MAGENTA_GREEN}.get(count, CMYBGR)
    return list(islice(cycle(usual), count))


def _hex(color: int | None) -> str:
    """An OME colour as #rrggbb; empty for greys, which many programs always write."""
    if color is None:
        return ""
    packed = color.to_bytes(4, "big", signed=True)[:3]
    return f"#{packed.hex()}" if len(set(packed)) > 1 else ""


FullLayerData = tuple[Any, dict[str, Any], str]


def write_ome_tiff(path: str, layer_data: Sequence[FullLayerData]) -> list[str]:
    """Write image layers into one OME-TIFF: a layer as it is, several as channels.

    Parameters
    ----------
    path : str
        File ending in ``.ome.tif`` or ``.ome.tiff``; napari has asked whether it may
        be replaced.
    layer_data : sequence of (pixels, attributes, "image")
        As napari gives them.

    Returns
    -------
    list of str
        The file.

    Raises
    ------
    InputError
        The layers do not make one file, or the file cannot be written.
    ComputeError
        The disk is full or fails.
    """
    from napari_zssr.io.write import write

    layers = [Image(data, **attributes) for data, attributes, _ in layer_data]
    stack = _as_channels(layers) if len(layers) > 1 else _single(layers[0])
    written = write(path, stack, overwrite=True, provenance=_recipes(layers))
    return [str(written)]


def _single(layer: Image) -> ImageStack:
    stack = layer_stack(layer)
    many = "C" in stack.axes or "S" in stack.axes
    return stack if many else replace(stack, channels=(_channel(layer),))


def _as_channels(layers: Sequence[Image]) -> ImageStack:
    """Layers that lie on each other, as one image with a channel axis."""
    _check_alike(layers)
    stacks = [layer_stack(layer) for layer in layers]
    first = stacks[0]
    place = min(first.axes.index("Y"), first.axes.index("X"))
    return replace(
        first,
        data=np.stack([load_pixels(stack.data) for stack in stacks], axis=place),
        axes=f"{first.axes[:place]}C{first.axes[place:]}",
        spacing=(*first.spacing[:place], None, *first.spacing[place:]),
        units=(*first.units[:place], None, *first.units[place:]),
        channels=tuple(_channel(layer) for layer in layers),
        name=Path(first.source).stem or first.name,
    )


def _check_alike(layers: Sequence[Image]) -> None:
    first = layers[0]
    for layer in layers[1:]:
        for what, one, other in (
            ("shape", level0(first).shape, level0(layer).shape),
            ("type of pixels", first.dtype, layer.dtype),
            ("units", first.units, layer.units),
            ("axis labels", first.axis_labels, layer.axis_labels),
        ):
            if one != other:
                raise InputError(
                    f"Layers {first.name!r} and {layer.name!r} differ in {what} and "
                    "cannot be channels of one file; save them one by one."
                )
        if not _same_place(first, layer):
            raise InputError(
                f"Layers {first.name!r} and {layer.name!r} do not lie on each other "
                "and cannot be channels of one file; save them one by one."
            )
    if any(layer.rgb for layer in layers):
        raise InputError("RGB layers cannot be channels; save them one by one.")


def _same_place(one: Image, other: Image) -> bool:
    corners = np.vstack([np.zeros(one.ndim), np.eye(one.ndim)])
    return all(
        np.allclose(one.data_to_world(at), other.data_to_world(at)) for at in corners
    )


def _channel(layer: Image) -> Channel:
    """Name, colour and light; grey, which is no colour, stays unsaid."""
    told = layer_channels(layer)
    top = np.asarray(layer.colormap.map(np.ones(1)))[0]
    packed = bytes(round(255 * float(part)) for part in (*top[:3], 1.0))
    grey = len(set(packed[:3])) == 1
    color = None if grey else int.from_bytes(packed, "big", signed=True)
    light = told[0] if len(told) == 1 else Channel()
    return replace(light, name=layer.name, color=color)


def _recipes(layers: Sequence[Image]) -> dict[str, Any] | None:
    """Recipe of the layer, or recipes by the layers' names."""
    found = {
        layer.name: layer.metadata[KEY]
        for layer in layers
        if isinstance(layer.metadata.get(KEY), dict)
    }
    if not found or len(layers) == 1:
        return next(iter(found.values()), None)
    return {"program": "napari-zssr", "layers": found}


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
    from napari_zssr.io.read import read

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
