"""Where the planes of a run are done: the device, and each worker's share of it."""

from __future__ import annotations

import math
from dataclasses import dataclass

from napari_zssr.config import Config
from napari_zssr.stack.pools import ask, at_once
from napari_zssr.stack.workers import Workers
from napari_zssr.zssr.machine import Machine, look_at_machine


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
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


def look(workers: Workers, config: Config) -> Place:
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
    return Place(
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

    return look_at_machine(), torch.get_num_threads()


def _alike(machine: Machine, wish: str) -> tuple[str, ...]:
    """All GPUs, where no single one was named."""
    if wish not in ("auto", "cuda"):
        return ()
    return tuple(
        d.device
        for d in machine.devices
        if d.device.startswith("cuda") and not d.failure
    )
