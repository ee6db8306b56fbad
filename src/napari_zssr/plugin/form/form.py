"""The form: what to enlarge and how, as requests."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from magicgui.types import FileDialogMode
from magicgui.widgets import CheckBox, ComboBox
from napari.layers import Image
from napari.viewer import Viewer
from psygnal import Signal

from napari_zssr.config import (
    BALANCED,
    Config,
    change,
    factors_text,
    preset,
)
from napari_zssr.errors import InputError
from napari_zssr.execution.ledger import part_folder
from napari_zssr.io.write import check_output
from napari_zssr.plugin.connections import Connections
from napari_zssr.plugin.form.fields import MethodFields, RegionFields
from napari_zssr.plugin.form.image import ImageFields
from napari_zssr.plugin.form.rows import Column, Row, heading, path_field
from napari_zssr.plugin.layers.edits import Edits
from napari_zssr.plugin.layers.layers import (
    LABELS_REFUSED,
    Selection,
    layer_file,
    layer_recipe,
    lazy_stack,
    level0,
)
from napari_zssr.plugin.layers.results import ORIGINS
from napari_zssr.plugin.request import Request
from napari_zssr.plugin.summary import form_sentence
from napari_zssr.stack.axial_factor import axial_factor, needs_slice_distance
from napari_zssr.stack.channels import channel_starts
from napari_zssr.zssr.training_plan import start_messages


def default_config() -> Config:
    """Settings from napari's preferences, `BALANCED` where there are none."""
    try:
        from napari.settings import get_plugin_settings

        defaults = get_plugin_settings("napari-zssr").defaults
        return change(
            preset(defaults.preset),
            factor=defaults.factor,
            device=defaults.device,
            seed=defaults.seed,
            always=defaults.always,
        )
    # napari before 0.9 has no settings of plugins.
    except (ImportError, KeyError, AttributeError, InputError):
        return BALANCED


MEMORY, DISK = "memory", "disk"
ZARR, TIFF = ".ome.zarr", ".ome.tif"
SUFFIXES = (".zarr", ".tif", ".tiff")
KNOWN_SUFFIX = re.compile(r"(\.ome)?(\.zarr|\.tiff?|\.png|\.jpe?g)?$", re.IGNORECASE)
FORBIDDEN = re.compile(r'[<>:"/\\|?*\x00-\x1f]')


class ResultFields(Column):
    """Whether the result is held in memory or written to a file, and to which."""

    def __init__(self) -> None:
        choices = [("a new layer", MEMORY), ("a file on disk", DISK)]
        mode, files = FileDialogMode.OPTIONAL_FILE, f"*{ZARR} *{TIFF}"
        super().__init__(
            [
                Row("", ComboBox(name="where", choices=choices), spoken="Save to"),
                Row("File", path_field(name="file", mode=mode, filter=files)),
                Row("", CheckBox(name="overwrite", text="Replace it")),
            ]
        )
        self._proposed: Path | None = None
        self._refused: Path | None = None
        self._finished: set[Path] = set()
        self.fields["where"].changed.connect(self._show_relevant)
        self.fields["file"].changed.connect(self.written)
        self._show_relevant()

    @property
    def to_disk(self) -> bool:
        """Whether the result is written to a file."""
        return bool(self.fields["where"].value == DISK)

    @property
    def overwrite(self) -> bool:
        """Whether an existing file may be replaced."""
        return bool(self.fields["overwrite"].value)

    def propose(self, layer: Image | None, factor_text: str) -> None:
        """Propose a file next to the layer's own, unless the user has named one."""
        field = self.fields["file"]
        named = str(field.value) not in ("", ".", str(self._proposed))
        if layer is None or named:
            return
        source = _source(layer)
        folder = Path.home() if source is None else source.parent
        self._proposed = free_name(folder / proposed_name(layer.name, factor_text))
        if field.value != self._proposed:
            field.value = self._proposed

    def file_beside(self, layers: Sequence[Image]) -> Path:
        """OME-TIFF named like results, in the folder of their original or at home."""
        source = _source(layers[0])
        origin = ORIGINS.get(layers[0])
        if source is None and origin is not None:
            source = origin.file
        folder = Path.home() if source is None else source.parent
        stem = FORBIDDEN.sub("_", common_name([layer.name for layer in layers]))
        return folder / f"{stem or 'result'}{TIFF}"

    def targets(
        self, layers: Sequence[Image], factor_text: str
    ) -> Sequence[Path | None]:
        """File for the result of each layer, writable or not; None for memory."""
        if not self.to_disk:
            return [None] * len(layers)
        file = Path(self.fields["file"].value).expanduser().absolute()
        targets = [file]
        if len(layers) > 1:
            # Each layer has its own name; folder and ending are those of the field.
            ending = ZARR if file.suffix.lower() == ".zarr" else TIFF
            names = [proposed_name(layer.name, factor_text, ending) for layer in layers]
            targets = [file.with_name(name) for name in names]
            # A second run does not complain of what the first one has written.
            targets = [free_name(t) if t in self._finished else t for t in targets]
        self._show_relevant(targets=targets)
        return targets

    def check(self, requests: Sequence[Request]) -> None:
        """InputError where a result cannot be written to its file."""
        targets = []
        for request in requests:
            if request.target is not None:
                targets.append(request.target)
                self._check(request.layer, request.target)
        if len(set(targets)) < len(targets):
            raise InputError("Two layers have the same name; rename one of them.")

    def written(self) -> None:
        """Withdraw the permission to overwrite, which was for one file."""
        self._refused = None
        self.fields["overwrite"].value = False

    def finished(self, target: Path | None) -> None:
        """Go on to the next free name after a file was written."""
        self.written()
        if target is None:
            return
        self._finished.add(target)
        field = self.fields["file"]
        if Path(field.value).expanduser().absolute() == target:
            proposed = field.value == self._proposed
            name = free_name(target)
            if proposed:
                self._proposed = name
            field.value = name

    def refused(self, target: Path) -> None:
        """Offer to overwrite a file that was begun with other settings."""
        self._refused = target if part_folder(target).exists() else None

    def _check(self, layer: Image, target: Path) -> None:
        if target.suffix.lower() not in SUFFIXES:
            raise InputError(
                f"File: {target.name!r} cannot be written; let it end in {ZARR} or "
                f"{TIFF}."
            )
        if _source(layer) == target:
            raise InputError(
                f"File: {target.name} is the file of the layer itself; choose another "
                "name."
            )
        try:
            check_output(target, overwrite=self.overwrite)
        except InputError as error:
            raise InputError(form_sentence(str(error))) from error

    def _show_relevant(self, *, targets: Sequence[Path] = ()) -> None:
        existing = any(os.path.exists(t) or t == self._refused for t in targets)
        self.rows["file"].visible = self.to_disk
        self.rows["overwrite"].visible = self.to_disk and (existing or self.overwrite)


def common_name(names: Sequence[str]) -> str:
    """The words that names share: ``cells x2`` of ``cells c1 x2`` and ``cells c2 x2``.

    The first of them where they share none.
    """
    others = [name.split() for name in names[1:]]
    words = names[0].split()
    shared = [word for word in words if all(word in other for other in others)]
    return " ".join(shared or words)


def proposed_name(name: str, factor_text: str, ending: str = ZARR) -> str:
    """``cells.ome.tif`` becomes ``cells_x2.ome.zarr``."""
    stem = FORBIDDEN.sub("_", KNOWN_SUFFIX.sub("", name.strip())) or "result"
    return f"{stem}_{factor_text}{ending}"


def free_name(path: Path) -> Path:
    """The path; with a number where there is such a file: ``cells_x2-2.ome.zarr``."""
    match = KNOWN_SUFFIX.search(path.name)
    ending = match.group() if match else ""
    stem, number, free = path.name.removesuffix(ending), 1, path
    while os.path.exists(free):
        number += 1
        free = path.with_name(f"{stem}-{number}{ending}")
    return free


def _source(layer: Image) -> Path | None:
    """File of a layer; for a file or array within a Zarr image, the image."""
    file = layer_file(layer)
    if file is None:
        return None
    zarrs = [folder for folder in file.parents if folder.suffix.lower() == ".zarr"]
    return zarrs[-1] if zarrs else file


class Form(Column):
    """Image, Region, Method and Result; `layers_changed` follows the layer list."""

    layers_changed = Signal()

    def __init__(self, viewer: Viewer) -> None:
        self._viewer = viewer
        self.image = ImageFields(viewer)
        self.region = RegionFields(viewer, self.image)
        self.method = MethodFields(self.image.images)
        self.result = ResultFields()
        super().__init__(
            [
                heading("Image"),
                self.image,
                heading("Region and factor"),
                self.region,
                heading("Method"),
                self.method,
                heading("Save to"),
                self.result,
            ]
        )
        self._show_config(default_config())
        self._listen()

    def requests(self) -> list[Request]:
        """Requests for Run, one for each layer; InputError where it cannot run."""
        config = self.method.config(self.region.factors, self.region.factor_z)
        self.image.ask_z(needs_slice_distance(config))
        layers = self.image.layers()
        if not layers:
            if self.image.only_labels:
                raise InputError(LABELS_REFUSED)
            raise InputError("Open an image, or choose a layer, to enlarge it.")
        targets = self.result.targets(layers, config.factor_text)
        requests = []
        for layer, target in zip(layers, targets, strict=True):
            axes = self.image.axes(layer)
            selection = self.region.selection(layer, axes)
            shape = selection.shape(axes, level0(layer).shape)
            factor_z = self._factor_z(layer, config, axes, selection)
            starts = channel_starts(config, axes, shape)
            requests.append(
                Request(
                    layer=layer,
                    axes=axes,
                    selection=selection,
                    config=config,
                    factor_z=factor_z,
                    starts=starts,
                    begins=start_messages(config, starts, factor_z)[0],
                    target=target,
                    overwrite=self.result.overwrite,
                )
            )
        return requests

    def chosen(self, requests: Sequence[Request]) -> Request:
        """That of the chosen layer, the first where it is not among them."""
        mine = (one for one in requests if one.layer is self.image.layer)
        return next(mine, requests[0])

    def _factor_z(
        self, layer: Image, config: Config, axes: str, selection: Selection
    ) -> float | None:
        """Enlargement of a layer along Z; InputError where it is impossible."""
        stack = lazy_stack(layer, axes, selection)
        return axial_factor(config, replace(stack, guessed=self.image.guessed(layer)))

    def show_recipe(self) -> str:
        """Set the form to the recipe of the selected layer, and return its name.

        InputError where it has none, or one that cannot be read.
        """
        recipe = self.recipe()
        try:
            config = Config.from_dict(recipe["config"])
            source = recipe["input"]
            ranges = {k: (a, b) for k, (a, b) in source.get("selection", {}).items()}
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise InputError(
                f"The settings of this layer cannot be read ({error}); select a "
                "result of this plugin."
            ) from error
        self.image.choose(source.get("name", ""), source.get("axes"))
        self._show_config(config)
        self.region.show_ranges(ranges)
        return str(self._viewer.layers.selection.active.name)

    def _show_config(self, config: Config) -> None:
        self.region.show_factors(config.factors, config.factor_z)
        self.method.show_config(config)

    def recipe(self) -> dict[str, Any]:
        """Recipe of the selected layer; empty where it has none."""
        active = self._viewer.layers.selection.active
        recipe = {} if active is None else layer_recipe(active)
        # That of an image that was opened, not enlarged here, has no settings.
        return recipe if "config" in recipe else {}

    def _listen(self) -> None:
        self._connections = Connections()
        self._edits = Edits(
            self._viewer, lambda: self.image.layer, on_edit=self._follow_edit
        )
        layers = self._viewer.layers
        names = ("inserted", "removed", "reordered", "renamed")
        signals = [getattr(layers.events, name) for name in names]
        self._connections.add(signals, self._follow_layers)
        self._connections.add([layers.selection.events.changed], self._follow_selection)
        self.image.left.connect(self._follow_image)
        self.image.layer_chosen.connect(self.region.refresh)
        self.image.layer_chosen.connect(self._propose)
        self.region.changed.connect(self._propose)
        self._propose()

    def close(self) -> None:
        """Ignore the viewer from now on."""
        self._edits.close()
        self._connections.close()

    def _propose(self) -> None:
        text = factors_text(self.region.factors, self.region.factor_z)
        self.result.propose(self.image.layer, text)

    def _follow_image(self) -> None:
        """Another image is chosen: what belongs to one alone is not kept for it."""
        self.region.leave_image()
        self.method.blur.optics.follow_image(self.image.layer)
        self.method.advanced.leave_image()

    def _follow_layers(self, _event: Any = None) -> None:
        self.image.refresh()
        self.method.blur.beads.refresh()
        self.layers_changed.emit()

    def _follow_selection(self, _event: Any = None) -> None:
        self.image.follow_selection()
        self.layers_changed.emit()

    def _follow_edit(self) -> None:
        self.image.show_layer()
        self.layers_changed.emit()
