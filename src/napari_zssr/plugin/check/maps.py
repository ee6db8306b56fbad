"""The layers of a check: maps on the original, and before and after on the result."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from napari.layers import Image
from napari.utils import Colormap
from napari.viewer import Viewer
from numpy.typing import NDArray

from napari_zssr.plugin.check.subject import Subject
from napari_zssr.plugin.layers.aids import (
    CHECK,
    NearestPixels,
    ReadWhenIndexed,
    SplitPixels,
    line_values,
    selection_kept,
)
from napari_zssr.plugin.layers.layers import (
    PLACEMENT,
    lazy_stack,
    placement_of,
    result_kwargs,
    unwrapped,
)
from napari_zssr.stack.agreement import block_step
from napari_zssr.stack.check import PlaneCheck
from napari_zssr.stack.image import ImageStack

# Blue, white and red, which all eyes tell apart.
DIVERGING = Colormap(
    ["#2166ac", "#92c5de", "#f7f7f7", "#f4a582", "#b2182b"],
    name="residual",
    nan_color=(0, 0, 0, 0),
)
FLAGGED = Colormap([(0, 0, 0, 0), (1, 0.84, 0.04, 0.45)], name="flagged")


@dataclass(frozen=True, slots=True, kw_only=True)
class Map:
    """A map of a check that is shown as a layer.

    `of` takes the map (Y, X), of blocks of pixels, from the check of a plane.
    """

    of: Callable[[PlaneCheck], NDArray[Any] | None]
    colormap: Colormap
    limits: tuple[float, float]
    visible: bool = True


# By the words after the name of the result.
MAPS = {
    "residual": Map(
        of=lambda plane: plane.agreement.map, colormap=DIVERGING, limits=(-4, 4)
    ),
    "flagged": Map(
        of=lambda plane: plane.agreement.flags,
        colormap=FLAGGED,
        limits=(0, 1),
        visible=False,
    ),
}
SPLIT = "before and after"


class CheckLayers:
    """The layers of one check in the viewer; those that were removed are added anew."""

    def __init__(self, viewer: Viewer, subject: Subject) -> None:
        self._viewer = viewer
        self._subject = subject
        self._layers: dict[str, Image] = {}
        self._split: SplitPixels | None = None

    def has(self, kind: str) -> bool:
        """Whether a layer is in the viewer."""
        layer = self._layers.get(kind)
        return layer is not None and layer in self._viewer.layers

    def show_maps(self, checked: Iterable[PlaneCheck]) -> None:
        """Show all maps that planes have, on the original."""
        planes = list(checked)
        for kind, shown in MAPS.items():
            maps = [(plane.place, shown.of(plane)) for plane in planes]
            known = [(place, m) for place, m in maps if m is not None]
            if known:
                self._show_map(kind, shown, known)

    def _show_map(
        self, kind: str, shown: Map, known: Sequence[tuple[Mapping[str, int], Any]]
    ) -> None:
        stack = self._subject.lazy_stacks()["original"]
        pixels = PlanesOfMaps(stack, known)
        if self.has(kind):
            self._layers[kind].data = pixels
            return
        layer, axes = self._subject.original, self._subject.axes
        step = pixels.step
        kwargs = result_kwargs(
            layer, axes, self._subject.selection, (1 / step, 1 / step), {}
        )
        self._add(
            kind,
            Image(
                pixels,
                **{key: kwargs[key] for key in PLACEMENT},
                name=f"{self._subject.result.name} {kind}",
                colormap=shown.colormap,
                contrast_limits=shown.limits,
                visible=shown.visible,
                blending="translucent",
                interpolation2d="nearest",
                metadata={CHECK: True},
            ),
        )

    def show_split(self, share: float) -> None:
        """Show the original left of a line, and the result right of it."""
        if not self.has(SPLIT):
            self._add_split()
        assert self._split is not None
        layer = self._layers[SPLIT]
        self._split.share = share
        self._split.lines = line_values(layer, self._split.dtype)
        layer.refresh(extent=False)

    def _add_split(self) -> None:
        subject, result = self._subject, self._subject.result
        after = lazy_stack(result, subject.axes).data
        original = subject.lazy_stacks()["original"].data
        before = NearestPixels(original, after.shape, subject.by_axis)
        self._split = SplitPixels(before, after, x=self._subject.axes.index("X"))
        colours = {} if result.rgb else {"colormap": result.colormap}
        if not result.rgb:
            colours["contrast_limits"] = result.contrast_limits
        self._add(
            SPLIT,
            Image(
                self._split,
                rgb=result.rgb,
                multiscale=False,
                name=f"{result.name} {SPLIT}",
                **placement_of(result),
                gamma=result.gamma,
                interpolation2d="nearest",
                # Layers below are covered, not added to.
                blending="translucent",
                metadata={CHECK: True},
                **colours,
            ),
        )

    def remove(self, *kinds: str) -> None:
        """Remove layers, all of them unless some are named."""
        for kind in kinds or tuple(self._layers):
            layer = self._layers.pop(kind, None)
            if layer is not None and layer in self._viewer.layers:
                with selection_kept(self._viewer):
                    self._viewer.layers.remove(layer)
        if SPLIT not in self._layers:
            self._split = None

    def _add(self, kind: str, layer: Image) -> None:
        layers = self._viewer.layers
        subject = (self._subject.result, self._subject.original)
        # Above both and their maps, below a line that is drawn over them.
        below = [*subject, *self._layers.values()]
        top = max(n for n, other in enumerate(layers) if unwrapped(other) in below)
        self._layers[kind] = layer
        with selection_kept(self._viewer):
            layers.insert(top + 1, layer)


class PlanesOfMaps(ReadWhenIndexed):
    """Maps (Y, X) of some planes of a stack, in its axes; NaN for the others.

    Attributes
    ----------
    step : side of the blocks of the original that are one pixel of a map
    """

    def __init__(
        self, stack: ImageStack, maps: Iterable[tuple[Mapping[str, int], NDArray[Any]]]
    ) -> None:
        listed = list(maps)
        axes = stack.axes.replace("S", "")
        sizes = dict(zip(stack.axes, stack.data.shape, strict=True))
        self.step = block_step((sizes["Y"], sizes["X"]))
        sizes["Y"], sizes["X"] = listed[0][1].shape
        super().__init__([sizes[letter] for letter in axes], np.float32)
        walked = [letter for letter in axes if letter in "TCZ"]
        self._walked = [axes.index(letter) for letter in walked]
        self._turned = axes.index("Y") > axes.index("X")
        self._maps = {
            tuple(place[letter] for letter in walked): plane for place, plane in listed
        }

    def _at(self, index: tuple[int | slice, ...]) -> NDArray[Any]:
        ranges = [
            range(size)[part] if isinstance(part, slice) else range(part, part + 1)
            for part, size in zip(index, self.shape, strict=True)
        ]
        box = np.full([len(r) for r in ranges], np.nan, np.float32)
        within = tuple(ranges[axis] for axis in range(self.ndim))
        for place, plane in self._maps.items():
            pairs = list(zip(self._walked, place, strict=True))
            if all(at in within[axis] for axis, at in pairs):
                where: list[Any] = [slice(None)] * self.ndim
                for axis, at in pairs:
                    where[axis] = within[axis].index(at)
                area = [r for a, r in enumerate(ranges) if a not in self._walked]
                drawn = plane.T if self._turned else plane
                box[tuple(where)] = drawn[np.ix_(*area)]
        return box[tuple(0 if isinstance(i, int) else slice(None) for i in index)]
