"""One enlargement in memory: what is done in the worker, and its pixels so far."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray
from qtpy.QtWidgets import QFileDialog

from napari_zssr.checks import NETWORKS_SUFFIX
from napari_zssr.errors import ComputeError
from napari_zssr.execution.finish import IMAGE, part_folder
from napari_zssr.execution.ledger import Ledger
from napari_zssr.plugin.layers.layers import (
    layer_file,
    layer_spacing,
    layer_stack,
    lazy_stack,
    result_kwargs,
)
from napari_zssr.plugin.layers.results import StoredImage, reach, stored_tiff
from napari_zssr.plugin.summary import kept, stopped
from napari_zssr.progress import Progress, Steps
from napari_zssr.stack.report import recipe, to_json_types, unfinished_recipe

if TYPE_CHECKING:
    from napari.layers import Image

    from napari_zssr.execution.disk_run import Written
    from napari_zssr.plugin.layers.selection import Selection
    from napari_zssr.plugin.request import Request
    from napari_zssr.stack.report import Report
    from napari_zssr.zssr.checkpoint import Checkpoint


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
        from napari_zssr.execution.disk_run import upscale_to_disk_steps

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
        told = {"report": to_json_types(made.report.to_dict()), "file": str(made.path)}
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


class LastNetworks:
    """What the run that finished last has learned; nothing before one has."""

    def __init__(self) -> None:
        self._networks: tuple[Checkpoint | None, ...] = ()
        self._near = Path()

    def __bool__(self) -> bool:
        return bool(self._networks)

    def keep(self, job: Job, networks: tuple[Checkpoint | None, ...]) -> None:
        """Take the networks of a finished run."""
        self._networks = networks
        source = layer_file(job.request.layer)
        folder = Path.home() if source is None else source.parent
        self._near = folder / f"{Path(job.name).name}{NETWORKS_SUFFIX}"

    def ask_and_save(self, parent: Any) -> Path | None:
        """Save them where the user says; None where the user says nowhere.

        Raises
        ------
        InputError
            The name or folder does not allow it.
        ComputeError
            The disk is full or fails.
        """
        path = ask_path(parent, self._near)
        return None if path is None else self.save(path)

    def save(self, path: str | Path) -> Path:
        """Save them; whoever names the file has been asked whether to replace it."""
        from napari_zssr.zssr.checkpoint import write_networks

        return write_networks(path, self._networks, overwrite=True)


def ask_path(parent: Any, proposed: Path) -> str | None:
    """Ask for the file to save to, and whether one that is there is replaced."""
    dialog = QFileDialog(parent, "Save networks", str(proposed.parent))
    dialog.setAcceptMode(QFileDialog.AcceptMode.AcceptSave)
    dialog.setNameFilter(f"Networks (*{NETWORKS_SUFFIX})")
    dialog.setDefaultSuffix(NETWORKS_SUFFIX)
    dialog.selectFile(proposed.name)
    chosen = dialog.selectedFiles() if dialog.exec() else []
    return chosen[0] if chosen else None
