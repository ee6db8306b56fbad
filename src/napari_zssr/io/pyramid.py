"""How the pixels of an image are laid out in Zarr: levels, chunks and shards.

A chunk is what a viewer reads at once, a shard is a file. Neither crosses a plane, so
planes can be written at the same time; shards stand in bands of rows as wide as the
plane, so a plane can be written from top to bottom with one band in memory.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_zssr.stack.axes import Outline

CHUNK = 512
SHARD_BYTES = 8 * 2**20
SMALLEST = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class Level:
    """One level of a pyramid.

    Attributes
    ----------
    size, chunk, shard : tuple of int
        Pixels along (Y, X), of a plane, a chunk and a shard. A shard holds whole
        chunks and may reach beyond the plane.
    """

    size: tuple[int, int]
    chunk: tuple[int, int]
    shard: tuple[int, int]


def levels_of(outline: Outline, count: int | None = None) -> tuple[Level, ...]:
    """Levels of a pyramid, each half as high and wide as the one before.

    Parameters
    ----------
    outline : Outline
        The image.
    count : int, optional
        Number of levels; otherwise as many as bring the smaller side to 256 pixels
        or below.

    Returns
    -------
    tuple of Level
        The full resolution first. Odd sizes are halved upwards.
    """
    itemsize = np.dtype(outline.dtype).itemsize
    y, x = outline.sizes["Y"], outline.sizes["X"]
    listed = [_level(y, x, itemsize)]
    while min(y, x) > SMALLEST if count is None else len(listed) < count:
        y, x = (y + 1) // 2, (x + 1) // 2
        listed.append(_level(y, x, itemsize))
    return tuple(listed)


def band_rows(outline: Outline) -> int:
    """Rows of a plane that are written at once; bands of other heights are gathered.

    Parameters
    ----------
    outline : Outline
        The image.
    """
    return min(outline.sizes["Y"], levels_of(outline, 1)[0].shard[0])


def zarr_axes(axes: str) -> str:
    """Axes in the order of OME-Zarr; RGB samples are channels there.

    Parameters
    ----------
    axes : str
        Letters of TCZYXS.
    """
    told = set(axes.replace("S", "C"))
    return "".join(letter for letter in "TCZYX" if letter in told)


def zarr_shape(outline: Outline) -> tuple[int, ...]:
    """Size along each of `zarr_axes`.

    Parameters
    ----------
    outline : Outline
        The image.
    """
    sizes = outline.sizes
    sizes["C"] = sizes.get("C", 1) * sizes.get("S", 1)
    return tuple(sizes[letter] for letter in zarr_axes(outline.axes))


def zarr_index(
    index: tuple[int | slice, ...], axes: str, samples: int
) -> tuple[int | slice, ...]:
    """Where a plane stands in Zarr, before its Y and X.

    Parameters
    ----------
    index : tuple of int or slice
        Index of a plane in an image with `axes`.
    axes : str
        Letters of TCZYXS.
    samples : int
        Size along S, 1 without it.

    Returns
    -------
    tuple of int or slice
        One for each of T, C and Z; a slice of `samples` along C where there is one.
    """
    named = dict(zip(axes, index, strict=True))
    found: list[int | slice] = []
    for letter in zarr_axes(axes)[:-2]:
        value = named.get(letter, 0)
        if letter == "C" and isinstance(value, int):
            found.append(slice(value * samples, (value + 1) * samples))
        else:
            found.append(value)
    return tuple(found)


def _level(y: int, x: int, itemsize: int) -> Level:
    chunk = min(y, CHUNK), min(x, CHUNK)
    fitting = max(1, SHARD_BYTES // (chunk[0] * chunk[1] * itemsize))
    wide = min(-(-x // chunk[1]), fitting)
    high = min(-(-y // chunk[0]), max(1, fitting // wide))
    return Level(size=(y, x), chunk=chunk, shard=(chunk[0] * high, chunk[1] * wide))


Put = Callable[[int, NDArray[Any]], None]
Halve = Callable[[NDArray[Any]], NDArray[Any]]


def halved(band: NDArray[Any]) -> NDArray[Any]:
    """Mean of 2 x 2 pixels.

    Parameters
    ----------
    band : ndarray, (C, Y, X)
        Integers or floating point.

    Returns
    -------
    ndarray, (C, ceil(Y / 2), ceil(X / 2))
        In the same dtype, rounded to the nearest, and to the even one half way.
    """
    odd = [(0, n % 2) for n in band.shape[1:]]
    whole = np.pad(band, [(0, 0), *odd], mode="edge") if (0, 1) in odd else band
    four = [whole[:, i::2, j::2] for i in (0, 1) for j in (0, 1)]
    if band.dtype.kind != "f":
        return _mean_of_integers(four)
    wide = np.promote_types(band.dtype, np.float32)
    mean: NDArray[Any] = sum(part.astype(wide) * wide.type(0.25) for part in four)
    return mean.astype(band.dtype)


def nearest_halved(band: NDArray[Any]) -> NDArray[Any]:
    """One of 2 x 2 pixels, for labels.

    Parameters
    ----------
    band : ndarray, (C, Y, X)

    Returns
    -------
    ndarray, (C, ceil(Y / 2), ceil(X / 2))
    """
    return band[:, ::2, ::2]


def _mean_of_integers(four: list[NDArray[Any]]) -> NDArray[Any]:
    """Without a wider type, which 64-bit integers have not."""
    mean = sum((part >> 2 for part in four[1:]), start=four[0] >> 2)
    rest = sum((part & 3 for part in four[1:]), start=four[0] & 3)
    mean += rest >> 2
    rest &= 3
    mean += (rest == 3) | ((rest == 2) & ((mean & 1) == 1))
    return mean


class BandWriter:
    """Gathers the rows of a plane into bands and hands on their halves.

    Parameters
    ----------
    shape : tuple of int
        (C, Y, X) of the plane.
    dtype : dtype
        Type of the pixels.
    rows : int
        Rows of a band, even unless a band is the whole plane.
    put : callable
        Stores a band (C, rows, X), given its first row; the last one may be lower.
    below : BandWriter, optional
        Gets the halves.
    halve : callable
        Makes them.
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
        self._gathered: NDArray[Any] | None = None
        self._held = 0
        self._stored = 0

    @property
    def seen(self) -> int:
        """Rows that have come so far."""
        return self._stored + self._held

    def add(self, rows: NDArray[Any]) -> None:
        """Take the next rows, (C, any, X).

        Raises
        ------
        ValueError
            They are no part of the plane.
        """
        left = self.shape[1] - self.seen
        if (rows.shape[0], rows.shape[2]) != self.shape[::2] or rows.shape[1] > left:
            raise ValueError(
                f"{rows.shape} rows were given where ({self.shape[0]}, {left}, "
                f"{self.shape[2]}) are left"
            )
        while rows.shape[1]:
            wanted = min(self._rows, self.shape[1] - self._stored) - self._held
            part, rows = rows[:, :wanted], rows[:, wanted:]
            if not self._held and part.shape[1] == wanted:
                self._store(part)
                continue
            self._hold(part)
            if part.shape[1] == wanted and self._gathered is not None:
                held, self._held = self._held, 0
                self._store(self._gathered[:, :held])

    def _hold(self, part: NDArray[Any]) -> None:
        if self._gathered is None:
            size = self.shape[0], self._rows, self.shape[2]
            self._gathered = np.empty(size, self._dtype)
        self._gathered[:, self._held : self._held + part.shape[1]] = part
        self._held += part.shape[1]

    def _store(self, band: NDArray[Any]) -> None:
        self._put(self._stored, band)
        self._stored += band.shape[1]
        if self._below is not None:
            self._below.add(self._halve(band))
