"""Pixel sizes and axis names for files that another reader has opened without them.

A reader cannot ask for ``*.ome.zarr`` folders only: napari would then ask which reader
to take for every folder of any kind. So napari's own reader opens them, and TIFFs of
users who have chosen it; what the metadata of these files tell is added here.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from napari.layers import Image

from napari_zssr.errors import InputError
from napari_zssr.io.read import read_metadata
from napari_zssr.plugin.layers.files import TIFF_SUFFIXES, placement
from napari_zssr.plugin.layers.layers import level0
from napari_zssr.stack.axis_labels import LETTERS

OURS = "napari-zssr"


def complete_placement(layer: Image) -> bool:
    """Give a layer of a Zarr folder or TIFF the pixel size and axes of its metadata.

    Returns whether it did: not for layers that have a pixel size, of other files, of
    our own reader, or without such metadata. No pixels are read.
    """
    if not layer.source.path or layer.source.reader_plugin in (None, OURS):
        return False
    path = Path(layer.source.path)
    is_tiff = path.is_file() and path.suffix.lower() in TIFF_SUFFIXES
    has_units = any(str(unit) != "pixel" for unit in layer.units)
    if has_units or any(layer.scale != 1) or not (is_tiff or path.is_dir()):
        return False
    try:
        stored, stack = read_metadata(path)
    except (InputError, OSError):
        return False
    is_same = tuple(stored.shape) == tuple(level0(layer).shape)
    is_same &= layer.rgb == stored.axes.endswith("S")
    is_named = set(stored.axes) <= set(LETTERS) and not stack.guessed
    if not is_same or not is_named or not any(stack.spacing):
        return False
    known: dict[str, Any] = placement(stack, stored.axes)
    names = ["units", "scale", "translate"]
    # napari's own labels are -3, -2, -1.
    if all(label.lstrip("-").isdigit() for label in layer.axis_labels):
        names.append("axis_labels")
    for name in names:
        setattr(layer, name, known[name])
    return True
