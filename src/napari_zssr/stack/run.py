"""Many planes: one after the other, in memory."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_zssr.config import Config, change
from napari_zssr.errors import InputError
from napari_zssr.progress import PlaneDone, Steps, drain, map_events
from napari_zssr.stack.axial import axial_progress, axial_steps
from napari_zssr.stack.axial_factor import axial_factor
from napari_zssr.stack.axial_run import prepare_axial
from napari_zssr.stack.channels import channel_starts
from napari_zssr.stack.image import (
    Channel,
    ImageStack,
    PlaneIndex,
    error_index,
    error_outline,
    from_cyx,
    is_lazy,
    outline_of,
    output_origin,
    output_spacing,
    plane_axes,
    to_cyx,
)
from napari_zssr.stack.prepare import Prepared, make_plan, prepare
from napari_zssr.stack.report import Report, axial_report, report_of
from napari_zssr.zssr.checkpoint import Checkpoint

if TYPE_CHECKING:
    import dask.array


class MiddlePlaneNetworks:
    """Networks of each channel: those shared, or of the plane nearest the middle."""

    def __init__(
        self,
        listed: tuple[PlaneIndex, ...],
        shared: Mapping[int, Checkpoint | None],
    ) -> None:
        self._shared = shared
        self._planes: dict[int, list[int]] = {}
        for plane_index in listed:
            self._planes.setdefault(plane_index.channel, []).append(plane_index.number)
        self._nearest: dict[int, tuple[int, Checkpoint]] = {}

    def add(self, plane_index: PlaneIndex, networks: Checkpoint | None) -> None:
        """Keep the networks of a plane if none is nearer to the middle."""
        numbers = self._planes[plane_index.channel]
        distance = abs(numbers.index(plane_index.number) - len(numbers) // 2)
        best = self._nearest.get(plane_index.channel)
        if networks is not None and (best is None or distance < best[0]):
            networks = self._shared.get(plane_index.channel) or networks
            self._nearest[plane_index.channel] = (distance, networks)

    def networks(self) -> tuple[Checkpoint | None, ...]:
        """One entry for each channel, or none at all."""
        if not self._nearest:
            return ()
        nearest = (self._nearest.get(channel) for channel in sorted(self._planes))
        return tuple(None if entry is None else entry[1] for entry in nearest)


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
    error : ndarray or None
        Standard error of every pixel, where it was asked for (``error_map``): float32
        in units of the image, of its shape without samples; NaN where it is not
        known.
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
    error: NDArray[np.float32] | None = None

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

    def error_stack(self) -> ImageStack | None:
        """The standard error as an image that lies on the result, or None."""
        if self.error is None:
            return None
        outline = error_outline(outline_of(self.as_stack()))
        return ImageStack(
            data=self.error,
            axes=outline.axes,
            spacing=outline.spacing,
            units=outline.units,
            origin=outline.origin,
            channels=outline.channels,
            name=outline.name,
        )


def upscale_steps(
    stack: ImageStack, config: Config, *, allocate: Allocate = np.empty
) -> Steps[Upscaled]:
    """Enlarge every plane of an image, and the stack along Z where that is asked for.

    `allocate` gives an array of a shape and dtype for the result, which can be read
    while it is filled: what `PlaneDone` names is there.
    """
    factor_z = axial_factor(config, stack)
    if factor_z is not None:
        return (yield from _isotropic_steps(stack, config, factor_z, allocate))
    started = time.monotonic()
    ready = prepare(stack, config)
    listed, axes = ready.plane_indices, ready.stack.axes
    out = allocate(ready.plan.output_shape, np.dtype(ready.plan.output_dtype))
    errors = _room_for_errors(ready) if config.error_map else None
    if not is_lazy(stack.data):
        _check_all(ready, listed)
    shared = {}
    for channel in ready.sharing:
        shared[channel] = yield from ready.shared(channel)
    reports, kept = [], MiddlePlaneNetworks(listed, shared)
    for plane_index in listed:
        plane = yield from ready.enlarged(plane_index, shared.get(plane_index.channel))
        with plane:
            plane.fill(to_cyx(out[plane_index.index], plane_axes(axes)))
            if errors is not None:
                at = error_index(plane_index.index, axes)
                plane.fill_error(
                    to_cyx(errors[at], plane_axes(axes.replace("S", "")))[0]
                )
        reports.append(plane.report)
        kept.add(plane_index, plane.networks)
        done = plane_index.number + 1
        yield PlaneDone(
            plane=plane_index.number,
            planes=len(listed),
            index=plane_index.index,
            done=done,
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
        error=errors,
    )


def _room_for_errors(ready: Prepared) -> NDArray[np.float32]:
    """Array for the standard error of a result, which has no samples."""
    sizes = zip(ready.stack.axes, ready.plan.output_shape, strict=True)
    return np.empty([size for letter, size in sizes if letter != "S"], np.float32)


def _isotropic_steps(
    stack: ImageStack, config: Config, factor: float, allocate: Allocate
) -> Steps[Upscaled]:
    """Enlarge the planes first, if at all, then the columns along Z."""
    started = time.monotonic()
    starts = channel_starts(config, stack.axes, stack.data.shape)
    # Refuses what has no room before planes are enlarged.
    make_plan(stack, config, starts, factor_z=factor)
    lateral = None
    if config.restores_planes:
        planes_only = change(config, factor_z=1.0)
        steps = upscale_steps(stack, planes_only)
        lateral = yield from map_events(steps, PlaneDone, axial_progress)
    planar = stack if lateral is None else lateral.as_stack()
    ready = prepare_axial(planar, config, factor)
    outline = ready.outline
    out = allocate(outline.shape, np.dtype(outline.dtype))
    reports = yield from axial_steps(ready, out)
    seconds = time.monotonic() - started
    factors = factor, *config.factors
    return Upscaled(
        image=out,
        axes=stack.axes,
        spacing=output_spacing(stack.spacing, stack.axes, factors),
        units=stack.units,
        origin=output_origin(stack.spacing, stack.axes, factors),
        channels=stack.channels,
        config=config,
        report=axial_report(
            ready,
            reports,
            None if lateral is None else lateral.report.to_dict(),
            seconds,
        ),
        networks=() if lateral is None else lateral.networks,
        input_origin=stack.origin,
    )


def _check_all(ready: Prepared, listed: tuple[PlaneIndex, ...]) -> None:
    """Refuse NaN and Inf anywhere before the first plane takes its time."""
    if ready.config.nonfinite == "refuse" and ready.stack.data.dtype.kind == "f":
        for plane_index in listed:
            ready.stack.data[plane_index.index]


def lazily_upscaled(stack: ImageStack, config: Config) -> dask.array.Array:
    """Result with one chunk a plane, enlarged when computed. Raises InputError."""
    import dask.array
    from dask.highlevelgraph import HighLevelGraph

    if config.factor_z != 1:
        raise InputError(
            "A lazy result cannot be enlarged along Z, because each new slice needs "
            "the whole stack; use upscale_to_disk, or leave out the factor along Z."
        )
    ready = prepare(stack, config, partial(make_plan, to_disk=True))
    enlarge = _Enlarge(ready)
    axes, shape = ready.stack.axes, ready.plan.output_shape
    inside = [letter in "YXS" for letter in axes]
    grid = [1 if whole else n for whole, n in zip(inside, shape, strict=True)]
    chunks = tuple(
        (n,) if whole else (1,) * n for whole, n in zip(inside, shape, strict=True)
    )
    name = f"upscaled-{uuid.uuid4().hex}"
    layer: dict[Any, Any] = {
        (name, *plane_index): (enlarge, number)
        for number, plane_index in enumerate(np.ndindex(*grid))
    }
    graph = HighLevelGraph.from_collections(name, layer)
    array: Any = dask.array.Array
    result: dask.array.Array = array(graph, name, chunks, dtype=ready.plan.output_dtype)
    return result


class _Enlarge:
    """Enlarges planes by their number; what it has learned stays in its process."""

    def __init__(self, ready: Prepared) -> None:
        self.ready = ready
        self._listed = ready.plane_indices
        self._shared: dict[int, Checkpoint | None] = {}
        self._lock = Lock()

    def __call__(self, number: int) -> NDArray[Any]:
        """The plane, with all axes of the image."""
        plane_index = self._listed[number]
        steps = self.ready.enlarged(plane_index, self._learned(plane_index.channel))
        axes = self.ready.stack.axes
        with drain(steps) as result:
            plane = from_cyx(result.pixels, plane_axes(axes))
        missing = [i for i, letter in enumerate(axes) if letter not in "YXS"]
        return np.expand_dims(plane, missing)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.ready,)

    def _learned(self, channel: int) -> Checkpoint | None:
        """What a channel's planes share, learned by the first of them."""
        if channel not in self.ready.sharing:
            return None
        with self._lock:
            if channel not in self._shared:
                self._shared[channel] = drain(self.ready.shared(channel))
            return self._shared[channel]
