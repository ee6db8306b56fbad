"""Measure what the kernel of a bead image is worth on a simulated grid.

``python -m tools.measure_beads BEADS.tif [PRESET]``. The bead image's PSF blurs lines
of growing distance, upright and slanted, on a grid twice as fine as the image; every
second pixel of it is the image. It is enlarged by 2 and compared with the same lines
under a PSF half as wide: what a microscope of twice the resolution shows. Nothing but
the preset's kernel differs. Prints PSNR for several pixel sizes.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, signal

from napari_zssr import read, upscale
from napari_zssr.imaging.beads import MeasuredPsf, measured_psf
from napari_zssr.imaging.degrade import degrade_array
from napari_zssr.imaging.optics import FWHM
from napari_zssr.imaging.psf import gaussian_kernel_sigma, psf_kernel
from napari_zssr.kernelspec import KernelSpec

Array = NDArray[np.float64]

SIDE = 256
# Pixels of the image in a full width at half maximum of the PSF.
SAMPLED = (8.0, 4.0, 2.0)
NOISES = (0.0, 0.01)
CUT = 12
MARGIN = 64
OVERSAMPLED = 4


def grid(period: float) -> Array:
    """Lines of 0.3 periods, 0.8 to 3 periods apart, (SIDE, SIDE)."""
    size = OVERSAMPLED * SIDE
    y, x = (np.mgrid[:size, :size] + 0.5) / OVERSAMPLED
    image = np.zeros_like(x)
    for along in (x, 0.94 * x + 0.34 * y):
        place = 0.0
        for gap in np.resize(np.linspace(0.8, 3, 12) * period, SIDE):
            image += 0.5 * (np.abs(along - place) < 0.15 * period)
            place += gap
    blocks = image.reshape(SIDE, OVERSAMPLED, SIDE, OVERSAMPLED)
    return np.asarray(blocks.mean(axis=(1, 3)))


def seen(lines: Array, psf: Array, spacing_px: tuple[float, float]) -> Array:
    """Lines under a PSF whose pixels are so many of theirs."""
    reach = [int(n * s / 2) for n, s in zip(psf.shape, spacing_px, strict=True)]
    places = [
        np.arange(-r, r + 1) / s + n // 2
        for r, s, n in zip(reach, spacing_px, psf.shape, strict=True)
    ]
    blur = ndimage.map_coordinates(psf, np.meshgrid(*places, indexing="ij"), order=3)
    padded = np.pad(lines, MARGIN, mode="reflect")
    blurred = signal.fftconvolve(padded, blur / blur.sum(), "same")
    return np.asarray(blurred[MARGIN:-MARGIN, MARGIN:-MARGIN])


def psnr(image: Array, truth: Array) -> float:
    """Decibels, borders left out, of a truth from 0 to 1."""
    error = (image - truth)[CUT:-CUT, CUT:-CUT]
    return float(-10 * np.log10(np.mean(error**2)))


def kernels(told: MeasuredPsf, fine: float) -> tuple[KernelSpec, ...]:
    """Bicubic, the Gaussian of the PSF's widths, and that of the PSF itself."""
    sigma_um = (told.fwhm_um[1] / FWHM, told.fwhm_um[2] / FWHM)
    sigma_px = gaussian_kernel_sigma(sigma_um, (fine, fine), (2, 2))
    spacing = (told.spacing_um[-2], told.spacing_um[-1])
    own = psf_kernel(told.in_focus, spacing, (fine, fine), (2, 2))
    return (
        KernelSpec(),
        KernelSpec(kind="gaussian", sigma_px=sigma_px),
        KernelSpec(kind="array", array=own),
    )


def measured(told: MeasuredPsf, fine: float, preset: str) -> Iterator[list[float]]:
    """PSNR with each kernel, for each noise."""
    step = (told.spacing_um[-2] / fine, told.spacing_um[-1] / fine)
    lines = grid(float(np.mean(told.fwhm_um[1:])) / fine)
    narrow = seen(lines, told.in_focus, (step[0] / 2, step[1] / 2))
    wide = seen(lines, told.in_focus, step) / narrow.max()
    dots = KernelSpec(kind="gaussian", sigma_px=(1e-6, 1e-6))
    image = degrade_array(wide, dots, (2, 2))
    for noise in NOISES:
        drawn = np.random.default_rng(1).normal(scale=noise, size=image.shape)
        noisy = (image + drawn).astype(np.float32)
        yield [
            psnr(upscale(noisy, preset, axes="YX", kernel=k), narrow / narrow.max())
            for k in kernels(told, fine)
        ]


def main(path: Path, preset: str = "instant") -> None:
    """Measure and print."""
    stack = read(path)
    told = measured_psf(np.asarray(stack.data), stack.spacing)
    lines = [
        f"{told.sentence}\n\n",
        "| pixel, um | noise | bicubic | Gaussian of its widths | its own |\n",
        "| --- | --- | --- | --- | --- |\n",
    ]
    for sampled in SAMPLED:
        fine = float(np.mean(told.fwhm_um[1:])) / sampled / 2
        for noise, found in zip(NOISES, measured(told, fine, preset), strict=True):
            cells = " | ".join(f"{value:.2f}" for value in found)
            lines.append(f"| {2 * fine:.3f} | {noise:g} | {cells} |\n")
    sys.stdout.write("".join(lines))


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
