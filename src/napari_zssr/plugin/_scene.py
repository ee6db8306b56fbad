"""The layers of a preview in the viewer: a picture and a window to be moved."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Image, Shapes
from numpy.typing import NDArray

from napari_zssr.plugin._layers import in_rectangle, result_kwargs
from napari_zssr.plugin._target import Target, cut

if TYPE_CHECKING:
    from napari.layers import Layer
    from napari.viewer import Viewer

# In the metadata of the layers of a preview, which are not images to be enlarged.
PREVIEW = "napari_zssr_preview"
WINDOW_NAME = "Preview window"
YELLOW = "#ffd60a"
# Width of the window's edge, as a share of its side.
EDGE_SHARE = 0.012


def is_preview(layer: Layer) -> bool:
    """Whether a layer belongs to a preview."""
    return bool(layer.metadata.get(PREVIEW))


class Scene:
    """What a preview shows in the viewer.

    The layer of the window is hidden, not removed, when it is not needed: napari may
    crash in the graphics driver when a Shapes layer is added after one was removed.

    Parameters
    ----------
    viewer : Viewer
    on_moved : callable
        Called when the user has changed the window.
    """

    def __init__(self, viewer: Viewer, on_moved: Callable[[], object]) -> None:
        self._viewer = viewer
        self._on_moved = on_moved
        self._target: Target | None = None
        self._pictured: Target | None = None
        self.window: Shapes | None = None
        self.picture: Image | None = None

    def aim(self, target: Target) -> None:
        """Lay the window around a target."""
        self._target = target
        corners = _corners(target)
        if corners is None:
            self._hide_window()
            return
        if self.window is None:
            self.window = self._found_window() or _window(corners)
            self.window.events.data.connect(self._moved)
        with self.window.events.data.blocker():
            self.window.data = [corners]
        self.window.units = target.request.layer.units[-2:]
        self.window.edge_width = np.ptp(corners, axis=0).max() * EDGE_SHARE
        self.window.visible = True
        if self.window not in self._viewer.layers:
            self._add(self.window)

    def show(self, plain: NDArray[Any], made: NDArray[Any], share: float) -> None:
        """Show a picture of the target, its left part plainly enlarged."""
        target = self._target
        assert target is not None
        if self.picture is None or self._pictured is not target:
            old, self.picture = self.picture, _picture(target, made)
            self._pictured = target
            self._take_away(old)
            self._add(self.picture)
        line = _line(self.picture, made.dtype)
        axes = [a for a in target.stack.axes if a in "YXS"]
        mixed = cut(plain, made, share, axes.index("X"), line)
        self.picture.data = target.laid_out(mixed)

    def box(self) -> dict[str, tuple[int, int]]:
        """Pixels of the layer in the window, along Y and X.

        Raises
        ------
        InputError
            The window lies outside of the layer.
        """
        assert self._target is not None
        request = self._target.request
        if self.window is None or not self.window.visible:
            return {letter: self._target.box[letter] for letter in "YX"}
        return dict(in_rectangle(request.layer, request.axes, self.window).ranges)

    def depends_on(self, layer: Layer) -> bool:
        """Whether the preview is of this layer or consists of it."""
        target = self._target
        ours = layer is self.window or layer is self.picture
        return ours or (target is not None and layer is target.request.layer)

    def clear(self) -> None:
        """Take the picture away and hide the window."""
        picture, self.picture = self.picture, None
        self._target = self._pictured = None
        self._take_away(picture)
        self._hide_window()

    def _hide_window(self) -> None:
        window, self.window = self.window, None
        if window is not None:
            window.events.data.disconnect(self._moved)
            window.visible = False

    def _found_window(self) -> Shapes | None:
        """A window that an earlier preview has left."""
        for layer in self._viewer.layers:
            found = getattr(layer, "__wrapped__", layer)
            if isinstance(found, Shapes) and is_preview(found):
                return found
        return None

    def _moved(self, _event: Any = None) -> None:
        self._on_moved()

    def _add(self, layer: Layer) -> None:
        with _selection_kept(self._viewer):
            self._viewer.add_layer(layer)

    def _take_away(self, layer: Layer | None) -> None:
        if layer is not None and layer in self._viewer.layers:
            with _selection_kept(self._viewer):
                self._viewer.layers.remove(layer)


@contextmanager
def _selection_kept(viewer: Viewer) -> Iterator[None]:
    """Leave the user's choice of layers as it is."""
    selection = viewer.layers.selection
    chosen, active = list(selection), selection.active
    yield
    kept = [layer for layer in chosen if layer in viewer.layers]
    if set(selection) != set(kept):
        selection.clear()
        selection.update(kept)
    if active in kept:
        selection.active = active if len(kept) == 1 else selection.active


def _window(corners: NDArray[np.float64]) -> Shapes:
    made = Shapes(
        [corners],
        shape_type="rectangle",
        name=WINDOW_NAME,
        edge_color=YELLOW,
        face_color="transparent",
        opacity=1.0,
        metadata={PREVIEW: True},
    )
    made.mode = "select"
    return made


def _corners(target: Target) -> NDArray[np.float64] | None:
    """Corners of the window in the world (4, 2), None where Y and X are not last.

    Shapes of two axes are seen in every slice.
    """
    layer = target.request.layer
    axes = target.stack.axes[: layer.ndim]
    if axes[-2:] not in ("YX", "XY"):
        return None
    place = np.array([target.box[letter][0] for letter in axes], dtype=float)
    corners = []
    for turn in ((0, 0), (0, 1), (1, 1), (1, 0)):
        edges = [target.box[a][n] - 0.5 for a, n in zip(axes[-2:], turn, strict=True)]
        place[-2:] = edges
        corners.append(layer.data_to_world(place)[-2:])
    return np.array(corners)


def _picture(target: Target, made: NDArray[Any]) -> Image:
    request = target.request
    kwargs = result_kwargs(
        request.layer, request.axes, target.shown, request.config.factors, {}
    )
    kwargs |= {
        "name": f"Preview of {request.layer.name}",
        "metadata": {PREVIEW: True},
        # Whatever lies below is covered, not added to.
        "blending": "translucent",
        "opacity": 1.0,
        "visible": True,
    }
    return Image(target.laid_out(made), **kwargs)


def _line(picture: Image, dtype: np.dtype[Any]) -> Any:
    """Brightness of the line between before and after."""
    if picture.rgb:
        return np.iinfo(dtype).max if dtype.kind in "iu" else 1.0
    bright = float(picture.contrast_limits[1])
    if dtype.kind in "iu":
        return int(min(max(bright, np.iinfo(dtype).min), np.iinfo(dtype).max))
    return bright
