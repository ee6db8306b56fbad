"""What a run takes: output, tiles, memory, disk and time. No torch in here."""

from __future__ import annotations

import math
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from napari_zssr.config import SHARED_PLANES, Config
from napari_zssr.errors import ComputeError, StorageError
from napari_zssr.imaging.intensity import IntensityMap
from napari_zssr.imaging.noise import is_noisy
from napari_zssr.stack.image import colour_count, output_shape, planes
from napari_zssr.units import bytes_text
from napari_zssr.zssr.canvas import scratch_bytes
from napari_zssr.zssr.cost import (
    AXIAL_SIDE_PX,
    LEARNED_PX,
    Rates,
    assumed_rates,
    expected_work,
)
from napari_zssr.zssr.start import Starts
from napari_zssr.zssr.training_plan import (
    NoiseEstimate,
    TrainingPlan,
    expected_axial_plan,
    expected_plans,
)

LARGEST_TILE_PX = 512
SMALLEST_TILE_PX = 64
# Fraction of the free memory that a run may plan with.
SHARE_OF_FREE = 0.6
# Libraries and their workspace, before the first pixel.
GROUND_BYTES = 350_000_000
# What further factors add to the pairs, and what of the pairs memory is slow to return.
FURTHER = 1.7
LEFT_BEHIND = 0.2
# Rows of a result in float64 while they are restored.
BAND_BYTES = 100_000_000
# Fine pixels of the columns along Z that are enlarged at a time, and how often these
# are held.
STRIP_PIXELS, STRIP_COPIES = 2**24, 14


@dataclass(frozen=True, slots=True, kw_only=True)
class RunPlan:
    """What a run will do, and what it will cost.

    Attributes
    ----------
    planes : planes that are enlarged one by one
    tile_px : side of the tiles at inference, input pixels
    precision : {"float32", "bfloat16"}
    memory_bytes : expected peak of the process, with what of input and output is
        held in memory
    scratch_bytes : disk that a large plane, or a stack along Z, takes while it is
        worked on, beside the output
    seconds : expected time, rough
    """

    output_shape: tuple[int, ...]
    output_axes: str
    output_dtype: str
    planes: int
    tile_px: int
    precision: str
    device: str
    memory_bytes: int
    scratch_bytes: int
    output_bytes: int
    seconds: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class RunInput:
    """Pixels and settings of a run.

    Attributes
    ----------
    starts : what the channels start from
    noise_estimates : of each channel; without them the time is that of clean ones
    output_dtype : as the settings have it without reading pixels unless given
    to_disk : whether image and result stay on disk, one plane at a time in memory
    factor_z : enlargement along Z after that of the planes, None for planes alone
    """

    config: Config
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    axes: str
    starts: Starts = ()
    noise_estimates: Sequence[NoiseEstimate] = ()
    output_dtype: np.dtype[Any] | None = None
    to_disk: bool = False
    factor_z: float | None = None

    @property
    def channels(self) -> int:
        """Number of channels."""
        return max(1, self.shape[self.axes.index("C")]) if "C" in self.axes else 1

    @property
    def result_dtype(self) -> np.dtype[Any]:
        """Type of the pixels of the result."""
        return self.output_dtype or output_type(self.config, self.dtype)


@dataclass(frozen=True, slots=True, kw_only=True)
class Hardware:
    """A device, as the expected cost depends on it.

    Attributes
    ----------
    free_bytes : memory that the device has free
    bfloat16 : whether the device computes fast in it
    """

    device: str = "cpu"
    free_bytes: int | None = None
    cores: int | None = None
    bfloat16: bool = False

    def precision(self, config: Config) -> str:
        """Arithmetic of the networks: as asked for, or what the device is fast in."""
        if config.precision != "auto":
            return config.precision
        return "bfloat16" if self.bfloat16 else "float32"

    def rates(self, config: Config, plan: TrainingPlan) -> Rates:
        """Rates that are assumed, for nothing was measured."""
        precision = self.precision(config)
        return assumed_rates(
            plan, device=self.device, cores=self.cores, precision=precision
        )


def plan_run(run: RunInput, hardware: Hardware) -> RunPlan:
    """Tiles, memory, disk and time of a run.

    ComputeError where the image and its result alone (one plane, where they stay on
    disk) are more than the free memory.
    """
    planar = None
    if run.factor_z is None or run.config.restores_planes:
        planar = _plan_planes(run, hardware)
    plan = planar
    if run.factor_z is not None:
        plan = _plan_axial(run, hardware, planar, run.factor_z)
    assert plan is not None
    expected = expected_work(
        run.config,
        run.starts,
        run.shape,
        run.axes,
        partial(hardware.rates, run.config),
        noise_estimates=run.noise_estimates,
        factor_z=run.factor_z,
    )
    return replace(plan, seconds=expected.seconds)


def _plan_planes(run: RunInput, hardware: Hardware) -> RunPlan:
    """Plan of enlarging every plane."""
    config, shape, axes = run.config, run.shape, run.axes
    out_shape = output_shape(shape, axes, config.factors)
    plane = _Plane.of(shape, out_shape, axes)
    samples = plane.samples
    output_bytes = math.prod(out_shape) * run.result_dtype.itemsize
    if config.error_map:
        # Noisier planes, the spread, and the errors of all pixels.
        plane = replace(plane, samples=2 * samples)
        output_bytes += 4 * math.prod(out_shape) // samples
    count = len(planes(axes, shape))
    held_bytes = math.prod(shape) * run.dtype.itemsize + output_bytes
    if run.to_disk:
        held_bytes = plane.samples * plane.coarse * run.dtype.itemsize
    alike = count // run.channels
    once, each = expected_plans(config, run.starts, alike, colour_count(samples))
    spread = min(SHARED_PLANES, alike) if once else 1
    pairs = _pairs_bytes(config, once or each, spread * plane.coarse)
    resting = held_bytes + 4 * plane.samples * plane.coarse
    enlarging = resting + plane.canvas
    on_device = 4 * plane.samples * plane.coarse
    if hardware.device == "cpu":
        _refuse_too_large(enlarging, hardware.free_bytes, run.to_disk)
        on_device = enlarging
    left_behind = int(LEFT_BEHIND * pairs)
    enlarging += left_behind
    tile_px = config.tile_px or _fitting_tile(
        each, plane, on_device + left_behind, hardware.free_bytes
    )
    enlarging += _tile_bytes(each, tile_px, plane)
    return RunPlan(
        output_shape=out_shape,
        output_axes=axes,
        output_dtype=run.result_dtype.name,
        planes=count,
        tile_px=tile_px,
        precision=hardware.precision(run.config),
        device=hardware.device,
        memory_bytes=GROUND_BYTES + max(resting + pairs, enlarging),
        scratch_bytes=plane.scratch,
        output_bytes=output_bytes,
    )


def _plan_axial(
    run: RunInput, hardware: Hardware, planar: RunPlan | None, factor: float
) -> RunPlan:
    """Plan of enlarging along Z, after the planes where these are enlarged too."""
    shape = planar.output_shape if planar else run.shape
    out_shape = output_shape(shape, run.axes, (factor, 1.0, 1.0))
    output_bytes = math.prod(out_shape) * run.result_dtype.itemsize
    between = planar.output_bytes if planar else 0
    strip = STRIP_COPIES * 4 * min(STRIP_PIXELS, math.prod(out_shape))
    plan = expected_axial_plan(run.config, run.starts, factor)
    learned = 2 * SHARED_PLANES * min(math.prod(shape), AXIAL_SIDE_PX**2)
    needed = max(strip, _pairs_bytes(run.config, plan, learned))
    if not run.to_disk:
        needed += math.prod(run.shape) * run.dtype.itemsize + between + output_bytes
        if hardware.device == "cpu":
            _refuse_too_large(needed, hardware.free_bytes, to_disk=False)
    return RunPlan(
        output_shape=out_shape,
        output_axes=run.axes,
        output_dtype=run.result_dtype.name,
        planes=len(planes(run.axes, out_shape)),
        tile_px=planar.tile_px if planar else SMALLEST_TILE_PX,
        precision=hardware.precision(run.config),
        device=hardware.device,
        memory_bytes=max(GROUND_BYTES + needed, planar.memory_bytes if planar else 0),
        # Enlarged planes and finished columns lie there until the end.
        scratch_bytes=between + output_bytes,
        output_bytes=output_bytes,
    )


def output_type(
    config: Config, dtype: np.dtype[Any], maps: Iterable[IntensityMap] = ()
) -> np.dtype[Any]:
    """Type of the pixels of a result."""
    few = config.dtype == "auto" and any(mapping.few_counts for mapping in maps)
    if few or config.dtype == "float32":
        return np.dtype(np.float32)
    return np.dtype(dtype).newbyteorder("=")


@dataclass(frozen=True, slots=True)
class _Plane:
    """One plane in pixels: as it is, enlarged, and its samples."""

    coarse: int
    fine: int
    samples: int

    @property
    def scratch(self) -> int:
        """Bytes of the enlarged plane that lie on disk until they are written."""
        colours = colour_count(self.samples)
        alpha = self.samples - colours
        return scratch_bytes((colours, self.fine)) + scratch_bytes((alpha, self.fine))

    @property
    def canvas(self) -> int:
        """Bytes of the enlarged plane in memory: all, or bands that are restored."""
        held = 4 * self.samples * self.fine - self.scratch
        return held + min(BAND_BYTES, 16 * self.samples * self.fine)

    @classmethod
    def of(cls, shape: Sequence[int], out_shape: Sequence[int], axes: str) -> _Plane:
        y, x = axes.index("Y"), axes.index("X")
        samples = shape[axes.index("S")] if "S" in axes else 1
        return cls(shape[y] * shape[x], out_shape[y] * out_shape[x], samples)


def _refuse_too_large(working: int, free_bytes: int | None, to_disk: bool) -> None:
    if free_bytes is None or working <= free_bytes:
        return
    what, instead = "The image and its result", "fewer planes at a time or a part"
    if to_disk:
        what, instead = "One plane and its result", "a part"
    raise ComputeError(
        f"{what} need {bytes_text(working)} of memory, but only "
        f"{bytes_text(free_bytes)} is free; enlarge {instead} of the plane."
    )


def _pairs_bytes(config: Config, plan: TrainingPlan, pixels: int) -> int:
    """Fathers with their masks, and sons, from the windows of so many pixels.

    Whether a plane is noisy is known only when it is read, so the larger figure counts
    unless the noise is given.
    """
    fathers = plan.kind.father_planes
    if isinstance(config.noise, float) and is_noisy(config.noise):
        fathers /= 2
    if len(plan.stages) > 1:
        fathers *= FURTHER
    sons = 1.0 if plan.kind.fine_grid else 0.25
    channels = plan.samples * (1 + sons) + 1
    return int(4 * fathers * channels * min(pixels, LEARNED_PX))


def _tile_bytes(plan: TrainingPlan, tile_px: int, plane: _Plane) -> int:
    """Activations and versions of one tile with its halo."""
    side = min(tile_px + 100, math.isqrt(plane.coarse) + 1)
    pixels = side * side
    grid = pixels * plan.factors[0] * plan.factors[1]
    before = max(plan.ratio) ** (plan.applications(plan.factors) - 1)
    active = grid if plan.kind.fine_grid else pixels * before**2
    width = plan.width if plan.kind.is_trained else 8
    # Eight versions, put in order pixel by pixel with their numbers.
    versions = 32 if plan.ensemble else 4
    return int(4 * (3 * width * active + versions * plane.samples * grid))


def _fitting_tile(
    plan: TrainingPlan, plane: _Plane, working: int, free_bytes: int | None
) -> int:
    """Largest tile whose activations fit beside everything else."""
    tile = LARGEST_TILE_PX
    if free_bytes is None:
        return tile
    room = SHARE_OF_FREE * free_bytes - working
    # A tile counts in full, even where the plane is smaller.
    endless = replace(plane, coarse=2**40)
    while tile > SMALLEST_TILE_PX and _tile_bytes(plan, tile, endless) > room:
        tile //= 2
    return tile


# All levels of a pyramid beside its first one.
PYRAMID = 4 / 3
_TIFF = (".tif", ".tiff")


@dataclass(frozen=True, slots=True, kw_only=True)
class DiskNeeds:
    """What a run to disk takes at most.

    Attributes
    ----------
    memory_bytes : of all workers on this machine together
    disk_bytes : with what is there for a while only; compression is not counted on
    disk_free : in the folder of the result, None where it is not known
    """

    memory_bytes: int
    disk_bytes: int
    disk_free: int | None


def disk_needs(plan: RunPlan, target: Path, *, workers: int = 1) -> DiskNeeds:
    """What a run to disk takes."""
    zarr = target.suffix.lower() == ".zarr"
    kept = plan.output_bytes * (PYRAMID if zarr else 2)
    return DiskNeeds(
        memory_bytes=workers * plan.memory_bytes,
        disk_bytes=int(kept + workers * plan.scratch_bytes),
        disk_free=free_disk(target),
    )


def check_room(plan: RunPlan, needs: DiskNeeds, target: Path) -> None:
    """Refuse a run whose planes or whose file (not compressed) have no room."""
    if needs.disk_free is None:
        return
    if target.suffix.lower() in _TIFF and plan.output_bytes > needs.disk_free:
        raise StorageError(
            f"The OME-TIFF needs {bytes_text(plan.output_bytes)} on the disk of "
            f"{target.parent}, but only {bytes_text(needs.disk_free)} is free; make "
            "room, choose another folder, or write an .ome.zarr, which is compressed."
        )
    if plan.scratch_bytes > needs.disk_free:
        raise StorageError(
            f"Temporary files need {bytes_text(plan.scratch_bytes)} on the disk of "
            f"{target.parent}, but only {bytes_text(needs.disk_free)} is free; make "
            "room, or choose another folder."
        )


def needs_message(plan: RunPlan, needs: DiskNeeds) -> str:
    """One sentence for the user before a run."""
    planes = "1 plane" if plan.planes == 1 else f"{plan.planes} planes"
    disk = f"up to {bytes_text(needs.disk_bytes)} on disk"
    if needs.disk_free is not None:
        disk += f" ({bytes_text(needs.disk_free)} free)"
    sentence = f"{planes}, about {bytes_text(needs.memory_bytes)} of memory, {disk}."
    if needs.disk_free is not None and needs.disk_bytes > needs.disk_free:
        sentence += " It fits only if the image compresses well."
    return sentence


def free_disk(target: Path) -> int | None:
    """Free bytes of the disk that a file will be on, None where it is not known."""
    try:
        return shutil.disk_usage(target.parent).free
    except OSError:
        return None
