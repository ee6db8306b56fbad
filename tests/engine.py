"""The engine on single planes, from settings: what tests ask for most."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import Tensor, nn

from napari_zssr.config import Config
from napari_zssr.imaging.noise import CLEAN, NoiseModel
from napari_zssr.imaging.resample import Window
from napari_zssr.progress import Steps
from napari_zssr.zssr import networks, pairs
from napari_zssr.zssr.judge import Assessment
from napari_zssr.zssr.plane_trainer import (
    PlaneResult,
    trial_assessment,
    upscale_plane,
)
from napari_zssr.zssr.predict import back_projection_iterations
from napari_zssr.zssr.trainer import Trainer
from napari_zssr.zssr.training_plan import (
    Execution,
    Facts,
    TrainingPlan,
    resolve,
    trial_config,
)

Pair = tuple[float, float]


def plan_of(config: Config, plane: Tensor | None = None, **facts: Any) -> TrainingPlan:
    """What is decided for a plane (C, Y, X)."""
    noise = facts.get("noise", CLEAN)
    if plane is not None:
        facts = {"samples": len(plane), "level": noise.level(plane), **facts}
    return resolve(config, Facts(**facts))


def super_resolve_plane(
    plane: Tensor,
    config: Config,
    *,
    noise: NoiseModel = CLEAN,
    start: Any = None,
    shared: Any = None,
    window: Window | None = None,
    assessment: Assessment | None = None,
    scratch: Path | None = None,
    **execution: Any,
) -> Steps[PlaneResult]:
    """`upscale_plane` from settings."""
    plan = plan_of(config, plane, noise=noise, start=start, shared=shared)
    return upscale_plane(
        plane,
        plan,
        Execution(scratch=scratch, **execution),
        window=window,
        shared=shared,
        assessment=assessment,
    )


def trial(
    plane: Tensor, config: Config, *, noise: NoiseModel = CLEAN, **execution: Any
) -> Steps[Assessment | None]:
    """`trial_assessment` from settings."""
    plan = plan_of(trial_config(config), plane, noise=noise)
    return trial_assessment(plane, plan, Execution(**execution))


def pair_spec(
    config: Config, factors: Pair, noise: NoiseModel, level: float, windows: int = 1
) -> pairs.PairSpec:
    """`pairs.pair_spec` from settings."""
    return pairs.pair_spec(plan_of(config, noise=noise, level=level), factors, windows)


def back_projection(config: Config, level: float, factors: Pair) -> tuple[int, float]:
    """Iterations and strength of back-projection."""
    plan = plan_of(config, level=level)
    return back_projection_iterations(plan, factors), plan.strength


def gradual_factors(config: Config) -> list[Pair]:
    """Factors that are trained for."""
    return list(plan_of(config).stages)


def untrained(
    config: Config,
    channels: int,
    ratio: tuple[int, int],
    *,
    seed: int,
    base: nn.Module | None = None,
) -> nn.Module:
    """`networks.untrained` from settings."""
    plan = plan_of(config, samples=channels)
    return networks.untrained(plan, ratio, seed=seed, base=base)


def trainer(
    network: nn.Module,
    windows: list[Tensor],
    spec: pairs.PairSpec,
    config: Config,
    *,
    precision: str = "float32",
    seed: int = 0,
    **facts: Any,
) -> Trainer:
    """A `Trainer` from settings."""
    execution = Execution(precision=precision, seed=seed)
    return Trainer(network, windows, spec, plan_of(config, **facts), execution)
