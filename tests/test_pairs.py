from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from napari_zssr.imaging.degrade import degradation
from napari_zssr.imaging.noise import NoiseModel
from napari_zssr.imaging.resample import SWAP, transform
from napari_zssr.kernelspec import KernelSpec
from napari_zssr.zssr.pairs import (
    HeldOut,
    PairSet,
    PairSpec,
    build_pairs,
    crop_index,
    crop_size,
    draw_crops,
    gather_crops,
    whole_pair,
)
from napari_zssr.zssr.warps import (
    IDENTITY,
    NOISY_WARPS,
    SHIFTED,
    SHRUNK,
    STRETCHED,
    TURNED,
    WARPS,
    Warp,
)

BICUBIC = KernelSpec()


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def unique_image(height: int = 48, width: int = 56, channels: int = 1) -> Tensor:
    """Every pixel has its own value, so that it can be found again."""
    count = channels * height * width
    order = torch.randperm(count, generator=generator(1)).float() / count
    return order.reshape(channels, height, width)


def made_pairs(image: Tensor, spec: PairSpec) -> tuple[PairSet, HeldOut]:
    return build_pairs([image], spec, generator())


SPECS = {
    "x2": PairSpec(factors=(2.0, 2.0), ratio=(2, 2), kernel=BICUBIC, crop_px=10),
    "1x2": PairSpec(
        factors=(1.0, 2.0), ratio=(1, 2), kernel=BICUBIC, transforms=(0, 1, 2, 3)
    ),
    "paper": PairSpec(factors=(1.5, 2.0), ratio=(1, 1), kernel=BICUBIC, crop_px=16),
    "gaussian": PairSpec(
        factors=(2.0, 2.0), ratio=(2, 2), kernel=KernelSpec.parse("gaussian:1")
    ),
}

FATHERS = {
    "shrunk": SHRUNK,
    "shifted": SHIFTED,
    "stretched": STRETCHED,
    "turned": TURNED,
    "noisy": NOISY_WARPS,
}


@pytest.mark.parametrize("name", SPECS)
def test_largest_son_is_the_degraded_image(name: str) -> None:
    spec = SPECS[name]
    image = unique_image()
    pairs, _ = made_pairs(image, spec)
    son, father, _ = whole_pair(pairs, 0)
    torch.testing.assert_close(father, image)
    wanted = degradation(spec.kernel, spec.factors, (48, 56)).degrade(image)
    if spec.ratio != (1, 1):
        torch.testing.assert_close(son, wanted)
    else:
        assert son.shape == father.shape


@pytest.mark.parametrize("name", SPECS)
def test_gathering_is_slicing_and_transforming(name: str) -> None:
    spec = SPECS[name]
    pairs, _ = made_pairs(unique_image(channels=2), spec)
    drawn = [draw_crops(pairs, 7, (n,), generator(3)) for n in spec.transforms]
    crops = torch.cat(drawn)
    assert crops[:, 3].tolist() == [n for n in spec.transforms for _ in range(7)]
    sons, fathers, weights = gather_crops(pairs, crop_index(pairs, crops))
    height, width = pairs.crop
    r_y, r_x = pairs.ratio
    for n, (pair, y, x, number) in enumerate(crops[:, :4].tolist()):
        son, father, weight = whole_pair(pairs, pair)
        fine = (
            slice(y * r_y, (y + height) * r_y),
            slice(x * r_x, (x + width) * r_x),
        )
        coarse = (slice(y, y + height), slice(x, x + width))
        for found, full, place in (
            (sons[n], son, coarse),
            (fathers[n], father, fine),
            (weights[n], weight, fine),
        ):
            wanted = transform(full[:, place[0], place[1]], number)
            assert torch.equal(found, wanted), f"transform {number}"


@pytest.mark.parametrize("name", SPECS)
def test_crops_stay_inside_their_pair(name: str) -> None:
    spec = SPECS[name]
    pairs, _ = made_pairs(unique_image(), spec)
    crops = draw_crops(pairs, 500, spec.transforms, generator(2))
    rows = pairs.layout[crops[:, 0]]
    assert (crops[:, 1:3] >= 0).all()
    assert (crops[:, 1] + pairs.crop[0] <= rows[:, 3]).all()
    assert (crops[:, 2] + pairs.crop[1] <= rows[:, 4]).all()
    assert set(crops[:, 3].tolist()) == set(spec.transforms)
    assert len(set(crops[:, 0].tolist())) > 1


@pytest.mark.parametrize("name", SPECS)
def test_held_out_pixels_never_count(name: str) -> None:
    spec = SPECS[name]
    # In float32 a mean over other pixels can equal a hidden one by chance.
    image = unique_image().double()
    pairs, held_out = made_pairs(image, spec)
    inside = held_out.region.expand_as(held_out.fathers) > 0
    hidden = set(held_out.fathers[inside].tolist())
    assert len(hidden) >= 8
    crops = draw_crops(pairs, 400, spec.transforms, generator(4))
    _, fathers, weights = gather_crops(pairs, crop_index(pairs, crops))
    learned = set(fathers[weights.expand_as(fathers) > 0].tolist())
    assert not hidden & learned
    assert len(learned) > 500


def test_held_out_places_do_not_count_at_any_size() -> None:
    """What is learned from hardly changes with the held-out pixels."""
    image = unique_image(64, 64)
    pairs, held_out = made_pairs(image, SPECS["x2"])
    inside = held_out.region.expand_as(held_out.fathers) > 0
    hidden = torch.isin(image, held_out.fathers[inside])
    changed, _ = made_pairs(image + hidden, SPECS["x2"])
    counted = pairs.fathers[-1] > 0
    assert torch.equal(counted, changed.fathers[-1] > 0)
    change = (changed.fathers[0] - pairs.fathers[0]).abs()
    assert float(change[counted].max()) < 0.5
    assert float(change[~counted].max()) > 0.9


def hides_held_out_places(warp: Warp) -> None:
    spec = replace(SPECS["x2"], crop_px=4, warps=(IDENTITY, warp))
    image = unique_image(65, 67).double()
    pairs, held_out = made_pairs(image, spec)
    inside = held_out.region.expand_as(held_out.fathers) > 0
    hidden = torch.isin(image, held_out.fathers[inside])
    changed, _ = made_pairs(image + hidden, spec)
    _, father, weight = whole_pair(pairs, 1)
    change = (whole_pair(changed, 1)[1] - father).abs()
    if (warp.size_y, warp.size_x) == (1.0, 1.0):
        assert torch.equal(weight > 0, change == 0)
    assert float(change[weight > 0].max()) < 0.15
    assert float(change[weight == 0].max()) > 0.5
    assert 0.5 < float(weight.mean()) < 0.97


@pytest.mark.parametrize("warps", FATHERS.values(), ids=FATHERS)
def test_held_out_places_are_hidden_in_every_father(warps: tuple[Warp, ...]) -> None:
    assert len(warps) > 1
    for warp in warps:
        hides_held_out_places(warp)


def test_no_kind_of_father_is_left_out() -> None:
    assert {*WARPS, *NOISY_WARPS} == {
        warp for kind in FATHERS.values() for warp in kind
    }


def test_held_out_regions_are_alike_and_apart() -> None:
    _, held_out = made_pairs(unique_image(64, 64), SPECS["x2"])
    assert int(held_out.region.max()) >= 4
    assert held_out.fathers.shape[-2:] == tuple(2 * n for n in held_out.sons.shape[-2:])
    values = held_out.fathers[held_out.region > 0].tolist()
    assert len(set(values)) == len(values)


@pytest.mark.parametrize(
    ("shape", "factor"), [((16, 16), 2.0), ((16, 40), 2.0), ((17, 16), 2.0)]
)
@pytest.mark.parametrize("network", ["residual", "paper"])
def test_smallest_planes_have_pairs(
    shape: tuple[int, int], factor: float, network: str
) -> None:
    ratio = (2, 2) if network == "residual" else (1, 1)
    spec = PairSpec(factors=(factor, factor), ratio=ratio, kernel=BICUBIC)
    pairs, held_out = made_pairs(unique_image(*shape), spec)
    crops = draw_crops(pairs, 20, spec.transforms, generator())
    sons, fathers, weights = gather_crops(pairs, crop_index(pairs, crops))
    assert fathers.shape[-1] == ratio[1] * sons.shape[-1]
    assert weights.sum() > 0
    assert set(held_out.region.unique().tolist()) >= {0, 1, 2, 3, 4}


def test_swapping_transforms_want_square_crops() -> None:
    image = unique_image(20, 64)
    square = crop_size([image], SPECS["x2"])
    assert square[0] == square[1]
    assert SWAP in SPECS["x2"].transforms


def test_windows_of_unequal_size_are_served() -> None:
    windows = [unique_image(48, 56), unique_image(40, 64), unique_image(96, 112)]
    pairs, held_out = build_pairs(windows, SPECS["x2"], generator())
    crops = draw_crops(pairs, 50, (0,), generator())
    sons, _, _ = gather_crops(pairs, crop_index(pairs, crops))
    assert torch.isfinite(sons).all()
    assert len(held_out.sons) >= 1


@pytest.mark.parametrize("alpha", [0.0, 0.7])
def test_sons_are_as_noisy_as_the_image(alpha: float) -> None:
    """A network that learns on them then meets the same noise in the image."""
    sigma = 0.05
    image = 0.5 + sigma * torch.randn(1, 128, 128, generator=generator(6))
    spec = PairSpec(
        factors=(2.0, 2.0),
        ratio=(2, 2),
        kernel=BICUBIC,
        noise=NoiseModel(offset=sigma**2),
        alpha=alpha,
    )
    pairs, _ = build_pairs([image], spec, generator(7))
    assert len(pairs.layout) == len(WARPS)
    for number in range(len(pairs.layout)):
        son, _, _ = whole_pair(pairs, number)
        assert float(son.std()) == pytest.approx(sigma, rel=0.08)


def test_same_generator_same_pairs() -> None:
    image = torch.rand(1, 48, 48, generator=generator(1))
    noise = NoiseModel(gain=0.002, offset=1e-4)
    spec = PairSpec(
        factors=(2.0, 2.0), ratio=(2, 2), kernel=BICUBIC, noise=noise, alpha=0.7
    )
    one, two, other = (build_pairs([image], spec, generator(s))[0] for s in (5, 5, 6))
    assert torch.equal(one.sons, two.sons)
    assert torch.equal(one.fathers, two.fathers)
    assert not torch.equal(one.sons, other.sons)
