"""How much of what a result changes is supported: judged from checks on its pixels.

Between bicubic enlargement and a result lies every mixture of the two. The one that is
closest to the truth holds a share of the change: 1 where blur and noise are right,
about a half where the result is no better than bicubic, less where it is worse. Checks
that need no truth tell that share; how they tell it was learned from images of known
truth that were enlarged under right and wrong settings (``tools/learn_support.py``).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from napari_zssr.imaging.blur_estimate import ANGLES, blur_by_direction
from napari_zssr.imaging.kernel import FineKernel
from napari_zssr.imaging.noise import CLEAN, NoiseModel
from napari_zssr.imaging.quality import (
    LEAST_DEVIATION,
    Quality,
    edge_slope,
    inner,
    quality,
)
from napari_zssr.imaging.resample import imresize
from napari_zssr.kernelspec import KernelSpec

Array = NDArray[np.float32]
Pair = tuple[float, float]

TREES = Path(str(resources.files("napari_zssr"))) / "data" / "support.npz"
# Enlargement at which fine detail is looked at: that of the images learned from.
COMMON = (2.0, 2.0)
# Highest frequency of an image, cycles per pixel, where blurs are compared.
NYQUIST = 0.5
# Added to transfers before their logarithm; stands for a blur that no edge tells.
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
    """What the checks tell of a result.

    Attributes
    ----------
    quality : Quality
        The checks.
    share : float
        Share of the change from bicubic that is likely closest to the truth.
    gain : float
        Likely gain over bicubic against the truth, dB.
    margin : float or None
        Logarithm of the assumed transfer at the image's highest frequency over that
        of the blur that its edges show: negative where it is too wide; None where
        they show none.
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
    """Judge a result from the checks on it.

    Parameters
    ----------
    image : ndarray, shape (C, Y, X)
        Plane, section or part of one, in normalised intensity.
    result : ndarray, shape (C, ceil(f Y), ceil(f X))
        As networks made it, nothing blended.
    factors : tuple of float
    kernel : KernelSpec
        Blur that was assumed, on the fine grid.
    noise : NoiseModel
        That was assumed.

    Returns
    -------
    Support or None
        None where the part is too small to tell anything.
    """
    found = quality(image, result, factors, kernel, noise)
    if found is None:
        return None
    features = support_features(image, result, factors, kernel, found)
    share, gain = judged(features)
    margin = float(features[FEATURES.index("transfer_margin_most")])
    return Support(
        quality=found,
        share=share,
        gain=gain,
        margin=None if margin == UNKNOWN else margin,
    )


def support_features(
    image: NDArray[np.floating],
    result: NDArray[np.floating],
    factors: Pair,
    kernel: KernelSpec,
    found: Quality,
) -> NDArray[np.float64]:
    """What the share is judged from, in the order of `FEATURES`."""
    grey = image.mean(axis=0).astype(np.float32)
    fine = _at_common(result.mean(axis=0), factors, grey.shape)
    plain = imresize(grey, COMMON).astype(np.float32)
    contrast = max(float(grey.std()), LEAST_DEVIATION)
    margins, widest, error = _transfers(grey, factors, kernel)
    cut = inner(plain.shape, COMMON)
    values = (
        math.log(_variation(fine[cut]) / max(_variation(plain[cut]), 1e-9)),
        found.sharpness,
        found.sharpness / _own_sharpness(grey),
        found.overshoot,
        found.overshoot_bicubic,
        found.misfit,
        found.misfit_correlation,
        found.change,
        found.excess,
        math.log(
            (found.noise + LEAST_DEVIATION) / (found.noise_assumed + LEAST_DEVIATION)
        ),
        found.noise / contrast,
        found.noise_assumed / contrast,
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


def judged(features: NDArray[np.float64]) -> tuple[float, float]:
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
    """Gain in dB from the compressed form that the trees are taught."""
    return math.copysign(SCALE_DB * math.expm1(abs(scaled)), scaled)


def scaled_gain(decibel: float) -> float:
    """Inverse of `decibels`: a tenth of a dB counts more the nearer to 0."""
    return math.copysign(math.log1p(abs(decibel) / SCALE_DB), decibel)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Trees:
    """Regression trees, shapes (heads, trees, nodes); leaves lead to themselves."""

    start: NDArray[np.float64]
    feature: NDArray[np.int16]
    threshold: NDArray[np.float64]
    left: NDArray[np.int16]
    right: NDArray[np.int16]
    value: NDArray[np.float64]
    depth: int


@lru_cache(maxsize=1)
def _trees() -> _Trees:
    with np.load(TREES, allow_pickle=False) as content:
        held = {name: content[name] for name in content.files}
    return _Trees(**{**held, "depth": int(held["depth"])})


def _at_common(
    result: NDArray[np.floating], factors: Pair, size: tuple[int, ...]
) -> Array:
    """The result (Y, X) on a grid twice as fine as the image's."""
    if factors != COMMON:
        rest = (COMMON[0] / factors[0], COMMON[1] / factors[1])
        result = imresize(result, rest)
    wanted = [round(n * f) for n, f in zip(size, COMMON, strict=True)]
    missing = [max(0, w - n) for w, n in zip(wanted, result.shape, strict=True)]
    padded = np.pad(result, [(0, m) for m in missing], mode="edge")
    fine: Array = padded[: wanted[0], : wanted[1]].astype(np.float32)
    return fine


def _variation(plane: Array) -> float:
    return float(sum(np.abs(np.diff(plane, axis=axis)).mean() for axis in (0, 1)))


def _sparsity(plane: Array) -> float:
    """Root mean square over mean size of the slopes, logarithm."""
    slopes = np.concatenate([np.diff(plane, axis=axis).ravel() for axis in (0, 1)])
    size = max(float(np.abs(slopes).mean()), 1e-9)
    return math.log(max(float(np.sqrt((slopes**2).mean())), 1e-9) / size)


def _oscillation(plane: Array) -> float:
    """Second over first differences, logarithm."""
    first, second = (
        sum(float(np.abs(np.diff(plane, order, axis=axis)).mean()) for axis in (0, 1))
        for order in (1, 2)
    )
    return math.log(max(second, 1e-9) / max(first, 1e-9))


def _tails(plane: Array) -> float:
    """Kurtosis of the Laplacian, logarithm."""
    values = ndimage.laplace(plane)
    values = values - values.mean()
    power = max(float((values**2).mean()), 1e-12)
    return math.log(max(float((values**4).mean()) / power**2, 1e-9))


def _own_sharpness(grey: Array) -> float:
    """How much sharper the image's edges are than after halving and enlarging."""
    halved = imresize(imresize(grey, (0.5, 0.5)), COMMON)
    plain = halved[: grey.shape[0], : grey.shape[1]].astype(np.float32)
    return max(edge_slope(grey, plain) / max(edge_slope(plain, plain), 1e-9), 1e-3)


def _at_edges(change: Array, plain: Array, cut: tuple[slice, slice]) -> list[float]:
    """Correlation of the change with sharpened edges, and how strong they are in it."""
    seen = change[cut].ravel().astype(np.float64)
    found = []
    for width in EDGE_WIDTHS:
        edges = -ndimage.gaussian_laplace(plain, width)[cut].ravel().astype(np.float64)
        together = float(seen @ edges)
        norm = float(np.linalg.norm(seen) * np.linalg.norm(edges))
        found.append(together / max(norm, 1e-12))
        if width == EDGE_WIDTHS[0]:
            gain = together / max(float(edges @ edges), 1e-12)
    return [*found, gain]


def _transfers(
    grey: Array, factors: Pair, kernel: KernelSpec
) -> tuple[list[float], float, float]:
    """Log transfers by direction over those of the image's edges, the largest, error.

    Transfers are those of the blur at the image's highest frequency.
    """
    weights = FineKernel(spec=kernel, factors=factors, sentence="").array
    assumed = np.log(_transfer(weights, factors) + LEAST_TRANSFER)
    blur = blur_by_direction(grey)
    if blur is None:
        return [UNKNOWN], float(assumed.max()), UNKNOWN
    variance, error = blur
    shown = -2 * math.pi**2 * variance * (NYQUIST / COMMON[0]) ** 2
    return list(assumed - shown), float(assumed.max()), error


def _transfer(weights: NDArray[np.float64], factors: Pair) -> NDArray[np.float64]:
    """Transfer of a kernel (odd, odd) at the highest frequency, for each of ANGLES."""
    y, x = (np.arange(n) - n // 2 for n in weights.shape)
    found = []
    for angle in ANGLES:
        along = math.cos(angle) / factors[0], math.sin(angle) / factors[1]
        phase = 2 * math.pi * NYQUIST * np.add.outer(along[0] * y, along[1] * x)
        found.append(abs((weights * np.exp(1j * phase)).sum()))
    return np.array(found)
