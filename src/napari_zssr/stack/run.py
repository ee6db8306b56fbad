"""Many planes: one after the other, in memory."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_zssr.config import Config
from napari_zssr.errors import ComputeError, InputError, ZSSRError
from napari_zssr.imaging.intensity import IntensityMap, check_finite, intensity_map
from napari_zssr.imaging.kernel import check_fits, pinned
from napari_zssr.imaging.noise import CLEAN, NoiseModel, estimate_noise
from napari_zssr.progress import PlaneDone, Progress, Steps
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
from napari_zssr.stack.plan import Plan, resolve

if TYPE_CHECKING:
    from napari_zssr.zssr.plane import PlaneResult

SAMPLED_PLANES = 8
SAMPLED_PIXELS = 1_000_000
PLANE_SEED = 1_000_003


@dataclass(frozen=True, slots=True, kw_only=True)
class PlaneReport:
    """What happened to one plane.

    Attributes
    ----------
    plane : int
        Number of the plane.
    seconds : float
    noise : float
        Standard deviation at mid signal, fraction of the range.
    gain_db, gain_error_db : float or None
        Held-out gain over bicubic and its standard error.
    returned : {"learned", "bicubic", "constant"}
    steps : int
        Training steps done.
    sentence : str
    """

    plane: int
    seconds: float
    noise: float
    gain_db: float | None
    gain_error_db: float | None
    returned: str
    steps: int
    sentence: str


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
    """

    image: NDArray[Any]
    axes: str
    spacing: tuple[float | None, ...]
    units: tuple[str | None, ...]
    origin: tuple[float, ...]
    channels: tuple[Channel, ...]
    config: Config
    report: Report

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
    """Enlarge every plane of an image, each learned on itself.

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
    plan = make_plan(stack, config)
    fine = tuple(plan.output_shape[plan.output_axes.index(a)] for a in "YX")
    check_fits(config.kernel, (fine[0], fine[1]))
    listed = planes(stack.axes, stack.data.shape)
    out = _output(plan, out)
    data = check_finite(stack.data, config.nonfinite, "The image")
    maps = intensity_maps(data, stack.axes, listed)
    reports = []
    for place in listed:
        work = _Work(
            pixels=to_cyx(data[place.index], plane_axes(stack.axes)),
            mapping=maps[place.channel],
            place=place,
        )
        pixels, report = yield from _numbered(
            _plane_steps(work, config, plan), place, len(listed)
        )
        out[place.index] = from_cyx(pixels, plane_axes(stack.axes))
        reports.append(report)
        yield PlaneDone(plane=place.number, planes=len(listed), index=place.index)
    return Upscaled(
        image=out,
        axes=stack.axes,
        spacing=output_spacing(stack.spacing, stack.axes, config.factors),
        units=stack.units,
        origin=output_origin(stack.spacing, stack.axes, config.factors),
        channels=stack.channels,
        config=config,
        report=_report(stack, config, plan, tuple(reports), time.monotonic() - started),
    )


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


def intensity_maps(
    data: NDArray[Any], axes: str, listed: tuple[PlaneIndex, ...]
) -> dict[int, IntensityMap]:
    """One map per channel, from planes spread evenly over the stack."""
    by_channel: dict[int, list[PlaneIndex]] = {}
    for place in listed:
        by_channel.setdefault(place.channel, []).append(place)
    maps = {}
    for channel, places in by_channel.items():
        step = max(1, -(-len(places) // SAMPLED_PLANES))
        chosen = places[step // 2 :: step]
        room = max(1, SAMPLED_PIXELS // len(chosen))
        samples = [
            _thinned(_colours(to_cyx(data[p.index], plane_axes(axes))), room)
            for p in chosen
        ]
        maps[channel] = intensity_map(np.concatenate(samples))
    return maps


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Work:
    pixels: NDArray[Any]
    mapping: IntensityMap
    place: PlaneIndex


def _plane_steps(
    work: _Work, config: Config, plan: Plan
) -> Steps[tuple[NDArray[Any], PlaneReport]]:
    """One plane, from its own dtype and back to it."""
    import torch

    from napari_zssr.zssr.plane import bicubic, super_resolve_plane

    started = time.monotonic()
    normal = work.mapping.normalise(work.pixels)
    colours = _colours(normal)
    noise = plane_noise(colours, config)
    try:
        tensor = torch.from_numpy(colours).to(plan.device)
        result: PlaneResult = yield from super_resolve_plane(
            tensor,
            config,
            noise=noise,
            tile_px=plan.tile_px,
            precision=plan.precision,
            seed=config.seed * PLANE_SEED + work.place.number,
        )
        image = result.image
        if len(colours) < len(normal):
            alpha = torch.from_numpy(np.ascontiguousarray(normal[len(colours) :]))
            image = torch.cat([image, bicubic(alpha, config.factors)])
    except (RuntimeError, MemoryError) as error:
        if isinstance(error, ZSSRError):
            raise
        raise ComputeError(
            f"Plane {work.place.number} failed on {plan.device}: "
            f"{str(error).splitlines()[0] if str(error) else 'memory ran out'}."
        ) from error
    pixels = work.mapping.restore(image.numpy(), work.pixels.dtype)
    gain = result.gain
    report = PlaneReport(
        plane=work.place.number,
        seconds=time.monotonic() - started,
        noise=noise.sigma(),
        gain_db=None if gain is None else gain.decibel,
        gain_error_db=None if gain is None else gain.error_decibel,
        returned=result.returned,
        steps=result.steps,
        sentence=result.sentence,
    )
    return pixels, report


def plane_noise(colours: NDArray[Any], config: Config) -> NoiseModel:
    """Noise model of a normalised plane (C, Y, X): as asked for, or estimated."""
    if config.noise == "off":
        return CLEAN
    if config.noise != "auto":
        return NoiseModel(offset=float(config.noise) ** 2)
    models = sorted((estimate_noise(c) for c in colours), key=NoiseModel.sigma)
    return models[len(models) // 2]


def _numbered(
    steps: Steps[tuple[NDArray[Any], PlaneReport]], place: PlaneIndex, count: int
) -> Steps[tuple[NDArray[Any], PlaneReport]]:
    """Write the plane's number into the events that pass through."""
    try:
        while True:
            event = next(steps)
            if isinstance(event, Progress):
                event = replace(event, plane=place.number, planes=count)
            yield event
    except StopIteration as stop:
        result: tuple[NDArray[Any], PlaneReport] = stop.value
        return result
    finally:
        steps.close()


def _colours(plane: NDArray[Any]) -> NDArray[Any]:
    """Samples of a plane (C, Y, X) without alpha."""
    return plane[:-1] if len(plane) in (2, 4) else plane


def _thinned(values: NDArray[Any], room: int) -> NDArray[Any]:
    step = max(1, int(np.ceil((values[0].size / room) ** 0.5)))
    flat: NDArray[Any] = values[:, ::step, ::step].ravel()
    return flat


def _report(
    stack: ImageStack,
    config: Config,
    plan: Plan,
    reports: tuple[PlaneReport, ...],
    seconds: float,
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
        sentence=_sentence(reports),
    )


def _versions() -> Iterator[tuple[str, str]]:
    from importlib import metadata

    for name in ("napari-zssr", "torch", "numpy", "scipy"):
        try:
            yield name, metadata.version(name)
        except metadata.PackageNotFoundError:
            yield name, "unknown"


def _sentence(reports: tuple[PlaneReport, ...]) -> str:
    if len(reports) == 1:
        return reports[0].sentence
    learned = [r for r in reports if r.returned == "learned"]
    if not learned:
        return f"Nothing to gain in any of {len(reports)} planes; bicubic was returned."
    gains = sorted(r.gain_db for r in learned if r.gain_db is not None)
    middle = f", {gains[len(gains) // 2]:.2f} dB in the median" if gains else ""
    others = len(reports) - len(learned)
    rest = f"; {others} came back as bicubic or constant" if others else ""
    return (
        f"{len(learned)} of {len(reports)} planes gained over bicubic{middle} on "
        f"regions held out from training{rest}."
    )
