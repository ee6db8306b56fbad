"""From what is there to what a microscope shows: focus, haze, background, contrast."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from training.fields import Array, Draw, clouds, hazy, log_uniform, swell

# Widths of the last smoothing, pixels, and how often each range is drawn: most fine
# images are as sharp as their pixels allow, some are soft.
FOCUS_PX = ((0.0, 0.0), (0.3, 0.6), (0.6, 1.1), (1.1, 2.2))
FOCUS_SHARES = (0.5, 0.3, 0.14, 0.06)


def focused(draw: Draw, image: Array) -> Array:
    """The image smoothed by some fraction of a pixel up to two pixels."""
    low, high = FOCUS_PX[int(draw.choice(len(FOCUS_PX), p=FOCUS_SHARES))]
    width = draw.uniform(low, high)
    if width == 0:
        return image
    return np.asarray(ndimage.gaussian_filter(image, width))


def emitted(draw: Draw, light: Array) -> Array:
    """Fluorescence as recorded: light on a dark background.

    Parameters
    ----------
    draw : numpy.random.Generator
    light : ndarray, shape (side, side)
        What is emitted, at least 0, of any unit.

    Returns
    -------
    ndarray, shape (side, side)
        From 0 to 1.
    """
    side = len(light)
    light = focused(draw, light)
    light = light / (np.quantile(light, 0.999) + np.float32(1e-6))
    # A few crossings far above all else would leave the rest in the dark.
    light = light / (1 + 0.3 * light)
    if draw.random() < 0.4:
        # Planes above and below: as the light itself, and as its mirror image.
        other = light if draw.random() < 0.5 else light[::-1, ::-1]
        haze = hazy(other, log_uniform(draw, 3, max(4.0, side / 10)))
        light = light + log_uniform(draw, 0.1, 0.8) * haze
    if draw.random() < 0.3:
        light = light * np.exp(0.35 * swell(draw, side, side / 2))
    background = log_uniform(draw, 0.003, 0.25)
    if draw.random() < 0.4:
        wave = clouds(draw, side, draw.uniform(1, 2), side / 12)
        light = light + background * np.maximum(0, 0.5 + 0.3 * wave)
    light = np.maximum(light, 0)
    if draw.random() < 0.4:
        light = light ** draw.uniform(0.5, 1.3)
    peak = log_uniform(draw, 0.4, 1.1)
    seen = background + peak * (1 - background) * light / (light.max() + 1e-6)
    return np.asarray(np.clip(seen, 0, 1), dtype=np.float32)


def transmitted(draw: Draw, image: Array) -> Array:
    """Light or electrons that went through: any contrast about a bright ground.

    Parameters
    ----------
    draw : numpy.random.Generator
    image : ndarray, shape (side, side)
        1 is empty, 0 lets nothing through.

    Returns
    -------
    ndarray, shape (side, side)
        From 0 to 1.
    """
    side = len(image)
    image = focused(draw, image)
    if draw.random() < 0.4:
        image = image + draw.uniform(0, 0.08) * swell(draw, side, side / 2)
    low, high = np.quantile(image, (0.002, 0.998))
    image = (image - low) / (high - low + 1e-6)
    contrast = log_uniform(draw, 0.35, 1.05)
    image = contrast * image + draw.uniform(0, 1) * (1 - contrast)
    image = np.clip(image, 0, 1) ** draw.uniform(0.6, 1.6)
    return np.asarray(image, dtype=np.float32)
