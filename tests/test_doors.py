"""The same files through every door: the same pixels, or the same refusal."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import zarr
from PIL import Image

from napari_zssr import ImageWarning, InputError, upscale, upscale_to_disk
from napari_zssr.cli import main
from napari_zssr.io.read import read
from napari_zssr.stack.image import load_pixels

RNG = np.random.default_rng(0)
GREY = RNG.integers(50, 900, (12, 14)).astype(np.uint16)
BYTES = RNG.integers(0, 255, (12, 14)).astype(np.uint8)
STACK = RNG.integers(50, 900, (6, 12, 14)).astype(np.uint16)
COLOUR = RNG.integers(0, 255, (12, 14, 3)).astype(np.uint8)


@dataclass(frozen=True, kw_only=True)
class Case:
    """A file, and the words of its refusal where it is refused."""

    name: str
    write: Callable[[Path], Path]
    refusal: str = ""


def tiff(data: Any, name: str = "a.tif", **options: Any) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        tifffile.imwrite(folder / name, data, **options)
        return folder / name

    return write


def appended(folder: Path) -> Path:
    for page in STACK:
        tifffile.imwrite(folder / "pages.tif", page, append=True)
    return folder / "pages.tif"


def positions(folder: Path) -> Path:
    path = folder / "positions.ome.tif"
    with tifffile.TiffWriter(path, ome=True) as file:
        file.write(STACK[:2], metadata={"axes": "ZYX", "Name": "Pos0"})
        file.write(STACK[2:], metadata={"axes": "ZYX", "Name": "Pos1"})
    return path


def ome_promises(folder: Path) -> Path:
    """OME-XML of five planes, three of them written."""
    xml = (
        '<?xml version="1.0" encoding="UTF-8"?><OME xmlns="http://www.openmicroscopy'
        '.org/Schemas/OME/2016-06"><Image ID="Image:0"><Pixels ID="Pixels:0" '
        'DimensionOrder="XYZCT" Type="uint16" SizeX="14" SizeY="12" SizeZ="5" '
        'SizeC="1" SizeT="1"><TiffData IFD="0" PlaneCount="5"/></Pixels></Image></OME>'
    )
    return tiff(
        STACK[:3],
        "stopped.ome.tif",
        description=xml.encode(),
        metadata=None,
        photometric="minisblack",
    )(folder)


def truncated(folder: Path) -> Path:
    path = tiff(STACK, imagej=True)(folder)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    return path


def with_compression(code: int) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        path = tiff(GREY, metadata=None)(folder)
        with tifffile.TiffFile(path) as file:
            at = file.pages.first.tags[259].valueoffset
        with path.open("r+b") as stream:
            stream.seek(at)
            stream.write(code.to_bytes(2, "little"))
        return path

    return write


def palette_tiff(folder: Path) -> Path:
    palette = RNG.integers(0, 65535, (3, 256)).astype(np.uint16)
    return tiff(BYTES, photometric="palette", colormap=palette)(folder)


def pyramid(folder: Path) -> Path:
    path = folder / "pyramid.ome.tif"
    with tifffile.TiffWriter(path, ome=True) as file:
        file.write(GREY, subifds=1, metadata={"axes": "YX"})
        file.write(GREY[::2, ::2], subfiletype=1)
    return path


def picture(mode: str, ending: str, **options: Any) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        path = folder / f"a{ending}"
        Image.fromarray(COLOUR).convert(mode).save(path, **options)
        return path

    return write


def rotated(folder: Path) -> Path:
    exif = Image.Exif()
    exif[274] = 6
    return picture("RGB", ".jpg", exif=exif)(folder)


def wide_png(folder: Path) -> Path:
    import struct
    import zlib

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data))
            + kind
            + data
            + struct.pack(">I", zlib.crc32(kind + data))
        )

    rows = b"".join(b"\0" + bytes(6 * 4) for _ in range(4))
    path = folder / "wide.png"
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", struct.pack(">IIBBBBB", 4, 4, 16, 2, 0, 0, 0))
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )
    return path


def ome_zarr(
    version: int, scale: float = 0.5, label: bool = False
) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        path = folder / "a.zarr"
        group = zarr.create_group(path, zarr_format=2 if version == 4 else 3)
        array = group.create_array("0", shape=STACK.shape, dtype="u2", chunks=(1, 8, 8))
        array[...] = STACK
        step = {"type": "scale", "scale": [1.0, scale, 0.5]}
        axes = [
            {"name": a, "type": "space", "unit": "micrometer"} for a in ("z", "y", "x")
        ]
        content: dict[str, Any] = {
            "multiscales": [
                {
                    "version": f"0.{version}",
                    "axes": axes,
                    "datasets": [{"path": "0", "coordinateTransformations": [step]}],
                }
            ]
        }
        if label:
            content["image-label"] = {}
        ome = {"version": "0.5", **content}
        group.attrs.update(content if version == 4 else {"ome": ome})
        return path

    return write


def other_separator(folder: Path) -> Path:
    """Chunks of a Zarr 2 array under another separator than its metadata say."""
    path = ome_zarr(4)(folder)
    meta = path / "0" / ".zarray"
    text = meta.read_text(encoding="utf-8")
    swapped = text.replace('"dimension_separator": "."', '"dimension_separator": "/"')
    if swapped == text:
        swapped = text.replace(
            '"dimension_separator": "/"', '"dimension_separator": "."'
        )
    meta.write_text(swapped, encoding="utf-8")
    return path


def named_zarr(folder: Path) -> Path:
    path = folder / "named.zarr"
    array = zarr.create_array(
        path, shape=(12, 14, 2), dtype="u2", dimension_names=["y", "x", "c"]
    )
    array[...] = np.stack([GREY, GREY[::-1]], axis=-1)
    return path


def content(name: str, data: bytes) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        (folder / name).write_bytes(data)
        return folder / name

    return write


IMAGEJ = {"imagej": True}
CASES = (
    Case(name="plain", write=tiff(GREY)),
    Case(name="big-endian", write=tiff(GREY.astype(">u2"), byteorder=">")),
    Case(name="BigTIFF", write=tiff(GREY, bigtiff=True)),
    Case(name="ImageJ stack", write=tiff(STACK, metadata={"axes": "ZYX"}, **IMAGEJ)),
    Case(
        name="ImageJ hyperstack",
        write=tiff(STACK.reshape(3, 2, 12, 14), metadata={"axes": "TCYX"}, **IMAGEJ),
    ),
    Case(
        name="ImageJ with one lookup table",
        write=tiff(
            GREY,
            metadata={"LUTs": [np.stack([np.arange(256, dtype=np.uint8)] * 3)]},
            **IMAGEJ,
        ),
    ),
    Case(
        name="OME-TIFF",
        write=tiff(STACK[:2], "a.ome.tif", metadata={"axes": "CYX"}),
    ),
    Case(name="positions", write=positions),
    Case(name="appended pages", write=appended),
    Case(name="pyramid", write=pyramid),
    Case(name="stopped acquisition", write=ome_promises, refusal="partial"),
    Case(name="truncated", write=truncated, refusal="a.tif"),
    Case(name="palette", write=palette_tiff),
    Case(name="0 is white", write=tiff(BYTES, photometric="miniswhite")),
    Case(name="CMYK", write=picture("CMYK", ".tif")),
    Case(name="YCbCr", write=picture("YCbCr", ".tif")),
    Case(name="RGB", write=tiff(COLOUR, photometric="rgb")),
    Case(
        name="planar RGB",
        write=tiff(COLOUR.transpose(2, 0, 1), photometric="rgb", planarconfig=2),
    ),
    Case(
        name="two samples",
        write=tiff(
            COLOUR[..., :2], photometric="minisblack", planarconfig=1, extrasamples=[0]
        ),
    ),
    Case(name="one sample as an axis", write=tiff(GREY[..., np.newaxis])),
    Case(name="LZW", write=tiff(GREY, compression="lzw")),
    Case(name="deflate", write=tiff(GREY, compression="zlib", predictor=True)),
    Case(name="zstd", write=tiff(GREY, compression="zstd")),
    Case(name="JPEG in TIFF", write=tiff(COLOUR, compression="jpeg", tile=(16, 16))),
    Case(name="ThunderScan", write=with_compression(32809), refusal="compress"),
    Case(name="int8", write=tiff((BYTES // 2).astype(np.int8))),
    Case(name="uint32", write=tiff(GREY.astype(np.uint32))),
    Case(name="float16", write=tiff((GREY / 1000).astype(np.float16))),
    Case(name="float64", write=tiff(GREY / 7)),
    Case(name="boolean", write=tiff(BYTES > 100), refusal="boolean"),
    Case(
        name="complex", write=tiff((BYTES + 1j).astype(np.complex64)), refusal="complex"
    ),
    Case(name="PNG", write=picture("L", ".png")),
    Case(name="palette PNG", write=picture("P", ".png")),
    Case(name="turned JPEG", write=rotated),
    Case(name="16-bit colour PNG", write=wide_png, refusal="16-bit colour"),
    Case(name="OME-Zarr 0.4", write=ome_zarr(4)),
    Case(name="OME-Zarr 0.5", write=ome_zarr(5)),
    Case(name="OME-Zarr running backwards", write=ome_zarr(5, scale=-0.5)),
    Case(name="OME-Zarr of labels", write=ome_zarr(5, label=True), refusal="label"),
    Case(name="other separator", write=other_separator),
    Case(name="Zarr with names", write=named_zarr),
    Case(name="empty", write=content("a.tif", b""), refusal="empty"),
    Case(name="text", write=content("a.tif", b"no image"), refusal="not an image"),
)
READER = {"PNG", "palette PNG", "turned JPEG", "16-bit colour PNG", "text", "empty"}


def outcome(call: Callable[[], Any]) -> Any:
    """Pixels, or the sentence of the refusal."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ImageWarning)
        try:
            return call()
        except InputError as error:
            return str(error)


def in_order(path: Path, axes: str) -> Any:
    """Pixels of a result with its axes in that order."""
    stack = read(path)
    kept = [letter for letter in axes if letter in stack.axes]
    return load_pixels(stack.data).transpose([stack.axes.index(a) for a in kept])


def same(one: Any, other: Any) -> None:
    if isinstance(one, str) or isinstance(other, str):
        assert one == other
    else:
        np.testing.assert_array_equal(np.squeeze(one), np.squeeze(other))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_reading(case: Case, tmp_path: Path) -> None:
    path = case.write(tmp_path)
    whole = outcome(lambda: read(path).data)
    if case.refusal:
        assert isinstance(whole, str)
        assert case.refusal in whole
        assert "Traceback" not in whole
    else:
        assert not isinstance(whole, str), whole
        assert np.asarray(whole).any()
    same(outcome(lambda: load_pixels(read(path, lazy=True).data)), whole)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_enlarging(
    case: Case, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = case.write(tmp_path)
    whole = outcome(lambda: upscale(path, "instant", device="cpu"))
    target = tmp_path / "python.ome.zarr"
    written = outcome(lambda: upscale_to_disk(path, target, "instant", device="cpu"))
    if isinstance(whole, str):
        assert written == whole
    else:
        axes = read(path).axes
        same(in_order(target, axes), whole)
    typed = tmp_path / "typed.ome.zarr"
    options = ["--preset", "instant", "--device", "cpu"]
    status = main(["upscale", str(path), "-o", str(typed), *options])
    if isinstance(whole, str):
        assert status == 2
        assert whole in " ".join(capsys.readouterr().err.split())
        assert not typed.exists()
    else:
        assert status == 0
        same(in_order(typed, axes), whole)


@pytest.mark.parametrize(
    "case", [case for case in CASES if case.name not in READER], ids=lambda c: c.name
)
def test_napari_reader(case: Case, tmp_path: Path) -> None:
    reader = pytest.importorskip("napari_zssr.plugin.layers.files")
    path = case.write(tmp_path)
    whole = outcome(lambda: read(path).data)
    layers = reader.read_image(path / "zarr.json" if path.is_dir() else path)
    if layers is None:
        assert case.refusal in {"boolean", "complex"}
        return
    shown = outcome(lambda: layers(path))
    if case.refusal == "label":
        assert {kind for *_, kind in shown} == {"labels"}
    elif isinstance(whole, str):
        assert shown == whole
    else:
        pixels = [np.asarray(d[0] if isinstance(d, list) else d) for d, *_ in shown]
        assert sum(p.size for p in pixels) >= whole.size
