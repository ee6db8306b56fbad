"""Non-local means for the noise that was found, as a layer without weights."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from napari_zssr.imaging.noise import NoiseModel

SEARCH_PX = 5
PATCH_PX = 2
STRENGTH = 0.2
# Elements of one chunk of shifted copies; more would leave the processor's cache.
CHUNK = 1_000_000


class NonLocalMeans(nn.Module):
    """Mean over pixels whose surroundings are alike but for the noise.

    Patches are compared (Buades, Coll and Morel, CVPR 2005) where the noise has the
    same variance everywhere, so that noise alone makes the same distance everywhere.

    Parameters
    ----------
    noise : NoiseModel
        In the intensities of the planes that come in.
    """

    def __init__(self, noise: NoiseModel) -> None:
        super().__init__()
        self.noise = noise
        self.halo = SEARCH_PX + PATCH_PX

    @torch.no_grad()
    def forward(self, plane: Tensor) -> Tensor:
        """(B, C, Y, X) -> the same; channels share their weights."""
        even = self.noise.stabilised(plane)
        copies, even_copies = _neighbours(plane), _neighbours(even)
        total, weights = torch.zeros_like(plane), torch.zeros_like(plane[:, :1])
        side = 2 * SEARCH_PX + 1
        rows = max(1, CHUNK // (side * plane.numel()))
        for first in range(0, side, rows):
            rows_now = slice(first, first + rows)
            distance = (even_copies[:, :, rows_now] - even[:, :, None, None]) ** 2
            excess = 0.5 * _patch_mean(distance.mean(dim=1, keepdim=True)) - 1
            weight = torch.exp(excess.clamp_min(0) / -STRENGTH)
            total += (weight * copies[:, :, rows_now]).sum(dim=(2, 3))
            weights += weight.sum(dim=(2, 3))
        return total / weights


def _neighbours(plane: Tensor) -> Tensor:
    """View (B, C, shifts y, shifts x, Y, X) of a plane moved by all shifts."""
    height, width = plane.shape[-2:]
    padded = nn.functional.pad(plane, (SEARCH_PX,) * 4, mode="replicate")
    return padded.unfold(2, height, 1).unfold(3, width, 1)


def _patch_mean(planes: Tensor) -> Tensor:
    """Mean over patches; slices, since pooling is ten times slower on a processor."""
    side = 2 * PATCH_PX + 1
    height, width = planes.shape[-2:]
    flat = planes.flatten(0, -3)[:, None]
    padded = nn.functional.pad(flat, (PATCH_PX,) * 4, mode="replicate")
    rows = _sum([padded[..., n : n + height, :] for n in range(side)])
    total = _sum([rows[..., n : n + width] for n in range(side)])
    return (total / side**2).reshape(planes.shape)


def _sum(parts: list[Tensor]) -> Tensor:
    total = parts[0] + parts[1]
    for part in parts[2:]:
        total += part
    return total
