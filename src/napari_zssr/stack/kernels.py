"""The blur of every channel, from what the user says of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from napari_zssr.config import Config
from napari_zssr.imaging.intensity import IntensityMap
from napari_zssr.imaging.kernel import FineKernel, check_fits
from napari_zssr.imaging.kernelfile import pinned
from napari_zssr.imaging.signal import shows_signal
from napari_zssr.stack.axes import (
    ImageStack,
    output_shape,
    plane_axes,
    planes,
    to_cyx,
)
from napari_zssr.stack.one_plane import colours_of
from napari_zssr.stack.strategy import shared_places

# Planes of a channel that a blur is estimated from.
ESTIMATED_PLANES = 3


def channel_kernel(
    stack: ImageStack, config: Config, mapping: IntensityMap, channel: int
) -> FineKernel:
    """The blur of one channel on the fine grid.

    Parameters
    ----------
    stack : ImageStack
        Its data may be lazy; to estimate a blur, a few planes are read.
    config : Config
    mapping : IntensityMap
        Of the channel.
    channel : int

    Raises
    ------
    InputError
        What is said of the blur cannot be used for this image.
    """
    spec = pinned(config.kernel)
    found = FineKernel(spec=spec, factors=config.factors, sentence=GIVEN[spec.kind])
    found = replace(found, fine_um=_fine_um(stack, config))
    shape = output_shape(stack.data.shape, stack.axes, config.factors)
    y, x = (shape[stack.axes.index(letter)] for letter in "YX")
    check_fits(found.spec, (y, x))
    return found


def channel_kernels(
    stack: ImageStack, config: Config, maps: Mapping[int, IntensityMap]
) -> tuple[FineKernel, ...]:
    """The blur of every channel, as `channel_kernel` finds it."""
    return tuple(channel_kernel(stack, config, maps[n], n) for n in sorted(maps))


GIVEN = {
    "bicubic": "The usual assumption: bicubic reduction.",
    "gaussian": "A Gaussian that was given.",
    "array": "Weights that were given.",
}


def _seen(
    stack: ImageStack, mapping: IntensityMap, channel: int
) -> list[NDArray[np.float32]]:
    """Normalised planes (C, Y, X) of a channel that show anything."""
    places = shared_places(planes(stack.axes, stack.data.shape), channel)
    found = []
    for place in places[:: max(1, len(places) // ESTIMATED_PLANES)]:
        pixels = to_cyx(stack.data[place.index], plane_axes(stack.axes))
        colours = mapping.normalise(colours_of(pixels))
        found += [colours] if shows_signal(colours) else []
    return found


def _fine_um(stack: ImageStack, config: Config) -> tuple[float | None, float | None]:
    """Size (Y, X) of a pixel of the result, where the image tells its own."""
    y, x = (
        spacing / factor if spacing is not None and unit == "um" else None
        for letter, factor in zip("YX", config.factors, strict=True)
        for spacing, unit in [_told(stack, letter)]
    )
    return y, x


def _told(stack: ImageStack, letter: str) -> tuple[float | None, str | None]:
    place = stack.axes.index(letter)
    return stack.spacing[place], stack.units[place]
