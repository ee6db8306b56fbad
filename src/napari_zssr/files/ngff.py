"""Metadata of OME-Zarr images (0.1 to 0.6): axes, and where the pixels are."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_zssr.errors import InputError
from napari_zssr.stack.axes import axis_letters
from napari_zssr.stack.ome_units import short_of_ome

_TYPES = {"channel": "C", "time": "T"}
# Versions before 0.3 have these and name none.
_FIVE = "tczyx"

_Axis = Mapping[str, Any]
_Placed = tuple[NDArray[np.float64], NDArray[np.float64]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """Where the pixels of the full resolution are.

    Attributes
    ----------
    axes : str
        One letter for each axis, ``?`` for an unknown name; empty where the metadata
        name none.
    spacing, units, origin : dict
        By letter, only where known; a spacing is positive.
    reversed_axes : tuple of int
        Numbers of the axes that run backwards. `origin` is the centre of the last
        pixel along them, which is the first one when they are turned round.
    messages : tuple of str
        What was assumed or left out.
    """

    axes: str
    spacing: dict[str, float]
    units: dict[str, str | None]
    origin: dict[str, float]
    reversed_axes: tuple[int, ...]
    messages: tuple[str, ...]


def level_paths(multiscale: Mapping[str, Any]) -> tuple[str, ...]:
    """Paths of the arrays of an image, the full resolution first."""
    return tuple(str(dataset["path"]) for dataset in multiscale["datasets"])


def axes_of(multiscale: Mapping[str, Any], ndim: int) -> str:
    """Letters of the axes that an image names; empty where it names none.

    Parameters
    ----------
    multiscale : mapping
        An entry of ``multiscales``.
    ndim : int
        Number of axes of its arrays.
    """
    return _letters(_axes(multiscale, multiscale["datasets"][0], ndim))


def placement(multiscale: Mapping[str, Any], shape: Sequence[int]) -> Placement:
    """Axes, pixel size and place of the full resolution.

    Parameters
    ----------
    multiscale : mapping
        An entry of ``multiscales``.
    shape : sequence of int
        Of the full resolution.

    Raises
    ------
    InputError
        The metadata do not fit the array, or turn, shear or bend the image.
    """
    dataset = multiscale["datasets"][0]
    listed = _axes(multiscale, dataset, len(shape))
    if len(listed) not in (0, len(shape)):
        raise InputError(
            f"The metadata name {len(listed)} axes, but the array has {len(shape)}; "
            f"give the array itself, {dataset['path']} in the folder, with axes=."
        )
    holders = [dataset] if _systems(multiscale) else [dataset, multiscale]
    scale, start = np.ones(len(shape)), np.zeros(len(shape))
    for holder in holders:
        for step in holder.get("coordinateTransformations") or ():
            factor, shift = _placed(step, len(shape))
            scale, start = scale * factor, start * factor + shift
    letters = _letters(listed)
    return _placement(letters, listed, scale, start, shape, _elsewhere(multiscale))


def _placement(
    letters: str,
    listed: Sequence[_Axis],
    scale: NDArray[np.float64],
    start: NDArray[np.float64],
    shape: Sequence[int],
    messages: Sequence[str],
) -> Placement:
    spacing: dict[str, float] = {}
    units: dict[str, str | None] = {}
    origin: dict[str, float] = {}
    backwards: list[int] = []
    told = list(messages)
    for i, (letter, axis) in enumerate(zip(letters, listed, strict=True)):
        size, first = float(scale[i]), float(start[i])
        if letter not in "TZYX":
            continue
        if not math.isfinite(size) or size == 0:
            told.append(f"The pixel size along {letter} is {size:g}; it is left out.")
            continue
        if size < 0:
            backwards.append(i)
            first, size = first + size * (shape[i] - 1), -size
            told.append(
                f"Axis {letter} runs backwards (its scale is {-size:g}), so its pixels "
                "are turned round to lie where the metadata say."
            )
        unit = axis.get("unit")
        if unit or size != 1:
            spacing[letter], units[letter] = size, short_of_ome(unit)
            origin |= {letter: first} if first else {}
    return Placement(
        axes=letters,
        spacing=spacing,
        units=units,
        origin=origin,
        reversed_axes=tuple(backwards),
        messages=tuple(told),
    )


def _axes(
    multiscale: Mapping[str, Any], dataset: Mapping[str, Any], ndim: int
) -> list[_Axis]:
    """Axes as they are listed; none where none are and their number is unusual."""
    listed: Any = multiscale.get("axes")
    systems = _systems(multiscale)
    if systems:
        wanted = _system_name(dataset)
        chosen = [one for one in systems if one.get("name") == wanted] or systems
        listed = chosen[0].get("axes")
    if not listed:
        listed = _FIVE if ndim == len(_FIVE) else ()
    return [{"name": axis} if isinstance(axis, str) else axis for axis in listed]


def _systems(multiscale: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Coordinate systems of version 0.6."""
    return list(multiscale.get("coordinateSystems") or ())


def _system_name(holder: Mapping[str, Any]) -> str | None:
    """Coordinate system that the last transformation leads to."""
    steps = holder.get("coordinateTransformations") or ()
    output = steps[-1].get("output") if steps else None
    return output.get("name") if isinstance(output, Mapping) else output


def _elsewhere(multiscale: Mapping[str, Any]) -> list[str]:
    """Say which further coordinate systems are left out."""
    if not _systems(multiscale) or not multiscale.get("coordinateTransformations"):
        return []
    name = _system_name(multiscale)
    return [f"The image's place in the coordinate system {name!r} is left out."]


def _letters(listed: Sequence[_Axis]) -> str:
    """Letters by the names, else by the types of the axes; those of space end in X."""
    letters = list(axis_letters([axis.get("name") for axis in listed]))
    kinds = [axis.get("type") for axis in listed]
    space = [i for i, kind in enumerate(kinds) if kind == "space"]
    by_type = dict(zip(reversed(space), "XYZ", strict=False))
    for i, kind in enumerate(kinds):
        letter = by_type.get(i) or _TYPES.get(kind or "")
        if letters[i] == "?" and letter and letter not in letters:
            letters[i] = letter
    return "".join(letters)


def _placed(step: Mapping[str, Any], ndim: int) -> _Placed:
    """Scale and translation of a transformation."""
    kind = step.get("type")
    ones, zeros = np.ones(ndim), np.zeros(ndim)
    if kind == "identity":
        return ones, zeros
    if kind == "scale" and "scale" in step:
        return _numbers(step["scale"], ndim), zeros
    if kind == "translation" and "translation" in step:
        return ones, _numbers(step["translation"], ndim)
    if kind == "affine" and "affine" in step:
        along_axes = _along_axes(np.asarray(step["affine"], dtype=np.float64), ndim)
        if along_axes is not None:
            return along_axes
    if kind == "sequence":
        scale, start = ones, zeros
        for part in step["transformations"]:
            factor, shift = _placed(part, ndim)
            scale, start = scale * factor, start * factor + shift
        return scale, start
    raise InputError(
        f"The image is placed by a transformation of type {kind!r}, of which only "
        "scale and translation are read; give the array itself, such as 0 in the "
        "folder, with axes= and spacing=."
    )


def _along_axes(matrix: NDArray[np.float64], ndim: int) -> _Placed | None:
    """Scale and translation of a matrix that neither turns nor shears."""
    if matrix.shape != (ndim, ndim + 1):
        return None
    linear, shift = matrix[:, :ndim], matrix[:, ndim]
    diagonal = linear.diagonal()
    return (diagonal, shift) if (linear == np.diag(diagonal)).all() else None


def _numbers(values: Sequence[float], ndim: int) -> NDArray[np.float64]:
    numbers = np.asarray(values, dtype=np.float64)
    if numbers.shape != (ndim,):
        raise InputError(
            f"A transformation has {numbers.size} numbers, but the array has {ndim} "
            "axes; give the array itself, such as 0 in the folder, with axes=."
        )
    return numbers
