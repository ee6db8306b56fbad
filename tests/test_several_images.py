"""Files that hold several images: listed, chosen, said, and all of them enlarged."""

from __future__ import annotations

import csv
import importlib
import json
import struct
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import tifffile
import zarr
from conftest import RIDGE
from numpy.typing import NDArray

from napari_zssr import (
    ImageWarning,
    InputError,
    list_images,
    upscale,
    upscale_lazy,
    upscale_steps,
    upscale_to_disk,
)
from napari_zssr.cli import main
from napari_zssr.io import tiff as tiff_module
from napari_zssr.io.contents import ImageEntry, file_labels
from napari_zssr.io.read import read
from napari_zssr.io.write import read_provenance

RNG = np.random.default_rng(0)
PIXELS = RNG.integers(100, 900, (6, 20, 24), dtype=np.uint16)
Array = NDArray[Any]
Images = dict[str, Array]


def appended(path: Path) -> Images:
    for page in PIXELS:
        tifffile.imwrite(path, page, append=True)
    return {"": PIXELS}


def appended_in_parts(path: Path) -> Images:
    for part in (PIXELS[:2], PIXELS[2:3], PIXELS[3:]):
        tifffile.imwrite(path, part, append=True, photometric="minisblack")
    return {"": PIXELS}


def appended_without_description(path: Path) -> Images:
    for page in PIXELS:
        tifffile.imwrite(path, page, append=True, metadata=None)
    return {"": PIXELS}


def two_sizes(path: Path) -> Images:
    with tifffile.TiffWriter(path) as file:
        for image in (PIXELS[0], PIXELS[1], PIXELS[2, :8]):
            file.write(image, contiguous=False)
    return {"a": PIXELS[:2], "b": PIXELS[2, :8]}


def two_stacks_with_axes(path: Path) -> Images:
    with tifffile.TiffWriter(path) as file:
        for part in (PIXELS[:3], PIXELS[3:]):
            file.write(
                part,
                metadata={"axes": "ZYX"},
                contiguous=False,
                photometric="minisblack",
            )
    return {"a": PIXELS[:3], "b": PIXELS[3:]}


def two_positions(path: Path) -> Images:
    images = {"Pos0": PIXELS[:2], "Pos1": PIXELS[2:]}
    with tifffile.TiffWriter(path, ome=True) as file:
        for name, part in images.items():
            file.write(part, metadata={"axes": "ZYX", "Name": name})
    return images


def position_axis(path: Path) -> Images:
    data = PIXELS.reshape(3, 2, 20, 24)
    tifffile.imwrite(path, data, metadata={"axes": "ZRYX"})
    return {"Pos0": data[:, 0], "Pos1": data[:, 1]}


def more_pages_than_imagej_says(path: Path) -> Images:
    text = "ImageJ=1.53t\nimages=2\nslices=2\n"
    tifffile.imwrite(
        path, PIXELS, description=text, metadata=None, photometric="minisblack"
    )
    return {"": PIXELS[:2], "further pages": PIXELS[2:]}


def more_pages_than_ome_says(path: Path) -> Images:
    tifffile.imwrite(path, PIXELS, ome=True, metadata={"axes": "ZYX"})
    with tifffile.TiffFile(path) as file:
        xml = file.ome_metadata or ""
    assert 'SizeZ="6"' in xml
    fewer = xml.replace('SizeZ="6"', 'SizeZ="4"').replace(
        'PlaneCount="6"', 'PlaneCount="4"'
    )
    tifffile.tiffcomment(path, fewer.encode())
    return {"Image0": PIXELS[:4], "further pages": PIXELS[4:]}


def pyramid_and_thumbnail(path: Path) -> Images:
    with tifffile.TiffWriter(path) as file:
        grey: dict[str, Any] = {"photometric": "minisblack", "tile": (16, 16)}
        file.write(PIXELS, subifds=1, **grey)
        file.write(PIXELS[:, ::2, ::2], subfiletype=1, **grey)
        file.write(PIXELS[0, ::4, ::4], subfiletype=1, photometric="minisblack")
    return {"": PIXELS}


def slide(path: Path) -> Images:
    image = RNG.integers(0, 255, (64, 80, 3), dtype=np.uint8)
    rgb: dict[str, Any] = {"photometric": "rgb", "metadata": None}
    with tifffile.TiffWriter(path) as file:
        text = "Aperio Image Library v1\r\n80x64"
        file.write(image, tile=(32, 32), description=text, **rgb)
        file.write(image[::8, ::8], **rgb)
        file.write(image[::2, ::2], tile=(32, 32), **rgb)
        file.write(image[:90, :70], subfiletype=1, **rgb)
        file.write(image[:60, :70], subfiletype=9, **rgb)
    return {"Baseline": image}


def micromanager(path: Path) -> Images:
    """Two frames of three positions, each page followed by its pixels."""
    frames, positions = 2, 3
    labels = [{"Label": f"Site_{n}"} for n in range(positions)]
    summary = json.dumps(
        {
            "MicroManagerVersion": "1.4.22",
            "Frames": frames,
            "Slices": 1,
            "Channels": 1,
            "Positions": positions,
            "TimeFirst": True,
            "SlicesFirst": True,
            "InitialPositionList": labels,
        }
    ).encode()
    height, width = PIXELS.shape[1:]
    body = bytearray(40) + summary
    body += bytes(-len(body) % 4)
    starts, nexts = [], []
    for plane in PIXELS:
        # The pixels follow 162 bytes after the start, where tifffile looks for them.
        start = len(body)
        tags = {256: width, 257: height, 258: 16, 259: 1, 262: 1, 273: start + 162}
        tags |= {277: 1, 278: height, 279: plane.nbytes}
        page = struct.pack("<H", len(tags) + 1)
        page += b"".join(struct.pack("<HHII", t, 4, 1, v) for t, v in tags.items())
        page += struct.pack("<HHII", 51123, 2, 8, start + 140)
        starts.append(start)
        nexts.append(start + len(page))
        page += bytes(140 - len(page)) + b'{"a":1}\0'
        body += page + bytes(162 - len(page)) + plane.tobytes()
    for at, following in zip(nexts, starts[1:], strict=False):
        body[at : at + 4] = struct.pack("<I", following)
    index = struct.pack("<II", 3453623, len(starts)) + b"".join(
        struct.pack("<5I", 0, 0, n // positions, n % positions, start)
        for n, start in enumerate(starts)
    )
    struct.pack_into("<4sIII", body, 0, b"II*\0", starts[0], 54773648, len(body))
    struct.pack_into("<II", body, 32, 2355492, len(summary))
    path.write_bytes(bytes(body) + index)
    return {f"Site_{n}": PIXELS[n::positions] for n in range(positions)}


TIFFS: dict[Callable[[Path], Images], str] = {
    appended: "6 groups",
    appended_in_parts: "3 groups",
    appended_without_description: "",
    two_sizes: "index 0 (2 × 20 × 24) was chosen",
    two_stacks_with_axes: "contains 2 images; index 0 (3 × 20 × 24) was chosen",
    two_positions: "'Pos1' (index 1, 4 × 20 × 24) was chosen",
    position_axis: "'Pos0' (index 0, 3 × 20 × 24) was chosen",
    more_pages_than_imagej_says: "'further pages' (index 1, 4 × 20 × 24) was chosen",
    more_pages_than_ome_says: "'Image0' (index 0, 4 × 20 × 24) was chosen",
    pyramid_and_thumbnail: "",
    slide: "",
    micromanager: "'Site_0' (index 0, 2 × 20 × 24) was chosen",
}


@pytest.mark.filterwarnings("ignore:.*tifffile.*")
@pytest.mark.parametrize(
    ("write", "message"), TIFFS.items(), ids=[write.__name__ for write in TIFFS]
)
def test_images_of_a_tiff(
    tmp_path: Path, write: Callable[[Path], Images], message: str
) -> None:
    path = tmp_path / "a.tif"
    images = write(path)
    entries = list_images(path)
    named = [name for name in images if len(name) > 1]
    assert [each.name for each in entries if each.name] == named
    assert [each.shape for each in entries] == [p.shape for p in images.values()]
    for entry, pixels in zip(entries, images.values(), strict=True):
        for lazy in (False, True):
            stack = read(path, image=entry.index, lazy=lazy)
            np.testing.assert_array_equal(stack.data[...], pixels)
            assert "taken" not in " ".join(stack.messages)
    stack = read(path)
    told = [each for each in stack.messages if not each.startswith("Axes guessed")]
    assert message in " ".join(told)
    assert bool(told) == bool(message)
    assert (stack.image_index is None) == (len(entries) == 1)


def test_positions_of_micromanager_are_no_channels(tmp_path: Path) -> None:
    micromanager(tmp_path / "a_MMStack.ome.tif")
    stack = read(tmp_path / "a_MMStack.ome.tif", image="Site_2")
    assert (stack.axes, stack.name) == ("TYX", "a_MMStack Site_2")


def image_group(group: zarr.Group, inside: str, pixels: Array, version: str) -> None:
    axes = [{"name": a, "type": "space"} for a in "zyx"]
    steps = [{"type": "scale", "scale": [1.0, 0.5, 0.5]}]
    levels = [{"path": "0", "coordinateTransformations": steps}]
    node = group.require_group(inside) if inside else group
    describe(node, version, multiscales=[{"axes": axes, "datasets": levels}])
    node.create_array("0", data=pixels)


def describe(group: zarr.Group, version: str, **metadata: Any) -> None:
    group.attrs.update({"ome": metadata} if version == "0.5" else metadata)


def plate(group: zarr.Group, path: Path, version: str) -> list[str]:
    wells = [{"path": "A/1"}, {"path": "B/2"}]
    describe(group, version, plate={"wells": wells})
    for n, well in enumerate(("A/1", "B/2")):
        fields = [{"path": "0"}, {"path": "1"}]
        describe(group.require_group(well), version, well={"images": fields})
        for field in range(2):
            image_group(group, f"{well}/{field}", PIXELS[: 1 + n + field], version)
    return ["A/1/0", "A/1/1", "B/2/0", "B/2/1"]


def well(group: zarr.Group, path: Path, version: str) -> list[str]:
    describe(group, version, well={"images": [{"path": "0"}, {"path": "1"}]})
    image_group(group, "0", PIXELS[:2], version)
    image_group(group, "1", PIXELS[:3], version)
    return ["0", "1"]


def bioformats2raw(group: zarr.Group, path: Path, version: str) -> list[str]:
    describe(group, version, **{"bioformats2raw.layout": 3})
    names = ["overview", "cells", "detail"]
    group.create_group("OME")
    images = "".join(f'<Image Name="{name}"><Pixels/></Image>' for name in names)
    xml = f'<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06">{images}'
    (path / "OME" / "METADATA.ome.xml").write_text(f"{xml}</OME>")
    for n in range(3):
        image_group(group, str(n), PIXELS[: n + 1], version)
    return names


def images_in_folders(group: zarr.Group, path: Path, version: str) -> list[str]:
    image_group(group, "day1/a", PIXELS[:2], version)
    image_group(group, "day1/labels/a", PIXELS[:2], version)
    image_group(group, "day2", PIXELS, version)
    return ["day1/a", "day2"]


def plain_arrays(group: zarr.Group, path: Path, version: str) -> list[str]:
    group.create_array("large", data=PIXELS)
    group.create_array("small", data=PIXELS[0])
    return ["large", "small"]


@pytest.mark.parametrize("version", ["0.4", "0.5"])
@pytest.mark.parametrize(
    "write", [plate, well, bioformats2raw, images_in_folders, plain_arrays]
)
def test_images_of_a_zarr(
    tmp_path: Path,
    write: Callable[[zarr.Group, Path, str], list[str]],
    version: str,
) -> None:
    path = tmp_path / "a.zarr"
    form: Any = 3 if version == "0.5" else 2
    names = write(zarr.open_group(str(path), mode="w", zarr_format=form), path, version)
    entries = list_images(path)
    assert [each.name for each in entries] == names
    largest = max(entries, key=lambda each: each.shape[:-2])
    stack = read(path)
    assert stack.image_name == largest.name
    assert f"contains {len(names)} images; {largest} was chosen" in stack.messages[0]
    for each in entries:
        for wanted in (each.index, each.name):
            data = read(path, image=wanted, lazy=True).data
            pixels = PIXELS[0] if len(each.shape) == 2 else PIXELS[: each.shape[0]]
            np.testing.assert_array_equal(data[...], pixels)


def test_scenes_of_a_vendor_format(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Scenes:
        scenes = ("wide", "deep")
        dims = SimpleNamespace(order="ZYX")
        dtype = PIXELS.dtype
        physical_pixel_sizes = SimpleNamespace(Z=None, Y=None, X=None)
        channel_names = ()

        def __init__(self, path: Path) -> None:
            self.set_scene("wide")

        def set_scene(self, scene: str) -> None:
            self.data = PIXELS[:2] if scene == "wide" else PIXELS[2:]
            self.shape = self.data.shape

    (tmp_path / "a.czi").write_bytes(b"ZISRAWFILE")
    bioio = SimpleNamespace(BioImage=Scenes)
    monkeypatch.setattr(importlib, "import_module", lambda name: bioio)
    names = [each.name for each in list_images(tmp_path / "a.czi")]
    assert names == ["wide", "deep"]
    chosen = read(tmp_path / "a.czi", image="wide")
    np.testing.assert_array_equal(chosen.data, PIXELS[:2])
    assert "'deep' (index 1, 4 × 20 × 24)" in read(tmp_path / "a.czi").messages[0]


def named(path: Path, *names: str) -> Path:
    """OME-TIFF of one plane a name, each as bright as its index."""
    with tifffile.TiffWriter(path, ome=True) as file:
        for n, name in enumerate(names):
            data = np.full((8, 8), n, np.uint8)
            file.write(data, metadata={"axes": "YX", "Name": name})
    return path


@pytest.mark.parametrize(
    ("wanted", "index"),
    [(0, 0), (2, 2), ("Site A", 0), ("2", 2), ("1", 2), (np.int64(1), 1)],
)
def test_chosen_by_index_or_name(tmp_path: Path, wanted: int | str, index: int) -> None:
    # A name that is a number counts before an index.
    last = "1" if wanted == "1" else "Site C"
    path = named(tmp_path / "a.ome.tif", "Site A", "Site B", last)
    stack = read(path, image=wanted)
    assert int(np.max(stack.data[...])) == index
    assert (stack.image_index, stack.messages) == (index, ())


@pytest.mark.parametrize(
    ("wanted", "sentence"),
    [
        ("Site BB", r"has no image 'Site BB' \(did you mean 'Site B'\?\); it contains"),
        ("Sote C", r"it contains 'Site C' \(index 2"),
        (3, r"has no image 3; it contains 'Site A' \(index 0"),
        (-1, "has no image -1"),
        ("all", "list_images"),
        (True, "has no image True"),
    ],
)
def test_what_is_not_there_is_refused(
    tmp_path: Path, wanted: int | str, sentence: str
) -> None:
    path = named(tmp_path / "a.ome.tif", "Site A", "Site B", "Site C")
    with pytest.raises(InputError, match=sentence):
        read(path, image=wanted)


def test_a_name_that_fits_several_is_refused(tmp_path: Path) -> None:
    path = named(tmp_path / "a.ome.tif", "Site", "Site", "Other")
    with pytest.raises(InputError, match="one of the indices 0, 1"):
        read(path, image="Site")


@pytest.mark.parametrize("suffix", [".tif", ".png", ".zarr"])
def test_a_single_image_is_the_first_and_only_one(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    if suffix == ".zarr":
        zarr.create_array(str(path), data=PIXELS[0])
    elif suffix == ".png":
        importlib.import_module("PIL.Image").fromarray(PIXELS[0]).save(path)
    else:
        tifffile.imwrite(path, PIXELS[0])
    assert [each.shape for each in list_images(path)] == [(20, 24)]
    stack = read(path, image=0)
    assert (stack.name, stack.image_index, stack.messages) == ("a", None, ())
    with pytest.raises(InputError, match="has no image 1"):
        read(path, image=1)


@pytest.mark.parametrize(
    ("names", "labels"),
    [
        (["Pos0", "Pos1"], ("Pos0", "Pos1")),
        (["A/1/0", "x: y?"], ("A-1-0", "x-y")),
        (["same", "Same"], ("0", "1")),
        (["", "..", "n" * 250], ("0", "1", "2")),
    ],
)
def test_labels_can_be_names_of_files(
    names: list[str], labels: tuple[str, ...]
) -> None:
    entries = [
        ImageEntry(index=n, name=name, axes="YX", shape=(2, 2), dtype="uint8")
        for n, name in enumerate(names)
    ]
    assert file_labels(entries) == labels


def test_all_images_in_python(tmp_path: Path) -> None:
    path = tmp_path / "a.ome.tif"
    images = two_positions(path)
    results = upscale(path, RIDGE, image="all")
    files = upscale_to_disk(path, tmp_path / "fine.ome.tif", RIDGE, image="all")
    assert [result.shape[0] for result in results] == [2, 4]
    for name, result, written in zip(images, results, files, strict=True):
        assert written.path == tmp_path / f"fine_{name}.ome.tif"
        np.testing.assert_array_equal(read(written.path).data, result)
        record = read_provenance(written.path) or {}
        assert record["input"]["image"]["name"] == name
    one = tmp_path / "one.tif"
    tifffile.imwrite(one, PIXELS[0])
    (only,) = upscale_to_disk(one, tmp_path / "b.ome.tif", RIDGE, image="all")
    assert only.path == tmp_path / "b.ome.tif"


@pytest.mark.parametrize("door", [upscale_steps, upscale_lazy])
def test_all_is_refused_where_one_is_returned(tmp_path: Path, door: Any) -> None:
    two_positions(tmp_path / "a.ome.tif")
    with pytest.raises(InputError, match="list_images"):
        door(tmp_path / "a.ome.tif", RIDGE, image="all")


@pytest.mark.parametrize("image", [0, "a", "all"])
def test_pixels_have_no_images_to_choose_from(image: Any) -> None:
    with pytest.raises(InputError, match="pixels were given"):
        upscale(PIXELS, RIDGE, axes="ZYX", image=image)


def test_the_default_is_said_and_recorded(tmp_path: Path) -> None:
    path = tmp_path / "a.ome.tif"
    two_positions(path)
    with pytest.warns(ImageWarning, match="'Pos1'"):
        written = upscale_to_disk(path, tmp_path / "b.ome.tif", RIDGE)
    record = read_provenance(written.path or "") or {}
    assert record["input"]["image"] == {"index": 1, "name": "Pos1"}
    assert "'Pos1'" in record["report"]["messages"][0]


def test_a_run_goes_on_with_its_own_image_only(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    two_stacks_with_axes(path)
    run: dict[str, Any] = {"target": tmp_path / "b.ome.tif", "config": RIDGE}
    assert upscale_to_disk(path, **run, image=0, shard=(1, 2)).missing
    with pytest.raises(InputError, match="was started with"):
        upscale_to_disk(path, **run, image=1, shard=(2, 2))
    assert not upscale_to_disk(path, **run, image=0, shard=(2, 2)).missing


INSTANT = ["-p", "instant", "--threads", "1"]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    two_positions(Path("a.ome.tif"))
    return tmp_path


def test_command_for_all_images(folder: Path) -> None:
    tifffile.imwrite("one.tif", PIXELS[0])
    Path("bad.tif").write_bytes(b"II*\0 no image")
    files = ["a.ome.tif", "one.tif", "bad.tif"]
    words = [*files, *INSTANT, "--image", "all", "--report", "r.csv"]
    assert main(["upscale", *words]) == 1
    with open("r.csv", newline="", encoding="utf-8") as file:
        rows = [(r["file"], r["image"], r["status"]) for r in csv.DictReader(file)]
    assert rows == [
        ("a.ome.tif", "Pos0", "done"),
        ("a.ome.tif", "Pos1", "done"),
        ("one.tif", "", "done"),
        ("bad.tif", "", "failed"),
    ]
    results = ["a_Pos0_x2.ome.tif", "a_Pos1_x2.ome.tif", "one_x2.ome.tif"]
    assert sorted(str(path) for path in Path().glob("*_x2*")) == results


@pytest.mark.parametrize(
    ("words", "results"),
    [
        (["--image", "Pos0"], ["a_Pos0_x2.ome.tif"]),
        (["--image", "1"], ["a_Pos1_x2.ome.tif"]),
        (["--image", "1", "-o", "b.ome.tif"], ["b.ome.tif"]),
        (["--image", "all", "-o", "b.ome.tif"], ["b_Pos0.ome.tif", "b_Pos1.ome.tif"]),
        ([], ["a_x2.ome.tif"]),
    ],
)
def test_names_of_results(folder: Path, words: list[str], results: list[str]) -> None:
    assert main(["upscale", "a.ome.tif", *INSTANT, *words]) == 0
    assert sorted(path.name for path in folder.glob("[ab]_*")) == sorted(
        name for name in results if "_" in name
    )
    for name in results:
        count = 2 if "Pos0" in name else 4
        assert read(folder / name).data.shape == (count, 40, 48)


@pytest.mark.parametrize("command", ["upscale", "info", "kernel"])
def test_command_says_and_refuses(
    folder: Path, command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    extra = [*INSTANT] if command == "upscale" else []
    assert main([command, "a.ome.tif", *extra, "--image", "Pos7"]) == 2
    assert "has no image 'Pos7'" in capsys.readouterr().err
    if command != "kernel":
        assert main([command, "a.ome.tif", *extra, "--json"]) == 0
        (message,) = json.loads(capsys.readouterr().out)["messages"]
        assert "'Pos1' (index 1, 4 × 20 × 24) was chosen" in message
    extra += ["--overwrite"] if command == "upscale" else []
    assert main([command, "a.ome.tif", *extra]) in (0, 2)
    assert "'Pos1' (index 1, 4 × 20 × 24) was chosen" in capsys.readouterr().err


def test_batch_table_holds_what_was_assumed(folder: Path) -> None:
    line = ["upscale", "a.ome.tif", *INSTANT, "--report", "r.csv"]
    assert main(line) == 0
    assert main([*line, "--skip-existing"]) == 0
    text = Path("r.csv").read_text(encoding="utf-8")
    assert "exists already" in text
    assert "'Pos1' (index 1" in text


def test_info_lists_all_images(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["info", "a.ome.tif"]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["0", "Pos0", "ZYX", "2", "×", "20", "×", "24", "uint16"] in lines
    assert ["1", "Pos1", "ZYX", "4", "×", "20", "×", "24", "uint16"] in lines
    assert main(["info", "a.ome.tif", "--image", "all", "--json"]) == 0
    first, second = json.loads(capsys.readouterr().out)
    assert (first["image_name"], second["image_name"]) == ("Pos0", "Pos1")
    assert [each["name"] for each in first["images"]] == ["Pos0", "Pos1"]


@pytest.mark.parametrize("command", ["upscale", "info", "kernel"])
def test_partial_reaches_the_reader(
    folder: Path, command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def refuse(*given: Any) -> Any:
        asked.append(given[-1].partial)
        raise InputError("Not read.")

    monkeypatch.setattr(tiff_module, "_load", refuse)
    for words in ([], ["--partial"]):
        assert main([command, "a.ome.tif", *words]) == 2
    assert asked == [False, True]


def test_napari_opens_all_images(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("napari")
    from napari_zssr.plugin.layers import files as _file_images
    from napari_zssr.plugin.layers.files import read_image
    from napari_zssr.plugin.layers.layers import IMAGE

    shown: list[str] = []
    monkeypatch.setattr(_file_images, "show_info", shown.append)
    few = named(tmp_path / "few.ome.tif", "a", "b")
    many = named(tmp_path / "many.ome.tif", *"abcdefghi")

    def layers(path: Path) -> list[tuple[str, int]]:
        reader = read_image(path)
        assert reader is not None
        return [(how["name"], how["metadata"][IMAGE]) for _, how, _ in reader(path)]

    assert layers(few) == [("few a", 0), ("few b", 1)]
    assert shown == []
    assert layers(many) == [("many a", 0)]
    assert "contains 9 images; 'a' (index 0, 8 × 8) was chosen" in shown[0]


@pytest.mark.parametrize(("index", "words"), [(1, ["--image", "1"]), (None, [])])
def test_copied_command_names_the_image(
    tmp_path: Path, index: int | None, words: list[str]
) -> None:
    layers = pytest.importorskip("napari.layers")
    from napari_zssr.plugin.copy_settings import as_command
    from napari_zssr.plugin.layers.layers import KEY, Selection, file_metadata
    from napari_zssr.plugin.request import Request

    source = {KEY: {"file": str(tmp_path / "a.ome.tif")}}
    layer = layers.Image(PIXELS[0], metadata=source | file_metadata((), index))
    request = Request(layer=layer, axes="YX", selection=Selection(), config=RIDGE)
    command = as_command(request).split()
    assert [w for w in command if w in ("--image", "1")] == words


def test_batch_form_offers_all_images(tmp_path: Path, qtbot: Any) -> None:
    pytest.importorskip("napari")
    from napari.components import ViewerModel

    from napari_zssr.plugin.batch import BatchWidget

    two_positions(tmp_path / "a.ome.tif")
    (tmp_path / "bad.tif").write_bytes(b"II*\0 no image")
    widget = BatchWidget(ViewerModel())
    widget.form.show_config(RIDGE)
    values = {"folder": tmp_path, "within": "all", "partial": True}
    for name, value in values.items():
        widget.form.fields[name].value = value
    assert widget.form.order().partial
    widget.start()
    qtbot.waitUntil(lambda: not widget._run.running, timeout=60_000)
    states = [(row.image.name, row.state) for row in widget.table.rows]
    assert states == [
        ("a.ome.tif Pos0", "done"),
        ("a.ome.tif Pos1", "done"),
        ("bad.tif", "failed"),
    ]
    results = sorted(path.name for path in (tmp_path / "enlarged").iterdir())
    assert results == ["a_Pos0_x2.ome.tif", "a_Pos1_x2.ome.tif"]
    widget.native.deleteLater()
    qtbot.wait(1)
