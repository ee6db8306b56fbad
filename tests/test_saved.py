"""Networks are saved, and used again on a sister image."""

from __future__ import annotations

import json
import os
import weakref
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from engine import plan_of
from numpy.typing import NDArray
from safetensors.numpy import load, save

from napari_zssr import InputError, atomic, save_networks
from napari_zssr.config import BALANCED, FAST, INSTANT, PAPER, Config, change
from napari_zssr.errors import ComputeError
from napari_zssr.imaging.resample import imresize
from napari_zssr.progress import Progress, drain
from napari_zssr.stack.axis_labels import labelled
from napari_zssr.stack.channels import channel_starts
from napari_zssr.stack.report import recipe
from napari_zssr.stack.run import Upscaled, upscale_steps
from napari_zssr.zssr.checkpoint import (
    KEY,
    NETWORKS,
    Checkpoint,
    checksum,
    load_networks,
    write_networks,
)
from napari_zssr.zssr.networks import ResidualNetwork, checkpoint_of, restored
from napari_zssr.zssr.training_plan import expected_plans

PLAIN: dict[str, Any] = {
    "batch": 2,
    "crop_px": 16,
    "back_projection": 2,
    "ensemble": False,
    "noise": "off",
    "always": True,
    "device": "cpu",
    "precision": "float32",
}
QUICK = change(FAST, start="random", steps=4, width=8, blocks=2, **PLAIN)
SLOW = change(PAPER, steps=2, gradual=2, width=8, **PLAIN)


def rings(
    height: int = 40, width: int = 44, seed: int = 0, pitch: float = 1.0
) -> NDArray[np.float32]:
    y = np.arange(height)[:, None] - 11.3 - 2 * seed
    x = np.arange(width)[None, :] - 15.1 + seed
    waves = np.tanh(4 * np.sin(np.sqrt(y * y + x * x) / pitch))
    return (0.5 + 0.4 * waves).astype(np.float32)


def blurred(father: NDArray[np.float32]) -> NDArray[np.float32]:
    return imresize(father, (0.5, 0.5)).astype(np.float32)


def noisy(image: NDArray[np.float32], sigma: float = 0.04) -> NDArray[np.float32]:
    drawn = np.random.default_rng(0).normal(0, sigma, image.shape)
    return (image + drawn).astype(np.float32)


def run(
    data: Any,
    config: Config = QUICK,
    axes: str = "YX",
    on_event: Callable[[Any], object] | None = None,
) -> Upscaled:
    stack = labelled(np.asarray(data), axes=axes)
    return drain(upscale_steps(stack, config), on_event)


def again(config: Config, path: Path, **changes: Any) -> Config:
    """Settings that start from a file, without training unless it is asked for."""
    return change(config, **{"start": str(path), "steps": 0, **changes})


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Networks of one grey image."""
    folder = tmp_path_factory.mktemp("networks")
    return save_networks(run(rings()), folder / "one.safetensors")


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Networks of an image of two channels."""
    folder = tmp_path_factory.mktemp("networks")
    data = np.stack([rings(), rings(seed=4, pitch=2)])
    return save_networks(run(data, axes="CYX"), folder / "two.safetensors")


# ---- the same again


@pytest.mark.parametrize(
    ("config", "image", "axes"),
    [
        (change(BALANCED, steps=3, width=8, **PLAIN), rings(), "YX"),
        (SLOW, rings(), "YX"),
        (change(QUICK, factor=(1, 2), gradual=2), rings(), "YX"),
        (QUICK, np.stack([rings(seed=n) for n in range(4)]), "SYX"),
        (change(QUICK, kernel="gaussian:1.2"), rings(), "YX"),
        (change(QUICK, noise=0.04), noisy(rings()), "YX"),
        (
            change(QUICK, noise=0.04, factor=4, start="learned", learned_steps=1),
            noisy(rings()),
            "YX",
        ),
    ],
    ids=["three", "paper", "one axis", "RGBA", "base", "noisy", "staged"],
)
def test_saved_networks_give_the_same_pixels(
    config: Config,
    image: NDArray[Any],
    axes: str,
    tmp_path: Path,
    request: pytest.FixtureRequest,
) -> None:
    first = run(image, config, axes)
    (kept,) = first.networks
    assert kept is not None
    case = request.node.callspec.id
    assert kept.base == (case == "base")
    assert (kept.further is not None) == (case == "staged")
    path = save_networks(first, tmp_path / "n.safetensors")
    second = run(image, again(config, path), axes)
    assert [plane.returned for plane in second.report.planes] == ["learned"]
    assert second.report.planes[0].steps == 0
    np.testing.assert_allclose(second.image, first.image, atol=1e-5)


def test_files_hold_what_they_were_given(two: Path, tmp_path: Path) -> None:
    loaded = load_networks(two)
    twin = write_networks(tmp_path / "twin.safetensors", loaded)
    assert twin.read_bytes() == two.read_bytes()
    for one, other in zip(loaded, load_networks(twin), strict=True):
        assert one is not None
        assert other is not None
        for name in ("network", "width", "dilations", "factors", "ratio", "kernel"):
            assert getattr(one, name) == getattr(other, name)
        for name, array in one.weights.items():
            assert array.dtype == np.float32
            np.testing.assert_array_equal(array, other.weights[name])


def test_saved_networks_are_apart_from_those_that_go_on() -> None:
    network = ResidualNetwork(1, (2, 2), width=4, dilations=(2,))
    kept = checkpoint_of(network, plan_of(QUICK))
    assert kept is not None
    before = {k: v.copy() for k, v in kept.weights.items()}
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(1)
    for name, array in kept.weights.items():
        np.testing.assert_array_equal(array, before[name])
    other = restored(kept)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.add_(1)
    for name, array in kept.weights.items():
        np.testing.assert_array_equal(array, before[name])


# ---- a sister image


def psnr(image: NDArray[Any], truth: NDArray[Any]) -> float:
    error = (image.astype(float) - truth)[4:-4, 4:-4]
    return float(-10 * np.log10(np.mean(error**2)))


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Config, Path]:
    """Networks that have learned something worth having."""
    config = change(QUICK, steps=120, crop_px=24, batch=4, always=False)
    result = run(blurred(rings(128, 128, pitch=2)), config)
    folder = tmp_path_factory.mktemp("trained")
    return config, save_networks(result, folder / "n.safetensors")


def test_a_sister_image_gains_without_training(trained: tuple[Config, Path]) -> None:
    config, path = trained
    truth = rings(128, 128, seed=9, pitch=2)
    made = run(blurred(truth), again(config, path))
    plain = imresize(blurred(truth), (2, 2))
    assert psnr(made.image, truth) > psnr(plain, truth) + 1
    assert "Saved networks were used without further training." in made.report.sentence
    assert "Training started" not in made.report.sentence


def test_training_goes_on_from_saved_networks(trained: tuple[Config, Path]) -> None:
    config, path = trained
    image = blurred(rings(128, 128, seed=9, pitch=2))

    fresh = run(image, change(config, steps=1)).report.planes[0].gain_db
    made = run(image, again(config, path, steps=1))
    gone_on = made.report.planes[0].gain_db
    assert gone_on is not None
    assert fresh is not None
    assert gone_on > fresh + 0.5
    assert made.report.planes[0].steps == 1
    assert "started from saved networks" in made.report.sentence
    (before,), (after,) = load_networks(path), made.networks
    assert before is not None
    assert after is not None
    moved = [
        not np.array_equal(before.weights[name], array)
        for name, array in after.weights.items()
    ]
    assert any(moved)


def test_without_gain_bicubic_is_returned(trained: tuple[Config, Path]) -> None:
    config, path = trained
    y, x = np.mgrid[:48, :48] / 9
    hills = (100 + 30 * np.sin(y) + 20 * np.cos(x)).astype(np.float32)
    made = run(hills, again(config, path))
    assert made.report.planes[0].returned == "bicubic"
    assert made.report.sentence.startswith(
        "The saved networks brought no improvement, so bicubic interpolation was "
        "returned."
    )
    assert made.networks == ()
    np.testing.assert_allclose(made.image, imresize(hills, (2, 2)), rtol=1e-4)


@pytest.mark.parametrize("steps", [0, 3])
def test_same_file_same_pixels(one: Path, steps: int) -> None:
    config = again(QUICK, one, steps=steps)
    image = rings(seed=2)
    first = run(image, config).image
    torch.rand(7)  # whatever else draws random numbers in between
    np.testing.assert_array_equal(run(image, config).image, first)
    other = run(image, change(config, seed=1)).image
    assert np.array_equal(other, first) == (steps == 0)


def test_the_architecture_comes_from_the_file(tmp_path: Path) -> None:
    config = QUICK
    path = save_networks(run(rings(), config), tmp_path / "n.safetensors")
    wide = again(config, path, width=20, blocks=1)
    made = run(rings(), wide)
    (kept,) = made.networks
    assert kept is not None
    assert (kept.width, kept.dilations) == (8, (1, 1))
    np.testing.assert_allclose(
        made.image, run(rings(), again(config, path)).image, atol=1e-6
    )


@pytest.mark.parametrize("factor", [3, 1.5, (4, 2)], ids=str)
def test_residual_networks_serve_other_factors(one: Path, factor: Any) -> None:
    made = run(rings(), again(QUICK, one, factor=factor))
    assert made.report.planes[0].returned == "learned"


def test_the_recipe_names_the_file_and_its_content(one: Path, two: Path) -> None:
    stack = labelled(rings(), axes="YX")
    config = again(QUICK, one)
    told = recipe(stack, drain(upscale_steps(stack, config)))
    assert told["config"]["start"] == str(one)
    assert Config.from_dict(told["config"]).digest() == config.digest()
    assert len(told["report"]["start_checksum"]) == 16
    assert told["report"]["start_checksum"] != checksum(two)
    assert recipe(stack, run(rings()))["report"]["start_checksum"] == ""


# ---- noise


def test_networks_of_clean_planes_serve_noisy_ones(one: Path) -> None:
    made = run(noisy(rings()), again(QUICK, one, noise=0.04, steps=2))
    assert np.isfinite(made.image).all()


# ---- channels and planes


def test_every_channel_has_its_own_networks(two: Path, tmp_path: Path) -> None:
    first, second = load_networks(two)
    assert first is not None
    assert second is not None
    data = np.stack([rings()] * 2)
    made = run(data, again(QUICK, two), "CYX").image
    assert not np.allclose(made[0], made[1], atol=1e-4)
    turned = write_networks(tmp_path / "turned.safetensors", (second, first))
    other = run(data, again(QUICK, turned), "CYX").image
    np.testing.assert_allclose(other, made[::-1], atol=1e-6)


def test_one_network_serves_all_channels(one: Path) -> None:
    made = run(np.stack([rings()] * 2), again(QUICK, one), "CYX").image
    np.testing.assert_allclose(made[1], made[0], atol=1e-6)


def test_of_a_stack_the_middle_plane_is_kept(tmp_path: Path) -> None:
    flat = np.full((40, 44), 0.5, np.float32)
    for planes, kept in (
        ([rings(seed=n) for n in range(3)], 1),
        ([rings(), rings(seed=1), flat, flat, flat], 1),
    ):
        data = np.stack(planes)
        first = run(data, change(QUICK, strategy="independent"), "ZYX")
        assert len(first.networks) == 1
        path = save_networks(first, tmp_path / "n.safetensors", overwrite=True)
        second = run(data, again(QUICK, path), "ZYX")
        close = [
            bool(np.allclose(a, b, atol=1e-5))
            for a, b in zip(first.image[:2], second.image[:2], strict=True)
        ]
        assert close == [number == kept for number in range(2)]


def test_a_channel_that_learned_nothing_has_no_networks(tmp_path: Path) -> None:
    flat = np.full((40, 44), 0.5, np.float32)
    first = run(np.stack([flat, rings()]), axes="CYX")
    assert [kept is None for kept in first.networks] == [True, False]
    path = save_networks(first, tmp_path / "n.safetensors")
    sister = np.stack([rings(seed=1), rings(seed=2)])
    made = run(sister, again(QUICK, path), "CYX").report.planes
    assert [plane.returned for plane in made] == ["bicubic", "learned"]
    assert "no networks for this channel" in made[0].sentence
    trained = run(sister, again(QUICK, path, steps=2, width=12), "CYX")
    widths = [kept.width for kept in trained.networks if kept is not None]
    # The first as the settings have it, since it starts from nothing.
    assert widths == [12, 8]


def test_without_networks_there_is_nothing_to_save(tmp_path: Path) -> None:
    result = run(rings(), change(INSTANT, device="cpu", noise="off", always=True))
    assert result.networks == ()
    with pytest.raises(InputError, match="no networks to save"):
        save_networks(result, tmp_path / "n.safetensors")
    assert os.listdir(tmp_path) == []


# ---- files that are refused


def renamed(content: bytes, **changes: Any) -> bytes:
    """File of networks that tells something else about itself."""
    length = int.from_bytes(content[:8], "little")
    about = json.loads(json.loads(content[8 : 8 + length])["__metadata__"][KEY])
    metadata = {KEY: json.dumps(about | changes)}
    made: bytes = save(load(content), metadata=metadata)
    return made


def flipped(content: bytes) -> bytes:
    """One bit of the last weight is another."""
    return content[:-3] + bytes([content[-3] ^ 1]) + content[-2:]


SPOILT: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "empty": (lambda _: b"", "networks or pretrained network of napari-zssr"),
    "text": (lambda _: b"hello there, how are you", "contains no networks"),
    "foreign": (
        lambda _: save({"weight": np.zeros((3, 3), np.float32)}, {"format": "np"}),
        "contains no networks",
    ),
    "other kind": (lambda c: renamed(c, format="image"), "contains no networks"),
    "older": (lambda c: renamed(c, version=4), "older napari-zssr"),
    "newer": (lambda c: renamed(c, version=NETWORKS.version + 1), "newer napari-zssr"),
    "cut": (lambda c: c[:-40], "is damaged"),
    "cut in the header": (lambda c: c[:100], "contains no networks"),
    "flipped": (flipped, "is damaged"),
    "told otherwise": (lambda c: renamed(c, channels=[None]), "is damaged"),
    "told too little": (lambda c: renamed(c, channels=[{}]), "is damaged"),
}


@pytest.mark.parametrize("case", SPOILT)
def test_spoilt_files_are_refused(case: str, one: Path, tmp_path: Path) -> None:
    spoil, says = SPOILT[case]
    path = tmp_path / "n.safetensors"
    path.write_bytes(spoil(one.read_bytes()))
    with pytest.raises(InputError, match=says) as caught:
        run(rings(), again(QUICK, path))
    sentence = str(caught.value)
    assert str(path) in sentence
    assert "give another file" in sentence
    assert sentence.endswith(".")
    assert "\n" not in sentence


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist; give another file"):
        run(rings(), again(QUICK, tmp_path / "gone.safetensors"))


def test_weights_of_other_networks_are_refused(one: Path, tmp_path: Path) -> None:
    (kept,) = load_networks(one)
    assert kept is not None
    path = tmp_path / "n.safetensors"
    for wrong in (replace(kept, width=9), replace(kept, base=True)):
        write_networks(path, (wrong,), overwrite=True)
        with pytest.raises(InputError, match="do not match the description"):
            run(rings(), again(QUICK, path))


@pytest.mark.parametrize(
    ("image", "axes", "changes", "says"),
    [
        (rings(), "YX", {"network": "paper"}, "of the presets fast and balanced"),
        (rings(), "YX", {"factor": (1, 2)}, "the factor 2 × 2"),
        (
            np.stack([rings()] * 3),
            "SYX",
            {},
            "on grey pixels, the image has pixels of 3",
        ),
    ],
)
def test_networks_of_other_images_are_refused(
    image: Any, axes: str, changes: dict[str, Any], says: str, one: Path
) -> None:
    with pytest.raises(InputError, match=says) as caught:
        run(image, again(QUICK, one, **changes), axes)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("channels", [1, 3])
def test_networks_of_other_channels_are_refused(channels: int, two: Path) -> None:
    data = np.stack([rings()] * channels)
    with pytest.raises(InputError, match=f"2 channels, but the image has {channels}"):
        run(data, again(QUICK, two), "CYX")


def test_networks_of_the_paper_serve_their_own_factor(tmp_path: Path) -> None:
    path = save_networks(run(rings(), SLOW), tmp_path / "n.safetensors")
    with pytest.raises(InputError, match="the factor 2 × 2"):
        run(rings(), again(SLOW, path, factor=3))
    with pytest.raises(InputError, match="of the preset paper"):
        run(rings(), again(QUICK, path))


# ---- files that are written


def test_an_existing_file_is_replaced_only_when_told(tmp_path: Path) -> None:
    result = run(rings())
    path = tmp_path / "n.safetensors"
    path.write_bytes(b"precious")
    with pytest.raises(InputError, match="exists already"):
        save_networks(result, path)
    assert path.read_bytes() == b"precious"
    save_networks(result, str(path), overwrite=True)
    assert len(load_networks(path)) == 1
    with pytest.raises(InputError, match=r"use \.safetensors"):
        save_networks(result, tmp_path / "n.pt")


@pytest.mark.parametrize(
    ("error", "seen"),
    [
        (KeyboardInterrupt(), KeyboardInterrupt),
        (OSError(28, "No space left on device"), ComputeError),
    ],
)
def test_half_a_file_is_never_left(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    one: Path,
    error: BaseException,
    seen: type[BaseException],
) -> None:
    path = tmp_path / "n.safetensors"
    path.write_bytes(b"precious")

    def fail(draft: Path) -> None:
        assert draft.stat().st_size > 100
        raise error

    monkeypatch.setattr(atomic, "sync_file", fail)
    with pytest.raises(seen):
        write_networks(path, load_networks(one), overwrite=True)
    assert path.read_bytes() == b"precious"
    assert os.listdir(tmp_path) == ["n.safetensors"]


# ---- what it costs


def test_a_run_costs_what_the_saved_networks_do(two: Path, tmp_path: Path) -> None:
    loaded = load_networks(two)
    wanted = change(QUICK, width=40, blocks=7, gradual=3)
    _, plan = expected_plans(wanted, loaded, 1)
    assert (plan.width, plan.blocks, plan.ratio) == (8, 2, (2, 2))
    assert len(plan.stages) == 3
    _, untrained = expected_plans(again(wanted, two), loaded, 1)
    assert (len(untrained.stages), untrained.steps) == (1, 0)
    _, plain = expected_plans(wanted, (None, None), 1)
    assert (plain.width, plain.blocks, len(plain.stages)) == (40, 7, 3)


def test_nothing_is_done_for_training_that_is_left_out(tmp_path: Path) -> None:
    path = save_networks(run(rings(), SLOW), tmp_path / "n.safetensors")
    seen: list[Any] = []
    run(rings(), again(SLOW, path), on_event=seen.append)
    told = [event.stage for event in seen if isinstance(event, Progress)]
    # A check of what it makes, and one version of one tile, at the final factor alone.
    assert told == ["check", "check", "predict"]


def test_looking_at_a_file_needs_no_torch(
    loaded_by: Callable[[str], set[str]], one: Path
) -> None:
    code = (
        "from napari_zssr.config import FAST, change\n"
        "from napari_zssr.stack.channels import channel_starts\n"
        f"config = change(FAST, start={str(one)!r}, steps=0)\n"
        "assert channel_starts(config, 'YX', (40, 44))[0].width == 8\n"
    )
    assert "torch" not in loaded_by(code)


def test_random_weights_are_no_networks_to_start_from() -> None:
    assert channel_starts(QUICK, "CYX", (3, 40, 44)) == (None, None, None)


def test_no_random_numbers_are_drawn(one: Path) -> None:
    (kept,) = load_networks(one)
    assert kept is not None
    torch.manual_seed(3)
    wanted = torch.rand(2)
    torch.manual_seed(3)
    restored(kept)
    assert torch.equal(torch.rand(2), wanted)


@pytest.mark.parametrize("steps", [0, 2])
def test_closing_at_any_yield_leaks_nothing(
    one: Path,
    steps: int,
    closes_cleanly: Any,
    monkeypatch: pytest.MonkeyPatch,
    modes_untouched: Any,
) -> None:
    config = again(QUICK, one, steps=steps)
    alive: list[weakref.ref[Any]] = []
    start = ResidualNetwork.__init__

    def init(self: Any, *given: Any, **named: Any) -> None:
        start(self, *given, **named)
        alive.append(weakref.ref(self))

    monkeypatch.setattr(ResidualNetwork, "__init__", init)

    def begin() -> Any:
        return upscale_steps(labelled(rings(24, 24), axes="YX"), config), alive

    for taken in range(sum(1 for _ in modes_untouched(begin()[0])) + 1):
        closes_cleanly(begin, taken)
    assert alive


def test_a_result_keeps_plain_data_alone() -> None:
    (kept,) = run(rings()).networks
    assert isinstance(kept, Checkpoint)
    assert all(type(array) is np.ndarray for array in kept.weights.values())


@pytest.mark.gpu
def test_networks_travel_between_devices(tmp_path: Path) -> None:
    device = "cuda" if torch.cuda.is_available() else "mps"
    there = change(QUICK, device=device)
    path = save_networks(run(rings(), there), tmp_path / "n.safetensors")
    here = run(rings(), again(QUICK, path)).image
    made = run(rings(), again(there, path)).image
    np.testing.assert_allclose(here, made, atol=1e-3)
