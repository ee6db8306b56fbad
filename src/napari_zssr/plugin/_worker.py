"""Steps in a worker thread, so that the window stays alive."""

from __future__ import annotations

import atexit
import logging
import traceback
from collections.abc import Callable, Generator
from dataclasses import dataclass
from threading import Event as Flag
from typing import Any
from weakref import WeakSet

from napari.qt.threading import create_worker

from napari_zssr.errors import ComputeError, InputError, ZSSRError, internal_error
from napari_zssr.plugin._torch import load_torch
from napari_zssr.progress import Event, Steps

LOG = logging.getLogger(__name__)
LONGEST_STEP_MS = 60_000


class Run:
    """One computation at a time, whose events arrive in Qt's main thread.

    The steps are made, run and closed in the worker thread. However they end, they
    are let go of, so that networks and images they hold are freed.
    """

    def __init__(self) -> None:
        self._task: _Task | None = None

    @property
    def running(self) -> bool:
        """Whether a computation has been started and has not ended yet."""
        return self._task is not None

    def start(
        self,
        make_steps: Callable[[], Steps[Any]],
        on_event: Callable[[Event], object] | None = None,
        on_result: Callable[[Any], object] | None = None,
        on_error: Callable[[ZSSRError], object] | None = None,
        on_finished: Callable[[], object] | None = None,
    ) -> None:
        """Start a computation; callbacks come in the main thread.

        Parameters
        ----------
        make_steps : callable
            Makes the steps; called in the worker thread.
        on_event : callable
            Called with every event.
        on_result : callable
            Called with the result, unless cancelled or failed.
        on_error : callable
            Called with an error in one sentence, without its traceback.
        on_finished : callable
            Called last, whatever happened.

        Raises
        ------
        RuntimeError
            A computation is running.
        """
        if self._task is not None:
            raise RuntimeError("A computation is running; cancel it first.")
        task = _Task(make_steps, on_event, on_result, on_error, on_finished)
        self._task = task
        _LIVE.add(task)
        worker = create_worker(_guarded, task, _ignore_errors=True)
        worker.yielded.connect(task.tell)
        worker.returned.connect(task.settle)
        worker.finished.connect(lambda: self._finish(task))
        worker.start()

    def cancel(self) -> None:
        """Ask the computation to stop; it does so after the step it is in."""
        if self._task is not None:
            self._task.stop.set()

    def close(self) -> None:
        """Cancel and call nobody back: whoever asked is gone."""
        if self._task is not None:
            self._task.stop.set()
            self._task.forget()

    def _finish(self, task: _Task) -> None:
        task.close()
        self._task = None
        done = task.on_finished
        task.forget()
        if done is not None:
            done()


class _Task:
    """One computation and those who want to hear of it."""

    def __init__(
        self,
        make_steps: Callable[[], Steps[Any]],
        on_event: Callable[[Event], object] | None,
        on_result: Callable[[Any], object] | None,
        on_error: Callable[[ZSSRError], object] | None,
        on_finished: Callable[[], object] | None,
    ) -> None:
        self.make_steps: Callable[[], Steps[Any]] | None = make_steps
        self.steps: Steps[Any] | None = None
        self.stop = Flag()
        self.on_event = on_event
        self.on_result = on_result
        self.on_error = on_error
        self.on_finished = on_finished

    def tell(self, event: Event) -> None:
        """Hand on an event, unless they were told to stop meanwhile."""
        if self.on_event is not None and not self.stop.is_set():
            self.on_event(event)

    def settle(self, outcome: _Outcome) -> None:
        """Hand on the result or the error."""
        if outcome.error is not None and self.on_error is not None:
            self.on_error(outcome.error)
        elif outcome.finished and self.on_result is not None:
            self.on_result(outcome.result)

    def close(self) -> None:
        """Close the steps and let go of them."""
        steps, self.steps, self.make_steps = self.steps, None, None
        if steps is not None:
            steps.close()

    def forget(self) -> None:
        """Call nobody back."""
        self.on_event = self.on_result = self.on_error = self.on_finished = None


_LIVE: WeakSet[_Task] = WeakSet()


@atexit.register
def _end_threads() -> None:
    """Let threads end before Python takes away what they work with."""
    from qtpy.QtCore import QThreadPool

    live = [task for task in _LIVE if task.steps is not None]
    for task in live:
        task.stop.set()
    pool = QThreadPool.globalInstance()
    if live and pool is not None:
        pool.waitForDone(LONGEST_STEP_MS)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Outcome:
    """How a computation ended; neither finished nor an error: cancelled."""

    result: Any = None
    finished: bool = False
    error: ZSSRError | None = None


def _guarded(task: _Task) -> Generator[Event, None, _Outcome]:
    """Steps that can be stopped and that raise nothing.

    superqt takes a RuntimeError, such as a GPU's lack of memory, for a sign that the
    worker was deleted, and neither tells it nor that the worker has finished.
    """
    try:
        load_torch()
        assert task.make_steps is not None
        task.steps = task.make_steps()
        while not task.stop.is_set():
            try:
                event = next(task.steps)
            except StopIteration as stop:
                return _Outcome(result=stop.value, finished=True)
            yield event
    except Exception as error:  # noqa: BLE001 whatever it is, the user is told
        return _Outcome(error=_told(error))
    finally:
        task.close()
    return _Outcome()


def _told(error: Exception) -> ZSSRError:
    """The error without its traceback, whose frames would keep networks alive."""
    if isinstance(error, InputError | ComputeError):
        return type(error)(str(error))
    LOG.error("%s", "".join(traceback.format_exception(error)))
    if isinstance(error, MemoryError) or "out of memory" in str(error).lower():
        return ComputeError(
            "Memory ran out; enlarge a smaller part, fewer slices at a time, or close "
            "other programs."
        )
    return ComputeError(internal_error(error))
