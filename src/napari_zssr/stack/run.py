"""Many planes: one after the other, in memory."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_zssr.config import Config
from napari_zssr.errors import InputError
from napari_zssr.imaging.kernel import check_fits, pinned
from napari_zssr.progress import Event, PlaneDone, Progress, Steps, changed
from napari_zssr.stack.axes import (
    Channel,
    ImageStack,
    PlaneIndex,
    check_pixels,
    from_cyx,
    output_origin,
    output_spacing,
    plane_axes,
    planes,
    to_cyx,
)
from napari_zssr.stack.one_plane import (
    PlaneMade,
    PlaneReport,
    PlaneWork,
    intensity_maps,
    plane_steps,
    smoothing,
)
from napari_zssr.stack.plan import Plan, resolve
from napari_zssr.stack.shared import shared_steps
from napari_zssr.stack.source import CheckedPlanes, is_lazy
from napari_zssr.stack.start import starting_networks
from napari_zssr.stack.strategy import sharing_channels
from napari_zssr.zssr.saved import Checkpoint, as_saved, checksum


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What happened in a run, and what is needed to repeat it."""

    planes: tuple[PlaneReport, ...]
    seconds: float
    device: str
    precision: str
    seed: int
    versions: dict[str, str]
    input_name: str
    input_checksum: str
    sentence: str
    start_checksum: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Plain, JSON-serialisable form."""
        return dataclasses.asdict(self)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Upscaled:
    """A result.

    Attributes
    ----------
    image : ndarray
        Enlarged pixels, in the dtype of the input.
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

    def as_stack(self) -> ImageStack:
        """The result as an image that can be written."""
        return ImageStack(
            data=self.image,
            axes=self.axes,
            spacing=self.spacing,
            units=self.units,
            channels=self.channels,
            name=self.report.input_name,
        )


def upscale_steps(
    stack: ImageStack, config: Config, *, out: NDArray[Any] | None = None
) -> Steps[Upscaled]:
    """Enlarge every plane of an image, by the strategy that the settings ask for.

    Parameters
    ----------
    stack : ImageStack
    config : Config
    out : ndarray, optional
        Array for the result, which can be looked at while it is filled: what
        `PlaneDone` names is there.

    Returns
    -------
    Upscaled

    Raises
    ------
    InputError
        The image, a setting or `out` cannot be used.
    ComputeError
        The computation failed.
    """
    started = time.monotonic()
    stack = replace(stack, data=check_pixels(stack.data))
    config = replace(config, kernel=pinned(config.kernel))
    starts = starting_networks(config, stack.axes, stack.data.shape)
    start_checksum = checksum(config.start_file) if config.start_file else ""
    plan = make_plan(stack, as_saved(config, starts))
    fine = tuple(plan.output_shape[plan.output_axes.index(a)] for a in "YX")
    check_fits(config.kernel, (fine[0], fine[1]))
    listed = planes(stack.axes, stack.data.shape)
    out = _output(plan, out)
    data = CheckedPlanes(stack.data, config.nonfinite)
    if not is_lazy(stack.data):
        _check_all(data, listed)
    maps = intensity_maps(data, stack.axes, listed)
    shared = {}
    for channel in sharing_channels(config, listed):
        shared[channel] = yield from shared_steps(
            replace(stack, data=data), config, plan, maps, channel, starts[channel]
        )
    reports, kept = [], _MiddleNetworks(listed, shared)
    for place in listed:
        work = PlaneWork(
            pixels=to_cyx(data[place.index], plane_axes(stack.axes)),
            mapping=maps[place.channel],
            place=place,
            start=starts[place.channel],
            shared=shared.get(place.channel),
        )
        numbered = partial(_numbered, place=place, count=len(listed))
        made = yield from changed(plane_steps(work, config, plan), numbered)
        out[place.index] = from_cyx(made.pixels, plane_axes(stack.axes))
        reports.append(made.report)
        kept.see(place, made)
        yield PlaneDone(plane=place.number, planes=len(listed), index=place.index)
    return Upscaled(
        image=out,
        axes=stack.axes,
        spacing=output_spacing(stack.spacing, stack.axes, config.factors),
        units=stack.units,
        origin=output_origin(stack.spacing, stack.axes, config.factors),
        channels=stack.channels,
        config=config,
        report=_report(
            stack,
            config,
            plan,
            tuple(reports),
            seconds=time.monotonic() - started,
            start_checksum=start_checksum,
        ),
        networks=kept.networks(),
    )


class _MiddleNetworks:
    """For each channel those shared, or of the plane that is nearest to its middle."""

    def __init__(
        self,
        listed: tuple[PlaneIndex, ...],
        shared: Mapping[int, Checkpoint | None],
    ) -> None:
        self._shared = shared
        self._planes: dict[int, list[int]] = {}
        for place in listed:
            self._planes.setdefault(place.channel, []).append(place.number)
        self._found: dict[int, tuple[int, Checkpoint]] = {}

    def see(self, place: PlaneIndex, made: PlaneMade) -> None:
        """Keep the networks of a plane if none is nearer to the middle."""
        alike = self._planes[place.channel]
        away = abs(alike.index(place.number) - len(alike) // 2)
        best = self._found.get(place.channel)
        if made.networks is not None and (best is None or away < best[0]):
            networks = self._shared.get(place.channel) or made.networks
            self._found[place.channel] = (away, networks)

    def networks(self) -> tuple[Checkpoint | None, ...]:
        """One entry for each channel, or none at all."""
        if not self._found:
            return ()
        found = (self._found.get(channel) for channel in sorted(self._planes))
        return tuple(None if one is None else one[1] for one in found)


def _check_all(data: CheckedPlanes, listed: tuple[PlaneIndex, ...]) -> None:
    """Refuse NaN and Inf anywhere before the first plane takes its time."""
    if data.nonfinite == "refuse" and data.data.dtype.kind == "f":
        for place in listed:
            data[place.index]


def _output(plan: Plan, out: NDArray[Any] | None) -> NDArray[Any]:
    """Array for the result: the one that was given, or a new one."""
    if out is None:
        return np.empty(plan.output_shape, dtype=plan.output_dtype)
    if out.shape != plan.output_shape or out.dtype != np.dtype(plan.output_dtype):
        raise InputError(
            f"The array for the result has shape {out.shape} and type {out.dtype}; "
            f"give {plan.output_shape} and {plan.output_dtype}."
        )
    return out


def make_plan(stack: ImageStack, config: Config) -> Plan:
    """Plan for an image on the device that the settings name."""
    import os

    from napari_zssr.zssr.device import fast_bfloat16, free_bytes, resolve_device

    device = resolve_device(config.device)
    return resolve(
        config,
        stack.data.shape,
        stack.data.dtype,
        stack.axes,
        device=device,
        free_bytes=free_bytes(device),
        cores=os.cpu_count(),
        bfloat16=fast_bfloat16(device),
    )


def _numbered(event: Event, place: PlaneIndex, count: int) -> Event:
    """Write the plane's number into an event."""
    if isinstance(event, Progress):
        return replace(event, plane=place.number, planes=count)
    return event


def _report(
    stack: ImageStack,
    config: Config,
    plan: Plan,
    reports: tuple[PlaneReport, ...],
    *,
    seconds: float,
    start_checksum: str,
) -> Report:
    return Report(
        planes=reports,
        seconds=seconds,
        device=plan.device,
        precision=plan.precision,
        seed=config.seed,
        versions=dict(_versions()),
        input_name=stack.name,
        input_checksum=stack.checksum,
        sentence=_sentence(reports, config),
        start_checksum=start_checksum,
    )


def _versions() -> Iterator[tuple[str, str]]:
    from importlib import metadata

    for name in ("napari-zssr", "torch", "numpy", "scipy"):
        try:
            yield name, metadata.version(name)
        except metadata.PackageNotFoundError:
            yield name, "unknown"


def _sentence(reports: tuple[PlaneReport, ...], config: Config) -> str:
    if len(reports) == 1:
        return reports[0].sentence
    learned = [r for r in reports if r.returned == "learned"]
    if not learned:
        return f"Nothing to gain in any of {len(reports)} planes; bicubic was returned."
    gains = sorted(r.gain_db for r in learned if r.gain_db is not None)
    middle = f", {gains[len(gains) // 2]:.2f} dB in the median" if gains else ""
    others = len(reports) - len(learned)
    rest = f"; {others} came back as bicubic or constant" if others else ""
    how = "regions held out from training"
    if config.steps == 0:
        how = "some of their regions, by saved networks that were not trained further"
    else:
        how += _shared(reports, config)
        how += ", which began from saved networks" if config.start_file else ""
    return (
        f"{len(learned)} of {len(reports)} planes gained over bicubic{middle} on "
        f"{how}{rest}.{_smoothed(learned)}"
    )


def _shared(reports: tuple[PlaneReport, ...], config: Config) -> str:
    """How training was spread over the planes, where they have shared it."""
    counts = {report.shared for report in reports if report.shared}
    if not counts:
        return ""
    then = ", then on each" if config.strategy == "tuned" and config.tuned_steps else ""
    return f" on {max(counts)} planes of each channel{then}"


def _smoothed(learned: list[PlaneReport]) -> str:
    count = sum(report.smoothed for report in learned)
    if count == 0:
        return ""
    return smoothing("" if count == len(learned) else f" in {count} of them")
