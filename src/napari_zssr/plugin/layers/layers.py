"""Between napari's layers and images with named axes.

Only here does napari's `scale` become our `spacing`, and back.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Labels
from numpy.typing import NDArray

from napari_zssr.errors import InputError
from napari_zssr.plugin.layers.selection import WHOLE, Selection, level0
from napari_zssr.stack.axis_labels import (
    axis_letters,
    check_pixels,
    guess_axes,
    labelled,
    parse_axes,
    settle_axes,
    spacing_per_axis,
)
from napari_zssr.stack.image import Channel, ImageStack, in_um, short_unit, to_native

if TYPE_CHECKING:
    from napari.layers import Image

# Names in a layer's metadata.
CHANNELS = "napari_zssr_channels"
IMAGE = "napari_zssr_image"


def layer_channels(layer: Image) -> tuple[Channel, ...]:
    """What the layer's file has told of each channel; empty where that is nothing."""
    told = layer.metadata.get(CHANNELS)
    try:
        return tuple(Channel(**one) for one in told or ())
    except TypeError:  # Written by something else.
        return ()


def image_index(layer: Image) -> int | None:
    """Which image of its file a layer shows, where there are several."""
    index = layer.metadata.get(IMAGE)
    return index if isinstance(index, int) else None


def taken(channels: Sequence[Channel], image: int | None = None) -> dict[str, Any]:
    """Metadata of a layer, by which `layer_channels` and `image_index` know it."""
    # Name and colour are the layer's own.
    plain = [replace(channel, name="", color=None) for channel in channels]
    told = [{k: v for k, v in asdict(one).items() if v} for one in plain]
    known = {} if image is None else {IMAGE: image}
    return known | ({CHANNELS: told} if any(told) else {})


LABELS_REFUSED = (
    "Labels are not enlarged by networks, which would invent some; enlarge "
    "them with napari-zssr upscale --labels, or by upscale_labels(layer.data)."
)
# Names in a layer's metadata: of the recipe, and of whom an image comes from.
KEY = "napari_zssr"
ATTRIBUTION = "attribution"
KEPT = (ATTRIBUTION, CHANNELS)

_CARRIED = {"gamma", "blending", "opacity", "visible", "interpolation2d"}
_CARRIED |= {"interpolation3d", "depiction", "rendering", "projection_mode"}
_CARRIED_GREY = {"colormap", "contrast_limits", "attenuation", "iso_threshold"}


def layer_axes(layer: Image) -> tuple[str, bool]:
    """Letters of a layer's axes.

    Parameters
    ----------
    layer : Image

    Returns
    -------
    tuple of (str, bool)
        Letters of TCZYXS, and whether some were guessed. They come from the axis
        labels, from a recipe or ``axes`` in the metadata, or from the shape.

    Raises
    ------
    InputError
        Too many axes without a name.
    """
    samples = "S" if layer.rgb else ""
    labels = _letters(layer.axis_labels)
    for letters in (labels, *_from_metadata(layer.metadata)):
        if len(letters) == layer.ndim and _complete(letters):
            return letters + samples, False
    shape = level0(layer).shape[: layer.ndim]
    if layer.ndim == 2:
        return f"YX{samples}", False
    try:
        settled, _ = settle_axes(labels, shape, np.uint16)
    except InputError:
        settled = guess_axes(shape, np.uint16)
    return settled + samples, True


def layer_spacing(
    layer: Image, axes: str
) -> tuple[dict[str, float], dict[str, str | None]]:
    """Pixel size and its unit by axis letter, only where the layer tells.

    napari's scale of 1 in pixels says nothing; another scale in pixels has no unit.
    """
    spacing: dict[str, float] = {}
    units: dict[str, str | None] = {}
    for letter, size, unit in zip(
        axes[: layer.ndim], layer.scale, layer.units, strict=True
    ):
        told = str(unit) != "pixel"
        if letter in "TZYX" and (told or size != 1):
            spacing[letter] = abs(float(size))
            units[letter] = (short_unit(str(unit)) or str(unit)) if told else None
    return spacing, units


def layer_file(layer: Image) -> Path | None:
    """File that a layer was read from or written to, or None."""
    recipe = layer.metadata.get(KEY)
    written = recipe.get("file") if isinstance(recipe, Mapping) else None
    found = layer.source.path or written
    return Path(found) if found else None


def describe_axes(layer: Image, axes: str) -> str:
    """Axes, sizes and pixel size: ``Z 40 x Y 512 x X 512, 0.5 x 0.13 x 0.13 um``."""
    shape = level0(layer).shape
    sizes = [
        {3: "RGB", 4: "RGBA"}.get(size, f"S {size}") if letter == "S" else
        f"{letter} {size}"
        for letter, size in zip(axes, shape, strict=True)
    ]  # fmt: skip
    spacing, units = layer_spacing(layer, axes)
    space = [letter for letter in axes if letter in "ZYX" and letter in spacing]
    if len({units[letter] for letter in space}) == 1:
        unit = units[space[0]] or "(no unit)"
        told = [" x ".join(f"{spacing[a]:.4g}" for a in space) + f" {unit}"]
    else:
        told = [f"{a} {spacing[a]:.4g} {units[a] or '(no unit)'}" for a in space]
    if "T" in spacing:
        told.append(f"every {spacing['T']:.4g} {units['T'] or '(no unit)'}")
    return ", ".join([" x ".join(sizes), *(told or ["no pixel size"])])


def lazy_stack(
    layer: Image, axes: str | None = None, selection: Selection = WHOLE
) -> ImageStack:
    """Part of a layer as an image with named axes, its pixels not loaded.

    Parameters
    ----------
    layer : Image
        The finest level is taken of a multiscale layer.
    axes : str, optional
        One letter for each axis of the pixels; as `layer_axes` finds them otherwise.
    selection : Selection
        The part; every axis stays, also one that is left with a single pixel.

    Returns
    -------
    ImageStack
        Named like the layer. Its `data` are a view or a dask array.

    Raises
    ------
    InputError
        Axes, selection or the type of the pixels cannot be used, or they are labels.
    """
    if isinstance(layer, Labels):
        raise InputError(LABELS_REFUSED)
    data = level0(layer)
    found, guessed = layer_axes(layer) if axes is None else (axes, False)
    letters = parse_axes(found, data.ndim)
    part = _unloaded(data)[selection.slices(letters, data.shape)]
    spacing, units = layer_spacing(layer, letters)
    channels = layer_channels(layer)
    if "C" in letters and channels:
        channels = channels[selection.slices(letters, data.shape)[letters.index("C")]]
    stack = labelled(
        np.broadcast_to(np.zeros((), part.dtype), part.shape),
        axes=letters,
        spacing=spacing,
        units=units,
        channels=channels,
        name=layer.name,
        source=str(layer_file(layer) or ""),
    )
    return replace(stack, data=part, guessed=guessed)


def layer_stack(
    layer: Image, axes: str | None = None, selection: Selection = WHOLE
) -> ImageStack:
    """`lazy_stack` with the pixels of the selection loaded, and their checksum."""
    stack = lazy_stack(layer, axes, selection)
    data = to_native(check_pixels(stack.data))
    return replace(stack, data=data, checksum=_checksum(data))


def result_kwargs(
    layer: Image,
    axes: str,
    selection: Selection,
    factors: tuple[float, float],
    recipe: Mapping[str, Any],
) -> dict[str, Any]:
    """Arguments of ``viewer.add_image`` that lay a result exactly on its layer.

    Parameters
    ----------
    layer : Image
        The layer that was enlarged.
    axes : str
        Letters of its axes.
    selection : Selection
        The part of it that was enlarged.
    factors : tuple of float
        Enlargement along (Y, X).
    recipe : mapping
        What was done; kept in the metadata.

    Returns
    -------
    dict
        Name, place, units, axis labels and looks.
    """
    from napari.utils.transforms import CompositeAffine

    y, x = factors
    named = {"Y": y, "X": x}
    by_axis = np.array([named.get(letter, 1.0) for letter in axes[: layer.ndim]])
    # Centre of the first fine pixel, in pixels of the layer.
    first = selection.starts(axes)[: layer.ndim] + (1 - by_axis) / (2 * by_axis)
    to_world = CompositeAffine(
        layer.scale,
        layer.translate,
        rotate=layer.rotate,
        shear=layer.shear,
        ndim=layer.ndim,
    )
    carried = _CARRIED if layer.rgb else _CARRIED | _CARRIED_GREY
    return {key: getattr(layer, key) for key in carried} | {
        "name": f"{layer.name} x{y:g}" if x == y else f"{layer.name} x{y:g}x{x:g}",
        "rgb": layer.rgb,
        "multiscale": False,
        "scale": np.asarray(layer.scale) / by_axis,
        "translate": to_world(first),
        "rotate": np.array(layer.rotate),
        "shear": np.array(layer.shear),
        "affine": np.array(layer.affine.affine_matrix),
        "units": layer.units,
        "axis_labels": layer.axis_labels,
        "metadata": _credited(layer) | {KEY: dict(recipe)},
    }


def match_contrast_range(layer: Image, result: Image) -> None:
    """Let the contrast sliders of a result reach as far as those of its layer."""
    if not layer.rgb:
        result.contrast_limits_range = layer.contrast_limits_range


def _unloaded(data: Any) -> Any:
    """Pixels whose slices are not loaded before they are asked for."""
    if isinstance(data, np.ndarray) or hasattr(data, "dask"):
        return data
    from dask.array import from_array

    return from_array(data)  # type: ignore[no-untyped-call]


def _credited(layer: Image) -> dict[str, Any]:
    """What the metadata say of whom the image comes from and how it was taken."""
    return {k: v for k, v in layer.metadata.items() if k in KEPT}


def _checksum(pixels: NDArray[Any]) -> str:
    """SHA-256 of the pixels; 16 hexadecimal digits."""
    content = np.ascontiguousarray(pixels).data.cast("B")
    return hashlib.sha256(content).hexdigest()[:16]


def _letters(names: Sequence[Any]) -> str:
    """One letter for each name of an axis; samples are no axis of a layer."""
    return axis_letters(names).replace("S", "?")


def _complete(letters: str) -> bool:
    return "?" not in letters and {"Y", "X"} <= set(letters)


def _from_metadata(metadata: Mapping[str, Any]) -> list[str]:
    """Letters that an own recipe or a reader has left there, without samples."""
    recipe = metadata.get(KEY)
    source = recipe.get("input") if isinstance(recipe, Mapping) else None
    own = source.get("axes") if isinstance(source, Mapping) else None
    return [
        _letters(told.upper().replace("S", ""))
        for told in (own, metadata.get("axes"))
        if isinstance(told, str)
    ]


def has_spacing(layer: Image, axes: str) -> bool:
    """Whether a layer tells its pixel size along Y or X in a unit of length."""
    known, units = layer_spacing(layer, axes)
    return any(in_um(known.get(a), units.get(a)) is not None for a in "YX")


def set_spacing(layer: Image, axes: str, text: str) -> None:
    """Write a pixel size in micrometres to a layer.

    Parameters
    ----------
    layer : Image
    axes : str
        Letters of its axes.
    text : str
        One number for Y and X, or one for each of Z, Y and X in the layer's order.

    Raises
    ------
    InputError
        It is not understood.
    """
    space = "".join(letter for letter in axes if letter in "ZYX")
    try:
        numbers = [float(part) for part in text.split(",")]
    except ValueError:
        numbers = []
    if len(numbers) not in (1, len(space)):
        raise InputError(
            f"Pixel size {text!r} is not understood; give one number for Y and X, or "
            f"{len(space)} for {', '.join(space)}."
        )
    given = numbers[0] if len(numbers) == 1 else dict(zip(space, numbers, strict=True))
    sizes = spacing_per_axis(axes, given)[: layer.ndim]
    scale, units = list(layer.scale), list(layer.units)
    for axis, size in enumerate(sizes):
        if size is not None:
            scale[axis], units[axis] = size, "um"
    layer.scale, layer.units = scale, units
