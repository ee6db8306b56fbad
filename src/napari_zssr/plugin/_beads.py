"""The fields of the form that take the blur from an image of beads."""

from __future__ import annotations

import html
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from magicgui.widgets import ComboBox, LineEdit
from napari.layers import Image

from napari_zssr.errors import InputError, ZSSRError
from napari_zssr.kernelspec import KernelSpec
from napari_zssr.plugin._bead_image import (
    LETTERS,
    BeadImage,
    VoxelSizeMissing,
    as_kernel,
    check_layer,
    parse_sizes,
)
from napari_zssr.plugin._layers import level0
from napari_zssr.plugin._rows import Column, Row, path_field, refill, say, words
from napari_zssr.plugin._spacing import set_spacing
from napari_zssr.plugin._worker import Run

if TYPE_CHECKING:
    from napari_zssr.imaging.beads import MeasuredPsf

Images = Callable[[], Sequence[Image]]
FILE, MEASURED = "file", "measured"


class BeadFields(Column):
    """A layer or a file with beads, measured in a thread.

    Parameters
    ----------
    images : callable, optional
        Layers that may be chosen; files alone without it.
    """

    def __init__(self, images: Images | None = None) -> None:
        self._images = images
        self._run = Run()
        self._live = [self._run]
        self._key: tuple[Any, ...] | None = None
        self._found: MeasuredPsf | None = None
        self._problem = ""
        self._asks = False
        self._sentence = words()
        super().__init__([*_rows(self._choices), self._sentence])
        self.fields["beads"].changed.connect(self._choose)
        self.fields["voxel"].native.editingFinished.connect(self._set_size)
        self.native.destroyed.connect(partial(_close, self._live))
        self._choose()

    def kernel(self) -> KernelSpec:
        """The blur of the beads; they are measured first where that was not done yet.

        Raises
        ------
        InputError
            They are still being measured, or cannot be.
        """
        chosen = self.fields["beads"].value
        if chosen != MEASURED:
            self._measure(self._bead_image(chosen))
        if self._problem:
            raise InputError(self._problem)
        if self._found is None:
            raise InputError("The beads are being measured.")
        return as_kernel(self._found)

    def refresh(self) -> None:
        """Follow the layer list; what was measured outlives its layer."""
        refill(self.fields["beads"])
        gone = self._key is not None and self.fields["beads"].value is None
        if gone and self._found is not None:
            self.fields["beads"].value = MEASURED

    def _bead_image(self, chosen: Any) -> BeadImage:
        if chosen is None:
            raise InputError("Choose the layer, or the file, with the image of beads.")
        if chosen != FILE:
            self._ask(False)
            try:
                check_layer(chosen)
            except VoxelSizeMissing:
                self._ask(True)
                raise
            return BeadImage(source=chosen)
        path = Path(self.fields["bead_file"].value)
        if not path.exists() or str(path) == ".":
            raise InputError("Choose the file with the image of beads.")
        text = self.fields["voxel"].value.strip()
        return BeadImage(source=path, given_um=parse_sizes(text) if text else ())

    def _measure(self, beads: BeadImage) -> None:
        """Measure what has not been measured yet."""
        if beads.key == self._key:
            return
        self._key, self._found, self._problem = beads.key, None, ""
        self._run.close()
        self._run = Run()
        self._live[:] = [self._run]
        say(self._sentence, "Measuring the beads ...")
        self._run.start(beads.steps, on_result=self._keep, on_error=self._miss)

    def _keep(self, found: MeasuredPsf) -> None:
        self._found = found
        say(self._sentence, html.escape(found.sentence))
        self.changed.emit(self)

    def _miss(self, error: ZSSRError) -> None:
        self._problem = str(error)
        self._ask(self._asks or isinstance(error, VoxelSizeMissing))
        say(self._sentence, "")
        self.changed.emit(self)

    def _set_size(self) -> None:
        """Write the voxel size to the layer; that of a file is kept in the field."""
        layer, text = self.fields["beads"].value, self.fields["voxel"].value
        if not isinstance(layer, Image) or not text.strip():
            return
        try:
            sizes = parse_sizes(text)
            axes = LETTERS[-len(level0(layer).shape) :]
            set_spacing(layer, axes, ",".join(map(str, sizes)))
        except InputError as error:
            say(self._sentence, html.escape(str(error)))
            return
        self.fields["voxel"].value = ""

    def _choose(self, *_: Any) -> None:
        self.rows["bead_file"].visible = self.fields["beads"].value == FILE
        self._ask(False)
        if self.fields["beads"].value != MEASURED:
            say(self._sentence, "")
            self._key, self._found, self._problem = None, None, ""

    def _ask(self, asks: bool) -> None:
        self._asks = asks
        self.rows["voxel"].visible = asks

    def _choices(self, _widget: Any = None) -> list[tuple[str, Any]]:
        layers = [] if self._images is None else self._images()
        found: list[tuple[str, Any]] = [("choose ...", None)]
        found += [(layer.name, layer) for layer in layers]
        found.append(("a file", FILE))
        if self._found is not None:
            found.append(("as measured", MEASURED))
        return found


def _rows(choices: Callable[..., Any]) -> list[Row]:
    beads = ComboBox(
        name="beads",
        choices=choices,
        tooltip="An image of small fluorescent beads, taken as yours was: a z-stack or "
        "one plane in focus.",
    )
    file = path_field(
        name="bead_file",
        filter="*.tif *.tiff *.zarr *.czi *.nd2 *.lif",
        tooltip="A file with the image of beads, one channel of one time.",
    )
    voxel = LineEdit(
        name="voxel",
        tooltip="How large a voxel of the beads is, in micrometres along Z, Y, X, "
        "since the image does not tell. It is written to the layer.",
    )
    voxel.native.setPlaceholderText("unknown; Z, Y, X in um")
    return [Row("Beads", beads), Row("", file), Row("Voxel size", voxel)]


def _close(runs: list[Run], *_: object) -> None:
    for run in runs:
        run.close()
