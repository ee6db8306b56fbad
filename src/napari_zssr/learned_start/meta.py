"""Meta-training: weights from which a few steps on an image lead furthest.

After Soh, Cho, Cho (CVPR 2020): a task is one image, degraded in one way. Inner steps
train on pairs that are made from the degraded image; the errors on the true image
after some of them say how the weights before them should have been (first order).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from napari_zssr.learned_start.network import ConditionedNetwork
from napari_zssr.learned_start.tasks import (
    SIDE,
    Batch,
    degraded,
    draw_batch,
    random_way,
    whole_patch,
)
from napari_zssr.zssr.network import ResidualNetwork
from napari_zssr.zssr.optimize import ADAM_RATE, Average, OneCycle, Optimizer

RATIO = 2
TASKS = 4
INNER_STEPS = 5
INNER_SHARE = 0.1
# Share of the usual learning rates, and weights of the errors after inner steps.
OUTER_SHARE = 0.1
MULTI_STEP = {1: 0.2, 3: 0.3, 5: 0.5}
QUERY_PX = 48


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Task:
    """One image to adapt to.

    Attributes
    ----------
    support, query : tuple of Tensor
        Son and father, (1, C, y, x) and (1, C, Y, X): made from the degraded image,
        and that image with its truth.
    told : Tensor, shape (6,)
    """

    support: tuple[Tensor, Tensor]
    query: tuple[Tensor, Tensor]
    told: Tensor

    def on(self, device: torch.device) -> Task:
        """The task on a device."""
        (son, father), (seen, truth) = self.support, self.query
        return Task(
            support=(son.to(device), father.to(device)),
            query=(seen.to(device), truth.to(device)),
            told=self.told.to(device),
        )


class MetaTrainer:
    """Meta-training, step by step.

    Parameters
    ----------
    network : ConditionedNetwork
        Pretrained; changed in place.
    bank : Tensor, shape (scenes, 3, Y, X)
    seed : int
    batch : int
        Pairs of the other ratios and ways that are kept in mind in every step.
    bfloat16 : bool
    """

    def __init__(
        self,
        network: ConditionedNetwork,
        bank: Tensor,
        *,
        seed: int,
        batch: int = 16,
        bfloat16: bool = True,
    ) -> None:
        self.network, self.bank = network, bank
        self.seed, self.batch = seed, batch
        self.bfloat16 = bfloat16
        self.device = next(network.parameters()).device
        self.optimizer = Optimizer(network, muon=True, adam_rate=ADAM_RATE)
        self.average = Average(network)

    def update(self, step: int, total: int) -> Tensor:
        """One step of meta-training; returns the mean error after adapting."""
        draw = np.random.default_rng((self.seed, 2, step))
        self.optimizer.zero_grad()
        tasks = [random_task(self.bank, draw) for _ in range(TASKS)]
        errors = [self._learn_task(task.on(self.device)) for task in tasks]
        self._keep_in_mind(draw)
        self.optimizer.step(OUTER_SHARE * OneCycle(total).share(step))
        self.average.update(self.network)
        return torch.stack(errors).mean()

    def averaged(self) -> ConditionedNetwork:
        """The network, with averaged weights from now on."""
        self.average.copy_to(self.network)
        return self.network

    def _learn_task(self, task: Task) -> Tensor:
        """Adapt to a task; what would have helped goes into the gradients."""
        colours = task.support[0].shape[1]
        weights = self.network.folded(task.told, colours, RATIO)
        made = ResidualNetwork(
            colours,
            (RATIO, RATIO),
            width=self.network.width,
            blocks=self.network.blocks,
        )
        made = made.to(task.told.device)
        made.load_state_dict({name: w.detach() for name, w in weights.items()})
        optimizer = Optimizer(made, muon=True, adam_rate=ADAM_RATE)
        wished = {name: torch.zeros_like(w) for name, w in weights.items()}
        error = task.told.new_zeros(())
        for step in range(1, INNER_STEPS + 1):
            optimizer.zero_grad()
            torch.autograd.backward([self._error(made, task.support)])
            optimizer.step(INNER_SHARE)
            if step in MULTI_STEP:
                error = self._error(made, task.query)
                named = dict(made.named_parameters())
                found = torch.autograd.grad(error, list(named.values()))
                for name, gradient in zip(named, found, strict=True):
                    wished[name] += MULTI_STEP[step] / TASKS * gradient
        parts = [(weights[name] * wish).sum() for name, wish in wished.items()]
        torch.autograd.backward(parts)
        return error.detach()

    def _keep_in_mind(self, draw: np.random.Generator) -> None:
        """Gradients of an ordinary batch, of any ratio."""
        batch = draw_batch(self.bank, draw, self.batch)
        error = pretrain_error(self.network, batch, self.bfloat16)
        torch.autograd.backward([error])

    def _error(self, network: ResidualNetwork, pair: tuple[Tensor, Tensor]) -> Tensor:
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bfloat16):
            made = network(pair[0])
        error: Tensor = (made.float() - pair[1]).abs().mean()
        return error


def pretrain_error(network: ConditionedNetwork, batch: Batch, bfloat16: bool) -> Tensor:
    """Mean absolute error on pairs, on the network's device."""
    device = next(network.parameters()).device
    sons = batch.sons.to(device).contiguous(memory_format=torch.channels_last)
    with torch.autocast(device.type, torch.bfloat16, enabled=bfloat16):
        made = network(sons, batch.told.to(device), batch.ratio)
    error: Tensor = (made.float() - batch.fathers.to(device)).abs().mean()
    return error


def random_task(bank: Tensor, draw: np.random.Generator) -> Task:
    """A scene that is degraded twice in the same way."""
    colours = 1 if draw.random() < 0.5 else 3
    way = random_way(draw, RATIO)
    patch = whole_patch(bank, draw, SIDE, colours)[None]
    first = degraded(patch, [way], RATIO, draw)
    second = degraded(first.sons, [way], RATIO, draw)
    top, left = draw.integers(0, first.sons.shape[-1] - QUERY_PX + 1, 2)
    son = first.sons[..., top : top + QUERY_PX, left : left + QUERY_PX]
    rows = slice(RATIO * top, RATIO * (top + QUERY_PX))
    columns = slice(RATIO * left, RATIO * (left + QUERY_PX))
    return Task(
        support=(second.sons, second.fathers),
        query=(son, first.fathers[..., rows, columns]),
        told=first.told[0],
    )
