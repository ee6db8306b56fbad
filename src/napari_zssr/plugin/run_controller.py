"""Start, follow, cancel and end the runs of a dock widget."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

from qtpy.QtCore import QTimer

from napari_zssr.errors import ZSSRError
from napari_zssr.plugin.controls import Clock, Pace, RunFields, seconds_left, status
from napari_zssr.plugin.form.rows import Leaving
from napari_zssr.plugin.worker import GarbageFreeze, Run
from napari_zssr.progress import Event, PlaneDone, Progress, Steps
from napari_zssr.zssr.cost import Work


class RunJob(Protocol):
    """One computation of a run; `prefix` begins its progress line.

    There is no clock, and no progress is shown, until the image's size is known. `told`
    is the work that was foretold, if any.
    """

    name: str
    prefix: str
    clock: Clock | None
    told: Work | None

    def steps(self) -> Steps[Any]:
        """The computation itself, in the worker thread."""


@dataclass(eq=False, kw_only=True)
class RunController:
    """Runs the jobs of a dock widget in turn and shows their progress.

    All callbacks but the last three get the job first. `on_job_end` is called last for
    each job, also for one that was cancelled, `on_end` after the last job. `on_leave`
    is called when the widget is taken out of the window, `on_delete` before it is
    deleted.
    """

    native: Any
    controls: RunFields
    on_event: Callable[[Any, Event], object]
    on_result: Callable[[Any, Any], object]
    on_error: Callable[[Any, ZSSRError], object]
    on_job_end: Callable[[Any], object]
    on_end: Callable[[], object]
    on_leave: Callable[[], object] = lambda: None
    on_delete: Callable[[], object] = lambda: None

    def __post_init__(self) -> None:
        self.job: RunJob | None = None
        self.garbage = GarbageFreeze()
        self._run = Run()
        self._waiting: Iterator[RunJob] = iter(())
        self._started = 0.0
        self._pace = Pace()
        self._left_window = False
        self.controls.cancel.changed.connect(self.cancel)
        self.native.destroyed.connect(self._run.close)
        self.native.destroyed.connect(self.garbage.end)
        self._watch = Leaving(self.native, self._leave)

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
        self.controls.clear()
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
        self.controls.show_stopping()

    def _start_next(self) -> None:
        self._started = time.monotonic()
        job = self._next_job()
        if job is None:
            self._end()
            return
        self.job, self._pace = job, Pace(job.told)
        self.controls.show_running(job.name)
        self._run.start(
            job.steps,
            on_event=self._follow,
            on_result=partial(self.on_result, job),
            on_error=partial(self.on_error, job),
            on_finished=self._end_job,
        )

    def _next_job(self) -> RunJob | None:
        """The next job that can be created; None where none is left."""
        while True:
            try:
                return next(self._waiting, None)
            except ZSSRError as error:
                self.controls.add_line(str(error), problem=True)

    def _follow(self, event: Event) -> None:
        job = self.job
        assert job is not None
        self.on_event(job, event)
        self._pace.note(event, self.elapsed)
        if isinstance(event, PlaneDone):
            self.controls.loss.clear()
        elif isinstance(event, Progress) and job.clock is not None:
            share = job.clock.tell(event)
            left = self._pace.left(self.elapsed)
            if left is None:
                told = None if job.told is None else job.told.seconds
                left = seconds_left(job.clock.of_rest, self.elapsed, told)
            line = event.message or status(event, left)
            self.controls.show_progress(share, job.prefix + line)
            if event.loss is not None:
                self.controls.loss.add(event.step, event.loss)

    def _end_job(self) -> None:
        job, self.job = self.job, None
        self.on_job_end(job)
        self._start_next()

    def _end(self) -> None:
        self.garbage.end()
        if self._left_window and self.native.parent() is None:
            self._delete()
            return
        self.controls.show_idle()
        self.on_end()

    def _leave(self) -> None:
        """The widget was taken out of the window: stop, keep what is finished."""
        self._left_window = True
        self.drop_waiting()
        self._run.cancel()
        self.on_leave()
        QTimer.singleShot(0, self._delete)

    def _delete(self) -> None:
        """Delete the widget, unless it was docked again or a job has yet to end.

        Python would do so whenever it collects garbage, also in a worker thread, where
        Qt crashes.
        """
        if self.native.parent() is None and not self.running:
            self.on_delete()
            self.native.deleteLater()
