from __future__ import annotations

import itertools
import weakref
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from napari_zssr.config import BALANCED, FAST, INSTANT, PAPER, Config, change
from napari_zssr.imaging.noise import NoiseModel
from napari_zssr.progress import drain
from napari_zssr.stack.axis_labels import labelled
from napari_zssr.stack.noise_estimate import noise_estimate_steps
from napari_zssr.stack.run import upscale_steps
from napari_zssr.zssr import calibrate
from napari_zssr.zssr.calibrate import calibrate_steps
from napari_zssr.zssr.cost import AROUND, Rates, expected_work, refreshes
from napari_zssr.zssr.pretrained import shipped_start
from napari_zssr.zssr.training_plan import Facts, NoiseEstimate, expected_plans, resolve

RATES = Rates(step_s=0.05, pairs_s=2e-6, version_s=5e-6)
TINY: dict[str, Any] = {"width": 8, "batch": 2, "crop_px": 16, "back_projection": 2}
NOISE = NoiseModel(offset=0.05**2)
NOISY = NoiseEstimate(noise=NOISE, level=0.05)


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calibrate, "MEASURED_PX", 64)
    monkeypatch.setattr(calibrate, "ENLARGED_SIDE_PX", 32)
    monkeypatch.setattr(calibrate, "ENOUGH_S", 0.0)


def expected(
    config: Config = FAST, shape: Any = (64, 64), axes: str = "YX", **known: Any
) -> float:
    starts = known.pop("starts", ())
    work = expected_work(config, starts, shape, axes, lambda _: RATES, **known)
    return work.seconds


def one_plan(config: Config, samples: int = 1) -> Any:
    return expected_plans(config, (), 1, samples)[1]


def test_a_noisy_plane_is_told_the_steps_that_its_plan_takes() -> None:
    """With new pairs every 25 steps, of the size of network that noise is given."""
    start = shipped_start()
    for config in (FAST, BALANCED, change(BALANCED, factor=1), change(FAST, factor=4)):
        for noise_estimate in (NoiseEstimate(), NOISY):
            facts = Facts(
                start=start, noise=noise_estimate.noise, level=noise_estimate.level
            )
            done = resolve(config, facts)
            _, told = expected_plans(config, (start,), 1, 1, noise_estimate)
            for name in ("steps", "stages", "width", "blocks", "rate"):
                assert getattr(told, name) == getattr(done, name), name
    _, clean = expected_plans(BALANCED, (start,), 1, 1, NoiseEstimate())
    _, noisy = expected_plans(BALANCED, (start,), 1, 1, NOISY)
    assert (clean.steps, noisy.steps) == (200, 50)
    assert noisy.blocks > clean.blocks
    assert (refreshes(clean), refreshes(noisy)) == (0, 1)


def test_noise_of_a_network_from_nothing_costs_new_pairs() -> None:
    config = change(BALANCED, start="random", strategy="independent")
    size: dict[str, Any] = {"shape": (512, 512)}
    clean = expected(config, noise_estimates=[NoiseEstimate()], **size)
    noisy = expected(config, noise_estimates=[NOISY], **size)
    # 400 steps at each of three factors: 15 times new pairs of all pixels.
    assert noisy - clean == pytest.approx(3 * 15 * 512**2 * 2e-6)


def test_every_channel_has_its_own_noise() -> None:
    start = shipped_start()
    given: dict[str, Any] = {"shape": (2, 64, 64), "axes": "CYX"}
    both = expected(
        noise_estimates=[NoiseEstimate(), NOISY], starts=(start,) * 2, **given
    )
    alone = [
        expected(noise_estimates=[one], starts=(start,))
        for one in (NoiseEstimate(), NOISY)
    ]
    assert alone[0] > 2 * alone[1]
    assert both == pytest.approx(sum(alone))


def test_nothing_to_restore_takes_next_to_nothing() -> None:
    config = change(BALANCED, factor=1)
    clean = expected(config, noise_estimates=[NoiseEstimate()])
    assert clean < expected(config, noise_estimates=[NOISY]) / 4


def test_networks_that_do_not_help_enlarge_nothing() -> None:
    """Where they are applied as they are; those that are trained may help yet."""
    series: dict[str, Any] = {
        "shape": (5, 64, 64),
        "axes": "TYX",
        "starts": (shipped_start(),),
    }
    useless = [replace(NOISY, gained=False)]
    for config, cheaper in ((FAST, True), (BALANCED, False)):
        helpful = expected(config, noise_estimates=[NOISY], **series)
        found = expected(config, noise_estimates=useless, **series)
        assert (found < helpful) is cheaper


@pytest.mark.parametrize("helps", [True, False])
def test_whether_a_start_helps_is_looked_at(helps: bool) -> None:
    """It does on noisy rings, and not on a pattern that was sampled too coarsely."""
    y, x = np.mgrid[:80, :80]
    plane = np.tanh(4 * np.sin(np.hypot(y - 40.3, x - 35.1) * 0.6))
    if not helps:
        plane = (y // 2 + x // 3) % 2
    series = np.stack([np.roll(plane, 3 * number, 0) for number in range(4)])
    if helps:
        series += np.random.default_rng(0).normal(0, 0.1, series.shape)
    stack = labelled(series.astype(np.float32), axes="TYX")
    (found,) = drain(noise_estimate_steps(stack, FAST))
    assert found.gained == helps
    planes = drain(upscale_steps(stack, FAST)).report.planes
    learned = sum(plane.returned == "learned" for plane in planes)
    assert (learned > len(planes) / 2) == helps


def test_time_is_that_of_its_parts() -> None:
    config = change(FAST, steps=100, ensemble=False)
    # Pairs, as much as a third of them for what is done beside, and one version.
    parts = 100 * 0.05 + (1 + AROUND) * 64 * 64 * 2e-6 + 64 * 64 * 5e-6
    assert expected(config) == pytest.approx(parts)


def test_every_plane_takes_its_time() -> None:
    alone = change(FAST, strategy="independent")
    assert expected(alone, (3, 5, 64, 64), "ZCYX") == pytest.approx(15 * expected())
    assert expected(shape=(64, 64, 3), axes="YXS") == pytest.approx(expected())


def test_more_work_takes_longer() -> None:
    assert expected(change(FAST, steps=800)) > expected()
    assert expected(change(FAST, ensemble=True)) > expected()


def test_a_filter_is_fitted_to_no_more_than_a_part_of_many_pixels() -> None:
    fit = replace(RATES, step_s=1e-6, fitted_px=100 * 100)
    seconds = [
        expected_work(INSTANT, (), (side, side), "YX", lambda _: fit).plane["fit"][0]
        for side in (50, 100, 200)
    ]
    assert seconds == pytest.approx([0.0025, 0.01, 0.01])
    assert max(seconds) < expected() / 10


def test_saved_networks_that_are_not_trained_take_no_training() -> None:
    left = change(FAST, start="n.safetensors", steps=0, ensemble=False)
    parts = AROUND * 64 * 64 * 2e-6 + 64 * 64 * 5e-6
    assert expected(left) == pytest.approx(parts)


def test_of_a_large_plane_only_windows_are_learned_from() -> None:
    small, middle, large = (
        expected_work(INSTANT, (), (side, side), "YX", lambda _: RATES).plane["pairs"]
        for side in (1024, 2048, 4096)
    )
    assert middle[0] == pytest.approx(4 * small[0])
    assert large == middle


@pytest.mark.parametrize(
    "config",
    [
        change(FAST, **TINY),
        change(FAST, kernel="gaussian:1", factor=(1, 2), **TINY),
        INSTANT,
        change(PAPER, **TINY),
    ],
    ids=["fast", "known blur", "instant", "paper"],
)
@pytest.mark.parametrize("channels", [1, 3])
def test_rates_are_measured(
    config: Config, channels: int, modes_untouched: Any
) -> None:
    plan = one_plan(config, channels)
    steps = calibrate_steps(plan, size=(64, 64), device="cpu", precision="float32")
    found: list[Rates] = []

    def kept() -> Any:
        found.append((yield from steps))

    assert len(list(modes_untouched(kept()))) >= 3
    assert min(found[0].step_s, found[0].pairs_s, found[0].version_s) > 0


@pytest.mark.parametrize("config", [change(FAST, **TINY), INSTANT])
def test_a_core_that_is_taken_away_for_a_moment_does_not_count(
    config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One part that took longer by chance was multiplied to minutes."""
    plan, now, calls, stalled = one_plan(config), 0.0, 0, -1

    def clock() -> float:
        nonlocal now, calls
        now += 1000.0 if calls == stalled else 1.0
        calls += 1
        return now

    monkeypatch.setattr(calibrate, "CLOCK", clock)

    def measured() -> Rates:
        nonlocal calls
        calls = 0
        rates = drain(
            calibrate_steps(plan, size=(64, 64), device="cpu", precision="float32")
        )
        # What comes once in a run, the fit too, and the checks with their first time.
        step_s = rates.step_s if plan.kind.is_trained else 0.0
        return replace(rates, step_s=step_s, first_s=0.0, check_s=0.0)

    usual, last = measured(), calls
    for number in range(last):
        stalled = number
        assert measured() == usual


@pytest.mark.parametrize("size", [(16, 16), (17, 63), (40, 18), (33, 200)])
@pytest.mark.parametrize("noise_estimate", [NoiseEstimate(), NOISY], ids=["clean", ""])
@pytest.mark.parametrize("factor", [1, 2, 4])
@pytest.mark.parametrize("preset", [FAST, INSTANT, PAPER], ids=lambda one: one.preset)
def test_rates_are_measured_on_all_planes_that_are_learned_from(
    size: tuple[int, int], noise_estimate: NoiseEstimate, factor: int, preset: Config
) -> None:
    config = change(preset, factor=factor, kernel="gaussian:1", crop_px=16, gradual=1)
    _, plan = expected_plans(config, (), 1, 2, noise_estimate)
    assert plan.learns_from(size)
    rates = drain(calibrate_steps(plan, size=size, device="cpu", precision="float32"))
    assert rates.pairs_s > 0


def test_closing_at_any_yield_leaks_nothing(closes_cleanly: Any) -> None:
    plan = one_plan(change(FAST, **TINY))
    alive: list[weakref.ref[Any]] = []

    class Watched(calibrate.Trainer):
        def __init__(self, *given: Any, **named: Any) -> None:
            super().__init__(*given, **named)
            alive.append(weakref.ref(self))

    def start() -> Any:
        alive.clear()
        return calibrate_steps(plan, device="cpu", precision="float32"), alive

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(calibrate, "Trainer", Watched)
        count = sum(1 for _ in start()[0])
        for taken in range(count + 1):
            closes_cleanly(start, taken)


def test_rates_need_no_torch(loaded_by: Any) -> None:
    assert "torch" not in loaded_by("import napari_zssr.zssr.cost")


def test_the_caller_s_random_numbers_are_left_alone() -> None:
    import torch

    torch.manual_seed(3)
    wanted = torch.rand(2)
    torch.manual_seed(3)
    plan = one_plan(change(FAST, **TINY))
    drain(calibrate_steps(plan, device="cpu", precision="float32"))
    assert torch.equal(torch.rand(2), wanted)


def test_the_processor_is_as_slow_as_its_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    state = torch.get_rng_state()

    def tested(step_s: float, cores: int) -> float:
        """Slowness where looking at the clock, once a step, takes so long."""
        times = itertools.count()
        monkeypatch.setattr(calibrate, "CLOCK", lambda: step_s * next(times))
        return calibrate.slowness(cores)

    usual = tested(1 / 64, 1)
    assert usual > 0
    assert tested(1 / 8, 1) > 4 * usual
    # More cores are expected to do more.
    assert tested(1 / 64, 4) == pytest.approx(4 * usual)
    assert torch.equal(torch.get_rng_state(), state)
