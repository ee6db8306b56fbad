"""OME-Zarr 0.5 that is written plane by plane, by many processes at once.

The group's attribute ``napari-zssr`` holds the axes of the image as it was given, and
its provenance. RGB samples stand along the channel axis, for OME-Zarr has no other;
where the image has channels too, the samples of a channel follow each other.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray

from napari_zssr.errors import InputError
from napari_zssr.stack.attributes import META, read_attributes, write_attributes
from napari_zssr.stack.axes import from_cyx, plane_axes, to_cyx
from napari_zssr.stack.begun import Begun, begun, open_level
from napari_zssr.stack.layout import levels_of, zarr_axes, zarr_index, zarr_shape
from napari_zssr.stack.multiscales import attributes_of, window_of
from napari_zssr.stack.outline import NAMESPACE, Outline
from napari_zssr.stack.pyramid import BandWriter, halved, nearest_halved
from napari_zssr.stack.shards import ShardFiles, new_array
from napari_zssr.writing import draft_name, storing, sync_file, sync_folder

__all__ = [
    "PlaneWriter",
    "complete",
    "create",
    "make",
    "open_level",
    "read_plane",
    "write_plane",
]

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
    draft = draft_name(folder)
    with storing(folder):
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
        with storing(folder):
            writer.add(band)
    with storing(folder):
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
