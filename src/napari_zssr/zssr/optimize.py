"""Optimiser and learning-rate policies.

Hidden convolutions are updated by Muon: momentum whose matrix is orthogonalised by a
Newton-Schulz iteration (Jordan et al., 2024), which here reaches the same error as
Adam in less than half of the steps. Everything else is updated by Adam.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

MUON_RATE = 6e-3
ADAM_RATE = 2e-3
PAPER_RATE = 1e-3
PAPER_LOWEST = 9e-6
PAPER_WINDOW = 5
MOMENTUM = 0.95
WARM_UP = 0.1
AVERAGE_STEPS = 100


class Optimizer:
    """Muon for the hidden convolutions, Adam for the rest.

    Parameters
    ----------
    network : Module
    muon : bool
        Whether hidden convolutions (those of the module ``body``) use Muon.
    adam_rate : float
        Largest learning rate of Adam.
    decay : float
        By how much of the learning rate hidden convolutions shrink in a step. Muon's
        updates are of one size: of weights that have grown long they change little.
    """

    def __init__(
        self, network: nn.Module, *, muon: bool, adam_rate: float, decay: float = 0.0
    ) -> None:
        named = [(n, p) for n, p in network.named_parameters() if p.requires_grad]
        hidden = [p for n, p in named if muon and "body" in n and p.ndim == 4]
        chosen = {id(p) for p in hidden}
        self._hidden = hidden
        self._momentum = [torch.zeros_like(p) for p in hidden]
        self._adam_rate, self._decay = adam_rate, decay
        self._adam = torch.optim.Adam(
            [p for _, p in named if id(p) not in chosen], adam_rate, betas=(0.9, 0.99)
        )

    def zero_grad(self) -> None:
        """Forget the gradients."""
        self._adam.zero_grad()
        for parameter in self._hidden:
            parameter.grad = None

    def step(self, share: float) -> None:
        """Update all parameters at a share (0..1) of the largest learning rates."""
        for group in self._adam.param_groups:
            group["lr"] = self._adam_rate * share
        self._adam.step()
        if self._hidden and self._decay:
            _shrink(self._hidden, self._decay * MUON_RATE * share)
        if self._hidden:
            _muon_step(self._hidden, self._momentum, MUON_RATE * share)

    def state(self) -> dict[str, Any]:
        """What it remembers of the steps so far."""
        return {"momentum": self._momentum, "adam": self._adam.state_dict()}

    def load(self, state: dict[str, Any]) -> None:
        """Go on from `state`."""
        for momentum, saved in zip(self._momentum, state["momentum"], strict=True):
            momentum.copy_(saved)
        self._adam.load_state_dict(state["adam"])


@torch.no_grad()
def _shrink(parameters: Sequence[Tensor], share: float) -> None:
    for parameter in parameters:
        parameter.mul_(1 - share)


@torch.no_grad()
def _muon_step(
    parameters: Sequence[Tensor], momentum: Sequence[Tensor], rate: float
) -> None:
    updates = []
    for parameter, average in zip(parameters, momentum, strict=True):
        gradient = parameter.grad
        assert gradient is not None
        average.lerp_(gradient, 1 - MOMENTUM)
        updates.append(gradient.lerp(average, MOMENTUM).flatten(1))
    for parameter, update in zip(parameters, orthogonalised(updates), strict=True):
        scale = 0.2 * max(update.shape) ** 0.5
        parameter.add_(update.reshape(parameter.shape), alpha=-rate * scale)


def orthogonalised(matrices: Sequence[Tensor]) -> list[Tensor]:
    """Nearest (semi-)orthogonal matrices, roughly; all of one shape are batched."""
    shapes = {m.shape for m in matrices}
    found: dict[int, Tensor] = {}
    for shape in shapes:
        places = [i for i, m in enumerate(matrices) if m.shape == shape]
        batch = torch.stack([matrices[i] for i in places])
        found |= dict(zip(places, _newton_schulz(batch), strict=True))
    return [found[i] for i in range(len(matrices))]


def _newton_schulz(matrices: Tensor, iterations: int = 5) -> Tensor:
    """Quintic iteration that drives all singular values towards 1."""
    tall = matrices.shape[1] > matrices.shape[2]
    x = matrices.transpose(1, 2) if tall else matrices
    x = x / (x.flatten(1).norm(dim=1)[:, None, None] + 1e-12)
    for _ in range(iterations):
        gram = x @ x.transpose(1, 2)
        x = 3.4445 * x + (-4.7750 * gram + 2.0315 * gram @ gram) @ x
    turned: Tensor = x.transpose(1, 2) if tall else x
    return turned


class OneCycle:
    """Rate that rises for a tenth of the steps and falls as a cosine.

    Parameters
    ----------
    total : int
        Steps expected; `finish_by` may bring the end forward.
    """

    def __init__(self, total: int) -> None:
        self.total = total
        self._bent: tuple[int, float] | None = None

    def share(self, step: int) -> float:
        """Share of the largest rate at a step."""
        if self._bent is not None:
            start, height = self._bent
            left = (self.total - step) / max(1, self.total - start)
            return max(0.005, height * left)
        progress = step / self.total
        if progress < WARM_UP:
            return max(0.02, progress / WARM_UP)
        fall = (progress - WARM_UP) / (1 - WARM_UP)
        return max(0.005, 0.5 * (1 + math.cos(math.pi * fall)))

    def finish_by(self, step: int, last: int) -> None:
        """From `step` on, fall in a straight line and end at `last`."""
        if self._bent is None and last < self.total:
            self._bent = (step, self.share(step))
            self.total = last


class PaperPolicy:
    """The ZSSR paper's policy (section 3.1), by shares of its first rate.

    A straight line is fitted to the last reconstruction errors; where its fall is
    drowned by their scatter the rate falls tenfold; below the lowest it ends.
    """

    def __init__(self) -> None:
        self._errors: list[float] = []
        self._share = 1.0

    def add_error(self, error: float) -> None:
        """Note a full-image reconstruction error."""
        self._errors.append(error)

    def share(self) -> float:
        """Share of the first learning rate in force."""
        return self._share

    def review(self) -> bool:
        """Lower the rate when progress has stalled; returns whether to stop."""
        recent = self._errors[-PAPER_WINDOW:]
        if len(recent) == PAPER_WINDOW:
            slope, scatter = _line(recent)
            if -1.5 * slope < scatter:
                self._share /= 10
                self._errors.clear()
        return self._share * PAPER_RATE < PAPER_LOWEST


def _line(values: Sequence[float]) -> tuple[float, float]:
    """Slope of a straight line through equidistant values, and its standard error."""
    x = torch.arange(len(values), dtype=torch.float64)
    y = torch.tensor(list(values), dtype=torch.float64)
    x = x - x.mean()
    slope = float((x * y).sum() / (x * x).sum())
    rest = y - y.mean() - slope * x
    variance = float((rest * rest).sum()) / max(1, len(values) - 2)
    return slope, math.sqrt(variance / float((x * x).sum()))


class Average:
    """Exponential moving average of a network's parameters."""

    def __init__(self, network: nn.Module) -> None:
        self._values = [p.detach().clone() for p in network.parameters()]
        self._step = 0

    @torch.no_grad()
    def update(self, network: nn.Module) -> None:
        """Take in the parameters after a step."""
        self._step += 1
        weight = max(1 / AVERAGE_STEPS, 9 / (9 + self._step))
        for value, parameter in zip(self._values, network.parameters(), strict=True):
            value.lerp_(parameter, weight)

    def copied(self) -> Average:
        """As it is now."""
        return copy.deepcopy(self)

    @torch.no_grad()
    def draw_to(self, other: Average, share: float) -> None:
        """Go a share of the way to other values."""
        for value, wanted in zip(self._values, other.values, strict=True):
            value.lerp_(wanted, share)

    @property
    def values(self) -> list[Tensor]:
        """Averaged parameters."""
        return self._values

    def state(self) -> dict[str, Any]:
        """What it remembers of the steps so far."""
        return {"step": self._step, "values": self._values}

    def load(self, state: dict[str, Any]) -> None:
        """Go on from `state`."""
        self._step = state["step"]
        for value, saved in zip(self._values, state["values"], strict=True):
            value.copy_(saved)

    @torch.no_grad()
    def copy_to(self, network: nn.Module) -> None:
        """Give a network of the same kind the averaged parameters."""
        for value, parameter in zip(self._values, network.parameters(), strict=True):
            parameter.copy_(value)

    @torch.no_grad()
    def swap(self, network: nn.Module) -> None:
        """Exchange the network's parameters with the averaged ones."""
        for value, parameter in zip(self._values, network.parameters(), strict=True):
            kept = parameter.detach().clone()
            parameter.copy_(value)
            value.copy_(kept)
