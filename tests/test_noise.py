from __future__ import annotations

import numpy as np
import pytest
import torch

from napari_zssr.imaging.noise import (
    CLEAN,
    WHITE,
    NoiseModel,
    recorrupt,
)
from training.noise import band_strengths

SIDE = 192


def test_drawn_noise_has_the_bands_it_was_asked_for() -> None:
    generator = torch.Generator().manual_seed(0)
    model = NoiseModel(offset=0.0025, bands=(1.6, 1.3, 1.0, 0.7))
    drawn = model.draw(torch.zeros(4, SIDE, SIDE), generator).numpy()
    assert drawn.std() == pytest.approx(0.05, rel=0.05)
    neighbours = np.corrcoef(drawn[..., 1:].ravel(), drawn[..., :-1].ravel())[0, 1]
    assert neighbours > 0.1


def test_model_follows_the_intensity_map() -> None:
    model = NoiseModel(gain=3.0, offset=50.0)
    mapped = model.mapped(scale=200.0, offset=10.0)
    for signal in (20.0, 110.0, 210.0):
        inside = (signal - 10) / 200
        assert mapped.sigma(inside) == pytest.approx(model.sigma(signal) / 200)


def test_variance_is_never_negative() -> None:
    model = NoiseModel(gain=1.0, offset=-0.2)
    assert model.sigma(0.1) == 0
    assert float(model.variance(torch.tensor([-1.0, 0.1])).max()) == 0


@pytest.mark.parametrize("gain", [0.0, 0.004])
def test_drawn_noise_has_the_variance_of_the_model(gain: float) -> None:
    generator = torch.Generator().manual_seed(0)
    model = NoiseModel(gain=gain, offset=0.001)
    for level in (0.2, 0.8):
        drawn = model.draw(torch.full((1, 128, 128), level), generator)
        assert float(drawn.std()) == pytest.approx(model.sigma(level), rel=0.05)


def test_share_of_the_noise_is_added() -> None:
    generator = torch.Generator().manual_seed(0)
    image = torch.full((1, 128, 128), 0.5)
    model = NoiseModel(offset=0.01)
    assert model.add(image, 0.0, generator) is image
    made = model.add(image, 0.25, generator)
    assert float(made.var()) == pytest.approx(0.0025, rel=0.1)
    assert float(made.mean()) == pytest.approx(0.5, abs=0.003)


@pytest.mark.parametrize("alpha", [0.5, 0.7, 1.0])
def test_recorrupted_images_are_independent(alpha: float) -> None:
    sigma = 0.05
    generator = torch.Generator().manual_seed(4)
    shape = (1, 256, 256)
    signal = torch.full(shape, 0.5)
    image = signal + sigma * torch.randn(shape, generator=generator)
    model = NoiseModel(offset=sigma**2)
    first, second = recorrupt(image, model, alpha, generator)
    one, two = (first - signal).flatten(), (second - signal).flatten()
    assert abs(float(torch.corrcoef(torch.stack([one, two]))[0, 1])) < 0.02
    assert float(one.var()) == pytest.approx(sigma**2 * (1 + alpha**2), rel=0.05)
    assert float(two.var()) == pytest.approx(sigma**2 * (1 + alpha**-2), rel=0.05)
    assert abs(float(one.mean())) < 5e-4 * 2
    assert abs(float(two.mean())) < 5e-4 * 2


def test_nothing_is_recorrupted_without_noise_or_strength() -> None:
    image = torch.rand(1, 8, 8)
    generator = torch.Generator()
    for model, alpha in ((CLEAN, 0.7), (NoiseModel(offset=0.1), 0.0)):
        first, second = recorrupt(image, model, alpha, generator)
        assert first is image
        assert second is image


def test_same_generator_same_noise() -> None:
    image = torch.full((2, 16, 16), 0.5)
    model = NoiseModel(gain=0.01)
    made = [
        model.draw(image, torch.Generator().manual_seed(seed)) for seed in (5, 5, 6)
    ]
    assert torch.equal(made[0], made[1])
    assert not torch.equal(made[0], made[2])


@pytest.mark.parametrize("size", [(64, 64), (61, 7), (9, 200)])
def test_correlated_noise_is_as_strong_at_the_border(size: tuple[int, int]) -> None:
    model = NoiseModel(offset=1.0, bands=(1.6, 1.2, 0.7, 0.4))
    drawn = model.draw(torch.zeros(400, *size), torch.Generator().manual_seed(0))
    assert float(drawn[:, 0].var()) == pytest.approx(1.0, rel=0.1)
    assert float(drawn.var()) == pytest.approx(1.0, rel=0.05)


def test_bands_of_a_flat_spectrum_are_white() -> None:
    assert band_strengths(np.full((8, 8), 3.0)) == pytest.approx(WHITE)
    falling = band_strengths(np.exp(-np.add.outer(np.arange(8), np.arange(8)) / 4))
    assert list(falling) == sorted(falling, reverse=True)
