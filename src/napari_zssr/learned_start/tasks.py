"""Tasks to learn from: generated scenes, and ways in which images are degraded."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from napari_zssr.learned_start.microscope import microscope_scene
from napari_zssr.learned_start.photographs import photograph
from napari_zssr.zssr.learned import array_features, bicubic_kernel

Array = NDArray[np.float64]
Draw = np.random.Generator

SIDE = 192
# How often each number of colours and ratio is drawn: x2 is what is trained further.
SHARES = {(1, 2): 0.42, (3, 2): 0.42} | dict.fromkeys(
    [(1, 3), (3, 3), (1, 4), (3, 4)], 0.04
)
# Side of the sons' crops by ratio, chosen so that their fathers fit into a scene.
CROPS = {2: 32, 3: 32, 4: 24}
# Shares of the ways to blur.
WAYS = {"bicubic": 0.45, "gaussian": 0.35, "sharp": 0.08, "blurred bicubic": 0.12}
MICROSCOPE = 0.3
NOISY = 0.4
LOWEST_NOISE, LARGEST_NOISE = 0.0005, 0.006
ROUNDED = 0.6
LEVELS = 255
FIRST_SCENES = 64
# Parts of a scene that show next to nothing are drawn anew.
FLAT, TRIES = 0.02, 4
FADED = 0.5


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Way:
    """How a son is made from its father.

    Attributes
    ----------
    kernel : ndarray, shape (taps, taps), sum 1
        Blur on the fine grid, its middle the middle of a son's pixel.
    sigma : float
        Standard deviation of the noise.
    rounded : bool
        Whether the son is rounded to 8 bits.
    """

    kernel: Array
    sigma: float
    rounded: bool


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Batch:
    """Pairs of one ratio and number of colours.

    Attributes
    ----------
    sons : Tensor, shape (B, C, y, x)
    fathers : Tensor, shape (B, C, Y, X)
    told : Tensor, shape (B, 6)
        What the network is told of each.
    ratio : int
    """

    sons: Tensor
    fathers: Tensor
    told: Tensor
    ratio: int


class Bank:
    """Generated scenes, each from its own seed, drawn when they are first wanted.

    Parameters
    ----------
    count : int
        Scenes in the end.
    seed : int
    """

    def __init__(self, count: int, seed: int) -> None:
        self.seed = seed
        self._made = torch.empty(count, 3, SIDE, SIDE, dtype=torch.float16)
        self._drawn = 0

    def after(self, step: int) -> Tensor:
        """Scenes that a step may use: one more with every step.

        Returns
        -------
        Tensor, shape (scenes, 3, 192, 192), float16
        """
        wanted = min(len(self._made), FIRST_SCENES + step)
        for number in range(self._drawn, wanted):
            self._made[number] = torch.from_numpy(scene((self.seed, number)))
        self._drawn = max(self._drawn, wanted)
        return self._made[:wanted]


def scene(seed: tuple[int, int]) -> NDArray[np.float32]:
    """One scene, (3, 192, 192)."""
    draw = np.random.default_rng(seed)
    if draw.random() >= MICROSCOPE:
        return photograph(draw, SIDE)
    grey = microscope_scene(draw, SIDE)
    stain = draw.uniform(0.2, 1, 3) if draw.random() < 0.5 else np.ones(3)
    tinted: NDArray[np.float32] = (grey * stain[:, None, None]).astype(np.float32)
    return tinted


def taps(ratio: int) -> int:
    """Side of the kernels: even for even ratios."""
    return 8 * ratio + ratio % 2


def reduction_kernel(ratio: int) -> Array:
    """Antialiased bicubic reduction as a blur, (taps, taps)."""
    made: Array = np.pad(bicubic_kernel(ratio), 2 * ratio)
    return made


def gaussian_kernel(covariance: Array, ratio: int) -> Array:
    """Gaussian of a covariance (Y, X) in square fine pixels, (taps, taps)."""
    place = _places(ratio)
    grid = np.stack(np.meshgrid(place, place, indexing="ij"))
    inverse = np.linalg.inv(covariance + 1e-3 * np.eye(2))
    weights = np.exp(-np.einsum("iyx,ij,jyx->yx", grid, inverse, grid) / 2)
    made: Array = weights / weights.sum()
    return made


def random_way(draw: Draw, ratio: int) -> Way:
    """One blur and noise by chance."""
    way = str(draw.choice(list(WAYS), p=list(WAYS.values())))
    if way == "bicubic":
        kernel = reduction_kernel(ratio)
    elif way == "gaussian":
        kernel = gaussian_kernel(_covariance(draw, ratio**2), ratio)
    elif way == "sharp":
        kernel = gaussian_kernel(_covariance(draw, 0.1 * ratio**2), ratio)
    else:
        blur = gaussian_kernel(_covariance(draw, 0.5 * ratio**2), ratio)
        kernel = _convolved(blur, reduction_kernel(ratio))
    noisy = draw.random() < NOISY
    span = math.log(LARGEST_NOISE / LOWEST_NOISE)
    sigma = LOWEST_NOISE * math.exp(draw.uniform(0, span)) if noisy else 0.0
    return Way(kernel=kernel, sigma=sigma, rounded=draw.random() < ROUNDED)


def draw_batch(bank: Tensor, draw: Draw, size: int) -> Batch:
    """Crops of random scenes, degraded each in its own way, of one kind.

    Parameters
    ----------
    bank : Tensor, shape (scenes, 3, 192, 192)
    draw : numpy.random.Generator
    size : int
    """
    kinds = list(SHARES)
    colours, ratio = kinds[draw.choice(len(kinds), p=list(SHARES.values()))]
    side = CROPS[ratio] * ratio + taps(ratio) - ratio
    ways = [random_way(draw, ratio) for _ in range(size)]
    patches = torch.stack([whole_patch(bank, draw, side, colours) for _ in range(size)])
    return degraded(patches, ways, ratio, draw)


def degraded(patches: Tensor, ways: list[Way], ratio: int, draw: Draw) -> Batch:
    """Pairs of fine patches, (B, C, Y, X).

    What the kernels cannot see past is cut off the fathers.
    """
    size, colours = patches.shape[:2]
    kernels = torch.from_numpy(np.stack([way.kernel for way in ways])).float()
    weights = kernels.repeat_interleave(colours, 0)[:, None]
    flat = patches.reshape(1, size * colours, *patches.shape[2:])
    sons = torch.conv2d(flat, weights, stride=ratio, groups=size * colours)
    sons = sons.reshape(size, colours, *sons.shape[2:])
    sigma = torch.tensor([way.sigma for way in ways])[:, None, None, None]
    noise = draw.standard_normal(sons.shape, dtype=np.float32)
    sons = sons + sigma * torch.from_numpy(noise)
    rounded = torch.tensor([way.rounded for way in ways])[:, None, None, None]
    sons = torch.where(rounded, (sons * LEVELS).round() / LEVELS, sons)
    cut = (taps(ratio) - ratio) // 2
    height, width = (n * ratio for n in sons.shape[2:])
    told = [array_features(way.kernel, ratio, way.sigma) for way in ways]
    return Batch(
        sons=sons,
        fathers=patches[..., cut : cut + height, cut : cut + width],
        told=torch.from_numpy(np.stack(told)),
        ratio=ratio,
    )


def whole_patch(bank: Tensor, draw: Draw, side: int, colours: int) -> Tensor:
    """Part of a scene, turned, and of weaker contrast now and then; (C, side, side)."""
    for _ in range(TRIES):
        number = int(draw.integers(len(bank)))
        top, left = draw.integers(0, bank.shape[-1] - side + 1, 2)
        patch = bank[number, :, top : top + side, left : left + side].float()
        if patch.std() > FLAT:
            break
    if colours == 1:
        mix = torch.from_numpy(draw.dirichlet((1, 1, 1)).astype(np.float32))
        patch = (patch * mix[:, None, None]).sum(0, keepdim=True)
    if draw.random() < 0.5:
        patch = patch.transpose(1, 2)
    turned = [axis for axis in (1, 2) if draw.random() < 0.5]
    patch = patch.flip(turned) if turned else patch
    if draw.random() < FADED:
        contrast = 10 ** draw.uniform(-0.7, 0)
        patch = patch * contrast + draw.uniform(0, 1 - contrast)
    return patch


def _covariance(draw: Draw, largest: float) -> Array:
    """Of a Gaussian turned anyhow: eigenvalues from 0 to `largest`."""
    turn = draw.uniform(0, math.pi)
    axes = np.array(
        [[math.cos(turn), -math.sin(turn)], [math.sin(turn), math.cos(turn)]]
    )
    spread = draw.uniform(0, largest, 2)
    if draw.random() < 0.25:
        spread[:] = spread[0]
    made: Array = axes @ np.diag(spread) @ axes.T
    return made


def _places(ratio: int) -> Array:
    """Of a kernel's weights along one axis, fine pixels from its middle."""
    places: Array = np.arange(taps(ratio), dtype=np.float64) - (taps(ratio) - 1) / 2
    return places


def _convolved(one: Array, other: Array) -> Array:
    """Convolution of two centred kernels, cut to their size.

    For even sides it would lie between the pixels, so that it is taken as of spectra
    about the middle.
    """
    side = len(one)
    place = np.arange(side) - (side - 1) / 2
    waves = np.exp(-2j * np.pi * np.outer(np.fft.fftfreq(2 * side), place))
    product = (waves @ one @ waves.T) * (waves @ other @ waves.T)
    back = waves.conj().T / (2 * side)
    made = (back @ product @ back.T).real
    whole: Array = made / made.sum()
    return whole
