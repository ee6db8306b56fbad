"""A small plot of lines in the colours of napari's theme."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from qtpy.QtCore import QPointF, QRectF, QSize, Qt
from qtpy.QtGui import QColor, QPainter, QPaintEvent, QPalette, QPen, QPolygonF
from qtpy.QtWidgets import QSizePolicy, QWidget

# Of Okabe and Ito, told apart with any colour vision; for dark and light themes.
COLOURS = {"dark": ("#56b4e9", "#f0a830"), "light": ("#0072b2", "#c75000")}
LINES_HIGH, GAP, TICK, WIDTH, UNDER, FAINT = 11, 5.0, 4.0, 1.6, 1.9, 0.35
MOST_TICKS = 5
# Decades that a logarithmic axis shows at most.
MOST_DECADES = 8.0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Curve:
    """A line with its name; `colour` is 0 for what was, 1 for what became of it."""

    name: str
    x: NDArray[np.floating]
    y: NDArray[np.floating]
    colour: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Style:
    """How a plot looks; `level` is a horizontal line and its name.

    With `periods` ticks along x are periods, where x are frequencies.
    """

    title: str
    y: str
    log: bool = False
    periods: bool = False
    level: tuple[float, str] | None = None


def round_ticks(low: float, high: float, most: int = MOST_TICKS) -> list[float]:
    """Round numbers in a range, 1, 2 or 5 times a power of ten apart."""
    if not high > low:
        return [low]
    rough = (high - low) / most
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(n * power for n in (1, 2, 5, 10) if n * power >= rough * (1 - 1e-9))
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [n * step for n in range(first, last + 1)]


def period_ticks(high: float) -> list[float]:
    """Frequencies up to `high` whose periods are round, the finest first."""
    power = 10.0 ** math.floor(math.log10(1 / high))
    periods = [n * power * 10**k for k in range(3) for n in (1, 1.5, 2, 3, 5)]
    return [1 / period for period in periods if period >= (1 - 1e-9) / high]


class Plot(QWidget):
    """Lines over axes with ticks and a legend, or a sentence instead of them."""

    def __init__(self, style: Style, tooltip: str) -> None:
        super().__init__()
        self.style_of_plot = style
        self.curves: tuple[Curve, ...] = ()
        self.text = ""
        self._x = ""
        self.setToolTip(tooltip)
        self.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)

    def show_curves(self, curves: Sequence[Curve], x: str, text: str = "") -> None:
        """Show lines; `x` names their axis, `text` stands beside them, or instead."""
        self.curves, self._x, self.text = tuple(curves), x, text
        self.update()

    def sizeHint(self) -> QSize:
        """Let the height follow the size of the font."""
        return QSize(200, LINES_HIGH * self.fontMetrics().height())

    def ranges(self) -> tuple[float, float, float, float]:
        """Least and largest x and y that are shown, y as drawn."""
        x = np.concatenate([curve.x for curve in self.curves])
        y = np.concatenate([self._drawn(curve.y) for curve in self.curves])
        known = y[np.isfinite(y)] if np.isfinite(y).any() else np.zeros(1)
        low, high = float(known.min()), float(known.max())
        if self.style_of_plot.log:
            low = max(low, high - MOST_DECADES)
        if self.style_of_plot.level is not None:
            low, high = min(low, 0.0), max(high, 1.0)
        margin = 0.04 * (high - low) or 1.0
        start = 0.0 if self.style_of_plot.periods else float(x.min())
        return start, max(float(x.max()), start + 1e-12), low - margin, high + margin

    def _drawn(self, y: NDArray[np.floating]) -> NDArray[np.floating]:
        if not self.style_of_plot.log:
            return y
        return np.log10(np.where(y > 0, y, np.nan))

    def paintEvent(self, event: QPaintEvent | None) -> None:
        """Draw title, legend, axes and lines."""
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        ink = self.palette().color(QPalette.ColorRole.WindowText)
        painter.setPen(ink)
        line = self.fontMetrics().height()
        whole = QRectF(self.rect())
        bold = painter.font()
        bold.setBold(True)
        plain = painter.font()
        painter.setFont(bold)
        top, left = Qt.AlignmentFlag.AlignTop, Qt.AlignmentFlag.AlignLeft
        painter.drawText(whole, int(top | left), self.style_of_plot.title)
        painter.setFont(plain)
        if not self.curves:
            below = whole.adjusted(0, line + GAP, 0, 0)
            flags = int(top | left) | int(Qt.TextFlag.TextWordWrap)
            painter.drawText(below, flags, self.text)
        else:
            frame = self._frame(line)
            self._paint_legend(painter, line)
            self._paint_axes(painter, frame, line)
            self._paint_level(painter, frame)
            self._paint_curves(painter, frame)
        painter.end()

    def _colour(self, number: int) -> QColor:
        window = self.palette().color(QPalette.ColorRole.Window)
        theme = "dark" if window.lightness() < 128 else "light"
        return QColor(COLOURS[theme][number])

    def _paint_legend(self, painter: QPainter, line: int) -> None:
        """Draw the names of the lines in the upper right corner."""
        ink, x, y = painter.pen(), float(self.width()), 0.6 * line
        for curve in reversed(self.curves):
            x -= self.fontMetrics().horizontalAdvance(curve.name)
            painter.drawText(QPointF(x, y + 0.35 * line), curve.name)
            x -= GAP
            painter.setPen(QPen(self._colour(curve.colour), 2 * WIDTH))
            painter.drawLine(QPointF(x - line, y), QPointF(x, y))
            painter.setPen(ink)
            x -= line + 2 * GAP

    def _y_ticks(self, low: float, high: float) -> list[tuple[float, str]]:
        """Ticks along y, as drawn, with their names."""
        if not self.style_of_plot.log:
            return [(t, f"{t:.4g}") for t in round_ticks(low, high, 4)]
        step = max(1, math.ceil((high - low) / 4))
        powers = range(math.ceil(low), math.floor(high) + 1, step)
        return [(float(power), f"1e{power}" if power else "1") for power in powers]

    def _x_ticks(self, low: float, high: float) -> list[tuple[float, str]]:
        if self.style_of_plot.periods:
            return [(t, f"{1 / t:.3g}") for t in period_ticks(high)]
        return [(t, f"{t:.4g}") for t in round_ticks(low, high)]

    def _frame(self, line: int) -> _Frame:
        """Where the axes stand, beside the widest name of a tick."""
        x0, x1, y0, y1 = self.ranges()
        widths = self.fontMetrics().horizontalAdvance
        widest = max(widths(name) for _, name in [*self._y_ticks(y0, y1), (0.0, "0")])
        whole = QRectF(self.rect())
        left, right = widest + TICK + GAP, widths("0.00") / 2
        box = whole.adjusted(left, 2.3 * line + GAP, -right, -2.4 * line)
        return _Frame(box=box, x=(x0, x1), y=(y0, y1))

    def _paint_axes(self, painter: QPainter, frame: _Frame, line: int) -> None:
        ink, faint = painter.pen().color(), painter.pen().color()
        faint.setAlphaF(FAINT)
        box, centred = frame.box, int(Qt.AlignmentFlag.AlignCenter)
        right = int(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
        painter.drawText(QPointF(0, 2 * line), self.style_of_plot.y)
        under = QRectF(0, box.bottom() + 1.1 * line, self.width(), 1.3 * line)
        painter.drawText(under, centred, self._x)
        for value, name in self._y_ticks(*frame.y):
            y = frame.at(0, value).y()
            painter.setPen(QPen(faint, 0.7))
            painter.drawLine(QPointF(box.left() - TICK, y), QPointF(box.right(), y))
            painter.setPen(ink)
            room = QRectF(0, y - line / 2, box.left() - TICK - GAP / 2, line)
            painter.drawText(room, right, name)
        for x, name, room in self._placed(frame, line):
            painter.drawLine(QPointF(x, box.bottom()), QPointF(x, box.bottom() + TICK))
            painter.drawText(room, centred, name)
        painter.setPen(QPen(faint, 1.0))
        painter.drawLine(box.bottomLeft(), box.bottomRight())
        painter.drawLine(box.topLeft(), box.bottomLeft())
        painter.setPen(ink)

    def _placed(self, frame: _Frame, line: int) -> list[tuple[float, str, QRectF]]:
        """Ticks along x, as many from the right as have room for their names."""
        placed, free = [], float(self.width())
        for value, name in sorted(self._x_ticks(*frame.x), reverse=True):
            x = frame.at(value, 0).x()
            half = self.fontMetrics().horizontalAdvance(name) / 2 + 1
            if x + half <= free and x >= frame.box.left() - 0.5:
                free = x - half - GAP
                top = frame.box.bottom() + TICK / 2
                placed.append((x, name, QRectF(x - half, top, 2 * half, line)))
        return placed

    def _paint_level(self, painter: QPainter, frame: _Frame) -> None:
        if self.style_of_plot.level is None:
            return
        ink = painter.pen()
        value, name = self.style_of_plot.level
        start, end = frame.at(frame.x[0], value), frame.at(frame.x[1], value)
        painter.setPen(QPen(ink.color(), 1.0, Qt.PenStyle.DashLine))
        painter.drawLine(start, end)
        painter.setPen(ink)
        painter.drawText(QPointF(start.x() + GAP, start.y() - 3), name)

    def _paint_curves(self, painter: QPainter, frame: _Frame) -> None:
        flags = Qt.AlignmentFlag.AlignVCenter | Qt.AlignmentFlag.AlignHCenter
        inside = frame.box.adjusted(GAP, 0, -GAP, 0)
        wrapped = int(flags) | int(Qt.TextFlag.TextWordWrap)
        painter.drawText(inside, wrapped, self.text)
        painter.setClipRect(frame.box)
        for curve in self.curves:
            # One line upon another: the lower one is wider.
            width = WIDTH * (1 if curve.colour else UNDER)
            painter.setPen(QPen(self._colour(curve.colour), width))
            points = [
                frame.at(float(x), float(y))
                for x, y in zip(curve.x, self._drawn(curve.y), strict=True)
                if math.isfinite(y)
            ]
            painter.drawPolyline(QPolygonF(points))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Frame:
    """The axes on the screen, and the range that each of them shows."""

    box: QRectF
    x: tuple[float, float]
    y: tuple[float, float]

    def at(self, x: float, y: float) -> QPointF:
        """Where a point is drawn."""
        across = (x - self.x[0]) / (self.x[1] - self.x[0])
        up = (y - self.y[0]) / (self.y[1] - self.y[0])
        return QPointF(
            self.box.left() + across * self.box.width(),
            self.box.bottom() - up * self.box.height(),
        )
