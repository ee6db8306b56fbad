"""Tasks and where they run: in this process, in several, or on a dask cluster."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

from napari_zssr.errors import (
    Cancelled,
    ComputeError,
    InputError,
    StorageError,
    ZSSRError,
)
from napari_zssr.execution.executors import Pool, Workers, pool_of
from napari_zssr.progress import Event, Progress, Steps, drain

# How often those that wait look up, and tasks look whether they shall stop.
LOOK_S = 0.2


class Task(Protocol):
    """One piece of work, picklable.

    Attributes
    ----------
    name : str
        What it is called in messages: ``Plane 12``.
    threads : int
        Threads that torch computes with; 0 for as many as it likes.
    """

    @property
    def name(self) -> str:
        """What it is called."""
        ...

    @property
    def threads(self) -> int:
        """How many threads it computes with."""
        ...

    def steps(self) -> Steps[Any]:
        """Do it."""
        ...

    def stop_requested(self) -> bool:
        """Whether the run that it belongs to is being stopped."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """A task that failed for good.

    Attributes
    ----------
    task : int
        Its place in the sequence.
    sentence : str
        Why.
    """

    task: int
    sentence: str


def run_tasks(
    tasks: Sequence[Task],
    workers: Workers,
    told: Callable[[int, Any], Event],
    *,
    stage: str = "planes",
    resource: str = "",
    stop: Callable[[], object] = lambda: None,
) -> Steps[tuple[Failure, ...]]:
    """Do tasks; one that fails for good does not keep the others from being done.

    Parameters
    ----------
    tasks : sequence of Task
    workers : Workers
    told : callable
        From the place of a task that is done and its result to the event that is
        yielded.
    stage : str
        What is being done, for the progress.
    resource : str
        What a task takes one of, where a dask cluster counts it, such as ``"GPU"``.
    stop : callable
        Has running tasks stop; called when the steps are closed or fail.

    Returns
    -------
    tuple of Failure

    Raises
    ------
    StorageError
        Results cannot be stored any more: there is no point in going on.
    ComputeError
        The cluster was lost.
    """
    if not workers.elsewhere:
        return (yield from _run_here(tasks, workers.retries, told))
    if not tasks:
        return ()
    pool = pool_of(workers, resource)
    work = _Round(tasks, pool, workers.retries, told)
    return (yield from work.steps(stage, stop))


@contextmanager
def _threads(count: int) -> Iterator[None]:
    """Have torch compute with as many threads, since their number changes rounding."""
    if count == 0:
        yield
        return
    import torch

    before = torch.get_num_threads()
    if before == count:
        yield
        return
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _run_here(
    tasks: Sequence[Task], retries: int, told: Callable[[int, Any], Event]
) -> Steps[tuple[Failure, ...]]:
    failures = []
    for number, task in enumerate(tasks):
        for attempt in range(retries + 1):
            try:
                with _threads(task.threads):
                    result = yield from task.steps()
            except (InputError, StorageError, Cancelled):
                raise
            except ComputeError as error:
                if attempt == retries:
                    failures.append(Failure(task=number, sentence=str(error)))
            else:
                yield told(number, result)
                break
    return tuple(failures)


def _perform(task: Task) -> Any:
    """Do a task in another process, looking whether it shall stop."""
    looked = 0.0

    def look(_event: Event) -> None:
        nonlocal looked
        if time.monotonic() - looked > LOOK_S:
            looked = time.monotonic()
            if task.stop_requested():
                raise Cancelled(f"{task.name} was stopped.")

    try:
        with _threads(task.threads):
            return drain(task.steps(), look)
    except ZSSRError:
        raise
    except Exception as error:
        lines = str(error).splitlines() or ["no reason given"]
        raise ComputeError(
            f"{task.name} failed: {type(error).__name__}, {lines[0]}."
        ) from error


class _Round:
    """Tasks on their way through a pool."""

    def __init__(
        self,
        tasks: Sequence[Task],
        pool: Pool,
        retries: int,
        told: Callable[[int, Any], Event],
    ) -> None:
        self.tasks = tasks
        self.pool = pool
        self.retries = retries
        self.told = told
        self.waiting = deque(range(len(tasks)))
        self.suspected: deque[int] = deque()
        self.running: dict[Future[Any], int] = {}
        self.tries: Counter[int] = Counter()
        self.failures: list[Failure] = []

    def steps(
        self, stage: str, stop: Callable[[], object]
    ) -> Steps[tuple[Failure, ...]]:
        done = 0
        try:
            while self.waiting or self.running or self.suspected:
                self._submit()
                ended, _ = wait(self.running, LOOK_S, FIRST_COMPLETED)
                for number, result in self._results(ended):
                    done += 1
                    yield self.told(number, result)
                if not ended:
                    self.pool.check()
                total = len(self.tasks)
                yield Progress(stage=stage, step=done, total=total)
        except BaseException:
            stop()
            raise
        finally:
            for future in self.running:
                future.cancel()
            wait([future for future in self.running if not future.cancelled()])
            self.pool.close()
        return tuple(self.failures)

    def _submit(self) -> None:
        if not (self.waiting or self.running):
            # One at a time, so that it is seen which of them kills its process.
            self.waiting.append(self.suspected.popleft())
        while self.waiting and len(self.running) < self.pool.room():
            number = self.waiting.popleft()
            try:
                future = self.pool.executor().submit(_perform, self.tasks[number])
            except BrokenProcessPool:
                self.waiting.appendleft(number)
                self.pool.replace()
                continue
            self.running[future] = number

    def _results(self, ended: set[Future[Any]]) -> Iterator[tuple[int, Any]]:
        """What came of tasks that have ended; those to be tried again wait again."""
        alone = len(self.running) == 1
        for future in ended:
            number = self.running.pop(future)
            error = _error(future)
            if error is None:
                yield number, future.result()
                continue
            if isinstance(error, InputError | StorageError | Cancelled):
                raise error
            # What a lost cluster leaves behind is no failure of the task.
            self.pool.check()
            if isinstance(error, BrokenProcessPool):
                self.pool.replace()
                if not alone:
                    self.suspected.append(number)
                    continue
            self.tries[number] += 1
            if self.tries[number] <= self.retries:
                self.waiting.append(number)
            else:
                sentence = _sentence(self.tasks[number], error)
                self.failures.append(Failure(task=number, sentence=sentence))


def _error(future: Future[Any]) -> BaseException | None:
    if future.cancelled():
        return ComputeError("The task was cancelled by the cluster.")
    return future.exception()


def _sentence(task: Task, error: BaseException) -> str:
    if isinstance(error, ZSSRError):
        return str(error)
    if isinstance(error, BrokenProcessPool) or type(error).__name__ == "KilledWorker":
        return (
            f"{task.name} failed: its worker was killed each time, perhaps for want of "
            "memory; use fewer workers."
        )
    lines = str(error).splitlines() or ["no reason given"]
    return f"{task.name} failed: {type(error).__name__}, {lines[0]}."
