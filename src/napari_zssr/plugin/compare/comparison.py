"""Original and result side by side in napari's grid, or one instead of the other."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from functools import partial
from typing import Any

import numpy as np
from napari.layers import Image, Layer
from napari.viewer import Viewer

from napari_zssr.errors import InputError
from napari_zssr.plugin.check.subject import factor_z, original_of, selection_of
from napari_zssr.plugin.connections import Connections, take_over
from napari_zssr.plugin.layers.aids import COMPARISON, selection_kept
from napari_zssr.plugin.layers.layers import (
    Selection,
    layer_recipe,
    lazy_stack,
    result_kwargs,
    unit_ratio,
    unwrapped,
)
from napari_zssr.plugin.layers.results import TRANSPARENT_BLENDING, results_of

NO_RESULT = "Select a result in the layer list to compare it with its original."
GRID = ("enabled", "stride", "shape", "spacing")
CAMERA = ("center", "zoom", "angles", "perspective")
DIMS = ("order", "point")
CONTRAST = ("contrast_limits", "gamma")
# Of half a canvas, what an area that is seen whole fills side by side.
FILLED = 0.95
# Between both, in pixels of the screen.
SPACING_PX = 4


class Mode(Enum):
    """How a result is compared with its original."""

    OFF = "off"
    SIDE_BY_SIDE = "side by side"
    FLIPPED = "flipped"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Before:
    """What is restored when a comparison ends."""

    visible: list[tuple[Layer, bool]]
    contrast: tuple[Image, dict[str, Any]]
    grid: dict[str, Any]
    camera: dict[str, Any]
    dims: dict[str, Any]


class Comparison:
    """Shows a result beside its original, or the one in place of the other.

    Both have the contrast of the result meanwhile: else the one with more of it looks
    better. Everything is as it was before when it ends: when `stop` is called, when a
    layer is added or removed, or when the grid is switched off. Both views of the grid
    share one camera and the sliders. Beside the result of a part stands that part of
    the original, as a layer of its own meanwhile. A result with more slices is shown
    `from_side`, because its planes alone look like those of the original. `on_changed`
    is called when `mode` has changed.
    """

    def __init__(self, viewer: Viewer, on_changed: Callable[[], object]) -> None:
        self._viewer = viewer
        self._on_changed = on_changed
        self._before: Before | None = None
        self._pair: tuple[Image, Image] | None = None
        self._part: Image | None = None
        self.mode = Mode.OFF
        self.from_side = False
        layers, self._connections = viewer.layers.events, Connections()
        self._connections.add([layers.inserted, layers.removed], self._end)
        self._connections.add([layers.reordered], self._order)
        self._connections.add([viewer.canvas.grid.events.enabled], self._follow_grid)
        self._shared = Connections()

    def toggle_side_by_side(self, original: Image, result: Image) -> None:
        """Show both beside each other and hide all other layers, or end that."""
        was = self.mode
        self.stop()
        if was is Mode.SIDE_BY_SIDE:
            return
        grid = self._viewer.canvas.grid
        layers = [unwrapped(layer) for layer in self._viewer.layers]
        # What is added later would end the comparison.
        self._part = _part(original, result)
        if self._part is not None:
            with selection_kept(self._viewer):
                self._viewer.add_layer(self._part)
        pair = (self._part or original, result)
        camera, dims = self._viewer.scene.camera, self._viewer.dims
        self._before = Before(
            visible=[(layer, layer.visible) for layer in layers],
            contrast=_contrast(pair[0]),
            grid={name: getattr(grid, name) for name in GRID},
            camera={name: getattr(camera, name) for name in CAMERA},
            dims={name: getattr(dims, name) for name in DIMS},
        )
        self._pair = pair
        for layer in layers:
            layer.visible = layer in pair
        grid.shape, grid.spacing = (1, 2), SPACING_PX
        self._order()
        self._turn(result)
        self._fit(result)
        self._share_contrast(pair)
        grid.enabled = True
        self._set(Mode.SIDE_BY_SIDE)

    def toggle_flip(self, original: Image, result: Image) -> None:
        """Show the original where the result is seen, or the reverse, or end that."""
        was = self.mode
        self.stop()
        if was is Mode.FLIPPED:
            return
        pair = (original, result)
        self._before = Before(
            visible=[(layer, layer.visible) for layer in pair],
            contrast=_contrast(original),
            grid={},
            camera={},
            dims={},
        )
        self._pair = pair
        self._share_contrast(pair)
        shows_result = result.visible
        result.visible = not shows_result
        if shows_result:
            original.visible = True
        elif result.blending in TRANSPARENT_BLENDING:
            original.visible = False
        self._set(Mode.FLIPPED)

    def stop(self) -> None:
        """Show everything as it was before."""
        before, self._before, self._pair = self._before, None, None
        if before is None:
            return
        present = {unwrapped(layer) for layer in self._viewer.layers}
        self._shared.close()
        original, contrast = before.contrast
        for name, value in contrast.items():
            setattr(original, name, value)
        for layer, visible in before.visible:
            if layer in present:
                layer.visible = visible
        part, self._part = self._part, None
        if part in present:
            with selection_kept(self._viewer):
                self._viewer.layers.remove(part)
        dims, self.from_side = self._viewer.dims, False
        same_axes = len(before.dims.get("order", ())) == dims.ndim
        for target, values in (
            (dims, before.dims if same_axes else {}),
            (self._viewer.canvas.grid, before.grid),
            (self._viewer.scene.camera, before.camera),
        ):
            for name, value in values.items():
                setattr(target, name, value)
        self._set(Mode.OFF)

    def close(self) -> None:
        """Stop, and ignore the viewer from now on."""
        self._connections.close()
        self.stop()

    def _share_contrast(self, pair: tuple[Image, Image]) -> None:
        """Give the original the contrast of the result, and each that of the other."""
        if any(layer.rgb for layer in pair):
            return
        original, result = pair
        for name in CONTRAST:
            setattr(original, name, getattr(result, name))
        for changed, follower in (pair, pair[::-1]):
            signals = [changed.events[name] for name in CONTRAST]
            self._shared.add(signals, partial(take_over, follower))

    def _set(self, mode: Mode) -> None:
        self.mode = mode
        self._on_changed()

    def _end(self, _event: Any = None) -> None:
        self.stop()

    def _follow_grid(self, _event: Any = None) -> None:
        if self.mode is Mode.SIDE_BY_SIDE and not self._viewer.canvas.grid.enabled:
            self.stop()

    def _order(self, _event: Any = None) -> None:
        """Let the original be on the left, whatever the order of the layer list."""
        if self._pair is not None and self._before is not None and self._before.grid:
            original, result = map(self._viewer.layers.index, self._pair)
            self._viewer.canvas.grid.stride = 1 if original < result else -1

    def _turn(self, result: Image) -> None:
        """Show X and Z, Z downwards, where only more slices tell a result apart."""
        dims, recipe = self._viewer.dims, layer_recipe(result)
        self.from_side = dims.ndisplay == 2 and factor_z(recipe) is not None
        if not self.from_side:
            return
        axes = recipe["input"]["axes"]
        before = dims.ndim - result.ndim
        y, z, x = (before + axes.index(letter) for letter in "YZX")
        low, high = _edges(result, y - dims.ndim, self._viewer.layers.extent.units)
        shown = dims.point[y]
        if y in dims.displayed:
            seen = self._viewer.scene.camera.center[dims.displayed.index(y) - 2]
            shown = min(max(seen, low), high)
        rest = [axis for axis in range(dims.ndim) if axis not in (y, z, x)]
        dims.order = (*rest, y, z, x)
        dims.set_point(y, shown)

    def _fit(self, result: Image) -> None:
        """Show in half of the canvas what the whole has shown of the result.

        The result of a part, and one seen from the side, is shown whole.
        """
        dims, camera = self._viewer.dims, self._viewer.scene.camera
        axes = [axis - dims.ndim for axis in dims.displayed]
        if dims.ndisplay != 2 or -min(axes) > result.ndim:
            return
        canvas = np.array(self._viewer.canvas.size)
        units = self._viewer.layers.extent.units
        edges = np.array([_edges(result, axis, units) for axis in axes])
        low, high = edges.T
        if self._part is None and not self.from_side:
            reach = canvas / camera.zoom / 2
            seen = np.clip(camera.center[-2:] + np.outer((-1, 1), reach), low, high)
            if (seen[0] < seen[1]).all():
                low, high = seen
        camera.center = (*camera.center[:-2], *map(float, (low + high) / 2))
        camera.zoom = FILLED * float(min(canvas * (1, 0.5) / (high - low)))


def _contrast(layer: Image) -> tuple[Image, dict[str, Any]]:
    """A layer with its contrast; nothing for colours, which have none."""
    return layer, {} if layer.rgb else {n: getattr(layer, n) for n in CONTRAST}


def _edges(layer: Image, axis: int, units: Any) -> tuple[float, float]:
    """Both edges of a layer along an axis, in the viewer's units, if it has any."""
    extent = layer.extent
    # The extent is that of the centres.
    edges = extent.world[:, axis] + extent.step[axis] * np.array((-0.5, 0.5))
    if units is not None:
        edges *= unit_ratio(layer.units[axis], units[axis])
    low, high = map(float, edges)
    return low, high


def _part(original: Image, result: Image) -> Image | None:
    """The part of the original's planes that was enlarged; None for the whole."""
    source = layer_recipe(result).get("input") or {}
    ranges = selection_of(source).ranges
    part = Selection(ranges={a: ends for a, ends in ranges.items() if a in "YX"})
    if not part.ranges:
        return None
    axes = source["axes"]
    kwargs = result_kwargs(original, axes, part, (1, 1), {})
    kwargs |= {"name": f"{original.name}, same area", "metadata": {COMPARISON: True}}
    return Image(lazy_stack(original, axes, part).data, **kwargs)


def compared_pair(viewer: Viewer) -> tuple[Image, Image]:
    """Original and result that belong to the selected layer, which is one of them.

    InputError where there is no such pair, or the original is not open.
    """
    result = selected_result(viewer)
    if result is None:
        raise InputError(NO_RESULT)
    original = original_of(result, viewer)
    if not isinstance(original, Image):
        raise InputError(
            f"The original of {result.name} is not open; open {original.name} to "
            "compare them."
        )
    return original, result


def selected_result(viewer: Viewer) -> Image | None:
    """The selected result, or the topmost one made from the selected image."""
    selected = unwrapped(viewer.layers.selection.active)
    if not isinstance(selected, Image):
        return None
    if "config" in layer_recipe(selected):
        return selected
    made = results_of(selected)
    present = [layer for layer in map(unwrapped, viewer.layers) if layer in made]
    return present[-1] if present else None
