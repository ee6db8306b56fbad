"""Pixel sizes and channels from OME-XML."""

from __future__ import annotations

import math
from xml.etree import ElementTree

from napari_zssr.stack.axes import Channel, short_unit

_TO_NM = {"pm": 1e-3, "angstrom": 0.1, "nm": 1.0, "um": 1e3, "mm": 1e6}


def parse_pixels(
    xml: str, image: int
) -> tuple[dict[str, float], dict[str, str | None], tuple[Channel, ...]]:
    """Spacing and units by letter, and the channels of one image.

    Parameters
    ----------
    xml : str
        OME-XML.
    image : int
        Position of the image; the first one is taken where it is not there.

    Returns
    -------
    tuple of (dict, dict, tuple of Channel)
        Empty where the XML says nothing or cannot be parsed.
    """
    try:
        root = ElementTree.fromstring(xml)
    except ElementTree.ParseError:
        return {}, {}, ()
    pixels = root.findall("{*}Image/{*}Pixels")
    if not pixels:
        return {}, {}, ()
    chosen = pixels[image] if image < len(pixels) else pixels[0]
    spacing, units = _spacing(chosen)
    return spacing, units, tuple(_channel(c) for c in chosen.findall("{*}Channel"))


def _spacing(
    pixels: ElementTree.Element,
) -> tuple[dict[str, float], dict[str, str | None]]:
    spacing: dict[str, float] = {}
    units: dict[str, str | None] = {}
    for letter, key, usual in (
        ("T", "TimeIncrement", "s"),
        ("Z", "PhysicalSizeZ", "um"),
        ("Y", "PhysicalSizeY", "um"),
        ("X", "PhysicalSizeX", "um"),
    ):
        size = _number(pixels.get(key))
        told = pixels.get(f"{key}Unit", usual)
        if size is None or told == "pixel":
            continue
        spacing[letter], units[letter] = size, short_unit(told)
    return spacing, units


def _channel(element: ElementTree.Element) -> Channel:
    color = element.get("Color")
    return Channel(
        name=element.get("Name", ""),
        emission_nm=_wavelength(element, "EmissionWavelength"),
        excitation_nm=_wavelength(element, "ExcitationWavelength"),
        color=_signed(int(color)) if color and color.lstrip("-").isdigit() else None,
    )


def _wavelength(element: ElementTree.Element, key: str) -> float | None:
    length = _number(element.get(key))
    scale = _TO_NM.get(short_unit(element.get(f"{key}Unit", "nm")) or "")
    return None if length is None or scale is None else length * scale


def _signed(color: int) -> int:
    """Wrap a colour that was written unsigned."""
    return (color + 2**31) % 2**32 - 2**31


def _number(text: str | None) -> float | None:
    try:
        value = float(text or "")
    except ValueError:
        return None
    return value if math.isfinite(value) and value > 0 else None
