"""The standard error in the widget: a hidden layer on the result."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from conftest import Desk

pytest.importorskip("napari")

from napari.layers import Image

from napari_zssr.config import FAST, change

QUICK = change(FAST, learned_steps=0, device="cpu", error_map=True)


def planes(*shape: int) -> np.ndarray:
    y, x = np.mgrid[: shape[-2], : shape[-1]]
    waves = 1000 * (1.5 + np.sin(np.hypot(y - 9, x - 14) / 3))
    noise = np.random.default_rng(0).normal(0, 60, shape)
    return (waves + noise).clip(0).astype(np.uint16)


def errors_of(desk: Desk) -> Image:
    (layer,) = (one for one in desk.viewer.layers if "standard error" in one.name)
    return layer


def test_a_hidden_layer_lies_on_the_result(desk: Desk) -> None:
    tilted = np.array([[1, 0, 0, 4], [0, 0.8, -0.6, 0], [0, 0.6, 0.8, 0], [0, 0, 0, 1]])
    desk.add(
        planes(3, 48, 48), scale=(0.5, 0.2, 0.2), translate=(1, 2, 3), affine=tilted
    )
    desk.run(QUICK)
    result, errors = desk.viewer.layers[-2], errors_of(desk)
    assert not errors.visible
    assert errors.data.shape == result.data.shape
    assert errors.data.dtype == np.float32
    assert np.isfinite(errors.data).all()
    for name in ("scale", "translate", "units"):
        assert np.array_equal(getattr(errors, name), getattr(result, name))
    assert np.array_equal(errors.affine.affine_matrix, result.affine.affine_matrix)
    assert np.array_equal(errors.affine.affine_matrix, tilted)
    # What was chosen stays chosen.
    assert errors not in desk.viewer.layers.selection
    assert desk.idle()


def test_of_colours_it_is_grey(desk: Desk) -> None:
    grey = (planes(48, 48) // 20).astype(np.uint8)
    desk.add(np.dstack([grey] * 3), rgb=True)
    desk.run(QUICK)
    assert errors_of(desk).data.shape == (96, 96)


def test_without_asking_there_is_none(desk: Desk) -> None:
    desk.add(planes(48, 48))
    desk.run(change(QUICK, error_map=False))
    assert len(desk.viewer.layers) == 2


@pytest.mark.parametrize("ending", ["ome.tif", "ome.zarr"])
def test_of_a_file_it_is_read_from_the_file(
    desk: Desk, tmp_path: Path, ending: str
) -> None:
    desk.add(planes(3, 48, 48), scale=(0.5, 0.2, 0.2))
    fields = desk.widget.form.result.fields
    fields["where"].value = "disk"
    fields["file"].value = tmp_path / f"cells.{ending}"
    desk.run(QUICK)
    assert (tmp_path / f"cells_error.{ending}").exists()
    data = errors_of(desk).data
    finest = data[0] if isinstance(data, list) else data
    assert np.isfinite(np.asarray(finest)).all()
    assert finest.shape == (3, 96, 96)


def test_at_factor_1_the_form_goes_on(desk: Desk) -> None:
    desk.add(planes(48, 48))
    restoring = change(QUICK, factor=1, error_map=False)
    desk.set(restoring)
    assert desk.why == ""
    desk.run(restoring)
    assert desk.idle()
    assert desk.viewer.layers[-1].data.shape == (48, 48)
    assert desk.widget.controls.run.enabled
