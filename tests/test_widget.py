from __future__ import annotations

import gc
import time
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import torch
from conftest import RIDGE, Desk
from numpy.typing import NDArray

pytest.importorskip("napari")

from napari.components import ViewerModel
from napari.layers import Image
from napari.utils.notifications import notification_manager
from pytestqt.exceptions import capture_exceptions
from qtpy.QtCore import QThreadPool, QTimer
from qtpy.QtWidgets import QApplication, QFileDialog

from napari_zssr import save_networks
from napari_zssr.config import BALANCED, FAST, Config, change
from napari_zssr.errors import InputError
from napari_zssr.plugin import cost as _cost
from napari_zssr.plugin import widget as _widget
from napari_zssr.plugin.activity import Activity
from napari_zssr.plugin.form.rows import Column, text_label
from napari_zssr.plugin.layers.layers import KEY
from napari_zssr.plugin.widget import SuperResolutionWidget
from napari_zssr.progress import PlaneDone, Progress, drain
from napari_zssr.stack import run as engine
from napari_zssr.stack.axis_labels import labelled
from napari_zssr.zssr.checkpoint import load_networks
from napari_zssr.zssr.training_plan import TrainingPlan, expected_plans

QUICK = change(
    FAST,
    start="random",
    steps=20,
    width=4,
    blocks=1,
    batch=1,
    crop_px=8,
    back_projection=0,
    ensemble=False,
    noise="off",
    always=True,
    device="cpu",
)


def rings(*shape: int, seed: int = 0) -> NDArray[np.uint16]:
    y, x = np.mgrid[: shape[-2], : shape[-1]]
    waves = np.sin(np.hypot(y - 9 - seed, x - 14) / 2)
    return np.broadcast_to(1000 * (1.5 + waves), shape).astype(np.uint16)


# ---- opening


def test_napari_opens_it_quickly_and_without_torch(
    loaded_by: Callable[[str], set[str]],
) -> None:
    loaded = loaded_by(
        "import napari\n"
        "viewer = napari.Viewer(show=False)\n"
        "import time; started = time.monotonic()\n"
        "dock, widget = viewer.window.add_plugin_dock_widget('napari-zssr')\n"
        "assert time.monotonic() - started < 20\n"
        "assert widget.native.minimumSizeHint().width() <= 320\n"
        "viewer.close()\n"
    )
    assert "napari_zssr.plugin.widget" in loaded
    assert "torch" not in loaded


def test_every_control_explains_itself(desk: Desk) -> None:
    form, controls, after = desk.widget.form, desk.widget.controls, desk.widget.after
    fields = [
        *form.image.fields.values(),
        *form.region.fields.values(),
        *form.method.fields.values(),
        *form.method.advanced.fields.values(),
        *form.method.blur.fields.values(),
        *(controls.run, controls.cancel, after.python, after.command, after.settings),
        after.networks,
    ]
    assert all(len(field.tooltip) > 20 for field in fields)


def test_it_is_narrow_even_with_large_letters(window: Desk) -> None:
    from napari.settings import get_settings

    window.add(
        rings(3, 3, 32, 32), name="a very long name of a layer, longer than that"
    )
    get_settings().appearance.font_size = round(
        1.5 * get_settings().appearance.font_size
    )
    fields = window.widget.form.method.advanced.fields
    fields["noise"].value = "camera"
    fields["start"].value = "file"
    window.widget.form.method.blur.fields["kernel"].value = "file"
    window.widget.form.method.more.unfold(True)
    window.widget.refresh()
    window.viewer.window._qt_window.show()
    QApplication.processEvents()
    assert window.widget.native.minimumSizeHint().width() <= 320


# ---- what cannot run cannot be pressed


def test_without_an_image_a_line_says_why(desk: Desk, same_threads: None) -> None:
    assert not desk.widget.controls.run.enabled
    assert "Open an image" in desk.why
    desk.viewer.add_labels(np.ones((9, 8), np.int32))
    desk.qtbot.waitUntil(lambda: "--labels" in desk.why)
    desk.widget.start()
    assert not desk.widget._run.running


def test_the_noise_of_a_camera_is_asked_for_in_its_units(desk: Desk) -> None:
    desk.add(rings(32, 32))
    how = desk.widget.form.method
    how.more.unfold(True)
    fields, rows = how.advanced.fields, how.advanced.rows
    names = ("gain", "offset", "read_noise")
    desk.widget.native.show()
    assert not any(rows[name].visible for name in names)
    fields["noise"].value = "camera"
    assert all(rows[name].visible for name in names)
    for name, value in zip(names, ("0.46", "100", "1.6"), strict=True):
        fields[name].value = value
    wanted = "camera: gain 0.46, offset 100, read noise 1.6"
    assert desk.widget.form.requests()[0].config.noise == wanted
    other = "camera: gain 2, offset 0, read noise 3"
    desk.set(change(FAST, noise=other))
    assert desk.widget.form.requests()[0].config.noise == other


def test_wrong_settings_are_met_in_the_form(desk: Desk) -> None:
    desk.add(rings(32, 32))
    how = desk.widget.form.method
    fields = how.advanced.fields | how.blur.fields
    fields["noise"].value = "given"
    for name, value, says in (
        ("steps", "many", "not a whole number"),
        ("learned_steps", "-1", "whole number of at least 0"),
        ("kernel", "file", "Choose the file"),
        ("start", "file", "Choose the file of saved networks"),
        ("noise_sigma", "x", "not a number"),
        ("gain", "0", "gain of the camera is 0"),
        ("offset", "x", "offset x"),
    ):
        if name == "gain":
            fields["noise"].value = "camera"
        usual, fields[name].value = fields[name].value, value
        desk.qtbot.waitUntil(lambda says=says: says in desk.why)
        assert not desk.widget.controls.run.enabled
        fields[name].value = usual
    desk.qtbot.waitUntil(lambda: desk.widget.controls.run.enabled)


def test_wrong_axes_are_met_in_the_form(desk: Desk) -> None:
    desk.add(rings(3, 32, 32))
    axes = desk.widget.form.image.fields["axes"]
    axes.value = "QYX"
    desk.widget.refresh()
    assert "unknown letter" in desk.why
    axes.value = "ZYX"
    desk.widget.refresh()
    assert desk.why == ""
    assert "Z 3 × Y 32 × X 32" in desk.widget.form.image.understood.value
    assert desk.widget.form.requests()[0].axes == "ZYX"


def test_what_will_not_fit_cannot_be_pressed(desk: Desk) -> None:
    desk.add(rings(32, 32))
    desk.widget.refresh()
    assert desk.widget.controls.run.enabled
    desk.widget.cost.problem = "Too large."
    desk.widget.cost.changed.emit("Too large.")
    assert not desk.widget.controls.run.enabled


# ---- the layers


def test_the_choice_follows_the_layers(desk: Desk) -> None:
    choice = desk.widget.form.image.fields["layer"]
    first = desk.add(rings(32, 32), "one")
    desk.add(rings(32, 32), "two")
    desk.viewer.add_points(np.zeros((1, 2)))
    assert [layer.name for layer in choice.choices] == ["one", "two"]
    first.name = "renamed"
    assert choice.native.itemText(0) == "renamed"
    desk.viewer.layers.remove(first)
    assert [layer.name for layer in choice.choices] == ["two"]


def test_factors_are_linked_until_they_are_not(desk: Desk) -> None:
    what = desk.widget.form.region
    what.fields["factor_y"].value = 3
    assert what.factors == (3, 3)
    what.fields["linked"].value = False
    what.fields["factor_x"].value = 1.5
    assert what.factors == (3, 1.5)


def test_parts_of_a_layer(window: Desk) -> None:
    window.add(rings(4, 3, 32, 40), axis_labels=("z", "c", "y", "x"))
    window.viewer.dims.set_current_step(0, 2)
    fields = window.widget.form.region.fields

    def ranges() -> Any:
        return window.widget.form.requests()[0].selection.ranges

    assert ranges() == {}
    fields["slices"].value = "current"
    assert ranges() == {"Z": (2, 3)}
    # As the channels of a file are named in the layer list, from 1.
    choices = [box.native.itemText(n) for box in [fields["channel"]] for n in range(4)]
    assert choices == ["all", "channel 1", "channel 2", "channel 3"]
    fields["channel"].value = 1
    assert ranges() == {"Z": (2, 3), "C": (1, 2)}
    corners = np.array([[3.0, 4], [3, 20], [10, 20], [10, 4]])
    shapes = window.viewer.add_shapes([corners], name="here")
    fields["area"].value = shapes
    assert ranges() == {"Z": (2, 3), "C": (1, 2), "Y": (3, 11), "X": (4, 21)}
    window.viewer.layers.remove(shapes)
    assert set(ranges()) == {"Z", "C"}


@pytest.mark.parametrize(
    ("text", "scale", "says"),
    [
        ("0.13", (1, 0.13, 0.13), "0.13 × 0.13 µm"),
        ("0.5, 0.13, 0.12", (0.5, 0.13, 0.12), "0.5 × 0.13 × 0.12 µm"),
        ("0.5, 0.13", (1, 1, 1), "not understood"),
        ("small", (1, 1, 1), "not understood"),
        ("-1", (1, 1, 1), "above 0"),
        ("0.3 x 0.1 x 0.1", (0.3, 0.1, 0.1), "0.3 × 0.1 × 0.1 µm"),
        ("0.3 × 0.1 × 0.1 µm", (0.3, 0.1, 0.1), "0.3 × 0.1 × 0.1 µm"),
        ("0.3; 0.1; 0.1", (0.3, 0.1, 0.1), "0.3 × 0.1 × 0.1 µm"),
        ("0.3,0.1,0.1", (0.3, 0.1, 0.1), "0.3 × 0.1 × 0.1 µm"),
        ("0,3; 0,1; 0,1", (0.3, 0.1, 0.1), "0.3 × 0.1 × 0.1 µm"),
        ("0,11", (1, 0.11, 0.11), "0.11 × 0.11 µm, Z unknown"),
        ("0", (1, 1, 1), "above 0"),
    ],
)
def test_a_missing_pixel_size_can_be_given(
    desk: Desk, text: str, scale: tuple[float, ...], says: str
) -> None:
    layer = desk.add(rings(3, 24, 32), axis_labels=("z", "y", "x"))
    field = desk.widget.form.image.fields["spacing"]
    field.value = text
    field.native.editingFinished.emit()
    np.testing.assert_allclose(layer.scale, scale)
    assert says in desk.widget.form.image.understood.value


# ---- a run


@pytest.mark.parametrize(
    ("shape", "given"),
    [
        ((40, 44), {}),
        ((3, 24, 32), {"axis_labels": ("z", "y", "x"), "scale": (2, 0.5, 0.4)}),
        ((2, 3, 24, 32), {"axis_labels": ("t", "c", "y", "x")}),
        ((24, 32, 3), {"rgb": True}),
    ],
    ids=["YX", "ZYX", "TCYX", "RGB"],
)
def test_a_run_adds_a_layer_in_the_right_place(
    desk: Desk, shape: tuple[int, ...], given: dict[str, Any]
) -> None:
    rgb = given.get("rgb", False)
    data = np.stack([rings(24, 32) // 8] * 3, -1).astype(np.uint8) if rgb else None
    layer = desk.add(rings(*shape) if data is None else data, **given)
    desk.run()
    made = desk.viewer.layers["cells x2 instant"]
    wanted = list(shape)
    for axis in (0, 1) if rgb else (-2, -1):
        wanted[axis] *= 2
    assert made.data.shape == tuple(wanted)
    assert made.data.dtype == layer.data.dtype
    half = np.where(np.arange(layer.ndim) >= layer.ndim - 2, 2, 1)
    np.testing.assert_allclose(made.scale, layer.scale / half)
    np.testing.assert_allclose(made.translate, layer.scale * (1 - half) / (2 * half))
    assert made.axis_labels == layer.axis_labels
    assert made.units == layer.units
    assert made.rgb == layer.rgb
    assert made.metadata[KEY]["config"]["preset"] == "instant"
    assert "on the processor" in desk.said
    assert desk.idle()


def test_a_real_file_end_to_end(window: Desk, tmp_path: Path) -> None:
    """OME-TIFF of three channels, opened by napari, learned, with units."""
    path = tmp_path / "three.ome.tif"
    data = np.stack([rings(32, 32, seed=n) for n in range(3)])
    about = {"axes": "CYX", "PhysicalSizeX": 0.2, "PhysicalSizeY": 0.2}
    tifffile.imwrite(path, data, ome=True, metadata=about)
    window.viewer.open(path, plugin="napari")
    (layer,) = window.viewer.layers
    layer.axis_labels, layer.scale = ("c", "y", "x"), (1, 0.2, 0.2)
    layer.units = ("pixel", "um", "um")
    window.run(change(QUICK, steps=20))
    made = window.viewer.layers[-1]
    assert made.data.shape == (3, 64, 64)
    np.testing.assert_allclose(made.scale, (1, 0.1, 0.1))
    assert [str(unit) for unit in made.units] == ["pixel", "micrometer", "micrometer"]
    learned = made.metadata[KEY]["report"]["planes"]
    assert [plane["returned"] for plane in learned] == ["learned"] * 3


@pytest.mark.parametrize(
    ("factor", "name"), [(2, "cells x2 interpolated"), (1, "cells x1 unchanged")]
)
def test_what_is_only_interpolated_is_named_so(
    desk: Desk, factor: float, name: str
) -> None:
    desk.add(np.full((24, 24), 7, np.uint8))
    desk.run(change(RIDGE, factor=factor, noise="auto"))
    assert desk.names == ["cells", name]
    (row,) = desk.widget.controls.messages.rows
    assert row.message.line.startswith("○ No improvement")
    assert f"({name})" in row.message.line


def test_slices_appear_while_others_are_computed(window: Desk) -> None:
    window.add(rings(3, 24, 24), axis_labels=("z", "y", "x"))
    window.set(RIDGE)
    seen: list[tuple[int, list[bool]]] = []
    show = window.widget._run._follow

    def look(event: Any) -> None:
        show(event)
        if isinstance(event, PlaneDone):
            made = window.viewer.layers["cells x2 instant"].data
            seen.append((event.plane, [bool(plane.any()) for plane in made]))

    window.widget._run._follow = look  # type: ignore[method-assign]
    window.widget.start()
    window.wait()
    assert [plane for plane, _ in seen] == [0, 1, 2]
    # Never a slice that is still black.
    assert all(all(there) for _, there in seen)
    assert window.viewer.layers["cells x2 instant"].data.shape == (3, 48, 48)


def test_selected_layers_run_in_turn(desk: Desk) -> None:
    layers = [desk.add(rings(24, 24, seed=n), f"c{n}") for n in range(3)]
    desk.viewer.layers.selection = set(layers[:2])
    desk.widget.form.image.fields["in_turn"].value = True
    desk.run()
    assert desk.names == ["c0", "c1", "c2", "c0 x2 instant", "c1 x2 instant"]
    assert desk.said.count("on the processor") == 2


def test_two_widgets_work_side_by_side(window: Desk) -> None:
    second = SuperResolutionWidget(window.viewer)
    window.viewer.window.add_dock_widget(second, name="second")
    window.add(rings(24, 24))
    window.set(RIDGE)
    second.form.method.show_config(change(RIDGE, factor=3))
    second.form.region.show_factors((3, 3))
    window.widget.start()
    second.start()
    window.wait()
    window.qtbot.waitUntil(lambda: not second._run.running, timeout=30_000)
    assert sorted(window.names) == ["cells", "cells x2 instant", "cells x3 instant"]


def test_only_one_run_at_a_time(desk: Desk) -> None:
    desk.add(rings(24, 24))
    desk.set(RIDGE)
    desk.widget.start()
    desk.widget.start()
    assert not desk.widget.controls.run.enabled
    desk.wait()
    assert desk.names == ["cells", "cells x2 instant"]


# ---- cancelling


@pytest.fixture
def networks(monkeypatch: pytest.MonkeyPatch) -> list[weakref.ref[Any]]:
    """Weak references to all networks that are trained."""
    from napari_zssr.zssr import trainer

    found: list[weakref.ref[Any]] = []
    original = trainer.Trainer.__init__

    def init(self: Any, network: Any, *args: Any, **kwargs: Any) -> None:
        found.append(weakref.ref(network))
        original(self, network, *args, **kwargs)

    monkeypatch.setattr(trainer.Trainer, "__init__", init)
    return found


@pytest.mark.parametrize("stage", ["read", "train", "predict", "write"])
def test_cancel_at_each_stage(
    desk: Desk, stage: str, networks: list[weakref.ref[Any]]
) -> None:
    desk.add(rings(4, 24, 24), axis_labels=("z", "y", "x"))
    desk.set(change(QUICK, strategy="tuned"))
    show = desk.widget._run._follow

    def look(event: Any) -> None:
        show(event)
        at = event.stage if isinstance(event, Progress) else "write"
        if at == stage:
            desk.widget.controls.cancel.native.click()
            assert not desk.widget.controls.cancel.enabled
            assert "Cancelling" in desk.widget.controls._status.value

    desk.widget._run._follow = look  # type: ignore[method-assign]
    desk.widget.start()
    desk.wait()
    gc.collect()
    assert all(network() is None for network in networks)
    assert desk.idle()
    assert "Cancelled" in desk.said
    kept = desk.viewer.layers[1:]
    assert len(kept) <= 1
    if stage == "write":
        assert kept
    for layer in kept:
        done = layer.metadata[KEY]["finished"]
        assert layer.data.shape == (done, 48, 48)
        assert layer.data.any(axis=(1, 2)).all()
        assert "config" in layer.metadata[KEY]


@pytest.mark.parametrize("wanted", [True, False])
def test_finished_slices_are_kept_or_not_as_wished(desk: Desk, wanted: bool) -> None:
    desk.add(rings(200, 24, 24), axis_labels=("z", "y", "x"))
    desk.set(RIDGE)
    desk.widget.start()
    desk.qtbot.waitUntil(lambda: len(desk.viewer.layers) == 2, timeout=20_000)
    desk.widget.cancel()
    desk.wait()
    question = desk.widget.controls.question
    (question.keep if wanted else question.discard).native.click()
    assert ("cells x2 instant" in desk.names) == wanted
    assert len(desk.viewer.layers[0].data) == 200


def test_slices_that_stayed_black_are_told(desk: Desk) -> None:
    desk.add(rings(3, 100, 24, 24), axis_labels=("t", "z", "y", "x"))
    desk.set(RIDGE)
    desk.widget.start()
    desk.qtbot.waitUntil(lambda: len(desk.viewer.layers) == 2, timeout=20_000)
    desk.widget.cancel()
    desk.wait()
    made = desk.viewer.layers[1]
    told = made.data[..., 0, 0].size - made.metadata[KEY]["finished"]
    black = int((~made.data.any(axis=(2, 3))).sum())
    # One more may have been written while the run was told to stop.
    assert told - 1 <= black <= told
    assert black > 0
    assert f"The last {told} slices of the layer are not done" in desk.said


def test_a_layer_that_is_taken_away_in_a_run_is_freed(desk: Desk) -> None:
    seen = weakref.ref(desk.add(rings(24, 24), "other"))
    desk.add(rings(200, 24, 24), axis_labels=("z", "y", "x"))
    desk.widget.form.image.fields["layer"].value = desk.viewer.layers[1]
    desk.set(RIDGE)
    desk.widget.start()
    assert gc.get_freeze_count() > 0
    desk.viewer.layers.remove("other")
    assert gc.get_freeze_count() == 0
    desk.qtbot.waitUntil(lambda: bool(gc.collect()) and seen() is None)
    desk.widget.cancel()
    desk.wait()
    assert gc.get_freeze_count() == 0


def test_a_long_sentence_is_seen_whole(qtbot: Any) -> None:
    label = text_label()
    column = Column([label, text_label("below")])
    qtbot.addWidget(column.native)
    column.native.resize(200, 60)
    column.show()
    label.value = "It was said in many words. " * 20
    native = label.native

    def whole() -> bool:
        return bool(native.height() >= native.heightForWidth(native.width()) > 100)

    qtbot.waitUntil(whole, timeout=5_000)


@pytest.mark.parametrize("blending", ["additive", "translucent"])
def test_what_would_add_up_with_its_result_is_hidden(desk: Desk, blending: str) -> None:
    layer = desk.add(rings(24, 24), blending=blending)
    desk.run(RIDGE)
    adds_up = blending == "additive"
    assert layer.visible != adds_up
    assert desk.viewer.layers[1].visible
    assert ("Original hidden" in desk.said) == adds_up


def test_the_form_begins_with_the_selected_layer(qtbot: Any, settled: None) -> None:
    viewer = ViewerModel()
    for name in "abc":
        viewer.add_image(rings(24, 24), name=name)
    viewer.layers.selection.active = viewer.layers["b"]
    widget = SuperResolutionWidget(viewer)
    assert widget.form.requests()[0].layer is viewer.layers["b"]
    widget.native.deleteLater()
    qtbot.wait(1)


def test_cancelling_drops_the_layers_that_wait(desk: Desk) -> None:
    layers = [desk.add(rings(24, 24, seed=n), f"c{n}") for n in range(2)]
    desk.viewer.layers.selection = set(layers)
    desk.widget.form.image.fields["in_turn"].value = True
    desk.set(QUICK)
    desk.widget.start()
    desk.widget.cancel()
    desk.wait()
    assert desk.names == ["c0", "c1"]
    assert desk.idle()


# ---- errors


def test_errors_are_shown_and_the_widget_is_usable_again(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk.add(rings(24, 24))
    for error, says in (
        (torch.OutOfMemoryError("CUDA out of memory"), "Memory ran out"),
        (InputError("The kernel is odd."), "The kernel is odd."),
        (ZeroDivisionError("x"), "ZeroDivisionError"),
    ):

        def fail(*_: Any, error: Exception = error, **__: Any) -> Any:
            yield Progress(stage="train", step=0, total=2)
            raise error

        with monkeypatch.context() as patch:
            patch.setattr(engine, "upscale_steps", fail)
            desk.run()
        assert says in desk.said
        assert says in notification_manager.records[-1].message
        assert desk.names == ["cells"]
        assert desk.idle()
    desk.run()
    assert desk.names == ["cells", "cells x2 instant"]


def test_missing_pixels_are_told_and_can_be_filled(desk: Desk) -> None:
    data = rings(24, 24).astype(np.float32)
    data[3, 4] = np.nan
    desk.add(data, contrast_limits=(0, 3000))
    desk.run()
    assert "Missing pixels: fill" in desk.said
    assert desk.names == ["cells"]
    desk.run(change(RIDGE, nonfinite="fill"))
    assert np.isfinite(desk.viewer.layers["cells x2 instant"].data).all()


# ---- what may happen meanwhile


def start_slow(desk: Desk, planes: int = 3) -> Image:
    layer = desk.add(rings(planes, 24, 24), axis_labels=("z", "y", "x"))
    desk.set(change(QUICK, strategy="tuned"))
    desk.widget.start()
    return layer


def test_the_layer_may_go_meanwhile(window: Desk) -> None:
    layer = start_slow(window)
    window.viewer.layers.remove(layer)
    window.wait()
    assert window.names == ["cells x2 fast"]
    assert window.viewer.layers[0].data.any(axis=(1, 2)).all()


def test_its_pixels_may_be_replaced_meanwhile(desk: Desk) -> None:
    layer = start_slow(desk)
    desk.qtbot.waitUntil(lambda: desk.widget._run.job.clock.share > 0, timeout=20_000)
    layer.data = np.zeros((5, 10, 10), np.uint16)
    layer.name = "other"
    desk.wait()
    assert desk.viewer.layers["cells x2 fast"].data.shape == (3, 48, 48)


def test_the_result_may_be_removed_meanwhile_without_loss(window: Desk) -> None:
    start_slow(window)
    window.qtbot.waitUntil(lambda: "cells x2 fast" in window.names, timeout=20_000)
    window.viewer.layers.remove("cells x2 fast")
    window.wait()
    assert window.viewer.layers["cells x2 fast"].data.any(axis=(1, 2)).all()


def test_the_theme_may_change_meanwhile(window: Desk) -> None:
    start_slow(window)
    window.viewer.theme = "light"
    QApplication.processEvents()
    window.viewer.theme = "dark"
    window.wait()
    assert "cells x2 fast" in window.names


def test_closing_the_dock_stops_the_run_and_keeps_what_is_finished(
    window: Desk,
) -> None:
    start_slow(window, planes=100)
    window.qtbot.waitUntil(lambda: "cells x2 fast" in window.names, timeout=20_000)
    window.viewer.window.remove_dock_widget(window.widget.native)
    window.wait()
    kept = window.viewer.layers["cells x2 fast"]
    assert 1 <= len(kept.data) < 100
    assert kept.data.any(axis=(1, 2)).all()


def is_deleted(native: Any) -> bool:
    """Whether Qt has deleted a widget."""
    try:
        native.parent()
    except RuntimeError:
        return True
    return False


def test_a_closed_dock_is_deleted_in_the_main_thread(window: Desk) -> None:
    """Not whenever Python collects garbage, in a worker thread perhaps."""
    native = window.widget.native
    window.viewer.window.remove_dock_widget(native)
    window.qtbot.waitUntil(lambda: is_deleted(native), timeout=10_000)


def test_a_closed_dock_is_not_called_back(window: Desk) -> None:
    """Also where Python has not collected it yet, as here."""
    window.add(rings(24, 24))
    shapes = window.viewer.add_shapes([[[2, 2], [9, 9]]], shape_type="rectangle")
    window.widget.tabs.setCurrentIndex(1)
    native = window.widget.native
    window.viewer.window.remove_dock_widget(native)
    window.qtbot.waitUntil(lambda: is_deleted(native), timeout=10_000)
    with capture_exceptions() as raised:
        shapes.selected_data = {0}
        shapes.data = [[[2, 2], [2, 9], [9, 9], [9, 2]]]
        window.viewer.add_image(rings(3, 24, 24), name="later")
        window.viewer.dims.set_current_step(0, 1)
        window.viewer.layers["later"].translate = (0, 1, 1)
        window.viewer.layers.selection = {shapes}
        window.viewer.layers.remove(window.viewer.layers["cells"])
        window.viewer.scene.camera.zoom = 3
        window.qtbot.wait(300)
    assert not raised


def test_the_widget_may_be_moved_to_another_dock(window: Desk) -> None:
    window.viewer.window.remove_dock_widget(window.widget.native)
    window.viewer.window.add_dock_widget(window.widget, name="again")
    window.qtbot.wait(20)
    window.add(rings(24, 24))
    window.run()
    assert window.names == ["cells", "cells x2 instant"]
    assert window.idle()


def test_closing_the_viewer_leaves_no_thread(window: Desk) -> None:
    start_slow(window, planes=100)
    window.qtbot.waitUntil(
        lambda: window.widget._run.job.clock.share > 0, timeout=20_000
    )
    window.viewer.close()
    pool = QThreadPool.globalInstance()
    assert pool is not None
    assert pool.waitForDone(20_000)
    window.qtbot.wait(20)


def test_the_window_stays_alive(window: Desk, request: pytest.FixtureRequest) -> None:
    """The longest gap of a timer of 5 ms is reported; only that it ran is asserted."""
    window.add(rings(4, 64, 64), axis_labels=("z", "y", "x"))
    window.set(change(QUICK, steps=60, width=16))
    beats: list[float] = []
    timer = QTimer()
    timer.timeout.connect(lambda: beats.append(time.perf_counter()))
    timer.start(5)
    window.widget.start()
    window.wait()
    timer.stop()
    longest = 1000 * max(np.diff(beats))
    request.node.user_properties.append(("longest_gap_ms", float(longest)))
    assert len(beats) > 10


# ---- again


def test_run_again_like_a_layer(desk: Desk) -> None:
    desk.add(rings(4, 24, 32), axis_labels=("z", "y", "x"))
    config = change(QUICK, steps=20, factor=(2, 1.5), seed=7, kernel="gaussian:1.1")
    desk.widget.form.region.fields["slices"].value = "current"
    desk.viewer.dims.set_current_step(0, 3)
    desk.run(config)
    first = desk.viewer.layers["cells x2x1.5 fast"]
    desk.viewer.dims.set_current_step(0, 0)
    desk.widget.form.region.fields["slices"].value = "all"
    desk.set(RIDGE)
    desk.viewer.layers.selection = {first}
    desk.widget.use_settings()
    (request,) = desk.widget.form.requests()
    assert request.config == config
    assert request.layer.name == "cells"
    assert dict(request.selection.ranges) == {"Z": (3, 4)}
    desk.widget.start()
    desk.wait()
    again = desk.viewer.layers[-1]
    np.testing.assert_array_equal(again.data, first.data)
    np.testing.assert_allclose(again.translate, first.translate)


def test_a_layer_without_recipe_offers_nothing(desk: Desk) -> None:
    layer = desk.add(rings(24, 24))
    desk.widget.refresh()
    assert not desk.widget.after.settings.enabled
    layer.metadata[KEY] = {"config": {"steps": "x"}}
    desk.widget.refresh()
    desk.widget.use_settings()
    assert "cannot be read" in notification_manager.records[-1].message


def copied() -> str:
    clipboard = QApplication.clipboard()
    assert clipboard is not None
    return clipboard.text()


@pytest.mark.parametrize(
    "config",
    [
        RIDGE,
        change(RIDGE, factor=(1.5, 2), seed=3, kernel="gaussian:1,0.8,10"),
        change(RIDGE, kernel=np.ones((3, 3)), nonfinite="fill"),
    ],
    ids=["plain", "gaussian", "array"],
)
def test_copied_python_makes_the_same_layer(desk: Desk, config: Config) -> None:
    desk.add(
        rings(3, 24, 32), axis_labels=("z", "y", "x"), scale=(2, 0.5, 0.4), rotate=20
    )
    desk.viewer.dims.set_current_step(0, 1)
    desk.widget.form.region.fields["slices"].value = "current"
    desk.run(config)
    made = desk.viewer.layers[1]
    desk.widget.form.image.fields["layer"].value = desk.viewer.layers[0]
    desk.widget.refresh()
    desk.widget.after.python.native.click()
    exec(compile(copied(), "copied", "exec"), {"viewer": desk.viewer})
    again = desk.viewer.layers[-1]
    assert again is not made
    np.testing.assert_array_equal(again.data, made.data)
    point = (0, 5, 9)
    np.testing.assert_allclose(again.data_to_world(point), made.data_to_world(point))


def test_copied_command_makes_the_same_pixels(desk: Desk, tmp_path: Path) -> None:
    import shlex

    from napari_zssr.cli import main

    path = tmp_path / "some cells.tif"
    tifffile.imwrite(path, rings(24, 32))
    desk.viewer.open(path, plugin="napari")
    desk.run(change(RIDGE, factor=(1.5, 2), seed=3))
    desk.widget.form.image.fields["layer"].value = desk.viewer.layers[0]
    desk.widget.refresh()
    desk.widget.after.command.native.click()
    words = shlex.split(copied())
    assert words[:3] == ["napari-zssr", "upscale", str(path)]
    out = tmp_path / "out.tif"
    assert main([*words[1:], "-o", str(out)]) == 0
    np.testing.assert_array_equal(tifffile.imread(out), desk.viewer.layers[1].data)


def test_the_strategy_is_met_in_the_form(desk: Desk, tmp_path: Path) -> None:
    path = tmp_path / "stack.tif"
    tifffile.imwrite(path, np.stack([rings(24, 32)] * 2))
    desk.viewer.open(path, plugin="napari")
    form = desk.widget.form.method
    field = form.advanced.fields["strategy"]
    assert field.value is None
    assert form.config((2, 2)).strategy == "tuned"
    for strategy in ("shared", "independent", "tuned"):
        desk.set(change(QUICK, strategy=strategy))
        assert form.config((2, 2)).strategy == strategy
        assert (field.value is None) == (strategy == FAST.strategy)
    desk.set(change(QUICK, strategy="tuned"))
    desk.widget.after.python.native.click()
    assert "strategy='tuned'" in copied()


def test_there_is_no_command_for_a_layer_without_a_file(desk: Desk) -> None:
    desk.add(rings(24, 24))
    desk.widget.refresh()
    assert not desk.widget.after.command.enabled
    assert "not read from a file" in desk.widget.after.command.tooltip


# ---- networks that are used again


def save_to(path: Path | None, desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Press the button and name a file, or none, in the dialog."""
    chosen = None if path is None else str(path)
    monkeypatch.setattr(_widget, "ask_path", lambda *_: chosen)
    desk.widget.after.networks.native.click()


def test_networks_of_a_run_are_saved_and_used_again(
    window: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    window.add(rings(2, 24, 32), axis_labels=("c", "y", "x"))
    button, fields = window.widget.after.networks, window.widget.form.method.advanced
    assert not button.enabled
    window.run(RIDGE)
    assert not button.enabled
    window.widget.form.image.fields["layer"].value = window.viewer.layers["cells"]
    window.run(QUICK)
    first = window.viewer.layers[-1]
    assert button.enabled
    save_to(None, window, monkeypatch)
    assert list(tmp_path.iterdir()) == []
    path = tmp_path / "cells.safetensors"
    save_to(path, window, monkeypatch)
    assert str(path) in notification_manager.records[-1].message
    assert len(load_networks(path)) == 2

    window.widget.form.image.fields["layer"].value = window.viewer.layers["cells"]
    assert not fields.rows["start_file"].visible
    window.widget.form.method.more.unfold(True)
    window.viewer.window._qt_window.show()
    fields.fields["start"].value = "file"
    fields.fields["start_file"].value = path
    fields.fields["steps"].value = "0"
    assert fields.rows["start_file"].visible
    window.widget.refresh()
    assert window.why == ""
    window.widget.start()
    window.wait()
    second = window.viewer.layers[-1]
    assert second.metadata[KEY]["config"]["start"] == str(path)
    assert "without further training" in window.said
    assert abs(second.data.astype(int) - first.data).max() <= 1


@pytest.fixture
def nets(tmp_path: Path) -> Path:
    """Networks of a grey image."""
    stack = labelled(rings(24, 32), axes="YX")
    result = drain(engine.upscale_steps(stack, QUICK))
    return save_networks(result, tmp_path / "nets.safetensors")


def test_saved_networks_are_met_in_the_form(desk: Desk, nets: Path) -> None:
    desk.add(rings(24, 32))
    left = change(QUICK, start=str(nets), steps=0)
    desk.set(left)
    assert desk.widget.form.requests()[0].config == left
    assert desk.why == ""
    for settings, says in (
        (change(left, factor=(1, 2)), "trained for the factor 2 × 2"),
        (change(left, network="paper", preset="paper"), "the preset that they were"),
    ):
        desk.set(settings)
        assert says in desk.why
        assert not desk.widget.controls.run.enabled
    desk.set(left)
    desk.widget.form.method.preset.value = "instant"
    desk.widget.refresh()
    assert "trains no network" in desk.why
    desk.set(left)
    nets.write_bytes(nets.read_bytes()[:-9])
    desk.widget.refresh()
    assert "is damaged" in desk.why
    nets.unlink()
    desk.widget.refresh()
    assert "nets.safetensors does not exist" in desk.why
    assert not desk.widget.controls.run.enabled
    desk.widget.start()
    assert not desk.widget._run.running


def begins(desk: Desk) -> str:
    """What the form says that training will begin from."""
    return str(desk.widget.form.method.advanced._start_message.value)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({}, "the network pretrained on synthetic images, at most 50 steps."),
        ({"noise": 0.02}, "the network pretrained on synthetic images, at most"),
        (
            {"learned_steps": 0},
            "network pretrained on synthetic images is used without further training.",
        ),
        ({"start": "random"}, "uses this image only."),
    ],
)
def test_the_form_says_what_training_will_begin_from(
    changes: dict[str, Any], says: str, desk: Desk, shipped: Path
) -> None:
    desk.add(rings(24, 32))
    wanted = change(FAST, **{"start": "learned", "noise": "off", **changes})
    desk.set(wanted)
    assert desk.why == ""
    assert desk.widget.form.requests()[0].config == wanted
    assert says in begins(desk)


def test_the_preset_decides_what_training_begins_from(
    desk: Desk, shipped: Path
) -> None:
    desk.add(rings(24, 32))
    desk.set(FAST)
    how = desk.widget.form.method
    fields, rows = how.advanced.fields, how.advanced.rows
    assert fields["start"].value is None
    how.more.unfold(True)
    desk.widget.native.show()
    assert rows["learned_steps"].visible
    for preset, says in (
        ("fast", "the network pretrained"),
        ("paper", "this image only"),
        ("instant", ""),
        ("balanced", "the network pretrained"),
    ):
        how.preset.value = preset
        desk.widget.refresh()
        assert desk.why == ""
        assert says in begins(desk)
        assert bool(begins(desk)) == bool(says)
        assert rows["learned_steps"].visible == (preset in ("fast", "balanced"))
    how.preset.value = "fast"
    fields["start"].value = "random"
    assert not rows["learned_steps"].visible
    assert desk.widget.form.requests()[0].config.start == "random"


def test_the_learned_start_is_chosen_and_told(
    desk: Desk, shipped: Path, tmp_path: Path
) -> None:
    path = tmp_path / "cells.tif"
    tifffile.imwrite(path, rings(24, 32))
    desk.viewer.open(path, plugin="napari")
    fields = desk.widget.form.method.advanced.fields
    wanted = change(BALANCED, noise="off", always=True, device="cpu", start="random")
    desk.set(wanted)
    desk.widget.after.command.native.click()
    assert "--start random" in copied()
    fields["start"].value = "learned"
    fields["learned_steps"].value = "3"
    desk.widget.refresh()
    (request,) = desk.widget.form.requests()
    plan = planned_for(request)
    assert (plan.width, plan.steps) == (8, 3)
    desk.widget.after.command.native.click()
    assert "--start" not in copied()
    assert "--learned-steps 3" in copied()
    desk.widget.start()
    desk.wait()
    assert (
        "started from the network pretrained on synthetic images, 3 steps" in desk.said
    )
    desk.widget.form.method.preset.value = "paper"
    desk.widget.refresh()
    assert "start from &#x27;this image only" in desk.why
    assert begins(desk) == ""
    shipped.unlink()
    desk.widget.form.method.preset.value = "fast"
    desk.widget.refresh()
    assert "network of napari-zssr is missing" in desk.why


def planned_for(request: Any) -> TrainingPlan:
    """What the cost of a plane of a request follows from."""
    workload = _cost._workload(request)
    return expected_plans(workload.config, workload.starts, 1)[1]


def test_the_cost_is_that_of_the_saved_networks(desk: Desk, nets: Path) -> None:
    desk.add(rings(24, 32))
    desk.set(change(QUICK, start=str(nets), steps=0, gradual=3, width=64))
    (request,) = desk.widget.form.requests()
    plan = planned_for(request)
    assert (plan.width, len(plan.stages), plan.steps) == (4, 1, 0)
    assert request.config.width == 64


def test_run_again_restores_the_start_even_when_it_is_gone(
    desk: Desk, nets: Path
) -> None:
    desk.add(rings(24, 32))
    config = change(QUICK, start=str(nets), steps=0)
    desk.run(config)
    made = desk.viewer.layers["cells x2 fast"]
    desk.set(RIDGE)
    desk.viewer.layers.selection = {made}
    desk.widget.use_settings()
    assert desk.widget.form.requests()[0].config == config
    nets.unlink()
    desk.set(RIDGE)
    desk.widget.use_settings()
    assert "nets.safetensors does not exist" in desk.why
    desk.widget.form.method.advanced.fields["start"].value = "random"
    desk.widget.form.method.advanced.fields["steps"].value = "20"
    desk.widget.refresh()
    assert desk.why == ""


def test_copies_carry_the_start(desk: Desk, nets: Path, tmp_path: Path) -> None:
    path = tmp_path / "cells.tif"
    tifffile.imwrite(path, rings(24, 32))
    desk.viewer.open(path, plugin="napari")
    desk.set(change(FAST, start=str(nets), steps=0, always=True))
    desk.widget.after.python.native.click()
    assert f"start={str(nets)!r}, steps=0" in copied()
    desk.widget.after.command.native.click()
    assert f"--start {nets} --steps 0" in copied()


def test_the_networks_are_let_go_of_with_the_next_result(
    desk: Desk, networks: list[weakref.ref[Any]]
) -> None:
    desk.add(rings(24, 24))
    desk.run(QUICK)
    gc.collect()
    assert networks
    assert all(network() is None for network in networks)
    assert desk.widget.after.networks.enabled
    desk.widget.form.image.fields["layer"].value = desk.viewer.layers["cells"]
    desk.run(RIDGE)
    assert not desk.widget.after.networks.enabled


def test_what_cannot_be_saved_is_told(
    desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk.add(rings(24, 24))
    desk.run(QUICK)
    save_to(tmp_path / "gone" / "nets.safetensors", desk, monkeypatch)
    assert "does not exist" in notification_manager.records[-1].message
    assert list(tmp_path.iterdir()) == []


def test_the_dialog_proposes_a_name_and_takes_no(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Any] = []

    def refuse(dialog: QFileDialog) -> int:
        seen.append((dialog.selectedFiles(), dialog.defaultSuffix()))
        return 0

    monkeypatch.setattr(QFileDialog, "exec", refuse)
    proposed = Path("cells.safetensors")
    found = _widget.ask_path(desk.widget.native, proposed, _widget.NETWORKS_FILES)
    assert found is None
    (((name,), suffix),) = seen
    assert Path(name).name == "cells.safetensors"
    assert suffix == "safetensors"


def test_a_layer_that_cannot_begin_does_not_stop_the_others(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = (desk.add(rings(24, 24), name=name) for name in ("a", "b"))
    desk.viewer.layers.selection = {first, second}
    desk.widget.form.image.fields["in_turn"].value = True
    kind, failures = type(desk.widget), iter([True])
    original = kind._new_job

    def once(widget: Any, request: Any) -> Any:
        if next(failures, False):
            raise InputError("The layer is gone.")
        return original(widget, request)

    monkeypatch.setattr(kind, "_new_job", once)
    desk.run()
    assert desk.names[2:] == ["b x2 instant"]
    assert "The layer is gone." in desk.said
    assert desk.idle()


def test_nothing_else_begins_while_a_run_begins(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The activity dock handles events, such as a refresh and clicks."""
    desk.add(rings(24, 24))
    desk.set(RIDGE)
    widget, starts = desk.widget, []

    def handle_events(_: Activity) -> None:
        starts.append(widget.controls.run.enabled)
        widget.refresh()
        widget.start()
        widget.preview.toggle()

    monkeypatch.setattr(Activity, "begin", handle_events)
    widget.start()
    assert starts == [False]
    for button in (widget.controls.run, widget.preview.button):
        assert not button.enabled
    assert not widget.preview.active
    desk.wait()
    assert desk.names == ["cells", "cells x2 instant"]
    for button in (widget.controls.run, widget.preview.button):
        assert button.enabled
