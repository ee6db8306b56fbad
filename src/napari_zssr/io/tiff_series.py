"""The images of a TIFF: series, positions, and pages that belong together."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray

from napari_zssr.errors import InputError
from napari_zssr.io.calibration import positive_count, series_axes
from napari_zssr.io.contents import ImageEntry
from napari_zssr.io.ome_xml import image_names, parse_or_empty
from napari_zssr.io.tiff_metadata import calibration, micromanager_summary

# Letters of tifffile for positions and tiles of the stage, and phases.
_POSITIONS = "RPM"
_SLIDES = {"avs", "bif", "ndpi", "philips", "qpi", "scn", "svs"}
_ACCESSORIES = {"label", "macro", "map", "overview", "thumbnail"}
_PLAIN = {"generic", "shaped", "uniform"}
_COUNTED_BY_PAGES = {"uniform", "generic"}
_CROP_ORDER = {"T": 0, "Z": 2}  # 1 for the other axes


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TiffImage:
    """One image of a TIFF: one of tifffile's series, or a part of one."""

    series: tifffile.TiffPageSeries
    name: str = ""
    messages: tuple[str, ...] = ()


def tiff_images(file: tifffile.TiffFile) -> tuple[TiffImage, ...]:
    """List the images of an open TIFF, without pyramid levels and slide thumbnails.

    Each position is an image; similar pages that state no axes are one together.
    """
    main = [each for each in file.series if not _is_accessory(each)] or file.series
    images = [image for each in main for image in _split_positions(file, each)]
    return (*_join_similar(images, file.filename), *_undescribed(file, images))


def tiff_entries(images: Sequence[TiffImage]) -> tuple[ImageEntry, ...]:
    """Entries of the images of a TIFF, in the same order."""
    return tuple(
        ImageEntry(
            index=index,
            name=image.name,
            axes=series_axes(image.series),
            shape=tuple(image.series.shape),
            dtype=str(np.dtype(image.series.dtype)),
        )
        for index, image in enumerate(images)
    )


def _is_accessory(series: tifffile.TiffPageSeries) -> bool:
    """Whether it is a smaller copy of an image, or a slide's label or overview."""
    is_named = series.kind in _SLIDES and series.name.lower() in _ACCESSORIES
    return is_named or bool(series.keyframe.is_reduced)


def _split_positions(
    file: tifffile.TiffFile, series: tifffile.TiffPageSeries
) -> Iterator[TiffImage]:
    """A series as it is, or one image for each of its positions."""
    axes, shape = series_axes(series), tuple(series.shape)
    leading = len(shape) - series.keyframe.ndim
    split = [i for i in range(leading) if axes[i] in _POSITIONS]
    if not split or math.prod(shape[:leading]) != len(series):
        yield TiffImage(series=series, name=series.name)
        return
    kept = [i for i in range(len(shape)) if i not in split]
    numbers = np.arange(len(series)).reshape(shape[:leading])
    numbers = np.moveaxis(numbers, split, range(len(split)))
    numbers = numbers.reshape(math.prod(shape[i] for i in split), -1)
    positions = [[series[n] for n in row] for row in numbers.tolist()]
    recorded = [
        position
        for position, pages in enumerate(positions)
        if any(page is not None for page in pages)
    ]
    empty = len(positions) - len(recorded)
    message = f"Positions without an image were ignored: {empty} of {len(positions)}."
    names = _position_names(file, len(positions))
    for position in recorded:
        own = _series_like(
            series,
            positions[position],
            axes="".join(axes[i] for i in kept),
            shape=[shape[i] for i in kept],
        )
        name = calibration(file, own).name or names[position]
        yield TiffImage(series=own, name=name, messages=(message,) if empty else ())


def _position_names(file: tifffile.TiffFile, count: int) -> list[str]:
    """Names of OME's images, else Micro-Manager's stage positions, else numbers."""
    names = image_names(file.ome_metadata or "") if file.is_ome else []
    if len(names) != count:
        summary = micromanager_summary(file)
        stage = summary.get("StagePositions") or summary.get("InitialPositionList")
        names = [str(p.get("Label", "")) for p in stage or [] if isinstance(p, dict)]
    if len(names) != count:
        names = [""] * count
    return [name or f"Pos{number}" for number, name in enumerate(names)]


def _join_similar(images: Sequence[TiffImage], filename: str) -> Iterator[TiffImage]:
    """Join consecutive series of similar pages into one stack, as ImageJ does."""
    for key, group in itertools.groupby(images, _similarity):
        parts = list(group)
        if key is None or len(parts) == 1:
            yield from parts
            continue
        pages = [page for part in parts for page in part.series]
        message = (
            f"{filename} contains {len(parts)} groups of pages of the same kind, which "
            f"were read as one stack of {len(pages)} pages."
        )
        yield TiffImage(series=_stack(parts[0].series, pages), messages=(message,))


def _similarity(image: TiffImage) -> tuple[Any, ...] | None:
    """Properties that pages of one stack share; None for an image of its own."""
    series = image.series
    page = series.keyframe
    has_own_axes = "".join(series.axes) not in (p + page.axes for p in ("", "Q", "I"))
    if series.kind not in _PLAIN or image.name or has_own_axes or series.is_pyramidal:
        return None
    return page.hash, page.shape, page.dtype


def _undescribed(
    file: tifffile.TiffFile, images: Sequence[TiffImage]
) -> Iterator[TiffImage]:
    """Pages similar to the first image's that ImageJ's or OME's text leaves out."""
    first = images[0].series
    count = sum(len(image.series) for image in images)
    if first.kind not in ("imagej", "ome") or len(file.pages) <= count:
        return
    described = {
        page.offset for image in images for page in image.series if page is not None
    }
    others = [page for page in file.pages if page.offset not in described]
    pages = [
        page
        for page in [other.aspage() for other in others]
        if page.hash == first.keyframe.hash and not page.is_reduced
    ]
    if pages:
        yield TiffImage(series=_stack(first, pages), name="further pages")


def _stack(
    series: tifffile.TiffPageSeries, pages: Sequence[Any]
) -> tifffile.TiffPageSeries:
    """Series of other pages along an axis of unknown meaning, or of a single page."""
    page = series.keyframe
    if len(pages) == 1:
        return _series_like(series, pages, axes=page.axes, shape=page.shape)
    shape = (len(pages), *page.shape)
    return _series_like(series, pages, axes="Q" + page.axes, shape=shape)


def _series_like(
    series: tifffile.TiffPageSeries,
    pages: Sequence[Any],
    *,
    axes: str,
    shape: Sequence[int],
) -> tifffile.TiffPageSeries:
    """Series of other pages, with the properties of a given one."""
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


def complete_planes(
    path: Path,
    file: tifffile.TiffFile,
    series: tifffile.TiffPageSeries,
    sizes: Sequence[int],
    *,
    crop: bool,
    title: str,
) -> tuple[tuple[int, ...], tuple[str, ...]]:
    """Crop the sizes of the axes before a page to complete planes, with messages.

    InputError, with the title, where planes are missing and ``crop`` is off or fails.
    """
    present = _planes_present(file, series, math.prod(sizes)).reshape(sizes)
    axes = series_axes(series)[: len(sizes)].ljust(len(sizes), "?")
    promised = _promised_count(file, series, axes, sizes)
    count = int(present.sum())
    if count == promised:
        return tuple(sizes), ()
    counted = f"{count} of {promised or 'an unknown number of'} planes are complete"
    damaged = f"{title} is damaged or incomplete ({counted}"
    if not crop or not present.any():
        absent = "".join(f", {name} is missing" for name in _missing_files(path, file))
        raise InputError(
            f"{damaged}{absent}); copy or export it again, or read only the complete "
            "planes with partial=True (--partial)."
        )
    kept = _crop(present, axes)
    if kept is None:
        raise InputError(f"{damaged}, but not the first); copy or export it again.")
    shown = ", ".join(f"{a} {n}" for a, n in zip(axes, kept, strict=True)) or "1"
    return kept, (
        f"The file is incomplete: {counted}; {math.prod(kept)} complete planes were "
        f"read ({shown}).",
    )


def restore_imagej_series(file: tifffile.TiffFile) -> None:
    """Restore the stack that tifffile gives up when an ImageJ file ends too early."""
    series, page = file.series[0], file.pages.first
    if not page.is_imagej or series.kind != "generic" or not page.is_final:
        return
    text = file.imagej_metadata or {}
    names = {"T": "frames", "Z": "slices", "C": "channels"}
    order = str(text.get("order", "czt")).upper()  # the fastest axis comes first
    axes = order[::-1] if sorted(order) == sorted(names) else "TZC"
    shape = tuple(positive_count(text.get(names[letter]), 1) for letter in axes)
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
    if series.dataoffset is not None:
        size = series.nbytes // max(count, 1)
        complete = (file.filehandle.size - series.dataoffset) // max(size, 1)
        return np.arange(count) < complete
    return np.array([_is_present(series, n) for n in range(count)], dtype=bool)


def _is_present(series: tifffile.TiffPageSeries, number: int) -> bool:
    """Whether the strips or tiles of a page lie within the file, and there are any."""
    try:
        page = series[number]
    except IndexError:
        return False
    if page is None:
        return False
    keyframe, size = series.keyframe, page.parent.filehandle.size
    offsets, counts = page.dataoffsets, page.databytecounts
    segments = 1 if keyframe.is_contiguous else math.prod(keyframe.chunked)
    if len(offsets) < segments or not any(offsets):
        return False
    if keyframe.is_contiguous:
        return int(offsets[0]) + keyframe.nbytes <= size
    if len(counts) < segments or not any(counts):
        return False
    return all(at + n <= size for at, n in zip(offsets, counts, strict=False))


def _promised_count(
    file: tifffile.TiffFile,
    series: tifffile.TiffPageSeries,
    axes: str,
    sizes: Sequence[int],
) -> int | None:
    """Number of planes by the metadata; None where the chain of pages is broken."""
    is_counted = series.kind in _COUNTED_BY_PAGES and not file.is_scanimage
    if is_counted and _has_broken_chain(file):
        return None
    if series.kind != "mmstack":
        return math.prod(sizes)
    counts = dict(zip(axes, sizes, strict=True))
    summary = micromanager_summary(file)
    for letter, key in (("T", "Frames"), ("Z", "Slices"), ("C", "Channels")):
        counts[letter] = max(counts.get(letter, 1), positive_count(summary.get(key), 1))
    return math.prod(counts.values())


def _has_broken_chain(file: tifffile.TiffFile) -> bool:
    """Whether the last page points to another one that is not in the file."""
    offset = file.pages.next_page_offset
    if offset is None or file.is_ndpi:
        return False
    file.filehandle.seek(offset)
    size = file.tiff.offsetsize
    return bool(file.filehandle.read(size) != bytes(size))


def _crop(present: NDArray[np.bool_], axes: str) -> tuple[int, ...] | None:
    """Sizes after cropping T, else Z, to complete planes; C too where that fails."""
    kept = _crop_but_channels(present, axes)
    if kept is not None or "C" not in axes:
        return kept
    axis = axes.index("C")
    fewer = [
        _crop_but_channels(present.take(range(count), axis=axis), axes)
        for count in range(present.shape[axis] - 1, 0, -1)
    ]
    return max(filter(None, fewer), key=math.prod, default=None)


def _crop_but_channels(present: NDArray[np.bool_], axes: str) -> tuple[int, ...] | None:
    """Sizes after cropping one axis after the other until no plane is missing."""
    kept = list(present.shape)
    croppable = [axis for axis in range(present.ndim) if axes[axis] != "C"]
    for axis in sorted(croppable, key=lambda axis: _CROP_ORDER.get(axes[axis], 1)):
        others = tuple(n for n in range(present.ndim) if n != axis)
        complete = np.atleast_1d(present.all(axis=others))
        kept[axis] = int(np.logical_and.accumulate(complete).sum())
        if kept[axis]:
            return tuple(kept)
        kept[axis], present = 1, present.take([0], axis=axis)
    return tuple(kept) if present.all() else None


def _missing_files(path: Path, file: tifffile.TiffFile) -> list[str]:
    """Up to three files that the OME-XML names and that are not beside this one."""
    root = parse_or_empty(file.ome_metadata or "")
    names = {element.get("FileName", path.name) for element in root.iter()}
    return sorted(name for name in names if not (path.parent / name).exists())[:3]
