"""What checks tell of results, and what follows from it: shares, sentences, stacks."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from engine import plan_of
from numpy.typing import NDArray
from test_quality import GOOD

from benchmarks.metrics import psnr
from napari_zssr import api
from napari_zssr.config import FAST, INSTANT, Config
from napari_zssr.errors import ComputeError
from napari_zssr.execution.executors import Workers
from napari_zssr.execution.run import upscale_to_disk_steps
from napari_zssr.imaging import quality as supporting
from napari_zssr.imaging.degrade import degrade_array
from napari_zssr.imaging.noise import NoiseModel, loaded_arrays
from napari_zssr.imaging.quality import (
    FEATURES,
    Support,
    decibels,
    scaled_gain,
    support,
    support_features,
)
from napari_zssr.imaging.resample import imresize
from napari_zssr.io.read import read
from napari_zssr.kernelspec import KernelSpec
from napari_zssr.progress import drain
from napari_zssr.stack.axis_labels import labelled
from napari_zssr.stack.image import planes
from napari_zssr.stack.preview import preview_steps
from napari_zssr.stack.run import Upscaled, upscale_steps
from napari_zssr.zssr import judge
from napari_zssr.zssr.messages import ENLARGED, held_back_sentence, unsupported
from training.dead_leaves import sharp_scene

FACTORS = (2.0, 2.0)
SCRIPT = "tools.learn_support"
RIGHT = KernelSpec(kind="gaussian", sigma_px=(1.0, 1.0))
WIDER = KernelSpec(kind="gaussian", sigma_px=(1.35, 1.35))
WIDE = KernelSpec(kind="gaussian", sigma_px=(1.9, 1.9))


@pytest.fixture(scope="module")
def truth() -> NDArray[np.float64]:
    return sharp_scene(np.random.default_rng(5), 160).astype(np.float64)


@pytest.fixture(scope="module")
def image(truth: NDArray[np.float64]) -> NDArray[np.float32]:
    return degrade_array(truth[None], RIGHT, FACTORS)[0].astype(np.float32)


def run(image: NDArray[Any], axes: str = "YX", **settings: Any) -> Upscaled:
    config = replace(INSTANT, device="cpu", dtype="float32", ensemble=False)
    return drain(api.upscale_steps(image, replace(config, **settings), axes=axes))


def gain(result: NDArray[Any], image: NDArray[Any], truth: NDArray[Any]) -> float:
    plain = imresize(image, FACTORS)
    one, other = (psnr(part, truth, peak=1.0, shave=8) for part in (result, plain))
    return one - other


def mixed(image: NDArray[Any], truth: NDArray[Any], times: float) -> Support:
    """Of a result that changes so many times as much as the truth asks for."""
    plain = imresize(image.astype(np.float64), FACTORS)
    result = plain + times * (truth - plain)
    found = support(image[None], result[None], FACTORS, RIGHT)
    assert found is not None
    return found


def test_too_much_of_a_change_is_supported_in_part(
    image: NDArray[np.float32], truth: NDArray[np.float64]
) -> None:
    right, thrice = (mixed(image, truth, times) for times in (1, 3))
    assert right.share > 0.6 > thrice.share
    assert right.gain > thrice.gain


def test_features_have_names_and_are_finite_without_edges() -> None:
    flat = np.linspace(0.2, 0.8, 48, dtype=np.float32)[None] * np.ones((48, 1), "f4")
    result = imresize(flat, FACTORS)[None]
    found = support(flat[None], result, FACTORS, RIGHT)
    assert found is not None
    assert found.margin is None
    features = support_features(flat[None], result, FACTORS, RIGHT, found.quality)
    assert features.shape == (len(FEATURES),)
    assert np.isfinite(features).all()


@pytest.mark.parametrize("factors", [(3.0, 3.0), (1.0, 2.0), (1.5, 1.5)])
def test_other_factors_are_judged_too(factors: tuple[float, float]) -> None:
    plane = sharp_scene(np.random.default_rng(0), 64)
    found = support(plane[None], imresize(plane, factors)[None], factors, KernelSpec())
    assert found is not None
    assert np.isfinite([found.share, found.gain]).all()


def test_gains_are_scaled_there_and_back() -> None:
    for value in (-7.0, -0.1, 0.0, 0.2, 5.0):
        assert decibels(scaled_gain(value)) == pytest.approx(value)


def test_a_part_of_a_few_pixels_tells_nothing() -> None:
    part = np.zeros((1, 8, 8), np.float32)
    assert support(part, np.zeros((1, 16, 16)), FACTORS, RIGHT) is None


def test_a_right_blur_is_delivered_whole_and_a_wide_one_is_not(
    image: NDArray[np.float32], truth: NDArray[np.float64]
) -> None:
    right, wide = run(image, kernel=RIGHT), run(image, kernel=WIDE)
    (fine,), (held,) = right.report.planes, wide.report.planes
    assert fine.assessment is not None
    assert held.assessment is not None
    assert fine.assessment["share"] == 1
    assert fine.assessment["reason"] == ""
    assert gain(right.image, image, truth) > 1
    assert held.assessment["share"] < 0.5
    assert held.assessment["reason"] in held.sentence
    assert gain(wide.image, image, truth) > -0.1


def test_always_delivers_all_and_warns(
    image: NDArray[np.float32], truth: NDArray[np.float64]
) -> None:
    forced = run(image, kernel=WIDE, always=True)
    assert "The full result was returned" in forced.report.sentence
    assert gain(forced.image, image, truth) < -1


def test_noise_that_was_denied_is_named(image: NDArray[np.float32]) -> None:
    grain = 0.03 * np.random.default_rng(0).standard_normal(image.shape)
    noisy = (image + grain).astype(np.float32)
    (plane,) = run(noisy, kernel=RIGHT, noise="off").report.planes
    assert plane.returned == "bicubic"
    assert "none was assumed" in plane.sentence


@pytest.mark.parametrize("config", [INSTANT, FAST])
def test_no_slice_of_a_stack_differs_in_what_was_decided(
    config: Config, image: NDArray[np.float32]
) -> None:
    draw = np.random.default_rng(1)
    slices = [image + 0.01 * draw.standard_normal(image.shape) for _ in range(8)]
    settings = replace(config, device="cpu", kernel=WIDER, learned_steps=0)
    made = drain(
        upscale_steps(labelled(np.stack(slices).astype("f4"), axes="ZYX"), settings)
    )
    decided = [plane.assessment for plane in made.report.planes]
    assert decided[0] is not None
    assert decided == [decided[0]] * 8
    assert len({plane.returned for plane in made.report.planes}) == 1


def test_a_preview_decides_as_the_run_does(image: NDArray[np.float32]) -> None:
    stack = labelled(np.stack([image, image[::-1]]), axes="ZYX")
    config = replace(INSTANT, device="cpu", kernel=WIDE, dtype="float32")
    whole = drain(upscale_steps(stack, config))
    window = (slice(10, 40), slice(20, 50))
    place = planes(stack.axes, stack.data.shape)[1]
    seen = drain(preview_steps(stack, config, plane_index=place, window=window))
    assert seen.report.assessment == whole.report.planes[1].assessment
    rows, columns = seen.window
    np.testing.assert_allclose(seen.image, whole.image[1, rows, columns], atol=2e-3)


@pytest.mark.parametrize(
    ("changes", "margin", "words"),
    [
        ({"noise": 0.03, "noise_assumed": 0.0}, None, "noise of 3 %, none was"),
        ({"noise": 0.03, "noise_assumed": 0.01}, None, "noise of 3 %, 1 % was"),
        ({}, -1.0, "sharper than the assumed blur allows"),
        ({"overshoot": 0.2}, None, "overshoot by 20 %"),
        ({"misfit": 2.0}, None, "2.0 times its noise"),
        ({}, 0.5, "stronger than the image supports"),
    ],
)
def test_the_reason_is_what_failed(
    changes: dict[str, Any], margin: float | None, words: str
) -> None:
    assert words in unsupported(
        replace(GOOD, **changes), margin, ENLARGED, blurred=True
    )


def test_sentences_on_what_was_held_back() -> None:
    assert "Only 25 % of" in held_back_sentence(
        [0.25], 0.35, "why", ENLARGED, whole=False
    )
    assert "Only 0 to 30 % of" in held_back_sentence(
        [0.3, 0], 0.35, "why", ENLARGED, whole=False
    )
    assert held_back_sentence([0], 0.05, "why", ENLARGED, whole=False).startswith(
        "Bicubic interpolation was returned"
    )
    assert "checks support only 35 %" in held_back_sentence(
        [0.25], 0.35, "why", ENLARGED, whole=True
    )


def test_nobody_is_told_of_a_narrower_blur_than_bicubic() -> None:
    assert "narrower" not in unsupported(GOOD, None, ENLARGED, blurred=False)


def test_trees_lead_to_leaves() -> None:
    trees = loaded_arrays(supporting.TREES)
    count = trees["left"].shape[-1]
    assert trees["feature"].max() < len(FEATURES)
    assert max(trees["left"].max(), trees["right"].max()) < count
    low = supporting.judged(np.full(len(FEATURES), -1e9))
    high = supporting.judged(np.full(len(FEATURES), 1e9))
    assert np.isfinite([*low, *high]).all()


def test_noise_counts_as_it_was_assumed(image: NDArray[np.float32]) -> None:
    result = imresize(image, FACTORS)[None]
    told = NoiseModel(offset=0.05**2)
    at = FEATURES.index("noise_underrated")
    found = [
        support_features(image[None], result, FACTORS, RIGHT, one.quality)[at]
        for one in (
            support(image[None], result, FACTORS, RIGHT),
            support(image[None], result, FACTORS, RIGHT, told),
        )
        if one is not None
    ]
    assert found[1] < found[0] - 1


def test_the_script_learns_from_few_cases(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    learn_support = pytest.importorskip(SCRIPT)
    draw = np.random.default_rng(0)
    for number in range(2):
        np.savez(
            tmp_path / f"{number:04d}.npz",
            name=str(number),
            labels=["right"] * 60,
            examples=draw.standard_normal((60, len(FEATURES) + 2)),
        )
    out = tmp_path / "out.npz"
    line = [SCRIPT, str(out), "--cases", str(tmp_path), "--learn-only"]
    monkeypatch.setattr(sys, "argv", line)
    monkeypatch.setattr(torch, "set_num_threads", lambda count: None)
    with np.load(supporting.TREES) as shipped:
        names, heads = set(shipped), len(shipped["left"])
        assert shipped["left"].shape[1] == learn_support.TREES_LEARNED
    monkeypatch.setattr(learn_support, "TREES_LEARNED", 20)
    learn_support.main()
    with np.load(out) as made:
        assert set(made) == names
        assert made["left"].shape[:2] == (heads, 20)


def test_one_sample_that_supports_a_result_is_enough() -> None:
    quality = replace(GOOD, noise=0.0)
    found = [
        Support(quality=quality, share=share, gain=1.0, margin=None)
        for share in (0.3, 0.9)
    ]
    blurred = plan_of(replace(INSTANT, kernel=RIGHT))
    assert judge._combined(found, blurred).share == 1
    assert judge._combined(found[:1], blurred).share == 0.2


def test_samples_lie_where_the_contrast_is() -> None:
    plane = torch.full((1, 640, 640), 0.5)
    plane[:, 512:, 512:] = torch.rand(1, 128, 128)
    plane[:, :128, 256:384] += 0.1 * torch.rand(1, 128, 128)
    parts = judge._samples([plane])
    assert [tuple(part.shape) for part in parts] == [(1, 128, 128)] * 4
    assert float(parts[-1].std()) == pytest.approx(float(plane[:, 512:, 512:].std()))


def test_samples_of_many_planes_are_few_and_from_several() -> None:
    planes = [torch.rand(1, 128, 140) + n for n in range(16)]
    parts = judge._samples(planes)
    assert len(parts) == 4
    assert float(parts[-1].mean() - parts[0].mean()) > 10
    assert [tuple(p.shape) for p in judge._samples([planes[0][:, :40]])] == [
        (1, 40, 128)
    ]


def test_a_trial_passes_over_slices_that_show_nothing(
    image: NDArray[np.float32],
) -> None:
    slices = [image, *[np.full_like(image, 0.3)] * 2, image]
    config = replace(INSTANT, device="cpu", kernel=WIDE)
    stack = labelled(np.stack(slices), axes="ZYX")
    made = drain(upscale_steps(stack, config))
    first, *_, last = (plane.assessment for plane in made.report.planes)
    assert first is not None
    assert first == last
    assert first["share"] < 1


def test_a_failure_of_a_trial_is_told(
    image: NDArray[np.float32], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("no luck today\nmore of it")

    monkeypatch.setattr("napari_zssr.zssr.plane_trainer.trial_assessment", fail)
    stack = labelled(np.stack([image, image]), axes="ZYX")
    with pytest.raises(ComputeError, match=r"Test on plane 1 .* no luck today\."):
        drain(upscale_steps(stack, replace(INSTANT, device="cpu")))


def test_workers_to_disk_hold_back_as_much_as_a_run_in_memory(
    image: NDArray[np.float32], tmp_path: Path, two_processes: Workers
) -> None:
    stack = labelled(np.stack([image, image[::-1]]), axes="ZYX")
    config = replace(FAST, device="cpu", kernel=WIDER, learned_steps=0, dtype="float32")
    made = drain(upscale_steps(stack, config))
    target = tmp_path / "a.ome.tif"
    written = drain(upscale_to_disk_steps(stack, config, target, workers=two_processes))
    decided = [plane.assessment for plane in written.report.planes]
    assert decided == [plane.assessment for plane in made.report.planes]
    assert decided[0] is not None
    assert 0 < decided[0]["share"] < 1
    np.testing.assert_allclose(read(target).data, made.image, atol=1e-5)
