"""Learning a start: pictures, tasks, the conditioned network, and the run itself."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from napari_zssr.errors import InputError
from napari_zssr.imaging.degrade import degrade_array
from napari_zssr.imaging.noise import CLEAN, WHITE, NoiseModel, block_energies
from napari_zssr.kernelspec import KernelSpec
from napari_zssr.progress import drain
from napari_zssr.zssr.checkpoint import checksum
from napari_zssr.zssr.networks import ResidualNetwork
from napari_zssr.zssr.pretrained import (
    FEATURES,
    array_features,
    condition_features,
    load_start,
    modulated_weights,
    write_start,
)
from training import blur, noise, scenes, tasks
from training.learn import Learner, LearnSpec, learn_start, with_clean
from training.network import RATIOS, ConditionedNetwork
from training.photographs import KINDS, photograph
from training.scenes import Bank

TINY = LearnSpec(scenes=6, steps=4, batch=2, width=8, dilations=(1,))
KINDS_OF_PAIRS = [(c, ratio) for c, ratios in RATIOS.items() for ratio in ratios]


@pytest.fixture(scope="module", autouse=True)
def few_first_scenes():
    patch = pytest.MonkeyPatch()
    patch.setattr(scenes, "FIRST_SCENES", 3)
    yield
    patch.undo()


@pytest.fixture
def network() -> ConditionedNetwork:
    """With a condition that is not zero."""
    torch.manual_seed(0)
    made = ConditionedNetwork(width=8, dilations=(1, 2))
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


@pytest.mark.parametrize(("colours", "ratio"), KINDS_OF_PAIRS)
def test_folded_weights_do_what_the_conditioned_network_does(network, colours, ratio):
    kernel, noise = KernelSpec.parse("gaussian:1.2"), NoiseModel(gain=0.01, offset=2e-3)
    features = torch.tensor(condition_features(kernel, ratio, noise))
    plain = ResidualNetwork(colours, ratio, width=8, dilations=(1, 2))
    weights = modulated_weights(network.as_start({}), colours, ratio, kernel, noise)
    plain.load_state_dict({name: torch.tensor(w) for name, w in weights.items()})
    sons = torch.rand(2, colours, 12, 12)
    wanted = network(sons, features.expand(2, -1), ratio)
    assert torch.allclose(plain(sons), wanted, atol=1e-5)


@pytest.mark.parametrize("ratio", RATIOS[1])
def test_a_blur_is_told_as_in_training(ratio):
    """The program's own kernels and those of the tasks are one thing."""
    spread = np.diag([1.3, 0.8])
    spec = KernelSpec(kind="gaussian", sigma_px=tuple(np.sqrt(np.diag(spread))))
    drawn = blur.gaussian_kernel(spread, ratio)
    assert condition_features(spec, ratio, CLEAN) == pytest.approx(
        array_features(drawn, ratio, CLEAN), abs=0.02
    )
    reduced = blur.reduction_kernel(ratio)
    assert condition_features(KernelSpec(), ratio, CLEAN) == pytest.approx(
        array_features(reduced, ratio, CLEAN), abs=1e-6
    )


@pytest.mark.parametrize("ratio", RATIOS[1])
@pytest.mark.parametrize("name", ["bicubic", "gaussian:1.1"])
def test_tasks_degrade_as_the_engine_does(ratio, name):
    """Same kernel, same place: sons of a task and of the engine agree."""
    spec = KernelSpec.parse(name)
    sides = [12 * r + t - r for r, t in zip(ratio, blur.taps(ratio), strict=True)]
    scene = photograph(np.random.default_rng(0), max(sides))
    crop = torch.from_numpy(scene[None, :, : sides[0], : sides[1]])
    if name == "bicubic":
        kernel = blur.reduction_kernel(ratio)
    else:
        kernel = blur.gaussian_kernel(1.1**2 * np.eye(2), ratio)
    sons, fathers = tasks.degraded(crop, [kernel], ratio)
    assert fathers.shape[-2:] == (12 * ratio[0], 12 * ratio[1])
    # The engine mirrors at the borders, so that only the middle can be compared.
    factors = (float(ratio[0]), float(ratio[1]))
    wanted = degrade_array(fathers[0].numpy(), spec, factors)
    inner = slice(4, -4)
    difference = sons[0].numpy()[:, inner, inner] - wanted[:, inner, inner]
    assert np.abs(difference).max() < 0.01


@pytest.mark.parametrize("ratio", RATIOS[1])
def test_kernels_are_centred_and_sum_to_one(ratio):
    for seed in range(20):
        kernel = blur.random_kernel(np.random.default_rng(seed), ratio)
        assert kernel.shape == blur.taps(ratio)
        assert kernel.sum() == pytest.approx(1)
        for axis, side in enumerate(kernel.shape):
            centre = (np.arange(side) - (side - 1) / 2) @ kernel.sum(axis=1 - axis)
            assert centre == pytest.approx(0, abs=1e-6)


def test_two_blurs_in_a_row_add_their_spreads():
    one = blur.gaussian_kernel(np.diag([2.0, 1.0]), (2, 2))
    other = blur.gaussian_kernel(np.diag([1.0, 2.0]), (2, 2))
    both = blur._convolved(one, other)
    moments = 4 * array_features(both, (2, 2), CLEAN)[:2]
    assert moments == pytest.approx([3.0, 3.0], rel=0.02)


# ---- noise


def ramp(side: int = 256) -> np.ndarray:
    return np.tile(np.linspace(0.2, 0.8, side, dtype=np.float32), (1, side, 1))


@pytest.mark.parametrize("seed", range(12))
def test_the_noise_of_a_task_is_as_its_model_says(seed, monkeypatch):
    for name in ("JPEG", "HOT_PIXELS", "OFFSETS", "SPECKLE"):
        monkeypatch.setattr(noise, name, 0.0)
    monkeypatch.setattr(noise, "SATURATED", 0.0)
    monkeypatch.setattr(noise, "ROUNDED", 0.0)
    draw = np.random.default_rng(seed)
    pair, father = tasks.noisy_pair(ramp(), ramp(), draw, clean=0)
    left = (pair.plane - father)[0]
    for part in (slice(0, 80), slice(176, 256)):
        signal = float(father[0, :, part].mean())
        assert left[:, part].std() == pytest.approx(pair.noise.sigma(signal), rel=0.08)
        assert abs(left[:, part].mean()) < 0.05 * pair.noise.sigma(signal) + 1e-4


@pytest.mark.parametrize("seed", range(8))
def test_correlated_noise_has_the_bands_that_it_tells(seed):
    draw = np.random.default_rng(seed)
    made = None
    while made is None:
        made, bands = noise._correlated((1, 256, 256), draw)
    assert made.std() == pytest.approx(1, abs=0.03)
    _, energies = block_energies(made[0])
    found = np.sqrt(energies.mean(axis=0))
    np.testing.assert_allclose(found, bands, atol=0.12)


def test_all_that_detectors_do_is_drawn_now_and_then():
    """Clean planes and JPEGs, whole grey values, clipped ones and single spikes."""
    plane = ramp(64)
    made = [noise.corrupted(plane, np.random.default_rng(n)) for n in range(400)]
    clean = [m for m in made if m.noise.is_clean and not m.noise.jpeg]
    assert 0.1 < len(clean) / len(made) < 0.3
    assert 0 < sum(bool(m.noise.jpeg) for m in made) < 60
    whole = [np.abs(255 * m.plane - np.round(255 * m.plane)).max() < 1e-3 for m in made]
    assert 0.3 < np.mean(whole) < 0.7
    levels = [m.noise.sigma(0.5) for m in made if not m.noise.is_clean]
    assert min(levels) < 0.005
    assert max(levels) > 0.15


def test_estimates_err_as_much_as_estimates_do():
    model = NoiseModel(gain=0.01, offset=0.001, bands=(1.3, 1.1, 0.9, 0.7))
    found = [noise.estimated(model, np.random.default_rng(n)) for n in range(200)]
    ratio = np.log([f.sigma() / model.sigma() for f in found])
    assert abs(np.median(ratio)) < 0.05
    assert 0.1 < ratio.std() < 0.3
    assert 0.1 < np.mean([f.bands == WHITE for f in found]) < 0.3
    misled = [noise.estimated(CLEAN, np.random.default_rng(n)) for n in range(200)]
    assert 0.05 < np.mean([not m.is_clean for m in misled]) < 0.3
    assert max(m.sigma() for m in misled) < 0.005


def test_a_batch_is_of_one_kind_and_tells_its_noise():
    bank = Bank(4, 0).after(1)
    batch = tasks.draw_batch(bank, np.random.default_rng(0), 3)
    (y, x), (r_y, r_x) = batch.sons.shape[2:], batch.ratio
    assert batch.fathers.shape[2:] == (y * r_y, x * r_x)
    assert batch.features.shape == (3, FEATURES)
    assert torch.isfinite(batch.sons).all()


# ---- the run


def test_learning_is_repeatable():
    first, again = drain(learn_start(TINY)), drain(learn_start(TINY))
    other = drain(learn_start(replace(TINY, seed=1)))
    for name, array in first.arrays.items():
        assert np.array_equal(array, again.arrays[name])
    assert any(not np.array_equal(a, other.arrays[n]) for n, a in first.arrays.items())
    assert first.card["settings"]["steps"] == 4


def test_a_stopped_run_goes_on_where_it_was(tmp_path: Path, monkeypatch):
    monkeypatch.setattr("training.learn.SAVE_EVERY", 2)
    wanted = drain(learn_start(TINY))
    kept = tmp_path / "run.pt"
    steps = learn_start(TINY, resume=kept)
    for event in steps:
        if event.stage == "learn" and event.step == 3:
            break
    steps.close()
    seen = []
    made = drain(learn_start(TINY, resume=kept), seen.append)
    assert min(e.step for e in seen if e.stage == "learn") == 3
    for name, array in wanted.arrays.items():
        assert np.array_equal(array, made.arrays[name])


def test_the_state_of_another_run_is_refused(tmp_path: Path):
    kept = tmp_path / "run.pt"
    Learner(TINY).save(kept)
    with pytest.raises(InputError, match="other settings"):
        drain(learn_start(replace(TINY, seed=2), resume=kept))


def test_learning_goes_on_from_a_start(tmp_path: Path):
    path = write_start(tmp_path / "a.safetensors", drain(learn_start(TINY)))
    spec = replace(TINY, start=str(path), steps=1)
    learner = Learner(spec)
    for name, tensor in learner.network.state_dict().items():
        np.testing.assert_array_equal(tensor.numpy(), load_start(path).arrays[name])
    made = drain(learn_start(spec))
    small = load_start(path)
    assert made.clean is not None
    for name, array in made.clean.arrays.items():
        np.testing.assert_array_equal(array, small.arrays[name])
    assert made.card["settings"]["start"] == f"sha256 {checksum(path)}"
    assert with_clean(small, made).clean is made.clean
    for wrong in ({"width": 12}, {"dilations": (2, 2)}, {"dilations": ()}):
        with pytest.raises(
            InputError, match=r"8 channels and blocks of dilations \(1,"
        ):
            Learner(replace(spec, **wrong))


def test_more_blocks_add_nothing_at_first(network: ConditionedNetwork):
    larger = ConditionedNetwork(width=8, dilations=(1, 4, 2, 2))
    larger.load_start(network.as_start({}))
    sons, features = torch.rand(2, 1, 12, 12), torch.randn(2, FEATURES)
    with torch.no_grad():
        made, wanted = (n(sons, features, (2, 2)) for n in (larger, network))
    torch.testing.assert_close(made, wanted, atol=1e-6, rtol=1e-5)
    assert not torch.allclose(larger.body[1].first.weight, torch.zeros(()))
