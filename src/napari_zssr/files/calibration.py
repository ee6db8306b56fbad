"""Pixel sizes, units and channels of an image, and how two sources are joined."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from napari_zssr.stack.axes import Channel, short_unit


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
