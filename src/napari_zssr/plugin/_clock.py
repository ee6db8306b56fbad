"""How far a run is and how long it will still take, from its events."""

from __future__ import annotations

from collections.abc import Sequence

from napari_zssr.config import Config
from napari_zssr.progress import Progress

# Forward and backward against forward alone.
TRAINING_COST = 3.0
EARLIEST_S = 3.0
SHARED = "shared "
SHARED_TRAIN = SHARED + "train"
# They say nothing of how much is done.
BEFORE = ("read", "plan", "learn")
STAGES = {
    "read": "reading the layer",
    "plan": "looking at the image and the device",
    "learn": "learning what slices have in common",
    "pairs": "cutting examples from the image",
    "fit": "fitting",
    "train": "training",
    "check": "checking parts of the result",
    "predict": "enlarging",
    "shared read": "looking at several slices",
    "shared pairs": "cutting examples from several slices",
    "shared train": "training on several slices",
    "shared predict": "enlarging parts of several slices",
    "shared check": "checking parts of several slices",
}


class Clock:
    """Share of a run that is done.

    Parameters
    ----------
    config : Config
    shape : sequence of int
        Size of what is enlarged, along each axis.
    axes : str
    """

    def __init__(self, config: Config, shape: Sequence[int], axes: str) -> None:
        sizes = dict(zip(axes, shape, strict=True))
        pixels = sizes["Y"] * sizes["X"]
        alike, channels = sizes.get("T", 1) * sizes.get("Z", 1), sizes.get("C", 1)
        strategy = config.strategy_for(alike)
        shared = strategy != "independent"
        steps = config.tuned_steps if strategy == "tuned" else 0
        each, stages = (steps, 1) if shared else (config.steps, config.stages)
        versions = 8 if config.ensemble else 1
        ridge = config.network == "ridge"
        self._weights = {
            "fit": float(pixels),
            "train": 0.0 if ridge else _trained(config, each),
            "predict": float(versions * pixels),
        }
        self._passes = {
            "fit": 1 if ridge else 0,
            "train": stages,
            "predict": stages,
        }
        once = config.stages * _trained(config, config.shared_steps)
        self._once = channels * once if shared else 0.0
        self._step_once = _trained(config, config.shared_steps) if shared else 0.0
        self._whole = sum(w * self._passes[s] for s, w in self._weights.items())
        self._done = dict.fromkeys([*self._weights, SHARED_TRAIN], 0)
        self._last: tuple[int, str, int] = (0, "", 0)
        self.share = 0.0
        self._begun: float | None = None

    @property
    def of_rest(self) -> float:
        """Share that is done of what was left when the run began or went on."""
        begun = self._begun or 0.0
        return (self.share - begun) / (1 - begun) if begun < 1 else 1.0

    def tell(self, event: Progress) -> float:
        """Take in an event; returns the share of the run that is done, 0..1."""
        if event.stage in BEFORE:
            return self.share
        plane, stage, step = self._last
        if event.plane != plane:
            self._done |= dict.fromkeys(self._weights, 0)
        elif stage in self._done and (event.stage != stage or event.step < step):
            self._done[stage] += 1
        self._last = (event.plane, event.stage, event.step)
        # It never goes back: training may end early, and planes differ.
        self.share = max(self.share, self._share(event))
        if self._begun is None:
            self._begun = self.share
        return self.share

    def _share(self, event: Progress) -> float:
        whole = self._once + event.planes * self._whole
        if event.stage.startswith(SHARED):
            done = self._done[SHARED_TRAIN] * self._step_once
            if event.stage == SHARED_TRAIN:
                done += self._step_once * event.step / max(1, event.total)
            done = min(self._once, done)
        else:
            done = self._once + event.plane * self._whole + self._within_plane(event)
        return min(1.0, done / whole) if whole else 0.0

    def _within_plane(self, event: Progress) -> float:
        done = sum(
            w * min(self._done[s], self._passes[s]) for s, w in self._weights.items()
        )
        running = self._weights.get(event.stage, 0.0)
        done += running * event.step / max(1, event.total)
        return min(self._whole, done)


def _trained(config: Config, steps: int) -> float:
    """What training takes."""
    return steps * config.batch * config.crop_px**2 * TRAINING_COST


def seconds_left(share: float, elapsed: float) -> float | None:
    """Time that is left, None where it is too early to tell."""
    if share < 0.02 or elapsed < EARLIEST_S:
        return None
    return elapsed * (1 - share) / share


def in_words(seconds: float) -> str:
    """Duration in words: ``12 s``, ``3 min``, ``2.5 h``."""
    if seconds < 100:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    if seconds < 6000:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"


def status(event: Progress, left: float | None) -> str:
    """Where a run stands, in one line."""
    stage = STAGES.get(event.stage, event.stage)
    one = event.planes > 1 and not event.stage.startswith(SHARED)
    where = f"Slice {event.plane + 1} of {event.planes}: " if one else ""
    line = f"{where}{stage}" if where else stage.capitalize()
    if event.total > 1:
        line += f", {100 * event.step // event.total} %"
    return line if left is None else f"{line}; about {in_words(left)} left"
