from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from napari_zssr.config import BALANCED, FAST, change
from napari_zssr.plugin.estimate import (
    Estimate,
    Workload,
    advice_text,
    calibration_key,
    estimate,
    planned,
)
from napari_zssr.stack import resources
from napari_zssr.words import bytes_text
from napari_zssr.zssr.cost import Rates
from napari_zssr.zssr.device import DeviceReport, Machine, NvidiaGpu, advice

CPU = DeviceReport(
    device="cpu", description="8 cores, AVX2", free_bytes=8 * 10**9, bfloat16=False
)
GPU = DeviceReport(
    device="cuda:0", description="RTX (24 GiB)", free_bytes=20 * 10**9, bfloat16=True
)
LAPTOP = Machine(devices=(CPU,), cores=8)
WORKSTATION = Machine(devices=(GPU, CPU), cores=8)
RATES = Rates(step_s=0.05, pairs_s=2e-6, version_s=5e-6)


def workload(
    shape: tuple[int, ...] = (40, 512, 500), axes: str = "ZYX", **g: Any
) -> Workload:
    return Workload(
        config=change(BALANCED, **g), shape=shape, dtype=np.dtype("uint16"), axes=axes
    )


def rows(found: Estimate) -> dict[str, str]:
    return dict(found.rows)


def test_before_the_machine_is_known_the_result_is() -> None:
    found = estimate(workload(), None, None)
    assert rows(found)["Result"] == "Z 40 x Y 1024 x X 1000, uint16, 81.9 MB"
    assert found.problem == ""


def test_a_laptop_is_told_what_it_takes() -> None:
    found = rows(estimate(workload(), LAPTOP, RATES))
    assert found["Memory"].endswith("needed, 8 GB free")
    assert found["Time"].startswith("about ")
    assert found["Time"].endswith("measured on this device")
    assert found["Device"] == "cpu: 8 cores, AVX2"


def test_a_gpu_is_preferred_and_its_memory_told() -> None:
    found = rows(estimate(workload(), WORKSTATION, RATES))
    assert found["Device"] == "cuda:0: RTX (24 GiB), 20 GB free"


def test_a_device_can_be_chosen() -> None:
    found = estimate(workload(device="cpu"), WORKSTATION, None)
    assert rows(found)["Device"].startswith("cpu")
    assert (
        "cuda:0" in rows(estimate(workload(device="cuda"), WORKSTATION, None))["Device"]
    )


def test_without_rates_the_time_is_a_guess_at_best() -> None:
    assert "being measured" in rows(estimate(workload(), LAPTOP, None))["Time"]
    failed = rows(estimate(workload(), LAPTOP, "memory ran out"))["Time"]
    assert failed.startswith("perhaps ")
    assert failed.endswith("(not measured: memory ran out)")


def test_what_will_not_fit_is_told_with_a_way_out() -> None:
    # Fits by itself, but not with the libraries and a tile.
    small = Machine(devices=(replace(CPU, free_bytes=200 * 10**6),), cores=8)
    found = estimate(workload(), small, RATES)
    assert found.problem.startswith("This will not fit: about ")
    assert "200 MB are free" in found.problem
    assert "the current slice" in found.problem


def test_a_stack_that_does_not_fit_is_sent_to_disk(tmp_path: Path) -> None:
    small = Machine(devices=(replace(CPU, free_bytes=2 * 10**9),), cores=8)
    shape = (1000, 1024, 1024)
    for free in (2 * 10**9, 11 * 10**9):
        small = Machine(devices=(replace(CPU, free_bytes=free),), cores=8)
        assert (
            "or choose Result: to disk."
            in estimate(workload(shape), small, None).problem
        )
    found = estimate(
        replace(workload(shape), target=tmp_path / "a.ome.zarr"), small, None
    )
    assert found.problem == ""
    told = rows(found)
    assert "up to 11.2 GB needed" in told["Disk"]
    assert f"free in {tmp_path}" in told["Disk"]
    assert "Disk" not in rows(estimate(workload(), LAPTOP, None))
    tiny = Machine(devices=(replace(CPU, free_bytes=10**6),), cores=8)
    assert "to disk" not in estimate(workload(shape), tiny, None).problem


def test_a_gpu_has_a_stack_on_disk_fit_too(tmp_path: Path) -> None:
    machine = Machine(devices=(GPU, replace(CPU, free_bytes=4 * 10**9)), cores=8)
    shape = (1000, 1024, 1024)
    assert (
        "or choose Result: to disk." in estimate(workload(shape), machine, None).problem
    )
    found = estimate(
        replace(workload(shape), target=tmp_path / "a.ome.tif"), machine, None
    )
    assert found.problem == ""
    assert "up to 16.8 GB needed" in rows(found)["Disk"]


def test_a_disk_that_may_fill_up_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resources, "free_disk", lambda _: 10**6)
    found = estimate(replace(workload(), target=tmp_path / "a.ome.zarr"), LAPTOP, None)
    assert ", only 1 MB free in" in rows(found)["Disk"]
    monkeypatch.undo()
    found = estimate(
        replace(workload(), target=tmp_path / "gone" / "a.ome.zarr"), LAPTOP, None
    )
    assert "free" not in rows(found)["Disk"]


def test_what_is_far_too_large_is_told_too() -> None:
    small = Machine(devices=(replace(CPU, free_bytes=10**6),), cores=8)
    assert "MB" in estimate(workload(), small, None).problem or "GB" in (
        estimate(workload(), small, None).problem
    )


def test_one_plane_is_not_sent_to_the_current_slice() -> None:
    small = Machine(devices=(replace(CPU, free_bytes=200 * 10**6),), cores=8)
    found = estimate(workload((1024, 1024), "YX"), small, RATES)
    assert "part of the plane" in found.problem
    assert "current slice" not in found.problem


def test_a_gpu_does_not_help_a_result_larger_than_main_memory() -> None:
    full = Machine(devices=(GPU, replace(CPU, free_bytes=10**8)), cores=8)
    assert "will not fit" in estimate(workload(), full, RATES).problem
    assert estimate(workload(), WORKSTATION, RATES).problem == ""


def test_a_missing_or_failing_device_is_told() -> None:
    assert "torch sees cpu" in estimate(workload(device="mps"), LAPTOP, None).problem
    broken = Machine(devices=(replace(GPU, failure="no kernel image"), CPU), cores=8)
    asked = workload(device="cuda")
    assert "no kernel image" in estimate(asked, broken, None).problem
    # By itself the next device is taken.
    assert dict(estimate(workload(), broken, None).rows)["Device"].startswith("cpu")


def test_colours_are_named() -> None:
    found = estimate(workload((64, 64, 3), "YXS"), LAPTOP, None)
    assert rows(found)["Result"].startswith("Y 128 x X 128 x RGB, uint16")


def test_what_does_not_change_the_rates_shares_them() -> None:
    def key(**changes: Any) -> tuple[Any, ...]:
        asked = workload(**changes)
        return calibration_key(asked, planned(asked, LAPTOP))

    assert key() == key(steps=7) == key(seed=3) == key(noise="off")
    assert key() == key(start="n.safetensors", steps=0)
    assert key() != key(width=8)
    assert key() != key(factor=3)


@pytest.mark.parametrize(
    ("count", "told"),
    [(1, "1 B"), (999_600, "1 MB"), (1.234e9, "1.23 GB"), (5e13, "5e+04 GB")],
)
def test_bytes_in_words(count: float, told: str) -> None:
    assert bytes_text(count) == told


def test_a_cpu_build_beside_a_gpu_is_told_with_the_command() -> None:
    found = advice(
        gpus=(NvidiaGpu(name="RTX", capability=(8, 9)),),
        driver=(12, 6),
        torch_version="2.13.0+cpu",
        torch_cuda=None,
        usable=False,
    )
    assert found is not None
    text = advice_text(found)
    assert "CPU build beside the GPU RTX" in text
    assert "start napari again" in text


def test_estimates_need_neither_torch_nor_qt(
    loaded_by: Callable[[str], set[str]],
) -> None:
    loaded = loaded_by("import napari_zssr.plugin.estimate")
    assert not loaded & {"torch", "qtpy", "napari", "magicgui"}


def test_presets_differ_in_time() -> None:
    slow, fast = (
        estimate(Workload(config=c, shape=(64, 64), dtype=np.dtype("u1"), axes="YX"),
                 LAPTOP, RATES)
        for c in (BALANCED, FAST)
    )  # fmt: skip
    assert rows(slow)["Time"] != rows(fast)["Time"]
