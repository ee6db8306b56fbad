"""Intensities along a line that is drawn over original and result."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from napari.components import ViewerModel
from napari.layers import Shapes
from numpy.typing import NDArray
from scipy import ndimage

from napari_zssr.imaging.resample import Pair
from napari_zssr.plugin.check.subject import Subject
from napari_zssr.plugin.layers.aids import CHECK
from napari_zssr.plugin.layers.layers import to_pixels, unwrapped

MOST_POINTS = 2000
# Length of a new line as a share of the width of the image.
LENGTH = 0.5
YELLOW, LINE_NAME = "#ffd60a", "Check line"

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Profile:
    """Intensities along a line, all (points,); distances in the unit of the pixel."""

    distance: Array
    before: Array
    after: Array


def profile(
    original: NDArray[Any],
    result: NDArray[Any],
    ends: Array,
    factors: Pair,
    pixel: Pair,
) -> Profile:
    """Sample two planes along a line, linearly between pixels.

    Parameters
    ----------
    original, result : ndarray, shape (Y, X) and (ceil(f Y), ceil(f X))
    ends : ndarray, shape (2, 2)
        (Y, X) of both ends, pixels of the original.
    factors : pair of float
        Enlargement along (Y, X).
    pixel : pair of float
        Size of a pixel of the original.
    """
    start, end = ends
    fine = float(np.hypot(*((end - start) * factors)))
    count = min(max(2, math.ceil(fine) + 1), MOST_POINTS)
    share = np.linspace(0, 1, count)[:, None]
    points = start + share * (end - start)
    enlarged = (points + 0.5) * factors - 0.5
    return Profile(
        distance=share[:, 0] * float(np.hypot(*((end - start) * pixel))),
        before=_sampled(original, points),
        after=_sampled(result, enlarged),
    )


def _sampled(plane: NDArray[Any], points: Array) -> Array:
    """Intensities at points (n, 2); NaN outside."""
    inside = ((points >= -0.5) & (points <= np.array(plane.shape) - 0.5)).all(axis=1)
    values = ndimage.map_coordinates(
        plane, points.T, np.float64, order=1, mode="nearest"
    )
    return np.where(inside, values, np.nan)


def line_layer(viewer: ViewerModel) -> Shapes | None:
    """The topmost visible layer with a straight line in it."""
    for layer in reversed([unwrapped(layer) for layer in viewer.layers]):
        if isinstance(layer, Shapes) and layer.visible and _line_in(layer) is not None:
            return layer
    return None


def _line_in(shapes: Shapes) -> int | None:
    """Index of the selected line, or of the last one."""
    lines = [n for n, kind in enumerate(shapes.shape_type) if kind == "line"]
    chosen = [n for n in lines if n in shapes.selected_data]
    return next(iter([*chosen, *lines[::-1]]), None)


def ends_in(subject: Subject, shapes: Shapes) -> Array | None:
    """Ends (2, 2) of the line as (Y, X), pixels of the part that was enlarged."""
    number = _line_in(shapes)
    if number is None:
        return None
    world = [shapes.data_to_world(vertex) for vertex in shapes.data[number]]
    pixels = np.array([to_pixels(subject.original, at, shapes.units) for at in world])
    first = subject.selection.starts("YX")
    yx = [subject.axes.index(letter) for letter in "YX"]
    return np.asarray(pixels[:, yx] - first, dtype=np.float64)


def new_line(subject: Subject) -> Shapes | None:
    """A layer with a line across the middle; None unless Y and X are the last axes."""
    layer = subject.result
    if subject.axes[: layer.ndim][-2:] != "YX":
        return None
    y, x = layer.data.shape[layer.ndim - 2 : layer.ndim]
    position = np.zeros(layer.ndim)
    ends = []
    for share in ((1 - LENGTH) / 2, (1 + LENGTH) / 2):
        position[-2:] = y / 2, share * x
        ends.append(layer.data_to_world(position)[-2:])
    length = float(np.ptp(np.array(ends), axis=0).max())
    shapes = Shapes(
        [np.array(ends)],
        shape_type="line",
        name=LINE_NAME,
        edge_color=YELLOW,
        edge_width=length / 100,
        units=layer.units[-2:],
        opacity=1.0,
        metadata={CHECK: True},
    )
    shapes.selected_data = {0}
    return shapes
