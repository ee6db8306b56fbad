"""Regions whose fathers no training step sees."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from napari_zssr.zssr.warps import IDENTITY, Size, Warp, warped, warped_extent

Region = tuple[float, float, float, float]
Crop = tuple[Tensor, Tensor, Tensor]

HELD_OUT_MAX_PX = 32
SURROUND_PX = 12


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class HeldOut:
    """Regions whose fathers no training step sees.

    Attributes
    ----------
    sons : Tensor, shape (crops, C, y, x)
        Network inputs with their surroundings, as noisy as the image.
    fathers : Tensor, shape (crops, C, Y, X)
        Targets.
    region : Tensor, shape (crops, 1, Y, X), int64, on the CPU
        Number of the held-out region that a pixel belongs to, from 1; 0 is none.
    """

    sons: Tensor
    fathers: Tensor
    region: Tensor


def held_out_regions(
    window: Tensor, wanted: int, share: float, ratio: tuple[int, int]
) -> list[Region]:
    """Held-out regions (top, left, bottom, right) as fractions of the window.

    Parameters
    ----------
    window : Tensor, shape (C, Y, X)
    wanted : int
        Number of regions; fewer where they would be tiny.
    share : float
        Fraction of the window that they cover.
    ratio : tuple of int
        Enlargement of the network.
    """
    smallest = 4 * ratio[0] * ratio[1]
    room = int(share * window.shape[-2] * window.shape[-1] / smallest)
    wanted = min(wanted, max(min(4, wanted), room))
    height, width = window.shape[-2:]
    # Boxes are at least two network pixels wide; thin windows have room for few rows.
    columns = max(1, min(round(wanted**0.5), width // (4 * ratio[1])))
    rows = max(1, min(wanted // columns, height // (4 * ratio[0])))
    wished = (share / (rows * columns)) ** 0.5
    side = [min(wished, HELD_OUT_MAX_PX / n) for n in window.shape[-2:]]
    places = [
        ((r + 0.3 + 0.4 * ((r + c) % 2)) / rows, (c + 0.35 + 0.3 * (r % 2)) / columns)
        for r in range(rows)
        for c in range(columns)
    ]
    return [
        (y - side[0] / 2, x - side[1] / 2, y + side[0] / 2, x + side[1] / 2)
        for y, x in places
    ]


def training_mask(
    window: Tensor, regions: list[Region], warp: Warp, ratio: tuple[int, int]
) -> Tensor:
    """1 where the father may be learned from: outside the held-out regions."""
    mask = torch.ones_like(window[:1])
    size = warped_extent(window, IDENTITY, ratio)
    for region in regions:
        y0, x0, y1, x1 = _box(region, size, ratio)
        mask[:, y0:y1, x0:x1] = 0
    made = warped(mask, warp, warped_extent(window, warp, ratio))
    return (made > 0.99).to(mask.dtype)


def held_out_crops(
    father: Tensor,
    son: Tensor,
    regions: list[Region],
    ratio: tuple[int, int],
) -> list[Crop]:
    """Son, father and region numbers around each held-out region, all of one size.

    Where these would have more pixels than the son together, it comes whole.
    """
    boxes = [_box(r, (father.shape[1], father.shape[2]), ratio) for r in regions]
    top, left, bottom, right = regions[0]
    sides = [
        min(n, int(extent * n) + 2 * SURROUND_PX)
        for n, extent in zip(son.shape[1:], (bottom - top, right - left), strict=True)
    ]
    if len(boxes) * sides[0] * sides[1] >= son[0].numel():
        return [(son, father, _numbered(father, boxes))]
    crops = []
    for y0, x0, y1, x1 in boxes:
        top = _start((y0 + y1) // (2 * ratio[0]), sides[0], son.shape[1])
        left = _start((x0 + x1) // (2 * ratio[1]), sides[1], son.shape[2])
        rows = slice(top * ratio[0], (top + sides[0]) * ratio[0])
        columns = slice(left * ratio[1], (left + sides[1]) * ratio[1])
        target = father[:, rows, columns]
        shift_y, shift_x = rows.start, columns.start
        box = (y0 - shift_y, x0 - shift_x, y1 - shift_y, x1 - shift_x)
        crop = son[:, top : top + sides[0], left : left + sides[1]]
        crops.append((crop, target, _numbered(target, [box])))
    return crops


def stacked(crops: list[Crop]) -> HeldOut:
    """Batch of the crops that are as large as the first: of the image's own windows."""
    size = crops[0][0].shape
    alike = [c for c in crops if c[0].shape == size]
    sons, fathers, numbers = (torch.stack(part) for part in zip(*alike, strict=True))
    most = numbers.flatten(1).amax(dim=1)
    before = (most.cumsum(0) - most)[:, None, None, None]
    region = torch.where(numbers > 0, numbers + before, numbers)
    return HeldOut(sons=sons, fathers=fathers, region=region)


def region_errors(made: Tensor, held_out: HeldOut) -> Tensor:
    """Mean squared error in each held-out region, shape (regions,), float64, CPU.

    Parameters
    ----------
    made : Tensor, shape (crops, C, Y, X)
        What stands for the fathers.
    held_out : HeldOut
    """
    squared = (made - held_out.fathers).square().mean(dim=1).flatten().cpu()
    region = held_out.region.flatten()
    return (torch.bincount(region, squared.double()) / torch.bincount(region))[1:]


def _numbered(father: Tensor, boxes: list[tuple[int, int, int, int]]) -> Tensor:
    """Number of the box that a pixel of a father (C, Y, X) lies in; (1, Y, X)."""
    numbers = torch.zeros(1, *father.shape[1:], dtype=torch.int64)
    for number, (y0, x0, y1, x1) in enumerate(boxes, start=1):
        numbers[:, y0:y1, x0:x1] = number
    return numbers


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


def _start(middle: int, side: int, size: int) -> int:
    return max(0, min(middle - side // 2, size - side))
