"""Images with named axes, and what is known about them."""

from __future__ import annotations

from dataclasses import dataclass

from napari_zssr.stack.source import Pixels
from napari_zssr.stack.units import in_um


@dataclass(frozen=True, slots=True, kw_only=True)
class Channel:
    """What is known about one channel.

    Attributes
    ----------
    name : str
        Name, or empty.
    emission_nm, excitation_nm : float, optional
        Wavelengths in nanometres.
    color : int, optional
        OME colour: red, green, blue, alpha packed into a signed 32-bit integer.
    na, index : float, optional
        Numerical aperture of the objective, refractive index of its immersion.
    modality : {"", "widefield", "confocal", "lightsheet"}
        How it was taken; empty where that is not known, or another way.
    """

    name: str = ""
    emission_nm: float | None = None
    excitation_nm: float | None = None
    color: int | None = None
    na: float | None = None
    index: float | None = None
    modality: str = ""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ImageStack:
    """An image with named axes, as read from a file or given by a caller.

    Attributes
    ----------
    data : ndarray or Pixels
        Pixels, one axis for each letter of `axes`: in memory, or read when indexed.
    axes : str
        Letters of TCZYXS, each once, Y and X among them; S holds RGB(A) samples.
    spacing : tuple of (float or None)
        Pixel size along each axis in `units`; for T the time increment.
    units : tuple of (str or None)
        Unit of each axis, "um" and "s" for micrometre and second.
    channels : tuple of Channel
        One for each index of C, or empty.
    guessed : bool
        True when the axes were guessed, not read.
    name, source : str
        Stem of the file (and title of the image in it, where there are several) and
        its path, or empty.
    checksum : str
        First 16 hexadecimal digits of a SHA-256: of the file (of parts of it, where it
        is large), of the pixels where there is no file, or empty.
    origin : tuple of float
        Centre of the first pixel along each axis, in `units`; empty when it is 0.
    messages : tuple of str
        Sentences on what was assumed, chosen or converted when it was read, which
        every door shows.
    image_index : int or None
        Which image of its file it is, where that holds several.
    image_name : str
        The name of that image in its file, or empty.
    labels : bool
        True when the pixels are numbers of objects or a mask, which no network
        enlarges.
    """

    data: Pixels
    axes: str
    spacing: tuple[float | None, ...]
    units: tuple[str | None, ...]
    channels: tuple[Channel, ...] = ()
    guessed: bool = False
    name: str = ""
    source: str = ""
    checksum: str = ""
    origin: tuple[float, ...] = ()
    messages: tuple[str, ...] = ()
    image_index: int | None = None
    image_name: str = ""
    labels: bool = False

    def size_um(self, letter: str) -> float | None:
        """Pixel size along an axis in um, None where it is not told in a length."""
        place = self.axes.index(letter)
        return in_um(self.spacing[place], self.units[place])


@dataclass(frozen=True, slots=True, kw_only=True)
class PlaneIndex:
    """Where one learnable plane stands in a stack.

    Attributes
    ----------
    number : int
        Position in the order of `planes`.
    index : tuple of int or slice
        Index into the stack's data; yields axes Y, X (and S) in the stack's order.
    channel : int
        Index along C, 0 without such an axis.
    """

    number: int
    index: tuple[int | slice, ...]
    channel: int
