"""TIFF: OME-TIFF, ImageJ hyperstacks and plain files."""

from __future__ import annotations

from pathlib import Path

from napari_zssr.files.contents import ImageEntry, choose
from napari_zssr.files.damage import refused
from napari_zssr.files.image import FileImage, ReadOptions
from napari_zssr.files.imagej import signed_pixels
from napari_zssr.files.omeset import open_tiff
from napari_zssr.files.tiff_metadata import calibration
from napari_zssr.files.tiffpixels import TiffPixels, layout_of
from napari_zssr.files.tiffseries import tiff_entries, tiff_images
from napari_zssr.stack.source import Pixels


def read_tiff(path: Path, options: ReadOptions) -> FileImage:
    """Read one image of a TIFF, the largest unless another is asked for.

    Raises
    ------
    InputError
        The file is truncated, broken, or compressed in a way that needs another
        package.
    """
    with refused(path), open_tiff(path) as file:
        images = tiff_images(file)
        entries = tiff_entries(images)
        entry, messages = choose(entries, options.image, path.name)
        image = images[entry.index]
        series = image.series
        data: Pixels
        if options.lazy and layout_of(series) is not None:
            data = TiffPixels(path, entry.index)
        else:
            data = series.asarray()
        found = calibration(file, series)
        return FileImage(
            data=signed_pixels(file, data),
            axes="".join(series.axes).upper(),
            spacing=found.spacing,
            units=found.units,
            channels=found.channels,
            entry=entry if len(entries) > 1 else None,
            origin=found.origin,
            messages=messages + image.messages + found.messages,
        )


def list_tiff(path: Path) -> tuple[ImageEntry, ...]:
    """List the images of a TIFF.

    Raises
    ------
    InputError
        The file is truncated or broken.
    """
    with refused(path), open_tiff(path) as file:
        return tiff_entries(tiff_images(file))
