"""The noise of one plane of an image, told before a run."""

from __future__ import annotations

from napari_zssr.config import Config, change
from napari_zssr.imaging.noise import shows_signal
from napari_zssr.stack.image import (
    CheckedPlanes,
    ImageStack,
    PlaneIndex,
    plane_axes,
    planes,
    to_cyx,
)
from napari_zssr.stack.plane import (
    colours_of,
    common_noise,
    intensity_maps,
    without_artifacts,
)
from napari_zssr.stack.prepare import enlargeable


def plane_noise_level(
    stack: ImageStack, config: Config, plane_index: PlaneIndex
) -> float | None:
    """Noise of a plane as a run estimates it, fraction of the range.

    Its standard deviation at the middle of the range; None for a plane that shows
    nothing but noise. Of lazy pixels this plane is read, and the few that intensities
    are taken from.
    """
    stack, config = enlargeable(stack, config.nonfinite), change(config, noise="auto")
    data = CheckedPlanes(stack.data, config.nonfinite)
    listed = planes(stack.axes, stack.data.shape)
    channel = tuple(one for one in listed if one.channel == plane_index.channel)
    mapping = intensity_maps(data, stack.axes, channel)[plane_index.channel]
    pixels = to_cyx(data[plane_index.index], plane_axes(stack.axes))
    normal = mapping.normalise(pixels)
    colours, _ = without_artifacts(colours_of(normal), config)
    if not shows_signal(colours):
        return None
    return common_noise([colours], config, mapping).sigma()
