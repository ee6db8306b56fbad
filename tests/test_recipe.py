from __future__ import annotations

import json

import numpy as np

from napari_zssr.config import INSTANT, Config, change
from napari_zssr.kernelspec import KernelSpec
from napari_zssr.progress import drain
from napari_zssr.stack.axis_labels import labelled
from napari_zssr.stack.recipe import part_text
from napari_zssr.stack.report import recipe, to_json_types, unfinished_recipe
from napari_zssr.stack.run import upscale_steps

STACK = labelled(
    np.random.default_rng(0).poisson(90, (1, 24, 20)).astype(np.uint16),
    axes="ZYX", spacing={"Z": 0.5, "Y": 0.1, "X": 0.1}, name="cells",
)  # fmt: skip


def test_recipe_survives_json_and_rebuilds_the_settings() -> None:
    config = change(INSTANT, kernel=KernelSpec.parse(np.ones((3, 3))), seed=5)
    result = drain(upscale_steps(STACK, config))
    made = json.loads(json.dumps(recipe(STACK, result, selection={"Z": (3, 4)})))
    assert Config.from_dict(made["config"]) == result.config
    assert made["report"]["sentence"] == result.report.sentence
    assert made["input"] == {
        "name": "cells", "checksum": "", "axes": "ZYX", "shape": [1, 24, 20],
        "spacing": [0.5, 0.1, 0.1], "units": ["um", "um", "um"],
        "selection": {"Z": [3, 4]},
    }  # fmt: skip


def test_the_part_counts_channels_from_1() -> None:
    ranges = {"Z": (22, 23), "C": (1, 2), "Y": (4, 9)}
    assert part_text({"input": {"selection": ranges}}) == "Z 22, channel 2, Y 4 to 8"


def test_unfinished_recipe_has_no_report() -> None:
    made = unfinished_recipe(STACK, INSTANT)
    assert set(made) == {"program", "config", "input"}
    assert "selection" not in made["input"]


def test_plain_is_what_json_can_hold() -> None:
    odd = {1: float("nan"), "a": (np.float32(2), np.arange(2)), "b": {"c": object}}
    assert to_json_types(odd) == {
        "1": None,
        "a": [2.0, [0, 1]],
        "b": {"c": str(object)},
    }
