from __future__ import annotations

from importlib import import_module, resources
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("napari")

import npe2
from napari.components import ViewerModel
from napari.layers import Image
from napari.utils.notifications import notification_manager

from napari_zssr.config import BALANCED, FAST, PRESETS, change
from napari_zssr.io.read import read
from napari_zssr.plugin.form import form
from napari_zssr.plugin.layers import files as _sample_data
from napari_zssr.plugin.layers.layers import layer_stack

MANIFEST = npe2.PluginManifest.from_distribution("napari-zssr")
COMMANDS = {command.id: command for command in MANIFEST.contributions.commands or ()}
SAMPLES = [sample.key for sample in MANIFEST.contributions.sample_data or ()]


@pytest.mark.parametrize("name", COMMANDS)
def test_commands_are_there(name: str) -> None:
    module, function = str(COMMANDS[name].python_name).split(":")
    assert callable(getattr(import_module(module), function))


def test_every_contribution_has_its_command() -> None:
    points = MANIFEST.contributions
    menus = [item for items in (points.menus or {}).values() for item in items]
    parts = [
        points.widgets or (),
        points.sample_data or (),
        points.readers or (),
        points.writers or (),
        menus,
    ]
    assert {part.command for kind in parts for part in kind} == set(COMMANDS)


def test_there_is_one_widget_so_that_the_menu_has_one_level() -> None:
    (widget,) = MANIFEST.contributions.widgets or ()
    assert widget.display_name == "ZSSR"


def test_icon_is_part_of_the_package() -> None:
    package, name = str(MANIFEST.icon).split(":")
    assert "<svg" in resources.files(package).joinpath(name).read_text()


def test_bundled_images_are_small_and_attributed() -> None:
    data = resources.files("napari_zssr") / "data"
    sizes = {item.name: len(item.read_bytes()) for item in data.iterdir()}
    # The pretrained start has a limit of its own.
    assert sum(sizes.values()) - sizes["start.safetensors"] < 1_200_000
    told = (data / "README.md").read_text()
    assert all(name in told for name in sizes if name.endswith(".tif"))


@pytest.mark.parametrize("name", SAMPLES)
def test_samples_open_with_sizes_and_attribution(name: str) -> None:
    viewer = ViewerModel()
    notification_manager.records.clear()
    for data, attributes, kind in getattr(_sample_data, name)():
        assert kind == "image"
        layer = viewer.add_image(data, **attributes)
        stack = layer_stack(layer)
        assert not stack.guessed
        assert None not in stack.spacing
        assert set(stack.units) == {"um"}
        assert "http" in layer.metadata["attribution"]
    (shown,) = notification_manager.records
    assert layer.metadata["attribution"] in shown.message


def test_sim_reference_lies_on_the_widefield_image() -> None:
    fine, coarse = (
        Image(data, **attributes) for data, attributes, _ in _sample_data.microtubules()
    )
    bounds = [np.array(layer.extent.world) for layer in (fine, coarse)]
    # Extents end at the outer pixels' centres: half a pixel more on each side.
    half = np.array([[-1], [1]]) / 2
    np.testing.assert_allclose(
        bounds[0] + 0.03 * half, bounds[1] + 0.06 * half, atol=1e-9
    )


def test_npe2_writes_and_names_the_writer(tmp_path: Path) -> None:
    layer = Image(np.zeros((9, 8), np.uint16)).as_layer_data_tuple()
    pm = npe2.PluginManager()
    pm.register(MANIFEST)
    for layers in ([layer], [layer, layer]):
        kinds = [kind for _, _, kind in layers]
        writer, _ = pm.get_writer(str(tmp_path / "a.ome.tif"), kinds, "napari-zssr")
        assert writer is not None
        assert writer.display_name == "OME-TIFF with pixel sizes"


def settings(**values: Any) -> Any:
    class Defaults:
        preset, factor, device, seed, always = "fast", 3.0, "cpu", 4, True

    class Settings:
        defaults = Defaults()

    for name, value in values.items():
        setattr(Settings.defaults, name, value)
    return lambda name: Settings


def test_defaults_come_from_the_preferences(monkeypatch: pytest.MonkeyPatch) -> None:
    import napari.settings

    monkeypatch.setattr(napari.settings, "get_plugin_settings", settings())
    expected = change(FAST, factor=3.0, device="cpu", seed=4, always=True)
    assert form.default_config() == expected
    monkeypatch.setattr(napari.settings, "get_plugin_settings", settings(factor=99))
    assert form.default_config() == BALANCED
    monkeypatch.setattr(napari.settings, "get_plugin_settings", {}.__getitem__)
    assert form.default_config() == BALANCED
    monkeypatch.delattr(napari.settings, "get_plugin_settings")
    assert form.default_config() == BALANCED


def test_preferences_start_as_the_engine_does() -> None:
    properties = MANIFEST.contributions.configurations["defaults"].properties
    start = {key: told.default for key, told in properties.items()}
    assert start.pop("preset") == BALANCED.preset
    assert change(BALANCED, **start) == BALANCED
    assert properties["preset"].enum == list(PRESETS)


def test_sample_opens_and_is_saved_from_a_viewer(
    make_napari_viewer: Any, tmp_path: Path
) -> None:
    viewer = make_napari_viewer()
    viewer.open_sample("napari-zssr", "cells")
    names = [layer.name for layer in viewer.layers]
    assert names == ["cells DNA", "cells microtubules", "cells actin"]
    path = tmp_path / "cells.ome.tif"
    viewer.layers.save(str(path), plugin="napari-zssr")
    stack = read(path)
    assert stack.axes == "CYX"
    assert [channel.name for channel in stack.channels] == names
