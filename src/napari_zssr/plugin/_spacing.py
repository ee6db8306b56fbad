"""Giving a layer the pixel size that its file did not tell."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_zssr.errors import InputError
from napari_zssr.plugin._layers import layer_spacing
from napari_zssr.stack.axes import spacing_per_axis
from napari_zssr.stack.units import in_um

if TYPE_CHECKING:
    from napari.layers import Image


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
