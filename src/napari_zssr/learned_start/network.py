"""The network that is learned for many blurs, ratios and noises at once."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from napari_zssr.zssr.learned import FEATURES, LearnedStart
from napari_zssr.zssr.network import Block, enlarge, shuffle

COLOURS = (1, 3)
RATIOS = (2, 3, 4)
CONDITION_WIDTH = 64


class ConditionedNetwork(nn.Module):
    """A residual network whose channels a blur, a ratio and a noise turn up or down.

    Parameters
    ----------
    width, blocks : int
        Channels of the hidden layers, and residual blocks.
    """

    def __init__(self, *, width: int, blocks: int) -> None:
        super().__init__()
        self.width, self.blocks = width, blocks
        self.head = nn.ModuleDict(
            {str(c): nn.Conv2d(c, width, 3, padding=1) for c in COLOURS}
        )
        self.body = nn.ModuleList([Block(width, blocks) for _ in range(blocks)])
        self.tail = nn.ModuleDict(
            {
                f"{c}x{r}": nn.Conv2d(width, c * r * r, 3, padding=1)
                for c in COLOURS
                for r in RATIOS
            }
        )
        layers = 1 + 2 * blocks
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

    def forward(self, sons: Tensor, told: Tensor, ratio: int) -> Tensor:
        """Enlarge sons that were made in different ways.

        Parameters
        ----------
        sons : Tensor, shape (B, C, Y, X)
        told : Tensor, shape (B, 6)
            `array_features` of each.
        ratio : int

        Returns
        -------
        Tensor, shape (B, C, ratio Y, ratio X)
        """
        colours = sons.shape[1]
        turned = self.condition(told).reshape(len(told), -1, 2, self.width)
        turns = iter(turned[..., None, None].unbind(1))
        features = _turned(self.head[str(colours)](sons), next(turns))
        for first, second in self._pairs():
            hidden = torch.relu(_turned(first(features), next(turns)))
            features = features + _turned(second(hidden), next(turns))
        detail = shuffle(self.tail[f"{colours}x{ratio}"](features), (ratio, ratio))
        return enlarge(sons, (ratio, ratio)) + detail

    def folded(self, told: Tensor, colours: int, ratio: int) -> dict[str, Tensor]:
        """Weights of the ordinary network for one way, differentiable.

        Parameters
        ----------
        told : Tensor, shape (6,)
        colours, ratio : int

        Returns
        -------
        dict of Tensor
            As `ResidualNetwork` names them.
        """
        turns = iter(self.condition(told).reshape(-1, 2, self.width))
        layers = [("head", self.head[str(colours)])]
        for number, (first, second) in enumerate(self._pairs()):
            layers.append((f"body.{number}.first", first))
            layers.append((f"body.{number}.second", second))
        made: dict[str, Tensor] = {}
        for name, layer in layers:
            gain, shift = next(turns)
            weight, bias = _parameters(layer)
            made[f"{name}.weight"] = weight * (1 + gain)[:, None, None, None]
            made[f"{name}.bias"] = bias * (1 + gain) + shift
        weight, bias = _parameters(self.tail[f"{colours}x{ratio}"])
        return made | {"tail.weight": weight, "tail.bias": bias}

    def _pairs(self) -> list[tuple[nn.Module, nn.Module]]:
        """The two convolutions of every block."""
        blocks = [block for block in self.body if isinstance(block, Block)]
        return [(block.first, block.second) for block in blocks]

    def as_start(self, card: dict[str, Any]) -> LearnedStart:
        """Copy of the weights as plain data."""
        return LearnedStart(
            width=self.width,
            blocks=self.blocks,
            arrays={
                name: tensor.detach().float().cpu().contiguous().numpy().copy()
                for name, tensor in self.state_dict().items()
            },
            card=card,
        )


def _turned(features: Tensor, turn: Tensor) -> Tensor:
    """Features (B, W, Y, X) by gain and shift, (B, 2, W, 1, 1)."""
    gain, shift = turn.to(features.dtype).unbind(1)
    return features * (1 + gain) + shift


def _parameters(layer: nn.Module) -> tuple[Tensor, Tensor]:
    assert isinstance(layer, nn.Conv2d)
    assert layer.bias is not None
    return layer.weight, layer.bias
