"""Table 2 of Shocher et al., CVPR 2018: every image under a Gaussian of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.job import Job, enlarge, whole_factor
from benchmarks.judged import (
    Judge,
    Judged,
    announce,
    by_image,
    load_truth,
    mean,
    methods,
    name_of,
    share,
    truth_files,
)
from benchmarks.metrics import luma
from benchmarks.photographs import (
    PUBLISHED_GAUSSIAN,
    TAPS_PER_FACTOR,
    gaussian_son,
    random_gaussian,
)
from benchmarks.table import Cell, Table
from napari_zssr.config import Config
from napari_zssr.imaging.kernel import covariance, sampled_kernel
from napari_zssr.kernelspec import KernelSpec

Array = NDArray[np.float64]
Kernel = NDArray[np.float64]

TRUE = "true"
KERNELS = ("bicubic", "gaussian:1.1", "estimate", TRUE)
LUCY_ITERATIONS = (1, 2, 3, 5, 8, 12, 20, 30)
COLUMNS = (
    "method",
    "PSNR",
    "SSIM",
    "gain dB",
    "of the true kernel's gain %",
    "larger width error %",
    "smaller width error %",
    "above bicubic %",
    "seconds",
)


def table_2(job: Job) -> Table:
    """Unknown Gaussian blurs: every preset with every kernel, beside the paper.

    Parameters
    ----------
    job : Job
        With the presets to measure, the kernels that each is given (``bicubic``,
        ``estimate``, ``true`` for the kernel that was drawn, ``gaussian:SIGMA``), and
        the seeds, each of which draws one kernel for every image.
    """
    factor = whole_factor(job.factors, "Table 2")
    files = truth_files(job.data, factor)
    found: list[Judged] = []
    for seed in job.seeds:
        draw = np.random.default_rng(seed)
        kernels = [random_gaussian(draw, factor) for _ in files]
        for file, kernel in zip(job.each(files), kernels, strict=False):
            truth = load_truth(file, factor)
            son = gaussian_son(truth, kernel, factor)
            judge = Judge(name_of(file), f"seed {seed}", truth, son, factor)
            case = _Case(son, kernel, judge)
            found += [announce(job, judged) for judged in _judged(job, case)]
    return _table(job, found, factor)


@dataclass(frozen=True, slots=True)
class _Case:
    """One image under one kernel."""

    son: NDArray[np.uint8]
    kernel: Kernel
    judge: Judge


def _judged(job: Job, case: _Case) -> Iterator[Judged]:
    yield case.judge.judged("bicubic", case.judge.plain)
    if (lucy := _richardson_lucy(case)) is not None:
        yield lucy
    for config in job.measured:
        for text in job.kernels or KERNELS:
            yield _enlarged(job, case, config, text)


def _richardson_lucy(case: _Case) -> Judged | None:
    """scikit-image's, told the true kernel, at its best number of iterations."""
    try:
        from skimage import restoration
    except ImportError:
        return None
    sharpen: Callable[..., Array] = restoration.richardson_lucy
    blur = sampled_kernel(KernelSpec(kind="array", array=case.kernel))
    seen = np.maximum(case.judge.plain, 1) / 255
    results = [
        case.judge.judged(
            "Richardson-Lucy on bicubic, true kernel",
            255 * sharpen(seen, blur, num_iter=count),
            returned=f"{count} iterations",
        )
        for count in LUCY_ITERATIONS
    ]
    return max(results, key=lambda judged: judged.psnr)


def _enlarged(job: Job, case: _Case, config: Config, text: str) -> Judged:
    """One preset, given one kernel."""
    told = KernelSpec(kind="array", array=case.kernel)
    run = enlarge(
        case.son,
        config,
        axes="YXS" if case.son.ndim == 3 else "YX",
        on_event=job.on_event,
        kernel=told if text == TRUE else KernelSpec.parse(text),
    )
    return case.judge.judged(
        f"{config.preset}, {text} kernel",
        luma(run.image),
        width_errors=_width_errors(run.kernels, case.kernel) if text != TRUE else None,
        returned=run.returned,
        seconds=run.seconds,
    )


def _width_errors(
    kernels: Sequence[Mapping[str, Any]], true: Kernel
) -> tuple[float, float] | None:
    """Relative errors of the principal widths of a run's kernels, in their mean."""
    known = [k["widths_px"] for k in kernels if k.get("widths_px") is not None]
    if not known:
        return None
    wanted = np.sqrt(np.linalg.eigvalsh(covariance(true)))[::-1]
    error = np.abs(np.sort(np.mean(known, axis=0))[::-1] / wanted - 1)
    return float(error[0]), float(error[1])


def _table(job: Job, found: list[Judged], factor: int) -> Table:
    rows = [_summary(found, method) for method in methods(found)]
    rows += _seed_means(found) if len(job.seeds) > 1 else []
    published = PUBLISHED_GAUSSIAN if factor == 2 else {}
    unknown = (None,) * (len(COLUMNS) - 3)
    rows += [
        (f"{m} (published)", *figures, *unknown) for m, figures in published.items()
    ]
    return Table(
        title=job.title,
        columns=COLUMNS,
        rows=tuple(rows),
        notes=_notes(job, factor, len(found) // max(1, len(methods(found)))),
        plotted=("PSNR",),
        images=by_image(found, job.title),
    )


def _summary(found: list[Judged], method: str, label: str = "") -> tuple[Cell, ...]:
    """Means of one method."""
    own = [judged for judged in found if judged.method == method]
    gain = mean(judged.gain for judged in own)
    preset = method.split(",")[0]
    true = mean(j.gain for j in found if j.method == f"{preset}, {TRUE} kernel")
    told = any(judged.seconds is not None for judged in own)
    errors = [judged.width_errors for judged in own if judged.width_errors]
    larger, smaller = 100 * np.median(errors, axis=0) if errors else (None, None)
    return (
        label or method,
        mean(judged.psnr for judged in own),
        mean(judged.ssim for judged in own),
        gain,
        100 * gain / true if told and gain is not None and true else None,
        None if larger is None else float(larger),
        None if smaller is None else float(smaller),
        None if method == "bicubic" else share([judged.gain > 0 for judged in own]),
        mean(judged.seconds for judged in own),
    )


def _seed_means(found: list[Judged]) -> list[tuple[Cell, ...]]:
    """Means of every seed, of the methods that were told the true kernel."""
    rows = []
    for method in methods(found):
        if not method.endswith(f"{TRUE} kernel") or "Lucy" in method:
            continue
        for case in dict.fromkeys(judged.case for judged in found):
            part = [judged for judged in found if judged.case == case]
            rows.append(_summary(part, method, f"{method}, {case}"))
    return rows


def _notes(job: Job, factor: int, runs: int) -> tuple[str, ...]:
    side = TAPS_PER_FACTOR * factor
    seeds = ", ".join(map(str, job.seeds))
    return (
        f"{runs} sons: a kernel for each image, covariance with eigenvalues from "
        f"U[0, {factor}^2] and angle from U[0, 180] degrees, seeds {seeds}. PSNR and "
        "SSIM of the 8-bit luma, a border of the factor's pixels left out.",
        "The paper leaves open: how many taps a kernel has (here "
        f"{side} x {side} fine pixels), how it is aligned (here its centre of mass "
        "lies where a bicubic son's pixel centre does, so that bicubic enlargement "
        "stays in place), and whether sons carry noise (here only their rounding to 8 "
        "bits). "
        "Its figures are of all 100 images of BSD100, with kernels of their own.",
        "Richardson-Lucy (scikit-image) works on the luma of the bicubic enlargement, "
        "is told the true kernel, and stops at the best of "
        f"{', '.join(map(str, LUCY_ITERATIONS))} iterations for each image, which "
        "only the truth can tell.",
        "Width errors: relative, of the two principal widths (larger first) against "
        "those of the sampled true kernel, median over the images. Seconds are of one "
        "image.",
    )
