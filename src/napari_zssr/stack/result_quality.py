"""Checks on the result of a plane: all of a small one, four windows of a large one."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from napari_zssr.config import Config
from napari_zssr.imaging.noise import NoiseModel
from napari_zssr.imaging.quality import Quality, mean_quality, quality
from napari_zssr.imaging.resample import Window, moved, output_window, quantum

if TYPE_CHECKING:
    from napari_zssr.zssr.canvas import Canvas

# Sides up to which a plane is checked whole, and of the windows of a larger one.
WHOLE_PX, WINDOW_PX = 256, 128
# Where the centres of those windows lie, as shares of the side.
CENTRES = (0.25, 0.75)


def result_quality(
    plane: NDArray[np.float32],
    result: Canvas,
    config: Config,
    noise: NoiseModel,
    window: Window | None = None,
) -> Quality | None:
    """Check what is delivered of a plane.

    Parameters
    ----------
    plane : ndarray, shape (C, Y, X)
        Normalised intensities without alpha.
    result : Canvas, shape (C, Y', X')
        The enlarged plane, or the window of it.
    config : Config
        Its kernel is concrete.
    noise : NoiseModel
        That was assumed.
    window : tuple of slice, optional
        Part of the plane (Y, X) that was enlarged.

    Returns
    -------
    Quality or None
        None where what there is is too small to tell.
    """
    window = window or (slice(0, plane.shape[1]), slice(0, plane.shape[2]))
    first = output_window(window, config.factors)
    found = []
    for part in _parts(window, config.factors):
        fine = output_window(part, config.factors)
        pixels = result[:, *moved(fine, (-first[0].start, -first[1].start))].numpy()
        one = quality(plane[:, *part], pixels, config.factors, config.kernel, noise)
        found += [] if one is None else [one]
    return mean_quality(found) if found else None


def _parts(window: Window, factors: tuple[float, float]) -> Iterator[Window]:
    """Parts of a window that begin on whole output pixels."""
    rows, columns = (_spans(s, f) for s, f in zip(window, factors, strict=True))
    return itertools.product(rows, columns)


def _spans(part: slice, factor: float) -> list[slice]:
    """Spans along one axis; none where no input pixel begins on an output pixel."""
    step = quantum(factor)
    if step is None:
        return [part] if part.start == 0 else []
    first = -(-part.start // step) * step
    size = part.stop - first
    if size <= WHOLE_PX:
        return [slice(first, part.stop)] if size > 0 else []
    starts = [
        first + round(share * size - WINDOW_PX / 2) // step * step for share in CENTRES
    ]
    return [slice(start, start + WINDOW_PX) for start in starts]
