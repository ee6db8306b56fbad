"""Factor 1: the same pixels, without their noise and blur."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray
from scipy import ndimage

from napari_zssr import Upscaled, upscale, upscale_steps, upscale_to_disk
from napari_zssr.errors import InputError
from napari_zssr.imaging.blur_estimate import estimated_blur
from napari_zssr.imaging.psf import gaussian_kernel_sigma, psf_kernel
from napari_zssr.progress import drain

Image = NDArray[np.float32]
FEW: dict[str, dict[str, Any]] = {
    "instant": {},
    "fast": {},
    "balanced": {"learned_steps": 25},
    "paper": {"steps": 60},
}


def scene(side: int = 96) -> Image:
    """Discs of several sizes and heights on a dark ground."""
    rng = np.random.default_rng(4)
    y, x = np.mgrid[:side, :side]
    plane = np.full((side, side), 0.1)
    for _ in range(14):
        row, column = rng.uniform(8, side - 8, 2)
        radius = rng.uniform(4, 12)
        plane[(y - row) ** 2 + (x - column) ** 2 < radius**2] = rng.uniform(0.3, 1)
    return ndimage.gaussian_filter(plane, 0.6).astype(np.float32)


def noisy(plane: Image, sigma: float, seed: int = 0) -> Image:
    noise = np.random.default_rng(seed).normal(0, sigma, plane.shape)
    return (plane + noise).astype(np.float32)


def error(image: NDArray[Any], truth: Image) -> float:
    return float(np.sqrt(np.mean((image - truth)[..., 8:-8, 8:-8] ** 2)))


def restored(image: NDArray[Any], preset: str, **settings: Any) -> Upscaled:
    return drain(upscale_steps(image, preset, factor=1, **settings))


@pytest.mark.parametrize("preset", FEW)
def test_every_preset_takes_noise_away(preset: str) -> None:
    truth = scene()
    image = noisy(truth, 0.08)
    result = restored(image, preset, **FEW[preset])
    assert result.image.shape == image.shape
    assert error(result.image, truth) < 0.75 * error(image, truth)
    # Never brighter.
    assert result.image.mean() == pytest.approx(image.mean(), abs=1e-4)


def test_weak_noise_is_taken_away_too() -> None:
    truth = scene()
    for sigma in (0.006, 0.012):
        image = noisy(truth, sigma)
        result = restored(image, "balanced")
        assert error(result.image, truth) < 0.8 * error(image, truth)


@pytest.mark.parametrize("preset", FEW)
def test_every_preset_takes_a_blur_back(preset: str) -> None:
    truth = scene()
    image = ndimage.gaussian_filter(truth, 1.0, mode="mirror", truncate=5)
    result = restored(image, preset, kernel="gaussian:1", **FEW[preset])
    assert error(result.image, truth) < 0.8 * error(image, truth)


def test_a_blur_that_is_too_wide_is_told() -> None:
    truth = scene()
    image = noisy(ndimage.gaussian_filter(truth, 4, mode="mirror"), 0.01)
    result = restored(image, "fast", kernel="gaussian:4")
    assert result.image == pytest.approx(image, abs=1e-6)
    assert "shrink the image two to four times" in result.report.sentence


def test_nothing_moves() -> None:
    y, x = np.mgrid[:64, :64]
    spot = np.exp(-((y - 30.3) ** 2 + (x - 33.6) ** 2) / (2 * 2.0**2))
    images = [noisy(spot.astype(np.float32), 0.02, seed) for seed in range(6)]
    result = np.mean([restored(image, "fast").image for image in images], axis=0)
    around = slice(24, 37), slice(27, 41)
    centres = [ndimage.center_of_mass(part[around]) for part in (result, spot)]
    assert centres[0] == pytest.approx(centres[1], abs=0.06)


def test_a_clean_plane_without_a_blur_comes_back_as_it_is() -> None:
    image = (scene() * 50_000).astype(np.uint16)
    result = restored(image, "balanced")
    assert np.array_equal(result.image, image)
    assert "returned unchanged" in result.report.sentence


def test_what_is_said_does_not_speak_of_enlargement() -> None:
    image = np.stack([noisy(scene(), 0.08, seed) for seed in (1, 2)])
    for part in (image, image[0]):
        sentence = restored(part, "fast", axes="TYX"[-part.ndim :]).report.sentence
        assert "degraded and restored" in sentence
        assert "than the degraded image" in sentence
        assert "bicubic" not in sentence
        assert "shrunk" not in sentence


def test_noise_alone_is_taken_by_the_start_as_it_is() -> None:
    image = noisy(scene(), 0.08)
    for part, axes in ((image, "YX"), (np.stack([image] * 3), "ZYX")):
        report = restored(part, "balanced", axes=axes).report
        assert report.planes[0].steps == 0
        for sentence in (report.sentence, report.planes[0].sentence):
            assert "used without further training" in sentence
            assert "Train" not in sentence


def test_nothing_to_restore_is_refused() -> None:
    with pytest.raises(InputError, match="nothing to do"):
        upscale(scene(), factor=1, noise="off")


def test_stacks_colours_and_files(tmp_path: Path) -> None:
    counts = (noisy(scene(), 0.05) * 2000).clip(0).astype(np.uint16)
    colours = np.stack([counts // 8] * 3, axis=-1).astype(np.uint8)
    assert upscale(colours, "fast", axes="YXS", factor=1).shape == colours.shape
    stack = np.stack([counts] * 3)
    # As ImageJ writes it: planes, channels.
    tifffile.imwrite(tmp_path / "stack.tif", stack[:, None], imagej=True)
    in_memory = upscale(tmp_path / "stack.tif", "fast", factor=1)
    target = tmp_path / "restored.ome.tif"
    upscale_to_disk(tmp_path / "stack.tif", target, "fast", factor=1)
    assert np.array_equal(tifffile.imread(target), in_memory)


def test_the_whole_psf_is_the_kernel() -> None:
    assert gaussian_kernel_sigma(0.2, (0.1, 0.1), (1, 1)) == pytest.approx((2, 2))
    # An axis that stays as it is beside one that is enlarged keeps its blur.
    assert gaussian_kernel_sigma(0.2, (0.1, 0.05), (1, 2))[0] < 1e-5
    y, x = np.mgrid[-20:21, -20:21] * 0.05
    psf = np.exp(-(y**2 + x**2) / (2 * 0.2**2))
    kernel = psf_kernel(psf, (0.05, 0.05), (0.1, 0.1), (1, 1))
    rows = np.arange(len(kernel)) - len(kernel) // 2
    assert (kernel.sum(axis=1) * rows**2).sum() ** 0.5 == pytest.approx(2, rel=0.03)


def test_a_blur_is_estimated_in_input_pixels() -> None:
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:384, :384]
    plane = np.zeros((384, 384))
    for _ in range(60):
        (row, column), radius = rng.uniform(0, 384, 2), rng.uniform(10, 50)
        plane[(y - row) ** 2 + (x - column) ** 2 < radius**2] = rng.uniform()
    plane = ndimage.gaussian_filter(plane, 0.8).astype(np.float32)
    once, twice = (estimated_blur([plane[None]], (f, f)) for f in (1.0, 2.0))
    assert once.widths_px is not None
    assert twice.widths_px is not None
    assert once.widths_px[0] == pytest.approx(twice.widths_px[0] / 2)
    assert 0.5 < once.widths_px[0] < 0.9
