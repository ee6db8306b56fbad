"""Enlarging to disk: resumable, in bounded memory, by one worker or many."""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import os
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from napari_zssr.atomic import storage_errors
from napari_zssr.checks import checked_whole
from napari_zssr.config import Config, change
from napari_zssr.errors import ComputeError, InputError
from napari_zssr.execution.executors import (
    IN_PROCESS,
    Resources,
    Workers,
    equipped,
)
from napari_zssr.execution.job import (
    Job,
    JobTask,
    new_stop_file,
    own_plan,
    with_stored_pixels,
)
from napari_zssr.execution.ledger import (
    ERROR,
    IMAGE,
    Ledger,
    error_file,
    finish,
    part_folder,
    read_identity,
    remove_run,
)
from napari_zssr.io.write import check_output, warn_about_format
from napari_zssr.io.zarr_write import write_plane
from napari_zssr.progress import Event, PlaneDone, Progress, Steps
from napari_zssr.stack.image import (
    CheckedPlanes,
    ImageStack,
    Outline,
    PlaneIndex,
    enlarged_outline,
    error_index,
    from_cyx,
    is_lazy,
    plane_axes,
    planes,
)
from napari_zssr.stack.plane_result import PlaneReport
from napari_zssr.stack.prepare import Prepared, prepare
from napari_zssr.stack.report import (
    Report,
    report_of,
    to_json_types,
    unfinished_recipe,
    versions,
)
from napari_zssr.stack.resources import (
    Hardware,
    RunInput,
    RunPlan,
    check_room,
    disk_needs,
    needs_message,
    plan_run,
)
from napari_zssr.stack.run import MiddlePlaneNetworks
from napari_zssr.zssr.checkpoint import Checkpoint, load_networks, write_networks
from napari_zssr.zssr.start import Starts, start_checksum

# One shard that is the whole image.
WHOLE = (1, 1)
# Planes of a lazy image that its checksum covers.
CHECKSUM_PLANES = 8
FORMAT = 1
# Settings that do not decide about pixels, or that the plan decides.
NOT_IN_IDENTITY = ("device", "tile_px", "precision", "preset")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PlaneJob(Job):
    """A run over the planes of an image."""

    prepared: Prepared  # its pixels are lazy, unless the tasks run in this process
    keep_networks: bool = False  # those of each plane, beside the shared ones

    def shared_file(self, channel: int) -> Path:
        """File of the networks that the planes of a channel share."""
        return self.part / "networks" / f"channel-{channel:03d}.safetensors"

    def plane_file(self, number: int) -> Path:
        """File of the networks of one plane, if they are kept."""
        return self.part / "networks" / f"plane-{number:06d}.safetensors"

    def on_own_device(self) -> Prepared:
        """The prepared image, planned for the device of this process."""
        return replace(self.prepared, plan=own_plan(self.prepared.plan))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PlaneTask(JobTask):
    """Enlarge one plane and write it into the image."""

    job: PlaneJob
    plane_index: PlaneIndex

    @property
    def name(self) -> str:
        """Name for messages."""
        return f"Plane {self.plane_index.number}"

    def steps(self) -> Steps[PlaneReport]:
        """Enlarge, write, and enter into the ledger."""
        job, plane_index = self.job, self.plane_index
        shared = _load_if_saved(job.shared_file(plane_index.channel))
        plane = yield from job.on_own_device().enlarged(plane_index, shared, job.part)
        with plane:
            axes = plane_axes(job.outline.axes)
            bands = (from_cyx(band, axes) for band in plane.bands())
            write_plane(job.part / IMAGE, plane_index.index, bands)
            if job.prepared.config.error_map:
                index = error_index(plane_index.index, job.outline.axes)
                axes = axes.replace("S", "")
                errors = (from_cyx(band[None], axes) for band in plane.error_bands())
                write_plane(job.part / ERROR, index, errors)
        if job.keep_networks and plane.networks is not None:
            _save_once(plane.networks, job.plane_file(plane_index.number))
        job.ledger.record(plane_index.number, dataclasses.asdict(plane.report))
        return plane.report


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SharedTask(JobTask):
    """Train the networks that all planes of a channel share."""

    job: PlaneJob
    channel: int

    @property
    def name(self) -> str:
        """Name for messages."""
        return f"Training for channel {self.channel + 1}"

    def steps(self) -> Steps[None]:
        """Train, and save the networks."""
        networks = yield from self.job.on_own_device().shared(self.channel)
        _save_once(networks, self.job.shared_file(self.channel))


def _save_once(networks: Checkpoint | None, path: Path) -> None:
    """Save networks, None as an empty file, unless another process was faster."""
    temporary = path.with_name(f"{secrets.token_hex(4)}-{path.name}")
    with storage_errors(path):
        try:
            path.parent.mkdir(exist_ok=True)
            if networks is None:
                temporary.touch()
            else:
                write_networks(temporary, (networks,))
            _link(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)


def _link(source: Path, path: Path) -> None:
    """Give a file a second name, if that is free."""
    try:
        os.link(source, path)
    except FileExistsError:
        return
    except OSError:
        # A file system without links.
        if not path.exists():
            os.replace(source, path)


def _load_if_saved(path: Path) -> Checkpoint | None:
    """Saved networks; None if there are none, or if nothing could be trained."""
    if not path.exists() or path.stat().st_size == 0:
        return None
    return load_networks(path)[0]


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
    error_path : Path or None
        The file of the standard error, beside `path`, where it was asked for.
    """

    path: Path | None
    part: Path
    outline: Outline
    plan: RunPlan
    report: Report
    failures: tuple[tuple[int, str], ...]
    missing: int
    networks: tuple[Checkpoint | None, ...] = ()
    error_path: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DiskOptions:
    """How a run to disk is carried out; none of it decides about pixels but `threads`.

    Attributes
    ----------
    workers : Workers
    threads : int or None
        Of each task. They change rounding; None is as when the run was begun, or the
        cores shared among workers.
    shard : tuple of int
        Number and count. The last one completes the file.
    overwrite, keep_networks : bool
    """

    workers: Workers = IN_PROCESS
    threads: int | None = None
    shard: tuple[int, int] = WHOLE
    overwrite: bool = False
    keep_networks: bool = False


def planes_to_disk_steps(
    stack: ImageStack, config: Config, target: str | Path, options: DiskOptions
) -> Steps[Written]:
    """Enlarge an image into a file in bounded memory, as `upscale_to_disk` says."""
    started = time.monotonic()
    target = Path(target).expanduser().resolve()
    check_options(options)
    part, overwrite = part_folder(target), options.overwrite
    # A run that was killed after its result was placed is ended, not refused.
    planes_count = len(planes(stack.axes, stack.data.shape))
    placed = part.is_dir() and len(Ledger(part).finished()) == planes_count
    check_output(target, overwrite=overwrite or placed, stack=stack)
    config = fit_to_format(config, target)
    if config.error_map:
        check_output(error_file(target), overwrite=overwrite or placed, stack=stack)
    yield Progress(stage="plan", step=0, total=1)
    is_new = not part.exists()
    workers, resources = equipped(options.workers, config)
    job = _begin(stack, config, part, resources, options.threads, overwrite)
    try:
        warn_about_format(target, job.outline)
        yield report_room(job.prepared.plan, target, resources)
        stored = with_stored_pixels(job.prepared.stack, part, workers)
        prepared = replace(job.prepared, stack=stored)
        job = replace(job, prepared=prepared, keep_networks=options.keep_networks)
        job.create_image(target, error_map=config.error_map)
        failures = yield from _run(job, workers, options.shard)
    except BaseException:
        if is_new and options.shard == WHOLE and not _is_worth_keeping(job):
            remove_run(part)
        raise
    result = _result(job, failures, time.monotonic() - started)
    if result.missing:
        return result
    recipe = unfinished_recipe(job.prepared.stack, job.prepared.config)
    recipe["report"] = to_json_types(result.report.to_dict())
    path = finish(part, target, job.outline, provenance=recipe, overwrite=overwrite)
    errors = error_file(path) if config.error_map else None
    return replace(result, path=path, error_path=errors)


def check_options(options: DiskOptions) -> None:
    """Refuse numbers that make no sense with an InputError."""
    if options.threads is not None:
        checked_whole("threads", options.threads, 1)
    number, count = (checked_whole("shard", part, 1) for part in options.shard)
    if number > count:
        raise InputError(
            f"Shard {number} of {count} does not exist; give 1 to {count} of {count}."
        )


def report_room(plan: RunPlan, target: Path, resources: Resources) -> Progress:
    """Event that says what the run takes; StorageError where it has no room."""
    needs = disk_needs(plan, target, workers=resources.workers)
    check_room(plan, needs, target)
    message = needs_message(plan, needs)
    return Progress(stage="plan", step=1, total=1, message=message)


def fit_to_format(config: Config, target: Path) -> Config:
    """Settings whose result the format can hold: a PNG has integers only."""
    if target.suffix.lower() != ".png":
        return config
    if config.error_map:
        raise InputError(
            "A PNG cannot hold an error map; write an .ome.tif, or leave out the "
            "error map."
        )
    if config.dtype == "float32":
        raise InputError(
            "A PNG cannot hold float32 pixels; write an .ome.tif, or choose another "
            "dtype."
        )
    return change(config, dtype="same")


def _begin(
    stack: ImageStack,
    config: Config,
    part: Path,
    resources: Resources,
    threads: int | None,
    overwrite: bool,
) -> PlaneJob:
    """Plan a new run, or resume the unfinished one."""
    before = identity_before(part, overwrite)
    ready = prepare(stack, config, partial(planned, resources=resources, before=before))
    threads = threads or before.get("threads") or resources.threads
    Ledger.begin(
        part,
        run_identity(ready.stack, ready.config, ready.plan, threads),
        overwrite=overwrite,
    )
    return PlaneJob(
        prepared=ready,
        outline=enlarged_outline(stack, config.factors, ready.plan.output_dtype),
        part=part,
        stop_file=new_stop_file(part),
        threads=threads,
    )


def identity_before(part: Path, overwrite: bool) -> dict[str, Any]:
    """Identity of the unfinished run that is resumed; empty for a new one."""
    return read_identity(part) if part.exists() and not overwrite else {}


def planned(
    stack: ImageStack,
    config: Config,
    starts: Starts = (),
    *,
    output_dtype: np.dtype[Any],
    resources: Resources,
    before: Mapping[str, Any],
    factor_z: float | None = None,
) -> RunPlan:
    """Plan of a run to disk, with the tiles of the run that is resumed."""
    run = RunInput(
        config=change(config, tile_px=config.tile_px or before.get("tile_px")),
        shape=stack.data.shape,
        dtype=stack.data.dtype,
        axes=stack.axes,
        starts=starts,
        output_dtype=output_dtype,
        to_disk=True,
        factor_z=factor_z,
    )
    hardware = Hardware(
        device=resources.device,
        free_bytes=resources.free_bytes,
        cores=resources.threads,
        bfloat16=resources.bfloat16,
    )
    try:
        return plan_run(run, hardware)
    except ComputeError as error:
        if resources.workers == 1:
            raise
        raise ComputeError(
            f"{resources.workers} workers need more memory than is free; use fewer "
            f"workers ({error})."
        ) from error


def run_identity(
    stack: ImageStack, config: Config, plan: RunPlan, threads: int
) -> dict[str, Any]:
    """Everything that decides about the pixels, by which a run is resumed."""
    settings = config.to_dict()
    # Runs of a file with a single image have always been without it.
    image = {} if stack.image_index is None else {"image": stack.image_index}
    return image | {
        "format": FORMAT,
        "input": stack.checksum or pixels_checksum(stack),
        "shape": list(stack.data.shape),
        "dtype": str(stack.data.dtype),
        "axes": stack.axes,
        "device": plan.device.split(":")[0],
        "precision": plan.precision,
        "tile_px": plan.tile_px,
        "threads": threads,
        "start": start_checksum(config),
        "versions": dict(versions()),
        "settings": {k: v for k, v in settings.items() if k not in NOT_IN_IDENTITY},
    }


def pixels_checksum(stack: ImageStack) -> str:
    """Checksum of pixels without a file: of all planes, or a few if they are lazy."""
    digest = hashlib.sha256()
    listed = planes(stack.axes, stack.data.shape)
    data = stack.data.data if isinstance(stack.data, CheckedPlanes) else stack.data
    step = max(1, len(listed) // CHECKSUM_PLANES) if is_lazy(data) else 1
    for plane_index in listed[::step]:
        plane = np.ascontiguousarray(stack.data[plane_index.index])
        digest.update(plane.tobytes())
    return digest.hexdigest()[:16]


def _run(
    job: PlaneJob, workers: Workers, shard: tuple[int, int]
) -> Steps[tuple[tuple[int, str], ...]]:
    """Do the missing planes of a shard; returns those that failed for good."""
    listed, finished = job.prepared.plane_indices, job.ledger.finished()
    number, count = shard
    missing = [
        plane_index
        for plane_index in listed
        if plane_index.number not in finished
        and plane_index.number % count == number - 1
    ]
    run = job.runner(job.prepared.plan.device, workers)
    channels = {plane_index.channel for plane_index in missing}
    training = [
        SharedTask(job=job, channel=channel)
        for channel in sorted(channels.intersection(job.prepared.sharing))
        if not job.shared_file(channel).exists()
    ]

    def trained(task: int, _: None) -> Event:
        return Progress(stage="learn", step=task + 1, total=len(training))

    failed = yield from run(training, to_event=trained, stage="learn")
    if failed:
        raise ComputeError(failed[0].sentence)
    done = itertools.count(len(finished) + 1)

    def enlarged(task: int, _: PlaneReport) -> Event:
        plane, index = missing[task].number, missing[task].index
        return PlaneDone(plane=plane, planes=len(listed), index=index, done=next(done))

    tasks = [PlaneTask(job=job, plane_index=plane_index) for plane_index in missing]
    failures = yield from run(tasks, to_event=enlarged)
    return tuple((missing[task].number, sentence) for task, sentence in failures)


def _is_worth_keeping(job: PlaneJob) -> bool:
    """Whether anything is finished that a later run can use."""
    shared = (job.shared_file(channel) for channel in job.prepared.sharing)
    return bool(job.ledger.finished()) or any(file.exists() for file in shared)


def _result(
    job: PlaneJob, failures: tuple[tuple[int, str], ...], seconds: float
) -> Written:
    """Result of the finished planes, not yet placed."""
    finished = job.ledger.finished()
    reports = tuple(
        PlaneReport.from_dict(finished[number]) for number in sorted(finished)
    )
    return Written(
        path=None,
        part=job.part,
        outline=job.outline,
        plan=job.prepared.plan,
        report=report_of(job.prepared, reports, seconds=seconds),
        failures=failures,
        missing=len(job.prepared.plane_indices) - len(finished),
        networks=_networks(job) if job.keep_networks else (),
    )


def _networks(job: PlaneJob) -> tuple[Checkpoint | None, ...]:
    """Networks of the middle plane of each channel, or those that it shares."""
    listed = job.prepared.plane_indices
    shared = {
        channel: _load_if_saved(job.shared_file(channel))
        for channel in job.prepared.sharing
    }
    middle = MiddlePlaneNetworks(listed, shared)
    for plane_index in listed:
        networks = _load_if_saved(job.plane_file(plane_index.number))
        middle.add(plane_index, networks)
    return middle.networks()
