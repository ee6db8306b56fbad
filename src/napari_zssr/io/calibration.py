"""Pixel sizes, units and channels of an image, and how two sources are joined."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import tifffile

from napari_zssr.stack.image import Channel, short_unit


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """What one source of metadata says about an image.

    Attributes
    ----------
    spacing, units : dict
        By axis letter, only where known.
    channels : tuple of Channel
        One for each index of C, or empty.
    origin : dict
        Centre of the first pixel by letter, only where it is not 0.
    name : str
        Name of the image, or empty.
    messages : tuple of str
        Sentences on what was assumed, chosen or converted.
    """

    spacing: dict[str, float] = field(default_factory=dict)
    units: dict[str, str | None] = field(default_factory=dict)
    channels: tuple[Channel, ...] = ()
    origin: dict[str, float] = field(default_factory=dict)
    name: str = ""
    messages: tuple[str, ...] = ()


def calibrated(
    sizes: Mapping[str, tuple[Any, str | None]],
    *,
    channels: Sequence[Channel] = (),
    messages: Sequence[str] = (),
) -> Calibration:
    """Calibration from sizes with units, those that are no lengths or times left out.

    Parameters
    ----------
    sizes : mapping
        Size and unit by axis letter; a size may be anything that a file holds.
    channels : sequence of Channel
        One for each index of C.
    messages : sequence of str
        Sentences on what was assumed, chosen or converted.
    """
    known = {letter: (number(size), unit) for letter, (size, unit) in sizes.items()}
    spacing = {
        letter: size
        for letter, (size, unit) in known.items()
        if size is not None and short_unit(unit) is not None
    }
    units = {letter: short_unit(known[letter][1]) for letter in spacing}
    return Calibration(
        spacing=spacing,
        units=units,
        channels=tuple(channels),
        messages=tuple(messages),
    )


def number(value: Any) -> float | None:
    """A positive finite number, or None."""
    try:
        size = float(value)
    except (TypeError, ValueError):
        return None
    return size if math.isfinite(size) and size > 0 else None


def whole_number(value: Any, default: int = 0) -> int:
    """A whole number from 0 up; the default for what a damaged file holds instead."""
    size = number(value)
    return default if size is None else int(size)


def merged(first: Calibration, second: Calibration) -> Calibration:
    """Join two sources; the second adds what the first does not say."""
    return Calibration(
        spacing=second.spacing | first.spacing,
        units=second.units | first.units,
        channels=first.channels or second.channels,
        origin=second.origin | first.origin,
        name=first.name or second.name,
        messages=first.messages + second.messages,
    )


# SyntaxError is what xml.etree raises
_MALFORMED = (ValueError, TypeError, LookupError, AttributeError, SyntaxError)
_APERIO_SIZE = re.compile(r"\|\s*MPP\s*=\s*([0-9.]+)")


def instrument_calibration(
    file: tifffile.TiffFile, series: tifffile.TiffPageSeries
) -> Calibration:
    """Pixel sizes of a series by the instrument whose metadata the file holds.

    Parameters
    ----------
    file : TiffFile
        Open file.
    series : TiffPageSeries
        One of its series.
    """
    for kind, reader in _READERS.items():
        if getattr(file, f"is_{kind}", False):
            try:
                return reader(file, series)
            except _MALFORMED as error:
                return Calibration(
                    messages=(
                        f"The instrument's own metadata ({kind}) cannot be read "
                        f"({error}); set the spacing.",
                    )
                )
    return Calibration()


def _lsm(file: tifffile.TiffFile, series: tifffile.TiffPageSeries) -> Calibration:
    """Zeiss LSM: metres, time stamps in seconds, names and colours of channels."""
    if series.keyframe.is_reduced:
        return Calibration()
    metadata = file.lsm_metadata or {}
    sizes = {letter: metadata.get(f"VoxelSize{letter}") for letter in "ZYX"}
    seconds = _step(metadata.get("TimeStamps")) or metadata.get("TimeIntervall")
    colors = metadata.get("ChannelColors") or {}
    names = colors.get("ColorNames") or []
    channels = [
        Channel(name=name, color=_color(color))
        for name, color in zip(names, colors.get("Colors") or [], strict=False)
    ]
    return calibrated(
        {letter: (_scaled(size, 1e6), "um") for letter, size in sizes.items()}
        | {"T": (seconds, "s")},
        channels=channels,
    )


def _stk(file: tifffile.TiffFile, series: tifffile.TiffPageSeries) -> Calibration:
    """MetaMorph STK: sizes in the unit that the file names, Z in um, times by plane."""
    metadata = file.stk_metadata or {}
    is_calibrated = metadata.get("SpatialCalibration", True)
    unit = str(metadata.get("CalibrationUnits", "")) if is_calibrated else None
    sizes: dict[str, tuple[Any, str | None]] = {
        letter: (metadata.get(f"{letter}Calibration"), unit) for letter in "YX"
    }
    sizes["Z"] = (_middle(metadata.get("ZDistance")), "um")
    created = metadata.get("DatetimeCreated")
    if created is not None:
        sizes["T"] = (_step(created.astype("int64") * 1e-9), "s")
    return calibrated(sizes)


def _fei(file: tifffile.TiffFile, series: tifffile.TiffPageSeries) -> Calibration:
    """FEI and Thermo Fisher SEM: metres, in a section of the scan."""
    metadata = file.fei_metadata or {}
    for section in ("Scan", "EScan", "IScan"):
        scan = metadata.get(section)
        if isinstance(scan, dict) and number(scan.get("PixelWidth")):
            sizes = {"Y": scan.get("PixelHeight"), "X": scan.get("PixelWidth")}
            return calibrated({k: (_scaled(v, 1e9), "nm") for k, v in sizes.items()})
    return Calibration()


def _sem(file: tifffile.TiffFile, series: tifffile.TiffPageSeries) -> Calibration:
    """Zeiss SEM: of the stored image where it says so, else of the scan."""
    metadata = file.sem_metadata or {}
    for key in ("ap_image_pixel_size", "ap_pixel_size"):
        entry = metadata.get(key, ())
        if len(entry) == 3 and number(entry[1]):
            return calibrated(dict.fromkeys("YX", (entry[1], str(entry[2]))))
    return Calibration()


def _sis(file: tifffile.TiffFile, series: tifffile.TiffPageSeries) -> Calibration:
    """Olympus SIS: metres."""
    metadata = file.sis_metadata or {}
    sizes = {letter: metadata.get(f"pixelsize{letter.lower()}") for letter in "YX"}
    return calibrated({k: (_scaled(v, 1e6), "um") for k, v in sizes.items()})


def _svs(file: tifffile.TiffFile, series: tifffile.TiffPageSeries) -> Calibration:
    """Aperio: micrometres per pixel of the baseline, by its own description."""
    size = _APERIO_SIZE.search(series.keyframe.description)
    if size is None or series.name not in {"", "Baseline"}:
        return Calibration()
    return calibrated(dict.fromkeys("YX", (size[1], "um")))


def _metaseries(
    file: tifffile.TiffFile, series: tifffile.TiffPageSeries
) -> Calibration:
    """MetaXpress and later MetaMorph: sizes of a plane, where it is calibrated."""
    plane = (file.metaseries_metadata or {}).get("PlaneInfo", {})
    if not plane.get("spatial-calibration-state"):
        return Calibration()
    unit = str(plane.get("spatial-calibration-units", ""))
    name = str(plane.get("_IllumSetting_", ""))
    return calibrated(
        {k: (plane.get(f"spatial-calibration-{k.lower()}"), unit) for k in "YX"},
        channels=[Channel(name=name)] if "C" not in series.axes else [],
    )


def _scanimage(file: tifffile.TiffFile, series: tifffile.TiffPageSeries) -> Calibration:
    """ScanImage: field of view in micrometres, step of the stack, time of a frame."""
    settings = (file.scanimage_metadata or {}).get("FrameData")
    if not settings:
        settings = tifffile.matlabstr2py(file.pages.first.software)
    if not isinstance(settings, dict):
        return Calibration()
    corners = settings.get("SI.hRoiManager.imagingFovUm")
    fields = {
        "Y": (1, series.keyframe.imagelength),
        "X": (0, series.keyframe.imagewidth),
    }
    sizes: dict[str, tuple[Any, str | None]] = {
        letter: (_extent(corners, column, pixels), "um")
        for letter, (column, pixels) in fields.items()
    }
    sizes["Z"] = (settings.get("SI.hStackManager.stackZStepSize"), "um")
    if "Z" not in "".join(series.axes).upper():
        period = number(settings.get("SI.hRoiManager.scanFramePeriod")) or 0.0
        averaged = number(settings.get("SI.hScan2D.logAverageFactor")) or 1.0
        sizes["T"] = (period * averaged, "s")
    return calibrated(sizes)


def _extent(corners: Any, column: int, pixels: int) -> float | None:
    """Length of a field of view, given by its corners, for each of its pixels."""
    try:
        values = [float(corner[column]) for corner in corners]
        return (max(values) - min(values)) / pixels
    except (TypeError, ValueError, LookupError):
        return None


def _scaled(value: Any, factor: float) -> float | None:
    """A length in another unit, without the digits that rounding adds."""
    size = number(value)
    return None if size is None else float(f"{size * factor:.12g}")


def _middle(values: Iterable[float] | None) -> float | None:
    """Median of distances, whichever way the stage went."""
    distances = np.abs(np.asarray([] if values is None else values, dtype=float))
    return float(np.median(distances)) if distances.size else None


def _step(times: Iterable[float] | None) -> float | None:
    """Median of the time between planes."""
    return _middle(np.diff(np.asarray([] if times is None else times, dtype=float)))


def _color(values: Any) -> int | None:
    """OME colour of red, green, blue."""
    packed = bytes([*(int(value) for value in values[:3]), 255])
    return int.from_bytes(packed, "big", signed=True)


_READERS: Mapping[
    str, Callable[[tifffile.TiffFile, tifffile.TiffPageSeries], Calibration]
] = {
    "lsm": _lsm,
    "stk": _stk,
    "fei": _fei,
    "sem": _sem,
    "sis": _sis,
    "svs": _svs,
    "metaseries": _metaseries,
    "scanimage": _scanimage,
}
