"""How sharp the edges of a plane are, direction by direction."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Array = NDArray[np.float32]

# Directions that a blur is looked at in, from Y towards X.
ANGLES = tuple(n * math.pi / 8 for n in range(8))
# Widths of the Gaussians that slopes are taken with, pixels.
SCALES = (0.4, 0.6, 0.9, 1.4, 2.1)
# The scale at which an edge is found.
FOUND_AT = 2
SHARES = (0.05, 0.15, 0.3, 0.5, 0.7)
LEAST_EDGES = 12
STEEP = 0.6
LEAST_SLOPE = 0.01
MARGIN = 4
RANGE = (0.005, 0.995)


def edge_features(plane: NDArray[Any]) -> Array:
    """What tells a blur along each direction, whatever the contrast.

    A slope taken at two scales falls with the width of the edge: for a step blurred by
    v, slopes at scales s and t relate as sqrt((t^2 + v) / (s^2 + v)). The sharpest
    edges of a scene tell what the optics have left of a step.

    Parameters
    ----------
    plane : ndarray, shape (Y, X)
        Any linear intensity.

    Returns
    -------
    ndarray, shape (8, features)
        Logarithms of how slopes at neighbouring scales relate, at shares of the
        edges (`SHARES`), sharpest first; NaN where there are too few edges.
    """
    values = plane.astype(np.float32)
    low, high = np.quantile(values[::2, ::2], RANGE)
    values = (values - low) / max(float(high - low), 1e-6)
    slopes = [_slopes(values, scale) for scale in SCALES]
    along_y, along_x = slopes[FOUND_AT]
    size = np.hypot(along_y, along_x)
    angle = np.arctan2(along_x, along_y)
    inner = (slice(MARGIN, -MARGIN), slice(MARGIN, -MARGIN))
    steep = size > max(float(np.quantile(size[inner], STEEP)), LEAST_SLOPE)
    rows = []
    for direction in ANGLES:
        y, x = math.cos(direction), math.sin(direction)
        seen = [np.abs(a * y + b * x) for a, b in slopes]
        away = np.abs((angle - direction + math.pi / 2) % math.pi - math.pi / 2)
        edges = steep & (away < 0.9 * math.pi / len(ANGLES))
        edges &= _crest(seen[FOUND_AT], y, x)
        rows.append(_row([s[inner] for s in seen], edges[inner]))
    return np.array(rows, dtype=np.float32)


def _slopes(values: Array, scale: float) -> tuple[Array, Array]:
    """Derivatives along Y and X of the smoothed plane."""

    def smoothed(plane: Array, axis: int, order: int) -> Array:
        made: Array = ndimage.gaussian_filter1d(
            plane, scale, axis=axis, order=order, truncate=3.5
        )
        return made

    return (
        smoothed(smoothed(values, 0, 1), 1, 0),
        smoothed(smoothed(values, 1, 1), 0, 0),
    )


def _crest(slope: Array, y: float, x: float) -> NDArray[np.bool_]:
    """Where a slope is the steepest along a direction."""
    kept: NDArray[np.bool_] = np.ones(slope.shape, dtype=bool)
    for sign in (1, -1):
        moved = ndimage.shift(
            slope, (-sign * y, -sign * x), order=1, mode="nearest", prefilter=False
        )
        kept &= slope >= moved
    return kept


def _row(slopes: list[Array], edges: NDArray[np.bool_]) -> list[float]:
    """Features of one direction."""
    pairs = list(pairwise(slopes))
    count = int(edges.sum())
    if count < LEAST_EDGES:
        return [math.nan] * (len(pairs) * len(SHARES))
    weights = slopes[FOUND_AT][edges].astype(np.float64)
    found = []
    for fine, coarse in pairs:
        ratio = np.log(fine[edges] / (coarse[edges] + 1e-6) + 1e-3)
        order = np.argsort(-ratio, kind="stable")
        share = np.cumsum(weights[order])
        places = np.searchsorted(share / share[-1], SHARES)
        found += [float(ratio[order[min(p, count - 1)]]) for p in places]
    return found
