"""The fields of the form: which image, what of it, and how."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from magicgui.widgets import (
    CheckBox,
    ComboBox,
    FloatSpinBox,
    LineEdit,
    PushButton,
)
from napari.layers import Image, Shapes

from napari_zssr.checks import MAX_FACTOR
from napari_zssr.config import PRESETS, Config, change
from napari_zssr.errors import InputError
from napari_zssr.plugin._advanced import AdvancedFields
from napari_zssr.plugin._layers import (
    Selection,
    current_slice,
    current_view,
    describe_axes,
    in_rectangle,
    layer_axes,
    level0,
)
from napari_zssr.plugin._rows import Column, Row, words
from napari_zssr.stack.axes import parse_axes

if TYPE_CHECKING:
    from napari.layers import Layer
    from napari.viewer import Viewer

WHOLE, VIEW, ALL, CURRENT = "whole", "view", "all", "current"
CLOSED, OPEN = "\u25b8 Advanced", "\u25be Advanced"
PRESET_WORDS = {
    "instant": "A linear filter fitted to the image: seconds, a first look.",
    "fast": "One small network: for long stacks.",
    "balanced": "Three networks, averaged: for the image that matters.",
    "paper": "The network of the 2018 paper: for comparison, slow.",
}


class ImageFields(Column):
    """Which layer, and how its axes are understood."""

    def __init__(self, viewer: Viewer) -> None:
        self._viewer = viewer
        self._corrected: WeakKeyDictionary[Image, str] = WeakKeyDictionary()
        self.understood = words()
        super().__init__([*_image_rows(self._images), self.understood, _axes_row()])
        self.fields["layer"].changed.connect(self._show_layer)
        self.fields["axes"].changed.connect(self._correct)
        self.refresh()

    @property
    def layer(self) -> Image | None:
        """Layer that is chosen."""
        chosen: Image | None = self.fields["layer"].value
        return chosen

    def layers(self) -> list[Image]:
        """Layers that a run would enlarge, in the order of the layer list."""
        if self.rows["in_turn"].visible and self.fields["in_turn"].value:
            return self._selected()
        return [] if self.layer is None else [self.layer]

    def axes(self, layer: Image) -> str:
        """Letters of a layer's axes, as corrected here.

        Raises
        ------
        InputError
            They do not fit the layer.
        """
        text = self._corrected.get(layer)
        return layer_axes(layer)[0] if text is None else parse_axes(text, _ndim(layer))

    def refresh(self, *_: Any) -> None:
        """Follow the layer list."""
        self.fields["layer"].reset_choices()
        count = len(self._selected())
        self.fields["in_turn"].text = f"All {count} selected layers"
        self.rows["in_turn"].visible = count > 1
        self._show_layer()

    def _show_layer(self, *_: Any) -> None:
        layer = self.layer
        self.understood.visible = layer is not None
        if layer is None:
            self.rows["axes"].visible = False
            return
        guess, guessed = layer_axes(layer)
        with self.fields["axes"].changed.blocked():
            self.fields["axes"].value = self._corrected.get(layer, guess)
        self.rows["axes"].visible = guessed
        self._describe(layer)

    def _correct(self, text: str) -> None:
        if self.layer is not None:
            self._corrected[self.layer] = text
            self._describe(self.layer)

    def _describe(self, layer: Image) -> None:
        try:
            text = describe_axes(layer, self.axes(layer))
        except InputError as error:
            text = str(error)
        self.understood.value = text

    def _images(self, _widget: Any = None) -> list[Image]:
        return [layer for layer in layers_of(self._viewer) if isinstance(layer, Image)]

    def _selected(self) -> list[Image]:
        chosen = set(self._viewer.layers.selection)
        return [layer for layer in self._images() if layer in chosen]


class WhatFields(Column):
    """How much larger, and which part of the layer."""

    def __init__(self, viewer: Viewer, image: ImageFields) -> None:
        self._viewer = viewer
        self._image = image
        super().__init__([*_factor_rows(), *_part_rows(self._areas, self._channels)])
        self.fields["linked"].changed.connect(self._link)
        self._link()
        self.refresh()

    @property
    def factors(self) -> tuple[float, float]:
        """Enlargement along (Y, X)."""
        y = self.fields["factor_y"].value
        return y, y if self.fields["linked"].value else self.fields["factor_x"].value

    def selection(self, layer: Image, axes: str) -> Selection:
        """Part of a layer that is asked for.

        Raises
        ------
        InputError
            There is nothing in it.
        """
        ranges: dict[str, tuple[int, int]] = {}
        if self.fields["slices"].value == CURRENT:
            ranges |= _only(self._here(layer, axes), "TZ")
        area = self.fields["area"].value
        if area == VIEW:
            ranges |= _only(current_view(layer, axes, self._viewer), "YX")
        elif area in layers_of(self._viewer):
            ranges |= _only(in_rectangle(layer, axes, area), "YX")
        channel = self.fields["channel"].value
        if channel is not None and "C" in axes:
            if channel >= level0(layer).shape[axes.index("C")]:
                raise InputError(f"Layer {layer.name!r} has no channel {channel}.")
            ranges["C"] = (channel, channel + 1)
        return Selection(ranges=ranges)

    def refresh(self, *_: Any) -> None:
        """Follow the layer and the layer list."""
        self.fields["area"].reset_choices()
        self.fields["channel"].reset_choices()
        axes = self._axes()
        self.rows["slices"].visible = bool(set("TZ") & set(axes))
        self.rows["channel"].visible = len(self.fields["channel"].choices) > 1

    def show_factors(self, factors: tuple[float, float]) -> None:
        """Set the fields to factors along (Y, X)."""
        self.fields["linked"].value = factors[0] == factors[1]
        self.fields["factor_y"].value, self.fields["factor_x"].value = factors

    def _link(self, *_: Any) -> None:
        linked = self.fields["linked"].value
        self.rows["factor_x"].visible = not linked
        self.rows["factor_y"].title.value = "Factor" if linked else "Factor Y"
        if not linked:
            self.fields["factor_x"].value = self.fields["factor_y"].value

    def _here(self, layer: Image, axes: str) -> Selection:
        units = self._viewer.layers.extent.units
        return current_slice(layer, axes, self._viewer.dims.point, units)

    def _axes(self) -> str:
        layer = self._image.layer
        try:
            return "" if layer is None else self._image.axes(layer)
        except InputError:
            return ""

    def _areas(self, _widget: Any = None) -> list[tuple[str, Any]]:
        shapes = [x for x in layers_of(self._viewer) if isinstance(x, Shapes)]
        drawn = [(f"rectangle in {shape.name}", shape) for shape in shapes]
        return [("whole plane", WHOLE), ("what the viewer shows", VIEW), *drawn]

    def _channels(self, _widget: Any = None) -> list[tuple[str, int | None]]:
        layer, axes = self._image.layer, self._axes()
        if layer is None or "C" not in axes:
            return [("all", None)]
        count = level0(layer).shape[axes.index("C")]
        return [("all", None), *((f"only {n}", n) for n in range(count))]


class HowFields(Column):
    """Preset, and what deviates from it."""

    def __init__(self) -> None:
        self.advanced = AdvancedFields()
        self._base = PRESETS["balanced"]
        self._words = words()
        self._toggle = PushButton(
            text=CLOSED,
            tooltip="Blur, noise, training, device: what the preset decides unless "
            "you know better.",
        )
        self._toggle.native.setStyleSheet("text-align: left; padding-left: 4px;")
        super().__init__([_preset_row(), self._words, self._toggle, self.advanced])
        self.preset = self.fields["preset"]
        self.preset.changed.connect(self._take_preset)
        self._toggle.changed.connect(lambda: self.unfold(not self.advanced.visible))
        self._take_preset(self.preset.value)

    def config(self, factors: tuple[float, float]) -> Config:
        """Settings that the form shows.

        Raises
        ------
        InputError
            A field cannot be used.
        """
        return change(self._base, factor=factors, **self.advanced.changes())

    def show_config(self, config: Config) -> None:
        """Set the fields to settings, those that have no field included."""
        self.preset.value = config.preset if config.preset in PRESETS else "balanced"
        preset = self._base
        shown = ("steps", "gradual", "back_projection", "ensemble")
        self._base = change(config, **{name: getattr(preset, name) for name in shown})
        self.advanced.show_config(config, preset)

    def unfold(self, open_: bool) -> None:
        """Show or hide the advanced fields."""
        self.advanced.visible = open_
        self._toggle.text = OPEN if open_ else CLOSED

    def _take_preset(self, name: str) -> None:
        self._base = PRESETS[name]
        self._words.value = PRESET_WORDS[name]
        self.advanced.lean_on(self._base)


def layers_of(viewer: Viewer) -> Iterator[Layer]:
    """Layers of a viewer, never wrapped in napari's proxy."""
    return (getattr(layer, "__wrapped__", layer) for layer in viewer.layers)


def _image_rows(images: Callable[..., Any]) -> list[Row]:
    layer = ComboBox(
        name="layer",
        choices=images,
        tooltip="The image layer to enlarge. Of a multiscale layer the finest level is "
        "taken.",
    )
    in_turn = CheckBox(
        name="in_turn",
        tooltip="Enlarges every image layer selected in the layer list, one after the "
        "other, each learned on itself.",
    )
    return [Row("Layer", layer), Row("", in_turn)]


def _axes_row() -> Row:
    axes = LineEdit(
        name="axes",
        tooltip="One letter for each axis, since the layer does not name them: T time, "
        "C channel, Z depth, Y and X. Correct them if the guess is wrong.",
    )
    return Row("Axes (guessed)", axes)


def _factor_rows() -> list[Row]:
    tip = (
        "How many times more pixels along this axis, fractions too. More pixels are "
        "not more resolution: 2 is usual, much more shows little more."
    )
    y, x = (
        FloatSpinBox(name=name, value=2, min=1, max=MAX_FACTOR, step=0.5, tooltip=tip)
        for name in ("factor_y", "factor_x")
    )
    linked = CheckBox(
        name="linked",
        value=True,
        text="The same for Y and X",
        tooltip="Untick to enlarge Y and X differently, for pixels that are not "
        "square.",
    )
    return [Row("Factor", y), Row("Factor X", x), Row("", linked)]


def _part_rows(areas: Callable[..., Any], channels: Callable[..., Any]) -> list[Row]:
    slices = ComboBox(
        name="slices",
        choices=[("all", ALL), ("the current one", CURRENT)],
        tooltip="The whole stack, or only the slice (time point, depth) that the "
        "sliders show now.",
    )
    area = ComboBox(
        name="area",
        choices=areas,
        tooltip="The whole plane, the part that the viewer shows now, or a rectangle "
        "that you drew in a Shapes layer.",
    )
    channel = ComboBox(
        name="channel",
        choices=channels,
        tooltip="All channels, each learned on its own, or one of them.",
    )
    return [Row("Slices", slices), Row("Area", area), Row("Channels", channel)]


def _preset_row() -> Row:
    tip = "\n".join(f"{name}: {text}" for name, text in PRESET_WORDS.items())
    return Row(
        "Preset",
        ComboBox(name="preset", choices=list(PRESETS), value="balanced", tooltip=tip),
    )


def _only(selection: Selection, letters: str) -> dict[str, tuple[int, int]]:
    return {k: v for k, v in selection.ranges.items() if k in letters}


def _ndim(layer: Image) -> int:
    return len(level0(layer).shape)
