"""How much of a run is done, and how long the rest takes."""

from __future__ import annotations

import math
from collections.abc import Sequence

from napari_zssr.config import Config
from napari_zssr.plugin.estimate import format_duration
from napari_zssr.progress import ALONG_Z, Progress
from napari_zssr.stack.image import output_shape
from napari_zssr.zssr.cost import axial_versions
from napari_zssr.zssr.start import Starts
from napari_zssr.zssr.training_plan import (
    TrainingPlan,
    expected_axial_plan,
    expected_plans,
)

# Forward and backward against forward alone.
TRAINING_COST = 3.0
EARLIEST_S = 3.0
SHARED = "shared "
JOIN = " \u00b7 "
Passes = dict[str, tuple[float, int]]
# Stages that do not count towards the completed fraction.
BEFORE = ("read", "plan", "learn")
STAGES = {
    "read": "reading the layer",
    "plan": "preparing",
    "learn": "preparing",
    "pairs": "preparing training data",
    "fit": "fitting the filter",
    "train": "training",
    "check": "checking the result",
    "predict": "enlarging",
    "shared read": "preparing training data",
    "shared pairs": "preparing training data",
    "shared train": "training on several slices",
    "shared predict": "training on several slices",
    "shared check": "checking several slices",
    "planes": "enlarging",
    "compare": "comparing with the original",
    "report": "writing the report",
    f"{ALONG_Z}pairs": "preparing training data along Z",
    f"{ALONG_Z}train": "training along Z",
    f"{ALONG_Z}fit": "fitting the filter along Z",
    f"{ALONG_Z}predict": "training along Z",
    f"{ALONG_Z}columns": "enlarging along Z",
}


class Clock:
    """Share of a run that is done; `shape` and `axes` are those of its image."""

    def __init__(
        self,
        config: Config,
        starts: Starts,
        shape: Sequence[int],
        axes: str,
        factor_z: float | None = None,
    ) -> None:
        sizes = dict(zip(axes, shape, strict=True))
        channels = sizes.get("C", 1)
        self._networks = channels
        self._planes = channels * sizes.get("T", 1) * sizes.get("Z", 1)
        # What a pass takes, and how many there are: in a plane, in what is shared, and
        # along Z.
        self._plane: Passes = {}
        self._shared: Passes = {}
        self._axial: Passes = {}
        if factor_z is None or config.restores_planes:
            pixels = float(sizes["Y"] * sizes["X"])
            self._add_planes(config, starts, pixels, self._planes // channels, channels)
        if factor_z is not None:
            plan = expected_axial_plan(config, starts, factor_z)
            fine = math.prod(output_shape(shape, axes, config.factors))
            networks = channels * sizes.get("S", 1)
            training = _trained(plan) if plan.kind.is_trained else 0.0
            self._axial = {
                f"{ALONG_Z}train": (training, networks),
                f"{ALONG_Z}columns": (float(axial_versions(plan) * fine), 1),
            }
        every = (*self._plane, *self._shared, *self._axial)
        self._done = dict.fromkeys(every, 0)
        self._last: tuple[int, str, int] = (0, "", 0)
        self.share = 0.0
        self._share_at_start: float | None = None

    def _add_planes(
        self,
        config: Config,
        starts: Starts,
        pixels: float,
        alike: int,
        channels: int,
    ) -> None:
        """Note what planes of so many pixels take, so many alike in a channel."""
        once, each = expected_plans(config, starts, alike)
        stages = len(each.stages)
        versions = 8 if each.ensemble else 1
        self._plane["predict"] = (versions * pixels, stages)
        if each.kind.is_trained:
            self._plane["train"] = (_trained(each), stages)
        else:
            self._plane["fit"] = (pixels, 1)
        if once is not None:
            self._shared[SHARED + "train"] = _trained(once), channels * len(once.stages)

    @property
    def share_at_start(self) -> float:
        """Share that was done when the run began or went on."""
        return self._share_at_start or 0.0

    def network(self, event: Progress) -> tuple[int, int] | None:
        """Number of the network that is trained for all slices, and their count.

        None where there is only one, or each slice has its own.
        """
        _, passes = {**self._shared, **self._axial}.get(event.stage, (0.0, 0))
        if not event.stage.endswith("train") or self._networks < 2:
            return None
        stages = max(1, passes // self._networks)
        number = min(self._done.get(event.stage, 0) // stages + 1, self._networks)
        return (number, self._networks) if passes else None

    def tell(self, event: Progress) -> float:
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
        once, plane = _cost(self._shared), _cost(self._plane)
        planes = self._planes if self._axial else event.planes
        if event.stage.startswith(SHARED):
            done = self._spent(self._shared, event)
        elif event.stage.startswith(ALONG_Z):
            done = once + planes * plane + self._spent(self._axial, event)
        else:
            done = once + event.plane * plane + self._spent(self._plane, event)
        whole = once + planes * plane + _cost(self._axial)
        return min(1.0, done / whole) if whole else 0.0

    def _spent(self, passes: Passes, event: Progress) -> float:
        done = sum(
            each * min(self._done[stage], count)
            for stage, (each, count) in passes.items()
        )
        running, _ = passes.get(event.stage, (0.0, 0))
        return min(_cost(passes), done + running * event.step / max(1, event.total))


def _cost(passes: Passes) -> float:
    return sum(each * count for each, count in passes.values())


def _trained(plan: TrainingPlan) -> float:
    """What training for one gradual factor takes."""
    return plan.steps * plan.batch * plan.crop_px**2 * TRAINING_COST


def seconds_left(share: float, elapsed: float) -> float | None:
    """Remaining time in seconds; None while it is too early to estimate."""
    if share < 0.02 or elapsed < EARLIEST_S:
        return None
    return elapsed * (1 - share) / share


def status(
    event: Progress,
    left: float | None = None,
    *,
    job: str = "",
    network: tuple[int, int] | None = None,
) -> str:
    """Status line: job, slice, network, stage and remaining time (s).

    `network` is the number of the network that is trained, and how many there are.
    """
    parts = [job] if job else []
    along_z = event.stage.startswith(ALONG_Z)
    if event.planes > 1 and not event.stage.startswith(SHARED) and not along_z:
        parts.append(f"slice {event.plane + 1} of {event.planes}")
    if network is not None:
        parts.append(f"network {network[0]} of {network[1]}")
    parts.append(STAGES.get(event.stage, event.stage))
    if left is not None:
        parts.append(f"about {format_duration(left)} left")
    line = JOIN.join(parts)
    return line[:1].upper() + line[1:]


class JobsClock:
    """Share of a run of several jobs that is done; each takes a part of the whole.

    `weights` are the expected costs of the jobs, in any unit.
    """

    def __init__(self, weights: Sequence[float]) -> None:
        self.count = len(weights)
        self.number = 0
        self._weights = list(weights)
        self._at_start: float | None = None
        self.share = 0.0

    def begin_job(self) -> None:
        """Go on to the next job."""
        self.number += 1
        done = self._part(self.number - 1)
        self.share = max(self.share, done)

    def tell(self, clock: Clock) -> float:
        """Take in the share of the job that is running; returns that of the run."""
        before, after = self._part(self.number - 1), self._part(self.number)
        if self._at_start is None:
            self._at_start = before + (after - before) * clock.share_at_start
        self.share = max(self.share, before + (after - before) * clock.share)
        return self.share

    @property
    def of_rest(self) -> float:
        """Share that is done of what was left when the run began or went on."""
        start = self._at_start or 0.0
        return (self.share - start) / (1 - start) if start < 1 else 1.0

    def _part(self, jobs: int) -> float:
        """Share of the run that the first so many jobs take."""
        return sum(self._weights[:jobs]) / (sum(self._weights) or 1.0)
