"""Names of units of length and time."""

from __future__ import annotations

import re

# ImageJ writes what is not ASCII as in Java sources
_ESCAPED = re.compile(r"\\u([0-9A-Fa-f]{4})")


def short_unit(text: str | None) -> str | None:
    """Short name of a unit of length or time ("um", "nm", "s"), None if it has none."""
    if text is None:
        return None
    plain = _ESCAPED.sub(lambda code: chr(int(code[1], 16)), text.strip())
    plain = plain.replace("\u00b5", "u").replace("\u03bc", "u")
    return _UNITS.get(plain) or _UNITS.get(plain.lower())


def in_um(size: float | None, unit: str | None) -> float | None:
    """A length in micrometres, None if it has no unit of length."""
    scale = _UM.get(unit or "")
    return None if size is None or scale is None else size * scale


_UM = {"pm": 1e-6, "angstrom": 1e-4, "nm": 1e-3, "um": 1.0, "mm": 1e3, "cm": 1e4}
_UM |= {"m": 1e6, "in": 25400.0}
_WORDS = {"pm": "picometer", "nm": "nanometer", "um": "micrometer"}
_WORDS |= {"mm": "millimeter", "cm": "centimeter", "m": "meter", "in": "inch"}
_WORDS |= {"angstrom": "angstrom", "ps": "picosecond", "ns": "nanosecond"}
_WORDS |= {"us": "microsecond", "ms": "millisecond", "s": "second"}
_WORDS |= {"min": "minute", "h": "hour", "d": "day"}
_OTHERS = {"um": ("micron", "u"), "in": ("inches",), "angstrom": ("\u00e5", "\u212b")}
_OTHERS |= {"us": ("usec",), "ms": ("msec",), "s": ("sec",), "h": ("hr", "hrs")}


def _spellings() -> dict[str, str]:
    """Short names by all that is written for them, in small letters."""
    names = {}
    for short, word in _WORDS.items():
        british = word.replace("meter", "metre")
        for name in (short, word, british, *_OTHERS.get(short, ())):
            names[name] = short
            if len(name) > 2:
                names[f"{name}s"] = short
    return names


_UNITS = _spellings()
