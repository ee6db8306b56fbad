from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from napari_zssr.imaging.resample import (
    AxisOperator,
    apply_axes,
    cubic,
    imresize,
    output_size,
    resize,
    resize_operator,
    sampling_operator,
)

FACTORS = (2.0, 3.0, 4.0, 1.5, 2.5, 1.0, 16.0, 1 / 2, 1 / 3, 1 / 4, 2 / 3, 0.81)


def dense_reference(size: int, factor: float, out_size: int) -> np.ndarray:
    """The same resampling written pixel by pixel, borders mirrored."""
    shrink = min(factor, 1.0)
    matrix = np.zeros((out_size, size))
    for j in range(out_size):
        center = (j + 0.5) / factor - 0.5
        reach = int(np.ceil(2 / shrink)) + 2
        for i in range(int(np.floor(center)) - reach, int(np.ceil(center)) + reach + 1):
            folded = i % (2 * size)
            inside = folded if folded < size else 2 * size - 1 - folded
            matrix[j, inside] += cubic(np.array((center - i) * shrink))
    return matrix / matrix.sum(axis=1, keepdims=True)


def test_cubic_is_keys_with_a_half() -> None:
    x = np.array([0.0, 0.5, 1.0, 1.5, 2.0, 2.5])
    np.testing.assert_allclose(cubic(x), [1, 0.5625, 0, -0.0625, 0, 0])
    np.testing.assert_allclose(cubic(-x), cubic(x))


def test_matlab_weights_of_the_double() -> None:
    row = resize_operator(12, 2.0).matrix.toarray()[11]
    found = row[np.abs(row) > 1e-12]
    wanted = [-0.0234375, 0.2265625, 0.8671875, -0.0703125]
    np.testing.assert_allclose(sorted(found), sorted(wanted), atol=1e-12)


def test_matlab_weights_of_the_half() -> None:
    row = resize_operator(24, 0.5).matrix.toarray()[6]
    half = [-0.01171875, -0.03515625, 0.11328125, 0.43359375]
    np.testing.assert_allclose(row[9:17], half + half[::-1], atol=1e-12)
    assert np.abs(np.delete(row, range(9, 17))).max() < 1e-12


def test_matlab_border_repeats_the_edge_pixel() -> None:
    row = resize_operator(6, 2.0).matrix.toarray()[0]
    np.testing.assert_allclose(
        row[:3], [0.8671875 + 0.2265625, -0.0703125 - 0.0234375, 0], atol=1e-12
    )


@given(
    size=st.integers(1, 40),
    factor=st.sampled_from(FACTORS),
    extra=st.integers(-2, 2),
)
def test_equals_the_dense_reference(size: int, factor: float, extra: int) -> None:
    out_size = max(1, output_size(size, factor) + extra)
    matrix = resize_operator(size, factor, out_size).matrix.toarray()
    np.testing.assert_allclose(
        matrix, dense_reference(size, factor, out_size), atol=1e-10
    )


@pytest.mark.parametrize("factor", [2.0, 3.0, 1 / 2, 1 / 3])
def test_equals_pillow_away_from_the_border(factor: float) -> None:
    image = np.random.default_rng(1).random((48, 60)).astype(np.float32)
    size = (round(48 * factor), round(60 * factor))
    reference = np.asarray(
        Image.fromarray(image).resize(size[::-1], Image.Resampling.BICUBIC)
    )
    ours = imresize(image, (factor, factor))
    assert ours.shape == size
    edge = 2 + round(3 * max(factor, 1))
    inside = (slice(edge, -edge), slice(edge, -edge))
    np.testing.assert_allclose(ours[inside], reference[inside], atol=2e-6)


@pytest.mark.parametrize("factor", FACTORS)
def test_constants_stay(factor: float) -> None:
    for size in (1, 2, 7, 16):
        sums = resize_operator(size, factor).matrix.sum(axis=1)
        np.testing.assert_allclose(sums, 1, atol=1e-12, err_msg=f"{size} px")


@pytest.mark.parametrize("factor", [2.0, 3.0, 4.0, 1.5, 2.5, 1 / 2, 1 / 3, 1 / 4])
@pytest.mark.parametrize("size", [40, 41])
def test_ramps_stay_where_they_are(factor: float, size: int) -> None:
    operator = resize_operator(size, factor)
    made = operator.matrix @ np.arange(size, dtype=np.float64)
    wanted = (np.arange(len(made)) + 0.5) / factor - 0.5
    reach = 2 / min(1, factor)
    inside = (wanted > reach) & (wanted < size - 1 - reach)
    assert inside.sum() >= 4
    np.testing.assert_allclose(made[inside], wanted[inside], atol=1e-9)


@pytest.mark.parametrize(
    ("size", "factor", "wanted"),
    [(5, 0.5, 3), (5, 1.5, 8), (7, 3, 21), (100, 1.1, 110), (33, 2 / 3, 22), (1, 0, 1)],
)
def test_output_size_is_the_ceiling(size: int, factor: float, wanted: int) -> None:
    assert output_size(size, factor) == wanted


def test_factor_and_size_are_separate() -> None:
    image = np.arange(7.0)[None].repeat(7, axis=0)
    whole = imresize(image, (2, 2))
    np.testing.assert_array_equal(imresize(image, (2, 2), (9, 11)), whole[:9, :11])


def test_long_axes_equal_one_matrix_product() -> None:
    """Sizes beyond one block of weights."""
    image = torch.rand(2, 3, 5, 300, dtype=torch.float64)
    operator = resize_operator(300, 1.5)
    same = resize_operator(5, 1.0)
    made = apply_axes(image, same, operator)
    np.testing.assert_allclose(
        made.numpy(), image.numpy() @ operator.matrix.toarray().T, atol=1e-12
    )


def test_wrong_size_is_refused() -> None:
    with pytest.raises(ValueError, match="axis -1: 6 pixels, not 5"):
        apply_axes(torch.zeros(5, 6), resize_operator(5, 2.0), resize_operator(5, 2.0))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_dtype_is_kept(dtype: torch.dtype) -> None:
    assert resize(torch.zeros(4, 4, dtype=dtype), (2, 3)).dtype == dtype


def test_gradient_is_the_adjoint() -> None:
    x = torch.rand(9, 10, dtype=torch.float64, requires_grad=True)
    along_y, along_x = resize_operator(9, 1.5), resize_operator(10, 0.5)
    y = torch.rand(14, 5, dtype=torch.float64)
    (apply_axes(x, along_y, along_x) * y).sum().backward()
    adjoint = apply_axes(
        y, AxisOperator(along_y.matrix.T), AxisOperator(along_x.matrix.T)
    )
    assert x.grad is not None
    torch.testing.assert_close(x.grad, adjoint)


def test_operators_compose() -> None:
    up, down = resize_operator(10, 2.0), resize_operator(20, 0.5)
    image = torch.rand(1, 10, dtype=torch.float64)
    still = resize_operator(1, 1.0)
    torch.testing.assert_close(
        apply_axes(image, still, down @ up),
        apply_axes(apply_axes(image, still, up), still, down),
    )


def test_sampling_at_whole_places_is_subsampling() -> None:
    operator = sampling_operator(15, 3.0, 5, 0.0)
    np.testing.assert_array_equal(operator.matrix @ np.arange(15.0), [1, 4, 7, 10, 13])
