"""A real stack on a dask cluster that loses a worker, or its scheduler."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from napari_zssr import ComputeError, ImageStack, read, upscale_to_disk
from napari_zssr.config import INSTANT
from napari_zssr.execution.executors import Workers, concurrent_tasks
from napari_zssr.execution.run import upscale_to_disk_steps
from napari_zssr.io.write import write
from napari_zssr.progress import Event, PlaneDone, drain

distributed = pytest.importorskip("distributed")


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A TIFF of twice the bundled mitosis, cut to 48 x 48."""
    stack = read(Path(str(files("napari_zssr"))) / "data" / "mitosis.ome.tif")
    cut = np.tile(stack.data[:, 120:168, 100:148], (2, 1, 1))
    path = tmp_path_factory.mktemp("source") / "mitosis.ome.tif"
    write(path, replace(stack, data=cut))
    return path


@pytest.fixture
def local() -> Iterator[Any]:
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, dashboard_address=":0"
    ) as cluster:
        yield cluster


@pytest.fixture
def client(local: Any) -> Iterator[Any]:
    with distributed.Client(local, set_as_default=False) as connected:
        yield connected


def half_way(what: Callable[[], Any]) -> Callable[[Event], None]:
    """Let something happen when half of the planes are finished."""
    seen: list[int] = []

    def watch(event: Event) -> None:
        if isinstance(event, PlaneDone) and not seen and 2 * event.done > event.planes:
            seen.append(event.done)
            what()

    return watch


def lazy(source: Path) -> ImageStack:
    return read(source, lazy=True)


def test_a_worker_is_killed_half_way(source: Path, client: Any, tmp_path: Path) -> None:
    here, there = tmp_path / "here.ome.zarr", tmp_path / "there.ome.zarr"
    upscale_to_disk(source, here, "instant", threads=1)
    processes = list(client.run(os.getpid).values())
    assert len(processes) == 2
    steps = upscale_to_disk_steps(
        lazy(source), INSTANT, there, workers=Workers(client=client), threads=1
    )
    kill = half_way(lambda: os.kill(processes[0], getattr(signal, "SIGKILL", 15)))
    made = drain(steps, kill)
    assert (made.path, made.failures) == (there, ())
    assert processes[0] not in client.run(os.getpid).values()
    np.testing.assert_array_equal(read(there).data, read(here).data)


def test_a_stack_along_z(source: Path, client: Any, tmp_path: Path) -> None:
    here, there = tmp_path / "here.ome.zarr", tmp_path / "there.ome.zarr"
    config = {"factor": 1, "factor_z": 2, "kernel_z": "gaussian:1", "threads": 1}
    upscale_to_disk(source, here, "instant", **config)
    upscale_to_disk(source, there, "instant", client=client, **config)
    np.testing.assert_array_equal(read(there).data, read(here).data)


def test_workers_of_one_machine_share_its_memory(client: Any) -> None:
    assert concurrent_tasks(Workers(client=client)) == 2


def test_a_scheduler_that_is_lost_is_told(
    source: Path, local: Any, tmp_path: Path
) -> None:
    target = tmp_path / "fine.ome.zarr"
    workers = Workers(scheduler=local.scheduler_address)
    steps = upscale_to_disk_steps(
        lazy(source), INSTANT, target, workers=workers, threads=1
    )
    with pytest.raises(ComputeError, match="connection to the dask scheduler"):
        drain(steps, half_way(local.close))
    assert upscale_to_disk(source, target, "instant", threads=1).path == target
