"""Where a plane shows most, as a place for the first preview."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from napari_zssr.plugin.layers.layers import Ranges, level0
from napari_zssr.plugin.preview.scene import SIDE_PX
from napari_zssr.plugin.request import Request

# Pixels along each axis that are looked at, and of a lazy layer, that are read.
SAMPLED_PX, LARGEST_READ_PX = 512, 4096
# Against noise, standard deviation of a Gaussian in the pixels that are looked at.
SMOOTH_PX = 1.0
# Of places with nearly as much detail as the best one, the one nearest to the middle.
NEARLY = 0.9


def most_detailed(request: Request, region: Ranges) -> Ranges:
    """The pixel (Y, X) of a region around which a plane shows most detail.

    `region` holds pixels of the layer by axis letter, and the slice along T, Z and C.
    Where that would take long, or is too small to choose from, it is the region itself.
    """
    asked = request.selection.ranges
    limits = {a: _common(region[a], asked.get(a, region[a])) for a in "YX"}
    sizes = [stop - start for start, stop in limits.values()]
    data = level0(request.layer)
    lazy = not isinstance(data, np.ndarray)
    if max(sizes) <= SIDE_PX or (lazy and max(sizes) > LARGEST_READ_PX):
        return region
    step = math.ceil(max(sizes) / SAMPLED_PX)
    plane = _plane(request.axes, data, {**region, **limits}, step)
    y, x = _place(plane, max(1, SIDE_PX // step))
    top, left = limits["Y"][0] + step * y, limits["X"][0] + step * x
    return {**region, "Y": (top, top + 1), "X": (left, left + 1)}


def _common(one: tuple[int, int], other: tuple[int, int]) -> tuple[int, int]:
    """What two ranges share; the first where they share nothing."""
    start, stop = max(one[0], other[0]), min(one[1], other[1])
    return (start, stop) if start < stop else one


def _plane(axes: str, data: Any, region: Ranges, step: int) -> NDArray[np.float64]:
    """Every `step`-th pixel (Y, X) of a region, the mean of its colours."""
    index: list[Any] = []
    for letter in axes:
        if letter == "S":
            index.append(slice(None))
        elif letter in "YX":
            index.append(slice(*region[letter], step))
        else:
            index.append(region[letter][0])
    plane = np.nan_to_num(np.asarray(data[tuple(index)], dtype=np.float64))
    left = [letter for letter in axes if letter in "YXS"]
    if "S" in left:
        plane = plane.mean(axis=left.index("S"))
    return plane if axes.index("Y") < axes.index("X") else plane.T


def _place(plane: NDArray[np.float64], side: int) -> tuple[int, int]:
    """Middle of the square within a plane that has the steepest slopes.

    The variance of brightness would choose the edge of a bright part, not its texture.
    """
    slopes = ndimage.gaussian_gradient_magnitude(plane, SMOOTH_PX)
    detail = ndimage.uniform_filter(slopes**2, side)
    inner = tuple(
        slice(min(side, size) // 2, size - (min(side, size) - 1) // 2)
        for size in plane.shape
    )
    inside = detail[inner]
    good = np.argwhere(inside >= NEARLY * inside.max())
    away = np.linalg.norm(good - np.array(inside.shape) / 2, axis=1)
    y, x = good[away.argmin()]
    return int(y) + inner[0].start, int(x) + inner[1].start
