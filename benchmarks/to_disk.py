"""Runs to disk: their memory, what the machinery costs, kills and lost workers."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.job import Job, enlarge
from benchmarks.process_tree import peak_bytes
from benchmarks.promises import texture
from benchmarks.table import Table
from napari_zssr.config import INSTANT, Config, change
from napari_zssr.errors import ComputeError, InputError
from napari_zssr.execution.executors import IN_PROCESS, Workers
from napari_zssr.execution.ledger import part_folder
from napari_zssr.execution.run import upscale_to_disk_steps
from napari_zssr.io.read import read
from napari_zssr.io.zarr_write import create, write_plane
from napari_zssr.progress import Event, PlaneDone, drain
from napari_zssr.stack.axis_labels import labelled
from napari_zssr.stack.image import ImageStack, outline_of, planes

LARGE_PLANES, LARGE_PX = 64, 2048
SMALL_PLANES, SMALL_PX, ROUNDS = 200, 64, 3
KILLS = 20
REAL_STACK = "microscopy/tiff/xyz_8bit__chromosomes.tif"
CHILD = "benchmarks.to_disk_child"


def large(job: Job) -> Table:
    """Peak memory of the whole process tree, from Zarr to OME-Zarr.

    Parameters
    ----------
    job : Job
        The limit is the number of planes, 64 unless given.
    """
    count = job.limit or LARGE_PLANES
    with _folder() as name:
        source, target = Path(name) / "stack.ome.zarr", Path(name) / "fine.ome.zarr"
        job.announce(0, 2, f"writing {count} x {LARGE_PX} x {LARGE_PX}")
        _write_stack(source, count)
        job.announce(1, 2, "enlarging")
        started = time.perf_counter()
        child = _started(source, target, job.config)
        peak = peak_bytes(child)
        seconds = time.perf_counter() - started
        if child.returncode != 0:
            raise ComputeError(f"The run ended with exit code {child.returncode}.")
        _validate(target)
        size = sum(f.stat().st_size for f in target.rglob("*") if f.is_file())
    return Table(
        title=f"{job.title}, {count} x {LARGE_PX} x {LARGE_PX} uint16 to OME-Zarr",
        columns=("figure", "value"),
        rows=(
            ("peak memory, GB", peak / 1e9),
            ("seconds", seconds),
            ("result on disk, GB", size / 1e9),
            ("validated by yaozarrs", "yes"),
        ),
        notes=(
            "Resident memory of the process and all its children, summed every 50 ms "
            "(/proc, elsewhere psutil); pages that they share count more than once.",
        ),
    )


def overhead(job: Job) -> Table:
    """A run to disk in this process against the bare loop in memory.

    Parameters
    ----------
    job : Job
        INSTANT is measured, with its factor, seed and device. The limit is the number
        of planes, 200 unless given.
    """
    count = job.limit or SMALL_PLANES
    wanted = job.config
    config = change(
        INSTANT, factor=wanted.factors, seed=wanted.seed, device=wanted.device
    )
    image = small_stack(count)
    stack = labelled(image, axes="ZYX")
    enlarge(image[:2], config, axes="ZYX")
    bare: list[float] = []
    disk: list[float] = []
    with _folder() as name:
        for number in range(ROUNDS):
            job.announce(number, ROUNDS, f"round {number + 1}")
            bare.append(enlarge(image, config, axes="ZYX").seconds)
            target = Path(name) / f"{number}.ome.zarr"
            disk.append(_seconds(upscale_to_disk_steps(stack, config, target)))
    return Table(
        title=(
            f"{replace(job, config=config).title}, {count} x {SMALL_PX} x {SMALL_PX} "
            "uint16"
        ),
        columns=("figure", "value"),
        rows=(
            ("in memory, seconds", min(bare)),
            ("to OME-Zarr, seconds", min(disk)),
            ("ratio", min(disk) / min(bare)),
        ),
        notes=(f"The best of {ROUNDS} rounds of each, in turn.",),
    )


def kill(job: Job) -> Table:
    """Killed again and again at random moments, and run to the end each time.

    Parameters
    ----------
    job : Job
        Data with `REAL_STACK`. The limit is the number of kills, 20 unless given.
    """
    wanted = job.limit or KILLS
    source = _real(job)
    rng = random.Random(job.config.seed)
    kills = runs = differing = twice = 0
    with _folder() as name:
        started = time.perf_counter()
        _finish(_started(source, Path(name) / "whole.ome.zarr", job.config))
        length = time.perf_counter() - started
        whole = read(Path(name) / "whole.ome.zarr").data
        while kills < wanted:
            target = Path(name) / f"{runs}.ome.zarr"
            seen: dict[str, int] = {}
            runs += 1
            while not target.exists():
                job.announce(kills, wanted, f"kill {kills + 1}")
                began = time.perf_counter()
                child = _started(source, target, job.config)
                if kills < wanted and _killed(child, rng.uniform(0, length)):
                    kills += 1
                else:
                    _finish(child)
                    # The first one may have waited for other programs.
                    length = min(length, max(1.0, time.perf_counter() - began))
                twice += _changed_entries(part_folder(target), seen)
            differing += int(np.count_nonzero(read(target).data != whole))
    return Table(
        title=f"{job.title}, {source.name}, {wanted} kills",
        columns=("figure", "value"),
        rows=(
            ("kills", kills),
            ("results completed", runs),
            ("shortest run that ended by itself, seconds", length),
            ("differing pixels", differing),
            ("ledger entries written twice", twice),
        ),
        notes=(
            "SIGKILL at moments drawn evenly from the time that the shortest run so "
            "far took; run again until the result is complete, then with a new one.",
        ),
    )


def cluster(job: Job) -> Table:
    """Two workers of a dask LocalCluster, one of them killed half way.

    Parameters
    ----------
    job : Job
        Data with `REAL_STACK`.
    """
    stack = read(_real(job), lazy=True)
    with _folder() as name:
        here, there = Path(name) / "here.ome.zarr", Path(name) / "there.ome.zarr"
        job.announce(0, 2, "in process")
        alone = _seconds(_to_disk(stack, job.config, here, IN_PROCESS))
        job.announce(1, 2, "two workers")
        with _two_workers() as client:
            workers = Workers(client=client, retries=2)
            killer = _KillsOne(client)
            steps = _to_disk(stack, job.config, there, workers)
            shared = _seconds(steps, killer.watch)
        differing = int(np.count_nonzero(read(here).data != read(there).data))
    return Table(
        title=f"{job.title}, {REAL_STACK.rpartition('/')[2]}, 2 workers, one killed",
        columns=("figure", "value"),
        rows=(
            ("planes", killer.planes),
            ("finished when a worker was killed", killer.finished),
            ("in process, seconds", alone),
            ("two workers, seconds", shared),
            ("differing pixels", differing),
        ),
        notes=("Each task computes with one thread.",),
    )


def small_stack(count: int) -> NDArray[np.uint16]:
    """Planes of textures (count, 64, 64) that all have something to learn from."""
    pattern = texture(SMALL_PX).astype(np.uint16)
    return np.stack([np.roll(pattern, number, axis=1) for number in range(count)])


class _KillsOne:
    """Kills a worker when half of the planes are finished."""

    def __init__(self, client: Any) -> None:
        self._workers = list(client.run(os.getpid).values())
        self.planes = self.finished = 0

    def watch(self, event: Event) -> None:
        if not isinstance(event, PlaneDone):
            return
        self.planes = event.planes
        if not self.finished and 2 * event.done >= event.planes:
            self.finished = event.done
            os.kill(self._workers[0], signal.SIGKILL)


def _two_workers() -> Any:
    try:
        distributed: Any = import_module("distributed")
    except ImportError as error:
        raise InputError(
            "The set 'cluster' needs the distributed package; run pip install "
            '"napari-zssr[distributed]".'
        ) from error
    local = distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, dashboard_address=None
    )
    return _Connected(local, distributed.Client(local, set_as_default=False))


class _Connected:
    """A client, closed with its cluster."""

    def __init__(self, local: Any, client: Any) -> None:
        self._local, self._client = local, client

    def __enter__(self) -> Any:
        return self._client

    def __exit__(self, *_: object) -> None:
        self._client.close()
        self._local.close()


def _folder() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="napari-zssr-")


def _to_disk(stack: ImageStack, config: Config, target: Path, workers: Workers) -> Any:
    return upscale_to_disk_steps(stack, config, target, workers=workers, threads=1)


def _seconds(steps: Any, watch: Callable[[Event], object] | None = None) -> float:
    started = time.perf_counter()
    made = drain(steps, watch)
    if made.path is None:
        raise ComputeError(f"{made.missing} planes are missing; {made.failures[:1]}.")
    return time.perf_counter() - started


def _real(job: Job) -> Path:
    path = job.data / REAL_STACK
    if not path.is_file():
        raise InputError(f"{REAL_STACK} does not lie in {job.data}; give its folder.")
    return path


def _write_stack(folder: Path, count: int) -> None:
    """Texture with photon noise, plane by plane."""
    # Its pixels are not there: zeros stand for them.
    image = np.broadcast_to(np.uint16(0), (count, LARGE_PX, LARGE_PX))
    outline = outline_of(labelled(image, axes="ZYX", spacing=(0.3, 0.1, 0.1)))
    create(folder, outline)
    draw = np.random.default_rng(0)
    pattern = np.tile(texture(SMALL_PX * 8), (LARGE_PX // (SMALL_PX * 8),) * 2)
    for place in planes("ZYX", outline.shape):
        write_plane(folder, place.index, [draw.poisson(pattern).astype(np.uint16)])


def _validate(folder: Path) -> None:
    import yaozarrs

    yaozarrs.validate_zarr_store(folder)


def _started(source: Path, target: Path, config: Config) -> subprocess.Popen[bytes]:
    """A run to disk in a process of its own, with one thread."""
    line = [sys.executable, "-m", CHILD, str(source), str(target)]
    return subprocess.Popen([*line, json.dumps(config.to_dict())])


def _killed(child: subprocess.Popen[bytes], moment: float) -> bool:
    """Kill a process after some seconds; False when it had ended before."""
    try:
        child.wait(moment)
    except subprocess.TimeoutExpired:
        child.kill()
        return child.wait() != 0
    return False


def _finish(child: subprocess.Popen[bytes]) -> None:
    if child.wait() != 0:
        raise ComputeError(f"A run ended with exit code {child.returncode}.")


def _changed_entries(part: Path, seen: dict[str, int]) -> int:
    """Entries of the ledger that were there before and were written again."""
    changed = 0
    for entry in sorted(part.glob("ledger/[0-9]*.json")):
        state = entry.stat().st_mtime_ns
        changed += seen.setdefault(entry.name, state) != state
        seen[entry.name] = state
    return changed
