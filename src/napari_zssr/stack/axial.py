"""Isotropic stacks: a channel's planes teach a network for its XZ and YZ sections."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_zssr.imaging.resample import Window, window_within
from napari_zssr.progress import ALONG_Z, PlaneDone, Progress, Steps, T, map_events
from napari_zssr.stack.axial_channel import (
    AxialChannel,
    AxialReport,
    axial_execution,
    train_channel,
)
from napari_zssr.stack.axial_run import AxialRun, Strip
from napari_zssr.stack.channels import planes_key

if TYPE_CHECKING:
    from torch import Tensor

# Steps of progress for each strip of columns.
FINE = 100
CACHED_CHANNELS = 4


def axial_channel(ready: AxialRun, channel: int) -> Steps[AxialChannel]:
    """Decide how the columns of a channel are enlarged, and train its network."""
    return _as_axial(train_channel(ready, channel))


def cached_axial_channel(ready: AxialRun, channel: int) -> Steps[AxialChannel]:
    """`axial_channel`, unless the same network was trained lately."""
    plan = ready.plan
    settings = (ready.config.to_dict(), ready.factor, plan.device, plan.precision)
    key = planes_key(ready.stack, channel, settings)
    if key not in _channels:
        _channels[key] = yield from axial_channel(ready, channel)
        while len(_channels) > CACHED_CHANNELS:
            _channels.pop(next(iter(_channels)), None)
    return _channels[key]


_channels: dict[str, AxialChannel] = {}


def enlarge_strip(
    ready: AxialRun, strip: Strip, channel: AxialChannel, strips: int
) -> Steps[NDArray[Any]]:
    """Enlarge one of so many strips along Z; (Z', y, x), in the result's dtype."""
    from napari_zssr.zssr.axial import enlarge_block
    from napari_zssr.zssr.predict import window_with_halo

    if channel.network is None:
        return cubic_strip(ready, strip)
    halo = channel.network.halo_px
    outer = window_with_halo(strip.window, strip.volume.size, halo, (1.0, 1.0))
    inner = window_within(strip.window, outer)
    execution = axial_execution(ready, strip.volume.channel)
    block = _block(ready, strip, outer)
    steps = enlarge_block(channel.network, block, inner, execution)

    def of_strip(event: Progress) -> Progress:
        # Done is what can be used.
        share = 0.99 * event.step / event.total
        return strip_done(strip.number + share, strips)

    result = yield from map_events(steps, Progress, of_strip)
    return _restored(ready, strip, result)


def cubic_strip(ready: AxialRun, strip: Strip) -> NDArray[Any]:
    """A strip by cubic interpolation along Z; (Z', y, x), in the result's dtype."""
    from napari_zssr.zssr.axial import interpolate_block

    block = _block(ready, strip, strip.window)
    return _restored(ready, strip, interpolate_block(block, ready.factor))


def _block(ready: AxialRun, strip: Strip, window: Window) -> Tensor:
    """Normalised columns of a strip's volume, (Z, y, x), on the device."""
    import torch

    columns = strip.volume.columns(window)
    normal = ready.maps[strip.volume.channel].normalise(columns)
    return torch.from_numpy(np.ascontiguousarray(normal)).to(ready.plan.device)


def _restored(ready: AxialRun, strip: Strip, result: Tensor) -> NDArray[Any]:
    """Pixels of normalised columns."""
    rows, columns = strip.window
    dtype = np.dtype(ready.plan.output_dtype)
    mapping = ready.maps[strip.volume.channel]
    return mapping.restore(result.numpy(), dtype, (rows.start, columns.start))


def axial_steps(ready: AxialRun, out: NDArray[Any]) -> Steps[tuple[AxialReport, ...]]:
    """Enlarge all volumes of a stack along Z into an array of the result's shape."""
    channels: dict[int, AxialChannel] = {}
    left = [letter for letter in ready.stack.axes if letter in "ZYX"]
    order = ["ZYX".index(letter) for letter in left]
    strips = ready.strips
    for strip in strips:
        number = strip.volume.channel
        if number not in channels:
            channels[number] = yield from axial_channel(ready, number)
        columns = yield from enlarge_strip(ready, strip, channels[number], len(strips))
        out[strip.volume.index(strip.window)] = columns.transpose(order)
        yield strip_done(strip.number + 1, len(strips))
    return tuple(channels[number].report for number in sorted(channels))


def strip_done(done: float, count: int) -> Progress:
    """Event after so many strips of columns."""
    return Progress(
        stage=f"{ALONG_Z}columns", step=int(FINE * done), total=FINE * count
    )


def axial_progress(event: PlaneDone) -> Progress:
    """A finished plane is not finished along Z."""
    return Progress(stage="planes", step=event.done, total=event.planes)


def _as_axial(steps: Steps[T]) -> Steps[T]:
    """Steps whose progress says that it is along Z."""
    return map_events(
        steps, Progress, lambda event: replace(event, stage=ALONG_Z + event.stage)
    )
