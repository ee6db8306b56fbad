"""One enlargement to disk: what is done in the worker, and its file so far."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_zssr.errors import ComputeError
from napari_zssr.plugin._job import Enlarged, placed
from napari_zssr.plugin._layers import layer_spacing, lazy_stack
from napari_zssr.plugin._stored import StoredImage, stored_tiff
from napari_zssr.plugin._summary import kept
from napari_zssr.progress import Progress, Steps
from napari_zssr.stack.finish import IMAGE, part_folder
from napari_zssr.stack.ledger import Ledger
from napari_zssr.stack.recipe import plain, unfinished_recipe

if TYPE_CHECKING:
    from pathlib import Path

    from napari.layers import Image

    from napari_zssr.plugin._layers import Selection
    from napari_zssr.plugin._request import Request
    from napari_zssr.stack.disk import Written


class DiskJob:
    """A job whose result is written to a file; its layer is never in memory whole.

    Parameters
    ----------
    request : Request
        With a target.
    """

    refresh_s = 1.0

    def __init__(self, request: Request) -> None:
        assert request.target is not None
        self.request = request
        self.recipe: dict[str, Any] = {}
        self.started = time.monotonic()
        self.name = request.layer.name
        self.kwargs = placed(request)
        self._target: Path = request.target.expanduser().resolve()
        self._part = part_folder(self._target)
        self._samples = 1
        self._stored: StoredImage | None = None

    @property
    def part(self) -> str:
        """Where it grows."""
        return str(self._part)

    def steps(self) -> Steps[Enlarged]:
        """Enlarge the layer slice by slice, or go on where that was stopped."""
        from napari_zssr.stack.disk import upscale_to_disk_steps

        request = self.request
        yield Progress(stage="read", step=0, total=1)
        stack = lazy_stack(request.layer, request.axes, request.selection)
        origin = file_origin(request.layer, stack.axes, request.selection)
        stack = replace(stack, origin=origin)
        sizes = dict(zip(stack.axes, stack.data.shape, strict=True))
        self._samples = sizes.get("S", 1)
        ranges = request.selection.ranges
        self.recipe = unfinished_recipe(stack, request.config, selection=ranges)
        made = yield from upscale_to_disk_steps(
            stack, request.config, self._target, overwrite=request.overwrite
        )
        if made.path is None:
            raise ComputeError(_failed(made))
        told = {"report": plain(made.report.to_dict()), "file": str(made.path)}
        return Enlarged(
            data=self._finished(made),
            report=made.report,
            recipe=self.recipe | told,
            networks=made.networks,
        )

    def reached(self, count: int) -> Any:
        """All levels, as far as what is finished: the rest would be black."""
        if self._stored is None:
            places = [self._part / IMAGE]
            places += [self._target] if self._is_zarr else []
            self._stored = StoredImage(self.request.axes, self._samples, *places)
        return _one_or_all(self._stored.levels(count))

    def left(self, finished: int, planes: int, black: int) -> str:
        """What the folder holds, whichever run has put it there."""
        if self._part.is_dir():
            finished = max(finished, len(Ledger(self._part).finished()))
        return kept(self.name, finished, planes, self._part)

    @property
    def _is_zarr(self) -> bool:
        return self._target.suffix.lower() == ".zarr"

    def _finished(self, made: Written) -> Any:
        assert made.path is not None
        axes = self.request.axes
        if self._is_zarr:
            return _one_or_all(StoredImage(axes, self._samples, made.path).levels())
        return stored_tiff(made.path, axes, made.outline.shape)


def file_origin(layer: Image, axes: str, selection: Selection) -> tuple[float, ...]:
    """Centre of the first pixel of a part along each axis, as files tell it.

    They know neither rotation nor shear: of a layer that has them, the place in it.
    """
    straight = np.allclose(layer.rotate, np.eye(layer.ndim))
    straight &= not np.any(layer.shear)
    known, _ = layer_spacing(layer, axes)
    first = selection.starts(axes)[: layer.ndim]
    told = zip(axes, first, layer.scale, layer.translate, strict=False)
    found = [
        start * abs(float(size)) + (float(at) if straight else 0.0)
        if letter in known
        else float(start)
        for letter, start, size, at in told
    ]
    return (*found, *(0.0,) * (len(axes) - len(found)))


def _one_or_all(levels: list[Any]) -> Any:
    """An image of one level is no multiscale one for napari."""
    return levels if len(levels) > 1 else levels[0]


def _failed(made: Written) -> str:
    """Why it is not complete."""
    whole = made.missing + len(made.report.planes)
    why = made.failures[0][1] if made.failures else ""
    return f"{made.missing} of {whole} slices failed. {why}".strip()
