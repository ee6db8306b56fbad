from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from napari_zssr.api import upscale_steps
from napari_zssr.config import INSTANT, change
from napari_zssr.imaging.artifacts import line_offsets, without_stripes
from napari_zssr.progress import drain


def _picture(rows: int = 120, columns: int = 140) -> np.ndarray:
    """(Y, X) in 0..1: blots of several sizes with 1 % noise."""
    draw = np.random.default_rng(2)
    plane = np.zeros((rows, columns))
    for sigma in (4, 8, 16):
        blots = ndimage.gaussian_filter(draw.normal(size=(rows, columns)), sigma)
        plane += blots / blots.std()
    plane = (plane - plane.min()) / np.ptp(plane)
    return plane + draw.normal(0, 0.01, plane.shape)


def _offsets(count: int, strength: float = 0.015) -> np.ndarray:
    return np.random.default_rng(5).normal(0, strength, count)


@pytest.mark.parametrize("axis", [0, 1])
def test_stripes_are_taken_out(axis: int) -> None:
    clean = _picture()
    added = np.expand_dims(_offsets(clean.shape[axis]), 1 - axis)
    striped = (clean + added).astype(np.float32)[None]
    treated, strength = without_stripes(striped)
    assert 0.004 < strength < 0.02
    left = (treated[0] - clean).mean(axis=1 - axis)
    assert left.std() < 0.75 * 0.015
    assert treated.dtype == np.float32
    assert line_offsets(striped[0], 1 - axis) is None


def test_an_image_without_stripes_is_the_same_array() -> None:
    clean = _picture().astype(np.float32)[None]
    treated, strength = without_stripes(clean)
    assert treated is clean
    assert strength == 0
    small = np.zeros((1, 40, 200), np.float32)
    assert without_stripes(small)[0] is small


def test_a_grid_is_no_stripes() -> None:
    plane = _picture()
    grid = 0.02 * np.sign(np.sin(2 * np.pi * np.arange(plane.shape[1]) / 5))
    assert line_offsets(plane + grid, 1) is None
    bold = _offsets(plane.shape[1], 0.3)
    assert line_offsets(plane + bold, 1) is None
    assert line_offsets(plane + 0.0005 * bold, 1) is None


@pytest.mark.parametrize("axis", [0, 1])
def test_an_edge_along_a_whole_line_is_no_stripe(axis: int) -> None:
    """Such as a horizon."""
    plane = _picture(160, 240)
    plane[69:71] -= 0.1
    assert line_offsets(plane if axis == 0 else plane.T, axis) is None
    striped = _picture(160, 240) + _offsets(160)[:, None]
    assert line_offsets(striped if axis == 0 else striped.T, axis) is not None


def test_a_striped_plane_is_learned_even_unless_noise_is_off() -> None:
    plane = _picture()
    image = (30000 * (plane + _offsets(plane.shape[1])) + 3000).astype(np.uint16)
    auto = drain(upscale_steps(image, change(INSTANT, always=True), axes="YX"))
    assert "Stripes" in auto.report.sentence
    off = change(INSTANT, always=True, noise="off")
    assert "Stripes" not in drain(upscale_steps(image, off, axes="YX")).report.sentence
    even = auto.image.astype(float).mean(axis=0)
    rough = np.diff(image.astype(float).mean(axis=0)).std()
    assert np.diff(even[::2]).std() < 0.8 * rough
