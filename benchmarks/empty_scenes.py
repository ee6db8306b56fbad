"""Images without anything to find: noise, flat fields, points, gratings too fine."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_zssr.imaging.resample import imresize

Array = NDArray[np.float64]
Draw = np.random.Generator

# From about here noise is told from texture.
SIDE_PX = 72
FACTOR = 2.0
GAP_PX = 10
# Sparrow's limit of two points is 2 sigma apart.
POINT_SIGMA, POINTS_APART = 1.0, 1.2
FAINT = 0.002
PERIOD_PX = 1.6
CAMERA = 8


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Scene:
    """An image with nothing to find in it.

    Attributes
    ----------
    image : ndarray, shape (Y, X), float32
    top : float
        Highest pixel of the fine image, where that is known; else minus infinity.
    lines : bool
        Whether it consists of lines, along which maxima are a matter of chance.
    """

    image: NDArray[np.float32]
    top: float = -math.inf
    lines: bool = False


def _noise(draw: Draw) -> Scene:
    return _scene(100 + 10 * draw.standard_normal((SIDE_PX, SIDE_PX)))


def _flat(draw: Draw) -> Scene:
    return _scene(draw.poisson(100, (SIDE_PX, SIDE_PX)))


def _uneven(draw: Draw) -> Scene:
    """A flat field under uneven light, without noise."""
    y, x = np.mgrid[:SIDE_PX, :SIDE_PX] / SIDE_PX - draw.uniform(0.3, 0.7, (2, 1, 1))
    return _scene(1000 * np.exp(-(y**2 + x**2) / 0.5))


def _points(draw: Draw) -> Scene:
    return _spots(draw, apart=0.0)


def _pairs(draw: Draw) -> Scene:
    return _spots(draw, apart=POINTS_APART)


def _spots(draw: Draw, *, apart: float) -> Scene:
    """Points, or pairs of them, one in each cell, faintly noisy; fine image known."""
    side, sigma = round(FACTOR * SIDE_PX), FACTOR * POINT_SIGMA
    y, x = np.mgrid[:side, :side]
    fine = np.full((side, side), 100.0)
    middles = range(GAP_PX, SIDE_PX - GAP_PX + 1, GAP_PX)
    for middle in ((y, x) for y in middles for x in middles):
        place = FACTOR * (np.array(middle) + draw.uniform(-0.5, 0.5, 2))
        turn = draw.uniform(0, math.pi)
        half = FACTOR * apart / 2 * np.array([math.sin(turn), math.cos(turn)])
        for a, b in (place - half, place + half):
            fine += 50 * np.exp(-((y - a) ** 2 + (x - b) ** 2) / (2 * sigma**2))
    small = imresize(fine, (1 / FACTOR, 1 / FACTOR))
    small += FAINT * np.ptp(small) * draw.standard_normal(small.shape)
    return _scene(small, float(fine.max()))


def _hexagonal(draw: Draw) -> Scene:
    turn = draw.uniform(0, math.pi)
    waves = [np.cos(_wave(draw, turn + n * math.pi / 3)) for n in range(3)]
    return _seen(100 + 20 * np.sum(waves, axis=0), draw)


def _filaments(draw: Draw) -> Scene:
    phase = _wave(draw, draw.uniform(0, math.pi)) % (2 * math.pi)
    bright = np.abs(phase - math.pi) < 0.3 * math.pi
    return replace(_seen(np.where(bright, 200.0, 100.0), draw), lines=True)


def _wave(draw: Draw, turn: float) -> Array:
    """Phase of a grating finer than the camera's pixels can show."""
    place = (np.arange(CAMERA * SIDE_PX) + 0.5) / CAMERA
    along = place[:, None] * math.sin(turn) + place[None] * math.cos(turn)
    phase: Array = 2 * math.pi * along / PERIOD_PX + draw.uniform(0, 2 * math.pi)
    return phase


def _seen(light: Array, draw: Draw) -> Scene:
    """What a camera's square pixels make of light, faintly noisy."""
    pixels = light.reshape(SIDE_PX, CAMERA, SIDE_PX, CAMERA).mean(axis=(1, 3))
    noise = FAINT * np.ptp(pixels) * draw.standard_normal(pixels.shape)
    return _scene(pixels + noise)


def _scene(image: NDArray[Any], top: float = -math.inf) -> Scene:
    return Scene(image=np.asarray(image, dtype=np.float32), top=top)


SCENES: Mapping[str, Callable[[Draw], Scene]] = {
    "noise": _noise,
    "flat field of photons": _flat,
    "uneven light": _uneven,
    "points": _points,
    "two points below the limit": _pairs,
    "hexagonal grating beyond Nyquist": _hexagonal,
    "filaments beyond Nyquist": _filaments,
}
