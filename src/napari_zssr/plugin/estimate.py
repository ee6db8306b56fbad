"""The cost estimate of a run, in words; imports neither Qt nor torch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from napari_zssr.checks import LEARNED
from napari_zssr.config import Config, change
from napari_zssr.errors import ComputeError, InputError
from napari_zssr.kernelspec import KernelSpec
from napari_zssr.stack.image import output_shape
from napari_zssr.stack.resources import GROUND_BYTES, RunPlan, disk_needs, plan_run
from napari_zssr.zssr.cost import (
    Rates,
    assumed_rates,
    expected_axial_seconds,
    expected_seconds,
)
from napari_zssr.zssr.device import Advice, DeviceReport, Machine
from napari_zssr.zssr.pretrained import PretrainedStart
from napari_zssr.zssr.start import Starts
from napari_zssr.zssr.training_plan import (
    axial_config,
    expected_axial_plan,
    expected_plans,
)

SAMPLES = {1: "grey", 2: "grey with alpha", 3: "RGB", 4: "RGBA"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """Pixels and settings of a run; `target` is the file of its result, if any."""

    config: Config
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    axes: str
    starts: Starts = ()
    target: Path | None = None
    factor_z: float | None = None

    @property
    def measured(self) -> tuple[Config, Starts, int]:
        """Settings, starts and samples whose rates are measured.

        Those of planes, and those along Z where planes stay as they are.
        """
        if self.factor_z is None or self.config.restores_planes:
            known = "S" in self.axes
            samples = self.shape[self.axes.index("S")] if known else 1
            return change(self.config, factor_z=1.0), self.starts, samples
        learned = isinstance(next(iter(self.starts), None), PretrainedStart)
        kernel = KernelSpec.parse("gaussian:1")
        config = axial_config(self.config, self.factor_z, kernel, learned=learned)
        return config, self.starts if config.start == LEARNED else (), 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """Rows of the cost card, and why a run is impossible and what to do, or empty."""

    rows: tuple[tuple[str, str], ...] = ()
    problem: str = ""


def estimate(
    workload: Workload, machine: Machine | None, rates: Rates | str | None
) -> Estimate:
    """Describe what a run takes; without a machine only its result.

    `rates` are the measured ones, the reason why there are none, or None while they
    are being measured.
    """
    result = ("Result", result_text(planned(workload)))
    if machine is None:
        return Estimate(rows=(result, ("Device", "looking at it")))
    try:
        device = machine.chosen(workload.config.device)
        if device.failure:
            problem = (
                f"Device {device.device} ({device.description}) fails: "
                f"{device.failure}. Choose cpu under Advanced, or let `napari-zssr "
                "doctor` say how to mend it."
            )
            return Estimate(rows=(result,), problem=problem)
        plan = planned(workload, machine)
    except (InputError, ComputeError) as error:
        problem = f"{str(error).removesuffix('.')}{_disk_advice(workload, machine)}."
        return Estimate(rows=(result,), problem=problem)
    rows = [result, ("Memory", memory_text(plan, machine))]
    if workload.target is not None:
        rows.append(("Disk", disk_text(plan, workload.target)))
    rows.append(("Time", time_text(workload, plan, rates)))
    rows.append(("Device", device_text(device)))
    return Estimate(rows=tuple(rows), problem=memory_problem(workload, plan, machine))


def planned(workload: Workload, machine: Machine | None = None) -> RunPlan:
    """Plan of a run; without a machine one that ignores the free memory.

    ComputeError if the machine lacks the device, or the memory for image and result.
    """
    known: dict[str, Any] = {}
    if machine is not None:
        device = machine.chosen(workload.config.device)
        known = {
            "device": device.device,
            "free_bytes": device.free_bytes,
            "bfloat16": device.bfloat16,
            "cores": machine.cores,
        }
    return plan_run(
        workload.config,
        workload.shape,
        workload.dtype,
        workload.axes,
        starts=workload.starts,
        to_disk=workload.target is not None,
        factor_z=workload.factor_z,
        **known,
    )


def result_text(plan: RunPlan) -> str:
    """Shape, type and size: ``Z 40 x Y 1024 x X 1024, uint16, 84 MB``."""
    sizes = sizes_text(plan.output_axes, plan.output_shape)
    return f"{sizes}, {plan.output_dtype}, {format_bytes(plan.output_bytes)}"


def sizes_text(axes: str, shape: Sequence[int]) -> str:
    """Size along each axis: ``Z 40 x Y 1024 x X 1024``."""
    return " x ".join(
        SAMPLES.get(size, f"S {size}") if letter == "S" else f"{letter} {size}"
        for letter, size in zip(axes, shape, strict=True)
    )


def memory_text(plan: RunPlan, machine: Machine) -> str:
    """Needed and free main memory."""
    needed, free = format_bytes(plan.memory_bytes), machine.free_bytes
    return f"about {needed} needed" + (
        "" if free is None else f", {format_bytes(free)} free"
    )


def disk_text(plan: RunPlan, target: Path) -> str:
    """Needed and free space on the disk of the folder."""
    needs = disk_needs(plan, target)
    text = f"up to {format_bytes(needs.disk_bytes)} needed"
    if needs.disk_free is None:
        return text
    only = "only " if needs.disk_bytes > needs.disk_free else ""
    return f"{text}, {only}{format_bytes(needs.disk_free)} free in {target.parent}"


def time_text(workload: Workload, plan: RunPlan, rates: Rates | str | None) -> str:
    """Expected time, and whether it was measured."""
    if isinstance(rates, Rates):
        seconds = _measured_seconds(workload, plan, rates)
        return f"about {format_duration(seconds)}, measured on this device"
    if rates is None:
        return "being measured on this device"
    return f"perhaps {format_duration(plan.seconds)} (not measured: {rates})"


def _measured_seconds(workload: Workload, plan: RunPlan, rates: Rates) -> float:
    """Expected time by rates that were measured, along Z in proportion to these."""
    config, starts, axes = workload.config, workload.starts, workload.axes
    shape, factor = workload.shape, workload.factor_z
    if factor is None:
        return expected_seconds(config, starts, shape, axes, rates)
    along_z = expected_axial_plan(config, starts, factor)
    if not config.restores_planes:
        return expected_axial_seconds(along_z, shape, axes, rates)
    _, each = expected_plans(config, starts, 1)
    machine: dict[str, Any] = {"device": plan.device, "precision": plan.precision}
    of_planes = assumed_rates(each, cores=1, **machine)
    scaled = assumed_rates(along_z, cores=1, **machine).in_proportion(rates, of_planes)
    fine = output_shape(shape, axes, config.factors)
    return expected_seconds(
        config, starts, shape, axes, rates
    ) + expected_axial_seconds(along_z, fine, axes, scaled)


def device_text(device: DeviceReport) -> str:
    """Name of a device and its free memory."""
    name = f"{device.device}: {device.description}"
    if device.device == "cpu" or device.free_bytes is None:
        return name
    return f"{name}, {format_bytes(device.free_bytes)} free"


def memory_problem(workload: Workload, plan: RunPlan, machine: Machine) -> str:
    """Why a run exceeds the main memory and what to do, or an empty text."""
    free, needed = machine.free_bytes, plan.memory_bytes
    if plan.device != "cpu":
        # The rest is needed on the device, where tiles shrink until they fit.
        pixels = math.prod(workload.shape) * workload.dtype.itemsize + plan.output_bytes
        # A run to disk holds one plane at a time.
        needed = GROUND_BYTES + pixels // (
            1 if workload.target is None else plan.planes
        )
    if free is None or needed <= free:
        return ""
    fewer = "the current slice, " if plan.planes > 1 and workload.target is None else ""
    return (
        f"This will not fit: about {format_bytes(needed)} of memory are needed and "
        f"{format_bytes(free)} are free. Choose {fewer}a part of the plane or a "
        f"smaller factor, or close other programs{_disk_advice(workload, machine)}."
    )


def advice_text(advice: Advice) -> str:
    """What keeps torch from using the GPU; the commands are shown separately."""
    if not advice.commands:
        return advice.sentence
    return (
        f"{advice.sentence.removesuffix('.')}, in a terminal, and start napari again. "
        "Until then runs go to the processor, many times slower."
    )


def calibration_key(workload: Workload, plan: RunPlan) -> tuple[Any, ...]:
    """Settings, device, precision and samples on which the measured rates depend."""
    config, starts, samples = workload.measured
    # The number of steps or of gradual factors does not change the time of one step.
    config = replace(config, start="random", steps=1, gradual=1)
    config = change(config, seed=0, noise=0.0, always=False, error_map=False)
    if config.kernel.kind != "bicubic":
        # The width changes little, and a preview needs the processor.
        config = change(config, kernel=KernelSpec.parse("gaussian:1"))
    return (config, starts, plan.device, plan.precision, samples)


def format_bytes(count: float) -> str:
    """Bytes with their unit: ``1.2 GB``."""
    for unit in ("B", "kB", "MB"):
        if count < 999.5:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} GB"


def format_duration(seconds: float) -> str:
    """Duration with its unit: ``12 s``, ``3 min``, ``2.5 h``."""
    if seconds < 100:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    if seconds < 6000:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"


def _disk_advice(workload: Workload, machine: Machine) -> str:
    """Advice to write the result to disk, if that would help."""
    if workload.target is not None:
        return ""
    to_disk = replace(workload, target=Path())
    try:
        plan = planned(to_disk, machine)
    except (InputError, ComputeError):
        return ""
    if memory_problem(to_disk, plan, machine):
        return ""
    return "; or choose 'a file on disk' under Save to"
