"""Hears of every change within a layer that a form depends on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from napari.layers import Image, Layer, Shapes
from napari.viewer import Viewer

from napari_zssr.plugin.connections import Connections
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
        self._connections = Connections()
        for layer in viewer.layers:
            self._follow(unwrapped(layer))
        events = viewer.layers.events
        self._connections.add([events.inserted], self._add)
        self._connections.add([events.removed], self._remove)

    def close(self) -> None:
        """Ignore all layers from now on."""
        self._connections.close()

    def _add(self, event: Any) -> None:
        self._follow(unwrapped(event.value))

    def _follow(self, layer: Layer) -> None:
        self._connections.add(_signals(layer), self._edited)
        # Of several shapes the selected one counts.
        self._connections.add(_choices(layer), self._selected)

    def _remove(self, event: Any) -> None:
        layer = unwrapped(event.value)
        self._connections.drop([*_signals(layer), *_choices(layer)])

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


def _choices(layer: Layer) -> Iterator[Any]:
    if _is_drawn(layer):
        yield layer.selected_data.events.items_changed
