"""Several images on one command line: what is done, told, skipped and left."""

from __future__ import annotations

import csv
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from napari_zssr import read, upscale
from napari_zssr.cli import main
from napari_zssr.errors import StorageError
from napari_zssr.stack.prepare import Prepared

INSTANT = ["-p", "instant", "--threads", "1"]
SIZE = 24


def image_of(seed: int, planes: int = 2) -> np.ndarray[Any, Any]:
    draw = np.random.default_rng(seed)
    return draw.integers(100, 900, (planes, SIZE, SIZE)).astype(np.uint16)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two stacks, and a file between them that is none."""
    monkeypatch.chdir(tmp_path)
    Path("stacks").mkdir()
    for seed, name in enumerate(("a", "c")):
        metadata = {"axes": "ZYX"}
        path = Path("stacks") / f"{name}.tif"
        tifffile.imwrite(path, image_of(seed), metadata=metadata, imagej=True)
    Path("stacks/b.tif").write_text("no image")
    return tmp_path


def table(text: str) -> dict[str, str]:
    """Status by file, as it was printed."""
    rows = [line.split() for line in text.splitlines()]
    return {row[0]: row[1] for row in rows[1:]}


def report(path: str = "r.csv") -> list[dict[str, str]]:
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def run(*words: str) -> int:
    return main(["upscale", *INSTANT, *words])


def test_a_broken_image_does_not_end_the_batch(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("stacks/*.tif", "--output-dir", "fine/of", "--report", "r.csv") == 1
    told = capsys.readouterr()
    assert table(told.out) == {"a.tif": "done", "b.tif": "failed", "c.tif": "done"}
    assert "[2/3]" in told.err
    rows = report()
    assert [row["status"] for row in rows] == ["done", "failed", "done"]
    assert [row["planes"] for row in rows] == ["2", "0", "2"]
    assert "b.tif" in rows[1]["sentence"]
    for row in (rows[0], rows[2]):
        whole = upscale(row["file"], "instant")
        np.testing.assert_array_equal(read(row["output"]).data, whole)
    names = sorted(path.name for path in Path("fine/of").iterdir())
    assert names == ["a_x2.ome.tif", "c_x2.ome.tif"]


def test_it_stops_at_the_first_error_when_told_to(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stacks = [f"stacks/{name}.tif" for name in "abc"]
    assert run(*stacks, "--output-dir", "fine", "--stop-on-error") == 1
    assert table(capsys.readouterr().out) == {"a.tif": "done", "b.tif": "failed"}


def test_what_is_there_is_skipped_and_keeps_its_figures(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    again = ["stacks/a.tif", "stacks/c.tif", "--output-dir", "fine"]
    again += ["--skip-existing", "--report", "r.csv"]
    assert run("stacks/a.tif", "--output-dir", "fine", "--report", "r.csv") == 0
    (first,) = report()
    state = Path(first["output"]).stat().st_mtime_ns
    assert run(*again) == 0
    skipped, done = report()
    assert (skipped["status"], done["status"]) == ("skipped", "done")
    for name in ("planes", "learned", "changed", "gain_db"):
        assert skipped[name] == first[name]
    assert skipped["sentence"].endswith(first["sentence"])
    assert Path(first["output"]).stat().st_mtime_ns == state
    assert run(*again) == 0
    assert {row["status"] for row in report()} == {"skipped"}


def test_what_is_there_is_refused_unless_skipped_or_replaced(folder: Path) -> None:
    line = ["stacks/a.tif", "stacks/c.tif", "--output-dir", "fine"]
    assert run(*line) == 0
    assert run(*line, "--report", "r.csv") == 1
    assert {row["status"] for row in report()} == {"failed"}
    assert "exists already" in report()[0]["sentence"]
    assert run(*line, "--overwrite") == 0


def test_results_beside_their_images_are_not_enlarged_again(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("stacks/b.tif").unlink()
    assert run("stacks/*.tif") == 0
    capsys.readouterr()
    assert run("stacks/*.tif", "--skip-existing") == 0
    told = capsys.readouterr()
    assert "a_x2.ome.tif was skipped, because it is the result of a.tif." in told.err
    assert table(told.out) == {"a.tif": "skipped", "c.tif": "skipped"}


REFUSED = [
    (["a.tif", "c.tif", "-o", "x.ome.tif"], "-o names one file, but 2 images"),
    (["a.tif", "c.tif", "--save-networks", "n.safetensors"], "--save-networks names"),
    (["a.tif", "a.ome.tif"], "a.tif and a.ome.tif would both become a_x2.ome.tif"),
    (["none*.tif"], "No file matches 'none*.tif'"),
    (["a.tif", "--report", "r.txt"], "'r.txt' must end in .csv"),
    (["a.tif", "--report", "nowhere/r.csv"], "nowhere does not exist"),
    (["a.tif", "--output-dir", "a.tif"], "a.tif cannot be created"),
    (["a.tif", "--format", "docx"], "ends in '.docx'"),
    (["a.tif", "--workers", "-1"], "workers is -1"),
    (["a.tif", "--retries", "-1"], "retries is -1"),
    (["a.tif", "--threads", "0"], "threads is 0"),
    (["a.tif", "--shard", "3/2"], "Shard '3/2'"),
    (["a.tif", "--shard", "half"], "Shard 'half'"),
    (["a.tif", "--workers", "2", "--scheduler", "tcp://h:1"], "were chosen"),
]


@pytest.mark.parametrize(("words", "told"), REFUSED, ids=lambda v: str(v)[:24])
def test_refused_before_anything_is_done(
    words: list[str],
    told: str,
    folder: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(folder / "stacks")
    before = sorted(Path().iterdir())
    assert run(*words) == 2
    err = capsys.readouterr().err.strip()
    assert told in err
    assert len(err.splitlines()) == 1
    assert sorted(Path().iterdir()) == before


def test_the_same_image_twice_is_one(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("stacks/a.tif", "stacks/a*.tif") == 0
    assert "a_x2.ome.tif: ZYX" in capsys.readouterr().out


def test_json_is_one_list_and_nothing_else(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = ["stacks/a.tif", "stacks/b.tif", "--output-dir", "fine", "--json"]
    assert run(*line) == 1
    told = capsys.readouterr()
    rows = json.loads(told.out)
    assert [row["status"] for row in rows] == ["done", "failed"]
    assert rows[0]["output"] == os.path.join("fine", "a_x2.ome.tif")
    assert told.err == ""


def test_shards_of_several_images(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = ["stacks/a.tif", "stacks/c.tif", "--output-dir", "fine"]
    line += ["--format", "ome.zarr"]
    assert run(*line, "--shard", "2/2") == 0
    states = table(capsys.readouterr().out)
    assert states == {"a.tif": "unfinished", "c.tif": "unfinished"}
    assert run(*line, "--shard", "1/2") == 0
    assert table(capsys.readouterr().out) == {"a.tif": "done", "c.tif": "done"}
    found = read(Path("fine/c_x2.ome.zarr")).data
    np.testing.assert_array_equal(found, upscale("stacks/c.tif", "instant"))


def test_one_shard_says_what_is_left(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("stacks/a.tif", "--shard", "1/2") == 0
    told = capsys.readouterr().out
    assert "1 of 2 planes is finished; the last shard" in told
    assert run("stacks/a.tif", "--shard", "2/2", "--json") == 0
    assert json.loads(capsys.readouterr().out)["missing"] == 0


def test_workers_do_the_planes(folder: Path) -> None:
    line = ["stacks/a.tif", "--output-dir", "fine", "--workers", "2"]
    assert run(*line, "--report", "r.csv") == 0
    found = read(Path("fine/a_x2.ome.tif")).data
    np.testing.assert_array_equal(found, upscale("stacks/a.tif", "instant"))


class Odd(Exception):
    """What nobody has thought of."""


@pytest.mark.parametrize(
    ("error", "states"),
    [(Odd("odd"), ["failed", "failed"]), (StorageError("The disk is full."), None)],
    ids=["unexpected", "disk full"],
)
def test_whatever_happens_to_an_image_is_in_the_table(
    error: Exception,
    states: list[str] | None,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Without room on the disk the next image is not tried."""

    def fails(*_: Any) -> Any:
        raise error

    monkeypatch.setattr(Prepared, "enlarged", fails)
    line = ["stacks/a.tif", "stacks/c.tif", "--output-dir", "fine"]
    assert run(*line, "--report", "r.csv") == 1
    assert [row["status"] for row in report()] == (states or ["failed"])
    assert str(error) in report()[0]["sentence"]
