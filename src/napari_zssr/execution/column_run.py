"""Columns of a stack, enlarged along Z by one worker or many, and put into planes."""

from __future__ import annotations

import dataclasses
import itertools
import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_zssr.atomic import storage_errors, write_synced
from napari_zssr.errors import ComputeError
from napari_zssr.execution.executors import Workers
from napari_zssr.execution.job import (
    Job,
    JobTask,
    own_plan,
    save_array,
    with_stored_pixels,
)
from napari_zssr.execution.ledger import IMAGE
from napari_zssr.io.zarr_write import write_plane
from napari_zssr.progress import ALONG_Z, Event, PlaneDone, Progress, Steps
from napari_zssr.stack.axial import axial_channel, enlarge_strip, strip_done
from napari_zssr.stack.axial_channel import AxialChannel, AxialReport
from napari_zssr.stack.axial_run import AxialRun, Strip
from napari_zssr.stack.image import PlaneIndex, plane_axes, planes

COLUMNS = "columns"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ColumnJob(Job):
    """A run over the columns of a stack; each strip is a file when it is finished."""

    ready: AxialRun  # its pixels are lazy, unless the tasks run in this process

    def file(self, strip: Strip) -> Path:
        """File of a finished strip, (Z', y, x)."""
        return self.part / COLUMNS / f"{strip.number:06d}.npy"

    def report_file(self, channel: int) -> Path:
        """File of what was done for a channel."""
        return self.part / COLUMNS / f"channel-{channel:03d}.json"

    def on_own_device(self) -> AxialRun:
        """The stack, planned for the device of this process."""
        return replace(self.ready, plan=own_plan(self.ready.plan))

    def reports(self) -> tuple[AxialReport, ...]:
        """What was done for each channel."""
        files = (self.report_file(channel) for channel in sorted(self.ready.maps))
        return tuple(AxialReport(**json.loads(file.read_bytes())) for file in files)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ChannelTask(JobTask):
    """Train the network of a channel."""

    job: ColumnJob
    channel: int

    @property
    def name(self) -> str:
        """Name for messages."""
        return f"Training along Z for channel {self.channel}"

    def steps(self) -> Steps[AxialChannel]:
        """Train, and leave the report."""
        channel = yield from axial_channel(self.job.on_own_device(), self.channel)
        path = self.job.report_file(self.channel)
        with storage_errors(path):
            content = json.dumps(dataclasses.asdict(channel.report))
            write_synced(path, content.encode())
        return channel.on_device("cpu")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class StripTask(JobTask):
    """Enlarge a strip of columns along Z."""

    job: ColumnJob
    strip: Strip
    strips: int
    channel: AxialChannel

    @property
    def name(self) -> str:
        """Name for messages."""
        return f"Columns {self.strip.number}"

    def steps(self) -> Steps[None]:
        """Enlarge, and save."""
        ready = self.job.on_own_device()
        channel = self.channel.on_device(ready.plan.device)
        columns = yield from enlarge_strip(ready, self.strip, channel, self.strips)
        save_array(self.job.file(self.strip), columns)


def columns_to_disk_steps(
    job: ColumnJob, workers: Workers, target: Path
) -> Steps[None]:
    """Enlarge the columns that are missing, and write the planes of the result."""
    (job.part / COLUMNS).mkdir(exist_ok=True)
    stored = with_stored_pixels(job.ready.stack, job.part, workers)
    job = replace(job, ready=replace(job.ready, stack=stored))
    strips = job.ready.strips
    yield from _enlarge_missing(job, strips, workers)
    job.create_image(target)
    yield from _assemble(job, strips)


def _enlarge_missing(
    job: ColumnJob, strips: tuple[Strip, ...], workers: Workers
) -> Steps[None]:
    """Do the tasks that no earlier run has finished. Raises ComputeError."""
    missing = [strip for strip in strips if not job.file(strip).exists()]
    run = job.runner(job.ready.plan.device, workers)
    channels = sorted({strip.volume.channel for strip in missing})
    trained: dict[int, AxialChannel] = {}

    def learned(task: int, channel: AxialChannel) -> Event:
        trained[channels[task]] = channel
        return Progress(stage="learn", step=task + 1, total=len(channels))

    training = [ChannelTask(job=job, channel=channel) for channel in channels]
    failed = yield from run(training, to_event=learned, stage="learn")
    done = itertools.count(len(strips) - len(missing) + 1)

    def enlarged(_task: int, _: None) -> Event:
        return strip_done(next(done), len(strips))

    if not failed:
        tasks = [
            StripTask(
                job=job,
                strip=strip,
                strips=len(strips),
                channel=trained[strip.volume.channel],
            )
            for strip in missing
        ]
        failed = yield from run(tasks, to_event=enlarged, stage=f"{ALONG_Z}columns")
    if failed:
        raise ComputeError(
            f"{len(failed)} of {len(strips)} parts of the stack failed, the others "
            f"are kept in {job.part}; run again to continue. {failed[0].sentence}"
        )


def _assemble(job: ColumnJob, strips: tuple[Strip, ...]) -> Steps[None]:
    """Write the planes that are missing."""
    finished = job.ledger.finished()
    listed = planes(job.outline.axes, job.outline.shape)
    done = itertools.count(len(finished) + 1)
    for plane_index in listed:
        if plane_index.number in finished:
            continue
        pixels = _plane(job, strips, plane_index)
        write_plane(job.part / IMAGE, plane_index.index, iter([pixels]))
        job.ledger.record(plane_index.number, {})
        yield PlaneDone(
            plane=plane_index.number,
            planes=len(listed),
            index=plane_index.index,
            done=next(done),
        )


def _plane(
    job: ColumnJob, strips: tuple[Strip, ...], plane_index: PlaneIndex
) -> NDArray[Any]:
    """One plane of the result, put together from columns, with its own axes."""
    axes, sizes = job.outline.axes, job.outline.sizes
    at = dict(zip(axes, plane_index.index, strict=True))
    inner = plane_axes(axes)
    plane = np.empty([sizes[a] for a in inner], job.outline.dtype)
    for strip in strips:
        of = strip.volume.at
        if any(at[a] != n for a, n in of.items() if a != "S"):
            continue
        stored = np.load(job.file(strip), mmap_mode="r")
        part = {"Y": strip.window[0], "X": strip.window[1], "S": of.get("S")}
        rows = stored[at["Z"]]
        index: Any = tuple(part[a] for a in inner)
        plane[index] = rows if axes.index("Y") < axes.index("X") else rows.T
    return plane
