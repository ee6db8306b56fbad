"""Pixels of a TIFF that are read page by page, when they are asked for."""

from __future__ import annotations

import math
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray

from napari_zssr.errors import InputError
from napari_zssr.files.damage import decoding, opened
from napari_zssr.files.decoders import check_decoders
from napari_zssr.files.photometric import PageSamples, page_samples
from napari_zssr.files.tiff_planes import complete_planes
from napari_zssr.files.tiffseries import tiff_images
from napari_zssr.stack.source import FilePixels, full_index, native

_Part = int | slice


class TiffPixels(FilePixels):
    """Pixels of one image of a TIFF, read by page or, where they lie in one, by row.

    The file is opened at the first use and closed after every reading. Threads may
    share an instance; a pickle holds the name of the file.

    Parameters
    ----------
    path : Path
    image : int
        Index of the image.
    partial : bool
        Leave out planes that are not there in full, instead of refusing the file.
    labels : bool
        Give numbers out as they are stored, whatever colours they stand for.
    layout : Layout, optional
        What was found out when the file was read; found out at the first use otherwise.
    """

    def __init__(
        self,
        path: Path,
        image: int,
        *,
        partial: bool = False,
        labels: bool = False,
        layout: Layout | None = None,
    ) -> None:
        self.path = path
        self.image = image
        self.partial = partial
        self.labels = labels
        self._lock = threading.Lock()
        self._found = layout

    def __reduce__(self) -> tuple[Any, ...]:
        return _unpickled, (self.path, self.image, self.partial, self.labels)

    @property
    def shape(self) -> tuple[int, ...]:
        """Size along each axis."""
        return self._layout().shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the pixels, in the byte order of this machine."""
        return self._layout().dtype

    def __getitem__(self, index: Any) -> NDArray[Any]:
        """Pixels for one whole number or slice an axis.

        Raises
        ------
        InputError
            What is asked for cannot be read.
        """
        layout = self._layout()
        parts = full_index(index, layout.shape)
        with self._lock:
            with decoding(self.path):
                layout.file.filehandle.open()
            try:
                return _read(layout, parts)
            finally:
                layout.file.close()

    def _layout(self) -> Layout:
        with self._lock:
            if self._found is None:
                with opened(self.path) as file:
                    series = tiff_images(file)[self.image].series
                    found = layout_of(
                        self.path, file, series, crop=self.partial, labels=self.labels
                    )
                    if found.leading is None:
                        raise InputError(
                            f"{self.path.name} has changed: its pages cannot be read "
                            "one by one any more; read it again."
                        )
                    self._found = found
            return self._found


def _unpickled(path: Path, image: int, partial: bool, labels: bool) -> TiffPixels:
    return TiffPixels(path, image, partial=partial, labels=labels)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Layout:
    """Where the pixels of a series stand, and what they are.

    Attributes
    ----------
    path : Path
    file : TiffFile
    series : TiffPageSeries
    leading : int or None
        Number of axes that count pages; the others are those of a page. None where
        the series can only be read whole.
    sizes : tuple of int
        Size along the leading axes, of what is given out.
    samples : PageSamples
        How a page is given out; the whole series where it can only be read whole.
    offset : int or None
        Place of the first pixel where all follow it without a gap.
    messages : tuple of str
        What is missing or was converted.
    """

    path: Path
    file: tifffile.TiffFile
    series: tifffile.TiffPageSeries
    leading: int | None
    sizes: tuple[int, ...]
    samples: PageSamples
    offset: int | None
    messages: tuple[str, ...] = ()

    @property
    def shape(self) -> tuple[int, ...]:
        """Size along each axis."""
        return (*self.sizes, *self.samples.shape)

    @property
    def axes(self) -> str:
        """Letters of the axes, also unknown ones."""
        return _letters(self.series)[: len(self.sizes)] + self.samples.axes

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the pixels, in the byte order of this machine."""
        return self.samples.dtype

    @property
    def cropped(self) -> bool:
        """Whether planes that are not there in full are left out."""
        return self.sizes != tuple(self.series.shape[: len(self.sizes)])

    def whole(self) -> NDArray[Any]:
        """All pixels, read at once."""
        if self.cropped:
            return _read(self, [slice(None)] * len(self.shape))
        with decoding(self.path):
            pixels = self.series.asarray()
        return native(self.samples(pixels))


def layout_of(
    path: Path,
    file: tifffile.TiffFile,
    series: tifffile.TiffPageSeries,
    *,
    crop: bool,
    labels: bool = False,
    title: str = "",
) -> Layout:
    """Find out how a series is read, without reading pixels.

    Parameters
    ----------
    path : Path
    file : TiffFile
        Open file.
    series : TiffPageSeries
        One of its series, or a part of one with pages of its own.
    crop : bool
        Leave out planes that are not there in full.
    labels : bool
        Give numbers out as they are stored, whatever colours they stand for.
    title : str
        What the image is called in sentences; the file's name unless given.

    Raises
    ------
    InputError
        Planes are missing, or it holds pixels that cannot be decoded or converted.
    """
    check_decoders(path, series.keyframe)
    with decoding(path):
        leading, offset = _leading_axes(series)
    at = leading or 0
    sizes: tuple[int, ...] = tuple(series.shape[:at])
    messages: tuple[str, ...] = ()
    if leading is not None:
        planes = complete_planes(path, file, series, sizes, crop=crop, title=title)
        sizes, messages = planes.sizes, planes.messages
    letters, shape = _letters(series), tuple(series.shape)
    samples = page_samples(series.keyframe, letters[at:], shape[at:])
    if labels and "S" not in letters and samples.orientation == 1:
        stored = np.dtype(series.dtype).newbyteorder("=")
        samples = PageSamples(axes=letters[at:], shape=shape[at:], dtype=stored)
    if "C" in letters[:at] and "C" in samples.axes:
        raise InputError(
            f"{path.name} holds channels of {samples.shape[samples.axes.index('C')]} "
            "samples each that are no colours; save each of them as a channel."
        )
    return Layout(
        path=path,
        file=file,
        series=series,
        leading=leading,
        sizes=sizes,
        samples=samples,
        offset=offset,
        messages=(*messages, *samples.messages),
    )


def _letters(series: tifffile.TiffPageSeries) -> str:
    return "".join(series.axes).upper()


def _leading_axes(series: tifffile.TiffPageSeries) -> tuple[int | None, int | None]:
    """How many axes count pages (None: not readable by page), and `Layout.offset`."""
    shape = tuple(series.shape)
    if series.transform is not None:
        return None, None
    if series.dataoffset is not None:
        return _axes_before_plane(_letters(series), len(shape)), series.dataoffset
    sizes, page = [math.prod(shape[n:]) for n in range(len(shape) + 1)], series.keyframe
    if page.size not in sizes or len(series) > sizes[0] // page.size:
        return None, None
    return sizes.index(page.size), None


def _axes_before_plane(axes: str, count: int) -> int:
    found = [axes.index(letter) for letter in "YXS" if letter in axes]
    return min(found) if len(axes) == count and found else max(0, count - 2)


def _read(layout: Layout, parts: Sequence[_Part]) -> NDArray[Any]:
    leading = len(layout.sizes)
    before, inside = parts[:leading], tuple(parts[leading:])
    ranges = [_range(n, part) for n, part in zip(layout.sizes, before, strict=True)]
    kept = [
        len(r)
        for r, part in zip(ranges, before, strict=True)
        if isinstance(part, slice)
    ]
    if not kept:
        return _page(layout, [r[0] for r in ranges], inside)
    nothing = np.broadcast_to(np.empty(()), layout.samples.shape)
    page = nothing[inside].shape
    out = np.empty((math.prod(kept), *page), dtype=layout.dtype)
    for n, place in enumerate(np.ndindex(*(len(r) for r in ranges))):
        at = [r[i] for r, i in zip(ranges, place, strict=True)]
        out[n] = _page(layout, at, inside)
    return out.reshape(*kept, *page)


def _page(layout: Layout, at: Sequence[int], inside: tuple[_Part, ...]) -> NDArray[Any]:
    """Part of one page as it is given out, an array of its own."""
    if not layout.samples.as_stored:
        whole = (slice(None),) * (len(layout.series.shape) - len(layout.sizes))
        return native(layout.samples(_stored_page(layout, at, whole))[inside])
    return _stored_page(layout, at, inside)


def _stored_page(
    layout: Layout, at: Sequence[int], inside: tuple[_Part, ...]
) -> NDArray[Any]:
    """Part of one page as it is in the file."""
    leading = len(layout.sizes)
    sizes, shape = layout.series.shape[:leading], layout.series.shape[leading:]
    number = int(np.ravel_multi_index(at, sizes)) if sizes else 0
    if layout.offset is not None:
        return _rows(layout, number, shape, inside)
    page = layout.series[number]
    if page is None:
        raise InputError(
            f"{layout.path.name} is incomplete (page {number} is missing)."
        )
    elsewhere = page.parent.filehandle
    was_closed = elsewhere.closed
    with decoding(layout.path):
        elsewhere.open()
        try:
            pixels = page.asarray()
        finally:
            if was_closed:
                elsewhere.close()
    return native(pixels.reshape(shape)[inside])


def _rows(
    layout: Layout, number: int, shape: tuple[int, ...], inside: tuple[_Part, ...]
) -> NDArray[Any]:
    """Part of a page whose pixels stand in the file as they are: only its rows."""
    first = inside[0]
    rows = _range(shape[0], first)
    low, high = (min(rows), max(rows) + 1) if rows else (0, 0)
    width = math.prod(shape[1:])
    dtype = np.dtype(layout.series.dtype).newbyteorder(layout.file.byteorder)
    assert layout.offset is not None
    start = layout.offset + (number * shape[0] + low) * width * dtype.itemsize
    with decoding(layout.path):
        read = layout.file.filehandle.read_array(dtype, (high - low) * width, start)
    pixels = read.reshape(high - low, *shape[1:])
    own = slice(None, None, rows.step) if isinstance(first, slice) else 0
    return native(pixels[(own, *inside[1:])])


def _range(size: int, part: _Part) -> range:
    return range(size)[part] if isinstance(part, slice) else range(part, part + 1)
