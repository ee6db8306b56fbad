"""What OME-Zarr 0.5 says of an image: axes, places of the levels, channels."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_zssr.errors import InputError
from napari_zssr.stack.layout import Level, levels_of, zarr_axes
from napari_zssr.stack.ome_units import zarr_unit
from napari_zssr.stack.outline import NAMESPACE, Outline, legal_text
from napari_zssr.stack.records import Channel
from napari_zssr.stack.spacing_record import SPACING, record_message, spacing_record

_TYPES = {"T": "time", "C": "channel", "Z": "space", "Y": "space", "X": "space"}
_SAMPLES = {"red": "FF0000", "green": "00FF00", "blue": "0000FF", "alpha": "FFFFFF"}
# Key of what is told of a label image; what has it is one.
LABELS = "image-label"
# The colour of a channel must be given; white says nothing.
_NO_COLOUR = "FFFFFF"


def check_zarr(outline: Outline) -> tuple[str, ...]:
    """Refuse an image that OME-Zarr cannot hold, by making its attributes.

    Parameters
    ----------
    outline : Outline
        The image.

    Returns
    -------
    tuple of str
        Sentences on what other programs will not see.

    Raises
    ------
    InputError
        What is known of it does not make attributes.
    """
    try:
        json.dumps(attributes_of(outline, levels_of(outline)), allow_nan=False)
    except (ValueError, TypeError, LookupError, ArithmeticError) as error:
        raise InputError(
            f"The image does not fit into an OME-Zarr ({error}); check its pixel sizes "
            "and channels."
        ) from error
    record = spacing_record(outline, zarr_unit)
    return (record_message("OME-Zarr", record),) if record else ()


def attributes_of(outline: Outline, levels: Sequence[Level]) -> dict[str, Any]:
    """Attributes of an image's group: those of OME-Zarr, and this program's own.

    Parameters
    ----------
    outline : Outline
        The image.
    levels : sequence of Level
        Its pyramid.
    """
    own: dict[str, Any] = {"axes": outline.axes, "samples": outline.sizes.get("S", 1)}
    if record := spacing_record(outline, zarr_unit):
        own[SPACING] = record
    return {"ome": ome_attributes(outline, levels), NAMESPACE: own}


def ome_attributes(outline: Outline, levels: Sequence[Level]) -> dict[str, Any]:
    """Content of the attribute ``ome`` of an image's group.

    Parameters
    ----------
    outline : Outline
        The image.
    levels : sequence of Level
        Its pyramid; the level n stands in the array named n.
    """
    scale, origin = _scale(outline), _along(outline, outline.origin, 0.0)
    datasets = [
        {"path": str(n), "coordinateTransformations": _place(outline, scale, origin, n)}
        for n in range(len(levels))
    ]
    image: dict[str, Any] = {"axes": _axes(outline), "datasets": datasets}
    if outline.name:
        image["name"] = legal_text(outline.name)
    if outline.labels:
        image |= {
            "type": "nearest",
            "metadata": {"description": "One of 2 x 2 pixels."},
        }
        return {"version": "0.5", "multiscales": [image], LABELS: {"version": "0.5"}}
    image |= {"type": "mean", "metadata": {"description": "Mean of 2 x 2 pixels."}}
    channels = [
        told | {"active": True, "window": _window(outline.dtype)}
        for told in _channels(outline)
    ]
    return {"version": "0.5", "multiscales": [image], "omero": {"channels": channels}}


def _axes(outline: Outline) -> list[dict[str, str]]:
    units = dict(zip(outline.axes, outline.units, strict=True))
    axes = []
    for letter in zarr_axes(outline.axes):
        axis = {"name": letter.lower(), "type": _TYPES[letter]}
        unit = None if letter == "C" else zarr_unit(units[letter], letter)
        axes.append(axis if unit is None else axis | {"unit": unit})
    return axes


def _scale(outline: Outline) -> list[float]:
    """Size of a pixel; where it is unknown, in pixels of the image enlarged."""
    sizes = [
        1 + 2 * start if size is None else size
        for size, start in zip(outline.spacing, outline.origin, strict=True)
    ]
    return _along(outline, sizes, 1.0)


def _along(outline: Outline, values: Sequence[float], missing: float) -> list[float]:
    """Values in the order of OME-Zarr; `missing` for channels."""
    named = dict(zip(outline.axes, values, strict=True)) | {"C": missing}
    return [float(named[letter]) for letter in zarr_axes(outline.axes)]


def _place(
    outline: Outline, scale: list[float], origin: list[float], number: int
) -> list[dict[str, Any]]:
    """Size and centre of the first pixel of a level, which stands for 2^n x 2^n."""
    grown = [2**number if a in "YX" else 1 for a in zarr_axes(outline.axes)]
    shifted = [
        start + size * (n - 1) / 2
        for start, size, n in zip(origin, scale, grown, strict=True)
    ]
    sizes = [size * n for size, n in zip(scale, grown, strict=True)]
    return [
        {"type": "scale", "scale": sizes},
        {"type": "translation", "translation": shifted},
    ]


def _channels(outline: Outline) -> list[dict[str, Any]]:
    """Label, colour and wavelengths for each index of the channel axis."""
    count = outline.sizes.get("C", 1)
    known = outline.channels or (Channel(),) * count
    if "S" not in outline.axes:
        return [_channel(channel) for channel in known]
    samples = outline.sizes["S"]
    if samples < 3:
        return [_channel(channel) for channel in known for _ in range(samples)]
    return [
        _channel(channel)
        | {"label": legal_text(f"{channel.name} {name}".strip()), "color": color}
        for channel in known
        for name, color in islice(_SAMPLES.items(), samples)
    ]


def _channel(channel: Channel) -> dict[str, Any]:
    told: dict[str, Any] = {"color": _NO_COLOUR}
    if channel.name:
        told["label"] = legal_text(channel.name)
    if channel.color is not None:
        told["color"] = channel.color.to_bytes(4, "big", signed=True)[:3].hex().upper()
    # As OMERO itself names them.
    waves = {
        "emissionWave": channel.emission_nm,
        "excitationWave": channel.excitation_nm,
    }
    return told | {key: nm for key, nm in waves.items() if nm is not None}


def window_of(seen: NDArray[Any]) -> dict[str, float]:
    """Contrast of a channel: what its type can hold, and where its pixels lie.

    Parameters
    ----------
    seen : ndarray
        Some of its pixels, finite ones.
    """
    window = _window(seen.dtype.name)
    start, end = (float(value) for value in np.percentile(seen, (0.1, 99.9)))
    if seen.dtype.kind == "f":
        window |= {"min": float(seen.min()), "max": float(seen.max())}
    return window | {"start": start, "end": end if end > start else start + 1}


def _window(dtype: str) -> dict[str, float]:
    """The whole range of the type, as long as no pixel has been seen."""
    kind = np.dtype(dtype)
    low, high = 0.0, 1.0
    if kind.kind != "f":
        low, high = float(np.iinfo(kind).min), float(np.iinfo(kind).max)
    return {"min": low, "max": high, "start": low, "end": high}
