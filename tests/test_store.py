from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import tifffile

from napari_zssr import atomic
from napari_zssr.errors import ComputeError, InputError
from napari_zssr.io import write as ometiff
from napari_zssr.io import write as store
from napari_zssr.io import zarr_write
from napari_zssr.io.read import read
from napari_zssr.io.write import check_output, read_provenance, write
from napari_zssr.stack.axis_labels import labelled
from napari_zssr.stack.image import Channel, ImageStack

SIZES = {"T": 2, "C": 3, "Z": 4, "Y": 9, "X": 8, "S": 3}
RECORD = {"seed": 3, "sentence": "gained 0.4 dB \u00b1 0.1 <&>", "planes": [1, 2]}


def stack_of(axes: str, dtype: str = "u2", **known: Any) -> ImageStack:
    shape = tuple(SIZES[a] for a in axes)
    values = np.random.default_rng(1).integers(0, 100, shape).astype(dtype)
    return labelled(values, axes=axes, **known)


@pytest.mark.parametrize(
    "axes", ["YX", "CYX", "ZYX", "ZCYX", "TCZYX", "TZCYX", "ZTCYX", "CZTYX"]
)
def test_ome_tiff_round_trip(tmp_path: Path, axes: str) -> None:
    spacing = dict(zip("TZYX", (1.5, 0.3, 0.1, 0.2), strict=True))
    known = {a: s for a, s in spacing.items() if a in axes}
    units = {"T": "min", "Z": "um", "Y": "um", "X": "nm"}
    channels = (
        Channel(name="DNA", emission_nm=461.0, excitation_nm=405.0, color=-16776961),
        Channel(name="actin <&>"),
        Channel(emission_nm=600.5),
    )
    stack = stack_of(
        axes,
        spacing=known,
        units={a: units[a] for a in known},
        channels=channels if "C" in axes else channels[:1],
    )
    path = write(tmp_path / "a.ome.tif", stack, provenance=RECORD)
    again = read(path)
    np.testing.assert_array_equal(again.data, stack.data)
    assert again.axes == axes
    assert again.spacing == stack.spacing
    assert again.units == stack.units
    assert again.channels == stack.channels
    assert read_provenance(path) == RECORD
    assert os.listdir(tmp_path) == ["a.ome.tif"]


@pytest.mark.parametrize(
    ("axes", "order"),
    [("YX", "YX"), ("ZCYX", "CZYX"), ("XZTY", "TZYX"), ("YXS", "SYX")],
)
def test_ome_zarr_round_trip(tmp_path: Path, axes: str, order: str) -> None:
    """RGB samples are channels there, which come first."""
    channels = [Channel(name="DNA", color=-16776961), Channel(), Channel(name="b")]
    stack = stack_of(
        axes,
        spacing={"Y": 0.1, "X": 0.2},
        channels=channels if "C" in axes else (),
        name="cells",
    )
    places = {"Y": 1.5, "X": -0.05}
    stack = replace(stack, origin=tuple(places.get(a, 0.0) for a in axes))
    path = write(tmp_path / "a.ome.zarr", stack, provenance=RECORD)
    again = read(path)
    assert again.axes == order
    expected = stack.data.transpose([axes.index(a) for a in order])
    np.testing.assert_array_equal(again.data, expected)
    for letter in "YX":
        at = order.index(letter)
        assert again.spacing[at] == {"Y": 0.1, "X": 0.2}[letter]
        assert again.units[at] == "um"
        assert again.origin[at] == places[letter]
    assert again.channels == stack.channels
    assert read_provenance(path) == RECORD
    assert os.listdir(tmp_path) == ["a.ome.zarr"]


class PlaneByPlane:
    """Pixels of which no more than a plane is ever asked for."""

    def __init__(self, data: Any) -> None:
        self.data = data
        self.shape, self.dtype, self.ndim = data.shape, data.dtype, data.ndim

    def __getitem__(self, index: Any) -> Any:
        plane = self.data[index]
        assert plane.ndim == 2
        return plane


def test_ome_zarr_takes_pixels_that_are_not_loaded(tmp_path: Path) -> None:
    stack = stack_of("ZCYX")
    lazy: Any = PlaneByPlane(stack.data)
    again = read(write(tmp_path / "a.zarr", replace(stack, data=lazy)))
    np.testing.assert_array_equal(again.data, stack.data.swapaxes(0, 1))


@pytest.mark.parametrize(
    "dtype", ["u1", "i1", "u2", "i2", "u4", "i4", "f4", "f8", ">u2"]
)
def test_types_survive(tmp_path: Path, dtype: str) -> None:
    stack = stack_of("ZYX", dtype)
    again = read(write(tmp_path / "a.tiff", stack))
    assert again.data.dtype == stack.data.dtype
    np.testing.assert_array_equal(again.data, stack.data)


@pytest.mark.parametrize(
    ("axes", "written"),
    [("YXC", "CYX"), ("XY", "YX"), ("SYX", "YXS"), ("ZYXS", "ZYXS"), ("CYXS", "CYXS")],
)
def test_axes_are_put_in_order(tmp_path: Path, axes: str, written: str) -> None:
    stack = stack_of(axes, "u1", spacing={"Y": 0.1, "X": 0.2})
    again = read(write(tmp_path / "a.ome.tif", stack))
    assert again.axes == written
    expected = stack.data.transpose([axes.index(a) for a in written])
    np.testing.assert_array_equal(again.data, expected)
    assert again.spacing[written.index("X")] == 0.2
    with tifffile.TiffFile(tmp_path / "a.ome.tif") as file:
        colour = file.pages.first.photometric == tifffile.PHOTOMETRIC.RGB
    assert colour == ("S" in axes)


@pytest.mark.parametrize("samples", [1, 2, 4])
def test_any_number_of_samples(tmp_path: Path, samples: int) -> None:
    data = np.arange(9 * 8 * samples, dtype=np.uint8).reshape(9, 8, samples)
    again = read(write(tmp_path / "a.ome.tif", labelled(data, axes="YXS")))
    np.testing.assert_array_equal(again.data, data if samples > 1 else data[..., 0])


def test_unknown_unit_is_kept_unknown(tmp_path: Path) -> None:
    stack = stack_of("YX", spacing=0.5, units={"Y": None, "X": None})
    again = read(write(tmp_path / "a.ome.tif", stack))
    assert again.spacing == (0.5, 0.5)
    assert again.units == (None, None)


def test_resolution_for_readers_without_ome(tmp_path: Path) -> None:
    write(tmp_path / "a.ome.tif", stack_of("YX", spacing={"Y": 0.2, "X": 0.1}))
    with tifffile.TiffFile(tmp_path / "a.ome.tif") as file:
        page = file.pages.first
        assert page.get_resolution("micrometer") == pytest.approx((10, 5))


def test_large_files_are_bigtiff(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ometiff, "BIGTIFF_BYTES", 100)
    write(tmp_path / "a.ome.tif", stack_of("YX"))
    with tifffile.TiffFile(tmp_path / "a.ome.tif") as file:
        assert file.is_bigtiff


@pytest.mark.parametrize(
    ("axes", "dtype"), [("YX", "u1"), ("YX", "u2"), ("YXS", "u1"), ("SYX", "u1")]
)
def test_png_round_trip(tmp_path: Path, axes: str, dtype: str) -> None:
    stack = stack_of(axes, dtype)
    path = write(tmp_path / "a.png", stack, provenance=RECORD)
    again = read(path)
    assert again.data.dtype == stack.data.dtype
    expected = np.moveaxis(stack.data, 0, -1) if axes == "SYX" else stack.data
    np.testing.assert_array_equal(again.data, expected)
    assert read_provenance(path) == RECORD


def test_png_of_a_single_plane_with_axes(tmp_path: Path) -> None:
    stack = stack_of("ZCYX")
    single = replace(stack, data=stack.data[:1, :1])
    again = read(write(tmp_path / "a.png", single))
    np.testing.assert_array_equal(again.data, stack.data[0, 0])


@pytest.mark.parametrize(
    ("name", "axes", "dtype", "word"),
    [
        ("a.png", "ZYX", "u1", "4 along Z"),
        ("a.png", "YX", "f4", "cannot hold"),
        ("a.png", "YXS", "u2", "cannot hold"),
        ("a.ome.tif", "YX", "f2", "float16"),
        ("a.ome.tif", "YX", "i8", "int64"),
        ("a.jpg", "YX", "u1", "'.jpg'"),
        ("a", "YX", "u1", "nothing"),
        ("missing/a.zarr", "YX", "u1", "does not exist"),
        ("missing/a.tif", "YX", "u1", "does not exist"),
        (".", "YX", "u1", "cannot be written"),
    ],
)
def test_refused(tmp_path: Path, name: str, axes: str, dtype: str, word: str) -> None:
    with pytest.raises(InputError, match=word):
        write(tmp_path / name, stack_of(axes, dtype))
    assert os.listdir(tmp_path) == []


def test_existing_output(tmp_path: Path) -> None:
    path = tmp_path / "a.ome.tif"
    path.write_text("precious")
    with pytest.raises(InputError, match="exists already"):
        write(path, stack_of("YX"))
    assert path.read_text() == "precious"
    check_output(path, overwrite=True)
    write(path, stack_of("YX"), overwrite=True)
    assert read(path).axes == "YX"
    (tmp_path / "b.tif").mkdir()
    with pytest.raises(InputError, match="is a folder"):
        check_output(tmp_path / "b.tif", overwrite=True)


def test_existing_zarr(tmp_path: Path) -> None:
    path = write(tmp_path / "a.ome.zarr", stack_of("ZYX"))
    with pytest.raises(InputError, match="exists already"):
        write(path, stack_of("YX"))
    assert read(path).axes == "ZYX"
    write(path, stack_of("YX"), overwrite=True)
    assert read(path).axes == "YX"
    other = tmp_path / "photographs.zarr"
    other.mkdir()
    (other / "precious").touch()
    with pytest.raises(InputError, match="exists already with other content"):
        write(other, stack_of("YX"), overwrite=True)
    file = tmp_path / "file.zarr"
    file.touch()
    with pytest.raises(InputError, match="exists already"):
        check_output(file)
    assert read(write(file, stack_of("YX"), overwrite=True)).axes == "YX"
    assert sorted(os.listdir(tmp_path)) == ["a.ome.zarr", "file.zarr", other.name]
    assert os.listdir(other) == ["precious"]


def test_unwritable_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(InputError, match="not writable"):
        check_output(tmp_path / "a.tif")


@pytest.mark.parametrize(
    ("error", "seen"),
    [
        (KeyboardInterrupt(), KeyboardInterrupt),
        (OSError(28, "No space left on device"), ComputeError),
        (PermissionError(13, "Permission denied"), InputError),
    ],
)
@pytest.mark.parametrize(
    ("home", "step"), [(atomic, "sync_file"), (store, "write_file")]
)
def test_nothing_is_left_behind(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    error: BaseException,
    seen: type[BaseException],
    home: ModuleType,
    step: str,
) -> None:
    path = tmp_path / "a.ome.tif"
    path.write_text("precious")

    def fail(draft: Path, *_: object) -> None:
        draft.write_text("half")
        raise error

    monkeypatch.setattr(home, step, fail)
    with pytest.raises(seen):
        write(path, stack_of("YX"), overwrite=True)
    assert path.read_text() == "precious"
    assert os.listdir(tmp_path) == ["a.ome.tif"]


@pytest.mark.parametrize(
    ("error", "seen"),
    [
        (KeyboardInterrupt(), KeyboardInterrupt),
        (OSError(28, "No space left on device"), ComputeError),
        (OSError(30, "Read-only file system"), InputError),
    ],
)
@pytest.mark.parametrize("step", ["pixels", "rename"])
def test_nothing_is_left_of_a_zarr(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    error: BaseException,
    seen: type[BaseException],
    step: str,
) -> None:
    """An older one is back in its place."""
    path = write(tmp_path / "a.ome.zarr", stack_of("ZYX"))
    rename = os.rename

    def fail(*given: Any) -> None:
        if step == "pixels" or (given[1] == path and "replaced" not in given[0].name):
            raise error
        rename(*given)

    home, name = {"pixels": (zarr_write, "write_synced"), "rename": (os, "rename")}[
        step
    ]
    monkeypatch.setattr(home, name, fail)
    told = "nothing was left behind" if seen is ComputeError else None
    with pytest.raises(seen, match=told):
        write(path, stack_of("YX"), overwrite=True)
    assert os.listdir(tmp_path) == ["a.ome.zarr"]
    assert read(path).axes == "ZYX"


def test_no_provenance(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "plain.tif", np.zeros((9, 9), np.uint8))
    assert read_provenance(tmp_path / "plain.tif") is None
    path = write(tmp_path / "a.ome.tif", stack_of("YX"))
    assert read_provenance(path) is None
    assert read_provenance(write(tmp_path / "a.zarr", stack_of("YX"))) is None
    assert read_provenance(tmp_path) is None
    (tmp_path / "zarr.json").write_text("{")
    with pytest.raises(InputError, match="cannot be read"):
        read_provenance(tmp_path)
    (tmp_path / "text.tif").write_text("hello there")
    with pytest.raises(InputError, match="cannot be read"):
        read_provenance(tmp_path / "text.tif")
