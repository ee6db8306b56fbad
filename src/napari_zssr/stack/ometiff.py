"""OME-TIFF: what its header says, and files larger than memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import tifffile
from numpy.typing import NDArray

from napari_zssr.errors import InputError
from napari_zssr.stack.axes import Channel, planes
from napari_zssr.stack.layout import band_rows
from napari_zssr.stack.outline import NAMESPACE, Outline

BIGTIFF_BYTES = int(3.9e9)

_OME_TYPES = {f"{kind}{bits}" for kind in ("uint", "int") for bits in (8, 16, 32)}
_OME_TYPES |= {"float32", "float64"}
_OME_UNITS = {unit: unit for unit in ("pm", "nm", "mm", "cm", "m", "ms", "s", "min")}
_OME_UNITS |= {"h": "h", "d": "d", "um": "µm", "us": "µs", "angstrom": "Å"}
_METRES = {"pm": 1e-12, "angstrom": 1e-10, "nm": 1e-9, "um": 1e-6, "mm": 1e-3}
_METRES |= {"cm": 1e-2, "m": 1.0}

Rows = Callable[[tuple[int | slice, ...], slice], NDArray[Any]]


def check_type(dtype: str) -> None:
    """Refuse pixels that OME-TIFF does not know.

    Parameters
    ----------
    dtype : str
        Name of the pixels' type.

    Raises
    ------
    InputError
        Convert them first.
    """
    if dtype not in _OME_TYPES:
        raise InputError(
            f"OME-TIFF cannot hold pixels of type {dtype}; convert them to float32 or "
            "uint16 first."
        )


def file_axes(outline: Outline) -> str:
    """T, C, Z in their own order, then Y, X and S, unless S is single.

    Parameters
    ----------
    outline : Outline
        The image.
    """
    leading = [letter for letter in outline.axes if letter not in "YXS"]
    samples = outline.sizes.get("S", 1)
    return "".join(leading) + "YX" + ("S" if samples > 1 else "")


def write_tiff(
    path: Path, outline: Outline, record: str | None, data: NDArray[Any]
) -> None:
    """Write an image that is in memory.

    Parameters
    ----------
    path : Path
        The file.
    outline : Outline
        The image, in the order of `file_axes`.
    record : str, optional
        Provenance as JSON.
    data : ndarray
        Its pixels.
    """
    tifffile.imwrite(path, data, **_options(outline, record))


def assemble_tiff(path: Path, outline: Outline, record: str | None, read: Rows) -> None:
    """Write an image that is read by bands of rows.

    Parameters
    ----------
    path : Path
        The file.
    outline : Outline
        The image, its axes in any order.
    record : str, optional
        Provenance as JSON.
    read : callable
        Rows of a plane, given the plane's index and a slice.
    """
    letters = file_axes(outline)
    ordered = outline.along(letters)
    found = tifffile.imwrite(
        path,
        shape=ordered.shape,
        dtype=outline.dtype,
        returnoffset=True,
        **_options(ordered, record),
    )
    if found is None:
        raise ValueError("the pixels do not lie in one piece")
    with path.open("r+b") as file:
        # The planes follow each other in the order of the file's axes.
        file.seek(found[0])
        for rows in _bands(outline, read):
            file.write(np.ascontiguousarray(rows, dtype=outline.dtype).data)


def _bands(outline: Outline, read: Rows) -> Iterator[NDArray[Any]]:
    """All rows of all planes from the first to the last, (rows, X) or (rows, X, S)."""
    inside = [letter for letter in outline.axes if letter in "YXS"]
    order = [inside.index(letter) for letter in "YXS" if letter in inside]
    height, band = outline.sizes["Y"], band_rows(outline)
    for place in planes(outline.axes, outline.shape):
        for first in range(0, height, band):
            rows = read(place.index, slice(first, min(first + band, height)))
            yield rows.transpose(order)


def _options(outline: Outline, record: str | None) -> dict[str, Any]:
    samples = outline.sizes.get("S", 1)
    extra = {2: 1, 4: 1}.get(samples, 0)
    return {
        "ome": True,
        "bigtiff": outline.nbytes > BIGTIFF_BYTES,
        "photometric": "rgb" if samples >= 3 else "minisblack",
        "planarconfig": "contig" if samples > 1 else None,
        "extrasamples": ["unassalpha"] * extra or None,
        "metadata": _ome_metadata(outline, record),
        **_resolution(outline),
    }


def _ome_metadata(outline: Outline, record: str | None) -> dict[str, Any]:
    content: dict[str, Any] = {"axes": outline.axes}
    if outline.name:
        content["Name"] = outline.name
    for letter, size, unit in zip(
        outline.axes, outline.spacing, outline.units, strict=True
    ):
        key = "TimeIncrement" if letter == "T" else f"PhysicalSize{letter}"
        known = _OME_UNITS.get(unit or "")
        if size is None or letter not in "TZYX" or (letter == "T" and not known):
            continue
        content |= {key: size, f"{key}Unit": known or "reference frame"}
    if outline.channels:
        content["Channel"] = [_ome_channel(c) for c in outline.channels]
    if record is not None:
        content["MapAnnotation"] = {
            "Namespace": NAMESPACE,
            "Value": {"provenance": record},
        }
    return content


def _ome_channel(channel: Channel) -> dict[str, Any]:
    told: dict[str, Any] = {"Name": channel.name or None, "Color": channel.color}
    for key, length in (
        ("EmissionWavelength", channel.emission_nm),
        ("ExcitationWavelength", channel.excitation_nm),
    ):
        if length is not None:
            told |= {key: length, f"{key}Unit": "nm"}
    return told


def _resolution(outline: Outline) -> dict[str, Any]:
    """Pixels per centimetre, for readers that do not know OME."""
    densities = []
    for letter in "XY":
        axis = outline.axes.index(letter)
        size, unit = outline.spacing[axis], _METRES.get(outline.units[axis] or "")
        if size is None or unit is None:
            return {}
        densities.append(0.01 / (size * unit))
    return {"resolution": tuple(densities), "resolutionunit": "CENTIMETER"}


def stored_text(path: Path) -> str | None:
    """Provenance in an OME-TIFF as JSON, None where there is none.

    Parameters
    ----------
    path : Path
        The file.

    Raises
    ------
    OSError, ValueError, TiffFileError, ParseError
        It cannot be read.
    """
    with tifffile.TiffFile(path) as file:
        xml = file.ome_metadata
    if not xml:
        return None
    for note in ElementTree.fromstring(xml).findall(".//{*}MapAnnotation"):
        if note.get("Namespace") == NAMESPACE:
            return note.findtext("{*}Value/{*}M")
    return None
