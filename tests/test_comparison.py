"""A result beside a truth: what was planted is found, what agrees scores as equal."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import ndimage

from benchmarks import metrics
from napari_zssr.errors import InputError
from napari_zssr.imaging.comparison import compare, register, ssim
from napari_zssr.imaging.degrade import degrade_array
from napari_zssr.kernelspec import KernelSpec

GAUSSIAN = KernelSpec(kind="gaussian", sigma_px=(1.2, 1.2))


def scene(shift: tuple[float, float] = (0, 0), size: int = 120) -> np.ndarray:
    """Blobs at places known to a fraction of a pixel, on a slope, (Y, X)."""
    draw = np.random.default_rng(3)
    y, x = np.mgrid[:size, :size].astype(float)
    image = 20 + 0.1 * y
    for _ in range(60):
        (row, column), width = draw.uniform(-5, size + 5, 2), draw.uniform(1.2, 4)
        away = (y - row - shift[0]) ** 2 + (x - column - shift[1]) ** 2
        image += draw.uniform(20, 100) * np.exp(-away / (2 * width**2))
    return image


@pytest.mark.parametrize("shift", [(0.3, -0.3), (2.7, 0.3), (-2.7, 2.7), (0, 14.4)])
@pytest.mark.parametrize("noise", [0, 2])
def test_a_planted_shift_is_found(shift: tuple[float, float], noise: float) -> None:
    draw = np.random.default_rng(0)
    truth = scene() + noise * draw.normal(size=(120, 120))
    found = register(scene(shift) + noise * draw.normal(size=truth.shape), truth)
    assert found == pytest.approx(shift, abs=0.05)


def test_a_shift_is_undone_before_the_error_is_measured() -> None:
    scores = compare(scene((2.7, -0.3)), scene()).scores
    assert scores.rse < 0.005 * scores.peak
    assert scores.rsp > 0.9999


def test_gain_and_offset_are_undone() -> None:
    truth = scene()
    scores = compare((truth - 7) / 3, truth).scores
    assert (scores.gain, scores.offset) == pytest.approx((3, 7))
    assert scores.rse < 1e-9 * scores.peak
    noisy = truth + np.random.default_rng(1).normal(size=truth.shape)
    one, other = (compare(plane, truth).scores for plane in (noisy, 4 * noisy + 5))
    assert one.psnr < 60
    assert other.psnr == pytest.approx(one.psnr)


def test_a_perfect_result_scores_as_equal() -> None:
    truth = scene()
    scores = compare(truth, truth).scores
    assert scores.shift == (0, 0)
    assert (scores.rsp, scores.ssim) == pytest.approx((1, 1))
    assert scores.psnr > 200


def test_figures_of_a_known_error() -> None:
    truth = scene()
    noise = np.random.default_rng(2).normal(size=truth.shape)
    noise -= noise.mean()
    scores = compare(truth + noise, truth).scores
    low, high = np.quantile(truth, (0.001, 0.999))
    assert scores.rse == pytest.approx(1, rel=0.03)
    assert scores.peak == pytest.approx(high - low)
    assert scores.psnr == pytest.approx(20 * math.log10(scores.peak / scores.rse))
    assert scores.rsp == pytest.approx(
        np.corrcoef((truth + noise).flat, truth.flat)[0, 1]
    )


def test_the_error_lies_where_it_was_planted() -> None:
    truth = scene()
    result = truth.copy()
    result[30:38, 80:88] += 60
    found = compare(result, truth)
    assert found.error.shape == truth.shape
    row, column = np.unravel_index(np.nanargmax(found.error), truth.shape)
    assert 30 <= row < 38
    assert 80 <= column < 88
    outside = np.ones(truth.shape, bool)
    outside[28:40, 78:90] = False
    assert np.nanmean(found.error[outside]) < np.nanmean(found.error[32:36, 82:86]) / 20


def test_the_error_is_unknown_where_the_result_does_not_reach() -> None:
    found = compare(scene((2.7, 0)), scene())
    assert np.isnan(found.error[:3]).all()
    assert np.isfinite(found.error[found.inside]).all()
    assert found.fitted.shape == found.error[found.inside].shape


def test_ssim_agrees_with_scikit_image_and_the_benchmarks() -> None:
    measure = pytest.importorskip("skimage.metrics")
    truth = scene() + 1000
    noisy = truth + np.random.default_rng(1).normal(0, 8, truth.shape)
    expected = measure.structural_similarity(
        noisy,
        truth,
        data_range=150,
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
    )
    assert ssim(noisy, truth, 150) == pytest.approx(expected, abs=1e-9)
    assert metrics.ssim(noisy, truth, peak=150) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("factors", [(2.0, 2.0), (1.5, 3.0)])
def test_a_reference_at_the_size_before_is_met_by_degrading(
    factors: tuple[float, float],
) -> None:
    fine = scene()
    rows, columns = (int(120 // f) for f in factors)
    reference = 2 * degrade_array(fine, GAUSSIAN, factors)[:rows, :columns] + 5
    scores = compare(fine, reference, kernel=GAUSSIAN, factors=factors).scores
    assert scores.rsp == pytest.approx(1)
    wrong = ndimage.gaussian_filter(fine, 3)
    blurred = compare(wrong, reference, kernel=GAUSSIAN, factors=factors).scores
    assert blurred.rse > 0.01 * blurred.peak


def test_sizes_that_do_not_fit_are_told() -> None:
    truth = scene()
    with pytest.raises(
        InputError, match=r"120 × 120 pixels and the ground truth 60 × 60"
    ):
        compare(truth, truth[:60, :60])
    with pytest.raises(InputError, match=r"120 × 120 .* 50 × 60, or 100 × 120"):
        compare(truth, truth[:50, :60], kernel=GAUSSIAN, factors=(2.0, 2.0))
    with pytest.raises(InputError, match="at least 32 × 32"):
        compare(truth[:20], truth[:20])


def test_what_cannot_be_compared_is_refused() -> None:
    truth = scene()
    with pytest.raises(InputError, match="same value everywhere"):
        compare(truth, np.full_like(truth, 3))
    broken = truth.copy()
    broken[3, 4] = np.nan
    with pytest.raises(InputError, match="result contains NaN"):
        compare(broken, truth)


def test_a_constant_result_explains_nothing() -> None:
    truth = scene()
    scores = compare(np.full_like(truth, 3), truth).scores
    assert scores.gain == 0
    assert math.isnan(scores.rsp)
    assert scores.rse == pytest.approx(truth.std())
