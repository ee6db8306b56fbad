"""Many files, one after the other, from a widget."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dask.array
import numpy as np
import pytest
import tifffile
from conftest import RIDGE
from numpy.typing import NDArray

pytest.importorskip("napari")

from napari.components import ViewerModel

from napari_zssr.config import FAST, Config, change
from napari_zssr.errors import StorageError
from napari_zssr.execution import run as execution_run
from napari_zssr.io.read import read
from napari_zssr.plugin.batch import BatchRow, BatchWidget, batch_sentence
from napari_zssr.plugin.batch_form import Source
from napari_zssr.progress import PlaneDone

ABOUT = {"axes": "ZYX", "PhysicalSizeX": 0.2, "PhysicalSizeY": 0.2}


def rings(*shape: int) -> NDArray[np.uint16]:
    y, x = np.mgrid[: shape[-2], : shape[-1]]
    waves = np.sin(np.hypot(y - 9, x - 14) / 2)
    return np.broadcast_to(1000 * (1.5 + waves), shape).astype(np.uint16)


class Bench:
    """The widget and a folder of images."""

    def __init__(self, widget: BatchWidget, qtbot: Any, folder: Path) -> None:
        self.widget = widget
        self.qtbot = qtbot
        self.folder = folder
        self.into = folder / "enlarged"
        self.fields = widget.form.fields
        widget.form.show_config(RIDGE)

    def image(self, name: str, *shape: int) -> Path:
        path = self.folder / name
        axes = "ZYX"[-len(shape) :]
        tifffile.imwrite(path, rings(*shape), ome=True, metadata=ABOUT | {"axes": axes})
        return path

    def choose(self, config: Config = RIDGE, **fields: Any) -> None:
        self.widget.form.show_config(config)
        for name, value in ({"folder": self.folder} | fields).items():
            self.fields[name].value = value
        self.widget.refresh()

    def run(self, config: Config = RIDGE, **fields: Any) -> None:
        self.choose(config, **fields)
        self.widget.start()
        self.wait()

    def wait(self) -> None:
        self.qtbot.waitUntil(lambda: not self.widget._run.running, timeout=60_000)

    @property
    def states(self) -> dict[str, str]:
        return {row.image.name: row.state for row in self.widget.table.rows}

    @property
    def why(self) -> str:
        return str(self.widget.controls._reason.value)

    @property
    def said(self) -> str:
        return self.widget.controls.messages.text


@pytest.fixture
def bench(qtbot: Any, tmp_path: Path) -> Iterator[Bench]:
    widget = BatchWidget(ViewerModel())
    yield Bench(widget, qtbot, tmp_path)
    widget.native.deleteLater()
    qtbot.wait(1)


@pytest.mark.parametrize("ending", [".ome.tif", ".ome.zarr"])
def test_one_bad_file_does_not_end_a_batch(bench: Bench, ending: str) -> None:
    bench.image("a.ome.tif", 2, 20, 24)
    (bench.folder / "b.tif").write_bytes(b"II*\0 no image")
    bench.image("c.tif", 22, 26)
    bench.run(ending=ending)
    assert bench.states == {"a.ome.tif": "done", "b.tif": "failed", "c.tif": "done"}
    done, failed, _ = bench.widget.table.rows
    assert (done.planes, done.target) == (2, bench.into / f"a_x2{ending}")
    assert done.change is not None
    assert done.seconds > 0
    assert "b.tif" in failed.sentence
    assert "2 of 3 images are enlarged, 1 failed (b.tif cannot be read" in bench.said
    made = read(done.target)
    assert made.data.shape == (2, 40, 48)
    np.testing.assert_allclose(made.spacing[1:], 0.1)
    assert sorted(p.name for p in bench.into.iterdir()) == [
        f"a_x2{ending}",
        f"c_x2{ending}",
    ]
    assert bench.widget.controls.run.enabled
    assert not bench.widget.controls.cancel.enabled


def test_what_was_cancelled_is_gone_on_from(bench: Bench) -> None:
    for name in "abc":
        bench.image(f"{name}.ome.tif", 5, 20, 24)
    tell = bench.widget._run._follow
    started: list[tuple[str, int]] = []

    def look(event: Any) -> None:
        row = bench.widget._run.job.row
        tell(event)
        if isinstance(event, PlaneDone):
            started.append((row.image.name, event.plane))
            if len(started) == 7:
                bench.widget.controls.cancel.native.click()

    bench.widget._run._follow = look  # type: ignore[method-assign]
    bench.run()
    assert list(bench.states.values()) == ["done", "stopped", "waiting"]
    assert "2 left; press Run to continue." in bench.said
    assert "kept" in bench.widget.table.rows[1].sentence
    first = (bench.into / "a_x2.ome.tif").stat().st_mtime_ns
    bench.run()
    assert list(bench.states.values()) == ["exists", "done", "done"]
    assert (bench.into / "a_x2.ome.tif").stat().st_mtime_ns == first
    # The second run began where the first one had stopped.
    again = [plane for name, plane in started[7:] if name == "b.ome.tif"]
    assert again[0] >= 2
    assert "2 of 3 images are enlarged, 1 already had a result" in bench.said


def test_results_are_replaced_only_when_told(bench: Bench) -> None:
    bench.image("a.tif", 20, 24)
    bench.run()
    bench.run(change(RIDGE, seed=3))
    assert bench.states == {"a.tif": "exists"}
    bench.run(change(RIDGE, kernel="gaussian:1.2"), overwrite=True)
    assert bench.states == {"a.tif": "done"}


def test_a_full_disk_ends_the_batch(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in "ab":
        bench.image(f"{name}.tif", 20, 24)

    def full(*_: Any, **__: Any) -> Any:
        raise StorageError("The disk is full.")
        yield

    monkeypatch.setattr(execution_run, "upscale_to_disk_steps", full)
    bench.run()
    assert list(bench.states.values()) == ["failed", "waiting"]
    assert "The disk is full" in bench.said


def test_what_cannot_run_cannot_be_pressed(bench: Bench) -> None:
    def told(**fields: Any) -> str:
        bench.choose(**fields)
        assert not bench.widget.controls.run.enabled
        bench.widget.start()
        assert not bench.widget._run.running
        return bench.why

    assert "matches *.tif or *.tiff" in told()
    bench.image("a.tif", 20, 24)
    bench.image("a.ome.tif", 20, 24)
    assert "would both become a_x2.ome.tif" in told()
    (bench.folder / "a.tif").unlink()
    assert "does not exist" in told(folder=bench.folder / "gone")
    assert "is a file; choose a folder" in told(into=bench.folder / "a.ome.tif")
    assert "Choose the files" in told(source="files", into=bench.into)
    bench.choose(files=(bench.folder / "a.ome.tif",))
    assert bench.why == ""
    assert list(bench.states) == ["a.ome.tif"]


def test_a_folder_that_cannot_be_made_is_told(bench: Bench) -> None:
    path = bench.image("a.tif", 20, 24)
    bench.choose(into=path / "below")
    bench.widget.start()
    assert bench.why
    assert not bench.widget._run.running


def test_results_beside_their_images_are_not_enlarged_again(bench: Bench) -> None:
    bench.image("a.tif", 20, 24)
    bench.run(into=bench.folder)
    assert (bench.folder / "a_x2.ome.tif").exists()
    listed = [image.name for image, _ in bench.widget.form.order().pairs]
    assert listed == ["a.tif"]


@pytest.mark.parametrize("ending", [".ome.tif", ".ome.zarr"])
def test_a_finished_row_opens_without_being_loaded(bench: Bench, ending: str) -> None:
    bench.image("a.ome.tif", 2, 150, 140)
    bench.run(ending=ending)
    assert not bench.widget.open.enabled
    bench.widget.table.selectRow(0)
    assert bench.widget.open.enabled
    assert "planes" in bench.widget.message.value
    bench.widget.open.native.click()
    (layer,) = bench.widget._viewer.layers
    assert layer.multiscale == (ending == ".ome.zarr")
    finest = layer.data[0] if layer.multiscale else layer.data
    assert isinstance(finest, dask.array.Array)
    assert finest.shape == (2, 300, 280)
    np.testing.assert_allclose(layer.scale[1:], 0.1)
    wanted = read(bench.into / f"a_x2{ending}").data
    np.testing.assert_array_equal(np.asarray(finest), wanted)


def test_axes_and_settings_are_those_of_the_form(bench: Bench) -> None:
    tifffile.imwrite(bench.folder / "a.tif", rings(3, 20, 24), photometric="minisblack")
    bench.run(change(RIDGE, factor=(1, 3)), axes="CYX", names="a*")
    assert bench.states == {"a.tif": "done"}
    made = read(bench.into / "a_x1x3.ome.tif")
    assert (made.axes, made.data.shape) == ("CYX", (3, 20, 72))


def test_it_says_what_training_will_begin_from(bench: Bench, shipped: Path) -> None:
    bench.image("a.tif", 20, 24)
    said = bench.widget.form.method.advanced._start_message
    bench.choose(change(FAST, start="learned"))
    assert "the network pretrained on synthetic images, at most 50" in str(said.value)
    bench.choose(change(FAST, start=str(shipped), steps=0))
    assert "is used without further training" in str(said.value)
    shipped.unlink()
    bench.choose(change(FAST, start="learned"))
    assert "is missing" in bench.why
    assert str(said.value) == ""


def test_every_field_explains_itself(bench: Bench) -> None:
    widget = bench.widget
    shown = [*widget.form.fields.values()]
    shown += [widget.open, widget.controls.run, widget.controls.cancel]
    assert all(len(field.tooltip) > 20 for field in shown)


def test_closing_the_dock_stops_and_keeps_what_is_finished(
    make_napari_viewer: Any, qtbot: Any, tmp_path: Path
) -> None:
    viewer = make_napari_viewer()
    widget = BatchWidget(viewer)
    viewer.window.add_dock_widget(widget, name="batch")
    bench = Bench(widget, qtbot, tmp_path)
    bench.image("a.ome.tif", 60, 20, 24)
    bench.choose()
    widget.start()
    qtbot.waitUntil(lambda: widget.table.rows[0].planes > 0, timeout=30_000)
    viewer.window.remove_dock_widget(widget.native)
    qtbot.waitUntil(lambda: not widget._run.running, timeout=30_000)
    assert list((bench.into / "a_x2.ome.tif.part" / "ledger").iterdir())


@pytest.mark.parametrize(
    ("states", "says"),
    [
        (["done"], "1 of 1 image is enlarged. Results are in out."),
        (["done", "done"], "2 of 2 images are enlarged. Results are in out."),
        (["failed"], "0 of 1 image are enlarged, 1 failed (a0: No.)"),
        (["done", "waiting"], "1 of 2 images is enlarged. Results are in out. 1 left;"),
    ],
)
def test_a_batch_ends_with_a_sentence(states: list[str], says: str) -> None:
    rows = [
        BatchRow(
            image=Source(Path(f"a{n}")), target=Path("b"), state=state, sentence="No."
        )
        for n, state in enumerate(states)
    ]
    assert batch_sentence(rows, Path("out")).startswith(says.replace("No.)", "No)"))


def test_stacks_become_deeper(bench: Bench) -> None:
    bench.image("a.ome.tif", 6, 20, 24)
    bench.image("flat.ome.tif", 20, 24)
    bench.run(change(RIDGE, factor=1, factor_z=2, kernel_z="gaussian:1"))
    row, flat = bench.widget.table.rows
    assert row.target.name == "a_z2.ome.tif"
    assert read(row.target).data.shape == (12, 20, 24)
    assert row.planes == 12
    assert flat.state == "failed"
    assert "no Z axis" in flat.sentence
