"""The form: what is to be enlarged and how, as requests."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from magicgui.types import FileDialogMode
from magicgui.widgets import CheckBox, ComboBox
from psygnal import Signal

from napari_zssr.config import BALANCED, Config, change, preset
from napari_zssr.errors import InputError
from napari_zssr.execution.finish import part_folder
from napari_zssr.io.write import check_output
from napari_zssr.plugin.form.fields import HowFields, ImageFields, WhatFields
from napari_zssr.plugin.form.rows import Column, Row, heading, path_field
from napari_zssr.plugin.layers.layers import KEY, LABELS_REFUSED, layer_file
from napari_zssr.plugin.layers.selection import level0
from napari_zssr.plugin.request import Request
from napari_zssr.plugin.summary import in_the_form
from napari_zssr.stack.channels import channel_starts
from napari_zssr.zssr.training_plan import start_message

if TYPE_CHECKING:
    from napari.layers import Image
    from napari.viewer import Viewer

PLUGIN = "napari-zssr"


def default_config() -> Config:
    """Settings from napari's preferences, `BALANCED` where there are none."""
    try:
        from napari.settings import get_plugin_settings
    except ImportError:  # napari before 0.9
        return BALANCED
    try:
        chosen = get_plugin_settings(PLUGIN).defaults
    except (KeyError, AttributeError):
        return BALANCED
    try:
        return change(
            preset(chosen.preset),
            factor=chosen.factor,
            device=chosen.device,
            seed=chosen.seed,
            always=chosen.always,
        )
    except InputError:
        return BALANCED


MEMORY, DISK = "memory", "disk"
ZARR, TIFF = ".ome.zarr", ".ome.tif"
ENDINGS = (".zarr", ".tif", ".tiff")
KNOWN = re.compile(r"(\.ome)?(\.zarr|\.tiff?|\.png|\.jpe?g)?$", re.IGNORECASE)
UNUSABLE = re.compile(r'[<>:"/\\|?*\x00-\x1f]')


class ResultFields(Column):
    """Whether the result is held in memory or written to a file, and to which."""

    def __init__(self) -> None:
        super().__init__(_rows())
        self._proposed: Path | None = None
        self._refused: Path | None = None
        self.fields["where"].changed.connect(self._show_what_counts)
        self.fields["file"].changed.connect(self._forget_overwrite)
        self._show_what_counts()

    @property
    def to_disk(self) -> bool:
        """Whether the result is to be written to a file."""
        return bool(self.fields["where"].value == DISK)

    def propose(self, layer: Image | None, factors: tuple[float, float]) -> None:
        """Name a file beside the layer's own, unless the user has named one."""
        field = self.fields["file"]
        named = str(field.value) not in ("", ".", str(self._proposed))
        if layer is None or named:
            return
        self._proposed = beside(layer, factors)
        if field.value != self._proposed:
            field.value = self._proposed

    def targets(
        self, layers: Sequence[Image], factors: tuple[float, float]
    ) -> list[Path | None]:
        """File for the result of each layer, writable or not; None for memory."""
        if not self.to_disk:
            return [None] * len(layers)
        given = Path(self.fields["file"].value).expanduser().absolute()
        found = [given]
        if len(layers) > 1:
            # Each layer has its own name; folder and ending are those of the field.
            ending = TIFF if given.suffix.lower() != ".zarr" else ZARR
            found = [
                given.with_name(proposed_name(layer.name, factors, ending))
                for layer in layers
            ]
        self._show_what_counts(found)
        return list(found)

    def check(self, requests: Sequence[Request]) -> None:
        """Look whether the files can be written.

        Raises
        ------
        InputError
            One cannot.
        """
        found = [(r.layer, r.target) for r in requests if r.target is not None]
        for layer, target in found:
            self._check(layer, target)
        if len({target for _, target in found}) < len(found):
            raise InputError("Two layers have the same name; rename one of them.")

    @property
    def overwrite(self) -> bool:
        """Whether a file that is there may be replaced."""
        return bool(self.fields["overwrite"].value)

    def written(self) -> None:
        """A file was written: leave to replace one was given for that one."""
        self._forget_overwrite()

    def refused(self, target: Path) -> None:
        """What was begun there was begun otherwise: offer to replace it."""
        self._refused = target if part_folder(target).exists() else None

    def _check(self, layer: Image, target: Path) -> None:
        if target.suffix.lower() not in ENDINGS:
            raise InputError(
                f"File: {target.name!r} cannot be written; let it end in {ZARR} or "
                f"{TIFF}."
            )
        source = layer_file(layer)
        if source is not None and _own(source) == target:
            raise InputError(
                f"File: {target.name} is what the layer is read from; choose another "
                "name."
            )
        try:
            check_output(target, overwrite=self.overwrite)
        except InputError as error:
            raise InputError(in_the_form(str(error))) from error

    def _show_what_counts(self, targets: object = None) -> None:
        found = targets if isinstance(targets, list) else []
        there = any(os.path.exists(t) or t == self._refused for t in found)
        self.rows["file"].visible = self.to_disk
        self.rows["overwrite"].visible = self.to_disk and (there or self.overwrite)

    def _forget_overwrite(self) -> None:
        self._refused = None
        self.fields["overwrite"].value = False


def beside(layer: Image, factors: tuple[float, float]) -> Path:
    """File for a result next to the layer's own, or in the user's folder."""
    source = layer_file(layer)
    folder = Path.home() if source is None else _own(source).parent
    return folder / proposed_name(layer.name, factors)


def proposed_name(name: str, factors: tuple[float, float], ending: str = ZARR) -> str:
    """``cells.ome.tif`` becomes ``cells_x2.ome.zarr``."""
    y, x = factors
    stem = UNUSABLE.sub("_", KNOWN.sub("", name.strip())) or "result"
    return f"{stem}_x{y:g}{ending}" if y == x else f"{stem}_x{y:g}x{x:g}{ending}"


def _own(source: Path) -> Path:
    """The image itself, where a layer was opened by a file in its folder."""
    zarrs = [folder for folder in source.parents if folder.suffix.lower() == ".zarr"]
    return zarrs[-1] if zarrs else source


def _rows() -> list[Row]:
    where = ComboBox(
        name="where",
        choices=[("in memory", MEMORY), ("to disk", DISK)],
        tooltip="Held in memory until you save it, or written to a file slice by "
        "slice: for what is larger than memory, and for runs that shall go on where "
        "they were stopped.",
    )
    file = path_field(
        name="file",
        mode=FileDialogMode.OPTIONAL_FILE,
        filter=f"*{ZARR} *{TIFF}",
        tooltip="Where the result is written. An .ome.zarr can be looked at in all "
        "sizes while it grows; an .ome.tif is put together at the end.",
    )
    overwrite = CheckBox(
        name="overwrite",
        text="Replace it",
        tooltip="Replaces the file that is there, and begins anew what was begun with "
        "other settings.",
    )
    return [Row("Where", where), Row("File", file), Row("", overwrite)]


class Form(Column):
    """Image, What, How and Result.

    Parameters
    ----------
    viewer : Viewer

    Attributes
    ----------
    layers_changed : Signal
        Emitted when the form has followed a change of the layer list.
    """

    layers_changed = Signal()

    def __init__(self, viewer: Viewer) -> None:
        self._viewer = viewer
        self.image = ImageFields(viewer)
        self.what = WhatFields(viewer, self.image)
        self.how = HowFields(self.image.images)
        self.result = ResultFields()
        super().__init__(
            [
                heading("Image"),
                self.image,
                heading("What"),
                self.what,
                heading("How"),
                self.how,
                heading("Result"),
                self.result,
            ]
        )
        self.how.unfold(False)
        self._show_config(default_config())
        self._listen()

    def requests(self) -> list[Request]:
        """What a press of Run would do, one request for each layer.

        Raises
        ------
        InputError
            It cannot run; the sentence says why.
        """
        config = self.how.config(self.what.factors)
        layers = self.image.layers()
        if not layers:
            if self.image.only_labels:
                raise InputError(LABELS_REFUSED)
            raise InputError("Open an image, or choose a layer, to enlarge it.")
        targets = self.result.targets(layers, config.factors)
        made = []
        for layer, target in zip(layers, targets, strict=True):
            axes = self.image.axes(layer)
            selection = self.what.selection(layer, axes)
            shape = selection.shape(axes, level0(layer).shape)
            starts = channel_starts(config, axes, shape)
            made.append(
                Request(
                    layer=layer,
                    axes=axes,
                    selection=selection,
                    config=config,
                    step=tuple(self._viewer.dims.current_step),
                    starts=starts,
                    begins=start_message(config, starts[0]),
                    target=target,
                    overwrite=self.result.overwrite,
                )
            )
        return made

    def check(self, requests: Sequence[Request]) -> None:
        """Look whether the results can be written.

        Raises
        ------
        InputError
            They cannot; the sentence says why.
        """
        self.result.check(requests)

    def has_recipe(self) -> bool:
        """Whether the layer that is selected in the layer list has a recipe."""
        return bool(self._recipe())

    def show_recipe(self) -> None:
        """Set the form as it was for the layer that is selected in the layer list.

        Raises
        ------
        InputError
            The layer has no recipe, or one that is not understood.
        """
        recipe = self._recipe()
        try:
            config = Config.from_dict(recipe["config"])
            source = recipe["input"]
            ranges = {k: (a, b) for k, (a, b) in source.get("selection", {}).items()}
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise InputError(
                f"The recipe of this layer is not understood ({error}); select a layer "
                "that this plugin has made."
            ) from error
        self.image.choose(source.get("name", ""), source.get("axes"))
        self._show_config(config)
        self.what.show_ranges(ranges)

    def _show_config(self, config: Config) -> None:
        self.what.show_factors(config.factors)
        self.how.show_config(config)

    def _recipe(self) -> dict[str, Any]:
        active = self._viewer.layers.selection.active
        found = {} if active is None else active.metadata.get(KEY)
        # A file that was only opened has none.
        return found if isinstance(found, dict) and "config" in found else {}

    def _listen(self) -> None:
        layers = self._viewer.layers
        for signal in (
            layers.events.inserted,
            layers.events.removed,
            layers.events.reordered,
            layers.events.renamed,
            layers.selection.events.changed,
            layers.selection.events.active,
        ):
            signal.connect(self._follow_layers)
        self.image.layer_chosen.connect(self.what.refresh)
        self.image.layer_chosen.connect(self._propose)
        self.what.changed.connect(self._propose)
        self._propose()

    def _propose(self, *_: Any) -> None:
        self.result.propose(self.image.layer, self.what.factors)

    def _follow_layers(self, *_: Any) -> None:
        self.image.refresh()
        self.what.refresh()
        self.how.blur.refresh()
        self.layers_changed.emit()
