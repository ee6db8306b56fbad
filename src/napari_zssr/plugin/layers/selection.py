"""The part of a layer to enlarge: the current slice, the view, a rectangle."""

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
    """Half-open pixel ranges by axis letter; an axis that is not named is whole."""

    ranges: Mapping[str, tuple[int, int]] = field(default_factory=dict)

    def slices(self, axes: str, shape: Sequence[int]) -> tuple[slice, ...]:
        """One slice for each axis; InputError for a range or axis the image lacks."""
        unknown = sorted(set(self.ranges) - set(axes))
        if unknown:
            raise InputError(
                f"The selection names axis {unknown[0]}, but the axes are {axes}; name "
                "only those."
            )
        slices = []
        for letter, size in zip(axes, shape, strict=True):
            start, stop = self.ranges.get(letter, (0, size))
            if not 0 <= start < stop <= size:
                raise InputError(
                    f"Pixels {start} to {stop} along {letter} cannot be used; the "
                    f"image has {size} there, give a part of them."
                )
            slices.append(slice(start, stop))
        return tuple(slices)

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
    """Select the index along T, Z and C at a point in world coordinates.

    `units` are those of the point; the layer's own unless given.
    """
    pixel = _to_pixels(layer, point, units)
    shape = level0(layer).shape[: layer.ndim]
    ranges = {}
    for letter, at, size in zip(axes[: layer.ndim], pixel, shape, strict=True):
        if letter not in "YXS":
            index = min(max(round(float(at)), 0), size - 1)
            ranges[letter] = (index, index + 1)
    return Selection(ranges=ranges)


def current_view(layer: Image, axes: str, viewer: ViewerModel) -> Selection:
    """Select the part of the current slice that the canvas shows.

    InputError where the layer is outside of the canvas, or Y and X are not displayed.
    """
    dims = viewer.dims
    displayed = list(dims.displayed)[-2:]
    yx = [axes.index(letter) + dims.ndim - layer.ndim for letter in "YX"]
    if dims.ndisplay != 2 or sorted(displayed) != sorted(yx):
        raise InputError(
            "The view does not show the Y and X axes in 2D; switch to 2D, or enlarge "
            "the whole slice."
        )
    center = np.array(viewer.scene.camera.center[-2:])
    half = np.array(viewer.canvas.size) / (2 * viewer.scene.camera.zoom)
    corners = np.tile(np.array(dims.point, dtype=float), (4, 1))
    signs = ((-1, -1), (-1, 1), (1, -1), (1, 1))
    corners[:, displayed] = [center + half * sign for sign in signs]
    units = viewer.layers.extent.units
    pixels = np.array([_to_pixels(layer, corner, units) for corner in corners])
    box = _bounding_box(layer, axes, pixels, "The layer lies outside of the view")
    current = current_slice(layer, axes, dims.point, units)
    return Selection(ranges={**current.ranges, **box})


def in_rectangle(layer: Image, axes: str, shapes: Shapes) -> Selection:
    """Select the box along Y and X around a shape: the selected, or the last one.

    InputError where there is no shape, or it lies outside of the layer.
    """
    if not shapes.data:
        raise InputError(
            f"Shapes layer {shapes.name!r} is empty; draw a rectangle in it."
        )
    index = max(shapes.selected_data, default=len(shapes.data) - 1)
    world = [shapes.data_to_world(vertex) for vertex in np.asarray(shapes.data[index])]
    pixels = np.array([_to_pixels(layer, at, shapes.units) for at in world])
    outside = "The shape lies outside of the layer"
    return Selection(ranges=_bounding_box(layer, axes, pixels, outside))


def level0(layer: Image) -> Any:
    """Pixels of a layer at full resolution, as they are: perhaps lazy."""
    return layer.data[0] if layer.multiscale else layer.data


def _to_pixels(
    layer: Layer, position: Sequence[float] | NDArray[Any], units: Any
) -> NDArray[np.float64]:
    """Convert a point in world coordinates to pixel coordinates of a layer."""
    world = np.zeros(layer.ndim)
    count = min(layer.ndim, len(position))
    world[layer.ndim - count :] = position[len(position) - count :]
    if units is not None:
        for axis in range(-min(count, len(units)), 0):
            world[axis] *= _unit_ratio(units[axis], layer.units[axis])
    return np.asarray(layer.world_to_data(world), dtype=np.float64)


def _unit_ratio(unit: Any, target: Any) -> float:
    """Factor from one pint unit to another; 1 where they are not comparable."""
    if unit == target or unit.dimensionality != target.dimensionality:
        return 1.0
    return float((1 * unit).to(target).magnitude)


def _bounding_box(
    layer: Image, axes: str, pixels: NDArray[Any], outside: str
) -> dict[str, tuple[int, int]]:
    """Pixel ranges along Y and X around points (n, axes), cut to the layer."""
    low, high = pixels.min(axis=0), pixels.max(axis=0)
    shape = level0(layer).shape
    ranges = {}
    for letter in "YX":
        axis = axes.index(letter)
        start = max(math.floor(round(low[axis] + 0.5, ROUNDING)), 0)
        stop = min(math.ceil(round(high[axis] + 0.5, ROUNDING)), shape[axis])
        if start >= stop:
            raise InputError(f"{outside}; move one onto the other.")
        ranges[letter] = (start, stop)
    return ranges
