"""Label images and masks for scripts, enlarged without a new value."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_zssr.api import GivenSpacing, Image, as_stack
from napari_zssr.checks import checked_factor
from napari_zssr.errors import InputError
from napari_zssr.imaging.resample import output_size
from napari_zssr.io.write import write
from napari_zssr.stack.axes import enlarged_outline, planes
from napari_zssr.stack.axis_labels import check_pixels
from napari_zssr.stack.image import (
    FilePixels,
    ImageStack,
    Pixels,
    full_index,
    load_pixels,
    to_native,
)
from napari_zssr.stack.report import to_json_types

SENTENCE = "Labels: each pixel has the value of the nearest pixel, no value is new."


class NearestPixels(FilePixels):
    """An image enlarged by nearest pixels when it is indexed; masks as uint8.

    Parameters
    ----------
    source : Pixels
        Integers or booleans, perhaps lazy.
    axes : str
        Letters of its axes.
    factors : tuple of float
        Enlargement along (Y, X).
    """

    def __init__(self, source: Pixels, axes: str, factors: tuple[float, float]) -> None:
        self._source = source
        named = dict(zip("YX", factors, strict=True))
        self._nearest = [
            nearest_pixels(size, named[letter]) if letter in named else None
            for letter, size in zip(axes, source.shape, strict=True)
        ]

    @property
    def shape(self) -> tuple[int, ...]:
        """Size along each axis."""
        sizes = zip(self._nearest, self._source.shape, strict=True)
        return tuple(size if near is None else len(near) for near, size in sizes)

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the pixels."""
        dtype = np.dtype(self._source.dtype)
        return np.dtype(np.uint8) if dtype.kind == "b" else dtype.newbyteorder("=")

    def __getitem__(self, index: Any) -> NDArray[Any]:
        """Pixels for one whole number or slice an axis."""
        parts: list[int | slice] = []
        picks: list[NDArray[np.intp] | None] = []
        wanted = zip(full_index(index, self.shape), self._nearest, strict=True)
        for part, near in wanted:
            if isinstance(part, int):
                parts.append(part if near is None else int(near[part]))
            elif near is None:
                parts.append(part)
                picks.append(None)
            else:
                inputs = near[part]
                first, last = (inputs.min(), inputs.max()) if inputs.size else (0, -1)
                parts.append(slice(int(first), int(last) + 1))
                picks.append(inputs - first)
        values = to_native(self._source[tuple(parts)])
        for axis, pick in enumerate(picks):
            if pick is not None:
                values = values.take(pick, axis=axis)
        return values.astype(self.dtype, copy=False)


def nearest_pixels(size: int, factor: float) -> NDArray[np.intp]:
    """Input pixel in which the centre of each of ceil(f n) output pixels lies.

    Parameters
    ----------
    size : int
        Number of input pixels n.
    factor : float
        Enlargement f.
    """
    centres = (np.arange(output_size(size, factor)) + 0.5) / factor
    # A centre between two pixels belongs to the latter, in spite of rounding.
    inputs: NDArray[np.intp] = np.floor(centres + 1e-9).astype(np.intp)
    return inputs.clip(max=size - 1)


def enlarge_labels(stack: ImageStack, factors: tuple[float, float]) -> ImageStack:
    """Label image or mask, enlarged and placed as an image would be; lazy.

    Parameters
    ----------
    stack : ImageStack
        Integers or booleans.
    factors : tuple of float
        Enlargement along (Y, X).

    Raises
    ------
    InputError
        The pixels are no labels.
    """
    data = check_pixels(stack.data, labels=True)
    if data.dtype.kind not in "biu":
        raise InputError(
            f"Labels are whole numbers, but the pixels are {data.dtype}; convert them "
            "to an integer type first."
        )
    result = enlarged_outline(stack, factors)
    return replace(
        stack,
        data=NearestPixels(data, stack.axes, factors),
        spacing=result.spacing,
        origin=result.origin,
        source="",
        checksum="",
        messages=(),
        labels=True,
    )


def write_enlarged_labels(
    target: Path,
    stack: ImageStack,
    factors: tuple[float, float],
    *,
    overwrite: bool = False,
) -> ImageStack:
    """Enlarge a label image or mask into a file, plane by plane.

    Parameters
    ----------
    target : Path
        As in `write`. Labels of 64 bits become 32 in an OME-TIFF if all fit.
    stack : ImageStack
        Integers or booleans, perhaps lazy.
    factors : tuple of float
        Enlargement along (Y, X).
    overwrite : bool
        Replace a file that is there.

    Returns
    -------
    ImageStack
        What was written, lazy.

    Raises
    ------
    InputError
        The pixels are no labels, or the name or folder does not allow it.
    ComputeError
        The disk is full or fails.
    """
    result = enlarge_labels(stack, factors)
    if target.suffix.lower() in {".tif", ".tiff"}:
        result = _in_32_bits(result)
    record = _recipe(stack, factors)
    write(target, result, overwrite=overwrite, provenance=record)
    return result


def _in_32_bits(stack: ImageStack) -> ImageStack:
    """Labels of 64 bits in 32 where all fit, for OME-TIFF has no larger integers."""
    if stack.data.dtype.itemsize < 8:
        return stack
    ends = [
        (int(part.min()), int(part.max()))
        for part in (
            to_native(stack.data[place.index])
            for place in planes(stack.axes, stack.data.shape)
        )
    ]
    low, high = min(low for low, _ in ends), max(high for _, high in ends)
    for dtype in (np.uint32, np.int32):
        if np.iinfo(dtype).min <= low and high <= np.iinfo(dtype).max:
            return replace(stack, data=ConvertedPixels(stack.data, np.dtype(dtype)))
    return stack


class ConvertedPixels(FilePixels):
    """Pixels in another type that holds all their values.

    Parameters
    ----------
    source : Pixels
    dtype : dtype
    """

    def __init__(self, source: Pixels, dtype: np.dtype[Any]) -> None:
        self._source = source
        self._dtype = dtype

    @property
    def shape(self) -> tuple[int, ...]:
        """Size along each axis."""
        return self._source.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the pixels."""
        return self._dtype

    def __getitem__(self, index: Any) -> NDArray[Any]:
        """Pixels for one whole number or slice an axis."""
        return to_native(self._source[index]).astype(self._dtype)


def _recipe(stack: ImageStack, factors: Sequence[float]) -> dict[str, Any]:
    """Record of how a label image was enlarged, JSON-able."""
    content = {
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
    return {key: to_json_types(value) for key, value in content.items()}


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
    path = Path(target)
    factors = checked_factor(factor)
    write_enlarged_labels(path, stack, factors, overwrite=overwrite)
    return path
