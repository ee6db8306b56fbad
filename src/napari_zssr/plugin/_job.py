"""One enlargement in memory: what is done in the worker, and its pixels so far."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from napari_zssr.plugin._layers import layer_stack, result_kwargs
from napari_zssr.plugin._stored import reach
from napari_zssr.plugin._summary import stopped
from napari_zssr.progress import Progress, Steps
from napari_zssr.stack.recipe import recipe, unfinished_recipe

if TYPE_CHECKING:
    from napari_zssr.plugin._request import Request
    from napari_zssr.stack.report import Report
    from napari_zssr.zssr.saved import Checkpoint


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Enlarged:
    """A result and the recipe that makes it again.

    Attributes
    ----------
    data : ndarray or dask array, or list of these
        Pixels for the layer; a list of levels, the full resolution first.
    report : Report
    recipe : dict
    networks : tuple of (Checkpoint or None)
        One for each channel, or empty.
    """

    data: Any
    report: Report
    recipe: dict[str, Any]
    networks: tuple[Checkpoint | None, ...] = ()


class Job(Protocol):
    """One request on its way: its pixels so far and how its layer will lie.

    The layer's place and looks are taken when the job is made, so that nothing that
    happens to the layer during the run matters.

    Attributes
    ----------
    request : Request
    name : str
        Of the layer.
    started : float
        When, by ``time.monotonic``.
    refresh_s : float
        How often the growing layer is shown anew at most.
    kwargs : dict
        Place and looks of the result's layer.
    recipe : dict
        Recipe of what is not finished yet.
    part : str
        Folder of what is finished, by which a layer is known again; empty in memory.
    """

    request: Request
    name: str
    started: float
    refresh_s: float
    kwargs: dict[str, Any]
    recipe: dict[str, Any]

    @property
    def part(self) -> str:
        """Where it grows on disk."""

    def steps(self) -> Steps[Enlarged]:
        """Everything that is done in the worker."""

    def reached(self, count: int) -> Any:
        """Pixels as far as the first so many slices reach."""

    def left(self, finished: int, planes: int, black: int) -> str:
        """What is left when it was stopped, in words."""


class MemoryJob:
    """A job whose result is held in memory."""

    refresh_s = 0.3
    part = ""

    def __init__(self, request: Request) -> None:
        self.request = request
        self.recipe: dict[str, Any] = {}
        self.started = time.monotonic()
        self.name = request.layer.name
        self.kwargs = placed(request)
        self._out: NDArray[Any] | None = None

    def steps(self) -> Steps[Enlarged]:
        """Read the layer and enlarge it."""
        from napari_zssr.stack.run import upscale_steps

        request = self.request
        yield Progress(stage="read", step=0, total=1)
        stack = layer_stack(request.layer, request.axes, request.selection)
        ranges = request.selection.ranges
        self.recipe = unfinished_recipe(stack, request.config, selection=ranges)
        steps = upscale_steps(stack, request.config, allocate=self._allocate)
        result = yield from steps
        return Enlarged(
            data=result.image,
            report=result.report,
            recipe=recipe(stack, result, selection=ranges),
            networks=result.networks,
        )

    def _allocate(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray[Any]:
        # Zeros are not written until a slice is: a large result costs nothing yet.
        self._out = np.zeros(shape, dtype)
        return self._out

    def reached(self, count: int) -> NDArray[Any]:
        """As far as what is finished: the rest would be black."""
        assert self._out is not None
        there = reach(self._out.shape, self.request.axes, count)
        return self._out[tuple(slice(n) for n in there)]

    def left(self, finished: int, planes: int, black: int) -> str:
        """What the layer holds."""
        return stopped(self.name, finished, planes, black)


def placed(request: Request) -> dict[str, Any]:
    """Place and looks of the layer of a result."""
    return result_kwargs(
        request.layer, request.axes, request.selection, request.config.factors, {}
    )
