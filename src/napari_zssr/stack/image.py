"""Images with named axes: pixels, sizes, units, planes, and outlines of results."""

from __future__ import annotations

import math
import re
from abc import ABC
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import DTypeLike, NDArray

from napari_zssr.errors import InputError
from napari_zssr.imaging.intensity import check_finite
from napari_zssr.imaging.resample import output_size
from napari_zssr.units import counted

Index = tuple[int | slice, ...]


class Pixels(Protocol):
    """Pixels that are read when they are indexed: arrays, zarr, dask, files.

    Those of this package can be pickled: they open their file at the first use.
    """

    @property
    def shape(self) -> tuple[int, ...]:
        """Size along each axis."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the pixels."""

    @property
    def ndim(self) -> int:
        """Number of axes."""

    def __getitem__(self, index: Any, /) -> Any:
        """Pixels for one whole number or slice an axis."""


class Planes(Protocol):
    """What gives pixels for the index of a plane: an array, or what reads one."""

    def __getitem__(self, index: Index, /) -> NDArray[Any]: ...


def is_lazy(data: Any) -> bool:
    """Whether pixels are read when they are indexed, and so must not be held whole."""
    return (
        not isinstance(data, np.ndarray | np.generic)
        and isinstance(getattr(data, "dtype", None), np.dtype)
        and all(hasattr(data, name) for name in ("shape", "ndim", "__getitem__"))
    )


class CheckedPlanes:
    """Planes of an image that may be lazy: native, and finite when they are read."""

    def __init__(self, data: Pixels, nonfinite: str) -> None:
        self.data = data
        self.nonfinite = nonfinite
        self.shape = data.shape
        self.dtype = data.dtype
        self.ndim = data.ndim

    def __getitem__(self, index: Index) -> NDArray[Any]:
        """One plane, or any other part; InputError where it must not be used."""
        plane = to_native(self.data[index])
        at = tuple(i for i in index if not isinstance(i, slice))
        what = f"The image's plane {list(at)}" if at else "The image"
        if at and self.nonfinite == "fill" and not _usable(plane).any():
            return np.zeros_like(np.ma.getdata(plane))
        if isinstance(plane, np.ma.MaskedArray):
            plane = _unmasked(plane, self.nonfinite, what)
        return check_finite(plane, self.nonfinite, what)


class FilePixels(Pixels, ABC):
    """Pixels that stay in a file until they are indexed, then in native byte order."""

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)

    def __array__(
        self, dtype: DTypeLike | None = None, copy: bool | None = None
    ) -> NDArray[Any]:
        pixels: NDArray[Any] = self[...]
        return pixels.astype(dtype or self.dtype, copy=False)


class StoredArray:
    """Pixels in a ``.npy`` file, opened when they are read; picklable by its name."""

    def __init__(self, path: Path) -> None:
        self._path = path
        opened = np.load(path, mmap_mode="r")
        self.shape: tuple[int, ...] = opened.shape
        self.dtype: np.dtype[Any] = opened.dtype
        self.ndim: int = opened.ndim

    def __getitem__(self, index: Any) -> NDArray[Any]:
        """Pixels, copied out of the file."""
        return np.array(np.load(self._path, mmap_mode="r")[index])


def full_index(index: Any, shape: tuple[int, ...]) -> tuple[int | slice, ...]:
    """One whole number or slice an axis, none of the numbers negative."""
    given = list(index) if isinstance(index, tuple) else [index]
    if Ellipsis in given:
        at = given.index(Ellipsis)
        given[at : at + 1] = [slice(None)] * (len(shape) - len(given) + 1)
    given += [slice(None)] * (len(shape) - len(given))
    if len(given) > len(shape):
        raise IndexError(f"{len(given)} indices for {len(shape)} axes")
    return tuple(
        part if isinstance(part, slice) else range(size)[part]
        for part, size in zip(given, shape, strict=True)
    )


def load_pixels(data: Pixels) -> NDArray[Any]:
    """All pixels in memory, in the byte order of this machine."""
    return to_native(data[...])


def to_native(pixels: Any) -> NDArray[Any]:
    """Array in the byte order of this machine; the mask of a masked array stays."""
    # Asked for an array, dask gives one without its mask.
    given = pixels.compute() if hasattr(pixels, "__dask_graph__") else pixels
    array = given if isinstance(given, np.ma.MaskedArray) else np.asarray(given)
    return array.astype(array.dtype.newbyteorder("="), copy=False)


def _usable(plane: NDArray[Any]) -> NDArray[np.bool_]:
    """Where pixels are neither masked nor NaN or Inf."""
    usable: NDArray[np.bool_] = np.isfinite(np.ma.getdata(plane))
    return usable & ~np.ma.getmaskarray(plane)


def _unmasked(
    plane: np.ma.MaskedArray[Any, Any], nonfinite: str, what: str
) -> NDArray[Any]:
    """Pixels of a masked array, the masked ones refused or filled with the mean."""
    values, mask = np.ma.getdata(plane), np.ma.getmaskarray(plane)
    count = int(mask.sum())
    if count == 0:
        return values
    if nonfinite == "refuse" or count == values.size:
        raise InputError(
            f"{what} has {counted(count, 'masked pixel')}; fill them with the mean of "
            "the others (nonfinite='fill'), or give its .data."
        )
    others = values[_usable(plane)]
    mean = others.mean(dtype=np.float64) if others.size else 0.0
    fill = np.round(mean) if values.dtype.kind in "iu" else mean
    return np.where(mask, values.dtype.type(fill), values)


# ImageJ writes what is not ASCII as in Java sources
_ESCAPED = re.compile(r"\\u([0-9A-Fa-f]{4})")


def short_unit(text: str | None) -> str | None:
    """Short name of a unit of length or time ("um", "nm", "s"), None if it has none."""
    if text is None:
        return None
    plain = _ESCAPED.sub(lambda code: chr(int(code[1], 16)), text.strip())
    plain = plain.replace("\u00b5", "u").replace("\u03bc", "u")
    return _UNITS.get(plain) or _UNITS.get(plain.lower())


def in_um(size: float | None, unit: str | None) -> float | None:
    """A length in micrometres, None if it has no unit of length."""
    scale = _UM.get(unit or "")
    return None if size is None or scale is None else size * scale


def unit_text(unit: str | None) -> str:
    """A unit as it is written for people: "µm" for "um"; empty for none."""
    return _SYMBOLS.get(unit or "", unit or "")


_SYMBOLS = {"um": "µm", "us": "µs", "angstrom": "Å"}
_UM = {"pm": 1e-6, "angstrom": 1e-4, "nm": 1e-3, "um": 1.0, "mm": 1e3, "cm": 1e4}
_UM |= {"m": 1e6, "in": 25400.0}
_WORDS = {"pm": "picometer", "nm": "nanometer", "um": "micrometer"}
_WORDS |= {"mm": "millimeter", "cm": "centimeter", "m": "meter", "in": "inch"}
_WORDS |= {"angstrom": "angstrom", "ps": "picosecond", "ns": "nanosecond"}
_WORDS |= {"us": "microsecond", "ms": "millisecond", "s": "second"}
_WORDS |= {"min": "minute", "h": "hour", "d": "day"}
_OTHERS = {"um": ("micron", "u"), "in": ("inches",), "angstrom": ("\u00e5", "\u212b")}
_OTHERS |= {"us": ("usec",), "ms": ("msec",), "s": ("sec",), "h": ("hr", "hrs")}


def _spellings() -> dict[str, str]:
    """Short names by all that is written for them, in small letters."""
    names = {}
    for short, word in _WORDS.items():
        british = word.replace("meter", "metre")
        for name in (short, word, british, *_OTHERS.get(short, ())):
            names[name] = short
            if len(name) > 2:
                names[f"{name}s"] = short
    return names


_UNITS = _spellings()


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


# Before the checksum of pixels that were not read from a file by this program.
OF_PIXELS = "pixels:"


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
        is large), or of the pixels of a layer, behind ``pixels:``; or empty.
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
    """Where one learnable plane stands in a stack."""

    number: int  # position in the order of `planes`
    index: Index  # into the stack's data; yields Y, X (and S) in the stack's order
    channel: int  # index along C, 0 without such an axis


# What an image beside a result is, and the key of its recipe that says so.
STANDARD_ERROR, CONTENT = "standard error", "content"


def colour_count(samples: int) -> int:
    """Samples of a pixel without alpha."""
    return samples - 1 if samples in (2, 4) else samples


def planes(stack_axes: str, shape: Sequence[int]) -> tuple[PlaneIndex, ...]:
    """List the planes of a stack in the order of its axes."""
    walked = [i for i, letter in enumerate(stack_axes) if letter not in "YXS"]
    listed = []
    for number, place in enumerate(np.ndindex(*(shape[i] for i in walked))):
        at = dict(zip(walked, place, strict=True))
        index = tuple(at.get(i, slice(None)) for i in range(len(stack_axes)))
        channel = at.get(stack_axes.find("C"), 0)
        listed.append(PlaneIndex(number=number, index=index, channel=channel))
    return tuple(listed)


def error_index(index: Index, axes: str) -> Index:
    """Index of a plane in the image of its standard error, which has no samples."""
    return tuple(at for at, letter in zip(index, axes, strict=True) if letter != "S")


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
    shape: Sequence[int], axes: str, factors: Sequence[float]
) -> tuple[int, ...]:
    """Size after enlargement by factors along (Y, X) or (Z, Y, X): ceil(f n)."""
    by_axis = factor_per_axis(axes, factors)
    return tuple(output_size(n, f) for n, f in zip(shape, by_axis, strict=True))


def output_spacing(
    spacing: Sequence[float | None], axes: str, factors: Sequence[float]
) -> tuple[float | None, ...]:
    """Pixel size after enlargement, L / f; unknown stays unknown."""
    by_axis = factor_per_axis(axes, factors)
    return tuple(
        None if size is None else size / f
        for size, f in zip(spacing, by_axis, strict=True)
    )


def output_origin(
    spacing: Sequence[float | None], axes: str, factors: Sequence[float]
) -> tuple[float, ...]:
    """Centre of the first output pixel, seen from that of the first input pixel."""
    by_axis = factor_per_axis(axes, factors)
    return tuple(
        0.0 if f == 1 else (1.0 if size is None else size) * (1 - f) / (2 * f)
        for size, f in zip(spacing, by_axis, strict=True)
    )


def factor_per_axis(axes: str, factors: Sequence[float]) -> tuple[float, ...]:
    """Enlargement along each axis, from that along (Y, X) or (Z, Y, X)."""
    named = dict(zip("ZYX"[-len(factors) :], factors, strict=True))
    return tuple(named.get(letter, 1.0) for letter in axes)


# Under this name files hold what only this program writes.
NAMESPACE = "napari-zssr"

_ILLEGAL = re.compile("[^ -\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Outline:
    """An image that is to be written, as `ImageStack` has it but for the pixels.

    Where the spacing is unknown, the origin counts pixels of the image that was
    enlarged, so that o = (1 - f) / (2 f) tells their size too, 1 / f = 1 + 2 o.
    """

    shape: tuple[int, ...]
    dtype: str  # name of the type, such as "uint16"
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

    @property
    def text(self) -> str:
        """Axes, shape, dtype, spacing: ``YX 48 × 40 uint16, Y 0.5 µm, ...``."""
        shape = " × ".join(map(str, self.shape))
        spacing = [
            f"{letter} {size:.6g} {unit_text(unit)}".strip()
            for letter, size, unit in zip(
                self.axes, self.spacing, self.units, strict=True
            )
            if size is not None
        ]
        in_words = ", ".join(spacing) or "no pixel size"
        return f"{self.axes} {shape} {self.dtype}, {in_words}"

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


def error_outline(result: Outline) -> Outline:
    """Outline of the standard error of a result: float32, without samples."""
    axes = result.axes.replace("S", "")
    name = f"{result.name} {STANDARD_ERROR}".strip()
    return replace(result.along(axes), dtype="float32", name=name)


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
    stack: ImageStack, factors: Sequence[float], dtype: str = ""
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
