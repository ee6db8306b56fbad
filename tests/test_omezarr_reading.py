from __future__ import annotations

import json
import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from numpy.typing import NDArray

from napari_zssr.errors import InputError
from napari_zssr.io.read import read
from napari_zssr.io.zarr_read import zarr_levels

Json = dict[str, Any]


def noise(*shape: int) -> NDArray[Any]:
    return np.random.default_rng(0).integers(1, 900, shape).astype(np.uint16)


def written(path: Path, data: NDArray[Any], multiscale: Json, version: str) -> Path:
    group = zarr.create_group(path, zarr_format=2 if version < "0.5" else 3)
    group.create_array("0", data=data, chunks=tuple(min(n, 8) for n in data.shape))
    told = {"multiscales": [multiscale]}
    group.attrs.update(
        told if version < "0.5" else {"ome": {"version": version, **told}}
    )
    return path


def space(names: Sequence[str], unit: str | None = "micrometer") -> list[Json]:
    more = {} if unit is None else {"unit": unit}
    return [{"name": name, "type": "space", **more} for name in names]


def scaled(axes: list[Json], *steps: Json, **more: Json) -> Json:
    level = {"path": "0", "coordinateTransformations": list(steps)}
    return {"axes": axes, "datasets": [level], **more}


def scale(*sizes: float) -> Json:
    return {"type": "scale", "scale": list(sizes)}


def translation(*starts: float) -> Json:
    return {"type": "translation", "translation": list(starts)}


# ---- axes that run backwards


@pytest.mark.parametrize("version", ["0.4", "0.5"])
@pytest.mark.parametrize("lazy", [False, True])
@pytest.mark.parametrize(
    ("sizes", "starts", "turned", "origin"),
    [
        # The centre of the last pixel of a backward axis is that of its first.
        ((2, -0.5, 0.5), (0, 0, 0), (1,), (0, -0.5 * 9, 0)),
        ((2, 0.5, -0.25), (3, 1, 10), (2,), (3, 1, 10 - 0.25 * 11)),
        ((-2, -0.5, -0.5), (4, 0, 0), (0, 1, 2), (4 - 2 * 2, -4.5, -5.5)),
    ],
)
def test_backward_axes_lie_where_the_metadata_say(
    version: str,
    lazy: bool,
    sizes: tuple[float, ...],
    starts: tuple[float, ...],
    turned: tuple[int, ...],
    origin: tuple[float, ...],
    tmp_path: Path,
) -> None:
    data = noise(3, 10, 12)
    multiscale = scaled(space("zyx"), scale(*sizes), translation(*starts))
    stack = read(written(tmp_path / "a.zarr", data, multiscale, version), lazy=lazy)
    np.testing.assert_array_equal(stack.data[...], np.flip(data, turned))
    assert stack.spacing == tuple(abs(size) for size in sizes)
    assert (stack.origin or (0, 0, 0)) == pytest.approx(origin)
    assert len(stack.messages) == len(turned)
    assert all("runs backwards" in message for message in stack.messages)


def test_parts_of_backward_axes_survive_a_pickle(tmp_path: Path) -> None:
    data = noise(3, 10, 12)
    multiscale = scaled(space("zyx"), scale(1, -0.5, -0.5))
    stack = read(written(tmp_path / "a.zarr", data, multiscale, "0.5"), lazy=True)
    pixels = pickle.loads(pickle.dumps(stack.data))
    right = np.flip(data, (1, 2))
    for index in (
        (1,),
        (slice(None), 3),
        (0, slice(2, 9, 3), slice(1, 12, 2)),
        (slice(0, 2), slice(4, 4), -1),
        (Ellipsis, slice(-5, -1)),
    ):
        np.testing.assert_array_equal(pixels[index], right[index])


# ---- chunks


@pytest.mark.parametrize("separator", [".", "/"])
@pytest.mark.parametrize(
    ("zarr_format", "name"), [(2, "v2"), (3, "default"), (3, "v2")]
)
@pytest.mark.parametrize("inside", ["", "0"])
def test_chunks_under_the_other_separator_are_read(
    separator: str, zarr_format: Any, name: str, inside: str, tmp_path: Path
) -> None:
    data, other = noise(2, 16, 20), "/" if separator == "." else "."
    zarr.create_array(
        tmp_path / "a.zarr" / inside,
        data=data,
        chunks=(1, 8, 8),
        zarr_format=zarr_format,
        chunk_key_encoding={"name": name, "separator": separator},
    )
    folder = tmp_path / "a.zarr" / inside
    meta = folder / (".zarray" if zarr_format == 2 else "zarr.json")
    told = json.loads(meta.read_text())
    if zarr_format == 2:
        told["dimension_separator"] = other
    else:
        told["chunk_key_encoding"]["configuration"]["separator"] = other
    meta.write_text(json.dumps(told))
    if inside:
        group = zarr.create_group(tmp_path / "b.zarr", zarr_format=zarr_format)
        folder.rename(tmp_path / "b.zarr" / "0")
        multiscale = scaled(space("zyx"), scale(1, 1, 1))
        ome: Json = {"version": "0.5", "multiscales": [multiscale]}
        group.attrs.update(ome if zarr_format == 2 else {"ome": ome})
    stack = read(tmp_path / ("b.zarr" if inside else "a.zarr"), axes="ZYX")
    np.testing.assert_array_equal(stack.data, data)
    (message,) = stack.messages
    assert f"stored with {separator!r}" in message


@pytest.mark.parametrize("separator", [".", "/"])
def test_missing_chunks_are_fill_values(separator: str, tmp_path: Path) -> None:
    array = zarr.create_array(
        tmp_path / "a.zarr",
        shape=(3, 16, 20),
        chunks=(1, 8, 8),
        dtype="uint16",
        fill_value=7,
        zarr_format=2,
        chunk_key_encoding={"name": "v2", "separator": separator},
    )
    data = np.full((3, 16, 20), 7, np.uint16)
    data[1, 8:, :8] = array[1, 8:, :8] = 100
    stack = read(tmp_path / "a.zarr", axes="ZYX")
    np.testing.assert_array_equal(stack.data, data)
    assert stack.messages == ()


def test_no_chunk_at_all_is_said(tmp_path: Path) -> None:
    zarr.create_array(tmp_path / "a.zarr", shape=(16, 20), dtype="u2", fill_value=3)
    stack = read(tmp_path / "a.zarr")
    assert (stack.data == 3).all()
    assert "No chunk of a.zarr is stored" in stack.messages[0]


# ---- axes and transformations


def system(name: str, axes: list[Json]) -> Json:
    return {"name": name, "axes": axes}


def level_06(*steps: Json, output: Any = "physical") -> Json:
    step = steps[0] if len(steps) == 1 else {"type": "sequence"}
    more = {} if len(steps) == 1 else {"transformations": list(steps)}
    placed = {**step, **more, "input": "0", "output": output}
    return {"path": "0", "coordinateTransformations": [placed]}


AFFINE = {"type": "affine", "affine": [[2, 0, 0, 1], [0, 0.5, 0, 2], [0, 0, 0.5, 3]]}


@pytest.mark.parametrize("output", ["physical", {"name": "physical"}])
@pytest.mark.parametrize(
    ("steps", "spacing", "origin"),
    [
        ([scale(2, 0.5, 0.5)], (2, 0.5, 0.5), ()),
        ([scale(2, 0.5, 0.5), translation(1, 2, 3)], (2, 0.5, 0.5), (1, 2, 3)),
        ([translation(1, 2, 3), scale(2, 0.5, 0.5)], (2, 0.5, 0.5), (2, 1, 1.5)),
        ([AFFINE], (2, 0.5, 0.5), (1, 2, 3)),
        ([{"type": "identity"}], (1, 1, 1), ()),
    ],
)
def test_coordinate_systems_of_0_6(
    output: Any,
    steps: list[Json],
    spacing: tuple[float, ...],
    origin: tuple[float, ...],
    tmp_path: Path,
) -> None:
    multiscale = {
        "coordinateSystems": [
            system("other", space("abc", "parsec")),
            system("physical", space("zyx", "nanometer")),
        ],
        "datasets": [level_06(*steps, output=output)],
    }
    stack = read(written(tmp_path / "a.zarr", noise(3, 10, 12), multiscale, "0.6"))
    assert (stack.axes, stack.guessed) == ("ZYX", False)
    assert stack.spacing == spacing
    assert stack.units == ("nm", "nm", "nm")
    assert stack.origin == pytest.approx(origin)
    assert stack.messages == ()


def test_further_coordinate_systems_are_named(tmp_path: Path) -> None:
    world = {"type": "scale", "scale": [9, 9], "input": "physical", "output": "world"}
    multiscale = {
        "coordinateSystems": [
            system("physical", space("yx")),
            system("world", space("yx")),
        ],
        "datasets": [level_06(scale(0.5, 0.5))],
        "coordinateTransformations": [world],
    }
    stack = read(written(tmp_path / "a.zarr", noise(10, 12), multiscale, "0.6"))
    assert stack.spacing == (0.5, 0.5)
    assert "'world' was ignored" in stack.messages[0]


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_transformations_of_image_and_level_follow_each_other(
    version: str, tmp_path: Path
) -> None:
    multiscale = scaled(space("yx"), scale(2, 2), translation(1, 0))
    multiscale["coordinateTransformations"] = [scale(0.25, 0.5)]
    stack = read(written(tmp_path / "a.zarr", noise(10, 12), multiscale, version))
    assert stack.spacing == (0.5, 1.0)
    assert stack.origin == (0.25, 0)


@pytest.mark.parametrize(
    "step",
    [
        {"type": "rotation", "rotation": [[0, -1], [1, 0]]},
        {"type": "affine", "affine": [[1, 0.1, 0], [0, 1, 0]]},
        {"type": "affine", "affine": [[1, 0], [0, 1]]},
        {"type": "scale", "path": "scales"},
        {"type": "mapAxis", "mapAxis": [1, 0]},
        {"type": "sequence", "transformations": [{"type": "displacements"}]},
        {},
    ],
)
def test_what_turns_or_bends_is_refused(step: Json, tmp_path: Path) -> None:
    multiscale = scaled(space("yx"), step)
    path = written(tmp_path / "a.zarr", noise(10, 12), multiscale, "0.5")
    with pytest.raises(InputError, match="only scale and translation can be read"):
        read(path)
    assert read(path / "0").data.shape == (10, 12)


@pytest.mark.parametrize(
    ("axes", "letters"),
    [
        (["t", "c", "y", "x"], "TCYX"),
        ([{"name": "y"}, {"name": "x"}], "YX"),
        ([{"name": "Time"}, {"name": "Y"}, {"name": "X"}], "TYX"),
        ([{"name": "fov", "type": "channel"}, {"name": "y"}, {"name": "x"}], "CYX"),
        (space(["dim_0", "dim_1", "dim_2"]), "ZYX"),
        ([{"name": "frame", "type": "time"}, *space(["i", "j"])], "TYX"),
    ],
)
def test_axes_by_name_or_by_type(axes: list[Any], letters: str, tmp_path: Path) -> None:
    data = noise(*(2, 2, 10, 12)[-len(axes) :])
    multiscale = scaled(axes, scale(*[0.5] * len(axes)))
    stack = read(written(tmp_path / "a.zarr", data, multiscale, "0.4"))
    assert (stack.axes, stack.guessed) == (letters, False)
    sizes = dict(zip(stack.axes, stack.spacing, strict=True))
    assert (sizes["Y"], sizes["X"]) == (0.5, 0.5)


def test_no_axes_at_all(tmp_path: Path) -> None:
    """The first versions had five and named none."""
    multiscale = {"datasets": [{"path": "0"}]}
    five = written(tmp_path / "a.zarr", noise(1, 2, 3, 10, 12), multiscale, "0.2")
    stack = read(five)
    assert (stack.axes, stack.guessed) == ("TCZYX", False)
    three = read(written(tmp_path / "b.zarr", noise(9, 10, 12), multiscale, "0.2"))
    assert (three.axes, three.guessed) == ("ZYX", True)


@pytest.mark.parametrize(
    ("axes", "step", "word"),
    [
        (space("zyx"), scale(1, 1, 1), "name 3 axes, but the array has 2"),
        (space("yx"), scale(1, 1, 1), "has 3 numbers, but the array has 2"),
        (space("yx"), translation(1), "has 1 numbers, but the array has 2"),
    ],
)
def test_metadata_that_do_not_fit_the_array(
    axes: list[Json], step: Json, word: str, tmp_path: Path
) -> None:
    path = written(tmp_path / "a.zarr", noise(10, 12), scaled(axes, step), "0.5")
    with pytest.raises(InputError, match=word):
        read(path)


@pytest.mark.parametrize("unit", ["micrometer", None])
def test_a_size_of_1_counts_where_it_has_a_unit(
    unit: str | None, tmp_path: Path
) -> None:
    multiscale = scaled(space("yx", unit), scale(1.0, 1.0))
    stack = read(written(tmp_path / "a.zarr", noise(10, 12), multiscale, "0.5"))
    assert stack.spacing == ((1.0, 1.0) if unit else (None, None))


def test_a_size_of_0_is_left_out_and_said(tmp_path: Path) -> None:
    multiscale = scaled(space("zyx"), scale(0, 0.5, 0.5))
    stack = read(written(tmp_path / "a.zarr", noise(9, 10, 12), multiscale, "0.5"))
    assert stack.spacing == (None, 0.5, 0.5)
    assert "along Z is 0" in stack.messages[0]


def test_all_levels_are_turned_round_alike(tmp_path: Path) -> None:
    data = noise(10, 12)
    multiscale = scaled(space("yx"), scale(-0.5, 0.5))
    path = written(tmp_path / "a.zarr", data, multiscale, "0.5")
    group = zarr.open_group(path)
    group.create_array("half", data=data[::2, ::2])
    told: Any = dict(group.attrs)["ome"]
    told["multiscales"][0]["datasets"].append({"path": "half"})
    group.attrs["ome"] = told
    full, half = zarr_levels(path)
    np.testing.assert_array_equal(full[...], data[::-1])
    np.testing.assert_array_equal(half[...], data[::2, ::2][::-1])
