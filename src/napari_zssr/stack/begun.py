"""Opening an OME-Zarr image that was begun here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import zarr

from napari_zssr.errors import InputError
from napari_zssr.stack.attributes import read_attributes
from napari_zssr.stack.multiscales import LABELS
from napari_zssr.stack.outline import NAMESPACE


@dataclass(frozen=True, slots=True)
class Begun:
    """An image of which some planes may be missing.

    Attributes
    ----------
    axes : str
        Letters of TCZYXS in the order of its outline.
    samples : int
        Size along S, 1 without it.
    levels : sequence of zarr.Array
        For reading, their axes in the order t, c, z, y, x.
    labels : bool
        The pixels are numbers of objects.
    """

    axes: str
    samples: int
    levels: Sequence[zarr.Array[Any]]
    labels: bool


def begun(folder: Path) -> Begun:
    """Open an image.

    Parameters
    ----------
    folder : Path
        What `create` has made.

    Raises
    ------
    InputError
        Something else is there.
    """
    try:
        attributes = read_attributes(folder)
        own = attributes[NAMESPACE]
        count = len(attributes["ome"]["multiscales"][0]["datasets"])
        return Begun(
            axes=own["axes"],
            samples=own["samples"],
            levels=[open_level(folder, n) for n in range(count)],
            labels=LABELS in attributes["ome"],
        )
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise InputError(
            f"{folder} is no image that napari-zssr has begun ({error}); give another "
            "folder."
        ) from error


def open_level(folder: Path, level: int = 0) -> zarr.Array[Any]:
    """Open one level for reading, its axes in the order t, c, z, y, x.

    Parameters
    ----------
    folder : Path
        What `create` has made.
    level : int
        Level of the pyramid.
    """
    return zarr.open_array(folder / str(level), mode="r")
