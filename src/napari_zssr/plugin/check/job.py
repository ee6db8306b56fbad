"""The computation of a check: one position after the other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

from napari_zssr.plugin.check.subject import Place, Subject, cut, places
from napari_zssr.progress import Progress, Steps, map_events
from napari_zssr.stack.check import MOST_PLANES, Check, PlaneCheck, check_steps
from napari_zssr.stack.image import ImageStack, planes
from napari_zssr.zssr.checkpoint import Checkpoint, write_networks

Networks = tuple[Checkpoint | None, ...]
State = Literal["running", "finished", "stopped"]


class CheckJob:
    """Check a result, beginning with the plane that is shown.

    `check` holds what is known so far, None until the first figures are. `positions`
    along T and Z are checked, in all channels.
    """

    def __init__(self, subject: Subject, first: Place, networks: Networks) -> None:
        self.subject = subject
        self.stacks: dict[str, ImageStack] = subject.lazy_stacks()
        self.check: Check | None = None
        self.state: State = "running"
        self.positions = places(self.stacks["original"], first, MOST_PLANES)
        self._first = first
        self._networks = networks

    def steps(self) -> Steps[Check]:
        """The check itself, in the worker thread, with `Progress` at every stage."""
        try:
            yield from self._all_positions()
            self.state = "finished"
        finally:
            if self.state != "finished":
                self.state = "stopped"
        assert self.check is not None
        return self.check

    def _all_positions(self) -> Steps[None]:
        yield Progress(stage="read", step=0, total=1)
        self.stacks = self.subject.stacks()
        with TemporaryDirectory() as folder:
            networks = None
            if any(self._networks):
                file = Path(folder) / "made.safetensors"
                networks = write_networks(file, self._networks)
            for number, place in enumerate(self.positions):
                count = len(self.positions)
                renamed = partial(_of_several, number=number, count=count)
                steps = self._add(place, networks)
                yield from map_events(steps, Progress, renamed)

    def _add(self, place: Place, networks: Path | None) -> Steps[None]:
        """Check all channels at a position."""
        original, earlier = self.stacks["original"], self.check

        def keep(found: Check) -> None:
            self.check = self._with(found, earlier, place)

        yield from check_steps(
            cut(self.stacks["result"], place),
            cut(original, place),
            recipe=recipe_at(self.subject.recipe, original, place),
            networks=networks,
            first=self._first.get("C", 0),
            nonfinite=self.subject.recipe["config"].get("nonfinite", "refuse"),
            on_found=keep,
        )

    def _with(self, found: Check, earlier: Check | None, place: Place) -> Check:
        """What is found at a position after what is known of others."""
        original = self.stacks["original"]
        checked = tuple(self._placed(plane, place) for plane in found.planes)
        if earlier is not None:
            checked = (*earlier.planes, *checked)
        count = len(planes(original.axes, original.data.shape))
        return replace(found, planes=checked, count=count, recipe=self.subject.recipe)

    def _placed(self, plane: PlaneCheck, place: Place) -> PlaneCheck:
        """A check with its place and name in the whole image."""
        where = plane.place | place
        return replace(plane, place=where, name=self.subject.plane_name(where))


def _of_several(event: Progress, number: int, count: int) -> Progress:
    """An event of the check of one of several positions."""
    step, total = number * event.total + event.step, count * event.total
    return replace(event, step=step, total=total, plane=number, planes=count)


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
