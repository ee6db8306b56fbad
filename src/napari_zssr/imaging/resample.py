"""Antialiased separable resampling by any factor per axis, and flips and rotations.

Weights are computed in numpy as sparse matrices and applied in torch, for resampling
and degradation.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction
from functools import lru_cache
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

if TYPE_CHECKING:
    import torch
    from torch import Tensor

# Output pixels that are computed together: on a processor the zeros beside the band
# cost time, on a GPU every launch does.
BLOCK, GPU_BLOCK = 128, 1024
LARGEST_STEP = 128

T = TypeVar("T")
Array = NDArray[np.float64]
Pair = tuple[float, float]
# Part of a plane: rows and columns, in whole pixels.
Window = tuple[slice, slice]


class AxisOperator:
    """Linear map along one axis: a sparse banded matrix, (n_out, n_in)."""

    def __init__(self, matrix: Any) -> None:
        self.matrix = sparse.csr_array(matrix)
        self._blocks: dict[Any, list[tuple[int, int, Tensor]]] = {}

    def __matmul__(self, other: AxisOperator) -> AxisOperator:
        return AxisOperator(self.matrix @ other.matrix)

    def blocks(
        self, device: torch.device, dtype: torch.dtype
    ) -> list[tuple[int, int, Tensor]]:
        """Dense weights of some output pixels each, with their input range."""
        key = (device, dtype)
        if key not in self._blocks:
            size = BLOCK if device.type == "cpu" else GPU_BLOCK
            self._blocks[key] = [
                _dense_block(self.matrix[start : start + size], device, dtype)
                for start in range(0, self.matrix.shape[0], size)
            ]
        return self._blocks[key]


AxisOperators = tuple[AxisOperator, AxisOperator]


def _dense_block(
    rows: Any, device: torch.device, dtype: torch.dtype
) -> tuple[int, int, Tensor]:
    import torch

    used = rows.indices
    first, last = (int(used.min()), int(used.max()) + 1) if used.size else (0, 1)
    dense = rows[:, first:last].toarray()
    return first, last, torch.as_tensor(dense, dtype=dtype).to(device)


def apply_axes(image: Tensor, along_y: AxisOperator, along_x: AxisOperator) -> Tensor:
    """Apply maps along Y and X, differentiably; (..., Y, X) -> (..., Y', X')."""
    return _apply_axis(_apply_axis(image, along_y, -2), along_x, -1)


def _apply_axis(image: Tensor, operator: AxisOperator, axis: int) -> Tensor:
    import torch

    n_out, n_in = operator.matrix.shape
    if image.shape[axis] != n_in:
        raise ValueError(f"axis {axis}: {image.shape[axis]} pixels, not {n_in}")
    blocks = operator.blocks(image.device, image.dtype)
    pieces = (
        part @ weights.T if axis == -1 else weights @ part
        for first, last, weights in blocks
        for part in [image.narrow(axis, first, last - first)]
    )
    if len(blocks) == 1:
        return next(pieces)
    if image.requires_grad:
        return torch.cat(list(pieces), dim=axis)
    # Unlike with torch.cat, only one piece at a time takes memory beside the result.
    shape = list(image.shape)
    shape[axis] = n_out
    result = image.new_empty(shape)
    start = 0
    for piece in pieces:
        result.narrow(axis, start, piece.shape[axis]).copy_(piece)
        start += piece.shape[axis]
    return result


def cubic(x: NDArray[np.floating]) -> NDArray[np.floating]:
    """Keys' cubic convolution kernel with a = -0.5 (Keys, IEEE TASSP 29, 1981)."""
    a = np.abs(x)
    inner = (1.5 * a - 2.5) * a * a + 1
    outer = ((-0.5 * a + 2.5) * a - 4) * a + 2
    return np.where(a <= 1, inner, np.where(a < 2, outer, 0.0))


def spread_starts(size: int, side: int, count: int) -> list[int]:
    """Starts of `count` windows of `side` pixels, evenly spread over `size` pixels."""
    return [round(n * max(0, size - side) / max(1, count - 1)) for n in range(count)]


def spread_evenly(items: Sequence[T], most: int) -> list[T]:
    """At most so many of the items, spread evenly over all."""
    count = min(most, len(items))
    return [items[(2 * n + 1) * len(items) // (2 * count)] for n in range(count)]


def output_size(size: int, factor: float) -> int:
    """Pixels after enlarging by `factor`: ceil(factor * size), safe from rounding."""
    return max(1, math.ceil(factor * size - 1e-6))


def whole_pixel_step(factor: float) -> int | None:
    """Fewest input pixels that make a whole number of output pixels, if any do."""
    fraction = Fraction(factor).limit_denominator(LARGEST_STEP)
    return fraction.denominator if abs(float(fraction) - factor) <= 1e-9 else None


def output_window(window: Window, factors: Pair) -> Window:
    """The part of the enlarged plane that a window of the input becomes."""
    rows, columns = (
        # Halves round up, so that a shift by whole output pixels changes nothing.
        slice(math.floor(part.start * f + 0.5), output_size(part.stop, f))
        for part, f in zip(window, factors, strict=True)
    )
    return rows, columns


def window_within(window: Window, outer: Window) -> Window:
    """The window, counted from the first pixel of another one."""
    rows, columns = (
        slice(part.start - whole.start, part.stop - whole.start)
        for part, whole in zip(window, outer, strict=True)
    )
    return rows, columns


@lru_cache(maxsize=256)
def resize_operator(
    size: int, factor: float, out_size: int | None = None
) -> AxisOperator:
    """Cubic resampling along one axis, antialiased when it shrinks; borders mirror.

    Output pixel j lies at (j + 0.5) / factor - 0.5. `out_size` is ceil(factor * size)
    unless given, and separate since the ratio of sizes is not exact for odd ones.
    """
    if out_size is None:
        out_size = output_size(size, factor)
    centers = (np.arange(out_size, dtype=np.float64) + 0.5) / factor - 0.5
    return AxisOperator(_cubic_matrix(size, centers, min(factor, 1.0)))


@lru_cache(maxsize=256)
def sampling_operator(
    size: int, factor: float, out_size: int, shift: float
) -> AxisOperator:
    """Cubic interpolation at (j + 0.5) * factor - 0.5 - shift, not antialiased.

    Plain subsampling if these positions are whole numbers.
    """
    centers = (np.arange(out_size, dtype=np.float64) + 0.5) * factor - 0.5 - shift
    return AxisOperator(_cubic_matrix(size, np.round(centers, 9), 1.0))


def resize(image: Tensor, factors: Pair, size: tuple[int, int] | None = None) -> Tensor:
    """Cubic resampling of (..., Y, X) as by MATLAB's ``imresize``.

    `factors` and `size` are (Y, X); the size is ceil(factor * size) unless given.
    """
    out_y, out_x = size if size is not None else (None, None)
    return apply_axes(
        image,
        resize_operator(image.shape[-2], factors[0], out_y),
        resize_operator(image.shape[-1], factors[1], out_x),
    )


def imresize(
    image: NDArray[Any],
    factors: Pair,
    size: tuple[int, int] | None = None,
) -> NDArray[Any]:
    """`resize` for arrays, computed in float64; shape (..., Y, X) -> (..., Y', X')."""
    import torch

    tensor = torch.from_numpy(np.ascontiguousarray(image, dtype=np.float64))
    return resize(tensor, factors, size).numpy()


def _cubic_matrix(size: int, centers: NDArray[np.floating], shrink: float) -> Any:
    """Sparse weights, (len(centers), size), of a cubic widened by 1 / shrink."""
    width = 4.0 / shrink
    taps = math.ceil(width) + 2
    left = np.floor(centers - width / 2).astype(np.int64)
    index = left[:, None] + np.arange(taps)
    weights = cubic((centers[:, None] - index) * shrink)
    weights /= weights.sum(axis=1, keepdims=True)
    rows = np.repeat(np.arange(len(centers)), taps)
    columns = mirrored_index(index, size).ravel()
    matrix = sparse.coo_array(
        (weights.ravel(), (rows, columns)), shape=(len(centers), size)
    ).tocsr()
    matrix.data[np.abs(matrix.data) < 1e-15] = 0
    matrix.eliminate_zeros()
    return matrix


def mirrored_index(index: NDArray[np.int64], size: int) -> NDArray[np.int64]:
    """Indices reflected at the borders, edge pixel repeated."""
    folded = np.mod(index, 2 * size)
    return np.asarray(np.minimum(folded, 2 * size - 1 - folded))


# The eight flips and rotations: bit 1 flips Y, bit 2 flips X, then bit 4 swaps them.
ALL = tuple(range(8))
SWAP = 4


def transform(image: Tensor, number: int) -> Tensor:
    """Flip and rotate the last two axes; (..., Y, X) -> (..., Y, X) or (..., X, Y)."""
    flipped = _flip(image, number)
    return flipped.transpose(-2, -1) if number & SWAP else flipped


def inverse_transform(image: Tensor, number: int) -> Tensor:
    """Undo `transform`."""
    return _flip(image.transpose(-2, -1) if number & SWAP else image, number)


def _flip(image: Tensor, number: int) -> Tensor:
    axes = [axis for bit, axis in ((1, -2), (2, -1)) if number & bit]
    return image.flip(axes) if axes else image


def symmetries(factors: Pair, kernel: Array | None) -> tuple[int, ...]:
    """Transforms under which the degradation does not change.

    Unequal factors exclude the swap of axes. `kernel` is the centred blur (Y, X);
    None stands for a symmetric one.
    """
    return tuple(
        n
        for n in ALL
        if (factors[0] == factors[1] or not n & SWAP)
        and (kernel is None or _is_symmetric(kernel, n))
    )


def _is_symmetric(kernel: Array, number: int) -> bool:
    import torch

    moved = transform(torch.tensor(kernel), number).numpy()
    return moved.shape == kernel.shape and bool(
        np.abs(moved - kernel).max() <= 2e-3 * np.abs(kernel).max()
    )
