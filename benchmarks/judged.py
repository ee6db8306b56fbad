"""Photographs whose fine version is known, and what several methods made of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.job import Job, as_dtype, bicubic, load
from benchmarks.metrics import luma, psnr, ssim
from benchmarks.table import Cell, Table
from napari_zssr.errors import InputError
from napari_zssr.progress import Progress

ENDINGS = (".png", ".tif", ".tiff")
COLUMNS = (
    "image",
    "case",
    "method",
    "PSNR",
    "SSIM",
    "gain dB",
    "larger width error %",
    "smaller width error %",
    "returned",
    "seconds",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """One method's result on one image.

    Attributes
    ----------
    image : str
        Name of the image.
    case : str
        How its son was made.
    method : str
        Who enlarged it.
    psnr, ssim : float
        On the 8-bit luma.
    gain : float
        PSNR above that of bicubic.
    width_errors : tuple of float, optional
        Of an estimated kernel: relative errors of its two principal widths, the
        larger width first.
    returned : str, optional
        What the engine gave back.
    seconds : float, optional
        Wall-clock time of the engine.
    """

    image: str
    case: str
    method: str
    psnr: float
    ssim: float
    gain: float
    width_errors: tuple[float, float] | None = None
    returned: str | None = None
    seconds: float | None = None

    @property
    def row(self) -> tuple[Cell, ...]:
        """Cells of `COLUMNS`."""
        larger, smaller = self.width_errors or (None, None)
        return (
            self.image,
            self.case,
            self.method,
            self.psnr,
            self.ssim,
            self.gain,
            None if larger is None else 100 * larger,
            None if smaller is None else 100 * smaller,
            self.returned,
            self.seconds,
        )


def truth_files(data: Path, factor: int) -> list[Path]:
    """Fine images of a folder, in alphabetical order.

    Parameters
    ----------
    data : Path
        Folder with ``sr_benchmarks/BSD100_odd/xF`` inside, of which ``*_HR.png`` are
        taken; or one that holds PNG or TIFF images itself (of names that end in
        ``_HR`` and ``_LR``, only the first).
    factor : int
        The F of the folder's name.

    Raises
    ------
    InputError
        There are none.
    """
    folder = data / "sr_benchmarks" / "BSD100_odd" / f"x{factor}"
    folder = folder if folder.is_dir() else data
    found = sorted(folder.iterdir()) if folder.is_dir() else []
    found = [path for path in found if path.suffix.lower() in ENDINGS]
    marked = [path for path in found if path.stem.endswith("_HR")]
    if not found:
        raise InputError(
            f"No PNG or TIFF image lies in {folder}; give a folder of fine images, or "
            "the one that holds sr_benchmarks."
        )
    return marked or found


def name_of(path: Path) -> str:
    """Name of a fine image."""
    return path.stem.removesuffix("_HR")


def load_truth(path: Path, factor: int) -> NDArray[np.uint8]:
    """Fine image as 8 bits, cut to a multiple of the factor.

    Returns
    -------
    ndarray, shape (Y, X) or (Y, X, 3), uint8
        Other dtypes are stretched from their smallest to their largest value.

    Raises
    ------
    InputError
        It is a stack.
    """
    image = load(path)
    if image.ndim != 2 and not (image.ndim == 3 and image.shape[-1] == 3):
        raise InputError(
            f"{path.name} has shape {image.shape}; give single planes, grey or RGB."
        )
    if image.dtype != np.uint8:
        low, high = float(image.min()), float(image.max())
        stretched = (image.astype(np.float64) - low) * (255 / max(high - low, 1e-12))
        image = as_dtype(stretched, np.dtype(np.uint8))
    rows, columns = (size // factor * factor for size in image.shape[:2])
    return image[:rows, :columns]


def scorer(
    truth: NDArray[np.uint8], factor: int
) -> Callable[[NDArray[np.float64]], tuple[float, float]]:
    """PSNR and SSIM of lumas (Y, X) against that of `truth`, by the usual protocol."""
    target = luma(truth)

    def score(image: NDArray[np.float64]) -> tuple[float, float]:
        seen = np.clip(np.round(image), 0, 255)
        return psnr(seen, target, shave=factor), ssim(seen, target, shave=factor)

    return score


class Judge:
    """Scores what methods made of one son, beside plain bicubic enlargement.

    Attributes
    ----------
    plain : ndarray, shape (Y, X)
        Luma of the bicubic enlargement.
    score : callable
        PSNR and SSIM of a luma, as `scorer` gives them.
    """

    def __init__(
        self,
        name: str,
        case: str,
        truth: NDArray[np.uint8],
        son: NDArray[np.uint8],
        factor: int,
    ) -> None:
        self.plain = luma(bicubic(son, (factor, factor)))
        self.score = scorer(truth, factor)
        self._name, self._case = name, case
        self._bicubic = self.score(self.plain)[0]

    def judged(self, method: str, image: NDArray[np.float64], **more: Any) -> Judged:
        """A method's luma (Y, X)."""
        found, similar = self.score(image)
        return Judged(
            image=self._name,
            case=self._case,
            method=method,
            psnr=found,
            ssim=similar,
            gain=found - self._bicubic,
            **more,
        )


def announce(job: Job, found: Judged) -> Judged:
    """Say one result as soon as it is there."""
    if job.on_event is not None:
        text = (
            f"{found.image}, {found.case}: {found.method} {found.psnr:.2f} dB, "
            f"{found.ssim:.4f}, gain {found.gain:+.2f} dB"
        )
        job.on_event(Progress(stage="benchmark", step=1, total=1, message=text))
    return found


def mean(numbers: Iterable[float | None]) -> float | None:
    """Mean of those that are there, None without any."""
    known = [number for number in numbers if number is not None]
    return float(np.mean(known)) if known else None


def share(flags: Sequence[bool]) -> float:
    """Share of the flags that are true, in percent."""
    return 100 * sum(flags) / len(flags)


def methods(found: Iterable[Judged]) -> list[str]:
    """Names of the methods in the order in which they came."""
    return list(dict.fromkeys(judged.method for judged in found))


def by_image(found: Sequence[Judged], title: str) -> Table:
    """All results, one row for each image, case and method."""
    rows = tuple(judged.row for judged in found)
    return Table(title=f"{title}, each image", columns=COLUMNS, rows=rows)
