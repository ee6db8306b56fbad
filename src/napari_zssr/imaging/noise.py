"""Poisson-Gaussian noise: its model and recorruption.

Bands of unequal strength mean spatially correlated noise.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from scipy import fft, stats

from napari_zssr.checks import CameraNoise
from napari_zssr.imaging.artifacts import Steps, as_jpeg

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


def is_noisy(level: float) -> bool:
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


WEIGHTS = Path(str(resources.files("napari_zssr"))) / "data" / "noise.npz"
BLOCK_STEP = 4
# Bins of brightness through whose quietest blocks a first straight line is laid.
BINS, LEAST_IN_BIN = 12, 10
QUIET = 0.1
# Dark and bright half of the blocks, and quantiles of their energies.
GROUPS = 2
QUANTILES = (0.03, 0.1, 0.25, 0.5, 0.8)
MAX_BLOCKS = 40_000
# Planes with fewer blocks tell nothing; so many tell noise of a plane alone.
LEAST_BLOCKS, ENOUGH_BLOCKS = 40, 240
# Variance of normalised intensities below which all is rounding.
LEAST_VARIANCE = 1e-8
FEATURES = GROUPS * len(BANDS) * len(QUANTILES) + BINS + 2
# Median over low quantile of the energies of the finest band, as a multiple of what
# pure noise gives, and share of the bins that must stay below it.
PURE, LEAST_PURE = 1.2, 0.25
# Largest deviation of a band from white noise that is taken for white.
FLAT = 0.12
# Strength of the finest band below which all is texture: no noise is so smooth.
SMOOTHEST = 0.3


def estimate_noise(*planes: NDArray[Any]) -> NoiseModel:
    """Noise of one plane, or of several that have it in common.

    Parameters
    ----------
    *planes : ndarray, shape (Y, X)
        Normalised intensities.

    Returns
    -------
    NoiseModel
        `CLEAN` where the planes are too small or only texture is seen.
    """
    large = [plane for plane in planes if min(plane.shape) >= 2 * BLOCK]
    if not large:
        return CLEAN
    blocks = [block_energies(np.asarray(plane)) for plane in large]
    means, energies = (np.concatenate(part) for part in zip(*blocks, strict=True))
    if len(means) < LEAST_BLOCKS:
        return CLEAN
    first = first_look(means, energies)
    unseen = first.variances.max() <= 2 * LEAST_VARIANCE
    if unseen or np.mean(first.texture < PURE) < LEAST_PURE:
        return CLEAN
    bands = _normalised(np.exp(_network()(first.features)))
    # The finest band has the least texture, and tells how strong all of the noise is.
    gain, offset = _fit_line(first.signals, first.variances / bands[-1] ** 2)
    return NoiseModel(gain=gain, offset=offset, bands=bands)


def has_room_for_noise(plane: NDArray[Any]) -> bool:
    """Whether a plane (Y, X) has blocks enough to tell noise at every brightness."""
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
class FirstLook:
    """What the blocks of an image tell without anything learned.

    Attributes
    ----------
    signals, variances : ndarray, shape (bins,)
        Mean intensity of bins of brightness, and a straight line through the energies
        of their quietest blocks.
    texture : ndarray, shape (bins,)
        How far the energies of the finest band are spread, as a multiple of what
        noise alone spreads them.
    features : ndarray, shape (FEATURES,), float32
        Energies in units of that line, as the network sees them.
    """

    signals: Array
    variances: Array
    texture: Array
    features: NDArray[np.float32]


def first_look(means: Array, energies: Array) -> FirstLook:
    """What blocks of these means and energies tell, shapes (blocks,), (blocks, 4)."""
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
    places = np.linspace(0, len(bins) - 1, BINS)
    bend = np.interp(places, np.arange(len(bins)), np.log(quiet / variances))
    rise = math.log(variances[-1] / variances[0])
    features = np.concatenate(
        [np.ravel(levels) / 3, bend, [rise / 3, math.log10(len(means)) - 3]]
    )
    return FirstLook(
        signals=signals,
        variances=variances,
        texture=middle / quiet,
        features=features.astype(np.float32),
    )


class _Network:
    """Three dense layers, as plain arrays."""

    def __init__(self, arrays: dict[str, NDArray[np.float32]]) -> None:
        self._arrays = arrays
        self._layers = len([name for name in arrays if name.startswith("weight")])

    def __call__(self, features: NDArray[np.float32]) -> Array:
        values = features
        for number in range(self._layers):
            weight, bias = (self._arrays[f"{n}{number}"] for n in ("weight", "bias"))
            values = values @ weight.T + bias
            if number < self._layers - 1:
                values = np.maximum(values, 0)
        return values.astype(np.float64)


@lru_cache(maxsize=1)
def _network() -> _Network:
    with np.load(WEIGHTS) as file:
        return _Network({name: file[name].astype(np.float32) for name in file.files})


def _normalised(bands: Array) -> tuple[float, ...]:
    """Bands of mean square 1, white where they are nearly so or texture."""
    if np.abs(bands - 1).max() < FLAT or bands[-1] < SMOOTHEST:
        return WHITE
    return unit_bands(bands)


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


SIDES = (2, 4, 8, 16)
# Variance of block means, as a multiple of what white noise gives, beyond which there
# is structure; noise of a camera or a scanner may be a little correlated.
WHITE_ENOUGH = 1.1
SPREADS = 4.0
SIGNAL_BLOCKS = 16
# Spreads by which a block may exceed the highest of so many Gaussian ones: single
# photons are no Gaussian, least of all in small blocks.
BRIGHTEST = 2.0
SPOT_SIDE = 4
# A plane that fills this share of its channel's range is no empty one.
LARGEST_RANGE = 0.5
RANGE_QUANTILES = (0.001, 0.999)
SAMPLED_PIXELS = 1_000_000
BAND_ROWS = 256


def shows_signal(plane: NDArray[Any]) -> bool:
    """Whether there is more in a plane than an offset and its noise.

    Parameters
    ----------
    plane : ndarray, shape (C, Y, X)
        Intensities in which the range of the plane's channel, over the whole stack,
        is 0..1.

    Returns
    -------
    bool
        False only where all samples are sure to be noise: a dim plane shows signal.
    """
    return any(_shows_signal(sample) for sample in plane)


def _shows_signal(plane: NDArray[Any]) -> bool:
    step = max(1, math.isqrt(plane.size // SAMPLED_PIXELS))
    low, high = np.quantile(plane[::step, ::step], RANGE_QUANTILES)
    if high - low > LARGEST_RANGE:
        return True
    variance = _variance(plane)
    if variance == 0:
        return False
    judged = 0
    for side in SIDES:
        means = _block_means(plane, side)
        if means.size < SIGNAL_BLOCKS:
            break
        judged += 1
        if _structured(means, variance / side**2):
            return True
        if side >= SPOT_SIDE and _has_spot(means):
            return True
    # Too small to tell.
    return judged < len(SIDES) - 1


def _variance(plane: NDArray[Any]) -> float:
    """Variance, a few rows at a time: a plane may be a gigabyte."""
    mean = plane.mean(dtype=np.float64)
    bands = (plane[n : n + BAND_ROWS] - mean for n in range(0, len(plane), BAND_ROWS))
    return sum(float((band**2).sum()) for band in bands) / plane.size


def _structured(means: NDArray[np.float64], expected: float) -> bool:
    spread = math.sqrt(2 / means.size)
    return float(means.var()) > expected * (WHITE_ENOUGH + SPREADS * spread)


def _has_spot(means: NDArray[np.float64]) -> bool:
    usual = math.sqrt(2 * math.log(means.size))
    above = float(means.max() - np.median(means)) / max(float(means.std()), 1e-300)
    return above > usual + BRIGHTEST


def _block_means(plane: NDArray[Any], side: int) -> NDArray[np.float64]:
    rows, columns = (n // side for n in plane.shape)
    whole = plane[: rows * side, : columns * side]
    blocks = whole.reshape(rows, side, columns, side)
    means: NDArray[np.float64] = blocks.mean((1, 3), dtype=np.float64)
    return means
