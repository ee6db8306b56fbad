"""Writing results: whole under the final name or not at all."""

from __future__ import annotations

import json
import math
import shutil
import warnings
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import tifffile
from numpy.typing import NDArray

from napari_zssr.errors import ImageWarning, InputError
from napari_zssr.stack.attributes import read_attributes
from napari_zssr.stack.axes import Channel, ImageStack, planes, spacing_per_axis
from napari_zssr.stack.multiscales import check_zarr
from napari_zssr.stack.ometiff import (
    assemble_tiff,
    check_tiff,
    file_axes,
    stored_text,
    write_tiff,
)
from napari_zssr.stack.outline import NAMESPACE, Outline, legal_text, outline_of
from napari_zssr.stack.placing import ZARR_MARKS, place
from napari_zssr.stack.png import check_png, png_text, write_png
from napari_zssr.stack.recipe import plain
from napari_zssr.stack.source import is_lazy, loaded, native
from napari_zssr.writing import check_place, draft_name, storing, written_whole

_TIFF = {".tif", ".tiff"}
_ZARR = {".zarr"}
_REPLACED = "\ufffd"
_USUAL = ".ome.tif, .ome.zarr or .png"

_UNREADABLE = (OSError, ValueError, ElementTree.ParseError, tifffile.TiffFileError)


def write(
    path: str | Path,
    stack: ImageStack,
    *,
    overwrite: bool = False,
    provenance: Mapping[str, Any] | None = None,
) -> Path:
    """Write a stack, by the ending of the name as OME-TIFF, OME-Zarr or PNG.

    Parameters
    ----------
    path : str or Path
        ``.ome.tif``, ``.ome.tiff``, ``.tif`` and ``.tiff`` give an OME-TIFF (BigTIFF
        when large), ``.ome.zarr`` and ``.zarr`` an OME-Zarr 0.5, ``.png`` a PNG.
    stack : ImageStack
        What to write. Axes are reordered to T, C, Z in the stack's order (in OME-Zarr
        T, C, Z), then Y, X and S where they are not so already; RGB samples are
        channels of OME-Zarr. Lazy pixels are read plane by plane.
    overwrite : bool
        Replace what is there.
    provenance : mapping, optional
        Record that `read_provenance` reads back; NaN and Inf become None.

    Returns
    -------
    Path
        The file or folder.

    Raises
    ------
    InputError
        The name, folder or pixels do not allow it.
    ComputeError
        The disk is full or fails.

    Warns
    -----
    ImageWarning
        For what other programs will not see.
    """
    check_output(path, overwrite)
    target = Path(path).expanduser().resolve()
    warn_of_format(target, outline_of(stack))
    content = None if provenance is None else plain(provenance)
    if target.suffix.lower() in _ZARR:
        _write_zarr(target, stack, content, overwrite)
        return target
    record = None if content is None else json.dumps(content)
    with written_whole(target) as draft:
        if target.suffix.lower() not in _TIFF:
            write_png(draft, _single_plane(in_file_order(stack)), record)
        elif is_lazy(stack.data):
            assemble_tiff(draft, outline_of(stack), record, partial(_rows, stack))
        else:
            ordered = in_file_order(stack)
            write_tiff(draft, outline_of(ordered), record, loaded(ordered.data))
    return target


def check_output(
    path: str | Path, overwrite: bool = False, *, stack: ImageStack | None = None
) -> None:
    """Refuse an output that could not be written, before a long run starts.

    Parameters
    ----------
    path : str or Path
        The file to be written.
    overwrite : bool
        Whether a file may be replaced.
    stack : ImageStack, optional
        What is known of it is checked against the format too; of its shape only axes
        other than Y and X matter.

    Raises
    ------
    InputError
        Unknown ending, a name that is too long, existing file, missing folder, no
        permission, or an image that the format cannot hold.
    """
    marks = ZARR_MARKS if Path(path).suffix.lower() in _ZARR else ()
    check_place(path, overwrite, {*_TIFF, *_ZARR, ".png"}, _USUAL, marks)
    if stack is not None:
        check_format(path, outline_of(stack))


def check_format(path: str | Path, outline: Outline) -> tuple[str, ...]:
    """Refuse an image that its format could not hold, before its pixels are there.

    Parameters
    ----------
    path : str or Path
        The file to be written.
    outline : Outline
        The image.

    Returns
    -------
    tuple of str
        Sentences on what other programs will not see.

    Raises
    ------
    InputError
        Type of the pixels, axes, pixel sizes or channels that the format cannot hold.
    """
    spacing_per_axis(outline.axes, outline.spacing)
    _check_channels(outline)
    suffix = Path(path).suffix.lower()
    if suffix == ".png":
        check_png(outline)
        return ()
    messages = check_zarr(outline) if suffix in _ZARR else check_tiff(outline)
    names = [outline.name, *(channel.name for channel in outline.channels)]
    replaced = [name for name in names if _REPLACED in legal_text(name)]
    if any(_REPLACED not in name for name in replaced):
        message = (
            "Characters that files cannot hold are replaced in "
            f"{legal_text(replaced[0])!r}."
        )
        return (*messages, message)
    return messages


def warn_of_format(path: str | Path, outline: Outline) -> None:
    """Refuse what `check_format` refuses, and warn of what it says.

    Parameters
    ----------
    path : str or Path
        The file to be written.
    outline : Outline
        The image.

    Raises
    ------
    InputError
        The format cannot hold it.

    Warns
    -----
    ImageWarning
        For what other programs will not see.
    """
    for message in check_format(path, outline):
        warnings.warn(message, ImageWarning, stacklevel=3)


def in_file_order(stack: ImageStack) -> ImageStack:
    """Put T, C, Z first (in their own order), then Y, X and S, unless S is single.

    Parameters
    ----------
    stack : ImageStack
        Axes in any order.
    """
    letters = file_axes(outline_of(stack))
    order = [stack.axes.index(letter) for letter in letters]
    lone = [i for i, n in enumerate(stack.data.shape) if i not in order and n == 1]
    return replace(
        stack,
        data=loaded(stack.data)
        .transpose([*order, *lone])
        .reshape([stack.data.shape[i] for i in order]),
        axes=letters,
        spacing=tuple(stack.spacing[i] for i in order),
        units=tuple(stack.units[i] for i in order),
        origin=tuple(stack.origin[i] for i in order) if stack.origin else (),
    )


def read_provenance(path: str | Path) -> dict[str, Any] | None:
    """Record that `write` stored in an image, None where there is none.

    Raises
    ------
    InputError
        The file cannot be opened.
    """
    try:
        content = _stored(Path(path).expanduser())
    except _UNREADABLE as error:
        raise InputError(
            f"{path} cannot be read ({error}); give an OME-TIFF, OME-Zarr or PNG."
        ) from error
    return content if isinstance(content, dict) else None


def _stored(path: Path) -> Any:
    """Provenance in a file or Zarr folder."""
    if path.is_dir():
        own = read_attributes(path).get(NAMESPACE)
        return own.get("provenance") if isinstance(own, dict) else None
    text = png_text(path) if path.suffix.lower() == ".png" else stored_text(path)
    return None if text is None else json.loads(text)


def _check_channels(outline: Outline) -> None:
    """Refuse what neither OME-XML nor OME-Zarr can say of a channel."""
    count = outline.sizes.get("C", 1)
    if outline.channels and len(outline.channels) != count:
        raise InputError(
            f"{len(outline.channels)} channels are described, but the image has "
            f"{count}; describe each one, or none."
        )
    for number, channel in enumerate(outline.channels):
        what = _impossible(channel)
        if what:
            raise InputError(
                f"Channel {number} has {what}; correct it, or leave it out."
            )


def _impossible(channel: Channel) -> str:
    """What is wrong about a channel; empty where nothing is."""
    for name, length in (
        ("an emission", channel.emission_nm),
        ("an excitation", channel.excitation_nm),
    ):
        if length is not None and not 0 < length < math.inf:
            return f"{name} of {length:g} nm, which is no wavelength"
    color = channel.color
    if color is not None and not -(2**31) <= color < 2**31:
        return f"the colour {color}, which is no signed number of 32 bits"
    return ""


def _single_plane(stack: ImageStack) -> NDArray[Any]:
    """Y, X and S of an image that is one plane."""
    keep = tuple(
        slice(None) if a in "YX" or (a == "S" and n > 1) else 0
        for a, n in zip(stack.axes, stack.data.shape, strict=True)
    )
    return np.asarray(stack.data[keep])


def _write_zarr(
    target: Path,
    stack: ImageStack,
    provenance: Mapping[str, Any] | None,
    overwrite: bool,
) -> None:
    """Plane by plane, so that lazy pixels are never in memory at once."""
    from napari_zssr.stack.omezarr import PlaneWriter, complete, make

    draft = draft_name(target)
    try:
        with storing(target, "nothing was left behind"):
            make(draft, outline_of(stack))
            for at in planes(stack.axes, stack.data.shape):
                writer = PlaneWriter(draft, at.index)
                writer.add(native(stack.data[at.index]))
                writer.close()
            complete(draft, provenance)
            place(draft, target, overwrite=overwrite)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _rows(
    stack: ImageStack, index: tuple[int | slice, ...], rows: slice
) -> NDArray[Any]:
    """Some rows of a plane, its axes in the order of the stack."""
    at = list(index)
    at[stack.axes.index("Y")] = rows
    return native(stack.data[tuple(at)])
