"""Learns what `napari_zssr.imaging.noise` knows of noise; about ten minutes.

    python -m tools.learn_noise [OUTPUT.npz] [--scenes N] [--planes N]

Generated scenes are given the noise of the generated pairs
(`training.noise`). From quantiles of the blocks' energies a small
network learns the strength of four bands. No photograph is used.
"""

from __future__ import annotations

import argparse
import math
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from napari_zssr.imaging.noise import (
    BANDS,
    FEATURES,
    LEAST_BLOCKS,
    WEIGHTS,
    NoiseModel,
    block_energies,
    block_statistics,
)
from napari_zssr.imaging.resample import imresize
from training import noise, scenes

WIDTHS = (96, 64)
EPOCHS = 60
BATCH = 64
RATE = 2e-3
HELD_OUT = 0.1
CUT_OFF = 0.3


def random_plane(
    scene: NDArray[Any], draw: np.random.Generator
) -> tuple[NDArray[Any], NoiseModel]:
    """A grey plane with noise, and its model, intensities normalised."""
    grey = np.einsum("c,cyx->yx", draw.dirichlet((1, 1, 1)), scene)
    if draw.random() < 0.5:
        grey = imresize(grey, (0.5, 0.5) if draw.random() < 0.5 else (0.7, 0.7))
    else:
        side = int(math.exp(draw.uniform(math.log(64), math.log(len(grey)))))
        top, left = draw.integers(0, len(grey) - side + 1, 2)
        grey = grey[top : top + side, left : left + side]
    if draw.random() < 0.5:
        contrast = 10 ** draw.uniform(-0.7, 0)
        grey = grey * contrast + draw.uniform(0, 1 - contrast)
    made = noise.corrupted(grey[None].astype(np.float32), draw)
    plane = made.plane[0]
    if draw.random() < CUT_OFF:
        # Detectors whose zero lies within the noise of the dark.
        dark = np.quantile(grey, draw.uniform(0, 0.4))
        cut = dark + draw.uniform(-1, 0.5) * made.noise.sigma(float(dark))
        plane = np.maximum(plane, cut)
    low, high = np.quantile(plane, (0.001, 0.999))
    scale = max(float(high - low), 0.02)
    return (plane - low) / scale, made.noise.mapped(scale, float(low))


def examples(count: int, planes: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Features, and what is to be told: logarithms of the bands' strengths."""
    inputs, targets = [], []
    bank = [scenes.scene((seed, n)) for n in range(count)]
    for number in range(planes):
        draw = np.random.default_rng((seed, 2, number))
        plane, model = random_plane(bank[number % count], draw)
        if model.jpeg:
            continue
        means, energies = block_energies(plane)
        if len(means) < LEAST_BLOCKS:
            continue
        inputs.append(block_statistics(means, energies).features)
        targets.append(np.log(model.bands))
    return np.stack(inputs), np.array(targets, dtype=np.float32)


def _network() -> nn.Sequential:
    sizes = [FEATURES, *WIDTHS, len(BANDS)]
    layers: list[nn.Module] = []
    for before, after in pairwise(sizes):
        layers += [nn.Linear(before, after), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def learned(inputs: np.ndarray, targets: np.ndarray) -> nn.Sequential:
    """A network that was trained on examples; says how it does on others."""
    torch.manual_seed(0)
    x, y = torch.from_numpy(inputs), torch.from_numpy(targets).clamp(-8, 8)
    kept = int(len(x) * (1 - HELD_OUT))
    network = _network()
    optimizer = torch.optim.AdamW(network.parameters(), RATE, weight_decay=1e-3)
    cycle = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, RATE, EPOCHS * (kept // BATCH)
    )
    for epoch in range(1, EPOCHS + 1):
        order = torch.randperm(kept)
        for batch in order[: kept // BATCH * BATCH].reshape(-1, BATCH):
            loss = nn.functional.smooth_l1_loss(network(x[batch]), y[batch], beta=0.2)
            optimizer.zero_grad()
            torch.autograd.backward([loss])
            optimizer.step()
            cycle.step()
        if epoch % 10 == 0:
            _report(epoch, network, x[kept:], y[kept:])
    return network


@torch.no_grad()
def _report(epoch: int, network: nn.Module, x: Tensor, y: Tensor) -> None:
    off = (network(x) - y).abs()
    sys.stderr.write(
        f"{epoch}: error of a band {float(off.median()):.3f} (median), "
        f"{float(off.quantile(0.9)):.3f} (90 %)\n"
    )


def main() -> None:
    """Learn and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("output", nargs="?", type=Path, default=WEIGHTS)
    parser.add_argument("--scenes", type=int, default=2000)
    parser.add_argument("--planes", type=int, default=40000)
    options = parser.parse_args()
    made = learned(*examples(options.scenes, options.planes, seed=1))
    linear = [layer for layer in made if isinstance(layer, nn.Linear)]
    arrays = {f"weight{n}": layer.weight for n, layer in enumerate(linear)}
    arrays |= {f"bias{n}": layer.bias for n, layer in enumerate(linear)}
    halved: dict[str, Any] = {
        k: v.detach().numpy().astype(np.float16) for k, v in arrays.items()
    }
    np.savez_compressed(options.output, **halved)
    sys.stderr.write(f"{options.output}: {options.output.stat().st_size} bytes\n")


if __name__ == "__main__":
    main()
