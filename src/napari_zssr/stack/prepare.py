"""An image made ready: all that is decided before its first plane is enlarged."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from napari_zssr.config import Config, change
from napari_zssr.errors import InputError
from napari_zssr.imaging.kernel import FineKernel, loaded_kernel
from napari_zssr.progress import Progress, Steps, map_events
from napari_zssr.stack.axis_labels import NEAREST_ADVICE, check_pixels
from napari_zssr.stack.channels import (
    channel_assessment,
    channel_kernel,
    channel_starts,
    shared_steps,
    sharing_channels,
)
from napari_zssr.stack.image import (
    CheckedPlanes,
    ImageStack,
    PlaneIndex,
    plane_axes,
    planes,
    to_cyx,
)
from napari_zssr.stack.plane import (
    ChannelSetup,
    PlaneInput,
    intensity_maps,
    upscale_plane_steps,
)
from napari_zssr.stack.plane_result import EnlargedPlane
from napari_zssr.stack.resources import (
    Hardware,
    RunInput,
    RunPlan,
    output_type,
    plan_run,
)
from napari_zssr.zssr.checkpoint import Checkpoint
from napari_zssr.zssr.start import Starts
from napari_zssr.zssr.training_plan import NoiseEstimate


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Prepared:
    """An image and all that is decided before its planes; picklable if its pixels are.

    Attributes
    ----------
    stack : its planes are checked when they are read
    config : with the kernel of a file in it
    """

    stack: ImageStack
    config: Config
    plan: RunPlan
    channels: Mapping[int, ChannelSetup]

    @property
    def plane_indices(self) -> tuple[PlaneIndex, ...]:
        """All planes."""
        return _plane_indices(self.stack.axes, self.stack.data.shape)

    @property
    def sharing(self) -> tuple[int, ...]:
        """Channels whose planes share networks."""
        return sharing_channels(self.config, self.plane_indices)

    @property
    def kernels(self) -> tuple[FineKernel, ...]:
        """Blur of each channel."""
        channels = (self.channels[number] for number in sorted(self.channels))
        return tuple(one.kernel for one in channels if one.kernel is not None)

    def shared(self, channel: int) -> Steps[Checkpoint | None]:
        """Train the networks that a channel's planes share."""
        return shared_steps(self.stack, self.channels[channel], self.plan)

    def enlarged(
        self,
        plane_index: PlaneIndex,
        shared: Checkpoint | None = None,
        scratch: Path | None = None,
    ) -> Steps[EnlargedPlane]:
        """Enlarge one plane, with the networks that its channel shares."""
        plane = self.stack.data[plane_index.index]
        work = PlaneInput(
            pixels=to_cyx(plane, plane_axes(self.stack.axes)),
            plane_index=plane_index,
            channel=self.channels[plane_index.channel],
            shared=shared,
            scratch=scratch,
        )
        steps = upscale_plane_steps(work, self.plan)
        number, count = plane_index.number, self.plan.planes
        return map_events(
            steps, Progress, lambda event: replace(event, plane=number, planes=count)
        )


def prepare(
    stack: ImageStack,
    config: Config,
    planner: Callable[..., RunPlan] | None = None,
    channels: Iterable[int] | None = None,
) -> Prepared:
    """Decide all that an image's planes have in common; of all channels, or of some.

    Of lazy pixels a few planes of each channel are read. `planner` stands for
    `make_plan` and takes its arguments.
    """
    stack = enlargeable(stack, config.nonfinite)
    config = change(config, kernel=loaded_kernel(config.kernel))
    starts = channel_starts(config, stack.axes, stack.data.shape)
    data = CheckedPlanes(stack.data, config.nonfinite)
    listed = planes(stack.axes, stack.data.shape)
    if channels is not None:
        wanted = set(channels)
        listed = tuple(index for index in listed if index.channel in wanted)
    checked = replace(stack, data=data)
    maps = intensity_maps(data, stack.axes, listed)
    dtype = output_type(config, stack.data.dtype, maps.values())
    run = (planner or make_plan)(stack, config, starts, output_dtype=dtype)
    setups = {}
    for number, mapping in sorted(maps.items()):
        kernel = channel_kernel(checked, config, mapping, number)
        setup = ChannelSetup(
            number=number,
            config=change(config, kernel=kernel.spec),
            mapping=mapping,
            start=starts[number],
            kernel=kernel,
        )
        assessment = channel_assessment(checked, setup, run)
        setups[number] = replace(setup, assessment=assessment)
    return Prepared(stack=checked, config=config, plan=run, channels=setups)


def enlargeable(stack: ImageStack, nonfinite: str) -> ImageStack:
    """The image, unless networks cannot enlarge it; masked pixels in memory filled."""
    if stack.labels:
        raise InputError(
            f"The image holds labels or a mask; enlarge {NEAREST_ADVICE}, or give the "
            "image they were made from."
        )
    data = check_pixels(stack.data)
    if isinstance(data, np.ma.MaskedArray):
        checked, data = CheckedPlanes(data, nonfinite), np.empty(data.shape, data.dtype)
        for plane_index in planes(stack.axes, data.shape):
            data[plane_index.index] = checked[plane_index.index]
    return replace(stack, data=data)


def expected_dtype(stack: ImageStack, config: Config) -> np.dtype[Any]:
    """Type of the pixels of a result; a few planes of each channel are read."""
    if config.dtype != "auto" or stack.data.dtype.kind not in "iu":
        return output_type(config, stack.data.dtype)
    listed = planes(stack.axes, stack.data.shape)
    maps = intensity_maps(stack.data, stack.axes, listed)
    return output_type(config, stack.data.dtype, maps.values())


def make_plan(
    stack: ImageStack,
    config: Config,
    starts: Starts = (),
    *,
    noise_estimates: Sequence[NoiseEstimate] = (),
    output_dtype: np.dtype[Any] | None = None,
    to_disk: bool = False,
    factor_z: float | None = None,
) -> RunPlan:
    """`plan_run` for an image on the device that the settings name."""
    from napari_zssr.zssr.device import fast_bfloat16, free_bytes, resolve_device

    device = resolve_device(config.device)
    run = RunInput(
        config=config,
        shape=stack.data.shape,
        dtype=stack.data.dtype,
        axes=stack.axes,
        starts=starts,
        noise_estimates=noise_estimates,
        output_dtype=output_dtype,
        to_disk=to_disk,
        factor_z=factor_z,
    )
    hardware = Hardware(
        device=device,
        free_bytes=free_bytes(device),
        cores=os.cpu_count(),
        bfloat16=fast_bfloat16(device),
    )
    return plan_run(run, hardware)


@lru_cache(maxsize=4)
def _plane_indices(axes: str, shape: tuple[int, ...]) -> tuple[PlaneIndex, ...]:
    """Planes of an image, which each of them asks for."""
    return planes(axes, shape)
