from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from html import unescape
from threading import Thread
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

pytest.importorskip("napari")

from napari.layers import Image
from qtpy.QtCore import QEvent, QPoint, QPointF, Qt
from qtpy.QtGui import QMouseEvent
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QApplication

from napari_zssr.config import INSTANT, change
from napari_zssr.plugin.layers.aids import (
    PREVIEW,
    ReadWhenIndexed,
    SplitPixels,
    _line_width,
)
from napari_zssr.plugin.layers.layers import Selection
from napari_zssr.plugin.preview import preview
from napari_zssr.plugin.preview.detail import most_detailed
from napari_zssr.plugin.preview.preview import PreviewPanel, progress_text
from napari_zssr.plugin.preview.scene import (
    DISPLAY,
    SIDE_PX,
    centred,
    moved,
    nearest_target,
)
from napari_zssr.plugin.request import Request
from napari_zssr.progress import Progress, drain
from napari_zssr.stack.axis_labels import labelled
from napari_zssr.stack.run import upscale_steps
from napari_zssr.zssr.pretrained import PretrainedStart

QUICK = change(INSTANT, noise="off", always=True, device="cpu", precision="float32")


def blobs(*shape: int) -> np.ndarray:
    y, x = np.mgrid[: shape[-2], : shape[-1]]
    wave = np.sin(y / 3.1) * np.cos(x / 2.7 + y / 40) + np.sin(np.hypot(y, x) / 2)
    stack = np.empty(shape, np.uint16)
    stack[...] = 2000 + 800 * wave
    return stack


def asked(layer: Image, axes: str = "ZYX", **given: Any) -> Request:
    ranges = given.pop("ranges", {})
    return Request(
        layer=layer,
        axes=axes,
        selection=Selection(ranges=ranges),
        config=change(QUICK, **given),
    )


# ---- where the window lies, without a viewer


@pytest.mark.parametrize(
    ("around", "limits", "wanted"),
    [
        ((0, 1000), (0, 1000), (436, 564)),
        ((-40, 20), (0, 1000), (0, 128)),
        ((980, 1000), (0, 1000), (872, 1000)),
        ((0, 50), (0, 50), (0, 50)),
        ((0, 1000), (600, 700), (600, 700)),
    ],
)
def test_windows_stay_inside(around: Any, limits: Any, wanted: Any) -> None:
    assert centred(around, SIDE_PX, *limits) == wanted


def test_a_target_names_plane_and_window() -> None:
    layer = Image(blobs(4, 300, 310))
    here = {"Z": (2, 3), "Y": (0, 300), "X": (100, 200)}
    found = nearest_target(asked(layer), here)
    assert found.plane_index.number == 2
    assert found.box == {"Z": (2, 3), "Y": (86, 214), "X": (86, 214)}
    assert found.window == (slice(86, 214), slice(86, 214))


def test_a_target_keeps_to_what_is_asked_for() -> None:
    layer = Image(blobs(4, 300, 310))
    request = asked(layer, ranges={"Z": (1, 3), "Y": (50, 100), "X": (200, 310)})
    found = nearest_target(request, {"Z": (0, 1), "Y": (0, 300), "X": (0, 310)})
    assert found.plane_index.number == 0
    assert found.box == {"Z": (1, 2), "Y": (50, 100), "X": (200, 310)}
    assert found.window == (slice(0, 50), slice(0, 110))


def test_a_picture_of_fractional_factor_begins_on_a_fine_pixel() -> None:
    layer = Image(blobs(200, 200))
    found = nearest_target(
        asked(layer, "YX", factor=1.5), {"Y": (3, 132), "X": (0, 128)}
    )
    start = found.shown.ranges["Y"][0]
    assert start * 1.5 == pytest.approx(round(start * 1.5))
    assert abs(start - found.box["Y"][0]) <= 0.5


@pytest.mark.parametrize(("share", "plain"), [(0.0, 0), (0.5, 4), (1.0, 8)])
def test_before_and_after_share_the_width(share: float, plain: int) -> None:
    before, after = np.zeros((6, 8), int), np.full((6, 8), 5)
    mixed = SplitPixels(before, after, x=1, share=share, lines=(9, 0))[...]
    assert (mixed[:, :plain] == 0).all()
    lined = 0 < plain < 8
    assert (mixed[:, plain + lined :] == 5).all()
    assert not lined or (mixed[:, plain] == 9).all()
    assert (after == 5).all()


def test_a_frame_covers_the_edges_of_a_part_too() -> None:
    plain, learned = np.full((2, 40, 50), 3), np.full((2, 40, 50), 5)
    split = SplitPixels(plain, learned, x=2, share=0, lines=(9, 1), framed=(1, 2))
    whole = split[...]
    assert (whole[:, 2:-2, 2:-2] == 5).all()
    for edge in (whole[:, 0], whole[:, -1], whole[..., 0], whole[..., -1]):
        assert (edge == 9).all()
    assert (whole[:, 1, 1:-1] == 1).all()
    np.testing.assert_array_equal(split[1, :10, 45:], whole[1, :10, 45:])
    # From the side, in the middle, only its ends are seen.
    np.testing.assert_array_equal(split[:, 20, :], whole[:, 20, :])


@pytest.mark.parametrize(
    ("by", "box"),
    [
        ((3.4, -2.6), {"Y": (53, 103), "X": (197, 307)}),
        ((-999, 999), {"Y": (20, 70), "X": (200, 310)}),
    ],
)
def test_a_target_is_moved_within_what_is_asked_for(by: Any, box: Any) -> None:
    layer = Image(blobs(300, 310))
    request = asked(layer, "YX", ranges={"Y": (20, 300)})
    found = nearest_target(request, {"Y": (50, 100), "X": (200, 310)})
    found = replace(found, box={"Y": (50, 100), "X": (200, 310)})
    assert moved(found, np.array(by)) == box


def test_the_first_look_leaves_other_threads_their_cores() -> None:
    import torch

    usual = torch.get_num_threads()
    layer = Image(blobs(60, 60))
    steps = preview.preview_target(
        nearest_target(asked(layer, "YX"), {"Y": (0, 60), "X": (0, 60)})
    )
    next(steps)
    seen: list[int] = []
    later = Thread(target=lambda: seen.append(torch.get_num_threads()))
    later.start()
    later.join()
    alone = torch.get_num_threads()
    steps.close()
    assert (alone, seen, torch.get_num_threads()) == (1, [usual], usual)


# ---- where a preview begins, and what it says meanwhile


def speckled(*bright: slice, noise: float = 20) -> np.ndarray:
    """A dim plane with structures in one part of it."""
    draw = np.random.default_rng(0)
    plane = draw.normal(100, noise, (900, 700))
    plane[bright] += blobs(900, 700)[bright]
    return plane.astype(np.uint16)


@pytest.mark.parametrize("axes", ["YX", "XY", "YXS"])
def test_it_begins_where_the_view_shows_most(axes: str) -> None:
    plane = speckled(slice(600, 800), slice(100, 300))
    pixels = {"YX": plane, "XY": plane.T, "YXS": np.stack([plane] * 3, axis=-1)}[axes]
    layer = Image(pixels, rgb=axes == "YXS")
    found = most_detailed(asked(layer, axes), {"Y": (0, 900), "X": (0, 700)})
    # Not at the edge of the bright part, but on its texture.
    assert 630 <= found["Y"][0] <= 770
    assert 130 <= found["X"][0] <= 270
    # Only what is seen, and what is asked for, counts.
    seen = most_detailed(asked(layer, axes), {"Y": (0, 500), "X": (0, 700)})
    assert seen["Y"][0] < 500
    part = asked(layer, axes, ranges={"Y": (0, 300)})
    assert most_detailed(part, {"Y": (0, 900), "X": (0, 700)})["Y"][0] < 300


def test_where_nothing_is_seen_it_begins_in_the_middle() -> None:
    layer = Image(np.full((400, 600), 7, np.uint16))
    found = most_detailed(asked(layer, "YX"), {"Y": (0, 400), "X": (0, 600)})
    assert abs(found["Y"][0] - 200) < 3
    assert abs(found["X"][0] - 300) < 3


def test_a_large_plane_in_a_file_is_not_read_for_it() -> None:
    class Unread(ReadWhenIndexed):
        def _at(self, index: Any) -> Any:
            raise AssertionError

    layer = Image(blobs(20, 20))
    request = asked(layer, "YX")
    layer._data = Unread((9000, 9000), np.uint16)
    region = {"Y": (0, 9000), "X": (0, 9000)}
    assert most_detailed(request, region) == region


@pytest.mark.parametrize(
    ("event", "line"),
    [
        (Progress(stage="train", step=40, total=100), "Training, 40 %"),
        (Progress(stage="predict", step=0, total=1), "Enlarging"),
    ],
)
def test_progress_is_told_in_per_cent(event: Progress, line: str) -> None:
    assert progress_text(event).lower() == line.lower()


@pytest.mark.parametrize(
    ("given", "pretrained", "trains"),
    [
        ({"network": "residual"}, True, True),
        ({"network": "residual", "steps": 0}, True, False),
        ({"network": "residual", "learned_steps": 0}, True, False),
        ({"network": "residual", "learned_steps": 0}, False, True),
        ({"network": "residual", "factor": 1, "noise": "auto"}, True, False),
        ({"network": "residual", "factor": 1, "noise": "auto"}, False, True),
        ({"network": "residual", "factor": 1, "kernel": "gaussian:1"}, True, True),
        ({"network": "ridge"}, False, False),
    ],
)
def test_a_request_knows_whether_it_trains(
    given: dict[str, Any], pretrained: bool, trains: bool, small_start: PretrainedStart
) -> None:
    settings = {"start": "learned" if pretrained else "random", **given}
    request = asked(Image(blobs(20, 20)), "YX", **settings)
    request = replace(request, starts=(small_start,) if pretrained else (None,))
    assert request.trains is trains


# ---- in a viewer


@dataclass
class Desk:
    viewer: Any
    qtbot: Any
    layer: Image
    panel: PreviewPanel
    request: list[Request | None] = field(default_factory=list)

    def until(self, check: Callable[[], object]) -> None:
        self.qtbot.waitUntil(lambda: bool(check()), timeout=60000)

    def quiet(self) -> None:
        runs = [self.panel._latest.run, *self.panel._abandoned]
        self.until(lambda: not any(run.running for run in runs))

    def pictures(self) -> list[Image]:
        return [x for x in self.viewer.layers if PREVIEW in x.metadata]

    def finished(self) -> bool:
        return "bicubic" in self.panel.message.value


@pytest.fixture
def desk(
    make_napari_viewer: Any, qtbot: Any, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Desk]:
    import torch

    monkeypatch.setattr(preview, "SETTLED_S", 0.05)
    usual = torch.get_num_threads()
    # Two threads on busy cores wait for one another.
    torch.set_num_threads(1)
    viewer = make_napari_viewer()
    layer = viewer.add_image(blobs(3, 190, 180), scale=(2, 0.5, 0.5))
    made = Desk(viewer, qtbot, layer, None, [asked(layer)])  # type: ignore[arg-type]
    made.panel = PreviewPanel(viewer, lambda: made.request[-1])
    yield made
    made.panel.close()
    made.quiet()
    # Before the garbage collector empties what its widget calls in the end.
    made.panel.view.native.deleteLater()
    qtbot.wait(1)
    torch.set_num_threads(usual)


def test_it_says_that_it_is_done_and_keeps_its_height(desk: Desk) -> None:
    desk.viewer.window._qt_window.show()
    panel = desk.panel.view.native
    desk.viewer.window.add_dock_widget(panel, name="preview")
    panel.setFixedWidth(300)
    desk.panel.start()
    desk.qtbot.wait(20)
    heights = {panel.sizeHint().height()}
    desk.until(lambda: heights.add(panel.sizeHint().height()) or desk.finished())
    heights.add(panel.sizeHint().height())
    assert len(heights) == 1
    assert desk.panel.message.value.startswith("Preview finished. ")
    desk.panel.stop()
    assert not desk.panel.message.visible


def test_a_preview_shows_what_a_run_gives(desk: Desk) -> None:
    desk.panel.start()
    assert desk.panel.active
    desk.until(desk.finished)
    desk.panel.share.slider.value = 1
    (picture,) = desk.pictures()
    config = desk.request[-1].config  # type: ignore[union-attr]
    whole = drain(upscale_steps(labelled(desk.layer.data, axes="ZYX"), config)).image
    z = desk.viewer.dims.current_step[0]
    found = desk.panel._target
    assert found is not None
    rows, columns = (slice(2 * w.start, 2 * w.stop) for w in found.window)
    shown = picture.data[0].astype(float)
    # But for the frame.
    error = np.abs(shown - whole[z, rows, columns])
    assert error[6:-6, 6:-6].max() <= 2
    # Aligned to the layer: the first fine pixel is a quarter pixel off the coarse one.
    corner = picture.data_to_world((0, 0, 0))
    wanted = desk.layer.data_to_world(
        (z, found.window[0].start - 0.25, found.window[1].start - 0.25)
    )
    np.testing.assert_allclose(corner, wanted, atol=1e-9)


def test_a_preview_without_a_gain_says_what_may_help(desk: Desk) -> None:
    flat = desk.viewer.add_image(np.full((150, 140), 9, np.uint16))
    desk.request.append(asked(flat, "YX"))
    desk.panel.start()
    desk.until(lambda: "Preview finished" in desk.panel.message.value)
    message = unescape(desk.panel.message.value)
    assert "You may try 'estimate from image' under Blur" in message


def test_before_and_after_can_be_slid(desk: Desk) -> None:
    desk.panel.start()
    desk.until(desk.finished)
    (picture,) = desk.pictures()
    desk.panel.share.slider.value = 1
    after = np.asarray(picture.data)
    desk.panel.share.slider.value = 0
    before = np.asarray(picture.data)
    desk.panel.share.slider.value = 0.5
    half = before.shape[-1] // 2
    np.testing.assert_array_equal(picture.data[..., :half], before[..., :half])
    line = _line_width(before.shape[-1])
    rest = slice(half + line, None)
    np.testing.assert_array_equal(picture.data[..., rest], after[..., rest])
    assert (before != after).any()
    # The next one is of another image, perhaps.
    desk.panel.share.slider.value = 0
    desk.panel.stop()
    assert desk.panel.share.slider.value == 0.5


def test_it_follows_the_slice(desk: Desk) -> None:
    desk.panel.start()
    desk.until(desk.pictures)
    desk.viewer.dims.set_current_step(0, 0)
    desk.panel.update(desk.request[-1])
    desk.until(lambda: desk.pictures()[0].translate[0] == 0)


def test_the_same_again_is_not_computed_again(desk: Desk) -> None:
    desk.panel.start()
    found = desk.panel._target
    for _ in range(3):
        desk.panel.update(desk.request[-1])
    assert desk.panel._target is found
    assert desk.panel._abandoned == [] or not any(
        r.running for r in desk.panel._abandoned
    )


def test_it_follows_the_settings(desk: Desk) -> None:
    desk.panel.start()
    desk.until(desk.pictures)
    assert desk.panel.share.before.value == "interpolated"
    desk.request.append(asked(desk.layer, factor=3))
    desk.panel.update(desk.request[-1])
    desk.until(lambda: desk.pictures()[0].data.shape[-1] == 3 * 128)
    desk.request.append(asked(desk.layer, factor=1, noise="0.05"))
    desk.panel.update(desk.request[-1])
    assert desk.panel.share.before.value == "original"


def test_the_picture_keeps_to_its_own_layer_until_there_is_another(
    desk: Desk,
) -> None:
    """A layer of other axes is chosen: until its first picture nothing fits it."""
    desk.panel.start()
    desk.until(desk.finished)
    flat = desk.viewer.add_image(blobs(150, 140), scale=(3, 3), units=("um", "um"))
    desk.request.append(asked(flat, "YX"))
    desk.panel.update(desk.request[-1])
    desk.layer.scale = (4, 1, 1)
    desk.panel.settle()
    (picture,) = desk.pictures()
    np.testing.assert_allclose(picture.scale, (4, 0.5, 0.5))
    desk.until(lambda: desk.pictures()[0].ndim == 2)
    np.testing.assert_allclose(desk.pictures()[0].scale, (1.5, 1.5))


def test_closing_takes_the_layers_away(desk: Desk) -> None:
    desk.viewer.layers.selection = {desk.layer}
    desk.panel.start()
    desk.until(desk.pictures)
    assert set(desk.viewer.layers.selection) == {desk.layer}
    desk.panel.button.changed.emit(True)
    assert not desk.panel.active
    assert desk.pictures() == []
    assert list(desk.viewer.layers) == [desk.layer]
    assert set(desk.viewer.layers.selection) == {desk.layer}


@pytest.mark.parametrize("which", ["source", "picture"])
def test_a_layer_that_is_deleted_ends_the_preview(desk: Desk, which: str) -> None:
    desk.panel.start()
    desk.until(desk.pictures)
    layer = desk.layer if which == "source" else desk.pictures()[0]
    desk.viewer.layers.remove(layer)
    assert not desk.panel.active
    assert desk.pictures() == []


def test_a_picture_is_shown_as_its_layer_is(desk: Desk) -> None:
    before = [len(desk.layer.events[name].callbacks) for name in DISPLAY]
    desk.panel.start()
    desk.until(desk.finished)
    (picture,) = desk.pictures()
    picture.contrast_limits = 0, 70
    picture.colormap = "magma"
    desk.layer.contrast_limits = 1500, 9000
    assert picture.contrast_limits == [1500, 9000]
    # The line between before and after is still seen.
    assert picture.data[0].max() == 9000
    assert picture.colormap.name == "magma"
    desk.layer.gamma = 0.5
    desk.layer.colormap = "viridis"
    assert (picture.gamma, picture.colormap.name) == (0.5, "viridis")
    desk.layer.reset_contrast_limits()
    assert picture.contrast_limits == desk.layer.contrast_limits
    desk.panel.stop()
    assert [len(desk.layer.events[name].callbacks) for name in DISPLAY] == before


def test_an_error_is_told(desk: Desk) -> None:
    data = desk.layer.data.astype(np.float32)
    data[:, 3, 3] = np.nan
    layer = desk.viewer.add_image(data)
    desk.request.append(asked(layer))
    desk.panel.start()
    desk.until(lambda: "NaN" in desk.panel.message.value)


def test_what_is_not_in_view_is_told(desk: Desk) -> None:
    desk.viewer.scene.camera.center = (0, 5000, 5000)
    desk.panel.start()
    assert "outside of the view" in desk.panel.message.value
    assert not desk.panel.active


def test_without_a_request_nothing_begins(desk: Desk) -> None:
    desk.request.append(None)
    desk.panel.update(None)
    assert not desk.panel.button.enabled
    desk.panel.start()
    assert not desk.panel.active


def test_while_the_form_cannot_run_the_picture_stays(desk: Desk) -> None:
    desk.panel.start()
    desk.until(desk.pictures)
    desk.panel.update(None)
    desk.quiet()
    assert len(desk.pictures()) == 1


def test_closed_at_once_it_leaves_nothing(desk: Desk) -> None:
    for _ in range(3):
        desk.panel.start()
        desk.panel.stop()
    desk.quiet()
    assert list(desk.viewer.layers) == [desk.layer]


def test_colours_are_previewed(desk: Desk) -> None:
    data = np.stack([blobs(140, 150) // 20] * 3, axis=-1).astype(np.uint8)
    layer = desk.viewer.add_image(data, rgb=True)
    desk.request.append(asked(layer, "YXS"))
    desk.panel.start()
    desk.until(desk.finished)
    (picture,) = desk.pictures()
    assert picture.rgb
    assert picture.data.shape == (256, 256, 3)


# ---- dragging the picture


class Mouse:
    """The left button over the canvas, as Qt tells of it."""

    def __init__(self, desk: Desk) -> None:
        self.desk = desk
        self.canvas = desk.viewer.window._qt_viewer.canvas

    def point(self, world: Any) -> QPoint:
        camera = self.desk.viewer.scene.camera
        middle = np.array(self.canvas.size) / 2
        y, x = middle + (np.array(world) - camera.center[-2:]) * camera.zoom
        return QPoint(round(x), round(y))

    def press(self, world: Any, button: Any = Qt.MouseButton.LeftButton) -> None:
        QTest.mousePress(self.canvas.native, button, pos=self.point(world))
        self.desk.qtbot.wait(20)

    def move(self, world: Any) -> None:
        point = self.point(world)
        native = self.canvas.native
        event = QMouseEvent(
            QEvent.Type.MouseMove,
            QPointF(point),
            QPointF(native.mapToGlobal(point)),
            Qt.MouseButton.NoButton,
            Qt.MouseButton.LeftButton,
            Qt.KeyboardModifier.NoModifier,
        )
        QApplication.sendEvent(native, event)
        self.desk.qtbot.wait(20)

    def release(self, world: Any) -> None:
        native, point = self.canvas.native, self.point(world)
        QTest.mouseRelease(native, Qt.MouseButton.LeftButton, pos=point)
        self.desk.qtbot.wait(20)


@pytest.fixture
def mouse(desk: Desk) -> Mouse:
    # What is not shown is not panned.
    desk.viewer.show()
    desk.qtbot.waitExposed(desk.viewer.window._qt_window)
    desk.panel.start()
    desk.until(desk.pictures)
    return Mouse(desk)


def middle(desk: Desk) -> Any:
    (picture,) = desk.pictures()
    return np.mean(picture.extent.world, axis=0)[-2:]


def inward(desk: Desk) -> Any:
    """Some steps towards the side where there is room to drag the picture."""
    room = np.mean(desk.layer.extent.world, axis=0)[-2:] - middle(desk)
    return np.where(room < 0, -1, 1)


def modes() -> dict[str, Any]:
    """Layers, and a mode in which a drag would do something else."""
    flat = np.zeros((2, 2))
    return {
        "image": (lambda viewer: viewer.layers[0], "pan_zoom"),
        "turned": (lambda viewer: viewer.layers[0], "transform"),
        "paint": (lambda viewer: viewer.add_labels(np.zeros((150, 140), int)), "paint"),
        "draw": (lambda viewer: viewer.add_shapes(ndim=2), "add_rectangle"),
        "points": (lambda viewer: viewer.add_points(flat), "add"),
        "picture": (lambda viewer: viewer.layers["Preview of Image"], "transform"),
    }


@pytest.mark.parametrize("case", modes())
def test_the_picture_is_dragged_in_any_mode(
    desk: Desk, mouse: Mouse, case: str, same_threads: None
) -> None:
    make, mode = modes()[case]
    layer = make(desk.viewer)
    desk.viewer.layers.selection.active = layer
    layer.mode = mode
    before, usual = np.array(layer.data), list(layer.mouse_drag_callbacks)
    place = layer.affine.affine_matrix.copy()
    camera = desk.viewer.scene.camera
    view = (*camera.center, camera.zoom, camera.mouse_pan)
    first, target = middle(desk), desk.panel._target
    there = first + inward(desk) * (5, 4)
    mouse.press(first)
    for share in (0.3, 0.6, 1):
        mouse.move(first + share * (there - first))
    np.testing.assert_allclose(middle(desk), there, atol=0.5)
    mouse.release(there)
    desk.until(lambda: desk.panel._target is not target)
    assert (*camera.center, camera.zoom, camera.mouse_pan) == view
    assert desk.viewer.layers.selection.active is layer
    assert layer.mode == mode
    assert (layer.affine.affine_matrix == place).all()
    # Beside the picture the mode does what it did.
    assert layer.mouse_drag_callbacks == usual
    if case != "picture":
        np.testing.assert_array_equal(layer.data, before)


def test_beside_the_picture_the_view_is_panned(desk: Desk, mouse: Mouse) -> None:
    centre = desk.viewer.scene.camera.center
    first = middle(desk)
    outside = desk.pictures()[0].extent.world[0][-2:] - 1.5
    mouse.press(outside)
    mouse.move(np.add(outside, (0, 3)))
    mouse.move(np.add(outside, (0, 6)))
    mouse.release(np.add(outside, (0, 6)))
    assert desk.viewer.scene.camera.center != centre
    np.testing.assert_allclose(middle(desk), first)


def test_a_held_picture_is_not_moved_by_anyone(desk: Desk, mouse: Mouse) -> None:
    first, target = middle(desk), desk.panel._target
    step = inward(desk)
    mouse.press(first)
    mouse.move(first + 4 * step)
    held = middle(desk)
    desk.request.append(asked(desk.layer, factor=3))
    desk.panel.update(desk.request[-1])
    desk.viewer.dims.set_current_step(0, 0)
    desk.panel.update(desk.request[-1])
    desk.qtbot.wait(2 * preview.MOVED_MS)
    np.testing.assert_allclose(middle(desk), held)
    mouse.move(first + 5 * step)
    np.testing.assert_allclose(middle(desk), first + 5 * step, atol=0.5)
    mouse.release(first + 5 * step)
    desk.until(lambda: desk.panel._target is not target)
    assert desk.panel._target is not None
    assert desk.panel._target.request is desk.request[-1]


def test_a_picture_stays_on_its_layer(desk: Desk, mouse: Mouse) -> None:
    first = middle(desk)
    mouse.press(first)
    mouse.move(np.add(first, (-200, 0)))
    top = desk.pictures()[0].extent.world[0][-2]
    assert top == pytest.approx(desk.layer.extent.world[0][-2], abs=0.3)
    # What is dragged shows other pixels than those below it.
    assert desk.pictures()[0].opacity < 1
    mouse.move(first)
    mouse.release(first)
    desk.until(lambda: desk.pictures()[0].opacity == 1)
    np.testing.assert_allclose(middle(desk), first, atol=0.3)
    assert desk.panel.active


def test_a_preview_that_is_closed_in_a_drag_lets_go(desk: Desk, mouse: Mouse) -> None:
    camera, first = desk.viewer.scene.camera, middle(desk)
    usual = list(desk.layer.mouse_drag_callbacks)
    mouse.press(first)
    mouse.move(np.add(first, (-4, -4)))
    assert not camera.mouse_pan
    desk.viewer.layers.remove(desk.pictures()[0])
    assert not desk.panel.active
    mouse.move(np.add(first, (-5, -5)))
    mouse.release(np.add(first, (-5, -5)))
    assert camera.mouse_pan
    assert desk.layer.mouse_drag_callbacks == usual
    assert not any("Drag" in str(f) for f in desk.viewer.mouse_drag_callbacks)


def test_the_pointer_shows_that_the_picture_can_be_taken(desk: Desk) -> None:
    desk.viewer.layers.selection.active = desk.layer
    desk.panel.start()
    desk.until(desk.pictures)
    drag = desk.panel._scene._drag
    usual = desk.viewer.cursor.style

    def at(world: Any) -> Any:
        event = SimpleNamespace(
            position=(0, *world), dims_displayed=[1, 2], modifiers=(), button=None
        )
        drag._point(desk.viewer, event)
        return desk.viewer.cursor.style

    assert at(middle(desk)) == "pointing"
    assert at((-9, -9)) == usual
    at(middle(desk))
    desk.panel.stop()
    assert desk.viewer.cursor.style == usual
