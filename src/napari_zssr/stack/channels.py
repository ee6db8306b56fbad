"""The networks that every channel of an image starts from. No torch in here."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from napari_zssr.config import SHARED_PLANES, Config
from napari_zssr.errors import InputError, compute_errors
from napari_zssr.imaging.intensity import IntensityMap
from napari_zssr.imaging.noise import NoiseModel, shows_signal
from napari_zssr.progress import Event, Progress, Steps, drain, map_events
from napari_zssr.stack.axes import plane_axes, planes, to_cyx
from napari_zssr.stack.image import ImageStack, PlaneIndex, colour_count
from napari_zssr.stack.plane import (
    PLANE_SEED,
    PlaneInput,
    colours_of,
    common_noise,
    with_jpeg_noise,
    without_artifacts,
)
from napari_zssr.stack.resources import RunPlan
from napari_zssr.zssr.checkpoint import Checkpoint
from napari_zssr.zssr.pretrained import PretrainedStart
from napari_zssr.zssr.start import (
    Start,
    load_start,
    sized,
    start_checksum,
    start_message,
)

if TYPE_CHECKING:
    from napari_zssr.zssr.judge import Assessment
    from napari_zssr.zssr.plane import Sample

KINDS = {
    "residual": "of the presets fast and balanced",
    "paper": "of the preset paper",
}


def channel_starts(
    config: Config, axes: str, shape: Sequence[int]
) -> tuple[Start | None, ...]:
    """What each channel of an image starts from; None is random weights.

    Parameters
    ----------
    config : Config
    axes : str
        Letters of the image's axes.
    shape : sequence of int
        Size along each of them.

    Raises
    ------
    InputError
        The file of networks is missing or damaged, or does not fit the image or the
        settings.
    """
    channels = shape[axes.index("C")] if "C" in axes else 1
    found = load_start(config)
    if isinstance(found, PretrainedStart):
        _check_network("residual", config)
    if found is None or isinstance(found, PretrainedStart):
        return (found,) * channels
    for one in found:
        if one is not None:
            _check_fits(one, config, _colours(axes, shape))
    if len(found) not in (1, channels):
        raise InputError(
            f"The file of networks holds those of {len(found)} channels, the image has "
            f"{channels}; give networks of {_one_or(channels)}."
        )
    return found if len(found) == channels else found * channels


def start_message_for_files(config: Config) -> str:
    """What training will begin from, of images that are still to be read.

    Raises
    ------
    InputError
        The file of networks is missing or damaged.
    """
    found = load_start(config)
    if isinstance(found, tuple):
        return start_message(config, next(one for one in found if one is not None))
    return start_message(config, found)


def _check_fits(one: Checkpoint, config: Config, colours: int) -> None:
    """Refuse networks that cannot do what the settings ask for."""
    _check_network(one.network, config)
    if one.samples != colours:
        raise InputError(
            f"The saved networks were trained on {_pixels(one.samples)}, the image has "
            f"{_pixels(colours)}; give networks of an image like this one."
        )
    if not _same_factors(one, config):
        y, x = one.factors
        raise InputError(
            f"The saved networks were trained for the factor {y:g} x {x:g}, which does "
            f"not serve {config.factors[0]:g} x {config.factors[1]:g}; choose that "
            "factor, or other networks."
        )


def _check_network(network: str, config: Config) -> None:
    if network != config.network:
        kind = KINDS.get(network, f"of an unknown kind ({network})")
        raise InputError(
            f"The saved networks are {kind}, the settings ask for those "
            f"{KINDS[config.network]}; choose the preset that they were saved with."
        )


def _colours(axes: str, shape: Sequence[int]) -> int:
    return colour_count(shape[axes.index("S")] if "S" in axes else 1)


def _one_or(channels: int) -> str:
    return "one channel" if channels == 1 else f"{channels} channels or of one"


def _pixels(colours: int) -> str:
    return "grey pixels" if colours == 1 else f"pixels of {colours} colours"


def _same_factors(one: Checkpoint, config: Config) -> bool:
    """Whether the networks serve the factors: one along the same axes, if residual.

    A residual network is applied until the factor is reached.
    """
    if one.network == "paper":
        return one.factors == config.factors
    return [f > 1 for f in one.factors] == [f > 1 for f in config.factors]


def shared_places(
    listed: tuple[PlaneIndex, ...], channel: int
) -> tuple[PlaneIndex, ...]:
    """Planes that a channel's networks are learned from, spread over the stack.

    Parameters
    ----------
    listed : tuple of PlaneIndex
        All planes of the stack.
    channel : int
    """
    alike = [plane_index for plane_index in listed if plane_index.channel == channel]
    count = min(len(alike), SHARED_PLANES)
    return tuple(alike[(2 * n + 1) * len(alike) // (2 * count)] for n in range(count))


def sharing_channels(config: Config, listed: tuple[PlaneIndex, ...]) -> tuple[int, ...]:
    """Channels whose planes share networks; the others learn plane by plane."""
    counts: dict[int, int] = {}
    for plane_index in listed:
        counts[plane_index.channel] = counts.get(plane_index.channel, 0) + 1
    return tuple(
        channel
        for channel, count in sorted(counts.items())
        if config.strategy_for(count) != "independent"
    )


# Beyond the numbers of planes, which have seeds of their own.
SHARED_SEED = 500_009
STAGE = "shared"
# Results of which a preview remembers what was shared.
REMEMBERED = 4


def shared_steps(
    stack: ImageStack,
    config: Config,
    plan: RunPlan,
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
    from napari_zssr.zssr.plane import train_shared

    listed = planes(stack.axes, stack.data.shape)
    plane_indices = shared_places(listed, channel)
    config = sized(config, start)
    named = partial(_as_shared, planes=len(listed))
    samples: list[Sample] = []
    for number, plane_index in enumerate(plane_indices):
        yield named(Progress(stage="read", step=number, total=len(plane_indices)))
        sample = _sample(stack, maps[channel], plane_index, len(plane_indices), config)
        samples += [] if sample is None else [sample]
    if not samples:
        return None
    yield named(_told(channel, len(samples)))
    windows = [window.numpy() for sample in samples for window in sample.windows]
    with compute_errors(f"Learning for channel {channel}", plan.device):
        steps = train_shared(
            samples,
            config,
            noise=common_noise(windows, config, maps[channel]),
            device=plan.device,
            tile_px=plan.tile_px,
            precision=plan.precision,
            seed=config.seed * PLANE_SEED + SHARED_SEED + channel,
            start=start,
        )
        return (yield from map_events(steps, named))


def _told(channel: int, planes: int) -> Progress:
    message = f"Channel {channel}: learning once, from {planes} planes of the stack."
    return Progress(stage="read", step=1, total=1, message=message)


def _sample(
    stack: ImageStack,
    mapping: IntensityMap,
    plane_index: PlaneIndex,
    count: int,
    config: Config,
) -> Sample | None:
    """What is learned of one plane, None of one without signal."""
    from napari_zssr.zssr.plane import plane_sample

    pixels = to_cyx(stack.data[plane_index.index], plane_axes(stack.axes))
    colours, _ = without_artifacts(mapping.normalise(colours_of(pixels)), config)
    if not shows_signal(colours):
        return None
    return plane_sample(colours, count)


def _as_shared(event: Event, planes: int) -> Event:
    """Tell of an event that it is not about one plane."""
    if isinstance(event, Progress):
        return replace(event, stage=f"{STAGE} {event.stage}", planes=planes)
    return event


def remembered_steps(
    stack: ImageStack, config: Config, plan: RunPlan, work: PlaneInput
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
    maps = {work.plane_index.channel: work.mapping}
    made = yield from shared_steps(
        stack, config, plan, maps, work.plane_index.channel, work.start
    )
    _remembered[key] = made
    while len(_remembered) > REMEMBERED:
        _remembered.pop(next(iter(_remembered)), None)
    return made


_remembered: dict[str, Checkpoint | None] = {}


def _key(stack: ImageStack, config: Config, plan: RunPlan, work: PlaneInput) -> str:
    """Hash of all that decides what the planes of a channel share."""
    # How far it is trained on afterwards changes nothing of it.
    alike = replace(config, strategy="shared", tuned_steps=0, always=False)
    told = (alike.to_dict(), start_checksum(config))
    how = (plan.device, plan.precision, plan.tile_px)
    seen = (work.plane_index.channel, work.mapping, stack.axes, stack.data.shape)
    digest = hashlib.sha256(repr((told, how, seen)).encode())
    listed = planes(stack.axes, stack.data.shape)
    for plane_index in shared_places(listed, work.plane_index.channel):
        plane = np.ascontiguousarray(stack.data[plane_index.index])
        digest.update(f"{plane_index.index} {plane.dtype}".encode() + plane.tobytes())
    return digest.hexdigest()


def channel_assessment(
    stack: ImageStack,
    config: Config,
    plan: RunPlan,
    mapping: IntensityMap,
    channel: int,
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
    plane_indices = shared_places(listed, channel)
    if channel in sharing_channels(config, listed) or len(plane_indices) == 1:
        return None
    middle = len(plane_indices) // 2
    for plane_index in sorted(
        plane_indices, key=lambda p: abs(plane_indices.index(p) - middle)
    ):
        pixels = colours_of(
            to_cyx(stack.data[plane_index.index], plane_axes(stack.axes))
        )
        colours, _ = without_artifacts(mapping.normalise(pixels), config)
        if not shows_signal(colours):
            continue
        noise = common_noise([colours], config, mapping)
        noise = with_jpeg_noise(noise, pixels, mapping.scale, config)
        with compute_errors(f"A trial on plane {plane_index.number}", plan.device):
            return _tried(colours, config, plan, noise)
    return None


def _tried(
    colours: NDArray[np.float32], config: Config, plan: RunPlan, noise: NoiseModel
) -> Assessment | None:
    import torch

    from napari_zssr.zssr.plane import trial_assessment

    plane = torch.from_numpy(colours).to(plan.device)
    return drain(
        trial_assessment(
            plane, config, noise=noise, tile_px=plan.tile_px, seed=config.seed
        )
    )
