"""Detail of a result that other data confirm."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from napari_zssr.imaging.confirmation import Confirmation, confirmed_detail
from napari_zssr.imaging.noise import NoiseModel
from napari_zssr.imaging.resample import imresize
from napari_zssr.imaging.resolution import thinned_halves
from napari_zssr.kernelspec import KernelSpec

Array = NDArray[np.float64]
SIGMA = 0.1
NOISE = NoiseModel(offset=SIGMA**2)


def texture(seed: int, size: tuple[int, int] = (200, 221), width: float = 1.2) -> Array:
    """Fine detail of deviation 1 and mean 0."""
    drawn = np.random.default_rng(seed).normal(size=size)
    soft = gaussian_filter(drawn, width)
    return np.asarray(soft / soft.std())


def halves_of(truth: Array) -> tuple[Array, Array]:
    noise = np.random.default_rng(100).normal(0, SIGMA, truth.shape)
    return thinned_halves(truth + noise, NOISE, 0)


def shares(results: tuple[Array, Array], truth: Array, factor: float = 1.0):
    return confirmed_detail(
        results, halves_of(truth), NOISE, KernelSpec(), (factor, factor)
    )


def is_near(found: Confirmation | None, share: float) -> bool:
    return found is not None and abs(found.share - share) < 4 * found.error < 0.4


def test_true_detail_is_confirmed_and_invented_detail_is_not() -> None:
    truth = 0.5 + 0.1 * texture(1)
    assert is_near(shares((truth, truth), truth).all, 1)
    invented = (0.5 + 0.1 * texture(2), 0.5 + 0.1 * texture(3))
    assert is_near(shares(invented, truth).all, 0)
    # Half and half: each adds to the detail, one of them to what is confirmed.
    mixed = (truth + 0.1 * texture(2), truth + 0.1 * texture(3))
    assert is_near(shares(mixed, truth).all, 0.5)


def test_noise_that_is_kept_confirms_nothing() -> None:
    """The noise of the halves is independent, though both came from one image."""
    flat = np.full((200, 200), 0.5)
    halves = halves_of(flat)
    found = confirmed_detail(halves, halves, NOISE, KernelSpec(), (1.0, 1.0))
    assert is_near(found.all, 0)


def test_a_result_that_is_too_smooth_shows_only_what_is_true() -> None:
    truth = 0.5 + 0.1 * texture(1)
    soft = 0.5 + 0.05 * texture(1)
    found = shares((soft, soft), truth).all
    assert is_near(found, 2)
    assert found is not None
    assert found.text.startswith("100 ± ")


@pytest.mark.parametrize("factor", [1.5, 2.0, 3.0])
def test_enlarged_results_are_reduced_first(factor: float) -> None:
    """Also where the sizes are no whole multiples."""
    truth = 0.5 + 0.1 * texture(1, width=2.0)
    fine = imresize(truth, (factor, factor))
    assert is_near(shares((fine, fine), truth, factor).all, 1)


def test_faint_inventions_beside_strong_structures_are_found() -> None:
    """All of the detail would not show them."""
    truth = np.full((200, 221), 0.3)
    truth[:, :80] += 0.2 * texture(1)[:, :80]
    results = tuple(truth + 0.03 * texture(seed) * (truth == 0.3) for seed in (2, 3))
    found = shares((results[0], results[1]), truth)
    assert found.all is not None
    assert found.all.share > 0.9
    assert is_near(found.faint, 0)


def test_small_planes_tell_too_little() -> None:
    truth = 0.5 + 0.1 * texture(1, (40, 40))
    found = shares((truth, truth), truth)
    assert found.all is None
    assert found.faint is None
