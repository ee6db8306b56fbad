"""A picture that shows input, bicubic and result side by side."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
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
    """Panels that show the same field of view under one contrast stretch.

    Attributes
    ----------
    label : str
        What the row shows, for example the channel.
    panels : tuple of ndarray, each of shape (Y, X) or (Y, X, 3)
        Sizes may differ; the first one decides the contrast.
    """

    label: str
    panels: tuple[NDArray[Any], ...]


def side_by_side(
    rows: Sequence[Row], titles: Sequence[str], *, side_px: int = 336
) -> Image:
    """Draw rows of panels, each panel enlarged without interpolation.

    Parameters
    ----------
    rows : sequence of Row
    titles : sequence of str
        One for each column.
    side_px : int
        Side of a drawn panel, pixels.

    Returns
    -------
    PIL.Image.Image
        RGB, with titles above the columns and label and contrast above each row.
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
        label = f"{row.label}: black {low:.4g}, white {high:.4g} in every panel".strip(
            ": "
        )
        draw.text((GAP, top + 2), label, fill="dimgray", font=font)
        for column, panel in enumerate(row.panels):
            drawn = enlarged_to(to_uint8(panel, low, high), (side_px, side_px))
            canvas.paste(
                Image.fromarray(drawn).convert("RGB"),
                (GAP + column * step, top + HEADER),
            )
    return canvas


def busiest(channels: NDArray[Any], side: int) -> tuple[slice, slice]:
    """Field of view with the most structure, over all channels.

    Parameters
    ----------
    channels : ndarray, shape (C, Y, X)
    side : int
        Side of the field, pixels; cut to the image where that is smaller.

    Returns
    -------
    tuple of slice
        Along Y and X.
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


def enlarged(
    field: tuple[slice, slice], factors: tuple[float, float]
) -> tuple[slice, slice]:
    """The same field of view on the fine grid."""
    y, x = (
        slice(round(part.start * f), round(part.stop * f))
        for part, f in zip(field, factors, strict=True)
    )
    return y, x


def save(picture: Image, path: Path) -> None:
    """Write a PNG under a temporary name, then give it its own."""
    unfinished = path.with_name(f".{path.name}.part")
    try:
        picture.save(unfinished, format="PNG")
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


def to_uint8(panel: NDArray[Any], low: float, high: float) -> NDArray[np.uint8]:
    """Grey values, `low` as black and `high` as white."""
    share = (panel.astype(np.float64) - low) / max(high - low, 1e-12)
    return np.round(255 * share.clip(0, 1)).astype(np.uint8)


def enlarged_to(panel: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """Nearest pixel for each pixel of a rectangle (Y, X), on pixel centres."""
    y, x = (
        ((np.arange(side) + 0.5) * n / side).astype(np.intp)
        for side, n in zip(size, panel.shape, strict=False)
    )
    return panel[np.ix_(y, x)]


KERNEL_GAP, LINE, BAR_PX = 12, 22, 6
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
    px = drawn.width / kernel.array.shape[1]
    _bar(draw, kernel, px, (KERNEL_GAP, top + drawn.height + KERNEL_GAP))
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
    draw.text((right + KERNEL_GAP, top - BAR_PX), f"{bar:g} {unit}", fill="black")


def round_length(longest: float) -> float:
    """The largest of 1, 2, 5, 10, ... that is no longer."""
    power = 10.0 ** math.floor(math.log10(longest) + 1e-9)
    first = next(n for n in (5, 2, 1) if n * power <= longest * (1 + 1e-9))
    return float(first * power)
