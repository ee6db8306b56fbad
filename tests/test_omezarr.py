from __future__ import annotations

import errno
import os
import tracemalloc
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaozarrs
import zarr
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from napari_zssr import atomic
from napari_zssr.errors import ComputeError, InputError
from napari_zssr.io import ngff as layout
from napari_zssr.io.ngff import BandWriter, band_rows, halved, levels_of, zarr_axes
from napari_zssr.io.read import read
from napari_zssr.io.zarr_write import create, read_plane, write_plane
from napari_zssr.stack.axis_labels import labelled
from napari_zssr.stack.image import (
    Channel,
    Outline,
    enlarged_outline,
    outline_of,
    plane_axes,
    planes,
)

SIZES = {"T": 2, "C": 3, "Z": 2, "Y": 23, "X": 18, "S": 3}
UNITS = {"T": "min", "Z": "um", "Y": "um", "X": "nm"}


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Several chunks, shards, bands and levels in a small image; no slow syncing."""
    monkeypatch.setattr(layout, "CHUNK", 4)
    monkeypatch.setattr(layout, "SHARD_BYTES", 256)
    monkeypatch.setattr(layout, "SMALLEST", 5)
    monkeypatch.setattr(os, "fsync", lambda handle: None)


def noise(shape: tuple[int, ...], dtype: str = "u2") -> NDArray[Any]:
    return np.random.default_rng(1).integers(1, 100, shape).astype(dtype)


def outline(axes: str, dtype: str = "uint16", **known: Any) -> Outline:
    shape = tuple(SIZES[a] for a in axes)
    sizes = {"T": 2.0, "Z": 0.5, "Y": 0.1, "X": 200.0}
    spacing = {a: size for a, size in sizes.items() if a in axes}
    units = {a: UNITS[a] for a in spacing}
    data = np.broadcast_to(np.zeros((), dtype), shape)
    stack = labelled(data, axes=axes, spacing=spacing, units=units, **known)
    return outline_of(stack)


def bands(plane: NDArray[Any], axes: str, rows: int) -> Iterator[NDArray[Any]]:
    along = plane_axes(axes).index("Y")
    for first in range(0, plane.shape[along], rows):
        yield np.take(plane, range(plane.shape[along])[first : first + rows], along)


def fill(folder: Path, told: Outline, rows: int = 7) -> NDArray[Any]:
    data = noise(told.shape, told.dtype)
    create(folder, told)
    for place in planes(told.axes, told.shape):
        write_plane(folder, place.index, bands(data[place.index], told.axes, rows))
    return data


def files(folder: Path) -> set[str]:
    found = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix() for path in found}


@pytest.mark.parametrize(
    "axes", ["YX", "XY", "CYX", "ZCYX", "TZCYX", "XCTYZ", "YXS", "ZSYX", "CYXS"]
)
@pytest.mark.parametrize("rows", [5, 23])
def test_round_trip(tmp_path: Path, axes: str, rows: int) -> None:
    channels = (
        Channel(name="DNA", emission_nm=461.0, excitation_nm=405.0, color=0x0000FFFF),
        Channel(name="actin"),
        Channel(color=-0x00FF0001),
    )
    count = 0 if "S" in axes else 3 if "C" in axes else 1
    told = outline(axes, channels=channels[:count])
    data = fill(tmp_path / "a.ome.zarr", told, rows)
    yaozarrs.validate_zarr_store(str(tmp_path / "a.ome.zarr"))
    for place in planes(axes, told.shape):
        plane = read_plane(tmp_path / "a.ome.zarr", place.index)
        np.testing.assert_array_equal(plane, data[place.index])
    again = read(tmp_path / "a.ome.zarr")
    order = zarr_axes(axes)
    if "S" in axes and "C" not in axes:
        order = order.replace("C", "S")
    assert (again.axes, again.guessed) == (order, False)
    if "C" in axes and "S" in axes:
        data = np.moveaxis(data, -1, 1).reshape(9, 23, 18)
    else:
        data = data.transpose([axes.index(a) for a in order])
        assert again.spacing == told.along(order).spacing
        assert again.units == told.along(order).units
        assert again.channels == told.channels
    np.testing.assert_array_equal(again.data, data)
    assert not [path for path in files(tmp_path) if "/." in path]
    assert os.listdir(tmp_path) == ["a.ome.zarr"]


def test_channels_with_samples_are_named(tmp_path: Path) -> None:
    channels = (Channel(name="a"), Channel(name="b"), Channel(name="c"))
    create(tmp_path / "a.zarr", outline("CYXS", channels=channels))
    names = [channel.name for channel in read(tmp_path / "a.zarr").channels]
    assert names[:4] == ["a red", "a green", "a blue", "b red"]
    create(tmp_path / "b.zarr", outline("YXS"))
    group = zarr.open_group(tmp_path / "b.zarr", mode="r")
    told: Any = group.attrs["ome"]
    colors = [channel["color"] for channel in told["omero"]["channels"]]
    assert colors == ["FF0000", "00FF00", "0000FF"]


@pytest.mark.parametrize(
    "dtype", ["uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64",
              "float16", "float32", "float64"],
)  # fmt: skip
def test_types_survive(tmp_path: Path, dtype: str) -> None:
    told = outline("ZYX", dtype)
    data = fill(tmp_path / "a.zarr", told)
    again = read(tmp_path / "a.zarr").data
    assert again.dtype == np.dtype(dtype)
    np.testing.assert_array_equal(again, data)


def test_no_file_holds_parts_of_two_planes(tmp_path: Path) -> None:
    told = outline("ZCYXS")
    create(tmp_path / "a.zarr", told)
    before = files(tmp_path)
    seen: set[str] = set()
    for place in planes(told.axes, told.shape):
        write_plane(tmp_path / "a.zarr", place.index, [noise((23, 18, 3))])
        now = files(tmp_path) - before
        assert now
        assert not now & seen
        seen |= now
        before |= now


def test_all_files_are_on_the_disk_at_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And the folders that name them."""
    synced: set[int] = set()
    monkeypatch.setattr(os, "fsync", lambda handle: synced.add(os.fstat(handle).st_ino))
    told = outline("TCYX")
    create(tmp_path / "a.zarr", told)
    for place in planes(told.axes, told.shape)[:2]:
        before = set(tmp_path.rglob("*"))
        synced.clear()
        write_plane(tmp_path / "a.zarr", place.index, [noise((23, 18))])
        made = set(tmp_path.rglob("*")) - before
        expected = {path for path in made if path.is_file()}
        if os.name == "posix":
            expected |= {path.parent for path in made}
        assert {path.stat().st_ino for path in expected} == synced


@pytest.mark.parametrize("dtype", ["uint8", "int16", "uint64", "int64", "float32"])
def test_levels_are_means_rounded_to_even(dtype: str) -> None:
    info = np.iinfo(dtype) if dtype != "float32" else np.finfo(dtype)
    rng = np.random.default_rng(0)
    plane = rng.integers(0, 9, (1, 40, 40)).astype(dtype)
    plane[0, :2, :4] = info.max
    plane[0, 2:4, :4] = info.min
    four = plane.astype(object).reshape(20, 2, 20, 2).sum(axis=(1, 3))
    mean = [
        value / 4 if dtype == "float32" else round_half_even(value)
        for value in four.ravel()
    ]
    expected = np.array(mean, dtype=object).reshape(1, 20, 20).astype(dtype)
    np.testing.assert_array_equal(halved(plane), expected)
    assert halved(plane).dtype == np.dtype(dtype)


def round_half_even(total: int) -> int:
    """A quarter of whole numbers of any size."""
    whole, rest = divmod(total, 4)
    return whole + (rest == 3 or (rest == 2 and whole % 2 == 1))


@given(
    y=st.integers(1, 30),
    x=st.integers(1, 9),
    rows=st.integers(1, 12),
    heights=st.lists(st.integers(0, 9), max_size=9),
)
def test_bands_of_any_height_make_one_pyramid(
    y: int, x: int, rows: int, heights: list[int]
) -> None:
    plane = noise((2, y, x))
    expected = halved(plane)
    low = np.zeros_like(expected)
    high = np.zeros_like(plane)
    starts: list[int] = []

    def put_low(first: int, band: NDArray[Any]) -> None:
        low[:, first : first + band.shape[1]] = band

    def put(first: int, band: NDArray[Any]) -> None:
        starts.append(first)
        high[:, first : first + band.shape[1]] = band

    below = BandWriter((2, *expected.shape[1:]), plane.dtype, 3, put_low)
    writer = BandWriter(plane.shape, plane.dtype, 2 * rows, put, below)  # type: ignore[arg-type]
    first = 0
    for height in [*heights, y]:
        writer.add(plane[:, first : first + height])
        first = min(y, first + height)
    assert writer.rows_added == y
    assert starts == list(range(0, y, 2 * rows))
    np.testing.assert_array_equal(high, plane)
    np.testing.assert_array_equal(low, expected)


@pytest.mark.parametrize("size", [(96, 96), (95, 97)])
@pytest.mark.parametrize("factors", [(2.0, 2.0), (3.0, 1.5), (1.0, 4.0)])
@pytest.mark.parametrize("spacing", [{"Y": 0.3, "X": 0.2}, None])
def test_a_blob_lies_at_one_place_on_all_levels(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    size: tuple[int, int],
    factors: tuple[float, float],
    spacing: dict[str, float] | None,
) -> None:
    """Also on the image that was enlarged, whose first pixel lies at (5, 7)."""
    monkeypatch.setattr(layout, "CHUNK", 16)
    monkeypatch.setattr(layout, "SHARD_BYTES", 8192)
    small = labelled(np.zeros((9, 9)), axes="YX", spacing=spacing)
    small = replace(small, origin=(5.0, 7.0) if spacing else ())
    told = replace(enlarged_outline(small, factors), shape=size, dtype="float64")
    at = 41.3, 52.6
    y, x = (np.arange(n) - c for n, c in zip(size, at, strict=True))
    plane = np.exp(-(y[:, None] ** 2 + x**2) / (2 * 4.0**2))
    folder = tmp_path / "a.ome.zarr"
    create(folder, told, levels=4)
    write_plane(folder, (slice(None), slice(None)), [plane])
    unit = [1.0 if spacing is None else spacing[a] for a in "YX"]
    fine = np.array(unit) / factors
    # Where the blob lies in the world of the image that was enlarged.
    coarse = [(c + 0.5) / f - 0.5 for c, f in zip(at, factors, strict=True)]
    start = np.zeros(2) if spacing is None else np.array([5.0, 7.0])
    world = start + np.array(coarse) * unit
    attributes: Any = zarr.open_group(folder, mode="r").attrs["ome"]
    datasets = attributes["multiscales"][0]["datasets"]
    assert len(datasets) == 4
    for number, dataset in enumerate(datasets):
        seen = np.asarray(zarr.open_array(folder / str(number), mode="r")[...])
        grid = np.indices(seen.shape).reshape(2, -1)
        centre = (grid * seen.ravel()).sum(axis=1) / seen.sum()
        scale, translation = dataset["coordinateTransformations"]
        placed = centre * scale["scale"] + translation["translation"]
        assert (np.abs(placed - world) < 0.05 * fine).all()


def test_the_place_is_read_back(tmp_path: Path) -> None:
    """As offsets in the units of the axes; without any pixel size in input pixels."""
    sized = labelled(np.zeros((2, 8, 8)), axes="ZYX", spacing={"Y": 0.4, "X": 0.2})
    told = enlarged_outline(sized, (2.0, 4.0))
    create(tmp_path / "a.zarr", told)
    found = read(tmp_path / "a.zarr")
    assert found.origin == pytest.approx((0.0, -0.1, -0.075))
    assert outline_of(found).origin == pytest.approx(told.origin)
    assert read(tmp_path / "a.zarr", spacing={"X": 0.1}).origin[2] == 0
    bare = labelled(np.zeros((8, 8)), axes="YX")
    create(tmp_path / "b.zarr", enlarged_outline(bare, (2.0, 1.0)))
    found = read(tmp_path / "b.zarr")
    assert (found.spacing, found.units) == ((0.5, None), (None, None))
    assert found.origin == (-0.25, 0.0)
    create(tmp_path / "c.zarr", outline_of(bare))
    assert (read(tmp_path / "c.zarr").spacing, found.units) == ((None, None),) * 2
    assert read(tmp_path / "c.zarr").origin == ()


def test_all_transformations_count(tmp_path: Path) -> None:
    group = zarr.open_group(tmp_path / "a.zarr", mode="w")
    group.create_array("0", data=noise((8, 9)))

    def step(kind: str, *values: float) -> dict[str, Any]:
        return {"type": kind, kind: list(values)}

    axes = [{"name": a, "type": "space", "unit": "micrometer"} for a in "yx"]
    inner = [step("scale", 0.5, 0.25), step("translation", 3, 4)]
    outer = [step("scale", 2, 2), step("translation", 1, 0)]
    image = {"axes": axes, "coordinateTransformations": outer}
    image |= {"datasets": [{"path": "0", "coordinateTransformations": inner}]}
    group.attrs["ome"] = {"version": "0.5", "multiscales": [image]}
    found = read(tmp_path / "a.zarr")
    assert found.spacing == (1.0, 0.5)
    assert found.origin == (7.0, 8.0)


def test_create_leaves_what_is_there(tmp_path: Path) -> None:
    told = outline("ZYX")
    data = fill(tmp_path / "a.zarr", told)
    create(tmp_path / "a.zarr", told)
    np.testing.assert_array_equal(read(tmp_path / "a.zarr").data, data)
    for other in (
        replace(told, dtype="float32"),
        replace(told, origin=(0.0, 1.0, 1.0)),
        replace(told, shape=(3, *told.shape[1:])),
        outline("CYX"),
    ):
        with pytest.raises(InputError, match="exists already with other content"):
            create(tmp_path / "a.zarr", other)
    with pytest.raises(InputError, match="exists already with other content"):
        create(tmp_path / "a.zarr", told, levels=1)
    (tmp_path / "b.zarr").mkdir()
    (tmp_path / "b.zarr" / "precious").touch()
    with pytest.raises(InputError, match="exists already with other content"):
        create(tmp_path / "b.zarr", told)
    assert sorted(os.listdir(tmp_path)) == ["a.zarr", "b.zarr"]


def test_a_plane_that_was_half_written_is_written_anew(tmp_path: Path) -> None:
    """Damaged files do no harm, and pixels that are 0 now do not stay."""
    told = outline("ZYX")
    data = fill(tmp_path / "a.zarr", told)
    place = planes(told.axes, told.shape)[1]
    for path in (tmp_path / "a.zarr" / "0" / "c" / "1").rglob("*"):
        if path.is_file():
            path.write_bytes(path.read_bytes()[:9])
    data[1, :12] = 0
    write_plane(tmp_path / "a.zarr", place.index, [data[1]])
    np.testing.assert_array_equal(read(tmp_path / "a.zarr").data, data)


@pytest.mark.parametrize("heights", [(10,), (23, 1), (), (23, 23)])
def test_bands_that_are_no_plane_are_refused(
    tmp_path: Path, heights: tuple[int, ...]
) -> None:
    create(tmp_path / "a.zarr", outline("YX"))
    with pytest.raises(ComputeError, match=r"could not be written .*rows"):
        write_plane(
            tmp_path / "a.zarr",
            (slice(None), slice(None)),
            [np.ones((height, 18)) for height in heights],
        )


@pytest.mark.parametrize(
    ("code", "kind", "told"),
    [
        (errno.ENOSPC, ComputeError, "the disk is full .*what was finished is kept"),
        (errno.EROFS, InputError, "cannot be written"),
    ],
)
def test_finished_planes_survive_a_failing_disk(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    code: int,
    kind: type[Exception],
    told: str,
) -> None:
    image = outline("ZYX")
    data = fill(tmp_path / "a.zarr", image)
    before = files(tmp_path)
    calls = iter(range(99))

    def fail(handle: int) -> None:
        if next(calls) >= 2:
            raise OSError(code, os.strerror(code))

    with monkeypatch.context() as failing:
        failing.setattr(atomic.os, "fsync", fail)
        with pytest.raises(kind, match=told):
            write_plane(tmp_path / "a.zarr", (1, slice(None), slice(None)), [data[1]])
        with pytest.raises(kind, match=told):
            create(tmp_path / "b.zarr", image)
    assert files(tmp_path) == before
    np.testing.assert_array_equal(read(tmp_path / "a.zarr").data, data)


@pytest.mark.parametrize(
    "mark", [None, "{", "{}", '{"attributes": {"napari-zssr": 1}}']
)
def test_planes_go_only_where_an_image_was_begun(
    tmp_path: Path, mark: str | None
) -> None:
    if mark is not None:
        (tmp_path / "zarr.json").write_text(mark)
    with pytest.raises(InputError, match="not an unfinished image of napari-zssr"):
        write_plane(tmp_path, (slice(None), slice(None)), [])


def test_errors_of_those_who_give_bands_stay_theirs(tmp_path: Path) -> None:
    create(tmp_path / "a.zarr", outline("YX"))

    def failing() -> Iterator[NDArray[Any]]:
        yield noise((9, 18))
        raise ValueError("no memory")

    with pytest.raises(ValueError, match="no memory"):
        write_plane(tmp_path / "a.zarr", (slice(None), slice(None)), failing())


def write_some(folder: Path, told: Outline, first: int, step: int) -> None:
    create(folder, told)
    data = noise(told.shape)
    for place in planes(told.axes, told.shape)[first::step]:
        write_plane(folder, place.index, [data[place.index]])


def test_processes_write_planes_at_the_same_time(tmp_path: Path) -> None:
    told = replace(outline("TCZYX"), shape=(2, 3, 2, 40, 50))
    folder = tmp_path / "a.ome.zarr"
    with ProcessPoolExecutor(3, mp_context=get_context("spawn")) as pool:
        jobs = [pool.submit(write_some, folder, told, i, 2) for i in (0, 1, 1)]
        for job in jobs:
            job.result()
    np.testing.assert_array_equal(read(folder).data, noise(told.shape))
    assert os.listdir(tmp_path) == ["a.ome.zarr"]
    assert not [path for path in files(tmp_path) if "/." in path]


class TestTrueSizes:
    """As chunks, shards and bands are in use."""

    @pytest.fixture(autouse=True)
    def small(self) -> None:
        pass

    @pytest.mark.parametrize(
        ("size", "dtype"),
        [
            ((1, 1), "uint8"),
            ((1, 1), "float64"),
            ((300, 40), "uint16"),
            ((513, 511), "float32"),
            ((513, 511), "uint8"),
            ((4096, 4096), "uint16"),
            ((4096, 4096), "float64"),
            ((32768, 32768), "uint8"),
            ((32768, 32768), "float64"),
        ],
    )
    def test_shards_and_levels(self, dtype: str, size: tuple[int, int]) -> None:
        told = replace(outline("YX", dtype), shape=size)
        listed = levels_of(told)
        assert listed[0].size == size
        assert min(listed[-1].size) <= 256
        assert len(listed) == 1 or min(listed[-2].size) > 256
        item = np.dtype(dtype).itemsize
        for level in listed:
            for side, chunk, shard in zip(*vars_of(level), strict=True):
                assert chunk == min(side, 512)
                assert shard % chunk == 0
                assert shard - chunk < side
            assert np.prod(level.shard) * item <= max(2**23, 512 * 512 * item)
            assert level.shard[0] % 2 == 0 or level.shard[0] >= level.size[0]
        assert band_rows(told) == min(size[0], listed[0].shard[0])
        assert band_rows(told) * size[1] * item <= max(2**23, 512 * size[1] * item)

    def test_a_plane_is_written_by_bands(self, tmp_path: Path) -> None:
        told = replace(outline("YX"), shape=(4096, 4096))
        create(tmp_path / "a.zarr", told)
        rng = np.random.default_rng(0)
        rows = (rng.integers(0, 500, (100, 4096)).astype("u2") for _ in range(40))
        last = noise((96, 4096))
        tracemalloc.start()
        index = (slice(None), slice(None))
        write_plane(
            tmp_path / "a.zarr", index, (r for part in (rows, [last]) for r in part)
        )
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < told.nbytes
        seen = read_plane(tmp_path / "a.zarr", index, slice(4000, None))
        np.testing.assert_array_equal(seen, last)
        # Viewers read 512 x 512 pixels, but there are few files.
        assert zarr.open_array(tmp_path / "a.zarr" / "0").chunks == (512, 512)
        assert len([f for f in files(tmp_path / "a.zarr") if "/c/" in f]) == 8


def vars_of(level: layout.Level) -> tuple[tuple[int, int], ...]:
    return level.size, level.chunk, level.shard
