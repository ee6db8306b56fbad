"""The degradation A: HR father -> LR son.

A kernel is written as a short sum of separable ones (singular value decomposition),
each of which becomes, with the subsampling, one sparse matrix per axis.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from napari_zssr.imaging.kernel import sampled_kernel
from napari_zssr.imaging.resample import (
    Array,
    AxisOperator,
    AxisOperators,
    Pair,
    apply_axes,
    mirrored_index,
    output_size,
    resize_operator,
    sampling_operator,
)
from napari_zssr.kernelspec import KernelSpec

if TYPE_CHECKING:
    from torch import Tensor

Size = tuple[int, int]


class Degradation:
    """Blur and subsampling of planes of one size: a sum of maps along Y and X."""

    def __init__(self, terms: tuple[AxisOperators, ...]) -> None:
        self.terms = terms

    def degrade(self, hr_father: Tensor) -> Tensor:
        """A x: shape (..., Y, X) -> (..., Y/f, X/f)."""
        first, *rest = (apply_axes(hr_father, y, x) for y, x in self.terms)
        return sum(rest, first)

    def noise_gain(self, before: AxisOperators | None = None) -> float:
        """Share of white noise's variance that A leaves, after maps `before` it."""
        return _noise_gain(self.terms, before)


@lru_cache(maxsize=256)
def degradation(
    spec: KernelSpec, factors: Pair, size: Size, son_size: Size | None = None
) -> Degradation:
    """Degradation of fathers of a size (Y, X), by factors from 1 up.

    The kernel is convolved (not correlated) with the plane, with mirrored borders. Son
    pixel j lies at fine coordinate (j + 0.5) f - 0.5, for every kernel. `son_size` is
    ceil(size / factor) unless given.
    """
    if son_size is None:
        rows, columns = (
            output_size(n, 1 / f) for n, f in zip(size, factors, strict=True)
        )
        son_size = rows, columns
    axes = list(zip(size, factors, son_size, strict=True))
    if spec.kind == "bicubic":
        y, x = (resize_operator(n, 1 / f, m) for n, f, m in axes)
        return Degradation(((y, x),))
    # Sub-pixel position that all sons' centres share; 0 if they differ.
    phase_y, phase_x = (
        (f - 1) / 2 % 1 if float(f).is_integer() else 0 for f in factors
    )
    kernel = sampled_kernel(spec, (phase_y, phase_x))
    assert kernel is not None
    left, values, right = np.linalg.svd(kernel)
    rank = max(1, int((values > 1e-7 * values[0]).sum()))
    sample_y, sample_x = (
        sampling_operator(*axis, -phase)
        for axis, phase in zip(axes, (phase_y, phase_x), strict=True)
    )
    return Degradation(
        tuple(
            (
                sample_y @ _blur_operator(left[:, r] * values[r], size[0]),
                sample_x @ _blur_operator(right[r], size[1]),
            )
            for r in range(rank)
        )
    )


def degrade_array(
    image: NDArray[Any],
    spec: KernelSpec,
    factors: Pair,
    son_size: Size | None = None,
) -> NDArray[np.float64]:
    """`Degradation.degrade` for arrays of shape (..., Y, X), computed in float64."""
    import torch

    tensor = torch.from_numpy(np.ascontiguousarray(image, dtype=np.float64))
    size = tensor.shape[-2], tensor.shape[-1]
    operator = degradation(spec, factors, size, son_size)
    return operator.degrade(tensor).numpy()


def _blur_operator(weights: Array, size: int) -> AxisOperator:
    """Convolution along one axis with mirrored borders, centred on the middle tap."""
    radius = len(weights) // 2
    index = np.arange(size)[:, None] + np.arange(-radius, radius + 1)
    rows = np.repeat(np.arange(size), len(weights))
    values = np.tile(weights[::-1], size)
    columns = mirrored_index(index, size).ravel()
    return AxisOperator(sparse.coo_array((values, (rows, columns)), shape=(size, size)))


# Needed again with every new realisation of the noise.
@lru_cache(maxsize=256)
def _noise_gain(
    terms: tuple[AxisOperators, ...], before: AxisOperators | None
) -> float:
    gain: Any = 1.0
    for axis in (0, 1):
        matrices = [
            term[axis].matrix @ before[axis].matrix if before else term[axis].matrix
            for term in terms
        ]
        # Products of the rows of every two matrices, mean over the rows.
        flat = sparse.vstack(
            [matrix.tocsr().reshape((1, -1)) for matrix in matrices], format="csr"
        )
        gain = gain * ((flat @ flat.T).toarray() / matrices[0].shape[0])
    return float(gain.sum())
