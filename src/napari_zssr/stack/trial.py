"""What is decided once for a channel whose planes learn each for itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from napari_zssr.config import Config
from napari_zssr.errors import computing
from napari_zssr.imaging.intensity import IntensityMap
from napari_zssr.imaging.noise import NoiseModel
from napari_zssr.imaging.signal import shows_signal
from napari_zssr.progress import drain
from napari_zssr.stack.axes import ImageStack, plane_axes, planes, to_cyx
from napari_zssr.stack.flaws import even, with_jpeg
from napari_zssr.stack.one_plane import colours_of, common_noise
from napari_zssr.stack.plan import Plan
from napari_zssr.stack.strategy import shared_places, sharing_channels

if TYPE_CHECKING:
    from napari_zssr.zssr.assess import Assessment


def channel_assessment(
    stack: ImageStack, config: Config, plan: Plan, mapping: IntensityMap, channel: int
) -> Assessment | None:
    """Assess a channel of several planes that share no networks, on one of them.

    Parameters
    ----------
    stack : ImageStack
        Its data may be lazy; the plane in the middle is read, or one near it that
        shows something.
    config : Config
        Its kernel is concrete.
    plan : Plan
    mapping : IntensityMap
        Of the channel.
    channel : int

    Returns
    -------
    Assessment or None
        None for other channels, which are assessed where their networks are learned.

    Raises
    ------
    ComputeError
        The computation failed.
    """
    listed = planes(stack.axes, stack.data.shape)
    places = shared_places(listed, channel)
    if channel in sharing_channels(config, listed) or len(places) == 1:
        return None
    middle = len(places) // 2
    for place in sorted(places, key=lambda p: abs(places.index(p) - middle)):
        pixels = colours_of(to_cyx(stack.data[place.index], plane_axes(stack.axes)))
        colours, _ = even(mapping.normalise(pixels), config)
        if not shows_signal(colours):
            continue
        noise = common_noise([colours], config, mapping)
        noise = with_jpeg(noise, pixels, mapping.scale, config)
        with computing(f"A trial on plane {place.number}", plan.device):
            return _tried(colours, config, plan, noise)
    return None


def _tried(
    colours: NDArray[np.float32], config: Config, plan: Plan, noise: NoiseModel
) -> Assessment | None:
    import torch

    from napari_zssr.zssr.plane import trial

    plane = torch.from_numpy(colours).to(plan.device)
    return drain(
        trial(plane, config, noise=noise, tile_px=plan.tile_px, seed=config.seed)
    )
