"""The layer of a result, which grows while the run goes on."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Image
from numpy.typing import NDArray

from napari_zssr.io.pyramid import zarr_axes
from napari_zssr.plugin.layers.layers import KEY, match_contrast_range
from napari_zssr.plugin.layers.selection import level0
from napari_zssr.stack.image import full_index

if TYPE_CHECKING:
    import zarr
    from napari.viewer import Viewer

    from napari_zssr.plugin.jobs import Enlarged, Job
    from napari_zssr.progress import PlaneDone
    from napari_zssr.stack.image import ImageStack

# What lies below shows through: an image and its result would be twice as bright.
ADDING = ("additive", "minimum", "multiplicative")


class GrowingLayer:
    """The result layer, which is there from the first finished slice on."""

    def __init__(self, viewer: Viewer, job: Job) -> None:
        self._viewer = viewer
        self._job = job
        self._shown = 0.0
        self._reached = 0
        self.layer: Image | None = None
        self.finished = 0
        self.planes = 1
        self.hides = False

    def show(self, event: PlaneDone) -> None:
        """Show the slices that are there, not more often than can be seen."""
        self.finished, self.planes = event.done, event.planes
        self._reached = max(self._reached, event.plane + 1, event.done)
        if self.layer is None:
            self._add(self._job.reached(self._reached))
        elif time.monotonic() - self._shown > self._job.refresh_s:
            self._show_finished()

    def complete(self, made: Enlarged) -> None:
        """Show the whole result with its recipe, also when it was taken away.

        What was enlarged is hidden where both would add up.
        """
        if "file" in made.recipe:
            self._drop_replaced(made.recipe["file"])
        if self.layer is None or self.layer not in self._viewer.layers:
            self._add(made.data)
        else:
            self.layer.data = made.data
        assert self.layer is not None
        self.layer.metadata[KEY] = made.recipe
        source = self._job.request.layer
        self.hides = self.layer.blending in ADDING and source.visible
        if self.hides:
            source.visible = False

    def keep_finished(self) -> None:
        """Leave what was reached, with a recipe that says so."""
        if self.layer is None or self.layer not in self._viewer.layers:
            return
        self._show_finished()
        told: dict[str, Any] = {"finished": self.finished, "planes": self.planes}
        if self._job.part:
            told["part"] = self._job.part
        self.layer.metadata[KEY] = self._job.recipe | told

    @property
    def black(self) -> int:
        """Slices that the layer holds although they are not finished."""
        if self.layer is None:
            return 0
        sizes = zip(self._job.request.axes, level0(self.layer).shape, strict=True)
        there: int = math.prod(n for a, n in sizes if a not in "YXS")
        return there - self.finished

    def discard(self) -> None:
        """Take the layer away again."""
        if self.layer is not None and self.layer in self._viewer.layers:
            self._viewer.layers.remove(self.layer)
        self.layer = None

    def _add(self, data: Any) -> None:
        """Show what there is, in the layer that an earlier run has left if it can."""
        self.layer = self._former()
        if self.layer is not None:
            self.layer.data = data
        else:
            # Dask would keep slices as they were before they were finished.
            levels = {"multiscale": isinstance(data, list), "cache": False}
            self.layer = Image(data, **self._job.kwargs | levels)
            self._viewer.add_layer(self.layer)
            match_contrast_range(self._job.request.layer, self.layer)
        self._shown = time.monotonic()

    def _former(self) -> Image | None:
        """Layer that the run which goes on has left; one of other settings goes."""
        for layer in list(self._viewer.layers):
            told = layer.metadata.get(KEY)
            part = told.get("part") if isinstance(told, dict) else None
            if not part or part != self._job.part:
                continue
            if all(told.get(key) == value for key, value in self._job.recipe.items()):
                found: Image = getattr(layer, "__wrapped__", layer)
                return found
            self._viewer.layers.remove(layer)
        return None

    def _drop_replaced(self, file: str) -> None:
        """Take away layers that read the file which was replaced."""
        for layer in list(self._viewer.layers):
            told = layer.metadata.get(KEY)
            if isinstance(told, dict) and told.get("file") == file:
                self._viewer.layers.remove(layer)

    def _show_finished(self) -> None:
        """Let the layer reach as far as what is finished: the rest would be black."""
        assert self.layer is not None
        there = self._job.reached(self._reached)
        if _shape(there) != level0(self.layer).shape:
            self.layer.data = there
        else:
            self.layer.refresh()
        self._shown = time.monotonic()


def _shape(data: Any) -> tuple[int, ...]:
    shape: tuple[int, ...] = (data[0] if isinstance(data, list) else data).shape
    return shape


META = "zarr.json"
Parts = tuple[slice, ...]


class StoredImage:
    """An OME-Zarr image that is written here, in the axes of a layer.

    Parameters
    ----------
    axes : str
        Letters of the layer's axes.
    samples : int
        Size along S, 1 without it.
    folders : Path
        Where the image is; several where it gets its final name meanwhile: the first
        that is there is read.
    """

    def __init__(self, axes: str, samples: int, *folders: Path) -> None:
        self.axes = axes
        there = next((f for f in folders if (f / META).exists()), folders[0])
        count = sum(1 for found in there.iterdir() if found.name.isdecimal())
        self._levels = [
            LevelPixels(number, axes, samples, folders) for number in range(count)
        ]

    def levels(self, finished: int | None = None) -> list[Any]:
        """Dask arrays, the full resolution first.

        Parameters
        ----------
        finished : int, optional
            As far as the first so many slices reach; all of it unless given.
        """
        return [_lazy(level.upto(finished), level.chunks) for level in self._levels]


class LevelPixels:
    """Pixels of one level, read when they are indexed.

    The axes are arranged here and not by dask, which would make a long list of all
    chunks anew whenever a slice is finished.
    """

    def __init__(
        self, level: int, axes: str, samples: int, folders: Sequence[Path]
    ) -> None:
        self._level = level
        self._axes = axes
        self._samples = samples
        self._folders = tuple(folders)
        self._opened: dict[Path, zarr.Array[Any]] = {}
        found = self._array(self._there() or self._folders[0])
        sizes = dict(zip(zarr_axes(axes), found.shape, strict=True))
        chunks = dict(zip(zarr_axes(axes), found.chunks, strict=True))
        if "S" in axes:
            sizes |= {"C": sizes["C"] // samples, "S": samples}
            chunks |= {"C": 1, "S": samples}
        self.dtype: np.dtype[Any] = found.dtype
        self.ndim = len(axes)
        self.shape = tuple(sizes[letter] for letter in axes)
        self.chunks = tuple(chunks[letter] for letter in axes)

    def __reduce__(self) -> tuple[Any, ...]:
        made = LevelPixels, (self._level, self._axes, self._samples, self._folders)
        return (*made, {"shape": self.shape})

    def upto(self, finished: int | None) -> LevelPixels:
        """The same as far as the first slices reach."""
        made = LevelPixels.__new__(LevelPixels)
        made.__dict__ |= self.__dict__
        if finished is not None:
            made.shape = reach(self.shape, self._axes, finished)
        return made

    def __getitem__(self, index: Any) -> NDArray[Any]:
        """Pixels; what is not there yet, or any more, is 0."""
        full = full_index(index, self.shape)
        parts = tuple(slice(i, i + 1) if isinstance(i, int) else i for i in full)
        first = tuple(0 if isinstance(i, int) else slice(None) for i in full)
        while (folder := self._there()) is not None:
            found = self._read(folder, parts)
            # Of a folder that was renamed meanwhile, zeros may have been read.
            if (folder / META).exists():
                return found[first]
        nothing = np.broadcast_to(np.zeros((), self.dtype), self.shape)
        blank: NDArray[Any] = nothing[parts][first]
        return blank

    def _read(self, folder: Path, parts: Parts) -> NDArray[Any]:
        """Zarr's axes t, c, z, y, x as those of the layer; samples are channels."""
        named = dict(zip(self._axes, parts, strict=True))
        samples, letters = named.pop("S", None), zarr_axes(self._axes)
        if samples is not None:
            channels = named.get("C", slice(0, 1))
            start, stop = channels.start or 0, channels.stop
            stop = None if stop is None else stop * self._samples
            named["C"] = slice(start * self._samples, stop)
        where = tuple(named[letter] for letter in letters)
        found: NDArray[Any] = np.asarray(self._array(folder)[where])
        if samples is not None:
            at = letters.index("C")
            split = (found.shape[at] // self._samples, self._samples)
            found = found.reshape(*found.shape[:at], *split, *found.shape[at + 1 :])
            found = found[(slice(None),) * (at + 1) + (samples,)]
            letters = f"{letters[:at]}CS{letters[at + 1 :]}"
            if "C" not in self._axes:
                found, letters = found.squeeze(at), letters.replace("C", "")
        return found.transpose([letters.index(letter) for letter in self._axes])

    def _there(self) -> Path | None:
        return next((f for f in self._folders if (f / META).exists()), None)

    def _array(self, folder: Path) -> zarr.Array[Any]:
        import zarr

        if folder not in self._opened:
            place = folder / str(self._level)
            self._opened[folder] = zarr.open_array(place, mode="r")
        return self._opened[folder]


def reach(shape: Sequence[int], axes: str, finished: int) -> tuple[int, ...]:
    """Size of the part of a result along its first stacked axis with what is finished.

    Parameters
    ----------
    shape : sequence of int
        Of the whole result.
    axes : str
        Letters of its axes.
    finished : int
        How many of its first slices are finished.
    """
    stacked = [i for i, letter in enumerate(axes) if letter not in "YXS"]
    outer = next((i for i in stacked if shape[i] > 1), None)
    if outer is None:
        return tuple(shape)
    inner = math.prod(shape[i] for i in stacked if i > outer)
    there = min(shape[outer], -(-finished // inner))
    return (*shape[:outer], there, *shape[outer + 1 :])


def zarr_arrays(path: Path, image: int | None) -> list[Any]:
    """Dask arrays of all levels of a Zarr image, the full resolution first.

    Parameters
    ----------
    path : Path
        Folder of the image, or of several.
    image : int or None
        Index of the image, where there are several.
    """
    from napari_zssr.io.zarr_read import zarr_levels

    return [_lazy(level, level.chunks) for level in zarr_levels(path, image)]


def lazy_planes(stack: ImageStack) -> Any:
    """Dask array of an image that is read when it is indexed, a chunk for each plane.

    Parameters
    ----------
    stack : ImageStack
    """
    sizes = zip(stack.axes, stack.data.shape, strict=True)
    return _lazy(stack.data, tuple(n if a in "YXS" else 1 for a, n in sizes))


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
    from napari_zssr.io.read import read

    stack = read(path, lazy=True)
    pixels = lazy_planes(stack)
    # The file has other axes only where their size is 1.
    order = [stack.axes.index(a) for a in axes if a in stack.axes]
    rest = [i for i in range(len(stack.axes)) if i not in order]
    return pixels.transpose([*order, *rest]).reshape(shape)


def _lazy(pixels: Any, chunks: tuple[int, ...]) -> Any:
    """Without a name that depends on the content, which may still grow."""
    from dask.array import from_array

    return from_array(  # type: ignore[no-untyped-call]
        pixels, chunks=chunks, name=False
    )
