"""What the network gained over bicubic, on regions held out from training."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from napari_zssr.zssr.held_out import region_errors
from napari_zssr.zssr.network import applied, enlarge
from napari_zssr.zssr.pairs import PairSpec, build_pairs
from napari_zssr.zssr.predict import back_project
from napari_zssr.zssr.warps import IDENTITY

DRAWS = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Gain:
    """What held-out regions say about the network against bicubic.

    Attributes
    ----------
    decibel, error_decibel : float
        Gain in PSNR, and its standard error over the regions.
    significant : bool
        Whether the gain exceeds twice its spread, in squared error or relative to
        each region's own error (a few strong edges must not drown all others).
    """

    decibel: float
    error_decibel: float
    significant: bool


@torch.no_grad()
def held_out_gain(
    network: nn.Module,
    windows: Sequence[Tensor],
    spec: PairSpec,
    seed: int,
    *,
    iterations: int = 0,
    strength: float = 1.0,
    precision: str = "float32",
    draws: int = DRAWS,
) -> Gain:
    """Gain over bicubic on regions whose fathers were never trained on.

    Parameters
    ----------
    network : Module
        Trained.
    windows : sequence of Tensor, shape (C, Y, X)
    spec : PairSpec
        As in training: sons as noisy as the image, targets recorrupted independently.
    seed : int
        Of the noise, drawn afresh.
    iterations, strength : int, float
        Back-projection of the network's result, as it will be applied.
    precision : {"float32", "bfloat16"}
        Arithmetic of the network, as it will be applied.
    draws : int
        How often noise is drawn, where there is any.
    """
    generator = torch.Generator().manual_seed(seed)
    draws = 1 if spec.noise.is_clean else draws
    if spec.ratio == (1, 1):
        # A network on the fine grid is given the enlarged son, not the son itself.
        iterations = 0
    learned, bicubic = [], []
    for _ in range(draws):
        _, held_out = build_pairs(windows, spec, generator, warps=(IDENTITY,))
        sons = held_out.sons
        made = applied(network, sons, precision)
        made = back_project(made, sons, spec.factors, spec.kernel, iterations, strength)
        learned.append(region_errors(made, held_out))
        bicubic.append(region_errors(enlarge(sons, spec.ratio), held_out))
    return gain_from_errors(
        torch.stack(learned).mean(dim=0), torch.stack(bicubic).mean(dim=0)
    )


def gain_from_errors(learned: Tensor, bicubic: Tensor) -> Gain:
    """Gain and its spread from squared errors per region, shapes (regions,)."""
    regions = len(learned)
    better = bicubic - learned
    mean = float(better.mean())
    spread = float(better.std(unbiased=True)) / regions**0.5 if regions > 1 else 0.0
    new, old = float(learned.mean()), float(bicubic.mean())
    if old <= 0:
        return Gain(decibel=0.0, error_decibel=0.0, significant=False)
    decibel = 10 * math.log10(old / max(new, 1e-12 * old))
    per_unit = 10 / (2.302585 * max(new, 1e-12 * old))
    return Gain(
        decibel=decibel,
        error_decibel=min(per_unit * spread, 99.0),
        significant=mean > 0 and (mean > 2 * spread or _relative(bicubic, learned) > 2),
    )


def _relative(bicubic: Tensor, learned: Tensor) -> float:
    """Mean relative improvement over the regions, in units of its spread."""
    share = (bicubic - learned) / (bicubic + learned).clamp_min(1e-30)
    spread: float = float(share.std(unbiased=True)) / math.sqrt(len(share))
    mean = float(share.mean())
    return mean / max(spread, 1e-12)
