"""The pages on scripts: what they show runs as shown, and does what they say."""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Callable
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import DOCS
from pages import REAL, bundled, code_blocks, in_bash

import napari_zssr
from napari_zssr import (
    FAST,
    ComputeError,
    read,
    upscale,
    upscale_steps,
    write,
)
from napari_zssr.io.write import read_provenance

SIZE = 40
needs_napari = pytest.mark.skipif(not find_spec("napari"), reason="no napari here")


# ---- docs/console.md


class Console:
    """Runs blocks one after the other, as they are pasted into napari's console."""

    def __init__(self, viewer: Any, qtbot: Any) -> None:
        self.viewer = viewer
        self.names: dict[str, Any] = {"viewer": viewer}
        self._qtbot = qtbot

    def paste(self, block: str) -> None:
        exec(compile(block, "docs/console.md", "exec"), self.names)

    def wait(self, until: Callable[[], bool]) -> None:
        self._qtbot.waitUntil(until, timeout=30_000)


@pytest.fixture
def console(make_napari_viewer: Any, qtbot: Any, settled: None) -> Console:
    """A console beside a z-stack that is selected and does not lie at the origin."""
    viewer = make_napari_viewer()
    stack = bundled("mitosis")
    viewer.add_image(
        stack.data,
        name="plate",
        scale=stack.spacing,
        translate=(1.5, -7, 20),
        units=["um"] * 3,
        axis_labels=("z", "y", "x"),
        colormap="magenta",
        contrast_limits=(5, 120),
    )
    return Console(viewer, qtbot)


def check_lies_on(layer: Any, made: Any) -> None:
    """Place, size and looks are those that the widget gives."""
    from napari_zssr.plugin.layers.layers import WHOLE, result_kwargs

    wanted = result_kwargs(layer, "ZYX", WHOLE, (2, 2), {})
    np.testing.assert_allclose(made.scale, wanted["scale"])
    np.testing.assert_allclose(made.translate, wanted["translate"])
    for name in ("units", "axis_labels", "contrast_limits", "blending"):
        assert getattr(made, name) == wanted[name], name
    assert made.colormap.name == layer.colormap.name
    assert made.data.shape == (2, 2 * SIZE, 2 * SIZE)
    assert made.data.dtype == layer.data.dtype


@needs_napari
def test_the_console_page_runs(console: Console) -> None:
    one, threaded, several, by_widget = code_blocks("console.md", "python")
    layers = console.viewer.layers
    layer = layers[0]
    told: list[str] = []
    console.viewer.events.status.connect(lambda event: told.append(str(event.value)))

    console.paste(one)
    check_lies_on(layer, layers[1])
    half = np.array(layer.scale) / (1, 2, 2)
    np.testing.assert_allclose(layers[1].scale, half)
    seeded = upscale(layer.data, "instant", axes="ZYX", factor=2, seed=3)
    np.testing.assert_array_equal(layers[1].data, seeded)
    assert layers[1].metadata["napari_zssr"]["input"]["units"] == ["um"] * 3

    console.paste(threaded)
    assert len(layers) == 2
    console.wait(lambda: len(layers) == 3)
    check_lies_on(layer, layers[2])
    np.testing.assert_array_equal(layers[2].data, seeded)
    assert any(text.startswith("plane 2 of 2: ") for text in told)

    console.viewer.add_image(
        layer.data[:, ::-1].copy(), name="flipped", translate=(9, 9, 9)
    )
    layers.selection = {layer, layers["flipped"]}
    console.paste(several)
    console.wait(lambda: len(layers) == 6)
    check_lies_on(layer, layers["plate fine [2]"])
    check_lies_on(layers["flipped"], layers["flipped fine"])

    console.paste(by_widget)
    widget = console.names["widget"]
    assert widget.controls.cancel.enabled
    console.wait(lambda: not widget.controls.cancel.enabled)
    check_lies_on(layer, layers["plate x2 interpolated"])
    np.testing.assert_array_equal(layers["plate x2 interpolated"].data, seeded)

    layers.selection = {layers[1]}
    widget.form.region.show_factors((3, 3))
    widget.use_settings()
    (request,) = widget.form.requests()
    assert request.layer is layer
    assert (request.config.factors, request.config.seed) == ((2, 2), 3)


@needs_napari
def test_what_the_console_page_says_of_threads(console: Console) -> None:
    """The plain function would not run, and a run that is stopped shows nothing."""
    one, threaded, *_ = code_blocks("console.md", "python")
    assert not inspect.isgeneratorfunction(upscale_steps)
    console.paste(one.partition("layer = ")[0])
    console.paste(threaded.rpartition("worker = ")[0])
    made: list[Any] = []
    events: list[Any] = []
    ended: list[bool] = []

    def noted(*given: Any, **settings: Any) -> Any:
        made.append(upscale_steps(*given, **settings))
        return made[-1]

    console.names["upscale_steps"] = noted
    many = np.tile(bundled("mitosis").data, (100, 1, 1))
    layer = console.viewer.add_image(many, name="many")
    worker = console.names["run"]([layer], "ZYX", "instant", factor=2)
    worker.yielded.connect(events.append)
    worker.finished.connect(lambda: ended.append(True))
    console.wait(lambda: len(events) > 2)
    worker.quit()
    console.wait(lambda: bool(ended))
    assert len(console.viewer.layers) == 2
    # napari keeps the worker, and would keep what it holds.
    assert [inspect.getgeneratorstate(steps) for steps in made] == ["GEN_CLOSED"]


@needs_napari
def test_the_console_page_names_what_the_widget_has(console: Console) -> None:
    """What the table sets is then what would run."""
    page = (DOCS / "console.md").read_text("utf-8")
    rows = re.findall(r"^\| .* \| (.*widget.*) \|$", page, re.MULTILINE)
    said = [code for row in rows for code in re.findall(r"`(widget[^`]*)`", row)]
    assert len(said) == len(rows) + 1
    _, widget = console.viewer.window.add_plugin_dock_widget("napari-zssr")
    layer = console.viewer.layers[0]
    console.names |= {"widget": widget, "layer": layer, "FAST": FAST}
    console.names["replace"] = replace
    doing = ("widget.start", "widget.cancel", "widget.controls")
    for code in said:
        if not code.startswith(doing):
            console.paste(code)
    (request,) = widget.form.requests()
    assert (request.layer, request.axes) == (layer, "ZYX")
    assert (request.config.preset, request.config.steps) == ("fast", 200)
    assert request.config.factors == (2, 1.5)
    assert request.selection.ranges == {"Z": (0, 1)}
    for code in said:
        if code.startswith(doing):
            console.paste(code)
    console.wait(lambda: not widget.controls.cancel.enabled)


# ---- docs/headless.md


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Working folder with three images, one of them damaged."""
    stacks = tmp_path / "stacks"
    stacks.mkdir()
    write(stacks / "cells.ome.tif", bundled("cells"))
    write(stacks / "plate.tif", bundled("mitosis"))
    whole = (stacks / "plate.tif").read_bytes()
    (stacks / "broken.tif").write_bytes(whole[: len(whole) // 2])
    monkeypatch.chdir(tmp_path)
    return tmp_path


def check_outputs(folder: Path, *names: str) -> None:
    """Only these files were made, whole, with half the pixel size and their record."""
    found = sorted(path.name for path in (folder / "fine").glob("*.tif"))
    assert found == [f"{name}_x2.ome.tif" for name in names]
    for name in names:
        (source,) = (folder / "stacks").glob(f"{name}.*")
        before, after = read(source), read(folder / "fine" / f"{name}_x2.ome.tif")
        assert after.data.shape == (2, 2 * SIZE, 2 * SIZE)
        assert after.data.dtype == before.data.dtype
        assert (after.axes, after.units) == (before.axes, before.units)
        np.testing.assert_allclose(after.spacing[1:], np.array(before.spacing[1:]) / 2)
        record = read_provenance(after.source)
        assert record is not None
        assert (record["config"]["preset"], record["config"]["seed"]) == ("instant", 3)
        assert record["input"]["checksum"] == before.checksum


def test_the_python_of_the_headless_page(
    folder: Path,
    loaded_by: Callable[[str], set[str]],
    capsys: pytest.CaptureFixture[str],
) -> None:
    batch, morning = code_blocks("headless.md", "python")
    loaded = loaded_by(batch)
    assert not loaded & {"napari", "qtpy", "magicgui", "superqt"}
    check_outputs(folder, "cells", "plate")
    problems = folder / "fine" / "problems.txt"
    assert problems.read_text().startswith("broken.tif cannot be used: ")

    first = folder / "fine" / "cells_x2.ome.tif"
    (folder / "fine" / "plate_x2.ome.tif").unlink()
    made = first.stat().st_mtime_ns
    (folder / "stacks" / "broken.tif").unlink()
    exec(compile(batch, "docs/headless.md", "exec"), {})
    assert first.stat().st_mtime_ns == made
    check_outputs(folder, "cells", "plate")
    assert problems.read_text() == ""
    assert capsys.readouterr().out.splitlines()[0] == "plate.tif"

    exec(compile(morning, "docs/headless.md", "exec"), {})
    cells, plate = capsys.readouterr().out.splitlines()
    assert cells.startswith("cells_x2.ome.tif\t")
    assert plate.endswith(
        read_provenance(first.with_name("plate_x2.ome.tif"))["report"]["sentence"]
    )


def test_a_failure_does_not_end_the_batch(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch, _ = code_blocks("headless.md", "python")
    ends = iter([MemoryError("too large"), ComputeError("The disk is full.")])

    def fail(*_: Any, **__: Any) -> Any:
        raise next(ends)

    monkeypatch.setattr(napari_zssr, "upscale_steps", fail)
    exec(compile(batch, "docs/headless.md", "exec"), {})
    check_outputs(folder)
    said = (folder / "fine" / "problems.txt").read_text().splitlines()
    assert said[0].startswith("broken.tif cannot be used: ")
    assert said[1:] == [
        "cells.ome.tif failed: too large",
        "plate.tif failed: The disk is full.",
    ]


def test_the_shell_of_the_headless_page(folder: Path) -> None:
    batch, _ = code_blocks("headless.md", "sh")
    (folder / "stacks" / "plate.tif").unlink()
    quiet = f"{{ {batch}}} 2> told.txt"
    assert len(in_bash(quiet, REAL)) == 3
    check_outputs(folder, "cells")
    rows = (folder / "fine" / "report.csv").read_text().splitlines()[1:]
    assert [row.split(",")[2] for row in rows] == ["failed", "done"]
    assert "damaged" in rows[0]
    made = (folder / "fine" / "cells_x2.ome.tif").stat().st_mtime_ns
    in_bash(quiet, REAL)
    assert (folder / "fine" / "cells_x2.ome.tif").stat().st_mtime_ns == made


def test_the_job_of_the_headless_page(folder: Path) -> None:
    _, job = code_blocks("headless.md", "sh")
    task = {"SLURM_ARRAY_TASK_ID": "1", "SLURM_CPUS_PER_TASK": "1"}
    short = job.replace("balanced", "instant")
    assert short != job
    report = json.loads("".join(in_bash(short, REAL, **task)))
    assert report["output"] == "fine/cells_x2.ome.tif"
    check_outputs(folder, "cells")
    assert in_bash(short, "exit 1", **task) == []
