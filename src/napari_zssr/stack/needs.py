"""What a run to disk needs of a machine. No torch in here."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from napari_zssr.errors import StorageError
from napari_zssr.stack.plan import Plan

# All levels of a pyramid beside its first one.
PYRAMID = 4 / 3
_TIFF = (".tif", ".tiff")


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
    """

    memory_bytes: int
    disk_bytes: int
    disk_free: int | None

    @property
    def may_not_fit(self) -> bool:
        """Whether the disk suffices only if the pixels can be compressed."""
        return self.disk_free is not None and self.disk_bytes > self.disk_free


def needs(plan: Plan, target: Path, *, workers: int = 1) -> Needs:
    """What a run to disk takes.

    Parameters
    ----------
    plan : Plan
        Of a run to disk.
    target : Path
        A TIFF is assembled at the end, from pixels that lie beside it until then.
    workers : int
        Planes that are worked on at the same time on this machine.
    """
    zarr = target.suffix.lower() == ".zarr"
    kept = plan.output_bytes * (PYRAMID if zarr else 2)
    return Needs(
        memory_bytes=workers * plan.memory_bytes,
        disk_bytes=int(kept + workers * plan.scratch_bytes),
        disk_free=free_disk(target),
    )


def check_room(plan: Plan, found: Needs, target: Path) -> None:
    """Refuse a run whose planes or whose file, which is not compressed, have no room.

    Raises
    ------
    StorageError
    """
    if found.disk_free is None:
        return
    if target.suffix.lower() in _TIFF and plan.output_bytes > found.disk_free:
        raise StorageError(
            f"The OME-TIFF needs {_size(plan.output_bytes)} on the disk of "
            f"{target.parent}, {_size(found.disk_free)} are free; make room, choose "
            "another folder, or write an .ome.zarr, which is compressed."
        )
    if plan.scratch_bytes > found.disk_free:
        raise StorageError(
            f"A plane that is worked on needs {plan.scratch_bytes / 1e9:.1f} GB on the "
            f"disk of {target.parent}, {found.disk_free / 1e9:.1f} GB are free; make "
            "room, or choose another folder."
        )


def told(plan: Plan, found: Needs) -> str:
    """One sentence for the user before a run."""
    planes = "1 plane" if plan.planes == 1 else f"{plan.planes} planes"
    disk = f"up to {_size(found.disk_bytes)} on disk"
    if found.disk_free is not None:
        disk += f" ({_size(found.disk_free)} free)"
    sentence = f"{planes}, about {_size(found.memory_bytes)} of memory, {disk}."
    if found.may_not_fit:
        sentence += " It fits only if the pixels can be compressed."
    return sentence


def free_disk(target: Path) -> int | None:
    """Free bytes of the disk that a file will be on, None where it cannot be told."""
    try:
        return shutil.disk_usage(target.parent).free
    except OSError:
        return None


def _size(count: int) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.0f} MB"
