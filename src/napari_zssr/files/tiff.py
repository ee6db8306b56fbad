"""TIFF: OME-TIFF, ImageJ hyperstacks and plain files."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TypeVar

import tifffile

from napari_zssr.files.colour import swaps_sides
from napari_zssr.files.damage import opened
from napari_zssr.files.image import FileImage, ReadOptions
from napari_zssr.files.tiff_metadata import Calibration, calibration
from napari_zssr.files.tiffpixels import Layout, TiffPixels, layout_of
from napari_zssr.stack.axes import Channel
from napari_zssr.stack.source import Pixels

T = TypeVar("T")


def read_tiff(path: Path, options: ReadOptions) -> FileImage:
    """Read one series of a TIFF, the largest unless another is asked for.

    Raises
    ------
    InputError
        The file is truncated, broken, or of a compression, colour or type that is
        not supported.
    """
    with opened(path) as file:
        number = _largest(file)
        layout = layout_of(path, file, number, crop=options.partial)
        data: Pixels
        if options.lazy and layout.leading is not None:
            data = TiffPixels(path, number, partial=options.partial, layout=layout)
        else:
            data = layout.whole()
        found = calibration(file, number)
    return FileImage(
        data=data,
        axes=layout.axes,
        spacing=_turned(found.spacing, layout),
        units=_turned(found.units, layout),
        channels=_channels(found, layout),
        messages=layout.messages,
    )


def _turned(sizes: dict[str, T], layout: Layout) -> dict[str, T]:
    """Exchange Y and X where the orientation of the picture does."""
    if not swaps_sides(layout.samples.orientation):
        return sizes
    other = {"Y": "X", "X": "Y"}
    return {other.get(letter, letter): size for letter, size in sizes.items()}


def _channels(found: Calibration, layout: Layout) -> tuple[Channel, ...]:
    """Those that the metadata name, else those of the samples; of what is kept."""
    at = layout.axes.find("C")
    kept = 1 if at < 0 else layout.shape[at]
    return found.channels[:kept] or layout.samples.channels


def _largest(file: tifffile.TiffFile) -> int:
    sizes = [math.prod(series.shape) for series in file.series]
    return sizes.index(max(sizes))
