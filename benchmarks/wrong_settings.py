"""Wrong blurs and noise, planted: whether a ruined result is delivered.

Every image is enlarged under right and wrong settings, once as shipped and once with
the result forced. A forced result that is worse than bicubic is a wreck, which should
not be delivered; one that is better should be.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.job import Job, enlarge, whole_factor
from benchmarks.judged import load_truth, mean, truth_files
from benchmarks.metrics import luma, psnr
from benchmarks.table import Cell, Table
from napari_zssr.imaging.degrade import degrade_array
from napari_zssr.imaging.resample import imresize
from napari_zssr.kernelspec import KernelSpec

Array = NDArray[np.float64]

IMAGES = 20
# dB below bicubic from which a result is a wreck, and above it from which it is good.
WRECK, GOOD = -0.1, 0.3
# Standard deviations along (Y, X) of the blurs, fine pixels; deviation of the noise.
WIDTHS, WIDE, THIN, NOISE = (0.6, 1.5), (1.1, 1.9), (0.4, 0.8), 0.03
BLURS = {"right blur": 1, "blur x1.25": 1.25, "blur x1.5": 1.5, "blur x2": 2}
BORDER_PX = 8
COLUMNS = (
    "settings",
    "images",
    "forced dB",
    "delivered dB",
    "wrecks",
    "wrecks not delivered %",
    "good",
    "good not delivered %",
)


@dataclass(frozen=True, slots=True)
class Planted:
    """An image, its truth, and the settings that it is enlarged with.

    Attributes
    ----------
    label : str
    image, truth : ndarray, shape (Y, X)
        0 to 1.
    settings : mapping
        Settings.
    """

    label: str
    image: NDArray[np.float32]
    truth: Array
    settings: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Outcome:
    """Gains over bicubic against the truth, dB."""

    label: str
    forced: float
    delivered: float


def wrong_settings(job: Job) -> Table:
    """Right and wrong settings on fine images.

    Parameters
    ----------
    job : Job
        Factor 2, and fine images as `truth_files` finds them; 20 of them unless
        limited.
    """
    files = truth_files(job.data, whole_factor(job.factors, job.set_name))
    found: list[Outcome] = []
    for number, file in enumerate(job.each(files[: job.limit or IMAGES])):
        truth = luma(load_truth(file, 2)) / 255
        draw = np.random.default_rng((job.seeds[0], number))
        found += [_outcome(job, case) for case in planted(truth, draw)]
    labels = dict.fromkeys(one.label for one in found)
    rows = [_row(label, [f for f in found if f.label == label]) for label in labels]
    wrong = [one for one in found if "right" not in one.label]
    return Table(
        title=f"{job.title}: settings planted",
        columns=COLUMNS,
        rows=(*rows, _row("all wrong ones", wrong)),
        notes=NOTES,
    )


def planted(truth: Array, draw: np.random.Generator) -> Iterator[Planted]:
    """Right and wrong settings for one image.

    Parameters
    ----------
    truth : ndarray, shape (Y, X)
        0 to 1.
    draw : numpy.random.Generator
    """
    width = draw.uniform(*WIDTHS)
    image = degraded(truth, gaussian(width))
    for label, times in BLURS.items():
        yield Planted(label, image, truth, {"kernel": gaussian(times * width)})
    sides = (draw.uniform(*WIDE), draw.uniform(*THIN))
    image = degraded(truth, gaussian(*sides))
    yield Planted("right axes", image, truth, {"kernel": gaussian(*sides)})
    yield Planted("wrong axes", image, truth, {"kernel": gaussian(*sides[::-1])})
    kernel = gaussian(draw.uniform(*WIDTHS))
    image = degraded(truth, kernel)
    image = image + NOISE * draw.standard_normal(image.shape).astype(np.float32)
    yield Planted("3 % noise, right", image, truth, {"kernel": kernel})
    for label, noise in (("noise off", "off"), ("a third of it told", NOISE / 3)):
        settings = {"kernel": kernel, "noise": noise}
        yield Planted(f"3 % noise, {label}", image, truth, settings)


def degraded(truth: Array, kernel: KernelSpec) -> NDArray[np.float32]:
    """The coarse image of a fine one (Y, X)."""
    image: NDArray[Any] = degrade_array(truth[None], kernel, (2.0, 2.0))[0]
    return image.astype(np.float32)


def gaussian(y: float, x: float | None = None) -> KernelSpec:
    """Gaussian of these widths along (Y, X), fine pixels; of one along both."""
    return KernelSpec(kind="gaussian", sigma_px=(y, y if x is None else x))


def _outcome(job: Job, case: Planted) -> Outcome:
    plain = _psnr(imresize(case.image[None], (2.0, 2.0))[0], case.truth)
    gains = []
    for always in (True, False):
        run = enlarge(
            case.image,
            job.config,
            on_event=job.on_event,
            always=always,
            dtype="float32",
            **case.settings,
        )
        gains.append(_psnr(run.image, case.truth) - plain)
    return Outcome(case.label, *gains)


def _psnr(image: NDArray[Any], truth: Array) -> float:
    return psnr(image, truth, peak=1.0, shave=BORDER_PX)


def _row(label: str, found: list[Outcome]) -> tuple[Cell, ...]:
    wrecks = [one for one in found if one.forced < WRECK]
    good = [one for one in found if one.forced > GOOD]
    return (
        label,
        len(found),
        mean(one.forced for one in found),
        mean(one.delivered for one in found),
        len(wrecks),
        mean(100.0 * (one.delivered >= WRECK) for one in wrecks),
        len(good),
        mean(100.0 * (one.delivered < one.forced + WRECK) for one in good),
    )


NOTES = (
    f"Luma of fine images, blurred by Gaussians of {WIDTHS[0]} to {WIDTHS[1]} fine "
    f"pixels (axes: {WIDE[0]} to {WIDE[1]} and {THIN[0]} to {THIN[1]}) and thinned by "
    "2. Gains over bicubic in dB of PSNR against the truth, means over the images: "
    "forced, with what was learned, and delivered, as shipped.",
    f"Wrecks are forced results more than {-WRECK} dB below bicubic; they are not "
    f"delivered where the result comes within {-WRECK} dB of it. Good ones are "
    f"{GOOD} dB above it, and not delivered where the result is {-WRECK} dB worse.",
)
