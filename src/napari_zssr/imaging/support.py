"""How much of what a result changes is supported: judged from checks on its pixels.

Between bicubic enlargement and a result lies every mixture of the two. The one that is
closest to the truth holds a share of the change: 1 if blur and noise are right, about a
half if the result is no better than bicubic, less if it is worse. The relation between
checks, which need no truth, and that share was learned from images of known truth that
were enlarged under right and wrong settings (``tools/learn_support.py``).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from napari_zssr.imaging.blur_estimate import ANGLES, Array32, blur_by_direction
from napari_zssr.imaging.kernel import FineKernel
from napari_zssr.imaging.noise import CLEAN, NoiseModel, loaded_arrays
from napari_zssr.imaging.quality import (
    LEAST_DEVIATION,
    Quality,
    edge_slope,
    inner,
    quality,
)
from napari_zssr.imaging.resample import Array, Pair, imresize
from napari_zssr.kernelspec import KernelSpec

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
    trees = _trees()
    node = np.zeros(trees.left.shape[:2], int)
    at = np.ogrid[tuple(map(slice, node.shape))]
    for _ in range(trees.depth):
        low = features[trees.feature[*at, node]] <= trees.threshold[*at, node]
        node = np.where(low, trees.left[*at, node], trees.right[*at, node])
    share, gain = trees.start + trees.value[*at, node].sum(axis=1)
    return float(share), float(decibels(gain))


def decibels(scaled: float) -> float:
    """Gain in dB from the compressed form that the trees learned."""
    return math.copysign(SCALE_DB * math.expm1(abs(scaled)), scaled)


def scaled_gain(decibel: float) -> float:
    """Inverse of `decibels`: a tenth of a dB counts more the nearer to 0."""
    return math.copysign(math.log1p(abs(decibel) / SCALE_DB), decibel)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Trees:
    """Regression trees, shapes (heads, trees, nodes); leaves lead to themselves."""

    start: Array
    feature: NDArray[np.int16]
    threshold: Array
    left: NDArray[np.int16]
    right: NDArray[np.int16]
    value: Array
    depth: int


@lru_cache(maxsize=1)
def _trees() -> _Trees:
    arrays = loaded_arrays(TREES)
    return _Trees(depth=int(arrays.pop("depth")), **arrays)


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
