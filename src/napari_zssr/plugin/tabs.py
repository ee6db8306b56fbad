"""Tabs of the dock; a page is built when it is first shown."""

from __future__ import annotations

from collections.abc import Callable

from qtpy.QtWidgets import QTabWidget, QVBoxLayout, QWidget


class Tabs(QTabWidget):
    """Pages beside one another, one of them built later."""

    def __init__(self) -> None:
        super().__init__()
        self._later: dict[int, tuple[QVBoxLayout, Callable[[], QWidget]]] = {}
        self.setDocumentMode(True)
        self.setAccessibleName("Layers or files")
        self.currentChanged.connect(self._build)

    def add(self, title: str, tooltip: str, *parts: tuple[QWidget, int]) -> None:
        """Add a page of widgets below one another, with shares of the height."""
        page, layout = _page()
        for part, share in parts:
            layout.addWidget(part, share)
        self.setTabToolTip(self.addTab(page, title), tooltip)

    def add_later(self, title: str, tooltip: str, build: Callable[[], QWidget]) -> None:
        """Add a page whose widget is built when it is first shown."""
        page, layout = _page()
        index = self.addTab(page, title)
        self.setTabToolTip(index, tooltip)
        self._later[index] = layout, build

    def _build(self, index: int) -> None:
        if index in self._later:
            layout, build = self._later.pop(index)
            layout.addWidget(build())


def _page() -> tuple[QWidget, QVBoxLayout]:
    page = QWidget()
    layout = QVBoxLayout(page)
    layout.setContentsMargins(4, 4, 4, 4)
    layout.setSpacing(4)
    return page, layout
