"""Applying a network: tiles, geometric self-ensemble, back-projection."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import product
from pathlib import Path

import torch
from torch import Tensor, nn

from napari_zssr.errors import ComputeError, is_out_of_memory
from napari_zssr.imaging.degrade import degradation
from napari_zssr.imaging.kernel import sampled_kernel
from napari_zssr.imaging.resample import (
    SWAP,
    Window,
    inverse_transform,
    output_size,
    output_window,
    resize,
    symmetries,
    transform,
    whole_pixel_step,
    window_within,
)
from napari_zssr.kernelspec import KernelSpec
from napari_zssr.progress import Progress, Steps
from napari_zssr.zssr.canvas import Canvas, ScratchCanvas, new_canvas, scratch_bytes
from napari_zssr.zssr.networks import InterpolationNetwork, StagedNetwork, applied
from napari_zssr.zssr.training_plan import Execution, TrainingPlan
from napari_zssr.zssr.warps import Pair

BACK_PROJECTION_REACH = 32
# Spread of the colours (fraction of the range) up to which a pixel is grey, and from
# which its colour is learned.
GREY = (0.03, 0.1)
SMALLEST_TILE_PX = 64
# Input pixels of all versions that pass through the network together.
BATCH_PIXELS = 800_000
GROWTH_SIDE_PX = 48
GROWTH_ROUNDS = 40


@dataclass(frozen=True, slots=True, kw_only=True)
class PredictSpec:
    """How a network is applied.

    Attributes
    ----------
    factors : enlargement along (Y, X)
    applications : how often the network is applied before resampling to the factors
    kernel : blur for these factors, used by back-projection
    transforms : flips and rotations of the ensemble; (0,) for none
    back_projection : iterations
    strength : share of each correction, 0..1; below 1 for noisy images
    share : of what networks change from bicubic, 0..1, that is delivered
    tile_px : side of a tile in input pixels
    precision : {"float32", "bfloat16"}
    """

    factors: Pair
    applications: int = 1
    kernel: KernelSpec
    transforms: tuple[int, ...] = (0,)
    back_projection: int = 0
    strength: float = 1.0
    share: float = 1.0
    tile_px: int = 512
    precision: str = "float32"


def predict_spec(
    plan: TrainingPlan, factors: Pair, execution: Execution
) -> PredictSpec:
    """How a network is applied for one gradual factor."""
    kernel = plan.kernel_for(factors)
    transforms = symmetries(factors, sampled_kernel(kernel)) if plan.ensemble else (0,)
    return PredictSpec(
        factors=factors,
        applications=plan.applications(factors),
        kernel=kernel,
        transforms=transforms,
        back_projection=back_projection_iterations(plan, factors),
        strength=plan.strength,
        tile_px=execution.tile_px,
        precision=execution.precision,
    )


def back_projection_iterations(plan: TrainingPlan, factors: Pair) -> int:
    """Iterations of back-projection; none where they would lead away from the image."""
    if plan.strength <= 0 or plan.back_projection == 0:
        return 0
    kernel = plan.kernel_for(factors)
    grows = kernel.kind != "bicubic" and residual_growth(kernel, factors) > 1
    return 0 if grows else plan.back_projection


def predict(
    network: nn.Module,
    plane: Tensor,
    spec: PredictSpec,
    window: Window | None = None,
) -> Steps[Tensor]:
    """Enlarge a plane (C, Y, X) tile by tile; (C, ceil(f Y), ceil(f X)), on the CPU."""
    if window is not None:
        size = (plane.shape[1], plane.shape[2])
        wide = window_with_halo(window, size, halo(network, spec), spec.factors)
        enlarged = yield from predict(network, plane[:, *wide], spec)
        return windowed(enlarged, spec.factors, window_within(window, wide))
    out = torch.empty(*enlarged_shape(plane, spec.factors))
    yield from predict_tiles(network, plane, spec, out)
    return out


def predict_tiles(
    network: nn.Module, plane: Tensor, spec: PredictSpec, canvas: Canvas
) -> Steps[None]:
    """`predict` onto a canvas of shape `enlarged_shape`."""
    size = (plane.shape[1], plane.shape[2])
    tiles = list(make_tiles(size, halo(network, spec), spec))
    total = len(tiles) * len(spec.transforms)
    done = 0
    for inner, outer in tiles:
        crop = plane[:, *outer]
        versions: list[Tensor] = []
        for numbers in version_batches(spec.transforms, crop):
            versions += _enlarged(network, crop, numbers, spec)
            done += len(numbers)
            yield Progress(stage="predict", step=done, total=total)
        result = blend_with_bicubic(_merged(versions, crop, spec), crop, spec)
        _paste(canvas, result, inner, outer, spec.factors)


def enlarged_shape(plane: Tensor, factors: Pair) -> tuple[int, int, int]:
    """(C, ceil(f Y), ceil(f X)) of a plane (C, Y, X)."""
    channels, height, width = plane.shape
    return channels, output_size(height, factors[0]), output_size(width, factors[1])


def halo(network: nn.Module, spec: PredictSpec) -> int:
    """Input pixels around a tile that change the tile by more than 1e-4."""
    reach = int(network.halo)  # type: ignore[arg-type]
    if network.ratio == (1, 1):
        reach = int(reach / min(spec.factors)) + 3
    else:
        # Each application sees pixels half as large as the one before.
        reach = sum(reach / 2**n for n in range(spec.applications)).__ceil__() + 3
    return reach + (BACK_PROJECTION_REACH if spec.back_projection else 0)


def make_tiles(
    size: tuple[int, int], halo_px: int, spec: PredictSpec
) -> Iterator[tuple[Window, Window]]:
    """Tiles of a plane (Y, X) without and with a halo, on whole output pixels."""
    rows, columns = (
        _spans(n, spec.tile_px, halo_px, whole_pixel_step(f))
        for n, f in zip(size, spec.factors, strict=True)
    )
    for (inner_y, outer_y), (inner_x, outer_x) in product(rows, columns):
        yield (inner_y, inner_x), (outer_y, outer_x)


def window_with_halo(
    window: Window, size: tuple[int, int], halo_px: int, factors: Pair
) -> Window:
    """The window with a halo, within the plane and begun on a whole output pixel."""
    spans = []
    for part, pixels, factor in zip(window, size, factors, strict=True):
        step = whole_pixel_step(factor)
        if step is None:
            spans.append(slice(0, pixels))
            continue
        start = max(0, part.start - halo_px) // step * step
        spans.append(slice(start, min(pixels, part.stop + halo_px)))
    return spans[0], spans[1]


def windowed(enlarged: Tensor, factors: Pair, window: Window | None) -> Tensor:
    """Cut the window out of an enlarged plane; all of it without a window."""
    if window is None:
        return enlarged
    rows, columns = output_window(window, factors)
    return enlarged[..., rows, columns]


def back_project(
    enlarged: Tensor,
    plane: Tensor,
    factors: Pair,
    kernel: KernelSpec,
    iterations: int,
    strength: float = 1.0,
) -> Tensor:
    """Make a degraded result (C, Y', X') agree with the input (Irani, Peleg, 1991)."""
    fine = (enlarged.shape[-2], enlarged.shape[-1])
    operator = degradation(kernel, factors, fine, (plane.shape[-2], plane.shape[-1]))
    for _ in range(iterations):
        residual = plane - operator.degrade(enlarged)
        enlarged = enlarged + strength * resize(residual, factors, fine)
    return enlarged


@lru_cache(maxsize=64)
def residual_growth(kernel: KernelSpec, factors: Pair) -> float:
    """Factor by which one back-projection changes the worst residual; over 1 it grows.

    Thin kernels sampled on few pixels can turn the sign of some frequencies, which
    every step then pushes further away. Found by power iteration.
    """
    size = (GROWTH_SIDE_PX, GROWTH_SIDE_PX)
    fine = (output_size(size[0], factors[0]), output_size(size[1], factors[1]))
    operator = degradation(kernel, factors, fine, size)
    generator = torch.Generator().manual_seed(0)
    residual = torch.randn(1, *size, generator=generator, dtype=torch.float64)
    growth = 0.0
    for _ in range(GROWTH_ROUNDS):
        residual = residual / residual.norm()
        residual = residual - operator.degrade(resize(residual, factors, fine))
        growth = float(residual.norm())
    return growth


def keep_grey(enlarged: Tensor, plain: Tensor) -> Tensor:
    """Keep grey what is grey in the image.

    Colours that are learned together drift apart by a few levels where all are alike.
    There the result gets only the brightness; its colour is that of the image.
    """
    low, high = GREY
    colourful = (plain.amax(0) - plain.amin(0) - low) / (high - low)
    brightness = (enlarged - plain).mean(dim=0, keepdim=True)
    return torch.lerp(plain + brightness, enlarged, colourful.clamp(0, 1))


def blend_with_bicubic(enlarged: Tensor, crop: Tensor, spec: PredictSpec) -> Tensor:
    """What is delivered of an enlarged tile: grey kept, and no more than its share.

    The colour of a noisy plane's pixels is that of the noise, which is not kept.
    """
    coloured = len(enlarged) == 3 and spec.strength >= 1
    if not coloured and spec.share >= 1:
        return enlarged
    plain = resize(crop, spec.factors, (enlarged.shape[-2], enlarged.shape[-1]))
    if coloured:
        enlarged = keep_grey(enlarged, plain)
    return torch.lerp(plain, enlarged, spec.share)


def version_batches(transforms: tuple[int, ...], crop: Tensor) -> list[tuple[int, ...]]:
    """Versions of the ensemble that pass through the network together.

    On a processor one by one, which takes less memory; on a GPU, where launches are
    what takes time, those of one orientation, as many as memory allows.
    """
    size = 1 if crop.device.type == "cpu" else max(1, BATCH_PIXELS // crop[0].numel())
    upright = [number for number in transforms if not number & SWAP]
    turned = [number for number in transforms if number & SWAP]
    return [
        tuple(numbers[first : first + size])
        for numbers in (upright, turned)
        for first in range(0, len(numbers), size)
    ]


@torch.no_grad()
def _enlarged(
    network: nn.Module, crop: Tensor, numbers: tuple[int, ...], spec: PredictSpec
) -> Tensor:
    """Versions (B, C, Y', X') of one orientation, back-projected and turned back."""
    turned = torch.stack([transform(crop, number) for number in numbers])
    versions = _applied_turned(network, turned, numbers[0], spec)
    back = [
        inverse_transform(version, number)
        for version, number in zip(versions, numbers, strict=True)
    ]
    return _projected(torch.stack(back), crop, spec)


@torch.no_grad()
def enlarged_batch(network: nn.Module, planes: Tensor, spec: PredictSpec) -> Tensor:
    """Planes (B, C, Y, X) enlarged whole, as one that is enlarged tile by tile."""
    versions = [_version(network, planes, number, spec) for number in spec.transforms]
    return _blended(_merged(versions, planes, spec), planes, spec)


@torch.no_grad()
def version_of(
    network: nn.Module, planes: Tensor, number: int, spec: PredictSpec
) -> Tensor:
    """Planes (B, C, Y, X) enlarged in one orientation of the ensemble alone."""
    return _blended(_version(network, planes, number, spec), planes, spec)


def _version(
    network: nn.Module, planes: Tensor, number: int, spec: PredictSpec
) -> Tensor:
    version = _applied_turned(network, transform(planes, number), number, spec)
    return _projected(inverse_transform(version, number), planes, spec)


def _blended(enlarged: Tensor, planes: Tensor, spec: PredictSpec) -> Tensor:
    pairs = zip(enlarged, planes, strict=True)
    return torch.stack(
        [blend_with_bicubic(image, plane, spec) for image, plane in pairs]
    )


def _applied_turned(
    network: nn.Module, turned: Tensor, number: int, spec: PredictSpec
) -> Tensor:
    """Apply a network to planes (B, C, Y, X) that `transform` has turned."""
    factors = spec.factors[::-1] if number & SWAP else spec.factors
    target = enlarged_shape(turned[0], factors)[1:]
    return _applied(network, turned, factors, target, spec)


def _applied(
    network: nn.Module,
    planes: Tensor,
    factors: Pair,
    target: tuple[int, int],
    spec: PredictSpec,
) -> Tensor:
    ratio: tuple[int, int] = network.ratio  # type: ignore[assignment]
    if ratio == (1, 1):
        planes = resize(planes, factors, target)
    reached = [1.0, 1.0]
    for number in range(spec.applications):
        if number and isinstance(network, StagedNetwork):
            network = network.further
        planes = applied(network, planes, spec.precision)
        reached = [a * r for a, r in zip(reached, ratio, strict=True)]
    if ratio == (1, 1) or tuple(reached) == factors:
        return planes
    rest = (factors[0] / reached[0], factors[1] / reached[1])
    return resize(planes, rest, target)


@torch.no_grad()
def _merged(versions: list[Tensor], crop: Tensor, spec: PredictSpec) -> Tensor:
    if len(versions) == 1:
        return versions[0]
    return _projected(merged(versions), crop, spec)


def merged(versions: list[Tensor]) -> Tensor:
    """Median of versions of an image; of an even number, the mean of the middle two."""
    ordered, count = torch.stack(versions).sort(dim=0).values, len(versions)
    # torch.median takes the lower of the two middle values: every result darker.
    return ordered[(count - 1) // 2 : count // 2 + 1].mean(dim=0)


def _projected(enlarged: Tensor, crop: Tensor, spec: PredictSpec) -> Tensor:
    return back_project(
        enlarged, crop, spec.factors, spec.kernel, spec.back_projection, spec.strength
    )


def _spans(
    size: int, tile_px: int, halo_px: int, step: int | None
) -> list[tuple[slice, slice]]:
    """Tiles along one axis, without and with a halo."""
    if step is None or size <= tile_px:
        return [(slice(0, size), slice(0, size))]
    side = max(step, tile_px // step * step)
    margin = -(-halo_px // step) * step
    ends = [(start, min(start + side, size)) for start in range(0, size, side)]
    return [
        (slice(first, last), slice(max(0, first - margin), min(size, last + margin)))
        for first, last in ends
    ]


def _paste(
    canvas: Canvas, result: Tensor, inner: Window, outer: Window, factors: Pair
) -> None:
    """Put an enlarged tile without its halo onto a canvas."""
    fine = output_window(inner, factors)
    inside = window_within(fine, output_window(outer, factors))
    canvas[:, *fine] = result[:, *inside].cpu()


def bicubic(plane: Tensor, factors: Pair, window: Window | None = None) -> Tensor:
    """Bicubic enlargement, of a window alone if given; (C, Y, X) -> (C, Y', X')."""
    return windowed(resize(plane, factors), factors, window)


def bicubic_steps(
    plane: Tensor,
    factors: Pair,
    window: Window | None = None,
    scratch: Path | None = None,
) -> Steps[Canvas]:
    """`bicubic`, tile by tile onto a canvas where the enlarged plane is large."""
    if not scratch_bytes(enlarged_shape(plane, factors)):
        return bicubic(plane, factors, window).cpu()
    spec = PredictSpec(factors=factors, kernel=KernelSpec())
    return (yield from enlarged(InterpolationNetwork(), plane, spec, window, scratch))


def bicubic_spec(spec: PredictSpec) -> PredictSpec:
    """How `InterpolationNetwork` is applied in the place of another one."""
    return replace(spec, applications=1, transforms=(0,), back_projection=0, share=1.0)


def with_mean_of(image: Canvas, plane: Tensor) -> Canvas:
    """Keep the mean of every channel: the result is never brighter than the input."""
    wanted = plane.mean(dim=(-2, -1), keepdim=True).cpu()
    if isinstance(image, ScratchCanvas):
        image.shift = wanted - image.mean()
        return image
    assert isinstance(image, Tensor)
    return image.add_(wanted - image.mean(dim=(-2, -1), keepdim=True))


def enlarged(
    network: nn.Module,
    plane: Tensor,
    spec: PredictSpec,
    window: Window | None = None,
    scratch: Path | None = None,
) -> Steps[Canvas]:
    """Predict a window, or all of a plane (C, Y, X) onto a canvas (C, Y', X').

    After a failure for want of memory, with half the tile; ComputeError where memory
    runs out even with the smallest one.
    """
    while True:
        try:
            if window is not None:
                return (yield from predict(network, plane, spec, window))
            with new_canvas(enlarged_shape(plane, spec.factors), scratch) as canvas:
                yield from predict_tiles(network, plane, spec, canvas)
                return canvas
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            if spec.tile_px // 2 < SMALLEST_TILE_PX:
                raise ComputeError(
                    f"Out of memory even with tiles of {spec.tile_px} pixels; close "
                    "other programs or use device='cpu'."
                ) from error
        spec = replace(spec, tile_px=spec.tile_px // 2)
        yield Progress(
            stage="predict",
            step=0,
            total=1,
            message=(
                f"Out of memory; continuing with smaller tiles of {spec.tile_px} "
                "pixels."
            ),
        )
