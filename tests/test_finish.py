from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import threading
import time
import tracemalloc
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import yaozarrs
import zarr

from napari_zssr.atomic import temporary_name
from napari_zssr.errors import ComputeError, InputError
from napari_zssr.execution import ledger as finish_module
from napari_zssr.execution.ledger import IMAGE, Ledger, finish, finish_lock, part_folder
from napari_zssr.io import write as ometiff
from napari_zssr.io.ngff import band_rows
from napari_zssr.io.read import read
from napari_zssr.io.write import read_provenance, write
from napari_zssr.io.zarr_write import create, write_plane
from napari_zssr.stack.axis_labels import labelled
from napari_zssr.stack.image import Channel, ImageStack, Outline, outline_of, planes

SIZES = {"T": 2, "C": 3, "Z": 2, "Y": 23, "X": 18, "S": 3}
RECORD = {"seed": 3, "sentence": "gained 0.4 dB \u00b1 0.1"}


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", lambda handle: None)


def stack_of(axes: str = "ZYX", dtype: str = "u2", **sizes: int) -> ImageStack:
    shape = tuple((SIZES | sizes)[a] for a in axes)
    data = np.random.default_rng(1).integers(0, 200, shape).astype(dtype)
    spacing = {"Y": 0.1, "X": 0.2} | ({"Z": 0.5} if "Z" in axes else {})
    channels = [Channel(name=n, emission_nm=500.0) for n in "abc"]
    named = channels if "C" in axes else []
    return labelled(data, axes=axes, spacing=spacing, channels=named, name="cells")


def begun(target: Path, stack: ImageStack) -> tuple[Path, Outline]:
    """A run whose planes are all finished."""
    part, told = part_folder(target), outline_of(stack)
    ledger = Ledger.begin(part, {"seed": 3})
    create(part / IMAGE, told, levels=1 if target.suffix == ".tif" else None)
    for at in planes(stack.axes, stack.data.shape):
        write_plane(part / IMAGE, at.index, [stack.data[at.index]])
        ledger.record(at.number, {})
    return part, told


def end(target: Path, told: Outline, *, overwrite: bool = False) -> Path:
    part = part_folder(target)
    return finish(part, target, told, provenance=RECORD, overwrite=overwrite)


@pytest.mark.parametrize(
    "axes", ["YX", "XY", "ZCYX", "TCZYX", "XCTYZ", "YXS", "SYX", "CYXS", "ZYXS"]
)
@pytest.mark.parametrize("name", ["a.ome.zarr", "a.ome.tif"])
def test_what_was_run_to_disk_is_what_is_written_from_memory(
    tmp_path: Path, axes: str, name: str
) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "other").mkdir()
    stack = stack_of(axes)
    part, told = begun(tmp_path / "one" / name, stack)
    # Of a process that was killed when it began.
    shutil.copytree(part / "ledger", temporary_name(part))
    path = end(tmp_path / "one" / name, told)
    assert path == tmp_path / "one" / name
    other = write(tmp_path / "other" / name, stack, provenance=RECORD)
    one, two = read(path), read(other)
    np.testing.assert_array_equal(one.data, two.data)
    for what in ("axes", "spacing", "units", "channels", "name", "origin"):
        assert getattr(one, what) == getattr(two, what)
    assert read_provenance(path) == RECORD
    assert os.listdir(tmp_path / "one") == [name]
    if name.endswith(".tif"):
        np.testing.assert_array_equal(tifffile.imread(path), tifffile.imread(other))
        with tifffile.TiffFile(path) as a, tifffile.TiffFile(other) as b:
            assert len(a.pages) == len(b.pages)
            assert a.pages.first.tags.keys() == b.pages.first.tags.keys()
    else:
        yaozarrs.validate_zarr_store(str(path))
        attributes = [dict(zarr.open_group(p, mode="r").attrs) for p in (path, other)]
        if axes != "CYXS":
            assert attributes[0] == attributes[1]


@pytest.mark.parametrize("samples", [1, 2, 4])
def test_tiff_of_any_number_of_samples(tmp_path: Path, samples: int) -> None:
    stack = stack_of("ZYXS", "u1", S=samples)
    _, told = begun(tmp_path / "a.ome.tif", stack)
    again = read(end(tmp_path / "a.ome.tif", told))
    data = stack.data if samples > 1 else stack.data[..., 0]
    np.testing.assert_array_equal(again.data, data)


def test_large_tiffs_are_bigtiff(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ometiff, "BIGTIFF_BYTES", 100)
    stack = stack_of()
    _, told = begun(tmp_path / "a.ome.tif", stack)
    with tifffile.TiffFile(end(tmp_path / "a.ome.tif", told)) as file:
        assert file.is_bigtiff
        np.testing.assert_array_equal(file.asarray(), stack.data)


def test_a_tiff_is_assembled_by_bands(tmp_path: Path) -> None:
    stack = stack_of("YX", "f4", Y=4096, X=4096)
    _, told = begun(tmp_path / "a.ome.tif", stack)
    tracemalloc.start()
    end(tmp_path / "a.ome.tif", told)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    band = band_rows(told) * 4096 * 4
    assert peak < 6 * band < told.nbytes
    seen = tifffile.memmap(tmp_path / "a.ome.tif", mode="r")
    np.testing.assert_array_equal(seen, stack.data)


def test_contrast_is_that_of_the_pixels(tmp_path: Path) -> None:
    stack = stack_of("CYX")
    stack.data[1] += 1000
    path = write(tmp_path / "a.zarr", stack)
    told: Any = zarr.open_group(path, mode="r").attrs["ome"]
    windows = [channel["window"] for channel in told["omero"]["channels"]]
    assert [window["max"] for window in windows] == [65535] * 3
    for window, plane in zip(windows, stack.data, strict=True):
        assert plane.min() <= window["start"] < window["end"] <= plane.max()


def test_planes_that_are_missing_are_told(tmp_path: Path) -> None:
    target = tmp_path / "a.ome.zarr"
    part, told = begun(target, stack_of("ZCYX"))
    (part / "ledger" / "000003.json").unlink()
    with pytest.raises(ComputeError, match=r"1 of 6 planes .* are not finished yet"):
        end(target, told)
    assert os.listdir(tmp_path) == [part.name]
    Ledger(part).record(3, {})
    end(target, told)
    assert os.listdir(tmp_path) == [target.name]


def test_nothing_to_finish(tmp_path: Path) -> None:
    with pytest.raises(ComputeError, match="no unfinished run in"):
        end(tmp_path / "a.ome.zarr", outline_of(stack_of()))


@pytest.mark.parametrize("name", ["a.ome.zarr", "a.ome.tif"])
def test_an_older_result_is_replaced_only_when_asked(tmp_path: Path, name: str) -> None:
    target = tmp_path / name
    older = write(target, stack_of("YX"))
    part, told = begun(target, stack_of())
    for _ in range(2):
        with pytest.raises(InputError, match="exists already"):
            end(target, told)
    assert read(older).axes == "YX"
    assert sorted(os.listdir(tmp_path)) == [name, part.name]
    end(target, told, overwrite=True)
    np.testing.assert_array_equal(read(target).data, stack_of().data)
    assert os.listdir(tmp_path) == [name]


def test_folders_of_others_are_never_replaced(tmp_path: Path) -> None:
    target = tmp_path / "a.zarr"
    target.mkdir()
    (target / "precious").touch()
    _, told = begun(target, stack_of())
    with pytest.raises(InputError, match="exists already with other content"):
        end(target, told, overwrite=True)
    assert os.listdir(target) == ["precious"]


def test_a_later_run_is_no_hindrance(tmp_path: Path) -> None:
    """Who opens the image again after it was placed makes an empty one."""
    target = tmp_path / "a.ome.zarr"
    part, told = begun(target, stack_of())
    kept = tmp_path / "kept"
    shutil.copytree(part, kept, ignore=shutil.ignore_patterns(IMAGE))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(finish_module, "remove_run", lambda part: None)
        end(target, told)
    create(part / IMAGE, told)
    end(target, told)
    np.testing.assert_array_equal(read(target).data, stack_of().data)


KILLED = """
import itertools, os, shutil, sys
from pathlib import Path
from napari_zssr.errors import ZSSRError
from napari_zssr.execution.ledger import finish, part_folder
from tests_finish import RECORD, end, outline_of, read_provenance, stack_of

def child(work):
    process = os.fork()
    if not process:
        try:
            os._exit(work() or 0)
        except BaseException as error:
            print(type(error), error, flush=True)
            os._exit(1)
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])

def dying(target, told, moment):
    calls = itertools.count()
    for name in ("replace", "rename", "unlink", "rmdir", "fsync", "utime"):
        def call(*given, real=getattr(os, name), **named):
            if next(calls) == moment:
                os._exit(9)
            return real(*given, **named)
        setattr(os, name, call)
    end(target, told, overwrite=True)

def whole(target, told):
    import numpy as np
    from napari_zssr.io.read import read
    end(target, told, overwrite=True)
    assert (read(target).data == stack_of().data).all()
    assert read_provenance(target) == RECORD
    assert os.listdir(target.parent) == [target.name], os.listdir(target.parent)

start, name = Path(sys.argv[1]), sys.argv[2]
told = outline_of(stack_of())
for moment in itertools.count():
    folder = start.parent / str(moment)
    shutil.copytree(start, folder)
    died = child(lambda: dying(folder / name, told, moment))
    assert died in (0, 9), died
    older = {folder / name, folder / f".{name}.replaced"}
    assert any(path.exists() for path in older), os.listdir(folder)
    assert child(lambda: whole(folder / name, told)) == 0, moment
    shutil.rmtree(folder)
    if died == 0:
        break
print(moment)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize("name", ["a.ome.zarr", "a.ome.tif"])
def test_finishing_can_be_killed_at_any_moment(tmp_path: Path, name: str) -> None:
    """And done again; an older result is there until the new one is."""
    start = tmp_path / "start"
    start.mkdir()
    write(start / name, stack_of("YX"))
    begun(start / name, stack_of())
    shutil.copy(__file__, tmp_path / "tests_finish.py")
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", KILLED, str(start), name],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert int(done.stdout.split()[-1]) > 10


def finish_slowly(target: Path, told: Outline) -> Path:
    """`finish` that leaves a note of who does the work."""
    made = finish_module._assemble

    def noted(part: Path, *rest: Any) -> Path:
        with (target.parent / "notes").open("a") as notes:
            notes.write(f"{os.getpid()}\n")
        time.sleep(0.5)
        return made(part, *rest)

    finish_module._assemble = noted
    return end(target, told)


@pytest.mark.parametrize("name", ["a.ome.zarr", "a.ome.tif"])
def test_one_of_many_processes_finishes(tmp_path: Path, name: str) -> None:
    target = tmp_path / name
    _, told = begun(target, stack_of())
    with ProcessPoolExecutor(3, mp_context=get_context("spawn")) as pool:
        assert list(pool.map(finish_slowly, [target] * 3, [told] * 3)) == [target] * 3
    assert len((tmp_path / "notes").read_text().split()) == 1
    np.testing.assert_array_equal(read(target).data, stack_of().data)
    assert sorted(os.listdir(tmp_path)) == [name, "notes"]


class TestLock:
    @pytest.fixture(autouse=True)
    def quick(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(finish_module, "HEARTBEAT_SECONDS", 0.02)
        monkeypatch.setattr(finish_module, "STALE_SECONDS", 0.4)
        monkeypatch.setattr(finish_module, "POLL_SECONDS", 0.01)

    def test_a_holder_who_lives_is_waited_for(self, tmp_path: Path) -> None:
        told: list[str] = []

        def hold(name: str) -> None:
            with finish_lock(tmp_path) as mine:
                assert mine
                told.append(f"{name} begins")
                time.sleep(0.8)
                told.append(f"{name} ends")

        holders = [threading.Thread(target=hold, args=(n,)) for n in "ab"]
        for holder in holders:
            holder.start()
        for holder in holders:
            holder.join()
        first, second = told[0][0], told[2][0]
        assert {first, second} == {"a", "b"}
        assert told[:2] == [f"{first} begins", f"{first} ends"]
        assert os.listdir(tmp_path) == []

    @pytest.mark.parametrize("holder", ["elsewhere 1", "", f"{socket.gethostname()} x"])
    def test_a_holder_who_is_silent_is_followed(
        self, tmp_path: Path, holder: str
    ) -> None:
        (tmp_path / "finishing-9").write_text(holder)
        (tmp_path / "finishing-10").write_text(holder)
        started = time.monotonic()
        with finish_lock(tmp_path) as mine:
            assert mine
            assert time.monotonic() - started > 0.4
            assert (tmp_path / "finishing-11").exists()

    @pytest.mark.skipif(os.name != "posix", reason="asked only there")
    def test_a_holder_who_was_killed_here_is_followed_at_once(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(finish_module, "STALE_SECONDS", 3600.0)
        dead = subprocess.Popen([sys.executable, "-c", ""])
        dead.wait()
        (tmp_path / "finishing-0").write_text(f"{socket.gethostname()} {dead.pid}")
        with finish_lock(tmp_path) as mine:
            assert mine

    def test_work_that_is_done_is_not_locked(self, tmp_path: Path) -> None:
        (tmp_path / "part").mkdir()
        seen: list[bool] = []

        def wait() -> None:
            with finish_lock(tmp_path / "part") as mine:
                seen.append(mine)

        with finish_lock(tmp_path / "part"):
            waiting = threading.Thread(target=wait)
            waiting.start()
            time.sleep(0.1)
            (tmp_path / "part").rename(tmp_path / "gone")
            waiting.join()
        assert seen == [False]
