"""What a run to disk needs, told before it begins."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from napari_zssr.config import INSTANT
from napari_zssr.errors import StorageError
from napari_zssr.stack import resources as module
from napari_zssr.stack.resources import (
    Hardware,
    RunInput,
    RunPlan,
    check_room,
    disk_needs,
    needs_message,
    plan_run,
)

GB = 10**9


def plan(side: int = 1024, planes: int = 10) -> RunPlan:
    shape = (planes, side, side)
    run = RunInput(
        config=INSTANT, shape=shape, dtype=np.dtype("u2"), axes="ZYX", to_disk=True
    )
    return plan_run(run, Hardware())


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Free bytes of a pretended disk."""
    free = [100 * GB]
    monkeypatch.setattr(module, "free_disk", lambda _target: free[0])
    return free


def test_a_tiff_is_on_the_disk_twice_a_pyramid_a_third_more(disk: list[int]) -> None:
    output = plan().output_bytes
    assert output == 10 * 2048**2 * 2
    assert disk_needs(plan(), Path("a.ome.tif")).disk_bytes == 2 * output
    assert disk_needs(plan(), Path("a.ome.zarr")).disk_bytes == int(output * 4 / 3)


def test_workers_each_take_their_memory(disk: list[int]) -> None:
    found = disk_needs(plan(), Path("a.ome.zarr"), workers=3)
    assert found.memory_bytes == 3 * plan().memory_bytes


def test_a_small_disk_is_told_and_a_tiny_one_refused(disk: list[int]) -> None:
    huge = plan(side=8192, planes=1)
    assert huge.scratch_bytes == 4 * 16384**2
    disk[0] = 2 * GB
    found = disk_needs(huge, Path("a.ome.zarr"))
    assert found.disk_bytes > 1.7 * GB
    check_room(huge, found, Path("a.ome.zarr"))
    disk[0] = GB
    found = disk_needs(huge, Path("a.ome.zarr"))
    assert "only if the image compresses" in needs_message(huge, found)
    with pytest.raises(StorageError, match=r"need 1\.07 GB .* 1 GB is free"):
        check_room(huge, found, Path("a.ome.zarr"))


def test_a_tiff_that_cannot_be_assembled_is_refused_before_the_first_plane(
    disk: list[int],
) -> None:
    """It is not compressed, unlike the pixels that it is assembled from."""
    deep = plan(planes=100)
    disk[0] = deep.output_bytes - 1
    found = disk_needs(deep, Path("a.ome.tif"))
    with pytest.raises(StorageError, match=r"needs 839 MB .* 839 MB is free; make"):
        check_room(deep, found, Path("a.ome.tif"))
    check_room(deep, found, Path("a.ome.zarr"))
    disk[0] += 1
    check_room(deep, disk_needs(deep, Path("a.ome.tif")), Path("a.ome.tif"))


def test_what_is_told_before_a_run(disk: list[int]) -> None:
    found = disk_needs(plan(), Path("a.ome.zarr"))
    sentence = needs_message(plan(), found)
    assert sentence.startswith("10 planes, about ")
    assert sentence.endswith("up to 112 MB on disk (100 GB free).")
