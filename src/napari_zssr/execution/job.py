"""A run to disk and its tasks: what they have in common, whatever they work on."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_zssr.atomic import storage_errors
from napari_zssr.execution.executors import Workers, own_device
from napari_zssr.execution.ledger import ERROR, IMAGE, Ledger
from napari_zssr.execution.scheduler import Failure, run_tasks
from napari_zssr.io.zarr_write import create
from napari_zssr.progress import Steps
from napari_zssr.stack.image import (
    CheckedPlanes,
    ImageStack,
    Outline,
    StoredArray,
    error_outline,
    is_lazy,
)
from napari_zssr.stack.resources import RunPlan

TaskSteps = Steps[tuple[Failure, ...]]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Job:
    """What the tasks of one run have in common, picklable."""

    outline: Outline  # of the result
    part: Path  # folder of the run
    stop_file: Path  # asks the tasks of this run to stop once it exists
    threads: int  # of each task

    @property
    def ledger(self) -> Ledger:
        """The finished planes."""
        return Ledger(self.part)

    def create_image(self, target: Path, *, error_map: bool = False) -> None:
        """Make room for the image that becomes the target, unless it is there."""
        # A TIFF is assembled from the finest level alone.
        levels = None if target.suffix.lower() == ".zarr" else 1
        create(self.part / IMAGE, self.outline, levels=levels)
        if error_map:
            create(self.part / ERROR, error_outline(self.outline), levels=levels)

    def runner(self, device: str, workers: Workers) -> Callable[..., TaskSteps]:
        """`run_tasks` for the tasks of this run, on what it was planned for."""
        resource = "GPU" if device.startswith("cuda") else ""
        return partial(
            run_tasks, workers=workers, resource=resource, stop=self.request_stop
        )

    def request_stop(self) -> None:
        """Ask the tasks of this run to stop, in whatever process they are."""
        # Tasks whose folder is gone or full stop by themselves.
        with suppress(OSError):
            self.stop_file.touch()


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class JobTask:
    """Base of the tasks of a run."""

    job: Job

    @property
    def threads(self) -> int:
        """Threads of every task of the run."""
        return self.job.threads

    def stop_requested(self) -> bool:
        """Whether the run is being stopped."""
        return self.job.stop_file.exists()


def own_plan(plan: RunPlan) -> RunPlan:
    """The plan, for the device of this process."""
    return replace(plan, device=own_device(plan.device))


def new_stop_file(part: Path) -> Path:
    """A name for the file that stops the tasks of a run, and of no other one."""
    return part / f"stop-{secrets.token_hex(4)}"


def with_stored_pixels(stack: ImageStack, part: Path, workers: Workers) -> ImageStack:
    """An image whose pixels other processes can read: those in memory in a file.

    Its planes are checked when they are read.
    """
    checked = stack.data
    assert isinstance(checked, CheckedPlanes)
    # The image as it was given, without the check of each plane.
    pixels: Any = checked.data
    if workers.is_in_process or is_lazy(pixels):
        return stack
    path = part / "input.npy"
    save_array(path, np.asarray(pixels))
    return replace(stack, data=CheckedPlanes(StoredArray(path), checked.nonfinite))


def save_array(path: Path, array: NDArray[Any]) -> None:
    """Save a ``.npy`` file, which is there under its name when it is complete."""
    temporary = path.with_name(f"{secrets.token_hex(4)}.npy")
    with storage_errors(path.parent):
        try:
            np.save(temporary, array)
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
