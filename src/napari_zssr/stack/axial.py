"""Isotropic stacks: a channel's planes teach a network for its XZ and YZ sections."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_zssr.imaging.resample import window_within
from napari_zssr.progress import PlaneDone, Progress, Steps, T, map_events
from napari_zssr.stack.axial_channel import (
    AxialChannel,
    AxialReport,
    axial_execution,
    train_channel,
)
from napari_zssr.stack.axial_run import AxialRun, Strip

STAGE = "axial"


def axial_channel(ready: AxialRun, channel: int) -> Steps[AxialChannel]:
    """Decide how the columns of a channel are enlarged, and train its network."""
    return _as_axial(train_channel(ready, channel))


def enlarge_strip(
    ready: AxialRun, strip: Strip, channel: AxialChannel
) -> Steps[NDArray[Any]]:
    """Enlarge a strip of columns along Z; (Z', y, x), in the result's dtype."""
    import torch

    from napari_zssr.zssr.axial import enlarge_block, interpolate_block
    from napari_zssr.zssr.predict import window_with_halo

    volume, window = strip.volume, strip.window
    outer = window_with_halo(window, volume.size, channel.halo_px, (1.0, 1.0))
    normal = channel.mapping.normalise(volume.columns(outer))
    block = torch.from_numpy(np.ascontiguousarray(normal)).to(ready.plan.device)
    if channel.network is None:
        result = interpolate_block(block, ready.factor)
    else:
        execution = axial_execution(ready, volume.channel)
        steps = enlarge_block(
            channel.network, block, window_within(window, outer), execution
        )
        result = yield from _as_axial(steps)
    origin = window[0].start, window[1].start
    dtype = np.dtype(ready.plan.output_dtype)
    return channel.mapping.restore(result.numpy(), dtype, origin)


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
        columns = yield from enlarge_strip(ready, strip, channels[number])
        out[strip.volume.index(strip.window)] = columns.transpose(order)
        yield strip_done(strip.number + 1, len(strips))
    return tuple(channels[number].report for number in sorted(channels))


def strip_done(done: int, count: int) -> Progress:
    """Event after a strip of columns."""
    return Progress(stage=f"{STAGE} columns", step=done, total=count)


def axial_progress(event: PlaneDone) -> Progress:
    """A finished plane is not finished along Z."""
    return Progress(stage="planes", step=event.done, total=event.planes)


def _as_axial(steps: Steps[T]) -> Steps[T]:
    """Steps whose progress says that it is along Z."""

    def named(event: Progress) -> Progress:
        return replace(event, stage=f"{STAGE} {event.stage}")

    return map_events(steps, Progress, named)
