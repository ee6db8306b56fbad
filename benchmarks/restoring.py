"""Factor 1: noise against the best of other methods, blur against Richardson-Lucy.

``python -m benchmarks.restoring noise DATA`` restores FMD's captures at their own size;
``python -m benchmarks.restoring blur`` scikit-image's pictures and generated structures
under Gaussians, and ``blur --psf FILE`` under a measured PSF. Rivals are stopped, and
their strengths chosen, by the truth. BM3D is measured where the package bm3d is there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from numpy.typing import NDArray
from scipy import signal

from benchmarks.microscopes import decimated_captures
from benchmarks.rivals import non_local_means
from benchmarks.table import Cell, Table
from benchmarks.volumes import generated
from napari_zssr import api
from napari_zssr.config import change, preset
from napari_zssr.imaging.degrade import degrade_array
from napari_zssr.imaging.kernel import sampled_kernel
from napari_zssr.io.read import read
from napari_zssr.kernelspec import KernelSpec
from napari_zssr.progress import drain

Array = NDArray[np.float64]
PRESETS = ("fast", "balanced")
PICTURES = ("camera", "coins", "moon", "brick")
SIDE_PX, CUT_PX = 256, 12
BLURS, NOISES = (1.0, 2.0), (0.0, 0.01, 0.05)
ITERATIONS = 300
# Deviations that BM3D is told, in grey levels.
BM3D_SIGMAS = (4, 6, 8, 10, 13, 16, 20, 25, 32)
BARS_PX, APART_PX = 4, 20


def psnr(image: NDArray[Any], truth: Array, peak: float) -> float:
    """PSNR in dB, without the border."""
    inner = (slice(CUT_PX, -CUT_PX),) * 2
    error = np.mean((image[inner] - truth[inner]) ** 2)
    return float(10 * np.log10(peak**2 / error))


def restored(image: NDArray[Any], name: str, **settings: Any) -> NDArray[Any]:
    """The image at its own size, float32."""
    config = change(preset(name), factor=1, dtype="float32", **settings)
    return drain(api.upscale_steps(image, config)).image


def noise_table(data: Path) -> Table:
    """FMD's captures at full size against the mean of 50."""
    rows = []
    for subset in ("confocal", "rest"):
        for name, image, truth in decimated_captures(data, subset, 1):
            exact = truth.astype(np.float64)

            def score(one: NDArray[Any], exact: Array = exact) -> float:
                return psnr(one, exact, 255)

            means = non_local_means(image, (1.0, 1.0), score)
            cells = [score(image), None if means is None else score(means[1])]
            cells += [_best_bm3d(image, score)]
            cells += [score(restored(image, one)) for one in PRESETS]
            rows.append((name, *_rounded(cells)))
    return Table(
        title="Noise alone, factor 1, PSNR in dB",
        columns=("image", "input", "non-local means", "BM3D", *PRESETS),
        rows=tuple(rows),
        notes=("Strengths of the rivals are the best by the truth.",),
    )


def _best_bm3d(
    image: NDArray[Any], score: Callable[[NDArray[Any]], float]
) -> float | None:
    try:
        bm3d: Any = import_module("bm3d")
    except ImportError:
        return None
    return max(
        score(255 * bm3d.bm3d(image / 255, sigma / 255)) for sigma in BM3D_SIGMAS
    )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Case:
    """A truth (Y, X), 0 to 1, and how it is blurred."""

    name: str
    truth: Array
    kernel: KernelSpec
    blur: str


def pictures() -> Iterator[Case]:
    """Pictures of scikit-image under Gaussians."""
    from skimage import data

    for width in BLURS:
        kernel = KernelSpec(kind="gaussian", sigma_px=(width, width))
        for name in PICTURES:
            pixels = getattr(data, name)()[:SIDE_PX, :SIDE_PX] / 255
            yield Case(
                name=name, truth=pixels, kernel=kernel, blur=f"Gaussian {width:g} px"
            )


def structures(kernel: KernelSpec, blur: str) -> Iterator[Case]:
    """A grid, filaments and nuclei under one blur."""
    grid = np.zeros((SIDE_PX, SIDE_PX))
    for first in range(16, SIDE_PX - 8, APART_PX):
        grid[:, first : first + BARS_PX] = 1
    truths = {"grid": grid}
    for name in ("filaments", "nuclei"):
        volume = generated(name, (64, SIDE_PX, SIDE_PX), 3)
        truths[name] = volume[32].astype(np.float64)
    for name, truth in truths.items():
        scaled = (truth - truth.min()) / np.ptp(truth)
        yield Case(name=name, truth=scaled, kernel=kernel, blur=blur)


def in_focus(path: Path, bins: int = 1) -> KernelSpec:
    """The plane of a measured PSF (Z, Y, X) with its peak, in pixels of so many."""
    pixels = np.asarray(read(path).data, np.float64)
    plane = pixels[np.unravel_index(pixels.argmax(), pixels.shape)[0]].clip(0)
    rows, columns = (n // bins * bins for n in plane.shape)
    blocks = plane[:rows, :columns].reshape(rows // bins, bins, columns // bins, bins)
    coarse = blocks.sum(axis=(1, 3))
    return KernelSpec(kind="array", array=coarse / coarse.sum())


def best_lucy(image: Array, case: Case) -> float:
    """PSNR of Richardson-Lucy with the right blur, stopped by the truth."""
    weights = sampled_kernel(case.kernel)
    assert weights is not None
    reach = max(weights.shape)

    def blur(plane: Array, by: Array) -> Array:
        wide = np.pad(plane, reach, mode="symmetric")
        inner = (slice(reach, -reach),) * 2
        return np.asarray(signal.fftconvolve(wide, by, mode="same")[inner])

    seen = image.clip(1e-3)
    estimate, best = np.full_like(seen, seen.mean()), 0.0
    for _ in range(ITERATIONS):
        ratio = seen / np.maximum(blur(estimate, weights), 1e-6)
        estimate = estimate * blur(ratio, weights[::-1, ::-1])
        best = max(best, psnr(estimate, case.truth, 1))
    return best


def blur_table(cases: list[Case]) -> Table:
    """What the right blur takes back, beside Richardson-Lucy at its best."""
    rows = []
    for case in cases:
        blurred = degrade_array(case.truth[None], case.kernel, (1.0, 1.0))[0]
        for level in NOISES:
            noise = np.random.default_rng(1).normal(0, level, blurred.shape)
            image = blurred + noise
            cells = [psnr(image, case.truth, 1), best_lucy(image, case)]
            for name in PRESETS:
                result = restored(image.astype(np.float32), name, kernel=case.kernel)
                cells.append(psnr(result, case.truth, 1))
            rows.append((case.name, case.blur, 100 * level, *_rounded(cells)))
    return Table(
        title="Blur and noise, factor 1, PSNR in dB",
        columns=("image", "blur", "noise %", "input", "Richardson-Lucy", *PRESETS),
        rows=tuple(rows),
        notes=(
            f"Richardson-Lucy is the best of {ITERATIONS} iterations by the truth; the "
            "blur is told, the noise is not.",
        ),
    )


def _rounded(values: Sequence[float | None]) -> list[Cell]:
    return [None if value is None else round(value, 2) for value in values]


def main(
    table: Annotated[str, typer.Argument(help="noise or blur.")],
    data: Annotated[
        Path | None, typer.Argument(metavar="DATA", help="For noise: their folder.")
    ] = None,
    psf: Annotated[
        Path | None, typer.Option("--psf", metavar="FILE", help="A measured PSF.")
    ] = None,
    bins: Annotated[
        int, typer.Option("--bins", metavar="N", help="Pixels of the PSF to one.")
    ] = 1,
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", metavar="FILE", help="Also write it there."),
    ] = None,
) -> None:
    """Measure one of the tables."""
    if table == "noise":
        measured = noise_table(data or Path())
    elif psf is not None:
        kernel = in_focus(psf, bins)
        measured = blur_table(list(structures(kernel, f"measured PSF, {bins}")))
    else:
        measured = blur_table(list(pictures()))
    typer.echo(measured.to_markdown())
    if output is not None:
        output.write_text(measured.to_csv(), encoding="utf-8")


if __name__ == "__main__":
    typer.run(main)
