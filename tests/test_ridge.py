from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn.functional import conv2d

from napari_zssr.kernelspec import KernelSpec
from napari_zssr.zssr.networks import Ratio, RidgeFilter, enlarge, fit_ridge, shuffle
from napari_zssr.zssr.pairs import HeldOut, PairSet, PairSpec, build_pairs

SIDE = 40


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def known_filters(ratio: Ratio) -> Tensor:
    """Filters of 5 x 5 whose weights sum to zero: what a ridge can express."""
    filters = torch.randn(ratio[0] * ratio[1], 1, 5, 5, generator=generator()) / 10
    return filters - filters.mean(dim=(2, 3), keepdim=True)


def father_of(son: Tensor, filters: Tensor, ratio: Ratio) -> Tensor:
    detail = shuffle(conv2d(son[None], filters, padding=2), ratio)[0]
    return enlarge(son, ratio) + detail


def known_pairs(ratio: Ratio, filters: Tensor) -> tuple[PairSet, HeldOut]:
    son = torch.rand(1, SIDE, SIDE, generator=generator())
    father = father_of(son, filters, ratio)
    weight = torch.ones_like(father)
    for axis in (1, 2):  # the border knows nothing of the filter
        weight.narrow(axis, 0, 12).zero_()
        weight.narrow(axis, father.shape[axis] - 12, 12).zero_()
    pairs = PairSet(
        fathers=torch.cat([father, weight]).flatten(1),
        sons=son.flatten(1),
        layout=torch.tensor([[0, father.shape[2], 0, SIDE, SIDE]]),
        weights=torch.tensor([float(SIDE * SIDE)]),
        ratio=ratio,
        crop=(16, 16),
    )
    region = weight[None].long()
    return pairs, HeldOut(sons=son[None], fathers=father[None], region=region)


@pytest.mark.parametrize("ratio", [(2, 2), (1, 2), (2, 1)])
def test_a_known_filter_is_found(ratio: Ratio) -> None:
    filters = known_filters(ratio)
    network = fit_ridge(*known_pairs(ratio, filters), generator())
    son = torch.rand(1, 30, 30, generator=torch.Generator().manual_seed(9))
    made = network(son[None])[0]
    wanted = father_of(son, filters, ratio)
    assert made.shape == wanted.shape
    error = (made - wanted)[:, 12:-12, 12:-12].square().mean().sqrt()
    plain = (enlarge(son, ratio) - wanted)[:, 12:-12, 12:-12].square().mean().sqrt()
    assert float(error) < 0.02 * float(plain)


def test_constants_stay() -> None:
    filters = known_filters((2, 2))
    network = fit_ridge(*known_pairs((2, 2), filters), generator())
    made = network(torch.full((1, 1, 20, 20), 0.7))
    torch.testing.assert_close(made, torch.full_like(made, 0.7), atol=1e-5, rtol=0)


def test_channels_are_treated_alike() -> None:
    network = RidgeFilter((2, 2))
    network.filters.copy_(torch.randn(4, 1, 11, 11, generator=generator()))
    plane = torch.rand(2, 3, 16, 17, generator=generator())
    made = network(plane)
    for channel in range(3):
        torch.testing.assert_close(
            made[:, [channel]], network(plane[:, [channel]]), atol=1e-5, rtol=1e-5
        )


def test_held_out_pixels_are_not_fitted() -> None:
    """A father that lies where it does not count changes nothing."""
    filters = known_filters((2, 2))
    pairs, held_out = known_pairs((2, 2), filters)
    fathers = pairs.fathers.clone()
    fathers[0, fathers[1] == 0] = 1e3
    other = PairSet(
        fathers=fathers,
        sons=pairs.sons,
        layout=pairs.layout,
        weights=pairs.weights,
        ratio=pairs.ratio,
        crop=pairs.crop,
    )
    one = fit_ridge(pairs, held_out, generator())
    two = fit_ridge(other, held_out, generator())
    torch.testing.assert_close(one.filters, two.filters)


def test_it_beats_bicubic_on_its_own_image() -> None:
    y = torch.arange(64.0)[:, None]
    image = torch.sign(torch.sin((y - 20) / 3 + torch.cos(torch.arange(64.0) / 5)))
    spec = PairSpec(factors=(2.0, 2.0), ratio=(2, 2), kernel=KernelSpec())
    pairs, held_out = build_pairs([image[None]], spec, generator())
    network = fit_ridge(pairs, held_out, generator())
    with torch.no_grad():
        errors = [
            ((made - held_out.fathers) ** 2 * (held_out.region > 0)).sum()
            for made in (network(held_out.sons), enlarge(held_out.sons, (2, 2)))
        ]
    assert float(errors[0]) < 0.95 * float(errors[1])
