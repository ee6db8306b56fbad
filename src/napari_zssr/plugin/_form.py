"""The form: what is to be enlarged and how, as requests."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from psygnal import Signal

from napari_zssr.config import Config
from napari_zssr.errors import InputError
from napari_zssr.plugin._defaults import default_config
from napari_zssr.plugin._fields import HowFields, WhatFields
from napari_zssr.plugin._image import ImageFields
from napari_zssr.plugin._layers import KEY, LABELS_REFUSED, level0
from napari_zssr.plugin._request import Request
from napari_zssr.plugin._result import ResultFields
from napari_zssr.plugin._rows import Column, heading
from napari_zssr.stack.start import starting_networks
from napari_zssr.zssr.begin import as_expected, foretold

if TYPE_CHECKING:
    from napari.viewer import Viewer


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
            starts = starting_networks(config, axes, shape)
            made.append(
                Request(
                    layer=layer,
                    axes=axes,
                    selection=selection,
                    config=config,
                    step=tuple(self._viewer.dims.current_step),
                    started=as_expected(config, starts),
                    begins=foretold(config, starts[0]),
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
