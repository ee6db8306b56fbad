"""Rows of the form: a label and its field, made for a narrow column."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from magicgui.widgets import ComboBox, Container, FileEdit, Label, Widget
from qtpy.QtCore import QEvent, QObject, QSize, Qt, QTimer
from qtpy.QtGui import QPalette
from qtpy.QtWidgets import QComboBox, QFrame, QLabel, QScrollArea, QSizePolicy

RED = {"dark": "#ff8a80", "light": "#b3261e"}
# The longest label of the form, which decides where its fields begin.
LONGEST_LABEL = "Back-projection"
# Of the whole form, in letters m.
USUAL_WIDTH = 24
# Of a choice, in letters.
NARROWEST = 10


class Row(Container[Any]):
    """A label on the left and a field on the right of it.

    Parameters
    ----------
    label : str
        Empty where the field has its own text.
    field : Widget
    """

    def __init__(self, label: str, field: Widget) -> None:
        self.title = _Title(label)
        self.title.setToolTip(field.tooltip)
        self.field: Any = field
        if isinstance(field, ComboBox):
            _narrow(field)
        super().__init__(widgets=[field], layout="horizontal", labels=False)
        tighten(self)
        if label:
            self.native.layout().insertWidget(0, self.title)
        self.native.layout().setStretch(1, 1)


class _Title(QLabel):
    """Label as wide as the longest of the form, in whatever font it is shown."""

    def minimumSizeHint(self) -> QSize:
        size, metrics = super().minimumSizeHint(), self.fontMetrics()
        missing = metrics.horizontalAdvance(LONGEST_LABEL)
        missing -= metrics.horizontalAdvance(self.text())
        return QSize(size.width() + max(0, missing), size.height())

    def sizeHint(self) -> QSize:
        return self.minimumSizeHint()


class Scrolled(QScrollArea):
    """A column that scrolls up and down, never sideways.

    magicgui's own scrollable container is taken apart by napari's dock.
    """

    def __init__(self, column: Column) -> None:
        super().__init__()
        column.native.layout().addStretch(1)
        column.margins = (0, 0, 4, 0)
        self.setWidgetResizable(True)
        self.setFrameShape(QFrame.Shape.NoFrame)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setWidget(column.native)

    def minimumSizeHint(self) -> QSize:
        """As wide as what it holds needs."""
        bar = self.verticalScrollBar()
        held = self.widget()
        assert bar is not None
        assert held is not None
        width = held.minimumSizeHint().width() + bar.sizeHint().width()
        return QSize(width, super().minimumSizeHint().height())

    def sizeHint(self) -> QSize:
        """Wide enough to read the texts without many breaks."""
        least = self.minimumSizeHint().width()
        usual = self.fontMetrics().horizontalAdvance("m" * USUAL_WIDTH)
        return QSize(max(least, usual), super().sizeHint().height())


class Column(Container[Any]):
    """Rows and other widgets below one another; fields by the names of the rows."""

    def __init__(self, widgets: Sequence[Widget]) -> None:
        self.rows = {w.field.name: w for w in widgets if isinstance(w, Row)}
        self.fields: dict[str, Any] = {name: r.field for name, r in self.rows.items()}
        super().__init__(widgets=widgets, labels=False)
        tighten(self)


def path_field(**given: Any) -> FileEdit:
    """Field for a file or folder; its button leaves most of the row to the name."""
    field = FileEdit(**given)
    field.choose_btn.text = "..."
    field.choose_btn.tooltip = "Looks for it."
    button = field.choose_btn.native
    button.setFixedWidth(button.fontMetrics().horizontalAdvance("m" * 3))
    return field


def side_by_side(*widgets: Widget) -> Container[Any]:
    """Widgets in one row, without a label."""
    row = Container(widgets=widgets, layout="horizontal", labels=False)
    tighten(row)
    return row


def say(label: Label, rich_text: str) -> None:
    """Show a text, or nothing at all where it is empty."""
    label.value = rich_text
    label.visible = bool(rich_text)


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
    label.native.installEventFilter(_Fitting(label.native))
    return label


class _Fitting(QObject):
    """Makes a label as tall as its text needs at its width, which no layout does."""

    def __init__(self, label: QLabel) -> None:
        super().__init__(label)
        self._seen = ("", 0)

    def eventFilter(self, watched: Any, event: Any) -> bool:
        """Look at an event and let it pass."""
        # A new text is painted before the label has another size.
        if event.type() in (QEvent.Type.Resize, QEvent.Type.Paint):
            seen = (watched.text(), watched.width())
            if seen != self._seen:
                # What Qt says is needed is never less than the minimum so far.
                self._seen = seen
                watched.setMinimumHeight(0)
            needed = max(0, watched.heightForWidth(watched.width()))
            if needed != watched.minimumHeight():
                watched.setMinimumHeight(needed)
        return False


def refill(box: ComboBox) -> None:
    """Ask for the choices again and keep the one that is chosen, if it is there.

    magicgui leaves what it knows where it was and adds new names at the end.
    """
    chosen = box.value
    with box.changed.blocked():
        box.native.clear()
        box.reset_choices()
        if chosen in box.choices:
            box.value = chosen


def red(text: str, label: Label) -> str:
    """Rich text in a red that can be read in the theme of a label."""
    back = label.native.palette().color(QPalette.ColorRole.Window)
    colour = RED["dark" if back.lightness() < 128 else "light"]
    return f"<b style='color: {colour}'>{text}</b>"


def tighten(container: Container[Any]) -> None:
    """No margins, little space: the column is narrow and the form is long."""
    container.margins = (0, 0, 0, 0)
    container.native.layout().setSpacing(4)


def _narrow(box: ComboBox) -> None:
    """Let a choice be narrower than the longest name in it."""
    policy = QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon
    box.native.setSizeAdjustPolicy(policy)
    box.native.setMinimumContentsLength(NARROWEST)
    box.native.setMinimumWidth(NARROWEST * box.native.fontMetrics().averageCharWidth())


def after_pause(parent: Any, pause_ms: int, act: Callable[[], object]) -> QTimer:
    """Timer that acts once when it has been left alone; each start begins anew.

    Parameters
    ----------
    parent : QObject
        What the timer lives with.
    pause_ms : int
    act : callable
    """
    timer = QTimer(parent)
    timer.setSingleShot(True)
    timer.setInterval(pause_ms)
    timer.timeout.connect(act)
    return timer


class Leaving(QObject):
    """Tells when a widget is taken out of the window."""

    def __init__(self, widget: Any, on_leaving: Callable[[], object]) -> None:
        super().__init__(widget)
        self._on_leaving = on_leaving
        widget.installEventFilter(self)

    def eventFilter(self, watched: Any, event: Any) -> bool:
        """Look at an event and let it pass."""
        left = event.type() == QEvent.Type.ParentChange and watched.parent() is None
        if left:
            self._on_leaving()
        return False
