"""Networks that the planes of a channel share: learned before any of them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from napari_zssr.config import Config
from napari_zssr.errors import computing
from napari_zssr.imaging.intensity import IntensityMap
from napari_zssr.imaging.signal import shows_signal
from napari_zssr.progress import Event, Progress, Steps, changed
from napari_zssr.stack.axes import (
    ImageStack,
    PlaneIndex,
    plane_axes,
    planes,
    to_cyx,
)
from napari_zssr.stack.flaws import even
from napari_zssr.stack.one_plane import PLANE_SEED, PlaneWork, colours_of, common_noise
from napari_zssr.stack.plan import Plan
from napari_zssr.stack.strategy import shared_places
from napari_zssr.zssr.begin import Start, sized, start_checksum
from napari_zssr.zssr.saved import Checkpoint

if TYPE_CHECKING:
    from napari_zssr.zssr.shared import Sample

# Beyond the numbers of planes, which have seeds of their own.
SHARED_SEED = 500_009
STAGE = "shared"
# Results of which a preview remembers what was shared.
REMEMBERED = 4


def shared_steps(
    stack: ImageStack,
    config: Config,
    plan: Plan,
    maps: Mapping[int, IntensityMap],
    channel: int,
    start: Start | None = None,
) -> Steps[Checkpoint | None]:
    """Learn what the planes of a channel share, from a few of them.

    Parameters
    ----------
    stack : ImageStack
        Its data may be lazy; only the planes of `shared_places` are read, one after
        the other, and no more than windows of them is kept.
    config : Config
    plan : Plan
    maps : mapping of int to IntensityMap
        By channel.
    channel : int
    start : Checkpoint or LearnedStart, optional
        What training starts from.

    Returns
    -------
    Checkpoint or None
        None where no plane of the choice has signal; each then learns on itself.

    Raises
    ------
    ComputeError
        The computation failed.
    """
    from napari_zssr.zssr.shared import learn_shared

    listed = planes(stack.axes, stack.data.shape)
    places = shared_places(listed, channel)
    config = sized(config, start)
    named = partial(_as_shared, planes=len(listed))
    samples: list[Sample] = []
    for number, place in enumerate(places):
        yield named(Progress(stage="read", step=number, total=len(places)))
        sample = _sample(stack, maps[channel], place, len(places), config)
        samples += [] if sample is None else [sample]
    if not samples:
        return None
    yield named(_told(channel, len(samples)))
    windows = [window.numpy() for sample in samples for window in sample.windows]
    with computing(f"Learning for channel {channel}", plan.device):
        steps = learn_shared(
            samples,
            config,
            noise=common_noise(windows, config, maps[channel]),
            device=plan.device,
            tile_px=plan.tile_px,
            precision=plan.precision,
            seed=config.seed * PLANE_SEED + SHARED_SEED + channel,
            start=start,
        )
        return (yield from changed(steps, named))


def _told(channel: int, planes: int) -> Progress:
    message = f"Channel {channel}: learning once, from {planes} planes of the stack."
    return Progress(stage="read", step=1, total=1, message=message)


def _sample(
    stack: ImageStack,
    mapping: IntensityMap,
    place: PlaneIndex,
    count: int,
    config: Config,
) -> Sample | None:
    """What is learned of one plane, None of one without signal."""
    from napari_zssr.zssr.shared import sample_of

    pixels = to_cyx(stack.data[place.index], plane_axes(stack.axes))
    colours, _ = even(mapping.normalise(colours_of(pixels)), config)
    if not shows_signal(colours):
        return None
    return sample_of(colours, count)


def _as_shared(event: Event, planes: int) -> Event:
    """Tell of an event that it is not about one plane."""
    if isinstance(event, Progress):
        return replace(event, stage=f"{STAGE} {event.stage}", planes=planes)
    return event


def remembered_steps(
    stack: ImageStack, config: Config, plan: Plan, work: PlaneWork
) -> Steps[Checkpoint | None]:
    """`shared_steps` for one plane's channel; what was learned lately is known still.

    Parameters
    ----------
    stack : ImageStack
        Its data may be lazy.
    config : Config
    plan : Plan
    work : PlaneWork
        A plane of the channel.
    """
    key = _key(stack, config, plan, work)
    if key in _remembered:
        return _remembered[key]
    maps = {work.place.channel: work.mapping}
    made = yield from shared_steps(
        stack, config, plan, maps, work.place.channel, work.start
    )
    _remembered[key] = made
    while len(_remembered) > REMEMBERED:
        _remembered.pop(next(iter(_remembered)), None)
    return made


_remembered: dict[str, Checkpoint | None] = {}


def _key(stack: ImageStack, config: Config, plan: Plan, work: PlaneWork) -> str:
    """Hash of all that decides what the planes of a channel share."""
    # How far it is trained on afterwards changes nothing of it.
    alike = replace(config, strategy="shared", tuned_steps=0, always=False)
    told = (alike.to_dict(), start_checksum(config))
    how = (plan.device, plan.precision, plan.tile_px)
    seen = (work.place.channel, work.mapping, stack.axes, stack.data.shape)
    digest = hashlib.sha256(repr((told, how, seen)).encode())
    listed = planes(stack.axes, stack.data.shape)
    for place in shared_places(listed, work.place.channel):
        plane = np.ascontiguousarray(stack.data[place.index])
        digest.update(f"{place.index} {plane.dtype}".encode() + plane.tobytes())
    return digest.hexdigest()
