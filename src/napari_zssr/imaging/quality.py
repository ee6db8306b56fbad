"""Checks on a delivered result: what changed, grain, agreement, ringing, colour.

A gain on held-out regions is measured on the image shrunk and enlarged again, under
the assumed blur and noise. These checks evaluate the pixels that are handed over. They
need no truth: everything is compared with the image and its bicubic enlargement.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from napari_zssr.imaging.blur_estimate import (
    Array32,
    Spectrum,
    in_band,
    power_spectrum,
)
from napari_zssr.imaging.degrade import degrade_array
from napari_zssr.imaging.noise import CLEAN, NoiseModel, estimate_noise
from napari_zssr.imaging.resample import Pair, imresize
from napari_zssr.kernelspec import KernelSpec

Mask = NDArray[np.bool_]

# Input pixels beside the border that are left out: it mirrors, and blurs reach over it.
BORDER_PX = 4
SMALLEST_PX = 16
# Shares of the plane: its flattest parts, and its steepest edges.
FLAT, STEEP = 0.1, 0.05
# Fine-scale deviation, as a multiple of that of the noise alone, up to which the
# flattest parts are taken for noise; beyond it they hold texture too.
NOISE_ALONE = 1.12
# Quantisation and rounding of a clean image, fraction of the range.
LEAST_DEVIATION = 0.002
# Colour difference (fraction of the range) up to which a pixel counts as grey.
GREY = 0.06
# Bands of the spectrum in cycles per input pixel along an axis: where the slope of the
# image's own spectrum is fitted, and the octave above what its pixels can hold.
FITTED, ABOVE = (0.06, 0.25), (0.5, 1.0)
# Added to powers, squared intensity range: the rounding to 8 bits.
LEAST_POWER = 1e-7
# Half width of the peak that a lattice of one input pixel's period makes, and the
# frequencies that it is compared with.
TIP, BESIDE = 0.07, (0.75, 0.9)


@dataclass(frozen=True, slots=True, kw_only=True)
class Quality:
    """Checks of a result against bicubic enlargement of the image.

    Fractions are those of the intensity range.

    Attributes
    ----------
    change : root mean square difference, fraction
    change_in_noise : the same in standard deviations of the noise; None without noise
    noise : standard deviation at the mean signal as estimated from the image, fraction
    noise_assumed : the same as assumed
    grain : fine-scale standard deviation in the flattest tenth, share of bicubic's;
        None if that holds more than the noise, or none
    sharpness : slope of the steepest edges, share of bicubic's
    misfit : root mean square difference of the degraded result and the image, in
        standard deviations of the noise (at least 0.2 % of the range)
    misfit_correlation : correlation of that between neighbours; 0 for white noise
    overshoot : how far pixels beside the steepest edges leave the range of the image's
        own pixels around them, fraction of that range
    overshoot_bicubic : the same of bicubic enlargement
    excess : power in the octave above the image's band over the image's own spectrum
        extrapolated there, decades
    lattice : power at a period of one input pixel over that around it, decades; 0 if
        the factor is not a whole number
    colour_shift : root mean square change of the colour differences of grey pixels,
        fraction; 0 for grey images
    """

    change: float
    change_in_noise: float | None
    noise: float
    noise_assumed: float
    grain: float | None
    sharpness: float
    misfit: float
    misfit_correlation: float
    overshoot: float
    overshoot_bicubic: float
    excess: float
    lattice: float
    colour_shift: float


def quality(
    image: NDArray[np.floating],
    result: NDArray[np.floating],
    factors: Pair,
    kernel: KernelSpec,
    noise: NoiseModel = CLEAN,
) -> Quality | None:
    """Check a result (C, ceil(f Y), ceil(f X)); None if it is too small.

    The image is a plane, a section along any axis, or part of one, (C, Y, X) in
    normalised intensity; kernel (on the fine grid) and noise are those assumed.
    """
    if min(image.shape[1:]) < SMALLEST_PX:
        return None
    image, result = image.astype(np.float32), result.astype(np.float32)
    bicubic = imresize(image, factors).astype(np.float32)
    grey, fine, plain = (part.mean(axis=0) for part in (image, result, bicubic))
    mean = float(grey.mean().clip(0, 1))
    level, estimated = noise.sigma(mean), estimate_noise(grey)
    cut = inner(plain.shape, factors)
    change = _rms((result - bicubic)[:, *cut])
    flat, steep = _flat_and_steep(plain, factors, cut)
    slope = [float(_slope(part, factors)[steep].mean()) for part in (fine, plain)]
    misfit, correlation = _misfit(image, result, factors, kernel, noise)
    overshoots = _overshoots(grey, (fine, plain), factors, steep)
    spectrum = power_spectrum(fine[cut], factors)
    return Quality(
        change=change,
        change_in_noise=change / level if level > 0 else None,
        noise=estimated.sigma(mean),
        noise_assumed=level,
        grain=_grain(estimated, fine, plain, factors, flat),
        sharpness=slope[0] / max(slope[1], 1e-9),
        misfit=misfit,
        misfit_correlation=correlation,
        overshoot=overshoots[0],
        overshoot_bicubic=overshoots[1],
        excess=_excess(power_spectrum(grey), spectrum, noise, level),
        lattice=_lattice(spectrum, factors),
        colour_shift=_colour_shift(result[:, *cut], bicubic[:, *cut]),
    )


def mean_quality(qualities: Sequence[Quality]) -> Quality:
    """Checks of several parts combined."""
    return _combined(qualities, np.mean)


def median_quality(qualities: Sequence[Quality]) -> Quality:
    """Checks of several planes combined."""
    return _combined(qualities, np.median)


def _combined(qualities: Sequence[Quality], average: Callable[..., Any]) -> Quality:
    values: dict[str, Any] = {}
    for name in (field.name for field in fields(Quality)):
        known = [v for v in (getattr(q, name) for q in qualities) if v is not None]
        values[name] = float(average(known)) if known else None
    return Quality(**values)


def inner(shape: tuple[int, ...], factors: Pair) -> tuple[slice, slice]:
    """Part of an enlarged plane (Y, X) without its border."""
    y, x = (math.ceil(BORDER_PX * f) for f in factors)
    return slice(y, shape[0] - y), slice(x, shape[1] - x)


def _rms(values: NDArray[np.floating]) -> float:
    return float(np.sqrt(np.mean(values**2))) if values.size else 0.0


def _smoothed(plane: Array32, factors: Pair, input_px: float) -> Array32:
    """Gaussian smoothing by so many input pixels."""
    sigma = [input_px * f for f in factors]
    return np.asarray(ndimage.gaussian_filter(plane, sigma, mode="mirror"))


def _fine_scale(plane: Array32, factors: Pair) -> Array32:
    return plane - _smoothed(plane, factors, 1.0)


def _grain(
    noise: NoiseModel, fine: Array32, plain: Array32, factors: Pair, flat: Mask
) -> float | None:
    """Fine-scale deviation as a share of bicubic's, if that is noise alone."""
    level = noise.sigma(float(plain[flat].mean().clip(0, 1)))
    before = _rms(_fine_scale(plain, factors)[flat])
    expected = level * _grain_of_noise(noise.bands, factors)
    if level < LEAST_DEVIATION or before > NOISE_ALONE * expected:
        return None
    return _rms(_fine_scale(fine, factors)[flat]) / before


@lru_cache(maxsize=16)
def _grain_of_noise(bands: tuple[float, ...], factors: Pair) -> float:
    """Fine-scale deviation of noise of deviation 1 after bicubic enlargement."""
    import torch

    unit = NoiseModel(offset=1.0, bands=bands)
    generator = torch.Generator().manual_seed(0)
    drawn = unit.draw(torch.zeros(1, 128, 128), generator).numpy()
    return _rms(_fine_scale(imresize(drawn, factors)[0], factors))


def _slope(plane: Array32, factors: Pair) -> Array32:
    """Gradient magnitude per input pixel."""
    y, x = np.gradient(plane)
    return np.asarray(np.hypot(factors[0] * y, factors[1] * x))


def edge_slope(plane: Array32, plain: Array32) -> float:
    """Mean slope of a plane (Y, X), not enlarged, at the steepest edges of `plain`."""
    unit = (1.0, 1.0)
    _, steep = _flat_and_steep(plain, unit, inner(plain.shape, unit))
    return float(_slope(plane, unit)[steep].mean())


def _flat_and_steep(
    plain: Array32, factors: Pair, cut: tuple[slice, slice]
) -> tuple[Mask, Mask]:
    """Masks of the flattest and steepest pixels of bicubic enlargement, in `cut`."""
    inside = np.zeros(plain.shape, bool)
    inside[cut] = True
    broad = _slope(_smoothed(plain, factors, 2.0), factors)
    edges = _slope(_smoothed(plain, factors, 0.7), factors)
    flat = inside & (broad <= np.quantile(broad[cut], FLAT))
    return flat, inside & (edges >= np.quantile(edges[cut], 1 - STEEP))


def _misfit(
    image: Array32,
    result: Array32,
    factors: Pair,
    kernel: KernelSpec,
    noise: NoiseModel,
) -> tuple[float, float]:
    """Misfit of the degraded result, and its correlation between neighbours."""
    son = degrade_array(result, kernel, factors)
    rows, columns = np.minimum(son.shape[1:], image.shape[1:]) - BORDER_PX
    inside = (slice(None), slice(BORDER_PX, rows), slice(BORDER_PX, columns))
    expected = noise.gain * son[inside].clip(0, 1) + noise.offset
    # Deviation of rounding in JPEG blocks, of the frequencies that are kept.
    steps = np.reshape(noise.jpeg[:64], (8, 8))[:4, :4] if noise.jpeg else np.zeros(1)
    least = max(LEAST_DEVIATION, _rms(steps) / math.sqrt(12))
    residual = (image[inside] - son[inside]) / np.sqrt(np.maximum(expected, least**2))
    centred = residual - residual.mean(axis=(1, 2), keepdims=True)
    power = float((centred**2).mean())
    shifted = [
        (centred[:, 1:] * centred[:, :-1]).mean(),
        (centred[:, :, 1:] * centred[:, :, :-1]).mean(),
    ]
    return _rms(residual), float(np.mean(shifted)) / max(power, 1e-12)


def _overshoots(
    grey: Array32, enlarged: Sequence[Array32], factors: Pair, steep: Mask
) -> list[float]:
    """How far pixels near edges leave the range of the 3 x 3 input pixels around."""
    nearest = [
        np.minimum((np.arange(n) + 0.5) // f, m - 1).astype(int)
        for n, f, m in zip(steep.shape, factors, grey.shape, strict=True)
    ]
    reach = [2 * math.ceil(f) + 1 for f in factors]
    near = ndimage.maximum_filter(steep, size=reach)
    low = ndimage.minimum_filter(grey, 3, mode="mirror")[np.ix_(*nearest)][near]
    high = ndimage.maximum_filter(grey, 3, mode="mirror")[np.ix_(*nearest)][near]
    height = max(float((high - low).mean()), 1e-9)
    return [
        float((np.maximum(low - p, 0) + np.maximum(p - high, 0)).mean()) / height
        for p in (plane[near] for plane in enlarged)
    ]


def _excess(own: Spectrum, result: Spectrum, noise: NoiseModel, level: float) -> float:
    """Power above the image's band over the extrapolated spectrum of the image."""
    power = np.maximum(own[0] - (level * noise.bands[0]) ** 2, 0.1 * own[0])
    fitted, above = in_band(own, FITTED), in_band(result, ABOVE)
    logs = np.log(np.hypot(*own[1:])[fitted]), np.log(power[fitted] + LEAST_POWER)
    slope, start = np.polyfit(*logs, 1)
    if not above.any():
        return 0.0
    radius = np.hypot(*result[1:])[above]
    expected = np.exp(start + slope * np.log(radius)).mean()
    measured = result[0][above].mean()
    return float(np.log10((measured + LEAST_POWER) / (expected + LEAST_POWER)))


def _lattice(spectrum: Spectrum, factors: Pair) -> float:
    """Power at one input pixel's period over that of lower frequencies near it."""
    power, y, x = spectrum
    excesses = [0.0]
    for along, across, factor in ((y, x, factors[0]), (x, y, factors[1])):
        if factor == 1 or not float(factor).is_integer():
            continue
        at = (np.abs(along - 1) <= TIP) & (across <= TIP)
        near = (along >= BESIDE[0]) & (along <= BESIDE[1]) & (across <= 2 * TIP)
        if at.any() and near.any():
            tip, beside = power[at].mean(), power[near].mean()
            excesses.append(math.log10((tip + LEAST_POWER) / (beside + LEAST_POWER)))
    return max(excesses)


def _colour_shift(result: Array32, bicubic: Array32) -> float:
    """Change of the colour of pixels that are nearly grey in the image."""
    if len(result) != 3:
        return 0.0
    chroma = [part - part.mean(axis=0) for part in (result, bicubic)]
    grey = np.ptp(bicubic, axis=0) <= GREY
    return _rms((chroma[0] - chroma[1])[:, grey])
