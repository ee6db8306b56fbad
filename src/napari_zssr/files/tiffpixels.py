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

from napari_zssr.files.damage import refused
from napari_zssr.stack.source import FilePixels, full_index, native

_Part = int | slice


class TiffPixels(FilePixels):
    """Pixels of one series of a TIFF, read by page or, where they lie in one, by row.

    The file is opened at the first use and closed after every reading. Threads may
    share an instance; a pickle holds the name of the file.

    Parameters
    ----------
    path : Path
    series : int
        Number of the series.
    """

    def __init__(self, path: Path, series: int) -> None:
        self.path = path
        self.series = series
        self._lock = threading.Lock()
        self._found: _Layout | None = None

    def __reduce__(self) -> tuple[type[TiffPixels], tuple[Path, int]]:
        return TiffPixels, (self.path, self.series)

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
        with self._lock, refused(self.path):
            layout.file.filehandle.open()
            try:
                return _read(layout, parts)
            finally:
                layout.file.close()

    def _layout(self) -> _Layout:
        with self._lock:
            if self._found is None:
                with refused(self.path), tifffile.TiffFile(self.path) as file:
                    found = layout_of(file, self.series)
                    if found is None:
                        raise ValueError("its pages cannot be read one by one")
                    self._found = found
            return self._found


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Layout:
    """Where the pixels of a series stand.

    Attributes
    ----------
    leading : int
        Number of axes that count pages; the others are those of a page.
    offset : int or None
        Place of the first pixel where all follow it without a gap.
    """

    file: tifffile.TiffFile
    series: tifffile.TiffPageSeries
    leading: int
    offset: int | None

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.series.shape)

    @property
    def dtype(self) -> np.dtype[Any]:
        return np.dtype(self.series.dtype).newbyteorder("=")


def layout_of(file: tifffile.TiffFile, number: int) -> _Layout | None:
    """How a series is read in parts; None where it can only be read whole."""
    series = file.series[number]
    shape = tuple(series.shape)
    if series.transform is not None or series.keyframe is None:
        return None
    offset = series.dataoffset
    if offset is not None:
        leading = _axes_before_plane("".join(series.axes).upper(), len(shape))
    else:
        sizes = [math.prod(shape[n:]) for n in range(len(shape) + 1)]
        if math.prod(series.keyframe.shape) not in sizes:
            return None
        leading = sizes.index(math.prod(series.keyframe.shape))
        if len(series) != math.prod(shape[:leading]):
            return None
    return _Layout(file=file, series=series, leading=leading, offset=offset)


def _axes_before_plane(axes: str, count: int) -> int:
    found = [axes.index(letter) for letter in "YXS" if letter in axes]
    return min(found) if len(axes) == count and found else max(0, count - 2)


def _read(layout: _Layout, parts: Sequence[_Part]) -> NDArray[Any]:
    before, inside = parts[: layout.leading], tuple(parts[layout.leading :])
    ranges = [_range(n, part) for n, part in zip(layout.shape, before, strict=False)]
    kept = [
        len(r)
        for r, part in zip(ranges, before, strict=True)
        if isinstance(part, slice)
    ]
    if not kept:
        return _page(layout, [r[0] for r in ranges], inside)
    nothing = np.broadcast_to(np.empty(()), layout.shape[layout.leading :])
    page = nothing[inside].shape
    out = np.empty((math.prod(kept), *page), dtype=layout.dtype)
    for n, place in enumerate(np.ndindex(*(len(r) for r in ranges))):
        at = [r[i] for r, i in zip(ranges, place, strict=True)]
        out[n] = _page(layout, at, inside)
    return out.reshape(*kept, *page)


def _page(
    layout: _Layout, at: Sequence[int], inside: tuple[_Part, ...]
) -> NDArray[Any]:
    """Part of one page, an array of its own."""
    sizes, shape = layout.shape[: layout.leading], layout.shape[layout.leading :]
    number = int(np.ravel_multi_index(at, sizes)) if sizes else 0
    if layout.offset is not None:
        return _rows(layout, number, shape, inside)
    page = layout.series[number]
    if page is None:
        raise ValueError(f"page {number} is missing")
    elsewhere = page.parent.filehandle
    was_closed = elsewhere.closed
    elsewhere.open()
    try:
        pixels = page.asarray()
    finally:
        if was_closed:
            elsewhere.close()
    return native(pixels.reshape(shape)[inside])


def _rows(
    layout: _Layout, number: int, shape: tuple[int, ...], inside: tuple[_Part, ...]
) -> NDArray[Any]:
    """Part of a page whose pixels stand in the file as they are: only its rows."""
    first = inside[0]
    rows = _range(shape[0], first)
    low, high = (min(rows), max(rows) + 1) if rows else (0, 0)
    width = math.prod(shape[1:])
    dtype = np.dtype(layout.series.dtype).newbyteorder(layout.file.byteorder)
    assert layout.offset is not None
    start = layout.offset + (number * shape[0] + low) * width * dtype.itemsize
    read = layout.file.filehandle.read_array(dtype, (high - low) * width, start)
    pixels = read.reshape(high - low, *shape[1:])
    own = slice(None, None, rows.step) if isinstance(first, slice) else 0
    return native(pixels[(own, *inside[1:])])


def _range(size: int, part: _Part) -> range:
    return range(size)[part] if isinstance(part, slice) else range(part, part + 1)
