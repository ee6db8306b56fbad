"""Pixel sizes, units and channels of a TIFF, from all the metadata that it holds."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray

from napari_zssr.io.calibration import (
    calibration_from,
    instrument_calibration,
    merge,
    pack_color,
    positive_number,
    series_axes,
)
from napari_zssr.io.contents import Calibration
from napari_zssr.io.ome_xml import SIZE_ATTRIBUTES, PlaneAddress, ome_calibration
from napari_zssr.stack.image import (
    Channel,
    FilePixels,
    Pixels,
    in_um,
    is_lazy,
    short_unit,
    to_native,
    unit_text,
)


def calibration(
    file: tifffile.TiffFile, series: tifffile.TiffPageSeries
) -> Calibration:
    """Pixel sizes, units and channels of one series, or of a part of one.

    Each source adds what the earlier ones do not say, the microscope's own first.
    """
    known = Calibration()
    if series.is_multifile:
        message = "The image is spread over several files, which were opened together."
        known = Calibration(messages=(message,))
    for source in (
        _micromanager_sizes,
        _ome,
        _micromanager_channels,
        instrument_calibration,
        _tifffile_json,
    ):
        known = merge(known, source(file, series))
    for source in (_imagej_sizes, _resolution_tags):
        if "X" not in known.spacing:
            known = merge(known, source(file, series))
    metadata = file.imagej_metadata or {}
    imagej = Calibration(
        channels=_imagej_channels(metadata, series),
        messages=_value_messages(metadata, series.dtype),
    )
    return merge(known, imagej)


def _channel_count(series: tifffile.TiffPageSeries) -> int:
    channel_axis = series_axes(series).find("C")
    return 1 if channel_axis < 0 else series.shape[channel_axis]


# Pixels per inch that cameras, scanners and programs write for screen and print
_PRINT_DENSITIES = (
    *(72, 75, 96, 100, 120, 144, 150, 180),
    *(200, 240, 300, 350, 360, 400, 600),
)
_UM = {"inch": 25400.0, "centimetre": 10000.0}
_TOLERANCE = 0.013  # densities per centimetre are often rounded to whole numbers
_LARGEST_UM = 1000.0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Resolution:
    """Resolution tags of a page: pixel sizes in inch or centimetre, or without unit."""

    lengths: dict[str, float]
    unit: str

    @property
    def um(self) -> dict[str, float]:
        """Pixel sizes in micrometres; empty without a unit."""
        scale = _UM.get(self.unit)
        return {k: v * scale for k, v in self.lengths.items()} if scale else {}

    @property
    def is_of_print(self) -> bool:
        """Whether a density is usual for screen or print, not for a specimen."""
        return any(
            abs(25400.0 / size / density - 1) < _TOLERANCE
            for size in self.um.values()
            for density in _PRINT_DENSITIES
        )

    @property
    def is_small(self) -> bool:
        """Whether the pixel size is at most a millimetre."""
        return bool(self.um) and max(self.um.values()) <= _LARGEST_UM

    def __str__(self) -> str:
        first = next(iter(self.lengths.values()), 0.0)
        density = f"{1 / first:g} pixels" if first else "no density"
        return f"{density} per {self.unit or 'unit'}"


def _page_resolution(page: tifffile.TiffPage) -> _Resolution:
    lengths = {}
    for letter, tag in (("Y", "YResolution"), ("X", "XResolution")):
        value = page.tags.valueof(tag)
        if isinstance(value, tuple) and len(value) == 2 and min(value) > 0:
            lengths[letter] = value[1] / value[0]
    unit = page.tags.valueof("ResolutionUnit", default=1)
    return _Resolution(lengths=lengths, unit={2: "inch", 3: "centimetre"}.get(unit, ""))


def _resolution_tags(
    file: tifffile.TiffFile, series: tifffile.TiffPageSeries
) -> Calibration:
    """Pixel size from the tags alone: densities per centimetre, but none of print.

    An inch is the default unit of programs that do not know the size of a specimen.
    """
    resolution = _page_resolution(series.keyframe)
    is_inch = resolution.unit != "centimetre"
    if is_inch or resolution.is_of_print or not resolution.is_small:
        return Calibration()
    sizes = resolution.um
    return calibration_from(
        {letter: (size, "um") for letter, size in sizes.items()},
        messages=[
            f"The pixel size of {_size_text(sizes)} µm comes from the TIFF's "
            f"resolution tags ({resolution}); set the pixel size if it is wrong."
        ],
    )


def _tags_with_unit(resolution: _Resolution, unit: str, source: str) -> Calibration:
    """Pixel size from the tags and the unit of length that a text beside them states.

    Tags in another unit than the text's count pixels per their own: so ImageJ and
    Bio-Formats read 100000 pixels per centimetre beside "um".
    """
    if resolution.is_of_print:
        return Calibration(
            messages=(
                f"The resolution tags say {resolution}, which is a screen or print "
                "resolution, not a pixel size; set the pixel size if you know it.",
            )
        )
    scale = in_um(1.0, unit)
    assert scale is not None
    messages = []
    plain = {letter: size * scale for letter, size in resolution.lengths.items()}
    sizes = resolution.um or plain
    if not resolution.is_small and max(plain.values(), default=0.0) <= _LARGEST_UM:
        sizes = plain
    if resolution.unit and _UM[resolution.unit] != scale:
        messages = [
            f"The resolution tags say {resolution}, {source} says "
            f"{unit_text(unit)}; the pixel size was read as {_size_text(sizes)} "
            "µm."
        ]
    if unit in {"cm", "in"}:
        unit, scale = "um", 1.0
    return calibration_from(
        {letter: (size / scale, unit) for letter, size in sizes.items()},
        messages=messages,
    )


def _size_text(sizes: dict[str, float]) -> str:
    """Sizes along Y and X in words, a single one where they agree."""
    return " × ".join(dict.fromkeys(f"{size:.4g}" for size in sizes.values()))


def _tifffile_json(
    file: tifffile.TiffFile, series: tifffile.TiffPageSeries
) -> Calibration:
    """Pixel sizes and channel names from tifffile's JSON, by OME's or ImageJ's keys."""
    if series.kind != "shaped":
        return Calibration()
    # Old versions of tifffile wrote only a shape.
    content = _from_json(series.keyframe.shaped_description or "")
    metadata = content if isinstance(content, dict) else {}
    names = _channel_names(metadata)
    has_names = len(names) == _channel_count(series)
    ome = calibration_from(
        {
            letter: (metadata.get(key), str(metadata.get(f"{key}Unit", default)))
            for letter, (key, default) in SIZE_ATTRIBUTES.items()
        },
        channels=[Channel(name=name) for name in names] if has_names else [],
    )
    return ome if "X" in ome.spacing else merge(ome, _imagej_keys(metadata, series))


def _from_json(text: str) -> Any:
    """Content of a JSON text, None where it is malformed."""
    try:
        return json.loads(text)
    except ValueError:
        return None


def _imagej_keys(
    metadata: dict[str, Any], series: tifffile.TiffPageSeries
) -> Calibration:
    """Sizes by the keys that tifffile passes to ImageJ, and the resolution tags."""
    time = _frame_interval(metadata)
    unit = _length_unit(metadata)
    if unit is None:
        return time
    sizes = merge(time, calibration_from({"Z": (metadata.get("spacing"), unit)}))
    resolution = _page_resolution(series.keyframe)
    # tifffile writes 1 where no resolution was given.
    if not resolution.unit and set(resolution.lengths.values()) == {1.0}:
        return sizes
    return merge(sizes, _tags_with_unit(resolution, unit, "tifffile's metadata"))


def _frame_interval(metadata: dict[str, Any]) -> Calibration:
    return calibration_from(
        {"T": (metadata.get("finterval"), metadata.get("tunit", "s"))}
    )


def _length_unit(metadata: dict[str, Any]) -> str | None:
    """Short name of ImageJ's unit, None where it is no unit of length."""
    unit = short_unit(str(metadata.get("unit", "")))
    return None if in_um(1.0, unit) is None else unit


def _channel_names(metadata: dict[str, Any]) -> list[str]:
    """Names of channels as tifffile takes them for OME, one mapping or several."""
    channel = metadata.get("Channel", {})
    if isinstance(channel, dict):
        names = channel.get("Name", [])
        return [names] if isinstance(names, str) else [str(name) for name in names]
    return [str(each.get("Name", "")) for each in channel if isinstance(each, dict)]


def micromanager_summary(file: tifffile.TiffFile) -> dict[str, Any]:
    """Micro-Manager's summary of the acquisition, empty where there is none."""
    summary = (file.micromanager_metadata or {}).get("Summary")
    return summary if isinstance(summary, dict) else {}


def _micromanager_sizes(
    file: tifffile.TiffFile, series: tifffile.TiffPageSeries
) -> Calibration:
    """Pixel sizes and time step from the summary.

    They precede the OME-XML, where old versions write milliseconds for seconds.
    """
    summary = micromanager_summary(file)
    plane = file.pages.first.tags.valueof("MicroManagerMetadata")
    size = summary.get("PixelSize_um")
    if not size and isinstance(plane, dict):
        size = plane.get("PixelSizeUm")
    return calibration_from(
        {
            "T": (summary.get("Interval_ms"), "ms"),
            "Z": (summary.get("z-step_um"), "um"),
            "Y": (size, "um"),
            "X": (size, "um"),
        }
    )


def _micromanager_channels(
    file: tifffile.TiffFile, series: tifffile.TiffPageSeries
) -> Calibration:
    """Channel names from the summary, where it has a name for each channel."""
    names = micromanager_summary(file).get("ChNames")
    if isinstance(names, str):  # some versions write JSON inside of JSON
        names = _from_json(names)
    if not isinstance(names, list) or len(names) != _channel_count(series):
        return Calibration()
    return Calibration(channels=tuple(Channel(name=str(name)) for name in names))


def _ome(file: tifffile.TiffFile, series: tifffile.TiffPageSeries) -> Calibration:
    xml = file.ome_metadata if file.is_ome else None
    page = next((page for page in series.pages if page is not None), None)
    if not xml or page is None:
        return Calibration()
    ifd: int | None = page.index
    if series.kind == "mmstack":
        ifd = _page_number(file, page.offset) if page.parent is file else None
    address = PlaneAddress(
        file=page.parent.filename,
        ifd=ifd,
        height=series.keyframe.imagelength,
        width=series.keyframe.imagewidth,
        name=series.name,
    )
    return ome_calibration(xml, address, file.filename)


def _page_number(file: tifffile.TiffFile, offset: int) -> int | None:
    """Number of the page at an offset, by Micro-Manager's index map."""
    index_map = (file.micromanager_metadata or {}).get("IndexMap")
    if index_map is None:
        return None
    offsets = sorted(int(each) for each in index_map[:, 4])
    return offsets.index(offset) if offset in offsets else None


_STRAIGHT_LINE, _UNCALIBRATED = 0, 20  # ImageJ's calibration functions ("cf")
_SIGNED_OFFSET = -32768


def _imagej_sizes(
    file: tifffile.TiffFile, series: tifffile.TiffPageSeries
) -> Calibration:
    """Pixel sizes, time step and origin by ImageJ's rules."""
    metadata = file.imagej_metadata or {}
    axes = series_axes(series)
    plane = _imagej_plane(metadata, _page_resolution(file.pages.first))
    sizes = merge(plane, _imagej_depth(metadata, axes, "X" in plane.spacing))
    origin = {}
    for letter, size in sizes.spacing.items():
        start = metadata.get(f"{letter.lower()}origin")  # in pixels
        is_flipped = letter == "Y" and metadata.get("inverty")
        if isinstance(start, int | float) and math.isfinite(start) and not is_flipped:
            origin[letter] = -start * size
    sizes = merge(sizes, Calibration(origin={k: v for k, v in origin.items() if v}))
    return merge(sizes, _imagej_time(metadata, axes))


def _imagej_plane(metadata: dict[str, Any], resolution: _Resolution) -> Calibration:
    """Sizes along Y and X; in a kymograph one of them is a time."""
    lengths, unit = resolution.lengths, _length_unit(metadata)
    if unit is not None:
        sizes = _tags_with_unit(resolution, unit, "ImageJ's metadata")
    else:
        unit = short_unit(str(metadata.get("unit", "")))
        sizes = calibration_from({a: (size, unit) for a, size in lengths.items()})
    y = calibration_from({"Y": (lengths.get("Y"), metadata.get("yunit"))})
    return merge(y, sizes)


def _imagej_depth(
    metadata: dict[str, Any], axes: str, is_calibrated: bool
) -> Calibration:
    """Distance of slices; ImageJ writes it only where it is not 1."""
    unit = short_unit(str(metadata.get("zunit", metadata.get("unit", ""))))
    spacing, messages = metadata.get("spacing"), []
    if spacing is None and is_calibrated and "Z" in axes:
        spacing = 1.0
        messages = [
            "ImageJ's metadata do not give the distance between slices, so it was "
            f"read as 1 {unit_text(unit)}; set the pixel size if it is wrong."
        ]
    size = positive_number(abs(spacing)) if isinstance(spacing, int | float) else None
    if unit in {"cm", "in"}:
        size, unit = in_um(size, unit), "um"
    return calibration_from({"Z": (size, unit)}, messages=messages)


def _imagej_time(metadata: dict[str, Any], axes: str) -> Calibration:
    """Interval of frames; frames per second are only the speed of playback."""
    step = _frame_interval(metadata)
    fps = positive_number(metadata.get("fps"))
    if step.spacing or fps is None or "T" not in axes:
        return step
    return Calibration(
        messages=(
            f"ImageJ's {fps:g} frames per second are the playback speed, so the time "
            "between frames is not known.",
        )
    )


def _imagej_channels(
    metadata: dict[str, Any], series: tifffile.TiffPageSeries
) -> tuple[Channel, ...]:
    """Names from labels, if there is one per channel; colours from lookup tables."""
    count = _channel_count(series)
    labels, tables = metadata.get("Labels", []), metadata.get("LUTs", [])
    if isinstance(labels, str):
        labels = [labels]
    if isinstance(tables, np.ndarray):  # tifffile gives a single one so
        tables = [tables]
    planes = math.prod(series.shape[:-2])
    has_names = "C" in series_axes(series) and len(labels) == count == planes
    names = [str(label) for label in labels] if has_names else [""] * count
    colors = [_color(t) for t in tables] if len(tables) == count else [None] * count
    channels = tuple(
        Channel(name=name, color=color)
        for name, color in zip(names, colors, strict=True)
    )
    return channels if set(channels) != {Channel()} else ()


def _color(table: Any) -> int | None:
    """OME colour of the brightest entry, which is the first of an inverted table."""
    if getattr(table, "shape", None) != (3, 256):
        return None
    total = np.sum(table, axis=0, dtype=int)
    return pack_color(table[:, 255 - int(np.argmax(total[::-1]))])


def _value_messages(metadata: dict[str, Any], dtype: np.dtype[Any]) -> tuple[str, ...]:
    """Message on ImageJ's calibration of the pixel values, if there is one."""
    if _is_signed(metadata, dtype):
        return ("ImageJ stores signed pixels with 32768 added; this was subtracted.",)
    if dtype.kind not in "iu" or metadata.get("cf", _UNCALIBRATED) == _UNCALIBRATED:
        return ()
    if _offset_and_slope(metadata) in ((0, 1), (_SIGNED_OFFSET, 1)):
        return ()
    unit = str(metadata.get("vunit", "")).strip()
    quoted = f" ({unit})" if unit else ""
    return (
        f"ImageJ's calibration of the pixel values{quoted} was not applied; the "
        "pixels were read as stored.",
    )


def _is_signed(metadata: dict[str, Any], dtype: np.dtype[Any]) -> bool:
    """Whether 16-bit pixels are stored as ImageJ stores signed ones: 32768 higher."""
    is_uint16 = dtype.kind == "u" and dtype.itemsize == 2
    return is_uint16 and _offset_and_slope(metadata) == (_SIGNED_OFFSET, 1)


def _offset_and_slope(metadata: dict[str, Any]) -> tuple[Any, Any] | None:
    """Parameters of a calibration of the pixel values by a straight line."""
    is_line = metadata.get("cf") == _STRAIGHT_LINE
    return (metadata.get("c0"), metadata.get("c1")) if is_line else None


class SignedPixels(FilePixels):
    """Signed 16-bit pixels, which ImageJ stores 32768 higher as unsigned ones."""

    def __init__(self, stored: Pixels) -> None:
        self._stored = stored

    @property
    def shape(self) -> tuple[int, ...]:
        """Size along each axis."""
        return self._stored.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the pixels, int16."""
        return np.dtype(np.int16)

    def __getitem__(self, index: Any) -> NDArray[Any]:
        """Pixels for one whole number or slice an axis."""
        stored = to_native(self._stored[index])
        return (stored ^ np.uint16(-_SIGNED_OFFSET)).view(np.int16)


def signed_pixels(file: tifffile.TiffFile, stored: Pixels) -> Pixels:
    """Remove the offset of ImageJ's signed pixels; others are returned unchanged."""
    if not _is_signed(file.imagej_metadata or {}, stored.dtype):
        return stored
    signed = SignedPixels(stored)
    return signed if is_lazy(stored) else signed[...]
