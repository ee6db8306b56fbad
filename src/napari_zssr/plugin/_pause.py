"""Waiting for a pause of the user before something is done."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from qtpy.QtCore import QTimer


def after_pause(parent: Any, pause_ms: int, act: Callable[[], object]) -> QTimer:
    """Timer that acts once when it has been left alone; each start begins anew.

    Parameters
    ----------
    parent : QObject
        What the timer lives with.
    pause_ms : int
    act : callable
    """
    timer = QTimer(parent)
    timer.setSingleShot(True)
    timer.setInterval(pause_ms)
    timer.timeout.connect(act)
    return timer
