"""The blur of an image, estimated from how sharp its own edges are.

Scenes hold steps in every direction; what is left of the sharpest of them tells the
blur along each direction, and those together an anisotropic Gaussian. How slopes at
several scales tell it was learned from generated scenes (``tools/learn_blur.py``).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import fft, ndimage

from napari_zssr.imaging.kernel import FineKernel, kernel_for_factors
from napari_zssr.imaging.noise import estimate_noise, is_noisy
from napari_zssr.imaging.resample import spread_starts
from napari_zssr.kernelspec import KernelSpec

Array32 = NDArray[np.float32]

# Directions that a blur is looked at in, from Y towards X.
ANGLES = tuple(n * math.pi / 8 for n in range(8))
# Widths of the Gaussians that slopes are taken with, pixels.
SCALES = (0.4, 0.6, 0.9, 1.4, 2.1)
# The scale at which an edge is found.
FOUND_AT = 2
SHARES = (0.05, 0.15, 0.3, 0.5, 0.7)
LEAST_EDGES = 12
STEEP = 0.6
LEAST_SLOPE = 0.01
MARGIN = 4
RANGE = (0.005, 0.995)


def edge_features(plane: NDArray[Any]) -> Array32:
    """What tells a blur along each direction, whatever the contrast.

    A slope taken at two scales falls with the width of the edge: for a step blurred by
    v, slopes at scales s and t relate as sqrt((t^2 + v) / (s^2 + v)). The sharpest
    edges of a scene tell what the optics have left of a step.

    Parameters
    ----------
    plane : ndarray, shape (Y, X)
        Any linear intensity.

    Returns
    -------
    ndarray, shape (8, features)
        Logarithms of how slopes at neighbouring scales relate, at shares of the
        edges (`SHARES`), sharpest first; NaN where there are too few edges.
    """
    values = plane.astype(np.float32)
    low, high = np.quantile(values[::2, ::2], RANGE)
    values = (values - low) / max(float(high - low), 1e-6)
    slopes = [_slopes(values, scale) for scale in SCALES]
    along_y, along_x = slopes[FOUND_AT]
    size = np.hypot(along_y, along_x)
    angle = np.arctan2(along_x, along_y)
    inner = (slice(MARGIN, -MARGIN), slice(MARGIN, -MARGIN))
    steep = size > max(float(np.quantile(size[inner], STEEP)), LEAST_SLOPE)
    rows = []
    for direction in ANGLES:
        y, x = math.cos(direction), math.sin(direction)
        seen = [np.abs(a * y + b * x) for a, b in slopes]
        away = np.abs((angle - direction + math.pi / 2) % math.pi - math.pi / 2)
        edges = steep & (away < 0.9 * math.pi / len(ANGLES))
        edges &= _crest(seen[FOUND_AT], y, x)
        rows.append(_row([s[inner] for s in seen], edges[inner]))
    return np.array(rows, dtype=np.float32)


def _slopes(values: Array32, scale: float) -> tuple[Array32, Array32]:
    """Derivatives along Y and X of the smoothed plane."""

    def smoothed(plane: Array32, axis: int, order: int) -> Array32:
        made: Array32 = ndimage.gaussian_filter1d(
            plane, scale, axis=axis, order=order, truncate=3.5
        )
        return made

    return (
        smoothed(smoothed(values, 0, 1), 1, 0),
        smoothed(smoothed(values, 1, 1), 0, 0),
    )


def _crest(slope: Array32, y: float, x: float) -> NDArray[np.bool_]:
    """Where a slope is the steepest along a direction."""
    kept: NDArray[np.bool_] = np.ones(slope.shape, dtype=bool)
    for sign in (1, -1):
        moved = ndimage.shift(
            slope, (-sign * y, -sign * x), order=1, mode="nearest", prefilter=False
        )
        kept &= slope >= moved
    return kept


def _row(slopes: list[Array32], edges: NDArray[np.bool_]) -> list[float]:
    """Features of one direction."""
    pairs = list(pairwise(slopes))
    count = int(edges.sum())
    if count < LEAST_EDGES:
        return [math.nan] * (len(pairs) * len(SHARES))
    weights = slopes[FOUND_AT][edges].astype(np.float64)
    found = []
    for fine, coarse in pairs:
        ratio = np.log(fine[edges] / (coarse[edges] + 1e-6) + 1e-3)
        order = np.argsort(-ratio, kind="stable")
        share = np.cumsum(weights[order])
        places = np.searchsorted(share / share[-1], SHARES)
        found += [float(ratio[order[min(p, count - 1)]]) for p in places]
    return found


# Power, and the frequencies along Y and X that it belongs to, all of one shape.
Spectrum = tuple[Array32, Array32, Array32]

SQUARE_PX = 32


def power_spectrum(
    plane: NDArray[Any], factors: tuple[float, float] = (1.0, 1.0)
) -> Spectrum:
    """Mean power density of Hann-weighted squares (Welch, 1967).

    Parameters
    ----------
    plane : ndarray, shape (Y, X)
    factors : tuple of float
        Pixels of the plane per unit of length along (Y, X): the enlargement, where
        frequencies are wanted in cycles per input pixel.

    Returns
    -------
    tuple of ndarray, shape (32, 32) or less
        Power density, that of white noise being its variance over the product of the
        factors, and frequencies along Y and X in cycles per unit.
    """
    side = [min(SQUARE_PX, n) for n in plane.shape]
    taper = np.outer(*(np.hanning(n + 2)[1:-1] for n in side)).astype(np.float32)
    squares = np.lib.stride_tricks.sliding_window_view(plane, side)
    squares = squares[:: side[0], :: side[1]]
    centred = squares - squares.mean(axis=(-2, -1), keepdims=True)
    power = np.abs(fft.fft2(centred * taper)) ** 2
    density = power.mean(axis=(0, 1)) / ((taper**2).sum() * factors[0] * factors[1])
    y, x = (np.abs(np.fft.fftfreq(n)) * f for n, f in zip(side, factors, strict=True))
    return density, *np.broadcast_arrays(y[:, None], x[None])


def in_band(spectrum: Spectrum, band: tuple[float, float]) -> NDArray[np.bool_]:
    """Which frequencies, of any direction, lie in a band (lowest, highest)."""
    radius = np.hypot(*spectrum[1:])
    inside: NDArray[np.bool_] = (radius >= band[0]) & (radius <= band[1])
    return inside


Array = NDArray[np.float64]
Pair = tuple[float, float]

WEIGHTS = Path(str(resources.files("napari_zssr"))) / "data" / "blur.npz"
# Added to variances before their logarithm: finer blurs cannot be told apart.
LEAST_VARIANCE = 0.15
# The factor that the weights were learned for.
LEARNED = (2.0, 2.0)
# A kernel that is too wide does far more harm than one that is too narrow.
CAUTION = 0.87
# Limits of the widths, fine pixels.
NARROWEST, WIDEST = 0.3, 2.0
# Smaller width from which the scene itself is soft, or sampled too finely.
SOFTEST = 1.8
REGION_PX = 256
REGIONS = 12
LEAST_PX = 32
LEAST_DIRECTIONS = 4
# Expected error of a variance's logarithm from which an estimate says nothing.
VAGUE = 0.6
# Mean distance of features, in deviations, from which they are like nothing learned.
STRANGE = 2.5
# Log odds of bicubic from which it is taken, though a Gaussian is likelier: a wrong
# Gaussian costs up to 7 dB, a wrong bicubic kernel about 2. Edges that are wider than
# that are not bicubic's.
DOUBT = -3.0
WIDEST_BICUBIC = 1.35

# The finest detail of an image, cycles per pixel, and how many times the power of the
# noise it must have: below that the edges that are found are those of the noise, and
# estimates are 1.2 to 1.7 times too wide.
FINEST, LEAST_DETAIL = (0.38, 0.5), 5.0

HIDDEN = (
    "The finest detail of the image is noise: it is already oversampled, or too noisy "
    "to tell a blur, so that bicubic, the usual assumption, was taken."
)
BLIND = "No edges that tell the blur: bicubic, the usual assumption, was taken."
SOFT = (
    "The image is soft over several of its own pixels, which no blur between it and a "
    "finer one explains: bicubic, the usual assumption, was taken."
)
NOISY = "The edges do not tell the blur: bicubic, the usual assumption, was taken."
SHARP = "The edges are as sharp as bicubic reduction leaves them: bicubic was taken."


def estimated_blur(planes: Sequence[NDArray[np.float32]], factors: Pair) -> FineKernel:
    """A Gaussian for the blur that planes show, or bicubic where they tell none.

    Parameters
    ----------
    planes : sequence of ndarray, shape (C, Y, X)
        Of one channel.
    factors : tuple of float
        Enlargement along (Y, X).

    Returns
    -------
    FineKernel
        Its widths are an eighth narrower than what was seen, since too wide a kernel
        does more harm; `spread_px` says how well they are known.
    """
    regions = _regions(planes)
    detailed = [region for region in regions if _holds_detail(region)]
    if regions and not detailed:
        return _usual(factors, HIDDEN)
    seen = [s for region in detailed for s in _seen(region)]
    if not seen:
        return _usual(factors, BLIND)
    mean = _together(seen)
    if mean.error > VAGUE:
        return _usual(factors, NOISY)
    if mean.bicubic > DOUBT and mean.widths[0] < WIDEST_BICUBIC:
        return _usual(factors, SHARP)
    if mean.widths[1] > SOFTEST:
        return _usual(factors, SOFT)
    return _gaussian(mean, seen, factors)


def in_context(features: NDArray[np.float32]) -> NDArray[np.float32]:
    """Features (8, F) with those of all directions and of the perpendicular, (8, 3F).

    Directions without edges get the mean of the others.
    """
    known = ~np.isnan(features[:, 0])
    mean = features[known].mean(0) if known.any() else np.zeros_like(features[0])
    filled = np.where(known[:, None], features, mean)
    whole = np.broadcast_to(filled.mean(0), filled.shape)
    crossed = np.roll(filled, -len(ANGLES) // 2, axis=0)
    return np.concatenate([filled, whole, crossed], axis=1)


def blur_by_direction(region: NDArray[np.float32]) -> tuple[Array, float] | None:
    """Variances of the blur that a region shows along each of `ANGLES`.

    Parameters
    ----------
    region : ndarray, shape (Y, X)
        Normalised intensities.

    Returns
    -------
    tuple of (ndarray of shape (8,), float) or None
        Squared fine pixels at twofold enlargement, and the expected error of their
        logarithm; None where too few edges show any.
    """
    seen = _seen(region)
    if not seen:
        return None
    mean = _together(seen)
    variance = np.exp(mean.log_variance) - LEAST_VARIANCE
    return variance.clip(NARROWEST**2), mean.error


@dataclass(frozen=True, slots=True)
class _Seen:
    """What a region tells: variances by direction, their error, signs of bicubic."""

    log_variance: Array
    error: float
    bicubic: float

    @property
    def spread(self) -> Array:
        """Covariance (Y, X), fine pixels at `LEARNED`."""
        variance = np.exp(self.log_variance) - LEAST_VARIANCE
        y, x = np.cos(ANGLES), np.sin(ANGLES)
        design = np.stack([y * y, 2 * y * x, x * x], axis=1)
        (yy, yx, xx), *_ = np.linalg.lstsq(design, variance, rcond=None)
        return np.array([[yy, yx], [yx, xx]])

    @property
    def widths(self) -> Array:
        """Principal standard deviations, larger first."""
        values = np.linalg.eigvalsh(self.spread)[::-1]
        widths: Array = np.sqrt(values.clip(NARROWEST**2, WIDEST**2))
        return widths


def _gaussian(mean: _Seen, seen: list[_Seen], factors: Pair) -> FineKernel:
    y, x = np.linalg.eigh(mean.spread)[1][:, 1]
    widths = CAUTION * mean.widths
    spec = KernelSpec(
        kind="gaussian",
        sigma_px=(float(widths[0]), float(widths[1])),
        angle_deg=math.degrees(math.atan2(x, y)),
    )
    found = kernel_for_factors(spec, LEARNED, factors)
    large_error, small_error = (CAUTION * e for e in _errors(mean, seen))
    kernel = FineKernel(spec=found, factors=factors, sentence="")
    assert kernel.widths_px is not None
    ratio = kernel.widths_px[0] / widths[0]
    spread = (float(ratio * large_error), float(ratio * small_error))
    return FineKernel(
        spec=found,
        factors=factors,
        sentence=_told(kernel.widths_px, spread),
        spread_px=spread,
    )


def _errors(mean: _Seen, seen: list[_Seen]) -> Array:
    """Standard errors of the widths: as expected, or as regions differ."""
    variance = mean.widths**2
    expected = (variance + LEAST_VARIANCE) * mean.error / (2 * mean.widths)
    if len(seen) < 2:
        return np.asarray(expected)
    differ = np.std([s.widths for s in seen], axis=0, ddof=1) / math.sqrt(len(seen))
    return np.asarray(np.maximum(expected, differ))


def _told(widths: Pair, spread: Pair) -> str:
    return (
        f"Estimated from the image: a Gaussian of {widths[0]:.2f} x {widths[1]:.2f} "
        f"fine pixels (give or take {max(spread):.2f}), kept an eighth narrower than "
        "the edges tell."
    )


def _usual(factors: Pair, sentence: str) -> FineKernel:
    return FineKernel(spec=KernelSpec(), factors=factors, sentence=sentence)


def _together(seen: list[_Seen]) -> _Seen:
    """The mean of regions; those that are surer count more."""
    weights = np.array([s.error for s in seen]) ** -2.0
    weights /= weights.sum()
    return _Seen(
        sum(w * s.log_variance for w, s in zip(weights, seen, strict=True)),
        float(sum(w * s.error for w, s in zip(weights, seen, strict=True))),
        float(sum(w * s.bicubic for w, s in zip(weights, seen, strict=True))),
    )


def _regions(planes: Sequence[NDArray[np.float32]]) -> list[NDArray[np.float32]]:
    """Parts (Y, X) of the planes, all of small ones."""
    found = []
    for plane in planes:
        grey = plane.mean(axis=0)
        if min(grey.shape) < LEAST_PX:
            continue
        starts = [_starts(n) for n in grey.shape]
        found += [
            grey[y : y + REGION_PX, x : x + REGION_PX]
            for y in starts[0]
            for x in starts[1]
        ]
    count = min(REGIONS, len(found))
    return [found[(2 * n + 1) * len(found) // (2 * count)] for n in range(count)]


def _starts(size: int) -> list[int]:
    return spread_starts(size, REGION_PX, max(1, round(size / REGION_PX)))


def _holds_detail(region: NDArray[np.float32]) -> bool:
    """Whether there is more than noise at the finest scale of a region."""
    noise = estimate_noise(region)
    level = noise.sigma(float(region.mean().clip(0, 1)))
    if not is_noisy(level):
        return True
    spectrum = power_spectrum(region)
    finest = spectrum[0][in_band(spectrum, FINEST)].mean()
    return bool(finest >= LEAST_DETAIL * (level * noise.bands[2]) ** 2)


def _seen(region: NDArray[np.float32]) -> list[_Seen]:
    """What a region tells, if it has edges in enough directions that are known."""
    features = edge_features(region)
    if (~np.isnan(features[:, 0])).sum() < LEAST_DIRECTIONS:
        return []
    mean, deviation, networks = _learned()
    standard = (in_context(features) - mean) / deviation
    if np.abs(standard).mean() > STRANGE:
        return []
    out = np.mean([_applied(layers, standard) for layers in networks], axis=0)
    return [_Seen(out[:, 0], float(np.exp(out[:, 1]).mean()), float(out[:, 2].mean()))]


def _applied(layers: list[tuple[Array, Array]], values: Array) -> Array:
    """Dense layers with ReLU between them."""
    *hidden, (weight, bias) = layers
    for w, b in hidden:
        values = np.maximum(values @ w.T + b, 0)
    out: Array = values @ weight.T + bias
    return out


@lru_cache(maxsize=1)
def _learned() -> tuple[Array, Array, list[list[tuple[Array, Array]]]]:
    """Mean and deviation of the features, and the layers of the networks."""
    with np.load(WEIGHTS, allow_pickle=False) as content:
        held = {name: content[name].astype(np.float64) for name in content.files}
    count = len({name.split(".")[0] for name in held if "." in name})
    networks = []
    for n in range(count):
        names = sorted(k[:-7] for k in held if k.startswith(f"{n}.") and "weight" in k)
        networks.append([(held[f"{k}.weight"], held[f"{k}.bias"]) for k in names])
    return held["mean"], held["deviation"], networks
