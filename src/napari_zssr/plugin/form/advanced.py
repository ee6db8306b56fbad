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
from napari_zssr.plugin.form.rows import Column, Row, say, words

AS_PRESET = "as the preset"
FILE = "file"
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

# Fields of a camera: label, value that is shown at first, and what it means.
CAMERA = {
    "gain": (
        "Gain (e-/count)",
        "1",
        "Electrons per count, from the camera's data sheet.",
    ),
    "offset": ("Offset (counts)", "100", "Counts without light."),
    "read_noise": ("Read noise (e-)", "1.5", "Electrons, standard deviation."),
}


class AdvancedFields(Column):
    """Noise, training and the rest; a field left alone is decided by the preset."""

    def __init__(self) -> None:
        self._begins = words()
        self._usual_start = RANDOM
        begin = [*_start(), self._begins]
        super().__init__([*_noise(), *begin, *_numbers(), *_switches()])
        for name in ("noise", "start"):
            self.fields[name].changed.connect(self._show_what_counts)
        self._show_what_counts()

    def changes(self) -> dict[str, Any]:
        """Settings that were set here, by their names in `Config`.

        Raises
        ------
        InputError
            A field cannot be understood.
        """
        found: dict[str, Any] = {
            name: _number(label, self.fields[name].value)
            for name, (label, _) in NUMBERS.items()
            if self.fields[name].value.strip()
        }
        found["seed"] = self.fields["seed"].value
        found["noise"] = self._chosen_noise()
        for name in (
            "strategy",
            "ensemble",
            "device",
            "precision",
            "always",
            "nonfinite",
            "dtype",
        ):
            if self.fields[name].value is not None:
                found[name] = self.fields[name].value
        if self.fields["start"].value is not None:
            found["start"] = self._chosen_start()
        return found

    def lean_on(self, preset: Config) -> None:
        """Say what the preset would take."""
        for name in NUMBERS:
            text = f"{AS_PRESET}: {getattr(preset, name)}"
            self.fields[name].native.setPlaceholderText(text)
        self._usual_start = preset.start
        self._show_what_counts()

    def say_start(self, sentence: str) -> None:
        """Say what training will begin from."""
        say(self._begins, html.escape(sentence))

    def show_config(self, config: Config, preset: Config) -> None:
        """Set the fields to settings; what equals the preset is left to it."""
        for name in NUMBERS:
            value, usual = getattr(config, name), getattr(preset, name)
            self.fields[name].value = "" if value == usual else str(value)
        for name in ("strategy", "ensemble"):
            value, usual = getattr(config, name), getattr(preset, name)
            self.fields[name].value = None if value == usual else value
        for name in ("seed", "always", "nonfinite", "precision", "dtype"):
            self.fields[name].value = getattr(config, name)
        if config.device in self.fields["device"].choices:
            self.fields["device"].value = config.device
        self._show_start(config, preset)
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

    def _show_start(self, config: Config, preset: Config) -> None:
        saved = config.start_file
        if saved is not None:
            self.fields["start_file"].value = saved
        chosen = None if config.start == preset.start else config.start
        self.fields["start"].value = chosen if saved is None else FILE

    def _chosen_noise(self) -> str | float:
        kind: str = self.fields["noise"].value
        if kind == CAMERA_PREFIX:
            gain, offset, read = (self.fields[name].value.strip() for name in CAMERA)
            return f"{CAMERA_PREFIX}: gain {gain}, offset {offset}, read noise {read}"
        if kind != "given":
            return kind
        try:
            return float(self.fields["noise_sigma"].value)
        except ValueError:
            raise InputError(
                f"Noise {self.fields['noise_sigma'].value!r} is not a number; give its "
                "standard deviation as a fraction of the range, for example 0.02."
            ) from None

    def _chosen_start(self) -> str:
        if self.fields["start"].value != FILE:
            return str(self.fields["start"].value)
        path = Path(self.fields["start_file"].value)
        if not path.is_file():
            raise InputError(
                f"Choose the file of saved networks ({path.name or 'none'} is not "
                "there), or start from this image only."
            )
        return str(path)

    def _show_what_counts(self) -> None:
        noise = self.fields["noise"].value
        self.rows["noise_sigma"].visible = noise == "given"
        for name in CAMERA:
            self.rows[name].visible = noise == CAMERA_PREFIX
        start = self.fields["start"].value or self._usual_start
        self.rows["start_file"].visible = start == FILE
        self.rows["learned_steps"].visible = start != RANDOM


def _noise() -> list[Row]:
    return [
        Row(
            "Noise",
            ComboBox(
                name="noise",
                choices=[
                    ("estimated", "auto"),
                    ("ignored", "off"),
                    ("given", "given"),
                    ("of the camera", CAMERA_PREFIX),
                ],
                tooltip="Noise is estimated from the image, so that it is not "
                "sharpened with the structures. Ignore it only where there is none.",
            ),
        ),
        Row(
            "Noise level",
            LineEdit(
                name="noise_sigma",
                value="0.02",
                tooltip="Standard deviation of the noise as a fraction of the image's "
                "range, from 0 to 1.",
            ),
        ),
        *(
            Row(label, LineEdit(name=name, value=value, tooltip=tooltip))
            for name, (label, value, tooltip) in CAMERA.items()
        ),
    ]


def _start() -> list[Row]:
    return [
        Row(
            "Start from",
            ComboBox(
                name="start",
                choices=[
                    (AS_PRESET, None),
                    ("learned start", LEARNED),
                    ("this image only", RANDOM),
                    ("saved networks", FILE),
                ],
                tooltip="What the networks know before training: what was learned from "
                "generated images (never from photographs), nothing, or what was saved "
                "after a run on a sister image. With 0 training steps they are used as "
                "they are.",
            ),
        ),
        Row(
            "",
            FileEdit(
                name="start_file",
                filter="*.safetensors",
                tooltip="A .safetensors file that 'Save networks' has written, of an "
                "image with as many channels or with one.",
            ),
        ),
    ]


def _numbers() -> list[Row]:
    return [
        Row(
            label,
            LineEdit(name=name, tooltip=f"{tip} Empty: as the preset."),
        )
        for name, (label, tip) in NUMBERS.items()
    ]


def _switches() -> list[Row]:
    return [
        Row(
            "Several slices",
            ComboBox(
                name="strategy",
                choices=[
                    (AS_PRESET, None),
                    ("learn once, tune each", "tuned"),
                    ("learn once", "shared"),
                    ("learn each anew", "independent"),
                ],
                tooltip="Of a stack, a channel is learned once from slices spread over "
                "it, which is better and much quicker than anew in every slice. By "
                "itself each slice is then trained on a little more.",
            ),
        ),
        Row(
            "Flips and turns",
            ComboBox(
                name="ensemble",
                choices=[(AS_PRESET, None), ("on", True), ("off", False)],
                tooltip="Enlarges flipped and rotated copies and takes their median: "
                "steadier, and up to eight times slower.",
            ),
        ),
        Row(
            "Seed",
            SpinBox(
                name="seed",
                min=0,
                max=2**31 - 1,
                tooltip="The same seed gives the same pixels; another one shows how "
                "much the result depends on chance.",
            ),
        ),
        Row(
            "Computes on",
            ComboBox(
                name="device",
                choices=["auto", "cpu", "cuda", "mps"],
                tooltip="Where to compute: auto takes a graphics card if there is one.",
            ),
        ),
        Row(
            "Precision",
            ComboBox(
                name="precision",
                choices=["auto", "float32", "bfloat16"],
                tooltip="bfloat16 is faster on recent hardware; float32 is the most "
                "exact.",
            ),
        ),
        Row(
            "Missing pixels",
            ComboBox(
                name="nonfinite",
                choices=[("refuse", "refuse"), ("fill", "fill")],
                tooltip="What to do with NaN and infinite pixels: refuse the image, or "
                "fill them from their neighbours.",
            ),
        ),
        Row(
            "Result's type",
            ComboBox(
                name="dtype",
                choices=[
                    ("automatic", "auto"),
                    ("as the image", "same"),
                    ("float32", "float32"),
                ],
                tooltip="Whole numbers cannot hold fractions of a count. By itself the "
                "result has the image's type, but float32 where the image holds so few "
                "counts that rounding would lose more than 0.5 % of its intensity.",
            ),
        ),
        Row(
            "Without gain",
            ComboBox(
                name="always",
                choices=[("return bicubic", False), ("return the learned", True)],
                tooltip="What you get where learning gained nothing over bicubic on "
                "regions held out from training.",
            ),
        ),
    ]


def _number(label: str, text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise InputError(
            f"{label}: {text!r} is no whole number; leave it empty to take the "
            "preset's."
        ) from None
