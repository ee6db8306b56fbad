"""Pictures: images side by side in one contrast, and the weights of a kernel."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageDraw import ImageDraw

    from napari_zssr.imaging.kernel import FineKernel

GAP, HEADER, FONT_PX = 8, 26, 16
STRETCH = (0.3, 99.8)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Row:
    """Panels (Y, X) or (Y, X, 3) of one field of view, in the contrast of the first."""

    label: str
    panels: tuple[NDArray[Any], ...]


def side_by_side(
    rows: Sequence[Row], titles: Sequence[str], *, side_px: int = 336
) -> Image:
    """Draw rows of panels as RGB, enlarged to squares of `side_px` by nearest pixels.

    Titles stand above the columns, label and contrast above each row.
    """
    from PIL import Image, ImageDraw, ImageFont

    step = side_px + GAP
    size = (GAP + step * len(titles), HEADER + (step + HEADER) * len(rows))
    canvas = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(canvas)
    font = ImageFont.load_default(FONT_PX)
    for column, title in enumerate(titles):
        draw.text((GAP + column * step, 4), title, fill="black", font=font)
    for number, row in enumerate(rows):
        top = HEADER + number * (step + HEADER)
        low, high = np.percentile(row.panels[0], STRETCH)
        label = f"{row.label}: black {low:.4g}, white {high:.4g} in every panel"
        draw.text((GAP, top + 2), label.strip(": "), fill="dimgray", font=font)
        for column, panel in enumerate(row.panels):
            drawn = _to_image(panel, low, high, (side_px, side_px))
            canvas.paste(drawn, (GAP + column * step, top + HEADER))
    return canvas


def busiest(channels: NDArray[Any], side: int) -> tuple[slice, slice]:
    """Field of view with the most structure over all channels (C, Y, X).

    Its sides are `side` pixels, or those of a smaller image.
    """
    from scipy import ndimage

    size_y, size_x = channels.shape[-2:]
    height, width = min(side, size_y), min(side, size_x)
    energy = np.zeros((size_y, size_x))
    for channel in channels:
        edges = ndimage.gaussian_gradient_magnitude(channel.astype(np.float64), 1.5)
        energy += ndimage.uniform_filter(edges / max(edges.mean(), 1e-12), side)
    energy = energy[height // 2 :, width // 2 :]
    inside = energy[: size_y - height + 1, : size_x - width + 1]
    y, x = np.unravel_index(int(np.argmax(inside)), inside.shape)
    return slice(int(y), int(y) + height), slice(int(x), int(x) + width)


def _to_image(
    panel: NDArray[Any], low: float, high: float, size: tuple[int, int]
) -> Image:
    """RGB image of size (Y, X) by nearest pixels, `low` black and `high` white."""
    from PIL import Image

    grey = (panel.astype(np.float64) - low) / max(high - low, 1e-12)
    # Pillow rounds differently at the border between two pixels.
    y, x = (
        ((np.arange(side) + 0.5) * n / side).astype(np.intp)
        for side, n in zip(size, panel.shape, strict=False)
    )
    values = np.round(255 * grey.clip(0, 1)).astype(np.uint8)
    return Image.fromarray(values[np.ix_(y, x)]).convert("RGB")


# Blue, white and red, which all eyes tell apart.
DIVERGING = ((33, 102, 172), (247, 247, 247), (178, 24, 43))
MAP_BAR_PX = 14


def diverging_map(
    plane: NDArray[Any],
    limit: float,
    marked: NDArray[np.bool_],
    *,
    side_px: int = 448,
) -> Image:
    """Draw a plane (Y, X) as RGB from blue at `-limit` over white at 0 to red.

    What is marked (Y, X) is outlined in black; a bar below tells the colours.
    """
    from PIL import Image, ImageDraw, ImageFont
    from scipy import ndimage

    scale = side_px / max(plane.shape)
    height, width = (max(1, round(n * scale)) for n in plane.shape)
    rows, columns = (
        ((np.arange(m) + 0.5) * n / m).astype(np.intp)
        for m, n in zip((height, width), plane.shape, strict=True)
    )
    drawn = _diverging(plane[np.ix_(rows, columns)] / limit)
    inside = marked[np.ix_(rows, columns)]
    drawn[inside & ~ndimage.binary_erosion(inside, iterations=2)] = 0
    bar = np.tile(_diverging(np.linspace(-1, 1, side_px)), (MAP_BAR_PX, 1, 1))
    size = (side_px, height + GAP + MAP_BAR_PX + LINE)
    canvas = Image.new("RGB", size, "white")
    canvas.paste(Image.fromarray(drawn), (0, 0))
    canvas.paste(Image.fromarray(bar), (0, height + GAP))
    draw = ImageDraw.Draw(canvas)
    draw.font = ImageFont.load_default(FONT_PX)
    top = height + GAP + MAP_BAR_PX + 2
    anchored = ((0, "la", -limit), (side_px / 2, "ma", 0), (side_px, "ra", limit))
    for place, anchor, value in anchored:
        draw.text((place, top), f"{value:g}", fill="black", anchor=anchor)
    return canvas


def _diverging(values: NDArray[Any]) -> NDArray[np.uint8]:
    """Colours (..., 3) of values from -1 to 1."""
    ends = [-1, 0, 1]
    channels = [np.interp(values, ends, part) for part in zip(*DIVERGING, strict=True)]
    return np.stack(channels, axis=-1).round().astype(np.uint8)


KERNEL_GAP, LINE, BAR_PX = 12, 22, 6
SIDE_PX, WIDTH_PX = 420, 560
# Longest scale bar, as a fraction of the picture's width.
LONGEST_BAR = 0.4


def kernel_picture(kernel: FineKernel, title: str) -> Image:
    """Draw the weights of a kernel as RGB, with a title, its widths and a scale bar."""
    from PIL import Image, ImageDraw, ImageFont

    weights = kernel.array
    low = min(0.0, float(weights.min()))
    contrast = f"black {low:.2g}, white {weights.max():.2g}; they sum to 1"
    lines = [title, *_size_and_width(kernel), contrast]
    y, x = kernel.fine_um
    height = weights.shape[0] * (1.0 if y is None or x is None else y / x)
    width = weights.shape[1]
    scale = SIDE_PX / max(height, width)
    drawn_size = (max(1, round(height * scale)), max(1, round(width * scale)))
    drawn = _to_image(weights, low, float(weights.max()), drawn_size)
    top = KERNEL_GAP + LINE * len(lines)
    size = (
        max(WIDTH_PX, drawn.width + 2 * KERNEL_GAP),
        top + drawn.height + 2 * LINE + KERNEL_GAP,
    )
    canvas = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(canvas)
    draw.font = ImageFont.load_default(FONT_PX)
    for number, line in enumerate(lines):
        draw.text((KERNEL_GAP, KERNEL_GAP / 2 + LINE * number), line, fill="black")
    canvas.paste(drawn, (KERNEL_GAP, top))
    corner = (KERNEL_GAP, top + drawn.height + KERNEL_GAP)
    _draw_scale_bar(draw, kernel, drawn.width / width, corner)
    return canvas


def _size_and_width(kernel: FineKernel) -> tuple[str, str]:
    rows, columns = kernel.array.shape
    size = f"{rows} × {columns} result pixels"
    y, x = kernel.fine_um
    if y is not None and x is not None:
        size += f" of {y:.3g} × {x:.3g} µm"
    large, small = kernel.fwhm_px
    width = f"FWHM {large:.2f} × {small:.2f} pixels"
    if kernel.fwhm_um is not None:
        large, small = kernel.fwhm_um
        width += f", {large:.3g} × {small:.3g} µm"
    return size, f"{width}, {kernel.spec.kind}"


def _draw_scale_bar(
    draw: ImageDraw, kernel: FineKernel, px: float, corner: tuple[int, int]
) -> None:
    """Draw a bar of a round length along X, in um or else in fine pixels."""
    size_um = kernel.fine_um[1]
    unit, size = ("pixels", 1.0) if size_um is None else ("µm", size_um)
    length = round_length(LONGEST_BAR * kernel.array.shape[1] * size)
    if size_um is None:
        length = max(1.0, length)
    left, top = corner
    right = left + length / size * px
    draw.rectangle((left, top, right, top + BAR_PX), fill="black")
    draw.text((right + KERNEL_GAP, top - BAR_PX), f"{length:g} {unit}", fill="black")


def round_length(longest: float) -> float:
    """The largest of 1, 2, 5, 10, ... that is no longer."""
    power = 10.0 ** math.floor(math.log10(longest) + 1e-9)
    digit = next(n for n in (5, 2, 1) if n * power <= longest * (1 + 1e-9))
    return float(digit * power)
