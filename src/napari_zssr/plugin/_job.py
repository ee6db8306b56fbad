"""One enlargement: what is done in the worker, and the layer that grows meanwhile."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Image
from numpy.typing import NDArray

from napari_zssr.plugin._layers import (
    KEY,
    layer_stack,
    match_contrast_range,
    result_kwargs,
)
from napari_zssr.progress import PlaneDone, Progress, Steps
from napari_zssr.stack.axes import output_shape
from napari_zssr.stack.recipe import recipe, unfinished_recipe

if TYPE_CHECKING:
    from napari.viewer import Viewer

    from napari_zssr.plugin._request import Request
    from napari_zssr.stack.run import Upscaled

REFRESH_S = 0.3
# What lies below shows through: an image and its result would be twice as bright.
ADDING = ("additive", "minimum", "multiplicative")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Enlarged:
    """A result and the recipe that makes it again."""

    result: Upscaled
    recipe: dict[str, Any]


class Job:
    """One request on its way: its pixels so far and how its layer will lie.

    The layer's place and looks are taken when the job is made, so that nothing that
    happens to the layer during the run matters.
    """

    def __init__(self, request: Request) -> None:
        self.request = request
        self.out: NDArray[Any] | None = None
        self.recipe: dict[str, Any] = {}
        self.started = time.monotonic()
        self.name = request.layer.name
        self.kwargs = result_kwargs(
            request.layer,
            request.axes,
            request.selection,
            request.config.factors,
            {},
        )

    def steps(self) -> Steps[Enlarged]:
        """Everything that is done in the worker."""
        from napari_zssr.stack.run import upscale_steps

        request = self.request
        yield Progress(stage="read", step=0, total=1)
        stack = layer_stack(request.layer, request.axes, request.selection)
        ranges = request.selection.ranges
        self.recipe = unfinished_recipe(stack, request.config, selection=ranges)
        shape = output_shape(stack.data.shape, stack.axes, request.config.factors)
        # Zeros are not written until a slice is: a large result costs nothing yet.
        self.out = np.zeros(shape, stack.data.dtype.newbyteorder("="))
        result = yield from upscale_steps(stack, request.config, out=self.out)
        return Enlarged(result=result, recipe=recipe(stack, result, selection=ranges))


class GrowingLayer:
    """The result layer, which is there from the first finished slice on."""

    def __init__(self, viewer: Viewer, job: Job) -> None:
        self._viewer = viewer
        self._job = job
        self._shown = 0.0
        self.layer: Image | None = None
        self.finished = 0
        self.planes = 1
        self.hides = False

    def show(self, event: PlaneDone) -> None:
        """Show the slices that are there, not more often than can be seen."""
        self.finished, self.planes = event.done, event.planes
        if self.layer is None:
            self._add()
        elif time.monotonic() - self._shown > REFRESH_S:
            self._show_finished()

    def complete(self, made: Enlarged) -> None:
        """Show the whole result with its recipe, also when it was taken away.

        What was enlarged is hidden where both would add up.
        """
        if self.layer is None or self.layer not in self._viewer.layers:
            self._add()
        self._show_finished()
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
        told = {"finished": self.finished, "planes": self.planes}
        self.layer.metadata[KEY] = self._job.recipe | told

    @property
    def black(self) -> int:
        """Slices that the layer holds although they are not finished."""
        if self.layer is None:
            return 0
        sizes = zip(self._job.request.axes, self._finished().shape, strict=True)
        there: int = math.prod(n for a, n in sizes if a not in "YXS")
        return there - self.finished

    def discard(self) -> None:
        """Take the layer away again."""
        if self.layer is not None and self.layer in self._viewer.layers:
            self._viewer.layers.remove(self.layer)
        self.layer = None

    def _add(self) -> None:
        self.layer = Image(self._finished(), **self._job.kwargs)
        self._viewer.add_layer(self.layer)
        match_contrast_range(self._job.request.layer, self.layer)
        self._shown = time.monotonic()

    def _show_finished(self) -> None:
        """Let the layer reach as far as what is finished: the rest would be black."""
        assert self.layer is not None
        there = self._finished()
        if there.shape != self.layer.data.shape:
            self.layer.data = there
        else:
            self.layer.refresh()
        self._shown = time.monotonic()

    def _finished(self) -> NDArray[Any]:
        assert self._job.out is not None
        return _reached(self._job.out, self._job.request.axes, self.finished)


def _reached(out: NDArray[Any], axes: str, finished: int) -> NDArray[Any]:
    """Part of the result along its first stacked axis that holds finished slices."""
    stacked = [i for i, letter in enumerate(axes) if letter not in "YXS"]
    outer = next((i for i in stacked if out.shape[i] > 1), None)
    if outer is None:
        return out
    inner = int(np.prod([out.shape[i] for i in stacked if i > outer]))
    kept = -(-finished // inner)
    return out[(slice(None),) * outer + (slice(kept),)]
