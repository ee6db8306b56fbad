"""Resolution of a plane from the plane alone: ring correlation and decorrelation.

Frequencies are in cycles per pixel, in all directions the same number per unit of
length: where the pixel is not square, its longer side counts. Rings end at half a cycle
per pixel, beyond which not all directions are sampled.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import fft, ndimage, signal

from napari_zssr.errors import InputError
from napari_zssr.imaging.noise import WHITE, NoiseModel, with_bands
from napari_zssr.imaging.optics import checked_spacing
from napari_zssr.imaging.resample import Array, Pair

Outcome = Literal["found", "pixel limit", "nothing"]

RING_CORRELATION = "Fourier ring correlation"
DECORRELATION = "decorrelation"
NOTHING = {
    RING_CORRELATION: "Fourier ring correlation found no detail above the noise.",
    DECORRELATION: (
        "Decorrelation analysis found no limit of resolution: the image is only "
        "noise, or its detail is as fine as its pixels."
    ),
}
SMALLEST_PX = 32
NYQUIST = 0.5
# Side of the neighbourhood whose mean stands for the signal, as in `NoiseModel.draw`.
SMOOTHING_PX = 5
# Photons that a pixel may have by rounding, and from which they need not be integers.
LEAST_COUNT, MANY_PHOTONS = -0.5, 1e6
# Correlation of two halves at which the whole correlates by 1/2 with its pure signal.
THRESHOLD, WITH_TRUTH = 1 / 7, 1 / 2
# Reach of the running median over the ring correlation, to either side: share of the
# frequency, and least number of rings.
SMOOTHING, LEAST_RINGS = 0.08, 1.5
# Standard errors by which the median must exceed a threshold, and how much wider a
# median spreads than a mean.
CERTAIN, MEDIAN = 2.0, np.sqrt(np.pi / 2)
# Standard deviations of the correlation of mere noise from which there is a signal.
SIGNIFICANT = 4.0
# Share of the Fourier coefficients that the Hann window leaves independent, both axes.
INDEPENDENT = (18 / 35) ** 2
# Of the high-pass filters: how many, and the width of the narrowest, pixels; narrower
# ones all weigh by the square of the frequency.
FILTERS, NARROWEST_PX = 20, 0.15
# Fall of the decorrelation curve behind a peak that is no fluctuation.
LEAST_FALL = 0.001


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolution:
    """The finest detail that a plane shows.

    Attributes
    ----------
    cutoff : highest frequency with signal, cycles per pixel; None unless found
    period_um : its inverse, um, if the size of a pixel is known
    outcome : a cut-off was found; or there is signal up to the limit of the pixels; or
        nothing was resolved
    method : name of the estimator
    sentence : the result in words
    """

    cutoff: float | None
    period_um: float | None
    outcome: Outcome
    method: str
    sentence: str


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RingCorrelation:
    """Fourier ring correlation of two images; all (rings,).

    Attributes
    ----------
    frequency : mean frequency of each ring, cycles per pixel
    correlation : -1 to 1
    counts : Fourier coefficients of each ring
    """

    frequency: Array
    correlation: Array
    counts: Array


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RadialSpectrum:
    """Power of a plane, averaged over directions; both (rings,).

    Attributes
    ----------
    frequency : mean frequency of each ring, cycles per pixel
    power : power density, squared units of the intensity; of white noise its variance
    """

    frequency: Array
    power: Array


def thinned_halves(
    plane: NDArray[Any], noise: NoiseModel, seed: int
) -> tuple[Array, Array]:
    """Two images from one, whose noise is independent and whose mean is the image.

    Each has twice the variance, as if half the photons had made it. White noise that
    vanishes where no photon arrived is thinned binomially, photon by photon; otherwise
    noise drawn from the model is added, and subtracted (Neufeld, Dharamshi, Gao,
    Witten, "Data thinning for convolution-closed distributions", JMLR 25, 2024). They
    are as independent as the model is right: where it misses part of the variance,
    that part is in both.

    Parameters
    ----------
    plane : ndarray, shape (Y, X)
        In the units of the noise model.
    noise : NoiseModel
    seed : int

    Returns
    -------
    tuple of two ndarrays, shape (Y, X)

    Raises
    ------
    InputError
        If the plane has another shape, fewer than 32 pixels along an axis or values
        that are not finite; if there is no noise; if a JPEG has changed it.
    """
    values = _checked(plane)
    if noise.is_clean:
        raise InputError(
            "The image has no noise, so Fourier ring correlation cannot measure its "
            "resolution; use decorrelation."
        )
    if noise.jpeg:
        raise InputError(
            "JPEG compression mixed signal and noise, so Fourier ring correlation "
            "cannot measure the resolution; use the image before compression."
        )
    draw = np.random.default_rng(seed)
    counts = _photons(values, noise)
    if counts is None:
        difference = _drawn(values, noise, draw)
    else:
        # At random up or down, so that the mean is kept where counts are no integers.
        whole = np.floor(counts + draw.random(counts.shape)).astype(np.int64)
        difference = np.asarray(noise.gain * (2 * draw.binomial(whole, 0.5) - whole))
    return values + difference, values - difference


def _photons(values: Array, noise: NoiseModel) -> Array | None:
    """Photons of each pixel; None unless all noise is theirs alone and white."""
    if noise.gain <= 0 or noise.bands != WHITE:
        return None
    counts = (values * noise.gain + noise.offset) / noise.gain**2
    # Below no light at all there is read noise; many photons are as good as Gaussian.
    are_photons = counts.min() > LEAST_COUNT and counts.max() < MANY_PHOTONS
    return counts.clip(0) if are_photons else None


def _drawn(values: Array, noise: NoiseModel, draw: np.random.Generator) -> Array:
    """Noise (Y, X) from the model, at the smoothed signal."""
    smooth = ndimage.uniform_filter(values, SMOOTHING_PX, mode="nearest")
    deviation = np.sqrt((noise.gain * smooth + noise.offset).clip(0))
    unit = with_bands(draw.standard_normal(values.shape), noise.bands)
    return np.asarray(deviation * unit)


def ring_correlation(
    first: NDArray[Any], second: NDArray[Any], spacing_um: Pair | None = None
) -> RingCorrelation:
    """Fourier ring correlation of two images of the same signal.

    Saxton, Baumeister, J. Microsc. 127, 1982; van Heel, Schatz, J. Struct. Biol. 151,
    2005. The mean is removed and a Hann window applied.

    Parameters
    ----------
    first, second : ndarray, shape (Y, X)
        Their noise must be independent.
    spacing_um : pair of float, optional
        Size of a pixel along (Y, X), um; square where it is not known.

    Raises
    ------
    InputError
        If shapes differ, an axis has fewer than 32 pixels, or values are not finite.
    """
    one, two = _checked(first), _checked(second)
    if one.shape != two.shape:
        raise InputError(
            f"The two images have shapes {one.shape} and {two.shape}; give two of the "
            "same shape."
        )
    rings = _Rings(one.shape, spacing_um)
    a, b = _windowed(one), _windowed(two)
    cross = rings.sum(np.real(a * b.conj()))
    powers = rings.sum(np.abs(a) ** 2) * rings.sum(np.abs(b) ** 2)
    correlation = np.divide(
        cross, np.sqrt(powers), out=np.zeros_like(cross), where=powers > 0
    )
    return RingCorrelation(
        frequency=rings.frequency, correlation=correlation, counts=rings.counts
    )


def ring_resolution(
    first: NDArray[Any],
    second: NDArray[Any],
    spacing_um: Pair | None = None,
    threshold: float = THRESHOLD,
) -> Resolution:
    """Where the smoothed ring correlation of two images first falls to a threshold.

    1/7 for two halves (Nieuwenhuizen et al., Nature Methods 10, 2013), `WITH_TRUTH`
    for an image and its truth. It has fallen where it is above by less than two
    standard errors: what wobbles about the threshold is no detail. Other arguments, and
    errors, as of `ring_correlation`.
    """
    rings = ring_correlation(first, second, spacing_um)
    cutoff = _crossing(rings, threshold)
    outcome: Outcome = "nothing" if cutoff is None else "found"
    if cutoff is not None and cutoff >= NYQUIST:
        outcome, cutoff = "pixel limit", None
    return _resolution(RING_CORRELATION, cutoff, outcome, spacing_um)


def smoothed(rings: RingCorrelation) -> tuple[Array, Array]:
    """Running median of a ring correlation, and its standard error; both (rings,).

    A median keeps the fall where it is. Its width grows with the frequency, so that
    this is known to the same share.
    """
    step = rings.frequency[1] - rings.frequency[0]
    reach = np.maximum(SMOOTHING * rings.frequency, LEAST_RINGS * step)
    distance = np.abs(rings.frequency[None] - rings.frequency[:, None])
    near = distance <= reach[:, None]
    curve = np.nanmedian(np.where(near, rings.correlation[None], np.nan), axis=1)
    return curve, (1 - curve**2) * _deviation(near @ rings.counts) * MEDIAN


def _deviation(counts: Any) -> Any:
    """Standard deviation of the correlation of noise over so many coefficients.

    Of a real image's coefficients half are those of the other half, conjugated.
    """
    return 1 / np.sqrt(counts / 2 * INDEPENDENT)


def _crossing(rings: RingCorrelation, threshold: float) -> float | None:
    """Frequency of the first fall to a threshold; half a cycle where there is none.

    None if nothing is above.
    """
    curve, error = smoothed(rings)
    frequency, margin = rings.frequency, curve - CERTAIN * error - threshold
    above = margin >= 0
    if not above.any():
        return None
    falls = np.flatnonzero(above[:-1] & ~above[1:])
    found = NYQUIST
    if len(falls):
        n = int(falls[0])
        share = margin[n] / (margin[n] - margin[n + 1])
        found = float(frequency[n] + share * (frequency[n + 1] - frequency[n]))
    return found if _is_signal(rings, frequency <= found) else None


def _is_signal(rings: RingCorrelation, chosen: NDArray[np.bool_]) -> bool:
    """Whether chosen rings correlate more than those of mere noise would."""
    counts = rings.counts[chosen]
    mean = np.average(rings.correlation[chosen], weights=counts)
    return bool(mean > SIGNIFICANT * _deviation(counts.sum()))


def decorrelation_resolution(
    plane: NDArray[Any], spacing_um: Pair | None = None
) -> Resolution:
    """Cut-off by decorrelation analysis, with noise or without.

    An image correlates most with its own phases when these are cut at the highest
    frequency with signal; high-pass filters bring out the highest (Descloux,
    Grussmayer, Radenovic, Nature Methods 16, 2019).

    Parameters
    ----------
    plane : ndarray, shape (Y, X)
    spacing_um : pair of float, optional
        Size of a pixel along (Y, X), um; square where it is not known.

    Raises
    ------
    InputError
        If the plane has another shape, fewer than 32 pixels along an axis or values
        that are not finite.
    """
    values = _checked(plane)
    peaks = decorrelation_peaks(values, spacing_um)
    cutoff = max((frequency for frequency, _ in peaks), default=None)
    outcome: Outcome = "nothing" if cutoff is None else "found"
    return _resolution(DECORRELATION, cutoff, outcome, spacing_um)


def decorrelation_peaks(
    values: Array, spacing_um: Pair | None = None
) -> list[tuple[float, float]]:
    """Frequency and height of the peak of each high-pass filtered decorrelation."""
    rings = _Rings(values.shape, spacing_um)
    modulus = np.abs(_windowed(values))
    sums, powers = rings.sum(modulus), rings.sum(modulus**2)
    if powers.sum() <= 0:
        return []
    widest = 1 / rings.frequency[0]
    peaks = [_peak(sums, powers, rings)]
    for width in np.geomspace(widest, NARROWEST_PX, FILTERS):
        passed = -np.expm1(-2 * (np.pi * width * rings.frequency) ** 2)
        peaks.append(_peak(passed * sums, passed**2 * powers, rings))
    return [peak for peak in peaks if peak is not None]


def _peak(sums: Array, powers: Array, rings: _Rings) -> tuple[float, float] | None:
    """Highest peak of the decorrelation, of moduli summed in rings; None without."""
    curve = np.cumsum(sums) / np.sqrt(powers.sum() * np.cumsum(rings.counts))
    found, _ = signal.find_peaks(np.append(0, curve), prominence=LEAST_FALL)
    if not len(found):
        return None
    highest = found[np.argmax(curve[found - 1])] - 1
    return float(rings.frequency[highest]), float(curve[highest])


def radial_spectrum(
    plane: NDArray[Any], spacing_um: Pair | None = None
) -> RadialSpectrum:
    """Power spectrum of a plane (Y, X), averaged over directions.

    The mean is removed and a Hann window applied. Errors as of
    `decorrelation_resolution`.
    """
    values = _checked(plane)
    rings = _Rings(values.shape, spacing_um)
    power = rings.sum(np.abs(_windowed(values)) ** 2) / rings.counts
    return RadialSpectrum(frequency=rings.frequency, power=power)


class _Rings:
    """Rings of the Fourier plane, one frequency step wide.

    Attributes
    ----------
    step : width, cycles per pixel
    frequency, counts : mean frequency of a ring's coefficients, and their number
    """

    def __init__(self, shape: tuple[int, ...], spacing_um: Pair | None) -> None:
        pixel = (1.0, 1.0) if spacing_um is None else checked_spacing(spacing_um)
        size = [side / max(pixel) for side in pixel]
        y = np.fft.fftfreq(shape[0], size[0])[:, None]
        x = np.fft.rfftfreq(shape[1], size[1])[None]
        radius = np.hypot(y, x)
        self.step = max(1 / (n * s) for n, s in zip(shape, size, strict=True))
        self._index = np.rint(radius / self.step).astype(np.intp)
        # The half of the plane that is not computed is the conjugate of this one.
        columns = np.full(x.size, 2.0)
        columns[0] = 1
        if shape[1] % 2 == 0:
            columns[-1] = 1
        self._weight = np.broadcast_to(columns, radius.shape)
        self._last = int(NYQUIST / self.step + 1e-9)
        self.counts = self.sum(np.ones_like(radius))
        self.frequency = self.sum(radius) / self.counts

    def sum(self, values: Array) -> Array:
        """Sums of (Y, X // 2 + 1) over each ring, without the mean's, (rings,)."""
        weighted = (values * self._weight).ravel()
        sums = np.bincount(self._index.ravel(), weighted, minlength=self._last + 1)
        return np.asarray(sums[1 : self._last + 1])


def _windowed(values: Array) -> NDArray[np.complex128]:
    """Fourier transform of a plane, whose noise keeps its variance."""
    taper = np.outer(*(signal.windows.hann(n + 2)[1:-1] for n in values.shape))
    taper /= np.sqrt((taper**2).sum())
    # Twice, so that nothing at all is left of a constant plane.
    centred = values - values[0, 0]
    centred = centred - np.average(centred, weights=taper)
    return np.asarray(fft.rfft2(centred * taper))


def _checked(plane: NDArray[Any]) -> Array:
    values = np.asarray(plane, dtype=np.float64)
    if values.ndim != 2 or min(values.shape) < SMALLEST_PX:
        raise InputError(
            f"Resolution is measured on a plane (Y, X) of at least {SMALLEST_PX} × "
            f"{SMALLEST_PX} pixels; this one has shape {values.shape}, so give a "
            "larger part."
        )
    if not np.isfinite(values).all():
        raise InputError(
            "The plane contains NaN or infinite pixels; remove them first."
        )
    return values


def _resolution(
    method: str, cutoff: float | None, outcome: Outcome, spacing_um: Pair | None
) -> Resolution:
    pixel = None if spacing_um is None else max(checked_spacing(spacing_um))
    period = None if cutoff is None else 1 / cutoff
    return Resolution(
        cutoff=cutoff,
        period_um=None if period is None or pixel is None else period * pixel,
        outcome=outcome,
        method=method,
        sentence=_sentence(method, outcome, period, pixel),
    )


def _sentence(
    method: str, outcome: Outcome, period: float | None, pixel: float | None
) -> str:
    def length(pixels: float) -> str:
        if pixel is None:
            return f"{pixels:.2g} pixels"
        return f"{pixels * pixel:.3g} µm ({pixels:.2g} pixels)"

    if period is not None:
        return f"Detail is resolved down to a period of {length(period)}, by {method}."
    if outcome == "pixel limit":
        return (
            f"Detail is resolved down to a period of {length(1 / NYQUIST)}, by "
            f"{method}: the limit set by the pixels, unless there is more noise than "
            "assumed."
        )
    return NOTHING[method]
