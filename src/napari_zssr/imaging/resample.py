"""Antialiased separable resampling by any factor per axis.

Weights are computed in numpy as sparse matrices and applied by one torch function,
which serves resampling, degradation and their adjoints alike.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from fractions import Fraction
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

if TYPE_CHECKING:
    import torch
    from torch import Tensor

BLOCK = 128
LARGEST_QUANTUM = 128

# Part of a plane (Y, X), in whole pixels.
Window = tuple[slice, slice]


class AxisOperator:
    """Linear map along one axis.

    Parameters
    ----------
    matrix : scipy sparse array, shape (n_out, n_in)
        Banded weights.
    """

    def __init__(self, matrix: Any) -> None:
        self.matrix = sparse.csr_array(matrix)
        self._adjoint: AxisOperator | None = None
        self._blocks: dict[Any, list[tuple[int, int, Tensor]]] = {}

    @property
    def adjoint(self) -> AxisOperator:
        """The transposed map, (n_in, n_out)."""
        if self._adjoint is None:
            self._adjoint = AxisOperator(self.matrix.T)
            self._adjoint._adjoint = self  # noqa: SLF001
        return self._adjoint

    def __matmul__(self, other: AxisOperator) -> AxisOperator:
        return AxisOperator(self.matrix @ other.matrix)

    def blocks(
        self, device: torch.device, dtype: torch.dtype
    ) -> list[tuple[int, int, Tensor]]:
        """Dense pieces (first input, last input, weights), one per output block."""
        key = (device, dtype)
        if key not in self._blocks:
            self._blocks[key] = [
                _dense_block(self.matrix, start, device, dtype)
                for start in range(0, self.matrix.shape[0], BLOCK)
            ]
        return self._blocks[key]


AxisOperators = tuple[AxisOperator, AxisOperator]


def apply_axes(image: Tensor, along_y: AxisOperator, along_x: AxisOperator) -> Tensor:
    """Apply one linear map along Y and one along X.

    Parameters
    ----------
    image : Tensor, shape (..., Y, X)
        Any floating dtype and device; differentiable.
    along_y, along_x : AxisOperator
        Maps of shapes (Y', Y) and (X', X).

    Returns
    -------
    Tensor, shape (..., Y', X')
    """
    import torch

    for operator, axis in ((along_y, -2), (along_x, -1)):
        n_in = operator.matrix.shape[1]
        if image.shape[axis] != n_in:
            raise ValueError(f"axis {axis}: {image.shape[axis]} pixels, not {n_in}")
        pieces = _pieces(image, operator, axis)
        if image.requires_grad or operator.matrix.shape[0] <= BLOCK:
            listed = list(pieces)
            image = listed[0] if len(listed) == 1 else torch.cat(listed, dim=axis)
        else:
            image = _joined(pieces, operator.matrix.shape[0], axis)
    return image


def _pieces(image: Tensor, operator: AxisOperator, axis: int) -> Iterator[Tensor]:
    for first, last, weights in operator.blocks(image.device, image.dtype):
        part = image.narrow(axis, first, last - first)
        yield part @ weights.T if axis == -1 else weights @ part


def _joined(pieces: Iterator[Tensor], size: int, axis: int) -> Tensor:
    """Pieces side by side; unlike with `torch.cat` they do not all exist beside it."""
    out: Tensor | None = None
    done = 0
    for piece in pieces:
        if out is None:
            shape = list(piece.shape)
            shape[axis] = size
            out = piece.new_empty(shape)
        out.narrow(axis, done, piece.shape[axis]).copy_(piece)
        done += piece.shape[axis]
    assert out is not None
    return out


def cubic(x: NDArray[np.floating]) -> NDArray[np.floating]:
    """Keys' cubic convolution kernel with a = -0.5 (Keys, IEEE TASSP 29, 1981)."""
    a = np.abs(x)
    inner = (1.5 * a - 2.5) * a * a + 1
    outer = ((-0.5 * a + 2.5) * a - 4) * a + 2
    return np.where(a <= 1, inner, np.where(a < 2, outer, 0.0))


def spread_starts(size: int, side: int, count: int) -> list[int]:
    """Where windows of `side` pixels begin that are spread over `size` pixels."""
    room = max(0, size - side)
    return [round(n * room / max(1, count - 1)) for n in range(count)]


def output_size(size: int, factor: float) -> int:
    """Pixels after enlarging by `factor`: ceil(factor * size), safe from rounding."""
    return max(1, math.ceil(factor * size - 1e-6))


def whole_pixel_step(factor: float) -> int | None:
    """Smallest number of input pixels that is a whole number of output pixels."""
    fraction = Fraction(factor).limit_denominator(LARGEST_QUANTUM)
    if abs(float(fraction) - factor) > 1e-9:
        return None
    return fraction.denominator


def output_window(window: Window, factors: tuple[float, float]) -> Window:
    """The enlarged pixels (Y, X) that stand for a window of the input."""
    rows, columns = (
        # Halves go up, so that moving by whole output pixels changes nothing.
        slice(math.floor(part.start * f + 0.5), output_size(part.stop, f))
        for part, f in zip(window, factors, strict=True)
    )
    return rows, columns


def shifted_window(window: Window, offset: tuple[int, int]) -> Window:
    """The window, shifted by whole pixels (Y, X)."""
    rows, columns = (
        slice(part.start + by, part.stop + by)
        for part, by in zip(window, offset, strict=True)
    )
    return rows, columns


@lru_cache(maxsize=256)
def resize_operator(
    size: int, factor: float, out_size: int | None = None
) -> AxisOperator:
    """Cubic resampling along one axis, antialiased when it shrinks.

    Parameters
    ----------
    size : int
        Pixels of the input.
    factor : float
        Enlargement; below 1 it shrinks. Output pixel j sits at (j + 0.5)/factor - 0.5.
    out_size : int, optional
        Pixels of the output, ceil(factor * size) unless given. Factor and size are
        separate, since their ratio is not exact for odd sizes.

    Returns
    -------
    AxisOperator, shape (out_size, size)
        Rows sum to one; the border mirrors.
    """
    if out_size is None:
        out_size = output_size(size, factor)
    centers = (np.arange(out_size, dtype=np.float64) + 0.5) / factor - 0.5
    return AxisOperator(_cubic_matrix(size, centers, min(factor, 1.0)))


@lru_cache(maxsize=256)
def sampling_operator(
    size: int, factor: float, out_size: int, shift: float
) -> AxisOperator:
    """Cubic interpolation at (j + 0.5) * factor - 0.5 - shift, without antialiasing.

    A pure subsampling where these positions are whole numbers.
    """
    centers = (np.arange(out_size, dtype=np.float64) + 0.5) * factor - 0.5 - shift
    return AxisOperator(_cubic_matrix(size, np.round(centers, 9), 1.0))


def resize(
    image: Tensor, factors: tuple[float, float], size: tuple[int, int] | None = None
) -> Tensor:
    """Resample the last two axes with the cubic kernel, as MATLAB's ``imresize``.

    Parameters
    ----------
    image : Tensor, shape (..., Y, X)
    factors : tuple of float
        Enlargement along Y and X.
    size : tuple of int, optional
        Output size (Y', X'), ceil(factor * size) unless given.

    Returns
    -------
    Tensor, shape (..., Y', X')
    """
    out_y, out_x = size if size is not None else (None, None)
    return apply_axes(
        image,
        resize_operator(image.shape[-2], factors[0], out_y),
        resize_operator(image.shape[-1], factors[1], out_x),
    )


def imresize(
    image: NDArray[Any],
    factors: tuple[float, float],
    size: tuple[int, int] | None = None,
) -> NDArray[Any]:
    """`resize` for arrays, computed in float64; shape (..., Y, X) -> (..., Y', X')."""
    import torch

    tensor = torch.from_numpy(np.ascontiguousarray(image, dtype=np.float64))
    result: NDArray[Any] = resize(tensor, factors, size).numpy()
    return result


def _cubic_matrix(size: int, centers: NDArray[np.floating], shrink: float) -> Any:
    """Sparse (len(centers), size) weights of a cubic widened by 1 / shrink."""
    width = 4.0 / shrink
    taps = math.ceil(width) + 2
    left = np.floor(centers - width / 2).astype(np.int64)
    index = left[:, None] + np.arange(taps)
    weights = cubic((centers[:, None] - index) * shrink)
    weights /= weights.sum(axis=1, keepdims=True)
    rows = np.repeat(np.arange(len(centers)), taps)
    columns = _mirror(index, size).ravel()
    matrix = sparse.coo_array(
        (weights.ravel(), (rows, columns)), shape=(len(centers), size)
    ).tocsr()
    matrix.sum_duplicates()
    matrix.data[np.abs(matrix.data) < 1e-15] = 0
    matrix.eliminate_zeros()
    return matrix


def _mirror(index: NDArray[np.int64], size: int) -> NDArray[np.int64]:
    """Indices reflected about the border, edge pixel repeated."""
    folded = np.mod(index, 2 * size)
    mirrored: NDArray[np.int64] = np.minimum(folded, 2 * size - 1 - folded)
    return mirrored


def _dense_block(
    matrix: Any, start: int, device: torch.device, dtype: torch.dtype
) -> tuple[int, int, Tensor]:
    import torch

    rows = matrix[start : start + BLOCK]
    used = rows.indices
    first, last = (int(used.min()), int(used.max()) + 1) if used.size else (0, 1)
    dense = rows[:, first:last].toarray()
    return first, last, torch.as_tensor(dense, dtype=dtype).to(device)


ALL = tuple(range(8))
SWAP = 4


def transform(image: Tensor, number: int) -> Tensor:
    """Flip and rotate the last two axes; (..., Y, X) -> (..., Y, X) or (..., X, Y)."""
    axes = [axis for bit, axis in ((1, -2), (2, -1)) if number & bit]
    flipped = image.flip(axes) if axes else image
    return flipped.transpose(-2, -1) if number & SWAP else flipped


def inverse_transform(image: Tensor, number: int) -> Tensor:
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
    shifted_window = transform_array(kernel, number)
    if shifted_window.shape != kernel.shape:
        return False
    return bool(np.abs(shifted_window - kernel).max() <= 2e-3 * np.abs(kernel).max())
