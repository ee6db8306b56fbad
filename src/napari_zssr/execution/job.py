"""A run to disk and its tasks: what they have in common, whatever they work on."""

from __future__ import annotations

import os
import secrets
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_zssr.atomic import storage_errors
from napari_zssr.execution.executors import Workers
from napari_zssr.execution.ledger import Ledger
from napari_zssr.stack.image import (
    CheckedPlanes,
    ImageStack,
    Outline,
    StoredArray,
    is_lazy,
)


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
