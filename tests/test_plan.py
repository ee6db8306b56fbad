from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from napari_zssr.config import BALANCED, FAST, INSTANT, PAPER, change
from napari_zssr.errors import ComputeError
from napari_zssr.stack.resources import Hardware, RunInput, RunPlan, plan_run

SHAPE = (3, 5, 100, 201)


def plan(
    config: Any = BALANCED,
    shape: Any = SHAPE,
    axes: str = "CZYX",
    *,
    to_disk: bool = False,
    **hardware: Any,
) -> RunPlan:
    run = RunInput(
        config=config,
        shape=shape,
        dtype=np.dtype("uint16"),
        axes=axes,
        to_disk=to_disk,
    )
    return plan_run(run, Hardware(**hardware))


def test_output_is_planned() -> None:
    made = plan(change(BALANCED, factor=(1.5, 2)))
    assert made.output_shape == (3, 5, 150, 402)
    assert made.output_axes == "CZYX"
    assert made.output_dtype == "uint16"
    assert made.planes == 15
    assert made.output_bytes == 3 * 5 * 150 * 402 * 2


def test_colours_are_one_plane() -> None:
    made = plan(shape=(100, 201, 3), axes="YXS")
    assert made.planes == 1
    assert made.output_shape == (200, 402, 3)


@pytest.mark.parametrize(
    ("wanted", "fast", "found"),
    [
        ("auto", True, "bfloat16"),
        ("auto", False, "float32"),
        ("float32", True, "float32"),
        ("bfloat16", False, "bfloat16"),
    ],
)
def test_precision(wanted: str, fast: bool, found: str) -> None:
    assert plan(change(BALANCED, precision=wanted), bfloat16=fast).precision == found


def test_tile_shrinks_with_the_memory() -> None:
    tiles = [
        plan(shape=(2000, 2000), axes="YX", free_bytes=free).tile_px
        for free in (10**12, 2 * 10**9, 10**9, 7 * 10**8)
    ]
    assert tiles == sorted(tiles, reverse=True)
    assert tiles[0] > tiles[-1] >= 16


def test_tile_that_was_asked_for_is_kept() -> None:
    assert plan(change(BALANCED, tile_px=96), free_bytes=10**9).tile_px == 96


def test_memory_covers_input_and_output() -> None:
    small = plan(shape=(100, 100), axes="YX")
    large = plan(shape=(4000, 4000), axes="YX")
    both = 4000 * 4000 * 2 * 5
    assert large.memory_bytes - small.memory_bytes > both
    assert large.memory_bytes > large.output_bytes + 4000 * 4000 * 2


def test_to_disk_only_one_plane_is_held() -> None:
    def of(count: int, to_disk: bool) -> RunPlan:
        return plan(INSTANT, shape=(count, 2048, 2048), axes="ZYX", to_disk=to_disk)

    assert of(64, True).memory_bytes == of(4, True).memory_bytes
    assert of(64, False).memory_bytes - of(64, True).memory_bytes > 63 * 5 * 2 * 2048**2
    assert of(64, True).memory_bytes < 2.0e9
    # Fits to disk what does not fit in memory.
    assert plan(shape=(999, 2048, 2048), axes="ZYX", to_disk=True, free_bytes=2 * 10**9)
    with pytest.raises(ComputeError, match="One plane"):
        plan(shape=(40000, 40000), axes="YX", to_disk=True, free_bytes=2 * 10**9)


def test_large_planes_lie_on_disk_while_they_are_made() -> None:
    made = plan(INSTANT, shape=(16384, 16384), axes="YX", to_disk=True)
    assert made.scratch_bytes == 4 * 32768**2
    assert made.memory_bytes < 3.0e9
    assert plan(shape=(4096, 4096), axes="YX").scratch_bytes == 0
    alpha = plan(INSTANT, shape=(8192, 8192, 4), axes="YXS", to_disk=True)
    assert alpha.scratch_bytes == 4 * 4 * 16384**2


def test_told_noise_takes_fewer_fathers() -> None:
    clean, noisy = (
        plan(change(INSTANT, noise=n), shape=(2048, 2048), axes="YX")
        for n in ("off", 0.02)
    )
    assert noisy.memory_bytes < clean.memory_bytes - 3e8


def test_too_large_for_the_memory_is_told() -> None:
    with pytest.raises(
        ComputeError, match=r"GB of memory, but only 1 GB is free"
    ) as caught:
        plan(shape=(20000, 20000), axes="YX", free_bytes=10**9)
    assert "\n" not in str(caught.value)


def test_time_grows_with_the_work() -> None:
    one = plan(shape=(100, 100), axes="YX").seconds
    assert one > 0
    alone = change(BALANCED, strategy="independent")
    four = plan(alone, (4, 100, 100), axes="ZYX").seconds
    # What begins a run counts once.
    assert four == pytest.approx(4 * one, rel=0.01)
    assert plan(shape=(900, 900), axes="YX").seconds > one
    assert plan(FAST, shape=(100, 100), axes="YX").seconds < one
    assert plan(INSTANT, shape=(100, 100), axes="YX").seconds < one
    assert plan(PAPER, shape=(100, 100), axes="YX").seconds > one
    left = change(BALANCED, start="n.safetensors", steps=0)
    assert 0 < plan(left, shape=(100, 100), axes="YX").seconds < one / 2
    assert plan(shape=(100, 100), axes="YX", device="cuda").seconds < one
    assert plan(shape=(100, 100), axes="YX", cores=8).seconds < one
    assert plan(shape=(100, 100), axes="YX", bfloat16=True).seconds < one


def test_plan_is_frozen() -> None:
    made = plan()
    with pytest.raises(AttributeError):
        made.planes = 3  # type: ignore[misc]
    assert made == plan()


@pytest.mark.parametrize("factor", [1.5, 4 / 3, 1.33333334, 1.1, 2.0000001, 2.7182818])
def test_planned_size_is_that_of_the_engine(factor: float) -> None:
    from napari_zssr.imaging.resample import output_size

    for size in (16, 30, 33, 90):
        made = plan(change(BALANCED, factor=factor), shape=(size, size), axes="YX")
        assert made.output_shape == (output_size(size, factor),) * 2, f"{size} px"


def test_planning_needs_no_torch(loaded_by: Any) -> None:
    loaded = loaded_by("import napari_zssr.stack.resources")
    assert not loaded & {"torch", "napari", "dask"}
