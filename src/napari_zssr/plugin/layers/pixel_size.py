"""Pixel sizes of layers: as users write them, as layers hold them, and the view."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from napari.layers import Image
from napari.viewer import Viewer

from napari_zssr.errors import InputError
from napari_zssr.plugin.layers.layers import layer_spacing, to_pixels, to_world
from napari_zssr.stack.image import in_um

# Between sizes; a comma without a space may also be a decimal comma.
_SEPARATOR = re.compile(r"\s*[;×x*]\s*|\s*,\s+|\s+", re.IGNORECASE)
# Micro sign and Greek mu.
_MICROMETRES = re.compile(r"\s*[\u00b5\u03bcu]m\b")
_UNKNOWN = "?"


def parse_sizes(text: str) -> list[float | None]:
    """Sizes in a text such as "0.3, 0.1, 0.1", "0.3 × 0.1 µm" or "0,11", ? for None.

    ValueError where a part is no number.
    """
    sizes: list[float | None] = []
    for part in _SEPARATOR.split(_MICROMETRES.sub("", text).strip()):
        # "0,3" is one number; "0.3,0.1" and "3,1,1" are several.
        is_decimal = part.count(",") == 1 and "." not in part
        numbers = [part.replace(",", ".")] if is_decimal else part.split(",")
        sizes += [None if n == _UNKNOWN else float(n) for n in numbers]
    return sizes


def set_spacing(layer: Image, axes: str, text: str) -> None:
    """Set a layer's pixel size in um from text; InputError where it is malformed.

    Either one number for Y and X, or one for each of Z, Y and X in the layer's order.
    """
    space = "".join(letter for letter in axes if letter in "ZYX")
    try:
        sizes = parse_sizes(text)
    except ValueError:
        sizes = []
    if len(sizes) not in (1, len(space)) or sizes.count(None) == len(sizes):
        listed = ", ".join(f"0.{n}" for n in range(len(space), 0, -1))
        raise InputError(
            f"Pixel size {text!r} is not understood; write one number for Y and X, "
            f"or one each for {', '.join(space)}, as in {listed}."
        )
    if len(sizes) == 1:
        space, sizes = "YX", sizes * 2
    scale, units = list(layer.scale), list(layer.units)
    for letter, size in zip(space, sizes, strict=True):
        if size is None:
            continue
        if not (math.isfinite(size) and size > 0):
            raise InputError(
                f"The pixel size along {letter} is {size:g}; write a number above 0."
            )
        scale[axes.index(letter)], units[axes.index(letter)] = size, "um"
    # First the units: napari slices again with the scale, and draws only then.
    layer.units, layer.scale = units, scale


def has_spacing(layer: Image, axes: str, *, along_z: bool = False) -> bool:
    """Whether a layer has a pixel size in a unit of length: along Y or X, and Z."""
    known = _known_um(layer, axes)
    return bool(known.keys() & {"Y", "X"}) and (not along_z or "Z" in known)


def size_text(layer: Image, axes: str) -> str:
    """A layer's pixel size in um as `set_spacing` reads it; empty where unknown."""
    known = _known_um(layer, axes)
    if not known:
        return ""
    return ", ".join(
        f"{known[letter]:.6g}" if letter in known else _UNKNOWN
        for letter in axes
        if letter in "ZYX"
    )


def _known_um(layer: Image, axes: str) -> dict[str, float]:
    spacing, units = layer_spacing(layer, axes)
    sizes = {a: in_um(spacing.get(a), units.get(a)) for a in axes if a in "ZYX"}
    return {letter: size for letter, size in sizes.items() if size is not None}


@contextmanager
def view_kept(viewer: Viewer, layer: Image | None) -> Iterator[None]:
    """Show the same pixels of a layer afterwards, wherever it then lies."""
    if layer is None or viewer.dims.ndim < layer.ndim:
        yield
        return
    dims, camera = viewer.dims, viewer.scene.camera
    displayed = list(dims.displayed)
    middle = np.array(dims.point, dtype=float)
    middle[displayed] = camera.center[-len(displayed) :]
    units = viewer.layers.extent.units
    index, centre = (to_pixels(layer, at, units) for at in (dims.point, middle))
    width = _pixel_width(viewer, layer)
    yield
    if dims.ndim < layer.ndim:
        return
    before = dims.ndim - layer.ndim
    units = viewer.layers.extent.units
    dims.point = (*dims.point[:before], *to_world(layer, index, units))
    world = np.concatenate([np.zeros(before), to_world(layer, centre, units)])
    fixed = np.zeros(3 - len(displayed))
    camera.center = tuple(np.concatenate([fixed, world[displayed]]))
    camera.zoom *= width / _pixel_width(viewer, layer)


def _pixel_width(viewer: Viewer, layer: Image) -> float:
    """Length in the world of a pixel along the last axis that is shown."""
    step = np.zeros(layer.ndim)
    axis = viewer.dims.displayed[-1] - (viewer.dims.ndim - layer.ndim)
    step[axis] = 1
    units = viewer.layers.extent.units
    ends = (to_world(layer, at, units) for at in (step, 0 * step))
    return float(np.linalg.norm(np.subtract(*ends)))
