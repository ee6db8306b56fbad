"""Opening images with their pixel sizes, units, axes and channels."""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from itertools import cycle, islice
from pathlib import Path
from tokenize import TokenError
from typing import Any

from napari_zssr.plugin._file_images import read_images, read_levels
from napari_zssr.plugin._taken import taken
from napari_zssr.stack.records import ImageStack

LayerData = tuple[Any, dict[str, Any], str]
Reader = Callable[[Any], list[LayerData]]

_ENDINGS = {".tif", ".tiff"}
_STARTS = {b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"}
_ZARR = ("zarr.json", ".zattrs", ".zarray", ".zgroup")
_SECONDS = {"us": 1e-6, "ms": 1e-3, "min": 60.0, "h": 3600.0, "d": 86400.0}


def read_image(path: str | Path | Sequence[str | Path]) -> Reader | None:
    """Find the reader of a TIFF or of an OME-Zarr image.

    Parameters
    ----------
    path : str or Path
        A file, the folder of a Zarr image, or the ``zarr.json`` or ``.zattrs`` in it.
        A list of several, to be stacked, is not read here.

    Returns
    -------
    callable or None
        Gives one layer for each channel of each image in the file, or labels: of Zarr
        lazy ones with all levels, of a large TIFF lazy ones. It raises InputError for
        a damaged file. None for what is no such image, and for masks and complex
        numbers, which can be looked at but not enlarged.
    """
    listed = [path] if isinstance(path, str | Path) else list(path)
    source = _image(Path(listed[0])) if len(listed) == 1 else None
    if source is None:
        return None

    def layers(_: Any) -> list[LayerData]:
        images = read_images(source)
        return [layer for levels in images for layer in _multiscale_layers(levels)]

    return layers


def _image(path: Path) -> Path | None:
    """The file or Zarr folder to read, after a look at its first bytes only."""
    folder = path.parent if path.name in _ZARR else path
    if folder.is_dir():
        return folder if any((folder / mark).is_file() for mark in _ZARR) else None
    if path.name.lower().endswith(".companion.ome"):
        return path if path.is_file() else None
    fits = path.suffix.lower() in _ENDINGS and path.is_file()
    return path if fits and _holds_numbers(path) else None


def _holds_numbers(path: Path) -> bool:
    """Whether a file is a TIFF, neither of a mask nor of complex numbers."""
    import tifffile

    try:
        with path.open("rb") as file:
            if file.read(4) not in _STARTS:
                return False
        with tifffile.TiffFile(path) as tiff:
            dtype = tiff.pages.first.dtype
    except (OSError, ValueError, LookupError, struct.error):
        return True  # Damaged: the reader says how, and what helps.
    return dtype is None or dtype.kind in "iuf"


def _layers(stack: ImageStack) -> list[LayerData]:
    """One layer for each channel, each a view of the pixels."""
    kind = "labels" if stack.labels else "image"
    if stack.guessed:
        # Without labels a guess stays one, also in the form.
        place = _place(stack, stack.axes) | {"name": stack.name}
        place["metadata"] = taken(stack.channels, stack.image_index)
        del place["axis_labels"]
        return [(stack.data, _fitting(place, kind), kind)]
    many = "C" in stack.axes
    axes = "".join(letter for letter in stack.axes if letter not in "CYXS") + "YX"
    axes += "S" if "S" in stack.axes else ""
    order = [stack.axes.index(letter) for letter in ("C" if many else "") + axes]
    pixels: Any = stack.data
    data = pixels.transpose(order)
    images = list(data) if many else [data]
    place = _place(stack, axes)
    return [
        (image, _fitting(place | looks, kind), kind)
        for image, looks in zip(images, _looks(stack, len(images)), strict=True)
    ]


def lazy_layers(path: Path) -> list[LayerData]:
    """Layers of a file, none of its pixels read yet.

    Parameters
    ----------
    path : Path
        An OME-Zarr, whose levels become a multiscale layer, or a TIFF.

    Raises
    ------
    InputError
        It cannot be read.
    """
    return _multiscale_layers(read_levels(path))


def _multiscale_layers(levels: Sequence[ImageStack]) -> list[LayerData]:
    """Layers of an image, multiscale ones where it has several levels."""
    full, *coarser = [_layers(level) for level in levels]
    if not coarser:
        return full
    return [
        ([data for data, _, _ in of], of[0][1] | {"multiscale": True}, of[0][2])
        for of in zip(full, *coarser, strict=True)
    ]


def _fitting(attributes: dict[str, Any], kind: str) -> dict[str, Any]:
    """Attributes that a layer of that kind has; labels have colours of their own."""
    none = {"rgb", "colormap", "blending"} if kind == "labels" else set()
    return {key: value for key, value in attributes.items() if key not in none}


def _place(stack: ImageStack, axes: str) -> dict[str, Any]:
    """Scale, place, units and labels of the axes."""
    letters = axes.replace("S", "")
    sizes, starts, units = zip(*(_axis(stack, a) for a in letters), strict=True)
    return {
        "scale": list(sizes),
        "translate": list(starts),
        "units": list(units),
        "axis_labels": list(letters.lower()),
        "rgb": "S" in axes,
    }


def _axis(stack: ImageStack, letter: str) -> tuple[float, float, str]:
    """Size of a pixel, centre of the first one, and unit.

    Times are in seconds where their unit is known; napari knows no size by 1 and pixel.
    """
    at = stack.axes.index(letter)
    size, unit = stack.spacing[at] or 1.0, stack.units[at]
    start = stack.origin[at] if stack.origin else 0.0
    if letter == "T" and unit in _SECONDS:
        return size * _SECONDS[unit], start * _SECONDS[unit], "s"
    return size, start, _known_unit(unit)


def _known_unit(unit: str | None) -> str:
    """Unit as napari takes it, which refuses those that pint does not know."""
    import pint

    try:
        pint.application_registry.Unit(unit or "pixel")
    except (pint.PintError, TokenError, AssertionError, TypeError, ValueError):
        return "pixel"
    return unit or "pixel"


def _looks(stack: ImageStack, count: int) -> list[dict[str, Any]]:
    """Name, colour and blending of each layer."""
    told = [taken(stack.channels[n : n + 1], stack.image_index) for n in range(count)]
    named: list[dict[str, Any]] = [
        {"name": name, "metadata": how}
        for name, how in zip(_names(stack, count), told, strict=True)
    ]
    if "S" in stack.axes:
        return named
    maps = _colormaps(stack, count)
    coloured = count > 1 or maps != ["gray"]
    blending = {"blending": "additive"} if coloured else {}
    return [
        name | {"colormap": colormap} | blending
        for name, colormap in zip(named, maps, strict=True)
    ]


def _names(stack: ImageStack, count: int) -> list[str]:
    """Name of the file, and of the channel where there are several."""
    if count == 1:
        return [stack.name]
    told = [channel.name for channel in stack.channels] or [""] * count
    names = [name or f"channel {number}" for number, name in enumerate(told, 1)]
    # Our own files hold the names of layers, which start so already.
    return [
        name if name.startswith(stack.name) else f"{stack.name} {name}"
        for name in names
    ]


def _colormaps(stack: ImageStack, count: int) -> list[str]:
    """The file's colours; napari's usual ones where it has none but grey."""
    from napari.utils.colormaps.colormap_utils import CMYBGR, MAGENTA_GREEN

    told = [_hex(channel.color) for channel in stack.channels]
    if any(told):
        return [color or "gray" for color in told]
    usual = {1: ["gray"], 2: MAGENTA_GREEN}.get(count, CMYBGR)
    return list(islice(cycle(usual), count))


def _hex(color: int | None) -> str:
    """An OME colour as #rrggbb; empty for greys, which many programs always write."""
    if color is None:
        return ""
    packed = color.to_bytes(4, "big", signed=True)[:3]
    return f"#{packed.hex()}" if len(set(packed)) > 1 else ""
