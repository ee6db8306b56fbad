from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np
import pytest
import tifffile
import zarr
from hypothesis import given
from hypothesis import strategies as st

from napari_zssr.api import as_stack, upscale, upscale_lazy, upscale_to_disk
from napari_zssr.errors import ImageWarning, InputError
from napari_zssr.stack.axis_labels import guess_axes, labelled, parse_axes, settle_axes
from napari_zssr.stack.image import (
    Channel,
    from_cyx,
    output_origin,
    output_shape,
    output_spacing,
    plane_axes,
    planes,
    short_unit,
    to_cyx,
)

axes_texts = st.permutations("TCZYXS").flatmap(
    lambda order: st.sets(st.sampled_from("TCZS")).map(
        lambda kept: "".join(a for a in order if a in kept | {"Y", "X"})
    )
)
SIZES = {"T": 2, "C": 3, "Z": 4, "Y": 5, "X": 6, "S": 3}


@given(axes_texts)
def test_planes_cover_every_pixel_once(axes: str) -> None:
    shape = tuple(SIZES[a] for a in axes)
    counts = np.zeros(shape, int)
    listed = planes(axes, shape)
    for plane in listed:
        counts[plane.index] += 1
    assert (counts == 1).all()
    assert [p.number for p in listed] == list(range(len(listed)))


@given(axes_texts)
def test_plane_round_trip(axes: str) -> None:
    shape = tuple(SIZES[a] for a in axes)
    data = np.arange(math.prod(shape)).reshape(shape)
    inner = plane_axes(axes)
    listed = planes(axes, shape)
    assert len(listed) * data[listed[0].index].size == data.size
    for plane in listed:
        part = data[plane.index]
        cyx = to_cyx(part, inner)
        assert cyx.shape == (3 if "S" in axes else 1, 5, 6)
        np.testing.assert_array_equal(from_cyx(cyx, inner), part)


def test_planes_know_their_channel() -> None:
    assert [p.channel for p in planes("ZCYX", (2, 3, 4, 4))] == [0, 1, 2, 0, 1, 2]
    assert [p.channel for p in planes("TYX", (2, 4, 4))] == [0, 0]
    assert len(planes("YXS", (4, 4, 3))) == 1


@pytest.mark.parametrize(
    ("text", "ndim", "word"),
    [
        ("TQYX", 4, "'Q'"),
        ("ZZYX", 4, "Z more than once"),
        ("TCZ", 3, "lack"),
        ("TYX", 4, "3 axes"),
        ("", 2, "lack"),
    ],
)
def test_bad_axes(text: str, ndim: int, word: str) -> None:
    with pytest.raises(InputError, match=word):
        parse_axes(text, ndim)


def test_lower_case_axes() -> None:
    assert parse_axes("tczyx", 5) == "TCZYX"


@pytest.mark.parametrize(
    ("shape", "dtype", "axes"),
    [
        ((20, 30), "u2", "YX"),
        ((20, 30, 3), "u1", "YXS"),
        ((20, 30, 4), "u1", "YXS"),
        ((20, 30, 3), "u2", "YXC"),
        ((3, 20, 30), "u2", "CYX"),
        ((7, 20, 30), "u2", "ZYX"),
        ((7, 3, 20, 30), "u2", "ZCYX"),
        ((3, 7, 20, 30), "u2", "CZYX"),
        ((9, 7, 20, 30), "u2", "TZYX"),
        ((7, 20, 30, 3), "u1", "ZYXS"),
        ((9, 3, 7, 20, 30), "u2", "TCZYX"),
        ((9, 7, 3, 20, 30), "u2", "TZCYX"),
        ((3, 4), "u1", "YX"),
        ((40, 48, 1), "u2", "YXC"),
        ((40, 48, 6), "f4", "YXC"),
        ((40, 48, 7), "f4", "ZYX"),
        ((9, 40, 48, 1), "f4", "ZYXC"),
        ((9, 40, 48, 3), "u2", "ZYXC"),
        ((3, 40, 48, 3), "u2", "ZYXC"),
        ((5, 6, 40, 48, 2), "u2", "TZYXC"),
        ((5, 6, 40, 48, 4), "u1", "TZYXS"),
    ],
)
def test_guesses(shape: tuple[int, ...], dtype: str, axes: str) -> None:
    assert guess_axes(shape, dtype) == axes


@pytest.mark.parametrize("shape", [(5,), (2, 2, 2, 2, 9, 9)])
def test_no_guess(shape: tuple[int, ...]) -> None:
    with pytest.raises(InputError):
        guess_axes(shape, "u2")


@pytest.mark.parametrize(
    "shape",
    [(40, 6, 3), (6, 40, 3), (8, 9, 5), (5, 5, 5), (30, 2, 40, 1), (12, 11, 6)],
)
def test_a_short_last_axis_is_not_guessed_among_short_ones(
    shape: tuple[int, ...],
) -> None:
    with pytest.raises(
        InputError, match=r"may be X or channels; name the axes, .* axes='"
    ):
        guess_axes(shape, "u1")
    assert labelled(np.zeros(shape), axes="TZYX"[-len(shape) :]).axes.endswith("YX")


@pytest.mark.parametrize(
    ("found", "shape", "axes"),
    [
        ("YX?", (40, 48, 6), "YXC"),
        ("YX?", (40, 48, 9), "YXZ"),
        ("T??", (5, 40, 48), "TYX"),
        ("?C??", (5, 2, 40, 48), "ZCYX"),
        ("Y?", (40, 48), "YX"),
        ("??YX", (9, 3, 40, 48), "ZCYX"),
    ],
)
def test_letters_that_are_known_stay(
    found: str, shape: tuple[int, ...], axes: str
) -> None:
    assert settle_axes(found, shape, "u2") == (axes, True)


@pytest.mark.parametrize(
    ("found", "shape"), [("T??", (5, 40, 3)), ("TX", (5, 40)), ("C?", (3, 40))]
)
def test_letters_that_cannot_be_settled(found: str, shape: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match=r"name the axes|name them"):
        settle_axes(found, shape, "u2")


NAMES = [
    (("y", "x", "c"), "YXC"),
    (("X", "Y", "Channel"), "XYC"),
    (("time", "row", "column"), "TYX"),
    (("band", "height", "width"), "CYX"),
    (("pln", "row", "col"), "ZYX"),
]


class Named:
    """As much of a named array as is looked at."""

    def __init__(self, dims: tuple[str, ...], **more: Any) -> None:
        self.pixels = np.zeros((40, 48, 6), np.uint16)
        self.dims, self.shape, self.ndim = dims, self.pixels.shape, 3
        self.dtype = self.pixels.dtype
        self.__dict__ |= more

    def __getitem__(self, index: Any) -> Any:
        return self.pixels[index]


@pytest.mark.parametrize(("names", "axes"), NAMES)
def test_names_of_arrays_are_used(names: tuple[str, ...], axes: str) -> None:
    pixels = np.zeros((40, 48, 6), np.uint16)
    older = zarr.create_array({}, data=pixels, zarr_format=2)
    older.attrs["_ARRAY_DIMENSIONS"] = list(names)
    arrays: list[Any] = [
        Named(names),
        zarr.create_array({}, data=pixels, dimension_names=names),
        older,
    ]
    for array in arrays:
        stack = labelled(array)
        assert (stack.axes, stack.guessed, stack.messages) == (axes, False, ())
        assert labelled(array, axes="XYZ").axes == "XYZ"


@pytest.mark.parametrize("names", [("y", "x", None), ("y", "x", "y"), ("y", "x", "q")])
def test_names_that_are_missing_are_guessed(names: Any) -> None:
    stack = labelled(Named(names))
    assert (stack.axes, stack.guessed) == ("YXC", True)
    assert stack.messages[0].startswith("Axes guessed as YXC (40 × 48 × 6)")


def test_xarray_tells_names_and_coordinates() -> None:
    xarray = pytest.importorskip("xarray")
    y = xarray.Variable("y", 3 + 0.5 * np.arange(40), {"units": "nm"})
    x = xarray.Variable("x", 9 - 0.25 * np.arange(48), {"units": "micrometer"})
    data = xarray.DataArray(
        np.zeros((40, 48, 6), np.uint16),
        dims=("y", "x", "z"),
        coords={"y": y, "x": x, "z": np.arange(6)},
    )
    stack = labelled(data)
    assert (stack.axes, stack.spacing) == ("YXZ", (0.5, 0.25, None))
    assert (stack.units, stack.origin) == (("nm", "um", None), (3.0, 0.0, 0.0))
    given = labelled(data, spacing=2)
    assert (given.spacing, given.origin) == ((2.0, 2.0, None), ())
    uneven = data.assign_coords(y=np.arange(40.0) ** 2)
    assert labelled(uneven).spacing == (None, 0.25, None)


@pytest.mark.parametrize("frames", [True, False])
def test_sizes_that_dask_does_not_know(frames: bool) -> None:
    image = da.ones((6, 40, 48), chunks=(1, 40, 48))
    cut = image[image.mean(axis=(1, 2)) > 0] if frames else image[:, image[0, :, 0] > 0]
    for door in (upscale, upscale_lazy, labelled):
        with pytest.raises(InputError, match="compute_chunk_sizes"):
            door(cut)  # type: ignore[operator]
    cut.compute_chunk_sizes()
    assert labelled(cut).axes == "ZYX"


def test_python_warns_of_a_guess_once() -> None:
    image = np.random.default_rng(0).random((7, 12, 14))
    with pytest.warns(ImageWarning, match="Axes guessed as ZYX") as told:
        stack = as_stack(image)
    assert len(told) == 1
    assert as_stack(stack).guessed
    assert not as_stack(stack, axes="TYX").guessed
    assert as_stack(image[0]).messages == ()
    assert as_stack(image, axes="ZYX").messages == ()


def test_other_axes_or_spacing_leave_the_rest() -> None:
    channel = Channel(name="DNA")
    stack = labelled(
        np.zeros((2, 12, 14)), axes="ZYX", spacing=0.5, channels=[channel], name="a"
    )
    stack = replace(stack, origin=(0.0, 1.0, 2.0), checksum="f00")
    turned = as_stack(stack, axes="TYX")
    assert (turned.axes, turned.spacing) == ("TYX", (None, 0.5, 0.5))
    assert (turned.origin, turned.channels) == (stack.origin, (channel,))
    assert (turned.name, turned.checksum) == ("a", "f00")
    sized = as_stack(stack, spacing=2)
    assert (sized.axes, sized.spacing, sized.origin) == ("ZYX", (None, 2.0, 2.0), ())
    assert as_stack(stack, axes="CYX").channels == ()


# ---- masked arrays


def masked(dtype: str, *shape: int, fill: float = 200) -> Any:
    image = np.random.default_rng(0).integers(100, 110, shape).astype(dtype)
    hidden = np.zeros(shape, bool)
    hidden[..., :3, 2:9] = True
    image[hidden] = fill
    return np.ma.array(image, mask=hidden)


@pytest.mark.filterwarnings("ignore:The result is float32")
@pytest.mark.parametrize("dtype", ["uint8", "int32", "float32"])
@pytest.mark.parametrize("lazy", [False, True])
def test_masked_pixels_are_refused_or_filled(dtype: str, lazy: bool) -> None:
    image = masked(dtype, 2, 12, 14)
    given = da.from_array(image, chunks=(1, 12, 14)) if lazy else image
    with pytest.raises(InputError, match=r"masked pixels; .*nonfinite='fill'"):
        upscale(given, "instant", axes="ZYX", device="cpu")
    found = upscale(given, "instant", axes="ZYX", nonfinite="fill", device="cpu")
    assert isinstance(found, np.ndarray)
    assert not isinstance(found, np.ma.MaskedArray)
    assert found.max() < 130
    filled = image.data.copy()
    for plane, hidden in zip(filled, image.mask, strict=True):
        mean = plane[~hidden].mean(dtype=np.float64)
        plane[hidden] = mean if dtype == "float32" else round(mean)
    right = upscale(filled, "instant", axes="ZYX", device="cpu")
    np.testing.assert_allclose(found, right, rtol=1e-5)


def test_a_mask_that_hides_nothing_is_no_mask() -> None:
    image = masked("uint16", 12, 14)
    plain = np.ma.array(image.data, mask=False)
    assert (upscale(plain, "instant") == upscale(image.data, "instant")).all()


def test_planes_that_are_masked_whole_become_0() -> None:
    image = masked("uint16", 3, 12, 14)
    image[1] = np.ma.masked
    found = upscale(image, "instant", axes="ZYX", nonfinite="fill")
    assert (found[1] == 0).all()
    assert (found[[0, 2]] > 90).all()


def test_masked_pixels_reach_workers_filled(tmp_path: Path) -> None:
    image = masked("uint16", 2, 12, 14)
    target = tmp_path / "a.ome.tif"
    given: dict[str, Any] = {"axes": "ZYX", "nonfinite": "fill", "device": "cpu"}
    upscale_to_disk(image, target, "instant", threads=1, **given)
    assert tifffile.imread(target).max() < 130


def test_unknown_letters_are_settled() -> None:
    assert settle_axes("TYX", (5, 9, 9), "u2") == ("TYX", False)
    assert settle_axes("QYX", (5, 9, 9), "u2") == ("ZYX", True)
    assert settle_axes("QZYX", (5, 6, 9, 9), "u2") == ("TZYX", True)
    assert settle_axes("IZYX", (2, 6, 9, 9), "u2") == ("CZYX", True)
    with pytest.raises(InputError, match="name them"):
        settle_axes("TCZQYX", (2,) * 6, "u2")


@pytest.mark.parametrize(
    ("n", "factor", "out"),
    [(10, 1.1, 11), (11, 1.5, 17), (100, 1.1, 110), (7, 3, 21), (3, 1.01, 4)],
)
def test_output_size_ignores_float_error(n: int, factor: float, out: int) -> None:
    assert output_shape((2, n, 5), "CYX", (factor, 1.0)) == (2, out, 5)


def test_output_spacing_and_origin() -> None:
    spacing = (3.0, 0.4, None)
    assert output_spacing(spacing, "ZYX", (2, 4)) == (3.0, 0.2, None)
    assert output_origin(spacing, "ZYX", (2, 4)) == (0.0, -0.1, -0.375)
    assert output_origin(spacing, "ZYX", (1, 4))[1] == 0


def test_labelled_forms_of_spacing() -> None:
    data = np.zeros((7, 20, 30), np.uint16)
    one = labelled(data, spacing=0.1)
    assert (one.axes, one.guessed) == ("ZYX", True)
    assert one.spacing == (None, 0.1, 0.1)
    assert one.units == (None, "um", "um")
    named = labelled(data, axes="tyx", spacing={"t": 2, "x": 0.3})
    assert named.spacing == (2.0, None, 0.3)
    assert named.units == ("s", None, "um")
    assert not named.guessed
    listed = labelled(data, axes="ZYX", spacing=[3, 1, 1], units="micron")
    assert listed.units == ("um",) * 3


@pytest.mark.parametrize(
    ("spacing", "word"),
    [
        (0.0, "above 0"),
        (float("nan"), "above 0"),
        ([1, 1], "2 numbers"),
        ({"T": 1}, "'T'"),
        ({"Y": "wide"}, "'wide'"),
    ],
)
def test_bad_spacing(spacing: object, word: str) -> None:
    with pytest.raises(InputError, match=word):
        labelled(np.zeros((7, 20, 30)), spacing=spacing)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("data", "word"),
    [
        (np.zeros((0, 5)), "empty"),
        (np.zeros((5, 5), bool), "boolean"),
        (np.zeros((5, 5), complex), "complex"),
        (np.full((5, 5), "a"), "type"),
        (np.zeros(5), "at least"),
    ],
)
def test_bad_pixels(data: object, word: str) -> None:
    with pytest.raises(InputError, match=word):
        labelled(data)


def test_native_byte_order_and_sample_count() -> None:
    assert labelled(np.zeros((5, 5), ">u2")).data.dtype == np.uint16
    assert labelled(np.zeros((5, 5), ">u2")).data.dtype.isnative
    with pytest.raises(InputError, match="samples"):
        labelled(np.zeros((9, 9, 7)), axes="YXS")


def test_channels_only_where_they_match() -> None:
    data = np.zeros((2, 9, 9))
    pair = (Channel(name="a"), Channel(name="b"))
    assert labelled(data, axes="CYX", channels=pair).channels == pair
    assert labelled(data, axes="ZYX", channels=pair).channels == ()
    assert labelled(data, axes="CYX", channels=[Channel(), Channel()]).channels == ()


@pytest.mark.parametrize(
    ("text", "unit"),
    [
        ("micron", "um"),
        ("\\u00B5m", "um"),
        ("\\u03BCm", "um"),
        ("\u00b5m", "um"),
        ("\u03bcm", "um"),
        ("micrometer", "um"),
        ("nm", "nm"),
        ("\u00c5", "angstrom"),
        ("sec", "s"),
        ("pixel", None),
        ("inch", "in"),
        ("", None),
        (None, None),
    ],
)
def test_units(text: str | None, unit: str | None) -> None:
    assert short_unit(text) == unit
