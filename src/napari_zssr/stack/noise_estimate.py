"""Estimates of the noise of an image before a run: of a channel, or of one plane."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_zssr.config import SHARED_PLANES, Config, change
from napari_zssr.imaging.noise import NoiseModel, shows_signal
from napari_zssr.imaging.resample import spread_evenly
from napari_zssr.progress import Progress, Steps, drain
from napari_zssr.stack.channels import channel_starts, sharing_channels
from napari_zssr.stack.image import (
    CheckedPlanes,
    ImageStack,
    Index,
    Pixels,
    PlaneIndex,
    plane_axes,
    planes,
    to_cyx,
)
from napari_zssr.stack.plane import (
    ChannelSetup,
    colours_of,
    common_noise,
    intensity_maps,
    plane_noise,
    without_artifacts,
)
from napari_zssr.stack.prepare import enlargeable
from napari_zssr.zssr.pretrained import PretrainedStart
from napari_zssr.zssr.start import Start
from napari_zssr.zssr.training_plan import Execution, Facts, NoiseEstimate, resolve

# Side of the part that is used, on whole blocks of a JPEG, and pixels of all
# planes of a channel together.
SIDE_PX, BLOCK_PX, PIXELS = 512, 16, 2 * 512**2


class _Middle:
    """The middle of every plane of an image, read when it is indexed."""

    def __init__(self, data: Pixels, axes: str) -> None:
        self._data = data
        self._part = tuple(
            _middle(n) if letter in "YX" else slice(None)
            for letter, n in zip(axes, data.shape, strict=True)
        )
        self.shape = tuple(
            part.stop - part.start if letter in "YX" else n
            for letter, n, part in zip(axes, data.shape, self._part, strict=True)
        )
        self.dtype, self.ndim = data.dtype, data.ndim

    def __getitem__(self, index: Index) -> NDArray[Any]:
        parts = zip(index, self._part, strict=True)
        part: NDArray[Any] = self._data[
            tuple(p if at == slice(None) else at for at, p in parts)
        ]
        return part


def noise_estimate_steps(
    stack: ImageStack, config: Config
) -> Steps[tuple[NoiseEstimate, ...]]:
    """Estimate the noise of each channel in the middle of a few of its planes.

    Planes are read one by one. Noise is estimated as in a run, on a part of what a run
    sees; so is whether a start that is applied as it is would help.
    """
    data = CheckedPlanes(_Middle(stack.data, stack.axes), "fill")
    part = replace(stack, data=data)
    listed = planes(stack.axes, data.shape)
    sharing = sharing_channels(config, listed)
    starts = channel_starts(config, stack.axes, data.shape)
    found = []
    for channel in sorted({index.channel for index in listed}):
        yield Progress(stage="noise", step=channel, total=1)
        chosen = _chosen(listed, channel, part)
        shares, start = channel in sharing, starts[channel]
        found.append(_estimate(part, config, chosen, start, shares=shares))
    return tuple(found)


def _estimate(
    stack: ImageStack,
    config: Config,
    chosen: Sequence[PlaneIndex],
    start: Start | None,
    *,
    shares: bool,
) -> NoiseEstimate:

    number = chosen[0].channel
    mapping = intensity_maps(stack.data, stack.axes, tuple(chosen))[number]
    channel = ChannelSetup(number=number, config=config, mapping=mapping)
    if not shares:
        chosen = [chosen[len(chosen) // 2]]
    parts, colours = [], []
    for plane_index in chosen:
        plane = to_cyx(stack.data[plane_index.index], plane_axes(stack.axes))
        parts.append(colours_of(plane))
        normal = mapping.normalise(parts[-1])
        colours.append(without_artifacts(normal, config)[0])
    if shares:
        noise = common_noise(colours, config, mapping)
    else:
        noise = plane_noise(colours[0], parts[0], channel)
    levels = [noise.level(each) for each in colours]
    level = sum(levels) / len(levels)
    gained = not shares or _gained(colours, config, start, noise, level)
    return NoiseEstimate(noise=noise, level=level, gained=gained)


def _gained(
    planes: Sequence[NDArray[np.float32]],
    config: Config,
    start: Start | None,
    noise: NoiseModel,
    level: float,
) -> bool:
    """Whether a start that is applied as it is does better than bicubic on planes.

    True where networks are trained, or the blur is still to be found: nothing is known.
    """
    import torch

    from napari_zssr.zssr.plane_trainer import (
        TrainingData,
        is_learnable,
        judge,
        train_network,
    )

    if not isinstance(start, PretrainedStart) or not config.kernel.is_concrete:
        return True
    samples = len(planes[0])
    facts = Facts(
        samples=samples, noise=noise, level=level, start=start, for_stack=True
    )
    plan, execution = resolve(config, facts), Execution()
    windows = tuple(
        plane
        for plane in map(torch.from_numpy, planes)
        if is_learnable(plane, plan.smallest_px)
    )
    if plan.trains or plan.always or plan.has_nothing_to_restore or not windows:
        return True
    data = TrainingData(windows=windows, sources=windows, parts=1)
    network, _ = drain(train_network(data, plan, execution))
    return judge(network, data, plan, execution, draws=1).significant


def plane_noise_level(
    stack: ImageStack, config: Config, plane_index: PlaneIndex
) -> float | None:
    """Noise of a plane as a run estimates it, fraction of the range.

    Its standard deviation at the mean signal; None for a plane that shows nothing but
    noise. Of lazy pixels this plane is read, and the few that intensities
    are taken from.
    """
    stack, config = enlargeable(stack, config.nonfinite), change(config, noise="auto")
    data = CheckedPlanes(stack.data, config.nonfinite)
    listed = planes(stack.axes, stack.data.shape)
    channel = tuple(one for one in listed if one.channel == plane_index.channel)
    mapping = intensity_maps(data, stack.axes, channel)[plane_index.channel]
    pixels = to_cyx(data[plane_index.index], plane_axes(stack.axes))
    normal = mapping.normalise(pixels)
    colours, _ = without_artifacts(colours_of(normal), config)
    if not shows_signal(colours):
        return None
    return common_noise([colours], config, mapping).level(colours)


def _chosen(
    listed: Sequence[PlaneIndex], channel: int, stack: ImageStack
) -> list[PlaneIndex]:
    """Planes that are read, fewer the larger they are."""
    own = [index for index in listed if index.channel == channel]
    sizes = dict(zip(stack.axes, stack.data.shape, strict=True))
    room = PIXELS // (sizes["Y"] * sizes["X"])
    return spread_evenly(own, max(1, min(SHARED_PLANES, room)))


def _middle(size: int) -> slice:
    """The middle of an axis, on whole blocks."""
    start = max(0, size - SIDE_PX) // 2 // BLOCK_PX * BLOCK_PX
    return slice(start, min(size, start + SIDE_PX))
