"""The table of a batch: a row for each file, and what came of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from psygnal import Signal
from qtpy.QtCore import QSize, Qt
from qtpy.QtWidgets import QAbstractItemView, QHeaderView, QTableWidget
from qtpy.QtWidgets import QTableWidgetItem as Item

from napari_zssr.plugin._batch_form import Source
from napari_zssr.plugin._clock import in_words

if TYPE_CHECKING:
    from napari_zssr.stack.disk import Written

WAITING, RUNNING, DONE, THERE = "waiting", "running", "done", "there already"
STOPPED, FAILED = "stopped", "failed"
COLUMNS = ("File", "State", "Planes", "Changed", "Time")
LINES_HIGH = 8
SHORTEST_S = 0.05


@dataclass(slots=True, kw_only=True)
class BatchRow:
    """One image of a batch.

    Attributes
    ----------
    image : Source
    target : Path
    state : str
    planes : int
        Planes that are finished.
    change : float or None
        Median difference from bicubic of those that are not bicubic's, fraction of the
        intensity range.
    seconds : float
    sentence : str
        What came of it.
    """

    image: Source
    target: Path
    state: str = WAITING
    planes: int = 0
    change: float | None = None
    seconds: float = 0.0
    sentence: str = ""

    def take(self, made: Written) -> None:
        """What came of a run that has ended."""
        reports = made.report.planes
        changes = [p.quality.change for p in reports if p.quality is not None]
        sentences = [*made.report.messages, made.report.sentence]
        self.state, self.sentence = DONE, " ".join(sentences)
        self.planes = len(reports)
        self.change = median(changes) if changes else None
        if made.path is None:
            why = made.failures[0][1] if made.failures else ""
            self.state = FAILED
            self.sentence = f"{made.missing} planes are missing. {why}".strip()

    def cells(self) -> tuple[str, ...]:
        """Texts of the columns."""
        return (
            self.image.name,
            self.state,
            str(self.planes or ""),
            self._changed(),
            in_words(self.seconds) if self.seconds >= SHORTEST_S else "",
        )

    def _changed(self) -> str:
        if self.change is None:
            return "none" if self.state == DONE else ""
        return f"{100 * self.change:.2g} %"


class BatchTable(QTableWidget):
    """Rows as they stand.

    Attributes
    ----------
    chosen : Signal
        Emitted when another row is selected, or none.
    opened : Signal
        Emitted when a row is double-clicked.
    """

    chosen = Signal()
    opened = Signal()

    def __init__(self) -> None:
        super().__init__(0, len(COLUMNS))
        self.rows: list[BatchRow] = []
        self.setHorizontalHeaderLabels(COLUMNS)
        self.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        self.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.setTextElideMode(Qt.TextElideMode.ElideMiddle)
        self.setShowGrid(False)
        self.setToolTip("Select a row to see what came of it; double-click opens it.")
        side, head = self.verticalHeader(), self.horizontalHeader()
        assert side is not None
        assert head is not None
        side.hide()
        head.setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
        head.setSectionResizeMode(0, QHeaderView.ResizeMode.Stretch)
        head.setMinimumSectionSize(20)
        self.itemSelectionChanged.connect(self.chosen.emit)
        self.itemDoubleClicked.connect(lambda _: self.opened.emit())

    def show_rows(self, rows: Sequence[BatchRow]) -> None:
        """Show other rows; the one that was selected stays so where it can."""
        at = self.currentRow()
        self.rows = list(rows)
        self.setRowCount(len(self.rows))
        for row in self.rows:
            self.update_row(row)
        if not 0 <= at < len(self.rows):
            self.clearSelection()
        self.chosen.emit()

    def update_row(self, row: BatchRow) -> None:
        """Show a row as it is now."""
        line = self.rows.index(row)
        for column, text in enumerate(row.cells()):
            item = self.item(line, column)
            if item is None:
                item = Item()
                self.setItem(line, column, item)
            if item.text() != text:
                item.setText(text)
            if column:
                item.setTextAlignment(Qt.AlignmentFlag.AlignCenter)
            item.setToolTip(row.sentence or str(row.image.path))
        if row is self.selected:
            self.chosen.emit()

    @property
    def selected(self) -> BatchRow | None:
        """Row that the user has selected."""
        lines = {index.row() for index in self.selectedIndexes()}
        return self.rows[lines.pop()] if lines else None

    def sizeHint(self) -> QSize:
        """Some lines; the user may pull it larger."""
        high = LINES_HIGH * (self.fontMetrics().height() + 8)
        return QSize(super().sizeHint().width(), high)

    def minimumSizeHint(self) -> QSize:
        """Narrow enough for the dock."""
        return QSize(0, self.sizeHint().height() // 2)


def closing(rows: Sequence[BatchRow], folder: Path) -> str:
    """What came of a batch, in words."""
    counts = Counter(row.state for row in rows)
    images = "image" if len(rows) == 1 else "images"
    verb = "is" if counts[DONE] == 1 else "are"
    told = [f"{counts[DONE]} of {len(rows)} {images} {verb} enlarged"]
    if counts[THERE]:
        verb = "was" if counts[THERE] == 1 else "were"
        told.append(f"{counts[THERE]} {verb} there already")
    bad = [row for row in rows if row.state == FAILED]
    if bad:
        name, why = bad[0].image.name, bad[0].sentence.removesuffix(".")
        why = why if name in why else f"{name}: {why}"
        told.append(f"{len(bad)} failed ({why})")
    left = counts[STOPPED] + counts[WAITING]
    end = f" {left} left; Run goes on from there." if left else ""
    return f"{', '.join(told)}. Results are in {folder}.{end}"
