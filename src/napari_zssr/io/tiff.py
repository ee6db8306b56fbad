"""TIFF: OME-TIFF, ImageJ hyperstacks and plain files."""

from __future__ import annotations

import importlib.util
import itertools
import logging
import math
import struct
import sys
import threading
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from enum import IntEnum
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray

from napari_zssr.errors import InputError
from napari_zssr.io.calibration import series_axes
from napari_zssr.io.contents import FileImage, FileImages, ImageEntry, ReadOptions
from napari_zssr.io.ome_xml import open_tiff
from napari_zssr.io.photometric import (
    JPEG,
    PageSamples,
    enum_name,
    page_samples,
    swaps_axes,
)
from napari_zssr.io.tiff_metadata import calibration, signed_pixels
from napari_zssr.io.tiff_series import (
    TiffImage,
    complete_planes,
    restore_imagej_series,
    tiff_entries,
    tiff_images,
)
from napari_zssr.stack.image import FilePixels, Pixels, full_index, to_native

_ZSTD = {34926, 50000}
# What files cause, wherever it is raised.
_BROKEN = (OSError, EOFError, struct.error, zlib.error, tifffile.TiffFileError)
# What tifffile and its decoders raise on files that they cannot interpret.
_FAILED = (
    *_BROKEN,
    ImportError,
    ValueError,
    RuntimeError,
    LookupError,
    TypeError,
    AttributeError,
    ArithmeticError,
    AssertionError,
)


@contextmanager
def opened(path: Path) -> Iterator[FileImages]:
    """The images of a TIFF."""
    with _opened(path) as file:
        images = tiff_images(file)
        yield FileImages(tiff_entries(images), partial(_load, path, file, images))


def _load(
    path: Path,
    file: tifffile.TiffFile,
    images: Sequence[TiffImage],
    entry: ImageEntry,
    options: ReadOptions,
) -> FileImage:
    image = images[entry.index]
    title = f"{path.name}, {entry.title}," if len(images) > 1 else path.name
    layout = _layout_of(path, file, image.series, options, title)
    is_lazy = options.lazy and layout.is_paged
    data: Pixels = (
        TiffPixels(path, entry.index, options, layout) if is_lazy else layout.read_all()
    )
    known = calibration(file, image.series)
    channel_axis = layout.axes.find("C")
    channel_count = 1 if channel_axis < 0 else layout.shape[channel_axis]
    orientation = layout.samples.orientation
    known = replace(
        known,
        spacing=_reoriented(known.spacing, orientation),
        units=_reoriented(known.units, orientation),
        channels=known.channels[:channel_count] or layout.samples.channels,
        origin=_reoriented(known.origin, orientation),
        messages=image.messages + layout.messages + known.messages,
    )
    pixels = signed_pixels(file, data)
    return FileImage(data=pixels, axes=layout.axes, calibration=known)


def _reoriented(sizes: Mapping[str, Any], orientation: int) -> dict[str, Any]:
    """Exchange Y and X where the orientation of the picture does."""
    swapped = {"Y": "X", "X": "Y"} if swaps_axes(orientation) else {}
    return {swapped.get(letter, letter): size for letter, size in sizes.items()}


class TiffPixels(FilePixels):
    """Pixels of one image of a TIFF, read by page or, where contiguous, by row.

    The file is closed after every reading; threads may share an instance.
    """

    def __init__(
        self,
        path: Path,
        image: int,
        options: ReadOptions,
        layout: _Layout | None = None,
    ) -> None:
        self.path = path.absolute()
        self.image = image
        self.options = options
        self._lock = threading.Lock()
        if layout is not None:
            self._layout = layout

    def __reduce__(self) -> tuple[Any, ...]:
        return TiffPixels, (self.path, self.image, self.options)

    @property
    def shape(self) -> tuple[int, ...]:
        """Size along each axis."""
        return self._layout.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the pixels, in the byte order of this machine."""
        return self._layout.samples.dtype

    def __getitem__(self, index: Any) -> NDArray[Any]:
        """Pixels for one integer or slice per axis; InputError if unreadable."""
        layout = self._layout
        parts = full_index(index, layout.shape)
        with self._lock:
            with _decoding(self.path):
                layout.file.filehandle.open()
            try:
                return layout.read(parts)
            finally:
                layout.file.close()

    @cached_property
    def _layout(self) -> _Layout:
        path = self.path
        with _opened(path) as file:
            series = tiff_images(file)[self.image].series
            layout = _layout_of(path, file, series, self.options, path.name)
        if not layout.is_paged:
            raise InputError(
                f"{path.name} has changed since it was opened; open it again."
            )
        return layout


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Layout:
    """How the pixels of a series are stored and converted."""

    path: Path
    file: tifffile.TiffFile
    series: tifffile.TiffPageSeries
    is_paged: bool  # whether pages can be read one by one, not only the whole series
    sizes: tuple[int, ...]  # of the axes before a page, cropped to complete planes
    samples: PageSamples  # conversion of a page, or of a series that is not paged
    offset: int | None  # of the first pixel, where all pixels are contiguous
    messages: tuple[str, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        """Size along each axis."""
        return (*self.sizes, *self.samples.shape)

    @property
    def axes(self) -> str:
        """Letters of the axes, unknown ones included."""
        return series_axes(self.series)[: len(self.sizes)] + self.samples.axes

    def read_all(self) -> NDArray[Any]:
        """All pixels, read at once."""
        if self.sizes != tuple(self.series.shape[: len(self.sizes)]):
            return self.read([slice(None)] * len(self.shape))
        with _decoding(self.path):
            pixels = self.series.asarray()
        return to_native(self.samples(pixels))

    def read(self, index: Sequence[int | slice]) -> NDArray[Any]:
        """Pixels for one integer or slice per axis."""
        before, inside = index[: len(self.sizes)], tuple(index[len(self.sizes) :])
        ranges = [_range(n, part) for n, part in zip(self.sizes, before, strict=True)]
        if not any(isinstance(part, slice) for part in before):
            return self._page([numbers[0] for numbers in ranges], inside)
        kept = [
            len(numbers)
            for numbers, part in zip(ranges, before, strict=True)
            if isinstance(part, slice)
        ]
        page_shape = np.broadcast_to(0, self.samples.shape)[inside].shape
        out = np.empty((math.prod(kept), *page_shape), dtype=self.samples.dtype)
        for n, numbers in enumerate(itertools.product(*ranges)):
            out[n] = self._page(numbers, inside)
        return out.reshape(*kept, *page_shape)

    def _page(
        self, numbers: Sequence[int], inside: tuple[int | slice, ...]
    ) -> NDArray[Any]:
        """Part of one converted page, as an array of its own."""
        leading = len(self.sizes)
        sizes, shape = self.series.shape[:leading], self.series.shape[leading:]
        number = int(np.ravel_multi_index(numbers, sizes)) if sizes else 0
        if self.samples.is_as_stored:
            return self._stored_page(number, shape, inside)
        page = self._stored_page(number, shape, (slice(None),) * len(shape))
        return to_native(self.samples(page)[inside])

    def _stored_page(
        self, number: int, shape: tuple[int, ...], inside: tuple[int | slice, ...]
    ) -> NDArray[Any]:
        """Part of one page as it is in the file."""
        if self.offset is not None:
            return self._rows(self.offset, number, shape, inside)
        page = self.series[number]
        if page is None:
            raise InputError(
                f"{self.path.name} is incomplete (page {number} is missing); copy or "
                "export it again."
            )
        handle = page.parent.filehandle  # of another file of a set perhaps
        with _decoding(self.path), ExitStack() as stack:
            if handle.closed:
                stack.callback(handle.close)
            handle.open()
            pixels = page.asarray()
        return to_native(pixels.reshape(shape)[inside])

    def _rows(
        self,
        offset: int,
        number: int,
        shape: tuple[int, ...],
        inside: tuple[int | slice, ...],
    ) -> NDArray[Any]:
        """Part of one page of contiguous pixels, of which only the rows are read."""
        rows = _range(shape[0], inside[0])
        low, high = (min(rows), max(rows) + 1) if rows else (0, 0)
        width = math.prod(shape[1:])
        dtype = np.dtype(self.series.dtype).newbyteorder(self.file.byteorder)
        start = offset + (number * shape[0] + low) * width * dtype.itemsize
        with _decoding(self.path):
            read = self.file.filehandle.read_array(dtype, (high - low) * width, start)
        pixels = read.reshape(high - low, *shape[1:])
        step = slice(None, None, rows.step) if isinstance(inside[0], slice) else 0
        return to_native(pixels[(step, *inside[1:])])


def _range(size: int, part: int | slice) -> range:
    return range(size)[part] if isinstance(part, slice) else range(part, part + 1)


def _layout_of(
    path: Path,
    file: tifffile.TiffFile,
    series: tifffile.TiffPageSeries,
    options: ReadOptions,
    title: str,
) -> _Layout:
    """Determine how a series is read, without reading pixels.

    InputError, with the title, where planes are missing or cannot be decoded.
    """
    _check_decoders(path, series.keyframe)
    with _decoding(path):
        page_axis, offset = _first_page_axis(series)
    axes, shape, leading = series_axes(series), tuple(series.shape), page_axis or 0
    sizes: tuple[int, ...] = shape[:leading]
    messages: tuple[str, ...] = ()
    if page_axis is not None:
        sizes, messages = complete_planes(
            path, file, series, sizes, crop=options.partial, title=title
        )
    samples = page_samples(series.keyframe, axes[leading:], shape[leading:])
    if options.labels and "S" not in axes and samples.orientation == 1:
        # Labels are the stored numbers, whatever colours they stand for.
        stored = np.dtype(series.dtype).newbyteorder("=")
        samples = PageSamples(axes=axes[leading:], shape=shape[leading:], dtype=stored)
    if "C" in axes[:leading] and "C" in samples.axes:
        raise InputError(
            f"{path.name} contains channels of "
            f"{samples.shape[samples.axes.index('C')]} samples each that are not "
            "colours; save each sample as a channel."
        )
    return _Layout(
        path=path,
        file=file,
        series=series,
        is_paged=page_axis is not None,
        sizes=sizes,
        samples=samples,
        offset=offset,
        messages=(*messages, *samples.messages),
    )


def _first_page_axis(
    series: tifffile.TiffPageSeries,
) -> tuple[int | None, int | None]:
    """First axis of a page (None: not readable by page), and offset if contiguous."""
    axes, shape, page = series_axes(series), tuple(series.shape), series.keyframe
    if series.transform is not None:
        return None, None
    if series.dataoffset is not None:
        plane_axes = [axes.index(letter) for letter in "YXS" if letter in axes]
        is_known = plane_axes and len(axes) == len(shape)
        first = min(plane_axes) if is_known else max(0, len(shape) - 2)
        return first, series.dataoffset
    sizes = [math.prod(shape[n:]) for n in range(len(shape) + 1)]
    if page.size not in sizes or len(series) > sizes[0] // page.size:
        return None, None
    return sizes.index(page.size), None


def _check_decoders(path: Path, page: tifffile.TiffPage) -> None:
    """Refuse a page whose type, codec or subsampling cannot be decoded."""
    if page.dtype is None:
        raise InputError(
            f"{path.name} contains samples of {page.bitspersample} bits "
            f"(SampleFormat {int(page.sampleformat)}), which cannot be read; save it "
            "as integers or floating point of 8 to 64 bits."
        )
    tags = tifffile.TIFF
    _check_codec(
        path, tags.DECOMPRESSORS, tifffile.COMPRESSION, page.compression, "compressed"
    )
    if page.compression not in tags.IMAGE_COMPRESSIONS:
        _check_codec(
            path, tags.UNPREDICTORS, tifffile.PREDICTOR, page.predictor, "predicted"
        )
    if page.is_subsampled and not (page.compression in JPEG and page.planarconfig == 1):
        raise InputError(
            f"{path.name} contains YCbCr pixels whose colours are subsampled without "
            "JPEG, which cannot be read; save it as RGB."
        )


def _check_codec(
    path: Path, codecs: Mapping[int, Any], names: type[IntEnum], value: int, how: str
) -> None:
    has_imagecodecs = importlib.util.find_spec("imagecodecs") is not None
    if value in _ZSTD and not has_imagecodecs and sys.version_info < (3, 14):
        raise _missing_decoder(path)
    try:
        codecs[value]
    except KeyError as error:
        if "imagecodecs" in str(error) and not has_imagecodecs:
            raise _missing_decoder(path) from error
        raise InputError(
            f"{path.name} is {how} with {enum_name(names, value, 'number')}, which "
            "cannot be read; save it uncompressed, or with LZW or Deflate."
        ) from error


def _missing_decoder(path: Path) -> InputError:
    return InputError(
        f"{path.name} is compressed in a way that needs the imagecodecs package; run "
        "pip install imagecodecs."
    )


@contextmanager
def _opened(path: Path) -> Iterator[tifffile.TiffFile]:
    """Open a TIFF and list its series; InputError where its structure is broken.

    Errors of the caller's block that are not the file's pass unchanged.
    """
    with _quiet(), ExitStack() as stack:
        with _decoding(path):
            file = stack.enter_context(open_tiff(path))
            series = file.series
            if series:
                restore_imagej_series(file)
        if not series:
            raise InputError(
                f"{path.name} is damaged or incomplete and contains no image; copy "
                "or export it again."
            )
        try:
            yield file
        except _BROKEN as error:
            raise _refusal(path, error) from error


@contextmanager
def _decoding(path: Path) -> Iterator[None]:
    """Turn errors into InputError; for a block that only tifffile's code runs in."""
    with _quiet():
        try:
            yield
        except InputError:
            raise
        except _FAILED as error:
            raise _refusal(path, error) from error


def _refusal(path: Path, error: Exception) -> InputError:
    text = " ".join(str(error).split())[:120]
    if isinstance(error, ImportError) or "imagecodecs' package" in text:
        return _missing_decoder(path)
    if isinstance(error, NotImplementedError) or "not supported" in text:
        return InputError(
            f"{path.name} is stored in a way that cannot be read ({text}); save it "
            "uncompressed."
        )
    if isinstance(error, FileNotFoundError | PermissionError):
        name = Path(str(error.filename or path)).name
        return InputError(
            f"{path.name} cannot be read ({name}: {error.strerror}); check the folder."
        )
    if isinstance(error, TypeError | AttributeError | AssertionError):
        text = f"tifffile fails on it with {type(error).__name__}: {text}"
    return InputError(
        f"{path.name} cannot be read as a TIFF, it is damaged or incomplete "
        f"({text}); copy or export it again."
    )


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep what tifffile logs in this thread from the terminal."""
    thread = threading.get_ident()
    log = logging.getLogger("tifffile")

    def is_of_another_thread(record: logging.LogRecord) -> bool:
        return record.thread != thread

    log.addFilter(is_of_another_thread)
    try:
        yield
    finally:
        log.removeFilter(is_of_another_thread)
