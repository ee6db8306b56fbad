"""Volumes that are as sharp along Z as across: generated ones, and FIB-SEM."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from scipy.spatial import cKDTree

from napari_zssr.imaging.axial_blur import AxialBlur
from napari_zssr.imaging.degrade import degrade_array

Volume = NDArray[np.float32]
# Lateral blur of the generated ones, pixels.
SIGMA_PX = 1.1
STEP_PX, STEPS, BEND = 0.4, 900, 0.045
RANGE = (0.05, 99.95)


def generated(kind: str, shape: tuple[int, int, int], seed: int) -> Volume:
    """A volume of "filaments", "nuclei" or "membranes", 0 to about 1."""
    rng = np.random.default_rng(seed)
    objects = {"filaments": _filaments, "nuclei": _nuclei, "membranes": _membranes}
    return normalised(gaussian_filter(objects[kind](shape, rng), SIGMA_PX))


def fib_sem(path: Path, shape: tuple[int, int, int], first: int) -> Volume:
    """A part of an isotropic stack, from its plane `first`."""
    pixels = tifffile.imread(path)
    top, left = ((n - m) // 2 for n, m in zip(pixels.shape[1:], shape[1:], strict=True))
    part = pixels[
        first : first + shape[0], top : top + shape[1], left : left + shape[2]
    ]
    return normalised(part.astype(np.float32))


def normalised(volume: NDArray[Any]) -> Volume:
    """Almost all values from 0 to 1, the brightest cut."""
    low, high = np.percentile(volume, RANGE)
    scaled = (volume - low) / (high - low)
    return np.asarray(scaled.clip(-0.2, 1.3), np.float32)


def thinned(volume: Volume, factor: float, width: float, photons: int) -> Volume:
    """Slices as a microscope records them; `width` in slices, 0 photons: no noise."""
    sections = np.ascontiguousarray(volume.transpose(1, 0, 2))
    kernel = AxialBlur(width=width).kernel(factor)
    slices = degrade_array(sections, kernel, (factor, 1.0)).transpose(1, 0, 2)
    if photons:
        rng = np.random.default_rng(1)
        counts = rng.poisson(slices.clip(0) * photons) + rng.normal(
            0, 1.5, slices.shape
        )
        slices = counts / photons
    return np.ascontiguousarray(slices, dtype=np.float32)


def _filaments(shape: tuple[int, int, int], rng: np.random.Generator) -> Volume:
    """Worm-like chains in all directions."""
    volume = np.zeros(shape, np.float32)
    for _ in range(round(np.prod(shape) / 31_000)):
        middle, brightness = rng.uniform(0, 1, 3) * shape, rng.uniform(0.4, 1.5)
        for sign in (1, -1):
            turns = BEND * rng.normal(size=(STEPS, 3)).cumsum(axis=0)
            direction = sign * _unit(rng.normal(size=3)) + turns
            points = middle + STEP_PX * _unit(direction).cumsum(axis=0)
            index = np.round(points).astype(int)
            inside = ((index >= 0) & (index < shape)).all(axis=1)
            np.add.at(volume, tuple(index[inside].T), brightness)
    return volume


def _nuclei(shape: tuple[int, int, int], rng: np.random.Generator) -> Volume:
    """Textured ellipsoids with dark nucleoli."""
    grid = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), axis=-1)
    texture = 0.35 * _unit_noise(shape, 2, rng) + 0.25 * _unit_noise(shape, 0.9, rng)
    volume = np.zeros(shape, np.float32)
    for _ in range(round(np.prod(shape) / 57_000)):
        centre = rng.uniform(0, 1, 3) * shape
        axes, _ = np.linalg.qr(rng.normal(size=(3, 3)))
        radii = rng.uniform(11, 17) * rng.uniform(0.75, 1.2, 3)
        distance = np.linalg.norm((grid - centre) @ axes / radii, axis=-1)
        inside = (1 + texture).clip(0.1) * rng.uniform(0.6, 1.3)
        for _ in range(rng.integers(1, 4)):
            hole = centre + 0.35 * radii.mean() * rng.normal(size=3)
            near = np.linalg.norm(grid - hole, axis=-1) < rng.uniform(2.5, 4.5)
            inside = np.where(near, 0.25 * inside, inside)
        volume = np.where(distance < 1, inside, volume)
    return volume.astype(np.float32)


def _membranes(shape: tuple[int, int, int], rng: np.random.Generator) -> Volume:
    """Walls between cells that are bent at random, and vesicles."""
    centres = rng.uniform(-0.1, 1.1, (round(np.prod(shape) / 14_600), 3)) * shape
    grid = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), axis=-1)
    bends = np.stack([3 * _unit_noise(shape, 6, rng) for _ in range(3)], axis=-1)
    distance, _ = cKDTree(centres).query((grid + bends).reshape(-1, 3), k=2)
    gap = (distance[:, 1] - distance[:, 0]).reshape(shape)
    vesicles = np.zeros(shape, np.float32)
    index = (rng.uniform(0, 1, (round(np.prod(shape) / 9_000), 3)) * shape).astype(int)
    vesicles[tuple(index.T)] = rng.uniform(6, 25, len(index))
    walls = np.exp(-((gap / 1.2) ** 2))
    return np.asarray(walls + gaussian_filter(vesicles, 1.2), np.float32)


def _unit(vectors: NDArray[Any]) -> NDArray[Any]:
    return np.asarray(vectors / np.linalg.norm(vectors, axis=-1, keepdims=True))


def _unit_noise(
    shape: tuple[int, int, int], sigma: float, rng: np.random.Generator
) -> NDArray[Any]:
    """Smooth noise of standard deviation 1."""
    smooth = gaussian_filter(rng.normal(size=shape), sigma)
    return np.asarray(smooth / smooth.std())
