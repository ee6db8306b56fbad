from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from napari_zssr.config import BALANCED, FAST, PAPER, PRESETS, change
from napari_zssr.errors import ComputeError, InputError
from napari_zssr.imaging.noise import NoiseModel
from napari_zssr.plugin.estimate import (
    Cost,
    Estimate,
    Known,
    Measured,
    Workload,
    advice_text,
    estimate,
    planned,
)
from napari_zssr.stack import resources
from napari_zssr.units import bytes_text, duration_text
from napari_zssr.zssr.cost import Rates
from napari_zssr.zssr.device import DeviceReport, Machine, NvidiaGpu, advice
from napari_zssr.zssr.pretrained import shipped_start
from napari_zssr.zssr.training_plan import NoiseEstimate

CPU = DeviceReport(
    device="cpu",
    name="processor (8 cores)",
    description="AVX2",
    free_bytes=8 * 10**9,
    bfloat16=False,
)
GPU = DeviceReport(
    device="cuda:0",
    name="RTX",
    description="24 GiB",
    free_bytes=20 * 10**9,
    bfloat16=True,
)
LAPTOP = Machine(devices=(CPU,), cores=8)
WORKSTATION = Machine(devices=(GPU, CPU), cores=8)
RATES = Rates(step_s=0.05, pairs_s=2e-6, version_s=5e-6)
NOISY = NoiseEstimate(noise=NoiseModel(offset=0.05**2), level=0.05)


def workload(
    shape: tuple[int, ...] = (40, 512, 500), axes: str = "ZYX", **g: Any
) -> Workload:
    noise_estimate, starts = (
        g.pop("noise_estimate", NoiseEstimate()),
        g.pop("starts", ()),
    )
    return Workload(
        config=change(BALANCED, **g),
        shape=shape,
        dtype=np.dtype("uint16"),
        axes=axes,
        starts=starts,
        noise_estimates=() if noise_estimate is None else (noise_estimate,),
    )


def told(
    asked: Workload | list[Workload], machine: Machine | None, rates: Any = RATES
) -> Estimate:
    """What is told once rates were measured, or why they could not be."""
    every = asked if isinstance(asked, list) else [asked]
    return estimate(every, machine, known(every, machine, rates))


def known(every: list[Workload], machine: Machine | None, rates: Any = RATES) -> Known:
    if rates is None or machine is None:
        return {}
    try:
        plans = cost(every, machine).unmeasured()
    except (InputError, ComputeError):
        return {}
    if isinstance(rates, str):
        return dict.fromkeys(plans, rates)
    return {key: Measured(plan=p, rates=rates) for key, p in plans.items()}


def cost(every: list[Workload], machine: Machine, found: Known | None = None) -> Cost:
    plans = [planned(one, machine) for one in every]
    return Cost(workloads=every, plans=plans, cores=8, known=found or {})


def told_time(asked: Workload, machine: Machine) -> str:
    """Time that is told before anything was measured."""
    return rows(told(asked, machine, None))["Time"]


def rows(found: Estimate) -> dict[str, str]:
    return dict(found.rows)


def test_before_the_machine_is_known_the_result_is() -> None:
    found = told(workload(), None)
    assert rows(found)["Result"] == "Z 40 × Y 1024 × X 1000, uint16, 81.9 MB"
    assert found.problem == ""


def test_a_laptop_is_told_what_it_takes() -> None:
    found = rows(told(workload(), LAPTOP, RATES))
    assert found["Memory"].endswith("needed, 8 GB free")
    assert re.fullmatch("about [0-9.]+ (s|min|h)", found["Time"])
    assert found["Device"] == "processor (8 cores)"


def test_a_gpu_is_preferred_and_its_memory_told() -> None:
    found = rows(told(workload(), WORKSTATION, RATES))
    assert found["Device"] == "RTX, 20 GB free"


def test_a_device_can_be_chosen() -> None:
    found = told(workload(device="cpu"), WORKSTATION, None)
    assert rows(found)["Device"].startswith("processor")
    assert "RTX" in rows(told(workload(device="cuda"), WORKSTATION, None))["Device"]


def test_without_rates_the_time_is_a_range() -> None:
    time = rows(told(workload(), LAPTOP, None))["Time"]
    assert re.fullmatch("[0-9.]+ (s|min|h) to .*, speed being measured", time)
    failed = rows(told(workload(), LAPTOP, "memory ran out"))["Time"]
    assert failed.endswith("(not measured: memory ran out)")


@pytest.mark.parametrize(("shape", "factor"), [((8, 8), 2), ((15, 64), 1), ((3, 3), 4)])
def test_nothing_is_measured_where_nothing_is_learned(
    shape: tuple[int, int], factor: float
) -> None:
    """Measuring took such planes apart for pairs, and there were none."""
    small = workload(shape, "YX", factor=factor, noise_estimate=NOISY)
    assert cost([small], LAPTOP).unmeasured() == {}
    assert rows(told(small, LAPTOP))["Time"].startswith("about")
    (low, high) = cost([small], LAPTOP).seconds
    assert low == high < 1
    assert cost([workload((16, 64), "YX", noise_estimate=NOISY)], LAPTOP).unmeasured()


@pytest.mark.parametrize("size", [(12, 40), (20, 20), (31, 64)])
def test_small_planes_are_measured_along_z_if_they_are_learned_from(
    size: tuple[int, int],
) -> None:
    """Sections of 20 pixels are too few to learn an eightfold enlargement from."""
    small = replace(workload((9, *size), factor=1), factor_z=8.0)
    assert cost([small], LAPTOP).unmeasured() == {}
    assert set(cost([small], LAPTOP).work(0).axial) == {"axial columns"}


def test_before_the_noise_is_known_the_time_is_a_range() -> None:
    """From what it takes if it is clean to what it takes if it is noisy."""
    start = (shipped_start(),)
    asked = workload((256, 256), "YX", noise_estimate=None, starts=start)
    clean, noisy = (
        workload((256, 256), "YX", noise_estimate=noise_estimate, starts=start)
        for noise_estimate in (NoiseEstimate(), NOISY)
    )
    found = known([clean, noisy], LAPTOP)
    low, high = cost([asked], LAPTOP, found).seconds
    each = [cost([one], LAPTOP, found).seconds for one in (clean, noisy)]
    assert all(least == most for least, most in each)
    assert (low, high) == tuple(sorted(least for least, _ in each))
    assert high > 2 * low
    text = rows(estimate([asked], LAPTOP, found))["Time"]
    assert text.endswith(", noise being measured")
    assert " to " in text
    assert " to " not in rows(estimate([noisy], LAPTOP, found))["Time"]


def test_layers_in_turn_take_the_time_of_all_and_the_memory_of_the_largest() -> None:
    small, large = workload((64, 64), "YX"), workload((1024, 1024), "YX")
    found = known([small, large], LAPTOP)
    alone = [cost([one], LAPTOP, found).seconds[0] for one in (small, large)]
    both = estimate([small, large], LAPTOP, found)
    assert cost([small, large], LAPTOP, found).seconds[0] == pytest.approx(sum(alone))
    assert rows(both)["Result"] == "2 layers, 8.42 MB"
    memory = rows(estimate([large], LAPTOP, found))["Memory"]
    assert rows(both)["Memory"] == memory
    assert rows(estimate([small], LAPTOP, found))["Memory"] != memory
    assert both.summary.startswith("2 layers, 8.42 MB; about ")


def test_one_line_says_result_time_and_device() -> None:
    asked = workload((6, 263, 263))
    summary = told(asked, LAPTOP).summary
    pattern = (
        r"Z 6 \u00d7 Y 526 \u00d7 X 526, 3.32 MB; about .* on the processor \(8 cores\)"
    )
    assert re.fullmatch(pattern, summary)
    assert told(asked, WORKSTATION).summary.endswith(" on the RTX")
    assert told(asked, None).summary.startswith("Z 6 × Y 526")


def test_presets_have_their_times_once_one_is_measured() -> None:
    asked = workload((64, 64), "YX", starts=(shipped_start(),))
    assert told(asked, LAPTOP, None).times == {}
    assert told(replace(asked, noise_estimates=()), LAPTOP).times == {}
    found = known([asked], LAPTOP)
    times = estimate([asked], LAPTOP, found).times
    assert list(times) == ["instant", "fast", "balanced", "paper"]
    assert times["balanced"] == cost([asked], LAPTOP, found).short
    paper = replace(asked, config=change(PAPER, device="auto"), starts=(None,))
    assert times["paper"] == cost([paper], LAPTOP, found).expected
    assert cost([paper], LAPTOP, found).seconds[0] > 600


def test_speed_in_proportion_to_that_of_other_runs_is_a_range() -> None:
    """A stranger read 'about 2 min', then 38 s, when the speed had been measured."""
    asked = workload((64, 64), "YX", starts=(shipped_start(),))
    other = replace(asked, shape=(512, 512))
    found = known([asked], LAPTOP)
    time = rows(estimate([other], LAPTOP, found))["Time"]
    low, high = cost([other], LAPTOP, found).seconds
    assert low == high
    assert time.endswith(", speed being measured")
    assert f"{duration_text(low / 2)} to {duration_text(2 * low)}" in time
    measured = {**found, **known([other], LAPTOP)}
    assert " to " not in rows(estimate([other], LAPTOP, measured))["Time"]
    # What a run took needs no speed.
    taken = replace(cost([other], LAPTOP, found), taken=[(other, 38.0)])
    assert taken.short == "about 38 s"


@pytest.mark.parametrize("preset", ["fast", "instant"])
def test_what_is_not_trained_tells_nothing_of_training(preset: str) -> None:
    """After the speed of Fast or Instant, Paper took minutes, or eight hours."""
    given: dict[str, Any] = {"starts": (shipped_start(),), "noise_estimate": NOISY}
    asked = workload((350, 350), "YX", **given)
    paper = replace(asked, config=change(PAPER, device="auto"), starts=(None,))
    other = replace(asked, config=change(PRESETS[preset], device="auto"))
    balanced = known([asked], LAPTOP, replace(RATES, step_s=0.02))
    # Of a fit that takes long, and of no steps at all.
    step_s = 1.0 if preset == "instant" else 0.0
    measured = known([other], LAPTOP, replace(RATES, step_s=step_s))
    assert measured.keys() != balanced.keys()
    wanted = cost([paper], LAPTOP, balanced).seconds
    assert cost([paper], LAPTOP, {**balanced, **measured}).seconds == wanted
    if preset == "fast":
        assert cost([paper], LAPTOP, measured).seconds[0] > 600


def test_a_filter_that_was_measured_tells_nothing_of_networks() -> None:
    """After the speed of Instant, Balanced was told to take seven times as long."""
    asked = workload((256, 256), "YX", starts=(shipped_start(),))
    instant = replace(
        asked, config=change(PRESETS["instant"], device="auto"), starts=()
    )
    found = known([instant], LAPTOP, replace(RATES, step_s=1.0))
    assert found
    seconds = cost([asked], LAPTOP).seconds
    told = cost([asked], LAPTOP, found)
    assert told.seconds == seconds
    low, high = duration_text(seconds[0] / 3), duration_text(3 * seconds[1])
    assert told.short == f"{low} to {high}"
    networks = known([asked], LAPTOP, replace(RATES, step_s=1.0))
    wanted = cost([instant], LAPTOP).seconds
    assert cost([instant], LAPTOP, networks).seconds == wanted


def test_a_busy_processor_is_slow_before_a_plan_was_measured() -> None:
    """5 to 41 s were told of what took 57 s and more on a busy computer."""
    asked, busy = workload((256, 256), "YX"), replace(LAPTOP, slowness=5.0)
    (low, _), (slow, _) = (
        replace(cost([asked], machine), slowness=machine.slowness).seconds
        for machine in (LAPTOP, busy)
    )
    assert slow == pytest.approx(5 * low)
    at_most = duration_text(3 * slow)
    assert at_most in told_time(asked, busy)
    assert at_most not in told_time(asked, LAPTOP)
    # What was measured holds, and a graphics card has not been tested.
    measured = known([asked], LAPTOP)
    known_times = [estimate([asked], machine, measured) for machine in (LAPTOP, busy)]
    assert rows(known_times[0]) == rows(known_times[1])
    card = replace(WORKSTATION, slowness=5.0)
    assert told_time(asked, card) == told_time(asked, WORKSTATION)


def test_what_a_run_took_is_told_of_the_same_run() -> None:
    asked, other = workload((64, 64), "YX"), workload((64, 65), "YX")
    found = cost([asked, other], LAPTOP, known([asked], LAPTOP))
    after = replace(found, taken=[(asked, 38.0)])
    assert after.work(0).seconds == pytest.approx(38)
    assert after.work(1) == found.work(1)


def test_what_will_not_fit_is_told_with_a_way_out() -> None:
    # Fits by itself, but not with the libraries and a tile.
    small = Machine(devices=(replace(CPU, free_bytes=200 * 10**6),), cores=8)
    found = told(workload(), small, RATES)
    assert found.problem.startswith("This will not fit: about ")
    assert "only 200 MB is free" in found.problem
    assert "the current slice" in found.problem


def test_a_stack_that_does_not_fit_is_sent_to_disk(tmp_path: Path) -> None:
    small = Machine(devices=(replace(CPU, free_bytes=2 * 10**9),), cores=8)
    shape = (1000, 1024, 1024)
    for free in (2 * 10**9, 11 * 10**9):
        small = Machine(devices=(replace(CPU, free_bytes=free),), cores=8)
        assert (
            "or choose 'a file on disk' under Save to."
            in told(workload(shape), small, None).problem
        )
    found = told(replace(workload(shape), target=tmp_path / "a.ome.zarr"), small, None)
    assert found.problem == ""
    shown = rows(found)
    assert "up to 11.2 GB needed" in shown["Disk"]
    assert f"free in {tmp_path}" in shown["Disk"]
    assert "Disk" not in rows(told(workload(), LAPTOP, None))
    tiny = Machine(devices=(replace(CPU, free_bytes=10**6),), cores=8)
    assert "on disk" not in told(workload(shape), tiny, None).problem


def test_a_gpu_has_a_stack_on_disk_fit_too(tmp_path: Path) -> None:
    machine = Machine(devices=(GPU, replace(CPU, free_bytes=4 * 10**9)), cores=8)
    shape = (1000, 1024, 1024)
    assert (
        "or choose 'a file on disk' under Save to."
        in told(workload(shape), machine, None).problem
    )
    found = told(replace(workload(shape), target=tmp_path / "a.ome.tif"), machine, None)
    assert found.problem == ""
    assert "up to 16.8 GB needed" in rows(found)["Disk"]


def test_a_disk_that_may_fill_up_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resources, "free_disk", lambda _: 10**6)
    found = told(replace(workload(), target=tmp_path / "a.ome.zarr"), LAPTOP, None)
    assert ", only 1 MB free in" in rows(found)["Disk"]
    monkeypatch.undo()
    found = told(
        replace(workload(), target=tmp_path / "gone" / "a.ome.zarr"), LAPTOP, None
    )
    assert "free" not in rows(found)["Disk"]


def test_what_is_far_too_large_is_told_too() -> None:
    small = Machine(devices=(replace(CPU, free_bytes=10**6),), cores=8)
    assert "MB" in told(workload(), small, None).problem or "GB" in (
        told(workload(), small, None).problem
    )


def test_one_plane_is_not_sent_to_the_current_slice() -> None:
    small = Machine(devices=(replace(CPU, free_bytes=200 * 10**6),), cores=8)
    found = told(workload((1024, 1024), "YX"), small, RATES)
    assert "part of the plane" in found.problem
    assert "current slice" not in found.problem


def test_a_gpu_does_not_help_a_result_larger_than_main_memory() -> None:
    full = Machine(devices=(GPU, replace(CPU, free_bytes=10**8)), cores=8)
    assert "will not fit" in told(workload(), full, RATES).problem
    assert told(workload(), WORKSTATION, RATES).problem == ""


def test_a_missing_or_failing_device_is_told() -> None:
    assert "choose one of cpu" in told(workload(device="mps"), LAPTOP, None).problem
    broken = Machine(devices=(replace(GPU, failure="no kernel image"), CPU), cores=8)
    asked = workload(device="cuda")
    assert "no kernel image" in told(asked, broken, None).problem
    # By itself the next device is taken.
    found = told(workload(), broken, None)
    assert rows(found)["Device"].startswith("processor")


def test_colours_are_named() -> None:
    found = told(workload((64, 64, 3), "YXS"), LAPTOP, None)
    assert rows(found)["Result"].startswith("Y 128 × X 128 × RGB, uint16")


def test_what_does_not_change_the_rates_shares_them() -> None:
    def key(**changes: Any) -> tuple[Any, ...]:
        return tuple(
            cost([workload(strategy="independent", **changes)], LAPTOP)._keys()
        )

    assert key() == key(steps=7) == key(seed=3) == key(gradual=1)
    assert key() != key(noise_estimate=NOISY)
    assert key() != key(width=8)
    assert key() != key(factor=3)


@pytest.mark.parametrize(
    ("count", "words"),
    [
        (1, "1 B"),
        (999_600, "1 MB"),
        (1.234e9, "1.23 GB"),
        (5e13, "50 TB"),
        (None, "unknown"),
    ],
)
def test_bytes_in_words(count: float | None, words: str) -> None:
    assert bytes_text(count) == words


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
    assert "without support for the graphics card RTX" in text
    assert "start napari again" in text


def test_estimates_need_neither_torch_nor_qt(
    loaded_by: Callable[[str], set[str]],
) -> None:
    loaded = loaded_by("import napari_zssr.plugin.estimate")
    assert not loaded & {"torch", "qtpy", "napari", "magicgui"}


def test_presets_differ_in_time() -> None:
    slow, fast = (
        told(Workload(config=c, shape=(64, 64), dtype=np.dtype("u1"), axes="YX",
                      noise_estimates=(NoiseEstimate(),)), LAPTOP, RATES)
        for c in (BALANCED, FAST)
    )  # fmt: skip
    assert rows(slow)["Time"] != rows(fast)["Time"]
