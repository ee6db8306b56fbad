"""The blur of every channel, from what the user says of it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_zssr.config import Config
from napari_zssr.imaging.beads import psf_fwhm_um
from napari_zssr.imaging.blur_estimate import estimated_blur
from napari_zssr.imaging.intensity import IntensityMap
from napari_zssr.imaging.kernel import FineKernel, check_fits, loaded_kernel
from napari_zssr.imaging.noise import shows_signal
from napari_zssr.imaging.optics import checked_spacing, gaussian_psf, sampling_sentence
from napari_zssr.imaging.psf import gaussian_kernel_sigma, psf_kernel
from napari_zssr.imaging.resample import spread_starts
from napari_zssr.kernelspec import KernelSpec, Optics
from napari_zssr.stack.axes import output_shape, plane_axes, planes, to_cyx
from napari_zssr.stack.axis_labels import check_pixels
from napari_zssr.stack.channels import shared_planes
from napari_zssr.stack.image import Channel, CheckedPlanes, ImageStack
from napari_zssr.stack.plane import colours_of, intensity_maps

# Planes of a channel that a blur is estimated from, at most.
ESTIMATED_PLANES = 3
# Of a larger plane windows are looked at, so many along each side.
WINDOW_PX = 512
WINDOWS = 3
# Estimates that are remembered, for previews and runs that follow each other.
CACHED = 16


def estimated_kernel(
    stack: ImageStack, config: Config, mapping: IntensityMap, channel: int
) -> FineKernel:
    """The blur that a channel's own planes show; estimates are cached."""
    parts = _parts(stack, mapping, channel)
    digest = hashlib.sha256(repr(config.factors).encode())
    for plane in parts:
        digest.update(str(plane.shape).encode() + np.ascontiguousarray(plane).tobytes())
    key = digest.hexdigest()
    if key not in _cache:
        _cache[key] = estimated_blur(parts, config.factors)
        while len(_cache) > CACHED:
            _cache.pop(next(iter(_cache)), None)
    return _cache[key]


_cache: dict[str, FineKernel] = {}


def _parts(
    stack: ImageStack, mapping: IntensityMap, channel: int
) -> list[NDArray[np.float32]]:
    """Normalised planes (C, Y, X) of a channel, or windows, that show anything."""
    plane_indices = shared_planes(planes(stack.axes, stack.data.shape), channel)
    count = min(len(plane_indices), ESTIMATED_PLANES)
    chosen = [
        plane_indices[(2 * n + 1) * len(plane_indices) // (2 * count)]
        for n in range(count)
    ]
    parts = []
    for plane_index in chosen:
        pixels = to_cyx(stack.data[plane_index.index], plane_axes(stack.axes))
        for window in _windows(colours_of(pixels)):
            colours = mapping.normalise(window)
            parts += [colours] if shows_signal(colours) else []
    return parts


def _windows(plane: NDArray[Any]) -> list[NDArray[Any]]:
    """The plane (C, Y, X), or windows spread over one that is large."""
    height, width = plane.shape[-2:]
    if max(height, width) <= WINDOWS * WINDOW_PX:
        return [plane]
    return [
        plane[:, y : y + WINDOW_PX, x : x + WINDOW_PX]
        for y in _starts(height)
        for x in _starts(width)
    ]


def _starts(size: int) -> list[int]:
    return sorted(set(spread_starts(size, WINDOW_PX, WINDOWS)))


Pair = tuple[float, float]

# A PSF is 0.53 lambda / NA wide, and Nyquist asks for lambda / (4 NA).
NYQUIST_IN_FWHM = 2.1

GIVEN = {
    "bicubic": "The usual assumption: bicubic reduction.",
    "gaussian": "A Gaussian that was given.",
    "array": "Weights that were given.",
}


def kernels_of(stack: ImageStack, config: Config) -> tuple[FineKernel, ...]:
    """The blur of every channel of an image that nothing is known of yet."""
    data = CheckedPlanes(check_pixels(stack.data), config.nonfinite)
    listed = planes(stack.axes, stack.data.shape)
    maps = intensity_maps(data, stack.axes, listed)
    return channel_kernels(replace(stack, data=data), config, maps)


def channel_kernels(
    stack: ImageStack, config: Config, maps: Mapping[int, IntensityMap]
) -> tuple[FineKernel, ...]:
    """The blur of every channel, as `channel_kernel` finds it."""
    return tuple(channel_kernel(stack, config, maps[n], n) for n in sorted(maps))


def channel_kernel(
    stack: ImageStack, config: Config, mapping: IntensityMap, channel: int
) -> FineKernel:
    """The blur of one channel on the fine grid.

    Raises InputError.
    """
    spec = loaded_kernel(config.kernel)
    if spec.kind == "estimate":
        kernel = estimated_kernel(stack, config, mapping, channel)
        kernel = replace(kernel, fine_um=fine_um(stack, config.factors))
    elif spec.kind == "psf":
        kernel = _of_psf(spec, stack, config)
    elif spec.kind == "optics":
        kernel = _of_optics(spec, stack, config, channel)
    else:
        kernel = FineKernel(
            spec=spec,
            factors=config.factors,
            sentence=GIVEN[spec.kind],
            fine_um=fine_um(stack, config.factors),
        )
    shape = output_shape(stack.data.shape, stack.axes, config.factors)
    y, x = (shape[stack.axes.index(letter)] for letter in "YX")
    check_fits(kernel.spec, (y, x))
    return kernel


def fine_um(stack: ImageStack, factors: Pair) -> tuple[float | None, float | None]:
    """Size (Y, X) of a pixel of the result, where the image tells its own."""
    y, x = (
        None if size is None else size / factor
        for size, factor in zip(map(stack.size_um, "YX"), factors, strict=True)
    )
    return y, x


def _of_psf(spec: KernelSpec, stack: ImageStack, config: Config) -> FineKernel:
    """The kernel of a point spread function that was measured or given."""
    fine = _known_fine(stack, config)
    assert spec.array is not None
    weights = psf_kernel(spec.array, spec.spacing_um, fine, config.factors)
    return FineKernel(
        spec=KernelSpec(kind="array", array=weights),
        factors=config.factors,
        sentence=_measured(spec, fine, config.factors),
        fine_um=fine,
    )


def _measured(spec: KernelSpec, fine: Pair, factors: Pair) -> str:
    """Where the kernel of a point spread function comes from, and how wide that is."""
    assert spec.array is not None
    sentence = "From a measured point spread function"
    fwhm = psf_fwhm_um(spec.array, spec.spacing_um)
    if fwhm is None:
        return f"{sentence}."
    sentence += f", in focus FWHM {fwhm[0]:.3f} x {fwhm[1]:.3f} um."
    word = _sampling(fine, factors, min(fwhm) / NYQUIST_IN_FWHM)
    return " ".join(filter(None, (sentence, word)))


def _of_optics(
    spec: KernelSpec, stack: ImageStack, config: Config, channel: int
) -> FineKernel:
    """The kernel of a channel's optics, and a word where pixels are fine enough."""
    assert spec.optics is not None
    fine = _known_fine(stack, config)
    known = stack.channels[channel] if channel < len(stack.channels) else Channel()
    given = _completed(spec.optics, known)
    gaussian = gaussian_psf(**given)
    if spec.optics.method == "vectorial":
        from napari_zssr.imaging.optics import vectorial_psf

        psf = vectorial_psf(**given)
        weights = psf_kernel(psf.array, psf.spacing_um, fine, config.factors)
        kernel, sentence = KernelSpec(kind="array", array=weights), psf.sentence
    else:
        sigma = gaussian_kernel_sigma(gaussian.sigma_um, fine, config.factors)
        kernel, sentence = (
            KernelSpec(kind="gaussian", sigma_px=sigma),
            gaussian.sentence,
        )
    word = _sampling(fine, config.factors, gaussian.nyquist_um)
    return FineKernel(
        spec=kernel,
        factors=config.factors,
        sentence=" ".join(filter(None, (word, sentence))),
        fine_um=fine,
    )


def _sampling(fine: Pair, factors: Pair, nyquist_um: float) -> str | None:
    """A word where the image's own pixels are fine enough for its optics."""
    pixel = (fine[0] * factors[0], fine[1] * factors[1])
    return sampling_sentence(pixel, factors, nyquist_um)


def _completed(optics: Optics, known: Channel) -> dict[str, Any]:
    """What was given, and what the metadata of the channel say beside it."""
    modality = optics.modality or known.modality or "widefield"
    metadata = {
        "na": known.na,
        "wavelength_nm": known.emission_nm,
        "excitation_nm": known.excitation_nm if modality == "confocal" else None,
        "index": known.index,
        "modality": modality,
    }
    names = [field.name for field in fields(Optics) if field.name != "method"]
    given = {name: getattr(optics, name) for name in names}
    return {n: metadata[n] if given[n] is None else given[n] for n in names}


def _known_fine(stack: ImageStack, config: Config) -> Pair:
    """Fine pixel (Y, X) in um, which the image has to tell."""
    y, x = checked_spacing(tuple(map(stack.size_um, "YX")))
    return y / config.factors[0], x / config.factors[1]
