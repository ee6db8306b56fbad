from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from napari_zssr import ImageWarning, upscale, upscale_steps, upscale_to_disk
from napari_zssr.config import INSTANT, Config, change
from napari_zssr.errors import InputError
from napari_zssr.imaging.artifacts import is_piecewise_constant
from napari_zssr.imaging.intensity import (
    BLOCK_PX,
    TOLERANCE,
    TOLERANCE_COUNTS,
    as_integers,
    intensity_map,
    loses_intensity,
    quantized,
)
from napari_zssr.io.read import read
from napari_zssr.progress import drain
from napari_zssr.stack.axis_labels import labelled
from napari_zssr.stack.preview import preview_steps

# That a result is float32 is said by every call here.
pytestmark = pytest.mark.filterwarnings("ignore::napari_zssr.errors.ImageWarning")

U1, U2 = np.dtype(np.uint8), np.dtype(np.uint16)


def draw(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def ringing(shape: tuple[int, int] = (96, 80)) -> NDArray[np.float64]:
    """Bright points on 0 with the undershoots of a sharpening filter."""
    points = np.zeros(shape)
    points[draw().integers(0, shape[0], 30), draw(1).integers(0, shape[1], 30)] = 9e3
    return 2 * gaussian_filter(points, 1.5) - gaussian_filter(points, 3)


VALUES = {
    "swings below 0": ringing(),
    "flat at 0.3": np.full((48, 48), 0.3) + 0.01 * draw().standard_normal((48, 48)),
    "a ramp of 2 counts": np.linspace(0.2, 2.2, 64)[:, None] + np.zeros((64, 64)),
    "sizes that are no multiples": np.abs(draw().normal(0.6, 0.2, (37, 53))),
    "smaller than a block": np.full((5, 7), 1.4),
    "noise around 0": draw(2).normal(0, 1, (64, 64)) + 0.2,
    "beyond white": np.where(draw(3).random((64, 64)) < 0.1, 300.0, 100.0),
}


def block_sums(plane: NDArray[Any]) -> NDArray[np.float64]:
    rows, columns = (np.arange(0, n, BLOCK_PX) for n in plane.shape)
    return np.add.reduceat(
        np.add.reduceat(plane.astype(np.float64), rows, axis=0), columns, axis=1
    )


@pytest.mark.parametrize("name", VALUES)
def test_the_sum_over_every_block_stays(name: str) -> None:
    values = VALUES[name]
    whole = quantized(values, U1 if values.max() < 400 else U2)
    wanted = block_sums(values)
    if name != "swings below 0":
        allowed = np.maximum(TOLERANCE_COUNTS, TOLERANCE * wanted.clip(0)) + 0.5
        assert (np.abs(block_sums(whole) - wanted) <= allowed).all()
    assert whole.mean() == pytest.approx(values.mean(), rel=0.004)


def test_neighbours_make_up_for_a_block_below_0() -> None:
    values = np.zeros((48, 48))
    values[16:32, 16:32] = 20.0
    values[16:32, 32:] = -2.0
    whole = quantized(values, U2)
    assert whole.sum() == values.sum()
    assert not whole[16:32, 32:].any()
    assert (whole[16:32, 16:32] == 18).all()


@pytest.mark.parametrize("name", ["flat at 0.3", "a ramp of 2 counts"])
def test_each_pixel_stays_within_a_count(name: str) -> None:
    values = VALUES[name]
    assert np.abs(quantized(values, U1) - values).max() < 1


def test_where_rounding_keeps_the_sum_it_is_rounding() -> None:
    values = draw().uniform(0, 60000, (64, 64))
    np.testing.assert_array_equal(quantized(values, U2), np.round(values))


@pytest.mark.parametrize("value", [0.0, 7.0, 200.0, 255.0])
def test_constants_stay_constant(value: float) -> None:
    values = np.full((40, 40), value) + 1e-4 * draw().standard_normal((40, 40))
    assert (quantized(values, U1, offset=value) == value).all()


def test_only_what_lies_above_the_offset_counts() -> None:
    dim = np.full((32, 32), 100.3)
    assert (quantized(dim, U2) == 100).all()
    assert quantized(dim, U2, offset=100.0).mean() == pytest.approx(100.3, abs=0.01)


@pytest.mark.parametrize("cut", [16, 32, 80])
@pytest.mark.parametrize("name", ["a ramp of 2 counts", "noise around 0"])
def test_bands_give_the_same_pixels(name: str, cut: int) -> None:
    values = VALUES[name]
    parts = [
        quantized(part, U2, origin=(first, 0))
        for first, part in ((0, values[:cut]), (cut, values[cut:]))
        if part.size
    ]
    np.testing.assert_array_equal(np.concatenate(parts), quantized(values, U2))


@pytest.mark.parametrize("corner", [(3, 5), (16, 1), (20, 40)])
def test_a_window_has_the_pixels_of_whole_blocks(corner: tuple[int, int]) -> None:
    values, (top, left) = VALUES["noise around 0"], corner
    whole = quantized(values, U2)[top:, left:]
    window = quantized(values[top:, left:], U2, origin=corner)
    inside = (slice(-top % BLOCK_PX, None), slice(-left % BLOCK_PX, None))
    np.testing.assert_array_equal(window[inside], whole[inside])


@pytest.mark.parametrize("dtype", ["uint8", "int16", "uint32", "int64", "uint64"])
def test_the_range_of_the_type_is_kept(dtype: str) -> None:
    limits = np.iinfo(dtype)
    values = np.full((32, 32), float(limits.max))
    values[:16] = 1e30
    values[16:, :16] = -1e30
    whole = quantized(values, np.dtype(dtype))
    assert (whole.min(), whole.max()) == (limits.min, limits.max)
    alone = as_integers(np.array([-1e30, 0.4, 3.6, 1e30]), np.dtype(dtype))
    assert alone.tolist() == [limits.min, 0, 4, limits.max]


# Few counts: what the result's type is.

SMOOTH = gaussian_filter(draw(5).random((64, 64)), 6)
CELL = (SMOOTH - SMOOTH.min()) / np.ptp(SMOOTH)
COUNTS = {
    "0.05 a pixel": (0.05 * np.ones((64, 64)), True),
    "0.3 a pixel": (0.3 * np.ones((64, 64)), True),
    "a cell of up to 3": (3 * CELL, True),
    "a cell of up to 3 on an offset": (3 * CELL + 100, True),
    "20 a pixel": (20 * CELL + 12, False),
    "no counts": (0 * CELL, False),
}


@pytest.mark.parametrize(
    ("name", "dtype"),
    [
        ("0.05 a pixel", "uint8"),
        ("0.3 a pixel", "uint16"),
        ("a cell of up to 3", "uint8"),
        ("a cell of up to 3", "int16"),
        ("a cell of up to 3 on an offset", "uint16"),
        ("a cell of up to 3 on an offset", "int16"),
        ("20 a pixel", "uint8"),
        ("20 a pixel", "int16"),
        ("no counts", "uint16"),
    ],
)
def test_few_counts_become_float32(name: str, dtype: str) -> None:
    light, few = COUNTS[name]
    signal = light - (100 if "offset" in name else 0)
    image = (draw().poisson(signal) + (light - signal)).astype(dtype)
    result = drain(upscale_steps(image, INSTANT))
    assert result.image.dtype == (np.float32 if few else image.dtype)
    assert result.report.dtype == result.image.dtype.name
    assert ("is float32" in result.report.sentence) == few
    if image.any():
        assert result.image.mean() == pytest.approx(image.mean(), rel=0.005)


def test_sparse_bright_objects_keep_their_type() -> None:
    image = np.zeros((64, 64), np.uint8)
    image[20:28, 30:40] = 200
    assert image.mean() < 10
    assert not loses_intensity([image], 0)
    assert upscale(image, INSTANT).dtype == np.uint8


def test_dim_planes_at_the_ends_do_not_decide_for_a_stack() -> None:
    bright = (200 * CELL).astype(np.uint8)
    dim = draw().poisson(0.3, (64, 64)).astype(np.uint8)
    assert loses_intensity([dim], 0)
    assert not loses_intensity([dim, bright, dim, dim], 0)


def test_one_dim_channel_decides_for_all() -> None:
    bright = (200 * CELL + 20).astype(np.uint16)
    dim = draw().poisson(0.3, (64, 64)).astype(np.uint16)
    image = np.stack([bright, dim])
    assert upscale(image, INSTANT, axes="CYX").dtype == np.float32
    assert upscale(image[:1], INSTANT, axes="CYX").dtype == np.uint16


def test_colour_keeps_its_type() -> None:
    image = draw().poisson(0.3, (32, 32, 3)).astype(np.uint8)
    assert upscale(image, INSTANT, axes="YXS").dtype == np.uint8


@pytest.mark.parametrize(
    ("dtype", "wanted"), [("same", "uint8"), ("float32", "float32")]
)
def test_the_type_can_be_chosen(dtype: str, wanted: str) -> None:
    dim = draw().poisson(0.3, (48, 48)).astype(np.uint8)
    result = drain(upscale_steps(dim, INSTANT, dtype=dtype))
    assert result.image.dtype == wanted
    assert "is float32" not in result.report.sentence
    assert result.image.mean() == pytest.approx(dim.mean(), rel=0.005)


def test_python_says_that_the_result_is_float32() -> None:
    dim = draw().poisson(0.3, (48, 48)).astype(np.uint8)
    with pytest.warns(ImageWarning, match="is float32"):
        upscale(dim, INSTANT)


def test_what_looks_like_labels_is_said() -> None:
    labels = np.kron(draw().integers(0, 5, (6, 6)), np.ones((8, 8), int))
    with pytest.warns(ImageWarning, match="--labels or upscale_labels"):
        upscale(labels.astype(np.int32), INSTANT)


@pytest.mark.parametrize(
    ("image", "piecewise"),
    [
        (np.kron(np.eye(8, dtype=np.int64) * 7, np.ones((6, 6), int)), True),
        (np.full((40, 40), 9), False),
        (draw().poisson(0.3, (64, 64)), False),
        (draw().poisson(300, (64, 64)), False),
        ((255 * CELL).astype(np.uint8), False),
        (np.round(5 * CELL), False),
    ],
)
def test_labels_consist_of_areas_of_one_value(
    image: NDArray[Any], piecewise: bool
) -> None:
    assert is_piecewise_constant([image]) == piecewise


def test_another_type_is_refused() -> None:
    with pytest.raises(InputError, match=r"dtype is 'float16'.*auto, same, float32"):
        change(INSTANT, dtype="float16")


def test_settings_hold_the_type() -> None:
    config = change(INSTANT, dtype="float32")
    assert Config.from_dict(config.to_dict()) == config


@pytest.mark.parametrize("ending", [".ome.tif", ".ome.zarr"])
def test_files_hold_float32_too(tmp_path: Any, ending: str) -> None:
    dim = draw().poisson(0.3, (2, 40, 40)).astype(np.uint8)
    target = tmp_path / f"dim{ending}"
    written = upscale_to_disk(dim, target, INSTANT, axes="ZYX")
    assert written.outline.dtype == written.report.dtype == "float32"
    np.testing.assert_array_equal(read(target).data, upscale(dim, INSTANT, axes="ZYX"))


def test_the_preview_shows_the_type_of_the_result() -> None:
    dim = draw().poisson(0.4, (48, 48)).astype(np.uint8)
    stack = labelled(dim, axes="YX")
    window = (slice(8, 40), slice(4, 36))
    from napari_zssr.stack.image import planes

    (place,) = planes("YX", dim.shape)
    part = drain(preview_steps(stack, INSTANT, plane_index=place, window=window))
    whole = upscale(dim, INSTANT)
    assert part.image.dtype == np.float32
    scale = intensity_map(dim).scale
    assert np.abs(part.image - whole[part.window]).max() < 0.001 * scale
