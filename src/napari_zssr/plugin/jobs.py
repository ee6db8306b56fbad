"""Enlargement of a layer, in memory or to a file: a job of the run controller."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from napari.layers import Image
from numpy.typing import NDArray

from napari_zssr.errors import ComputeError
from napari_zssr.execution.ledger import IMAGE, part_folder
from napari_zssr.plugin.clock import Clock
from napari_zssr.plugin.layers.layers import (
    Selection,
    layer_spacing,
    layer_stack,
    result_kwargs,
)
from napari_zssr.plugin.layers.results import (
    LevelPixels,
    layer_data,
    reach,
    stored_levels,
    stored_tiff,
)
from napari_zssr.plugin.request import Request
from napari_zssr.progress import Progress, Steps
from napari_zssr.stack.image import Outline, error_outline
from napari_zssr.stack.recipe import planes_name
from napari_zssr.stack.report import Report, recipe, to_json_types, unfinished_recipe
from napari_zssr.zssr.checkpoint import Checkpoint
from napari_zssr.zssr.cost import Work, assumed_work


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Enlarged:
    """A result: pixels or pyramid levels, and the recipe that reproduces it.

    `networks` has one entry for each channel, or none at all; `errors` are pixels or
    levels of the standard error, without samples, where it was asked for.
    """

    data: Any
    report: Report
    recipe: dict[str, Any]
    networks: tuple[Checkpoint | None, ...] = ()
    errors: Any = None


class Job(ABC):
    """Enlargement of one layer.

    `kwargs`, the arguments of the result's layer, are taken when the job is created, so
    that changes of the layer during the run do not matter.
    """

    # Shortest time between updates of the growing layer.
    refresh_s = 0.3
    # Folder of the planes that are finished; none in memory.
    part: Path | None = None

    def __init__(self, request: Request) -> None:
        self.request = request
        self.name: str = request.layer.name
        self.kwargs = result_kwargs(
            request.layer,
            request.axes,
            request.selection,
            request.factors,
            {},
            request.config.preset,
        )
        self.recipe: dict[str, Any] = {}
        self.clock: Clock | None = Clock(
            request.work or _assumed_work(request), request.sizes
        )
        # What is left of a run to disk that goes on has no estimate.
        self.expected = request.work if request.target is None else None

    @abstractmethod
    def steps(self) -> Steps[Enlarged]:
        """The computation itself, in the worker thread."""

    @abstractmethod
    def reached(self, count: int) -> Any:
        """Pixels as far as the first `count` planes reach: the rest would be black."""


def _assumed_work(request: Request) -> Work:
    stack = request.lazy_stack()
    return assumed_work(
        request.config,
        request.starts,
        stack.data.shape,
        stack.axes,
        request.factor_z,
    )


class MemoryJob(Job):
    """A job whose result is held in memory."""

    _out: NDArray[Any] | None = None

    def steps(self) -> Steps[Enlarged]:
        """Read the layer and enlarge it."""
        from napari_zssr.stack.run import upscale_steps

        request = self.request
        yield Progress(stage="read", step=0, total=1)
        stack = layer_stack(request.layer, request.axes, request.selection)
        ranges = request.selection.ranges
        self.recipe = unfinished_recipe(stack, request.config, selection=ranges)
        result = yield from upscale_steps(
            stack, request.config, allocate=self._allocate
        )
        return Enlarged(
            data=result.image,
            report=result.report,
            recipe=recipe(stack, result, selection=ranges),
            networks=result.networks,
            errors=result.error,
        )

    def _allocate(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray[Any]:
        # The operating system provides the memory of zeros only as they are written.
        self._out = np.zeros(shape, dtype)
        return self._out

    def reached(self, count: int) -> NDArray[Any]:
        """Pixels as far as the first `count` planes reach: the rest would be black."""
        assert self._out is not None
        sizes = reach(self._out.shape, self.request.axes, count)
        return self._out[tuple(slice(n) for n in sizes)]


class DiskJob(Job):
    """A job whose result is written to a file; its layer is read from there."""

    refresh_s = 1.0
    _samples = 1
    _stored: list[LevelPixels] | None = None

    def __init__(self, request: Request) -> None:
        super().__init__(request)
        assert request.target is not None
        self._target = request.target.expanduser().resolve()
        self.part: Path = part_folder(self._target)

    def steps(self) -> Steps[Enlarged]:
        """Enlarge the layer plane by plane, or resume a cancelled run."""
        from napari_zssr.execution.run import upscale_to_disk_steps

        request = self.request
        yield Progress(stage="read", step=0, total=1)
        stack = request.lazy_stack()
        origin = file_origin(request.layer, stack.axes, request.selection)
        stack = replace(stack, origin=origin)
        self._samples = dict(zip(stack.axes, stack.data.shape, strict=True)).get("S", 1)
        ranges = request.selection.ranges
        self.recipe = unfinished_recipe(stack, request.config, selection=ranges)
        written = yield from upscale_to_disk_steps(
            stack, request.config, self._target, overwrite=request.overwrite
        )
        if written.path is None:
            count = written.missing + len(written.report.planes)
            why = written.failures[0][1] if written.failures else ""
            name = planes_name(count, request.sizes.get("C", 1))
            raise ComputeError(
                f"{written.missing} of {count} {name} failed. {why}".strip()
            )
        data = _stored_pixels(written.path, written.outline)
        errors = None
        if written.error_path is not None:
            outline = error_outline(written.outline)
            errors = _stored_pixels(written.error_path, outline)
        report = to_json_types(written.report.to_dict())
        return Enlarged(
            data=data,
            report=written.report,
            recipe=self.recipe | {"report": report, "file": str(written.path)},
            networks=written.networks,
            errors=errors,
        )

    def reached(self, count: int) -> Any:
        """All levels as far as the first `count` planes reach."""
        if self._stored is None:
            self._stored = stored_levels(
                self.request.axes, self._samples, self.part / IMAGE, self._target
            )
        return layer_data(self._stored, count)


def _stored_pixels(path: Path, outline: Outline) -> Any:
    """Pixels or levels of a file that we wrote, in the axes of its outline."""
    if path.suffix.lower() == ".zarr":
        samples = outline.sizes.get("S", 1)
        return layer_data(stored_levels(outline.axes, samples, path))
    return stored_tiff(path, outline.axes, outline.shape)


def file_origin(layer: Image, axes: str, selection: Selection) -> tuple[float, ...]:
    """Centre of the first pixel of a part along each axis, as files store it.

    Files know neither rotation nor shear: for a layer that has them, the position is
    that within the layer.
    """
    is_straight = np.allclose(layer.rotate, np.eye(layer.ndim))
    is_straight &= not np.any(layer.shear)
    known, _ = layer_spacing(layer, axes)
    starts = selection.starts(axes)[: layer.ndim]
    origin = [
        start * abs(float(size)) + (float(offset) if is_straight else 0.0)
        if letter in known
        else float(start)
        for letter, start, size, offset in zip(
            axes, starts, layer.scale, layer.translate, strict=False
        )
    ]
    return (*origin, *(0.0,) * (len(axes) - len(origin)))
