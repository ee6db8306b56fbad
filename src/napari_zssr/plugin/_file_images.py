"""The images that opening a file in napari gives."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

from napari.utils.notifications import show_info

from napari_zssr.errors import InputError
from napari_zssr.plugin._stored import lazy_planes, zarr_arrays
from napari_zssr.stack.records import ImageStack
from napari_zssr.stack.source import is_lazy, loaded

# Of a file with more only the largest one is opened.
MOST_IMAGES = 8
# Of a TIFF that is larger only the planes that are shown are read.
LOADED_BYTES = 2**30


def read_images(path: Path) -> list[list[ImageStack]]:
    """Read all images of a file, or the largest where there are very many.

    What was assumed of them, and why one is left out, is shown in napari.

    Parameters
    ----------
    path : Path
        File, or the folder of a Zarr image.

    Returns
    -------
    list of list of ImageStack
        The levels of each image, as `read_levels` gives them.

    Raises
    ------
    InputError
        None of them can be read.
    """
    from napari_zssr.files import list_images

    entries = list_images(path)
    several = 1 < len(entries) <= MOST_IMAGES
    images: list[list[ImageStack]] = []
    refused: list[InputError] = []
    for index in [entry.index for entry in entries] if several else [None]:
        try:
            images.append(read_levels(path, index, loaded_bytes=LOADED_BYTES))
        except InputError as error:
            refused.append(error)
    if not images:
        raise refused[0]
    messages = [message for levels in images for message in levels[0].messages]
    for message in dict.fromkeys([*messages, *map(str, refused)]):
        show_info(message)
    return images


def read_levels(
    path: Path, image: int | None = None, *, loaded_bytes: int = 0
) -> list[ImageStack]:
    """Levels of an image, the full resolution first, all of them described as it is.

    Parameters
    ----------
    path : Path
        File, or the folder of a Zarr image.
    image : int, optional
        Which one of several; the largest unless given.
    loaded_bytes : int
        Pixels that need no more are loaded; those of Zarr and others are dask arrays.

    Raises
    ------
    InputError
        It cannot be read.
    """
    from napari_zssr.files import read

    stack = read(path, image=image, lazy=True, labels=path.is_dir())
    if path.is_dir():
        arrays = zarr_arrays(path, stack.image_index)
        return [replace(stack, data=array) for array in arrays]
    size = math.prod(stack.data.shape) * stack.data.dtype.itemsize
    lazy = size > loaded_bytes and is_lazy(stack.data)
    return [replace(stack, data=lazy_planes(stack) if lazy else loaded(stack.data))]
