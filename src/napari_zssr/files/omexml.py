"""Pixel sizes, channels and optics from OME-XML."""

from __future__ import annotations

import math
from xml.etree import ElementTree

from napari_zssr.stack.axes import Channel, short_unit
from napari_zssr.stack.ome_units import short_of_ome
from napari_zssr.stack.outline import NAMESPACE
from napari_zssr.stack.spacing_record import SPACING, restore_spacing

_TO_NM = {"pm": 1e-3, "angstrom": 0.1, "nm": 1.0, "um": 1e3, "mm": 1e6}
_INDICES = {
    "Air": 1.0,
    "Water": 1.33,
    "WaterDipping": 1.33,
    "Glycerol": 1.45,
    "Oil": 1.515,
}
_MODALITIES = {
    "WideField": "widefield",
    "LaserScanningConfocalMicroscopy": "confocal",
    "SpinningDiskConfocal": "confocal",
    "SPIM": "lightsheet",
}


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
    images = [i for i in root.findall("{*}Image") if i.find("{*}Pixels") is not None]
    if not images:
        return {}, {}, ()
    chosen = images[image] if image < len(images) else images[0]
    pixels = chosen.find("{*}Pixels")
    assert pixels is not None
    spacing, units = _spacing(pixels)
    restore_spacing(_record(root), spacing, units)
    na, index = _objective(root, chosen)
    channels = [_channel(c, na, index) for c in pixels.findall("{*}Channel")]
    return spacing, units, tuple(channels)


def _record(root: ElementTree.Element) -> str | None:
    """Pixel sizes that this program has noted, since OME has no place for them."""
    path = f".//{{*}}MapAnnotation[@Namespace='{NAMESPACE}']"
    return root.findtext(f"{path}/{{*}}Value/{{*}}M[@K='{SPACING}']")


def _objective(
    root: ElementTree.Element, image: ElementTree.Element
) -> tuple[float | None, float | None]:
    """Aperture and index of the objective that an image names, or of the only one."""
    settings = image.find("{*}ObjectiveSettings")
    objectives = root.findall("{*}Instrument/{*}Objective")
    if settings is not None:
        objectives = [o for o in objectives if o.get("ID") == settings.get("ID")]
    lens = objectives[0] if len(objectives) == 1 else None
    na = None if lens is None else _number(lens.get("LensNA"))
    index = None
    if settings is not None:
        index = _number(settings.get("RefractiveIndex"))
        index = index or _INDICES.get(settings.get("Medium", ""))
    if index is None and lens is not None:
        index = _INDICES.get(lens.get("Immersion", ""))
    return na, index


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
        spacing[letter], units[letter] = size, short_of_ome(told)
    return spacing, units


def _channel(
    element: ElementTree.Element, na: float | None, index: float | None
) -> Channel:
    color = element.get("Color")
    return Channel(
        name=element.get("Name", ""),
        emission_nm=_wavelength(element, "EmissionWavelength"),
        excitation_nm=_wavelength(element, "ExcitationWavelength"),
        color=_signed(int(color)) if color and color.lstrip("-").isdigit() else None,
        na=na,
        index=index,
        modality=_MODALITIES.get(element.get("AcquisitionMode", ""), ""),
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


def image_names(xml: str) -> list[str]:
    """Names of the images that have pixels, in their order.

    Parameters
    ----------
    xml : str
        OME-XML.

    Returns
    -------
    list of str
        Empty where the XML cannot be parsed.
    """
    try:
        root = ElementTree.fromstring(xml)
    except ElementTree.ParseError:
        return []
    images = root.findall("{*}Image")
    return [i.get("Name", "") for i in images if i.find("{*}Pixels") is not None]
