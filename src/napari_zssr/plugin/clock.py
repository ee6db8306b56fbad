"""How much of a run is done, and how long the rest takes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from napari_zssr.progress import (
    ALONG_Z,
    SHARED,
    Event,
    PlaneDone,
    Progress,
    sentence_case,
    stage_text,
)
from napari_zssr.units import duration_text
from napari_zssr.zssr.cost import Passes, Work, total

EARLIEST_S = 3.0
# Below this the rest is not told in seconds: it may last a little longer.
LEAST_LEFT_S = 0.5
JOIN = " \u00b7 "
# Stages that do not count towards the completed fraction.
BEFORE = ("read", "plan", "learn")


class Clock:
    """Share of a run that is done, by its expected work.

    `sizes` of the image by axis, in their order, tell which slice a plane is.
    """

    def __init__(self, work: Work, sizes: Mapping[str, int] | None = None) -> None:
        self.sizes = sizes or {}
        self._planes, self._networks = work.planes, work.channels
        self._plane, self._shared, self._axial = work.plane, work.shared, work.axial
        every = (*self._plane, *self._shared, *self._axial)
        self._done = dict.fromkeys(every, 0)
        self._last: tuple[int, str, int] = (0, "", 0)
        self.share = 0.0
        self._share_at_start: float | None = None

    @property
    def of_rest(self) -> float:
        """Share that is done of what was left when the run began or went on."""
        start = self._share_at_start or 0.0
        return (self.share - start) / (1 - start) if start < 1 else 1.0

    def network(self, event: Progress) -> tuple[int, int] | None:
        """Number of the network that is trained for all slices, and their count.

        None where there is only one, or each slice has its own.
        """
        _, passes = {**self._shared, **self._axial}.get(event.stage, (0.0, 0))
        if not event.stage.endswith("train") or self._networks < 2:
            return None
        stages = max(1, round(passes / self._networks))
        number = min(self._done.get(event.stage, 0) // stages + 1, self._networks)
        return (number, self._networks) if passes else None

    def update(self, event: Progress) -> float:
        """Take in an event; returns the share of the run that is done, 0..1."""
        if event.stage in BEFORE:
            return self.share
        plane, stage, step = self._last
        if event.plane != plane:
            self._done |= dict.fromkeys(self._plane, 0)
        elif stage in self._done and (event.stage != stage or event.step < step):
            self._done[stage] += 1
        self._last = (event.plane, event.stage, event.step)
        # It never goes back: training may end early, and planes differ.
        self.share = max(self.share, self._share(event))
        if self._share_at_start is None:
            self._share_at_start = self.share
        return self.share

    def _share(self, event: Progress) -> float:
        once, plane = total(self._shared), total(self._plane)
        planes = self._planes if self._axial else event.planes
        if event.stage.startswith(SHARED):
            done = self._spent(self._shared, event)
        elif event.stage.startswith(ALONG_Z):
            done = once + planes * plane + self._spent(self._axial, event)
        else:
            done = once + event.plane * plane + self._spent(self._plane, event)
        whole = once + planes * plane + total(self._axial)
        return min(1.0, done / whole) if whole else 0.0

    def _spent(self, passes: Passes, event: Progress) -> float:
        done = sum(
            each * min(self._done[stage], count)
            for stage, (each, count) in passes.items()
        )
        running, _ = passes.get(event.stage, (0.0, 0))
        return min(total(passes), done + running * event.step / max(1, event.total))


def seconds_left(
    share: float, elapsed: float, expected: float | None = None
) -> float | None:
    """Remaining time in seconds; None while it is too early to estimate.

    What was `expected` before counts less and less, from half of the run on no more.
    """
    if share < 0.02 or elapsed < EARLIEST_S:
        return None
    seconds = elapsed / share
    if expected is not None:
        trust = min(1.0, 2 * share)
        seconds = trust * seconds + (1 - trust) * expected
    return max(0.0, seconds - elapsed)


class Pace:
    """Remaining time of a run by the slices that are done, once there are any.

    What a slice was expected to take counts no more: whether networks are of use to the
    slices, and so how long each takes, shows in the first of them.
    """

    def __init__(self) -> None:
        self._began = 0.0
        self._done = self._planes = 0
        self._elapsed = 0.0

    def note(self, event: Event, elapsed: float) -> None:
        """Take in an event, so many seconds after the run began."""
        if isinstance(event, PlaneDone):
            self._done += 1
            self._elapsed, self._planes = elapsed, event.planes - event.done
        elif isinstance(event, Progress) and event.stage.startswith(SHARED):
            self._began = elapsed

    def left(self, elapsed: float) -> float | None:
        """Seconds that the slices left will take; None before one is done."""
        if not self._done or not self._planes:
            return None
        each = (self._elapsed - self._began) / self._done
        return max(0.0, each * self._planes - (elapsed - self._elapsed))


def status(
    event: Progress,
    left: float | None = None,
    *,
    job: str = "",
    network: tuple[int, int] | None = None,
    sizes: Mapping[str, int] | None = None,
) -> str:
    """Status line: job, slice, network, stage and remaining time (s).

    `network` is the number of the network that is trained, and how many there are;
    `sizes` are those of the image by axis.
    """
    parts = [job] if job else []
    if not event.stage.startswith((SHARED, ALONG_Z)):
        parts += _plane_texts(event, sizes or {})
    if network is not None:
        parts.append(f"network {network[0]} of {network[1]}")
    parts.append(stage_text(event.stage))
    if left is not None:
        is_over = left < LEAST_LEFT_S
        parts.append("nearly done" if is_over else f"about {duration_text(left)} left")
    return sentence_case(JOIN.join(parts))


def _plane_texts(event: Progress, sizes: Mapping[str, int]) -> list[str]:
    """Number of the slice and of the channel, of those that there are several of."""
    stacked = {letter: n for letter, n in sizes.items() if letter not in "YXS"}
    if math.prod(stacked.values()) != event.planes:
        stacked = {"Z": event.planes}
    number, channel, count, channels = 0, 0, 1, 1
    at = np.unravel_index(event.plane, tuple(stacked.values()))
    for (letter, size), index in zip(stacked.items(), at, strict=True):
        if letter == "C":
            channel, channels = int(index), size
        else:
            number, count = number * size + int(index), count * size
    texts = [f"slice {number + 1} of {count}"] if count > 1 else []
    return texts + ([f"channel {channel + 1} of {channels}"] if channels > 1 else [])


class JobsClock:
    """Share of a run of several jobs that is done; each takes a part of the whole.

    `weights` are the expected costs of the jobs, in any unit.
    """

    def __init__(self, weights: Sequence[float]) -> None:
        self.count = len(weights)
        self.number = 0
        self._weights = list(weights)
        self.share = 0.0

    def begin_job(self) -> None:
        """Go on to the next job."""
        self.number += 1
        done = self._part(self.number - 1)
        self.share = max(self.share, done)

    def update(self, clock: Clock) -> float:
        """Take in the share of the job that is running; returns that of the run."""
        before, after = self._part(self.number - 1), self._part(self.number)
        self.share = max(self.share, before + (after - before) * clock.share)
        return self.share

    @property
    def waiting(self) -> float:
        """Expected cost of the jobs that wait, in units of that which is running."""
        running = self._weights[self.number - 1]
        return sum(self._weights[self.number :]) / running if running else 0.0

    def _part(self, jobs: int) -> float:
        """Share of the run that the first so many jobs take."""
        return sum(self._weights[:jobs]) / (sum(self._weights) or 1.0)
