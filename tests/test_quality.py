"""Checks on delivered results: each tells what was planted, and the line repeats it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from napari_zssr.imaging.degrade import degrade_array
from napari_zssr.imaging.noise import NoiseModel
from napari_zssr.imaging.quality import Quality, combined_quality, quality
from napari_zssr.imaging.resample import imresize
from napari_zssr.kernelspec import KernelSpec
from napari_zssr.zssr.judge import Gain
from napari_zssr.zssr.messages import (
    ENLARGED,
    faint_texture_sentence,
    quality_sentence,
    shrunk_test,
)
from training.dead_leaves import sharp_scene

FACTORS = (2.0, 2.0)
BLUR = KernelSpec(kind="gaussian", sigma_px=(1.0, 1.0))
GOOD = Quality(
    change=0.018,
    change_in_noise=1.0,
    noise=0.018,
    noise_assumed=0.018,
    grain=0.6,
    sharpness=1.2,
    misfit=1.0,
    misfit_correlation=0.0,
    overshoot=0.02,
    overshoot_bicubic=0.0,
    excess=-0.5,
    lattice=0.0,
    colour_shift=0.0,
)


def scene(seed: int = 0) -> NDArray[np.float64]:
    return sharp_scene(np.random.default_rng(seed))[:128, :128].astype(np.float64)


def checked(
    image: NDArray[np.floating], result: NDArray[np.floating], noise: float = 0.0
) -> Quality:
    found = quality(
        image[None], result[None], FACTORS, BLUR, NoiseModel(offset=noise**2)
    )
    assert found is not None
    return found


def test_bicubic_changes_nothing() -> None:
    image = degrade_array(scene()[None], BLUR, FACTORS)[0]
    found = checked(image, imresize(image[None], FACTORS)[0])
    assert found.change < 1e-6
    assert found.sharpness == pytest.approx(1)
    assert found.overshoot == pytest.approx(found.overshoot_bicubic)


def test_the_truth_agrees_is_sharper_and_does_not_ring() -> None:
    truth = scene()
    image = degrade_array(truth[None], BLUR, FACTORS)[0]
    found = checked(image, truth)
    assert found.misfit < 0.01
    assert found.sharpness > 1.1
    assert found.excess < 0.5


def test_agreement_finds_shifts_spots_and_wrong_noise() -> None:
    truth = scene()
    image = degrade_array(truth[None], BLUR, FACTORS)[0]
    spot = truth.copy()
    spot[60:64, 60:64] += 1
    assert checked(image, np.roll(truth, 1, axis=1)).misfit > 3
    assert checked(image, spot).misfit > 3
    draw = np.random.default_rng(1)
    noisy = image + 0.03 * draw.standard_normal(image.shape)
    told = checked(noisy, truth, 0.03)
    assert told.misfit == pytest.approx(1, abs=0.1)
    assert abs(told.misfit_correlation) < 0.1
    weaker = checked(noisy, truth, 0.01)
    assert weaker.misfit > 2
    assert weaker.noise == pytest.approx(0.03, rel=0.2)
    assert weaker.noise_assumed == pytest.approx(0.01)


def test_ringing_and_excess_rise_with_sharpening() -> None:
    truth = scene()
    image = degrade_array(truth[None], BLUR, FACTORS)[0]
    plain = imresize(image[None], FACTORS)[0]
    found = [checked(image, truth + share * (truth - plain)) for share in (0, 1, 3)]
    assert found[0].overshoot < found[1].overshoot < found[2].overshoot
    assert found[0].excess < found[1].excess < found[2].excess


def test_a_lattice_is_found() -> None:
    truth = scene()
    image = degrade_array(truth[None], BLUR, FACTORS)[0]
    woven = truth.copy()
    woven[::2] += 0.02
    assert checked(image, woven).lattice > checked(image, truth).lattice + 0.5


@pytest.mark.parametrize("left", [0.4, 1.5])
def test_grain_has_the_right_sign(left: float) -> None:
    y, x = np.mgrid[:192, :192] / 30
    truth = 0.5 + 0.3 * np.sin(y) * np.cos(x)
    image = degrade_array(truth[None], BLUR, FACTORS)[0]
    draw = np.random.default_rng(2)
    image = image + 0.03 * draw.standard_normal(image.shape)
    plain = imresize(image[None], FACTORS)[0]
    found = checked(image, truth + left * (plain - truth), 0.03)
    assert found.grain == pytest.approx(left, rel=0.1)


def test_grain_is_not_told_where_texture_is_taken_for_it() -> None:
    draw = np.random.default_rng(3)
    texture = ndimage.gaussian_filter(draw.standard_normal((128, 128)), 1.5)
    image = 0.5 + 0.5 * texture + 0.01 * draw.standard_normal((128, 128))
    assert checked(image, imresize(image[None], FACTORS)[0]).grain is None


def test_grey_that_turns_blue_is_found() -> None:
    grey = np.repeat(scene()[None, ::2, ::2], 3, axis=0)
    plain = imresize(grey, FACTORS)
    blue = plain.copy()
    blue[2] += 0.02
    kept, turned = (quality(grey, one, FACTORS, BLUR) for one in (plain, blue))
    assert kept is not None
    assert turned is not None
    assert kept.colour_shift < 1e-6
    assert turned.colour_shift > 0.005


def test_too_small_to_tell() -> None:
    assert quality(np.zeros((1, 12, 40)), np.zeros((1, 24, 80)), FACTORS, BLUR) is None


def test_many_planes_are_told_by_their_median() -> None:
    planes = [replace(GOOD, change=c, grain=None) for c in (0.01, 0.02, 0.09)]
    found = combined_quality([*planes, replace(GOOD, change=0.02, grain=0.3)])
    assert found.change == pytest.approx(0.02)
    assert found.grain == pytest.approx(0.3)


def said(**changes: float | None) -> str:
    return quality_sentence(replace(GOOD, **changes), ENLARGED)  # type: ignore[arg-type]


def test_the_line_says_only_what_was_measured() -> None:
    assert quality_sentence(GOOD, ENLARGED) == (
        "Sharper: changed by 1.8 % of the intensity range, noise in flat "
        "areas fell by 40 %, consistent with your image."
    )
    assert said(change=0.0019).startswith("Hardly differs from")
    assert "noise in flat areas rose by 20 %" in said(grain=1.2)
    assert "grain" not in said(grain=1.02)
    assert "grain" not in said(grain=None)
    assert said(sharpness=1.0).startswith("Less noisy:")
    assert said(sharpness=0.9, grain=None).startswith("Softer:")
    assert said(sharpness=1.0, grain=None).startswith(
        "Differs from bicubic interpolation by 1.8 % of"
    )
    apart = said(misfit=4.9)
    assert "consistent" not in apart
    assert "differs from your image by 4.9 times" in apart
    assert "Edges overshoot by 30 %" in said(overshoot=0.3)
    ignored = said(noise=0.03, noise_assumed=0.0)
    assert "has noise of 3 % of the intensity range, but none was assumed" in ignored
    assert "but 1 % was assumed" in said(noise_assumed=0.01, noise=0.03)
    assert "assumed" not in said(noise=0.007, noise_assumed=0.0)
    assert faint_texture_sentence(GOOD) == faint_texture_sentence(None) != ""
    assert faint_texture_sentence(replace(GOOD, grain=1.3)) == ""


def test_decibels_never_come_first() -> None:
    gain = Gain(decibel=0.35, error_decibel=0.05, significant=True)
    assert shrunk_test(gain, ENLARGED, denoised=False) == (
        "Test on your image shrunk and re-enlarged: 0.35 ± 0.05 dB closer to the "
        "original than bicubic interpolation (under 0.5 dB is rarely visible). "
        "The figure after ± is one standard error over the test regions."
    )
    worse = replace(gain, decibel=-0.2)
    assert "0.20 ± 0.05 dB farther from the original than bicubic" in shrunk_test(
        worse, ENLARGED, denoised=False
    )
    # That the noise went can be seen, whatever noisy regions tell.
    assert "visible" not in shrunk_test(gain, ENLARGED, denoised=True)
