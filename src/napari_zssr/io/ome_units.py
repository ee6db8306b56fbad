"""Units of length (Z, Y, X) and time (T) in OME-XML and OME-Zarr."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from typing import Any

from napari_zssr.stack.axes import Outline
from napari_zssr.stack.image import short_unit

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

_SYMBOLS = {"um": "\u00b5m", "us": "\u00b5s", "angstrom": "\u00c5"}
_SHORT = {symbol: short for short, symbol in _SYMBOLS.items()}
_SHORT |= {word: short for short, word in (_LENGTHS | _TIMES).items() if word}


def xml_unit(unit: str | None, letter: str) -> str | None:
    """OME-XML symbol of a unit ("um"), None where its schema has none along an axis."""
    known = unit in _ALONG[letter]
    return _SYMBOLS.get(unit or "", unit) if known else None


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
        f"{unit or 'none'} along {a}" for a, (_, unit) in record.items()
    )
    return (
        f"{format_name} cannot say the unit {named}; napari-zssr keeps it in a record "
        "of its own, other programs do not see it.",
    )


def restore_spacing(
    record: Any, spacing: dict[str, float], units: dict[str, str | None]
) -> None:
    """Update sizes and units that were read from a file by a `spacing_record`.

    The record may be JSON; a damaged one is ignored, and so is one whose sizes another
    program has changed since.
    """
    for letter, size, unit in _entries(record):
        known = spacing.get(letter, size)
        if units.get(letter) is None and math.isclose(known, size, rel_tol=1e-6):
            spacing[letter], units[letter] = size, unit


def _entries(record: Any) -> list[tuple[str, float, str | None]]:
    """Valid entries of a record, none where it is damaged."""
    try:
        content = json.loads(record) if isinstance(record, str) else record
        entries = [(a, float(size), unit) for a, (size, unit) in dict(content).items()]
    except (TypeError, ValueError):
        return []
    return [
        (letter, size, unit)
        for letter, size, unit in entries
        if math.isfinite(size) and size > 0 and isinstance(unit, str | None)
    ]
