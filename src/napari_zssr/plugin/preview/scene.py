"""The layers of a preview in the viewer: a picture and a window to be moved."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Image, Shapes
from numpy.typing import NDArray

from napari_zssr.imaging.resample import Window, output_window
from napari_zssr.plugin.layers.layers import lazy_stack, result_kwargs
from napari_zssr.plugin.layers.selection import Selection, in_rectangle
from napari_zssr.stack.axes import planes
from napari_zssr.stack.image import ImageStack, PlaneIndex

if TYPE_CHECKING:
    from napari.layers import Layer
    from napari.viewer import Viewer

    from napari_zssr.plugin.request import Request

SIDE_PX = 128

Range = tuple[int, int]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Target:
    """One window of one plane.

    Attributes
    ----------
    request : Request
    stack : ImageStack
        All that is asked for, its pixels not loaded.
    plane_index : PlaneIndex
        The plane within the stack.
    box : mapping of str to (int, int)
        Pixels of the layer that the window covers, by axis letter.
    """

    request: Request
    stack: ImageStack
    plane_index: PlaneIndex
    box: Mapping[str, Range]

    @property
    def window(self) -> Window:
        """The window within the plane, (Y, X)."""
        starts = dict(zip(self.stack.axes, self._selected(), strict=True))
        rows, columns = (
            slice(*(edge - starts[letter] for edge in self.box[letter]))
            for letter in "YX"
        )
        return rows, columns

    @property
    def shown(self) -> Selection:
        """Part of the layer that starts where the first enlarged pixel stands.

        That pixel need not begin where a pixel of the layer does, so the edges along
        Y and X may be fractions.
        """
        window, factors = self.window, self.request.config.factors
        fine = output_window(window, factors)
        ranges: dict[str, Any] = dict(self.box)
        for letter, part, made, factor in zip("YX", window, fine, factors, strict=True):
            first, last = self.box[letter]
            ranges[letter] = (first - part.start + made.start / factor, last)
        return Selection(ranges=ranges)

    def laid_out(self, picture: NDArray[Any]) -> NDArray[Any]:
        """A picture of the window with all axes of the layer."""
        missing = [i for i, a in enumerate(self.stack.axes) if a not in "YXS"]
        return np.expand_dims(picture, missing)

    def same(self, other: Target | None) -> bool:
        """Whether another target gives the same picture in the same place."""
        return other is not None and self.key() == other.key()

    def key(self) -> tuple[Any, ...]:
        """All that decides the picture and its place."""
        request = self.request
        return (
            id(request.layer),
            request.axes,
            sorted(request.selection.ranges.items()),
            request.config,
            sorted(self.box.items()),
        )

    def _selected(self) -> tuple[int, ...]:
        return self.request.selection.starts(self.stack.axes)


def target(request: Request, here: Mapping[str, Range]) -> Target:
    """Window of the plane that is looked at.

    Parameters
    ----------
    request : Request
    here : mapping of str to (int, int)
        Pixels of the layer by axis letter: the slice that is shown along T, Z and C,
        and along Y and X what the window is laid in the middle of. Where that is not
        asked for, the nearest that is.
    """
    stack = lazy_stack(request.layer, request.axes, request.selection)
    starts = request.selection.starts(stack.axes)
    box: dict[str, Range] = {}
    index: list[int | slice] = []
    for letter, size, start in zip(stack.axes, stack.data.shape, starts, strict=True):
        if letter in "YX":
            box[letter] = centred(here[letter], SIDE_PX, start, start + size)
        elif letter != "S":
            at = min(max(here[letter][0], start), start + size - 1)
            box[letter] = (at, at + 1)
        index.append(slice(None) if letter in "YXS" else box[letter][0] - start)
    listed = planes(stack.axes, stack.data.shape)
    plane_index = next(p for p in listed if p.index == tuple(index))
    return Target(request=request, stack=stack, plane_index=plane_index, box=box)


def centred(around: Range, side: int, low: int, high: int) -> Range:
    """`side` pixels about the middle of a range, kept between two limits."""
    start = (around[0] + around[1] - side) // 2
    start = max(low, min(start, high - side))
    return start, min(start + side, high)


def cut(
    plain: NDArray[Any], made: NDArray[Any], share: float, x: int, line: Any
) -> Any:
    """Left of a share of the width the plain picture, right of it what was made.

    Parameters
    ----------
    plain, made : ndarray
        Of one shape.
    share : float
        0 shows all of `made`, 1 all of `plain`.
    x : int
        Axis of the width.
    line : scalar
        Brightness of the line between the two.
    """
    width = made.shape[x]
    at = round(share * width)
    whole = np.moveaxis(made.copy(), x, 0)
    whole[:at] = np.moveaxis(plain, x, 0)[:at]
    if 0 < at < width:
        whole[at] = line
    return np.moveaxis(whole, 0, x)


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
    plane_index = np.array([target.box[letter][0] for letter in axes], dtype=float)
    corners = []
    for turn in ((0, 0), (0, 1), (1, 1), (1, 0)):
        edges = [target.box[a][n] - 0.5 for a, n in zip(axes[-2:], turn, strict=True)]
        plane_index[-2:] = edges
        corners.append(layer.data_to_world(plane_index)[-2:])
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
