"""Whole numbers that keep the intensity of every neighbourhood.

Two things take intensity from an image or add some to it when real numbers become
integers: what lies outside the range of the type is cut off, and where the values
hardly vary they are all rounded the same way. Both are mended in squares of
`BLOCK_PX` x `BLOCK_PX` pixels that are counted from the corner of the plane, so that
neither tiles nor workers matter: the sum over each square stays what it was to 1 count
or 0.4 % of what it holds above the offset. Where a square as a whole lies below 0, its
neighbours make up for it. Each pixel stays within 1 count of its value unless that lies
outside the range or the square has to make up for others that do.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, uniform_filter

BLOCK_PX = 16
# What the sum over a block may change by: in counts, and as a fraction of the block's
# intensity above the offset.
TOLERANCE_COUNTS = 1.0
TOLERANCE = 0.004
# Sides, in blocks, of the neighbourhoods that make up for a block below 0, in turn.
NEIGHBOURHOODS = (3, 3, 3, 5, 9, 17)
# Rounds of sharing out what was cut off; a few are enough as a rule.
ROUNDS = 16

# Counts above the offset, where the intensity of an image lies, from which integers are
# fine enough.
ENOUGH_COUNTS = 10.0
# Loss of a plane's or a region's intensity that integers are not to cause.
LARGEST_LOSS = 0.005
REGIONS = 4
# Regions with less than this share of a plane's mean are too dark to be judged.
DARK = 0.25
# Smoothing that a noisy image gets, in its own pixels.
SMOOTHING_PX = 2.0


def quantized(
    values: NDArray[Any],
    dtype: np.dtype[Any],
    *,
    offset: float = 0.0,
    origin: tuple[int, int] = (0, 0),
) -> NDArray[Any]:
    """Round to integers of a type, with the sum over every block kept.

    Parameters
    ----------
    values : ndarray, shape (..., Y, X)
        Finite.
    dtype : dtype
        Of the integers.
    offset : float
        Intensity that means nothing, such as the offset of a camera.
    origin : tuple of int
        Row and column of the first pixel in its plane, from which blocks are counted.

    Returns
    -------
    ndarray, shape (..., Y, X)
    """
    exact = values.astype(np.float64, copy=False)
    limits = np.iinfo(dtype)
    rounded = np.round(exact).clip(limits.min, limits.max)
    whole = as_integers(rounded, dtype)
    for plane in np.ndindex(exact.shape[:-2]):
        _keep_sums(exact[plane], rounded[plane], whole[plane], offset, origin)
    return whole


def loses_intensity(planes: Sequence[NDArray[Any]], offset: float) -> bool:
    """Whether integers are too coarse for what a channel becomes.

    Parameters
    ----------
    planes : sequence of ndarray, shape (Y, X)
        Integers: some planes of the channel.
    offset : float
        Intensity that means nothing.

    Returns
    -------
    bool
        True where its objects hold few counts (the mean above the offset, weighted by
        itself, is below 10) and a plane, smoothed as noise is and rounded, would lose
        more than 0.5 % of its intensity or of that of one of 4 x 4 regions.
    """
    mean = float(np.mean([plane.mean() for plane in planes])) - offset
    if not 0 < mean < ENOUGH_COUNTS:
        return False
    smooth = [
        gaussian_filter(plane.astype(np.float32) - np.float32(offset), SMOOTHING_PX)
        for plane in planes
    ]
    if np.mean([(plane**2).mean() for plane in smooth]) >= ENOUGH_COUNTS * mean:
        return False
    return any(_rounding_loses(plane, offset, mean) for plane in smooth)


def _rounding_loses(smooth: NDArray[Any], offset: float, mean: float) -> bool:
    """Whether a plane or a region above `DARK` of the channel's mean changes much."""
    rounded = np.round(smooth + offset) - offset
    kept, wanted = _region_means(rounded), _region_means(smooth)
    kept, wanted = np.append(kept, kept.mean()), np.append(wanted, wanted.mean())
    judged = wanted >= DARK * mean
    loss = np.abs(kept - wanted)
    return bool((loss[judged] > LARGEST_LOSS * wanted[judged]).any())


def _region_means(plane: NDArray[Any]) -> NDArray[Any]:
    """Means over a grid of `REGIONS` x `REGIONS`, of fewer where there are no more."""
    count = min(REGIONS, *plane.shape)
    return np.array(
        [
            [part.mean() for part in np.array_split(row, count, axis=1)]
            for row in np.array_split(plane, count, axis=0)
        ]
    )


def as_integers(values: NDArray[Any], dtype: np.dtype[Any]) -> NDArray[Any]:
    """Round to integers of a type, each value by itself; same shape."""
    rounded = np.round(values)
    limits = np.iinfo(dtype)
    top = float(limits.max)
    # The largest 64-bit integers are no float64 numbers; the next one overflows.
    exact_top = top if int(top) == limits.max else float(np.nextafter(top, 0))
    whole = rounded.clip(float(limits.min), exact_top).astype(dtype)
    whole[rounded >= top] = limits.max
    return whole


def _keep_sums(
    exact: NDArray[Any],
    rounded: NDArray[Any],
    whole: NDArray[Any],
    offset: float,
    origin: tuple[int, int],
) -> None:
    """Correct, in `whole`, the blocks (Y, X) whose sums rounding has changed."""
    rows, columns = (
        _edges(size, first) for size, first in zip(exact.shape, origin, strict=True)
    )
    limits = np.iinfo(whole.dtype)
    low, high = float(limits.min), float(limits.max)
    counts = np.outer(np.diff(rows), np.diff(columns))
    kept = _sums(rounded, rows, columns)
    wanted = _sums(exact, rows, columns)
    if (wanted < low * counts).any():
        wanted = _without_debts(wanted - low * counts) + low * counts
    held = np.maximum(wanted - offset * counts, 0)
    off = np.abs(wanted - kept) > np.maximum(TOLERANCE_COUNTS, TOLERANCE * held)
    if not off.any():
        return
    for at in np.flatnonzero(off.any(axis=1)):
        band = slice(rows[at], rows[at + 1])
        places = [slice(columns[n], columns[n + 1]) for n in np.flatnonzero(off[at])]
        blocks = _stacked([exact[band, place] for place in places])
        corrected = _with_sums(blocks, wanted[at][off[at]], low, high)
        for place, block in zip(places, corrected, strict=True):
            height, width = whole[band, place].shape
            whole[band, place] = as_integers(
                block[: height * width].reshape(height, width), whole.dtype
            )


def _edges(size: int, first: int) -> NDArray[np.intp]:
    """Edges of the blocks along an axis, its ends among them."""
    inner = np.arange(-first % BLOCK_PX or BLOCK_PX, size, BLOCK_PX)
    return np.concatenate([[0], inner, [size]]).astype(np.intp)


def _sums(
    plane: NDArray[Any], rows: NDArray[np.intp], columns: NDArray[np.intp]
) -> NDArray[Any]:
    by_row = np.add.reduceat(plane, rows[:-1], axis=0)
    sums: NDArray[Any] = np.add.reduceat(by_row, columns[:-1], axis=1)
    return sums


def _stacked(blocks: list[NDArray[Any]]) -> NDArray[Any]:
    """Blocks as rows of one array, filled up with NaN."""
    out = np.full((len(blocks), max(block.size for block in blocks)), np.nan)
    for row, block in zip(out, blocks, strict=True):
        row[: block.size] = block.ravel()
    return out


def _without_debts(sums: NDArray[Any]) -> NDArray[Any]:
    """Sums of blocks (Y, X) with those below 0 taken from the nearest with more."""
    for size in NEIGHBOURHOODS:
        have, debt = sums.clip(0), (-sums).clip(0)
        near = uniform_filter(have, size, mode="constant")
        payable = np.divide(debt, near, out=np.zeros_like(debt), where=near > 0)
        paid = have * uniform_filter(payable, size, mode="constant")
        sums = have - paid - np.where(near > 0, 0, debt)
    return sums


def _with_sums(
    blocks: NDArray[Any], wanted: NDArray[Any], low: float, high: float
) -> NDArray[Any]:
    """Whole numbers from `low` to `high` with these sums of the rows (NaN is left)."""
    count = np.isfinite(blocks).sum(axis=1)
    wanted = wanted.clip(low * count, high * count)
    within = _within(blocks, wanted, low, high)
    rounded = np.round(within)
    missing = np.round(wanted - np.nansum(rounded, axis=1))
    # Those that were rounded furthest from their value go to the other side.
    distance = (within - rounded) * np.sign(missing)[:, np.newaxis]
    room = np.where(missing[:, np.newaxis] > 0, rounded < high, rounded > low)
    distance[~room | np.isnan(distance)] = -np.inf
    order = np.argsort(-distance, axis=1, kind="stable")
    rank = np.argsort(order, axis=1, kind="stable")
    moved = (rank < np.abs(missing)[:, np.newaxis]) & np.isfinite(distance)
    corrected: NDArray[Any] = rounded + moved * np.sign(missing)[:, np.newaxis]
    return corrected


def _within(
    blocks: NDArray[Any], wanted: NDArray[Any], low: float, high: float
) -> NDArray[Any]:
    """The nearest values from `low` to `high` that have the wanted sums.

    What is cut off at one end is taken in equal parts from the pixels that have room,
    as in the projection onto a simplex (Michelot, J. Optim. Theory Appl. 50, 1986).
    """
    values = blocks.clip(low, high)
    for _ in range(ROUNDS):
        excess = np.nansum(values, axis=1) - wanted
        if not (np.abs(excess) > TOLERANCE_COUNTS / 2).any():
            break
        sign = excess[:, np.newaxis]
        free = np.where(sign > 0, values > low, values < high) & np.isfinite(values)
        share = excess / np.maximum(1, free.sum(axis=1))
        values = (values - free * share[:, np.newaxis]).clip(low, high)
    return values
