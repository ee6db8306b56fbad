"""The fields of the form for the image: which one, its axes and pixel size."""

from __future__ import annotations

import html
from collections.abc import Iterator
from typing import Any
from weakref import WeakKeyDictionary, WeakSet, ref

from magicgui.widgets import (
    CheckBox,
    ComboBox,
    LineEdit,
)
from napari.layers import Image, Labels, Layer
from napari.viewer import Viewer
from psygnal import Signal
from qtpy.QtCore import Qt

from napari_zssr.errors import InputError
from napari_zssr.plugin.form.rows import (
    Column,
    Row,
    link,
    refill,
    text_label,
)
from napari_zssr.plugin.layers.aids import is_aid
from napari_zssr.plugin.layers.layers import (
    channels_beside,
    describe_axes,
    is_result,
    layer_axes,
    level0,
    unwrapped,
)
from napari_zssr.plugin.layers.pixel_size import (
    has_spacing,
    set_spacing,
    size_text,
    view_kept,
)
from napari_zssr.stack.axis_labels import parse_axes


class ImageFields(Column):
    """The layer to enlarge, its axes and pixel size.

    The choice follows the layers that are selected in the viewer until the user has
    chosen one here; results never take it. The pixel size can be typed where it is
    unknown, and changed after that until another layer is chosen; one from a file can
    be changed by a link. `layer_chosen` is emitted for another layer, and for the same
    with other axes; `left` only for another layer.
    """

    layer_chosen = Signal()
    left = Signal()

    def __init__(self, viewer: Viewer) -> None:
        self._viewer = viewer
        self._corrected: WeakKeyDictionary[Image, str] = WeakKeyDictionary()
        self._unsized: WeakKeyDictionary[Image, tuple[Any, Any]] = WeakKeyDictionary()
        self._asks_z = False
        self._sizing = False
        self._shown: ref[Image] | None = None
        self._picked: Image | None = None
        self._together: list[ref[Image]] = []
        # Channels of files of which one alone was asked for.
        self._alone: WeakSet[Image] = WeakSet()
        self.understood = text_label()
        super().__init__(
            [
                Row("Layer", ComboBox(name="layer", choices=self.images)),
                Row("", CheckBox(name="in_turn")),
                self.understood,
                Row("Axes, guessed", LineEdit(name="axes")),
                Row("Pixel size", LineEdit(name="spacing")),
            ]
        )
        self.fields["spacing"].native.setPlaceholderText("unknown; in µm")
        self.fields["layer"].changed.connect(self._pick)
        self.fields["in_turn"].changed.connect(self._keep_alone)
        self.fields["axes"].changed.connect(self._correct_axes)
        self.fields["axes"].native.editingFinished.connect(self._confirm_axes)
        self.fields["spacing"].native.editingFinished.connect(self._set_spacing)
        flags = Qt.TextInteractionFlag
        self.understood.native.setTextInteractionFlags(
            flags.LinksAccessibleByMouse | flags.LinksAccessibleByKeyboard
        )
        self.understood.native.linkActivated.connect(self.change_size)
        self.refresh()

    @property
    def layer(self) -> Image | None:
        """The chosen layer."""
        layer: Image | None = self.fields["layer"].value
        return layer

    def images(self, _widget: Any = None) -> list[Image]:
        """All image layers but those of a preview or a check."""
        return [
            layer
            for layer in layers_of(self._viewer)
            if isinstance(layer, Image) and not is_aid(layer)
        ]

    @property
    def only_labels(self) -> bool:
        """Whether there are layers of labels, and none that can be enlarged."""
        labels = (isinstance(layer, Labels) for layer in layers_of(self._viewer))
        return not self.images() and any(labels)

    def layers(self) -> list[Image]:
        """Layers that a run would enlarge, in the order of the layer list."""
        together = self._in_turn()
        if len(together) > 1 and self.fields["in_turn"].value:
            return together
        return [] if self.layer is None else [self.layer]

    def axes(self, layer: Image) -> str:
        """Axis letters of a layer, as corrected; InputError where they do not fit."""
        text = self._corrected.get(layer)
        if text is None:
            return layer_axes(layer)[0]
        return parse_axes(text, len(level0(layer).shape))

    def guessed(self, layer: Image) -> bool:
        """Whether some of the axes were guessed, and nobody has confirmed them."""
        return layer not in self._corrected and layer_axes(layer)[1]

    def ask_z(self, asks: bool) -> None:
        """Ask for the distance of the slices where it is not known, or do not."""
        if asks != self._asks_z:
            self._asks_z = asks
            self.show_layer()

    def refresh(self) -> None:
        """Follow the layer list."""
        refill(self.fields["layer"])
        self.follow_selection()
        self.show_layer()

    def follow_selection(self) -> None:
        """Follow the layers that are selected, but not the layer list."""
        field, selected = self.fields["layer"], self._selected()
        if self._picked not in field.choices:
            self._picked = None
            if selected and self.layer not in selected:
                with field.changed.blocked():
                    field.value = selected[-1]
                self.show_layer()
        self._offer_together()

    def _offer_together(self) -> None:
        """Offer to enlarge what is selected, or all channels of a file, in turn.

        The channels of a file are enlarged unless one alone was asked for. What was
        offered stays while no image is selected, as after a run, whose result is.
        """
        field, selected, before = (
            self.fields["in_turn"],
            self._selected(),
            self._in_turn(),
        )
        channels = channels_beside(self.layer, self.images())
        together, text = channels, f"All {len(channels)} channels"
        if len(selected) > 1 and set(selected) != set(channels):
            together, text = selected, f"All {len(selected)} selected layers"
        elif not selected and self.layer in before and before != channels:
            together, text = before, f"The {len(before)} layers selected before"
        self._together = [ref(layer) for layer in together]
        if len(before) < 2 or (together and not set(before) & set(together)):
            with field.changed.blocked():
                field.value = together == channels and not self._alone & set(channels)
        field.text = text
        self.rows["in_turn"].visible = len(together) > 1

    def _keep_alone(self, all_of_them: bool) -> None:
        """Remember of what is offered whether one alone is asked for."""
        if all_of_them:
            self._alone.difference_update(self._in_turn())
        else:
            self._alone.update(self._in_turn())

    def choose(self, name: str, axes: str | None) -> None:
        """Choose the layer of that name, if there is one, with the axes of a recipe."""
        for layer in self.images():
            if layer.name == name:
                self.fields["layer"].value = layer
                self.fields["in_turn"].value = False
                if axes is not None and axes != self.axes(layer):
                    self._corrected[layer] = axes
                self.show_layer()

    def _pick(self, layer: Image | None) -> None:
        self._picked = layer
        self.show_layer()
        self._offer_together()

    def show_layer(self) -> None:
        """Tell what is known of the chosen layer."""
        layer = self.layer
        if layer is not (self._shown and self._shown()):
            self._shown = None if layer is None else ref(layer)
            self._sizing = False
            self.fields["spacing"].native.setModified(False)
            self.left.emit()
        self.understood.visible = layer is not None
        if layer is None:
            self.rows["axes"].visible = self.rows["spacing"].visible = False
            self.layer_chosen.emit()
            return
        try:
            axes, guessed = layer_axes(layer)
        except InputError:
            axes, guessed = "", True
        with self.fields["axes"].changed.blocked():
            self.fields["axes"].value = self._corrected.get(layer, axes)
        self.rows["axes"].visible = guessed or layer in self._corrected
        self._show_axes(layer)

    def _correct_axes(self, text: str) -> None:
        if self.layer is not None:
            self._corrected[self.layer] = text
            self._show_axes(self.layer)

    def _confirm_axes(self) -> None:
        """Enter says that a guess is right."""
        self._correct_axes(self.fields["axes"].value)
        self.changed.emit(self)

    def _show_axes(self, layer: Image) -> None:
        known = True
        try:
            axes = self.axes(layer)
            along_z = self._asks_z and "Z" in axes
            known = has_spacing(layer, axes, along_z=along_z) and not self._sizing
            self._show_size(size_text(layer, axes))
            line = html.escape(describe_axes(layer, axes))
            if known:
                line += f" {link('Change', self.understood)}"
            self.understood.value = line
            guessed = self.guessed(layer)
            self.rows["axes"].rename("Axes, guessed" if guessed else "Axes")
        except InputError as error:
            self.understood.value = html.escape(str(error))
        self.rows["spacing"].visible = not known
        self.layer_chosen.emit()

    def change_size(self, _link: str = "") -> None:
        """Let the pixel size be changed."""
        self._sizing = True
        self.show_layer()
        self.fields["spacing"].native.setFocus()
        self.fields["spacing"].native.selectAll()

    def _show_size(self, text: str) -> None:
        """Show a pixel size in its field, but not over what is being typed."""
        field = self.fields["spacing"]
        if not field.native.isModified():
            with field.changed.blocked():
                field.value = text

    def _set_spacing(self) -> None:
        """Write the pixel size to the layer; an empty field restores what it had."""
        layer, field = self.layer, self.fields["spacing"]
        if layer is None:
            return
        text, before = field.value.strip(), (layer.scale, layer.units)
        try:
            if text == size_text(layer, self.axes(layer)):
                return
            with view_kept(self._viewer, layer):
                if text:
                    set_spacing(layer, self.axes(layer), text)
                    self._unsized.setdefault(layer, before)
                elif layer in self._unsized:
                    layer.scale, layer.units = self._unsized.pop(layer)
                # napari draws nothing after units were set until it slices again.
                layer.refresh()
        except InputError as error:
            self.understood.value = html.escape(str(error))
            return
        self._sizing = True
        field.native.setModified(False)
        self.show_layer()
        self.changed.emit(self)

    def _selected(self) -> list[Image]:
        """Images that are selected, but no results."""
        selection = set(self._viewer.layers.selection)
        images = (layer for layer in self.images() if layer in selection)
        return [layer for layer in images if not is_result(layer)]

    def _in_turn(self) -> list[Image]:
        """What was offered to be enlarged in turn, and is still there."""
        offered = [one() for one in self._together]
        return [layer for layer in self.images() if layer in offered]


def layers_of(viewer: Viewer) -> Iterator[Layer]:
    """Layers of a viewer, without napari's proxies."""
    return map(unwrapped, viewer.layers)
