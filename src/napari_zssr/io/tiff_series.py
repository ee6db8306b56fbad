"""The images of a TIFF: series, positions, and pages that belong together."""

from __future__ import annotations

import itertools
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
from napari_zssr.io.calibration import positive_count
from napari_zssr.io.contents import ImageEntry
from napari_zssr.io.ome_xml import image_names
from napari_zssr.io.tiff_metadata import calibration

# Letters of tifffile for positions and tiles of the stage, and phases.
_POSITIONS = "RPM"
_SLIDES = {"avs", "bif", "ndpi", "philips", "qpi", "scn", "svs"}
_ACCESSORIES = {"label", "macro", "map", "overview", "thumbnail"}
_PLAIN = {"generic", "shaped", "uniform"}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TiffImage:
    """One image of a TIFF.

    Attributes
    ----------
    series : TiffPageSeries
        Its pages, one of tifffile's series or a part of one.
    position : int or None
        Which one of that series' positions it is, where there are several.
    name : str
        Name, or empty.
    messages : tuple of str
        Sentences on what was assumed of its pages.
    """

    series: tifffile.TiffPageSeries
    position: int | None = None
    name: str = ""
    messages: tuple[str, ...] = ()


def tiff_images(file: tifffile.TiffFile) -> tuple[TiffImage, ...]:
    """List the images of a TIFF.

    Parameters
    ----------
    file : TiffFile
        Open file.

    Returns
    -------
    tuple of TiffImage
        Without the smaller levels of pyramids and the thumbnail, label and macro
        images of slides. Each position is an image, consecutive series of like pages
        that state no axes are one, and so are like pages beyond the described ones.
    """
    main = [each for each in file.series if not _is_accessory(each)] or file.series
    images = [image for each in main for image in _by_position(file, each)]
    return (*_joined(images, file.filename), *_undescribed(file, images))


def tiff_entries(images: Sequence[TiffImage]) -> tuple[ImageEntry, ...]:
    """Entries of the images of a TIFF, in the same order.

    Parameters
    ----------
    images : sequence of TiffImage
    """
    return tuple(
        ImageEntry(
            index=index,
            name=image.name,
            axes="".join(image.series.axes).upper(),
            shape=tuple(image.series.shape),
            dtype=str(np.dtype(image.series.dtype)),
        )
        for index, image in enumerate(images)
    )


def _is_accessory(series: tifffile.TiffPageSeries) -> bool:
    """Whether it shows another image smaller, or a slide's label or outline."""
    named = series.kind in _SLIDES and series.name.lower() in _ACCESSORIES
    return named or bool(series.keyframe.is_reduced)


def _by_position(
    file: tifffile.TiffFile, series: tifffile.TiffPageSeries
) -> Iterator[TiffImage]:
    """A series as it is, or one image for each of its positions."""
    axes, shape = "".join(series.axes).upper(), tuple(series.shape)
    leading = len(shape) - series.keyframe.ndim
    moved = [i for i in range(leading) if axes[i] in _POSITIONS]
    if not moved or math.prod(shape[:leading]) != len(series):
        yield TiffImage(series=series, name=series.name)
        return
    kept = [i for i in range(len(shape)) if i not in moved]
    numbers = np.arange(len(series)).reshape(shape[:leading])
    numbers = np.moveaxis(numbers, moved, range(len(moved)))
    numbers = numbers.reshape(math.prod(shape[i] for i in moved), -1)
    positions = [[series[n] for n in row] for row in numbers.tolist()]
    names, messages = _position_names(file, len(positions)), _unrecorded(positions)
    for position, pages in enumerate(positions):
        if any(page is not None for page in pages):
            own = _like(
                series,
                pages,
                axes="".join(axes[i] for i in kept),
                shape=[shape[i] for i in kept],
            )
            yield TiffImage(
                series=own,
                position=position,
                name=calibration(file, own).name or names[position],
                messages=messages,
            )


def _unrecorded(positions: Sequence[Sequence[Any]]) -> tuple[str, ...]:
    """Sentence on positions without a single page."""
    empty = sum(all(page is None for page in pages) for pages in positions)
    if not empty:
        return ()
    return (f"{empty} of {len(positions)} positions hold no plane and were left out.",)


def _position_names(file: tifffile.TiffFile, count: int) -> list[str]:
    """Names of the positions: of OME's images, of Micro-Manager's list, or numbers."""
    names = image_names(file.ome_metadata or "") if file.is_ome else []
    if len(names) != count and file.is_micromanager:
        names = _stage_labels((file.micromanager_metadata or {}).get("Summary"))
    if len(names) != count:
        names = [""] * count
    return [name or f"Pos{number}" for number, name in enumerate(names)]


def _stage_labels(summary: Any) -> list[str]:
    """Labels of the stage's positions in a summary of Micro-Manager."""
    told = summary if isinstance(summary, dict) else {}
    listed = told.get("StagePositions") or told.get("InitialPositionList") or []
    return [str(each.get("Label", "")) for each in listed if isinstance(each, dict)]


def _joined(images: Sequence[TiffImage], filename: str) -> Iterator[TiffImage]:
    """Consecutive series of like pages as one stack, as ImageJ shows them."""
    for key, run in itertools.groupby(images, _page_kind):
        parts = list(run)
        if key is None or len(parts) == 1:
            yield from parts
            continue
        pages = [page for part in parts for page in part.series]
        first = parts[0].series
        yield TiffImage(
            series=_like(
                first,
                pages,
                axes="Q" + first.keyframe.axes,
                shape=[len(pages), *first.keyframe.shape],
            ),
            messages=(
                f"{filename} was written in {len(parts)} parts of like pages, which "
                f"were read as one stack of {len(pages)}.",
            ),
        )


def _page_kind(image: TiffImage) -> tuple[Any, ...] | None:
    """What pages of one stack have in common; None for an image in its own right."""
    series = image.series
    page = series.keyframe
    states_axes = "".join(series.axes) not in (
        page.axes,
        *(a + page.axes for a in "QI"),
    )
    if series.kind not in _PLAIN or image.name or states_axes or series.is_pyramidal:
        return None
    return page.hash, page.shape, page.dtype


def _undescribed(
    file: tifffile.TiffFile, images: Sequence[TiffImage]
) -> Iterator[TiffImage]:
    """Pages like the first image's that ImageJ's or OME's description leaves out."""
    first = images[0].series
    count = sum(len(image.series) for image in images)
    if first.kind not in ("imagej", "ome") or len(file.pages) <= count:
        return
    described = {
        page.offset for image in images for page in image.series if page is not None
    }
    rest = [page for page in file.pages if page.offset not in described]
    alike = [page.aspage() for page in rest]
    pages = [
        page
        for page in alike
        if page.hash == first.keyframe.hash and not page.is_reduced
    ]
    if pages:
        shape = [len(pages), *first.keyframe.shape]
        axes = "Q" + first.keyframe.axes
        series = _like(first, pages, axes=axes, shape=shape)
        yield TiffImage(series=series, name="further pages")


def _like(
    series: tifffile.TiffPageSeries,
    pages: Sequence[Any],
    *,
    axes: str,
    shape: Sequence[int],
) -> tifffile.TiffPageSeries:
    """A series of other pages."""
    if shape[0] == 1 and axes[0] == "Q":
        axes, shape = axes[1:], shape[1:]
    return tifffile.TiffPageSeries(
        pages,
        shape,
        series.dtype,
        axes,
        parent=series.parent,
        name=series.name,
        kind=series.kind,
        multifile=series.is_multifile,
        squeeze=False,
        transform=series.transform,
    )


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
        positive_count(text.get(name), 1) for name in ("frames", "slices", "channels")
    )
    count = {"T": frames, "Z": slices, "C": channels}
    axes = _IMAGEJ_ORDERS.get(str(text.get("order", "czt")).lower(), "TZC")
    shape = tuple(count[letter] for letter in axes)
    if math.prod(shape) <= 1:
        axes, shape = "I", (positive_count(text.get("images"), 1),)
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
        found[letter] = max(found.get(letter, 1), positive_count(summary.get(key), 1))
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
