"""The first run on a card, tried without one."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from typer import Exit

from benchmarks import gpu


def test_every_check_passes_on_a_processor(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], same_threads: None
) -> None:
    torch.set_num_threads(1)
    gpu.main("cpu", tmp_path / "table.csv", shrink=32)
    shown = capsys.readouterr().out
    assert "FAILED" not in shown
    assert shown.count("ok    ") == 16
    lines = (tmp_path / "table.csv").read_text().splitlines()
    assert len(lines) == 1 + len(gpu.SIZES) * len(gpu.PRESETS)


def test_a_check_that_fails_is_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    failed = [gpu.Check("same pixels twice", "7 differ", False)]
    monkeypatch.setattr(gpu, "checks", lambda *_: iter(failed))
    monkeypatch.setattr(gpu, "times", lambda *_: iter(()))
    with pytest.raises(Exit):
        gpu.main("cpu")
    assert "FAILED same pixels twice: 7 differ" in capsys.readouterr().out
