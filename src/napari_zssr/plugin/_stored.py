"""Results on disk as napari shows them: lazy, at all levels, in a layer's axes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_zssr.stack.layout import zarr_axes

if TYPE_CHECKING:
    import zarr

    from napari_zssr.stack.records import ImageStack

META = "zarr.json"


class MovingPixels:
    """One level of an OME-Zarr image that gets its final name when it is finished.

    Parameters
    ----------
    level : int
        Level of the pyramid.
    folders : Path
        Where the image is, and where it will be; the first that is there is read.
    """

    def __init__(self, level: int, *folders: Path) -> None:
        self._level = level
        self._folders = folders
        self._opened: dict[Path, zarr.Array[Any]] = {}
        first = self._array(self._there() or folders[0])
        self.shape = first.shape
        self.dtype = first.dtype
        self.ndim = first.ndim
        self.chunks = first.chunks

    def __reduce__(self) -> tuple[Any, ...]:
        return MovingPixels, (self._level, *self._folders)

    def __getitem__(self, index: Any) -> NDArray[Any]:
        """Pixels; what is not there yet, or any more, is 0."""
        while (folder := self._there()) is not None:
            found: NDArray[Any] = np.asarray(self._array(folder)[index])
            # Of a folder that was renamed meanwhile, zeros may have been read.
            if (folder / META).exists():
                return found
        nothing = np.broadcast_to(np.zeros((), self.dtype), self.shape)
        blank: NDArray[Any] = nothing[index]
        return blank

    def _there(self) -> Path | None:
        return next((f for f in self._folders if (f / META).exists()), None)

    def _array(self, folder: Path) -> zarr.Array[Any]:
        import zarr

        if folder not in self._opened:
            place = folder / str(self._level)
            self._opened[folder] = zarr.open_array(place, mode="r")
        return self._opened[folder]


def stored_levels(axes: str, samples: int, *folders: Path) -> list[Any]:
    """Levels of an OME-Zarr image that is written here, in the axes of a layer.

    Parameters
    ----------
    axes : str
        Letters of the layer's axes.
    samples : int
        Size along S, 1 without it.
    folders : Path
        Where the image is; several where it will be renamed.

    Returns
    -------
    list of dask array
        The full resolution first.
    """
    there = next((f for f in folders if (f / META).exists()), folders[0])
    count = sum(1 for found in there.iterdir() if found.name.isdecimal())
    return [
        _arranged(MovingPixels(number, *folders), axes, samples)
        for number in range(count)
    ]


def lazy_levels(path: Path, stack: ImageStack) -> list[Any]:
    """Levels of a file that was written here, in the axes that it was read with.

    Parameters
    ----------
    path : Path
    stack : ImageStack
        As the file tells it.
    """
    sizes = dict(zip(stack.axes, stack.data.shape, strict=True))
    if path.is_dir():
        return stored_levels(stack.axes, sizes.get("S", 1), path)
    return [stored_tiff(path, stack.axes, stack.data.shape)]


def stored_tiff(path: Path, axes: str, shape: tuple[int, ...]) -> Any:
    """Dask array of an OME-TIFF that is written here, in the axes of a layer.

    Parameters
    ----------
    path : Path
    axes : str
        Letters of the layer's axes.
    shape : tuple of int
        Size along each of them.
    """
    from napari_zssr.files import read

    stack = read(path, lazy=True)
    pixels = _lazy(stack.data, _planewise(stack.axes, stack.data.shape))
    # The file has other axes only where their size is 1.
    order = [stack.axes.index(a) for a in axes if a in stack.axes]
    rest = [i for i in range(len(stack.axes)) if i not in order]
    return pixels.transpose([*order, *rest]).reshape(shape)


def _planewise(axes: str, shape: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(n if a in "YXS" else 1 for a, n in zip(axes, shape, strict=True))


def _arranged(pixels: MovingPixels, axes: str, samples: int) -> Any:
    """Zarr's axes t, c, z, y, x as those of a layer; samples are channels there."""
    found = _lazy(pixels, pixels.chunks)
    letters = zarr_axes(axes)
    if "S" in axes:
        at = letters.index("C")
        count = pixels.shape[at] // samples
        split = (*pixels.shape[:at], count, samples, *pixels.shape[at + 1 :])
        found = found.rechunk({at: samples}).reshape(split)
        letters = f"{letters[:at]}CS{letters[at + 1 :]}"
        if "C" not in axes:
            found = found[(slice(None),) * at + (0,)]
            letters = letters.replace("C", "")
    return found.transpose([letters.index(letter) for letter in axes])


def _lazy(pixels: Any, chunks: tuple[int, ...]) -> Any:
    """Without a name that depends on the content, which may still grow."""
    from dask.array import from_array

    return from_array(  # type: ignore[no-untyped-call]
        pixels, chunks=chunks, name=False
    )
