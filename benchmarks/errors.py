"""Whether the standard error of a result covers its errors, where the truth is known.

``python -m benchmarks.errors DATA``: FMD's captures against the mean of 50, generated
scenes at three noise levels, and Set5.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from numpy.typing import NDArray

from benchmarks.job import listed, load
from benchmarks.metrics import luma
from benchmarks.microscopes import decimated_captures
from benchmarks.photographs import son_of
from benchmarks.table import Cell, Table
from napari_zssr import api
from napari_zssr.config import change, preset
from napari_zssr.imaging.resample import imresize
from napari_zssr.progress import drain

# Pixels of the result beside the border that are left out.
BORDER_PX = 8
QUANTILE = 1.645
LEVELS, SCENES, SIDE_PX = (0.01, 0.03, 0.08), 6, 256
# Captures whose mean is the truth.
CAPTURES = 50
PRESETS = ("fast", "balanced")
COLUMNS = (
    "image",
    "factor",
    "preset",
    "covered %",
    "covered %, noise of the truth allowed for",
    "area under the curve",
    "time / time without",
    "returned",
)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Case:
    """An image (Y, X), its truth (f Y, f X), and whether that is a mean of captures."""

    name: str
    image: NDArray[Any]
    truth: NDArray[np.floating]
    factor: int = 2
    averaged: bool = False


def captures(data: Path, subset: str) -> Iterator[Case]:
    """FMD's captures, decimated by 2 and whole."""
    for factor in (2, 1):
        for name, image, truth in decimated_captures(data, subset, factor):
            yield Case(
                name=name,
                image=image,
                truth=truth.astype(np.float64),
                factor=factor,
                averaged=True,
            )


def generated() -> Iterator[Case]:
    """Generated scenes, halved, with Gaussian noise."""
    from training.scenes import scene

    for number in range(20, 20 + SCENES):
        drawn = np.squeeze(np.asarray(scene((11, number)), np.float64))
        grey = drawn if drawn.ndim == 2 else drawn.mean(axis=np.argmin(drawn.shape))
        truth = grey[:SIDE_PX, :SIDE_PX]
        truth = (truth - truth.min()) / np.ptp(truth)
        clean = imresize(truth, (0.5, 0.5))
        for level in LEVELS:
            noise = np.random.default_rng(number).normal(0, level, clean.shape)
            image = (clean + noise).astype(np.float32)
            name = f"scene {number}, noise {100 * level:g} %"
            yield Case(name=name, image=image, truth=truth)


def photographs(data: Path) -> Iterator[Case]:
    """Set5, luma of the halved images."""
    for file in listed(data / "sr_benchmarks" / "Set5", "**/*SRF_2_HR.png"):
        truth = luma(load(file))
        image = luma(load(son_of(file))).round().astype(np.uint8)
        yield Case(name=file.stem, image=image, truth=truth)


def area_under_curve(score: NDArray[Any], errors: NDArray[Any]) -> float:
    """How well a score tells the worst tenth of the errors; 0.5 is chance."""
    worst = (errors >= np.quantile(errors, 0.9)).ravel()
    ranks = score.ravel().argsort().argsort()
    above = ranks[worst].sum() - worst.sum() * (worst.sum() - 1) / 2
    return float(above / (worst.sum() * (~worst).sum()))


def _row(case: Case, name: str) -> tuple[Cell, ...]:
    config = change(preset(name), factor=case.factor, dtype="float32")
    seconds = []
    for error_map in (False, True):
        started = time.perf_counter()
        settings = change(config, error_map=error_map)
        done = drain(api.upscale_steps(case.image, settings))
        seconds.append(time.perf_counter() - started)
    assert done.error is not None
    inner = (slice(BORDER_PX, -BORDER_PX),) * 2
    errors, told = np.abs(done.image - case.truth)[inner], done.error[inner]
    report = done.report.planes[0]
    noise = report.noise * float(np.ptp(case.image)) if case.averaged else 0.0
    allowed = np.hypot(told, noise / CAPTURES**0.5)
    return (
        case.name,
        case.factor,
        name,
        round(100 * float(np.mean(errors <= QUANTILE * told)), 1),
        round(100 * float(np.mean(errors <= QUANTILE * allowed)), 1),
        round(area_under_curve(told, errors), 3),
        round(seconds[1] / seconds[0], 2),
        report.returned,
    )


def table(cases: list[Case], title: str) -> Table:
    """Coverage of the interval of 90 %, and whether large errors are told."""
    return Table(
        title=title,
        columns=COLUMNS,
        rows=tuple(_row(case, name) for case in cases for name in PRESETS),
        notes=(
            f"Covered: within {QUANTILE:g} standard errors. Area under the curve of "
            "telling the worst tenth of the pixels from the rest. FMD's truth is the "
            f"mean of {CAPTURES} captures, which has noise left.",
        ),
    )


def main(
    data: Annotated[Path, typer.Argument(metavar="DATA", help="Folder of the images.")],
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", metavar="FILE", help="Also write it there."),
    ] = None,
) -> None:
    """Measure the table."""
    cases = [
        *captures(data, "rest"),
        *captures(data, "confocal"),
        *generated(),
        *photographs(data),
    ]
    measured = table(cases, "Standard errors against the truth")
    typer.echo(measured.to_markdown())
    if output is not None:
        output.write_text(measured.to_csv(), encoding="utf-8")


if __name__ == "__main__":
    typer.run(main)
