"""From a bare array to an image with named axes, all of it checked."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from napari_zssr.errors import InputError
from napari_zssr.stack.axis_guess import guess_message, settle_axes
from napari_zssr.stack.axis_names import (
    LETTERS,
    Coordinates,
    axis_letters,
    stored_coordinates,
    stored_names,
)
from napari_zssr.stack.records import Channel, ImageStack
from napari_zssr.stack.source import Pixels, is_lazy, native
from napari_zssr.stack.units import short_unit

# What to do with labels and masks, wherever they are refused.
NEAREST_ADVICE = "it with --labels or upscale_labels(), which keep each value"

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
    labels: bool = False,
) -> ImageStack:
    """Image with named axes from a bare array.

    Parameters
    ----------
    data : array-like or Pixels
        Integer or floating-point pixels; lazy ones stay so.
    axes : str, optional
        One letter for each axis; where it is missing, the names that the array carries
        are taken (xarray, zarr), and what has none is guessed and said in `messages`.
    spacing : mapping, sequence or float, optional
        Pixel size by letter (``{"Y": 0.1}``), one for each axis, or one number that
        serves Y and X. Positive.
    units : mapping, sequence or str, optional
        Unit by letter, one for each axis, or one for Z, Y and X. Axes that have a
        spacing are in micrometres, T in seconds, unless said otherwise. Spacing and
        units are taken from the coordinates that an array carries (xarray) unless
        given.
    channels : sequence of Channel
        One for each index of C.
    name, source, checksum : str
        Where the image comes from.
    labels : bool
        Let a mask pass, whose pixels are booleans.

    Raises
    ------
    InputError
        The pixels, axes or spacing cannot be used.
    """
    array = check_pixels(data, labels=labels)
    names = stored_names(data)
    letters, guessed = (
        settle_axes(axis_letters(names), array.shape, array.dtype)
        if axes is None
        else (parse_axes(axes, array.ndim), False)
    )
    guessed = guessed and array.ndim > 2
    known = _by_letter(letters, stored_coordinates(data, names))
    if spacing is None and known:
        spacing = {letter: one.step for letter, one in known.items()}
        units = {letter: one.unit for letter, one in known.items()}
        origin = tuple(known[a].start if a in known else 0.0 for a in letters)
    else:
        origin = ()
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
        guessed=guessed,
        name=name,
        source=source,
        checksum=checksum,
        origin=origin if any(origin) else (),
        messages=(guess_message(letters, array.shape),) if guessed else (),
        labels=array.dtype.kind == "b",
    )


def relabelled(
    stack: ImageStack, axes: str | None, spacing: Spacing | None
) -> ImageStack:
    """The same image with other axes or another pixel size.

    Parameters
    ----------
    stack : ImageStack
    axes : str, optional
        One letter for each axis; as they are unless given.
    spacing : mapping, sequence or float, optional
        As in `labelled`; as it is unless given.

    Raises
    ------
    InputError
        The axes or the spacing cannot be used.
    """
    if axes is None and spacing is None:
        return stack
    changed = labelled(
        stack.data,
        axes=axes or stack.axes,
        spacing=stack.spacing if spacing is None else spacing,
        units=stack.units if spacing is None else None,
        labels=stack.labels,
    )
    same_channels = ("C" in changed.axes) == ("C" in stack.axes)
    return replace(
        stack,
        axes=changed.axes,
        spacing=changed.spacing,
        units=changed.units,
        channels=stack.channels if same_channels else (),
        guessed=stack.guessed and axes is None,
        origin=stack.origin if spacing is None else (),
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


def check_pixels(data: Any, *, labels: bool = False) -> Pixels:
    """Array in native byte order, refused when it cannot hold an image.

    What reads its pixels only when asked (zarr, dask, a lazy file) comes back as it is,
    and the mask of a masked array stays.

    Parameters
    ----------
    data : array-like or Pixels
    labels : bool
        Let booleans pass.

    Raises
    ------
    InputError
        Empty, of unknown size, or other pixels than numbers of 8 to 64 bits.
    """
    kept = is_lazy(data) or isinstance(data, np.ma.MaskedArray)
    array: Pixels = data if kept else np.asarray(data)
    _check_shape(array.shape)
    _check_type(array.dtype, labels)
    return native(array) if isinstance(array, np.ndarray) else array


def _check_shape(shape: tuple[int, ...]) -> None:
    unknown = [axis for axis, size in enumerate(shape) if math.isnan(size)]
    if unknown:
        raise InputError(
            f"The image's size along axis {unknown[0]} is not known, since dask has "
            "not counted its chunks; call .compute_chunk_sizes() on it first."
        )
    if 0 in shape:
        raise InputError(
            f"The image is empty (shape {shape}); give at least one pixel."
        )


def _check_type(dtype: np.dtype[Any], labels: bool) -> None:
    if dtype.kind == "b" and not labels:
        raise InputError(
            f"The image is boolean, so a mask; enlarge {NEAREST_ADVICE}, or give the "
            "image it was made from."
        )
    if dtype.kind == "c":
        raise InputError(
            f"The image is complex ({dtype}); give its magnitude or real part."
        )
    if dtype.kind not in "biuf" or dtype.itemsize > 8:
        raise InputError(
            f"Pixels of type {dtype} cannot be used; give integers or floating "
            "point of at most 64 bits."
        )


def _by_letter(
    axes: str, coordinates: Sequence[Coordinates | None]
) -> dict[str, Coordinates]:
    """What is known along axes that have a pixel size."""
    return {
        letter: one
        for letter, one in zip(axes, coordinates, strict=False)
        if one is not None and letter in "TZYX"
    }


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
