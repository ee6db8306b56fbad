"""Training on the image's own pairs, as steps."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Sequence
from typing import Any, Generic, TypeVar

import torch
from scipy import stats
from torch import Tensor, nn

from napari_zssr.checks import LEARNED
from napari_zssr.progress import Progress, Steps
from napari_zssr.zssr.cost import REFRESH_EVERY, REFRESH_PX
from napari_zssr.zssr.networks import applied, enlarge, exact_convolutions
from napari_zssr.zssr.pairs import (
    CropIndex,
    HeldOut,
    PairSet,
    PairSpec,
    build_pairs,
    crop_index,
    draw_crops,
    gather_crops,
    region_errors,
    whole_pair,
)
from napari_zssr.zssr.training_plan import Execution, TrainingPlan
from napari_zssr.zssr.warps import IDENTITY, random_warps

MUON_RATE = 6e-3
ADAM_RATE = 2e-3
PAPER_RATE = 1e-3
PAPER_LOWEST = 9e-6
PAPER_WINDOW = 5
MOMENTUM = 0.95
WARM_UP = 0.1
AVERAGE_STEPS = 100


class Optimizer:
    """Muon for the hidden convolutions, Adam for the rest."""

    def __init__(
        self, network: nn.Module, *, muon: bool, adam_rate: float, decay: float = 0.0
    ) -> None:
        named = [(n, p) for n, p in network.named_parameters() if p.requires_grad]
        hidden = [p for n, p in named if muon and "body" in n and p.ndim == 4]
        chosen = {id(p) for p in hidden}
        others = [p for _, p in named if id(p) not in chosen]
        self._hidden = tuple(hidden)
        self._momentum = [torch.zeros_like(p) for p in hidden]
        self._adam_rate, self._decay = adam_rate, decay
        # One kernel for all parameters; elsewhere it would only round otherwise.
        fused = others[0].device.type == "cuda"
        self._adam = torch.optim.Adam(others, adam_rate, betas=(0.9, 0.99), fused=fused)

    def step(self, share: float) -> None:
        """Update all parameters at a share (0..1) of the largest learning rates."""
        for group in self._adam.param_groups:
            group["lr"] = self._adam_rate * share
        self._adam.step()
        if self._hidden:
            _muon_step(self._hidden, self._momentum, MUON_RATE * share, self._decay)

    def state(self) -> dict[str, Any]:
        """What it remembers of the steps so far."""
        return {"momentum": self._momentum, "adam": self._adam.state_dict()}

    def load(self, state: dict[str, Any]) -> None:
        """Go on from `state`."""
        for momentum, saved in zip(self._momentum, state["momentum"], strict=True):
            momentum.copy_(saved)
        self._adam.load_state_dict(state["adam"])


@torch.no_grad()
def _muon_step(
    parameters: tuple[Tensor, ...], momentum: list[Tensor], rate: float, decay: float
) -> None:
    gradients = [p.grad for p in parameters if p.grad is not None]
    torch._foreach_lerp_(momentum, gradients, 1 - MOMENTUM)
    nesterov = torch._foreach_lerp(gradients, momentum, MOMENTUM)  # noqa: SLF001
    updates = orthogonalised(nesterov)
    if decay:
        torch._foreach_mul_(parameters, 1 - decay * rate)
    scales = [-rate * 0.2 * max(u.shape[0], u[0].numel()) ** 0.5 for u in updates]
    torch._foreach_add_(parameters, torch._foreach_mul(updates, scales))  # noqa: SLF001


def orthogonalised(kernels: Sequence[Tensor]) -> list[Tensor]:
    """Nearest (semi-)orthogonal matrices, roughly, of kernels (A, B, ...).

    All of one shape are batched.
    """
    shapes = dict.fromkeys(kernel.shape for kernel in kernels)
    results: dict[int, Tensor] = {}
    for shape in shapes:
        indices = [i for i, kernel in enumerate(kernels) if kernel.shape == shape]
        batch = torch.stack([kernels[i] for i in indices])
        done = _newton_schulz(batch.flatten(2)).reshape(batch.shape)
        results |= dict(zip(indices, done.unbind(), strict=True))
    return [results[i] for i in range(len(kernels))]


def _newton_schulz(matrices: Tensor, iterations: int = 5) -> Tensor:
    """Quintic iteration that drives all singular values towards 1."""
    tall = matrices.shape[1] > matrices.shape[2]
    x = matrices.transpose(1, 2) if tall else matrices
    x = x / (torch.linalg.vector_norm(x, dim=(1, 2), keepdim=True) + 1e-12)
    for _ in range(iterations):
        gram = torch.bmm(x, x.transpose(1, 2))
        odd = torch.baddbmm(gram, gram, gram, beta=-4.7750, alpha=2.0315)
        x = torch.baddbmm(x, odd, x, beta=3.4445)
    return x.transpose(1, 2) if tall else x


class OneCycle:
    """Rate that rises for a tenth of the steps and falls as a cosine."""

    def __init__(self, total: int) -> None:
        self.total = total
        self._decay: tuple[int, float] | None = None

    def share(self, step: int) -> float:
        """Share of the largest rate at a step."""
        if self._decay is not None:
            start, height = self._decay
            left = (self.total - step) / max(1, self.total - start)
            return max(0.005, height * left)
        progress = step / self.total
        if progress < WARM_UP:
            return max(0.02, progress / WARM_UP)
        fall = (progress - WARM_UP) / (1 - WARM_UP)
        return max(0.005, 0.5 * (1 + math.cos(math.pi * fall)))

    def finish_by(self, step: int, last: int) -> None:
        """From `step` on, fall in a straight line and end at `last`."""
        if self._decay is None and last < self.total:
            self._decay = (step, self.share(step))
            self.total = last


class PaperPolicy:
    """The ZSSR paper's policy (section 3.1), by shares of its first rate.

    A straight line is fitted to the last reconstruction errors; where its fall is
    drowned by their scatter the rate falls tenfold; below the lowest it ends.
    """

    def __init__(self) -> None:
        self._errors: list[float] = []
        self.share = 1.0

    def add_error(self, error: float) -> None:
        """Note a full-image reconstruction error."""
        self._errors.append(error)

    def review(self) -> bool:
        """Lower the rate when progress has stalled; returns whether to stop."""
        recent = self._errors[-PAPER_WINDOW:]
        if len(recent) == PAPER_WINDOW:
            line = stats.linregress(range(PAPER_WINDOW), recent)
            if -1.5 * line.slope < line.stderr:
                self.share /= 10
                self._errors.clear()
        return self.share * PAPER_RATE < PAPER_LOWEST


N = TypeVar("N", bound=nn.Module)


class ParameterAverage(Generic[N]):
    """Exponential moving average of a network's parameters, a network itself."""

    def __init__(self, network: N) -> None:
        self.network = copy.deepcopy(network)
        self.step = 0

    def update(self, network: nn.Module) -> None:
        """Take in the parameters after a step."""
        self.step += 1
        lerp_parameters(
            self.network, network, max(1 / AVERAGE_STEPS, 9 / (9 + self.step))
        )


@torch.no_grad()
def lerp_parameters(network: nn.Module, other: nn.Module, share: float) -> None:
    """Move the parameters of a network a share of the way to those of another."""
    values, wanted = tuple(network.parameters()), tuple(other.parameters())
    torch._foreach_lerp_(values, wanted, share)


CHECK_EVERY = 50
PATIENCE = 4
BETTER = 0.998
EARLIEST_STOP = 0.4
# From a pretrained start the held-out regions are looked at with every refresh, and so
# often in vain before training ends.
PRETRAINED_PATIENCE = 3
LEAST_ERROR = 1e-12
PAPER_ERROR_EVERY = 50
PAPER_REVIEW_EVERY = 60
# Random fathers between two refreshes, beside the image itself.
RANDOM_FATHERS = 12


class Trainer:
    """One network on its way through the steps; it is trained in place."""

    def __init__(
        self,
        network: nn.Module,
        windows: Sequence[Tensor],
        spec: PairSpec,
        plan: TrainingPlan,
        execution: Execution,
        *,
        pairs: tuple[PairSet, HeldOut] | None = None,
    ) -> None:
        self.network = network
        self.windows = windows
        self.spec = spec
        self.plan = plan
        self.precision = execution.precision
        self.generator = torch.Generator().manual_seed(execution.seed)
        self.pairs, self.held_out = pairs or build_pairs(windows, spec, self.generator)
        one_cycle = plan.kind.schedule == "one cycle"
        self.optimizer = Optimizer(
            network, muon=one_cycle, adam_rate=ADAM_RATE if one_cycle else PAPER_RATE
        )
        self.average = ParameterAverage(network)
        self.squared = spec.alpha > 0
        # A pretrained network knows much already.
        pretrained = plan.initialization == LEARNED
        self.initial = copy.deepcopy(network) if pretrained else None
        self.best: nn.Module | None = None
        self._baseline_error: float | None = None

    def step(self, crops: CropIndex, share: float) -> Tensor:
        """One update; returns the loss, still on the device."""
        sons, fathers, weights = gather_crops(self.pairs, crops)
        difference = (applied(self.network, sons, self.precision) - fathers) * weights
        loss = (difference**2 if self.squared else difference.abs()).mean()
        self.network.zero_grad()
        with exact_convolutions(loss.device.type):
            torch.autograd.backward([loss])
        self.optimizer.step(self.plan.rate * share)
        return loss.detach()

    def refresh(self) -> None:
        """Draw new noise and, for the paper's preset, new fathers.

        The held-out regions keep their noise. Of a large plane a few windows are
        enough for the crops until the next time.
        """
        warps = self.spec.warps
        if self.plan.kind.random_fathers:
            smallest = min(warp.size_y for warp in warps)
            drawn = random_warps(RANDOM_FATHERS, smallest, self.generator)
            warps = (IDENTITY, *drawn)
        room = REFRESH_PX // max(w[0].numel() for w in self.windows)
        order = torch.randperm(len(self.windows), generator=self.generator)
        some = [self.windows[n] for n in order[: max(1, room)].tolist()]
        self.pairs, _ = build_pairs(some, self.spec, self.generator, warps=warps)

    def draw(self, steps: int) -> list[CropIndex]:
        """Crops of the next steps."""
        count = steps * self.plan.batch
        crops = draw_crops(self.pairs, count, self.spec.transforms, self.generator)
        table = crops.reshape(steps, self.plan.batch, -1)
        return crop_index(self.pairs, table).unbind()

    def averaged(self) -> nn.Module:
        """With averaged weights; from a pretrained start a copy, on the way to them."""
        if self.initial is None:
            return self.average.network
        network = copy.deepcopy(self.average.network)
        lerp_parameters(network, self.initial, 1 - self.plan.learned_share)
        return network

    @torch.no_grad()
    def held_out_error(self) -> tuple[float, float]:
        """Squared error of the averaged weights on the held-out regions, and the gain.

        The gain is that over bicubic, in dB. From a pretrained start the error is the
        mean of its logarithms: what suits a few bright regions must not make all dark
        ones worse.
        """
        output = applied(self.averaged(), self.held_out.sons, self.precision)
        error = region_errors(output, self.held_out)
        gain = 10 * math.log10(
            max(self._bicubic_error(), LEAST_ERROR)
            / max(float(error.mean()), LEAST_ERROR)
        )
        if self.initial is not None:
            return float(error.clamp_min(LEAST_ERROR).log().mean()), gain
        return float(error.sum()), gain

    def _bicubic_error(self) -> float:
        """Mean squared error of bicubic enlargement on the held-out regions."""
        if self._baseline_error is None:
            output = enlarge(self.held_out.sons, self.spec.ratio)
            errors = region_errors(output, self.held_out)
            self._baseline_error = float(errors.mean())
        return self._baseline_error

    def as_returned(self) -> nn.Module:
        """The network as training would return it now."""
        if self.plan.kind.schedule == "one cycle":
            return self.best or self.average.network
        return self.network


def train(trainer: Trainer) -> Steps[int]:
    """Train by the schedule of the network's kind; returns the steps done."""
    if trainer.plan.kind.schedule == "plateau":
        return (yield from _train_paper(trainer))
    if trainer.initial is not None:
        return (yield from _train_pretrained(trainer))
    return (yield from _train_one_cycle(trainer))


def _train_one_cycle(trainer: Trainer) -> Steps[int]:
    """One cycle, averaging, and a stop on the held-out regions."""
    cycle = OneCycle(trainer.plan.steps)
    best, step, stale = math.inf, 0, 0
    for step in _averaged_steps(trainer, cycle):
        total, gain = cycle.total, None
        if step % CHECK_EVERY == 0 and step >= EARLIEST_STOP * total:
            error, gain = trainer.held_out_error()
            stale = 0 if error < BETTER * best else stale + 1
            best = min(best, error)
            if stale >= PATIENCE:
                cycle.finish_by(step, step + max(20, step // 5))
        yield _progress(step, total, gain)
    trainer.network.load_state_dict(trainer.average.network.state_dict())
    return step


def _train_pretrained(trainer: Trainer) -> Steps[int]:
    """One cycle with early stopping; keeps what is best on the held-out regions."""
    cycle = OneCycle(trainer.plan.steps)
    step, stale = 0, 0
    gain: float | None
    best, gain = trainer.held_out_error()
    trainer.best = trainer.averaged()
    yield _progress(step, cycle.total, gain)
    for step in _averaged_steps(trainer, cycle):
        gain = None
        if step % REFRESH_EVERY == 0 or step == cycle.total:
            error, gain = trainer.held_out_error()
            stale = 0 if error < best else stale + 1
            if error < best:
                best, trainer.best = error, trainer.averaged()
        yield _progress(step, cycle.total, gain)
        if stale >= PRETRAINED_PATIENCE:
            break
    trainer.network.load_state_dict(trainer.best.state_dict())
    return step


def _averaged_steps(trainer: Trainer, cycle: OneCycle) -> Iterator[int]:
    """Take the steps of a cycle: their numbers, from 1."""
    step = 0
    while step < cycle.total:
        if step > 0 and not trainer.spec.noise.is_clean:
            trainer.refresh()
        for batch in trainer.draw(min(REFRESH_EVERY, cycle.total - step)):
            trainer.step(batch, cycle.share(step))
            trainer.average.update(trainer.network)
            step += 1
            yield step


def _train_paper(trainer: Trainer) -> Steps[int]:
    """Adam, and the rate lowered when the reconstruction error stalls."""
    policy = PaperPolicy()
    # Refreshed pairs have other fathers in another order.
    whole = whole_pair(trainer.pairs, 0)
    total = trainer.plan.steps
    step = 0
    while step < total:
        trainer.refresh()
        for batch in trainer.draw(min(REFRESH_EVERY, total - step)):
            trainer.step(batch, policy.share)
            step += 1
            if step % PAPER_ERROR_EVERY == 0:
                policy.add_error(_reconstruction_error(trainer, whole))
            if step % PAPER_REVIEW_EVERY == 0 and policy.review():
                total = step
            yield _progress(step, total)
            if step >= total:
                break
    return step


def _progress(step: int, total: int, gain: float | None = None) -> Progress:
    """An event for every step, so that any step can be the last."""
    return Progress(stage="train", step=step, total=total, gain_db=gain)


@torch.no_grad()
def _reconstruction_error(
    trainer: Trainer, whole: tuple[Tensor, Tensor, Tensor]
) -> float:
    """Squared error on one whole pair, the same all the way."""
    son, father, _ = whole
    output = applied(trainer.network, son[None], trainer.precision)
    return float((output[0] - father).square().mean())
