"""From a bare array to an image with named axes: guessing and checking."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from napari_zssr.errors import InputError
from napari_zssr.stack.records import Channel, ImageStack
from napari_zssr.stack.source import Pixels, is_lazy, native
from napari_zssr.stack.units import short_unit

LETTERS = "TCZYXS"
SMALL = 4

Spacing = Mapping[str, float | None] | Sequence[float | None] | float
Units = Mapping[str, str | None] | Sequence[str | None] | str


def parse_axes(text: str, ndim: int) -> str:
    """Check axes given by a user, such as ``"TCZYX"``.

    Parameters
    ----------
    text : str
        One letter for each axis; lower case is accepted.
    ndim : int
        Number of axes of the image.

    Raises
    ------
    InputError
        Unknown or repeated letters, no Y or X, or the wrong number of them.
    """
    axes = text.strip().upper()
    unknown = sorted(set(axes) - set(LETTERS))
    if unknown:
        raise InputError(
            f"Axes {text!r} hold the unknown letter {unknown[0]!r}; use T, C, Z, Y, X, "
            "and S for RGB samples."
        )
    if len(set(axes)) != len(axes):
        twice = next(letter for letter in axes if axes.count(letter) > 1)
        raise InputError(f"Axes {text!r} name {twice} more than once; use each once.")
    if not {"Y", "X"} <= set(axes):
        raise InputError(f"Axes {text!r} lack Y or X; both are needed.")
    if len(axes) != ndim:
        raise InputError(
            f"Axes {text!r} name {len(axes)} axes, but the image has {ndim}; give one "
            "letter for each."
        )
    return axes


def guess_axes(shape: Sequence[int], dtype: DTypeLike) -> str:
    """Guess the axes of an unlabelled image.

    Parameters
    ----------
    shape : sequence of int
        Two to five axes, or six with RGB samples last.
    dtype : dtype
        A trailing 3 or 4 of uint8 is taken for RGB(A) samples.

    Raises
    ------
    InputError
        Too few or too many axes.
    """
    rgb = np.dtype(dtype) == np.uint8 and _small_last(shape, {3, 4})
    if rgb:
        return _guess_leading(tuple(shape[:-3])) + "YXS"
    if len(shape) == 3 and _small_last(shape, {2, 3, 4}) and shape[0] > SMALL:
        return "YXC"
    if len(shape) < 2:
        raise InputError(
            f"The image has shape {tuple(shape)}; an image needs at least Y and X."
        )
    return _guess_leading(tuple(shape[:-2])) + "YX"


def settle_axes(found: str, shape: Sequence[int], dtype: DTypeLike) -> tuple[str, bool]:
    """Axes of a file whose letters are not all known, such as ``"QYX"``.

    Parameters
    ----------
    found : str
        Letters that the file states, any of them.
    shape : sequence of int
        Size along each axis.
    dtype : dtype
        Type of the pixels.

    Returns
    -------
    tuple of (str, bool)
        Letters of TCZYXS, and whether some were guessed.
    """
    unknown = [i for i, letter in enumerate(found) if letter not in LETTERS]
    if not unknown and {"Y", "X"} <= set(found):
        return found, False
    if set(found) & set(LETTERS) <= {"Y", "X"}:
        return guess_axes(shape, dtype), True
    free = [letter for letter in "TZC" if letter not in found]
    if len(unknown) > len(free):
        raise InputError(
            f"The file's axes {found!r} are not understood; name them, for example "
            "axes='TCZYX'."
        )
    if len(unknown) == 1 and shape[unknown[0]] <= SMALL and "C" in free:
        free = ["C"]
    letters = list(found)
    for i, letter in zip(unknown, free, strict=False):
        letters[i] = letter
    return "".join(letters), True


def labelled(
    data: Any,
    *,
    axes: str | None = None,
    spacing: Spacing | None = None,
    units: Units | None = None,
    channels: Sequence[Channel] = (),
    name: str = "",
    source: str = "",
    checksum: str = "",
) -> ImageStack:
    """Image with named axes from a bare array.

    Parameters
    ----------
    data : array-like or Pixels
        Integer or floating-point pixels; lazy ones stay so.
    axes : str, optional
        One letter for each axis; guessed when missing.
    spacing : mapping, sequence or float, optional
        Pixel size by letter (``{"Y": 0.1}``), one for each axis, or one number that
        serves Y and X. Positive.
    units : mapping, sequence or str, optional
        Unit by letter, one for each axis, or one for Z, Y and X. Axes that have a
        spacing are in micrometres, T in seconds, unless said otherwise.
    channels : sequence of Channel
        One for each index of C.
    name, source, checksum : str
        Where the image comes from.

    Raises
    ------
    InputError
        The pixels, axes or spacing cannot be used.
    """
    array = check_pixels(data)
    letters = (
        guess_axes(array.shape, array.dtype)
        if axes is None
        else parse_axes(axes, array.ndim)
    )
    if "S" in letters and array.shape[letters.index("S")] not in {1, 2, 3, 4}:
        raise InputError(
            f"Axes {letters!r} name {array.shape[letters.index('S')]} RGB samples; "
            "S needs at most 4, so name that axis C, Z or T."
        )
    sizes = spacing_per_axis(letters, spacing)
    return ImageStack(
        data=array,
        axes=letters,
        spacing=sizes,
        units=_units_per_axis(letters, units, sizes),
        channels=_matching_channels(tuple(channels), letters, array.shape),
        guessed=axes is None and array.ndim > 2,
        name=name,
        source=source,
        checksum=checksum,
    )


def spacing_per_axis(axes: str, spacing: Spacing | None) -> tuple[float | None, ...]:
    """Pixel size along each axis from any of the forms that `labelled` takes.

    Raises
    ------
    InputError
        Not positive, the wrong number of them, or an axis that is not there.
    """
    if spacing is None:
        return (None,) * len(axes)
    if isinstance(spacing, Mapping):
        named = {letter.upper(): size for letter, size in spacing.items()}
        _refuse_letters("Spacing", set(named), axes)
    elif isinstance(spacing, int | float | np.number):
        named = dict.fromkeys("YX", float(spacing))
    else:
        sizes = list(spacing)
        if len(sizes) != len(axes):
            raise InputError(
                f"Spacing holds {len(sizes)} numbers, but the axes are {axes}; give "
                "one for each, or name them, for example {'Y': 0.1, 'X': 0.1}."
            )
        named = dict(zip(axes, sizes, strict=True))
    return tuple(_checked_size(letter, named.get(letter)) for letter in axes)


def check_pixels(data: Any) -> Pixels:
    """Array in native byte order, refused when it cannot hold an image.

    What reads its pixels only when asked (zarr, dask, a lazy file) comes back as it is.

    Raises
    ------
    InputError
        Empty, boolean, complex or other pixels than numbers of 8 to 64 bits.
    """
    array: Pixels = data if is_lazy(data) else np.asarray(data)
    if 0 in array.shape:
        raise InputError(
            f"The image is empty (shape {array.shape}); give at least one pixel."
        )
    if array.dtype.kind == "b":
        raise InputError(
            "The image is boolean; convert a mask to uint8 first, or give the image "
            "it was made from."
        )
    if array.dtype.kind == "c":
        raise InputError(
            f"The image is complex ({array.dtype}); give its magnitude or real part."
        )
    if array.dtype.kind not in "iuf" or array.dtype.itemsize > 8:
        raise InputError(
            f"Pixels of type {array.dtype} cannot be used; give integers or floating "
            "point of at most 64 bits."
        )
    return native(array) if isinstance(array, np.ndarray) else array


def _small_last(shape: Sequence[int], sizes: set[int]) -> bool:
    return len(shape) >= 3 and shape[-1] in sizes and min(shape[-3:-1]) > SMALL


def _guess_leading(sizes: tuple[int, ...]) -> str:
    """Letters of the axes before Y and X."""
    if len(sizes) > 3:
        raise InputError(
            f"The image has {len(sizes) + 2} axes, too many to guess; name them, for "
            "example axes='TCZYX'."
        )
    small = [size <= SMALL for size in sizes]
    if len(sizes) == 1:
        return "C" if small[0] else "Z"
    if len(sizes) == 2:
        return "ZC" if small[1] else "CZ" if small[0] else "TZ"
    if len(sizes) == 3:
        return "TZC" if small[2] and not small[1] else "TCZ"
    return ""


def _checked_size(letter: str, size: float | None) -> float | None:
    if size is None:
        return None
    try:
        number = float(size)
    except (TypeError, ValueError):
        number = math.nan
    if not (math.isfinite(number) and number > 0):
        raise InputError(
            f"Spacing along {letter} is {size!r}; give a pixel size above 0."
        )
    return number


def _units_per_axis(
    axes: str, units: Units | None, spacing: tuple[float | None, ...]
) -> tuple[str | None, ...]:
    if units is None:
        usual = {"T": "s", "Z": "um", "Y": "um", "X": "um"}
        return tuple(
            None if size is None else usual.get(letter)
            for letter, size in zip(axes, spacing, strict=True)
        )
    if isinstance(units, str):
        named: dict[str, str | None] = {"T": "s", "Z": units, "Y": units, "X": units}
    elif isinstance(units, Mapping):
        named = {letter.upper(): unit for letter, unit in units.items()}
        _refuse_letters("Units", set(named), axes)
    else:
        listed = list(units)
        if len(listed) != len(axes):
            raise InputError(
                f"Units hold {len(listed)} names, but the axes are {axes}; give one "
                "for each."
            )
        named = dict(zip(axes, listed, strict=True))
    return tuple(
        None if size is None else short_unit(named.get(letter)) or named.get(letter)
        for letter, size in zip(axes, spacing, strict=True)
    )


def _refuse_letters(what: str, letters: set[str], axes: str) -> None:
    extra = sorted(letters - set(axes))
    if extra:
        raise InputError(
            f"{what} names axis {extra[0]!r}, but the axes are {axes}; name only those."
        )


def _matching_channels(
    channels: tuple[Channel, ...], axes: str, shape: tuple[int, ...]
) -> tuple[Channel, ...]:
    """Channels that say something, one for each index of C (one without C)."""
    count = shape[axes.index("C")] if "C" in axes else 1
    told = any(channel != Channel() for channel in channels)
    return channels if told and len(channels) == count else ()
