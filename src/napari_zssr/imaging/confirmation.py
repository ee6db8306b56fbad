"""Whether the fine detail of a result is in data that the result has not used."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from napari_zssr.imaging.degrade import degrade_array
from napari_zssr.imaging.noise import NoiseModel
from napari_zssr.imaging.quality import BORDER_PX, Mask
from napari_zssr.imaging.resample import Array, Pair
from napari_zssr.kernelspec import KernelSpec

# Fine is what a Gaussian of this width removes; its strength is that of a window, and
# faint is what is weaker than so much of the noise. Input pixels.
FINE_PX, WINDOW_PX, FAINT = 3.0, 2.0, 0.5
# Side of the blocks whose scatter tells the error, and how many there must be.
BLOCK_PX, LEAST_BLOCKS = 32, 6


@dataclass(frozen=True, slots=True, kw_only=True)
class Confirmation:
    """Share of detail that other data of the same field contain.

    Attributes
    ----------
    share : float
        1 where the other data contain all of it, 0 where they contain nothing of it;
        above 1 where they contain more, since the result is too smooth.
    error : float
        Its standard error.
    """

    share: float
    error: float

    @property
    def text(self) -> str:
        """Share in percent, at most 100, with its error, at least 1."""
        error = max(1, round(100 * self.error))
        return f"{100 * min(self.share, 1):.0f} ± {error} %"


@dataclass(frozen=True, slots=True, kw_only=True)
class DetailConfirmation:
    """Confirmation of all fine detail of a result, and of what is faint.

    Each is None where there is too little to tell.
    """

    all: Confirmation | None
    faint: Confirmation | None

    @property
    def sentence(self) -> str:
        """How much is confirmed; empty where there is too little to tell."""
        if self.all is None:
            return ""
        of_faint = f"; of faint detail {self.faint.text}" if self.faint else ""
        return (
            f"The data were split into two halves with independent noise: "
            f"{self.all.text} of the fine detail made from one half is also in the "
            f"other half{of_faint}."
        )


def confirmed_detail(
    results: tuple[Array, Array],
    halves: tuple[Array, Array],
    noise: NoiseModel,
    kernel: KernelSpec,
    factors: Pair,
) -> DetailConfirmation:
    """Compare what was made of each half of an image with the other half.

    The noise of the halves is independent. So what was made of the noise of one
    correlates with nothing in the other, and of true detail the full amount does: the
    regression of the other half on the detail, weighted by the noise, is the share of
    it that is true. Halves are noisier than the image, so that more may be true of the
    result of all of it.

    Parameters
    ----------
    results : tuple of two ndarrays, shape (ceil(f Y), ceil(f X))
        What was made of each half, normalised.
    halves : tuple of two ndarrays, shape (Y, X)
        As of `thinned_halves`.
    noise : NoiseModel
        Of the image.
    kernel, factors
        By which results are reduced to the pixels of the image.

    Returns
    -------
    DetailConfirmation
    """
    signal = ndimage.gaussian_filter((halves[0] + halves[1]) / 2, FINE_PX)
    variance = noise.gain * signal.clip(0, 1) + noise.offset
    weight = 1 / np.maximum(variance, 1e-3 * noise.sigma() ** 2 + 1e-12)
    products, squares, faint = [], [], []
    for result, other in zip(results, halves[::-1], strict=True):
        size = other.shape[0], other.shape[1]
        shown = _fine(degrade_array(result, kernel, factors, size))
        strength = ndimage.gaussian_filter(shown**2 * weight, WINDOW_PX)
        products.append(_inner(shown * _fine(other) * weight))
        squares.append(_inner(shown**2 * weight))
        faint.append(_inner(strength) < FAINT**2)
    return DetailConfirmation(
        all=_share(products, squares, [np.ones_like(mask) for mask in faint]),
        faint=_share(products, squares, faint),
    )


def _fine(plane: Array) -> Array:
    return np.asarray(plane - ndimage.gaussian_filter(plane, FINE_PX))


def _inner(plane: Array) -> Array:
    return plane[BORDER_PX:-BORDER_PX, BORDER_PX:-BORDER_PX]


def _share(
    products: Sequence[Array], squares: Sequence[Array], chosen: Sequence[Mask]
) -> Confirmation | None:
    """Ratio of sums over what is chosen, with its error by the scatter of blocks."""
    above, below = (
        np.sum([_block_sums(p * m) for p, m in zip(parts, chosen, strict=True)], axis=0)
        for parts in (products, squares)
    )
    used = below > 0
    count = int(used.sum())
    if count < LEAST_BLOCKS:
        return None
    share = float(above.sum() / below.sum())
    scatter = (above - share * below)[used]
    error = math.sqrt(count / (count - 1) * float((scatter**2).sum()))
    return Confirmation(share=share, error=error / float(below.sum()))


def _block_sums(plane: Array) -> NDArray[np.float64]:
    rows, columns = (np.arange(0, n, BLOCK_PX) for n in plane.shape)
    return np.add.reduceat(np.add.reduceat(plane, rows, axis=0), columns, axis=1)
