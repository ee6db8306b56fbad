"""Smooth random fields, and the far out of focus."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Array = NDArray[np.float32]
Draw = np.random.Generator
Floats = NDArray[np.floating[Any]]


def log_uniform(draw: Draw, low: float, high: float, size: Any = None) -> Any:
    """A number, or an array of them, whose logarithm is uniform."""
    return np.exp(draw.uniform(math.log(low), math.log(high), size))


def swell(draw: Draw, side: int, period: float) -> Array:
    """Smooth noise of mean 0 and deviation about 1, correlated over ``period`` pixels.

    Parameters
    ----------
    draw : numpy.random.Generator
    side : int
        Pixels of each side.
    period : float
        Pixels between the knots of a cubic B-spline, at least 1.

    Returns
    -------
    ndarray, shape (side, side)
    """
    knots = math.ceil(side / period) + 4
    splines = _splines(draw.random(), side, period, knots)
    noise = draw.standard_normal((knots, knots), dtype=np.float32)
    # What is left of white noise by the two smoothings, each 0.48 of the variance.
    made: Array = ((splines @ noise @ splines.T) / 0.48).astype(np.float32)
    return made


def _splines(phase: float, side: int, period: float, knots: int) -> Array:
    """Cubic B-splines at every pixel, shape (side, knots)."""
    place = np.arange(side, dtype=np.float32) / period + phase + 1
    t = np.abs(place[:, None] - np.arange(knots, dtype=np.float32)[None])
    inner = 2 / 3 - t * t + t * t * t / 2
    outer = np.maximum(2 - t, 0)
    outer *= outer * outer / 6
    splines: Array = np.where(t < 1, inner, outer).astype(np.float32)
    return splines


def clouds(
    draw: Draw, side: int, roughness: float, finest_px: float = 1.5, coarsest: float = 1
) -> Array:
    """Noise of mean 0 and deviation 1 on all sizes between two.

    Parameters
    ----------
    draw : numpy.random.Generator
    side : int
        Pixels of each side.
    roughness : float
        Amplitude goes with the period to this power: 0 is grain, 1 and more billows.
    finest_px : float
        Shortest period, pixels.
    coarsest : float
        Longest period as a share of the side.

    Returns
    -------
    ndarray, shape (side, side)
    """
    made = np.zeros((side, side), np.float32)
    period = finest_px
    while True:
        made += np.float32(period**roughness) * swell(draw, side, period)
        period *= 2
        if period > coarsest * side:
            break
    made -= made.mean()
    made /= made.std() + np.float32(1e-6)
    return made


def hazy(image: Array, sigma_px: float) -> Array:
    """The image far out of focus, for widths of 3 pixels and more."""
    by = max(1, int(sigma_px / 1.5))
    side = len(image)
    padded = np.pad(image, (0, -side % by), mode="edge")
    small = padded.reshape(len(padded) // by, by, -1, by).mean(axis=(1, 3))
    small = ndimage.gaussian_filter(small, sigma_px / by, mode="nearest")
    wide = np.pad(small, 2, mode="edge")
    splines = _splines(1 - (by - 1) / 2 / by, side, by, len(wide))
    blurred: Array = splines @ wide @ splines.T
    return blurred
