"""Checks of results that were enlarged along Z."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from test_axial import FILTER, KNOWN, WIDTH, cubic, fibres, seen, stack_of

from napari_zssr.config import change
from napari_zssr.errors import InputError
from napari_zssr.progress import drain
from napari_zssr.stack.check import Check, check_files
from napari_zssr.stack.original_slices import in_original_slices
from napari_zssr.stack.report import recipe
from napari_zssr.stack.run import upscale_steps
from napari_zssr.stack.verdict import verdict

NOISE = 0.03


def told(
    *returned: str, width: float = WIDTH, kernel_z: str = "gaussian:2.4"
) -> dict[str, Any]:
    """What a recipe tells of a result of factor 4 along Z, of some channels."""
    axial = [
        {"channel": n, "factor": 4.0, "returned": kind, "width_slices": width}
        for n, kind in enumerate(returned)
    ]
    config = change(KNOWN, kernel_z=kernel_z, noise="auto").to_dict()
    return {"config": config, "report": {"planes": [], "axial": axial}}


def test_the_truth_becomes_what_was_recorded() -> None:
    truth = fibres()
    original, result = stack_of(seen(truth)), stack_of(truth)
    reduced = in_original_slices(result, original, told("learned"))
    assert reduced.data.shape == original.data.shape
    assert reduced.spacing == original.spacing
    index = (slice(2, 9), slice(None), 7)
    error = np.abs(reduced.data[index] - original.data[index])
    assert error.max() < 1e-4 * np.ptp(original.data)


def test_sections_are_averaged() -> None:
    volume = np.arange(48.0)[:, None, None] * np.ones((1, 8, 8))
    stack = stack_of(np.zeros((12, 8, 8)))
    found = in_original_slices(
        stack_of(volume), stack, told("learned", width=1.0, kernel_z="section:1")
    ).data[3, 0, 0]
    assert found == pytest.approx(np.mean([12, 13, 14, 15]))


def test_interpolation_holds_its_slices() -> None:
    slices = fibres()[::4]
    given = np.stack([slices, seen(fibres())])
    made = np.stack([cubic(slices), fibres()])
    reduced = in_original_slices(
        stack_of(made, "CZYX"), stack_of(given, "CZYX"), told("cubic", "learned")
    )
    whole = reduced.data[:, :, 4:9, 5]
    assert whole == pytest.approx(given[:, :, 4:9, 5], abs=2e-4)
    assert reduced.data[0, 3, 5, 2:4] == pytest.approx(given[0, 3, 5, 2:4], abs=1e-4)
    assert reduced.data[1:, 3, 5, 2] == pytest.approx(given[1:, 3, 5, 2], abs=2e-4)


def noisy(volume: np.ndarray) -> np.ndarray:
    draw = np.random.default_rng(5)
    return (volume + draw.normal(0, NOISE, volume.shape)).astype(np.float32)


def checked(result: np.ndarray, original: np.ndarray, **given: Any) -> Check:
    return check_files(
        stack_of(result), stack_of(original), recipe=told("learned"), **given
    )


def test_the_truth_agrees_and_a_volume_that_moved_does_not() -> None:
    """The lateral checks alone could not tell: every slice shows a true one."""
    truth = fibres(shape=(96, 96, 96))
    original = noisy(seen(truth))
    kept = checked(truth, original)
    assert verdict(kept).is_good
    moved = checked(np.roll(truth, 4, axis=0), original)
    assert verdict(moved).is_good is False
    assert all(plane.agreement.disagrees for plane in moved.planes)
    sharper = checked(truth + 3 * (truth - cubic(seen(truth))), original)
    assert verdict(sharper).is_good is False


def test_a_result_says_how_it_was_compared() -> None:
    stack = stack_of(noisy(seen(fibres(), factor=2)))
    made = drain(upscale_steps(stack, change(FILTER, factor_z=2)))
    kept = recipe(stack, made)
    found = check_files(made.as_stack(), stack, recipe=kept)
    assert made.report.axial[0].returned == "learned"
    assert found.messages == (
        "Before these checks, the result was blurred as assumed and reduced along Z to "
        "the slices of the original.",
    )
    (unmeasured,) = {plane.detail.sentence[-78:] for plane in found.planes}
    assert unmeasured.endswith("not measured, because it was enlarged along Z.")
    with pytest.raises(InputError, match="leave out --networks"):
        check_files(made.as_stack(), stack, recipe=kept, networks="n.safetensors")
    fewer = replace(stack, data=stack.data[:-1])
    with pytest.raises(InputError, match="makes 46 of them"):
        check_files(made.as_stack(), fewer, recipe=kept)


def test_interpolation_that_keeps_the_noise_is_no_problem() -> None:
    slices = noisy(fibres(shape=(64, 64, 64))[::4])
    found = check_files(stack_of(cubic(slices)), stack_of(slices), recipe=told("cubic"))
    assert found.messages[0].startswith("Before these checks, the result was reduced")
    assert verdict(found).is_good
    assert "keeps the noise" in found.planes[3].agreement.sentence
    # Of networks it would be one: they have learned the noise.
    learned = told("learned", width=1e-6)
    copied = check_files(stack_of(cubic(slices)), stack_of(slices), recipe=learned)
    assert verdict(copied).is_good is False
