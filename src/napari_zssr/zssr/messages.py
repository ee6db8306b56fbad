"""What is said of a plane. No torch in here."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING, Any

from napari_zssr.checks import LEARNED
from napari_zssr.units import counted, signed

if TYPE_CHECKING:
    from napari_zssr.imaging.quality import Quality
    from napari_zssr.zssr.judge import Gain
    from napari_zssr.zssr.training_plan import TrainingPlan

CONSTANT = "The plane has the same value everywhere and was left as it is."
NOTHING_TO_RESTORE = (
    "No noise was found and no blur was given, so the plane was returned unchanged."
)
WIDE_BLUR = (
    " The blur is too wide to be removed at this pixel size; shrink the image two "
    "to four times and enlarge it instead."
)
PRETRAINED = "network pretrained on synthetic images"
# Changes of a result (fraction of the range, shares) from which they are worth a word.
LEAST_CHANGE, LEAST_SHARPNESS, LEAST_GRAIN = 0.003, 0.03, 0.05
# Misfit in standard deviations of the noise up to which a result agrees with its image.
AGREES = 1.3
# Gain that is rarely seen, dB.
VISIBLE_DB = 0.5
# Overshoot beside edges from which it is mentioned, fraction of their height.
OVERSHOOT = 0.1
# Noise (fraction of the range) that is sure not to be fine texture, and multiple of
# what was assumed from which it is said.
SURE_NOISE, UNDERRATED = 0.01, 2.0
# Logarithm of the assumed blur's transfer over that which the image's edges show (at
# the highest frequency, in the direction where it is largest), below which the assumed
# blur is named as the reason: 6 % of right blurs have less, and 77 % of those half too
# wide.
TOO_WIDE = -0.3
FAINT = (
    " Faint texture may have been removed with the noise, and noise drawn as faint "
    "lines; the check shows how much of the detail is confirmed."
)
FROM_SAVED = " Training started from saved networks."
ALONE = "Training uses this image only."


@dataclass(frozen=True, slots=True)
class Baseline:
    """What a result is compared with, in words.

    Attributes
    ----------
    name : of the image that is returned where nothing is gained
    again : what makes the result an image like the input, with "again"
    test : what is done to the image for the test on held-out regions
    rival : what the result of that test is compared with
    """

    name: str
    again: str
    test: str
    rival: str


ENLARGED = Baseline(
    "bicubic interpolation", "shrunk", "shrunk and re-enlarged", "bicubic interpolation"
)
RESTORED = Baseline(
    "the input", "degraded", "degraded and restored", "the degraded image"
)
# Behind a figure with its error: `Gain.error_decibel`.
ERROR_TOLD = " The figure after ± is one standard error over the test regions."


def baseline(factors: tuple[float, float]) -> Baseline:
    """What results of these factors (Y, X) are compared with."""
    return RESTORED if factors == (1.0, 1.0) else ENLARGED


def without_signal(base: Baseline) -> str:
    """Sentence on a plane of noise alone."""
    return (
        f"Only noise was found in the plane, so nothing was trained; {base.name} was "
        "returned."
    )


def not_saved(base: Baseline) -> str:
    """Sentence on a plane whose channel has no saved networks."""
    return f"The file has no networks for this channel; {base.name} was returned."


def origin_sentence(
    plan: TrainingPlan, shared: int, steps: int, *, delivered: bool = True
) -> str:
    """Where the networks of a plane come from, after others; empty for the usual.

    They were trained on `shared` planes of the stack, 0 for this one alone.
    """
    learned = plan.initialization == LEARNED
    sentence = ""
    if shared:
        then = ", then on this one" if plan.trains else ""
        sentence = f" Trained on {counted(shared, 'plane')} of the stack{then}."
    elif not plan.trains:
        return used_as_is_sentence(learned=learned, delivered=delivered)
    if plan.from_saved:
        return sentence + FROM_SAVED
    if learned and not shared:
        done = steps_text([steps], plan.most_steps, is_quarter=plan.is_noisy)
        return f" Training started from the {PRETRAINED}, {done}."
    return sentence + start_sentence(plan.initialization)


def steps_text(counts: Sequence[int], most: int, *, is_quarter: bool = False) -> str:
    """Training steps that were done, of how many at most, and why they are fewer.

    `is_quarter`: whether there were fewer at most than usual, because of noise.
    """
    least, last = min(counts), max(counts)
    number = f"{least}" if least == last else f"{least} to {last}"
    if least < most:
        return (
            f"{number} of at most {counted(most, 'step')}, stopped early because more "
            "brought no gain"
        )
    fewer = ", a quarter of the usual number, as for every image with noise"
    return f"{number} step{'s' * (last != 1)}{fewer * is_quarter}"


def too_small(height: int, width: int, smallest: int, base: Baseline) -> str:
    """Sentence on a plane that is too small to train on."""
    return (
        f"The plane of {height} × {width} pixels is too small to train on (at least "
        f"{smallest} are needed); {base.name} was returned."
    )


def hardly_differs(quality: Quality) -> bool:
    """Whether a result is nearly its baseline."""
    return quality.change < LEAST_CHANGE


def quality_sentence(quality: Quality, base: Baseline, *, whole: bool = True) -> str:
    """What a result is beside its baseline, as measured on its pixels."""
    percent = f"{100 * quality.change:.2g} % of the intensity range"
    if hardly_differs(quality):
        return f"Hardly differs from {base.name} (by {percent})."
    kind = _kind(quality)
    parts = [
        f"{kind}: changed by {percent}"
        if kind
        else f"Differs from {base.name} by {percent}",
        _grain(quality),
        _agreement(quality, base) if whole else "",
    ]
    sentence = f"{', '.join(part for part in parts if part)}."
    if quality.overshoot > OVERSHOOT:
        sentence += (
            f" Edges overshoot by {100 * quality.overshoot:.0f} % of their height; "
            "the assumed blur may be too wide."
        )
    if underrated(quality):
        sentence += (
            f" The image has noise of {_percent(quality.noise)} of the intensity "
            f"range, but {_assumed(quality)} was assumed; set the noise to 'auto'."
        )
    return sentence


def faint_texture_sentence(quality: Quality | None) -> str:
    """Sentence, after others, on a result that was learned against noise."""
    grew = quality is not None and quality.grain is not None and quality.grain > 1
    return "" if grew else FAINT


def error_sentence(error: Mapping[str, Any] | None) -> str:
    """Sentence, after others, on the standard error of a plane."""
    if error is None:
        return " The error of this plane could not be estimated."
    size = f"{100 * error['mean']:.2g} % of the intensity range"
    if not error["is_calibrated"]:
        return (
            f" The standard error of the result is about {size} (not tested, because "
            "the plane is too small)."
        )
    return (
        f" The standard error of the result is {size}, tested on {error['regions']} "
        "regions not used for training."
    )


def _grain(quality: Quality) -> str:
    """How the grain of the flattest parts changed; empty where it did not."""
    if quality.grain is None or abs(quality.grain - 1) < LEAST_GRAIN:
        return ""
    verb = "fell" if quality.grain < 1 else "rose"
    return f"noise in flat areas {verb} by {100 * abs(quality.grain - 1):.0f} %"


def underrated(quality: Quality) -> bool:
    """Whether the noise is stronger than what was assumed, beyond doubt."""
    return quality.noise >= max(SURE_NOISE, UNDERRATED * quality.noise_assumed)


def _assumed(quality: Quality) -> str:
    return _percent(quality.noise_assumed) if quality.noise_assumed else "none"


def unsupported(
    quality: Quality, margin: float | None, base: Baseline, *, blurred: bool
) -> str:
    """Why checks do not support a result, after a colon: which of them told."""
    narrower = "; the assumed blur may be too wide" if blurred else ""
    if underrated(quality):
        shown, assumed = _percent(quality.noise), _assumed(quality)
        return (
            f"the image has noise of {shown} of the intensity range, but {assumed} "
            "was assumed"
        )
    if margin is not None and margin < TOO_WIDE:
        return "edges in the image are sharper than the assumed blur allows"
    if quality.overshoot > OVERSHOOT:
        height = _percent(quality.overshoot)
        return f"edges overshoot by {height} of their height{narrower}"
    if quality.misfit > AGREES:
        return (
            f"{base.again} again, it differs from the image by {quality.misfit:.1f} "
            "times its noise"
        )
    return f"fine detail is stronger than the image supports{narrower}"


def held_back_sentence(
    shares: Sequence[float],
    supported: float,
    reason: str,
    base: Baseline,
    *,
    whole: bool,
) -> str:
    """Sentence on results of which the checks do not support everything."""
    if whole:
        return (
            "The full result was returned as requested, although checks support "
            f"only {_percent(supported)} of the change: {reason}."
        )
    least, most = min(shares), max(shares)
    if most == 0:
        name = base.name[0].upper() + base.name[1:]
        return (
            f"{name} was returned, because checks support none of the change: {reason}."
        )
    part = _percent(most) if least == most else f"{100 * least:.2g} to {_percent(most)}"
    return (
        f"Only {part} of the change was applied, because checks support no more: "
        f"{reason}."
    )


def _percent(part: float) -> str:
    return f"{100 * max(0.0, part):.2g} %"


def _kind(quality: Quality) -> str:
    """What the change comes to; empty where it has no name."""
    if quality.sharpness >= 1 + LEAST_SHARPNESS:
        return "Sharper"
    if quality.grain is not None and quality.grain < 1 - LEAST_GRAIN:
        return "Less noisy"
    return "Softer" if quality.sharpness <= 1 - LEAST_SHARPNESS else ""


def _agreement(quality: Quality, base: Baseline) -> str:
    if quality.misfit <= AGREES:
        return "consistent with your image"
    return (
        f"but {base.again} again, it differs from your image by {quality.misfit:.1f} "
        "times its noise"
    )


def shrunk_test(gain: Gain, base: Baseline, *, denoised: bool) -> str:
    """What held-out regions told of networks whose result was delivered."""
    figure = [gain.decibel]
    return shrunk_figure(figure, base, gain.error_decibel, denoised=denoised)


def shrunk_figure(
    gains: Sequence[float],
    base: Baseline,
    error: float | None = None,
    *,
    denoised: bool,
) -> str:
    """The figure of the test on held-out regions, and its error."""
    faint = is_rarely_visible(median(gains), denoised=denoised)
    hint = " (under 0.5 dB is rarely visible)" if faint else ""
    return (
        f"Test on your image {base.test}: {decibels(gains, error)} "
        f"{side(gains, ' to the original', ' from the original')} {base.rival}{hint}."
        f"{ERROR_TOLD * (error is not None)}"
    )


def is_rarely_visible(gain_db: float, *, denoised: bool) -> bool:
    """Whether a gain is too small to be seen.

    Not where noise was removed: the regions it was tested on are noisy themselves, so
    the figure says little of what can be seen.
    """
    return abs(gain_db) < VISIBLE_DB and not denoised


def decibels(gains: Sequence[float], error: float | None = None) -> str:
    """Gains as one figure, the same wherever they are told: range and median.

    Where some are gains and others losses they have signs; where the median is a loss,
    losses have none. One gain has its standard error.
    """
    middle = median(gains)
    if is_mixed(gains):
        low, high = (signed(gain) for gain in (min(gains), max(gains)))
        return f"{low} to {high} dB (median {signed(middle)})"
    sizes = sorted(-gain if middle < 0 else gain for gain in gains)
    low, high = (f"{round(size, 2) + 0.0:.2f}" for size in (sizes[0], sizes[-1]))
    if low == high:
        margin = f" ± {error:.2f}" if error is not None and len(sizes) == 1 else ""
        return f"{low}{margin} dB"
    return f"{low} to {high} dB (median {abs(middle):.2f})"


def is_mixed(gains: Sequence[float]) -> bool:
    """Whether some are gains and others losses, in hundredths of a decibel."""
    return round(min(gains), 2) < 0 < round(max(gains), 2)


def side(gains: Sequence[float], nearer: str = "", further: str = " off") -> str:
    """What stands between decibels and a baseline: ``closer than``."""
    if is_mixed(gains):
        return "compared with"
    return f"closer{nearer} than" if median(gains) >= 0 else f"farther{further} than"


def delivered_gains(
    returned: Iterable[tuple[str | None, float | None]],
) -> list[float]:
    """Gains that count: of planes that networks made; of all where there are none.

    Of each plane what was returned, and its gain.
    """
    known = [(kind, gain) for kind, gain in returned if gain is not None]
    learned = [gain for kind, gain in known if kind == "learned"]
    return learned or [gain for _, gain in known]


def what_was_tested(*, trained: bool, learned: bool) -> str:
    """What gained something or nothing: training, or networks used as they are.

    `learned`: whether those are the pretrained start, and not saved networks.
    """
    if trained:
        return "Training"
    return f"The {PRETRAINED}" if learned else "The saved networks"


def nothing_gained(gain: Gain, base: Baseline, tested: str) -> str:
    """Sentence on a plane that came back as its baseline; of `what_was_tested`."""
    chance = ", which may be chance" if gain.decibel > 0 else ""
    return (
        f"{tested} brought no improvement, so {base.name} was returned. Test on your "
        f"image {base.test}: {signed(gain.decibel)} ± {gain.error_decibel:.2f} dB "
        f"compared with {base.rival}{chance}.{ERROR_TOLD}"
    )


def used_as_is_sentence(*, learned: bool, delivered: bool = True) -> str:
    """Sentence, after others, on a pretrained start or saved networks used as is.

    `delivered`: whether the result is theirs.
    """
    what = f"The {PRETRAINED} was" if learned else "Saved networks were"
    return f" {what} {'used' if delivered else 'tested'} without further training."


def start_sentence(began: str) -> str:
    """Sentence, after others, on what training started from."""
    return f" Training started from the {PRETRAINED}." if began == LEARNED else ""


def will_begin_from_saved(steps: int) -> str:
    """Sentence on a future run that starts from saved networks."""
    if steps == 0:
        return "Saved networks are used without further training."
    return "Training starts from saved networks."


def will_begin_from_learned(steps: int) -> str:
    """Sentence on a future run from the pretrained start, of at most so many steps."""
    if steps == 0:
        return f"The {PRETRAINED} is used without further training."
    return f"Training starts from the {PRETRAINED}, at most {counted(steps, 'step')}."
