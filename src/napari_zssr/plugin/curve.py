"""Plot of what the networks gain while they are trained."""

from __future__ import annotations

import math
from dataclasses import dataclass

from qtpy.QtCore import QPointF, QRectF, QSize, Qt
from qtpy.QtGui import QColor, QPainter, QPaintEvent, QPalette, QPen, QPolygonF
from qtpy.QtWidgets import QSizePolicy, QWidget

from napari_zssr.progress import Progress

# Text lines high; pixels of margin, width of the line, radius of a point.
LINES_HIGH = 6
MARGIN = 3.0
WIDTH = 1.6
RADIUS = 2.5
FAINT = 0.35
# Blue of Okabe and Ito, and a lighter one, which the colour-blind see as well.
BLUE = {"dark": "#56b4e9", "light": "#0072b2"}
# Least height of the plot in dB: differences below it are seldom visible.
LEAST_DB = 0.5
LABEL = "Interim gain (dB)"
NOTE = "Checks after training decide whether this is used."


@dataclass(slots=True)
class Point:
    """A gain (dB) that was measured after so many training steps of the run."""

    step: int
    gain: float


class GainCurve(QWidget):
    """Gain over the baseline on held-out regions against training steps.

    `lines` has a line for each network; a network whose gain was measured only at its
    end is a single point.
    """

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[list[Point]] = []
        # Steps of the networks before, and of this one.
        self._before = self._steps = 0
        self._ended = False
        self.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        self.setAccessibleName("Gain while training")
        self.setToolTip(
            "An interim test: parts of your image that are not trained on are made "
            "worse and restored. The gain is how much closer to the original the "
            "network comes than interpolation does (with a factor of 1: than leaving "
            "them as they are). It is measured now and then; each line is one network. "
            "The test after training is stricter: it repeats this with other noise, "
            "and a gain must exceed chance and stand up to checks on the result. "
            "Otherwise the result is interpolated, whatever this curve shows."
        )

    def clear(self) -> None:
        """Remove all lines."""
        self.lines.clear()
        self._before = self._steps = 0
        self._ended = False
        self._redraw()

    def follow(self, event: Progress) -> None:
        """Take in an event; draw its gain, if it has one."""
        trains = event.stage.endswith("train")
        if trains and (event.step < self._steps or self._ended):
            self._before += self._steps
            self._steps, self._ended = 0, False
            self.lines.append([])
        if trains:
            self._steps = event.step
        tuned = trains or not self._ended
        if event.gain_db is None or not (math.isfinite(event.gain_db) and tuned):
            return
        if not self.lines:
            self.lines.append([])
        self._ended = not trains
        line, step = self.lines[-1], self._before + self._steps
        if line and line[-1].step == step:
            # The test after training is the one that counts.
            line.pop()
        line.append(Point(step, event.gain_db))
        self._redraw()

    @property
    def latest(self) -> float | None:
        """The gain that was measured last, in dB."""
        drawn = [line for line in self.lines if line]
        return drawn[-1][-1].gain if drawn else None

    def scaled(self) -> list[list[tuple[float, float]]]:
        """The lines in a unit square, y downwards; it contains 0 dB."""
        points = [point for line in self.lines for point in line]
        if not points:
            return []
        last = max(1, *(point.step for point in points))
        high, span = self._range()
        return [
            [(p.step / last, (high - p.gain) / span) for p in line]
            for line in self.lines
            if line
        ]

    def text(self) -> str:
        """What stands above the plot."""
        latest = self.latest
        return f"{LABEL}: not measured yet" if latest is None else f"{latest:+.2f} dB"

    def _range(self) -> tuple[float, float]:
        """Highest gain of the plot, and its height."""
        gains = [point.gain for line in self.lines for point in line]
        high, low = max(0.0, *gains), min(0.0, *gains)
        span = max(high - low, LEAST_DB)
        return low + span, span

    def _redraw(self) -> None:
        self.setAccessibleDescription(f"{self.text()}. {NOTE}")
        self.update()

    def sizeHint(self) -> QSize:
        """Let the height follow the size of the font."""
        return QSize(200, LINES_HIGH * self.fontMetrics().height())

    def paintEvent(self, event: QPaintEvent | None) -> None:
        """Draw axes, lines, their unit and the latest gain."""
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        ink = self.palette().color(QPalette.ColorRole.WindowText)
        faint = QColor(ink)
        faint.setAlphaF(FAINT)
        area = QRectF(self.rect()).adjusted(MARGIN, MARGIN, -MARGIN, -MARGIN)
        painter.setPen(QPen(ink, WIDTH))
        top = Qt.AlignmentFlag.AlignTop
        if self.lines:
            painter.drawText(area, int(top | Qt.AlignmentFlag.AlignLeft), LABEL)
        painter.drawText(area, int(top | Qt.AlignmentFlag.AlignRight), self.text())
        height = self.fontMetrics().height()
        note = self.fontMetrics().elidedText(
            NOTE, Qt.TextElideMode.ElideRight, int(area.width())
        )
        bottom = Qt.AlignmentFlag.AlignBottom | Qt.AlignmentFlag.AlignLeft
        painter.drawText(area, int(bottom), note)
        area.adjust(0, height + 2 * RADIUS, 0, -height)
        area.adjust(RADIUS, 0, -RADIUS, -RADIUS)
        self._draw_axes(painter, area, faint)
        self._draw_lines(painter, area, ink)
        painter.end()

    def _draw_axes(self, painter: QPainter, area: QRectF, colour: QColor) -> None:
        """Draw the axis of the gain, and a line at 0 dB."""
        painter.setPen(QPen(colour, 1.0))
        painter.drawLine(area.topLeft(), area.bottomLeft())
        high, span = self._range() if self.latest is not None else (1.0, 1.0)
        zero = area.top() + area.height() * high / span
        painter.drawLine(QPointF(area.left(), zero), QPointF(area.right(), zero))

    def _draw_lines(self, painter: QPainter, area: QRectF, ink: QColor) -> None:
        """Draw the lines, and a dot where a gain was measured."""
        colour = QColor(BLUE["dark" if ink.lightness() > 128 else "light"])
        painter.setPen(QPen(colour, WIDTH))
        painter.setBrush(colour)
        left, top, width, height = area.getRect()
        for line in self.scaled():
            points = [QPointF(left + x * width, top + y * height) for x, y in line]
            painter.drawPolyline(QPolygonF(points))
            for point in points:
                painter.drawEllipse(point, RADIUS, RADIUS)
