from __future__ import annotations

import pytest
import torch
from engine import untrained
from torch import nn

from napari_zssr.config import FAST, PAPER, Config, change
from napari_zssr.kernelspec import KernelSpec
from napari_zssr.progress import drain
from napari_zssr.zssr.networks import (
    PaperNetwork,
    ResidualNetwork,
    RidgeFilter,
    StagedNetwork,
    enlarge,
    shuffle,
)
from napari_zssr.zssr.predict import PredictSpec, predict

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


def ridge(halo_px: int = 5) -> RidgeFilter:
    made = RidgeFilter((2, 2))
    made.filters.normal_(generator=torch.Generator().manual_seed(0))
    assert made.halo == halo_px
    return made


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


def test_untrained_networks_stand_on_a_base() -> None:
    base = ridge()
    config = change(FAST, width=12, blocks=2)
    network = untrained(config, 3, (2, 2), seed=0, base=base)
    assert isinstance(network, ResidualNetwork)
    assert network.base is base
    assert tuple(network.head.weight.shape) == (12, 3, 3, 3)
    assert len(network.body) == 2


def test_the_papers_network_stands_on_nothing() -> None:
    network = untrained(PAPER, 1, (1, 1), seed=0, base=ridge())
    assert isinstance(network, PaperNetwork)
    assert len(list(network.parameters())) == 8


@pytest.mark.parametrize("base", [None, ridge()], ids=["bicubic", "filter"])
def test_what_the_detail_is_added_to_keeps_float32(base: nn.Module | None) -> None:
    """In bfloat16 a smooth image would have 8 bits."""
    network = ResidualNetwork(1, (2, 2), width=8, base=base)
    nn.init.zeros_(network.tail.weight)
    plane = torch.linspace(0, 1, 4096).reshape(1, 1, 64, 64)
    wanted = network(plane)
    with torch.autocast("cpu", torch.bfloat16):
        made = network(plane)
    assert made.dtype == torch.float32
    torch.testing.assert_close(made, wanted, atol=1e-6, rtol=0)


def test_a_staged_network_applies_the_other_to_what_it_has_enlarged() -> None:
    first, further = (ResidualNetwork(1, (2, 2), width=8) for _ in range(2))
    staged = StagedNetwork(first, further)
    plane = torch.rand(1, 12, 12)
    spec = PredictSpec(factors=(4.0, 4.0), applications=2, kernel=KernelSpec())
    with torch.no_grad():
        wanted = further(first(plane[None]))[0]
        torch.testing.assert_close(staged(plane[None]), first(plane[None]))
    torch.testing.assert_close(drain(predict(staged, plane, spec)), wanted)
    assert (staged.ratio, staged.halo) == (first.ratio, first.halo)


def test_a_grey_network_enlarges_colours_each_by_itself() -> None:
    network = ResidualNetwork(1, (2, 1), width=8)
    plane = torch.rand(2, 3, 12, 15)
    made = network(plane)
    assert made.shape == (2, 3, 24, 15)
    torch.testing.assert_close(made[:, 1:2], network(plane[:, 1:2]))
