"""Texts for a paper, methods and figure legend: how a result was made and checked."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from napari_zssr.imaging.quantities import SCATTER, distance_text
from napari_zssr.imaging.resample import Pair
from napari_zssr.imaging.resolution import DECORRELATION, RING_CORRELATION
from napari_zssr.progress import sentence_case
from napari_zssr.stack.check import Check, PlaneCheck
from napari_zssr.stack.methods_processing import References, input_um, processing, shown
from napari_zssr.stack.recipe import axial_reports, planes_name, was_interpolated
from napari_zssr.stack.verdict import LOOK_AGAIN, median_confirmed, scope, verdict
from napari_zssr.units import counted, signed

SQUIRREL = (
    "Culley S, et al. Quantitative mapping and minimization of super-resolution "
    "optical imaging artifacts. Nature Methods 15, 263-266 (2018). "
    "doi:10.1038/nmeth.4605"
)
SSIM = (
    "Wang Z, Bovik AC, Sheikh HR, Simoncelli EP. Image Quality Assessment: From Error "
    "Visibility to Structural Similarity. IEEE Trans. Image Processing 13, 600-612 "
    "(2004). doi:10.1109/TIP.2003.819861"
)
RINGS = (
    "van Heel M, Schatz M. Fourier shell correlation threshold criteria. J. Struct. "
    "Biol. 151, 250-262 (2005). doi:10.1016/j.jsb.2005.05.009"
)
RESOLUTION = (
    "Nieuwenhuizen RPJ, et al. Measuring image resolution in optical nanoscopy. Nature "
    "Methods 10, 557-562 (2013). doi:10.1038/nmeth.2448"
)
PHASES = (
    "Descloux A, Grussmayer KS, Radenovic A. Parameter-free image resolution "
    "estimation based on decorrelation analysis. Nature Methods 16, 918-924 (2019). "
    "doi:10.1038/s41592-019-0515-7"
)


def methods(check: Check) -> tuple[str, tuple[str, ...]]:
    """Paragraph on a result, with numbers of references, and the references."""
    cited = References()
    made = processing(check.recipe, check.factors, cited)
    parts = [made, _checked(check), _agreed(check)]
    parts.append(_resolved(check, cited))
    if any(plane.scores for plane in check.planes):
        parts.append(_compared(check, cited))
    return " ".join(filter(None, parts)), tuple(cited.listed)


def methods_unchecked(recipe: Mapping[str, Any]) -> tuple[str, tuple[str, ...]]:
    """`methods` of a result that was not checked, from its recipe alone."""
    cited = References()
    y, x = map(float, recipe["config"]["factor"])
    return processing(recipe, (y, x), cited), tuple(cited.listed)


def legend(check: Check, contrast: str = "") -> str:
    """A figure legend for input and result; `contrast` says the limits they have."""
    found = verdict(check)
    share = median_confirmed(check.planes)
    confirmed = f" Of the fine detail, {100 * share:.0f} % was found in both of two "
    confirmed += "halves of the input with independent noise."
    told = found.text.removeprefix(LOOK_AGAIN)
    if found.is_good:
        told = "no problem found."
    elif found.is_good is None:
        told = "nothing could be checked."
    checked = f"Check: {told}{'' if math.isnan(share) else confirmed}"
    unproven = _unproven(
        check.recipe, _finest(check.planes, "before", RING_CORRELATION)
    )
    return _legend(check.recipe, check.factors, contrast, checked, unproven)


def legend_unchecked(recipe: Mapping[str, Any], contrast: str = "") -> str:
    """`legend` of a result that was not checked, from its recipe alone."""
    y, x = map(float, recipe["config"]["factor"])
    checked = "The result was not checked."
    return _legend(recipe, (y, x), contrast, checked, _unproven(recipe))


def _legend(
    recipe: Mapping[str, Any] | None,
    factors: Pair,
    contrast: str,
    checked: str,
    unproven: str,
) -> str:
    """What is shown, its brightness, its check, and what is not proven."""
    limits = f"; {contrast}" if contrast else ""
    brightness = f"Intensities were not rescaled{limits}."
    return " ".join((*shown(recipe, factors), brightness, checked, unproven))


def _unproven(recipe: Mapping[str, Any] | None, resolved: str = "") -> str:
    """Which detail is not proven: finer than resolved, or than two input pixels."""
    report = (recipe or {}).get("report") or {}
    if was_interpolated([*(report.get("planes") or ()), *axial_reports(recipe or {})]):
        return "Interpolation adds no detail to that of the input."
    if resolved:
        finest = f"{resolved}, the resolution of the input by ring correlation,"
    else:
        finest = f"two pixels of the input{_two_pixels(recipe or {})}"
    along_z = (
        " or, along Z, than two slices of the input" if report.get("axial") else ""
    )
    return f"Detail finer than {finest}{along_z} is not proven."


def _two_pixels(recipe: Mapping[str, Any]) -> str:
    """Their length in brackets; empty if it is not known."""
    sizes = input_um(recipe, "YX")
    largest = [size for size in sizes if size is not None]
    return f" ({2 * max(largest):.3g} µm)" if len(largest) == len(sizes) else ""


def with_references(paragraph: str, references: Sequence[str]) -> str:
    """A paragraph, and its references in numbered lines."""
    listed = (f"[{number}] {text}" for number, text in enumerate(references, 1))
    return "\n".join([paragraph, "", *listed])


def _checked(check: Check) -> str:
    """What sums of intensity and positions of spots came to."""
    some = scope(check) or "the image"
    changes = np.concatenate([plane.flux.changes for plane in check.planes])
    known = changes[np.isfinite(changes)]
    parts = [f"The result was checked on {some} (napari-zssr {_version(check)}):"]
    if known.size:
        changed = np.concatenate(
            [plane.flux.changes[plane.flux.changed] for plane in check.planes]
        )
        told = known if not changed.size else changed[np.isfinite(changed)]
        most = told[np.argmax(np.abs(told))] if told.size else math.nan
        at_most = f"{signed(100 * most)} % at most"
        if changed.size:
            beyond = f"{changed.size} of them by more than 1 % beyond the noise"
            beyond += f" ({at_most})" * (told.size > 0)
        else:
            beyond = f"{at_most}, none of them by more than 1 % beyond the noise"
        parts.append(
            "summed intensities above the background of "
            f"{counted(check.judged_objects, 'object')} changed by "
            f"{signed(100 * np.median(known))} % in the median and {beyond};"
        )
    else:
        parts.append("no object was bright enough for its sum to be compared;")
    spots = [plane.spots for plane in check.planes if plane.spots.spots]
    if not spots:
        return " ".join([*parts, "no bright spots were found in both."])
    weights = [one.spots for one in spots]
    y, x = np.average([one.mean for one in spots], axis=0, weights=weights)
    rms = math.sqrt(np.average([one.rms**2 for one in spots], weights=weights))
    shift = distance_text(math.hypot(y, x))
    along = f"{signed(y, 3)} along Y, {signed(x, 3)} along X"
    if sum(weights) == 1:
        parts.append(f"1 bright spot was shifted by {shift} input pixels ({along}).")
    else:
        parts.append(
            f"{sum(weights)} bright spots were shifted by {shift} input pixels on "
            f"average ({along}); single spots scattered "
            f"{SCATTER.format(distance_text(rms))}."
        )
    return " ".join(parts)


def _agreed(check: Check) -> str:
    """How many planes agree with the original, and on what area they do not."""
    found = [plane.agreement for plane in check.planes if plane.agreement.unit]
    if not found:
        return ""
    agreeing = sum(not agreement.disagrees for agreement in found)
    explained = 100 * (1 - np.median([agreement.flagged for agreement in found]))
    kernel = ((check.recipe or {}).get("config") or {}).get("kernel") or {}
    blurred = kernel.get("kind") != "bicubic"
    again = "Blurred and shrunk again, " if max(check.factors) > 1 else ""
    if not again and blurred:
        again = "Blurred again, "
    planes = "the plane" if len(found) == 1 else f"{agreeing} of {len(found)} planes"
    verb = "did not agree" if len(found) == 1 and not agreeing else "agreed"
    return sentence_case(
        f"{again}{planes} {verb} with the original to within its noise, which "
        f"explained {explained:.4g} % of the area"
        f"{' in the median' * (len(found) > 1)}."
    )


def _resolved(check: Check, cited: References) -> str:
    """Detail by ring correlation, or by decorrelation, in the median."""
    planes, parts = check.planes, []
    halves = _finest(planes, "before", RING_CORRELATION)
    if halves:
        parts.append(
            "Two halves of the original with independent noise agreed in detail "
            f"down to {halves} (Fourier ring correlation {cited.cite(RINGS)} "
            f"of 1/7 {cited.cite(RESOLUTION)})"
        )
        made = [plane for plane in planes if not plane.detail.interpolated]
        after = _finest(made, "after", RING_CORRELATION)
        if after:
            parts[0] += (
                ". After processing by the same networks, they agreed down to "
                f"{after}; the result is hardly finer than this bound, which does not "
                "prove a gain in resolution"
            )
        share = median_confirmed(made)
        if not math.isnan(share):
            parts[0] += (
                f". Of the fine detail that they made of one half, {100 * share:.0f} % "
                "was confirmed by the other (regression of the other half on the "
                "detail, weighted by the noise)"
            )
        if not made:
            parts[0] += "; the result was interpolated, which adds none"
        parts[0] += "."
    others = _finest(planes, "before", DECORRELATION)
    if others:
        parts.append(
            f"Decorrelation analysis {cited.cite(PHASES)} found detail down to "
            f"{others} in the original."
        )
    return " ".join(parts)


def _finest(planes: Sequence[PlaneCheck], name: str, method: str) -> str:
    """Finest period by a method, and in the median of what; empty without."""
    found = {plane: getattr(plane.detail, name) for plane in planes}
    known = {
        plane: one
        for plane, one in found.items()
        if one is not None and one.outcome != "nothing" and one.method == method
    }
    if not known:
        return ""
    unit = planes[0].detail.unit_text
    limits = sum(one.outcome == "pixel limit" for one in known.values())
    middle = f"{np.median([one.period for one in known.values()]):.3g} {unit}"
    limit = " (the limit of the pixels)" * (2 * limits > len(known))
    return f"{middle}{limit}{_median_of(list(known))}"


def _median_of(planes: Sequence[PlaneCheck]) -> str:
    """In the median of how many planes a figure is, or in which one of several."""
    if len(planes) == 1:
        return f" in {planes[0].name}" if planes[0].name else ""
    channels = len({plane.channel for plane in planes})
    return f" in the median of {len(planes)} {planes_name(len(planes), channels)}"


def _compared(check: Check, cited: References) -> str:
    """Scores against the truth, in the median over the planes."""
    scores = [plane.scores for plane in check.planes if plane.scores is not None]
    degraded = "after shrinking it to the size of the original, " * check.before

    def middle(name: str) -> float:
        return _median([getattr(one, name) for one in scores])

    finest = _finest(check.planes, "with_truth", RING_CORRELATION)
    correlated = (
        f" Their ring correlation stayed above 1/2 down to {finest}." if finest else ""
    )
    return (
        f"Compared with a truth, {degraded}after registration and a linear fit of "
        f"intensities: RSP {middle('rsp'):.4f}, RSE {middle('rse'):.4g} "
        f"{cited.cite(SQUIRREL)}, PSNR {middle('psnr'):.2f} dB, SSIM "
        f"{middle('ssim'):.4f} {cited.cite(SSIM)} "
        f"{'in the median ' * (len(scores) > 1)}(peak: the 99.9 % minus the 0.1 % "
        f"quantile of the truth).{correlated}"
    )


def _median(values: Sequence[float]) -> float:
    known = [value for value in values if not math.isnan(value)]
    return float(np.median(known)) if known else math.nan


def _version(check: Check) -> str:
    return check.versions["napari-zssr"]
