"""OME-Zarr 0.5, written plane by plane by any number of processes at once.

The group's attribute ``napari-zssr`` holds the original axes of the image and its
provenance. RGB samples are stored along the channel axis, as OME-Zarr has no other;
with several channels the samples of one channel follow each other.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import product, takewhile
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray
from zarr.codecs import BloscCodec
from zarr.storage import MemoryStore, StorePath

from napari_zssr.atomic import (
    storage_errors,
    sync_file,
    sync_folder,
    temporary_name,
    write_synced,
)
from napari_zssr.errors import InputError
from napari_zssr.io.ngff import (
    LABELS,
    META,
    BandWriter,
    attributes_of,
    halved,
    levels_of,
    nearest_halved,
    read_attributes,
    window_of,
    write_attributes,
    zarr_axes,
    zarr_index,
    zarr_shape,
)
from napari_zssr.stack.image import (
    NAMESPACE,
    Index,
    Outline,
    from_cyx,
    plane_axes,
    to_cyx,
)

# Contrast limits are estimated from so many planes of a channel, if these are small.
_SAMPLED_PLANES = 16
_SAMPLED_PIXELS = 2**22


@dataclass(frozen=True, slots=True)
class StoredImage:
    """An image that `create` has made, of which some planes may be missing."""

    attributes: dict[str, Any]  # of its group
    axes: str  # original axes
    samples: int  # size along S, 1 without it
    levels: list[zarr.Array[Any]]  # in the axes t, c, z, y, x


def create(folder: Path, outline: Outline, *, levels: int | None = None) -> None:
    """Create an image without pixels, unless the same one exists already.

    It appears complete, also when several processes create it.
    """
    draft = temporary_name(folder)
    with storage_errors(folder):
        try:
            if not folder.exists():
                write_empty(draft, outline, levels=levels)
                _rename_first(draft, folder)
        finally:
            shutil.rmtree(draft, ignore_errors=True)
        if not _is_same_image(folder, outline, levels):
            raise InputError(
                f"{folder} exists already with other content; choose another name, "
                "or delete it."
            )


def write_empty(folder: Path, outline: Outline, *, levels: int | None = None) -> None:
    """Write an image without pixels to a new folder."""
    zarr.create_group(folder, zarr_format=3)
    pyramid = levels_of(outline, levels)
    leading = zarr_shape(outline)[:-2]
    single = (1,) * len(leading)
    for number, level in enumerate(pyramid):
        array = folder / str(number)
        zarr.create_array(
            array,
            shape=(*leading, *level.size),
            dtype=np.dtype(outline.dtype),
            chunks=(*single, *level.chunk),
            shards=None if level.shard == level.chunk else (*single, *level.shard),
            compressors=BloscCodec(cname="zstd", clevel=3),
            fill_value=0,
            dimension_names=list(zarr_axes(outline.axes).lower()),
            zarr_format=3,
        )
        sync_file(array / META)
        sync_folder(array)
    write_attributes(folder, attributes_of(outline, pyramid))


def _rename_first(draft: Path, folder: Path) -> None:
    """Rename the draft, unless another process was first."""
    try:
        draft.rename(folder)
    except OSError:
        if not (folder / META).is_file():
            raise
    sync_folder(folder.parent)


def _is_same_image(folder: Path, outline: Outline, levels: int | None) -> bool:
    expected = attributes_of(outline, levels_of(outline, levels))
    try:
        image = _open_image(folder)
    except InputError:
        return False
    return (
        image.attributes["ome"]["multiscales"] == expected["ome"]["multiscales"]
        and image.axes == outline.axes
        and image.samples == outline.sizes.get("S", 1)
        and image.levels[0].dtype == np.dtype(outline.dtype)
        and image.levels[0].shape == zarr_shape(outline)
    )


def _open_image(folder: Path) -> StoredImage:
    """Open an image; InputError where `create` has not made one."""
    try:
        attributes = read_attributes(folder)
        own = attributes[NAMESPACE]
        count = len(attributes["ome"]["multiscales"][0]["datasets"])
        levels = [zarr.open_array(folder / str(n), mode="r") for n in range(count)]
        return StoredImage(attributes, own["axes"], own["samples"], levels)
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise InputError(
            f"{folder} is not an unfinished image of napari-zssr ({error}); give "
            "another folder."
        ) from error


def write_plane(folder: Path, index: Index, bands: Iterable[NDArray[Any]]) -> None:
    """Write or replace a plane on all levels, flushed to disk at the end.

    `index` and `bands`, any number of rows at a time, are in the axes of the outline.
    """
    writer = PlaneWriter(folder, index)
    for band in bands:
        with storage_errors(folder):
            writer.add(band)
    with storage_errors(folder):
        writer.close()


class PlaneWriter:
    """Writes one plane on all levels; see `write_plane`."""

    def __init__(self, folder: Path, index: Index) -> None:
        image = _open_image(folder)
        self._axes = plane_axes(image.axes)
        stored = zarr_index(index, image.axes, image.samples)
        self._files = [
            ShardFiles(array, folder / str(n), stored)
            for n, array in enumerate(image.levels)
        ]
        writer: BandWriter | None = None
        halve = nearest_halved if LABELS in image.attributes["ome"] else halved
        for files in reversed(self._files):
            shape = (image.samples, *files.size)
            rows = files.shard[0]
            writer = BandWriter(shape, files.dtype, rows, files.put, writer, halve)
        if writer is None:
            raise InputError(f"{folder} has no resolution levels; give another folder.")
        self._writer = writer

    def add(self, band: NDArray[Any]) -> None:
        """Take the next rows; OSError, or ValueError where they do not fit."""
        self._writer.add(to_cyx(band, self._axes))

    def close(self) -> None:
        """Flush the folders to disk; ValueError where rows are missing."""
        given, rows = self._writer.rows_added, self._writer.shape[1]
        if given != rows:
            raise ValueError(f"{given} of {rows} rows were given")
        for files in self._files:
            for folder in files.folders:
                sync_folder(folder)


class ShardFiles:
    """Files of one plane on one level, the plane at `index` without Y and X.

    Zarr itself would read an existing shard before it writes the new one, but that may
    be damaged by a run that was killed. So shards are encoded in memory first.
    """

    def __init__(self, array: zarr.Array[Any], folder: Path, index: Index) -> None:
        self.size = array.shape[-2], array.shape[-1]
        self.shard = (array.shards or array.chunks)[-2:]
        self.dtype = array.dtype
        self.folders: set[Path] = set()
        self._folder = folder
        self._index = index
        self._encoded: dict[str, Any] = {}
        store = StorePath(MemoryStore(self._encoded))
        self._array = zarr.Array.from_dict(store, array.metadata.to_dict())

    def put(self, first: int, band: NDArray[Any]) -> None:
        """Store rows (C, rows, X) that begin a shard and fill it, or end the plane."""
        height, width = self.shard
        rows = slice(first, first + band.shape[1])
        ranges = (
            range(part.start, part.stop) if isinstance(part, slice) else (part,)
            for part in self._index
        )
        for at, sample in zip(product(*ranges), band, strict=True):
            for left in range(0, band.shape[2], width):
                part = sample[:, left : left + width]
                region: Any = (*at, rows, slice(left, left + part.shape[1]))
                self._array[region] = part
                self._store((*at, first // height, left // width))

    def _store(self, shard: tuple[int, ...]) -> None:
        """Write an encoded shard to its file; without one all pixels are 0."""
        key = "/".join(["c", *map(str, shard)])
        encoded = self._encoded.pop(key, None)
        path = self._folder / key
        if encoded is None:
            path.unlink(missing_ok=True)
            return
        above = takewhile(lambda folder: not folder.is_dir(), path.parents)
        for folder in reversed(list(above)):
            folder.mkdir(exist_ok=True)
            self.folders.add(folder.parent)
        write_synced(path, encoded.as_numpy_array())
        self.folders.add(path.parent)


def read_plane(folder: Path, index: Index, rows: slice = slice(None)) -> NDArray[Any]:
    """Rows of one plane, with the axes Y, X (and S) of the outline."""
    image = _open_image(folder)
    stored = zarr_index(index, image.axes, image.samples)
    pixels = np.asarray(image.levels[0][(*stored, rows)])
    cyx = pixels if "C" in zarr_axes(image.axes) else pixels[np.newaxis]
    return from_cyx(cyx, plane_axes(image.axes))


def complete(folder: Path, provenance: Mapping[str, Any] | None) -> None:
    """Complete an image with all its planes: contrast limits, and its provenance.

    Also removes the temporary files of killed processes.
    """
    image = _open_image(folder)
    for draft in folder.rglob(".*"):
        draft.unlink(missing_ok=True)
    channels = image.attributes["ome"].get("omero", {}).get("channels", ())
    for number, channel in enumerate(channels):
        pixels = _sampled_pixels(image, number)
        if pixels.size:
            channel["window"] = window_of(pixels)
    if provenance is not None:
        image.attributes[NAMESPACE]["provenance"] = dict(provenance)
    write_attributes(folder, image.attributes)


def _sampled_pixels(image: StoredImage, channel: int) -> NDArray[Any]:
    """Finite pixels of some planes of a channel, on the coarsest level."""
    array = image.levels[-1]
    if array.shape[-1] * array.shape[-2] > _SAMPLED_PIXELS:
        return np.empty(0, array.dtype)
    sizes = dict(zip(zarr_axes(image.axes)[:-2], array.shape, strict=False))
    ranges = ([channel] if a == "C" else range(n) for a, n in sizes.items())
    planes = list(product(*ranges))
    step = -(-len(planes) // _SAMPLED_PLANES)
    sampled = [np.asarray(array[at]) for at in planes[::step]]
    return np.concatenate([plane[np.isfinite(plane)] for plane in sampled])
