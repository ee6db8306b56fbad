"""OME-Zarr 0.5 that is written plane by plane, by many processes at once.

The group's attribute ``napari-zssr`` holds the axes of the image as it was given, and
its provenance. RGB samples stand along the channel axis, for OME-Zarr has no other;
where the image has channels too, the samples of a channel follow each other.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray
from zarr.codecs import BloscCodec
from zarr.storage import MemoryStore

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
    attributes_of,
    read_attributes,
    window_of,
    write_attributes,
)
from napari_zssr.io.pyramid import (
    BandWriter,
    halved,
    levels_of,
    nearest_halved,
    zarr_axes,
    zarr_index,
    zarr_shape,
)
from napari_zssr.stack.axes import NAMESPACE, Outline, from_cyx, plane_axes, to_cyx

_META = "zarr.json"


def new_array(
    place: Path | MemoryStore,
    *,
    shape: Sequence[int],
    dtype: Any,
    chunk: tuple[int, int],
    shard: tuple[int, int],
    names: Sequence[str] | None = None,
) -> zarr.Array[Any]:
    """Array without pixels, in chunks and shards of single planes.

    Parameters
    ----------
    place : Path or MemoryStore
        Where it is made.
    shape : sequence of int
        Size along each axis, Y and X last.
    dtype : dtype
        Type of the pixels.
    chunk, shard : tuple of int
        Pixels along (Y, X); a shard holds whole chunks.
    names : sequence of str, optional
        Names of the axes.
    """
    single = (1,) * (len(shape) - 2)
    return zarr.create_array(
        place,
        shape=tuple(shape),
        dtype=np.dtype(dtype),
        chunks=(*single, *chunk),
        shards=None if shard == chunk else (*single, *shard),
        compressors=BloscCodec(cname="zstd", clevel=3),
        fill_value=0,
        dimension_names=names,
        zarr_format=3,
    )


class ShardFiles:
    """Files of one plane on one level.

    Zarr itself would read a shard that is there before it writes the new one, which
    may be a damaged rest of a run that was killed.

    Parameters
    ----------
    array : zarr.Array
        The level.
    folder : Path
        Its folder.
    where : tuple of int or slice
        Index of the plane, without Y and X.
    """

    def __init__(
        self, array: zarr.Array[Any], folder: Path, where: tuple[int | slice, ...]
    ) -> None:
        self.size = _yx(array.shape)
        self.dtype = array.dtype
        self.folders: set[Path] = set()
        self._folder = folder
        self._where = where
        self._shard = _yx(array.shards or array.chunks)
        self._made: dict[str, Any] = {}
        self._array = new_array(
            MemoryStore(self._made),
            shape=array.shape,
            dtype=array.dtype,
            chunk=_yx(array.chunks),
            shard=self._shard,
        )

    @property
    def rows(self) -> int:
        """Rows of a shard."""
        return self._shard[0]

    def put(self, first: int, band: NDArray[Any]) -> None:
        """Store rows (C, rows, X) that begin a shard and fill it, or end the plane."""
        high, wide = self._shard
        rows = slice(first, first + band.shape[1])
        for at, sample in zip(self._samples(), band, strict=True):
            for left in range(0, self.size[1], wide):
                part = sample[:, left : left + wide]
                place: Any = (*at, rows, slice(left, left + part.shape[1]))
                self._array[place] = part
                self._store((*at, first // high, left // wide))

    def _samples(self) -> list[tuple[int, ...]]:
        """Index of each sample of the plane, without Y and X."""
        runs = [i for i in self._where if isinstance(i, slice)]
        count = runs[0].stop - runs[0].start if runs else 1
        return [
            tuple(i.start + n if isinstance(i, slice) else i for i in self._where)
            for n in range(count)
        ]

    def _store(self, number: tuple[int, ...]) -> None:
        """Move what was encoded to its file; nothing is, where all pixels are 0."""
        key = "/".join(["c", *map(str, number)])
        encoded = self._made.pop(key, None)
        path = self._folder / key
        if encoded is None:
            path.unlink(missing_ok=True)
            return
        self._make(path.parent)
        write_synced(path, encoded.as_numpy_array())
        self.folders.add(path.parent)

    def _make(self, folder: Path) -> None:
        """Make a folder and those above it, and note whose names must be synced."""
        if folder.is_dir():
            return
        self._make(folder.parent)
        folder.mkdir(exist_ok=True)
        self.folders.add(folder.parent)


def _yx(sizes: Sequence[int]) -> tuple[int, int]:
    return sizes[-2], sizes[-1]


@dataclass(frozen=True, slots=True)
class Begun:
    """An image of which some planes may be missing.

    Attributes
    ----------
    axes : str
        Letters of TCZYXS in the order of its outline.
    samples : int
        Size along S, 1 without it.
    levels : sequence of zarr.Array
        For reading, their axes in the order t, c, z, y, x.
    labels : bool
        The pixels are numbers of objects.
    """

    axes: str
    samples: int
    levels: Sequence[zarr.Array[Any]]
    labels: bool


def begun(folder: Path) -> Begun:
    """Open an image.

    Parameters
    ----------
    folder : Path
        What `create` has made.

    Raises
    ------
    InputError
        Something else is there.
    """
    try:
        attributes = read_attributes(folder)
        own = attributes[NAMESPACE]
        count = len(attributes["ome"]["multiscales"][0]["datasets"])
        return Begun(
            axes=own["axes"],
            samples=own["samples"],
            levels=[open_level(folder, n) for n in range(count)],
            labels=LABELS in attributes["ome"],
        )
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise InputError(
            f"{folder} is no image that napari-zssr has begun ({error}); give another "
            "folder."
        ) from error


def open_level(folder: Path, level: int = 0) -> zarr.Array[Any]:
    """Open one level for reading, its axes in the order t, c, z, y, x.

    Parameters
    ----------
    folder : Path
        What `create` has made.
    level : int
        Level of the pyramid.
    """
    return zarr.open_array(folder / str(level), mode="r")


Index = tuple[int | slice, ...]

# What is looked at for the contrast: planes for each channel, pixels of a plane.
_SEEN_PLANES = 16
_SEEN_PIXELS = 2**22


def create(
    folder: Path,
    outline: Outline,
    *,
    levels: int | None = None,
    provenance: Mapping[str, Any] | None = None,
) -> None:
    """Make an image without pixels; one that is there already is left as it is.

    Parameters
    ----------
    folder : Path
        Folder of the image; it appears whole, also when several processes make it.
    outline : Outline
        The image.
    levels : int, optional
        Number of levels of the pyramid; otherwise down to about 256 pixels.
    provenance : mapping, optional
        JSON-serialisable record.

    Raises
    ------
    InputError
        Another image or something else is there, or writing is not permitted.
    ComputeError
        The disk is full or fails.
    """
    draft = temporary_name(folder)
    with storage_errors(folder):
        try:
            if not folder.exists():
                make(draft, outline, levels=levels, provenance=provenance)
                _appear(draft, folder)
        finally:
            shutil.rmtree(draft, ignore_errors=True)
        if not _alike(folder, outline, _attributes(outline, levels)):
            raise InputError(
                f"{folder} is there already and holds something else; choose another "
                "name, or delete it."
            )


def make(
    folder: Path,
    outline: Outline,
    *,
    levels: int | None = None,
    provenance: Mapping[str, Any] | None = None,
) -> None:
    """Make an image without pixels where nothing is yet; see `create`.

    Raises
    ------
    OSError
        It cannot be written.
    """
    attributes = _attributes(outline, levels)
    if provenance is not None:
        attributes[NAMESPACE]["provenance"] = dict(provenance)
    zarr.create_group(folder, zarr_format=3)
    for number, level in enumerate(levels_of(outline, levels)):
        new_array(
            folder / str(number),
            shape=(*zarr_shape(outline)[:-2], *level.size),
            dtype=outline.dtype,
            chunk=level.chunk,
            shard=level.shard,
            names=list(zarr_axes(outline.axes).lower()),
        )
        sync_file(folder / str(number) / META)
        sync_folder(folder / str(number))
    write_attributes(folder, attributes)


class PlaneWriter:
    """Writes a plane on all levels.

    Parameters
    ----------
    folder : Path
        What `create` has made.
    index : tuple of int or slice
        Index of the plane in the axes of the outline, as in `PlaneIndex`.

    Raises
    ------
    InputError
        No image that was begun here.
    """

    def __init__(self, folder: Path, index: Index) -> None:
        image = begun(folder)
        where = zarr_index(index, image.axes, image.samples)
        self._axes = plane_axes(image.axes)
        self._files = [
            ShardFiles(array, folder / str(n), where)
            for n, array in enumerate(image.levels)
        ]
        writer: BandWriter | None = None
        halve = nearest_halved if image.labels else halved
        for level in reversed(self._files):
            size = (image.samples, *level.size)
            writer = BandWriter(size, level.dtype, level.rows, level.put, writer, halve)
        if writer is None:
            raise InputError(f"{folder} has no levels; give another folder.")
        self._writer = writer

    def add(self, band: NDArray[Any]) -> None:
        """Take the next rows, with the axes Y, X (and S) of the outline.

        Raises
        ------
        OSError, ValueError
            They cannot be written, or are no part of the plane.
        """
        self._writer.add(to_cyx(band, self._axes))

    def close(self) -> None:
        """Have the whole plane on the disk.

        Raises
        ------
        ValueError
            Rows are missing.
        """
        seen, rows = self._writer.seen, self._writer.shape[1]
        if seen != rows:
            raise ValueError(f"{seen} of {rows} rows were given")
        for at in sorted({at for level in self._files for at in level.folders}):
            sync_folder(at)


def write_plane(folder: Path, index: Index, bands: Iterable[NDArray[Any]]) -> None:
    """Write a plane on all levels, and have it on the disk at the end.

    Different planes can be written at the same time by any number of processes; a
    plane that was written before, or half, is written anew.

    Parameters
    ----------
    folder : Path
        What `create` has made.
    index : tuple of int or slice
        Index of the plane in the axes of the outline, as in `PlaneIndex`.
    bands : iterable of ndarray
        Rows of the plane from the first to the last, any number at a time; each has
        the axes Y, X (and S) in the order of the outline, and all columns.

    Raises
    ------
    InputError
        Writing is not permitted, or no image was begun there.
    ComputeError
        The disk is full or fails, or the bands do not make up the plane.
    """
    writer = PlaneWriter(folder, index)
    for band in bands:
        with storage_errors(folder):
            writer.add(band)
    with storage_errors(folder):
        writer.close()


def read_plane(
    folder: Path, index: Index, rows: slice = slice(None), *, level: int = 0
) -> NDArray[Any]:
    """One plane, or some rows of it, with the axes Y, X (and S) of the outline.

    Parameters
    ----------
    folder : Path
        What `create` has made.
    index : tuple of int or slice
        Index of the plane in the axes of the outline.
    rows : slice
        Rows to read.
    level : int
        Level of the pyramid.

    Raises
    ------
    InputError
        No image that was written here.
    """
    image = begun(folder)
    where = zarr_index(index, image.axes, image.samples)
    found = np.asarray(image.levels[level][(*where, rows)])
    cyx = found if "C" in zarr_axes(image.axes) else found[np.newaxis]
    return from_cyx(cyx, plane_axes(image.axes))


def complete(folder: Path, provenance: Mapping[str, Any] | None) -> None:
    """Enter what is known at the end, and remove what killed processes have left.

    Parameters
    ----------
    folder : Path
        What `create` has made, with all its planes.
    provenance : mapping, optional
        JSON-serialisable record, instead of the one there.

    Raises
    ------
    InputError
        No image that was begun here.
    OSError
        It cannot be written.
    """
    image = begun(folder)
    for draft in folder.rglob(".*"):
        draft.unlink(missing_ok=True)
    attributes = read_attributes(folder)
    shown = attributes["ome"].get("omero", {}).get("channels", ())
    for number, told in enumerate(shown):
        seen = _seen(image, number)
        if seen.size:
            told["window"] = window_of(seen)
    if provenance is not None:
        attributes[NAMESPACE]["provenance"] = dict(provenance)
    write_attributes(folder, attributes)


def _seen(image: Begun, channel: int) -> NDArray[Any]:
    """Finite pixels of some planes of a channel, on the coarsest level."""
    array = image.levels[-1]
    if array.shape[-1] * array.shape[-2] > _SEEN_PIXELS:
        return np.empty(0, array.dtype)
    letters = zarr_axes(image.axes)[:-2]
    sizes = [1 if a == "C" else n for a, n in zip(letters, array.shape, strict=False)]
    places = list(np.ndindex(*sizes))
    chosen = places[:: -(-len(places) // _SEEN_PLANES)]
    found = []
    for at in chosen:
        named = dict(zip(letters, at, strict=True)) | {"C": channel}
        plane = np.asarray(array[tuple(named[a] for a in letters)])
        found.append(plane[np.isfinite(plane)])
    return np.concatenate(found)


def _attributes(outline: Outline, levels: int | None) -> dict[str, Any]:
    return attributes_of(outline, levels_of(outline, levels))


def _appear(draft: Path, folder: Path) -> None:
    """Give a folder its name, unless another process was first."""
    try:
        draft.rename(folder)
    except OSError:
        if not (folder / META).is_file():
            raise
    sync_folder(folder.parent)


def _alike(folder: Path, outline: Outline, made: Mapping[str, Any]) -> bool:
    """Whether a folder holds the image that is to be made."""
    try:
        image = begun(folder)
        found = read_attributes(folder)
    except InputError:
        return False
    return (
        found["ome"]["multiscales"] == made["ome"]["multiscales"]
        and (image.axes, image.samples)
        == (made[NAMESPACE]["axes"], made[NAMESPACE]["samples"])
        and image.levels[0].dtype == np.dtype(outline.dtype)
        and image.levels[0].shape == zarr_shape(outline)
    )
