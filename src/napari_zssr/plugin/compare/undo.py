"""Undo and redo of a run: its layers go and come back, and the originals' look."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any
from weakref import ref

from napari.layers import Image, Layer
from napari.viewer import Viewer

from napari_zssr.plugin.connections import Connections
from napari_zssr.plugin.layers.layers import unwrapped
from napari_zssr.plugin.layers.results import results_of


@dataclass(slots=True, kw_only=True, eq=False)
class Look:
    """Which layers are visible and selected; holds none of them alive."""

    visible: list[tuple[ref[Layer], bool]] = field(default_factory=list)
    selected: list[ref[Layer]] = field(default_factory=list)
    active: ref[Layer] | None = None


class Undo:
    """Removes the layers that the latest run has added, and puts them back.

    Only what is removed is kept alive: until the next run, or until an original is
    removed. `on_lost` is called when it cannot be put back any more.
    """

    def __init__(self, viewer: Viewer, on_lost: Callable[[], object]) -> None:
        self._viewer = viewer
        self._on_lost = on_lost
        self._originals: list[ref[Layer]] = []
        self._added: list[ref[Layer]] = []
        self._before, self._after = Look(), Look()
        # Layers with their places at that time, in the order of their removal.
        self._removed: list[tuple[int, Layer]] = []
        self._connections = Connections()
        self._connections.add([viewer.layers.events.removed], self._follow_removed)

    def begin(self, originals: Sequence[Image]) -> None:
        """Note what is selected before a run, and whether its layers are visible."""
        self._removed.clear()
        self._added.clear()
        self._originals = [ref(layer) for layer in originals]
        shown = [*originals, *(r for one in originals for r in results_of(one))]
        self._before = self._look(shown)

    def add(self, layers: Iterable[Layer]) -> None:
        """Note layers that the run has added."""
        self._added += [ref(layer) for layer in layers]

    @property
    def possible(self) -> bool:
        """Whether any of the added layers is still there."""
        return bool(self._present(self._added))

    @property
    def redo_possible(self) -> bool:
        """Whether there is nothing to undo, but something that was undone."""
        return bool(self._removed) and not self.possible

    @property
    def removed(self) -> list[Layer]:
        """Layers that can be put back."""
        return [layer for _, layer in self._removed]

    def undo(self) -> None:
        """Remove the added layers and restore what was visible and selected."""
        added = self._present(self._added)
        shown = [one for reference, _ in self._before.visible if (one := reference())]
        self._after = self._look([*shown, *added])
        for layer in added:
            self._removed.append((self._viewer.layers.index(layer), layer))
            self._viewer.layers.remove(layer)
        self._show(self._before)

    def redo(self) -> None:
        """Put back what `undo` has removed, where it was and as it was."""
        layers = self._viewer.layers
        while self._removed:
            index, layer = self._removed.pop()
            layers.insert(min(index, len(layers)), layer)
        self._show(self._after)

    def close(self) -> None:
        """Let go of what was removed, and ignore the viewer from now on."""
        self._connections.close()
        self._removed.clear()

    def _follow_removed(self, event: Any) -> None:
        layer = unwrapped(event.value)
        if self._removed and any(one() is layer for one in self._originals):
            self._removed.clear()
            self._on_lost()

    def _look(self, layers: Iterable[Layer]) -> Look:
        """What is selected now, and which of these layers are visible."""
        selection = self._viewer.layers.selection
        active = unwrapped(selection.active)
        return Look(
            visible=[(ref(layer), layer.visible) for layer in layers],
            selected=[ref(unwrapped(layer)) for layer in selection],
            active=None if active is None else ref(active),
        )

    def _show(self, look: Look) -> None:
        for reference, visible in look.visible:
            for layer in self._present([reference]):
                layer.visible = visible
        selection = self._viewer.layers.selection
        selection.clear()
        selection.update(self._present(look.selected))
        if look.active is not None:
            for layer in self._present([look.active]):
                selection.active = layer
        # Setting the active layer selects it alone.
        selection.update(self._present(look.selected))

    def _present(self, references: Iterable[ref[Layer]]) -> list[Layer]:
        layers = [unwrapped(layer) for layer in self._viewer.layers]
        known = (reference() for reference in references)
        return list(
            dict.fromkeys(one for one in known if one is not None and one in layers)
        )
