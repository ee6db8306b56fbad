"""Writing results: whole under the final name or not at all."""

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
from napari_zssr.io.ngff import check_zarr, read_attributes
from napari_zssr.io.ome_units import SPACING, record_message, spacing_record, xml_unit
from napari_zssr.io.pictures import check_png, png_text, write_png
from napari_zssr.io.pyramid import band_rows
from napari_zssr.stack.axes import NAMESPACE, Outline, legal_text, outline_of, planes
from napari_zssr.stack.axis_labels import spacing_per_axis
from napari_zssr.stack.image import (
    Channel,
    ImageStack,
    in_um,
    is_lazy,
    load_pixels,
    to_native,
)
from napari_zssr.stack.report import to_json_types

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
    for plane in planes(outline.axes, outline.shape):
        for first in range(0, height, band):
            rows = read(plane.index, slice(first, min(first + band, height)))
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


_TIFF = {".tif", ".tiff"}
_ZARR = {".zarr"}
_REPLACED = "\ufffd"
_USUAL = ".ome.tif, .ome.zarr or .png"

_UNREADABLE = (OSError, ValueError, ElementTree.ParseError, tifffile.TiffFileError)


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
    warn_about_format(target, outline_of(stack))
    content = None if provenance is None else to_json_types(provenance)
    if target.suffix.lower() in _ZARR:
        _write_zarr(target, stack, content, overwrite)
        return target
    record = None if content is None else json.dumps(content)
    with atomic_write(target) as draft:
        if target.suffix.lower() not in _TIFF:
            write_png(draft, _single_plane(in_file_order(stack)), record)
        elif is_lazy(stack.data):
            assemble_tiff(draft, outline_of(stack), record, partial(_rows, stack))
        else:
            ordered = in_file_order(stack)
            write_tiff(draft, outline_of(ordered), record, load_pixels(ordered.data))
    return target


def check_output(
    path: str | Path, overwrite: bool = False, *, stack: ImageStack | None = None
) -> None:
    """Refuse an output that could not be written, before a long run starts.

    Parameters
    ----------
    path : str or Path
        The file to be written.
    overwrite : bool
        Whether a file may be replaced.
    stack : ImageStack, optional
        What is known of it is checked against the format too; of its shape only axes
        other than Y and X matter.

    Raises
    ------
    InputError
        Unknown ending, a name that is too long, existing file, missing folder, no
        permission, or an image that the format cannot hold.
    """
    marks = ZARR_MARKS if Path(path).suffix.lower() in _ZARR else ()
    check_target(path, overwrite, {*_TIFF, *_ZARR, ".png"}, _USUAL, marks)
    if stack is not None:
        check_format(path, outline_of(stack))


def check_format(path: str | Path, outline: Outline) -> tuple[str, ...]:
    """Refuse an image that its format could not hold, before its pixels are there.

    Parameters
    ----------
    path : str or Path
        The file to be written.
    outline : Outline
        The image.

    Returns
    -------
    tuple of str
        Sentences on what other programs will not see.

    Raises
    ------
    InputError
        Type of the pixels, axes, pixel sizes or channels that the format cannot hold.
    """
    spacing_per_axis(outline.axes, outline.spacing)
    _check_channels(outline)
    suffix = Path(path).suffix.lower()
    if suffix == ".png":
        check_png(outline)
        return ()
    messages = check_zarr(outline) if suffix in _ZARR else check_tiff(outline)
    names = [outline.name, *(channel.name for channel in outline.channels)]
    replaced = [name for name in names if _REPLACED in legal_text(name)]
    if any(_REPLACED not in name for name in replaced):
        message = (
            "Characters that files cannot hold are replaced in "
            f"{legal_text(replaced[0])!r}."
        )
        return (*messages, message)
    return messages


def warn_about_format(path: str | Path, outline: Outline) -> None:
    """Refuse what `check_format` refuses, and warn of what it says.

    Parameters
    ----------
    path : str or Path
        The file to be written.
    outline : Outline
        The image.

    Raises
    ------
    InputError
        The format cannot hold it.

    Warns
    -----
    ImageWarning
        For what other programs will not see.
    """
    for message in check_format(path, outline):
        warnings.warn(message, ImageWarning, stacklevel=3)


def in_file_order(stack: ImageStack) -> ImageStack:
    """Put T, C, Z first (in their own order), then Y, X and S, unless S is single.

    Parameters
    ----------
    stack : ImageStack
        Axes in any order.
    """
    letters = file_axes(outline_of(stack))
    order = [stack.axes.index(letter) for letter in letters]
    lone = [i for i, n in enumerate(stack.data.shape) if i not in order and n == 1]
    return replace(
        stack,
        data=load_pixels(stack.data)
        .transpose([*order, *lone])
        .reshape([stack.data.shape[i] for i in order]),
        axes=letters,
        spacing=tuple(stack.spacing[i] for i in order),
        units=tuple(stack.units[i] for i in order),
        origin=tuple(stack.origin[i] for i in order) if stack.origin else (),
    )


def read_provenance(path: str | Path) -> dict[str, Any] | None:
    """Record that `write` stored in an image, None where there is none.

    Raises
    ------
    InputError
        The file cannot be opened.
    """
    try:
        content = _stored(Path(path).expanduser())
    except _UNREADABLE as error:
        raise InputError(
            f"{path} cannot be read ({error}); give an OME-TIFF, OME-Zarr or PNG."
        ) from error
    return content if isinstance(content, dict) else None


def _stored(path: Path) -> Any:
    """Provenance in a file or Zarr folder."""
    if path.is_dir():
        own = read_attributes(path).get(NAMESPACE)
        return own.get("provenance") if isinstance(own, dict) else None
    text = png_text(path) if path.suffix.lower() == ".png" else stored_text(path)
    return None if text is None else json.loads(text)


def _check_channels(outline: Outline) -> None:
    """Refuse what neither OME-XML nor OME-Zarr can say of a channel."""
    count = outline.sizes.get("C", 1)
    if outline.channels and len(outline.channels) != count:
        raise InputError(
            f"{len(outline.channels)} channels are described, but the image has "
            f"{count}; describe each one, or none."
        )
    for number, channel in enumerate(outline.channels):
        what = _impossible(channel)
        if what:
            raise InputError(
                f"Channel {number} has {what}; correct it, or leave it out."
            )


def _impossible(channel: Channel) -> str:
    """What is wrong about a channel; empty where nothing is."""
    for name, length in (
        ("an emission", channel.emission_nm),
        ("an excitation", channel.excitation_nm),
    ):
        if length is not None and not 0 < length < math.inf:
            return f"{name} of {length:g} nm, which is no wavelength"
    color = channel.color
    if color is not None and not -(2**31) <= color < 2**31:
        return f"the colour {color}, which is no signed number of 32 bits"
    return ""


def _single_plane(stack: ImageStack) -> NDArray[Any]:
    """Y, X and S of an image that is one plane."""
    keep = tuple(
        slice(None) if a in "YX" or (a == "S" and n > 1) else 0
        for a, n in zip(stack.axes, stack.data.shape, strict=True)
    )
    return np.asarray(stack.data[keep])


def _write_zarr(
    target: Path,
    stack: ImageStack,
    provenance: Mapping[str, Any] | None,
    overwrite: bool,
) -> None:
    """Plane by plane, so that lazy pixels are never in memory at once."""
    from napari_zssr.io.zarr_write import PlaneWriter, complete, make

    draft = temporary_name(target)
    try:
        with storage_errors(target, "nothing was left behind"):
            make(draft, outline_of(stack))
            for at in planes(stack.axes, stack.data.shape):
                writer = PlaneWriter(draft, at.index)
                writer.add(to_native(stack.data[at.index]))
                writer.close()
            complete(draft, provenance)
            move_into_place(draft, target, overwrite=overwrite)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _rows(
    stack: ImageStack, index: tuple[int | slice, ...], rows: slice
) -> NDArray[Any]:
    """Some rows of a plane, its axes in the order of the stack."""
    at = list(index)
    at[stack.axes.index("Y")] = rows
    return to_native(stack.data[tuple(at)])
