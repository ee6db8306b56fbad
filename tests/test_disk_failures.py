"""What can go wrong with a run to disk: one sentence, and what is finished stays."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from napari_zssr import read, upscale
from napari_zssr.cli import main
from napari_zssr.execution import ledger as ending
from napari_zssr.execution.ledger import Ledger, part_folder
from napari_zssr.stack.image import PlaneIndex
from napari_zssr.stack.prepare import Prepared

PLANES, SIZE = 6, 40
SOURCE, TARGET = Path("stack.tif"), Path("fine.ome.zarr")
LINE = ["upscale", str(SOURCE), "-o", str(TARGET), "-p", "instant", "--threads", "1"]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    draw = np.random.default_rng(0)
    image = draw.integers(100, 900, (PLANES, SIZE, SIZE)).astype(np.uint16)
    tifffile.imwrite(SOURCE, image, metadata={"axes": "ZYX"}, imagej=True)
    return tmp_path


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Threads change rounding."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def check_completes(finished: int = 0) -> None:
    """Running the same again does the rest; the pixels are those of a whole run."""
    whole, begun = Prepared.enlarged, []

    def enlarged(self: Prepared, place: PlaneIndex, *rest: Any) -> Any:
        begun.append(place.number)
        return whole(self, place, *rest)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Prepared, "enlarged", enlarged)
        assert main(LINE) == 0
    assert begun == list(range(finished, PLANES))
    np.testing.assert_array_equal(read(TARGET).data, upscale(SOURCE, "instant"))
    assert not part_folder(TARGET).exists()


def kept() -> int:
    return len(list(part_folder(TARGET).glob("ledger/*.json")))


@contextmanager
def at_plane(number: int, what: Callable[[pytest.MonkeyPatch], Any]) -> Iterator[None]:
    """Let something happen when a plane begins."""
    whole = Prepared.enlarged
    with pytest.MonkeyPatch.context() as patch:

        def enlarged(self: Prepared, place: PlaneIndex, *rest: Any) -> Any:
            if place.number == number:
                what(patch)
            return whole(self, place, *rest)

        patch.setattr(Prepared, "enlarged", enlarged)
        yield


# ---- in the middle of a run


@dataclass(frozen=True)
class Case:
    """What happens at the fourth plane, and what comes of it."""

    name: str
    what: Callable[[pytest.MonkeyPatch], Any]
    code: int
    told: str

    def __str__(self) -> str:
        return self.name


def _full(patch: pytest.MonkeyPatch) -> None:
    def fsync(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    patch.setattr(os, "fsync", fsync)


def _read_only(patch: pytest.MonkeyPatch) -> None:
    def replace(*_: Any) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    patch.setattr(os, "replace", replace)


def _input_gone(_: pytest.MonkeyPatch) -> None:
    SOURCE.rename("away.tif")


def _input_cut(_: pytest.MonkeyPatch) -> None:
    shutil.copy(SOURCE, "away.tif")
    os.truncate(SOURCE, 4000)


CASES = [
    Case("disk full", _full, 1, "the disk is full"),
    Case("disk read-only", _read_only, 2, "cannot be written"),
    Case("input gone", _input_gone, 2, "stack.tif"),
    Case("input cut", _input_cut, 2, "stack.tif"),
    Case("Ctrl-C", lambda _: signal.raise_signal(signal.SIGINT), 130, "Stopped"),
]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_what_happens_in_the_middle(
    case: Case, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with at_plane(3, case.what):
        assert main(LINE) == case.code
    _, note, sentence = capsys.readouterr().err.strip().splitlines()
    assert note.startswith("3 planes are finished and kept in fine.ome.zarr.part")
    assert case.told in sentence
    assert kept() == 3
    assert not TARGET.exists()
    if Path("away.tif").exists():
        os.replace("away.tif", SOURCE)
    check_completes(finished=3)


# ---- before a run


def _taken(_: pytest.MonkeyPatch) -> None:
    part_folder(TARGET).mkdir()
    (part_folder(TARGET) / "precious.txt").write_text("mine")


def _of_another_program(_: pytest.MonkeyPatch) -> None:
    part_folder(TARGET).mkdir()
    (part_folder(TARGET) / "run.json").write_text('{"program": "other"}')


def _not_writable(patch: pytest.MonkeyPatch) -> None:
    able = os.access
    patch.setattr(os, "access", lambda at, mode: mode != os.W_OK and able(at, mode))


BEFORE = [
    Case("foreign folder", _taken, 2, "is not an unfinished run of napari-zssr"),
    Case("foreign ledger", _of_another_program, 2, "written by another program"),
    Case("not writable", _not_writable, 2, "is not writable"),
]


@pytest.mark.parametrize("case", BEFORE, ids=str)
def test_what_is_refused(
    case: Case,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    case.what(monkeypatch)
    before = sorted(folder.rglob("*"))
    assert main(LINE) == case.code
    (sentence,) = capsys.readouterr().err.strip().splitlines()
    assert case.told in sentence
    assert sorted(folder.rglob("*")) == before


def test_no_scheduler(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("distributed")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"tcp://127.0.0.1:{free.getsockname()[1]}"
    assert main([*LINE, "--scheduler", address]) == 2
    (sentence,) = capsys.readouterr().err.strip().splitlines()
    assert f"No dask scheduler answers at {address}" in sentence
    check_completes()


def test_another_run_is_refused_in_one_sentence(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with at_plane(3, _full):
        main(LINE)
    capsys.readouterr()
    assert main([*LINE, "--seed", "1"]) == 2
    (sentence,) = capsys.readouterr().err.strip().splitlines()
    assert "started with settings.seed 0, not 1" in sentence
    check_completes(finished=3)


def test_a_run_killed_after_its_result_had_its_name_is_ended(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(_: Path) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(ending, "remove_run", killed)
        assert main(LINE) == 130
    assert TARGET.exists()
    assert part_folder(TARGET).exists()
    check_completes(finished=PLANES)
    assert main(LINE) == 2


# ---- with the means of the system


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of its own, of a megabyte."""
    mount = shutil.which("mount")
    place = tmp_path / "disk"
    place.mkdir()
    line = [mount or "", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(place)]
    if mount is None or subprocess.run(line, capture_output=True).returncode:
        pytest.skip("no disk can be mounted here")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def test_a_disk_that_is_full(
    folder: Path, tiny_disk: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tiny_disk / TARGET
    line = [*LINE, "-o", str(target)]
    (tiny_disk / "other").write_bytes(bytes(970_000))
    assert main(line) == 1
    assert "the disk is full" in capsys.readouterr().err
    assert not target.exists()
    (tiny_disk / "other").unlink()
    assert main(line) == 0
    np.testing.assert_array_equal(read(target).data, upscale(SOURCE, "instant"))


@pytest.mark.skipif(os.name != "posix", reason="signals as on Unix")
def test_ctrl_c_ends_all_workers(folder: Path) -> None:
    image = np.tile(np.asarray(read(SOURCE).data), (40, 1, 1))
    tifffile.imwrite(SOURCE, image, metadata={"axes": "ZYX"}, imagej=True)
    line = [sys.executable, "-m", "napari_zssr", *LINE, "--workers", "2"]
    run = subprocess.Popen(line, stderr=subprocess.PIPE, start_new_session=True)
    while kept() < 3:
        assert run.poll() is None
        time.sleep(0.05)
    os.killpg(run.pid, signal.SIGINT)
    _, told = run.communicate(timeout=60)
    assert run.returncode == 130
    assert b"kept in fine.ome.zarr.part" in told
    assert b"Traceback" not in told
    assert alive(run.pid) == []
    assert 3 <= len(Ledger(part_folder(TARGET)).finished()) == kept() < 40 * PLANES


def alive(group: int) -> list[str]:
    """States of a group's processes, those left out that only wait to be forgotten."""
    deadline = time.monotonic() + 10
    while True:
        line = ["ps", "-A", "-o", "pgid=,stat="]
        listed = subprocess.run(line, capture_output=True, text=True, check=True)
        rows = [row.split() for row in listed.stdout.splitlines()]
        found = [s for n, s in rows if int(n) == group and not s.startswith("Z")]
        if not found or time.monotonic() > deadline:
            return found
        time.sleep(0.1)
