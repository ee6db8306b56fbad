"""The dock widget for many files: one after the other, each to a file."""

from __future__ import annotations

import os
import time
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from magicgui.widgets import Container, PushButton
from napari.utils.notifications import show_error
from psygnal import Signal
from qtpy.QtCore import QSize, Qt, QTimer
from qtpy.QtWidgets import QAbstractItemView, QHeaderView, QTableWidget
from qtpy.QtWidgets import QTableWidgetItem as Item

from napari_zssr.atomic import storage_errors
from napari_zssr.errors import InputError, StorageError, ZSSRError
from napari_zssr.plugin.batch_form import BatchForm, Order, Source
from napari_zssr.plugin.controls import Clock, RunFields, in_words, seconds_left, status
from napari_zssr.plugin.form.rows import (
    Column,
    Leaving,
    Scrolled,
    after_pause,
    say,
    side_by_side,
    words,
)
from napari_zssr.plugin.layers.files import lazy_layers
from napari_zssr.plugin.layers.layers import KEY
from napari_zssr.plugin.summary import in_the_form
from napari_zssr.plugin.worker import Run, ShortSearches
from napari_zssr.progress import Event, PlaneDone, Progress, Steps
from napari_zssr.stack.channels import channel_starts, start_message_for_files

if TYPE_CHECKING:
    from napari.viewer import Viewer

    from napari_zssr.execution.disk_run import Written

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


UPDATE_MS = 300


class FileJob:
    """One image of a batch on its way."""

    def __init__(self, row: BatchRow, order: Order) -> None:
        self.row = row
        self.started = time.monotonic()
        self.clock: Clock | None = None
        self._order = order

    def steps(self) -> Steps[Written]:
        """Everything that is done in the worker."""
        from napari_zssr.execution.disk_run import upscale_to_disk_steps
        from napari_zssr.io.read import read

        order = self._order
        yield Progress(stage="read", step=0, total=1)
        stack = read(
            self.row.image.path,
            axes=order.axes,
            image=self.row.image.image,
            partial=order.partial,
            lazy=True,
        )
        shape = stack.data.shape
        starts = channel_starts(order.config, stack.axes, shape)
        self.clock = Clock(order.config, starts, shape, stack.axes)
        return (
            yield from upscale_to_disk_steps(
                stack, order.config, self.row.target, overwrite=order.overwrite
            )
        )


class BatchWidget(Container[Any]):
    """Zero-shot super-resolution of many files.

    Parameters
    ----------
    napari_viewer : Viewer
    """

    def __init__(self, napari_viewer: Viewer) -> None:
        self._viewer = napari_viewer
        self._run = Run()
        self._searches = ShortSearches()
        self._waiting: deque[BatchRow] = deque()
        self._order: Order | None = None
        self._job: FileJob | None = None
        self._left = False
        self.form = BatchForm()
        self.table = BatchTable()
        self.controls = RunFields()
        self.controls.run.tooltip = (
            "Enlarges one image after the other into its file. Images whose result is "
            "there are left out."
        )
        self.controls.cancel.tooltip = (
            "Stops after the step that is being done. What is finished is kept, and "
            "Run goes on from there."
        )
        self.open = PushButton(
            text="Open",
            tooltip="Adds the result of the selected row as a layer; its pixels stay "
            "in the file.",
        )
        self.told = words()
        super().__init__(widgets=[self.controls], labels=False)
        self.margins = (4, 4, 4, 4)
        self._lay_out()
        self._later = after_pause(self.native, UPDATE_MS, self.refresh)
        self._listen()
        self.refresh()

    def start(self) -> None:
        """Enlarge what the form names."""
        if self._run.running:
            return
        try:
            order = self.form.order()
            with storage_errors(order.folder, "nothing was begun"):
                order.folder.mkdir(parents=True, exist_ok=True)
        except ZSSRError as error:
            self.controls.say_why(str(error))
            return
        self._order = order
        rows = _rows(order)
        self.table.show_rows(rows)
        self.controls.clear()
        self._searches.begin()
        self._waiting.extend(row for row in rows if row.state != THERE)
        self._next()

    def cancel(self) -> None:
        """Stop after the step that is being done."""
        self._waiting.clear()
        self._run.cancel()
        self.controls.stopping()

    def refresh(self) -> None:
        """Look at the form again: which files, and whether it can run."""
        if self._run.running:
            return
        try:
            order = self.form.order()
            begins = start_message_for_files(order.config)
        except InputError as error:
            begins = ""
            self._show_waiting(None)
            self.controls.say_why(str(error))
        else:
            self._show_waiting(order)
            self.controls.say_why("")
        self.form.how.advanced.say_start(begins)

    def open_selected(self) -> None:
        """Add the result of the selected row to the viewer."""
        row = self.table.selected
        if row is None or row.state not in (DONE, THERE):
            return
        try:
            layers = lazy_layers(row.target)
        except InputError as error:
            show_error(str(error))
            return
        for data, attributes, _ in layers:
            layer = self._viewer.add_image(data, **attributes)
            layer.metadata[KEY] = {"file": str(row.target)}

    def _show_waiting(self, order: Order | None) -> None:
        """Show what would be done; what came of the same files stays."""
        self.controls.run.enabled = order is not None
        if order is None:
            self.table.show_rows([])
            return
        known = {(row.image, row.target): row for row in self.table.rows}
        self.table.show_rows(
            [known.get((row.image, row.target), row) for row in _rows(order)]
        )

    def _next(self) -> None:
        if not self._waiting:
            self._finish()
            return
        assert self._order is not None
        row = self._waiting.popleft()
        row.state = RUNNING
        self._job = FileJob(row, self._order)
        self.table.update_row(row)
        self.controls.running(row.image.name)
        self._run.start(
            self._job.steps,
            on_event=self._tell,
            on_result=self._complete,
            on_error=self._fail,
            on_finished=self._end,
        )

    def _tell(self, event: Event) -> None:
        assert self._job is not None
        job, clock = self._job, self._job.clock
        if isinstance(event, PlaneDone):
            job.row.planes = event.done
            self.controls.loss.clear()
        elif isinstance(event, Progress) and clock is not None:
            share = clock.tell(event)
            job.row.seconds = time.monotonic() - job.started
            left = seconds_left(clock.of_rest, job.row.seconds)
            at = self.table.rows.index(job.row) + 1
            where = f"File {at} of {len(self.table.rows)}, {job.row.image.name}: "
            told = event.message or status(event, left)
            self.controls.progress(share, where + told)
            if event.loss is not None:
                self.controls.loss.add(event.step, event.loss)
        self.table.update_row(job.row)

    def _complete(self, made: Written) -> None:
        assert self._job is not None
        self._job.row.take(made)

    def _fail(self, error: ZSSRError) -> None:
        assert self._job is not None
        row = self._job.row
        row.state, row.sentence = FAILED, in_the_form(str(error))
        if isinstance(error, StorageError):
            # The next image would find no room either.
            self._waiting.clear()

    def _end(self) -> None:
        """Called last for each file, whatever happened."""
        assert self._job is not None
        job, self._job = self._job, None
        job.row.seconds = time.monotonic() - job.started
        if job.row.state == RUNNING:
            job.row.state = STOPPED
            job.row.sentence = "What is finished is kept; Run goes on from there."
        self.table.update_row(job.row)
        self._next()

    def _finish(self) -> None:
        self._searches.end()
        if self._left and self.native.parent() is None:
            self._delete()
            return
        assert self._order is not None
        self.controls.add_line(closing(self.table.rows, self._order.folder))
        self.controls.idle()
        self.refresh()
        self._show_chosen()

    def _show_chosen(self) -> None:
        row = self.table.selected
        self.open.enabled = row is not None and row.state in (DONE, THERE)
        say(self.told, "" if row is None else row.sentence)

    def _lay_out(self) -> None:
        """The form above, scrolling; the table below it, always in sight."""
        layout = self.native.layout()
        layout.insertWidget(0, Scrolled(Column([self.form])), 2)
        layout.insertWidget(1, self.table, 1)
        below = Column([self.told, side_by_side(self.open)])
        layout.insertWidget(2, below.native)
        self._below = below

    def _listen(self) -> None:
        self.controls.run.changed.connect(self.start)
        self.controls.cancel.changed.connect(self.cancel)
        self.open.changed.connect(self.open_selected)
        self.table.chosen.connect(self._show_chosen)
        self.table.opened.connect(self.open_selected)
        self.form.changed.connect(self._soon)
        self.native.destroyed.connect(self._run.close)
        self.native.destroyed.connect(self._searches.end)
        self._leaving = Leaving(self.native, self._go)

    def _soon(self, *_: Any) -> None:
        self._later.start()

    def _go(self) -> None:
        """The widget was taken out of the window: stop, keep what is finished."""
        self._left = True
        self._waiting.clear()
        self._run.cancel()
        QTimer.singleShot(0, self._delete)

    def _delete(self) -> None:
        """Delete what is shown, unless it was put back or a run has yet to end."""
        if self.native.parent() is None and not self._run.running:
            self.native.deleteLater()


def _rows(order: Order) -> list[BatchRow]:
    """A row for each image; those whose result is there are left out."""
    return [
        BatchRow(
            image=image,
            target=target,
            state=THERE,
            sentence=f"{target.name} is there already.",
        )
        if os.path.exists(target) and not order.overwrite
        else BatchRow(image=image, target=target)
        for image, target in order.pairs
    ]
