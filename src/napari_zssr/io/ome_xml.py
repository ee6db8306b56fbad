"""Pixel sizes, channels and optics from OME-XML."""

from __future__ import annotations

from collections import defaultdict
from contextlib import ExitStack
from copy import deepcopy
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from xml.etree import ElementTree

import tifffile

from napari_zssr.errors import InputError
from napari_zssr.io.calibration import (
    SPACING,
    positive_count,
    positive_number,
    restore_spacing,
    short_of_ome,
)
from napari_zssr.io.contents import Calibration
from napari_zssr.stack.image import NAMESPACE, Channel, in_um, short_unit

# Attribute and default unit of the pixel size along each axis
SIZE_ATTRIBUTES = {
    "T": ("TimeIncrement", "s"),
    "Z": ("PhysicalSizeZ", "um"),
    "Y": ("PhysicalSizeY", "um"),
    "X": ("PhysicalSizeX", "um"),
}
_STATED = "Stated"  # prefix of the XML's own sizes where they were corrected
_REFRACTIVE_INDICES = {
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


def open_tiff(path: Path) -> tifffile.TiffFile:
    """Open a TIFF, or the set of OME-TIFFs that a member or companion belongs to."""
    if path.suffix.lower() == ".ome":
        return _open_companion(path)
    with ExitStack() as stack:
        file = stack.enter_context(tifffile.TiffFile(path))
        # A copy, since the original may be cached.
        root = deepcopy(parse_or_empty(file.pages.first.description))
        reference = root.find("{*}BinaryOnly") if file.is_ome else None
        if reference is not None:
            return _open_set(path, reference.get("MetadataFile", ""))
        if not file.is_ome or not _correct_sizes(root, file):
            stack.pop_all()
            return file
    xml = ElementTree.tostring(root, encoding="unicode")
    return tifffile.TiffFile(path, omexml=xml)


def _open_companion(path: Path) -> tifffile.TiffFile:
    """First existing member of the set, with the companion's XML."""
    xml = _companion_xml(path)
    names = [
        uuid.get("FileName", "")
        for uuid in ElementTree.fromstring(xml).iterfind(".//{*}TiffData/{*}UUID")
    ]
    for name in dict.fromkeys(names):
        if name and (path.parent / name).is_file():
            return tifffile.TiffFile(path.parent / name, omexml=xml)
    first = f" ({names[0]} and others)" if names else ""
    raise InputError(
        f"{path.name} describes a set of OME-TIFFs, but none of its files{first} is "
        "beside it; put them into one folder."
    )


def _open_set(path: Path, name: str) -> tifffile.TiffFile:
    """The set of a member, with the metadata file that the member names."""
    metadata = path.parent / name
    if not name or not metadata.is_file():
        raise InputError(
            f"{path.name} is part of a set of files whose description "
            f"{name or '(not named)'} is not beside it; put it into the same folder, "
            "or export the image as one OME-TIFF."
        )
    if metadata.suffix.lower() == ".ome":
        return tifffile.TiffFile(path, omexml=_companion_xml(metadata))
    return tifffile.TiffFile(metadata)


def _companion_xml(path: Path) -> str:
    try:
        root = ElementTree.parse(path).getroot()
    except ElementTree.ParseError as error:
        raise InputError(
            f"{path.name} cannot be read as OME-XML ({error}); copy or export it again."
        ) from error
    if not root.tag.endswith("OME"):
        raise InputError(
            f"{path.name} is not OME-XML; give the companion file of a set of "
            "OME-TIFFs."
        )
    return ElementTree.tostring(root, encoding="unicode")


def _correct_sizes(root: ElementTree.Element, file: tifffile.TiffFile) -> bool:
    """Whether sizes were set to those of the pages, since tifffile refuses others."""
    by_ifd = defaultdict(list)
    for pixels in root.iterfind("{*}Image/{*}Pixels"):
        block = pixels.find("{*}TiffData")
        uuid = None if block is None else block.find("{*}UUID")
        if block is not None and (uuid is None or uuid.text == root.get("UUID")):
            by_ifd[positive_count(block.get("IFD"))].append(pixels)
    # Of several images that name a page, tifffile takes those that fit it.
    corrected = [
        _correct_size(images[0], file, ifd)
        for ifd, images in by_ifd.items()
        if len(images) == 1
    ]
    return any(corrected)


def _correct_size(
    pixels: ElementTree.Element, file: tifffile.TiffFile, ifd: int
) -> bool:
    """Set the size of one image to that of its first page, where they differ."""
    try:
        page = file.pages.get(ifd).aspage()
    except IndexError:
        return False
    size = {"SizeX": str(page.imagewidth), "SizeY": str(page.imagelength)}
    stated = {key: pixels.get(key, "") for key in size}
    if stated == size:
        return False
    pixels.attrib.update(size)
    pixels.attrib.update({f"{_STATED}{key}": value for key, value in stated.items()})
    return True


def parse_or_empty(xml: str) -> ElementTree.Element:
    """Root of an OME-XML, without content where it cannot be parsed."""
    try:
        return _parse(xml)
    except ElementTree.ParseError:
        return ElementTree.Element("OME")


@lru_cache(maxsize=1)
def _parse(xml: str) -> ElementTree.Element:
    """Root of an OME-XML, cached since every image of a file needs the same."""
    return ElementTree.fromstring(xml)


@dataclass(frozen=True, slots=True, kw_only=True)
class PlaneAddress:
    """File and page number (None if unknown) of a plane, and its size and name."""

    file: str
    ifd: int | None
    height: int
    width: int
    name: str = ""


def ome_calibration(xml: str, address: PlaneAddress, own_file: str) -> Calibration:
    """Calibration of the image whose first plane has an address; own_file has the XML.

    The order in the XML tells nothing: microscopes list images that are elsewhere.
    """
    try:
        root = _parse(xml)
    except ElementTree.ParseError as error:
        return Calibration(
            messages=(
                f"The OME-XML metadata could not be read and were ignored ({error}).",
            )
        )
    candidates = [
        _image_calibration(root, image, address)
        for image in _candidate_images(root, address, own_file)
    ]
    if len(candidates) < 2:
        return candidates[0] if candidates else Calibration()
    first, *others = (replace(each, name="") for each in candidates)
    if all(other == first for other in others):
        return first
    return Calibration(
        messages=(
            f"The OME-XML describes {len(candidates)} images and does not say which of "
            "them this is; set the pixel size.",
        )
    )


def _candidate_images(
    root: ElementTree.Element, address: PlaneAddress, own_file: str
) -> list[ElementTree.Element]:
    """The images that contain a plane, or that could where none says so."""
    images = _images_with_pixels(root)
    containing = [
        image
        for image in images
        if any(
            _contains(root, block, address, own_file)
            for block in image.iterfind("{*}Pixels/{*}TiffData")
        )
    ]
    if len(containing) == 1:
        return containing
    images = containing or images
    size = (address.height, address.width)
    images = [image for image in images if _stated_size(image) == size] or images
    return [i for i in images if i.get("Name", "") == address.name] or images


def _images_with_pixels(root: ElementTree.Element) -> list[ElementTree.Element]:
    return [i for i in root.iterfind("{*}Image") if i.find("{*}Pixels") is not None]


def _contains(
    root: ElementTree.Element,
    block: ElementTree.Element,
    address: PlaneAddress,
    own_file: str,
) -> bool:
    """Whether a TiffData block contains a plane."""
    uuid = block.find("{*}UUID")
    file = own_file
    # The file itself may have been renamed, but keeps its UUID.
    if uuid is not None and (not uuid.text or uuid.text != root.get("UUID")):
        file = uuid.get("FileName", own_file)
    if file.lower() != address.file.lower():
        return False
    first = positive_count(block.get("IFD"))
    count = positive_count(block.get("PlaneCount", block.get("NumPlanes")))
    if not count and "IFD" in block.attrib:
        count = 1
    ifd = first if address.ifd is None else address.ifd
    return first <= ifd and (not count or ifd < first + count)


def _stated_size(image: ElementTree.Element) -> tuple[int, int]:
    """Height and width by the XML, 0 where it has none."""
    pixels = next(image.iterfind("{*}Pixels"))
    height, width = (
        positive_count(pixels.get(f"{_STATED}{key}", pixels.get(key)))
        for key in ("SizeY", "SizeX")
    )
    return height, width


def _image_calibration(
    root: ElementTree.Element, image: ElementTree.Element, address: PlaneAddress
) -> Calibration:
    pixels = next(image.iterfind("{*}Pixels"))
    na, index = _objective(root, image)
    channels = [_channel(c, na, index) for c in pixels.iterfind("{*}Channel")]
    (height, width), messages = _stated_size(image), []
    if height and width and (height, width) != (address.height, address.width):
        messages = [
            f"The OME-XML metadata say {height} × {width} pixels (Y × X), but the "
            f"pages hold {address.height} × {address.width}; the pages were read, so "
            "check the pixel size."
        ]
    spacing: dict[str, float] = {}
    units: dict[str, str | None] = {}
    for letter, (key, default) in SIZE_ATTRIBUTES.items():
        size = positive_number(pixels.get(key))
        unit = pixels.get(f"{key}Unit", default)
        if size is not None and unit != "pixel":
            spacing[letter], units[letter] = size, short_of_ome(unit)
    # Sizes in units that OME lacks are in an annotation of this program.
    restore_spacing(own_value(root, SPACING), spacing, units)
    return Calibration(
        spacing=spacing,
        units=units,
        channels=tuple(channels),
        name=image.get("Name", ""),
        messages=tuple(messages),
    )


def own_value(root: ElementTree.Element, key: str) -> str | None:
    """Value of a key in the annotation of this program."""
    annotation = f".//{{*}}MapAnnotation[@Namespace='{NAMESPACE}']"
    return root.findtext(f"{annotation}/{{*}}Value/{{*}}M[@K='{key}']")


def _objective(
    root: ElementTree.Element, image: ElementTree.Element
) -> tuple[float | None, float | None]:
    """NA and refractive index of the objective that an image names, or the only one."""
    settings = image.find("{*}ObjectiveSettings")
    objectives = root.findall("{*}Instrument/{*}Objective")
    index = None
    if settings is not None:
        objectives = [o for o in objectives if o.get("ID") == settings.get("ID")]
        index = positive_number(settings.get("RefractiveIndex"))
        index = index or _REFRACTIVE_INDICES.get(settings.get("Medium", ""))
    if len(objectives) != 1:
        return None, index
    lens = objectives[0]
    if index is None:
        index = _REFRACTIVE_INDICES.get(lens.get("Immersion", ""))
    return positive_number(lens.get("LensNA")), index


def _channel(
    element: ElementTree.Element, na: float | None, index: float | None
) -> Channel:
    text = element.get("Color", "")
    color = int(text) if text.lstrip("-").isdigit() else None
    if color is not None:
        color = (color + 2**31) % 2**32 - 2**31  # some programs write it unsigned
    return Channel(
        name=element.get("Name", ""),
        emission_nm=_wavelength_nm(element, "EmissionWavelength"),
        excitation_nm=_wavelength_nm(element, "ExcitationWavelength"),
        color=color,
        na=na,
        index=index,
        modality=_MODALITIES.get(element.get("AcquisitionMode", ""), ""),
    )


def _wavelength_nm(element: ElementTree.Element, key: str) -> float | None:
    length = positive_number(element.get(key))
    scale = in_um(1e3, short_unit(element.get(f"{key}Unit", "nm")))  # nm
    return None if length is None or scale is None else length * scale


def image_names(xml: str) -> list[str]:
    """Names of the images with pixels in an OME-XML, in its order."""
    return [i.get("Name", "") for i in _images_with_pixels(parse_or_empty(xml))]
