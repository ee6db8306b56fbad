"""Poisson-Gaussian noise: its model, its estimate from one image, recorruption.

The estimate looks at blocks of 8 x 8 pixels in the frequency domain. Noise fills every
block of one brightness alike, texture does not: the low quantile of the blocks'
energies gives the noise, and how far the median lies above it tells texture from
noise, band by band. Bands of unequal strength mean spatially correlated noise.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from scipy import fft, stats

from napari_zssr.imaging.jpeg import Steps, as_jpeg

if TYPE_CHECKING:
    import torch
    from torch import Tensor

Array = NDArray[np.float64]

BLOCK = 8
BLOCK_STEP = 4
BINS = 12
LEAST_BLOCKS = 20
QUANTILE = 0.1
# Median over low quantile of the blocks' energies, as a multiple of what pure noise
# gives; thresholds chosen on scikit-image's pictures and confocal captures.
PURE = 1.2
MIN_TRUSTED = 0.25
PURE_ENOUGH = (1.15, 1.5, 1.3)
STEEPEST = (2.2, 3.2)
MAX_BLOCKS = 40_000
FLAT = 1.25
# Below it (in normalised intensities) shot noise is left out: rounding would win.
SMALLEST_GAIN = 1e-6
WHITE = (1.0, 1.0, 1.0, 1.0)
# Noise (fraction of the range) from which pairs are recorrupted.
RECORRUPT_FROM = 0.004
_ORDER = np.add.outer(np.arange(BLOCK), np.arange(BLOCK))
BANDS = ((2, 4), (5, 7), (8, 10), (11, 14))
_MASKS = tuple((low <= _ORDER) & (high >= _ORDER) for low, high in BANDS)


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

    def stabilised(self, image: Tensor) -> Tensor:
        """Image in units in which its noise has variance 1 (Anscombe's transform).

        The generalised transform of Starck, Murtagh and Bijaoui (1995), section 1.
        """
        if self.gain < SMALLEST_GAIN:
            even: Tensor = image / math.sqrt(max(self.offset, 1e-12))
            return even
        variance = self.gain * image + self.offset + 0.375 * self.gain**2
        even = 2 / self.gain * variance.clamp_min(0.0).sqrt()
        return even

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


def estimate_noise(*planes: NDArray[Any]) -> NoiseModel:
    """Noise of one plane, or of several that have it in common.

    Texture is not taken for noise. Of several planes the noise is white: from few
    blocks of each, its correlation cannot be told from texture.

    Parameters
    ----------
    *planes : ndarray, shape (Y, X)
        Any linear intensity; the model is in its units.

    Returns
    -------
    NoiseModel
        `CLEAN` where the planes are too small or only texture is seen.
    """
    large = [plane for plane in planes if min(plane.shape) >= 4 * BLOCK]
    if not large:
        return CLEAN
    blocks = [_block_energies(np.asarray(p)) for p in large]
    means, energies = (np.concatenate(part) for part in zip(*blocks, strict=True))
    found = _bins(means, energies)
    trusted = [b for b in found if b.texture[3] < PURE]
    if not trusted or len(trusted) < MIN_TRUSTED * len(found):
        return CLEAN
    gain, offset = _fit_line(trusted)
    bands = _band_profile(found) if len(planes) == 1 else WHITE
    white_share = 1.0 / bands[3] ** 2
    return NoiseModel(gain=gain * white_share, offset=offset * white_share, bands=bands)


def has_room_for_noise(plane: NDArray[Any]) -> bool:
    """Whether a plane (Y, X) has blocks enough to tell noise at every brightness."""
    rows, columns = (int(max(0, (n - BLOCK) // BLOCK_STEP + 1)) for n in plane.shape)
    return rows * columns >= BINS * LEAST_BLOCKS


@dataclass(frozen=True, slots=True, kw_only=True)
class _Bin:
    """Blocks of like brightness: variance and texture ratio in each band."""

    mean: float
    variance: tuple[float, ...]
    texture: tuple[float, ...]
    blocks: int


def _block_energies(values: NDArray[Any]) -> tuple[Array, Array]:
    """Mean and energy in each band of blocks; shapes (blocks,), (blocks, 4)."""
    blocks = sliding_window_view(values, (BLOCK, BLOCK))
    step = max(
        BLOCK_STEP,
        int(np.ceil(np.sqrt(blocks.shape[0] * blocks.shape[1] / MAX_BLOCKS))),
    )
    chosen = blocks[::step, ::step].reshape(-1, BLOCK, BLOCK).astype(np.float64)
    energy = fft.dctn(chosen, axes=(1, 2), norm="ortho") ** 2
    bands = np.stack([energy[:, mask].mean(axis=1) for mask in _MASKS], axis=1)
    return chosen.mean(axis=(1, 2)), bands


def _bins(means: Array, energies: Array) -> list[_Bin]:
    edges = np.quantile(means, np.linspace(0, 1, BINS + 1))
    found = []
    for low, high in pairwise(edges):
        inside = energies[(means >= low) & (means <= high)]
        if len(inside) < LEAST_BLOCKS:
            continue
        variance, texture = zip(
            *(_low_quantile(inside[:, k], int(_MASKS[k].sum())) for k in range(4)),
            strict=True,
        )
        middle = float(means[(means >= low) & (means <= high)].mean())
        found.append(
            _Bin(mean=middle, variance=variance, texture=texture, blocks=len(inside))
        )
    return found


def _low_quantile(energy: Array, terms: int) -> tuple[float, float]:
    """Noise variance from the quietest blocks, and how far the median exceeds it."""
    expected = stats.chi2.ppf((QUANTILE, 0.5), terms) / terms
    quiet, middle = np.quantile(energy, (QUANTILE, 0.5)) / expected
    if quiet <= 0:
        return 0.0, 1.0 if middle <= 0 else np.inf
    return float(quiet), float(middle / quiet)


def _fit_line(bins: list[_Bin]) -> tuple[float, float]:
    """Gain and offset of variance = gain * mean + offset, both not negative."""
    x = np.array([b.mean for b in bins])
    y = np.array([b.variance[3] for b in bins])
    weight = 1 / np.maximum(y, y.max() * 1e-3 + 1e-30)
    if len(bins) < 3 or np.ptp(x) == 0:
        return 0.0, float(np.median(y))
    gain, offset = np.polyfit(x, y, 1, w=weight)
    if gain < 0:
        return 0.0, float(np.average(y, weights=weight))
    at_darkest = gain * x.min() + offset
    if at_darkest < 0:
        ground = x.min()
        slope = float(
            np.sum(weight * y * (x - ground)) / np.sum(weight * (x - ground) ** 2)
        )
        return max(slope, 0.0), -max(slope, 0.0) * float(ground)
    return float(gain), float(offset)


def _band_profile(bins: list[_Bin]) -> tuple[float, ...]:
    """Strength of the bands relative to white noise of the same variance.

    Texture falls off faster with frequency than optics and scanners colour noise.
    """
    texture = np.median([b.texture for b in bins], axis=0)
    strength = np.sqrt(np.median([b.variance for b in bins], axis=0))
    low, mid, high, top = (float(s) for s in strength)
    pure = texture[:3] < PURE_ENOUGH
    if top <= 0 or not (pure[1] and pure[2] and mid <= STEEPEST[1] * top):
        return WHITE
    if not (pure[0] and low <= STEEPEST[0] * mid):
        low = mid
    profile = np.maximum(np.array([low, mid, high, top]) / top, 1.0)
    if profile.max() < FLAT:
        return WHITE
    counts = np.array([mask.sum() for mask in _MASKS])
    mean = (counts * profile**2).sum() / counts.sum()
    return tuple(float(p) for p in profile / np.sqrt(mean))


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
    frequency = np.abs(fft.fftfreq(size)) * 2 * BLOCK
    order = np.add.outer(frequency, frequency)
    centers = [(low + high) / 2 for low, high in BANDS]
    response = np.interp(order, centers, bands)
    kernel = np.fft.fftshift(np.real(np.fft.ifft2(response)))
    shaped: Array = kernel / np.sqrt((kernel**2).sum())
    return shaped
