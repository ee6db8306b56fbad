"""OME-Zarr images (0.4 and 0.5, full resolution) and plain Zarr arrays."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray
from zarr.errors import BaseZarrError

from napari_zssr.errors import InputError
from napari_zssr.files.contents import ImageEntry, choose
from napari_zssr.files.image import FileImage, ReadOptions, sole_entry
from napari_zssr.files.zarrimages import (
    ZarrImage,
    ome_attributes,
    zarr_entries,
    zarr_images,
)
from napari_zssr.stack.axes import LETTERS, Channel
from napari_zssr.stack.ome_units import short_of_ome
from napari_zssr.stack.source import FilePixels, native
from napari_zssr.stack.spacing_record import SPACING, restore_spacing

_BROKEN = (OSError, ValueError, RuntimeError, LookupError, TypeError, BaseZarrError)

# Key of what this program notes of images that it has written.
OWN = "napari-zssr"

_NAMES = {letter.lower(): letter for letter in LETTERS} | {"time": "T", "channel": "C"}


class ZarrPixels(FilePixels):
    """Pixels of a Zarr array, opened at the first use; a pickle holds its place.

    Parameters
    ----------
    path : Path
        Folder of the image.
    inside : str
        Path of the array in it; empty where the folder is the array.
    """

    def __init__(self, path: Path, inside: str = "") -> None:
        self.path = path
        self.inside = inside
        self._found: zarr.Array[Any] | None = None

    def __reduce__(self) -> tuple[type[ZarrPixels], tuple[Path, str]]:
        return ZarrPixels, (self.path, self.inside)

    @property
    def shape(self) -> tuple[int, ...]:
        """Size along each axis."""
        return self._array().shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the pixels, in the byte order of this machine."""
        return np.dtype(self._array().dtype).newbyteorder("=")

    def __getitem__(self, index: Any) -> NDArray[Any]:
        """Pixels for one whole number or slice an axis.

        Raises
        ------
        InputError
            A chunk cannot be decoded.
        """
        array = self._array()
        with _refused(self.path):
            return native(array[index])

    def _array(self) -> zarr.Array[Any]:
        if self._found is None:
            with _refused(self.path):
                found: Any = zarr.open(str(self.path), mode="r")
                if self.inside:
                    found = found[self.inside]
                if not isinstance(found, zarr.Array):
                    raise TypeError(f"{self.inside or 'the folder'} is no array")
                self._found = found
        return self._found


def read_zarr(path: Path, options: ReadOptions) -> FileImage:
    """Read a Zarr array, or level 0 of an OME-Zarr image.

    Raises
    ------
    InputError
        No image in it, or it cannot be decoded.
    """
    with _refused(path):
        node = zarr.open(str(path), mode="r")
        if isinstance(node, zarr.Array):
            names = getattr(node.metadata, "dimension_names", None) or ()
            found = FileImage(data=ZarrPixels(path), axes=_letters(names))
            choose([sole_entry(found)], options.image, path.name)
        else:
            found = _chosen(path, node, options.image)
        return found if options.lazy else replace(found, data=found.data[...])


def list_zarr(path: Path) -> tuple[ImageEntry, ...]:
    """List the images of a Zarr folder.

    Raises
    ------
    InputError
        It cannot be decoded.
    """
    with _refused(path):
        node = zarr.open(str(path), mode="r")
        if isinstance(node, zarr.Array):
            return (sole_entry(read_zarr(path, ReadOptions(lazy=True))),)
        return zarr_entries(node, zarr_images(path, node))


@contextmanager
def _refused(path: Path) -> Iterator[None]:
    """Turn what goes wrong into one sentence."""
    try:
        yield
    except InputError:
        raise
    except _BROKEN as error:
        text = " ".join(str(error).split())[:120]
        raise InputError(
            f"{path.name} cannot be read as OME-Zarr ({text}); copy or export it again."
        ) from error


def _chosen(path: Path, group: zarr.Group, wanted: int | str | None) -> FileImage:
    """One of the images in a group, the largest unless another is asked for."""
    images = zarr_images(path, group)
    entries = zarr_entries(group, images)
    entry, messages = choose(entries, wanted, path.name)
    image = images[entry.index]
    node: Any = group[image.inside] if image.inside else group
    if image.multiscale is None:
        names = getattr(node.metadata, "dimension_names", None) or ()
        found = FileImage(data=ZarrPixels(path, image.inside), axes=_letters(names))
    else:
        found = _level_0(path, node, image)
    several = entry if len(entries) > 1 else None
    return replace(found, entry=several, messages=messages + found.messages)


def _level_0(path: Path, node: zarr.Group, image: ZarrImage) -> FileImage:
    told, own = ome_attributes(node), dict(node.attrs).get(OWN)
    multiscale = told["multiscales"][image.multiscale or 0]
    dataset = multiscale["datasets"][0]
    data = ZarrPixels(path, "/".join(filter(None, (image.inside, dataset["path"]))))
    axes = multiscale.get("axes") or ["t", "c", "z", "y", "x"][-data.ndim :]
    listed = [{"name": a} if isinstance(a, str) else a for a in axes]
    letters = _letters([a["name"] for a in listed])
    scale, start = _placed((dataset, multiscale), data.ndim)
    spacing, units = _spacing(letters, scale, [a.get("unit") for a in listed])
    if isinstance(own, Mapping):
        restore_spacing(own.get(SPACING), spacing, units)
    places = zip(letters, start.tolist(), strict=True)
    return FileImage(
        data=data,
        axes=_with_samples(letters, own),
        spacing=spacing,
        units=units,
        channels=_channels(told.get("omero") or {}),
        origin={a: at for a, at in places if at and a in spacing},
    )


def _placed(holders: Sequence[Mapping[str, Any]], ndim: int) -> tuple[Any, Any]:
    """Size of a pixel and centre of the first one, by all transformations in turn."""
    scale, start = np.ones(ndim), np.zeros(ndim)
    for holder in holders:
        for step in holder.get("coordinateTransformations") or ():
            if step.get("type") == "scale":
                factors = np.asarray(step["scale"], dtype=np.float64)
                scale, start = scale * factors, start * factors
            elif step.get("type") == "translation":
                start = start + np.asarray(step["translation"], dtype=np.float64)
    return scale, start


def _with_samples(axes: str, own: Any) -> str:
    """Name the channels S which are the samples of an RGB image that was written."""
    told = own.get("axes", "") if isinstance(own, Mapping) else ""
    return axes.replace("C", "S") if "S" in told and "C" not in told else axes


def _letters(names: Sequence[str | None]) -> str:
    """One letter for each axis, Q where the name is none of ours."""
    return "".join(_NAMES.get((name or "").lower(), "Q") for name in names)


def _spacing(
    axes: str, scale: Any, told_units: Sequence[str | None]
) -> tuple[dict[str, float], dict[str, str | None]]:
    """Sizes by letter; a scale of 1 without a unit says nothing."""
    spacing: dict[str, float] = {}
    units: dict[str, str | None] = {}
    for letter, size, unit in zip(axes, scale, told_units, strict=True):
        useful = math.isfinite(size) and size > 0 and (unit or size != 1)
        if letter in "TZYX" and useful:
            spacing[letter], units[letter] = float(size), short_of_ome(unit)
    return spacing, units


def _channels(omero: Mapping[str, Any]) -> tuple[Channel, ...]:
    return tuple(
        Channel(
            name=str(c.get("label", "")),
            emission_nm=_wavelength(c.get("emissionWave")),
            excitation_nm=_wavelength(c.get("excitationWave")),
            color=_color(c.get("color")),
        )
        for c in omero.get("channels") or ()
    )


def _wavelength(value: Any) -> float | None:
    usable = isinstance(value, int | float) and 0 < value < math.inf
    return float(value) if usable else None


def _color(text: Any) -> int | None:
    """OME colour from RRGGBB; one must be given, so white says nothing."""
    try:
        packed = bytes.fromhex(str(text).lstrip("#"))
    except ValueError:
        return None
    if len(packed) != 3 or packed == b"\xff\xff\xff":
        return None
    return int.from_bytes(packed + b"\xff", "big", signed=True)
