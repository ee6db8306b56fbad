from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks import promises, run_benchmark, wrong_settings
from benchmarks.wrong_settings import Outcome, degraded, planted
from napari_zssr.config import INSTANT, change
from training.dead_leaves import sharp_scene


def test_what_is_planted_is_wrong_only_where_it_says_so() -> None:
    truth = sharp_scene(np.random.default_rng(0), 64).astype(np.float64)
    cases = {case.label: case for case in planted(truth, np.random.default_rng(1))}
    right, wide = cases["right blur"], cases["blur x2"]
    assert right.image is wide.image
    np.testing.assert_array_equal(
        right.image, degraded(truth, right.settings["kernel"])
    )
    assert (
        wide.settings["kernel"].sigma_px[0] == 2 * right.settings["kernel"].sigma_px[0]
    )
    turned = cases["wrong axes"].settings["kernel"].sigma_px
    assert turned == cases["right axes"].settings["kernel"].sigma_px[::-1]
    assert cases["3 % noise, noise off"].settings["noise"] == "off"


def test_wrecks_and_good_results_are_counted_apart() -> None:
    outcomes = [
        Outcome("x", -2.0, -2.0),
        Outcome("x", -1.0, 0.0),
        Outcome("x", 1.0, 1.0),
        Outcome("x", 1.0, 0.2),
        Outcome("x", 0.1, 0.0),
    ]
    row = dict(
        zip(wrong_settings.COLUMNS, wrong_settings._row("x", outcomes), strict=True)
    )
    assert (row["wrecks"], row["wrecks not delivered %"]) == (2, 50)
    assert (row["good"], row["good not delivered %"]) == (2, 50)


def test_wide_blurs_wreck_a_picture_and_right_ones_do_not(tmp_path: Path) -> None:
    grey = promises.texture(96) / 1100 * 255
    Image.fromarray(grey.astype(np.uint8)).save(tmp_path / "a.png")
    config = change(INSTANT, device="cpu", ensemble=False)
    found = run_benchmark(tmp_path, set_name="wrong-settings", config=config, limit=1)
    gains = dict(zip(found.column("settings"), found.column("forced dB"), strict=True))
    assert float(gains["right blur"] or 0) > float(gains["blur x2"] or 0)
    assert found.rows[-1][0] == "all wrong ones"
