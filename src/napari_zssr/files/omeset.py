"""Opening a TIFF with the OME-XML that describes it, wherever that stands.

A set of OME-TIFFs may keep its XML in a companion file or in one of its members; the
others then name that file and hold nothing but pixels.
"""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from xml.etree import ElementTree

import tifffile

from napari_zssr.errors import InputError
from napari_zssr.files.calibration import whole_number

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
