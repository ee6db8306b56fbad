"""Generated pictures with the statistics of photographs, in colour; no photographs.

Overlapping shapes whose sizes follow a power law (dead leaves; Lee, Mumford, Huang,
IJCV 41, 2001), coloured from small palettes, shaded and textured inside, with thin
strokes and soft edges here and there.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from napari_zssr.imaging.resample import imresize
from training.dead_leaves import inside, radius

Array = NDArray[np.float32]
Draw = np.random.Generator

# Drawn on a grid that is twice as fine, then smoothed and thinned.
OVERSAMPLED = 2
SMOOTHING_PX = (0.25, 0.6)
# Shares of pictures that were reduced by software, and that were sharpened.
REDUCED, SHARPENED = 0.55, 0.2
LARGEST_SHARE = 0.7
PALETTE = 6
SMALL_TEXTURE = 128


def photograph(draw: Draw, side: int = 192) -> Array:
    """One picture of a kind that is drawn by chance.

    Parameters
    ----------
    draw : numpy.random.Generator
    side : int
        Pixels of each side.

    Returns
    -------
    ndarray, shape (3, side, side), float32
        From 0 to 1.
    """
    names = list(KINDS)
    return KINDS[names[int(draw.choice(len(names), p=SHARES))]](draw, side)


def leaves(draw: Draw, side: int) -> Array:
    """Shapes of all sizes that hide each other."""
    painter = _Painter(draw, OVERSAMPLED * side)
    power = draw.uniform(2.2, 3.2)
    smallest = draw.choice([3, 5, 8, 14])
    for _ in range(int(draw.integers(100, 500))):
        painter.leaf(radius(draw, smallest, LARGEST_SHARE * side, power))
    return _thinned(draw, painter.image)


def strokes(draw: Draw, side: int) -> Array:
    """Large shapes with bundles of thin strokes: hair, twigs, writing, lattices."""
    painter = _Painter(draw, OVERSAMPLED * side)
    for _ in range(int(draw.integers(5, 40))):
        painter.leaf(radius(draw, 16, LARGEST_SHARE * side, 2.0))
    for _ in range(int(draw.integers(2, 9))):
        painter.bundle()
    for _ in range(int(draw.integers(0, 60))):
        painter.leaf(radius(draw, 3, 0.2 * side, 2.5))
    return _thinned(draw, painter.image)


def surfaces(draw: Draw, side: int) -> Array:
    """A few large textured regions with sharp borders."""
    painter = _Painter(draw, OVERSAMPLED * side, textured=0.9)
    for _ in range(int(draw.integers(6, 50))):
        painter.leaf(radius(draw, 24, 1.5 * side, 1.8))
    return _thinned(draw, painter.image)


KINDS: dict[str, Callable[[Draw, int], Array]] = {
    "leaves": leaves,
    "strokes": strokes,
    "surfaces": surfaces,
}
SHARES = (0.6, 0.25, 0.15)


class _Painter:
    """Draws on a fine image (3, side, side)."""

    def __init__(self, draw: Draw, side: int, textured: float = 0.45) -> None:
        self.draw, self.side, self.textured = draw, side, textured
        self.palette = _palette(draw)
        self.soft = draw.uniform(0, 0.8) ** 3
        self.textures = [_texture(draw) for _ in range(5)]
        self.image = np.empty((3, side, side), dtype=np.float32)
        everything = (slice(0, side), slice(0, side))
        self.image[:] = self._fill(everything)

    def leaf(self, reach: float) -> None:
        """One shape of a radius, fine pixels."""
        draw = self.draw
        box = 2 * math.ceil(OVERSAMPLED * reach) + 3
        corner = draw.integers(-box // 2, self.side - box // 2, 2)
        part, seen = inside(corner, box, self.side)
        if part[0].start >= part[0].stop or part[1].start >= part[1].stop:
            return
        cover = _shape(draw, box, seen)
        if draw.random() < self.soft:
            cover = ndimage.gaussian_filter(cover, draw.uniform(1, 1 + 0.15 * box))
        self._put(part, cover, self._fill(part))

    def bundle(self) -> None:
        """Curved strokes side by side, of one colour each."""
        draw, side = self.draw, self.side
        length = int(draw.uniform(0.2, 1) * side)
        step = np.arange(length)
        turn = draw.uniform(0, 2 * math.pi) + np.cumsum(
            draw.normal(0, draw.uniform(0, 0.03), length)
        )
        y, x = np.cumsum(np.sin(turn)), np.cumsum(np.cos(turn))
        apart = draw.uniform(2.5, 24)
        regular = draw.random() < 0.5
        start = draw.uniform(0, side, 2)
        width = draw.uniform(0.5, 0.35 * apart)
        across = (-math.cos(turn[0]), math.sin(turn[0]))
        cover = np.zeros((side, side), dtype=np.float32)
        for n in range(int(draw.integers(1, 30))):
            shift = n * apart if regular else draw.uniform(-8, 8) * apart
            rows = (start[0] + y + shift * across[0]).round().astype(int)
            columns = (start[1] + x + shift * across[1]).round().astype(int)
            keep = (rows >= 0) & (rows < side) & (columns >= 0) & (columns < side)
            cover[rows[keep], columns[keep]] = 1
        box = [
            slice(max(0, int(i.min()) - 20), int(i.max()) + 20) if i.size else slice(0)
            for i in np.nonzero(cover)
        ]
        part = (box[0], box[1])
        if step.size and cover.any():
            near = ndimage.distance_transform_edt(cover[part] == 0)
            drawn = np.clip(width + 0.5 - near, 0, 1).astype(np.float32)
            part = tuple(
                slice(p.start, p.start + n)
                for p, n in zip(part, drawn.shape, strict=True)
            )  # type: ignore[assignment]
            self._put(part, drawn, self._fill(part))

    def _put(self, part: tuple[slice, slice], cover: Array, fill: Array) -> None:
        under = self.image[:, part[0], part[1]]
        under += cover * (fill - under)

    def _fill(self, part: tuple[slice, slice]) -> Array:
        """Colours (3, y, x) of a shape: shaded, and sometimes textured."""
        draw = self.draw
        colour = self.palette[draw.integers(PALETTE)] + draw.normal(0, 0.06, 3)
        height, width = (p.stop - p.start for p in part)
        y = np.linspace(-1, 1, height, dtype=np.float32)[:, None]
        x = np.linspace(-1, 1, width, dtype=np.float32)[None]
        slope = draw.normal(0, 0.1, 2).astype(np.float32)
        light = slope[0] * y + slope[1] * x
        if draw.random() < self.textured:
            light = light + self._textured(height, width)
        fill = colour[:, None, None] + light
        if draw.random() < 0.2:
            tint = draw.normal(0, 0.1, 3)[:, None, None]
            fill = fill + tint * (y if draw.random() < 0.5 else x)
        made: Array = np.asarray(fill, dtype=np.float32)
        return made

    def _textured(self, height: int, width: int) -> Array:
        draw = self.draw
        strength = np.float32(10 ** draw.uniform(-2, -0.55))
        if draw.random() < 0.25:
            return strength * _stripes(draw, height, width)
        texture = self.textures[draw.integers(len(self.textures))]
        if draw.random() < 0.5:
            texture = texture.T
        y, x = draw.integers(0, SMALL_TEXTURE, 2)
        rows = (y + np.arange(height)) % (2 * SMALL_TEXTURE)
        columns = (x + np.arange(width)) % (2 * SMALL_TEXTURE)
        made: Array = strength * texture[rows[:, None], columns[None]]
        return made


def _palette(draw: Draw) -> NDArray[np.float64]:
    """Colours (PALETTE, 3): light varies most, then hue as under one lamp."""
    light = draw.beta(0.8, 0.8, PALETTE)[:, None]
    spread = draw.uniform(0, 0.35)
    lamp = draw.normal(0, 0.1, 3)
    hue = draw.normal(0, 1, (PALETTE, 3))
    colours: NDArray[np.float64] = light + spread * (hue - hue.mean(1)[:, None]) * (
        0.3 + 0.7 * light
    )
    return np.clip(colours + lamp * light, 0, 1)


def _texture(draw: Draw) -> Array:
    """Texture of mean 0 and deviation 1 that wraps around; (256, 256)."""
    side = 2 * SMALL_TEXTURE
    spectrum = np.fft.rfft2(draw.standard_normal((side, side)))
    y, x = np.fft.fftfreq(side)[:, None], np.fft.rfftfreq(side)[None]
    if draw.random() < 0.5:
        angle, long = draw.uniform(0, math.pi), draw.uniform(1, 6)
        u = y * math.cos(angle) + x * math.sin(angle)
        v = x * math.cos(angle) - y * math.sin(angle)
        frequency = np.hypot(u * long, v)
    else:
        frequency = np.hypot(y, x)
    lowest = 10 ** draw.uniform(-2.3, -0.7)
    spectrum *= np.hypot(frequency, lowest) ** -draw.uniform(0.8, 2.5)
    spectrum *= np.exp(-((frequency / draw.uniform(0.15, 0.5)) ** 2))
    spectrum[0, 0] = 0
    made = np.fft.irfft2(spectrum, s=(side, side))
    made /= made.std() + 1e-9
    kind = draw.integers(4)
    if kind == 1:
        made = np.sign(made - draw.uniform(-1, 1))
        made = ndimage.gaussian_filter(made, draw.uniform(0.3, 1.0), mode="wrap")
    elif kind == 2:
        made = np.abs(made)
    made = made - made.mean()
    textured: Array = (made / (made.std() + 1e-9)).astype(np.float32)
    return textured


def _stripes(draw: Draw, height: int, width: int) -> Array:
    """Bars or a lattice, a little bent, of -1 and 1 or as a wave."""
    turn, period = draw.uniform(0, math.pi), 2 * 10 ** draw.uniform(0.45, 1.4)
    y = np.arange(height, dtype=np.float32)[:, None]
    x = np.arange(width, dtype=np.float32)[None]
    bend = draw.normal(0, 1, 2) * draw.uniform(0, 0.3) / max(height, width)
    u = x * math.cos(turn) + y * math.sin(turn)
    v = y * math.cos(turn) - x * math.sin(turn)
    wave = np.sin((u + bend[0] * v * v) * 2 * math.pi / period)
    kind = draw.integers(4)
    if kind == 0:
        plain: Array = wave.astype(np.float32)
        return plain
    if kind == 1:
        across = np.sin((v + bend[1] * u * u) * 2 * math.pi / period)
        wave = np.maximum(wave, across) if draw.random() < 0.5 else wave * across
    edge = draw.uniform(-0.7, 0.7)
    sharp: Array = np.clip((wave - edge) * period / 6, -1, 1).astype(np.float32)
    return sharp


def _shape(draw: Draw, box: int, seen: tuple[slice, slice]) -> Array:
    """Cover (0 or 1) of an ellipse, rectangle, rod, polygon, blob or ring."""
    place = (np.arange(box, dtype=np.float32) - (box - 1) / 2) / (box / 2)
    y, x = place[seen[0]][:, None], place[seen[1]][None]
    turn = draw.uniform(0, math.pi) if draw.random() < 0.8 else 0.0
    u = x * math.cos(turn) + y * math.sin(turn)
    v = y * math.cos(turn) - x * math.sin(turn)
    thin = draw.uniform(0.2, 1)
    kind = draw.integers(7)
    if kind == 0:
        mask = u * u + (v / thin) ** 2 < 0.95
    elif kind == 1:
        mask = (np.abs(u) < 0.7) & (np.abs(v) < 0.7 * thin)
    elif kind == 2:
        bent = v + draw.uniform(-0.4, 0.4) * u * u
        mask = (np.abs(u) < 0.95) & (np.abs(bent) < draw.uniform(0.02, 0.15))
    elif kind == 3:
        angle = np.arctan2(y, x)
        wobble = sum(
            draw.normal(0, 0.25 / n) * np.cos(n * angle + draw.uniform(0, 6.3))
            for n in range(1, 6)
        )
        mask = np.hypot(y, x) < 0.65 + wobble
    elif kind == 4:
        r = np.hypot(u, v / max(thin, 0.5))
        mask = (r < 0.9) & (r > draw.uniform(0.5, 0.85))
    else:
        mask = x * x + y * y < 1
        for _ in range(int(draw.integers(3, 7))):
            side = draw.uniform(0, 2 * math.pi)
            mask &= x * math.cos(side) + y * math.sin(side) < draw.uniform(0.2, 0.9)
    cover: Array = mask.astype(np.float32)
    return cover


def _thinned(draw: Draw, fine: Array) -> Array:
    """What lens, camera and software leave, at half the size and of another gamma.

    Photographs were reduced by software more often than not, and many were sharpened:
    both leave a little overshoot along edges, which a lens alone does not.
    """
    way = draw.random()
    if way < REDUCED:
        soft = ndimage.gaussian_filter(fine, (0, *[draw.uniform(0, 0.8)] * 2))
        thin = imresize(soft, (0.5, 0.5)).astype(np.float32)
    else:
        width = OVERSAMPLED * draw.uniform(*SMOOTHING_PX)
        smooth = ndimage.gaussian_filter(fine, (0, width, width))
        # Means of fine pixels, so that what is shown lies in the pixels' centres.
        means = (smooth[:, ::2] + smooth[:, 1::2]) / 2
        thin = (means[..., ::2] + means[..., 1::2]) / 2
    if way > 1 - SHARPENED:
        width = draw.uniform(0.5, 1.2)
        blurred = ndimage.gaussian_filter(thin, (0, width, width))
        thin = thin + np.float32(draw.uniform(0.2, 1.0)) * (thin - blurred)
    shown: Array = thin.clip(0, 1)
    if draw.random() < 0.4:
        shown = shown ** np.float32(draw.uniform(0.5, 1.8))
    return shown
