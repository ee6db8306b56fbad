"""Pairs to learn from: generated scenes, degraded each in its own way."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from napari_zssr.zssr.pretrained import Ratio, array_features
from training.blur import random_kernel, taps
from training.noise import Corruption, corrupted, estimated
from training.scenes import random_crop

Draw = np.random.Generator

# How often each number of colours and ratio is drawn: x2 is what is trained further.
SHARES: dict[tuple[int, Ratio], float] = {
    (1, (2, 2)): 0.6,
    (3, (2, 2)): 0.18,
    (1, (1, 1)): 0.06,
    (3, (1, 1)): 0.02,
    (1, (2, 1)): 0.05,
    (1, (3, 1)): 0.045,
    (1, (4, 1)): 0.045,
}
# How often a son has no noise; x2 has a network of its own for that.
CLEAN_SHARE, CLEAN_SHARE_X2 = 0.2, 0.02
# Sons' crops, pixels along (Y, X).
CROPS: dict[Ratio, tuple[int, int]] = {
    (1, 1): (48, 48),
    (2, 2): (40, 40),
    (2, 1): (40, 48),
    (3, 1): (32, 48),
    (4, 1): (32, 48),
}
# How often intensities are scaled as the quantiles of a plane would scale them.
SCALED = 0.6
QUANTILES = (0.002, 0.998)
SMALLEST_RANGE = 0.05


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Batch:
    """Pairs of one ratio and number of colours.

    Attributes
    ----------
    sons : Tensor, shape (B, C, y, x)
    fathers : Tensor, shape (B, C, Y, X)
    features : Tensor, shape (B, FEATURES)
        Blur, ratio and estimated noise of each.
    ratio : tuple of int
    """

    sons: Tensor
    fathers: Tensor
    features: Tensor
    ratio: Ratio


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
    sides = [
        c * r + t - r for c, r, t in zip(CROPS[ratio], ratio, taps(ratio), strict=True)
    ]
    kernels = [random_kernel(draw, ratio) for _ in range(size)]
    crops = [
        random_crop(bank, draw, (sides[0], sides[1]), colours) for _ in range(size)
    ]
    sons, fathers = degraded(torch.stack(crops), kernels, ratio)
    clean = CLEAN_SHARE_X2 if ratio == (2, 2) else CLEAN_SHARE
    pairs = [
        noisy_pair(son.numpy(), father.numpy(), draw, clean)
        for son, father in zip(sons, fathers, strict=True)
    ]
    features = [
        array_features(kernel, ratio, estimated(pair.noise, draw))
        for kernel, (pair, _) in zip(kernels, pairs, strict=True)
    ]
    return Batch(
        sons=torch.from_numpy(np.stack([pair.plane for pair, _ in pairs])),
        fathers=torch.from_numpy(np.stack([father for _, father in pairs])),
        features=torch.from_numpy(np.stack(features)),
        ratio=ratio,
    )


def degraded(
    crops: Tensor, kernels: list[NDArray[np.float64]], ratio: Ratio
) -> tuple[Tensor, Tensor]:
    """Sons and fathers of fine crops, (B, C, Y, X).

    What the kernels cannot see past is cut off the fathers.
    """
    size, colours = crops.shape[:2]
    weights = torch.from_numpy(np.stack(kernels)).float()
    weights = weights.repeat_interleave(colours, 0)[:, None]
    flat = crops.reshape(1, size * colours, *crops.shape[2:])
    sons = torch.conv2d(flat, weights, stride=ratio, groups=size * colours)
    sons = sons.reshape(size, colours, *sons.shape[2:])
    top, left = ((t - r) // 2 for t, r in zip(taps(ratio), ratio, strict=True))
    height, width = (n * r for n, r in zip(sons.shape[2:], ratio, strict=True))
    return sons, crops[..., top : top + height, left : left + width]


def noisy_pair(
    son: NDArray[np.float32],
    father: NDArray[np.float32],
    draw: Draw,
    clean: float = CLEAN_SHARE,
) -> tuple[Corruption, NDArray[np.float32]]:
    """Noise on a son, and both scaled as an image's intensities are.

    Parameters
    ----------
    son : ndarray, shape (C, y, x)
    father : ndarray, shape (C, Y, X)
    draw : numpy.random.Generator
    clean : float
        How often there is no noise.
    """
    made = corrupted(son, draw, clean)
    if draw.random() >= SCALED:
        return made, father
    low, high = np.quantile(made.plane, QUANTILES)
    spread = max(high - low, SMALLEST_RANGE)
    low -= draw.uniform(0, 0.3) * spread * (draw.random() < 0.5)
    high += draw.uniform(0, 0.6) * spread * (draw.random() < 0.6)
    scale = float(max(high - low, SMALLEST_RANGE))
    scaled = Corruption(
        plane=((made.plane - low) / scale).astype(np.float32),
        noise=made.noise.mapped(scale, float(low)),
    )
    return scaled, ((father - low) / scale).astype(np.float32)
