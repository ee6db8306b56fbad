"""The cost model: how long a run takes, from measured or assumed rates. No torch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from napari_zssr.config import SHARED_PLANES, Config
from napari_zssr.zssr.start import Starts
from napari_zssr.zssr.training_plan import TrainingPlan, expected_plans

# Most pixels of a plane that pairs are made from.
LEARNED_PX = 16 * 512**2
TILE_PX, HALO_PX = 512, 45
# Sustained multiply-adds a second, by device; rough.
SPEED = {"cpu": 11e9, "mps": 400e9, "cuda": 4e12}
BFLOAT16_SPEED_UP = 3.0
# On a GPU, where launches and what is done beside it count: a training step, a plane
# (judging), and its pixels (noise, checks, files). Counted and measured on a processor.
GPU_STEP_S, GPU_PLANE_S, GPU_PIXEL_S = 1.2e-3, 0.3, 2e-7
# Of a training step, in forward passes.
TRAINING_COST = 3.0
# Versions of the ensemble along Z, where nothing can be turned.
AXIAL_FLIPS = 4
# Multiply-adds of one back-projection, by pixel of the result.
BACK_PROJECTION = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Rates:
    """What the parts of a run cost on one device, for one plan.

    Attributes
    ----------
    step_s : seconds of one training step; of the whole fit for the closed-form
        filter
    pairs_s : seconds that making all pairs takes, by pixel that is learned from
    version_s : seconds that one version of the ensemble takes, back-projection
        included, by pixel of the input
    plane_s : seconds of a plane whatever its size
    """

    step_s: float
    pairs_s: float
    version_s: float
    plane_s: float = 0.0

    def in_proportion(self, measured: Rates, assumed: Rates) -> Rates:
        """These assumed rates, as the measured ones are to assumed ones of their plan.

        Where a plan does not train, its steps tell nothing.
        """
        steps = measured.step_s / assumed.step_s if assumed.step_s else 1.0
        return Rates(
            step_s=self.step_s * steps,
            pairs_s=measured.pairs_s,
            version_s=self.version_s * measured.version_s / assumed.version_s,
        )


def assumed_rates(
    plan: TrainingPlan, *, device: str, cores: int | None, precision: str
) -> Rates:
    """Rates of a device that nothing was measured on, from multiply-adds."""
    speed = SPEED.get(device.split(":")[0], SPEED["cpu"])
    if device == "cpu":
        speed *= max(1, min(cores or 1, 16))
    if precision == "bfloat16":
        speed *= BFLOAT16_SPEED_UP
    fine = plan.factors[0] * plan.factors[1]
    weights = plan.kind.multiply_adds(plan.width, plan.blocks)
    grid = fine if plan.kind.fine_grid else max(1.0, fine / max(plan.ratio) ** 2)
    version = grid * weights + BACK_PROJECTION * fine * plan.back_projection
    crops = plan.batch * plan.crop_px**2
    step = TRAINING_COST * crops * weights / speed if plan.kind.is_trained else 0.0
    if device == "cpu":
        return Rates(step_s=step, pairs_s=0.0, version_s=version / speed)
    return Rates(
        step_s=max(step, GPU_STEP_S),
        pairs_s=GPU_PIXEL_S,
        version_s=version / speed,
        plane_s=GPU_PLANE_S,
    )


def expected_seconds(
    config: Config, starts: Starts, shape: Sequence[int], axes: str, rates: Rates
) -> float:
    """Expected time of a run over all channels and planes."""
    sizes = dict(zip(axes, shape, strict=True))
    y, x = sizes["Y"], sizes["X"]
    planes, channels = sizes.get("T", 1) * sizes.get("Z", 1), sizes.get("C", 1)
    once, each = expected_plans(config, starts, planes)
    learned = min(y * x, LEARNED_PX)
    versions = 8 if each.ensemble else 1
    enlarging = versions * _with_halo(y) * _with_halo(x) * rates.version_s
    judging = learned * rates.pairs_s
    seconds = _training(each, learned, rates) + judging + enlarging
    seconds = planes * (len(each.stages) * seconds + rates.plane_s)
    if once is not None:
        spread = min(min(SHARED_PLANES, planes) * y * x, LEARNED_PX)
        seconds += len(once.stages) * _training(once, spread, rates)
        seconds += (len(once.stages) - 1) * versions * spread * rates.version_s
    return channels * seconds


def expected_axial_seconds(
    plan: TrainingPlan, shape: Sequence[int], axes: str, rates: Rates
) -> float:
    """Expected time of enlarging a stack along Z, of planes that are as they become.

    Parameters
    ----------
    plan : along Z
    rates : of that plan
    """
    sizes = dict(zip(axes, shape, strict=True))
    learned = min(2 * SHARED_PLANES * min(sizes["Y"] * sizes["X"], 256**2), LEARNED_PX)
    training = sizes.get("C", 1) * sizes.get("S", 1) * _training(plan, learned, rates)
    return training + axial_versions(plan) * math.prod(shape) * rates.version_s


def axial_versions(plan: TrainingPlan) -> int:
    """How often every voxel passes a network along Z: in both orientations, flipped."""
    return 2 * (AXIAL_FLIPS if plan.ensemble else 1)


def _training(plan: TrainingPlan, pixels: int, rates: Rates) -> float:
    """Seconds of training for one gradual factor."""
    if not plan.kind.is_trained:
        return rates.step_s + pixels * rates.pairs_s
    return plan.steps * rates.step_s + (pixels * rates.pairs_s if plan.trains else 0.0)


def _with_halo(size: int) -> int:
    """Pixels along one axis of all tiles together."""
    return size + 2 * HALO_PX * (math.ceil(size / TILE_PX) - 1)
