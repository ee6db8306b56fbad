"""Steps in a worker thread, so that the window stays alive."""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import gc
import importlib.util
import logging
import os
import sys
import traceback
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from pathlib import Path
from threading import Event as Flag
from typing import Any
from weakref import WeakSet

from napari.qt.threading import create_worker

from napari_zssr.errors import ComputeError, InputError, ZSSRError, internal_error
from napari_zssr.progress import Event, Steps
from napari_zssr.zssr.device import share_cores


def load_torch() -> None:
    """Import torch in a worker thread; does nothing where it is loaded already.

    Python holds its lock while it loads a library, half a second for torch's, and the
    window stands still. A call through ctypes does not hold it, and what is loaded
    once is there for the import.
    """
    if "torch" in sys.modules:
        return
    share_cores()
    spec = importlib.util.find_spec("torch")
    if spec is not None and spec.origin and sys.platform != "win32":
        for library in (Path(spec.origin).parent / "lib").glob("libtorch_python.*"):
            _open(library)
    # The computation itself tells what is wrong with a torch that cannot be imported.
    with contextlib.suppress(ImportError, OSError), _no_collection():
        import torch  # noqa: F401 loaded here, used elsewhere


def _open(library: Path) -> None:
    """Load a library if that is possible."""
    open_library = ctypes.CDLL(None).dlopen
    open_library.argtypes = [ctypes.c_char_p, ctypes.c_int]
    open_library.restype = ctypes.c_void_p
    open_library(os.fsencode(library), os.RTLD_LAZY)


@contextlib.contextmanager
def _no_collection() -> Iterator[None]:
    """An import makes no garbage, but so much else that all of it is searched."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


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


class ShortSearches:
    """Leave what was there before a run out of Python's searches for garbage.

    A full search looks at every object of napari and torch, and the window stands
    still for a quarter of a second. What a run makes is searched as ever.
    """

    _held = 0

    def __init__(self) -> None:
        self._on = False

    def begin(self) -> None:
        """Set aside what is there now."""
        if not self._on:
            self._on = True
            ShortSearches._held += 1
            gc.freeze()

    def end(self, *_: object) -> None:
        """Search everything again, once nobody has anything set aside."""
        if self._on:
            self._on = False
            ShortSearches._held -= 1
            if ShortSearches._held == 0:
                gc.unfreeze()

    def let_go(self, *_: object) -> None:
        """Search everything now: something large may have become garbage."""
        if self._on:
            gc.unfreeze()
