"""Runs to disk: of planes, and of the stack along Z where that is asked for."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_zssr.atomic import storage_errors, write_synced
from napari_zssr.config import Config, change
from napari_zssr.errors import ComputeError, InputError
from napari_zssr.execution.disk_run import (
    WHOLE,
    Written,
    pixels_checksum,
    planes_to_disk_steps,
    save_array,
)
from napari_zssr.execution.executors import IN_PROCESS, Workers
from napari_zssr.execution.ledger import IMAGE, Ledger, finish, part_folder
from napari_zssr.io.read import read
from napari_zssr.io.write import check_output, read_provenance
from napari_zssr.io.zarr_write import create, write_plane
from napari_zssr.progress import PlaneDone, Progress, Steps, map_events
from napari_zssr.stack.axial import (
    AxialChannel,
    AxialReport,
    AxialRun,
    Volume,
    axial_factor,
    axial_outline,
    axial_progress,
    enlarge_columns,
    prepare_axial,
    strips,
    volumes,
)
from napari_zssr.stack.image import (
    FilePixels,
    ImageStack,
    Outline,
    Pixels,
    PlaneIndex,
    outline_of,
    plane_axes,
    planes,
)
from napari_zssr.stack.report import (
    axial_report,
    to_json_types,
    unfinished_recipe,
    versions,
)
from napari_zssr.zssr.start import start_checksum

# What stands in the folder of a run: the enlarged planes, and columns of them.
PLANES, COLUMNS = "planes.ome.zarr", "columns"


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
    planes, in this process.
    """
    if config.factor_z == 1:
        return (
            yield from planes_to_disk_steps(
                stack,
                config,
                target,
                workers=workers,
                threads=threads,
                shard=shard,
                overwrite=overwrite,
                keep_networks=keep_networks,
            )
        )
    if shard != WHOLE:
        raise InputError(
            "A stack is enlarged along Z as a whole, not in shards; leave out the "
            "shard, or factor_z."
        )
    return (
        yield from _isotropic_steps(stack, config, target, workers, threads, overwrite)
    )


def _isotropic_steps(
    stack: ImageStack,
    config: Config,
    target: str | Path,
    workers: Workers,
    threads: int | None,
    overwrite: bool,
) -> Steps[Written]:
    """Enlarge the planes first, if at all, then the columns; assemble the result."""
    started = time.monotonic()
    target = Path(target).expanduser().resolve()
    factor = axial_factor(config, stack)
    part = part_folder(target)
    check_output(target, overwrite=overwrite or part.is_dir(), stack=stack)
    Ledger.begin(part, _identity(stack, config, factor), overwrite=overwrite)
    planar = stack
    if config.factors != (1, 1):
        planar = yield from _enlarged_planes(stack, config, part, workers, threads)
    ready = prepare_axial(planar, config, factor)
    outline = axial_outline(outline_of(planar), factor)
    outline = replace(outline, dtype=ready.plan.output_dtype)
    run = ColumnRun(ready=ready, outline=outline, part=part)
    yield from run.columns()
    levels = None if target.suffix.lower() == ".zarr" else 1
    create(part / IMAGE, outline, levels=levels)
    yield from run.assemble()
    recorded = read_provenance(part / PLANES) if planar is not stack else None
    report = axial_report(
        ready, run.reports(), (recorded or {}).get("report"), time.monotonic() - started
    )
    recipe = unfinished_recipe(stack, config)
    recipe["report"] = to_json_types(report.to_dict())
    path = finish(part, target, outline, provenance=recipe, overwrite=overwrite)
    return Written(
        path=path,
        part=part,
        outline=outline,
        plan=ready.plan,
        report=report,
        failures=(),
        missing=0,
    )


def _identity(stack: ImageStack, config: Config, factor: float) -> dict[str, Any]:
    """Everything that decides about the pixels, by which a run is resumed."""
    settings = config.to_dict()
    for name in ("tile_px", "preset"):
        settings.pop(name, None)
    return {
        "input": stack.checksum or pixels_checksum(stack),
        "shape": list(stack.data.shape),
        "dtype": str(stack.data.dtype),
        "axes": stack.axes,
        "factor_z": factor,
        "start": start_checksum(config),
        "versions": dict(versions()),
        "settings": settings,
    }


def _enlarged_planes(
    stack: ImageStack,
    config: Config,
    part: Path,
    workers: Workers,
    threads: int | None,
) -> Steps[ImageStack]:
    """The stack with its planes enlarged, on disk; resumed like any run."""
    path = part / PLANES
    if not path.exists():
        steps = planes_to_disk_steps(
            stack,
            change(config, factor_z=1.0),
            path,
            workers=workers,
            threads=threads,
        )
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


@dataclass(frozen=True, kw_only=True, eq=False)
class ColumnRun:
    """The columns of a stack on their way into planes of the result.

    Each strip of columns is a file, which is there when it is finished.
    """

    ready: AxialRun
    outline: Outline
    part: Path

    @cached_property
    def volume_strips(self) -> list[tuple[Volume, list[tuple[slice, slice]]]]:
        """Volumes, and the strips of each."""
        return [
            (volume, list(strips(volume.size, self._depth)))
            for volume in volumes(self.ready.stack)
        ]

    @property
    def _depth(self) -> int:
        return self.outline.sizes["Z"]

    def columns(self) -> Steps[None]:
        """Enlarge the columns that are missing."""
        (self.part / COLUMNS).mkdir(exist_ok=True)
        channels: dict[int, AxialChannel] = {}
        total = sum(len(windows) for _, windows in self.volume_strips)
        done = 0
        for number, (volume, windows) in enumerate(self.volume_strips):
            for at, window in enumerate(windows):
                done += 1
                file = self._file(number, at)
                if file.exists():
                    continue
                if volume.channel not in channels:
                    channel = yield from self.ready.channel(volume.channel)
                    channels[volume.channel] = channel
                    self._save_report(channel.report)
                columns = yield from enlarge_columns(
                    volume,
                    channels[volume.channel],
                    window,
                    self.ready.plan,
                    self.ready.config,
                )
                save_array(file, columns)
                yield Progress(stage="axial columns", step=done, total=total)

    def assemble(self) -> Steps[None]:
        """Write the planes that are missing."""
        ledger = Ledger(self.part)
        finished = ledger.finished()
        listed = planes(self.outline.axes, self.outline.shape)
        done = len(finished)
        for plane_index in listed:
            if plane_index.number in finished:
                continue
            pixels = self._plane(plane_index)
            write_plane(self.part / IMAGE, plane_index.index, iter([pixels]))
            ledger.record(plane_index.number, {})
            done += 1
            yield PlaneDone(
                plane=plane_index.number,
                planes=len(listed),
                index=plane_index.index,
                done=done,
            )

    def reports(self) -> tuple[AxialReport, ...]:
        """What was done for each channel."""
        files = sorted((self.part / COLUMNS).glob("channel-*.json"))
        return tuple(AxialReport(**json.loads(file.read_bytes())) for file in files)

    def _plane(self, plane_index: PlaneIndex) -> NDArray[Any]:
        """One plane of the result, put together from columns, with its own axes."""
        axes = self.outline.axes
        at = dict(zip(axes, plane_index.index, strict=True))
        inner = plane_axes(axes)
        sizes = self.outline.sizes
        plane = np.empty([sizes[a] for a in inner], self.outline.dtype)
        for number, (volume, windows) in enumerate(self.volume_strips):
            if any(at[a] != n for a, n in volume.at.items() if a != "S"):
                continue
            for position, window in enumerate(windows):
                stored = np.load(self._file(number, position), mmap_mode="r")
                part = {"Y": window[0], "X": window[1], "S": volume.at.get("S")}
                index: Any = tuple(part[a] for a in inner)
                rows = stored[at["Z"]]
                plane[index] = rows if axes.index("Y") < axes.index("X") else rows.T
        return plane

    def _file(self, volume: int, strip: int) -> Path:
        return self.part / COLUMNS / f"{volume:05d}-{strip:05d}.npy"

    def _save_report(self, report: AxialReport) -> None:
        path = self.part / COLUMNS / f"channel-{report.channel:03d}.json"
        with storage_errors(path):
            write_synced(path, json.dumps(dataclasses.asdict(report)).encode())
