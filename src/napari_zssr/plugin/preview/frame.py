"""The yellow frame of a preview, which a drag moves whatever layer is selected."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from napari.layers import Image
from napari.viewer import Viewer
from numpy.typing import NDArray

from napari_zssr.plugin.layers.aids import PREVIEW, selection_kept
from napari_zssr.plugin.layers.layers import to_pixels

YELLOW = (255, 214, 10, 255)
# The longer side, in widths of the edge.
SIDE = 100
LEFT_BUTTON = 1
NAME = "Preview frame"
POINTING, STANDARD = "pointing", "standard"


class Frame:
    """A rectangle in the viewer; `on_moved` is called after it was moved.

    It is drawn by an Image layer: napari may crash in the graphics driver when a Shapes
    layer is added after one was removed.
    """

    def __init__(self, viewer: Viewer, on_moved: Callable[[], object]) -> None:
        self._viewer = viewer
        self._on_moved = on_moved
        self._pointed_at = False
        self.layer: Image | None = None
        # Corners (4, 2) in the world.
        self.corners: NDArray[np.float64] = np.zeros((4, 2))
        self.held = False

    def lay(self, corners: NDArray[np.float64], units: Any) -> None:
        """Show the frame at corners (4, 2) in the world."""
        outline = _outline(corners)
        if self.layer is None:
            self.layer = _new_layer(outline)
            self._viewer.mouse_drag_callbacks.append(self._drag)
            self._viewer.mouse_move_callbacks.append(self._point)
        if self.layer.data.shape != outline.shape:
            self.layer.data = outline
        if not np.allclose(self.corners, corners):
            self._place(corners)
        self.match(units)
        # Showing a layer that is shown would end its mode.
        if not self.layer.visible:
            self.layer.visible = True
        if self.layer not in self._viewer.layers:
            with selection_kept(self._viewer):
                self._viewer.add_layer(self.layer)

    def match(self, units: Any) -> None:
        """Give the layer the units of an image, also while it is not visible.

        With others, napari complains and does not draw to scale.
        """
        if self.layer is not None and self.layer.units != units:
            self.layer.units = units

    def hide(self) -> None:
        """Remove the frame."""
        layer, self.layer = self.layer, None
        if layer is None:
            return
        self.corners = np.zeros((4, 2))
        self._viewer.mouse_drag_callbacks.remove(self._drag)
        self._viewer.mouse_move_callbacks.remove(self._point)
        self._show_pointer(self._viewer, False)
        if layer in self._viewer.layers:
            with selection_kept(self._viewer):
                self._viewer.layers.remove(layer)

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
        if self.layer is None:
            return
        self.corners = corners
        corner, right, _, down = corners
        # Within the edge, which lies around the corners.
        rows, columns = np.array(self.layer.data.shape[:2]) - 2
        affine = np.eye(3)
        affine[:2, 0], affine[:2, 1] = (
            (down - corner) / rows,
            (right - corner) / columns,
        )
        affine[:2, 2] = corner - affine[:2, :2] @ (0.5, 0.5)
        self.layer.affine = affine

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
        if self.layer is None or not self.layer.visible:
            return False
        if len(event.dims_displayed) != 2:
            return False
        corner, right, _, down = self.corners
        sides = np.stack([right - corner, down - corner], axis=1)
        share = np.linalg.solve(sides, self._position(event) - corner)
        return bool(((share >= 0) & (share <= 1)).all())

    def _position(self, event: Any) -> NDArray[np.float64]:
        """Where the mouse is, as the corners are given."""
        layer = self.layer
        assert layer is not None
        pixel = to_pixels(layer, event.position, self._viewer.layers.extent.units)
        return np.asarray(layer.data_to_world(pixel), dtype=np.float64)


def _outline(corners: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Picture (Y, X, RGBA) of an edge around a rectangle as long and as high."""
    corner, right, _, down = corners
    sides = np.array([np.linalg.norm(end - corner) for end in (down, right)])
    rows, columns = np.maximum(1, np.round(SIDE * sides / sides.max())).astype(int)
    picture = np.full((rows + 2, columns + 2, 4), YELLOW, dtype=np.uint8)
    picture[1:-1, 1:-1] = 0
    return picture


def _new_layer(outline: NDArray[np.uint8]) -> Image:
    return Image(
        outline,
        rgb=True,
        name=NAME,
        blending="translucent",
        metadata={PREVIEW: True},
    )
