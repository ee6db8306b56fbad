from __future__ import annotations

import itertools

import pytest
import torch

from napari_zssr.zssr.pairs import (
    HELD_OUT_MAX_PX,
    Region,
    held_out_crops,
    held_out_regions,
    region_errors,
    stacked,
    training_mask,
)

# Windows, how many regions are wanted and which share of it, ratios.
SMALL = [
    ((64, 64), 49, 0.07, (1, 1)),
    ((64, 64), 100, 0.2, (2, 2)),
    ((64, 64), 6, 0.1, (1, 2)),
]
LARGER = [
    ((96, 120), 100, 0.2, (1, 2)),
    ((96, 120), 6, 0.1, (2, 2)),
    ((128, 96), 49, 0.07, (1, 2)),
    ((128, 96), 6, 0.1, (1, 1)),
    ((100, 300), 49, 0.07, (2, 2)),
    ((100, 300), 100, 0.2, (1, 1)),
    ((200, 200), 6, 0.1, (1, 2)),
    ((200, 200), 100, 0.2, (2, 2)),
    ((200, 200), 49, 0.07, (1, 1)),
]


def hidden_px(
    shape: tuple[int, int], regions: list[Region], ratio: tuple[int, int]
) -> int:
    mask = training_mask(torch.zeros(1, *shape), regions, ratio)
    assert set(mask.unique().tolist()) <= {0.0, 1.0}
    return int((mask == 0).sum())


@pytest.mark.parametrize(("shape", "wanted", "share", "ratio"), LARGER)
def test_regions_cover_their_share(
    shape: tuple[int, int], wanted: int, share: float, ratio: tuple[int, int]
) -> None:
    regions = held_out_regions(torch.zeros(1, *shape), wanted, share, ratio)
    largest = len(regions) * HELD_OUT_MAX_PX**2
    covered = min(share * shape[0] * shape[1], largest)
    assert hidden_px(shape, regions, ratio) == pytest.approx(covered, rel=0.25)


@pytest.mark.parametrize(("shape", "wanted", "share", "ratio"), SMALL + LARGER)
def test_regions_lie_inside_and_apart(
    shape: tuple[int, int], wanted: int, share: float, ratio: tuple[int, int]
) -> None:
    regions = held_out_regions(torch.zeros(1, *shape), wanted, share, ratio)
    assert 4 <= len(regions) <= wanted
    for top, left, bottom, right in regions:
        assert 0 <= top < bottom <= 1
        assert 0 <= left < right <= 1
    for one, two in itertools.combinations(regions, 2):
        above = one[2] <= two[0] or two[2] <= one[0]
        assert above or one[3] <= two[1] or two[3] <= one[1]
    alone = sum(hidden_px(shape, [region], ratio) for region in regions)
    assert alone == hidden_px(shape, regions, ratio)


def test_as_many_regions_as_wanted_where_there_is_room() -> None:
    window = torch.zeros(1, 256, 256)
    for wanted in (1, 4, 49, 100):
        assert len(held_out_regions(window, wanted, 0.1, (2, 2))) == wanted


def test_small_windows_have_fewer_regions() -> None:
    """Each is to hold four network input pixels and more."""
    counts = [
        len(held_out_regions(torch.zeros(1, side, side), 100, 0.2, (2, 2)))
        for side in (24, 48, 96)
    ]
    assert counts == sorted(counts)
    assert 4 <= counts[0] < counts[1] < counts[2] == 100


def test_the_smallest_windows_have_four_regions() -> None:
    """Fewer would not tell how certain the gain is."""
    window = torch.zeros(1, 16, 16)
    assert len(held_out_regions(window, 49, 0.07, (2, 2))) == 4
    assert len(held_out_regions(window, 1, 0.07, (2, 2))) == 1


def test_regions_are_never_large() -> None:
    """Many small ones tell more than few large ones."""
    regions = held_out_regions(torch.zeros(1, 600, 900), 4, 0.5, (2, 2))
    assert len(regions) == 4
    for top, left, bottom, right in regions:
        assert (bottom - top) * 600 == pytest.approx(HELD_OUT_MAX_PX)
        assert (right - left) * 900 == pytest.approx(HELD_OUT_MAX_PX)


@pytest.mark.parametrize(("side", "crops"), [(96, 1), (600, 49)])
def test_small_sons_are_judged_whole(side: int, crops: int) -> None:
    """Many crops with their surroundings would be several times the son."""
    father = torch.arange(float(side * side)).reshape(1, side, side)
    regions = held_out_regions(father, 49, 0.07, (2, 2))
    held_out = stacked(held_out_crops(father, father[:, ::2, ::2], regions, (2, 2)))
    assert len(held_out.sons) == crops
    numbers = held_out.region.unique().tolist()
    assert numbers == list(range(len(regions) + 1))
    mask = training_mask(father, regions, (2, 2))
    inside = held_out.fathers[held_out.region > 0]
    assert sorted(inside.tolist()) == father[mask == 0].tolist()


@pytest.mark.parametrize("side", [96, 600])
def test_every_region_has_its_own_error(side: int) -> None:
    father = torch.zeros(2, side, side)
    regions = held_out_regions(father, 49, 0.07, (2, 2))
    crops = held_out_crops(father, father[:, ::2, ::2], regions, (2, 2))
    held_out = stacked(crops * 2)
    offset = held_out.region.expand_as(held_out.fathers).sqrt()
    errors = region_errors(held_out.fathers + offset, held_out)
    wanted = torch.arange(1.0, 2 * len(regions) + 1, dtype=torch.float64)
    torch.testing.assert_close(errors, wanted, rtol=1e-5, atol=0)
