"""What is decided for a plane: windows, pairs, factors on the way, noise."""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor

from napari_zssr.config import Config
from napari_zssr.imaging.dihedral import symmetries
from napari_zssr.imaging.kernel import for_factors, sampled_kernel
from napari_zssr.imaging.noise import NoiseModel
from napari_zssr.zssr.pairs import PairSpec
from napari_zssr.zssr.predict import residual_growth
from napari_zssr.zssr.warps import NOISY_WARPS, WARPS, Pair

WHOLE_PX = 640
WINDOW_PX = 512
WINDOWS = 16
# Noise (fraction of the range) from which pairs are recorrupted, and over which
# back-projection fades out.
RECORRUPT_FROM = 0.004
ALPHA = 0.7
FADE = (0.003, 0.010)
# Held-out regions and the share of the plane that they cover. A filter of few weights
# does not miss a fifth of the plane, and many regions make its gain more certain.
HELD_OUT = {"ridge": (100, 0.2), "trained": (49, 0.07)}
NARROWEST = 16
DEEP_BLOCKS = 5


def training_windows(plane: Tensor, factors: Pair = (1.0, 1.0)) -> list[Tensor]:
    """Parts of the plane that are learned from: all of it, or windows spread over it.

    Parameters
    ----------
    plane : Tensor, shape (C, Y, X)
    factors : tuple of float
        Enlargement of `plane` over the plane that was given; an enlarged plane is cut
        in the same places, so that the same regions stay held out.
    """
    height, width = (
        round(n / f) for n, f in zip(plane.shape[-2:], factors, strict=True)
    )
    if height * width <= WHOLE_PX**2:
        return [plane]
    side_y, side_x = min(WINDOW_PX, height), min(WINDOW_PX, width)
    rows = max(1, min(round((WINDOWS * height / width) ** 0.5), height // side_y))
    columns = max(1, min(WINDOWS // rows, width // side_x))
    return [
        plane[:, _span(y, side_y, factors[0]), _span(x, side_x, factors[1])]
        for y in _starts(height, side_y, rows)
        for x in _starts(width, side_x, columns)
    ]


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
    whole = _ratio(config)
    learned = factors if whole == (1, 1) else (float(whole[0]), float(whole[1]))
    kernel = for_factors(config.kernel, config.factors, learned)
    regions, share = HELD_OUT["ridge" if config.network == "ridge" else "trained"]
    return PairSpec(
        factors=learned,
        ratio=whole,
        kernel=kernel,
        noise=noise,
        alpha=ALPHA if level >= RECORRUPT_FROM else 0.0,
        crop_px=config.crop_px,
        transforms=symmetries(learned, sampled_kernel(kernel)),
        held_out=max(1, regions // windows),
        held_out_share=share,
        warps=WARPS if level < RECORRUPT_FROM else NOISY_WARPS,
    )


def gradual_factors(config: Config) -> list[Pair]:
    """Factors on the way to the final one, that included."""
    final = config.factors
    count = config.gradual
    if count == 1:
        return [final]
    if count == 6:
        y, x = final
        half_y, half_x = (1 + y) / 2, (1 + x) / 2
        listed = [(1, half_x), (half_y, 1), (half_y, half_x)]
        listed += [(half_y, x), (y, half_x), (y, x)]
    else:
        listed = [
            (final[0] ** (n / count), final[1] ** (n / count))
            for n in range(1, count + 1)
        ]
        listed[-1] = final
    kept: list[Pair] = []
    for pair in listed:
        if pair != (1, 1) and pair not in kept:
            kept.append((float(pair[0]), float(pair[1])))
    return kept


def applications(config: Config, factors: Pair) -> int:
    """How often the network must be applied to reach or pass the factors."""
    ratio = _ratio(config)
    count = 1
    while ratio != (1, 1) and any(
        r**count < f - 1e-9 for r, f in zip(ratio, factors, strict=True)
    ):
        count += 1
    return count


def noise_level(plane: Tensor, noise: NoiseModel) -> float:
    """Standard deviation of the noise at the plane's mean signal."""
    return noise.sigma(min(1.0, max(0.0, float(plane.mean()))))


def for_noise(config: Config, level: float) -> Config:
    """Settings for a noisy plane: a narrower, deeper network and half the steps.

    What a wide network learns late in training on a noisy plane is the noise.
    """
    if level < RECORRUPT_FROM or config.network != "residual":
        return config
    return replace(
        config,
        width=max(NARROWEST, config.width // 2),
        blocks=max(DEEP_BLOCKS, config.blocks),
        steps=max(min(1, config.steps), config.steps // 2),
    )


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
    kernel = for_factors(config.kernel, config.factors, factors)
    if strength <= 0 or config.back_projection == 0:
        return 0, strength
    grows = kernel.kind != "bicubic" and residual_growth(kernel, factors) > 1
    return (0 if grows else config.back_projection), strength


def _ratio(config: Config) -> tuple[int, int]:
    if config.network == "paper":
        return (1, 1)
    y, x = (2 if f > 1 else 1 for f in config.factors)
    return y, x


def _starts(size: int, side: int, count: int) -> list[int]:
    if count == 1:
        return [(size - side) // 2]
    return [round(i * (size - side) / (count - 1)) for i in range(count)]
