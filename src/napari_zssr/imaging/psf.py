"""From a point spread function (PSF) to the kernel between father and son.

The PSF is never the kernel: it blurs the father as well. On the fine grid the son's
blur relative to the father's is K(w) = B(w) / B(w/f), B being the optical transfer
function in the units of the fine pixels and f the factor.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_zssr.checks import checked_kernel
from napari_zssr.errors import InputError
from napari_zssr.imaging.kernel import central_part
from napari_zssr.imaging.resample import Array, Pair

# Below this value of B, or this many times its noise, the Gaussian fitted to the PSF
# is the better estimate of K.
FLOOR = 0.02
NOISES = 4.0
# Frequencies at which the fitted Gaussian is below this hold nothing but noise.
DARK = 1e-3
# Frequencies that the Gaussian is fitted to: least share of B(0), and largest share of
# the Nyquist frequency of the PSF's pixels.
FITTED = (0.3, 0.7)
# From this share of that frequency on, the Gaussian takes over.
RELIABLE = 0.8
# Samples of the kernel per fine pixel, so that it is sampled and not band-limited;
# more for small kernels, which may be narrower than a pixel, fewer for large ones.
OVERSAMPLED = 4
SAMPLES = (128, 768)
LARGEST_SIDE = 1025
# Distances between which the kernel fades out, in standard deviations of the fitted
# Gaussian: for a measured PSF, whose far weights are mostly noise, and a computed one.
MEASURED_REACH = (3.5, 5.0)
COMPUTED_REACH = (8.0, 12.0)
# Noise of B below which a PSF was computed.
COMPUTED = 1e-4
# Weights below this share of the peak are set to zero.
TRUNCATE = 3e-4
NARROWEST = 1e-6


def gaussian_kernel_sigma(sigma_um: float | Pair, fine_um: Pair, factors: Pair) -> Pair:
    """Widths along (Y, X) of the kernel of a Gaussian PSF, fine pixels.

    sigma / fine * sqrt(1 - 1/f^2) with the PSF's standard deviation and the pixels of
    the fine grid in um; next to nothing along an axis that is not enlarged, and the
    whole PSF where none is.
    """
    pair = sigma_um if isinstance(sigma_um, tuple) else (sigma_um, sigma_um)
    y, x = (
        max(NARROWEST, sigma / fine * math.sqrt(1 - 1 / factor**2))
        for sigma, fine, factor in zip(pair, fine_um, _blurred(factors), strict=True)
    )
    return y, x


def psf_kernel(
    psf: NDArray[Any], psf_spacing_um: Pair, fine_um: Pair, factors: Pair
) -> Array:
    """Kernel on the fine grid of a PSF (Y, X) in focus, without background.

    Pixel sizes (Y, X) in um; those of the fine grid are the image's divided by the
    factors. The kernel (odd, odd) has sum 1, no negative weights, its centre of mass in
    the middle, and one weight along an axis that is not enlarged; where none is, it is
    the whole PSF. Raises `InputError` if the PSF has another shape, holds NaN, has no
    positive sum or is too large.
    """
    values, factors = checked_kernel(psf), _blurred(factors)
    for axis in (0, 1):
        if factors[axis] == 1:
            values = values.sum(axis=axis, keepdims=True)
    values = values / values.sum()
    y, x = (
        _Axis(values, axis, psf_spacing_um[axis], fine_um[axis], factors[axis])
        for axis in (0, 1)
    )
    spread = _fitted_spread(values, y, x)
    transfer, noise = _kernel_transfer(values, spread, y, x)
    kernel = np.maximum(np.real(y.inverse @ transfer @ x.inverse.T), 0)
    reach = COMPUTED_REACH if noise < COMPUTED else MEASURED_REACH
    kernel = kernel * _fading(spread, factors, reach, y, x)
    strong = kernel > TRUNCATE * kernel.max()
    kernel = central_part(np.where(strong, kernel, 0.0), strong)
    return np.asarray(kernel / kernel.sum())


def _blurred(factors: Pair) -> Pair:
    """Factors that a kernel relates: at factor 1, to an image without any blur."""
    return (math.inf, math.inf) if factors == (1.0, 1.0) else factors


class _Axis:
    """Fourier transforms along one axis, as matrices.

    Attributes
    ----------
    frequency, finer : w and w/f in cycles per um, (frequencies,)
    reliable : 1 up to the frequencies that the PSF's pixels resolve, falling to 0
    position : distance of the PSF's pixels from its centre of mass, um
    pixel : position of the kernel's pixels on the fine grid, um
    inverse : matrix from K(w) to the kernel, (kernel pixels, frequencies)
    """

    def __init__(
        self, psf: Array, axis: int, spacing_um: float, fine_um: float, factor: float
    ) -> None:
        along = psf.sum(axis=1 - axis)
        index = np.arange(len(along))
        self.position = (index - (along * index).sum()) * spacing_um
        side = _side(len(along) * spacing_um / fine_um) if len(along) > 1 else 1
        samples = max(side, min(max(OVERSAMPLED * side, SAMPLES[0]), SAMPLES[1]))
        reach = samples // 2 if len(along) > 1 else 0
        step = 1 / (side * fine_um)
        self.frequency: Array = np.arange(-reach, reach + 1, dtype=np.float64) * step
        self.finer: Array = self.frequency * np.float64(1 / factor)
        share = np.abs(self.frequency) * 2 * spacing_um
        self.reliable = np.clip((1 - share) / (1 - RELIABLE), 0, 1)
        self.fitted = share <= FITTED[1]
        self.fine_um = fine_um
        self.pixel: Array = np.arange(-(side // 2), side - side // 2, dtype=np.float64)
        self.pixel *= fine_um
        self.inverse = np.exp(2j * np.pi * np.outer(self.pixel, self.frequency))

    def waves(self, frequency: Array) -> Any:
        """Matrix from the PSF to its transform, (frequencies, PSF pixels)."""
        return np.exp(-2j * np.pi * np.outer(frequency, self.position))


def _fitted_spread(psf: Array, y: _Axis, x: _Axis) -> Array:
    """Covariance (2, 2) of the Gaussian that fits the PSF best, um^2."""
    transfer = np.abs(y.waves(y.frequency) @ psf @ x.waves(x.frequency).T)
    used = (transfer >= FITTED[0]) & np.logical_and.outer(y.fitted, x.fitted)
    weight = transfer[used]
    a, b = (grid[used] for grid in np.meshgrid(y.frequency, x.frequency, indexing="ij"))
    terms = np.stack([a * a, 2 * a * b, b * b], axis=1) * (2 * np.pi) ** 2
    target = -2 * np.log(weight)
    weighted = terms * weight[:, None], target * weight
    (yy, yx, xx), *_ = np.linalg.lstsq(*weighted, rcond=None)
    return np.array([[yy, yx], [yx, xx]])


def _kernel_transfer(
    psf: Array, spread: Array, y: _Axis, x: _Axis
) -> tuple[NDArray[np.complex128], float]:
    """K(w), the Gaussian's where the PSF does not determine it, and the noise of B."""
    above = y.waves(y.frequency) @ psf @ x.waves(x.frequency).T
    below = y.waves(y.finer) @ psf @ x.waves(x.finer).T
    wide, narrow = (
        np.exp(-np.maximum(_quadratic_form(spread, *frequency), 0) * 2 * np.pi**2)
        for frequency in ((y.frequency, x.frequency), (y.finer, x.finer))
    )
    gaussian = np.minimum(wide / np.maximum(narrow, 1e-300), 1)
    trust = np.multiply.outer(y.reliable, x.reliable)
    rest = np.abs(above[(wide < DARK) & (trust == 1)])
    noise = float(np.median(rest)) if rest.size else FLOOR / NOISES
    floor = max(FLOOR, NOISES * noise)
    for values in (above, below):
        trust = trust * np.abs(values) ** 2 / (np.abs(values) ** 2 + floor**2)
    ratio = above * below.conj() / np.maximum(np.abs(below) ** 2, floor**4)
    return gaussian + trust * (ratio - gaussian), noise


def _fading(spread: Array, factors: Pair, reach: Pair, y: _Axis, x: _Axis) -> Array:
    """Window (Y, X): 1 within the kernel, falling to 0 outside."""
    shrunk = spread * (1 - 1 / np.multiply.outer(factors, factors))
    # One pixel wider: a kernel may be narrower than a pixel.
    pixel = np.square([y.fine_um, x.fine_um]) / reach[0] ** 2
    values, vectors = np.linalg.eigh(shrunk + np.diag(pixel))
    inverse = vectors @ np.diag(1 / np.maximum(values, pixel.min())) @ vectors.T
    distance = np.sqrt(_quadratic_form(inverse, y.pixel, x.pixel))
    return np.clip((reach[1] - distance) / (reach[1] - reach[0]), 0, 1)


def _quadratic_form(matrix: Array, y: Array, x: Array) -> Array:
    """Quadratic form on the grid (Y, X)."""
    mixed = 2 * matrix[0, 1] * np.multiply.outer(y, x)
    squares = np.add.outer(matrix[0, 0] * y * y, matrix[1, 1] * x * x)
    return np.asarray(mixed + squares)


def _side(pixels: float) -> int:
    """Odd number of fine pixels that the kernel fits into."""
    side = 2 * math.ceil(pixels / 2) + 3
    if side > LARGEST_SIDE:
        raise InputError(
            f"The point spread function covers {pixels:.0f} result pixels, more than "
            f"{LARGEST_SIDE}; crop it, or check its pixel size."
        )
    return side
