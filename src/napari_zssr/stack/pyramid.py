"""Pyramids from bands of rows: each level holds the means of 2 x 2 pixels.

Of labels, whose mean is another label, it holds the first of the four.

A pixel of the next level lies half a pixel further on, in the middle of its four.
Where a side is odd, the last pixels stand for a partner that is not there.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

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
