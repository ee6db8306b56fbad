"""Kernels and beads in files: what a setting names, read once and kept whole."""

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
# A two-dimensional TIFF without a pixel size that is larger is no sampled kernel.
KERNEL_SIDE_PX = 65


def loaded_kernel(
    spec: KernelSpec, spacing_um: Sequence[float] | None = None
) -> KernelSpec:
    """What the file of a kernel holds: its weights, or the beads' spread in focus.

    Parameters
    ----------
    spec : KernelSpec
        Any; only one of a file is changed.
    spacing_um : sequence of float, optional
        Voxel (Z, Y, X) or pixel (Y, X) of an image of beads; read from it unless given.

    Raises
    ------
    InputError
        The file holds no kernel and no bead, or does not tell the size of its pixels.
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
    """Point spread function of the beads in an image.

    Parameters
    ----------
    stack : ImageStack
        Of axes Z, Y, X or Y, X; others have to be of size 1.
    spacing_um : sequence of float, optional
        Voxel (Z, Y, X) or pixel (Y, X); read from the image unless given.

    Raises
    ------
    InputError
        It has other axes, no bead, or does not tell the size of its pixels.
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
    told = tuple(map(stack.size_um, letters))
    return measured_psf(beads, told if spacing_um is None else tuple(spacing_um))


def spec_of_psf(psf: MeasuredPsf) -> KernelSpec:
    """The blur of a microscope whose beads look like that."""
    y, x = psf.spacing_um[-2:]
    return KernelSpec(kind="psf", array=psf.in_focus, spacing_um=(y, x))


def _is_kernel(stack: ImageStack) -> bool:
    """Whether a TIFF holds weights on the fine grid: flat, small, without a size."""
    shape = [n for n in stack.data.shape if n > 1]
    told = stack.size_um("X")
    return len(shape) == 2 and max(shape) <= KERNEL_SIDE_PX and told is None
