"""Whether an image consists of areas of one value each, as labels and masks do."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

# Share of neighbouring pixels that are equal, of those that are no background.
EQUAL = 0.9
LEAST_PAIRS = 32
# Side of the middle part of a plane that is looked at.
WINDOW_PX = 384


def is_piecewise_constant(planes: Sequence[NDArray[Any]]) -> bool:
    """Whether nearly all neighbouring pixels of the objects are equal.

    Parameters
    ----------
    planes : sequence of ndarray, shape (Y, X)
        Some planes of a channel; of large ones the middle counts. Their most frequent
        value there is background.

    Returns
    -------
    bool
        False for real numbers, and where there are hardly any objects.
    """
    if planes[0].dtype.kind not in "iu":
        return False
    equal = pairs = 0
    for plane in map(_middle, planes):
        values, counts = np.unique(plane, return_counts=True)
        objects = plane != values[counts.argmax()]
        for axis in (0, 1):
            first, second = _neighbours(plane, axis)
            inside = np.logical_and(*_neighbours(objects, axis))
            pairs += int(inside.sum())
            equal += int((inside & (first == second)).sum())
    return pairs >= LEAST_PAIRS and equal >= EQUAL * pairs


def _middle(plane: NDArray[Any]) -> NDArray[Any]:
    rows, columns = (
        slice(max(0, (size - WINDOW_PX) // 2), (size + WINDOW_PX) // 2)
        for size in plane.shape
    )
    return plane[rows, columns]


def _neighbours(plane: NDArray[Any], axis: int) -> tuple[NDArray[Any], NDArray[Any]]:
    """All pixels but the last along an axis, and the ones after them."""
    along = plane if axis == 0 else plane.T
    return along[:-1], along[1:]
