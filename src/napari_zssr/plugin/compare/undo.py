"""Undo of a run: its layers are removed, and the originals shown as they were."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from weakref import ref

from napari.layers import Image, Layer
from napari.viewer import Viewer

from napari_zssr.plugin.layers.layers import unwrapped
from napari_zssr.plugin.layers.results import results_of


class Undo:
    """Removes the layers that the latest run has added; holds none of them alive."""

    def __init__(self, viewer: Viewer) -> None:
        self._viewer = viewer
        self._added: list[ref[Layer]] = []
        self._visible: list[tuple[ref[Layer], bool]] = []
        self._selected: list[ref[Layer]] = []
        self._active: ref[Layer] | None = None

    def begin(self, originals: Sequence[Image]) -> None:
        """Note what is selected before a run, and whether its layers are visible."""
        selection = self._viewer.layers.selection
        active = unwrapped(selection.active)
        self._added.clear()
        shown = [*originals, *(r for one in originals for r in results_of(one))]
        self._visible = [(ref(layer), layer.visible) for layer in shown]
        self._selected = [ref(unwrapped(layer)) for layer in selection]
        self._active = None if active is None else ref(active)

    def add(self, layers: Iterable[Layer]) -> None:
        """Note layers that the run has added."""
        self._added += [ref(layer) for layer in layers]

    @property
    def possible(self) -> bool:
        """Whether any of the added layers is still there."""
        return bool(self._present(self._added))

    def undo(self) -> None:
        """Remove the added layers and restore what was visible and selected."""
        for layer in self._present(self._added):
            self._viewer.layers.remove(layer)
        self._added.clear()
        for reference, visible in self._visible:
            for layer in self._present([reference]):
                layer.visible = visible
        selection = self._viewer.layers.selection
        selection.clear()
        selection.update(self._present(self._selected))
        if self._active is not None:
            for layer in self._present([self._active]):
                selection.active = layer
        # Setting the active layer selects it alone.
        selection.update(self._present(self._selected))

    def _present(self, references: Iterable[ref[Layer]]) -> list[Layer]:
        layers = [unwrapped(layer) for layer in self._viewer.layers]
        known = (reference() for reference in references)
        return list(
            dict.fromkeys(one for one in known if one is not None and one in layers)
        )
