"""The networks, behind one interface.

Every network maps a plane of shape (B, C, Y, X) to (B, C, Y r_y, X r_x) with whole
numbers ``ratio`` = (r_y, r_x), adds what it learned to a plain interpolation, and
knows its ``halo``: how many input pixels around a tile change the tile.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise

import torch
from torch import Tensor, nn

from napari_zssr.errors import InputError
from napari_zssr.imaging.resample import resize
from napari_zssr.zssr.checkpoint import WAY_OUT, Checkpoint
from napari_zssr.zssr.kinds import KINDS
from napari_zssr.zssr.pairs import HeldOut, PairSet, region_errors, whole_pair
from napari_zssr.zssr.training_plan import TrainingPlan

Ratio = tuple[int, int]


class ResidualNetwork(nn.Module):
    """Coarse-grid residual network with pixel shuffle.

    A convolution, residual blocks of two convolutions, and a convolution to the r*r
    sub-pixels (Shi et al., CVPR 2016), added to the bicubic enlargement.
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
        self.ratio, self.width, self.dilations = ratio, width, tuple(dilations)
        self.base = base
        self.halo = 2 + 2 * sum(dilations)
        if base is not None:
            self.halo = max(self.halo, int(base.halo))  # type: ignore[arg-type]
        self.head = nn.Conv2d(channels, width, 3, padding=1)
        self.body = residual_blocks(width, dilations)
        self.tail = nn.Conv2d(width, channels * ratio[0] * ratio[1], 3, padding=1)
        assert self.tail.bias is not None
        with torch.no_grad():
            self.tail.weight.mul_(0.1)
            self.tail.bias.zero_()

    def forward(self, plane: Tensor) -> Tensor:
        """(B, C, Y, X) -> (B, C, Y r_y, X r_x)."""
        if plane.shape[1] != self.head.in_channels:
            each = self.forward(plane.flatten(0, 1)[:, None])
            return each.reshape(*plane.shape[:2], *each.shape[2:])
        features = self.head(plane)
        for block in self.body:
            features = block(features)
        detail = shuffle(self.tail(features), self.ratio)
        plain: Tensor = self.base(plane) if self.base else enlarge(plane, self.ratio)
        return plain + detail


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
        self.halo, self.width, self.dilations = layers, width, ()
        self.base = None
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


class InterpolationNetwork(nn.Module):
    """Adds nothing: what is applied with it is bicubic enlargement."""

    ratio: Ratio = (1, 1)
    halo = 0

    def forward(self, plane: Tensor) -> Tensor:
        """(B, C, Y, X) -> the same."""
        return plane


class StagedNetwork(nn.Module):
    """A network for the image, and another for what that has enlarged."""

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
    plan: TrainingPlan, ratio: Ratio, *, seed: int, base: nn.Module | None = None
) -> nn.Module:
    """A plan's network before training, on the CPU; it stands on a filter `base`."""
    # torch initialises from its global generator, which is the caller's, as are those
    # of GPUs, which torch.manual_seed would seed too.
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        if plan.kind.fine_grid:
            return PaperNetwork(plan.samples, width=plan.width)
        dilations = (1,) * plan.blocks
        return ResidualNetwork(
            plan.samples, ratio, width=plan.width, dilations=dilations, base=base
        )


def on_device(network: nn.Module, device: torch.device) -> nn.Module:
    """A network on a device, for channels-last planes: a third faster on CPUs."""
    moved = network.to(device)
    # Metal has kernels of its own.
    if device.type == "mps":
        return moved
    return moved.to(memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]


def applied(network: nn.Module, planes: Tensor, precision: str) -> Tensor:
    """A network applied to planes (B, C, Y, X) in some precision; float32."""
    with exact_convolutions(planes.device.type):
        if precision != "bfloat16":
            out: Tensor = network(planes)
            return out
        with torch.autocast(planes.device.type, torch.bfloat16):
            return network(planes).float()  # type: ignore[no-any-return]


@contextmanager
def exact_convolutions(device_type: str) -> Iterator[None]:
    """On CUDA the same convolutions every time, and of all bits of float32."""
    if device_type != "cuda":
        yield
        return
    with torch.backends.cudnn.flags(
        enabled=True, benchmark=False, deterministic=True, allow_tf32=False
    ):
        yield


@contextmanager
def full_precision(device_type: str) -> Iterator[None]:
    """Float32 within `applied`: bfloat16 would leave the image 8 bits."""
    # Where nothing is cast, devices may not know autocast at all.
    if not torch.is_autocast_enabled(device_type):
        yield
        return
    with torch.autocast(device_type, enabled=False):
        yield


def enlarge(plane: Tensor, ratio: Ratio) -> Tensor:
    """Bicubic enlargement by whole numbers; (..., Y, X) -> (..., Y r_y, X r_x)."""
    if ratio == (1, 1):
        return plane
    with full_precision(plane.device.type):
        return resize(plane, (float(ratio[0]), float(ratio[1])))


def shuffle(planes: Tensor, ratio: Ratio) -> Tensor:
    """Pixel shuffle with a ratio per axis; (B, C r_y r_x, Y, X) -> (B, C, Y', X')."""
    if ratio[0] == ratio[1]:
        return nn.functional.pixel_shuffle(planes, ratio[0])
    batch, _, height, width = planes.shape
    parts = planes.reshape(batch, -1, *ratio, height, width)
    moved = parts.permute(0, 1, 4, 2, 5, 3)
    return moved.reshape(batch, -1, height * ratio[0], width * ratio[1])


SIDE = 11
MAX_SAMPLES = 400_000
CHUNK = 50_000
# Regularisation, as multiples of the mean diagonal of the Gram matrix.
STRENGTHS = (1e-6, 1e-5, 1e-4, 1e-3, 1e-2)


class RidgeFilter(nn.Module):
    """Linear filter, the same for every channel, on top of bicubic enlargement."""

    def __init__(self, ratio: Ratio) -> None:
        super().__init__()
        self.ratio = ratio
        self.halo = SIDE // 2
        self.filters: Tensor
        self.register_buffer("filters", torch.zeros(ratio[0] * ratio[1], 1, SIDE, SIDE))

    def forward(self, plane: Tensor) -> Tensor:
        """(B, C, Y, X) -> (B, C, Y r_y, X r_x)."""
        single = plane.reshape(-1, 1, *plane.shape[2:])
        padded = nn.functional.pad(single, (self.halo,) * 4, mode="replicate")
        with full_precision(plane.device.type):
            detail = shuffle(nn.functional.conv2d(padded, self.filters), self.ratio)
        fine = detail.reshape(*plane.shape[:2], *detail.shape[2:])
        return enlarge(plane, self.ratio) + fine


@torch.no_grad()
def fit_ridge(
    pairs: PairSet,
    held_out: HeldOut,
    generator: torch.Generator,
) -> RidgeFilter:
    """Fit the filter on pairs; the held-out regions choose the regularisation."""
    gram, cross = _normal_equations(pairs, generator)
    network = RidgeFilter(pairs.ratio).to(pairs.sons.device)

    def error(filters: Tensor) -> float:
        network.filters.copy_(filters)
        return float(region_errors(network(held_out.sons), held_out).sum())

    filters = min((_solve(gram, cross, s) for s in STRENGTHS), key=error)
    network.filters.copy_(filters)
    return network


def _normal_equations(
    pairs: PairSet, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Gram matrix (120, 120) and cross terms (120, r*r), float64 on the CPU."""
    r_y, r_x = pairs.ratio
    features = SIDE * SIDE - 1
    gram = torch.zeros(features, features, dtype=torch.float64)
    cross = torch.zeros(features, r_y * r_x, dtype=torch.float64)
    pixels = int(pairs.weights.sum()) * pairs.sons.shape[0]
    share = min(1.0, MAX_SAMPLES / pixels)
    for number in range(len(pairs.layout)):
        for x, y in _samples(pairs, number, share, generator):
            gram += (x.T @ x).cpu().double()
            cross += (x.T @ y).cpu().double()
    return gram, cross


def _samples(
    pairs: PairSet, number: int, share: float, generator: torch.Generator
) -> list[tuple[Tensor, Tensor]]:
    """Chunks of centred patches (n, 120) and targets (n, r*r) of one pair."""
    r_y, r_x = pairs.ratio
    # One image for each channel, since all share the filter.
    son, father, weight = (p[:, None] for p in whole_pair(pairs, number))
    height, width = son.shape[-2:]
    target = father - enlarge(son, pairs.ratio)
    count = len(son) * height * width
    chosen = torch.randperm(count, generator=generator)[: max(1, int(share * count))]
    whole = _unshuffled(weight, pairs.ratio).amin(dim=1).expand(len(son), -1, -1)
    counted = whole.reshape(-1).cpu()[chosen] > 0
    chosen = chosen[counted].to(son.device)
    patches = nn.functional.pad(son, (SIDE // 2,) * 4, mode="replicate")
    windows = patches.unfold(2, SIDE, 1).unfold(3, SIDE, 1)
    targets = _unshuffled(target, pairs.ratio).permute(0, 2, 3, 1)
    targets = targets.reshape(count, r_y * r_x)
    chunks = []
    for part in torch.split(chosen, CHUNK):
        image, rest = part // (height * width), part % (height * width)
        x = windows[image, 0, rest // width, rest % width].flatten(1)
        middle = SIDE * SIDE // 2
        x = torch.cat([x[:, :middle], x[:, middle + 1 :]], dim=1) - x[:, [middle]]
        chunks.append((x, targets[part]))
    return chunks


def _unshuffled(planes: Tensor, ratio: Ratio) -> Tensor:
    """Inverse of `shuffle` for one channel; (B, 1, Y, X) -> (B, r*r, y, x)."""
    batch, _, height, width = planes.shape
    r_y, r_x = ratio
    parts = planes.reshape(batch, height // r_y, r_y, width // r_x, r_x)
    moved = parts.permute(0, 2, 4, 1, 3)
    return moved.reshape(batch, r_y * r_x, height // r_y, width // r_x)


def _solve(gram: Tensor, cross: Tensor, strength: float) -> Tensor:
    """Filters (r*r, 1, 11, 11) whose weights sum to zero."""
    ridge = strength * gram.diagonal().mean().clamp_min(1e-30)
    weights = torch.linalg.solve(gram + ridge * torch.eye(len(gram)), cross)
    middle = SIDE * SIDE // 2
    center = -weights.sum(dim=0, keepdim=True)
    whole = torch.cat([weights[:middle], center, weights[middle:]])
    return whole.T.reshape(-1, 1, SIDE, SIDE)


def checkpoint_of(network: nn.Module, plan: TrainingPlan) -> Checkpoint | None:
    """Copy of a trained network on the CPU; None for a filter, which is not kept."""
    if isinstance(network, StagedNetwork):
        network = network.first
    if not isinstance(network, ResidualNetwork | PaperNetwork):
        return None
    return Checkpoint(
        network=plan.kind.name,
        width=network.width,
        dilations=network.dilations,
        samples=plan.samples,
        factors=plan.factors,
        ratio=network.ratio,
        base=network.base is not None,
        kernel=plan.kernel.to_dict(),
        # Apart from the network, which goes on.
        weights={
            name: tensor.detach().cpu().numpy().copy()
            for name, tensor in network.state_dict().items()
        },
        began=plan.initialization,
        further=plan.start.further if plan.start else None,
    )


def restored(saved: Checkpoint) -> nn.Module:
    """A network as it was saved, on the CPU. Raises InputError."""
    # No weights are drawn that would be thrown away.
    with torch.device("meta"):
        network = _empty(saved)
    tensors = {name: torch.tensor(array) for name, array in saved.weights.items()}
    try:
        network.load_state_dict(tensors, assign=True)
    except RuntimeError as error:
        raise InputError(
            f"The saved networks do not match the description in their file; {WAY_OUT}."
        ) from error
    return network


def _empty(saved: Checkpoint) -> nn.Module:
    if KINDS[saved.network].fine_grid:
        return PaperNetwork(saved.samples, width=saved.width)
    return ResidualNetwork(
        saved.weights["head.weight"].shape[1],
        saved.ratio,
        width=saved.width,
        dilations=saved.dilations,
        base=RidgeFilter(saved.ratio) if saved.base else None,
    )
