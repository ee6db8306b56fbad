"""The result panel: compare with the original, undo, and the recipe in words."""

from __future__ import annotations

import html
from collections.abc import Callable, Sequence

from magicgui.widgets import PushButton
from napari.layers import Image
from napari.viewer import Viewer
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QMenu

from napari_zssr.errors import InputError
from napari_zssr.plugin.check import readings
from napari_zssr.plugin.check.job import CheckJob
from napari_zssr.plugin.check.subject import original_of
from napari_zssr.plugin.compare.comparison import (
    Comparison,
    Mode,
    compared_pair,
    selected_result,
)
from napari_zssr.plugin.compare.recipe import (
    Rows,
    recipe_rows,
    recipe_text,
)
from napari_zssr.plugin.compare.undo import Undo
from napari_zssr.plugin.copied import CopiedText
from napari_zssr.plugin.form.rows import Column, SideBySide, set_text, text_label
from napari_zssr.plugin.layers.files import check_compatible
from napari_zssr.plugin.layers.layers import layer_file, layer_recipe, unwrapped
from napari_zssr.plugin.layers.results import channels_of
from napari_zssr.plugin.texts import copy_text, table_html
from napari_zssr.stack.check import Check
from napari_zssr.stack.methods import (
    legend,
    legend_unchecked,
    methods,
    methods_unchecked,
    with_references,
)

MESSAGE_LINES = 2
SIDE, SINGLE, SAVE = "Side by side", "Single view", "Save result..."
# Names of the button, and what it does then.
UNDO = (
    "Undo",
    "Removes the layers of the last run and shows the original as it was. 'Redo' puts "
    "them back. A file that was written is kept.",
)
REDO = (
    "Redo",
    "Puts back the layers that 'Undo' has removed. They are kept until the next run "
    "starts or the original is removed.",
)


class ResultPanel:
    """What can be done with the selected result: `buttons`, and its recipe as `view`.

    `job_of` gives the check of a result, None where it was not checked.
    """

    def __init__(
        self,
        viewer: Viewer,
        job_of: Callable[[Image], CheckJob | None] = lambda _: None,
    ) -> None:
        self._viewer = viewer
        self._job_of = job_of
        self._rows: Rows = []
        self.comparison = Comparison(viewer, self.update)
        self.undo = Undo(viewer, self.update)
        self._add_widgets()
        self.update()

    def update(self) -> None:
        """Follow the layer list: what can be compared, and what is known of it."""
        result = selected_result(self._viewer)
        reason, pair = "", None
        try:
            pair = compared_pair(self._viewer)
        except InputError as error:
            reason = str(error)
        mode = self.comparison.mode
        self.side.text = SINGLE if mode is Mode.SIDE_BY_SIDE else SIDE
        self.side.enabled = self.flip.enabled = pair is not None
        shown = pair is None or pair[1].visible or mode is Mode.SIDE_BY_SIDE
        self.flip.text = "Show original" if shown else "Show result"
        redo = self.undo.redo_possible
        self.undo_button.text, self.undo_button.tooltip = REDO if redo else UNDO
        self.undo_button.enabled = redo or self.undo.possible
        self.save.enabled = result is not None
        count = len(self.saved_layers())
        self.save.text = f"Save {count} channels..." if count > 1 else SAVE
        if pair is not None and mode is Mode.SIDE_BY_SIDE:
            reason = f"Left: {pair[0].name}. Right: {pair[1].name}."
            if self.comparison.from_side:
                reason += " From the side: Z downwards, X to the right."
        self.message.value = html.escape(reason)
        rows = [] if result is None else _rows_of(result)
        if rows != self._rows:
            self.copied.clear()
        self._rows = rows
        set_text(self.table, table_html(self._rows))
        self.copies.visible = bool(self._rows)

    @property
    def has_results(self) -> bool:
        """Whether the layer list holds a result, or a run can be undone or redone."""
        changeable = self.undo.possible or self.undo.redo_possible
        return changeable or any("config" in layer_recipe(one) for one in self._images)

    @property
    def _images(self) -> list[Image]:
        return [
            one for one in map(unwrapped, self._viewer.layers) if isinstance(one, Image)
        ]

    def saved_layers(self) -> list[Image]:
        """Results that are saved: several selected ones, or that of the selected image.

        With it go those of the other channels of its file that the same run has made,
        where they fit into one file.
        """
        layers = self._images
        selection = self._viewer.layers.selection
        chosen = [
            one for one in layers if one in selection and "config" in layer_recipe(one)
        ]
        result = chosen[0] if chosen else selected_result(self._viewer)
        if len(chosen) > 1 or result is None:
            return chosen
        channels = channels_of(result, layers)
        try:
            check_compatible(channels)
        except InputError:
            return [result]
        return channels

    def begin(self, originals: Sequence[Image]) -> None:
        """End a comparison, and note how the originals of a run are shown."""
        self.comparison.stop()
        self.undo.begin(originals)
        self.update()

    def toggle_side_by_side(self) -> None:
        """Show original and result side by side, or end that."""
        self._compare(self.comparison.toggle_side_by_side)

    def toggle_flip(self) -> None:
        """Show the original in place of the result, or the reverse."""
        self._compare(self.comparison.toggle_flip)

    def undo_run(self) -> None:
        """Remove the layers of the latest run, or put them back, and what was shown."""
        if not self.undo_button.enabled:
            return
        self.comparison.stop()
        if self.undo.redo_possible:
            self.undo.redo()
        else:
            self.undo.undo()
        self.update()

    def copy_recipe(self) -> None:
        """Copy the table as text."""
        copy_text(recipe_text(self._rows))

    def copy_methods(self) -> None:
        """Copy a paragraph for the methods section, with its references."""
        self._copy(self._methods_of)

    def copy_legend(self) -> None:
        """Copy a legend for a figure of the original beside the result."""
        self._copy(self._legend_of)

    def _copy(self, text_of: Callable[[Image], str]) -> None:
        """Copy a text on the selected result, and on other channels of its run.

        With a note if a check that it tells of has not ended.
        """
        result = selected_result(self._viewer)
        if result is None:
            return
        channels = channels_of(result, self._images)
        texts = [text_of(one) for one in channels]
        if len(channels) > 1:
            named = zip(channels, texts, strict=True)
            texts = [f"{one.name}: {text}" for one, text in named]
        jobs = filter(None, map(self._job_of, channels))
        notes = dict.fromkeys(filter(None, map(readings.unfinished, jobs)))
        self.copied.copy("\n\n".join(texts), " ".join(notes))

    def _methods_of(self, result: Image) -> str:
        check = self._check_of(result)
        if check is None:
            return with_references(*methods_unchecked(layer_recipe(result)))
        return with_references(*methods(check))

    def _legend_of(self, result: Image) -> str:
        check, limits = self._check_of(result), self._contrast(result)
        if check is None:
            return legend_unchecked(layer_recipe(result), limits)
        return legend(check, limits)

    def _check_of(self, result: Image) -> Check | None:
        job = self._job_of(result)
        return None if job is None else job.check

    def _contrast(self, result: Image) -> str:
        """Contrast limits of original and result; empty where there are none."""
        original = original_of(result, self._viewer)
        if not isinstance(original, Image) or original.rgb:
            return ""
        first, second = (
            f"{low:.4g} to {high:.4g}"
            for low, high in (one.contrast_limits for one in (original, result))
        )
        if first == second:
            return f"both are shown with the contrast limits {first}"
        return f"contrast limits are {first} (input) and {second} (result)"

    def close(self) -> None:
        """End a comparison, and ignore the viewer from now on."""
        self.comparison.close()
        self.undo.close()

    def _compare(self, toggle: Callable[[Image, Image], None]) -> None:
        try:
            pair = compared_pair(self._viewer)
        except InputError as error:
            self.comparison.stop()
            self.message.value = html.escape(str(error))
            return
        toggle(*pair)

    def _add_widgets(self) -> None:
        self.side = PushButton(
            text=SIDE,
            tooltip="Shows the original on the left and the result on the right, from "
            "the side where the result has more slices. Both move and zoom together; "
            "other layers are hidden meanwhile. Press again to restore the view.",
        )
        self.flip = PushButton(
            text="Show original",
            tooltip="Shows the original in place of the result, and back "
            "again. Key: H.",
        )
        self.undo_button = PushButton(
            text=UNDO[0],
            tooltip=UNDO[1],
            enabled=False,
        )
        self.save = PushButton(
            text=SAVE,
            tooltip="Saves the selected result as OME-TIFF with pixel size, channel "
            "names and recipe. Results of all channels of a file, if one run has made "
            "them, and several selected results become channels of one file. To save "
            "one of them alone, use napari's menu File, Save Selected Layers.",
        )
        # Its height is kept, so that the check below it stays where it is.
        self.message = text_label(least_lines=MESSAGE_LINES)
        self.table = text_label()
        self.table.native.setAccessibleName("How the selected result was made")
        selectable = Qt.TextInteractionFlag.TextSelectableByMouse
        self.table.native.setTextInteractionFlags(selectable)
        copy = PushButton(
            text="Copy table", tooltip="Copies the table as lines of text."
        )
        self.paper = PushButton(
            text="Copy for paper",
            tooltip="Copies a paragraph for the methods section, with its references, "
            "or a figure legend, and shows it below. After a check it includes what "
            "the check found.",
        )
        menu = QMenu(self.paper.native)
        for text, slot in (
            ("Copy methods", self.copy_methods),
            ("Copy figure legend", self.copy_legend),
        ):
            menu.addAction(text, slot)
        self.paper.native.setMenu(menu)
        self.copies = SideBySide([copy, self.paper])
        rows = [
            SideBySide([self.side, self.flip]),
            SideBySide([self.save, self.undo_button]),
        ]
        self.buttons = Column([*rows, self.message])
        self.copied = CopiedText()
        self.view = Column([self.table, self.copies, self.copied])
        self.side.changed.connect(self.toggle_side_by_side)
        self.flip.changed.connect(self.toggle_flip)
        self.undo_button.changed.connect(self.undo_run)
        copy.changed.connect(self.copy_recipe)


def _rows_of(result: Image) -> Rows:
    return recipe_rows(layer_recipe(result), layer_file(result))
