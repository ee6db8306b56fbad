"""The fields of the form that take the blur from an image of beads."""

from __future__ import annotations

import html
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from weakref import ref

import numpy as np
from magicgui.widgets import LineEdit
from napari.layers import Image

from napari_zssr.errors import InputError, ZSSRError
from napari_zssr.imaging.beads import MeasuredPsf
from napari_zssr.io.kernel_files import psf_of, spec_of_psf
from napari_zssr.io.read import read
from napari_zssr.kernelspec import KernelSpec
from napari_zssr.plugin.form.rows import (
    Choice,
    Column,
    LatestRun,
    Row,
    path_field,
    refill,
    set_text,
    text_label,
)
from napari_zssr.plugin.layers.layers import layer_spacing, level0
from napari_zssr.plugin.layers.pixel_size import parse_sizes, set_spacing
from napari_zssr.progress import Progress, Steps
from napari_zssr.stack.axis_labels import labelled
from napari_zssr.stack.image import ImageStack, in_um

Images = Callable[[], Sequence[Image]]
Sizes = tuple[float | None, ...]
MAX_SPACE_AXES = 3
LETTERS = "TCZYX"
FILE, MEASURED = "file", "measured"


class VoxelSizeMissing(InputError):
    """The size of a voxel is not known."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class BeadImage:
    """A layer or file with beads, and the voxel (Z, Y, X) in um given for a file."""

    source: Image | Path
    given_um: tuple[float, ...] = ()

    @property
    def key(self) -> tuple[Any, ...]:
        """Everything that the measurement depends on."""
        if isinstance(self.source, Path):
            modified = self.source.stat().st_mtime_ns
            return (self.source, modified, self.given_um)
        layer = self.source
        units = tuple(map(str, layer.units))
        return (ref(layer), tuple(map(float, layer.scale)), units)

    def steps(self) -> Steps[MeasuredPsf]:
        """Read the beads and measure the point spread function."""
        yield Progress(stage="read", step=0, total=1)
        source = self.source
        stack, sizes = (
            _read_file(source) if isinstance(source, Path) else _read_layer(source)
        )
        sizes = self.given_um or sizes
        ndim = sum(size > 1 for size in stack.data.shape)
        if ndim <= MAX_SPACE_AXES:
            sizes = sizes[-ndim:]
            _check_sizes(sizes, ndim)
        yield Progress(stage="beads", step=0, total=1)
        return psf_of(stack, tuple(size for size in sizes if size is not None))


def check_layer(layer: Image) -> None:
    """Refuse a layer that cannot be an image of beads, before it is read.

    VoxelSizeMissing, or InputError for more axes than Z, Y and X.
    """
    shape = level0(layer).shape
    if layer.rgb or any(size > 1 for size in shape[:-MAX_SPACE_AXES]):
        raise InputError(
            f"Beads: layer {layer.name!r} has more axes than Z, Y and X; choose a "
            "layer with one channel and one time point."
        )
    _check_sizes(_voxel_um(layer), min(len(shape), MAX_SPACE_AXES))


def voxel_size(text: str) -> tuple[float, ...]:
    """Parse sizes along (Z, Y, X) or (Y, X); InputError for other text."""
    try:
        sizes = tuple(size for size in parse_sizes(text) if size is not None)
    except ValueError:
        sizes = ()
    if len(sizes) not in (2, MAX_SPACE_AXES) or not all(0 < n < np.inf for n in sizes):
        raise InputError(
            f"Voxel size {text!r} is not understood; write µm along Z, Y, X, such as "
            "0.2, 0.1, 0.1."
        )
    return sizes


def _check_sizes(sizes: Sizes, ndim: int) -> None:
    """Raise VoxelSizeMissing unless the size is known along every axis."""
    if len(sizes) != ndim or None in sizes:
        letters = "Z, Y, X" if ndim == MAX_SPACE_AXES else "Y, X"
        raise VoxelSizeMissing(
            "The voxel size of the bead image is not known; write it into 'Voxel "
            f"size', in µm along {letters}."
        )


def _voxel_um(layer: Image) -> Sizes:
    """Voxel (Z, Y, X) or pixel (Y, X) of a layer in um, None where it is unknown."""
    axes = LETTERS[-len(level0(layer).shape) :]
    spacing, units = layer_spacing(layer, axes)
    return tuple(in_um(spacing.get(a), units.get(a)) for a in axes[-MAX_SPACE_AXES:])


def _read_layer(layer: Image) -> tuple[ImageStack, Sizes]:
    check_layer(layer)
    data = np.asarray(level0(layer))
    data = data.reshape(data.shape[-MAX_SPACE_AXES:])
    return labelled(data, axes=LETTERS[-data.ndim :]), _voxel_um(layer)


def _read_file(path: Path) -> tuple[ImageStack, Sizes]:
    stack = read(path)
    shape = zip(stack.axes, stack.data.shape, strict=True)
    return stack, tuple(stack.size_um(letter) for letter, size in shape if size > 1)


class BeadFields(Column):
    """A layer (of `images`) or a file with beads, measured in a thread."""

    def __init__(self, images: Images = list) -> None:
        self._images = images
        self._key: tuple[Any, ...] | None = None
        self._psf: MeasuredPsf | None = None
        self._problem = ""
        self._message = text_label()
        files = "*.tif *.tiff *.zarr *.czi *.nd2 *.lif"
        super().__init__(
            [
                Row("Beads", Choice(name="beads", choices=self._choices)),
                Row("Bead file", path_field(name="bead_file", filter=files)),
                Row("Voxel size", LineEdit(name="voxel")),
                self._message,
            ]
        )
        self.fields["voxel"].native.setPlaceholderText("unknown; Z, Y, X in µm")
        self._measurement = LatestRun(self.native)
        self.fields["beads"].changed.connect(self._choose)
        self.fields["voxel"].native.editingFinished.connect(self._set_size)
        self._choose()

    def kernel(self) -> KernelSpec:
        """The blur of the beads, which are measured first unless they are already.

        InputError while they are being measured, and where they cannot be.
        """
        chosen = self.fields["beads"].value
        if chosen != MEASURED:
            self._measure(self._bead_image(chosen))
        if self._problem:
            raise InputError(self._problem)
        if self._psf is None:
            raise InputError("Beads are being measured.")
        return spec_of_psf(self._psf)

    def refresh(self) -> None:
        """Follow the layer list; a measured blur outlives its layer."""
        beads = self.fields["beads"]
        refill(beads)
        removed = self._key is not None and beads.value is None
        if removed and self._psf is not None:
            beads.value = MEASURED

    def _bead_image(self, chosen: Any) -> BeadImage:
        if chosen is None:
            raise InputError("Choose the layer, or the file, with the image of beads.")
        if chosen != FILE:
            self.rows["voxel"].visible = False
            try:
                check_layer(chosen)
            except VoxelSizeMissing:
                self.rows["voxel"].visible = True
                raise
            return BeadImage(source=chosen)
        path = Path(self.fields["bead_file"].value)
        if not path.exists() or str(path) == ".":
            raise InputError("Choose the file with the image of beads.")
        text = self.fields["voxel"].value.strip()
        return BeadImage(source=path, given_um=voxel_size(text) if text else ())

    def _measure(self, beads: BeadImage) -> None:
        """Start to measure beads, unless they were measured last."""
        if beads.key == self._key:
            return
        self._key, self._psf, self._problem = beads.key, None, ""
        set_text(self._message, "Measuring the beads ...")
        self._measurement.replace()
        self._measurement.run.start(
            beads.steps, on_result=self._keep, on_error=self._fail
        )

    def _keep(self, psf: MeasuredPsf) -> None:
        self._psf = psf
        set_text(self._message, html.escape(psf.sentence))
        self.changed.emit(self)

    def _fail(self, error: ZSSRError) -> None:
        self._problem = str(error)
        if isinstance(error, VoxelSizeMissing):
            self.rows["voxel"].visible = True
        set_text(self._message, "")
        self.changed.emit(self)

    def _set_size(self) -> None:
        """Write the voxel size to the layer; that of a file is kept in the field."""
        layer, text = self.fields["beads"].value, self.fields["voxel"].value
        if not isinstance(layer, Image) or not text.strip():
            return
        try:
            voxel_size(text)
            set_spacing(layer, LETTERS[-len(level0(layer).shape) :], text)
        except InputError as error:
            set_text(self._message, html.escape(str(error)))
        else:
            self.fields["voxel"].value = ""

    def _choose(self, *_: Any) -> None:
        chosen = self.fields["beads"].value
        self.rows["bead_file"].visible = chosen == FILE
        self.rows["voxel"].visible = False
        if chosen != MEASURED:
            set_text(self._message, "")
            self._key, self._psf, self._problem = None, None, ""

    def _choices(self, _widget: Any = None) -> list[tuple[str, Any]]:
        layers = [(layer.name, layer) for layer in self._images()]
        measured = [] if self._psf is None else [("as measured", MEASURED)]
        return [("choose ...", None), *layers, ("a file", FILE), *measured]
