"""The yellow frame of a preview, which a drag moves whatever layer is selected."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from napari.layers import Shapes
from napari.viewer import Viewer
from numpy.typing import NDArray

from napari_zssr.plugin.layers.aids import PREVIEW, is_preview, selection_kept
from napari_zssr.plugin.layers.layers import to_pixels, unwrapped

YELLOW = "#ffd60a"
# Width of the edge, as a fraction of the side.
EDGE_WIDTH = 0.012
LEFT_BUTTON = 1
# Names of the layer, which says why it stays.
SHOWN, HIDDEN = "Preview frame", "Preview frame (hidden)"
POINTING, STANDARD = "pointing", "standard"


class Frame:
    """A rectangle in the viewer; `on_moved` is called after it was moved.

    The layer is hidden, not removed, when it is not needed: napari may crash in the
    graphics driver when a Shapes layer is added after one was removed.
    """

    def __init__(self, viewer: Viewer, on_moved: Callable[[], object]) -> None:
        self._viewer = viewer
        self._on_moved = on_moved
        self._pointed_at = False
        self.layer: Shapes | None = None
        self.held = False

    @property
    def corners(self) -> NDArray[np.float64]:
        """Corners (4, 2) of the frame in the world."""
        assert self.layer is not None
        return np.asarray(self.layer.data[0], dtype=np.float64)

    def lay(self, corners: NDArray[np.float64], units: Any) -> None:
        """Show the frame at corners (4, 2) in the world."""
        if self.layer is None:
            self.layer = self._hidden() or _new_layer()
            self._listen(self.layer)
        moved = not self.layer.data or not np.allclose(self.corners, corners)
        if moved or self.layer.units != units:
            self._place(corners)
            self.layer.units = units
            self.layer.edge_width = np.ptp(corners, axis=0).max() * EDGE_WIDTH
        # Showing a layer that is shown would end its mode.
        if not self.layer.visible:
            self.layer.visible, self.layer.name = True, SHOWN
        if self.layer not in self._viewer.layers:
            with selection_kept(self._viewer):
                self._viewer.add_layer(self.layer)

    def match(self, units: Any) -> None:
        """Give the layer the units of an image, also while it is hidden.

        With others, napari complains and does not draw to scale.
        """
        layer = self.layer or self._hidden()
        if layer is not None and layer.units != units:
            layer.units = units

    def hide(self) -> None:
        """Hide the frame, and let go of it."""
        layer, self.layer = self.layer, None
        if layer is not None:
            layer.events.data.disconnect(self._moved)
            self._viewer.mouse_drag_callbacks.remove(self._drag)
            self._viewer.mouse_move_callbacks.remove(self._point)
            self._show_pointer(self._viewer, False)
            layer.visible, layer.name = False, HIDDEN

    def _listen(self, layer: Shapes) -> None:
        layer.events.data.connect(self._moved)
        self._viewer.mouse_drag_callbacks.append(self._drag)
        self._viewer.mouse_move_callbacks.append(self._point)

    def _moved(self, _event: Any = None) -> None:
        self._on_moved()

    def _hidden(self) -> Shapes | None:
        """The layer of an earlier preview."""
        for layer in map(unwrapped, self._viewer.layers):
            if isinstance(layer, Shapes) and is_preview(layer):
                return layer
        return None

    # The mouse.

    def _drag(self, viewer: Viewer, event: Any) -> Iterator[None]:
        """Move the frame with a drag that begins within it."""
        if event.button != LEFT_BUTTON or event.modifiers or not self._under(event):
            return
        corners, first = self.corners, self._position(event)
        with self._only_this_drag(viewer):
            yield
            while event.type == "mouse_move" and self.layer is not None:
                self._place(corners + self._position(event) - first)
                yield
        if self.layer is not None:
            # The last move may be left out where they come quickly.
            self._place(corners + self._position(event) - first)
            self._on_moved()

    def _place(self, corners: NDArray[np.float64]) -> None:
        # napari would measure all layers anew at each step of a drag.
        if self.layer is not None:
            with self.layer.events.data.blocker():
                self.layer.data = [corners]

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
        """Let the pointer show that the frame can be taken."""
        self._show_pointer(viewer, self._under(event))

    def _show_pointer(self, viewer: Viewer, pointed_at: bool) -> None:
        if pointed_at != self._pointed_at:
            self._pointed_at = pointed_at
            active = viewer.layers.selection.active
            usual = STANDARD if active is None else active.cursor
            viewer.cursor.style = POINTING if pointed_at else usual

    def _under(self, event: Any) -> bool:
        """Whether the mouse is within the frame."""
        if self.layer is None or not self.layer.visible or not self.layer.data:
            return False
        if len(event.dims_displayed) != 2:
            return False
        corner, right, _, down = self.corners
        sides = np.stack([right - corner, down - corner], axis=1)
        share = np.linalg.solve(sides, self._position(event) - corner)
        return bool(((share >= 0) & (share <= 1)).all())

    def _position(self, event: Any) -> NDArray[np.float64]:
        """Where the mouse is, as the corners are given."""
        assert self.layer is not None
        return to_pixels(self.layer, event.position, self._viewer.layers.extent.units)


def _new_layer() -> Shapes:
    return Shapes(
        ndim=2,
        name=SHOWN,
        edge_color=YELLOW,
        face_color="transparent",
        opacity=1.0,
        metadata={PREVIEW: True},
    )
