"""The planes of the images that a check compares: their pixels, places and names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_zssr.errors import InputError
from napari_zssr.imaging.intensity import check_finite
from napari_zssr.imaging.resample import Array
from napari_zssr.stack.image import (
    ImageStack,
    PlaneIndex,
    plane_axes,
    to_cyx,
    to_native,
)
from napari_zssr.stack.plane import colours_of
from napari_zssr.stack.recipe import channel_text


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ComparedImages:
    """A result and what it is checked against, as `check_steps` takes them."""

    result: ImageStack
    original: ImageStack
    truth: ImageStack | None
    labels: ImageStack | None
    nonfinite: str

    @property
    def before(self) -> bool:
        """Whether the truth has the size of the original."""
        truth = self.truth
        return truth is not None and plane_size(truth) != plane_size(self.result)

    def refuse_other_planes(self) -> None:
        """Refuse images whose planes are not those of the original."""
        _refuse_other_planes(self.result, self.original, "result")
        if self.truth is not None:
            _refuse_other_planes(self.truth, self.original, "truth")
        if self.labels is not None:
            _refuse_other_planes(self.labels, self.original, "labels", broadcast=True)

    def pixels(
        self, place: Mapping[str, int]
    ) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any] | None]:
        """Planes (C, Y, X) of original, result and truth."""
        original = pixels_at(self.original, place, self.nonfinite)
        result = pixels_at(self.result, place, self.nonfinite)
        if self.truth is None:
            return original, result, None
        return original, result, pixels_at(self.truth, place, self.nonfinite)

    def regions(self, place: Mapping[str, int]) -> NDArray[Any] | None:
        """Labels (Y, X)."""
        return None if self.labels is None else _pixels(self.labels, place)[0]


def grey(pixels: NDArray[Any]) -> Array:
    """Mean of the colours (C, Y, X), without transparency."""
    return np.asarray(colours_of(pixels).astype(np.float64).mean(axis=0))


def plane_size(stack: ImageStack) -> tuple[int, int]:
    """Size of a plane along (Y, X)."""
    y, x = (stack.data.shape[stack.axes.index(letter)] for letter in "YX")
    return y, x


def plane_at(
    stack: ImageStack, place: Mapping[str, int], nonfinite: str = "fill"
) -> Array:
    """Plane (Y, X) at an index along T, C and Z, the mean of its colours."""
    return grey(pixels_at(stack, place, nonfinite))


def pixels_at(
    stack: ImageStack, place: Mapping[str, int], nonfinite: str = "fill"
) -> NDArray[Any]:
    """Plane (C, Y, X) at an index along T, C and Z, its pixels finite."""
    return check_finite(_pixels(stack, place), nonfinite, f"The image {stack.name}")


def _pixels(stack: ImageStack, place: Mapping[str, int]) -> NDArray[Any]:
    """Plane (C, Y, X); an axis of size 1 stands for every index."""
    index = tuple(
        slice(None) if letter in "YXS" else min(place.get(letter, 0), size - 1)
        for letter, size in zip(stack.axes, stack.data.shape, strict=True)
    )
    return to_cyx(to_native(stack.data[index]), plane_axes(stack.axes))


def _refuse_other_planes(
    stack: ImageStack, original: ImageStack, name: str, *, broadcast: bool = False
) -> None:
    """Refuse an image whose planes are not those of the original."""
    sizes, wanted = (
        {a: n for a, n in zip(s.axes, s.data.shape, strict=True) if a in "TCZ"}
        for s in (stack, original)
    )
    for letter in "TCZ":
        size, own = sizes.get(letter, 1), wanted.get(letter, 1)
        if size != own and not (broadcast and size == 1):
            raise InputError(
                f"Along {letter} the {name} has size {size} and the original {own}; "
                "give images of the same planes."
            )


def place_of(plane: PlaneIndex, axes: str) -> dict[str, int]:
    """Index of a plane along T, C and Z, by letter."""
    return {
        letter: at
        for letter, at in zip(axes, plane.index, strict=True)
        if isinstance(at, int)
    }


def plane_name(
    place: Mapping[str, int],
    original: ImageStack,
    starts: Mapping[str, int] = MappingProxyType({}),
) -> str:
    """Channel and position along the axes that have several.

    `starts` are the first indices, by letter, of a part of an image.
    """
    sizes = dict(zip(original.axes, original.data.shape, strict=True))
    parts = []
    for letter in (a for a in "CTZ" if sizes.get(a, 1) > 1):
        at = place[letter]
        index = at + starts.get(letter, 0)
        known = original.channels[at : at + 1] if letter == "C" else ()
        title = known[0].name if known else ""
        is_channel = letter == "C"
        parts.append(channel_text(index, title) if is_channel else f"{letter} {index}")
    return ", ".join(parts)
