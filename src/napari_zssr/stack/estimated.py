"""The blur of a channel, estimated from a few of its planes."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_zssr.config import Config
from napari_zssr.imaging.estimate import estimated_blur
from napari_zssr.imaging.intensity import IntensityMap
from napari_zssr.imaging.kernel import FineKernel
from napari_zssr.imaging.resample import spread_starts
from napari_zssr.imaging.signal import shows_signal
from napari_zssr.stack.axes import ImageStack, plane_axes, planes, to_cyx
from napari_zssr.stack.one_plane import colours_of
from napari_zssr.stack.strategy import shared_places

# Planes of a channel that a blur is estimated from, at most.
ESTIMATED_PLANES = 3
# Of a larger plane windows are looked at, so many along each side.
WINDOW_PX = 512
WINDOWS = 3
# Estimates that are remembered, for previews and runs that follow each other.
REMEMBERED = 16


def estimated_kernel(
    stack: ImageStack, config: Config, mapping: IntensityMap, channel: int
) -> FineKernel:
    """The blur that a channel's own planes show; known still if they were seen lately.

    Parameters
    ----------
    stack : ImageStack
        Its data may be lazy; a few planes are read.
    config : Config
    mapping : IntensityMap
        Of the channel.
    channel : int
    """
    seen = _seen(stack, mapping, channel)
    digest = hashlib.sha256(repr(config.factors).encode())
    for plane in seen:
        digest.update(str(plane.shape).encode() + np.ascontiguousarray(plane).tobytes())
    key = digest.hexdigest()
    if key not in _remembered:
        _remembered[key] = estimated_blur(seen, config.factors)
        while len(_remembered) > REMEMBERED:
            _remembered.pop(next(iter(_remembered)), None)
    return _remembered[key]


_remembered: dict[str, FineKernel] = {}


def _seen(
    stack: ImageStack, mapping: IntensityMap, channel: int
) -> list[NDArray[np.float32]]:
    """Normalised planes (C, Y, X) of a channel, or windows, that show anything."""
    places = shared_places(planes(stack.axes, stack.data.shape), channel)
    count = min(len(places), ESTIMATED_PLANES)
    chosen = [places[(2 * n + 1) * len(places) // (2 * count)] for n in range(count)]
    found = []
    for place in chosen:
        pixels = to_cyx(stack.data[place.index], plane_axes(stack.axes))
        for window in _windows(colours_of(pixels)):
            colours = mapping.normalise(window)
            found += [colours] if shows_signal(colours) else []
    return found


def _windows(plane: NDArray[Any]) -> list[NDArray[Any]]:
    """The plane (C, Y, X), or windows spread over one that is large."""
    height, width = plane.shape[-2:]
    if max(height, width) <= WINDOWS * WINDOW_PX:
        return [plane]
    return [
        plane[:, y : y + WINDOW_PX, x : x + WINDOW_PX]
        for y in _starts(height)
        for x in _starts(width)
    ]


def _starts(size: int) -> list[int]:
    return sorted(set(spread_starts(size, WINDOW_PX, WINDOWS)))
