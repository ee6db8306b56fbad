"""From a point spread function (PSF) to the kernel between father and son.

The PSF is never the kernel: the father is seen through it as well. On the fine grid the
son's blur relative to the father's is K(w) = B(w) / B(w/f), B being the optical
transfer function in the units of the fine pixels and f the factor.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_zssr.errors import InputError

Array = NDArray[np.float64]
Pair = tuple[float, float]

# Where B is below this, or this many times its noise, the Gaussian that fits the PSF
# says more about K.
FLOOR = 0.02
NOISES = 4.0
# Where the Gaussian is below this there is nothing but noise.
DARK = 1e-3
# What the Gaussian is fitted to, as shares: of B(0) at least, of the highest frequency
# that the PSF's pixels carry at most.
FITTED = (0.3, 0.7)
# From this share of that frequency on, the Gaussian takes over.
CARRIED = 0.8
# Samples of the kernel in a fine pixel, so that it is sampled and not band-limited;
# more of small kernels, which may be narrower than a pixel, fewer of large ones.
OVERSAMPLED = 4
SAMPLES = (128, 768)
LARGEST_SIDE = 1025
# Where the kernel fades out, in standard deviations of the Gaussian that fits: of a
# measured PSF, whose far weights are mostly noise, and of a computed one.
MEASURED_REACH = (3.5, 5.0)
COMPUTED_REACH = (8.0, 12.0)
# Noise of B below which a PSF was computed.
COMPUTED = 1e-4
# Weights below this share of the peak are left out.
TRUNCATE = 3e-4
NARROWEST = 1e-6


def gaussian_kernel_sigma(sigma_um: float | Pair, fine_um: Pair, factors: Pair) -> Pair:
    """Widths of the kernel that belongs to a Gaussian PSF.

    Parameters
    ----------
    sigma_um : float or tuple of float
        Standard deviation of the PSF along (Y, X), um.
    fine_um : tuple of float
        Pixel (Y, X) of the fine grid, um.
    factors : tuple of float
        Enlargement along (Y, X).

    Returns
    -------
    tuple of float
        sigma / fine * sqrt(1 - 1/f^2) fine pixels along (Y, X); next to nothing along
        an axis that is not enlarged.
    """
    pair = sigma_um if isinstance(sigma_um, tuple) else (sigma_um, sigma_um)
    y, x = (
        max(NARROWEST, sigma / fine * math.sqrt(1 - 1 / factor**2))
        for sigma, fine, factor in zip(pair, fine_um, factors, strict=True)
    )
    return y, x


def psf_kernel(
    psf: NDArray[Any], psf_spacing_um: Pair, fine_um: Pair, factors: Pair
) -> Array:
    """Kernel on the fine grid that belongs to a PSF in focus.

    Parameters
    ----------
    psf : ndarray, shape (Y, X)
        Point spread function without background.
    psf_spacing_um : tuple of float
        Its pixel (Y, X), um.
    fine_um : tuple of float
        Pixel (Y, X) of the fine grid, um: the image's divided by the factor.
    factors : tuple of float
        Enlargement along (Y, X).

    Returns
    -------
    ndarray, shape (odd, odd), sum 1
        Not negative, centre of mass in the middle; one weight along an axis that is
        not enlarged.

    Raises
    ------
    InputError
        When the PSF has no shape (Y, X), holds NaN or sums to nothing, or is too large.
    """
    values = _checked(psf)
    for axis in (0, 1):
        if factors[axis] == 1:
            values = values.sum(axis=axis, keepdims=True)
    values = values / values.sum()
    axes = [
        _Axis(values, axis, psf_spacing_um[axis], fine_um[axis], factors[axis])
        for axis in (0, 1)
    ]
    spread = _fitted_spread(values, *axes)
    transfer, noise = _transfer(values, spread, *axes)
    kernel = np.real(axes[0].sampled @ transfer @ axes[1].sampled.T)
    reach = COMPUTED_REACH if noise < COMPUTED else MEASURED_REACH
    fading = _fading(spread, factors, reach, *axes)
    kernel = _trimmed(np.maximum(kernel, 0) * fading)
    trimmed: Array = kernel / kernel.sum()
    return trimmed


class _Axis:
    """Fourier transforms along one axis, as matrices.

    Attributes
    ----------
    frequency, finer : ndarray, shape (frequencies, )
        w and w/f in cycles per um.
    carried : ndarray, shape (frequencies, )
        1 where the pixels of the PSF tell B(w), falling to 0 where they do not.
    place : ndarray, shape (PSF pixels, )
        Distance from the PSF's centre of mass, um.
    pixel : ndarray, shape (kernel pixels, )
        Place on the fine grid, um.
    sampled : ndarray, shape (kernel pixels, frequencies)
        From K(w) to the kernel.
    """

    def __init__(
        self, psf: Array, axis: int, spacing_um: float, fine_um: float, factor: float
    ) -> None:
        along = psf.sum(axis=1 - axis)
        index = np.arange(len(along))
        self.place = (index - (along * index).sum()) * spacing_um
        side = _side(len(along) * spacing_um / fine_um) if len(along) > 1 else 1
        samples = max(side, min(max(OVERSAMPLED * side, SAMPLES[0]), SAMPLES[1]))
        reach = samples // 2 if len(along) > 1 else 0
        step = 1 / (side * fine_um)
        self.frequency: Array = np.arange(-reach, reach + 1, dtype=np.float64) * step
        self.finer: Array = self.frequency * np.float64(1 / factor)
        share = np.abs(self.frequency) * 2 * spacing_um
        self.carried = np.clip((1 - share) / (1 - CARRIED), 0, 1)
        self.fitted = share <= FITTED[1]
        self.fine_um = fine_um
        self.pixel: Array = np.arange(-(side // 2), side - side // 2, dtype=np.float64)
        self.pixel *= fine_um
        self.sampled = np.exp(2j * np.pi * np.outer(self.pixel, self.frequency))

    def waves(self, frequency: Array) -> Any:
        """From the PSF to its transform, (frequencies, PSF pixels)."""
        return np.exp(-2j * np.pi * np.outer(frequency, self.place))


def _fitted_spread(psf: Array, y: _Axis, x: _Axis) -> Array:
    """Second moments (2, 2) of the Gaussian that fits the PSF best, um^2."""
    transfer = np.abs(y.waves(y.frequency) @ psf @ x.waves(x.frequency).T)
    used = (transfer >= FITTED[0]) & np.logical_and.outer(y.fitted, x.fitted)
    weight = transfer[used]
    a, b = (grid[used] for grid in np.meshgrid(y.frequency, x.frequency, indexing="ij"))
    terms = np.stack([a * a, 2 * a * b, b * b], axis=1) * (2 * np.pi) ** 2
    wanted = -2 * np.log(weight)
    found = np.linalg.lstsq(terms * weight[:, None], wanted * weight, rcond=None)[0]
    return np.array([[found[0], found[1]], [found[1], found[2]]])


def _transfer(
    psf: Array, spread: Array, y: _Axis, x: _Axis
) -> tuple[NDArray[np.complex128], float]:
    """K(w), where the PSF does not tell it that of the Gaussian; B's noise."""
    above = y.waves(y.frequency) @ psf @ x.waves(x.frequency).T
    below = y.waves(y.finer) @ psf @ x.waves(x.finer).T
    wide, narrow = (
        np.exp(-np.maximum(_form(spread, *frequency), 0) * 2 * np.pi**2)
        for frequency in ((y.frequency, x.frequency), (y.finer, x.finer))
    )
    gaussian = np.minimum(wide / np.maximum(narrow, 1e-300), 1)
    sure = np.multiply.outer(y.carried, x.carried)
    rest = np.abs(above[(wide < DARK) & (sure == 1)])
    noise = float(np.median(rest)) if rest.size else FLOOR / NOISES
    floor = max(FLOOR, NOISES * noise)
    for values in (above, below):
        sure = sure * np.abs(values) ** 2 / (np.abs(values) ** 2 + floor**2)
    ratio = above * below.conj() / np.maximum(np.abs(below) ** 2, floor**4)
    return gaussian + sure * (ratio - gaussian), noise


def _fading(spread: Array, factors: Pair, reach: Pair, y: _Axis, x: _Axis) -> Array:
    """1 within the kernel, 0 where it has faded out."""
    shrunk = spread * (1 - 1 / np.multiply.outer(factors, factors))
    # A pixel more each way: a kernel may be narrower than one.
    pixel = np.square([y.fine_um, x.fine_um]) / reach[0] ** 2
    values, vectors = np.linalg.eigh(shrunk + np.diag(pixel))
    inverse = vectors @ np.diag(1 / np.maximum(values, pixel.min())) @ vectors.T
    distance = np.sqrt(_form(inverse, y.pixel, x.pixel))
    faded: Array = np.clip((reach[1] - distance) / (reach[1] - reach[0]), 0, 1)
    return faded


def _form(matrix: Array, y: Array, x: Array) -> Array:
    """Quadratic form on the grid (Y, X)."""
    mixed = 2 * matrix[0, 1] * np.multiply.outer(y, x)
    total: Array = mixed + np.add.outer(matrix[0, 0] * y * y, matrix[1, 1] * x * x)
    return total


def _side(pixels: float) -> int:
    """Odd number of fine pixels that hold the kernel."""
    side = 2 * math.ceil(pixels / 2) + 3
    if side > LARGEST_SIDE:
        raise InputError(
            f"The point spread function covers {pixels:.0f} fine pixels, more than "
            f"{LARGEST_SIDE}; crop it, or check its pixel size."
        )
    return side


def _checked(psf: NDArray[Any]) -> Array:
    values = np.asarray(psf, dtype=np.float64)
    if values.ndim != 2 or 0 in values.shape:
        raise InputError(
            f"A point spread function has shape (Y, X); found shape {values.shape}."
        )
    if not np.isfinite(values).all():
        raise InputError("The point spread function holds NaN or Inf; give numbers.")
    if values.sum() <= 0:
        raise InputError(
            f"The point spread function sums to {values.sum():.3g}; it needs a "
            "positive sum, without background."
        )
    return values


def _trimmed(kernel: Array) -> Array:
    """The middle that holds all weights worth having, as far on both sides."""
    strong = kernel > TRUNCATE * kernel.max()
    kernel = np.where(strong, kernel, 0.0)
    for axis in (0, 1):
        middle = kernel.shape[axis] // 2
        found = np.flatnonzero(strong.any(axis=1 - axis))
        reach = int(np.abs(found - middle).max())
        kernel = kernel.take(range(middle - reach, middle + reach + 1), axis=axis)
    return kernel
