"""A window of one plane, seen while the plane is learned."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_zssr.config import Config
from napari_zssr.errors import InputError
from napari_zssr.imaging.intensity import BLOCK_PX, IntensityMap
from napari_zssr.imaging.kernel import FineKernel
from napari_zssr.imaging.resample import Window, imresize, output_window, window_within
from napari_zssr.progress import Progress, Snapshot, Steps, map_events
from napari_zssr.stack.axial import cached_axial_channel, cubic_strip, enlarge_strip
from napari_zssr.stack.axial_channel import AxialReport
from napari_zssr.stack.axial_run import Strip, prepare_axial, volumes
from napari_zssr.stack.axis_labels import check_pixels
from napari_zssr.stack.channels import cached_shared_steps
from napari_zssr.stack.image import (
    CheckedPlanes,
    ImageStack,
    PlaneIndex,
    from_cyx,
    plane_axes,
    to_cyx,
)
from napari_zssr.stack.plane import (
    PlaneInput,
    initial_plane_snapshot,
    upscale_plane_steps,
)
from napari_zssr.stack.plane_result import PlaneReport
from napari_zssr.stack.prepare import make_plan, prepare
from napari_zssr.stack.resources import RunPlan

BICUBIC_REACH_PX = 4
# Step of the snapshot by plain interpolation.
BEFORE = -1


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PreviewResult:
    """A finished preview.

    Attributes
    ----------
    image : the enlarged window, axes and dtype those of a plane of the image
    window : which pixels (Y, X) of the enlarged plane these are
    kernel : blur of the plane's channel
    """

    image: NDArray[Any]
    window: Window
    report: PlaneReport
    kernel: FineKernel


def preview_steps(
    stack: ImageStack, config: Config, *, plane_index: PlaneIndex, window: Window
) -> Steps[PreviewResult]:
    """Learn on one plane as a run would, and enlarge a window (Y, X), input pixels.

    Of a lazy image only this plane and the few that the intensities are taken from are
    read. The result is equal to the window of a run to 0.001 of the intensity range.
    Before it comes a `Snapshot` of the window at once, made by what training starts
    from, and one about once a second of training; their images are like the result's.
    """
    yield Progress(stage="read", step=0, total=1)
    axes, number = plane_axes(stack.axes), plane_index.channel
    ready = prepare(stack, config, partial(_plan_of_plane, plane_index), (number,))
    channel, plane = ready.channels[number], ready.stack.data[plane_index.index]
    pixels = to_cyx(plane, axes)
    size = (pixels.shape[1], pixels.shape[2])
    target = output_window(_inside(window, plane, axes), config.factors)
    wide = _with_whole_blocks(target, size, config.factors)
    work = PlaneInput(
        pixels=pixels, plane_index=plane_index, channel=channel, window=wide
    )
    cut = window_within(target, output_window(wide, config.factors))
    ordered = partial(_ordered, axes=axes, cut=cut)
    if number in ready.sharing:
        snapshot = initial_plane_snapshot(work, ready.plan)
        if snapshot is not None:
            yield ordered(snapshot)
            shared = yield from cached_shared_steps(ready.stack, channel, ready.plan)
            work = replace(work, shared=shared)
    steps = upscale_plane_steps(work, ready.plan)
    result = yield from map_events(steps, Snapshot, ordered)
    assert channel.kernel is not None
    return PreviewResult(
        image=from_cyx(result.pixels[:, *cut], axes),
        window=target,
        report=result.report,
        kernel=channel.kernel,
    )


def _plan_of_plane(
    plane_index: PlaneIndex, stack: ImageStack, *options: Any, **named: Any
) -> RunPlan:
    """`make_plan` for a single plane of an image."""
    plane = stack.data[plane_index.index]
    alone = replace(stack, data=plane, axes=plane_axes(stack.axes))
    return make_plan(alone, *options, **named)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class AxialPreview:
    """Columns of a window enlarged along Z.

    Attributes
    ----------
    image : axes those of the stack but for T and C, in the dtype of the result
    report : AxialReport
    """

    image: NDArray[Any]
    report: AxialReport


def axial_preview_steps(
    stack: ImageStack,
    config: Config,
    factor: float,
    *,
    plane_index: PlaneIndex,
    window: Window,
) -> Steps[AxialPreview]:
    """Learn along Z as a run would, and enlarge the columns of a window (Y, X).

    Of stacks whose planes stay as they are. Before it comes a `Snapshot` of step -1,
    the window by cubic interpolation.
    """
    yield Progress(stage="read", step=0, total=1)
    ready = prepare_axial(stack, config, factor)
    at = dict(zip(stack.axes, plane_index.index, strict=True))
    strips = [
        Strip(number=number, volume=volume, window=window)
        for number, volume in enumerate(volumes(ready.stack))
        if all(at[axis] == n for axis, n in volume.at.items() if axis != "S")
    ]
    number = plane_index.channel
    plain = [cubic_strip(ready, strip) for strip in strips]
    yield Snapshot(image=_joined(plain, stack.axes), step=BEFORE)
    channel = yield from cached_axial_channel(ready, number)
    parts = []
    for strip in strips:
        part = yield from enlarge_strip(ready, strip, channel, len(strips))
        parts.append(part)
    return AxialPreview(image=_joined(parts, stack.axes), report=channel.report)


def _joined(parts: list[NDArray[Any]], axes: str) -> NDArray[Any]:
    """Columns (Z', y, x) of all samples, in the order of the stack's axes."""
    letters = "ZYX" if "S" not in axes else "SZYX"
    block = np.stack(parts) if "S" in axes else parts[0]
    return block.transpose([letters.index(a) for a in axes if a in letters])


def bicubic_window(
    stack: ImageStack, config: Config, *, plane_index: PlaneIndex, window: Window
) -> NDArray[Any]:
    """The window plainly enlarged, to compare with what `preview_steps` gives."""
    from napari_zssr.zssr.predict import window_with_halo

    axes = plane_axes(stack.axes)
    data = CheckedPlanes(check_pixels(stack.data), config.nonfinite)
    plane = data[plane_index.index]
    window = _inside(window, plane, axes)
    pixels = to_cyx(plane, axes)
    size = (pixels.shape[1], pixels.shape[2])
    wide = window_with_halo(window, size, BICUBIC_REACH_PX, config.factors)
    enlarged = imresize(pixels[:, *wide], config.factors)
    inside = output_window(window_within(window, wide), config.factors)
    exact = IntensityMap(offset=0.0, scale=1.0)
    return from_cyx(exact.restore(enlarged[:, *inside], plane.dtype), axes)


def _inside(window: Window, plane: NDArray[Any], axes: str) -> Window:
    """The window with its ends inside the plane."""
    rows, columns = (
        slice(*part.indices(plane.shape[axes.index(letter)])[:2])
        for part, letter in zip(window, "YX", strict=True)
    )
    if rows.start >= rows.stop or columns.start >= columns.stop:
        raise InputError(
            f"The preview's window {window} holds no pixel of the plane; move it onto "
            "the image."
        )
    return rows, columns


def _with_whole_blocks(
    wanted: Window, size: tuple[int, int], factors: tuple[float, float]
) -> Window:
    """Input pixels (Y, X) of all blocks, see `quantized`, that a result touches."""
    rows, columns = (
        slice(
            max(0, math.floor(part.start // BLOCK_PX * BLOCK_PX / f) - 1),
            min(n, math.ceil(-(-part.stop // BLOCK_PX) * BLOCK_PX / f) + 1),
        )
        for part, n, f in zip(wanted, size, factors, strict=True)
    )
    return rows, columns


def _ordered(snapshot: Snapshot, axes: str, cut: Window) -> Snapshot:
    """The wanted part of a snapshot, in the order of the plane's axes."""
    return replace(snapshot, image=from_cyx(snapshot.image[:, *cut], axes))
