from __future__ import annotations

import dataclasses
import json
import math
import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_zssr.config import BALANCED, PAPER, PRESETS, Config, change, preset
from napari_zssr.errors import InputError
from napari_zssr.kernelspec import KernelSpec


@dataclass(frozen=True)
class Bad:
    """Settings that must be refused, and words that the sentence must hold."""

    settings: dict[str, Any]
    says: str

    def __str__(self) -> str:
        return repr(self.settings)


BAD = [
    Bad({"factor": 1, "noise": "off"}, "leave nothing to do"),
    Bad({"factor": 0.5}, "from 1 to 16"),
    Bad({"factor": (2, 0.9)}, "from 1 to 16"),
    Bad({"factor": 16.5}, "from 1 to 16"),
    Bad({"factor": math.nan}, "from 1 to 16"),
    Bad({"factor": math.inf}, "from 1 to 16"),
    Bad({"factor": -2}, "from 1 to 16"),
    Bad({"factor": (2, 2, 2)}, "one number, or one each for Y and X"),
    Bad({"factor": "two"}, "one number, or one each for Y and X"),
    Bad({"factor": {}}, "one number, or one each for Y and X"),
    Bad({"network": "residul"}, "did you mean 'residual'?"),
    Bad({"precision": "float16"}, "auto, float32, bfloat16"),
    Bad({"nonfinite": "ignore"}, "refuse, fill"),
    Bad({"noise": "outo"}, "'auto', 'off'"),
    Bad({"noise": -0.1}, "(0 to 1)"),
    Bad({"noise": math.nan}, "(0 to 1)"),
    Bad({"noise": True}, "(0 to 1)"),
    Bad({"noise": np.array([0.1, 0.2])}, "(0 to 1)"),
    Bad(
        {"start": "random", "steps": 0},
        "start from 'learned' or a file of saved networks",
    ),
    Bad({"start": "learned", "network": "ridge"}, "another preset"),
    Bad({"start": "learned", "network": "paper"}, "presets fast and balanced"),
    Bad({"start": "lerned"}, "did you mean 'learned'?"),
    Bad({"learned_steps": -1}, "whole number of at least 0"),
    Bad({"ratio": 1}, "whole number of at least 2"),
    Bad({"start": "nets.safetensors", "steps": -1}, "whole number of at least 0"),
    Bad({"start": "randm"}, "did you mean 'random'?"),
    Bad({"start": "nets.pt"}, ".safetensors"),
    Bad({"start": None}, ".safetensors"),
    Bad({"start": "nets.safetensors", "network": "ridge"}, "another preset"),
    Bad({"steps": 10.0}, "whole number of at least 0"),
    Bad({"start": "random", "steps": True}, "whole number of at least 1"),
    Bad({"gradual": 0}, "whole number of at least 1"),
    Bad({"back_projection": -1}, "whole number of at least 0"),
    Bad({"seed": -1}, "whole number of at least 0"),
    Bad({"tile_px": 0}, "whole number of at least 16"),
    Bad({"ensemble": "no"}, "True or False"),
    Bad({"always": 1}, "True or False"),
    Bad({"device": "gpu"}, "auto, cpu, cuda, cuda:N or mps"),
    Bad({"device": 0}, "auto, cpu, cuda, cuda:N or mps"),
    Bad({"kernel": "gausian:1"}, "'gaussian:SIGMA'"),
    Bad({"kernel": "gaussian:"}, "gaussian:SIGMA_Y,SIGMA_X"),
    Bad({"kernel": "gaussian:1,2,3,4"}, "gaussian:SIGMA_Y,SIGMA_X"),
    Bad({"kernel": "gaussian:0"}, "above 0"),
    Bad({"kernel": "gaussian:nan"}, "above 0"),
    Bad({"kernel": np.ones(3)}, "axes (Y, X), but shape (3,)"),
    Bad({"kernel": np.ones((0, 3))}, "axes (Y, X), but shape (0, 3)"),
    Bad({"kernel": np.zeros((3, 3))}, "positive sum"),
    Bad({"kernel": -np.ones((3, 3))}, "positive sum"),
    Bad({"kernel": np.full((3, 3), np.nan)}, "NaN or infinite"),
    Bad({"kernel": np.ones((3, 3), complex)}, "real numbers"),
    Bad({"kernel": np.full((3, 3), "a")}, "real numbers"),
]


@pytest.mark.parametrize("bad", BAD, ids=str)
def test_bad_settings_are_refused_in_one_sentence(bad: Bad) -> None:
    with pytest.raises(InputError) as caught:
        Config(**bad.settings)
    sentence = str(caught.value)
    assert bad.says in sentence
    assert "\n" not in sentence
    assert sentence.endswith(".")


BAD_KERNELS = [
    Bad({"kind": "box"}, "bicubic, gaussian, array, file"),
    Bad({"kind": "array"}, "none was given"),
    Bad({"kind": "file"}, "has no path"),
    Bad({"kind": "gaussian"}, "above 0"),
    Bad({"kind": "gaussian", "sigma_px": (1.0, 2.0, 3.0)}, "above 0"),
    Bad({"kind": "gaussian", "sigma_px": None}, "above 0"),
]


@pytest.mark.parametrize("bad", BAD_KERNELS, ids=str)
def test_bad_kernels_are_refused(bad: Bad) -> None:
    with pytest.raises(InputError) as caught:
        KernelSpec(**bad.settings)
    assert bad.says in str(caught.value)


@pytest.mark.parametrize(
    ("given_name", "nearest"),
    [
        ("back_projections", "back_projection"),
        ("scale", None),
        ("ensembel", "ensemble"),
    ],
)
def test_unknown_settings_are_refused_with_the_nearest_name(
    given_name: str, nearest: str | None
) -> None:
    for make in (lambda s: Config.from_dict(s), lambda s: change(BALANCED, **s)):
        with pytest.raises(InputError) as caught:
            make({given_name: 1})
        assert repr(given_name) in str(caught.value)
        assert ("did you mean" in str(caught.value)) == (nearest is not None)
        assert (nearest or "") in str(caught.value)


def test_unknown_presets_are_refused_with_the_nearest_name() -> None:
    with pytest.raises(InputError, match="did you mean 'balanced'"):
        preset("balnced")


@pytest.mark.parametrize("name", PRESETS)
def test_presets_stand_under_their_own_name(name: str) -> None:
    assert preset(name).preset == name


def test_defaults_are_balanced() -> None:
    assert Config() == BALANCED


KERNELS = [
    "bicubic",
    "gaussian:1.2",
    "gaussian:1.2,0.8",
    "gaussian:1.2,0.8,30",
    "blur.npy",
    np.arange(1.0, 13).reshape(3, 4),
]


@pytest.mark.parametrize("kernel", KERNELS, ids=str)
def test_settings_survive_json(kernel: Any) -> None:
    config = change(PAPER, kernel=kernel, factor=(1, 1.5), noise=0.02, tile_px=64)
    again = Config.from_dict(json.loads(json.dumps(config.to_dict())))
    assert again == config
    assert hash(again) == hash(config)
    assert again.digest() == config.digest()


@pytest.mark.parametrize("kernel", KERNELS, ids=str)
def test_settings_survive_pickle(kernel: Any) -> None:
    config = Config(kernel=kernel)
    assert pickle.loads(pickle.dumps(config)) == config


@given(
    factor=st.tuples(st.floats(1.01, 16), st.floats(1, 16)),
    seed=st.integers(0, 2**63),
    noise=st.one_of(st.sampled_from(["auto", "off"]), st.floats(0, 1)),
)
def test_any_settings_survive_json(factor: Any, seed: int, noise: Any) -> None:
    config = Config(factor=factor, seed=seed, noise=noise)
    assert Config.from_dict(json.loads(json.dumps(config.to_dict()))) == config


def test_saved_networks_may_be_left_as_they_are() -> None:
    config = Config(start=Path("in") / "nets.safetensors", steps=0)  # type: ignore[arg-type]
    assert config.start_file == config.start == str(Path("in") / "nets.safetensors")
    assert Config.from_dict(json.loads(json.dumps(config.to_dict()))) == config
    assert Config().start_file is None


def test_a_learned_start_may_be_left_as_it_is() -> None:
    config = Config(start="learned", steps=0, learned_steps=0)
    assert config.start_file is None
    assert Config.from_dict(json.loads(json.dumps(config.to_dict()))) == config


def test_recipes_from_before_learned_starts_are_understood() -> None:
    old = BALANCED.to_dict()
    del old["learned_steps"], old["ratio"]
    assert Config.from_dict(old) == BALANCED
    assert Config.from_dict(old | {"networks": 1}) == BALANCED


def test_numpy_numbers_become_plain_ones() -> None:
    config = Config(seed=np.int64(3), factor=np.float32(2), noise=np.float64(0.1))
    assert config == Config(seed=3, factor=2, noise=0.1)
    json.dumps(config.to_dict())


def test_array_kernels_are_compared_and_hashed_by_content() -> None:
    weights = np.ones((3, 3))
    first = KernelSpec.parse(weights)
    assert first == KernelSpec.parse(weights.copy())
    assert hash(first) == hash(KernelSpec.parse(weights.astype(np.float32)))
    assert first != KernelSpec.parse(np.ones((1, 9)))
    assert first != KernelSpec.parse(weights * 2)
    assert Config(kernel=first).digest() != Config().digest()


def test_array_kernels_do_not_follow_their_source() -> None:
    weights = np.ones((3, 3))
    kernel = KernelSpec.parse(weights)
    weights[0, 0] = 7
    assert kernel.array is not None
    assert kernel.array[0, 0] == 1
    with pytest.raises(ValueError, match="read-only"):
        kernel.array[0, 0] = 7


def test_gaussian_text() -> None:
    assert KernelSpec.parse("gaussian:1.5").sigma_px == (1.5, 1.5)
    kernel = KernelSpec.parse("gaussian:1.5,0.5,30")
    assert (kernel.sigma_px, kernel.angle_deg) == ((1.5, 0.5), 30.0)


def test_settings_are_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        BALANCED.steps = 3  # type: ignore[misc]


def test_every_setting_changes_the_digest() -> None:
    others: dict[str, Any] = {
        "factor": 3, "preset": "mine", "network": "paper", "steps": 7, "batch": 7,
        "crop_px": 77, "width": 7, "blocks": 2, "kernel": "gaussian:1",
        "noise": "off",
        "gradual": 2, "back_projection": 0, "ensemble": False, "always": True,
        "error_map": True,
        "seed": 7, "device": "cpu", "precision": "float32", "tile_px": 512,
        "nonfinite": "fill", "dtype": "same", "start": "nets.safetensors",
        "strategy": "shared", "tuned_steps": 7, "learned_steps": 7, "ratio": 3,
        "factor_z": 2, "kernel_z": "optics",
    }  # fmt: skip
    assert set(others) == {f.name for f in dataclasses.fields(Config)}
    base = change(BALANCED, start="random")
    digests = {change(base, **{name: v}).digest() for name, v in others.items()}
    assert len(digests) == len(others)
    assert base.digest() not in digests


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("estimate", "estimate"),
        ("optics", "optics"),
        ("optics:NA=1.4,wavelength_nm=520,modality=confocal", "optics"),
        ("psf.npy", "file"),
    ],
)
def test_kernels_from_text_survive_as_plain_data(text: str, kind: str) -> None:
    spec = KernelSpec.parse(text)
    assert spec.kind == kind
    assert not spec.is_concrete
    assert KernelSpec.from_dict(json.loads(json.dumps(spec.to_dict()))) == spec
    if spec.optics is not None:
        assert KernelSpec.parse(spec.optics.text) == spec


def test_a_point_spread_function_has_a_pixel_size() -> None:
    psf = KernelSpec(kind="psf", array=np.ones((3, 3)), spacing_um=(0.1, 0.2))
    assert KernelSpec.from_dict(json.loads(json.dumps(psf.to_dict()))) == psf
    assert psf != KernelSpec(kind="psf", array=np.ones((3, 3)), spacing_um=(0.1, 0.1))
    with pytest.raises(InputError, match="spacing_um is 0"):
        KernelSpec(kind="psf", array=np.ones((3, 3)))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("optics:na=-1", "na is '-1'; give a number above 0"),
        ("optics:wavelength=520", "did you mean 'wavelength_nm'"),
        ("optics:modality=multiphoton", "modality is"),
        ("optics:na", "is not understood"),
        ("gaussian:1,1,inf", "no finite angle"),
    ],
)
def test_kernels_that_cannot_be_are_refused(text: str, says: str) -> None:
    with pytest.raises(InputError, match=says):
        KernelSpec.parse(text)
