from __future__ import annotations

import builtins
import hashlib
import importlib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import tifffile
import zarr
from PIL import Image

from napari_zssr.errors import InputError
from napari_zssr.io.read import read
from napari_zssr.stack.image import Channel

RNG = np.random.default_rng(0)
GREY = RNG.integers(0, 60000, (20, 30), dtype=np.uint16)
STACK = RNG.integers(0, 60000, (6, 20, 30), dtype=np.uint16)
HYPER = RNG.integers(0, 60000, (2, 5, 3, 20, 30), dtype=np.uint16)
RGB = RNG.integers(0, 255, (20, 30, 3), dtype=np.uint8)


def imagej(path: Path, data: np.ndarray[Any, Any], **metadata: Any) -> Path:
    resolution = metadata.pop("resolution", (4.0, 5.0))
    tifffile.imwrite(path, data, imagej=True, resolution=resolution, metadata=metadata)
    return path


def test_imagej_hyperstack(tmp_path: Path) -> None:
    path = imagej(
        tmp_path / "a.tif",
        HYPER,
        axes="TZCYX",
        unit="micron",
        spacing=0.5,
        finterval=2.5,
        LUTs=[np.stack([np.arange(256, dtype=np.uint8)] * 3)] * 3,
    )
    stack = read(path)
    np.testing.assert_array_equal(stack.data, HYPER)
    assert stack.axes == "TZCYX"
    assert not stack.guessed
    assert stack.spacing == (2.5, 0.5, None, 0.2, 0.25)
    assert stack.units == ("s", "um", None, "um", "um")
    assert [c.color for c in stack.channels] == [-1] * 3
    assert stack.name == "a"
    assert stack.source == str(path)
    assert stack.checksum == hashlib.sha256(path.read_bytes()).hexdigest()[:16]


@pytest.mark.parametrize(
    ("unit", "short", "size"),
    [
        ("\\u00B5m", "um", 0.25),
        ("nm", "nm", 0.25),
        ("pixel", None, None),
        ("inch", "um", 6350.0),
    ],
)
def test_imagej_units(
    tmp_path: Path, unit: str, short: str | None, size: float | None
) -> None:
    stack = read(imagej(tmp_path / "a.tif", GREY, unit=unit))
    assert stack.axes == "YX"
    assert (stack.spacing[1], stack.units[1]) == (size, short)


def test_imagej_labels_name_the_channels(tmp_path: Path) -> None:
    names = ["dna", "actin"]
    path = imagej(tmp_path / "a.tif", STACK[:2], axes="CYX", Labels=names)
    assert [c.name for c in read(path).channels] == names


def test_ome_tiff(tmp_path: Path) -> None:
    path = tmp_path / "cell.ome.tif"
    tifffile.imwrite(
        path,
        STACK[:2],
        metadata={
            "axes": "CYX",
            "PhysicalSizeX": 100.0,
            "PhysicalSizeXUnit": "nm",
            "PhysicalSizeY": 0.2,
            "Channel": [
                {
                    "Name": "DNA",
                    "EmissionWavelength": 0.5,
                    "EmissionWavelengthUnit": "\u00b5m",
                    "Color": -16776961,
                },
                {"Name": "actin", "ExcitationWavelength": 561.0},
            ],
        },
    )
    stack = read(path)
    assert stack.axes == "CYX"
    assert stack.spacing == (None, 0.2, 100.0)
    assert stack.units == (None, "um", "nm")
    assert stack.name == "cell"
    assert stack.channels == (
        Channel(name="DNA", emission_nm=500.0, color=-16776961),
        Channel(name="actin", excitation_nm=561.0),
    )


def test_largest_series_and_its_own_metadata(tmp_path: Path) -> None:
    path = tmp_path / "two.ome.tif"
    with tifffile.TiffWriter(path, ome=True) as file:
        file.write(GREY[:8, :8], metadata={"axes": "YX", "PhysicalSizeX": 9.0})
        file.write(STACK, metadata={"axes": "TYX", "PhysicalSizeX": 0.5})
    stack = read(path)
    assert stack.axes == "TYX"
    assert stack.spacing == (None, None, 0.5)


@pytest.mark.parametrize(
    ("data", "axes", "guessed"),
    [(GREY, "YX", False), (STACK, "ZYX", True), (RGB, "YXS", False)],
)
@pytest.mark.parametrize("metadata", [None, {}])
def test_plain_tiff(
    tmp_path: Path,
    data: np.ndarray[Any, Any],
    axes: str,
    guessed: bool,
    metadata: dict[str, Any] | None,
) -> None:
    path = tmp_path / "a.tif"
    photometric = "rgb" if axes == "YXS" else "minisblack"
    tifffile.imwrite(
        path,
        data,
        photometric=photometric,
        metadata=metadata,
        resolution=(72, 72),
        resolutionunit="INCH",
        byteorder=">",
    )
    stack = read(path)
    np.testing.assert_array_equal(stack.data, data)
    assert stack.data.dtype.isnative
    assert (stack.axes, stack.guessed) == (axes, guessed)
    assert set(stack.spacing) == {None}


def test_overrides(tmp_path: Path) -> None:
    path = imagej(tmp_path / "a.tif", STACK, axes="ZYX", unit="nm", spacing=300.0)
    stack = read(path, axes="tyx", spacing={"X": 0.7})
    assert stack.axes == "TYX"
    assert stack.spacing == (None, 0.2, 0.7)
    assert stack.units == (None, "nm", "um")
    assert read(path, spacing=0.3).spacing == (300.0, 0.3, 0.3)
    with pytest.raises(InputError, match="4 axes"):
        read(path, axes="TZYX")


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_ome_zarr(tmp_path: Path, version: str) -> None:
    path = tmp_path / "a.ome.zarr"
    group = zarr.open_group(
        str(path), mode="w", zarr_format=2 if version == "0.4" else 3
    )
    data = STACK[:2, None]
    for level, part in enumerate((data, data[..., ::2, ::2])):
        group.create_array(str(level), data=part)
    axes = [
        {"name": "c", "type": "channel"},
        {"name": "z", "type": "space"},
        {"name": "y", "type": "space", "unit": "micrometer"},
        {"name": "x", "type": "space", "unit": "nanometer"},
    ]
    scale = [{"type": "scale", "scale": [1.0, 1.0, 0.25, 250.0]}]
    datasets = [
        {"path": str(level), "coordinateTransformations": scale} for level in (0, 1)
    ]
    omero = {"channels": [{"label": "DNA", "color": "00FF00"}, {"label": "actin"}]}
    told = {"multiscales": [{"axes": axes, "datasets": datasets}], "omero": omero}
    group.attrs.update(told if version == "0.4" else {"ome": told | {"version": "0.5"}})
    stack = read(path)
    np.testing.assert_array_equal(stack.data, data)
    assert stack.axes == "CZYX"
    assert stack.spacing == (None, None, 0.25, 250.0)
    assert stack.units == (None, None, "um", "nm")
    assert stack.channels == (
        Channel(name="DNA", color=0x00FF00FF),
        Channel(name="actin"),
    )
    assert stack.name == "a"
    assert len(stack.checksum) == 16


def test_plain_zarr_array(tmp_path: Path) -> None:
    array = zarr.create_array(str(tmp_path / "a.zarr"), data=STACK)
    assert array.shape == STACK.shape
    stack = read(tmp_path / "a.zarr")
    np.testing.assert_array_equal(stack.data, STACK)
    assert (stack.axes, stack.guessed) == ("ZYX", True)
    zarr.create_array(
        str(tmp_path / "b.zarr"), data=STACK, dimension_names=["time", "y", "x"]
    )
    assert read(tmp_path / "b.zarr").axes == "TYX"


def test_zarr_group_without_an_image(tmp_path: Path) -> None:
    zarr.open_group(str(tmp_path / "a.zarr"), mode="w").create_group("0")
    with pytest.raises(InputError, match="contains no image"):
        read(tmp_path / "a.zarr")


def palette(colours: bytes) -> Image.Image:
    picture = Image.fromarray(RGB[..., 0] % 4).convert("P")
    picture.putpalette(colours)
    return picture


@pytest.mark.parametrize(
    ("picture", "axes", "dtype"),
    [
        (Image.fromarray(RGB), "YXS", "u1"),
        (Image.fromarray(RGB[..., 0]), "YX", "u1"),
        (Image.fromarray(GREY), "YX", "u2"),
        (palette(bytes(range(12))), "YXS", "u1"),
        (palette(bytes(v for v in range(4) for _ in range(3))), "YX", "u1"),
        (Image.fromarray(RGB[..., :2].copy(), "LA"), "YXS", "u1"),
    ],
)
def test_png(tmp_path: Path, picture: Image.Image, axes: str, dtype: str) -> None:
    path = tmp_path / "a.png"
    picture.save(path)
    stack = read(path)
    assert (stack.axes, stack.data.dtype) == (axes, np.dtype(dtype))
    if picture.mode != "LA" and picture.mode != "P":
        np.testing.assert_array_equal(stack.data, np.asarray(picture))


def test_jpeg(tmp_path: Path) -> None:
    Image.fromarray(RGB).save(tmp_path / "a.jpg")
    assert read(tmp_path / "a.jpg").data.shape == RGB.shape


def broken_tiffs(folder: Path) -> list[Path]:
    """Truncated at several places, in several layouts."""
    kinds: list[dict[str, Any]] = [
        {"metadata": None},
        {"ome": True},
        {"imagej": True},
        {"compression": "zlib", "metadata": None},
    ]
    paths = []
    for number, kind in enumerate(kinds):
        whole = folder / f"{number}.tif"
        tifffile.imwrite(whole, STACK, **kind)
        content = whole.read_bytes()
        for part in (0.9, 0.4, 0.01, 0.001):
            path = folder / f"{number}_{part}.tif"
            path.write_bytes(content[: max(8, int(part * len(content)))])
            paths.append(path)
    return paths


def test_truncated_tiff_is_refused(tmp_path: Path) -> None:
    complaints = []
    for path in broken_tiffs(tmp_path):
        try:
            # all pixels may be there when only the last page's tags are lost
            np.testing.assert_array_equal(read(path).data, STACK)
        except InputError as error:
            complaints.append(str(error))
    assert len(complaints) >= 14
    assert all("damaged or incomplete" in text for text in complaints)


def test_missing_part_of_a_multi_file_ome_tiff(tmp_path: Path) -> None:
    path = tmp_path / "a.ome.tif"
    tifffile.imwrite(path, STACK[:2], metadata={"axes": "CYX"})
    with tifffile.TiffFile(path) as file:
        xml = file.ome_metadata
    assert xml
    elsewhere = (
        '<TiffData IFD="0" FirstC="0" PlaneCount="1"/>'
        '<TiffData IFD="0" FirstC="1" PlaneCount="1">'
        '<UUID FileName="b.ome.tif">urn:uuid:1</UUID></TiffData>'
    )
    xml = xml.replace('<TiffData IFD="0" PlaneCount="2"/>', elsewhere)
    tifffile.imwrite(path, STACK[0], description=xml.encode(), metadata=None)
    with pytest.raises(InputError, match=r"incomplete .*b\.ome\.tif"):
        read(path)


def test_truncated_png_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    Image.fromarray(GREY).save(path)
    path.write_bytes(path.read_bytes()[:300])
    with pytest.raises(InputError, match="damaged"):
        read(path)


def test_not_images(tmp_path: Path) -> None:
    (tmp_path / "text.tif").write_text("hello there")
    (tmp_path / "none.tif").touch()
    (tmp_path / "broken.zarr").mkdir()
    (tmp_path / "broken.zarr" / "zarr.json").write_text("{")
    for name, word in (
        ("missing.tif", "does not exist"),
        ("text.tif", "not an image"),
        ("none.tif", "empty"),
        ("", "is a folder"),
        ("broken.zarr", "cannot be read"),
    ):
        with pytest.raises(InputError, match=word):
            read(tmp_path / name)


@pytest.mark.parametrize(("dtype", "word"), [(bool, "boolean"), (complex, "complex")])
def test_refused_types(tmp_path: Path, dtype: type, word: str) -> None:
    tifffile.imwrite(tmp_path / "a.tif", GREY.astype(dtype))
    with pytest.raises(InputError, match=word):
        read(tmp_path / "a.tif")


def test_wide_colour_png_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    Image.fromarray(RGB).save(path)
    content = bytearray(path.read_bytes())
    content[24] = 16
    path.write_bytes(bytes(content))
    with pytest.raises(InputError, match="16-bit colour"):
        read(path)


def test_vendor_format_names_the_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.czi").write_bytes(b"ZISRAWFILE")

    def refuse(name: str) -> None:
        raise builtins.ModuleNotFoundError(name)

    monkeypatch.setattr(importlib, "import_module", refuse)
    with pytest.raises(InputError, match=r"napari-zssr\[formats\]"):
        read(tmp_path / "a.czi")


class FakeScenes:
    """The part of bioio's image that is used."""

    scenes = ("small", "large")
    dims = SimpleNamespace(order="TCZYX")
    physical_pixel_sizes = SimpleNamespace(Z=None, Y=0.2, X=0.3)
    time_interval = None
    channel_names = ("DNA", "actin")
    dtype = HYPER.dtype

    def __init__(self, path: Path) -> None:
        self.data = HYPER[:1, :2, :1]

    def set_scene(self, scene: str) -> None:
        self.data = HYPER[:1, :2, : 1 if scene == "small" else 3]

    @property
    def shape(self) -> tuple[int, ...]:
        return self.data.shape


def test_vendor_format(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.czi").write_bytes(b"ZISRAWFILE")
    bioio = SimpleNamespace(BioImage=FakeScenes)
    monkeypatch.setattr(importlib, "import_module", lambda name: bioio)
    stack = read(tmp_path / "a.czi")
    assert stack.axes == "CZYX"
    assert stack.data.shape == (2, 3, 20, 30)
    assert stack.spacing == (None, None, 0.2, 0.3)
    assert [c.name for c in stack.channels] == ["DNA", "actin"]
