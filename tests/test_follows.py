"""The form follows what the user does with the viewer's layers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import RIDGE, Desk

pytest.importorskip("napari")

from napari.layers import Image, Shapes
from qtpy.QtGui import QColor, QPalette

from napari_zssr.config import FAST, change
from napari_zssr.io.write import write
from napari_zssr.plugin.form.rows import RED
from napari_zssr.plugin.messages import PROBLEM, Message
from napari_zssr.stack.axis_labels import labelled


def noise(*shape: int) -> Any:
    return np.random.default_rng(3).integers(0, 4000, shape).astype(np.uint16)


def square(first: float, last: float) -> Any:
    return np.array([[first, first], [first, last], [last, last], [last, first]])


# ---- which layer


def chosen(desk: Desk) -> str:
    return str(desk.widget.form.requests()[0].layer.name)


def test_what_is_opened_is_chosen(desk: Desk) -> None:
    for name in ("one", "two", "three"):
        desk.add(noise(32, 32), name)
        assert chosen(desk) == name


def test_what_is_selected_is_chosen(desk: Desk) -> None:
    layers = [desk.add(noise(32, 32), name) for name in ("one", "two", "three")]
    desk.viewer.layers.selection.active = layers[1]
    assert chosen(desk) == "two"
    desk.viewer.add_shapes([square(2, 9)])
    desk.viewer.layers.selection.clear()
    assert chosen(desk) == "two"
    desk.viewer.layers.selection = {layers[0], layers[2]}
    assert chosen(desk) in ("one", "three")


def test_the_users_own_choice_stays_until_its_layer_goes(desk: Desk) -> None:
    layers = [desk.add(noise(32, 32), name) for name in ("one", "two", "three")]
    desk.widget.form.image.fields["layer"].value = layers[0]
    desk.viewer.layers.selection.active = layers[1]
    desk.add(noise(32, 32), "four")
    layers[0].name = "first"
    assert chosen(desk) == "first"
    desk.viewer.layers.remove(layers[0])
    desk.viewer.layers.selection.active = layers[2]
    assert chosen(desk) == "three"
    desk.add(noise(32, 32), "five")
    assert chosen(desk) == "five"


@pytest.mark.parametrize("error_map", [False, True])
def test_results_do_not_take_the_choice(desk: Desk, error_map: bool) -> None:
    desk.add(noise(32, 32), "one")
    desk.run(change(RIDGE, error_map=error_map, noise="auto"))
    assert len(desk.names) == (3 if error_map else 2)
    for layer in desk.viewer.layers:
        desk.viewer.layers.selection.active = layer
        assert chosen(desk) == "one"
    # In the combo it can be chosen all the same.
    made = desk.viewer.layers[desk.names[1]]
    desk.widget.form.image.fields["layer"].value = made
    assert chosen(desk) == made.name


# ---- several layers in turn


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    """Files of three channels, of two, and of one."""
    made = {}
    for name, count in {"three": 3, "two": 2, "one": 1}.items():
        stack = labelled(noise(count, 24, 24), axes="CYX", name=name)
        made[name] = write(tmp_path / f"{name}.ome.tif", stack)
    return made


def opened(desk: Desk, path: Path) -> list[Any]:
    layers: list[Any] = desk.viewer.open(path, plugin="napari-zssr")
    return layers


def offered(desk: Desk) -> str:
    """What the box says that offers several layers; empty where it is hidden."""
    image = desk.widget.form.image
    hidden = image.rows["in_turn"].native.isHidden()
    return "" if hidden else str(image.fields["in_turn"].text)


def in_turn(desk: Desk) -> list[str]:
    return [request.layer.name for request in desk.widget.form.requests()]


def test_all_channels_of_a_file_are_enlarged(
    window: Desk, files: dict[str, Path]
) -> None:
    layers = opened(window, files["three"])
    assert offered(window) == "All 3 channels"
    window.set(RIDGE)
    names = [layer.name for layer in layers]
    assert in_turn(window) == names
    # What is previewed is the layer that is chosen.
    for layer in layers:
        window.widget.form.image.fields["layer"].value = layer
        window.widget.refresh()
        assert in_turn(window) == names
        assert window.widget._request_to_preview().layer is layer
    window.run()
    # A result is selected now; the choice is still the same.
    made = [f"{name} x2 instant" for name in names]
    assert window.names == names + made
    assert window.viewer.layers.selection.active.name == made[-1]
    assert (offered(window), in_turn(window)) == ("All 3 channels", names)
    # The results of all channels are selected to be saved in one file.
    window.viewer.layers.selection = set(window.viewer.layers[3:])
    assert in_turn(window) == names
    window.viewer.layers.selection.active = layers[0]
    assert in_turn(window) == names
    window.widget.use_settings()
    window.viewer.layers.selection.active = window.viewer.layers[-1]
    window.widget.use_settings()
    assert in_turn(window) == names[-1:]


def test_channels_are_those_of_the_same_image(
    window: Desk, files: dict[str, Path]
) -> None:
    opened(window, files["three"])
    two = opened(window, files["two"])
    assert offered(window) == "All 2 channels"
    again = opened(window, files["two"])
    assert in_turn(window) == [layer.name for layer in again]
    assert not {layer.name for layer in two} & set(in_turn(window))
    # Of another image all channels are taken, though of this one only one is.
    window.widget.form.image.fields["in_turn"].value = False
    assert in_turn(window) == [again[-1].name]
    window.viewer.layers.selection.active = window.viewer.layers[0]
    assert offered(window) == "All 3 channels"
    assert in_turn(window) == [layer.name for layer in window.viewer.layers[:3]]
    # It stays so for whoever comes back to it.
    window.viewer.layers.selection.active = again[0]
    assert (offered(window), in_turn(window)) == ("All 2 channels", [again[0].name])
    opened(window, files["one"])
    assert offered(window) == ""
    window.add(noise(24, 24), "of no file")
    assert offered(window) == ""
    window.widget.form.image.fields["layer"].value = two[0]
    assert offered(window) == "All 2 channels"


def test_layers_selected_before_a_run_stay_chosen_after_it(desk: Desk) -> None:
    layers = [desk.add(noise(24, 24), name) for name in ("one", "two", "three")]
    desk.viewer.layers.selection = set(layers[:2])
    assert offered(desk) == "All 2 selected layers"
    desk.widget.form.image.fields["in_turn"].value = True
    desk.run()
    assert offered(desk) == "The 2 layers selected before"
    assert in_turn(desk) == ["one", "two"]
    desk.viewer.layers.remove(layers[0])
    assert (offered(desk), in_turn(desk)) == ("", ["two"])
    desk.viewer.layers.selection.active = layers[2]
    assert (offered(desk), in_turn(desk)) == ("", ["three"])


# ---- what belongs to one image


def test_a_result_does_not_cover_the_outline_of_its_area(desk: Desk) -> None:
    first = desk.add(noise(32, 32))
    drawn = desk.viewer.add_shapes([square(3, 20)], name="here")
    region = desk.widget.form.region.fields
    region["area"].value = drawn
    desk.run()
    assert [desk.names[0], desk.names[2]] == [first.name, "here"]
    # A later one lies on an earlier one; a whole image's lies on all.
    desk.widget.form.image.fields["layer"].value = first
    desk.run()
    assert desk.names[-1] == "here"
    assert len(desk.names) == 4
    assert "here" not in desk.viewer.layers.selection
    region["area"].value = "whole"
    desk.run()
    assert desk.names[-2] == "here"


def test_a_part_is_that_of_one_image(desk: Desk) -> None:
    axes = {"axis_labels": ("c", "z", "y", "x")}
    first = desk.add(noise(2, 6, 32, 32), "first", **axes)
    region = desk.widget.form.region
    drawn = desk.viewer.add_shapes([square(3, 20)])
    for name, value in {"slices": "current", "area": drawn, "channel": 1}.items():
        region.fields[name].value = value
    desk.widget.refresh()
    desk.widget.form.image.show_layer()
    ranges = desk.widget.form.requests()[0].selection.ranges
    assert set(ranges) == {"Z", "Y", "X", "C"}
    assert region.more.changes.value == "Changed: Channels"
    other = desk.add(noise(2, 6, 32, 32), "other", **axes)
    assert chosen(desk) == "other"
    assert not desk.widget.form.requests()[0].selection.ranges
    assert region.more.changes.value == ""
    desk.viewer.layers.selection = {first}
    assert not desk.widget.form.requests()[0].selection.ranges
    # The method is meant for other images too.
    region.fields["along_z"].value = "by a number"
    region.fields["slices"].value = "current"
    desk.viewer.layers.selection = {other}
    desk.widget.refresh()
    assert desk.why == ""
    assert desk.widget.form.requests()[0].factor_z == 2


def test_a_part_that_the_image_lacks_is_not_taken_from_a_recipe(desk: Desk) -> None:
    """The settings of a result, used for a smaller image of fewer channels."""
    desk.add(noise(3, 6, 32, 32), "large", axis_labels=("c", "z", "y", "x"))
    fields = desk.widget.form.region.fields
    fields["slices"].value, fields["channel"].value = "current", 2
    desk.viewer.dims.set_current_step(1, 5)
    desk.run()
    made = desk.viewer.layers[-1]
    desk.viewer.layers.remove("large")
    desk.add(noise(2, 4, 32, 32), "small", axis_labels=("c", "z", "y", "x"))
    desk.viewer.layers.selection.active = made
    desk.widget.use_settings()
    assert desk.why == ""
    (request,) = desk.widget.form.requests()
    assert (request.layer.name, dict(request.selection.ranges)) == ("small", {})


# ---- what is drawn


@pytest.fixture
def drawn(desk: Desk) -> Shapes:
    """A rectangle that is the area of the form, which has been read."""
    desk.add(noise(64, 64))
    shapes: Shapes = desk.viewer.add_shapes([square(3, 20)], name="here")
    desk.widget.form.region.fields["area"].value = shapes
    desk.widget.refresh()
    desk.widget._later.stop()
    return shapes


def area(desk: Desk) -> Any:
    request = desk.widget._request
    return None if request is None else dict(request.selection.ranges).get("Y")


EDITS: dict[str, tuple[Any, Any]] = {
    "moved": (lambda shapes: setattr(shapes, "data", [square(30, 50)]), (30, 51)),
    "drawn": (lambda shapes: shapes.add_rectangles(square(10, 40)), (10, 41)),
    "layer moved": (lambda shapes: setattr(shapes, "translate", (5, 5)), (8, 26)),
    "layer scaled": (lambda shapes: setattr(shapes, "scale", (2, 2)), (6, 41)),
    "emptied": (lambda shapes: setattr(shapes, "data", []), None),
}


@pytest.mark.parametrize("edit", EDITS)
def test_what_is_drawn_is_heard_at_once(desk: Desk, drawn: Shapes, edit: str) -> None:
    act, expected = EDITS[edit]
    assert area(desk) == (3, 21)
    act(drawn)
    desk.qtbot.waitUntil(lambda: area(desk) == expected, timeout=3000)


def test_the_selected_of_several_shapes_is_heard(desk: Desk, drawn: Shapes) -> None:
    drawn.add_rectangles(square(10, 40))
    desk.qtbot.waitUntil(lambda: area(desk) == (10, 41), timeout=3000)
    drawn.selected_data = {0}
    desk.qtbot.waitUntil(lambda: area(desk) == (3, 21), timeout=3000)


def test_layers_that_are_gone_are_not_heard(desk: Desk, drawn: Shapes) -> None:
    desk.viewer.layers.remove(drawn)
    calls: list[object] = []
    desk.widget.form.layers_changed.connect(lambda: calls.append(1))
    drawn.data = [square(1, 5)]
    drawn.selected_data = {0}
    assert not calls


def test_another_pixel_size_is_heard(desk: Desk) -> None:
    layer = desk.add(noise(64, 64), scale=(0.5, 0.5), units=("um", "um"))
    assert "0.5" in desk.widget.form.image.understood.value
    layer.scale = (0.2, 0.2)
    assert "0.2" in desk.widget.form.image.understood.value
    layer.data = noise(7, 64, 64)
    assert "7" in desk.widget.form.image.understood.value


def test_a_layer_that_is_not_chosen_is_not_heard(desk: Desk) -> None:
    other = desk.add(noise(64, 64), "other")
    desk.add(noise(64, 64))
    calls: list[object] = []
    desk.widget.form.layers_changed.connect(lambda: calls.append(1))
    other.data = noise(8, 8)
    assert isinstance(other, Image)
    assert not calls


# ---- the theme


def ink(widget: Any) -> set[str]:
    """Colours that are painted in a widget."""
    picture = widget.grab().toImage()
    width, height = picture.width(), picture.height()
    return {
        picture.pixelColor(x, y).name() for x in range(width) for y in range(height)
    }


def test_colours_follow_the_theme_in_a_run(window: Desk) -> None:
    window.viewer.theme = "dark"
    window.add(noise(12, 48, 48), axis_labels=("z", "y", "x"))
    controls, plot = window.widget.controls, window.widget.controls.curve
    window.set(change(FAST, steps=40, noise="off", always=True, device="cpu"))
    window.widget.start()
    window.widget.preview.start()
    window.qtbot.waitUntil(lambda: plot.latest is not None, timeout=60_000)
    controls.show_message(Message("Wrong.", sign=PROBLEM))
    window.qtbot.wait(50)
    said = controls.messages
    for theme, other in (("light", "dark"), ("dark", "light"), ("light", "dark")):
        window.viewer.theme = theme
        window.qtbot.wait(100)
        controls.show_message(Message(theme, sign=PROBLEM))
        window.qtbot.wait(50)
        assert RED[theme] in ink(said)
        assert all(RED[other] not in row.styleSheet() for row in said.rows)
        # Lines are smoothed at their edges.
        pen = pen_lightness(plot)
        assert (pen > 128) == (theme == "dark")
        assert any(abs(QColor(c).lightness() - pen) < 20 for c in ink(plot))
    window.widget.cancel()
    window.wait()
    assert window.idle()


def pen_lightness(widget: Any) -> int:
    return int(widget.palette().color(QPalette.ColorRole.WindowText).lightness())
