"""Shards that are encoded in memory and put on the disk as whole files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray
from zarr.codecs import BloscCodec
from zarr.storage import MemoryStore

from napari_zssr.writing import write_synced

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
