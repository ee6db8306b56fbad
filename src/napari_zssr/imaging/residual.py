"""Residual of a result: whether it agrees with the image within the image's noise."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, stats

from napari_zssr.errors import InputError
from napari_zssr.imaging.degrade import degrade_array
from napari_zssr.imaging.noise import NoiseModel, noise_spectrum
from napari_zssr.imaging.quality import (
    BORDER_PX,
    SMALLEST_PX,
    Mask,
    least_deviation,
)
from napari_zssr.imaging.resample import Array, Pair, output_size
from napari_zssr.kernelspec import KernelSpec
from napari_zssr.progress import Progress, Steps, drain
from napari_zssr.units import counted

Unit = Literal["noise", "rounding"]
Reason = Literal["local", "shifted", "noise underrated", "noise overrated"]
Bands = tuple[float, ...]

# Widths of the Gaussian windows of local means, and of local squares, input pixels.
MEAN_PX, WINDOW_PX = (1.0, 3.0), 6.0
# Rate of false flags of each of the tests, over the whole map.
FALSE_RATE = 0.01
# Deviation of the residual, as a multiple of the noise, that an estimated noise model
# and a result that keeps some of the noise account for.
LEAST_LEVEL, LARGEST_LEVEL = 0.75, 1.2
# Shift that is tolerated, input pixels.
SHIFT_PX = 0.1
# Area that may be flagged in a result that agrees: a share, and input pixels; in small
# planes chance flags one patch of up to 30 in one of 50 (blurred spots with noise).
LOCAL_SHARE, LOCAL_PX = 0.001, 32
# Least deviation anywhere as a share of that at the mean signal: the straight line of
# a noise model says little of the darkest places.
DARK_SHARE = 0.25
# Outer product of second differences: what is left where structure is smooth.
SECOND = np.array([1.0, -2.0, 1.0])
# Noise at the mean signal from which a residual may be too weak: back-projection
# copies weaker noise into results on purpose.
REPEATED = 0.01
# Side of the periodic plane on which variances of filtered noise are computed.
GRID = 128


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Residual:
    """Residual of a result, and what the noise of the image does not allow of it.

    Attributes
    ----------
    standardised : ndarray, shape (C, Y, X), float32
        Degraded result minus image, in standard deviations of the noise, or of
        rounding where the image is clean.
    chi_square : ndarray, shape (C, Y, X), float32
        Local mean of its squares; 1 is expected.
    flags : ndarray, shape (Y, X), bool
        Where the residual is not what the noise allows; never at the border.
    flagged : float
        Share of the area inside the border that is flagged.
    level : float
        Deviation of the finest residual as a multiple of that of the noise, without
        places where the model gives none; 1 where nothing tells.
    shift_px : tuple of float
        How far the result lies beside the image along (Y, X), input pixels; somewhat
        too large where the result is smooth.
    unit : {"noise", "rounding"}
        What the residual is measured in.
    reasons : tuple of str
        Why the whole disagrees, ``local``, ``shifted``, ``noise underrated`` or ``noise
        overrated``; empty if it agrees.
    """

    standardised: NDArray[np.float32]
    chi_square: NDArray[np.float32]
    flags: Mask
    flagged: float
    level: float
    shift_px: Pair
    unit: Unit
    reasons: tuple[Reason, ...]

    @property
    def disagrees(self) -> bool:
        """Whether the whole result disagrees with the image."""
        return bool(self.reasons)

    @property
    def sentence(self) -> str:
        """One sentence for a user."""
        return _sentence(self)


def residual(
    image: NDArray[np.floating],
    result: NDArray[np.floating],
    factors: Pair,
    kernel: KernelSpec,
    noise: NoiseModel,
) -> Residual:
    """Degrade a result, and compare it with the image in units of the noise.

    Local means, local squares and the correlation with the gradient are tested pixel by
    pixel at a controlled false discovery rate (Benjamini & Hochberg, J. R. Stat. Soc.
    B 57, 1995), under noise of the model's own spatial correlation.

    Parameters
    ----------
    image : ndarray, shape (C, Y, X)
        Normalised intensities, about 0 to 1; at least 16 x 16 pixels.
    result : ndarray, shape (C, ceil(f Y), ceil(f X))
        In the same units.
    factors : tuple of float
        Enlargement along (Y, X), from 1 up.
    kernel : KernelSpec
        Blur on the fine grid: bicubic, Gaussian or an array.
    noise : NoiseModel
        Noise of the image. Of a clean one the residual is measured in rounding, 0.2 %
        of the range.

    Returns
    -------
    Residual

    Raises
    ------
    InputError
        Shapes do not fit, values are not finite, or the kernel is not a blur yet.
    """
    return drain(residual_steps(image, result, factors, kernel, noise))


def residual_steps(
    image: NDArray[np.floating],
    result: NDArray[np.floating],
    factors: Pair,
    kernel: KernelSpec,
    noise: NoiseModel,
) -> Steps[Residual]:
    """`residual` in steps, between which it can be cancelled."""
    yield _progress(0)
    _check(image, result, factors, kernel)
    son = degrade_array(result, kernel, factors)[:, : image.shape[1], : image.shape[2]]
    variance, is_floor = _variance(son, noise)
    deviation = np.sqrt(variance)
    standardised = (son - image) / deviation
    is_rounding = _level(son, noise) <= least_deviation(noise)
    beyond = _beyond_rounding(standardised) if is_rounding else standardised
    tested = _tested(son, deviation, beyond, is_floor, noise)
    strong = np.zeros(tested.values.shape[1:], bool)
    for number, flags in enumerate((_square_flags, _mean_flags, _shift_flags), start=1):
        yield _progress(number)
        strong |= flags(tested)
    yield _progress(4)
    weak = _weak_flags(tested)
    level, least, largest = _level_and_limits(tested)
    shift, is_shifted = _shift(tested)
    found: dict[Reason, bool] = {
        "noise underrated": level > largest,
        "noise overrated": level < least and tested.may_be_weak,
        "shifted": is_shifted,
        "local": int(strong.sum()) > max(LOCAL_PX, LOCAL_SHARE * strong.size),
    }
    return Residual(
        standardised=standardised.astype(np.float32),
        chi_square=_windowed(standardised**2, WINDOW_PX).astype(np.float32),
        flags=np.pad(strong | weak, BORDER_PX),
        flagged=float((strong | weak).mean()),
        level=level,
        shift_px=shift,
        unit="rounding" if is_rounding else "noise",
        reasons=tuple(reason for reason, holds in found.items() if holds),
    )


def _progress(step: int) -> Progress:
    return Progress(stage="residual", step=step, total=5)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Tested:
    """What is tested, inside the border.

    Attributes
    ----------
    values : residual in standard deviations, (C, Y, X)
    slopes : of the degraded result along (Y, X), the same per pixel, (2, C, Y, X)
    fine_squares : of the finest residual; 1 is expected, (C, Y, X)
    bands : spatial correlation of the noise
    may_be_weak : whether a residual that is too weak counts
    """

    values: Array
    slopes: Array
    fine_squares: Array
    bands: Bands
    may_be_weak: bool


def _tested(
    son: Array, deviation: Array, values: Array, is_floor: Mask, noise: NoiseModel
) -> _Tested:
    """Cut the border off what is tested, all (C, Y, X)."""
    inside = (slice(None), *(slice(BORDER_PX, n - BORDER_PX) for n in son.shape[1:]))
    slopes = np.asarray(np.gradient(son, axis=(1, 2))) / deviation
    fine = _second_difference(values) / _fine_deviation(noise.bands)
    return _Tested(
        values=values[inside],
        slopes=slopes[:, *inside],
        # Where the model ends, nothing tells noise from too little of it.
        fine_squares=np.where(is_floor, 1.0, fine**2)[inside],
        bands=noise.bands,
        may_be_weak=_level(son, noise) >= REPEATED,
    )


def _check(
    image: NDArray[Any], result: NDArray[Any], factors: Pair, kernel: KernelSpec
) -> None:
    if not kernel.is_concrete:
        raise InputError(
            f"The residual cannot be computed with the blur {kernel.kind!r}; give a "
            "bicubic or Gaussian kernel, or an array."
        )
    if image.ndim != 3 or min(image.shape[1:]) < SMALLEST_PX:
        raise InputError(
            f"A residual needs an image (C, Y, X) of at least {SMALLEST_PX} × "
            f"{SMALLEST_PX} pixels, its shape is {image.shape}; give a larger part."
        )
    if not all(math.isfinite(f) and f >= 1 for f in factors):
        raise InputError(
            f"Enlargement factors are at least 1, but {factors} were given; give the "
            "factors along (Y, X)."
        )
    rows, columns = (
        output_size(n, f) for n, f in zip(image.shape[1:], factors, strict=True)
    )
    wanted = (len(image), rows, columns)
    if result.shape != wanted:
        raise InputError(
            f"The result has shape {result.shape}, but the image {image.shape} "
            f"enlarged by {factors} has {wanted}; give the result of this image."
        )
    for name, array in (("image", image), ("result", result)):
        count = int((~np.isfinite(array)).sum())
        if count:
            raise InputError(
                f"The {name} contains {counted(count, 'NaN or infinite value')}; fill "
                "them before its residual is computed."
            )


def _level(son: Array, noise: NoiseModel) -> float:
    return noise.sigma(float(son.mean().clip(0, 1)))


def _variance(son: Array, noise: NoiseModel) -> tuple[Array, Mask]:
    """Variance of the noise of every pixel, and where that is the least assumed."""
    least = max(least_deviation(noise), DARK_SHARE * _level(son, noise)) ** 2
    variance = noise.gain * son.clip(0, 1) + noise.offset
    return np.maximum(variance, least), variance < least


def _beyond_rounding(standardised: Array) -> Array:
    """What rounding cannot explain: it has bounds, and is alike where all is flat."""
    beyond = np.maximum(np.abs(standardised) - 1, 0)
    return np.asarray(np.copysign(beyond, standardised))


def _windowed(planes: Array, width: float) -> Array:
    """Local means (..., Y, X) under a Gaussian window."""
    sigma = (0.0,) * (planes.ndim - 2) + (width, width)
    return np.asarray(ndimage.gaussian_filter(planes, sigma, mode="mirror"))


def _coverage(shape: tuple[int, ...], width: float) -> Array:
    """Share of each window (Y, X) that lies inside: the rest is mirrored, not new."""
    ones = np.ones(shape[-2:])
    return np.asarray(ndimage.gaussian_filter(ones, width, mode="constant"))


def _second_difference(planes: Array) -> Array:
    rows = ndimage.correlate1d(planes, SECOND, axis=1, mode="mirror")
    return np.asarray(ndimage.correlate1d(rows, SECOND, axis=2, mode="mirror"))


def _flagged(chances: Array) -> Mask:
    """Where chances (C, Y, X) under the noise are too small, for any sample."""
    adjusted = stats.false_discovery_control(chances.clip(0, 1).ravel())
    return np.asarray((adjusted <= FALSE_RATE).reshape(chances.shape).any(axis=0))


def _mean_flags(tested: _Tested) -> Mask:
    """Where the result is brighter or darker than the image."""
    flags = np.zeros(tested.values.shape[1:], bool)
    for width in MEAN_PX:
        covered = _coverage(flags.shape, width)
        expected = _mean_deviation(tested.bands, width) / np.sqrt(covered)
        scores = np.abs(_windowed(tested.values, width)) / expected
        flags |= _flagged(2 * stats.norm.sf(scores))
    return flags


def _square_flags(tested: _Tested) -> Mask:
    """Where the residual varies more than the noise."""
    freedom = _coverage(tested.values.shape, WINDOW_PX)
    freedom *= _freedom(tested.bands, is_fine=False)
    squares = _windowed(tested.values**2, WINDOW_PX) / LARGEST_LEVEL**2
    return _flagged(stats.chi2.sf(squares * freedom, freedom))


def _weak_flags(tested: _Tested) -> Mask:
    """Where the finest residual is less than the noise."""
    if not tested.may_be_weak:
        return np.zeros(tested.values.shape[1:], bool)
    freedom = _coverage(tested.values.shape, WINDOW_PX)
    freedom *= _freedom(tested.bands, is_fine=True)
    squares = _windowed(tested.fine_squares, WINDOW_PX) / LEAST_LEVEL**2
    return _flagged(stats.chi2.cdf(squares * freedom, freedom))


def _level_and_limits(tested: _Tested) -> tuple[float, float, float]:
    """Deviation of the finest residual, and limits; the median passes over spots."""
    squares = tested.fine_squares
    level = math.sqrt(float(np.median(_windowed(squares, WINDOW_PX))))
    windows = squares.size / (4 * math.pi * WINDOW_PX**2)
    error = 1 / math.sqrt(2 * _freedom(tested.bands, is_fine=True) * windows)
    margin = float(stats.norm.isf(FALSE_RATE / 2)) * error
    return level, LEAST_LEVEL * (1 - margin), LARGEST_LEVEL * (1 + margin)


def _products(tested: _Tested) -> tuple[Array, Array]:
    """Products of the slopes with the residual (2, Y, X) and each other (2, 2, Y, X).

    Sums over the samples, which are shifted alike.
    """
    slopes = tested.slopes
    return (
        np.einsum("acyx,cyx->ayx", slopes, tested.values),
        np.einsum("acyx,bcyx->abyx", slopes, slopes),
    )


def _shift_flags(tested: _Tested) -> Mask:
    """Where the residual follows the gradient, as that of a shifted result does."""
    score, information = _products(tested)
    # Sums under a window; the squares of a Gaussian's weights are a narrower one's.
    pixels = 4 * math.pi * WINDOW_PX**2
    variance = pixels * _windowed(information, WINDOW_PX / math.sqrt(2))
    variance *= _strongest(tested.bands) / _coverage(variance.shape, WINDOW_PX)
    sums = (pixels * _windowed(part, WINDOW_PX) for part in (score, information))
    last = [np.moveaxis(part, (-2, -1), (0, 1)) for part in (*sums, variance)]
    _, chances = _shift_chances(*last)
    return _flagged(chances[None])


def _shift(tested: _Tested) -> tuple[Pair, bool]:
    """Shift of the whole (Y, X), and whether it is more than noise and tolerance."""
    score, information = (part.sum(axis=(-2, -1)) for part in _products(tested))
    variance = information * _strongest(tested.bands)
    shift, chance = _shift_chances(score, information, variance)
    return (float(shift[0]), float(shift[1])), bool(chance <= FALSE_RATE)


def _shift_chances(
    score: Array, information: Array, variance: Array
) -> tuple[Array, Array]:
    """Shifts (..., 2), and the chance (...) that noise makes them of tolerated ones.

    `score` (..., 2) are products of residual and slopes, of a `variance` (..., 2, 2).
    Where there are no slopes, shifts are taken for smaller than a pixel.
    """
    unit = np.eye(2)
    shift = -np.linalg.solve(information + unit, score[..., None])[..., 0]
    scaled = np.linalg.solve(variance + 1e-6 * unit, score[..., None])[..., 0]
    power = np.maximum((score * scaled).sum(axis=-1), 0)
    length = np.maximum(np.hypot(shift[..., 0], shift[..., 1]), 1e-12)
    beyond = np.maximum(1 - SHIFT_PX / length, 0)
    return np.asarray(shift), np.asarray(stats.chi2.sf(power * beyond**2, 2))


# Expectations under the noise, from its spectrum.


def _transfer(width: float) -> Array:
    """Transfer (GRID, GRID) of a Gaussian window."""
    along = np.exp(-2 * (math.pi * width * np.fft.fftfreq(GRID)) ** 2)
    return np.outer(along, along)


def _fine_transfer() -> Array:
    along = 2 - 2 * np.cos(2 * math.pi * np.fft.fftfreq(GRID))
    return np.outer(along, along)


def _strongest(bands: Bands) -> float:
    """Power of the strongest frequency of noise of variance 1."""
    return float(noise_spectrum(bands, (GRID, GRID)).max())


@lru_cache(maxsize=16)
def _mean_deviation(bands: Bands, width: float) -> float:
    """Deviation of local means of noise of variance 1."""
    power = _transfer(width) ** 2 * noise_spectrum(bands, (GRID, GRID))
    return math.sqrt(float(power.mean()))


@lru_cache(maxsize=16)
def _fine_deviation(bands: Bands) -> float:
    """Deviation of second differences of noise of variance 1."""
    power = _fine_transfer() ** 2 * noise_spectrum(bands, (GRID, GRID))
    return math.sqrt(float(power.mean()))


@lru_cache(maxsize=16)
def _freedom(bands: Bands, *, is_fine: bool) -> float:
    """Degrees of freedom of a local mean of squares.

    That of a chi-square of the same mean and variance (Satterthwaite, Biometrics
    Bulletin 2, 1946); squares of Gaussian noise covary by twice its covariance squared.
    """
    power = noise_spectrum(bands, (GRID, GRID))
    if is_fine:
        power = power * _fine_transfer() ** 2
    covariance = np.fft.ifft2(power / power.mean()).real
    of_squares = np.fft.fft2(2 * covariance**2).real
    return 2 / float((_transfer(WINDOW_PX) ** 2 * of_squares).mean())


def _sentence(found: Residual) -> str:
    area = f"{100 * found.flagged:.3g} % of the area"
    more = "its noise" if found.unit == "noise" else "rounding"
    if not found.disagrees:
        exception = f", except in {area}" if found.flagged else ""
        return f"The result agrees with the image to within {more}{exception}."
    if found.reasons == ("noise overrated",):
        return (
            f"The result differs from the image by only {found.level:.2g} times the "
            "assumed noise; there may be less noise than assumed, or the result "
            "reproduces it."
        )
    who = f"In {area} the result" if found.flagged else "The result"
    # A shift, or noise that is underrated, shows in places too.
    explained = {"shifted", "noise underrated"} & set(found.reasons)
    reasons = [r for r in found.reasons if r != "local" or not explained]
    why = ", and ".join(_clause(reason, found) for reason in reasons)
    return f"{who} disagrees with the image by more than {more}: {why}."


def _clause(reason: Reason, found: Residual) -> str:
    if reason == "shifted":
        return f"it is shifted by {math.hypot(*found.shift_px):.2g} pixels"
    if reason == "local":
        return "structures were added, lost or moved in places"
    more = "more" if reason == "noise underrated" else "less"
    return (
        f"fine detail differs by {found.level:.2g} times the assumed noise, so there "
        f"may be {more} noise than assumed"
    )
