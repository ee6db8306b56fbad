"""Reading of PNG, JPEG and BMP, writing of PNG."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from napari_zssr.errors import InputError
from napari_zssr.io.contents import Calibration, FileImage, FileImages, ImageEntry
from napari_zssr.io.photometric import oriented
from napari_zssr.stack.image import NAMESPACE, Outline

_READ_ERRORS = (OSError, ValueError, SyntaxError, EOFError)
_COLOUR_TYPES = {2, 4, 6}
_PALETTES = {"P", "PA", "LA", "La", "RGBa"}
_OTHER_COLOURS = {"CMYK", "YCbCr", "HSV", "LAB", "RGBX"}
_ORIENTATION = 274


@contextmanager
def opened(path: Path) -> Iterator[FileImages]:
    """The one image of a picture."""
    image = _picture(path)
    entry = ImageEntry(
        index=0,
        name="",
        axes=image.axes,
        shape=image.data.shape,
        dtype=str(image.data.dtype),
    )
    yield FileImages((entry,), lambda *_: image)


def _picture(path: Path) -> FileImage:
    """A picture upright: grey as YX, colour as YXS, a palette as its colours."""
    _refuse_16_bit_colour(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(path) as picture:
                mode = picture.mode
                orientation = picture.getexif().get(_ORIENTATION, 1)
                data = oriented(np.asarray(_plain(picture)), orientation, 0, 1)
    except Image.DecompressionBombError as error:
        raise InputError(
            f"{path.name} has too many pixels for this format; save it as a TIFF."
        ) from error
    except _READ_ERRORS as error:
        raise InputError(
            f"{path.name} cannot be read, it is damaged or incomplete ({error}); copy "
            "or export it again."
        ) from error
    messages = []
    if mode in _OTHER_COLOURS:
        messages.append(f"The colours were converted from {mode} to RGB.")
    if orientation in range(2, 9):
        messages.append(
            f"The image was rotated as its EXIF orientation says ({orientation})."
        )
    if data.dtype == np.int32 and data.min() >= 0 and data.max() <= 65535:
        data = data.astype(np.uint16)
    axes = "YX" if data.ndim == 2 else "YXS"
    known = Calibration(messages=tuple(messages))
    return FileImage(data=data, axes=axes, calibration=known)


def _plain(picture: Image.Image) -> Image.Image:
    """Grey, RGB or RGBA; without an alpha that is opaque and colours that are grey."""
    if picture.mode in _OTHER_COLOURS:
        return picture.convert("RGB")
    if picture.mode not in _PALETTES:
        return picture
    picture = picture.convert("RGBA")
    pixels = np.asarray(picture)
    if (pixels[..., 3] < 255).any():
        return picture
    rgb = picture.convert("RGB")
    is_grey = (pixels[..., :1] == pixels[..., 1:3]).all()
    return rgb.getchannel(0) if is_grey else rgb


def _refuse_16_bit_colour(path: Path) -> None:
    """Pillow would silently read it as 8-bit."""
    with path.open("rb") as file:
        header = file.read(26)
    is_png = header.startswith(b"\x89PNG") and len(header) == 26
    if is_png and header[24] == 16 and header[25] in _COLOUR_TYPES:
        raise InputError(
            f"{path.name} is a PNG of 16-bit colour, which cannot be read in full; "
            "save it as a TIFF."
        )


def check_png(outline: Outline) -> None:
    """Refuse an image that a PNG cannot hold with an InputError."""
    sizes = outline.sizes
    many = [letter for letter in "TCZ" if sizes.get(letter, 1) > 1]
    if many:
        raise InputError(
            f"A PNG holds one plane, but the image has {sizes[many[0]]} along "
            f"{many[0]}; write an .ome.tif."
        )
    samples = sizes.get("S", 1)
    allowed = {"uint8"} if samples in {3, 4} else {"uint8", "uint16"}
    if outline.dtype not in allowed or samples == 2:
        raise InputError(
            f"A PNG cannot hold these pixels ({outline.dtype}, axes {outline.axes}); "
            "write an .ome.tif."
        )


def write_png(path: Path, plane: NDArray[Any], record: str | None) -> None:
    """Write a plane, (Y, X), (Y, X, 3) or (Y, X, 4), with its provenance as JSON."""
    info = PngInfo()
    if record is not None:
        info.add_itxt(NAMESPACE, record, zip=True)
    Image.fromarray(np.ascontiguousarray(plane)).save(path, format="PNG", pnginfo=info)


def png_text(path: Path) -> str | None:
    """Provenance of a PNG as JSON; OSError or ValueError where it cannot be read."""
    with Image.open(path) as picture:
        text = picture.info.get(NAMESPACE)
    return text if isinstance(text, str) else None
