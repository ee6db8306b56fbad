"""What befell a plane before it came here: stripes are taken out, JPEG blocks known."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_zssr.config import Config
from napari_zssr.imaging.jpeg import jpeg_steps
from napari_zssr.imaging.noise import NoiseModel
from napari_zssr.imaging.stripes import without_stripes


def even(
    colours: NDArray[np.float32], config: Config
) -> tuple[NDArray[np.float32], float]:
    """Normalised samples (C, Y, X) without stripes, and how strong those were.

    With noise "off" or given nothing is looked for.
    """
    return without_stripes(colours) if config.noise == "auto" else (colours, 0.0)


def with_jpeg(
    noise: NoiseModel, pixels: NDArray[Any], scale: float, config: Config
) -> NoiseModel:
    """Noise of a plane that may have been a JPEG.

    Parameters
    ----------
    noise : NoiseModel
        In normalised intensities.
    pixels : ndarray, shape (C, Y, X)
        Samples without alpha, in the image's own dtype.
    scale : float
        Of the intensity map.
    config : Config
    """
    if config.noise != "auto":
        return noise
    return replace(noise, jpeg=tuple(step / scale for step in jpeg_steps(pixels)))


def told(noise: NoiseModel, stripes: float, *, learned: bool) -> str:
    """What is said of a plane's flaws, after other sentences."""
    said = ""
    if noise.jpeg and learned:
        said += " JPEG traces were found (8 x 8 blocks) and learned against."
    if stripes:
        said += f" Stripes of {100 * stripes:.2g} % of its range were taken out of it."
    return said
