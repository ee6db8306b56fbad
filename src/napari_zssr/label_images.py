"""Enlargement of label images and masks without new values."""

from __future__ import annotations

from dataclasses import replace
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from napari_zssr.api import GivenSpacing, Image, as_stack
from napari_zssr.checks import checked_factor
from napari_zssr.errors import InputError
from napari_zssr.imaging.resample import output_size
from napari_zssr.io.write import write
from napari_zssr.stack.axis_labels import check_pixels
from napari_zssr.stack.image import (
    FilePixels,
    ImageStack,
    Pixels,
    enlarged_outline,
    full_index,
    load_pixels,
    planes,
    to_native,
)

SENTENCE = (
    "Labels: each pixel takes the nearest pixel's value, so no new values appear."
)

Factor = float | tuple[float, float]


def upscale_labels(
    image_or_path: Image,
    factor: Factor = 2.0,
    *,
    axes: str | None = None,
    spacing: GivenSpacing = None,
    image: int | str | None = None,
    partial: bool = False,
) -> NDArray[Any]:
    """Enlarge a label image or a mask by nearest pixels.

    Parameters
    ----------
    image_or_path : ndarray, path or ImageStack
        Integers or booleans, of any of T, C, Z, Y, X.
    factor : float or tuple of float
        Enlargement of Y and X, or along (Y, X).
    axes, spacing, image, partial
        As in `upscale`.

    Returns
    -------
    ndarray
        ceil(f Y) x ceil(f X) pixels on the same grid as `upscale` gives, the dtype of
        the input, uint8 for a mask.

    Raises
    ------
    InputError
        The pixels are no labels, or the file or factor cannot be used.
    """
    stack = as_stack(
        image_or_path, axes, spacing, image, partial, lazy=True, labels=True
    )
    return load_pixels(enlarge_labels(stack, checked_factor(factor)).data)


def upscale_labels_to_disk(
    image_or_path: Image,
    target: str | PathLike[str],
    factor: Factor = 2.0,
    *,
    overwrite: bool = False,
    axes: str | None = None,
    spacing: GivenSpacing = None,
    image: int | str | None = None,
    partial: bool = False,
) -> Path:
    """Enlarge a label image or a mask of any size into a file, plane by plane.

    Parameters
    ----------
    image_or_path : ndarray, lazy array, path or ImageStack
        Integers or booleans.
    target : str or path
        ``.ome.zarr``, with `image-label` metadata and a pyramid of nearest pixels, or
        ``.ome.tif``, where labels of 64 bits become 32 if all fit.
    factor : float or tuple of float
        Enlargement of Y and X, or along (Y, X).
    overwrite : bool
        Replace a file that is there.
    axes, spacing, image, partial
        As in `upscale`.

    Returns
    -------
    Path
        The file or folder.

    Raises
    ------
    InputError
        The pixels are no labels, or the file, factor or target cannot be used.
    StorageError
        The disk is full or fails.
    """
    stack = as_stack(
        image_or_path, axes, spacing, image, partial, lazy=True, labels=True
    )
    write_enlarged_labels(
        Path(target), stack, checked_factor(factor), overwrite=overwrite
    )
    return Path(target)


def write_enlarged_labels(
    target: Path,
    stack: ImageStack,
    factors: tuple[float, float],
    *,
    overwrite: bool = False,
) -> ImageStack:
    """Enlarge a label image or mask into a file, plane by plane; errors as in `write`.

    Labels of 64 bits become 32 in an OME-TIFF if all fit. Returns the written image.
    """
    in_32_bits = target.suffix.lower() in {".tif", ".tiff"}
    result = enlarge_labels(stack, factors, in_32_bits=in_32_bits)
    record = {
        "program": "napari-zssr",
        "config": {"labels": True, "factor": list(factors)},
        "input": {
            "name": stack.name,
            "checksum": stack.checksum,
            "axes": stack.axes,
            "shape": stack.data.shape,
        },
        "report": {"sentence": SENTENCE, "planes": []},
    }
    write(target, result, overwrite=overwrite, provenance=record)
    return result


def enlarge_labels(
    stack: ImageStack, factors: tuple[float, float], *, in_32_bits: bool = False
) -> ImageStack:
    """Label image or mask enlarged along (Y, X), lazily, on the grid of `upscale`.

    `in_32_bits` converts 64-bit labels if all fit. InputError for other pixels.
    """
    data = check_pixels(stack.data, labels=True)
    if data.dtype.kind not in "biu":
        raise InputError(
            f"Labels are whole numbers, but the pixels are {data.dtype}; convert them "
            "to an integer type first."
        )
    dtype = _dtype_in_32_bits(data, stack.axes) if in_32_bits else None
    outline = enlarged_outline(stack, factors)
    return replace(
        stack,
        data=NearestPixels(data, stack.axes, factors, dtype),
        spacing=outline.spacing,
        origin=outline.origin,
        source="",
        checksum="",
        messages=(),
        labels=True,
    )


def _dtype_in_32_bits(data: Pixels, axes: str) -> DTypeLike | None:
    """A 32-bit type that holds all 64-bit labels; None for others."""
    if data.dtype.itemsize < 8:
        return None
    low, high = 0, 0
    for plane in planes(axes, data.shape):
        pixels = to_native(data[plane.index])
        low, high = min(low, int(pixels.min())), max(high, int(pixels.max()))
    for dtype in (np.uint32, np.int32):
        if np.iinfo(dtype).min <= low and high <= np.iinfo(dtype).max:
            return dtype
    return None


class NearestPixels(FilePixels):
    """Integers or booleans, enlarged along (Y, X) by nearest pixels when indexed.

    Masks become uint8, labels keep their dtype unless another one is given.
    """

    def __init__(
        self,
        source: Pixels,
        axes: str,
        factors: tuple[float, float],
        dtype: DTypeLike | None = None,
    ) -> None:
        self._source = source
        is_mask = source.dtype.kind == "b"
        self._dtype = np.dtype(dtype or (np.uint8 if is_mask else source.dtype))
        factor = dict(zip("YX", factors, strict=True))
        # Input pixel for each output pixel, along every axis.
        self._nearest = [
            nearest_pixels(size, factor.get(letter, 1.0))
            for letter, size in zip(axes, source.shape, strict=True)
        ]

    @property
    def shape(self) -> tuple[int, ...]:
        """Size along each axis."""
        return tuple(map(len, self._nearest))

    @property
    def dtype(self) -> np.dtype[Any]:
        """Pixel type."""
        return self._dtype.newbyteorder("=")

    def __getitem__(self, index: Any) -> NDArray[Any]:
        """Pixels for one integer or slice per axis."""
        region: list[int | slice] = []
        picks: list[NDArray[np.intp]] = []
        parts = zip(full_index(index, self.shape), self._nearest, strict=True)
        for part, nearest in parts:
            inputs = nearest[part]
            if isinstance(part, int):
                region.append(int(inputs))
                continue
            first, last = (inputs.min(), inputs.max()) if inputs.size else (0, -1)
            region.append(slice(int(first), int(last) + 1))
            picks.append(inputs - first)
        values = to_native(self._source[tuple(region)])
        for axis, pick in enumerate(picks):
            values = values.take(pick, axis=axis)
        return values.astype(self.dtype, copy=False)


def nearest_pixels(size: int, factor: float) -> NDArray[np.intp]:
    """Input pixel that contains the centre of each of the ceil(f n) output pixels."""
    centres = (np.arange(output_size(size, factor)) + 0.5) / factor
    # A centre between two pixels belongs to the latter, in spite of rounding.
    inputs: NDArray[np.intp] = np.floor(centres + 1e-9).astype(np.intp)
    return inputs.clip(max=size - 1)
