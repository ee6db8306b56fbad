"""How fast a device learns and enlarges: a few steps, timed."""

from __future__ import annotations

import time
from dataclasses import replace

import torch
from torch import Tensor, nn

from napari_zssr.config import Config
from napari_zssr.imaging.noise import CLEAN
from napari_zssr.kernelspec import KernelSpec
from napari_zssr.progress import Progress, Steps, drain
from napari_zssr.zssr.cost import Rates
from napari_zssr.zssr.networks import RidgeFilter, fit_ridge, on_device, untrained
from napari_zssr.zssr.pairs import HeldOut, PairSet, PairSpec, build_pairs
from napari_zssr.zssr.policy import applications, pair_spec
from napari_zssr.zssr.predict import PredictSpec, predict
from napari_zssr.zssr.trainer import Trainer

LEARNED_SIDE_PX = 256
ENLARGED_SIDE_PX = 96
WARM_UP_STEPS = 2
LEAST_STEPS = 2
MOST_STEPS = 20
ENOUGH_S = 0.4


def calibrate_steps(
    config: Config, *, device: str, precision: str, channels: int = 1
) -> Steps[Rates]:
    """Time the parts of a run on a random plane; takes about a second.

    Parameters
    ----------
    config : Config
    device, precision : str
        Resolved, as in a plan.
    channels : int
        Samples of a plane.

    Returns
    -------
    Rates
    """
    if not config.kernel.concrete:
        # Any blur costs alike.
        config = replace(config, kernel=KernelSpec.parse("gaussian:1"))
    plane = _plane(channels, LEARNED_SIDE_PX, device)
    spec = pair_spec(config, config.factors, CLEAN, 0.0)
    yield _event(0)
    started = time.perf_counter()
    generator = torch.Generator().manual_seed(0)
    made = build_pairs([plane], spec, generator)
    _wait(plane)
    pairs_s = (time.perf_counter() - started) / LEARNED_SIDE_PX**2
    yield _event(1)
    if config.network == "ridge":
        network, step_s = _time_fit(made, generator)
    else:
        network, step_s = yield from _time_steps(plane, spec, config, precision, made)
    yield _event(2)
    version_s = _time_version(network, config, precision, device, channels)
    return Rates(step_s=step_s, pairs_s=pairs_s, version_s=version_s)


def _time_fit(
    made: tuple[PairSet, HeldOut], generator: torch.Generator
) -> tuple[nn.Module, float]:
    started = time.perf_counter()
    network: nn.Module = fit_ridge(*made, generator)
    return network, time.perf_counter() - started


def _time_steps(
    plane: Tensor,
    spec: PairSpec,
    config: Config,
    precision: str,
    made: tuple[PairSet, HeldOut],
) -> Steps[tuple[nn.Module, float]]:
    """A network as in a run, and seconds of one step."""
    known_blur = config.network == "residual" and spec.kernel.kind != "bicubic"
    base = RidgeFilter(spec.ratio) if known_blur else None
    network = untrained(config, len(plane), spec.ratio, seed=0, base=base)
    network = on_device(network, plane.device)
    trainer = Trainer(
        network, [plane], spec, config, precision=precision, seed=0, made=made
    )
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
    network: nn.Module, config: Config, precision: str, device: str, channels: int
) -> float:
    """Seconds by input pixel of one version of the ensemble."""
    plane = _plane(channels, ENLARGED_SIDE_PX, device)
    spec = PredictSpec(
        factors=config.factors,
        applications=applications(config, config.factors),
        kernel=config.kernel,
        back_projection=config.back_projection,
        precision=precision,
    )
    # The first time computes the matrices of resampling.
    drain(predict(network, plane, spec))
    started = time.perf_counter()
    drain(predict(network, plane, spec))
    return (time.perf_counter() - started) / ENLARGED_SIDE_PX**2


def _plane(channels: int, side: int, device: str) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.rand(channels, side, side, generator=generator).to(device)


def _wait(tensor: Tensor) -> None:
    """Until the device has done what it was told."""
    float(tensor.flatten()[0])


def _event(step: int) -> Progress:
    return Progress(stage="calibrate", step=step, total=3)
