"""Training begins from a pretrained start, where that is of use."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import untaught_start
from engine import plan_of
from numpy.typing import NDArray
from safetensors.numpy import load, save
from scipy import ndimage

from napari_zssr import InputError, save_networks
from napari_zssr.config import BALANCED, FAST, Config, change
from napari_zssr.execution.run import upscale_to_disk_steps
from napari_zssr.imaging.noise import CLEAN, NoiseModel
from napari_zssr.imaging.resample import imresize
from napari_zssr.kernelspec import KernelSpec
from napari_zssr.progress import drain
from napari_zssr.stack.axis_labels import labelled
from napari_zssr.stack.channels import channel_starts
from napari_zssr.stack.image import PlaneIndex
from napari_zssr.stack.prepare import prepare
from napari_zssr.stack.preview import preview_steps
from napari_zssr.stack.recipe import was_trained
from napari_zssr.stack.report import recipe
from napari_zssr.stack.resources import Hardware, RunInput, plan_run
from napari_zssr.stack.run import Upscaled, upscale_steps
from napari_zssr.zssr import plane_trainer, pretrained, trainer, training_plan
from napari_zssr.zssr.checkpoint import KEY, load_networks
from napari_zssr.zssr.judge import Gain
from napari_zssr.zssr.networks import restored, shuffle
from napari_zssr.zssr.pretrained import (
    PretrainedStart,
    condition_features,
    load_start,
    modulated_weights,
    shipped_start,
    start_for,
    tail_name,
    write_start,
)
from napari_zssr.zssr.start import load_start_file
from napari_zssr.zssr.trainer import Trainer
from napari_zssr.zssr.training_plan import (
    LEARNED_RATE,
    LEARNED_SHARE,
    NOISY_RATE,
    expected_plans,
)
from training.learn import with_clean

QUICK = change(
    FAST,
    start="random",
    strategy="tuned",
    steps=9,
    learned_steps=3,
    tuned_steps=2,
    width=12,
    blocks=2,
    batch=2,
    crop_px=16,
    back_projection=2,
    ensemble=False,
    noise="off",
    always=True,
    device="cpu",
    precision="float32",
)
LEARNED = change(QUICK, start="learned")
GAUSSIAN = KernelSpec.parse("gaussian:1.3,0.8,30")
NOISES = (
    CLEAN,
    NoiseModel(offset=0.05**2),
    NoiseModel(gain=0.05**2),
    NoiseModel(offset=0.05**2, bands=(1.5, 1.1, 0.8, 0.5)),
    NoiseModel(jpeg=(0.1,) * 64),
)
Ratio = tuple[int, int]


def rings(height: int = 40, width: int = 44, seed: int = 0) -> NDArray[np.float32]:
    y = np.arange(height)[:, None] - 11.3 - 2 * seed
    x = np.arange(width)[None, :] - 15.1 + seed
    waves = np.tanh(4 * np.sin(np.sqrt(y * y + x * x)))
    return (0.5 + 0.4 * waves).astype(np.float32)


def soft(seed: int = 0) -> NDArray[np.float32]:
    """Something to see, so smooth that noise on it is not taken for texture."""
    y, x = np.mgrid[:112, :112] / (7 + seed)
    return (0.5 + 0.2 * np.sin(y) + 0.2 * np.cos(x + seed)).astype(np.float32)


def noisy(seed: int = 0) -> NDArray[np.float32]:
    drawn = np.random.default_rng(seed).normal(0, 0.04, (112, 112))
    return (soft(seed) + drawn).astype(np.float32)


def run(data: Any, config: Config = LEARNED, axes: str = "YX") -> Upscaled:
    return drain(upscale_steps(labelled(np.asarray(data), axes=axes), config))


# ---- the fold


def by_hand(
    start: PretrainedStart, plane: torch.Tensor, ratio: Ratio, told: NDArray[np.float32]
) -> torch.Tensor:
    """Detail that the conditioned network adds, gains and shifts applied as they are.

    Written from the file's names alone, without the folding.
    """
    arrays = {name: torch.tensor(array) for name, array in start.arrays.items()}
    conv, samples = torch.nn.functional.conv2d, plane.shape[1]

    def layer(name: str, x: torch.Tensor, reach: int = 1) -> torch.Tensor:
        weight, bias = arrays[f"{name}.weight"], arrays[f"{name}.bias"]
        return conv(x, weight, bias, padding=reach, dilation=reach)

    hidden = arrays["condition.0.weight"] @ torch.tensor(told)
    hidden = torch.relu(hidden + arrays["condition.0.bias"])
    out = arrays["condition.2.weight"] @ hidden + arrays["condition.2.bias"]
    rows = iter(out.reshape(-1, 2, start.width, 1, 1))

    def conditioned(name: str, x: torch.Tensor, reach: int = 1) -> torch.Tensor:
        gain, shift = next(rows)
        return layer(name, x, reach) * (1 + gain) + shift

    x = conditioned(f"head.{samples}", plane)
    for n, reach in enumerate(start.dilations):
        inner = torch.relu(conditioned(f"body.{n}.first", x, reach))
        x = x + conditioned(f"body.{n}.second", inner, reach)
    x = layer(f"tail.{tail_name(samples, ratio)}", x)
    return shuffle(x, ratio)


@pytest.mark.parametrize("ratio", [(2, 2), (2, 1), (3, 1), (4, 1)])
@pytest.mark.parametrize("samples", [1, 3])
def test_folded_weights_do_what_gains_and_shifts_do(
    samples: int, ratio: Ratio, small_start: PretrainedStart
) -> None:
    config = change(FAST, factor=ratio, kernel=GAUSSIAN, learned_steps=0)
    noise = NoiseModel(gain=0.02, offset=0.03**2, bands=(1.2, 1.1, 0.9, 0.7))
    plan = plan_of(config, start=small_start, samples=samples, noise=noise, level=0.1)
    assert plan.start is not None
    network = restored(plan.start)
    plane = torch.rand(2, samples, 12, 13)
    plain = imresize(plane.numpy(), ratio)
    told = condition_features(GAUSSIAN, ratio, noise)
    wanted = by_hand(small_start, plane, ratio, told).numpy()
    assert np.abs(wanted).max() > 1e-3
    with torch.no_grad():
        made = network(plane).numpy()
    np.testing.assert_allclose(made - plain, wanted, atol=1e-5)


def test_blur_ratio_and_noise_are_told(small_start: PretrainedStart) -> None:
    kernels = (KernelSpec(), GAUSSIAN)
    made = [
        modulated_weights(small_start, 1, ratio, kernel, noise)["head.weight"].tobytes()
        for ratio in ((2, 2), (3, 1))
        for kernel in kernels
        for noise in NOISES
    ]
    assert len(set(made)) == len(made)


def test_features_do_not_follow_the_size_of_the_kernel_array() -> None:
    small = np.outer([1, 2, 1], [1, 2, 1]) / 16
    padded = KernelSpec.parse(np.pad(small, 2))
    np.testing.assert_allclose(
        condition_features(padded, (2, 2), CLEAN),
        condition_features(KernelSpec.parse(small), (2, 2), CLEAN),
        atol=5e-3,
    )


def test_planes_without_noise_may_begin_from_another_network(
    small_start: PretrainedStart,
) -> None:
    arrays = {name: 1.25 * array for name, array in small_start.arrays.items()}
    clean = replace(small_start, arrays=arrays)
    both = with_clean(small_start, clean)
    assert both.ratios(1) == small_start.ratios(1)
    weak = NoiseModel(offset=0.002**2)
    for noise, ratio, wanted in (
        (CLEAN, (2, 2), clean),
        (weak, (2, 2), clean),
        (NOISES[1], (2, 2), small_start),
        (NOISES[4], (2, 2), small_start),
        (CLEAN, (2, 1), small_start),
        (CLEAN, (1, 1), small_start),
    ):
        made = modulated_weights(
            start_for(both, 1, ratio, noise), 1, ratio, GAUSSIAN, noise
        )
        for name, array in modulated_weights(wanted, 1, ratio, GAUSSIAN, noise).items():
            np.testing.assert_array_equal(made[name], array)


# ---- the file


def test_the_file_holds_the_same_start(
    small_start: PretrainedStart, tmp_path: Path
) -> None:
    path = write_start(tmp_path / "s.safetensors", small_start)
    found = load_start(path)
    assert (found.width, found.dilations) == (8, (2,))
    assert found.card == small_start.card
    assert found.arrays.keys() == small_start.arrays.keys()
    for name, array in small_start.arrays.items():
        np.testing.assert_array_equal(found.arrays[name], array)
    with pytest.raises(InputError, match="exists already"):
        write_start(path, small_start)
    assert write_start(path, replace(small_start, card={}), overwrite=True) == path
    assert load_start(path).card == {}


def told(content: bytes, **changes: Any) -> bytes:
    """File that tells something else about itself."""
    length = int.from_bytes(content[:8], "little")
    about = json.loads(json.loads(content[8 : 8 + length])["__metadata__"][KEY])
    made: bytes = save(load(content), metadata={KEY: json.dumps(about | changes)})
    return made


def flipped(content: bytes) -> bytes:
    return content[:-3] + bytes([content[-3] ^ 1]) + content[-2:]


SPOILT: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "text": (lambda _: b"hello there, how are you", "contains no pretrained network"),
    "networks": (
        lambda c: told(c, format="networks"),
        "contains no pretrained network",
    ),
    "older": (lambda c: told(c, version=2), "older napari-zssr"),
    "newer": (lambda c: told(c, version=4), "newer napari-zssr"),
    "cut": (lambda c: c[:-40], "is damaged"),
    "flipped": (flipped, "is damaged"),
    "other width": (lambda c: told(c, width=9), "is damaged"),
    "other card": (lambda c: told(c, card={"seed": 8}), "is damaged"),
}


@pytest.mark.parametrize("case", SPOILT)
def test_spoilt_files_are_refused(case: str, shipped: Path) -> None:
    spoil, says = SPOILT[case]
    shipped.write_bytes(spoil(shipped.read_bytes()))
    for read in (shipped_start, lambda: load_start(shipped)):
        with pytest.raises(InputError, match=says) as caught:
            read()
        assert str(shipped) in str(caught.value)
        assert "\n" not in str(caught.value)
    with pytest.raises(InputError, match="install napari-zssr again"):
        run(rings())


def test_arrays_that_do_not_fit_are_refused(
    small_start: PretrainedStart, tmp_path: Path
) -> None:
    path = tmp_path / "s.safetensors"
    for wrong in (
        replace(small_start, width=4),
        replace(small_start, dilations=(1, 1)),
    ):
        write_start(path, wrong, overwrite=True)
        with pytest.raises(InputError, match="is damaged"):
            load_start(path)


@pytest.mark.parametrize("clean", [False, True])
def test_a_start_without_a_condition_is_refused(
    clean: bool, small_start: PretrainedStart, tmp_path: Path
) -> None:
    arrays = dict(small_start.arrays)
    del arrays["condition.0.weight"]
    spoilt = replace(small_start, arrays=arrays)
    both = with_clean(*((small_start, spoilt) if clean else (spoilt, small_start)))
    path = write_start(tmp_path / "s.safetensors", both)
    with pytest.raises(InputError, match="is damaged"):
        load_start(path)


def test_a_missing_start_is_told(shipped: Path) -> None:
    shipped.unlink()
    with pytest.raises(InputError, match=r"is missing .* start from 'random'"):
        run(rings())
    with pytest.raises(InputError, match="does not exist; give another file"):
        load_start(shipped)


def test_one_file_is_read_once(shipped: Path) -> None:
    assert shipped_start() is shipped_start()


def test_a_start_needs_no_torch(
    loaded_by: Callable[[str], set[str]], shipped: Path
) -> None:
    code = (
        "from napari_zssr.config import FAST, change\n"
        "from napari_zssr.stack.channels import channel_starts\n"
        "from napari_zssr.zssr.training_plan import expected_plans\n"
        f"config = change(FAST, start={str(shipped)!r})\n"
        "found = channel_starts(config, 'YX', (40, 44))\n"
        "_, plan = expected_plans(config, found, 1)\n"
        "assert (plan.width, plan.steps) == (8, 50)\n"
    )
    assert "torch" not in loaded_by(code)


# ---- where it is used


def test_training_goes_on_from_the_start(
    shipped: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Any] = []
    start = Trainer.__init__

    def init(self: Trainer, network: Any, *args: Any, **how: Any) -> None:
        start(self, network, *args, **how)
        seen.append((network.head.weight.detach().numpy().copy(), self.plan.rate))

    monkeypatch.setattr(Trainer, "__init__", init)
    made = run(rings(), change(LEARNED, gradual=3))
    ((weights, rate),) = seen
    wanted = modulated_weights(shipped_start(), 1, (2, 2), KernelSpec(), CLEAN)[
        "head.weight"
    ]
    np.testing.assert_array_equal(weights, wanted)
    assert rate == LEARNED_RATE
    (plane,) = made.report.planes
    assert (plane.steps, plane.began) == (3, "learned")
    assert plane.sentence.endswith(
        "Training started from the network pretrained on synthetic images, 3 steps."
    )
    (kept,) = made.networks
    assert kept is not None
    assert (kept.width, kept.dilations, kept.began) == (8, (2,), "learned")


def test_it_stays_on_the_way_to_what_training_finds(
    shipped: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once it goes all of the way, once as far as it does: along the same line."""

    def trained(share: float) -> NDArray[np.float32]:
        monkeypatch.setattr(training_plan, "LEARNED_SHARE", share)
        (kept,) = run(
            rings(), change(LEARNED, learned_steps=3, kernel=GAUSSIAN)
        ).networks
        assert kept is not None
        return np.concatenate([a.ravel() for _, a in sorted(kept.weights.items())])

    begun_from = modulated_weights(shipped_start(), 1, (2, 2), GAUSSIAN, CLEAN)
    first = np.concatenate([a.ravel() for _, a in sorted(begun_from.items())])
    usual, whole = trained(LEARNED_SHARE) - first, trained(1.0) - first
    np.testing.assert_allclose(usual, 0.6 * whole, atol=1e-7)
    assert np.abs(whole).max() > 1e-4


def test_a_bright_region_does_not_outvote_the_dark_ones(
    shipped: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Later weights are a little better on one region, and far worse on all others."""
    first, later = torch.tensor([100.0, 1, 1, 1]), torch.tensor([90.0, 2, 2, 2])
    bicubic = first
    told = iter([first, bicubic, later])
    monkeypatch.setattr(trainer, "region_errors", lambda *_: next(told))
    (kept,) = run(rings(), LEARNED).networks
    assert kept is not None
    wanted = modulated_weights(shipped_start(), 1, (2, 2), KernelSpec(), CLEAN)
    for name, array in kept.weights.items():
        np.testing.assert_array_equal(array, wanted[name])


@pytest.mark.parametrize(
    "changes", [{"steps": 0}, {"learned_steps": 0}], ids=["steps", "learned steps"]
)
def test_without_steps_the_start_is_applied_as_it_is(
    changes: dict[str, Any], shipped: Path
) -> None:
    made = run(rings(), change(LEARNED, back_projection=0, **changes))
    assert made.report.planes[0].steps == 0
    assert "The network pretrained on synthetic images was used without" in (
        made.report.sentence
    )
    (kept,) = made.networks
    assert kept is not None
    wanted = modulated_weights(shipped_start(), 1, (2, 2), KernelSpec(), CLEAN)
    for name, array in kept.weights.items():
        np.testing.assert_array_equal(array, wanted[name])


@pytest.mark.parametrize(
    ("steps", "tested"),
    [(0, "The network pretrained on synthetic images"), (3, "Training")],
)
@pytest.mark.parametrize("planes", [1, 2])
def test_what_gained_nothing_is_what_was_tried(
    steps: int,
    tested: str,
    planes: int,
    shipped: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Training is not blamed where there was none."""
    loss = Gain(decibel=-0.5, error_decibel=0.1, significant=False)
    monkeypatch.setattr(plane_trainer, "judge", lambda *_, **__: loss)
    config = change(LEARNED, learned_steps=steps, tuned_steps=0, always=False)
    report = run(stack_of(planes), config, "ZYX").report
    assert report.only_interpolated
    (sentence, *_) = {plane.sentence for plane in report.planes}
    assert sentence.startswith(f"{tested} brought no improvement, so bicubic")
    assert "without further training" not in sentence
    if planes > 1:
        assert report.sentence.startswith(f"{tested} improved none of 2 planes")


@pytest.mark.parametrize("noise", NOISES, ids=range(len(NOISES)))
def test_noise_and_jpeg_are_told_to_the_start(
    noise: NoiseModel, small_start: PretrainedStart
) -> None:
    plan = plan_of(FAST, start=small_start, noise=noise, level=noise.sigma())
    assert plan.initialization == "learned"
    assert plan.start is not None
    wanted = modulated_weights(small_start, 1, (2, 2), KernelSpec(), noise)
    for name, array in plan.start.weights.items():
        np.testing.assert_array_equal(array, wanted[name])


@pytest.mark.parametrize(
    ("image", "changes"),
    [(noisy(), {"noise": "auto"}), (rings(), {"noise": 0.02})],
    ids=["estimated", "given"],
)
def test_a_noisy_image_takes_smaller_steps(
    image: NDArray[np.float32],
    changes: dict[str, Any],
    shipped: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rates: list[float] = []
    start = Trainer.__init__

    def init(self: Trainer, *args: Any, **how: Any) -> None:
        start(self, *args, **how)
        rates.append(self.plan.rate)

    monkeypatch.setattr(Trainer, "__init__", init)
    made = run(image, change(LEARNED, steps=100, learned_steps=100, **changes))
    assert rates == [NOISY_RATE]
    assert made.report.planes[0].began == "learned"
    assert made.report.planes[0].denoised


@pytest.mark.parametrize(
    ("config", "steps", "noisy"),
    [(FAST, 50, 0), (BALANCED, 200, 50), (change(FAST, learned_steps=100), 100, 25)],
)
def test_a_noisy_image_takes_a_quarter_of_the_steps_or_none(
    config: Config, steps: int, noisy: int, small_start: PretrainedStart
) -> None:
    assert plan_of(config, start=small_start).steps == steps
    assert plan_of(config, start=small_start, level=0.05).steps == noisy


@pytest.mark.parametrize(
    ("factor", "samples", "steps"),
    [
        ((2, 3), 1, 2),
        ((2, 3), 3, 0),
        ((1, 2), 1, 0),
        ((1, 2), 3, 2),
        ((1, 3.5), 1, 2),
        ((1, 3.5), 3, 0),
        ((4, 1), 1, 0),
        ((4, 1), 3, 2),
        ((1.5, 2), 1, 0),
        ((1.5, 2), 3, 2),
    ],
)
def test_axes_may_be_enlarged_differently(
    factor: tuple[float, float], samples: int, steps: int, shipped: Path
) -> None:
    image = np.stack([rings(seed=n) for n in range(samples)])
    made = run(image, change(LEARNED, factor=factor, learned_steps=steps), "SYX")
    assert made.report.planes[0].began == "learned"
    y, x = (int(np.ceil(n * f)) for n, f in zip((40, 44), factor, strict=True))
    assert made.image.shape == (samples, y, x)


def test_the_transposed_image_has_the_transposed_result(
    small_start: PretrainedStart,
) -> None:
    """What is known along Y serves along X."""
    made = []
    for factor, kernel in (((3, 1), "gaussian:2,0.3"), ((1, 3), "gaussian:0.3,2")):
        config = change(FAST, factor=factor, kernel=kernel, learned_steps=0)
        plan = plan_of(config, start=small_start, noise=NOISES[3], level=0.05)
        assert plan.start is not None
        made.append(restored(plan.start))
    plane = torch.rand(1, 1, 12, 15)
    with torch.no_grad():
        along_y, along_x = made[0](plane), made[1](plane.transpose(2, 3))
    torch.testing.assert_close(along_x.transpose(2, 3), along_y, atol=1e-5, rtol=1e-4)


def test_what_was_enlarged_is_told_to_be_clean(small_start: PretrainedStart) -> None:
    config = change(FAST, factor=4)
    noise = NOISES[1]
    plan = plan_of(config, start=small_start, noise=noise, level=noise.sigma())
    assert plan.stages == ((4.0, 4.0),)
    assert plan.start is not None
    assert plan.start.further is not None
    wanted = modulated_weights(small_start, 1, (2, 2), KernelSpec(), CLEAN)
    for name, array in plan.start.further.weights.items():
        np.testing.assert_array_equal(array, wanted[name])
    plain = plan_of(config, start=small_start)
    assert plain.stages[1:] == ((2.0, 2.0), (4.0, 4.0))
    assert plain.start is not None
    assert plain.start.further is None


def test_colours_are_learned_together(shipped: Path) -> None:
    made = run(np.stack([rings(seed=n) for n in range(4)]), axes="SYX")
    assert made.report.planes[0].began == "learned"
    assert made.networks[0] is not None
    assert made.networks[0].samples == 3


# ---- one application


@pytest.mark.parametrize(
    ("factor", "ratio", "applications"),
    [
        (1.5, (2, 2), 1),
        (2, (2, 2), 1),
        (3, (2, 2), 2),
        (4, (2, 2), 2),
        (5, (2, 2), 3),
        ((1, 2), (1, 2), 1),
        ((2.5, 1), (3, 1), 1),
        ((1, 4), (1, 4), 1),
        ((1, 5), (1, 2), 3),
        ((2, 3), (2, 2), 2),
    ],
)
def test_a_single_axis_is_enlarged_at_once_up_to_four(
    factor: Any, ratio: Ratio, applications: int, small_start: PretrainedStart
) -> None:
    plan = plan_of(change(FAST, factor=factor), start=small_start)
    assert plan.ratio == ratio
    assert plan.applications(plan.factors) == applications


@pytest.mark.parametrize(
    ("factor", "stages"), [(1.5, 1), (2, 1), (3, 3), (4, 3), (5, 4)]
)
def test_training_is_for_two(
    factor: float, stages: int, small_start: PretrainedStart
) -> None:
    plan = plan_of(change(FAST, factor=factor), start=small_start)
    assert (plan.ratio, len(plan.stages)) == ((2, 2), stages)


@pytest.mark.parametrize(
    ("factor", "kernel", "steps"),
    [
        (2, "bicubic", 0),
        (2, "gaussian:1.2", 2),
        (2.5, "bicubic", 2),
        (2.5, "gaussian:1.2", 0),
        (3, "bicubic", 2),
        (3, "gaussian:1.2", 0),
        (4, "bicubic", 0),
        (4, "gaussian:1.2", 2),
    ],
)
def test_blobs_stay_in_their_place(
    factor: float,
    steps: int,
    kernel: str,
    small_start: PretrainedStart,
    tmp_path: Path,
) -> None:
    # A network that adds nothing shifts nothing: what is seen is how it is applied.
    arrays = {k: 0 * v if "tail" in k else v for k, v in small_start.arrays.items()}
    path = write_start(tmp_path / "s.safetensors", replace(small_start, arrays=arrays))
    center = (21.3, 18.6)
    y, x = np.arange(44)[:, None] - center[0], np.arange(40)[None, :] - center[1]
    image = np.exp(-(y**2 + x**2) / 18).astype(np.float32)
    changes = {"factor": factor, "kernel": kernel, "learned_steps": steps}
    made = run(image, change(QUICK, start=str(path), **changes))
    assert made.report.planes[0].began == "learned"
    assert made.networks[0] is not None
    assert made.networks[0].ratio == (2, 2)
    found = ndimage.center_of_mass(made.image)
    back = [(c + 0.5) / factor - 0.5 for c in found]
    assert back == pytest.approx(center, abs=0.05 / factor)


def test_networks_of_another_ratio_serve_a_sister(
    shipped: Path, tmp_path: Path
) -> None:
    first = run(rings(), change(LEARNED, factor=3, learned_steps=0))
    path = save_networks(first, tmp_path / "n.safetensors")
    second = run(rings(), change(QUICK, factor=3, start=str(path), steps=0))
    np.testing.assert_allclose(second.image, first.image, atol=1e-5)
    other = run(rings(), change(QUICK, factor=4, start=str(path), steps=2)).image
    assert other.shape == (160, 176)
    assert np.isfinite(other).all()


@pytest.mark.parametrize("factor", [2, 3, 4])
@pytest.mark.parametrize("size", [16, 19, 23])
def test_small_planes_are_no_failure(factor: int, size: int, shipped: Path) -> None:
    made = run(rings(size, size), change(LEARNED, factor=factor))
    assert made.image.shape == (factor * size, factor * size)
    assert made.report.planes[0].returned == "learned"


# ---- stacks, files, previews


def stack_of(count: int = 4) -> NDArray[np.float32]:
    return np.stack([rings(seed=n) for n in range(count)])


@pytest.mark.parametrize("strategy", ["shared", "tuned"])
@pytest.mark.parametrize("factor", [2, 3])
def test_shared_learning_begins_from_it(
    factor: int, strategy: str, shipped: Path
) -> None:
    made = run(stack_of(), change(LEARNED, strategy=strategy, factor=factor), "ZYX")
    (kept,) = made.networks
    assert kept is not None
    assert (kept.width, kept.ratio, kept.began) == (8, (2, 2), "learned")
    for plane in made.report.planes:
        assert plane.steps == (2 if strategy == "tuned" else 0)
        assert plane.sentence.endswith(
            "Training started from the network pretrained on synthetic images."
        )
    assert made.report.sentence.count("network pretrained on synthetic images") == 1
    assert made.image.shape == (4, 40 * factor, 44 * factor)


def test_untrained_shared_networks_are_the_start(shipped: Path) -> None:
    config = change(LEARNED, learned_steps=0, tuned_steps=0)
    made = run(stack_of(), config, "ZYX")
    assert not was_trained(recipe(labelled(stack_of(), axes="ZYX"), made))
    assert "Trained on" not in made.report.sentence
    assert made.report.planes[0].sentence.endswith("used without further training.")
    (kept,) = made.networks
    assert kept is not None
    wanted = modulated_weights(shipped_start(), 1, (2, 2), KernelSpec(), CLEAN)[
        "head.weight"
    ]
    np.testing.assert_array_equal(kept.weights["head.weight"], wanted)


def test_a_noisy_stack_shares_what_it_begins_from(shipped: Path) -> None:
    data = np.stack([noisy(seed) for seed in range(3)])
    made = run(data, change(LEARNED, noise="auto"), "ZYX")
    (kept,) = made.networks
    assert kept is not None
    assert kept.began == "learned"
    assert [plane.steps for plane in made.report.planes] == [0, 0, 0]


def test_a_run_to_disk_begins_from_it_and_knows_it_again(
    shipped: Path, small_start: PretrainedStart, tmp_path: Path
) -> None:
    stack = labelled(stack_of(), axes="ZYX")
    config = change(LEARNED, strategy="shared")
    wanted = drain(upscale_steps(stack, config)).image
    target = tmp_path / "a.ome.zarr"
    steps = upscale_to_disk_steps(stack, config, target, threads=1, shard=(1, 2))
    assert drain(steps).missing == 2
    write_start(shipped, replace(small_start, card={}), overwrite=True)
    with pytest.raises(InputError, match="was started with"):
        drain(upscale_to_disk_steps(stack, config, target, threads=1))
    write_start(shipped, small_start, overwrite=True)
    made = drain(upscale_to_disk_steps(stack, config, target, threads=1))
    assert made.missing == 0
    assert all(plane.began == "learned" for plane in made.report.planes)
    from napari_zssr.io.read import read

    np.testing.assert_array_equal(np.asarray(read(target).data), wanted)


def test_a_preview_begins_from_it(shipped: Path) -> None:
    stack = labelled(rings(), axes="YX")
    window = (slice(8, 24), slice(8, 30))
    (place,) = prepare(stack, LEARNED).plane_indices
    for factor in (2, 3):
        config = change(LEARNED, factor=factor)
        whole = run(rings(), config).image
        seen = drain(preview_steps(stack, config, plane_index=place, window=window))
        assert seen.report.began == "learned"
        np.testing.assert_allclose(seen.image, whole[seen.window], atol=2e-3)


def test_a_preview_of_a_stack_knows_starts_apart(
    shipped: Path, small_start: PretrainedStart
) -> None:
    stack = labelled(stack_of(), axes="ZYX")
    window = (slice(8, 24), slice(8, 30))
    place: PlaneIndex = prepare(stack, LEARNED).plane_indices[1]

    def seen() -> NDArray[Any]:
        steps = preview_steps(stack, LEARNED, plane_index=place, window=window)
        return drain(steps).image

    first = seen()
    arrays = {name: 1.5 * array for name, array in small_start.arrays.items()}
    write_start(shipped, replace(small_start, arrays=arrays), overwrite=True)
    assert not np.array_equal(seen(), first)


def test_what_travels_to_workers_brings_its_start(shipped: Path) -> None:
    stack = labelled(stack_of(), axes="ZYX")
    ready = prepare(stack, change(LEARNED, strategy="independent"))
    sent = pickle.dumps(ready)
    wanted = drain(ready.enlarged(ready.plane_indices[1])).pixels
    shipped.unlink()
    there = pickle.loads(sent)
    made = drain(there.enlarged(there.plane_indices[1])).pixels
    np.testing.assert_array_equal(made, wanted)


# ---- files to start from


def test_a_file_may_be_a_learned_start(shipped: Path) -> None:
    config = change(QUICK, start=str(shipped))
    made = run(rings(), config)
    np.testing.assert_array_equal(made.image, run(rings()).image)
    assert made.report.planes[0].began == "learned"
    assert made.report.start_checksum == run(rings()).report.start_checksum != ""
    with pytest.raises(InputError, match="those of the preset paper"):
        run(rings(), change(config, network="paper"))
    with pytest.raises(InputError, match="contains no networks of napari-zssr"):
        load_networks(shipped)


def test_a_file_may_be_saved_networks(tmp_path: Path) -> None:
    path = save_networks(run(rings(), QUICK), tmp_path / "n.safetensors")
    assert isinstance(load_start_file(path), tuple)
    made = run(rings(), change(QUICK, start=str(path), steps=2)).report
    assert made.planes[0].began == ""
    assert made.sentence.endswith("Training started from saved networks.")


def test_the_recipe_tells_of_the_start(shipped: Path) -> None:
    stack = labelled(rings(), axes="YX")
    told = recipe(stack, drain(upscale_steps(stack, LEARNED)))
    assert Config.from_dict(told["config"]) == LEARNED
    assert len(told["report"]["start_checksum"]) == 16
    assert told["report"]["planes"][0]["began"] == "learned"


# ---- what it costs


def test_a_run_costs_what_the_start_does(small_start: PretrainedStart) -> None:
    wide = untaught_start(48, (1,) * 4)

    def cost(start: PretrainedStart | None, **changes: Any) -> tuple[float, int]:
        config = change(FAST, device="cpu", **changes)
        shape, dtype = (400, 400), np.dtype(np.float32)
        run = RunInput(
            config=config, shape=shape, dtype=dtype, axes="YX", starts=(start,)
        )
        plan = plan_run(run, Hardware())
        return plan.seconds, plan.memory_bytes

    assert cost(wide)[0] < cost(None)[0]
    assert cost(wide, learned_steps=100)[0] > cost(wide)[0]
    assert cost(wide, steps=10)[0] < cost(wide)[0]
    assert cost(wide)[1] > cost(small_start)[1]
    # Applied twice, and three times.
    assert cost(small_start, factor=4)[1] < cost(small_start, factor=4.1)[1]
    _, balanced = expected_plans(change(BALANCED, device="cpu"), (wide,), 1)
    assert (balanced.width, balanced.blocks) == (48, 4)


def test_every_channel_has_the_start(shipped: Path) -> None:
    found = channel_starts(LEARNED, "CYX", (3, 40, 44))
    assert len(found) == 3
    assert all(one is shipped_start() for one in found)


def test_the_shipped_start_is_what_the_package_says() -> None:
    start = shipped_start()
    assert start.ratios(1) == (
        *((1, 1), (1, 2), (1, 3), (1, 4)),
        *((2, 1), (2, 2), (3, 1), (4, 1)),
    )
    assert start.ratios(3) == ((1, 1), (2, 2))
    assert pretrained.SHIPPED.stat().st_size < 2e6
