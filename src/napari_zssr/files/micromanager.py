"""Micro-Manager's own metadata of a stack, beside its OME-XML and ImageJ text."""

from __future__ import annotations

import json
from typing import Any

import tifffile

from napari_zssr.files.calibration import Calibration, calibrated
from napari_zssr.stack.axes import Channel


def summary_calibration(
    file: tifffile.TiffFile, axes: str, shape: tuple[int, ...]
) -> Calibration:
    """Pixel sizes, time step and channel names from the summary of an acquisition.

    Parameters
    ----------
    file : TiffFile
        Open file with Micro-Manager's tag.
    axes : str
        Letters of the image.
    shape : tuple of int
        Size along each axis.
    """
    summary = (file.micromanager_metadata or {}).get("Summary")
    if not isinstance(summary, dict):
        return Calibration()
    plane = file.pages.first.tags.valueof("MicroManagerMetadata")
    plane = plane if isinstance(plane, dict) else {}
    size = summary.get("PixelSize_um") or plane.get("PixelSizeUm")
    sizes = {
        "T": (summary.get("Interval_ms"), "ms"),
        "Z": (summary.get("z-step_um"), "um"),
        "Y": (size, "um"),
        "X": (size, "um"),
    }
    count = shape[axes.index("C")] if "C" in axes else 1
    names = _names(summary.get("ChNames"))
    channels = [Channel(name=name) for name in names] if len(names) == count else []
    return calibrated(sizes, channels=channels)


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
