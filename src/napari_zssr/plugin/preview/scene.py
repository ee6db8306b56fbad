"""The layers of a preview in the viewer: a picture, and the frame around it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from napari.layers import Image, Layer
from napari.viewer import Viewer
from numpy.typing import NDArray

from napari_zssr.imaging.resample import Window, output_window
from napari_zssr.plugin.connections import Connections
from napari_zssr.plugin.layers.aids import (
    PREVIEW,
    SplitPixels,
    line_brightness,
    selection_kept,
)
from napari_zssr.plugin.layers.layers import (
    PLACEMENT,
    Ranges,
    Selection,
    in_rectangle,
    lazy_stack,
    result_kwargs,
)
from napari_zssr.plugin.preview.frame import Frame
from napari_zssr.plugin.request import Request
from napari_zssr.stack.image import ImageStack, PlaneIndex, planes

SIDE_PX = 128
# What a picture takes over from its layer whenever it is changed there.
LOOK = "contrast_limits", "gamma", "colormap"


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
    """The layers of a preview; `on_moved` is called when the user moves the frame."""

    def __init__(self, viewer: Viewer, on_moved: Callable[[], object]) -> None:
        self._viewer = viewer
        self._pictured: Target | None = None
        self._order: tuple[int, ...] | None = None
        self._laid: tuple[Any, ...] = ()
        self._point: tuple[float, ...] = ()
        self._look = Connections()
        self.frame = Frame(viewer, on_moved)
        self.picture: Image | None = None

    @property
    def layers(self) -> list[Layer | None]:
        """The layers that are in use."""
        return [self.frame.layer, self.picture]

    def aim(self, target: Target) -> None:
        """Lay the frame around a target."""
        self._laid = _place(target)
        corners = _corners(target)
        if corners is None:
            self.frame.hide()
        # From the side there is no frame.
        elif self._order is None:
            self.frame.lay(corners, target.request.layer.units[-2:])

    def settle(self, target: Target) -> None:
        """Lay a frame that is seen back around its target."""
        if self.frame.layer is not None and self.frame.layer.visible:
            self.aim(target)

    def follow(self, target: Target) -> None:
        """Lay frame and picture on a layer that has another pixel size or place.

        At once, or napari would complain of units that do not go together.
        """
        place = _place(target)
        if place == self._laid:
            return
        self._laid = place
        self.settle(target)
        self.frame.match(target.request.layer.units[-2:])
        if self.picture is not None:
            for name, value in _placed(target).items():
                if name in PLACEMENT:
                    setattr(self.picture, name, value)

    def show(
        self,
        target: Target,
        plain: NDArray[Any],
        learned: NDArray[Any],
        share: float,
    ) -> None:
        """Show a picture of a target, its left `share` by plain interpolation."""
        if self.picture is None or self._pictured is not target:
            self._remove_picture()
            self.picture, self._pictured = _new_picture(target, learned), target
            self._add(self.picture)
            if not self.picture.rgb:
                events = target.request.layer.events
                self._look.add([events[name] for name in LOOK], self._follow_look)
        before, after = map(target.with_layer_axes, (plain, learned))
        line = line_brightness(self.picture, learned.dtype)
        self.picture.data = SplitPixels(
            before, after, x=target.stack.axes.index("X"), share=share, line=line
        )

    def box(self, target: Target) -> Ranges:
        """Pixels of the layer in the frame, along Y and X; InputError if outside."""
        frame = self.frame.layer
        if frame is None or not frame.visible:
            return {letter: target.box[letter] for letter in "YX"}
        return in_rectangle(target.request.layer, target.request.axes, frame)

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
        if self.frame.layer is not None:
            self.frame.layer.visible = False
        dims.order = (*rest, y, z, x)
        dims.set_point(y, layer.data_to_world(middle)[axes.index("Y")])
        self._viewer.reset_view()

    def turn_back(self) -> None:
        """Show the axes and the slice that were shown before."""
        order, self._order = self._order, None
        dims = self._viewer.dims
        if order is None or len(order) != dims.ndim:
            return
        if self.frame.layer is not None:
            self.frame.layer.visible = True
        dims.order, dims.point = order, self._point
        self._viewer.reset_view()

    def stay(self) -> None:
        """Keep the view from the side, if it is shown, after the preview."""
        self._order = None

    def clear(self) -> None:
        """Remove the picture and hide the frame."""
        self._remove_picture()
        self.frame.hide()

    def _add(self, layer: Layer) -> None:
        with selection_kept(self._viewer):
            self._viewer.add_layer(layer)

    def _follow_look(self, event: Any) -> None:
        """Show the picture as its layer is now; the user may have set it otherwise."""
        picture = self.picture
        if picture is not None:
            setattr(picture, event.type, getattr(event.source, event.type))
            picture.data.line = line_brightness(picture, picture.data.dtype)
            picture.refresh()

    def _remove_picture(self) -> None:
        self._look.close()
        picture, self.picture, self._pictured = self.picture, None, None
        if picture is not None and picture in self._viewer.layers:
            with selection_kept(self._viewer):
                self._viewer.layers.remove(picture)


def _corners(target: Target) -> NDArray[np.float64] | None:
    """Corners of the frame in the world (4, 2), None unless Y and X are last.

    Shapes of two axes are visible in every slice.
    """
    layer = target.request.layer
    axes = target.stack.axes[: layer.ndim]
    if axes[-2:] not in ("YX", "XY"):
        return None
    position = np.array([target.box[letter][0] for letter in axes], dtype=float)
    corners = []
    for corner in ((0, 0), (0, 1), (1, 1), (1, 0)):
        ends = zip(axes[-2:], corner, strict=True)
        position[-2:] = [target.box[letter][end] - 0.5 for letter, end in ends]
        corners.append(layer.data_to_world(position)[-2:])
    return np.array(corners)


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
