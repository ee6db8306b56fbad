"""Detail of a plane and of its result: resolution, ring correlation and spectra."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_zssr.config import Config, change
from napari_zssr.errors import InputError
from napari_zssr.imaging.confirmation import DetailConfirmation, confirmed_detail
from napari_zssr.imaging.noise import NoiseModel
from napari_zssr.imaging.resample import (
    Array,
    Pair,
    Window,
    imresize,
    output_window,
    spread_starts,
    whole_pixel_step,
)
from napari_zssr.imaging.resolution import (
    NYQUIST,
    RING_CORRELATION,
    SMALLEST_PX,
    WITH_TRUTH,
    Outcome,
    Resolution,
    decorrelation_resolution,
    radial_spectrum,
    ring_correlation,
    ring_resolution,
    thinned_halves,
)
from napari_zssr.progress import Progress, Steps, map_events
from napari_zssr.stack.channels import channel_starts
from napari_zssr.stack.image import ImageStack
from napari_zssr.zssr.checkpoint import Checkpoint
from napari_zssr.zssr.kinds import KINDS

if TYPE_CHECKING:
    from napari_zssr.imaging.comparison import Comparison

Colours = NDArray[np.float32]
# Of colours (C, Y, X), and the part of the plane that is wanted, or all of it.
Enlarge = Callable[[Colours, Window | None], Steps[Colours]]

# Name of the stage, and its steps.
STAGE, TICKS = "resolution", 1000
# Side of the part with the most contrast that is measured, input pixels, and how many
# parts are tried along each side.
PART_PX, CANDIDATES = 512, 4
SEED = 0
# Two cut-offs that differ by less are called the same.
ALIKE = 0.1
# Difference between a result and what the networks of a file make of the same image
# from which these are others: share of what they change, and of the range.
OTHERS, LEAST_OTHERS = 0.2, 0.004
# Side of the part on which a result is compared with what the networks of a file make
# of the image, input pixels.
COMPARED_PX = 128
# Beside the borders of a part networks see other surroundings, input pixels.
BORDER_PX = 16
UNIT_TEXTS = {"um": "µm", "px": "pixels"}
CURVES = ORIGINAL, RESULT, TRUTH = "original", "result", "result and truth"
WITHOUT_NETWORKS = (
    "The resolution of the result is not measured, because that needs the networks "
    "that made it (--networks)."
)
UNSAVED = (
    "The resolution of the result is not measured, because the filter of 'instant' "
    "is not saved."
)
INTERPOLATED = "The result was interpolated, which adds no detail."
PENDING = "The resolution is not measured yet."
ENLARGED_ALONG_Z = (
    "The resolution of the result is not measured, because it was enlarged along Z."
)
UNTOLD = (
    "The resolution of the result is not measured, because the file does not say "
    "how this plane was made."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Finest:
    """The finest detail that was found.

    Attributes
    ----------
    period : float
        In the unit of `Detail`; the limit of the pixels where that is the outcome, NaN
        where nothing was found.
    outcome : {"found", "pixel limit", "nothing"}
    method : {"Fourier ring correlation", "decorrelation"}
    """

    period: float
    outcome: Outcome
    method: str


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Curve:
    """Values by frequency, cycles per unit of `Detail`; both (rings,)."""

    frequency: Array
    values: Array


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Detail:
    """Detail of a plane before and after.

    Attributes
    ----------
    unit : {"um", "px"}
        Of periods; px are pixels of the original, of their longer side.
    before : Finest or None
        Of the original; None where it cannot be measured.
    after : Finest or None
        What results of its two halves agree on. The result hardly shows finer detail
        that is true; networks that repeat themselves agree on more than is true.
    with_truth : Finest or None
        Where the correlation of the result with a truth falls below 1/2.
    sentence : str
    correlations : dict
        Ring correlations by name: of the halves of the original, of what the networks
        make of each half, and of result and truth.
    spectra : dict
        Power of original and result per area of an input pixel, squared shares of the
        range.
    part : tuple of int or None
        Size (Y, X) of the part that was measured, input pixels; None for all.
    interpolated : bool
        Whether the result is an interpolation, whose detail is that of the original.
    confirmed : DetailConfirmation or None
        How much of the detail that networks make of each half the other half contains;
        None where there are no such results.
    missing : str
        Sentence on why there are none; empty if there are.
    """

    unit: str
    before: Finest | None = None
    after: Finest | None = None
    with_truth: Finest | None = None
    sentence: str = ""
    correlations: dict[str, Curve] = field(default_factory=dict)
    spectra: dict[str, Curve] = field(default_factory=dict)
    part: tuple[int, int] | None = None
    interpolated: bool = False
    confirmed: DetailConfirmation | None = None
    missing: str = ""

    @property
    def unit_text(self) -> str:
        """The unit in sentences."""
        return UNIT_TEXTS[self.unit]


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """Size of an input pixel along (Y, X), the unit it is in, and the factors."""

    pixel: Pair
    unit: str
    factors: Pair

    @classmethod
    def of(cls, stack: ImageStack, factors: Pair) -> Scale:
        """That of an image; without sizes pixels are the unit, and square."""
        y, x = (stack.size_um(letter) for letter in "YX")
        if y is None or x is None:
            return cls(pixel=(1.0, 1.0), unit="px", factors=factors)
        return cls(pixel=(y, x), unit="um", factors=factors)

    @property
    def fine(self) -> Pair:
        """Size of a pixel of the result."""
        y, x = (p / f for p, f in zip(self.pixel, self.factors, strict=True))
        return y, x

    def text(self, finest: Finest) -> str:
        """Detail in words."""
        if finest.outcome == "nothing":
            return "no detail"
        period = f"{finest.period:.3g} {UNIT_TEXTS[self.unit]}"
        if finest.outcome == "pixel limit":
            return f"detail down to the limit of the pixels ({period})"
        return f"detail down to {period}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Making:
    """How a plane of a result was made, so that it can be repeated.

    Attributes
    ----------
    config : settings with the blur of the channel; they train nothing
    share : of what networks change that was delivered; 0 is plain interpolation
    checkpoint : the networks, where there are any
    """

    config: Config
    share: float
    checkpoint: Checkpoint | None = None

    def enlarger(self, noise: NoiseModel) -> Enlarge | None:
        """The very function that made the plane; None where networks are missing.

        Back-projection is as strong as it was under the noise of the image, though
        that of halves is stronger: else another function would be measured.
        """
        if self.share == 0:
            return lambda colours, window: _interpolated(
                colours, self.config.factors, window
            )
        if self.checkpoint is None:
            return None
        return lambda colours, window: _through_networks(colours, window, self, noise)


def _interpolated(
    colours: Colours, factors: Pair, window: Window | None
) -> Steps[Colours]:
    yield Progress(stage="predict", step=0, total=1)
    fine = imresize(colours, factors)
    return fine if window is None else fine[:, *output_window(window, factors)]


def _through_networks(
    colours: Colours, window: Window | None, making: Making, noise: NoiseModel
) -> Steps[Colours]:
    """Apply networks as they are to colours (C, Y, X), normalised, or to a part.

    The level of the noise is that of all of them.
    """
    import torch

    from napari_zssr.zssr.device import resolve_device
    from napari_zssr.zssr.plane_trainer import TrainingData, train_network
    from napari_zssr.zssr.predict import enlarged, predict_spec, with_mean_of
    from napari_zssr.zssr.training_plan import Execution, Facts, resolve

    execution = Execution(device=resolve_device("auto"), tile_px=PART_PX)
    plane = torch.from_numpy(np.ascontiguousarray(colours, dtype=np.float32))
    plane = plane.to(execution.device)
    level = noise.level(plane)
    facts = Facts(samples=len(plane), noise=noise, level=level, start=making.checkpoint)
    plan = resolve(making.config, facts)
    data = TrainingData.of_plane(plane)
    network, _ = yield from train_network(data, plan, execution)
    spec = predict_spec(plan, plan.factors, execution)
    spec = replace(spec, share=making.share)
    canvas = yield from enlarged(network, plane, spec, window)
    with_mean = with_mean_of(canvas, plane if window is None else plane[:, *window])
    return np.asarray(with_mean[:, :, :].numpy())


def checkpoints_of(
    file: str | Path, config: Config, original: ImageStack
) -> tuple[Config, tuple[Checkpoint | None, ...]]:
    """Settings that apply saved networks as they are, and those of each channel.

    Raises
    ------
    InputError
        The file holds no networks, or those of other images or settings.
    """
    if not KINDS[config.network].is_trained:
        raise InputError(
            "The result was made by the filter of 'instant', which is not saved; "
            "leave out --networks."
        )
    applied = change(config, start=str(file), steps=0)
    starts = channel_starts(applied, original.axes, original.data.shape)
    found = tuple(s if isinstance(s, Checkpoint) else None for s in starts)
    if any(start is not None for start in starts) and not any(found):
        raise InputError(
            f"{file} contains a pretrained network, not the networks that made the "
            "result; give what upscale --save-networks wrote with it."
        )
    return applied, found


def detail_steps(
    colours: Colours,
    result: Colours,
    noise: NoiseModel,
    scale: Scale,
    making: Making | str,
    comparison: tuple[Comparison, Array, Pair] | None = None,
) -> Steps[Detail]:
    """Measure the detail of a plane and of its result on the part with most contrast.

    Parameters
    ----------
    colours, result : ndarray, shape (C, Y, X)
        Normalised intensities, about 0 to 1.
    noise : NoiseModel
        Of the mean of the colours.
    scale : Scale
    making : Making or str
        How the result was made, or a sentence on why that is not known.
    comparison : tuple, optional
        The result compared with a truth, the truth, and the size of its pixels.
    """
    yield Progress(stage=STAGE, step=0, total=1)
    window = busiest_part(colours, scale.factors)
    part = colours[:, *window]
    fine = result[:, *output_window(window, scale.factors)]
    detail = yield from _detail_of_part(part, fine, noise, scale, making, comparison)
    if part.shape == colours.shape:
        return detail
    _, rows, columns = part.shape
    where = f"Measured on the {rows} × {columns} pixels with the most contrast."
    sentence = f"{detail.sentence} {where}"
    return replace(detail, part=(rows, columns), sentence=sentence)


def _detail_of_part(
    part: Colours,
    fine: Colours,
    noise: NoiseModel,
    scale: Scale,
    making: Making | str,
    comparison: tuple[Comparison, Array, Pair] | None,
) -> Steps[Detail]:
    """`detail_steps` of all of a part, the same of its result."""
    detail = Detail(unit=scale.unit, spectra=_spectra(part, fine, scale))
    if comparison is not None:
        detail = _with_truth(detail, *comparison)
    if min(part.shape[1:]) < SMALLEST_PX:
        few = f"{SMALLEST_PX} × {SMALLEST_PX} pixels"
        return replace(
            detail,
            sentence=(f"Resolution is measured only on planes of at least {few}."),
        )
    grey = part.mean(axis=0, dtype=np.float64)
    if noise.is_clean or noise.jpeg:
        return _without_halves(detail, grey, noise, scale)
    first, second = thinned_halves(grey, noise, SEED)
    before = _finest(ring_resolution(first, second, scale.pixel), scale.pixel)
    detail = replace(
        detail,
        before=before,
        correlations=detail.correlations
        | {ORIGINAL: _correlation(first, second, scale.pixel)},
    )
    enlarge = None if isinstance(making, str) else making.enlarger(noise)
    if isinstance(making, str) or enlarge is None:
        missing = _missing(making)
        sentence = f"{_halves(before, scale)}. {missing}"
        return replace(detail, sentence=sentence, missing=missing)
    difference = (first - second) / 2
    detail, results = yield from _with_halves(
        detail, part, fine, difference, enlarge, scale
    )
    if making.share == 0:
        sentence = f"{_halves(before, scale)}. {INTERPOLATED}"
        return replace(detail, sentence=sentence, interpolated=True)
    confirmed = confirmed_detail(
        results, (first, second), noise, making.config.kernel, scale.factors
    )
    return replace(detail, confirmed=confirmed)


def _missing(making: Making | str) -> str:
    """Why there are no results of the halves."""
    if isinstance(making, str):
        return making
    return WITHOUT_NETWORKS if KINDS[making.config.network].is_trained else UNSAVED


def in_doubt(detail: Detail) -> Detail:
    """Detail whose halves were made under a noise that the residual doubts.

    Of noise that is in both halves, one confirms what was made of the other.
    """
    if detail.before is None or detail.before.method != RING_CORRELATION:
        return detail
    doubt = "This is uncertain, because the residual disagrees with the assumed noise."
    return replace(detail, sentence=f"{detail.sentence} {doubt}", confirmed=None)


def _with_halves(
    detail: Detail,
    part: Colours,
    result: Colours,
    difference: Array,
    enlarge: Enlarge,
    scale: Scale,
) -> Steps[tuple[Detail, tuple[Array, Array]]]:
    """Send each half by itself through what made the result, and correlate both.

    Also the results of the halves.
    """
    window = busiest_part(part, scale.factors, COMPARED_PX)
    # The last is what the file's networks make of the image itself.
    given: tuple[tuple[NDArray[Any], Window | None], ...] = (
        (part + difference, None),
        (part - difference, None),
        (part, window),
    )
    made: list[Colours] = []
    for number, (colours, wanted) in enumerate(given):
        renamed = partial(_of_several, number=number, count=len(given))
        steps = enlarge(colours.astype(np.float32), wanted)
        made.append((yield from map_events(steps, Progress, renamed)))
    again = made.pop()
    first, second = (half.mean(axis=0, dtype=np.float64) for half in made)
    after = _finest(ring_resolution(first, second, scale.fine), scale.fine)
    assert detail.before is not None
    sentence = _change(detail.before, after, scale)
    compared = result[:, *output_window(window, scale.factors)]
    plain = imresize(part[:, *window], scale.factors)
    differs, changed = (
        _rms(compared - other, scale.factors) for other in (again, plain)
    )
    if differs > max(OTHERS * changed, LEAST_OTHERS):
        sentence += (
            " The given networks produce a different result (by "
            f"{100 * differs:.2g} % of the intensity range), so this figure may "
            "not hold for the given result."
        )
    found = replace(
        detail,
        after=after,
        sentence=sentence,
        correlations=detail.correlations
        | {RESULT: _correlation(first, second, scale.fine)},
    )
    return found, (first, second)


def _of_several(event: Progress, number: int, count: int) -> Progress:
    """An event of one of several planes that are enlarged."""
    share = (number + event.step / max(1, event.total)) / count
    return Progress(stage=STAGE, step=round(TICKS * share), total=TICKS)


def _change(before: Finest, after: Finest, scale: Scale) -> str:
    """Halves before and after, in words."""
    text = f"{_halves(before, scale)}; after processing they agree on "
    text += scale.text(after)
    if after.outcome == "pixel limit":
        return f"{text}, so the resolution of the result remains unknown."
    if after.outcome == "nothing":
        return f"{text}."
    alike = abs(math.log(after.period / before.period)) < ALIKE
    if before.outcome == "found" and alike:
        return f"{text}, the same within 10 %."
    return (
        f"{text}, so the result is hardly finer than that; this does not prove a gain, "
        "because networks may invent the same detail twice."
    )


def _halves(before: Finest, scale: Scale) -> str:
    """Detail of the halves of the original, in words."""
    doubt = ", unless there is more noise than assumed"
    return (
        "Two halves of the original agree on "
        f"{scale.text(before)}{doubt * (before.outcome == 'pixel limit')}"
    )


def _without_halves(
    detail: Detail, grey: Array, noise: NoiseModel, scale: Scale
) -> Detail:
    """Of images as they were taken decorrelation tells the resolution as well."""
    before = _finest(decorrelation_resolution(grey, scale.pixel), scale.pixel)
    why = "it was compressed as JPEG" if noise.jpeg else "no noise was found in it"
    if before.outcome == "nothing":
        found = "decorrelation analysis found no limit of resolution"
    else:
        found = f"{scale.text(before)}, by decorrelation analysis"
    sentence = (
        f"Original: {found}. The resolution of the result is not measured, because "
        f"{why}."
    )
    return replace(detail, before=before, sentence=sentence)


def _with_truth(
    detail: Detail, comparison: Comparison, truth: Array, pixel: Pair
) -> Detail:
    """Correlation of the fitted result with the truth, on the grid of the truth."""
    target = truth[comparison.inside]
    if min(target.shape) < SMALLEST_PX:
        return detail
    fitted = comparison.fitted
    found = ring_resolution(fitted, target, pixel, WITH_TRUTH)
    return replace(
        detail,
        with_truth=_finest(found, pixel),
        correlations={TRUTH: _correlation(fitted, target, pixel)},
    )


def _finest(found: Resolution, pixel: Pair) -> Finest:
    limit = max(pixel) / NYQUIST
    period = {"found": found.period_um, "pixel limit": limit}.get(found.outcome)
    return Finest(
        period=math.nan if period is None else period,
        outcome=found.outcome,
        method=found.method,
    )


def _correlation(first: Array, second: Array, pixel: Pair) -> Curve:
    rings = ring_correlation(first, second, pixel)
    return Curve(frequency=rings.frequency / max(pixel), values=rings.correlation)


def _spectra(part: Colours, fine: Colours, scale: Scale) -> dict[str, Curve]:
    if min(part.shape[1:]) < SMALLEST_PX:
        return {}
    planes = {ORIGINAL: (part, scale.pixel), RESULT: (fine, scale.fine)}
    curves = {}
    for name, (colours, pixel) in planes.items():
        found = radial_spectrum(colours.mean(axis=0, dtype=np.float64), pixel)
        # Power per area of an input pixel, so that equal detail has equal power.
        area = math.prod(pixel) / math.prod(scale.pixel)
        frequency = found.frequency / max(pixel)
        curves[name] = Curve(frequency=frequency, values=found.power * area)
    return curves


def _rms(difference: Colours, factors: Pair) -> float:
    """Deviation of a difference (C, Y, X) inside its border."""
    inside = tuple(slice(round(BORDER_PX * f), -round(BORDER_PX * f)) for f in factors)
    kept = difference[:, *inside]
    return float((kept if kept.size else difference).std())


def busiest_part(colours: Colours, factors: Pair, side_px: int = PART_PX) -> Window:
    """Part (Y, X) of at most so many pixels a side whose contrast is highest.

    It begins on a whole output pixel.
    """
    size = colours.shape[1:]
    side = [min(side_px, n) for n in size]
    rows, columns = (
        _starts(n, s, f) for n, s, f in zip(size, side, factors, strict=True)
    )
    parts = [
        (slice(y, y + side[0]), slice(x, x + side[1])) for y in rows for x in columns
    ]
    return max(parts, key=lambda part: float(colours[:, *part].std()))


def _starts(size: int, side: int, factor: float) -> list[int]:
    step = whole_pixel_step(factor)
    if step is None:
        return [0]
    starts = spread_starts(size, side, CANDIDATES if size > side else 1)
    return sorted({start // step * step for start in starts})
