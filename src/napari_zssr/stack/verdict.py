"""Whether anything speaks against a result, in one sentence."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from napari_zssr.imaging.confirmation import Confirmation
from napari_zssr.imaging.quantities import LEAST_SPOTS, Flux
from napari_zssr.stack.check import Check, PlaneCheck
from napari_zssr.stack.recipe import planes_name
from napari_zssr.units import counted, list_text, only_counted, signed

LIMITS = (
    "These checks cannot show whether detail finer than that of the original is "
    "real; only an image of the same field with better resolution can."
)
TOO_CLOSE = ("noise overrated",)
BEYOND = "the result differs from the original by more than its noise"
WITHIN = "there is less noise than assumed, or the result reproduces it"
UNCONFIRMED = "{:.0f} % of the fine detail is not confirmed and may be noise"
# Share of the detail that must be confirmed, beyond twice its error; of confocal
# captures 83 % and more is.
LEAST_CONFIRMED = 0.7
# Before what disagrees with the original.
LOOK_AGAIN = "Look again before you publish: "
# Planes that are named one by one.
NAMED = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """Whether anything speaks against a result: nothing, something, or all unknown."""

    is_good: bool | None
    text: str


def scope(check: Check) -> str:
    """Which planes were checked; empty where there is only one."""
    count, done = check.count, len(check.planes)
    if count == 1:
        return ""
    name = planes_name(count, check.channels)
    if done == count:
        return f"both {name}" if count == 2 else f"all {count} {name}"
    some = f"{done} of {count} {name}"
    if done <= NAMED:
        return f"{'; '.join(plane.name for plane in check.planes)} ({some})"
    letters = {letter for plane in check.planes for letter in plane.place}
    if len(letters) > 1 or check.channels > 1:
        return some
    (letter,) = letters
    indices = [str(plane.place[letter]) for plane in check.planes]
    return f"{some} ({letter} {list_text(indices)})"


def verdict(check: Check, *, so_far: bool = False) -> Verdict:
    """One sentence on all planes that were checked, perhaps not the last word."""
    problems = _problems(check)
    if problems:
        text = f"{LOOK_AGAIN}{'; '.join(problems)}."
        return Verdict(is_good=False, text=text)
    kept, unknown = _kept(check)
    if not kept:
        return Verdict(
            is_good=None,
            text="Nothing could be checked: there are no objects, no spots, and no "
            "noise to compare with.",
        )
    found = "No problem so far" if so_far else "These checks found no problem"
    text = f"{found}: {'; '.join(kept)}."
    if unknown:
        text += f" Not checked: {'; '.join(unknown)}."
    return Verdict(is_good=True, text=text)


def _problems(check: Check) -> list[str]:
    """What disagrees with the original, in plain words."""
    planes, found = check.planes, []
    if changed := _changed_objects(check):
        found.append(changed)
    apart = [plane for plane in planes if plane.agreement.disagrees]
    close = [plane for plane in apart if plane.agreement.reasons == TOO_CLOSE]
    doubted = [plane for plane in planes if _is_unconfirmed(plane)]
    for which, text in (
        ([plane for plane in planes if plane.spots.moved], "spots moved"),
        ([plane for plane in apart if plane not in close], BEYOND),
        (close, WITHIN),
        (doubted, UNCONFIRMED.format(100 * (1 - median_confirmed(doubted)))),
    ):
        found += [f"{text}{_where(which, check)}"] if which else []
    return found


def _changed_objects(check: Check) -> str:
    """How many objects changed, the worst of them by how much and where, or nothing."""
    changed = [plane for plane in check.planes if plane.flux.changed.any()]
    if not changed:
        return ""
    count, of = check.changed_objects, counted(check.judged_objects, "object")
    text = f"the intensity of {count} of {of} changed beyond noise"
    worst = max(changed, key=lambda plane: np.nanmax(_sizes(plane.flux), initial=-1))
    sizes = _sizes(worst.flux)
    if np.isnan(sizes).all():
        return text
    at = int(np.nanargmax(sizes))
    y, x = worst.flux.centres[at].round().astype(int)
    place = ", ".join(filter(None, (worst.name, f"Y {y}", f"X {x}")))
    most = "at most " * (count > 1)
    return f"{text} ({most}{signed(100 * worst.flux.changes[at])} % at {place})"


def _sizes(flux: Flux) -> NDArray[np.float64]:
    """How much each changed object changed, as a fraction; NaN for others."""
    return np.where(flux.changed, np.abs(flux.changes), np.nan)


def _confirmed(plane: PlaneCheck) -> Confirmation | None:
    found = plane.detail.confirmed
    return None if found is None else found.all


def median_confirmed(planes: Sequence[PlaneCheck]) -> float:
    """Share of the detail that is confirmed, at most 1; NaN where nothing is known."""
    shares = [found.share for found in map(_confirmed, planes) if found is not None]
    return min(1.0, float(np.median(shares))) if shares else math.nan


def _is_unconfirmed(plane: PlaneCheck) -> bool:
    found = _confirmed(plane)
    return found is not None and found.share + 2 * found.error < LEAST_CONFIRMED


def _where(some: Sequence[PlaneCheck], check: Check) -> str:
    """In which of the planes that were checked; empty where there is only one."""
    if check.count == 1:
        return ""
    if len(some) <= NAMED:
        return f" in {list_text([plane.name for plane in some])}"
    name = planes_name(check.count, check.channels)
    return f" in {len(some)} of {len(check.planes)} {name}"


def _kept(check: Check) -> tuple[list[str], list[str]]:
    """What is as it was, with what it rests on, and of what nothing is known."""
    planes, objects = check.planes, check.judged_objects
    spots = [plane.spots.spots for plane in planes]
    judged = sum(count for count in spots if count >= LEAST_SPOTS)
    too_few = f"only {counted(sum(spots), 'spot')}" if any(spots) else "no spot"
    listed = (
        (
            objects,
            "no object's intensity changed by more than 1 % beyond its noise "
            f"({only_counted(objects, 'object')})",
            "intensities (no object found)",
        ),
        (
            judged,
            f"spots have not moved on average ({only_counted(judged, 'spot')})",
            f"positions ({too_few} found)",
        ),
        (
            any(plane.agreement.unit for plane in planes),
            "the result agrees with the original within its noise",
            "agreement with the original",
        ),
    )
    kept = [sentence for is_known, sentence, _ in listed if is_known]
    if any(map(_confirmed, planes)):
        kept.append(
            f"{100 * median_confirmed(planes):.0f} % of the fine detail is confirmed "
            "(halves of the image with independent noise agree on it)"
        )
    return kept, [name for is_known, _, name in listed if not is_known]
