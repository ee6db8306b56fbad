"""Blurs of the generated pairs, as weights on the fine grid."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from napari_zssr.zssr.pretrained import Ratio, bicubic_kernel

Array = NDArray[np.float64]
Draw = np.random.Generator

# Shares of the kinds of blur.
SHARES = {"bicubic": 0.45, "gaussian": 0.35, "sharp": 0.08, "blurred bicubic": 0.12}
# Largest variance of a Gaussian in square coarse pixels, by kind.
LARGEST = {"gaussian": 1.0, "sharp": 0.1, "blurred bicubic": 0.5}
# The same where the image is not enlarged: most optics blur by a pixel or less.
LARGEST_AT_1 = 2.25
# Across the axis that alone is enlarged there is no blur, or a little.
ACROSS, LARGEST_ACROSS = 0.3, 0.5
ISOTROPIC = 0.25


def taps(ratio: Ratio) -> tuple[int, int]:
    """Sides of the kernels along (Y, X): even along an axis of an even ratio."""
    y, x = (13 if r == 1 else 8 * r + r % 2 for r in ratio)
    return y, x


def random_kernel(draw: Draw, ratio: Ratio) -> Array:
    """One blur by chance.

    Returns
    -------
    ndarray, shape `taps`, sum 1
        Its middle is the middle of a coarse pixel.
    """
    kind = str(draw.choice(list(SHARES), p=list(SHARES.values())))
    if kind == "bicubic":
        return reduction_kernel(ratio)
    if ratio == (1, 1):
        return gaussian_kernel(_covariance(draw, LARGEST_AT_1), ratio)
    covariance = _covariance(draw, LARGEST[kind])
    if ratio[0] != ratio[1]:
        wide = draw.uniform(0, LARGEST[kind])
        across = draw.uniform(0, LARGEST_ACROSS) if draw.random() < ACROSS else 0.0
        covariance = np.diag([wide, across])
    scale = np.array(ratio, float)
    blur = gaussian_kernel(scale[:, None] * covariance * scale, ratio)
    if kind == "blurred bicubic":
        return _convolved(blur, reduction_kernel(ratio))
    return blur


def reduction_kernel(ratio: Ratio) -> Array:
    """Antialiased bicubic reduction as a blur, shape `taps`."""
    kernel = bicubic_kernel(ratio)
    margins = [(n - k) // 2 for n, k in zip(taps(ratio), kernel.shape, strict=True)]
    padded: Array = np.pad(kernel, [(m, m) for m in margins])
    return padded


def gaussian_kernel(covariance: Array, ratio: Ratio) -> Array:
    """Gaussian of a covariance (Y, X) in square fine pixels, shape `taps`."""
    lines = [_positions(n) for n in taps(ratio)]
    grid = np.stack(np.meshgrid(*lines, indexing="ij"))
    inverse = np.linalg.inv(covariance + 1e-3 * np.eye(2))
    weights = np.exp(-np.einsum("iyx,ij,jyx->yx", grid, inverse, grid) / 2)
    kernel: Array = weights / weights.sum()
    return kernel


def _covariance(draw: Draw, largest: float) -> Array:
    """Of a Gaussian turned anyhow: eigenvalues from 0 to `largest`."""
    turn = draw.uniform(0, math.pi)
    axes = np.array(
        [[math.cos(turn), -math.sin(turn)], [math.sin(turn), math.cos(turn)]]
    )
    spread = draw.uniform(0, largest, 2)
    if draw.random() < ISOTROPIC:
        spread[:] = spread[0]
    covariance: Array = axes @ np.diag(spread) @ axes.T
    return covariance


def _positions(count: int) -> Array:
    """Of a kernel's weights along one axis, fine pixels from its middle."""
    positions: Array = np.arange(count, dtype=np.float64) - (count - 1) / 2
    return positions


def _convolved(one: Array, other: Array) -> Array:
    """Convolution of two centred kernels, cut to their size.

    For even sides it would lie between the pixels, so that it is taken as of spectra
    about the middle.
    """
    y, x = (_waves(n) for n in one.shape)
    product = (y @ one @ x.T) * (y @ other @ x.T)
    back = [wave.conj().T / (2 * n) for wave, n in zip((y, x), one.shape, strict=True)]
    kernel = (back[0] @ product @ back[1].T).real
    whole: Array = kernel / kernel.sum()
    return whole


def _waves(count: int) -> NDArray[np.complex128]:
    """Fourier transform about the middle of so many weights, (2 count, count)."""
    phase = np.outer(np.fft.fftfreq(2 * count), _positions(count))
    waves: NDArray[np.complex128] = np.exp(-2j * np.pi * phase)
    return waves
