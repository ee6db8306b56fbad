"""Sheets of cells: a plane parted by distance from scattered centres, walls bent."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import cKDTree

from training.drawing import step_down
from training.fields import Array, Draw, Floats, swell

NEIGHBOURS = 5
# Pixels that share one search for neighbours, down and across.
COARSE = 3


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Sheet:
    """Cells side by side.

    Attributes
    ----------
    owner, other : ndarray of int, shape (side, side)
        The cell of each pixel, and the one behind the nearest wall.
    wall : ndarray, shape (side, side)
        Distance from the nearest wall, pixels.
    centres : ndarray, shape (N, 2)
        Where the cells are.
    """

    owner: NDArray[np.int64]
    other: NDArray[np.int64]
    wall: Array
    centres: Floats

    def filled(self, values: Floats) -> Array:
        """A value a cell; their mean at a wall, so that no edge is a staircase."""
        own, other = values[self.owner], values[self.other]
        return np.asarray(own + (other - own) * step_down(self.wall, 1.0), np.float32)

    def beside(self, cells: NDArray[np.bool_]) -> Array:
        """1 where the nearest wall is one of these cells', else 0, with a soft edge."""
        beside = cells[self.owner] | cells[self.other]
        return np.asarray(ndimage.gaussian_filter(beside.astype(np.float32), 1.0))


def sheet(draw: Draw, side: int, spacing_px: float, bent: float = 0.2) -> Sheet:
    """Cells of a mean distance, of uneven sizes.

    Parameters
    ----------
    draw : numpy.random.Generator
    side : int
        Pixels of each side.
    spacing_px : float
        Mean distance of two centres, pixels.
    bent : float
        How far the walls wander, as a share of the distance.

    Returns
    -------
    Sheet
    """
    centres = _centres(draw, side, spacing_px)
    y, x = np.mgrid[:side, :side].astype(np.float32)
    for share, period in ((0.7, 0.9), (0.3, 0.4)):
        # Long waves bend a wall, shorter ones crease it.
        length = max(2.0, period * spacing_px)
        y += np.float32(share * bent * length) * swell(draw, side, length)
        x += np.float32(share * bent * length) * swell(draw, side, length)
    near = _near(centres, y, x)
    places = np.moveaxis(centres.astype(np.float32)[near], -1, 0)
    squares = (places[0] - y) ** 2 + (places[1] - x) ** 2
    first = squares.argmin(axis=0)[None]
    own = np.take_along_axis(places, first[None], axis=1)
    ways = places - own
    apart = np.sqrt((ways**2).sum(axis=0))
    with np.errstate(divide="ignore", invalid="ignore"):
        walls = (squares - np.take_along_axis(squares, first, axis=0)) / (2 * apart)
    np.put_along_axis(walls, first, np.inf, axis=0)
    second = walls.argmin(axis=0)[None]
    across = np.take_along_axis(ways / (apart + np.float32(1e-6)), second[None], axis=1)
    wall = np.take_along_axis(walls, second, axis=0)[0] / _stretch(y, x, across[:, 0])
    return Sheet(
        owner=np.take_along_axis(near, first, axis=0)[0],
        other=np.take_along_axis(near, second, axis=0)[0],
        wall=wall.astype(np.float32),
        centres=centres,
    )


def _near(centres: Floats, y: Array, x: Array) -> NDArray[np.int64]:
    """The cells that may own a pixel or adjoin it, (NEIGHBOURS, side, side)."""
    side = len(y)
    coarse = np.stack([y[::COARSE, ::COARSE], x[::COARSE, ::COARSE]], axis=-1)
    _, near = cKDTree(centres).query(coarse, k=NEIGHBOURS)
    near = np.moveaxis(near, -1, 0).repeat(COARSE, axis=1).repeat(COARSE, axis=2)
    return np.ascontiguousarray(near[:, :side, :side])


def _stretch(y: Array, x: Array, across: Array) -> Array:
    """How many bent pixels lie in a true one, at right angles to the wall."""
    slopes = [
        across[0] * down + across[1] * right
        for down, right in zip(np.gradient(y), np.gradient(x), strict=True)
    ]
    return np.asarray(np.hypot(*slopes) + 0.1, np.float32)


def _centres(draw: Draw, side: int, spacing_px: float) -> Floats:
    """Places spread by chance, none on top of another; turned anyhow."""
    reach = math.ceil(0.75 * side / spacing_px) + 2
    rows = np.arange(-reach, reach + 1)
    y, x = np.meshgrid(rows, rows, indexing="ij")
    grid = np.stack([y, x + 0.5 * (y % 2)], axis=-1).reshape(-1, 2)
    jitter = draw.uniform(0.25, 0.5)
    grid = spacing_px * (grid + draw.uniform(-jitter, jitter, grid.shape))
    turn = draw.uniform(0, math.pi)
    turned = grid @ np.array(
        [[math.cos(turn), -math.sin(turn)], [math.sin(turn), math.cos(turn)]]
    )
    turned += side / 2 + draw.uniform(-0.5, 0.5, 2) * spacing_px
    kept = (np.abs(turned - side / 2) < side / 2 + 2.5 * spacing_px).all(axis=1)
    return np.asarray(turned[kept])
