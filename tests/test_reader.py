from __future__ import annotations

from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np
import pytest
import tifffile
import zarr

pytest.importorskip("napari")

import npe2
from napari.components import ViewerModel
from napari.errors import MultipleReaderError
from napari.layers import Image, Labels

from napari_zssr.config import INSTANT, change
from napari_zssr.errors import InputError
from napari_zssr.io import ngff
from napari_zssr.io import read as _file_read
from napari_zssr.io.read import read
from napari_zssr.io.write import write
from napari_zssr.plugin.layers import files as _file_images
from napari_zssr.plugin.layers.files import read_image, write_ome_tiff
from napari_zssr.plugin.layers.layers import (
    WHOLE,
    layer_axes,
    layer_spacing,
    layer_stack,
    result_kwargs,
)
from napari_zssr.plugin.layers.opened import complete_placement
from napari_zssr.progress import drain
from napari_zssr.stack.axis_labels import labelled
from napari_zssr.stack.image import Channel
from napari_zssr.stack.run import upscale_steps

UM = {"Z": 0.5, "Y": 0.13, "X": 0.12}
GREEN, ORANGE, WHITE = (
    int.from_bytes(bytes.fromhex(color), "big", signed=True)
    for color in ("00ff00ff", "ff8000ff", "ffffffff")
)


def noise(*shape: int, dtype: str = "uint16") -> Any:
    return np.random.default_rng(0).integers(0, 200, shape).astype(dtype)


def opened(path: Path) -> list[Image]:
    reader = read_image(str(path))
    assert reader is not None
    viewer = ViewerModel()
    for data, attributes, kind in reader(str(path)):
        assert kind == "image"
        viewer.add_image(data, **attributes)
    return list(viewer.layers)


def three_channels(path: Path, *colors: int | None) -> Any:
    names = ("DNA", "", "actin")
    channels = [Channel(name=n, color=c) for n, c in zip(names, colors, strict=True)]
    data = noise(4, 3, 9, 8)
    write(path, labelled(data, axes="ZCYX", spacing=UM, channels=channels))
    return data


def test_channels_become_layers_with_sizes_names_and_colours(tmp_path: Path) -> None:
    data = three_channels(tmp_path / "cell.ome.tif", GREEN, WHITE, ORANGE)
    layers = opened(tmp_path / "cell.ome.tif")
    names = [layer.name for layer in layers]
    assert names == ["cell DNA", "cell channel 2", "cell actin"]
    for channel, layer in enumerate(layers):
        assert (layer.data == data[:, channel]).all()
        assert layer_axes(layer) == ("ZYX", False)
        assert layer_spacing(layer, "ZYX") == (UM, dict.fromkeys("ZYX", "um"))
        assert tuple(layer.axis_labels) == ("z", "y", "x")
        assert layer.blending == "additive"
    assert [layer.colormap.name for layer in layers] == ["green", "gray", "#ff8000"]


def test_pixels_are_read_once_and_shared(tmp_path: Path) -> None:
    three_channels(tmp_path / "a.ome.tif", GREEN, None, None)
    reader = read_image(tmp_path / "a.ome.tif")
    assert reader is not None
    bases = {id(data.base) for data, _, _ in reader("")}
    assert len(bases) == 1


@pytest.mark.parametrize("color", [None, WHITE])
def test_channels_without_colours_get_the_usual_ones(
    tmp_path: Path, color: int | None
) -> None:
    three_channels(tmp_path / "a.ome.tif", color, color, color)
    maps = [layer.colormap.name for layer in opened(tmp_path / "a.ome.tif")]
    assert maps == ["cyan", "magenta", "yellow"]


def test_a_result_and_its_file_carry_what_was_read(tmp_path: Path) -> None:
    three_channels(tmp_path / "cell.ome.tif", GREEN, None, ORANGE)
    results = []
    for layer in opened(tmp_path / "cell.ome.tif"):
        axes, _ = layer_axes(layer)
        finer = np.repeat(np.repeat(layer.data, 2, axis=-1), 2, axis=-2)
        placed = result_kwargs(layer, axes, WHOLE, (2.0, 2.0), {"program": "test"})
        results.append(Image(finer, **placed).as_layer_data_tuple())
    write_ome_tiff(str(tmp_path / "cell x2.ome.tif"), results)
    stack = read(tmp_path / "cell x2.ome.tif")
    assert (stack.axes, stack.guessed) == ("ZCYX", False)
    assert stack.spacing == pytest.approx((0.5, None, 0.065, 0.06))
    assert stack.units == ("um", None, "um", "um")
    names = ["cell DNA x2", "cell channel 2 x2", "cell actin x2"]
    assert [channel.name for channel in stack.channels] == names
    assert [channel.color for channel in stack.channels] == [GREEN, None, ORANGE]
    write_ome_tiff(str(tmp_path / "cell.ome.tiff"), results)
    again = opened(tmp_path / "cell.ome.tiff")
    assert [layer.name for layer in again] == names


@pytest.mark.parametrize(
    ("stored", "names"),
    [
        (["plate_A02_s9_c1.tif", "plate_A02_s9_c2.tif"], ["c1", "c2"]),
        (["DAPI filter", "GFP filter"], ["DAPI", "GFP"]),
        (["Alexa 488", "Alexa 568"], ["Alexa 488", "Alexa 568"]),
        (["actin", "actin 2"], ["actin", "actin 2"]),
        (["DNA", "DNA"], ["DNA", "DNA"]),
        (["cells a", "cells b x2"], ["a", "b x2"]),
    ],
)
def test_channels_are_told_apart_at_the_beginning_of_their_names(
    tmp_path: Path, stored: list[str], names: list[str]
) -> None:
    channels = tuple(Channel(name=name) for name in stored)
    stack = labelled(np.zeros((2, 8, 8), np.uint8), axes="CYX", name="cells")
    write(tmp_path / "cells.ome.tif", replace(stack, channels=channels))
    reader = read_image(str(tmp_path / "cells.ome.tif"))
    assert reader is not None
    found = [attributes["name"] for _, attributes, _ in reader("")]
    assert found == [f"cells {name}" for name in names]


def test_imagej_stack_in_time(tmp_path: Path) -> None:
    data = noise(3, 4, 9, 8)
    told = {"axes": "TZYX", "unit": "micron", "spacing": 0.5}
    told |= {"finterval": 0.5, "tunit": "min"}
    path = tmp_path / "movie.tif"
    tifffile.imwrite(path, data, imagej=True, resolution=(4, 5), metadata=told)
    (layer,) = opened(path)
    assert layer.name == "movie"
    assert layer.colormap.name == "gray"
    assert layer_axes(layer) == ("TZYX", False)
    spacing, units = layer_spacing(layer, "TZYX")
    assert spacing == pytest.approx({"T": 30, "Z": 0.5, "Y": 0.2, "X": 0.25})
    assert units == {"T": "s"} | dict.fromkeys("ZYX", "um")


@pytest.mark.parametrize("planar", ["contig", "separate"])
def test_rgb(tmp_path: Path, planar: str) -> None:
    data = noise(9, 8, 3, dtype="uint8")
    stored = data if planar == "contig" else data.transpose(2, 0, 1)
    path = tmp_path / "stain.ome.tif"
    told = {"PhysicalSizeX": 0.25, "PhysicalSizeY": 0.25}
    tifffile.imwrite(
        path, stored, photometric="rgb", planarconfig=planar, metadata=told
    )
    (layer,) = opened(path)
    assert layer.rgb
    assert (np.asarray(layer.data) == data).all()
    assert layer_axes(layer) == ("YXS", False)
    assert layer_spacing(layer, "YXS")[0] == {"Y": 0.25, "X": 0.25}


@pytest.mark.parametrize("axes", ["YXC", "XYC"])
def test_odd_orders_are_shown_the_right_way_round(tmp_path: Path, axes: str) -> None:
    data = noise(9, 8, 2)
    store = zarr.create_array(
        tmp_path / "odd.zarr", data=data, dimension_names=list(axes.lower())
    )
    assert store.shape == data.shape
    layers = opened(tmp_path / "odd.zarr")
    upright = data if axes == "YXC" else data.transpose(1, 0, 2)
    for channel, layer in enumerate(layers):
        assert (layer.data == upright[..., channel]).all()
        assert layer_axes(layer) == ("YX", False)
    assert [layer.name for layer in layers] == ["odd channel 1", "odd channel 2"]


def ome_zarr(path: Path, version: str = "0.5") -> Path:
    group = zarr.open_group(path, mode="w", zarr_format=2 if version == "0.4" else 3)
    group.create_array("0", data=noise(2, 9, 8))
    axes = [{"name": "t", "type": "time", "unit": "millisecond"}]
    axes += [{"name": a, "type": "space", "unit": "nanometer"} for a in "yx"]
    scale = [{"type": "scale", "scale": [500, 130, 130]}]
    level = {"path": "0", "coordinateTransformations": scale}
    multiscales = [{"axes": axes, "datasets": [level]}]
    told = {"version": version, "multiscales": multiscales}
    group.attrs.update(told if version == "0.4" else {"ome": told})
    return path


@pytest.mark.parametrize("spacing", [{"Y": 0.13, "X": 0.12}, None])
@pytest.mark.parametrize("origin", [(), (0.0, 7.0, -3.0)])
def test_a_result_in_ome_zarr_lies_on_its_image(
    tmp_path: Path, spacing: dict[str, float] | None, origin: tuple[float, ...]
) -> None:
    """Corners of the pixels at the edges are at the same place in the world."""
    image = labelled(noise(2, 30, 41), axes="ZYX", spacing=spacing)
    image = replace(image, origin=origin if spacing else ())
    write(tmp_path / "cell.ome.zarr", image)
    config = change(INSTANT, factor=(2, 3), device="cpu", always=True)
    again = read(tmp_path / "cell.ome.zarr")
    result = drain(upscale_steps(again, config))
    write(tmp_path / "fine.ome.zarr", result.as_stack())
    (coarse,) = opened(tmp_path / "cell.ome.zarr")
    (fine,) = opened(tmp_path / "fine.ome.zarr")
    assert fine.data.shape == (2, 60, 123)
    assert (fine.units, fine.axis_labels) == (coarse.units, coarse.axis_labels)
    corners = [((1, -0.5, -0.5), (1, -0.5, -0.5)), ((1, 29.5, 40.5), (1, 59.5, 122.5))]
    for one, other in corners:
        expected = pytest.approx(coarse.data_to_world(one), abs=1e-9)
        assert fine.data_to_world(other) == expected
    assert coarse.data_to_world((0, 0, 0)) == pytest.approx(image.origin or (0, 0, 0))


@pytest.mark.parametrize("within", ["", "zarr.json"])
def test_ome_zarr_by_its_folder_or_a_file_in_it(tmp_path: Path, within: str) -> None:
    (layer,) = opened(ome_zarr(tmp_path / "worm.ome.zarr") / within)
    assert layer.name == "worm"
    assert layer_axes(layer) == ("TYX", False)
    spacing, units = layer_spacing(layer, "TYX")
    assert spacing == pytest.approx({"T": 0.5, "Y": 130, "X": 130})
    assert units == {"T": "s", "Y": "nm", "X": "nm"}


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_zarr_is_lazy_and_has_all_its_levels(tmp_path: Path, version: str) -> None:
    path = ome_zarr(tmp_path / "worm.ome.zarr", version)
    group = zarr.open_group(path)
    group.create_array("1", data=noise(2, 5, 4))
    told = dict(group.attrs)
    multiscales = (told if version == "0.4" else told["ome"])["multiscales"]
    multiscales[0]["datasets"].append({"path": "1"})
    group.attrs.update(told)
    (layer,) = opened(path)
    assert layer.multiscale
    assert [level.shape for level in layer.data] == [(2, 9, 8), (2, 5, 4)]
    for level in layer.data:
        assert isinstance(level, da.Array)
        assert (level == noise(*level.shape)).all()
    assert layer_spacing(layer, "TYX")[0] == pytest.approx(
        {"T": 0.5, "Y": 130, "X": 130}
    )
    assert layer_stack(layer).data.shape == (2, 9, 8)


def test_own_zarr_is_multiscale_in_each_channel(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ngff, "SMALLEST", 4)
    for name, axes, shape in (("c", "ZCYX", (4, 3, 9, 8)), ("s", "YXS", (9, 8, 3))):
        data = noise(*shape, dtype="uint8")
        write(tmp_path / f"{name}.zarr", labelled(data, axes=axes, spacing=0.5))
        layers = opened(tmp_path / f"{name}.zarr")
        assert len(layers) == (3 if axes == "ZCYX" else 1)
        for channel, layer in enumerate(layers):
            right = data[:, channel] if axes == "ZCYX" else data
            assert layer.multiscale
            assert layer.rgb == (axes == "YXS")
            assert (np.asarray(layer.data[0]) == right).all()


def test_large_tiffs_are_lazy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = three_channels(tmp_path / "cell.ome.tif", GREEN, WHITE, ORANGE)
    for limit, kind in ((data.nbytes, np.ndarray), (data.nbytes - 1, da.Array)):
        monkeypatch.setattr(_file_images, "LOADED_BYTES", limit)
        layers = opened(tmp_path / "cell.ome.tif")
        assert len(layers) == 3
        for channel, layer in enumerate(layers):
            assert isinstance(layer.data, kind)
            assert (np.asarray(layer.data) == data[:, channel]).all()


@pytest.mark.parametrize("axes", ["YX", "ZYX", "CYX"])
def test_label_images_become_labels(
    tmp_path: Path, axes: str, same_threads: None
) -> None:
    data = noise(3, 9, 8)[0 if axes == "YX" else ...]
    path = tmp_path / "cells.ome.zarr"
    image = labelled(data, axes=axes, spacing={"Y": 0.5, "X": 0.25})
    write(path, replace(image, labels=True))
    reader = read_image(path)
    assert reader is not None
    found = reader(path)
    assert [kind for _, _, kind in found] == ["labels"] * (3 if axes == "CYX" else 1)
    for number, (pixels, attributes, _) in enumerate(found):
        layer = Labels(pixels, **attributes)
        right = data[number] if axes == "CYX" else data
        assert (np.asarray(layer.data) == right).all()
        assert tuple(layer.scale[-2:]) == (0.5, 0.25)


def test_labels_layers_are_refused_with_advice(same_threads: None) -> None:
    with pytest.raises(InputError, match="upscale --labels, or upscale_labels"):
        layer_stack(Labels(noise(9, 8)))  # type: ignore[arg-type]


def test_what_was_assumed_is_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown: list[str] = []
    monkeypatch.setattr(_file_images, "show_info", shown.append)
    zarr.create_array(tmp_path / "a.zarr", data=noise(7, 30, 40))
    three_channels(tmp_path / "cell.ome.tif", GREEN, WHITE, ORANGE)
    opened(tmp_path / "a.zarr")
    opened(tmp_path / "cell.ome.tif")
    (sentence,) = shown
    assert sentence.startswith("Axes guessed as ZYX (7 × 30 × 40)")


def test_a_guess_stays_a_guess(tmp_path: Path) -> None:
    path = tmp_path / "plain.tif"
    tifffile.imwrite(path, noise(5, 9, 8), photometric="minisblack", metadata=None)
    (layer,) = opened(path)
    assert layer.name == "plain"
    assert layer_axes(layer) == ("ZYX", True)
    assert layer_spacing(layer, "ZYX") == ({}, {})


def test_what_is_left_to_other_readers(tmp_path: Path) -> None:
    mask, waves = tmp_path / "mask.tif", tmp_path / "waves.tif"
    tifffile.imwrite(mask, noise(9, 8) > 99)
    tifffile.imwrite(waves, noise(9, 8).astype(np.complex64))
    (tmp_path / "text.tif").write_text("no image")
    (tmp_path / "empty.tif").touch()
    (tmp_path / "text.png").write_text("another kind")
    others = [mask, waves, tmp_path, *tmp_path.glob("[te]*.*"), tmp_path / "none.tif"]
    assert [read_image(str(path)) for path in others] == [None] * 7
    assert read_image([str(mask), str(waves)]) is None
    assert read_image("https://example.org/a.ome.tif") is None


@pytest.mark.parametrize("kept", [4, 8, 20, 700])
def test_a_damaged_file_is_explained(tmp_path: Path, kept: int) -> None:
    path = tmp_path / "cut.tif"
    tifffile.imwrite(path, noise(40, 40))
    path.write_bytes(path.read_bytes()[:kept])
    reader = read_image(path)
    assert reader is not None
    with pytest.raises(InputError, match="damaged or incomplete"):
        reader(path)


MANIFESTS = {
    "ours": npe2.PluginManifest.from_distribution("napari-zssr"),
    "theirs": npe2.PluginManifest.from_file(
        Path(str(files("napari_builtins"))) / "builtins.yaml"
    ),
}


@pytest.fixture
def viewer(npe2pm: Any, monkeypatch: pytest.MonkeyPatch) -> ViewerModel:
    """A viewer that knows napari's reader and ours, and no remembered choice."""
    from napari.components import viewer_model

    monkeypatch.setattr(viewer_model, "get_preferred_reader", lambda path: None)
    for manifest in MANIFESTS.values():
        npe2pm.register(manifest)
    return ViewerModel()


@pytest.mark.parametrize("ending", [".ome.tif", ".OME.TIFF", ".tif", ".tiff"])
def test_napari_asks_which_reader(
    viewer: ViewerModel, tmp_path: Path, ending: str
) -> None:
    path = tmp_path / f"a{ending}"
    tifffile.imwrite(path, noise(9, 8))
    with pytest.raises(MultipleReaderError) as asked:
        viewer.open(path, plugin=None)
    assert set(asked.value.available_plugins) == {"napari", "napari-zssr"}
    (layer,) = viewer.open(path, plugin="napari-zssr")
    assert layer.source.reader_plugin == "napari-zssr"
    assert layer_stack(layer).source == str(path)


def test_folders_are_not_asked_about_and_zarr_opens_by_a_file(
    viewer: ViewerModel, tmp_path: Path
) -> None:
    path = ome_zarr(tmp_path / "worm.ome.zarr")
    (layer,) = viewer.open(path, plugin=None)
    assert layer.source.reader_plugin == "napari"
    older = ome_zarr(tmp_path / "older.ome.zarr", "0.4")
    for file in (path / "zarr.json", older / ".zattrs"):
        (layer,) = viewer.open(file, plugin=None)
        assert layer.source.reader_plugin == "napari-zssr"
        assert layer_axes(layer) == ("TYX", False)


def test_a_set_of_files_opens_by_its_companion(
    viewer: ViewerModel, tmp_path: Path
) -> None:
    for number in range(2):
        name, plane = f"z{number}.ome.tif", noise(9, 8) + number
        tifffile.imwrite(tmp_path / name, plane, metadata=None)
    blocks = "".join(
        f'<TiffData FirstZ="{n}" IFD="0" PlaneCount="1">'
        f'<UUID FileName="z{n}.ome.tif">urn:uuid:{n}</UUID></TiffData>'
        for n in range(2)
    )
    companion = tmp_path / "worm.companion.ome"
    companion.write_text(
        '<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06"><Image>'
        '<Pixels DimensionOrder="XYZCT" Type="uint16" SizeX="8" SizeY="9" SizeZ="2" '
        f'SizeC="1" SizeT="1" PhysicalSizeX="0.25">{blocks}</Pixels></Image></OME>'
    )
    (layer,) = viewer.open(companion, plugin=None)
    assert layer.source.reader_plugin == "napari-zssr"
    assert layer.name == "worm"
    assert layer.data.shape == (2, 9, 8)
    assert (layer.data[1] == layer.data[0] + 1).all()
    assert layer.scale[-1] == 0.25


def pyramid(path: Path) -> list[Any]:
    """An OME-TIFF of three channels in two sizes."""
    data = noise(3, 64, 48)
    levels = [data, data[:, ::2, ::2]]
    told = {"axes": "CYX", "PhysicalSizeX": 0.25, "PhysicalSizeY": 0.5}
    with tifffile.TiffWriter(path, ome=True) as file:
        file.write(levels[0], subifds=1, metadata=told, tile=(16, 16))
        file.write(levels[1], subfiletype=1, tile=(16, 16))
    return levels


@pytest.mark.parametrize("lazy", [False, True])
def test_pyramids_in_tiffs_are_multiscale(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lazy: bool
) -> None:
    levels = pyramid(tmp_path / "slide.ome.tif")
    if lazy:
        monkeypatch.setattr(_file_images, "LOADED_BYTES", 0)
    layers = opened(tmp_path / "slide.ome.tif")
    assert len(layers) == 3
    for channel, layer in enumerate(layers):
        assert layer.multiscale
        assert layer_spacing(layer, "YX")[0] == {"Y": 0.5, "X": 0.25}
        for shown, stored in zip(layer.data, levels, strict=True):
            assert isinstance(shown, da.Array if lazy else np.ndarray)
            np.testing.assert_array_equal(np.asarray(shown), stored[channel])


TIFFS: dict[str, tuple[str, dict[str, Any]]] = {
    "imagej": ("ZYX", {"imagej": True, "resolution": (4.3478, 4.3478)}),
    "ome": ("CYX", {"ome": True}),
    "rgb": ("YXS", {"ome": True, "photometric": "rgb"}),
}


@pytest.mark.parametrize("kind", TIFFS)
@pytest.mark.parametrize("before", [True, False])
def test_a_tiff_that_napari_opens_gets_its_size_from_the_widget(
    viewer: ViewerModel,
    qtbot: Any,
    tmp_path: Path,
    kind: str,
    before: bool,
) -> None:
    from napari_zssr.plugin.widget import SuperResolutionWidget

    axes, options = TIFFS[kind]
    shape = {"Z": 5, "C": 5, "Y": 40, "X": 36, "S": 3}
    told: dict[str, Any] = {"axes": axes, "unit": "um", "spacing": 0.5}
    if kind != "imagej":
        told = {"axes": axes, "PhysicalSizeX": 0.23, "PhysicalSizeY": 0.23}
    path = tmp_path / "a.tif"
    pixels = noise(*(shape[a] for a in axes)).astype(np.uint8)
    tifffile.imwrite(path, pixels, metadata=told, **options)
    if before:
        (layer,) = viewer.open(path, plugin="napari")
        viewer.dims.set_current_step(0, 1)
    widget = SuperResolutionWidget(viewer)  # type: ignore[arg-type]
    if not before:
        (layer,) = viewer.open(path, plugin="napari")
    letters = axes.replace("S", "")
    spacing, units = layer_spacing(layer, letters)
    known = {"Z": 0.5, "Y": 0.23, "X": 0.23}
    assert spacing == pytest.approx({a: known[a] for a in letters if a in known}, 1e-4)
    assert set(units.values()) == {"um"}
    assert layer_axes(layer) == (axes, False)
    if kind != "rgb":
        assert viewer.dims.current_step[0] == (1 if before else 2)
    widget.native.deleteLater()
    qtbot.wait(1)


def test_what_another_reader_has_placed_stays(
    viewer: ViewerModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.ome.tif"
    told = {"axes": "YX", "PhysicalSizeX": 0.23, "PhysicalSizeY": 0.23}
    tifffile.imwrite(path, noise(40, 30), metadata=told)
    read_pixels: list[Any] = []
    monkeypatch.setattr(_file_read, "checksum", read_pixels.append)
    for given in ({"scale": (2, 2)}, {"units": ("nm", "nm")}):
        (layer,) = viewer.open(path, plugin="napari", **given)
        assert not complete_placement(layer)
    (layer,) = viewer.open(path, plugin="napari", axis_labels=("a", "b"))
    cropped = Image(layer.data[:20])
    assert not complete_placement(cropped)
    assert complete_placement(layer)
    assert layer.axis_labels == ("a", "b")
    assert not read_pixels


@pytest.mark.parametrize("axes", ["ZYX", "TCZYX", "CYX"])
@pytest.mark.parametrize("before", [True, False])
def test_a_zarr_folder_that_napari_opens_gets_its_size_from_the_widget(
    viewer: ViewerModel, qtbot: Any, tmp_path: Path, axes: str, before: bool
) -> None:
    """Dropped, or by File > Open Folder: napari asks nothing, as for other folders."""
    from napari_zssr.plugin.widget import SuperResolutionWidget

    path = tmp_path / "worm.ome.zarr"
    shape = {"T": 2, "C": 2, "Z": 3, "Y": 40, "X": 30}
    expected = {k: v for k, v in UM.items() if k in axes}
    image = labelled(noise(*(shape[a] for a in axes)), axes=axes, spacing=expected)
    write(path, image)
    if before:
        (layer,) = viewer.open(path)
    widget = SuperResolutionWidget(viewer)  # type: ignore[arg-type]
    if not before:
        (layer,) = viewer.open(path)
    assert layer.source.reader_plugin == "napari"
    letters = "".join(layer.axis_labels).upper()
    assert letters.replace("T", "").replace("C", "").endswith(axes[-2:])
    spacing, units = layer_spacing(layer, letters)
    assert {k: spacing[k] for k in expected} == pytest.approx(expected)
    assert {units[k] for k in expected} == {"um"}
    other = viewer.add_image(noise(9, 8))
    assert tuple(other.scale) == (1, 1)
    widget.native.deleteLater()
    qtbot.wait(1)


def test_the_reader_is_named_after_what_it_does() -> None:
    titles = [command.title for command in MANIFESTS["ours"].contributions.commands]
    assert "TIFF and OME-Zarr with pixel sizes" in titles
