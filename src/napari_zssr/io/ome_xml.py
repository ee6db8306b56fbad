"""Pixel sizes, channels and optics from OME-XML."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from xml.etree import ElementTree

import tifffile

from napari_zssr.errors import InputError
from napari_zssr.io.calibration import Calibration, number, whole_number
from napari_zssr.io.ome_units import SPACING, restore_spacing, short_of_ome
from napari_zssr.stack.axes import NAMESPACE
from napari_zssr.stack.image import Channel, short_unit

STATED = "Stated"  # prefix of what the XML said before its sizes were corrected


def open_tiff(path: Path) -> tifffile.TiffFile:
    """Open a TIFF, or the set of OME-TIFFs that a file belongs to.

    Parameters
    ----------
    path : Path
        A TIFF, a member of a set, or its companion file.

    Raises
    ------
    InputError
        The companion file cannot be used, or it or all its members are missing.
    TiffFileError, OSError
        It is no TIFF or cannot be opened.
    """
    if path.suffix.lower() == ".ome":
        return _open_companion(path)
    with ExitStack() as opened:
        file = opened.enter_context(tifffile.TiffFile(path))
        try:
            root = ElementTree.fromstring(file.pages.first.description)
        except ElementTree.ParseError:
            root = None
        if root is None or not file.is_ome:
            opened.pop_all()
            return file
        reference = root.find("{*}BinaryOnly")
        if reference is not None:
            return _open_set(path, reference.get("MetadataFile", ""))
        if not _correct_sizes(root, file):
            opened.pop_all()
            return file
    xml = ElementTree.tostring(root, encoding="unicode")
    return tifffile.TiffFile(path, omexml=xml)


def _open_companion(path: Path) -> tifffile.TiffFile:
    """The first member of the set that is there, with the companion's XML."""
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
    """The set that a member belongs to, by the file that the member names."""
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
            f"{path.name} is no readable OME-XML ({error}); copy or export it again."
        ) from error
    if not root.tag.endswith("OME"):
        raise InputError(
            f"{path.name} is no OME-XML; give the companion file of a set of OME-TIFFs."
        )
    return ElementTree.tostring(root, encoding="unicode")


def _correct_sizes(root: ElementTree.Element, file: tifffile.TiffFile) -> bool:
    """Set sizes in the XML to those of the pages, since tifffile refuses others."""
    claims: dict[int, list[ElementTree.Element]] = {}
    for pixels in root.iterfind("{*}Image/{*}Pixels"):
        block = pixels.find("{*}TiffData")
        uuid = None if block is None else block.find("{*}UUID")
        if block is not None and (uuid is None or uuid.text == root.get("UUID")):
            claims.setdefault(whole_number(block.get("IFD")), []).append(pixels)
    # Of several images that claim a page, tifffile takes those that fit it.
    single = {ifd: images[0] for ifd, images in claims.items() if len(images) == 1}
    corrected = [_correct_size(each, file, ifd) for ifd, each in single.items()]
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
    for key, value in size.items():
        pixels.set(key, value)
        pixels.set(f"{STATED}{key}", stated[key])
    return True


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


@dataclass(frozen=True, slots=True, kw_only=True)
class PlaneAddress:
    """Where a plane of an image stands, and how large it is.

    Attributes
    ----------
    file : str
        Name of the file.
    ifd : int or None
        Number of the page in it, None where that is not known.
    height, width : int
        Size of the page.
    name : str
        Name of the image, or empty.
    """

    file: str
    ifd: int | None
    height: int
    width: int
    name: str = ""


def ome_calibration(xml: str, address: PlaneAddress, own_file: str) -> Calibration:
    """Pixel sizes, units and channels of the image that has a plane.

    Which image it is decides what its TiffData name, never the order in the XML:
    microscopes also list images whose pixels are elsewhere or were never taken.

    Parameters
    ----------
    xml : str
        OME-XML.
    address : PlaneAddress
        Where the first plane of the image stands.
    own_file : str
        Name of the file that holds the XML.

    Returns
    -------
    Calibration
        Empty where the XML says nothing; with a sentence where it cannot be told
        which of its images is meant.
    """
    try:
        root = _parsed(xml)
    except ElementTree.ParseError as error:
        return Calibration(messages=(f"The OME-XML cannot be parsed ({error}).",))
    images = [i for i in root.findall("{*}Image") if i.find("{*}Pixels") is not None]
    candidates = _images_of(root, images, address, own_file)
    readings = [_image_calibration(root, image, address) for image in candidates]
    if not readings:
        return Calibration()
    if all(
        replace(each, name="") == replace(readings[0], name="") for each in readings
    ):
        return readings[0] if len(readings) == 1 else replace(readings[0], name="")
    return Calibration(
        messages=(
            f"The OME-XML describes {len(readings)} images and does not say which of "
            "them this is; set the spacing.",
        )
    )


@lru_cache(maxsize=1)
def _parsed(xml: str) -> ElementTree.Element:
    """Root of an OME-XML, kept since each image of a file asks for the same one."""
    return ElementTree.fromstring(xml)


def _images_of(
    root: ElementTree.Element,
    images: list[ElementTree.Element],
    address: PlaneAddress,
    own_file: str,
) -> list[ElementTree.Element]:
    """The images that hold a plane, or that could, where none says so."""
    holding = [image for image in images if _holds(root, image, address, own_file)]
    if len(holding) == 1:
        return holding
    images = holding or images
    for agrees in (_has_size, _has_name):
        images = [image for image in images if agrees(image, address)] or images
    return images


def _holds(
    root: ElementTree.Element,
    image: ElementTree.Element,
    address: PlaneAddress,
    own_file: str,
) -> bool:
    """Whether one of an image's blocks of planes holds the plane."""
    for block in image.findall("{*}Pixels/{*}TiffData"):
        first = whole_number(block.get("IFD"))
        count = block.get("PlaneCount", block.get("NumPlanes"))
        planes = whole_number(count) or (1 if "IFD" in block.attrib else None)
        if _file_of(root, block, own_file).lower() != address.file.lower():
            continue
        ifd = first if address.ifd is None else address.ifd
        if first <= ifd and (planes is None or ifd < first + planes):
            return True
    return False


def _file_of(
    root: ElementTree.Element, block: ElementTree.Element, own_file: str
) -> str:
    """Name of the file of a block of planes; a renamed file is known by its UUID."""
    uuid = block.find("{*}UUID")
    if uuid is None or (uuid.text and uuid.text == root.get("UUID")):
        return own_file
    return uuid.get("FileName", own_file)


def _has_size(image: ElementTree.Element, address: PlaneAddress) -> bool:
    return _stated_size(image) == (address.height, address.width)


def _has_name(image: ElementTree.Element, address: PlaneAddress) -> bool:
    return image.get("Name", "") == address.name


def _stated_size(image: ElementTree.Element) -> tuple[int, int]:
    """Height and width by the XML, 0 where it names none."""
    pixels = image.find("{*}Pixels")
    assert pixels is not None
    height, width = (
        whole_number(pixels.get(f"{STATED}{key}", pixels.get(key)))
        for key in ("SizeY", "SizeX")
    )
    return height, width


def _image_calibration(
    root: ElementTree.Element, image: ElementTree.Element, address: PlaneAddress
) -> Calibration:
    pixels = image.find("{*}Pixels")
    assert pixels is not None
    na, index = _objective(root, image)
    channels = [_channel(c, na, index) for c in pixels.findall("{*}Channel")]
    (height, width), messages = _stated_size(image), []
    if height and width and (height, width) != (address.height, address.width):
        messages = [
            f"The OME-XML says {height} x {width} pixels (Y x X), but the pages hold "
            f"{address.height} x {address.width}, which were read; check the pixel "
            "size."
        ]
    spacing, units = _spacing(pixels)
    restore_spacing(_record(root), spacing, units)
    return Calibration(
        spacing=spacing,
        units=units,
        channels=tuple(channels),
        name=image.get("Name", ""),
        messages=tuple(messages),
    )


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
    na = None if lens is None else number(lens.get("LensNA"))
    index = None
    if settings is not None:
        index = number(settings.get("RefractiveIndex"))
        index = index or _INDICES.get(settings.get("Medium", ""))
    if index is None and lens is not None:
        index = _INDICES.get(lens.get("Immersion", ""))
    return na, index


def _spacing(
    pixels: ElementTree.Element,
) -> tuple[dict[str, float], dict[str, str | None]]:
    """Sizes and units by letter, the unit OME's default where none is named."""
    spacing: dict[str, float] = {}
    units: dict[str, str | None] = {}
    for letter, key, usual in (
        ("T", "TimeIncrement", "s"),
        ("Z", "PhysicalSizeZ", "um"),
        ("Y", "PhysicalSizeY", "um"),
        ("X", "PhysicalSizeX", "um"),
    ):
        size = number(pixels.get(key))
        unit = pixels.get(f"{key}Unit", usual)
        if size is not None and unit != "pixel":
            spacing[letter], units[letter] = size, short_of_ome(unit)
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
    length = number(element.get(key))
    scale = _TO_NM.get(short_unit(element.get(f"{key}Unit", "nm")) or "")
    return None if length is None or scale is None else length * scale


def _signed(color: int) -> int:
    """Wrap a colour that was written unsigned."""
    return (color + 2**31) % 2**32 - 2**31


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
        root = _parsed(xml)
    except ElementTree.ParseError:
        return []
    images = root.findall("{*}Image")
    return [i.get("Name", "") for i in images if i.find("{*}Pixels") is not None]
