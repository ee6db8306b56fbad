"""Photographs with a known truth: bicubic sons, and sons of random Gaussian blurs."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.job import Job, as_dtype, bicubic, enlarge, listed, load, whole_factor
from benchmarks.metrics import benchmark_scores
from benchmarks.table import Cell, Table, mean_row
from napari_zssr.errors import InputError
from napari_zssr.imaging.degrade import degrade_array
from napari_zssr.kernelspec import KernelSpec

KERNEL_SEEDS = (0, 1, 2)
TAPS_PER_FACTOR = 7

COLUMNS = (
    "image",
    "bicubic PSNR",
    "bicubic SSIM",
    "PSNR",
    "SSIM",
    "gain dB",
    "seconds",
    "returned",
)

# PSNR / SSIM printed in Shocher et al., CVPR 2018, Table 1.
PUBLISHED: dict[tuple[str, int], dict[str, tuple[float, float]]] = {
    ("Set5", 2): {
        "SelfExSR": (36.49, 0.9537),
        "SRCNN": (36.66, 0.9542),
        "ZSSR": (37.37, 0.9570),
        "VDSR": (37.53, 0.9587),
        "EDSR+": (38.20, 0.9606),
    },
    ("Set5", 3): {
        "SelfExSR": (32.58, 0.9093),
        "SRCNN": (32.75, 0.9090),
        "ZSSR": (33.42, 0.9188),
        "VDSR": (33.66, 0.9213),
        "EDSR+": (34.76, 0.9290),
    },
    ("Set5", 4): {
        "SelfExSR": (30.31, 0.8619),
        "SRCNN": (30.48, 0.8628),
        "ZSSR": (31.13, 0.8796),
        "VDSR": (31.35, 0.8838),
        "EDSR+": (32.62, 0.8984),
    },
    ("Set14", 2): {
        "SelfExSR": (32.22, 0.9034),
        "SRCNN": (32.42, 0.9063),
        "ZSSR": (33.00, 0.9108),
        "VDSR": (33.03, 0.9124),
        "EDSR+": (34.02, 0.9204),
    },
    ("Set14", 3): {
        "SelfExSR": (29.16, 0.8196),
        "SRCNN": (29.28, 0.8209),
        "ZSSR": (29.80, 0.8304),
        "VDSR": (29.77, 0.8314),
        "EDSR+": (30.66, 0.8481),
    },
    ("Set14", 4): {
        "SelfExSR": (27.40, 0.7518),
        "SRCNN": (27.49, 0.7503),
        "ZSSR": (28.01, 0.7651),
        "VDSR": (28.01, 0.7674),
        "EDSR+": (28.94, 0.7901),
    },
    ("BSD100_odd", 2): {
        "SelfExSR": (31.18, 0.8855),
        "SRCNN": (31.36, 0.8879),
        "ZSSR": (31.65, 0.8920),
        "VDSR": (31.90, 0.8960),
        "EDSR+": (32.37, 0.9018),
    },
}
# Table 2 there: all of BSD100, a random Gaussian kernel for each image.
PUBLISHED_GAUSSIAN = {
    "VDSR": (27.72, 0.7635),
    "EDSR+": (27.78, 0.7660),
    "Blind-SR": (28.42, 0.7834),
    "ZSSR, estimated kernel": (28.81, 0.8306),
    "ZSSR, true kernel": (29.68, 0.8414),
}


def photographs(job: Job) -> Table:
    """Set5, Set14 or BSD100_odd: every image beside bicubic and the paper's figures.

    Parameters
    ----------
    job : Job
        Whole factor with a folder ``sr_benchmarks/SET/xF`` of ``*_HR.png`` and
        ``*_LR.png``.
    """
    factor = whole_factor(job.factors, job.set_name)
    folder = job.data / "sr_benchmarks" / job.set_name / f"x{factor}"
    rows = [
        _row(job, hr.stem.removesuffix("_HR"), load(son_of(hr)), load(hr))
        for hr in job.each(listed(folder, "*_HR.png"))
    ]
    published = PUBLISHED.get((job.set_name, factor), {})
    return _table(job, rows, published, _notes(job.set_name))


def gaussian_kernels(job: Job) -> Table:
    """BSD100_odd blurred by random Gaussian kernels, the true kernel given.

    Parameters
    ----------
    job : Job
        Whole factor with a folder ``sr_benchmarks/BSD100_odd/xF``. Each of
        `KERNEL_SEEDS` draws one kernel for every image.
    """
    factor = whole_factor(job.factors, job.set_name)
    files = listed(job.data / "sr_benchmarks" / "BSD100_odd" / f"x{factor}", "*_HR.png")
    rows: list[tuple[Cell, ...]] = []
    means = []
    for seed in KERNEL_SEEDS:
        draw = np.random.default_rng(seed)
        kernels = [random_gaussian(draw, factor) for _ in files]
        scored = [
            _gaussian_row(job, file, kernel, seed)
            for file, kernel in zip(job.each(files), kernels[: job.limit], strict=False)
        ]
        rows += scored
        means.append(mean_row(scored, f"mean of seed {seed}"))
    side = TAPS_PER_FACTOR * factor
    note = (
        f"Kernels: {side} x {side} fine pixels, covariance with eigenvalues from "
        f"U[0, {factor}^2] and angle from U[0, 180] degrees, seeds "
        f"{', '.join(map(str, KERNEL_SEEDS))}, one kernel for each image; 8-bit sons; "
        "the method is told the kernel. The published figures are of all 100 images "
        "with kernels of their own."
    )
    published = PUBLISHED_GAUSSIAN if factor == 2 else {}
    return _table(job, [*rows, *means], published, (note,), scored=rows)


def random_gaussian(draw: np.random.Generator, factor: int) -> NDArray[np.float64]:
    """Random anisotropic Gaussian on the fine grid (Shocher et al., section 4.2).

    Parameters
    ----------
    draw : numpy.random.Generator
        Source of the eigenvalues (U[0, factor^2]) and the angle (U[0, pi]).
    factor : int
        Subsampling that the kernel precedes.

    Returns
    -------
    ndarray, shape (7 * factor, 7 * factor), sum 1
        An even factor gets an even side, so that the kernel's centre lies where
        that of a son's pixel does.
    """
    spread = np.diag(np.maximum(draw.uniform(0, factor**2, 2), 1e-6))
    angle = draw.uniform(0, math.pi)
    turn = np.array(
        [[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]]
    )
    side = TAPS_PER_FACTOR * factor
    place = np.arange(side) - (side - 1) / 2
    grid = np.stack(np.meshgrid(place, place, indexing="ij"))
    inverse = np.linalg.inv(turn @ spread @ turn.T)
    square = np.einsum("iyx,ij,jyx->yx", grid, inverse, grid)
    kernel: NDArray[np.float64] = np.exp(-(square - square.min()) / 2)
    kernel /= kernel.sum()
    return kernel


def gaussian_son(
    hr: NDArray[np.uint8], kernel: NDArray[np.float64], factor: int
) -> NDArray[np.uint8]:
    """8-bit son of (Y, X) or (Y, X, S), blurred by `kernel` and subsampled."""
    planes = np.moveaxis(hr, -1, 0) if hr.ndim == 3 else hr
    spec = KernelSpec(kind="array", array=kernel)
    small = degrade_array(planes, spec, (factor, factor))
    son = np.moveaxis(small, 0, -1) if hr.ndim == 3 else small
    return as_dtype(son, np.dtype(np.uint8))


def _gaussian_row(
    job: Job, file: Path, kernel: NDArray[np.float64], seed: int
) -> tuple[Cell, ...]:
    factor = int(job.factors[0])
    hr = load(file)
    hr = hr[: hr.shape[0] // factor * factor, : hr.shape[1] // factor * factor]
    son = gaussian_son(hr, kernel, factor)
    name = f"{file.stem.removesuffix('_HR')} seed {seed}"
    return _row(job, name, son, hr, KernelSpec(kind="array", array=kernel))


def _row(
    job: Job,
    name: str,
    lr: NDArray[np.uint8],
    hr: NDArray[np.uint8],
    kernel: KernelSpec | None = None,
) -> tuple[Cell, ...]:
    plain = benchmark_scores(bicubic(lr, job.factors), hr, job.factors)
    run = enlarge(
        lr,
        job.config,
        axes="YXS" if lr.ndim == 3 else "YX",
        on_event=job.on_event,
        kernel=job.config.kernel if kernel is None else kernel,
    )
    ours = benchmark_scores(run.image, hr, job.factors)
    return (name, *plain, *ours, ours[0] - plain[0], run.seconds, run.returned)


def _table(
    job: Job,
    rows: list[tuple[Cell, ...]],
    published: dict[str, tuple[float, float]],
    notes: tuple[str, ...],
    *,
    scored: list[tuple[Cell, ...]] | None = None,
) -> Table:
    means = mean_row(rows if scored is None else scored)
    printed: list[tuple[Cell, ...]] = [
        (f"{method} (published)", None, None, *figures, None, None, None)
        for method, figures in published.items()
    ]
    return Table(
        title=job.title,
        columns=COLUMNS,
        rows=(*rows, means, *printed),
        notes=notes,
        plotted=("bicubic PSNR", "PSNR"),
    )


def _notes(name: str) -> tuple[str, ...]:
    protocol = (
        "8-bit luma of MATLAB's rgb2ycbcr, a border of the factor's pixels left out; "
        "SSIM with an 11 x 11 Gaussian window of sigma 1.5. Published rows: Shocher et "
        "al., CVPR 2018, Table 1."
    )
    if name.startswith("BSD100"):
        return (protocol, "The published figures are of all 100 images.")
    return (protocol,)


def son_of(hr: Path) -> Path:
    """File of the son that lies beside a fine image."""
    lr = hr.with_name(hr.name.replace("_HR", "_LR"))
    if not lr.is_file():
        raise InputError(f"{hr.name} lies there without {lr.name}; both are needed.")
    return lr
