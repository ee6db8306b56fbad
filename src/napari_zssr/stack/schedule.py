"""Tasks and where they run: in this process, in several, or on a dask cluster."""

from __future__ import annotations

import os
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from typing import Any, Protocol, TypeVar

from napari_zssr.errors import (
    Cancelled,
    ComputeError,
    InputError,
    StorageError,
    ZSSRError,
)
from napari_zssr.progress import Event, Progress, Steps, drain

T = TypeVar("T")
R = TypeVar("R")

# How often those that wait look up, and tasks look whether they shall stop.
LOOK_S = 0.2
# Tasks that a dask cluster holds for each of its threads, so that none runs dry.
AHEAD = 2
CONNECT_S = 10


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
class Workers:
    """Who does the tasks.

    Attributes
    ----------
    processes : int
        Processes on this machine; 0 does them in this one, one after the other.
    scheduler : str
        Address of a dask scheduler, such as ``tcp://node1:8786``, or the name of the
        file that tells it; empty for none.
    client : distributed.Client, optional
        A client that is connected already.
    retries : int
        How often a task that failed is tried again.
    devices : tuple of str
        Devices that processes on this machine share out, one each in turn.
    """

    processes: int = 0
    scheduler: str = ""
    client: Any = None
    retries: int = 1
    devices: tuple[str, ...] = ()

    @property
    def elsewhere(self) -> bool:
        """Whether tasks run in other processes."""
        return bool(self.processes or self.on_cluster)

    @property
    def on_cluster(self) -> bool:
        """Whether tasks run on a dask cluster."""
        return bool(self.scheduler) or self.client is not None


HERE = Workers()


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
    resources: dict[str, float] | None = None,
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
    resources : dict, optional
        What a dask worker must offer, such as ``{"GPU": 1}``.
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
    pool = _Cluster(workers, resources) if workers.on_cluster else _Processes(workers)
    return (yield from _Round(tasks, pool, workers.retries, told, stop).steps())


def ask(workers: Workers, question: Callable[[], R]) -> R:
    """Answer to a question where the tasks will run.

    Parameters
    ----------
    workers : Workers
    question : callable
        Picklable, without arguments.
    """
    if not workers.on_cluster:
        return question()
    with _client(workers) as client:
        _wait_for_workers(client)
        answer: R = client.submit(question, pure=False).result()
        return answer


def use_threads(count: int) -> None:
    """Have torch compute with as many threads, since their number changes rounding.

    Parameters
    ----------
    count : int
        0 leaves their number as it is.
    """
    if count == 0:
        return
    import torch

    if torch.get_num_threads() != count:
        torch.set_num_threads(count)


# Of several devices the one that this process computes on.
_own: list[str] = []


def own_device(planned: str) -> str:
    """Device that this process computes on: its share of several, or as planned."""
    return _own[-1] if _own else planned


def _run_here(
    tasks: Sequence[Task], retries: int, told: Callable[[int, Any], Event]
) -> Steps[tuple[Failure, ...]]:
    failures = []
    for number, task in enumerate(tasks):
        use_threads(task.threads)
        for attempt in range(retries + 1):
            try:
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
    use_threads(task.threads)
    looked = 0.0

    def look(_event: Event) -> None:
        nonlocal looked
        if time.monotonic() - looked > LOOK_S:
            looked = time.monotonic()
            if task.stop_requested():
                raise Cancelled(f"{task.name} was stopped.")

    try:
        return drain(task.steps(), look)
    except ZSSRError:
        raise
    except Exception as error:
        lines = str(error).splitlines() or ["no reason given"]
        raise ComputeError(
            f"{task.name} failed: {type(error).__name__}, {lines[0]}."
        ) from error


class _Pool(Protocol):
    """Executors for a run; a broken one is replaced."""

    def executor(self) -> Executor: ...

    def room(self) -> int: ...

    def check(self) -> None: ...

    def replace(self) -> None: ...

    def close(self) -> None: ...


class _Round:
    """Tasks on their way through a pool."""

    def __init__(
        self,
        tasks: Sequence[Task],
        pool: _Pool,
        retries: int,
        told: Callable[[int, Any], Event],
        stop: Callable[[], object],
    ) -> None:
        self.tasks = tasks
        self.pool = pool
        self.retries = retries
        self.told = told
        self.stop = stop
        self.waiting = deque(range(len(tasks)))
        self.running: dict[Future[Any], int] = {}
        self.tries: Counter[int] = Counter()
        self.failures: list[Failure] = []

    def steps(self) -> Steps[tuple[Failure, ...]]:
        done = 0
        try:
            while self.waiting or self.running:
                self._submit()
                ended, _ = wait(self.running, LOOK_S, FIRST_COMPLETED)
                for number, result in self._results(ended):
                    done += 1
                    yield self.told(number, result)
                if not ended:
                    self.pool.check()
                total = len(self.tasks)
                yield Progress(stage="planes", step=done, total=total)
        except BaseException:
            self.stop()
            raise
        finally:
            for future in self.running:
                future.cancel()
            wait([future for future in self.running if not future.cancelled()])
            self.pool.close()
        return tuple(self.failures)

    def _submit(self) -> None:
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
        for future in ended:
            number = self.running.pop(future)
            error = _error(future)
            if error is None:
                yield number, future.result()
                continue
            if isinstance(error, InputError | StorageError | Cancelled):
                raise error
            if isinstance(error, BrokenProcessPool):
                self.pool.replace()
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


class _Processes:
    """Processes on this machine."""

    def __init__(self, workers: Workers) -> None:
        self._count = workers.processes
        self._devices = workers.devices
        self._executor: Executor | None = None

    def executor(self) -> Executor:
        if self._executor is None:
            self._executor = self._made()
        return self._executor

    def room(self) -> int:
        return self._count

    def check(self) -> None:
        pass

    def replace(self) -> None:
        self.close()

    def close(self) -> None:
        if self._executor is not None:
            self._executor.shutdown(wait=True, cancel_futures=True)
        self._executor = None

    def _made(self) -> Executor:
        from concurrent.futures import ProcessPoolExecutor
        from multiprocessing import get_context

        # A forked process would hang in OpenMP and CUDA.
        context = get_context("spawn")
        turn = context.Value("i", 0)
        return ProcessPoolExecutor(
            self._count,
            mp_context=context,
            initializer=partial(_begin, turn, self._devices),
        )


def _begin(turn: Any, devices: tuple[str, ...]) -> None:
    """What a process does first."""
    import signal
    from multiprocessing import parent_process
    from threading import Thread

    from napari_zssr.zssr.device import share_cores

    share_cores()
    # Ctrl-C reaches every process of a terminal; the parent alone decides.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with turn.get_lock():
        number, turn.value = turn.value, turn.value + 1
    if devices:
        _own.append(devices[number % len(devices)])
    parent = parent_process()
    if parent is not None:
        Thread(target=_leave_with, args=(parent,), daemon=True).start()


def _leave_with(parent: Any) -> None:
    """End when the parent was killed: nobody waits for what is done here."""
    parent.join()
    os._exit(1)


class _Cluster:
    """Workers of a dask scheduler."""

    def __init__(self, workers: Workers, resources: dict[str, float] | None) -> None:
        self._connection = _client(workers)
        self._client = self._connection.__enter__()
        self._where = workers.scheduler or "dask"
        _wait_for_workers(self._client)
        self._executor: Executor = self._client.get_executor(
            pure=False, resources=resources or {}
        )

    def executor(self) -> Executor:
        return self._executor

    def room(self) -> int:
        threads = sum(self._client.ncores().values())
        return AHEAD * max(1, int(threads))

    def check(self) -> None:
        if self._client.status != "running":
            raise ComputeError(
                f"The connection to the dask scheduler ({self._where}) was lost; what "
                "is finished stands, run the same again to go on."
            )

    def replace(self) -> None:
        pass

    def close(self) -> None:
        self._executor.shutdown(wait=False)
        self._connection.__exit__(None, None, None)


@contextmanager
def _client(workers: Workers) -> Iterator[Any]:
    """Client that was given, or one that is connected for as long as it is needed."""
    if workers.client is not None:
        yield workers.client
        return
    try:
        connect: Any = import_module("distributed").Client
    except ImportError as error:
        raise InputError(
            "A dask scheduler needs the distributed package; run pip install "
            '"napari-zssr[distributed]".'
        ) from error
    told = {"scheduler_file": workers.scheduler}
    if not os.path.isfile(workers.scheduler):
        told = {"address": workers.scheduler}
    try:
        client = connect(**told, timeout=CONNECT_S, set_as_default=False)
    except (OSError, ValueError, TimeoutError) as error:
        raise InputError(
            f"No dask scheduler answers at {workers.scheduler}; start one (dask "
            "scheduler), or give the address that it prints."
        ) from error
    try:
        yield client
    finally:
        client.close()


def _wait_for_workers(client: Any) -> None:
    try:
        client.wait_for_workers(1, timeout=CONNECT_S)
    except TimeoutError as error:
        raise InputError(
            "The dask scheduler has no workers; start some (dask worker ADDRESS) and "
            "run the same again."
        ) from error
