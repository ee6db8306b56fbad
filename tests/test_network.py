from __future__ import annotations

import pytest
import torch
from torch import nn

from napari_zssr.zssr.network import PaperNetwork, ResidualNetwork, enlarge, shuffle
from napari_zssr.zssr.ridge import RidgeFilter

Ratio = tuple[int, int]
RATIOS = [(2, 2), (1, 2), (2, 1), (3, 3)]


def networks(channels: int = 1) -> list[nn.Module]:
    torch.manual_seed(0)
    ridge = RidgeFilter((2, 2))
    ridge.filters.normal_()
    return [
        ResidualNetwork(channels, (2, 2), width=8),
        ResidualNetwork(channels, (1, 2), width=8),
        PaperNetwork(channels, width=8),
        ridge,
    ]


@pytest.mark.parametrize("number", range(4))
@pytest.mark.parametrize("channels", [1, 3])
def test_output_has_the_ratio(number: int, channels: int) -> None:
    network = networks(channels)[number]
    made = network(torch.rand(2, channels, 12, 15))
    r_y, r_x = network.ratio
    assert made.shape == (2, channels, 12 * r_y, 15 * r_x)


@pytest.mark.parametrize("number", range(4))
def test_halo_is_how_far_a_pixel_is_seen(number: int) -> None:
    """Pixels beyond the halo change nothing; halos are not wastefully wide."""
    network = networks()[number].double()
    plane = torch.rand(1, 1, 1, 61, dtype=torch.float64).expand(1, 1, 61, 61)
    plane = plane.clone().requires_grad_()
    made = network(plane)
    r_y, r_x = network.ratio
    made[0, 0, 30 * r_y : 31 * r_y, 30 * r_x : 31 * r_x].sum().backward()
    assert plane.grad is not None
    seen = plane.grad[0, 0].abs() > 0
    halo = network.halo
    seen_y, seen_x = torch.nonzero(seen, as_tuple=True)
    reach = max(int((seen_y - 30).abs().max()), int((seen_x - 30).abs().max()))
    assert halo - 2 <= reach <= max(halo, 2)


@pytest.mark.parametrize("ratio", RATIOS)
def test_shuffle_puts_sub_pixels_in_their_place(ratio: Ratio) -> None:
    r_y, r_x = ratio
    planes = torch.rand(2, 3 * r_y * r_x, 4, 5)
    made = shuffle(planes, ratio)
    for y in range(r_y):
        for x in range(r_x):
            part = planes[:, y * r_x + x :: r_y * r_x]
            torch.testing.assert_close(made[:, :, y::r_y, x::r_x], part)


def test_enlarging_by_one_is_nothing() -> None:
    plane = torch.rand(1, 4, 4)
    assert enlarge(plane, (1, 1)) is plane


@pytest.mark.parametrize("number", range(4))
def test_starts_near_the_interpolation(number: int) -> None:
    network = networks()[number]
    if isinstance(network, RidgeFilter):
        network.filters.zero_()
    plane = torch.rand(1, 1, 24, 24)
    with torch.no_grad():
        difference = network(plane) - enlarge(plane, network.ratio)
    assert float(difference.square().mean().sqrt()) < 0.3 * float(plane.std())


def test_the_paper_has_no_bias_and_eight_layers() -> None:
    shapes = [tuple(p.shape) for p in PaperNetwork(3).parameters()]
    assert shapes == [(64, 3, 3, 3), *[(64, 64, 3, 3)] * 6, (3, 64, 3, 3)]


def test_every_weight_learns() -> None:
    network = ResidualNetwork(1, (2, 2), width=8)
    network(torch.rand(1, 1, 16, 16)).square().mean().backward()
    assert all(p.grad is not None and p.grad.any() for p in network.parameters())
