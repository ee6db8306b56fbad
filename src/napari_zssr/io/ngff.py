"""Metadata of OME-Zarr images (0.1 to 0.6): axes, and where the pixels are."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_zssr.atomic import sync_folder, write_synced
from napari_zssr.errors import InputError
from napari_zssr.io.ome_units import (
    SPACING,
    record_message,
    short_of_ome,
    spacing_record,
    zarr_unit,
)
from napari_zssr.io.pyramid import Level, levels_of, zarr_axes
from napari_zssr.stack.axes import NAMESPACE, Outline, legal_text
from napari_zssr.stack.axis_labels import axis_letters
from napari_zssr.stack.image import Channel

_LETTER_OF_TYPE = {"channel": "C", "time": "T"}
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
    return _letters(_listed_axes(multiscale, multiscale["datasets"][0], ndim))


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
    listed = _listed_axes(multiscale, dataset, len(shape))
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


def _listed_axes(
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
        letter = by_type.get(i) or _LETTER_OF_TYPE.get(kind or "")
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


_TYPE_OF_LETTER = {
    "T": "time",
    "C": "channel",
    "Z": "space",
    "Y": "space",
    "X": "space",
}
_SAMPLES = {"red": "FF0000", "green": "00FF00", "blue": "0000FF", "alpha": "FFFFFF"}
# Key of what is told of a label image; what has it is one.
LABELS = "image-label"
# The colour of a channel must be given; white says nothing.
_NO_COLOUR = "FFFFFF"


def check_zarr(outline: Outline) -> tuple[str, ...]:
    """Refuse an image that OME-Zarr cannot hold, by making its attributes.

    Parameters
    ----------
    outline : Outline
        The image.

    Returns
    -------
    tuple of str
        Sentences on what other programs will not see.

    Raises
    ------
    InputError
        What is known of it does not make attributes.
    """
    try:
        json.dumps(attributes_of(outline, levels_of(outline)), allow_nan=False)
    except (ValueError, TypeError, LookupError, ArithmeticError) as error:
        raise InputError(
            f"The image does not fit into an OME-Zarr ({error}); check its pixel sizes "
            "and channels."
        ) from error
    record = spacing_record(outline, zarr_unit)
    return (record_message("OME-Zarr", record),) if record else ()


def attributes_of(outline: Outline, levels: Sequence[Level]) -> dict[str, Any]:
    """Attributes of an image's group: those of OME-Zarr, and this program's own.

    Parameters
    ----------
    outline : Outline
        The image.
    levels : sequence of Level
        Its pyramid.
    """
    own: dict[str, Any] = {"axes": outline.axes, "samples": outline.sizes.get("S", 1)}
    if record := spacing_record(outline, zarr_unit):
        own[SPACING] = record
    return {"ome": ome_attributes(outline, levels), NAMESPACE: own}


def ome_attributes(outline: Outline, levels: Sequence[Level]) -> dict[str, Any]:
    """Content of the attribute ``ome`` of an image's group.

    Parameters
    ----------
    outline : Outline
        The image.
    levels : sequence of Level
        Its pyramid; the level n stands in the array named n.
    """
    scale, origin = _scale(outline), _along(outline, outline.origin, 0.0)
    datasets = [
        {"path": str(n), "coordinateTransformations": _place(outline, scale, origin, n)}
        for n in range(len(levels))
    ]
    image: dict[str, Any] = {"axes": _ngff_axes(outline), "datasets": datasets}
    if outline.name:
        image["name"] = legal_text(outline.name)
    if outline.labels:
        image |= {
            "type": "nearest",
            "metadata": {"description": "One of 2 x 2 pixels."},
        }
        return {"version": "0.5", "multiscales": [image], LABELS: {"version": "0.5"}}
    image |= {"type": "mean", "metadata": {"description": "Mean of 2 x 2 pixels."}}
    channels = [
        told | {"active": True, "window": _window(outline.dtype)}
        for told in _channels(outline)
    ]
    return {"version": "0.5", "multiscales": [image], "omero": {"channels": channels}}


def _ngff_axes(outline: Outline) -> list[dict[str, str]]:
    units = dict(zip(outline.axes, outline.units, strict=True))
    axes = []
    for letter in zarr_axes(outline.axes):
        axis = {"name": letter.lower(), "type": _TYPE_OF_LETTER[letter]}
        unit = None if letter == "C" else zarr_unit(units[letter], letter)
        axes.append(axis if unit is None else axis | {"unit": unit})
    return axes


def _scale(outline: Outline) -> list[float]:
    """Size of a pixel; where it is unknown, in pixels of the image enlarged."""
    sizes = [
        1 + 2 * start if size is None else size
        for size, start in zip(outline.spacing, outline.origin, strict=True)
    ]
    return _along(outline, sizes, 1.0)


def _along(outline: Outline, values: Sequence[float], missing: float) -> list[float]:
    """Values in the order of OME-Zarr; `missing` for channels."""
    named = dict(zip(outline.axes, values, strict=True)) | {"C": missing}
    return [float(named[letter]) for letter in zarr_axes(outline.axes)]


def _place(
    outline: Outline, scale: list[float], origin: list[float], number: int
) -> list[dict[str, Any]]:
    """Size and centre of the first pixel of a level, which stands for 2^n x 2^n."""
    grown = [2**number if a in "YX" else 1 for a in zarr_axes(outline.axes)]
    shifted = [
        start + size * (n - 1) / 2
        for start, size, n in zip(origin, scale, grown, strict=True)
    ]
    sizes = [size * n for size, n in zip(scale, grown, strict=True)]
    return [
        {"type": "scale", "scale": sizes},
        {"type": "translation", "translation": shifted},
    ]


def _channels(outline: Outline) -> list[dict[str, Any]]:
    """Label, colour and wavelengths for each index of the channel axis."""
    count = outline.sizes.get("C", 1)
    known = outline.channels or (Channel(),) * count
    if "S" not in outline.axes:
        return [_channel(channel) for channel in known]
    samples = outline.sizes["S"]
    if samples < 3:
        return [_channel(channel) for channel in known for _ in range(samples)]
    return [
        _channel(channel)
        | {"label": legal_text(f"{channel.name} {name}".strip()), "color": color}
        for channel in known
        for name, color in islice(_SAMPLES.items(), samples)
    ]


def _channel(channel: Channel) -> dict[str, Any]:
    told: dict[str, Any] = {"color": _NO_COLOUR}
    if channel.name:
        told["label"] = legal_text(channel.name)
    if channel.color is not None:
        told["color"] = channel.color.to_bytes(4, "big", signed=True)[:3].hex().upper()
    # As OMERO itself names them.
    waves = {
        "emissionWave": channel.emission_nm,
        "excitationWave": channel.excitation_nm,
    }
    return told | {key: nm for key, nm in waves.items() if nm is not None}


def window_of(seen: NDArray[Any]) -> dict[str, float]:
    """Contrast of a channel: what its type can hold, and where its pixels lie.

    Parameters
    ----------
    seen : ndarray
        Some of its pixels, finite ones.
    """
    window = _window(seen.dtype.name)
    start, end = (float(value) for value in np.percentile(seen, (0.1, 99.9)))
    if seen.dtype.kind == "f":
        window |= {"min": float(seen.min()), "max": float(seen.max())}
    return window | {"start": start, "end": end if end > start else start + 1}


def _window(dtype: str) -> dict[str, float]:
    """The whole range of the type, as long as no pixel has been seen."""
    kind = np.dtype(dtype)
    low, high = 0.0, 1.0
    if kind.kind != "f":
        low, high = float(np.iinfo(kind).min), float(np.iinfo(kind).max)
    return {"min": low, "max": high, "start": low, "end": high}


META = "zarr.json"


def read_attributes(folder: Path) -> dict[str, Any]:
    """Attributes of a group, of Zarr 2 or 3; empty where there are none.

    Parameters
    ----------
    folder : Path
        Folder of the group.

    Raises
    ------
    OSError, ValueError
        They cannot be read.
    """
    if (folder / META).is_file():
        content = json.loads((folder / META).read_bytes())
        found = content.get("attributes") if isinstance(content, dict) else None
    elif (folder / ".zattrs").is_file():
        found = json.loads((folder / ".zattrs").read_bytes())
    else:
        found = None
    return found if isinstance(found, dict) else {}


def write_attributes(folder: Path, attributes: Mapping[str, Any]) -> None:
    """Replace the attributes of a Zarr 3 group at once, on the disk at the end.

    Parameters
    ----------
    folder : Path
        Folder of the group.
    attributes : mapping
        JSON-serialisable.
    """
    content = json.loads((folder / META).read_bytes())
    content["attributes"] = dict(attributes)
    write_synced(folder / META, json.dumps(content, indent=2).encode())
    sync_folder(folder)
