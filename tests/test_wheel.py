"""The mouse wheel scrolls the dock and leaves settings as they are."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from conftest import Desk

pytest.importorskip("napari")

from qtpy.QtCore import QPoint, QPointF, Qt
from qtpy.QtGui import QWheelEvent
from qtpy.QtWidgets import (
    QAbstractSlider,
    QAbstractSpinBox,
    QApplication,
    QComboBox,
    QScrollBar,
    QWidget,
)

from napari_zssr.plugin.check.body import Body


@pytest.fixture
def docked(make_napari_viewer: Any, qtbot: Any, settled: None) -> Desk:
    """The widget docked in a low window, all its sections open."""
    viewer = make_napari_viewer()
    _, widget = viewer.window.add_plugin_dock_widget("napari-zssr")
    window = viewer.window._qt_window
    window.resize(1100, 700)
    window.show()
    window.activateWindow()
    desk = Desk(viewer, qtbot, widget)
    desk.add(np.ones((2, 3, 4, 32, 32), np.uint8))
    for fold in (widget.form.region.more, widget.form.method.more):
        fold.unfold(True)
    for fold in widget.folds.values():
        fold.unfold(True)
    widget.refresh()
    qtbot.wait(50)
    return desk


def turn(part: QWidget, clicks: int = -1) -> None:
    """Turn the wheel over the middle of a widget.

    Where it is ignored the widget around it gets it: Qt itself passes on only what
    comes from the window system.
    """
    over: QWidget | None = part
    while over is not None:
        middle = over.rect().center()
        event = QWheelEvent(
            QPointF(middle),
            QPointF(over.mapToGlobal(middle)),
            QPoint(),
            QPoint(0, 120 * clicks),
            Qt.MouseButton.NoButton,
            Qt.KeyboardModifier.NoModifier,
            Qt.ScrollPhase.NoScrollPhase,
            False,
        )
        QApplication.sendEvent(over, event)
        if event.isAccepted():
            return
        over = over.parentWidget()


def value(part: QWidget) -> Any:
    if isinstance(part, QComboBox):
        return part.currentIndex()
    return part.text() if isinstance(part, QAbstractSpinBox) else part.value()


def fields(root: QWidget) -> list[QWidget]:
    """All that a wheel can change, also what is not visible now."""
    kinds = (QComboBox, QAbstractSpinBox, QAbstractSlider)
    return [
        part
        for part in root.findChildren(QWidget)
        if isinstance(part, kinds) and not isinstance(part, QScrollBar)
    ]


def in_the_middle(part: QWidget) -> None:
    """Give a field a value that the wheel can change up and down."""
    if isinstance(part, QComboBox):
        part.setCurrentIndex(part.count() // 2)
    elif isinstance(part, QAbstractSlider):
        part.setValue(type(part.value())((part.minimum() + part.maximum()) / 2))
    else:
        part.setValue(part.minimum() + 2)


def test_the_wheel_changes_no_field_of_the_widget(docked: Desk) -> None:
    widget = docked.widget
    widget.tabs.setCurrentIndex(1)
    widget.tabs.setCurrentIndex(0)
    body = Body()
    parts = fields(widget.native) + fields(body.native)
    assert widget.files is not None
    assert set(fields(widget.files.native)) <= set(parts)
    assert len(parts) > 20
    for part in parts:
        in_the_middle(part)
    for part in parts:
        part.clearFocus()
        before = value(part)
        # Parts of a spin box pass it on to the spin box.
        for over in (part, *part.findChildren(QWidget)):
            if not isinstance(over, QScrollBar) and not over.isWindow():
                turn(over, 1)
                turn(over, 1)
        assert value(part) == before, part.accessibleName()
        assert part.focusPolicy() == Qt.FocusPolicy.StrongFocus


@pytest.mark.parametrize("name", ["factor_y", "along_z", "area"])
def test_the_wheel_over_a_field_scrolls(docked: Desk, name: str) -> None:
    widget = docked.widget
    bar = widget.scrolled.verticalScrollBar()
    assert bar is not None
    assert bar.maximum() > 0
    field = widget.form.region.fields[name]
    before = field.value
    turn(field.native)
    assert field.value == before
    assert bar.value() > 0


def test_the_wheel_changes_a_field_that_was_clicked(docked: Desk) -> None:
    field = docked.widget.form.region.fields["factor_y"]
    field.native.setFocus()
    docked.qtbot.waitUntil(field.native.hasFocus)
    before = field.value
    turn(field.native, 1)
    assert field.value > before
