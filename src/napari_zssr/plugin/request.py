"""The request that the form makes, and the blur kernels of its channels; no Qt."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
from napari.components import ViewerModel
from napari.layers import Image

from napari_zssr.config import Config
from napari_zssr.imaging.intensity import IntensityMap
from napari_zssr.imaging.kernel import FineKernel, loaded_kernel
from napari_zssr.imaging.optics import gaussian_psf
from napari_zssr.kernelspec import KernelSpec, Optics
from napari_zssr.plugin.layers.layers import (
    Selection,
    current_slice,
    lazy_stack,
    level0,
)
from napari_zssr.stack.channels import channel_kernel, completed_optics
from napari_zssr.stack.image import Channel, ImageStack
from napari_zssr.stack.report import Report
from napari_zssr.zssr.cost import Work
from napari_zssr.zssr.kinds import KINDS
from napari_zssr.zssr.pretrained import PretrainedStart
from napari_zssr.zssr.start import Starts


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Request:
    """One layer, the part of it to enlarge, and the settings.

    `factor_z` is the enlargement along Z, None where only planes are enlarged; `begins`
    is a sentence on what training starts from; `target` is the file of the result,
    which is in memory otherwise; `work` is what the run is expected to do.
    """

    layer: Image
    axes: str
    selection: Selection
    config: Config
    factor_z: float | None = None
    starts: Starts = ()
    begins: str = ""
    target: Path | None = None
    overwrite: bool = False
    work: Work | None = None

    @property
    def factors(self) -> tuple[float, ...]:
        """Enlargement along (Y, X), or (Z, Y, X)."""
        planes = self.config.factors
        return planes if self.factor_z is None else (self.factor_z, *planes)

    @property
    def has_training(self) -> bool:
        """Whether more training steps would change anything."""
        config = self.config
        along_z = self.factor_z is not None and not config.restores_planes
        denoised = any(isinstance(start, PretrainedStart) for start in self.starts)
        as_it_is = config.only_denoises and denoised and not along_z
        return KINDS[config.network].is_trained and not as_it_is

    @property
    def trains(self) -> bool:
        """Whether networks will be trained."""
        config, steps = self.config, self.config.steps
        if any(isinstance(start, PretrainedStart) for start in self.starts):
            steps = min(steps, config.learned_steps)
        return self.has_training and steps > 0

    @property
    def sizes(self) -> dict[str, int]:
        """Size of the part to enlarge along each axis."""
        shape = self.selection.shape(self.axes, level0(self.layer).shape)
        return dict(zip(self.axes, shape, strict=True))

    def lazy_stack(self) -> ImageStack:
        """The part to enlarge, with its pixels not loaded yet."""
        return lazy_stack(self.layer, self.axes, self.selection)


# Kernels that are computed quickly do not depend on the pixels.
ANY_INTENSITY = IntensityMap(offset=0.0, scale=1.0)
Key = tuple[Any, ...]


class KernelCache:
    """Cache of the kernels that previews and runs have determined."""

    def __init__(self) -> None:
        self._kernels: WeakKeyDictionary[Image, dict[Key, FineKernel]]
        self._kernels = WeakKeyDictionary()

    def kernel(self, request: Request, channel: int) -> FineKernel | None:
        """The kernel of a channel; None as long as only a run determines it.

        Raises InputError if the given blur cannot be used for this image.
        """
        known = self._kernels.get(request.layer, {}).get(_key(request, channel))
        return known or _quick_kernel(request, channel)

    def keep(self, request: Request, channel: int, kernel: FineKernel) -> None:
        """Add the kernel of a channel."""
        self._kernels.setdefault(request.layer, {})[_key(request, channel)] = kernel

    def keep_all(self, request: Request, report: Report) -> None:
        """Add the kernels of a finished run."""
        for channel, entry in enumerate(report.kernels):
            self.keep(request, channel, kernel_from(entry))


def _key(request: Request, channel: int) -> Key:
    ranges = tuple(sorted(request.selection.ranges.items()))
    config = request.config
    return (request.axes, ranges, config.kernel, config.factors, channel)


def _quick_kernel(request: Request, channel: int) -> FineKernel | None:
    """The kernel of a channel; None if it is estimated or computed slowly.

    Raises InputError if the given blur cannot be used for this image.
    """
    spec = request.config.kernel
    if spec.kind == "estimate":
        return None
    if spec.optics is not None:
        # The vectorial model is slow; the Gaussian one raises the same errors.
        spec = replace(spec, optics=replace(spec.optics, method="gaussian"))
    stack = request.lazy_stack()
    kernel = _compute_kernel(
        loaded_kernel(spec),
        request.config.factors,
        channel,
        tuple(stack.data.shape),
        axes=stack.axes,
        spacing=stack.spacing,
        units=stack.units,
        channels=stack.channels,
    )
    # Of another kind the optics are those of the blur along Z.
    is_exact = spec.kind != "optics" or spec == request.config.kernel
    return kernel if is_exact else None


def check_optics(request: Request, channel: int) -> None:
    """InputError where the blur of a channel cannot be computed from its optics."""
    channels = request.lazy_stack().channels
    known = channels[channel] if channel < len(channels) else Channel()
    gaussian_psf(**completed_optics(request.config.kernel.optics or Optics(), known))


def kernel_from(entry: Mapping[str, Any]) -> FineKernel:
    """Inverse of `FineKernel.to_dict`."""
    y, x = entry["factors"]
    fine_y, fine_x = entry["fine_um"]
    spread = entry.get("spread_px")
    return FineKernel(
        spec=KernelSpec.from_dict(entry["kernel"]),
        factors=(y, x),
        sentence=entry["sentence"],
        fine_um=(fine_y, fine_x),
        spread_px=None if spread is None else (spread[0], spread[1]),
    )


def channel_shown(request: Request, viewer: ViewerModel) -> int:
    """Channel of the selection that the sliders show, or the nearest one."""
    if "C" not in request.axes:
        return 0
    shown, _ = current_slice(request.layer, request.axes, viewer)["C"]
    first, stack = request.selection.starts("C")[0], request.lazy_stack()
    last = stack.data.shape[stack.axes.index("C")] - 1
    return min(max(shown - first, 0), last)


@lru_cache(maxsize=64)
def _compute_kernel(
    spec: KernelSpec,
    factors: tuple[float, float],
    channel: int,
    shape: tuple[int, ...],
    **metadata: Any,
) -> FineKernel:
    """The kernel of a channel of an image of which only the metadata are known."""
    stack = ImageStack(data=np.broadcast_to(np.uint8(0), shape), **metadata)
    config = Config(factor=factors, kernel=spec)
    return channel_kernel(stack, config, ANY_INTENSITY, channel)
