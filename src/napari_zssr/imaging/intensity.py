"""Intensities: one affine map per channel between the image and the networks."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, uniform_filter

from napari_zssr.errors import InputError

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


# In float64 at a time.
BAND_PIXELS = 2**22
RANGE_QUANTILES = (0.001, 0.999)


@dataclass(frozen=True, slots=True, kw_only=True)
class IntensityMap:
    """Normalised = (intensity - offset) / scale.

    Attributes
    ----------
    offset, scale : float
        In units of the image.
    few_counts : bool
        Whether integers are too coarse for the result (`loses_intensity`).
    piecewise : bool
        Whether the channel looks like labels (`is_piecewise_constant`).
    """

    offset: float
    scale: float
    few_counts: bool = False
    piecewise: bool = False

    def normalise(self, values: NDArray[Any]) -> NDArray[np.float32]:
        """Intensities to float32, about 0..1, nothing clipped; same shape."""
        out = np.empty(values.shape, dtype=np.float32)
        for band in _bands(values.shape):
            # float64 first: float32 has not the digits for a small signal on a large
            # offset
            out[band] = (values[band].astype(np.float64) - self.offset) / self.scale
        return out

    def restore(
        self,
        values: NDArray[Any],
        dtype: np.dtype[Any],
        origin: tuple[int, int] = (0, 0),
    ) -> NDArray[Any]:
        """Inverse of `normalise`, in any type of pixels.

        Parameters
        ----------
        values : ndarray, shape (..., Y, X)
            Normalised.
        dtype : dtype
            Integers keep the sums of neighbourhoods, see `quantized`.
        origin : tuple of int
            Row and column of the first pixel in its plane.
        """
        if dtype.kind not in "iu":
            return self.restore_plainly(values, dtype)
        exact = self._exact(values)
        return quantized(exact, dtype, offset=self.offset, origin=origin)

    def restore_plainly(
        self, values: NDArray[Any], dtype: np.dtype[Any]
    ) -> NDArray[Any]:
        """`restore` for what is no intensity, such as transparency."""
        exact = self._exact(values)
        return exact.astype(dtype) if dtype.kind == "f" else as_integers(exact, dtype)

    def _exact(self, values: NDArray[Any]) -> NDArray[np.float64]:
        exact: NDArray[np.float64] = values.astype(np.float64) * self.scale
        exact += self.offset
        return exact


def _bands(shape: tuple[int, ...]) -> Iterator[tuple[Any, ...]]:
    """Indices of rows that together make up (..., Y, X), so that copies are small."""
    if len(shape) < 2:
        yield (...,)
        return
    rows = max(1, BAND_PIXELS // max(1, math.prod(shape[:-2]) * shape[-1]))
    for first in range(0, shape[-2], rows):
        yield (..., slice(first, first + rows), slice(None))


def intensity_map(values: NDArray[Any]) -> IntensityMap:
    """Map for one channel from a sample of its pixels.

    Parameters
    ----------
    values : ndarray, any shape
        Sampled pixels, finite.

    Returns
    -------
    IntensityMap
        0.1 % and 99.9 % quantiles go to 0 and 1; for a sparse image whose quantiles
        agree, the extremes do. Follows a x + b exactly.
    """
    flat = values.astype(np.float64, copy=False).ravel()
    low, high = np.quantile(flat, RANGE_QUANTILES)
    if high - low <= 1e-9 * max(abs(high), abs(low)):
        low, high = flat.min(), flat.max()
    scale = float(high - low)
    return IntensityMap(offset=float(low), scale=scale if scale > 0 else 1.0)


def check_finite(values: NDArray[Any], nonfinite: str, what: str) -> NDArray[Any]:
    """Refuse NaN and Inf, or fill them with the mean of the finite pixels.

    Parameters
    ----------
    values : ndarray, any shape
    nonfinite : {"refuse", "fill"}
    what : str
        Name of the image, for the message.

    Raises
    ------
    InputError
        With the count and the first place.
    """
    if values.dtype.kind != "f":
        return values
    bad = ~np.isfinite(values)
    count = int(bad.sum())
    if count == 0:
        return values
    if nonfinite == "refuse" or count == values.size:
        place = tuple(int(i) for i in np.argwhere(bad)[0])
        raise InputError(
            f"{what} holds {count} NaN or Inf pixels, the first at {place}; remove "
            "them, or have them filled with the mean by --fill-nonfinite or "
            "nonfinite='fill'."
        )
    filled = values.copy()
    filled[bad] = values[~bad].mean()
    return filled
