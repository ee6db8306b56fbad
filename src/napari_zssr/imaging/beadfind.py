"""Where the beads of an image are."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from napari_zssr.errors import InputError
from napari_zssr.imaging.beadfit import rough_widths

Array = NDArray[np.float64]

# Points at least this bright are beads, as a share of the brightest one ...
DIMMEST = 0.2
# ... and in standard deviations of the noise.
LEAST_CONTRAST = 8.0
MOST_BEADS = 200
# Brightest points that tell about how wide a bead is.
MEASURED = 9
# Blur under which they are looked for: in full widths at half maximum, and at least in
# pixels.
SMOOTHED = 0.4
SMOOTHED_PX = 1.0


def found_beads(data: NDArray[Any]) -> tuple[list[tuple[int, ...]], tuple[float, ...]]:
    """Brightest voxels of all that may be beads, and about how wide beads are.

    What looks like a bead at first may be noise on one, so it is looked for twice.

    Parameters
    ----------
    data : ndarray, shape ([Z, ]Y, X)

    Returns
    -------
    tuple of (list of places, full widths at half maximum)
        Pixels along all axes; the brightest first.

    Raises
    ------
    InputError
        When nothing stands out.
    """
    seen = data.max(axis=0) if data.ndim == 3 else data
    level = float(np.median(data))
    first = _bright_points(seen.astype(np.float64), SMOOTHED_PX)[:MEASURED]
    rough = [rough_widths(data, _in_depth(data, p), level) for p in first]
    widths = tuple(float(w) for w in np.median(rough, axis=0))
    blur = max(SMOOTHED_PX, SMOOTHED * min(widths[-2:]))
    points = _bright_points(seen.astype(np.float64), blur)
    return [_in_depth(data, p) for p in points], widths


def _bright_points(seen: Array, blur_px: float) -> list[tuple[int, ...]]:
    """Pixels that stand out from their neighbours and the noise, brightest first."""
    smooth = ndimage.gaussian_filter(seen, blur_px)
    ground = float(np.median(smooth))
    rest = seen - smooth
    noise = 1.4826 * float(np.median(np.abs(rest - np.median(rest))))
    # What such a blur leaves of white noise.
    noise /= 2 * math.sqrt(math.pi) * blur_px
    least = max(DIMMEST * (smooth.max() - ground), LEAST_CONTRAST * noise)
    if smooth.max() <= ground or smooth.max() - ground < least:
        raise InputError(
            "No beads were found: nothing in the image stands out from its background; "
            "give an image of small bright beads on a dark ground."
        )
    highest = smooth == ndimage.maximum_filter(smooth, size=3)
    found = np.argwhere(highest & (smooth >= ground + least))
    order = np.argsort(-smooth[tuple(found.T)], kind="stable")[:MOST_BEADS]
    return [(int(y), int(x)) for y, x in found[order]]


def _in_depth(data: NDArray[Any], place: tuple[int, ...]) -> tuple[int, ...]:
    y, x = place
    if data.ndim == 2:
        return y, x
    column = data[:, max(0, y - 1) : y + 2, max(0, x - 1) : x + 2].mean(axis=(1, 2))
    return int(ndimage.gaussian_filter1d(column, SMOOTHED_PX).argmax()), y, x
