"""The limits of formats and file systems: kept to, or said before the first plane."""

from __future__ import annotations

import errno
import math
import os
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
import tifffile
from conftest import RIDGE
from PIL import Image

from napari_zssr import ImageWarning, read, upscale, upscale_to_disk
from napari_zssr.atomic import check_name, sibling, temporaries_of, temporary_name
from napari_zssr.cli import main
from napari_zssr.errors import ComputeError, InputError, StorageError
from napari_zssr.execution import ledger as ending
from napari_zssr.execution.ledger import (
    Ledger,
    part_folder,
    remove_run,
    remove_temporaries,
)
from napari_zssr.io import calibration
from napari_zssr.io import write as store
from napari_zssr.io.calibration import restore_spacing
from napari_zssr.io.write import check_format, read_provenance, write
from napari_zssr.stack.axis_labels import labelled
from napari_zssr.stack.image import Channel, ImageStack, legal_text
from napari_zssr.stack.prepare import Prepared

FORMATS = ("a.ome.tif", "a.ome.zarr")


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", lambda handle: None)


def stack_of(axes: str = "YX", dtype: str = "u1", **known: Any) -> ImageStack:
    sizes = {"T": 2, "C": 2, "Z": 2, "Y": 24, "X": 20, "S": 3}
    shape = tuple(sizes[a] for a in axes)
    values = np.random.default_rng(1).integers(0, 100, shape).astype(dtype)
    return labelled(values, axes=axes, **known)


def header(path: Path) -> dict[str, str]:
    with tifffile.TiffFile(path) as file:
        root = ElementTree.fromstring(file.ome_metadata or "")
    pixels = root.find(".//{*}Pixels")
    assert pixels is not None
    return dict(pixels.attrib)


# ---- units

UNITS = [
    ("ZYX", {"Z": "min", "Y": "um", "X": "um"}, "min along Z"),
    ("YX", {"Y": "um", "X": "ms"}, "ms along X"),
    ("YX", {"Y": "s", "X": "s"}, "s along Y and s along X"),
    ("YX", {"Y": "uM/s", "X": "um"}, "uM/s along Y"),
    ("TYX", {"T": "nm", "Y": "um", "X": "um"}, "nm along T"),
    ("TYX", {"T": "frames", "Y": "um", "X": "um"}, "frames along T"),
]


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize(("axes", "units", "message"), UNITS)
def test_units_that_ome_forbids_are_told_and_kept(
    tmp_path: Path, name: str, axes: str, units: dict[str, str], message: str
) -> None:
    spacing = {a: n + 0.125 for n, a in enumerate(axes)}
    stack = stack_of(axes, spacing=spacing, units=units)
    with pytest.warns(
        ImageWarning, match=f"cannot store the unit {message}; "
    ) as found:
        path = write(tmp_path / name, stack)
    assert len(found) == 1
    again = read(path)
    assert again.spacing == stack.spacing
    assert again.units == stack.units
    # What was read is written again.
    with pytest.warns(ImageWarning, match="cannot store"):
        write(path, again, overwrite=True, provenance={"seed": 1})
    assert read(path).units == stack.units
    assert read_provenance(path) == {"seed": 1}


def test_a_time_without_a_unit_is_no_second(tmp_path: Path) -> None:
    stack = stack_of("TYX", spacing={"T": 2.5}, units={"T": None})
    with pytest.warns(ImageWarning, match="none along T"):
        path = write(tmp_path / "a.ome.tif", stack)
    assert "TimeIncrement" not in header(path)
    again = read(path)
    assert (again.spacing[0], again.units[0]) == (2.5, None)


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize(
    ("letter", "unit"),
    [("Y", "Mm"), ("Y", "fm"), ("Y", "in"), ("Y", "km"), ("T", "ns"), ("T", "Ms"),
     ("T", "d"), ("Z", "angstrom")],
)  # fmt: skip
def test_units_that_ome_knows_need_no_record(
    tmp_path: Path, name: str, letter: str, unit: str
) -> None:
    """Also those of which the rest of the program makes nothing."""
    axes = "YX" if letter in "YX" else f"{letter}YX"
    stack = stack_of(axes, spacing={letter: 0.25}, units={letter: unit})
    again = read(write(tmp_path / name, stack))
    assert again.spacing == stack.spacing
    assert again.units == stack.units
    assert read_provenance(tmp_path / name) is None


def test_units_of_the_schema() -> None:
    types = pytest.importorskip("ome_types.model")
    lengths = {unit.value for unit in types.UnitsLength}
    times = {unit.value for unit in types.UnitsTime}
    for letter, allowed in (("X", lengths), ("T", times)):
        for unit in [
            *calibration._LENGTHS,
            *calibration._TIMES,
            "pixel",
            "rods",
            None,
            "",
        ]:
            symbol = calibration.xml_unit(unit, letter)
            assert symbol is None or symbol in allowed
            if symbol is not None:
                assert calibration.short_of_ome(symbol) == unit
            word = calibration.zarr_unit(unit, letter)
            if word is not None:
                assert calibration.short_of_ome(word) == unit


def test_sizes_that_others_have_changed_are_believed() -> None:
    spacing, units = {"Y": 3.0, "X": 0.1}, {"Y": None, "X": "um"}
    restore_spacing('{"Y": [2.0, "s"], "X": [0.1, "s"]}', spacing, units)
    assert (spacing, units) == ({"Y": 3.0, "X": 0.1}, {"Y": None, "X": "um"})


@pytest.mark.parametrize(
    "record", ["{", "[]", "3", None, '{"Y": 2}', '{"Y": [-2, "s"]}', '{"Y": [2, 3]}']
)
def test_a_damaged_record_says_nothing(record: str | None) -> None:
    spacing: dict[str, float] = {}
    restore_spacing(record, spacing, {})
    assert spacing == {}


# ---- sizes


@pytest.mark.parametrize(
    ("size", "unit", "tagged"),
    [
        (2.4, "pm", True), (2.3, "pm", False), (0.02, "angstrom", False),
        (1e-3, "nm", False), (5e-7, "pm", False), (1e-9, "m", True), (3.0, "m", True),
        (2.1e7, "m", True), (1e9, "m", False), (1 / 3, "um", True),
    ],
)  # fmt: skip
def test_sizes_that_the_resolution_tags_cannot_hold(
    tmp_path: Path, size: float, unit: str, tagged: bool
) -> None:
    """They are whole numbers of 32 bits; OME-XML is right whatever they hold."""
    stack = stack_of(spacing=size, units=unit)
    path = write(tmp_path / "a.ome.tif", stack)
    assert float(header(path)["PhysicalSizeX"]) == size
    assert read(path).spacing == (size, size)
    metres = {"pm": 1e-12, "angstrom": 1e-10, "nm": 1e-9, "um": 1e-6, "m": 1.0}[unit]
    with tifffile.TiffFile(path) as file:
        page = file.pages.first
        assert (page.resolutionunit == 3) == tagged
        if tagged:
            found = page.get_resolution("centimeter")
            assert found == pytest.approx((0.01 / (size * metres),) * 2, rel=1e-6)


@pytest.mark.parametrize("size", [8.0, 4.0])
def test_atomic_resolution_is_enlarged_to_disk(tmp_path: Path, size: float) -> None:
    stack = stack_of(spacing=size, units="pm")
    upscale_to_disk(stack, tmp_path / "a.ome.tif", RIDGE, factor=4)
    assert read(tmp_path / "a.ome.tif").spacing == (size / 4, size / 4)


# ---- what is refused, before anything is there

WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "spacing 0": ({"spacing": (0.0, 0.1)}, "Spacing along Y is 0.0"),
    "spacing NaN": ({"spacing": (0.1, math.nan)}, "Spacing along X is nan"),
    "spacing Inf": ({"spacing": (math.inf, 0.1)}, "Spacing along Y is inf"),
    "spacing < 0": ({"spacing": (-0.1, 0.1)}, "Spacing along Y is -0.1"),
    "emission": ({"channels": (Channel(emission_nm=-5.0),)}, "emission of -5 nm"),
    "excitation": ({"channels": (Channel(excitation_nm=math.nan),)}, "of nan nm"),
    "colour": ({"channels": (Channel(color=2**31),)}, "the colour 2147483648"),
    "channels": ({"channels": (Channel(name="a"),) * 2}, "2 channels are described"),
}


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("case", WRONG)
def test_what_no_format_can_say(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, case: str, name: str
) -> None:
    monkeypatch.setattr(Prepared, "enlarged", None)
    changes, message = WRONG[case]
    stack = replace(stack_of(spacing=0.1), **changes)
    with pytest.raises(InputError, match=message):
        write(tmp_path / name, stack)
    with pytest.raises(InputError, match=message):
        upscale_to_disk(stack, tmp_path / name, RIDGE)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("name", "axes", "dtype", "message"),
    [
        ("a.ome.tif", "YX", "f2", "float16"),
        ("a.ome.tif", "YX", "u8", "uint64"),
        ("a.png", "YX", "f4", "cannot hold"),
        ("a.png", "ZYX", "u1", "2 along Z"),
    ],
)
def test_pixels_that_a_format_cannot_hold(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    axes: str,
    dtype: str,
    message: str,
) -> None:
    monkeypatch.setattr(Prepared, "enlarged", None)
    with pytest.raises(InputError, match=message):
        upscale_to_disk(stack_of(axes, dtype), tmp_path / name, RIDGE)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("axes", "dtype", "name", "message"),
    [
        ("ZYX", "u1", "b.png", "2 along Z; write an .ome.tif."),
        ("YX", "f4", "b.png", "write an .ome.tif."),
        ("YX", "f2", "b.ome.tif", "convert them to float32"),
    ],
)
def test_the_command_line_refuses_in_one_sentence(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    axes: str,
    dtype: str,
    name: str,
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    tifffile.imwrite("a.tif", stack_of(axes, dtype).data)
    line = ["upscale", "a.tif", "--axes", axes, "-o", name, "-p", "instant"]
    assert main(line) == 2
    (sentence,) = capsys.readouterr().err.splitlines()
    assert message in sentence
    assert os.listdir(tmp_path) == ["a.tif"]


def test_what_the_libraries_refuse_is_refused_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise ValueError("no such axes")

    monkeypatch.setattr(Prepared, "enlarged", None)
    monkeypatch.setattr(tifffile, "imwrite", fail)
    with pytest.raises(InputError, match=r"\(no such axes\); write an \.ome\.zarr"):
        upscale_to_disk(stack_of(), tmp_path / "a.ome.tif", RIDGE)
    stack = replace(stack_of(), origin=(math.nan, 0.0))
    with pytest.raises(InputError, match="cannot be written as OME-Zarr"):
        upscale_to_disk(stack, tmp_path / "a.ome.zarr", RIDGE)
    assert os.listdir(tmp_path) == []


# ---- text


@pytest.mark.parametrize(
    ("given", "written"),
    [
        ("plain \u00e4 <&> \"'", "plain \u00e4 <&> \"'"),
        ("a\x00b\x1fc", "a\ufffdb\ufffdc"),
        ("caf\udce9", "caf\ufffd"),
        ("two\nlines\tand", "two lines and"),
        ("\ufffe\U0001f52c", "\ufffd\U0001f52c"),
    ],
)
@pytest.mark.parametrize("name", FORMATS)
def test_text_that_xml_and_json_cannot_hold(
    tmp_path: Path, given: str, written: str, name: str
) -> None:
    assert legal_text(given) == written
    stack = stack_of("CYX", channels=[Channel(name=given), Channel(name="b")])
    stack = replace(stack, name=given)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        path = write(tmp_path / name, stack, provenance={"name": given})
    message = [str(warning.message) for warning in caught]
    assert bool(message) == ("\ufffd" in written)
    assert all("Characters that cannot be stored" in sentence for sentence in message)
    assert [channel.name for channel in read(path).channels] == [written, "b"]
    assert read_provenance(path) == {"name": given}


@pytest.mark.parametrize("name", [*FORMATS, "a.png"])
def test_provenance_of_any_kind(tmp_path: Path, name: str) -> None:
    record = {"a": math.nan, "b": np.arange(2), "c": Path("x"), "d": (1, None)}
    path = write(tmp_path / name, stack_of(), provenance=record)
    assert read_provenance(path) == {"a": None, "b": [0, 1], "c": "x", "d": [1, None]}


# ---- names


@pytest.mark.parametrize("ending", ["ome.tif", "ome.zarr", "png"])
@pytest.mark.parametrize("count", [236, 246, 255])
def test_long_names(tmp_path: Path, count: int, ending: str) -> None:
    name = f"{'x' * (count - len(ending) - 1)}.{ending}"
    target = tmp_path / name
    upscale_to_disk(stack_of(), target, RIDGE)
    assert os.listdir(tmp_path) == [name]
    size = read(target).data.shape
    assert size == (48, 40)
    write(target, stack_of(), overwrite=True)
    assert os.listdir(tmp_path) == [name]
    assert read(target).data.shape == (24, 20)


def test_bytes_of_a_name_count(tmp_path: Path) -> None:
    target = tmp_path / ("\u00e4" * 123 + ".ome.tif")
    assert len(target.name) < 140
    upscale_to_disk(stack_of(), target, RIDGE)
    assert os.listdir(tmp_path) == [target.name]
    too_long = tmp_path / ("\u65e5" * 83 + ".ome.tif")
    with pytest.raises(InputError, match=r"too long \(257 bytes, at most 255"):
        upscale_to_disk(stack_of(), too_long, RIDGE)
    assert os.listdir(tmp_path) == [target.name]


def test_a_run_of_a_long_name_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / f"{'x' * 245}.ome.zarr"
    whole = Prepared.enlarged

    def stop(self: Prepared, place: Any, *rest: Any) -> Any:
        if place.number == 1:
            raise KeyboardInterrupt
        return whole(self, place, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(Prepared, "enlarged", stop)
        with pytest.raises(KeyboardInterrupt):
            upscale_to_disk(stack_of("ZYX"), target, RIDGE)
    part = part_folder(target)
    assert os.listdir(tmp_path) == [part.name]
    assert len(Ledger(part).finished()) == 1
    upscale_to_disk(stack_of("ZYX"), target, RIDGE)
    assert os.listdir(tmp_path) == [target.name]


def test_names_beside_a_file(tmp_path: Path) -> None:
    short = tmp_path / "cells.ome.tif"
    assert part_folder(short).name == "cells.ome.tif.part"
    names = ["\u65e5" * 80 + end for end in ("1.ome.tif", "2.ome.tif")]
    one, other = (part_folder(tmp_path / name) for name in names)
    assert one != other
    assert one == part_folder(tmp_path / names[0])
    for path in (one, temporary_name(one), sibling(one, ".", ".gone")):
        assert len(os.fsencode(path.name)) <= 255
        path.mkdir()
    Ledger.begin(tmp_path / "p", {})
    drafts = [temporary_name(one), temporary_name(one)]
    for draft in drafts:
        draft.mkdir()
    temporary_name(other).mkdir()
    assert set(drafts) <= set(temporaries_of(one))
    remove_temporaries(one)
    assert not list(temporaries_of(one))
    assert len(list(temporaries_of(other))) == 1
    remove_run(tmp_path / "p")


def test_names_that_are_none(tmp_path: Path) -> None:
    check_name(tmp_path / "new.tif")
    check_name(tmp_path / "missing" / "new.tif")
    with pytest.raises(InputError, match="cannot be the name of a file"):
        check_name(tmp_path / "a\0b.tif")


@pytest.mark.parametrize(
    ("count", "code"), [(240, 0), (246, 0), (247, 0), (249, 2), (255, 2)]
)
def test_long_names_on_the_command_line(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    count: int,
    code: int,
) -> None:
    """`_x2.ome.tif` makes seven more."""
    monkeypatch.chdir(tmp_path)
    name = f"{'x' * (count - 4)}.tif"
    tifffile.imwrite(name, stack_of().data)
    assert main(["upscale", name, "-p", "instant"]) == code
    message = capsys.readouterr().err
    assert ("too long" in message) == bool(code)
    assert len(os.listdir(tmp_path)) == (1 if code else 2)


# ---- a write that fails


def _full(*_: Any, **__: Any) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def _forbidden(*_: Any, **__: Any) -> None:
    raise PermissionError(errno.EACCES, "Permission denied")


def _unlucky(*_: Any, **__: Any) -> None:
    raise ValueError("it does not fit")


@pytest.mark.parametrize(
    ("name", "step"),
    [
        ("a.ome.tif", "write_file"),
        ("a.ome.tif", "move_into_place"),
        ("a.ome.zarr", "move_into_place"),
        ("a.png", "write_file"),
    ],
)
@pytest.mark.parametrize(
    ("failure", "kind"),
    [(_full, StorageError), (_forbidden, InputError), (_unlucky, ComputeError)],
)
def test_planes_are_kept_when_the_last_step_fails(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    step: str,
    failure: Callable[..., None],
    kind: type[Exception],
) -> None:
    target = tmp_path / name
    stack = stack_of(spacing=0.1)
    with monkeypatch.context() as patch:
        patch.setattr(ending, step, failure)
        with pytest.raises(kind, match=r"all planes are kept in .*run the same again"):
            upscale_to_disk(stack, target, RIDGE)
    assert os.listdir(tmp_path) == [part_folder(target).name]
    monkeypatch.setattr(Prepared, "enlarged", None)
    upscale_to_disk(stack, target, RIDGE)
    assert os.listdir(tmp_path) == [name]
    np.testing.assert_array_equal(read(target).data.shape, (48, 40))


@pytest.mark.parametrize("axes", ["YX", "YXS", "SYX", "ZYX"])
def test_a_png_is_what_is_enlarged_in_memory(tmp_path: Path, axes: str) -> None:
    stack = stack_of(axes)
    if axes == "ZYX":
        stack = replace(stack, data=stack.data[:1])
    path = upscale_to_disk(stack, tmp_path / "a.png", RIDGE).path
    assert path is not None
    wanted = np.squeeze(upscale(stack, RIDGE))
    if axes == "SYX":
        wanted = np.moveaxis(wanted, 0, -1)
    with Image.open(path) as picture:
        np.testing.assert_array_equal(np.asarray(picture), wanted)
    record = read_provenance(path)
    assert record is not None
    assert record["report"]["planes"]


def test_a_picture_on_the_command_line_is_kept_when_it_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Image.fromarray(stack_of().data).save("in.png")
    line = ["upscale", "in.png", "-o", "out.png", "-p", "instant"]
    with monkeypatch.context() as patch:
        patch.setattr(ending, "write_file", _full)
        assert main(line) == 1
    message = capsys.readouterr().err
    assert "1 plane is finished and kept in out.png.part" in message
    assert "the disk is full" in message
    assert main(line) == 0
    assert sorted(os.listdir(tmp_path)) == ["in.png", "out.png"]


def test_the_command_line_prints_what_a_file_cannot_say(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "kymograph.tif"
    description = "ImageJ=1.54f\nunit=micron\nyunit=sec\n"
    tifffile.imwrite(
        path,
        stack_of().data,
        description=description,
        metadata=None,
        resolution=(10, 2),
    )
    assert main(["upscale", str(path), "-p", "instant"]) == 0
    lines = capsys.readouterr().err.splitlines()
    message = [
        line for line in lines if line.startswith("OME-TIFF cannot store the unit s")
    ]
    assert len(message) == 1


def test_a_dry_run_takes_no_time(tmp_path: Path) -> None:
    """Of a large image a small one is written, and not to the disk."""
    data = np.broadcast_to(np.zeros((), "u2"), (1000, 2, 500, 9999, 9999))
    outline = store.outline_of(labelled(data, axes="TCZYX"))
    assert check_format(tmp_path / "a.ome.tif", outline) == ()
    assert check_format(tmp_path / "a.ome.zarr", outline) == ()
    assert os.listdir(tmp_path) == []
