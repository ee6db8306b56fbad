"""Rows of the form: a label and its field, made for a narrow column."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from magicgui.widgets import ComboBox, Container, Label, Widget
from qtpy.QtWidgets import QComboBox, QSizePolicy

# The longest label of the form, which decides where its fields begin.
LONGEST_LABEL = "Back-projection"


class Row(Container[Any]):
    """A label on the left and a field on the right of it.

    Parameters
    ----------
    label : str
        Empty where the field has its own text.
    field : Widget
    """

    def __init__(self, label: str, field: Widget) -> None:
        self.title = Label(value=label)
        self.field: Any = field
        metrics = self.title.native.fontMetrics()
        self.title.native.setMinimumWidth(metrics.horizontalAdvance(LONGEST_LABEL))
        if isinstance(field, ComboBox):
            _narrow(field)
        super().__init__(
            widgets=[self.title, field] if label else [field],
            layout="horizontal",
            labels=False,
        )
        self.title.tooltip = field.tooltip
        tighten(self)
        self.native.layout().setStretch(1, 1)


class Column(Container[Any]):
    """Rows and other widgets below one another; fields by the names of the rows."""

    def __init__(self, widgets: Sequence[Widget]) -> None:
        self.rows = {w.field.name: w for w in widgets if isinstance(w, Row)}
        self.fields: dict[str, Any] = {name: r.field for name, r in self.rows.items()}
        super().__init__(widgets=widgets, labels=False)
        tighten(self)


def heading(text: str) -> Label:
    """Heading of a section."""
    return Label(value=f"<b>{text}</b>")


def words(text: str = "") -> Label:
    """Label that wraps its text instead of widening the column."""
    label = Label(value=text)
    label.native.setWordWrap(True)
    policy = label.native.sizePolicy()
    policy.setHorizontalPolicy(QSizePolicy.Policy.Ignored)
    label.native.setSizePolicy(policy)
    return label


def tighten(container: Container[Any]) -> None:
    """No margins, little space: the column is narrow and the form is long."""
    container.margins = (0, 0, 0, 0)
    container.native.layout().setSpacing(4)


def _narrow(box: ComboBox) -> None:
    """Let a choice be narrower than the longest name in it."""
    policy = QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon
    box.native.setSizeAdjustPolicy(policy)
    box.native.setMinimumContentsLength(6)
