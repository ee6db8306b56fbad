"""The cost card: what a run will take, known before Run is pressed."""

from __future__ import annotations

import html
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from psygnal import Signal
from qtpy.QtCore import Qt

from napari_zssr.errors import ComputeError, InputError, ZSSRError
from napari_zssr.plugin.estimate import (
    Estimate,
    Wish,
    advice_words,
    calibration_key,
    estimate,
    planned,
)
from napari_zssr.plugin.form.rows import Column, after_pause, red, say, words
from napari_zssr.plugin.layers.layers import lazy_stack
from napari_zssr.plugin.worker import Run
from napari_zssr.progress import Progress, Steps
from napari_zssr.zssr.cost import Rates
from napari_zssr.zssr.device import Machine, examine_machine

if TYPE_CHECKING:
    from napari_zssr.plugin.request import Request

# The form is left alone for so long before the device is put to work.
SETTLED_MS = 600
# Free memory that was seen so long ago is looked at again.
STALE_S = 20.0


class CostCard:
    """Result, memory, time and device of what the form asks for.

    Attributes
    ----------
    view : Column
        What is shown.
    problem : str
        Why a run will not fit, or empty; `changed` is emitted when it changes.
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
        self.view = Column([self._advice, self._table, self._problem])
        self.problem = ""
        self._wish: Wish | None = None
        self._machine: Machine | None = None
        self._seen = -STALE_S
        self._rates: dict[tuple[Any, ...], Rates | str] = {}
        self._run = Run()
        self._paused = False
        self._later = after_pause(self.view.native, SETTLED_MS, self._work)
        self.view.native.destroyed.connect(self._run.close)
        self._show()

    def update(self, request: Request | None) -> None:
        """Tell what a request will cost; None where the form cannot run."""
        self._wish = None if request is None else _wish(request)
        self._show()
        if self._wish is not None:
            self._later.start()

    def pause(self, paused: bool) -> None:
        """Leave the device to a run, or measure again."""
        self._paused = paused
        if paused:
            self._run.cancel()
        elif self._wish is not None:
            self._later.start()

    def close(self) -> None:
        """Stop measuring and call nobody back."""
        self._later.stop()
        self._run.close()

    def _work(self) -> None:
        """Start what is not known yet: the machine, then the rates."""
        if self._paused or self._run.running or self._wish is None:
            return
        if time.monotonic() - self._seen > STALE_S:
            self._start(_looking, self._take_machine, self._miss_machine)
            return
        if self._machine is None:
            return
        key, steps = self._calibration(self._wish, self._machine)
        if steps is None or key in self._rates:
            return

        def keep(rates: Rates) -> None:
            self._rates[key] = rates

        def miss(error: ZSSRError) -> None:
            self._rates[key] = str(error)

        self._start(steps, keep, miss)

    def _start(
        self,
        steps: Callable[[], Steps[Any]],
        on_result: Callable[[Any], object],
        on_error: Callable[[ZSSRError], object],
    ) -> None:
        self._run.start(
            steps, on_result=on_result, on_error=on_error, on_finished=self._next
        )

    def _next(self) -> None:
        self._show()
        self._work()

    def _calibration(
        self, wish: Wish, machine: Machine
    ) -> tuple[tuple[Any, ...], Callable[[], Steps[Rates]] | None]:
        """Key of a wish, and what measures its rates; None where it cannot run."""
        try:
            plan = planned(wish, machine.chosen(wish.config.device), machine)
        except (InputError, ComputeError):
            return (), None
        key = calibration_key(wish, plan)

        def steps() -> Steps[Rates]:
            from napari_zssr.zssr.calibrate import calibrate_steps

            config, starts, device, precision, samples = key
            return calibrate_steps(
                config, starts, device=device, precision=precision, samples=samples
            )

        return key, steps

    def _take_machine(self, machine: Machine) -> None:
        self._machine = machine
        self._seen = time.monotonic()
        self._advice.value = _advice_html(machine)

    def _miss_machine(self, error: ZSSRError) -> None:
        self._seen = time.monotonic()
        self._advice.value = html.escape(str(error))

    def _show(self) -> None:
        """Say what is known by now."""
        self._advice.visible = bool(self._advice.value)
        found = Estimate()
        if self._wish is not None:
            rates = None
            if self._machine is not None:
                key, _ = self._calibration(self._wish, self._machine)
                rates = self._rates.get(key)
            found = estimate(self._wish, self._machine, rates)
        say(self._table, _table_html(found.rows))
        problem = html.escape(found.problem)
        say(self._problem, red(problem, self._problem) if problem else "")
        if found.problem != self.problem:
            self.problem = found.problem
            self.changed.emit(found.problem)


def _wish(request: Request) -> Wish:
    stack = lazy_stack(request.layer, request.axes, request.selection)
    return Wish(
        config=request.config,
        starts=request.starts,
        shape=tuple(stack.data.shape),
        dtype=stack.data.dtype,
        axes=stack.axes,
        target=request.target,
    )


def _looking() -> Steps[Machine]:
    yield Progress(stage="look", step=0, total=1)
    return examine_machine()


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
    return f"{html.escape(advice_words(machine.advice))}<br>{commands}"
