from __future__ import annotations

import gc
import threading
import weakref
from collections.abc import Callable
from typing import Any

import pytest
import torch

pytest.importorskip("napari")

from napari_zssr.errors import ComputeError, InputError, ZSSRError
from napari_zssr.plugin.worker import Run
from napari_zssr.progress import Event, PlaneDone, Progress, Steps

MAIN = threading.main_thread()


class Network:
    """Something large that must not be kept."""


class Heard:
    """What a run told, and in which threads."""

    def __init__(self, run: Run, qtbot: Any) -> None:
        self.run = run
        self.qtbot = qtbot
        self.events: list[Event] = []
        self.results: list[Any] = []
        self.errors: list[ZSSRError] = []
        self.ends = 0
        self.threads: set[threading.Thread] = set()

    def start(self, make: Callable[[], Steps[Any]], on_event: Any = None) -> None:
        def told(event: Event) -> None:
            self.threads.add(threading.current_thread())
            self.events.append(event)
            if on_event is not None:
                on_event(event)

        self.run.start(make, told, self.results.append, self.errors.append, self.end)

    def end(self) -> None:
        self.ends += 1

    def wait(self) -> None:
        self.qtbot.waitUntil(lambda: not self.run.running, timeout=10_000)


@pytest.fixture
def heard(qtbot: Any) -> Heard:
    return Heard(Run(), qtbot)


def steps(
    count: int = 3, seen: list[Any] | None = None, fail: Exception | None = None
) -> Callable[[], Steps[str]]:
    """Steps that leave traces: threads, a network, whether they were closed."""
    traces = [] if seen is None else seen

    def make() -> Steps[str]:
        network = Network()
        traces.append(weakref.ref(network))
        try:
            for step in range(count):
                traces.append(threading.current_thread())
                yield Progress(stage="train", step=step, total=count)
            if fail is not None:
                raise fail
            return "done"
        finally:
            traces.append("closed")
            del network

    return make


def test_steps_run_elsewhere_and_tell_the_main_thread(heard: Heard) -> None:
    seen: list[Any] = []
    heard.start(steps(3, seen))
    assert heard.run.running
    heard.wait()
    told = [e.step for e in heard.events if isinstance(e, Progress)]
    assert (told, heard.results, heard.ends) == ([0, 1, 2], ["done"], 1)
    assert heard.threads == {MAIN}
    assert all(t is not MAIN for t in seen if isinstance(t, threading.Thread))


@pytest.mark.parametrize(
    ("error", "kind", "says"),
    [
        (torch.OutOfMemoryError("Tried\nmore"), ComputeError, "Memory ran"),
        (RuntimeError("device vanished\nmore"), ComputeError, "device vanished"),
        (MemoryError(), ComputeError, "Memory ran out"),
        (InputError("The image is empty."), InputError, "The image is empty."),
        (KeyError("x"), ComputeError, "KeyError"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
def test_every_error_is_told_and_the_next_run_starts(
    heard: Heard, error: Exception, kind: type[ZSSRError], says: str
) -> None:
    """A RuntimeError too, which superqt would swallow."""
    seen: list[Any] = []
    heard.start(steps(1, seen, error))
    heard.wait()
    (told,) = heard.errors
    assert type(told) is kind
    assert says in str(told)
    assert "\n" not in str(told)
    assert told.__traceback__ is None
    assert (heard.results, heard.ends) == ([], 1)
    del error
    gc.collect()
    heard.start(steps(1))
    heard.wait()
    assert heard.results == ["done"]


def test_failing_to_make_the_steps_is_told(heard: Heard) -> None:
    def make() -> Steps[Any]:
        raise RuntimeError("no torch here")

    heard.start(make)
    heard.wait()
    assert "no torch here" in str(heard.errors[0])


@pytest.mark.parametrize("after", range(4))
def test_cancel_closes_the_steps_and_frees_the_network(
    heard: Heard, after: int
) -> None:
    seen: list[Any] = []
    gate = threading.Semaphore(0)

    def slow() -> Steps[Any]:
        for event in steps(1000, seen)():
            yield event
            assert gate.acquire(timeout=5)

    def cancel(event: Event) -> None:
        if isinstance(event, Progress) and event.step == after:
            heard.run.cancel()
        gate.release()

    heard.start(slow, cancel)
    heard.wait()
    count = sum(isinstance(trace, threading.Thread) for trace in seen)
    assert count <= after + 2
    assert (heard.results, heard.errors, heard.ends) == ([], [], 1)
    gc.collect()
    assert seen[0]() is None
    assert seen[-1] == "closed"


def test_a_network_is_freed_after_success_and_failure(heard: Heard) -> None:
    for fail in (None, RuntimeError("x")):
        seen: list[Any] = []
        heard.start(steps(2, seen, fail))
        heard.wait()
        del fail
        gc.collect()
        assert seen[0]() is None


def test_napari_may_quit_the_worker_itself(heard: Heard) -> None:
    """As it does when the window is closed: the steps are closed all the same."""
    from napari.qt.threading import GeneratorWorker

    seen: list[Any] = []
    going = threading.Event()

    def endless() -> Steps[Any]:
        for event in steps(10**9, seen)():
            going.set()
            yield event

    heard.start(endless)
    heard.qtbot.waitUntil(going.is_set)
    GeneratorWorker.await_workers(10_000)
    heard.wait()
    gc.collect()
    assert seen[-1] == "closed"
    assert (heard.results, heard.ends) == ([], 1)


def test_one_run_at_a_time(heard: Heard) -> None:
    gate = threading.Event()

    def held() -> Steps[Any]:
        yield PlaneDone(plane=0, planes=1)
        gate.wait(5)
        return 1

    heard.start(held)
    with pytest.raises(RuntimeError, match="cancel it first"):
        heard.start(held)
    gate.set()
    heard.wait()
    assert heard.results == [1]


def test_closing_calls_nobody_back(heard: Heard) -> None:
    seen: list[Any] = []
    heard.start(steps(10**9, seen))
    heard.qtbot.waitUntil(lambda: bool(heard.events))
    heard.run.close()
    count = len(heard.events)
    heard.wait()
    assert (len(heard.events), heard.ends) == (count, 0)
    assert seen[-1] == "closed"


def test_cancelling_nothing_is_fine(heard: Heard) -> None:
    heard.run.cancel()
    heard.run.close()
    assert not heard.run.running


def test_torch_is_loaded_in_the_worker(loaded_by: Callable[[str], set[str]]) -> None:
    code = (
        "from napari_zssr.plugin.worker import load_torch\n"
        "load_torch(); load_torch()\n"
        "import torch; assert torch.ones(2).sum() == 2"
    )
    assert "torch" in loaded_by(code)


def test_a_missing_torch_is_left_for_the_computation_to_tell(
    loaded_by: Callable[[str], set[str]],
) -> None:
    code = (
        "import importlib.util, sys\n"
        "find = importlib.util.find_spec\n"
        "importlib.util.find_spec = lambda n: None if n == 'torch' else find(n)\n"
        "class Hide:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name == 'torch': raise ImportError('hidden')\n"
        "sys.meta_path.insert(0, Hide())\n"
        "from napari_zssr.plugin.worker import load_torch\n"
        "load_torch()"
    )
    assert "torch" not in loaded_by(code)
