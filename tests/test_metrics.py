from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import ndimage

from benchmarks import metrics
from napari_zssr.errors import InputError


@pytest.fixture
def plane() -> np.ndarray:
    draw = np.random.default_rng(0)
    smooth = ndimage.gaussian_filter(draw.normal(size=(64, 72)), 1.5)
    return np.round(255 * (smooth - smooth.min()) / np.ptp(smooth))


@pytest.mark.parametrize(
    ("rgb", "expected"),
    [
        ((0, 0, 0), 16),
        ((255, 255, 255), 235),
        ((255, 0, 0), 81),
        ((0, 255, 0), 145),
        ((0, 0, 255), 41),
    ],
)
def test_luma_is_that_of_bt601(rgb: tuple[int, ...], expected: int) -> None:
    image = np.full((2, 3, 3), rgb, dtype=np.uint8)
    assert (metrics.luma(image) == expected).all()


def test_luma_leaves_grey_alone_and_drops_alpha() -> None:
    grey = np.arange(6, dtype=np.uint8).reshape(2, 3)
    assert (metrics.luma(grey) == grey).all()
    rgba = np.dstack([grey, grey, grey, np.full_like(grey, 7)])
    assert (metrics.luma(rgba) == metrics.luma(rgba[..., :3])).all()
    with pytest.raises(InputError, match=r"\(Y, X, 3\)"):
        metrics.luma(np.zeros((4, 4, 2)))


def test_psnr_of_a_known_offset(plane: np.ndarray) -> None:
    assert metrics.psnr(plane + 5, plane) == pytest.approx(20 * math.log10(255 / 5))
    assert metrics.psnr(plane, plane) == math.inf
    assert metrics.psnr(plane + 5, plane, peak=5) == pytest.approx(0)


def test_shave_leaves_the_border_out(plane: np.ndarray) -> None:
    other = plane.copy()
    other[:2] += 50
    other[:, -3:] += 50
    assert metrics.psnr(other, plane, shave=(2, 3)) == math.inf
    assert metrics.psnr(other, plane, shave=2) < math.inf
    assert metrics.ssim(other, plane, shave=(2, 3)) == pytest.approx(1)


def test_ssim_is_one_for_equal_planes_and_falls_with_noise(plane: np.ndarray) -> None:
    noise = np.random.default_rng(1).normal(size=plane.shape)
    scores = [metrics.ssim(plane + s * noise, plane) for s in (0, 5, 20)]
    assert scores[0] == pytest.approx(1)
    assert scores[0] > scores[1] > scores[2]


def test_ssim_agrees_with_scikit_image(plane: np.ndarray) -> None:
    measure = pytest.importorskip("skimage.metrics")
    noisy = plane + np.random.default_rng(1).normal(0, 8, plane.shape)
    expected = measure.structural_similarity(
        noisy,
        plane,
        data_range=255,
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
    )
    assert metrics.ssim(noisy, plane) == pytest.approx(expected, abs=1e-9)


def test_benchmark_scores_shave_the_factor() -> None:
    hr = np.random.default_rng(0).integers(0, 256, (40, 44, 3)).astype(np.uint8)
    sr = hr.copy()
    sr[:3] = 0
    assert metrics.benchmark_scores(sr, hr, (3, 2))[0] == math.inf
    assert metrics.benchmark_scores(sr, hr, (2, 2))[0] < math.inf
    with pytest.raises(InputError, match="shapes"):
        metrics.benchmark_scores(sr[1:], hr, (2, 2))


def test_affine_fit_finds_gain_and_offset(plane: np.ndarray) -> None:
    assert metrics.affine_fit(plane, 3 * plane - 7) == pytest.approx((3, -7))
    assert metrics.affine_fit(np.ones((4, 4)), plane[:4, :4])[0] == 0
    assert metrics.affine_psnr(0.1 * plane + 40, plane) > 200


@pytest.mark.parametrize("window", ["hann", "none"])
def test_ring_correlation_with_itself_is_one(
    plane: np.ndarray, window: metrics.Window
) -> None:
    edges = [0.02, 0.1, 0.2, 0.3]
    same = metrics.ring_correlation(plane, 5 - 2 * plane, edges, window=window)
    assert same == pytest.approx([-1, -1, -1])


def test_ring_correlation_of_unrelated_noise_is_small() -> None:
    draw = np.random.default_rng(0)
    a, b = draw.normal(size=(2, 128, 128))
    rings = metrics.ring_correlation(a, b, np.linspace(0.05, 0.5, 6))
    assert np.abs(rings).max() < 0.15


def test_no_blur_raises_the_correlation_of_thin_rings(plane: np.ndarray) -> None:
    noisy = plane + np.random.default_rng(2).normal(0, 20, plane.shape)
    size = plane.shape
    frequency = np.hypot(np.fft.fftfreq(size[0])[:, None], np.fft.fftfreq(size[1]))
    transfer = np.exp(-2 * (np.pi * 1.0 * frequency) ** 2)
    blurred = np.fft.ifft2(np.fft.fft2(noisy) * transfer).real
    edges = np.linspace(0.02, 0.3, 120)
    before = metrics.ring_correlation(noisy, plane, edges, window="none")
    after = metrics.ring_correlation(blurred, plane, edges, window="none")
    filled = np.isfinite(before)
    assert after[filled] == pytest.approx(before[filled], abs=0.02)
    thin = [
        metrics.band_correlation(image, plane, (0.1, 0.15), rings=4)
        for image in (noisy, blurred)
    ]
    assert thin[1] == pytest.approx(thin[0], abs=0.02)


def test_an_empty_ring_is_not_a_number(plane: np.ndarray) -> None:
    assert np.isnan(metrics.ring_correlation(plane, plane, [0.8, 0.9])).all()


def test_shifted_moves_by_that_much() -> None:
    y, x = np.mgrid[:40, :40]
    blob = np.exp(-((y - 18) ** 2 + (x - 21) ** 2) / 18)
    moved = metrics.shifted(blob, (1.5, -2.25))
    place = ndimage.center_of_mass(moved)
    assert place == pytest.approx((19.5, 18.75), abs=1e-3)


def test_polyphase_spread_sees_a_checkerboard() -> None:
    flat = np.full((9, 13), 100.0)
    assert metrics.polyphase_spread(flat, (2, 3)) == 0
    flat[::2] += 1
    assert metrics.polyphase_spread(flat, (2, 1)) == pytest.approx(1 / 100.5)
