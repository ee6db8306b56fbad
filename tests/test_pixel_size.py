"""Pixel sizes that are typed, or taken from files, and the view meanwhile."""

from __future__ import annotations

import numpy as np
import pytest
from conftest import Desk

pytest.importorskip("napari")

from qtpy.QtCore import Qt
from qtpy.QtTest import QTest
from test_widget import rings

from napari_zssr.config import INSTANT
from napari_zssr.plugin.layers.aids import PREVIEW


def type_size(desk: Desk, text: str) -> None:
    field = desk.widget.form.image.fields["spacing"]
    field.native.selectAll()
    QTest.keyClicks(field.native, text)
    if not text:
        QTest.keyClick(field.native, Qt.Key.Key_Backspace)
    QTest.keyClick(field.native, Qt.Key.Key_Return)


def test_a_typed_pixel_size_can_be_corrected_and_undone(desk: Desk) -> None:
    layer = desk.add(rings(24, 32))
    image = desk.widget.form.image
    for text, size in (("1,2", 1.2), ("1, 2", (1, 2)), ("0,11", 0.11)):
        type_size(desk, text)
        np.testing.assert_allclose(layer.scale, size)
        assert image.rows["spacing"].native.isVisibleTo(image.native)
    assert image.fields["spacing"].value == "0.11, 0.11"
    type_size(desk, "")
    np.testing.assert_allclose(layer.scale, 1)
    assert "no pixel size" in image.understood.value
    assert image.fields["spacing"].value == ""


def test_a_pixel_size_of_a_file_can_be_changed(desk: Desk) -> None:
    place = {"scale": (0.2, 0.2), "units": ("um", "um")}
    layer = desk.add(rings(24, 32), **place)
    image = desk.widget.form.image
    assert not image.rows["spacing"].native.isVisibleTo(image.native)
    image.understood.native.linkActivated.emit("Change")
    assert image.rows["spacing"].native.isVisibleTo(image.native)
    assert image.fields["spacing"].value == "0.2, 0.2"
    type_size(desk, "0.1")
    np.testing.assert_allclose(layer.scale, 0.1)
    desk.add(rings(24, 32), "other", **place)
    assert not image.rows["spacing"].native.isVisibleTo(image.native)


def test_a_size_says_what_is_still_missing(desk: Desk) -> None:
    desk.add(rings(3, 24, 32), axis_labels=("z", "y", "x"))
    type_size(desk, "0.1")
    image = desk.widget.form.image
    assert "0.1 × 0.1 µm, Z unknown" in image.understood.value
    assert image.fields["spacing"].value == "?, 0.1, 0.1"


def test_a_pixel_size_keeps_slice_and_view(desk: Desk) -> None:
    layer = desk.add(rings(9, 24, 32), axis_labels=("z", "y", "x"))
    viewer = desk.viewer
    viewer.dims.set_current_step(0, 3)
    camera = viewer.scene.camera
    camera.center, camera.zoom = (0, 10, 12), 20
    for text in ("0.3, 0.1, 0.1", "500, 30, 30", ""):
        type_size(desk, text)
        assert viewer.dims.current_step[0] == 3
        np.testing.assert_allclose(viewer.dims.point[0], 3 * layer.scale[0])
        shown = np.divide(camera.center[1:], layer.scale[1:])
        np.testing.assert_allclose(shown, (10, 12))
        assert camera.zoom * layer.scale[-1] == pytest.approx(20)


def test_a_preview_stays_where_a_pixel_size_is_typed(desk: Desk) -> None:
    layer = desk.add(rings(200, 220))
    desk.set(INSTANT)
    preview = desk.widget.preview
    preview.start()
    desk.qtbot.waitUntil(lambda: preview._scene.picture is not None, timeout=10_000)
    box = preview._target.box
    type_size(desk, "0.1")
    aids = [one for one in desk.viewer.layers if PREVIEW in one.metadata]
    assert len(aids) == 1
    assert desk.viewer.layers.extent.units is not None
    for aid in aids:
        ends = (
            layer.world_to_data(aid.extent.world[0]),
            layer.world_to_data(aid.extent.world[1]),
        )
        start, stop = zip(box["Y"], box["X"], strict=True)
        np.testing.assert_allclose(ends, (start, stop), atol=2)
    desk.widget.refresh()
    assert preview._target.box == box
    preview.stop()
    type_size(desk, "")
    assert desk.viewer.layers.extent.units is not None
