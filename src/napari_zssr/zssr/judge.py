"""What the network gained over bicubic, on regions held out from training."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn

from napari_zssr.imaging.quality import Support, combined_quality, support
from napari_zssr.imaging.resample import spread_starts
from napari_zssr.progress import Progress, Steps, map_events
from napari_zssr.zssr.cost import DRAWS, SAMPLE_PX, assessed_samples
from napari_zssr.zssr.messages import baseline, underrated, unsupported
from napari_zssr.zssr.networks import applied, enlarge
from napari_zssr.zssr.pairs import PairSpec, build_pairs, region_errors
from napari_zssr.zssr.predict import back_project, enlarged, predict_spec
from napari_zssr.zssr.training_plan import Execution, TrainingPlan
from napari_zssr.zssr.warps import IDENTITY


@dataclass(frozen=True, slots=True, kw_only=True)
class Gain:
    """What held-out regions say about the network against bicubic.

    Attributes
    ----------
    decibel, error_decibel : gain in PSNR, and its standard error over the regions
    significant : whether the gain exceeds twice its spread, in squared error or
        relative to each region's own error (a few strong edges must not drown all
        others)
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

    Sons are as noisy as the image, their noise drawn anew `draws` times; the network is
    applied as it will be, with its precision and back-projection.
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
        output = applied(network, sons, precision)
        output = back_project(
            output, sons, spec.factors, spec.kernel, iterations, strength
        )
        learned.append(region_errors(output, held_out))
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


STAGE = "check"
# Samples that are compared along each side of a plane.
CANDIDATES = 6
# Supported share from which all is delivered: under a Gaussian, or where noise that was
# given is underrated; and otherwise: bicubic's kernel and measured ones are seldom
# too wide. `tools/learn_support.py --report` shows what limits do to images that the
# trees have not seen: of pictures under right Gaussians, 2 % lose 0.1 dB.
SUPPORTED, USUAL = 0.6, 0.4
# What is delivered below that is so much less than supported: too much does more harm.
CAUTION = 0.1
# Steps of a delivered share, and the least that is worth it.
STEP, LEAST = 0.05, 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Assessment:
    """What checks tell of networks, decided once for all planes that they enlarge.

    Attributes
    ----------
    share : of the change from bicubic that is to be delivered, 0..1
    supported : of the change that is likely closest to the truth
    gain_db : likely gain of the whole change over bicubic, against the truth
    reason : why less than all is delivered; empty where all is
    """

    share: float = 1.0
    supported: float
    gain_db: float
    reason: str = ""


def assess(
    network: nn.Module,
    planes: Sequence[Tensor],
    plan: TrainingPlan,
    execution: Execution,
) -> Steps[Assessment | None]:
    """Check results on samples of planes (C, Y, X); None where these are too small."""
    spec = replace(predict_spec(plan, plan.factors, execution), transforms=(0,))
    supports = []
    for sample in _samples(planes):
        # By itself: its surroundings would take longer than the sample does.
        whole = slice(0, sample.shape[1]), slice(0, sample.shape[2])
        steps = enlarged(network, sample, spec, whole)
        canvas = yield from map_events(
            steps, Progress, lambda event: replace(event, stage=STAGE)
        )
        image, result = sample.cpu().numpy(), canvas[:, :, :].numpy()
        one = support(image, result, plan.factors, plan.kernel, plan.noise)
        supports += [] if one is None else [one]
    return _combined(supports, plan) if supports else None


def _samples(planes: Sequence[Tensor]) -> list[Tensor]:
    """Parts of planes (C, Y, X) with the most contrast, from planes spread evenly."""
    pixels = sum(plane[0].numel() for plane in planes)
    count = assessed_samples(pixels)
    each = math.ceil(count / len(planes))
    parts = [part for plane in planes for part in _most_contrast(plane, each)]
    chosen = np.linspace(0, len(parts) - 1, min(count, len(parts))).round().astype(int)
    return [parts[n] for n in chosen]


def _most_contrast(plane: Tensor, most: int) -> list[Tensor]:
    """Parts of a plane (C, Y, X) with the most contrast, in their order."""
    side = [min(SAMPLE_PX, n) for n in plane.shape[1:]]
    rows, columns = (
        spread_starts(n, s, max(1, min(CANDIDATES, round(n / s))))
        for n, s in zip(plane.shape[1:], side, strict=True)
    )
    parts = [plane[:, y : y + side[0], x : x + side[1]] for y in rows for x in columns]
    contrast = torch.stack([part.mean(dim=0).std() for part in parts])
    best = contrast.topk(min(most, len(parts))).indices
    return [parts[n] for n in sorted(best.tolist())]


def _combined(supports: Sequence[Support], plan: TrainingPlan) -> Assessment:
    # Dense texture is taken for ringing, but a wrong blur shows in every sample.
    supported = max(one.share for one in supports)
    gain = float(np.median([one.gain for one in supports]))
    quality = combined_quality([one.quality for one in supports])
    kind = plan.kernel.kind
    # Of noise that was estimated the image as a whole tells more than samples do.
    doubted = kind == "gaussian" or (plan.noise_is_given and underrated(quality))
    if supported >= (SUPPORTED if doubted else USUAL):
        return Assessment(supported=supported, gain_db=gain)
    share = STEP * round((supported - CAUTION) / STEP)
    margins = [one.margin for one in supports if one.margin is not None]
    margin = float(np.median(margins)) if margins else None
    return Assessment(
        share=round(share, 2) if share >= LEAST else 0.0,
        supported=supported,
        gain_db=gain,
        reason=unsupported(
            quality, margin, baseline(plan.factors), blurred=kind != "bicubic"
        ),
    )
