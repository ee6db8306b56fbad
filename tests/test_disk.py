"""Enlarging to disk: the same pixels as in memory, whoever does it."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from napari_zssr.config import INSTANT, Config, change
from napari_zssr.errors import ComputeError, InputError
from napari_zssr.execution.disk_run import Written
from napari_zssr.execution.executors import IN_PROCESS, Workers
from napari_zssr.execution.run import upscale_to_disk_steps
from napari_zssr.io.read import read
from napari_zssr.io.write import read_provenance, write
from napari_zssr.progress import Event, PlaneDone, drain
from napari_zssr.stack.axis_labels import labelled
from napari_zssr.stack.image import ImageStack, PlaneIndex
from napari_zssr.stack.prepare import Prepared
from napari_zssr.stack.run import upscale_steps

LEARNED = Config(preset="fast", gradual=1, steps=6, tuned_steps=2, width=8, always=True)
CONFIGS = [INSTANT, LEARNED]


def stack_of(shape: tuple[int, ...], axes: str, seed: int = 0) -> ImageStack:
    """Blurred noise, which has something to learn from in every plane."""
    from scipy.ndimage import gaussian_filter

    generator = np.random.default_rng(seed)
    noise = generator.standard_normal(shape)
    sigma = [1.5 if letter in "YX" else 0 for letter in axes]
    smooth = gaussian_filter(noise, sigma)
    pixels = np.round(2000 + 4000 * smooth).clip(0, 65535).astype(np.uint16)
    spacing = {"Z": 0.5, "Y": 0.2, "X": 0.2}
    known = {letter: spacing[letter] for letter in axes if letter in spacing}
    return replace(labelled(pixels, axes=axes, spacing=known), name="blobs")


@pytest.fixture(scope="module")
def image() -> ImageStack:
    return stack_of((2, 3, 40, 36), "CZYX")


def in_memory(stack: ImageStack, config: Config) -> np.ndarray[Any, Any]:
    return drain(upscale_steps(stack, config)).image


def to_disk(stack: ImageStack, config: Config, target: Path, **how: Any) -> Written:
    return drain(upscale_to_disk_steps(stack, config, target, threads=1, **how))


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Threads change rounding."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("name", ["fine.ome.zarr", "fine.ome.tif"])
@pytest.mark.parametrize("config", CONFIGS, ids=lambda c: c.preset)
def test_pixels_are_those_of_a_run_in_memory(
    image: ImageStack, config: Config, name: str, tmp_path: Path
) -> None:
    made = to_disk(image, config, tmp_path / name)
    assert (made.path, made.missing, made.failures) == (tmp_path / name, 0, ())
    found = read(tmp_path / name)
    np.testing.assert_array_equal(found.data, in_memory(image, config))
    assert found.axes == image.axes
    assert found.spacing == (None, 0.5, 0.1, 0.1)
    assert [p.name for p in tmp_path.iterdir()] == [name]
    record = read_provenance(tmp_path / name)
    assert record is not None
    assert len(record["report"]["planes"]) == 6


@pytest.mark.parametrize("config", CONFIGS, ids=lambda c: c.preset)
def test_processes_give_the_same_pixels(
    image: ImageStack, config: Config, tmp_path: Path, two_processes: Workers
) -> None:
    to_disk(image, config, tmp_path / "a.ome.zarr", workers=two_processes)
    found = read(tmp_path / "a.ome.zarr").data
    np.testing.assert_array_equal(found, in_memory(image, config))


def stopped_after(stack: ImageStack, config: Config, target: Path, planes: int) -> None:
    steps = upscale_to_disk_steps(stack, config, target, threads=1)
    for event in steps:
        planes -= isinstance(event, PlaneDone)
        if planes == 0:
            break
    steps.close()


@pytest.mark.parametrize("config", CONFIGS, ids=lambda c: c.preset)
def test_a_stopped_run_goes_on_where_it_was(
    image: ImageStack, config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target, whole_run = tmp_path / "a.ome.zarr", in_memory(image, config)
    stopped_after(image, config, target, planes=4)
    assert not target.exists()
    begun: list[int] = []
    whole = Prepared.enlarged

    def counted(self: Prepared, place: PlaneIndex, *rest: Any) -> Any:
        begun.append(place.number)
        return whole(self, place, *rest)

    monkeypatch.setattr(Prepared, "enlarged", counted)
    monkeypatch.setattr(Prepared, "shared", None)
    to_disk(image, config, target)
    assert begun == [4, 5]
    np.testing.assert_array_equal(read(target).data, whole_run)


def test_a_run_stopped_before_its_first_plane_leaves_nothing(
    image: ImageStack, tmp_path: Path
) -> None:
    steps = upscale_to_disk_steps(image, INSTANT, tmp_path / "a.ome.zarr")
    next(steps)
    next(steps)
    steps.close()
    assert list(tmp_path.iterdir()) == []


OTHERS: list[tuple[str, Any, Any]] = [
    ("seed", change(INSTANT, seed=1), None),
    ("back_projection", change(INSTANT, back_projection=3), None),
    ("tile_px", change(INSTANT, tile_px=32), None),
    ("precision", change(INSTANT, precision="bfloat16"), None),
    ("input", INSTANT, 7),
]


@pytest.mark.parametrize(("what", "config", "seed"), OTHERS, ids=lambda v: str(v)[:9])
def test_another_run_is_refused_and_harms_nothing(
    image: ImageStack, what: str, config: Config, seed: int | None, tmp_path: Path
) -> None:
    target = tmp_path / "a.ome.zarr"
    first = change(INSTANT, precision="float32")
    stopped_after(image, first, target, planes=2)
    stack = image if seed is None else stack_of((2, 3, 40, 36), "CZYX", seed=seed)
    if what != "precision":
        config = change(config, precision="float32")
    with pytest.raises(InputError, match=what):
        to_disk(stack, config, target)
    to_disk(image, first, target)
    np.testing.assert_array_equal(read(target).data, in_memory(image, first))


def test_begun_again_when_asked_to(image: ImageStack, tmp_path: Path) -> None:
    target = tmp_path / "a.ome.zarr"
    stopped_after(image, INSTANT, target, planes=2)
    other = change(INSTANT, seed=3)
    to_disk(image, other, target, overwrite=True)
    np.testing.assert_array_equal(read(target).data, in_memory(image, other))


@pytest.mark.parametrize("config", CONFIGS, ids=lambda c: c.preset)
def test_the_last_shard_completes_the_file(
    image: ImageStack, config: Config, tmp_path: Path
) -> None:
    target = tmp_path / "a.ome.tif"
    for number in (3, 1):
        made = to_disk(image, config, target, shard=(number, 3))
        assert made.path is None
        assert not target.exists()
    assert made.missing == 2
    assert to_disk(image, config, target, shard=(2, 3)).path == target
    np.testing.assert_array_equal(read(target).data, in_memory(image, config))


def test_a_plane_that_fails_is_reported_and_tried_again(
    image: ImageStack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target, whole = tmp_path / "a.ome.zarr", Prepared.enlarged

    def failing(self: Prepared, place: PlaneIndex, *rest: Any) -> Any:
        if place.number == 1:
            raise ComputeError("Plane 1 failed on cpu: memory ran out.")
        return whole(self, place, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(Prepared, "enlarged", failing)
        made = to_disk(image, INSTANT, target)
    assert made.failures == ((1, "Plane 1 failed on cpu: memory ran out."),)
    assert (made.path, made.missing) == (None, 1)
    assert to_disk(image, INSTANT, target).path == target
    np.testing.assert_array_equal(read(target).data, in_memory(image, INSTANT))


def test_what_is_done_is_told(image: ImageStack, tmp_path: Path) -> None:
    events: list[Event] = []
    steps = upscale_to_disk_steps(image, INSTANT, tmp_path / "a.ome.zarr")
    drain(steps, events.append)
    done = [e for e in events if isinstance(e, PlaneDone)]
    assert [e.done for e in done] == [1, 2, 3, 4, 5, 6]
    assert {e.planes for e in done} == {6}


def test_a_foreign_folder_is_left_alone(image: ImageStack, tmp_path: Path) -> None:
    part = tmp_path / "a.ome.zarr.part"
    part.mkdir()
    (part / "precious.txt").write_text("mine")
    for overwrite in (False, True):
        with pytest.raises(InputError, match="part"):
            to_disk(image, INSTANT, tmp_path / "a.ome.zarr", overwrite=overwrite)
    assert (part / "precious.txt").read_text() == "mine"


@pytest.mark.parametrize("ending", ["ome.zarr", "ome.tif"])
def test_a_killed_run_goes_on(image: ImageStack, ending: str, tmp_path: Path) -> None:
    """Killed again and again, each time a little further."""
    source, target = tmp_path / "blobs.ome.tif", tmp_path / f"a.{ending}"
    write(source, image)
    line = [sys.executable, "-m", "napari_zssr", "upscale", str(source)]
    line += ["-o", str(target), "--preset", "instant", "--threads", "1"]
    entries: dict[str, int] = {}
    for wanted in (0, 1, 3):
        process = subprocess.Popen(line, stderr=subprocess.DEVNULL)
        ledger = tmp_path / f"a.{ending}.part" / "ledger"
        while process.poll() is None and len(list(ledger.glob("*.json"))) <= wanted:
            time.sleep(0.001)
        process.kill()
        process.wait()
        for entry in ledger.glob("*.json"):
            state = entry.stat().st_mtime_ns
            assert entries.setdefault(entry.name, state) == state
    assert entries or target.exists()
    # A fast machine may have finished before it was killed.
    if not target.exists():
        subprocess.run(line, check=True, stdout=subprocess.DEVNULL)
    found = read(target).data
    np.testing.assert_array_equal(found, in_memory(read(source), INSTANT))
    assert json.dumps(read_provenance(target))
    assert Workers() == IN_PROCESS
