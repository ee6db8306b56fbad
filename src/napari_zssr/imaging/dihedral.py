"""The eight flips and rotations of a plane, and their inverses.

A transform is a number 0..7: bit 0 flips Y, bit 1 flips X, bit 2 swaps Y and X, in
that order.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import Tensor

ALL = tuple(range(8))
SWAP = 4


def transform(image: Tensor, number: int) -> Tensor:
    """Flip and rotate the last two axes; (..., Y, X) -> (..., Y, X) or (..., X, Y)."""
    axes = [axis for bit, axis in ((1, -2), (2, -1)) if number & bit]
    flipped = image.flip(axes) if axes else image
    return flipped.transpose(-2, -1) if number & SWAP else flipped


def inverse(image: Tensor, number: int) -> Tensor:
    """Undo `transform`."""
    back = image.transpose(-2, -1) if number & SWAP else image
    axes = [axis for bit, axis in ((1, -2), (2, -1)) if number & bit]
    return back.flip(axes) if axes else back


def transform_array(image: NDArray[np.float64], number: int) -> NDArray[np.float64]:
    """`transform` of an array of shape (Y, X)."""
    image = image[::-1] if number & 1 else image
    image = image[:, ::-1] if number & 2 else image
    return image.T if number & SWAP else image


def symmetries(
    factors: tuple[float, float], kernel: NDArray[np.float64] | None
) -> tuple[int, ...]:
    """Transforms under which the degradation does not change.

    Parameters
    ----------
    factors : tuple of float
        Enlargement along Y and X; unequal ones exclude the swap of axes.
    kernel : ndarray, shape (Y, X), optional
        Centred blur; None is symmetric.
    """
    allowed = [n for n in ALL if factors[0] == factors[1] or not n & SWAP]
    if kernel is None:
        return tuple(allowed)
    return tuple(n for n in allowed if _unchanged(kernel, n))


def _unchanged(kernel: NDArray[np.float64], number: int) -> bool:
    moved = transform_array(kernel, number)
    if moved.shape != kernel.shape:
        return False
    return bool(np.abs(moved - kernel).max() <= 2e-3 * np.abs(kernel).max())
