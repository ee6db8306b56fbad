"""Which part of a layer is enlarged: a slice, what is in view, a rectangle."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_zssr.errors import InputError

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Image, Layer, Shapes

# Keeps 9.5 + 0.5 from becoming 10.000001, and a pixel from being added.
ROUNDING = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Part of a layer.

    Attributes
    ----------
    ranges : mapping of str to (int, int)
        Half-open pixel ranges by axis letter; an axis that is not named is whole.
    """

    ranges: Mapping[str, tuple[int, int]] = field(default_factory=dict)

    def slices(self, axes: str, shape: Sequence[int]) -> tuple[slice, ...]:
        """One slice for each axis.

        Raises
        ------
        InputError
            A range is empty, outside of the image, or of an axis that is not there.
        """
        _check_letters(self.ranges, axes)
        return tuple(
            slice(*_checked(letter, self.ranges.get(letter, (0, size)), size))
            for letter, size in zip(axes, shape, strict=True)
        )

    def shape(self, axes: str, shape: Sequence[int]) -> tuple[int, ...]:
        """Size of the part along each axis; raises as `slices` does."""
        return tuple(part.stop - part.start for part in self.slices(axes, shape))

    def starts(self, axes: str) -> tuple[int, ...]:
        """First pixel along each axis."""
        return tuple(self.ranges.get(letter, (0, 0))[0] for letter in axes)


WHOLE = Selection()


def current_slice(
    layer: Image, axes: str, point: Sequence[float], units: Any = None
) -> Selection:
    """Select the one position that is shown along T, Z and C.

    Parameters
    ----------
    layer : Image
    axes : str
        Letters of the layer's axes.
    point : sequence of float
        World coordinates, as in ``viewer.dims.point``.
    units : sequence of unit, optional
        Units of `point`, as in ``viewer.layers.extent.units``; the layer's own unless
        given.
    """
    place = _to_pixels(layer, point, units)
    ranges = {}
    for letter, at, size in _pixel_axes(layer, axes, place):
        if letter not in "YXS":
            index = min(max(round(at), 0), size - 1)
            ranges[letter] = (index, index + 1)
    return Selection(ranges=ranges)


def current_view(layer: Image, axes: str, viewer: ViewerModel) -> Selection:
    """Select the part of the current slice that the canvas shows.

    Raises
    ------
    InputError
        The layer is outside of the canvas, or the planes of its Y and X axes are not
        what is shown.
    """
    dims = viewer.dims
    shown = list(dims.displayed)[-2:]
    yx = [axes.index(letter) + dims.ndim - layer.ndim for letter in "YX"]
    if dims.ndisplay != 2 or sorted(shown) != sorted(yx):
        raise InputError(
            "The view does not show the Y and X axes in 2D; switch to 2D, or enlarge "
            "the whole slice."
        )
    middle = np.array(viewer.scene.camera.center[-2:])
    half = np.array(viewer.canvas.size) / (2 * viewer.scene.camera.zoom)
    corners = np.tile(np.array(dims.point, dtype=float), (4, 1))
    signs = ((-1, -1), (-1, 1), (1, -1), (1, 1))
    corners[:, shown] = [middle + half * sign for sign in signs]
    units = viewer.layers.extent.units
    pixels = np.array([_to_pixels(layer, corner, units) for corner in corners])
    plane = _box(layer, axes, pixels, "The layer lies outside of the view")
    return Selection(
        ranges={**current_slice(layer, axes, dims.point, units).ranges, **plane}
    )


def in_rectangle(layer: Image, axes: str, shapes: Shapes) -> Selection:
    """Select the box along Y and X around a shape: the selected, or the last one.

    Raises
    ------
    InputError
        There is no shape, or it lies outside of the layer.
    """
    if not shapes.data:
        raise InputError(
            f"Shapes layer {shapes.name!r} is empty; draw a rectangle in it."
        )
    chosen = sorted(shapes.selected_data) or [len(shapes.data) - 1]
    vertices = np.asarray(shapes.data[chosen[-1]])
    world = [shapes.data_to_world(vertex) for vertex in vertices]
    pixels = np.array([_to_pixels(layer, at, shapes.units) for at in world])
    return Selection(
        ranges=_box(layer, axes, pixels, "The shape lies outside of the layer")
    )


def level0(layer: Image) -> Any:
    """Pixels of a layer at full resolution, as they are: perhaps lazy."""
    return layer.data[0] if layer.multiscale else layer.data


def _to_pixels(
    layer: Layer, position: Sequence[float] | NDArray[Any], units: Any
) -> NDArray[np.float64]:
    """World coordinates in some units to the pixel coordinates of a layer."""
    world = np.zeros(layer.ndim)
    count = min(layer.ndim, len(position))
    world[layer.ndim - count :] = position[len(position) - count :]
    if units is not None:
        count = min(count, len(units))
        for axis in range(-count, 0):
            world[axis] *= _ratio(units[axis], layer.units[axis])
    return np.asarray(layer.world_to_data(world), dtype=np.float64)


def _ratio(unit: Any, wanted: Any) -> float:
    """How many of one unit are in another; 1 where they cannot be compared."""
    if unit == wanted or unit.dimensionality != wanted.dimensionality:
        return 1.0
    return float((1 * unit).to(wanted).magnitude)


def _pixel_axes(
    layer: Image, axes: str, place: NDArray[Any]
) -> list[tuple[str, float, int]]:
    """Letter, coordinate and size of each axis that the layer's transform knows."""
    shape = level0(layer).shape[: layer.ndim]
    return list(zip(axes[: layer.ndim], map(float, place), shape, strict=True))


def _box(
    layer: Image, axes: str, pixels: NDArray[Any], outside: str
) -> dict[str, tuple[int, int]]:
    """Pixels along Y and X that a set of points (n, axes) encloses."""
    low, high = pixels.min(axis=0), pixels.max(axis=0)
    sizes = dict(zip(axes, level0(layer).shape, strict=True))
    ranges = {}
    for letter in "YX":
        axis = axes.index(letter)
        start = max(math.floor(round(low[axis] + 0.5, ROUNDING)), 0)
        stop = min(math.ceil(round(high[axis] + 0.5, ROUNDING)), sizes[letter])
        if start >= stop:
            raise InputError(f"{outside}; move one onto the other.")
        ranges[letter] = (start, stop)
    return ranges


def _checked(letter: str, wanted: tuple[int, int], size: int) -> tuple[int, int]:
    start, stop = wanted
    if not 0 <= start < stop <= size:
        raise InputError(
            f"Pixels {start} to {stop} along {letter} cannot be used; the image has "
            f"{size} there, give a part of them."
        )
    return start, stop


def _check_letters(ranges: Mapping[str, Any], axes: str) -> None:
    extra = sorted(set(ranges) - set(axes))
    if extra:
        raise InputError(
            f"The selection names axis {extra[0]}, but the axes are {axes}; name only "
            "those."
        )
