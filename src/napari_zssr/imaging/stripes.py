"""Stripes: an offset of its own for each row or column, as cameras and scanners add.

Such an offset is the same along the whole line, what the image shows is not. So lines
are compared with their neighbours in four parts of the plane: where the four agree,
it is a stripe.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Array = NDArray[np.float64]

PARTS = 4
SMALLEST_PX = 64
# Pixels of each line that are looked at, about and at least, of a large plane.
LOOKED_AT = 512
# Mean correlation of the four parts' offsets, against the mean of both neighbours and
# against the median of three lines: nothing but stripes had both on scikit-image's
# pictures, confocal captures and microscopes' TIFFs, at full size and halved.
ALIKE, ALIKE_MEDIAN = 0.5, 0.1
WIDTH = 7
# Offsets' standard deviation as a fraction of the range. What is stronger, or mostly
# of one period, is rather a specimen, such as a grid.
WEAKEST, STRONGEST = 0.001, 0.03
ONE_PERIOD = 0.3
# Lines that the offsets are spread over at least: a horizon, or the edge of a cover
# slip, lies on three.
FEWEST_LINES = 8


def without_stripes(image: NDArray[np.float32]) -> tuple[NDArray[np.float32], float]:
    """Take the offsets of rows and columns out, where there are any.

    Parameters
    ----------
    image : ndarray, shape (C, Y, X)
        Normalised intensities.

    Returns
    -------
    tuple of (ndarray, float)
        The image itself, and 0, where it has no stripes; else one without them, and
        the largest standard deviation of the offsets in one direction.
    """
    found = [
        (channel, axis, offsets)
        for channel, plane in enumerate(image)
        for axis in (0, 1)
        if (offsets := line_offsets(plane, axis)) is not None
    ]
    if not found:
        return image, 0.0
    clean = image.copy()
    for channel, axis, offsets in found:
        clean[channel] -= np.expand_dims(offsets.astype(np.float32), 1 - axis)
    return clean, max(float(offsets.std()) for _, _, offsets in found)


def line_offsets(plane: NDArray[Any], axis: int) -> Array | None:
    """Offsets of the rows (axis 0) or columns (axis 1) of a plane.

    Parameters
    ----------
    plane : ndarray, shape (Y, X)
        Normalised intensities.
    axis : int

    Returns
    -------
    ndarray, shape (Y,) or (X,), or None
        Against the lines around; None where there are no stripes.
    """
    if min(plane.shape) < SMALLEST_PX:
        return None
    lines = np.asarray(plane if axis == 1 else plane.T)
    thin = max(1, len(lines) // LOOKED_AT)
    lines = lines[::thin].astype(np.float64)
    neighbours = ndimage.correlate1d(lines, (0.5, 0.0, 0.5), axis=1, mode="mirror")
    if _agreement(lines - neighbours) < ALIKE:
        return None
    if _agreement(lines - _middle(lines, 3)) < ALIKE_MEDIAN:
        return None
    offsets: Array = np.median(lines - _middle(lines, WIDTH), axis=0)
    if not WEAKEST <= offsets.std() <= STRONGEST or _one_period(offsets) > ONE_PERIOD:
        return None
    return offsets if _lines(offsets) >= FEWEST_LINES else None


def _middle(lines: Array, width: int) -> Array:
    """Median over neighbouring lines."""
    middle: Array = ndimage.median_filter(lines, size=(1, width), mode="mirror")
    return middle


def _lines(offsets: Array) -> float:
    """Number of lines of one size that would have the same second and fourth moment."""
    return float((offsets**2).sum() ** 2 / (offsets**4).sum())


def _one_period(offsets: Array) -> float:
    """Share of the offsets' power that has one period, or nearly that one."""
    power = np.abs(np.fft.rfft(offsets - offsets.mean())) ** 2
    return float(np.convolve(power, np.ones(3), mode="valid").max() / power.sum())


def _agreement(residual: Array) -> float:
    """Mean correlation of the lines' offsets in four parts of the plane."""
    # The outermost lines have neighbours on one side only.
    parts = np.array_split(residual[:, 2:-2], PARTS)
    offsets = np.array([np.median(part, axis=0) for part in parts])
    offsets -= offsets.mean(axis=1, keepdims=True)
    size = np.sqrt((offsets**2).sum(axis=1))
    if size.min() <= 0:
        return 0.0
    unit = offsets / size[:, None]
    alike = unit @ unit.T
    return float(alike[np.triu_indices(PARTS, 1)].mean())
