"""What a check says in the panel: the verdict, the table, and the curves."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from napari_zssr.imaging.quantities import (
    LEAST_SHIFT,
    LEAST_SPOTS,
    SCATTER,
    WITHIN_NOISE,
    distance_text,
)
from napari_zssr.plugin.check.job import CheckJob, State
from napari_zssr.plugin.check.plot import Curve
from napari_zssr.plugin.check.subject import Place, Subject
from napari_zssr.plugin.summary import form_sentence
from napari_zssr.progress import sentence_case
from napari_zssr.stack.check import Check, PlaneCheck
from napari_zssr.stack.detail import ORIGINAL, PENDING, RESULT, Detail, Finest
from napari_zssr.stack.detail import Curve as Measured
from napari_zssr.stack.recipe import channels_returned, channels_text
from napari_zssr.stack.verdict import scope
from napari_zssr.units import only_counted, signed
from napari_zssr.zssr.messages import baseline

NAMES = (ORIGINAL, RESULT)
FLUX, SPOTS, RESIDUAL, RESOLUTION = "Intensity", "Spots", "Residual", "Resolution"
CONFIRMED = "Detail"
TOOLTIPS = {
    FLUX: "How the light in each bright object changed: its sum above the background, "
    "in the median of all objects and where it changed most. A change counts if it is "
    "more than 1 % and more than three times its noise. Light that moved within an "
    "object is not detected.",
    SPOTS: "How far bright round spots are shifted: on average, which shows whether "
    "the image moved, and the scatter of single spots (root mean square), which "
    "includes the noise of their positions. The average counts if it is more than "
    "0.05 pixels of the original and not due to chance. Areas without spots are not "
    "checked.",
    RESIDUAL: "Blurred and shrunk as assumed, the result should equal the original "
    "apart from noise. This is the share of the area where it does not. Detail finer "
    "than the original can show, real or invented, is not checked.",
    CONFIRMED: "How much of the fine detail is true rather than noise turned into "
    "structures. The original is split into two halves with independent noise; the "
    "same networks make a result of one half, whose detail (finer than 3 pixels) is "
    "compared with the other. The figure after ± is one standard error, from the "
    "scatter between blocks of the image. Faint detail is weaker than half of the "
    "noise. Detail counts by its strength, averaged over the image: a single line may "
    "still be wrong. Detail finer than the pixels of the original is not checked.",
    RESOLUTION: "The finest detail above the noise, in the original and in the "
    "result. The original is split into two halves with independent noise; both are "
    "enlarged by the same networks and compared. For the result this needs the "
    "networks, which are available after a run in memory. It is a bound, not a "
    "measured resolution: the result is hardly finer, but may be coarser, because "
    "networks may invent the same detail twice. No bound is found if both halves agree "
    "down to the pixels. Of a large image, the part with the most contrast is "
    "measured.",
}
WITHOUT, UNBOUNDED = "not measured", "no bound found down to its pixels"
NOT_YET = "not measured yet"
DOUBTS = {"noise underrated", "noise overrated"}
AGAIN = {
    "running": "",
    "finished": " To check another slice, show it, close the check and start it again.",
    "stopped": " Close the check and start it again for the others.",
}


def checked(check: Check, state: State) -> str:
    """Sentence on which planes were checked; empty where there is only one."""
    which = scope(check)
    if not which:
        return ""
    so_far = " so far" if state == "running" else ""
    is_part = len(check.planes) < check.count
    sentences = f"Checked{so_far}: {which}.{AGAIN[state] * is_part}"
    if numbers := channels_returned(check.recipe or {}, "bicubic"):
        base = baseline(check.factors).name
        sentences += f" In {channels_text(numbers)} the result is {base}."
    return sentences


def unfinished(job: CheckJob) -> str:
    """Sentence on what a check covers that has not ended; empty if it has."""
    if job.state == "finished":
        return ""
    is_running = job.state == "running"
    start = "The check is not finished" if is_running else "The check was stopped"
    if job.check is None:
        return f"{start}: nothing of it is included."
    covered = scope(job.check) or "the image"
    last = job.check.planes[-1]
    if last.detail.sentence == PENDING:
        of = f" of {last.name}" if last.name else ""
        covered += f", except for the resolution{of}"
    return f"{start}: this covers {covered}."


def shown_plane(plane: PlaneCheck, subject: Subject, shown: Place) -> str:
    """Sentence on which plane the figures are of; empty where there is only one."""
    if not plane.name:
        return ""
    if any(plane.place[letter] != at for letter, at in shown.items()):
        wanted = subject.plane_name(shown)
        return (
            f"Figures and plots are of {plane.name}, because {wanted}, which is shown, "
            "is not checked."
        )
    text = f"Figures and plots are of {plane.name}."
    if "channel" in plane.name:
        at = plane.place["C"] + subject.starts["C"]
        text += f" napari counts channels from 0: its slider shows {at}."
    return text


def notes(check: Check) -> list[str]:
    """Sentences below the verdict: why the first plane disagrees, and messages."""
    apart = [plane for plane in check.planes if plane.agreement.disagrees]
    sentences = [
        f"{sentence_case(plane.name)}: {plane.agreement.sentence}".removeprefix(": ")
        for plane in apart[:1]
    ]
    return [form_sentence(sentence) for sentence in (*sentences, *check.messages)]


def rows(plane: PlaneCheck, pixel_um: tuple[float, float] | None) -> dict[str, str]:
    """Table of one plane: what is measured, and its value; (Y, X) in µm if known."""
    return {
        FLUX: _flux(plane),
        SPOTS: _spots(plane, pixel_um),
        RESIDUAL: _residual(plane),
        CONFIRMED: confirmed(plane.detail),
        RESOLUTION: resolution(plane.detail) + _part(plane.detail) + _doubt(plane),
    }


def _part(detail: Detail) -> str:
    """On which part of a large plane the resolution was measured."""
    if detail.part is None or detail.before is None:
        return ""
    rows, columns = detail.part
    return f", in {rows} × {columns} pixels"


def _doubt(plane: PlaneCheck) -> str:
    """Halves rest on the noise, which the residual may doubt."""
    is_doubted = plane.detail.before and DOUBTS & set(plane.agreement.reasons)
    return " (uncertain, because the noise estimate is doubtful)" if is_doubted else ""


def _flux(plane: PlaneCheck) -> str:
    flux = plane.flux
    if math.isnan(flux.median):
        return "no object found"
    count = int(np.isfinite(flux.changes).sum())
    if count == 1:
        change = f"{signed(100 * flux.median)} % in only 1 object"
        return f"{change} ({flux.largest_beside_noise})"
    median = f"{signed(100 * flux.median)} % in the median of "
    median += only_counted(count, "object")
    if flux.largest_beside_noise == WITHIN_NOISE:
        return f"{median}, each within its noise"
    largest = f"{signed(100 * flux.largest)} % at most ({flux.largest_beside_noise})"
    return f"{median}, {largest}"


def _spots(plane: PlaneCheck, pixel_um: tuple[float, float] | None) -> str:
    spots = plane.spots
    if not spots.spots:
        return "no spot found"
    shift = math.hypot(*spots.mean)
    length = ""
    if pixel_um is not None:
        um = math.hypot(*(s * p for s, p in zip(spots.mean, pixel_um, strict=True)))
        least = LEAST_SHIFT * max(pixel_um)
        length = f" ({least if shift < LEAST_SHIFT else um:.2g} µm)"
    few = " (too few to judge)" if spots.spots < LEAST_SPOTS else ""
    scatter = (
        f" on average; single spots scatter {SCATTER.format(distance_text(spots.rms))}"
    )
    return (
        f"{only_counted(spots.spots, 'spot')}{few} shifted by {distance_text(shift)} "
        f"pixels{length}{scatter * (spots.spots > 1)}"
    )


def _residual(plane: PlaneCheck) -> str:
    agreement = plane.agreement
    if not agreement.unit:
        return WITHOUT
    unit = "the noise" if agreement.unit == "noise" else "rounding"
    return f"{100 * agreement.flagged:.3g} % of the area differs by more than {unit}"


def confirmed(detail: Detail) -> str:
    """Share of the detail that the other half confirms, and of faint detail if less."""
    if detail.sentence == PENDING:
        return NOT_YET
    if detail.confirmed is None or detail.confirmed.all is None:
        return f"{WITHOUT}{_why(detail)}"
    every, faint = detail.confirmed.all, detail.confirmed.faint
    is_less = faint is not None and faint.share < every.share
    of_faint = f" (of faint detail, {faint.text})" if faint and is_less else ""
    return f"{every.text} is confirmed by the other half{of_faint}"


def _why(detail: Detail) -> str:
    """Why nothing of the result was measured, behind a comma, if that is known."""
    _, because, reason = detail.missing.rstrip(".").partition(", because ")
    return f"{because}{reason}"


def resolution(detail: Detail) -> str:
    """Resolution before and after, each with its unit."""
    if detail.sentence == PENDING:
        return NOT_YET
    if detail.before is None and detail.after is None:
        return WITHOUT
    if detail.interpolated and detail.before is not None:
        return f"{_period(detail.before, detail.unit_text)}, unchanged by interpolation"
    before, after = (
        _period(f, detail.unit_text) for f in (detail.before, detail.after)
    )
    if detail.after is not None:
        # Halves that agree down to the pixels bound nothing.
        bound = f"unknown, hardly finer than {after} (no proof of a gain)"
        told = {"found": bound, "pixel limit": UNBOUNDED}
        after = told.get(detail.after.outcome, after)
    return f"original: {before}; result: {after}"


def _period(finest: Finest | None, unit: str) -> str:
    if finest is None:
        return WITHOUT
    if finest.outcome == "nothing":
        return "nothing resolved"
    limit = " (limit of its pixels)" if finest.outcome == "pixel limit" else ""
    return f"{finest.period:.2g} {unit}{limit}"


def spectra(plane: PlaneCheck) -> list[Curve]:
    """Power by frequency, of original and result."""
    return _curves(plane.detail.spectra)


def correlations(plane: PlaneCheck) -> list[Curve]:
    """Ring correlation by frequency, of the halves of original and result."""
    return _curves(plane.detail.correlations)


def _curves(by_name: Mapping[str, Measured]) -> list[Curve]:
    return [
        Curve(
            name=name,
            x=np.asarray(by_name[name].frequency),
            y=np.asarray(by_name[name].values),
            colour=number,
        )
        for number, name in enumerate(NAMES)
        if name in by_name
    ]


def missing_correlation(plane: PlaneCheck) -> str:
    """Which ring correlation is missing, and why; empty if none is."""
    known = plane.detail.correlations
    if ORIGINAL not in known:
        return plane.detail.sentence or "Not measured in this plane."
    if RESULT not in known:
        return plane.detail.missing
    return ""
