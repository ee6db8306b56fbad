"""PNG, JPEG and BMP."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from napari_zssr.errors import InputError
from napari_zssr.io.contents import FileImage
from napari_zssr.io.photometric import oriented
from napari_zssr.stack.axes import NAMESPACE, Outline

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


def check_png(outline: Outline) -> None:
    """Refuse an image that a PNG cannot hold.

    Parameters
    ----------
    outline : Outline
        The image.

    Raises
    ------
    InputError
        Write another format.
    """
    sizes = outline.sizes
    many = [letter for letter in "TCZ" if sizes.get(letter, 1) > 1]
    if many:
        raise InputError(
            f"A PNG holds one plane, but the image has {sizes[many[0]]} along "
            f"{many[0]}; write an .ome.tif."
        )
    colour = sizes.get("S", 1) in {3, 4}
    allowed = {"uint8"} if colour else {"uint8", "uint16"}
    if outline.dtype not in allowed or sizes.get("S") == 2:
        raise InputError(
            f"A PNG cannot hold these pixels ({outline.dtype}, axes {outline.axes}); "
            "write an .ome.tif."
        )


def write_png(path: Path, plane: NDArray[Any], record: str | None) -> None:
    """Write a plane.

    Parameters
    ----------
    path : Path
        The file.
    plane : ndarray, shape (Y, X), (Y, X, 3) or (Y, X, 4)
        Its pixels.
    record : str, optional
        Provenance as JSON.
    """
    from PIL import Image
    from PIL.PngImagePlugin import PngInfo

    notes = PngInfo()
    if record is not None:
        notes.add_itxt(NAMESPACE, record, zip=True)
    Image.fromarray(np.ascontiguousarray(plane)).save(path, format="PNG", pnginfo=notes)


def png_text(path: Path) -> str | None:
    """Provenance in a PNG as JSON, None where there is none.

    Parameters
    ----------
    path : Path
        The file.

    Raises
    ------
    OSError, ValueError
        It cannot be read.
    """
    from PIL import Image

    with Image.open(path) as picture:
        text = picture.info.get(NAMESPACE)
    return text if isinstance(text, str) else None
