"""Writing results: whole under the final name or not at all."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import tifffile
from numpy.typing import NDArray

from napari_zssr.errors import InputError
from napari_zssr.stack.attributes import read_attributes
from napari_zssr.stack.axes import ImageStack, planes
from napari_zssr.stack.ometiff import (
    assemble_tiff,
    check_type,
    file_axes,
    stored_text,
    write_tiff,
)
from napari_zssr.stack.outline import NAMESPACE, outline_of
from napari_zssr.stack.placing import ZARR_MARKS, place
from napari_zssr.stack.source import is_lazy, loaded, native
from napari_zssr.writing import check_place, draft_name, storing, written_whole

_TIFF = {".tif", ".tiff"}
_ZARR = {".zarr"}
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
        JSON-serialisable record that `read_provenance` reads back.

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
    """
    check_output(path, overwrite, stack=stack)
    target = Path(path).expanduser().resolve()
    if target.suffix.lower() in _ZARR:
        _write_zarr(target, stack, provenance, overwrite)
        return target
    record = None if provenance is None else json.dumps(dict(provenance))
    with written_whole(target) as draft:
        if target.suffix.lower() not in _TIFF:
            _write_png(draft, in_file_order(stack), record)
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
        Its axes and dtype are checked against the format too; of its shape only
        axes other than Y and X matter, so the input serves as well as the result.

    Raises
    ------
    InputError
        Unknown ending, existing file, missing folder, no permission, or pixels that
        the format cannot hold.
    """
    marks = ZARR_MARKS if Path(path).suffix.lower() in _ZARR else ()
    check_place(path, overwrite, {*_TIFF, *_ZARR, ".png"}, _USUAL, marks)
    if stack is not None:
        _check_fits(stack, Path(path).suffix.lower())


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
    text = _png_text(path) if path.suffix.lower() == ".png" else stored_text(path)
    return None if text is None else json.loads(text)


def _png_text(path: Path) -> str | None:
    from PIL import Image

    with Image.open(path) as picture:
        text = picture.info.get(NAMESPACE)
    return text if isinstance(text, str) else None


def _check_fits(stack: ImageStack, suffix: str) -> None:
    if suffix == ".png":
        _check_png(stack)
    elif suffix in _TIFF:
        check_type(stack.data.dtype.name)


def _check_png(stack: ImageStack) -> None:
    sizes = dict(zip(stack.axes, stack.data.shape, strict=True))
    many = [letter for letter in "TCZ" if sizes.get(letter, 1) > 1]
    if many:
        raise InputError(
            f"A PNG holds one plane, but the image has {sizes[many[0]]} along "
            f"{many[0]}; write an .ome.tif."
        )
    colour = sizes.get("S", 1) in {3, 4}
    allowed = {"uint8"} if colour else {"uint8", "uint16"}
    if stack.data.dtype.name not in allowed or sizes.get("S") == 2:
        raise InputError(
            f"A PNG cannot hold these pixels ({stack.data.dtype.name}, axes "
            f"{stack.axes}); write an .ome.tif."
        )


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


def _write_png(path: Path, stack: ImageStack, record: str | None) -> None:
    from PIL import Image
    from PIL.PngImagePlugin import PngInfo

    keep = tuple(
        slice(None) if a in "YX" or (a == "S" and n > 1) else 0
        for a, n in zip(stack.axes, stack.data.shape, strict=True)
    )
    notes = PngInfo()
    if record is not None:
        notes.add_itxt(NAMESPACE, record, zip=True)
    Image.fromarray(np.ascontiguousarray(stack.data[keep])).save(
        path, format="PNG", pnginfo=notes
    )
