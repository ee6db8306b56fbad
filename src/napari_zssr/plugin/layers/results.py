"""The layer of a result, which grows during the run, and pixels read when needed."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary, ref

import numpy as np
import zarr
from napari.layers import Image, Shapes
from numpy.typing import NDArray

from napari_zssr.config import factors_text
from napari_zssr.io.ngff import zarr_axes
from napari_zssr.io.read import read
from napari_zssr.plugin.layers.aids import selection_kept
from napari_zssr.plugin.layers.layers import (
    KEY,
    image_of,
    layer_file,
    layer_recipe,
    level0,
    match_contrast,
    placement_of,
    result_name,
    unwrapped,
)
from napari_zssr.progress import PlaneDone
from napari_zssr.stack.image import STANDARD_ERROR, ImageStack, full_index

if TYPE_CHECKING:
    from napari.viewer import Viewer

    from napari_zssr.plugin.jobs import Enlarged, Job
    from napari_zssr.zssr.checkpoint import Checkpoint

# With these, an image and its result on top of it would be twice as bright.
TRANSPARENT_BLENDING = ("additive", "minimum", "multiplicative")


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """What a result was made of: a layer, whatever its name is now, and networks.

    `file` is that of the layer, `image` what the channels of that file have in common;
    `run` is the number of the run; `networks` are those of `Enlarged`.
    """

    layer: ref[Image]
    file: Path | None
    image: tuple[Any, ...] | None
    run: int
    networks: tuple[Checkpoint | None, ...]


# Of the results of this session.
ORIGINS: WeakKeyDictionary[Image, Origin] = WeakKeyDictionary()


def results_of(layer: Image) -> list[Image]:
    """Results of this session that were made from a layer."""
    return [made for made, origin in ORIGINS.items() if origin.layer() is layer]


def channels_of(result: Image, layers: Sequence[Image]) -> list[Image]:
    """Those of some layers that the run of a result has made of channels of its file.

    It is one of them.
    """
    origin = ORIGINS.get(result)
    if origin is None or origin.image is None:
        return [result]
    same = (origin.image, origin.run)
    known = [(layer, ORIGINS.get(layer)) for layer in layers]
    return [one for one, of in known if of is not None and (of.image, of.run) == same]


class GrowingLayer:
    """The result layer, shown from the first finished slice on.

    `run` is the number of the run.
    """

    def __init__(self, viewer: Viewer, job: Job, run: int) -> None:
        self._viewer = viewer
        self._job = job
        self._run = run
        self._last_shown = 0.0
        self._reached = 0
        self.layer: Image | None = None
        self.errors: Image | None = None
        self.finished = 0
        self.planes = 1

    def show(self, event: PlaneDone) -> None:
        """Show the finished slices, at most once per refresh interval of the job."""
        self.finished, self.planes = event.done, event.planes
        self._reached = max(self._reached, event.plane + 1, event.done)
        if self.layer is None:
            self._add(self._job.reached(self._reached))
        elif time.monotonic() - self._last_shown > self._job.refresh_s:
            self._show_finished(self.layer)

    def complete(self, enlarged: Enlarged) -> bool:
        """Show the whole result with its recipe, even if the layer was removed.

        Returns whether the original layer is hidden, as it is where both would add up.
        """
        if "file" in enlarged.recipe:
            for layer in list(self._viewer.layers):
                if layer_recipe(layer).get("file") == enlarged.recipe["file"]:
                    self._viewer.layers.remove(layer)
        result = self._layer_in_viewer()
        if result is None:
            result = self._add(enlarged.data)
        else:
            self._show_pixels(result, enlarged.data)
        self._match_contrast(result)
        if enlarged.report.only_interpolated:
            self._name_as_interpolated(result)
        result.metadata[KEY] = enlarged.recipe
        if enlarged.errors is not None:
            self._add_errors(enlarged.errors, result)
        source = self._job.request.layer
        if result.blending in TRANSPARENT_BLENDING:
            for earlier in results_of(source):
                earlier.visible = earlier is result
        ORIGINS[result] = Origin(
            layer=ref(source),
            file=layer_file(source),
            image=image_of(source),
            run=self._run,
            networks=enlarged.networks,
        )
        hides: bool = result.blending in TRANSPARENT_BLENDING and source.visible
        if hides:
            source.visible = False
        return hides

    def _match_contrast(self, result: Image) -> None:
        """Match the contrast to the original's, unless the user has set it."""
        given = self._job.kwargs.get("contrast_limits")
        if given is not None and tuple(result.contrast_limits) == tuple(given):
            match_contrast(self._job.request.layer, result)

    def _name_as_interpolated(self, result: Image) -> None:
        """Let the name not promise a method that has brought nothing."""
        request, given = self._job.request, self._job.kwargs["name"]
        what = "unchanged" if set(request.factors) == {1.0} else "interpolated"
        *along_z, y, x = request.factors
        factors = factors_text((y, x), *along_z)
        name = result_name(request.layer.name, factors, what)
        # The user may have renamed it, or napari have added a number.
        result.name = result.name.replace(given, name)

    def keep_finished(self) -> None:
        """Keep the finished slices, with a recipe that says how many they are."""
        layer = self._layer_in_viewer()
        if layer is not None:
            self._show_finished(layer)
            recipe = {"finished": self.finished, "planes": self.planes}
            part = {"part": str(self._job.part)} if self._job.part else {}
            layer.metadata[KEY] = self._job.recipe | recipe | part

    @property
    def added(self) -> list[Image]:
        """The layers that the run has added."""
        return [one for one in (self.layer, self.errors) if one is not None]

    @property
    def layers(self) -> list[Image]:
        """The layers that the run has added; their source where there are none."""
        return self.added or [self._job.request.layer]

    @property
    def black(self) -> int:
        """Slices of the layer that are not finished."""
        if self.layer is None:
            return 0
        sizes = zip(self._job.request.axes, level0(self.layer).shape, strict=True)
        slices: int = math.prod(n for a, n in sizes if a not in "YXS")
        return slices - self.finished

    def discard(self) -> None:
        """Remove the layer."""
        layer, self.layer = self._layer_in_viewer(), None
        if layer is not None:
            self._viewer.layers.remove(layer)

    def _add_errors(self, data: Any, result: Image) -> None:
        """Add the standard error as a hidden layer on the result."""
        layer = Image(
            data,
            name=f"{result.name} {STANDARD_ERROR}",
            **placement_of(result),
            colormap="inferno",
            blending="translucent",
            visible=False,
            multiscale=isinstance(data, list),
            metadata={KEY: {}},
        )
        with selection_kept(self._viewer):
            self._insert(layer)
        self.errors = layer

    def _layer_in_viewer(self) -> Image | None:
        """The layer, unless the user has removed it."""
        present = self.layer is not None and self.layer in self._viewer.layers
        return self.layer if present else None

    def _add(self, data: Any) -> Image:
        """Show pixels, in the layer left by an interrupted run if there is one."""
        self.layer = self._interrupted_layer()
        if self.layer is not None:
            self.layer.data = data
        else:
            # Dask would cache slices as they were before they were finished.
            options = {"multiscale": isinstance(data, list), "cache": False}
            self.layer = Image(data, **self._job.kwargs | options)
            self._insert(self.layer)
            if self.planes > 1:
                self._match_contrast(self.layer)
        self._last_shown = time.monotonic()
        return self.layer

    def _insert(self, layer: Image) -> None:
        """Add a layer on top; one of an area stays below the outline of the area."""
        layers = self._viewer.layers
        index = len(layers)
        if set("YX") & set(self._job.request.selection.ranges):
            while index and isinstance(layers[index - 1], Shapes):
                index -= 1
        layers.insert(index, layer)

    def _interrupted_layer(self) -> Image | None:
        """Layer left by the run that is resumed; removed if its settings differ."""
        for layer in list(self._viewer.layers):
            recipe = layer_recipe(layer)
            part = recipe.get("part")
            if not part or part != str(self._job.part):
                continue
            settings = self._job.recipe.items()
            if all(recipe.get(key) == value for key, value in settings):
                interrupted: Image = unwrapped(layer)
                return interrupted
            self._viewer.layers.remove(layer)
        return None

    def _show_finished(self, layer: Image) -> None:
        """Extend the layer as far as slices are finished: the rest would be black."""
        data = self._job.reached(self._reached)
        full = data[0] if isinstance(data, list) else data
        if full.shape != level0(layer).shape:
            layer.data = data
        else:
            layer.refresh()
        self._last_shown = time.monotonic()

    def _show_pixels(self, layer: Image, data: Any) -> None:
        """Show all pixels; where the layer holds them already it is only refreshed."""
        shown = layer.data
        arrays = isinstance(shown, np.ndarray) and isinstance(data, np.ndarray)
        held = arrays and shown.shape == data.shape and np.may_share_memory(shown, data)
        if not held:
            layer.data = data
        elif self.planes > 1:
            layer.refresh()


META = "zarr.json"


def stored_levels(axes: str, samples: int, *folders: Path) -> list[LevelPixels]:
    """Levels of an OME-Zarr image that we are writing, full resolution first."""
    folder = _existing(folders) or folders[0]
    count = sum(entry.name.isdecimal() for entry in folder.iterdir())
    return [LevelPixels(number, axes, samples, folders) for number in range(count)]


def layer_data(levels: Sequence[LevelPixels], finished: int | None = None) -> Any:
    """Dask arrays for a layer, cut to the `finished` slices; of one level no list."""
    parts = [level if finished is None else level.upto(finished) for level in levels]
    arrays = [dask_array(part, part.chunks) for part in parts]
    return arrays if len(arrays) > 1 else arrays[0]


class LevelPixels:
    """Pixels of one level in the axes of a layer, read when they are indexed.

    The image may move from one of `folders` to the next meanwhile: the first that
    exists is read. `samples` is the size along S, 1 without it. The axes are arranged
    here and not by dask, which would list all chunks anew whenever a slice is finished.
    """

    def __init__(
        self, level: int, axes: str, samples: int, folders: Sequence[Path]
    ) -> None:
        self._level = level
        self._axes = axes
        self._samples = samples
        self._folders = folders
        self._opened: dict[Path, zarr.Array[Any]] = {}
        array = self._array(_existing(folders) or folders[0])
        sizes = dict(zip(zarr_axes(axes), array.shape, strict=True))
        chunks = dict(zip(zarr_axes(axes), array.chunks, strict=True))
        if "S" in axes:
            sizes |= {"C": sizes["C"] // samples, "S": samples}
            chunks |= {"C": 1, "S": samples}
        self.dtype: np.dtype[Any] = array.dtype
        self.ndim = len(axes)
        self.shape = tuple(sizes[letter] for letter in axes)
        self.chunks = tuple(chunks[letter] for letter in axes)

    def upto(self, finished: int) -> LevelPixels:
        """The same level, cut to its first `finished` slices."""
        part = copy(self)
        part.shape = reach(self.shape, self._axes, finished)
        return part

    def __getitem__(self, index: Any) -> NDArray[Any]:
        """Pixels; 0 where they are not written yet, or were deleted."""
        full = full_index(index, self.shape)
        while (folder := _existing(self._folders)) is not None:
            pixels = self._read(folder, full)
            # While the folder was being renamed, zeros may have been read.
            if (folder / META).exists():
                return pixels
        blank: NDArray[Any] = np.broadcast_to(np.zeros((), self.dtype), self.shape)
        return blank[full]

    def _read(self, folder: Path, index: tuple[int | slice, ...]) -> NDArray[Any]:
        """Read Zarr's axes TCZYX as those of the layer; samples are channels there."""
        slices = [slice(i, i + 1) if isinstance(i, int) else i for i in index]
        named = dict(zip(self._axes, slices, strict=True))
        samples, letters = named.pop("S", None), zarr_axes(self._axes)
        if samples is not None:
            channels = named.get("C", slice(0, 1))
            start, stop = channels.start or 0, channels.stop
            stop = None if stop is None else stop * self._samples
            named["C"] = slice(start * self._samples, stop)
        pixels: NDArray[Any] = np.asarray(
            self._array(folder)[tuple(named[letter] for letter in letters)]
        )
        if samples is not None:
            axis = letters.index("C")
            shape = pixels.shape
            split = (shape[axis] // self._samples, self._samples)
            pixels = pixels.reshape(*shape[:axis], *split, *shape[axis + 1 :])
            pixels = pixels[(slice(None),) * (axis + 1) + (samples,)]
            letters = letters.replace("C", "CS")
            if "C" not in self._axes:
                pixels, letters = pixels.squeeze(axis), letters.replace("C", "")
        ordered = pixels.transpose([letters.index(letter) for letter in self._axes])
        return ordered[tuple(0 if isinstance(i, int) else slice(None) for i in index)]

    def _array(self, folder: Path) -> zarr.Array[Any]:
        if folder not in self._opened:
            array = zarr.open_array(folder / str(self._level), mode="r")
            self._opened[folder] = array
        return self._opened[folder]


def _existing(folders: Sequence[Path]) -> Path | None:
    return next((folder for folder in folders if (folder / META).exists()), None)


def reach(shape: Sequence[int], axes: str, finished: int) -> tuple[int, ...]:
    """Shape of a result cut along its first stacked axis to its finished slices."""
    stacked = [i for i, letter in enumerate(axes) if letter not in "YXS"]
    outer = next((i for i in stacked if shape[i] > 1), None)
    if outer is None:
        return tuple(shape)
    inner = math.prod(shape[i] for i in stacked if i > outer)
    size = min(shape[outer], -(-finished // inner))
    return (*shape[:outer], size, *shape[outer + 1 :])


def lazy_planes(stack: ImageStack) -> Any:
    """Dask array of an image that is read when indexed, one chunk for each plane."""
    sizes = zip(stack.axes, stack.data.shape, strict=True)
    chunks = tuple(size if letter in "YXS" else 1 for letter, size in sizes)
    return dask_array(stack.data, chunks)


def stored_tiff(path: Path, axes: str, shape: tuple[int, ...]) -> Any:
    """Dask array of an OME-TIFF that we wrote, in the axes and shape of a layer."""
    stack = read(path, lazy=True)
    # The file has other axes only where their size is 1.
    order = [stack.axes.index(letter) for letter in axes if letter in stack.axes]
    rest = [i for i in range(len(stack.axes)) if i not in order]
    return lazy_planes(stack).transpose([*order, *rest]).reshape(shape)


def dask_array(pixels: Any, chunks: tuple[int, ...]) -> Any:
    """Dask array without a name that depends on its content, which may still grow."""
    from dask.array import from_array

    return from_array(  # type: ignore[no-untyped-call]
        pixels, chunks=chunks, name=False
    )
