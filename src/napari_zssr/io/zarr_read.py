"""OME-Zarr images (0.1 to 0.6, full resolution) and plain Zarr arrays."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray
from zarr.errors import BaseZarrError

from napari_zssr.errors import InputError
from napari_zssr.io.contents import (
    FileImage,
    ImageEntry,
    ReadOptions,
    choose,
    sole_entry,
)
from napari_zssr.io.ngff import axes_of, level_paths, placement
from napari_zssr.io.ome_units import SPACING, restore_spacing
from napari_zssr.io.ome_xml import image_names
from napari_zssr.stack.axis_labels import axis_letters, stored_names
from napari_zssr.stack.image import Channel, FilePixels, full_index, to_native

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


_BROKEN = (OSError, ValueError, RuntimeError, LookupError, TypeError, BaseZarrError)


class ZarrPixels(FilePixels):
    """Pixels of a Zarr array, opened at the first use; a pickle holds its place.

    Parameters
    ----------
    path : Path
        Folder of the image.
    inside : str
        Path of the array in it; empty where the folder is the array.
    reversed_axes : sequence of int
        Numbers of the axes that are turned round.
    """

    def __init__(
        self, path: Path, inside: str = "", reversed_axes: Sequence[int] = ()
    ) -> None:
        self.path = path
        self.inside = inside
        self.reversed_axes = tuple(reversed_axes)
        self._opened: tuple[zarr.Array[Any], tuple[str, ...]] | None = None

    def __reduce__(self) -> tuple[type[ZarrPixels], tuple[Path, str, tuple[int, ...]]]:
        return ZarrPixels, (self.path, self.inside, self.reversed_axes)

    @property
    def shape(self) -> tuple[int, ...]:
        """Size along each axis."""
        return self._array().shape

    @property
    def chunks(self) -> tuple[int, ...]:
        """Pixels along each axis that are read at once."""
        return self._array().chunks

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the pixels, in the byte order of this machine."""
        return np.dtype(self._array().dtype).newbyteorder("=")

    @property
    def messages(self) -> tuple[str, ...]:
        """What is unusual about the stored chunks."""
        self._array()
        return () if self._opened is None else self._opened[1]

    def __getitem__(self, index: Any) -> NDArray[Any]:
        """Pixels for one whole number or slice an axis.

        Raises
        ------
        InputError
            A chunk cannot be decoded.
        """
        array = self._array()
        if not self.reversed_axes:
            with refused(self.path):
                return to_native(array[index])
        parts = list(full_index(index, array.shape))
        for axis in self.reversed_axes:
            parts[axis] = _mirrored(parts[axis], array.shape[axis])
        turned = tuple(
            slice(None, None, -1 if axis in self.reversed_axes else 1)
            for axis, part in enumerate(parts)
            if isinstance(part, slice)
        )
        with refused(self.path):
            return to_native(array[tuple(parts)])[turned]

    def _array(self) -> zarr.Array[Any]:
        if self._opened is None:
            with refused(self.path):
                found: Any = zarr.open(str(self.path), mode="r")
                if self.inside:
                    found = found[self.inside]
                if not isinstance(found, zarr.Array):
                    raise TypeError(f"{self.inside or 'the folder'} is no array")
                self._opened = _as_stored(found, self.path / self.inside)
        return self._opened[0]


@contextmanager
def refused(path: Path) -> Iterator[None]:
    """Turn what goes wrong into one sentence."""
    try:
        yield
    except InputError:
        raise
    except _BROKEN as error:
        text = " ".join(str(error).split())[:120]
        raise InputError(
            f"{path.name} cannot be read as OME-Zarr ({text}); copy or export it again."
        ) from error


def _mirrored(part: int | slice, size: int) -> int | slice:
    """The same pixels counted from the other end, in rising order."""
    if isinstance(part, int):
        return size - 1 - part
    wanted = range(size)[part]
    if not wanted:
        return slice(0, 0)
    return slice(size - 1 - wanted[-1], size - wanted[0], wanted.step)


def _as_stored(
    array: zarr.Array[Any], folder: Path
) -> tuple[zarr.Array[Any], tuple[str, ...]]:
    """The array with the chunk names that its folder has, and a remark on them.

    Zarr takes a chunk that it does not find for one of fill values, so names of
    another kind would read as black without a word.
    """
    told = array.metadata.to_dict()
    encoding: Any = told.get("chunk_key_encoding")
    separator = _separator(told)
    prefix = "c" if encoding and encoding.get("name") == "default" else ""
    stored = _stored_separator(folder, prefix, separator)
    if array.ndim + len(prefix) < 2 or stored == separator:
        return array, ()
    if stored is None:
        fill: Any = array.metadata.fill_value
        return array, (
            f"No chunk of {folder.name} is stored, so all its pixels are the fill "
            f"value {fill}.",
        )
    if encoding:
        told["chunk_key_encoding"] = {
            "name": encoding["name"],
            "configuration": {"separator": stored},
        }
    else:
        told["dimension_separator"] = stored
    metadata: Any = type(array.metadata).from_dict(told)
    corrected = zarr.AsyncArray(metadata=metadata, store_path=array.store_path)
    return zarr.Array(corrected), (
        f"The chunks of {folder.name} are stored with {stored!r} in their names, "
        f"although the metadata say {separator!r}; they are read as they are stored.",
    )


def _separator(told: dict[str, Any]) -> str:
    """What the metadata say is between the numbers of a chunk."""
    encoding = told.get("chunk_key_encoding")
    if not encoding:
        return str(told.get("dimension_separator") or ".")
    usual = "/" if encoding["name"] == "default" else "."
    return str((encoding.get("configuration") or {}).get("separator", usual))


def _stored_separator(folder: Path, prefix: str, expected: str) -> str | None:
    """What is between the numbers; None where no chunk is there."""
    flat = re.compile(r"c(\.\d+)+" if prefix else r"\d+(\.\d+)+")
    nested = re.compile(r"c" if prefix else r"\d+")
    found = None
    with os.scandir(folder) as entries:
        for entry in entries:
            if flat.fullmatch(entry.name):
                one = "."
            elif nested.fullmatch(entry.name) and entry.is_dir():
                one = "/"
            else:
                continue
            if one == expected:
                return one
            found = one
    return found


# Key of what this program notes of images that it has written.
OWN = "napari-zssr"


def read_zarr(path: Path, options: ReadOptions) -> FileImage:
    """Read a Zarr array, or level 0 of an OME-Zarr image.

    Parameters
    ----------
    path : Path
        Folder of the array, of the image, or of several images.
    options : ReadOptions

    Raises
    ------
    InputError
        No image in it, or it cannot be decoded.
    """
    with refused(path):
        node = zarr.open(str(path), mode="r")
        if isinstance(node, zarr.Array):
            found = _plain(path, node, "")
            choose([sole_entry(found)], options.image, path.name)
        else:
            found = _chosen(path, node, options.image)
        messages = (*found.messages, *_pixels(found).messages)
        found = replace(found, messages=messages)
        return found if options.lazy else replace(found, data=found.data[...])


def list_zarr(path: Path) -> tuple[ImageEntry, ...]:
    """List the images of a Zarr folder.

    Raises
    ------
    InputError
        It cannot be decoded.
    """
    with refused(path):
        node = zarr.open(str(path), mode="r")
        if isinstance(node, zarr.Array):
            return (sole_entry(read_zarr(path, ReadOptions(lazy=True))),)
        return zarr_entries(node, zarr_images(path, node))


def zarr_levels(path: Path, image: int | None = None) -> list[ZarrPixels]:
    """All levels of an image, the full resolution first.

    Parameters
    ----------
    path : Path
        Folder as for `read_zarr`.
    image : int, optional
        Index of the image, where there are several.

    Raises
    ------
    InputError
        As `read_zarr`.
    """
    with refused(path):
        node: Any = zarr.open(str(path), mode="r")
        if isinstance(node, zarr.Array):
            return [ZarrPixels(path)]
        chosen = zarr_images(path, node)[image or 0]
        group = node[chosen.inside] if chosen.inside else node
        if chosen.multiscale is None:
            return [ZarrPixels(path, chosen.inside)]
        full = _pixels(_level_0(path, group, chosen))
        coarser = [
            ZarrPixels(path, inside, full.reversed_axes)
            for inside in _paths(group, chosen)[1:]
        ]
        return [full, *(one for one in coarser if one.ndim == full.ndim)]


def _chosen(path: Path, group: zarr.Group, wanted: int | str | None) -> FileImage:
    """One of the images in a group, the largest unless another is asked for."""
    images = zarr_images(path, group)
    entries = zarr_entries(group, images)
    entry, messages = choose(entries, wanted, path.name)
    image = images[entry.index]
    node: Any = group[image.inside] if image.inside else group
    if image.multiscale is None:
        found = _plain(path, node, image.inside)
    else:
        found = _level_0(path, node, image)
    several = entry if len(entries) > 1 else None
    return replace(found, entry=several, messages=messages + found.messages)


def _plain(path: Path, array: zarr.Array[Any], inside: str) -> FileImage:
    """An array without OME's metadata."""
    letters = axis_letters(stored_names(array))
    return FileImage(data=ZarrPixels(path, inside), axes=letters)


def _paths(group: zarr.Group, image: ZarrImage) -> list[str]:
    """Paths of an image's levels in the folder."""
    multiscale = ome_attributes(group)["multiscales"][image.multiscale or 0]
    levels = level_paths(multiscale)
    return [f"{image.inside}/{level}" if image.inside else level for level in levels]


def _level_0(path: Path, group: zarr.Group, image: ZarrImage) -> FileImage:
    metadata, own = ome_attributes(group), dict(group.attrs).get(OWN)
    inside = _paths(group, image)[0]
    place = placement(
        metadata["multiscales"][image.multiscale or 0], ZarrPixels(path, inside).shape
    )
    spacing, units = dict(place.spacing), dict(place.units)
    if isinstance(own, Mapping):
        restore_spacing(own.get(SPACING), spacing, units)
    return FileImage(
        data=ZarrPixels(path, inside, place.reversed_axes),
        axes=_with_samples(place.axes, own),
        spacing=spacing,
        units=units,
        channels=_channels(metadata.get("omero") or {}),
        origin=place.origin,
        messages=place.messages,
        labels="image-label" in metadata,
    )


def _pixels(image: FileImage) -> ZarrPixels:
    assert isinstance(image.data, ZarrPixels)
    return image.data


def _with_samples(axes: str, own: Any) -> str:
    """Name the channels S which are the samples of an RGB image that was written."""
    told = own.get("axes", "") if isinstance(own, Mapping) else ""
    return axes.replace("C", "S") if "S" in told and "C" not in told else axes


def _channels(omero: Mapping[str, Any]) -> tuple[Channel, ...]:
    return tuple(
        Channel(
            name=str(c.get("label") or ""),
            emission_nm=_wavelength(c.get("emissionWave")),
            excitation_nm=_wavelength(c.get("excitationWave")),
            color=_color(c.get("color")),
        )
        for c in omero.get("channels") or ()
    )


def _wavelength(value: Any) -> float | None:
    usable = isinstance(value, int | float) and 0 < value < math.inf
    return float(value) if usable else None


def _color(text: Any) -> int | None:
    """OME colour from RRGGBB; one must be given, so white says nothing."""
    try:
        packed = bytes.fromhex(str(text).lstrip("#"))
    except ValueError:
        return None
    if len(packed) != 3 or packed == b"\xff\xff\xff":
        return None
    return int.from_bytes(packed + b"\xff", "big", signed=True)
