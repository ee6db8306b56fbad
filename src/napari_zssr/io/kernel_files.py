"""Blur kernels and images of beads in files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from napari_zssr.errors import InputError
from napari_zssr.imaging import kernel
from napari_zssr.imaging.beads import MeasuredPsf, measured_psf
from napari_zssr.io.read import read
from napari_zssr.kernelspec import KernelSpec
from napari_zssr.stack.image import ImageStack

TIFF = (".tif", ".tiff")
# A larger two-dimensional TIFF is not a sampled kernel.
KERNEL_SIDE_PX = 65


def loaded_kernel(
    spec: KernelSpec, spacing_um: Sequence[float] | None = None
) -> KernelSpec:
    """Replace a kernel of kind "file" by what the file holds: weights, or a PSF.

    `spacing_um` of an image of beads is read from it unless given. Raises InputError.
    """
    if spec.kind != "file":
        return spec
    path = Path(spec.path)
    if path.suffix.lower() in TIFF and path.is_file():
        stack = read(path)
        if spacing_um is not None or not _is_kernel(stack):
            return spec_of_psf(psf_of(stack, spacing_um))
    return kernel.loaded_kernel(spec)


def psf_of(stack: ImageStack, spacing_um: Sequence[float] | None = None) -> MeasuredPsf:
    """Point spread function of the beads in an image (Z, Y, X) or (Y, X).

    Raises InputError for other axes, and without a bead or a pixel size.
    """
    pixels = np.asarray(stack.data)
    beads = pixels.squeeze()
    shape = zip(stack.axes, pixels.shape, strict=True)
    letters = [letter for letter, size in shape if size > 1]
    if beads.ndim not in (2, 3) or set(letters) & set("CS"):
        raise InputError(
            f"The image of beads has axes {stack.axes} and shape {pixels.shape}; give "
            "one channel and one time point, of shape (Z, Y, X) or (Y, X)."
        )
    if spacing_um is None:
        return measured_psf(beads, tuple(map(stack.size_um, letters)))
    return measured_psf(beads, tuple(spacing_um))


def spec_of_psf(psf: MeasuredPsf) -> KernelSpec:
    """Kernel of a measured point spread function."""
    y, x = psf.spacing_um[-2:]
    return KernelSpec(kind="psf", array=psf.in_focus, spacing_um=(y, x))


def _is_kernel(stack: ImageStack) -> bool:
    """Whether a TIFF holds kernel weights: flat, small, without a pixel size."""
    shape = [n for n in stack.data.shape if n > 1]
    is_small = len(shape) == 2 and max(shape) <= KERNEL_SIDE_PX
    return is_small and stack.size_um("X") is None
