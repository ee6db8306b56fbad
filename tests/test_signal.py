from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from napari_zssr.imaging.noise import shows_signal

SIZE = (96, 112)


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def rings(height: float) -> NDArray[np.float64]:
    y, x = np.arange(SIZE[0])[:, None] - 40.3, np.arange(SIZE[1])[None, :] - 51.1
    return height * (0.5 + 0.5 * np.tanh(4 * np.sin(np.sqrt(y * y + x * x) / 2)))


NOISES = {
    "Gaussian": lambda: rng().normal(0.1, 0.02, SIZE),
    "shot": lambda: 0.02 * rng().poisson(1.0, SIZE),
    "single photons": lambda: 0.05 * rng().poisson(0.05, SIZE),
    "rounded": lambda: 0.01 * np.round(rng().normal(10, 0.4, SIZE)),
    "nothing": lambda: np.full(SIZE, 0.1),
}


@pytest.mark.parametrize("name", NOISES)
def test_noise_alone_is_no_signal(name: str) -> None:
    assert not shows_signal(NOISES[name]()[None].astype(np.float32))


@pytest.mark.parametrize("name", ["Gaussian", "shot", "single photons", "rounded"])
def test_a_dim_structure_is_seen_in_noise(name: str) -> None:
    noise = NOISES[name]()
    # From trough to crest half of what the noise scatters.
    dim = noise + rings(0.5 * float(noise.std()))
    assert shows_signal(dim[None].astype(np.float32))


def test_a_single_spot_is_seen() -> None:
    plane = NOISES["Gaussian"]()
    plane[50:53, 60:63] += 0.1
    assert shows_signal(plane[None])


def test_a_gradient_is_seen() -> None:
    """Uneven light may be the blur of something else."""
    plane = NOISES["Gaussian"]() + np.linspace(0, 0.03, SIZE[1])
    assert shows_signal(plane[None])


def test_noise_that_fills_the_range_is_kept() -> None:
    """Of a stack that is noise throughout no plane is emptier than the others."""
    assert shows_signal(rng().random((1, *SIZE)))


def test_one_of_several_samples_is_enough() -> None:
    noise = NOISES["Gaussian"]()
    assert shows_signal(np.stack([noise, rings(0.2), noise]))
    assert not shows_signal(np.stack([noise, noise, noise]))


def test_of_a_small_plane_nothing_is_told() -> None:
    assert shows_signal(rng().normal(0.1, 0.02, (1, 20, 24)))
