"""PNG, JPEG and BMP."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from napari_zssr.errors import InputError
from napari_zssr.files.colour import oriented
from napari_zssr.files.image import FileImage

_BROKEN = (OSError, ValueError, SyntaxError, EOFError, UnidentifiedImageError)
_WIDE_RGB = {2, 4, 6}
_OTHER_COLOURS = {"CMYK", "YCbCr", "HSV", "LAB", "RGBX"}
_ORIENTATION = 274


def read_picture(path: Path) -> FileImage:
    """Read a picture upright: grey as YX, colour as YXS, a palette as what it shows.

    Raises
    ------
    InputError
        Truncated, too large, or 16-bit colour, which would lose its lower bits.
    """
    _refuse_wide_colour(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(path) as picture:
                orientation = picture.getexif().get(_ORIENTATION, 1)
                messages = _messages(picture.mode, orientation)
                data = oriented(np.asarray(_plain(picture)), orientation, 0, 1)
    except Image.DecompressionBombError as error:
        raise InputError(
            f"{path.name} has more pixels than are read from a picture; save it as a "
            "TIFF."
        ) from error
    except _BROKEN as error:
        raise InputError(
            f"{path.name} cannot be read, it is damaged or incomplete ({error}); copy "
            "or export it again."
        ) from error
    if data.dtype == np.int32 and data.min() >= 0 and data.max() <= 65535:
        data = data.astype(np.uint16)
    axes = "YX" if data.ndim == 2 else "YXS"
    return FileImage(data=data, axes=axes, messages=messages)


def _messages(mode: str, orientation: int) -> tuple[str, ...]:
    """What is converted, a palette aside: its colours are what every program shows."""
    converted = f"Its colours were converted from {mode} to RGB."
    turned = f"It was turned by its EXIF orientation ({orientation})."
    return tuple(
        message
        for message, holds in (
            (converted, mode in _OTHER_COLOURS),
            (turned, orientation in range(2, 9)),
        )
        if holds
    )


def _plain(picture: Image.Image) -> Image.Image:
    """Grey, RGB or RGBA."""
    if picture.mode in {"P", "PA", "LA", "La", "RGBa"}:
        return _without_palette(picture.convert("RGBA"))
    if picture.mode in _OTHER_COLOURS:
        return picture.convert("RGB")
    return picture


def _without_palette(picture: Image.Image) -> Image.Image:
    """Drop an opaque alpha, and colour that is none."""
    pixels = np.asarray(picture)
    if (pixels[..., 3] < 255).any():
        return picture
    grey = (pixels[..., :1] == pixels[..., 1:3]).all()
    return picture.convert("RGB").getchannel(0) if grey else picture.convert("RGB")


def _refuse_wide_colour(path: Path) -> None:
    """Pillow reads 16-bit colour as 8-bit without a word."""
    with path.open("rb") as file:
        head = file.read(26)
    if head.startswith(b"\x89PNG") and len(head) == 26:
        depth, colour = head[24], head[25]
        if depth == 16 and colour in _WIDE_RGB:
            raise InputError(
                f"{path.name} is a PNG of 16-bit colour, which cannot be read in full; "
                "save it as a TIFF."
            )
