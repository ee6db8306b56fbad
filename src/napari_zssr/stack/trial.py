"""What is decided once for channels whose planes learn each for itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from napari_zssr.config import Config
from napari_zssr.imaging.intensity import IntensityMap
from napari_zssr.imaging.signal import shows_signal
from napari_zssr.progress import drain
from napari_zssr.stack.axes import ImageStack, plane_axes, planes, to_cyx
from napari_zssr.stack.flaws import even, with_jpeg
from napari_zssr.stack.one_plane import colours_of, common_noise
from napari_zssr.stack.plan import Plan
from napari_zssr.stack.strategy import shared_places, sharing_channels

if TYPE_CHECKING:
    from napari_zssr.zssr.assess import Assessment


def channel_assessments(
    stack: ImageStack, config: Config, plan: Plan, maps: Mapping[int, IntensityMap]
) -> dict[int, Assessment]:
    """Assess channels of several planes that share no networks, on one plane of each.

    Parameters
    ----------
    stack : ImageStack
        Its data may be lazy; one plane of such a channel is read.
    config : Config
        Its kernel is concrete.
    plan : Plan
    maps : mapping of int to IntensityMap
        By channel; only these are assessed.

    Returns
    -------
    dict of int to Assessment
        By channel; other channels are assessed where their networks are learned.
    """
    import torch

    from napari_zssr.zssr.plane import trial

    listed = planes(stack.axes, stack.data.shape)
    sharing = sharing_channels(config, listed)
    found = {}
    for channel, mapping in maps.items():
        places = shared_places(listed, channel)
        if channel in sharing or len(places) == 1:
            continue
        place = places[len(places) // 2]
        pixels = colours_of(to_cyx(stack.data[place.index], plane_axes(stack.axes)))
        colours, _ = even(mapping.normalise(pixels), config)
        if not shows_signal(colours):
            continue
        noise = common_noise([colours], config, mapping)
        steps = trial(
            torch.from_numpy(colours).to(plan.device),
            config,
            noise=with_jpeg(noise, pixels, mapping.scale, config),
            tile_px=plan.tile_px,
            seed=config.seed,
        )
        if (one := drain(steps)) is not None:
            found[channel] = one
    return found
