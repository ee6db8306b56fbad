"""Writing of results as OME-TIFF, OME-Zarr or PNG: completely or not at all."""

from __future__ import annotations

import io
import json
import math
import shutil
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO
from xml.etree import ElementTree

import numpy as np
import tifffile
from numpy.typing import NDArray

from napari_zssr.atomic import (
    ZARR_MARKS,
    atomic_write,
    check_target,
    move_into_place,
    storage_errors,
    temporary_name,
)
from napari_zssr.errors import ImageWarning, InputError
from napari_zssr.io.calibration import (
    SPACING,
    record_messages,
    spacing_record,
    xml_unit,
)
from napari_zssr.io.ngff import band_rows, check_zarr, read_attributes
from napari_zssr.io.ome_xml import SIZE_ATTRIBUTES, own_value
from napari_zssr.io.pictures import check_png, png_text, write_png
from napari_zssr.stack.axis_labels import spacing_per_axis
from napari_zssr.stack.image import (
    NAMESPACE,
    Channel,
    ImageStack,
    Index,
    Outline,
    in_um,
    legal_text,
    outline_of,
    plane_axes,
    planes,
    to_cyx,
    to_native,
)
from napari_zssr.stack.report import to_json_types

BIGTIFF_BYTES = int(3.9e9)

_TIFF = {".tif", ".tiff"}
_ZARR = {".zarr"}
_SUGGESTED = ".ome.tif, .ome.zarr or .png"
_REPLACEMENT = "\ufffd"
_PROVENANCE = "provenance"

_OME_TYPES = {f"{kind}{bits}" for kind in ("uint", "int") for bits in (8, 16, 32)}
_OME_TYPES |= {"float32", "float64"}
# Pixels per centimetre that a ratio of two 32-bit integers can express.
_DENSITIES = (2.0**-31, 2.0**32 - 1)
_UNITLESS = "reference frame"

_READ_ERRORS = (OSError, ValueError, ElementTree.ParseError)

Rows = Callable[[Index, slice], NDArray[Any]]


def write(
    path: str | Path,
    stack: ImageStack,
    *,
    overwrite: bool = False,
    provenance: Mapping[str, Any] | None = None,
) -> Path:
    """Write a stack, by the ending of the name as OME-TIFF, OME-Zarr or PNG.

    Parameters
    ----------
    path : str or Path
        ``.ome.tif``, ``.ome.tiff``, ``.tif`` and ``.tiff`` give an OME-TIFF (BigTIFF
        when large), ``.ome.zarr`` and ``.zarr`` an OME-Zarr 0.5, ``.png`` a PNG.
    stack : ImageStack
        What to write. Axes are reordered to T, C, Z in the stack's order (in OME-Zarr
        T, C, Z), then Y, X and S where they are not so already; RGB samples are
        channels of OME-Zarr. Lazy pixels are read plane by plane.
    overwrite : bool
        Replace what is there.
    provenance : mapping, optional
        Record that `read_provenance` reads back; NaN and Inf become None.

    Returns
    -------
    Path
        The file or folder.

    Raises
    ------
    InputError
        The name, folder or pixels do not allow it.
    ComputeError
        The disk is full or fails.

    Warns
    -----
    ImageWarning
        For what other programs will not see.
    """
    check_output(path, overwrite)
    target = Path(path).expanduser().resolve()
    outline = outline_of(stack)
    warn_about_format(target, outline)
    record = None if provenance is None else to_json_types(provenance)
    if target.suffix.lower() in _ZARR:
        _write_zarr(target, stack, record, overwrite)
        return target
    with atomic_write(target) as draft:
        write_file(draft, target.suffix, outline, partial(_rows, stack), record)
    return target


def write_file(
    path: Path,
    suffix: str,
    outline: Outline,
    read: Rows,
    record: Mapping[str, Any] | None,
) -> None:
    """Write an OME-TIFF or a PNG, by its suffix, with its provenance.

    `read` returns rows of a plane in the axes of the outline.
    """
    text = None if record is None else json.dumps(record)
    if suffix.lower() in _TIFF:
        _assemble_tiff(path, outline, text, read)
    else:
        write_png(path, _single_plane(outline, read), text)


def check_output(
    path: str | Path, overwrite: bool = False, *, stack: ImageStack | None = None
) -> None:
    """Refuse an output that could not be written: InputError before a long run starts.

    A `stack` is checked against the format too; its size along Y and X does not matter.
    """
    marks = ZARR_MARKS if Path(path).suffix.lower() in _ZARR else ()
    check_target(path, overwrite, {*_TIFF, *_ZARR, ".png"}, _SUGGESTED, marks)
    if stack is not None:
        check_format(path, outline_of(stack))


def check_format(path: str | Path, outline: Outline) -> tuple[str, ...]:
    """Messages on what its format cannot tell; InputError where it cannot hold it."""
    spacing_per_axis(outline.axes, outline.spacing)
    _check_channels(outline)
    suffix = Path(path).suffix.lower()
    if suffix == ".png":
        check_png(outline)
        return ()
    messages = check_zarr(outline) if suffix in _ZARR else check_tiff(outline)
    names = [outline.name, *(channel.name for channel in outline.channels)]
    replaced = [name for name in names if _REPLACEMENT in legal_text(name)]
    if any(_REPLACEMENT not in name for name in replaced):
        messages += (
            "Characters that cannot be stored were replaced in "
            f"{legal_text(replaced[0])!r}.",
        )
    return messages


def warn_about_format(path: str | Path, outline: Outline) -> None:
    """Issue an ImageWarning for each message of `check_format`."""
    for message in check_format(path, outline):
        warnings.warn(message, ImageWarning, stacklevel=3)


def _check_channels(outline: Outline) -> None:
    """Refuse channels that neither OME-XML nor OME-Zarr can describe."""
    count = outline.sizes.get("C", 1)
    if outline.channels and len(outline.channels) != count:
        raise InputError(
            f"{len(outline.channels)} channels are described, but the image has "
            f"{count}; describe each one, or none."
        )
    for number, channel in enumerate(outline.channels):
        lengths = {
            "an emission": channel.emission_nm,
            "an excitation": channel.excitation_nm,
        }
        problems = [
            f"{name} of {nm:g} nm, which is not a wavelength"
            for name, nm in lengths.items()
            if nm is not None and not 0 < nm < math.inf
        ]
        if channel.color is not None and not -(2**31) <= channel.color < 2**31:
            problems.append(
                f"the colour {channel.color}, which is not a signed 32-bit number"
            )
        if problems:
            raise InputError(
                f"Channel {number} has {problems[0]}; correct it, or leave it out."
            )


def read_provenance(path: str | Path) -> dict[str, Any] | None:
    """Record that `write` stored in an image, None where there is none."""
    try:
        record = _stored_record(Path(path).expanduser())
    except _READ_ERRORS as error:
        raise InputError(
            f"{path} cannot be read ({error}); give an OME-TIFF, OME-Zarr or PNG."
        ) from error
    return record if isinstance(record, dict) else None


def _stored_record(path: Path) -> Any:
    if path.is_dir():
        own = read_attributes(path).get(NAMESPACE)
        return own.get(_PROVENANCE) if isinstance(own, dict) else None
    text = png_text(path) if path.suffix.lower() == ".png" else _tiff_text(path)
    return None if text is None else json.loads(text)


def _tiff_text(path: Path) -> str | None:
    """Provenance of an OME-TIFF as JSON."""
    with tifffile.TiffFile(path) as file:
        xml = file.ome_metadata
    return own_value(ElementTree.fromstring(xml), _PROVENANCE) if xml else None


def _rows(stack: ImageStack, index: Index, rows: slice) -> NDArray[Any]:
    """Rows of a plane, in the axes of the stack."""
    region = list(index)
    region[stack.axes.index("Y")] = rows
    return to_native(stack.data[tuple(region)])


def _single_plane(outline: Outline, read: Rows) -> NDArray[Any]:
    """The only plane of an image, (Y, X) or (Y, X, S)."""
    (plane,) = planes(outline.axes, outline.shape)
    cyx = to_cyx(read(plane.index, slice(None)), plane_axes(outline.axes))
    return np.moveaxis(cyx, 0, -1) if len(cyx) > 1 else cyx[0]


def _write_zarr(
    target: Path,
    stack: ImageStack,
    provenance: Mapping[str, Any] | None,
    overwrite: bool,
) -> None:
    """Write plane by plane, as lazy pixels may not fit into memory."""
    from napari_zssr.io.zarr_write import PlaneWriter, complete, write_empty

    draft = temporary_name(target)
    try:
        with storage_errors(target, "nothing was left behind"):
            write_empty(draft, outline_of(stack))
            for plane in planes(stack.axes, stack.data.shape):
                writer = PlaneWriter(draft, plane.index)
                writer.add(to_native(stack.data[plane.index]))
                writer.close()
            complete(draft, provenance)
            move_into_place(draft, target, overwrite=overwrite)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def check_tiff(outline: Outline) -> tuple[str, ...]:
    """As `check_format`, by writing a small OME-TIFF like it."""
    if outline.dtype not in _OME_TYPES:
        raise InputError(
            f"OME-TIFF cannot hold pixels of type {outline.dtype}; convert them to "
            "float32 or uint16 first."
        )
    few = {"T": 1, "Z": 1, "Y": 2, "X": 2}
    shape = tuple(few.get(a, n) for a, n in outline.sizes.items())
    small = _in_file_order(replace(outline, shape=shape))
    file = io.BytesIO()
    try:
        _write_pages(file, small, None)
        file.seek(0)
        with tifffile.TiffFile(file) as written:
            ElementTree.fromstring(written.ome_metadata or "")
    except (ValueError, LookupError, ElementTree.ParseError) as error:
        raise InputError(
            f"The image cannot be written as OME-TIFF ({error}); write an .ome.zarr."
        ) from error
    return record_messages("OME-TIFF", _spacing_record(small))


def _assemble_tiff(
    path: Path, outline: Outline, record: str | None, read: Rows
) -> None:
    """Write an OME-TIFF in bands of rows, with its provenance as JSON."""
    extent = _write_pages(path, _in_file_order(outline), record)
    if extent is None:
        raise ValueError("the pixels do not lie in one piece")
    with path.open("r+b") as file:
        # The planes follow each other in the order of the file's axes.
        file.seek(extent[0])
        for rows in _bands(outline, read):
            file.write(np.ascontiguousarray(rows, dtype=outline.dtype).data)


def _in_file_order(outline: Outline) -> Outline:
    """T, C, Z in their own order, then Y, X and S, unless S is single."""
    leading = "".join(letter for letter in outline.axes if letter not in "YXS")
    return outline.along(leading + ("YXS" if outline.sizes.get("S", 1) > 1 else "YX"))


def _bands(outline: Outline, read: Rows) -> Iterator[NDArray[Any]]:
    """All rows of all planes from first to last, (rows, X) or (rows, X, S)."""
    inside = plane_axes(outline.axes)
    order = [inside.index(letter) for letter in "YXS" if letter in inside]
    height, band = outline.sizes["Y"], band_rows(outline)
    for plane in planes(outline.axes, outline.shape):
        for first in range(0, height, band):
            rows = read(plane.index, slice(first, min(first + band, height)))
            yield rows.transpose(order)


def _write_pages(
    file: Path | BinaryIO, outline: Outline, record: str | None
) -> tuple[int, int] | None:
    """Write all of an OME-TIFF but its pixels; returns their offset and size."""
    samples = outline.sizes.get("S", 1)
    return tifffile.imwrite(
        file,
        shape=outline.shape,
        dtype=outline.dtype,
        returnoffset=True,
        ome=True,
        bigtiff=outline.nbytes > BIGTIFF_BYTES,
        photometric="rgb" if samples >= 3 else "minisblack",
        planarconfig="contig" if samples > 1 else None,
        extrasamples=["unassalpha"] if samples in (2, 4) else None,
        metadata=_ome_metadata(outline, record),
        **_resolution(outline),
    )


def _ome_metadata(outline: Outline, record: str | None) -> dict[str, Any]:
    content: dict[str, Any] = {"axes": outline.axes}
    if outline.name:
        content["Name"] = legal_text(outline.name)
    for letter, size, unit in zip(
        outline.axes, outline.spacing, outline.units, strict=True
    ):
        symbol = xml_unit(unit, letter) if letter in SIZE_ATTRIBUTES else None
        if size is None or letter in "CS" or (letter == "T" and not symbol):
            continue
        key, _ = SIZE_ATTRIBUTES[letter]
        content |= {key: float(size), f"{key}Unit": symbol or _UNITLESS}
    if outline.channels:
        content["Channel"] = [_ome_channel(channel) for channel in outline.channels]
    own = {} if record is None else {_PROVENANCE: record}
    if spacing := _spacing_record(outline):
        own[SPACING] = json.dumps(spacing)
    if own:
        content["MapAnnotation"] = {"Namespace": NAMESPACE, "Value": own}
    return content


def _spacing_record(outline: Outline) -> dict[str, list[Any]]:
    """Pixel sizes that the OME schema cannot express, also times without a unit."""
    listed = zip(outline.axes, outline.spacing, outline.units, strict=True)
    times = {
        a: [size, unit] for a, size, unit in listed if a == "T" and size and not unit
    }
    return spacing_record(outline, xml_unit) | times


def _ome_channel(channel: Channel) -> dict[str, Any]:
    content: dict[str, Any] = {
        "Name": legal_text(channel.name) or None,
        "Color": channel.color,
    }
    for key, length in (
        ("EmissionWavelength", channel.emission_nm),
        ("ExcitationWavelength", channel.excitation_nm),
    ):
        if length is not None:
            content |= {key: float(length), f"{key}Unit": "nm"}
    return content


def _resolution(outline: Outline) -> dict[str, Any]:
    """Pixels per centimetre, for readers that do not know OME; not of atomic ones."""
    low, high = _DENSITIES
    axes = [outline.axes.index(letter) for letter in "XY"]
    sizes = [in_um(outline.spacing[axis], outline.units[axis]) for axis in axes]
    densities = tuple(1e4 / size if size else 0.0 for size in sizes)
    if not all(low <= density <= high for density in densities):
        return {}
    return {"resolution": densities, "resolutionunit": "CENTIMETER"}
