"""From a bare array to an image with named axes, all of it checked."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from napari_zssr.errors import InputError
from napari_zssr.stack.image import (
    Channel,
    ImageStack,
    Pixels,
    is_lazy,
    short_unit,
    to_native,
)

LETTERS = "TCZYXS"
UNKNOWN = "?"

_NAMES = {
    "T": ("t", "time", "times", "timepoint", "timepoints", "frame", "frames"),
    "C": ("c", "ch", "channel", "channels", "band", "bands", "wavelength"),
    "Z": ("z", "depth", "slice", "slices", "pln", "plane", "planes"),
    "Y": ("y", "row", "rows", "height"),
    "X": ("x", "column", "columns", "col", "cols", "width"),
    "S": ("s", "sample", "samples", "rgb", "rgba"),
}
_LETTERS = {name: letter for letter, names in _NAMES.items() for name in names}


def axis_letters(names: Sequence[Any]) -> str:
    """One letter of TCZYXS for each name, ``?`` for unknown and repeated ones."""
    letters = ""
    for name in names:
        letter = _LETTERS.get(str(name).strip().lower(), UNKNOWN)
        letters += UNKNOWN if letter in letters else letter
    return letters


def stored_names(array: Any) -> tuple[str | None, ...]:
    """Names of the axes that an array carries; empty where it carries none."""
    attributes = getattr(array, "attrs", None)
    metadata = getattr(array, "metadata", None)
    candidates: tuple[Any, ...] = (
        getattr(array, "dims", None),
        getattr(metadata, "dimension_names", None),
        attributes.get("_ARRAY_DIMENSIONS") if isinstance(attributes, Mapping) else (),
    )
    for names in candidates:
        is_listed = isinstance(names, tuple | list) and len(names) == np.ndim(array)
        if is_listed and any(names) and all(isinstance(n, str | None) for n in names):
            return tuple(names)
    return ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Coordinates:
    """Even coordinates along one axis."""

    step: float
    unit: str | None
    start: float  # 0 where the coordinates fall along the axis


def _stored_coordinates(
    array: Any, names: Sequence[str | None], axes: str
) -> dict[str, Coordinates]:
    """Even coordinates of an xarray.DataArray along axes that have a pixel size."""
    along = getattr(array, "coords", {})
    found = {
        letter: _even(along[name])
        for letter, name in zip(axes, names, strict=False)
        if letter in "TZYX" and name is not None and name in along
    }
    return {letter: one for letter, one in found.items() if one is not None}


def _even(coordinate: Any) -> Coordinates | None:
    values = np.asarray(coordinate)
    if values.ndim != 1 or values.size < 2 or values.dtype.kind not in "iuf":
        return None
    steps = np.diff(values.astype(np.float64))
    step = float(steps.mean())
    if step == 0 or not np.allclose(steps, step, rtol=1e-3, atol=0):
        return None
    unit = coordinate.attrs.get("units") or coordinate.attrs.get("unit")
    if step == 1 and not unit:
        return None
    start = float(values[0]) if step > 0 else 0.0
    return Coordinates(step=abs(step), unit=unit, start=start)


# A leading axis of at most so many is taken for channels.
SMALL = 4
# A last axis of at most so many is never taken for X.
FEW = 6


def guess_axes(shape: Sequence[int], dtype: DTypeLike) -> str:
    """Guess the axes of an unlabelled image; InputError where that is impossible."""
    sizes = tuple(shape)
    if len(sizes) < 2:
        raise InputError(f"The image has shape {sizes}; an image needs at least Y, X.")
    if len(sizes) == 2 or sizes[-1] > FEW:
        return _leading(sizes[:-2], "TZC") + "YX"
    if min(sizes[-3:-1]) <= max(FEW, 2 * sizes[-1]):
        raise _undecided(sizes)
    if np.dtype(dtype) == np.uint8 and sizes[-1] in {3, 4}:
        return _leading(sizes[:-3], "TZC") + "YXS"
    return _leading(sizes[:-3], "TZ") + "YXC"


def settle_axes(
    stored: str, shape: Sequence[int], dtype: DTypeLike
) -> tuple[str, bool]:
    """Axes of an image whose letters are not all known, and whether any is a guess."""
    known = set(stored) & set(LETTERS)
    if not known:
        return guess_axes(shape, dtype), True
    unknown = [i for i, letter in enumerate(stored) if letter not in LETTERS]
    missing = [letter for letter in "YX" if letter not in known]
    if not unknown and not missing:
        return stored, False
    letters = list(stored)
    # Rows and columns are the last of the axes without a name.
    split = len(unknown) - len(missing)
    if split < 0:
        raise _misunderstood(stored)
    for i, letter in zip(unknown[split:], missing, strict=True):
        letters[i] = letter
    if "X" in missing and shape[unknown[-1]] <= FEW:
        raise _undecided(tuple(shape))
    others = unknown[:split]
    free = "".join(a for a in "TZC" if a not in known)
    if len(others) > len(free):
        raise _misunderstood(stored)
    last = len(shape) - 1
    sizes = [1 if i == last and shape[i] <= FEW else shape[i] for i in others]
    named = _leading(sizes, free)
    for i, letter in zip(others, named, strict=True):
        letters[i] = letter
    return "".join(letters), True


def guess_message(axes: str, shape: Sequence[int]) -> str:
    """Say which axes were guessed, and how to name others."""
    sizes = " × ".join(str(size) for size in shape)
    colours = axes.endswith("C") and shape[-1] in {3, 4}
    example = f"; colours are {axes[:-1]}S" if colours else ""
    return (
        f"Axes guessed as {axes} ({sizes}); if this is wrong, name them with axes=, "
        f"--axes or in the form{example}."
    )


def _leading(sizes: Sequence[int], free: str) -> str:
    """Letters for axes besides Y and X, from those that are not taken yet."""
    if len(sizes) > len(free):
        raise InputError(
            "The image has too many axes to guess their names; give them, for example "
            "axes='TCZYX'."
        )
    small = [size <= SMALL and "C" in free for size in sizes]
    if len(sizes) == 3:
        return "TZC" if small[2] and not small[1] else "TCZ"
    if len(sizes) == 2 and any(small):
        other = free.replace("C", "")[-1]
        return f"{other}C" if small[1] else f"C{other}"
    if len(sizes) == 1:
        return "C" if small[0] else "Z" if "Z" in free else free[0]
    return free[: len(sizes)]


def _undecided(shape: tuple[int, ...]) -> InputError:
    ndim = len(shape)
    return InputError(
        f"The image has shape {shape}, and its last axis of {shape[-1]} may be X or "
        f"channels; name the axes, for example axes='{'TCZYX'[-ndim:]}' or "
        f"axes='{'TZYXC'[-ndim:]}'."
    )


def _misunderstood(stored: str) -> InputError:
    return InputError(
        f"The axes {stored!r} given by the image are not understood; name them, for "
        "example axes='TCZYX'."
    )


# What to do with labels and masks, wherever they are refused.
NEAREST_ADVICE = "it with --labels or upscale_labels(), which keep each value"

Spacing = Mapping[str, float | None] | Sequence[float | None] | float
Units = Mapping[str, str | None] | Sequence[str | None] | str


def parse_axes(text: str, ndim: int) -> str:
    """Axes given by a user, in upper case; InputError where they cannot be used."""
    axes = text.strip().upper()
    unknown = sorted(set(axes) - set(LETTERS))
    if unknown:
        raise InputError(
            f"Axes {text!r} contain the unknown letter {unknown[0]!r}; use T, C, Z, "
            "Y, X, and S for RGB samples."
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


def chosen_axes(given: str | None, stated: str, array: Pixels) -> tuple[str, bool]:
    """Axes that a user gives, else the stated ones; whether to say they are guessed."""
    if given is not None:
        return parse_axes(given, array.ndim), False
    letters, guessed = settle_axes(stated, array.shape, array.dtype)
    return letters, guessed and array.ndim > 2


def labelled(
    data: Any,
    *,
    axes: str | None = None,
    spacing: Spacing | None = None,
    units: Units | None = None,
    channels: Sequence[Channel] = (),
    name: str = "",
    source: str = "",
    labels: bool = False,
) -> ImageStack:
    """Image with named axes from a bare array; refuses with an InputError."""
    array = check_pixels(data, labels=labels)
    names = stored_names(data)
    letters, guessed = chosen_axes(axes, axis_letters(names), array)
    known = _stored_coordinates(data, names, letters)
    if spacing is None and known:
        spacing = {letter: one.step for letter, one in known.items()}
        units = {letter: one.unit for letter, one in known.items()}
        origin = tuple(known[a].start if a in known else 0.0 for a in letters)
    else:
        origin = ()
    if "S" in letters and array.shape[letters.index("S")] not in {1, 2, 3, 4}:
        raise InputError(
            f"Axes {letters!r} name {array.shape[letters.index('S')]} RGB samples; "
            "S allows at most 4, so name that axis C, Z or T."
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
        origin=origin if any(origin) else (),
        messages=(guess_message(letters, array.shape),) if guessed else (),
        labels=array.dtype.kind == "b",
    )


def relabelled(
    stack: ImageStack, axes: str | None, spacing: Spacing | None
) -> ImageStack:
    """The same image with other axes or another pixel size."""
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
    """Pixel size along each axis from any of the forms that `labelled` takes."""
    if spacing is None:
        return (None,) * len(axes)
    if isinstance(spacing, Mapping):
        named = {letter.upper(): size for letter, size in spacing.items()}
        if extra := sorted(set(named) - set(axes)):
            raise InputError(
                f"Spacing names axis {extra[0]!r}, but the axes are {axes}; name only "
                "those."
            )
    elif isinstance(spacing, int | float | np.number):
        named = dict.fromkeys("YX", float(spacing))
    else:
        sizes = list(spacing)
        if len(sizes) != len(axes):
            raise InputError(
                f"Spacing has {len(sizes)} numbers, but the axes are {axes}; give "
                f"one for each, or name them, for example {{'Y': 0.1, 'X': 0.1}}."
            )
        named = dict(zip(axes, sizes, strict=True))
    return tuple(_checked_size(letter, named.get(letter)) for letter in axes)


def check_pixels(data: Any, *, labels: bool = False) -> Pixels:
    """Array in native byte order, refused when it cannot hold an image.

    Lazy pixels (zarr, dask, a file) are returned as they are; a mask stays.
    """
    kept = is_lazy(data) or isinstance(data, np.ma.MaskedArray)
    array: Pixels = data if kept else np.asarray(data)
    _check_shape(array.shape)
    _check_type(array.dtype, labels)
    return to_native(array) if isinstance(array, np.ndarray) else array


def _check_shape(shape: tuple[int, ...]) -> None:
    unknown = [axis for axis, size in enumerate(shape) if math.isnan(size)]
    if unknown:
        raise InputError(
            f"The size of the image along {unknown[0]} is not known to dask yet; "
            "call .compute_chunk_sizes() on it first."
        )
    if 0 in shape:
        raise InputError(
            f"The image is empty (shape {shape}); give at least one pixel."
        )


def _check_type(dtype: np.dtype[Any], labels: bool) -> None:
    if dtype.kind == "b" and not labels:
        raise InputError(
            f"The image is a mask (boolean); enlarge {NEAREST_ADVICE}, or give the "
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
    if units is None or isinstance(units, str):
        units = {"T": "s", **dict.fromkeys("ZYX", units or "um")}
    named = units if isinstance(units, Mapping) else dict(zip(axes, units, strict=True))
    return tuple(
        None if size is None else short_unit(named.get(letter)) or named.get(letter)
        for letter, size in zip(axes, spacing, strict=True)
    )


def _matching_channels(
    channels: tuple[Channel, ...], axes: str, shape: tuple[int, ...]
) -> tuple[Channel, ...]:
    """Channels that say something, one for each index of C (one without C)."""
    count = shape[axes.index("C")] if "C" in axes else 1
    is_known = any(channel != Channel() for channel in channels)
    return channels if is_known and len(channels) == count else ()
