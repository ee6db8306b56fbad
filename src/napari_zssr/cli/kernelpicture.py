"""A picture of a blur: its pixels, its size, a scale bar."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_zssr.cli.picture import FONT_PX, enlarged_to, to_uint8

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageDraw import ImageDraw

    from napari_zssr.imaging.kernel import FineKernel

GAP, LINE, BAR_PX = 12, 22, 6
SIDE_PX, WIDTH_PX = 420, 560
# A scale bar is at most this share of the picture of the weights.
LONGEST_BAR = 0.4


def kernel_picture(kernel: FineKernel, title: str) -> Image:
    """Draw the weights of a blur, each a square, or a rectangle where pixels are.

    Parameters
    ----------
    kernel : FineKernel
    title : str
        Stands above it, for example the channel's name.

    Returns
    -------
    PIL.Image.Image
        RGB.
    """
    from PIL import Image, ImageDraw, ImageFont

    lines = [title, _size(kernel), _width(kernel), _contrast(kernel.array)]
    drawn = _drawn(kernel)
    top = GAP + LINE * len(lines)
    size = (max(WIDTH_PX, drawn.width + 2 * GAP), top + drawn.height + 2 * LINE + GAP)
    canvas = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(canvas)
    draw.font = ImageFont.load_default(FONT_PX)
    for number, line in enumerate(lines):
        draw.text((GAP, GAP / 2 + LINE * number), line, fill="black")
    canvas.paste(drawn, (GAP, top))
    px = drawn.width / kernel.array.shape[1]
    _bar(draw, kernel, px, (GAP, top + drawn.height + GAP))
    return canvas


def _drawn(kernel: FineKernel) -> Any:
    """The weights, black the least or 0, white the largest."""
    from PIL import Image

    weights = kernel.array
    y, x = kernel.fine_um
    tall = 1.0 if y is None or x is None else y / x
    rows, columns = weights.shape[0] * tall, weights.shape[1]
    step = SIDE_PX / max(rows, columns)
    size = (max(1, round(rows * step)), max(1, round(columns * step)))
    grey = to_uint8(weights, min(0.0, float(weights.min())), float(weights.max()))
    return Image.fromarray(enlarged_to(grey, size)).convert("RGB")


def _size(kernel: FineKernel) -> str:
    rows, columns = kernel.array.shape
    told = f"{rows} x {columns} fine pixels"
    y, x = kernel.fine_um
    if y is not None and x is not None:
        told += f" of {y:.3g} x {x:.3g} um"
    return told


def _width(kernel: FineKernel) -> str:
    large, small = kernel.fwhm_px
    told = f"FWHM {large:.2f} x {small:.2f} pixels"
    if kernel.fwhm_um is not None:
        large, small = kernel.fwhm_um
        told += f", {large:.3g} x {small:.3g} um"
    return f"{told}, {kernel.spec.kind}"


def _contrast(weights: np.ndarray[Any, Any]) -> str:
    low = min(0.0, float(weights.min()))
    return f"black {low:.2g}, white {weights.max():.2g}; they sum to 1"


def _bar(draw: ImageDraw, kernel: FineKernel, px: float, at: tuple[int, int]) -> None:
    """A bar of a round length along X, in um or else in fine pixels."""
    um = kernel.fine_um[1]
    unit, length = ("pixels", 1.0) if um is None else ("um", um)
    longest = LONGEST_BAR * kernel.array.shape[1] * length
    bar = round_length(longest) if um is not None else max(1.0, round_length(longest))
    left, top = at
    right = left + bar / length * px
    draw.rectangle((left, top, right, top + BAR_PX), fill="black")
    draw.text((right + GAP, top - BAR_PX), f"{bar:g} {unit}", fill="black")


def round_length(longest: float) -> float:
    """The largest of 1, 2, 5, 10, ... that is no longer."""
    power = 10.0 ** math.floor(math.log10(longest) + 1e-9)
    first = next(n for n in (5, 2, 1) if n * power <= longest * (1 + 1e-9))
    return float(first * power)
