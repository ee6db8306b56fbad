from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import ndimage

from napari_zssr.imaging.degrade import degradation, degrade_array
from napari_zssr.kernelspec import KernelSpec

Pair = tuple[float, float]


def bump(shape: tuple[int, int], center: Pair) -> np.ndarray:
    y = np.arange(shape[0])[:, None] - center[0]
    x = np.arange(shape[1])[None, :] - center[1]
    return np.exp(-(y * y + 0.6 * y * x + 1.5 * x * x) / 3)


KERNELS = {
    "bicubic": KernelSpec(),
    "gaussian": KernelSpec.parse("gaussian:0.9"),
    "turned": KernelSpec.parse("gaussian:1.6,0.7,30"),
    "odd": KernelSpec.parse(bump((7, 9), (3, 4))),
    "even": KernelSpec.parse(bump((8, 6), (3.5, 2.5))),
    "off-centre": KernelSpec.parse(bump((11, 10), (3.3, 6.8))),
}
FACTORS = [(2.0, 2.0), (3.0, 3.0), (4.0, 4.0), (1.5, 1.5), (1.0, 2.0), (2.5, 3.0)]
# Each kernel with a whole factor and another one, each factor with two kernels.
PAIRED = [
    ("bicubic", (4.0, 4.0)),
    ("bicubic", (1.5, 1.5)),
    ("gaussian", (3.0, 3.0)),
    ("gaussian", (1.0, 2.0)),
    ("turned", (2.0, 2.0)),
    ("turned", (2.5, 3.0)),
    ("odd", (2.0, 2.0)),
    ("odd", (1.5, 1.5)),
    ("even", (3.0, 3.0)),
    ("even", (2.5, 3.0)),
    ("off-centre", (4.0, 4.0)),
    ("off-centre", (1.0, 2.0)),
]


@pytest.mark.parametrize("kernel", KERNELS)
def test_constants_stay(kernel: str) -> None:
    for factors in FACTORS:
        son = degrade_array(np.full((25, 26), 3.7), KERNELS[kernel], factors)
        np.testing.assert_allclose(son, 3.7, atol=1e-9, err_msg=str(factors))


@pytest.mark.parametrize(("kernel", "factors"), PAIRED)
def test_ramps_stay_where_they_are(kernel: str, factors: Pair) -> None:
    """Son pixel j looks at fine coordinate (j + 0.5) f - 0.5."""
    fine = np.add.outer(np.arange(72.0), 100 * np.arange(70.0))
    son = degrade_array(fine, KERNELS[kernel], factors)
    y, x = (
        (np.arange(n) + 0.5) * f - 0.5 for n, f in zip(son.shape, factors, strict=True)
    )
    wanted = np.add.outer(y, 100 * x)
    inside = np.ix_((y > 20) & (y < 52), (x > 20) & (x < 50))
    # The antialiased cubic wobbles by 0.02 pixels where phases alternate.
    tolerance = 0.5 if all(f.is_integer() for f in factors) else 2.5
    np.testing.assert_allclose(son[inside], wanted[inside], rtol=0, atol=tolerance)


@pytest.mark.parametrize(("kernel", "factors"), PAIRED)
def test_blobs_stay_centred(kernel: str, factors: Pair) -> None:
    center = (33.3, 36.9)
    y, x = np.arange(72)[:, None] - center[0], np.arange(70)[None, :] - center[1]
    son = degrade_array(np.exp(-(y**2 + x**2) / 18), KERNELS[kernel], factors)
    found = ndimage.center_of_mass(son)
    back = [(c + 0.5) * f - 0.5 for c, f in zip(found, factors, strict=True)]
    assert back == pytest.approx(center, abs=0.02)


def test_odd_kernel_equals_convolution_and_subsampling() -> None:
    weights = np.zeros((5, 5))
    weights[2] = [1, 0, 0, 2, 0]  # asymmetric, yet centred
    weights[:, 2] += [1, 1, 1, 1, 1]
    weights /= weights.sum()
    image = np.random.default_rng(2).random((30, 33))
    wanted = ndimage.convolve(image, weights, mode="reflect")[1::3, 1::3]
    made = degrade_array(image, KernelSpec.parse(weights), (3.0, 3.0))
    np.testing.assert_allclose(made, wanted, atol=1e-6)


@pytest.mark.parametrize("factor", [2, 3, 4])
def test_box_of_the_factor_is_binning(factor: int) -> None:
    image = np.random.default_rng(3).random((24, 36))
    made = degrade_array(
        image, KernelSpec.parse(np.ones((factor, factor))), (factor, factor)
    )
    wanted = image.reshape(24 // factor, factor, 36 // factor, factor).mean((1, 3))
    np.testing.assert_allclose(made, wanted, atol=1e-6)


@pytest.mark.parametrize("kernel", ["bicubic", "gaussian", "turned"])
def test_turned_by_half_a_turn_is_the_same(kernel: str) -> None:
    image = np.random.default_rng(4).random((24, 36))
    once = degrade_array(image, KERNELS[kernel], (2.0, 3.0))
    turned = degrade_array(image[::-1, ::-1], KERNELS[kernel], (2.0, 3.0))
    np.testing.assert_allclose(turned[::-1, ::-1], once, atol=1e-5)


def test_size_of_the_son_can_be_given() -> None:
    operator = degradation(KernelSpec(), (2.0, 2.0), (25, 25), (12, 12))
    assert operator.degrade(torch.zeros(3, 25, 25)).shape == (3, 12, 12)


@pytest.mark.parametrize("kernel", KERNELS)
def test_noise_gain_is_the_variance_left(kernel: str) -> None:
    noise = torch.randn(3, 192, 192, generator=torch.Generator().manual_seed(5))
    operator = degradation(KERNELS[kernel], (2.0, 2.0), (192, 192))
    left = float(operator.degrade(noise).var())
    assert operator.noise_gain() == pytest.approx(left, rel=0.06)
