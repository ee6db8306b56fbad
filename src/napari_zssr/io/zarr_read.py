"""Reading of OME-Zarr images (0.1 to 0.6) and plain Zarr arrays."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray

from napari_zssr.errors import InputError
from napari_zssr.io.calibration import (
    SPACING,
    pack_color,
    positive_number,
    restore_spacing,
)
from napari_zssr.io.contents import (
    Calibration,
    FileImage,
    FileImages,
    ImageEntry,
    ReadOptions,
)
from napari_zssr.io.ngff import (
    LABELS,
    axes_of,
    level_paths,
    ome_metadata,
    placement,
)
from napari_zssr.io.ome_xml import image_names
from napari_zssr.stack.axis_labels import axis_letters, stored_names
from napari_zssr.stack.image import (
    NAMESPACE,
    Channel,
    FilePixels,
    full_index,
    to_native,
)

_MAX_DEPTH = 3
_NOT_IMAGES = {"OME", "labels"}
_READ_ERRORS = (OSError, ValueError, RuntimeError, LookupError, TypeError)


@dataclass(frozen=True, slots=True, kw_only=True)
class ZarrImage:
    """One image of a Zarr folder: a plain array, or a multiscale image of a group."""

    inside: str  # path of the node in the folder; empty for the folder itself
    node: Any
    name: str = ""
    multiscale: Mapping[str, Any] | None = None

    @property
    def levels(self) -> list[str]:
        """Paths of its arrays in the folder, the full resolution first."""
        if self.multiscale is None:
            return [self.inside]
        return [_joined(self.inside, path) for path in level_paths(self.multiscale)]

    def entry(self, index: int) -> ImageEntry:
        """Entry in the list of the file's images."""
        if self.multiscale is None:
            array = self.node
            axes = axis_letters(stored_names(array))
        else:
            array = self.node[level_paths(self.multiscale)[0]]
            axes = axes_of(self.multiscale, array.ndim)
        return ImageEntry(
            index=index,
            name=self.name,
            axes=axes,
            shape=tuple(array.shape),
            dtype=str(np.dtype(array.dtype).newbyteorder("=")),
        )


def _joined(*parts: str) -> str:
    return "/".join(filter(None, parts))


@contextmanager
def opened(path: Path) -> Iterator[FileImages]:
    """The images of a Zarr folder, of which the full resolution is read."""
    with _zarr_errors(path):
        images = _images(path)
        entries = tuple(image.entry(i) for i, image in enumerate(images))
        yield FileImages(entries, partial(_load, path, images))


def _load(
    path: Path, images: Sequence[ZarrImage], entry: ImageEntry, options: ReadOptions
) -> FileImage:
    image, pixels = _file_image(path, images[entry.index])
    return image if options.lazy else replace(image, data=pixels[...])


def zarr_levels(path: Path, image: int | None = None) -> list[ZarrPixels]:
    """All resolution levels of the image with that index, the finest first."""
    with _zarr_errors(path):
        chosen = _images(path)[image or 0]
        _, full = _file_image(path, chosen)
        coarser = [
            ZarrPixels(path, inside, full.reversed_axes) for inside in chosen.levels[1:]
        ]
        return [full, *(level for level in coarser if level.ndim == full.ndim)]


@contextmanager
def _zarr_errors(path: Path) -> Iterator[None]:
    """Turn errors of reading into one sentence."""
    try:
        yield
    except InputError:
        raise
    except _READ_ERRORS as error:
        text = " ".join(str(error).split())[:120]
        raise InputError(
            f"{path.name} cannot be read as OME-Zarr ({text}); copy or export it again."
        ) from error


def _images(path: Path) -> list[ZarrImage]:
    """The images of a folder, at least one: those of its metadata, or all below it."""
    images = list(_images_in(path, zarr.open(str(path), mode="r")))
    if not images:
        raise InputError(
            f"{path.name} contains no image; give the folder of an OME-Zarr image."
        )
    return images


def _images_in(path: Path, node: Any) -> Iterator[ZarrImage]:
    metadata = ome_metadata(node)
    if isinstance(node, zarr.Array):
        yield ZarrImage(inside="", node=node)
    elif metadata.get("multiscales"):
        yield from _multiscales(node, "")
    elif isinstance(metadata.get("plate"), Mapping):
        for well in metadata["plate"].get("wells") or ():
            yield from _fields(node, str(well["path"]))
    elif isinstance(metadata.get("well"), Mapping):
        yield from _fields(node, "")
    elif "bioformats2raw.layout" in metadata:
        yield from _series(path, node)
    else:
        yield from _members(node, "", _MAX_DEPTH)


def _multiscales(group: zarr.Group, inside: str) -> Iterator[ZarrImage]:
    """The multiscales of a group, usually one."""
    listed = ome_metadata(group)["multiscales"]
    for number, multiscale in enumerate(listed):
        name = str(multiscale.get("name") or "")
        if inside:
            name = inside if len(listed) == 1 else f"{inside} {name or number}"
        yield ZarrImage(inside=inside, node=group, name=name, multiscale=multiscale)


def _fields(group: zarr.Group, well: str) -> Iterator[ZarrImage]:
    """The existing fields of a well."""
    node: Any = group.get(well) if well else group
    if node is None:
        return
    for image in ome_metadata(node).get("well", {}).get("images") or ():
        inside = _joined(well, str(image["path"]))
        field = group.get(inside)
        if isinstance(field, zarr.Group):
            yield from _multiscales(field, inside)


def _series(path: Path, group: zarr.Group) -> Iterator[ZarrImage]:
    """The series of a bioformats2raw collection, with their names in OME-XML."""
    collection: Any = group.get("OME")
    listed = ome_metadata(collection).get("series") if collection is not None else None
    if not listed:
        listed = sorted((key for key in group if key.isdigit()), key=int)
    xml = path / "OME" / "METADATA.ome.xml"
    names = image_names(xml.read_text(encoding="utf-8")) if xml.is_file() else []
    if len(names) != len(listed):
        names = [""] * len(listed)
    for inside, name in zip(map(str, listed), names, strict=True):
        node: Any = group[inside]
        multiscale = ome_metadata(node)["multiscales"][0]
        yield ZarrImage(
            inside=inside, node=node, name=name or inside, multiscale=multiscale
        )


def _members(group: zarr.Group, above: str, depth: int) -> Iterator[ZarrImage]:
    """All images and arrays in a group without OME metadata."""
    for name, node in sorted(group.members()):
        inside = _joined(above, name)
        if isinstance(node, zarr.Array):
            yield ZarrImage(inside=inside, node=node, name=inside)
        elif ome_metadata(node).get("multiscales"):
            yield from _multiscales(node, inside)
        elif depth > 1 and name not in _NOT_IMAGES:
            yield from _members(node, inside, depth - 1)


def _file_image(path: Path, image: ZarrImage) -> tuple[FileImage, ZarrPixels]:
    """The metadata and the lazy pixels of an image at full resolution."""
    pixels = ZarrPixels(path, image.levels[0])
    if image.multiscale is None:
        letters = axis_letters(stored_names(image.node))
        known = Calibration(messages=pixels.messages)
        return FileImage(data=pixels, axes=letters, calibration=known), pixels
    metadata = ome_metadata(image.node)
    axes, known, reversed_axes = placement(image.multiscale, pixels.shape)
    known = replace(
        known,
        channels=_channels(metadata.get("omero") or {}),
        messages=(*known.messages, *pixels.messages),
    )
    pixels = ZarrPixels(path, image.levels[0], reversed_axes)
    own: Any = dict(image.node.attrs).get(NAMESPACE)
    if isinstance(own, Mapping):
        restore_spacing(own.get(SPACING), known.spacing, known.units)
        # RGB samples are written as channels.
        if "S" in own.get("axes", "") and "C" not in own["axes"]:
            axes = axes.replace("C", "S")
    image_of_file = FileImage(
        data=pixels, axes=axes, calibration=known, labels=LABELS in metadata
    )
    return image_of_file, pixels


def _channels(omero: Mapping[str, Any]) -> tuple[Channel, ...]:
    return tuple(
        Channel(
            name=str(channel.get("label") or ""),
            emission_nm=positive_number(channel.get("emissionWave")),
            excitation_nm=positive_number(channel.get("excitationWave")),
            color=_color(channel.get("color")),
        )
        for channel in omero.get("channels") or ()
    )


def _color(text: Any) -> int | None:
    """OME colour of RRGGBB; None for white, which stands for no colour."""
    try:
        rgb = bytes.fromhex(str(text).lstrip("#"))
    except ValueError:
        return None
    return pack_color(rgb) if len(rgb) == 3 and rgb != b"\xff\xff\xff" else None


class ZarrPixels(FilePixels):
    """Lazy pixels of the array at the path `inside` of a folder, opened at first use.

    `reversed_axes` are the numbers of the axes that are flipped.
    """

    def __init__(
        self, path: Path, inside: str = "", reversed_axes: Sequence[int] = ()
    ) -> None:
        self.path = path.absolute()
        self.inside = inside
        self.reversed_axes = tuple(reversed_axes)

    def __reduce__(self) -> tuple[type[ZarrPixels], tuple[Path, str, tuple[int, ...]]]:
        return ZarrPixels, (self.path, self.inside, self.reversed_axes)

    @property
    def shape(self) -> tuple[int, ...]:
        """Size along each axis."""
        return self._opened[0].shape

    @property
    def chunks(self) -> tuple[int, ...]:
        """Size of a chunk along each axis."""
        return self._opened[0].chunks

    @property
    def dtype(self) -> np.dtype[Any]:
        """Pixel type in native byte order."""
        return np.dtype(self._opened[0].dtype).newbyteorder("=")

    @property
    def messages(self) -> tuple[str, ...]:
        """What is unusual about the stored chunks."""
        return self._opened[1]

    def __getitem__(self, index: Any) -> NDArray[Any]:
        """Pixels for one integer or slice per axis; InputError if not decodable."""
        array, _ = self._opened
        flipped: tuple[int, ...] = ()
        if self.reversed_axes:
            parts = list(full_index(index, array.shape))
            for axis in self.reversed_axes:
                parts[axis] = _mirrored(parts[axis], array.shape[axis])
            kept = [i for i, part in enumerate(parts) if isinstance(part, slice)]
            flipped = tuple(kept.index(i) for i in self.reversed_axes if i in kept)
            index = tuple(parts)
        with _zarr_errors(self.path):
            pixels = to_native(array[index])
        return np.flip(pixels, flipped) if flipped else pixels

    @cached_property
    def _opened(self) -> tuple[zarr.Array[Any], tuple[str, ...]]:
        with _zarr_errors(self.path):
            node: Any = zarr.open(str(self.path), mode="r")
            if self.inside:
                node = node[self.inside]
            if not isinstance(node, zarr.Array):
                raise TypeError(f"{self.inside or 'the folder'} is not an array")
            return _with_stored_separator(node, self.path / self.inside)


def _mirrored(part: int | slice, size: int) -> int | slice:
    """The same pixels counted from the other end, in ascending order."""
    if isinstance(part, int):
        return size - 1 - part
    selected = range(size)[part]
    if not selected:
        return slice(0, 0)
    return slice(size - 1 - selected[-1], size - selected[0], selected.step)


def _with_stored_separator(
    array: zarr.Array[Any], folder: Path
) -> tuple[zarr.Array[Any], tuple[str, ...]]:
    """The array with the separator of its stored chunk names, and messages.

    Zarr would read chunks with another separator than the metadata state as black.
    """
    metadata: Any = array.metadata
    encoding = getattr(metadata, "chunk_key_encoding", None)
    separator = encoding.separator if encoding else metadata.dimension_separator
    prefix = "c" if encoding and encoding.name == "default" else ""
    stored = _stored_separator(folder, prefix, separator)
    if array.ndim + len(prefix) < 2 or stored == separator:
        return array, ()
    if stored is None:
        return array, (
            f"No chunk of {folder.name} is stored, so all its pixels have the fill "
            f"value {metadata.fill_value}.",
        )
    if encoding:
        encoding = type(encoding)(separator=stored)
        metadata = replace(metadata, chunk_key_encoding=encoding)
    else:
        metadata = replace(metadata, dimension_separator=stored)
    corrected = zarr.AsyncArray(metadata=metadata, store_path=array.store_path)
    return zarr.Array(corrected), (
        f"The chunks of {folder.name} are stored with {stored!r} in their names, "
        f"although the metadata say {separator!r}; they are read as they are stored.",
    )


def _stored_separator(folder: Path, prefix: str, expected: str) -> str | None:
    """Separator of the stored chunk names, the expected one first; None without any."""
    flat = re.compile(r"c(\.\d+)+" if prefix else r"\d+(\.\d+)+")
    nested = re.compile(r"c" if prefix else r"\d+")
    separators = set()
    with os.scandir(folder) as entries:
        for entry in entries:
            if flat.fullmatch(entry.name):
                separators.add(".")
            elif nested.fullmatch(entry.name) and entry.is_dir():
                separators.add("/")
            if expected in separators:
                return expected
    return separators.pop() if separators else None
