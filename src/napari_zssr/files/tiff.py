"""TIFF: OME-TIFF, ImageJ hyperstacks and plain files."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

from napari_zssr.files.calibration import Calibration
from napari_zssr.files.colour import swaps_sides
from napari_zssr.files.contents import ImageEntry, choose
from napari_zssr.files.damage import opened
from napari_zssr.files.image import FileImage, ReadOptions
from napari_zssr.files.imagej import signed_pixels
from napari_zssr.files.tiff_metadata import calibration
from napari_zssr.files.tiffpixels import Layout, TiffPixels, layout_of
from napari_zssr.files.tiffseries import tiff_entries, tiff_images
from napari_zssr.stack.axes import Channel
from napari_zssr.stack.source import Pixels

T = TypeVar("T")


def read_tiff(path: Path, options: ReadOptions) -> FileImage:
    """Read one image of a TIFF, the largest unless another is asked for.

    Raises
    ------
    InputError
        The file is truncated, broken, or of a compression, colour or type that is
        not supported; or it has no such image.
    """
    with opened(path) as file:
        images = tiff_images(file)
        entries = tiff_entries(images)
        entry, messages = choose(entries, options.image, path.name)
        image = images[entry.index]
        partial, labels = options.partial, options.labels
        several = len(entries) > 1
        layout = layout_of(
            path,
            file,
            image.series,
            crop=partial,
            labels=labels,
            title=f"{path.name}, {entry.title}," if several else "",
        )
        data: Pixels
        if options.lazy and layout.leading is not None:
            data = TiffPixels(
                path, entry.index, partial=partial, labels=labels, layout=layout
            )
        else:
            data = layout.whole()
        found = calibration(file, image.series)
        return FileImage(
            data=signed_pixels(file, data),
            axes=layout.axes,
            spacing=_turned(found.spacing, layout),
            units=_turned(found.units, layout),
            channels=_channels(found, layout),
            entry=entry if several else None,
            origin=_turned(found.origin, layout),
            messages=messages + image.messages + layout.messages + found.messages,
        )


def list_tiff(path: Path) -> tuple[ImageEntry, ...]:
    """List the images of a TIFF.

    Raises
    ------
    InputError
        The file is truncated or broken.
    """
    with opened(path) as file:
        return tiff_entries(tiff_images(file))


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
