"""The fields of the form that choose the image."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from magicgui.widgets import CheckBox, ComboBox, LineEdit
from napari.layers import Image, Labels
from psygnal import Signal

from napari_zssr.errors import InputError
from napari_zssr.plugin._layers import (
    describe_axes,
    layer_axes,
    level0,
)
from napari_zssr.plugin._rows import Column, Row, refill, words
from napari_zssr.plugin._scene import is_preview
from napari_zssr.plugin._spacing import has_spacing, set_spacing
from napari_zssr.stack.axes import parse_axes

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
