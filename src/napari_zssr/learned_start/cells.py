"""Sheets of cells: a plane parted by distance from scattered centres, walls bent."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from napari_zssr.learned_start.fields import Array, Draw, Floats, swell

NEIGHBOURS = 5


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Sheet:
    """Cells side by side.

    Attributes
    ----------
    owner : ndarray of int, shape (side, side)
        The cell of each pixel.
    wall : ndarray, shape (side, side)
        Distance from the nearest wall, pixels.
    centres : ndarray, shape (N, 2)
        Where the cells are.
    """

    owner: NDArray[np.int64]
    wall: Array
    centres: Floats


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
    every = 3
    tree = cKDTree(centres)
    coarse = np.stack([y[::every, ::every], x[::every, ::every]], axis=-1)
    _, near = tree.query(coarse, k=NEIGHBOURS)
    near = near.repeat(every, axis=0).repeat(every, axis=1)[:side, :side]
    places = centres[near].astype(np.float32)
    squares = (places[..., 0] - y[..., None]) ** 2 + (
        places[..., 1] - x[..., None]
    ) ** 2
    first = squares.argmin(axis=-1)[..., None]
    own = np.take_along_axis(places, first[..., None], axis=2)
    apart = np.sqrt(((places - own) ** 2).sum(axis=-1))
    nearest = np.take_along_axis(squares, first, axis=-1)
    with np.errstate(divide="ignore", invalid="ignore"):
        walls = (squares - nearest) / (2 * apart)
    np.put_along_axis(walls, first, np.inf, axis=-1)
    owner = np.take_along_axis(near, first, axis=-1)[..., 0]
    return Sheet(owner=owner, wall=walls.min(axis=-1), centres=centres)


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
