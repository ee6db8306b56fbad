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
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event as Flag
from typing import Any, ClassVar
from weakref import WeakSet

from napari.qt.threading import create_worker

from napari_zssr.errors import (
    ComputeError,
    InputError,
    ZSSRError,
    internal_error,
    is_out_of_memory,
)
from napari_zssr.progress import Event, Steps
from napari_zssr.zssr.device import release_memory, share_cores


def load_torch() -> None:
    """Import torch in a worker thread; does nothing if it is loaded already.

    Python holds its global lock while an import loads a library, half a second for
    torch's, and the window freezes. A foreign function call through ctypes releases
    the lock, and the import then uses the library that is loaded.
    """
    if "torch" in sys.modules:
        return
    share_cores()
    spec = importlib.util.find_spec("torch")
    if spec is not None and spec.origin and sys.platform != "win32":
        for library in (Path(spec.origin).parent / "lib").glob("libtorch_python.*"):
            _open_library(library)
    # The computation itself says what is wrong with a torch that cannot be imported.
    with contextlib.suppress(ImportError, OSError), _garbage_collection_disabled():
        import torch  # noqa: F401 loaded here, used elsewhere


def _open_library(library: Path) -> None:
    """Load a library if that is possible."""
    open_library = ctypes.CDLL(None).dlopen
    open_library.argtypes = [ctypes.c_char_p, ctypes.c_int]
    open_library.restype = ctypes.c_void_p
    open_library(os.fsencode(library), os.RTLD_LAZY)


@contextlib.contextmanager
def _garbage_collection_disabled() -> Iterator[None]:
    """An import allocates so many objects that it would trigger full collections."""
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

    The steps are created, run and closed in the worker thread. However they end, they
    are released, so that the networks and images they hold are freed.
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
        """Start a computation; the callbacks are called in the main thread.

        `on_result` is not called after an error or when cancelled, `on_finished` is
        always called last. Raises RuntimeError while another computation is running.
        """
        if self._task is not None:
            raise RuntimeError("A computation is running; cancel it first.")
        callbacks = {"event": on_event, "result": on_result, "error": on_error}
        task = _Task(make_steps, callbacks | {"finished": on_finished})
        self._task = task
        _LIVE.add(task)
        worker = create_worker(_guarded, task, _ignore_errors=True)
        worker.yielded.connect(task.send_event)
        worker.returned.connect(lambda outcome: task.call(*outcome))
        worker.finished.connect(lambda: self._finish(task))
        worker.start()

    def cancel(self) -> None:
        """Ask the computation to stop; it does so after the current step."""
        if self._task is not None:
            self._task.stop.set()

    def close(self) -> None:
        """Cancel, and call no callback: their owner is gone."""
        if self._task is not None:
            self._task.stop.set()
            self._task.callbacks.clear()

    def _finish(self, task: _Task) -> None:
        task.close()
        self._task = None
        task.call("finished")
        task.callbacks.clear()


@dataclass(eq=False)
class _Task:
    """The steps of one computation and its callbacks."""

    make_steps: Callable[[], Steps[Any]] | None
    callbacks: dict[str, Callable[..., object] | None]
    steps: Steps[Any] | None = None
    stop: Flag = field(default_factory=Flag)

    def call(self, name: str, *values: Any) -> None:
        """Call a callback, if there is one."""
        callback = self.callbacks.get(name)
        if callback is not None:
            callback(*values)

    def send_event(self, event: Event) -> None:
        """Pass on an event, unless the computation has been cancelled meanwhile."""
        if not self.stop.is_set():
            self.call("event", event)

    def close(self) -> None:
        """Close the steps and release them."""
        steps, self.steps, self.make_steps = self.steps, None, None
        if steps is not None:
            steps.close()


_LIVE: WeakSet[_Task] = WeakSet()


@atexit.register
def _end_threads() -> None:
    """Let threads end before Python removes the modules they work with."""
    from qtpy.QtCore import QThreadPool

    live = [task for task in _LIVE if task.steps is not None]
    for task in live:
        task.stop.set()
    pool = QThreadPool.globalInstance()
    if live and pool is not None:
        pool.waitForDone(LONGEST_STEP_MS)


def _guarded(task: _Task) -> Generator[Event, None, tuple[str, Any]]:
    """Steps that can be cancelled, and that return an error instead of raising it.

    Returns the name of a callback and its argument.

    superqt takes a RuntimeError, such as a GPU that is out of memory, for a sign that
    the worker was deleted, and emits neither the error nor that the worker finished.
    """
    try:
        load_torch()
        assert task.make_steps is not None
        task.steps = task.make_steps()
        while not task.stop.is_set():
            try:
                event = next(task.steps)
            except StopIteration as stop:
                return "result", stop.value
            yield event
    except Exception as error:  # noqa: BLE001 whatever it is, the user is informed
        return "error", _without_traceback(error)
    finally:
        task.close()
        release_memory()
    return "cancelled", None


def _without_traceback(error: Exception) -> ZSSRError:
    """The error as one sentence; frames of its traceback would keep networks alive."""
    if isinstance(error, InputError | ComputeError):
        return type(error)(str(error))
    LOG.error("%s", "".join(traceback.format_exception(error)))
    if is_out_of_memory(error):
        return ComputeError(
            "Memory ran out; enlarge a smaller part, fewer slices at a time, or close "
            "other programs."
        )
    return ComputeError(internal_error(error))


class GarbageFreeze:
    """Exclude the objects that exist before a run from garbage collection meanwhile.

    A full collection visits every object of napari and torch and freezes the window
    for a quarter of a second. Objects that the run itself creates are still collected.
    """

    _active: ClassVar[set[GarbageFreeze]] = set()

    def begin(self) -> None:
        """Exclude all objects that exist now."""
        if self not in self._active:
            self._active.add(self)
            gc.freeze()

    def end(self, *_: object) -> None:
        """Include all objects again once no run excludes any."""
        if self in self._active:
            self._active.remove(self)
            if not self._active:
                gc.unfreeze()

    def include_all(self, *_: object) -> None:
        """Include all objects now: something large may have become garbage."""
        if self in self._active:
            gc.unfreeze()
