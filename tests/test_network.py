from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from napari_zssr.config import FAST, PAPER, Config, change
from napari_zssr.imaging.noise import NoiseModel
from napari_zssr.zssr.network import (
    PaperNetwork,
    ResidualNetwork,
    enlarge,
    shuffle,
    untrained,
)
from napari_zssr.zssr.nonlocal_means import NonLocalMeans
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
    halo_is_true(networks()[number].double())


def halo_is_true(network: nn.Module) -> None:
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


class Box(nn.Module):
    """A guide that can be followed: the mean over so many pixels."""

    def __init__(self, halo: int) -> None:
        super().__init__()
        self.halo = halo

    def forward(self, plane: Tensor) -> Tensor:
        side = 2 * self.halo + 1
        return nn.functional.avg_pool2d(plane, side, stride=1, padding=self.halo)


def ridge(halo_px: int = 5) -> RidgeFilter:
    made = RidgeFilter((2, 2))
    made.filters.normal_(generator=torch.Generator().manual_seed(0))
    assert made.halo == halo_px
    return made


def guided(base: nn.Module | None, guide: nn.Module, blocks: int = 1) -> nn.Module:
    torch.manual_seed(0)
    return ResidualNetwork(1, (2, 2), width=8, blocks=blocks, base=base, guide=guide)


@pytest.mark.parametrize("ratio", RATIOS)
@pytest.mark.parametrize("channels", [1, 3])
def test_guided_output_has_the_ratio(channels: int, ratio: Ratio) -> None:
    guide = NonLocalMeans(NoiseModel(offset=0.01))
    network = ResidualNetwork(channels, ratio, width=8, guide=guide)
    made = network(torch.rand(2, channels, 12, 15))
    assert made.shape == (2, channels, 12 * ratio[0], 15 * ratio[1])


@pytest.mark.parametrize("filtered", [False, True])
@pytest.mark.parametrize("halo", [1, 4])
def test_the_guide_widens_the_halo(halo: int, filtered: bool) -> None:
    base = ridge() if filtered else None
    alone = ResidualNetwork(1, (2, 2), width=8, blocks=2, base=base)
    network = guided(base, Box(halo), blocks=2)
    assert network.halo == alone.halo + halo
    halo_is_true(network.double())


def test_the_guides_result_is_enlarged() -> None:
    guide = Box(1)
    network = guided(None, guide)
    nn.init.zeros_(network.tail.weight)
    plane = torch.rand(1, 1, 12, 12)
    torch.testing.assert_close(network(plane), enlarge(guide(plane), (2, 2)))


def test_a_base_enlarges_the_plane_and_the_guide_is_seen_beside_it() -> None:
    base = ridge()
    plane = torch.rand(1, 1, 12, 12)
    networks = [guided(base, Box(halo)) for halo in (1, 2)]
    details = [network(plane) - base(plane) for network in networks]
    assert not torch.allclose(details[0], details[1], atol=1e-3)
    nn.init.zeros_(networks[0].tail.weight)
    torch.testing.assert_close(networks[0](plane), base(plane))


def test_the_plane_is_seen_beside_the_guide() -> None:
    class Blank(Box):
        def forward(self, plane: Tensor) -> Tensor:
            return torch.zeros_like(plane)

    network = guided(None, Blank(0))
    made = [network(torch.full((1, 1, 8, 8), level)) for level in (0.0, 1.0)]
    assert not torch.allclose(made[0], made[1], atol=1e-3)


@pytest.mark.parametrize("config", [FAST, PAPER], ids=lambda c: c.preset)
def test_untrained_networks_come_from_their_seed(config: Config) -> None:
    ratio = (1, 1) if config.network == "paper" else (2, 2)
    torch.manual_seed(0)
    before = torch.get_rng_state()
    one, two, other = (
        torch.cat(
            [p.flatten() for p in untrained(config, 2, ratio, seed=s).parameters()]
        )
        for s in (3, 3, 4)
    )
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(one, two)
    assert not torch.equal(one, other)


def test_untrained_networks_stand_on_base_and_guide() -> None:
    base, guide = ridge(), Box(2)
    config = change(FAST, width=12, blocks=2)
    network = untrained(config, 3, (2, 2), seed=0, base=base, guide=guide)
    assert isinstance(network, ResidualNetwork)
    assert network.base is base
    assert network.guide is guide
    assert tuple(network.head.weight.shape) == (12, 6, 3, 3)
    assert len(network.body) == 2
    plain = untrained(config, 3, (2, 2), seed=0)
    assert tuple(plain.head.weight.shape) == (12, 3, 3, 3)


def test_the_papers_network_stands_on_nothing() -> None:
    network = untrained(PAPER, 1, (1, 1), seed=0, base=ridge(), guide=Box(2))
    assert isinstance(network, PaperNetwork)
    assert len(list(network.parameters())) == 8
