"""Poisson-Gaussian noise: its model, its estimate and recorruption.

Noise in four bands of spatial frequency; unequal ones mean spatially correlated noise.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from scipy import fft, stats

from napari_zssr.checks import CameraNoise
from napari_zssr.imaging.artifacts import Steps, as_jpeg
from napari_zssr.imaging.resample import Array

if TYPE_CHECKING:
    import torch
    from torch import Tensor

# Weights and biases of a dense network.
Layers = list[tuple[NDArray[Any], NDArray[Any]]]

WEIGHTS = Path(__file__).parents[1] / "data" / "noise.npz"
BLOCK = 8
WHITE = (1.0, 1.0, 1.0, 1.0)
# Noise (fraction of the range) from which pairs are recorrupted.
RECORRUPT_FROM = 0.004
_ORDER = np.add.outer(np.arange(BLOCK), np.arange(BLOCK))
BANDS = ((2, 4), (5, 7), (8, 10), (11, 14))
BAND_MASKS = tuple((low <= _ORDER) & (high >= _ORDER) for low, high in BANDS)
KERNEL_PX = 15
BLOCK_STEP = 4
# Bins of brightness through whose quietest blocks a first straight line is laid.
BINS, LEAST_IN_BIN = 12, 10
QUIET = 0.1
# Dark and bright half of the blocks, and quantiles of their energies.
GROUPS = 2
QUANTILES = (0.03, 0.1, 0.25, 0.5, 0.8)
MAX_BLOCKS = 40_000
# Fewest blocks for an estimate, and enough for one from a single plane.
LEAST_BLOCKS, ENOUGH_BLOCKS = 40, 240
# Variance of normalised intensities below which all is rounding.
LEAST_VARIANCE = 1e-8
FEATURES = GROUPS * len(BANDS) * len(QUANTILES) + BINS + 2
# Median over low quantile of the energies of the finest band, as a multiple of that of
# pure noise, and share of the bins that must stay below it.
PURE, LEAST_PURE = 1.2, 0.25
# Deviation of a band from white noise up to which it counts as white.
FLAT = 0.12
# Strength of the finest band below which all is texture: no noise is so smooth.
SMOOTHEST = 0.3
SIDES = (2, 4, 8, 16)
# Variance of block means, as a multiple of that of white noise, beyond which there is
# structure; noise of a camera or a scanner may be a little correlated.
WHITE_ENOUGH = 1.1
SPREADS = 4.0
SIGNAL_BLOCKS = 16
# Standard deviations by which a block may exceed the highest of so many Gaussian ones:
# single photons are not Gaussian, least of all in small blocks.
BRIGHTEST = 2.0
SPOT_SIDE = 4
# A plane that fills this share of its channel's range is not empty.
LARGEST_RANGE = 0.5
RANGE_QUANTILES = (0.001, 0.999)
SAMPLED_PIXELS = 1_000_000
BAND_ROWS = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class NoiseModel:
    """Noise of variance ``gain * signal + offset``.

    Attributes
    ----------
    gain : variance per unit of signal (shot noise), in units of the intensity
    offset : variance without signal (read noise), in squared units of the intensity
    bands : standard deviation in four bands of rising spatial frequency, relative to
        white noise
    jpeg : steps to which a JPEG rounded blocks of the image, noise included, in units
        of the intensity; empty without
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

    def level(self, image: Tensor | NDArray[Any]) -> float:
        """Standard deviation at the mean signal of an image, normalised."""
        return self.sigma(min(1.0, max(0.0, float(image.mean()))))

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
        """Image (C, Y, X) after JPEG compression as this one's, if it was a JPEG."""
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
        # On a CPU, more than ten times as fast as a convolution of one channel.
        response = torch.fft.rfft2(kernel.to(image.device))
        shaped: Tensor = torch.fft.irfft2(torch.fft.rfft2(drawn) * response, s=size)
        return shaped


CLEAN = NoiseModel()


def _smooth(image: Tensor) -> Tensor:
    """Mean over 5 x 5 pixels: the signal level without the noise's own fluctuations."""
    import torch

    planes = image.reshape(-1, 1, *image.shape[-2:])
    padded = torch.nn.functional.pad(planes, (2, 2, 2, 2), mode="replicate")
    means: Tensor = torch.nn.functional.avg_pool2d(padded, 5, stride=1)
    return means.reshape(image.shape)


def is_noisy(level: float) -> bool:
    """Whether noise of this deviation at the mean signal must not be learned."""
    return level >= RECORRUPT_FROM


def recorrupt(
    image: Tensor, noise: NoiseModel, alpha: float, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Two images (..., Y, X) with independent noise from a noisy one.

    With n drawn from the model, the first gets alpha n more, the second n / alpha less;
    alpha 0 returns the image twice. Independent given the signal, for Gaussian noise
    (Pang, Zheng, Quan, Ji, "Recorrupted-to-Recorrupted", CVPR 2021).
    """
    if alpha == 0 or noise.is_clean:
        return image, image
    drawn = noise.draw(image, generator)
    return image + alpha * drawn, image - drawn / alpha


def unit_bands(strengths: Array) -> tuple[float, ...]:
    """Strengths of the four bands, scaled to noise of variance 1."""
    counts = np.array([mask.sum() for mask in BAND_MASKS])
    mean = (counts * strengths**2).sum() / counts.sum()
    return tuple(float(strength) for strength in strengths / np.sqrt(mean))


def with_bands(white: Array, bands: tuple[float, ...]) -> Array:
    """White noise (Y, X) given these bands, its variance kept; the borders periodic."""
    if bands == WHITE:
        return white
    size = (white.shape[0], white.shape[1])
    response = fft.rfft2(_wrapped_kernel(bands, size))
    return np.asarray(fft.irfft2(fft.rfft2(white) * response, s=size))


def _wrapped_kernel(bands: tuple[float, ...], size: tuple[int, int]) -> Array:
    """Kernel (Y, X) that gives white noise these bands, centred on the first pixel.

    Its squares sum to 1; the borders are periodic.
    """
    frequency = np.abs(np.fft.fftfreq(KERNEL_PX)) * 2 * BLOCK
    order = np.add.outer(frequency, frequency)
    centers = [(low + high) / 2 for low, high in BANDS]
    response = np.interp(order, centers, bands)
    kernel = np.fft.fftshift(np.real(np.fft.ifft2(response)))
    kernel = kernel / np.sqrt((kernel**2).sum())
    reach = np.arange(KERNEL_PX) - KERNEL_PX // 2
    wrapped = np.zeros(size)
    np.add.at(wrapped, np.ix_(reach % size[0], reach % size[1]), kernel)
    return wrapped


def noise_spectrum(bands: tuple[float, ...], size: tuple[int, int]) -> Array:
    """Power spectrum (Y, X) of noise of variance 1 with these bands; its mean is 1."""
    if bands == WHITE:
        return np.ones(size)
    return np.asarray(np.abs(np.fft.fft2(_wrapped_kernel(bands, size))) ** 2)


def estimate_noise(*planes: NDArray[Any]) -> NoiseModel:
    """Noise of planes (Y, X), normalised, that have it in common.

    `CLEAN` if the planes are too small or show nothing but texture.
    """
    large = [plane for plane in planes if min(plane.shape) >= 2 * BLOCK]
    if not large:
        return CLEAN
    blocks = [block_energies(np.asarray(plane)) for plane in large]
    means, energies = (np.concatenate(part) for part in zip(*blocks, strict=True))
    if len(means) < LEAST_BLOCKS:
        return CLEAN
    first = block_statistics(means, energies)
    only_rounding = first.variances.max() <= 2 * LEAST_VARIANCE
    if only_rounding or np.mean(first.texture < PURE) < LEAST_PURE:
        return CLEAN
    strengths = np.exp(dense_network(_layers(), first.features).astype(np.float64))
    # White if nearly so, or texture.
    is_white = np.abs(strengths - 1).max() < FLAT or strengths[-1] < SMOOTHEST
    bands = WHITE if is_white else unit_bands(strengths)
    # The finest band has the least texture, and determines the level of all the noise.
    gain, offset = _fit_line(first.signals, first.variances / bands[-1] ** 2)
    return NoiseModel(gain=gain, offset=offset, bands=bands)


def has_room_for_noise(plane: NDArray[Any]) -> bool:
    """Whether a plane (Y, X) has enough blocks for an estimate at every brightness."""
    rows, columns = (int(max(0, (n - BLOCK) // BLOCK_STEP + 1)) for n in plane.shape)
    return rows * columns >= ENOUGH_BLOCKS


def block_energies(plane: NDArray[Any]) -> tuple[Array, Array]:
    """Mean and energy in each band of blocks; shapes (blocks,), (blocks, 4)."""
    blocks = sliding_window_view(plane, (BLOCK, BLOCK))
    count = blocks.shape[0] * blocks.shape[1]
    step = max(BLOCK_STEP, math.ceil(math.sqrt(count / MAX_BLOCKS)))
    chosen = blocks[::step, ::step].reshape(-1, BLOCK, BLOCK).astype(np.float64)
    energy = fft.dctn(chosen, axes=(1, 2), norm="ortho") ** 2
    bands = np.stack([energy[:, mask].mean(axis=1) for mask in BAND_MASKS], axis=1)
    return chosen.mean(axis=(1, 2)), bands


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class BlockStatistics:
    """Statistics of an image's blocks, from which a network estimates the noise.

    Attributes
    ----------
    signals : mean intensity of bins of brightness
    variances : straight line through the energies of the quietest blocks of each bin
    texture : spread of the energies of the finest band, as a multiple of pure noise's
    features : energies in units of that line, the input of the network, (FEATURES,)
    """

    signals: Array
    variances: Array
    texture: Array
    features: NDArray[np.float32]


def block_statistics(means: Array, energies: Array) -> BlockStatistics:
    """Statistics of blocks from their means (blocks,) and energies (blocks, 4)."""
    order = np.argsort(means)
    bins = np.array_split(order, max(GROUPS, min(BINS, len(means) // LEAST_IN_BIN)))
    terms = int(BAND_MASKS[-1].sum())
    expected, usual = stats.chi2.ppf((QUIET, 0.5), terms) / terms
    signals = np.array([means[chosen].mean() for chosen in bins])
    quiet = np.array([np.quantile(energies[c, -1], QUIET) for c in bins]) / expected
    quiet = np.maximum(quiet, LEAST_VARIANCE)
    middle = np.array([np.median(energies[c, -1]) for c in bins]) / usual
    gain, offset = _fit_line(signals, quiet)
    variances = np.maximum(gain * signals + offset, LEAST_VARIANCE)
    each = np.maximum(gain * means + offset, LEAST_VARIANCE)
    relative = np.log(np.maximum(energies / each[:, None], 1e-6))
    halves = np.array_split(order, GROUPS)
    levels = [np.quantile(relative[half], QUANTILES, axis=0) for half in halves]
    positions = np.linspace(0, len(bins) - 1, BINS)
    bend = np.interp(positions, np.arange(len(bins)), np.log(quiet / variances))
    rise = math.log(variances[-1] / variances[0])
    features = np.concatenate(
        [np.ravel(levels) / 3, bend, [rise / 3, math.log10(len(means)) - 3]]
    )
    return BlockStatistics(
        signals=signals,
        variances=variances,
        texture=middle / quiet,
        features=features.astype(np.float32),
    )


def dense_network(layers: Layers, values: NDArray[Any]) -> NDArray[Any]:
    """Output of dense layers with ReLU between them."""
    *hidden, (last_weight, last_bias) = layers
    for weight, bias in hidden:
        values = np.maximum(values @ weight.T + bias, 0)
    return np.asarray(values @ last_weight.T + last_bias)


@cache
def loaded_arrays(path: Path) -> dict[str, NDArray[Any]]:
    """All arrays of an ``.npz`` file."""
    with np.load(path, allow_pickle=False) as file:
        return dict(file)


@cache
def _layers() -> Layers:
    arrays = {k: v.astype(np.float32) for k, v in loaded_arrays(WEIGHTS).items()}
    return [(arrays[f"weight{n}"], arrays[f"bias{n}"]) for n in range(len(arrays) // 2)]


def _fit_line(signals: Array, variances: Array) -> tuple[float, float]:
    """Gain and offset of variance = gain * signal + offset; never below 0 in between.

    Weighted by the inverse variances, since errors are relative.
    """
    weight = 1 / variances
    if np.ptp(signals) <= 1e-9:
        return 0.0, float(np.exp(np.log(variances).mean()))
    gain, offset = np.polyfit(signals, variances, 1, w=weight)
    if gain < 0:
        return 0.0, float(np.average(variances, weights=weight))
    darkest = signals.min()
    if gain * darkest + offset < 0:
        distance = signals - darkest
        slope = (weight**2 * variances * distance).sum() / (
            (weight * distance) ** 2
        ).sum()
        return float(slope), float(-slope * darkest)
    return float(gain), float(offset)


def shows_signal(plane: NDArray[Any]) -> bool:
    """Whether a plane (C, Y, X) holds more than an offset and its noise.

    Intensities are 0..1 over the range of the channel in the whole stack. False only if
    all samples are certainly noise: a dim plane shows signal.
    """
    return any(_shows_signal(sample) for sample in plane)


def _shows_signal(plane: NDArray[Any]) -> bool:
    step = max(1, math.isqrt(plane.size // SAMPLED_PIXELS))
    low, high = np.quantile(plane[::step, ::step], RANGE_QUANTILES)
    if high - low > LARGEST_RANGE:
        return True
    # A few rows at a time: a plane may be a gigabyte.
    mean = plane.mean(dtype=np.float64)
    bands = (plane[n : n + BAND_ROWS] - mean for n in range(0, len(plane), BAND_ROWS))
    variance = sum(float((band**2).sum()) for band in bands) / plane.size
    if variance == 0:
        return False
    for side in SIDES:
        means = _block_means(plane, side)
        if means.size < SIGNAL_BLOCKS:
            # Nothing can be concluded from fewer than three sizes of blocks.
            return SIDES.index(side) < len(SIDES) - 1
        limit = WHITE_ENOUGH + SPREADS * math.sqrt(2 / means.size)
        if float(means.var()) > variance / side**2 * limit:
            return True
        if side >= SPOT_SIDE and _has_spot(means):
            return True
    return False


def _has_spot(means: Array) -> bool:
    usual = math.sqrt(2 * math.log(means.size))
    above = float(means.max() - np.median(means)) / max(float(means.std()), 1e-300)
    return above > usual + BRIGHTEST


def _block_means(plane: NDArray[Any], side: int) -> Array:
    rows, columns = (n // side for n in plane.shape)
    blocks = plane[: rows * side, : columns * side].reshape(rows, side, columns, side)
    return np.asarray(blocks.mean((1, 3), dtype=np.float64))
