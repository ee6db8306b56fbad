"""A drag with the left button that moves a picture, in whatever mode a layer is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from napari.viewer import Viewer
from numpy.typing import NDArray

LEFT_BUTTON = 1
POINTING, STANDARD = "pointing", "standard"


class Drag:
    """Moves a picture with the mouse while it is connected.

    `is_over` says whether an event of the mouse is over the picture, `pixel` where it
    is, in pixels. `on_drag` gets by how many pixels the mouse has moved since the
    button was pressed; `on_drop` is called after it was released.
    """

    def __init__(
        self,
        viewer: Viewer,
        *,
        is_over: Callable[[Any], bool],
        pixel: Callable[[Any], NDArray[np.float64]],
        on_drag: Callable[[NDArray[np.float64]], object],
        on_drop: Callable[[], object],
    ) -> None:
        self._viewer = viewer
        self._is_over, self._pixel = is_over, pixel
        self._on_drag, self._on_drop = on_drag, on_drop
        self._connected = self._pointed_at = False
        self.held = False

    def connect(self) -> None:
        """Listen to the mouse."""
        if not self._connected:
            self._connected = True
            self._viewer.mouse_drag_callbacks.append(self._drag)
            self._viewer.mouse_move_callbacks.append(self._point)

    def disconnect(self) -> None:
        """Ignore the mouse; a drag that goes on moves nothing any more."""
        if self._connected:
            self._connected = False
            self._viewer.mouse_drag_callbacks.remove(self._drag)
            self._viewer.mouse_move_callbacks.remove(self._point)
            self._show_pointer(self._viewer, False)

    def _drag(self, viewer: Viewer, event: Any) -> Iterator[None]:
        """Move the picture with a drag that begins on it."""
        if event.button != LEFT_BUTTON or event.modifiers or not self._is_over(event):
            return
        first = self._pixel(event)
        with self._only_this_drag(viewer):
            yield
            while event.type == "mouse_move" and self._connected:
                self._on_drag(self._pixel(event) - first)
                yield
        if self._connected:
            # The last move may be left out where they come quickly.
            self._on_drag(self._pixel(event) - first)
            self._on_drop()

    @contextmanager
    def _only_this_drag(self, viewer: Viewer) -> Iterator[None]:
        """Neither pan the view nor draw in the selected layer meanwhile."""
        active = viewer.layers.selection.active
        callbacks = [] if active is None else active.mouse_drag_callbacks
        held_back = list(callbacks)
        mode = getattr(active, "mode", None)
        # napari calls those of the layer after those of the viewer.
        callbacks.clear()
        viewer.scene.camera.mouse_pan = False
        self.held = True
        try:
            yield
        finally:
            self.held = False
            # Another mode has brought its own.
            if getattr(active, "mode", None) == mode:
                callbacks[:] = held_back
            active = viewer.layers.selection.active
            viewer.scene.camera.mouse_pan = active is None or active.mouse_pan

    def _point(self, viewer: Viewer, event: Any) -> None:
        """Let the pointer show that the picture can be dragged."""
        self._show_pointer(viewer, self._is_over(event))

    def _show_pointer(self, viewer: Viewer, pointed_at: bool) -> None:
        if pointed_at != self._pointed_at:
            self._pointed_at = pointed_at
            active = viewer.layers.selection.active
            usual = STANDARD if active is None else active.cursor
            viewer.cursor.style = POINTING if pointed_at else usual
