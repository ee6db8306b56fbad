"""Which planes of a TIFF are in the file: all that its metadata promise, or fewer."""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import tifffile
from numpy.typing import NDArray

from napari_zssr.errors import InputError
from napari_zssr.files.calibration import whole_number

Page = tifffile.TiffPage | tifffile.TiffFrame
_COUNTED_BY_PAGES = {"uniform", "generic"}
_CROPPED_LAST = {"T": 0, "Z": 2}
_IMAGEJ_ORDERS = {
    "czt": "TZC",
    "ctz": "ZTC",
    "zct": "TCZ",
    "ztc": "CTZ",
    "tcz": "ZCT",
    "tzc": "CZT",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Completeness:
    """How many planes are in the file.

    Attributes
    ----------
    present, promised : int
        Planes that are there in full, and those that the metadata name; None where
        the file breaks off and does not say how many there should be.
    sizes : tuple of int
        Size along each axis before a page, cropped to what is there in full.
    messages : tuple of str
        What was left out.
    """

    present: int
    promised: int | None
    sizes: tuple[int, ...]
    messages: tuple[str, ...] = ()


def complete_planes(
    path: Path,
    file: tifffile.TiffFile,
    series: tifffile.TiffPageSeries,
    sizes: Sequence[int],
    *,
    crop: bool,
    title: str = "",
) -> Completeness:
    """Count the planes of a series that are in the file.

    No pixels are read: offsets and lengths are compared with the size of the file.

    Parameters
    ----------
    path : Path
    file : TiffFile
        Open file.
    series : TiffPageSeries
        One of its series, or a part of one with pages of its own.
    sizes : sequence of int
        Size along each axis before those of a page.
    crop : bool
        Crop T, else Z, else C to what is there in full, instead of refusing the file.
    title : str
        What the image is called in sentences; the file's name unless given.

    Raises
    ------
    InputError
        Planes are missing, and may not or cannot be left out.
    """
    there = _planes_present(file, series, math.prod(sizes)).reshape(sizes)
    axes = "".join(series.axes).upper()[: len(sizes)].ljust(len(sizes), "?")
    extents = _promised_sizes(file, series, axes, sizes)
    promised = None if extents is None else math.prod(extents)
    present = int(there.sum())
    if present == promised:
        return Completeness(present=present, promised=promised, sizes=tuple(sizes))
    count = f"{present} of {promised or 'an unknown number of'} planes"
    advice = "copy or export it again"
    if not crop or not there.any():
        absent = "".join(f", without {name}" for name in _missing_files(path, file))
        raise InputError(
            f"{title or path.name} is damaged or incomplete ({count} are in it"
            f"{absent}); "
            f"{advice}, or keep the complete ones with partial=True (--partial)."
        )
    kept = _complete_sizes(there, axes)
    if kept is None:
        raise InputError(
            f"{title or path.name} is damaged or incomplete ({count} are in it, but "
            "not the "
            f"first); {advice}."
        )
    shown = ", ".join(f"{a} {n}" for a, n in zip(axes, kept, strict=True)) or "1"
    return Completeness(
        present=present,
        promised=promised,
        sizes=kept,
        messages=(
            f"The file is incomplete: {count} are in it in full, and "
            f"{math.prod(kept)} are kept ({shown}).",
        ),
    )


def restore_imagej_series(file: tifffile.TiffFile) -> None:
    """Put back the stack that tifffile gives up when an ImageJ file ends too early."""
    series, page = file.series[0], file.pages.first
    if not page.is_imagej or series.kind != "generic" or not page.is_final:
        return
    text = file.imagej_metadata or {}
    frames, slices, channels = (
        whole_number(text.get(name), 1) for name in ("frames", "slices", "channels")
    )
    count = {"T": frames, "Z": slices, "C": channels}
    axes = _IMAGEJ_ORDERS.get(str(text.get("order", "czt")).lower(), "TZC")
    shape = tuple(count[letter] for letter in axes)
    if math.prod(shape) <= 1:
        axes, shape = "I", (whole_number(text.get("images"), 1),)
    if math.prod(shape) > 1:
        pages = file.pages[:] if file.pages.is_multipage else [page]
        file.series[0] = tifffile.TiffPageSeries(
            pages,
            (*shape, *page.shape),
            page.dtype,
            axes + page.axes,
            kind="imagej",
            truncated=len(pages) == 1,
            index=0,
            parent=file,
        )


def _planes_present(
    file: tifffile.TiffFile, series: tifffile.TiffPageSeries, count: int
) -> NDArray[np.bool_]:
    """Whether each page that a series promises is in the file in full."""
    keyframe = series.keyframe
    if series.dataoffset is not None:
        size = series.nbytes // max(count, 1)
        whole = (file.filehandle.size - series.dataoffset) // max(size, 1)
        return np.arange(count) < whole
    segments = 1 if keyframe.is_contiguous else math.prod(keyframe.chunked)
    needed = keyframe.nbytes if keyframe.is_contiguous else None
    return np.fromiter(
        (
            page is not None and _is_whole(page, segments, needed)
            for page in _pages(series, count)
        ),
        dtype=bool,
        count=count,
    )


def _pages(series: tifffile.TiffPageSeries, count: int) -> Iterator[Page | None]:
    """Pages that a series promises; None for those that the file lacks."""
    for number in range(count):
        try:
            yield series[number]
        except IndexError:
            yield None


def _is_whole(page: Page, segments: int, needed: int | None) -> bool:
    """Whether the strips or tiles of a page lie within the file, and there are any."""
    offsets, counts = page.dataoffsets, page.databytecounts
    size = page.parent.filehandle.size
    if len(offsets) < segments or not any(offsets):
        return False
    if needed is not None:
        return int(offsets[0]) + needed <= size
    if len(counts) < segments or not any(counts):
        return False
    return all(at + n <= size for at, n in zip(offsets, counts, strict=False))


def _promised_sizes(
    file: tifffile.TiffFile,
    series: tifffile.TiffPageSeries,
    axes: str,
    sizes: Sequence[int],
) -> tuple[int, ...] | None:
    """Size along each axis by the metadata; None where the chain of pages is broken."""
    if series.kind in _COUNTED_BY_PAGES and not file.is_scanimage and _broken(file):
        return None
    if series.kind != "mmstack":
        return tuple(sizes)
    summary = (file.micromanager_metadata or {}).get("Summary", {})
    named = {"T": "Frames", "Z": "Slices", "C": "Channels"}
    found = dict(zip(axes, sizes, strict=True))
    for letter, key in named.items():
        found[letter] = max(found.get(letter, 1), whole_number(summary.get(key), 1))
    return tuple(found.values())


def _broken(file: tifffile.TiffFile) -> bool:
    """Whether the last page points to another one that is not there."""
    at = file.pages.next_page_offset
    if at is None or file.is_ndpi:
        return False
    file.filehandle.seek(at)
    raw = file.filehandle.read(file.tiff.offsetsize)
    try:
        return bool(struct.unpack(file.tiff.offsetformat, raw)[0] != 0)
    except struct.error:
        return True


def _complete_sizes(there: NDArray[np.bool_], axes: str) -> tuple[int, ...] | None:
    """Crop T, else Z, to what is there in full; where no crop does, C as well."""
    if "C" not in axes:
        return _cropped(there, axes)
    channels = axes.index("C")
    blocks = []
    for count in range(there.shape[channels], 0, -1):
        block = _cropped(there.take(range(count), axis=channels), axes)
        if block is not None:
            blocks.append(block)
            if count == there.shape[channels]:
                break
    return max(blocks, key=math.prod, default=None)


def _cropped(there: NDArray[np.bool_], axes: str) -> tuple[int, ...] | None:
    """Crop one axis after the other, but for C, until nothing is missing."""
    order = sorted(range(there.ndim), key=lambda n: _CROPPED_LAST.get(axes[n], 1))
    kept = list(there.shape)
    for axis in order:
        if axes[axis] == "C":
            continue
        others = tuple(n for n in range(there.ndim) if n != axis)
        full = np.atleast_1d(there.all(axis=others))
        kept[axis] = full.size if full.all() else int(full.argmin())
        if kept[axis]:
            return tuple(kept)
        kept[axis], there = 1, there.take([0], axis=axis)
    return tuple(kept) if there.all() else None


def _missing_files(path: Path, file: tifffile.TiffFile) -> list[str]:
    """Files that the OME-XML names and that are not beside this one."""
    try:
        root: Any = ElementTree.fromstring(file.ome_metadata or "<none/>")
    except ElementTree.ParseError:
        return []
    names = {element.get("FileName", path.name) for element in root.iter()}
    return sorted(name for name in names if not (path.parent / name).exists())[:3]
