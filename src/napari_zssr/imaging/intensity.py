"""Intensities: one affine map per channel between the image and the networks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, uniform_filter

from napari_zssr.errors import InputError
from napari_zssr.imaging.resample import Array
from napari_zssr.units import counted

BLOCK_PX = 16
# Tolerated change of the sum over a block: in counts, and as a fraction of the block's
# intensity above the offset.
TOLERANCE_COUNTS = 1.0
TOLERANCE = 0.004
# Sides, in blocks, of the neighbourhoods that compensate a block below 0, in turn.
NEIGHBOURHOODS = (3, 3, 3, 5, 9, 17)
# Rounds of redistributing what was clipped; a few are enough as a rule.
ROUNDS = 16

# Counts above the offset, where the intensity of an image lies, from which integers are
# fine enough.
ENOUGH_COUNTS = 10.0
# Loss of a plane's or a region's intensity that integers must not cause.
LARGEST_LOSS = 0.005
REGIONS = 4
# Regions with less than this share of a plane's mean are too dark to be judged.
DARK = 0.25
# Smoothing that a noisy image gets, in its own pixels.
SMOOTHING_PX = 2.0
# Pixels in float64 at a time.
BAND_PIXELS = 2**22
RANGE_QUANTILES = (0.001, 0.999)


def quantized(
    values: NDArray[Any],
    dtype: np.dtype[Any],
    *,
    offset: float = 0.0,
    origin: tuple[int, int] = (0, 0),
) -> NDArray[Any]:
    """Round (..., Y, X) to integers of a type, keeping the sum over every block.

    Values are finite; `offset` is the intensity without light, such as that of a
    camera; `origin` is the row and column of the first pixel in its plane, from which
    blocks are counted.
    """
    exact = values.astype(np.float64, copy=False)
    limits = np.iinfo(dtype)
    rounded = np.round(exact).clip(limits.min, limits.max)
    whole = as_integers(rounded, dtype)
    for plane in np.ndindex(exact.shape[:-2]):
        _keep_sums(exact[plane], rounded[plane], whole[plane], offset, origin)
    return whole


def loses_intensity(planes: Sequence[NDArray[Any]], offset: float) -> bool:
    """Whether integers are too coarse for an enlarged channel.

    `planes` (Y, X) are some of the channel, integers; `offset` is the intensity without
    light. True if its objects hold few counts (the mean above the offset, weighted by
    itself, is below 10) and a plane, smoothed as noise is and rounded, would lose more
    than 0.5 % of its intensity or of that of one of 4 x 4 regions.
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
    kept, exact = (_plane_and_region_means(plane) for plane in (rounded, smooth))
    bright = exact >= DARK * mean
    return bool((np.abs(kept - exact) > LARGEST_LOSS * exact)[bright].any())


def _plane_and_region_means(plane: NDArray[Any]) -> NDArray[Any]:
    """Means over a grid of at most `REGIONS` x `REGIONS`, and their mean."""
    count = min(REGIONS, *plane.shape)
    means = np.array(
        [
            [part.mean() for part in np.array_split(row, count, axis=1)]
            for row in np.array_split(plane, count, axis=0)
        ]
    )
    return np.append(means, means.mean())


def as_integers(values: NDArray[Any], dtype: np.dtype[Any]) -> NDArray[Any]:
    """Round each value to an integer of a type; same shape."""
    rounded = np.round(values)
    limits = np.iinfo(dtype)
    top = float(limits.max)
    # The largest 64-bit integers are not float64 numbers; the next one overflows.
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
    """Correct in place, in `whole`, the blocks (Y, X) whose sums rounding changed."""
    rows, columns = (
        _edges(size, first) for size, first in zip(exact.shape, origin, strict=True)
    )
    limits = np.iinfo(whole.dtype)
    low, high = float(limits.min), float(limits.max)
    counts = np.outer(np.diff(rows), np.diff(columns))
    kept, target = (
        np.add.reduceat(np.add.reduceat(plane, rows[:-1], axis=0), columns[:-1], axis=1)
        for plane in (rounded, exact)
    )
    if (target < low * counts).any():
        target = _without_negative(target - low * counts) + low * counts
    signal = np.maximum(target - offset * counts, 0)
    off = np.abs(target - kept) > np.maximum(TOLERANCE_COUNTS, TOLERANCE * signal)
    for row in np.flatnonzero(off.any(axis=1)):
        band = slice(rows[row], rows[row + 1])
        parts = [slice(columns[n], columns[n + 1]) for n in np.flatnonzero(off[row])]
        # Blocks as rows of one array, filled up with NaN.
        sizes = [exact[band, part].size for part in parts]
        blocks = np.full((len(parts), max(sizes)), np.nan)
        for block, size, part in zip(blocks, sizes, parts, strict=True):
            block[:size] = exact[band, part].ravel()
        corrected = _with_sums(blocks, target[row][off[row]], low, high)
        for block, size, part in zip(corrected, sizes, parts, strict=True):
            shape = whole[band, part].shape
            whole[band, part] = as_integers(block[:size].reshape(shape), whole.dtype)


def _edges(size: int, first: int) -> NDArray[np.intp]:
    """Edges of the blocks along an axis, including its ends."""
    inner = np.arange(-first % BLOCK_PX or BLOCK_PX, size, BLOCK_PX)
    return np.concatenate([[0], inner, [size]]).astype(np.intp)


def _without_negative(sums: Array) -> Array:
    """Sums of blocks (Y, X) with those below 0 taken from the nearest positive ones."""
    for size in NEIGHBOURHOODS:
        positive, debt = sums.clip(0), (-sums).clip(0)
        near = uniform_filter(positive, size, mode="constant")
        payable = np.divide(debt, near, out=np.zeros_like(debt), where=near > 0)
        paid = positive * uniform_filter(payable, size, mode="constant")
        sums = positive - paid - np.where(near > 0, 0, debt)
    return sums


def _with_sums(blocks: Array, target: Array, low: float, high: float) -> Array:
    """Whole numbers from `low` to `high` with these sums of the rows; NaN stays."""
    count = np.isfinite(blocks).sum(axis=1)
    target = target.clip(low * count, high * count)
    projected = _projected(blocks, target, low, high)
    rounded = np.round(projected)
    missing = np.round(target - np.nansum(rounded, axis=1))
    # Those rounded furthest from their value are rounded to the other side.
    distance = (projected - rounded) * np.sign(missing)[:, np.newaxis]
    room = np.where(missing[:, np.newaxis] > 0, rounded < high, rounded > low)
    distance[~room | np.isnan(distance)] = -np.inf
    order = np.argsort(-distance, axis=1, kind="stable")
    rank = np.argsort(order, axis=1, kind="stable")
    moved = (rank < np.abs(missing)[:, np.newaxis]) & np.isfinite(distance)
    return np.asarray(rounded + moved * np.sign(missing)[:, np.newaxis])


def _projected(blocks: Array, target: Array, low: float, high: float) -> Array:
    """The nearest values from `low` to `high` that have the target sums.

    What is clipped at one end is taken in equal parts from the pixels that have room,
    as in the projection onto a simplex (Michelot, J. Optim. Theory Appl. 50, 1986).
    """
    values = blocks.clip(low, high)
    for _ in range(ROUNDS):
        excess = np.nansum(values, axis=1) - target
        if not (np.abs(excess) > TOLERANCE_COUNTS / 2).any():
            break
        sign = excess[:, np.newaxis]
        free = np.where(sign > 0, values > low, values < high) & np.isfinite(values)
        share = excess / np.maximum(1, free.sum(axis=1))
        values = (values - free * share[:, np.newaxis]).clip(low, high)
    return values


@dataclass(frozen=True, slots=True, kw_only=True)
class IntensityMap:
    """Normalised = (intensity - offset) / scale.

    Attributes
    ----------
    offset, scale : in units of the image
    few_counts : whether integers are too coarse for the result (`loses_intensity`)
    piecewise : whether the channel looks like labels (`is_piecewise_constant`)
    """

    offset: float
    scale: float
    few_counts: bool = False
    piecewise: bool = False

    def normalise(self, values: NDArray[Any]) -> NDArray[np.float32]:
        """Intensities (..., Y, X) to float32, about 0..1, nothing clipped."""
        out = np.empty(values.shape, dtype=np.float32)
        # A band of rows at a time, so that the copies in float64 are small. float32 has
        # too few digits for a small signal on a large offset.
        rows = max(1, BAND_PIXELS // max(1, values[..., 0, :].size))
        for first in range(0, values.shape[-2], rows):
            band = (..., slice(first, first + rows), slice(None))
            out[band] = (values[band].astype(np.float64) - self.offset) / self.scale
        return out

    def restore(
        self,
        values: NDArray[Any],
        dtype: np.dtype[Any],
        origin: tuple[int, int] = (0, 0),
    ) -> NDArray[Any]:
        """Inverse of `normalise` for (..., Y, X), in any type of pixels.

        Integers keep the sums of neighbourhoods, see `quantized`, where `origin` is
        explained.
        """
        if dtype.kind not in "iu":
            return self.restore_plainly(values, dtype)
        exact = self._exact(values)
        return quantized(exact, dtype, offset=self.offset, origin=origin)

    def restore_plainly(
        self, values: NDArray[Any], dtype: np.dtype[Any]
    ) -> NDArray[Any]:
        """`restore` for values that are no intensities, such as transparency."""
        exact = self._exact(values)
        return exact.astype(dtype) if dtype.kind == "f" else as_integers(exact, dtype)

    def _exact(self, values: NDArray[Any]) -> Array:
        exact = values.astype(np.float64) * self.scale
        exact += self.offset
        return exact


def intensity_map(values: NDArray[Any]) -> IntensityMap:
    """Map for one channel from a sample of its pixels, any shape, finite.

    Maps the 0.1 % and 99.9 % quantiles to 0 and 1; for a sparse image whose quantiles
    agree, the extremes. Follows a x + b exactly.
    """
    flat = values.astype(np.float64, copy=False).ravel()
    low, high = np.quantile(flat, RANGE_QUANTILES)
    if high - low <= 1e-9 * max(abs(high), abs(low)):
        low, high = flat.min(), flat.max()
    scale = float(high - low)
    return IntensityMap(offset=float(low), scale=scale if scale > 0 else 1.0)


def check_finite(values: NDArray[Any], nonfinite: str, name: str) -> NDArray[Any]:
    """Refuse NaN and Inf, or fill them with the mean of the finite pixels.

    `nonfinite` is "refuse" or "fill", `name` that of the image in the
    `InputError`, which gives the count and the first position.
    """
    if values.dtype.kind != "f":
        return values
    bad = ~np.isfinite(values)
    count = int(bad.sum())
    if count == 0:
        return values
    if nonfinite == "refuse" or count == values.size:
        first = tuple(int(i) for i in np.argwhere(bad)[0])
        raise InputError(
            f"{name} contains {counted(count, 'NaN or Inf pixel')}, the first at "
            f"{first}; remove them, or fill them with the mean (--fill-nonfinite, "
            "nonfinite='fill')."
        )
    filled = values.copy()
    filled[bad] = values[~bad].mean()
    return filled
