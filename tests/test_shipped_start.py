"""The start that is shipped: from where it says, and as it says."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from napari_zssr.zssr.checkpoint import checksum
from napari_zssr.zssr.device import fast_bfloat16
from napari_zssr.zssr.pretrained import shipped_file, shipped_start
from training.learn import Learner, LearnSpec

LOG = Path(__file__).parent.parent / "docs" / "start_log.tsv"
# The start that it went on from.
BEGUN = Path(__file__).parent / "data" / "earlier_start.safetensors"
STEPS = 60


@pytest.mark.slow
def test_its_first_steps_come_out_again() -> None:
    """Rounding differs between processors, the pictures and the order do not."""
    logged = {}
    for line in LOG.read_text().splitlines()[1:]:
        stage, step, loss = line.split("\t")[:3]
        logged[stage, int(step)] = float(loss)
    settings = shipped_start().card["settings"]
    assert settings["start"] == f"sha256 {checksum(BEGUN)}"
    spec = LearnSpec(**settings | {"start": str(BEGUN)})
    learner = Learner(replace(spec, bfloat16=fast_bfloat16("cpu")))
    while learner.step < STEPS:
        loss = learner.update()
        told = logged.get(("learn", learner.step))
        if told is not None:
            assert float(loss) == pytest.approx(told, rel=0.03)
    assert sum(n <= STEPS for stage, n in logged if stage == "learn") == 3


def test_the_log_is_that_of_the_whole_run() -> None:
    settings = shipped_start().card["settings"]
    lines = LOG.read_text().splitlines()
    assert int(lines[-1].split("\t")[1]) == settings["steps"]


def test_its_channels_are_alive() -> None:
    """Rates that are too high leave most hidden channels silent for ever."""
    start = shipped_start()
    for block in range(len(start.dilations)):
        for part in ("first", "second"):
            array = start.arrays[f"body.{block}.{part}.weight"]
            strength = np.abs(array).reshape(len(array), -1).max(axis=1)
            assert np.mean(strength > 1e-3) > 0.8, f"block {block}, {part}"


def test_it_is_small() -> None:
    assert shipped_file().stat().st_size < 2_000_000
