"""The blur as a picture, with its size and a sentence."""

from __future__ import annotations

import html
from typing import Any

import numpy as np
from numpy.typing import NDArray
from qtpy.QtCore import QRectF, QSize, Qt
from qtpy.QtGui import QImage, QPainter, QPaintEvent, QPalette, QPen
from qtpy.QtWidgets import QHBoxLayout, QSizePolicy, QWidget

from napari_zssr.imaging.kernel import FineKernel
from napari_zssr.plugin._kernel_words import lines, picture
from napari_zssr.plugin._rows import Column, say, words

LINES_HIGH = 5
MARGINS = (4, 2, 0, 2)
TIP = (
    "How one point is spread over the pixels of the result: the brighter, the more of "
    "its light. FWHM is its full width at half maximum, in pixels of the result (px). "
    "It is narrower than a point in your image, since the result, too, is seen through "
    "your microscope."
)
FAINT = 0.35
BRIGHTEST = 255


class KernelView(Column):
    """What the chosen blur looks like, and how far to trust it."""

    def __init__(self) -> None:
        self.picture = KernelPicture()
        self.size, self.sentence = words(), words()
        super().__init__([self.size, self.sentence])
        self._beside = QWidget()
        self._beside.setToolTip(TIP)
        layout = QHBoxLayout(self._beside)
        layout.setContentsMargins(*MARGINS)
        layout.addWidget(self.picture)
        layout.addWidget(self.size.native, 1)
        self.native.layout().insertWidget(0, self._beside)
        self.clear()

    def clear(self, sentence: str = "") -> None:
        """Show no picture, and say why."""
        self._beside.setVisible(False)
        say(self.sentence, html.escape(sentence))

    def show_kernel(self, kernel: FineKernel) -> None:
        """Show a blur."""
        self.picture.show_weights(picture(kernel))
        self.size.value = "<br>".join(map(html.escape, lines(kernel)))
        self._beside.setVisible(True)
        say(self.sentence, html.escape(kernel.sentence))


class KernelPicture(QWidget):
    """Weights as grey squares, the strongest white, in a frame."""

    def __init__(self) -> None:
        super().__init__()
        self.grey: NDArray[np.uint8] = np.zeros((1, 1), np.uint8)
        self.setSizePolicy(QSizePolicy.Policy.Fixed, QSizePolicy.Policy.Fixed)

    def sizeHint(self) -> QSize:
        """Let it follow the size of the font."""
        side = LINES_HIGH * self.fontMetrics().height()
        return QSize(side, side)

    def show_weights(self, weights: NDArray[Any]) -> None:
        """Show weights (Y, X); negative ones are black."""
        share = np.clip(weights / weights.max(), 0, 1)
        self.grey = np.ascontiguousarray(np.round(BRIGHTEST * share).astype(np.uint8))
        self.update()

    def paintEvent(self, event: QPaintEvent | None) -> None:
        """Draw the squares, without smoothing, as large as they fit."""
        height, width = self.grey.shape
        side = min(self.width(), self.height()) - 2
        large = max(height, width)
        drawn = QRectF(0, 0, side * width / large, side * height / large)
        drawn.moveCenter(QRectF(self.rect()).center())
        picture = QImage(
            self.grey.tobytes(), width, height, width, QImage.Format.Format_Grayscale8
        )
        painter = QPainter(self)
        painter.drawImage(drawn, picture)
        frame = self.palette().color(QPalette.ColorRole.WindowText)
        frame.setAlphaF(FAINT)
        painter.setPen(QPen(frame, 1.0))
        painter.setBrush(Qt.BrushStyle.NoBrush)
        painter.drawRect(drawn)
        painter.end()
