"""Many planes: one after the other, in memory."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_zssr.config import Config
from napari_zssr.progress import PlaneDone, Steps
from napari_zssr.stack.axes import (
    Channel,
    ImageStack,
    PlaneIndex,
    output_origin,
    output_spacing,
    plane_axes,
    to_cyx,
)
from napari_zssr.stack.middle import MiddleNetworks
from napari_zssr.stack.prepare import Prepared, prepare
from napari_zssr.stack.report import Report, report_of
from napari_zssr.stack.source import is_lazy
from napari_zssr.zssr.saved import Checkpoint

Allocate = Callable[[tuple[int, ...], np.dtype[Any]], NDArray[Any]]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Upscaled:
    """A result.

    Attributes
    ----------
    image : ndarray
        Enlarged pixels, in the dtype of the input unless `config` says otherwise or
        its counts are too few for whole numbers.
    axes : str
    spacing : tuple of (float or None)
        Pixel size along each axis.
    units : tuple of (str or None)
    origin : tuple of float
        Centre of the first pixel, seen from that of the input's.
    channels : tuple of Channel
    config : Config
    report : Report
    networks : tuple of (Checkpoint or None)
        For each channel, as plain data on the CPU, those that its planes share, or
        those of one plane: of the planes that networks enlarged, the one nearest to
        the middle. Empty where none did.
    input_origin : tuple of float
        Centre of the input's first pixel; empty when it is 0.
    """

    image: NDArray[Any]
    axes: str
    spacing: tuple[float | None, ...]
    units: tuple[str | None, ...]
    origin: tuple[float, ...]
    channels: tuple[Channel, ...]
    config: Config
    report: Report
    networks: tuple[Checkpoint | None, ...] = ()
    input_origin: tuple[float, ...] = ()

    def as_stack(self) -> ImageStack:
        """The result as an image that can be written, and lies on the input."""
        start = self.input_origin or (0.0,) * len(self.axes)
        return ImageStack(
            data=self.image,
            axes=self.axes,
            spacing=self.spacing,
            units=self.units,
            channels=self.channels,
            name=self.report.input_name,
            origin=tuple(a + b for a, b in zip(start, self.origin, strict=True)),
        )


def upscale_steps(
    stack: ImageStack, config: Config, *, allocate: Allocate = np.empty
) -> Steps[Upscaled]:
    """Enlarge every plane of an image, by the strategy that the settings ask for.

    Parameters
    ----------
    stack : ImageStack
    config : Config
    allocate : callable
        Gives an array of a shape and dtype for the result, which can be read while it
        is filled: what `PlaneDone` names is there.

    Returns
    -------
    Upscaled

    Raises
    ------
    InputError
        The image or a setting cannot be used.
    ComputeError
        The computation failed.
    """
    started = time.monotonic()
    ready = prepare(stack, config)
    listed, axes = ready.listed, ready.stack.axes
    out = allocate(ready.plan.output_shape, np.dtype(ready.plan.output_dtype))
    if not is_lazy(stack.data):
        _check_all(ready, listed)
    shared = {}
    for channel in ready.sharing:
        shared[channel] = yield from ready.shared(channel)
    reports, kept = [], MiddleNetworks(listed, shared)
    for place in listed:
        made = yield from ready.enlarged(place, shared.get(place.channel))
        with made:
            made.fill(to_cyx(out[place.index], plane_axes(axes)))
        reports.append(made.report)
        kept.see(place, made.networks)
        done = place.number + 1
        yield PlaneDone(
            plane=place.number, planes=len(listed), index=place.index, done=done
        )
    return Upscaled(
        image=out,
        axes=axes,
        spacing=output_spacing(stack.spacing, axes, config.factors),
        units=stack.units,
        origin=output_origin(stack.spacing, axes, config.factors),
        channels=stack.channels,
        config=ready.config,
        report=report_of(ready, tuple(reports), seconds=time.monotonic() - started),
        networks=kept.networks(),
        input_origin=stack.origin,
    )


def _check_all(ready: Prepared, listed: tuple[PlaneIndex, ...]) -> None:
    """Refuse NaN and Inf anywhere before the first plane takes its time."""
    if ready.config.nonfinite == "refuse" and ready.stack.data.dtype.kind == "f":
        for place in listed:
            ready.stack.data[place.index]
