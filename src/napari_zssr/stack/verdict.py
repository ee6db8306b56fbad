"""Whether anything speaks against a result, in one sentence."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from napari_zssr.stack.check import Check, PlaneCheck
from napari_zssr.stack.recipe import planes_name

LIMITS = (
    "These checks cannot show whether detail finer than that of the original is "
    "real; only an image of the same field with better resolution can."
)
TOO_CLOSE = ("noise overrated",)
BEYOND = "the result differs from the original by more than its noise"
WITHIN = "there is less noise than assumed, or the result reproduces it"
# What is said of intensities, spots and residual where they are as they were, and the
# names of what is not known.
KEPT = (
    ("intensities are preserved", "intensities (no object found)"),
    ("spots have not moved", "positions (no spot found)"),
    (
        "the result agrees with the original within its noise",
        "agreement with the original",
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """Whether anything speaks against a result: nothing, something, or all unknown."""

    is_good: bool | None
    text: str


def verdict(check: Check) -> Verdict:
    """One sentence on all planes that were checked."""
    problems = _problems(check)
    if problems:
        text = f"Look again before you publish: {'; '.join(problems)}."
        return Verdict(is_good=False, text=text)
    kept, unknown = _kept(check.planes)
    if not kept:
        return Verdict(
            is_good=None,
            text="Nothing could be checked: there are no objects, no spots, and no "
            "noise to compare with.",
        )
    text = f"These checks found no problem: {'; '.join(kept)}."
    if unknown:
        text += f" Not checked: {'; '.join(unknown)}."
    return Verdict(is_good=True, text=text)


def _problems(check: Check) -> list[str]:
    """What disagrees with the original, in plain words."""
    planes, found = check.planes, []
    name = planes_name(len(planes), len({plane.place.get("C", 0) for plane in planes}))
    changed = sum(int(plane.flux.changed.sum()) for plane in planes)
    objects = sum(len(plane.flux.numbers) for plane in planes)
    if changed:
        of = f"{objects} object{'s' * (objects != 1)}"
        found.append(f"the intensity changed in {changed} of {of}")
    moved = [plane for plane in planes if plane.spots.moved]
    if moved:
        where = "" if len(planes) == 1 else f" in {len(moved)} of {len(planes)} {name}"
        found.append(f"spots moved{where}")
    apart = [plane for plane in planes if plane.agreement.disagrees]
    close = [plane for plane in apart if plane.agreement.reasons == TOO_CLOSE]
    for which, text in (
        ([plane for plane in apart if plane not in close], BEYOND),
        (close, WITHIN),
    ):
        where = "" if len(planes) == 1 else f" in {len(which)} of {len(planes)} {name}"
        found += [f"{text}{where}"] if which else []
    return found


def _kept(planes: Sequence[PlaneCheck]) -> tuple[list[str], list[str]]:
    """What is as it was, and of what nothing is known."""
    known = [
        (any(not math.isnan(plane.flux.median) for plane in planes), *KEPT[0]),
        (any(plane.spots.spots for plane in planes), *KEPT[1]),
        (any(plane.agreement.unit for plane in planes), *KEPT[2]),
    ]
    kept = [sentence for is_known, sentence, _ in known if is_known]
    return kept, [name for is_known, _, name in known if not is_known]
