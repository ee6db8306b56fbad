"""What is done for an image that is enlarged to disk: one task for each plane."""

from __future__ import annotations

import dataclasses
import os
import secrets
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from napari_zssr.progress import Steps
from napari_zssr.stack.axes import PlaneIndex, from_cyx, plane_axes
from napari_zssr.stack.finish import IMAGE
from napari_zssr.stack.ledger import Ledger
from napari_zssr.stack.omezarr import write_plane
from napari_zssr.stack.one_plane import PlaneMade, PlaneReport
from napari_zssr.stack.outline import Outline
from napari_zssr.stack.pools import own_device
from napari_zssr.stack.prepare import Prepared
from napari_zssr.writing import storing
from napari_zssr.zssr.saved import Checkpoint, load_networks, write_networks

NETWORKS = "networks"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class DiskJob:
    """All that the tasks of one run have in common, picklable.

    Attributes
    ----------
    ready : Prepared
        Its pixels are lazy, unless the tasks run in this process.
    outline : Outline
        Of the result.
    part : Path
        Folder of what is not finished.
    token : str
        Name of the file in it that has the tasks of this run stop.
    threads : int
        Of each task.
    keep_networks : bool
        Whether the networks of each plane are kept beside the shared ones.
    """

    ready: Prepared
    outline: Outline
    part: Path
    token: str
    threads: int
    keep_networks: bool = False

    @property
    def image(self) -> Path:
        """Folder of the growing OME-Zarr."""
        return self.part / IMAGE

    def here(self) -> Prepared:
        """What is ready, on the device of this process."""
        plan = self.ready.plan
        return replace(self.ready, plan=replace(plan, device=own_device(plan.device)))

    def stop_requested(self) -> bool:
        """Whether this run is being stopped."""
        return (self.part / self.token).exists()

    def request_stop(self) -> None:
        """Have the tasks of this run stop, in whatever process they are."""
        # Tasks whose folder is gone, or full, stop by themselves.
        with suppress(OSError):
            (self.part / self.token).touch()


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _OfRun:
    """What the tasks of a run have in common."""

    job: DiskJob

    @property
    def threads(self) -> int:
        """As the run was begun with."""
        return self.job.threads

    def stop_requested(self) -> bool:
        """Whether the run is being stopped."""
        return self.job.stop_requested()


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PlaneTask(_OfRun):
    """Enlarge one plane and write it where it belongs."""

    place: PlaneIndex

    @property
    def name(self) -> str:
        """For messages."""
        return f"Plane {self.place.number}"

    def steps(self) -> Steps[PlaneReport]:
        """Enlarge, write, enter into the ledger."""
        job, place = self.job, self.place
        file = shared_file(job.part, place.channel)
        shared = published(file) if file.exists() else None
        made = yield from job.here().enlarged(place, shared, job.part)
        with made:
            write_plane(job.image, place.index, _bands(made, job.outline))
        if job.keep_networks and made.networks is not None:
            publish(made.networks, plane_file(job.part, place.number))
        Ledger(job.part).record(place.number, dataclasses.asdict(made.report))
        return made.report


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SharedTask(_OfRun):
    """Learn the networks that all planes of a channel share."""

    channel: int

    @property
    def name(self) -> str:
        """For messages."""
        return f"Learning for channel {self.channel}"

    def steps(self) -> Steps[None]:
        """Learn, and let the networks stand in their file."""
        learned = yield from self.job.here().shared(self.channel)
        publish(learned, shared_file(self.job.part, self.channel))


def shared_file(part: Path, channel: int) -> Path:
    """Where the networks of a channel are kept for its planes."""
    return part / NETWORKS / f"channel-{channel:03d}.safetensors"


def plane_file(part: Path, number: int) -> Path:
    """Where the networks of one plane are kept, if they are."""
    return part / NETWORKS / f"plane-{number:06d}.safetensors"


def publish(learned: Checkpoint | None, path: Path) -> None:
    """Let networks stand under their name, unless others were faster.

    Whoever reads them afterwards gets the same, also where several jobs of an array
    have learned them at the same time. None is kept as an empty file.
    """
    draft = path.with_name(f"{secrets.token_hex(4)}-{path.name}")
    with storing(path):
        try:
            path.parent.mkdir(exist_ok=True)
            if learned is None:
                draft.touch()
            else:
                write_networks(draft, (learned,))
            _link(draft, path)
        finally:
            draft.unlink(missing_ok=True)


def published(path: Path) -> Checkpoint | None:
    """Networks that were published; None where there was nothing to learn."""
    if path.stat().st_size == 0:
        return None
    return load_networks(path)[0]


def _link(draft: Path, path: Path) -> None:
    """Give a file a second name, if that is free."""
    try:
        os.link(draft, path)
    except FileExistsError:
        return
    except OSError:
        # A file system without links.
        if not path.exists():
            os.replace(draft, path)


def _bands(made: PlaneMade, outline: Outline) -> Iterator[NDArray[Any]]:
    axes = plane_axes(outline.axes)
    return (from_cyx(band, axes) for band in made.bands())
