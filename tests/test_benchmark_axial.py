"""The benchmark of stacks along Z, on small volumes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks import axial, volumes
from benchmarks.job import Job
from napari_zssr.config import INSTANT, change

SMALL = (24, 40, 40)


@pytest.mark.parametrize("kind", ["membranes", "nuclei", "filaments"])
def test_volumes_are_alike_in_all_directions(kind: str) -> None:
    volume = volumes.generated(kind, (48, 48, 48), 0)
    steps = [np.abs(np.diff(volume, axis=axis)).mean() for axis in range(3)]
    assert max(steps) < 1.5 * min(steps)
    assert 0 < volume.mean() < 0.6


def test_rivals_agree_with_the_slices() -> None:
    """Made finer they are closer to the truth than linear interpolation."""
    case = axial.Case(name="membranes", seed=0)
    truth = volumes.generated("membranes", (48, 48, 48), 0)
    slices = volumes.thinned(truth, case.factor, case.width, 0)
    cubic = axial.interpolated(slices, case.factor)
    linear = axial.linearly_interpolated(slices, case.factor)
    projected = axial.back_projected(cubic, slices, case)
    deconvolved = axial.richardson_lucy(slices, case)[-1]
    found = [axial.psnr(a, truth) for a in (linear, cubic, projected, deconvolved)]
    assert found == sorted(found)
    assert axial.correlation(truth, truth) == pytest.approx(1)
    assert axial.correlation(deconvolved, truth) > axial.correlation(cubic, truth)


def test_the_table(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(axial, "SHAPE", SMALL)
    job = Job(
        data=tmp_path,
        set_name="axial",
        config=change(INSTANT, device="cpu"),
        limit=1,
        subset="judge",
    )
    table = axial.axial(job)
    (row,) = table.rows
    assert row[0] == "membranes"
    assert len(row) == len(table.columns)
