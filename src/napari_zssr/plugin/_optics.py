"""The fields of the form that tell how an image was taken."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from magicgui.widgets import ComboBox, LineEdit

from napari_zssr.errors import InputError
from napari_zssr.kernelspec import Optics
from napari_zssr.plugin._rows import Column, Row, refill
from napari_zssr.stack.records import Channel

EACH, TOLD, NOT_TOLD = "from each image", "from the image", "not in the image"
GUESSED = "guessed from the NA"
# Field, label, name in the metadata of a channel, what it is.
NUMBERS = {
    "na": (
        "NA",
        "na",
        "Numerical aperture of the objective; it stands on it, as in 63x/1.4.",
    ),
    "wavelength_nm": (
        "Emission (nm)",
        "emission_nm",
        "Wavelength of the light that was seen, in nanometres: about 520 for GFP.",
    ),
    "excitation_nm": (
        "Excitation (nm)",
        "excitation_nm",
        "Wavelength of the laser, in nanometres. A small pinhole is assumed.",
    ),
    "index": (
        "Immersion",
        "index",
        "Refractive index between objective and sample: air 1, water 1.33, oil 1.515.",
    ),
}
NAMES = {
    "widefield": "widefield",
    "confocal": "confocal",
    "lightsheet": "light sheet",
}


class OpticsFields(Column):
    """Objective, light and kind of microscope; what is empty the image has to tell."""

    def __init__(self) -> None:
        self._told: Channel | None = None
        super().__init__([_microscope(self._kinds), *_numbers(), _model()])
        self.fields["modality"].changed.connect(self._show_what_counts)
        self.lean_on(None)

    def optics(self) -> Optics:
        """What is given.

        Raises
        ------
        InputError
            A field cannot be understood.
        """
        counts = [n for n in NUMBERS if n != "excitation_nm" or self._confocal]
        given = {n: _number(NUMBERS[n][0], self.fields[n].value) for n in counts}
        return Optics(
            modality=self.fields["modality"].value,
            method=self.fields["method"].value,
            **given,
        )

    def show_optics(self, optics: Optics) -> None:
        """Set the fields."""
        for name in NUMBERS:
            value = getattr(optics, name)
            self.fields[name].value = "" if value is None else f"{value:g}"
        kinds = self.fields["modality"].choices
        self.fields["modality"].value = (
            optics.modality if optics.modality in kinds else None
        )
        self.fields["method"].value = optics.method

    def lean_on(self, channel: Channel | None) -> None:
        """Say what an image tells of a channel; None where each image tells its own."""
        if channel is not None and channel == self._told:
            return
        self._told = channel
        for name, (_, told, _) in NUMBERS.items():
            text = EACH
            if channel is not None:
                value = getattr(channel, told)
                missing = GUESSED if name == "index" else NOT_TOLD
                text = missing if value is None else f"{TOLD}: {value:g}"
            self.fields[name].native.setPlaceholderText(text)
        refill(self.fields["modality"])
        self._show_what_counts()

    @property
    def _confocal(self) -> bool:
        told = self._told.modality if self._told is not None else ""
        return (self.fields["modality"].value or told) == "confocal"

    def _kinds(self, _widget: Any = None) -> list[tuple[str, str | None]]:
        known = [(text, name) for name, text in NAMES.items()]
        if self._told is None:
            return [(EACH, None), *known]
        if self._told.modality:
            return [(f"{TOLD}: {NAMES[self._told.modality]}", None), *known]
        # It is what is taken where nothing is said.
        return [(NAMES["widefield"], None), *known[1:]]

    def _show_what_counts(self, *_: Any) -> None:
        self.rows["excitation_nm"].visible = self._confocal


def _microscope(kinds: Callable[..., Any]) -> Row:
    return Row(
        "Microscope",
        ComboBox(
            name="modality",
            choices=kinds,
            tooltip="A confocal microscope blurs less than a widefield one with the "
            "same objective.",
        ),
    )


def _numbers() -> list[Row]:
    return [
        Row(label, LineEdit(name=name, tooltip=f"{tip} Empty: as the image tells."))
        for name, (label, _, tip) in NUMBERS.items()
    ]


def _model() -> Row:
    return Row(
        "Model",
        ComboBox(
            name="method",
            choices=[("Gaussian", "gaussian"), ("vectorial", "vectorial")],
            tooltip="Gaussian is quick and close. Vectorial is more exact above NA 1, "
            "takes some seconds, and needs the extra 'optics' of the installation.",
        ),
    )


def _number(label: str, text: str) -> float | None:
    if not text.strip():
        return None
    try:
        return float(text.replace(",", "."))
    except ValueError:
        raise InputError(
            f"{label}: {text!r} is not a number; write it like 1.4, or leave it empty "
            "to take what the image tells."
        ) from None
