"""The cost card: the estimate of a run, shown before Run is pressed."""

from __future__ import annotations

import html
import time
from functools import partial
from typing import Any

from psygnal import Signal
from qtpy.QtCore import Qt

from napari_zssr.errors import ComputeError, InputError, ZSSRError
from napari_zssr.plugin.estimate import (
    Estimate,
    Workload,
    advice_text,
    calibration_key,
    estimate,
    planned,
)
from napari_zssr.plugin.form.rows import Column, after_pause, red, say, words
from napari_zssr.plugin.request import Request
from napari_zssr.plugin.worker import Run
from napari_zssr.progress import Progress, Steps
from napari_zssr.zssr.cost import Rates
from napari_zssr.zssr.device import Machine, examine_machine

# The form must not have changed for so long before the device is put to work.
SETTLED_MS = 600
# Free memory that was determined longer ago is determined again.
STALE_S = 20.0


class CostCard:
    """Result, memory, time and device of what the form asks for.

    `problem` says why a run is impossible; `changed` is emitted when it changes.
    """

    changed = Signal(str)

    def __init__(self) -> None:
        self._table, self._problem, self._advice = words(), words(), words()
        self._table.tooltip = (
            "What comes out, and what it takes. The time is measured by a few steps of "
            "training on this device; a run may end earlier, when there is nothing "
            "more to learn."
        )
        selectable = Qt.TextInteractionFlag.TextSelectableByMouse
        self._advice.native.setTextInteractionFlags(selectable)
        # What is seen while the details are folded away.
        self._summary = words()
        self.brief = Column([self._summary, self._problem])
        self.view = Column([self._advice, self._table])
        self.problem = ""
        self._workload: Workload | None = None
        self._machine: Machine | None = None
        self._examined = -STALE_S
        self._rates: dict[tuple[Any, ...] | None, Rates | str] = {}
        self._run = Run()
        self._paused = False
        self._later = after_pause(self.view.native, SETTLED_MS, self._measure)
        self.view.native.destroyed.connect(self._run.close)
        self._show()

    def update(self, request: Request | None) -> None:
        """Estimate the cost of a request; None while the form cannot run."""
        self._workload = None if request is None else _workload(request)
        self._show()
        if self._workload is not None:
            self._later.start()

    def pause(self, paused: bool) -> None:
        """Leave the device to a run, or measure again."""
        self._paused = paused
        if paused:
            self._run.cancel()
        elif self._workload is not None:
            self._later.start()

    def close(self) -> None:
        """Stop measuring."""
        self._later.stop()
        self._run.close()

    def _measure(self) -> None:
        """Examine the machine or measure the rates, whichever is not known yet."""
        if self._paused or self._run.running or self._workload is None:
            return
        if time.monotonic() - self._examined > STALE_S:
            self._run.start(
                _examine_steps,
                on_result=self._keep_machine,
                on_error=self._keep_machine,
                on_finished=self._continue,
            )
            return
        key = self._calibration_key()
        if key is None or key in self._rates:
            return

        def keep_rates(rates: Rates | ZSSRError) -> None:
            self._rates[key] = rates if isinstance(rates, Rates) else str(rates)

        self._run.start(
            partial(_calibrate_steps, key),
            on_result=keep_rates,
            on_error=keep_rates,
            on_finished=self._continue,
        )

    def _continue(self) -> None:
        self._show()
        self._measure()

    def _calibration_key(self) -> tuple[Any, ...] | None:
        """Key of the rates; None without a machine or if the run is impossible."""
        workload, machine = self._workload, self._machine
        if workload is None or machine is None:
            return None
        try:
            plan = planned(workload, machine)
        except (InputError, ComputeError):
            return None
        return calibration_key(workload, plan)

    def _keep_machine(self, machine: Machine | ZSSRError) -> None:
        self._examined = time.monotonic()
        if isinstance(machine, Machine):
            self._machine = machine
            self._advice.value = _advice_html(machine)
        else:
            self._advice.value = html.escape(str(machine))

    def _show(self) -> None:
        """Show what is known so far."""
        self._advice.visible = bool(self._advice.value)
        result = Estimate()
        if self._workload is not None:
            rates = self._rates.get(self._calibration_key())
            result = estimate(self._workload, self._machine, rates)
        say(self._table, _table_html(result.rows))
        told = [text for name, text in result.rows if name in ("Result", "Time")]
        say(self._summary, html.escape(" \u00b7 ".join(told)))
        problem = html.escape(result.problem)
        say(self._problem, red(problem, self._problem) if problem else "")
        if result.problem != self.problem:
            self.problem = result.problem
            self.changed.emit(result.problem)


def _workload(request: Request) -> Workload:
    stack = request.lazy_stack()
    return Workload(
        config=request.config,
        starts=request.starts,
        shape=tuple(stack.data.shape),
        dtype=stack.data.dtype,
        axes=stack.axes,
        target=request.target,
        factor_z=request.factor_z,
    )


def _examine_steps() -> Steps[Machine]:
    yield Progress(stage="look", step=0, total=1)
    return examine_machine()


def _calibrate_steps(key: tuple[Any, ...]) -> Steps[Rates]:
    from napari_zssr.zssr.calibrate import calibrate_steps

    config, starts, device, precision, samples = key
    return calibrate_steps(
        config, starts, device=device, precision=precision, samples=samples
    )


def _table_html(rows: tuple[tuple[str, str], ...]) -> str:
    lines = (
        f"<tr><td style='padding-right: 8px'>{name}</td>"
        f"<td>{html.escape(text)}</td></tr>"
        for name, text in rows
    )
    return f"<table cellspacing='0'>{''.join(lines)}</table>" if rows else ""


def _advice_html(machine: Machine) -> str:
    if machine.advice is None:
        return ""
    commands = "<br>".join(
        f"<code>{html.escape(line)}</code>" for line in machine.advice.commands
    )
    return f"{html.escape(advice_text(machine.advice))}<br>{commands}"
