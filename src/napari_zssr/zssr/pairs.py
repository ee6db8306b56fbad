"""HR-father/LR-son pairs, made from the image itself and sampled on the device.

Fathers are the image at several sizes; every son is its father degraded. All of them
lie in two flat buffers, so that a batch of crops with flips and rotations is one
gather, without a loop over crops or pixels.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from napari_zssr.imaging.degrade import degradation
from napari_zssr.imaging.kernel import sampled_kernel
from napari_zssr.imaging.noise import CLEAN, NoiseModel, recorrupt
from napari_zssr.imaging.resample import (
    SWAP,
    output_size,
    resize,
    spread_starts,
    symmetries,
)
from napari_zssr.kernelspec import KernelSpec
from napari_zssr.progress import Progress, Steps, drain
from napari_zssr.zssr.canvas import Canvas
from napari_zssr.zssr.training_plan import SMALLEST_SON_PX, TrainingPlan
from napari_zssr.zssr.warps import (
    IDENTITY,
    NOISY_WARPS,
    WARPS,
    Pair,
    Size,
    Warp,
    resize_operators,
    warped,
    warped_extent,
)

Region = tuple[float, float, float, float]
Crop = tuple[Tensor, Tensor, Tensor]

# Side of a plane that is learned from whole; of a larger one so many windows.
WHOLE_PX, WINDOW_PX, WINDOWS = 640, 512, 16
# Strength of recorruption on a noisy plane.
ALPHA = 0.7
HELD_OUT_MAX_PX = 32
SURROUND_PX = 12


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class HeldOut:
    """Regions whose fathers no training step sees.

    Attributes
    ----------
    sons : (crops, C, y, x); network inputs with their surroundings, as noisy as the
        image
    fathers : (crops, C, Y, X); targets
    region : (crops, 1, Y, X), int64, on the CPU; number of the held-out region that
        a pixel belongs to, from 1; 0 is none
    """

    sons: Tensor
    fathers: Tensor
    region: Tensor


def held_out_regions(
    window: Tensor, wanted: int, share: float, ratio: tuple[int, int]
) -> list[Region]:
    """Held-out regions of a window: (top, left, bottom, right) as fractions of it."""
    smallest = 4 * ratio[0] * ratio[1]
    room = int(share * window.shape[-2] * window.shape[-1] / smallest)
    wanted = min(wanted, max(min(4, wanted), room))
    height, width = window.shape[-2:]
    # Boxes are at least two network pixels wide; thin windows have room for few rows.
    columns = max(1, min(round(wanted**0.5), width // (4 * ratio[1])))
    rows = max(1, min(wanted // columns, height // (4 * ratio[0])))
    wished = (share / (rows * columns)) ** 0.5
    side = [min(wished, HELD_OUT_MAX_PX / n) for n in window.shape[-2:]]
    centres = [
        ((r + 0.3 + 0.4 * ((r + c) % 2)) / rows, (c + 0.35 + 0.3 * (r % 2)) / columns)
        for r in range(rows)
        for c in range(columns)
    ]
    return [
        (y - side[0] / 2, x - side[1] / 2, y + side[0] / 2, x + side[1] / 2)
        for y, x in centres
    ]


def training_mask(
    window: Tensor, regions: list[Region], ratio: tuple[int, int]
) -> Tensor:
    """1 where a window may be learned from: outside the held-out regions; (1, Y, X)."""
    mask = torch.ones(1, *window.shape[1:], dtype=window.dtype)
    size = warped_extent(window, IDENTITY, ratio)
    for region in regions:
        y0, x0, y1, x1 = _box(region, size, ratio)
        mask[:, y0:y1, x0:x1] = 0
    return mask.to(window.device)


def warped_mask(mask: Tensor, warp: Warp, ratio: tuple[int, int]) -> Tensor:
    """1 where the father may be learned from."""
    whole = warped(mask, warp, warped_extent(mask, warp, ratio))
    return (whole > 0.99).to(mask.dtype)


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
    same_size = [c for c in crops if c[0].shape == size]
    sons, fathers, numbers = (
        torch.stack(part) for part in zip(*same_size, strict=True)
    )
    most = numbers.flatten(1).amax(dim=1)
    before = (most.cumsum(0) - most)[:, None, None, None]
    region = torch.where(numbers > 0, numbers + before, numbers)
    return HeldOut(sons=sons, fathers=fathers, region=region)


def region_errors(output: Tensor, held_out: HeldOut) -> Tensor:
    """Mean squared error of an output (crops, C, Y, X) by region, float64, CPU."""
    squared = (output - held_out.fathers).square().mean(dim=1).flatten().cpu()
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


def training_windows(plane: Canvas, factors: Pair = (1.0, 1.0)) -> list[Tensor]:
    """Parts of a plane (C, Y, X) that are learned from: all, or windows spread over it.

    `factors` is its enlargement over the plane that was given: an enlarged plane is cut
    at the same positions, so that the same regions stay held out.
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


def enlarged_windows(plane: Canvas, factors: Pair) -> list[Tensor]:
    """Parts of an enlarged plane that are learned from, no more pixels than before."""
    return training_windows(plane, factors)[:: math.ceil(factors[0] * factors[1])]


def _span(start: int, side: int, factor: float) -> slice:
    return slice(round(start * factor), round((start + side) * factor))


def _starts(size: int, side: int, count: int) -> list[int]:
    if count == 1:
        return [(size - side) // 2]
    return spread_starts(size, side, count)


@dataclass(frozen=True, slots=True, kw_only=True)
class PairSpec:
    """How pairs are made.

    Attributes
    ----------
    factors : enlargement that is learned, along (Y, X)
    ratio : father pixels per network input pixel; (1, 1) when the network sees the
        son interpolated to the father's size
    kernel : blur for these factors
    noise : noise of the image, in its normalised intensity
    alpha : strength of recorruption; 0 leaves the fathers as they are
    crop_px : side of the crops, in network input pixels
    transforms : allowed flips and rotations
    warps : the fathers
    held_out : regions held out in each window; the same for training and judging
    held_out_share : fraction of a window that they cover
    """

    factors: Pair
    ratio: tuple[int, int]
    kernel: KernelSpec
    noise: NoiseModel = CLEAN
    alpha: float = 0.0
    crop_px: int = 32
    transforms: tuple[int, ...] = tuple(range(8))
    warps: tuple[Warp, ...] = WARPS
    held_out: int = 49
    held_out_share: float = 0.07


def pair_spec(plan: TrainingPlan, factors: Pair, parts: int = 1) -> PairSpec:
    """How pairs are made for a factor; `parts` windows share the held-out regions."""
    ratio = plan.ratio
    learned = factors if plan.kind.fine_grid else (float(ratio[0]), float(ratio[1]))
    kernel = plan.kernel_for(learned)
    regions, share = plan.kind.held_out
    return PairSpec(
        factors=learned,
        ratio=ratio,
        kernel=kernel,
        noise=plan.noise,
        alpha=ALPHA if plan.is_noisy else 0.0,
        crop_px=plan.crop_px,
        transforms=symmetries(learned, sampled_kernel(kernel)),
        held_out=max(1, regions // parts),
        held_out_share=share,
        warps=NOISY_WARPS if plan.is_noisy else WARPS,
    )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PairSet:
    """Pairs in flat buffers.

    Attributes
    ----------
    fathers : (C + 1, pixels); HR fathers; the last channel is 1 where the loss
        counts
    sons : (C, pixels); network inputs, noise included
    layout : (pairs, 5), int64; father offset and width, son offset, height and
        width, for each pair
    weights : (pairs,); sampling probability
    """

    fathers: Tensor
    sons: Tensor
    layout: Tensor
    weights: Tensor
    ratio: tuple[int, int]
    crop: Size


def build_pairs(
    windows: Sequence[Tensor],
    spec: PairSpec,
    generator: torch.Generator,
    *,
    warps: Sequence[Warp] | None = None,
) -> tuple[PairSet, HeldOut]:
    """Run `pair_steps` to its end."""
    return drain(pair_steps(windows, spec, generator, warps=warps))


def pair_steps(
    windows: Sequence[Tensor],
    spec: PairSpec,
    generator: torch.Generator,
    *,
    warps: Sequence[Warp] | None = None,
) -> Steps[tuple[PairSet, HeldOut]]:
    """Make fathers and sons from parts of an image. `windows`: (C, Y, X)."""
    wanted = spec.warps if warps is None else tuple(warps)
    pairs = _Buffers(windows, wanted, spec)
    held_out: list[Crop] = []
    for number, window in enumerate(windows):
        yield Progress(stage="pairs", step=number, total=len(windows))
        noisy, target = recorrupt(window, spec.noise, spec.alpha, generator)
        regions = held_out_regions(
            window, spec.held_out, spec.held_out_share, spec.ratio
        )
        mask = training_mask(window, regions, spec.ratio)
        for warp in wanted:
            pair = _father_and_son(noisy, target, warp, spec, generator)
            if pair is None or not fits(pair[1].shape[1:], pairs.crop):
                continue
            pairs.add(*pair, warped_mask(mask, warp, spec.ratio))
            if warp == IDENTITY:
                held_out += held_out_crops(*pair, regions, spec.ratio)
    return pairs.packed(), stacked(held_out)


class _Buffers:
    """Fathers, sons and masks of all sizes, end to end.

    Room for all is taken at first: put together at the end they would stand in memory
    three times.
    """

    def __init__(
        self, windows: Sequence[Tensor], warps: Sequence[Warp], spec: PairSpec
    ) -> None:
        self.crop = crop_size(windows, spec)
        self._ratio = spec.ratio
        sizes = [s for w in windows for s in _sizes(w, warps, spec, self.crop)]
        one, channels = windows[0], len(windows[0])
        self._fathers = one.new_empty(channels + 1, sum(father for father, _ in sizes))
        self._sons = one.new_empty(channels, sum(son for _, son in sizes))
        self._father_at = self._son_at = 0
        self._rows: list[list[int]] = []

    def add(self, father: Tensor, son: Tensor, mask: Tensor) -> None:
        """Take in a pair, shapes (C, Y, X), (C, y, x) and (1, Y, X)."""
        _, height, width = son.shape
        self._rows.append(
            [self._father_at, father.shape[2], self._son_at, height, width]
        )
        end = self._father_at + mask.numel()
        self._fathers[:-1, self._father_at : end] = father.flatten(1)
        self._fathers[-1:, self._father_at : end] = mask.flatten(1)
        self._father_at = end
        end = self._son_at + height * width
        self._sons[:, self._son_at : end] = son.flatten(1)
        self._son_at = end

    def packed(self) -> PairSet:
        """All that was taken in."""
        return PairSet(
            fathers=self._fathers[:, : self._father_at],
            sons=self._sons[:, : self._son_at],
            layout=torch.tensor(self._rows),
            weights=torch.tensor([float(row[3] * row[4]) for row in self._rows]),
            ratio=self._ratio,
            crop=self.crop,
        )


def _sizes(
    window: Tensor, warps: Sequence[Warp], spec: PairSpec, crop: Size
) -> Iterator[tuple[int, int]]:
    """Pixels of father and son for every pair of a window that is used."""
    for warp in warps:
        extent = warped_extent(window, warp, spec.ratio)
        small = _son_size(extent, spec.factors)
        input_size = extent if spec.ratio == (1, 1) else small
        if min(small) >= SMALLEST_SON_PX and fits(input_size, crop):
            yield extent[0] * extent[1], input_size[0] * input_size[1]


def _son_size(extent: Size, factors: Pair) -> Size:
    y, x = (output_size(n, 1 / f) for n, f in zip(extent, factors, strict=True))
    return y, x


def crop_size(windows: Sequence[Tensor], spec: PairSpec) -> Size:
    """Side of the crops (Y, X): as asked for, or what the smaller fathers allow."""
    smallest = [min(window.shape[axis] for window in windows) for axis in (1, 2)]
    shrunk = (1.0, 1.0) if spec.ratio == (1, 1) else spec.factors
    sons = (output_size(n, 0.6 / f) for n, f in zip(smallest, shrunk, strict=True))
    sides = [max(4, min(spec.crop_px, son)) for son in sons]
    if any(n & SWAP for n in spec.transforms):
        sides = [min(sides)] * 2
    return sides[0], sides[1]


def whole_pair(pairs: PairSet, number: int) -> tuple[Tensor, Tensor, Tensor]:
    """One pair uncut: son (C, y, x), father (C, Y, X), weight (1, Y, X)."""
    father_at, width, son_at, *small = pairs.layout[number].tolist()
    height = small[0] * pairs.ratio[0]
    son = pairs.sons[:, son_at : son_at + small[0] * small[1]]
    father = pairs.fathers[:, father_at : father_at + height * width]
    father = father.reshape(-1, height, width)
    return son.reshape(-1, *small), father[:-1], father[-1:]


def draw_crops(
    pairs: PairSet, count: int, transforms: Sequence[int], generator: torch.Generator
) -> Tensor:
    """Random crops: table (count, 4) of pair, y, x and transform; int64, CPU."""
    which = torch.multinomial(
        pairs.weights, count, replacement=True, generator=generator
    )
    room = pairs.layout[which][:, 3:5] - torch.tensor(pairs.crop) + 1
    corner = (torch.rand(count, 2, generator=generator) * room).long()
    corner = torch.minimum(corner, room - 1)
    options = torch.tensor(list(transforms))
    picked = torch.randint(len(options), (count,), generator=generator)
    return torch.stack([which, corner[:, 0], corner[:, 1], options[picked]], dim=1)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CropIndex:
    """Where the pixels of crops stand in the buffers of a `PairSet`, on its device.

    Attributes
    ----------
    sons : (..., y, x), int64
    fathers : (..., Y, X), int64
    """

    sons: Tensor
    fathers: Tensor

    def unbind(self) -> list[CropIndex]:
        """Those of each step, from (steps, B, y, x)."""
        steps = zip(self.sons.unbind(), self.fathers.unbind(), strict=True)
        return [CropIndex(sons=sons, fathers=fathers) for sons, fathers in steps]


def crop_index(pairs: PairSet, crops: Tensor) -> CropIndex:
    """Indices of crops (..., 4), computed on the device from one small table."""
    table = torch.cat([pairs.layout[crops[..., 0]], crops[..., 1:]], dim=-1)
    rows = table.to(pairs.sons.device)[..., None, None].unbind(dim=-3)
    father_at, father_width, son_at, _, son_width, top, left, bits = rows
    (r_y, r_x), (height, width) = pairs.ratio, pairs.crop
    return CropIndex(
        sons=_flat_index(son_at, son_width, top, left, (height, width), bits),
        fathers=_flat_index(
            father_at,
            father_width,
            top * r_y,
            left * r_x,
            (height * r_y, width * r_x),
            bits,
        ),
    )


def gather_crops(pairs: PairSet, index: CropIndex) -> tuple[Tensor, Tensor, Tensor]:
    """Batch of crops; sons (B, C, y, x), fathers (B, C, Y, X), weights (B, 1, Y, X)."""
    sons = pairs.sons[:, index.sons].transpose(0, 1)
    fathers = pairs.fathers[:, index.fathers].transpose(0, 1)
    return sons.contiguous(), fathers[:, :-1], fathers[:, -1:]


def fits(size: Sequence[int], crop: Size) -> bool:
    """Whether a son of a size (Y, X) is large enough for a crop."""
    return size[0] >= crop[0] and size[1] >= crop[1]


def _flat_index(
    offset: Tensor, stride: Tensor, top: Tensor, left: Tensor, size: Size, bits: Tensor
) -> Tensor:
    """Flat pixel indices (..., Y, X) of crops, flipped and rotated.

    All but the size have shape (..., 1, 1).
    """
    height, width = size
    y = torch.arange(height, device=bits.device)[:, None].expand(height, width)
    x = torch.arange(width, device=bits.device)[None, :].expand(height, width)
    if height == width:
        swapped = (bits & SWAP) > 0
        y, x = torch.where(swapped, x, y), torch.where(swapped, y, x)
    y = torch.where((bits & 1) > 0, height - 1 - y, y)
    x = torch.where((bits & 2) > 0, width - 1 - x, x)
    return offset + (top + y) * stride + left + x


def _father_and_son(
    noisy: Tensor,
    target: Tensor,
    warp: Warp,
    spec: PairSpec,
    generator: torch.Generator,
) -> tuple[Tensor, Tensor] | None:
    """One father and its network input, or None where the son would be too small."""
    extent = warped_extent(noisy, warp, spec.ratio)
    factors = spec.factors
    if min(_son_size(extent, factors)) < SMALLEST_SON_PX:
        return None
    noisy_father = warped(noisy, warp, extent)
    father = noisy_father if target is noisy else warped(target, warp, extent)
    operator = degradation(spec.kernel, factors, extent)
    son = operator.degrade(noisy_father)
    if not spec.noise.is_clean:
        gain = operator.noise_gain(resize_operators(noisy, warp, extent))
        missing = max(0.0, 1 - (1 + spec.alpha**2) * gain)
        son = spec.noise.add(son, missing, generator)
    son = spec.noise.as_stored(son)
    if spec.ratio == (1, 1):
        son = resize(son, factors, extent)
    return father, son
