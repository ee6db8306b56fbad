from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_zssr.errors import InputError
from napari_zssr.stack.axes import (
    Channel,
    from_cyx,
    guess_axes,
    labelled,
    output_origin,
    output_shape,
    output_spacing,
    parse_axes,
    plane_axes,
    planes,
    settle_axes,
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
    for plane in planes(axes, shape):
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
    ],
)
def test_guesses(shape: tuple[int, ...], dtype: str, axes: str) -> None:
    assert guess_axes(shape, dtype) == axes


@pytest.mark.parametrize("shape", [(5,), (2, 2, 2, 2, 9, 9)])
def test_no_guess(shape: tuple[int, ...]) -> None:
    with pytest.raises(InputError):
        guess_axes(shape, "u2")


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
