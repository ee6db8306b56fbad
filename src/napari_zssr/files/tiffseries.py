"""The images of a TIFF: series, positions, and pages that belong together."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import tifffile

from napari_zssr.files.contents import ImageEntry
from napari_zssr.files.omexml import image_names
from napari_zssr.files.tiff_metadata import calibration

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
