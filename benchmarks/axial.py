"""Stacks enlarged along Z against interpolation and deconvolution, with a truth."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.ndimage import map_coordinates

from benchmarks.job import Job
from benchmarks.table import Cell, Table
from benchmarks.volumes import Volume, fib_sem, generated, thinned
from napari_zssr.config import Config, change
from napari_zssr.imaging.axial_blur import AxialBlur
from napari_zssr.imaging.degrade import degradation
from napari_zssr.imaging.resample import imresize
from napari_zssr.progress import drain
from napari_zssr.stack.axis_labels import labelled
from napari_zssr.stack.run import Upscaled, upscale_steps

SHAPE = (64, 112, 112)
WIDTH, WIDTH_AT_2_5 = 0.6, 0.5
# Of Richardson-Lucy; the best against the truth counts.
ITERATIONS = (15, 30, 100)
EDGE = 6
# Cone about the Z axis, and shells (cycles per pixel) that are averaged.
CONE_DEG, SHELLS, BINS = 25.0, (0.04, 0.25), 24
FIB_SEM = {"choose": "fib_sem_choose.tif", "judge": "fib_sem_judge.tif"}
COLUMNS = (
    "volume",
    "factor",
    "photons",
    "linear",
    "cubic",
    "cubic + back-projection",
    "Richardson-Lucy",
    "learned",
    "learned, blur estimated",
    "estimated width, of the true one",
    "Z correlation, cubic",
    "Z correlation, Richardson-Lucy",
    "Z correlation, learned",
    "seconds",
)
NOTES = (
    "PSNR in dB against the truth, borders of 6 pixels left out. Z correlation: "
    "Fourier shell correlation in a cone of 25 degrees about the Z axis, mean of 0.04 "
    "to 0.25 cycles per pixel. Richardson-Lucy: along Z, with blur and thinning in its "
    "model, best of 15, 30 and 100 iterations. FIB-SEM without photons is taken as "
    "noiseless.",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A volume, and how it was recorded.

    Attributes
    ----------
    name : str
    seed : int
        Of a generated one; of FIB-SEM the first plane.
    factor : float
    photons : int
        Of the brightest pixels; 0 for no noise.
    """

    name: str
    seed: int
    factor: float = 4.0
    photons: int = 0

    @property
    def width(self) -> float:
        """Standard deviation of the blur along Z, in slices."""
        return WIDTH if self.factor == 4 else WIDTH_AT_2_5


def cases(subset: str) -> list[Case]:
    """Volumes to choose settings on, or to judge them on."""
    seed = 2 if subset == "judge" else 1
    kinds = ("membranes", "nuclei", "filaments")
    every = [Case(name=kind, seed=seed) for kind in kinds]
    return [
        *every,
        *(replace(case, factor=2.5) for case in every),
        *(Case(name="FIB-SEM", seed=first) for first in (0, 64)),
        Case(name="membranes", seed=seed, photons=150),
        Case(name="FIB-SEM", seed=0, photons=150),
    ]


def axial(job: Job) -> Table:
    """Every volume by every way.

    Parameters
    ----------
    job : Job
        ``microscopy/axial`` in its data. The subset "judge" has volumes that no
        setting was chosen on; any other those for choosing. The limit holds for cases.
    """
    file = (
        job.data / "microscopy" / "axial" / FIB_SEM.get(job.subset, FIB_SEM["choose"])
    )
    rows = []
    for case in cases(job.subset)[: job.limit]:
        if case.name == "FIB-SEM":
            truth = fib_sem(file, SHAPE, case.seed)
        else:
            truth = generated(case.name, SHAPE, case.seed)
        rows.append(_row(case, truth, job.config))
    return Table(
        title=f"Along Z, {job.config.preset}",
        columns=COLUMNS,
        rows=tuple(rows),
        notes=NOTES,
        plotted=COLUMNS[3:9],
    )


def _row(case: Case, truth: Volume, config: Config) -> tuple[Cell, ...]:
    slices = thinned(truth, case.factor, case.width, case.photons)
    started = time.monotonic()
    sigma_px = case.width * case.factor
    noise = "auto" if case.photons or case.name != "FIB-SEM" else "off"
    learned = enlarged(slices, case, config, f"gaussian:{sigma_px:g}", noise)
    seconds = time.monotonic() - started
    estimated = enlarged(slices, case, config, "estimate", noise)
    cubic = interpolated(slices, case.factor)
    deconvolved = max(
        richardson_lucy(slices, case), key=lambda result: psnr(result, truth)
    )
    linear = linearly_interpolated(slices, case.factor)
    projected = back_projected(cubic, slices, case)
    width = estimated.report.axial[0].width_slices
    ways = (linear, cubic, projected, deconvolved, learned.image, estimated.image)
    return (
        case.name,
        case.factor,
        case.photons or None,
        *(psnr(result, truth) for result in ways),
        width / case.width if width else None,
        *(correlation(r, truth) for r in (cubic, deconvolved, learned.image)),
        seconds,
    )


def enlarged(
    slices: Volume, case: Case, config: Config, kernel_z: str, noise: str
) -> Upscaled:
    """The stack along Z as the program enlarges it."""
    spacing = {"Z": case.factor, "Y": 1.0, "X": 1.0}
    stack = labelled(slices, axes="ZYX", spacing=spacing)
    settings = change(
        config, factor=1, factor_z=case.factor, kernel_z=kernel_z, noise=noise
    )
    return drain(upscale_steps(stack, settings))


def interpolated(slices: Volume, factor: float) -> Volume:
    """Cubic interpolation along Z."""
    sections = imresize(slices.transpose(1, 0, 2), (factor, 1.0))
    return sections.transpose(1, 0, 2).astype(np.float32)


def linearly_interpolated(slices: Volume, factor: float) -> Volume:
    """Linear interpolation along Z."""
    size = np.ceil(factor * len(slices) - 1e-6)
    at = (np.arange(size) + 0.5) / factor - 0.5
    grid = np.meshgrid(at, *map(np.arange, slices.shape[1:]), indexing="ij")
    return np.asarray(map_coordinates(slices, grid, order=1, mode="nearest"))


def back_projected(result: Volume, slices: Volume, case: Case) -> Volume:
    """Made to agree with the slices, by ten iterations."""
    forward = _forward(len(result), len(slices), case)
    flat, wanted = (volume.reshape(len(volume), -1) for volume in (result, slices))
    for _ in range(10):
        missing = (wanted - forward @ flat).reshape(slices.shape)
        flat = flat + interpolated(missing, case.factor).reshape(len(result), -1)
    return np.asarray(flat.reshape(result.shape))


def richardson_lucy(slices: Volume, case: Case) -> list[Volume]:
    """Deconvolution along Z with the thinning in its model, by `ITERATIONS`."""
    lowest = min(0.0, float(slices.min()))
    wanted = (slices - lowest).clip(0).astype(np.float64) + 1e-3
    current = (interpolated(slices, case.factor) - lowest).clip(1e-4).astype(np.float64)
    shape = current.shape
    forward = _forward(len(current), len(slices), case)
    wanted, current = (v.reshape(len(v), -1) for v in (wanted, current))
    weight = np.asarray(forward.sum(axis=0)).reshape(-1, 1).clip(1e-6)
    results = []
    for iteration in range(1, max(ITERATIONS) + 1):
        ratio = wanted / (forward @ current).clip(1e-6)
        current = (current * (forward.T @ ratio) / weight).clip(0)
        if iteration in ITERATIONS:
            results.append((current.reshape(shape) - 1e-3 + lowest).astype(np.float32))
    return results


def _forward(fine: int, coarse: int, case: Case) -> sparse.csr_array:
    """Blur and thinning along Z, (coarse, fine), rows of sum 1."""
    kernel = AxialBlur(width=case.width).kernel(case.factor)
    factors, size = (case.factor, 1.0), (fine, 8)
    ((along, _),) = degradation(kernel, factors, size, (coarse, 8)).terms
    matrix = along.matrix
    return sparse.csr_array(sparse.diags_array(1 / matrix.sum(axis=1)) @ matrix)


def psnr(result: Volume, truth: Volume) -> float:
    """PSNR in dB over the range of the truth, without borders."""
    found, wanted = _inner(result, truth)
    error = np.mean((found - wanted) ** 2)
    return float(10 * np.log10(np.ptp(wanted) ** 2 / error))


def correlation(result: Volume, truth: Volume) -> float:
    """Fourier shell correlation in a cone about the Z axis, mean over `SHELLS`."""
    found, wanted = (_spectrum(volume) for volume in _inner(result, truth))
    frequency = np.meshgrid(*map(np.fft.fftfreq, found.shape), indexing="ij")
    radius = np.sqrt(sum(f**2 for f in frequency))
    inside = np.abs(frequency[0]) >= radius * np.cos(np.radians(CONE_DEG))
    shell = np.where(inside, np.minimum((radius * 2 * BINS).astype(int), BINS), BINS)
    cross, own, other = (
        np.bincount(shell.ravel(), values.ravel(), BINS + 1)[:BINS]
        for values in ((found * wanted.conj()).real, abs(found) ** 2, abs(wanted) ** 2)
    )
    centres = (np.arange(BINS) + 0.5) / (2 * BINS)
    used = (centres > SHELLS[0]) & (centres < SHELLS[1]) & (own * other > 0)
    return float((cross[used] / np.sqrt(own * other)[used]).mean())


def _inner(result: Volume, truth: Volume) -> tuple[NDArray[np.float64], ...]:
    """Both without borders, as long as the shorter one."""
    depth = min(len(result), len(truth))
    part = (slice(EDGE, depth - EDGE), slice(EDGE, -EDGE), slice(EDGE, -EDGE))
    return result[part].astype(np.float64), truth[part].astype(np.float64)


def _spectrum(volume: NDArray[np.float64]) -> NDArray[np.complex128]:
    """Fourier transform under a Hann window."""
    window = np.ones(())
    for size in volume.shape:
        window = np.multiply.outer(window, np.hanning(size + 2)[1:-1])
    return np.asarray(np.fft.fftn((volume - volume.mean()) * window))
