"""Noise estimated from one image, or from a few planes that have it in common.

The estimate looks at blocks of 8 x 8 pixels in the frequency domain. Noise fills every
block of one brightness alike, texture does not: quantiles of the blocks' energies, by
brightness and by band of frequencies, tell noise from texture. How they tell it was
learned from generated scenes (``docs/learn_noise.py``).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from scipy import fft, stats

from napari_zssr.imaging.noise import (
    BAND_MASKS,
    BANDS,
    BLOCK,
    CLEAN,
    WHITE,
    NoiseModel,
    unit_bands,
)

Array = NDArray[np.float64]

WEIGHTS = Path(str(resources.files("napari_zssr"))) / "data" / "noise.npz"
BLOCK_STEP = 4
# Bins of brightness through whose quietest blocks a first straight line is laid.
BINS, LEAST_IN_BIN = 12, 10
QUIET = 0.1
# Dark and bright half of the blocks, and quantiles of their energies.
GROUPS = 2
QUANTILES = (0.03, 0.1, 0.25, 0.5, 0.8)
MAX_BLOCKS = 40_000
# Planes with fewer blocks tell nothing; so many tell noise of a plane alone.
LEAST_BLOCKS, ENOUGH_BLOCKS = 40, 240
# Variance of normalised intensities below which all is rounding.
LEAST_VARIANCE = 1e-8
FEATURES = GROUPS * len(BANDS) * len(QUANTILES) + BINS + 2
# Median over low quantile of the energies of the finest band, as a multiple of what
# pure noise gives, and share of the bins that must stay below it.
PURE, LEAST_PURE = 1.2, 0.25
# Largest deviation of a band from white noise that is taken for white.
FLAT = 0.12
# Strength of the finest band below which all is texture: no noise is so smooth.
SMOOTHEST = 0.3


def estimate_noise(*planes: NDArray[Any]) -> NoiseModel:
    """Noise of one plane, or of several that have it in common.

    Parameters
    ----------
    *planes : ndarray, shape (Y, X)
        Normalised intensities.

    Returns
    -------
    NoiseModel
        `CLEAN` where the planes are too small or only texture is seen.
    """
    large = [plane for plane in planes if min(plane.shape) >= 2 * BLOCK]
    if not large:
        return CLEAN
    blocks = [block_energies(np.asarray(plane)) for plane in large]
    means, energies = (np.concatenate(part) for part in zip(*blocks, strict=True))
    if len(means) < LEAST_BLOCKS:
        return CLEAN
    first = first_look(means, energies)
    unseen = first.variances.max() <= 2 * LEAST_VARIANCE
    if unseen or np.mean(first.texture < PURE) < LEAST_PURE:
        return CLEAN
    bands = _normalised(np.exp(_network()(first.features)))
    # The finest band has the least texture, and tells how strong all of the noise is.
    gain, offset = _fit_line(first.signals, first.variances / bands[-1] ** 2)
    return NoiseModel(gain=gain, offset=offset, bands=bands)


def has_room_for_noise(plane: NDArray[Any]) -> bool:
    """Whether a plane (Y, X) has blocks enough to tell noise at every brightness."""
    rows, columns = (int(max(0, (n - BLOCK) // BLOCK_STEP + 1)) for n in plane.shape)
    return rows * columns >= ENOUGH_BLOCKS


def block_energies(plane: NDArray[Any]) -> tuple[Array, Array]:
    """Mean and energy in each band of blocks; shapes (blocks,), (blocks, 4)."""
    blocks = sliding_window_view(plane, (BLOCK, BLOCK))
    count = blocks.shape[0] * blocks.shape[1]
    step = max(BLOCK_STEP, math.ceil(math.sqrt(count / MAX_BLOCKS)))
    chosen = blocks[::step, ::step].reshape(-1, BLOCK, BLOCK).astype(np.float64)
    energy = fft.dctn(chosen, axes=(1, 2), norm="ortho") ** 2
    bands = np.stack([energy[:, mask].mean(axis=1) for mask in BAND_MASKS], axis=1)
    return chosen.mean(axis=(1, 2)), bands


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FirstLook:
    """What the blocks of an image tell without anything learned.

    Attributes
    ----------
    signals, variances : ndarray, shape (bins,)
        Mean intensity of bins of brightness, and a straight line through the energies
        of their quietest blocks.
    texture : ndarray, shape (bins,)
        How far the energies of the finest band are spread, as a multiple of what
        noise alone spreads them.
    features : ndarray, shape (FEATURES,), float32
        Energies in units of that line, as the network sees them.
    """

    signals: Array
    variances: Array
    texture: Array
    features: NDArray[np.float32]


def first_look(means: Array, energies: Array) -> FirstLook:
    """What blocks of these means and energies tell, shapes (blocks,), (blocks, 4)."""
    order = np.argsort(means)
    bins = np.array_split(order, max(GROUPS, min(BINS, len(means) // LEAST_IN_BIN)))
    terms = int(BAND_MASKS[-1].sum())
    expected, usual = stats.chi2.ppf((QUIET, 0.5), terms) / terms
    signals = np.array([means[chosen].mean() for chosen in bins])
    quiet = np.array([np.quantile(energies[c, -1], QUIET) for c in bins]) / expected
    quiet = np.maximum(quiet, LEAST_VARIANCE)
    middle = np.array([np.median(energies[c, -1]) for c in bins]) / usual
    gain, offset = _fit_line(signals, quiet)
    variances = np.maximum(gain * signals + offset, LEAST_VARIANCE)
    each = np.maximum(gain * means + offset, LEAST_VARIANCE)
    relative = np.log(np.maximum(energies / each[:, None], 1e-6))
    halves = np.array_split(order, GROUPS)
    levels = [np.quantile(relative[half], QUANTILES, axis=0) for half in halves]
    places = np.linspace(0, len(bins) - 1, BINS)
    bend = np.interp(places, np.arange(len(bins)), np.log(quiet / variances))
    rise = math.log(variances[-1] / variances[0])
    features = np.concatenate(
        [np.ravel(levels) / 3, bend, [rise / 3, math.log10(len(means)) - 3]]
    )
    return FirstLook(
        signals=signals,
        variances=variances,
        texture=middle / quiet,
        features=features.astype(np.float32),
    )


class _Network:
    """Three dense layers, as plain arrays."""

    def __init__(self, arrays: dict[str, NDArray[np.float32]]) -> None:
        self._arrays = arrays
        self._layers = len([name for name in arrays if name.startswith("weight")])

    def __call__(self, features: NDArray[np.float32]) -> Array:
        values = features
        for number in range(self._layers):
            weight, bias = (self._arrays[f"{n}{number}"] for n in ("weight", "bias"))
            values = values @ weight.T + bias
            if number < self._layers - 1:
                values = np.maximum(values, 0)
        return values.astype(np.float64)


@lru_cache(maxsize=1)
def _network() -> _Network:
    with np.load(WEIGHTS) as file:
        return _Network({name: file[name].astype(np.float32) for name in file.files})


def _normalised(bands: Array) -> tuple[float, ...]:
    """Bands of mean square 1, white where they are nearly so or texture."""
    if np.abs(bands - 1).max() < FLAT or bands[-1] < SMOOTHEST:
        return WHITE
    return unit_bands(bands)


def _fit_line(signals: Array, variances: Array) -> tuple[float, float]:
    """Gain and offset of variance = gain * signal + offset; never below 0 in between.

    Weighted by the inverse variances, since errors are relative.
    """
    weight = 1 / variances
    if np.ptp(signals) <= 1e-9:
        return 0.0, float(np.exp(np.log(variances).mean()))
    gain, offset = np.polyfit(signals, variances, 1, w=weight)
    if gain < 0:
        return 0.0, float(np.average(variances, weights=weight))
    darkest = signals.min()
    if gain * darkest + offset < 0:
        distance = signals - darkest
        slope = (weight**2 * variances * distance).sum() / (
            (weight * distance) ** 2
        ).sum()
        return float(slope), float(-slope * darkest)
    return float(gain), float(offset)
