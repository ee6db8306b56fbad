from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray

from napari_zssr import InputError, upscale, upscale_steps
from napari_zssr.config import INSTANT, change
from napari_zssr.progress import drain
from napari_zssr.stack.axis_labels import labelled
from napari_zssr.stack.image import Channel

RIDGE = change(INSTANT, noise="off", ensemble=False, device="cpu", always=True)


def image(*shape: int) -> NDArray[np.uint16]:
    values = np.random.default_rng(0).random(shape or (24, 28))
    return (1000 * values).astype(np.uint16)


def test_arrays_come_back_as_arrays() -> None:
    made = upscale(image(), RIDGE)
    assert isinstance(made, np.ndarray)
    assert (made.shape, made.dtype) == ((48, 56), np.uint16)


def test_settings_are_changed_by_name() -> None:
    assert upscale(image(), RIDGE, factor=1.5).shape == (36, 42)
    made = upscale(image(), "instant", factor=(1, 3), device="cpu", noise="off")
    assert made.shape == (24, 84)


@pytest.mark.parametrize("kind", [str, Path])
def test_paths_are_read(tmp_path: Path, kind: Any) -> None:
    path = tmp_path / "cells.tif"
    tifffile.imwrite(path, image())
    np.testing.assert_array_equal(
        upscale(kind(path), RIDGE, axes="YX"), upscale(image(), RIDGE, axes="YX")
    )


def test_files_bring_their_spacing_and_name(tmp_path: Path) -> None:
    path = tmp_path / "cells.ome.tif"
    tifffile.imwrite(
        path,
        image(2, 24, 28),
        metadata={
            "axes": "ZYX",
            "PhysicalSizeX": 0.2,
            "PhysicalSizeXUnit": "µm",
            "PhysicalSizeY": 0.2,
            "PhysicalSizeYUnit": "µm",
        },
    )
    made = drain(upscale_steps(path, RIDGE))
    assert made.axes[-2:] == "YX"
    assert made.image.shape[-2:] == (48, 56)
    assert made.spacing[-2:] == pytest.approx((0.1, 0.1))
    assert made.report.input_name == "cells"
    assert len(made.report.input_checksum) == 16


def test_stacks_are_taken_as_they_are() -> None:
    stack = labelled(image(2, 24, 28), axes="CYX", spacing=0.3)
    made = drain(upscale_steps(stack, RIDGE))
    assert made.axes == "CYX"
    assert made.spacing[1:] == pytest.approx((0.15, 0.15))


def test_stacks_can_be_relabelled() -> None:
    stack = labelled(image(2, 24, 28), axes="CYX", spacing=0.3)
    made = drain(upscale_steps(stack, RIDGE, axes="ZYX"))
    assert made.axes == "ZYX"
    assert made.spacing[1:] == pytest.approx((0.15, 0.15))
    other = drain(upscale_steps(stack, RIDGE, spacing=0.5))
    assert other.axes == "CYX"
    assert other.spacing[1:] == pytest.approx((0.25, 0.25))


def test_relabelled_stacks_keep_what_fits() -> None:
    """Channels belong to the axis C; without one there are none."""
    bare = labelled(image(2, 24, 28), axes="CYX")
    stack = replace(bare, channels=(Channel(name="a"), Channel(name="b")), name="n")
    made = drain(upscale_steps(stack, RIDGE, spacing=0.5))
    assert [c.name for c in made.channels] == ["a", "b"]
    turned = drain(upscale_steps(stack, RIDGE, axes="ZYX"))
    assert turned.channels == ()
    assert turned.report.input_name == "n"


def test_lists_are_images_too() -> None:
    assert upscale(image().tolist(), RIDGE).shape == (48, 56)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("given", "options", "says"),
    [
        (image(), {"facter": 3}, "did you mean 'factor'"),
        (image(), {"factor": 1, "noise": "off"}, "nothing to do"),
        (image(), {"config": "balancd"}, "did you mean 'balanced'"),
        (image(), {"axes": "YXX"}, "more than once"),
        (image(), {"axes": "ZYX"}, "ZYX"),
        (image(), {"axes": "YQ"}, "Q"),
        ("gone.tif", {}, "gone.tif"),
        (np.zeros((3, 0)), {}, "empty"),
        (np.zeros((20, 20), bool), {}, "boolean"),
    ],
)
def test_bad_input_is_told_in_one_sentence(
    given: Any, options: dict[str, Any], says: str
) -> None:
    with pytest.raises(InputError, match=says) as caught:
        upscale(given, **options)
    assert "\n" not in str(caught.value)


def test_settings_are_checked_before_the_first_step() -> None:
    with pytest.raises(InputError):
        upscale_steps(image(), RIDGE, factor=-1)
    with pytest.raises(InputError):
        upscale_steps("gone.tif", RIDGE)


def test_broken_files_are_told(tmp_path: Path) -> None:
    path = tmp_path / "broken.tif"
    path.write_bytes(b"II*\x00 nothing here")
    with pytest.raises(InputError) as caught:
        upscale(path, RIDGE)
    assert "\n" not in str(caught.value)
