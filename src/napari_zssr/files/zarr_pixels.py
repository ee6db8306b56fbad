"""Pixels of Zarr arrays, read when they are asked for."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray
from zarr.errors import BaseZarrError

from napari_zssr.errors import InputError
from napari_zssr.stack.source import FilePixels, full_index, native

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
                return native(array[index])
        parts = list(full_index(index, array.shape))
        for axis in self.reversed_axes:
            parts[axis] = _mirrored(parts[axis], array.shape[axis])
        turned = tuple(
            slice(None, None, -1 if axis in self.reversed_axes else 1)
            for axis, part in enumerate(parts)
            if isinstance(part, slice)
        )
        with refused(self.path):
            return native(array[tuple(parts)])[turned]

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
