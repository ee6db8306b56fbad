"""Whether a result agrees with its original: the residual of a plane, in brief."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_zssr.errors import InputError
from napari_zssr.imaging.noise import NoiseModel
from napari_zssr.imaging.resample import Pair
from napari_zssr.imaging.residual import Reason, residual_steps
from napari_zssr.kernelspec import KernelSpec
from napari_zssr.progress import Steps

# Longest side of a map that is kept.
MAP_PX = 320


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Agreement:
    """Residual of a plane: the result, degraded as was assumed, less the original.

    Attributes
    ----------
    sentence : str
    reasons : tuple of str
        Why it disagrees, as of `Residual`; empty if it agrees or is not measured.
    flagged : float
        Share of the area that the noise does not explain; NaN if not measured.
    level : float
        Deviation of the finest residual as a multiple of the noise assumed.
    shift_px : tuple of float
        How far the result lies beside the original along (Y, X), input pixels.
    unit : str
        ``noise`` or ``rounding``; empty if not measured.
    map : ndarray, shape (Y, X), or None
        Residual in standard deviations of the mean of a block, at most 320 a side.
    flags : ndarray, shape (Y, X), bool, or None
        Blocks in which something is flagged.
    """

    sentence: str
    reasons: tuple[Reason, ...] = ()
    flagged: float = math.nan
    level: float = math.nan
    shift_px: Pair = (math.nan, math.nan)
    unit: str = ""
    map: NDArray[np.float32] | None = None
    flags: NDArray[np.bool_] | None = None

    @property
    def disagrees(self) -> bool:
        """Whether the result disagrees with the original."""
        return bool(self.reasons)


def agreement_steps(
    colours: NDArray[Any],
    result: NDArray[Any],
    factors: Pair,
    kernel: KernelSpec,
    noise: NoiseModel,
) -> Steps[Agreement]:
    """Residual of a plane (C, Y, X), normalised; where there is none, why."""
    try:
        found = yield from residual_steps(colours, result, factors, kernel, noise)
    except InputError as error:
        return Agreement(sentence=str(error))
    # The mean of the samples is as noisy as one of them, where they share their noise.
    step = block_step(found.flags.shape)
    return Agreement(
        sentence=found.sentence,
        reasons=found.reasons,
        flagged=found.flagged,
        level=found.level,
        shift_px=found.shift_px,
        unit=found.unit,
        map=step * reduced(found.standardised.mean(axis=0)),
        flags=reduced(found.flags) > 0,
    )


def of_interpolation(found: Agreement) -> Agreement:
    """Agreement of a result that was interpolated: that it keeps the noise is right."""
    if found.reasons != ("noise overrated",):
        return found
    flags = None if found.flags is None else np.zeros_like(found.flags)
    return replace(
        found,
        reasons=(),
        flagged=0.0,
        flags=flags,
        sentence="The result was interpolated, so it keeps the noise of the image.",
    )


def block_step(shape: tuple[int, ...], most: int = MAP_PX) -> int:
    """Side of the blocks of a plane (Y, X) of which there are at most so many."""
    return -(-max(shape) // most)


def reduced(plane: NDArray[Any], most: int = MAP_PX) -> NDArray[np.float32]:
    """Means of blocks of a plane (Y, X), at most so many a side; NaN counts for 0."""
    step = block_step(plane.shape, most)
    rows, columns = (np.arange(0, n, step) for n in plane.shape)
    filled = np.nan_to_num(plane.astype(np.float64))
    for axis, starts in enumerate((rows, columns)):
        sums = np.add.reduceat(filled, starts, axis=axis)
        counts = np.diff([*starts, plane.shape[axis]])
        filled = sums / np.expand_dims(counts, 1 - axis)
    return np.asarray(filled, dtype=np.float32)
