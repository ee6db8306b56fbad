"""From a wish to a plan: output, planes, tiles, memory and time. No torch in here."""

from __future__ import annotations

import math
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from napari_zssr.config import SHARED_PLANES, Config
from napari_zssr.errors import ComputeError, StorageError
from napari_zssr.imaging.intensity import IntensityMap
from napari_zssr.imaging.noise import is_noisy
from napari_zssr.stack.axes import output_shape, planes
from napari_zssr.stack.image import colour_count
from napari_zssr.zssr.canvas import scratch_bytes

LARGEST_TILE_PX = 512
SMALLEST_TILE_PX = 64
# Fraction of the free memory that a run may plan with.
SHARE_OF_FREE = 0.6
# Sustained multiply-adds a second, by device; rough, for the time that is foretold.
SPEED = {"cpu": 11e9, "mps": 400e9, "cuda": 4e12}
BFLOAT16_SPEED_UP = 3.0
TRAINING_COST = 3.0
# Libraries and their workspace, before the first pixel.
GROUND_BYTES = 350_000_000
# Fathers of a plane together, in its pixels, with what it takes to make them; on a
# noisy plane they are half as many.
FATHERS = {"ridge": 24.0, "residual": 24.0, "paper": 1.5}
# What further factors add to the pairs, and what of the pairs memory is slow to return.
FURTHER = 1.7
LEFT_BEHIND = 0.2
# Rows of a result in float64 while they are restored.
BAND_BYTES = 100_000_000
WINDOWS_PX = 16 * 512**2


@dataclass(frozen=True, slots=True, kw_only=True)
class RunPlan:
    """What a run will do, and what it will cost.

    Attributes
    ----------
    output_shape : tuple of int
    output_axes : str
    output_dtype : str
    planes : int
        Planes that are enlarged one by one.
    tile_px : int
        Side of the tiles at inference, input pixels.
    precision : {"float32", "bfloat16"}
    device : str
    memory_bytes : int
        Expected peak of the process, with what of input and output is held in memory.
    scratch_bytes : int
        Disk that a large plane takes while it is worked on, beside the output.
    output_bytes : int
    seconds : float
        Expected time, rough.
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
    seconds: float


def plan_run(
    config: Config,
    shape: Sequence[int],
    dtype: np.dtype[Any],
    axes: str,
    *,
    output_dtype: np.dtype[Any] | None = None,
    device: str = "cpu",
    free_bytes: int | None = None,
    cores: int | None = None,
    bfloat16: bool = False,
    to_disk: bool = False,
) -> RunPlan:
    """Turn settings into a plan for an image.

    Parameters
    ----------
    config : Config
        Settings.
    shape : sequence of int
        Size along each axis.
    dtype : dtype
        Of the image.
    axes : str
        Letters of the axes.
    output_dtype : dtype, optional
        Of the result, see `output_type`; as the settings have it without a look at the
        pixels unless given.
    device : str
        Device that computes, resolved.
    free_bytes : int, optional
        Memory that the device has free.
    cores : int, optional
        Processor cores.
    bfloat16 : bool
        Whether the device computes fast in bfloat16.
    to_disk : bool
        Whether image and result stay on disk; then only the plane that is worked on
        is held in memory.

    Raises
    ------
    ComputeError
        The image and its result alone (one plane, where they stay on disk) are more
        than the free memory.
    """
    out_shape = output_shape(shape, axes, config.factors)
    kind = np.dtype(dtype)
    output_kind = output_dtype or output_type(config, kind)
    plane = _Plane.of(shape, out_shape, axes)
    output_bytes = math.prod(out_shape) * output_kind.itemsize
    count = len(planes(axes, shape))
    held_bytes = math.prod(shape) * kind.itemsize + output_bytes
    if to_disk:
        held_bytes = plane.samples * plane.coarse * kind.itemsize
    channels = max(1, shape[axes.index("C")]) if "C" in axes else 1
    alike = count // channels
    shares = config.strategy_for(alike) != "independent"
    spread = min(SHARED_PLANES, alike) if shares else 1
    pairs = _pairs_bytes(config, plane, spread)
    resting = held_bytes + 4 * plane.samples * plane.coarse
    enlarging = resting + plane.canvas
    if device == "cpu":
        _refuse_too_large(enlarging, free_bytes, to_disk)
    enlarging += int(LEFT_BEHIND * pairs)
    tile_px = config.tile_px or _fitting_tile(config, plane, enlarging, free_bytes)
    enlarging += _tile_bytes(config, tile_px, plane)
    precision = _chosen_precision(config, bfloat16)
    return RunPlan(
        output_shape=out_shape,
        output_axes=axes,
        output_dtype=output_kind.name,
        planes=count,
        tile_px=tile_px,
        precision=precision,
        device=device,
        memory_bytes=GROUND_BYTES + max(resting + pairs, enlarging),
        scratch_bytes=plane.scratch,
        output_bytes=output_bytes,
        seconds=_operations(config, plane, channels, alike)
        / _speed(device, cores, precision),
    )


def output_type(
    config: Config, dtype: np.dtype[Any], maps: Iterable[IntensityMap] = ()
) -> np.dtype[Any]:
    """Type of the pixels of a result.

    Parameters
    ----------
    config : Config
    dtype : dtype
        Of the image.
    maps : iterable of IntensityMap
        Of its channels, where they are known.

    Returns
    -------
    dtype
        In the byte order of this machine.
    """
    few = config.dtype == "auto" and any(mapping.few_counts for mapping in maps)
    if few or config.dtype == "float32":
        return np.dtype(np.float32)
    return np.dtype(dtype).newbyteorder("=")


def weights(config: Config) -> float:
    """Multiply-adds for one pixel on the grid that the network works on."""
    if config.network == "ridge":
        return 121.0 * 4
    layers = 6 if config.network == "paper" else 2 * config.blocks
    return 9.0 * config.width**2 * layers


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


def _chosen_precision(config: Config, bfloat16: bool) -> str:
    if config.precision != "auto":
        return config.precision
    return "bfloat16" if bfloat16 else "float32"


def _refuse_too_large(working: int, free_bytes: int | None, to_disk: bool) -> None:
    if free_bytes is None or working <= free_bytes:
        return
    what, instead = "The image and its result", "fewer planes at a time or a part"
    if to_disk:
        what, instead = "One plane and its result", "a part"
    raise ComputeError(
        f"{what} need {working / 1e9:.1f} GB of memory, {free_bytes / 1e9:.1f} GB are "
        f"free; enlarge {instead} of the plane."
    )


def _pairs_bytes(config: Config, plane: _Plane, spread: int) -> int:
    """Fathers with their masks, and sons, from windows that several planes may share.

    Whether a plane is noisy is seen only when it is read, so the larger figure counts
    unless the noise is given.
    """
    fathers = FATHERS[config.network]
    if isinstance(config.noise, float) and is_noisy(config.noise):
        fathers /= 2
    if config.stages > 1:
        fathers *= FURTHER
    sons = 1.0 if config.network == "paper" else 0.25
    channels = colour_count(plane.samples) * (1 + sons) + 1
    return int(4 * fathers * channels * min(spread * plane.coarse, WINDOWS_PX))


def _tile_bytes(config: Config, tile_px: int, plane: _Plane) -> int:
    """Activations and versions of one tile with its halo."""
    side = min(tile_px + 100, math.isqrt(plane.coarse) + 1)
    pixels = side * side
    y, x = config.factors
    grid = pixels * y * x
    before = config.ratio ** (config.applications - 1)
    active = grid if config.network == "paper" else pixels * before**2
    width = config.width if config.network != "ridge" else 8
    # Eight versions, put in order pixel by pixel with their numbers.
    versions = 32 if config.ensemble else 4
    return int(4 * (3 * width * active + versions * plane.samples * grid))


def _fitting_tile(
    config: Config, plane: _Plane, working: int, free_bytes: int | None
) -> int:
    """Largest tile whose activations fit beside everything else."""
    tile = LARGEST_TILE_PX
    if free_bytes is None:
        return tile
    room = SHARE_OF_FREE * free_bytes - working
    # A tile counts in full, even where the plane is smaller.
    endless = replace(plane, coarse=2**40)
    while tile > SMALLEST_TILE_PX and _tile_bytes(config, tile, endless) > room:
        tile //= 2
    return tile


def _speed(device: str, cores: int | None, precision: str) -> float:
    """Multiply-adds a second that the device sustains."""
    speed = SPEED.get(device.split(":")[0], SPEED["cpu"])
    if device == "cpu":
        speed *= max(1, min(cores or 1, 16))
    return speed * (BFLOAT16_SPEED_UP if precision == "bfloat16" else 1.0)


def _operations(config: Config, plane: _Plane, channels: int, alike: int) -> float:
    """Multiply-adds of a run: what channels learn once, and what each plane takes."""
    strategy = config.strategy_for(alike)
    if strategy == "independent":
        each = _training(config, config.steps) + _enlarging(config, plane)
        return channels * alike * config.stages * each
    once = config.stages * _training(config, config.shared_steps)
    spread = min(alike, SHARED_PLANES)
    once += (config.stages - 1) * spread * _enlarging(config, plane)
    tuned = _training(config, config.tuned_steps) if strategy == "tuned" else 0.0
    return channels * (once + alike * (tuned + _enlarging(config, plane)))


def _training(config: Config, steps: int) -> float:
    if config.network == "ridge":
        return 0.0
    trained = steps * config.batch * config.crop_px**2
    return TRAINING_COST * trained * weights(config)


def _enlarging(config: Config, plane: _Plane) -> float:
    """Prediction and back-projection of one plane at one factor."""
    passes = 8 if config.ensemble else 1
    paper = config.network == "paper"
    grid = plane.fine if paper else max(plane.coarse, plane.fine / config.ratio**2)
    return passes * (
        grid * weights(config) + 60.0 * plane.fine * config.back_projection
    )


# All levels of a pyramid beside its first one.
PYRAMID = 4 / 3
_TIFF = (".tif", ".tiff")


@dataclass(frozen=True, slots=True, kw_only=True)
class DiskNeeds:
    """What a run to disk takes at most.

    Attributes
    ----------
    memory_bytes : int
        Of all workers on this machine together.
    disk_bytes : int
        With what is there for a while only; compression is not counted on.
    disk_free : int or None
        In the folder of the result, None where it cannot be told.
    """

    memory_bytes: int
    disk_bytes: int
    disk_free: int | None

    @property
    def may_not_fit(self) -> bool:
        """Whether the disk suffices only if the pixels can be compressed."""
        return self.disk_free is not None and self.disk_bytes > self.disk_free


def disk_needs(plan: RunPlan, target: Path, *, workers: int = 1) -> DiskNeeds:
    """What a run to disk takes.

    Parameters
    ----------
    plan : Plan
        Of a run to disk.
    target : Path
        A TIFF is assembled at the end, from pixels that lie beside it until then.
    workers : int
        Planes that are worked on at the same time on this machine.
    """
    zarr = target.suffix.lower() == ".zarr"
    kept = plan.output_bytes * (PYRAMID if zarr else 2)
    return DiskNeeds(
        memory_bytes=workers * plan.memory_bytes,
        disk_bytes=int(kept + workers * plan.scratch_bytes),
        disk_free=free_disk(target),
    )


def check_room(plan: RunPlan, found: DiskNeeds, target: Path) -> None:
    """Refuse a run whose planes or whose file, which is not compressed, have no room.

    Raises
    ------
    StorageError
    """
    if found.disk_free is None:
        return
    if target.suffix.lower() in _TIFF and plan.output_bytes > found.disk_free:
        raise StorageError(
            f"The OME-TIFF needs {_size(plan.output_bytes)} on the disk of "
            f"{target.parent}, {_size(found.disk_free)} are free; make room, choose "
            "another folder, or write an .ome.zarr, which is compressed."
        )
    if plan.scratch_bytes > found.disk_free:
        raise StorageError(
            f"A plane that is worked on needs {plan.scratch_bytes / 1e9:.1f} GB on the "
            f"disk of {target.parent}, {found.disk_free / 1e9:.1f} GB are free; make "
            "room, or choose another folder."
        )


def needs_message(plan: RunPlan, found: DiskNeeds) -> str:
    """One sentence for the user before a run."""
    planes = "1 plane" if plan.planes == 1 else f"{plan.planes} planes"
    disk = f"up to {_size(found.disk_bytes)} on disk"
    if found.disk_free is not None:
        disk += f" ({_size(found.disk_free)} free)"
    sentence = f"{planes}, about {_size(found.memory_bytes)} of memory, {disk}."
    if found.may_not_fit:
        sentence += " It fits only if the pixels can be compressed."
    return sentence


def free_disk(target: Path) -> int | None:
    """Free bytes of the disk that a file will be on, None where it cannot be told."""
    try:
        return shutil.disk_usage(target.parent).free
    except OSError:
        return None


def _size(count: int) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.0f} MB"
