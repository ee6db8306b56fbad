"""OME-TIFF: what its header says, and files larger than memory."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO
from xml.etree import ElementTree

import numpy as np
import tifffile
from numpy.typing import NDArray

from napari_zssr.errors import InputError
from napari_zssr.stack.axes import Channel, planes
from napari_zssr.stack.layout import band_rows
from napari_zssr.stack.ome_units import xml_unit
from napari_zssr.stack.outline import NAMESPACE, Outline, legal_text
from napari_zssr.stack.spacing_record import SPACING, record_message, spacing_record
from napari_zssr.stack.units import in_um

BIGTIFF_BYTES = int(3.9e9)

_OME_TYPES = {f"{kind}{bits}" for kind in ("uint", "int") for bits in (8, 16, 32)}
_OME_TYPES |= {"float32", "float64"}
# Pixels per centimetre that two whole numbers of 32 bits can tell.
_DENSITIES = (2.0**-31, 2.0**32 - 1)
_UNITLESS = "reference frame"
_PROVENANCE = "provenance"

Rows = Callable[[tuple[int | slice, ...], slice], NDArray[Any]]


def check_tiff(outline: Outline) -> tuple[str, ...]:
    """Refuse an image that OME-TIFF cannot hold, by writing a small one like it.

    Parameters
    ----------
    outline : Outline
        The image.

    Returns
    -------
    tuple of str
        Sentences on what other programs will not see.

    Raises
    ------
    InputError
        Convert it, or write another format.
    """
    if outline.dtype not in _OME_TYPES:
        raise InputError(
            f"OME-TIFF cannot hold pixels of type {outline.dtype}; convert them to "
            "float32 or uint16 first."
        )
    small = _smallest(outline.along(file_axes(outline)))
    file = io.BytesIO()
    try:
        write_tiff(file, small, None, np.zeros(small.shape, small.dtype))
        file.seek(0)
        with tifffile.TiffFile(file) as written:
            ElementTree.fromstring(written.ome_metadata or "")
    except (ValueError, LookupError, ElementTree.ParseError) as error:
        raise InputError(
            f"The image does not fit into an OME-TIFF ({error}); write an .ome.zarr."
        ) from error
    record = _record(small)
    return (record_message("OME-TIFF", record),) if record else ()


def _smallest(outline: Outline) -> Outline:
    """The same image with the fewest pixels."""
    few = {"T": 1, "Z": 1, "Y": 2, "X": 2}
    shape = tuple(
        few.get(a, n) for a, n in zip(outline.axes, outline.shape, strict=True)
    )
    return replace(outline, shape=shape)


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
    path: Path | BinaryIO, outline: Outline, record: str | None, data: NDArray[Any]
) -> None:
    """Write an image that is in memory.

    Parameters
    ----------
    path : Path or file
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
        content["Name"] = legal_text(outline.name)
    for letter, size, unit in zip(
        outline.axes, outline.spacing, outline.units, strict=True
    ):
        symbol = xml_unit(unit, letter) if letter in "TZYX" else None
        if size is None or letter not in "TZYX" or (letter == "T" and not symbol):
            continue
        key = "TimeIncrement" if letter == "T" else f"PhysicalSize{letter}"
        content |= {key: float(size), f"{key}Unit": symbol or _UNITLESS}
    if outline.channels:
        content["Channel"] = [_ome_channel(c) for c in outline.channels]
    own = {} if record is None else {_PROVENANCE: record}
    if spacing := _record(outline):
        own[SPACING] = json.dumps(spacing)
    if own:
        content["MapAnnotation"] = {"Namespace": NAMESPACE, "Value": own}
    return content


def _record(outline: Outline) -> dict[str, list[Any]]:
    """Sizes that the schema has no place for: it knows no time without a unit."""
    found = spacing_record(outline, xml_unit)
    listed = zip(outline.axes, outline.spacing, outline.units, strict=True)
    times = {
        a: [size, unit] for a, size, unit in listed if a == "T" and size and not unit
    }
    return found | times


def _ome_channel(channel: Channel) -> dict[str, Any]:
    told: dict[str, Any] = {
        "Name": legal_text(channel.name) or None,
        "Color": channel.color,
    }
    for key, length in (
        ("EmissionWavelength", channel.emission_nm),
        ("ExcitationWavelength", channel.excitation_nm),
    ):
        if length is not None:
            told |= {key: float(length), f"{key}Unit": "nm"}
    return told


def _resolution(outline: Outline) -> dict[str, Any]:
    """Pixels per centimetre, for readers that do not know OME.

    None where they do not fit into the tags, as in atomic resolution.
    """
    densities = []
    low, high = _DENSITIES
    for letter in "XY":
        axis = outline.axes.index(letter)
        size = in_um(outline.spacing[axis], outline.units[axis])
        density = 1e4 / size if size else 0.0
        if not low <= density <= high:
            return {}
        densities.append(density)
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
            return note.findtext(f"{{*}}Value/{{*}}M[@K='{_PROVENANCE}']")
    return None
