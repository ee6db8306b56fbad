"""Processes on this machine, or a dask cluster, as executors of tasks."""

from __future__ import annotations

import json
import math
import os
import signal
import socket
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Executor, ProcessPoolExecutor
from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from multiprocessing import get_context, parent_process
from pathlib import Path
from threading import Thread
from typing import Any, TypeVar
from urllib.parse import urlsplit

from napari_zssr.checks import checked_whole
from napari_zssr.config import Config
from napari_zssr.errors import ComputeError, InputError
from napari_zssr.zssr.device import Machine, examine_machine, share_cores

T = TypeVar("T")

# Tasks submitted for each thread of a dask cluster, so that none runs dry.
TASKS_PER_THREAD = 2
CONNECT_S = 10
DASK_PORT = 8786


@dataclass(frozen=True, slots=True, kw_only=True)
class Workers:
    """Executor of the tasks: at most one of processes, scheduler and client."""

    processes: int = 0  # on this machine; 0: one task after the other in this process
    scheduler: str = ""  # address or scheduler file of a dask scheduler
    client: Any = None  # distributed.Client
    retries: int = 1  # attempts after the first one that failed
    devices: tuple[str, ...] = ()  # assigned to the processes in turn

    def __post_init__(self) -> None:
        checked_whole("workers", self.processes, 0)
        checked_whole("retries", self.retries, 0)
        given = (self.processes > 0, bool(self.scheduler), self.client is not None)
        if sum(given) > 1:
            raise InputError(
                "Both local worker processes and a dask cluster were chosen; give "
                "only one of workers, scheduler and client."
            )

    @property
    def is_in_process(self) -> bool:
        """Whether tasks run in this process."""
        return not (self.processes or self.is_on_cluster)

    @property
    def is_on_cluster(self) -> bool:
        """Whether tasks run on a dask cluster."""
        return bool(self.scheduler) or self.client is not None


IN_PROCESS = Workers()


@dataclass(frozen=True, slots=True, kw_only=True)
class Resources:
    """Resources of each worker."""

    device: str  # cpu, cuda:N or mps
    devices: tuple[str, ...]  # GPUs to assign to processes on this machine in turn
    workers: int  # that share the memory of a device
    free_bytes: int | None  # a worker's share of the free memory
    bfloat16: bool  # whether the device is fast in it
    threads: int  # a worker's share of the processor


def worker_resources(workers: Workers, config: Config) -> Resources:
    """Examine the machine that does the planes; `InputError` without its device."""
    examine = partial(_examine_worker, config.device)
    machine, threads = run_on_worker(workers, examine)
    chosen = machine.chosen(config.device)
    devices: tuple[str, ...] = ()
    if workers.processes > 1 and config.device in ("auto", "cuda"):
        devices = tuple(
            report.device
            for report in machine.devices
            if report.device.startswith("cuda") and not report.failure
        )
    on_machine = concurrent_tasks(workers)
    sharing = on_machine
    if workers.is_on_cluster and chosen.device != "cpu":
        # Such clusters have one worker for each device.
        sharing = 1
    elif devices:
        sharing = math.ceil(on_machine / len(devices))
    free = chosen.free_bytes
    return Resources(
        device=chosen.device,
        devices=devices,
        workers=sharing,
        free_bytes=None if free is None else free // sharing,
        bfloat16=chosen.bfloat16,
        # Dask limits the threads of its workers itself.
        threads=threads if workers.is_on_cluster else max(1, threads // on_machine),
    )


def equipped(workers: Workers, config: Config) -> tuple[Workers, Resources]:
    """Workers with the devices that they are assigned, and what each has of them."""
    resources = worker_resources(workers, config)
    return replace(workers, devices=workers.devices or resources.devices), resources


def _examine_worker(device: str) -> tuple[Machine, int]:
    """The machine, and torch's default number of threads."""
    import torch

    return examine_machine(device), torch.get_num_threads()


def run_on_worker(workers: Workers, function: Callable[[], T]) -> T:
    """Call a picklable function without arguments on a worker."""
    if not workers.is_on_cluster:
        return function()
    with _client(workers) as client:
        _wait_for_workers(client)
        try:
            result: T = client.submit(function, pure=False).result()
        except (ImportError, AttributeError) as error:
            raise InputError(
                f"The workers of the dask cluster cannot run this version ({error}); "
                "install the same napari-zssr on them."
            ) from error
        return result


def concurrent_tasks(workers: Workers) -> int:
    """Most tasks that run at the same time on one machine."""
    if not workers.is_on_cluster:
        return max(1, workers.processes)
    hosts: Counter[str] = Counter()
    with _client(workers) as client:
        for address, threads in client.ncores().items():
            hosts[address.rpartition(":")[0]] += threads
    return max(hosts.values(), default=1)


# Set in a worker process to which one of several devices was assigned.
_assigned_device = ""


def own_device(planned: str) -> str:
    """Device that this process computes on: the assigned one, or as planned."""
    return _assigned_device or planned


class ProcessPool:
    """Processes on this machine."""

    def __init__(self, workers: Workers) -> None:
        self._workers = workers
        # A forked process would hang in OpenMP and CUDA.
        self._context = get_context("spawn")
        self._started: Any = self._context.Value("i", 0)
        self.executor = self._new_executor()

    def _new_executor(self) -> Executor:
        return ProcessPoolExecutor(
            self._workers.processes,
            mp_context=self._context,
            initializer=_initialize_process,
            initargs=(self._started, self._workers.devices),
        )

    def capacity(self) -> int:
        """Tasks to submit at the same time."""
        return self._workers.processes

    def check(self) -> None:
        """Only processes can be lost, which the executor reports itself."""

    def replace(self) -> None:
        """Start anew after a process was killed; `ComputeError` if none started."""
        self.close()
        if self._started.value == 0:
            raise ComputeError(
                "No worker process could start; in a script, put the call under "
                '`if __name__ == "__main__":`.'
            )
        self.executor = self._new_executor()

    def close(self) -> None:
        """Wait for running tasks, drop waiting ones."""
        self.executor.shutdown(wait=True, cancel_futures=True)


def _initialize_process(started: Any, devices: tuple[str, ...]) -> None:
    """Set up a worker process; `started` counts them."""
    global _assigned_device
    share_cores()
    # Ctrl-C reaches every process of a terminal; only the parent decides.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with started.get_lock():
        number, started.value = started.value, started.value + 1
    if devices:
        _assigned_device = devices[number % len(devices)]
    parent = parent_process()
    if parent is not None:
        Thread(target=_exit_with, args=(parent,), daemon=True).start()


def _exit_with(parent: Any) -> None:
    """End this process when its parent was killed: nobody waits for the results."""
    parent.join()
    os._exit(1)


class DaskPool:
    """Workers of a dask scheduler; `resource` is what each task takes one of."""

    def __init__(self, workers: Workers, resource: str) -> None:
        self._connection = _client(workers)
        self._client = self._connection.__enter__()
        self._scheduler = workers.scheduler or "dask"
        _wait_for_workers(self._client)
        listed = self._client.scheduler_info(n_workers=-1)["workers"].values()
        is_declared = any(each.get("resources", {}).get(resource) for each in listed)
        self.executor: Executor = self._client.get_executor(
            pure=False, resources={resource: 1.0} if is_declared else {}
        )

    def capacity(self) -> int:
        """Tasks to submit at the same time; `ComputeError` if the scheduler is lost."""
        self.check()
        try:
            threads = sum(self._client.ncores().values())
        except OSError as error:
            raise self._lost() from error
        return TASKS_PER_THREAD * max(1, int(threads))

    def check(self) -> None:
        """Raise `ComputeError` if the scheduler is lost."""
        if self._client.status != "running":
            raise self._lost()

    def replace(self) -> None:
        """Dask replaces its workers itself."""

    def close(self) -> None:
        """Drop waiting tasks; running ones poll whether they should stop."""
        if self._client.status == "running":
            self.executor.shutdown(wait=False)
        self._connection.__exit__(None, None, None)

    def _lost(self) -> ComputeError:
        return ComputeError(
            f"The connection to the dask scheduler ({self._scheduler}) was lost; run "
            "the same again to continue with what is finished."
        )


def _client(workers: Workers) -> AbstractContextManager[Any]:
    """Context of the given client, or of one that is closed in the end."""
    if workers.client is not None:
        return nullcontext(workers.client)
    try:
        from distributed import Client
    except ImportError as error:
        raise InputError(
            "A dask scheduler needs the distributed package; run pip install "
            '"napari-zssr[distributed]".'
        ) from error
    try:
        address = _address(workers.scheduler)
        client = Client(address, timeout=CONNECT_S, set_as_default=False)  # type: ignore[no-untyped-call]
        return closing(client)
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise InputError(
            f"No dask scheduler answers at {workers.scheduler}; start one (dask "
            "scheduler), and give the address that it prints, or its scheduler file."
        ) from error


def _address(scheduler: str) -> str:
    """Address of a scheduler that answers, from its address or scheduler file."""
    address = scheduler
    if os.path.isfile(scheduler):
        address = str(json.loads(Path(scheduler).read_bytes())["address"])
    parts = urlsplit(address if "://" in address else f"tcp://{address}")
    # A client that cannot connect would log a lot, and late.
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
