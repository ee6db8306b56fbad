"""Pixel sizes, units and channels of a TIFF, from whichever metadata it holds."""

from __future__ import annotations

import tifffile

from napari_zssr.files.calibration import Calibration, merged
from napari_zssr.files.imagej import imagej_channels, imagej_sizes, value_messages
from napari_zssr.files.instruments import instrument_calibration
from napari_zssr.files.micromanager import page_number, summary_channels, summary_sizes
from napari_zssr.files.omexml import PlaneAddress, ome_calibration
from napari_zssr.files.resolution import page_resolution, tag_calibration
from napari_zssr.files.tifffile_json import json_calibration


def calibration(
    file: tifffile.TiffFile, series: tifffile.TiffPageSeries
) -> Calibration:
    """Read the pixel sizes, units and channels of one series.

    What the microscope wrote itself comes first, then OME-XML, ImageJ's text and the
    resolution tags; a later source adds only what the earlier ones do not say, and
    those that measure in the tags are not asked once the pixel size is known.

    Parameters
    ----------
    file : TiffFile
        Open file.
    series : TiffPageSeries
        One of its series, or a part of one with pages of its own.
    """
    known = merged(Calibration(messages=_files_message(series)), summary_sizes(file))
    for source in (_ome, summary_channels, instrument_calibration, _json):
        known = merged(known, source(file, series))
    for source in (_imagej, _tags):
        if "X" not in known.spacing:
            known = merged(known, source(file, series))
    return merged(known, _imagej_display(file, series))


def _files_message(series: tifffile.TiffPageSeries) -> tuple[str, ...]:
    if not series.is_multifile:
        return ()
    return ("The image is spread over several files, which were opened together.",)


def _ome(file: tifffile.TiffFile, series: tifffile.TiffPageSeries) -> Calibration:
    xml = file.ome_metadata if file.is_ome else None
    page = next((page for page in series.pages if page is not None), None)
    if not xml or page is None:
        return Calibration()
    ifd: int | None = page.index
    if series.kind == "mmstack":
        ifd = page_number(file, page.offset) if page.parent is file else None
    address = PlaneAddress(
        file=page.parent.filename,
        ifd=ifd,
        height=series.keyframe.imagelength,
        width=series.keyframe.imagewidth,
        name=series.name,
    )
    return ome_calibration(xml, address, file.filename)


def _json(file: tifffile.TiffFile, series: tifffile.TiffPageSeries) -> Calibration:
    return json_calibration(series) if series.kind == "shaped" else Calibration()


def _imagej(file: tifffile.TiffFile, series: tifffile.TiffPageSeries) -> Calibration:
    return imagej_sizes(file, series) if file.is_imagej else Calibration()


def _imagej_display(
    file: tifffile.TiffFile, series: tifffile.TiffPageSeries
) -> Calibration:
    """ImageJ's names and colours of channels, and what its values mean."""
    if not file.is_imagej:
        return Calibration()
    metadata, axes = file.imagej_metadata or {}, "".join(series.axes).upper()
    return Calibration(
        channels=imagej_channels(metadata, axes, tuple(series.shape)),
        messages=value_messages(metadata, series.dtype),
    )


def _tags(file: tifffile.TiffFile, series: tifffile.TiffPageSeries) -> Calibration:
    return tag_calibration(page_resolution(series.keyframe))
