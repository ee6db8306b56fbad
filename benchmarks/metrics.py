"""How close a result is to a reference: PSNR, SSIM, ring correlation, uniformity.

Everything is numpy, scipy and scikit-image: the figures do not depend on the engine.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from napari_zssr.errors import InputError
from napari_zssr.imaging import comparison

Array = NDArray[np.float64]
Window = Literal["hann", "none"]

_SSIM_RADIUS, _SSIM_SIGMA = 5, 1.5


def luma(image: NDArray[Any]) -> Array:
    """8-bit Y of MATLAB's ``rgb2ycbcr``, on which super-resolution is scored.

    Parameters
    ----------
    image : ndarray, shape (Y, X, 3 or 4) or (Y, X)
        RGB from 0 to 255; alpha is dropped. A grey image is its own luma.

    Returns
    -------
    ndarray, shape (Y, X)
        Whole numbers, 16 to 235 for RGB (ITU-R BT.601).

    Raises
    ------
    InputError
        Another shape.
    """
    values = np.asarray(image, dtype=np.float64)
    if values.ndim == 2:
        return np.round(values)
    if values.ndim != 3 or values.shape[-1] not in (3, 4):
        raise InputError(
            f"Luma needs shape (Y, X, 3) or (Y, X); found {values.shape}; put the RGB "
            "samples last."
        )
    weighted: Array = values[..., :3] @ np.array([65.481, 128.553, 24.966]) / 255
    luma_values: Array = np.round(weighted + 16)
    return luma_values


def psnr(
    result: NDArray[Any],
    target: NDArray[Any],
    *,
    peak: float = 255.0,
    shave: int | tuple[int, int] = 0,
) -> float:
    """Peak signal-to-noise ratio.

    Parameters
    ----------
    result, target : ndarray, shape (Y, X, ...)
        Images in the same units.
    peak : float
        Largest possible value, in those units.
    shave : int or tuple of int
        Pixels left out at each border along (Y, X).

    Returns
    -------
    float
        Decibels; infinite for equal images.

    Raises
    ------
    InputError
        The shapes differ.
    """
    _same_shape(result, target)
    a, b = shaved(target, shave), shaved(result, shave)
    if np.array_equal(a, b):
        return math.inf
    ratio: Any = peak_signal_noise_ratio
    return float(ratio(a, b, data_range=peak))


def ssim(
    result: NDArray[Any],
    target: NDArray[Any],
    *,
    peak: float = 255.0,
    shave: int | tuple[int, int] = 0,
) -> float:
    """Structural similarity (Wang et al., IEEE TIP 13, 2004).

    An 11 x 11 Gaussian window of sigma 1.5, K1 = 0.01, K2 = 0.03, averaged where the
    window lies whole inside the image.

    Parameters
    ----------
    result, target : ndarray, shape (Y, X)
        Images in the same units, at least 11 x 11 after the shave.
    peak : float
        Largest possible value, in those units.
    shave : int or tuple of int
        Pixels left out at each border along (Y, X).

    Returns
    -------
    float
        At most 1, for equal images.

    Raises
    ------
    InputError
        The shapes differ or the images are too small.
    """
    _same_shape(result, target)
    a, b = shaved(result, shave), shaved(target, shave)
    if a.ndim != 2 or min(a.shape) <= 2 * _SSIM_RADIUS:
        raise InputError(
            f"SSIM needs a plane of at least 11 x 11 pixels; found {a.shape}."
        )
    similarity: Any = structural_similarity
    return float(
        similarity(
            a,
            b,
            data_range=peak,
            gaussian_weights=True,
            sigma=_SSIM_SIGMA,
            use_sample_covariance=False,
        )
    )


def benchmark_scores(
    sr: NDArray[Any], hr: NDArray[Any], factors: tuple[float, float]
) -> tuple[float, float]:
    """PSNR and SSIM as the super-resolution literature reports them.

    On the 8-bit luma, a border of as many pixels as the factor left out on each axis.

    Parameters
    ----------
    sr, hr : ndarray, shape (Y, X, 3) or (Y, X)
        Result and truth, 0 to 255.
    factors : tuple of float
        Enlargement along (Y, X).

    Returns
    -------
    tuple of float
        PSNR in decibels, SSIM.
    """
    shave = (math.ceil(factors[0]), math.ceil(factors[1]))
    a, b = luma(sr), luma(hr)
    return psnr(a, b, shave=shave), ssim(a, b, shave=shave)


def affine_fit(image: NDArray[Any], target: NDArray[Any]) -> tuple[float, float]:
    """Gain and offset that bring `image` closest to `target` in least squares.

    Parameters
    ----------
    image, target : ndarray of one shape

    Returns
    -------
    tuple of float
        (gain, offset); a constant image gets gain 0.
    """
    _same_shape(image, target)
    return comparison.affine_fit(
        np.asarray(image, dtype=np.float64), np.asarray(target, dtype=np.float64)
    )


def affine_psnr(image: NDArray[Any], target: NDArray[Any]) -> float:
    """PSNR in decibels after `affine_fit`, for images of unrelated intensity.

    The peak is the target's range between its 0.1 and 99.9 percentiles.
    """
    gain, offset = affine_fit(image, target)
    low, high = np.percentile(target, [0.1, 99.9])
    fitted = gain * np.asarray(image, dtype=np.float64) + offset
    return psnr(fitted, target, peak=float(high - low))


def ring_correlation(
    image: NDArray[Any],
    target: NDArray[Any],
    edges: Sequence[float],
    *,
    window: Window = "hann",
) -> Array:
    """Fourier ring correlation (Saxton & Baumeister, J. Microsc. 127, 1982).

    A blur scales all of a thin ring alike and so cannot raise its correlation. A wide
    ring mixes frequencies, and a blur shifts their weights a little; hence
    `band_correlation`.

    Parameters
    ----------
    image, target : ndarray, shape (Y, X)
        Planes on the same grid.
    edges : sequence of float
        Ascending borders of the rings, cycles per pixel, 0 to 0.5.
    window : {"hann", "none"}
        Taper that keeps the borders from ringing; applied after the mean is removed.

    Returns
    -------
    ndarray, shape (len(edges) - 1,)
        -1 to 1 for each ring [low, high); NaN where a ring holds nothing.

    Raises
    ------
    InputError
        The shapes differ or are not (Y, X).
    """
    _same_shape(image, target)
    a, b = _spectrum(image, window), _spectrum(target, window)
    y, x = (np.fft.fftfreq(size) for size in a.shape)
    ring = np.digitize(np.hypot(y[:, None], x), np.asarray(edges, dtype=np.float64))
    count = len(edges) + 1
    cross = np.bincount(ring.ravel(), (a * b.conj()).real.ravel(), count)
    power_a = np.bincount(ring.ravel(), (np.abs(a) ** 2).ravel(), count)
    power_b = np.bincount(ring.ravel(), (np.abs(b) ** 2).ravel(), count)
    norm = np.sqrt(power_a * power_b)[1:-1]
    values = np.full(len(edges) - 1, np.nan)
    np.divide(cross[1:-1], norm, out=values, where=norm > 0)
    return values


def band_correlation(
    image: NDArray[Any],
    target: NDArray[Any],
    band: tuple[float, float] = (0.10, 0.15),
    *,
    rings: int = 1,
    window: Window = "hann",
) -> float:
    """Ring correlation of a band, cycles per pixel.

    Parameters
    ----------
    image, target : ndarray, shape (Y, X)
        Planes on the same grid.
    band : tuple of float
        Borders (low, high), cycles per pixel.
    rings : int
        1 takes the band as one ring; more average that many thin rings, which no
        isotropic blur changes.
    window : {"hann", "none"}
        As in `ring_correlation`.
    """
    edges = np.linspace(band[0], band[1], rings + 1)
    return float(np.mean(ring_correlation(image, target, list(edges), window=window)))


def shifted(image: NDArray[Any], shift: tuple[float, float]) -> Array:
    """Plane (Y, X) moved by `shift` pixels along (Y, X) with a cubic spline."""
    values = np.asarray(image, dtype=np.float64)
    moved: Array = ndimage.shift(values, shift, order=3, mode="mirror")
    return moved


def polyphase_spread(flat: NDArray[Any], factors: tuple[int, int]) -> float:
    """How far the sub-pixels of an enlarged flat field differ in brightness.

    Parameters
    ----------
    flat : ndarray, shape (Y, X)
        Enlarged image of a field without structure.
    factors : tuple of int
        Enlargement along (Y, X); whole numbers.

    Returns
    -------
    float
        (largest - smallest) of the means of the f * f sub-pixel lattices, over their
        mean.
    """
    rows, columns = (
        size // factor for size, factor in zip(flat.shape, factors, strict=True)
    )
    whole = np.asarray(flat, dtype=np.float64)
    whole = whole[: rows * factors[0], : columns * factors[1]]
    means = whole.reshape(rows, factors[0], columns, factors[1]).mean(axis=(0, 2))
    return float(np.ptp(means) / means.mean())


def shaved(image: NDArray[Any], shave: int | tuple[int, int]) -> Array:
    """Image (Y, X, ...) as float64 without `shave` pixels at each border."""
    y, x = (shave, shave) if isinstance(shave, int) else shave
    values = np.asarray(image, dtype=np.float64)
    return values[y : values.shape[0] - y, x : values.shape[1] - x]


def _spectrum(image: NDArray[Any], window: Window) -> NDArray[np.complex128]:
    values = np.asarray(image, dtype=np.float64)
    if values.ndim != 2:
        raise InputError(
            f"Ring correlation needs shape (Y, X); found {values.shape}; give a plane."
        )
    centered = values - values.mean()
    if window == "hann":
        centered = centered * np.hanning(values.shape[0])[:, None]
        centered = centered * np.hanning(values.shape[1])
    return np.fft.fft2(centered)


def _same_shape(image: NDArray[Any], target: NDArray[Any]) -> None:
    if np.shape(image) != np.shape(target):
        raise InputError(
            f"Images to compare have shapes {np.shape(image)} and {np.shape(target)}; "
            "bring them to one size."
        )
