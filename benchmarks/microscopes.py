"""Real microscope pairs: a coarse against a fine scan, one capture against fifty."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks import rivals
from benchmarks.job import Job, as_dtype, bicubic, enlarge, listed, load, whole_factor
from benchmarks.metrics import affine_psnr, band_correlation, psnr, shifted
from benchmarks.table import Cell, Table, mean_row
from napari_zssr.errors import InputError
from napari_zssr.imaging.resample import imresize

Array = NDArray[np.float64]

# Where the coarse scans lie on the fine one, fine pixels (Y, X).
SCAN_SHIFTS = {2: (-0.15, 4.85), 4: (0.05, 5.8), 8: (0.0, 9.9)}
SCAN_CUT = 16
BAND = (0.10, 0.15)
THIN_RINGS = 8
SUBSETS = ("all", "confocal", "rest")
FIXED_BLUR = 1.0


def confocal_pair(job: Job) -> Table:
    """A coarse confocal scan, enlarged, against a fine scan of the same field.

    Parameters
    ----------
    job : Job
        Factor 2, 4 or 8 and ``microscopy/pairs/sr-caco-2/div{1,F}.tif``.
    """
    factor = whole_factor(job.factors, job.set_name)
    if factor not in SCAN_SHIFTS:
        raise InputError(f"There are scans for factor 2, 4 and 8, none for {factor}.")
    folder = job.data / "microscopy" / "pairs" / "sr-caco-2"
    target = load(listed(folder, "div1.tif")[0])[SCAN_CUT:-SCAN_CUT, SCAN_CUT:-SCAN_CUT]
    coarse = load(listed(folder, f"div{factor}.tif")[0])
    job.announce(0, 1, f"div{factor}")
    run = enlarge(coarse, job.config, on_event=job.on_event)
    registered = partial(_registered, shift=SCAN_SHIFTS[factor])
    plain = imresize(coarse, job.factors)
    methods = _rival_images(
        coarse, plain, lambda image: affine_psnr(registered(image), target)
    )
    methods.append((f"this program ({run.returned})", run.image, run.seconds))
    rows = [_pair_row(n, registered(i), target, s) for n, i, s in methods]
    return Table(
        title=job.title,
        columns=(
            "method",
            "PSNR",
            f"ring correlation {BAND[0]:.2f}-{BAND[1]:.2f}",
            "thin rings",
            "seconds",
        ),
        rows=tuple(rows),
        notes=_pair_notes(),
        plotted=("PSNR",),
    )


def noisy_captures(job: Job) -> Table:
    """Single captures, decimated and enlarged again, against the mean of fifty.

    Parameters
    ----------
    job : Job
        Whole factor and ``microscopy/pairs/fmd/{noisy,gt}/*.png``; the subset is
        ``all``, ``confocal`` or ``rest``.
    """
    factor = whole_factor(job.factors, job.set_name)
    if job.subset not in SUBSETS:
        raise InputError(
            f"Subset {job.subset!r} is not known; choose one of {', '.join(SUBSETS)}."
        )
    cases = decimated_captures(job.data, job.subset, factor, job.limit)
    pairs = {name: (coarse, truth) for name, coarse, truth in cases}
    sigma = best_fixed_blur(list(pairs.values()), factor)
    rows = [
        _capture_row(job, name, *pairs[name], sigma) for name in job.each(list(pairs))
    ]
    columns = (
        "image",
        "bicubic",
        f"blur {FIXED_BLUR:g} px",
        f"best fixed blur ({sigma:g} px)",
        "PSNR",
        "gain dB",
        "bicubic ring",
        "ring",
        "seconds",
        "returned",
    )
    return Table(
        title=f"{job.title}, subset {job.subset}",
        columns=columns,
        rows=(*rows, mean_row(rows)),
        notes=_capture_notes(),
        plotted=("bicubic", columns[3], "PSNR"),
    )


def decimated_captures(
    data: Path, subset: str, factor: int, limit: int | None = None
) -> list[tuple[str, NDArray[np.uint8], NDArray[np.uint8]]]:
    """FMD's noisy captures on the coarse grid, and the means of 50 on the fine one.

    Parameters
    ----------
    data : Path
        Folder of the images.
    subset : str
        One of `SUBSETS`.
    factor : int
        Decimation, antialiased bicubic, rounded to the dtype.
    limit : int, optional
        Only the first captures.

    Returns
    -------
    list of (name, coarse, truth)
        Planes (Y, X) and (factor * Y, factor * X).
    """
    files = _captures(data / "microscopy" / "pairs" / "fmd", subset)
    return [(path.stem, *_decimated(path, factor)) for path in files[:limit]]


def best_fixed_blur(
    cases: list[tuple[NDArray[np.uint8], NDArray[np.uint8]]], factor: int
) -> float:
    """Sigma in fine pixels, the same for all, with the highest mean PSNR.

    Parameters
    ----------
    cases : list of (coarse, truth)
        Planes (Y, X) and (factor * Y, factor * X).
    factor : int
        Enlargement.
    """

    def mean(sigma: float) -> float:
        return float(
            np.mean(
                [
                    _capture_psnr(_blur(coarse, sigma, factor), truth, factor)
                    for coarse, truth in cases
                ]
            )
        )

    return max(rivals.BLUR_SIGMAS, key=mean)


def _rival_images(
    coarse: NDArray[np.uint8], plain: Array, score: rivals.Score
) -> list[tuple[str, Array, float | None]]:
    factors = (plain.shape[0] / coarse.shape[0], plain.shape[1] / coarse.shape[1])
    blur, lucy = rivals.best_blur(plain, score), rivals.richardson_lucy(plain, score)
    found: list[tuple[str, Array, float | None]] = [
        ("bicubic", plain, None),
        (f"bicubic, best blur ({blur[0]})", blur[1], None),
        (f"bicubic, best Richardson-Lucy ({lucy[0]})", lucy[1], None),
    ]
    means = rivals.non_local_means(coarse, factors, score)
    if means is not None:
        found.append((f"best non-local means ({means[0]})", means[1], None))
    return found


def _registered(image: NDArray[np.float64], shift: tuple[float, float]) -> Array:
    return shifted(image, shift)[SCAN_CUT:-SCAN_CUT, SCAN_CUT:-SCAN_CUT]


def _pair_row(
    name: str, image: Array, target: Array, seconds: float | None
) -> tuple[Cell, ...]:
    wide = band_correlation(image, target, BAND)
    thin = band_correlation(image, target, BAND, rings=THIN_RINGS)
    return (name, affine_psnr(image, target), wide, thin, seconds)


def _pair_notes() -> tuple[str, ...]:
    return (
        "Registered by a cubic spline shift, 16 px cut, affine intensity fit, peak = "
        "range between the 0.1 and 99.9 percentiles of the fine scan.",
        "Ring correlation: Fourier ring correlation with the fine scan under a Hann "
        "window, cycles per fine pixel; the band as one ring, and the mean of "
        f"{THIN_RINGS} thin rings, which no blur can raise.",
        "The blur, Richardson-Lucy (flat start, Gaussian of 1, 1.5, 2 px, 15 "
        "iterations, the first of which is that blur) and non-local means were each "
        "tuned on the fine scan itself; this program never saw it.",
    )


def _captures(folder: Path, subset: str) -> list[Path]:
    files = listed(folder / "noisy", "*.png")
    confocal = [path for path in files if path.name.startswith("Confocal")]
    rest = [path for path in files if path not in confocal]
    chosen = {"all": files, "confocal": confocal, "rest": rest}[subset]
    if not chosen:
        raise InputError(f"{folder} holds no image of the subset {subset!r}.")
    return chosen


def _decimated(path: Path, factor: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    noisy = load(path)
    truth = load(listed(path.parent.parent / "gt", path.name)[0])
    coarse = imresize(noisy, (1 / factor, 1 / factor))
    rows, columns = (size // factor for size in noisy.shape)
    son = as_dtype(coarse[:rows, :columns], noisy.dtype)
    return son, truth[: rows * factor, : columns * factor]


def _capture_row(
    job: Job,
    name: str,
    coarse: NDArray[np.uint8],
    truth: NDArray[np.uint8],
    sigma: float,
) -> tuple[Cell, ...]:
    factor = int(job.factors[0])
    run = enlarge(coarse, job.config, on_event=job.on_event)
    plain = bicubic(coarse, job.factors)
    images = (
        plain,
        _blur(coarse, FIXED_BLUR, factor),
        _blur(coarse, sigma, factor),
        run.image,
    )
    scores = [_capture_psnr(image, truth, factor) for image in images]
    rings = [band_correlation(i, truth, BAND) for i in (plain, run.image)]
    gain = scores[3] - scores[0]
    return (name, *scores, gain, *rings, run.seconds, run.returned)


def _blur(coarse: NDArray[np.uint8], sigma: float, factor: int) -> NDArray[np.uint8]:
    fine = imresize(coarse, (factor, factor))
    return as_dtype(rivals.blurred(fine, sigma), coarse.dtype)


def _capture_psnr(
    image: NDArray[np.uint8], truth: NDArray[np.uint8], factor: int
) -> float:
    return psnr(image, truth, shave=factor)


def _capture_notes() -> tuple[str, ...]:
    return (
        "The noisy capture decimated by antialiased bicubic and rounded to 8 bits, "
        "enlarged, against the mean of 50 captures; peak 255, no intensity fit, a "
        "border of the factor's pixels left out.",
        f"Ring: Fourier ring correlation at {BAND[0]:.2f}-{BAND[1]:.2f} cycles per "
        "fine pixel, Hann window. The best fixed blur was chosen on these very images.",
    )
