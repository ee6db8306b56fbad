from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import ndimage

from napari_zssr.imaging.noise import (
    CLEAN,
    WHITE,
    NoiseModel,
    estimate_noise,
    has_room_for_noise,
    recorrupt,
)

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


def test_white_noise_is_white() -> None:
    found = estimate_noise(noisy(smooth_signal(), 0, 2.5e-3))
    assert found.bands == pytest.approx((1, 1, 1, 1), abs=0.15)


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


STABLE = {
    "shot": NoiseModel(gain=0.01),
    "read": NoiseModel(offset=0.0025),
    "both": NoiseModel(gain=4e-3, offset=6e-4),
    "offset": NoiseModel(gain=0.01, offset=-1e-3),
}


@pytest.mark.parametrize("level", [0.15, 0.4, 0.9])
@pytest.mark.parametrize("name", STABLE)
def test_stabilised_noise_has_variance_one(name: str, level: float) -> None:
    model = STABLE[name]
    generator = torch.Generator().manual_seed(0)
    image = torch.full((200, 200), level, dtype=torch.float64)
    # A negative offset of the variance is light that no photon brought.
    ground = max(0.0, -model.offset / model.gain) if model.gain > 0 else 0.0
    if model.gain > 0:
        counts = torch.poisson((image - ground) / model.gain, generator=generator)
        image = ground + model.gain * counts
    drawn = torch.randn(image.shape, generator=generator, dtype=torch.float64)
    image = image + max(0.0, model.offset) ** 0.5 * drawn
    assert float(model.stabilised(image).var()) == pytest.approx(1.0, abs=0.06)


@pytest.mark.parametrize(
    "model",
    [*STABLE.values(), NoiseModel(gain=0.1, offset=-0.05), NoiseModel(offset=-0.01)],
)
def test_stabilised_images_are_finite_and_keep_their_order(model: NoiseModel) -> None:
    levels = torch.linspace(-0.5, 1.5, 201)
    steps = model.stabilised(levels).diff()
    assert torch.isfinite(steps).all()
    assert (steps >= 0).all()
    assert (steps[100:] > 0).all()


def test_stabilised_without_shot_noise_is_the_image_in_sigmas() -> None:
    image = torch.tensor([-0.2, 0.0, 0.3])
    for gain in (0.0, 1e-9):
        made = NoiseModel(gain=gain, offset=0.01).stabilised(image)
        torch.testing.assert_close(made, image / 0.1)


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
