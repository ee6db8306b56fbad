"""Where a layer comes from and how its channels were taken, kept in its metadata."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

from napari_zssr.stack.records import Channel

if TYPE_CHECKING:
    from napari.layers import Image

# Names in a layer's metadata.
CHANNELS = "napari_zssr_channels"
IMAGE = "napari_zssr_image"


def layer_channels(layer: Image) -> tuple[Channel, ...]:
    """What the layer's file has told of each channel; empty where that is nothing."""
    told = layer.metadata.get(CHANNELS)
    try:
        return tuple(Channel(**one) for one in told or ())
    except TypeError:  # Written by something else.
        return ()


def image_index(layer: Image) -> int | None:
    """Which image of its file a layer shows, where there are several."""
    index = layer.metadata.get(IMAGE)
    return index if isinstance(index, int) else None


def taken(channels: Sequence[Channel], image: int | None = None) -> dict[str, Any]:
    """Metadata of a layer, by which `layer_channels` and `image_index` know it."""
    # Name and colour are the layer's own.
    plain = [replace(channel, name="", color=None) for channel in channels]
    told = [{k: v for k, v in asdict(one).items() if v} for one in plain]
    known = {} if image is None else {IMAGE: image}
    return known | ({CHANNELS: told} if any(told) else {})
