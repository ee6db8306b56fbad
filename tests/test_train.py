from __future__ import annotations

import math
import weakref
from typing import Any

import pytest
import torch
from engine import trainer as trainer_of
from torch import Tensor, nn

from napari_zssr.config import FAST, PAPER, Config, change
from napari_zssr.imaging.noise import CLEAN, NoiseModel
from napari_zssr.kernelspec import KernelSpec
from napari_zssr.progress import Progress, drain
from napari_zssr.zssr.judge import gain_from_errors, held_out_gain
from napari_zssr.zssr.networks import PaperNetwork, ResidualNetwork
from napari_zssr.zssr.pairs import PairSpec
from napari_zssr.zssr.trainer import Trainer, train


def picture(side: int = 48) -> Tensor:
    y = torch.arange(side, dtype=torch.float32)[:, None]
    x = torch.arange(side, dtype=torch.float32)[None, :]
    rings = torch.sin(((y - 20) ** 2 + (x - 25) ** 2) / 40)
    return (0.5 + 0.4 * torch.sign(rings) * torch.cos(x / 9))[None]


CONFIGS = {
    "residual": change(FAST, width=8, steps=25, batch=2, crop_px=16),
    "paper": change(PAPER, width=8, steps=25, batch=1, crop_px=24),
}


def trainer(
    kind: str = "residual", *, noise: NoiseModel = CLEAN, seed: int = 0, **changes: Any
) -> Trainer:
    config: Config = change(CONFIGS[kind], **changes)
    torch.manual_seed(seed)
    paper = kind == "paper"
    network = PaperNetwork(1, width=8) if paper else ResidualNetwork(1, (2, 2), width=8)
    spec = PairSpec(
        factors=(2.0, 2.0),
        ratio=(1, 1) if paper else (2, 2),
        kernel=KernelSpec(),
        noise=noise,
        alpha=0.0 if noise.is_clean else 0.7,
        crop_px=config.crop_px,
    )
    return trainer_of(network, [picture()], spec, config, seed=seed)


def weights(network: nn.Module) -> Tensor:
    return torch.cat([p.detach().flatten() for p in network.parameters()])


@pytest.mark.parametrize("kind", CONFIGS)
def test_loss_falls_in_twenty_steps(kind: str) -> None:
    made = trainer(kind)
    crops = made.draw(1)[0]
    losses = [float(made.step(crops, 0.5)) for _ in range(20)]
    assert all(math.isfinite(loss) for loss in losses)
    # The paper's rate is slow: it wants thousands of steps.
    assert losses[-1] < (0.9 if kind == "residual" else 0.998) * losses[0]


@pytest.mark.parametrize("kind", CONFIGS)
@pytest.mark.parametrize("noise", [CLEAN, NoiseModel(offset=4e-4)])
def test_same_seed_same_network(
    kind: str, noise: NoiseModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Crops and noise are drawn anew three times.
    monkeypatch.setattr("napari_zssr.zssr.trainer.REFRESH_EVERY", 3)
    made = []
    for seed in (3, 3, 4):
        one = trainer(kind, noise=noise, seed=seed, steps=8)
        drain(train(one))
        made.append(weights(one.network))
    assert torch.equal(made[0], made[1])
    assert not torch.equal(made[0], made[2])


@pytest.mark.parametrize("kind", CONFIGS)
@pytest.mark.parametrize("steps", [1, 19, 25])
def test_steps_are_counted_and_reported(kind: str, steps: int) -> None:
    events: list[Any] = []
    done = drain(train(trainer(kind, steps=steps)), events.append)
    assert done == steps
    assert all(isinstance(e, Progress) and e.stage == "train" for e in events)
    assert (events[-1].step, events[-1].total) == (steps, steps)
    assert [e.step for e in events] == list(range(1, steps + 1))


@pytest.mark.parametrize("kind", CONFIGS)
def test_modes_are_untouched_at_every_yield(kind: str, modes_untouched: Any) -> None:
    steps = train(trainer(kind, steps=41, precision="bfloat16"))
    assert len(list(modes_untouched(steps))) >= 2


@pytest.mark.parametrize("kind", CONFIGS)
@pytest.mark.parametrize("taken", [0, 1, 2])
def test_closing_leaks_nothing(kind: str, taken: int, closes_cleanly: Any) -> None:
    def start() -> Any:
        made = trainer(kind)
        return train(made), [weakref.ref(made.network)]

    closes_cleanly(start, taken)


def test_bfloat16_trains_too() -> None:
    made = trainer_of(
        ResidualNetwork(1, (2, 2), width=8),
        [picture()],
        PairSpec(factors=(2.0, 2.0), ratio=(2, 2), kernel=KernelSpec(), crop_px=16),
        CONFIGS["residual"],
        precision="bfloat16",
    )
    loss = made.step(made.draw(1)[0], 0.5)
    assert loss.dtype == torch.float32
    assert torch.isfinite(loss)


def test_gain_of_the_untrained_is_about_nothing() -> None:
    made = trainer()
    with torch.no_grad():
        made.network.tail.weight.zero_()
    gain = held_out_gain(made.network, made.windows, made.spec, 1)
    assert gain.decibel == pytest.approx(0, abs=1e-6)
    assert not gain.significant


def test_gain_is_the_ratio_of_the_errors() -> None:
    learned = torch.tensor([1.0, 1.1, 0.9, 1.0], dtype=torch.float64)
    gain = gain_from_errors(learned, 10 * learned)
    assert gain.decibel == pytest.approx(10)
    assert gain.significant
    assert 0 < gain.error_decibel < 2


@pytest.mark.parametrize(
    ("learned", "bicubic"),
    [
        ([1.0, 1.0, 1.0, 1.0], [1.0, 1.0, 1.0, 1.0]),
        ([2.0, 2.0, 2.0, 2.0], [1.0, 1.0, 1.0, 1.1]),
        ([1.0, 1.0, 1.0, 1.0], [9.0, 0.1, 1.0, 0.5]),  # one region alone
        ([0.0, 0.0], [0.0, 0.0]),
    ],
)
def test_gain_that_may_be_chance_is_not_significant(
    learned: list[float], bicubic: list[float]
) -> None:
    gain = gain_from_errors(torch.tensor(learned), torch.tensor(bicubic))
    assert not gain.significant
    assert math.isfinite(gain.decibel)
    assert math.isfinite(gain.error_decibel)


def test_paper_watches_the_same_pair_all_the_way(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    watched = []

    def error(_: Trainer, whole: tuple[Tensor, Tensor, Tensor]) -> float:
        watched.append(whole[1])
        return 1.0

    monkeypatch.setattr("napari_zssr.zssr.trainer._reconstruction_error", error)
    made = trainer("paper", steps=150)
    made.windows = [picture() * 0.5, picture(), picture() * 0.7]
    drain(train(made))
    assert len(watched) == 3
    assert all(torch.equal(father, picture()) for father in watched)


def test_the_gain_is_told_where_held_out_regions_are_looked_at() -> None:
    events: list[Any] = []
    drain(train(trainer("residual", steps=100)), events.append)
    told = {e.step: e.gain_db for e in events if e.gain_db is not None}
    assert list(told) == [50, 100]
    assert all(map(math.isfinite, told.values()))
