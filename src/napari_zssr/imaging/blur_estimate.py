"""The blur of an image, estimated from how sharp its own edges are.

Scenes hold steps in every direction; what is left of the sharpest of them determines
the blur along each direction, and the directions together an anisotropic Gaussian. The
relation between slopes at several scales and the blur was learned from generated scenes
(``tools/learn_blur.py``).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import fft, ndimage

from napari_zssr.imaging.kernel import FineKernel, kernel_for_factors
from napari_zssr.imaging.noise import (
    Layers,
    dense_network,
    estimate_noise,
    is_noisy,
    loaded_arrays,
)
from napari_zssr.imaging.resample import Array, Pair, spread_evenly, spread_starts
from napari_zssr.kernelspec import KernelSpec

Array32 = NDArray[np.float32]
# Power density, and the frequencies along Y and X that it belongs to, of one shape.
Spectrum = tuple[Array32, Array32, Array32]

WEIGHTS = Path(__file__).parents[1] / "data" / "blur.npz"
# Directions along which the blur is estimated, from Y towards X.
ANGLES = tuple(n * math.pi / 8 for n in range(8))
# Widths of the Gaussian derivatives, pixels, and the index of that which detects edges.
SCALES = (0.4, 0.6, 0.9, 1.4, 2.1)
EDGE_SCALE = 2
SHARES = (0.05, 0.15, 0.3, 0.5, 0.7)
LEAST_EDGES = 12
STEEP = 0.6
LEAST_SLOPE = 0.01
MARGIN = 4
RANGE = (0.005, 0.995)
SQUARE_PX = 32
# Added to variances before their logarithm: finer blurs cannot be told apart.
LEAST_VARIANCE = 0.15
# The factors that the weights were learned for.
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
# Mean distance of features from the learned ones, in standard deviations, from which
# they are out of the range learned.
UNFAMILIAR = 2.5
# Log odds of bicubic from which it is taken, though a Gaussian is likelier: a wrong
# Gaussian costs up to 7 dB, a wrong bicubic kernel about 2. Edges that are wider than
# the limit are not bicubic's.
DOUBT = -3.0
WIDEST_BICUBIC = 1.35
# The finest detail of an image, cycles per pixel, and how many times the power of the
# noise it must have: below that the detected edges are those of the noise, and
# estimates are 1.2 to 1.7 times too wide.
FINEST, LEAST_DETAIL = (0.38, 0.5), 5.0

HIDDEN = (
    "Blur could not be estimated (the image is too noisy, or its pixels are already "
    "finer than its detail); the default blur was used."
)
BLIND = "Blur could not be estimated (too few edges); the default blur was used."
SOFT = (
    "Blur could not be estimated (even the sharpest edges are several pixels wide); "
    "the default blur was used."
)
NOISY = (
    "Blur could not be estimated (the edges are too noisy); the default blur was used."
)
SHARP = "Edges are as sharp as the default blur makes them, so it was used."


@dataclass(frozen=True, slots=True)
class _Estimate:
    """Log variances by direction, their expected error, log odds of bicubic."""

    log_variance: Array
    error: float
    bicubic: float

    @property
    def covariance(self) -> Array:
        """Covariance (Y, X), fine pixels at `LEARNED`."""
        variance = np.exp(self.log_variance) - LEAST_VARIANCE
        y, x = np.cos(ANGLES), np.sin(ANGLES)
        design = np.stack([y * y, 2 * y * x, x * x], axis=1)
        (yy, yx, xx), *_ = np.linalg.lstsq(design, variance, rcond=None)
        return np.array([[yy, yx], [yx, xx]])

    @property
    def widths(self) -> Array:
        """Principal standard deviations, larger first."""
        values = np.linalg.eigvalsh(self.covariance)[::-1]
        return np.asarray(np.sqrt(values.clip(NARROWEST**2, WIDEST**2)))


def estimated_blur(planes: Sequence[Array32], factors: Pair) -> FineKernel:
    """A Gaussian for the blur of a channel's planes (C, Y, X), bicubic if none shows.

    Its widths are an eighth narrower than the edges', since too wide a kernel does more
    harm; `spread_px` says how accurate they are.
    """
    regions = _regions(planes)
    detailed = [region for region in regions if _has_detail(region)]
    estimates = [e for region in detailed if (e := _estimate(region)) is not None]
    if regions and not detailed:
        return _bicubic(factors, HIDDEN)
    if not estimates:
        return _bicubic(factors, BLIND)
    mean = _mean(estimates)
    if mean.error > VAGUE:
        return _bicubic(factors, NOISY)
    if mean.bicubic > DOUBT and mean.widths[0] < WIDEST_BICUBIC:
        return _bicubic(factors, SHARP)
    if mean.widths[1] > SOFTEST:
        return _bicubic(factors, SOFT)
    return _gaussian(mean, estimates, factors)


def _bicubic(factors: Pair, reason: str) -> FineKernel:
    return FineKernel(spec=KernelSpec(), factors=factors, sentence=reason)


def blur_by_direction(region: Array32) -> tuple[Array, float] | None:
    """Variances of a region's blur along `ANGLES`, and the error of their logarithm.

    The region (Y, X) is normalised; variances are in squared fine pixels at twofold
    enlargement. None if too few edges show any.
    """
    estimate = _estimate(region)
    if estimate is None:
        return None
    variance = np.exp(estimate.log_variance) - LEAST_VARIANCE
    return variance.clip(NARROWEST**2), estimate.error


def _gaussian(mean: _Estimate, estimates: list[_Estimate], factors: Pair) -> FineKernel:
    y, x = np.linalg.eigh(mean.covariance)[1][:, 1]
    widths = CAUTION * mean.widths
    learned = KernelSpec(
        kind="gaussian",
        sigma_px=(float(widths[0]), float(widths[1])),
        angle_deg=math.degrees(math.atan2(x, y)),
    )
    spec = _for_factors(learned, factors)
    fine = FineKernel(spec=spec, factors=factors, sentence="").widths_px
    assert fine is not None
    ratio = fine[0] / widths[0]
    large, small = (float(ratio * (CAUTION * e)) for e in _errors(mean, estimates))
    return FineKernel(
        spec=spec,
        factors=factors,
        sentence=(
            f"Estimated from the image: Gaussian, SD {fine[0]:.2f} × {fine[1]:.2f} "
            f"result pixels (± {max(large, small):.2f}, one standard error), "
            f"deliberately {100 * (1 - CAUTION):.0f} % narrower than measured."
        ),
        spread_px=(large, small),
    )


def _for_factors(learned: KernelSpec, factors: Pair) -> KernelSpec:
    """A blur at `LEARNED` for other factors; at factor 1 all of it, in input pixels."""
    if factors != (1.0, 1.0):
        return kernel_for_factors(learned, LEARNED, factors)
    y, x = learned.sigma_px
    return replace(learned, sigma_px=(y / LEARNED[0], x / LEARNED[1]))


def _errors(mean: _Estimate, estimates: list[_Estimate]) -> Array:
    """Standard errors of the widths: as expected, or as regions differ if more."""
    expected = (mean.widths**2 + LEAST_VARIANCE) * mean.error / (2 * mean.widths)
    if len(estimates) < 2:
        return np.asarray(expected)
    deviation = np.std([e.widths for e in estimates], axis=0, ddof=1)
    return np.asarray(np.maximum(expected, deviation / math.sqrt(len(estimates))))


def _mean(estimates: list[_Estimate]) -> _Estimate:
    """The mean of regions, weighted by the inverse squares of their errors."""
    weights = np.array([e.error for e in estimates]) ** -2.0
    weights /= weights.sum()
    pairs = list(zip(weights, estimates, strict=True))
    return _Estimate(
        log_variance=sum(w * e.log_variance for w, e in pairs),
        error=float(sum(w * e.error for w, e in pairs)),
        bicubic=float(sum(w * e.bicubic for w, e in pairs)),
    )


def _estimate(region: Array32) -> _Estimate | None:
    """Blur of a region (Y, X) with familiar edges in enough directions."""
    features = edge_features(region)
    if (~np.isnan(features[:, 0])).sum() < LEAST_DIRECTIONS:
        return None
    mean, deviation, networks = _learned()
    standard = (in_context(features) - mean) / deviation
    if np.abs(standard).mean() > UNFAMILIAR:
        return None
    out = np.mean([dense_network(layers, standard) for layers in networks], axis=0)
    error, bicubic = float(np.exp(out[:, 1]).mean()), float(out[:, 2].mean())
    return _Estimate(log_variance=out[:, 0], error=error, bicubic=bicubic)


@lru_cache(maxsize=1)
def _learned() -> tuple[Array, Array, list[Layers]]:
    """Mean and deviation of the features, and the layers of the networks."""
    arrays = {k: v.astype(np.float64) for k, v in loaded_arrays(WEIGHTS).items()}
    names = sorted(name.removesuffix(".weight") for name in arrays if ".weight" in name)
    networks: dict[str, Layers] = {}
    for name in names:
        layer = (arrays[f"{name}.weight"], arrays[f"{name}.bias"])
        networks.setdefault(name.split(".")[0], []).append(layer)
    return arrays["mean"], arrays["deviation"], list(networks.values())


def _regions(planes: Sequence[Array32]) -> list[Array32]:
    """Up to `REGIONS` parts (Y, X) of the planes, spread evenly."""
    parts = []
    for plane in planes:
        grey = plane.mean(axis=0)
        if min(grey.shape) < LEAST_PX:
            continue
        rows, columns = (
            spread_starts(n, REGION_PX, max(1, round(n / REGION_PX)))
            for n in grey.shape
        )
        parts += [
            grey[y : y + REGION_PX, x : x + REGION_PX] for y in rows for x in columns
        ]
    return spread_evenly(parts, REGIONS)


def _has_detail(region: Array32) -> bool:
    """Whether there is more than noise at the finest scale of a region."""
    noise = estimate_noise(region)
    level = noise.sigma(float(region.mean().clip(0, 1)))
    if not is_noisy(level):
        return True
    spectrum = power_spectrum(region)
    finest = spectrum[0][in_band(spectrum, FINEST)].mean()
    return bool(finest >= LEAST_DETAIL * (level * noise.bands[2]) ** 2)


def in_context(features: Array32) -> Array32:
    """Features (8, F) with those of all directions and the perpendicular, (8, 3F).

    Directions without edges get the mean of those that have some.
    """
    known = ~np.isnan(features[:, 0])
    mean = features[known].mean(0) if known.any() else np.zeros_like(features[0])
    filled = np.where(known[:, None], features, mean)
    whole = np.broadcast_to(filled.mean(0), filled.shape)
    perpendicular = np.roll(filled, -len(ANGLES) // 2, axis=0)
    return np.concatenate([filled, whole, perpendicular], axis=1)


def edge_features(plane: NDArray[Any]) -> Array32:
    """Features (8, F) of the blur along each direction, whatever the contrast.

    A slope taken at two scales falls with the width of the edge: for a step blurred by
    v, slopes at scales s and t relate as sqrt((t^2 + v) / (s^2 + v)). The features are
    logarithms of such ratios at neighbouring scales, at `SHARES` of the edges, sharpest
    first; NaN if there are too few edges. The plane (Y, X) has linear intensities.
    """
    values = plane.astype(np.float32)
    low, high = np.quantile(values[::2, ::2], RANGE)
    values = (values - low) / max(float(high - low), 1e-6)
    # Derivatives along Y and X.
    slopes = [
        (_derivative(values, scale), _derivative(values.T, scale).T) for scale in SCALES
    ]
    along_y, along_x = slopes[EDGE_SCALE]
    size = np.hypot(along_y, along_x)
    angle = np.arctan2(along_x, along_y)
    inner = (slice(MARGIN, -MARGIN), slice(MARGIN, -MARGIN))
    steep = size > max(float(np.quantile(size[inner], STEEP)), LEAST_SLOPE)
    rows = []
    for direction in ANGLES:
        y, x = math.cos(direction), math.sin(direction)
        directional = [np.abs(a * y + b * x) for a, b in slopes]
        away = np.abs((angle - direction + math.pi / 2) % math.pi - math.pi / 2)
        edges = steep & (away < 0.9 * math.pi / len(ANGLES))
        for sign in (1, -1):
            neighbour = ndimage.shift(
                directional[EDGE_SCALE],
                (-sign * y, -sign * x),
                order=1,
                mode="nearest",
                prefilter=False,
            )
            edges &= directional[EDGE_SCALE] >= neighbour
        rows.append(_log_ratios([slope[inner] for slope in directional], edges[inner]))
    return np.array(rows, dtype=np.float32)


def _derivative(values: Array32, scale: float) -> Array32:
    """Derivative along the first axis of the smoothed plane."""
    return np.asarray(
        ndimage.gaussian_filter(values, scale, order=(1, 0), truncate=3.5)
    )


def _log_ratios(slopes: list[Array32], edges: NDArray[np.bool_]) -> list[float]:
    """Features of one direction."""
    count = int(edges.sum())
    if count < LEAST_EDGES:
        return [math.nan] * ((len(slopes) - 1) * len(SHARES))
    weights = slopes[EDGE_SCALE][edges].astype(np.float64)
    features = []
    for fine, coarse in pairwise(slopes):
        ratio = np.log(fine[edges] / (coarse[edges] + 1e-6) + 1e-3)
        order = np.argsort(-ratio, kind="stable")
        share = np.cumsum(weights[order])
        ranks = np.searchsorted(share / share[-1], SHARES)
        features += [float(ratio[order[min(rank, count - 1)]]) for rank in ranks]
    return features


def power_spectrum(plane: NDArray[Any], factors: Pair = (1.0, 1.0)) -> Spectrum:
    """Mean power density of Hann-weighted squares (Welch, 1967), up to 32 x 32.

    `factors` are pixels of the plane (Y, X) per unit of length: the enlargement, for
    frequencies in cycles per input pixel. The density of white noise is its variance
    over the product of the factors.
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


def in_band(spectrum: Spectrum, band: Pair) -> NDArray[np.bool_]:
    """Mask of the frequencies, of any direction, in a band (lowest, highest)."""
    radius = np.hypot(*spectrum[1:])
    return np.asarray((radius >= band[0]) & (radius <= band[1]))
