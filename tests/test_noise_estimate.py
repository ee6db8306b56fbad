"""Noise estimated from images."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from napari_zssr.imaging.noise import WEIGHTS, WHITE, estimate_noise, has_room_for_noise
from training.microscope import KINDS

SCRIPT = "tools.learn_noise"
SIDE = 192


def smooth_signal(seed: int = 0) -> np.ndarray:
    """Broad hills between 0.1 and 0.9."""
    rough = np.random.default_rng(seed).normal(size=(SIDE, SIDE))
    hills = ndimage.gaussian_filter(rough, 24, mode="wrap")
    hills -= hills.min()
    return 0.1 + 0.8 * hills / hills.max()


def noisy(signal: np.ndarray, gain: float, offset: float, seed: int = 1) -> np.ndarray:
    rng = np.random.default_rng(seed)
    shot = gain * rng.poisson(signal / gain) if gain > 0 else signal
    return shot + offset**0.5 * rng.normal(size=signal.shape)


def texture(kind: str) -> np.ndarray:
    y, x = np.mgrid[:SIDE, :SIDE].astype(float)
    if kind == "edges":
        fine = np.mgrid[: 4 * SIDE, : 4 * SIDE] / 4
        stripes = (np.hypot(fine[0] - 90, fine[1] - 60) % 23 < 9) * 0.7 + 0.1
        return ndimage.gaussian_filter(stripes, 4)[::4, ::4]
    if kind == "waves":
        return 0.5 + 0.2 * np.sin(x * x / 300 + y / 7) + 0.2 * np.cos(y * x / 500)
    rough = np.random.default_rng(2).normal(size=(SIDE, SIDE))
    grain = ndimage.gaussian_filter(rough, 1.5)
    return 0.5 + 0.15 * grain / grain.std()


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize(
    ("gain", "offset"), [(0, 4e-4), (0, 2.5e-3), (2e-3, 0), (5e-3, 1e-4), (1e-3, 1e-3)]
)
def test_estimate_is_within_a_fifth(gain: float, offset: float, seed: int) -> None:
    found = estimate_noise(noisy(smooth_signal(seed), gain, offset, seed))
    for signal in (0.3, 0.5, 0.7):
        true = (gain * signal + offset) ** 0.5
        assert found.sigma(signal) == pytest.approx(true, rel=0.2)


def test_estimate_follows_the_unit() -> None:
    image = noisy(smooth_signal(), 2e-3, 1e-4)
    plain = estimate_noise(image)
    scaled = estimate_noise(1000 * image)
    assert scaled.sigma(500) == pytest.approx(1000 * plain.sigma(0.5), rel=1e-6)


def test_shot_noise_is_told_from_read_noise() -> None:
    shot = estimate_noise(noisy(smooth_signal(), 5e-3, 0))
    read = estimate_noise(noisy(smooth_signal(), 0, 2.5e-3))
    assert shot.sigma(0.8) > 1.5 * shot.sigma(0.2)
    assert read.sigma(0.8) < 1.2 * read.sigma(0.2)


@pytest.mark.parametrize("kind", ["edges", "waves", "grain"])
def test_clean_texture_is_not_taken_for_noise(kind: str) -> None:
    assert estimate_noise(texture(kind)).sigma(0.5) < 0.004


@pytest.mark.parametrize("image", [np.zeros((64, 64)), smooth_signal()])
def test_nothing_is_found_where_nothing_is(image: np.ndarray) -> None:
    assert estimate_noise(image).sigma(0.5) < 1e-4


@pytest.mark.parametrize("shape", [(16, 16), (8, 200), (31, 64), (40, 33)])
def test_small_planes_do_not_fail(shape: tuple[int, int]) -> None:
    image = np.random.default_rng(0).random(shape)
    assert np.isfinite(estimate_noise(image).sigma(0.5))


def test_correlated_noise_is_recognised() -> None:
    rough = np.random.default_rng(3).normal(size=(SIDE, SIDE))
    blurred = ndimage.gaussian_filter(rough, 0.6)
    blurred *= 0.05 / blurred.std()
    found = estimate_noise(smooth_signal() + blurred)
    assert found.bands[0] > 1.2 > 0.8 > found.bands[-1]
    assert found.sigma(0.5) == pytest.approx(0.05, rel=0.3)


def test_white_noise_is_never_called_coloured() -> None:
    draw = np.random.default_rng(0)
    for _ in range(200):
        side = int(draw.integers(64, 160))
        plane = 0.5 + 0.05 * draw.standard_normal((side, side))
        assert estimate_noise(plane).bands == WHITE


@pytest.mark.parametrize("kind", KINDS)
def test_the_level_on_generated_scenes_is_about_right(kind: str) -> None:
    errors = []
    for seed in range(4):
        draw = np.random.default_rng((9, seed))
        scene = KINDS[kind](draw, SIDE)
        level = 0.02 + 0.03 * seed
        plane = scene + level * draw.standard_normal(scene.shape)
        errors.append(abs(estimate_noise(plane).sigma(scene.mean()) / level - 1))
    assert np.median(errors) < 0.1
    assert max(errors) < 0.25


def test_what_was_learned_is_small() -> None:
    assert WEIGHTS.stat().st_size < 60_000


def test_planes_too_small_to_tell_their_noise_tell_it_together() -> None:
    draw = np.random.default_rng(0)
    y, x = np.arange(60)[:, None], np.arange(62)[None, :]
    cells = [np.sin(np.hypot(y - 4 * n, x - 20) / 4) for n in range(8)]
    planes = [0.5 + 0.3 * c + draw.normal(0, 0.05, c.shape) for c in cells]
    assert not has_room_for_noise(planes[0])
    assert has_room_for_noise(np.zeros((72, 72)))
    together = estimate_noise(*planes)
    assert together.sigma() == pytest.approx(0.05, rel=0.25)
    # Correlated noise is not told from texture in so few blocks of each.
    assert together.bands == WHITE


def test_the_script_learns_from_few_scenes(tmp_path: Path) -> None:
    path = tmp_path / "noise.npz"
    line = [sys.executable, "-m", SCRIPT, str(path), "--scenes", "3", "--planes", "100"]
    subprocess.run(line, check=True, capture_output=True)
    with np.load(path) as made, np.load(WEIGHTS) as shipped:
        assert {n: made[n].shape for n in made} == {
            n: shipped[n].shape for n in shipped
        }
