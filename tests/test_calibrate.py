from __future__ import annotations

import weakref
from typing import Any

import pytest

from napari_zssr.config import FAST, INSTANT, PAPER, Config, change
from napari_zssr.progress import drain
from napari_zssr.zssr import calibrate
from napari_zssr.zssr.calibrate import calibrate_steps
from napari_zssr.zssr.cost import Rates, expected_seconds

RATES = Rates(step_s=0.05, pairs_s=2e-6, version_s=5e-6)
TINY: dict[str, Any] = {"width": 8, "batch": 2, "crop_px": 16, "back_projection": 2}


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calibrate, "LEARNED_SIDE_PX", 64)
    monkeypatch.setattr(calibrate, "ENLARGED_SIDE_PX", 32)
    monkeypatch.setattr(calibrate, "ENOUGH_S", 0.0)


def expected(config: Config = FAST, shape: Any = (64, 64), axes: str = "YX") -> float:
    return expected_seconds(config, (), shape, axes, RATES)


def test_time_is_that_of_its_parts() -> None:
    config = change(FAST, steps=100, ensemble=False)
    parts = 100 * 0.05 + 2 * 64 * 64 * 2e-6 + 64 * 64 * 5e-6
    assert expected(config) == pytest.approx(parts)


def test_every_plane_takes_its_time() -> None:
    alone = change(FAST, strategy="independent")
    assert expected(alone, (3, 5, 64, 64), "ZCYX") == pytest.approx(15 * expected())
    assert expected(shape=(64, 64, 3), axes="YXS") == pytest.approx(expected())


def test_more_work_takes_longer() -> None:
    assert expected(change(FAST, steps=800)) > expected()
    assert expected(change(FAST, ensemble=True)) > expected()
    assert expected(INSTANT) < expected() / 10


def test_saved_networks_that_are_not_trained_take_no_training() -> None:
    left = change(FAST, start="n.safetensors", steps=0, ensemble=False)
    # Pairs once, to judge, and one version.
    parts = 64 * 64 * 2e-6 + 64 * 64 * 5e-6
    assert expected(left) == pytest.approx(parts)


def test_of_a_large_plane_only_windows_are_learned_from() -> None:
    plain = change(INSTANT, ensemble=False)
    small, large = expected(plain, (2048, 2048)), expected(plain, (4096, 4096))
    assert 1 < large / small < 3


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
    steps = calibrate_steps(config, device="cpu", precision="float32", samples=channels)
    found: list[Rates] = []

    def kept() -> Any:
        found.append((yield from steps))

    assert len(list(modes_untouched(kept()))) >= 3
    assert min(found[0].step_s, found[0].pairs_s, found[0].version_s) > 0


def test_closing_at_any_yield_leaks_nothing(closes_cleanly: Any) -> None:
    config = change(FAST, **TINY)
    alive: list[weakref.ref[Any]] = []

    class Watched(calibrate.Trainer):
        def __init__(self, *given: Any, **named: Any) -> None:
            super().__init__(*given, **named)
            alive.append(weakref.ref(self))

    def start() -> Any:
        alive.clear()
        return calibrate_steps(config, device="cpu", precision="float32"), alive

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
    drain(calibrate_steps(change(FAST, **TINY), device="cpu", precision="float32"))
    assert torch.equal(torch.rand(2), wanted)
