"""Keyboard shortcuts, in the dock and on the canvas."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from napari.viewer import Viewer
from qtpy.QtCore import Qt
from qtpy.QtGui import QKeySequence, QShortcut  # type: ignore[attr-defined]

# As napari and Qt call them; napari and its layers use none of them.
KEYS = {
    "run": ("Control-Enter", "Ctrl+Return"),
    "preview": ("Control-P", "Ctrl+P"),
    "flip": ("H", "H"),
}


class Shortcuts:
    """Keys for what a dock widget does; those that others have bound are left alone.

    `acts` holds a function for each name of `KEYS`. Keys reach the dock widget only
    while it has the focus, and the viewer's own keys only the canvas: both are bound.
    """

    def __init__(
        self, viewer: Viewer, native: Any, acts: Mapping[str, Callable[[], object]]
    ) -> None:
        self._viewer = viewer
        self._bound: dict[str, Callable[[Any], object]] = {}
        for name, act in acts.items():
            key, sequence = KEYS[name]
            shortcut = QShortcut(QKeySequence(sequence), native)
            shortcut.setContext(Qt.ShortcutContext.WidgetWithChildrenShortcut)
            call = _of_viewer(act)
            shortcut.activated.connect(act)
            with suppress(ValueError):
                viewer.bind_key(key, call)
                self._bound[key] = call

    def close(self) -> None:
        """Unbind the keys of the viewer, but for those that others have taken over."""
        for key, call in self._bound.items():
            found = self._viewer.bind_key(key, None)
            if found is not None and found is not call:
                self._viewer.bind_key(key, found)
        self._bound.clear()


def _of_viewer(act: Callable[[], object]) -> Callable[[Any], None]:
    """As a function of the viewer, and with a name, as napari wants it."""

    def call(_viewer: Any) -> None:
        act()

    return call
