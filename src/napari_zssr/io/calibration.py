"""Pixel sizes, units and channels: joined from sources, and as OME names them."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import tifffile

from napari_zssr.io.contents import Calibration
from napari_zssr.stack.image import Channel, Outline, short_unit, unit_text


def calibration_from(
    sizes: Mapping[str, tuple[Any, str | None]],
    *,
    channels: Sequence[Channel] = (),
    messages: Sequence[str] = (),
) -> Calibration:
    """Calibration from (size, unit) by axis letter, without invalid sizes and units."""
    spacing: dict[str, float] = {}
    units: dict[str, str | None] = {}
    for letter, (value, name) in sizes.items():
        size = positive_number(value)
        if size is not None and (unit := short_unit(name)) is not None:
            spacing[letter], units[letter] = size, unit
    return Calibration(
        spacing=spacing,
        units=units,
        channels=tuple(channels),
        messages=tuple(messages),
    )


def positive_number(value: Any) -> float | None:
    """Convert to a positive finite float, None if that is impossible."""
    try:
        size = float(value)
    except (TypeError, ValueError):
        return None
    return size if math.isfinite(size) and size > 0 else None


def positive_count(value: Any, default: int = 0) -> int:
    """Convert to a positive integer, the default if that is impossible."""
    size = positive_number(value)
    return default if size is None else int(size)


def merge(first: Calibration, second: Calibration) -> Calibration:
    """Combine two sources; the first takes precedence."""
    return Calibration(
        spacing=second.spacing | first.spacing,
        units=second.units | first.units,
        channels=first.channels or second.channels,
        origin=second.origin | first.origin,
        name=first.name or second.name,
        messages=first.messages + second.messages,
    )


def pack_color(rgb: Iterable[Any]) -> int:
    """OME colour of 8-bit red, green and blue: opaque RGBA as a signed integer."""
    return int.from_bytes(bytes([*map(int, rgb), 255]), "big", signed=True)


def series_axes(series: tifffile.TiffPageSeries) -> str:
    """Axis letters of a TIFF series in upper case, unknown ones included."""
    return "".join(series.axes).upper()


# SyntaxError is what xml.etree raises
_MALFORMED = (ValueError, TypeError, LookupError, AttributeError, SyntaxError)
_APERIO_SIZE = re.compile(r"\|\s*MPP\s*=\s*([0-9.]+)")


def instrument_calibration(
    file: tifffile.TiffFile, series: tifffile.TiffPageSeries
) -> Calibration:
    """Calibration of a series from metadata in the instrument vendor's own format."""
    for kind, reader in _READERS.items():
        if getattr(file, f"is_{kind}", False):
            try:
                return reader(file, series)
            except _MALFORMED as error:
                return Calibration(
                    messages=(
                        f"The instrument's own metadata ({kind}) cannot be read "
                        f"({error}); set the pixel size.",
                    )
                )
    return Calibration()


def _lsm(file: tifffile.TiffFile, series: tifffile.TiffPageSeries) -> Calibration:
    """Zeiss LSM: voxel size in metres, time stamps in seconds, channel colours."""
    if series.keyframe.is_reduced:
        return Calibration()
    metadata = file.lsm_metadata or {}
    sizes = {letter: metadata.get(f"VoxelSize{letter}") for letter in "ZYX"}
    seconds = _median_step(metadata.get("TimeStamps")) or metadata.get("TimeIntervall")
    colors = metadata.get("ChannelColors") or {}
    names, values = (colors.get(key) or [] for key in ("ColorNames", "Colors"))
    return calibration_from(
        {letter: (_scaled(size, 1e6), "um") for letter, size in sizes.items()}
        | {"T": (seconds, "s")},
        channels=[
            Channel(name=name, color=pack_color(color[:3]))
            for name, color in zip(names, values, strict=False)
        ],
    )


def _stk(file: tifffile.TiffFile, series: tifffile.TiffPageSeries) -> Calibration:
    """MetaMorph STK: pixel size in a stated unit, Z in um, a time for each plane."""
    metadata = file.stk_metadata or {}
    is_calibrated = metadata.get("SpatialCalibration", True)
    unit = str(metadata.get("CalibrationUnits", "")) if is_calibrated else None
    sizes: dict[str, tuple[Any, str | None]] = {
        letter: (metadata.get(f"{letter}Calibration"), unit) for letter in "YX"
    }
    sizes["Z"] = (_median_distance(metadata.get("ZDistance")), "um")
    created = metadata.get("DatetimeCreated")
    if created is not None:
        sizes["T"] = (_median_step(created.astype("int64") * 1e-9), "s")
    return calibration_from(sizes)


def _fei(file: tifffile.TiffFile, series: tifffile.TiffPageSeries) -> Calibration:
    """FEI and Thermo Fisher SEM: pixel size in metres, in a section on the scan."""
    metadata = file.fei_metadata or {}
    for section in ("Scan", "EScan", "IScan"):
        scan = metadata.get(section)
        if isinstance(scan, dict) and positive_number(scan.get("PixelWidth")):
            sizes = {"Y": scan.get("PixelHeight"), "X": scan.get("PixelWidth")}
            return calibration_from(
                {k: (_scaled(v, 1e9), "nm") for k, v in sizes.items()}
            )
    return Calibration()


def _sem(file: tifffile.TiffFile, series: tifffile.TiffPageSeries) -> Calibration:
    """Zeiss SEM: pixel size of the stored image, else of the scan."""
    metadata = file.sem_metadata or {}
    for key in ("ap_image_pixel_size", "ap_pixel_size"):
        entry = metadata.get(key, ())
        if len(entry) == 3 and positive_number(entry[1]):
            return calibration_from(dict.fromkeys("YX", (entry[1], str(entry[2]))))
    return Calibration()


def _sis(file: tifffile.TiffFile, series: tifffile.TiffPageSeries) -> Calibration:
    """Olympus SIS: pixel size in metres."""
    metadata = file.sis_metadata or {}
    sizes = {letter: metadata.get(f"pixelsize{letter.lower()}") for letter in "YX"}
    return calibration_from({k: (_scaled(v, 1e6), "um") for k, v in sizes.items()})


def _svs(file: tifffile.TiffFile, series: tifffile.TiffPageSeries) -> Calibration:
    """Aperio: micrometres per pixel in the description of the baseline image."""
    size = _APERIO_SIZE.search(series.keyframe.description)
    if size is None or series.name not in {"", "Baseline"}:
        return Calibration()
    return calibration_from(dict.fromkeys("YX", (size[1], "um")))


def _metaseries(
    file: tifffile.TiffFile, series: tifffile.TiffPageSeries
) -> Calibration:
    """MetaXpress and later MetaMorph: pixel size and illumination of a plane."""
    plane = (file.metaseries_metadata or {}).get("PlaneInfo", {})
    if not plane.get("spatial-calibration-state"):
        return Calibration()
    unit = str(plane.get("spatial-calibration-units", ""))
    name = str(plane.get("_IllumSetting_", ""))
    return calibration_from(
        {k: (plane.get(f"spatial-calibration-{k.lower()}"), unit) for k in "YX"},
        channels=[Channel(name=name)] if "C" not in series_axes(series) else [],
    )


def _scanimage(file: tifffile.TiffFile, series: tifffile.TiffPageSeries) -> Calibration:
    """ScanImage: field of view and Z step in um, frame period in s."""
    settings = (file.scanimage_metadata or {}).get("FrameData")
    if not settings:
        settings = tifffile.matlabstr2py(file.pages.first.software)
    if not isinstance(settings, dict):
        return Calibration()
    corners = settings.get("SI.hRoiManager.imagingFovUm")
    page = series.keyframe
    sizes: dict[str, tuple[Any, str | None]] = {
        "Z": (settings.get("SI.hStackManager.stackZStepSize"), "um"),
        "Y": (_extent(corners, 1, page.imagelength), "um"),
        "X": (_extent(corners, 0, page.imagewidth), "um"),
    }
    if "Z" not in series_axes(series):
        period = positive_number(settings.get("SI.hRoiManager.scanFramePeriod")) or 0.0
        averaged = positive_number(settings.get("SI.hScan2D.logAverageFactor")) or 1.0
        sizes["T"] = (period * averaged, "s")
    return calibration_from(sizes)


def _extent(corners: Any, column: int, pixels: int) -> float | None:
    """Pixel size along one column of the corners of a field of view."""
    try:
        values = [float(corner[column]) for corner in corners]
        return (max(values) - min(values)) / pixels
    except (TypeError, ValueError, LookupError):
        return None


def _scaled(value: Any, factor: float) -> float | None:
    """A length in another unit, without the digits that rounding adds."""
    size = positive_number(value)
    return None if size is None else float(f"{size * factor:.12g}")


def _median_distance(values: Iterable[float] | None) -> float | None:
    """Median of distances, whichever way the stage moved."""
    distances = np.abs(np.asarray([] if values is None else values, dtype=float))
    return float(np.median(distances)) if distances.size else None


def _median_step(times: Iterable[float] | None) -> float | None:
    """Median of the time between planes."""
    times = np.asarray([] if times is None else times, dtype=float)
    return _median_distance(np.diff(times))


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


_PREFIXES = {
    "Y": "yotta", "Z": "zetta", "E": "exa", "P": "peta", "T": "tera", "G": "giga",
    "M": "mega", "k": "kilo", "h": "hecto", "": "", "d": "deci", "c": "centi",
    "m": "milli", "u": "micro", "n": "nano", "p": "pico", "f": "femto", "a": "atto",
    "z": "zepto", "y": "yocto",
}  # fmt: skip
# OME-Zarr names by short name; empty where only OME-XML has the unit.
_LENGTHS = {f"{short}m": f"{word}meter" for short, word in _PREFIXES.items()}
_LENGTHS |= {"angstrom": "angstrom", "in": "inch", "ft": "foot", "yd": "yard"}
_LENGTHS |= {"mi": "mile", "pc": "parsec"}
_LENGTHS |= dict.fromkeys(("dam", "ua", "ly"), "")
_TIMES = {f"{short}s": f"{word}second" for short, word in _PREFIXES.items()}
_TIMES |= {"min": "minute", "h": "hour", "d": "day", "das": ""}
_ALONG = {"T": _TIMES, "Z": _LENGTHS, "Y": _LENGTHS, "X": _LENGTHS}

SPACING = "spacing"
"""Key of the record, in the part of the metadata that only this program writes."""

UnitName = Callable[[str | None, str], str | None]

_SHORT = {unit_text(short): short for short in _LENGTHS | _TIMES}
_SHORT |= {word: short for short, word in (_LENGTHS | _TIMES).items() if word}


def xml_unit(unit: str | None, letter: str) -> str | None:
    """OME-XML symbol of a unit ("um"), None where its schema has none along an axis."""
    known = unit in _ALONG[letter]
    return unit_text(unit) if known else None


def zarr_unit(unit: str | None, letter: str) -> str | None:
    """OME-Zarr name of a unit ("um"), None where it has none along an axis."""
    return _ALONG[letter].get(unit or "") or None


def short_of_ome(text: str | None) -> str | None:
    """Short name of an OME-XML symbol or an OME-Zarr name, None for unknown ones."""
    name = _SHORT.get(text or "", text or "")
    known = name in _LENGTHS or name in _TIMES
    return name if known else short_unit(text)


def spacing_record(outline: Outline, unit_name: UnitName) -> dict[str, list[Any]]:
    """Size and unit by letter, of the axes whose unit `unit_name` does not know."""
    listed = zip(outline.axes, outline.spacing, outline.units, strict=True)
    return {
        letter: [float(size), unit]
        for letter, size, unit in listed
        if size is not None and unit and letter in "TZYX"
        if unit_name(unit, letter) is None
    }


def record_messages(
    format_name: str, record: Mapping[str, list[Any]]
) -> tuple[str, ...]:
    """Message on the units of a `spacing_record` that other programs will not see."""
    if not record:
        return ()
    named = " and ".join(
        f"{unit_text(unit) or 'none'} along {a}" for a, (_, unit) in record.items()
    )
    return (
        f"{format_name} cannot store the unit {named}; only napari-zssr will read it "
        "from this file.",
    )


def restore_spacing(
    record: Any, spacing: dict[str, float], units: dict[str, str | None]
) -> None:
    """Update sizes and units that were read from a file by a `spacing_record`, or JSON.

    A damaged record is ignored, and sizes that another program has changed since.
    """
    try:
        content = json.loads(record) if isinstance(record, str) else record
        entries = [(a, float(size), unit) for a, (size, unit) in dict(content).items()]
    except (TypeError, ValueError):
        return
    for letter, size, unit in entries:
        is_valid = positive_number(size) and isinstance(unit, str | None)
        is_missing = is_valid and units.get(letter) is None
        if is_missing and math.isclose(spacing.get(letter, size), size, rel_tol=1e-6):
            spacing[letter], units[letter] = size, unit
