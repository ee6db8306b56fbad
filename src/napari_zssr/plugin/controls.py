"""The run controls: Run and Cancel, progress, loss curve and messages."""

from __future__ import annotations

import html
import math

from magicgui.widgets import ProgressBar, PushButton
from qtpy.QtCore import QPointF, QRectF, QSize, Qt
from qtpy.QtGui import QPainter, QPaintEvent, QPalette, QPen, QPolygonF
from qtpy.QtWidgets import QSizePolicy, QWidget

from napari_zssr.plugin.form.rows import Column, red, say, side_by_side, words
from napari_zssr.progress import ALONG_Z, SHARED, Event, PlaneDone, Progress
from napari_zssr.words import duration_text
from napari_zssr.zssr.cost import Passes, Work, total

# Of the loss curve: text lines high, pixels of margin and line width.
LINES_HIGH = 5
MARGIN = 3.0
WIDTH = 1.6
# The loss of single batches scatters; the curve is an exponential moving average.
SMOOTHING = 0.3
FAINT = 0.35
# Steps of the progress bar, and messages that stay visible.
RESOLUTION = 100
MOST_LINES = 4


class LossCurve(QWidget):
    """Plot of the training loss in the colours of the theme.

    `lines` are smoothed log10 losses by training step, one for each training.
    """

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[list[tuple[float, float]]] = []
        self._offset = 0.0
        self.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        self.setToolTip(
            "How far the network is from the image it learns on; logarithmic. It falls "
            "quickly at first. A curve that has become flat has learned what there is "
            "to learn."
        )

    def clear(self) -> None:
        """Remove the curve."""
        self.lines.clear()
        self._offset = 0.0
        self.update()

    def add(self, step: int, loss: float) -> None:
        """Draw a loss; a step that is not beyond the last one starts a new line."""
        if not (math.isfinite(loss) and loss > 0):
            return
        last = self.lines[-1][-1][0] if self.lines else 0.0
        if self._offset + step <= last or not self.lines:
            self._offset = last
            self.lines.append([])
        value = math.log10(loss)
        line = self.lines[-1]
        if line:
            value = line[-1][1] + SMOOTHING * (value - line[-1][1])
        line.append((self._offset + step, value))
        self.update()

    def scaled(self) -> list[list[tuple[float, float]]]:
        """The lines in a unit square, y downwards."""
        points = [point for line in self.lines for point in line]
        if not points:
            return []
        last = max(x for x, _ in points)
        low, high = min(y for _, y in points), max(y for _, y in points)
        span = max(high - low, 0.05)
        return [[(x / last, (high - y) / span) for x, y in line] for line in self.lines]

    def latest(self) -> float | None:
        """The last smoothed loss."""
        return 10 ** self.lines[-1][-1][1] if self.lines else None

    def sizeHint(self) -> QSize:
        """Let the height follow the size of the font."""
        return QSize(200, LINES_HIGH * self.fontMetrics().height())

    def paintEvent(self, event: QPaintEvent | None) -> None:
        """Draw axes, curve and latest loss."""
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        ink = self.palette().color(QPalette.ColorRole.WindowText)
        faint = self.palette().color(QPalette.ColorRole.WindowText)
        faint.setAlphaF(FAINT)
        area = QRectF(self.rect()).adjusted(MARGIN, MARGIN, -MARGIN, -MARGIN)
        painter.setPen(QPen(faint, 1.0))
        painter.drawLine(area.bottomLeft(), area.bottomRight())
        painter.drawLine(area.topLeft(), area.bottomLeft())
        painter.setPen(QPen(ink, WIDTH))
        latest = self.latest()
        text = "loss" if latest is None else f"loss {latest:.2g}"
        corner = Qt.AlignmentFlag.AlignTop | Qt.AlignmentFlag.AlignRight
        painter.drawText(area, int(corner), text)
        area.setTop(area.top() + self.fontMetrics().height())
        left, top, width, height = area.getRect()
        for line in self.scaled():
            points = [QPointF(left + x * width, top + y * height) for x, y in line]
            painter.drawPolyline(QPolygonF(points))
        painter.end()


class RunFields(Column):
    """Run, Cancel, progress and messages; always visible below the form."""

    def __init__(self) -> None:
        self.run = PushButton(
            text="Run",
            tooltip="Learns from the image alone and adds the enlarged layer. The "
            "window stays usable meanwhile.",
        )
        self.cancel = PushButton(
            text="Cancel",
            tooltip="Stops after the step that is being done. Slices that are finished "
            "can be kept.",
        )
        self._reason = words()
        self._bar = ProgressBar(
            min=0, max=RESOLUTION, tooltip="How much of the run is done."
        )
        self._status = words()
        self.loss = LossCurve()
        self.question = Question()
        self._after = words()
        self._lines: list[str] = []
        buttons = side_by_side(self.run, self.cancel)
        texts = [self._status, self._after, self.question]
        super().__init__([self._reason, buttons, self._bar, *texts])
        self.native.layout().insertWidget(4, self.loss)
        self.show_idle()

    def show_reason(self, reason: str) -> None:
        """Show why Run is disabled; an empty text hides the line."""
        say(self._reason, html.escape(reason))

    def show_running(self, name: str) -> None:
        """Show that a run has started."""
        self.run.enabled, self.cancel.enabled = False, True
        self._bar.visible = self._status.visible = True
        self.loss.clear()
        self.loss.setVisible(True)
        self.show_progress(0.0, f"Starting with {name}")

    def show_stopping(self) -> None:
        """Show that the run is being cancelled."""
        self.cancel.enabled = False
        self._status.value = "Stopping after this step"

    def show_idle(self) -> None:
        """Show that no run is active."""
        self.cancel.enabled = False
        self._bar.visible = self._status.visible = False
        self.loss.setVisible(False)
        self._after.visible = bool(self._lines)

    def show_progress(self, share: float, line: str) -> None:
        """Show the completed fraction of the run and a status line."""
        self._bar.value = int(RESOLUTION * share)
        self._status.value = html.escape(line)

    def clear(self) -> None:
        """Remove the messages of earlier runs."""
        self._lines.clear()
        self._after.visible = False
        self.question.visible = False

    def add_line(self, line: str, problem: bool = False) -> None:
        """Add a message on the outcome of a run."""
        text = html.escape(line)
        self._lines.append(red(text, self._after) if problem else text)
        self._after.value = "<br>".join(self._lines[-MOST_LINES:])
        self._after.visible = True


class Question(Column):
    """Asks whether to keep the finished slices of a run that was cancelled."""

    def __init__(self) -> None:
        self.keep = PushButton(
            text="Keep them", tooltip="Leaves the finished slices in their layer."
        )
        self.discard = PushButton(
            text="Discard them", tooltip="Takes the layer of finished slices away."
        )
        super().__init__([side_by_side(self.keep, self.discard)])
        self.visible = False


class AfterFields(Column):
    """Buttons that reuse the settings and the trained networks."""

    def __init__(self) -> None:
        self.python = PushButton(
            text="Copy as Python",
            tooltip="Copies lines that do the same in napari's console.",
        )
        self.command = PushButton(
            text="Copy as command",
            tooltip="Copies a line that does the same in a terminal, for the file that "
            "the layer was read from.",
        )
        self.again = PushButton(
            text="Run again like this layer",
            tooltip="Sets the form as it was for the result that is selected in the "
            "layer list.",
        )
        self.networks = PushButton(
            text="Save networks...",
            tooltip="Saves the networks of the run that finished last, so that a "
            "sister image can start from them (Advanced, Start from).",
            enabled=False,
        )
        super().__init__([self.again, self.python, self.command, self.networks])


EARLIEST_S = 3.0
# Stages that do not count towards the completed fraction.
BEFORE = ("read", "plan", "learn")
STAGES = {
    "read": "reading the layer",
    "plan": "looking at the image and the device",
    "learn": "learning what slices have in common",
    "pairs": "cutting examples from the image",
    "fit": "fitting",
    "train": "training",
    "check": "checking parts of the result",
    "predict": "enlarging",
    "shared read": "looking at several slices",
    "shared pairs": "cutting examples from several slices",
    "shared train": "training on several slices",
    "shared predict": "enlarging parts of several slices",
    "shared check": "checking parts of several slices",
    "planes": "enlarging slices",
    "compare": "comparing with the original",
    "report": "writing the report",
    f"{ALONG_Z}pairs": "cutting examples from slices, for Z",
    f"{ALONG_Z}train": "training along Z",
    f"{ALONG_Z}fit": "fitting along Z",
    f"{ALONG_Z}predict": "enlarging parts along Z",
    f"{ALONG_Z}columns": "enlarging along Z",
}


class Clock:
    """Share of a run that is done, by its expected work."""

    def __init__(self, work: Work) -> None:
        self._planes = work.planes
        self._plane, self._shared, self._axial = work.plane, work.shared, work.axial
        every = (*self._plane, *self._shared, *self._axial)
        self._done = dict.fromkeys(every, 0)
        self._last: tuple[int, str, int] = (0, "", 0)
        self.share = 0.0
        self._share_at_start: float | None = None

    @property
    def of_rest(self) -> float:
        """Share that is done of what was left when the run began or went on."""
        start = self._share_at_start or 0.0
        return (self.share - start) / (1 - start) if start < 1 else 1.0

    def tell(self, event: Progress) -> float:
        """Take in an event; returns the share of the run that is done, 0..1."""
        if event.stage in BEFORE:
            return self.share
        plane, stage, step = self._last
        if event.plane != plane:
            self._done |= dict.fromkeys(self._plane, 0)
        elif stage in self._done and (event.stage != stage or event.step < step):
            self._done[stage] += 1
        self._last = (event.plane, event.stage, event.step)
        # It never goes back: training may end early, and planes differ.
        self.share = max(self.share, self._share(event))
        if self._share_at_start is None:
            self._share_at_start = self.share
        return self.share

    def _share(self, event: Progress) -> float:
        once, plane = total(self._shared), total(self._plane)
        planes = self._planes if self._axial else event.planes
        if event.stage.startswith(SHARED):
            done = self._spent(self._shared, event)
        elif event.stage.startswith(ALONG_Z):
            done = once + planes * plane + self._spent(self._axial, event)
        else:
            done = once + event.plane * plane + self._spent(self._plane, event)
        whole = once + planes * plane + total(self._axial)
        return min(1.0, done / whole) if whole else 0.0

    def _spent(self, passes: Passes, event: Progress) -> float:
        done = sum(
            each * min(self._done[stage], count)
            for stage, (each, count) in passes.items()
        )
        running, _ = passes.get(event.stage, (0.0, 0))
        return min(total(passes), done + running * event.step / max(1, event.total))


def seconds_left(
    share: float, elapsed: float, told: float | None = None
) -> float | None:
    """Remaining time in seconds; None while it is too early to estimate.

    What was `told` before counts less and less, and from half of the run on no more.
    """
    if share < 0.02 or elapsed < EARLIEST_S:
        return None
    seconds = elapsed / share
    if told is not None:
        trust = min(1.0, 2 * share)
        seconds = trust * seconds + (1 - trust) * told
    return max(0.0, seconds - elapsed)


class Pace:
    """Remaining time of a run by the slices that are done, once there are any.

    What a slice was foretold to take counts as much as one slice.
    """

    def __init__(self, told: Work | None = None) -> None:
        self._told = None if told is None else total(told.plane)
        self._began = 0.0
        self._done = self._planes = 0
        self._elapsed = 0.0

    def note(self, event: Event, elapsed: float) -> None:
        """Take in an event, so many seconds after the run began."""
        if isinstance(event, PlaneDone):
            self._done += 1
            self._elapsed, self._planes = elapsed, event.planes - event.done
        elif isinstance(event, Progress) and event.stage.startswith(SHARED):
            self._began = elapsed

    def left(self, elapsed: float) -> float | None:
        """Seconds that the slices left will take; None before one is done."""
        if not self._done or not self._planes:
            return None
        seconds, slices = self._elapsed - self._began, self._done
        if self._told is not None:
            seconds, slices = seconds + self._told, slices + 1
        each = seconds / slices
        return max(0.0, each * self._planes - (elapsed - self._elapsed))


def status(event: Progress, left: float | None) -> str:
    """Status line: plane, stage, percentage and remaining time."""
    stage = STAGES.get(event.stage, event.stage)
    line = stage[:1].upper() + stage[1:]
    if event.planes > 1 and not event.stage.startswith(SHARED):
        line = f"Slice {event.plane + 1} of {event.planes}: {stage}"
    if event.total > 1:
        line += f", {100 * event.step // event.total} %"
    return line if left is None else f"{line}; about {duration_text(left)} left"
