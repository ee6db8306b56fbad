"""The fields of the form that take the blur from an image of beads."""

from __future__ import annotations

import html
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import ref

import numpy as np
from magicgui.widgets import ComboBox, LineEdit
from napari.layers import Image

from napari_zssr.errors import InputError, ZSSRError
from napari_zssr.kernelspec import KernelSpec
from napari_zssr.plugin.form.rows import Column, Row, path_field, refill, say, words
from napari_zssr.plugin.layers.layers import layer_spacing, set_spacing
from napari_zssr.plugin.layers.selection import level0
from napari_zssr.plugin.worker import Run
from napari_zssr.progress import Progress, Steps
from napari_zssr.stack.axis_labels import labelled
from napari_zssr.stack.image import ImageStack, in_um

if TYPE_CHECKING:
    from napari_zssr.imaging.beads import MeasuredPsf

Sizes = tuple[float | None, ...]
MOST_AXES = 3
LETTERS = "TCZYX"


class VoxelSizeMissing(InputError):
    """The size of a voxel is not known."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class BeadImage:
    """Where beads are.

    Attributes
    ----------
    source : Image or Path
    given_um : tuple of float
        Voxel (Z, Y, X) or pixel (Y, X) that was given because a file does not tell it.
    """

    source: Image | Path
    given_um: tuple[float, ...] = ()

    @property
    def key(self) -> tuple[Any, ...]:
        """What decides what is measured."""
        if isinstance(self.source, Path):
            changed = self.source.stat().st_mtime_ns
            return (self.source, changed, self.given_um)
        layer = self.source
        units = tuple(map(str, layer.units))
        return (ref(layer), tuple(map(float, layer.scale)), units)

    def steps(self) -> Steps[MeasuredPsf]:
        """Read the beads and measure the point spread function."""
        from napari_zssr.io.kernel_files import psf_of

        yield Progress(stage="read", step=0, total=1)
        source = self.source
        in_file = isinstance(source, Path)
        found = _of_file(source) if in_file else _of_layer(source)
        stack, sizes = found[0], self.given_um or found[1]
        count = sum(size > 1 for size in stack.data.shape)
        if count <= MOST_AXES:
            sizes = sizes[-count:]
            check_sizes(sizes, count)
        yield Progress(stage="beads", step=0, total=1)
        return psf_of(stack, tuple(size for size in sizes if size is not None))


def voxel_um(layer: Image) -> Sizes:
    """Voxel (Z, Y, X) or pixel (Y, X) of a layer in um, None where it is not told."""
    count = len(level0(layer).shape)
    axes = LETTERS[-count:]
    known, units = layer_spacing(layer, axes)
    space = axes[-MOST_AXES:]
    return tuple(in_um(known.get(a), units.get(a)) for a in space)


def check_layer(layer: Image) -> None:
    """Refuse a layer that cannot be an image of beads, before it is read.

    Raises
    ------
    VoxelSizeMissing
    InputError
    """
    shape = level0(layer).shape
    if layer.rgb or any(size > 1 for size in shape[:-MOST_AXES]):
        raise InputError(
            f"Beads: layer {layer.name!r} has more than Z, Y and X; give one channel "
            "of one time, as a layer of its own."
        )
    check_sizes(voxel_um(layer), min(len(shape), MOST_AXES))


def check_sizes(sizes: Sizes, ndim: int) -> None:
    """Refuse sizes of a voxel that are not all known.

    Raises
    ------
    VoxelSizeMissing
    """
    if len(sizes) != ndim or None in sizes:
        letters = "Z, Y, X" if ndim == MOST_AXES else "Y, X"
        raise VoxelSizeMissing(
            "Beads: how large a voxel is, is not known and not guessed; write it into "
            f"'Voxel size', in um along {letters}."
        )


def parse_sizes(text: str) -> tuple[float, ...]:
    """Sizes along (Z, Y, X) or (Y, X) from text.

    Raises
    ------
    InputError
    """
    parts = text.replace(";", ",").split(",")
    try:
        found = tuple(float(part) for part in parts)
    except ValueError:
        found = ()
    if len(found) not in (2, MOST_AXES) or not all(0 < n < np.inf for n in found):
        raise InputError(
            f"Voxel size {text!r} is not understood; write um along Z, Y, X with "
            "points, like 0.2, 0.1, 0.1."
        )
    return found


def as_kernel(found: MeasuredPsf) -> KernelSpec:
    """The blur of beads that were measured."""
    from napari_zssr.io.kernel_files import spec_of_psf

    return spec_of_psf(found)


def _of_layer(layer: Image) -> tuple[ImageStack, Sizes]:
    check_layer(layer)
    data = np.asarray(level0(layer))
    data = data.reshape(data.shape[-MOST_AXES:])
    return labelled(data, axes=LETTERS[-data.ndim :]), voxel_um(layer)


def _of_file(path: Path) -> tuple[ImageStack, Sizes]:
    from napari_zssr.io.read import read

    stack = read(path)
    shape = zip(stack.axes, stack.data.shape, strict=True)
    return stack, tuple(stack.size_um(letter) for letter, size in shape if size > 1)


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
