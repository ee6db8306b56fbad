"""Images of three kinds whose spectrum ends at a known frequency, and their photons."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Draw = np.random.Generator

SIDE = 256
CUTOFFS = (0.08, 0.12, 0.2, 0.3, 0.4)
# The spectrum of shapes with edges falls, so that few photons do not show its end.
PHOTONS = {
    "filaments": (200, 1000, 5000),
    "spots": (200, 1000, 5000),
    "shapes": (1000, 2000, 5000),
}


def filaments(draw: Draw, side: int) -> Array:
    """Lines that bend."""
    image = np.zeros((side, side))
    for _ in range(side // 4):
        turns = draw.uniform(0, 2 * math.pi) + np.cumsum(draw.normal(0, 0.02, 4 * side))
        steps = 0.5 * np.cumsum([np.sin(turns), np.cos(turns)], axis=1)
        place = (draw.uniform(0, side, (2, 1)) + steps).astype(int)
        inside = ((place >= 0) & (place < side)).all(axis=0)
        np.add.at(image, tuple(place[:, inside]), draw.uniform(0.3, 1))
    return image


def spots(draw: Draw, side: int) -> Array:
    """Points, one in 60 pixels."""
    image = np.zeros((side, side))
    count = side * side // 60
    np.add.at(image, tuple(draw.integers(0, side, (2, count))), draw.gamma(2, 1, count))
    return image


def shapes(draw: Draw, side: int) -> Array:
    """Discs that lie over each other."""
    image = np.zeros((side, side))
    y, x = np.mgrid[:side, :side]
    for _ in range(3 * side):
        radius = min(2 + 2 * draw.pareto(1.5), side / 6)
        center = draw.uniform(0, side, 2)
        low = np.maximum(0, center - radius - 1).astype(int)
        high = (center + radius + 2).astype(int)
        part = (slice(low[0], high[0]), slice(low[1], high[1]))
        distance = np.hypot(y[part] - center[0], x[part] - center[1])
        image[part][distance < radius] = draw.random()
    return image


KINDS: dict[str, Callable[[Draw, int], Array]] = {
    "filaments": filaments,
    "spots": spots,
    "shapes": shapes,
}


def sharp(frequency: Array, cutoff: float) -> Array:
    """All up to 94 % of the cut-off, nothing from it on."""
    return np.clip((cutoff - frequency) / (0.06 * cutoff), 0, 1)


def widefield(frequency: Array, cutoff: float) -> Array:
    """Optical transfer function of a round pupil in focus."""
    share = np.clip(frequency / cutoff, 0, 1)
    return 2 / math.pi * (np.arccos(share) - share * np.sqrt(1 - share**2))


@cache
def scene(
    kind: str,
    seed: int,
    cutoff: float,
    transfer: Callable[[Array, float], Array] = sharp,
    shape: tuple[int, int] = (SIDE, SIDE),
) -> Array:
    """Image from 0.05 up to about 1; part of a larger one, so that nothing repeats."""
    side = int(max(shape) * 1.25)
    made = KINDS[kind](np.random.default_rng(seed), side)
    y, x = np.fft.fftfreq(side)[:, None], np.fft.rfftfreq(side)[None]
    passed = np.fft.rfft2(made) * transfer(np.hypot(y, x), cutoff)
    image = np.fft.irfft2(passed, s=made.shape)[: shape[0], : shape[1]]
    image = image - image.min()
    return np.asarray(0.05 + 0.95 * image / np.quantile(image, 0.999))


def noisy(image: Array, photons: float, seed: int = 0) -> Array:
    """An image of so many photons at 1."""
    draw = np.random.default_rng([seed, 7])
    return np.asarray(draw.poisson(image * photons) / photons)
