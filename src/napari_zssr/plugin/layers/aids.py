"""Layers that only show something: marks, and two pictures beside one another."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Image, Layer
from numpy.typing import NDArray

from napari_zssr.stack.image import full_index

if TYPE_CHECKING:
    from napari.viewer import Viewer

# Mark such layers in their metadata; they are not images to be enlarged.
PREVIEW, CHECK = "napari_zssr_preview", "napari_zssr_check"
COMPARISON = "napari_zssr_comparison"
# Width of the lines of a framed picture, as a fraction of its side.
LINE_WIDTH = 0.012


def is_aid(layer: Layer) -> bool:
    """Whether a layer belongs to a preview, a check or a comparison."""
    return any(layer.metadata.get(mark) for mark in (PREVIEW, CHECK, COMPARISON))


@contextmanager
def selection_kept(viewer: Viewer) -> Iterator[None]:
    """Restore the selected layers afterwards."""
    selection = viewer.layers.selection
    selected, active = list(selection), selection.active
    yield
    kept = [layer for layer in selected if layer in viewer.layers]
    if set(selection) != set(kept):
        selection.clear()
        selection.update(kept)
    if kept == [active]:
        selection.active = active


class KeptSlice:
    """Stays on the slice that is shown when a layer with closer slices is removed.

    napari's slider keeps its number, and so ends up at the last slice.
    """

    def __init__(self, viewer: Viewer) -> None:
        self._viewer = viewer
        self._point: tuple[float, ...] = ()
        viewer.layers.events.removing.connect(self._note)
        # After napari has set another range of the slider.
        viewer.layers.events.removed.connect(self._restore, position="last")

    def close(self) -> None:
        """Ignore the viewer from now on."""
        self._viewer.layers.events.removing.disconnect(self._note)
        self._viewer.layers.events.removed.disconnect(self._restore)

    def _note(self, _event: Any) -> None:
        self._point = self._viewer.dims.point

    def _restore(self, _event: Any) -> None:
        dims = self._viewer.dims
        point = self._point[-dims.ndim :]
        if self._viewer.layers and len(point) == dims.ndim and dims.point != point:
            dims.point = point


class ReadWhenIndexed:
    """Pixels for a layer, made when they are indexed."""

    def __init__(self, shape: Sequence[int], dtype: Any) -> None:
        self.shape = tuple(shape)
        self.dtype: np.dtype[Any] = np.dtype(dtype)
        self.ndim = len(self.shape)
        self.size = math.prod(self.shape)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        """All pixels."""
        return np.asarray(self[...], dtype=dtype)

    def __getitem__(self, index: Any) -> NDArray[Any]:
        """Pixels at an index of whole numbers, slices and an ellipsis."""
        return self._at(full_index(index, self.shape))

    def _at(self, index: tuple[int | slice, ...]) -> NDArray[Any]:
        raise NotImplementedError


class SplitPixels(ReadWhenIndexed):
    """The left part of one picture and the right one of another, and a line between.

    Parameters
    ----------
    before, after : array-likes of one shape, the left and the right picture
    x : axis of the width
    share : where the line stands, 0 (nothing of `before`) to 1; may be changed
    lines : value of the line, and a dark one that is seen beside it; may be changed
    framed : axes along which a frame of both values covers the edges
    """

    def __init__(
        self,
        before: Any,
        after: Any,
        *,
        x: int,
        share: float = 0.5,
        lines: tuple[Any, Any] = (0, 0),
        framed: Sequence[int] = (),
    ) -> None:
        super().__init__(after.shape, after.dtype)
        self._before, self._after, self._x = before, after, x
        self.share, self.lines, self._framed = share, lines, framed
        # What was read last: a line is dragged over the same pixels.
        self._read: tuple[Any, Any, Any] = (None, None, None)

    def _at(self, index: tuple[int | slice, ...]) -> NDArray[Any]:
        at, before, after = self._read
        if at != index:
            before, after = (np.asarray(p[index]) for p in (self._before, self._after))
            self._read = index, before, after
        width, columns = self.shape[self._x], index[self._x]
        edge = round(self.share * width)
        if isinstance(columns, int):
            return np.asarray(before if columns < edge else after)
        shown = np.arange(width)[columns]
        axis = sum(isinstance(part, slice) for part in index[: self._x])
        mixed = np.moveaxis(after.copy(), axis, 0)
        mixed[shown < edge] = np.moveaxis(before, axis, 0)[shown < edge]
        if 0 < edge < width:
            line = _line_width(width) if self._framed else 1
            mixed[(shown >= edge) & (shown < edge + line)] = self.lines[0]
        picture: NDArray[Any] = np.moveaxis(mixed, 0, axis)
        self._frame(picture, index)
        return picture

    def _frame(self, pixels: NDArray[Any], index: tuple[int | slice, ...]) -> None:
        """Draw the frame: bright along the edges, and dark within."""
        bright, dark = self.lines
        for value, lines in ((dark, 2), (bright, 1)):
            for axis in self._framed:
                size, part = self.shape[axis], index[axis]
                if isinstance(part, int):
                    continue
                width = lines * _line_width(size)
                shown = np.arange(size)[part]
                edges = (shown < width) | (shown >= size - width)
                before = sum(isinstance(one, slice) for one in index[:axis])
                np.moveaxis(pixels, before, 0)[edges] = value


def _line_width(size: int) -> int:
    """Width of a line in a picture, so that it is seen from afar."""
    return max(1, round(LINE_WIDTH * size))


class NearestPixels(ReadWhenIndexed):
    """Pixels at a larger size, each that of the pixel it lies in.

    `shape` is that of the enlarged picture, by `factors` along each axis.
    """

    def __init__(
        self, pixels: Any, shape: Sequence[int], factors: Sequence[float]
    ) -> None:
        super().__init__(shape, pixels.dtype)
        self._pixels, self._factors = pixels, factors

    def _at(self, index: tuple[int | slice, ...]) -> NDArray[Any]:
        wanted = [
            np.atleast_1d(self._source(axis)[part]) for axis, part in enumerate(index)
        ]
        box = tuple(slice(w.min(), w.max() + 1) if w.size else slice(0) for w in wanted)
        pixels = np.asarray(self._pixels[box])
        for axis, (places, part) in enumerate(zip(wanted, box, strict=True)):
            pixels = pixels.take(places - (part.start or 0), axis)
        return pixels[tuple(0 if isinstance(i, int) else slice(None) for i in index)]

    def _source(self, axis: int) -> NDArray[np.intp]:
        """Pixel in which each enlarged one has its centre."""
        centres = (np.arange(self.shape[axis]) + 0.5) / self._factors[axis]
        last = self._pixels.shape[axis] - 1
        return np.asarray(np.minimum(centres.astype(np.intp), last))


def line_values(picture: Image, dtype: np.dtype[Any]) -> tuple[Any, Any]:
    """Values of a bright line that is seen in a picture, and of a dark one."""
    if picture.rgb:
        return (np.iinfo(dtype).max if dtype.kind in "iu" else 1.0), 0
    dark, bright = map(float, picture.contrast_limits)
    if dtype.kind in "iu":
        low, high = np.iinfo(dtype).min, np.iinfo(dtype).max
        return int(min(max(bright, low), high)), int(min(max(dark, low), high))
    return bright, dark
