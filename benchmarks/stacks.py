"""Stacks: learning once against learning every slice, and how much slices flicker."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.job import Job, as_dtype, bicubic, enlarge, listed, whole_factor
from benchmarks.metrics import psnr
from benchmarks.table import Cell, Table
from napari_zssr.config import change
from napari_zssr.imaging.resample import imresize
from napari_zssr.io.read import read

FILE = "xyzc_16bit__dna_conf_wf.tif"
NAMES = ("nucleus, confocal", "nucleus, widefield")
SLICES = 40
SEEDS = 3
STRATEGIES = ("independent", "shared", "tuned")
COPIES = 8
# Standard deviation of the noise on copies of a slice, fraction of the range.
NOISE = 0.01
COLUMNS = (
    "stack",
    "strategy",
    "bicubic",
    "PSNR",
    "lowest seed",
    "highest seed",
    "learned",
    "seconds",
    "of independent's",
    "flicker, same slice, %",
    "flicker, new noise, x bicubic's",
)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Stack:
    """One channel whose fine version is known.

    Attributes
    ----------
    name : str
    sons, truths : ndarray, shape (Z, Y, X)
    """

    name: str
    sons: NDArray[Any]
    truths: NDArray[Any]

    @property
    def range(self) -> float:
        """Lowest to highest pixel."""
        return float(np.ptp(self.truths))


def stacks(job: Job) -> Table:
    """Every strategy on a decimated confocal and a decimated widefield stack.

    Parameters
    ----------
    job : Job
        Whole factor and ``microscopy/tiff/xyzc_16bit__dna_conf_wf.tif``. The limit
        holds for slices; seeds count up from that of the settings.
    """
    factor = whole_factor(job.factors, job.set_name)
    cases = decimated_stacks(job, factor)
    rows: list[tuple[Cell, ...]] = []
    total = len(cases) * len(STRATEGIES)
    for case in cases:
        alone = None
        for strategy in STRATEGIES:
            job.announce(len(rows), total, f"{case.name}, {strategy}")
            row, seconds = _row(job, case, strategy, alone)
            alone = alone or seconds
            rows.append(row)
    return Table(
        title=f"{job.title}, {len(cases[0].sons)} slices",
        columns=COLUMNS,
        rows=tuple(rows),
        notes=_notes(job),
        plotted=("bicubic", "PSNR"),
    )


def decimated_stacks(job: Job, factor: int) -> list[Stack]:
    """The channels of the file, each slice decimated as it would be stored."""
    path = listed(job.data / "microscopy" / "tiff", FILE)[0]
    data = np.asarray(read(path, axes="ZCYX").data)[: job.limit or SLICES]
    rows, columns = (size // factor * factor for size in data.shape[2:])
    return [
        Stack(
            name=name,
            truths=truths,
            sons=np.stack([bicubic(t, (1 / factor, 1 / factor)) for t in truths]),
        )
        for name, truths in zip(
            NAMES, data[..., :rows, :columns].swapaxes(0, 1), strict=True
        )
    ]


def flicker(images: NDArray[Any]) -> float:
    """Root mean square, over the pixels, of the standard deviation along Z.

    Parameters
    ----------
    images : ndarray, shape (Z, Y, X)
    """
    return float(np.sqrt(images.astype(np.float64).var(axis=0).mean()))


def noisy_copies(case: Stack, seed: int) -> NDArray[Any]:
    """The middle slice several times, each with its own noise."""
    middle = case.sons[len(case.sons) // 2]
    draw = np.random.default_rng(seed)
    noise = draw.normal(0, NOISE * case.range, (COPIES, *middle.shape))
    return as_dtype(middle + noise, middle.dtype)


def _row(
    job: Job, case: Stack, strategy: str, alone: float | None
) -> tuple[tuple[Cell, ...], float]:
    """Figures of a strategy, and its seconds; `alone` are independent's."""
    config = change(job.config, strategy=strategy)
    found, seconds, learned = [], [], []
    for seed in range(config.seed, config.seed + SEEDS):
        run = enlarge(case.sons, config, axes="ZYX", on_event=job.on_event, seed=seed)
        found.append(_mean_psnr(run.image, case))
        seconds.append(run.seconds)
        learned.append(run.learned)
    mean = float(np.mean(seconds))
    plain = imresize(case.sons, job.factors)
    figures: list[Cell] = [
        _mean_psnr(as_dtype(plain, case.sons.dtype), case),
        float(np.mean(found)),
        min(found),
        max(found),
        float(np.mean(learned)),
        mean,
        None if alone is None else mean / alone,
        *_flicker(job, case, strategy),
    ]
    return (case.name, strategy, *figures), mean


def _flicker(job: Job, case: Stack, strategy: str) -> tuple[float, float]:
    """Flicker of one slice in per cent of the range; of noisy ones beside bicubic."""
    config = change(job.config, strategy=strategy)
    same = np.stack([case.sons[len(case.sons) // 2]] * COPIES)
    still = enlarge(same, config, axes="ZYX", on_event=job.on_event).image
    noisy = noisy_copies(case, config.seed)
    moving = enlarge(noisy, config, axes="ZYX", on_event=job.on_event).image
    plain = as_dtype(imresize(noisy, job.factors), noisy.dtype)
    return 100 * flicker(still) / case.range, flicker(moving) / flicker(plain)


def _mean_psnr(images: NDArray[Any], case: Stack) -> float:
    pairs = zip(images, case.truths, strict=True)
    return float(np.mean([psnr(i, t, peak=case.range) for i, t in pairs]))


def _notes(job: Job) -> tuple[str, ...]:
    first = job.config.seed
    return (
        "Every slice decimated by antialiased bicubic, rounded to 16 bits, enlarged, "
        "against the slice itself; mean PSNR of the slices, peak = range of the stack, "
        f"mean of seeds {first} to {first + SEEDS - 1}. Learned: share of the slices "
        "that did not come back as bicubic. Seconds are of the whole stack.",
        f"Flicker: the middle slice {COPIES} times; root mean square of the standard "
        "deviation along Z, in per cent of the range. New noise: Gaussian noise of "
        f"{100 * NOISE:g} % of the range on each copy; as a multiple of the flicker of "
        "bicubic.",
    )
