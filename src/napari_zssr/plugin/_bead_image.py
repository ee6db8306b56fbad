"""Images of beads, from a layer or a file, and the blur in them. Without Qt."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import ref

import numpy as np

from napari_zssr.errors import InputError
from napari_zssr.kernelspec import KernelSpec
from napari_zssr.plugin._layers import layer_spacing, level0
from napari_zssr.progress import Progress, Steps
from napari_zssr.stack.axes import ImageStack, labelled
from napari_zssr.stack.units import in_um

if TYPE_CHECKING:
    from napari.layers import Image

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
        from napari_zssr.files.kernels import psf_of

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
    from napari_zssr.files.kernels import spec_of_psf

    return spec_of_psf(found)


def _of_layer(layer: Image) -> tuple[ImageStack, Sizes]:
    check_layer(layer)
    data = np.asarray(level0(layer))
    data = data.reshape(data.shape[-MOST_AXES:])
    return labelled(data, axes=LETTERS[-data.ndim :]), voxel_um(layer)


def _of_file(path: Path) -> tuple[ImageStack, Sizes]:
    from napari_zssr.files import read

    stack = read(path)
    shape = zip(stack.axes, stack.data.shape, strict=True)
    return stack, tuple(stack.size_um(letter) for letter, size in shape if size > 1)
