"""Hears of every change within a layer that a form depends on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from napari.layers import Image, Layer, Shapes
from napari.viewer import Viewer

from napari_zssr.plugin.layers.aids import is_aid
from napari_zssr.plugin.layers.layers import unwrapped

PLACE = ("scale", "translate", "rotate", "shear", "affine", "units", "axis_labels")


class Edits:
    """Calls back when shapes are drawn or moved, or an image is replaced or moved.

    Of images only the one that `chosen` returns counts. Layers that are added later are
    followed too, removed ones no longer.
    """

    def __init__(
        self,
        viewer: Viewer,
        chosen: Callable[[], Image | None],
        on_edit: Callable[[], object],
    ) -> None:
        self._chosen, self._on_edit = chosen, on_edit
        for layer in viewer.layers:
            self._follow(unwrapped(layer))
        viewer.layers.events.inserted.connect(self._add)
        viewer.layers.events.removed.connect(self._remove)

    def _add(self, event: Any) -> None:
        self._follow(unwrapped(event.value))

    def _follow(self, layer: Layer) -> None:
        for signal in _signals(layer):
            signal.connect(self._edited)
        if _is_drawn(layer):
            # Of several shapes the selected one counts.
            layer.selected_data.events.items_changed.connect(self._selected)

    def _remove(self, event: Any) -> None:
        layer = unwrapped(event.value)
        for signal in _signals(layer):
            signal.disconnect(self._edited)
        if _is_drawn(layer):
            layer.selected_data.events.items_changed.disconnect(self._selected)

    def _edited(self, event: Any) -> None:
        layer = unwrapped(event.source)
        if _is_drawn(layer) or layer is self._chosen():
            self._on_edit()

    def _selected(self) -> None:
        self._on_edit()


def _is_drawn(layer: Layer) -> bool:
    return isinstance(layer, Shapes) and not is_aid(layer)


def _signals(layer: Layer) -> Iterator[Any]:
    if isinstance(layer, Image) or _is_drawn(layer):
        for name in ("data", *PLACE):
            yield getattr(layer.events, name)
