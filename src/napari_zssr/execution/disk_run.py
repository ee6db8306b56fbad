"""Enlarging to disk: in bounded memory, resumable, by one worker or many."""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import os
import secrets
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_zssr.atomic import storage_errors
from napari_zssr.checks import checked_whole
from napari_zssr.config import Config, change
from napari_zssr.errors import ComputeError, InputError
from napari_zssr.execution.executors import (
    IN_PROCESS,
    Resources,
    Workers,
    look,
    own_device,
)
from napari_zssr.execution.finish import IMAGE, finish, part_folder
from napari_zssr.execution.ledger import Ledger, begun_with, discard
from napari_zssr.execution.scheduler import run_tasks
from napari_zssr.io.write import check_output, warn_about_format
from napari_zssr.io.zarr_write import create, write_plane
from napari_zssr.progress import Event, PlaneDone, Progress, Steps
from napari_zssr.stack.axes import (
    Outline,
    enlarged_outline,
    from_cyx,
    plane_axes,
    planes,
)
from napari_zssr.stack.image import (
    CheckedPlanes,
    ImageStack,
    PlaneIndex,
    StoredArray,
    is_lazy,
)
from napari_zssr.stack.plane_result import EnlargedPlane, PlaneReport
from napari_zssr.stack.prepare import Prepared, prepare
from napari_zssr.stack.report import (
    Report,
    report_of,
    to_json_types,
    unfinished_recipe,
    versions,
)
from napari_zssr.stack.resources import (
    RunPlan,
    check_room,
    disk_needs,
    needs_message,
    plan_run,
)
from napari_zssr.stack.run import MiddlePlaneNetworks
from napari_zssr.zssr.checkpoint import Checkpoint, load_networks, write_networks
from napari_zssr.zssr.start import Starts, start_checksum

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

    plane_index: PlaneIndex

    @property
    def name(self) -> str:
        """For messages."""
        return f"Plane {self.plane_index.number}"

    def steps(self) -> Steps[PlaneReport]:
        """Enlarge, write, enter into the ledger."""
        job, plane_index = self.job, self.plane_index
        file = shared_file(job.part, plane_index.channel)
        shared = published(file) if file.exists() else None
        made = yield from job.here().enlarged(plane_index, shared, job.part)
        with made:
            write_plane(job.image, plane_index.index, _bands(made, job.outline))
        if job.keep_networks and made.networks is not None:
            publish(made.networks, plane_file(job.part, plane_index.number))
        Ledger(job.part).record(plane_index.number, dataclasses.asdict(made.report))
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
    with storage_errors(path):
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


def _bands(made: EnlargedPlane, outline: Outline) -> Iterator[NDArray[Any]]:
    axes = plane_axes(outline.axes)
    return (from_cyx(band, axes) for band in made.bands())


# The whole image is one shard of one.
WHOLE = (1, 1)
SAMPLED = 8
FORMAT = 1
# What says where and how fast, but not which pixels; or what the plan decides.
ASIDE = ("device", "tile_px", "precision", "preset")


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """What a run to disk has left.

    Attributes
    ----------
    path : Path or None
        The finished file; None where planes are missing.
    part : Path
        Folder of what is not finished, while there is anything missing.
    outline : Outline
        Of the result.
    plan : Plan
    report : Report
        Of the planes that are finished.
    failures : tuple of (int, str)
        Planes that failed for good, by number, and why.
    missing : int
        Planes that are not finished: failed, or of other shards.
    networks : tuple of (Checkpoint or None)
        As in `Upscaled`, where they were asked for.
    """

    path: Path | None
    part: Path
    outline: Outline
    plan: RunPlan
    report: Report
    failures: tuple[tuple[int, str], ...]
    missing: int
    networks: tuple[Checkpoint | None, ...] = ()


def upscale_to_disk_steps(
    stack: ImageStack,
    config: Config,
    target: str | Path,
    *,
    workers: Workers = IN_PROCESS,
    threads: int | None = None,
    shard: tuple[int, int] = WHOLE,
    overwrite: bool = False,
    keep_networks: bool = False,
) -> Steps[Written]:
    """Enlarge an image into a file, plane by plane, in bounded memory.

    What is finished stands in the folder ``TARGET.part`` until all is; the same call
    goes on from there.

    Parameters
    ----------
    stack : ImageStack
        Its pixels may be lazy; they are never loaded whole.
    config : Config
    target : str or Path
        ``.ome.zarr``, ``.ome.tif``, or ``.png`` for a single plane.
    workers : Workers
        Who does the planes.
    threads : int, optional
        Threads of each task; they change rounding. As the run was begun, or the
        processor's cores shared among the workers, unless given.
    shard : tuple of int
        Which part of the planes, and of how many: (2, 8) does the second of eight.
        The one that finishes last completes the file.
    overwrite : bool
        Replace a file that is there, and begin again what was begun otherwise.
    keep_networks : bool
        Have the networks of a plane in the middle of each channel in the result.

    Returns
    -------
    Written

    Raises
    ------
    InputError
        The image, a setting or the target cannot be used, or the run was begun with
        others.
    StorageError
        The disk is full or the folder is gone.
    ComputeError
        The cluster was lost.

    Warns
    -----
    ImageWarning
        For what other programs will not see in the file.
    """
    started = time.monotonic()
    target = Path(target).expanduser().resolve()
    _check(threads, shard)
    part = part_folder(target)
    # A run that was killed after its result had its name is ended, not refused.
    placed = part.is_dir() and len(Ledger(part).finished()) == _count(stack)
    check_output(target, overwrite=overwrite or placed, stack=stack)
    config = _fitting(config, target)
    yield Progress(stage="plan", step=0, total=1)
    new = not part.exists()
    resources = look(workers, config)
    workers = replace(workers, devices=workers.devices or resources.devices)
    job, ledger = _begin(stack, config, part, resources, threads, overwrite)
    try:
        warn_about_format(target, job.outline)
        yield _told(job, target, resources)
        ready = _reachable(job.ready, part, workers)
        job = replace(job, ready=ready, keep_networks=keep_networks)
        # A TIFF is assembled from the finest level alone.
        levels = None if target.suffix.lower() == ".zarr" else 1
        create(job.image, job.outline, levels=levels)
        failures = yield from _do(job, ledger, workers, shard)
    except BaseException:
        if new and shard == WHOLE and not _worth_keeping(job, ledger):
            discard(part)
        raise
    made = _written(job, ledger, failures, time.monotonic() - started)
    return _completed(made, job, target, overwrite) if made.missing == 0 else made


def _begin(
    stack: ImageStack,
    config: Config,
    part: Path,
    resources: Resources,
    threads: int | None,
    overwrite: bool,
) -> tuple[DiskJob, Ledger]:
    """Plan the run, or take up the one that was begun."""
    before = {} if overwrite else begun_with(part)
    ready = prepare(
        stack, config, partial(_planned, resources=resources, before=before)
    )
    threads = threads or before.get("threads") or resources.threads
    ledger = Ledger.begin(part, _identity(ready, threads), overwrite=overwrite)
    job = DiskJob(
        ready=ready,
        outline=enlarged_outline(stack, config.factors, ready.plan.output_dtype),
        part=part,
        token=f"stop-{secrets.token_hex(4)}",
        threads=threads,
    )
    return job, ledger


def _told(job: DiskJob, target: Path, resources: Resources) -> Progress:
    """What the run takes, in a sentence, before it takes it."""
    found = disk_needs(job.ready.plan, target, workers=resources.sharing)
    check_room(job.ready.plan, found, target)
    return Progress(
        stage="plan", step=1, total=1, message=needs_message(job.ready.plan, found)
    )


def _do(
    job: DiskJob, ledger: Ledger, workers: Workers, shard: tuple[int, int]
) -> Steps[tuple[tuple[int, str], ...]]:
    """Do the planes of a shard that are missing; those that fail for good."""
    finished = ledger.finished()
    number, count = shard
    missing = [
        plane_index
        for plane_index in job.ready.listed
        if plane_index.number not in finished
        and plane_index.number % count == number - 1
    ]
    resource = "GPU" if job.ready.plan.device.startswith("cuda") else ""
    run = partial(run_tasks, workers=workers, resource=resource, stop=job.request_stop)
    channels = {plane_index.channel for plane_index in missing} & set(job.ready.sharing)
    learning = [
        SharedTask(job=job, channel=channel)
        for channel in sorted(channels)
        if not shared_file(job.part, channel).exists()
    ]
    learned = partial(_learned, len(learning))
    failed = yield from run(learning, told=learned, stage="learn")
    if failed:
        raise ComputeError(failed[0].sentence)
    done = itertools.count(len(finished) + 1)
    tasks = [PlaneTask(job=job, plane_index=plane_index) for plane_index in missing]
    finished_one = partial(_done, missing, len(job.ready.listed), done)
    failures = yield from run(tasks, told=finished_one)
    return tuple((missing[f.task].number, f.sentence) for f in failures)


def _learned(count: int, task: int, _result: None) -> Event:
    return Progress(stage="learn", step=task + 1, total=count)


def _done(
    listed: list[PlaneIndex], count: int, done: Iterator[int], task: int, _: Any
) -> Event:
    plane_index = listed[task]
    return PlaneDone(
        plane=plane_index.number, planes=count, index=plane_index.index, done=next(done)
    )


def _written(
    job: DiskJob,
    ledger: Ledger,
    failures: tuple[tuple[int, str], ...],
    seconds: float,
) -> Written:
    finished = ledger.finished()
    reports = tuple(
        PlaneReport.from_dict(finished[number]) for number in sorted(finished)
    )
    return Written(
        path=None,
        part=job.part,
        outline=job.outline,
        plan=job.ready.plan,
        report=report_of(job.ready, reports, seconds=seconds),
        failures=failures,
        missing=len(job.ready.listed) - len(finished),
        networks=_networks(job) if job.keep_networks else (),
    )


def _completed(made: Written, job: DiskJob, target: Path, overwrite: bool) -> Written:
    """Let the result stand under its final name."""
    record = unfinished_recipe(job.ready.stack, job.ready.config)
    record["report"] = to_json_types(made.report.to_dict())
    path = finish(job.part, target, job.outline, provenance=record, overwrite=overwrite)
    return replace(made, path=path)


def _networks(job: DiskJob) -> tuple[Checkpoint | None, ...]:
    """Networks of a plane in the middle of each channel, or those it shares."""
    shared = {
        channel: published(shared_file(job.part, channel))
        for channel in job.ready.sharing
    }
    kept = MiddlePlaneNetworks(job.ready.listed, shared)
    for plane_index in job.ready.listed:
        file = plane_file(job.part, plane_index.number)
        kept.add(plane_index, published(file) if file.exists() else None)
    return kept.networks()


def _worth_keeping(job: DiskJob, ledger: Ledger) -> bool:
    """Whether anything was finished that a later run need not do again."""
    shared = (shared_file(job.part, channel) for channel in job.ready.sharing)
    return bool(ledger.finished()) or any(file.exists() for file in shared)


def _check(threads: int | None, shard: tuple[int, int]) -> None:
    """Refuse what makes no run."""
    if threads is not None:
        checked_whole("threads", threads, 1)
    number, count = (checked_whole("shard", part, 1) for part in shard)
    if number > count:
        raise InputError(
            f"Shard {number} of {count} does not exist; give 1 to {count} of {count}."
        )


def _fitting(config: Config, target: Path) -> Config:
    """Settings whose result the format can hold: a PNG has integers only."""
    if target.suffix.lower() != ".png":
        return config
    if config.dtype == "float32":
        raise InputError(
            "A PNG cannot hold float32 pixels; write an .ome.tif, or choose another "
            "dtype."
        )
    return change(config, dtype="same")


def _count(stack: ImageStack) -> int:
    return len(planes(stack.axes, stack.data.shape))


def _planned(
    stack: ImageStack,
    config: Config,
    starts: Starts,
    *,
    output_dtype: np.dtype[Any],
    resources: Resources,
    before: Mapping[str, Any],
) -> RunPlan:
    """Plan of the run; with the tiles that it was begun with, if it was."""
    try:
        return plan_run(
            change(config, tile_px=config.tile_px or before.get("tile_px")),
            stack.data.shape,
            stack.data.dtype,
            stack.axes,
            starts=starts,
            output_dtype=output_dtype,
            device=resources.device,
            free_bytes=resources.free_bytes,
            cores=resources.threads,
            bfloat16=resources.bfloat16,
            to_disk=True,
        )
    except ComputeError as error:
        if resources.sharing == 1:
            raise
        raise ComputeError(
            f"{resources.sharing} workers at the same time share the free memory, of "
            f"which each needs more; use fewer workers ({error})"
        ) from error


def _identity(ready: Prepared, threads: int) -> dict[str, Any]:
    """All that decides the pixels, by which a run is known again."""
    settings = ready.config.to_dict()
    stack = ready.stack
    # A run of a file with one image is known without it.
    which = {} if stack.image_index is None else {"image": stack.image_index}
    return which | {
        "format": FORMAT,
        "input": stack.checksum or _checksum(ready),
        "shape": list(stack.data.shape),
        "dtype": str(stack.data.dtype),
        "axes": stack.axes,
        "device": ready.plan.device.split(":")[0],
        "precision": ready.plan.precision,
        "tile_px": ready.plan.tile_px,
        "threads": threads,
        "start": start_checksum(ready.config),
        "versions": dict(versions()),
        "settings": {k: v for k, v in settings.items() if k not in ASIDE},
    }


def _checked(ready: Prepared) -> CheckedPlanes:
    """The planes of an image that was made ready."""
    assert isinstance(ready.stack.data, CheckedPlanes)
    return ready.stack.data


def _checksum(ready: Prepared) -> str:
    """Of pixels that come from no file; of lazy ones a few planes are looked at."""
    digest = hashlib.sha256()
    listed = ready.listed
    lazy = is_lazy(_checked(ready).data)
    for plane_index in listed[:: max(1, len(listed) // SAMPLED) if lazy else 1]:
        plane = np.ascontiguousarray(ready.stack.data[plane_index.index])
        digest.update(plane.tobytes())
    return digest.hexdigest()[:16]


def _reachable(ready: Prepared, part: Path, workers: Workers) -> Prepared:
    """Pixels in memory where other processes can read them; they need not travel."""
    data = _checked(ready).data
    if not workers.elsewhere or is_lazy(data):
        return ready
    path = part / "input.npy"
    draft = path.with_name(f"{secrets.token_hex(4)}.npy")
    with storage_errors(part):
        try:
            np.save(draft, np.asarray(data))
            os.replace(draft, path)
        finally:
            draft.unlink(missing_ok=True)
    checked = CheckedPlanes(StoredArray(path), ready.config.nonfinite)
    return replace(ready, stack=replace(ready.stack, data=checked))
