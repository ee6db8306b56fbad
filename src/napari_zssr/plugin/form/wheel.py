"""The mouse wheel scrolls the form, unless the field under it has the focus."""

from __future__ import annotations

from typing import Any

from qtpy.QtCore import QEvent, QObject, Qt
from qtpy.QtWidgets import QAbstractSlider, QAbstractSpinBox, QComboBox, QWidget

# Whose values the wheel changes.
TURNED = (QComboBox, QAbstractSpinBox, QAbstractSlider)


class WheelNeedsFocus(QObject):
    """Leaves the wheel to what scrolls while a field has not the focus."""

    def __init__(self, field: QWidget) -> None:
        super().__init__(field)
        field.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        field.installEventFilter(self)

    def eventFilter(self, watched: Any, event: Any) -> bool:
        """Pass the wheel on to the widget around the field."""
        if event.type() != QEvent.Type.Wheel or watched.hasFocus():
            return False
        event.ignore()
        return True


def guard_from_wheel(widget: QWidget) -> None:
    """Let the wheel change a field, or the parts of one, only with the focus."""
    for part in (widget, *widget.findChildren(QWidget)):
        if isinstance(part, TURNED):
            WheelNeedsFocus(part)
