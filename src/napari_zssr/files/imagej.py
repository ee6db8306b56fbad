"""ImageJ's description of a TIFF: sizes, channels and calibrated values."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray

from napari_zssr.files.calibration import Calibration, calibrated, merged, number
from napari_zssr.files.resolution import Resolution, page_resolution, unit_calibration
from napari_zssr.stack.axes import Channel, short_unit
from napari_zssr.stack.source import FilePixels, Pixels, is_lazy, native
from napari_zssr.stack.units import in_um

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
        return (native(self._stored[index]) ^ np.uint16(-_SIGNED_OFFSET)).view(np.int16)


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
