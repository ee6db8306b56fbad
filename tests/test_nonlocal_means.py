from __future__ import annotations

import pytest
import torch
from torch import Tensor

from napari_zssr.imaging.dihedral import ALL, transform
from napari_zssr.imaging.noise import NoiseModel
from napari_zssr.zssr import nonlocal_means
from napari_zssr.zssr.nonlocal_means import NonLocalMeans

MODELS = {
    "shot": NoiseModel(gain=0.01),
    "read": NoiseModel(offset=0.0025),
    "both": NoiseModel(gain=4e-3, offset=6e-4),
}


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def noisy(signal: Tensor, model: NoiseModel, seed: int = 0) -> Tensor:
    """Poisson noise, then Gaussian noise."""
    drawn = generator(seed)
    if model.gain > 0:
        signal = model.gain * torch.poisson(signal / model.gain, generator=drawn)
    read = torch.randn(signal.shape, generator=drawn, dtype=signal.dtype)
    return signal + model.offset**0.5 * read


def flat(level: float = 0.5, side: int = 40) -> Tensor:
    return torch.full((1, 1, side, side), level, dtype=torch.float64)


def rings(height: int = 22, width: int = 25, channels: int = 1) -> Tensor:
    """Rings of their own width in every channel."""
    y = torch.arange(height, dtype=torch.float64)[:, None] - 9.2
    x = torch.arange(width, dtype=torch.float64)[None, :] - 11.1
    radius = torch.sqrt(y * y + x * x)
    parts = [0.5 + 0.3 * torch.sin(radius * (n + 1) / 2) for n in range(channels)]
    return torch.stack(parts)[None]


@pytest.mark.parametrize("name", MODELS)
def test_constants_stay(name: str) -> None:
    plane = torch.tensor([0.0, 0.2, 0.9])[None, :, None, None].expand(2, 3, 14, 17)
    torch.testing.assert_close(NonLocalMeans(MODELS[name])(plane), plane)


@pytest.mark.parametrize("name", MODELS)
def test_flat_fields_lose_their_noise_and_keep_their_mean(name: str) -> None:
    model = MODELS[name]
    for level in (0.2, 0.7):
        plane = noisy(flat(level), model)
        made = NonLocalMeans(model)(plane)
        assert float(made.var()) < 0.06 * float(plane.var())
        assert abs(float(made.mean() - plane.mean())) < 0.05 * model.sigma(level)


@pytest.mark.parametrize("name", MODELS)
def test_the_mean_of_a_picture_is_kept(name: str) -> None:
    model = MODELS[name]
    plane = noisy(rings(40, 40), model)
    made = NonLocalMeans(model)(plane)
    assert not torch.allclose(made, plane, atol=0.01)
    assert abs(float(made.mean() - plane.mean())) < 0.1 * model.sigma(0.5)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("axis", [2, 3])
def test_strong_edges_stay_sharp_and_in_place(axis: int, name: str) -> None:
    model = MODELS[name]
    signal = flat(0.2)
    signal.narrow(axis, 17, 23).fill_(0.8)
    plane = noisy(signal, model)
    made = NonLocalMeans(model)(plane)
    profile = made.mean(dim=5 - axis).flatten()
    assert float((profile[:17] - 0.2).abs().max()) < 0.06
    assert float((profile[17:] - 0.8).abs().max()) < 0.06
    error, before = (float((p - signal).square().mean()) for p in (made, plane))
    assert error < 0.1 * before


@pytest.mark.parametrize("number", ALL)
def test_turning_the_plane_turns_the_result(number: int) -> None:
    smoother = NonLocalMeans(MODELS["both"])
    plane = noisy(rings(channels=2), MODELS["both"])
    torch.testing.assert_close(
        smoother(transform(plane, number)), transform(smoother(plane), number)
    )


@pytest.mark.parametrize("place", [(0, 0), (0, 1), (1, 0), (1, 1)])
def test_halo_is_how_far_a_pixel_is_seen(place: tuple[int, int]) -> None:
    """It may reach as far along an axis, or both, and never farther."""
    smoother = NonLocalMeans(NoiseModel(offset=0.04))
    plane = torch.rand(1, 1, 31, 31, generator=generator(1), dtype=torch.float64)
    halo = smoother.halo
    before = smoother(plane)
    changed = plane.clone()
    changed[0, 0, 15, 15] += 3.0
    seen = torch.nonzero((smoother(changed) - before)[0, 0]) - 15
    assert int(seen.abs().max()) == halo
    corner = torch.tensor([halo * (2 * side - 1) for side in place])
    assert (seen == corner).all(dim=1).any()


def test_a_cut_with_its_halo_is_as_good_as_the_whole() -> None:
    smoother = NonLocalMeans(MODELS["read"])
    plane = noisy(rings(44, 40), MODELS["read"])
    halo = smoother.halo
    cut = smoother(plane[..., 14 - halo : 22 + halo, 10 - halo : 30 + halo])
    torch.testing.assert_close(
        cut[..., halo:-halo, halo:-halo], smoother(plane)[..., 14:22, 10:30]
    )


@pytest.mark.parametrize("chunk", [1, 11 * 2 * 2 * 22 * 25 * 4, 10**9])
def test_chunks_do_not_show(chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """One shifted row at a time, four with a rest, all at once."""
    smoother = NonLocalMeans(MODELS["both"])
    plane = noisy(rings(channels=2).expand(2, -1, -1, -1), MODELS["both"])
    sizes: list[int] = []
    measured = nonlocal_means._patch_mean

    def counted(planes: Tensor) -> Tensor:
        sizes.append(planes.shape[2])
        return measured(planes)

    whole = smoother(plane)
    monkeypatch.setattr(nonlocal_means, "_patch_mean", counted)
    monkeypatch.setattr(nonlocal_means, "CHUNK", chunk)
    torch.testing.assert_close(smoother(plane), whole)
    assert sizes == {1: [1] * 11, 10**9: [11]}.get(chunk, [4, 4, 3])


@pytest.mark.parametrize("name", MODELS)
def test_the_unit_of_the_intensities_does_not_matter(name: str) -> None:
    model = MODELS[name]
    plane = noisy(rings(), model)
    scale, offset = 0.005, -0.2
    mapped = NonLocalMeans(model.mapped(scale, offset))((plane - offset) / scale)
    torch.testing.assert_close(mapped * scale + offset, NonLocalMeans(model)(plane))


def test_planes_of_a_batch_do_not_meet() -> None:
    smoother = NonLocalMeans(MODELS["read"])
    planes = noisy(rings(channels=3), MODELS["read"]).transpose(0, 1)
    alone = torch.cat([smoother(plane[None]) for plane in planes])
    torch.testing.assert_close(smoother(planes), alone)


def test_channels_share_their_weights() -> None:
    """Nothing crosses an edge, whichever channel shows it."""
    model = MODELS["read"]
    edge = flat(0.2)
    edge[..., 20:] = 0.8
    one = noisy(flat(0.5), model, seed=1)
    other = one.clone()
    other[..., 20:] += 1.0
    for order in ((0, 1), (1, 0)):
        made = [
            NonLocalMeans(model)(torch.cat([plane, edge], dim=1)[:, list(order)])
            for plane in (one, other)
        ]
        torch.testing.assert_close(made[0][..., :20], made[1][..., :20])


def test_there_is_nothing_to_learn() -> None:
    smoother = NonLocalMeans(MODELS["read"])
    assert not list(smoother.parameters())
    assert not smoother(flat(side=12).requires_grad_()).requires_grad
