"""Named axes: the planes that are learned, and sizes after enlargement.

The records and the labelling of bare arrays are offered here too.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_zssr.imaging.resample import output_size
from napari_zssr.stack.axis_guess import guess_axes, guess_message, settle_axes
from napari_zssr.stack.axis_labels import (
    NEAREST_ADVICE,
    Spacing,
    Units,
    check_pixels,
    labelled,
    parse_axes,
    relabelled,
    spacing_per_axis,
)
from napari_zssr.stack.axis_names import LETTERS, axis_letters
from napari_zssr.stack.records import Channel, ImageStack, PlaneIndex
from napari_zssr.stack.units import short_unit

__all__ = [
    "LETTERS",
    "NEAREST_ADVICE",
    "Channel",
    "ImageStack",
    "PlaneIndex",
    "Spacing",
    "Units",
    "axis_letters",
    "check_pixels",
    "from_cyx",
    "guess_axes",
    "guess_message",
    "labelled",
    "output_origin",
    "output_shape",
    "output_spacing",
    "parse_axes",
    "plane_axes",
    "planes",
    "relabelled",
    "settle_axes",
    "short_unit",
    "spacing_per_axis",
    "to_cyx",
]


def planes(stack_axes: str, shape: Sequence[int]) -> tuple[PlaneIndex, ...]:
    """List the planes of a stack in the order of its axes.

    Parameters
    ----------
    stack_axes : str
        Letters of the axes.
    shape : sequence of int
        Size along each axis.

    Returns
    -------
    tuple of PlaneIndex
        One for each T, Z and C; samples (S) stay inside the plane.
    """
    walked = [i for i, letter in enumerate(stack_axes) if letter not in "YXS"]
    listed = []
    for number, place in enumerate(np.ndindex(*(shape[i] for i in walked))):
        index: list[int | slice] = [slice(None)] * len(stack_axes)
        for axis, value in zip(walked, place, strict=True):
            index[axis] = value
        channel = dict(zip(walked, place, strict=True)).get(stack_axes.find("C"), 0)
        listed.append(PlaneIndex(number=number, index=tuple(index), channel=channel))
    return tuple(listed)


def plane_axes(axes: str) -> str:
    """Axes of one plane of a stack: Y and X, and S where there is one."""
    return "".join(letter for letter in axes if letter in "YXS")


def to_cyx(plane: NDArray[Any], axes_of_plane: str) -> NDArray[Any]:
    """Reorder a plane to (C, Y, X), its samples as channels.

    Parameters
    ----------
    plane : ndarray
        Axes Y and X in any order, S anywhere or missing.
    axes_of_plane : str
        Letters of those axes.
    """
    order = [axes_of_plane.index(letter) for letter in "SYX" if letter in axes_of_plane]
    moved = plane.transpose(order)
    return moved if "S" in axes_of_plane else moved[np.newaxis]


def from_cyx(plane: NDArray[Any], axes_of_plane: str) -> NDArray[Any]:
    """Inverse of `to_cyx`: from (C, Y, X) to the axes of the plane."""
    present = [letter for letter in "SYX" if letter in axes_of_plane]
    moved = plane if "S" in axes_of_plane else plane[0]
    return moved.transpose([present.index(letter) for letter in axes_of_plane])


def output_shape(
    shape: Sequence[int], axes: str, factors: tuple[float, float]
) -> tuple[int, ...]:
    """Size after enlargement: ceil(f n) along Y and X, the same elsewhere.

    Parameters
    ----------
    shape : sequence of int
        Size along each axis.
    axes : str
        Letters of the axes.
    factors : tuple of float
        Enlargement along (Y, X).
    """
    by_axis = _factor_per_axis(axes, factors)
    return tuple(output_size(n, f) for n, f in zip(shape, by_axis, strict=True))


def output_spacing(
    spacing: Sequence[float | None], axes: str, factors: tuple[float, float]
) -> tuple[float | None, ...]:
    """Pixel size after enlargement, L / f; unknown stays unknown."""
    by_axis = _factor_per_axis(axes, factors)
    return tuple(
        None if size is None else size / f
        for size, f in zip(spacing, by_axis, strict=True)
    )


def output_origin(
    spacing: Sequence[float | None], axes: str, factors: tuple[float, float]
) -> tuple[float, ...]:
    """Centre of the first output pixel, seen from that of the first input pixel.

    Returns
    -------
    tuple of float
        L (1 - f) / (2 f) in units of the input's spacing L (1 where it is unknown).
    """
    by_axis = _factor_per_axis(axes, factors)
    return tuple(
        0.0 if f == 1 else (1.0 if size is None else size) * (1 - f) / (2 * f)
        for size, f in zip(spacing, by_axis, strict=True)
    )


def _factor_per_axis(axes: str, factors: tuple[float, float]) -> tuple[float, ...]:
    named = dict(zip("YX", factors, strict=True))
    return tuple(named.get(letter, 1.0) for letter in axes)
