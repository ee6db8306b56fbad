"""How the pixels of an image are laid out in Zarr: levels, chunks and shards.

A chunk is what a viewer reads at once, a shard is a file. Neither crosses a plane, so
planes can be written at the same time; shards stand in bands of rows as wide as the
plane, so a plane can be written from top to bottom with one band in memory.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from napari_zssr.stack.outline import Outline

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
