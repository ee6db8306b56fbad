from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage, signal

from napari_zssr import upscale
from napari_zssr.config import INSTANT
from napari_zssr.errors import InputError
from napari_zssr.imaging.beads import MeasuredPsf, measured_psf
from napari_zssr.imaging.degrade import degrade_array
from napari_zssr.imaging.kernel import center_of_mass
from napari_zssr.imaging.optics import FWHM
from napari_zssr.imaging.psf import psf_kernel
from napari_zssr.kernelspec import KernelSpec

SPACING = (0.3, 0.1, 0.1)
SIGMAS_PX = (2.2, 1.5, 1.8)
LONELY = [(12.3, 20.6, 25.2), (14.1, 60.3, 30.7), (11.6, 40.4, 75.1), (13, 75.5, 70.2)]
Place = tuple[float, ...]


def beads(
    places: list[Place],
    heights: list[float],
    sigmas: Place = SIGMAS_PX,
    shape: tuple[int, ...] = (26, 96, 100),
    noise: float = 3.0,
) -> NDArray[np.float64]:
    """Gaussian beads on a background of 100."""
    grid = np.mgrid[tuple(map(slice, shape))]
    image = np.random.default_rng(1).normal(100, noise, shape)
    for place, height in zip(places, heights, strict=True):
        parts = zip(grid, place, sigmas, strict=True)
        image += height * np.exp(-sum(((g - c) / s) ** 2 for g, c, s in parts) / 2)
    return image


def check_width(psf: MeasuredPsf, rtol: float = 0.03) -> None:
    wanted = FWHM * np.array(SIGMAS_PX) * SPACING
    assert psf.fwhm_um[0] is not None
    np.testing.assert_allclose(psf.fwhm_um, wanted, rtol=rtol)


def check_normal(psf: MeasuredPsf) -> None:
    assert all(n % 2 for n in psf.array.shape)
    assert (psf.array >= 0).all()
    assert np.isfinite(psf.array).all()
    assert psf.array.sum() == pytest.approx(1)
    assert psf.in_focus.shape == psf.array.shape[-2:]
    assert psf.in_focus.sum() == pytest.approx(1)
    middle = [(n - 1) / 2 for n in psf.in_focus.shape]
    np.testing.assert_allclose(center_of_mass(psf.in_focus), middle, atol=0.1)


def test_beads_that_stand_alone() -> None:
    psf = measured_psf(beads(LONELY, [900, 700, 500, 800]), SPACING)
    assert psf.beads == 4
    assert psf.spacing_um == SPACING
    check_width(psf)
    check_normal(psf)
    assert psf.sentence.startswith("PSF measured on 4 beads, FWHM 1.5")
    assert "left out" not in psf.sentence
    place = [np.arange(n) - n // 2 for n in psf.array.shape]
    z, y, x = np.meshgrid(*place, indexing="ij")
    parts = zip((z, y, x), SIGMAS_PX, strict=True)
    wanted = np.exp(-sum((g / s) ** 2 for g, s in parts) / 2)
    np.testing.assert_allclose(
        psf.array / psf.array.max(), wanted / wanted.max(), atol=0.05
    )


def test_a_single_bead_cut_out() -> None:
    psf = measured_psf(beads(LONELY, [900, 1, 1, 1])[5:21, 13:29, 17:35], SPACING)
    assert psf.beads == 1
    check_width(psf)
    check_normal(psf)


def test_one_plane() -> None:
    psf = measured_psf(beads([(20.3, 30.6)], [500], (1.5, 1.8), (50, 60)), (0.1, 0.1))
    assert psf.fwhm_um[0] is None
    np.testing.assert_allclose(psf.fwhm_um[1:], (FWHM * 0.15, FWHM * 0.18), rtol=0.03)
    check_normal(psf)
    flat = beads([(20.3, 30.6)], [500], (1.5, 1.8), (50, 60))[None]
    assert measured_psf(flat, SPACING).fwhm_um == psf.fwhm_um


def test_beads_that_are_left_out() -> None:
    places = [*LONELY, (12, 1.5, 60), (12, 84, 20), (12, 84, 25.5), (12, 20, 60)]
    image = beads(places, [900, 700, 500, 800, 900, 900, 800, 600])
    image += beads([(12, 20, 63)], [600], noise=0) - 100
    psf = measured_psf(image, SPACING)
    assert psf.beads == 4
    check_width(psf)
    assert "1 at the border" in psf.sentence
    assert "2 too close to another" in psf.sentence
    assert "1 unusually wide or narrow" in psf.sentence


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_saturated_beads_are_left_out(dtype: Any) -> None:
    image = beads(LONELY, [2000, 110, 130, 120], noise=1)
    psf = measured_psf(np.minimum(image, 255).astype(dtype), SPACING)
    assert psf.beads == 3
    assert "1 saturated" in psf.sentence
    check_width(psf, 0.06)


def test_only_saturated_beads() -> None:
    image = beads(LONELY, [700, 700, 700, 700], noise=1)
    psf = measured_psf(np.minimum(image, 500).astype(np.uint16), SPACING)
    assert psf.beads == 4
    assert "all beads are saturated" in psf.sentence


@pytest.mark.parametrize("noise", [10, 30, 60])
def test_noise_changes_the_width_little(noise: float) -> None:
    psf = measured_psf(beads(LONELY, [900, 700, 500, 800], noise=noise), SPACING)
    check_width(psf, 0.03 + noise / 600)
    check_normal(psf)


def test_wide_beads_under_noise_are_not_several() -> None:
    places = [(45.2, 50.6), (130.5, 60.1), (80.4, 150.3)]
    image = beads(places, [90, 70, 80], (7.0, 6.0), (180, 200), noise=12)
    psf = measured_psf(image, (0.02, 0.02))
    assert psf.beads == 3
    wanted = FWHM * np.array((0.14, 0.12))
    np.testing.assert_allclose(psf.fwhm_um[1:], wanted, rtol=0.05)


def test_a_slanted_background_and_a_hot_pixel() -> None:
    image = beads(LONELY, [900, 700, 500, 800])
    image += np.linspace(0, 150, image.shape[2])
    image[12, 45, 20] += 3000
    psf = measured_psf(image, SPACING)
    assert psf.beads == 4
    check_width(psf, 0.06)
    check_normal(psf)


NO_BEADS: list[tuple[NDArray[Any], str]] = [
    (np.zeros((20, 50, 50)), "No beads were found"),
    (np.full((50, 50), 7, np.uint8), "No beads were found"),
    (np.random.default_rng(0).normal(100, 5, (20, 64, 64)), "No bead"),
    (np.random.default_rng(0).normal(100, 5, (64, 64)), "No bead"),
    (beads([(12, 0.5, 40)], [900]), r"can be used \(1 at the border\)"),
    (np.full((20, 50, 50), np.nan), "NaN or infinite"),
    (np.zeros((2, 20, 50, 50)), r"has shape \(2, 20, 50, 50\)"),
    (np.zeros((3, 3)), "has shape"),
]


@pytest.mark.parametrize(("image", "said"), NO_BEADS, ids=lambda v: str(v)[-20:])
def test_images_without_beads(image: NDArray[Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        measured_psf(image, SPACING[-min(image.ndim, 3) :])


@pytest.mark.parametrize("spacing", [None, (0.1, 0.1), (None, 0.1, 0.1)])
def test_the_voxel_size_is_asked_for(spacing: Any) -> None:
    with pytest.raises(InputError, match="give --kernel-spacing"):
        measured_psf(beads(LONELY, [900] * 4), spacing)


# ---- what it is for


def grid(size: int, period: float) -> NDArray[np.float64]:
    """Pairs of upright lines at growing distances, crossed by slanted ones."""
    y, x = (np.mgrid[: 4 * size, : 4 * size] + 0.5) / 4
    image = np.zeros_like(x)
    for along in (x, 0.94 * x + 0.34 * y):
        place = period
        for gap in np.tile(np.linspace(0.8, 3, 12), 9) * period:
            image += 0.5 * (np.abs(along - place) < 0.15 * period)
            place += gap
    return image.reshape(size, 4, size, 4).mean(axis=(1, 3))


def resampled(psf: NDArray[Any], spacing: float, pixel: float) -> NDArray[np.float64]:
    """The PSF at other pixels, sum 1."""
    reach = [int(n * spacing / pixel / 2) for n in psf.shape]
    places = [
        np.arange(-r, r + 1) * pixel / spacing + n // 2
        for r, n in zip(reach, psf.shape, strict=True)
    ]
    values = ndimage.map_coordinates(psf, np.meshgrid(*places, indexing="ij"), order=3)
    return np.asarray(values / values.sum())


def psnr(image: NDArray[Any], truth: NDArray[Any]) -> float:
    error = (image - truth)[12:-12, 12:-12]
    return float(-10 * np.log10(np.mean(error**2) / truth.max() ** 2))


@pytest.mark.parametrize("pixel", [0.08, 0.12])
def test_measured_kernel_beats_bicubic_on_a_grid(pixel: float) -> None:
    """A grid of lines as the microscope sees it, enlarged, against the same grid as a
    microscope sees it whose PSF is half as wide: what an enlargement by 2 is to show.

    The PSF is measured on beads that carry noise; the image is made with the true one.
    """
    sigmas = (0.13, 0.1)
    fine = pixel / 2
    px = 0.05
    sigma_px = (sigmas[0] / px, sigmas[1] / px)
    places = [(30.2, 30.7), (70.6, 32.4), (50.3, 70.1)]
    image = beads(places, [900, 700, 500], sigma_px, (100, 100))
    measured = measured_psf(image, (px, px))
    lines = grid(160, 0.22 / fine)
    wide, narrow = (
        ndimage.gaussian_filter(lines, np.array(sigmas) / fine / n, mode="reflect")
        for n in (1, 2)
    )
    dots = KernelSpec(kind="gaussian", sigma_px=(1e-6, 1e-6))
    seen = degrade_array(wide, dots, (2, 2))
    kernel = psf_kernel(measured.in_focus, (px, px), (fine, fine), (2, 2))
    gained = [
        psnr(upscale(seen, INSTANT, axes="YX", kernel=k, device="cpu"), narrow)
        for k in (KernelSpec(), KernelSpec(kind="array", array=kernel))
    ]
    assert gained[1] > gained[0] + 2


def test_kernel_of_a_measured_psf_takes_the_finer_view_to_the_coarser() -> None:
    psf = measured_psf(beads(LONELY, [900, 700, 500, 800]), SPACING).in_focus
    fine = 0.05
    kernel = psf_kernel(psf, SPACING[1:], (fine, fine), (2, 2))
    lines = grid(128, 6)
    wide, narrow = (
        signal.fftconvolve(lines, resampled(psf, 0.1 / n, fine), "same") for n in (1, 2)
    )
    assert psnr(signal.fftconvolve(narrow, kernel, "same"), wide) > 35
