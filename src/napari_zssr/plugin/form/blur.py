"""The fields of the form that describe the blur of the microscope."""

from __future__ import annotations

import html
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
from magicgui.widgets import ComboBox, LineEdit, PushButton
from napari.components import ViewerModel
from napari.layers import Image
from numpy.typing import NDArray
from qtpy.QtCore import Qt
from qtpy.QtGui import QImage, QPixmap
from qtpy.QtWidgets import QFrame, QHBoxLayout, QLabel, QSizePolicy, QWidget

from napari_zssr.config import Config
from napari_zssr.errors import InputError
from napari_zssr.imaging.kernel import FineKernel
from napari_zssr.kernelspec import KernelSpec, Optics
from napari_zssr.plugin.form.beads import BeadFields, Images
from napari_zssr.plugin.form.rows import (
    TOOLTIPS,
    Choice,
    Column,
    Row,
    path_field,
    refill,
    set_text,
    text_label,
)
from napari_zssr.plugin.layers.layers import layer_channels
from napari_zssr.plugin.request import (
    KernelCache,
    Request,
    channel_shown,
    check_optics,
)
from napari_zssr.plugin.summary import lines, picture
from napari_zssr.stack.image import Channel

EACH_IMAGE, KNOWN, UNKNOWN = "from each image", "from the image", "required"
# What an empty field stands for where the image does not tell.
OPTIONAL = {"index": "guessed from the NA", "excitation_nm": "as the emission"}
# Label, and attribute of `Channel`.
NUMBERS = {
    "na": ("NA", "na"),
    "wavelength_nm": ("Emission (nm)", "emission_nm"),
    "excitation_nm": ("Excitation (nm)", "excitation_nm"),
    "index": ("Immersion", "index"),
}
MODALITIES = {
    "widefield": "widefield",
    "confocal": "confocal",
    "lightsheet": "light sheet",
}
# Attributes of `Channel` by the names of the fields that they may fill.
STATED = {name: attribute for name, (_, attribute) in NUMBERS.items()}
STATED |= {"modality": "modality"}
METHODS = [("Gaussian", "gaussian"), ("vectorial", "vectorial")]


class OpticsFields(Column):
    """Objective, light and microscope; empty fields are left to the image.

    What is typed stays for other images, but not in place of what their files state.
    """

    def __init__(self) -> None:
        self._channel: Channel | None = None
        self._typed: dict[str, Any] = {}
        # What was typed in place of what the file of a layer states.
        self._corrected: WeakKeyDictionary[Image, dict[str, Any]] = WeakKeyDictionary()
        self._corrections: dict[str, Any] = {}
        self._stated: set[str] = set()
        self.shared = text_label()
        numbers = NUMBERS.items()
        super().__init__(
            [
                Row("Microscope", Choice(name="modality", choices=self._modalities)),
                *(Row(label, LineEdit(name=name)) for name, (label, _) in numbers),
                self.shared,
                Row("Model", ComboBox(name="method", choices=METHODS)),
            ]
        )
        for name in STATED:
            self.fields[name].changed.connect(partial(self._note, name))
        self.fields["modality"].changed.connect(self._show_relevant)
        self.show_channel(None)

    def optics(self) -> Optics:
        """What the fields hold; InputError for text that is no number."""
        numbers = {
            name: _parse_number(label, self.fields[name].value)
            for name, (label, _) in NUMBERS.items()
            if name != "excitation_nm" or self._is_confocal
        }
        return Optics(
            modality=self.fields["modality"].value,
            method=self.fields["method"].value,
            **numbers,
        )

    def show_optics(self, optics: Optics) -> None:
        """Set the fields."""
        for name in NUMBERS:
            value = getattr(optics, name)
            self.fields[name].value = "" if value is None else f"{value:g}"
        modality = self.fields["modality"]
        is_choice = optics.modality in modality.choices
        modality.value = optics.modality if is_choice else None
        self.fields["method"].value = optics.method
        # Also what was empty before.
        for name in STATED:
            self._note(name, self.fields[name].value)

    def follow_image(self, layer: Image | None) -> None:
        """Leave to the file of an image what it states; show the rest as typed."""
        channels = () if layer is None else layer_channels(layer)
        self._stated = {
            name
            for name, attribute in STATED.items()
            if any(getattr(channel, attribute) for channel in channels)
        }
        self._corrections = (
            {} if layer is None else self._corrected.setdefault(layer, {})
        )
        self.show_channel(channels[0] if channels else Channel())
        for name in STATED:
            known = self._corrections if name in self._stated else self._typed
            field = self.fields[name]
            empty = None if name == "modality" else ""
            value = known.get(name, empty)
            with field.changed.blocked():
                # The default microscope is not listed a second time.
                is_choice = name != "modality" or value in field.choices
                field.value = value if is_choice else empty
        self._show_relevant()

    def say_shared(self, channels: int, layers: int) -> None:
        """Say that one emission is used for several channels, where that is so."""
        text = self.fields["wavelength_nm"].value.strip()
        is_shared = bool(text) and max(channels, layers) > 1
        count, what = (layers, "layers") if layers > 1 else (channels, "channels")
        several = f"both {what}" if count == 2 else f"all {count} {what}"
        sentence = f"{text} nm is used for {several}."
        set_text(self.shared, html.escape(sentence) if is_shared else "")

    def _note(self, name: str, value: Any) -> None:
        self._typed[name] = value
        if name in self._stated:
            self._corrections[name] = value

    def show_channel(self, channel: Channel | None) -> None:
        """Show an image's metadata in the empty fields; None for a batch of images."""
        if channel is not None and channel == self._channel:
            return
        self._channel = channel
        for name, (_, attribute) in NUMBERS.items():
            text = EACH_IMAGE
            if channel is not None:
                value = getattr(channel, attribute)
                missing = OPTIONAL.get(name, UNKNOWN)
                text = missing if value is None else f"{KNOWN}: {value:g}"
            self.fields[name].native.setPlaceholderText(text)
        refill(self.fields["modality"])
        self._show_relevant()

    @property
    def _is_confocal(self) -> bool:
        known = self._channel.modality if self._channel is not None else ""
        return (self.fields["modality"].value or known) == "confocal"

    def _modalities(self, _widget: Any = None) -> list[tuple[str, str | None]]:
        choices = [(text, name) for name, text in MODALITIES.items()]
        if self._channel is None:
            return [(EACH_IMAGE, None), *choices]
        if self._channel.modality:
            return [(f"{KNOWN}: {MODALITIES[self._channel.modality]}", None), *choices]
        # The default where nothing is known.
        return [(MODALITIES["widefield"], None), *choices[1:]]

    def _show_relevant(self) -> None:
        self.rows["excitation_nm"].visible = self._is_confocal


def _parse_number(label: str, text: str) -> float | None:
    try:
        return float(text.replace(",", ".")) if text.strip() else None
    except ValueError:
        raise InputError(
            f"{label}: {text!r} is not a number; write it like 1.4, or leave it empty "
            "to use the image's metadata."
        ) from None


class KernelView(Column):
    """A picture of the chosen blur, and how far to trust it."""

    def __init__(self) -> None:
        self.grey: NDArray[np.uint8] = np.zeros((1, 1), np.uint8)
        self.picture = QLabel()
        self.picture.setFrameShape(QFrame.Shape.Box)
        self.picture.setSizePolicy(QSizePolicy.Policy.Fixed, QSizePolicy.Policy.Fixed)
        self.size, self.sentence = text_label(), text_label()
        super().__init__([self.size, self.sentence])
        self._picture_row = QWidget()
        self._picture_row.setToolTip(TOOLTIPS["blur_picture"])
        layout = QHBoxLayout(self._picture_row)
        layout.setContentsMargins(4, 2, 0, 2)
        layout.addWidget(self.picture)
        layout.addWidget(self.size.native, 1)
        self.native.layout().insertWidget(0, self._picture_row)
        self.clear()

    def clear(self, sentence: str = "") -> None:
        """Remove the picture, and say why."""
        self._picture_row.setVisible(False)
        set_text(self.sentence, html.escape(sentence))

    def show_kernel(self, kernel: FineKernel) -> None:
        """Show a blur: weights as grey squares, the strongest white, negative black.

        Where none was found there is only the sentence: a picture of the default blur
        would look measured.
        """
        if kernel.spec.kind == "bicubic":
            self.clear(kernel.sentence)
            return
        weights = picture(kernel)
        share = np.clip(weights / weights.max(), 0, 1)
        self.grey = np.round(255 * share).astype(np.uint8)
        height, width = self.grey.shape
        image = QImage(
            self.grey.tobytes(), width, height, width, QImage.Format.Format_Grayscale8
        )
        # As high as five lines of text.
        side = 5 * self.picture.fontMetrics().height()
        enlarged = image.scaled(side, side, Qt.AspectRatioMode.KeepAspectRatio)
        self.picture.setPixmap(QPixmap.fromImage(enlarged))
        self.size.value = "<br>".join(map(html.escape, lines(kernel)))
        self._picture_row.setVisible(True)
        set_text(self.sentence, html.escape(kernel.sentence))


STORED = "stored"
NO_BLUR = (
    "Slices are added and noise is removed. Planes are sharpened only with a factor "
    "above 1."
)
KINDS = {
    "bicubic": "default (bicubic)",
    "estimate": "estimate from image",
    "optics": "from the optics",
    "beads": "from beads",
    "gaussian": "Gaussian",
    "file": "from a file",
}
LATER = {
    "estimate": "Estimated when you press Preview or Run.",
    "optics": "Computed when you press Preview or Run.",
}


AXIAL_KINDS = [
    ("from the stack", "estimate"),
    ("from the optics", "optics"),
    ("from measured widths", "fwhm"),
    ("Gaussian", "gaussian"),
    ("thick sections", "section"),
]
# Label and initial value of the numbers of a blur along Z.
AXIAL_WIDTHS = {
    "fwhm": ("FWHM Z, XY", "0.9, 0.3"),
    "gaussian": ("Sigma Z (px)", "2"),
    "section": ("Thickness", "1"),
}


class AxialBlurFields(Column):
    """How much more is blurred along Z than across."""

    def __init__(self) -> None:
        widths = AXIAL_WIDTHS.items()
        super().__init__(
            [
                Row("Blur along Z", ComboBox(name="kernel_z", choices=AXIAL_KINDS)),
                *(
                    Row(text, LineEdit(name=f"{n}_z", value=v))
                    for n, (text, v) in widths
                ),
            ]
        )
        self.fields["kernel_z"].changed.connect(self._show_relevant)
        self._show_relevant()

    @property
    def text(self) -> str:
        """Blur as `Config.kernel_z` has it."""
        kind: str = self.fields["kernel_z"].value
        if kind not in AXIAL_WIDTHS:
            return kind
        return f"{kind}:{self.fields[f'{kind}_z'].value}"

    def show_config(self, config: Config) -> None:
        """Set the fields to settings."""
        kind, numbers = config.axial_kernel
        if kind in AXIAL_WIDTHS:
            self.fields[f"{kind}_z"].value = ", ".join(f"{n:g}" for n in numbers)
        self.fields["kernel_z"].value = kind

    def _show_relevant(self) -> None:
        for name in AXIAL_WIDTHS:
            self.rows[f"{name}_z"].visible = self.fields["kernel_z"].value == name


class BlurFields(Column):
    """How the microscope blurs a fine image; `images` may hold beads."""

    def __init__(self, images: Images = list) -> None:
        self._stored: KernelSpec | None = None
        # Whether the blur of planes counts, and whether that along Z does.
        self._in_planes, self._along_z = True, False
        self.axial = AxialBlurFields()
        self.no_planes = text_label(NO_BLUR)
        self.optics = OpticsFields()
        self.beads = BeadFields(images)
        self.view = KernelView()
        self.seen = KernelCache()
        files = "*.npy *.csv *.tif *.tiff *.mat"
        self.measure = PushButton(
            text="Estimate blur now",
            tooltip="Finds the blur in the image now, and shows it below, instead of "
            "when you press Preview or Run.",
        )
        # A batch has no image to measure.
        self.can_measure = False
        super().__init__(
            [
                Row("Blur", ComboBox(name="kernel", choices=self._kinds)),
                self.no_planes,
                self.measure,
                self.beads,
                Row("Blur width", LineEdit(name="sigma", value="1.0")),
                Row("Blur file", path_field(name="kernel_file", filter=files)),
                self.axial,
                # Of either blur.
                self.optics,
                self.view,
            ]
        )
        for name in ("kernel", "kernel_z"):
            self.fields[name].changed.connect(self._show_relevant)
        self._show_relevant()

    def need(self, *, in_planes: bool, along_z: bool) -> None:
        """Show the fields of the blurs that count."""
        self._in_planes, self._along_z = in_planes, along_z
        self._show_relevant()

    def kernel(self) -> KernelSpec:
        """The blur of planes, with the optics where that along Z is of them.

        InputError where a field cannot be used.
        """
        chosen = self._chosen() if self._in_planes else KernelSpec()
        if not self._optics_along_z:
            return chosen
        kind = chosen.kind if self._in_planes else "optics"
        return replace(chosen, kind=kind, optics=self.optics.optics())

    @property
    def _optics_along_z(self) -> bool:
        return self._along_z and self.axial.text == "optics"

    def _chosen(self) -> KernelSpec:
        kind = self.fields["kernel"].value
        if kind == "gaussian":
            return KernelSpec.parse(f"gaussian:{self.fields['sigma'].value}")
        if kind == "optics":
            return KernelSpec(kind="optics", optics=self.optics.optics())
        if kind == "beads":
            return self.beads.kernel()
        if kind == "file":
            path = Path(self.fields["kernel_file"].value)
            if not path.is_file():
                raise InputError(
                    "Choose the file that contains the blur, or the default blur."
                )
            return KernelSpec.parse(str(path))
        if kind == STORED and self._stored is not None:
            return self._stored
        return KernelSpec(kind="estimate" if kind == "estimate" else "bicubic")

    def show_kernel(self, kernel: KernelSpec) -> None:
        """Set the fields to a blur."""
        self._stored = kernel if kernel.array is not None else None
        self.fields["kernel"].reset_choices()
        if kernel.kind == "gaussian":
            y, x = kernel.sigma_px
            self.fields["sigma"].value = f"{y:g},{x:g},{kernel.angle_deg:g}"
        if kernel.kind == "file":
            self.fields["kernel_file"].value = kernel.path
        if kernel.optics is not None:
            self.optics.show_optics(kernel.optics)
        self.fields["kernel"].value = STORED if self._stored else kernel.kind

    def follow(self, request: Request, viewer: ViewerModel, layers: int = 1) -> None:
        """Show the blur of the channel that the sliders show, where it counts.

        `layers` are enlarged one after the other, of which this is one.
        InputError where the chosen blur cannot be used for this image.
        """
        self.view.clear()
        channel = channel_shown(request, viewer)
        stack = request.lazy_stack()
        known = stack.channels
        self.optics.show_channel(known[channel] if known else Channel())
        channels = stack.data.shape[stack.axes.index("C")] if "C" in stack.axes else 1
        self.optics.say_shared(channels, layers)
        if self._optics_along_z:
            check_optics(request, channel)
        if not request.config.restores_planes:
            return
        kernel = self.seen.kernel(request, channel)
        if kernel is None:
            self.view.clear(LATER[request.config.kernel.kind])
        else:
            self.view.show_kernel(kernel)

    def offer_measuring(self) -> None:
        """Offer to estimate the blur at once."""
        self.can_measure = True
        self._show_relevant()

    def _kinds(self, _widget: Any = None) -> list[tuple[str, str]]:
        stored = [("as in that result", STORED)] if self._stored is not None else []
        return [*((text, kind) for kind, text in KINDS.items()), *stored]

    def _show_relevant(self) -> None:
        kind = self.fields["kernel"].value if self._in_planes else ""
        self.rows["kernel"].visible = self._in_planes
        self.no_planes.visible = not self._in_planes
        self.rows["sigma"].visible = kind == "gaussian"
        self.rows["kernel_file"].visible = kind == "file"
        self.measure.visible = self.can_measure and kind == "estimate"
        self.beads.visible = kind == "beads"
        self.axial.visible = self._along_z
        self.optics.visible = kind == "optics" or self._optics_along_z
        # Along Z there is one model.
        self.optics.rows["method"].visible = kind == "optics"
        # Nothing to see in the blur that nobody has chosen.
        self.view.visible = kind not in ("", "bicubic")
