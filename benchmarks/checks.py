"""What the checks of a result find where the answer is known.

``python -m benchmarks.checks TABLE [DATA]``: ``residual`` of planted errors,
``cutoffs`` of images whose spectrum ends at a known frequency, ``captures``: detail of
FMD's noisy captures against the mean of 50.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from numpy.typing import NDArray
from scipy import ndimage

from benchmarks.cutoff_scenes import CUTOFFS, KINDS, PHOTONS, noisy, scene, widefield
from benchmarks.job import listed, load
from benchmarks.table import Cell, Table
from napari_zssr import api
from napari_zssr.config import change, preset
from napari_zssr.errors import InputError
from napari_zssr.imaging.confirmation import (
    Confirmation,
    DetailConfirmation,
    confirmed_detail,
)
from napari_zssr.imaging.degrade import degrade_array
from napari_zssr.imaging.noise import NoiseModel, estimate_noise, unit_bands, with_bands
from napari_zssr.imaging.resample import imresize
from napari_zssr.imaging.residual import Residual, residual
from napari_zssr.imaging.resolution import (
    WITH_TRUTH,
    Resolution,
    decorrelation_resolution,
    ring_resolution,
    thinned_halves,
)
from napari_zssr.kernelspec import KernelSpec
from napari_zssr.progress import drain
from napari_zssr.stack.axis_labels import labelled
from napari_zssr.stack.check import Check, check_files
from napari_zssr.stack.detail import Finest
from napari_zssr.stack.report import recipe

Array = NDArray[np.float64]

FACTORS = (2.0, 2.0)
SIDE_PX = 320
# Noise at the mean signal, share of the range.
LEVELS = (0.012, 0.06)
BLURS = (0.7, 1.4)
CORRELATED = unit_bands(np.array([1.4, 1.1, 0.8, 0.6]))
# Of 8-bit captures.
RANGE = 255.0
SPOTS, APART_PX, SPOT_SIGMA, HEIGHT = 12, 24, 2.0, 4.0
WRONG = 1.5
SHIFT_PX = 0.3
PICTURES = ("camera", "coins", "moon", "brick")
TRIALS = 3


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Case:
    """A truth (1, Y, X), what a microscope makes of it, and how."""

    name: str
    truth: Array
    image: Array
    kernel: KernelSpec
    noise: NoiseModel


def cases() -> Iterator[Case]:
    """Generated microscope images, and pictures of scikit-image."""
    from skimage import data

    from training.microscope import KINDS as SCENES

    for number, name in enumerate((*SCENES, *PICTURES)):
        draw = np.random.default_rng((77, number))
        if name in SCENES:
            truth = SCENES[name](draw, SIDE_PX).astype(np.float64)
        else:
            truth = getattr(data, name)().astype(np.float64)[:300, :380] / 255
        yield _case(name, truth, number, draw)


def _case(name: str, truth: Array, number: int, draw: np.random.Generator) -> Case:
    level = math.exp(draw.uniform(math.log(LEVELS[0]), math.log(LEVELS[1])))
    shot = draw.uniform(0, 1)
    # Every fourth camera's noise is correlated.
    bands = CORRELATED if number % 4 == 3 else (1.0,) * 4
    noise = NoiseModel(
        gain=shot * level**2 / max(float(truth.mean()), 0.05),
        offset=(1 - shot) * level**2 + 1e-6,
        bands=bands,
    )
    width = draw.uniform(*BLURS)
    kernel = KernelSpec(kind="gaussian", sigma_px=(width, width))
    clean = degrade_array(truth[None], kernel, FACTORS)
    unit = with_bands(draw.standard_normal(clean.shape[1:]), bands)
    image = clean + np.sqrt(noise.gain * clean.clip(0) + noise.offset) * unit
    return Case(name=name, truth=truth[None], image=image, kernel=kernel, noise=noise)


def _planted(case: Case, seed: int) -> tuple[Array, list[NDArray[np.intp]]]:
    """The truth with spots of four standard deviations, and where they are."""
    draw = np.random.default_rng(seed)
    size = np.array(case.truth.shape[1:])
    y, x = np.mgrid[: size[0], : size[1]]

    def spot(row: int, column: int) -> Array:
        return np.asarray(
            np.exp(-((y - row) ** 2 + (x - column) ** 2) / (2 * SPOT_SIGMA**2))
        )

    middle = spot(*(size // 2))[None]
    peak = float(degrade_array(middle, case.kernel, FACTORS).max())
    result = case.truth.copy()
    places: list[NDArray[np.intp]] = []
    while len(places) < SPOTS:
        place = draw.integers(APART_PX, size - APART_PX)
        if any(np.hypot(*(place - other)) < APART_PX for other in places):
            continue
        places.append(place)
        around = ndimage.uniform_filter(case.truth[0], 9)[tuple(place)]
        height = 0.0
        # The noise under a spot is that of its own light.
        for _ in range(30):
            light = min(1.0, max(0.0, around + height))
            height = HEIGHT * case.noise.sigma(light)
        result[0] += height / peak * spot(*place)
    return result, places


def _scaled(noise: NoiseModel, times: float) -> NoiseModel:
    return replace(noise, gain=noise.gain * times**2, offset=noise.offset * times**2)


def residual_table() -> Table:
    """Errors planted in truths: what is told, on what area, and how many spots."""
    rows: list[tuple[Cell, ...]] = []
    for number, case in enumerate(cases()):
        spotted, places = _planted(case, number)

        def found(result: Array, times: float = 1.0, case: Case = case) -> Residual:
            noise = _scaled(case.noise, times)
            return residual(case.image, result, FACTORS, case.kernel, noise)

        across = (0, 0.0, SHIFT_PX * FACTORS[1])
        moved = ndimage.shift(case.truth, across, order=3, mode="mirror")
        spots = found(spotted)
        hits = sum(
            bool(spots.flags[y // 2 - 1 : y // 2 + 3, x // 2 - 1 : x // 2 + 3].any())
            for y, x in places
        )
        others = (found(case.truth, 1 / WRONG), found(case.truth, WRONG), found(moved))
        results = (found(case.truth), spots, *others)
        cells = [
            part
            for one in results
            for part in (_told(one), round(100 * one.flagged, 2))
        ]
        rows.append((case.name, *cells[:4], hits, *cells[4:]))
    kinds = ("truth", "spots", "noise / 1.5", "noise x 1.5", "shift 0.3 px")
    columns = [part for kind in kinds for part in (kind, f"{kind}: flagged %")]
    columns.insert(4, f"spots found of {SPOTS}")
    return Table(
        title="Residual of truths with planted errors, factor 2",
        columns=("image", *columns),
        rows=tuple(rows),
        notes=(
            f"Spots of {HEIGHT:g} standard deviations of the noise; the noise assumed "
            f"divided and multiplied by {WRONG:g}; the result shifted along X.",
        ),
    )


def _told(found: Residual) -> str:
    return ", ".join(found.reasons) or "agrees"


def cutoff_table() -> Table:
    """Ratio of the cut-off found to the true one, over trials."""
    rows = [
        _cutoff_row(kind, transfer, photons)
        for kind in KINDS
        for transfer in ("sharp", "widefield")
        for photons in PHOTONS[kind]
    ]
    ends = ("lowest", "median", "highest")
    methods = ("ring correlation", "decorrelation")
    return Table(
        title=f"Cut-off found over the true one, {CUTOFFS}, {TRIALS} images each",
        columns=(
            "images",
            "photons",
            *(f"{method}, {end}" for method in methods for end in ends),
        ),
        rows=tuple(rows),
        notes=("Generated images of 256 x 256 pixels; the noise model is known.",),
    )


def _cutoff_row(kind: str, transfer: str, photons: int) -> tuple[Cell, ...]:
    ratios: tuple[list[float], list[float]] = ([], [])
    for cutoff in CUTOFFS:
        for seed in range(TRIALS):
            further = (widefield,) if transfer == "widefield" else ()
            image = noisy(scene(kind, seed, cutoff, *further), photons, seed)
            halves = thinned_halves(image, NoiseModel(gain=1 / photons), seed)
            found = ring_resolution(*halves), decorrelation_resolution(image)
            for listed_ratios, one in zip(ratios, found, strict=True):
                listed_ratios.append(_frequency(one) / cutoff)
    cells = [f(r) for r in ratios for f in (np.nanmin, np.nanmedian, np.nanmax)]
    return (f"{kind}, {transfer}", photons, *(round(float(c), 3) for c in cells))


def _frequency(found: Resolution) -> float:
    if found.outcome == "pixel limit":
        return 0.5
    return math.nan if found.cutoff is None else found.cutoff


def capture_table(data: Path, names: str, name: str = "fast") -> Table:
    """Detail of FMD's captures by halves, and by the mean of 50, at factors 1 and 2."""
    files = listed(data / "microscopy" / "pairs" / "fmd" / "noisy", names)
    if not files:
        raise InputError(f"{data} holds no capture {names}; give another folder.")
    rows = [_capture_row(path, factor, name) for factor in (1, 2) for path in files]
    return Table(
        title=f"Detail in pixels of the original, preset {name}",
        columns=(
            "image",
            "factor",
            "halves of the original",
            "made of each half",
            "original and truth",
            "result and truth",
            "agrees",
            "flagged %",
            "fine residual",
            "confirmed %",
            "error %",
            "faint, confirmed %",
            "in the truth %",
        ),
        rows=tuple(rows),
        notes=(
            "Captures reduced by the factor, enlarged and checked with their networks; "
            "the truth is the mean of 50 captures, and correlates by 1/2. Confirmed: "
            "share of the fine detail made from one half that is in the other; in the "
            "truth: share of that of the result.",
        ),
    )


def _capture_row(path: Path, factor: int, name: str) -> tuple[Cell, ...]:
    capture, truth = (load(p).astype(np.float32) for p in (path, _truth_of(path)))
    image = degrade_array(capture[None], KernelSpec(), (float(factor),) * 2)[0]
    done, result = _checked(image.astype(np.float32), truth, factor, name)
    detail, found = done.planes[0].detail, done.planes[0].agreement
    confirmed = detail.confirmed or DetailConfirmation(all=None, faint=None)
    target = degrade_array(truth[None], KernelSpec(), (float(factor),) * 2)[0]
    true = confirmed_detail(
        (result / RANGE, result / RANGE),
        (target / RANGE, target / RANGE),
        estimate_noise(image / RANGE),
        KernelSpec(),
        (float(factor),) * 2,
    )
    plain = imresize(image, (float(factor),) * 2)
    before = ring_resolution(plain, truth, (1 / factor,) * 2, WITH_TRUTH)
    periods = [_period(one) for one in (detail.before, detail.after)]
    return (
        path.stem,
        factor,
        *periods,
        None if before.period_um is None else round(before.period_um, 2),
        _period(detail.with_truth),
        ", ".join(found.reasons) or "yes",
        round(100 * found.flagged, 2),
        round(found.level, 2),
        *_percent(confirmed.all),
        _percent(confirmed.faint)[0],
        _percent(true.all)[0],
    )


def _percent(found: Confirmation | None) -> tuple[Cell, Cell]:
    if found is None:
        return None, None
    return round(100 * found.share, 1), round(100 * found.error, 1)


def _truth_of(path: Path) -> Path:
    return path.parent.parent / "gt" / path.name


def _checked(
    image: NDArray[np.float32], truth: NDArray[np.float32], factor: int, name: str
) -> tuple[Check, NDArray[Any]]:
    """Enlarge an image as a user does, and check the result with its networks.

    Also the result.
    """
    stack = labelled(image, axes="YX")
    done = drain(api.upscale_steps(stack, change(preset(name), factor=factor)))
    made = recipe(stack, done)
    given: dict[str, Any] = {"truth": labelled(truth, axes="YX"), "recipe": made}
    if not done.networks:
        return check_files(done.as_stack(), stack, **given), done.image
    with tempfile.TemporaryDirectory(prefix="napari-zssr-") as folder:
        file = api.save_networks(done, Path(folder) / "networks.safetensors")
        check = check_files(done.as_stack(), stack, networks=file, **given)
    return check, done.image


def _period(finest: Finest | None) -> Cell:
    if finest is None or finest.outcome == "nothing":
        return None
    period = f"{finest.period:.2f}"
    return f"{period} (limit)" if finest.outcome == "pixel limit" else float(period)


def main(
    table: Annotated[str, typer.Argument(help="residual, cutoffs or captures.")],
    data: Annotated[
        Path | None, typer.Argument(metavar="DATA", help="For captures: their folder.")
    ] = None,
    names: Annotated[
        str, typer.Option(metavar="PATTERN", help="For captures: which of them.")
    ] = "Confocal_*.png",
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", metavar="FILE", help="Also write it there."),
    ] = None,
) -> None:
    """Measure one of the tables."""
    tables: dict[str, Callable[[], Table]] = {
        "residual": residual_table,
        "cutoffs": cutoff_table,
        "captures": lambda: capture_table(data or Path(), names),
    }
    if table not in tables:
        raise typer.BadParameter(f"{table} is none of {', '.join(tables)}.")
    measured = tables[table]()
    typer.echo(measured.to_markdown())
    if output is not None:
        output.write_text(measured.to_csv(), encoding="utf-8")


if __name__ == "__main__":
    typer.run(main)
