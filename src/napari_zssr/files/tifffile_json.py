"""tifffile's JSON description of a series."""

from __future__ import annotations

import json
from typing import Any

import tifffile

from napari_zssr.files.calibration import Calibration, calibrated, merged
from napari_zssr.files.resolution import page_resolution, unit_calibration
from napari_zssr.stack.axes import Channel, short_unit
from napari_zssr.stack.units import in_um

_DEFAULT_LENGTH = 1.0  # written where no resolution was given


def json_calibration(series: tifffile.TiffPageSeries) -> Calibration:
    """Pixel sizes and channel names that were passed to tifffile as metadata.

    Parameters
    ----------
    series : TiffPageSeries
        A series that tifffile wrote, with ImageJ's keys (`unit`, `spacing`,
        `finterval`) or those of OME (`PhysicalSizeX`).
    """
    metadata = _metadata(series.keyframe.shaped_description)
    axes, shape = "".join(series.axes).upper(), tuple(series.shape)
    count = shape[axes.index("C")] if "C" in axes else 1
    names = _channel_names(metadata)
    ome = calibrated(
        {
            letter: (metadata.get(key), str(metadata.get(f"{key}Unit", usual)))
            for letter, key, usual in (
                ("T", "TimeIncrement", "s"),
                ("Z", "PhysicalSizeZ", "um"),
                ("Y", "PhysicalSizeY", "um"),
                ("X", "PhysicalSizeX", "um"),
            )
        },
        channels=[Channel(name=n) for n in names] if len(names) == count else [],
    )
    return ome if "X" in ome.spacing else merged(ome, _imagej_keys(metadata, series))


def _metadata(text: str | None) -> dict[str, Any]:
    """The description as a mapping; old versions of tifffile wrote only a shape."""
    try:
        metadata = json.loads(text or "")
    except ValueError:
        return {}
    return metadata if isinstance(metadata, dict) else {}


def _imagej_keys(
    metadata: dict[str, Any], series: tifffile.TiffPageSeries
) -> Calibration:
    """Sizes by the keys that tifffile passes to ImageJ, and the resolution tags."""
    time = calibrated({"T": (metadata.get("finterval"), metadata.get("tunit", "s"))})
    unit = short_unit(str(metadata.get("unit", "")))
    if unit is None or in_um(1.0, unit) is None:
        return time
    sizes = merged(time, calibrated({"Z": (metadata.get("spacing"), unit)}))
    resolution = page_resolution(series.keyframe)
    if not resolution.unit and set(resolution.lengths.values()) == {_DEFAULT_LENGTH}:
        return sizes
    return merged(sizes, unit_calibration(resolution, unit, "tifffile's JSON"))


def _channel_names(metadata: dict[str, Any]) -> list[str]:
    """Names of channels as tifffile takes them for OME, one mapping or several."""
    channel = metadata.get("Channel", {})
    if isinstance(channel, dict):
        names = channel.get("Name", [])
        return [names] if isinstance(names, str) else [str(name) for name in names]
    return [str(each.get("Name", "")) for each in channel if isinstance(each, dict)]
