"""OME-Zarr images (0.4 and 0.5, full resolution) and plain Zarr arrays."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from zarr.errors import BaseZarrError

from napari_zssr.errors import InputError
from napari_zssr.files.found import Found
from napari_zssr.stack.axes import LETTERS, Channel, short_unit

_BROKEN = (OSError, ValueError, RuntimeError, LookupError, TypeError, BaseZarrError)

_NAMES = {letter.lower(): letter for letter in LETTERS} | {"time": "T", "channel": "C"}


def read_zarr(path: Path) -> Found:
    """Read a Zarr array, or level 0 of an OME-Zarr image.

    Raises
    ------
    InputError
        No image in it, or it cannot be decoded.
    """
    try:
        node = zarr.open(str(path), mode="r")
        if isinstance(node, zarr.Array):
            names = getattr(node.metadata, "dimension_names", None) or ()
            return Found(data=np.asarray(node[...]), axes=_letters(names))
        attributes = dict(node.attrs)
        told = attributes.get("ome", attributes)
        if not isinstance(told, Mapping) or not told.get("multiscales"):
            raise InputError(_no_image(path, node))
        return _level_0(node, told)
    except InputError:
        raise
    except _BROKEN as error:
        text = " ".join(str(error).split())[:120]
        raise InputError(
            f"{path.name} cannot be read as OME-Zarr ({text}); copy or export it again."
        ) from error


def _level_0(node: zarr.Group, told: Mapping[str, Any]) -> Found:
    multiscale = told["multiscales"][0]
    dataset = multiscale["datasets"][0]
    array = node[dataset["path"]]
    if not isinstance(array, zarr.Array):
        raise TypeError(f"level {dataset['path']} is no array")
    data = np.asarray(array[...])
    axes = multiscale.get("axes") or ["t", "c", "z", "y", "x"][-data.ndim :]
    listed = [{"name": a} if isinstance(a, str) else a for a in axes]
    letters = _letters([a["name"] for a in listed])
    scale = np.ones(data.ndim)
    for holder in (dataset, multiscale):
        for step in holder.get("coordinateTransformations") or ():
            if step.get("type") == "scale":
                scale = scale * np.asarray(step["scale"], dtype=np.float64)
    spacing, units = _spacing(letters, scale, [a.get("unit") for a in listed])
    channels = _channels(told.get("omero") or {})
    return Found(
        data=data, axes=letters, spacing=spacing, units=units, channels=channels
    )


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
            spacing[letter], units[letter] = float(size), short_unit(unit)
    return spacing, units


def _channels(omero: Mapping[str, Any]) -> tuple[Channel, ...]:
    return tuple(
        Channel(name=str(c.get("label", "")), color=_color(c.get("color")))
        for c in omero.get("channels") or ()
    )


def _color(text: Any) -> int | None:
    """OME colour from RRGGBB."""
    try:
        packed = bytes.fromhex(str(text).lstrip("#"))
    except ValueError:
        return None
    if len(packed) != 3:
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
