"""Pixel sizes, channels and values of TIFFs by the rules of those that write them."""

from __future__ import annotations

import json
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray

from napari_zssr.errors import InputError
from napari_zssr.io.contents import Calibration
from napari_zssr.io.ome_xml import open_tiff
from napari_zssr.io.read import read
from napari_zssr.io.tiff_metadata import calibration
from napari_zssr.stack.image import Channel, ImageStack

RNG = np.random.default_rng(1)
PLANE = RNG.integers(0, 4000, (20, 30), dtype=np.uint16)
STACK = RNG.integers(0, 4000, (6, 20, 30), dtype=np.uint16)
Array = NDArray[Any]
NAMESPACE = 'xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06"'


def imagej(
    path: Path,
    data: Array = PLANE,
    *,
    resolution: tuple[float, float] = (4.0, 4.0),
    unit_tag: str = "NONE",
    **metadata: Any,
) -> ImageStack:
    tifffile.imwrite(
        path,
        data,
        imagej=True,
        resolution=resolution,
        resolutionunit=unit_tag,
        metadata=metadata,
    )
    return read(path)


def size(stack: ImageStack, letter: str) -> tuple[float, str | None] | None:
    """Pixel size and unit along an axis."""
    index = stack.axes.index(letter)
    number = stack.spacing[index]
    return None if number is None else (number, stack.units[index])


def near(expected: tuple[float, str] | None) -> tuple[Any, str] | None:
    """The same within the precision of a fraction of whole numbers."""
    return None if expected is None else (pytest.approx(expected[0]), expected[1])


@pytest.mark.parametrize(
    ("unit", "density", "unit_tag", "expected", "message"),
    [
        ("um", 1e5, "CENTIMETER", (0.1, "um"), "centimetre"),
        ("\\u00B5m", 1e5, "CENTIMETER", (0.1, "um"), "centimetre"),
        ("nm", 1e6, "CENTIMETER", (10, "nm"), "centimetre"),
        ("microns", 254000, "INCH", (0.1, "um"), "per inch"),
        ("mm", 254, "INCH", (0.1, "mm"), "per inch"),
        ("inch", 25400, "CENTIMETER", (1e4 / 25400, "um"), "centimetre"),
        ("cm", 1e5, "CENTIMETER", (0.1, "um"), ""),
        ("inch", 25400, "INCH", (1.0, "um"), ""),
        ("cm", 1e5, "NONE", (0.1, "um"), ""),
        ("micrometres", 10, "NONE", (0.1, "um"), ""),
        ("nanometers", 0.05, "NONE", (20, "nm"), ""),
        # a pixel of 2.5 mm is none of a microscope
        ("um", 10, "INCH", (0.1, "um"), "per inch"),
        # what programs write for screen and print
        ("inch", 72, "INCH", None, "print"),
        ("um", 300, "INCH", None, "print"),
        ("cm", 118.11, "CENTIMETER", None, "print"),
        ("pixel", 10, "NONE", None, ""),
        ("pixel", 1e5, "CENTIMETER", (0.1, "um"), "resolution tags"),
    ],
)
def test_imagej_unit_and_resolution_unit(
    tmp_path: Path,
    unit: str,
    density: float,
    unit_tag: str,
    expected: tuple[float, str] | None,
    message: str,
) -> None:
    stack = imagej(
        tmp_path / "a.tif", unit=unit, resolution=(density,) * 2, unit_tag=unit_tag
    )
    for letter in "YX":
        assert size(stack, letter) == near(expected)
    assert len(stack.messages) == bool(message)
    assert message in "".join(stack.messages)


@pytest.mark.parametrize(
    ("metadata", "expected", "message"),
    [
        ({"unit": "um", "spacing": 0.5}, (0.5, "um"), ""),
        ({"unit": "um", "spacing": -0.5}, (0.5, "um"), ""),
        ({"unit": "um"}, (1.0, "um"), "read as 1 µm"),
        ({"unit": "nm"}, (1.0, "nm"), "read as 1 nm"),
        ({"unit": "inch", "spacing": 0.001}, (25.4, "um"), ""),
        ({"unit": "um", "zunit": "nm", "spacing": 300}, (300.0, "nm"), ""),
        ({"unit": "um", "spacing": 0}, None, ""),
        ({"unit": "pixel"}, None, ""),
        ({}, None, ""),
    ],
)
def test_imagej_distance_of_slices(
    tmp_path: Path,
    metadata: dict[str, Any],
    expected: tuple[float, str] | None,
    message: str,
) -> None:
    stack = imagej(tmp_path / "a.tif", STACK, axes="ZYX", **metadata)
    assert size(stack, "Z") == near(expected)
    assert message in "".join(stack.messages)
    assert len(stack.messages) == bool(message)


@pytest.mark.parametrize(
    ("metadata", "expected", "message"),
    [
        ({"finterval": 2.5}, (2.5, "s"), ""),
        ({"finterval": 2.5, "fps": 7}, (2.5, "s"), ""),
        ({"finterval": 40, "tunit": "msec"}, (40.0, "ms"), ""),
        ({"finterval": 3, "tunit": "mins"}, (3.0, "min"), ""),
        ({"fps": 7}, None, "playback speed"),
        ({"finterval": 0}, None, ""),
    ],
)
def test_imagej_time_step(
    tmp_path: Path,
    metadata: dict[str, Any],
    expected: tuple[float, str] | None,
    message: str,
) -> None:
    stack = imagej(tmp_path / "a.tif", STACK, axes="TYX", **metadata)
    assert size(stack, "T") == expected
    assert message in "".join(stack.messages)


def test_imagej_kymograph(tmp_path: Path) -> None:
    stack = imagej(tmp_path / "a.tif", unit="um", yunit="sec", resolution=(10, 2))
    assert (size(stack, "Y"), size(stack, "X")) == ((0.5, "s"), (0.1, "um"))


def test_imagej_origin_is_counted_in_pixels(tmp_path: Path) -> None:
    metadata = {"unit": "um", "spacing": 2.0, "xorigin": 10, "zorigin": -1.5}
    stack = imagej(tmp_path / "a.tif", STACK, axes="ZYX", **metadata)
    assert stack.origin == (3.0, 0.0, -2.5)
    stack = imagej(tmp_path / "b.tif", unit="um", yorigin=4, inverty="true")
    assert stack.origin == ()


def table(red: int, green: int, blue: int, *, inverted: bool = False) -> Array:
    """A lookup table that rises to a colour."""
    ramp = np.linspace(0, 1, 256)[:: -1 if inverted else 1]
    return np.outer((red, green, blue), ramp).round().astype(np.uint8)


GREEN, MAGENTA, WHITE = 0x00FF00FF, 0xFF00FFFF - 2**32, -1


@pytest.mark.parametrize(
    ("data", "axes", "tables", "colors"),
    [
        (PLANE, "YX", [table(0, 255, 0)], [GREEN]),
        ((PLANE // 16).astype("u1"), "YX", [table(255, 0, 255)], [MAGENTA]),
        (STACK, "TYX", [table(0, 255, 0)], [GREEN]),
        (STACK, "ZYX", [table(255, 0, 255)], [MAGENTA]),
        (STACK[:2], "CYX", [table(0, 255, 0), table(255, 0, 255)], [GREEN, MAGENTA]),
        (PLANE, "YX", [table(255, 255, 255, inverted=True)], [WHITE]),
        (STACK[:3], "CYX", [table(0, 255, 0)], []),
        (STACK[:3], "CYX", [table(0, 255, 0)] * 2, []),
    ],
)
def test_imagej_lookup_tables(
    tmp_path: Path, data: Array, axes: str, tables: list[Array], colors: list[int]
) -> None:
    stack = imagej(tmp_path / "a.tif", data, axes=axes, LUTs=tables)
    np.testing.assert_array_equal(stack.data, data)
    assert [channel.color for channel in stack.channels] == colors


SIGNED = {"cf": 0, "c0": -32768.0, "c1": 1.0, "vunit": "Gray Value"}


@pytest.mark.parametrize("lazy", [False, True])
@pytest.mark.parametrize("byteorder", ["<", ">"])
def test_imagej_signed_pixels(tmp_path: Path, lazy: bool, byteorder: Any) -> None:
    values = RNG.integers(-32768, 32768, STACK.shape).astype(np.int16)
    stored = (values.astype(np.int32) + 32768).astype(np.uint16)
    path = tmp_path / "a.tif"
    tifffile.imwrite(
        path,
        stored,
        imagej=True,
        byteorder=byteorder,
        metadata={"axes": "ZYX"} | SIGNED,
    )
    stack = read(path, lazy=lazy)
    assert stack.data.dtype == np.int16
    np.testing.assert_array_equal(stack.data[...], values)
    np.testing.assert_array_equal(stack.data[2, 3:5], values[2, 3:5])
    assert "signed" in stack.messages[0]


@pytest.mark.parametrize(
    ("data", "metadata", "message"),
    [
        (PLANE.astype(np.int16), SIGNED, ""),
        (PLANE, {"cf": 0, "c0": 0.0, "c1": 1.0, "vunit": "Gray Value"}, ""),
        (
            PLANE,
            {"cf": 0, "c0": 5.0, "c1": 0.5, "vunit": "kPa"},
            "(kPa) was not applied",
        ),
        (PLANE, {"cf": 21, "vunit": "Uncalibrated OD"}, "not applied"),
        (PLANE, {"cf": 3, "c0": 1.0, "c1": 2.0, "c2": 3.0}, "not applied"),
        (PLANE.astype(np.float32), {"vunit": "kPa"}, ""),
    ],
)
def test_imagej_calibrated_values_stay_as_stored(
    tmp_path: Path, data: Array, metadata: dict[str, Any], message: str
) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, data, metadata=None, description=text_of_imagej(metadata))
    stack = read(path)
    np.testing.assert_array_equal(stack.data, data)
    assert stack.data.dtype == data.dtype
    assert message in "".join(stack.messages)
    assert len(stack.messages) == bool(message)


def text_of_imagej(metadata: dict[str, Any]) -> str:
    lines = [f"{key}={value}" for key, value in metadata.items()]
    return "\n".join(["ImageJ=1.54f", *lines, ""])


@pytest.mark.parametrize(
    ("density", "unit_tag", "expected"),
    [
        (1e5, "CENTIMETER", 0.1),
        (40000, "CENTIMETER", 0.25),
        (100, "CENTIMETER", 100.0),
        (28.35, "CENTIMETER", None),
        (28, "CENTIMETER", None),
        (37.8, "CENTIMETER", None),
        (118.11, "CENTIMETER", None),
        (236, "CENTIMETER", None),
        (2, "CENTIMETER", None),
        (254000, "INCH", None),
        (72, "INCH", None),
        (10, "NONE", None),
    ],
)
def test_resolution_tags_alone(
    tmp_path: Path, density: float, unit_tag: str, expected: float | None
) -> None:
    path = tmp_path / "a.tif"
    tags: dict[str, Any] = {"resolution": (density,) * 2, "resolutionunit": unit_tag}
    tifffile.imwrite(path, PLANE, metadata=None, **tags)
    stack = read(path)
    assert size(stack, "X") == (expected and (pytest.approx(expected), "um"))
    assert len(stack.messages) == (expected is not None)


@pytest.mark.parametrize(
    ("metadata", "tags", "spacing"),
    [
        ({"unit": "um", "spacing": 0.5}, {"resolution": (10, 5)}, (0.5, 0.2, 0.1)),
        (
            {"unit": "um", "spacing": 0.5},
            {"resolution": (1e5, 5e4), "resolutionunit": "CENTIMETER"},
            (0.5, 0.2, 0.1),
        ),
        (
            {"unit": "um"},
            {"resolution": (4, 4), "resolutionunit": "NONE"},
            (None, 0.25, 0.25),
        ),
        ({"unit": "um", "spacing": 0.5}, {}, (0.5, None, None)),
        (
            {
                "PhysicalSizeX": 100,
                "PhysicalSizeXUnit": "nm",
                "PhysicalSizeY": 0.2,
                "PhysicalSizeZ": 0.5,
            },
            {},
            (0.5, 0.2, 100),
        ),
        ({"PhysicalSizeX": 7, "PhysicalSizeXUnit": "pixel"}, {}, (None,) * 3),
        ({"spacing": 0.5}, {"resolution": (10, 5)}, (None,) * 3),
    ],
)
def test_json_of_tifffile(
    tmp_path: Path,
    metadata: dict[str, Any],
    tags: dict[str, Any],
    spacing: tuple[float | None, ...],
) -> None:
    path = tmp_path / "a.tif"
    about = {"axes": "ZYX"} | metadata
    tifffile.imwrite(path, STACK, photometric="minisblack", metadata=about, **tags)
    assert read(path).spacing == pytest.approx(spacing)


def test_json_of_the_series_that_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    with tifffile.TiffWriter(path) as file:
        about: dict[str, Any] = {"axes": "YX", "PhysicalSizeX": 9.0}
        file.write(PLANE[:8, :8], metadata=about)
        about = {"axes": "CYX", "PhysicalSizeX": 0.5, "finterval": 2}
        about["Channel"] = {"Name": ["DNA", "actin"]}
        file.write(STACK[:2], photometric="minisblack", metadata=about)
    stack = read(path)
    assert stack.spacing == (None, None, 0.5)
    assert [channel.name for channel in stack.channels] == ["DNA", "actin"]


@dataclass(frozen=True, kw_only=True)
class MicroManagerStack:
    """Sizes and texts of a Micro-Manager stack file."""

    frames: int = 2
    positions: int = 1
    channels: int = 1
    slices: int = 1
    summary: dict[str, Any]
    ome: str = ""
    imagej: str = "ImageJ=1.49h\nunit=um\n"

    @property
    def keys(self) -> list[tuple[int, int, int, int]]:
        """Channel, slice, frame and position of each page, in their order."""
        return [
            (c, z, t, p)
            for t in range(self.frames)
            for p in range(self.positions)
            for z in range(self.slices)
            for c in range(self.channels)
        ]


def write_micromanager(path: Path, stack: MicroManagerStack) -> Path:
    """A stack file of Micro-Manager: summary first, pixels right behind each IFD."""
    summary = json.dumps(
        {
            "MicroManagerVersion": "1.4.22",
            "Frames": stack.frames,
            "Positions": stack.positions,
            "Channels": stack.channels,
            "Slices": stack.slices,
        }
        | stack.summary
    ).encode()
    body = bytearray(32) + struct.pack("<II", 2355492, len(summary)) + summary
    body[:4] = b"II*\0"
    link, offsets = 4, []
    for number in range(len(stack.keys)):
        texts = [stack.ome, stack.imagej] if number == 0 else []
        offsets.append(_append_page(body, [text for text in texts if text]))
        struct.pack_into("<I", body, link, offsets[-1])
        link = offsets[-1] + 2 + 12 * struct.unpack_from("<H", body, offsets[-1])[0]
    struct.pack_into("<II", body, 8, 54773648, len(body))
    body += struct.pack("<II", 3453623, len(offsets))
    for key, offset in zip(stack.keys, offsets, strict=True):
        body += struct.pack("<5I", *key, offset)
    path.write_bytes(body)
    return path


def _append_page(body: bytearray, texts: Sequence[str]) -> int:
    height, width = PLANE.shape
    values = []
    for text in texts:
        values.append((270, 2, len(text) + 1, len(body)))
        body += text.encode() + b"\0"
    body += bytes(len(body) % 2)
    about = b'{"a": 1}\0'
    values += [(282, 5, 1, len(body)), (283, 5, 1, len(body))]
    values += [(51123, 2, len(about), len(body) + 8)]
    body += struct.pack("<II", 100000, 1) + about
    body += bytes(len(body) % 2)
    values += [(256, 4, 1, width), (257, 4, 1, height), (258, 3, 1, 16)]
    values += [(259, 3, 1, 1), (262, 3, 1, 1), (277, 3, 1, 1), (278, 4, 1, height)]
    values += [(279, 4, 1, PLANE.nbytes), (296, 3, 1, 3)]
    offset, count = len(body), len(values) + 1
    values.append((273, 4, 1, offset + 2 + 12 * count + 4))
    body += struct.pack("<H", count)
    for value in sorted(values, key=lambda value: value[0]):
        body += struct.pack("<HHII", *value)
    body += bytes(4) + PLANE.tobytes()
    return offset


def micromanager_images(*sizes: float, frames: int = 2) -> str:
    """OME-XML with an image without pixels first and positions in reversed order."""
    images = ['<Image ID="Image:9" Name="snap"/>']
    count = len(sizes)
    for position in reversed(range(count)):
        blocks = "".join(
            f'<TiffData FirstT="{t}" IFD="{t * count + position}" PlaneCount="1"/>'
            for t in range(frames)
        )
        images.append(
            f'<Image ID="Image:{position}" Name="Pos{position}"><Pixels SizeX="30" '
            f'SizeY="20" SizeZ="1" SizeC="1" SizeT="{frames}" Type="uint16" '
            f'DimensionOrder="XYCZT" PhysicalSizeX="{sizes[position]}" '
            f'PhysicalSizeY="{sizes[position]}"><Channel Name="DAPI"/>{blocks}'
            "</Pixels></Image>"
        )
    return (
        '<?xml version="1.0"?><OME xmlns="http://x/OME">' + "".join(images) + "</OME>"
    )


def metadata_of(path: Path, position: int | None = None) -> Calibration:
    """Calibration of a file's first series, or of one position of it."""
    with open_tiff(path) as file:
        series = file.series[0]
        if position is not None:
            assert series.axes.startswith("TR")
            pages = [series[t * series.shape[1] + position] for t in range(2)]
            series = tifffile.TiffPageSeries(
                pages, (2, 20, 30), series.dtype, "TYX", parent=file, kind=series.kind
            )
        return calibration(file, series)


@pytest.mark.parametrize(
    ("summary", "spacing"),
    [
        (
            {"PixelSize_um": 0.2, "z-step_um": 0.5, "Interval_ms": 5000},
            {"T": 5000, "Z": 0.5, "Y": 0.2, "X": 0.2},
        ),
        ({"PixelSize_um": 0.2, "z-step_um": 0, "Interval_ms": 0}, {"Y": 0.2, "X": 0.2}),
        # nothing but ImageJ's text and the tags: 100000 per centimetre
        ({"PixelSize_um": 0}, {"Y": 0.1, "X": 0.1}),
    ],
)
def test_summary_of_micromanager(
    tmp_path: Path, summary: dict[str, Any], spacing: dict[str, float]
) -> None:
    stack = MicroManagerStack(summary=summary)
    found = metadata_of(write_micromanager(tmp_path / "a_MMStack.tif", stack))
    assert found.spacing == pytest.approx(spacing)
    assert found.units == {k: "ms" if k == "T" else "um" for k in spacing}


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["GFP", "mCherry"], ["GFP", "mCherry"]),
        ('["GFP","mCherry"]', ["GFP", "mCherry"]),
        (["GFP"], []),
        ("GFP", []),
    ],
)
def test_channel_names_of_micromanager(
    tmp_path: Path, names: Any, expected: list[str]
) -> None:
    stack = MicroManagerStack(channels=2, summary={"ChNames": names})
    path = write_micromanager(tmp_path / "a_MMStack.tif", stack)
    assert [c.name for c in metadata_of(path).channels] == expected


@pytest.mark.parametrize("position", [0, 1, 2])
def test_positions_of_micromanager(tmp_path: Path, position: int) -> None:
    stack = MicroManagerStack(
        positions=3, summary={}, ome=micromanager_images(0.1, 0.2, 0.3)
    )
    path = write_micromanager(tmp_path / "a_MMStack.ome.tif", stack)
    found = metadata_of(path, position)
    assert found.name == f"Pos{position}"
    assert found.spacing["X"] == pytest.approx(0.1 + 0.1 * position)
    assert [c.name for c in found.channels] == ["DAPI"]


def test_summary_comes_before_ome_and_ome_before_imagej(tmp_path: Path) -> None:
    """Its names excepted, since OME-XML says more of channels."""
    summary = {"Interval_ms": 250, "ChNames": ["Ch0"]}
    stack = MicroManagerStack(summary=summary, ome=micromanager_images(0.4))
    found = metadata_of(write_micromanager(tmp_path / "a_MMStack.ome.tif", stack))
    assert [c.name for c in found.channels] == ["DAPI"]
    assert found.spacing == {"T": 250, "Y": 0.4, "X": 0.4}


def with_tag(
    path: Path, code: int, value: bytes, kind: int = 7, **options: Any
) -> Path:
    """A TIFF of one plane with a tag of bytes."""
    tags = [(code, kind, len(value), value, True)]
    tifffile.imwrite(path, PLANE, metadata=None, extratags=tags, **options)
    return path


def test_fei(tmp_path: Path) -> None:
    text = (
        b"[Beam]\r\nHV=5000\r\n[Scan]\r\nPixelWidth=7.7e-009\r\nPixelHeight=8e-009\r\n"
    )
    stack = read(with_tag(tmp_path / "a.tif", 34682, text, 2))
    assert size(stack, "Y") == (pytest.approx(8), "nm")
    assert size(stack, "X") == (pytest.approx(7.7), "nm")


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (["AP_PIXEL_SIZE", "Pixel Size = 5.5 nm"], (5.5, "nm")),
        (["AP_PIXEL_SIZE", "Pixel Size = 1.1 \u00b5m"], (1.1, "um")),
        (
            [
                *("AP_PIXEL_SIZE", "Pixel Size = 5.5 nm"),
                *("AP_IMAGE_PIXEL_SIZE", "Image Pixel Size = 11 nm"),
            ],
            (11.0, "nm"),
        ),
        (["AP_WD", "WD = 5 mm"], None),
    ],
)
def test_zeiss_sem(
    tmp_path: Path, lines: list[str], expected: tuple[float, str] | None
) -> None:
    text = "\r\n".join(["1", *lines, ""]).encode("cp1252")
    assert size(read(with_tag(tmp_path / "a.tif", 34118, text)), "X") == expected


def lsm_info(**values: Any) -> bytes:
    """Zeiss's structure of the microscope's settings."""
    info = np.zeros((), np.dtype([(n, f"<{t}") for n, t in tifffile.TIFF.CZ_LSMINFO]))
    for key, value in values.items():
        info[key] = value
    return info.tobytes()


def test_zeiss_lsm(tmp_path: Path) -> None:
    settings: dict[str, Any] = {"MagicNumber": 0x0400494C, "DataType": 2}
    settings |= {"DimensionX": 30, "DimensionY": 20, "DimensionZ": 1}
    settings |= {"DimensionChannels": 1, "DimensionTime": 4, "ScanType": 3}
    settings |= {"VoxelSizeX": 1e-7, "VoxelSizeY": 2e-7, "VoxelSizeZ": 5e-7}
    settings["StructureSize"] = len(lsm_info())
    stamps = struct.pack("<ii4d", 40, 4, 10.0, 12.0, 14.5, 16.5)
    colors = struct.pack("<6I", 40, 1, 1, 24, 28, 0) + bytes([0, 255, 0, 0])
    colors += struct.pack("<I", 4) + b"GFP\0" + bytes(4)
    path = tmp_path / "a.lsm"
    for _ in range(2):  # the second time the places of the parts are known
        blob = lsm_info(**settings)
        with tifffile.TiffWriter(path) as file:
            for number, plane in enumerate(STACK[:4]):
                tags = [(34412, 1, len(blob), blob, True)] if number == 0 else []
                tags += [(65000, 7, len(stamps), stamps, True)] if number == 0 else []
                tags += [(65001, 7, len(colors), colors, True)] if number == 0 else []
                file.write(plane, metadata=None, extratags=tags)
                small = (plane[::4, ::4] // 16).astype(np.uint8)
                file.write(small, subfiletype=1, metadata=None)
        content = path.read_bytes()
        settings["OffsetTimeStamps"] = content.index(stamps)
        settings["OffsetChannelColors"] = content.index(colors)
    stack = read(path)
    assert stack.axes == "TYX"
    assert stack.spacing == pytest.approx((2.0, 0.2, 0.1))
    assert stack.units == ("s", "um", "um")
    assert stack.channels == (Channel(name="GFP", color=GREEN),)


def stk(path: Path, calibrated: int, unit: bytes, z: int) -> Path:
    """A stack of MetaMorph with its UIC tags."""
    values = struct.pack("<4I", 645, 1000, 650, 1000)
    values += struct.pack("<I", len(unit) + 1) + unit + b"\0"
    planes = b"".join(
        struct.pack("<6I", z, 10, 2453736, 1000 + 400 * n, 2453736, 0) for n in range(6)
    )
    place = 8
    for _ in range(2):
        entries = [(3, calibrated), (4, place), (5, place + 8), (6, place + 16)]
        uic1 = b"".join(struct.pack("<II", *entry) for entry in entries)
        tags = [
            (33629, 5, 18, planes, True),
            (65000, 7, len(values), values, True),
            (33628, 4, 8, uic1, True),
        ]
        tifffile.imwrite(path, STACK, metadata=None, extratags=tags)
        place = path.read_bytes().index(values)
    content = bytearray(path.read_bytes())
    # MetaMorph counts planes, not numbers
    for code, kind, count, right in ((33629, 5, 36, 6), (33628, 4, 8, 4)):
        at = content.index(struct.pack("<HHI", code, kind, count))
        struct.pack_into("<I", content, at + 4, right)
    path.write_bytes(content)
    return path


@pytest.mark.parametrize(
    ("calibrated", "unit", "z", "expected"),
    [
        (1, b"um", 3, {"Z": (0.3, "um"), "Y": (0.65, "um"), "X": (0.645, "um")}),
        (1, b"microns", 0, {"T": (0.4, "s"), "Y": (0.65, "um"), "X": (0.645, "um")}),
        (0, b"um", 3, {"Z": (0.3, "um"), "Y": None, "X": None}),
        (1, b"pixel", 3, {"Z": (0.3, "um"), "Y": None, "X": None}),
    ],
)
def test_metamorph_stack(
    tmp_path: Path, calibrated: int, unit: bytes, z: int, expected: dict[str, Any]
) -> None:
    stack = read(stk(tmp_path / "a.stk", calibrated, unit, z))
    np.testing.assert_array_equal(stack.data, STACK)
    for letter, known in expected.items():
        assert size(stack, letter) == near(known)


@pytest.mark.parametrize(
    ("state", "unit", "expected"),
    [("on", "um", (0.32, "um")), ("on", "pixel", None), ("off", "um", None)],
)
def test_metaseries(
    tmp_path: Path, state: str, unit: str, expected: tuple[float, str] | None
) -> None:
    entries = [("spatial-calibration-state", "bool", state)]
    entries += [(f"spatial-calibration-{k}", "float", "0.32") for k in "xy"]
    entries += [("spatial-calibration-units", "string", unit)]
    entries += [("_IllumSetting_", "string", "FITC")]
    props = "".join(
        f'<prop id="{name}" type="{kind}" value="{value}"/>'
        for name, kind, value in entries
    )
    text = f"<MetaData><PlaneInfo>{props}</PlaneInfo></MetaData>"
    path = tmp_path / "a.tif"
    options: dict[str, Any] = {"software": "MetaSeries", "metadata": None}
    tifffile.imwrite(path, PLANE, description=text, **options)
    assert size(read(path), "X") == expected


def test_malformed_metadata_of_an_instrument(tmp_path: Path) -> None:
    path, text = tmp_path / "a.tif", "<MetaData><PlaneInfo></MetaData>"
    tifffile.imwrite(
        path, PLANE, description=text, software="MetaSeries", metadata=None
    )
    stack = read(path)
    np.testing.assert_array_equal(stack.data, PLANE)
    assert "metaseries" in stack.messages[0]


def test_olympus_sis(tmp_path: Path) -> None:
    place = 8
    for _ in range(2):
        block = struct.pack("<10xhdd8xd2x34s32s", -6, 0.25, 0.3, 40.0, b"cam", b"")
        head = struct.pack("<4s6xhhhhh6x32sH", b"SIS0", 1, 1, 1, 1, 120, b"image", 1)
        head += struct.pack("<hhI", 1, 1, place) + block
        path = with_tag(tmp_path / "a.tif", 33560, head)
        place = path.read_bytes().index(block)
    stack = read(path)
    assert size(stack, "Y") == (pytest.approx(0.3), "um")
    assert size(stack, "X") == (pytest.approx(0.25), "um")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Aperio Image Library v11\r\n30x20|AppMag = 40|MPP = 0.2525", (0.2525, "um")),
        ("Aperio Image Library v11\r\n30x20|AppMag = 40", None),
    ],
)
def test_aperio(tmp_path: Path, text: str, expected: tuple[float, str] | None) -> None:
    path = tmp_path / "a.svs"
    tifffile.imwrite(path, PLANE, description=text, tile=(16, 16), metadata=None)
    assert size(read(path), "X") == expected


def test_hamamatsu(tmp_path: Path) -> None:
    tags: Any = [(65420, 4, 1, 1, True), (271, 2, 0, "Hamamatsu", True)]
    options: Any = {"resolution": (43478, 43478), "resolutionunit": "CENTIMETER"}
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, PLANE, metadata=None, extratags=tags, **options)
    assert size(read(path), "X") == (pytest.approx(0.23, rel=1e-4), "um")


def test_scanimage(tmp_path: Path) -> None:
    settings = [
        "SI.hChannels.channelSave = 1",
        "SI.hStackManager.framesPerSlice = 1",
        "SI.hStackManager.stackZStepSize = 2.5",
        "SI.hRoiManager.imagingFovUm = [-60 -50;60 -50;60 50;-60 50]",
        "SI.hRoiManager.scanFramePeriod = 0.05",
    ]
    path = tmp_path / "a.tif"
    text: Any = {"software": "\n".join(settings), "description": "frameNumbers = 1"}
    tifffile.imwrite(path, STACK, metadata=None, **text)
    stack = read(path)
    assert stack.axes == "ZYX"
    assert stack.spacing == pytest.approx((2.5, 5.0, 4.0))


def set_xml(count: int = 2) -> str:
    """OME-XML of a set of files with two slices in each."""
    blocks = "".join(
        f'<TiffData FirstZ="{2 * n + k}" IFD="{k}" PlaneCount="1">'
        f'<UUID FileName="z{n}.ome.tif">urn:uuid:{n}</UUID></TiffData>'
        for n in range(count)
        for k in range(2)
    )
    return (
        f'<OME {NAMESPACE} UUID="urn:uuid:9"><Image ID="Image:0" Name="set">'
        f'<Pixels ID="Pixels:0" DimensionOrder="XYZCT" Type="uint16" SizeX="30" '
        f'SizeY="20" SizeZ="{2 * count}" SizeC="1" SizeT="1" PhysicalSizeX="0.3" '
        f'PhysicalSizeZ="2"><Channel ID="Channel:0:0" Name="DAPI"/>{blocks}'
        "</Pixels></Image></OME>"
    )


def write_set(folder: Path, xml_name: str, members: Sequence[int] = (0, 1)) -> None:
    for n in members:
        xml = (
            f'<OME {NAMESPACE} UUID="urn:uuid:{n}"><BinaryOnly '
            f'MetadataFile="{xml_name}" UUID="urn:uuid:9"/></OME>'
        )
        tifffile.imwrite(
            folder / f"z{n}.ome.tif",
            STACK[2 * n : 2 * n + 2],
            photometric="minisblack",
            description=xml,
            metadata=None,
        )


def check_set(stack: ImageStack) -> None:
    assert stack.axes == "ZYX"
    np.testing.assert_array_equal(stack.data[...], STACK[:4])
    assert stack.spacing == (2.0, None, 0.3)
    assert [channel.name for channel in stack.channels] == ["DAPI"]


@pytest.mark.parametrize("lazy", [False, True])
@pytest.mark.parametrize("name", ["set.companion.ome", "z0.ome.tif", "z1.ome.tif"])
def test_a_set_opens_as_a_whole(tmp_path: Path, name: str, lazy: bool) -> None:
    write_set(tmp_path, "set.companion.ome")
    (tmp_path / "set.companion.ome").write_text(set_xml())
    stack = read(tmp_path / name, lazy=lazy)
    check_set(stack)
    assert stack.name == name.split(".")[0]
    assert "opened together" in stack.messages[0]


def test_a_set_whose_xml_is_in_a_member(tmp_path: Path) -> None:
    write_set(tmp_path, "z0.ome.tif", [1])
    options: Any = {"photometric": "minisblack", "metadata": None}
    xml = set_xml().replace("urn:uuid:9", "urn:uuid:0")
    tifffile.imwrite(tmp_path / "z0.ome.tif", STACK[:2], description=xml, **options)
    for name in ("z0.ome.tif", "z1.ome.tif"):
        check_set(read(tmp_path / name))


@pytest.mark.parametrize(
    ("name", "companion", "members", "words"),
    [
        ("z0.ome.tif", None, (0, 1), r"set\.companion\.ome is not beside it"),
        ("set.companion.ome", set_xml(), (), r"z0\.ome\.tif and others.*one folder"),
        ("set.companion.ome", set_xml(), (0,), r"z1\.ome\.tif"),
        ("z0.ome.tif", set_xml(), (0,), r"z1\.ome\.tif"),
        ("set.companion.ome", "<OME", (0, 1), "cannot be read as OME-XML"),
        ("set.companion.ome", "<html/>", (0, 1), "not OME-XML"),
    ],
)
def test_a_set_with_gaps_is_refused(
    tmp_path: Path,
    name: str,
    companion: str | None,
    members: tuple[int, ...],
    words: str,
) -> None:
    write_set(tmp_path, "set.companion.ome", members)
    if companion is not None:
        (tmp_path / "set.companion.ome").write_text(companion)
    with pytest.raises(InputError, match=words):
        read(tmp_path / name)


@pytest.mark.parametrize("lazy", [False, True])
@pytest.mark.parametrize("stated", [(99, 99), (20, 15), (10, 30), (30, 20)])
def test_the_pages_win_over_stale_sizes(
    tmp_path: Path, stated: tuple[int, int], lazy: bool
) -> None:
    path = tmp_path / "a.ome.tif"
    metadata = {"axes": "CZYX", "PhysicalSizeX": 0.5}
    tifffile.imwrite(path, STACK.reshape(2, 3, 20, 30), metadata=metadata)
    xml = tifffile.tiffcomment(path)
    assert xml is not None
    stale = xml.replace('SizeX="30"', f'SizeX="{stated[1]}"')
    stale = stale.replace('SizeY="20"', f'SizeY="{stated[0]}"')
    tifffile.tiffcomment(path, stale.encode())
    stack = read(path, lazy=lazy)
    np.testing.assert_array_equal(stack.data[...], STACK.reshape(2, 3, 20, 30))
    assert (stack.axes, stack.spacing[-1]) == ("CZYX", 0.5)
    assert f"{stated[0]} × {stated[1]}" in stack.messages[0]


def test_a_page_that_two_images_claim_stays_with_the_one_that_fits(
    tmp_path: Path,
) -> None:
    path = tmp_path / "a.ome.tif"
    tifffile.imwrite(path, PLANE, metadata={"axes": "YX", "PhysicalSizeX": 0.5})
    xml = tifffile.tiffcomment(path)
    assert xml is not None
    image = xml[xml.index("<Image ") : xml.index("</Image>") + len("</Image>")]
    other = image.replace('SizeX="30"', 'SizeX="8"').replace('"0.5"', '"7"')
    tifffile.tiffcomment(path, xml.replace(image, other + image).encode())
    stack = read(path)
    np.testing.assert_array_equal(stack.data, PLANE)
    assert size(stack, "X") == (0.5, "um")
