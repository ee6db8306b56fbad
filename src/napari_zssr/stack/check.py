"""Checks of a finished result against its original, plane by plane."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_zssr.checks import size_text
from napari_zssr.config import Config, change
from napari_zssr.errors import InputError
from napari_zssr.imaging.comparison import Comparison, Scores, compare
from napari_zssr.imaging.intensity import IntensityMap
from napari_zssr.imaging.noise import NoiseModel, estimate_noise
from napari_zssr.imaging.quantities import Flux, SpotShift, flux, spot_shift
from napari_zssr.imaging.resample import Array, Pair, output_size, spread_evenly
from napari_zssr.kernelspec import KernelSpec
from napari_zssr.progress import Progress, Steps, drain, map_events
from napari_zssr.stack.agreement import (
    Agreement,
    agreement_steps,
    of_interpolation,
    reduced,
)
from napari_zssr.stack.check_planes import (
    ComparedImages,
    grey,
    place_of,
    plane_name,
    plane_size,
)
from napari_zssr.stack.check_recipe import (
    assumed_blur,
    camera_noise,
    delivered_shares,
    is_recipe,
    kernels_of,
    other_original,
    settings_and_networks,
)
from napari_zssr.stack.detail import (
    ENLARGED_ALONG_Z,
    PENDING,
    UNTOLD,
    Detail,
    Making,
    Scale,
    detail_steps,
    in_doubt,
)
from napari_zssr.stack.image import (
    CONTENT,
    CheckedPlanes,
    ImageStack,
    PlaneIndex,
    planes,
)
from napari_zssr.stack.original_slices import in_original_slices
from napari_zssr.stack.plane import (
    ChannelSetup,
    colours_of,
    intensity_maps,
    plane_noise,
    without_artifacts,
)
from napari_zssr.stack.recipe import axial_reports
from napari_zssr.stack.report import to_json_types, versions
from napari_zssr.units import counted
from napari_zssr.zssr.checkpoint import Checkpoint

# Planes of a channel that are checked, spread evenly.
MOST_PLANES = 8
# Largest denominator of a factor that is found from shapes.
FINEST = 8
# From which share of the check of a plane to which its stages last, where its halves
# are sent through networks, and all steps.
STAGES = {
    "intensities": (0.0, 0.02),
    "positions": (0.02, 0.04),
    "residual": (0.04, 0.1),
    "resolution": (0.1, 1.0),
}
TICKS = 1000
HALVES = {
    "before": "halves of the original agree down to",
    "after": "the result is hardly finer (no proof of a gain) than",
    "with_truth": "result and truth agree down to",
}


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
    agreement : Agreement
        Of the result with the original, within the noise.
    detail : Detail
        Resolution and spectra.
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
    agreement: Agreement
    detail: Detail
    scores: Scores | None = None
    error: NDArray[np.float32] | None = None

    @property
    def sentences(self) -> tuple[str, ...]:
        """What the checks say."""
        parts = (self.flux, self.spots, self.agreement, self.detail)
        confirmed = self.detail.confirmed
        more = confirmed.sentence if confirmed else ""
        return (*(part.sentence for part in parts), *([more] if more else []))


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
    count, channels : int
        Planes of the result, of which those are some, and its channels.
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
    channels: int
    before: bool
    versions: dict[str, str]
    recipe: Mapping[str, Any] | None
    messages: tuple[str, ...] = ()

    @property
    def changed_objects(self) -> int:
        """Objects of all planes whose intensity changed."""
        return sum(int(plane.flux.changed.sum()) for plane in self.planes)

    @property
    def judged_objects(self) -> int:
        """Objects of all planes of which it is known whether they changed."""
        return sum(plane.flux.judged for plane in self.planes)

    @property
    def sentence(self) -> str:
        """What the checks of all planes come to."""
        if len(self.planes) == 1:
            return " ".join(self.planes[0].sentences)
        moved = sum(plane.spots.moved for plane in self.planes)
        objects = counted(self.judged_objects, "object")
        return (
            "Summed intensities changed by more than 1 % beyond the noise in "
            f"{self.changed_objects} of {objects}; spots moved in {moved} of "
            f"{len(self.planes)} planes. {self._agreements} {self._details}"
        )

    @property
    def _agreements(self) -> str:
        known = [plane.agreement for plane in self.planes if plane.agreement.unit]
        disagreeing = sum(agreement.disagrees for agreement in known)
        agreeing = len(known) - disagreeing
        return (
            f"{agreeing} of {len(known)} planes agree with the original to within its "
            "noise."
        )

    @property
    def _details(self) -> str:
        """Sentence on the detail in the median."""
        unit = self.planes[0].detail.unit_text
        found = []
        for name, phrase in HALVES.items():
            details = [getattr(plane.detail, name) for plane in self.planes]
            known = [d.period for d in details if d and d.outcome != "nothing"]
            if known:
                number = f" ({counted(len(known), 'plane')})" * (
                    len(known) < len(details)
                )
                limits = sum(d.outcome == "pixel limit" for d in details if d)
                limit = " (the limit of the pixels)" * (2 * limits > len(known))
                found.append(f"{phrase} {np.median(known):.3g} {unit}{limit}{number}")
        if not found:
            return "The resolution could not be measured in any plane."
        return f"Median resolution: {', '.join(found)}."

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
            del values["error"], values["agreement"]["map"]
            del values["agreement"]["flags"]
            values["agreement"]["disagrees"] = plane.agreement.disagrees
            listed.append(values | {"sentences": plane.sentences})
        content |= {"sentence": self.sentence, "planes": listed}
        plain: dict[str, Any] = to_json_types(content)
        return plain


@dataclass(frozen=True, slots=True, kw_only=True)
class _Facts:
    """What the checks of all planes have in common.

    Attributes
    ----------
    noise : of a camera, in counts; None is estimated
    kernels, maps, checkpoints : by channel
    shares : of what networks change that was delivered, by the number of the plane
    before : as of `Check`
    along_z : what was done along Z, by channel: ``learned`` or ``cubic``; empty where
        nothing was
    """

    scale: Scale
    config: Config
    noise: NoiseModel | None
    kernels: tuple[KernelSpec, ...]
    maps: Mapping[int, IntensityMap]
    shares: Mapping[int, float]
    checkpoints: tuple[Checkpoint | None, ...]
    before: bool
    along_z: Mapping[int, str]

    def setup(self, channel: int) -> ChannelSetup:
        """Settings of a channel, with its blur."""
        kernel = self.kernels[min(channel, len(self.kernels) - 1)]
        config = change(self.config, kernel=kernel)
        return ChannelSetup(number=channel, config=config, mapping=self.maps[channel])

    def is_interpolated(self, plane: PlaneIndex) -> bool:
        """Whether the recipe tells that a plane was only interpolated."""
        in_plane = self.shares.get(plane.number, 0.0 if self.along_z else 1.0)
        return in_plane == 0 and self.along_z.get(plane.channel) != "learned"

    def making(self, plane: PlaneIndex) -> Making | str:
        """How a plane was made; a sentence where the recipe does not tell."""
        if self.along_z:
            return ENLARGED_ALONG_Z
        if plane.number not in self.shares:
            return UNTOLD
        known = self.checkpoints
        return Making(
            config=self.setup(plane.channel).config,
            share=self.shares[plane.number],
            checkpoint=known[plane.channel] if known else None,
        )


def check_files(
    result: ImageStack,
    original: ImageStack,
    *,
    truth: ImageStack | None = None,
    labels: ImageStack | None = None,
    recipe: Mapping[str, Any] | None = None,
    networks: str | Path | None = None,
    nonfinite: str = "refuse",
    most: int = MOST_PLANES,
) -> Check:
    """Check a result against its original, and against a truth where there is one.

    Parameters, result and errors are those of `check_steps`.
    """
    steps = check_steps(
        in_original_slices(result, original, recipe),
        original,
        truth=truth,
        labels=labels,
        recipe=recipe,
        networks=networks,
        nonfinite=nonfinite,
        most=most,
    )
    return drain(steps)


def check_steps(
    result: ImageStack,
    original: ImageStack,
    *,
    truth: ImageStack | None = None,
    labels: ImageStack | None = None,
    recipe: Mapping[str, Any] | None = None,
    networks: str | Path | None = None,
    nonfinite: str = "refuse",
    most: int = MOST_PLANES,
    first: int = 0,
    on_found: Callable[[Check], object] = lambda _: None,
) -> Steps[Check]:
    """Check a result in steps; what takes longest of a plane, its detail, comes last.

    Parameters
    ----------
    result, original : ImageStack
        With the same planes, as `in_original_slices` gives them of results that were
        enlarged along Z; colours count by their mean.
    truth : ImageStack, optional
        With the same planes, in the pixels of the result or in those of the original.
    labels : ImageStack, optional
        Regions in the pixels of the original; along a missing axis the same for all.
    recipe : mapping, optional
        What the result's file says of its making.
    networks : str or Path, optional
        File of the networks that made the result, saved with it. Halves of the
        original are sent through them apart, which tells the resolution of the result.
    nonfinite : {"refuse", "fill"}
        What to do with NaN and Inf.
    most : int
        Planes of a channel that are checked, spread evenly.
    first : int
        Channel that is checked first.
    on_found : callable
        Called with what is known so far, before the step after it.

    Returns
    -------
    Check

    Raises
    ------
    InputError
        Sizes or planes do not fit together, or pixels are not finite; the networks are
        those of other images or settings.
    """
    made = recipe if is_recipe(recipe) else None
    images = ComparedImages(
        result=result,
        original=original,
        truth=truth,
        labels=labels,
        nonfinite=nonfinite,
    )
    _refuse_content(result, recipe)
    images.refuse_other_planes()
    factors, source = _factors(result, original, made)
    listed = planes(original.axes, original.data.shape)
    facts = _facts(images, made, networks, Scale.of(original, factors), listed)
    done = Check(
        factors=factors,
        factors_from=source,
        planes=(),
        count=len(listed),
        channels=len({plane.channel for plane in listed}),
        before=images.before,
        versions=dict(versions()),
        recipe=made,
        messages=(*other_original(made, original), *assumed_blur(made)),
    )
    chosen = _chosen(listed, most, first)
    for number, plane in enumerate(chosen):
        keep = partial(_with_plane, done, on_found)
        renamed = partial(_of_several, number=number, count=len(chosen))
        steps = _checks_of_plane(images, facts, plane, keep)
        done = keep((yield from map_events(steps, Progress, renamed)))
    return done


def _refuse_content(result: ImageStack, recipe: Mapping[str, Any] | None) -> None:
    """Refuse a map that was saved with a result."""
    if recipe is not None and CONTENT in recipe:
        raise InputError(
            f"{result.name or 'The image'} contains the {recipe[CONTENT]} of a "
            "result, not the result itself; give the result."
        )


def _facts(
    images: ComparedImages,
    recipe: Mapping[str, Any] | None,
    networks: str | Path | None,
    scale: Scale,
    listed: tuple[PlaneIndex, ...],
) -> _Facts:
    """What the recipe, the networks and all planes of the original tell."""
    original = images.original
    config, checkpoints = settings_and_networks(networks, recipe, original)
    pixels = CheckedPlanes(original.data, images.nonfinite)
    return _Facts(
        scale=scale,
        config=config,
        noise=camera_noise(recipe),
        kernels=kernels_of(recipe),
        maps=intensity_maps(pixels, original.axes, listed),
        shares=delivered_shares(recipe),
        checkpoints=checkpoints,
        before=images.before,
        along_z={
            report["channel"]: report["returned"]
            for report in axial_reports(recipe or {})
        },
    )


def _with_plane(
    done: Check, on_found: Callable[[Check], object], checked: PlaneCheck
) -> Check:
    """Add a plane to what is known so far, and hand it on."""
    known = replace(done, planes=(*done.planes, checked))
    on_found(known)
    return known


def _of_several(event: Progress, number: int, count: int) -> Progress:
    """An event of the check of one of several planes; its stages take unlike long."""
    first, last = STAGES[event.stage]
    share = first + (last - first) * event.step / max(1, event.total)
    step = round(TICKS * (number + share) / count)
    return replace(event, step=step, total=TICKS)


def _checks_of_plane(
    images: ComparedImages,
    facts: _Facts,
    plane: PlaneIndex,
    keep: Callable[[PlaneCheck], object],
) -> Steps[PlaneCheck]:
    """All checks of one plane; `keep` takes what is known before the detail is."""
    place = place_of(plane, images.original.axes)
    pixels, made, target = images.pixels(place)
    regions = images.regions(place)
    factors, noise = facts.scale.factors, facts.noise
    setup = facts.setup(plane.channel)
    image, result = grey(pixels), grey(made)
    yield Progress(stage="intensities", step=0, total=1)
    summed = flux(image, result, factors, regions, noise=noise)
    yield Progress(stage="positions", step=0, total=1)
    spots = spot_shift(image, result, factors, noise=noise)
    compared = None if target is None else _compared(result, grey(target), setup, facts)
    colours, _ = without_artifacts(
        colours_of(setup.mapping.normalise(pixels)), setup.config
    )
    fine = setup.mapping.normalise(colours_of(made))
    own = plane_noise(colours, pixels, setup)
    agreement = yield from agreement_steps(
        colours, fine, factors, setup.config.kernel, own
    )
    if facts.is_interpolated(plane):
        agreement = of_interpolation(agreement)
    known = PlaneCheck(
        name=plane_name(place, images.original),
        channel=plane.channel,
        place=place,
        flux=summed,
        spots=spots,
        agreement=agreement,
        detail=Detail(unit=facts.scale.unit, sentence=PENDING),
        scores=None if compared is None else compared[0].scores,
        error=None if compared is None else reduced(compared[0].error),
    )
    keep(known)
    grey_noise = _grey_noise(colours, own, setup.config)
    making = facts.making(plane)
    detail = yield from detail_steps(
        colours, fine, grey_noise, facts.scale, making, compared
    )
    if {"noise underrated", "noise overrated"} & set(agreement.reasons):
        detail = in_doubt(detail)
    return replace(known, detail=detail)


def _compared(
    result: Array, truth: Array, setup: ChannelSetup, facts: _Facts
) -> tuple[Comparison, Array, Pair]:
    """Comparison with the truth, the truth, and the size of its pixels."""
    kernel = setup.config.kernel if facts.before else None
    comparison = compare(result, truth, kernel=kernel, factors=facts.scale.factors)
    return comparison, truth, facts.scale.pixel if facts.before else facts.scale.fine


def _grey_noise(
    colours: NDArray[np.float32], noise: NoiseModel, config: Config
) -> NoiseModel:
    """Noise of the mean of the colours.

    That of an image is also given where none was to be learned against, and of colours
    it depends on how far these share theirs.
    """
    if len(colours) == 1 and config.noise != "off":
        return noise
    return estimate_noise(colours.mean(axis=0))


def _chosen(listed: tuple[PlaneIndex, ...], most: int, first: int) -> list[PlaneIndex]:
    """Some planes of every channel, in their order but for the first channel."""
    channels: dict[int, list[PlaneIndex]] = {}
    for plane in listed:
        channels.setdefault(plane.channel, []).append(plane)
    chosen = [p for own in channels.values() for p in spread_evenly(own, most)]
    return sorted(chosen, key=lambda p: (p.channel != first, p.channel, p.number))


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
