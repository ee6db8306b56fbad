"""TIFF: OME-TIFF, ImageJ hyperstacks and plain files."""

from __future__ import annotations

import logging
import math
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tifffile

from napari_zssr.errors import InputError
from napari_zssr.files.found import Found
from napari_zssr.files.omexml import parse_pixels
from napari_zssr.stack.axes import Channel, short_unit

if TYPE_CHECKING:
    from numpy.typing import NDArray

_BROKEN = (
    OSError,
    ValueError,
    RuntimeError,
    LookupError,
    TypeError,
    AttributeError,
    ArithmeticError,
    struct.error,
    zlib.error,
    tifffile.TiffFileError,
)


def read_tiff(path: Path) -> Found:
    """Read the largest series of a TIFF.

    Raises
    ------
    InputError
        The file is truncated, broken, or compressed in a way that needs another
        package.
    """
    with _complaints() as complaints:
        try:
            with tifffile.TiffFile(path) as file:
                series = _largest(file)
                data = series.asarray()
                found = _described(file, series, data)
        except _BROKEN as error:
            raise InputError(_reason(path, error)) from error
    if complaints:
        raise InputError(
            f"{path.name} is damaged or incomplete ({complaints[0]}); copy or export "
            "it again."
        )
    return found


def _largest(file: tifffile.TiffFile) -> tifffile.TiffPageSeries:
    if not file.series:
        raise ValueError("no image in it")
    return max(file.series, key=lambda s: math.prod(s.shape))


def _described(
    file: tifffile.TiffFile, series: tifffile.TiffPageSeries, data: NDArray[Any]
) -> Found:
    axes = "".join(series.axes).upper()
    if file.is_ome and file.ome_metadata and series.kind == "ome":
        image = list(file.series).index(series)
        spacing, units, channels = parse_pixels(file.ome_metadata, image)
    elif file.is_imagej:
        spacing, units = _imagej_spacing(file, axes)
        channels = _imagej_channels(file.imagej_metadata or {}, axes, data.shape)
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


@contextmanager
def _complaints() -> Iterator[list[str]]:
    """Collect what tifffile only logs: pages that are lost or cannot be read."""
    found: list[str] = []

    class Collect(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            text = record.getMessage()
            if any(word in text.lower() for word in _SERIOUS):
                found.append(_shortened(text.split("> ", 1)[-1].rstrip(".")))

    log = logging.getLogger("tifffile")
    handler, propagate = Collect(logging.WARNING), log.propagate
    log.addHandler(handler)
    log.propagate = False
    try:
        yield found
    finally:
        log.removeHandler(handler)
        log.propagate = propagate


_SERIOUS = (
    "missing data",
    "missing files",
    "series failed to read",
    "corrupted file",
    "corrupted tag list",
    "invalid page offset",
    "invalid offset to",
    "circular reference",
)


def _reason(path: Path, error: BaseException) -> str:
    text = _shortened(str(error))
    if "imagecodecs" in text:
        return (
            f"{path.name} is compressed in a way that needs the imagecodecs package; "
            'run pip install "napari-zssr[formats]", or save it uncompressed.'
        )
    return (
        f"{path.name} cannot be read as a TIFF, it is damaged or incomplete "
        f"({text}); copy or export it again."
    )


def _shortened(text: str) -> str:
    return " ".join(text.split())[:120]
