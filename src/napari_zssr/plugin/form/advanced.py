"""Settings that a preset decides unless they are set here."""

from __future__ import annotations

import html
from dataclasses import asdict
from pathlib import Path
from typing import Any

from magicgui.widgets import ComboBox, FileEdit, LineEdit, SpinBox

from napari_zssr.checks import CAMERA_PREFIX, LEARNED, RANDOM, is_camera, parsed_camera
from napari_zssr.config import Config
from napari_zssr.errors import InputError
from napari_zssr.plugin.form.rows import Column, Row, row, say, words

AS_PRESET = "as the preset"
FILE = "file"
# Label and tooltip.
NUMBERS: dict[str, tuple[str, str]] = {
    "steps": (
        "Training steps",
        "How long each network trains at most. More steps take longer; training "
        "stops by itself when it no longer helps.",
    ),
    "learned_steps": (
        "Learned steps",
        "How long each network trains at most where it begins from the learned start. "
        "0 uses that as it is.",
    ),
    "gradual": (
        "Gradual factors",
        "Number of enlargements on the way to the factor. More of them can help and "
        "take longer.",
    ),
    "back_projection": (
        "Back-projection",
        "Rounds that make the result, when shrunk again, agree with your image. 0 for "
        "none. It fades out by itself on noisy images.",
    ),
}

# Label, initial value and tooltip.
CAMERA = {
    "gain": (
        "Gain (e-/count)",
        "1",
        "Electrons per count, from the camera's data sheet.",
    ),
    "offset": ("Offset (counts)", "100", "Counts without light."),
    "read_noise": ("Read noise (e-)", "1.5", "Electrons, standard deviation."),
}


# Label, choices and tooltip.
CHOICES: dict[str, tuple[str, list[Any], str]] = {
    "strategy": (
        "Several slices",
        [
            (AS_PRESET, None),
            ("learn once, tune each", "tuned"),
            ("learn once", "shared"),
            ("learn each anew", "independent"),
        ],
        "Of a stack, a channel is learned once from slices spread over it, which is "
        "better and much quicker than anew in every slice. By itself each slice is "
        "then trained on a little more.",
    ),
    "ensemble": (
        "Flips and turns",
        [(AS_PRESET, None), ("on", True), ("off", False)],
        "Enlarges flipped and rotated copies and takes their median: steadier, and up "
        "to eight times slower.",
    ),
    "device": (
        "Computes on",
        ["auto", "cpu", "cuda", "mps"],
        "Where to compute: auto takes a graphics card if there is one.",
    ),
    "precision": (
        "Precision",
        ["auto", "float32", "bfloat16"],
        "bfloat16 is faster on recent hardware; float32 is the most exact.",
    ),
    "nonfinite": (
        "Missing pixels",
        ["refuse", "fill"],
        "What to do with NaN and infinite pixels: refuse the image, or fill them from "
        "their neighbours.",
    ),
    "dtype": (
        "Result's type",
        [("automatic", "auto"), ("as the image", "same"), ("float32", "float32")],
        "Whole numbers cannot hold fractions of a count. By itself the result has the "
        "image's type, but float32 where the image holds so few counts that rounding "
        "would lose more than 0.5 % of its intensity.",
    ),
    "always": (
        "Without gain",
        [("return bicubic", False), ("return the learned", True)],
        "What you get where learning gained nothing over bicubic on regions held out "
        "from training.",
    ),
}
# Of these, the preset decides unless they are set.
PRESET_CHOICES = ("strategy", "ensemble")


class AdvancedFields(Column):
    """Noise, training and the rest; the preset decides what is not set."""

    def __init__(self) -> None:
        self._start_message = words()
        self._preset_start = RANDOM
        numbers = [
            row(LineEdit, label, name, f"{tooltip} Empty: as the preset.")
            for name, (label, tooltip) in NUMBERS.items()
        ]
        choices = [
            row(ComboBox, label, name, tooltip, choices=choices)
            for name, (label, choices, tooltip) in CHOICES.items()
        ]
        seed = row(
            SpinBox,
            "Seed",
            "seed",
            "The same seed gives the same pixels; another one shows how much the "
            "result depends on chance.",
            min=0,
            max=2**31 - 1,
        )
        start = [*_start_rows(), self._start_message]
        first, second = choices[:2], choices[2:]
        super().__init__([*_noise_rows(), *start, *numbers, *first, seed, *second])
        for name in ("noise", "start"):
            self.fields[name].changed.connect(self._show_relevant)
        self._show_relevant()

    def changes(self) -> dict[str, Any]:
        """Settings that were set, by their `Config` names; InputError for bad text."""
        changes: dict[str, Any] = {}
        for name, (label, _) in NUMBERS.items():
            text = self.fields[name].value.strip()
            if text:
                changes[name] = _parse_int(label, self.fields[name].value)
        changes["noise"] = self._noise()
        for name in ("seed", *CHOICES):
            if self.fields[name].value is not None:
                changes[name] = self.fields[name].value
        if self.fields["start"].value is not None:
            changes["start"] = self._start()
        return changes

    def show_preset(self, preset: Config) -> None:
        """Show the preset's values in the empty fields."""
        for name in NUMBERS:
            text = f"{AS_PRESET}: {getattr(preset, name)}"
            self.fields[name].native.setPlaceholderText(text)
        self._preset_start = preset.start
        self._show_relevant()

    def say_start(self, sentence: str) -> None:
        """Show what the networks start from."""
        say(self._start_message, html.escape(sentence))

    def show_config(self, config: Config, preset: Config) -> None:
        """Set the fields to settings; fields that equal the preset stay empty."""
        for name in ("seed", *NUMBERS, *CHOICES):
            value = getattr(config, name)
            field = self.fields[name]
            same = value == getattr(preset, name)
            if name in NUMBERS:
                field.value = "" if same else str(value)
            elif name in PRESET_CHOICES:
                field.value = None if same else value
            elif name != "device" or value in field.choices:
                field.value = value
        chosen = None if config.start == preset.start else config.start
        if config.start_file is not None:
            self.fields["start_file"].value = config.start_file
            chosen = FILE
        self.fields["start"].value = chosen
        self._show_noise(config.noise)

    def _show_noise(self, noise: str | float) -> None:
        if isinstance(noise, float):
            self.fields["noise"].value = "given"
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
        if kind != "given":
            return kind
        text = self.fields["noise_sigma"].value
        try:
            return float(text)
        except ValueError:
            raise InputError(
                f"Noise {text!r} is not a number; give its standard deviation as a "
                "fraction of the range, for example 0.02."
            ) from None

    def _start(self) -> str:
        if self.fields["start"].value != FILE:
            return str(self.fields["start"].value)
        path = Path(self.fields["start_file"].value)
        if not path.is_file():
            raise InputError(
                f"Choose the file of saved networks ({path.name or 'none'} is not "
                "there), or start from this image only."
            )
        return str(path)

    def _show_relevant(self) -> None:
        noise = self.fields["noise"].value
        self.rows["noise_sigma"].visible = noise == "given"
        for name in CAMERA:
            self.rows[name].visible = noise == CAMERA_PREFIX
        start = self.fields["start"].value or self._preset_start
        self.rows["start_file"].visible = start == FILE
        self.rows["learned_steps"].visible = start != RANDOM


def _noise_rows() -> list[Row]:
    kind = row(
        ComboBox,
        "Noise",
        "noise",
        "Noise is estimated from the image, so that it is not sharpened with the "
        "structures. Ignore it only where there is none.",
        choices=[
            ("estimated", "auto"),
            ("ignored", "off"),
            ("given", "given"),
            ("of the camera", CAMERA_PREFIX),
        ],
    )
    sigma = row(
        LineEdit,
        "Noise level",
        "noise_sigma",
        "Standard deviation of the noise as a fraction of the image's range, from 0 "
        "to 1.",
        value="0.02",
    )
    camera = [
        row(LineEdit, label, name, tooltip, value=value)
        for name, (label, value, tooltip) in CAMERA.items()
    ]
    return [kind, sigma, *camera]


def _start_rows() -> list[Row]:
    kind = row(
        ComboBox,
        "Start from",
        "start",
        "What the networks know before training: what was learned from generated "
        "images (never from photographs), nothing, or what was saved after a run on a "
        "sister image. With 0 training steps they are used as they are.",
        choices=[
            (AS_PRESET, None),
            ("learned start", LEARNED),
            ("this image only", RANDOM),
            ("saved networks", FILE),
        ],
    )
    file = row(
        FileEdit,
        "",
        "start_file",
        "A .safetensors file that 'Save networks' has written, of an image with as "
        "many channels or with one.",
        filter="*.safetensors",
    )
    return [kind, file]


def _parse_int(label: str, text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise InputError(
            f"{label}: {text!r} is no whole number; leave it empty to take the "
            "preset's."
        ) from None
