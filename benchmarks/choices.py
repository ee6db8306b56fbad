"""What settings were chosen on: a preset and its variants, side by side."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from benchmarks.job import Job, as_dtype, bicubic, enlarge, load, whole_factor
from benchmarks.metrics import band_correlation, luma, psnr
from benchmarks.microscopes import BAND, THIN_RINGS, decimated_captures
from benchmarks.table import Cell, Table
from napari_zssr.checks import LEARNED, RANDOM
from napari_zssr.config import Config, change
from napari_zssr.errors import InputError
from napari_zssr.imaging.resample import imresize

Kind = Literal["pictures", "captures"]
Group = Literal["halved", "full size", "real noise", "few photons"]

# scikit-image's pictures, and where the crops of their full size begin, (Y, X).
PICTURES = {
    "astronaut": (0, 130),
    "coffee": (60, 120),
    "motorcycle_left": (100, 200),
    "chelsea": (40, 100),
}
CROP_PX = 256
PHOTONS, BRIGHT, READ_NOISE = 30.0, 99.9, 0.01
PHOTON_SEED = 3
# Settings of which a pretrained start takes no notice.
OF_RANDOM_WEIGHTS = frozenset({"width", "blocks", "gradual", "steps"})
# What the program is told of the noise.
NOISE: Mapping[Kind, str] = {"pictures": "off", "captures": "auto"}
COLUMNS = (
    "variant",
    "change",
    "halved PSNR",
    "full size PSNR",
    "pictures learned",
    "pictures seconds",
    "real noise PSNR",
    "real noise ring",
    "few photons PSNR",
    "few photons ring",
    "captures learned",
    "captures seconds",
)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Case:
    """One image whose fine version is known.

    Attributes
    ----------
    name : str
    group : str
        Where its figures are averaged.
    son, truth : ndarray, shape (Y, X) or (Y, X, 3), 0 to 255
        What is enlarged, and what it is compared with.
    """

    name: str
    group: Group
    son: NDArray[np.uint8]
    truth: NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Variant:
    """Settings that differ from the preset's.

    Attributes
    ----------
    label : str
    changes : mapping
        Names and values of the settings.
    kinds : tuple of {"pictures", "captures"}
        Images that it is measured on.
    """

    label: str
    changes: Mapping[str, Any] = field(default_factory=dict)
    kinds: tuple[Kind, ...] = ("pictures", "captures")


def choices(job: Job) -> Table:
    """The preset as shipped and its variants, on the images that choose settings.

    Parameters
    ----------
    job : Job
        Whole factor, ``microscopy/pairs/fmd/{noisy,gt}/Confocal_*.png``, and
        scikit-image for its pictures. The limit holds for pictures and for captures.
    """
    factor = whole_factor(job.factors, job.set_name)
    cases: dict[Kind, list[Case]] = {
        "pictures": pictures(factor, job.limit),
        "captures": captures(job.data, factor, job.limit),
    }
    wanted = variants(job.config)
    rows = []
    for number, variant in enumerate(wanted):
        job.announce(number, len(wanted), variant.label)
        rows.append(_row(job, variant, cases))
    return Table(
        title=job.title,
        columns=COLUMNS,
        rows=tuple(rows),
        notes=_notes(),
        plotted=tuple(name for name in COLUMNS if name.endswith("PSNR")),
    )


def variants(config: Config) -> list[Variant]:
    """The preset itself, then what is measured beside it.

    Parameters
    ----------
    config : Config
        The preset; a variant that leaves all of its settings alone is left out.
    """
    half, twice = max(1, config.steps // 2), 2 * config.steps
    fewer, more = config.learned_steps // 2, 2 * config.learned_steps
    listed = [
        Variant("from random weights", {"start": RANDOM}),
        Variant("half the learned steps", {"learned_steps": fewer}, ("pictures",)),
        Variant("twice the learned steps", {"learned_steps": more}, ("pictures",)),
        Variant("narrower", {"width": 16}),
        Variant("wider", {"width": 64}),
        Variant("half the steps", {"steps": half}),
        Variant("twice the steps", {"steps": twice}),
        Variant("deeper", {"blocks": 5}, ("pictures",)),
        Variant("larger batch", {"batch": 8}, ("pictures",)),
        Variant("no ensemble", {"ensemble": False}),
        Variant("ensemble", {"ensemble": True}),
        Variant("no back-projection", {"back_projection": 0}, ("pictures",)),
        Variant("one factor", {"gradual": 1}),
        Variant("two factors", {"gradual": 2}, ("pictures",)),
        Variant("three factors", {"gradual": 3}, ("pictures",)),
        Variant("told of noise", {"noise": 0.004}, ("pictures",)),
        Variant("noise ignored", {"noise": "off"}, ("captures",)),
    ]
    listed = [v for v in listed if _differs(config, v)]
    if config.start == LEARNED:
        listed = [_alone(v) for v in listed]
    else:
        listed = [v for v in listed if "learned_steps" not in v.changes]
    return [Variant("as shipped"), *listed]


def pictures(factor: int, limit: int | None = None) -> list[Case]:
    """scikit-image's pictures, halved and at full size, and their bicubic sons.

    Parameters
    ----------
    factor : int
        Enlargement; truths are cut to a multiple of it.
    limit : int, optional
        Only the first pictures.

    Raises
    ------
    InputError
        scikit-image, or one of its pictures, is missing.
    """
    folder = _picture_folder()
    cases = []
    for name, (y, x) in list(PICTURES.items())[:limit]:
        whole = load(folder / f"{name}.png")
        halved = bicubic(whole, (0.5, 0.5))[:CROP_PX, :CROP_PX]
        cases.append(_picture(name, "halved", halved, factor))
        crop = whole[y : y + CROP_PX, x : x + CROP_PX]
        cases.append(_picture(name, "full size", crop, factor))
    return cases


def captures(data: Path, factor: int, limit: int | None = None) -> list[Case]:
    """FMD's confocal captures, decimated; the same fields with few photons.

    Parameters
    ----------
    data : Path
        Folder of the images.
    factor : int
        Enlargement.
    limit : int, optional
        Only the first captures.
    """
    draw = np.random.default_rng(PHOTON_SEED)
    cases = []
    for name, son, truth in decimated_captures(data, "confocal", factor, limit):
        cases.append(Case(name=name, group="real noise", son=son, truth=truth))
        dim = few_photons(truth, factor, draw)
        cases.append(Case(name=name, group="few photons", son=dim, truth=truth))
    return cases


def few_photons(
    truth: NDArray[np.uint8], factor: int, draw: np.random.Generator
) -> NDArray[np.uint8]:
    """Decimated plane as a camera sees it in weak light.

    Parameters
    ----------
    truth : ndarray, shape (Y, X)
    factor : int
        Decimation, antialiased bicubic.
    draw : numpy.random.Generator
        Source of the photons (30 at the 99.9th percentile) and of the read noise
        (1 % of it).
    """
    clean = np.maximum(imresize(truth, (1 / factor, 1 / factor)), 0)
    bright = float(np.percentile(clean, BRIGHT))
    # A black plane stays black.
    photon = max(bright, 1e-6) / PHOTONS
    noisy = draw.poisson(clean / photon) * photon
    noisy = noisy + draw.normal(0, READ_NOISE * bright, clean.shape)
    return as_dtype(noisy, truth.dtype)


def _picture_folder() -> Path:
    try:
        from skimage import data
    except ImportError:
        folder = None
    else:
        folder = Path(data.__file__).parent
    if folder is None or not all((folder / f"{n}.png").is_file() for n in PICTURES):
        raise InputError(
            "The set 'choices' needs scikit-image's own pictures, and they are not "
            "installed; pip install napari-zssr[benchmark] brings them."
        )
    return folder


def _picture(name: str, group: Group, image: NDArray[np.uint8], factor: int) -> Case:
    rows, columns = (size // factor * factor for size in image.shape[:2])
    truth = image[:rows, :columns]
    son = bicubic(truth, (1 / factor, 1 / factor))
    return Case(name=name, group=group, son=son, truth=truth)


def _alone(variant: Variant) -> Variant:
    """From random weights where a pretrained start would ignore the change."""
    if not variant.changes.keys() & OF_RANDOM_WEIGHTS:
        return variant
    return replace(variant, changes={"start": RANDOM, **variant.changes})


def _differs(config: Config, variant: Variant) -> bool:
    bases = [change(config, noise=NOISE[kind]) for kind in variant.kinds]
    return any(change(base, **variant.changes) != base for base in bases)


def _row(
    job: Job, variant: Variant, cases: Mapping[Kind, list[Case]]
) -> tuple[Cell, ...]:
    changed = ", ".join(f"{name} {value}" for name, value in variant.changes.items())
    found: dict[str, Cell] = {"variant": variant.label, "change": changed}
    for kind in variant.kinds:
        found |= _means(job, variant, kind, cases[kind])
    return tuple(found.get(name) for name in COLUMNS)


def _means(
    job: Job, variant: Variant, kind: Kind, cases: list[Case]
) -> dict[str, float]:
    """Means over the images of a kind, by column."""
    config = change(job.config, **{"noise": NOISE[kind], **variant.changes})
    listed: dict[str, list[float]] = {}
    for case in cases:
        for name, figure in _scores(job, config, kind, case):
            listed.setdefault(name, []).append(figure)
    return {name: float(np.mean(figures)) for name, figures in listed.items()}


def _scores(
    job: Job, config: Config, kind: Kind, case: Case
) -> Iterator[tuple[str, float]]:
    axes = "YXS" if case.son.ndim == 3 else "YX"
    run = enlarge(case.son, config, axes=axes, on_event=job.on_event)
    image, truth = luma(run.image), luma(case.truth)
    yield f"{case.group} PSNR", psnr(image, truth, shave=int(job.factors[0]))
    if kind == "captures":
        ring = band_correlation(image, truth, BAND, rings=THIN_RINGS)
        yield f"{case.group} ring", ring
    yield f"{kind} learned", float(run.returned == "learned")
    yield f"{kind} seconds", run.seconds


def _notes() -> tuple[str, ...]:
    return (
        "These images choose settings and judge nothing. Seconds are of one image. "
        "Learned: share of the runs that did not fall back to bicubic. An empty cell "
        "was not measured; a variant equal to the preset is left out.",
        f"Pictures ({', '.join(PICTURES)}): halved and at full size, at most "
        f"{CROP_PX} x {CROP_PX} px, their 8-bit bicubic sons enlarged with noise off; "
        "8-bit luma, a border of the factor's pixels left out.",
        "Captures (FMD Confocal): decimated, enlarged with noise auto, against the "
        f"mean of 50; few photons: that mean, decimated, with {PHOTONS:g} photons at "
        f"its {BRIGHT:g}th percentile and {READ_NOISE * 100:g} % "
        f"read noise, seed {PHOTON_SEED}. Ring: mean of {THIN_RINGS} thin rings at "
        f"{BAND[0]:.2f}-{BAND[1]:.2f} cycles per fine pixel, Hann window.",
    )
