"""Table 3 of Shocher et al., CVPR 2018: noise, speckle and JPEG that no one tells."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from benchmarks.job import Job, as_dtype, bicubic, enlarge, whole_factor
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
from benchmarks.rivals import best_blur
from benchmarks.table import Cell, Table
from napari_zssr.errors import InputError

Son = NDArray[np.uint8]

STRENGTH = 0.05
QUALITY = 45
CHOSEN, EACH = "one at random", "each on every image"
SUBSETS = ("all", "random")
BLURRED = "bicubic, best blur"
PUBLISHED = {
    "EDSR+": (27.56, 0.7135),
    "bicubic": (27.92, 0.7504),
    "ZSSR": (28.61, 0.7809),
}
COLUMNS = (
    "method",
    "degradation",
    "PSNR",
    "SSIM",
    "gain dB",
    "above bicubic %",
    "learned %",
    "seconds",
)


def gaussian_noise(son: Son, draw: np.random.Generator) -> Son:
    """Gaussian noise of standard deviation 0.05 of the range, 8 bits."""
    values = son + 255 * draw.normal(0, STRENGTH, son.shape)
    return as_dtype(values, np.dtype(np.uint8))


def speckle(son: Son, draw: np.random.Generator) -> Son:
    """Uniform noise of standard deviation 0.05 times the image, 8 bits."""
    reach = STRENGTH * 3**0.5
    values = son * (1 + draw.uniform(-reach, reach, son.shape))
    return as_dtype(values, np.dtype(np.uint8))


def jpeg(son: Son, draw: np.random.Generator | None = None) -> Son:
    """Written as JPEG of quality 45 by Pillow and read again; nothing is drawn."""
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(son).save(file, "JPEG", quality=QUALITY)
    read: Son = np.asarray(Image.open(file))
    return read


DEGRADATIONS: dict[str, Callable[[Son, np.random.Generator], Son]] = {
    "Gaussian noise": gaussian_noise,
    "speckle": speckle,
    "JPEG": jpeg,
}


def table_3(job: Job) -> Table:
    """Degradations that the method is not told, beside the paper.

    Parameters
    ----------
    job : Job
        With the presets to measure. Its first seed draws which degradation each image
        gets, and the noise. Subset ``random`` measures only the one that was drawn,
        ``all`` every degradation on every image.
    """
    factor = whole_factor(job.factors, "Table 3")
    if job.subset not in SUBSETS:
        raise InputError(
            f"Subset {job.subset!r} is not known; choose one of {', '.join(SUBSETS)}."
        )
    files = truth_files(job.data, factor)
    seed = job.seeds[0]
    chosen = np.random.default_rng(seed).integers(len(DEGRADATIONS), size=len(files))
    found: list[Judged] = []
    drawn: set[tuple[str, str]] = set()
    for number, file in enumerate(job.each(files)):
        truth = load_truth(file, factor)
        son = bicubic(truth, (1 / factor, 1 / factor))
        for kind, (case, degrade) in enumerate(DEGRADATIONS.items()):
            if kind == chosen[number]:
                drawn.add((name_of(file), case))
            elif job.subset == "random":
                continue
            seen = degrade(son, np.random.default_rng([seed, number, kind]))
            judge = Judge(name_of(file), case, truth, seen, factor)
            found += [announce(job, judged) for judged in _judged(job, judge, seen)]
    return _table(job, found, drawn)


def _judged(job: Job, judge: Judge, son: Son) -> Iterator[Judged]:
    """Bicubic, its best blur and every preset on one son."""
    yield judge.judged("bicubic", judge.plain)
    label, blurred = best_blur(judge.plain, lambda image: judge.score(image)[0])
    yield judge.judged(BLURRED, blurred, returned=label)
    for config in job.measured:
        axes = "YXS" if son.ndim == 3 else "YX"
        run = enlarge(son, config, axes=axes, on_event=job.on_event)
        yield judge.judged(
            config.preset,
            luma(run.image),
            returned=run.returned,
            seconds=run.seconds,
        )


def _table(job: Job, found: list[Judged], drawn: set[tuple[str, str]]) -> Table:
    parts = {CHOSEN: [j for j in found if (j.image, j.case) in drawn]}
    if job.subset == "all":
        parts[EACH] = found
    parts |= {case: [j for j in found if j.case == case] for case in DEGRADATIONS}
    rows = [
        _summary(part, method, label)
        for label, part in parts.items()
        for method in methods(part)
    ]
    unknown = (None,) * (len(COLUMNS) - 4)
    rows += [
        (f"{method} (published)", CHOSEN, *figures, *unknown)
        for method, figures in PUBLISHED.items()
        if job.factors == (2, 2)
    ]
    return Table(
        title=job.title,
        columns=COLUMNS,
        rows=tuple(rows),
        notes=_notes(job, len(parts[CHOSEN]) // max(1, len(methods(found)))),
        plotted=("PSNR",),
        images=by_image(found, job.title),
    )


def _summary(part: list[Judged], method: str, label: str) -> tuple[Cell, ...]:
    """Means of one method on some of the sons."""
    own = [judged for judged in part if judged.method == method]
    timed = any(judged.seconds is not None for judged in own)
    return (
        method,
        label,
        mean(judged.psnr for judged in own),
        mean(judged.ssim for judged in own),
        mean(judged.gain for judged in own),
        None if method == "bicubic" else share([judged.gain > 0 for judged in own]),
        share([judged.returned == "learned" for judged in own]) if timed else None,
        mean(judged.seconds for judged in own),
    )


def _notes(job: Job, images: int) -> tuple[str, ...]:
    return (
        f"{images} images; 8-bit bicubic sons with one of Gaussian noise (standard "
        f"deviation {STRENGTH}), speckle ({STRENGTH}) or JPEG (Pillow, quality "
        f"{QUALITY}), drawn by seed {job.seeds[0]}; the method is told nothing. PSNR "
        "and SSIM of the 8-bit luma, a border of the factor's pixels left out.",
        "Speckle multiplies the image by 1 + n, n uniform. The paper does not say "
        "whether its 0.05 is n's standard deviation or, as in MATLAB's imnoise, its "
        "variance. Over 30 images of BSD100, with each degradation on every image, "
        "bicubic reaches 27.86 dB / 0.7526 with the first reading and 26.28 / 0.6727 "
        "with the second; published are 27.92 / 0.7504. So it is taken for the "
        "standard deviation, as is the Gaussian noise's (its variance would be 19.76 "
        "dB).",
        f"{BLURRED}: the luma of the bicubic enlargement under the Gaussian of 0 to 3 "
        "px that is best for that image, which only the truth can tell. The published "
        "figures are of all 100 images with draws of their own.",
    )
