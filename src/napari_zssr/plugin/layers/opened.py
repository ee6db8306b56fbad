"""Pixel sizes for Zarr folders that napari has opened without them.

A reader cannot ask for ``*.ome.zarr`` folders only: napari would then ask which reader
to take for every folder of any kind. So napari's own reader opens them, without pixel
sizes, and what their metadata tell is added here.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from napari.layers import Image

from napari_zssr.errors import InputError
from napari_zssr.io.read import list_images, read
from napari_zssr.plugin.layers.files import placement
from napari_zssr.plugin.layers.layers import level0

NAPARI = "napari"


def complete_placement(layer: Image) -> bool:
    """Give a layer of a Zarr folder the pixel size, units and axes of its metadata.

    Returns whether it did: not for layers that have some already, of other files or
    readers, or without such metadata.
    """
    path = layer.source.path
    if not path or layer.source.reader_plugin != NAPARI or not Path(path).is_dir():
        return False
    has_units = any(str(unit) != "pixel" for unit in layer.units)
    if has_units or any(size != 1 for size in layer.scale):
        return False
    try:
        stack = read(Path(path), lazy=True)
        stored = list_images(Path(path))[stack.image_index or 0]
    except InputError:
        return False
    is_same = tuple(stored.shape) == tuple(level0(layer).shape)
    if not is_same or layer.rgb or stack.guessed or not any(stack.spacing):
        return False
    known: dict[str, Any] = placement(stack, stored.axes)
    for name in ("scale", "translate", "units", "axis_labels"):
        setattr(layer, name, known[name])
    return True
