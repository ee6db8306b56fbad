"""TIFF: OME-TIFF, ImageJ hyperstacks and plain files."""

from __future__ import annotations

import math
from pathlib import Path

import tifffile

from napari_zssr.files.damage import refused
from napari_zssr.files.image import FileImage, ReadOptions
from napari_zssr.files.imagej import signed_pixels
from napari_zssr.files.omeset import open_tiff
from napari_zssr.files.tiff_metadata import calibration
from napari_zssr.files.tiffpixels import TiffPixels, layout_of
from napari_zssr.stack.source import Pixels


def read_tiff(path: Path, options: ReadOptions) -> FileImage:
    """Read one series of a TIFF, the largest unless another is asked for.

    Raises
    ------
    InputError
        The file is truncated, broken, or compressed in a way that needs another
        package.
    """
    with refused(path), open_tiff(path) as file:
        number = _largest(file)
        series = file.series[number]
        data: Pixels
        if options.lazy and layout_of(file, number) is not None:
            data = TiffPixels(path, number)
        else:
            data = series.asarray()
        found = calibration(file, series)
        return FileImage(
            data=signed_pixels(file, data),
            axes="".join(series.axes).upper(),
            spacing=found.spacing,
            units=found.units,
            channels=found.channels,
            origin=found.origin,
            messages=found.messages,
        )


def _largest(file: tifffile.TiffFile) -> int:
    if not file.series:
        raise ValueError("no image in it")
    sizes = [math.prod(series.shape) for series in file.series]
    return sizes.index(max(sizes))
