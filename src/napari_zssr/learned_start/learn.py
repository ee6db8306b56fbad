"""Learning a start: pretraining over many ways to degrade, then meta-training."""

from __future__ import annotations

import platform
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import numpy as np
import torch
from torch import Tensor

from napari_zssr.checks import checked_whole
from napari_zssr.errors import InputError
from napari_zssr.learned_start.meta import MetaTrainer, pretrain_error
from napari_zssr.learned_start.network import ConditionedNetwork
from napari_zssr.learned_start.tasks import Bank, Batch, draw_batch
from napari_zssr.progress import Progress, Steps
from napari_zssr.writing import written_whole
from napari_zssr.zssr.learned import LearnedStart
from napari_zssr.zssr.optimize import ADAM_RATE, Average, OneCycle, Optimizer

# Share of the rates that training on an image takes, and by how much of Muon's rate
# weights shrink: at full rates weights grow stiff or, held short, most of the hidden
# channels fall silent for ever.
SHARE, DECAY = 0.25, 0.3
SAVE_EVERY = 500
REPORT_EVERY = 20
FORMAT = "learn-start 1"


@dataclass(frozen=True, slots=True, kw_only=True)
class LearnSpec:
    """How a start is learned.

    Attributes
    ----------
    seed : int
    scenes : int
        Generated images.
    steps : int
        Steps of pretraining.
    meta_steps : int
        Steps of meta-training.
    batch : int
        Pairs of a step.
    width, blocks : int
        Channels of the network's hidden layers, and residual blocks.
    device : str
    bfloat16 : bool
        Arithmetic of the network.
    """

    seed: int = 0
    scenes: int = 4000
    steps: int = 50000
    meta_steps: int = 0
    batch: int = 8
    width: int = 48
    blocks: int = 4
    device: str = "cpu"
    bfloat16: bool = True

    def __post_init__(self) -> None:
        lowest = {"seed": 0, "scenes": 1, "steps": 1, "meta_steps": 0, "batch": 1}
        for name, low in (lowest | {"width": 4, "blocks": 1}).items():
            object.__setattr__(
                self, name, checked_whole(name, getattr(self, name), low)
            )


def learn_start(spec: LearnSpec, *, resume: Path | None = None) -> Steps[LearnedStart]:
    """Learn a start from generated images alone.

    Parameters
    ----------
    spec : LearnSpec
    resume : Path, optional
        File where the state is kept, and from which a stopped run goes on.

    Returns
    -------
    LearnedStart

    Raises
    ------
    InputError
        The file belongs to another run.
    """
    learner = Learner(spec)
    if resume is not None and resume.exists():
        learner.load(resume)
    while learner.step < spec.steps:
        loss = learner.pretrain()
        yield from _told("pretrain", learner.step, spec.steps, loss)
        if resume is not None and learner.step % SAVE_EVERY == 0:
            learner.save(resume)
    network = learner.averaged()
    if spec.meta_steps:
        bank = learner.bank.after(spec.steps)
        meta = MetaTrainer(network, bank, seed=spec.seed, bfloat16=spec.bfloat16)
        for step in range(spec.meta_steps):
            loss = meta.update(step, spec.meta_steps)
            yield from _told("meta-train", step + 1, spec.meta_steps, loss)
        network = meta.averaged()
    return network.as_start(card_of(spec))


def card_of(spec: LearnSpec) -> dict[str, Any]:
    """What is told of a start: how it was learned, and with what."""
    settings = asdict(spec)
    return {
        "learned from": "generated images",
        "settings": settings,
        "versions": {
            "python": platform.python_version(),
            "torch": torch.__version__.split("+")[0],
            "numpy": np.__version__,
        },
    }


class Learner:
    """Pretraining, step by step.

    Parameters
    ----------
    spec : LearnSpec
    """

    def __init__(self, spec: LearnSpec) -> None:
        self.spec = spec
        self.bank = Bank(spec.scenes, spec.seed)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(spec.seed)
            network = ConditionedNetwork(width=spec.width, blocks=spec.blocks)
        self.network = network.to(spec.device)
        self.optimizer = Optimizer(
            self.network, muon=True, adam_rate=ADAM_RATE, decay=DECAY
        )
        self.average = Average(self.network)
        self.cycle = OneCycle(spec.steps)
        self.step = 0

    def pretrain(self) -> Tensor:
        """One update; returns the loss, still on the device."""
        loss = pretrain_error(self.network, self.batch(), self.spec.bfloat16)
        self.optimizer.zero_grad()
        torch.autograd.backward([loss])
        self.optimizer.step(SHARE * self.cycle.share(self.step))
        self.average.update(self.network)
        self.step += 1
        return loss.detach()

    def batch(self) -> Batch:
        """Pairs of the next step, which follow from seed and step alone."""
        draw = np.random.default_rng((self.spec.seed, 1, self.step))
        return draw_batch(self.bank.after(self.step), draw, self.spec.batch)

    def averaged(self) -> ConditionedNetwork:
        """Copy of the network with the averaged weights."""
        made = ConditionedNetwork(width=self.spec.width, blocks=self.spec.blocks)
        self.average.copy_to(made.to(self.spec.device))
        return made

    def save(self, path: Path) -> None:
        """Keep the state, so that a stopped run can go on."""
        state = {
            "format": FORMAT,
            "spec": asdict(replace(self.spec, meta_steps=0)),
            "step": self.step,
            "network": self.network.state_dict(),
            "average": self.average.state(),
            "optimizer": self.optimizer.state(),
        }
        with written_whole(path) as draft:
            torch.save(state, draft)

    def load(self, path: Path) -> None:
        """Go on from a state."""
        state = _state(path, self.spec.device)
        # Meta-training comes after what is kept.
        if state["spec"] != asdict(replace(self.spec, meta_steps=0)):
            raise InputError(
                f"{path} keeps a run with other settings; give those, or another file."
            )
        self.step = state["step"]
        self.network.load_state_dict(state["network"])
        self.average.load(state["average"])
        self.optimizer.load(state["optimizer"])


def _state(path: Path, device: str) -> dict[str, Any]:
    """What `Learner.save` has kept."""
    try:
        state: dict[str, Any] = torch.load(path, device, weights_only=True)
        known = state["format"] == FORMAT
    # torch has no error of its own for what it cannot read.
    except (EOFError, KeyError, RuntimeError, TypeError, UnpicklingError):
        known = False
    if not known:
        raise InputError(f"{path} keeps no run of learn-start; give another file.")
    return state


def _told(stage: str, step: int, total: int, loss: Tensor) -> Steps[None]:
    if step % REPORT_EVERY == 0 or step == total:
        yield Progress(stage=stage, step=step, total=total, loss=float(loss))
    else:
        yield Progress(stage=stage, step=step, total=total)
