"""OME-Zarr images (0.1 to 0.6, full resolution) and plain Zarr arrays."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import zarr

from napari_zssr.errors import InputError
from napari_zssr.files.image import FileImage, ReadOptions
from napari_zssr.files.ngff import level_paths, placement
from napari_zssr.files.zarr_pixels import ZarrPixels, refused
from napari_zssr.stack.axes import Channel, axis_letters
from napari_zssr.stack.axis_names import stored_names

# Key of what this program notes of images that it has written.
OWN = "napari-zssr"


def read_zarr(path: Path, options: ReadOptions) -> FileImage:
    """Read a Zarr array, or level 0 of an OME-Zarr image.

    Parameters
    ----------
    path : Path
        Folder of the array or of the image.
    options : ReadOptions

    Raises
    ------
    InputError
        No image in it, or it cannot be decoded.
    """
    with refused(path):
        node = zarr.open(str(path), mode="r")
        if isinstance(node, zarr.Array):
            found = FileImage(
                data=ZarrPixels(path), axes=axis_letters(stored_names(node))
            )
        else:
            found = _level_0(path, _ome(path, node), node.attrs.get(OWN))
        messages = (*found.messages, *_pixels(found).messages)
        found = replace(found, messages=messages)
        return found if options.lazy else replace(found, data=found.data[...])


def zarr_levels(path: Path) -> list[ZarrPixels]:
    """All levels of what `read_zarr` reads, the full resolution first.

    Parameters
    ----------
    path : Path
        Folder of the array or of the image.

    Raises
    ------
    InputError
        As `read_zarr`.
    """
    with refused(path):
        node = zarr.open(str(path), mode="r")
        if isinstance(node, zarr.Array):
            return [ZarrPixels(path)]
        told = _ome(path, node)
        full = _pixels(_level_0(path, told, None))
        others = level_paths(told["multiscales"][0])[1:]
        levels = [ZarrPixels(path, inside, full.reversed_axes) for inside in others]
        return [full, *(one for one in levels if len(one.shape) == len(full.shape))]


def _ome(path: Path, node: zarr.Group) -> Mapping[str, Any]:
    """Metadata of an image."""
    attributes = dict(node.attrs)
    told = attributes.get("ome", attributes)
    if not isinstance(told, Mapping) or not told.get("multiscales"):
        raise InputError(_no_image(path, node))
    return told


def _level_0(path: Path, told: Mapping[str, Any], own: Any) -> FileImage:
    multiscale = told["multiscales"][0]
    inside = level_paths(multiscale)[0]
    place = placement(multiscale, ZarrPixels(path, inside).shape)
    return FileImage(
        data=ZarrPixels(path, inside, place.reversed_axes),
        axes=_with_samples(place.axes, own),
        spacing=place.spacing,
        units=place.units,
        channels=_channels(told.get("omero") or {}),
        origin=place.origin,
        messages=place.messages,
        labels="image-label" in told,
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


def _no_image(path: Path, node: zarr.Group) -> str:
    inside = sorted(node.keys())[:3]
    if not inside:
        return f"{path.name} holds no image; give the folder of an OME-Zarr image."
    return (
        f"{path.name} is a collection, not one image; give an image in it, for example "
        f"{path / inside[0]}."
    )
