"""A window of one plane, seen while the plane is learned."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from numpy.typing import NDArray

from napari_zssr.config import Config
from napari_zssr.errors import InputError
from napari_zssr.imaging.intensity import BLOCK_PX, IntensityMap
from napari_zssr.imaging.kernel import FineKernel, loaded_kernel
from napari_zssr.imaging.resample import Window, imresize, output_window, shifted_window
from napari_zssr.progress import Event, Progress, Snapshot, Steps, map_events
from napari_zssr.stack.axes import from_cyx, plane_axes, planes, to_cyx
from napari_zssr.stack.axis_labels import check_pixels
from napari_zssr.stack.channel_blur import channel_kernel
from napari_zssr.stack.channels import (
    channel_assessment,
    channel_starts,
    remembered_steps,
    sharing_channels,
)
from napari_zssr.stack.image import CheckedPlanes, ImageStack, PlaneIndex
from napari_zssr.stack.plane import (
    PlaneInput,
    first_look,
    intensity_maps,
    upscale_plane_steps,
)
from napari_zssr.stack.plane_result import PlaneReport
from napari_zssr.stack.prepare import make_plan
from napari_zssr.stack.resources import output_type
from napari_zssr.zssr.start import as_expected

BICUBIC_REACH_PX = 4


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PreviewResult:
    """A finished preview.

    Attributes
    ----------
    image : ndarray
        The enlarged window, axes and dtype those of a plane of the image.
    window : tuple of slice
        Which pixels (Y, X) of the enlarged plane these are.
    report : PlaneReport
    kernel : FineKernel
        Blur of the plane's channel.
    """

    image: NDArray[Any]
    window: Window
    report: PlaneReport
    kernel: FineKernel


def preview_steps(
    stack: ImageStack, config: Config, *, plane_index: PlaneIndex, window: Window
) -> Steps[PreviewResult]:
    """Learn on one plane as a run would, and enlarge a window of it.

    Parameters
    ----------
    stack : ImageStack
        All that would be enlarged. Its data may be lazy (dask, zarr): only this plane
        and the few that the intensities are taken from are read.
    config : Config
    plane_index : PlaneIndex
        The plane, one of `planes`.
    window : tuple of slice
        Part of the plane (Y, X) in input pixels.

    Returns
    -------
    PreviewResult
        Equal to the window of a run to 0.001 of the intensity range. Before it comes
        a `Snapshot` of the window at once, made by what training starts from, and one
        about once a second of training; their images are like that of the result.

    Raises
    ------
    InputError
        The image, a setting or the window cannot be used.
    ComputeError
        The computation failed.
    """
    yield Progress(stage="read", step=0, total=1)
    config = replace(config, kernel=loaded_kernel(config.kernel))
    axes = plane_axes(stack.axes)
    data = CheckedPlanes(check_pixels(stack.data), config.nonfinite)
    plane = data[plane_index.index]
    starts = channel_starts(config, stack.axes, stack.data.shape)
    wanted = as_expected(config, starts)
    mapping = _intensity_map(data, stack, plane_index)
    plan = make_plan(
        replace(stack, data=plane, axes=axes),
        wanted,
        output_dtype=output_type(config, plane.dtype, [mapping]),
    )
    checked = replace(stack, data=data)
    found = channel_kernel(checked, config, mapping, plane_index.channel)
    config = replace(config, kernel=found.spec)
    pixels = to_cyx(plane, axes)
    size = (pixels.shape[1], pixels.shape[2])
    wanted_window = output_window(_inside(window, plane, axes), config.factors)
    wide = _with_whole_blocks(wanted_window, size, config.factors)
    work = PlaneInput(
        pixels=pixels,
        mapping=mapping,
        plane_index=plane_index,
        window=wide,
        start=starts[plane_index.channel],
    )
    first = output_window(wide, config.factors)
    cut = shifted_window(wanted_window, (-first[0].start, -first[1].start))
    ordered = partial(_ordered, axes=axes, cut=cut)
    listed = planes(stack.axes, stack.data.shape)
    if plane_index.channel in sharing_channels(config, listed):
        seen = first_look(work, config, plan)
        if seen is not None:
            yield ordered(seen)
            shared = yield from remembered_steps(checked, config, plan, work)
            work = replace(work, shared=shared)
    else:
        decided = channel_assessment(
            checked, config, plan, mapping, plane_index.channel
        )
        work = replace(work, assessment=decided)
    made = yield from map_events(upscale_plane_steps(work, config, plan), ordered)
    return PreviewResult(
        image=from_cyx(made.pixels[:, *cut], axes),
        window=wanted_window,
        report=made.report,
        kernel=found,
    )


def bicubic_window(
    stack: ImageStack, config: Config, *, plane_index: PlaneIndex, window: Window
) -> NDArray[Any]:
    """The window plainly enlarged, to compare with what `preview_steps` gives.

    Parameters
    ----------
    stack, config, place, window
        As for `preview_steps`.

    Returns
    -------
    ndarray
        Of the same shape and dtype as the pictures of the preview.
    """
    from napari_zssr.zssr.predict import window_with_halo

    axes = plane_axes(stack.axes)
    data = CheckedPlanes(check_pixels(stack.data), config.nonfinite)
    plane = data[plane_index.index]
    window = _inside(window, plane, axes)
    pixels = to_cyx(plane, axes)
    size = (pixels.shape[1], pixels.shape[2])
    rows, columns = window_with_halo(window, size, BICUBIC_REACH_PX, config.factors)
    made = imresize(pixels[:, rows, columns], config.factors)
    inside = output_window(
        shifted_window(window, (-rows.start, -columns.start)), config.factors
    )
    exact = IntensityMap(offset=0.0, scale=1.0)
    return from_cyx(exact.restore(made[:, *inside], plane.dtype), axes)


def _intensity_map(
    data: CheckedPlanes, stack: ImageStack, plane_index: PlaneIndex
) -> IntensityMap:
    """The map of the plane's channel, from the planes that a run looks at."""
    listed = planes(stack.axes, stack.data.shape)
    alike = tuple(p for p in listed if p.channel == plane_index.channel)
    return intensity_maps(data, stack.axes, alike)[plane_index.channel]


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


def _ordered(event: Event, axes: str, cut: Window) -> Event:
    """The wanted part of an event's picture, in the order of the plane's axes."""
    if isinstance(event, Snapshot):
        return replace(event, image=from_cyx(event.image[:, *cut], axes))
    return event
