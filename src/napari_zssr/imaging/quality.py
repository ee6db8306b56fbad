"""Checks on results, without truth: what changed, and how much of it is supported."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from napari_zssr.imaging.blur_estimate import (
    ANGLES,
    Array32,
    Spectrum,
    blur_by_direction,
    in_band,
    power_spectrum,
)
from napari_zssr.imaging.degrade import degrade_array
from napari_zssr.imaging.kernel import FineKernel
from napari_zssr.imaging.noise import CLEAN, NoiseModel, estimate_noise, loaded_arrays
from napari_zssr.imaging.resample import Array, Pair, imresize
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


def combined_quality(
    qualities: Sequence[Quality], average: Callable[..., Any] = np.median
) -> Quality:
    """Checks of several planes, or parts, as one."""
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


def least_deviation(noise: NoiseModel) -> float:
    """Deviation of rounding: that of pixels, or of the steps that a JPEG keeps."""
    steps = np.reshape(noise.jpeg[:64], (8, 8))[:4, :4] if noise.jpeg else np.zeros(1)
    return max(LEAST_DEVIATION, _rms(steps) / math.sqrt(12))


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
    least = least_deviation(noise)
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


TREES = Path(__file__).parents[1] / "data" / "support.npz"
# Enlargement at which fine detail is compared: that of the images learned from.
COMMON = (2.0, 2.0)
# Highest frequency of an image, cycles per pixel, at which blurs are compared.
NYQUIST = 0.5
# Added to transfers before their logarithm, and value of a blur that no edge shows.
LEAST_TRANSFER, UNKNOWN = 1e-3, -9.0
# Gain from which decibels are compressed to their logarithm.
SCALE_DB = 0.3
# Widths (fine pixels) at which the change is compared with sharpened edges.
EDGE_WIDTHS = (1.0, 2.0, 3.0)
FEATURES = (
    "variation",
    "sharpness",
    "sharpness_own",
    "overshoot",
    "overshoot_bicubic",
    "misfit",
    "misfit_correlation",
    "change",
    "excess",
    "noise_underrated",
    "noise_contrast",
    "noise_contrast_assumed",
    "sparsity",
    "oscillation",
    "tails",
    "edges_1",
    "edges_2",
    "edges_3",
    "edges_gain",
    "transfer_margin_least",
    "transfer_margin_most",
    "transfer_most",
    "blur_error",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Support:
    """Support of a result by its checks.

    Attributes
    ----------
    quality : the checks
    share : share of the change from bicubic that is likely closest to the truth
    gain : likely gain over bicubic against the truth, dB
    margin : logarithm of the assumed transfer at the image's highest frequency over
        that of the blur of its edges: negative if too wide; None if they show none
    """

    quality: Quality
    share: float
    gain: float
    margin: float | None


def support(
    image: NDArray[np.floating],
    result: NDArray[np.floating],
    factors: Pair,
    kernel: KernelSpec,
    noise: NoiseModel = CLEAN,
) -> Support | None:
    """Judge a result (C, ceil(f Y), ceil(f X)) by its checks; None if it is too small.

    The image is a plane, section or part of one, (C, Y, X) in normalised intensity; the
    result is the networks' own, nothing blended; kernel and noise are those assumed.
    """
    checks = quality(image, result, factors, kernel, noise)
    if checks is None:
        return None
    features = support_features(image, result, factors, kernel, checks)
    share, gain = judged(features)
    margin = float(features[FEATURES.index("transfer_margin_most")])
    return Support(
        quality=checks,
        share=share,
        gain=gain,
        margin=None if margin == UNKNOWN else margin,
    )


def support_features(
    image: NDArray[np.floating],
    result: NDArray[np.floating],
    factors: Pair,
    kernel: KernelSpec,
    checks: Quality,
) -> Array:
    """Features that the share is judged from, in the order of `FEATURES`."""
    grey = image.mean(axis=0).astype(np.float32)
    fine = _at_common(result.mean(axis=0), factors, grey.shape)
    plain = imresize(grey, COMMON).astype(np.float32)
    contrast = max(float(grey.std()), LEAST_DEVIATION)
    margins, widest, error = _transfers(grey, factors, kernel)
    cut = inner(plain.shape, COMMON)
    values = (
        math.log(_variation(fine[cut]) / max(_variation(plain[cut]), 1e-9)),
        checks.sharpness,
        checks.sharpness / _own_sharpness(grey),
        checks.overshoot,
        checks.overshoot_bicubic,
        checks.misfit,
        checks.misfit_correlation,
        checks.change,
        checks.excess,
        math.log(
            (checks.noise + LEAST_DEVIATION) / (checks.noise_assumed + LEAST_DEVIATION)
        ),
        checks.noise / contrast,
        checks.noise_assumed / contrast,
        _sparsity(fine[cut]),
        _oscillation(fine[cut]),
        _tails(fine[cut]),
        *_at_edges(fine - plain, plain, cut),
        min(margins),
        max(margins),
        widest,
        error,
    )
    return np.array(values, np.float64)


def judged(features: Array) -> tuple[float, float]:
    """Share of the change that is supported, and gain in dB, of one result."""
    # Regression trees, shapes (heads, trees, nodes); leaves lead to themselves.
    trees = loaded_arrays(TREES)
    node = np.zeros(trees["left"].shape[:2], int)
    at = np.ogrid[tuple(map(slice, node.shape))]
    for _ in range(int(trees["depth"])):
        value, limit = (trees[name][*at, node] for name in ("feature", "threshold"))
        low = features[value] <= limit
        node = np.where(low, trees["left"][*at, node], trees["right"][*at, node])
    share, gain = trees["start"] + trees["value"][*at, node].sum(axis=1)
    return float(share), float(decibels(gain))


def decibels(scaled: float) -> float:
    """Gain in dB from the compressed form that the trees learned."""
    return math.copysign(SCALE_DB * math.expm1(abs(scaled)), scaled)


def scaled_gain(decibel: float) -> float:
    """Inverse of `decibels`: a tenth of a dB counts more the nearer to 0."""
    return math.copysign(math.log1p(abs(decibel) / SCALE_DB), decibel)


def _at_common(
    result: NDArray[np.floating], factors: Pair, size: tuple[int, ...]
) -> Array32:
    """The result (Y, X) on a grid twice as fine as the image's."""
    if factors != COMMON:
        rest = (COMMON[0] / factors[0], COMMON[1] / factors[1])
        result = imresize(result, rest)
    shape = [round(n * f) for n, f in zip(size, COMMON, strict=True)]
    missing = [(0, max(0, m - n)) for m, n in zip(shape, result.shape, strict=True)]
    padded = np.pad(result, missing, mode="edge")
    return padded[: shape[0], : shape[1]].astype(np.float32)


def _variation(plane: Array32) -> float:
    return float(sum(np.abs(np.diff(plane, axis=axis)).mean() for axis in (0, 1)))


def _sparsity(plane: Array32) -> float:
    """Root mean square over mean magnitude of the slopes, logarithm."""
    slopes = np.concatenate([np.diff(plane, axis=axis).ravel() for axis in (0, 1)])
    size = max(float(np.abs(slopes).mean()), 1e-9)
    return math.log(max(float(np.sqrt((slopes**2).mean())), 1e-9) / size)


def _oscillation(plane: Array32) -> float:
    """Second over first differences, logarithm."""
    first, second = (
        sum(float(np.abs(np.diff(plane, order, axis=axis)).mean()) for axis in (0, 1))
        for order in (1, 2)
    )
    return math.log(max(second, 1e-9) / max(first, 1e-9))


def _tails(plane: Array32) -> float:
    """Kurtosis of the Laplacian, logarithm."""
    values = ndimage.laplace(plane)
    values = values - values.mean()
    power = max(float((values**2).mean()), 1e-12)
    return math.log(max(float((values**4).mean()) / power**2, 1e-9))


def _own_sharpness(grey: Array32) -> float:
    """How much sharper the image's edges are than after halving and enlarging."""
    halved = imresize(imresize(grey, (0.5, 0.5)), COMMON)
    plain = halved[: grey.shape[0], : grey.shape[1]].astype(np.float32)
    return max(edge_slope(grey, plain) / max(edge_slope(plain, plain), 1e-9), 1e-3)


def _at_edges(change: Array32, plain: Array32, cut: tuple[slice, slice]) -> list[float]:
    """Correlation of the change with sharpened edges, and their strength in it."""
    changed = change[cut].ravel().astype(np.float64)
    correlations = []
    gains = []
    for width in EDGE_WIDTHS:
        edges = -ndimage.gaussian_laplace(plain, width)[cut].ravel().astype(np.float64)
        product = float(changed @ edges)
        norm = float(np.linalg.norm(changed) * np.linalg.norm(edges))
        correlations.append(product / max(norm, 1e-12))
        gains.append(product / max(float(edges @ edges), 1e-12))
    return [*correlations, gains[0]]


def _transfers(
    grey: Array32, factors: Pair, kernel: KernelSpec
) -> tuple[list[float], float, float]:
    """Log transfers of the assumed blur over the edges' by direction, largest, error.

    Transfers are those at the image's highest frequency.
    """
    weights = FineKernel(spec=kernel, factors=factors, sentence="").array
    assumed = np.log(_transfer(weights, factors) + LEAST_TRANSFER)
    blur = blur_by_direction(grey)
    if blur is None:
        return [UNKNOWN], float(assumed.max()), UNKNOWN
    variance, error = blur
    shown = -2 * math.pi**2 * variance * (NYQUIST / COMMON[0]) ** 2
    return list(assumed - shown), float(assumed.max()), error


def _transfer(weights: Array, factors: Pair) -> Array:
    """Transfer of a kernel (odd, odd) at the highest frequency, for each of ANGLES."""
    y, x = (np.arange(n) - n // 2 for n in weights.shape)
    transfers = []
    for angle in ANGLES:
        along = math.cos(angle) / factors[0], math.sin(angle) / factors[1]
        phase = 2 * math.pi * NYQUIST * np.add.outer(along[0] * y, along[1] * x)
        transfers.append(abs((weights * np.exp(1j * phase)).sum()))
    return np.array(transfers)
