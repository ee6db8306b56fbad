"""The page on large data: what it shows runs as shown, and does what it says."""

from __future__ import annotations

import csv
import os
import re
import shlex
import subprocess
import sys
from dataclasses import replace
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
from conftest import DOCS
from pages import REAL, code_blocks, in_bash

from napari_zssr import read, upscale, write
from napari_zssr.cli import main
from napari_zssr.execution.executors import Workers
from napari_zssr.execution.ledger import part_folder

PAGE = "large.md"
SIZE = 32


@pytest.fixture(scope="module")
def image() -> np.ndarray:
    """A small piece of the bundled mitosis, of four planes."""
    stack = read(Path(str(files("napari_zssr"))) / "data" / "mitosis.ome.tif")
    return np.asarray(stack.data[:4, 140 : 140 + SIZE, 110 : 110 + SIZE])


@pytest.fixture
def folder(image: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Working folder with the stack, alone and among others."""
    monkeypatch.chdir(tmp_path)
    stack = read(Path(str(files("napari_zssr"))) / "data" / "mitosis.ome.tif")
    cut = replace(stack, data=image)
    Path("stacks").mkdir()
    for name in ("stack.ome.tif", "stacks/a.tif", "stacks/b.ome.tif"):
        write(Path(name), cut)
    return tmp_path


def check(name: str) -> None:
    """A whole result, and nothing left of its run."""
    found = read(Path(name)).data
    np.testing.assert_allclose(found, upscale("stack.ome.tif", "instant"), atol=1)
    assert not part_folder(Path(name)).exists()


def in_python(block: str) -> list[str]:
    """Lines that a script says which a user has saved."""
    Path("script.py").write_text(block, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "script.py"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def in_shell(block: str, **variables: str) -> list[str]:
    """Lines that a script says, those for a terminal left out."""
    return in_bash(f"{{ {block}}} 2> told.txt", REAL, **variables)


def test_the_shell(
    folder: Path, two_processes: Workers, capsys: pytest.CaptureFixture[str]
) -> None:
    one, many, _ = code_blocks(PAGE, "sh")
    program, *given = shlex.split(one)
    assert (program, main(given)) == ("napari-zssr", 0)
    told, sentence = capsys.readouterr().out.splitlines()
    assert told.startswith("fine.ome.zarr: ZYX 4 × 64 × 64")
    assert sentence
    check("fine.ome.zarr")
    in_shell(many)
    check("fine/a_x2.ome.zarr")
    in_shell(many)
    with open("fine.csv", newline="", encoding="utf-8") as file:
        assert [row["status"] for row in csv.DictReader(file)] == ["skipped"] * 2


def test_the_python(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    whole, steps, _ = code_blocks(PAGE, "python")
    made, mean = in_python(whole)
    assert made.startswith(str(folder.resolve() / "fine.ome.zarr"))
    check("fine.ome.zarr")
    assert float(mean) == pytest.approx(read(Path("fine.ome.zarr")).data[0].mean(), 0.1)
    exec(compile(steps, PAGE, "exec"), {})
    said = capsys.readouterr().out.splitlines()
    assert said == [f"{done} of 4" for done in (1, 2, 3, 4)]
    check("steps.ome.zarr")


def test_the_cluster(folder: Path) -> None:
    pytest.importorskip("distributed")
    *_, local = code_blocks(PAGE, "python")
    in_python(local)
    check("cluster.ome.zarr")


def test_the_job_array(folder: Path) -> None:
    _, _, job = code_blocks(PAGE, "sh")
    job = job.replace("balanced", "instant")
    assert "--array=1-" in job
    told = []
    for number in (2, 1):
        task = {
            "SLURM_ARRAY_TASK_ID": str(number),
            "SLURM_ARRAY_TASK_COUNT": "2",
            "SLURM_CPUS_PER_TASK": "1",
        }
        told += in_shell(job, **task)
    assert told[0].startswith("2 of 4 planes are finished")
    assert told[1].startswith("fine.ome.zarr: ")
    check("fine.ome.zarr")


def test_what_stands_in_the_part_folder(folder: Path) -> None:
    """The table names what is there while a run lasts."""
    line = [sys.executable, "-m", "napari_zssr", "upscale", "stack.ome.tif"]
    line += ["-o", "fine.ome.zarr", "-p", "fast", "--steps", "2", "--shard", "1/2"]
    subprocess.run(line, check=True, capture_output=True, env=dict(os.environ))
    text = (DOCS / PAGE).read_text("utf-8").partition("| in it | what |")[2]
    named = re.findall(r"^\| `([^`/]+)/?` \|", text.partition("\n\n")[0], re.MULTILINE)
    assert sorted(named) == sorted(p.name for p in Path("fine.ome.zarr.part").iterdir())
