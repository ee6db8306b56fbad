"""The bank of generated scenes that crops are taken from."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from training.microscope import microscope_scene
from training.photographs import photograph

Draw = np.random.Generator

SIDE = 192
# Share of scenes as microscopes show them; the others are like photographs.
MICROSCOPE = 0.65
STAINED = 0.35
FIRST_SCENES = 64
# Crops that show next to nothing are drawn anew.
FLAT, TRIES = 0.02, 4
FADED = 0.5


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
        self._scenes = torch.empty(count, 3, SIDE, SIDE, dtype=torch.float16)
        self._drawn = 0

    def after(self, step: int) -> Tensor:
        """Scenes that a step may use: one more with every step.

        Returns
        -------
        Tensor, shape (scenes, 3, 192, 192), float16
        """
        wanted = min(len(self._scenes), FIRST_SCENES + step)
        for number in range(self._drawn, wanted):
            self._scenes[number] = torch.from_numpy(scene((self.seed, number)))
        self._drawn = max(self._drawn, wanted)
        return self._scenes[:wanted]


def scene(seed: tuple[int, int]) -> NDArray[np.float32]:
    """One scene, (3, 192, 192), without noise."""
    draw = np.random.default_rng(seed)
    if draw.random() >= MICROSCOPE:
        return photograph(draw, SIDE)
    grey = microscope_scene(draw, SIDE)
    stain = draw.uniform(0.2, 1, 3) if draw.random() < STAINED else np.ones(3)
    tinted: NDArray[np.float32] = (grey * stain[:, None, None]).astype(np.float32)
    return tinted


def random_crop(
    bank: Tensor, draw: Draw, size: tuple[int, int], colours: int
) -> Tensor:
    """Part of a scene, flipped or turned, and of weaker contrast now and then.

    Parameters
    ----------
    bank : Tensor, shape (scenes, 3, Y, X)
    draw : numpy.random.Generator
    size : tuple of int
        Pixels along (Y, X).
    colours : int
        1 mixes the colours of the scene.

    Returns
    -------
    Tensor, shape (colours, *size)
    """
    turned = draw.random() < 0.5
    height, width = size[::-1] if turned else size
    for _ in range(TRIES):
        number = int(draw.integers(len(bank)))
        top = draw.integers(0, bank.shape[-2] - height + 1)
        left = draw.integers(0, bank.shape[-1] - width + 1)
        crop = bank[number, :, top : top + height, left : left + width].float()
        if crop.std() > FLAT:
            break
    if colours == 1:
        mix = torch.from_numpy(draw.dirichlet((1, 1, 1)).astype(np.float32))
        crop = (crop * mix[:, None, None]).sum(0, keepdim=True)
    crop = crop.transpose(1, 2) if turned else crop
    flipped = [axis for axis in (1, 2) if draw.random() < 0.5]
    crop = crop.flip(flipped) if flipped else crop
    if draw.random() < FADED:
        contrast = 10 ** draw.uniform(-0.7, 0)
        crop = crop * contrast + draw.uniform(0, 1 - contrast)
    return crop
