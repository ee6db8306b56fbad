"""What readers give, and what they are asked for."""

from __future__ import annotations

from dataclasses import dataclass, field

from napari_zssr.files.contents import ImageEntry
from napari_zssr.stack.axes import Channel
from napari_zssr.stack.source import Pixels


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadOptions:
    """How a file is read, whatever its format.

    Attributes
    ----------
    image : int, str or None
        Index or name of one of several images in the file; None takes the largest.
    partial : bool
        Keep the complete planes of an acquisition that was stopped, instead of
        refusing the file.
    lazy : bool
        Leave the pixels in the file until they are indexed, where that is possible.
    labels : bool
        Label images and masks are wanted.
    """

    image: int | str | None = None
    partial: bool = False
    lazy: bool = False
    labels: bool = False


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FileImage:
    """One image of a file, before the user's overrides.

    Attributes
    ----------
    data : ndarray or Pixels
        In memory, or read when indexed.
    axes : str
        Letters that the file states, also unknown ones; empty when it states none.
    spacing, units : dict
        By letter, only where known.
    channels : tuple of Channel
        One for each index of C, or empty.
    origin : dict
        Centre of the first pixel by letter, only where it is not 0.
    entry : ImageEntry or None
        Which image of the file it is, where there are several.
    messages : tuple of str
        Sentences on what was assumed, chosen or converted.
    labels : bool
        True when the file says that the pixels are numbers of objects.
    """

    data: Pixels
    axes: str = ""
    spacing: dict[str, float] = field(default_factory=dict)
    units: dict[str, str | None] = field(default_factory=dict)
    channels: tuple[Channel, ...] = ()
    origin: dict[str, float] = field(default_factory=dict)
    entry: ImageEntry | None = None
    messages: tuple[str, ...] = ()
    labels: bool = False


def sole_entry(image: FileImage) -> ImageEntry:
    """Entry of the one image of a file.

    Parameters
    ----------
    image : FileImage
    """
    return ImageEntry(
        index=0,
        name="",
        axes=image.axes,
        shape=tuple(image.data.shape),
        dtype=str(image.data.dtype),
    )
