"""A random start against a learned one: the same sons, one run, PSNR and seconds."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.job import (
    Job,
    bicubic,
    enlarge,
    from_learned,
    listed,
    load,
    whole_factor,
)
from benchmarks.judged import load_truth, name_of, scorer
from benchmarks.metrics import luma, psnr
from benchmarks.photographs import gaussian_son, random_gaussian, son_of
from benchmarks.promises import texture
from benchmarks.table import Cell, Table, mean_row
from napari_zssr.checks import RANDOM
from napari_zssr.config import Config, change
from napari_zssr.errors import InputError
from napari_zssr.imaging.resample import imresize
from napari_zssr.kernelspec import KernelSpec

PHOTOGRAPHS = ("Set5", "Set14", "BSD100_odd")
PARTS = (*PHOTOGRAPHS, "gaussian", "plane")
PLANE_PX = 512
WARM_UP_PX = 48
COLUMNS = (
    "part",
    "image",
    "bicubic",
    "random start",
    "pretrained start",
    "learned - random dB",
    "random seconds",
    "learned seconds",
    "learned seconds / random",
    "returned",
)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Case:
    """One son, and how a result is scored.

    Attributes
    ----------
    name : str
    son : ndarray, shape (Y, X) or (Y, X, 3)
    score : callable
        PSNR of an enlargement of the son's axes.
    kernel : KernelSpec, optional
        Blur that the method is told; that of the settings unless given.
    """

    name: str
    son: NDArray[Any]
    score: Callable[[NDArray[Any]], float]
    kernel: KernelSpec | None = None


def starts(job: Job) -> Table:
    """Both starts on photographs, under random Gaussian blurs, and on a large plane.

    Parameters
    ----------
    job : Job
        Its settings with a random start are measured beside the same with the learned
        start that they name, or the shipped one. The subset is one of `PARTS`, or
        ``all`` of those whose images are there; the limit holds for the images of
        each part, the seeds for the Gaussians, `plane_px` for the side of the plane.
    """
    factor = whole_factor(job.factors, job.set_name)
    learned = from_learned(job.config)
    pair = (change(job.config, start=RANDOM), learned)
    job = replace(job, config=learned)
    warm_up(job, *pair)
    rows: list[tuple[Cell, ...]] = []
    means = []
    for part in _parts(job, factor):
        own = [(part, *_row(job, case, pair)) for case in _cases(job, part, factor)]
        rows += own
        means.append((part, "mean", *mean_row([row[1:] for row in own])[1:]))
    return Table(
        title=f"{job.title}; random start: {pair[0].steps} steps",
        columns=COLUMNS,
        rows=(*rows, *means),
        notes=NOTES,
        plotted=COLUMNS[2:5],
    )


def _parts(job: Job, factor: int) -> list[str]:
    """Parts that are asked for."""
    wanted = [part for part in PARTS if job.subset.lower() in ("all", part.lower())]
    if not wanted:
        raise InputError(
            f"Subset {job.subset!r} is not known; give all or one of "
            f"{', '.join(PARTS)}."
        )
    if len(wanted) == 1:
        return wanted
    there = [p for p in wanted if p == "plane" or _folder(job, p, factor).is_dir()]
    if there == ["plane"]:
        raise InputError(
            f"{job.data} holds no sr_benchmarks for x{factor}; give the folder that "
            "does, or ask for the subset plane."
        )
    return there


def _folder(job: Job, part: str, factor: int) -> Path:
    """Where the photographs of a part lie."""
    name = part if part in PHOTOGRAPHS else "BSD100_odd"
    return job.data / "sr_benchmarks" / name / f"x{factor}"


def _cases(job: Job, part: str, factor: int) -> Iterator[Case]:
    """Sons of a part, announced one by one."""
    if part == "plane":
        job.announce(0, 1, part)
        yield _plane(job.plane_px or PLANE_PX, factor)
        return
    files = listed(_folder(job, part, factor), "*_HR.png")
    if part in PHOTOGRAPHS:
        for hr in job.each(files):
            yield Case(
                name=name_of(hr), son=load(son_of(hr)), score=_judge(load(hr), factor)
            )
        return
    for seed in job.seeds:
        draw = np.random.default_rng(seed)
        kernels = [random_gaussian(draw, factor) for _ in files]
        for hr, kernel in zip(job.each(files), kernels, strict=False):
            yield _blurred(hr, kernel, factor, f"{name_of(hr)} seed {seed}")


def _blurred(file: Path, kernel: NDArray[np.float64], factor: int, name: str) -> Case:
    truth = load_truth(file, factor)
    return Case(
        name=name,
        son=gaussian_son(truth, kernel, factor),
        score=_judge(truth, factor),
        kernel=KernelSpec(kind="array", array=kernel),
    )


def _plane(side: int, factor: int) -> Case:
    """A generated texture of `side` pixels."""
    truth = texture(side * factor)
    peak = float(np.ptp(truth))
    return Case(
        name=f"generated, {side} x {side} px",
        son=imresize(truth, (1 / factor, 1 / factor)).astype(np.float32),
        score=lambda image: psnr(image, truth, peak=peak, shave=factor),
    )


def _judge(truth: NDArray[np.uint8], factor: int) -> Callable[[NDArray[Any]], float]:
    score = scorer(truth, factor)
    return lambda image: score(luma(image))[0]


def _row(job: Job, case: Case, pair: tuple[Config, Config]) -> tuple[Cell, ...]:
    """Name, PSNR of bicubic and both starts, seconds of both, what came back."""
    runs = [
        enlarge(
            case.son,
            config,
            axes="YXS" if case.son.ndim == 3 else "YX",
            on_event=job.on_event,
            kernel=case.kernel or config.kernel,
        )
        for config in pair
    ]
    random, learned = (case.score(run.image) for run in runs)
    seconds = [run.seconds for run in runs]
    return (
        case.name,
        case.score(bicubic(case.son, job.factors)),
        random,
        learned,
        learned - random,
        *seconds,
        seconds[1] / seconds[0],
        " / ".join(run.returned for run in runs),
    )


def warm_up(job: Job, *configs: Config) -> None:
    """One short run of each, so that the first image does not pay for imports."""
    job.announce(0, 1, "warming up")
    for config in configs:
        enlarge(texture(WARM_UP_PX), change(config, steps=min(config.steps, 2)))


NOTES = (
    "Both starts enlarge the same sons in one run, one after the other, after a short "
    "run of each that is not counted. Seconds are of the whole call.",
    "Photographs: PSNR of the 8-bit luma, a border of the factor's pixels left out. "
    "Gaussian: BSD100_odd, a random kernel for each image and seed, which both are "
    "told. Plane: a generated texture and its bicubic son, peak its range.",
)
