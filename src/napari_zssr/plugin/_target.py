"""What a preview looks at: a plane of the request, and a window of it. Without Qt."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_zssr.imaging.resample import Window, output_window
from napari_zssr.plugin._layers import lazy_stack
from napari_zssr.plugin._selection import Selection
from napari_zssr.stack.axes import ImageStack, PlaneIndex, planes

if TYPE_CHECKING:
    from napari_zssr.plugin._request import Request

SIDE_PX = 128

Range = tuple[int, int]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Target:
    """One window of one plane.

    Attributes
    ----------
    request : Request
    stack : ImageStack
        All that is asked for, its pixels not loaded.
    place : PlaneIndex
        The plane within the stack.
    box : mapping of str to (int, int)
        Pixels of the layer that the window covers, by axis letter.
    """

    request: Request
    stack: ImageStack
    place: PlaneIndex
    box: Mapping[str, Range]

    @property
    def window(self) -> Window:
        """The window within the plane, (Y, X)."""
        starts = dict(zip(self.stack.axes, self._selected(), strict=True))
        rows, columns = (
            slice(*(edge - starts[letter] for edge in self.box[letter]))
            for letter in "YX"
        )
        return rows, columns

    @property
    def shown(self) -> Selection:
        """Part of the layer that starts where the first enlarged pixel stands.

        That pixel need not begin where a pixel of the layer does, so the edges along
        Y and X may be fractions.
        """
        window, factors = self.window, self.request.config.factors
        fine = output_window(window, factors)
        ranges: dict[str, Any] = dict(self.box)
        for letter, part, made, factor in zip("YX", window, fine, factors, strict=True):
            first, last = self.box[letter]
            ranges[letter] = (first - part.start + made.start / factor, last)
        return Selection(ranges=ranges)

    def laid_out(self, picture: NDArray[Any]) -> NDArray[Any]:
        """A picture of the window with all axes of the layer."""
        missing = [i for i, a in enumerate(self.stack.axes) if a not in "YXS"]
        return np.expand_dims(picture, missing)

    def same(self, other: Target | None) -> bool:
        """Whether another target gives the same picture in the same place."""
        return other is not None and self.key() == other.key()

    def key(self) -> tuple[Any, ...]:
        """All that decides the picture and its place."""
        request = self.request
        return (
            id(request.layer),
            request.axes,
            sorted(request.selection.ranges.items()),
            request.config,
            sorted(self.box.items()),
        )

    def _selected(self) -> tuple[int, ...]:
        return self.request.selection.starts(self.stack.axes)


def target(request: Request, here: Mapping[str, Range]) -> Target:
    """Window of the plane that is looked at.

    Parameters
    ----------
    request : Request
    here : mapping of str to (int, int)
        Pixels of the layer by axis letter: the slice that is shown along T, Z and C,
        and along Y and X what the window is laid in the middle of. Where that is not
        asked for, the nearest that is.
    """
    stack = lazy_stack(request.layer, request.axes, request.selection)
    starts = request.selection.starts(stack.axes)
    box: dict[str, Range] = {}
    index: list[int | slice] = []
    for letter, size, start in zip(stack.axes, stack.data.shape, starts, strict=True):
        if letter in "YX":
            box[letter] = centred(here[letter], SIDE_PX, start, start + size)
        elif letter != "S":
            at = min(max(here[letter][0], start), start + size - 1)
            box[letter] = (at, at + 1)
        index.append(slice(None) if letter in "YXS" else box[letter][0] - start)
    listed = planes(stack.axes, stack.data.shape)
    place = next(p for p in listed if p.index == tuple(index))
    return Target(request=request, stack=stack, place=place, box=box)


def centred(around: Range, side: int, low: int, high: int) -> Range:
    """`side` pixels about the middle of a range, kept between two limits."""
    start = (around[0] + around[1] - side) // 2
    start = max(low, min(start, high - side))
    return start, min(start + side, high)


def cut(
    plain: NDArray[Any], made: NDArray[Any], share: float, x: int, line: Any
) -> Any:
    """Left of a share of the width the plain picture, right of it what was made.

    Parameters
    ----------
    plain, made : ndarray
        Of one shape.
    share : float
        0 shows all of `made`, 1 all of `plain`.
    x : int
        Axis of the width.
    line : scalar
        Brightness of the line between the two.
    """
    width = made.shape[x]
    at = round(share * width)
    whole = np.moveaxis(made.copy(), x, 0)
    whole[:at] = np.moveaxis(plain, x, 0)[:at]
    if 0 < at < width:
        whole[at] = line
    return np.moveaxis(whole, 0, x)
