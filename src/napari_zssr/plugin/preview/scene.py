"""The picture of a preview in the viewer, which can be dragged over its layer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from napari.layers import Image
from napari.viewer import Viewer
from numpy.typing import NDArray
from qtpy.QtWidgets import QWidget

from napari_zssr.imaging.resample import Window, output_window
from napari_zssr.plugin.connections import Connections, take_over
from napari_zssr.plugin.form.rows import after_pause
from napari_zssr.plugin.layers.aids import (
    PREVIEW,
    SplitPixels,
    line_values,
    selection_kept,
)
from napari_zssr.plugin.layers.layers import (
    PLACEMENT,
    Ranges,
    Selection,
    lazy_stack,
    result_kwargs,
    to_pixels,
)
from napari_zssr.plugin.preview.drag import Drag
from napari_zssr.plugin.request import Request
from napari_zssr.stack.image import ImageStack, PlaneIndex, planes

SIDE_PX = 128
# What a picture takes over from its layer whenever it is changed there.
DISPLAY = "contrast_limits", "gamma", "colormap"
# Of a picture that is dragged over other pixels than those it shows.
DRAGGED_OPACITY = 0.5


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Target:
    """A window of one plane, or of all slices where these become more.

    `box` holds pixels of the layer by axis letter; `stack` is the whole request, its
    pixels not loaded; `factor_z` is the enlargement along Z that is shown.
    """

    request: Request
    stack: ImageStack
    plane_index: PlaneIndex
    box: Ranges
    factor_z: float | None = None

    @property
    def factors(self) -> tuple[float, ...]:
        """Enlargement of what is shown."""
        planes = self.request.config.factors
        return planes if self.factor_z is None else self.request.factors

    @property
    def picture_axes(self) -> str:
        """Axes of a picture of the window, in the order of the stack's."""
        shown = "YXS" if self.factor_z is None else "ZYXS"
        return "".join(letter for letter in self.stack.axes if letter in shown)

    @property
    def window(self) -> Window:
        """The window within the plane, (Y, X)."""
        y, x = self.request.selection.starts("YX")
        (top, bottom), (left, right) = self.box["Y"], self.box["X"]
        return slice(top - y, bottom - y), slice(left - x, right - x)

    @property
    def shown(self) -> Selection:
        """Part of the layer that starts at the first enlarged pixel.

        That pixel need not start where a pixel of the layer does, so the edges along
        Y and X may be fractions.
        """
        window, factors = self.window, self.request.config.factors
        fine = output_window(window, factors)
        ranges: dict[str, Any] = dict(self.box)
        for letter, part, out, factor in zip("YX", window, fine, factors, strict=True):
            first, last = self.box[letter]
            ranges[letter] = (first - part.start + out.start / factor, last)
        return Selection(ranges=ranges)

    def with_layer_axes(self, picture: NDArray[Any]) -> NDArray[Any]:
        """Add the axes T, Z and C that the layer has to a picture of the window."""
        shown = self.picture_axes
        missing = [i for i, a in enumerate(self.stack.axes) if a not in shown]
        return np.expand_dims(picture, missing)

    @property
    def key(self) -> tuple[Any, ...]:
        """Everything that the picture and its position depend on."""
        request = self.request
        return (
            id(request.layer),
            request.axes,
            sorted(request.selection.ranges.items()),
            request.config,
            sorted(self.box.items()),
            self.stack.spacing,
            self.stack.units,
        )


def nearest_target(request: Request, region: Ranges) -> Target:
    """Target nearest to a current slice (T, Z, C) and a region to centre on (Y, X).

    `region` holds both as pixels of the layer by axis letter.
    """
    stack = lazy_stack(request.layer, request.axes, request.selection)
    starts = request.selection.starts(stack.axes)
    box: dict[str, tuple[int, int]] = {}
    index: list[int | slice] = []
    for letter, size, start in zip(stack.axes, stack.data.shape, starts, strict=True):
        if letter != "S":
            side = SIDE_PX if letter in "YX" else 1
            box[letter] = centred(region[letter], side, start, start + size)
        index.append(slice(None) if letter in "YXS" else box[letter][0] - start)
    plane_index = next(
        plane
        for plane in planes(stack.axes, stack.data.shape)
        if plane.index == tuple(index)
    )
    factor_z = None if request.config.restores_planes else request.factor_z
    if factor_z is not None:
        first = starts[stack.axes.index("Z")]
        box["Z"] = (first, first + stack.data.shape[stack.axes.index("Z")])
    return Target(
        request=request,
        stack=stack,
        plane_index=plane_index,
        box=box,
        factor_z=factor_z,
    )


def centred(around: tuple[int, int], side: int, low: int, high: int) -> tuple[int, int]:
    """`side` pixels about the middle of a range, kept between two limits."""
    start = (around[0] + around[1] - side) // 2
    start = max(low, min(start, high - side))
    return start, min(start + side, high)


class Scene:
    """The picture of a preview; `on_moved` is called after the user has dragged it.

    Its timer is deleted with the `owner`.
    """

    def __init__(
        self, viewer: Viewer, owner: QWidget, on_moved: Callable[[], object]
    ) -> None:
        self._viewer = viewer
        self._target: Target | None = None
        self._pictured: Target | None = None
        self._box: Ranges = {}
        self._order: tuple[int, ...] | None = None
        self._place: tuple[Any, ...] = ()
        self._point: tuple[float, ...] = ()
        self._display = Connections()
        # Not in the event of the mouse itself: several may have come meanwhile.
        self._dragged = after_pause(owner, 0, self._follow_mouse)
        self._drag = Drag(
            viewer,
            is_over=self._is_over,
            pixel=self._pixel,
            on_drag=self._move,
            on_drop=on_moved,
        )
        self.picture: Image | None = None

    @property
    def held(self) -> bool:
        """Whether the picture is being dragged."""
        return self._drag.held

    @property
    def box(self) -> Ranges:
        """Pixels of the layer along Y and X, to which the picture was dragged."""
        return self._box

    def aim(self, target: Target) -> None:
        """Take another target; an earlier picture is seen until there is a new one."""
        self._target = target
        self._box = {letter: target.box[letter] for letter in "YX"}
        self._lay()

    def settle(self) -> None:
        """Lay the picture back on its target, from which it was hardly dragged."""
        self._dragged.stop()
        if self._target is not None and self.picture is not None:
            self.aim(self._target)
            if self.picture.opacity == DRAGGED_OPACITY:
                self.picture.opacity = 1.0

    def follow(self) -> None:
        """Lay the picture on its layer, which may have another pixel size or place.

        At once, or napari would complain of units that do not go together. The picture
        may still be that of an earlier target, of another layer and fewer axes.
        """
        pictured = self._pictured
        if pictured is not None and _place(pictured) != self._place:
            self._place_picture(pictured)

    def show(
        self,
        target: Target,
        plain: NDArray[Any],
        learned: NDArray[Any],
        share: float,
    ) -> None:
        """Show a picture of a target, its left `share` by plain interpolation."""
        is_other = self._pictured is not target
        if self.picture is None or (is_other and not self._fits(target, learned)):
            self._remove_picture()
            self.picture = self._add_picture(target, learned)
        before, after = map(target.with_layer_axes, (plain, learned))
        axes = target.stack.axes
        self.picture.data = SplitPixels(
            before,
            after,
            x=axes.index("X"),
            share=share,
            lines=line_values(self.picture, learned.dtype),
            framed=(axes.index("Y"), axes.index("X")),
        )
        if is_other:
            self._pictured = target
            self._place_picture(target)
            self.picture.opacity = 1.0

    def turn(self, target: Target) -> None:
        """Show X and Z, at the middle of the window."""
        dims, axes = self._viewer.dims, target.stack.axes
        layer, box = target.request.layer, target.box
        if self._order is None:
            self._order, self._point = dims.order, dims.point
        before = dims.ndim - layer.ndim
        y, z, x = (before + axes.index(letter) for letter in "YZX")
        rest = [axis for axis in range(dims.ndim) if axis not in (y, z, x)]
        middle = [sum(box.get(a, (0, 1))) / 2 - 0.5 for a in axes[: layer.ndim]]
        dims.order = (*rest, y, z, x)
        dims.set_point(y, layer.data_to_world(middle)[axes.index("Y")])
        self._viewer.reset_view()

    def turn_back(self) -> None:
        """Show the axes and the slice that were shown before."""
        order, self._order = self._order, None
        dims = self._viewer.dims
        if order is None or len(order) != dims.ndim:
            return
        dims.order, dims.point = order, self._point
        self._viewer.reset_view()

    def stay(self) -> None:
        """Keep the view from the side, if it is shown, after the preview."""
        self._order = None

    def clear(self) -> None:
        """Remove the picture."""
        self._dragged.stop()
        self._remove_picture()
        self._target = None

    def _fits(self, target: Target, learned: NDArray[Any]) -> bool:
        """Whether the picture can show another target: a new layer takes longer."""
        before = self._pictured
        if self.picture is None or before is None:
            return False
        same_layer = before.request.layer is target.request.layer
        same_axes = before.stack.axes == target.stack.axes
        return same_layer and same_axes and self.picture.dtype == learned.dtype

    def _add_picture(self, target: Target, learned: NDArray[Any]) -> Image:
        picture = _new_picture(target, learned)
        with selection_kept(self._viewer):
            self._viewer.add_layer(picture)
        self._drag.connect()
        if not picture.rgb:
            events = target.request.layer.events
            signals = [events[name] for name in DISPLAY]
            self._display.add(signals, self._follow_display)
        return picture

    def _place_picture(self, target: Target) -> None:
        """Lay the picture where a target is; only what differs takes time."""
        self._place, placed = _place(target), _placed(target)
        for name in PLACEMENT:
            current = getattr(self.picture, name)
            current = getattr(current, "affine_matrix", current)
            if not np.array_equal(current, placed[name]):
                setattr(self.picture, name, placed[name])

    def _follow_display(self, event: Any) -> None:
        """Show the picture as its layer is now; the user may have set it otherwise."""
        picture = self.picture
        if picture is not None:
            take_over(picture, event)
            picture.data.lines = line_values(picture, picture.data.dtype)
            picture.refresh()

    def _remove_picture(self) -> None:
        self._display.close()
        self._drag.disconnect()
        picture, self.picture, self._pictured = self.picture, None, None
        if picture is not None and picture in self._viewer.layers:
            with selection_kept(self._viewer):
                self._viewer.layers.remove(picture)

    # The drag.

    def _is_over(self, event: Any) -> bool:
        """Whether the mouse is over the picture, and Y and X are displayed."""
        target = self._target
        if self.picture is None or target is None or not self.picture.visible:
            return False
        before = self._viewer.dims.ndim - target.request.layer.ndim
        shown = {before + target.stack.axes.index(letter) for letter in "YX"}
        if shown != set(event.dims_displayed):
            return False
        edges = zip(self._pixel(event), self._box.values(), strict=True)
        return all(first <= at + 0.5 <= last for at, (first, last) in edges)

    def _pixel(self, event: Any) -> NDArray[np.float64]:
        """Where the mouse is in the layer that is previewed, (Y, X)."""
        assert self._target is not None
        layer, axes = self._target.request.layer, self._target.stack.axes
        units = self._viewer.layers.extent.units
        pixel = to_pixels(layer, event.position, units)
        return pixel[[axes.index("Y"), axes.index("X")]]

    def _move(self, by: NDArray[np.float64]) -> None:
        """Move the picture by so many pixels (Y, X) from its target."""
        if self._target is not None and self.picture is not None:
            self._box = moved(self._target, by)
            self._dragged.start()

    def _follow_mouse(self) -> None:
        """Lay the picture where it was dragged to; it shows what lies elsewhere."""
        if self.picture is not None:
            if self.picture.opacity != DRAGGED_OPACITY:
                self.picture.opacity = DRAGGED_OPACITY
            self._lay()

    def _lay(self) -> None:
        """Lay the picture on the box."""
        target = self._pictured
        if self.picture is None or target is None or self._target is None:
            return
        if target.request.layer is self._target.request.layer:
            there = replace(target, box={**target.box, **self._box})
            translate = _placed(there)["translate"]
            if not np.array_equal(self.picture.translate, translate):
                self.picture.translate = translate


def moved(target: Target, by: NDArray[np.float64]) -> Ranges:
    """Pixels of a target along Y and X, moved (Y, X) within the request."""
    axes, shape = target.stack.axes, target.stack.data.shape
    starts = target.request.selection.starts(axes)
    box = {}
    for letter, distance in zip("YX", np.rint(by).astype(int).tolist(), strict=True):
        axis, (first, last) = axes.index(letter), target.box[letter]
        low = starts[axis]
        around = (first + distance, last + distance)
        box[letter] = centred(around, last - first, low, low + shape[axis])
    return box


def _new_picture(target: Target, learned: NDArray[Any]) -> Image:
    request = target.request
    kwargs = _placed(target) | {
        "name": f"Preview of {request.layer.name}",
        "metadata": {PREVIEW: True},
        # Layers below are covered, not added to.
        "blending": "translucent",
        "opacity": 1.0,
        "visible": True,
    }
    return Image(target.with_layer_axes(learned), **kwargs)


def _placed(target: Target) -> dict[str, Any]:
    request = target.request
    return result_kwargs(request.layer, request.axes, target.shown, target.factors, {})


def _place(target: Target) -> tuple[Any, ...]:
    """Where the layer of a target lies: two of its pixels, and the units."""
    layer = target.request.layer
    ends = (np.full(layer.ndim, at) for at in (0, 1))
    return (*(tuple(layer.data_to_world(end)) for end in ends), layer.units)
