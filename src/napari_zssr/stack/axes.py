"""Named axes: the planes that are learned, and sizes after enlargement.

The records and the labelling of bare arrays are offered here too.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_zssr.imaging.resample import output_size
from napari_zssr.stack.image import Channel, ImageStack, PlaneIndex


def planes(stack_axes: str, shape: Sequence[int]) -> tuple[PlaneIndex, ...]:
    """List the planes of a stack in the order of its axes."""
    walked = [i for i, letter in enumerate(stack_axes) if letter not in "YXS"]
    listed = []
    for number, place in enumerate(np.ndindex(*(shape[i] for i in walked))):
        index: list[int | slice] = [slice(None)] * len(stack_axes)
        for axis, value in zip(walked, place, strict=True):
            index[axis] = value
        channel = dict(zip(walked, place, strict=True)).get(stack_axes.find("C"), 0)
        listed.append(PlaneIndex(number=number, index=tuple(index), channel=channel))
    return tuple(listed)


def plane_axes(axes: str) -> str:
    """Axes of one plane of a stack: Y and X, and S where there is one."""
    return "".join(letter for letter in axes if letter in "YXS")


def to_cyx(plane: NDArray[Any], axes_of_plane: str) -> NDArray[Any]:
    """Reorder a plane to (C, Y, X), its samples as channels."""
    order = [axes_of_plane.index(letter) for letter in "SYX" if letter in axes_of_plane]
    moved = plane.transpose(order)
    return moved if "S" in axes_of_plane else moved[np.newaxis]


def from_cyx(plane: NDArray[Any], axes_of_plane: str) -> NDArray[Any]:
    """Inverse of `to_cyx`: from (C, Y, X) to the axes of the plane."""
    present = [letter for letter in "SYX" if letter in axes_of_plane]
    moved = plane if "S" in axes_of_plane else plane[0]
    return moved.transpose([present.index(letter) for letter in axes_of_plane])


def output_shape(
    shape: Sequence[int], axes: str, factors: tuple[float, float]
) -> tuple[int, ...]:
    """Size after enlargement: ceil(f n) along Y and X, the same elsewhere."""
    by_axis = _factor_per_axis(axes, factors)
    return tuple(output_size(n, f) for n, f in zip(shape, by_axis, strict=True))


def output_spacing(
    spacing: Sequence[float | None], axes: str, factors: tuple[float, float]
) -> tuple[float | None, ...]:
    """Pixel size after enlargement, L / f; unknown stays unknown."""
    by_axis = _factor_per_axis(axes, factors)
    return tuple(
        None if size is None else size / f
        for size, f in zip(spacing, by_axis, strict=True)
    )


def output_origin(
    spacing: Sequence[float | None], axes: str, factors: tuple[float, float]
) -> tuple[float, ...]:
    """Centre of the first output pixel, seen from that of the first input pixel."""
    by_axis = _factor_per_axis(axes, factors)
    return tuple(
        0.0 if f == 1 else (1.0 if size is None else size) * (1 - f) / (2 * f)
        for size, f in zip(spacing, by_axis, strict=True)
    )


def _factor_per_axis(axes: str, factors: tuple[float, float]) -> tuple[float, ...]:
    named = dict(zip("YX", factors, strict=True))
    return tuple(named.get(letter, 1.0) for letter in axes)


# Under this name files hold what only this program writes.
NAMESPACE = "napari-zssr"

_ILLEGAL = re.compile("[^ -\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Outline:
    """An image that is to be written.

    Attributes
    ----------
    shape : tuple of int
        Size along each axis.
    dtype : str
        Name of the pixels' type, such as ``"uint16"``.
    axes : str
        Letters of TCZYXS, each once, Y and X among them; S holds RGB(A) samples.
    spacing : tuple of (float or None)
        Pixel size along each axis in `units`.
    units : tuple of (str or None)
        Unit of each axis, "um" and "s" for micrometre and second.
    origin : tuple of float
        Centre of the first pixel along each axis, in `units`. Where the spacing is
        unknown it counts pixels of the image that was enlarged, so that
        o = (1 - f) / (2 f) tells their size too, 1 / f = 1 + 2 o.
    channels : tuple of Channel
        One for each index of C (one without C), or empty.
    name : str
        Name, or empty.
    labels : bool
        The pixels are numbers of objects.
    """

    shape: tuple[int, ...]
    dtype: str
    axes: str
    spacing: tuple[float | None, ...]
    units: tuple[str | None, ...]
    origin: tuple[float, ...]
    channels: tuple[Channel, ...] = ()
    name: str = ""
    labels: bool = False

    @property
    def sizes(self) -> dict[str, int]:
        """Size by letter."""
        return dict(zip(self.axes, self.shape, strict=True))

    @property
    def planes(self) -> int:
        """Number of planes."""
        return math.prod(n for a, n in self.sizes.items() if a not in "YXS")

    @property
    def nbytes(self) -> int:
        """Bytes of the pixels."""
        return math.prod(self.shape) * np.dtype(self.dtype).itemsize

    def along(self, axes: str) -> Outline:
        """The same image with its axes in another order, some of size 1 left out."""
        order = [self.axes.index(letter) for letter in axes]
        return replace(
            self,
            shape=tuple(self.shape[i] for i in order),
            axes=axes,
            spacing=tuple(self.spacing[i] for i in order),
            units=tuple(self.units[i] for i in order),
            origin=tuple(self.origin[i] for i in order),
        )


def legal_text(text: str) -> str:
    """Text as XML and JSON can hold it: without control characters and half pairs."""
    return _ILLEGAL.sub("\ufffd", " ".join(re.split(r"[\t\r\n]", text)))


def outline_of(stack: ImageStack) -> Outline:
    """Outline of an image as it is."""
    return Outline(
        shape=tuple(stack.data.shape),
        dtype=np.dtype(stack.data.dtype).name,
        axes=stack.axes,
        spacing=stack.spacing,
        units=stack.units,
        origin=stack.origin or (0.0,) * len(stack.axes),
        channels=stack.channels,
        name=stack.name,
        labels=stack.labels,
    )


def enlarged_outline(
    stack: ImageStack, factors: tuple[float, float], dtype: str = ""
) -> Outline:
    """Outline of what becomes of an image."""
    now = outline_of(stack)
    shift = output_origin(now.spacing, now.axes, factors)
    return replace(
        now,
        shape=output_shape(now.shape, now.axes, factors),
        dtype=dtype or now.dtype,
        spacing=output_spacing(now.spacing, now.axes, factors),
        origin=tuple(a + b for a, b in zip(now.origin, shift, strict=True)),
    )
