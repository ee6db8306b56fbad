"""A stack that is ready to be enlarged along Z: volumes, and strips of columns."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

from numpy.typing import NDArray

from napari_zssr.checks import LEARNED
from napari_zssr.config import Config, change
from napari_zssr.imaging.intensity import BLOCK_PX, IntensityMap
from napari_zssr.imaging.resample import Window
from napari_zssr.stack.image import (
    CheckedPlanes,
    ImageStack,
    Index,
    Outline,
    enlarged_outline,
    planes,
)
from napari_zssr.stack.plane import intensity_maps
from napari_zssr.stack.prepare import enlargeable, make_plan
from napari_zssr.stack.resources import STRIP_PIXELS, RunPlan, output_type
from napari_zssr.zssr.pretrained import PretrainedStart, shipped_start

# The least side of the columns that are enlarged at a time.
LEAST_PX = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Volume:
    """One channel (or sample of it) at one time point, whose pixels may be lazy."""

    stack: ImageStack
    at: Mapping[str, int]
    channel: int

    def index(self, window: Window, z: int | slice = slice(None)) -> Index:
        """Index of slices of a window (Y, X), all unless given, in the stack's axes."""
        part = {"Z": z, "Y": window[0], "X": window[1], **self.at}
        return tuple(part.get(letter, slice(None)) for letter in self.stack.axes)

    def columns(self, window: Window) -> NDArray[Any]:
        """Pixels (Z, y, x)."""
        pixels: NDArray[Any] = self.stack.data[self.index(window)]
        left = [letter for letter in self.stack.axes if letter in "ZYX"]
        return pixels.transpose([left.index(letter) for letter in "ZYX"])

    @property
    def size(self) -> tuple[int, int]:
        """Pixels (Y, X)."""
        y, x = (self.stack.data.shape[self.stack.axes.index(a)] for a in "YX")
        return y, x


def volumes(stack: ImageStack) -> Iterator[Volume]:
    """All volumes of a stack, in the order of its axes."""
    walked = [letter for letter in stack.axes if letter not in "ZYX"]
    sizes = (stack.data.shape[stack.axes.index(letter)] for letter in walked)
    for at in product(*(range(size) for size in sizes)):
        named = dict(zip(walked, at, strict=True))
        yield Volume(stack=stack, at=named, channel=named.get("C", 0))


@dataclass(frozen=True, slots=True, kw_only=True)
class Strip:
    """Columns of a volume, in a window (Y, X), that are enlarged together."""

    number: int
    volume: Volume
    window: Window


def windows(size: tuple[int, int], depth: int) -> Iterator[Window]:
    """Windows (Y, X) of columns that are enlarged together, `depth` pixels each.

    As wide as memory allows: files are read by rows.
    """
    room = STRIP_PIXELS // depth
    width = min(size[1], max(LEAST_PX, room // LEAST_PX // BLOCK_PX * BLOCK_PX))
    height = min(size[0], max(LEAST_PX, room // width // BLOCK_PX * BLOCK_PX))
    rows, columns = (
        [slice(first, min(first + side, n)) for first in range(0, n, side)]
        for n, side in zip(size, (height, width), strict=True)
    )
    yield from product(rows, columns)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class AxialRun:
    """A stack that is ready to be enlarged along Z; picklable if its pixels are.

    Attributes
    ----------
    stack : ImageStack
        Its pixels are checked when they are read.
    config : Config
    factor : float
    maps : mapping of int to IntensityMap
        For each channel.
    start : PretrainedStart or None
        What networks may start from; saved ones serve planes only.
    plan : RunPlan
    """

    stack: ImageStack
    config: Config
    factor: float
    maps: Mapping[int, IntensityMap]
    start: PretrainedStart | None
    plan: RunPlan

    @property
    def outline(self) -> Outline:
        """Outline of the result."""
        return enlarged_outline(
            self.stack, (self.factor, 1.0, 1.0), self.plan.output_dtype
        )

    @property
    def strips(self) -> tuple[Strip, ...]:
        """All columns, in the order of the volumes."""
        depth = self.outline.sizes["Z"]
        listed = (
            (volume, window)
            for volume in volumes(self.stack)
            for window in windows(volume.size, depth)
        )
        return tuple(
            Strip(number=number, volume=volume, window=window)
            for number, (volume, window) in enumerate(listed)
        )


def prepare_axial(
    stack: ImageStack,
    config: Config,
    factor: float,
    planner: Callable[..., RunPlan] | None = None,
) -> AxialRun:
    """Decide what the columns of a stack have in common. Raises InputError.

    Its planes are as large as they are to become. `planner` stands for `make_plan` and
    takes its arguments.
    """
    stack = enlargeable(stack, config.nonfinite)
    checked = replace(stack, data=CheckedPlanes(stack.data, config.nonfinite))
    maps = intensity_maps(
        checked.data, stack.axes, planes(stack.axes, stack.data.shape)
    )
    start = shipped_start() if config.start == LEARNED else None
    return AxialRun(
        stack=checked,
        config=config,
        factor=factor,
        maps=maps,
        start=start,
        plan=(planner or make_plan)(
            stack,
            change(config, factor=1.0),
            (start,),
            output_dtype=output_type(config, stack.data.dtype, maps.values()),
            factor_z=factor,
        ),
    )
