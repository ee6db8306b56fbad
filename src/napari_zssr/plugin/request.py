"""What the form asks for, without Qt."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import numpy as np

from napari_zssr.config import Config
from napari_zssr.imaging.intensity import IntensityMap
from napari_zssr.imaging.kernel import FineKernel, loaded_kernel
from napari_zssr.kernelspec import KernelSpec
from napari_zssr.plugin.layers.layers import lazy_stack
from napari_zssr.plugin.layers.selection import current_slice
from napari_zssr.stack.image import Channel, ImageStack
from napari_zssr.zssr.start import Starts

if TYPE_CHECKING:
    from napari.layers import Image

    from napari_zssr.plugin.layers.selection import Selection
    from napari_zssr.stack.report import Report


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Request:
    """One layer, the part of it that is to be enlarged, and how.

    Attributes
    ----------
    layer : Image
    axes : str
        Letters of the layer's axes, guessed or corrected by the user.
    selection : Selection
        The part of the layer that is to be enlarged.
    config : Config
    step : tuple of int
        Position of the viewer's sliders, one for each of the viewer's axes.
    starts : sequence of (Checkpoint, PretrainedStart or None)
        What training of each channel starts from.
    begins : str
        What training will begin from and why, in a sentence.
    target : Path, optional
        File that the result is written to; in memory otherwise.
    overwrite : bool
        Whether a file that is there is replaced.
    """

    layer: Image
    axes: str
    selection: Selection
    config: Config
    step: tuple[int, ...]
    starts: Starts = ()
    begins: str = ""
    target: Path | None = None
    overwrite: bool = False


# A blur that can be told at once does not ask for the pixels.
ANY = IntensityMap(offset=0.0, scale=1.0)
Key = tuple[Any, ...]


class SeenKernels:
    """Blurs by request and channel, and those that previews and runs have found."""

    def __init__(self) -> None:
        self._found: WeakKeyDictionary[Image, dict[Key, FineKernel]]
        self._found = WeakKeyDictionary()

    def kernel(self, request: Request, channel: int) -> FineKernel | None:
        """The blur of a channel; None as long as it would take long to find.

        Raises
        ------
        InputError
            What is said of the blur cannot be used for this image.
        """
        found = self._found.get(request.layer, {}).get(_key(request, channel))
        return found or at_once(request, channel)

    def keep(self, request: Request, channel: int, kernel: FineKernel) -> None:
        """Remember what was found."""
        self._found.setdefault(request.layer, {})[_key(request, channel)] = kernel

    def keep_all(self, request: Request, report: Report) -> None:
        """Remember what a run has found."""
        for channel, told in enumerate(report.kernels):
            self.keep(request, channel, kernel_from(told))


def at_once(request: Request, channel: int) -> FineKernel | None:
    """The blur of a channel; None where it takes long to find.

    Raises
    ------
    InputError
        What is said of the blur cannot be used for this image.
    """
    spec = request.config.kernel
    if spec.kind == "estimate":
        return None
    stack = lazy_stack(request.layer, request.axes, request.selection)
    optics = spec.optics
    slow = optics is not None and optics.method == "vectorial"
    if optics is not None and slow:
        # The same is refused.
        spec = KernelSpec(kind="optics", optics=replace(optics, method="gaussian"))
    if spec.kind == "file":
        spec = _read(spec.path, Path(spec.path).stat().st_mtime_ns)
    found = _computed(
        spec,
        request.config.factors,
        stack.axes,
        tuple(stack.data.shape),
        stack.spacing,
        stack.units,
        stack.channels,
        channel,
    )
    return None if slow else found


def kernel_from(told: Mapping[str, Any]) -> FineKernel:
    """Inverse of `FineKernel.to_dict`."""
    y, x = told["factors"]
    fine_y, fine_x = told["fine_um"]
    spread = told.get("spread_px")
    return FineKernel(
        spec=KernelSpec.from_dict(told["kernel"]),
        factors=(y, x),
        sentence=told["sentence"],
        fine_um=(fine_y, fine_x),
        spread_px=None if spread is None else (spread[0], spread[1]),
    )


def channel_shown(request: Request, point: Sequence[float], units: Any) -> int:
    """Channel of what is asked for that the sliders show, or the nearest."""
    if "C" not in request.axes:
        return 0
    here = current_slice(request.layer, request.axes, point, units).ranges["C"][0]
    stack = lazy_stack(request.layer, request.axes, request.selection)
    start = request.selection.ranges.get("C", (0, 0))[0]
    return min(max(here - start, 0), stack.data.shape[stack.axes.index("C")] - 1)


def channel_told(request: Request, channel: int) -> Channel:
    """What the image tells of a channel."""
    stack = lazy_stack(request.layer, request.axes, request.selection)
    return stack.channels[channel] if channel < len(stack.channels) else Channel()


def _key(request: Request, channel: int) -> Key:
    ranges = tuple(sorted(request.selection.ranges.items()))
    config = request.config
    return (request.axes, ranges, config.kernel, config.factors, channel)


@lru_cache(maxsize=4)
def _read(path: str, _changed_ns: int) -> KernelSpec:
    return loaded_kernel(KernelSpec(kind="file", path=path))


@lru_cache(maxsize=64)
def _computed(
    spec: KernelSpec,
    factors: tuple[float, float],
    axes: str,
    shape: tuple[int, ...],
    spacing: tuple[float | None, ...],
    units: tuple[str | None, ...],
    channels: tuple[Channel, ...],
    channel: int,
) -> FineKernel:
    from napari_zssr.stack.channel_blur import channel_kernel

    stack = ImageStack(
        data=np.broadcast_to(np.zeros((), np.uint8), shape),
        axes=axes,
        spacing=spacing,
        units=units,
        channels=channels,
    )
    return channel_kernel(stack, Config(factor=factors, kernel=spec), ANY, channel)
