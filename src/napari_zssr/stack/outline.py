"""What an image will be, before any of its pixels are there."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, replace

import numpy as np

from napari_zssr.stack.axes import (
    Channel,
    ImageStack,
    output_origin,
    output_shape,
    output_spacing,
)

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
        """The same image with its axes in another order, some of size 1 left out.

        Parameters
        ----------
        axes : str
            Letters of this outline's axes.
        """
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
    """Text as XML and JSON can hold it: without control characters and half pairs.

    Parameters
    ----------
    text : str
        A name that a user or a file system has given.
    """
    return _ILLEGAL.sub("\ufffd", " ".join(re.split(r"[\t\r\n]", text)))


def outline_of(stack: ImageStack) -> Outline:
    """Outline of an image as it is.

    Parameters
    ----------
    stack : ImageStack
        Its pixels may be lazy.
    """
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


def enlarged(
    stack: ImageStack, factors: tuple[float, float], dtype: str = ""
) -> Outline:
    """Outline of what becomes of an image.

    Parameters
    ----------
    stack : ImageStack
        The image; its pixels may be lazy.
    factors : tuple of float
        Enlargement along (Y, X).
    dtype : str
        Type of its pixels; that of the image unless given.

    Returns
    -------
    Outline
        Placed so that it lies on the image.
    """
    now = outline_of(stack)
    shift = output_origin(now.spacing, now.axes, factors)
    return replace(
        now,
        shape=output_shape(now.shape, now.axes, factors),
        dtype=dtype or now.dtype,
        spacing=output_spacing(now.spacing, now.axes, factors),
        origin=tuple(a + b for a, b in zip(now.origin, shift, strict=True)),
    )
