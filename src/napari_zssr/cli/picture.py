"""A picture that shows input, bicubic and result side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from PIL.Image import Image

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
