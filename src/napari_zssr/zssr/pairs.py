"""HR-father/LR-son pairs, made from the image itself and sampled on the device.

Fathers are the image at several sizes; every son is its father degraded. All of them
lie in two flat buffers, so that a batch of crops with flips and rotations is one
gather, without a loop over crops or pixels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from napari_zssr.config import KernelSpec
from napari_zssr.imaging.degrade import degradation
from napari_zssr.imaging.dihedral import SWAP
from napari_zssr.imaging.noise import CLEAN, NoiseModel, recorrupt
from napari_zssr.imaging.resample import output_size, resize, resize_operator

Size = tuple[int, int]
Pair = tuple[float, float]
Region = tuple[float, float, float, float]

HELD_OUT_REGIONS = 25
HELD_OUT_SIDE = 0.052
HELD_OUT_MAX_PX = 32
HELD_OUT_SHARE = 0.08


@dataclass(frozen=True, slots=True)
class Warp:
    """How a father is made from the image.

    Attributes
    ----------
    size_y, size_x : float
        Size relative to the image.
    angle_deg : float
        Rotation before shrinking.
    """

    size_y: float
    size_x: float
    angle_deg: float = 0.0

    @property
    def is_identity(self) -> bool:
        """Whether the father is the image itself."""
        return (self.size_y, self.size_x, self.angle_deg) == (1.0, 1.0, 0.0)


IDENTITY = Warp(1.0, 1.0)
_SIZES = np.round(np.linspace(1.0, 0.5, 14), 4).tolist()
_STRETCHED = ((1.0, 0.75), (0.9, 0.65), (0.8, 0.6), (0.7, 0.5))
SHRUNK = tuple(Warp(s, s) for s in _SIZES)
STRETCHED = tuple(w for a, b in _STRETCHED for w in (Warp(a, b), Warp(b, a)))
TURNED = tuple(Warp(s, s, a) for s, a in ((0.8, 22.5), (0.75, 45.0), (0.7, 67.5)))
WARPS = SHRUNK + STRETCHED + TURNED
# Shrinking averages noise away: under noise only large fathers resemble the image.
NOISY_WARPS = (
    *(Warp(s, s) for s in np.linspace(1.0, 0.75, 6).tolist()),
    *TURNED[:2],
)


@dataclass(frozen=True, slots=True, kw_only=True)
class PairSpec:
    """How pairs are made.

    Attributes
    ----------
    factors : tuple of float
        Enlargement that is learned, along (Y, X).
    ratio : tuple of int
        Father pixels per network input pixel; (1, 1) when the network sees the son
        interpolated to the father's size.
    kernel : KernelSpec
        Blur for these factors.
    noise : NoiseModel
        Noise of the image, in its normalised intensity.
    alpha : float
        Strength of recorruption; 0 leaves the fathers as they are.
    crop_px : int
        Side of the crops, in network input pixels.
    transforms : tuple of int
        Allowed flips and rotations.
    warps : tuple of Warp
        The fathers.
    """

    factors: Pair
    ratio: tuple[int, int]
    kernel: KernelSpec
    noise: NoiseModel = CLEAN
    alpha: float = 0.0
    crop_px: int = 32
    transforms: tuple[int, ...] = tuple(range(8))
    warps: tuple[Warp, ...] = WARPS


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PairSet:
    """Pairs in flat buffers.

    Attributes
    ----------
    fathers : Tensor, shape (C + 1, pixels)
        HR fathers; the last channel is 1 where the loss counts.
    sons : Tensor, shape (C, pixels)
        Network inputs, noise included.
    layout : Tensor, shape (pairs, 6), int64
        Father offset and width, son offset, height and width, for each pair; last
        column unused.
    weights : Tensor, shape (pairs,)
        Sampling probability.
    """

    fathers: Tensor
    sons: Tensor
    layout: Tensor
    weights: Tensor
    ratio: tuple[int, int]
    crop: Size


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class HeldOut:
    """Regions whose fathers no training step sees.

    Attributes
    ----------
    sons : Tensor, shape (regions, C, y, x)
        Network inputs with their surroundings, as noisy as the image.
    fathers : Tensor, shape (regions, C, Y, X)
        Targets.
    weight : Tensor, shape (regions, 1, Y, X)
        1 inside the held-out region.
    """

    sons: Tensor
    fathers: Tensor
    weight: Tensor


def build_pairs(
    windows: Sequence[Tensor],
    spec: PairSpec,
    generator: torch.Generator,
    *,
    warps: Sequence[Warp] | None = None,
) -> tuple[PairSet, HeldOut]:
    """Make fathers and sons from parts of an image.

    Parameters
    ----------
    windows : sequence of Tensor, shape (C, Y, X)
        Normalised parts of the image, on the device.
    spec : PairSpec
    generator : torch.Generator
        CPU generator of the noise.
    warps : sequence of Warp, optional
        Fathers instead of those of `spec`.
    """
    crop = crop_size(windows, spec)
    fathers, sons, rows, weights = [], [], [], []
    father_at = son_at = 0
    held_out: list[tuple[Tensor, Tensor, Tensor]] = []
    for window in windows:
        noisy, target = recorrupt(window, spec.noise, spec.alpha, generator)
        regions = _regions(window, len(windows), spec.ratio)
        for warp in warps or spec.warps:
            made = _father_and_son(noisy, target, warp, spec, generator)
            if made is None or not fits(made[1], crop):
                continue
            father, son = made
            size = (father.shape[1], father.shape[2])
            mask = _mask(window, regions, warp, size, spec.ratio)
            if warp.is_identity:
                held_out += _held_out_crops(father, son, regions, spec.ratio)
            fathers.append(torch.cat([father, mask]).flatten(1))
            sons.append(son.flatten(1))
            rows.append(
                [father_at, father.shape[2], son_at, son.shape[1], son.shape[2], 0]
            )
            weights.append(float(son.shape[1] * son.shape[2]))
            father_at += father.shape[1] * father.shape[2]
            son_at += son.shape[1] * son.shape[2]
    pairs = PairSet(
        fathers=torch.cat(fathers, dim=1),
        sons=torch.cat(sons, dim=1),
        layout=torch.tensor(rows),
        weights=torch.tensor(weights),
        ratio=spec.ratio,
        crop=crop,
    )
    return pairs, _stack_held_out(held_out)


def crop_size(windows: Sequence[Tensor], spec: PairSpec) -> Size:
    """Side of the crops (Y, X): as asked for, or what the smaller fathers allow."""
    sides = []
    for axis in (0, 1):
        smallest = min(window.shape[1 + axis] for window in windows)
        son = output_size(smallest, 0.6 / spec.factors[axis])
        if spec.ratio == (1, 1):
            son = output_size(smallest, 0.6)
        sides.append(max(4, min(spec.crop_px, son)))
    if any(n & SWAP for n in spec.transforms):
        sides = [min(sides)] * 2
    return sides[0], sides[1]


def draw_crops(
    pairs: PairSet, count: int, transforms: Sequence[int], generator: torch.Generator
) -> Tensor:
    """Random crops: table (count, 5) of pair, y, x, transform, unused; int64, CPU."""
    which = torch.multinomial(
        pairs.weights, count, replacement=True, generator=generator
    )
    room = pairs.layout[which][:, 3:5] - torch.tensor(pairs.crop) + 1
    place = (torch.rand(count, 2, generator=generator) * room).long()
    place = torch.minimum(place, room - 1)
    options = torch.tensor(list(transforms))
    picked = torch.randint(len(options), (count,), generator=generator)
    return torch.stack([which, place[:, 0], place[:, 1], options[picked]], dim=1)


def gather_crops(pairs: PairSet, crops: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Batch of crops; sons (B, C, y, x), fathers (B, C, Y, X), weights (B, 1, Y, X)."""
    rows = pairs.layout[crops[:, 0]]
    r_y, r_x = pairs.ratio
    height, width = pairs.crop
    son_index = _crop_index(
        rows[:, 2], rows[:, 4], crops[:, 1], crops[:, 2], height, width, crops[:, 3]
    )
    father_index = _crop_index(
        rows[:, 0],
        rows[:, 1],
        crops[:, 1] * r_y,
        crops[:, 2] * r_x,
        height * r_y,
        width * r_x,
        crops[:, 3],
    )
    device = pairs.sons.device
    sons = pairs.sons[:, son_index.to(device)].transpose(0, 1)
    fathers = pairs.fathers[:, father_index.to(device)].transpose(0, 1)
    return sons.contiguous(), fathers[:, :-1], fathers[:, -1:]


def fits(son: Tensor, crop: Size) -> bool:
    """Whether a son is large enough for a crop."""
    return son.shape[1] >= crop[0] and son.shape[2] >= crop[1]


def _crop_index(
    offset: Tensor,
    stride: Tensor,
    top: Tensor,
    left: Tensor,
    height: int,
    width: int,
    transforms: Tensor,
) -> Tensor:
    """Flat pixel indices (B, height, width) of crops, flipped and rotated."""
    y = torch.arange(height)[None, :, None].expand(len(top), -1, width)
    x = torch.arange(width)[None, None, :].expand(len(top), height, -1)
    bits = transforms[:, None, None]
    if height == width:
        swapped = (bits & SWAP) > 0
        y, x = torch.where(swapped, x, y), torch.where(swapped, y, x)
    y = torch.where((bits & 1) > 0, height - 1 - y, y)
    x = torch.where((bits & 2) > 0, width - 1 - x, x)
    rows = (top[:, None, None] + y) * stride[:, None, None]
    return offset[:, None, None] + rows + left[:, None, None] + x


def _father_and_son(
    noisy: Tensor,
    target: Tensor,
    warp: Warp,
    spec: PairSpec,
    generator: torch.Generator,
) -> tuple[Tensor, Tensor] | None:
    """One father and its network input, or None where the son would be too small."""
    extent = _father_extent(noisy, warp, spec)
    if extent is None:
        return None
    factors = spec.factors
    noisy_father = _warped(noisy, warp, extent)
    father = noisy_father if target is noisy else _warped(target, warp, extent)
    operator = degradation(spec.kernel, factors, extent)
    son = operator.degrade(noisy_father)
    if not spec.noise.is_clean:
        gain = _chain_gain(warp, operator.noise_gain(), noisy.shape[-1])
        missing = max(0.0, 1 - (1 + spec.alpha**2) * gain)
        son = spec.noise.add(son, missing, generator)
    if spec.ratio == (1, 1):
        son = resize(son, factors, extent)
    return father, son


def _father_extent(window: Tensor, warp: Warp, spec: PairSpec) -> Size | None:
    """Father's size (Y, X), cut to a multiple of the ratio."""
    shares = (warp.size_y, warp.size_x)
    extent = [
        output_size(n, share) // r * r
        for n, share, r in zip(window.shape[-2:], shares, spec.ratio, strict=True)
    ]
    sons = [output_size(n, 1 / f) for n, f in zip(extent, spec.factors, strict=True)]
    if min(sons) < 4:
        return None
    return extent[0], extent[1]


def _warped(image: Tensor, warp: Warp, extent: Size) -> Tensor:
    if warp.is_identity:
        return image[:, : extent[0], : extent[1]]
    turned = _turned(image, warp.angle_deg) if warp.angle_deg else image
    return resize(turned, (warp.size_y, warp.size_x), extent)


def _turned(image: Tensor, angle_deg: float) -> Tensor:
    """Rotated about the middle by bicubic interpolation; mirrored beyond the border."""
    angle = math.radians(angle_deg)
    height, width = image.shape[-2:]
    aspect = height / width
    matrix = [
        [math.cos(angle), math.sin(angle) * aspect, 0.0],
        [-math.sin(angle) / aspect, math.cos(angle), 0.0],
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


def _mask(
    window: Tensor,
    regions: list[Region],
    warp: Warp,
    extent: Size,
    ratio: tuple[int, int],
) -> Tensor:
    """1 where the father may be learned from: outside the held-out regions."""
    mask = torch.ones_like(window[:1])
    size = (
        window.shape[1] // ratio[0] * ratio[0],
        window.shape[2] // ratio[1] * ratio[1],
    )
    for region in regions:
        y0, x0, y1, x1 = _box(region, size, ratio)
        mask[:, y0:y1, x0:x1] = 0
    if warp.is_identity:
        return mask[:, : extent[0], : extent[1]]
    return (_warped(mask, warp, extent) > 0.99).to(mask.dtype)


def _chain_gain(warp: Warp, degradation_gain: float, pixels: int) -> float:
    """Variance left of the image's noise after shrinking and degrading."""
    if warp.is_identity:
        return degradation_gain
    matrix = resize_operator(pixels, warp.size_x).matrix
    row = matrix[[matrix.shape[0] // 2]].toarray()[0]
    return degradation_gain * float(row @ row) ** 2


def _regions(window: Tensor, windows: int, ratio: tuple[int, int]) -> list[Region]:
    """Held-out regions (top, left, bottom, right) as fractions of the window."""
    wanted = max(1, HELD_OUT_REGIONS // windows)
    smallest = 4 * ratio[0] * ratio[1]
    room = int(HELD_OUT_SHARE * window.shape[-2] * window.shape[-1] / smallest)
    wanted = min(wanted, max(4, room))
    columns = max(1, round(wanted**0.5))
    rows = max(1, wanted // columns)
    side = [min(HELD_OUT_SIDE, HELD_OUT_MAX_PX / n) for n in window.shape[-2:]]
    places = [
        ((r + 0.3 + 0.4 * ((r + c) % 2)) / rows, (c + 0.35 + 0.3 * (r % 2)) / columns)
        for r in range(rows)
        for c in range(columns)
    ]
    return [
        (y - side[0] / 2, x - side[1] / 2, y + side[0] / 2, x + side[1] / 2)
        for y, x in places
    ]


def _box(
    region: Region, size: Size, ratio: tuple[int, int]
) -> tuple[int, int, int, int]:
    """Region in pixels of a father, on whole network input pixels."""
    top, left, bottom, right = region
    r_y, r_x = ratio
    y0, x0 = int(top * size[0]) // r_y * r_y, int(left * size[1]) // r_x * r_x
    y1 = max(y0 + 2 * r_y, int(bottom * size[0]) // r_y * r_y)
    x1 = max(x0 + 2 * r_x, int(right * size[1]) // r_x * r_x)
    return y0, x0, min(y1, size[0]), min(x1, size[1])


def _held_out_crops(
    father: Tensor,
    son: Tensor,
    regions: list[Region],
    ratio: tuple[int, int],
) -> list[tuple[Tensor, Tensor, Tensor]]:
    """Son, father and weight around each held-out region, all of one size."""
    reach = 12
    size = (father.shape[1], father.shape[2])
    crops = []
    sides = [
        min(son.shape[1 + a], int(HELD_OUT_SIDE * son.shape[1 + a]) + 2 * reach)
        for a in (0, 1)
    ]
    sides = [min(side, HELD_OUT_MAX_PX // 2 + 2 * reach) for side in sides]
    for region in regions:
        y0, x0, y1, x1 = _box(region, size, ratio)
        top = _start((y0 + y1) // (2 * ratio[0]), sides[0], son.shape[1])
        left = _start((x0 + x1) // (2 * ratio[1]), sides[1], son.shape[2])
        weight = torch.zeros_like(father[:1])
        weight[:, y0:y1, x0:x1] = 1
        rows = slice(top * ratio[0], (top + sides[0]) * ratio[0])
        columns = slice(left * ratio[1], (left + sides[1]) * ratio[1])
        crops.append(
            (
                son[:, top : top + sides[0], left : left + sides[1]],
                father[:, rows, columns],
                weight[:, rows, columns],
            )
        )
    return crops


def _start(middle: int, side: int, size: int) -> int:
    return max(0, min(middle - side // 2, size - side))


def _stack_held_out(crops: list[tuple[Tensor, Tensor, Tensor]]) -> HeldOut:
    height = min(son.shape[1] for son, _, _ in crops)
    width = min(son.shape[2] for son, _, _ in crops)
    alike = [c for c in crops if c[0].shape[1:] == (height, width)]
    sons, fathers, weights = (torch.stack(part) for part in zip(*alike, strict=True))
    return HeldOut(sons=sons, fathers=fathers, weight=weights)
