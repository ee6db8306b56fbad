"""The fields of the form for enlargement, region and method."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from magicgui.widgets import (
    CheckBox,
    ComboBox,
    FloatSpinBox,
    Widget,
)
from napari.layers import Image, Shapes
from napari.viewer import Viewer

from napari_zssr.checks import ISOTROPIC, MAX_FACTOR
from napari_zssr.config import PRESETS, Config, change
from napari_zssr.errors import InputError
from napari_zssr.imaging.noise import is_noisy
from napari_zssr.plugin.form.advanced import NUMBERS, AdvancedFields
from napari_zssr.plugin.form.beads import Images
from napari_zssr.plugin.form.blur import BlurFields
from napari_zssr.plugin.form.image import ImageFields, layers_of
from napari_zssr.plugin.form.rows import (
    Choice,
    Column,
    Foldable,
    Row,
    refill,
    set_text,
    text_label,
)
from napari_zssr.plugin.layers.aids import is_aid
from napari_zssr.plugin.layers.layers import (
    Ranges,
    Selection,
    current_slice,
    current_view,
    in_rectangle,
    level0,
)

WHOLE, VIEW, ALL, CURRENT, STORED = "whole", "view", "all", "current", "stored"
DRAW, DRAWN_NAME = "draw", "Area"
# Fields for a part of one image, and what each holds for another one.
WHOLE_IMAGE = {"slices": ALL, "area": WHOLE, "channel": None}
# What is chosen, and what a line says about it.
PRESET_NAMES = {
    "instant": "Instant",
    "fast": "Fast",
    "balanced": "Balanced",
    "paper": "Paper (2018)",
}
PRESET_WORDS = {
    "instant": "A linear filter; for a first look.",
    "fast": "Quick; for stacks and many images.",
    "balanced": "Recommended for final results.",
    "paper": "Slow; for comparison with the paper.",
}

AS_IT_IS, BY_NUMBER = "as it is", "by a number"
ONLY_RESTORED = (
    "Factor 1 keeps the size: noise is removed, and the blur if you give one."
)
HINT_AT_1 = "The image is noisy: factor 1 reduces the noise without enlarging."
AXIAL_CHOICES = [AS_IT_IS, ISOTROPIC, BY_NUMBER]


class FactorFields(Column):
    """Enlargement along Y, X and Z, and a folded section with more of it."""

    def __init__(
        self,
        title: str = "More on factor",
        more: Sequence[Widget] = (),
        *,
        first: Sequence[Widget] = (),
    ) -> None:
        limits: dict[str, Any] = {"min": 1, "max": MAX_FACTOR, "step": 0.5}
        linked = CheckBox(name="linked", value=True, text="The same for Y and X")
        self.more = Foldable(
            title,
            [Row("", linked), *more],
            tooltip="Shows or hides further settings, such as different factors for "
            "Y and X.",
        )
        self._has_z = True
        self._noise = 0.0
        self.meaning = text_label()
        super().__init__(
            [
                Row("Factor", FloatSpinBox(name="factor_y", value=2, **limits)),
                Row("Factor X", FloatSpinBox(name="factor_x", value=2, **limits)),
                Row("Along Z", ComboBox(name="along_z", choices=AXIAL_CHOICES)),
                Row("Factor Z", FloatSpinBox(name="factor_z", value=2, **limits)),
                self.meaning,
                *first,
                self.more,
            ]
        )
        for name in ("factor_y", "factor_x"):
            self.fields[name].changed.connect(self._show_meaning)
        self.fields["linked"].changed.connect(self._link)
        self.fields["along_z"].changed.connect(self._show_along_z)
        self._link()
        self._show_along_z()

    @property
    def factors(self) -> tuple[float, float]:
        """Enlargement along (Y, X)."""
        y = self.fields["factor_y"].value
        return y, y if self.fields["linked"].value else self.fields["factor_x"].value

    @property
    def factor_z(self) -> float | Literal["isotropic"]:
        """Enlargement along Z, 1 where slices stay as they are."""
        kind = self.fields["along_z"].value
        if kind == AS_IT_IS or not self._has_z:
            return 1.0
        return ISOTROPIC if kind == ISOTROPIC else float(self.fields["factor_z"].value)

    def show_factors(
        self,
        factors: tuple[float, float],
        factor_z: float | Literal["isotropic"] = 1.0,
    ) -> None:
        """Set the fields to factors along (Y, X), and Z."""
        y, x = factors
        self.fields["linked"].value = y == x
        self.fields["factor_y"].value, self.fields["factor_x"].value = y, x
        kind = BY_NUMBER
        if factor_z == ISOTROPIC:
            kind = ISOTROPIC
        elif factor_z == 1:
            kind = AS_IT_IS
        else:
            self.fields["factor_z"].value = factor_z
        self.fields["along_z"].value = kind

    def show_noise(self, level: float) -> None:
        """Hint at factor 1 where noise, as a fraction of the range, is strong."""
        self._noise = level
        self._show_meaning()

    def show_z(self, present: bool) -> None:
        """Show the rows for Z, or hide them for images without it."""
        self._has_z = present
        self._show_along_z()

    def _show_along_z(self) -> None:
        by_number = self.fields["along_z"].value == BY_NUMBER
        self.rows["along_z"].visible = self._has_z
        self.rows["factor_z"].visible = self._has_z and by_number
        self._show_meaning()

    def _show_meaning(self) -> None:
        """Say what factors mean that are easily taken for something else."""
        finest, text = max(self.factors), ""
        if finest == 1 == self.factor_z:
            text = ONLY_RESTORED
        elif finest > 1 and self.factor_z == ISOTROPIC:
            text = (
                f"Voxels become cubes, 1/{finest:g} of a pixel wide. With factor 1 "
                "they are one pixel wide, in fewer slices."
            )
        if finest > 1 and is_noisy(self._noise):
            text = f"{text} {HINT_AT_1}".lstrip()
        set_text(self.meaning, text)

    def _link(self) -> None:
        linked = self.fields["linked"].value
        self.rows["factor_x"].visible = not linked
        self.rows["factor_y"].rename("Factor" if linked else "Factor Y")
        if not linked:
            self.fields["factor_x"].value = self.fields["factor_y"].value
        self._show_meaning()


class RegionFields(FactorFields):
    """Enlargement, and the part of the layer to enlarge."""

    def __init__(self, viewer: Viewer, image: ImageFields) -> None:
        self._viewer = viewer
        self._image = image
        self._stored: Ranges = {}
        self.hint = text_label()
        super().__init__(
            "More on region",
            [Row("Channels", Choice(name="channel", choices=self._channels))],
            first=[
                Row("Slices", ComboBox(name="slices", choices=self._slices)),
                Row("Area", ComboBox(name="area", choices=self._areas)),
                self.hint,
            ],
        )
        self.fields["area"].changed.connect(self._choose_area)
        self.refresh()

    def selection(self, layer: Image, axes: str) -> Selection:
        """The chosen part of a layer; InputError where it is empty."""
        slices, area = self.fields["slices"].value, self.fields["area"].value
        stack = self._stored if slices == STORED else {}
        if slices == CURRENT:
            stack = current_slice(layer, axes, self._viewer)
        plane = self._stored if area == STORED else {}
        if area == VIEW:
            plane = current_view(layer, axes, self._viewer)
        elif area in layers_of(self._viewer):
            plane = in_rectangle(layer, axes, area)
        ranges = {k: v for k, v in stack.items() if k in "TZ"}
        ranges |= {k: v for k, v in plane.items() if k in "YX"}
        channel = self.fields["channel"].value
        if channel is not None and "C" in axes:
            if channel >= level0(layer).shape[axes.index("C")]:
                raise InputError(f"Layer {layer.name!r} has no channel {channel + 1}.")
            ranges["C"] = (channel, channel + 1)
        return Selection(ranges=ranges)

    def refresh(self) -> None:
        """Follow the layer and the layer list."""
        self._stored = self._fitting(self._stored)
        for name in WHOLE_IMAGE:
            refill(self.fields[name])
        self.rows["slices"].visible = bool(set("TZ") & set(self._axes()))
        self.show_z("Z" in self._axes())
        self.rows["channel"].visible = len(self.fields["channel"].choices) > 1
        self.more.show_changes()
        self._hint_at_drawn()

    def leave_image(self) -> None:
        """Choose all of an image when another one is chosen."""
        self._stored = {}
        for name, whole in WHOLE_IMAGE.items():
            self.fields[name].value = whole

    def _choose_area(self, area: Any) -> None:
        """Choose an area; first add a layer for one that is yet to be drawn."""
        if area == DRAW:
            drawn = self._add_drawn()
            # Adding it has refilled the choices.
            self.fields["area"].value = WHOLE if drawn is None else drawn
        self._hint_at_drawn()

    def _add_drawn(self) -> Shapes | None:
        """A selected layer to draw a rectangle in; None where there is no image."""
        layer, viewer = self._image.layer, self._viewer
        if layer is None:
            return None
        placed = {key: getattr(layer, key)[-2:] for key in ("scale", "units")}
        names = layer.axis_labels[-2:]
        drawn = Shapes(
            ndim=2,
            name=DRAWN_NAME,
            edge_color="#ffd60a",
            face_color="transparent",
            edge_width=max(1.0, max(level0(layer).shape[:2]) / 300),
            axis_labels=names,
            **placed,
        )
        viewer.add_layer(drawn)
        viewer.layers.selection.active = drawn
        drawn.mode = "add_rectangle"
        return drawn

    def _hint_at_drawn(self) -> None:
        """Tell of a rectangle that was drawn and does not count."""
        drawn = [
            layer.name for layer in self._drawn() if layer.visible and len(layer.data)
        ]
        unused = bool(drawn) and self.fields["area"].value == WHOLE
        text = (
            f"To enlarge only the rectangle in {drawn[-1]}, choose it under Area."
            if unused
            else ""
        )
        set_text(self.hint, html.escape(text))

    def _drawn(self) -> list[Shapes]:
        return [
            layer
            for layer in layers_of(self._viewer)
            if isinstance(layer, Shapes) and not is_aid(layer)
        ]

    def show_ranges(self, ranges: Ranges) -> None:
        """Set the fields to the part of a layer in a recipe, as far as there is one."""
        self._stored = ranges
        self.refresh()
        stored = self._stored
        self.fields["slices"].value = STORED if set("TZ") & set(stored) else ALL
        self.fields["area"].value = STORED if set("YX") & set(stored) else WHOLE
        self.fields["channel"].value = stored["C"][0] if "C" in stored else None

    def _fitting(self, ranges: Ranges) -> Ranges:
        """Ranges that the layer has; those of a recipe may be of another image."""
        layer, axes = self._image.layer, self._axes()
        if layer is None or not axes:
            return {}
        sizes = dict(zip(axes, level0(layer).shape, strict=True))
        return {a: r for a, r in ranges.items() if r[1] <= sizes.get(a, 0)}

    def _axes(self) -> str:
        layer = self._image.layer
        try:
            return "" if layer is None else self._image.axes(layer)
        except InputError:
            return ""

    def _areas(self, _widget: Any = None) -> list[tuple[str, Any]]:
        drawn = [(f"rectangle in {layer.name}", layer) for layer in self._drawn()]
        fixed = [("whole plane", WHOLE), ("what the viewer shows", VIEW)]
        draw = [("draw a rectangle", DRAW)]
        return [*fixed, *draw, *self._stored_choice("YX"), *drawn]

    def _slices(self, _widget: Any = None) -> list[tuple[str, str]]:
        fixed = [("all", ALL), ("the current one", CURRENT)]
        return [*fixed, *self._stored_choice("TZ")]

    def _stored_choice(self, letters: str) -> list[tuple[str, str]]:
        stored = set(letters) & set(self._stored)
        return [("as in that result", STORED)] if stored else []

    def _channels(self, _widget: Any = None) -> list[tuple[str, int | None]]:
        layer, axes = self._image.layer, self._axes()
        if layer is None or "C" not in axes:
            return [("all", None)]
        count = level0(layer).shape[axes.index("C")]
        return [("all", None), *((f"channel {n + 1}", n) for n in range(count))]


class MethodFields(Column):
    """Preset, blur (`images` may hold beads) and deviations from the preset."""

    def __init__(self, images: Images = list) -> None:
        self.blur = BlurFields(images)
        self.advanced = AdvancedFields()
        self._base = PRESETS["balanced"]
        self._description = text_label()
        self.preset: Any = ComboBox(
            name="preset",
            choices=[(text, name) for name, text in PRESET_NAMES.items()],
            value="balanced",
            tooltip="\n".join(
                f"{PRESET_NAMES[name]}: {text}" for name, text in PRESET_WORDS.items()
            ),
        )
        self.more = Foldable(
            "Advanced",
            [self.advanced],
            tooltip="Shows or hides the settings for noise, training and device. The "
            "preset decides them unless you change them here.",
        )
        # The whole width, for the time beside the name.
        preset = Row("", self.preset, spoken="Preset")
        super().__init__([preset, self._description, self.blur, self.more])
        self.preset.changed.connect(self._apply_preset)
        self._apply_preset(self.preset.value)

    def show_times(self, times: Mapping[str, str]) -> None:
        """Append how long each preset takes to its name, where that is known."""
        for index, (name, text) in enumerate(PRESET_NAMES.items()):
            time = times.get(name)
            self.preset.native.setItemText(index, f"{text}, {time}" if time else text)

    def config(
        self,
        factors: tuple[float, float],
        factor_z: float | Literal["isotropic"] = 1.0,
    ) -> Config:
        """Settings in the form; InputError where a field cannot be used."""
        # The blur of planes that stay as they are does not count.
        restored = factor_z == 1 or factors != (1.0, 1.0)
        self.blur.need(in_planes=restored, along_z=factor_z != 1)
        changes = self.advanced.changes() | {"kernel": self.blur.kernel()}
        if factor_z != 1:
            changes["kernel_z"] = self.blur.axial.text
        return change(self._base, factor=factors, factor_z=factor_z, **changes)

    def show_config(self, config: Config) -> None:
        """Set the fields to settings, and keep those that have no field."""
        self.preset.value = config.preset if config.preset in PRESETS else "balanced"
        preset = self._base
        shown = ("start", "strategy", "ensemble", *NUMBERS)
        self._base = change(config, **{name: getattr(preset, name) for name in shown})
        self.blur.show_kernel(config.kernel)
        self.blur.axial.show_config(config)
        self.advanced.show_config(config, preset)
        self.more.show_changes()

    def _apply_preset(self, name: str) -> None:
        self._base = PRESETS[name]
        self._description.value = PRESET_WORDS[name]
        self.advanced.show_preset(self._base)
