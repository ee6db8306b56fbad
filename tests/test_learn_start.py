"""Learning a start: pictures, tasks, the conditioned network, and the run itself."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from napari_zssr.errors import InputError
from napari_zssr.imaging.degrade import degrade_array
from napari_zssr.kernelspec import KernelSpec
from napari_zssr.learned_start import tasks
from napari_zssr.learned_start.learn import Learner, LearnSpec, learn_start
from napari_zssr.learned_start.network import COLOURS, RATIOS, ConditionedNetwork
from napari_zssr.learned_start.photographs import KINDS, photograph
from napari_zssr.progress import drain
from napari_zssr.zssr.learned import array_features, features, folded
from napari_zssr.zssr.network import ResidualNetwork

TINY = LearnSpec(scenes=6, steps=4, meta_steps=2, batch=2, width=8, blocks=1)


@pytest.fixture(scope="module", autouse=True)
def few_first_scenes():
    patch = pytest.MonkeyPatch()
    patch.setattr(tasks, "FIRST_SCENES", 3)
    yield
    patch.undo()


@pytest.fixture
def network() -> ConditionedNetwork:
    """With a condition that is not zero."""
    torch.manual_seed(0)
    made = ConditionedNetwork(width=8, blocks=2)
    torch.nn.init.normal_(made.condition[2].weight, std=0.1)
    return made


@pytest.mark.parametrize("kind", KINDS)
def test_a_picture_follows_from_its_seed(kind):
    made = KINDS[kind](np.random.default_rng(3), 48)
    again = KINDS[kind](np.random.default_rng(3), 48)
    other = KINDS[kind](np.random.default_rng(4), 48)
    assert made.shape == (3, 48, 48)
    assert made.dtype == np.float32
    assert np.array_equal(made, again)
    assert not np.array_equal(made, other)


def test_pictures_stay_within_0_and_1_and_hold_edges():
    draw = np.random.default_rng(1)
    pictures = [photograph(draw, 64) for _ in range(12)]
    assert min(p.min() for p in pictures) >= 0
    assert max(p.max() for p in pictures) <= 1
    assert np.mean([np.abs(np.diff(p)).max() for p in pictures]) > 0.2


@pytest.mark.parametrize("ratio", RATIOS)
@pytest.mark.parametrize("colours", COLOURS)
def test_folded_weights_do_what_the_conditioned_network_does(network, colours, ratio):
    told = torch.tensor(features(KernelSpec.parse("gaussian:1.2"), ratio, 0.003))
    plain = ResidualNetwork(colours, (ratio, ratio), width=8, blocks=2)
    weights = folded(
        network.as_start({}), colours, ratio, KernelSpec.parse("gaussian:1.2"), 0.003
    )
    plain.load_state_dict({name: torch.tensor(w) for name, w in weights.items()})
    sons = torch.rand(2, colours, 12, 12)
    wanted = network(sons, told.expand(2, -1), ratio)
    assert torch.allclose(plain(sons), wanted, atol=1e-5)
    for name, tensor in network.folded(told, colours, ratio).items():
        assert np.allclose(tensor.detach().numpy(), weights[name], atol=1e-6)


@pytest.mark.parametrize("ratio", RATIOS)
def test_a_blur_is_told_as_in_training(ratio):
    """The program's own kernels and those of the tasks are one thing."""
    spread = np.diag([1.3, 0.8])
    sigma = tuple(np.sqrt(np.diag(spread)))
    spec = KernelSpec(kind="gaussian", sigma_px=sigma)
    drawn = tasks.gaussian_kernel(spread, ratio)
    assert features(spec, ratio, 0.0) == pytest.approx(
        array_features(drawn, ratio, 0.0), abs=0.01
    )
    reduced = tasks.reduction_kernel(ratio)
    assert features(KernelSpec(), ratio, 0.0) == pytest.approx(
        array_features(reduced, ratio, 0.0), abs=1e-6
    )


@pytest.mark.parametrize("ratio", RATIOS)
@pytest.mark.parametrize("name", ["bicubic", "gaussian:1.1"])
def test_tasks_degrade_as_the_engine_does(ratio, name):
    """Same kernel, same place: sons of a task and of the engine agree."""
    spec = KernelSpec.parse(name)
    draw = np.random.default_rng(0)
    side = 12 * ratio + tasks.taps(ratio) - ratio
    patch = torch.from_numpy(photograph(draw, side))[None]
    if name == "bicubic":
        kernel = tasks.reduction_kernel(ratio)
    else:
        kernel = tasks.gaussian_kernel(1.1**2 * np.eye(2), ratio)
    way = tasks.Way(kernel=kernel, sigma=0.0, rounded=False)
    made = tasks.degraded(patch, [way], ratio, draw)
    assert made.sons.shape[-1] * ratio == made.fathers.shape[-1]
    # The engine mirrors at the borders, so that only the middle can be compared.
    wanted = degrade_array(made.fathers[0].numpy(), spec, (float(ratio), float(ratio)))
    inner = slice(3, -3)
    difference = made.sons[0].numpy()[:, inner, inner] - wanted[:, inner, inner]
    assert np.abs(difference).max() < 0.01


def test_two_blurs_in_a_row_add_their_spreads():
    one = tasks.gaussian_kernel(np.diag([2.0, 1.0]), 2)
    other = tasks.gaussian_kernel(np.diag([1.0, 2.0]), 2)
    both = tasks._convolved(one, other)
    assert array_features(both, 2, 0.0)[:2] * 4 == pytest.approx([3.0, 3.0], rel=0.02)
    middle = (np.arange(len(both)) - (len(both) - 1) / 2) @ both.sum(axis=1)
    assert middle == pytest.approx(0, abs=1e-6)


def test_the_noise_of_a_task_is_as_it_tells():
    patch = torch.full((1, 1, 80, 80), 0.5)
    kernel = tasks.reduction_kernel(2)
    way = tasks.Way(kernel=kernel, sigma=0.005, rounded=False)
    made = tasks.degraded(patch, [way], 2, np.random.default_rng(0))
    assert float(made.sons.std()) == pytest.approx(0.005, rel=0.1)
    assert float(made.fathers.std()) == 0
    assert float(made.told[0, -1]) == pytest.approx(0.5)


def test_learning_is_repeatable():
    first, again = drain(learn_start(TINY)), drain(learn_start(TINY))
    other = drain(learn_start(replace(TINY, seed=1)))
    for name, array in first.arrays.items():
        assert np.array_equal(array, again.arrays[name])
    assert any(not np.array_equal(a, other.arrays[n]) for n, a in first.arrays.items())
    assert first.card["settings"]["steps"] == 4


def test_a_stopped_run_goes_on_where_it_was(tmp_path: Path, monkeypatch):
    monkeypatch.setattr("napari_zssr.learned_start.learn.SAVE_EVERY", 2)
    wanted = drain(learn_start(TINY))
    kept = tmp_path / "run.pt"
    steps = learn_start(TINY, resume=kept)
    for event in steps:
        if event.stage == "pretrain" and event.step == 3:
            break
    steps.close()
    seen = []
    made = drain(learn_start(TINY, resume=kept), seen.append)
    assert min(e.step for e in seen if e.stage == "pretrain") == 3
    for name, array in wanted.arrays.items():
        assert np.array_equal(array, made.arrays[name])


def test_the_state_of_another_run_is_refused(tmp_path: Path):
    kept = tmp_path / "run.pt"
    Learner(TINY).save(kept)
    with pytest.raises(InputError, match="other settings"):
        drain(learn_start(replace(TINY, seed=2), resume=kept))


def test_meta_training_leads_towards_less_error_after_adapting():
    """Weights change, by little, and stay finite."""
    without = drain(learn_start(replace(TINY, meta_steps=0)))
    made = drain(learn_start(TINY))
    changed = [np.abs(a - without.arrays[n]).max() for n, a in made.arrays.items()]
    assert 0 < max(changed) < 0.1
    assert all(np.isfinite(a).all() for a in made.arrays.values())
