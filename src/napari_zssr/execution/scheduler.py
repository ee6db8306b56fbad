"""Runs tasks in this process, in several processes, or on a dask cluster."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from typing import Any, NamedTuple, Protocol

from napari_zssr.errors import (
    Cancelled,
    ComputeError,
    InputError,
    StorageError,
    ZSSRError,
)
from napari_zssr.execution.executors import DaskPool, ProcessPool, Workers
from napari_zssr.progress import Event, Progress, Steps, drain

# How often the scheduler polls its futures, and tasks whether they should stop.
POLL_S = 0.2
# No other task could do better, so these end the run.
_FATAL = (InputError, StorageError, Cancelled)


class Task(Protocol):
    """A piece of work, picklable."""

    @property
    def name(self) -> str:
        """Name for messages: ``Plane 12``."""

    @property
    def threads(self) -> int:
        """Threads that torch computes with; 0 leaves their number alone."""

    def steps(self) -> Steps[Any]:
        """Do the work."""

    def stop_requested(self) -> bool:
        """Whether the run it belongs to is being stopped."""


class Failure(NamedTuple):
    """A task, by its index, that failed for good, and why."""

    task: int
    sentence: str


def run_tasks(
    tasks: Sequence[Task],
    workers: Workers,
    to_event: Callable[[int, Any], Event],
    *,
    stage: str = "planes",
    resource: str = "",
    stop: Callable[[], object] = lambda: None,
) -> Steps[tuple[Failure, ...]]:
    """Do all tasks, even if some of them fail for good, and return the failures.

    `to_event` makes the event that is yielded from a task's index and result. On a
    dask cluster each task takes one `resource`, such as ``"GPU"``, where workers
    declare it. `stop` is called, to stop running tasks, if the steps close or fail.
    """
    if workers.is_in_process:
        return (yield from _run_in_process(tasks, workers.retries, to_event))
    if not tasks:
        return ()
    pool: ProcessPool | DaskPool = (
        DaskPool(workers, resource) if workers.is_on_cluster else ProcessPool(workers)
    )
    queue = _Queue(tasks, pool, workers.retries)
    done = 0
    try:
        while queue.waiting or queue.running or queue.suspects:
            queue.submit()
            ended, _ = wait(queue.running, POLL_S, FIRST_COMPLETED)
            for number, result in queue.results(ended):
                done += 1
                yield to_event(number, result)
            if not ended:
                pool.check()
            yield Progress(stage=stage, step=done, total=len(tasks))
    except BaseException:
        stop()
        raise
    finally:
        for future in queue.running:
            future.cancel()
        wait([future for future in queue.running if not future.cancelled()])
        pool.close()
    return tuple(queue.failures)


def _run_in_process(
    tasks: Sequence[Task], retries: int, to_event: Callable[[int, Any], Event]
) -> Steps[tuple[Failure, ...]]:
    failures = []
    for number, task in enumerate(tasks):
        for attempt in range(retries + 1):
            try:
                with _torch_threads(task.threads):
                    result = yield from task.steps()
            except _FATAL:
                raise
            except ComputeError as error:
                if attempt == retries:
                    failures.append(Failure(number, str(error)))
            else:
                yield to_event(number, result)
                break
    return tuple(failures)


@contextmanager
def _torch_threads(count: int) -> Iterator[None]:
    """Set the number of torch's threads, which changes rounding."""
    import torch

    before = torch.get_num_threads()
    if count in (0, before):
        yield
        return
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _run_task(task: Task) -> Any:
    """Do a task in another process until it is asked to stop."""
    polled = 0.0

    def poll(_event: Event) -> None:
        nonlocal polled
        if time.monotonic() - polled > POLL_S:
            polled = time.monotonic()
            if task.stop_requested():
                raise Cancelled(f"{task.name} was stopped.")

    try:
        with _torch_threads(task.threads):
            return drain(task.steps(), poll)
    except ZSSRError:
        raise
    except Exception as error:
        raise ComputeError(_sentence(task, error)) from error


class _Queue:
    """Tasks on their way through a pool."""

    def __init__(
        self, tasks: Sequence[Task], pool: ProcessPool | DaskPool, retries: int
    ) -> None:
        self.tasks = tasks
        self.pool = pool
        self.retries = retries
        self.waiting = deque(range(len(tasks)))
        # Tasks that were running when a process was killed.
        self.suspects: deque[int] = deque()
        self.running: dict[Future[Any], int] = {}
        self.attempts: Counter[int] = Counter()
        self.failures: list[Failure] = []

    def submit(self) -> None:
        """Fill the pool with waiting tasks."""
        if not (self.waiting or self.running):
            # One at a time shows which of them kills its process.
            self.waiting.append(self.suspects.popleft())
        while self.waiting and len(self.running) < self.pool.capacity():
            number = self.waiting.popleft()
            try:
                future = self.pool.executor.submit(_run_task, self.tasks[number])
            except BrokenProcessPool:
                self.waiting.appendleft(number)
                self.pool.replace()
                continue
            self.running[future] = number

    def results(self, ended: set[Future[Any]]) -> Iterator[tuple[int, Any]]:
        """Results of ended tasks; those to be tried again are queued again."""
        is_alone = len(self.running) == 1
        for future in ended:
            number = self.running.pop(future)
            error = (
                ComputeError("The cluster cancelled the task.")
                if future.cancelled()
                else future.exception()
            )
            if error is None:
                yield number, future.result()
                continue
            if isinstance(error, _FATAL):
                raise error
            # An error that a lost cluster leaves behind is no failure of the task.
            self.pool.check()
            if isinstance(error, BrokenProcessPool):
                self.pool.replace()
                if not is_alone:
                    self.suspects.append(number)
                    continue
            self.attempts[number] += 1
            if self.attempts[number] <= self.retries:
                self.waiting.append(number)
            else:
                sentence = _sentence(self.tasks[number], error)
                self.failures.append(Failure(number, sentence))


def _sentence(task: Task, error: BaseException) -> str:
    """The reason why a task failed."""
    if isinstance(error, ZSSRError):
        return str(error)
    if isinstance(error, BrokenProcessPool) or type(error).__name__ == "KilledWorker":
        return (
            f"{task.name} failed: its worker was killed each time, perhaps because "
            "memory ran out; use fewer workers."
        )
    lines = str(error).splitlines() or ["no reason given"]
    return f"{task.name} failed: {type(error).__name__}, {lines[0]}."
