"""A result beside a truth: registered, fitted in intensity, and then measured."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import fft, ndimage
from scipy.signal.windows import tukey

from napari_zssr.checks import size_text
from napari_zssr.errors import InputError
from napari_zssr.imaging.degrade import degrade_array
from napari_zssr.imaging.resample import Array, Pair, output_size
from napari_zssr.kernelspec import KernelSpec

SMALLEST_PX = 32
# Side of the middle part that is registered, and its share that a shift may reach.
REGISTERED_PX, FARTHEST = 1024, 1 / 4
# Steps of the search beside the highest whole pixel, in pixels, each 10 to a side.
STEPS = (0.1, 0.01)
# Share of a side over which its borders fade out. With a quarter, shifts of a noisy
# plane are found nearly as closely as its noise allows, with a Hann window half so.
FADING = 0.25
# The window pulls shifts towards 0, so what is left of them is sought again.
ROUNDS = 4
# A spline of this degree loses least of what is fine in a plane that it shifts.
SPLINE = 5
# Range of the truth, the peak of PSNR and SSIM.
RANGE_QUANTILES = (0.001, 0.999)
SSIM_SIGMA, SSIM_RADIUS = 1.5, 5
SSIM_K = (0.01, 0.03)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scores:
    """Figures of a result against a truth, after registration and fit.

    Attributes
    ----------
    shift : tuple of float
        How far the result lies from the truth along (Y, X), pixels of the truth;
        positive downwards and to the right. It is undone before all that follows.
    gain, offset : float
        The fit: gain * result + offset is closest to the truth.
    rse : float
        Root mean square error, in intensities of the truth; the resolution-scaled error
        of SQUIRREL (Culley et al., Nature Methods 15, 2018).
    rsp : float
        Pearson's correlation, -1 to 1, the resolution-scaled Pearson coefficient of the
        same paper; NaN for a constant result.
    psnr : float
        Peak signal-to-noise ratio, dB; infinite for equal planes.
    ssim : float
        Structural similarity (Wang et al., IEEE TIP 13, 2004), at most 1: Gaussian
        window of 11 x 11 pixels and sigma 1.5, K1 = 0.01, K2 = 0.03.
    peak : float
        Peak of PSNR and SSIM: the 99.9 % less the 0.1 % quantile of the truth.
    """

    shift: Pair
    gain: float
    offset: float
    rse: float
    rsp: float
    psnr: float
    ssim: float
    peak: float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Comparison:
    """A result compared with a truth.

    Attributes
    ----------
    scores : Scores
    inside : tuple of slice
        Part (Y, X) of the truth that the shifted result covers, which is measured.
    fitted : ndarray, shape (Y, X)
        The result of that part, registered and fitted, intensities of the truth.
    error : ndarray, shape (Y, X)
        |truth - fitted| on the whole grid of the truth, NaN outside that part.
    """

    scores: Scores
    inside: tuple[slice, slice]
    fitted: Array
    error: Array


def compare(
    result: NDArray[Any],
    truth: NDArray[Any],
    *,
    kernel: KernelSpec | None = None,
    factors: Pair | None = None,
) -> Comparison:
    """Compare a result with a truth of its size, or with a reference before enlarging.

    Parameters
    ----------
    result : ndarray, shape (Y, X)
        Any intensities; offset and gain against the truth do not matter.
    truth : ndarray, shape (Y, X)
        The same field: in the pixels of the result or, with `kernel` and `factors`, in
        those of the image that was enlarged.
    kernel : KernelSpec, optional
        Concrete blur on the fine grid, by which the result is degraded first.
    factors : tuple of float, optional
        Enlargement along (Y, X) that the degradation undoes.

    Returns
    -------
    Comparison

    Raises
    ------
    InputError
        The sizes do not fit, or the truth is constant, too small or not finite.
    """
    result, truth = (np.asarray(plane, dtype=np.float64) for plane in (result, truth))
    if kernel is not None and factors is not None:
        result = _degraded(result, truth.shape, kernel, factors)
    _check(result, truth)
    shift = register(result, truth) if np.ptp(result) > 0 else (0.0, 0.0)
    moved = _shifted(result, (-shift[0], -shift[1]))
    edges = [math.ceil(abs(part)) for part in shift]
    rows, columns = (
        slice(edge, n - edge) for edge, n in zip(edges, truth.shape, strict=True)
    )
    inside = rows, columns
    seen, target = moved[inside], truth[inside]
    gain, offset = affine_fit(seen, target)
    fitted = gain * seen + offset
    difference = np.abs(target - fitted)
    error = np.full(truth.shape, np.nan)
    error[inside] = difference
    low, high = np.quantile(truth, RANGE_QUANTILES)
    peak = float(high - low) or float(np.ptp(truth))
    rse = float(np.sqrt(np.mean(difference**2)))
    scores = Scores(
        shift=shift,
        gain=gain,
        offset=offset,
        rse=rse,
        rsp=_pearson(seen, target),
        psnr=20 * math.log10(peak / rse) if rse > 0 else math.inf,
        ssim=ssim(fitted, target, peak),
        peak=peak,
    )
    return Comparison(scores=scores, inside=inside, fitted=fitted, error=error)


def _check(result: Array, truth: Array) -> None:
    if result.shape != truth.shape or truth.ndim != 2:
        raise InputError(
            f"The result has {size_text(result.shape)} pixels and the ground truth "
            f"{size_text(truth.shape)}; give a ground truth of the result's size."
        )
    if min(truth.shape) < SMALLEST_PX:
        raise InputError(
            f"The ground truth has {size_text(truth.shape)} pixels, but a comparison "
            f"needs at least {SMALLEST_PX} × {SMALLEST_PX}; give a larger one."
        )
    for plane, name in ((result, "result"), (truth, "truth")):
        if not np.isfinite(plane).all():
            raise InputError(
                f"The {name} contains NaN or infinite pixels; remove them first."
            )
    if np.ptp(truth) == 0:
        raise InputError(
            "The ground truth has the same value everywhere; give another image or "
            "plane."
        )


def _degraded(
    result: Array, shape: tuple[int, ...], kernel: KernelSpec, factors: Pair
) -> Array:
    """The result in the pixels of the image that it was made from."""
    sizes = tuple(output_size(n, f) for n, f in zip(shape, factors, strict=False))
    if sizes != result.shape:
        y, x = factors
        raise InputError(
            f"The result has {size_text(result.shape)} pixels and the ground truth "
            f"{size_text(shape)}, or {size_text(sizes)} once enlarged ×{y:g} along Y "
            f"and ×{x:g} along X; give a ground truth of the size of the result or of "
            "the original."
        )
    # With fractional factors a pixel more may come back.
    return degrade_array(result, kernel, factors)[: shape[0], : shape[1]]


def register(result: NDArray[Any], truth: NDArray[Any]) -> Pair:
    """How far a plane lies from another one along (Y, X), to 0.01 pixels.

    The maximum of their cross-correlation: at whole pixels, then on finer grids around
    the highest by a Fourier transform at those places alone (Guizar-Sicairos et al.,
    Optics Letters 33, 2008), and again on what is left of the shift.
    """
    window = tuple(
        slice(max(0, n - REGISTERED_PX) // 2, (n + min(n, REGISTERED_PX)) // 2)
        for n in truth.shape
    )
    fixed = _spectrum(np.asarray(truth[window], dtype=np.float64))
    whole = np.asarray(result[window], dtype=np.float64)
    total = np.zeros(2)
    for _ in range(ROUNDS):
        step = _peak(_spectrum(_shifted(whole, -total)) * fixed.conj())
        total = np.round(total + step, 2)
        reach = FARTHEST * np.array(whole.shape)
        total = total.clip(-reach, reach)
        if not step.any():
            break
    return float(total[0]), float(total[1])


def _spectrum(plane: Array) -> NDArray[np.complex128]:
    rows, columns = (tukey(n + 2, FADING)[1:-1] for n in plane.shape)
    weights = np.outer(rows, columns)
    centred = plane - np.average(plane, weights=weights)
    return np.asarray(fft.fft2(centred * weights))


def _peak(cross: NDArray[np.complex128]) -> Array:
    """Shift (Y, X) of the highest correlation, from the product of two spectra."""
    correlation = fft.ifft2(cross).real
    frequencies = [np.fft.fftfreq(n) for n in cross.shape]
    shifts = [np.round(f * len(f)) for f in frequencies]
    near = [np.abs(s) <= FARTHEST * len(s) for s in shifts]
    allowed = np.where(np.outer(*near), correlation, -np.inf)
    at = np.unravel_index(int(np.argmax(allowed)), allowed.shape)
    best = np.array([s[i] for s, i in zip(shifts, at, strict=True)])
    for step in STEPS:
        places = [center + step * np.arange(-10, 11) for center in best]
        y, x = (
            np.exp(2j * np.pi * np.outer(p, f))
            for p, f in zip(places, frequencies, strict=True)
        )
        fine = (y @ cross @ x.T).real
        row, column = np.unravel_index(int(np.argmax(fine)), fine.shape)
        best = np.array([places[0][row], places[1][column]])
    return best


def _shifted(plane: Array, shift: Array | Pair) -> Array:
    if not np.any(shift):
        return plane
    return np.asarray(ndimage.shift(plane, shift, order=SPLINE, mode="mirror"))


def affine_fit(plane: NDArray[Any], target: NDArray[Any]) -> Pair:
    """Gain and offset by which a plane comes closest to a target, least squares.

    Gain 0 for a constant plane.
    """
    if np.ptp(plane) == 0:
        return 0.0, float(target.mean())
    centred = plane - plane.mean()
    gain = float((centred * target).sum() / (centred**2).sum())
    return gain, float(target.mean() - gain * plane.mean())


def _pearson(a: Array, b: Array) -> float:
    if min(np.ptp(a), np.ptp(b)) == 0:
        return math.nan
    return float(np.corrcoef(a.ravel(), b.ravel())[0, 1])


def ssim(plane: NDArray[Any], target: NDArray[Any], peak: float) -> float:
    """Structural similarity of planes (Y, X), as in `Scores`, where the window fits."""
    window = np.exp(
        -(np.arange(-SSIM_RADIUS, SSIM_RADIUS + 1) ** 2) / (2 * SSIM_SIGMA**2)
    )
    window /= window.sum()

    def mean(values: Array) -> Array:
        for axis in (0, 1):
            values = ndimage.correlate1d(values, window, axis, mode="reflect")
        cut = slice(SSIM_RADIUS, -SSIM_RADIUS)
        return values[cut, cut]

    # Constants cancel in the variances, which would lose digits to them.
    level = float(target.mean())
    a, b = plane - level, target - level
    mean_a, mean_b = mean(a), mean(b)
    variances = mean(a * a) - mean_a**2 + mean(b * b) - mean_b**2
    covariance = mean(a * b) - mean_a * mean_b
    c1, c2 = ((k * peak) ** 2 for k in SSIM_K)
    mean_a, mean_b = mean_a + level, mean_b + level
    similar = (2 * mean_a * mean_b + c1) * (2 * covariance + c2)
    similar /= (mean_a**2 + mean_b**2 + c1) * (variances + c2)
    return float(similar.mean())
