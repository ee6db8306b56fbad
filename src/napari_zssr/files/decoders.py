"""Which TIFF compressions, predictors and sample types can be decoded here."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tifffile

from napari_zssr.errors import InputError

_JPEG = {6, 7, 33007, 34892}
_ZSTD = {34926, 50000}
_INSTEAD = "save it uncompressed, or with LZW or Deflate."


def check_decoders(path: Path, page: tifffile.TiffPage) -> None:
    """Refuse a sound page that cannot be decoded here, saying by what.

    Parameters
    ----------
    path : Path
    page : TiffPage
        Any page of a series.

    Raises
    ------
    InputError
        Its compression, predictor, type or subsampling is not supported, or needs a
        package that is missing.
    """
    if page.dtype is None:
        raise InputError(
            f"{path.name} holds samples of {page.bitspersample} bits "
            f"(SampleFormat {int(page.sampleformat)}), which cannot be read; save it "
            "as integers or floating point of 8 to 64 bits."
        )
    _check_codec(path, tifffile.TIFF.DECOMPRESSORS, page.compression, "compressed with")
    if page.compression not in tifffile.TIFF.IMAGE_COMPRESSIONS:
        _check_codec(path, tifffile.TIFF.UNPREDICTORS, page.predictor, "predicted with")
    if page.is_subsampled and not (
        page.compression in _JPEG and page.planarconfig == 1
    ):
        raise InputError(
            f"{path.name} holds YCbCr pixels whose colours are subsampled without "
            "JPEG, which cannot be read; save it as RGB."
        )


def _check_codec(path: Path, codecs: Mapping[int, Any], value: int, what: str) -> None:
    package = importlib.util.find_spec("imagecodecs") is not None
    if value in _ZSTD and not package and sys.version_info < (3, 14):
        raise InputError(missing_decoder(path))
    try:
        codecs[value]
    except KeyError as error:
        if "imagecodecs" in str(error) and not package:
            raise InputError(missing_decoder(path)) from error
        raise InputError(
            f"{path.name} is {what} {_name(what, value)}, which cannot be read; "
            f"{_INSTEAD}"
        ) from error


def missing_decoder(path: Path) -> str:
    """Sentence for a file that only the imagecodecs package can decode."""
    return (
        f"{path.name} is compressed in a way that needs the imagecodecs package; run "
        "pip install imagecodecs."
    )


def _name(what: str, value: int) -> str:
    names = tifffile.COMPRESSION if what.startswith("comp") else tifffile.PREDICTOR
    try:
        return names(value).name
    except ValueError:
        return f"number {value}"
