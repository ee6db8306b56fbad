"""A result whose planes are computed when they are looked at."""

from __future__ import annotations

import uuid
from functools import partial
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_zssr.config import Config
from napari_zssr.progress import drain
from napari_zssr.stack.axes import ImageStack, from_cyx, plane_axes
from napari_zssr.stack.prepare import Prepared, make_plan, prepare
from napari_zssr.zssr.saved import Checkpoint

if TYPE_CHECKING:
    import dask.array


def lazily_upscaled(stack: ImageStack, config: Config) -> dask.array.Array:
    """Result with one chunk a plane, which is enlarged when it is computed.

    Parameters
    ----------
    stack : ImageStack
        Its pixels may be lazy; a few planes of each channel are read at once.
    config : Config

    Returns
    -------
    dask array
        Axes and dtype of the image, equal to what a run gives. What the planes of a
        channel share is learned once in each process that computes.

    Raises
    ------
    InputError
        The image or a setting cannot be used.
    """
    import dask.array
    from dask.highlevelgraph import HighLevelGraph

    ready = prepare(stack, config, partial(make_plan, to_disk=True))
    enlarge = _Enlarge(ready)
    axes, shape = ready.stack.axes, ready.plan.output_shape
    inside = [letter in "YXS" for letter in axes]
    grid = [1 if whole else n for whole, n in zip(inside, shape, strict=True)]
    chunks = tuple(
        (n,) if whole else (1,) * n for whole, n in zip(inside, shape, strict=True)
    )
    name = f"upscaled-{uuid.uuid4().hex}"
    layer: dict[Any, Any] = {
        (name, *place): (enlarge, number)
        for number, place in enumerate(np.ndindex(*grid))
    }
    graph = HighLevelGraph.from_collections(name, layer)
    array: Any = dask.array.Array
    made: dask.array.Array = array(graph, name, chunks, dtype=ready.plan.output_dtype)
    return made


class _Enlarge:
    """Enlarges planes by their number; what it has learned stays in its process."""

    def __init__(self, ready: Prepared) -> None:
        self.ready = ready
        self._listed = ready.listed
        self._shared: dict[int, Checkpoint | None] = {}
        self._lock = Lock()

    def __call__(self, number: int) -> NDArray[Any]:
        """The plane, with all axes of the image."""
        place = self._listed[number]
        steps = self.ready.enlarged(place, self._learned(place.channel))
        axes = self.ready.stack.axes
        with drain(steps) as made:
            plane = from_cyx(made.pixels, plane_axes(axes))
        missing = [i for i, letter in enumerate(axes) if letter not in "YXS"]
        return np.expand_dims(plane, missing)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.ready,)

    def _learned(self, channel: int) -> Checkpoint | None:
        """What a channel's planes share, learned by the first of them."""
        if channel not in self.ready.sharing:
            return None
        with self._lock:
            if channel not in self._shared:
                self._shared[channel] = drain(self.ready.shared(channel))
            return self._shared[channel]
