"""The images that opening a file in napari gives."""

from __future__ import annotations

from pathlib import Path

from napari.utils.notifications import show_info

from napari_zssr.errors import InputError
from napari_zssr.stack.records import ImageStack

# Of a file with more only the largest one is opened.
MOST_IMAGES = 8


def read_images(path: Path) -> list[ImageStack]:
    """Read all images of a file, or the largest where there are very many.

    What was assumed of them, and why one is left out, is shown in napari.

    Parameters
    ----------
    path : Path
        File, or the folder of a Zarr image.

    Raises
    ------
    InputError
        None of them can be read.
    """
    from napari_zssr.files import list_images, read

    entries = list_images(path)
    several = 1 < len(entries) <= MOST_IMAGES
    stacks: list[ImageStack] = []
    refused: list[InputError] = []
    for index in [entry.index for entry in entries] if several else [None]:
        try:
            stacks.append(read(path, image=index))
        except InputError as error:
            refused.append(error)
    if not stacks:
        raise refused[0]
    messages = [message for stack in stacks for message in stack.messages]
    for message in dict.fromkeys([*messages, *map(str, refused)]):
        show_info(message)
    return stacks
