"""Start, follow, cancel and end the runs of a dock widget."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

from napari.utils.notifications import show_info
from qtpy.QtCore import QTimer

from napari_zssr.errors import ZSSRError
from napari_zssr.plugin.activity import Activity
from napari_zssr.plugin.clock import Clock, JobsClock, Pace, seconds_left, status
from napari_zssr.plugin.controls import RunFields
from napari_zssr.plugin.form.rows import Leaving
from napari_zssr.plugin.messages import PROBLEM, Message
from napari_zssr.plugin.worker import GarbageFreeze, Run
from napari_zssr.progress import Event, Progress, Steps
from napari_zssr.units import duration_text
from napari_zssr.zssr.cost import Work

# napari tells of the end of a run that took longer.
NOTIFIED_S = 5.0


class RunJob(Protocol):
    """One computation of a run.

    There is no clock, and no progress is shown, until the image's size is known.
    `expected` is the work that was estimated before, if any.
    """

    name: str
    clock: Clock | None
    expected: Work | None

    def steps(self) -> Steps[Any]:
        """The computation itself, in the worker thread."""


@dataclass(eq=False, kw_only=True)
class RunController:
    """Runs the jobs of a dock widget in turn and shows their progress.

    All callbacks but the last three get the job first. `on_result` returns what came of
    it, in a few words. `on_job_end` is called last for each job, also for one that was
    cancelled, `on_end` after the last job. `on_leave` is called when the widget is
    taken out of the window, `on_delete` before it is deleted; it is not while
    `is_busy`. `noun` is what a job is about.
    """

    native: Any
    controls: RunFields
    on_event: Callable[[Any, Event], object]
    on_result: Callable[[Any, Any], str]
    on_error: Callable[[Any, ZSSRError], object]
    on_job_end: Callable[[Any], object]
    on_end: Callable[[], object]
    on_leave: Callable[[], object] = lambda: None
    on_delete: Callable[[], object] = lambda: None
    is_busy: Callable[[], bool] = lambda: False
    noun: str = "layer"

    def __post_init__(self) -> None:
        self.job: RunJob | None = None
        self.garbage = GarbageFreeze()
        self._run = Run()
        self._waiting: Iterator[RunJob] = iter(())
        self._started = self._began = 0.0
        self._pace = Pace()
        self._jobs_clock = JobsClock([1.0])
        self._activity = Activity()
        self._finished: list[str] = []
        self._active = self._left_window = self._cancelled = False
        self.controls.cancel.changed.connect(self.cancel)
        self.native.destroyed.connect(self._run.close)
        self.native.destroyed.connect(self.garbage.end)
        self.native.destroyed.connect(self._activity.end)
        self._watch = Leaving(self.native, self._leave)

    @property
    def running(self) -> bool:
        """Whether a run has been started and has not ended yet."""
        return self._active or self._run.running

    @property
    def elapsed(self) -> float:
        """Seconds since the latest job was started."""
        return time.monotonic() - self._started

    @property
    def counts(self) -> tuple[int, int]:
        """How many jobs of the latest run have brought a result, and all of them."""
        return len(self._finished), self._jobs_clock.count

    def start(self, jobs: Iterable[RunJob], weights: Sequence[float]) -> None:
        """Run jobs in turn; each is created when the one before it has ended.

        `weights` are the expected costs of all jobs, in any unit.
        """
        # napari handles events while it shows the first progress.
        self._active = True
        self.controls.clear()
        self.controls.show_running()
        self.garbage.begin()
        self._began = time.monotonic()
        self._jobs_clock = JobsClock(weights)
        self._finished, self._cancelled = [], False
        self._activity.begin()
        self._waiting = iter(jobs)
        self._start_next()

    def drop_waiting(self) -> None:
        """End the run after the current job."""
        self._waiting = iter(())

    def cancel(self) -> None:
        """Stop after the current step."""
        self._cancelled = True
        self.drop_waiting()
        self._run.cancel()
        self.controls.show_stopping()

    def _start_next(self) -> None:
        self._started = time.monotonic()
        job = self._next_job()
        if job is None:
            self._end()
            return
        self.job, self._pace = job, Pace()
        self._run.start(
            job.steps,
            on_event=self._follow,
            on_result=partial(self._take_result, job),
            on_error=partial(self.on_error, job),
            on_finished=self._end_job,
        )

    def _next_job(self) -> RunJob | None:
        """The next job that can be created; None where none is left."""
        while True:
            try:
                job = next(self._waiting, None)
            except ZSSRError as error:
                self.controls.show_message(Message(str(error), sign=PROBLEM))
            else:
                return job
            finally:
                self._jobs_clock.begin_job()

    def _take_result(self, job: RunJob, result: Any) -> None:
        self._finished.append(self.on_result(job, result))

    def _follow(self, event: Event) -> None:
        job = self.job
        assert job is not None
        self.on_event(job, event)
        self._pace.note(event, self.elapsed)
        if isinstance(event, Progress):
            self.controls.curve.follow(event)
            self._show_progress(job, event)

    def _show_progress(self, job: RunJob, event: Progress) -> None:
        """One figure for all jobs together."""
        jobs, network, left = self._jobs_clock, None, None
        sizes: Mapping[str, int] = {}
        if job.clock is not None:
            job.clock.update(event)
            jobs.update(job.clock)
            network, sizes = job.clock.network(event), job.clock.sizes
            left = self._seconds_left(job.clock, job.expected)
        which = f"{self.noun} {jobs.number} of {jobs.count}" if jobs.count > 1 else ""
        line = event.message or status(
            event, left, job=which, network=network, sizes=sizes
        )
        self.controls.show_progress(jobs.share, line)
        self._activity.show(jobs.share)

    def _seconds_left(self, clock: Clock, expected: Work | None) -> float | None:
        """Remaining time of this job and of those that wait; None if unknown."""
        left = self._pace.left(self.elapsed)
        if left is None:
            expected_s = None if expected is None else expected.seconds
            left = seconds_left(clock.of_rest, self.elapsed, expected_s)
        if left is None:
            return None
        return left + self._jobs_clock.waiting * (self.elapsed + left)

    def _end_job(self) -> None:
        job, self.job = self.job, None
        self.on_job_end(job)
        self._start_next()

    def _end(self) -> None:
        self._active = False
        self.garbage.end()
        self._activity.end()
        if self._left_window and self.native.parent() is None:
            self.delete_if_left()
            return
        self.controls.show_idle()
        self.on_end()
        self._notify()

    def _notify(self) -> None:
        """Tell of results that took long: the user may look at something else."""
        seconds, done = time.monotonic() - self._began, self._finished
        if not done or self._cancelled or seconds < NOTIFIED_S:
            return
        what = done[0]
        if len(done) > 1:
            what = f"{len(done)} {self.noun}s are finished, {duration_text(seconds)}"
        show_info(f"Super-resolution: {what}.")

    def _leave(self) -> None:
        """The widget was taken out of the window: stop, keep what is finished."""
        self._left_window = True
        self.drop_waiting()
        self._run.cancel()
        self.on_leave()
        QTimer.singleShot(0, self.delete_if_left)

    def delete_if_left(self) -> None:
        """Delete the widget, unless it is docked or a job has yet to end.

        Python would do so whenever it collects garbage, also in a worker thread, where
        Qt crashes.
        """
        left = self._left_window and self.native.parent() is None
        if left and not self.running and not self.is_busy():
            self.on_delete()
            self.native.deleteLater()
