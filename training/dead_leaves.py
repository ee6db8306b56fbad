"""Generated scenes with sharp edges: dead leaves and textures, no one's photographs.

Overlapping shapes whose radii follow a power law have the statistics of natural images
(Lee, Mumford, Huang, IJCV 41, 2001).
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Array = NDArray[np.float32]
Draw = np.random.Generator

# Drawn on a grid that is twice as fine, then smoothed and thinned.
OVERSAMPLED = 2
# Width of the smoothing, fine pixels: what camera and lens leave of a sharp edge.
SMOOTHING_PX = (0.29, 0.65)
TEXTURES = 0.15
LARGEST_PX = 256
SHAPES = 4


def sharp_scene(draw: Draw, side: int = 256) -> Array:
    """A fine image with edges as sharp as a good camera shows them.

    Parameters
    ----------
    draw : numpy.random.Generator
    side : int
        Pixels of each side.

    Returns
    -------
    ndarray, shape (side, side)
        From 0 to 1.
    """
    large = OVERSAMPLED * side
    made = texture(draw, large) if draw.random() < TEXTURES else leaves(draw, large)
    width = OVERSAMPLED * draw.uniform(*SMOOTHING_PX)
    thin: Array = ndimage.gaussian_filter(made, width)[::OVERSAMPLED, ::OVERSAMPLED]
    thin = thin.clip(0, 1)
    if draw.random() < 0.5:
        thin = thin ** np.float32(draw.uniform(0.5, 1.8))
    return thin


def leaves(draw: Draw, side: int) -> Array:
    """Shapes of all sizes, some soft, striped or textured, on clouds; (side, side)."""
    ground = draw.uniform(0.02, 0.25) * _clouds(draw, side, draw.uniform(0.8, 1.6))
    image = (ground + 0.5).astype(np.float32)
    shade = _clouds(draw, side, 1.6)
    grain = draw.choice([0, 0, 0.02, 0.05, 0.1])
    grains = grain * _clouds(draw, side, draw.uniform(0.2, 1.2))
    shares = draw.random(SHAPES)
    smallest, power = draw.choice([4, 8, 16, 32]), draw.uniform(1.6, 3.2)
    soft, widest = draw.uniform(0, 0.8) ** 2, draw.uniform(1, 10)
    for _ in range(int(draw.integers(60, 700))):
        reach = radius(draw, smallest, LARGEST_PX, power)
        box = int(2 * reach) + 3
        shape = _shape(draw, box, int(draw.choice(SHAPES, p=shares / shares.sum())))
        corner = draw.integers(-box // 2, side, 2)
        part, seen = inside(corner, box, side)
        fill = draw.random() + draw.uniform(-0.15, 0.15) * shade[part] + grains[part]
        if draw.random() < 0.12:
            fill = fill + _stripes(draw, fill.shape)
        cover = shape[seen].astype(np.float32)
        if draw.random() < soft:
            cover = ndimage.gaussian_filter(cover, draw.uniform(0.7, 0.8 + widest))
        image[part] = image[part] * (1 - cover) + fill * cover
    return image


def texture(draw: Draw, side: int) -> Array:
    """Fine shapes by the hundred on patchy clouds: grass, gravel, tissue."""
    image = np.full((side, side), 0.5, dtype=np.float32)
    for _ in range(int(draw.integers(2, 5))):
        patches = _clouds(draw, side, draw.uniform(0.6, 1.8))
        if draw.random() < 0.6:
            patches = np.sign(patches - draw.uniform(-0.7, 0.7))
            patches *= np.float32(draw.uniform(0.3, 1))
        image += 0.15 * patches
    box = int(draw.choice([9, 15, 25, 41]))
    for _ in range(int(draw.integers(0, 900))):
        shape = _shape(draw, box, int(draw.choice([0, 2, 3])))
        y, x = draw.integers(0, side - box, 2)
        image[y : y + box, x : x + box][shape] = draw.random()
    spread: Array = (image - image.min()) / (np.ptp(image) + 1e-6)
    return spread


def _clouds(draw: Draw, side: int, power: float) -> Array:
    """Noise of mean 0 and deviation 1; its amplitude falls with the frequency."""
    spectrum = np.fft.rfft2(draw.standard_normal((side, side)))
    y, x = np.fft.fftfreq(side)[:, None], np.fft.rfftfreq(side)[None]
    frequency = np.hypot(y, x)
    frequency[0, 0] = 1
    made = np.fft.irfft2(spectrum * frequency**-power, s=(side, side))
    clouds: Array = ((made - made.mean()) / (made.std() + 1e-9)).astype(np.float32)
    return clouds


def radius(draw: Draw, smallest: float, largest: float, power: float) -> float:
    """Radius from a power law, pixels."""
    share, rest = draw.random(), 1 - power
    between = share * largest**rest + (1 - share) * smallest**rest
    return float(between ** (1 / rest))


def _shape(draw: Draw, box: int, kind: int) -> NDArray[np.bool_]:
    """Mask of an ellipse, a rectangle, a rod or a polygon, turned anyhow."""
    place = (np.arange(box, dtype=np.float32) - (box - 1) / 2) / (box / 2)
    y, x = place[:, None], place[None]
    turn = draw.uniform(0, math.pi)
    u = x * math.cos(turn) + y * math.sin(turn)
    v = y * math.cos(turn) - x * math.sin(turn)
    thin = draw.uniform(0.25, 1)
    if kind == 0:
        return u * u + (v / thin) ** 2 < 0.95
    if kind == 1:
        return (np.abs(u) < 0.7) & (np.abs(v) < 0.7 * thin)
    if kind == 2:
        return (np.abs(u) < 0.95) & (np.abs(v) < draw.uniform(0.02, 0.15))
    mask: NDArray[np.bool_] = x * x + y * y < 1
    for _ in range(int(draw.integers(3, 7))):
        side = draw.uniform(0, 2 * math.pi)
        mask &= x * math.cos(side) + y * math.sin(side) < draw.uniform(0.2, 0.9)
    return mask


def _stripes(draw: Draw, shape: tuple[int, ...]) -> Array:
    turn, period = draw.uniform(0, math.pi), draw.uniform(6, 40)
    y, x = np.arange(shape[0])[:, None], np.arange(shape[1])[None]
    phase = (x * math.cos(turn) + y * math.sin(turn)) * 2 * math.pi / period
    bars: Array = (draw.uniform(0.05, 0.3) * np.sign(np.sin(phase))).astype(np.float32)
    return bars


def inside(
    corner: NDArray[np.int_], box: int, side: int
) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
    """The part of the image that a box covers, and that part of the box."""
    spans = [(max(0, int(c)), min(side, int(c) + box)) for c in corner]
    (top, bottom), (left, right) = spans
    part = (slice(top, bottom), slice(left, right))
    y, x = (int(c) for c in corner)
    return part, (slice(top - y, bottom - y), slice(left - x, right - x))
