"""The degradation A: HR father -> LR son, and its exact adjoint.

A kernel is written as a short sum of separable ones (singular value decomposition),
each of which becomes, with the subsampling, one sparse matrix per axis.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from napari_zssr.imaging.kernel import Array, Pair, sampled_kernel
from napari_zssr.imaging.resample import (
    AxisOperator,
    AxisOperators,
    _mirror,
    apply_axes,
    output_size,
    resize_operator,
    sampling_operator,
)
from napari_zssr.kernelspec import KernelSpec

if TYPE_CHECKING:
    from torch import Tensor

Size = tuple[int, int]


class Degradation:
    """Blur and subsampling of planes of one size.

    Parameters
    ----------
    terms : tuple of (AxisOperator, AxisOperator)
        Maps along Y and X; the degradation is the sum over the terms.
    """

    def __init__(self, terms: tuple[AxisOperators, ...]) -> None:
        self.terms = terms

    def degrade(self, hr_father: Tensor) -> Tensor:
        """A x: shape (..., Y, X) -> (..., Y/f, X/f)."""
        parts = [apply_axes(hr_father, y, x) for y, x in self.terms]
        return parts[0] if len(parts) == 1 else sum(parts[1:], parts[0])

    def degrade_adjoint(self, lr_son: Tensor) -> Tensor:
        """A' y: shape (..., Y/f, X/f) -> (..., Y, X), so that <Ax, y> = <x, A'y>."""
        parts = [apply_axes(lr_son, y.adjoint, x.adjoint) for y, x in self.terms]
        return parts[0] if len(parts) == 1 else sum(parts[1:], parts[0])

    def noise_gain(self, before: AxisOperators | None = None) -> float:
        """Variance of white noise after A, as a fraction of that at the start.

        Parameters
        ----------
        before : tuple of (AxisOperator, AxisOperator), optional
            Maps along Y and X that come before A.
        """
        return _noise_gain(self.terms, before)


@lru_cache(maxsize=256)
def degradation(
    spec: KernelSpec, factors: Pair, size: Size, son_size: Size | None = None
) -> Degradation:
    """Degradation of planes of a given size.

    Parameters
    ----------
    spec : KernelSpec
        The blur on the fine grid. Arrays are point spread functions: they are
        convolved (not correlated) with the plane, with mirrored borders.
    factors : tuple of float
        Subsampling along (Y, X), from 1 up.
    size : tuple of int
        Size (Y, X) of the father.
    son_size : tuple of int, optional
        Size of the son; ceil(size / factor) unless given.

    Returns
    -------
    Degradation
        Son pixel j looks at fine coordinate (j + 0.5) f - 0.5, for every kernel.
    """
    if son_size is None:
        son_size = tuple(  # type: ignore[assignment]
            output_size(n, 1 / f) for n, f in zip(size, factors, strict=True)
        )
    assert son_size is not None
    if spec.kind == "bicubic":
        along = [
            resize_operator(n, 1 / f, m)
            for n, f, m in zip(size, factors, son_size, strict=True)
        ]
        return Degradation(((along[0], along[1]),))
    phase = (_phase(factors[0]), _phase(factors[1]))
    kernel = sampled_kernel(spec, phase)
    assert kernel is not None
    return Degradation(_separable_terms(kernel, phase, factors, size, son_size))


def degrade_array(
    image: NDArray[Any], spec: KernelSpec, factors: Pair
) -> NDArray[np.float64]:
    """`Degradation.degrade` for arrays of shape (..., Y, X), computed in float64."""
    import torch

    tensor = torch.from_numpy(np.ascontiguousarray(image, dtype=np.float64))
    size = (tensor.shape[-2], tensor.shape[-1])
    result: NDArray[np.float64] = (
        degradation(spec, factors, size).degrade(tensor).numpy()
    )
    return result


def _phase(factor: float) -> float:
    """Sub-pixel place shared by all sons' centres; 0 when they differ."""
    return (factor - 1) / 2 % 1 if float(factor).is_integer() else 0.0


def _separable_terms(
    kernel: Array, phase: Pair, factors: Pair, size: Size, son_size: Size
) -> tuple[AxisOperators, ...]:
    left, values, right = np.linalg.svd(kernel)
    rank = max(1, int((values > 1e-7 * values[0]).sum()))
    sample = [
        sampling_operator(n, f, m, -p)
        for n, f, m, p in zip(size, factors, son_size, phase, strict=True)
    ]
    return tuple(
        (
            sample[0] @ _blur_operator(left[:, r] * values[r], size[0]),
            sample[1] @ _blur_operator(right[r], size[1]),
        )
        for r in range(rank)
    )


def _blur_operator(weights: Array, size: int) -> AxisOperator:
    """Convolution along one axis with mirrored borders, centred on the middle tap."""
    radius = len(weights) // 2
    index = np.arange(size)[:, None] + np.arange(-radius, radius + 1)
    rows = np.repeat(np.arange(size), len(weights))
    values = np.tile(weights[::-1], size)
    columns = _mirror(index, size).ravel()
    return AxisOperator(sparse.coo_array((values, (rows, columns)), shape=(size, size)))


# Asked for again with every redraw of the noise.
@lru_cache(maxsize=256)
def _noise_gain(
    terms: tuple[AxisOperators, ...], before: AxisOperators | None
) -> float:
    first = (None, None) if before is None else before
    y, x = (
        _products([_chain(term[axis], first[axis]) for term in terms])
        for axis in (0, 1)
    )
    return float((y * x).sum())


def _chain(operator: AxisOperator, before: AxisOperator | None) -> Any:
    return operator.matrix if before is None else operator.matrix @ before.matrix


def _products(maps: list[Any]) -> Array:
    """Products of the rows of every two maps, mean over the rows."""
    flat = sparse.vstack([one.tocsr().reshape((1, -1)) for one in maps], format="csr")
    products: Array = (flat @ flat.T).toarray() / maps[0].shape[0]
    return products
