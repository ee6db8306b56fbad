"""Whether a plane shows anything but noise.

The variance of block means tells: of white noise it falls with the number of pixels
in a block, of anything that is seen it does not. A single bright spot tells as well.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

SIDES = (2, 4, 8, 16)
# Variance of block means, as a multiple of what white noise gives, beyond which there
# is structure; noise of a camera or a scanner may be a little correlated.
WHITE_ENOUGH = 1.1
SPREADS = 4.0
LEAST_BLOCKS = 16
# Spreads by which a block may exceed the highest of so many Gaussian ones: single
# photons are no Gaussian, least of all in small blocks.
BRIGHTEST = 2.0
SPOT_SIDE = 4
# A plane that fills this share of its channel's range is no empty one.
LARGEST_RANGE = 0.5
RANGE_QUANTILES = (0.001, 0.999)
SAMPLED_PIXELS = 1_000_000
BAND_ROWS = 256


def shows_signal(plane: NDArray[Any]) -> bool:
    """Whether there is more in a plane than an offset and its noise.

    Parameters
    ----------
    plane : ndarray, shape (C, Y, X)
        Intensities in which the range of the plane's channel, over the whole stack,
        is 0..1.

    Returns
    -------
    bool
        False only where all samples are sure to be noise: a dim plane shows signal.
    """
    return any(_shows_signal(sample) for sample in plane)


def _shows_signal(plane: NDArray[Any]) -> bool:
    step = max(1, math.isqrt(plane.size // SAMPLED_PIXELS))
    low, high = np.quantile(plane[::step, ::step], RANGE_QUANTILES)
    if high - low > LARGEST_RANGE:
        return True
    variance = _variance(plane)
    if variance == 0:
        return False
    judged = 0
    for side in SIDES:
        means = _block_means(plane, side)
        if means.size < LEAST_BLOCKS:
            break
        judged += 1
        if _structured(means, variance / side**2):
            return True
        if side >= SPOT_SIDE and _has_spot(means):
            return True
    # Too small to tell.
    return judged < len(SIDES) - 1


def _variance(plane: NDArray[Any]) -> float:
    """Variance, a few rows at a time: a plane may be a gigabyte."""
    mean = plane.mean(dtype=np.float64)
    bands = (plane[n : n + BAND_ROWS] - mean for n in range(0, len(plane), BAND_ROWS))
    return sum(float((band**2).sum()) for band in bands) / plane.size


def _structured(means: NDArray[np.float64], expected: float) -> bool:
    spread = math.sqrt(2 / means.size)
    return float(means.var()) > expected * (WHITE_ENOUGH + SPREADS * spread)


def _has_spot(means: NDArray[np.float64]) -> bool:
    usual = math.sqrt(2 * math.log(means.size))
    above = float(means.max() - np.median(means)) / max(float(means.std()), 1e-300)
    return above > usual + BRIGHTEST


def _block_means(plane: NDArray[Any], side: int) -> NDArray[np.float64]:
    rows, columns = (n // side for n in plane.shape)
    whole = plane[: rows * side, : columns * side]
    blocks = whole.reshape(rows, side, columns, side)
    means: NDArray[np.float64] = blocks.mean((1, 3), dtype=np.float64)
    return means
