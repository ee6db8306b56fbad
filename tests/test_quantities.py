"""Sums of intensity and positions of spots, before and after enlargement."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import ndimage

from napari_zssr.errors import InputError
from napari_zssr.imaging.noise import NoiseModel
from napari_zssr.imaging.quantities import (
    binned,
    bright_regions,
    flux,
    otsu_threshold,
    spot_shift,
)
from napari_zssr.imaging.resample import imresize, output_size

FACTORS = [(2.0, 2.0), (3.0, 2.0), (1.5, 2.5), (1.0, 4.0)]
NOISE = 1.0


def cells(noise: float = NOISE) -> np.ndarray:
    """Round objects of many sizes on an offset of 100, (Y, X)."""
    draw = np.random.default_rng(5)
    y, x = np.mgrid[:150, :140].astype(float)
    image = np.full(y.shape, 100.0)
    for row in range(20, 140, 28):
        for column in range(20, 130, 28):
            away = np.hypot(y - row - draw.uniform(-3, 3), x - column)
            image += 80 / (1 + np.exp((away - draw.uniform(4, 7)) / 0.8))
    return image + noise * draw.normal(size=image.shape)


def spots(shift: tuple[float, float] = (0, 0), factor: float = 1) -> np.ndarray:
    """Points blurred to a sigma of 1.3 pixels of the image, without noise, (Y, X)."""
    draw = np.random.default_rng(6)
    y, x = np.mgrid[: round(130 * factor), : round(120 * factor)].astype(float)
    # Centres of the pixels of either grid, in pixels of the image.
    y, x = ((part + 0.5) / factor - 0.5 for part in (y, x))
    image = np.full(y.shape, 20.0)
    for row in range(12, 125, 13):
        for column in range(12, 115, 13):
            at = draw.uniform(-2, 2, 2) + np.add((row, column), shift)
            away = (y - at[0]) ** 2 + (x - at[1]) ** 2
            image += draw.uniform(50, 100) * np.exp(-away / (2 * 1.3**2))
    return image


@pytest.mark.parametrize("factors", FACTORS)
def test_binning_keeps_sums_and_centres(factors: tuple[float, float]) -> None:
    shape = (12, 10)
    fine = tuple(output_size(n, f) for n, f in zip(shape, factors, strict=True))
    ramp = np.add.outer(
        (np.arange(fine[0]) + 0.5) / factors[0],
        (np.arange(fine[1]) + 0.5) / factors[1],
    )
    expected = np.add.outer(np.arange(12) + 0.5, np.arange(10) + 0.5)
    inner = slice(0, -1)
    assert binned(np.ones(fine), factors, shape) == pytest.approx(np.ones(shape))
    assert binned(ramp, factors, shape)[inner, inner] == pytest.approx(
        expected[inner, inner], abs=0.1 * any(f % 1 for f in factors) + 1e-9
    )


def test_a_whole_factor_bins_blocks() -> None:
    result = np.random.default_rng(0).normal(size=(6, 9))
    blocks = result.reshape(2, 3, 3, 3).mean(axis=(1, 3))
    assert binned(result, (3.0, 3.0), (2, 3)) == pytest.approx(blocks)


@pytest.mark.parametrize("factors", FACTORS)
def test_bicubic_keeps_the_flux(factors: tuple[float, float]) -> None:
    image = cells()
    found = flux(image, imresize(image, factors), factors)
    assert len(found.numbers) == 20
    assert np.abs(found.changes).max() < 0.002
    assert abs(found.total) < 0.002
    assert not found.changed.any()
    assert found.largest_beside_noise == "within its noise"
    assert "20 objects" in found.sentence
    assert "none by more than 1 %" in found.sentence


def test_one_brightened_region_is_found() -> None:
    image = cells()
    labels = bright_regions(image)
    brighter = image + 0.03 * (image - 100) * (labels == 7)
    found = flux(image, imresize(brighter, (2.0, 2.0)), (2.0, 2.0))
    assert found.numbers[found.changed].tolist() == [7]
    assert found.largest == pytest.approx(0.03, abs=0.003)
    assert found.largest_beside_noise == "more than 1 % beyond its noise"
    assert abs(found.median) < 0.002
    assert "1 of them by more than 1 %" in found.sentence


@pytest.mark.parametrize(("gain", "says"), [(0.0, "not more"), (0.03, "more")])
def test_a_single_object_is_not_many(gain: float, says: str) -> None:
    image = cells()
    labels = np.where(bright_regions(image) == 7, 7, 0)
    result = imresize(image + gain * (image - 100) * (labels == 7), (2.0, 2.0))
    found = flux(image, result, (2.0, 2.0), labels)
    assert found.sentence.startswith("The summed intensity of 1 object changed by")
    assert found.sentence.endswith(f" %, which is {says} than 1 % beyond its noise.")


def test_a_change_within_the_noise_is_none() -> None:
    image = cells(noise=60)
    labels = bright_regions(cells())
    brighter = image + 0.03 * (cells() - 100) * (labels == 7)
    found = flux(image, imresize(brighter, (2.0, 2.0)), (2.0, 2.0), labels)
    assert not found.changed.any()
    assert found.largest_beside_noise == "within its noise"
    assert found.noise[6] > 0.01 * found.before[6]


def test_noise_of_a_sum_is_its_spread_over_repeats() -> None:
    clean, labels = cells(0), bright_regions(cells())
    model = NoiseModel(gain=0.5, offset=4.0)
    draw = np.random.default_rng(1)
    noisy = clean + np.sqrt(0.5 * clean + 4) * draw.normal(size=(40, *clean.shape))
    repeats = [
        flux(one, np.kron(one, np.ones((2, 2))), (2.0, 2.0), labels, background=100.0)
        for one in noisy
    ]
    spread = np.std([one.before for one in repeats], axis=0)
    told = flux(clean, np.kron(clean, np.ones((2, 2))), (2.0, 2.0), labels, noise=model)
    assert np.mean(spread / told.noise) == pytest.approx(1, abs=0.1)
    # The estimate from the image itself is not far from it.
    assert np.mean(repeats[0].noise / told.noise) == pytest.approx(1, abs=0.2)


def test_given_labels_are_used_as_they_are() -> None:
    image = cells()
    labels = np.zeros(image.shape, np.uint64)
    labels[10:30, 10:30], labels[60:80, 10:40] = 2**40, 9
    result = imresize(image, (2.0, 2.0))
    found = flux(image, result, (2.0, 2.0), labels, background=0.0)
    assert found.numbers.tolist() == [9, 2**40]
    sums = [image[60:80, 10:40].sum(), image[10:30, 10:30].sum()]
    assert found.before == pytest.approx(sums)
    fine = [result[120:160, 20:80].sum() / 4, result[20:60, 20:60].sum() / 4]
    assert found.after == pytest.approx(fine)
    mask = flux(image, result, (2.0, 2.0), labels > 0, background=0.0)
    assert mask.before == pytest.approx([sum(sums)])


def test_a_region_without_light_has_no_relative_change() -> None:
    image = cells()
    labels = np.zeros(image.shape, int)
    labels[:8, :8] = 1
    found = flux(image, imresize(image, (2.0, 2.0)), (2.0, 2.0), labels)
    assert math.isnan(found.changes[0])
    assert "brighter than its noise" in found.sentence


@pytest.mark.parametrize("noise", [0, 3])
def test_without_an_object_that_is_said(noise: float) -> None:
    image = 100 + noise * np.random.default_rng(0).normal(size=(128, 128))
    found = flux(image, imresize(image, (2.0, 2.0)), (2.0, 2.0))
    assert not found.numbers.size
    assert math.isnan(found.median)
    assert found.sentence.startswith("No object was found")


def test_regions_cover_the_light_of_their_objects() -> None:
    image = cells()
    labels = bright_regions(image)
    outside = cells(0)[labels == 0] - 100
    assert outside.sum() < 0.02 * (cells(0) - 100).sum()


def test_otsu_parts_two_populations() -> None:
    draw = np.random.default_rng(0)
    values = np.concatenate([draw.normal(10, 1, 5000), draw.normal(30, 2, 800)])
    measure = pytest.importorskip("skimage.filters")
    bright = values > otsu_threshold(values)
    theirs = values > measure.threshold_otsu(values)
    assert (bright != theirs).sum() <= 2
    assert bright.sum() == 800


@pytest.mark.parametrize("factors", FACTORS)
def test_bicubic_keeps_positions(factors: tuple[float, float]) -> None:
    image = spots() + np.random.default_rng(0).normal(size=spots().shape)
    found = spot_shift(image, imresize(image, factors), factors)
    assert found.spots > 60
    assert found.lost == 0
    assert math.hypot(*found.mean) < 0.02
    assert found.rms < 0.02
    assert not found.moved
    assert "on average: no relevant shift. Single spots scatter by" in found.sentence


@pytest.mark.parametrize("shift", [(0.2, 0.0), (-0.1, 0.15)])
def test_a_planted_shift_is_found(shift: tuple[float, float]) -> None:
    image = spots() + np.random.default_rng(0).normal(size=spots().shape)
    result = spots(shift, 2)
    found = spot_shift(image, result, (2.0, 2.0))
    assert found.mean == pytest.approx(shift, abs=0.02)
    assert found.rms == pytest.approx(math.hypot(*shift), abs=0.03)
    assert found.moved
    assert "they moved" in found.sentence


def test_a_true_result_on_the_grid_of_the_program_has_no_shift() -> None:
    found = spot_shift(spots(), spots(factor=3), (3.0, 3.0))
    assert math.hypot(*found.mean) < 0.005
    off_by_one = ndimage.shift(spots(factor=3), (1, 0), mode="nearest")
    assert spot_shift(spots(), off_by_one, (3.0, 3.0)).mean[0] == pytest.approx(
        1 / 3, abs=0.02
    )


def test_lost_spots_are_counted() -> None:
    image = spots()
    result = np.kron(image, np.ones((2, 2)))
    result[:130] = 20
    found = spot_shift(image, result, (2.0, 2.0))
    assert found.lost > 20
    assert f"Not found in the result: {found.lost} more." in found.sentence
    nothing = spot_shift(image, np.full_like(result, 20), (2.0, 2.0))
    assert nothing.spots == 0
    assert nothing.sentence.startswith("None of")


def test_a_single_lost_spot_is_not_many() -> None:
    y, x = np.mgrid[:64, :64]
    image = 20 + 80 * np.exp(-((y - 30) ** 2 + (x - 33) ** 2) / (2 * 1.3**2))
    nothing = spot_shift(image, np.full((128, 128), 20.0), (2.0, 2.0))
    assert nothing.lost == 1
    assert nothing.sentence.startswith("The only bright spot of the image was not")


def test_ridges_are_no_spots() -> None:
    y, x = np.mgrid[:96, :96]
    ridge = 50 * np.exp(-((y - 0.4 * x - 25) ** 2) / 8)
    image = 20 + ridge + np.random.default_rng(0).normal(0, 0.3, size=ridge.shape)
    found = spot_shift(image, imresize(image, (2.0, 2.0)), (2.0, 2.0))
    assert found.spots == 0


def test_noise_alone_has_no_spots() -> None:
    image = np.random.default_rng(0).normal(size=(200, 200))
    found = spot_shift(image, imresize(image, (2.0, 2.0)), (2.0, 2.0))
    assert found.spots + found.lost <= 1
    empty = spot_shift(np.ones((64, 64)), np.ones((128, 128)), (2.0, 2.0))
    assert empty.sentence.startswith("No bright spot")


def test_sizes_that_do_not_fit_are_told() -> None:
    image = cells()
    result = imresize(image, (2.0, 2.0))
    with pytest.raises(InputError, match=r"300 × 280 .* 150 × 140 .* has 450 × 420"):
        flux(image, result, (3.0, 3.0))
    with pytest.raises(InputError, match=r"300 × 280 .* 150 × 140 .* has 450 × 420"):
        spot_shift(image, result, (3.0, 3.0))
    with pytest.raises(InputError, match=r"labels have 10 × 10 .* image 150 × 140"):
        flux(image, result, (2.0, 2.0), np.ones((10, 10), int))
    with pytest.raises(InputError, match="whole numbers"):
        flux(image, result, (2.0, 2.0), np.ones(image.shape))
