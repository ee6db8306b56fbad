"""OME-Zarr images (0.1 to 0.6, full resolution) and plain Zarr arrays."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import zarr

from napari_zssr.files.contents import ImageEntry, choose
from napari_zssr.files.image import FileImage, ReadOptions, sole_entry
from napari_zssr.files.ngff import level_paths, placement
from napari_zssr.files.zarr_pixels import ZarrPixels, refused
from napari_zssr.files.zarrimages import (
    ZarrImage,
    ome_attributes,
    zarr_entries,
    zarr_images,
)
from napari_zssr.stack.axes import Channel, axis_letters
from napari_zssr.stack.axis_names import stored_names
from napari_zssr.stack.spacing_record import SPACING, restore_spacing

# Key of what this program notes of images that it has written.
OWN = "napari-zssr"


def read_zarr(path: Path, options: ReadOptions) -> FileImage:
    """Read a Zarr array, or level 0 of an OME-Zarr image.

    Parameters
    ----------
    path : Path
        Folder of the array, of the image, or of several images.
    options : ReadOptions

    Raises
    ------
    InputError
        No image in it, or it cannot be decoded.
    """
    with refused(path):
        node = zarr.open(str(path), mode="r")
        if isinstance(node, zarr.Array):
            found = _plain(path, node, "")
            choose([sole_entry(found)], options.image, path.name)
        else:
            found = _chosen(path, node, options.image)
        messages = (*found.messages, *_pixels(found).messages)
        found = replace(found, messages=messages)
        return found if options.lazy else replace(found, data=found.data[...])


def list_zarr(path: Path) -> tuple[ImageEntry, ...]:
    """List the images of a Zarr folder.

    Raises
    ------
    InputError
        It cannot be decoded.
    """
    with refused(path):
        node = zarr.open(str(path), mode="r")
        if isinstance(node, zarr.Array):
            return (sole_entry(read_zarr(path, ReadOptions(lazy=True))),)
        return zarr_entries(node, zarr_images(path, node))


def zarr_levels(path: Path, image: int | None = None) -> list[ZarrPixels]:
    """All levels of an image, the full resolution first.

    Parameters
    ----------
    path : Path
        Folder as for `read_zarr`.
    image : int, optional
        Index of the image, where there are several.

    Raises
    ------
    InputError
        As `read_zarr`.
    """
    with refused(path):
        node: Any = zarr.open(str(path), mode="r")
        if isinstance(node, zarr.Array):
            return [ZarrPixels(path)]
        chosen = zarr_images(path, node)[image or 0]
        group = node[chosen.inside] if chosen.inside else node
        if chosen.multiscale is None:
            return [ZarrPixels(path, chosen.inside)]
        full = _pixels(_level_0(path, group, chosen))
        coarser = [
            ZarrPixels(path, inside, full.reversed_axes)
            for inside in _paths(group, chosen)[1:]
        ]
        return [full, *(one for one in coarser if one.ndim == full.ndim)]


def _chosen(path: Path, group: zarr.Group, wanted: int | str | None) -> FileImage:
    """One of the images in a group, the largest unless another is asked for."""
    images = zarr_images(path, group)
    entries = zarr_entries(group, images)
    entry, messages = choose(entries, wanted, path.name)
    image = images[entry.index]
    node: Any = group[image.inside] if image.inside else group
    if image.multiscale is None:
        found = _plain(path, node, image.inside)
    else:
        found = _level_0(path, node, image)
    several = entry if len(entries) > 1 else None
    return replace(found, entry=several, messages=messages + found.messages)


def _plain(path: Path, array: zarr.Array[Any], inside: str) -> FileImage:
    """An array without OME's metadata."""
    letters = axis_letters(stored_names(array))
    return FileImage(data=ZarrPixels(path, inside), axes=letters)


def _paths(group: zarr.Group, image: ZarrImage) -> list[str]:
    """Paths of an image's levels in the folder."""
    multiscale = ome_attributes(group)["multiscales"][image.multiscale or 0]
    levels = level_paths(multiscale)
    return [f"{image.inside}/{level}" if image.inside else level for level in levels]


def _level_0(path: Path, group: zarr.Group, image: ZarrImage) -> FileImage:
    metadata, own = ome_attributes(group), dict(group.attrs).get(OWN)
    inside = _paths(group, image)[0]
    place = placement(
        metadata["multiscales"][image.multiscale or 0], ZarrPixels(path, inside).shape
    )
    spacing, units = dict(place.spacing), dict(place.units)
    if isinstance(own, Mapping):
        restore_spacing(own.get(SPACING), spacing, units)
    return FileImage(
        data=ZarrPixels(path, inside, place.reversed_axes),
        axes=_with_samples(place.axes, own),
        spacing=spacing,
        units=units,
        channels=_channels(metadata.get("omero") or {}),
        origin=place.origin,
        messages=place.messages,
        labels="image-label" in metadata,
    )


def _pixels(image: FileImage) -> ZarrPixels:
    assert isinstance(image.data, ZarrPixels)
    return image.data


def _with_samples(axes: str, own: Any) -> str:
    """Name the channels S which are the samples of an RGB image that was written."""
    told = own.get("axes", "") if isinstance(own, Mapping) else ""
    return axes.replace("C", "S") if "S" in told and "C" not in told else axes


def _channels(omero: Mapping[str, Any]) -> tuple[Channel, ...]:
    return tuple(
        Channel(
            name=str(c.get("label") or ""),
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
