"""What is decided for a plane before anything is learned."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from engine import back_projection, pair_spec

from benchmarks.photographs import random_gaussian
from napari_zssr.config import FAST, INSTANT, change
from napari_zssr.imaging.noise import CLEAN, NoiseModel
from napari_zssr.kernelspec import KernelSpec
from napari_zssr.zssr import pairs
from napari_zssr.zssr.pairs import enlarged_windows, held_out_regions, training_windows
from napari_zssr.zssr.predict import residual_growth
from napari_zssr.zssr.training_plan import FADE


@pytest.mark.parametrize("factors", [(2.0, 2.0), (1.5, 1.5), (1.0, 2.0)])
def test_enlarged_planes_are_cut_in_the_same_places(
    factors: tuple[float, float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pairs, "WHOLE_PX", 32)
    monkeypatch.setattr(pairs, "WINDOW_PX", 16)
    y, x = torch.meshgrid(torch.arange(64.0), torch.arange(96.0), indexing="ij")
    fy, fx = factors
    v, u = torch.meshgrid(
        torch.arange(round(64 * fy)), torch.arange(round(96 * fx)), indexing="ij"
    )
    small = training_windows(torch.stack([y, x]))
    large = training_windows(torch.stack([v / fy, u / fx]), factors)
    assert len(small) == len(large) > 4
    for near, far in zip(small, large, strict=True):
        assert far.shape[1:] == (round(16 * fy), round(16 * fx))
        assert (near[:, 0, 0] - far[:, 0, 0]).abs().max() < 0.5


def test_training_and_judging_share_their_regions() -> None:
    window = torch.zeros(1, 512, 512)
    for count in (1, 16):
        spec = pair_spec(FAST, (2.0, 2.0), CLEAN, 0.0, count)
        found = held_out_regions(window, spec.held_out, spec.held_out_share, spec.ratio)
        assert spec.held_out == 49 // count
        assert 1 <= len(found) <= spec.held_out


def test_the_ridge_filter_has_more_regions_held_out() -> None:
    """It has few weights and does not miss what it cannot see."""
    ridge, trained = (
        pair_spec(config, (2.0, 2.0), CLEAN, 0.0) for config in (INSTANT, FAST)
    )
    assert ridge.held_out > trained.held_out
    assert ridge.held_out_share > trained.held_out_share
    window = torch.zeros(1, 256, 256)
    counts = [
        len(held_out_regions(window, spec.held_out, spec.held_out_share, spec.ratio))
        for spec in (ridge, trained)
    ]
    assert counts[0] > counts[1]


@pytest.mark.parametrize("factors", [(1.26, 1.26), (2.0, 2.0), (2.0, 1.0)])
def test_enlarged_windows_are_not_more_to_learn_from(
    factors: tuple[float, float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pairs, "WHOLE_PX", 32)
    monkeypatch.setattr(pairs, "WINDOW_PX", 16)
    given = training_windows(torch.zeros(1, 128, 128))
    size = [round(128 * f) for f in factors]
    made = enlarged_windows(torch.zeros(1, *size), factors)
    pixels = [sum(w.numel() for w in windows) for windows in (given, made)]
    assert 0 < pixels[1] <= 1.1 * pixels[0]


def test_noisy_planes_are_recorrupted() -> None:
    noise = NoiseModel(offset=0.03**2)
    assert pair_spec(FAST, (2.0, 2.0), noise, 0.03).alpha > 0
    assert pair_spec(FAST, (2.0, 2.0), CLEAN, 0.0).alpha == 0


def diverging() -> KernelSpec:
    """A thin, slanted kernel with which back-projection leads away."""
    draw = np.random.default_rng(0)
    drawn = (KernelSpec.parse(random_gaussian(draw, 2)) for _ in range(30))
    return next(kernel for kernel in drawn if residual_growth(kernel, (2.0, 2.0)) > 1)


@pytest.mark.parametrize("kernel", ["bicubic", "gaussian:1.2", "gaussian:1.5,0.8,30"])
def test_back_projection_is_done_where_it_leads_to_the_image(kernel: str) -> None:
    config = change(FAST, kernel=kernel, back_projection=7)
    assert back_projection(config, 0.0, (2.0, 2.0)) == (7, 1.0)


def test_back_projection_is_left_out_where_it_leads_away() -> None:
    config = change(FAST, kernel=diverging(), back_projection=7)
    assert back_projection(config, 0.0, (2.0, 2.0)) == (0, 1.0)


def test_back_projection_fades_out_under_noise() -> None:
    config = change(FAST, back_projection=7)
    low, high = FADE
    iterations, strength = back_projection(config, (low + high) / 2, (2.0, 2.0))
    assert iterations == 7
    assert strength == pytest.approx(0.5)
    assert back_projection(config, high, (2.0, 2.0)) == (0, 0.0)
