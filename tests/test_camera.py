"""Noise as a camera's data sheet gives it."""

from __future__ import annotations

import numpy as np
import pytest

from napari_zssr import InputError, upscale
from napari_zssr.checks import CameraNoise, parsed_camera
from napari_zssr.config import FAST, Config, change
from napari_zssr.imaging.noise import NoiseModel
from napari_zssr.progress import drain
from napari_zssr.stack.axis_labels import labelled
from napari_zssr.stack.run import upscale_steps

CAMERA = CameraNoise(gain=0.46, offset=100, read_noise=1.6)
SHORT = {"learned_steps": 0, "ensemble": False, "device": "cpu"}


@pytest.mark.parametrize(
    "text",
    [
        "camera: gain 0.46, offset 100, read noise 1.6",
        "camera: gain 0.46 e-/count, offset 100 counts, read noise 1.6 e-",
        "Camera: read noise 1.6 e, gain = 0.46 e-/ADU, offset: 100 ADU",
        "camera gain 0.46, offset 1e2, read noise 1.6 electrons",
    ],
)
def test_a_camera_is_read_from_words(text: str) -> None:
    assert parsed_camera(text) == CAMERA
    assert parsed_camera(str(CAMERA)) == CAMERA
    assert change(FAST, noise=text).noise == str(CAMERA)
    assert change(FAST, noise=CAMERA).noise == str(CAMERA)
    config = change(FAST, noise=text)
    assert Config.from_dict(config.to_dict()) == config


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (
            "camera: gain 0, offset 100, read noise 1.6",
            "gain of the camera is 0; give electrons",
        ),
        ("camera: gain -2, offset 100, read noise 1.6", "gain of the camera is -2"),
        ("camera: gain 2, offset 100, read noise -1", "read noise of the camera is -1"),
        ("camera: gain 2 counts/e-, offset 1, read noise 1", "in electrons per count"),
        ("camera: gain 2, offset 1, read noise 1 counts", "give it in electrons"),
        ("camera: gain 2, offset 1 e-, read noise 1", "give it in counts"),
        ("camera: gain 2, offset 1", "has no read noise"),
        (
            "camera: gain 2, gain 3, offset 1, read noise 1",
            "understood at 'gain 3'",
        ),
        ("camera: iso 800", "not understood at 'iso 800'"),
        ("camera", "write it as 'camera: gain 0.46"),
        ("photons", "give 'auto', 'off', a standard deviation"),
        (1.5, "as a fraction of the intensity range"),
    ],
)
def test_what_cannot_be_a_camera_is_refused(text: object, sentence: str) -> None:
    with pytest.raises(InputError) as caught:
        change(FAST, noise=text)
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)


def recorded(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Electrons, and the counts that the camera makes of them."""
    draw = np.random.default_rng(seed)
    y, x = np.mgrid[:96, :96] / 9
    electrons = 60 + 50 * np.sin(y) * np.cos(x)
    seen = draw.poisson(electrons) + CAMERA.read_noise * draw.standard_normal((96, 96))
    return electrons, np.round(CAMERA.offset + seen / CAMERA.gain).astype(np.uint16)


def test_the_model_is_that_of_the_counts() -> None:
    electrons, counts = recorded()
    wanted = CAMERA.offset + electrons / CAMERA.gain
    model = NoiseModel.of_camera(CAMERA)
    for part in (electrons < 40, electrons > 80):
        found = (counts - wanted)[part].std()
        assert model.sigma(float(wanted[part].mean())) == pytest.approx(found, rel=0.05)


def test_a_run_takes_the_camera_at_its_word() -> None:
    _, counts = recorded()
    config = change(FAST, noise=str(CAMERA), **SHORT)
    report = drain(upscale_steps(labelled(counts, axes="YX"), config)).report
    low, high = np.percentile(counts, (0.1, 99.9))
    middle = NoiseModel.of_camera(CAMERA).sigma((low + high) / 2) / (high - low)
    assert report.planes[0].noise == pytest.approx(middle, rel=0.1)


@pytest.mark.parametrize(
    ("offset", "sentence"),
    [(100, "is above the brightest pixels"), (0, "of the image's range; check its")],
)
def test_a_camera_in_other_units_than_the_image_is_refused(
    offset: int, sentence: str
) -> None:
    _, counts = recorded()
    share = (counts / 65535).astype(np.float32)
    camera = CameraNoise(gain=0.46, offset=offset, read_noise=1.6)
    with pytest.raises(InputError, match=sentence):
        upscale(share, axes="YX", preset="fast", noise=camera, **SHORT)
