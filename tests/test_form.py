"""The form of the widget: short, narrow, told to everyone, one tab for files."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from conftest import RIDGE, Desk
from numpy.typing import NDArray

pytest.importorskip("napari")

from napari.utils.notifications import notification_manager
from qtpy.QtCore import QEvent, QObject, QPoint, Qt
from qtpy.QtGui import QHelpEvent
from qtpy.QtWidgets import (
    QAbstractButton,
    QApplication,
    QComboBox,
    QDockWidget,
    QLabel,
    QStyle,
    QStyleOptionComboBox,
    QToolTip,
    QVBoxLayout,
    QWidget,
)

from napari_zssr.config import FAST, change
from napari_zssr.errors import InputError
from napari_zssr.imaging.intensity import check_finite
from napari_zssr.kernelspec import KernelSpec
from napari_zssr.plugin.form.rows import (
    TOOLTIPS,
    ElidedChoice,
    Foldable,
    rows_in,
    text_label,
)
from napari_zssr.plugin.messages import PROBLEM, Message
from napari_zssr.plugin.widget import FILES_BUSY, LAYERS_BUSY, SuperResolutionWidget

TIMES = {"instant": "about 1 s", "fast": "about 9 s", "balanced": "about 4 min"}
STACK = {
    "axis_labels": ("z", "y", "x"),
    "scale": (3, 0.0852, 0.0852),
    "units": ("um",) * 3,
}


IN_PLANE = {key: value[1:] for key, value in STACK.items()}


def rings(*shape: int) -> NDArray[np.uint16]:
    y, x = np.mgrid[: shape[-2], : shape[-1]]
    waves = np.sin(np.hypot(y - 9, x - 14) / 2)
    return np.broadcast_to(1000 * (1.5 + waves), shape).astype(np.uint16)


@pytest.fixture
def docked(make_napari_viewer: Any, qtbot: Any, settled: None) -> Desk:
    """The widget as napari docks it, 320 pixels wide in a window 900 high."""
    viewer = make_napari_viewer()
    dock, widget = viewer.window.add_plugin_dock_widget("napari-zssr")
    window = viewer.window._qt_window
    window.resize(1100, 900)
    window.show()
    window.resizeDocks([dock], [320], Qt.Orientation.Horizontal)
    QApplication.processEvents()
    desk = Desk(viewer, qtbot, widget)
    desk.add(rings(6, 263, 263), name="mitotic plate", **STACK)
    widget.form.method.show_times(TIMES)
    widget.refresh()
    qtbot.wait(50)
    assert dock.width() <= 325
    return desk


def enlarge_letters(share: float) -> None:
    from napari.settings import get_settings

    appearance = get_settings().appearance
    appearance.font_size = round(share * appearance.font_size)
    for _ in range(5):
        QApplication.processEvents()


def shown(root: QWidget) -> Iterator[QWidget]:
    yield from (part for part in root.findChildren(QWidget) if part.isVisible())


def is_cut(part: QWidget) -> bool:
    """Whether a visible label, button or choice lacks the room for its text."""
    if isinstance(part, QLabel) and part.wordWrap():
        return part.heightForWidth(part.width()) > part.height()
    if isinstance(part, QComboBox):
        option = QStyleOptionComboBox()
        part.initStyleOption(option)
        style, control = part.style(), QStyle.ComplexControl.CC_ComboBox
        assert style is not None
        field = QStyle.SubControl.SC_ComboBoxEditField
        room = style.subControlRect(control, option, field, part).width()
        return part.fontMetrics().horizontalAdvance(part.currentText()) > room
    if isinstance(part, QAbstractButton) and part.text() == "...":
        return part.fontMetrics().horizontalAdvance("...") > part.width()
    if isinstance(part, (QLabel, QAbstractButton)) and part.text():
        return part.sizeHint().width() > part.width()
    return False


def beyond(root: QWidget, column: QWidget) -> list[str]:
    """Visible parts of a scrolled column that reach beyond its viewport."""
    width = root.width()
    return [
        type(part).__name__
        for part in shown(column)
        if part.mapTo(root, QPoint(part.width(), 0)).x() > width
    ]


def cut(widget: SuperResolutionWidget) -> list[str]:
    """Texts of the visible parts of the widget that lack room."""
    parts: list[Any] = [part for part in shown(widget.native) if is_cut(part)]
    texts = [
        part.currentText() if isinstance(part, QComboBox) else part.text()
        for part in parts
    ]
    viewport, column = widget.scrolled.viewport(), widget.scrolled.widget()
    assert viewport is not None
    assert column is not None
    return texts + beyond(widget.native, widget.native) + beyond(viewport, column)


# ---- what is seen first


def test_the_first_view_fits_without_scrolling(docked: Desk) -> None:
    widget = docked.widget
    bar = widget.scrolled.verticalScrollBar()
    assert bar is not None
    assert bar.maximum() == 0
    first = [*widget.form.image.rows.values(), *widget.form.region.rows.values()]
    seen = {row.spoken for row in first if row.native.isVisible()}
    assert seen == {"Layer", "Factor", "Along Z", "Slices", "Area"}
    controls = widget.controls
    assert {b.text for b in (controls.run, controls.cancel)} == {"Run", "Cancel"}
    row = {
        b.native.mapTo(widget.native, QPoint()).y()
        for b in (widget.preview.button, controls.run, controls.cancel)
    }
    assert len(row) == 1


def test_no_button_moves_when_something_is_said(docked: Desk) -> None:
    widget = docked.widget
    controls, result = widget.controls, widget.result

    def places() -> list[int]:
        """Of Run and its neighbours above the bottom; of others below the top."""
        docked.qtbot.wait(50)
        last = (widget.preview.button, controls.run, controls.cancel)
        after = (result.side, result.save, result.undo_button)
        height = widget.native.height()
        found = [height - place(widget, one) for one in last]
        if result.has_results:
            check = widget.folds["check"].toggle
            found += [place(widget, one) for one in (*after, check)]
        return found

    before = places()
    controls.show_running()
    docked.qtbot.waitUntil(lambda: places() == before)
    controls.show_idle()
    # A small one takes less time.
    small = docked.add(rings(24, 24), "mitotic plate", **IN_PLANE)
    widget.form.image.fields["layer"].value = small
    docked.run()
    done = places()
    assert done[:3] == pytest.approx(before, abs=2)
    for change_it in (
        lambda: controls.messages.rows[0].arrow.toggle(),
        lambda: controls.show_message(Message("More", "To be read.", PROBLEM)),
        lambda: setattr(controls.question, "visible", True),
        lambda: controls.show_reason("Something is missing. " * 4),
        result.toggle_flip,
        result.toggle_side_by_side,
        result.toggle_side_by_side,
        result.undo_run,
        result.undo_run,
        controls.clear,
    ):
        change_it()
        # Qt makes a button a pixel lower or higher once its text has changed.
        docked.qtbot.waitUntil(lambda: places() == pytest.approx(done, abs=2))


def test_a_figure_in_place_of_a_range_moves_nothing(docked: Desk) -> None:
    widget, found = docked.widget, set()
    for text in ("3 layers, 2 MB", "Z 40 × Y 2048 × X 2048, 84 MB; 13 s to 2 min"):
        widget.cost._summary.value = text
        docked.qtbot.wait(50)
        found.add(place(widget, widget.folds["reuse"].toggle))
    assert len(found) == 1


def test_a_long_name_is_cut_in_its_middle_and_told_in_full(docked: Desk) -> None:
    names = [f"2026-11-03_plate7_A02_s9_w{n}_c{n}" for n in (1, 2)]
    box = docked.widget.form.image.fields["layer"].native
    (elided,) = box.findChildren(ElidedChoice)
    pictures, shown = [], []
    for name in names:
        docked.add(rings(24, 24), name)
        docked.qtbot.wait(50)
        shown.append(elided.text)
        # The text alone differs, and what tells it apart is painted.
        pictures.append(box.grab().toImage())
        event = QHelpEvent(QEvent.Type.ToolTip, QPoint(9, 9), box.mapToGlobal(QPoint()))
        QApplication.sendEvent(box, event)
        assert name in QToolTip.text()
        assert TOOLTIPS["layer"] in QToolTip.text()
    assert all(text.startswith("2026") and "…" in text for text in shown)
    assert [text[-3:] for text in shown] == ["_c1", "_c2"]
    assert pictures[0] != pictures[1]
    QToolTip.hideText()


def place(widget: SuperResolutionWidget, button: Any) -> int:
    """How far a button is below the top of the widget, in pixels."""
    return int(button.native.mapTo(widget.native, QPoint()).y())


@pytest.mark.parametrize("letters", [1, 1.5])
def test_nothing_is_cut_off(docked: Desk, letters: float) -> None:
    widget = docked.widget
    enlarge_letters(letters)
    assert widget.native.width() <= 325
    assert cut(widget) == []
    widget.preview.start()
    assert widget.preview.button.text == "Close preview"
    docked.qtbot.wait(50)
    assert cut(widget) == []
    widget.preview.stop()
    widget.form.method.blur.fields["kernel"].value = "optics"
    for fold in (widget.form.region.more, widget.form.method.more):
        fold.unfold(True)
    for fold in widget.folds.values():
        fold.unfold(True)
    widget.refresh()
    docked.qtbot.wait(50)
    assert cut(widget) == []
    widget.tabs.setCurrentIndex(1)
    docked.qtbot.wait(50)
    assert widget.native.width() <= 325
    assert cut(widget) == []


@pytest.mark.parametrize("letters", [1, 1.5, 1.7])
def test_nothing_is_cut_off_in_a_check(docked: Desk, letters: float) -> None:
    widget = docked.widget
    enlarge_letters(letters)
    docked.run()
    for fold in widget.folds.values():
        fold.unfold(True)
    widget.check.button.native.click()
    docked.qtbot.wait(50)
    body = widget.check.body
    assert body is not None
    docked.qtbot.waitUntil(lambda: cut(widget) == [], timeout=5_000)
    docked.qtbot.waitUntil(lambda: not body.running.visible, timeout=60_000)
    docked.qtbot.waitUntil(lambda: cut(widget) == [], timeout=5_000)


@pytest.mark.parametrize("letters", [1, 1.5])
def test_the_title_of_the_dock_is_not_cut_off(docked: Desk, letters: float) -> None:
    enlarge_letters(letters)
    dock = docked.widget.native.parentWidget()
    while not isinstance(dock, QDockWidget):
        dock = dock.parentWidget()
    title = dock.titleBarWidget().title
    assert title.sizeHint().width() <= title.width()


def test_labels_stand_above_the_fields_where_it_is_narrow(docked: Desk) -> None:
    row = docked.widget.form.rows["layer"]

    def is_above() -> bool:
        return bool(row.title.geometry().bottom() <= row.field.native.y())

    assert not is_above()
    enlarge_letters(1.5)
    assert is_above()
    enlarge_letters(1 / 1.5)
    assert not is_above()


def test_text_is_as_large_as_its_label(docked: Desk) -> None:
    enlarge_letters(1.5)
    row = docked.widget.form.method.advanced.rows["steps"]
    docked.widget.form.method.more.unfold(True)
    docked.qtbot.wait(50)
    assert row.field.native.font().pointSize() == row.title.font().pointSize()


def test_sections_are_closed_and_keep_their_state(docked: Desk) -> None:
    widget = docked.widget
    region, method = widget.form.region.more, widget.form.method.more
    folds: list[Foldable] = [region, method, *widget.folds.values()]
    assert not any(fold.is_open or fold.body.native.isVisible() for fold in folds)
    region.toggle.native.click()
    assert region.fields["linked"].native.isVisible()
    docked.add(rings(32, 32), name="another")
    widget.form.image.fields["layer"].value = docked.viewer.layers[-1]
    widget.refresh()
    assert region.is_open
    assert not method.is_open
    region.toggle.native.click()
    assert not region.body.native.isVisible()


def test_a_closed_section_names_what_is_changed_in_it(docked: Desk) -> None:
    more, method = docked.widget.form.region.more, docked.widget.form.method
    docked.add(rings(2, 32, 32), axis_labels=("c", "y", "x"))
    assert not more.changes.native.isVisible()
    more.fields["channel"].value = 1
    more.fields["linked"].value = False
    assert more.changes.value == "Changed: The same for Y and X, Channels"
    assert more.changes.native.isVisible()
    more.unfold(True)
    assert not more.changes.native.isVisible()
    docked.set(change(RIDGE, seed=3))
    assert "Seed" in method.more.changes.value
    more.unfold(False)
    more.fields["channel"].value, more.fields["linked"].value = None, True
    assert not more.changes.native.isVisible()


@pytest.mark.parametrize("name", ["channel", "start", "strategy", "ensemble"])
def test_a_choice_that_is_taken_back_is_heard(desk: Desk, name: str) -> None:
    """All channels after one, or 'as the preset': their value is None."""
    desk.add(np.zeros((2, 32, 32), np.uint8), axis_labels=("c", "y", "x"))
    form = desk.widget.form
    field = (form.region.fields | form.method.fields)[name]
    field.native.setCurrentIndex(1)
    heard: list[object] = []
    form.changed.connect(heard.append)
    field.native.setCurrentIndex(0)
    assert heard
    assert field.value is None


BLUR = KernelSpec.parse("gaussian:1")
RECTANGLE = [[3, 4], [3, 9], [8, 9], [8, 4]]


def test_an_area_is_drawn_from_the_form(docked: Desk) -> None:
    region, viewer = docked.widget.form.region, docked.viewer
    region.fields["area"].value = "draw"
    drawn = viewer.layers.selection.active
    assert drawn.mode == "add_rectangle"
    assert region.fields["area"].value is drawn
    docked.widget.refresh()
    assert "draw a rectangle in it" in docked.why
    # Pixels of the drawn layer are those of the image.
    drawn.data = [np.array(RECTANGLE)]
    docked.widget.refresh()
    (request,) = docked.widget.form.requests()
    assert request.layer.name == "mitotic plate"
    assert request.selection.ranges["Y"] == (3, 9)
    viewer.layers.remove(drawn)
    assert region.fields["area"].value == "whole"


def test_nothing_is_drawn_without_an_image(desk: Desk) -> None:
    desk.widget.form.region.fields["area"].value = "draw"
    assert desk.widget.form.region.fields["area"].value == "whole"
    assert list(desk.viewer.layers) == []


def test_a_rectangle_that_does_not_count_is_told(docked: Desk) -> None:
    region = docked.widget.form.region
    shapes = docked.viewer.add_shapes(ndim=2, name="mine")
    assert not region.hint.native.isVisible()
    shapes.data = [np.array(RECTANGLE)]
    assert region.hint.native.isVisible()
    assert "rectangle in mine" in region.hint.value
    region.fields["area"].value = shapes
    assert not region.hint.native.isVisible()
    region.fields["area"].value = "whole"
    docked.viewer.layers.remove(shapes)
    assert not region.hint.native.isVisible()


def test_only_a_blur_that_was_chosen_is_shown(docked: Desk) -> None:
    blur = docked.widget.form.method.blur
    assert not blur.view.native.isVisible()
    blur.fields["kernel"].value = "gaussian"
    docked.widget.refresh()
    assert blur.view.native.isVisible()


def test_the_cost_is_seen_while_its_details_are_closed(docked: Desk) -> None:
    cost = docked.widget.cost
    assert "MB" in cost._summary.value
    assert cost._summary.native.isVisible()
    assert not cost.view.native.isVisible()


def test_training_is_asked_for_where_there_is_some(desk: Desk) -> None:
    rows = desk.widget.form.method.advanced.rows
    desk.add(rings(64, 64))

    def hidden() -> list[bool]:
        return [rows[name].native.isHidden() for name in ("steps", "learned_steps")]

    for config in (FAST, change(FAST, factor=1, kernel=BLUR)):
        desk.set(change(config, device="cpu"))
        # From the pretrained network the tuning steps count.
        assert hidden() == [True, False]
    # With none at all, it can be taken back.
    desk.set(change(FAST, steps=0, device="cpu"))
    assert hidden() == [False, False]
    desk.set(change(FAST, start="random", device="cpu"))
    assert hidden() == [False, True]
    for config in (change(FAST, factor=1), RIDGE):
        desk.set(change(config, device="cpu"))
        assert hidden() == [True, True]


# ---- words


def test_presets_are_chosen_by_words_and_told_their_time(desk: Desk) -> None:
    method = desk.widget.form.method
    box, heard = method.preset.native, []
    assert box.itemText(2) == "Balanced"
    method.preset.changed.connect(heard.append)
    method.show_times({"fast": "about 9 s"})
    assert [box.itemText(n) for n in range(3)] == [
        "Instant",
        "Fast, about 9 s",
        "Balanced",
    ]
    assert (method.preset.value, heard) == ("balanced", [])
    method.preset.value = "fast"
    assert box.currentText() == "Fast, about 9 s"
    assert method._description.value == "Quick; for stacks and many images."
    method.show_times({})
    assert box.currentText() == "Fast"
    assert heard == ["fast"]


def test_missing_pixels_become_what_the_tooltip_says() -> None:
    pixels = np.array([[1.0, np.nan], [2.0, 6.0]])
    assert check_finite(pixels, "fill", "it")[0, 1] == 3
    with pytest.raises(InputError):
        check_finite(pixels, "refuse", "it")
    assert "mean of the other pixels" in TOOLTIPS["nonfinite"]


def test_an_error_is_not_told_by_its_colour_alone(desk: Desk) -> None:
    desk.widget.controls.show_message(Message("It failed.", sign=PROBLEM))
    assert re.sub("<.*?>", "", desk.said) == "\u26a0 It failed."


def spoken_name(part: QWidget) -> str:
    """What a screen reader calls a widget; Qt takes the text of buttons."""
    text = part.text() if isinstance(part, QAbstractButton) else ""
    return str(part.accessibleName() or text)


def test_everything_that_can_be_used_has_a_spoken_name(docked: Desk) -> None:
    widget = docked.widget
    widget.tabs.setCurrentIndex(1)
    parts = [
        part
        for part in widget.native.findChildren(QWidget)
        if part.focusPolicy() != Qt.FocusPolicy.NoFocus
        # Texts are read out themselves, and fields speak for the parts that Qt adds.
        and not isinstance(part, QLabel)
        and not part.objectName().startswith("qt_")
        and part.metaObject().className() != "Scrolled"
    ]
    assert len(parts) > 60
    nameless = [
        (part.metaObject().className(), part.toolTip()[:40])
        for part in parts
        if not re.search(r"\w\w", spoken_name(part))
    ]
    assert nameless == []
    for row in rows_in([widget.form]):
        assert row.field.native.accessibleDescription() == row.field.tooltip


def test_a_renamed_row_is_renamed_for_screen_readers_too(desk: Desk) -> None:
    row = desk.widget.form.rows["factor_y"]
    assert row.field.native.accessibleName() == "Factor"
    desk.widget.form.region.fields["linked"].value = False
    assert row.field.native.accessibleName() == "Factor Y"


# ---- settings that are used again


def test_use_these_settings_says_that_it_did(desk: Desk) -> None:
    desk.add(rings(24, 24))
    button = desk.widget.after.settings
    desk.widget.refresh()
    assert not button.enabled
    assert "Select a result" in button.tooltip
    desk.run()
    made = desk.viewer.layers[1]
    desk.viewer.layers.selection = {made}
    desk.widget.refresh()
    assert "Select a result" not in button.tooltip
    button.native.click()
    said = notification_manager.records[-1].message
    assert said == f"The form now has the settings of '{made.name}'."


@pytest.mark.parametrize(
    ("changes", "part", "says"),
    [
        ({}, "all", ""),
        ({}, "current", "enlarges whole files"),
        ({"error_map": True}, "all", "no option for error_map"),
        ({"kernel": np.ones((3, 3))}, "all", "This blur cannot be given"),
    ],
)
def test_a_command_that_would_be_refused_is_not_offered(
    desk: Desk, tmp_path: Path, changes: dict[str, Any], part: str, says: str
) -> None:
    path = tmp_path / "stack.tif"
    tifffile.imwrite(path, rings(3, 24, 32), photometric="minisblack")
    desk.viewer.open(path, plugin="napari")
    desk.widget.form.image.fields["axes"].value = "ZYX"
    desk.set(change(RIDGE, **changes))
    desk.widget.form.region.fields["slices"].value = part
    desk.widget.refresh()
    button = desk.widget.after.command
    assert button.enabled == (not says)
    assert says in button.tooltip
    assert desk.widget.after.python.enabled


# ---- layers and files in tabs


def files_of(desk: Desk, folder: Path, planes: int) -> Any:
    """The tab for files, set to a folder with one stack."""
    desk.widget.tabs.setCurrentIndex(1)
    files = desk.widget.files
    assert files is not None
    data = rings(planes, 24, 24)
    tifffile.imwrite(folder / "a.ome.tif", data, metadata={"axes": "ZYX"})
    files.form.show_config(RIDGE)
    files.form.fields["folder"].value = folder
    files.refresh()
    return files


def test_files_are_a_tab_that_is_built_when_it_is_shown(desk: Desk) -> None:
    assert desk.widget.files is None
    tabs = desk.widget.tabs
    assert [tabs.tabText(n) for n in range(tabs.count())] == ["Layers", "Files"]
    tabs.setCurrentIndex(1)
    files = desk.widget.files
    assert files is not None
    tabs.setCurrentIndex(0)
    tabs.setCurrentIndex(1)
    assert desk.widget.files is files


def test_one_run_at_a_time(desk: Desk, tmp_path: Path) -> None:
    desk.add(rings(60, 24, 24), axis_labels=("z", "y", "x"))
    files = files_of(desk, tmp_path, 60)
    assert files.controls.run.enabled
    desk.set(RIDGE)
    desk.widget.start()
    assert LAYERS_BUSY in files.controls._reason.value
    assert not files.controls.run.enabled
    files.start()
    assert not files.running
    desk.wait()
    assert files.controls.run.enabled
    files.start()
    assert files.running
    assert desk.why == FILES_BUSY
    assert not desk.widget.controls.run.enabled
    desk.widget.start()
    assert not desk.widget._run.running
    desk.qtbot.waitUntil(lambda: not files.running, timeout=30_000)
    assert desk.why == ""
    assert desk.widget.controls.run.enabled


def test_closing_the_dock_stops_the_files_and_keeps_what_is_finished(
    docked: Desk, tmp_path: Path
) -> None:
    files = files_of(docked, tmp_path, 200)
    files.start()
    docked.qtbot.waitUntil(lambda: files.table.rows[0].planes > 0, timeout=30_000)
    native = docked.widget.native
    docked.viewer.window.remove_dock_widget(native)
    docked.qtbot.waitUntil(lambda: not files.running, timeout=30_000)
    part = tmp_path / "enlarged" / "a_x2.ome.tif.part"
    assert 1 <= len(list((part / "ledger").iterdir())) < 200
    docked.qtbot.wait(50)
    with pytest.raises(RuntimeError, match="deleted"):
        native.parent()


def test_the_dock_may_be_moved_while_files_are_enlarged_or_not(
    docked: Desk, tmp_path: Path
) -> None:
    files = files_of(docked, tmp_path, 4)
    docked.viewer.window.remove_dock_widget(docked.widget.native)
    docked.viewer.window.add_dock_widget(docked.widget, name="again")
    docked.qtbot.wait(50)
    files.start()
    docked.qtbot.waitUntil(lambda: not files.running, timeout=30_000)
    assert files.table.rows[0].state == "done"


class Paints(QObject):
    """Counts how often a widget is painted."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def eventFilter(self, _: Any, event: Any) -> bool:
        self.count += event.type() == QEvent.Type.Paint
        return False


def test_a_label_at_rest_is_not_painted(qtbot: Any) -> None:
    """Each paint had asked for the next: the window was drawn without end."""
    label = text_label("A <b>sentence</b> that needs <i>some</i> lines. " * 8)
    window = QWidget()
    qtbot.addWidget(window)
    layout = QVBoxLayout(window)
    layout.addWidget(label.native)
    layout.addStretch()
    window.resize(300, 400)
    window.show()
    qtbot.wait(300)
    tall = label.native.height()
    paints = Paints()
    label.native.installEventFilter(paints)
    qtbot.wait(300)
    assert paints.count <= 1
    # Still as tall as its text.
    label.value = "Short."
    qtbot.waitUntil(lambda: label.native.height() < tall / 2)
    window.resize(200, 400)
    label.value = "A <b>sentence</b> that needs <i>some</i> lines. " * 8
    qtbot.waitUntil(lambda: label.native.height() > tall)
