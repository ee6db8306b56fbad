"""Saving image layers as OME-TIFF, with their pixel sizes and recipes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from napari.layers import Image

from napari_zssr.errors import InputError
from napari_zssr.plugin._layers import KEY, layer_stack, level0
from napari_zssr.plugin._taken import layer_channels
from napari_zssr.stack.axes import Channel, ImageStack
from napari_zssr.stack.source import loaded

FullLayerData = tuple[Any, dict[str, Any], str]


def write_ome_tiff(path: str, layer_data: Sequence[FullLayerData]) -> list[str]:
    """Write image layers into one OME-TIFF: a layer as it is, several as channels.

    Parameters
    ----------
    path : str
        File ending in ``.ome.tif`` or ``.ome.tiff``; napari has asked whether it may
        be replaced.
    layer_data : sequence of (pixels, attributes, "image")
        As napari gives them.

    Returns
    -------
    list of str
        The file.

    Raises
    ------
    InputError
        The layers do not make one file, or the file cannot be written.
    ComputeError
        The disk is full or fails.
    """
    from napari_zssr.stack.store import write

    layers = [Image(data, **attributes) for data, attributes, _ in layer_data]
    stack = _as_channels(layers) if len(layers) > 1 else _single(layers[0])
    written = write(path, stack, overwrite=True, provenance=_recipes(layers))
    return [str(written)]


def _single(layer: Image) -> ImageStack:
    stack = layer_stack(layer)
    many = "C" in stack.axes or "S" in stack.axes
    return stack if many else replace(stack, channels=(_channel(layer),))


def _as_channels(layers: Sequence[Image]) -> ImageStack:
    """Layers that lie on each other, as one image with a channel axis."""
    _check_alike(layers)
    stacks = [layer_stack(layer) for layer in layers]
    first = stacks[0]
    place = min(first.axes.index("Y"), first.axes.index("X"))
    return replace(
        first,
        data=np.stack([loaded(stack.data) for stack in stacks], axis=place),
        axes=f"{first.axes[:place]}C{first.axes[place:]}",
        spacing=(*first.spacing[:place], None, *first.spacing[place:]),
        units=(*first.units[:place], None, *first.units[place:]),
        channels=tuple(_channel(layer) for layer in layers),
        name=Path(first.source).stem or first.name,
    )


def _check_alike(layers: Sequence[Image]) -> None:
    first = layers[0]
    for layer in layers[1:]:
        for what, one, other in (
            ("shape", level0(first).shape, level0(layer).shape),
            ("type of pixels", first.dtype, layer.dtype),
            ("units", first.units, layer.units),
            ("axis labels", first.axis_labels, layer.axis_labels),
        ):
            if one != other:
                raise InputError(
                    f"Layers {first.name!r} and {layer.name!r} differ in {what} and "
                    "cannot be channels of one file; save them one by one."
                )
        if not _same_place(first, layer):
            raise InputError(
                f"Layers {first.name!r} and {layer.name!r} do not lie on each other "
                "and cannot be channels of one file; save them one by one."
            )
    if any(layer.rgb for layer in layers):
        raise InputError("RGB layers cannot be channels; save them one by one.")


def _same_place(one: Image, other: Image) -> bool:
    corners = np.vstack([np.zeros(one.ndim), np.eye(one.ndim)])
    return all(
        np.allclose(one.data_to_world(at), other.data_to_world(at)) for at in corners
    )


def _channel(layer: Image) -> Channel:
    """Name, colour and light; grey, which is no colour, stays unsaid."""
    told = layer_channels(layer)
    top = np.asarray(layer.colormap.map(np.ones(1)))[0]
    packed = bytes(round(255 * float(part)) for part in (*top[:3], 1.0))
    grey = len(set(packed[:3])) == 1
    color = None if grey else int.from_bytes(packed, "big", signed=True)
    light = told[0] if len(told) == 1 else Channel()
    return replace(light, name=layer.name, color=color)


def _recipes(layers: Sequence[Image]) -> dict[str, Any] | None:
    """Recipe of the layer, or recipes by the layers' names."""
    found = {
        layer.name: layer.metadata[KEY]
        for layer in layers
        if isinstance(layer.metadata.get(KEY), dict)
    }
    if not found or len(layers) == 1:
        return next(iter(found.values()), None)
    return {"program": "napari-zssr", "layers": found}
