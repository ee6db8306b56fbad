from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_zssr.errors import InputError
from napari_zssr.imaging.intensity import IntensityMap, check_finite, intensity_map

DTYPES = ["uint8", "uint16", "int16", "int32", "uint32", "float32", "float64"]


def picture(dtype: str) -> np.ndarray:
    values = np.random.default_rng(0).random((40, 40))
    kind = np.dtype(dtype)
    if kind.kind == "f":
        return (values * 3 - 1).astype(kind)
    low, high = (0, 250) if kind.itemsize == 1 else (100, 32000)
    return (low + values * (high - low)).astype(kind)


@pytest.mark.parametrize("dtype", DTYPES)
def test_there_and_back_is_the_same(dtype: str) -> None:
    image = picture(dtype)
    mapping = intensity_map(image)
    normal = mapping.normalise(image)
    assert normal.dtype == np.float32
    back = mapping.restore(normal, image.dtype)
    assert back.dtype == image.dtype
    if image.dtype.kind == "f":
        np.testing.assert_allclose(back, image, atol=1e-6)
    else:
        np.testing.assert_array_equal(back, image)


@given(
    gain=st.floats(0.01, 1e4),
    offset=st.floats(-1e4, 1e4),
)
def test_map_follows_gain_and_offset(gain: float, offset: float) -> None:
    values = np.random.default_rng(1).random(2000)
    plain = intensity_map(values)
    moved = intensity_map(gain * values + offset)
    assert moved.scale == pytest.approx(gain * plain.scale, rel=1e-6)
    assert moved.offset == pytest.approx(
        gain * plain.offset + offset, abs=1e-6 * (gain + abs(offset))
    )


def test_quantiles_go_to_zero_and_one() -> None:
    image = np.arange(10001.0)
    mapping = intensity_map(image)
    low, high = mapping.normalise(np.array([[10.0, 9990.0]]))[0]
    assert (low, high) == pytest.approx((0, 1), abs=1e-6)
    assert mapping.normalise(image[np.newaxis]).max() > 1  # nothing clipped


def test_sparse_images_use_their_extremes() -> None:
    image = np.zeros((100, 100))
    image[5, 5] = 40
    normal = intensity_map(image).normalise(image)
    assert (normal.min(), normal.max()) == (0, 1)


@pytest.mark.parametrize("value", [0, 7, -3.5])
def test_constants_come_back(value: float) -> None:
    image = np.full((8, 8), value)
    mapping = intensity_map(image)
    np.testing.assert_array_equal(
        mapping.restore(mapping.normalise(image), image.dtype), image
    )


def test_small_signal_on_a_large_offset_survives() -> None:
    image = (2**31 + np.arange(400)).astype(np.uint32).reshape(20, 20)
    mapping = intensity_map(image)
    np.testing.assert_array_equal(
        mapping.restore(mapping.normalise(image), image.dtype), image
    )


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "int64", "uint64"])
def test_only_the_range_of_the_dtype_clips(dtype: str) -> None:
    mapping = IntensityMap(offset=0.0, scale=float(np.iinfo(dtype).max))
    values = np.array([-5.0, 0.5, 5.0], np.float32)
    made = mapping.restore_plainly(values, np.dtype(dtype))
    assert made[0] == np.iinfo(dtype).min
    assert made[2] == np.iinfo(dtype).max
    free = mapping.restore(np.array([-5.0, 5.0], np.float32), np.dtype("float32"))
    np.testing.assert_array_equal(free, np.array([-5, 5]) * mapping.scale)


def bad_picture(*values: float) -> np.ndarray:
    image = np.ones((4, 5), dtype=np.float32)
    for n, value in enumerate(values):
        image[2, 3 - n] = value
    return image


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ((np.nan,), r"1 NaN or Inf pixel, the first at \(2, 3\)"),
        ((np.inf, -np.inf), r"2 NaN or Inf pixels, the first at \(2, 2\)"),
    ],
)
def test_count_and_place_are_told(values: tuple[float, ...], says: str) -> None:
    with pytest.raises(InputError, match=says):
        check_finite(bad_picture(*values), "refuse", "The image")


def test_filled_with_the_mean_of_the_rest() -> None:
    image = bad_picture(np.nan, np.inf)
    image[0, 0] = 19
    filled = check_finite(image, "fill", "The image")
    assert filled[2, 3] == filled[2, 2] == 2
    assert np.isnan(image[2, 3])  # the caller's array is left alone


def test_nothing_finite_is_refused_even_for_filling() -> None:
    with pytest.raises(InputError, match="20 NaN or Inf"):
        check_finite(np.full((4, 5), np.nan), "fill", "The image")


@pytest.mark.parametrize("values", [np.ones((2, 2), np.uint8), np.ones((2, 2))])
def test_finite_images_pass_untouched(values: np.ndarray[Any, Any]) -> None:
    assert check_finite(values, "refuse", "The image") is values
