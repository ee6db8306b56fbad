"""Label images and masks for scripts, enlarged without a new value."""

from __future__ import annotations

from os import PathLike
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from napari_zssr.api import GivenSpacing, Image, as_stack
from napari_zssr.checks import checked_factor
from napari_zssr.stack.nearest import enlarge_labels, write_enlarged_labels
from napari_zssr.stack.source import loaded

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
    return loaded(enlarge_labels(stack, checked_factor(factor)).data)


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
