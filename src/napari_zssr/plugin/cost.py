"""The cost card: the estimate of a run, shown before Run is pressed."""

from __future__ import annotations

import html
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any
from weakref import WeakKeyDictionary

from napari.layers import Image
from psygnal import Signal
from qtpy.QtCore import Qt

from napari_zssr.errors import ComputeError, InputError, ZSSRError
from napari_zssr.plugin.estimate import (
    Cost,
    Estimate,
    Key,
    Measured,
    Taken,
    Workload,
    advice_text,
    estimate,
    planned,
    possible,
)
from napari_zssr.plugin.form.rows import Column, after_pause, red, set_text, text_label
from napari_zssr.plugin.request import Request
from napari_zssr.plugin.texts import table_html
from napari_zssr.plugin.worker import Run
from napari_zssr.progress import Progress, Steps
from napari_zssr.zssr.cost import Rates, Work
from napari_zssr.zssr.device import Machine, examine_machine
from napari_zssr.zssr.start import Starts
from napari_zssr.zssr.training_plan import NoiseEstimate, TrainingPlan

# The form must not have changed for so long before the device is put to work.
SETTLED_MS = 600
# Free memory that was determined longer ago is determined again.
STALE_S = 20.0
# Height that is kept for the line below the heading.
SUMMARY_LINES = 2


class CostCard:
    """Result, memory, time and device of what the form asks for.

    `problem` says why a run is impossible; `changed` is emitted when it changes.
    `times` are those of the presets, by name; `timed` is emitted when they change.
    `noise` is emitted with the strongest noise of what is asked for, as a fraction of
    the range, 0 while it is not known. Speed is not measured while something else
    `is_busy` on the device.
    """

    changed = Signal(str)
    timed = Signal(dict)
    noise = Signal(float)

    def __init__(self, is_busy: Callable[[], bool] = lambda: False) -> None:
        self._is_busy = is_busy
        # What is seen while the details are folded away; it does not move what follows
        # when a figure takes the place of a range.
        self._summary = text_label(least_lines=SUMMARY_LINES)
        self._table = text_label()
        self._problem, self._advice = text_label(), text_label()
        self._summary.tooltip = self._table.tooltip = (
            "Size of the result, memory and time. The time is estimated from the "
            "noise in a part of the image, and from a few training steps on this "
            "computer. Training may stop earlier, once it no longer helps."
        )
        selectable = Qt.TextInteractionFlag.TextSelectableByMouse
        self._advice.native.setTextInteractionFlags(selectable)
        self.brief = Column([self._summary, self._problem])
        self.view = Column([self._advice, self._table])
        self.problem = ""
        self.times: dict[str, str] = {}
        self._requests: list[Request] = []
        self._workloads: list[Workload] = []
        self._machine: Machine | None = None
        self._examined = -STALE_S
        self._known: dict[Key, Measured | str] = {}
        self._taken: list[Taken] = []
        self._noise = NoiseCache()
        self._run = Run()
        self._paused = False
        self._later = after_pause(self.view.native, SETTLED_MS, self._measure)
        self.view.native.destroyed.connect(self._run.close)
        self._show()

    def update(self, requests: Sequence[Request]) -> None:
        """Estimate the cost of requests in turn; none while the form cannot run."""
        self._requests = list(requests)
        before, self._workloads = self._workloads, self._current_workloads()
        self._show()
        # What asks for the same again does not put measuring off.
        if before != self._workloads or not self._later.isActive():
            self._later.start()

    def pause(self, paused: bool) -> None:
        """Leave the device to a run, or measure again."""
        self._paused = paused
        if paused:
            self._run.cancel()
        else:
            self._later.start()

    def close(self) -> None:
        """Stop measuring."""
        self._later.stop()
        self._run.close()

    def work(self, request: Request) -> Work | None:
        """Expected work of a request, by what is known so far; None if impossible."""
        cost = self._cost([_workload(request, self._noise.get(request))])
        return None if cost is None else cost.work(0, possible(cost.workloads[0])[-1])

    def note_taken(self, request: Request, seconds: float) -> None:
        """Learn from a finished run how long the same request takes."""
        # What is written to disk may be the rest of an earlier run.
        if request.target is None:
            done = _workload(request, self._noise.get(request))
            others = [one for one in self._taken if one[0] != done]
            self._taken = [*others, (done, seconds)]

    def _current_workloads(self) -> list[Workload]:
        return [_workload(one, self._noise.get(one)) for one in self._requests]

    def _measure(self) -> None:
        """Examine the machine, estimate noise, or measure speed: one at a time."""
        if self._paused or self._run.running or not self._requests:
            return
        if time.monotonic() - self._examined > STALE_S:
            self._start(_examine_steps, self._keep_machine)
            return
        for request in self._requests:
            if not self._noise.get(request):
                keep = partial(self._noise.keep, request)
                self._start(partial(_noise_estimate_steps, request), keep)
                return
        cost = self._cost(self._workloads)
        for key, plan in ({} if cost is None else cost.unmeasured()).items():
            if self._is_busy():
                self._later.start()
                return
            starts = next(w.starts for w in self._workloads)
            measure = partial(_calibrate_steps, key, plan, starts)
            self._start(measure, partial(self._keep_rates, key, plan))
            return

    def _start(
        self, steps: Callable[[], Steps[Any]], keep: Callable[[Any], object]
    ) -> None:
        self._run.start(
            steps, on_result=keep, on_error=keep, on_finished=self._continue
        )

    def _continue(self) -> None:
        self._workloads = self._current_workloads()
        self._show()
        self._measure()

    def _cost(self, workloads: Sequence[Workload]) -> Cost | None:
        """What the time follows from; None without a machine or if impossible."""
        machine = self._machine
        if not workloads or machine is None:
            return None
        try:
            plans = [planned(workload, machine) for workload in workloads]
        except (InputError, ComputeError):
            return None
        return Cost(
            workloads=workloads,
            plans=plans,
            cores=machine.cores,
            slowness=machine.slowness,
            known=self._known,
            taken=self._taken,
        )

    def _keep_rates(
        self, key: Key, plan: TrainingPlan, rates: Rates | ZSSRError
    ) -> None:
        # Beside a preview that was opened meanwhile, everything takes longer.
        if self._is_busy():
            return
        if isinstance(rates, Rates):
            self._known[key] = Measured(plan=plan, rates=rates)
        else:
            self._known[key] = str(rates)

    def _keep_machine(self, machine: Machine | ZSSRError) -> None:
        self._examined = time.monotonic()
        if isinstance(machine, Machine):
            if self._machine is not None and self._is_busy():
                # Beside a preview, everything takes longer.
                machine = replace(machine, slowness=self._machine.slowness)
            self._machine = machine
            self._advice.value = _advice_html(machine)
        else:
            self._advice.value = html.escape(str(machine))

    def _show(self) -> None:
        """Show what is known so far."""
        self._advice.visible = bool(self._advice.value)
        result = Estimate()
        if self._workloads:
            result = estimate(self._workloads, self._machine, self._known, self._taken)
        set_text(self._summary, html.escape(result.summary))
        set_text(self._table, table_html(result.rows))
        problem = html.escape(result.problem)
        set_text(self._problem, red(problem, self._problem) if problem else "")
        if result.problem != self.problem:
            self.problem = result.problem
            self.changed.emit(result.problem)
        estimates = (one for work in self._workloads for one in work.noise_estimates)
        self.noise.emit(max((one.level for one in estimates), default=0.0))
        if result.times != self.times:
            self.times = dict(result.times)
            self.timed.emit(self.times)


class NoiseCache:
    """Noise estimates of layers."""

    def __init__(self) -> None:
        self._found: WeakKeyDictionary[Image, dict[Key, tuple[NoiseEstimate, ...]]]
        self._found = WeakKeyDictionary()

    def get(self, request: Request) -> tuple[NoiseEstimate, ...]:
        """Estimates for the channels of a request; empty where there are none yet."""
        return self._found.get(request.layer, {}).get(_noise_key(request), ())

    def keep(
        self, request: Request, noise_estimates: tuple[NoiseEstimate, ...] | ZSSRError
    ) -> None:
        """Add estimates; a layer that cannot be read counts as clean."""
        found = (
            noise_estimates
            if isinstance(noise_estimates, tuple)
            else (NoiseEstimate(),)
        )
        self._found.setdefault(request.layer, {})[_noise_key(request)] = found


def _noise_key(request: Request) -> Key:
    """What the noise of a selection, and whether a start helps, depends on."""
    ranges, config = tuple(sorted(request.selection.ranges.items())), request.config
    applied = (config.factors, config.kernel, config.start, config.learned_steps)
    shares = config.strategy_for(2) != "independent" and (*applied, config.always)
    return request.axes, ranges, config.noise, shares, id(request.layer.data)


def _workload(
    request: Request, noise_estimates: tuple[NoiseEstimate, ...] = ()
) -> Workload:
    stack = request.lazy_stack()
    return Workload(
        config=request.config,
        starts=request.starts,
        noise_estimates=noise_estimates,
        shape=tuple(stack.data.shape),
        dtype=stack.data.dtype,
        axes=stack.axes,
        target=request.target,
        factor_z=request.factor_z,
    )


def _noise_estimate_steps(request: Request) -> Steps[tuple[NoiseEstimate, ...]]:
    from napari_zssr.stack.noise_estimate import noise_estimate_steps

    return noise_estimate_steps(request.lazy_stack(), request.config)


def _examine_steps() -> Steps[Machine]:
    yield Progress(stage="examine", step=0, total=1)
    machine = examine_machine()
    from napari_zssr.zssr.calibrate import slowness

    yield Progress(stage="examine", step=0, total=1)
    return replace(machine, slowness=slowness(machine.cores))


def _calibrate_steps(key: Key, plan: TrainingPlan, starts: Starts) -> Steps[Rates]:
    from napari_zssr.zssr.calibrate import calibrate_steps

    of_plan, device, precision = key
    return calibrate_steps(
        plan, starts, size=of_plan[-1], device=device, precision=precision
    )


def _advice_html(machine: Machine) -> str:
    if machine.advice is None:
        return ""
    commands = "<br>".join(
        f"<code>{html.escape(line)}</code>" for line in machine.advice.commands
    )
    return f"{html.escape(advice_text(machine.advice))}<br>{commands}"
