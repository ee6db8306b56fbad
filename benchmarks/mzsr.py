"""MZSR's settings (Soh, Cho, Cho, CVPR 2020): four blurs, told, and very few steps."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import signal

from benchmarks.job import (
    Job,
    as_dtype,
    bicubic,
    enlarge,
    from_learned,
    listed,
    whole_factor,
)
from benchmarks.judged import load_truth, name_of, scorer
from benchmarks.metrics import luma, shifted
from benchmarks.starts import warm_up
from benchmarks.table import Cell, Table, mean_row
from napari_zssr.config import change
from napari_zssr.errors import InputError
from napari_zssr.imaging.degrade import degrade_array
from napari_zssr.imaging.kernel import sampled_kernel
from napari_zssr.imaging.resample import cubic, imresize
from napari_zssr.kernelspec import KernelSpec

Kernel = NDArray[np.float64]

FACTOR = 2
STEPS = (1, 10)
# From where the paper's sons lie to where bicubic ones do, fine pixels.
HALF_A_PIXEL = (-0.5, -0.5)
PAPER_COLUMNS = (
    "bicubic (paper)",
    "ZSSR (paper)",
    "MZSR 1 step (paper)",
    "MZSR 10 steps (paper)",
)
COLUMNS = (
    "blur",
    "bicubic, not moved",
    "bicubic",
    *(f"{steps} step{'s' * (steps > 1)}" for steps in STEPS),
    *(f"seconds of {steps}" for steps in STEPS),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Blur:
    """One of the paper's degradations.

    Attributes
    ----------
    name : str
    widths : tuple of float
        Eigenvalues of the Gaussian's covariance along Y and X, square fine pixels.
    angle : float
        By which its axes are turned, radians.
    reduced : bool
        Whether bicubic reduction comes after the blur, not every second pixel.
    published : tuple of float
        PSNR of `PAPER_COLUMNS`, mean of Set5.
    """

    name: str
    widths: tuple[float, float]
    angle: float = 0.0
    reduced: bool = False
    published: tuple[float, float, float, float]

    @property
    def spec(self) -> KernelSpec:
        """The Gaussian."""
        y, x = (math.sqrt(width) for width in self.widths)
        turned = math.degrees(self.angle)
        return KernelSpec(kind="gaussian", sigma_px=(y, x), angle_deg=turned)


BLURS = (
    Blur(
        name="0.2, aliased",
        widths=(0.2, 0.2),
        published=(30.24, 34.29, 33.14, 33.74),
    ),
    Blur(name="2.0", widths=(2.0, 2.0), published=(28.73, 34.90, 35.20, 36.05)),
    Blur(
        name="4.0 and 1.0, turned by -0.5",
        widths=(1.0, 4.0),
        angle=0.5,
        published=(28.15, 33.96, 34.05, 34.78),
    ),
    Blur(
        name="1.3, then bicubic reduction",
        widths=(1.3, 1.3),
        reduced=True,
        published=(30.54, 35.24, 35.18, 36.64),
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Son:
    """A coarse image, and what leads back to the fine one.

    Attributes
    ----------
    case : str
        How it was made.
    image : ndarray, shape (Y, X) or (Y, X, 3), uint8
    kernel : KernelSpec
        The blur that the method is told.
    moved : tuple of float
        By which an enlargement has to be moved onto the fine image, fine pixels.
    published : tuple of (float or None)
        What the paper printed for such sons.
    """

    case: str
    image: NDArray[np.uint8]
    kernel: KernelSpec
    moved: tuple[float, float] = (0.0, 0.0)
    published: tuple[float | None, ...] = (None,) * len(PAPER_COLUMNS)


def mzsr(job: Job) -> Table:
    """Set5 under MZSR's blurs, 1 and 10 steps from a pretrained start.

    Parameters
    ----------
    job : Job
        Factor 2 and ``sr_benchmarks/Set5/x2/*_HR.png``. Its start is the file that is
        given, or else the pretrained start that comes with the package.
    """
    if whole_factor(job.factors, job.set_name) != FACTOR:
        raise InputError(f"MZSR's settings are x2; found {job.factors}; give 2.")
    job = replace(job, config=from_learned(job.config, learned_steps=max(STEPS)))
    files = listed(job.data / "sr_benchmarks" / "Set5" / "x2", "*_HR.png")
    warm_up(job, job.config)
    rows: list[tuple[Cell, ...]] = []
    published: dict[str, tuple[float | None, ...]] = {}
    for file in job.each(files):
        for son in sons(load_truth(file, FACTOR)):
            rows.append((name_of(file), *_row(job, file, son)))
            published[son.case] = son.published
    means = [
        (*mean_row([row[1:-1] for row in rows if row[1] == case], case), *cells)
        for case, cells in published.items()
    ]
    return Table(
        title=f"{job.title}: PSNR after {' and '.join(map(str, STEPS))} steps",
        columns=(*COLUMNS, *PAPER_COLUMNS),
        rows=tuple(means),
        notes=NOTES,
        plotted=(*COLUMNS[2:5], *PAPER_COLUMNS[2:]),
        images=Table(
            title=f"{job.title}, each image",
            columns=("image", *COLUMNS, "returned"),
            rows=tuple(rows),
        ),
    )


def sons(hr: NDArray[np.uint8]) -> Iterator[Son]:
    """All sons of a fine image, (Y, X) or (Y, X, 3) of even sides: first the paper's.

    The paper's blur is centred on a pixel, and every second pixel is kept from the
    first on: half a fine pixel from where a bicubic son's pixels lie.
    """
    for blur in BLURS:
        fine = _planes(hr)
        blurred = degrade_array(fine, blur.spec, (1, 1))
        small = (
            imresize(blurred, (0.5, 0.5)) if blur.reduced else blurred[..., ::2, ::2]
        )
        yield Son(
            case=blur.name,
            image=_stored(small, hr),
            kernel=KernelSpec(kind="array", array=told(blur)),
            moved=(0.0, 0.0) if blur.reduced else HALF_A_PIXEL,
            published=blur.published,
        )
    for blur in BLURS:
        if not blur.reduced:
            small = degrade_array(_planes(hr), blur.spec, (FACTOR, FACTOR))
            name = f"{blur.name}, between the pixels"
            yield Son(case=name, image=_stored(small, hr), kernel=blur.spec)


def told(blur: Blur) -> Kernel:
    """What leads from the fine image to the paper's son: weights on the fine grid."""
    gaussian = sampled_kernel(blur.spec)
    assert gaussian is not None
    if not blur.reduced:
        return gaussian
    reach = 2 * FACTOR
    along = cubic((np.arange(2 * reach) - reach + 0.5) / FACTOR)
    weights = np.outer(along, along) / along.sum() ** 2
    both: Kernel = signal.convolve2d(gaussian, weights)
    return both


def _row(job: Job, file: Path, son: Son) -> tuple[Cell, ...]:
    """Case, PSNR of bicubic as it is and moved, PSNR and seconds of each training.

    And what the engine gave back.
    """
    score = scorer(load_truth(file, FACTOR), FACTOR)
    plain = luma(bicubic(son.image, (FACTOR, FACTOR)))
    found, seconds, returned = [], [], []
    for steps in STEPS:
        run = enlarge(
            son.image,
            change(job.config, learned_steps=steps),
            axes="YXS" if son.image.ndim == 3 else "YX",
            on_event=job.on_event,
            kernel=son.kernel,
        )
        found.append(score(_in_place(luma(run.image), son))[0])
        seconds.append(run.seconds)
        returned.append(run.returned)
    moved = score(_in_place(plain, son))[0]
    kinds = " / ".join(returned)
    return (son.case, score(plain)[0], moved, *found, *seconds, kinds)


def _in_place(image: NDArray[np.float64], son: Son) -> NDArray[np.float64]:
    return shifted(image, son.moved) if any(son.moved) else image


def _planes(hr: NDArray[Any]) -> NDArray[Any]:
    return np.moveaxis(hr, -1, 0) if hr.ndim == 3 else hr


def _stored(small: NDArray[Any], hr: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """8 bits, axes as those of the fine image."""
    turned = np.moveaxis(small, 0, -1) if hr.ndim == 3 else small
    return as_dtype(turned, np.dtype(np.uint8))


NOTES = (
    "The paper's widths are eigenvalues of the covariance (variances, in square fine "
    "pixels), its angle runs from X towards Y. Its blurs are centred on a pixel, and "
    "every second pixel is kept from the first on; so made, our bicubic figures of "
    "all five images (not moved) are the paper's to 0.01 dB.",
    "Such sons lie half a fine pixel from where those of bicubic reduction do, and an "
    "enlargement of ours, which stays in place, lies half a fine pixel from the truth. "
    "Before scoring it is therefore moved by that, by a cubic spline, as is bicubic; "
    "the method is told the same kernel, moved likewise. The paper's bicubic was not "
    "moved. After bicubic reduction nothing is moved.",
    "Between the pixels: the same blurs, centred where a bicubic son's pixel centre "
    "lies, so that nothing is moved; there an aliased son is nearly the mean of 2 x 2 "
    "pixels, which is why it has no published figure beside it.",
    "Set5, sons rounded to 8 bits, the true kernel given, PSNR of the 8-bit luma "
    "without a border of 2 pixels. Published: Soh, Cho, Cho, CVPR 2020.",
)
