"""TIFF: OME-TIFF, ImageJ hyperstacks and plain files."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import tifffile

from napari_zssr.files.damage import refused
from napari_zssr.files.found import Found
from napari_zssr.files.omexml import parse_pixels
from napari_zssr.files.tiffpixels import TiffPixels, layout_of
from napari_zssr.stack.axes import Channel, short_unit
from napari_zssr.stack.source import Pixels


def read_tiff(path: Path, *, lazy: bool = False) -> Found:
    """Read the largest series of a TIFF.

    Parameters
    ----------
    path : Path
    lazy : bool
        Leave the pixels in the file where its pages can be read one by one.

    Raises
    ------
    InputError
        The file is truncated, broken, or compressed in a way that needs another
        package.
    """
    with refused(path), tifffile.TiffFile(path) as file:
        number = _largest(file)
        series = file.series[number]
        data: Pixels
        if lazy and layout_of(file, number) is not None:
            data = TiffPixels(path, number)
        else:
            data = series.asarray()
        return _described(file, number, data)


def _largest(file: tifffile.TiffFile) -> int:
    if not file.series:
        raise ValueError("no image in it")
    sizes = [math.prod(series.shape) for series in file.series]
    return sizes.index(max(sizes))


def _described(file: tifffile.TiffFile, number: int, data: Pixels) -> Found:
    series = file.series[number]
    axes = "".join(series.axes).upper()
    if file.is_ome and file.ome_metadata and series.kind == "ome":
        spacing, units, channels = parse_pixels(file.ome_metadata, number)
    elif file.is_imagej:
        spacing, units = _imagej_spacing(file, axes)
        channels = _imagej_channels(file.imagej_metadata or {}, axes, series.shape)
    else:
        spacing, units, channels = {}, {}, ()
    return Found(data=data, axes=axes, spacing=spacing, units=units, channels=channels)


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
