"""Noticing that a widget is taken out of the window."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from qtpy.QtCore import QEvent, QObject


class Leaving(QObject):
    """Tells when a widget is taken out of the window."""

    def __init__(self, widget: Any, on_leaving: Callable[[], object]) -> None:
        super().__init__(widget)
        self._on_leaving = on_leaving
        widget.installEventFilter(self)

    def eventFilter(self, watched: Any, event: Any) -> bool:
        """Look at an event and let it pass."""
        left = event.type() == QEvent.Type.ParentChange and watched.parent() is None
        if left:
            self._on_leaving()
        return False
