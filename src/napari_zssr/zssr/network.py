"""The networks, behind one interface.

Every network maps a plane of shape (B, C, Y, X) to (B, C, Y r_y, X r_x) with whole
numbers ``ratio`` = (r_y, r_x), adds what it learned to a plain interpolation, and
knows its ``halo``: how many input pixels around a tile change the tile.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from napari_zssr.config import Config
from napari_zssr.imaging.resample import resize

Ratio = tuple[int, int]


class ResidualNetwork(nn.Module):
    """Coarse-grid residual network with pixel shuffle.

    A convolution, residual blocks of two convolutions, and a convolution to the r*r
    sub-pixels (Shi et al., CVPR 2016), added to the bicubic enlargement.

    Parameters
    ----------
    channels : int
        Channels of the image; with 1, those of any image are enlarged each by itself.
    ratio : tuple of int
        Enlargement along Y and X.
    width : int
        Channels of the body.
    dilations : sequence of int
        One residual block for each, whose kernels reach that far.
    base : Module, optional
        Fitted filter of the same ratio that replaces the bicubic enlargement.
    """

    def __init__(
        self,
        channels: int,
        ratio: Ratio,
        *,
        width: int = 64,
        dilations: Sequence[int] = (1, 1, 1),
        base: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.ratio = ratio
        self.base = base
        self.halo = 2 + 2 * sum(dilations)
        if base is not None:
            self.halo = max(self.halo, int(base.halo))  # type: ignore[arg-type]
        self.head = nn.Conv2d(channels, width, 3, padding=1)
        self.body = residual_blocks(width, dilations)
        self.tail = nn.Conv2d(width, channels * ratio[0] * ratio[1], 3, padding=1)
        with torch.no_grad():
            self.tail.weight.mul_(0.1)
            nn.init.zeros_(_bias(self.tail))

    def forward(self, plane: Tensor) -> Tensor:
        """(B, C, Y, X) -> (B, C, Y r_y, X r_x)."""
        if plane.shape[1] != self.head.in_channels:
            each = self.forward(plane.flatten(0, 1)[:, None])
            return each.reshape(*plane.shape[:2], *each.shape[2:])
        features = self.head(plane)
        for block in self.body:
            features = block(features)
        detail = shuffle(self.tail(features), self.ratio)
        plain: Tensor = (self.base or self._enlarged)(plane)
        return plain + detail

    def _enlarged(self, plane: Tensor) -> Tensor:
        return enlarge(plane, self.ratio)


def residual_blocks(width: int, dilations: Sequence[int]) -> nn.ModuleList:
    """Residual blocks, one for each dilation."""
    return nn.ModuleList([Block(width, len(dilations), d) for d in dilations])


class Block(nn.Module):
    """Two convolutions, added to what goes in.

    Dilated kernels see further at the same cost (Yu, Koltun, ICLR 2016), and unlike a
    coarser grid they leave the result free of a lattice.
    """

    def __init__(self, width: int, blocks: int, dilation: int) -> None:
        super().__init__()
        self.dilation = dilation
        self.first, self.second = (
            nn.Conv2d(width, width, 3, padding=dilation, dilation=dilation)
            for _ in range(2)
        )
        with torch.no_grad():
            self.second.weight.mul_(blocks**-0.5)

    def forward(self, features: Tensor) -> Tensor:
        """(B, W, Y, X) -> the same."""
        hidden = torch.relu_(self.first(features))
        out: Tensor = features + self.second(hidden)
        return out


class PaperNetwork(nn.Module):
    """The network of the ZSSR paper (section 3.1).

    Eight convolutions of 64 channels on the interpolated plane, residual to it; no
    bias. The input already has the output's size, hence ratio (1, 1).
    """

    def __init__(self, channels: int, *, width: int = 64, layers: int = 8) -> None:
        super().__init__()
        self.ratio: Ratio = (1, 1)
        self.halo = layers
        self.width = width
        sizes = [channels, *[width] * (layers - 1), channels]
        self.layers = nn.ModuleList(
            nn.Conv2d(a, b, 3, padding=1, bias=False) for a, b in pairwise(sizes)
        )

    def forward(self, plane: Tensor) -> Tensor:
        """(B, C, Y, X) -> (B, C, Y, X)."""
        features = plane
        for layer in self.layers[:-1]:
            features = torch.relu_(layer(features))
        out: Tensor = plane + self.layers[-1](features)
        return out


class PlainNetwork(nn.Module):
    """Adds nothing: what is applied with it is bicubic enlargement."""

    ratio: Ratio = (1, 1)
    halo = 0

    def forward(self, plane: Tensor) -> Tensor:
        """(B, C, Y, X) -> the same."""
        return plane


class StagedNetwork(nn.Module):
    """A network for the image, and another for what that has enlarged.

    Parameters
    ----------
    first, further : Module
        Of one ratio. What the first returns is without noise, so that the other must
        not smooth it once more.
    """

    def __init__(self, first: nn.Module, further: nn.Module) -> None:
        super().__init__()
        self.first, self.further = first, further
        self.ratio: Ratio = first.ratio  # type: ignore[assignment]
        self.halo: int = first.halo  # type: ignore[assignment]

    def forward(self, plane: Tensor) -> Tensor:
        """(B, C, Y, X) -> (B, C, Y r_y, X r_x)."""
        out: Tensor = self.first(plane)
        return out


def untrained(
    config: Config,
    channels: int,
    ratio: Ratio,
    *,
    seed: int,
    base: nn.Module | None = None,
) -> nn.Module:
    """The network that the settings ask for, before training, on the CPU.

    Parameters
    ----------
    config : Config
    channels : int
        Channels of the image.
    ratio : tuple of int
        Enlargement along Y and X; the paper's network has (1, 1).
    seed : int
    base : Module, optional
        Fitted filter that the residual network stands on.
    """
    # torch initialises from its global generator, which is the caller's.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if config.network == "paper":
            return PaperNetwork(channels, width=config.width)
        return ResidualNetwork(
            channels,
            ratio,
            width=config.width,
            dilations=(1,) * config.blocks,
            base=base,
        )


def on_device(network: nn.Module, device: torch.device) -> nn.Module:
    """A network on a device, its weights as kernels for channels-last planes want them.

    On CPUs these take two thirds of the time of others.
    """
    moved = network.to(device)
    # Metal has kernels of its own.
    if device.type == "mps":
        return moved
    return moved.to(memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]


def applied(network: nn.Module, planes: Tensor, precision: str) -> Tensor:
    """A network applied to planes (B, C, Y, X) in some precision; float32."""
    bfloat16 = precision == "bfloat16"
    with torch.autocast(planes.device.type, torch.bfloat16, enabled=bfloat16):
        out: Tensor = network(planes)
    return out.float()


def enlarge(plane: Tensor, ratio: Ratio) -> Tensor:
    """Bicubic enlargement by whole numbers; (..., Y, X) -> (..., Y r_y, X r_x)."""
    if ratio == (1, 1):
        return plane
    # bfloat16 would leave the image 8 bits.
    with torch.autocast(plane.device.type, enabled=False):
        return resize(plane, (float(ratio[0]), float(ratio[1])))


def shuffle(planes: Tensor, ratio: Ratio) -> Tensor:
    """Pixel shuffle with a ratio per axis; (B, C r_y r_x, Y, X) -> (B, C, Y', X')."""
    if ratio[0] == ratio[1]:
        return nn.functional.pixel_shuffle(planes, ratio[0])
    batch, channels, height, width = planes.shape
    r_y, r_x = ratio
    parts = planes.reshape(batch, channels // (r_y * r_x), r_y, r_x, height, width)
    moved = parts.permute(0, 1, 4, 2, 5, 3)
    return moved.reshape(batch, -1, height * r_y, width * r_x)


def _bias(layer: nn.Conv2d) -> Tensor:
    assert layer.bias is not None
    return layer.bias
