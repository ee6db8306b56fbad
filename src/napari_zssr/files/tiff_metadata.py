"""Pixel sizes, units and channels of a TIFF, from whichever metadata it holds."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import tifffile

from napari_zssr.files.omexml import parse_pixels
from napari_zssr.stack.axes import Channel, short_unit


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """What the metadata of one series say.

    Attributes
    ----------
    spacing, units : dict
        By axis letter, only where known.
    channels : tuple of Channel
        One for each index of C, or empty.
    """

    spacing: dict[str, float] = field(default_factory=dict)
    units: dict[str, str | None] = field(default_factory=dict)
    channels: tuple[Channel, ...] = ()


def calibration(file: tifffile.TiffFile, series_index: int) -> Calibration:
    """Read the pixel sizes, units and channels of one series.

    Parameters
    ----------
    file : TiffFile
        Open file.
    series_index : int
        Index of the series in it.
    """
    series = file.series[series_index]
    axes = "".join(series.axes).upper()
    if file.is_ome and file.ome_metadata and series.kind == "ome":
        spacing, units, channels = parse_pixels(file.ome_metadata, series_index)
        return Calibration(spacing=spacing, units=units, channels=channels)
    if file.is_imagej:
        spacing, units = _imagej_spacing(file, axes)
        channels = _imagej_channels(file.imagej_metadata or {}, axes, series.shape)
        return Calibration(spacing=spacing, units=units, channels=channels)
    return Calibration()


def _imagej_spacing(
    file: tifffile.TiffFile, axes: str
) -> tuple[dict[str, float], dict[str, str | None]]:
    """Pixel sizes where ImageJ names a length; "pixel" and "inch" are none."""
    told = file.imagej_metadata or {}
    tags = file.pages.first.tags
    sizes: dict[str, Any] = {"T": told.get("finterval"), "Z": told.get("spacing")}
    for letter, tag in (("Y", "YResolution"), ("X", "XResolution")):
        pixels, length = tags[tag].value if tag in tags else (0, 0)
        sizes[letter] = length / pixels if pixels else None
    unit = told.get("unit")
    names = {
        "T": told.get("tunit", "s"),
        "Z": told.get("zunit", unit),
        "Y": told.get("yunit", unit),
        "X": unit,
    }
    units = {letter: short_unit(str(name)) for letter, name in names.items()}
    spacing = {
        letter: float(size)
        for letter, size in sizes.items()
        if letter in axes and units[letter] and _positive(size)
    }
    return spacing, {letter: units[letter] for letter in spacing}


def _positive(size: Any) -> bool:
    return isinstance(size, int | float) and math.isfinite(size) and size > 0


def _imagej_channels(
    told: dict[str, Any], axes: str, shape: tuple[int, ...]
) -> tuple[Channel, ...]:
    """Names from one label a channel, colours from the brightest entry of the LUTs."""
    count = shape[axes.index("C")] if "C" in axes else 1
    labels, tables = told.get("Labels") or [], told.get("LUTs") or []
    if isinstance(labels, str):
        labels = [labels]
    named = "C" in axes and len(labels) == count == math.prod(shape[:-2])
    names = [str(label) for label in labels] if named else [""] * count
    colors = [_lut_color(t) for t in tables] if len(tables) == count else [None] * count
    if not any(names) and not any(c is not None for c in colors):
        return ()
    return tuple(
        Channel(name=name, color=color)
        for name, color in zip(names, colors, strict=True)
    )


def _lut_color(table: Any) -> int | None:
    if getattr(table, "shape", None) != (3, 256):
        return None
    packed = bytes([*(int(v) for v in table[:, -1]), 255])
    return int.from_bytes(packed, "big", signed=True)
