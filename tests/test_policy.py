"""What is decided for a plane before anything is learned."""

from __future__ import annotations

import pytest
import torch

from napari_zssr.config import FAST
from napari_zssr.imaging.noise import CLEAN, NoiseModel
from napari_zssr.zssr import policy
from napari_zssr.zssr.held_out import held_out_regions
from napari_zssr.zssr.policy import for_noise, pair_spec, training_windows


@pytest.mark.parametrize("factors", [(2.0, 2.0), (1.5, 1.5), (1.0, 2.0)])
def test_enlarged_planes_are_cut_in_the_same_places(
    factors: tuple[float, float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(policy, "WHOLE_PX", 32)
    monkeypatch.setattr(policy, "WINDOW_PX", 16)
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
        found = held_out_regions(window, spec.held_out, spec.ratio)
        assert len(found) == 25 // count


def test_noise_makes_the_network_narrow_and_deep() -> None:
    assert for_noise(FAST, 0.0) is FAST
    noisy = for_noise(FAST, 0.05)
    assert (noisy.width, noisy.blocks, noisy.steps) == (
        FAST.width // 2,
        5,
        FAST.steps // 2,
    )


def test_noisy_planes_are_recorrupted() -> None:
    noise = NoiseModel(offset=0.03**2)
    assert pair_spec(FAST, (2.0, 2.0), noise, 0.03).alpha > 0
    assert pair_spec(FAST, (2.0, 2.0), CLEAN, 0.0).alpha == 0
