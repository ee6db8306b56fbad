"""How fathers are made from the image: sizes, stretches, rotations."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from napari_zssr.imaging.resample import (
    AxisOperators,
    output_size,
    resize,
    resize_operator,
)

Size = tuple[int, int]
Pair = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Warp:
    """How a father is made from the image.

    Attributes
    ----------
    size_y, size_x : size relative to the image
    angle_deg : rotation before shrinking
    shear : shift along X for each pixel along Y, before shrinking
    skip_y, skip_x : pixels left out at the top and left before all else, so that
        sons fall on other pixels
    """

    size_y: float
    size_x: float
    angle_deg: float = 0.0
    shear: float = 0.0
    skip_y: int = 0
    skip_x: int = 0


IDENTITY = Warp(1.0, 1.0)
_SIZES = np.round(np.linspace(1.0, 0.5, 14), 4).tolist()
_STRETCHED = ((1.0, 0.75), (0.9, 0.65), (0.8, 0.6), (0.7, 0.5))
SHRUNK = tuple(Warp(s, s) for s in _SIZES)
STRETCHED = tuple(w for a, b in _STRETCHED for w in (Warp(a, b), Warp(b, a)))
TURNED = tuple(Warp(s, s, a) for s, a in ((0.8, 22.5), (0.75, 45.0), (0.7, 67.5)))
# Skipping a pixel makes other sons of the same father: all four at its full size.
SHIFTED = (
    *(Warp(1.0, 1.0, skip_y=y, skip_x=x) for y, x in ((0, 1), (1, 0), (1, 1))),
    *(Warp(s, s, skip_y=1, skip_x=1) for s in _SIZES[1:7]),
)
WARPS = SHRUNK + SHIFTED + STRETCHED + TURNED
# Shrinking averages noise away: under noise only large fathers resemble the image.
NOISY_WARPS = (
    *(Warp(s, s) for s in np.linspace(1.0, 0.75, 6).tolist()),
    *TURNED[:2],
    *SHIFTED[:3],
)
# Scatter of the random fathers of the paper's preset.
STRETCH_SIGMA = 0.25
SHEAR_SIGMA = 0.1


def random_warps(
    count: int, smallest: float, generator: torch.Generator
) -> tuple[Warp, ...]:
    """Random affine fathers (Shocher et al., CVPR 2018, section 3.1)."""
    even = torch.rand(count, 2, generator=generator).tolist()
    normal = torch.randn(count, 2, generator=generator).tolist()
    drawn = []
    for (size, angle), (stretch, shear) in zip(even, normal, strict=True):
        whole = smallest + (1 - smallest) * size
        ratio = math.exp(STRETCH_SIGMA * stretch)
        y, x = (min(1.0, max(smallest, whole * r)) for r in (ratio, 1 / ratio))
        drawn.append(Warp(y, x, 90 * angle - 45, SHEAR_SIGMA * shear))
    return tuple(drawn)


def warped_extent(window: Tensor, warp: Warp, ratio: tuple[int, int]) -> Size:
    """Father's size (Y, X), cut to a multiple of the ratio."""
    y, x = (
        output_size(n, share) // r * r
        for n, share, r in zip(
            _skipped(window, warp).shape[-2:],
            (warp.size_y, warp.size_x),
            ratio,
            strict=True,
        )
    )
    return y, x


def warped(image: Tensor, warp: Warp, extent: Size) -> Tensor:
    """Father of a size (Y, X) from the image; (C, Y, X) -> (C, Y', X')."""
    image = _skipped(image, warp)
    turned = _turned(image, warp) if warp.angle_deg or warp.shear else image
    if (warp.size_y, warp.size_x) == (1.0, 1.0):
        return turned[:, : extent[0], : extent[1]]
    return resize(turned, (warp.size_y, warp.size_x), extent)


def _skipped(image: Tensor, warp: Warp) -> Tensor:
    return image[:, warp.skip_y :, warp.skip_x :]


def _turned(image: Tensor, warp: Warp) -> Tensor:
    """Rotated and sheared about the middle, bicubic; mirrored beyond the border."""
    angle = math.radians(warp.angle_deg)
    height, width = image.shape[-2:]
    aspect = height / width
    shear = warp.shear * aspect
    across, down = math.cos(angle), math.sin(angle)
    matrix = [
        [across, across * shear + down * aspect, 0.0],
        [-down / aspect, across - down * shear / aspect, 0.0],
    ]
    # MPS has no bicubic grid_sample.
    source = image.cpu() if image.device.type == "mps" else image
    theta = torch.tensor([matrix], dtype=image.dtype, device=source.device)
    grid = torch.nn.functional.affine_grid(
        theta, [1, 1, height, width], align_corners=False
    )
    turned: Tensor = torch.nn.functional.grid_sample(
        source[None],
        grid,
        mode="bicubic",
        padding_mode="reflection",
        align_corners=False,
    )[0]
    return turned.to(image.device)


def resize_operators(image: Tensor, warp: Warp, extent: Size) -> AxisOperators:
    """Maps along Y and X by which a father is shrunk."""
    height, width = _skipped(image, warp).shape[-2:]
    return (
        resize_operator(height, warp.size_y, extent[0]),
        resize_operator(width, warp.size_x, extent[1]),
    )
