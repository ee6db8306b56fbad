from __future__ import annotations

import os
import pickle
import tracemalloc
import weakref
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import zarr
from conftest import RIDGE
from test_files import GREY, HYPER, RGB, STACK, broken_tiffs, imagej

from napari_zssr.config import change
from napari_zssr.errors import InputError
from napari_zssr.io.read import checksum, read
from napari_zssr.io.tiff import TiffPixels
from napari_zssr.io.write import write
from napari_zssr.io.zarr_read import ZarrPixels
from napari_zssr.progress import PlaneDone, drain
from napari_zssr.stack.axis_labels import labelled
from napari_zssr.stack.image import ImageStack, is_lazy, load_pixels, planes
from napari_zssr.stack.run import upscale_steps

FLOATS = (STACK / 60000).astype(np.float32)
PIECES: list[Any] = [
    ...,
    0,
    -1,
    (slice(1, None), slice(2, 9)),
    (..., slice(None, None, 3), slice(4, 5)),
    (..., slice(None, None, -1), slice(None)),
    (..., 1, 2),
    (..., slice(5, 5), slice(None)),
]


def two_series(path: Path) -> Path:
    with tifffile.TiffWriter(path, ome=True) as file:
        file.write(GREY[:8, :8], metadata={"axes": "YX"})
        file.write(STACK, metadata={"axes": "TYX"}, tile=(16, 16))
    return path


def written(path: Path, data: Any, **options: Any) -> Path:
    tifffile.imwrite(path, data, **options)
    return path


def separate_files(path: Path) -> Path:
    """An OME-TIFF whose channels lie in files of their own."""
    tifffile.imwrite(path, HYPER[0, 0, :2], metadata={"axes": "CYX"})
    with tifffile.TiffFile(path) as file:
        xml = file.ome_metadata
    assert xml
    parts = "".join(
        f'<TiffData IFD="0" FirstC="{c}" PlaneCount="1">'
        f'<UUID FileName="{path.stem}{c}.ome.tif">urn:uuid:{c}</UUID></TiffData>'
        for c in range(2)
    )
    xml = xml.replace('<TiffData IFD="0" PlaneCount="2"/>', parts)
    head, rest = xml.split(">", 1)[0], xml.split("<OME", 1)[1]
    for c in range(2):
        told = f'{head}><OME UUID="urn:uuid:{c}"{rest}'
        tifffile.imwrite(
            path.with_name(f"{path.stem}{c}.ome.tif"),
            HYPER[0, 0, c],
            description=told.encode(),
            metadata=None,
        )
    path.unlink()
    return path.with_name(f"{path.stem}0.ome.tif")


KINDS: dict[str, Any] = {
    "imagej": lambda p: imagej(p, HYPER, axes="TZCYX"),
    "ome": lambda p: written(p, HYPER, ome=True, metadata={"axes": "TZCYX"}),
    "pages": lambda p: written(p, STACK, metadata=None),
    "shaped": lambda p: written(p, HYPER),
    "one page": lambda p: written(p, GREY),
    "big-endian": lambda p: written(p, STACK, byteorder=">"),
    "big-endian, zlib": lambda p: written(
        p, STACK, byteorder=">", compression="zlib", metadata=None
    ),
    "zlib": lambda p: written(p, HYPER[:, :, 0], compression="zlib"),
    "zlib, apart": lambda p: written(
        p,
        HYPER,
        compression="zlib",
        photometric="rgb",
        planarconfig="separate",
        rowsperstrip=7,
    ),
    "tiles": lambda p: written(p, STACK, tile=(16, 16)),
    "tiles, zlib": lambda p: written(p, STACK, tile=(16, 16), compression="zlib"),
    "strips": lambda p: written(p, STACK, rowsperstrip=7, metadata=None),
    "rgb": lambda p: written(p, np.stack([RGB] * 3), photometric="rgb"),
    "rgb, apart": lambda p: written(
        p, np.moveaxis(RGB, -1, 0), photometric="rgb", planarconfig="separate"
    ),
    "float": lambda p: written(p, FLOATS, ome=True),
    "volume": lambda p: written(p, STACK, ome=False, volumetric=True, tile=(2, 16, 16)),
    "two series": two_series,
    "several files": separate_files,
    "bigtiff": lambda p: written(p, STACK, bigtiff=True),
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_tiff_reads_the_same_lazily(kind: str, tmp_path: Path) -> None:
    path = KINDS[kind](tmp_path / "a.ome.tif")
    whole, stack = read(path), read(path, lazy=True)
    assert isinstance(stack.data, TiffPixels)
    told = ("axes", "spacing", "units", "channels", "guessed", "name", "checksum")
    assert [getattr(stack, n) for n in told] == [getattr(whole, n) for n in told]
    assert (stack.data.shape, stack.data.dtype) == (whole.data.shape, whole.data.dtype)
    for piece in PIECES:
        found = stack.data[piece]
        assert found.dtype.isnative
        np.testing.assert_array_equal(found, whole.data[piece])
    for place in planes(stack.axes, stack.data.shape):
        np.testing.assert_array_equal(stack.data[place.index], whole.data[place.index])
    np.testing.assert_array_equal(np.asarray(stack.data), whole.data)


def zarr_image(path: Path, data: Any = HYPER, side: int = 16) -> Path:
    group = zarr.open_group(str(path), mode="w")
    chunks = (*(1 for _ in data.shape[:-2]), side, side)
    group.create_array("0", data=data, chunks=chunks)
    axes = [{"name": name} for name in "tczyx"[-data.ndim :]]
    told = {"multiscales": [{"axes": axes, "datasets": [{"path": "0"}]}]}
    group.attrs["ome"] = told | {"version": "0.5"}
    return path


@pytest.mark.parametrize("ome", [True, False])
def test_zarr_reads_the_same_lazily(ome: bool, tmp_path: Path) -> None:
    path = tmp_path / "a.zarr"
    if ome:
        zarr_image(path)
    else:
        zarr.create_array(str(path), data=HYPER.astype(">u2"), chunks=(1, 1, 1, 16, 16))
    stack = read(path, lazy=True)
    assert isinstance(stack.data, ZarrPixels)
    assert (stack.data.dtype, stack.data.ndim) == (HYPER.dtype, 5)
    for place in planes(stack.axes, stack.data.shape):
        found = stack.data[place.index]
        assert found.dtype.isnative
        np.testing.assert_array_equal(found, HYPER[place.index])
    np.testing.assert_array_equal(np.asarray(stack.data), read(path).data)


@pytest.mark.parametrize("kind", ["imagej", "zlib", "two series", "zarr"])
def test_lazy_pixels_travel_by_the_name_of_their_file(
    kind: str, tmp_path: Path
) -> None:
    path = zarr_image(tmp_path / "a") if kind == "zarr" else KINDS[kind](tmp_path / "a")
    data = read(path, lazy=True).data
    expected = data[0]
    sent = pickle.dumps(data)
    assert len(sent) < 1000
    np.testing.assert_array_equal(pickle.loads(sent)[0], expected)


@pytest.mark.parametrize("name", ["a.tif", "a.ome.zarr"])
def test_lazy_pixels_of_a_relative_path_are_read_from_any_folder(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker of a cluster has a working folder of its own."""
    monkeypatch.chdir(tmp_path)
    write(name, labelled(STACK, axes="ZYX"))
    data = read(name, lazy=True).data
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    travelled = pickle.loads(pickle.dumps(data))
    np.testing.assert_array_equal(travelled[0], STACK[0])


@pytest.mark.parametrize("kind", ["imagej", "zlib", "several files"])
def test_threads_share_lazy_pixels(kind: str, tmp_path: Path) -> None:
    stack = read(KINDS[kind](tmp_path / "a.ome.tif"), lazy=True)
    wanted = load_pixels(stack.data)
    listed = planes(stack.axes, wanted.shape) * 8
    assert len(listed) >= 8
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda place: stack.data[place.index], listed))
    for place, plane in zip(listed, found, strict=True):
        np.testing.assert_array_equal(plane, wanted[place.index])


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="needs /proc")
def test_no_file_stays_open(tmp_path: Path) -> None:
    path = separate_files(tmp_path / "a.ome.tif")
    data = read(path, lazy=True).data
    load_pixels(data)
    held = [os.path.realpath(fd) for fd in Path("/proc/self/fd").iterdir()]
    assert not [name for name in held if name.startswith(str(tmp_path))]


@pytest.mark.parametrize("kind", ["contiguous", "pages", "zarr"])
def test_only_what_is_asked_for_is_read(kind: str, tmp_path: Path) -> None:
    data = np.random.default_rng(0).integers(0, 255, (40, 512, 512), dtype=np.uint8)
    if kind == "zarr":
        path = zarr_image(tmp_path / "a.zarr", data, side=512)
    else:
        deflated = {"compression": "zlib"} if kind == "pages" else {}
        path = written(tmp_path / "a.tif", data, **deflated)
    read(path, lazy=True).data[0]  # What is imported for it is not counted.
    tracemalloc.start()
    stack = read(path, lazy=True)
    plane = stack.data[7]
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    np.testing.assert_array_equal(plane, data[7])
    assert peak < data.nbytes / 3


def test_damage_is_told_when_it_is_read(tmp_path: Path) -> None:
    complaints = []
    for path in broken_tiffs(tmp_path):
        try:
            data = read(path, lazy=True).data
            np.testing.assert_array_equal(
                np.stack([data[z] for z in range(len(STACK))]), STACK
            )
        except InputError as error:
            complaints.append(str(error))
    assert len(complaints) >= 14
    assert all("damaged or incomplete" in text for text in complaints)
    assert all("\n" not in text for text in complaints)


def test_whole_pages_of_a_damaged_tiff_are_still_there(tmp_path: Path) -> None:
    path = written(tmp_path / "a.tif", STACK, compression="zlib")
    with tifffile.TiffFile(path) as file:
        at = file.pages[5].dataoffsets[0]
    content = bytearray(path.read_bytes())
    content[at : at + 50] = bytes(50)
    path.write_bytes(content)
    data = read(path, lazy=True).data
    np.testing.assert_array_equal(data[2], STACK[2])
    with pytest.raises(InputError, match="damaged or incomplete"):
        data[5]


def test_a_damaged_chunk_is_told_when_it_is_read(tmp_path: Path) -> None:
    path = zarr_image(tmp_path / "a.zarr", STACK)
    (path / "0" / "c" / "3" / "0" / "0").write_bytes(b"nonsense")
    data = read(path, lazy=True).data
    np.testing.assert_array_equal(data[2], STACK[2])
    with pytest.raises(InputError, match="cannot be read as OME-Zarr"):
        data[3]


def test_a_file_that_went_away_is_told(tmp_path: Path) -> None:
    data = read(written(tmp_path / "a.tif", STACK), lazy=True).data
    (tmp_path / "a.tif").unlink()
    with pytest.raises(InputError, match="cannot be read"):
        data[0]


@pytest.mark.parametrize(("dtype", "word"), [(bool, "boolean"), (complex, "complex")])
def test_types_are_refused_unread(dtype: type, word: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=word):
        read(written(tmp_path / "a.tif", GREY.astype(dtype)), lazy=True)


def test_what_is_lazy() -> None:
    dask = pytest.importorskip("dask.array")
    assert is_lazy(dask.from_array(GREY))
    assert is_lazy(zarr.array(GREY))
    for held in (GREY, [[1, 2]], np.float64(1), 3, GREY.view(np.memmap)):
        assert not is_lazy(held)


class Counted:
    """Lazy pixels in the other byte order that remember what was read."""

    def __init__(self, data: Any) -> None:
        self.whole = data
        self.shape, self.ndim = data.shape, data.ndim
        self.dtype = data.dtype.newbyteorder(">")
        self.alive: list[weakref.ref[Any]] = []
        self.together = 0

    def __getitem__(self, index: Any) -> Any:
        read = self.whole[index].astype(self.dtype)
        self.alive = [r for r in self.alive if r() is not None]
        self.alive.append(weakref.ref(read))
        self.together = max(self.together, len(self.alive))
        return read


def test_a_lazy_stack_is_enlarged_plane_by_plane() -> None:
    data = np.random.default_rng(0).integers(0, 900, (9, 24, 26)).astype(np.uint16)
    lazy = Counted(data)
    made = drain(upscale_steps(labelled(lazy, axes="ZYX"), RIDGE))
    wanted = drain(upscale_steps(labelled(data, axes="ZYX"), RIDGE))
    np.testing.assert_array_equal(made.image, wanted.image)
    assert made.image.dtype == np.uint16
    assert lazy.together <= 2


def with_gaps() -> Any:
    data = FLOATS.copy()
    data[1, 3, 4], data[2] = np.inf, np.nan
    return data


def test_nan_is_filled_alike_lazily_and_in_memory(tmp_path: Path) -> None:
    config = change(RIDGE, nonfinite="fill")
    path = written(tmp_path / "a.tif", with_gaps())
    made = drain(upscale_steps(read(path, lazy=True, axes="ZYX"), config))
    wanted = drain(upscale_steps(labelled(with_gaps(), axes="ZYX"), config))
    assert np.isfinite(made.image).all()
    np.testing.assert_array_equal(made.image, wanted.image)


def test_nan_is_refused_before_the_first_plane_where_all_is_in_memory() -> None:
    data = FLOATS.copy()
    data[5, 3, 4] = np.nan
    done: list[Any] = []

    def note(event: Any) -> None:
        done.append(isinstance(event, PlaneDone))

    with pytest.raises(InputError, match=r"plane \[5\].*\(3, 4\)"):
        drain(upscale_steps(labelled(data, axes="ZYX"), RIDGE), note)
    assert not any(done)
    lazy: ImageStack = labelled(Counted(data), axes="ZYX")
    with pytest.raises(InputError, match=r"plane \[5\]"):
        drain(upscale_steps(lazy, RIDGE), note)


def test_checksums_of_large_files_look_at_parts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = np.random.default_rng(0).bytes(200_000)
    path, copy = tmp_path / "a", tmp_path / "b"
    path.write_bytes(content)
    copy.write_bytes(content)
    whole = checksum(path)
    module = "napari_zssr.io.read"
    monkeypatch.setattr(f"{module}.WHOLE_BYTES", 100_000)
    monkeypatch.setattr(f"{module}.BLOCK_BYTES", 1000)
    first = checksum(path)
    assert first != whole
    assert first == checksum(copy)
    copy.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    assert checksum(copy) != first
    copy.write_bytes(content + b"x")
    assert checksum(copy) != first


def test_checksums_of_zarr_see_other_pixels(tmp_path: Path) -> None:
    first = checksum(zarr_image(tmp_path / "a.zarr"))
    assert checksum(zarr_image(tmp_path / "b.zarr")) == first
    changed = HYPER.copy()
    changed[1, 4, 2, 19, 29] += 1
    assert checksum(zarr_image(tmp_path / "c.zarr", changed)) != first
