"""The cost model: how long a run takes, from measured or assumed rates. No torch."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from napari_zssr.config import SHARED_PLANES, Config
from napari_zssr.progress import ALONG_Z, SHARED
from napari_zssr.zssr.start import Starts
from napari_zssr.zssr.training_plan import (
    NoiseEstimate,
    TrainingPlan,
    expected_axial_plan,
    expected_plans,
    smallest_axial_px,
)

# Most pixels of a plane that pairs are made from, and that new noise is drawn for every
# so many steps; side of the windows that are learned from along Z.
LEARNED_PX, REFRESH_PX, REFRESH_EVERY = 16 * 512**2, 2 * 512**2, 25
AXIAL_SIDE_PX = 256
# Samples that a result is checked on: fewest and most, the share of small planes that
# they take, and their side; along Z the side of the columns.
FEWEST, SAMPLES, SHARE, SAMPLE_PX = 2, 4, 1 / 2, 128
AXIAL_SAMPLE_PX = 160
TILE_PX, HALO_PX = 512, 45
# Sustained multiply-adds a second, by device; rough.
SPEED = {"cpu": 11e9, "mps": 400e9, "cuda": 4e12}
BFLOAT16_SPEED_UP = 3.0
# On a GPU, where launches and what is done beside it count: a training step, a plane
# (judging), and its pixels (noise, checks, files). Counted and measured on a processor.
GPU_STEP_S, GPU_PLANE_S, GPU_PIXEL_S = 1.2e-3, 0.3, 2e-7
# On a processor: pixels that pairs are made of, twice that with noise, a check of a
# sample, judging, and multiply-adds of fitting a closed-form filter to so many pixels.
CPU_PIXEL_S, CPU_CHECK_S, CPU_JUDGE_S, FIT, FITTED_PX = 2e-6, 0.2, 0.05, 4e9, 2e5
# Of a training step, in forward passes.
TRAINING_COST = 3.0
# How often a network is judged on regions whose noise is drawn anew, and what is done
# beside the networks, of making pairs.
DRAWS, AROUND = 2, 1 / 3
# What estimating the blur along Z takes, by voxel that it is seen in, likewise.
AXIAL_BLUR = 1.6
# Of the steps at most, those that the policy of the paper takes before it stops.
PLATEAU_SHARE = 0.35
# Versions of the ensemble along Z, where nothing can be turned.
AXIAL_FLIPS = 4
# Multiply-adds of one back-projection, by pixel of the result, and what interpolating
# takes of enlarging.
BACK_PROJECTION, INTERPOLATING = 60.0, 0.1

# Seconds of a pass through a stage, and how many there are, by the name of the stage.
Passes = dict[str, tuple[float, float]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rates:
    """What the parts of a run cost on one device, for one plan.

    Attributes
    ----------
    step_s : seconds of one training step, looks at held-out regions included; of
        fitting the closed-form filter, by pixel that is learned from
    fitted_px : pixels from which that filter is fitted to a part of them
    pairs_s : seconds that making all pairs takes, by pixel that is learned from
    version_s : seconds that one version of the ensemble takes, back-projection
        included, by pixel of the input
    first_s : seconds that the first pairs of that size take beyond this, by pixel
    judge_s : seconds of judging a network once
    check_s : seconds of checking one sample of a result
    plane_s : seconds of a plane whatever its size
    """

    step_s: float
    pairs_s: float
    version_s: float
    first_s: float = 0.0
    fitted_px: float = math.inf
    judge_s: float = 0.0
    check_s: float = 0.0
    plane_s: float = 0.0

    def in_proportion(self, measured: Rates, assumed: Rates) -> Rates:
        """These assumed rates, as the measured ones are to assumed ones of their plan.

        Where nothing is trained, here or there, the steps tell nothing.
        """
        version = measured.version_s / assumed.version_s
        trained = measured.step_s and assumed.step_s
        steps = measured.step_s / assumed.step_s if trained else version
        pairs = measured.pairs_s / assumed.pairs_s if assumed.pairs_s else 1.0
        return Rates(
            step_s=self.step_s * steps,
            pairs_s=self.pairs_s * pairs,
            version_s=self.version_s * version,
            first_s=measured.first_s,
            fitted_px=measured.fitted_px,
            judge_s=measured.judge_s,
            check_s=measured.check_s,
            plane_s=measured.plane_s,
        )


def used_cores(cores: int | None) -> int:
    """Of the cores of a processor, those that make training faster."""
    return max(1, min(cores or 1, 16))


# Rates of a plan, as measured or assumed.
RatesOf = Callable[[TrainingPlan], Rates]


def assumed_rates(
    plan: TrainingPlan,
    *,
    device: str,
    cores: int | None,
    precision: str,
    slowness: float = 1.0,
) -> Rates:
    """Rates of a device that no plan was measured on, from multiply-adds.

    `slowness` of the processor: how many times as long as usual it takes.
    """
    speed = SPEED.get(device.split(":")[0], SPEED["cpu"])
    if device == "cpu":
        speed *= used_cores(cores) / slowness
    if precision == "bfloat16":
        speed *= BFLOAT16_SPEED_UP
    fine = plan.factors[0] * plan.factors[1]
    weights = plan.kind.multiply_adds(plan.width, plan.blocks)
    grid = fine if plan.kind.fine_grid else max(1.0, fine / max(plan.ratio) ** 2)
    version = grid * weights + BACK_PROJECTION * fine * plan.back_projection
    crops = plan.batch * plan.crop_px**2
    work = TRAINING_COST * crops * weights if plan.kind.is_trained else FIT / FITTED_PX
    step, fitted = work / speed, math.inf if plan.kind.is_trained else FITTED_PX
    if device == "cpu":
        return Rates(
            step_s=step,
            fitted_px=fitted,
            pairs_s=slowness * CPU_PIXEL_S * (1 if plan.noise.is_clean else 2),
            version_s=version / speed,
            judge_s=slowness * CPU_JUDGE_S,
            check_s=slowness * CPU_CHECK_S,
        )
    return Rates(
        step_s=max(step, GPU_STEP_S) if plan.kind.is_trained else step,
        fitted_px=fitted,
        pairs_s=GPU_PIXEL_S,
        version_s=version / speed,
        plane_s=GPU_PLANE_S,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """What a run is expected to do, in seconds, by the stages of its progress.

    Attributes
    ----------
    shared : what is learned once for the planes of a channel, of all channels
    plane : one plane, the mean of all channels
    axial : along Z
    planes : planes that are enlarged one by one
    channels : channels, each with networks of its own
    """

    shared: Passes
    plane: Passes
    axial: Passes
    planes: int
    channels: int = 1

    @property
    def seconds(self) -> float:
        """Of the whole run."""
        return total(self.shared) + self.planes * total(self.plane) + total(self.axial)

    def lasting(self, seconds: float) -> Work:
        """The same parts in the same proportion, for a run that takes so long."""
        share = seconds / self.seconds if self.seconds else 1.0
        shared, plane, axial = (
            {stage: (share * each, count) for stage, (each, count) in passes.items()}
            for passes in (self.shared, self.plane, self.axial)
        )
        return replace(self, shared=shared, plane=plane, axial=axial)


def total(passes: Passes) -> float:
    """Seconds of all passes."""
    return sum(each * count for each, count in passes.values())


def expected_work(
    config: Config,
    starts: Starts,
    shape: Sequence[int],
    axes: str,
    rates: RatesOf,
    *,
    noise_estimates: Sequence[NoiseEstimate] = (),
    factor_z: float | None = None,
) -> Work:
    """Expected work of a run over all channels and planes.

    Parameters
    ----------
    rates : of a plan
    noise_estimates : of each channel; without them all count as clean
    factor_z : enlargement along Z after that of the planes, None for planes alone
    """
    sizes = dict(zip(axes, shape, strict=True))
    alike, channels = sizes.get("T", 1) * sizes.get("Z", 1), sizes.get("C", 1)
    shared: list[Passes] = []
    plane: list[Passes] = []
    axial: list[Passes] = []
    colours = {2: 1, 4: 3}.get(sizes.get("S", 1), sizes.get("S", 1))
    for number in range(channels):
        noise_estimate = (
            noise_estimates[number] if number < len(noise_estimates) else None
        )
        size = sizes["Y"], sizes["X"]
        if factor_z is None or config.restores_planes:
            once, each = expected_plans(config, starts, alike, colours, noise_estimate)
            useless = noise_estimate is not None and not noise_estimate.gained
            helps = once is None or once.trains or each.trains or not useless
            own = _of_plane(each, size, rates(each), alone=alike == 1, helps=helps)
            if alike == 1 and "pairs" in own:
                own["pairs"] = _and_first(own, size, rates(each))
            plane.append(own)
            if once is not None:
                shared.append(_of_shared(once, size, alike, rates(once)))
        if factor_z is not None:
            # Planes that were restored have lost their noise.
            left = (
                NoiseEstimate()
                if noise_estimate and config.restores_planes
                else noise_estimate
            )
            along_z = expected_axial_plan(config, starts, factor_z, left)
            volume = math.prod(shape) // channels * math.prod(config.factors)
            fine = [n * f for n, f in zip(size, config.factors, strict=True)]
            depth = volume / math.prod(fine)
            samples = sizes.get("S", 1)
            prices = rates(along_z)
            seen = AXIAL_BLUR if config.kernel_z == "estimate" else 0.0
            passes = _of_columns(along_z, fine, depth, samples, prices, seen)
            axial.append({ALONG_Z + stage: cost for stage, cost in passes.items()})
    return Work(
        shared=_together(shared, 1),
        plane=_together(plane, max(1, len(plane))),
        axial=_together(axial, 1),
        planes=alike * channels if plane else 0,
        channels=channels,
    )


def assumed_work(
    config: Config,
    starts: Starts,
    shape: Sequence[int],
    axes: str,
    factor_z: float | None = None,
) -> Work:
    """Expected work where nothing was measured: in what proportion its parts stand."""
    rates = partial(assumed_rates, device="cpu", cores=1, precision="float32")
    return expected_work(config, starts, shape, axes, rates, factor_z=factor_z)


def assessed_samples(pixels: float) -> int:
    """Samples of a plane of so many pixels that a result is checked on, at most."""
    return max(FEWEST, min(SAMPLES, int(SHARE * pixels / SAMPLE_PX**2)))


def axial_versions(plan: TrainingPlan) -> int:
    """How often every voxel passes a network along Z: in both orientations, flipped."""
    return 2 * (AXIAL_FLIPS if plan.ensemble else 1)


def refreshes(plan: TrainingPlan) -> int:
    """How often new pairs are drawn while training for one factor."""
    anew = plan.kind.random_fathers or not plan.noise.is_clean
    steps = expected_steps(plan)
    if not plan.kind.is_trained or not anew or not steps:
        return 0
    first = 0 if plan.kind.random_fathers else 1
    return math.ceil(steps / REFRESH_EVERY) - first


def expected_steps(plan: TrainingPlan) -> int:
    """Training steps for one factor."""
    share = PLATEAU_SHARE if plan.kind.schedule == "plateau" else 1.0
    return round(share * plan.steps)


def _of_plane(
    plan: TrainingPlan, size: Sequence[float], rates: Rates, *, alone: bool, helps: bool
) -> Passes:
    """Seconds of one plane, which is checked by itself if it is alone.

    Where networks do not help it is judged and interpolated.
    """
    y, x = size
    around = rates.plane_s + AROUND * y * x * rates.pairs_s
    versions = 8 if plan.ensemble else 1
    enlarging = _with_halo(y) * _with_halo(x) * rates.version_s
    if not plan.learns_from(size):
        return {"predict": (INTERPOLATING * enlarging + around, 1)}
    final = math.prod(plan.stages[-1])
    # On the way to the final factor less is enlarged.
    passes = sum(math.prod(stage) for stage in plan.stages) / final
    draws = DRAWS if alone and not plan.noise.is_clean else 1
    judging = draws * rates.judge_s + around
    passes_of = _training(plan, min(y * x, LEARNED_PX), rates)
    if alone:
        checks = min(assessed_samples(y * x), _parts(size))
        passes_of["check"] = checks * rates.check_s + judging, 1
        judging = 0.0
    if not helps:
        versions, enlarging = 1, INTERPOLATING * enlarging
    predicting = versions * enlarging + judging / passes
    return passes_of | {"predict": (predicting, passes)}


def _of_shared(
    plan: TrainingPlan, size: Sequence[float], planes: int, rates: Rates
) -> Passes:
    """Seconds of what so many planes share."""
    if not plan.learns_from(size):
        return {}
    spread = min(min(SHARED_PLANES, planes) * math.prod(size), LEARNED_PX)
    stages = len(plan.stages)
    passes = _training(plan, spread, rates)
    passes["pairs"] = _and_first(passes, size, rates)
    judging = (1 if plan.noise.is_clean else DRAWS) * rates.judge_s
    passes["check"] = (assessed_samples(spread) * rates.check_s + judging, 1)
    if stages > 1:
        versions = 8 if plan.ensemble else 1
        passes["predict"] = (versions * spread * rates.version_s, stages - 1)
    return {f"{SHARED}{stage}": cost for stage, cost in passes.items()}


def _of_columns(
    plan: TrainingPlan,
    size: Sequence[float],
    depth: float,
    samples: int,
    rates: Rates,
    blur: float,
) -> Passes:
    """Seconds of one channel along Z, whose planes are as they become.

    `blur`: what estimating it takes, in units of making pairs.
    """
    enlarging = axial_versions(plan) * rates.version_s
    whole = enlarging * depth * math.prod(size) * samples
    if min(size) < smallest_axial_px(plan.factors[0]):
        return {"columns": (INTERPOLATING * whole, 1)}
    windows = math.prod(min(n, AXIAL_SIDE_PX) for n in size)
    learned = min(2 * min(SHARED_PLANES, depth) * windows, LEARNED_PX)
    training = _training(plan, learned, rates)
    sampled = depth * math.prod(min(n, AXIAL_SAMPLE_PX) for n in size)
    passes = {"blur": (blur * sampled * rates.pairs_s, float(samples))}
    passes |= {stage: (each, n * samples) for stage, (each, n) in training.items()}
    passes["predict"] = (enlarging * sampled + rates.judge_s, samples)
    passes["columns"] = whole, 1
    return passes


def _training(plan: TrainingPlan, pixels: float, rates: Rates) -> Passes:
    """Seconds of training, for all gradual factors."""
    stages = len(plan.stages)
    if not plan.kind.is_trained:
        return {
            "pairs": (pixels * rates.pairs_s, stages),
            "fit": (min(pixels, rates.fitted_px) * rates.step_s, stages),
        }
    if not plan.trains:
        return {}
    drawn = refreshes(plan) * min(pixels, REFRESH_PX) * rates.pairs_s
    return {
        "pairs": (pixels * rates.pairs_s, stages),
        "train": (expected_steps(plan) * rates.step_s + drawn, stages),
    }


def _and_first(
    passes: Passes, size: Sequence[float], rates: Rates
) -> tuple[float, float]:
    """Passes of making pairs, for the first time too."""
    each, count = passes.get("pairs", (0.0, 1))
    return each + rates.first_s * min(math.prod(size), LEARNED_PX) / count, count


def _together(parts: Sequence[Passes], share: int) -> Passes:
    """Passes of several channels, over so many of them."""
    names = dict.fromkeys(name for part in parts for name in part)
    return {name: _sum((p[name] for p in parts if name in p), share) for name in names}


def _sum(passes: Iterable[tuple[float, float]], share: int) -> tuple[float, float]:
    listed = list(passes)
    count = sum(n for _, n in listed)
    return sum(each * n for each, n in listed) / max(count, 1e-9), count / share


def _parts(size: Sequence[float]) -> int:
    return math.prod(max(1, round(n / SAMPLE_PX)) for n in size)


def _with_halo(size: float) -> float:
    """Pixels along one axis of all tiles together."""
    return size + 2 * HALO_PX * (math.ceil(size / TILE_PX) - 1)


def rates_key(plan: TrainingPlan, size: tuple[int, int]) -> tuple[Any, ...]:
    """Of a plan and its planes (Y, X) what the time of its parts depends on."""
    fine = plan.factors if plan.kind.fine_grid else None
    blurred = plan.kernel.kind != "bicubic"
    noise = plan.noise.is_clean, plan.is_noisy, bool(plan.noise.jpeg)
    network = plan.kind.name, plan.samples, plan.width, plan.blocks, plan.ratio
    steps = plan.batch, plan.crop_px, plan.initialization, plan.trains
    sides = tuple(min(n, MEASURED_PX) for n in size)
    enlarging = plan.factors, plan.back_projection > 0
    return network, steps, noise, blurred, fine, enlarging, sides


# Largest side of the plane that rates are measured on.
MEASURED_PX = 256
