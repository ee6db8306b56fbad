"""Layout of the pixels of an image in Zarr: levels, chunks and shards.

A viewer reads by chunks, and each shard is one file. Neither crosses a plane, so planes
can be written at the same time. Shards are bands of rows across the plane, so a plane
can be written from top to bottom with one band in memory.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_zssr.stack.axes import Outline
from napari_zssr.stack.image import Index

CHUNK = 512
SHARD_BYTES = 8 * 2**20
SMALLEST = 256

Put = Callable[[int, NDArray[Any]], None]
Halve = Callable[[NDArray[Any]], NDArray[Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Level:
    """One level of a pyramid: pixels along (Y, X) of a plane, a chunk and a shard.

    A shard holds whole chunks and may extend beyond the plane.
    """

    size: tuple[int, int]
    chunk: tuple[int, int]
    shard: tuple[int, int]


def levels_of(outline: Outline, count: int | None = None) -> tuple[Level, ...]:
    """Levels of a pyramid from full resolution, each half the size, rounded up.

    Without `count`, the shorter side of the last one has at most 256 pixels.
    """
    itemsize = np.dtype(outline.dtype).itemsize
    y, x = outline.sizes["Y"], outline.sizes["X"]
    levels = [_level(y, x, itemsize)]
    while min(y, x) > SMALLEST if count is None else len(levels) < count:
        y, x = (y + 1) // 2, (x + 1) // 2
        levels.append(_level(y, x, itemsize))
    return tuple(levels)


def _level(y: int, x: int, itemsize: int) -> Level:
    chunk = min(y, CHUNK), min(x, CHUNK)
    fitting = max(1, SHARD_BYTES // (chunk[0] * chunk[1] * itemsize))
    wide = min(-(-x // chunk[1]), fitting)
    high = min(-(-y // chunk[0]), max(1, fitting // wide))
    return Level(size=(y, x), chunk=chunk, shard=(chunk[0] * high, chunk[1] * wide))


def band_rows(outline: Outline) -> int:
    """Rows of a plane that are written at once; lower bands are buffered."""
    return min(outline.sizes["Y"], levels_of(outline, 1)[0].shard[0])


def zarr_axes(axes: str) -> str:
    """Axes in the order of OME-Zarr; RGB samples are channels there."""
    present = axes.replace("S", "C")
    return "".join(letter for letter in "TCZYX" if letter in present)


def zarr_shape(outline: Outline) -> tuple[int, ...]:
    """Size along each of `zarr_axes`."""
    sizes = outline.sizes
    sizes["C"] = sizes.get("C", 1) * sizes.get("S", 1)
    return tuple(sizes[letter] for letter in zarr_axes(outline.axes))


def zarr_index(index: Index, axes: str, samples: int) -> Index:
    """Index of a plane in Zarr, without Y and X, from that in an image with `axes`.

    A slice of `samples` along C where there is such an axis.
    """
    by_letter = dict(zip(axes, index, strict=True))
    letters = zarr_axes(axes)[:-2]
    if "C" in letters:
        channel: Any = by_letter.get("C", 0)
        by_letter["C"] = slice(channel * samples, (channel + 1) * samples)
    return tuple(by_letter[letter] for letter in letters)


def halved(band: NDArray[Any]) -> NDArray[Any]:
    """Mean of 2 x 2 pixels in the same dtype, (C, Y, X) to (C, ceil(Y/2), ceil(X/2)).

    Integers are rounded half to even.
    """
    odd = [(0, n % 2) for n in band.shape[1:]]
    padded = np.pad(band, [(0, 0), *odd], mode="edge") if (0, 1) in odd else band
    four = [padded[:, i::2, j::2] for i in (0, 1) for j in (0, 1)]
    if band.dtype.kind != "f":
        return _mean_of_integers(four)
    wide = np.promote_types(band.dtype, np.float32)
    mean: NDArray[Any] = sum(part.astype(wide) * wide.type(0.25) for part in four)
    return mean.astype(band.dtype)


def nearest_halved(band: NDArray[Any]) -> NDArray[Any]:
    """One of 2 x 2 pixels, for labels; shapes as in `halved`."""
    return band[:, ::2, ::2]


def _mean_of_integers(four: list[NDArray[Any]]) -> NDArray[Any]:
    """Mean without a wider type, which does not exist for 64-bit integers."""
    mean = sum((part >> 2 for part in four[1:]), start=four[0] >> 2)
    rest = sum((part & 3 for part in four[1:]), start=four[0] & 3)
    mean += rest >> 2
    rest &= 3
    mean += (rest == 3) | ((rest == 2) & ((mean & 1) == 1))
    return mean


class BandWriter:
    """Collects the rows of a (C, Y, X) plane into bands and passes on their halves.

    `put` stores a band (C, rows, X) given its first row; the last one may be lower.
    `rows` is even unless a band is the whole plane. `below` gets the halves, made by
    `halve`.
    """

    def __init__(
        self,
        shape: tuple[int, int, int],
        dtype: np.dtype[Any],
        rows: int,
        put: Put,
        below: BandWriter | None = None,
        halve: Halve = halved,
    ) -> None:
        self.shape = shape
        self._rows = min(rows, shape[1])
        self._put = put
        self._below = below
        self._halve = halve
        self._dtype = dtype
        self._buffer: NDArray[Any] | None = None
        self._buffered = 0
        self._stored = 0

    @property
    def rows_added(self) -> int:
        """Number of rows so far."""
        return self._stored + self._buffered

    def add(self, rows: NDArray[Any]) -> None:
        """Take the next rows, (C, any, X); ValueError where they do not fit."""
        left = self.shape[1] - self.rows_added
        if (rows.shape[0], rows.shape[2]) != self.shape[::2] or rows.shape[1] > left:
            raise ValueError(
                f"{rows.shape} rows were given where ({self.shape[0]}, {left}, "
                f"{self.shape[2]}) are left"
            )
        while rows.shape[1]:
            height = min(self._rows, self.shape[1] - self._stored)
            wanted = height - self._buffered
            part, rows = rows[:, :wanted], rows[:, wanted:]
            if part.shape[1] < height:
                part = self._with_buffered(part)
            if part.shape[1] == height:
                self._store(part)

    def _with_buffered(self, part: NDArray[Any]) -> NDArray[Any]:
        """Append rows to the buffer and return all that it holds."""
        if self._buffer is None:
            size = self.shape[0], self._rows, self.shape[2]
            self._buffer = np.empty(size, self._dtype)
        end = self._buffered + part.shape[1]
        self._buffer[:, self._buffered : end] = part
        self._buffered = end
        return self._buffer[:, :end]

    def _store(self, band: NDArray[Any]) -> None:
        self._put(self._stored, band)
        self._stored += band.shape[1]
        self._buffered = 0
        if self._below is not None:
            self._below.add(self._halve(band))
