"""Brushes for generated images: points, curves, tubes, discs and outlines.

All are smooth to the size of a pixel: profiles known by formula, or drawn on a grid
that is twice as fine, smoothed and thinned.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from scipy import ndimage

from training.fields import Array, Draw, Floats

Box = tuple[slice, slice]

# Pixels between two samples of a curve, and between two lines of a tube: no more than
# 1.5 times the smoothing, or they would be seen.
STEP_PX = 0.6
BESIDE_PX = 0.7
# Smoothing below this many pixels needs the finer grid.
COARSE_PX = 1.0
# What an outline is made of: directions, and waves of orders 2 to 7 around it.
ANGLES = np.linspace(-math.pi, math.pi, 257)
ORDERS = np.arange(2, 8)
WAVES = np.concatenate([f(np.outer(ORDERS, ANGLES)) for f in (np.cos, np.sin)])


def splat(places: Floats, values: Floats, side: int) -> Array:
    """Values at places between pixels, shared among the four nearest."""
    inside = ((places > -1) & (places < side)).all(axis=-1)
    places, values = places[inside], values[inside]
    base = np.floor(places).astype(np.int64)
    part = places - base
    wide = side + 2
    first = (base[:, 0] + 1) * wide + base[:, 1] + 1
    made = np.zeros(wide * wide)
    for y in (0, 1):
        row = values * (part[:, 0] if y else 1 - part[:, 0])
        for x in (0, 1):
            share = row * (part[:, 1] if x else 1 - part[:, 1])
            made += np.bincount(first + y * wide + x, share, wide * wide)
    grid: Array = made.reshape(wide, wide)[1:-1, 1:-1].astype(np.float32)
    return grid


def spots(places: Floats, values: Floats, side: int, sigma_px: float) -> Array:
    """Points as Gaussians; the sum of each is its value.

    Parameters
    ----------
    places : ndarray, shape (N, 2)
        Pixels, y before x.
    values : ndarray, shape (N,)
    side : int
        Pixels of each side.
    sigma_px : float
        Standard deviation, pixels.

    Returns
    -------
    ndarray, shape (side, side)
    """
    if sigma_px >= COARSE_PX:
        return np.asarray(
            ndimage.gaussian_filter(splat(places, values, side), sigma_px)
        )
    fine = splat(2 * places, 4 * values, 2 * side)
    # Reflected at the border, so that what crosses it does not fade there.
    rows = ndimage.gaussian_filter1d(fine, 2 * sigma_px, axis=0)[::2]
    made: Array = ndimage.gaussian_filter1d(rows, 2 * sigma_px, axis=1)[:, ::2]
    return made


def walks(
    draw: Draw,
    starts: Floats,
    angles: Floats,
    length_px: float,
    persistence_px: float,
    step_px: float = STEP_PX,
) -> Floats:
    """Curves as polymers bend, worm-like chains of one length.

    Parameters
    ----------
    draw : numpy.random.Generator
    starts : ndarray, shape (N, 2)
    angles : ndarray, shape (N,)
        Radians, at the start.
    length_px, persistence_px : float
        Pixels; over the persistence length the direction is forgotten.
    step_px : float
        Pixels between two samples.

    Returns
    -------
    ndarray, shape (N, M, 2)
    """
    many, samples = len(starts), max(2, int(length_px / step_px))
    turns = draw.standard_normal((many, samples), dtype=np.float32)
    turns *= np.float32(math.sqrt(step_px / persistence_px))
    turns += draw.normal(0, 0.5 * step_px / persistence_px, (many, 1)).astype(
        np.float32
    )
    angle = np.asarray(angles, np.float32)[:, None] + np.cumsum(turns, axis=1)
    ways = np.cumsum(np.stack([np.sin(angle), np.cos(angle)], axis=-1), axis=1)
    return np.asarray(starts, np.float32)[:, None] + np.float32(step_px) * ways


def curves(
    lines: Floats,
    brightness: Floats,
    side: int,
    sigma_px: float,
    step_px: float = STEP_PX,
) -> Array:
    """Thin curves of Gaussian profile, which add where they cross.

    Parameters
    ----------
    lines : ndarray, shape (N, M, 2)
    brightness : ndarray, broadcast to shape (N, M)
        On the middle of the curve.
    side : int
        Pixels of each side.
    sigma_px, step_px : float
        Pixels.

    Returns
    -------
    ndarray, shape (side, side)
    """
    values = np.broadcast_to(brightness, lines.shape[:2]).ravel()
    share = step_px * sigma_px * math.sqrt(2 * math.pi)
    return spots(lines.reshape(-1, 2), share * values, side, sigma_px)


def tubes(
    lines: Floats,
    brightness: Floats,
    side: int,
    radius_px: Floats | float,
    hollow: bool = False,
    sigma_px: float = 0.5,
) -> Array:
    """Curves as thick as tubes, seen from the side: filled, or only their skin.

    Parameters
    ----------
    lines : ndarray, shape (N, M, 2)
    brightness : ndarray, broadcast to shape (N, M)
    side : int
        Pixels of each side.
    radius_px : float or ndarray, broadcast to shape (N, M)
    hollow : bool
        Whether only the skin is stained.
    sigma_px : float
        Softness of the edges, pixels.

    Returns
    -------
    ndarray, shape (side, side)
    """
    along = np.gradient(lines, axis=1)
    radius = np.broadcast_to(radius_px, lines.shape[:2])
    # What bends more sharply than the tube is thick would fold its skin.
    smooth = float(radius.max()) / (float(np.abs(along).max()) + 1e-6)
    along = ndimage.gaussian_filter1d(along, smooth, axis=1, mode="nearest")
    step = np.sqrt((along**2).sum(axis=-1)) + 1e-6
    normal = np.stack([along[..., 1], -along[..., 0]], axis=-1) / step[..., None]
    count = max(3, math.ceil(2 * float(radius.max()) / BESIDE_PX))
    across = (np.arange(count) + 0.5) / count * 2 - 1
    profile = 0.3 / np.sqrt(1.08 - across**2) if hollow else np.sqrt(1 - across**2)
    offsets = radius[..., None] * across
    places = lines[:, :, None] + normal[:, :, None] * offsets[..., None]
    area = step * 2 * radius / count
    values = (np.broadcast_to(brightness, area.shape) * area)[..., None] * profile
    return spots(places.reshape(-1, 2), values.ravel(), side, sigma_px)


def discs(
    places: Floats,
    values: Floats,
    radii: Floats,
    side: int,
    edge_px: float = 1.0,
    ring_px: float = 0.0,
) -> Array:
    """Round patches that add up; with ``ring_px`` only their rims.

    Parameters
    ----------
    places : ndarray, shape (N, 2)
    values, radii : ndarray, shape (N,)
        Brightness; pixels.
    side : int
        Pixels of each side.
    edge_px : float
        Width over which an edge falls, pixels.
    ring_px : float
        Standard deviation of the rim's profile, pixels; 0 for filled discs.

    Returns
    -------
    ndarray, shape (side, side)
    """
    made = np.zeros(side * side)
    order = np.argsort(radii)
    # Discs of like size share the size of their boxes.
    for group in np.array_split(order, min(6, len(order))) if len(order) else []:
        reach = math.ceil(float(radii[group].max()) + max(edge_px, 4 * ring_px)) + 1
        base = np.rint(places[group]).astype(np.int64)
        grid = np.arange(-reach, reach + 1)
        y, x = (base[:, k, None] + grid for k in (0, 1))
        dy, dx = y - places[group, 0, None], x - places[group, 1, None]
        away = (
            np.sqrt(dy[:, :, None] ** 2 + dx[:, None] ** 2) - radii[group, None, None]
        )
        if ring_px > 0:
            shape = np.exp(-0.5 * (away / ring_px) ** 2)
        else:
            shape = step_down(away, edge_px)
        seen = ((y >= 0) & (y < side))[:, :, None] & ((x >= 0) & (x < side))[:, None]
        where = (y[:, :, None] * side + x[:, None])[seen]
        made += np.bincount(
            where, (values[group, None, None] * shape)[seen], side * side
        )
    return made.reshape(side, side).astype(np.float32)


def step_down(distance: Floats, width_px: float) -> Any:
    """From 1 inside to 0 outside, smooth over ``width_px`` pixels."""
    t = np.clip(0.5 - distance / (2 * width_px), 0, 1)
    return t * t * (3 - 2 * t)


def outline(
    draw: Draw,
    centre: Floats,
    radius_px: float,
    side: int,
    *,
    flat: float = 1.0,
    rough: float = 0.1,
    turn: float | None = None,
    margin_px: float = 4.0,
) -> tuple[Box, Array]:
    """Distance from a wobbly ellipse: negative inside, in pixels, about its edge.

    Parameters
    ----------
    draw : numpy.random.Generator
    centre : ndarray, shape (2,)
    radius_px : float
        The longer half axis.
    side : int
        Pixels of each side of the image.
    flat : float
        Short half axis as a share of the long one.
    rough : float
        Share of the radius by which the outline wobbles.
    turn : float, optional
        Radians; anyhow without it.
    margin_px : float
        How far outside of the shape the distance is wanted.

    Returns
    -------
    tuple of slice
        The part of the image.
    ndarray
        Distances there; empty where the shape lies outside of the image.
    """
    turn = draw.uniform(0, math.pi) if turn is None else turn
    seen = ANGLES - turn
    radius = radius_px * flat / np.hypot(flat * np.cos(seen), np.sin(seen))
    waves = 0.7 * rough / ORDERS * draw.standard_normal((2, 6))
    radius *= 1 + waves.ravel() @ WAVES
    radius = np.maximum(radius, 0.2 * radius_px * flat)
    reach = float(radius.max()) + margin_px
    spans = [
        slice(max(0, int(c - reach)), max(0, min(side, int(c + reach) + 1)))
        for c in centre
    ]
    box = (spans[0], spans[1])
    y = np.arange(box[0].start, box[0].stop, dtype=np.float32)[:, None] - centre[0]
    x = np.arange(box[1].start, box[1].stop, dtype=np.float32)[None] - centre[1]
    angle = np.arctan2(y, x)
    slope = np.diff(radius, append=radius[1]) / (ANGLES[1] - ANGLES[0])
    # Along the radius the edge is farther than across it.
    ratio = 1 / np.hypot(1, slope / radius)
    away = np.hypot(y, x) - np.interp(angle, ANGLES, radius)
    away *= np.interp(angle, ANGLES, ratio)
    return box, away.astype(np.float32)
