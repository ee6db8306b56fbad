"""The layer of a result, which grows while the run goes on."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, Any

from napari.layers import Image

from napari_zssr.plugin._layers import KEY, level0, match_contrast_range

if TYPE_CHECKING:
    from napari.viewer import Viewer

    from napari_zssr.plugin._job import Enlarged, Job
    from napari_zssr.progress import PlaneDone

# What lies below shows through: an image and its result would be twice as bright.
ADDING = ("additive", "minimum", "multiplicative")


class GrowingLayer:
    """The result layer, which is there from the first finished slice on."""

    def __init__(self, viewer: Viewer, job: Job) -> None:
        self._viewer = viewer
        self._job = job
        self._shown = 0.0
        self._reached = 0
        self.layer: Image | None = None
        self.finished = 0
        self.planes = 1
        self.hides = False

    def show(self, event: PlaneDone) -> None:
        """Show the slices that are there, not more often than can be seen."""
        self.finished, self.planes = event.done, event.planes
        self._reached = max(self._reached, event.plane + 1, event.done)
        if self.layer is None:
            self._add(self._job.reached(self._reached))
        elif time.monotonic() - self._shown > self._job.refresh_s:
            self._show_finished()

    def complete(self, made: Enlarged) -> None:
        """Show the whole result with its recipe, also when it was taken away.

        What was enlarged is hidden where both would add up.
        """
        if "file" in made.recipe:
            self._drop_replaced(made.recipe["file"])
        if self.layer is None or self.layer not in self._viewer.layers:
            self._add(made.data)
        else:
            self.layer.data = made.data
        assert self.layer is not None
        self.layer.metadata[KEY] = made.recipe
        source = self._job.request.layer
        self.hides = self.layer.blending in ADDING and source.visible
        if self.hides:
            source.visible = False

    def keep_finished(self) -> None:
        """Leave what was reached, with a recipe that says so."""
        if self.layer is None or self.layer not in self._viewer.layers:
            return
        self._show_finished()
        told: dict[str, Any] = {"finished": self.finished, "planes": self.planes}
        if self._job.part:
            told["part"] = self._job.part
        self.layer.metadata[KEY] = self._job.recipe | told

    @property
    def black(self) -> int:
        """Slices that the layer holds although they are not finished."""
        if self.layer is None:
            return 0
        sizes = zip(self._job.request.axes, level0(self.layer).shape, strict=True)
        there: int = math.prod(n for a, n in sizes if a not in "YXS")
        return there - self.finished

    def discard(self) -> None:
        """Take the layer away again."""
        if self.layer is not None and self.layer in self._viewer.layers:
            self._viewer.layers.remove(self.layer)
        self.layer = None

    def _add(self, data: Any) -> None:
        """Show what there is, in the layer that an earlier run has left if it can."""
        self.layer = self._former()
        if self.layer is not None:
            self.layer.data = data
        else:
            # Dask would keep slices as they were before they were finished.
            levels = {"multiscale": isinstance(data, list), "cache": False}
            self.layer = Image(data, **self._job.kwargs | levels)
            self._viewer.add_layer(self.layer)
            match_contrast_range(self._job.request.layer, self.layer)
        self._shown = time.monotonic()

    def _former(self) -> Image | None:
        """Layer that the run which goes on has left; one of other settings goes."""
        for layer in list(self._viewer.layers):
            told = layer.metadata.get(KEY)
            part = told.get("part") if isinstance(told, dict) else None
            if not part or part != self._job.part:
                continue
            if all(told.get(key) == value for key, value in self._job.recipe.items()):
                found: Image = getattr(layer, "__wrapped__", layer)
                return found
            self._viewer.layers.remove(layer)
        return None

    def _drop_replaced(self, file: str) -> None:
        """Take away layers that read the file which was replaced."""
        for layer in list(self._viewer.layers):
            told = layer.metadata.get(KEY)
            if isinstance(told, dict) and told.get("file") == file:
                self._viewer.layers.remove(layer)

    def _show_finished(self) -> None:
        """Let the layer reach as far as what is finished: the rest would be black."""
        assert self.layer is not None
        there = self._job.reached(self._reached)
        if _shape(there) != level0(self.layer).shape:
            self.layer.data = there
        else:
            self.layer.refresh()
        self._shown = time.monotonic()


def _shape(data: Any) -> tuple[int, ...]:
    shape: tuple[int, ...] = (data[0] if isinstance(data, list) else data).shape
    return shape
