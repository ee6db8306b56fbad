from __future__ import annotations

import json
import pickle
from itertools import pairwise
from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np
import pytest
import tifffile
import yaozarrs
import zarr
from numpy.typing import NDArray
from PIL import Image

from napari_zssr import (
    InputError,
    read,
    upscale,
    upscale_labels,
    upscale_labels_to_disk,
)
from napari_zssr.cli import main
from napari_zssr.io import ngff
from napari_zssr.io.write import read_provenance
from napari_zssr.label_images import NearestPixels, nearest_pixels
from napari_zssr.stack.axis_labels import labelled
from napari_zssr.stack.image import output_origin


def cells(dtype: str = "int32", *leading: int) -> NDArray[Any]:
    image = np.zeros((20, 24), dtype)
    image[2:10, 3:9] = 7
    image[2:10, 9:20] = 101
    image[12:18, 4:15] = 12
    return np.broadcast_to(image, (*leading, 20, 24)).copy()


def ome_zarr(path: Path, data: NDArray[Any], version: str, **more: Any) -> Path:
    group = zarr.create_group(path, zarr_format=2 if version == "0.4" else 3)
    group.create_array("0", data=data)
    axes = [{"name": a, "type": "space", "unit": "micrometer"} for a in "zyx"]
    step = {"type": "scale", "scale": [0.5] * data.ndim}
    level = {"path": "0", "coordinateTransformations": [step]}
    told = {"multiscales": [{"axes": axes[-data.ndim :], "datasets": [level]}], **more}
    group.attrs.update(
        told if version == "0.4" else {"ome": {"version": "0.5", **told}}
    )
    return path


@pytest.mark.parametrize("factor", [1.1, 1.5, 2.0, 2.5, 3.0, 7.3])
def test_each_pixel_is_that_in_which_its_centre_lies(factor: float) -> None:
    for size in (1, 2, 7, 30):
        nearest = nearest_pixels(size, factor)
        centres = (np.arange(len(nearest)) + 0.5) / factor - 0.5
        inside = centres <= size - 0.5
        assert len(nearest) == int(np.ceil(round(factor * size, 6))), f"{size} px"
        away = np.abs(centres - nearest)[inside]
        assert away.max() <= 0.5 + 1e-6, f"{size} px"
        assert (nearest[~inside] == size - 1).all(), f"{size} px"


@pytest.mark.parametrize("dtype", ["uint8", "int16", "uint32", "int64", "uint64"])
def test_whole_factors_repeat_pixels(dtype: str) -> None:
    image = cells(dtype)
    image[0, 0] = np.iinfo(dtype).max
    found = upscale_labels(image, (2, 3))
    assert found.dtype == np.dtype(dtype)
    assert (found == image.repeat(2, axis=0).repeat(3, axis=1)).all()


@pytest.mark.parametrize("axes", ["ZYX", "YXC", "XTY"])
def test_other_axes_stay(axes: str) -> None:
    image = np.arange(5 * 6 * 7).reshape(5, 6, 7)
    found = upscale_labels(image, 1.5, axes=axes)
    factors = [1.5 if letter in "YX" else 1 for letter in axes]
    assert found.shape == tuple(np.ceil(np.multiply(factors, image.shape)))
    assert set(np.unique(found)) <= set(image.ravel())


def test_parts_are_parts_of_the_whole() -> None:
    source = np.random.default_rng(0).integers(0, 999, (3, 9, 11))
    pixels = NearestPixels(source, "ZYX", (2.5, 1))
    whole = pixels[...]
    rng = np.random.default_rng(1)
    for _ in range(50):
        index: list[Any] = []
        for size in pixels.shape:
            first, last = sorted(rng.integers(0, size, 2))
            part = slice(int(first), int(last), int(rng.integers(1, 3)))
            index.append(int(first) if rng.random() < 0.4 else part)
        np.testing.assert_array_equal(pixels[tuple(index)], whole[tuple(index)])
    assert (pixels[-1, -1] == whole[-1, -1]).all()


def test_a_mask_becomes_bytes() -> None:
    mask = cells() > 0
    found = upscale_labels(da.from_array(mask, chunks=(8, 8)), 2)
    assert found.dtype == np.uint8
    assert (found == mask.repeat(2, axis=0).repeat(2, axis=1)).all()


def test_results_lie_on_the_image(tmp_path: Path) -> None:
    image = labelled(cells("uint16", 3), axes="ZYX", spacing=(2.0, 0.5, 0.5))
    for name in ("a.ome.tif", "a.ome.zarr"):
        upscale_labels_to_disk(image, tmp_path / name, 2)
    zarr_result = read(tmp_path / "a.ome.zarr", labels=True)
    assert zarr_result.labels
    assert zarr_result.spacing == (2.0, 0.25, 0.25)
    assert zarr_result.origin == output_origin((2.0, 0.5, 0.5), "ZYX", (2, 2))
    assert read(tmp_path / "a.ome.tif").spacing == (2.0, 0.25, 0.25)
    told = read_provenance(tmp_path / "a.ome.tif")
    assert told is not None
    assert told["config"] == {"labels": True, "factor": [2.0, 2.0]}


@pytest.mark.parametrize(
    ("low", "high", "stored"),
    [(0, 2**32 - 1, "uint32"), (-5, 2**31 - 1, "int32")],
)
def test_64_bits_fit_into_a_tiff(
    low: int, high: int, stored: str, tmp_path: Path
) -> None:
    image = cells("int64", 2)
    image[0, 0, 0], image[1, 0, 0] = low, high
    target = upscale_labels_to_disk(image, tmp_path / "a.ome.tif", 2, axes="ZYX")
    found = tifffile.imread(target)
    assert found.dtype == np.dtype(stored)
    assert (found == image.repeat(2, axis=1).repeat(2, axis=2)).all()


def test_numbers_too_large_for_a_tiff_are_refused(tmp_path: Path) -> None:
    image = cells("int64") * 2**33
    with pytest.raises(InputError, match="OME-TIFF cannot hold"):
        upscale_labels_to_disk(image, tmp_path / "a.ome.tif", 2)
    upscale_labels_to_disk(image, tmp_path / "a.zarr", 2)
    assert set(np.unique(read(tmp_path / "a.zarr", labels=True).data)) == set(
        np.unique(image)
    )


def test_the_pyramid_holds_no_new_label(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ngff, "SMALLEST", 5)
    image = cells("uint16", 2)
    target = upscale_labels_to_disk(image, tmp_path / "a.ome.zarr", 3, axes="ZYX")
    yaozarrs.validate_zarr_store(str(target))
    told: Any = zarr.open_group(target, mode="r").attrs["ome"]
    assert "image-label" in told
    levels = [read_level(target, level["path"]) for level in datasets(told)]
    assert len(levels) > 2
    for finer, coarser in pairwise(levels):
        assert (coarser == finer[:, ::2, ::2]).all()


def datasets(told: Any) -> Any:
    return told["multiscales"][0]["datasets"]


def read_level(path: Path, level: str) -> NDArray[Any]:
    return np.asarray(zarr.open_array(path / level, mode="r")[...])


@pytest.mark.parametrize("version", ["0.4", "0.5"])
@pytest.mark.parametrize("told", [{}, {"version": "0.4", "colors": []}])
def test_label_images_are_refused_with_advice(
    version: str, told: dict[str, Any], tmp_path: Path
) -> None:
    path = ome_zarr(tmp_path / "a.zarr", cells(), version, **{"image-label": told})
    for door in (read, upscale):
        with pytest.raises(InputError, match="--labels or upscale_labels"):
            door(path)
    assert set(np.unique(upscale_labels(path, 2.5))) == {0, 7, 12, 101}


def test_an_image_beside_its_labels_is_no_label_image(tmp_path: Path) -> None:
    path = ome_zarr(tmp_path / "a.zarr", cells("uint16"), "0.5")
    labels = zarr.open_group(path).create_group("labels")
    labels.attrs["ome"] = {"version": "0.5", "labels": ["cells"]}
    assert not read(path).labels


@pytest.mark.parametrize("kind", ["array", "tiff", "png", "zarr", "stack"])
def test_masks_are_refused_with_advice(kind: str, tmp_path: Path) -> None:
    mask = cells() > 0
    given: Any = mask
    if kind == "tiff":
        given = tmp_path / "a.tif"
        tifffile.imwrite(given, mask, photometric="minisblack")
    elif kind == "png":
        given = tmp_path / "a.png"
        Image.fromarray(mask).save(given)
    elif kind == "zarr":
        given = ome_zarr(tmp_path / "a.zarr", mask, "0.5")
    elif kind == "stack":
        given = labelled(mask, labels=True)
    with pytest.raises(InputError, match="--labels or upscale_labels"):
        upscale(given, "instant")
    assert (upscale_labels(given, 1.0001)[:20, :24] == mask).all()


def test_fractions_are_no_labels() -> None:
    with pytest.raises(InputError, match="whole numbers, but the pixels are float32"):
        upscale_labels(cells("float32"))


def test_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = tmp_path / "cells.tif"
    tifffile.imwrite(source, cells("uint16"), photometric="minisblack")
    for name in ("a.ome.tif", "a.ome.zarr", "a.png"):
        line = ["upscale", str(source), "--labels", "-f", "2.5", "-o"]
        assert main([*line, str(tmp_path / name)]) == 0
        out, _ = capsys.readouterr()
        assert "nearest pixel" in out
        found = read(tmp_path / name, labels=True).data
        assert (found == upscale_labels(cells("uint16"), 2.5)).all()
    assert main(["upscale", str(source), "--labels", "--json", "-f", "3"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["shape"], told["dtype"]) == ([60, 72], "uint16")


@pytest.mark.parametrize("option", ["--workers=2", "--shard=1/2"])
def test_options_that_labels_do_not_have(
    option: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = tmp_path / "cells.tif"
    tifffile.imwrite(source, cells("uint16"))
    assert main(["upscale", str(source), "--labels", option]) != 0
    assert "leave out --workers" in capsys.readouterr().err


@pytest.mark.parametrize("lazy", [False, True])
@pytest.mark.parametrize("photometric", ["palette", "miniswhite"])
def test_numbers_stay_whatever_colours_they_stand_for(
    tmp_path: Path, photometric: str, lazy: bool
) -> None:
    labels = np.kron(np.arange(6).reshape(2, 3), np.ones((8, 8))).astype(np.uint8)
    palette = {"colormap": np.arange(768).reshape(3, 256).astype(np.uint16) * 80}
    options = palette if photometric == "palette" else {}
    path = tmp_path / "labels.tif"
    tifffile.imwrite(path, labels, photometric=photometric, **options)
    stack = read(path, labels=True, lazy=lazy)
    np.testing.assert_array_equal(stack.data[...], labels)
    again = pickle.loads(pickle.dumps(stack.data))
    np.testing.assert_array_equal(again[...], labels)
