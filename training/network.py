"""The network that is learned for many blurs, ratios and noises at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from napari_zssr.errors import InputError
from napari_zssr.zssr.networks import Block, enlarge, residual_blocks, shuffle
from napari_zssr.zssr.pretrained import FEATURES, PretrainedStart, Ratio, tail_name

COLOURS = (1, 3)
# Enlargements along (Y, X) by number of colours; their transposes are the transposed
# network's.
RATIOS: dict[int, tuple[Ratio, ...]] = {
    1: ((1, 1), (2, 2), (2, 1), (3, 1), (4, 1)),
    3: ((1, 1), (2, 2)),
}
CONDITION_WIDTH = 64


class ConditionedNetwork(nn.Module):
    """A residual network whose channels a blur, a ratio and a noise turn up or down.

    Feature-wise linear modulation (Perez et al., AAAI 2018).

    Parameters
    ----------
    width : int
        Channels of the hidden layers.
    dilations : sequence of int
        Of the residual blocks, one by one.
    """

    def __init__(self, *, width: int, dilations: Sequence[int]) -> None:
        super().__init__()
        self.width, self.dilations = width, tuple(dilations)
        self.head = nn.ModuleDict(
            {str(c): nn.Conv2d(c, width, 3, padding=1) for c in COLOURS}
        )
        self.body = residual_blocks(width, dilations)
        self.tail = nn.ModuleDict(
            {
                tail_name(c, ratio): nn.Conv2d(
                    width, c * ratio[0] * ratio[1], 3, padding=1
                )
                for c in COLOURS
                for ratio in RATIOS[c]
            }
        )
        layers = 1 + 2 * len(dilations)
        last = nn.Linear(CONDITION_WIDTH, 2 * layers * width)
        self.condition = nn.Sequential(
            nn.Linear(FEATURES, CONDITION_WIDTH), nn.ReLU(), last
        )
        with torch.no_grad():
            for tail in self.tail.values():
                weight, bias = _parameters(tail)
                weight.mul_(0.1)
                bias.zero_()
            last.weight.zero_()
            last.bias.zero_()

    def forward(self, sons: Tensor, features: Tensor, ratio: Ratio) -> Tensor:
        """Enlarge sons that were degraded in different ways.

        Parameters
        ----------
        sons : Tensor, shape (B, C, Y, X)
        features : Tensor, shape (B, FEATURES)
            `array_features` of each.
        ratio : tuple of int
            One of `RATIOS`.

        Returns
        -------
        Tensor, shape (B, C, r_y Y, r_x X), float32
        """
        colours = sons.shape[1]
        modulation = self.condition(features).reshape(len(features), -1, 2, self.width)
        parts = iter(modulation[..., None, None].unbind(1))
        hidden = _modulated(self.head[str(colours)](sons), next(parts))
        for first, second in self._pairs():
            inner = torch.relu(_modulated(first(hidden), next(parts)))
            hidden = hidden + _modulated(second(inner), next(parts))
        detail = shuffle(self.tail[tail_name(colours, ratio)](hidden), ratio)
        return enlarge(sons, ratio) + detail.float()

    def _pairs(self) -> list[tuple[nn.Module, nn.Module]]:
        """The two convolutions of every block."""
        blocks = [block for block in self.body if isinstance(block, Block)]
        return [(block.first, block.second) for block in blocks]

    def load_start(self, start: PretrainedStart) -> None:
        """Take over the weights that a pretrained start has.

        Blocks that it lacks stand in the middle, and add nothing at first.

        Raises
        ------
        InputError
            Its layers have other sizes.
        """
        more = len(self.dilations) - len(start.dilations)
        half = len(start.dilations) // 2
        old = [*range(half), *range(half + more, len(self.dilations))]
        kept = tuple(self.dilations[n] for n in old) if more >= 0 else ()
        if (start.width, start.dilations) != (self.width, kept):
            raise InputError(
                f"The start to go on from has {start.width} channels and blocks of "
                f"dilations {start.dilations}; ask for those, or for more blocks in "
                "their middle."
            )
        arrays = _with_blocks(start, old, len(self.dilations))
        tensors = {name: torch.tensor(array) for name, array in arrays.items()}
        # Those of new blocks' first convolutions are not among them.
        self.load_state_dict(tensors, strict=False)

    def as_start(self, card: dict[str, Any]) -> PretrainedStart:
        """Copy of the weights as plain data."""
        return PretrainedStart(
            width=self.width,
            dilations=self.dilations,
            arrays={
                name: tensor.detach().float().cpu().contiguous().numpy().copy()
                for name, tensor in self.state_dict().items()
            },
            card=card,
        )


def _with_blocks(
    start: PretrainedStart, places: Sequence[int], blocks: int
) -> dict[str, NDArray[np.float32]]:
    """Arrays of a start whose blocks move to other places among more blocks."""
    arrays = {n: a for n, a in start.arrays.items() if not n.startswith("body.")}
    for kind in ("weight", "bias"):
        for place in range(blocks):
            like = start.arrays[f"body.0.second.{kind}"]
            arrays[f"body.{place}.second.{kind}"] = np.zeros_like(like)
        for number, place in enumerate(places):
            for part in ("first", "second"):
                array = start.arrays[f"body.{number}.{part}.{kind}"]
                arrays[f"body.{place}.{part}.{kind}"] = array
        rows = start.arrays[f"condition.2.{kind}"]
        rows = rows.reshape(-1, 2 * start.width, *rows.shape[1:])
        whole = np.zeros((1 + 2 * blocks, *rows.shape[1:]), np.float32)
        whole[[0, *(1 + 2 * place + n for place in places for n in range(2))]] = rows
        arrays[f"condition.2.{kind}"] = whole.reshape(-1, *rows.shape[2:])
    return arrays


def _modulated(features: Tensor, modulation: Tensor) -> Tensor:
    """Features (B, W, Y, X) by gain and shift, (B, 2, W, 1, 1)."""
    gain, shift = modulation.to(features.dtype).unbind(1)
    return torch.addcmul(shift, features, 1 + gain)


def _parameters(layer: nn.Module) -> tuple[Tensor, Tensor]:
    assert isinstance(layer, nn.Conv2d)
    assert layer.bias is not None
    return layer.weight, layer.bias
