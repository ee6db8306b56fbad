"""The networks that every channel of an image starts from. No torch in here."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_zssr.config import SHARED_PLANES, Config, change
from napari_zssr.errors import InputError, compute_errors
from napari_zssr.imaging.noise import shows_signal
from napari_zssr.progress import Event, Progress, Steps, drain, map_events
from napari_zssr.stack.axes import plane_axes, planes, to_cyx
from napari_zssr.stack.image import ImageStack, PlaneIndex, colour_count
from napari_zssr.stack.plane import (
    PLANE_SEED,
    ChannelSetup,
    colours_of,
    common_noise,
    plane_noise,
    without_artifacts,
)
from napari_zssr.stack.resources import RunPlan
from napari_zssr.zssr.checkpoint import Checkpoint
from napari_zssr.zssr.kinds import KINDS, RESIDUAL
from napari_zssr.zssr.pretrained import PretrainedStart
from napari_zssr.zssr.start import Start, load_start, start_checksum
from napari_zssr.zssr.training_plan import (
    Execution,
    Facts,
    resolve,
    start_message,
    trial_config,
)

if TYPE_CHECKING:
    from napari_zssr.zssr.judge import Assessment


def channel_starts(
    config: Config, axes: str, shape: Sequence[int]
) -> tuple[Start | None, ...]:
    """What each channel of an image starts from; None is random weights.

    Raises InputError.
    """
    channels = shape[axes.index("C")] if "C" in axes else 1
    start = load_start(config)
    if isinstance(start, PretrainedStart):
        _check_network(RESIDUAL.name, config)
    if start is None or isinstance(start, PretrainedStart):
        return (start,) * channels
    for checkpoint in start:
        if checkpoint is not None:
            _check_fits(checkpoint, config, _colours(axes, shape))
    if len(start) not in (1, channels):
        raise InputError(
            f"The file of networks holds those of {len(start)} channels, the image has "
            f"{channels}; give networks of {_one_or(channels)}."
        )
    return start if len(start) == channels else start * channels


def start_message_for_files(config: Config) -> str:
    """What training will begin from, of images that are still to be read.

    Raises InputError.
    """
    start = load_start(config)
    if isinstance(start, tuple):
        return start_message(
            config, next(checkpoint for checkpoint in start if checkpoint is not None)
        )
    return start_message(config, start)


def _check_fits(checkpoint: Checkpoint, config: Config, colours: int) -> None:
    """Refuse networks that cannot do what the settings ask for."""
    _check_network(checkpoint.network, config)
    if checkpoint.samples != colours:
        raise InputError(
            f"The saved networks were trained on {_pixels(checkpoint.samples)}, the "
            f"image has {_pixels(colours)}; give networks of an image like this one."
        )
    if not _same_factors(checkpoint, config):
        y, x = checkpoint.factors
        raise InputError(
            f"The saved networks were trained for the factor {y:g} x {x:g}, which does "
            f"not serve {config.factors[0]:g} x {config.factors[1]:g}; choose that "
            "factor, or other networks."
        )


def _check_network(network: str, config: Config) -> None:
    if network != config.network:
        known = network in KINDS
        kind = KINDS[network].presets if known else f"of an unknown kind ({network})"
        raise InputError(
            f"The saved networks are {kind}, the settings ask for those "
            f"{KINDS[config.network].presets}; choose the preset that they were saved "
            "with."
        )


def _colours(axes: str, shape: Sequence[int]) -> int:
    return colour_count(shape[axes.index("S")] if "S" in axes else 1)


def _one_or(channels: int) -> str:
    return "one channel" if channels == 1 else f"{channels} channels or of one"


def _pixels(colours: int) -> str:
    return "grey pixels" if colours == 1 else f"pixels of {colours} colours"


def _same_factors(checkpoint: Checkpoint, config: Config) -> bool:
    """Whether the networks serve the factors: one along the same axes, if residual.

    A residual network is applied until the factor is reached.
    """
    if KINDS[checkpoint.network].fine_grid:
        return checkpoint.factors == config.factors
    return [f > 1 for f in checkpoint.factors] == [f > 1 for f in config.factors]


def shared_planes(
    listed: tuple[PlaneIndex, ...], channel: int
) -> tuple[PlaneIndex, ...]:
    """Planes that a channel's networks are learned from, spread over the stack."""
    candidates = [
        plane_index for plane_index in listed if plane_index.channel == channel
    ]
    count = min(len(candidates), SHARED_PLANES)
    return tuple(
        candidates[(2 * n + 1) * len(candidates) // (2 * count)] for n in range(count)
    )


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
CACHED = 4


def shared_steps(
    stack: ImageStack, channel: ChannelSetup, run: RunPlan
) -> Steps[Checkpoint | None]:
    """Train what the planes of a channel share, from windows of a few of them.

    The planes of `shared_planes` are read one after the other. None where none of them
    shows anything; each plane then learns on itself.
    """
    from napari_zssr.zssr.plane_trainer import (
        data_of_samples,
        noise_level,
        plane_sample,
        train_shared,
    )

    listed = planes(stack.axes, stack.data.shape)
    chosen = shared_planes(listed, channel.number)
    renamed = partial(_as_shared, planes=len(listed))
    samples = []
    for number, plane_index in enumerate(chosen):
        yield renamed(Progress(stage="read", step=number, total=len(chosen)))
        colours, _ = _normal_colours(stack, channel, plane_index)
        sample = plane_sample(colours, len(chosen)) if shows_signal(colours) else None
        samples += [] if sample is None else [sample]
    if not samples:
        return None
    message = (
        f"Channel {channel.number}: learning once, from {len(samples)} planes of the "
        "stack."
    )
    yield renamed(Progress(stage="read", step=1, total=1, message=message))
    windows = [window.numpy() for sample in samples for window in sample.windows]
    noise = common_noise(windows, channel.config, channel.mapping)
    with compute_errors(f"Learning for channel {channel.number}", run.device):
        data = data_of_samples(samples, run.device)
        levels = [noise_level(window, noise) for window in data.windows]
        facts = Facts(
            samples=len(data.windows[0]),
            noise=noise,
            level=sum(levels) / len(levels),
            start=channel.start,
            for_stack=True,
        )
        execution = Execution(
            device=run.device,
            precision=run.precision,
            tile_px=run.tile_px,
            seed=channel.config.seed * PLANE_SEED + SHARED_SEED + channel.number,
        )
        plan = resolve(channel.config, facts)
        steps = train_shared(data, plan, execution, len(samples))
        return (yield from map_events(steps, renamed))


def _normal_colours(
    stack: ImageStack, channel: ChannelSetup, plane_index: PlaneIndex
) -> tuple[NDArray[np.float32], NDArray[Any]]:
    """Normalised colours of a plane without stripes, and its own pixels (C, Y, X)."""
    pixels = colours_of(to_cyx(stack.data[plane_index.index], plane_axes(stack.axes)))
    normal = channel.mapping.normalise(pixels)
    return without_artifacts(normal, channel.config)[0], pixels


def _as_shared(event: Event, planes: int) -> Event:
    """An event that is not about one plane."""
    if isinstance(event, Progress):
        return replace(event, stage=f"{STAGE} {event.stage}", planes=planes)
    return event


def cached_shared_steps(
    stack: ImageStack, channel: ChannelSetup, run: RunPlan
) -> Steps[Checkpoint | None]:
    """`shared_steps`, unless the same networks were trained lately."""
    key = _key(stack, channel, run)
    if key not in _cache:
        _cache[key] = yield from shared_steps(stack, channel, run)
        while len(_cache) > CACHED:
            _cache.pop(next(iter(_cache)), None)
    return _cache[key]


_cache: dict[str, Checkpoint | None] = {}


def _key(stack: ImageStack, channel: ChannelSetup, run: RunPlan) -> str:
    """Hash of all that decides what the planes of a channel share."""
    # How far it is trained on afterwards changes nothing of it.
    config = change(channel.config, strategy="shared", tuned_steps=0, always=False)
    settings = (config.to_dict(), start_checksum(config))
    resources = (run.device, run.precision, run.tile_px)
    image = (channel.number, channel.mapping, stack.axes, stack.data.shape)
    digest = hashlib.sha256(repr((settings, resources, image)).encode())
    listed = planes(stack.axes, stack.data.shape)
    for plane_index in shared_planes(listed, channel.number):
        plane = np.ascontiguousarray(stack.data[plane_index.index])
        digest.update(f"{plane_index.index} {plane.dtype}".encode() + plane.tobytes())
    return digest.hexdigest()


def channel_assessment(
    stack: ImageStack, channel: ChannelSetup, run: RunPlan
) -> Assessment | None:
    """Assess a channel of several planes that share no networks, on one of them.

    The plane in the middle is read, or one near it that shows something. None for other
    channels, which are assessed where their networks are trained.
    """
    import torch

    from napari_zssr.zssr.plane_trainer import noise_level, trial_assessment

    listed = planes(stack.axes, stack.data.shape)
    chosen = shared_planes(listed, channel.number)
    shares = channel.number in sharing_channels(channel.config, listed)
    if shares or len(chosen) == 1:
        return None
    middle = len(chosen) // 2
    for number in sorted(range(len(chosen)), key=lambda n: abs(n - middle)):
        colours, pixels = _normal_colours(stack, channel, chosen[number])
        if not shows_signal(colours):
            continue
        noise = plane_noise(colours, pixels, channel)
        what = f"A trial on plane {chosen[number].number}"
        with compute_errors(what, run.device):
            plane = torch.from_numpy(colours).to(run.device)
            facts = Facts(
                samples=len(plane), noise=noise, level=noise_level(plane, noise)
            )
            execution = Execution(
                device=run.device, tile_px=run.tile_px, seed=channel.config.seed
            )
            plan = resolve(trial_config(channel.config), facts)
            return drain(trial_assessment(plane, plan, execution))
    return None
