"""Training on the image's own pairs, as steps."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from napari_zssr.config import Config
from napari_zssr.progress import Progress, Steps
from napari_zssr.zssr.held_out import HeldOut, region_errors
from napari_zssr.zssr.network import applied
from napari_zssr.zssr.optimize import (
    ADAM_RATE,
    PAPER_RATE,
    Average,
    OneCycle,
    Optimizer,
    PaperPolicy,
)
from napari_zssr.zssr.pairs import (
    PairSet,
    PairSpec,
    build_pairs,
    draw_crops,
    gather_crops,
    whole_pair,
)
from napari_zssr.zssr.warps import IDENTITY, random_warps

REPORT_EVERY = 20
REFRESH_EVERY = 25
CHECK_EVERY = 50
PATIENCE = 4
BETTER = 0.998
EARLIEST_STOP = 0.4
# From a learned start: how often the held-out regions are looked at, and how often in
# vain before training ends.
LOOK_EVERY = 25
LOOKS_IN_VAIN = 3
# How far it goes from there towards what training found: fathers are softer than fine
# images, the more so the wider the blur, and what training finds suits them too well.
FURTHER = 0.6
LEAST_ERROR = 1e-12
PAPER_ERROR_EVERY = 50
REFRESH_PX = 2 * 512**2
PAPER_REVIEW_EVERY = 60
# Random fathers between two refreshes, beside the image itself.
RANDOM_FATHERS = 12


class Trainer:
    """One network on its way through the steps.

    Parameters
    ----------
    network : Module
        Trained in place.
    windows : sequence of Tensor, shape (C, Y, X)
        Normalised parts of the image.
    spec : PairSpec
    config : Config
    precision : {"float32", "bfloat16"}
    seed : int
    rate : float
        Share of the usual learning rates.
    made : tuple of (PairSet, HeldOut), optional
        Pairs of these windows, made here unless given.
    begun : bool
        Whether the network knows much already (a learned start).
    """

    def __init__(
        self,
        network: nn.Module,
        windows: Sequence[Tensor],
        spec: PairSpec,
        config: Config,
        *,
        precision: str,
        seed: int,
        rate: float = 1.0,
        made: tuple[PairSet, HeldOut] | None = None,
        begun: bool = False,
    ) -> None:
        self.network = network
        self.windows = windows
        self.spec = spec
        self.config = config
        self.rate = rate
        self.precision = precision
        self.generator = torch.Generator().manual_seed(seed)
        self.pairs, self.held_out = made or build_pairs(windows, spec, self.generator)
        paper = config.network == "paper"
        self.optimizer = Optimizer(
            network, muon=not paper, adam_rate=PAPER_RATE if paper else ADAM_RATE
        )
        self.average = Average(network)
        self.squared = spec.alpha > 0
        self.began = self.average.copied() if begun else None
        self.kept: Average | None = None

    def step(self, crops: Tensor, share: float) -> Tensor:
        """One update; returns the loss, still on the device."""
        sons, fathers, weights = gather_crops(self.pairs, crops)
        difference = (self.enlarged(sons) - fathers) * weights
        loss = (difference**2 if self.squared else difference.abs()).mean()
        self.optimizer.zero_grad()
        torch.autograd.backward([loss])
        self.optimizer.step(self.rate * share)
        done: Tensor = loss.detach()
        return done

    def enlarged(self, sons: Tensor) -> Tensor:
        """What the network makes of sons, in float32."""
        return applied(self.network, sons, self.precision)

    def refresh(self) -> None:
        """Draw new noise and, for the paper's preset, new fathers.

        The held-out regions keep their noise. Of a large plane a few windows are
        enough for the crops until the next time.
        """
        warps = self.spec.warps
        if self.config.network == "paper":
            smallest = min(warp.size_y for warp in warps)
            drawn = random_warps(RANDOM_FATHERS, smallest, self.generator)
            warps = (IDENTITY, *drawn)
        room = REFRESH_PX // max(w[0].numel() for w in self.windows)
        order = torch.randperm(len(self.windows), generator=self.generator)
        some = [self.windows[n] for n in order[: max(1, room)].tolist()]
        self.pairs, _ = build_pairs(some, self.spec, self.generator, warps=warps)

    def draw(self, steps: int) -> Tensor:
        """Crops of the next steps, (steps, batch, 4)."""
        count = steps * self.config.batch
        crops = draw_crops(self.pairs, count, self.spec.transforms, self.generator)
        return crops.reshape(steps, self.config.batch, -1)

    def found(self) -> Average:
        """Averaged weights; from a learned start a copy, on the way to them."""
        if self.began is None:
            return self.average
        found = self.average.copied()
        found.draw_to(self.began, 1 - FURTHER)
        return found

    def held_out_error(self) -> float:
        """Squared error of what was found so far on the held-out regions.

        From a learned start the mean of its logarithms: what suits a few bright
        regions must not make all dark ones worse.
        """
        found = self.found()
        found.swap(self.network)
        with torch.no_grad():
            error = region_errors(self.enlarged(self.held_out.sons), self.held_out)
        found.swap(self.network)
        if self.began is not None:
            return float(error.clamp_min(LEAST_ERROR).log().mean())
        return float(error.sum())

    def as_returned(self) -> nn.Module:
        """Copy of the network as training would return it now."""
        twin = copy.deepcopy(self.network)
        if self.config.network != "paper":
            (self.kept or self.average).copy_to(twin)
        return twin


def train(trainer: Trainer) -> Steps[int]:
    """Train by the policy that the settings ask for.

    Parameters
    ----------
    trainer : Trainer
        Its network ends up with the trained weights.

    Returns
    -------
    int
        Steps done.
    """
    if trainer.config.network == "paper":
        return (yield from _train_paper(trainer))
    if trainer.began is not None:
        return (yield from _train_further(trainer))
    return (yield from _train_one_cycle(trainer))


def _train_one_cycle(trainer: Trainer) -> Steps[int]:
    """One cycle, averaging, and a stop on the held-out regions."""
    cycle = OneCycle(trainer.config.steps)
    noisy = not trainer.spec.noise.is_clean
    best, stale = float("inf"), 0
    step = 0
    while step < cycle.total:
        if noisy and step > 0:
            trainer.refresh()
        crops = trainer.draw(min(REFRESH_EVERY, cycle.total - step))
        for batch in crops:
            loss = trainer.step(batch, cycle.share(step))
            trainer.average.update(trainer.network)
            step += 1
            yield _progress(step, cycle.total, loss)
        if step % CHECK_EVERY == 0 and step >= EARLIEST_STOP * cycle.total:
            error = trainer.held_out_error()
            stale = 0 if error < BETTER * best else stale + 1
            best = min(best, error)
            if stale >= PATIENCE:
                cycle.finish_by(step, step + max(20, step // 5))
    trainer.average.swap(trainer.network)
    return step


def _train_further(trainer: Trainer) -> Steps[int]:
    """One cycle; what is best on the held-out regions stays, and ends it in time."""
    cycle = OneCycle(trainer.config.steps)
    best = trainer.held_out_error()
    trainer.kept = trainer.found()
    step = vain = 0
    while step < cycle.total and vain < LOOKS_IN_VAIN:
        if not trainer.spec.noise.is_clean and step > 0:
            trainer.refresh()
        crops = trainer.draw(min(LOOK_EVERY, cycle.total - step))
        for number, batch in enumerate(crops, start=1):
            loss = trainer.step(batch, cycle.share(step))
            trainer.average.update(trainer.network)
            step += 1
            if number == len(crops):
                error = trainer.held_out_error()
                vain = 0 if error < best else vain + 1
                if error < best:
                    best, trainer.kept = error, trainer.found()
            yield _progress(step, cycle.total, loss)
    trainer.kept.copy_to(trainer.network)
    return step


def _train_paper(trainer: Trainer) -> Steps[int]:
    """Adam, and the rate lowered when the reconstruction error stalls."""
    policy = PaperPolicy()
    # Refreshed pairs have other fathers in another order.
    whole = whole_pair(trainer.pairs, 0)
    total = trainer.config.steps
    step = 0
    while step < total:
        trainer.refresh()
        for batch in trainer.draw(min(REFRESH_EVERY, total - step)):
            loss = trainer.step(batch, policy.share())
            step += 1
            if step % PAPER_ERROR_EVERY == 0:
                policy.add_error(_reconstruction_error(trainer, whole))
            if step % PAPER_REVIEW_EVERY == 0 and policy.review():
                total = step
            yield _progress(step, total, loss)
            if step >= total:
                break
    return step


def _progress(step: int, total: int, loss: Tensor) -> Progress:
    """An event for every step, so that any step can be the last; the loss seldom."""
    # Reading the loss makes a GPU wait.
    told = step % REPORT_EVERY == 0 or step == total
    value = float(loss) if told else None
    return Progress(stage="train", step=step, total=total, loss=value)


@torch.no_grad()
def _reconstruction_error(
    trainer: Trainer, whole: tuple[Tensor, Tensor, Tensor]
) -> float:
    """Squared error on one whole pair, the same all the way."""
    son, father, _ = whole
    return float((trainer.enlarged(son[None])[0] - father).square().mean())
