"""Each worker's share of a machine."""

from __future__ import annotations

from typing import Any

import pytest

from napari_zssr.config import FAST, change
from napari_zssr.execution import executors
from napari_zssr.execution.executors import IN_PROCESS, Workers, worker_resources
from napari_zssr.zssr.device import DeviceReport, Machine

GIB = 2**30


def device(name: str, gib: int, failure: str = "") -> DeviceReport:
    return DeviceReport(
        device=name,
        name=name,
        description=name,
        free_bytes=gib * GIB,
        bfloat16=True,
        failure=failure,
    )


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two GPUs that work and one that does not, 16 cores."""
    devices = (
        device("cuda:0", 24),
        device("cuda:1", 24),
        device("cuda:2", 24, failure="broken"),
        device("cpu", 64),
    )
    seen: Any = (Machine(devices=devices, cores=32), 16)
    monkeypatch.setattr(executors, "_examine_worker", lambda _: seen)


# Workers, device; then devices, sharing, GiB for each, threads.
SHARES: list[tuple[Workers, str, tuple[str, ...], int, int, int]] = [
    (IN_PROCESS, "cpu", (), 1, 64, 16),
    (Workers(processes=4), "cpu", (), 4, 16, 4),
    (Workers(processes=32), "cpu", (), 32, 2, 1),
    (IN_PROCESS, "auto", (), 1, 24, 16),
    (Workers(processes=1), "auto", (), 1, 24, 16),
    (Workers(processes=2), "auto", ("cuda:0", "cuda:1"), 1, 24, 8),
    (Workers(processes=4), "cuda", ("cuda:0", "cuda:1"), 2, 12, 4),
    (Workers(processes=2), "cuda:1", (), 2, 12, 8),
]


@pytest.mark.parametrize("share", SHARES, ids=str)
def test_shares(machine: None, share: Any) -> None:
    workers, name, devices, sharing, gib, threads = share
    found = worker_resources(workers, change(FAST, device=name))
    assert (found.devices, found.workers) == (devices, sharing)
    assert (found.free_bytes, found.threads) == (gib * GIB, threads)
