"""What is decided for a plane: windows, pairs, factors on the way, noise."""

from __future__ import annotations

import math
from dataclasses import replace

from torch import Tensor

from napari_zssr.checks import LEARNED
from napari_zssr.config import Config, ratio_of
from napari_zssr.imaging.kernel import kernel_for_factors, sampled_kernel
from napari_zssr.imaging.noise import NoiseModel, is_noisy
from napari_zssr.imaging.resample import spread_starts, symmetries
from napari_zssr.zssr.canvas import Canvas
from napari_zssr.zssr.pairs import PairSpec
from napari_zssr.zssr.predict import residual_growth
from napari_zssr.zssr.start import Beginning
from napari_zssr.zssr.warps import NOISY_WARPS, WARPS, Pair

WHOLE_PX = 640
WINDOW_PX = 512
WINDOWS = 16
ALPHA = 0.7
# Noise (fraction of the range) over which back-projection fades out.
FADE = (0.003, 0.010)
# Held-out regions and the share of the plane that they cover. A filter of few weights
# does not miss a fifth of the plane, and many regions make its gain more certain.
HELD_OUT = {"ridge": (100, 0.2), "trained": (49, 0.07)}
# Share of the usual learning rates with which shared networks are tuned to a plane.
TUNED_RATE = 0.1
# The same from a learned start, and on a noisy plane.
LEARNED_RATE, NOISY_RATE = 0.25, 0.1


def training_windows(plane: Canvas, factors: Pair = (1.0, 1.0)) -> list[Tensor]:
    """Parts of the plane that are learned from: all of it, or windows spread over it.

    Parameters
    ----------
    plane : Canvas, shape (C, Y, X)
    factors : tuple of float
        Enlargement of `plane` over the plane that was given; an enlarged plane is cut
        in the same places, so that the same regions stay held out.
    """
    height, width = (
        round(n / f) for n, f in zip(plane.shape[-2:], factors, strict=True)
    )
    if height * width <= WHOLE_PX**2 and isinstance(plane, Tensor):
        return [plane]
    side_y, side_x = min(WINDOW_PX, height), min(WINDOW_PX, width)
    rows = max(1, min(round((WINDOWS * height / width) ** 0.5), height // side_y))
    columns = max(1, min(WINDOWS // rows, width // side_x))
    return [
        plane[:, _span(y, side_y, factors[0]), _span(x, side_x, factors[1])]
        for y in _starts(height, side_y, rows)
        for x in _starts(width, side_x, columns)
    ]


def learned_windows(plane: Canvas, factors: Pair) -> list[Tensor]:
    """Parts of an enlarged plane that are learned from, no more pixels than before.

    Parameters
    ----------
    plane : Canvas, shape (C, Y', X')
    factors : tuple of float
        Enlargement of `plane` over the plane that was given.
    """
    return training_windows(plane, factors)[:: math.ceil(factors[0] * factors[1])]


def _span(start: int, side: int, factor: float) -> slice:
    return slice(round(start * factor), round((start + side) * factor))


def pair_spec(
    config: Config, factors: Pair, noise: NoiseModel, level: float, windows: int = 1
) -> PairSpec:
    """How pairs are made for one gradual factor.

    Parameters
    ----------
    config : Config
    factors : tuple of float
    noise : NoiseModel
    level : float
        Standard deviation of the noise at the plane's mean signal.
    windows : int
        Parts of the plane that are learned from; they share the held-out regions.
    """
    whole = ratio_of(config)
    learned = factors if whole == (1, 1) else (float(whole[0]), float(whole[1]))
    kernel = kernel_for_factors(config.kernel, config.factors, learned)
    regions, share = HELD_OUT["ridge" if config.network == "ridge" else "trained"]
    return PairSpec(
        factors=learned,
        ratio=whole,
        kernel=kernel,
        noise=noise,
        alpha=ALPHA if is_noisy(level) else 0.0,
        crop_px=config.crop_px,
        transforms=symmetries(learned, sampled_kernel(kernel)),
        held_out=max(1, regions // windows),
        held_out_share=share,
        warps=NOISY_WARPS if is_noisy(level) else WARPS,
    )


def gradual_factors(config: Config) -> list[Pair]:
    """Factors on the way to the final one, that included."""
    final = config.factors
    if config.network == "paper":
        return _paper_factors(final, config.gradual)
    ratio = ratio_of(config)
    # Within the reach of one application in equal steps, then one by one.
    first = _at_most((float(ratio[0]), float(ratio[1])), final)
    listed = _equal_steps(first, config.gradual)
    if config.gradual > 1:
        for count in range(2, applications(config, final) + 1):
            reached = (float(ratio[0] ** count), float(ratio[1] ** count))
            listed.append(_at_most(reached, final))
    listed[-1] = final
    return listed


def _paper_factors(final: Pair, count: int) -> list[Pair]:
    """The six factors of the paper, or equal steps."""
    if count != 6:
        return _equal_steps(final, count)
    y, x = final
    half_y, half_x = (1 + y) / 2, (1 + x) / 2
    listed = [(1.0, half_x), (half_y, 1.0), (half_y, half_x)]
    listed += [(half_y, x), (y, half_x), (y, x)]
    kept: list[Pair] = []
    for pair in listed:
        if pair != (1, 1) and pair not in kept:
            kept.append(pair)
    return kept


def _equal_steps(final: Pair, count: int) -> list[Pair]:
    shares = [n / count for n in range(1, count)]
    return [(final[0] ** share, final[1] ** share) for share in shares] + [final]


def _at_most(factors: Pair, final: Pair) -> Pair:
    return min(factors[0], final[0]), min(factors[1], final[1])


def applications(config: Config, factors: Pair) -> int:
    """How often the network must be applied to reach or pass the factors."""
    ratio = ratio_of(config)
    count = 1
    while ratio != (1, 1) and any(
        r**count < f - 1e-9 for r, f in zip(ratio, factors, strict=True)
    ):
        count += 1
    return count


def noise_level(plane: Tensor, noise: NoiseModel) -> float:
    """Standard deviation of the noise at the plane's mean signal."""
    return noise.sigma(min(1.0, max(0.0, float(plane.mean()))))


def begun_rate(beginning: Beginning, level: float) -> float:
    """Share of the usual learning rates for what training begins from."""
    if beginning.began != LEARNED:
        return 1.0
    return NOISY_RATE if is_noisy(level) else LEARNED_RATE


def for_jpeg(config: Config, noise: NoiseModel) -> Config:
    """Settings for a plane that was a JPEG: nothing leads back to its blocks."""
    return replace(config, back_projection=0) if noise.jpeg else config


def back_projection(config: Config, level: float, factors: Pair) -> tuple[int, float]:
    """Iterations and strength, which fades since it would copy noise into the result.

    Parameters
    ----------
    config : Config
    level : float
        Standard deviation of the noise at the plane's mean signal.
    factors : tuple of float
        Enlargement so far.

    Returns
    -------
    tuple of (int, float)
        No iterations for a kernel with which they would lead away from the image.
    """
    low, high = FADE
    strength = min(1.0, max(0.0, (high - level) / (high - low)))
    kernel = kernel_for_factors(config.kernel, config.factors, factors)
    if strength <= 0 or config.back_projection == 0:
        return 0, strength
    grows = kernel.kind != "bicubic" and residual_growth(kernel, factors) > 1
    return (0 if grows else config.back_projection), strength


def _starts(size: int, side: int, count: int) -> list[int]:
    if count == 1:
        return [(size - side) // 2]
    return spread_starts(size, side, count)
