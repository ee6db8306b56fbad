"""Poisson-Gaussian noise: its model and recorruption.

Bands of unequal strength mean spatially correlated noise.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from napari_zssr.camera import CameraNoise
from napari_zssr.imaging.jpeg import Steps, as_jpeg

if TYPE_CHECKING:
    import torch
    from torch import Tensor

Array = NDArray[np.float64]

BLOCK = 8
WHITE = (1.0, 1.0, 1.0, 1.0)
# Noise (fraction of the range) from which pairs are recorrupted.
RECORRUPT_FROM = 0.004
_ORDER = np.add.outer(np.arange(BLOCK), np.arange(BLOCK))
BANDS = ((2, 4), (5, 7), (8, 10), (11, 14))
BAND_MASKS = tuple((low <= _ORDER) & (high >= _ORDER) for low, high in BANDS)


@dataclass(frozen=True, slots=True, kw_only=True)
class NoiseModel:
    """Noise of variance ``gain * signal + offset``.

    Attributes
    ----------
    gain : float
        Variance per unit of signal (shot noise), in units of the intensity.
    offset : float
        Variance without signal (read noise), in squared units of the intensity.
    bands : tuple of float
        Standard deviation in four bands of rising spatial frequency, relative to
        white noise; (1, 1, 1, 1) is white.
    jpeg : tuple of float
        Steps to which a JPEG rounded blocks of the image, noise included, in units of
        the intensity; empty without.
    """

    gain: float = 0.0
    offset: float = 0.0
    bands: tuple[float, ...] = WHITE
    jpeg: Steps = ()

    @classmethod
    def of_camera(cls, camera: CameraNoise) -> NoiseModel:
        """Noise in a camera's counts: shot noise of the light, and read noise."""
        shot = 1 / camera.gain
        read = (camera.read_noise / camera.gain) ** 2
        return cls(gain=shot, offset=read - shot * camera.offset)

    @property
    def is_clean(self) -> bool:
        """Whether there is no noise at all."""
        return self.gain <= 0 and self.offset <= 0

    def sigma(self, signal: float = 0.5) -> float:
        """Standard deviation at a signal level, in units of the intensity."""
        return math.sqrt(max(0.0, self.gain * signal + self.offset))

    def variance(self, signal: Tensor) -> Tensor:
        """Variance for every pixel of a tensor of signals, same shape."""
        return (self.gain * signal + self.offset).clamp_min(0.0)

    def mapped(self, scale: float, offset: float) -> NoiseModel:
        """Model of the noise after intensities y = (x - offset) / scale."""
        return NoiseModel(
            gain=self.gain / scale,
            offset=(self.offset + self.gain * offset) / scale**2,
            bands=self.bands,
            jpeg=tuple(step / scale for step in self.jpeg),
        )

    def draw(self, image: Tensor, generator: torch.Generator) -> Tensor:
        """Noise for an image (..., Y, X), from a CPU generator."""
        return self.variance(_smooth(image)).sqrt() * self._unit(image, generator)

    def add(self, image: Tensor, share: float, generator: torch.Generator) -> Tensor:
        """Add Gaussian noise with `share` of this model's variance."""
        if share <= 0:
            return image
        noisy: Tensor = image + share**0.5 * self.draw(image, generator)
        return noisy

    def as_stored(self, image: Tensor) -> Tensor:
        """What a JPEG makes of an image (C, Y, X), where this one was a JPEG."""
        return as_jpeg(image, self.jpeg) if self.jpeg else image

    def _unit(self, image: Tensor, generator: torch.Generator) -> Tensor:
        """Gaussian noise of variance 1 with this model's spatial correlation."""
        import torch

        drawn = torch.randn(image.shape, generator=generator, dtype=torch.float32)
        drawn = drawn.to(image.device, image.dtype)
        if self.bands == WHITE:
            return drawn
        size = (drawn.shape[-2], drawn.shape[-1])
        kernel = torch.as_tensor(_wrapped_kernel(self.bands, size), dtype=image.dtype)
        # On a processor, ten times and more as fast as a convolution of one channel.
        response = torch.fft.rfft2(kernel.to(image.device))
        shaped: Tensor = torch.fft.irfft2(torch.fft.rfft2(drawn) * response, s=size)
        return shaped


CLEAN = NoiseModel()


def _smooth(image: Tensor) -> Tensor:
    """Mean over 5 x 5 pixels: a signal level free of the noise's own ups and downs."""
    import torch

    planes = image.reshape(-1, 1, *image.shape[-2:])
    padded = torch.nn.functional.pad(planes, (2, 2, 2, 2), mode="replicate")
    means: Tensor = torch.nn.functional.avg_pool2d(padded, 5, stride=1)
    return means.reshape(image.shape)


def recorrupted(level: float) -> bool:
    """Whether a plane is noisy enough that training must not learn its noise.

    Parameters
    ----------
    level : float
        Standard deviation of the noise at the plane's mean signal.
    """
    return level >= RECORRUPT_FROM


def recorrupt(
    image: Tensor, noise: NoiseModel, alpha: float, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Two images with independent noise from one noisy image.

    Parameters
    ----------
    image : Tensor, shape (..., Y, X)
    noise : NoiseModel
    alpha : float
        With n drawn from the model, the first gets alpha n more, the second n / alpha
        less; 0 returns the image twice.
    generator : torch.Generator
        CPU generator of the noise.

    Returns
    -------
    tuple of Tensor, shape (..., Y, X)
        Independent given the signal, for Gaussian noise (Pang, Zheng, Quan, Ji,
        "Recorrupted-to-Recorrupted", CVPR 2021).
    """
    if alpha == 0 or noise.is_clean:
        return image, image
    drawn = noise.draw(image, generator)
    return image + alpha * drawn, image - drawn / alpha


def band_strengths(power: Array) -> tuple[float, ...]:
    """`NoiseModel.bands` of noise with a power spectrum.

    Parameters
    ----------
    power : ndarray, shape (8, 8)
        Power at multiples of 1/16 cycle per pixel along (Y, X), from 0 up.
    """
    return unit_bands(np.sqrt([power[mask].mean() for mask in BAND_MASKS]))


def unit_bands(strengths: Array) -> tuple[float, ...]:
    """Strengths of the four bands, scaled to noise of variance 1."""
    counts = np.array([mask.sum() for mask in BAND_MASKS])
    mean = (counts * strengths**2).sum() / counts.sum()
    return tuple(float(strength) for strength in strengths / np.sqrt(mean))


def _wrapped_kernel(bands: tuple[float, ...], size: tuple[int, int]) -> Array:
    """The shaping kernel about the first pixel of an image without borders."""
    kernel = _shaping_kernel(bands)
    reach = np.arange(len(kernel)) - len(kernel) // 2
    whole = np.zeros(size)
    np.add.at(whole, np.ix_(reach % size[0], reach % size[1]), kernel)
    return whole


def _shaping_kernel(bands: tuple[float, ...]) -> Array:
    """Kernel (15, 15), squares summing to 1, that gives white noise these bands."""
    size = 15
    frequency = np.abs(np.fft.fftfreq(size)) * 2 * BLOCK
    order = np.add.outer(frequency, frequency)
    centers = [(low + high) / 2 for low, high in BANDS]
    response = np.interp(order, centers, bands)
    kernel = np.fft.fftshift(np.real(np.fft.ifft2(response)))
    shaped: Array = kernel / np.sqrt((kernel**2).sum())
    return shaped
