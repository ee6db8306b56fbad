"""The cost estimate of a run, in words; imports neither Qt nor torch."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from napari_zssr.config import PRESETS, Config
from napari_zssr.errors import ComputeError, InputError
from napari_zssr.imaging.noise import NoiseModel
from napari_zssr.stack.channels import channel_starts
from napari_zssr.stack.resources import (
    GROUND_BYTES,
    Hardware,
    RunInput,
    RunPlan,
    disk_needs,
    plan_run,
)
from napari_zssr.units import bytes_text, duration_text
from napari_zssr.zssr.cost import (
    Rates,
    RatesOf,
    Work,
    assumed_rates,
    expected_work,
    rates_key,
)
from napari_zssr.zssr.device import Advice, DeviceReport, Machine
from napari_zssr.zssr.start import Starts
from napari_zssr.zssr.training_plan import NoiseEstimate, TrainingPlan

TIMES = " × "
SAMPLES = {1: "grey", 2: "grey with alpha", 3: "RGB", 4: "RGBA"}
# What a layer may turn out to be, while its noise is unknown: clean, or noisy.
POSSIBLE = NoiseEstimate(), NoiseEstimate(noise=NoiseModel(offset=0.05**2), level=0.05)
# How far rates may be off that are only assumed, and those in proportion to others.
UNSURE, IN_PROPORTION = 3.0, 2.0
# Settings that another preset takes over from those in the form.
KEPT = (
    *("factor", "factor_z", "kernel", "kernel_z", "noise", "error_map", "always"),
    *("seed", "device", "precision", "tile_px", "nonfinite", "dtype"),
)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Measured:
    """Rates, and the plan that they were measured with."""

    plan: TrainingPlan
    rates: Rates


# Of plans, devices and precisions: what was measured, or why nothing could be.
Key = tuple[Any, ...]
Known = Mapping[Key, Measured | str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """Pixels and settings of a run.

    `target` is the file of its result, if any; `noise_estimates` of its channels are
    empty until they are known.
    """

    config: Config
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    axes: str
    starts: Starts = ()
    noise_estimates: tuple[NoiseEstimate, ...] = ()
    target: Path | None = None
    factor_z: float | None = None

    @property
    def size(self) -> tuple[int, int]:
        """Pixels (Y, X) of its planes."""
        return self.shape[self.axes.index("Y")], self.shape[self.axes.index("X")]


# A run that has ended, and its seconds.
Taken = tuple[Workload, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """What is said of the cost.

    Attributes
    ----------
    rows : of the table
    problem : why a run is impossible and what to do, or empty
    summary : the result, time and device in one line
    times : time with each preset, by its name, as far as it is known
    """

    rows: tuple[tuple[str, str], ...] = ()
    problem: str = ""
    summary: str = ""
    times: Mapping[str, str] = field(default_factory=dict)


def estimate(
    workloads: Sequence[Workload],
    machine: Machine | None,
    known: Known,
    taken: Sequence[Taken] = (),
) -> Estimate:
    """Describe what enlarging layers in turn takes; without a machine the result."""
    result = result_text([planned(workload) for workload in workloads])
    rows = [("Result", result)]
    if machine is None:
        return Estimate(rows=(*rows, ("Device", "being checked")), summary=result)
    try:
        device = machine.chosen(workloads[0].config.device)
        plans = _plans(workloads, machine, device)
    except (InputError, ComputeError) as error:
        return Estimate(rows=tuple(rows), problem=str(error), summary=result)
    cost = Cost(
        workloads=workloads,
        plans=plans,
        cores=machine.cores,
        slowness=machine.slowness,
        known=known,
        taken=taken,
    )
    largest = max(plans, key=lambda plan: plan.memory_bytes)
    rows.append(("Memory", memory_text(largest, machine)))
    targets = [workload.target for workload in workloads if workload.target]
    if targets:
        rows.append(("Disk", disk_text(plans, targets)))
    rows.append(("Time", cost.text))
    rows.append(("Device", device_text(device)))
    problems = (
        memory_problem(workload, plan, machine)
        for workload, plan in zip(workloads, plans, strict=True)
    )
    time = f"{cost.short} on the {device.name}"
    return Estimate(
        rows=tuple(rows),
        problem=next(filter(None, problems), ""),
        summary=f"{short_result(plans)}; {time}",
        times=preset_times(cost),
    )


def _plans(
    workloads: Sequence[Workload], machine: Machine, device: DeviceReport
) -> list[RunPlan]:
    """Plans of workloads; ZSSRError with a way out where one is impossible."""
    if device.failure:
        raise ComputeError(
            f"The {device.name} does not work ({device.failure}); choose "
            "the processor under Advanced, or run `napari-zssr doctor` for advice."
        )
    plans = []
    for workload in workloads:
        try:
            plans.append(planned(workload, machine))
        except (InputError, ComputeError) as error:
            advice = _disk_advice(workload, machine)
            raise ComputeError(f"{str(error).removesuffix('.')}{advice}.") from error
    return plans


def planned(workload: Workload, machine: Machine | None = None) -> RunPlan:
    """Plan of a run; without a machine one that ignores the free memory.

    ComputeError if the machine lacks the device, or the memory for image and result.
    """
    hardware = Hardware()
    if machine is not None:
        device = machine.chosen(workload.config.device)
        hardware = Hardware(
            device=device.device,
            free_bytes=device.free_bytes,
            cores=machine.cores,
            bfloat16=device.bfloat16,
        )
    run = RunInput(
        config=workload.config,
        shape=workload.shape,
        dtype=workload.dtype,
        axes=workload.axes,
        starts=workload.starts,
        noise_estimates=workload.noise_estimates,
        to_disk=workload.target is not None,
        factor_z=workload.factor_z,
    )
    return plan_run(run, hardware)


def result_text(plans: Sequence[RunPlan]) -> str:
    """Shape, type and size: ``Z 40 × Y 1024 × X 1024, uint16, 84 MB``."""
    size = bytes_text(sum(plan.output_bytes for plan in plans))
    if len(plans) > 1:
        return f"{len(plans)} layers, {size}"
    (plan,) = plans
    sizes = sizes_text(plan.output_axes, plan.output_shape)
    return f"{sizes}, {plan.output_dtype}, {size}"


def short_result(plans: Sequence[RunPlan]) -> str:
    """Axes of more than one pixel, and bytes: ``Z 40 × Y 1024 × X 1024, 84 MB``."""
    if len(plans) > 1:
        return result_text(plans)
    (plan,) = plans
    shown = {
        letter: size
        for letter, size in zip(plan.output_axes, plan.output_shape, strict=True)
        if letter in "YX" or size > 1
    }
    sizes = sizes_text("".join(shown), tuple(shown.values()))
    return f"{sizes}, {bytes_text(plan.output_bytes)}"


def sizes_text(axes: str, shape: Sequence[int]) -> str:
    """Size along each axis: ``Z 40 × Y 1024 × X 1024``."""
    return TIMES.join(
        SAMPLES.get(size, f"S {size}") if letter == "S" else f"{letter} {size}"
        for letter, size in zip(axes, shape, strict=True)
    )


def memory_text(plan: RunPlan, machine: Machine) -> str:
    """Needed and free main memory."""
    needed, free = bytes_text(plan.memory_bytes), machine.free_bytes
    return f"about {needed} needed" + (
        "" if free is None else f", {bytes_text(free)} free"
    )


def disk_text(plans: Sequence[RunPlan], targets: Sequence[Path]) -> str:
    """Needed and free space on the disk of the folder."""
    needs = [disk_needs(p, target) for p, target in zip(plans, targets, strict=True)]
    needed, free = sum(need.disk_bytes for need in needs), needs[0].disk_free
    text = f"up to {bytes_text(needed)} needed"
    if free is None:
        return text
    only = "only " if needed > free else ""
    return f"{text}, {only}{bytes_text(free)} free in {targets[0].parent}"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Cost:
    """Time of runs in turn, by what is known of noise and speed.

    `plans` are those of the workloads, all for one device. What `taken` tells of the
    same workload counts more than what was measured of its parts.
    """

    workloads: Sequence[Workload]
    plans: Sequence[RunPlan]
    cores: int
    known: Known
    taken: Sequence[Taken] = ()
    slowness: float = 1.0

    @property
    def text(self) -> str:
        """Expected time, and what it waits for."""
        reasons = [why for why in map(self.known.get, self._keys()) if _is_reason(why)]
        if reasons:
            return f"{self.short} (not measured: {reasons[0]})"
        if not all(workload.noise_estimates for workload in self.workloads):
            return f"{self.short}, noise being measured"
        if self.unmeasured():
            return f"{self.short}, speed being measured"
        return self.short

    @property
    def short(self) -> str:
        """One figure where noise and speed are known, a range where they are not."""
        low, high = self.seconds
        margin = self._margin()
        return _time_text(low / margin, high * margin)

    @property
    def expected(self) -> str:
        """`short`, but with the speed as it is known or assumed."""
        return _time_text(*self.seconds)

    @property
    def seconds(self) -> tuple[float, float]:
        """Least and most seconds of all workloads together, by the speed assumed."""
        low = high = 0.0
        for number, workload in enumerate(self.workloads):
            each = [self.work(number, one).seconds for one in possible(workload)]
            low, high = low + min(each), high + max(each)
        return low, high

    def _margin(self) -> float:
        """How far the speed may be off."""
        done = [workload for workload, _ in self.taken]
        if not self.unmeasured() or all(one in done for one in self.workloads):
            return 1.0
        told = all(map(self._measured_like, self.unmeasured().values()))
        return IN_PROPORTION if told else UNSURE

    def work(self, number: int, workload: Workload | None = None) -> Work:
        """Expected work of a workload."""
        wanted = workload or self.workloads[number]
        work = self._work(wanted, lambda plan: self._rates(plan, number))
        seconds = next((s for one, s in self.taken if one == wanted), work.seconds)
        return work.lasting(seconds)

    def unmeasured(self) -> dict[Key, TrainingPlan]:
        """Plans whose rates are not known, nor why; those of noise if it is known."""
        return {k: p for k, p in self._keys().items() if k not in self.known}

    def _keys(self) -> dict[Key, TrainingPlan]:
        found: dict[Key, TrainingPlan] = {}
        for number, workload in enumerate(self.workloads):

            def note(plan: TrainingPlan, number: int = number) -> Rates:
                # Interpolating takes next to nothing, and is not measured.
                if plan.learns_from(self.workloads[number].size):
                    found[self._key(plan, number)] = plan
                return self._rates(plan, number)

            self._work(possible(workload)[0], note)
        return found

    def _work(self, workload: Workload, rates: RatesOf) -> Work:
        return expected_work(
            workload.config,
            workload.starts,
            workload.shape,
            workload.axes,
            rates,
            noise_estimates=workload.noise_estimates,
            factor_z=workload.factor_z,
        )

    def _key(self, plan: TrainingPlan, number: int) -> Key:
        run = self.plans[number]
        return rates_key(plan, self.workloads[number].size), run.device, run.precision

    def _rates(self, plan: TrainingPlan, number: int) -> Rates:
        """Measured rates, or assumed ones in proportion to those of another plan."""
        found = self.known.get(self._key(plan, number))
        if isinstance(found, Measured):
            return found.rates
        assumed = self._assumed(plan)
        others = self._measured_like(plan)
        if not others:
            return assumed
        # What takes no steps tells little of those that do; of equals, the last counts.
        nearest = max(
            reversed(others),
            key=lambda one: (
                one.plan.kind == plan.kind,
                _takes_steps(one.plan) == _takes_steps(plan),
            ),
        )
        return assumed.in_proportion(nearest.rates, self._assumed(nearest.plan))

    def _assumed(self, plan: TrainingPlan) -> Rates:
        run = self.plans[0]
        return assumed_rates(
            plan,
            device=run.device,
            precision=run.precision,
            cores=self.cores,
            slowness=self.slowness,
        )

    def _measured_like(self, plan: TrainingPlan) -> list[Measured]:
        """What was measured on this device of networks, or of closed-form filters.

        Neither tells how fast the other is.
        """
        run = self.plans[0]
        here = run.device, run.precision
        return [
            one
            for key, one in self.known.items()
            if isinstance(one, Measured)
            and key[1:] == here
            and one.plan.kind.is_trained == plan.kind.is_trained
        ]


def _time_text(low: float, high: float) -> str:
    least, most = duration_text(low), duration_text(high)
    return f"about {least}" if least == most else f"{least} to {most}"


def _takes_steps(plan: TrainingPlan) -> bool:
    return plan.kind.is_trained and plan.trains


def _is_reason(found: Measured | str | None) -> bool:
    return isinstance(found, str)


def possible(workload: Workload) -> list[Workload]:
    """The workload as it is known to be, or as it may be while noise is unknown."""
    if workload.noise_estimates:
        return [workload]
    channels = dict(zip(workload.axes, workload.shape, strict=True)).get("C", 1)
    return [
        replace(workload, noise_estimates=(noise_estimate,) * channels)
        for noise_estimate in POSSIBLE
    ]


def preset_times(cost: Cost) -> dict[str, str]:
    """Time with each preset, by its name; empty before anything is measured.

    Settings that deviate from the chosen preset count for that one alone.
    """
    if cost.text != cost.short:
        return {}
    times = {}
    for name, preset in PRESETS.items():
        try:
            others = [_with_preset(workload, preset) for workload in cost.workloads]
        except InputError:
            continue
        times[name] = replace(cost, workloads=others).expected
    return times


def _with_preset(workload: Workload, preset: Config) -> Workload:
    """A workload with another preset. Raises InputError where it cannot start."""
    config = workload.config
    if config.preset == preset.preset:
        return workload
    changed = replace(preset, **{name: getattr(config, name) for name in KEPT})
    starts = channel_starts(changed, workload.axes, workload.shape)
    return replace(workload, config=changed, starts=starts)


def device_text(device: DeviceReport) -> str:
    """Name of a device and its free memory."""
    if device.device == "cpu" or device.free_bytes is None:
        return device.name
    return f"{device.name}, {bytes_text(device.free_bytes)} free"


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
        f"This will not fit: about {bytes_text(needed)} of memory is needed, but only "
        f"{bytes_text(free)} is free. Choose {fewer}a part of the plane or a "
        f"smaller factor, or close other programs{_disk_advice(workload, machine)}."
    )


def advice_text(advice: Advice) -> str:
    """What keeps torch from using the GPU; the commands are shown separately."""
    if not advice.commands:
        return advice.sentence
    return (
        f"{advice.sentence.removesuffix('.')}, in a terminal, and start napari again. "
        "Until then the processor is used, which is many times slower."
    )


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
