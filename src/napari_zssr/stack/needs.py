"""What a run to disk needs of a machine, and how it is made to fit. No torch here."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from napari_zssr.errors import StorageError
from napari_zssr.stack.plan import SHARE_OF_FREE, Plan

# All levels of a pyramid beside its first one.
PYRAMID = 4 / 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Needs:
    """What a run to disk takes at most.

    Attributes
    ----------
    memory_bytes : int
        Of all workers on this machine together.
    disk_bytes : int
        With what is there for a while only; compression is not counted on.
    disk_free : int or None
        In the folder of the result, None where it cannot be told.
    workers : int
        Processes on this machine that the memory suffices for, of those asked for.
    """

    memory_bytes: int
    disk_bytes: int
    disk_free: int | None
    workers: int

    @property
    def may_not_fit(self) -> bool:
        """Whether the disk suffices only if the pixels can be compressed."""
        return self.disk_free is not None and self.disk_bytes > self.disk_free


def needs(
    plan: Plan, target: Path, *, workers: int = 0, free_bytes: int | None = None
) -> Needs:
    """What a run to disk takes.

    Parameters
    ----------
    plan : Plan
        Of a run to disk.
    target : Path
        A TIFF is assembled at the end, from pixels that lie beside it until then.
    workers : int
        Processes that are asked for; 0 for this one.
    free_bytes : int, optional
        Main memory that is free.
    """
    fitting = max(1, workers)
    if free_bytes is not None and workers:
        fitting = int(SHARE_OF_FREE * free_bytes // plan.memory_bytes)
        fitting = max(1, min(workers, fitting))
    zarr = target.suffix.lower() == ".zarr"
    kept = plan.output_bytes * (PYRAMID if zarr else 2)
    return Needs(
        memory_bytes=fitting * plan.memory_bytes,
        disk_bytes=int(kept + fitting * plan.scratch_bytes),
        disk_free=free_disk(target),
        workers=fitting if workers else 0,
    )


def check_scratch(plan: Plan, found: Needs, target: Path) -> None:
    """Refuse a run whose planes have no room while they are worked on.

    Raises
    ------
    StorageError
    """
    wanted = max(1, found.workers) * plan.scratch_bytes
    if found.disk_free is not None and wanted > found.disk_free:
        raise StorageError(
            f"The planes that are worked on need {wanted / 1e9:.1f} GB on the disk of "
            f"{target.parent}, {found.disk_free / 1e9:.1f} GB are free; make room, or "
            "choose another folder."
        )


def told(plan: Plan, found: Needs, asked: int) -> str:
    """One sentence for the user before a run."""
    planes = "1 plane" if plan.planes == 1 else f"{plan.planes} planes"
    parts = [f"{planes}, about {_size(found.memory_bytes)} of memory"]
    disk = f"up to {_size(found.disk_bytes)} on disk"
    if found.disk_free is not None:
        disk += f" ({_size(found.disk_free)} free)"
    sentence = f"{parts[0]}, {disk}."
    if found.may_not_fit:
        sentence += " It fits only if the pixels can be compressed."
    if found.workers < asked:
        sentence += (
            f" Memory suffices for {found.workers} of {asked} workers, so no more are "
            "used."
        )
    return sentence


def free_disk(target: Path) -> int | None:
    """Free bytes of the disk that a file will be on, None where it cannot be told."""
    try:
        return shutil.disk_usage(target.parent).free
    except OSError:
        return None


def _size(count: int) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.0f} MB"
