"""What a run to disk needs, and how it is made to fit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from napari_zssr.config import INSTANT
from napari_zssr.errors import StorageError
from napari_zssr.stack import needs as module
from napari_zssr.stack.needs import check_scratch, needs, told
from napari_zssr.stack.plan import Plan, resolve

GB = 10**9


def plan(side: int = 1024, planes: int = 10) -> Plan:
    shape = (planes, side, side)
    return resolve(INSTANT, shape, np.dtype(np.uint16), "ZYX", to_disk=True)


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Free bytes of a pretended disk."""
    free = [100 * GB]
    monkeypatch.setattr(module, "free_disk", lambda _target: free[0])
    return free


def test_a_tiff_is_on_the_disk_twice_a_pyramid_a_third_more(disk: list[int]) -> None:
    output = plan().output_bytes
    assert output == 10 * 2048**2 * 2
    assert needs(plan(), Path("a.ome.tif")).disk_bytes == 2 * output
    assert needs(plan(), Path("a.ome.zarr")).disk_bytes == int(output * 4 / 3)


def test_no_more_workers_than_the_memory_suffices_for(disk: list[int]) -> None:
    memory = plan().memory_bytes
    found = needs(plan(), Path("a.ome.zarr"), workers=8, free_bytes=5 * memory)
    assert found.workers == 3
    assert found.memory_bytes == 3 * memory
    assert "Memory suffices for 3 of 8 workers" in told(plan(), found, 8)
    scarce = needs(plan(), Path("a.ome.zarr"), workers=8, free_bytes=memory // 2)
    assert scarce.workers == 1
    here = needs(plan(), Path("a.ome.zarr"), free_bytes=memory)
    assert (here.workers, here.memory_bytes) == (0, memory)


def test_a_small_disk_is_told_and_a_tiny_one_refused(disk: list[int]) -> None:
    huge = plan(side=8192, planes=1)
    assert huge.scratch_bytes == 4 * 16384**2
    disk[0] = 2 * GB
    found = needs(huge, Path("a.ome.zarr"))
    assert found.disk_bytes > 1.7 * GB
    check_scratch(huge, found, Path("a.ome.zarr"))
    disk[0] = GB
    found = needs(huge, Path("a.ome.zarr"))
    assert "only if the pixels can be compressed" in told(huge, found, 0)
    with pytest.raises(StorageError, match=r"need 1\.1 GB .* 1\.0 GB are free"):
        check_scratch(huge, found, Path("a.ome.zarr"))


def test_what_is_told_before_a_run(disk: list[int]) -> None:
    found = needs(plan(), Path("a.ome.zarr"))
    sentence = told(plan(), found, 0)
    assert sentence.startswith("10 planes, about ")
    assert sentence.endswith("up to 112 MB on disk (100.0 GB free).")
