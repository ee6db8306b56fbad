"""Learns what `napari_zssr.imaging.blur_estimate` knows of edges; about ten minutes.

    python -m tools.learn_blur [OUTPUT.npz] [--scenes N] [--sons N]

Generated scenes are blurred by random Gaussians, or reduced as bicubic does, thinned
by 2, and given noise and 8 bits. From how sharp the edges of such a son are along a
direction, three small networks learn the blur along it. No photograph is used; how
many epochs, and which features, was chosen on scikit-image's pictures.
"""

from __future__ import annotations

import argparse
import math
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.signal import fftconvolve
from torch import Tensor, nn

from napari_zssr.imaging.blur_estimate import (
    ANGLES,
    LEAST_VARIANCE,
    WEIGHTS,
    edge_features,
    in_context,
)
from napari_zssr.imaging.resample import imresize
from training.dead_leaves import sharp_scene

NETWORKS = 3
WIDTH = 64
EPOCHS = 8
BATCH = 64
BICUBIC = 0.25
LARGEST_VARIANCE = 4.4
# Along a direction, 9 x 9 bins of a kernel on either side.
REACH = 8


def random_kernel(draw: np.random.Generator) -> tuple[NDArray[Any], NDArray[Any]]:
    """Covariance (2, 2) and weights of a Gaussian, fine pixels."""
    turn = draw.uniform(0, math.pi)
    axes = np.array(
        [[math.cos(turn), -math.sin(turn)], [math.sin(turn), math.cos(turn)]]
    )
    spread = axes @ np.diag(draw.uniform(0, LARGEST_VARIANCE, 2)) @ axes.T
    # Between two fine pixels, where that of a son's pixel lies.
    place = np.arange(-REACH, REACH + 1) - 0.5
    grid = np.stack(np.meshgrid(place, place, indexing="ij"))
    inverse = np.linalg.inv(spread + 1e-3 * np.eye(2))
    weights = np.exp(-np.einsum("iyx,ij,jyx->yx", grid, inverse, grid) / 2)
    return spread, weights / weights.sum()


def random_son(
    scene: NDArray[Any], draw: np.random.Generator
) -> tuple[NDArray[Any], NDArray[Any], bool]:
    """A son, the covariance of its blur, and whether it is bicubic instead."""
    scene = np.rot90(scene, int(draw.integers(4)))
    bicubic = draw.random() < BICUBIC
    spread, weights = random_kernel(draw)
    if bicubic:
        son = imresize(scene, (0.5, 0.5))[5:-5, 5:-5]
    else:
        son = fftconvolve(scene, weights, mode="valid")[::2, ::2]
    contrast = max(0.05, np.quantile(scene, 0.99) - np.quantile(scene, 0.01))
    noise = 0 if draw.random() < 0.5 else 10 ** draw.uniform(-2.7, -1.3)
    son = son + draw.standard_normal(son.shape) * noise * contrast
    if draw.random() < 0.7:
        son = np.round(son * 255) / 255
    return son, spread, bicubic


def examples(scenes: int, sons: int, seed: int = 5) -> tuple[Tensor, Tensor, Tensor]:
    """Features (sons, 8, F), log variances (sons, 8), whether bicubic (sons,)."""
    draw = np.random.default_rng(seed)
    pool = [sharp_scene(draw) for _ in range(scenes)]
    features, variances, kinds = [], [], []
    normals = np.stack([np.cos(ANGLES), np.sin(ANGLES)], axis=1)
    for _ in range(sons):
        son, spread, bicubic = random_son(pool[draw.integers(scenes)], draw)
        features.append(in_context(edge_features(son)))
        variances.append(np.einsum("di,ij,dj->d", normals, spread, normals))
        kinds.append(bicubic)
    return (
        torch.tensor(np.array(features), dtype=torch.float32),
        torch.tensor(np.log(np.array(variances) + LEAST_VARIANCE)).float(),
        torch.tensor(kinds),
    )


def learn(features: Tensor, wanted: Tensor, bicubic: Tensor, seed: int) -> nn.Module:
    """Network from standardised features to log variance, its log error, a logit."""
    torch.manual_seed(seed)
    network = nn.Sequential(
        nn.Linear(features.shape[-1], WIDTH),
        nn.ReLU(),
        nn.Linear(WIDTH, WIDTH // 2),
        nn.ReLU(),
        nn.Linear(WIDTH // 2, 3),
    )
    optimizer = torch.optim.AdamW(network.parameters(), 2e-3, weight_decay=0.03)
    steps = EPOCHS * math.ceil(len(features) / BATCH)
    rate = torch.optim.lr_scheduler.OneCycleLR(optimizer, 4e-3, total_steps=steps)
    for _ in range(EPOCHS):
        for chosen in torch.split(torch.randperm(len(features)), BATCH):
            seen = features[chosen]
            out = network(seen + 0.1 * torch.randn_like(seen))
            blurred = ~bicubic[chosen]
            scale = out[..., 1].clamp(-4, 1)
            error = (out[..., 0] - wanted[chosen]).abs()
            loss = (error * torch.exp(-scale) + scale)[blurred].mean()
            loss = loss + nn.functional.binary_cross_entropy_with_logits(
                out[..., 2].mean(1), bicubic[chosen].float()
            )
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            rate.step()
    return network


def main() -> None:
    """Learn, and write the weights."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("output", nargs="?", type=Path, default=WEIGHTS)
    parser.add_argument("--scenes", type=int, default=1000)
    parser.add_argument("--sons", type=int, default=8000)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    features, wanted, bicubic = examples(asked.scenes, asked.sons)
    mean = features.mean((0, 1))
    deviation = features.std((0, 1)) + 1e-3
    normal = (features - mean) / deviation
    content: dict[str, Any] = {"mean": mean.numpy(), "deviation": deviation.numpy()}
    for number in range(NETWORKS):
        network = learn(normal, wanted, bicubic, number)
        for name, value in network.state_dict().items():
            content[f"{number}.{name}"] = value.numpy()
    np.savez(asked.output, **content)
    sys.stdout.write(f"{asked.output}: {asked.output.stat().st_size} bytes\n")


if __name__ == "__main__":
    main()
