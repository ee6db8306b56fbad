"""The residual of a result: what was planted is told, what is right passes."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy import ndimage

from napari_zssr import upscale
from napari_zssr.errors import InputError
from napari_zssr.imaging.degrade import degrade_array
from napari_zssr.imaging.noise import CLEAN, NoiseModel, estimate_noise, unit_bands
from napari_zssr.imaging.residual import Residual, residual
from napari_zssr.kernelspec import KernelSpec
from training.microscope import KINDS
from training.photographs import photograph

Array = NDArray[np.float64]

FACTORS = (2.0, 2.0)
BLUR = KernelSpec(kind="gaussian", sigma_px=(1.0, 1.0))
SMOOTH = unit_bands(np.array([1.4, 1.1, 0.8, 0.6]))
LEVEL, IMAGES, SPOTS = 0.03, 10, 8


@dataclass(frozen=True, kw_only=True)
class Case:
    image: Array
    truth: Array
    noise: NoiseModel

    def checked(self, result: Array, noise: NoiseModel | None = None) -> Residual:
        return residual(self.image, result, FACTORS, BLUR, noise or self.noise)


@cache
def cases() -> list[Case]:
    """Images of all kinds of scenes; the noise of every third is correlated."""
    made = []
    for number in range(IMAGES):
        draw = np.random.default_rng((5, number))
        kinds = list(KINDS.values())
        drawn = (
            kinds[number](draw, 192) if number < len(kinds) else photograph(draw, 192)
        )
        truth = np.atleast_3d(drawn.T).T.mean(axis=0, keepdims=True).astype(np.float64)
        bands = SMOOTH if number % 3 == 2 else (1.0, 1.0, 1.0, 1.0)
        noise = NoiseModel(gain=LEVEL**2, offset=LEVEL**2 / 2, bands=bands)
        made.append(Case(image=noisy(truth, noise, number), truth=truth, noise=noise))
    return made


def noisy(truth: Array, noise: NoiseModel, seed: int) -> Array:
    clean = torch.from_numpy(degrade_array(truth, BLUR, FACTORS))
    drawn = noise.draw(clean, torch.Generator().manual_seed(seed))
    return np.asarray((clean + drawn).numpy())


@cache
def real_results() -> list[tuple[Array, NoiseModel]]:
    """Results of the program, and the noise that it estimates."""
    found = []
    for case in cases():
        plane = case.image[0].astype(np.float32)
        result = upscale(plane, "fast", kernel=BLUR, device="cpu", axes="YX")
        found.append((result[None].astype(np.float64), estimate_noise(plane)))
    return found


def wrong(noise: NoiseModel, times: float) -> NoiseModel:
    return replace(noise, gain=noise.gain * times**2, offset=noise.offset * times**2)


def spotted(result: Array, noise: NoiseModel) -> tuple[Array, list[tuple[int, int]]]:
    """Spots of 4 standard deviations of the noise there, and their input pixels."""
    rows, columns = np.indices(result.shape[1:])
    draw, places, planted = np.random.default_rng(3), [], result.copy()
    seen = degrade_array(result, BLUR, FACTORS)[0]
    for y, x in draw.permutation(np.stack(np.mgrid[2:10, 2:10], -1).reshape(-1, 2))[
        :SPOTS
    ]:
        spot = np.exp(-((rows - 16 * y) ** 2 + (columns - 16 * x) ** 2) / 8)
        peak = degrade_array(spot[None], BLUR, FACTORS).max()
        planted[0] += 4 * noise.sigma(seen[8 * y, 8 * x]) / peak * spot
        places.append((8 * int(y), 8 * int(x)))
    return planted, places


def shifted(result: Array) -> Array:
    return np.asarray(ndimage.shift(result, (0, 0.4, 0.45), order=3, mode="mirror"))


def results(kind: str) -> list[tuple[Case, Array, NoiseModel]]:
    if kind == "ideal":
        return [(case, case.truth, case.noise) for case in cases()]
    return [(c, *real) for c, real in zip(cases(), real_results(), strict=True)]


def disagreeing(
    kind: str, planted: Callable[[Case, Array, NoiseModel], Residual]
) -> int:
    return sum(planted(*each).disagrees for each in results(kind))


@pytest.mark.parametrize("kind", ["ideal", "real"])
def test_right_results_agree(kind: str) -> None:
    def right(case: Case, result: Array, noise: NoiseModel) -> Residual:
        return case.checked(result, noise)

    assert disagreeing(kind, right) <= 1


@pytest.mark.parametrize("kind", ["ideal", "real"])
def test_spots_that_are_not_in_the_image_are_flagged_where_they_are(kind: str) -> None:
    told, hit, far = 0, 0, []
    for case, result, noise in results(kind):
        planted, places = spotted(result, case.noise)
        before, found = case.checked(result, noise), case.checked(planted, noise)
        told += found.disagrees
        near = np.zeros(found.flags.shape, bool)
        near[*np.transpose(places)] = True
        near = ndimage.binary_dilation(near, iterations=6)
        hit += sum(
            bool(found.flags[y - 1 : y + 2, x - 1 : x + 2].any()) for y, x in places
        )
        new = found.flags & ~before.flags
        far.append(float((new & ~near).sum() / max(new.sum(), 1)))
    assert told >= 9
    assert hit >= 0.9 * SPOTS * IMAGES
    assert np.mean(far) <= 0.2


@pytest.mark.parametrize("kind", ["ideal", "real"])
@pytest.mark.parametrize(
    ("times", "reason"), [(1 / 1.5, "noise underrated"), (1.5, "noise overrated")]
)
def test_a_wrong_noise_level_is_told(kind: str, times: float, reason: str) -> None:
    told = [
        reason in case.checked(result, wrong(noise, times)).reasons
        for case, result, noise in results(kind)
    ]
    assert sum(told) >= 9


@pytest.mark.parametrize("kind", ["ideal", "real"])
def test_a_shift_by_a_third_of_a_pixel_is_told(kind: str) -> None:
    found = [
        case.checked(shifted(result), noise) for case, result, noise in results(kind)
    ]
    assert sum("shifted" in each.reasons for each in found) >= 9
    # 0.2 and 0.225 input pixels along Y and X; results are smoother than the image, and
    # with their slopes for its own shifts come out too large.
    assert np.median([each.shift_px for each in found], axis=0) == pytest.approx(
        (0.2, 0.225), rel=0.35
    )


@pytest.mark.parametrize("bands", [(1.0, 1.0, 1.0, 1.0), SMOOTH])
def test_noise_alone_is_seldom_flagged(bands: tuple[float, ...]) -> None:
    truth = cases()[1].truth
    noise = NoiseModel(offset=LEVEL**2, bands=bands)
    flagged = 0
    for seed in range(20):
        found = residual(noisy(truth, noise, 100 + seed), truth, FACTORS, BLUR, noise)
        assert not found.disagrees
        assert found.chi_square.mean() == pytest.approx(1, abs=0.1)
        flagged += bool(found.flags.any())
    assert flagged <= 3


def test_correlated_noise_taken_for_white_is_flagged() -> None:
    """So the correlation is what lets it pass."""
    truth = cases()[1].truth
    image = noisy(truth, NoiseModel(offset=LEVEL**2, bands=SMOOTH), 7)
    white = NoiseModel(offset=LEVEL**2)
    assert residual(image, truth, FACTORS, BLUR, white).disagrees


def test_the_residual_is_the_result_minus_the_image_in_standard_deviations() -> None:
    truth = np.full((1, 64, 64), 0.5)
    noise = NoiseModel(offset=0.02**2)
    found = residual(np.full((1, 32, 32), 0.44), truth, FACTORS, BLUR, noise)
    assert found.standardised == pytest.approx(3)
    assert found.chi_square == pytest.approx(9)
    assert found.unit == "noise"


def test_clean_images_are_measured_in_rounding() -> None:
    truth = cases()[0].truth
    image = np.round(degrade_array(truth, BLUR, FACTORS) * 255) / 255
    found = residual(image, truth, FACTORS, BLUR, CLEAN)
    assert found.unit == "rounding"
    assert not found.flags.any()
    assert found.sentence == "The result agrees with the image to within rounding."
    assert np.abs(found.standardised).max() <= 1
    brighter = truth.copy()
    brighter[:, 60:100, 60:100] += 0.02
    found = residual(image, brighter, FACTORS, BLUR, CLEAN)
    assert found.reasons == ("local",)
    assert found.flags[30:50, 30:50].mean() > 0.9


def test_weak_noise_that_is_repeated_is_no_disagreement() -> None:
    """Back-projection copies it on purpose."""
    image = noisy(cases()[0].truth, NoiseModel(offset=0.006**2), 1)
    found = residual(
        image, image, (1.0, 1.0), KernelSpec(), NoiseModel(offset=0.006**2)
    )
    assert not found.disagrees
    strong = noisy(cases()[0].truth, NoiseModel(offset=0.03**2), 1)
    noise = NoiseModel(offset=0.03**2)
    found = residual(strong, strong, (1.0, 1.0), KernelSpec(), noise)
    assert found.reasons[0] == "noise overrated"


@pytest.mark.parametrize("factors", [(1.0, 1.0), (1.5, 1.5), (3.0, 1.0)])
def test_any_factors_and_colours(factors: tuple[float, float]) -> None:
    rows, columns = (int(np.ceil(f * 41)) for f in factors)
    truth = np.stack([cases()[n].truth[0, :rows, :columns] for n in (0, 1, 2)])
    image = degrade_array(truth, BLUR, factors)[:, :41, :41]
    noise = NoiseModel(offset=LEVEL**2)
    image = image + LEVEL * np.random.default_rng(0).standard_normal(image.shape)
    found = residual(image, truth, factors, BLUR, noise)
    assert not found.disagrees
    assert found.standardised.shape == found.chi_square.shape == (3, 41, 41)
    assert found.flags.shape == (41, 41)
    assert residual(image, truth + 0.1, factors, BLUR, noise).disagrees


def test_sentences_say_where_and_why() -> None:
    case = cases()[0]
    found = case.checked(shifted(case.truth))
    assert found.sentence.startswith("In ")
    assert "is shifted by" in found.sentence
    assert "disagrees with the image by more than its noise: " in found.sentence
    assert case.checked(case.truth).sentence == (
        "The result agrees with the image to within its noise."
    )


NAN = np.full((1, 64, 64), np.nan)
ZERO, FINE = np.zeros((1, 32, 32)), np.zeros((1, 64, 64))


@pytest.mark.parametrize(
    ("image", "result", "kernel", "said"),
    [
        (ZERO, FINE[:, :60], BLUR, "has shape"),
        (ZERO[0], FINE, BLUR, "at least 16 × 16"),
        (ZERO[:, :8], FINE[:, :16], BLUR, "at least 16 × 16"),
        (ZERO, NAN, BLUR, "The result contains 4096 NaN or infinite values"),
        (
            NAN[:, :32, :32],
            FINE,
            BLUR,
            "The image contains 1024 NaN or infinite values",
        ),
        (ZERO, FINE, KernelSpec(kind="estimate"), "blur 'estimate'; give a"),
    ],
)
def test_bad_input_is_refused(
    image: Array, result: Array, kernel: KernelSpec, said: str
) -> None:
    with pytest.raises(InputError, match=said):
        residual(image, result, FACTORS, kernel, CLEAN)


def test_a_factor_below_one_is_refused() -> None:
    with pytest.raises(InputError, match="factors are at least 1"):
        residual(ZERO, FINE, (0.5, 2.0), BLUR, CLEAN)


def test_no_torch_at_import() -> None:
    code = "import sys, napari_zssr.imaging.residual; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
