"""OME-Zarr metadata, read and written: axes, levels, chunks and shards."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_zssr.atomic import sync_folder, write_synced
from napari_zssr.errors import InputError
from napari_zssr.io.calibration import (
    SPACING,
    record_messages,
    short_of_ome,
    spacing_record,
    zarr_unit,
)
from napari_zssr.io.contents import Calibration
from napari_zssr.stack.axis_labels import axis_letters
from napari_zssr.stack.image import NAMESPACE, Channel, Index, Outline, legal_text

CHUNK = 512
SHARD_BYTES = 8 * 2**20
SMALLEST = 256

Put = Callable[[int, NDArray[Any]], None]
Halve = Callable[[NDArray[Any]], NDArray[Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Level:
    """One level of a pyramid: pixels along (Y, X) of a plane, a chunk and a shard."""

    size: tuple[int, int]
    chunk: tuple[int, int]
    shard: tuple[int, int]  # of whole chunks, perhaps beyond the plane


def levels_of(outline: Outline, count: int | None = None) -> tuple[Level, ...]:
    """Levels of a pyramid, each half the size, down to about 256 pixels or `count`."""
    itemsize = np.dtype(outline.dtype).itemsize
    y, x = outline.sizes["Y"], outline.sizes["X"]
    levels = [_level(y, x, itemsize)]
    while min(y, x) > SMALLEST if count is None else len(levels) < count:
        y, x = (y + 1) // 2, (x + 1) // 2
        levels.append(_level(y, x, itemsize))
    return tuple(levels)


def _level(y: int, x: int, itemsize: int) -> Level:
    chunk = min(y, CHUNK), min(x, CHUNK)
    fitting = max(1, SHARD_BYTES // (chunk[0] * chunk[1] * itemsize))
    wide = min(-(-x // chunk[1]), fitting)
    high = min(-(-y // chunk[0]), max(1, fitting // wide))
    return Level(size=(y, x), chunk=chunk, shard=(chunk[0] * high, chunk[1] * wide))


def band_rows(outline: Outline) -> int:
    """Rows of a plane that are written at once; lower bands are buffered."""
    return min(outline.sizes["Y"], levels_of(outline, 1)[0].shard[0])


def zarr_axes(axes: str) -> str:
    """Axes in the order of OME-Zarr; RGB samples are channels there."""
    present = axes.replace("S", "C")
    return "".join(letter for letter in "TCZYX" if letter in present)


def zarr_shape(outline: Outline) -> tuple[int, ...]:
    """Size along each of `zarr_axes`."""
    sizes = outline.sizes
    sizes["C"] = sizes.get("C", 1) * sizes.get("S", 1)
    return tuple(sizes[letter] for letter in zarr_axes(outline.axes))


def zarr_index(index: Index, axes: str, samples: int) -> Index:
    """Index of a plane in Zarr without Y and X; along C a slice of its samples."""
    by_letter = dict(zip(axes, index, strict=True))
    letters = zarr_axes(axes)[:-2]
    if "C" in letters:
        channel: Any = by_letter.get("C", 0)
        by_letter["C"] = slice(channel * samples, (channel + 1) * samples)
    return tuple(by_letter[letter] for letter in letters)


def halved(band: NDArray[Any]) -> NDArray[Any]:
    """Mean of 2 x 2 pixels in their dtype, (C, Y, X) to (C, ceil(Y/2), ceil(X/2))."""
    odd = [(0, n % 2) for n in band.shape[1:]]
    padded = np.pad(band, [(0, 0), *odd], mode="edge") if (0, 1) in odd else band
    four = [padded[:, i::2, j::2] for i in (0, 1) for j in (0, 1)]
    if band.dtype.kind != "f":
        return _mean_of_integers(four)
    wide = np.promote_types(band.dtype, np.float32)
    mean: NDArray[Any] = sum(part.astype(wide) * wide.type(0.25) for part in four)
    return mean.astype(band.dtype)


def nearest_halved(band: NDArray[Any]) -> NDArray[Any]:
    """One of 2 x 2 pixels, for labels; shapes as in `halved`."""
    return band[:, ::2, ::2]


def _mean_of_integers(four: list[NDArray[Any]]) -> NDArray[Any]:
    """Mean, half to even, without a wider type: 64-bit integers have none."""
    mean = sum((part >> 2 for part in four[1:]), start=four[0] >> 2)
    rest = sum((part & 3 for part in four[1:]), start=four[0] & 3)
    mean += rest >> 2
    rest &= 3
    mean += (rest == 3) | ((rest == 2) & ((mean & 1) == 1))
    return mean


class BandWriter:
    """Collects the rows of a (C, Y, X) plane into bands and passes on their halves.

    `put` stores a band (C, rows, X) given its first row; `below` gets its half.
    """

    def __init__(
        self,
        shape: tuple[int, int, int],
        dtype: np.dtype[Any],
        rows: int,  # even, unless a band is the whole plane
        put: Put,
        below: BandWriter | None = None,
        halve: Halve = halved,
    ) -> None:
        self.shape = shape
        self._rows = min(rows, shape[1])
        self._put = put
        self._below = below
        self._halve = halve
        self._dtype = dtype
        self._buffer: NDArray[Any] | None = None
        self._buffered = 0
        self._stored = 0

    @property
    def rows_added(self) -> int:
        """Number of rows so far."""
        return self._stored + self._buffered

    def add(self, rows: NDArray[Any]) -> None:
        """Take the next rows, (C, any, X); ValueError where they do not fit."""
        left = self.shape[1] - self.rows_added
        if (rows.shape[0], rows.shape[2]) != self.shape[::2] or rows.shape[1] > left:
            raise ValueError(
                f"{rows.shape} rows were given where ({self.shape[0]}, {left}, "
                f"{self.shape[2]}) are left"
            )
        while rows.shape[1]:
            height = min(self._rows, self.shape[1] - self._stored)
            wanted = height - self._buffered
            part, rows = rows[:, :wanted], rows[:, wanted:]
            if part.shape[1] < height:
                part = self._with_buffered(part)
            if part.shape[1] == height:
                self._store(part)

    def _with_buffered(self, part: NDArray[Any]) -> NDArray[Any]:
        """Append rows to the buffer and return all that it holds."""
        if self._buffer is None:
            size = self.shape[0], self._rows, self.shape[2]
            self._buffer = np.empty(size, self._dtype)
        end = self._buffered + part.shape[1]
        self._buffer[:, self._buffered : end] = part
        self._buffered = end
        return self._buffer[:, :end]

    def _store(self, band: NDArray[Any]) -> None:
        self._put(self._stored, band)
        self._stored += band.shape[1]
        self._buffered = 0
        if self._below is not None:
            self._below.add(self._halve(band))


META = "zarr.json"
# Metadata key that marks a label image.
LABELS = "image-label"

_LETTER_OF_TYPE = {"channel": "C", "time": "T"}
_TYPE_OF_LETTER = {"T": "time", "C": "channel"}
# Versions before 0.3 have these five axes and do not name them.
_AXES_BEFORE_0_3 = "tczyx"
_SAMPLES = {"red": "FF0000", "green": "00FF00", "blue": "0000FF", "alpha": "FFFFFF"}
# OMERO requires a colour for each channel; white stands for none.
_NO_COLOUR = "FFFFFF"

_Axis = Mapping[str, Any]
_ScaleAndTranslation = tuple[NDArray[np.float64], NDArray[np.float64]]


def ome_metadata(node: Any) -> Mapping[str, Any]:
    """OME metadata of a Zarr group or array, at the place of its version."""
    attributes = dict(node.attrs)
    metadata = attributes.get("ome", attributes)
    return metadata if isinstance(metadata, Mapping) else {}


def level_paths(multiscale: Mapping[str, Any]) -> tuple[str, ...]:
    """Paths of the arrays of an image, the full resolution first."""
    return tuple(str(dataset["path"]) for dataset in multiscale["datasets"])


def axes_of(multiscale: Mapping[str, Any], ndim: int) -> str:
    """Letters of the named axes of an image with `ndim` axes; empty without names."""
    return _letters(_axes_of(multiscale, ndim))


def placement(
    multiscale: Mapping[str, Any], shape: tuple[int, ...]
) -> tuple[str, Calibration, tuple[int, ...]]:
    """Axes, pixel size and position of an image, and its axes that run backwards.

    The position is that of the flipped image. InputError if the metadata do not fit.
    """
    dataset = multiscale["datasets"][0]
    listed = _axes_of(multiscale, len(shape))
    if len(listed) not in (0, len(shape)):
        raise InputError(
            f"The metadata name {len(listed)} axes, but the array has {len(shape)}; "
            f"give the array itself, {dataset['path']} in the folder, with axes=."
        )
    steps = _transformations(dataset)
    messages = []
    if not multiscale.get("coordinateSystems"):
        steps += _transformations(multiscale)
    elif _transformations(multiscale):
        name = _target_system(multiscale)
        messages.append(
            f"The position of the image in the coordinate system {name!r} was ignored."
        )
    scale, translation = _composed(steps, len(shape))
    letters = _letters(listed)
    spacing: dict[str, float] = {}
    units: dict[str, str | None] = {}
    origin: dict[str, float] = {}
    reversed_axes = []
    known = zip(letters, listed, scale.tolist(), translation.tolist(), strict=False)
    for i, (letter, axis, size, first) in enumerate(known):
        if letter not in "TZYX":
            continue
        if not math.isfinite(size) or size == 0:
            messages.append(
                f"The pixel size along {letter} is {size:g}; it was ignored."
            )
            continue
        if size < 0:
            messages.append(
                f"Axis {letter} runs backwards (its scale is {size:g}), so it was "
                "reversed."
            )
            reversed_axes.append(i)
            first, size = first + size * (shape[i] - 1), -size
        unit = axis.get("unit")
        if unit or size != 1:
            spacing[letter], units[letter] = size, short_of_ome(unit)
            if first:
                origin[letter] = first
    placed = Calibration(
        spacing=spacing, units=units, origin=origin, messages=tuple(messages)
    )
    return letters, placed, tuple(reversed_axes)


def _axes_of(multiscale: Mapping[str, Any], ndim: int) -> list[_Axis]:
    """Axes as listed, or the usual five; empty without names."""
    holder = multiscale
    # Since version 0.6 axes belong to coordinate systems.
    if systems := multiscale.get("coordinateSystems"):
        wanted = _target_system(multiscale["datasets"][0])
        named = (system for system in systems if system.get("name") == wanted)
        holder = next(named, systems[0])
    listed: Any = holder.get("axes")
    if not listed:
        listed = _AXES_BEFORE_0_3 if ndim == len(_AXES_BEFORE_0_3) else ()
    return [{"name": axis} if isinstance(axis, str) else axis for axis in listed]


def _transformations(holder: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return list(holder.get("coordinateTransformations") or ())


def _target_system(holder: Mapping[str, Any]) -> str | None:
    """Name of the coordinate system that the last transformation leads to."""
    steps = _transformations(holder)
    output = steps[-1].get("output") if steps else None
    return output.get("name") if isinstance(output, Mapping) else output


def _letters(listed: Sequence[_Axis]) -> str:
    """Letters by the names, else by the types of the axes; spatial ones end in X."""
    letters = list(axis_letters([axis.get("name") for axis in listed]))
    types = [axis.get("type") for axis in listed]
    spatial = [i for i, kind in enumerate(types) if kind == "space"]
    by_type = dict(zip(reversed(spatial), "XYZ", strict=False))
    for i, kind in enumerate(types):
        letter = by_type.get(i) or _LETTER_OF_TYPE.get(kind or "")
        if letters[i] == "?" and letter and letter not in letters:
            letters[i] = letter
    return "".join(letters)


def _composed(steps: Iterable[Mapping[str, Any]], ndim: int) -> _ScaleAndTranslation:
    """Scale and translation of transformations that follow each other."""
    scale, translation = np.ones(ndim), np.zeros(ndim)
    for step in steps:
        factor, shift = _scale_and_translation(step, ndim)
        scale, translation = scale * factor, translation * factor + shift
    return scale, translation


def _scale_and_translation(step: Mapping[str, Any], ndim: int) -> _ScaleAndTranslation:
    kind = step.get("type")
    ones, zeros = np.ones(ndim), np.zeros(ndim)
    if kind == "identity":
        return ones, zeros
    if kind == "sequence":
        return _composed(step["transformations"], ndim)
    if kind == "scale" and "scale" in step:
        return _vector(step["scale"], ndim), zeros
    if kind == "translation" and "translation" in step:
        return ones, _vector(step["translation"], ndim)
    if kind == "affine" and "affine" in step:
        matrix = np.asarray(step["affine"], dtype=np.float64)
        if matrix.shape == (ndim, ndim + 1):
            diagonal = matrix.diagonal()
            if (matrix[:, :ndim] == np.diag(diagonal)).all():
                return diagonal, matrix[:, ndim]
    raise InputError(
        f"The metadata place the image by a transformation of type {kind!r}, but only "
        "scale and translation can be read; give the array itself, such as 0 in the "
        "folder, with axes= and spacing=."
    )


def _vector(values: Sequence[float], ndim: int) -> NDArray[np.float64]:
    vector = np.asarray(values, dtype=np.float64)
    if vector.shape != (ndim,):
        raise InputError(
            f"A transformation has {vector.size} numbers, but the array has {ndim} "
            "axes; give the array itself, such as 0 in the folder, with axes=."
        )
    return vector


def check_zarr(outline: Outline) -> tuple[str, ...]:
    """Messages on what OME-Zarr cannot tell; InputError where it cannot hold it."""
    try:
        json.dumps(attributes_of(outline, levels_of(outline)), allow_nan=False)
    except (ValueError, TypeError, LookupError, ArithmeticError) as error:
        raise InputError(
            f"The image cannot be written as OME-Zarr ({error}); check its pixel "
            "sizes and channels."
        ) from error
    return record_messages("OME-Zarr", spacing_record(outline, zarr_unit))


def attributes_of(outline: Outline, levels: Sequence[Level]) -> dict[str, Any]:
    """Attributes of an image's group: those of OME-Zarr, and those of this program."""
    own: dict[str, Any] = {"axes": outline.axes, "samples": outline.sizes.get("S", 1)}
    if record := spacing_record(outline, zarr_unit):
        own[SPACING] = record
    image: dict[str, Any] = {
        "axes": _ngff_axes(outline),
        "datasets": [_dataset(outline, number) for number in range(len(levels))],
    }
    if outline.name:
        image["name"] = legal_text(outline.name)
    ome: dict[str, Any] = {"version": "0.5", "multiscales": [image]}
    if outline.labels:
        downscaling = "nearest", "One of 2 × 2 pixels."
        ome[LABELS] = {"version": "0.5"}
    else:
        downscaling = "mean", "Mean of 2 × 2 pixels."
        shown = {"active": True, "window": _full_range(outline.dtype)}
        ome["omero"] = {"channels": [c | shown for c in _channels(outline)]}
    image["type"], description = downscaling
    image["metadata"] = {"description": description}
    return {"ome": ome, NAMESPACE: own}


def _ngff_axes(outline: Outline) -> list[dict[str, str]]:
    units = dict(zip(outline.axes, outline.units, strict=True))
    axes = []
    for letter in zarr_axes(outline.axes):
        axis = {"name": letter.lower(), "type": _TYPE_OF_LETTER.get(letter, "space")}
        if letter != "C" and (unit := zarr_unit(units[letter], letter)):
            axis["unit"] = unit
        axes.append(axis)
    return axes


def _dataset(outline: Outline, number: int) -> dict[str, Any]:
    """Path, pixel size and centre of the first pixel of a level of the pyramid."""
    placed = zip(outline.axes, outline.spacing, outline.origin, strict=True)
    known = {letter: (size, start) for letter, size, start in placed}
    known["C"] = 1.0, 0.0
    scale, translation = [], []
    for letter in zarr_axes(outline.axes):
        size, start = known[letter]
        if size is None:  # in pixels of the image before the enlargement
            size = 1 + 2 * start
        pixels = 2**number if letter in "YX" else 1
        scale.append(float(size) * pixels)
        translation.append(float(start) + float(size) * (pixels - 1) / 2)
    transformations = [
        {"type": "scale", "scale": scale},
        {"type": "translation", "translation": translation},
    ]
    return {"path": str(number), "coordinateTransformations": transformations}


def _channels(outline: Outline) -> list[dict[str, Any]]:
    """Label, colour and wavelengths for each index of the channel axis."""
    channels = outline.channels or (Channel(),) * outline.sizes.get("C", 1)
    samples = outline.sizes.get("S", 1)
    if samples < 3:
        return [_channel(channel) for channel in channels for _ in range(samples)]
    return [
        _channel(channel)
        | {"label": legal_text(f"{channel.name} {name}".strip()), "color": color}
        for channel in channels
        for name, color in islice(_SAMPLES.items(), samples)
    ]


def _channel(channel: Channel) -> dict[str, Any]:
    color = _NO_COLOUR
    if channel.color is not None:
        color = channel.color.to_bytes(4, "big", signed=True)[:3].hex().upper()
    content = {
        "color": color,
        "label": legal_text(channel.name) or None,
        # The keys of OMERO itself.
        "emissionWave": channel.emission_nm,
        "excitationWave": channel.excitation_nm,
    }
    return {key: value for key, value in content.items() if value is not None}


def window_of(pixels: NDArray[Any]) -> dict[str, float]:
    """Contrast limits of a channel from some of its pixels, all finite."""
    window = _full_range(pixels.dtype.name)
    start, end = (float(value) for value in np.percentile(pixels, (0.1, 99.9)))
    if pixels.dtype.kind == "f":
        window |= {"min": float(pixels.min()), "max": float(pixels.max())}
    return window | {"start": start, "end": end if end > start else start + 1}


def _full_range(dtype: str) -> dict[str, float]:
    """Contrast limits while no pixel is known: all that the type holds."""
    low, high = 0.0, 1.0
    if np.dtype(dtype).kind != "f":
        low, high = float(np.iinfo(dtype).min), float(np.iinfo(dtype).max)
    return {"min": low, "max": high, "start": low, "end": high}


def read_attributes(folder: Path) -> dict[str, Any]:
    """Attributes of a Zarr group, empty where there are none; OSError, ValueError."""
    attributes: Any = None
    if (folder / META).is_file():
        content = json.loads((folder / META).read_bytes())
        attributes = content.get("attributes") if isinstance(content, dict) else None
    elif (folder / ".zattrs").is_file():
        attributes = json.loads((folder / ".zattrs").read_bytes())
    return attributes if isinstance(attributes, dict) else {}


def write_attributes(folder: Path, attributes: Mapping[str, Any]) -> None:
    """Replace the attributes of a Zarr 3 group, atomically and durably."""
    content = json.loads((folder / META).read_bytes())
    content["attributes"] = dict(attributes)
    write_synced(folder / META, json.dumps(content, indent=2).encode())
    sync_folder(folder)
