from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("napari")

from napari.layers import Image

from napari_zssr.errors import ImageWarning, InputError
from napari_zssr.io.read import read
from napari_zssr.io.write import read_provenance, write
from napari_zssr.plugin.layers.files import read_image, write_ome_tiff
from napari_zssr.plugin.layers.layers import KEY
from napari_zssr.stack.axis_labels import labelled

UM = {"scale": (0.5, 0.13, 0.13), "units": ("um",) * 3, "axis_labels": "ZYX"}


def save(path: Path, *layers: Image) -> Any:
    data = [layer.as_layer_data_tuple() for layer in layers]
    assert write_ome_tiff(str(path), data) == [str(path)]
    return read(path)


def noise(*shape: int) -> Any:
    return np.random.default_rng(0).integers(0, 999, shape).astype(np.uint16)


def test_a_layer_keeps_pixels_sizes_units_name_and_recipe(tmp_path: Path) -> None:
    recipe = {"program": "napari-zssr", "config": {"seed": 3}}
    layer = Image(
        noise(4, 9, 8), name="actin x2", colormap="green", metadata={KEY: recipe}, **UM
    )
    path = tmp_path / "a.ome.tif"
    path.write_text("an older file, which napari has asked about")
    stack = save(path, layer)
    assert (stack.data == layer.data).all()
    assert (stack.axes, stack.spacing) == ("ZYX", (0.5, 0.13, 0.13))
    assert stack.units == ("um", "um", "um")
    assert stack.channels[0].name == "actin x2"
    assert stack.channels[0].color == int.from_bytes(b"\x00\xff\x00\xff", signed=True)
    assert read_provenance(path) == recipe


def test_layers_that_lie_on_each_other_become_channels(tmp_path: Path) -> None:
    recipe = {"program": "napari-zssr"}
    place = UM | {"rotate": np.eye(3), "translate": (1, 2, 3)}
    layers = (
        Image(noise(4, 9, 8), name="a", metadata={KEY: recipe}, **place),
        Image(noise(4, 9, 8) + 1, name="b", colormap="magenta", **place),
    )
    stack = save(tmp_path / "a.ome.tif", *layers)
    assert stack.axes == "ZCYX"
    assert (stack.data[:, 1] == layers[1].data).all()
    assert stack.spacing == (0.5, None, 0.13, 0.13)
    assert [channel.name for channel in stack.channels] == ["a", "b"]
    expected = {"program": "napari-zssr", "layers": {"a": recipe}}
    assert read_provenance(tmp_path / "a.ome.tif") == expected


def test_rgb_and_multiscale_layers_are_written_whole(tmp_path: Path) -> None:
    colours = noise(9, 8, 3).astype(np.uint8)
    stack = save(tmp_path / "rgb.ome.tif", Image(colours, rgb=True))
    assert (stack.axes, stack.spacing) == ("YXS", (None, None, None))
    assert (stack.data == colours).all()
    fine = noise(32, 32)
    layer = Image([fine, fine[::2, ::2]], multiscale=True, scale=(2, 2))
    stack = save(tmp_path / "m.ome.tif", layer)
    assert (stack.data == fine).all()
    assert read_provenance(tmp_path / "m.ome.tif") is None


@pytest.mark.parametrize(
    ("unit", "shown"), [("s", "second"), ("frames", "pixel"), ("(", "pixel")]
)
def test_units_that_ome_forbids_are_read_back(
    tmp_path: Path, unit: str, shown: str
) -> None:
    """napari itself takes no unit that it does not know."""
    stack = labelled(noise(9, 8), spacing=(2.0, 0.1), units=(unit, "um"))
    with pytest.warns(ImageWarning, match=re.escape(f"the unit {unit} along Y")):
        path = write(tmp_path / "kymograph.ome.tif", stack)
    reader = read_image(str(path))
    assert reader is not None
    ((data, attributes, _),) = reader(str(path))
    layer = Image(data, **attributes)
    assert tuple(layer.scale) == (2.0, 0.1)
    assert [str(one) for one in layer.units] == [shown, "micrometer"]


UNLIKE: dict[str, tuple[dict[str, Any], str]] = {
    "place": ({"translate": (0, 1, 0)}, "do not overlap exactly"),
    "pixel size": ({"scale": (0.5, 0.1, 0.1)}, "do not overlap exactly"),
    "units": ({"units": ("nm",) * 3}, "differ in units"),
    "shape": ({"data": noise(4, 9, 9)}, "differ in shape"),
    "type": ({"data": noise(4, 9, 8).astype(np.float32)}, "differ in type"),
    "axes": ({"axis_labels": "TYX"}, "differ in axis labels"),
}


@pytest.mark.parametrize("case", UNLIKE)
def test_unlike_layers_are_refused_in_words(tmp_path: Path, case: str) -> None:
    changes, words = UNLIKE[case]
    first = Image(noise(4, 9, 8), **UM)
    other = Image(**({"data": noise(4, 9, 8)} | UM | changes))
    with pytest.raises(InputError, match=words):
        save(tmp_path / "a.ome.tif", first, other)
    assert list(tmp_path.iterdir()) == []


def test_rgb_layers_are_no_channels(tmp_path: Path) -> None:
    layers = [Image(noise(9, 8, 3).astype(np.uint8), rgb=True) for _ in range(2)]
    with pytest.raises(InputError, match="RGB layers"):
        save(tmp_path / "a.ome.tif", *layers)
