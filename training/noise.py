"""Noise of the generated pairs, as detectors, scanners and file formats make it."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import signal

from napari_zssr.imaging.artifacts import STANDARD, as_jpeg
from napari_zssr.imaging.noise import (
    BAND_MASKS,
    BLOCK,
    CLEAN,
    WHITE,
    NoiseModel,
    unit_bands,
)
from training.blur import reduction_kernel

Array = NDArray[np.float32]
Draw = np.random.Generator

# Standard deviation at the mean signal, log-uniform.
LOWEST, LARGEST = 0.002, 0.25
# Shares of pure shot noise and of pure read noise; between them any mixture.
SHOT_ONLY, READ_ONLY = 0.3, 0.1
BLACK_LEVEL = 0.6
# Shares of noise that was reduced with the image, and that was smoothed.
REDUCED, SMOOTHED = 0.2, 0.3
ALONG_LINES = 0.2
SPECKLE, OFFSETS, HOT_PIXELS = 0.05, 0.04, 0.03
SATURATED, ROUNDED = 0.4, 0.5
LEVELS = 255
JPEG, QUALITY = 0.06, (25, 90)
# Errors of an estimate: of the deviation as a whole, of the read noise beside, and
# how often the correlation is not seen, or texture is taken for it.
ERROR, READ_ERROR = 0.15, 0.08
UNSEEN, MISTAKEN = 0.2, 0.1
# How often texture of a clean image is taken for weak noise.
TEXTURE, TEXTURE_NOISE = 0.15, (0.0008, 0.004)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Corruption:
    """A noisy plane and its noise.

    Attributes
    ----------
    plane : ndarray, shape (C, Y, X)
    noise : NoiseModel
        As it is, not as it would be estimated.
    """

    plane: Array
    noise: NoiseModel


def corrupted(plane: Array, draw: Draw, clean: float = 0.2) -> Corruption:
    """Give a clean plane some noise, or none.

    Parameters
    ----------
    plane : ndarray, shape (C, Y, X), float32
        From 0 to 1.
    draw : numpy.random.Generator
    clean : float
        How often there is none.
    """
    made = Corruption(plane=plane, noise=CLEAN)
    if draw.random() >= clean:
        made = _noisy(plane, draw)
    values = made.plane
    if draw.random() < HOT_PIXELS:
        values = _with_hot_pixels(values, draw)
    if draw.random() < SATURATED:
        values = values.clip(0, 1)
    if draw.random() < ROUNDED:
        values = _rounded(values)
        if draw.random() < JPEG / ROUNDED:
            return _as_jpeg(values.clip(0, 1), made.noise, draw)
    return replace(made, plane=values.astype(np.float32))


def estimated(noise: NoiseModel, draw: Draw) -> NoiseModel:
    """A noise model with the errors that an estimate has."""
    if noise.is_clean:
        if draw.random() >= TEXTURE:
            return noise
        sigma = math.exp(draw.uniform(*np.log(TEXTURE_NOISE)))
        return replace(noise, offset=sigma**2)
    error = math.exp(2 * ERROR * draw.standard_normal())
    read_error = math.exp(2 * READ_ERROR * draw.standard_normal())
    chance = draw.random()
    bands = tuple(1 + (b - 1) * draw.uniform(0.6, 1.2) for b in noise.bands)
    if chance < UNSEEN:
        bands = WHITE
    elif chance < UNSEEN + MISTAKEN:
        steep = np.sort(draw.uniform(0.6, 1.4, 4))[::-1]
        bands = tuple(float(b) for b in steep)
    return replace(
        noise,
        gain=noise.gain * error,
        offset=noise.offset * error * read_error,
        bands=bands,
    )


def _noisy(plane: Array, draw: Draw) -> Corruption:
    """Poisson-Gaussian noise, white or correlated."""
    mean, lowest = float(plane.mean()), float(plane.min())
    sigma = math.exp(draw.uniform(math.log(LOWEST), math.log(LARGEST)))
    chance, share = draw.random(), draw.uniform(0, 1)
    if chance < SHOT_ONLY + READ_ONLY:
        share = float(chance < SHOT_ONLY)
    black = lowest * draw.uniform(0, 1) if draw.random() < BLACK_LEVEL else 0.0
    gain = share * sigma**2 / max(mean - black, 0.02)
    read = (1 - share) * sigma**2
    if draw.random() < SPECKLE:
        unit = draw.standard_normal(plane.shape, dtype=np.float32)
        values = plane * (1 + sigma * unit)
        # The straight line through the square is what an estimate finds.
        return Corruption(plane=values, noise=NoiseModel(gain=mean * sigma**2))
    light = np.maximum(plane - black, 0)
    correlated, bands = _correlated(plane.shape, draw)
    if correlated is None:
        values = _detected(light, gain, read, draw) + black
    else:
        values = plane + np.sqrt(gain * light + read) * correlated
    if draw.random() < OFFSETS:
        values = values + draw.uniform(0.2, 0.8) * sigma * _row_offsets(plane, draw)
    noise = NoiseModel(gain=gain, offset=read - gain * black, bands=bands)
    return Corruption(plane=values.astype(np.float32), noise=noise)


def _detected(light: Array, gain: float, read: float, draw: Draw) -> Array:
    """Counted photons and read noise."""
    unit = draw.standard_normal(light.shape, dtype=np.float32)
    if gain > 1e-4:
        counted = gain * draw.poisson(light / gain).astype(np.float32)
        return counted + math.sqrt(read) * unit
    noisy: Array = light + np.sqrt(gain * light + read) * unit
    return noisy


def _correlated(
    shape: tuple[int, ...], draw: Draw
) -> tuple[Array | None, tuple[float, ...]]:
    """Correlated noise of variance 1 with its bands; None for white noise."""
    chance = draw.random()
    if chance >= REDUCED + SMOOTHED:
        return None, WHITE
    if chance < REDUCED:
        kernel, step = reduction_kernel((2, 2)), 2
        bands = _reduced_bands()
    else:
        kernel, step = _smoothing_kernel(draw), 1
        power = np.abs(np.fft.fft2(kernel, (2 * BLOCK, 2 * BLOCK))) ** 2
        bands = band_strengths(power[:BLOCK, :BLOCK])
    kernel = kernel / np.sqrt((kernel**2).sum())
    sides = [step * n + len(kernel) - step for n in shape[1:]]
    white = draw.standard_normal((shape[0], *sides), dtype=np.float32)
    unit = torch.conv2d(
        torch.from_numpy(white)[:, None],
        torch.from_numpy(kernel).float()[None, None],
        stride=step,
    )
    made: Array = unit[:, 0].numpy()
    return made, bands


def _smoothing_kernel(draw: Draw) -> NDArray[np.float64]:
    """What a camera, a scanner or a registration smooths with."""
    wide = math.exp(draw.uniform(math.log(0.3), math.log(1.3)))
    sigma = wide * np.exp(draw.normal(0, 0.15, 2))
    if draw.random() < ALONG_LINES:
        sigma[0] = 0.15
    reach = np.arange(-4, 5)
    y, x = (np.exp(-(reach**2) / (2 * s**2)) for s in sigma)
    kernel: NDArray[np.float64] = np.outer(y, x)
    return kernel


@cache
def _reduced_bands() -> tuple[float, ...]:
    """Bands of white noise that went through bicubic reduction by 2."""
    kernel = reduction_kernel((2, 2))
    correlation = signal.convolve2d(kernel, kernel[::-1, ::-1])
    # Noise of every second pixel keeps every second correlation.
    middle = len(correlation) // 2
    kept = correlation[middle % 2 :: 2, middle % 2 :: 2]
    power = np.abs(np.fft.fft2(kept, (2 * BLOCK, 2 * BLOCK)))
    return band_strengths(power[:BLOCK, :BLOCK])


def _row_offsets(plane: Array, draw: Draw) -> Array:
    """Offsets of all rows, or of all columns, of deviation 1."""
    _, height, width = plane.shape
    shape = (1, height, 1) if draw.random() < 0.7 else (1, 1, width)
    offsets: Array = draw.standard_normal(shape, dtype=np.float32)
    return offsets


def _with_hot_pixels(values: Array, draw: Draw) -> Array:
    """A few pixels that are far too bright."""
    hot = draw.random(values.shape[1:]) < math.exp(draw.uniform(-9, -5.5))
    height = draw.uniform(0.2, 1) * float(np.ptp(values) + 0.1)
    spiked: Array = (values + height * hot).astype(np.float32)
    return spiked


def _as_jpeg(values: Array, noise: NoiseModel, draw: Draw) -> Corruption:
    """Written as JPEG, its blocks anywhere, and read again."""
    quality = draw.uniform(*QUALITY)
    scale = 50 / quality if quality < 50 else 2 - quality / 50
    table = np.maximum(1, np.round(np.array(STANDARD) * scale)) / LEVELS
    steps = tuple(float(step) for step in table.ravel())
    top, left = (int(n) for n in draw.integers(0, BLOCK, 2))
    padded = np.pad(values, ((0, 0), (top, 0), (left, 0)), mode="edge")
    stored = as_jpeg(torch.from_numpy(padded), steps).numpy()[:, top:, left:]
    rounded = _rounded(stored.clip(0, 1))
    return Corruption(plane=rounded, noise=replace(noise, jpeg=steps))


def _rounded(values: Array) -> Array:
    """To 8 bits."""
    rounded: Array = (np.round(values * LEVELS) / LEVELS).astype(np.float32)
    return rounded


def band_strengths(power: NDArray[np.float64]) -> tuple[float, ...]:
    """`NoiseModel.bands` of noise with a power spectrum (8, 8).

    Power is given at multiples of 1/16 cycle per pixel along (Y, X), from 0 up.
    """
    return unit_bands(np.sqrt([power[mask].mean() for mask in BAND_MASKS]))
