"""The tab for many files: one after the other, each to a file."""

from __future__ import annotations

import html
import os
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from magicgui.widgets import Container, PushButton
from napari.utils.notifications import show_error
from qtpy.QtCore import QSize, Qt
from qtpy.QtWidgets import QAbstractItemView, QHeaderView, QTableWidget
from qtpy.QtWidgets import QTableWidgetItem as Item

from napari_zssr.atomic import storage_errors
from napari_zssr.errors import InputError, StorageError, ZSSRError
from napari_zssr.io.read import read
from napari_zssr.plugin.batch_form import BatchForm, Order, Source
from napari_zssr.plugin.clock import Clock
from napari_zssr.plugin.controls import RunFields
from napari_zssr.plugin.form.rows import (
    Column,
    Scrolled,
    SideBySide,
    after_pause,
    set_text,
    text_label,
    tooltip,
)
from napari_zssr.plugin.layers.files import lazy_layers
from napari_zssr.plugin.layers.layers import KEY
from napari_zssr.plugin.messages import PROBLEM, Message
from napari_zssr.plugin.run_controller import RunController
from napari_zssr.plugin.summary import form_sentence
from napari_zssr.progress import Event, PlaneDone, Progress, Steps
from napari_zssr.stack.axial_factor import axial_factor
from napari_zssr.stack.channels import channel_starts, start_message_for_files
from napari_zssr.units import counted, duration_text
from napari_zssr.zssr.cost import Work, assumed_work

if TYPE_CHECKING:
    from napari.viewer import Viewer

    from napari_zssr.execution.disk_run import Written

WAITING, RUNNING, DONE, EXISTING = "waiting", "running", "done", "exists"
STOPPED, FAILED = "stopped", "failed"
COLUMNS = ("File", "State", "Planes", "Changed", "Time")
LINES_HIGH = 8
SHORTEST_S = 0.05
UPDATE_MS = 300


@dataclass(slots=True, kw_only=True)
class BatchRow:
    """One image of a batch, how many planes are finished, and what came of it.

    `change` is the median difference from bicubic of the planes that differ from it, as
    a fraction of the intensity range.
    """

    image: Source
    target: Path
    state: str = WAITING
    planes: int = 0
    change: float | None = None
    seconds: float = 0.0
    sentence: str = ""

    @property
    def has_result(self) -> bool:
        """Whether the file of the result exists."""
        return self.state in (DONE, EXISTING)

    def finish(self, written: Written) -> None:
        """Take the outcome of a run that has ended; some planes may have failed."""
        reports = written.report.planes
        changes = [p.quality.change for p in reports if p.quality is not None]
        self.planes = written.outline.planes - written.missing
        self.change = median(changes) if changes else None
        if written.path is None:
            why = written.failures[0][1] if written.failures else ""
            self.state = FAILED
            verb = "is" if written.missing == 1 else "are"
            missing = f"{counted(written.missing, 'plane')} {verb} missing."
            self.sentence = f"{missing} {why}".strip()
        else:
            self.state = DONE
            self.sentence = " ".join(
                [*written.report.messages, written.report.sentence]
            )

    def cells(self) -> tuple[str, ...]:
        """Texts of the columns."""
        changed = "none" if self.state == DONE else ""
        return (
            self.image.name,
            self.state,
            str(self.planes or ""),
            changed if self.change is None else f"{100 * self.change:.2g} %",
            duration_text(self.seconds) if self.seconds >= SHORTEST_S else "",
        )


class BatchTable(QTableWidget):
    """Table of the images of a batch.

    `itemSelectionChanged` is also emitted when the selected row changes.
    """

    def __init__(self) -> None:
        super().__init__(0, len(COLUMNS))
        self.rows: list[BatchRow] = []
        self.setAccessibleName("Images and their results")
        self.setHorizontalHeaderLabels(COLUMNS)
        self.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        self.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.setTextElideMode(Qt.TextElideMode.ElideMiddle)
        self.setShowGrid(False)
        self.setToolTip("Select a row to see its result; double-click opens it.")
        side, head = self.verticalHeader(), self.horizontalHeader()
        assert side is not None
        assert head is not None
        side.hide()
        head.setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
        head.setSectionResizeMode(0, QHeaderView.ResizeMode.Stretch)
        head.setMinimumSectionSize(20)

    def show_rows(self, rows: Sequence[BatchRow]) -> None:
        """Show other rows; the selection stays if it is still within them."""
        current = self.currentRow()
        self.rows = list(rows)
        self.setRowCount(len(self.rows))
        for row in self.rows:
            self.update_row(row)
        if not 0 <= current < len(self.rows):
            self.clearSelection()
        self.itemSelectionChanged.emit()

    def update_row(self, row: BatchRow) -> None:
        """Show the present state of a row."""
        line = self.rows.index(row)
        for column, text in enumerate(row.cells()):
            item = Item(text)
            if column:
                item.setTextAlignment(Qt.AlignmentFlag.AlignCenter)
            item.setToolTip(tooltip(row.sentence or str(row.image.path)))
            self.setItem(line, column, item)
        if row is self.selected:
            self.itemSelectionChanged.emit()

    @property
    def selected(self) -> BatchRow | None:
        """The selected row."""
        lines = {index.row() for index in self.selectedIndexes()}
        return self.rows[lines.pop()] if lines else None

    def sizeHint(self) -> QSize:
        """Some lines high; the user may enlarge it."""
        high = LINES_HIGH * (self.fontMetrics().height() + 8)
        return QSize(super().sizeHint().width(), high)

    def minimumSizeHint(self) -> QSize:
        """As narrow as the dock."""
        return QSize(0, self.sizeHint().height() // 2)


def batch_sentence(rows: Sequence[BatchRow], folder: Path) -> str:
    """Sentence on the outcome of a batch."""
    counts = Counter(row.state for row in rows)
    images = "image" if len(rows) == 1 else "images"
    verb = "is" if counts[DONE] == 1 else "are"
    parts = [f"{counts[DONE]} of {len(rows)} {images} {verb} enlarged"]
    if counts[EXISTING]:
        parts.append(f"{counts[EXISTING]} already had a result")
    failed = [row for row in rows if row.state == FAILED]
    if failed:
        name, why = failed[0].image.name, failed[0].sentence.removesuffix(".")
        why = why if name in why else f"{name}: {why}"
        parts.append(f"{len(failed)} failed ({why})")
    left = counts[STOPPED] + counts[WAITING]
    end = f" {left} left; press Run to continue." if left else ""
    return f"{', '.join(parts)}. Results are in {folder}.{end}"


class FileJob:
    """Enlargement of one image of a batch."""

    clock: Clock | None = None
    expected: Work | None = None

    def __init__(self, row: BatchRow, order: Order) -> None:
        self.row = row
        self.name = row.image.name
        self._order = order

    def steps(self) -> Steps[Written]:
        """Read the image and enlarge it, in the worker thread."""
        from napari_zssr.execution.run import upscale_to_disk_steps

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
        factor_z = axial_factor(order.config, stack)
        work = assumed_work(order.config, starts, shape, stack.axes, factor_z)
        self.clock = Clock(work, dict(zip(stack.axes, shape, strict=True)))
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
    busy : callable, optional
        Says why no run may start now; empty where one may.
    on_run : callable, optional
        Called when a run has begun and when it has ended.
    """

    def __init__(
        self,
        napari_viewer: Viewer,
        *,
        busy: Callable[[], str] = lambda: "",
        on_run: Callable[[], object] = lambda: None,
    ) -> None:
        self._viewer = napari_viewer
        self._busy = busy
        self._on_run = on_run
        self._folder = Path()
        self.form = BatchForm()
        self.table = BatchTable()
        self.controls = RunFields()
        self.controls.run.tooltip = (
            "Enlarges the images one after the other, each to a file of its own. "
            "Images that already have a result are skipped."
        )
        self.controls.cancel.tooltip = (
            "Stops after the current step. Finished parts are kept; press Run to "
            "continue."
        )
        self.open = PushButton(
            text="Open",
            tooltip="Adds the result of the selected row as a layer, which reads from "
            "the file as needed.",
        )
        self.message = text_label()
        super().__init__(widgets=[self.controls], labels=False)
        self.margins = (0, 0, 0, 0)
        layout = self.native.layout()
        layout.insertWidget(0, Scrolled(Column([self.form])), 2)
        layout.insertWidget(1, self.table, 1)
        self._below = Column([self.message, SideBySide([self.open])])
        layout.insertWidget(2, self._below.native)
        self._later = after_pause(self.native, UPDATE_MS, self.refresh)
        self._run = RunController(
            native=self.native,
            controls=self.controls,
            on_event=self._on_event,
            on_result=self._on_result,
            on_error=self._on_error,
            on_job_end=self._on_job_end,
            on_end=self._on_end,
            noun="file",
        )
        self.controls.run.changed.connect(self.start)
        self.open.changed.connect(self.open_selected)
        self.table.itemSelectionChanged.connect(self._show_selected)
        self.table.itemDoubleClicked.connect(lambda _: self.open_selected())
        self.form.changed.connect(self._refresh_later)
        self.refresh()

    @property
    def running(self) -> bool:
        """Whether files are being enlarged."""
        return self._run.running

    def cancel(self) -> None:
        """Stop after the current step."""
        self._run.cancel()

    def start(self) -> None:
        """Enlarge the images of the form."""
        if self._run.running:
            return
        try:
            order = self.form.order()
            self._check_free()
            with storage_errors(order.folder, "nothing was started"):
                order.folder.mkdir(parents=True, exist_ok=True)
        except ZSSRError as error:
            self.controls.show_reason(str(error))
            return
        self._folder = order.folder
        rows = _rows(order)
        self.table.show_rows(rows)
        waiting = [row for row in rows if row.state == WAITING]
        jobs = (self._new_job(row, order) for row in waiting)
        self._run.start(jobs, [1.0] * len(waiting))
        self._on_run()

    def refresh(self) -> None:
        """Read the form again: which images, and whether it can run."""
        if self._run.running:
            return
        try:
            order = self.form.order()
            self._check_free()
            message = start_message_for_files(order.config)
        except InputError as error:
            rows, message, reason = [], "", str(error)
        else:
            # Rows that the form still asks for keep their outcome.
            known = {(row.image, row.target): row for row in self.table.rows}
            rows = [known.get((r.image, r.target), r) for r in _rows(order)]
            reason = ""
        self.controls.run.enabled = not reason
        self.table.show_rows(rows)
        self.controls.show_reason(reason)
        self.form.method.advanced.show_start(message, has_training=True)

    def open_selected(self) -> None:
        """Add the result of the selected row to the viewer."""
        row = self.table.selected
        if row is None or not row.has_result:
            return
        try:
            layers = lazy_layers(row.target)
        except InputError as error:
            show_error(str(error))
            return
        for data, attributes, _ in layers:
            layer = self._viewer.add_image(data, **attributes)
            layer.metadata[KEY] = {"file": str(row.target)}

    def _check_free(self) -> None:
        """InputError where no run may start now."""
        if reason := self._busy():
            raise InputError(reason)

    def _new_job(self, row: BatchRow, order: Order) -> FileJob:
        row.state = RUNNING
        self.table.update_row(row)
        return FileJob(row, order)

    def _on_event(self, job: FileJob, event: Event) -> None:
        if isinstance(event, PlaneDone):
            job.row.planes = event.done
        job.row.seconds = self._run.elapsed
        self.table.update_row(job.row)

    def _on_result(self, job: FileJob, written: Written) -> str:
        job.row.finish(written)
        outcome = "enlarged" if job.row.state == DONE else "incomplete"
        return f"{job.name} is {outcome}, {duration_text(self._run.elapsed)}"

    def _on_error(self, job: FileJob, error: ZSSRError) -> None:
        job.row.state, job.row.sentence = FAILED, form_sentence(str(error))
        if isinstance(error, StorageError):
            # The disk is full for the next image too.
            self._run.drop_waiting()

    def _on_job_end(self, job: FileJob) -> None:
        row = job.row
        row.seconds = self._run.elapsed
        if row.state == RUNNING:
            row.state = STOPPED
            row.sentence = "What is finished is kept; press Run to continue."
        self.table.update_row(row)

    def _on_end(self) -> None:
        rows = self.table.rows
        failed = any(row.state == FAILED for row in rows)
        text = batch_sentence(rows, self._folder)
        self.controls.show_message(
            Message(text, sign=PROBLEM) if failed else Message(text)
        )
        self.refresh()
        self._show_selected()
        self._on_run()

    def _show_selected(self) -> None:
        row = self.table.selected
        self.open.enabled = row is not None and row.has_result
        set_text(self.message, "" if row is None else html.escape(row.sentence))

    def _refresh_later(self, *_: Any) -> None:
        self._later.start()


def _rows(order: Order) -> list[BatchRow]:
    """A row for each image; existing results are not waiting to be computed."""
    rows = [BatchRow(image=image, target=target) for image, target in order.pairs]
    for row in rows:
        if os.path.exists(row.target) and not order.overwrite:
            row.state = EXISTING
            row.sentence = f"{row.target.name} exists already."
    return rows
