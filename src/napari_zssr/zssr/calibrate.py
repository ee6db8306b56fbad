"""How fast a device learns and enlarges: a few steps, timed."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import replace
from statistics import median

import torch
from torch import Tensor, nn

from napari_zssr.kernelspec import KernelSpec
from napari_zssr.progress import Progress, Steps, drain
from napari_zssr.zssr.cost import (
    MEASURED_PX,
    REFRESH_EVERY,
    SAMPLE_PX,
    TRAINING_COST,
    Rates,
    used_cores,
)
from napari_zssr.zssr.judge import assess
from napari_zssr.zssr.networks import (
    MAX_SAMPLES,
    RidgeFilter,
    fit_ridge,
    on_device,
    restored,
    untrained,
)
from napari_zssr.zssr.pairs import HeldOut, PairSet, PairSpec, build_pairs, pair_spec
from napari_zssr.zssr.plane_trainer import TrainingData, judge
from napari_zssr.zssr.predict import predict, predict_spec
from napari_zssr.zssr.pretrained import PretrainedStart
from napari_zssr.zssr.start import Starts, initial_checkpoint
from napari_zssr.zssr.trainer import CHECK_EVERY, Trainer
from napari_zssr.zssr.training_plan import Execution, TrainingPlan

# What times are measured with.
CLOCK = time.perf_counter
ENLARGED_SIDE_PX = 192
WARM_UP_STEPS = 2
LEAST_STEPS = 6
MOST_STEPS = 20
ENOUGH_S = 0.4
# How often a part is timed; the median counts, as a core may be taken away meanwhile.
REPEATS = 3
# Of the test of the processor: batch, channels and side of what it convolves, how long
# it takes, and multiply-adds a second on one core that `SPEED` counts as usual.
TEST_BATCH, TEST_WIDTH, TEST_PX, TEST_S, TEST_SPEED = 8, 32, 48, 0.3, 45e9


def slowness(cores: int) -> float:
    """How many times as long as usual the processor takes, whatever keeps it busy.

    Trains two layers on noise for a third of a second.
    """
    generator = torch.Generator().manual_seed(0)
    crops = torch.rand((TEST_BATCH, TEST_WIDTH, TEST_PX, TEST_PX), generator=generator)
    layers = torch.rand((2, TEST_WIDTH, TEST_WIDTH, 3, 3), generator=generator)
    layers.requires_grad_()

    def step() -> None:
        features = crops
        for layer in layers:
            features = nn.functional.conv2d(features, layer, padding=1)
        torch.autograd.grad(features.mean(), layers)

    for _ in range(WARM_UP_STEPS):
        step()
    count, started = 0, CLOCK()
    while (elapsed := CLOCK() - started) < TEST_S:
        step()
        count += 1
    done = count * TRAINING_COST * layers.numel() * TEST_BATCH * TEST_PX**2
    return used_cores(cores) * TEST_SPEED * elapsed / done


def calibrate_steps(
    plan: TrainingPlan,
    starts: Starts = (),
    *,
    size: tuple[int, int] = (MEASURED_PX, MEASURED_PX),
    device: str,
    precision: str,
) -> Steps[Rates]:
    """Time the parts of a run on a random plane; takes one to three seconds.

    Parameters
    ----------
    plan : what is done with a plane
    starts : what its training may start from
    size : of the planes (Y, X), of which no more than a part is measured on
    """
    if not plan.kernel.is_concrete:
        # Any blur costs alike.
        plan = replace(plan, kernel=KernelSpec.parse("gaussian:1"))
    execution = Execution(device=device, precision=precision)
    sides = min(size[0], MEASURED_PX), min(size[1], MEASURED_PX)
    plane = _plane(plan.samples, sides, device)
    yield _event(0)
    spec = pair_spec(plan, plan.factors)
    generator = torch.Generator().manual_seed(0)
    pairs, pairs_s, first_s = _time_pairs(plane, spec, generator)
    yield _event(1)
    fitted_px = math.inf
    if plan.kind.is_trained:
        network, step_s = yield from _time_steps(
            plane, spec, plan, starts, execution, pairs
        )
    else:
        started = CLOCK()
        network = fit_ridge(*pairs, generator)
        pixels = plane[0].numel()
        fitted_px = MAX_SAMPLES * pixels / (float(pairs[0].weights.sum()) * len(plane))
        step_s = (CLOCK() - started) / min(pixels, fitted_px)
    yield _event(2)
    version_s = _time_version(network, plan, sides, execution)
    yield _event(3)
    data = TrainingData.of_plane(plane)
    judge(network, data, plan, execution, draws=1)
    judge_s = _timed(lambda: judge(network, data, plan, execution, draws=1))
    yield _event(4)
    sample = plane[:, :SAMPLE_PX, :SAMPLE_PX]
    started = CLOCK()
    yield from assess(network, [sample], plan, execution)
    return Rates(
        step_s=step_s,
        pairs_s=pairs_s,
        version_s=version_s,
        first_s=first_s,
        fitted_px=fitted_px,
        judge_s=judge_s,
        check_s=CLOCK() - started,
    )


def _time_pairs(
    plane: Tensor, spec: PairSpec, generator: torch.Generator
) -> tuple[tuple[PairSet, HeldOut], float, float]:
    """Pairs, seconds of making them by pixel, and what the first time took beyond."""
    seconds = []
    for _ in range(1 + REPEATS):
        started = CLOCK()
        pairs = build_pairs([plane], spec, generator)
        # Wait until the device has done what was asked of it.
        float(pairs[0].sons.flatten()[-1])
        seconds.append((CLOCK() - started) / plane[0].numel())
    usual = median(seconds[1:])
    return pairs, usual, max(0.0, seconds[0] - usual)


def _network(
    plan: TrainingPlan, starts: Starts, spec: PairSpec, execution: Execution
) -> nn.Module:
    """A network as in a run."""
    start = next((s for s in starts if isinstance(s, PretrainedStart)), None)
    device = torch.device(execution.device)
    if start is None or not plan.initialization:
        stands = plan.kind.base and spec.kernel.kind != "bicubic"
        base = RidgeFilter(spec.ratio) if stands else None
        network = untrained(plan, spec.ratio, seed=0, base=base)
        return on_device(network, device)
    checkpoint = initial_checkpoint(
        start,
        samples=plan.samples,
        factors=plan.factors,
        kernel=plan.kernel,
        noise=plan.noise,
        staged=False,
    )
    return on_device(restored(checkpoint), device)


def _time_steps(
    plane: Tensor,
    spec: PairSpec,
    plan: TrainingPlan,
    starts: Starts,
    execution: Execution,
    pairs: tuple[PairSet, HeldOut],
) -> Steps[tuple[nn.Module, float]]:
    """A network as in a run, and seconds of one step, with looks at held-out regions.

    Of a network that is not trained its steps take nothing.
    """
    network = _network(plan, starts, spec, execution)
    if not plan.trains:
        return network, 0.0
    trainer = Trainer(network, [plane], spec, plan, execution, pairs=pairs)
    crops = trainer.draw(WARM_UP_STEPS + MOST_STEPS)
    for crop in crops[:WARM_UP_STEPS]:
        float(trainer.step(crop, 0.1))
        yield _event(1)
    seconds: list[float] = []
    for crop in crops[WARM_UP_STEPS:]:
        started = CLOCK()
        float(trainer.step(crop, 0.1))
        trainer.average.update(trainer.network)
        seconds.append(CLOCK() - started)
        yield _event(1)
        if len(seconds) >= LEAST_STEPS and sum(seconds) > ENOUGH_S:
            break
    step_s = median(seconds)
    if plan.kind.schedule != "one cycle":
        return network, step_s
    every = CHECK_EVERY if trainer.initial is None else REFRESH_EVERY
    return network, step_s + _timed(trainer.held_out_error) / every


def _time_version(
    network: nn.Module, plan: TrainingPlan, sides: tuple[int, int], execution: Execution
) -> float:
    """Seconds by input pixel of one version of the ensemble."""
    sides = min(sides[0], ENLARGED_SIDE_PX), min(sides[1], ENLARGED_SIDE_PX)
    plane = _plane(plan.samples, sides, execution.device)
    spec = replace(predict_spec(plan, plan.factors, execution), transforms=(0,))
    # The first time computes the matrices of resampling.
    drain(predict(network, plane, spec))
    return _timed(lambda: drain(predict(network, plane, spec))) / plane[0].numel()


def _timed(compute: Callable[[], object]) -> float:
    """Seconds of a computation."""
    seconds = []
    for _ in range(REPEATS):
        started = CLOCK()
        compute()
        seconds.append(CLOCK() - started)
    return median(seconds)


def _plane(channels: int, sides: tuple[int, int], device: str) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.rand(channels, *sides, generator=generator).to(device)


def _event(step: int) -> Progress:
    return Progress(stage="calibrate", step=step, total=5)
