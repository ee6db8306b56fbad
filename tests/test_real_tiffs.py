"""Real images through napari: opened, enlarged by the widget, compared with the file.

A bright spot is drawn into each image. Where it lies in the world follows from the
file's pixel sizes alone, and has to be true of the layer and of its result.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from conftest import Desk
from numpy.typing import NDArray
from PIL import Image as Picture

pytest.importorskip("napari")

from napari.layers import Image

from napari_zssr import ImageStack, read, write
from napari_zssr.config import FAST, INSTANT, Config, change
from napari_zssr.plugin.layers.layers import KEY, layer_axes

SIZE = (48, 50)
QUICK = change(INSTANT, always=True, device="cpu")
SIGMA_PX = 2.0
Spot = tuple[float, float]


def bundled(name: str, y: int, x: int) -> ImageStack:
    """A piece of a bundled image, starting at a pixel."""
    stack = read(Path(str(files("napari_zssr"))) / "data" / f"{name}.ome.tif")
    height, width = SIZE
    return replace(stack, data=stack.data[..., y : y + height, x : x + width].copy())


def add_spot(plane: NDArray[Any], at: Spot) -> None:
    """Draw a bright spot around a place in pixels, the field around it cleared."""
    y, x = np.indices(plane.shape)
    square = (y - at[0]) ** 2 + (x - at[1]) ** 2
    cleared = np.exp(-square / (2 * (3 * SIGMA_PX) ** 2))
    ground = plane + cleared * (np.median(plane) - plane)
    top = 180.0 if plane.dtype.itemsize == 1 else 10.0 * np.ptp(plane)
    lit = ground + top * np.exp(-square / (2 * SIGMA_PX**2))
    assert lit.max() <= np.iinfo(plane.dtype).max
    plane[:] = lit.round()


def centre(plane: NDArray[Any], factors: Spot, near: Spot) -> list[float]:
    """Centre of a spot in pixels of a plane that is `factors` times finer.

    The window is a Gaussian that moves until the spot lies in its middle, which keeps
    what else is in the image from pulling.
    """
    grids = np.indices(plane.shape)
    lit = plane - np.median(plane)
    at = [f * (start + 0.5) - 0.5 for f, start in zip(factors, near, strict=True)]
    for _ in range(40):
        apart = zip(grids, at, factors, strict=True)
        square = sum(((grid - a) / (f * SIGMA_PX)) ** 2 for grid, a, f in apart)
        seen = lit * np.exp(-square / 2)
        at = [float((grid * seen).sum() / seen.sum()) for grid in grids]
    return at


def plane_of(layer: Image, index: tuple[int, ...]) -> NDArray[Any]:
    """One plane of a layer; of colour the first sample."""
    plane: NDArray[Any] = np.asarray(layer.data)[index]
    return plane[..., 0] if layer.rgb else plane


def check_spot(
    layer: Image,
    result: Image,
    at: Spot,
    world: Sequence[float],
    index: tuple[int, ...] = (),
) -> None:
    """The spot lies where the file says, in the layer and in its result."""
    y, x = (
        coarse / fine
        for coarse, fine in zip(layer.scale[-2:], result.scale[-2:], strict=True)
    )
    coarse = centre(plane_of(layer, index), (1, 1), at)
    fine = centre(plane_of(result, index), (y, x), at)
    seen = layer.data_to_world((*index, *coarse))
    again = result.data_to_world((*index, *fine))
    fine_px = np.abs(np.array(result.scale))
    assert np.abs((np.array(seen) - world) / layer.scale).max() < 0.05
    assert np.abs((np.array(again) - seen) / fine_px).max() < 0.05


def check_result(layer: Image, result: Image, factors: Spot) -> None:
    """A result has the layer's dtype, axes and units, finer pixels and its place."""
    finer = np.ones(layer.ndim)
    finer[-2:] = factors
    shape = layer.data.shape[: layer.ndim]
    samples = layer.data.shape[layer.ndim :]
    assert result.data.shape == (*np.ceil(shape * finer).astype(int), *samples)
    assert result.data.dtype == layer.data.dtype
    assert result.rgb == layer.rgb
    assert result.units == layer.units
    assert result.axis_labels == layer.axis_labels
    size = np.array(layer.scale)
    np.testing.assert_allclose(result.scale, size / finer)
    offset = size * (1 - finer) / (2 * finer)
    np.testing.assert_allclose(result.translate, layer.translate + offset, atol=1e-12)
    report = result.metadata[KEY]["report"]
    assert {plane["returned"] for plane in report["planes"]} == {"learned"}


def names_of(units: Sequence[Any]) -> list[str]:
    return [str(unit) for unit in units]


def enlarge(
    window: Desk, path: Path, config: Config, plugin: str = "napari-zssr"
) -> list[tuple[Image, Image]]:
    """Open a file, enlarge all its layers in the widget; layers and their results."""
    layers = window.viewer.open(path, plugin=plugin)
    window.viewer.layers.selection = set(layers)
    window.widget.form.image.fields["in_turn"].value = len(layers) > 1
    window.run(config)
    results = list(window.viewer.layers)[len(layers) :]
    y, x = config.factors
    label = f"x{y:g}" if y == x else f"x{y:g}x{x:g}"
    label = f"{label} {config.preset}"
    assert [made.name for made in results] == [
        f"{layer.name} {label}" for layer in layers
    ]
    assert window.idle()
    return list(zip(layers, results, strict=True))


def test_three_channels(window: Desk, tmp_path: Path) -> None:
    """Each channel is a layer, and each layer gets its own result."""
    stack = bundled("cells", 150, 140)
    spots = [(20.3, 31.8), (26.75, 18.5), (15.5, 24.0)]
    for plane, at in zip(stack.data, spots, strict=True):
        add_spot(plane, at)
    write(tmp_path / "cells.ome.tif", stack)
    pairs = enlarge(window, tmp_path / "cells.ome.tif", QUICK)
    names = [layer.name for layer, _ in pairs]
    assert names == ["cells DNA", "cells microtubules", "cells actin"]
    for (layer, result), plane, at in zip(pairs, stack.data, spots, strict=True):
        assert (layer.data == plane).all()
        assert layer.data.dtype == np.uint16
        check_result(layer, result, (2, 2))
        np.testing.assert_allclose(result.scale, [0.132492 / 2] * 2)
        np.testing.assert_allclose(result.translate, [-0.132492 / 4] * 2)
        assert names_of(result.units) == ["micrometer"] * 2
        assert result.axis_labels == ("y", "x")
        assert result.colormap.name == layer.colormap.name
        assert result.blending == "additive"
        check_spot(layer, result, at, np.multiply(at, 0.132492))


def test_a_file_that_says_nothing_stays_one_layer(window: Desk, tmp_path: Path) -> None:
    """Channels that are only guessed stay an axis of one layer."""
    data = bundled("cells", 150, 140).data
    spots = [(20.3, 31.8), (26.75, 18.5), (15.5, 24.0)]
    for plane, at in zip(data, spots, strict=True):
        add_spot(plane, at)
    path = tmp_path / "plain.tif"
    tifffile.imwrite(path, data, photometric="minisblack", metadata=None)
    ((layer, result),) = enlarge(window, path, QUICK)
    assert layer_axes(layer) == ("CYX", True)
    assert result.data.shape == (3, 96, 100)
    check_result(layer, result, (2, 2))
    np.testing.assert_allclose(result.scale, (1, 0.5, 0.5))
    assert names_of(result.units) == ["pixel"] * 3
    for channel, at in enumerate(spots):
        check_spot(layer, result, at, (channel, *at), (channel,))


def test_z_stack(window: Desk, tmp_path: Path) -> None:
    """A network of a few steps, and different factors along Y and X."""
    stack = bundled("mitosis", 100, 110)
    at, size = (18.25, 24.6), 0.0851964286
    add_spot(stack.data[4], at)
    write(tmp_path / "plate.ome.tif", replace(stack, data=stack.data[1:]))
    config = change(
        FAST, factor=(3, 1.5), steps=20, width=8, blocks=1, always=True, device="cpu"
    )
    ((layer, result),) = enlarge(window, tmp_path / "plate.ome.tif", config)
    assert layer.name == "plate"
    assert layer.data.shape == (5, *SIZE)
    check_result(layer, result, (3, 1.5))
    assert result.data.shape == (5, 144, 75)
    assert result.data.dtype == np.uint8
    np.testing.assert_allclose(result.scale, (3.0, size / 3, size / 1.5))
    assert names_of(result.units) == ["micrometer"] * 3
    assert result.axis_labels == ("z", "y", "x")
    check_spot(layer, result, at, (3 * 3.0, *np.multiply(at, size)), (3,))


@pytest.mark.parametrize("ending", [".ome.tif", ".png"])
def test_colour(window: Desk, tmp_path: Path, ending: str) -> None:
    """Tinted cells: the colours are learned together and stay a colour."""
    at = (22.4, 27.3)
    grey = bundled("cells", 150, 140).data[2] / 5055
    tinted = 60 * np.sqrt(grey)[..., None] * (1.0, 0.6, 0.8)
    data = tinted.round().astype(np.uint8)
    for sample in range(3):
        add_spot(data[..., sample], at)
    path, size = tmp_path / f"stain{ending}", 1.0
    if ending == ".png":
        Picture.fromarray(data).save(path)
    else:
        size = 0.25
        told = {f"PhysicalSize{letter}": size for letter in "YX"}
        tifffile.imwrite(path, data, photometric="rgb", metadata=told)
    # napari opens PNG by itself.
    plugin = "napari" if ending == ".png" else "napari-zssr"
    ((layer, result),) = enlarge(window, path, QUICK, plugin)
    assert layer.rgb
    assert (np.asarray(layer.data) == data).all()
    check_result(layer, result, (2, 2))
    assert result.data.shape == (96, 100, 3)
    np.testing.assert_allclose(result.scale, [size / 2] * 2)
    unit = "pixel" if ending == ".png" else "micrometer"
    assert names_of(result.units) == [unit] * 2
    check_spot(layer, result, at, np.multiply(at, size))
    # No channel leaks into another: the tint of the tissue is what it was.
    assert tint(result) == pytest.approx(tint(layer), rel=0.02)


def tint(layer: Image) -> list[float]:
    """Mean of each colour, relative to the first."""
    means = np.asarray(layer.data).mean(axis=(0, 1))
    return [float(mean / means[0]) for mean in means]


def imagej(path: Path, data: NDArray[Any]) -> None:
    about = {"axes": "TZCYX", "unit": "um", "spacing": 0.6, "finterval": 90.0}
    resolution = (1 / 0.15, 1 / 0.2)
    tifffile.imwrite(path, data, imagej=True, resolution=resolution, metadata=about)


def ome(path: Path, data: NDArray[Any]) -> None:
    about: dict[str, Any] = {"axes": "TZCYX", "TimeIncrement": 1.5}
    about |= {"TimeIncrementUnit": "min", "PhysicalSizeZ": 600}
    about |= {"PhysicalSizeZUnit": "nm", "PhysicalSizeY": 0.2, "PhysicalSizeX": 0.15}
    about |= {"Channel": {"Name": ["DNA", "actin"]}}
    tifffile.imwrite(path, data, ome=True, metadata=about)


@pytest.mark.parametrize(
    ("save", "names", "z", "unit"),
    [
        (imagej, ["film channel 1", "film channel 2"], 0.6, "micrometer"),
        (ome, ["film DNA", "film actin"], 600, "nanometer"),
    ],
    ids=["ImageJ", "OME"],
)
def test_time_depth_and_channels(
    window: Desk,
    tmp_path: Path,
    save: Callable[[Path, NDArray[Any]], None],
    names: list[str],
    z: float,
    unit: str,
) -> None:
    """A hyperstack: one layer with T and Z for each channel, T in seconds."""
    cells = bundled("cells", 150, 140).data[[0, 2]]
    data = np.stack([np.stack([cells, cells[:, ::-1]])] * 2)
    at, frame, depth = (20.6, 28.25), 1, 0
    for plane in data[frame, depth]:
        add_spot(plane, at)
    save(tmp_path / "film.ome.tif", data)
    pairs = enlarge(window, tmp_path / "film.ome.tif", QUICK)
    assert [layer.name for layer, _ in pairs] == names
    for channel, (layer, result) in enumerate(pairs):
        assert (layer.data == data[:, :, channel]).all()
        check_result(layer, result, (2, 2))
        assert result.data.shape == (2, 2, 96, 100)
        np.testing.assert_allclose(result.scale, (90, z, 0.1, 0.075), rtol=1e-5)
        assert names_of(result.units) == ["second", unit, "micrometer", "micrometer"]
        assert result.axis_labels == ("t", "z", "y", "x")
        world = (frame * 90, depth * z, at[0] * 0.2, at[1] * 0.15)
        check_spot(layer, result, at, world, (frame, depth))
