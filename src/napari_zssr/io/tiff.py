"""TIFF: OME-TIFF, ImageJ hyperstacks and plain files."""

from __future__ import annotations

import importlib.util
import logging
import math
import struct
import sys
import threading
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import tifffile
from numpy.typing import NDArray

from napari_zssr.errors import InputError
from napari_zssr.io.calibration import Calibration
from napari_zssr.io.contents import FileImage, ImageEntry, ReadOptions, choose
from napari_zssr.io.ome_xml import open_tiff
from napari_zssr.io.photometric import PageSamples, page_samples, swaps_sides
from napari_zssr.io.tiff_metadata import calibration, signed_pixels
from napari_zssr.io.tiff_series import (
    complete_planes,
    restore_imagej_series,
    tiff_entries,
    tiff_images,
)
from napari_zssr.stack.image import Channel, FilePixels, Pixels, full_index, to_native

_JPEG = {6, 7, 33007, 34892}
_ZSTD = {34926, 50000}
_INSTEAD = "save it uncompressed, or with LZW or Deflate."


def check_decoders(path: Path, page: tifffile.TiffPage) -> None:
    """Refuse a sound page that cannot be decoded here, saying by what.

    Parameters
    ----------
    path : Path
    page : TiffPage
        Any page of a series.

    Raises
    ------
    InputError
        Its compression, predictor, type or subsampling is not supported, or needs a
        package that is missing.
    """
    if page.dtype is None:
        raise InputError(
            f"{path.name} holds samples of {page.bitspersample} bits "
            f"(SampleFormat {int(page.sampleformat)}), which cannot be read; save it "
            "as integers or floating point of 8 to 64 bits."
        )
    _check_codec(path, tifffile.TIFF.DECOMPRESSORS, page.compression, "compressed with")
    if page.compression not in tifffile.TIFF.IMAGE_COMPRESSIONS:
        _check_codec(path, tifffile.TIFF.UNPREDICTORS, page.predictor, "predicted with")
    if page.is_subsampled and not (
        page.compression in _JPEG and page.planarconfig == 1
    ):
        raise InputError(
            f"{path.name} holds YCbCr pixels whose colours are subsampled without "
            "JPEG, which cannot be read; save it as RGB."
        )


def _check_codec(path: Path, codecs: Mapping[int, Any], value: int, what: str) -> None:
    package = importlib.util.find_spec("imagecodecs") is not None
    if value in _ZSTD and not package and sys.version_info < (3, 14):
        raise InputError(missing_decoder(path))
    try:
        codecs[value]
    except KeyError as error:
        if "imagecodecs" in str(error) and not package:
            raise InputError(missing_decoder(path)) from error
        raise InputError(
            f"{path.name} is {what} {_name(what, value)}, which cannot be read; "
            f"{_INSTEAD}"
        ) from error


def missing_decoder(path: Path) -> str:
    """Sentence for a file that only the imagecodecs package can decode."""
    return (
        f"{path.name} is compressed in a way that needs the imagecodecs package; run "
        "pip install imagecodecs."
    )


def _name(what: str, value: int) -> str:
    names = tifffile.COMPRESSION if what.startswith("comp") else tifffile.PREDICTOR
    try:
        return names(value).name
    except ValueError:
        return f"number {value}"


# What files bring about, wherever it is raised.
_BROKEN = (OSError, EOFError, struct.error, zlib.error, tifffile.TiffFileError)
# What tifffile and its decoders raise on files that they cannot make sense of.
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
def opened(path: Path) -> Iterator[tifffile.TiffFile]:
    """Open a TIFF and list its series; faults of the file become one sentence.

    Other errors of the caller's block are its own, and pass.

    Raises
    ------
    InputError
        It is no TIFF, or its structure is broken.
    """
    with _quiet(), ExitStack() as held:
        with decoding(path):
            file = held.enter_context(open_tiff(path))
            series = file.series
            if series:
                restore_imagej_series(file)
        if not series:
            raise InputError(
                f"{path.name} is damaged or incomplete, there is no image in it; copy "
                "or export it again."
            )
        try:
            yield file
        except _BROKEN as error:
            raise _refusal(path, error) from error


@contextmanager
def decoding(path: Path) -> Iterator[None]:
    """Turn errors into one sentence; for a block that is tifffile's alone.

    Raises
    ------
    InputError
        The file is truncated, broken, or stored in a way that cannot be decoded.
    """
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
        return InputError(missing_decoder(path))
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
    here = threading.get_ident()
    log = logging.getLogger("tifffile")

    def others(record: logging.LogRecord) -> bool:
        return record.thread != here

    log.addFilter(others)
    try:
        yield
    finally:
        log.removeFilter(others)


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
        return to_native(self.samples(pixels))


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
        return to_native(layout.samples(_stored_page(layout, at, whole))[inside])
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
    return to_native(pixels.reshape(shape)[inside])


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
    return to_native(pixels[(own, *inside[1:])])


def _range(size: int, part: _Part) -> range:
    return range(size)[part] if isinstance(part, slice) else range(part, part + 1)


T = TypeVar("T")


def read_tiff(path: Path, options: ReadOptions) -> FileImage:
    """Read one image of a TIFF, the largest unless another is asked for.

    Raises
    ------
    InputError
        The file is truncated, broken, or of a compression, colour or type that is
        not supported; or it has no such image.
    """
    with opened(path) as file:
        images = tiff_images(file)
        entries = tiff_entries(images)
        entry, messages = choose(entries, options.image, path.name)
        image = images[entry.index]
        partial, labels = options.partial, options.labels
        several = len(entries) > 1
        layout = layout_of(
            path,
            file,
            image.series,
            crop=partial,
            labels=labels,
            title=f"{path.name}, {entry.title}," if several else "",
        )
        data: Pixels
        if options.lazy and layout.leading is not None:
            data = TiffPixels(
                path, entry.index, partial=partial, labels=labels, layout=layout
            )
        else:
            data = layout.whole()
        found = calibration(file, image.series)
        return FileImage(
            data=signed_pixels(file, data),
            axes=layout.axes,
            spacing=_turned(found.spacing, layout),
            units=_turned(found.units, layout),
            channels=_channels(found, layout),
            entry=entry if several else None,
            origin=_turned(found.origin, layout),
            messages=messages + image.messages + layout.messages + found.messages,
        )


def list_tiff(path: Path) -> tuple[ImageEntry, ...]:
    """List the images of a TIFF.

    Raises
    ------
    InputError
        The file is truncated or broken.
    """
    with opened(path) as file:
        return tiff_entries(tiff_images(file))


def _turned(sizes: dict[str, T], layout: Layout) -> dict[str, T]:
    """Exchange Y and X where the orientation of the picture does."""
    if not swaps_sides(layout.samples.orientation):
        return sizes
    other = {"Y": "X", "X": "Y"}
    return {other.get(letter, letter): size for letter, size in sizes.items()}


def _channels(found: Calibration, layout: Layout) -> tuple[Channel, ...]:
    """Those that the metadata name, else those of the samples; of what is kept."""
    at = layout.axes.find("C")
    kept = 1 if at < 0 else layout.shape[at]
    return found.channels[:kept] or layout.samples.channels
