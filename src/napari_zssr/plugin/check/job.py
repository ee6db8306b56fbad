"""The computation of a check: one position after the other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from napari_zssr.plugin.check.subject import Place, Subject, cut, places
from napari_zssr.progress import Progress, Steps
from napari_zssr.stack.check import MOST_PLANES, Check, PlaneCheck, check_files
from napari_zssr.stack.image import ImageStack, planes
from napari_zssr.zssr.checkpoint import Checkpoint, write_networks

Networks = tuple[Checkpoint | None, ...]


class CheckJob:
    """Check a result, beginning with the position that is shown.

    `check` holds what is known so far, None until the first position is checked.
    """

    def __init__(self, subject: Subject, first: Place, networks: Networks) -> None:
        self.subject = subject
        self.stacks: dict[str, ImageStack] = subject.lazy_stacks()
        self.check: Check | None = None
        self._first = first
        self._networks = networks

    def steps(self) -> Steps[Check]:
        """The check itself, in the worker thread; `Progress` after each position."""
        yield Progress(stage="read", step=0, total=1)
        self.stacks = self.subject.stacks()
        with TemporaryDirectory() as folder:
            networks = None
            if any(self._networks):
                file = Path(folder) / "made.safetensors"
                networks = write_networks(file, self._networks)
            listed = places(self.stacks["original"], self._first, MOST_PLANES)
            for number, place in enumerate(listed):
                yield Progress(stage="compare", step=number, total=len(listed))
                self._add(place, networks)
        assert self.check is not None
        return self.check

    def _add(self, place: Place, networks: Path | None) -> None:
        """Check all channels at a position."""
        original = self.stacks["original"]
        found = check_files(
            cut(self.stacks["result"], place),
            cut(original, place),
            recipe=recipe_at(self.subject.recipe, original, place),
            networks=networks,
            nonfinite=self.subject.recipe["config"].get("nonfinite", "refuse"),
        )
        checked = tuple(_placed(plane, place, original) for plane in found.planes)
        if self.check is not None:
            checked = (*self.check.planes, *checked)
        count = len(planes(original.axes, original.data.shape))
        self.check = replace(
            found, planes=checked, count=count, recipe=self.subject.recipe
        )


def recipe_at(
    recipe: Mapping[str, Any], original: ImageStack, place: Place
) -> dict[str, Any]:
    """Recipe as of the planes at a position, numbered anew."""
    report = dict(recipe.get("report") or {})
    listed = planes(original.axes, original.data.shape)
    numbers = [
        plane.number
        for plane in listed
        if all(
            plane.index[original.axes.index(letter)] == at
            for letter, at in place.items()
        )
    ]
    known = {entry["plane"]: entry for entry in report.get("planes", ())}
    report["planes"] = [
        {**known[old], "plane": new} for new, old in enumerate(numbers) if old in known
    ]
    return {**recipe, "report": report}


def _placed(plane: PlaneCheck, place: Place, original: ImageStack) -> PlaneCheck:
    """A check with its place and name in the whole stack."""
    where = plane.place | place
    sizes = dict(zip(original.axes, original.data.shape, strict=True))
    parts = [plane.name] if plane.name else []
    parts += [f"{a} {place[a]}" for a in "TZ" if a in place and sizes[a] > 1]
    return replace(plane, place=where, name=", ".join(parts))
