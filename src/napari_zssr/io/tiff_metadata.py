"""Pixel sizes, units and channels of a TIFF, from whichever metadata it holds."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray

from napari_zssr.io.calibration import (
    Calibration,
    calibrated,
    instrument_calibration,
    merged,
    number,
)
from napari_zssr.io.ome_xml import PlaneAddress, ome_calibration
from napari_zssr.stack.image import (
    Channel,
    FilePixels,
    Pixels,
    in_um,
    is_lazy,
    short_unit,
    to_native,
)

# Pixels per inch that cameras, scanners and programs write for screen and print
PRINT_DENSITIES = (
    *(72, 75, 96, 100, 120, 144, 150, 180),
    *(200, 240, 300, 350, 360, 400, 600),
)
_UM = {"inch": 25400.0, "cm": 10000.0}
_WORDS = {"inch": "inch", "cm": "centimetre"}
_TOLERANCE = 0.013  # densities per centimetre are often rounded to whole numbers
_LARGEST_UM = 1000.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolution:
    """Resolution tags of one page.

    Attributes
    ----------
    lengths : dict
        Length of a pixel by letter, Y and X, in `unit`.
    unit : {"inch", "cm", ""}
        What the tag ResolutionUnit says, empty where it says nothing.
    """

    lengths: dict[str, float]
    unit: str

    @property
    def um(self) -> dict[str, float]:
        """Lengths in micrometres; empty without a unit."""
        scale = _UM.get(self.unit)
        return {k: v * scale for k, v in self.lengths.items()} if scale else {}

    @property
    def is_of_print(self) -> bool:
        """Whether a density is one for screen or print and not of a specimen."""
        return any(
            abs(25400.0 / size / density - 1) < _TOLERANCE
            for size in self.um.values()
            for density in PRINT_DENSITIES
        )

    @property
    def is_small(self) -> bool:
        """Whether the pixels are at most a millimetre, as an image's are."""
        return bool(self.um) and max(self.um.values()) <= _LARGEST_UM

    def __str__(self) -> str:
        first = next(iter(self.lengths.values()), 0.0)
        density = f"{1 / first:g} pixels" if first else "no density"
        return f"{density} per {_WORDS.get(self.unit, 'unit')}"


def page_resolution(page: tifffile.TiffPage) -> Resolution:
    """Read the tags XResolution, YResolution and ResolutionUnit of a page."""
    lengths = {}
    for letter, tag in (("Y", "YResolution"), ("X", "XResolution")):
        value = page.tags.valueof(tag)
        if isinstance(value, tuple) and len(value) == 2 and min(value) > 0:
            lengths[letter] = value[1] / value[0]
    unit = page.tags.valueof("ResolutionUnit", default=1)
    return Resolution(lengths=lengths, unit={2: "inch", 3: "cm"}.get(unit, ""))


def tag_calibration(resolution: Resolution) -> Calibration:
    """Pixel size from the tags alone: densities per centimetre, but none of print.

    "72 pixels per inch" is what programs write when they know nothing, and an inch is
    what they take for the unit; neither tells the size of a specimen.
    """
    if resolution.unit != "cm" or resolution.is_of_print or not resolution.is_small:
        return Calibration()
    sizes = resolution.um
    return calibrated(
        {letter: (size, "um") for letter, size in sizes.items()},
        messages=[
            f"The pixel size of {_listed(sizes)} um comes from the TIFF's resolution "
            f"tags ({resolution}); set the spacing if that is not the specimen's."
        ],
    )


def unit_calibration(resolution: Resolution, unit: str, source: str) -> Calibration:
    """Pixel size from the tags and the unit of length that a text beside them names.

    Where the tags name another unit than the text, they count pixels per their own
    one: so ImageJ and Bio-Formats read 100000 pixels per centimetre beside "um".

    Parameters
    ----------
    resolution : Resolution
        The tags.
    unit : str
        Short name of a unit of length.
    source : str
        Whose text it is, for the message.
    """
    if resolution.is_of_print:
        return Calibration(messages=(_print_message(resolution),))
    scale = in_um(1.0, unit)
    assert scale is not None
    plain = {letter: size * scale for letter, size in resolution.lengths.items()}
    sizes = resolution.um or plain
    if not resolution.is_small and max(plain.values(), default=0.0) <= _LARGEST_UM:
        sizes = plain
    usual = unit if unit not in {"cm", "in"} else "um"
    factor = in_um(1.0, usual)
    assert factor is not None
    named_twice = bool(resolution.unit) and _UM[resolution.unit] != scale
    return calibrated(
        {letter: (size / factor, usual) for letter, size in sizes.items()},
        messages=[_unit_message(resolution, unit, sizes, source)]
        if named_twice
        else [],
    )


def _unit_message(
    resolution: Resolution, unit: str, sizes: dict[str, float], source: str
) -> str:
    return (
        f"The resolution tags say {resolution}, {source} says {unit}; the pixel size "
        f"was read as {_listed(sizes)} um."
    )


def _print_message(resolution: Resolution) -> str:
    return (
        f"The resolution tags say {resolution}, which is a density of screen or print "
        "and not taken for a pixel size; set the spacing if it is known."
    )


def _listed(sizes: dict[str, float]) -> str:
    """Sizes along Y and X in words, one where they agree."""
    return " x ".join(dict.fromkeys(f"{size:.4g}" for size in sizes.values()))


_DEFAULT_LENGTH = 1.0  # written where no resolution was given


def json_calibration(series: tifffile.TiffPageSeries) -> Calibration:
    """Pixel sizes and channel names that were passed to tifffile as metadata.

    Parameters
    ----------
    series : TiffPageSeries
        A series that tifffile wrote, with ImageJ's keys (`unit`, `spacing`,
        `finterval`) or those of OME (`PhysicalSizeX`).
    """
    metadata = _metadata(series.keyframe.shaped_description)
    axes, shape = "".join(series.axes).upper(), tuple(series.shape)
    count = shape[axes.index("C")] if "C" in axes else 1
    names = _channel_names(metadata)
    ome = calibrated(
        {
            letter: (metadata.get(key), str(metadata.get(f"{key}Unit", usual)))
            for letter, key, usual in (
                ("T", "TimeIncrement", "s"),
                ("Z", "PhysicalSizeZ", "um"),
                ("Y", "PhysicalSizeY", "um"),
                ("X", "PhysicalSizeX", "um"),
            )
        },
        channels=[Channel(name=n) for n in names] if len(names) == count else [],
    )
    return ome if "X" in ome.spacing else merged(ome, _imagej_keys(metadata, series))


def _metadata(text: str | None) -> dict[str, Any]:
    """The description as a mapping; old versions of tifffile wrote only a shape."""
    try:
        metadata = json.loads(text or "")
    except ValueError:
        return {}
    return metadata if isinstance(metadata, dict) else {}


def _imagej_keys(
    metadata: dict[str, Any], series: tifffile.TiffPageSeries
) -> Calibration:
    """Sizes by the keys that tifffile passes to ImageJ, and the resolution tags."""
    time = calibrated({"T": (metadata.get("finterval"), metadata.get("tunit", "s"))})
    unit = short_unit(str(metadata.get("unit", "")))
    if unit is None or in_um(1.0, unit) is None:
        return time
    sizes = merged(time, calibrated({"Z": (metadata.get("spacing"), unit)}))
    resolution = page_resolution(series.keyframe)
    if not resolution.unit and set(resolution.lengths.values()) == {_DEFAULT_LENGTH}:
        return sizes
    return merged(sizes, unit_calibration(resolution, unit, "tifffile's JSON"))


def _channel_names(metadata: dict[str, Any]) -> list[str]:
    """Names of channels as tifffile takes them for OME, one mapping or several."""
    channel = metadata.get("Channel", {})
    if isinstance(channel, dict):
        names = channel.get("Name", [])
        return [names] if isinstance(names, str) else [str(name) for name in names]
    return [str(each.get("Name", "")) for each in channel if isinstance(each, dict)]


def summary_sizes(file: tifffile.TiffFile) -> Calibration:
    """Pixel sizes and time step from the summary of an acquisition.

    They come before those of the OME-XML, in which old versions write milliseconds
    for seconds.

    Parameters
    ----------
    file : TiffFile
        Open file.
    """
    summary = _summary(file)
    plane = file.pages.first.tags.valueof("MicroManagerMetadata")
    size = summary.get("PixelSize_um")
    if not size and isinstance(plane, dict):
        size = plane.get("PixelSizeUm")
    return calibrated(
        {
            "T": (summary.get("Interval_ms"), "ms"),
            "Z": (summary.get("z-step_um"), "um"),
            "Y": (size, "um"),
            "X": (size, "um"),
        }
    )


def summary_channels(
    file: tifffile.TiffFile, series: tifffile.TiffPageSeries
) -> Calibration:
    """Channel names from the summary, where there is one for each channel.

    Parameters
    ----------
    file : TiffFile
        Open file.
    series : TiffPageSeries
        The image.
    """
    axes = "".join(series.axes).upper()
    names = _names(_summary(file).get("ChNames"))
    if len(names) != (series.shape[axes.index("C")] if "C" in axes else 1):
        return Calibration()
    return Calibration(channels=tuple(Channel(name=name) for name in names))


def _summary(file: tifffile.TiffFile) -> dict[str, Any]:
    metadata = file.micromanager_metadata if file.is_micromanager else None
    summary = (metadata or {}).get("Summary")
    return summary if isinstance(summary, dict) else {}


def _names(value: Any) -> list[str]:
    """Names of channels, which some versions write as JSON inside of JSON."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError:
            return []
    return [str(name) for name in value] if isinstance(value, list) else []


def page_number(file: tifffile.TiffFile, offset: int) -> int | None:
    """Number of the page at an offset, from the index map of a stack's file."""
    index_map = (file.micromanager_metadata or {}).get("IndexMap")
    if index_map is None:
        return None
    offsets = sorted(int(each) for each in index_map[:, 4])
    return offsets.index(offset) if offset in offsets else None


_STRAIGHT_LINE, _UNCALIBRATED = 0, 20
_SIGNED_OFFSET = -32768


def imagej_sizes(
    file: tifffile.TiffFile, series: tifffile.TiffPageSeries
) -> Calibration:
    """Pixel sizes, time step and origin by ImageJ's rules."""
    metadata = file.imagej_metadata or {}
    plane = _plane_sizes(metadata, page_resolution(file.pages.first))
    axes = "".join(series.axes).upper()
    sizes = merged(plane, _depth(metadata, axes, "X" in plane.spacing))
    return merged(_with_origin(sizes, metadata), _time_step(metadata, axes))


def _plane_sizes(metadata: dict[str, Any], resolution: Resolution) -> Calibration:
    """Sizes along Y and X; of a kymograph one of them is a time."""
    unit = short_unit(str(metadata.get("unit", "")))
    lengths = resolution.lengths
    if unit is not None and in_um(1.0, unit) is not None:
        sizes = unit_calibration(resolution, unit, "ImageJ's text")
    else:
        sizes = calibrated({letter: (size, unit) for letter, size in lengths.items()})
    own_y = calibrated({"Y": (lengths.get("Y"), metadata.get("yunit"))})
    return merged(own_y, sizes)


def _depth(metadata: dict[str, Any], axes: str, is_calibrated: bool) -> Calibration:
    """Distance of slices; ImageJ writes it only where it is not 1."""
    unit = short_unit(str(metadata.get("zunit", metadata.get("unit", ""))))
    spacing, messages = metadata.get("spacing"), []
    if spacing is None and is_calibrated and "Z" in axes:
        spacing = 1.0
        messages = [
            f"ImageJ's text names no distance of slices, which means 1 {unit} there."
        ]
    size = number(abs(spacing)) if isinstance(spacing, int | float) else None
    known = (in_um(size, unit), "um") if unit in {"cm", "in"} else (size, unit)
    return calibrated({"Z": known}, messages=messages)


def _time_step(metadata: dict[str, Any], axes: str) -> Calibration:
    """Interval of frames; the frames per second are a speed of playback."""
    step = calibrated({"T": (metadata.get("finterval"), metadata.get("tunit", "s"))})
    fps = number(metadata.get("fps"))
    if step.spacing or fps is None or "T" not in axes:
        return step
    return Calibration(
        messages=(
            f"ImageJ's {fps:g} frames per second are its speed of playback; the time "
            "between frames is not known.",
        )
    )


def _with_origin(sizes: Calibration, metadata: dict[str, Any]) -> Calibration:
    """Place of the first pixel; ImageJ counts its origins in pixels."""
    origin = {}
    for letter, size in sizes.spacing.items():
        start = metadata.get(f"{letter.lower()}origin")
        turned = letter == "Y" and metadata.get("inverty")
        if isinstance(start, int | float) and math.isfinite(start) and not turned:
            origin[letter] = -start * size
    return merged(sizes, Calibration(origin={k: v for k, v in origin.items() if v}))


def imagej_channels(
    metadata: dict[str, Any], axes: str, shape: tuple[int, ...]
) -> tuple[Channel, ...]:
    """Names from one label a channel, colours from the lookup tables."""
    count = shape[axes.index("C")] if "C" in axes else 1
    labels, tables = metadata.get("Labels", []), metadata.get("LUTs", [])
    if isinstance(labels, str):
        labels = [labels]
    if isinstance(tables, np.ndarray):  # tifffile's way of giving a single one
        tables = [tables]
    named = "C" in axes and len(labels) == count == math.prod(shape[:-2])
    names = [str(label) for label in labels] if named else [""] * count
    colors = [_color(t) for t in tables] if len(tables) == count else [None] * count
    if not any(names) and not any(color is not None for color in colors):
        return ()
    return tuple(
        Channel(name=name, color=color)
        for name, color in zip(names, colors, strict=True)
    )


def _color(table: Any) -> int | None:
    """OME colour of the brightest entry, which is the first of an inverted table."""
    if getattr(table, "shape", None) != (3, 256):
        return None
    total = np.sum(table, axis=0, dtype=int)
    brightest = 255 - int(np.argmax(total[::-1]))
    packed = bytes([*(int(v) for v in table[:, brightest]), 255])
    return int.from_bytes(packed, "big", signed=True)


class SignedPixels(FilePixels):
    """Signed 16-bit pixels that ImageJ stores 32768 higher, as unsigned ones.

    Parameters
    ----------
    stored : Pixels
        As they are in the file, uint16.
    """

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
        return (to_native(self._stored[index]) ^ np.uint16(-_SIGNED_OFFSET)).view(
            np.int16
        )


def signed_pixels(file: tifffile.TiffFile, stored: Pixels) -> Pixels:
    """Pixels of a TIFF with the offset of ImageJ's signed ones taken off.

    Parameters
    ----------
    file : TiffFile
        Open file.
    stored : Pixels
        As they are in the file; what is not signed comes back as it is.
    """
    if not is_signed(file.imagej_metadata or {}, stored.dtype):
        return stored
    signed = SignedPixels(stored)
    return signed if is_lazy(stored) else signed[...]


def is_signed(metadata: dict[str, Any], dtype: np.dtype[Any]) -> bool:
    """Whether 16-bit pixels are stored as ImageJ stores signed ones: 32768 higher."""
    unsigned = dtype.kind == "u" and dtype.itemsize == 2
    return unsigned and _line(metadata) == (_SIGNED_OFFSET, 1)


def value_messages(metadata: dict[str, Any], dtype: np.dtype[Any]) -> tuple[str, ...]:
    """What is said about ImageJ's calibration of the pixel values."""
    unit = str(metadata.get("vunit", "")).strip()
    quoted = f" ({unit})" if unit else ""
    if is_signed(metadata, dtype):
        return (
            "ImageJ stores these signed pixels 32768 higher than they are; they were "
            "read as signed.",
        )
    if dtype.kind not in "iu" or metadata.get("cf", _UNCALIBRATED) == _UNCALIBRATED:
        return ()
    if _line(metadata) in {(0, 1), (_SIGNED_OFFSET, 1)}:
        return ()
    return (
        f"ImageJ's calibration of the pixel values{quoted} is not applied; they stay "
        "as they are stored.",
    )


def _line(metadata: dict[str, Any]) -> tuple[float, float] | None:
    """Offset and slope of a calibration by a straight line."""
    if metadata.get("cf") != _STRAIGHT_LINE:
        return None
    offset, slope = metadata.get("c0"), metadata.get("c1")
    if isinstance(offset, int | float) and isinstance(slope, int | float):
        return offset, slope
    return None


def calibration(
    file: tifffile.TiffFile, series: tifffile.TiffPageSeries
) -> Calibration:
    """Read the pixel sizes, units and channels of one series.

    What the microscope wrote itself comes first, then OME-XML, ImageJ's text and the
    resolution tags; a later source adds only what the earlier ones do not say, and
    those that measure in the tags are not asked once the pixel size is known.

    Parameters
    ----------
    file : TiffFile
        Open file.
    series : TiffPageSeries
        One of its series, or a part of one with pages of its own.
    """
    known = merged(Calibration(messages=_files_message(series)), summary_sizes(file))
    for source in (_ome, summary_channels, instrument_calibration, _json):
        known = merged(known, source(file, series))
    for source in (_imagej, _tags):
        if "X" not in known.spacing:
            known = merged(known, source(file, series))
    return merged(known, _imagej_display(file, series))


def _files_message(series: tifffile.TiffPageSeries) -> tuple[str, ...]:
    if not series.is_multifile:
        return ()
    return ("The image is spread over several files, which were opened together.",)


def _ome(file: tifffile.TiffFile, series: tifffile.TiffPageSeries) -> Calibration:
    xml = file.ome_metadata if file.is_ome else None
    page = next((page for page in series.pages if page is not None), None)
    if not xml or page is None:
        return Calibration()
    ifd: int | None = page.index
    if series.kind == "mmstack":
        ifd = page_number(file, page.offset) if page.parent is file else None
    address = PlaneAddress(
        file=page.parent.filename,
        ifd=ifd,
        height=series.keyframe.imagelength,
        width=series.keyframe.imagewidth,
        name=series.name,
    )
    return ome_calibration(xml, address, file.filename)


def _json(file: tifffile.TiffFile, series: tifffile.TiffPageSeries) -> Calibration:
    return json_calibration(series) if series.kind == "shaped" else Calibration()


def _imagej(file: tifffile.TiffFile, series: tifffile.TiffPageSeries) -> Calibration:
    return imagej_sizes(file, series) if file.is_imagej else Calibration()


def _imagej_display(
    file: tifffile.TiffFile, series: tifffile.TiffPageSeries
) -> Calibration:
    """ImageJ's names and colours of channels, and what its values mean."""
    if not file.is_imagej:
        return Calibration()
    metadata, axes = file.imagej_metadata or {}, "".join(series.axes).upper()
    return Calibration(
        channels=imagej_channels(metadata, axes, tuple(series.shape)),
        messages=value_messages(metadata, series.dtype),
    )


def _tags(file: tifffile.TiffFile, series: tifffile.TiffPageSeries) -> Calibration:
    return tag_calibration(page_resolution(series.keyframe))
