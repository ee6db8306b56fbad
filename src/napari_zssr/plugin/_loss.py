"""The loss of a training as a small live curve."""

from __future__ import annotations

import math

from qtpy.QtCore import QPointF, QRectF, QSize, Qt
from qtpy.QtGui import QFontMetricsF, QPainter, QPaintEvent, QPalette, QPen, QPolygonF
from qtpy.QtWidgets import QSizePolicy, QWidget

LINES_HIGH = 5
MARGIN = 3.0
WIDTH = 1.6
# The loss of single batches scatters; what is drawn is a running mean.
SMOOTHING = 0.3
FAINT = 0.35

Point = tuple[float, float]


class Curve:
    """Losses in the order of their steps; a new training begins a new line."""

    def __init__(self) -> None:
        self.lines: list[list[Point]] = []
        self._offset = 0.0

    def clear(self) -> None:
        """Forget everything."""
        self.lines.clear()
        self._offset = 0.0

    def add(self, step: int, loss: float) -> None:
        """Take in a loss; a step that is not beyond the last begins a new line."""
        if not (math.isfinite(loss) and loss > 0):
            return
        if not self.lines or self._offset + step <= self.lines[-1][-1][0]:
            self._offset = self.lines[-1][-1][0] if self.lines else 0.0
            self.lines.append([])
        value = math.log10(loss)
        line = self.lines[-1]
        if line:
            value = line[-1][1] + SMOOTHING * (value - line[-1][1])
        line.append((self._offset + step, value))

    def scaled(self) -> list[list[Point]]:
        """The lines in a unit square, y downwards."""
        points = [point for line in self.lines for point in line]
        if not points:
            return []
        last = max(x for x, _ in points)
        low, high = min(y for _, y in points), max(y for _, y in points)
        span = max(high - low, 0.05)
        return [[(x / last, (high - y) / span) for x, y in line] for line in self.lines]

    def latest(self) -> float | None:
        """The last loss, as it is drawn."""
        return 10 ** self.lines[-1][-1][1] if self.lines else None


class LossCurve(QWidget):
    """A curve in the colours of the theme, one column wide and a few lines high."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.curve = Curve()
        self.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        self.setToolTip(
            "How far the network is from the image it learns on; logarithmic. It falls "
            "quickly at first. A curve that has become flat has learned what there is "
            "to learn."
        )

    def sizeHint(self) -> QSize:
        """Let the height follow the size of the font."""
        return QSize(200, LINES_HIGH * self.fontMetrics().height())

    def clear(self) -> None:
        """Begin again."""
        self.curve.clear()
        self.update()

    def add(self, step: int, loss: float) -> None:
        """Draw one more loss."""
        self.curve.add(step, loss)
        self.update()

    def paintEvent(self, event: QPaintEvent | None) -> None:
        """Draw axes, lines and the last loss in the palette of the theme."""
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        ink = self.palette().color(QPalette.ColorRole.WindowText)
        faint = self.palette().color(QPalette.ColorRole.WindowText)
        faint.setAlphaF(FAINT)
        room = QRectF(self.rect()).adjusted(MARGIN, MARGIN, -MARGIN, -MARGIN)
        painter.setPen(QPen(faint, 1.0))
        painter.drawLine(room.bottomLeft(), room.bottomRight())
        painter.drawLine(room.topLeft(), room.bottomLeft())
        painter.setPen(QPen(ink, WIDTH))
        self._write(painter, room)
        room.setTop(room.top() + self.fontMetrics().height())
        for line in self.curve.scaled():
            painter.drawPolyline(_polygon(line, room))
        painter.end()

    def _write(self, painter: QPainter, room: QRectF) -> None:
        latest = self.curve.latest()
        text = "loss" if latest is None else f"loss {latest:.2g}"
        width = QFontMetricsF(self.font()).horizontalAdvance(text) + MARGIN
        corner = QRectF(room.right() - width, room.top(), width, room.height())
        flags = Qt.AlignmentFlag.AlignTop | Qt.AlignmentFlag.AlignRight
        painter.drawText(corner, int(flags), text)


def _polygon(line: list[Point], room: QRectF) -> QPolygonF:
    """Points of the unit square moved into a rectangle."""
    return QPolygonF(
        [
            QPointF(room.left() + x * room.width(), room.top() + y * room.height())
            for x, y in line
        ]
    )
