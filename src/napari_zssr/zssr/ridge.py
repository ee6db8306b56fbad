"""The closed-form filter: ridge regression from son to father.

A patch of 11 x 11 coarse pixels, seen from its centre, predicts the r*r fine pixels of
(father - bicubic enlargement).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from napari_zssr.zssr.held_out import HeldOut, region_errors
from napari_zssr.zssr.network import Ratio, enlarge, shuffle
from napari_zssr.zssr.pairs import PairSet, whole_pair

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
        # bfloat16 would leave the image 8 bits.
        with torch.autocast(plane.device.type, enabled=False):
            return self._filtered(plane)

    def _filtered(self, plane: Tensor) -> Tensor:
        batch, channels, height, width = plane.shape
        single = plane.reshape(batch * channels, 1, height, width)
        padded = nn.functional.pad(single, (self.halo,) * 4, mode="replicate")
        detail = shuffle(nn.functional.conv2d(padded, self.filters), self.ratio)
        return enlarge(plane, self.ratio) + detail.reshape(
            batch, channels, *detail.shape[-2:]
        )


@torch.no_grad()
def fit_ridge(
    pairs: PairSet,
    held_out: HeldOut,
    generator: torch.Generator,
) -> RidgeFilter:
    """Fit the filter on pairs; the held-out regions choose the regularisation.

    Parameters
    ----------
    pairs : PairSet
    held_out : HeldOut
    generator : torch.Generator
        CPU generator that picks pixels where there are more than enough.
    """
    gram, cross = _normal_equations(pairs, generator)
    best: tuple[float, Tensor] | None = None
    network = RidgeFilter(pairs.ratio).to(pairs.sons.device)
    for strength in STRENGTHS:
        filters = _solve(gram, cross, strength)
        network.filters.copy_(filters.to(network.filters))
        error = float(region_errors(network(held_out.sons), held_out).sum())
        if best is None or error < best[0]:
            best = (error, network.filters.clone())
    assert best is not None
    network.filters.copy_(best[1])
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
    made = []
    for part in torch.split(chosen, CHUNK):
        image, rest = part // (height * width), part % (height * width)
        x = windows[image, 0, rest // width, rest % width].flatten(1)
        middle = SIDE * SIDE // 2
        x = torch.cat([x[:, :middle], x[:, middle + 1 :]], dim=1) - x[:, [middle]]
        made.append((x, targets[part]))
    return made


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
