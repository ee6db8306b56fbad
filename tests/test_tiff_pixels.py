"""TIFFs that end too early, are damaged, or cannot be decoded here."""

from __future__ import annotations

import json
import logging
import math
import pickle
import struct
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray

from napari_zssr import api, errors
from napari_zssr.cli import exit_status
from napari_zssr.errors import ImageWarning, InputError
from napari_zssr.io import tiff
from napari_zssr.io.contents import ReadOptions
from napari_zssr.io.read import read

RNG = np.random.default_rng(0)
PLANES = RNG.integers(1, 60000, (12, 20, 26), dtype=np.uint16)


def ome(path: Path, planes: int, order: str = "XYZCT", **sizes: int) -> Path:
    """OME-TIFF whose XML promises as many planes as the sizes say."""
    size = {"Z": 1, "C": 1, "T": 1} | sizes
    promised = math.prod(size.values())
    attributes = " ".join(f'Size{letter}="{n}"' for letter, n in size.items())
    xml = (
        '<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06">'
        f'<Image ID="Image:0"><Pixels ID="Pixels:0" DimensionOrder="{order}" '
        f'Type="uint16" SizeX="26" SizeY="20" {attributes}>'
        f'<TiffData IFD="0" PlaneCount="{promised}"/></Pixels></Image></OME>'
    )
    tifffile.imwrite(
        path,
        PLANES[:planes],
        description=xml,
        metadata=None,
        photometric="minisblack",
    )
    return path


def refused(path: Path, match: str) -> None:
    for lazy in (False, True):
        with pytest.raises(InputError, match=match) as caught:
            read(path, lazy=lazy)
        assert "--partial" in str(caught.value)


def kept(path: Path) -> tuple[str, NDArray[Any], tuple[str, ...]]:
    """Axes, pixels and messages of what is there, eager and lazy alike."""
    eager = read(path, partial=True)
    lazy = read(path, partial=True, lazy=True)
    assert (lazy.axes, lazy.messages) == (eager.axes, eager.messages)
    sent = pickle.loads(pickle.dumps(lazy.data))
    assert sent.shape == eager.data.shape
    np.testing.assert_array_equal(np.asarray(sent), eager.data)
    np.testing.assert_array_equal(sent[-1], eager.data[-1])
    return eager.axes, np.asarray(eager.data), eager.messages


# ---- Fewer planes than promised


@pytest.mark.parametrize(
    ("sizes", "planes", "axes", "shape"),
    [
        ({"Z": 5}, 3, "ZYX", (3,)),
        ({"T": 5}, 3, "TYX", (3,)),
        ({"C": 5}, 3, "CYX", (3,)),
        ({"Z": 2, "T": 4}, 5, "TZYX", (2, 2)),
        ({"Z": 4, "C": 2}, 7, "CZYX", (2, 3)),
        ({"Z": 3, "C": 2, "T": 2}, 11, "TCZYX", (1, 2, 3)),
        ({"Z": 5, "C": 2, "T": 2}, 7, "TCZYX", (1, 2, 2)),
        ({"Z": 3, "C": 3}, 2, "CZYX", (1, 2)),
        ({"Z": 4, "C": 3}, 6, "CZYX", (2, 2)),
        ({"Z": 4, "C": 3}, 7, "CZYX", (2, 3)),
    ],
)
def test_a_stopped_acquisition_of_ome(
    tmp_path: Path,
    sizes: dict[str, int],
    planes: int,
    axes: str,
    shape: tuple[int, ...],
) -> None:
    """T is cropped, else Z, else C: what is kept is there in full."""
    path = ome(tmp_path / "a.ome.tif", planes, **sizes)
    promised = math.prod(sizes.values())
    refused(path, f"{planes} of {promised} planes")
    found, data, messages = kept(path)
    assert (found, data.shape) == (axes, (*shape, 20, 26))
    assert data.any(axis=(-2, -1)).all()
    assert f"{planes} of {promised} planes" in messages[0]
    full = np.zeros((promised, 20, 26), np.uint16)
    full[:planes] = PLANES[:planes]
    full = full.reshape(*(sizes[a] for a in axes[:-2]), 20, 26)
    np.testing.assert_array_equal(data, full[tuple(slice(n) for n in shape)])


def test_channels_that_are_kept_keep_their_names(tmp_path: Path) -> None:
    path = tmp_path / "a.ome.tif"
    names = {"Channel": {"Name": ["one", "two", "three"]}}
    tifffile.imwrite(path, PLANES[:3], metadata={"axes": "CYX", **names})
    with tifffile.TiffFile(path) as file:
        xml = file.ome_metadata
    assert xml is not None
    tifffile.imwrite(
        path,
        PLANES[:2],
        description=xml.encode(),
        metadata=None,
        photometric="minisblack",
    )
    stack = read(path, partial=True)
    assert [channel.name for channel in stack.channels] == ["one", "two"]


def cut(path: Path, planes: float) -> None:
    """Cut a file within its pixels, so many planes after the first of them."""
    with tifffile.TiffFile(path) as file:
        start = file.pages.first.dataoffsets[0]
    with path.open("r+b") as opened:
        opened.truncate(start + int(planes * PLANES[0].nbytes))


def imagej_text(images: int, **sizes: int) -> str:
    lines = {"ImageJ": "1.54f", "images": images, **sizes, "hyperstack": "true"}
    return "".join(f"{key}={value}\n" for key, value in lines.items())


def imagej_cut(path: Path) -> None:
    """One directory, then the planes in one block, as ImageJ writes it."""
    data = PLANES.reshape(3, 4, 20, 26)
    tifffile.imwrite(path, data, imagej=True, metadata={"axes": "TZYX"})
    cut(path, 9.4)


def imagej_pages(path: Path) -> None:
    """A directory for each plane, as other programs write ImageJ's text."""
    tifffile.imwrite(
        path,
        PLANES[:9],
        compression="zlib",
        metadata=None,
        photometric="minisblack",
        description=imagej_text(12, slices=4, frames=3),
    )


def imagej_uncompressed_pages(path: Path) -> None:
    with tifffile.TiffWriter(path) as file:
        for n, plane in enumerate(PLANES[:9]):
            text = imagej_text(12, slices=4, frames=3) if n == 0 else None
            file.write(plane, metadata=None, description=text, contiguous=False)


def shaped_cut(path: Path) -> None:
    data = PLANES.reshape(3, 4, 20, 26)
    about = {"metadata": {"axes": "TZYX"}, "photometric": "minisblack"}
    tifffile.imwrite(path, data, ome=False, **about)
    cut(path, 8.5)


def stk_cut(path: Path) -> None:
    """MetaMorph: one directory, its UIC2 tag as long as there are planes."""
    uic2 = [0, 1, 0, 0, 0, 0] * 12
    tags = [(33628, 4, 2, (0, 0), True), (33629, 5, 36, uic2, True)]
    data = PLANES.reshape(-1, 26)
    tifffile.imwrite(path, data, metadata=None, byteorder="<", extratags=tags)
    with tifffile.TiffFile(path) as file:
        found = file.pages.first.tags
        places = {code: found[code].offset for code in (257, 278, 279, 33629)}
    content = bytearray(path.read_bytes())
    content[places[33629] + 4 : places[33629] + 8] = struct.pack("<I", 12)
    for code, value in ((257, 20), (278, 20), (279, PLANES[0].nbytes)):
        at = places[code] + 2
        content[at : at + 10] = struct.pack("<HII", 4, 1, value)
    path.write_bytes(content)
    cut(path, 8.2)


STOPPED: dict[str, Callable[[Path], None]] = {
    "ImageJ": imagej_cut,
    "ImageJ, compressed pages": imagej_pages,
    "ImageJ, pages": imagej_uncompressed_pages,
    "tifffile": shaped_cut,
}


@pytest.mark.parametrize("kind", STOPPED)
def test_a_stopped_acquisition_of_other_programs(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "a.tif"
    STOPPED[kind](path)
    refused(path, r"(8|9) of 12 planes")
    axes, data, messages = kept(path)
    assert (axes, data.shape) == ("TZYX", (2, 4, 20, 26))
    np.testing.assert_array_equal(data.reshape(-1, 20, 26), PLANES[:8])
    assert "8 complete planes were read (T 2, Z 4)" in messages[0]


def test_a_stopped_acquisition_of_metamorph(tmp_path: Path) -> None:
    path = tmp_path / "a.stk"
    stk_cut(path)
    refused(path, "8 of 12 planes")
    _, data, messages = kept(path)
    np.testing.assert_array_equal(data, PLANES[:8])
    assert "8 of 12 planes" in messages[0]


def micromanager(path: Path, places: list[tuple[int, int]], **summary: int) -> Path:
    """A Micro-Manager stack of (time, position), its index map at the end."""
    told = {"MicroManagerVersion": "2.0", "Slices": 1, "Channels": 1, **summary}
    text = json.dumps(told).encode()
    text += b" " * (-len(text) % 4)
    height, width = PLANES.shape[1:]
    body = bytearray(struct.pack("<2s6xI20xII", b"II", 54773648, 2355492, len(text)))
    body[2:8], body[40:] = struct.pack("<HI", 42, 40 + len(text)), text
    directories = []
    for n in range(len(places)):
        at = len(body)
        strip = at + 162  # as far behind each directory as Micro-Manager writes it
        tags = [
            (256, 4, 1, width), (257, 4, 1, height), (258, 4, 1, 16), (259, 4, 1, 1),
            (262, 4, 1, 1), (273, 4, 1, strip), (277, 4, 1, 1), (278, 4, 1, height),
            (279, 4, 1, PLANES[0].nbytes), (51123, 2, len(text), 40),
        ]  # fmt: skip
        packed = b"".join(struct.pack("<HHII", *tag) for tag in tags)
        following = strip + PLANES[0].nbytes if n + 1 < len(places) else 0
        directory = struct.pack("<H", len(tags)) + packed + struct.pack("<I", following)
        body += directory.ljust(162, b"\0") + PLANES[n].tobytes()
        directories.append(at)
    body[12:16] = struct.pack("<I", len(body))
    body += struct.pack("<II", 3453623, len(places))
    for (t, position), at in zip(places, directories, strict=True):
        body += struct.pack("<5I", 0, 0, t, position, at)
    path.write_bytes(body)
    return path


def test_a_stopped_acquisition_of_micro_manager(tmp_path: Path) -> None:
    path = micromanager(tmp_path / "a.tif", [(0, 0), (1, 0), (2, 0)], Frames=5)
    refused(path, "3 of 5 planes")
    axes, data, _ = kept(path)
    assert axes == "TYX"
    np.testing.assert_array_equal(data, PLANES[:3])


@pytest.mark.parametrize("position", [0, 2])
def test_other_positions_of_micro_manager_are_not_missing(
    tmp_path: Path, position: int
) -> None:
    """It writes a file for each position, and counts them all in each."""
    places = [(t, position) for t in range(3)]
    path = micromanager(tmp_path / "a.tif", places, Frames=3, Positions=4)
    for lazy in (False, True):
        stack = read(path, lazy=lazy)
        np.testing.assert_array_equal(np.asarray(stack.data), PLANES[:3])


@pytest.mark.parametrize("bigtiff", [False, True])
@pytest.mark.parametrize("byteorder", ["<", ">"])
def test_pages_that_break_off(tmp_path: Path, bigtiff: bool, byteorder: Any) -> None:
    """The last page points behind the end of the file; nothing says how many."""
    path = tmp_path / "a.tif"
    with tifffile.TiffWriter(path, bigtiff=bigtiff, byteorder=byteorder) as file:
        for plane in PLANES[:6]:
            file.write(plane, metadata=None, contiguous=False, compression="zlib")
    with tifffile.TiffFile(path) as file:
        offsets = [page.offset for page in file.pages]
    with path.open("r+b") as opened:
        opened.truncate(offsets[4] + 1)
    refused(path, "4 of an unknown number of planes")
    _, data, messages = kept(path)
    np.testing.assert_array_equal(data, PLANES[:4])
    assert "unknown" in messages[0]


def test_pixels_behind_the_end_of_the_file(tmp_path: Path) -> None:
    """All directories stand first, and the last planes are cut off."""
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, PLANES, metadata=None, photometric="minisblack")
    with tifffile.TiffFile(path, mode="r+") as file:
        beyond = path.stat().st_size
        for page in file.pages[9:]:
            page.aspage().tags[273].overwrite(beyond)
    refused(path, "9 of 12 planes")
    _, data, _ = kept(path)
    np.testing.assert_array_equal(data, PLANES[:9])


@pytest.mark.parametrize("options", [{}, {"tile": (16, 16)}, {"rowsperstrip": 4}])
def test_planes_that_were_never_written(
    tmp_path: Path, options: dict[str, Any]
) -> None:
    """Directories whose strips have no place and no length."""
    path = tmp_path / "a.tif"
    tifffile.imwrite(
        path,
        PLANES[:6],
        compression="zlib",
        metadata=None,
        photometric="minisblack",
        **options,
    )
    with tifffile.TiffFile(path, mode="r+") as file:
        for page in file.pages[4:]:
            for code in (273, 279, 324, 325):
                tag = page.aspage().tags.get(code)
                if tag is not None:
                    tag.overwrite((0,) * tag.count if tag.count > 1 else 0)
    refused(path, "4 of 6 planes")
    np.testing.assert_array_equal(kept(path)[1], PLANES[:4])


def test_nothing_is_kept_without_the_first_plane(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, PLANES[:3], metadata=None, photometric="minisblack")
    with tifffile.TiffFile(path, mode="r+") as file:
        file.pages.first.tags[273].overwrite(path.stat().st_size)
    for crop in (False, True):
        with pytest.raises(InputError, match="damaged or incomplete"):
            read(path, partial=crop)


@pytest.mark.parametrize("crop", [False, True])
def test_one_plane_that_is_cut_is_not_kept(tmp_path: Path, crop: bool) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, PLANES[0], metadata=None)
    cut(path, 0.9)
    with pytest.raises(InputError, match="0 of 1 planes"):
        read(path, partial=crop)


@pytest.fixture(params=["disabled", "level", "logger off", "no propagation"])
def silent(request: pytest.FixtureRequest) -> Iterator[None]:
    """Ways in which a program may silence what tifffile logs."""
    log = logging.getLogger("tifffile")
    before = (log.level, log.disabled, log.propagate, logging.root.manager.disable)
    if request.param == "disabled":
        logging.disable(logging.CRITICAL)
    log.setLevel(logging.CRITICAL + 1 if request.param == "level" else log.level)
    log.disabled = request.param == "logger off"
    log.propagate = request.param != "no propagation"
    yield
    log.setLevel(before[0])
    log.disabled, log.propagate = before[1], before[2]
    logging.disable(before[3])


@pytest.mark.usefixtures("silent")
@pytest.mark.parametrize("kind", ["OME", *STOPPED])
def test_logging_does_not_decide(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "a.ome.tif"
    if kind == "OME":
        ome(path, 9, T=3, Z=4)
    else:
        STOPPED[kind](path)
    refused(path, "of 12 planes")


def test_python_refuses_or_warns(tmp_path: Path) -> None:
    path = ome(tmp_path / "a.ome.tif", 3, Z=5)
    for use in (api.read, api.upscale, partial(api.upscale_to_disk, target="b.tif")):
        with pytest.raises(InputError, match="3 of 5 planes"):
            use(path)
    with pytest.warns(ImageWarning, match="3 of 5 planes"):
        assert api.read(path, partial=True).data.shape == (3, 20, 26)


def test_missing_members_are_named(tmp_path: Path) -> None:
    path = ome(tmp_path / "a.ome.tif", 1, C=2)
    with tifffile.TiffFile(path) as file:
        xml = file.ome_metadata
    assert xml is not None
    parts = (
        '<TiffData IFD="0" PlaneCount="1"/><TiffData IFD="0" FirstC="1" PlaneCount="1">'
        '<UUID FileName="b.ome.tif">urn:uuid:1</UUID></TiffData>'
    )
    xml = xml.replace('<TiffData IFD="0" PlaneCount="2"/>', parts)
    tifffile.imwrite(path, PLANES[0], description=xml.encode(), metadata=None)
    refused(path, r"1 of 2 planes are complete, b\.ome\.tif is missing")
    np.testing.assert_array_equal(kept(path)[1].squeeze(), PLANES[0])


@pytest.mark.parametrize(
    "options",
    [
        {"ome": True},
        {"imagej": True},
        {"metadata": None},
        {},
        {"compression": "zlib", "rowsperstrip": 3},
        {"tile": (16, 16), "metadata": None},
        {"metadata": None, "bigtiff": True, "byteorder": ">"},
    ],
)
def test_what_is_whole_is_not_refused(tmp_path: Path, options: dict[str, Any]) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, PLANES, photometric="minisblack", **options)
    for lazy in (False, True):
        stack = read(path, axes="ZYX", lazy=lazy)
        np.testing.assert_array_equal(np.asarray(stack.data), PLANES)
        assert stack.messages == ()


def test_sparse_tiles_are_background(tmp_path: Path) -> None:
    """GDAL leaves out tiles that are empty; the page is whole all the same."""
    path = tmp_path / "a.tif"
    data = np.ones((32, 32), np.uint8)
    tifffile.imwrite(path, data, tile=(16, 16), compression="zlib", metadata=None)
    with tifffile.TiffFile(path, mode="r+") as file:
        for code in (324, 325):
            tag = file.pages.first.tags[code]
            tag.overwrite((*tag.value[:3], 0))
    data[16:, 16:] = 0
    np.testing.assert_array_equal(read(path).data, data)


def test_opening_reads_directories_once_and_no_pixels(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.ome.tif"
    many = np.ones((300, 8, 8), np.uint8)
    tifffile.imwrite(path, many, ome=True, metadata={"axes": "TYX"}, compression="zlib")
    parsed = []
    parse = tifffile.TiffFrame.__init__

    def counted(self: Any, *args: Any, **options: Any) -> None:
        parsed.append(1)
        parse(self, *args, **options)

    def no_pixels(*_: object, **__: object) -> None:
        raise AssertionError("pixels are read")

    monkeypatch.setattr(tifffile.TiffFrame, "__init__", counted)
    for owner in (tifffile.TiffPage, tifffile.TiffFrame, tifffile.TiffPageSeries):
        monkeypatch.setattr(owner, "asarray", no_pixels)
    with tiff.opened(path) as (entries, load):
        pixels: Any = load(entries[0], ReadOptions(lazy=True)).data
    assert pixels.shape == many.shape
    assert len(parsed) < 310


# ---- What is damaged, and what is not


def damaged(content: bytes, case: int) -> bytes:
    """Cut, or with bytes changed, mostly in the header and the first tags."""
    random = np.random.default_rng(case)
    if case % 3 == 0:
        return content[: int(random.integers(8, len(content)))]
    changed = bytearray(content)
    end = 400 if case % 3 == 1 else len(changed)
    for at in random.integers(4, end, 6):
        changed[at] = int(random.integers(256))
    return bytes(changed)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("options", [{"ome": True}, {"imagej": True}, {}])
def test_damage_of_any_kind_is_one_sentence(
    tmp_path: Path, options: dict[str, Any]
) -> None:
    whole, path = tmp_path / "whole.tif", tmp_path / "a.tif"
    tifffile.imwrite(whole, PLANES[:4], photometric="minisblack", **options)
    content = whole.read_bytes()
    sentences = []
    for case in range(60):
        path.write_bytes(damaged(content, case))
        for lazy in (False, True):
            try:
                np.asarray(read(path, lazy=lazy).data)
            except InputError as error:
                sentences.append(str(error))
    assert len(sentences) > 40
    assert all("\n" not in sentence for sentence in sentences)


def with_tag(path: Path, code: int, value: int, **options: Any) -> Path:
    tifffile.imwrite(path, PLANES[0], metadata=None, **options)
    with tifffile.TiffFile(path, mode="r+") as file:
        file.pages.first.tags[code].overwrite(value)
    return path


@pytest.mark.parametrize(
    ("code", "value", "options", "said"),
    [
        (259, 32809, {}, "compressed with THUNDERSCAN"),
        (259, 34676, {}, "compressed with SGILOG"),
        (259, 34661, {}, "compressed with JBIG"),
        (259, 32767, {}, "compressed with"),
        (259, 4711, {}, "compressed with number 4711"),
        (
            317,
            99,
            {"compression": "zlib", "predictor": True},
            "predicted with number 99",
        ),
        (258, 40, {}, "samples of 40 bits"),
        (339, 6, {"extratags": [(339, 3, 1, 1, True)]}, "SampleFormat"),
    ],
)
def test_what_cannot_be_decoded_is_named(
    tmp_path: Path, code: int, value: int, options: dict[str, Any], said: str
) -> None:
    if code == 339:
        path = tmp_path / "a.tif"
        tifffile.imwrite(path, PLANES[0].astype(np.int16), metadata=None)
        with tifffile.TiffFile(path, mode="r+") as file:
            file.pages.first.tags[code].overwrite(9)
    else:
        path = with_tag(tmp_path / "a.tif", code, value, **options)
    for lazy in (False, True):
        with pytest.raises(InputError, match=said) as caught:
            read(path, lazy=lazy)
        assert "damaged" not in str(caught.value)
        assert "save it" in str(caught.value)


def test_subsampled_colours_without_jpeg_are_named(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    rgb = np.zeros((20, 26, 3), np.uint8)
    tifffile.imwrite(path, rgb, photometric="ycbcr", metadata=None)
    with tifffile.TiffFile(path, mode="r+") as file:
        tag = file.pages.first.tags.get(530)
        if tag is not None:
            tag.overwrite((2, 2))
    with pytest.raises(InputError, match="subsampled"):
        read(path)


WITHOUT_DECODERS = """
import sys
sys.modules["imagecodecs"] = None
from napari_zssr.io.read import read
from napari_zssr.errors import InputError
for path in sys.argv[1:]:
    for lazy in (False, True):
        try:
            read(path, lazy=lazy)
        except InputError as error:
            print(error)
        else:
            print("read")
"""


def test_without_imagecodecs_one_command_is_named(tmp_path: Path) -> None:
    paths = [
        with_tag(tmp_path / f"{code}.tif", 259, code) for code in (5, 7, 50001, 34887)
    ]
    if sys.version_info < (3, 14):
        paths += [with_tag(tmp_path / f"{n}.tif", 259, n) for n in (50000, 34926)]
    fine = tmp_path / "fine.tif"
    tifffile.imwrite(fine, PLANES[0], compression="zlib")
    told = subprocess.run(
        [sys.executable, "-c", WITHOUT_DECODERS, *map(str, [*paths, fine])],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    assert told.pop() == "read"
    assert told.pop() == "read"
    assert len(told) == 2 * len(paths)
    assert all(line.endswith("run pip install imagecodecs.") for line in told)


def test_lzw_deflate_zstd_and_jpeg_are_read(tmp_path: Path) -> None:
    pytest.importorskip("imagecodecs")
    for name in ("lzw", "zlib", "zstd", "packbits", "lzma"):
        path = tmp_path / f"{name}.tif"
        tifffile.imwrite(path, PLANES[:5], compression=name, metadata=None)
        np.testing.assert_array_equal(read(path).data, PLANES[:5])


# ---- Faults of the program


@pytest.mark.parametrize("error", [TypeError, AttributeError, KeyError, ValueError])
@pytest.mark.parametrize("lazy", [False, True])
def test_our_own_slip_is_not_called_damage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: type[Exception], lazy: bool
) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, PLANES[0], metadata=None)

    def slip(*_: object) -> None:
        raise error("a slip")

    monkeypatch.setattr(tiff, "calibration", slip)
    with pytest.raises(error, match="a slip") as caught:
        read(path, lazy=lazy)
    assert not isinstance(caught.value, InputError)


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    errors._traceback_file.cache_clear()
    yield tmp_path
    errors._traceback_file.cache_clear()


def raised(text: str) -> Exception:
    try:
        raise KeyError(text)
    except KeyError as error:
        return error


def test_the_traceback_of_a_fault_is_saved(temporary: Path) -> None:
    first, second = exit_status(raised("one")), exit_status(raised("two"))
    (file,) = temporary.glob("napari-zssr-*.log")
    assert first[0] == second[0] == 1
    assert str(file) in first[1]
    assert str(file) in second[1]
    assert errors.ISSUES in first[1]
    content = file.read_text()
    assert content.count("Traceback") == 2
    assert "in raised" in content


def test_a_fault_is_told_where_nothing_can_be_saved(
    temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(temporary / "gone"))
    _, sentence = exit_status(raised("one"))
    assert "KeyError: 'one'" in sentence
    assert errors.ISSUES in sentence
