"""Checks on the result of a plane: all of a small one, four windows of a large one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from napari_zssr.config import Config
from napari_zssr.imaging.noise import NoiseModel
from napari_zssr.imaging.quality import (
    Quality,
    check_windows,
    mean_quality,
    quality,
)
from napari_zssr.imaging.resample import Window, moved, output_window

if TYPE_CHECKING:
    from napari_zssr.zssr.canvas import Canvas


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
    for part in check_windows(window, config.factors):
        fine = output_window(part, config.factors)
        pixels = result[:, *moved(fine, (-first[0].start, -first[1].start))].numpy()
        one = quality(plane[:, *part], pixels, config.factors, config.kernel, noise)
        found += [] if one is None else [one]
    return mean_quality(found) if found else None
