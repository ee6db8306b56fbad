"""How far a result may be from the truth: a standard error for every pixel.

The image is enlarged again with more of its own noise, turned or flipped; where that
makes a difference, the networks are not sure. How large errors are where it makes so
much difference is measured on held-out regions: 90 % of their pixels are to lie within
the interval, the noise of these allowed for.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from napari_zssr.imaging.degrade import degradation
from napari_zssr.imaging.kernel import sampled_kernel
from napari_zssr.imaging.resample import (
    output_window,
    resize,
    symmetries,
    window_within,
)
from napari_zssr.kernelspec import KernelSpec
from napari_zssr.progress import Progress, Steps
from napari_zssr.zssr.canvas import Canvas, close_canvas, new_canvas
from napari_zssr.zssr.networks import InterpolationNetwork
from napari_zssr.zssr.pairs import PairSpec, build_pairs
from napari_zssr.zssr.predict import (
    PredictSpec,
    enlarged_batch,
    enlarged_shape,
    halo,
    make_tiles,
    version_of,
)
from napari_zssr.zssr.training_plan import Execution
from napari_zssr.zssr.warps import IDENTITY, Pair

STAGE = "error"
# Versions that are compared with the result; two more change the figures little.
VERSIONS = 2
# Width over which their squared differences are averaged, input pixels, and the share
# of their mean that is added everywhere: no pixel is free of error.
SMOOTHING_PX, FLOOR = 1.0, 0.05
# Share of the finest detail that stands for the spread of bicubic enlargement, on which
# all versions of a plane without noise agree.
INTERPOLATED = 0.3
COVERAGE, QUANTILE = 0.9, 1.645
# Logarithm of the scale that is expected, and its spread, with noise and without it: of
# generated images, pictures and confocal captures. Held-out regions decide, the less
# the more noise their targets have.
EXPECTED_NOISY, EXPECTED_CLEAN = (0.15, 0.3), (1.0, 0.8)
SCALES = torch.linspace(-2.5, 4.0, 261)
# Pixels of the input that one independent error covers.
CORRELATED_PX = 2.0
# Error of the noise's variance, as estimated.
NOISE_ERROR = 0.3
# Fewest held-out regions that tell anything.
LEAST_REGIONS = 9


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ErrorMap:
    """Standard error of an enlarged plane, in normalised intensity.

    Attributes
    ----------
    spread : (C, Y', X'); mean squared difference of versions from the result, smoothed
    floor : what is added to it everywhere
    scale : standard errors in units of the root of both
    regions : held-out regions that the scale was fitted on
    """

    spread: Canvas
    floor: float
    scale: float
    regions: int

    @property
    def is_calibrated(self) -> bool:
        """Whether held-out regions told the scale, or it is the usual one."""
        return self.regions >= LEAST_REGIONS

    def standard_error(self, rows: slice) -> Tensor:
        """Rows of the standard error, shape (rows, X'); mean square of the colours."""
        spread = self.spread[slice(None), rows, slice(None)].mean(dim=0)
        return self.scale * (spread.clamp_min(0) + self.floor).sqrt()

    def to_dict(self) -> dict[str, Any]:
        """Its mean and how it was calibrated, as plain data."""
        # The mean of the root is little below the root of the mean.
        mean = self.scale * math.sqrt(self.floor / FLOOR + self.floor)
        return {
            "mean": mean,
            "regions": self.regions,
            "is_calibrated": self.is_calibrated,
        }

    def close(self) -> None:
        """Give back the disk that it takes."""
        close_canvas(self.spread)


def error_map(
    network: nn.Module,
    plane: Tensor,
    image: Canvas,
    windows: Sequence[Tensor],
    pairs: PairSpec,
    spec: PredictSpec,
    execution: Execution,
) -> Steps[ErrorMap]:
    """Standard error of a result.

    Parameters
    ----------
    network : as it made the result
    plane : (C, Y, X); what was enlarged, normalised
    image : (C, Y', X'); the result
    windows : of the plane, whose held-out regions no training step has seen
    pairs, spec : how pairs were made, and the network applied
    """
    yield Progress(stage=STAGE, step=0, total=1)
    generator = torch.Generator().manual_seed(execution.seed + 2)
    scale, regions = _calibrated(network, windows, pairs, spec, generator)
    with new_canvas(enlarged_shape(plane, spec.factors), execution.scratch) as spread:
        noisy = [pairs.noise.add(plane, 1.0, generator) for _ in range(VERSIONS)]
        yield from _spread_tiles(network, noisy, image, spread, spec)
    return ErrorMap(
        spread=spread, floor=FLOOR * _mean(spread), scale=scale, regions=regions
    )


def _spread_tiles(
    network: nn.Module,
    noisy: list[Tensor],
    image: Canvas,
    spread: Canvas,
    spec: PredictSpec,
) -> Steps[None]:
    """Write the spread onto a canvas, tile by tile, from noisier planes (C, Y, X)."""
    size = (noisy[0].shape[1], noisy[0].shape[2])
    tiles = list(make_tiles(size, halo(network, spec), spec))
    for number, (inner, outer) in enumerate(tiles):
        yield Progress(stage=STAGE, step=number, total=len(tiles))
        fine, wide = (output_window(part, spec.factors) for part in (inner, outer))
        result = image[:, *wide].to(noisy[0].device)[None]
        crops = [version[:, *outer][None] for version in noisy]
        smooth = _smoothed(_squared(network, crops, result, spec), spec.factors)
        spread[:, *fine] = smooth[0, :, *window_within(fine, wide)].cpu()


def _squared(
    network: nn.Module, noisy: list[Tensor], results: Tensor, spec: PredictSpec
) -> Tensor:
    """Mean squared difference from results (B, C, Y', X') of what is made of others.

    `noisy`: (B, C, Y, X) each, and each is flipped or turned otherwise.
    """
    turns = symmetries(spec.factors, sampled_kernel(spec.kernel))
    squared = torch.zeros_like(results)
    for number, planes in enumerate(noisy):
        turn = turns[(2 * number + 1) % len(turns)]
        version = version_of(network, planes, turn, spec)
        squared += (version - results).square() / len(noisy)
    if isinstance(network, InterpolationNetwork):
        fine = results - _smoothed(results, spec.factors)
        squared += INTERPOLATED * fine.square()
    return squared


def _smoothed(planes: Tensor, factors: Pair) -> Tensor:
    """Gaussian mean over about an input pixel of planes (..., Y', X')."""
    y, x = (SMOOTHING_PX * factor for factor in factors)
    kernel = KernelSpec(kind="gaussian", sigma_px=(y, x))
    size = (planes.shape[-2], planes.shape[-1])
    return degradation(kernel, (1.0, 1.0), size).degrade(planes)


def _mean(canvas: Canvas) -> float:
    if isinstance(canvas, Tensor):
        return float(canvas.mean())
    return float(canvas.mean().mean())  # type: ignore[attr-defined]


# ---- calibration


def _calibrated(
    network: nn.Module,
    windows: Sequence[Tensor],
    pairs: PairSpec,
    spec: PredictSpec,
    generator: torch.Generator,
) -> tuple[float, int]:
    """Scale of the spread, and the number of held-out regions that it was fitted on."""
    _, held_out = build_pairs(windows, pairs, generator, warps=(IDENTITY,))
    sons = held_out.sons
    noisy = [_noisier(sons, pairs, generator) for _ in range(VERSIONS)]
    once = replace(spec, factors=pairs.factors, kernel=pairs.kernel, applications=1)
    if pairs.ratio == (1, 1):
        # Sons have the size of their fathers already.
        once = replace(once, factors=(1.0, 1.0), back_projection=0)
    output = enlarged_batch(network, sons, once)
    spread = _smoothed(_squared(network, noisy, output, once), pairs.factors)
    inside = (held_out.region > 0).to(sons.device).expand_as(output)
    target_noise = _target_noise(pairs, output)[inside].cpu()
    errors = (held_out.fathers - output).abs()[inside].cpu()
    squared = (spread[inside] + FLOOR * spread.mean()).cpu()
    independent = errors.numel() / (math.prod(pairs.factors) * CORRELATED_PX)
    expected = EXPECTED_NOISY if pairs.alpha > 0 else EXPECTED_CLEAN
    regions = int(held_out.region.max())
    if regions < LEAST_REGIONS:
        return math.exp(expected[0]), regions
    return _fitted_scale(errors, squared, target_noise, independent, expected), regions


def _noisier(sons: Tensor, pairs: PairSpec, generator: torch.Generator) -> Tensor:
    """Sons (B, C, y, x) with their noise once more, interpolated as they are."""
    if pairs.ratio != (1, 1) or pairs.factors == (1.0, 1.0):
        return pairs.noise.add(sons, 1.0, generator)
    y, x = pairs.factors
    coarse = resize(sons, (1 / y, 1 / x))
    drawn = pairs.noise.add(coarse, 1.0, generator) - coarse
    return sons + resize(drawn, pairs.factors, (sons.shape[-2], sons.shape[-1]))


def _target_noise(pairs: PairSpec, output: Tensor) -> Tensor:
    """Variance of the noise of fathers, by the signal that was predicted."""
    if pairs.alpha == 0:
        return torch.zeros_like(output)
    return pairs.noise.variance(output) * (1 + 1 / pairs.alpha**2)


def _covered(errors: Tensor, squared: Tensor, noise: Tensor) -> Tensor:
    """Share of the errors within the interval, for each of `SCALES`."""
    intervals = (QUANTILE * (squared * s**2 + noise).sqrt() for s in SCALES.exp())
    return torch.stack([(errors <= one).double().mean() for one in intervals])


def _fitted_scale(
    errors: Tensor, squared: Tensor, noise: Tensor, independent: float, expected: Pair
) -> float:
    """The likeliest scale: what covers 90 % of the errors, near what is expected."""
    covered = _covered(errors, squared, noise)
    noisier = _covered(errors, squared, noise * (1 + NOISE_ERROR))
    variance = COVERAGE * (1 - COVERAGE) / independent + (noisier - covered) ** 2
    mean, spread = expected
    unlikely = (covered - COVERAGE) ** 2 / variance + ((SCALES - mean) / spread) ** 2
    return float(SCALES[unlikely.argmin()].exp())
