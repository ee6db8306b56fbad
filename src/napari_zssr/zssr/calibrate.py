"""How fast a device learns and enlarges: a few steps, timed."""

from __future__ import annotations

import time
from dataclasses import replace

import torch
from torch import Tensor, nn

from napari_zssr.config import Config, change
from napari_zssr.progress import Progress, Steps, drain
from napari_zssr.zssr.cost import Rates
from napari_zssr.zssr.networks import RidgeFilter, fit_ridge, on_device, untrained
from napari_zssr.zssr.pairs import HeldOut, PairSet, PairSpec, build_pairs, pair_spec
from napari_zssr.zssr.predict import predict, predict_spec
from napari_zssr.zssr.start import Starts
from napari_zssr.zssr.trainer import Trainer
from napari_zssr.zssr.training_plan import Execution, TrainingPlan, expected_plans

LEARNED_SIDE_PX = 256
ENLARGED_SIDE_PX = 96
WARM_UP_STEPS = 2
LEAST_STEPS = 2
MOST_STEPS = 20
ENOUGH_S = 0.4


def calibrate_steps(
    config: Config,
    starts: Starts = (),
    *,
    device: str,
    precision: str,
    samples: int = 1,
) -> Steps[Rates]:
    """Time the parts of a run on a random plane; takes about a second."""
    if not config.kernel.is_concrete:
        # Any blur costs alike.
        config = change(config, kernel="gaussian:1")
    _, plan = expected_plans(config, starts, 1, samples)
    execution = Execution(device=device, precision=precision)
    plane = _plane(samples, LEARNED_SIDE_PX, device)
    spec = pair_spec(plan, plan.factors)
    yield _event(0)
    started = time.perf_counter()
    generator = torch.Generator().manual_seed(0)
    pairs = build_pairs([plane], spec, generator)
    # Wait until the device has done what it was told.
    float(plane.flatten()[0])
    pairs_s = (time.perf_counter() - started) / LEARNED_SIDE_PX**2
    yield _event(1)
    if plan.kind.is_trained:
        network, step_s = yield from _time_steps(plane, spec, plan, execution, pairs)
    else:
        started = time.perf_counter()
        network = fit_ridge(*pairs, generator)
        step_s = time.perf_counter() - started
    yield _event(2)
    version_s = _time_version(network, plan, execution)
    return Rates(step_s=step_s, pairs_s=pairs_s, version_s=version_s)


def _time_steps(
    plane: Tensor,
    spec: PairSpec,
    plan: TrainingPlan,
    execution: Execution,
    pairs: tuple[PairSet, HeldOut],
) -> Steps[tuple[nn.Module, float]]:
    """A network as in a run, and seconds of one step."""
    stands = plan.kind.base and spec.kernel.kind != "bicubic"
    base = RidgeFilter(spec.ratio) if stands else None
    network = untrained(plan, spec.ratio, seed=0, base=base)
    network = on_device(network, plane.device)
    trainer = Trainer(network, [plane], spec, plan, execution, pairs=pairs)
    crops = trainer.draw(WARM_UP_STEPS + MOST_STEPS)
    for crop in crops[:WARM_UP_STEPS]:
        float(trainer.step(crop, 0.1))
        yield _event(1)
    started, done = time.perf_counter(), 0
    for crop in crops[WARM_UP_STEPS:]:
        float(trainer.step(crop, 0.1))
        trainer.average.update(trainer.network)
        done += 1
        yield _event(1)
        if done >= LEAST_STEPS and time.perf_counter() - started > ENOUGH_S:
            break
    return network, (time.perf_counter() - started) / done


def _time_version(
    network: nn.Module, plan: TrainingPlan, execution: Execution
) -> float:
    """Seconds by input pixel of one version of the ensemble."""
    plane = _plane(plan.samples, ENLARGED_SIDE_PX, execution.device)
    spec = replace(predict_spec(plan, plan.factors, execution), transforms=(0,))
    # The first time computes the matrices of resampling.
    drain(predict(network, plane, spec))
    started = time.perf_counter()
    drain(predict(network, plane, spec))
    return (time.perf_counter() - started) / ENLARGED_SIDE_PX**2


def _plane(channels: int, side: int, device: str) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.rand(channels, side, side, generator=generator).to(device)


def _event(step: int) -> Progress:
    return Progress(stage="calibrate", step=step, total=3)
