from __future__ import annotations

import pytest
import torch
from torch import Tensor

from napari_zssr.imaging.degrade import degradation
from napari_zssr.imaging.resample import apply_axes, resize
from napari_zssr.kernelspec import KernelSpec
from napari_zssr.zssr.pairs import PairSpec, build_pairs, whole_pair
from napari_zssr.zssr.warps import (
    IDENTITY,
    NOISY_WARPS,
    SHIFTED,
    STRETCHED,
    WARPS,
    Warp,
    resize_operators,
    warped,
    warped_extent,
)

KERNELS = {
    name: KernelSpec.parse(name)
    for name in ("bicubic", "gaussian:1.2", "gaussian:1.6,0.7,0", "gaussian:1.6,0.7,30")
}
SKIPPED = [(0, 1), (1, 0), (1, 1)]


def image(height: int = 41, width: int = 46, channels: int = 2) -> Tensor:
    drawn = torch.Generator().manual_seed(0)
    return torch.rand(channels, height, width, generator=drawn, dtype=torch.float64)


@pytest.mark.parametrize("ratio", [(2, 2), (1, 2), (1, 1)])
@pytest.mark.parametrize("skip", SKIPPED)
def test_skipped_pixels_are_left_out(
    skip: tuple[int, int], ratio: tuple[int, int]
) -> None:
    warp = Warp(1.0, 1.0, skip_y=skip[0], skip_x=skip[1])
    assert warp != IDENTITY
    extent = warped_extent(image(), warp, ratio)
    assert all(n % r == 0 for n, r in zip(extent, ratio, strict=True))
    rest = image()[:, skip[0] :, skip[1] :]
    assert rest.shape[1] - extent[0] in range(ratio[0])
    assert rest.shape[2] - extent[1] in range(ratio[1])
    assert torch.equal(warped(image(), warp, extent), rest[:, : extent[0], : extent[1]])


@pytest.mark.parametrize("size", [(0.8, 0.8), (0.9, 0.65)])
def test_pixels_are_skipped_before_shrinking(size: tuple[float, float]) -> None:
    warp = Warp(*size, skip_y=1, skip_x=1)
    extent = warped_extent(image(), warp, (2, 2))
    wanted = resize(image()[:, 1:, 1:], size, extent)
    torch.testing.assert_close(warped(image(), warp, extent), wanted)


@pytest.mark.parametrize("skip", [(0, 0), (0, 1), (1, 1)])
@pytest.mark.parametrize("size", [(0.8, 0.8), (0.9, 0.65)])
def test_shrinking_is_what_is_done_to_the_rest(
    size: tuple[float, float], skip: tuple[int, int]
) -> None:
    warp = Warp(*size, skip_y=skip[0], skip_x=skip[1])
    extent = warped_extent(image(), warp, (2, 2))
    rest = image()[:, skip[0] :, skip[1] :]
    wanted = apply_axes(rest, *resize_operators(image(), warp, extent))
    torch.testing.assert_close(warped(image(), warp, extent), wanted)


def test_the_image_itself_is_the_father_without_a_warp() -> None:
    extent = warped_extent(image(), IDENTITY, (2, 2))
    assert torch.equal(warped(image(), IDENTITY, extent), image()[:, :40, :46])


@pytest.mark.parametrize("name", KERNELS)
@pytest.mark.parametrize("skip", SKIPPED)
def test_sons_of_skipped_fathers_are_the_degraded_rest(
    skip: tuple[int, int], name: str
) -> None:
    spec = PairSpec(
        factors=(2.0, 2.0),
        ratio=(2, 2),
        kernel=KERNELS[name],
        warps=(IDENTITY, Warp(1.0, 1.0, skip_y=skip[0], skip_x=skip[1])),
    )
    pairs, _ = build_pairs([image()], spec, torch.Generator())
    son, father, _ = whole_pair(pairs, 1)
    height, width = (n // 2 * 2 for n in (41 - skip[0], 46 - skip[1]))
    rest = image()[:, skip[0] :, skip[1] :][:, :height, :width]
    assert torch.equal(father, rest)
    wanted = degradation(KERNELS[name], (2.0, 2.0), (height, width)).degrade(rest)
    torch.testing.assert_close(son, wanted)


def test_all_four_phases_are_learned_from_at_full_size() -> None:
    for warps in (WARPS, NOISY_WARPS):
        full = [w for w in warps if (w.size_y, w.size_x, w.angle_deg) == (1, 1, 0)]
        assert sorted((w.skip_y, w.skip_x) for w in full) == [(0, 0), *SKIPPED]
        assert len(set(warps)) == len(warps)


GAINS = {
    "same": IDENTITY,
    "four fifths": Warp(0.8, 0.8),
    "half": Warp(0.5, 0.5),
    "lower": STRETCHED[5],
    "narrower": Warp(1.0, 0.6),
    "skipped": SHIFTED[-1],
}


@pytest.mark.parametrize(
    ("name", "kernel", "factors"),
    [
        ("same", "bicubic", (2.0, 2.0)),
        ("same", "gaussian:1.6,0.7,30", (1.0, 2.0)),
        ("four fifths", "gaussian:1.2", (2.0, 2.0)),
        ("four fifths", "bicubic", (1.0, 2.0)),
        ("half", "gaussian:1.6,0.7,30", (2.0, 2.0)),
        ("half", "gaussian:1.6,0.7,0", (1.0, 2.0)),
        ("lower", "gaussian:1.6,0.7,30", (2.0, 2.0)),
        ("lower", "bicubic", (1.0, 2.0)),
        ("narrower", "gaussian:1.6,0.7,0", (2.0, 2.0)),
        ("narrower", "gaussian:1.6,0.7,30", (1.0, 2.0)),
        ("skipped", "bicubic", (2.0, 2.0)),
        ("skipped", "gaussian:1.2", (1.0, 2.0)),
    ],
)
def test_noise_gain_of_shrinking_and_degrading(
    name: str, kernel: str, factors: tuple[float, float]
) -> None:
    """Against white noise that goes through both."""
    warp = GAINS[name]
    drawn = torch.Generator().manual_seed(0)
    noise = torch.randn(6, 160, 201, generator=drawn)
    extent = warped_extent(noise, warp, (int(factors[0]), 2))
    operator = degradation(KERNELS[kernel], factors, extent)
    son = operator.degrade(warped(noise, warp, extent))
    left = float(son[:, 8:-8, 8:-8].var())
    found = operator.noise_gain(resize_operators(noise, warp, extent))
    assert found == pytest.approx(left, rel=0.1)
