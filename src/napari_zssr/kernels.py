"""Blurs for scripts: from optics, from beads, from the image itself."""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import Any

from napari_zssr.api import GivenSpacing, Image, as_stack
from napari_zssr.config import Config, change
from napari_zssr.imaging.kernel import FineKernel
from napari_zssr.io.kernel_files import loaded_kernel, psf_of, spec_of_psf
from napari_zssr.io.read import read
from napari_zssr.kernelspec import KernelSpec, Optics
from napari_zssr.stack.channels import kernels_of


class Kernel:
    """Makes blurs for the setting ``kernel``."""

    @staticmethod
    def from_optics(
        *,
        na: float | None = None,
        wavelength_nm: float | None = None,
        excitation_nm: float | None = None,
        index: float | None = None,
        modality: str | None = None,
        method: str = "gaussian",
    ) -> KernelSpec:
        """Blur of a microscope's optics.

        Parameters
        ----------
        na : float, optional
            Numerical aperture. What is None is taken from the image's metadata.
        wavelength_nm, excitation_nm : float, optional
            Emitted light, and exciting light of a confocal microscope.
        index : float, optional
            Refractive index of the immersion; guessed from the aperture in the end.
        modality : {"widefield", "confocal", "lightsheet"}, optional
        method : {"gaussian", "vectorial"}
            Gaussian approximation, or a vectorial model (extra ``optics``).

        Returns
        -------
        KernelSpec
            The image that it is used for tells the size of the pixels.
        """
        optics = Optics(
            na=na,
            wavelength_nm=wavelength_nm,
            excitation_nm=excitation_nm,
            index=index,
            modality=modality,  # type: ignore[arg-type]
            method=method,  # type: ignore[arg-type]
        )
        return KernelSpec(kind="optics", optics=optics)

    @staticmethod
    def from_beads(
        image_or_path: Image, *, spacing_um: Sequence[float] | None = None
    ) -> KernelSpec:
        """Blur of a microscope, measured on small beads.

        Parameters
        ----------
        image_or_path : ndarray, path or ImageStack
            Of shape (Z, Y, X) or (Y, X).
        spacing_um : sequence of float, optional
            Voxel (Z, Y, X) or pixel (Y, X); read from the image unless given.

        Raises
        ------
        InputError
            There is no bead, or the size of the pixels is not known.
        """
        if isinstance(image_or_path, str | PathLike):
            stack = read(Path(image_or_path))
        else:
            ndim = getattr(image_or_path, "ndim", 0)
            stack = as_stack(image_or_path, {2: "YX", 3: "ZYX"}.get(ndim))
        return spec_of_psf(psf_of(stack, spacing_um))

    @staticmethod
    def estimate(image_or_path: Image, **given: Any) -> FineKernel:
        """Blur that an image itself shows; of several channels, that of the first.

        Parameters
        ----------
        image_or_path : ndarray, path or ImageStack
        **given
            As for `of`.
        """
        return Kernel.of(image_or_path, "estimate", **given)[0]

    @staticmethod
    def of(
        image_or_path: Image,
        kernel: Any,
        *,
        factor: float | tuple[float, float] = 2.0,
        axes: str | None = None,
        spacing: GivenSpacing = None,
    ) -> tuple[FineKernel, ...]:
        """What the setting ``kernel`` means for an image: a blur for each channel.

        Parameters
        ----------
        image_or_path : ndarray, path or ImageStack
        kernel : str, KernelSpec or ndarray
            As in `upscale`.
        factor : float or tuple of float
            Enlargement along (Y, X).
        axes, spacing
            As in `upscale`.

        Raises
        ------
        InputError
            The image, or what is said of the blur, cannot be used.
        """
        config = change(Config(), factor=factor, kernel=KernelSpec.parse(kernel))
        config = change(config, kernel=loaded_kernel(config.kernel))
        return kernels_of(as_stack(image_or_path, axes, spacing, lazy=True), config)
