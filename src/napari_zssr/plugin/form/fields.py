"""The fields of the form that say how much, what part and how."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from magicgui.widgets import (
    CheckBox,
    ComboBox,
    FloatSpinBox,
    LineEdit,
    PushButton,
)
from napari.layers import Image, Labels, Shapes
from psygnal import Signal

from napari_zssr.checks import MAX_FACTOR
from napari_zssr.config import PRESETS, Config, change
from napari_zssr.errors import InputError
from napari_zssr.plugin.form.advanced import NUMBERS, AdvancedFields
from napari_zssr.plugin.form.beads import Images
from napari_zssr.plugin.form.blur import BlurFields
from napari_zssr.plugin.form.rows import Column, Row, refill, words
from napari_zssr.plugin.layers.layers import (
    describe_axes,
    has_spacing,
    layer_axes,
    set_spacing,
)
from napari_zssr.plugin.layers.selection import (
    Selection,
    current_slice,
    current_view,
    in_rectangle,
    level0,
)
from napari_zssr.plugin.preview.scene import is_preview
from napari_zssr.stack.axis_labels import parse_axes

if TYPE_CHECKING:
    from napari.layers import Layer
    from napari.viewer import Viewer


class ImageFields(Column):
    """Which layer, and how its axes are understood.

    Attributes
    ----------
    layer_chosen : Signal
        Emitted when another layer is shown, or the same with other axes.
    """

    layer_chosen = Signal()

    def __init__(self, viewer: Viewer) -> None:
        self._viewer = viewer
        self._corrected: WeakKeyDictionary[Image, str] = WeakKeyDictionary()
        self.understood = words()
        super().__init__(
            [*_image_rows(self.images), self.understood, _axes_row(), _spacing_row()]
        )
        self.fields["layer"].changed.connect(self._show_layer)
        self.fields["axes"].changed.connect(self._correct)
        self.fields["spacing"].native.editingFinished.connect(self._set_spacing)
        self.refresh()
        self._start_from(viewer.layers.selection.active)

    @property
    def layer(self) -> Image | None:
        """Layer that is chosen."""
        chosen: Image | None = self.fields["layer"].value
        return chosen

    def images(self, _widget: Any = None) -> list[Image]:
        """All image layers but those of a preview."""
        return [
            layer
            for layer in layers_of(self._viewer)
            if isinstance(layer, Image) and not is_preview(layer)
        ]

    @property
    def only_labels(self) -> bool:
        """Whether there are layers of labels, and none that can be enlarged."""
        labels = (isinstance(layer, Labels) for layer in layers_of(self._viewer))
        return not self.images() and any(labels)

    def layers(self) -> list[Image]:
        """Layers that a run would enlarge, in the order of the layer list."""
        selected = self._selected()
        if len(selected) > 1 and self.fields["in_turn"].value:
            return selected
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
        refill(self.fields["layer"])
        count = len(self._selected())
        self.fields["in_turn"].text = f"All {count} selected layers"
        self.rows["in_turn"].visible = count > 1
        self._show_layer()

    def choose(self, name: str, axes: str | None) -> None:
        """Choose the layer of that name, if there is one, with axes as they were."""
        for layer in self.images():
            if layer.name == name:
                self.fields["layer"].value = layer
                if axes is not None and axes != self.axes(layer):
                    self._corrected[layer] = axes
                self._show_layer()

    def _start_from(self, active: Layer | None) -> None:
        """Choose the layer that the user has clicked on, where it is an image."""
        active = getattr(active, "__wrapped__", active)
        if active in self.images():
            self.fields["layer"].value = active

    def _show_layer(self, *_: Any) -> None:
        layer = self.layer
        self.understood.visible = layer is not None
        if layer is None:
            self.rows["axes"].visible = self.rows["spacing"].visible = False
            return
        guess, guessed = _guess(layer)
        with self.fields["axes"].changed.blocked():
            self.fields["axes"].value = self._corrected.get(layer, guess)
        self.rows["axes"].visible = guessed or layer in self._corrected
        self._describe(layer)
        self.layer_chosen.emit()

    def _correct(self, text: str) -> None:
        if self.layer is not None:
            self._corrected[self.layer] = text
            self._describe(self.layer)
            self.layer_chosen.emit()

    def _describe(self, layer: Image) -> None:
        known = True
        try:
            axes = self.axes(layer)
            text = describe_axes(layer, axes)
            known = has_spacing(layer, axes)
        except InputError as error:
            text = str(error)
        self.understood.value = text
        self.rows["spacing"].visible = not known

    def _set_spacing(self) -> None:
        """Write the pixel size to the layer."""
        layer, text = self.layer, self.fields["spacing"].value
        if layer is None or not text.strip():
            return
        try:
            set_spacing(layer, self.axes(layer), text)
        except InputError as error:
            self.understood.value = str(error)
            return
        with self.fields["spacing"].changed.blocked():
            self.fields["spacing"].value = ""
        self._viewer.reset_view()
        self._show_layer()

    def _selected(self) -> list[Image]:
        chosen = set(self._viewer.layers.selection)
        return [layer for layer in self.images() if layer in chosen]


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
    return Row("Axes, guessed", axes)


def _spacing_row() -> Row:
    spacing = LineEdit(
        name="spacing",
        tooltip="In micrometres, since the layer does not tell: one number for Y and "
        "X, or one for each of Z, Y and X. It is written to the layer, so that scale "
        "bar and saved files are right.",
    )
    spacing.native.setPlaceholderText("unknown; in um")
    return Row("Pixel size", spacing)


def _guess(layer: Image) -> tuple[str, bool]:
    """Axes of a layer and whether they are guessed; nothing where that fails."""
    try:
        return layer_axes(layer)
    except InputError:
        return "", True


def _ndim(layer: Image) -> int:
    return len(level0(layer).shape)


WHOLE, VIEW, ALL, CURRENT, KEPT = "whole", "view", "all", "current", "kept"
LIKE = "as for that layer"
Choices = Callable[..., Any]
CLOSED, OPEN = "\u25b8 Advanced", "\u25be Advanced"
PRESET_WORDS = {
    "instant": "A linear filter fitted to the image: seconds, a first look.",
    "fast": "One small network: for long stacks.",
    "balanced": "Trained for longer: for the image that matters.",
    "paper": "The network of the 2018 paper: for comparison, slow.",
}


class FactorFields(Column):
    """How much larger along Y and X."""

    def __init__(self) -> None:
        super().__init__(_factor_rows())
        self.fields["linked"].changed.connect(self._link)
        self._link()

    @property
    def factors(self) -> tuple[float, float]:
        """Enlargement along (Y, X)."""
        y = self.fields["factor_y"].value
        return y, y if self.fields["linked"].value else self.fields["factor_x"].value

    def show_factors(self, factors: tuple[float, float]) -> None:
        """Set the fields to factors along (Y, X)."""
        self.fields["linked"].value = factors[0] == factors[1]
        self.fields["factor_y"].value, self.fields["factor_x"].value = factors

    def _link(self, *_: Any) -> None:
        linked = self.fields["linked"].value
        self.rows["factor_x"].visible = not linked
        self.rows["factor_y"].title.setText("Factor" if linked else "Factor Y")
        if not linked:
            self.fields["factor_x"].value = self.fields["factor_y"].value


class WhatFields(Column):
    """How much larger, and which part of the layer."""

    def __init__(self, viewer: Viewer, image: ImageFields) -> None:
        self._viewer = viewer
        self._image = image
        self._kept: Mapping[str, tuple[int, int]] = {}
        parts = _part_rows(self._slices, self._areas, self._channels)
        self._factor = FactorFields()
        super().__init__([self._factor, *parts])
        self.fields |= self._factor.fields
        self.rows |= self._factor.rows
        self.refresh()

    @property
    def factors(self) -> tuple[float, float]:
        """Enlargement along (Y, X)."""
        return self._factor.factors

    def selection(self, layer: Image, axes: str) -> Selection:
        """Part of a layer that is asked for.

        Raises
        ------
        InputError
            There is nothing in it.
        """
        ranges: dict[str, tuple[int, int]] = {}
        here, area = self.fields["slices"].value, self.fields["area"].value
        if here == CURRENT:
            ranges |= _only(self._here(layer, axes).ranges, "TZ")
        elif here == KEPT:
            ranges |= _only(self._kept, "TZ")
        if area == VIEW:
            ranges |= _only(current_view(layer, axes, self._viewer).ranges, "YX")
        elif area == KEPT:
            ranges |= _only(self._kept, "YX")
        elif area in layers_of(self._viewer):
            ranges |= _only(in_rectangle(layer, axes, area).ranges, "YX")
        channel = self.fields["channel"].value
        if channel is not None and "C" in axes:
            if channel >= level0(layer).shape[axes.index("C")]:
                raise InputError(f"Layer {layer.name!r} has no channel {channel}.")
            ranges["C"] = (channel, channel + 1)
        return Selection(ranges=ranges)

    def refresh(self, *_: Any) -> None:
        """Follow the layer and the layer list."""
        for name in ("slices", "area", "channel"):
            refill(self.fields[name])
        axes = self._axes()
        self.rows["slices"].visible = bool(set("TZ") & set(axes))
        self.rows["channel"].visible = len(self.fields["channel"].choices) > 1

    def show_factors(self, factors: tuple[float, float]) -> None:
        """Set the fields to factors along (Y, X)."""
        self._factor.show_factors(factors)

    def show_ranges(self, ranges: Mapping[str, tuple[int, int]]) -> None:
        """Set the fields to a part of a layer, as a recipe names it."""
        self._kept = ranges
        self.refresh()
        self.fields["slices"].value = KEPT if set("TZ") & set(ranges) else ALL
        self.fields["area"].value = KEPT if set("YX") & set(ranges) else WHOLE
        first, _ = ranges.get("C", (None, None))
        self.fields["channel"].value = first

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
        shapes = [
            layer
            for layer in layers_of(self._viewer)
            if isinstance(layer, Shapes) and not is_preview(layer)
        ]
        drawn = [(f"rectangle in {shape.name}", shape) for shape in shapes]
        kept = [(LIKE, KEPT)] if set("YX") & set(self._kept) else []
        return [("whole plane", WHOLE), ("what the viewer shows", VIEW), *kept, *drawn]

    def _slices(self, _widget: Any = None) -> list[tuple[str, str]]:
        kept = [(LIKE, KEPT)] if set("TZ") & set(self._kept) else []
        return [("all", ALL), ("the current one", CURRENT), *kept]

    def _channels(self, _widget: Any = None) -> list[tuple[str, int | None]]:
        layer, axes = self._image.layer, self._axes()
        if layer is None or "C" not in axes:
            return [("all", None)]
        count = level0(layer).shape[axes.index("C")]
        return [("all", None), *((f"only {n}", n) for n in range(count))]


class HowFields(Column):
    """Preset, blur, and what deviates from the preset.

    Parameters
    ----------
    images : callable, optional
        Layers that may hold beads.
    """

    def __init__(self, images: Images | None = None) -> None:
        self.blur = BlurFields(images)
        self.advanced = AdvancedFields()
        self._base = PRESETS["balanced"]
        self._words = words()
        self._open = False
        self._toggle = PushButton(
            text=CLOSED,
            tooltip="Noise, training, device: what the preset decides unless you know "
            "better.",
        )
        self._toggle.native.setStyleSheet("text-align: left; padding-left: 4px;")
        rows = [_preset_row(), self._words, self.blur, self._toggle, self.advanced]
        super().__init__(rows)
        self.preset = self.fields["preset"]
        self.preset.changed.connect(self._take_preset)
        self._toggle.changed.connect(lambda: self.unfold(not self._open))
        self._take_preset(self.preset.value)

    def config(self, factors: tuple[float, float]) -> Config:
        """Settings that the form shows.

        Raises
        ------
        InputError
            A field cannot be used.
        """
        changes = self.advanced.changes() | {"kernel": self.blur.kernel()}
        return change(self._base, factor=factors, **changes)

    def show_config(self, config: Config) -> None:
        """Set the fields to settings, those that have no field included."""
        self.preset.value = config.preset if config.preset in PRESETS else "balanced"
        preset = self._base
        shown = ("start", "strategy", "ensemble", *NUMBERS)
        self._base = change(config, **{name: getattr(preset, name) for name in shown})
        self.blur.show_kernel(config.kernel)
        self.advanced.show_config(config, preset)

    def unfold(self, open_: bool) -> None:
        """Show or hide the advanced fields."""
        self._open = self.advanced.visible = open_
        self._toggle.text = OPEN if open_ else CLOSED

    def _take_preset(self, name: str) -> None:
        self._base = PRESETS[name]
        self._words.value = PRESET_WORDS[name]
        self.advanced.lean_on(self._base)


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


def _part_rows(slices: Choices, areas: Choices, channels: Choices) -> list[Row]:
    some = ComboBox(
        name="slices",
        choices=slices,
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
    return [Row("Slices", some), Row("Area", area), Row("Channels", channel)]


def _preset_row() -> Row:
    tip = "\n".join(f"{name}: {text}" for name, text in PRESET_WORDS.items())
    return Row(
        "Preset",
        ComboBox(name="preset", choices=list(PRESETS), value="balanced", tooltip=tip),
    )


def _only(
    ranges: Mapping[str, tuple[int, int]], letters: str
) -> dict[str, tuple[int, int]]:
    return {k: v for k, v in ranges.items() if k in letters}
