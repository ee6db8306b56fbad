"""Start, follow, cancel and end the runs of a dock widget."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from typing import Any, Protocol

from psygnal import Signal
from qtpy.QtCore import QTimer

from napari_zssr.plugin.controls import Clock, RunFields, seconds_left, status
from napari_zssr.plugin.form.rows import Leaving
from napari_zssr.plugin.worker import GarbageFreeze, Run
from napari_zssr.progress import Event, PlaneDone, Progress, Steps


class RunJob(Protocol):
    """One computation of a run.

    Attributes
    ----------
    name : str
    prefix : str
        Of the progress line.
    clock : Clock or None
        None until the size of the image is known; no progress is shown before.
    """

    name: str
    prefix: str
    clock: Clock | None

    def steps(self) -> Steps[Any]:
        """The computation itself, in the worker thread."""


class RunController:
    """Runs the jobs of a dock widget in turn and shows their progress.

    Attributes
    ----------
    event, result, error : Signal
        Of a job: emitted with the job and its event, result or `ZSSRError`.
    job_ended : Signal
        Emitted last for each job, also when it was cancelled.
    ended : Signal
        Emitted after the last job.
    leaving, deleting : Signal
        Emitted when the widget is taken out of the window and before it is deleted.
    """

    event = Signal(object, object)
    result = Signal(object, object)
    error = Signal(object, object)
    job_ended = Signal(object)
    ended = Signal()
    leaving = Signal()
    deleting = Signal()

    def __init__(self, native: Any, controls: RunFields) -> None:
        self._native = native
        self._controls = controls
        self._run = Run()
        self.garbage = GarbageFreeze()
        self.job: RunJob | None = None
        self._waiting: Iterator[RunJob] = iter(())
        self._started = 0.0
        self._left_window = False
        controls.cancel.changed.connect(self.cancel)
        native.destroyed.connect(self._run.close)
        native.destroyed.connect(self.garbage.end)
        self._watch = Leaving(native, self._leave)

    @property
    def running(self) -> bool:
        """Whether a job has been started and has not ended yet."""
        return self._run.running

    @property
    def elapsed(self) -> float:
        """Seconds since the latest job was started."""
        return time.monotonic() - self._started

    def start(self, jobs: Iterable[RunJob]) -> None:
        """Run jobs in turn; each is created when the one before it has ended."""
        self._controls.clear()
        self.garbage.begin()
        self._waiting = iter(jobs)
        self._start_next()

    def drop_waiting(self) -> None:
        """End the run after the current job."""
        self._waiting = iter(())

    def cancel(self) -> None:
        """Stop after the current step."""
        self.drop_waiting()
        self._run.cancel()
        self._controls.stopping()

    def _start_next(self) -> None:
        self._started = time.monotonic()
        job = next(self._waiting, None)
        if job is None:
            self._end()
            return
        self.job = job
        self._controls.running(job.name)
        self._run.start(
            job.steps,
            on_event=self._follow,
            on_result=lambda result: self.result.emit(job, result),
            on_error=lambda error: self.error.emit(job, error),
            on_finished=self._end_job,
        )

    def _follow(self, event: Event) -> None:
        job = self.job
        assert job is not None
        self.event.emit(job, event)
        if isinstance(event, PlaneDone):
            self._controls.loss.clear()
        elif isinstance(event, Progress) and job.clock is not None:
            share = job.clock.tell(event)
            left = seconds_left(job.clock.of_rest, self.elapsed)
            line = event.message or status(event, left)
            self._controls.progress(share, job.prefix + line)
            if event.loss is not None:
                self._controls.loss.add(event.step, event.loss)

    def _end_job(self) -> None:
        job, self.job = self.job, None
        self.job_ended.emit(job)
        self._start_next()

    def _end(self) -> None:
        self.garbage.end()
        if self._left_window and self._native.parent() is None:
            self._delete()
            return
        self._controls.idle()
        self.ended.emit()

    def _leave(self) -> None:
        """The widget was taken out of the window: stop, keep what is finished."""
        self._left_window = True
        self.drop_waiting()
        self._run.cancel()
        self.leaving.emit()
        QTimer.singleShot(0, self._delete)

    def _delete(self) -> None:
        """Delete the widget, unless it was docked again or a job has yet to end.

        Python would do so whenever it collects garbage, also in a worker thread, where
        Qt crashes.
        """
        if self._native.parent() is None and not self.running:
            self.deleting.emit()
            self._native.deleteLater()
