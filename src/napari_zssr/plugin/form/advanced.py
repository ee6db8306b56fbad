"""Settings that a preset decides unless they are set here."""

from __future__ import annotations

import html
from dataclasses import asdict
from pathlib import Path
from typing import Any

from magicgui.widgets import CheckBox, ComboBox, LineEdit, PushButton, SpinBox

from napari_zssr.checks import CAMERA_PREFIX, LEARNED, RANDOM, is_camera, parsed_camera
from napari_zssr.config import Config
from napari_zssr.errors import InputError
from napari_zssr.plugin.form.rows import (
    Choice,
    Column,
    Row,
    path_field,
    set_text,
    text_label,
)

AS_PRESET = "the preset's"
FILE = "file"
NUMBERS = {
    "steps": "Training steps",
    "learned_steps": "Tuning steps",
    "gradual": "Enlargement steps",
    "back_projection": "Back-projection",
}
GIVEN = "given"
NOISE = [
    ("estimated", "auto"),
    ("ignored", "off"),
    ("given", GIVEN),
    ("of the camera", CAMERA_PREFIX),
]
NOISE_LEVEL = "0.02"
# Label and initial value.
CAMERA = {
    "gain": ("Gain (e-/count)", "1"),
    "offset": ("Offset (counts)", "100"),
    "read_noise": ("Read noise (e-)", "1.5"),
}
STARTS = [
    (AS_PRESET, None),
    ("pretrained network", LEARNED),
    ("this image only", RANDOM),
    ("saved networks", FILE),
]
STRATEGIES = [
    (AS_PRESET, None),
    ("one network, tuned per slice", "tuned"),
    ("one network", "shared"),
    ("new network per slice", "independent"),
]
DEVICES = [
    ("automatic", "auto"),
    ("processor", "cpu"),
    ("graphics card", "cuda"),
    ("Apple GPU", "mps"),
]
PRECISIONS = [("automatic", "auto"), ("float32", "float32"), ("bfloat16", "bfloat16")]
NONFINITE = [("refuse the image", "refuse"), ("fill with the mean", "fill")]
ENSEMBLE = [(AS_PRESET, None), ("on (slower)", True), ("off", False)]
# Left to the preset unless set; those that have a default of their own.
PRESET_CHOICES = ("strategy", "ensemble")
PLAIN = ("seed", "device", "precision", "nonfinite", "dtype", "always", "error_map")
DTYPES = [("automatic", "auto"), ("as the image", "same"), ("float32", "float32")]
ALWAYS = [("interpolation", False), ("the trained result", True)]


class AdvancedFields(Column):
    """Noise, training and the rest; the preset decides what is not set."""

    def __init__(self) -> None:
        self._start_message = text_label()
        self._preset_start = RANDOM
        self._has_training = True
        self.measure = PushButton(
            text="Measure noise",
            tooltip="Measures the noise of the slice that is shown, and changes "
            "nothing. A run measures every slice, and how the noise depends on the "
            "brightness; choose 'given' to use this one figure instead.",
        )
        self.noise_message = text_label()
        # A batch has no image to measure.
        self.can_measure = False
        self._measured = NOISE_LEVEL
        camera, numbers = CAMERA.items(), NUMBERS.items()
        super().__init__(
            [
                Row("Noise", ComboBox(name="noise", choices=NOISE)),
                Row("Noise level", LineEdit(name="noise_sigma", value=NOISE_LEVEL)),
                self.measure,
                self.noise_message,
                *(Row(text, LineEdit(name=n, value=v)) for n, (text, v) in camera),
                Row("Start from", Choice(name="start", choices=STARTS)),
                Row("Networks", path_field(name="start_file", filter="*.safetensors")),
                self._start_message,
                *(Row(label, LineEdit(name=name)) for name, label in numbers),
                Row("Stacks", Choice(name="strategy", choices=STRATEGIES)),
                Row("Flipped copies", Choice(name="ensemble", choices=ENSEMBLE)),
                Row("Seed", SpinBox(name="seed", min=0, max=2**31 - 1)),
                Row("Compute on", ComboBox(name="device", choices=DEVICES)),
                Row("Precision", ComboBox(name="precision", choices=PRECISIONS)),
                Row("Missing pixels", ComboBox(name="nonfinite", choices=NONFINITE)),
                Row("Pixel type", ComboBox(name="dtype", choices=DTYPES)),
                Row("If not better", ComboBox(name="always", choices=ALWAYS)),
                Row("", CheckBox(name="error_map", text="Standard error as a layer")),
            ]
        )
        for name in ("noise", "start"):
            self.fields[name].changed.connect(self._show_relevant)
        self.fields["noise"].changed.connect(self._propose_noise)
        self._show_relevant()

    def changes(self) -> dict[str, Any]:
        """Settings that were set, by their `Config` names; InputError for bad text."""
        changes = {
            name: _parse_int(label, self.fields[name].value)
            for name, label in NUMBERS.items()
            if self.fields[name].value.strip()
        }
        others = {name: self.fields[name].value for name in (*PLAIN, *PRESET_CHOICES)}
        others |= {"noise": self._noise(), "start": self._start()}
        return changes | {k: v for k, v in others.items() if v is not None}

    def show_preset(self, preset: Config) -> None:
        """Show the preset's values in the empty fields."""
        for name in NUMBERS:
            text = f"{AS_PRESET}: {getattr(preset, name)}"
            self.fields[name].native.setPlaceholderText(text)
        self._preset_start = preset.start
        self._show_relevant()

    def show_start(self, sentence: str, *, has_training: bool) -> None:
        """Show what the networks start from, and the fields of training if there is."""
        set_text(self._start_message, html.escape(sentence))
        self._has_training = has_training
        self._show_relevant()

    def offer_measuring(self) -> None:
        """Offer to measure the noise."""
        self.can_measure = True
        self._show_relevant()

    def show_noise(self, level: float | None, sentence: str) -> None:
        """Show a noise that was measured; choosing 'given' proposes it."""
        if level is not None:
            self._measured = f"{level:.3g}"
            self._propose_noise(self.fields["noise"].value)
        set_text(self.noise_message, html.escape(sentence))

    def leave_image(self) -> None:
        """Let the noise of another image be estimated where this one's was given."""
        if self._measured == self.fields["noise_sigma"].value != NOISE_LEVEL:
            self.fields["noise"].value = "auto"
        self._measured = NOISE_LEVEL

    def _propose_noise(self, kind: str) -> None:
        """A level that is not used is not a change of the settings."""
        level = self._measured if kind == GIVEN else NOISE_LEVEL
        self.fields["noise_sigma"].value = level

    def show_config(self, config: Config, preset: Config) -> None:
        """Set the fields to settings; fields that equal the preset stay empty."""
        names = (*NUMBERS, *PRESET_CHOICES, "start")
        values = {name: getattr(config, name) for name in names}
        changed = {k: v for k, v in values.items() if v != getattr(preset, k)}
        for name in NUMBERS:
            self.fields[name].value = str(changed.get(name, ""))
        for name in PRESET_CHOICES:
            self.fields[name].value = changed.get(name)
        for name in PLAIN:
            if name != "device" or config.device in self.fields[name].choices:
                self.fields[name].value = getattr(config, name)
        if config.start_file is not None:
            self.fields["start_file"].value = config.start_file
            changed["start"] = FILE
        self.fields["start"].value = changed.get("start")
        self._show_noise(config.noise)

    def _show_noise(self, noise: str | float) -> None:
        if isinstance(noise, float):
            self.fields["noise"].value = GIVEN
            self.fields["noise_sigma"].value = f"{noise:g}"
        elif is_camera(noise):
            self.fields["noise"].value = CAMERA_PREFIX
            for name, value in asdict(parsed_camera(noise)).items():
                self.fields[name].value = f"{value:g}"
        else:
            self.fields["noise"].value = noise

    def _noise(self) -> str | float:
        kind: str = self.fields["noise"].value
        if kind == CAMERA_PREFIX:
            gain, offset, read = (self.fields[name].value.strip() for name in CAMERA)
            return f"{CAMERA_PREFIX}: gain {gain}, offset {offset}, read noise {read}"
        if kind != GIVEN:
            return kind
        text = self.fields["noise_sigma"].value
        try:
            return float(text)
        except ValueError:
            raise InputError(
                f"Noise {text!r} is not a number; give its standard deviation as a "
                "fraction of the range, for example 0.02."
            ) from None

    def _start(self) -> str | None:
        kind: str | None = self.fields["start"].value
        if kind != FILE:
            return kind
        path = Path(self.fields["start_file"].value)
        if not path.is_file():
            raise InputError(
                f"Choose the file of saved networks ({path.name or 'none'} does not "
                "exist), or start from this image only."
            )
        return str(path)

    def _show_relevant(self) -> None:
        noise = self.fields["noise"].value
        self.rows["noise_sigma"].visible = noise == GIVEN
        # Visible or not, the section may be closed.
        measurable = self.can_measure and noise in ("auto", GIVEN)
        self.measure.visible = measurable
        if not measurable:
            set_text(self.noise_message, "")
        for name in CAMERA:
            self.rows[name].visible = noise == CAMERA_PREFIX
        start = self.fields["start"].value or self._preset_start
        self.rows["start_file"].visible = start == FILE
        # From the pretrained network the fewer tuning steps count.
        counts = start != LEARNED or bool(self.fields["steps"].value)
        self.rows["steps"].visible = self._has_training and counts
        self.rows["learned_steps"].visible = self._has_training and start != RANDOM


def _parse_int(label: str, text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise InputError(
            f"{label}: {text!r} is not a whole number; leave it empty to use the "
            "preset's number."
        ) from None
