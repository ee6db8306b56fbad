"""PNG: one plane, grey or RGB(A), with the provenance as text."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_zssr.errors import InputError
from napari_zssr.stack.outline import NAMESPACE, Outline


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
