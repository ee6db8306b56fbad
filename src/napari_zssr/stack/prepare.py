"""An image made ready: all that is decided before its first plane is enlarged."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_zssr.config import Config
from napari_zssr.errors import InputError
from napari_zssr.imaging.intensity import IntensityMap
from napari_zssr.imaging.kernel import FineKernel, loaded_kernel
from napari_zssr.progress import Event, Progress, Steps, map_events
from napari_zssr.stack.axes import plane_axes, planes, to_cyx
from napari_zssr.stack.axis_labels import NEAREST_ADVICE, check_pixels
from napari_zssr.stack.channel_blur import channel_kernels
from napari_zssr.stack.channels import (
    channel_assessment,
    channel_starts,
    shared_steps,
    sharing_channels,
)
from napari_zssr.stack.image import CheckedPlanes, ImageStack, PlaneIndex
from napari_zssr.stack.plane import PlaneInput, intensity_maps, upscale_plane_steps
from napari_zssr.stack.plane_result import EnlargedPlane
from napari_zssr.stack.resources import RunPlan, output_type, plan_run
from napari_zssr.zssr.checkpoint import Checkpoint
from napari_zssr.zssr.start import Start, as_expected

if TYPE_CHECKING:
    from napari_zssr.zssr.judge import Assessment


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Prepared:
    """An image and all that its planes have in common; picklable if its pixels are.

    Attributes
    ----------
    stack : ImageStack
        Its planes are checked when they are read.
    config : Config
        The kernel of a file is in it.
    plan : Plan
    maps : mapping of int to IntensityMap
        By channel.
    starts : tuple of (Checkpoint, LearnedStart or None)
        What each channel starts from.
    kernels : tuple of FineKernel
        Blur of each channel.
    assessments : tuple of (Assessment or None)
        Of each channel whose planes learn each for itself.
    """

    stack: ImageStack
    config: Config
    plan: RunPlan
    maps: Mapping[int, IntensityMap]
    starts: tuple[Start | None, ...]
    kernels: tuple[FineKernel, ...]
    assessments: tuple[Assessment | None, ...]

    @property
    def listed(self) -> tuple[PlaneIndex, ...]:
        """All planes."""
        return _listed(self.stack.axes, self.stack.data.shape)

    @property
    def sharing(self) -> tuple[int, ...]:
        """Channels whose planes share networks."""
        return sharing_channels(self.config, self.listed)

    def config_of(self, channel: int) -> Config:
        """Settings with the blur of a channel."""
        return replace(self.config, kernel=self.kernels[channel].spec)

    def shared(self, channel: int) -> Steps[Checkpoint | None]:
        """Learn the networks that a channel's planes share."""
        return shared_steps(
            self.stack,
            self.config_of(channel),
            self.plan,
            self.maps,
            channel,
            self.starts[channel],
        )

    def enlarged(
        self,
        plane_index: PlaneIndex,
        shared: Checkpoint | None = None,
        scratch: Path | None = None,
    ) -> Steps[EnlargedPlane]:
        """Enlarge one plane.

        Parameters
        ----------
        plane_index : PlaneIndex
        shared : Checkpoint, optional
            What its channel shares.
        scratch : Path, optional
            Folder where a large result lies while it is made.
        """
        plane = self.stack.data[plane_index.index]
        work = PlaneInput(
            pixels=to_cyx(plane, plane_axes(self.stack.axes)),
            mapping=self.maps[plane_index.channel],
            plane_index=plane_index,
            start=self.starts[plane_index.channel],
            shared=shared,
            assessment=self.assessments[plane_index.channel],
            scratch=scratch,
        )
        steps = upscale_plane_steps(
            work, self.config_of(plane_index.channel), self.plan
        )
        count = self.plan.planes
        return map_events(
            steps, partial(_numbered, plane_index=plane_index, count=count)
        )


def prepare(
    stack: ImageStack,
    config: Config,
    planned: Callable[..., RunPlan] | None = None,
) -> Prepared:
    """Decide all that an image's planes have in common.

    Parameters
    ----------
    stack : ImageStack
        Its pixels may be lazy; a few planes of each channel are read.
    config : Config
    planned : callable, optional
        Stands for `make_plan`; takes its arguments.

    Raises
    ------
    InputError
        The image or a setting cannot be used.
    ComputeError
        The memory does not suffice.
    """
    stack = _enlargeable(stack, config.nonfinite)
    config = replace(config, kernel=loaded_kernel(config.kernel))
    starts = channel_starts(config, stack.axes, stack.data.shape)
    wanted = as_expected(config, starts)
    data = CheckedPlanes(stack.data, config.nonfinite)
    listed = planes(stack.axes, stack.data.shape)
    checked = replace(stack, data=data)
    maps = intensity_maps(data, stack.axes, listed)
    kind = output_type(config, stack.data.dtype, maps.values())
    plan = (planned or make_plan)(stack, wanted, output_dtype=kind)
    kernels = channel_kernels(checked, config, maps)
    settings = [replace(config, kernel=kernel.spec) for kernel in kernels]
    return Prepared(
        stack=checked,
        config=config,
        plan=plan,
        maps=maps,
        starts=starts,
        kernels=kernels,
        assessments=tuple(
            channel_assessment(checked, one, plan, maps[n], n)
            for n, one in enumerate(settings)
        ),
    )


def _enlargeable(stack: ImageStack, nonfinite: str) -> ImageStack:
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
    *,
    output_dtype: np.dtype[Any] | None = None,
    to_disk: bool = False,
) -> RunPlan:
    """Plan for an image on the device that the settings name.

    Parameters
    ----------
    stack : ImageStack
    config : Config
    output_dtype : dtype, optional
        Of the result, as in `resolve`.
    to_disk : bool
        Whether image and result stay on disk, as in `resolve`.
    """
    from napari_zssr.zssr.device import fast_bfloat16, free_bytes, resolve_device

    device = resolve_device(config.device)
    return plan_run(
        config,
        stack.data.shape,
        stack.data.dtype,
        stack.axes,
        output_dtype=output_dtype,
        device=device,
        free_bytes=free_bytes(device),
        cores=os.cpu_count(),
        bfloat16=fast_bfloat16(device),
        to_disk=to_disk,
    )


@lru_cache(maxsize=4)
def _listed(axes: str, shape: tuple[int, ...]) -> tuple[PlaneIndex, ...]:
    """Planes of an image, which each of them asks for."""
    return planes(axes, shape)


def _numbered(event: Event, plane_index: PlaneIndex, count: int) -> Event:
    """Write the plane's number into an event."""
    if isinstance(event, Progress):
        return replace(event, plane=plane_index.number, planes=count)
    return event
