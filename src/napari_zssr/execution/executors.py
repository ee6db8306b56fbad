"""Processes on this machine, or a dask cluster, as executors of tasks."""

from __future__ import annotations

import json
import math
import os
import socket
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol, TypeVar
from urllib.parse import urlsplit

from napari_zssr.checks import checked_whole
from napari_zssr.config import Config
from napari_zssr.errors import ComputeError, InputError
from napari_zssr.zssr.device import Machine, examine_machine


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

    Raises
    ------
    InputError
        A number is no whole number from 0 up, or there is more than one of processes,
        scheduler and client.
    """

    processes: int = 0
    scheduler: str = ""
    client: Any = None
    retries: int = 1
    devices: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        checked_whole("workers", self.processes, 0)
        checked_whole("retries", self.retries, 0)
        given = (self.processes > 0, bool(self.scheduler), self.client is not None)
        if sum(given) > 1:
            raise InputError(
                "Worker processes of this machine and a dask cluster were both asked "
                "for; give workers, a scheduler or a client."
            )

    @property
    def elsewhere(self) -> bool:
        """Whether tasks run in other processes."""
        return bool(self.processes or self.on_cluster)

    @property
    def on_cluster(self) -> bool:
        """Whether tasks run on a dask cluster."""
        return bool(self.scheduler) or self.client is not None


IN_PROCESS = Workers()


R = TypeVar("R")

# Tasks that a dask cluster holds for each of its threads, so that none runs dry.
AHEAD = 2
CONNECT_S = 10
DASK_PORT = 8786


class Pool(Protocol):
    """Executors for a run; a broken one is replaced."""

    def executor(self) -> Executor:
        """The one that takes tasks."""

    def room(self) -> int:
        """Tasks that it holds."""

    def check(self) -> None:
        """Raise where no results can come any more."""

    def replace(self) -> None:
        """Leave one whose process was killed."""

    def close(self) -> None:
        """End what belongs to it."""


def pool_of(workers: Workers, resource: str) -> Pool:
    """Pool of workers that are not in this process.

    Parameters
    ----------
    workers : Workers
    resource : str
        What a task takes one of, where a dask cluster counts it, such as ``"GPU"``.
    """
    return Cluster(workers, resource) if workers.on_cluster else Processes(workers)


def ask(workers: Workers, question: Callable[[], R]) -> R:
    """Answer to a question where the tasks will run.

    Parameters
    ----------
    workers : Workers
    question : callable
        Picklable, without arguments.

    Raises
    ------
    InputError
        No scheduler answers, or it has no workers.
    ComputeError
        The cluster failed.
    """
    if not workers.on_cluster:
        return question()
    with _client(workers) as client:
        _wait_for_workers(client)
        try:
            answer: R = client.submit(question, pure=False).result()
        except (ImportError, AttributeError) as error:
            raise InputError(
                f"The workers of the dask cluster cannot run this version ({error}); "
                "install the same napari-zssr on them."
            ) from error
        return answer


def at_once(workers: Workers) -> int:
    """Most tasks that run at the same time on one machine.

    Parameters
    ----------
    workers : Workers
    """
    if not workers.on_cluster:
        return max(1, workers.processes)
    hosts: Counter[str] = Counter()
    with _client(workers) as client:
        for address, threads in client.ncores().items():
            hosts[address.rpartition(":")[0]] += threads
    return max(hosts.values(), default=1)


# Of several devices the one that this process computes on.
_own: list[str] = []


def own_device(planned: str) -> str:
    """Device that this process computes on: its share of several, or as planned."""
    return _own[-1] if _own else planned


class Processes:
    """Processes on this machine."""

    def __init__(self, workers: Workers) -> None:
        self._count = workers.processes
        self._devices = workers.devices
        self._executor: Executor | None = None
        self._begun: Any = None

    def executor(self) -> Executor:
        """The one that takes tasks."""
        if self._executor is None:
            self._executor = self._made()
        return self._executor

    def room(self) -> int:
        """Tasks that it holds."""
        return self._count

    def check(self) -> None:
        """Nothing can be lost but processes, which the executor tells."""

    def replace(self) -> None:
        """Leave one whose process was killed.

        Raises
        ------
        ComputeError
            None of its processes has ever begun.
        """
        self.close()
        if self._begun is not None and self._begun.value == 0:
            raise ComputeError(
                "No worker process could start; in a script, let the call stand under "
                '`if __name__ == "__main__":`.'
            )

    def close(self) -> None:
        """Wait for what runs, drop what waits."""
        if self._executor is not None:
            self._executor.shutdown(wait=True, cancel_futures=True)
        self._executor = None

    def _made(self) -> Executor:
        from concurrent.futures import ProcessPoolExecutor
        from multiprocessing import get_context

        # A forked process would hang in OpenMP and CUDA.
        context = get_context("spawn")
        self._begun = context.Value("i", 0)
        return ProcessPoolExecutor(
            self._count,
            mp_context=context,
            initializer=partial(_begin, self._begun, self._devices),
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


class Cluster:
    """Workers of a dask scheduler."""

    def __init__(self, workers: Workers, resource: str) -> None:
        self._connection = _client(workers)
        self._client = self._connection.__enter__()
        self._where = workers.scheduler or "dask"
        _wait_for_workers(self._client)
        counted = resource and _counts(self._client, resource)
        self._executor: Executor = self._client.get_executor(
            pure=False, resources={resource: 1.0} if counted else {}
        )

    def executor(self) -> Executor:
        """The one that takes tasks."""
        return self._executor

    def room(self) -> int:
        """Tasks that it holds.

        Raises
        ------
        ComputeError
            The scheduler is gone.
        """
        self.check()
        try:
            threads = sum(self._client.ncores().values())
        except OSError as error:
            raise self._lost() from error
        return AHEAD * max(1, int(threads))

    def check(self) -> None:
        """Raise where no results can come any more.

        Raises
        ------
        ComputeError
            The scheduler is gone.
        """
        if self._client.status != "running":
            raise self._lost()

    def replace(self) -> None:
        """Dask replaces its workers by itself."""

    def close(self) -> None:
        """Drop what waits; what runs is to look whether it shall stop."""
        if self._client.status == "running":
            self._executor.shutdown(wait=False)
        self._connection.__exit__(None, None, None)

    def _lost(self) -> ComputeError:
        return ComputeError(
            f"The connection to the dask scheduler ({self._where}) was lost; what is "
            "finished stands, run the same again to go on."
        )


def _counts(client: Any, resource: str) -> bool:
    """Whether the cluster knows how many of something its workers have."""
    told = client.scheduler_info(n_workers=-1)["workers"].values()
    return any(worker.get("resources", {}).get(resource) for worker in told)


@contextmanager
def _client(workers: Workers) -> Iterator[Any]:
    """Client that was given, or one that is connected for as long as it is needed."""
    if workers.client is not None:
        yield workers.client
        return
    try:
        from distributed import Client

        connect: Any = Client
    except ImportError as error:
        raise InputError(
            "A dask scheduler needs the distributed package; run pip install "
            '"napari-zssr[distributed]".'
        ) from error
    try:
        address = _address(workers.scheduler)
        client = connect(address, timeout=CONNECT_S, set_as_default=False)
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise InputError(
            f"No dask scheduler answers at {workers.scheduler}; start one (dask "
            "scheduler), and give the address that it prints, or its scheduler file."
        ) from error
    try:
        yield client
    finally:
        client.close()


def _address(scheduler: str) -> str:
    """Address of a scheduler that listens, given by itself or in its file."""
    address = scheduler
    if os.path.isfile(scheduler):
        address = str(json.loads(Path(scheduler).read_bytes())["address"])
    parts = urlsplit(address if "://" in address else f"tcp://{address}")
    # A client that finds nobody would tell so at length, and late.
    endpoint = parts.hostname or "", parts.port or DASK_PORT
    if not address.startswith("inproc"):
        socket.create_connection(endpoint, timeout=CONNECT_S).close()
    return address


def _wait_for_workers(client: Any) -> None:
    try:
        client.wait_for_workers(1, timeout=CONNECT_S)
    except TimeoutError as error:
        raise InputError(
            "The dask scheduler has no workers; start some (dask worker ADDRESS) and "
            "run the same again."
        ) from error


@dataclass(frozen=True, slots=True, kw_only=True)
class Resources:
    """What each of the workers has.

    Attributes
    ----------
    device : str
        ``cpu``, ``cuda:N`` or ``mps``.
    devices : tuple of str
        Several of its kind that processes on this machine share out, or empty.
    sharing : int
        Workers that share its memory.
    free_bytes : int or None
        A worker's part of the free memory.
    bfloat16 : bool
        Whether it computes fast in bfloat16.
    threads : int
        A worker's part of the processor.
    """

    device: str
    devices: tuple[str, ...]
    sharing: int
    free_bytes: int | None
    bfloat16: bool
    threads: int


def look(workers: Workers, config: Config) -> Resources:
    """Look where the planes will be done.

    Parameters
    ----------
    workers : Workers
    config : Config
        Names the device.

    Raises
    ------
    InputError
        There is no such device, or no cluster.
    """
    machine, threads = ask(workers, _seen)
    chosen = machine.chosen(config.device)
    devices = _alike(machine, config.device) if workers.processes > 1 else ()
    together = at_once(workers)
    sharing = together
    if workers.on_cluster and chosen.device != "cpu":
        # Such clusters have one worker for each device.
        sharing = 1
    elif devices:
        sharing = math.ceil(together / len(devices))
    free = chosen.free_bytes
    return Resources(
        device=chosen.device,
        devices=devices,
        sharing=sharing,
        free_bytes=None if free is None else free // sharing,
        bfloat16=chosen.bfloat16,
        # A worker of dask has been told its threads already.
        threads=threads if workers.on_cluster else max(1, threads // together),
    )


def _seen() -> tuple[Machine, int]:
    """The machine, and the threads that torch computes with unless told otherwise."""
    import torch

    return examine_machine(), torch.get_num_threads()


def _alike(machine: Machine, wish: str) -> tuple[str, ...]:
    """All GPUs, where no single one was named."""
    if wish not in ("auto", "cuda"):
        return ()
    return tuple(
        d.device
        for d in machine.devices
        if d.device.startswith("cuda") and not d.failure
    )
