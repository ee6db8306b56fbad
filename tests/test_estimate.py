from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from napari_zssr.imaging import blur_estimate
from napari_zssr.imaging.blur_estimate import ANGLES, edge_features, estimated_blur
from napari_zssr.imaging.degrade import degrade_array
from napari_zssr.imaging.kernel import FineKernel
from napari_zssr.kernelspec import KernelSpec
from training.dead_leaves import sharp_scene

SCRIPT = "tools.learn_blur"
KERNELS = (
    "gaussian:1.2",
    "gaussian:1.9,0.9",
    "gaussian:0.9,1.9",
    "gaussian:1.8,1.0,45",
    "gaussian:1.0,1.8,20",
    "gaussian:1.6",
)


@pytest.fixture(scope="module")
def scenes() -> list[NDArray[np.float32]]:
    draw = np.random.default_rng(2026)
    return [sharp_scene(draw, 288) for _ in range(len(KERNELS))]


def son(scene: NDArray[np.float32], kernel: str, noise: float = 0) -> NDArray:
    small = degrade_array(scene, KernelSpec.parse(kernel), (2, 2))
    grain = np.random.default_rng(0).standard_normal(small.shape)
    return (small + noise * grain).astype(np.float32)[None]


def given(text: str, factors: tuple[float, float] = (2, 2)) -> FineKernel:
    return FineKernel(spec=KernelSpec.parse(text), factors=factors, sentence="")


def test_scenes_are_sharp_and_repeat_themselves() -> None:
    one, other = (sharp_scene(np.random.default_rng(7), 96) for _ in range(2))
    np.testing.assert_array_equal(one, other)
    assert one.shape == (96, 96)
    assert one.dtype == np.float32
    assert one.min() >= 0
    assert one.max() <= 1
    assert np.abs(np.diff(one)).max() > 0.2


def test_widths_and_direction_are_found(scenes: list[NDArray]) -> None:
    errors, turns = [], []
    for scene, text in zip(scenes, KERNELS, strict=True):
        found, true = estimated_blur([son(scene, text)], (2, 2)), given(text)
        assert found.spec.kind == "gaussian", (text, found.sentence)
        assert found.widths_px is not None
        assert true.widths_px is not None
        errors.append(np.array(found.widths_px) / true.widths_px - 1)
        if true.widths_px[0] > 1.5 * true.widths_px[1]:
            turn = found.angle_deg - true.angle_deg
            turns.append(abs((turn + 90) % 180 - 90))
    assert np.median(np.abs(errors)) < 0.2
    assert np.max(errors) < 0.25
    assert np.median(turns) < 15


def test_contrast_and_brightness_do_not_count(scenes: list[NDArray]) -> None:
    plane = son(scenes[1], KERNELS[1])
    one = estimated_blur([plane], (2, 2))
    other = estimated_blur([plane * 40 + 7], (2, 2))
    np.testing.assert_allclose(other.widths_px, one.widths_px, rtol=0.02)


def test_a_turned_image_has_a_turned_blur(scenes: list[NDArray]) -> None:
    plane = son(scenes[2], KERNELS[2])
    one = estimated_blur([plane], (2, 2))
    other = estimated_blur([plane.transpose(0, 2, 1)], (2, 2))
    np.testing.assert_allclose(other.widths_px, one.widths_px, rtol=0.05)
    turn = abs(one.angle_deg) + abs(other.angle_deg)
    assert turn == pytest.approx(90, abs=8)


def test_an_image_that_bicubic_reduced_gets_bicubic(scenes: list[NDArray]) -> None:
    kinds = [estimated_blur([son(s, "bicubic")], (2, 2)).spec.kind for s in scenes]
    assert kinds.count("bicubic") > len(kinds) / 2


@pytest.mark.parametrize(
    "plane",
    [
        np.full((1, 96, 96), 0.5, dtype=np.float32),
        np.zeros((1, 8, 200), dtype=np.float32),
        np.random.default_rng(3).random((1, 128, 128), dtype=np.float32),
    ],
    ids=["flat", "tiny", "noise"],
)
def test_without_edges_bicubic_is_taken_and_said(plane: NDArray) -> None:
    found = estimated_blur([plane], (2, 2))
    assert found.spec.kind == "bicubic"
    assert "default blur" in found.sentence
    assert estimated_blur([], (2, 2)).sentence == blur_estimate.BLIND


@pytest.mark.parametrize(("noise", "fewest"), [(0.002, 5), (0.005, 1), (0.03, 0)])
def test_noise_never_makes_a_blur_much_wider(
    scenes: list[NDArray], noise: float, fewest: int
) -> None:
    """Where a blur is still read: under strong noise none is."""
    ratios = []
    for scene, text in zip(scenes, KERNELS, strict=True):
        found, true = estimated_blur([son(scene, text, noise)], (2, 2)), given(text)
        if found.widths_px is not None:
            assert true.widths_px is not None
            ratios.append(found.widths_px[0] / true.widths_px[0])
    assert len(ratios) >= fewest
    assert all(ratio < 1.3 for ratio in ratios)


def test_where_the_finest_detail_is_noise_no_blur_is_read(
    scenes: list[NDArray],
) -> None:
    for scene in scenes:
        found = estimated_blur([son(scene, "gaussian:1.6", 0.03)], (2, 2))
        assert found.spec.kind == "bicubic"
        assert found.sentence == blur_estimate.HIDDEN


def test_other_factors_get_the_same_optics(scenes: list[NDArray]) -> None:
    plane = son(scenes[5], KERNELS[5])
    two, four = (estimated_blur([plane], (f, f)) for f in (2.0, 4.0))
    assert two.widths_px is not None
    assert four.widths_px is not None
    assert four.widths_px[0] / two.widths_px[0] == pytest.approx(5**0.5, rel=0.01)
    assert two.spread_px is not None
    assert four.spread_px is not None
    assert four.spread_px[0] / two.spread_px[0] == pytest.approx(5**0.5, rel=0.01)
    assert 0 < two.spread_px[0] < two.widths_px[0]


def test_features_know_directions_without_edges() -> None:
    ramp = np.zeros((96, 96), dtype=np.float32)
    ramp[:, 48:] = 1
    known = ~np.isnan(edge_features(ramp)[:, 0])
    assert known[ANGLES.index(np.pi / 2)]
    assert not known[0]


@pytest.mark.slow
def test_the_script_learns_from_few_scenes(tmp_path: Path) -> None:
    path = tmp_path / "blur.npz"
    line = [sys.executable, "-m", SCRIPT, str(path), "--scenes", "4", "--sons", "64"]
    subprocess.run(line, check=True, capture_output=True)
    with np.load(path) as made, np.load(blur_estimate.WEIGHTS) as shipped:
        assert {n: made[n].shape for n in made} == {
            n: shipped[n].shape for n in shipped
        }
