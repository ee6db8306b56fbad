"""What is checked: a result, its original, and the planes they have in common."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from napari.components import ViewerModel
from napari.layers import Image, Layer

from napari_zssr.errors import InputError
from napari_zssr.imaging.resample import Pair, output_size
from napari_zssr.plugin.layers.files import lazy_layers
from napari_zssr.plugin.layers.layers import (
    Selection,
    current_slice,
    layer_recipe,
    layer_stack,
    lazy_stack,
    level0,
    unwrapped,
)
from napari_zssr.plugin.layers.results import ORIGINS
from napari_zssr.stack.check_planes import plane_name
from napari_zssr.stack.image import ImageStack, factor_per_axis
from napari_zssr.stack.original_slices import in_original_slices
from napari_zssr.stack.recipe import axial_reports, factor_along
from napari_zssr.zssr.checkpoint import Checkpoint

Place = dict[str, int]

NO_RESULT = "Select a result of this plugin in the layer list to check it."


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Subject:
    """A result and the layer that it was made from.

    `axes` are those of both, `selection` is the part of the original that was enlarged.
    """

    result: Image
    original: Image
    axes: str
    selection: Selection
    recipe: Mapping[str, Any]

    @property
    def factors(self) -> tuple[float, float]:
        """Enlargement along (Y, X)."""
        y, x = map(float, self.recipe["config"]["factor"])
        return y, x

    @property
    def factor_z(self) -> float | None:
        """Enlargement along Z; None where nothing was done along it."""
        return factor_z(self.recipe)

    @property
    def networks(self) -> tuple[Checkpoint | None, ...]:
        """The networks that made the result, empty where they are not known.

        Those of a result along Z are not among them.
        """
        origin = ORIGINS.get(self.result)
        return () if origin is None or self.factor_z else origin.networks

    @property
    def pixel_um(self) -> Pair | None:
        """Size (Y, X) of a pixel of the original, um, where it is known."""
        stack = self.lazy_stacks()["original"]
        y, x = (stack.size_um(letter) for letter in "YX")
        return None if y is None or x is None else (y, x)

    def place(self, viewer: ViewerModel) -> Place:
        """Index along T, C and Z that the sliders show, in the enlarged part."""
        stack = self.lazy_stacks()["original"]
        sizes = dict(zip(stack.axes, stack.data.shape, strict=True))
        shown = current_slice(self.result, self.axes, viewer)
        # The slice in which that of the result has its centre.
        factors = {"Z": self.factor_z or 1.0}
        found = {a: int((at + 0.5) / factors.get(a, 1)) for a, (at, _) in shown.items()}
        return {a: min(at, sizes[a] - 1) for a, at in found.items()}

    @property
    def starts(self) -> dict[str, int]:
        """First index along T, C and Z of the part that was enlarged, by letter."""
        return dict(zip("TCZ", self.selection.starts("TCZ"), strict=True))

    def plane_name(self, place: Mapping[str, int]) -> str:
        """Channel and position of a plane, counted in the whole original."""
        stack = self.lazy_stacks()["original"]
        return plane_name(place, stack, self.starts)

    @property
    def by_axis(self) -> tuple[float, ...]:
        """Enlargement along each axis."""
        return factor_per_axis(self.axes, (self.factor_z or 1.0, *self.factors))

    def lazy_stacks(self) -> dict[str, ImageStack]:
        """Result and original in the same slices, their pixels not loaded."""
        original = lazy_stack(self.original, self.axes, self.selection)
        result = lazy_stack(self.result, self.axes)
        return {
            "result": in_original_slices(result, original, self.recipe),
            "original": original,
        }

    def stacks(self) -> dict[str, ImageStack]:
        """Result and original; one that is in memory has its checksum."""
        stacks = self.lazy_stacks()
        if isinstance(stacks["original"].data, np.ndarray):
            whole = layer_stack(self.original, self.axes, self.selection)
            stacks["original"] = whole
        return stacks


def result_layer(layer: Layer | None) -> Image:
    """The layer, if it is a finished result; InputError that says what else it is."""
    layer = unwrapped(layer)
    recipe = {} if layer is None else layer_recipe(layer)
    if not isinstance(layer, Image) or "config" not in recipe:
        raise InputError(NO_RESULT)
    if "finished" in recipe:
        raise InputError(
            f"{layer.name} is not finished; wait for the end of the run to check it."
        )
    if "input" in recipe:
        _check_slices(layer, recipe["input"])
    return layer


def original_of(result: Image, viewer: ViewerModel) -> Image | Path:
    """The layer that a result was made from, or its file; InputError without either."""
    known = ORIGINS.get(result)
    present = [unwrapped(layer) for layer in viewer.layers]
    source = None if known is None else known.layer()
    if source is not None and any(layer is source for layer in present):
        return source
    fitting = _fitting(present, result)
    if fitting is not None:
        return fitting
    if known is not None and known.file is not None and known.file.exists():
        return known.file
    name = layer_recipe(result).get("input", {}).get("name", "")
    raise InputError(
        f"The original of {result.name} is not open; open {name or 'it'} again to "
        "check the result."
    )


def subject_of(layer: Layer | None, viewer: ViewerModel) -> Subject:
    """The layer with its original; InputError where one of them cannot be checked."""
    result = result_layer(layer)
    original = original_of(result, viewer)
    if isinstance(original, Path):
        file = original
        made = [Layer.create(*content) for content in lazy_layers(file)]
        found = _fitting(made, result) or _fitting(made, result, by_name=False)
        if found is None:
            raise InputError(
                f"{file.name} no longer contains the original of {result.name}; open "
                "the original to check the result."
            )
        original = found
    recipe = layer_recipe(result)
    source = recipe["input"]
    subject = Subject(
        result=result,
        original=original,
        axes=source["axes"],
        selection=selection_of(source),
        recipe=recipe,
    )
    return subject


def factor_z(recipe: Mapping[str, Any]) -> float | None:
    """Enlargement along Z; None where nothing was done along it."""
    return factor_along(recipe, "Z") if axial_reports(recipe) else None


def _check_slices(result: Image, source: Mapping[str, Any]) -> None:
    """Refuse a result that has other slices than were made of its original."""
    sizes = level0(result).shape
    factors = {"Z": factor_z(layer_recipe(result)) or 1.0}
    for letter, size, own in zip(source["axes"], source["shape"], sizes, strict=True):
        made = output_size(size, factors.get(letter, 1.0))
        if letter in "TCZ" and own != made:
            raise InputError(
                f"{result.name} has {own} slices along {letter}, but enlarging "
                f"its original makes {made}; select the result as the run added it."
            )


def _fitting(layers: list[Any], result: Image, *, by_name: bool = True) -> Image | None:
    """A layer of the name and shape that a recipe tells."""
    source = layer_recipe(result).get("input")
    for layer in layers:
        if layer is result or not isinstance(layer, Image) or not source:
            continue
        is_named = layer.name == source.get("name") or not by_name
        if is_named and _has_shape(layer, source):
            return layer
    return None


def _has_shape(layer: Image, source: Mapping[str, Any]) -> bool:
    axes, shape = source.get("axes", ""), level0(layer).shape
    if len(axes) != len(shape):
        return False
    try:
        return selection_of(source).shape(axes, shape) == tuple(source["shape"])
    except InputError:
        return False


def selection_of(source: Mapping[str, Any]) -> Selection:
    """The part of an image that was enlarged, from the recipe's `input`."""
    given = source.get("selection", {})
    return Selection(ranges={letter: (a, b) for letter, (a, b) in given.items()})


def places(stack: ImageStack, first: Place, most: int) -> list[Place]:
    """Positions along T and Z, at most so many: a given one, then others evenly."""
    sizes = dict(zip(stack.axes, stack.data.shape, strict=True))
    walked = [letter for letter in stack.axes if letter in "TZ"]
    listed = [
        dict(zip(walked, at, strict=True))
        for at in np.ndindex(*(sizes[letter] for letter in walked))
    ]
    start = {letter: first.get(letter, 0) for letter in walked}
    count = min(most, len(listed))
    spread = [listed[(2 * n + 1) * len(listed) // (2 * count)] for n in range(count)]
    others = [place for place in spread if place != start]
    return [start, *others][:most]


def cut(stack: ImageStack, place: Place) -> ImageStack:
    """A stack at one position along T and Z, which keep their axes."""
    index = tuple(
        slice(place[letter], place[letter] + 1) if letter in place else slice(None)
        for letter in stack.axes
    )
    return replace(stack, data=stack.data[index])
