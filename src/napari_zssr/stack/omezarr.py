"""OME-Zarr 0.5 that is written plane by plane, by many processes at once.

The group's attribute ``napari-zssr`` holds the axes of the image as it was given, and
its provenance. RGB samples stand along the channel axis, for OME-Zarr has no other;
where the image has channels too, the samples of a channel follow each other.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray

from napari_zssr.errors import InputError
from napari_zssr.stack.axes import from_cyx, plane_axes, to_cyx
from napari_zssr.stack.layout import levels_of, zarr_axes, zarr_index, zarr_shape
from napari_zssr.stack.multiscales import ome_attributes
from napari_zssr.stack.outline import Outline
from napari_zssr.stack.pyramid import BandWriter
from napari_zssr.stack.shards import ShardFiles, new_array
from napari_zssr.writing import draft_name, storing, sync_folder, write_synced

KEY = "napari-zssr"

_META = "zarr.json"
Index = tuple[int | slice, ...]


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
    made = _attributes(outline, levels)
    told = {} if provenance is None else {"provenance": dict(provenance)}
    draft = draft_name(folder)
    with storing(folder):
        try:
            if not folder.exists():
                _make(draft, outline, made | {KEY: made[KEY] | told})
                _appear(draft, folder)
        finally:
            shutil.rmtree(draft, ignore_errors=True)
        if not _alike(folder, outline, made):
            raise InputError(
                f"{folder} is there already and holds something else; choose another "
                "name, or delete it."
            )


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
        Writing is not permitted.
    ComputeError
        The disk is full or fails, or the bands do not make up the plane.
    """
    image = _image(folder)
    where = zarr_index(index, image.axes, image.samples)
    files = [
        ShardFiles(array, folder / str(n), where)
        for n, array in enumerate(image.levels)
    ]
    top = _writer(files, image.samples)
    for band in bands:
        with storing(folder):
            top.add(to_cyx(band, plane_axes(image.axes)))
    with storing(folder):
        if top.seen != top.shape[1]:
            raise ValueError(f"{top.seen} of {top.shape[1]} rows were given")
        for at in sorted({at for level in files for at in level.folders}):
            sync_folder(at)


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
    image = _image(folder)
    where = zarr_index(index, image.axes, image.samples)
    found = np.asarray(image.levels[level][(*where, rows)])
    cyx = found if "C" in zarr_axes(image.axes) else found[np.newaxis]
    return from_cyx(cyx, plane_axes(image.axes))


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


def read_attributes(folder: Path) -> dict[str, Any]:
    """Attributes of a group, of Zarr 2 or 3; empty where there are none.

    Parameters
    ----------
    folder : Path
        Folder of the group.

    Raises
    ------
    OSError, ValueError
        They cannot be read.
    """
    if (folder / _META).is_file():
        content = json.loads((folder / _META).read_bytes())
        found = content.get("attributes") if isinstance(content, dict) else None
    elif (folder / ".zattrs").is_file():
        found = json.loads((folder / ".zattrs").read_bytes())
    else:
        found = None
    return found if isinstance(found, dict) else {}


def write_attributes(folder: Path, attributes: Mapping[str, Any]) -> None:
    """Replace the attributes of a Zarr 3 group at once, on the disk at the end.

    Parameters
    ----------
    folder : Path
        Folder of the group.
    attributes : mapping
        JSON-serialisable.
    """
    content = json.loads((folder / _META).read_bytes())
    content["attributes"] = dict(attributes)
    write_synced(folder / _META, json.dumps(content, indent=2).encode())
    sync_folder(folder)


@dataclass(frozen=True, slots=True)
class _Image:
    axes: str
    samples: int
    levels: Sequence[zarr.Array[Any]]


def _image(folder: Path) -> _Image:
    """Open an image that was made here."""
    try:
        attributes = read_attributes(folder)
        own = attributes[KEY]
        count = len(attributes["ome"]["multiscales"][0]["datasets"])
        return _Image(
            axes=own["axes"],
            samples=own["samples"],
            levels=[open_level(folder, n) for n in range(count)],
        )
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise InputError(
            f"{folder} is no image that napari-zssr has begun ({error}); give another "
            "folder."
        ) from error


def _writer(files: Sequence[ShardFiles], samples: int) -> BandWriter:
    """What takes the bands of a plane and writes them to all levels."""
    writer: BandWriter | None = None
    for level in reversed(files):
        size = (samples, *level.size)
        writer = BandWriter(size, level.dtype, level.rows, level.put, writer)
    if writer is None:
        raise ValueError("there are no levels")
    return writer


def _attributes(outline: Outline, levels: int | None) -> dict[str, Any]:
    own = {"axes": outline.axes, "samples": outline.sizes.get("S", 1)}
    return {"ome": ome_attributes(outline, levels_of(outline, levels)), KEY: own}


def _make(draft: Path, outline: Outline, attributes: Mapping[str, Any]) -> None:
    """Group, metadata and empty arrays, on the disk at the end."""
    zarr.create_group(draft, zarr_format=3)
    count = len(attributes["ome"]["multiscales"][0]["datasets"])
    for number, level in enumerate(levels_of(outline, count)):
        new_array(
            draft / str(number),
            shape=(*zarr_shape(outline)[:-2], *level.size),
            dtype=outline.dtype,
            chunk=level.chunk,
            shard=level.shard,
            names=list(zarr_axes(outline.axes).lower()),
        )
        _sync(draft / str(number))
    write_attributes(draft, attributes)


def _sync(folder: Path) -> None:
    """Have an array's metadata on the disk."""
    write_synced(folder / _META, (folder / _META).read_bytes())
    sync_folder(folder)


def _appear(draft: Path, folder: Path) -> None:
    """Give a folder its name, unless another process was first."""
    try:
        draft.rename(folder)
    except OSError:
        if not (folder / _META).is_file():
            raise
    sync_folder(folder.parent)


def _alike(folder: Path, outline: Outline, made: Mapping[str, Any]) -> bool:
    """Whether a folder holds the image that is to be made."""
    try:
        image = _image(folder)
        found = read_attributes(folder)
    except InputError:
        return False
    return (
        found["ome"]["multiscales"] == made["ome"]["multiscales"]
        and (image.axes, image.samples) == (made[KEY]["axes"], made[KEY]["samples"])
        and image.levels[0].dtype == np.dtype(outline.dtype)
        and image.levels[0].shape == zarr_shape(outline)
    )
