"""Results that are written to a file while their layer grows."""

from __future__ import annotations

import gc
import os
import pickle
import weakref
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from conftest import RIDGE, Desk
from numpy.typing import NDArray

pytest.importorskip("napari")

import dask.array
from napari.components import ViewerModel
from napari.layers import Image

from napari_zssr.config import change
from napari_zssr.errors import ComputeError
from napari_zssr.execution import disk_run
from napari_zssr.execution import run as execution_run
from napari_zssr.execution.ledger import part_folder
from napari_zssr.io.read import read
from napari_zssr.plugin.form.form import proposed_name
from napari_zssr.plugin.layers.layers import KEY, lazy_stack, level0
from napari_zssr.plugin.layers.results import layer_data, stored_levels
from napari_zssr.progress import PlaneDone, drain
from napari_zssr.stack.axis_labels import labelled
from napari_zssr.stack.run import upscale_steps

PLACE = ("scale", "translate", "rotate", "shear", "affine", "units", "axis_labels")


def rings(*shape: int) -> NDArray[np.uint16]:
    """Rings that differ from slice to slice."""
    y, x = np.mgrid[: shape[-2], : shape[-1]]
    waves = np.sin(np.hypot(y - 9, x - 14) / 2)
    steps = np.arange(int(np.prod(shape[:-2]))).reshape(*shape[:-2], 1, 1)
    return (1000 * (1.5 + waves) + 10 * steps).astype(np.uint16)


class Disk:
    """A form that writes to a file."""

    def __init__(self, desk: Desk, target: Path) -> None:
        self.desk = desk
        self.target = target
        self.part = part_folder(target)
        self.fields = desk.widget.form.result.fields
        self.seen: list[tuple[int, list[bool]]] = []
        self.stop_after: int | None = None
        self._show = desk.widget._run._follow
        desk.widget._run._follow = self._look  # type: ignore[method-assign]

    def start(self, **changes: Any) -> None:
        self.desk.set(change(RIDGE, **changes))
        self.fields["where"].value = "disk"
        self.fields["file"].value = self.target
        self.desk.widget.start()

    def run(self, **changes: Any) -> Image:
        self.start(**changes)
        self.desk.wait()
        made: Image = self.desk.viewer.layers[-1]
        return made

    def finished(self) -> int:
        return len(list((self.part / "ledger").glob("*.json")))

    def _look(self, event: Any) -> None:
        self._show(event)
        if not isinstance(event, PlaneDone):
            return
        made = np.asarray(level0(self.desk.viewer.layers[-1]))
        there = made.reshape(-1, *made.shape[-2:]).any(axis=(1, 2))
        self.seen.append((event.plane, list(map(bool, there))))
        if event.done == self.stop_after:
            self.desk.widget.cancel()


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    from napari_zssr.plugin.jobs import DiskJob

    monkeypatch.setattr(DiskJob, "refresh_s", 0.0)


@pytest.fixture
def onto(desk: Desk, tmp_path: Path) -> Disk:
    return Disk(desk, tmp_path / "fine.ome.zarr")


CASES = {
    "ZYX": ((3, 20, 24), {"axis_labels": ("z", "y", "x"), "scale": (2, 0.5, 0.4)}),
    "YX": ((150, 140), {"rotate": 20, "translate": (3, 4)}),
    "ZCYX": ((2, 3, 20, 24), {"axis_labels": ("z", "c", "y", "x")}),
    "ZYXS": ((2, 150, 140, 3), {"rgb": True, "axis_labels": ("z", "y", "x")}),
}


@pytest.mark.parametrize("ending", [".ome.zarr", ".ome.tif"])
@pytest.mark.parametrize(("shape", "given"), CASES.values(), ids=CASES)
def test_the_layer_is_that_of_a_run_in_memory(
    desk: Desk, tmp_path: Path, shape: tuple[int, ...], given: Any, ending: str
) -> None:
    data = rings(*shape)
    if given.get("rgb"):
        colours = [rings(*shape[:-1]) // (9 + n) for n in range(3)]
        data = np.stack(colours, -1).astype(np.uint8)
    layer = (
        desk.add(data, contrast_limits=(100, 900), colormap="viridis", **given)
        if (not given.get("rgb"))
        else desk.add(data, **given)
    )
    desk.run(RIDGE)
    wanted = desk.viewer.layers[-1]
    desk.widget.form.image.fields["layer"].value = layer
    target = tmp_path / f"fine{ending}"
    made = Disk(desk, target).run()
    assert made is not wanted
    assert made.name.startswith("cells x2")
    np.testing.assert_array_equal(np.asarray(level0(made)), wanted.data)
    for name in PLACE:
        np.testing.assert_array_equal(getattr(made, name), getattr(wanted, name))
    if not made.rgb:
        assert made.contrast_limits == wanted.contrast_limits
        assert made.colormap == wanted.colormap
    assert made.rgb == wanted.rgb
    assert made.multiscale == (ending == ".ome.zarr" and shape[-1] != 24)
    told = made.metadata[KEY]
    assert told["file"] == str(target)
    assert set(told) - {"file"} == set(wanted.metadata[KEY])
    assert str(target) in desk.said
    assert not part_folder(target).exists()
    # What was written is looked at, not a copy of it.
    assert isinstance(level0(made), dask.array.Array)
    assert lazy_stack(made).source == str(target)


def test_slices_appear_while_others_are_computed(window: Desk, tmp_path: Path) -> None:
    onto = Disk(window, tmp_path / "fine.ome.zarr")
    window.add(rings(4, 150, 140), axis_labels=("z", "y", "x"))
    window.viewer.dims.set_current_step(0, 3)
    made = onto.run()
    assert [plane for plane, _ in onto.seen] == [0, 1, 2, 3]
    # Never a slice that is still black.
    assert [there for _, there in onto.seen] == [[True] * n for n in (1, 2, 3, 4)]
    assert made.multiscale
    assert [level.shape for level in made.data] == [(4, 300, 280), (4, 150, 140)]
    window.viewer.dims.set_current_step(0, 2)
    assert made._slice.image.raw.any()


def test_a_slice_that_was_looked_at_too_early_is_shown_when_it_is_there(
    qapp: Any, tmp_path: Path
) -> None:
    """Nothing keeps the black that stood there before, nor the old name."""
    target = tmp_path / "fine.ome.zarr"
    stack = labelled(rings(2, 20, 24), axes="ZYX")
    steps = execution_run.upscale_to_disk_steps(stack, RIDGE, target)
    done = (event for event in steps if isinstance(event, PlaneDone))
    next(done)
    places = part_folder(target) / "image.ome.zarr", target
    level = layer_data(stored_levels("ZYX", 1, *places))
    viewer = ViewerModel()
    layer = viewer.add_image(level, cache=False, contrast_limits=(0, 1))

    def shown() -> bool:
        layer.refresh()
        return bool(layer._slice.image.raw.any())

    viewer.dims.set_current_step(0, 0)
    assert shown()
    viewer.dims.set_current_step(0, 1)
    assert not shown()
    next(done)
    assert shown()
    assert list(done) == []
    assert not places[0].exists()
    assert shown()


@pytest.mark.parametrize("axes", ["ZYX", "CZYX", "ZCYX", "ZYXS", "TZCYXS", "YX"])
def test_stored_pixels_are_indexed_as_those_in_memory(
    tmp_path: Path, axes: str
) -> None:
    sizes = {"T": 2, "Z": 3, "C": 4, "Y": 20, "X": 24, "S": 3}
    shape = [sizes[letter] for letter in axes]
    pixels = np.random.default_rng(0).integers(0, 99, shape).astype(np.uint8)
    stack = labelled(pixels, axes=axes)
    drain(execution_run.upscale_to_disk_steps(stack, RIDGE, tmp_path / "a.ome.zarr"))
    wanted = drain(upscale_steps(stack, RIDGE)).image
    samples = sizes["S"] if "S" in axes else 1
    (lazy,) = stored_levels(axes, samples, tmp_path / "a.ome.zarr")
    level = layer_data([lazy])
    np.testing.assert_array_equal(level.compute(scheduler="sync"), wanted)
    for index in (
        ...,
        0,
        (..., -1),
        (..., slice(1, 9, 2), slice(-3, None)),
        (*(0 for _ in axes[:-2]), slice(2, 5)),
        tuple(slice(0, 1) for _ in axes),
    ):
        np.testing.assert_array_equal(lazy[index], wanted[index])
    again = pickle.loads(pickle.dumps(lazy.upto(1)))
    assert again.shape == lazy.upto(1).shape
    np.testing.assert_array_equal(again[0], wanted[0])


@pytest.mark.parametrize("ending", [".ome.zarr", ".ome.tif"])
def test_a_cancelled_run_is_kept_and_gone_on_from(
    desk: Desk, tmp_path: Path, ending: str
) -> None:
    layer = desk.add(rings(6, 20, 24), axis_labels=("z", "y", "x"))
    onto = Disk(desk, tmp_path / f"fine{ending}")
    onto.stop_after = 2
    left = onto.run()
    finished = onto.finished()
    assert 2 <= finished < 6
    assert f"Cancelled, {finished} of 6 slices done (cells)" in desk.said
    assert f"is kept in {onto.part}. Press Run to continue." in desk.said
    assert not desk.widget.controls.question.visible
    assert left.data.shape == (2, 40, 48)
    assert np.asarray(left.data).any(axis=(1, 2)).all()
    assert not onto.target.exists()
    assert desk.idle()

    onto.stop_after, onto.seen = None, []
    desk.widget.form.image.fields["layer"].value = layer
    made = onto.run()
    assert [plane for plane, _ in onto.seen] == list(range(finished, 6))
    assert onto.seen[0][1] == [True] * (finished + 1)
    # In the layer that was there.
    assert made is left
    assert desk.names == ["cells", "cells x2 instant"]
    wanted = drain(upscale_steps(lazy_stack(layer), RIDGE)).image
    np.testing.assert_array_equal(np.asarray(made.data), wanted)
    assert "finished" not in made.metadata[KEY]
    assert onto.target.exists()
    assert not onto.part.exists()


def test_cancelling_frees_everything(
    desk: Desk, onto: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs: list[weakref.ref[Any]] = []
    original = disk_run.PlaneJob.__init__

    def init(self: Any, *args: Any, **given: Any) -> None:
        original(self, *args, **given)
        jobs.append(weakref.ref(self.prepared.stack.data))

    monkeypatch.setattr(disk_run.PlaneJob, "__init__", init)
    desk.add(rings(6, 20, 24), axis_labels=("z", "y", "x"))
    onto.stop_after = 1
    onto.run()
    gc.collect()
    assert jobs
    assert all(job() is None for job in jobs)


def test_what_is_there_is_replaced_only_when_told(desk: Desk, onto: Disk) -> None:
    layer = desk.add(rings(20, 24))
    onto.run()
    desk.widget.form.image.fields["layer"].value = layer
    desk.widget.refresh()
    # The form is quiet, and goes on to the next name.
    assert desk.why == ""
    assert desk.idle()
    assert onto.fields["file"].value == onto.target.with_name("fine-2.ome.zarr")
    onto.fields["file"].value = onto.target
    desk.widget.refresh()
    assert "exists already" in desk.why
    assert "Replace it" in desk.why
    assert "--" not in desk.why
    # What it would cost can be seen all the same.
    assert desk.widget.cost._table.value
    assert not desk.widget.controls.run.enabled
    desk.widget.start()
    assert not desk.widget._run.running
    onto.fields["overwrite"].value = True
    desk.widget.refresh()
    assert desk.why == ""
    onto.desk.set(change(RIDGE, factor=3))
    desk.widget.start()
    desk.wait()
    assert read(onto.target).data.shape == (60, 72)
    # What showed the file that is gone is gone too.
    assert desk.names == ["cells", "cells x3 instant"]
    # Leave is given once.
    assert not onto.fields["overwrite"].value


def test_other_settings_do_not_go_on_from_what_was_begun(
    desk: Desk, onto: Disk
) -> None:
    layer = desk.add(rings(6, 20, 24), axis_labels=("z", "y", "x"))
    onto.stop_after = 2
    onto.run()
    onto.stop_after = None
    desk.widget.form.image.fields["layer"].value = layer
    onto.run(factor=3)
    assert "was started with" in desk.said
    assert "Replace it" in desk.said
    desk.widget.refresh()
    onto.fields["overwrite"].value = True
    desk.widget.start()
    desk.wait()
    assert onto.target.exists()
    assert read(onto.target).data.any(axis=(1, 2)).all()
    assert desk.names == ["cells", "cells x3 instant"]
    np.testing.assert_allclose(desk.viewer.layers[-1].scale, (1, 1 / 3, 1 / 3))


def test_copies_write_the_same_file(desk: Desk, onto: Disk, tmp_path: Path) -> None:
    from qtpy.QtWidgets import QApplication

    units = ("um",) * 3
    desk.add(
        rings(2, 20, 24), axis_labels=("z", "y", "x"), scale=(2, 1, 1), units=units
    )
    made = onto.run()
    desk.widget.form.image.fields["layer"].value = desk.viewer.layers[0]
    onto.fields["file"].value = tmp_path / "again.ome.zarr"
    desk.widget.refresh()
    desk.widget.after.python.native.click()
    clipboard = QApplication.clipboard()
    assert clipboard is not None
    exec(compile(clipboard.text(), "copied", "exec"), {"viewer": desk.viewer})
    again = read(tmp_path / "again.ome.zarr")
    np.testing.assert_array_equal(again.data, np.asarray(level0(made)))
    assert again.spacing == (2, 0.5, 0.5)


def test_a_file_that_cannot_be_written_is_told_in_the_form(
    desk: Desk, onto: Disk, tmp_path: Path
) -> None:
    desk.add(rings(20, 24))
    onto.fields["where"].value = "disk"
    for target, says in (
        (tmp_path / "gone" / "a.ome.zarr", "does not exist"),
        (tmp_path / "a.png", "let it end in .ome.zarr"),
        (tmp_path / "a", "let it end in .ome.zarr"),
    ):
        onto.fields["file"].value = target
        desk.widget.refresh()
        assert says in desk.why
        assert not desk.widget.controls.run.enabled
    onto.fields["where"].value = "memory"
    desk.widget.refresh()
    assert desk.why == ""


@pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write everywhere"
)
def test_a_folder_that_is_not_writable_is_told(desk: Desk, tmp_path: Path) -> None:
    folder = tmp_path / "locked"
    folder.mkdir(mode=0o500)
    onto = Disk(desk, folder / "a.ome.zarr")
    desk.add(rings(20, 24))
    onto.start()
    assert "not writable" in desk.why


def test_a_folder_said_to_be_read_only_is_told(
    desk: Desk, onto: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "access", lambda *_: False)
    desk.add(rings(20, 24))
    onto.start()
    assert "not writable; choose another one." in desk.why
    assert not desk.widget._run.running


def test_the_image_itself_is_never_replaced(desk: Desk, onto: Disk) -> None:
    desk.add(rings(20, 24))
    made = onto.run()
    desk.widget.form.image.fields["layer"].value = made
    onto.fields["file"].value = onto.target
    onto.fields["overwrite"].value = True
    desk.widget.refresh()
    assert "is the file of the layer itself" in desk.why


def test_errors_are_one_sentence_and_the_widget_is_usable_again(
    desk: Desk, onto: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    layer = desk.add(rings(3, 20, 24), axis_labels=("z", "y", "x"))
    from napari_zssr.execution.disk_run import PlaneTask

    original = PlaneTask.steps

    def fail(task: Any) -> Any:
        if task.plane_index.number == 1:
            raise ComputeError("The lamp went out.")
            yield
        return (yield from original(task))

    with monkeypatch.context() as patch:
        patch.setattr(PlaneTask, "steps", fail)
        onto.run()
    assert "1 of 3 slices failed. The lamp" in desk.said
    assert "Stopped, 2 of 3 slices done (cells)" in desk.said
    assert f"is kept in {onto.part}. Press Run" in desk.said
    assert "The lamp went out." in desk.said
    assert desk.idle()
    desk.widget.form.image.fields["layer"].value = layer
    made = onto.run()
    assert np.asarray(made.data).any(axis=(1, 2)).all()
    assert len(made.data) == 3


class CountedPixels:
    """Pixels that note how many are read at a time."""

    data = rings(12, 20, 24)
    shape, dtype, ndim = data.shape, data.dtype, data.ndim
    read: ClassVar[list[int]] = []

    def __getitem__(self, index: Any) -> NDArray[Any]:
        found: NDArray[Any] = self.data[index]
        self.read.append(found.size)
        return found

    def __reduce__(self) -> Any:
        return CountedPixels, ()


def test_a_lazy_layer_is_never_loaded_whole(desk: Desk, onto: Disk) -> None:
    planes = dask.array.from_array(CountedPixels(), chunks=(1, 20, 24))
    desk.add(planes, axis_labels=("z", "y", "x"), contrast_limits=(0, 3000))
    desk.set(change(RIDGE, factor=1.5))
    CountedPixels.read.clear()
    made = onto.run(factor=1.5)
    assert "on the processor" in desk.said
    assert max(CountedPixels.read) == 20 * 24
    # Each plane once, and a few for statistics, checksum and the viewer.
    assert 12 <= len(CountedPixels.read) < 50
    assert level0(made).shape == (12, 30, 36)


def test_only_a_part_is_written_where_it_lies(desk: Desk, onto: Disk) -> None:
    desk.add(
        rings(4, 20, 24),
        axis_labels=("z", "y", "x"),
        scale=(2, 0.5, 0.5),
        units=("um",) * 3,
        translate=(1, 10, 20),
    )
    desk.viewer.dims.set_current_step(0, 2)
    desk.widget.form.region.fields["slices"].value = "current"
    made = onto.run()
    assert made.data.shape == (1, 40, 48)
    np.testing.assert_allclose(made.translate, (5, 9.875, 19.875))
    np.testing.assert_allclose(read(onto.target).origin, (5, 9.875, 19.875))
    assert made.metadata[KEY]["input"]["selection"] == {"Z": [2, 3]}


def test_several_layers_have_a_file_each(desk: Desk, onto: Disk) -> None:
    layers = [desk.add(rings(20, 24), f"c{n}") for n in range(2)]
    desk.viewer.layers.selection = set(layers)
    desk.widget.form.image.fields["in_turn"].value = True
    onto.run()
    assert desk.names == ["c0", "c1", "c0 x2 instant", "c1 x2 instant"]
    written = sorted(path.name for path in onto.target.parent.iterdir())
    assert written == ["c0_x2.ome.zarr", "c1_x2.ome.zarr"]


def test_a_file_is_proposed_beside_the_layers_own(desk: Desk, tmp_path: Path) -> None:
    import tifffile

    path = tmp_path / "some cells.ome.tif"
    tifffile.imwrite(path, rings(20, 24))
    desk.viewer.open(path, plugin="napari-zssr")
    fields = desk.widget.form.result.fields
    assert fields["file"].value == tmp_path / "some cells_x2.ome.zarr"
    desk.set(change(RIDGE, factor=(2, 1.5)))
    assert fields["file"].value == tmp_path / "some cells_x2x1.5.ome.zarr"
    fields["file"].value = tmp_path / "mine.ome.tif"
    desk.set(change(RIDGE, factor=3))
    assert fields["file"].value == tmp_path / "mine.ome.tif"


@pytest.mark.parametrize(
    ("name", "proposed"),
    [
        ("cells.ome.tif", "cells_x2.ome.zarr"),
        ("a: b/c", "a_ b_c_x2.ome.zarr"),
        ("v1.2 raw", "v1.2 raw_x2.ome.zarr"),
        ("", "result_x2.ome.zarr"),
    ],
)
def test_a_name_is_proposed_that_every_system_takes(name: str, proposed: str) -> None:
    assert proposed_name(name, "x2") == proposed


def test_the_file_is_asked_for_only_where_one_is_written(window: Desk) -> None:
    window.add(rings(20, 24))
    window.viewer.window._qt_window.show()
    rows = window.widget.form.result.rows
    assert not rows["file"].visible
    window.widget.form.result.fields["where"].value = "disk"
    assert rows["file"].visible
    assert not rows["overwrite"].visible
    fields = window.widget.form.result.fields.values()
    assert all(len(field.tooltip) > 20 for field in fields)
