"""After a run: side by side, flip, undo, recipe, looks, keys and help."""

from __future__ import annotations

import re
import sys
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pytest
from conftest import RIDGE, Desk
from numpy.typing import NDArray

pytest.importorskip("napari")

from napari.layers import Image
from napari.utils.notifications import notification_manager
from qtpy.QtCore import Qt
from qtpy.QtGui import QShortcut
from qtpy.QtWidgets import QApplication

from napari_zssr import read
from napari_zssr.config import FAST, INSTANT, change
from napari_zssr.io.write import read_provenance, write
from napari_zssr.plugin import help as _help
from napari_zssr.plugin import texts as _texts
from napari_zssr.plugin import widget as _widget
from napari_zssr.plugin.compare.comparison import NO_RESULT, Mode
from napari_zssr.plugin.compare.panel import SAVE, SIDE, SINGLE
from napari_zssr.plugin.compare.recipe import recipe_rows, recipe_text
from napari_zssr.plugin.form.fields import HINT_AT_1, ONLY_RESTORED
from napari_zssr.plugin.form.form import common_name
from napari_zssr.plugin.layers.layers import layer_recipe
from napari_zssr.progress import drain
from napari_zssr.stack.axis_labels import labelled
from napari_zssr.stack.check import check_files
from napari_zssr.stack.image import Channel, planes
from napari_zssr.stack.methods import methods, methods_unchecked
from napari_zssr.stack.noise_estimate import plane_noise_level
from napari_zssr.stack.report import recipe
from napari_zssr.stack.run import upscale_steps

MEASURED = change(INSTANT, ensemble=False, always=True, device="cpu")


def rings(*shape: int, noise: float = 0.0) -> NDArray[np.uint16]:
    y, x = np.mgrid[: shape[-2], : shape[-1]]
    waves = 1000 * (1.5 + np.sin(np.hypot(y - 9, x - 14) / 2))
    draw = np.random.default_rng(0)
    return np.round(waves + draw.normal(0, noise or 1e-9, shape)).astype(np.uint16)


def state(viewer: Any) -> dict[str, Any]:
    """All that a comparison may change."""
    grid, camera = viewer.canvas.grid, viewer.scene.camera
    return {
        "layers": [(layer.name, layer.visible) for layer in viewer.layers],
        "grid": (grid.enabled, grid.stride, tuple(grid.shape), grid.spacing),
        "camera": (tuple(camera.center), camera.zoom, tuple(camera.angles)),
        "order": tuple(viewer.dims.order),
        "point": tuple(viewer.dims.point),
    }


def compared(desk: Desk, **given: Any) -> tuple[Image, Image]:
    """An original between two other layers, and its result, which is selected."""
    desk.viewer.add_points(np.ones((1, 2)), name="points")
    original = desk.add(rings(24, 24), **given)
    desk.add(rings(24, 24), "other", visible=False)
    desk.widget.form.image.fields["layer"].value = original
    desk.run()
    result = desk.viewer.layers[-1]
    desk.viewer.layers.selection.active = result
    desk.widget.refresh()
    return original, result


# ---- side by side


@pytest.mark.parametrize("blending", ["additive", "translucent"])
def test_side_by_side_shows_the_pair_alone_and_leaves_no_trace(
    desk: Desk, blending: str
) -> None:
    original, result = compared(desk, blending=blending)
    viewer, panel = desk.viewer, desk.widget.result
    viewer.scene.camera.zoom, viewer.scene.camera.center = 7.0, (0.0, 9.0, 11.0)
    before = state(viewer)
    panel.side.changed.emit(True)
    assert panel.side.text == SINGLE
    assert [layer for layer in viewer.layers if layer.visible] == [original, result]
    grid = viewer.canvas.grid
    assert grid.enabled
    assert grid.actual_shape(viewer.layers) == (1, 2)
    assert _column(viewer, original) == 0
    assert _column(viewer, result) == 1
    panel.side.changed.emit(True)
    assert panel.side.text == SIDE
    assert state(viewer) == before


def _column(viewer: Any, layer: Image) -> int:
    position = viewer.canvas.grid.position(viewer.layers.index(layer), viewer.layers)
    return int(position[1])


def test_the_original_stays_on_the_left_when_layers_are_moved(desk: Desk) -> None:
    original, result = compared(desk)
    desk.widget.result.toggle_side_by_side()
    desk.viewer.layers.move(desk.viewer.layers.index(result), 0)
    assert _column(desk.viewer, original) == 0
    desk.widget.result.toggle_side_by_side()
    # Begun in this order, too.
    desk.widget.result.toggle_side_by_side()
    assert _column(desk.viewer, original) == 0


@pytest.mark.parametrize("which", ["original", "result", "other", "added"])
def test_side_by_side_ends_when_a_layer_comes_or_goes(desk: Desk, which: str) -> None:
    original, result = compared(desk)
    viewer = desk.viewer
    before = state(viewer)
    desk.widget.result.toggle_side_by_side()
    gone = {"original": original, "result": result, "other": viewer.layers["other"]}
    if which == "added":
        viewer.add_points(np.ones((1, 2)), name="more")
    else:
        viewer.layers.remove(gone[which])
    after = state(viewer)
    changed = {"more", gone[which].name if which in gone else "more"}
    left = [one for one in before["layers"] if one[0] not in changed]
    assert [one for one in after["layers"] if one[0] not in changed] == left
    assert after["grid"] == before["grid"]
    assert desk.widget.result.comparison.mode is Mode.OFF


def test_side_by_side_ends_with_the_grid_and_with_the_dock(desk: Desk) -> None:
    compared(desk)
    before = state(desk.viewer)
    desk.widget.result.toggle_side_by_side()
    desk.viewer.canvas.grid.enabled = False
    assert state(desk.viewer) == before
    desk.widget.result.toggle_side_by_side()
    desk.widget._on_leave()
    assert state(desk.viewer) == before


@pytest.mark.parametrize("compare", ["toggle_side_by_side", "toggle_flip"])
def test_both_have_one_contrast_while_they_are_compared(
    desk: Desk, compare: str
) -> None:
    original, result = compared(desk)
    result.contrast_limits, result.gamma = (20, 90), 0.7
    original.contrast_limits = before = [5, 300]
    toggle = getattr(desk.widget.result, compare)
    toggle()
    assert (original.contrast_limits, original.gamma) == ([20, 90], 0.7)
    original.contrast_limits = 30, 80
    assert result.contrast_limits == [30, 80]
    result.gamma = 1.2
    assert original.gamma == 1.2
    toggle()
    assert (original.contrast_limits, original.gamma) == (before, 1.0)
    result.contrast_limits = 10, 60
    assert original.contrast_limits == before


def test_a_grid_of_the_users_own_is_given_back(desk: Desk) -> None:
    compared(desk)
    grid = desk.viewer.canvas.grid
    grid.enabled, grid.stride, grid.shape = True, 2, (2, 2)
    before = state(desk.viewer)
    desk.widget.result.toggle_side_by_side()
    desk.widget.result.toggle_side_by_side()
    assert state(desk.viewer) == before


def test_the_result_of_a_part_is_beside_that_part(desk: Desk) -> None:
    original = desk.add(rings(48, 48))
    shapes = desk.viewer.add_shapes([[[30, 8], [30, 19], [39, 19], [39, 8]]])
    desk.widget.form.region.fields["area"].value = shapes
    desk.run()
    result = desk.viewer.layers[-2]
    assert result.data.shape == (20, 24)
    desk.viewer.layers.selection.active = result
    before = state(desk.viewer)
    desk.widget.result.toggle_side_by_side()
    camera = desk.viewer.scene.camera
    np.testing.assert_allclose(camera.center[-2:], (34.5, 13.5))
    height, width = desk.viewer.canvas.size
    # As large as the part can be in half of the canvas.
    filled = max(10 * camera.zoom / height, 12 * camera.zoom / (width / 2))
    assert 0.9 < filled < 1
    # Both sides show the same area, whatever the shape of the canvas.
    (left,) = {one for one in desk.viewer.layers if one.visible} - {result}
    np.testing.assert_array_equal(left.data, original.data[30:40, 8:20])
    assert (_column(desk.viewer, left), _column(desk.viewer, result)) == (0, 1)
    # Its centres lie where those of the original do.
    np.testing.assert_allclose(left.extent.world, [[30, 8], [39, 19]])
    assert left not in desk.widget.form.image.images()
    desk.widget.result.toggle_side_by_side()
    assert state(desk.viewer) == before
    # Removing a layer ends it without a trace, too.
    desk.widget.result.toggle_side_by_side()
    desk.viewer.layers.remove(shapes)
    assert desk.names == [original.name, result.name]


@pytest.mark.parametrize("unit", ["um", "nm"])
def test_what_the_view_shows_is_seen_whole_on_either_side(
    desk: Desk, unit: str
) -> None:
    compared(desk, scale=(2, 2), units=("um", "um"))
    # The viewer's units are the smallest of all layers, if these go together.
    for name in ("points", "other"):
        desk.viewer.layers.remove(name)
    desk.viewer.add_image(rings(24, 24), units=(unit, unit), visible=False)
    desk.viewer.layers.selection.active = desk.viewer.layers["cells"]
    camera, of_um = desk.viewer.scene.camera, {"um": 1, "nm": 1000}[unit]
    width = desk.viewer.canvas.size[1]
    # The canvas shows the right half of the image, 23 to 47 µm, and as much beside it.
    camera.center, camera.zoom = (0, 10 * of_um, 47 * of_um), width / (48 * of_um)
    desk.widget.result.toggle_side_by_side()
    reach, middle = width / 2 / camera.zoom / of_um, camera.center[-1] / of_um
    assert middle - reach / 2 <= 23
    assert middle + reach / 2 >= 47
    assert reach < 1.2 * 24


def test_both_halves_are_seen_in_a_real_window(
    make_napari_viewer: Any, qtbot: Any, settled: None
) -> None:
    from napari_zssr.plugin.widget import SuperResolutionWidget

    viewer = make_napari_viewer(show=True)
    widget = SuperResolutionWidget(viewer)
    viewer.window.add_dock_widget(widget, name="Super-Resolution")
    compared(Desk(viewer, qtbot, widget))
    viewer.reset_view()
    qtbot.wait(100)
    before = state(viewer)
    widget.result.toggle_side_by_side()
    qtbot.wait(100)
    picture = viewer.screenshot(canvas_only=True, flash=False)[..., :3].mean(axis=2)
    columns = np.flatnonzero((picture > 100).any(axis=0))
    half = picture.shape[1] / 2
    # An image seen whole before is seen whole on either side.
    for side in (columns[columns < half], columns[columns >= half] - half):
        assert 0 < side.min() < side.max() < half - 1
        assert np.ptp(side) > 0.7 * half
    widget.result.toggle_side_by_side()
    assert state(viewer) == before


def test_only_pairs_are_compared(desk: Desk) -> None:
    panel = desk.widget.result
    original, result = compared(desk)
    # The original stands for its result, other layers do not.
    desk.viewer.layers.selection.active = original
    panel.update()
    assert panel.side.enabled
    desk.viewer.layers.selection.active = desk.viewer.layers["other"]
    panel.update()
    assert not panel.side.enabled
    assert panel.message.value == NO_RESULT
    panel.toggle_side_by_side()
    panel.toggle_flip()
    assert panel.comparison.mode is Mode.OFF
    desk.viewer.layers.selection.active = result
    desk.viewer.layers.remove(original)
    panel.update()
    assert not panel.flip.enabled
    assert "open cells" in panel.message.value
    assert panel.table.value


# ---- flip


@pytest.mark.parametrize("blending", ["additive", "translucent"])
def test_flip_shows_one_in_place_of_the_other(desk: Desk, blending: str) -> None:
    original, result = compared(desk, blending=blending)
    panel, before = desk.widget.result, state(desk.viewer)
    assert panel.flip.text == "Show original"
    panel.flip.changed.emit(True)
    assert (original.visible, result.visible) == (True, False)
    assert panel.flip.text == "Show result"
    # Where one looks is one's own.
    desk.viewer.scene.camera.zoom = 3.0
    panel.flip.changed.emit(True)
    after = state(desk.viewer)
    assert desk.viewer.scene.camera.zoom == 3.0
    assert after["layers"] == before["layers"]


def test_flip_ends_side_by_side(desk: Desk) -> None:
    _, result = compared(desk)
    panel, before = desk.widget.result, state(desk.viewer)
    panel.toggle_side_by_side()
    panel.toggle_flip()
    assert not desk.viewer.canvas.grid.enabled
    assert not result.visible
    panel.toggle_flip()
    assert state(desk.viewer) == before


# ---- saving


def test_a_saved_result_has_its_pixel_size_and_its_recipe(
    desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not desk.widget.result.save.enabled
    desk.add(
        rings(24, 26),
        axis_labels=("y", "x"),
        scale=(0.2, 0.2),
        units=("um", "um"),
    )
    desk.run()
    asked = []

    def answer(_: Any, proposed: Path, files: tuple[str, str]) -> str:
        asked.append((proposed.name, files[1]))
        return str(tmp_path / "kept.ome.tif")

    monkeypatch.setattr(_widget, "ask_path", answer)
    desk.widget.refresh()
    desk.widget.result.save.changed.emit(True)
    assert asked == [("cells x2 instant.ome.tif", ".ome.tif")]
    saved = read(tmp_path / "kept.ome.tif")
    assert saved.data.shape == (48, 52)
    assert saved.spacing == pytest.approx((0.1, 0.1))
    assert read_provenance(tmp_path / "kept.ome.tif")["config"]["preset"] == "instant"
    assert notification_manager.records[-1].message.endswith(
        "kept.ome.tif, with pixel size and recipe."
    )


def test_results_are_saved_beside_their_original(
    window: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "plate 3.ome.tif"
    stack = labelled(rings(2, 24, 24), axes="CYX", name="plate 3", spacing=0.1)
    channels = tuple(Channel(name=f"A02_c{n}.tif") for n in (1, 2))
    write(path, replace(stack, channels=channels))
    window.viewer.open(path, plugin="napari-zssr")
    window.run()
    asked: list[Path] = []

    def answer(_: Any, proposed: Path, files: tuple[str, str]) -> str:
        asked.append(proposed)
        return str(proposed)

    monkeypatch.setattr(_widget, "ask_path", answer)
    window.widget.refresh()
    save = window.widget.result.save
    # Both channels go into one file, though only the last result is selected.
    assert save.text == "Save 2 channels..."
    save.changed.emit(True)
    names = [layer.name for layer in window.viewer.layers[2:]]
    assert asked == [tmp_path / "plate 3 x2 instant.ome.tif"]
    panel = window.widget.result
    panel.copy_legend()
    first, second = panel.copied.text.value.split("\n\n")
    assert first.startswith(f"{names[0]}: Input and result (plate 3")
    assert second.startswith(f"{names[1]}: Input and result (plate 3")
    assert first.count("The result was not checked.") == 1
    written = read(asked[0])
    assert [channel.name for channel in written.channels] == names
    assert written.axes == "CYX"
    kept = read_provenance(asked[0])
    assert kept is not None
    assert kept["input"]["shape"] == [2, 24, 24]
    assert [plane["plane"] for plane in kept["report"]["planes"]] == [0, 1]
    check = check_files(written, read(path), recipe=kept)
    assert len(check.planes) == 2
    assert not check.messages
    assert "no recipe" not in methods(check)[0]
    assert written.size_um("X") == pytest.approx(0.05)
    again = window.viewer.open(asked[-1], plugin="napari-zssr")
    assert [layer.name for layer in again] == [
        "plate 3 x2 instant c1",
        "plate 3 x2 instant c2",
    ]


def test_only_what_belongs_and_fits_together_is_saved_in_one_file(
    window: Desk, tmp_path: Path
) -> None:
    path = tmp_path / "plate.ome.tif"
    write(path, labelled(rings(3, 24, 24), axes="CYX", name="plate"))
    window.viewer.open(path, plugin="napari-zssr")
    alone = window.add(rings(24, 24), "alone")
    window.run()
    panel, layers = window.widget.result, window.viewer.layers

    def saved(selected: Image) -> list[str]:
        layers.selection.active = selected
        panel.update()
        return [layer.name for layer in panel.saved_layers()]

    assert saved(layers["alone x2 instant"]) == ["alone x2 instant"]
    assert panel.save.text == SAVE
    layers.selection.active = layers[0]
    # Of another run with one channel.
    window.widget.form.image.fields["in_turn"].value = False
    window.run()
    assert len(saved(layers[-1])) == 1
    window.widget.form.image.fields["layer"].value = layers[0]
    window.widget.form.image.fields["in_turn"].value = True
    window.run()
    made = list(layers[-3:])
    for layer in (layers[0], *made):
        assert saved(layer) == [one.name for one in made]
    assert saved(alone) == ["alone x2 instant"]
    # Those of other pixels do not fit into one file.
    made[0].data = made[0].data.astype(np.float32)
    assert saved(made[1]) == [made[1].name]
    # What is selected counts.
    layers.selection = {made[1], made[2]}
    panel.update()
    assert panel.saved_layers() == made[1:]
    assert panel.save.text == "Save 2 channels..."


@pytest.mark.parametrize(
    ("names", "shared"),
    [
        (["cells x2"], "cells x2"),
        (["cells c1 x2", "cells c2 x2"], "cells x2"),
        (["actin", "DNA"], "actin"),
    ],
)
def test_channels_are_saved_under_what_their_names_share(
    names: list[str], shared: str
) -> None:
    assert common_name(names) == shared


def test_no_pixel_size_is_promised_where_none_is_known(
    desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "kept.ome.tif"
    monkeypatch.setattr(_widget, "ask_path", lambda *_: str(path))
    desk.add(rings(24, 26), axis_labels=("y", "x"))
    desk.run()
    desk.widget.refresh()
    desk.widget.result.save.changed.emit(True)
    assert read(path).size_um("X") is None
    assert notification_manager.records[-1].message == (
        f"Saved as {path}, with recipe, but without pixel size, which is not known."
    )


# ---- undo


@pytest.mark.parametrize("blending", ["additive", "translucent"])
def test_undo_removes_the_result_and_shows_the_original(
    desk: Desk, blending: str
) -> None:
    desk.add(rings(24, 24), "other")
    original = desk.add(rings(24, 24), blending=blending)
    desk.viewer.layers.selection = {original, desk.viewer.layers["other"]}
    desk.widget.form.image.fields["layer"].value = original
    before, selected = state(desk.viewer), set(desk.viewer.layers.selection)
    assert not desk.widget.result.undo_button.enabled
    quick = change(FAST, start="random", steps=4, width=4, blocks=1, batch=1)
    quick = change(quick, crop_px=8, back_projection=0, noise="off", device="cpu")
    desk.widget.form.image.fields["in_turn"].value = False
    desk.run(change(quick, always=True, error_map=True, ensemble=True))
    assert len(desk.viewer.layers) == 4
    desk.widget.refresh()
    assert desk.widget.result.undo_button.enabled
    desk.widget.result.toggle_flip()
    desk.widget.result.undo_button.changed.emit(True)
    assert state(desk.viewer)["layers"] == before["layers"]
    assert set(desk.viewer.layers.selection) == selected


def test_redo_puts_the_layers_back_where_and_as_they_were(desk: Desk) -> None:
    original = desk.add(rings(24, 24), blending="additive")
    desk.add(rings(24, 24), "other")
    desk.widget.form.image.fields["layer"].value = original
    desk.run()
    result, button = desk.viewer.layers[-1], desk.widget.result.undo_button
    desk.viewer.layers.move(2, 1)
    result.opacity = 0.5
    desk.viewer.layers.selection = {original, result}
    desk.widget.refresh()
    before, selected = state(desk.viewer), set(desk.viewer.layers.selection)
    undo = button.tooltip
    button.changed.emit(True)
    assert result not in desk.viewer.layers
    desk.widget.refresh()
    assert not desk.widget.folds["result"].native.isHidden()
    assert (button.text, button.enabled) == ("Redo", True)
    assert button.tooltip != undo
    button.changed.emit(True)
    assert state(desk.viewer) == before
    assert set(desk.viewer.layers.selection) == selected
    assert result.opacity == 0.5
    assert (button.text, button.enabled, button.tooltip) == ("Undo", True, undo)
    # It is a result with its original still.
    desk.viewer.layers.selection.active = result
    desk.widget.refresh()
    assert desk.widget.result.side.enabled


@pytest.mark.parametrize("ends", ["run", "original removed", "closed"])
def test_what_was_undone_is_not_kept_longer_than_it_can_be_redone(
    desk: Desk, ends: str
) -> None:
    import gc
    import weakref

    other = desk.add(rings(24, 24), "other")
    original = desk.add(rings(24, 24))
    desk.run()
    made, undone = desk.names[-1], weakref.ref(desk.viewer.layers[-1])
    desk.widget.result.undo_run()
    said = desk.said
    assert made in said
    desk.viewer.layers.remove(other)
    assert desk.said == said
    assert desk.widget.result.undo_button.text == "Redo"
    if ends == "run":
        desk.run()
    elif ends == "closed":
        desk.widget.result.close()
    else:
        desk.viewer.layers.remove(original)
        assert not desk.widget.result.undo_button.enabled
    desk.widget.refresh()
    assert desk.widget.result.undo_button.text == "Undo"
    gc.collect()
    assert undone() is None
    assert desk.said.count("on the processor") == (ends != "original removed")


def test_undo_takes_back_only_the_last_run_and_what_is_left_of_it(desk: Desk) -> None:
    desk.add(rings(24, 24))
    desk.run()
    first = desk.viewer.layers[-1]
    desk.run()
    desk.widget.result.undo_run()
    assert first in desk.viewer.layers
    assert len(desk.viewer.layers) == 2
    desk.run()
    desk.viewer.layers.remove(desk.viewer.layers[-1])
    desk.widget.refresh()
    assert not desk.widget.result.undo_button.enabled
    desk.widget.result.undo_run()
    assert len(desk.viewer.layers) == 2


def test_undo_keeps_no_result_alive(desk: Desk) -> None:
    import gc
    import weakref

    original = desk.add(rings(24, 24))
    desk.run()
    # napari keeps the layer that is selected.
    desk.viewer.layers.selection.active = original
    gone = weakref.ref(desk.viewer.layers.pop())
    desk.widget.refresh()
    gc.collect()
    assert gone() is None


@pytest.mark.parametrize("blending", ["additive", "translucent"])
def test_a_second_result_is_seen_and_undone(desk: Desk, blending: str) -> None:
    """The first run has hidden the original, where both would add up."""
    original = desk.add(rings(24, 24), blending=blending)
    desk.run()
    first, before = desk.viewer.layers[-1], state(desk.viewer)
    desk.run()
    second, adds_up = desk.viewer.layers[-1], blending == "additive"
    assert second.visible
    assert (first.visible, original.visible) == (not adds_up, not adds_up)
    desk.widget.refresh()
    desk.widget.result.undo_run()
    assert state(desk.viewer)["layers"] == before["layers"]


# ---- the recipe


@pytest.fixture(scope="module")
def made() -> dict[str, Any]:
    """Recipe of a stack of which a part was enlarged, with an estimated blur."""
    stack = labelled(
        rings(3, 64, 64, noise=40),
        axes="ZYX",
        spacing={"Z": 0.3, "Y": 0.1, "X": 0.1},
        units="um",
        name="cells",
    )
    config = change(MEASURED, kernel="gaussian:1.2", always=False)
    result = drain(upscale_steps(stack, config))
    return recipe(stack, result, selection={"Z": (2, 5), "Y": (7, 8)})


def test_the_recipe_is_told_in_plain_words(made: dict[str, Any]) -> None:
    rows = dict(recipe_rows(made))
    assert rows["Image"] == "cells"
    assert rows["Size"] == "Z 3 × Y 64 × X 64"
    assert rows["Part"] == "Z 2 to 4, Y 7"
    assert rows["Pixel size"] == "0.3 × 0.1 × 0.1 → 0.3 × 0.05 × 0.05 µm"
    assert rows["Enlarged"] == "2× along Y and X"
    assert rows["Blur"].startswith("Gaussian, given: FWHM 2.8 result pixels")
    assert "0.14 µm" in rows["Blur"]
    levels = [plane["noise"] for plane in made["report"]["planes"]]
    assert f"{100 * np.median(levels):.2g} % of the intensity range" in rows["Noise"]
    assert rows["Test"].endswith(
        "closer to the original than bicubic interpolation, on the image shrunk and "
        "re-enlarged (3 slices)"
    )
    assert rows["Result"].startswith("a fitted filter")
    assert rows["Seed"] == "0"
    assert "napari-zssr" in rows["Version"]
    assert rows["Device"].startswith("processor")
    assert rows["Time"].endswith("s")
    assert "File" not in rows
    lines = recipe_text(list(rows.items())).splitlines()
    assert lines[0].split() == ["Image", "cells"]
    assert len(lines) == len(rows)


def _planes(*planes: dict[str, Any]) -> dict[str, Any]:
    return {"config": {"factor": [2, 2]}, "report": {"planes": list(planes)}}


@pytest.mark.parametrize(
    ("given", "row", "text"),
    [
        ({"config": {"factor": [2, 3]}}, "Enlarged", "Y 2×, X 3×"),
        (
            {"config": {"factor": [1, 1], "factor_z": "isotropic"}},
            "Enlarged",
            "same pixels along Y and X, Z to cubic voxels",
        ),
        ({"config": {"noise": 0.02}}, "Noise", "2 % of the intensity range, given"),
        ({"config": {"noise": "off"}}, "Noise", "ignored"),
        (_planes({"noise": 0.0}), "Noise", "none found"),
        (
            _planes({"gain_db": -0.5, "gain_error_db": 0.1}),
            "Test",
            "0.50 ± 0.10 dB (± one standard error) farther from the original than",
        ),
        (_planes({"returned": "bicubic"}), "Result", "bicubic interpolation"),
        (
            _planes({"returned": "learned", "steps": 9}, {"returned": "bicubic"}),
            "Result",
            "trained networks in 1 slice, bicubic interpolation in 1 slice",
        ),
        (
            _planes({"returned": "learned", "assessment": {"share": 0.4}}),
            "Result",
            "networks (40 % of the change used)",
        ),
        (
            {"finished": 2, "planes": 5},
            "Result",
            "2 of 5 slices; the run was stopped",
        ),
        ({"config": {"start": "a/nets.safetensors"}}, "Start", "saved networks (nets."),
        ({"report": {"device": "cuda:0", "device_name": "RTX"}}, "Device", "RTX"),
        ({"file": "/a/b.ome.zarr"}, "File", "/a/b.ome.zarr"),
    ],
)
def test_every_kind_of_recipe_has_words(
    given: dict[str, Any], row: str, text: str
) -> None:
    assert dict(recipe_rows(given))[row].startswith(text)


def test_an_empty_recipe_has_no_rows() -> None:
    assert recipe_rows({}) == []


def test_the_panel_shows_and_copies_the_recipe(desk: Desk) -> None:
    _, result = compared(desk)
    panel = desk.widget.result
    assert "RIDGE".lower() not in panel.table.value
    assert "Enlarged" in panel.table.value
    clipboard = QApplication.clipboard()
    panel.copy_recipe()
    assert "2× along Y and X" in clipboard.text()
    panel.copy_methods()
    paragraph, references = methods_unchecked(layer_recipe(result))
    assert clipboard.text().startswith(paragraph)
    assert clipboard.text().endswith(f"[{len(references)}] {references[-1]}")
    assert "was checked" not in clipboard.text()
    menu = panel.paper.native.menu()
    _, of_figure = menu.actions()
    of_figure.trigger()
    assert clipboard.text() == panel.copied.text.value
    assert clipboard.text().startswith("Input and result (")
    assert "contrast limits" in clipboard.text()


def test_what_was_copied_is_shown_until_another_result_is(desk: Desk) -> None:
    original, _ = compared(desk)
    panel = desk.widget.result
    copied = panel.copied
    assert copied.native.isHidden()
    panel.copy_methods()
    clipboard = QApplication.clipboard()
    assert copied.text.value == clipboard.text()
    assert copied.text.native.isReadOnly()
    assert copied.is_open
    assert not copied.native.isHidden()
    desk.widget.refresh()
    assert not copied.native.isHidden()
    desk.viewer.layers.selection.active = original
    desk.run(change(RIDGE, factor=3))
    desk.widget.refresh()
    assert copied.native.isHidden()
    desk.widget.after.python.changed.emit(True)
    assert desk.widget.after.copied.text.value == clipboard.text()
    assert "upscale" in clipboard.text()


def test_a_checked_result_has_the_whole_paragraph(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = desk.add(rings(64, 64, noise=20))
    desk.run()
    desk.viewer.layers.selection.active = desk.viewer.layers[-1]
    desk.widget.check.start()
    check = desk.widget.check
    desk.qtbot.waitUntil(
        lambda: not check._latest.run.running and check.job is not None, timeout=60_000
    )
    said: list[str] = []
    monkeypatch.setattr(_texts, "show_info", said.append)
    desk.widget.result.copy_methods()
    assert "was checked on" in QApplication.clipboard().text()
    assert check.job is not None
    check.job.state = "running"
    desk.widget.result.copy_methods()
    assert said == [
        "Copied to the clipboard.",
        "Copied to the clipboard. The check is not finished: this covers the image.",
    ]
    assert original in desk.viewer.layers
    check.stop()


# ---- looks


@pytest.mark.parametrize("letters", [1.0, 1.5])
def test_no_value_is_cut_in_a_narrow_dock(window: Desk, letters: float) -> None:
    """One word that is too long would cut every value of the table."""
    from napari.settings import get_settings
    from qtpy.QtGui import QTextDocument, QTextOption

    appearance = get_settings().appearance
    appearance.font_size = round(letters * appearance.font_size)
    window.add(rings(24, 24))
    window.run()
    result = window.viewer.layers[-1]
    result.metadata["napari_zssr"]["file"] = f"/data/{'long_name' * 9}/{'x' * 70}.tif"
    window.viewer.layers.selection.active = result
    panel = window.widget.result
    panel.update()
    label = panel.table.native
    label.ensurePolished()
    document = QTextDocument()
    document.setDefaultFont(label.font())
    document.setDocumentMargin(0)
    # As labels wrap their text.
    document.setDefaultTextOption(QTextOption())
    document.setHtml(label.text())
    width = 320 - 24
    document.setTextWidth(width)
    assert "xxx" in label.text()
    assert document.size().width() <= width
    panel.copy_recipe()
    clipboard = QApplication.clipboard()
    assert "\N{ZERO WIDTH SPACE}" not in clipboard.text()
    assert "x" * 70 in clipboard.text()


def test_the_blur_is_estimated_when_asked_for(desk: Desk) -> None:
    desk.add(rings(64, 64))
    blur = desk.widget.form.method.blur
    assert not blur.measure.visible
    desk.set(change(RIDGE, kernel="estimate"))
    request = desk.widget._request
    assert request is not None
    assert blur.seen.kernel(request, 0) is None
    desk.widget.measurements.estimate_blur()
    assert not blur.measure.enabled
    desk.qtbot.waitUntil(lambda: blur.measure.enabled, timeout=30_000)
    desk.widget.refresh()
    found = blur.seen.kernel(request, 0)
    assert found is not None
    assert found.sentence[:20] in blur.view.sentence.value
    # It is the one that a run takes.
    desk.run(change(RIDGE, kernel="estimate"))
    made = layer_recipe(desk.viewer.layers[-1])["report"]["kernels"][0]
    assert made["sentence"] == found.sentence
    assert made["fwhm_px"] == list(found.fwhm_px)


def test_the_noise_is_measured_as_a_run_does(desk: Desk) -> None:
    desk.add(rings(96, 96, noise=30))
    desk.set(change(RIDGE, noise="auto"))
    advanced = desk.widget.form.method.advanced
    desk.widget.measurements.measure_noise()
    desk.qtbot.waitUntil(lambda: advanced.measure.enabled, timeout=30_000)
    advanced.fields["noise"].value = "given"
    measured = float(advanced.fields["noise_sigma"].value)
    advanced.fields["noise"].value = "auto"
    desk.run(change(RIDGE, noise="auto"))
    (plane,) = layer_recipe(desk.viewer.layers[-1])["report"]["planes"]
    assert plane["noise"] > 0.005
    assert measured == pytest.approx(plane["noise"], rel=0.01)
    assert (
        f"{100 * plane['noise']:.2g} % of its intensity range"
        in advanced.noise_message.value
    )
    desk.add(rings(96, 96), "another")
    desk.widget.form.image.fields["layer"].value = desk.viewer.layers["another"]
    desk.widget.refresh()
    assert advanced.noise_message.value == ""


def test_noise_hints_at_factor_1(desk: Desk) -> None:
    """Before anything is run or pressed, as soon as the time is estimated."""
    desk.add(rings(96, 96), "clean")
    region, config = desk.widget.form.region, change(RIDGE, noise="auto")
    desk.set(config)
    draw = np.random.default_rng(0).normal(5000, 600, (96, 96))
    desk.add((rings(96, 96) + draw).astype(np.uint16), "noisy")
    desk.widget.refresh()
    assert region.meaning.value == ""
    desk.widget.cost._measure()
    desk.qtbot.waitUntil(lambda: region.meaning.value == HINT_AT_1, timeout=30_000)
    assert region.factors == (2, 2)
    region.show_factors((1, 1))
    assert region.meaning.value == ONLY_RESTORED
    region.show_factors((2, 2))
    desk.viewer.layers.selection.active = desk.viewer.layers["clean"]
    desk.widget.refresh()
    desk.qtbot.waitUntil(lambda: not desk.widget.cost._run.running, timeout=30_000)
    assert region.meaning.value == ""


def test_a_measured_noise_is_proposed_for_its_image(window: Desk) -> None:
    image = window.add(rings(96, 96, noise=30))
    window.viewer.window._qt_window.show()
    window.set(change(RIDGE, noise="auto"))
    method = window.widget.form.method
    advanced, fields = method.advanced, method.advanced.fields
    method.more.unfold(True)

    def measure() -> None:
        window.widget.measurements.measure_noise()
        window.qtbot.waitUntil(lambda: advanced.measure.enabled, timeout=30_000)

    def given() -> Any:
        return window.widget.form.requests()[0].config.noise

    measure()
    # A run knows more of the noise than its level.
    assert given() == "auto"
    assert "Noise" not in method.more.changes.value
    fields["noise"].value = "given"
    assert advanced.rows["noise_sigma"].native.isVisible()
    assert 0.005 < given() == float(fields["noise_sigma"].value) != 0.02
    # Estimated again, nothing of it is left.
    fields["noise"].value = "auto"
    method.more.unfold(False)
    assert "Noise" not in method.more.changes.value
    fields["noise"].value = "given"
    method.more.unfold(False)
    assert "Noise, Noise level" in method.more.changes.value
    other = window.add(rings(96, 96), "another")
    assert given() == "auto"
    assert "Noise" not in method.more.changes.value
    # What was typed is meant for other images too.
    fields["noise"].value = "given"
    fields["noise_sigma"].value = "0.3"
    window.viewer.layers.selection = {image}
    assert window.widget.form.image.layer is not other
    assert given() == 0.3


def test_the_slice_that_is_shown_is_measured(desk: Desk) -> None:
    stack = rings(3, 96, 96)
    stack[2] = rings(96, 96, noise=60)
    desk.add(stack, axis_labels=("z", "y", "x"))
    desk.set(change(RIDGE, noise="auto"))
    advanced, levels = desk.widget.form.method.advanced, []
    for at in (0, 2):
        desk.viewer.dims.set_point(0, at)
        desk.widget.refresh()
        desk.widget.measurements.measure_noise()
        desk.qtbot.waitUntil(lambda: advanced.measure.enabled, timeout=30_000)
        levels.append(advanced.noise_message.value)
    assert levels[0].startswith("No noise was found")
    assert re.search(r"is \d.* % of its intensity range", levels[1])


def test_nothing_but_noise_is_told() -> None:
    image = rings(3, 96, 96, noise=5)
    image[0] = np.random.default_rng(1).normal(600, 5, (96, 96))
    stack = labelled(image, axes="ZYX")
    levels = [
        plane_noise_level(stack, RIDGE, plane) for plane in planes("ZYX", image.shape)
    ]
    assert levels[0] is None
    assert None not in levels[1:]


def test_a_look_that_fails_says_why(desk: Desk) -> None:
    desk.add(np.full((64, 64), np.nan, np.float32))
    desk.set(change(RIDGE, kernel="estimate"))
    advanced, blur = desk.widget.form.method.advanced, desk.widget.form.method.blur
    desk.widget.measurements.measure_noise()
    desk.widget.measurements.estimate_blur()
    desk.qtbot.waitUntil(
        lambda: advanced.measure.enabled and blur.measure.enabled, timeout=30_000
    )
    assert "Missing pixels" in advanced.noise_message.value
    assert "Missing pixels" in blur.view.sentence.value


def test_a_batch_has_no_image_to_look_at(qtbot: Any) -> None:
    from napari_zssr.plugin.form.fields import MethodFields

    method = MethodFields()
    method.blur.fields["kernel"].value = "estimate"
    assert not method.blur.measure.visible
    assert not method.advanced.measure.visible


# ---- keys


def test_keys_work_on_the_canvas_and_leave_those_of_others(desk: Desk) -> None:
    from napari.components import ViewerModel

    from napari_zssr.plugin.widget import SuperResolutionWidget

    _, result = compared(desk)
    press(desk.viewer, "H")
    assert not result.visible
    press(desk.viewer, "H")
    assert result.visible
    count = len(desk.viewer.layers)
    press(desk.viewer, "Control-Enter")
    desk.wait()
    assert len(desk.viewer.layers) == count + 1

    def own(_viewer: Any) -> None:
        pass

    viewer = ViewerModel()
    viewer.bind_key("H", own)
    widget = SuperResolutionWidget(viewer)
    assert found(viewer, "H") is own
    assert found(viewer, "Control-P") is not None
    widget._close_panels()
    assert found(viewer, "H") is own
    assert found(viewer, "Control-P") is None
    widget.native.deleteLater()


def found(viewer: Any, key: str) -> Any:
    from napari.utils.key_bindings import coerce_keybinding

    return viewer.keymap.get(coerce_keybinding(key))


def press(viewer: Any, key: str) -> None:
    found(viewer, key)(viewer)


def test_keys_work_in_a_window(window: Desk) -> None:
    _, result = compared(window)
    canvas = window.viewer.window._qt_viewer.canvas.native
    for visible in (False, True):
        window.qtbot.keyClick(canvas, Qt.Key.Key_H)
        assert result.visible == visible
    # Without a window manager no widget of a window gets the focus.
    shortcuts = {
        shortcut.key().toString(): shortcut
        for shortcut in window.widget.native.findChildren(QShortcut)
    }
    assert set(shortcuts) == {"Ctrl+Return", "Ctrl+P", "H"}
    context = Qt.ShortcutContext.WidgetWithChildrenShortcut
    assert all(one.context() == context for one in shortcuts.values())
    shortcuts["H"].activated.emit()
    assert not result.visible
    shortcuts["H"].activated.emit()
    assert result.visible


def test_a_key_does_not_run_what_cannot_run(desk: Desk) -> None:
    press(desk.viewer, "Control-Enter")
    assert not desk.widget._run.running


# ---- help


class Opened:
    """Takes addresses instead of a browser."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.urls: list[str] = []
        monkeypatch.setattr(_help, "_open", self.urls.append)


def test_help_opens_what_the_package_names(
    qtbot: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As after a run: before one, nothing is known of the device.
    pytest.importorskip("torch")
    opened = Opened(monkeypatch)
    row = _help.HelpRow()
    row.docs.changed.emit(True)
    row.report.changed.emit(True)
    docs, issue = opened.urls
    known = metadata.metadata("napari-zssr").get_all("Project-URL")
    assert any(entry.endswith(docs) for entry in known)
    parts = urlsplit(issue)
    assert parts.path.endswith("/issues/new")
    (body,) = parse_qs(parts.query)["body"]
    for name in ("napari-zssr", "napari", "torch"):
        assert f"- {name}: {metadata.version(name)}" in body
    assert "- System:" in body
    assert "- Device: cpu" in body or "- Device: cuda" in body


def test_a_report_does_not_load_torch_and_names_no_person(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import getpass
    import platform

    monkeypatch.delitem(sys.modules, "torch", raising=False)
    url = _help.issue_url()
    assert "torch" not in sys.modules
    (body,) = parse_qs(urlsplit(url).query)["body"]
    assert "Device: unknown" in body
    for private in (platform.node(), getpass.getuser()):
        assert private not in body.split()
