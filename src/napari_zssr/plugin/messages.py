"""What came of runs: one line each, with details on demand."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any
from weakref import ref

from napari.layers import Layer
from qtpy.QtCore import QEvent, QSize, Qt, Signal  # type: ignore[attr-defined]
from qtpy.QtWidgets import (
    QFrame,
    QHBoxLayout,
    QLabel,
    QScrollArea,
    QSizePolicy,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from napari_zssr.plugin.form.rows import HeightForWidth, error_colour, tooltip

# Messages that are visible without scrolling, and lines when one is opened.
VISIBLE, OPENED = 3, 9
# Of a name for which there is less room nothing is shown.
NAME_LETTERS = 4
# Signs for what kind a message is of.
DONE, NOTHING_GAINED, STOPPED, PROBLEM = "\u2713", "\u25cb", "\u25a0", "\u26a0"


@dataclass(frozen=True, slots=True)
class Message:
    """A sentence, and what is shown when it is opened; both are plain text.

    `sign` stands before it, so that colour alone carries no meaning; `name` is that of
    the layer it is about; what warns of something is opened at once.
    """

    headline: str
    details: str = ""
    sign: str = DONE
    name: str = ""
    warns: bool = False

    @property
    def problem(self) -> bool:
        """Whether something has to be done about it."""
        return self.sign == PROBLEM

    @property
    def opened(self) -> bool:
        """Whether its details say what to do, and are shown at once."""
        return self.warns or self.sign in (PROBLEM, NOTHING_GAINED, STOPPED)

    @property
    def named(self) -> str:
        """The headline with the name of the layer."""
        return f"{self.headline} ({self.name})" if self.name else self.headline

    @property
    def line(self) -> str:
        """All of it after its sign."""
        return f"{self.sign} {self.named}"


class Headline(QLabel):
    """The line of a message: where it is too long, only the name is cut, if possible.

    It is cut in its middle: names of results differ at both ends. `cut` is sent when
    there is no longer room for the rest of the line.
    """

    cut = Signal()

    def __init__(self, message: Message) -> None:
        super().__init__()
        self._message = message
        self.is_cut = False
        self.setTextFormat(Qt.TextFormat.PlainText)
        policy = QSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Preferred)
        self.setSizePolicy(policy)
        self.setText(message.line)

    def minimumSizeHint(self) -> QSize:
        """As low as its letters, so that a few lines need no scrolling."""
        frame = self.height() - self.contentsRect().height()
        return QSize(0, self.fontMetrics().height() + frame)

    def resizeEvent(self, event: Any) -> None:
        """Show what there is room for."""
        super().resizeEvent(event)
        # The style keeps some of the width free beside the text.
        beside = self.sizeHint().width() - self._advance(self.text())
        text = self._fitting(self.width() - beside)
        was_cut, self.is_cut = self.is_cut, not text.startswith(self._bare)
        self.setText(text)
        if self.is_cut and not was_cut:
            self.cut.emit()

    @property
    def _bare(self) -> str:
        return replace(self._message, name="").line

    def _advance(self, text: str) -> int:
        return self.fontMetrics().horizontalAdvance(text)

    def _fitting(self, width: int) -> str:
        message, bare, letters = self._message, self._bare, self.fontMetrics()
        if self._advance(message.line) <= width:
            return message.line
        room = width - self._advance(f"{bare} ()")
        name = letters.elidedText(message.name, Qt.TextElideMode.ElideMiddle, room)
        if room >= self._advance("m" * NAME_LETTERS):
            return f"{bare} ({name})"
        return letters.elidedText(bare, Qt.TextElideMode.ElideRight, width)


class MessageRow(QFrame):
    """One message; a click or the key on its arrow opens it.

    What says what to do is open from the start: it must not be missed. So is a line
    that is cut.
    """

    def __init__(self, message: Message, layers: Sequence[Layer]) -> None:
        super().__init__()
        self.message = message
        self.layers = [ref(layer) for layer in layers]
        self.headline = Headline(message)
        self.headline.setAccessibleName(message.line)
        self.headline.setToolTip(tooltip(message.line))
        self.headline.installEventFilter(self)
        self.details = QLabel("\n".join(filter(None, (message.line, message.details))))
        self.details.setTextFormat(Qt.TextFormat.PlainText)
        self.details.setWordWrap(True)
        selectable = Qt.TextInteractionFlag.TextSelectableByMouse
        self.details.setTextInteractionFlags(selectable)
        policy = QSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Preferred)
        self.details.setSizePolicy(policy)
        self.details.installEventFilter(HeightForWidth(self.details))
        self.arrow = QToolButton()
        self.arrow.setCheckable(True)
        self.arrow.setAutoRaise(True)
        side = self.fontMetrics().lineSpacing()
        self.arrow.setFixedSize(side, side)
        self.arrow.setAccessibleName(f"Details: {message.named}")
        self.arrow.toggled.connect(self.open)
        # Later: at first it has not got its width.
        self.headline.cut.connect(self._open_cut, Qt.ConnectionType.QueuedConnection)
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(4)
        layout.addWidget(self.arrow, 0, Qt.AlignmentFlag.AlignTop)
        layout.addWidget(self.headline, 1)
        layout.addWidget(self.details, 1)
        self.arrow.setChecked(message.opened)
        self.open(message.opened)
        self._colour()

    def open(self, open_: bool) -> None:
        """Show the details too, or only the line."""
        arrow = Qt.ArrowType.DownArrow if open_ else Qt.ArrowType.RightArrow
        self.arrow.setArrowType(arrow)
        self.headline.setVisible(not open_)
        self.details.setVisible(open_)

    def _open_cut(self) -> None:
        if self.headline.is_cut:
            self.arrow.setChecked(True)

    @property
    def text(self) -> str:
        """Everything that the message says."""
        return str(self.details.text())

    def is_of(self, layers: Iterable[Layer]) -> bool:
        """Whether one of its layers is among these."""
        present = {id(layer) for layer in layers}
        return any(id(layer()) in present for layer in self.layers)

    def eventFilter(self, watched: Any, event: Any) -> bool:
        """Open the message when its line is clicked."""
        if event.type() == QEvent.Type.MouseButtonRelease:
            self.arrow.toggle()
        return False

    def changeEvent(self, event: Any) -> None:
        """Follow the theme."""
        if event.type() in (QEvent.Type.StyleChange, QEvent.Type.PaletteChange):
            self._colour()
        super().changeEvent(event)

    def _colour(self) -> None:
        if not self.message.problem:
            return
        sheet = f"QLabel {{ color: {error_colour(self)}; font-weight: bold; }}"
        if sheet != self.styleSheet():
            self.setStyleSheet(sheet)


class Messages(QScrollArea):
    """Messages, newest first; more than a few are scrolled."""

    def __init__(self) -> None:
        super().__init__()
        self._column = QWidget()
        layout = QVBoxLayout(self._column)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(2)
        layout.addStretch(1)
        self.rows: list[MessageRow] = []
        self.setWidget(self._column)
        self.setWidgetResizable(True)
        self.setFrameShape(QFrame.Shape.NoFrame)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        self.setAccessibleName("Messages")
        self.setVisible(False)

    @property
    def text(self) -> str:
        """Everything that is said, newest first."""
        return "\n".join(row.text for row in self.rows)

    def add(self, message: Message, layers: Sequence[Layer] = ()) -> None:
        """Add a message above the others; it goes when all its layers have gone."""
        row = MessageRow(message, layers)
        row.arrow.toggled.connect(lambda _: self.updateGeometry())
        self.rows.insert(0, row)
        self._layout().insertWidget(0, row)
        self._show()

    def remove_without_layers(self) -> None:
        """Remove all problems and messages of no layer; close the others."""
        self._keep([r for r in self.rows if r.layers and not r.message.problem])
        for row in self.rows:
            row.arrow.setChecked(False)

    def keep_of(self, layers: Iterable[Layer]) -> None:
        """Remove messages whose layers are not among these any more."""
        present = list(layers)
        self._keep([r for r in self.rows if not r.layers or r.is_of(present)])

    def sizeHint(self) -> QSize:
        """High enough for a few lines; higher for one that is opened."""
        line = self.fontMetrics().lineSpacing() + 6
        opened = any(row.arrow.isChecked() for row in self.rows)
        most = line * (OPENED if opened else VISIBLE)
        width = max(1, self.width())
        needed = sum(self._height(row, width) + 2 for row in self.rows)
        return QSize(super().sizeHint().width(), min(most, needed))

    def minimumSizeHint(self) -> QSize:
        """As narrow as the dock."""
        return QSize(0, self.sizeHint().height())

    def resizeEvent(self, event: Any) -> None:
        """Texts that wrap are higher where it is narrow."""
        super().resizeEvent(event)
        if event.size().width() != event.oldSize().width():
            self.updateGeometry()

    @staticmethod
    def _height(row: MessageRow, width: int) -> int:
        arrow = row.arrow.size()
        if not row.arrow.isChecked():
            return max(arrow.height(), row.headline.sizeHint().height())
        text = row.details.heightForWidth(max(1, width - arrow.width() - 4))
        return max(arrow.height(), text)

    def _keep(self, rows: list[MessageRow]) -> None:
        for row in self.rows:
            if row not in rows:
                self._layout().removeWidget(row)
                row.hide()
                row.deleteLater()
        self.rows = rows
        self._show()

    def _layout(self) -> QVBoxLayout:
        layout = self._column.layout()
        assert isinstance(layout, QVBoxLayout)
        return layout

    def _show(self) -> None:
        self.setVisible(bool(self.rows))
        self.updateGeometry()
