"""Runs to disk: of planes, and of the stack along Z where that is asked for."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from napari_zssr.config import Config, change
from napari_zssr.errors import ComputeError, InputError
from napari_zssr.execution.column_run import (
    COLUMNS,
    ColumnJob,
    columns_to_disk_steps,
)
from napari_zssr.execution.disk_run import (
    WHOLE,
    DiskOptions,
    Written,
    check_options,
    fit_to_format,
    identity_before,
    planes_to_disk_steps,
    planned,
    report_room,
    run_identity,
)
from napari_zssr.execution.executors import IN_PROCESS, Workers, equipped
from napari_zssr.execution.job import new_stop_file
from napari_zssr.execution.ledger import Ledger, finish, part_folder, remove_run
from napari_zssr.io.read import read
from napari_zssr.io.write import check_output, read_provenance
from napari_zssr.progress import PlaneDone, Progress, Steps, map_events
from napari_zssr.stack.axial import axial_progress
from napari_zssr.stack.axial_factor import axial_factor
from napari_zssr.stack.axial_run import prepare_axial
from napari_zssr.stack.channels import channel_starts
from napari_zssr.stack.image import FilePixels, ImageStack, Pixels
from napari_zssr.stack.prepare import expected_dtype
from napari_zssr.stack.report import axial_report, to_json_types, unfinished_recipe

# The enlarged planes, in the folder of a run along Z.
PLANES = "planes.ome.zarr"


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
    """Enlarge an image into a file in bounded memory; takes up what was finished.

    See `planes_to_disk_steps`. Along Z the columns of a stack are enlarged after its
    planes.
    """
    options = DiskOptions(
        workers=workers,
        threads=threads,
        shard=shard,
        overwrite=overwrite,
        keep_networks=keep_networks,
    )
    factor = axial_factor(config, stack)
    if factor is None:
        return (yield from planes_to_disk_steps(stack, config, target, options))
    if shard != WHOLE:
        raise InputError(
            "A stack cannot be enlarged along Z in shards; leave out the shard, or "
            "factor_z."
        )
    if keep_networks:
        raise InputError(
            "Networks for Z cannot be saved; leave out --save-networks, or --factor-z."
        )
    return (yield from _isotropic_steps(stack, config, factor, target, options))


def _isotropic_steps(
    stack: ImageStack,
    config: Config,
    factor: float,
    target: str | Path,
    options: DiskOptions,
) -> Steps[Written]:
    """Enlarge the planes first, if at all, then the columns; assemble the result."""
    started = time.monotonic()
    target = Path(target).expanduser().resolve()
    check_options(options)
    part, overwrite = part_folder(target), options.overwrite
    check_output(target, overwrite=overwrite or part.is_dir(), stack=stack)
    config = fit_to_format(config, target)
    yield Progress(stage="plan", step=0, total=1)
    is_new = not part.exists()
    workers, resources = equipped(options.workers, config)
    before = identity_before(part, overwrite)
    planner = partial(planned, resources=resources, before=before)
    starts = channel_starts(config, stack.axes, stack.data.shape)
    plan = planner(
        stack,
        config,
        starts,
        output_dtype=expected_dtype(stack, config),
        factor_z=factor,
    )
    threads = options.threads or before.get("threads") or resources.threads
    identity = run_identity(stack, config, plan, threads) | {"factor_z": factor}
    Ledger.begin(part, identity, overwrite=overwrite)
    try:
        yield report_room(plan, target, resources)
        planar = stack
        if config.restores_planes:
            lateral = DiskOptions(workers=workers, threads=threads)
            planar = yield from _enlarged_planes(stack, config, part, lateral)
        ready = prepare_axial(planar, config, factor, planner)
        job = ColumnJob(
            ready=ready,
            outline=ready.outline,
            part=part,
            stop_file=new_stop_file(part),
            threads=threads,
        )
        yield from columns_to_disk_steps(job, workers, target)
    except BaseException:
        if is_new and not _is_worth_keeping(part):
            remove_run(part)
        raise
    recorded = read_provenance(part / PLANES) if planar is not stack else None
    report = axial_report(
        ready, job.reports(), (recorded or {}).get("report"), time.monotonic() - started
    )
    recipe = unfinished_recipe(stack, config)
    recipe["report"] = to_json_types(report.to_dict())
    path = finish(part, target, job.outline, provenance=recipe, overwrite=overwrite)
    return Written(
        path=path,
        part=part,
        outline=job.outline,
        plan=plan,
        report=report,
        failures=(),
        missing=0,
    )


def _is_worth_keeping(part: Path) -> bool:
    """Whether anything is finished that a later run can use."""
    planes = (part / PLANES, part_folder(part / PLANES))
    columns = (part / COLUMNS).glob("*.npy")
    return any(path.exists() for path in planes) or any(columns)


def _enlarged_planes(
    stack: ImageStack, config: Config, part: Path, options: DiskOptions
) -> Steps[ImageStack]:
    """The stack with its planes enlarged, on disk; resumed like any run."""
    path = part / PLANES
    if not path.exists():
        planes_only = change(config, factor_z=1.0)
        steps = planes_to_disk_steps(stack, planes_only, path, options)
        written = yield from map_events(steps, PlaneDone, axial_progress)
        if written.missing:
            number, sentence = written.failures[0]
            raise ComputeError(f"Plane {number} failed: {sentence}")
    planar = read(path, lazy=True)
    order = [planar.axes.index(letter) for letter in stack.axes]
    return replace(
        planar,
        data=TransposedPixels(planar.data, order),
        axes=stack.axes,
        spacing=tuple(planar.spacing[i] for i in order),
        units=tuple(planar.units[i] for i in order),
        origin=tuple(planar.origin[i] for i in order) if planar.origin else (),
        name=stack.name,
        source=stack.source,
    )


class TransposedPixels(FilePixels):
    """Pixels with their axes in another order, as files have an order of their own."""

    def __init__(self, source: Pixels, order: Sequence[int]) -> None:
        self._source = source
        self._order = tuple(order)

    @property
    def shape(self) -> tuple[int, ...]:
        """Size along each axis."""
        return tuple(self._source.shape[i] for i in self._order)

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the pixels."""
        return self._source.dtype

    def __getitem__(self, index: Any, /) -> Any:
        """Pixels for one whole number or slice an axis."""
        given = dict(zip(self._order, index, strict=True))
        found = self._source[tuple(given[i] for i in range(len(given)))]
        kept = [i for i in range(len(given)) if isinstance(given[i], slice)]
        wanted = [i for i in self._order if i in kept]
        return found.transpose([kept.index(i) for i in wanted])
