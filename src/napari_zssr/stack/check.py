"""Checks of a finished result against its original, plane by plane."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_zssr.checks import is_camera, parsed_camera, size_text
from napari_zssr.errors import InputError
from napari_zssr.imaging.comparison import Scores, compare
from napari_zssr.imaging.intensity import check_finite
from napari_zssr.imaging.noise import NoiseModel
from napari_zssr.imaging.quantities import Flux, SpotShift, flux, spot_shift
from napari_zssr.imaging.resample import Array, Pair, output_size, spread_evenly
from napari_zssr.kernelspec import KernelSpec
from napari_zssr.stack.image import (
    ImageStack,
    PlaneIndex,
    colour_count,
    plane_axes,
    planes,
    to_cyx,
    to_native,
)
from napari_zssr.stack.report import to_json_types, versions

# Planes of a channel that are checked, spread evenly.
MOST_PLANES = 8
# Longest side of a map of the error that is kept.
MAP_PX = 320
# Largest denominator of a factor that is found from shapes.
FINEST = 8
BICUBIC = KernelSpec()


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PlaneCheck:
    """Checks of one plane.

    Attributes
    ----------
    name : str
        Channel and position, empty for the only plane.
    channel : int
    place : dict
        Index along T, C and Z, by letter.
    flux : Flux
    spots : SpotShift
    scores : Scores or None
        Against the truth, where there is one.
    error : ndarray, shape (Y, X), or None
        Map of the error against it, reduced to at most 320 pixels a side.
    """

    name: str
    channel: int
    place: dict[str, int]
    flux: Flux
    spots: SpotShift
    scores: Scores | None = None
    error: NDArray[np.float32] | None = None

    @property
    def sentences(self) -> tuple[str, ...]:
        """What the checks say."""
        return self.flux.sentence, self.spots.sentence


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Check:
    """Checks of a result.

    Attributes
    ----------
    factors : tuple of float
        Enlargement along (Y, X).
    factors_from : {"recipe", "shapes"}
        Where they were found.
    planes : tuple of PlaneCheck
    count : int
        Planes of the result, of which those are some.
    before : bool
        Whether the truth has the size of the original, so that the result was degraded.
    versions : dict
        Programs that checked, and their versions.
    recipe : mapping or None
        That of the result, where it holds one.
    messages : tuple of str
        What does not fit together.
    """

    factors: Pair
    factors_from: str
    planes: tuple[PlaneCheck, ...]
    count: int
    before: bool
    versions: dict[str, str]
    recipe: Mapping[str, Any] | None
    messages: tuple[str, ...] = ()

    @property
    def sentence(self) -> str:
        """What the checks of all planes come to."""
        if len(self.planes) == 1:
            return " ".join(self.planes[0].sentences)
        regions = sum(len(plane.flux.numbers) for plane in self.planes)
        changed = sum(int(plane.flux.changed.sum()) for plane in self.planes)
        moved = sum(plane.spots.moved for plane in self.planes)
        return (
            f"Sums of intensity changed by more than 1 % beyond the noise in {changed} "
            f"of {regions} regions; spots moved in {moved} of {len(self.planes)} "
            "planes."
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain, JSON-serialisable form, without maps and the recipe."""
        content = {
            field.name: getattr(self, field.name)
            for field in dataclasses.fields(self)
            if field.name not in ("planes", "recipe")
        }
        listed = []
        for plane in self.planes:
            values = dataclasses.asdict(plane)
            del values["error"]
            listed.append(values | {"sentences": plane.sentences})
        content |= {"sentence": self.sentence, "planes": listed}
        plain: dict[str, Any] = to_json_types(content)
        return plain


@dataclass(frozen=True, slots=True, kw_only=True)
class _Facts:
    """What the checks of all planes have in common; `noise` None is estimated."""

    factors: Pair
    noise: NoiseModel | None
    kernels: tuple[KernelSpec, ...]
    before: bool


def check_files(
    result: ImageStack,
    original: ImageStack,
    *,
    truth: ImageStack | None = None,
    labels: ImageStack | None = None,
    recipe: Mapping[str, Any] | None = None,
    nonfinite: str = "refuse",
    most: int = MOST_PLANES,
) -> Check:
    """Check a result against its original, and against a truth where there is one.

    Parameters
    ----------
    result, original : ImageStack
        With the same planes; colours count by their mean.
    truth : ImageStack, optional
        With the same planes, in the pixels of the result or in those of the original.
    labels : ImageStack, optional
        Regions in the pixels of the original; along a missing axis the same for all.
    recipe : mapping, optional
        What the result's file says of its making.
    nonfinite : {"refuse", "fill"}
        What to do with NaN and Inf.
    most : int
        Planes of a channel that are checked, spread evenly.

    Returns
    -------
    Check

    Raises
    ------
    InputError
        Sizes or planes do not fit together, or pixels are not finite.
    """
    made = recipe if _is_recipe(recipe) else None
    _check_planes(result, original, "result")
    if truth is not None:
        _check_planes(truth, original, "truth")
    if labels is not None:
        _check_planes(labels, original, "labels", broadcast=True)
    factors, source = _factors(result, original, made)
    before = truth is not None and plane_size(truth) != plane_size(result)
    facts = _Facts(
        factors=factors, noise=_noise(made), kernels=_kernels(made), before=before
    )
    listed = planes(original.axes, original.data.shape)
    chosen = _chosen(listed, most)
    checks = []
    for plane in chosen:
        place = _place(plane, original.axes)
        given = [
            None if stack is None else plane_at(stack, place, nonfinite)
            for stack in (original, result, truth)
        ]
        regions = None if labels is None else _labels_at(labels, place)
        found = _checks_of_plane(given, regions, facts, plane.channel)
        name = _name(place, original)
        checks.append(
            PlaneCheck(name=name, channel=plane.channel, place=place, **found)
        )
    return Check(
        factors=factors,
        factors_from=source,
        planes=tuple(checks),
        count=len(listed),
        before=before,
        versions=dict(versions()),
        recipe=made,
        messages=_messages(made, original),
    )


def _checks_of_plane(
    given: list[Array | None],
    labels: NDArray[Any] | None,
    facts: _Facts,
    channel: int,
) -> dict[str, Any]:
    """All checks of one plane, by their names in `PlaneCheck`."""
    image, result, truth = given
    assert image is not None
    assert result is not None
    factors, noise = facts.factors, facts.noise
    found: dict[str, Any] = {
        "flux": flux(image, result, factors, labels, noise=noise),
        "spots": spot_shift(image, result, factors, noise=noise),
    }
    if truth is not None:
        kernel = facts.kernels[min(channel, len(facts.kernels) - 1)]
        comparison = compare(
            result, truth, kernel=kernel if facts.before else None, factors=factors
        )
        found |= {"scores": comparison.scores, "error": reduced(comparison.error)}
    return found


def plane_size(stack: ImageStack) -> tuple[int, int]:
    """Size of a plane along (Y, X)."""
    y, x = (stack.data.shape[stack.axes.index(letter)] for letter in "YX")
    return y, x


def plane_at(
    stack: ImageStack, place: Mapping[str, int], nonfinite: str = "fill"
) -> Array:
    """Plane (Y, X) at an index along T, C and Z, the mean of its colours."""
    pixels = _pixels(stack, place)
    grey = pixels[: colour_count(len(pixels))].astype(np.float64).mean(axis=0)
    return np.asarray(check_finite(grey, nonfinite, f"The image {stack.name}"))


def reduced(plane: NDArray[Any], most: int = MAP_PX) -> NDArray[np.float32]:
    """Means of blocks of a plane (Y, X), at most so many a side; NaN counts for 0."""
    step = -(-max(plane.shape) // most)
    rows, columns = (np.arange(0, n, step) for n in plane.shape)
    filled = np.nan_to_num(plane)
    for axis, starts in enumerate((rows, columns)):
        sums = np.add.reduceat(filled, starts, axis=axis)
        counts = np.diff([*starts, plane.shape[axis]])
        filled = sums / np.expand_dims(counts, 1 - axis)
    return np.asarray(filled, dtype=np.float32)


def _pixels(stack: ImageStack, place: Mapping[str, int]) -> NDArray[Any]:
    """Plane (C, Y, X); an axis of size 1 stands for every index."""
    index = tuple(
        slice(None) if letter in "YXS" else min(place.get(letter, 0), size - 1)
        for letter, size in zip(stack.axes, stack.data.shape, strict=True)
    )
    return to_cyx(to_native(stack.data[index]), plane_axes(stack.axes))


def _labels_at(labels: ImageStack, place: Mapping[str, int]) -> NDArray[Any]:
    return np.asarray(_pixels(labels, place)[0])


def _check_planes(
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
                "check compares the same planes, so give images of the same."
            )


def _chosen(listed: tuple[PlaneIndex, ...], most: int) -> list[PlaneIndex]:
    """Some planes of every channel, in their order."""
    channels: dict[int, list[PlaneIndex]] = {}
    for plane in listed:
        channels.setdefault(plane.channel, []).append(plane)
    chosen = [p for own in channels.values() for p in spread_evenly(own, most)]
    return sorted(chosen, key=lambda plane: (plane.channel, plane.number))


def _place(plane: PlaneIndex, axes: str) -> dict[str, int]:
    return {
        letter: at
        for letter, at in zip(axes, plane.index, strict=True)
        if isinstance(at, int)
    }


def _name(place: Mapping[str, int], original: ImageStack) -> str:
    """Channel and position along the axes that have several."""
    sizes = dict(zip(original.axes, original.data.shape, strict=True))
    parts = []
    for letter in (a for a in "CTZ" if sizes.get(a, 1) > 1):
        at = place[letter]
        known = original.channels[at : at + 1] if letter == "C" else ()
        title = known[0].name if known else ""
        parts.append(title or f"{letter} {at}")
    return ", ".join(parts)


def _factors(
    result: ImageStack, original: ImageStack, recipe: Mapping[str, Any] | None
) -> tuple[Pair, str]:
    """Enlargement along (Y, X), and whether the recipe or the shapes tell it."""
    before, after = plane_size(original), plane_size(result)
    if recipe is not None:
        y, x = map(float, recipe["config"]["factor"])
        return (y, x), "recipe"
    if any(m < n for n, m in zip(before, after, strict=True)):
        raise InputError(
            f"The result has {size_text(after)} pixels and the original "
            f"{size_text(before)}; give the result first, the original by --original."
        )
    y, x = map(factor_between, before, after)
    return (y, x), "shapes"


def factor_between(size: int, out_size: int) -> float:
    """The simplest factor that enlarges one size to another, ceil(f n)."""
    for denominator in range(1, FINEST + 1):
        factor = float(Fraction(out_size * denominator // size, denominator))
        if factor >= 1 and output_size(size, factor) == out_size:
            return factor
    return out_size / size


def _is_recipe(recipe: Mapping[str, Any] | None) -> bool:
    """Whether it tells how one image was enlarged."""
    if recipe is None or not isinstance(recipe.get("config"), Mapping):
        return False
    factor = recipe["config"].get("factor")
    return isinstance(factor, list | tuple) and len(factor) == 2


def _noise(recipe: Mapping[str, Any] | None) -> NoiseModel | None:
    """Noise of a camera that the recipe tells; other noise is estimated."""
    noise = None if recipe is None else recipe["config"].get("noise")
    if not isinstance(noise, str) or not is_camera(noise):
        return None
    return NoiseModel.of_camera(parsed_camera(noise))


def _kernels(recipe: Mapping[str, Any] | None) -> tuple[KernelSpec, ...]:
    """Blur of each channel as assumed, bicubic where nothing is known of it."""
    report = (recipe or {}).get("report") or {}
    listed = [entry["kernel"] for entry in report.get("kernels", ())]
    specs = tuple(KernelSpec.from_dict(kernel) for kernel in listed)
    return specs or (BICUBIC,)


def _messages(
    recipe: Mapping[str, Any] | None, original: ImageStack
) -> tuple[str, ...]:
    source = (recipe or {}).get("input") or {}
    told, found = source.get("checksum"), original.checksum
    if not told or not found or told == found:
        return ()
    return (
        f"By its recipe the result was made from {source.get('name') or 'an image'} "
        f"with checksum {told}, but that of the original is {found}; perhaps it is "
        "another file, or was changed since.",
    )
