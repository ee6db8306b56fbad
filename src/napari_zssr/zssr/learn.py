"""Learning on windows of one plane or of several: factor by factor, then judged."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from napari_zssr.checks import LEARNED
from napari_zssr.config import Config
from napari_zssr.imaging.noise import NoiseModel
from napari_zssr.progress import Progress, Steps
from napari_zssr.zssr.canvas import close_canvas
from napari_zssr.zssr.checkpoint import Checkpoint
from napari_zssr.zssr.enlarge import enlarged, predict_spec
from napari_zssr.zssr.judge import DRAWS, Gain, held_out_gain
from napari_zssr.zssr.networks import (
    PlainNetwork,
    StagedNetwork,
    checkpoint_of,
    fit_ridge,
    on_device,
    restored,
    untrained,
)
from napari_zssr.zssr.pairs import PairSpec, pair_steps
from napari_zssr.zssr.policy import (
    WHOLE_PX,
    back_projection,
    gradual_factors,
    learned_windows,
    pair_spec,
)
from napari_zssr.zssr.predict import PredictSpec
from napari_zssr.zssr.trainer import Trainer, train
from napari_zssr.zssr.warps import IDENTITY, Pair

SEED_STEP = 7919

Train = Callable[[Trainer], Steps[int]]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Lesson:
    """What is learned from, and all that is decided for it.

    Attributes
    ----------
    windows : tuple of Tensor, shape (C, Y, X)
        Normalised parts of planes, on the device that computes.
    sources : tuple of Tensor, shape (C, Y, X)
        What is enlarged on the way to the final factor: the plane, or the windows.
    parts : int
        Windows that a plane of that size has; they share its held-out regions.
    config : Config
        With the size of what training starts from.
    noise : NoiseModel
    level : float
        Standard deviation of the noise at the mean signal.
    tile_px : int
    precision : {"float32", "bfloat16"}
    seed : int
    start : Checkpoint, optional
        Networks that training starts from.
    trains : bool
        False applies those as they are.
    rate : float
        Share of the usual learning rates.
    began : str
        What training begins from, as `Beginning` has it.
    scratch : Path, optional
        Folder where large results lie while they are made.
    """

    windows: tuple[Tensor, ...]
    sources: tuple[Tensor, ...]
    parts: int
    config: Config
    noise: NoiseModel
    level: float
    tile_px: int = 512
    precision: str = "float32"
    seed: int = 0
    start: Checkpoint | None = None
    trains: bool = True
    rate: float = 1.0
    began: str = ""
    scratch: Path | None = None

    def pairs(self, factors: Pair) -> PairSpec:
        """How pairs are made for one gradual factor."""
        return pair_spec(self.config, factors, self.noise, self.level, self.parts)

    def applied(self, factors: Pair) -> PredictSpec:
        """How a network is applied for one gradual factor."""
        return predict_spec(
            self.config,
            factors,
            level=self.level,
            tile_px=self.tile_px,
            precision=self.precision,
        )


def learn(lesson: Lesson, trained: Train | None = None) -> Steps[tuple[nn.Module, int]]:
    """Train through the gradual factors.

    Parameters
    ----------
    lesson : Lesson
    trained : callable, optional
        Stands for `train`.

    Returns
    -------
    tuple of (Module, int)
        Network, and steps done.
    """
    windows = lesson.windows
    device = windows[0].device
    network: nn.Module | None = None
    if lesson.start is not None:
        network = on_device(restored(lesson.start), device)
    total = 0
    for number, factors in enumerate(gradual_factors(lesson.config)):
        seed = lesson.seed + SEED_STEP * number
        network, steps = yield from _trained(
            lesson, windows, lesson.pairs(factors), network, seed, trained
        )
        total += steps
        if factors != lesson.config.factors:
            further = yield from _further(lesson, network, factors)
            kept = windows if lesson.config.network == "paper" else lesson.windows
            windows = (*kept, *further)
    assert network is not None
    return _staged(network, lesson.start, device), total


def initial_network(start: Checkpoint | None, device: torch.device) -> nn.Module:
    """What training starts from as a network; plain enlargement for random weights."""
    if start is None:
        return PlainNetwork()
    return _staged(on_device(restored(start), device), start, device)


def checkpoint(network: nn.Module, lesson: Lesson) -> Checkpoint | None:
    """What `learn` has returned as plain data; None for what cannot be kept."""
    return checkpoint_of(
        network.first if isinstance(network, StagedNetwork) else network,
        lesson.config,
        len(lesson.windows[0]),
        began=lesson.began,
        further=lesson.start.further if lesson.start else None,
    )


def judge(network: nn.Module, lesson: Lesson, draws: int = DRAWS) -> Gain:
    """Gain over bicubic on regions that no training has seen.

    Parameters
    ----------
    network : Module
    lesson : Lesson
    draws : int
        How often noise is drawn, where there is any.
    """
    config = lesson.config
    iterations, strength = back_projection(config, lesson.level, config.factors)
    return held_out_gain(
        network,
        lesson.windows,
        lesson.pairs(config.factors),
        lesson.seed + 1,
        iterations=iterations,
        strength=strength,
        precision=lesson.precision,
        draws=draws,
    )


def _staged(
    network: nn.Module, start: Checkpoint | None, device: torch.device
) -> nn.Module:
    """With the network for what it has enlarged, where that is another."""
    if start is None or start.further is None:
        return network
    return StagedNetwork(network, on_device(restored(start.further), device))


def _further(lesson: Lesson, network: nn.Module, factors: Pair) -> Steps[list[Tensor]]:
    """Enlarged sources to learn from too; of many, no more pixels than before."""
    sources = lesson.sources
    if len(sources) > 1 and sum(s[0].numel() for s in sources) > WHOLE_PX**2:
        sources = sources[:: math.ceil(factors[0] * factors[1])]
    found = []
    for source in sources:
        applied = lesson.applied(factors)
        made = yield from enlarged(network, source, applied, scratch=lesson.scratch)
        found += [w.to(source.device) for w in learned_windows(made, factors)]
        close_canvas(made)
    return found


def _trained(
    lesson: Lesson,
    windows: Sequence[Tensor],
    spec: PairSpec,
    network: nn.Module | None,
    seed: int,
    trained: Train | None,
) -> Steps[tuple[nn.Module, int]]:
    """Train a network: a fresh one, a saved one or that of the factor before."""
    config = lesson.config
    if network is not None and not lesson.trains:
        return network, 0
    # The paper's preset draws its own fathers as it goes.
    warps = (IDENTITY,) if config.network == "paper" else None
    generator = torch.Generator().manual_seed(seed)
    made = yield from pair_steps(windows, spec, generator, warps=warps)
    if config.network == "ridge":
        yield Progress(stage="fit", step=0, total=1)
        return fit_ridge(*made, generator), 1
    if network is None:
        ridge = fit_ridge(*made, generator) if _known_blur(config, spec) else None
        base = ridge if ridge and _gains(ridge, windows, spec, seed) else None
        network = untrained(config, len(windows[0]), spec.ratio, seed=seed, base=base)
        network = on_device(network, windows[0].device)
    trainer = Trainer(
        network,
        windows,
        spec,
        config,
        precision=lesson.precision,
        seed=seed,
        rate=lesson.rate,
        made=made,
        begun=lesson.began == LEARNED,
    )
    steps = yield from (trained or train)(trainer)
    return network, steps


def _known_blur(config: Config, spec: PairSpec) -> bool:
    """Whether a ridge filter may serve as base; for bicubic it holds networks back."""
    return config.network == "residual" and spec.kernel.kind != "bicubic"


def _gains(
    network: nn.Module, windows: Sequence[Tensor], spec: PairSpec, seed: int
) -> bool:
    return held_out_gain(network, windows, spec, seed).significant
