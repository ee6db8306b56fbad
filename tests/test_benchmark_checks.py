"""The tables on checks, of a small capture."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from benchmarks import checks
from napari_zssr.errors import InputError


def test_captures_against_their_mean(tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    truth = ndimage.gaussian_filter(draw.normal(0, 1, (128, 128)), 3)
    truth = 40 + 160 * (truth - truth.min()) / np.ptp(truth)
    captures = {"gt": truth, "noisy": truth + draw.normal(0, 15, truth.shape)}
    for folder, plane in captures.items():
        target = tmp_path / "microscopy" / "pairs" / "fmd" / folder
        target.mkdir(parents=True)
        pixels = plane.clip(0, 255).round().astype(np.uint8)
        Image.fromarray(pixels).save(target / "one.png")
    table = checks.capture_table(tmp_path, "*.png")
    assert table.column("factor") == (1, 2)
    for before, after in zip(
        table.column("original and truth"),
        table.column("result and truth"),
        strict=True,
    ):
        assert isinstance(before, float)
        assert isinstance(after, float)
        assert 2 < after < 1.1 * before
    assert table.column("agrees")[0] == "yes"
    confirmed, true = (
        table.column(name)[0] for name in ("confirmed %", "in the truth %")
    )
    assert isinstance(confirmed, float)
    assert isinstance(true, float)
    assert 50 < confirmed < 150
    assert abs(confirmed - true) < 30
    # Of 64 x 64 pixels there are too few blocks.
    assert table.column("confirmed %")[1] is None
    with pytest.raises(InputError, match=r"no capture|No image|\*.tif"):
        checks.capture_table(tmp_path, "*.tif")


def test_spots_are_planted_apart() -> None:
    case = next(checks.cases())
    result, places = checks._planted(case, 0)
    assert len(places) == checks.SPOTS
    added = (result - case.truth)[0]
    assert all(added[tuple(place)] > 0 for place in places)
    assert added.min() >= 0
