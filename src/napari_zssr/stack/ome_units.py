"""Units as OME-XML and OME-Zarr name them: lengths along Z, Y and X, times along T."""

from __future__ import annotations

from napari_zssr.stack.units import short_unit

_PREFIXES = {
    "Y": "yotta", "Z": "zetta", "E": "exa", "P": "peta", "T": "tera", "G": "giga",
    "M": "mega", "k": "kilo", "h": "hecto", "": "", "d": "deci", "c": "centi",
    "m": "milli", "u": "micro", "n": "nano", "p": "pico", "f": "femto", "a": "atto",
    "z": "zepto", "y": "yocto",
}  # fmt: skip
# Short names and words of OME-Zarr; no word where only OME-XML has the unit.
_LENGTHS = {f"{short}m": f"{word}meter" for short, word in _PREFIXES.items()}
_LENGTHS |= {"angstrom": "angstrom", "in": "inch", "ft": "foot", "yd": "yard"}
_LENGTHS |= {"mi": "mile", "pc": "parsec"}
_LENGTHS |= dict.fromkeys(("dam", "ua", "ly"), "")
_TIMES = {f"{short}s": f"{word}second" for short, word in _PREFIXES.items()}
_TIMES |= {"min": "minute", "h": "hour", "d": "day", "das": ""}
_ALONG = {"T": _TIMES, "Z": _LENGTHS, "Y": _LENGTHS, "X": _LENGTHS}

_SYMBOLS = {"um": "\u00b5m", "us": "\u00b5s", "angstrom": "\u00c5"}
_SHORT = {symbol: short for short, symbol in _SYMBOLS.items()}
_SHORT |= {word: short for short, word in (_LENGTHS | _TIMES).items() if word}


def xml_unit(unit: str | None, letter: str) -> str | None:
    """Symbol of OME-XML, None where its schema allows no such unit along an axis.

    Parameters
    ----------
    unit : str, optional
        Short name ("um").
    letter : str
        One of TZYX.
    """
    known = unit in _ALONG[letter]
    return _SYMBOLS.get(unit or "", unit) if known else None


def zarr_unit(unit: str | None, letter: str) -> str | None:
    """Word of OME-Zarr, None where it has no such unit along an axis.

    Parameters
    ----------
    unit : str, optional
        Short name ("um").
    letter : str
        One of TZYX.
    """
    return _ALONG[letter].get(unit or "") or None


def short_of_ome(text: str | None) -> str | None:
    """Short name of a symbol of OME-XML or a word of OME-Zarr, None if it has none."""
    name = _SHORT.get(text or "", text or "")
    known = name in _LENGTHS or name in _TIMES
    return name if known else short_unit(text)
