"""Learning a start from generated pairs that are degraded in many ways."""

from __future__ import annotations

import platform
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import numpy as np
import torch
from torch import Tensor

from napari_zssr.atomic import atomic_write
from napari_zssr.checks import checked_whole
from napari_zssr.errors import InputError
from napari_zssr.progress import Progress, Steps
from napari_zssr.zssr.checkpoint import checksum
from napari_zssr.zssr.pretrained import PretrainedStart, load_start
from napari_zssr.zssr.trainer import ADAM_RATE, OneCycle, Optimizer, ParameterAverage
from training.network import ConditionedNetwork
from training.scenes import Bank
from training.tasks import Batch, draw_batch

# Share of the rates that training on an image takes, and by how much of Muon's rate
# weights shrink: at full rates weights grow stiff or, held short, most of the hidden
# channels fall silent for ever.
SHARE, DECAY = 0.25, 0.3
SAVE_EVERY = 500
REPORT_EVERY = 20
FORMAT = "learn-start 3"
# Below this squared error a crop weighs less: rounding and the scenes' own limits.
LEAST_ERROR = 1e-8


@dataclass(frozen=True, slots=True, kw_only=True)
class LearnSpec:
    """How a start is learned.

    Attributes
    ----------
    seed : int
    scenes : int
        Generated images.
    steps : int
    batch : int
        Pairs of a step.
    width : int
        Channels of the network's hidden layers.
    dilations : tuple of int
        Of its residual blocks, one by one.
    start : str
        File of a pretrained start to go on from, which stays in the result for planes
        without noise; empty for random weights.
    device : str
    bfloat16 : bool
        Arithmetic of the network.
    """

    seed: int = 0
    scenes: int = 4000
    steps: int = 50000
    batch: int = 8
    width: int = 48
    dilations: tuple[int, ...] = (1, 1, 2, 4, 1, 1)
    start: str = ""
    device: str = "cpu"
    bfloat16: bool = False

    def __post_init__(self) -> None:
        lowest = {"seed": 0, "scenes": 1, "steps": 1, "batch": 1}
        for name, low in (lowest | {"width": 4}).items():
            object.__setattr__(
                self, name, checked_whole(name, getattr(self, name), low)
            )
        object.__setattr__(self, "dilations", tuple(self.dilations))


def learn_start(
    spec: LearnSpec, *, resume: Path | None = None
) -> Steps[PretrainedStart]:
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
        The file belongs to another run, or the start to go on from is of no use.
    """
    learner = Learner(spec)
    if resume is not None and resume.exists():
        learner.load(resume)
    while learner.step < spec.steps:
        loss = learner.update()
        yield from _reported(learner.step, spec.steps, loss)
        if resume is not None and learner.step % SAVE_EVERY == 0:
            learner.save(resume)
    start = learner.average.network.as_start(card_of(spec))
    # What it went on from knew planes without noise at least as well.
    return with_clean(start, load_start(spec.start)) if spec.start else start


def with_clean(start: PretrainedStart, clean: PretrainedStart) -> PretrainedStart:
    """A start that leaves planes without noise to another one, at x2.

    If that has left them to a third one, this does, too.
    """
    if clean.clean is not None:
        return replace(start, clean=clean.clean)
    arrays = {
        name: array
        for name, array in clean.arrays.items()
        if not name.startswith("tail.") or "x2x2." in name
    }
    return replace(start, clean=replace(clean, arrays=arrays))


def card_of(spec: LearnSpec) -> dict[str, Any]:
    """How a start was learned, and with what."""
    settings = asdict(spec)
    if spec.start:
        settings["start"] = f"sha256 {checksum(spec.start)}"
    return {
        "learned from": "generated images",
        "settings": settings,
        "versions": {
            "python": platform.python_version(),
            "torch": torch.__version__.split("+")[0],
            "numpy": np.__version__,
        },
    }


def pair_error(network: ConditionedNetwork, batch: Batch, bfloat16: bool) -> Tensor:
    """Mean over the pairs of the root mean square error, on the network's device.

    The root lets pairs of all noise levels count alike.
    """
    device = next(network.parameters()).device
    sons = batch.sons.to(device).contiguous(memory_format=torch.channels_last)
    with torch.autocast(device.type, torch.bfloat16, enabled=bfloat16):
        enlarged = network(sons, batch.features.to(device), batch.ratio)
    squared = (enlarged - batch.fathers.to(device)).square().flatten(1).mean(1)
    error: Tensor = (squared + LEAST_ERROR).sqrt().mean()
    return error


class Learner:
    """Learning, step by step.

    Parameters
    ----------
    spec : LearnSpec
    """

    def __init__(self, spec: LearnSpec) -> None:
        self.spec = spec
        self.bank = Bank(spec.scenes, spec.seed)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(spec.seed)
            network = ConditionedNetwork(width=spec.width, dilations=spec.dilations)
        if spec.start:
            network.load_start(load_start(spec.start))
        self.network = network.to(spec.device)
        self.optimizer = Optimizer(
            self.network, muon=True, adam_rate=ADAM_RATE, decay=DECAY
        )
        self.average = ParameterAverage(self.network)
        self.cycle = OneCycle(spec.steps)
        self.step = 0

    def update(self) -> Tensor:
        """One step; returns the loss, still on the device."""
        loss = pair_error(self.network, self.batch(), self.spec.bfloat16)
        self.network.zero_grad()
        torch.autograd.backward([loss])
        self.optimizer.step(SHARE * self.cycle.share(self.step))
        self.average.update(self.network)
        self.step += 1
        return loss.detach()

    def batch(self) -> Batch:
        """Pairs of the next step, which follow from seed and step alone."""
        draw = np.random.default_rng((self.spec.seed, 1, self.step))
        return draw_batch(self.bank.after(self.step), draw, self.spec.batch)

    def save(self, path: Path) -> None:
        """Keep the state, so that a stopped run can go on."""
        state = {
            "format": FORMAT,
            "spec": asdict(self.spec),
            "step": self.step,
            "network": self.network.state_dict(),
            "average": self.average.network.state_dict(),
            "optimizer": self.optimizer.state(),
        }
        with atomic_write(path) as draft:
            torch.save(state, draft)

    def load(self, path: Path) -> None:
        """Go on from a state."""
        state = _state(path, self.spec.device)
        if state["spec"] != asdict(self.spec):
            raise InputError(
                f"{path} keeps a run with other settings; give those, or another file."
            )
        self.step = state["step"]
        self.network.load_state_dict(state["network"])
        self.average.network.load_state_dict(state["average"])
        self.average.step = self.step
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


def _reported(step: int, total: int, loss: Tensor) -> Steps[None]:
    if step % REPORT_EVERY == 0 or step == total:
        yield Progress(stage="learn", step=step, total=total, loss=float(loss))
    else:
        yield Progress(stage="learn", step=step, total=total)
