"""Pixel sizes in units that a format cannot name, kept in a record of this program.

A kymograph has a time along Y or X, where OME knows lengths only. Such a file holds the
size without its unit for others, and both in the record.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from typing import Any

from napari_zssr.stack.outline import Outline

SPACING = "spacing"
"""Key of the record, among what only this program writes."""

UnitName = Callable[[str | None, str], str | None]


def spacing_record(outline: Outline, unit_name: UnitName) -> dict[str, list[Any]]:
    """Size and unit of the axes whose units cannot be named, by letter.

    Parameters
    ----------
    outline : Outline
        The image.
    unit_name : callable
        Name that the format has for a unit along an axis, or None.
    """
    listed = zip(outline.axes, outline.spacing, outline.units, strict=True)
    return {
        letter: [float(size), unit]
        for letter, size, unit in listed
        if size is not None and unit and letter in "TZYX"
        if unit_name(unit, letter) is None
    }


def record_message(format_name: str, record: Mapping[str, list[Any]]) -> str:
    """Sentence for the user on the units that other programs will not see.

    Parameters
    ----------
    format_name : str
    record : mapping
        What `spacing_record` gives; not empty.
    """
    named = " and ".join(
        f"{unit or 'none'} along {a}" for a, (_, unit) in record.items()
    )
    return (
        f"{format_name} cannot say the unit {named}; napari-zssr keeps it in a record "
        "of its own, other programs do not see it."
    )


def restore_spacing(
    record: Any, spacing: dict[str, float], units: dict[str, str | None]
) -> None:
    """Enter what a record holds into sizes and units that were read from a file.

    Sizes that another program has changed since stay as they are.

    Parameters
    ----------
    record : mapping or str
        What `spacing_record` gave, or its JSON; anything else is left aside.
    spacing, units : dict
        By letter; changed in place.
    """
    for letter, size, unit in _entries(record):
        known = spacing.get(letter, size)
        if units.get(letter) is None and math.isclose(known, size, rel_tol=1e-6):
            spacing[letter], units[letter] = size, unit


def _entries(record: Any) -> list[tuple[str, float, str | None]]:
    """Entries of a record, none where it is damaged."""
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
