"""Colours, palettes, samples and orientation of TIFFs and pictures."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray
from PIL import Image, ImageCms, ImageOps

from napari_zssr.errors import InputError
from napari_zssr.io.photometric import oriented, rgb_from_lab, rgb_from_ycbcr
from napari_zssr.io.read import read
from napari_zssr.stack.image import ImageStack

RNG = np.random.default_rng(0)
Y, X = np.mgrid[:20, :26]
RGB = np.stack([9 * X + Y, 255 - 8 * X, 12 * Y], axis=-1).astype(np.uint8)
GREY = RNG.integers(0, 256, (20, 26), dtype=np.uint8)
WIDE = RNG.integers(0, 65536, (20, 26), dtype=np.uint16)
COLOURS = RNG.integers(0, 256, (256, 3), dtype=np.uint8)
RAMP = np.arange(256, dtype=np.uint8)


def both(path: Path) -> ImageStack:
    """Read eagerly, after a check that lazy reading gives the same."""
    eager, lazy = read(path), read(path, lazy=True)
    for found in (lazy, read(path, lazy=True)):
        assert (found.axes, found.messages) == (eager.axes, eager.messages)
        assert found.spacing == eager.spacing
        assert found.channels == eager.channels
    assert lazy.data.shape == eager.data.shape
    assert lazy.data.dtype == eager.data.dtype
    sent = pickle.loads(pickle.dumps(lazy.data))
    np.testing.assert_array_equal(np.asarray(sent), eager.data)
    part = (..., slice(3, 9), slice(1, None, 2))
    np.testing.assert_array_equal(sent[part], eager.data[part])
    return eager


def tiff(path: Path, data: NDArray[Any], **options: Any) -> Path:
    tifffile.imwrite(path, data, **({"metadata": None} | options))
    return path


def colormap(entries: NDArray[np.uint8]) -> NDArray[np.uint16]:
    return (entries.T.astype(np.uint16) * 257).copy()


# ---- Palettes


def pillow_palette(path: Path, colours: NDArray[np.uint8], bits: int) -> None:
    indices = GREY >> (8 - bits)
    picture = Image.fromarray(indices)
    picture.putpalette(colours[: 2**bits].tobytes())
    picture.save(path)


@pytest.mark.parametrize("bits", [8, 4])
def test_a_palette_is_read_as_the_colours_that_it_shows(
    tmp_path: Path, bits: int
) -> None:
    path = tmp_path / "a.tif"
    pillow_palette(path, COLOURS, bits)
    stack = both(path)
    assert stack.axes == "YXS"
    np.testing.assert_array_equal(
        stack.data, np.asarray(Image.open(path).convert("RGB"))
    )
    assert "palette" in stack.messages[0]


@pytest.mark.parametrize("options", [{}, {"compression": "zlib"}, {"tile": (16, 16)}])
def test_palettes_of_stacks(tmp_path: Path, options: dict[str, Any]) -> None:
    indices = RNG.integers(0, 256, (3, 20, 26), dtype=np.uint8)
    path = tiff(
        tmp_path / "a.tif",
        indices,
        photometric="palette",
        colormap=colormap(COLOURS),
        **options,
    )
    stack = both(path)
    np.testing.assert_array_equal(stack.data, COLOURS[indices])
    assert stack.axes[1:] == "YXS"


def test_a_palette_of_16_bit_indices_and_8_bit_entries(tmp_path: Path) -> None:
    table = RNG.integers(0, 256, (3, 65536), dtype=np.uint16)
    path = tiff(tmp_path / "a.tif", WIDE, photometric="palette", colormap=table)
    stack = both(path)
    assert stack.data.dtype == np.uint8
    np.testing.assert_array_equal(stack.data, table.T[WIDE])


@pytest.mark.parametrize(
    ("entries", "expected"),
    [
        (np.stack([RAMP] * 3, axis=1), GREY),
        (np.stack([RAMP[::-1]] * 3, axis=1), 255 - GREY),
        (np.stack([RAMP // 2] * 3, axis=1), GREY),
    ],
    ids=["ramp", "inverted", "half"],
)
def test_a_grey_palette_stays_grey(
    tmp_path: Path, entries: NDArray[np.uint8], expected: NDArray[np.uint8]
) -> None:
    path = tiff(
        tmp_path / "a.tif", GREY, photometric="palette", colormap=colormap(entries)
    )
    stack = both(path)
    np.testing.assert_array_equal(stack.data, expected)
    assert (stack.axes, stack.channels, len(stack.messages)) == ("YX", (), 1)


def test_a_palette_of_one_colour_is_the_colour_of_the_channel(tmp_path: Path) -> None:
    green = np.stack([RAMP * 0, RAMP, RAMP // 2], axis=1)
    path = tiff(
        tmp_path / "a.tif", GREY, photometric="palette", colormap=colormap(green)
    )
    stack = both(path)
    np.testing.assert_array_equal(stack.data, GREY)
    assert [c.color for c in stack.channels] == [0x00FF7FFF]


def false_colours() -> NDArray[np.uint8]:
    """A smooth table as ImageJ's "Fire", with the marked ends of "HiLo"."""
    places = np.arange(256)
    nodes = [0, 64, 128, 192, 255]
    rows = ([0, 120, 240, 255, 255], [0, 0, 60, 180, 255], [60, 200, 40, 20, 255])
    table = np.stack([np.interp(places, nodes, row) for row in rows], axis=1)
    table[0], table[255] = (0, 0, 255), (255, 0, 0)
    return table.astype(np.uint8)


@pytest.mark.parametrize("instrument", [True, False])
def test_a_lookup_table_of_imagej_leaves_the_intensities(
    tmp_path: Path, instrument: bool
) -> None:
    about = {"description": "ImageJ=1.54f\nimages=1\n"} if instrument else {}
    path = tiff(
        tmp_path / "a.tif",
        GREY,
        photometric="palette",
        colormap=colormap(false_colours()),
        **about,
    )
    stack = both(path)
    assert stack.axes == ("YX" if instrument else "YXS")
    expected = GREY if instrument else false_colours()[GREY]
    np.testing.assert_array_equal(stack.data, expected)


def test_an_8_bit_colour_picture_of_imagej_is_expanded(tmp_path: Path) -> None:
    path = tiff(
        tmp_path / "a.tif",
        GREY,
        photometric="palette",
        colormap=colormap(COLOURS),
        description="ImageJ=1.54f\nimages=1\n",
    )
    np.testing.assert_array_equal(both(path).data, COLOURS[GREY])


# ---- 0 is white


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (GREY, 255 - GREY),
        (WIDE, 65535 - WIDE),
        (WIDE.astype(np.uint32), 4294967295 - WIDE.astype(np.uint32)),
        (WIDE.view(np.int16), ~WIDE.view(np.int16)),
        (WIDE.astype(np.float32), WIDE.astype(np.float32)),
    ],
    ids=lambda value: str(value.dtype),
)
def test_black_and_white_are_exchanged_where_0_is_white(
    tmp_path: Path, data: NDArray[Any], expected: NDArray[Any]
) -> None:
    stack = both(tiff(tmp_path / "a.tif", data, photometric="miniswhite"))
    np.testing.assert_array_equal(stack.data, expected)
    assert "0 is white" in stack.messages[0]
    assert ("left as they are" in stack.messages[0]) == (data.dtype.kind == "f")


def test_0_is_white_of_12_bits(tmp_path: Path) -> None:
    """12-bit samples lie in uint16; white is 4095."""
    pytest.importorskip("imagecodecs")
    data = WIDE >> 4
    path = tiff(tmp_path / "a.tif", data, photometric="miniswhite", bitspersample=12)
    np.testing.assert_array_equal(both(path).data, 4095 - data)


def test_0_is_white_of_a_stack(tmp_path: Path) -> None:
    data = RNG.integers(0, 256, (4, 20, 26), dtype=np.uint8)
    path = tiff(
        tmp_path / "a.tif",
        data,
        photometric="miniswhite",
        imagej=True,
        metadata={"axes": "ZYX"},
    )
    np.testing.assert_array_equal(both(path).data, 255 - data)


def test_grey_without_an_interpretation_is_kept(tmp_path: Path) -> None:
    """tifffile takes a missing tag for MinIsWhite."""
    path = tiff(tmp_path / "a.tif", GREY, photometric="minisblack")
    rename_tag(path, 262, 65000)
    stack = both(path)
    np.testing.assert_array_equal(stack.data, GREY)
    assert stack.messages == ()


def rename_tag(path: Path, old: int, new: int) -> None:
    with tifffile.TiffFile(path) as file:
        at = file.pages.first.tags[old].offset
    content = bytearray(path.read_bytes())
    content[at : at + 2] = new.to_bytes(2, "little")
    path.write_bytes(content)


# ---- Inks, luma and chroma, L*a*b*


def in_lab(picture: Image.Image) -> Image.Image:
    profiles = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
    transform = ImageCms.buildTransform(*profiles, "RGB", "LAB")
    return ImageCms.applyTransform(picture, transform)


@pytest.mark.parametrize(
    ("mode", "off"), [("CMYK", 0), ("YCbCr", 3), ("LAB", 12)], ids=str
)
@pytest.mark.parametrize("compression", ["raw", "tiff_adobe_deflate"])
def test_other_colours_become_rgb(
    tmp_path: Path, mode: str, off: int, compression: str
) -> None:
    path, picture = tmp_path / "a.tif", Image.fromarray(RGB)
    turned = in_lab(picture) if mode == "LAB" else picture.convert(mode)
    turned.save(path, compression=compression)
    stack = both(path)
    assert (stack.axes, stack.data.dtype) == ("YXS", np.uint8)
    assert np.abs(stack.data.astype(int) - RGB).max() <= off
    assert "converted" in stack.messages[0]


@pytest.mark.parametrize("planar", ["contig", "separate"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_cmyk_of_stacks_with_alpha(tmp_path: Path, planar: str, dtype: type) -> None:
    most = np.iinfo(dtype).max
    inks = np.zeros((2, 20, 26, 5), dtype)
    inks[..., 0], inks[0, ..., 3], inks[..., 4] = most, most // 2, 7
    stored = np.moveaxis(inks, -1, 1) if planar == "separate" else inks
    path = tiff(
        tmp_path / "a.tif",
        stored,
        photometric="separated",
        planarconfig=planar,
        extrasamples=["unassalpha"],
    )
    stack = both(path)
    samples = np.moveaxis(stack.data, stack.axes.index("S"), -1)
    half = most - most // 2
    expected = [[0, half, half, 7], [0, most, most, 7]]
    np.testing.assert_array_equal(samples[:, 0, 0], expected)


def test_video_range_of_ycbcr() -> None:
    """BT.601: white is 235, black 16; the chroma reaches from 16 to 240."""
    reference = (16, 235, 128, 240, 128, 240)
    coded = np.array(
        [[16, 128, 128], [235, 128, 128], [81, 90, 240], [145, 54, 34]], np.uint8
    )
    shown = rgb_from_ycbcr(coded, reference=reference)
    expected = [[0, 0, 0], [255, 255, 255], [255, 0, 0], [0, 255, 0]]
    assert np.abs(shown.astype(int) - expected).max() <= 2


def test_ycbcr_follows_its_tags(tmp_path: Path) -> None:
    rationals = [16, 1, 235, 1, 128, 1, 240, 1, 128, 1, 240, 1]
    coded = np.broadcast_to(np.array([81, 90, 240], np.uint8), (20, 26, 3))
    path = tiff(
        tmp_path / "a.tif",
        coded,
        photometric="ycbcr",
        extratags=[(530, 3, 2, (1, 1), True), (532, 5, 6, rationals, True)],
    )
    assert np.abs(both(path).data.astype(int) - [255, 0, 0]).max() <= 1


@pytest.mark.parametrize(
    ("mode", "messages"), [("RGB", 0), ("YCbCr", 0), ("L", 0), ("CMYK", 1)]
)
def test_jpeg_in_tiff_is_converted_once(
    tmp_path: Path, mode: str, messages: int
) -> None:
    path, picture = tmp_path / "a.tif", Image.fromarray(RGB).convert(mode)
    picture.save(path, compression="jpeg", quality=98)
    stack = both(path)
    shown = np.asarray(picture if mode == "L" else picture.convert("RGB"))
    assert np.abs(stack.data.astype(int) - shown).max() <= 6
    assert len(stack.messages) == messages


@pytest.mark.parametrize(
    ("lab", "rgb"),
    [
        ((100, 0, 0), (255, 255, 255)),
        ((0, 0, 0), (0, 0, 0)),
        ((53.585, 0, 0), (128, 128, 128)),
        ((54.29, 80.81, 69.89), (255, 0, 0)),
        ((29.57, 68.30, -112.03), (0, 0, 255)),
    ],
)
@pytest.mark.parametrize("signed", [True, False], ids=["CIELab", "ICCLab"])
def test_lab_of_16_bits(
    lab: tuple[float, ...], rgb: tuple[int, ...], signed: bool
) -> None:
    """Values of sRGB's corners under D50; ICC's 16-bit L* ends at FF00."""
    top = 65535 if signed else 65280
    shift = 0 if signed else 32768
    coded = [lab[0] / 100 * top, *(value * 256 + shift for value in lab[1:])]
    stored = (np.rint(coded).astype(np.int64) % 65536).astype(np.uint16)
    shown = rgb_from_lab(stored, signed=signed) / 257
    assert np.abs(shown - rgb).max() < 1


@pytest.mark.parametrize(
    ("kind", "said"),
    [(32803, "CFA"), (32845, "LOGLUV"), (10, "ITULAB"), (777, "777")],
)
def test_colours_that_cannot_be_converted_are_named(
    tmp_path: Path, kind: int, said: str
) -> None:
    path = tiff(tmp_path / "a.tif", RGB, photometric="rgb")
    with tifffile.TiffFile(path, mode="r+") as file:
        file.pages.first.tags[262].overwrite(kind)
    for lazy in (False, True):
        with pytest.raises(InputError, match=said) as caught:
            read(path, lazy=lazy)
        assert "damaged" not in str(caught.value)


# ---- Samples


@pytest.mark.parametrize(
    ("count", "photometric", "extra", "letter"),
    [
        (2, "minisblack", ["unspecified"], "C"),
        (2, "minisblack", ["unassalpha"], "S"),
        (2, "minisblack", ["assocalpha"], "S"),
        (3, "minisblack", ["unspecified"] * 2, "C"),
        (3, "rgb", [], "S"),
        (4, "rgb", ["unassalpha"], "S"),
        (4, "rgb", ["unspecified"], "C"),
        (4, "minisblack", ["unspecified"] * 3, "C"),
        (5, "rgb", ["unspecified"] * 2, "C"),
        (6, "minisblack", ["unspecified"] * 5, "C"),
    ],
)
@pytest.mark.parametrize("planar", ["contig", "separate"])
def test_what_samples_are(
    tmp_path: Path,
    planar: str,
    count: int,
    photometric: str,
    extra: list[str],
    letter: str,
) -> None:
    data = RNG.integers(0, 256, (20, 26, count), dtype=np.uint8)
    stored = np.moveaxis(data, -1, 0) if planar == "separate" else data
    path = tiff(
        tmp_path / "a.tif",
        stored,
        photometric=photometric,
        planarconfig=planar,
        extrasamples=extra,
    )
    stack = both(path)
    assert stack.axes == (f"{letter}YX" if planar == "separate" else f"YX{letter}")
    np.testing.assert_array_equal(stack.data, stored)
    assert bool(stack.messages) == (letter == "C")
    named = [c.name for c in stack.channels[:3]]
    assert named == (
        ["red", "green", "blue"]
        if letter == "C" and count > 3 and photometric == "rgb"
        else []
    )


def test_samples_without_the_tag_are_channels(tmp_path: Path) -> None:
    data = RNG.integers(0, 256, (20, 26, 2), dtype=np.uint8)
    path = tiff(
        tmp_path / "a.tif", data, photometric="minisblack", planarconfig="contig"
    )
    rename_tag(path, 338, 65000)
    assert both(path).axes == "YXC"


def test_grey_and_alpha_where_0_is_white_keeps_the_alpha(tmp_path: Path) -> None:
    data = RNG.integers(0, 256, (20, 26, 2), dtype=np.uint8)
    path = tiff(
        tmp_path / "a.tif",
        data,
        photometric="miniswhite",
        planarconfig="contig",
        extrasamples=["unassalpha"],
    )
    found = both(path).data
    np.testing.assert_array_equal(found[..., 0], 255 - data[..., 0])
    np.testing.assert_array_equal(found[..., 1], data[..., 1])


# ---- Orientation


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_is_that_of_pillow(orientation: int) -> None:
    exif = Image.Exif()
    exif[274] = orientation
    picture = Image.fromarray(RGB)
    picture.getexif()[274] = orientation
    shown = np.asarray(ImageOps.exif_transpose(picture))
    np.testing.assert_array_equal(oriented(RGB, orientation, 0, 1), shown)


@pytest.mark.parametrize("orientation", [2, 3, 5, 6, 8])
@pytest.mark.parametrize("ending", ["jpg", "png"])
def test_pictures_stand_upright(tmp_path: Path, ending: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[274] = orientation
    path = tmp_path / f"a.{ending}"
    Image.fromarray(RGB).save(path, exif=exif, quality=98, subsampling=0)
    shown = np.asarray(ImageOps.exif_transpose(Image.open(path)))
    stack = read(path)
    np.testing.assert_array_equal(stack.data, shown)
    assert f"({orientation})" in stack.messages[0]


@pytest.mark.parametrize("orientation", [3, 4, 6, 7])
@pytest.mark.parametrize("planar", ["contig", "separate", "stack"])
def test_tiffs_stand_upright_with_their_pixel_sizes(
    tmp_path: Path, planar: str, orientation: int
) -> None:
    stack = RNG.integers(0, 256, (3, 20, 26), dtype=np.uint8)
    data = {"contig": RGB, "separate": np.moveaxis(RGB, -1, 0), "stack": stack}[planar]
    about: dict[str, Any] = {"metadata": {"unit": "um", "axes": "ZYX"}}
    if planar != "stack":
        about = {"photometric": "rgb", "planarconfig": planar}
    path = tiff(
        tmp_path / "a.tif",
        data,
        imagej=planar == "stack",
        resolution=(4.0, 5.0),
        extratags=[(274, 3, 1, orientation, True)],
        **about,
    )
    found = both(path)
    y, x = (1, 2) if planar != "contig" else (0, 1)
    np.testing.assert_array_equal(found.data, oriented(data, orientation, y, x))
    if planar == "stack":
        sizes = (0.25, 0.2) if orientation > 4 else (0.2, 0.25)
        assert found.spacing[1:] == sizes
        assert found.units[1:] == ("um", "um")


def test_a_picture_in_cmyk_says_so(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    Image.fromarray(RGB).convert("CMYK").save(path, quality=98)
    stack = read(path)
    assert np.abs(stack.data.astype(int) - RGB).max() < 14
    assert "CMYK" in stack.messages[0]
