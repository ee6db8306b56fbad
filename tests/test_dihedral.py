from __future__ import annotations

import numpy as np
import pytest
import torch

from napari_zssr.imaging.degrade import degrade_array
from napari_zssr.imaging.kernel import sampled_kernel
from napari_zssr.imaging.resample import (
    ALL,
    inverse_transform,
    symmetries,
    transform,
)
from napari_zssr.kernelspec import KernelSpec


@pytest.mark.parametrize("shape", [(4, 4), (3, 5), (2, 3, 5, 6)])
def test_inverse_undoes(shape: tuple[int, ...]) -> None:
    image = torch.rand(shape)
    for number in ALL:
        found = inverse_transform(transform(image, number), number)
        assert torch.equal(found, image), f"transform {number}"


def test_all_eight_differ() -> None:
    image = torch.arange(9.0).reshape(3, 3)
    assert len({tuple(transform(image, n).flatten().tolist()) for n in ALL}) == 8


def test_unequal_factors_leave_four() -> None:
    assert len(symmetries((2.0, 2.0), None)) == 8
    assert len(symmetries((1.0, 2.0), None)) == 4


@pytest.mark.parametrize(
    ("text", "count"),
    [("gaussian:1.2", 8), ("gaussian:1.5,0.8", 4), ("gaussian:1.5,0.8,30", 2)],
)
def test_symmetries_of_kernels(text: str, count: int) -> None:
    assert len(symmetries((2.0, 2.0), sampled_kernel(KernelSpec.parse(text)))) == count


def test_lopsided_kernel_leaves_the_identity() -> None:
    kernel = np.zeros((5, 5))
    kernel[2] = [1, 0, 0, 2, 0]
    kernel[0, 2], kernel[3, 2] = 2, 1
    assert symmetries((2.0, 2.0), kernel) == (0,)


@pytest.mark.parametrize("text", ["bicubic", "gaussian:1.2", "gaussian:1.5,0.8,45"])
def test_symmetries_commute_with_the_degradation(text: str) -> None:
    spec = KernelSpec.parse(text)
    image = np.random.default_rng(1).random((24, 24))
    son = degrade_array(image, spec, (2.0, 2.0))
    listed = symmetries((2.0, 2.0), sampled_kernel(spec))
    assert len(listed) >= 4
    for number in listed:
        turned, wanted = (
            transform(torch.from_numpy(array), number).numpy() for array in (image, son)
        )
        moved = degrade_array(turned, spec, (2.0, 2.0))
        np.testing.assert_allclose(moved, wanted, atol=2e-5)
