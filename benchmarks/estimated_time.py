"""Time of runs as estimated, before them and after the first slice, and as taken."""

from __future__ import annotations

import time
from dataclasses import dataclass
from importlib import import_module
from io import BytesIO
from pathlib import Path
from statistics import median
from typing import Any
from unittest.mock import patch

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from benchmarks.job import Job, listed
from benchmarks.table import Cell, Table
from napari_zssr.config import PRESETS, Config, change
from napari_zssr.errors import InputError
from napari_zssr.io.read import read
from napari_zssr.plugin.clock import Clock, Pace, seconds_left
from napari_zssr.plugin.estimate import Cost, Known, Measured, Workload, planned
from napari_zssr.progress import Event, Progress, drain
from napari_zssr.stack.axis_labels import labelled
from napari_zssr.stack.channels import channel_starts
from napari_zssr.stack.image import ImageStack
from napari_zssr.stack.noise_estimate import noise_estimate_steps
from napari_zssr.stack.run import upscale_steps
from napari_zssr.zssr import calibrate
from napari_zssr.zssr.cost import Work
from napari_zssr.zssr.device import Machine, examine_machine

# Share of the expected work after which a run without slices is asked.
EARLY = 1 / 3
COLUMNS = (
    *("run", "size", "preset", "estimated", "estimated early", "taken"),
    *("estimated / taken", "early / taken", "model set on it"),
)
# Runs of each case, whose medians are told: what else a computer does changes the
# seconds of its processor, too.
REPEATS = 3
TIFF, FMD = "microscopy/tiff", "microscopy/pairs/fmd/noisy"


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One run: a part of a file, and what is done with it.

    `unseen` are those that the model was not set on.
    """

    name: str
    file: str
    axes: str
    preset: str
    part: tuple[Any, ...] = ()
    factor: float = 2.0
    factor_z: float = 1.0
    unseen: bool = False

    def __str__(self) -> str:
        return self.name

    @property
    def config(self) -> Config:
        """Settings, on any device."""
        preset = PRESETS[self.preset]
        return change(preset, factor=self.factor, factor_z=self.factor_z)


SIDE = slice(0, 320)
CASES = (
    Case(
        name="noisy plane",
        file=f"{TIFF}/xy_calibrated_16bit__cells_eres_noisy.tif",
        axes="YX",
        preset="balanced",
        part=(SIDE, SIDE),
    ),
    Case(
        name="noisy stack",
        file=f"{TIFF}/xyz_8bit__chromosomes.tif",
        axes="ZYX",
        preset="balanced",
        part=(slice(0, 12),),
    ),
    Case(
        name="time series",
        file=f"{TIFF}/xyt_calibrated_16bit__golgi_bfa_sum_projection.tif",
        axes="TYX",
        preset="fast",
    ),
    Case(
        name="photograph, RGB",
        file="skimage:coffee",
        axes="YXS",
        preset="balanced",
        part=(slice(0, 256), slice(96, 352)),
    ),
    Case(
        name="denoised in place",
        file=f"{FMD}/Confocal_MICE_1.png",
        axes="YX",
        preset="balanced",
        factor=1.0,
    ),
    Case(
        name="linear filter",
        file=f"{FMD}/Confocal_FISH_1.png",
        axes="YX",
        preset="instant",
    ),
    Case(
        name="along Z",
        file="microscopy/axial/fib_sem_choose.tif",
        axes="ZYX",
        preset="fast",
        part=(slice(0, 128, 2), SIDE, SIDE),
        factor=1.0,
        factor_z=2.0,
    ),
    Case(
        name="JPEG",
        file="jpeg:astronaut",
        axes="YX",
        preset="balanced",
        part=(slice(0, 256), slice(96, 352)),
    ),
    Case(
        name="three channels",
        file=f"{TIFF}/xyc_16bit__cell_dna_mts_actin.tif",
        axes="CYX",
        preset="balanced",
        part=(slice(None), slice(0, 256), slice(0, 256)),
        unseen=True,
    ),
    Case(
        name="time lapse of membranes",
        file=f"{TIFF}/membrane_2d_timelapse.tif",
        axes="TYX",
        preset="fast",
        unseen=True,
    ),
    Case(
        name="two-photon, threefold",
        file=f"{FMD}/TwoPhoton_MICE_1.png",
        axes="YX",
        preset="balanced",
        part=(slice(128, 384), slice(128, 384)),
        factor=3.0,
        unseen=True,
    ),
    Case(
        name="nuclei along Z",
        file="microscopy/axial/lightsheet_nuclei.tif",
        axes="ZYX",
        preset="fast",
        part=(slice(0, 124, 2),),
        factor=1.0,
        factor_z=2.0,
        unseen=True,
    ),
)


def estimated_time(job: Job) -> Table:
    """Twelve runs: time by the cost card, by the progress line, and as taken.

    Noise and speed are measured right before each run, as the card does. Seconds are
    those of the processor, so that what else runs on the machine hardly counts. The
    subset may name one case.
    """
    cases = tuple(case for case in CASES if job.subset in ("all", case.name))
    if not cases:
        names = ", ".join(case.name for case in CASES)
        raise InputError(f"Case {job.subset!r} is not known; choose one of {names}.")
    machine = examine_machine()
    with patch.object(calibrate, "CLOCK", time.process_time):
        rows = [_row(case, job, machine) for case in job.each(cases)]
    return Table(
        title="Time that is estimated, and taken",
        columns=COLUMNS,
        rows=tuple(rows),
        notes=(
            "Seconds of the processor, in one thread, medians of three. Estimated "
            "early: when the first slice was done, or a third of the expected work if "
            "there are no slices.",
        ),
    )


def _row(case: Case, job: Job, machine: Machine) -> tuple[Cell, ...]:
    stack = _stack(case, job.data)
    runs = [_measured(case, stack, machine) for _ in range(REPEATS)]
    before = median(estimated for estimated, _, _ in runs)
    taken = median(seconds for _, _, seconds in runs)
    told = [early for _, early, _ in runs if early is not None]
    early = median(told) if len(told) > REPEATS / 2 else None
    size = " x ".join(map(str, stack.data.shape))
    later = None if early is None else early / taken
    known = "no" if case.unseen else "yes"
    seconds = before, early, taken, before / taken, later
    return case.name, size, case.preset, *seconds, known


def _measured(
    case: Case, stack: ImageStack, machine: Machine
) -> tuple[float, float | None, float]:
    """Seconds of a run: as estimated before, early in the run, and as taken."""
    work = _expected(case, stack, machine)
    clock, before = Clock(work), work.seconds
    started, early, pace = calibrate.CLOCK(), None, Pace()

    def follow(event: Event) -> None:
        nonlocal early
        elapsed = calibrate.CLOCK() - started
        pace.note(event, elapsed)
        if isinstance(event, Progress):
            clock.update(event)
        left = pace.left(elapsed)
        if left is None and _is_alone(event) and clock.share >= EARLY:
            left = seconds_left(clock.of_rest, elapsed, before)
        if early is None and left is not None:
            early = elapsed + left

    drain(upscale_steps(stack, case.config), follow)
    return before, early, calibrate.CLOCK() - started


def _is_alone(event: Event) -> bool:
    """Whether the run has no slices to wait for."""
    return isinstance(event, Progress) and event.planes == 1


def _expected(case: Case, stack: ImageStack, machine: Machine) -> Work:
    """What the card would say once it knows noise and speed."""
    config, shape = case.config, tuple(stack.data.shape)
    workload = Workload(
        config=config,
        shape=shape,
        dtype=stack.data.dtype,
        axes=stack.axes,
        starts=channel_starts(config, stack.axes, shape),
        noise_estimates=drain(noise_estimate_steps(stack, config)),
        factor_z=None if case.factor_z == 1 else case.factor_z,
    )
    plan = planned(workload, machine)
    known: dict[Any, Measured | str] = {}
    cost = _cost(workload, plan, machine, known)
    for key, one in cost.unmeasured().items():
        steps = calibrate.calibrate_steps(
            one,
            workload.starts,
            size=workload.size,
            device=plan.device,
            precision=plan.precision,
        )
        known[key] = Measured(plan=one, rates=drain(steps))
    return cost.work(0)


def _cost(workload: Workload, plan: Any, machine: Machine, known: Known) -> Cost:
    return Cost(workloads=[workload], plans=[plan], cores=machine.cores, known=known)


def _stack(case: Case, data: Path) -> ImageStack:
    pixels = _pixels(case.file, data)
    return labelled(pixels[case.part] if case.part else pixels, axes=case.axes)


def _pixels(file: str, data: Path) -> NDArray[Any]:
    """Pixels of a file, or of a picture of scikit-image, as it is or as a JPEG."""
    source, _, name = file.rpartition(":")
    if not source:
        folder, _, pattern = file.rpartition("/")
        return np.asarray(read(listed(data / folder, pattern)[0]).data)
    picture: NDArray[Any] = getattr(import_module("skimage.data"), name)()
    return _as_jpeg(picture) if source == "jpeg" else picture


def _as_jpeg(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    file = BytesIO()
    Image.fromarray(picture).convert("L").save(file, "JPEG", quality=60)
    return np.asarray(Image.open(file))
