"""Writing results: OME-TIFF and PNG, whole under the final name or not at all."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import tifffile

from napari_zssr.errors import InputError
from napari_zssr.stack.axes import Channel, ImageStack
from napari_zssr.stack.source import loaded
from napari_zssr.writing import check_place, written_whole

NAMESPACE = "napari-zssr"
BIGTIFF_BYTES = int(3.9e9)

_TIFF = {".tif", ".tiff"}
_OME_TYPES = {f"{kind}{bits}" for kind in ("uint", "int") for bits in (8, 16, 32)}
_OME_TYPES |= {"float32", "float64"}
_OME_UNITS = {unit: unit for unit in ("pm", "nm", "mm", "cm", "m", "ms", "s", "min")}
_OME_UNITS |= {"h": "h", "d": "d", "um": "µm", "us": "µs", "angstrom": "Å"}
_METRES = {"pm": 1e-12, "angstrom": 1e-10, "nm": 1e-9, "um": 1e-6, "mm": 1e-3}
_METRES |= {"cm": 1e-2, "m": 1.0}

_UNREADABLE = (OSError, ValueError, ElementTree.ParseError, tifffile.TiffFileError)


def write(
    path: str | Path,
    stack: ImageStack,
    *,
    overwrite: bool = False,
    provenance: Mapping[str, Any] | None = None,
) -> Path:
    """Write a stack, by the ending of the name as OME-TIFF or PNG.

    Parameters
    ----------
    path : str or Path
        ``.ome.tif``, ``.ome.tiff``, ``.tif`` and ``.tiff`` give an OME-TIFF (BigTIFF
        when large), ``.png`` a PNG.
    stack : ImageStack
        What to write. Axes are reordered to T, C, Z in the stack's order, then Y, X
        and S where they are not so already.
    overwrite : bool
        Replace a file that is there.
    provenance : mapping, optional
        JSON-serialisable record that `read_provenance` reads back.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    InputError
        The name, folder or pixels do not allow it.
    ComputeError
        The disk is full or fails.
    """
    check_output(path, overwrite, stack=stack)
    target = Path(path).expanduser().resolve()
    ordered = in_file_order(stack)
    record = None if provenance is None else json.dumps(dict(provenance))
    with written_whole(target) as draft:
        if target.suffix.lower() in _TIFF:
            _write_tiff(draft, ordered, record)
        else:
            _write_png(draft, ordered, record)
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
    check_place(path, overwrite, {*_TIFF, ".png"}, ".ome.tif or .png")
    if stack is not None:
        _check_fits(stack, Path(path).suffix.lower())


def in_file_order(stack: ImageStack) -> ImageStack:
    """Put T, C, Z first (in their own order), then Y, X and S, unless S is single.

    Parameters
    ----------
    stack : ImageStack
        Axes in any order.
    """
    leading = [letter for letter in stack.axes if letter not in "YXS"]
    samples = stack.data.shape[stack.axes.index("S")] if "S" in stack.axes else 1
    letters = "".join(leading) + "YX" + ("S" if samples > 1 else "")
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
    )


def read_provenance(path: str | Path) -> dict[str, Any] | None:
    """Record that `write` stored in an OME-TIFF or PNG, None where there is none.

    Raises
    ------
    InputError
        The file cannot be opened.
    """
    try:
        text = _stored_text(Path(path).expanduser())
        content = None if text is None else json.loads(text)
    except _UNREADABLE as error:
        raise InputError(
            f"{path} cannot be read ({error}); give an OME-TIFF or PNG."
        ) from error
    return content if isinstance(content, dict) else None


def _stored_text(path: Path) -> str | None:
    if path.suffix.lower() == ".png":
        from PIL import Image

        with Image.open(path) as picture:
            text = picture.info.get(NAMESPACE)
        return text if isinstance(text, str) else None
    with tifffile.TiffFile(path) as file:
        xml = file.ome_metadata
    if not xml:
        return None
    for note in ElementTree.fromstring(xml).findall(".//{*}MapAnnotation"):
        if note.get("Namespace") == NAMESPACE:
            return note.findtext("{*}Value/{*}M")
    return None


def _check_fits(stack: ImageStack, suffix: str) -> None:
    name = stack.data.dtype.name
    if suffix == ".png":
        _check_png(stack)
    elif name not in _OME_TYPES:
        raise InputError(
            f"OME-TIFF cannot hold pixels of type {name}; convert them to float32 or "
            "uint16 first."
        )


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


def _write_tiff(path: Path, stack: ImageStack, record: str | None) -> None:
    samples = stack.data.shape[-1] if "S" in stack.axes else 1
    extra = {2: 1, 4: 1}.get(samples, 0)
    data = loaded(stack.data)
    tifffile.imwrite(
        path,
        data,
        ome=True,
        bigtiff=data.nbytes > BIGTIFF_BYTES,
        photometric="rgb" if samples >= 3 else "minisblack",
        planarconfig="contig" if samples > 1 else None,
        extrasamples=["unassalpha"] * extra or None,
        metadata=_ome_metadata(stack, record),
        **_resolution(stack),
    )


def _ome_metadata(stack: ImageStack, record: str | None) -> dict[str, Any]:
    content: dict[str, Any] = {"axes": stack.axes}
    if stack.name:
        content["Name"] = stack.name
    for letter, size, unit in zip(stack.axes, stack.spacing, stack.units, strict=True):
        key = "TimeIncrement" if letter == "T" else f"PhysicalSize{letter}"
        known = _OME_UNITS.get(unit or "")
        if size is None or letter not in "TZYX" or (letter == "T" and not known):
            continue
        content |= {key: size, f"{key}Unit": known or "reference frame"}
    if stack.channels:
        content["Channel"] = [_ome_channel(c) for c in stack.channels]
    if record is not None:
        content["MapAnnotation"] = {
            "Namespace": NAMESPACE,
            "Value": {"provenance": record},
        }
    return content


def _ome_channel(channel: Channel) -> dict[str, Any]:
    told: dict[str, Any] = {"Name": channel.name or None, "Color": channel.color}
    for key, length in (
        ("EmissionWavelength", channel.emission_nm),
        ("ExcitationWavelength", channel.excitation_nm),
    ):
        if length is not None:
            told |= {key: length, f"{key}Unit": "nm"}
    return told


def _resolution(stack: ImageStack) -> dict[str, Any]:
    """Pixels per centimetre, for readers that do not know OME."""
    densities = []
    for letter in "XY":
        axis = stack.axes.index(letter)
        size, unit = stack.spacing[axis], _METRES.get(stack.units[axis] or "")
        if size is None or unit is None:
            return {}
        densities.append(0.01 / (size * unit))
    return {"resolution": tuple(densities), "resolutionunit": "CENTIMETER"}


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
