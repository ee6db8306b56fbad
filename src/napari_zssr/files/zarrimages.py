"""The images of a Zarr folder: multiscales, collections, plates and wells."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import zarr

from napari_zssr.errors import InputError
from napari_zssr.files.contents import ImageEntry
from napari_zssr.files.ngff import axes_of, level_paths
from napari_zssr.files.omexml import image_names
from napari_zssr.stack.axes import axis_letters
from napari_zssr.stack.axis_names import stored_names

_DEEPEST = 3
_NOT_IMAGES = {"OME", "labels"}


@dataclass(frozen=True, slots=True, kw_only=True)
class ZarrImage:
    """One image of a Zarr folder.

    Attributes
    ----------
    inside : str
        Path of its group or array in the folder; empty for the folder itself.
    multiscale : int or None
        Which of the group's multiscales it is; None for a plain array.
    name : str
        Name, or empty.
    """

    inside: str
    multiscale: int | None
    name: str = ""


def zarr_images(path: Path, group: zarr.Group) -> tuple[ZarrImage, ...]:
    """List the images of a Zarr group.

    Parameters
    ----------
    path : Path
        Folder of the group.
    group : Group

    Returns
    -------
    tuple of ZarrImage
        Of the fields of a plate or well, the series of a bioformats2raw collection,
        the multiscales of an image, else of all images and arrays in the group.

    Raises
    ------
    InputError
        There is none.
    """
    images = tuple(_listed(path, group))
    if not images:
        raise InputError(
            f"{path.name} holds no image; give the folder of an OME-Zarr image."
        )
    return images


def zarr_entries(
    group: zarr.Group, images: Sequence[ZarrImage]
) -> tuple[ImageEntry, ...]:
    """Entries of the images of a Zarr group, in the same order.

    Parameters
    ----------
    group : Group
    images : sequence of ZarrImage
    """
    return tuple(_entry(group, index, each) for index, each in enumerate(images))


def ome_attributes(group: zarr.Group) -> Mapping[str, Any]:
    """OME's attributes of a group, wherever its version keeps them.

    Parameters
    ----------
    group : Group
    """
    attributes = dict(group.attrs)
    metadata = attributes.get("ome", attributes)
    return metadata if isinstance(metadata, Mapping) else {}


def _entry(group: zarr.Group, index: int, image: ZarrImage) -> ImageEntry:
    node: Any = group[image.inside] if image.inside else group
    if image.multiscale is None:
        axes = axis_letters(stored_names(node))
    else:
        multiscale = ome_attributes(node)["multiscales"][image.multiscale]
        node = node[level_paths(multiscale)[0]]
        axes = axes_of(multiscale, node.ndim)
    return ImageEntry(
        index=index,
        name=image.name,
        axes=axes,
        shape=tuple(node.shape),
        dtype=str(node.dtype),
    )


def _listed(path: Path, group: zarr.Group) -> Iterator[ZarrImage]:
    """The images of a group by what it says that it is."""
    metadata = ome_attributes(group)
    if metadata.get("multiscales"):
        yield from _multiscales(metadata, "")
    elif isinstance(metadata.get("plate"), Mapping):
        for well in metadata["plate"].get("wells") or ():
            yield from _fields(group, str(well["path"]))
    elif isinstance(metadata.get("well"), Mapping):
        yield from _fields(group, "")
    elif "bioformats2raw.layout" in metadata:
        yield from _series(path, group)
    else:
        yield from _members(group, "", _DEEPEST)


def _multiscales(metadata: Mapping[str, Any], inside: str) -> Iterator[ZarrImage]:
    """The images of one group: one, unless it holds several multiscales."""
    listed = metadata["multiscales"]
    for number, multiscale in enumerate(listed):
        name = str(multiscale.get("name") or "")
        if inside:
            name = inside if len(listed) == 1 else f"{inside} {name or number}"
        yield ZarrImage(inside=inside, multiscale=number, name=name)


def _fields(group: zarr.Group, well: str) -> Iterator[ZarrImage]:
    """The images of a well, those that are there."""
    node: Any = group.get(well) if well else group
    if node is None:
        return
    for image in ome_attributes(node).get("well", {}).get("images") or ():
        inside = "/".join(part for part in (well, str(image["path"])) if part)
        field = group.get(inside)
        if isinstance(field, zarr.Group):
            yield from _multiscales(ome_attributes(field), inside)


def _series(path: Path, group: zarr.Group) -> Iterator[ZarrImage]:
    """The series of a collection that bioformats2raw has written, by OME's names."""
    described: Any = group.get("OME")
    listed = ome_attributes(described).get("series") if described is not None else None
    if not listed:
        listed = sorted((k for k in group if k.isdigit()), key=int)
    xml = path / "OME" / "METADATA.ome.xml"
    names = image_names(xml.read_text(encoding="utf-8")) if xml.is_file() else []
    if len(names) != len(listed):
        names = [""] * len(listed)
    for inside, name in zip(map(str, listed), names, strict=True):
        yield ZarrImage(inside=inside, multiscale=0, name=name or inside)


def _members(group: zarr.Group, above: str, depth: int) -> Iterator[ZarrImage]:
    """The images and arrays in a group that is described as none of these."""
    for name, node in sorted(group.members()):
        inside = f"{above}{name}"
        if isinstance(node, zarr.Array):
            yield ZarrImage(inside=inside, multiscale=None, name=inside)
        elif ome_attributes(node).get("multiscales"):
            yield from _multiscales(ome_attributes(node), inside)
        elif depth > 1 and name not in _NOT_IMAGES:
            yield from _members(node, f"{inside}/", depth - 1)
