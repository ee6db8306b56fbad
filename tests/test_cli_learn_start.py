from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from napari_zssr.cli import run
from napari_zssr.progress import Progress
from napari_zssr.zssr.pretrained import load_start
from training import learn, scenes
from training.__main__ import command as training_command

TINY = ["--scenes", "4", "--steps", "3", "--batch", "2"]
CPU = ["--device", "cpu"]


def main(arguments: list[str]) -> int:
    return run(training_command, "python -m training", arguments)


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few scenes at first, the state kept after every step."""
    monkeypatch.setattr(scenes, "FIRST_SCENES", 3)
    monkeypatch.setattr(learn, "SAVE_EVERY", 1)


def test_a_start_is_learned_and_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "start.safetensors"
    command = ["--out", str(out), "--seed", "5", *TINY, *CPU]
    assert main(command) == 0
    said = capsys.readouterr().out
    assert "learned in 3 steps from 4 synthetic" in said
    start = load_start(out)
    assert start.card["settings"]["seed"] == 5
    assert start.card["settings"]["device"] == "cpu"
    assert list(tmp_path.iterdir()) == [out]
    assert main(command) == 2
    assert "exists already" in capsys.readouterr().err
    first = out.read_bytes()
    assert main([*command, "--overwrite", "--quiet"]) == 0
    assert capsys.readouterr().err == ""
    assert out.read_bytes() == first


def test_ctrl_c_leaves_what_the_same_command_goes_on_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    whole, out = tmp_path / "whole.safetensors", tmp_path / "start.safetensors"
    assert main(["--out", str(whole), *TINY, *CPU]) == 0
    true = learn.learn_start
    seen: list[int] = []

    def stopped(spec: Any, **given: Any) -> Iterator[Any]:
        for event in true(spec, **given):
            if event.step == 2:
                raise KeyboardInterrupt
            yield event

    def watched(spec: Any, **given: Any) -> Iterator[Any]:
        steps = true(spec, **given)
        while True:
            try:
                event = next(steps)
            except StopIteration as stop:
                return stop.value
            assert isinstance(event, Progress)
            seen.append(event.step)
            yield event

    command = ["--out", str(out), *TINY, *CPU]
    monkeypatch.setattr(learn, "learn_start", stopped)
    capsys.readouterr()
    assert main(command) == 130
    part = tmp_path / "start.safetensors.part"
    assert part.exists()
    assert not out.exists()
    assert f"goes on from {part}" in capsys.readouterr().err
    monkeypatch.setattr(learn, "learn_start", watched)
    assert main(command) == 0
    assert f"Goes on from {part}" in capsys.readouterr().err
    # The state was kept before the second step was told of.
    assert seen == [2, 3]
    assert not part.exists()
    wanted, made = load_start(whole), load_start(out)
    for name, array in wanted.arrays.items():
        assert np.array_equal(array, made.arrays[name])


def test_a_checkpoint_that_is_named_stays(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, kept = tmp_path / "start.safetensors", tmp_path / "run.pt"
    command = ["--out", str(out), "--checkpoint", str(kept), *TINY]
    assert main([*command, *CPU]) == 0
    assert kept.exists()
    again = [*command, "--overwrite", *CPU]
    assert main([*again, "--seed", "1"]) == 2
    assert "other settings" in capsys.readouterr().err
    kept.write_bytes(b"no state")
    assert main(again) == 2
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert said == f"{kept} keeps no run of learn-start; give another file."


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--out", "start.pt"], "use .safetensors"),
        (["--out", "none/start.safetensors"], "does not exist"),
        (["--out", "a.safetensors", "--steps", "0"], "steps is 0"),
        (["--out", "a.safetensors", "--device", "gpu"], "Device 'gpu'"),
        (["--out", "a.safetensors", "--resume", "none/run.pt"], "does not exist"),
        ([], "--out"),
    ],
    ids=["name", "folder", "steps", "device", "checkpoint", "missing"],
)
def test_what_cannot_be_done_is_said_in_one_sentence(
    options: list[str],
    sentence: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(options) == 2
    said = capsys.readouterr().err.strip().splitlines()
    assert len(said) == 1
    assert sentence in said[0]
    assert not list(tmp_path.iterdir())
