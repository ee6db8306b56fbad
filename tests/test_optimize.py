from __future__ import annotations

import itertools

import pytest
import torch
from torch import nn

from napari_zssr.zssr.networks import ResidualNetwork
from napari_zssr.zssr.trainer import (
    OneCycle,
    Optimizer,
    PaperPolicy,
    ParameterAverage,
    orthogonalised,
)


@pytest.mark.parametrize("shape", [(8, 8), (8, 72), (40, 9)])
def test_singular_values_are_driven_towards_one(shape: tuple[int, int]) -> None:
    generator = torch.Generator().manual_seed(0)
    matrix = torch.randn(shape, generator=generator) * 17
    (made,) = orthogonalised([matrix])
    values = torch.linalg.svdvals(made)
    assert made.shape == matrix.shape
    assert 0.5 < float(values.min()) <= float(values.max()) < 1.4


def test_matrices_of_several_shapes_keep_their_order() -> None:
    generator = torch.Generator().manual_seed(0)
    shapes = [(4, 6), (6, 4), (4, 6), (5, 5)]
    matrices = [torch.randn(s, generator=generator) for s in shapes]
    made = orthogonalised(matrices)
    for matrix, alone in zip(matrices, made, strict=True):
        torch.testing.assert_close(orthogonalised([matrix])[0], alone)


@pytest.mark.parametrize("muon", [True, False])
def test_optimizer_lowers_a_loss(muon: bool) -> None:
    torch.manual_seed(0)
    network = ResidualNetwork(1, (1, 1), width=8)
    optimizer = Optimizer(network, muon=muon, adam_rate=2e-3)
    plane = torch.rand(2, 1, 12, 12)
    losses = []
    for _ in range(15):
        loss = (network(plane) - 0.7 * plane).square().mean()
        network.zero_grad()
        loss.backward()
        optimizer.step(1.0)
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.5 * losses[0]


@pytest.mark.parametrize("muon", [True, False])
def test_no_share_no_change(muon: bool) -> None:
    network = ResidualNetwork(1, (2, 2), width=8)
    before = [p.detach().clone() for p in network.parameters()]
    optimizer = Optimizer(network, muon=muon, adam_rate=2e-3)
    network(torch.rand(1, 1, 8, 8)).sum().backward()
    optimizer.step(0.0)
    for old, new in zip(before, network.parameters(), strict=True):
        assert torch.equal(old, new)


@pytest.mark.parametrize("total", [1, 5, 100, 1000])
def test_one_cycle_rises_and_falls(total: int) -> None:
    cycle = OneCycle(total)
    shares = [cycle.share(step) for step in range(total)]
    top = shares.index(max(shares))
    assert all(0 < share <= 1 for share in shares)
    assert all(a <= b for a, b in itertools.pairwise(shares[: top + 1]))
    assert all(a >= b for a, b in itertools.pairwise(shares[top:]))
    if total >= 100:
        assert shares[top] > 0.95
        assert top <= 0.2 * total
        assert shares[0] < 0.2
        assert shares[-1] < 0.02


def test_one_cycle_can_end_early_without_a_jump() -> None:
    cycle = OneCycle(1000)
    before = cycle.share(400)
    cycle.finish_by(400, 480)
    shares = [cycle.share(step) for step in range(400, 480)]
    assert cycle.total == 480
    assert shares[0] == pytest.approx(before)
    assert all(a >= b for a, b in itertools.pairwise(shares))
    assert shares[-1] < 0.05 * before
    cycle.finish_by(450, 460)
    assert cycle.total == 480


def test_one_cycle_is_never_prolonged() -> None:
    cycle = OneCycle(100)
    cycle.finish_by(90, 200)
    assert cycle.total == 100


def test_paper_policy_goes_on_while_errors_fall() -> None:
    policy = PaperPolicy()
    for n in range(40):
        policy.add_error(1.0 - 0.02 * n)
        assert not policy.review()
    assert policy.share == 1


def test_paper_policy_lowers_tenfold_and_stops() -> None:
    policy = PaperPolicy()
    shares = []
    stopped = False
    for n in range(60):
        policy.add_error(1.0 + (n % 2))
        stopped = stopped or policy.review()
        shares.append(policy.share)
        if stopped:
            break
    assert stopped
    levels = sorted(set(shares), reverse=True)
    assert all(a / b == pytest.approx(10) for a, b in itertools.pairwise(levels))
    assert 3 <= len(levels) <= 4


def test_average_leaves_the_network_alone() -> None:
    network = nn.Conv2d(1, 2, 3)
    average = ParameterAverage(network)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(1)
    current = [p.detach().clone() for p in network.parameters()]
    average.update(network)
    averaged = average.network.parameters()
    for old, other, new in zip(current, averaged, network.parameters(), strict=True):
        assert torch.equal(old, new)
        assert (other < old).all()


def test_average_of_a_constant_is_the_constant() -> None:
    network = nn.Conv2d(1, 2, 3)
    average = ParameterAverage(network)
    wanted = [p.detach().clone() for p in network.parameters()]
    for _ in range(5):
        average.update(network)
    averaged = [p.detach() for p in average.network.parameters()]
    torch.testing.assert_close(averaged, wanted)
