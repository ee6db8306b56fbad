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
_UM |= {"m": 1e6}
_UNITS = {
    short: short for short in ("pm", "nm", "um", "mm", "cm", "m", "ms", "us", "s", "h")
} | {
    "micron": "um",
    "microns": "um",
    "micrometer": "um",
    "micrometers": "um",
    "micrometre": "um",
    "micrometres": "um",
    "picometer": "pm",
    "nanometer": "nm",
    "nanometers": "nm",
    "nanometre": "nm",
    "nanometres": "nm",
    "millimeter": "mm",
    "millimetre": "mm",
    "centimeter": "cm",
    "centimetre": "cm",
    "meter": "m",
    "metre": "m",
    "angstrom": "angstrom",
    "\u00e5": "angstrom",
    "\u00c5": "angstrom",
    "\u212b": "angstrom",
    "microsecond": "us",
    "millisecond": "ms",
    "milliseconds": "ms",
    "msec": "ms",
    "second": "s",
    "seconds": "s",
    "sec": "s",
    "min": "min",
    "minute": "min",
    "minutes": "min",
    "hour": "h",
    "hours": "h",
    "day": "d",
    "d": "d",
}
