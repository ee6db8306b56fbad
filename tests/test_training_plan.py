"""What is decided for training, from settings and what was measured."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import pytest
from conftest import untaught_start
from engine import plan_of

from napari_zssr.config import BALANCED, FAST, INSTANT, PAPER, Config, change
from napari_zssr.imaging.noise import CLEAN, NoiseModel
from napari_zssr.zssr.checkpoint import Checkpoint
from napari_zssr.zssr.training_plan import (
    FADE,
    LEARNED_RATE,
    NOISY_RATE,
    TUNED_RATE,
    TrainingPlan,
    expected_plans,
    trial_config,
)

START = untaught_start(8, (2,))
SAVED = Checkpoint(
    network="residual",
    width=12,
    dilations=(1, 1, 1),
    samples=1,
    factors=(2.0, 2.0),
    ratio=(2, 2),
    base=False,
    kernel={"kind": "bicubic"},
    weights={},
)
SHARED = replace(SAVED, planes=8, began="learned", gained=True)
GRAIN = NoiseModel(offset=0.05**2)
NOISY: dict[str, Any] = {"noise": GRAIN, "level": 0.05}
JPEG = NoiseModel(jpeg=(0.1,) * 64)
RANDOM = change(FAST, start="random", steps=400)
TUNED = change(FAST, strategy="tuned", tuned_steps=40)


@dataclass(frozen=True, kw_only=True)
class Case:
    """Settings and facts, and what is decided."""

    config: Config
    facts: dict[str, Any]
    decided: dict[str, Any]


CASES = {
    "random": Case(
        config=RANDOM,
        facts={},
        decided={
            "steps": 400,
            "width": FAST.width,
            "blocks": FAST.blocks,
            "rate": 1.0,
            "start": None,
            "initialization": "",
            "from_saved": False,
            "back_projection": FAST.back_projection,
            "strength": 1.0,
        },
    ),
    "random, for a stack": Case(
        config=RANDOM, facts={"for_stack": True}, decided={"steps": 600, "rate": 1.0}
    ),
    "random, noisy": Case(
        config=RANDOM,
        facts=NOISY,
        decided={"steps": 400, "rate": 1.0, "is_noisy": True, "strength": 0.0},
    ),
    "pretrained, clean": Case(
        config=BALANCED,
        facts={"start": START},
        decided={
            "steps": 200,
            "width": 8,
            "blocks": 1,
            "ratio": (2, 2),
            "rate": LEARNED_RATE,
            "initialization": "learned",
            "from_saved": False,
            "is_noisy": False,
        },
    ),
    "pretrained, noisy": Case(
        config=BALANCED,
        facts={"start": START, **NOISY},
        decided={"steps": 50, "rate": NOISY_RATE, "initialization": "learned"},
    ),
    "pretrained, noisy, too few steps": Case(
        config=FAST,
        facts={"start": START, **NOISY},
        decided={"steps": 0, "trains": False},
    ),
    "pretrained, for a stack": Case(
        config=BALANCED,
        facts={"start": START, "for_stack": True},
        decided={"steps": 300, "rate": LEARNED_RATE},
    ),
    "saved": Case(
        config=change(RANDOM, gradual=3),
        facts={"start": SAVED},
        decided={
            "steps": 400,
            "width": 12,
            "blocks": 3,
            "ratio": (2, 2),
            "rate": 1.0,
            "start": SAVED,
            "initialization": "",
            "from_saved": True,
        },
    ),
    "saved, applied as it is": Case(
        config=change(FAST, start="n.safetensors", steps=0, gradual=3),
        facts={"start": SAVED},
        decided={"steps": 0, "trains": False, "stages": ((2.0, 2.0),)},
    ),
    "shared": Case(
        config=change(TUNED, strategy="shared", gradual=3),
        facts={"shared": SHARED, "start": START},
        decided={
            "steps": 0,
            "trains": False,
            "stages": ((2.0, 2.0),),
            "start": SHARED,
            "initialization": "learned",
            "from_saved": False,
        },
    ),
    "shared, tuned": Case(
        config=TUNED,
        facts={"shared": SHARED},
        decided={"steps": 40, "rate": TUNED_RATE, "width": 12, "blocks": 3},
    ),
    "shared, tuned, noisy": Case(
        config=change(TUNED, tuned_steps=100),
        facts={"shared": SHARED, **NOISY},
        decided={"steps": 25, "rate": TUNED_RATE},
    ),
    "shared from random weights, tuned, noisy": Case(
        config=TUNED,
        facts={"shared": replace(SHARED, began=""), **NOISY},
        decided={"steps": 40, "rate": TUNED_RATE, "initialization": ""},
    ),
    "shared from saved ones": Case(
        config=TUNED,
        facts={"shared": SHARED, "start": SAVED},
        decided={"start": SHARED, "from_saved": True},
    ),
    "JPEG": Case(
        config=RANDOM,
        facts={"noise": JPEG},
        decided={"back_projection": 0, "strength": 1.0, "steps": 400},
    ),
    "pretrained, JPEG": Case(
        config=FAST,
        facts={"start": START, "noise": JPEG},
        decided={"back_projection": 0, "rate": LEARNED_RATE},
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_what_is_decided(name: str) -> None:
    case = CASES[name]
    plan = plan_of(case.config, **case.facts)
    assert {key: getattr(plan, key) for key in case.decided} == case.decided


def roots(factor: float, count: int) -> list[tuple[float, float]]:
    return [(factor ** (n / count),) * 2 for n in range(1, count + 1)]


@pytest.mark.parametrize(
    ("config", "facts", "ratio", "stages"),
    [
        (RANDOM, {}, (2, 2), [(2, 2)]),
        (change(RANDOM, factor=3), {}, (2, 2), [(3, 3)]),
        (change(RANDOM, factor=4, gradual=2), {}, (2, 2), [*roots(2, 2), (4, 4)]),
        (change(RANDOM, factor=3, gradual=3), {}, (2, 2), [*roots(2, 3), (3, 3)]),
        (change(RANDOM, factor=(1, 2)), {}, (1, 2), [(1, 2)]),
        (change(RANDOM, factor=(1, 4), ratio=4), {}, (1, 4), [(1, 4)]),
        (FAST, {"start": START}, (2, 2), [(2, 2)]),
        (
            change(FAST, factor=3),
            {"start": START},
            (2, 2),
            [*roots(2, 2), (3, 3)],
        ),
        (change(FAST, factor=4), {"start": START, **NOISY}, (2, 2), [(4, 4)]),
        (change(FAST, factor=(1, 2)), {"start": START}, (1, 2), [(1, 2)]),
        (change(FAST, factor=(1, 4)), {"start": START}, (1, 4), [(1, 4)]),
        (change(FAST, factor=3, learned_steps=0), {"start": START}, (2, 2), [(3, 3)]),
        (
            change(PAPER, gradual=6),
            {},
            (1, 1),
            [(1, 1.5), (1.5, 1), (1.5, 1.5), (1.5, 2), (2, 1.5), (2, 2)],
        ),
        (
            change(PAPER, gradual=6, factor=(1, 2)),
            {},
            (1, 1),
            [(1, 1.5), (1, 2)],
        ),
        (change(PAPER, gradual=2, factor=4), {}, (1, 1), [(2, 2), (4, 4)]),
        (change(INSTANT, factor=4), {}, (2, 2), [(4, 4)]),
    ],
)
def test_gradual_factors_and_ratio(
    config: Config,
    facts: dict[str, Any],
    ratio: tuple[int, int],
    stages: list[tuple[float, float]],
) -> None:
    plan = plan_of(config, **facts)
    assert plan.ratio == ratio
    assert plan.stages == tuple(pytest.approx(pair) for pair in stages)
    assert plan.stages[-1] == plan.factors == config.factors


def test_a_second_network_is_for_what_was_enlarged_under_noise() -> None:
    def further(factor: float, **facts: Any) -> bool:
        start = plan_of(change(FAST, factor=factor), start=START, **facts).start
        assert start is not None
        return start.further is not None

    assert further(4, **NOISY)
    assert not further(2, **NOISY)
    assert not further(4)


def test_back_projection_fades_under_noise() -> None:
    low, high = FADE
    for level, strength in ((0, 1), (low, 1), ((low + high) / 2, 0.5), (high, 0)):
        assert plan_of(FAST, level=level).strength == pytest.approx(strength)


@pytest.mark.parametrize(("samples", "together"), [(1, 1), (3, 3), (2, 1)])
def test_colours_that_a_start_does_not_know_are_enlarged_each_by_itself(
    samples: int, together: int
) -> None:
    plan = plan_of(FAST, start=START, samples=samples)
    assert plan.start is not None
    assert (plan.samples, plan.start.samples) == (samples, samples)
    assert plan.start.weights["head.weight"].shape[1] == together


def test_noise_is_as_it_was_told() -> None:
    assert not plan_of(FAST).noise_is_given
    assert plan_of(change(FAST, noise="off")).noise_is_given
    assert plan_of(change(FAST, noise=0.02)).noise_is_given


def test_a_trial_is_closed_form_with_the_blur_of_the_settings() -> None:
    config = change(BALANCED, factor=3, kernel="gaussian:1.2", back_projection=4)
    plan = plan_of(trial_config(config))
    assert not plan.kind.is_trained
    assert (plan.factors, plan.kernel) == ((3.0, 3.0), config.kernel)
    assert plan.back_projection == 4
    assert plan.start is None


def expected(config: Config, *starts: Any, planes: int = 1) -> Any:
    return expected_plans(config, starts, planes)


def test_costs_are_estimated_from_what_will_be_decided() -> None:
    once, each = expected(BALANCED, START)
    assert once is None
    assert (each.steps, each.width, each.rate) == (200, 8, LEARNED_RATE)
    once, each = expected(change(TUNED, factor=3), START, planes=9)
    assert once is not None
    assert (once.steps, each.steps) == (75, 40)
    assert (len(once.stages), each.stages) == (3, ((3.0, 3.0),))
    once, each = expected(change(TUNED, strategy="shared"), planes=9)
    assert (once.steps, each.steps) == (FAST.steps * 3 // 2, 0)


def test_the_widest_of_saved_networks_is_estimated() -> None:
    wide = replace(SAVED, width=20)
    _, each = expected(RANDOM, SAVED, None, wide)
    assert (each.width, each.blocks) == (20, 3)


def test_any_blur_can_be_estimated() -> None:
    config = change(FAST, kernel="estimate")
    assert expected(config, START)[1].width == 8


def test_deciding_needs_no_torch(loaded_by: Callable[[str], set[str]]) -> None:
    code = (
        "from napari_zssr.config import FAST\n"
        "from napari_zssr.zssr.training_plan import Facts, resolve\n"
        "assert resolve(FAST, Facts()).trains\n"
    )
    assert "torch" not in loaded_by(code)


def test_a_plan_is_frozen() -> None:
    plan: TrainingPlan = plan_of(FAST, noise=CLEAN)
    with pytest.raises(AttributeError):
        plan.steps = 3  # type: ignore[misc]
