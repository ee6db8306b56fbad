"""Micro-Manager's own metadata of a stack, beside its OME-XML and ImageJ text."""

from __future__ import annotations

import json
from typing import Any

import tifffile

from napari_zssr.files.calibration import Calibration, calibrated
from napari_zssr.stack.axes import Channel


def summary_sizes(file: tifffile.TiffFile) -> Calibration:
    """Pixel sizes and time step from the summary of an acquisition.

    They come before those of the OME-XML, in which old versions write milliseconds
    for seconds.

    Parameters
    ----------
    file : TiffFile
        Open file.
    """
    summary = _summary(file)
    plane = file.pages.first.tags.valueof("MicroManagerMetadata")
    size = summary.get("PixelSize_um")
    if not size and isinstance(plane, dict):
        size = plane.get("PixelSizeUm")
    return calibrated(
        {
            "T": (summary.get("Interval_ms"), "ms"),
            "Z": (summary.get("z-step_um"), "um"),
            "Y": (size, "um"),
            "X": (size, "um"),
        }
    )


def summary_channels(
    file: tifffile.TiffFile, series: tifffile.TiffPageSeries
) -> Calibration:
    """Channel names from the summary, where there is one for each channel.

    Parameters
    ----------
    file : TiffFile
        Open file.
    series : TiffPageSeries
        The image.
    """
    axes = "".join(series.axes).upper()
    names = _names(_summary(file).get("ChNames"))
    if len(names) != (series.shape[axes.index("C")] if "C" in axes else 1):
        return Calibration()
    return Calibration(channels=tuple(Channel(name=name) for name in names))


def _summary(file: tifffile.TiffFile) -> dict[str, Any]:
    metadata = file.micromanager_metadata if file.is_micromanager else None
    summary = (metadata or {}).get("Summary")
    return summary if isinstance(summary, dict) else {}


def _names(value: Any) -> list[str]:
    """Names of channels, which some versions write as JSON inside of JSON."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError:
            return []
    return [str(name) for name in value] if isinstance(value, list) else []


def page_number(file: tifffile.TiffFile, offset: int) -> int | None:
    """Number of the page at an offset, from the index map of a stack's file."""
    index_map = (file.micromanager_metadata or {}).get("IndexMap")
    if index_map is None:
        return None
    offsets = sorted(int(each) for each in index_map[:, 4])
    return offsets.index(offset) if offset in offsets else None
