"""Opening images with their pixel sizes, units, axes and channels; saving layers."""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from importlib.resources import as_file, files
from itertools import cycle, islice
from pathlib import Path
from tokenize import TokenError
from typing import Any

import numpy as np
from napari.layers import Image
from napari.utils.notifications import show_info

from napari_zssr.errors import ComputeError, InputError
from napari_zssr.io.read import list_images, read
from napari_zssr.io.tiff import coarser_tiff_levels
from napari_zssr.io.write import read_provenance, write
from napari_zssr.io.zarr_read import zarr_levels
from napari_zssr.plugin.layers.layers import (
    ATTRIBUTION,
    KEY,
    file_metadata,
    layer_channels,
    layer_stack,
    level0,
)
from napari_zssr.plugin.layers.results import dask_array, lazy_planes
from napari_zssr.stack.image import (
    CONTENT,
    Channel,
    ImageStack,
    is_lazy,
    load_pixels,
)
from napari_zssr.stack.recipe import joined

# Of a file with more, only the largest image is opened.
MOST_IMAGES = 8
# Of a larger TIFF, only the planes that are shown are read.
LOADED_BYTES = 2**30

LayerData = tuple[Any, dict[str, Any], str]
Reader = Callable[[Any], list[LayerData]]

TIFF_SUFFIXES = (".tif", ".tiff")
_TIFF_SIGNATURES = {b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"}
_ZARR_FILES = ("zarr.json", ".zattrs", ".zarray", ".zgroup")
_SECONDS = {"us": 1e-6, "ms": 1e-3, "min": 60.0, "h": 3600.0, "d": 86400.0}


def read_image(path: str | Path | Sequence[str | Path]) -> Reader | None:
    """Find the reader of a TIFF, a companion.ome or an OME-Zarr image.

    None for all else, for lists to be stacked, masks and complex numbers. The reader
    raises InputError for a damaged file.
    """
    paths = [path] if isinstance(path, str | Path) else list(path)
    source = _image_path(Path(paths[0])) if len(paths) == 1 else None
    if source is None:
        return None

    def layers(_: Any) -> list[LayerData]:
        images = _read_images(source)
        made = [layer for levels in images for layer in _multiscale_layers(levels)]
        return _with_recipe(made, source)

    return layers


def _with_recipe(layers: list[LayerData], path: Path) -> list[LayerData]:
    """Layers of a file; a single one that is a result of ours, with its recipe."""
    if len(layers) != 1:
        return layers
    recipe = None
    with suppress(InputError):
        recipe = read_provenance(path)
    if recipe is None or "config" not in recipe or CONTENT in recipe:
        return layers
    pixels, attributes, kind = layers[0]
    metadata = attributes.get("metadata", {}) | {KEY: recipe}
    return [(pixels, attributes | {"metadata": metadata}, kind)]


def lazy_layers(path: Path) -> list[LayerData]:
    """Layers of a TIFF or a (multiscale) OME-Zarr, none of their pixels read yet.

    InputError where it cannot be read.
    """
    return _multiscale_layers(_read_levels(path))


def _read_images(path: Path) -> list[list[ImageStack]]:
    """Levels of all images of a file, or of the largest where there are very many.

    Assumptions, and why an image is left out, are shown in napari; InputError where
    none can be read.
    """
    indices: list[int | None] = [entry.index for entry in list_images(path)]
    if not 1 < len(indices) <= MOST_IMAGES:
        indices = [None]
    images: list[list[ImageStack]] = []
    errors: list[InputError] = []
    for index in indices:
        try:
            images.append(_read_levels(path, index, loaded_bytes=LOADED_BYTES))
        except InputError as error:
            errors.append(error)
    if not images:
        raise errors[0]
    messages = [message for levels in images for message in levels[0].messages]
    for message in dict.fromkeys([*messages, *map(str, errors)]):
        show_info(message)
    return images


def _read_levels(
    path: Path, image: int | None = None, *, loaded_bytes: int = 0
) -> list[ImageStack]:
    """Levels of an image, full resolution first, all with the metadata of the first.

    The largest image unless `image` is given. Zarr, and what needs more than
    `loaded_bytes`, is read as dask arrays. InputError where it cannot be read.
    """
    stack = read(path, image=image, lazy=True, labels=path.is_dir())
    if path.is_dir():
        levels = zarr_levels(path, stack.image_index)
        arrays = [dask_array(level, level.chunks) for level in levels]
        return [replace(stack, data=array) for array in arrays]
    size = math.prod(stack.data.shape) * stack.data.dtype.itemsize
    lazy = size > loaded_bytes and is_lazy(stack.data)
    stacks = [stack, *_coarser_levels(path, stack)]
    return [
        replace(each, data=lazy_planes(each) if lazy else load_pixels(each.data))
        for each in stacks
    ]


def _coarser_levels(path: Path, stack: ImageStack) -> list[ImageStack]:
    """Smaller versions of an image of a TIFF, along Y and X only."""
    if path.suffix.lower() not in TIFF_SUFFIXES:
        return []

    def others(pixels: Any) -> list[int]:
        return [
            n for a, n in zip(stack.axes, pixels.shape, strict=True) if a not in "YX"
        ]

    return [
        replace(stack, data=pixels)
        for pixels in coarser_tiff_levels(path, stack.image_index)
        if len(pixels.shape) == len(stack.axes) and others(pixels) == others(stack.data)
    ]


def _image_path(path: Path) -> Path | None:
    """The file or Zarr folder to read, judged by its first bytes only."""
    folder = path.parent if path.name in _ZARR_FILES else path
    if folder.is_dir():
        is_zarr = any((folder / name).is_file() for name in _ZARR_FILES)
        return folder if is_zarr else None
    companion = path.name.lower().endswith(".companion.ome")
    tiff = path.suffix.lower() in TIFF_SUFFIXES
    readable = path.is_file() and (companion or (tiff and _has_numbers(path)))
    return path if readable else None


def _has_numbers(path: Path) -> bool:
    """Whether a file is a TIFF, neither of a mask nor of complex numbers."""
    import tifffile

    try:
        with path.open("rb") as file:
            if file.read(4) not in _TIFF_SIGNATURES:
                return False
        with tifffile.TiffFile(path) as tiff:
            dtype = tiff.pages.first.dtype
    except (OSError, ValueError, LookupError, struct.error):
        return True  # Damaged: the reader explains how, and what helps.
    return dtype is None or dtype.kind in "iuf"


def _multiscale_layers(levels: Sequence[ImageStack]) -> list[LayerData]:
    """Layers of an image, multiscale ones where it has several levels."""
    full, *coarser = [_layers(level) for level in levels]
    if not coarser:
        return full
    return [
        ([data for data, _, _ in of], of[0][1] | {"multiscale": True}, of[0][2])
        for of in zip(full, *coarser, strict=True)
    ]


def _layers(stack: ImageStack) -> list[LayerData]:
    """One layer for each channel, each a view of the pixels."""
    pixels: Any = stack.data
    images, axes = [pixels], stack.axes
    if stack.guessed:
        metadata = file_metadata(stack.channels, stack.image_index)
        channels = [{"name": stack.name, "metadata": metadata}]
    else:
        multichannel = "C" in axes
        axes = "".join(letter for letter in axes if letter not in "CYXS") + "YX"
        axes += "S" if "S" in stack.axes else ""
        order = f"C{axes}" if multichannel else axes
        ordered = pixels.transpose([stack.axes.index(letter) for letter in order])
        images = list(ordered) if multichannel else [ordered]
        channels = _channel_attributes(stack, len(images))
    shared = placement(stack, axes)
    if stack.guessed:
        # Without axis labels, the form treats the axes as guessed, too.
        del shared["axis_labels"]
    kind = "labels" if stack.labels else "image"
    missing = {"rgb", "colormap", "blending"} if stack.labels else set()
    return [
        (image, {k: v for k, v in (shared | own).items() if k not in missing}, kind)
        for image, own in zip(images, channels, strict=True)
    ]


def placement(stack: ImageStack, axes: str) -> dict[str, Any]:
    """Scale, translation, units and labels of axes, which the image may lack."""
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
    """Size of a pixel, centre of the first one, and unit; 1 pixel where unknown.

    Times are in seconds where their unit is known.
    """
    axis = stack.axes.find(letter)
    if axis < 0:
        return 1.0, 0.0, "pixel"
    size, unit = stack.spacing[axis] or 1.0, stack.units[axis]
    start = stack.origin[axis] if stack.origin else 0.0
    if letter == "T" and unit in _SECONDS:
        return size * _SECONDS[unit], start * _SECONDS[unit], "s"
    return size, start, _known_unit(unit)


def _known_unit(unit: str | None) -> str:
    """Unit as napari accepts it, which refuses those that pint does not know."""
    import pint

    try:
        pint.application_registry.Unit(unit or "pixel")
    except (pint.PintError, TokenError, AssertionError, TypeError, ValueError):
        return "pixel"
    return unit or "pixel"


def _channel_attributes(stack: ImageStack, count: int) -> list[dict[str, Any]]:
    """Name, metadata, colormap and blending of each of `count` layers."""
    channels: list[dict[str, Any]] = [
        {
            "name": name,
            "metadata": file_metadata(stack.channels[n : n + 1], stack.image_index),
        }
        for n, name in enumerate(_names(stack, count))
    ]
    if "S" in stack.axes:
        return channels
    colormaps = _colormaps(stack, count)
    blending = {"blending": "additive"} if colormaps != ["gray"] else {}
    return [
        channel | {"colormap": colormap} | blending
        for channel, colormap in zip(channels, colormaps, strict=True)
    ]


def _names(stack: ImageStack, count: int) -> list[str]:
    """Name of the file, and of the channel where there are several."""
    if count == 1:
        return [stack.name]
    stored = [channel.name for channel in stack.channels] or [""] * count
    names = [name or f"channel {number}" for number, name in enumerate(stored, 1)]
    # Files that we wrote hold the names of layers, which start so already.
    return [
        name if name.startswith(stack.name) else f"{stack.name} {part}"
        for name, part in zip(names, _distinct_parts(names), strict=True)
    ]


def _distinct_parts(names: Sequence[str]) -> list[str]:
    """Names of channels without the words that all of them begin and end with.

    Lists of layers cut long names before the part that tells channels apart, such as
    c1 of ``plate_A02_s9_c1.tif``. Numbers alone would say too little, as 488 of
    ``Alexa 488``: then names stay as they are.
    """
    words = [re.findall(r"[^\W_]+|[\W_]+", name) for name in names]
    while all(words) and len({each[0] for each in words}) == 1:
        words = [each[1:] for each in words]
    while all(words) and len({each[-1] for each in words}) == 1:
        words = [each[:-1] for each in words]
    parts = ["".join(each) for each in words]
    tell = all(any(map(str.isalpha, part)) for part in parts)
    return parts if tell else list(names)


def _colormaps(stack: ImageStack, count: int) -> list[str]:
    """Colours of the file; napari's defaults where it has none but grey."""
    from napari.utils.colormaps.colormap_utils import CMYBGR, MAGENTA_GREEN

    colors = [_hex(channel.color) for channel in stack.channels]
    if any(colors):
        return [color or "gray" for color in colors]
    defaults = {1: ["gray"], 2: MAGENTA_GREEN}.get(count, CMYBGR)
    return list(islice(cycle(defaults), count))


def _hex(color: int | None) -> str:
    """An OME colour as #rrggbb; empty for greys, which many programs always write."""
    if color is None:
        return ""
    rgb = color.to_bytes(4, "big", signed=True)[:3]
    return f"#{rgb.hex()}" if len(set(rgb)) > 1 else ""


def write_ome_tiff(path: str, layer_data: Sequence[LayerData]) -> list[str]:
    """Write image layers into one OME-TIFF: a layer as it is, several as channels.

    napari has asked whether a file may be replaced. InputError where the layers do not
    fit together or the file is refused, ComputeError where the disk is full or fails.
    """
    layers = [Image(data, **attributes) for data, attributes, _ in layer_data]
    if len(layers) > 1:
        stack = _as_channels(layers)
    else:
        stack = layer_stack(layers[0])
        if not {"C", "S"} & set(stack.axes):
            stack = replace(stack, channels=(_channel(layers[0]),))
    written = write(path, stack, overwrite=True, provenance=_recipes(layers, stack))
    return [str(written)]


def _as_channels(layers: Sequence[Image]) -> ImageStack:
    """Overlapping layers as one image with a channel axis."""
    check_compatible(layers)
    stacks = [layer_stack(layer) for layer in layers]
    first = stacks[0]
    axis = min(first.axes.index("Y"), first.axes.index("X"))
    return replace(
        first,
        data=np.stack([load_pixels(stack.data) for stack in stacks], axis=axis),
        axes=f"{first.axes[:axis]}C{first.axes[axis:]}",
        spacing=(*first.spacing[:axis], None, *first.spacing[axis:]),
        units=(*first.units[:axis], None, *first.units[axis:]),
        channels=tuple(_channel(layer) for layer in layers),
        name=Path(first.source).stem or first.name,
    )


def check_compatible(layers: Sequence[Image]) -> None:
    """InputError where layers cannot be channels of one image."""
    first = layers[0]
    for layer in layers[1:]:
        for name, expected, value in (
            ("shape", level0(first).shape, level0(layer).shape),
            ("type of pixels", first.dtype, layer.dtype),
            ("units", first.units, layer.units),
            ("axis labels", first.axis_labels, layer.axis_labels),
        ):
            if expected != value:
                raise InputError(
                    f"Layers {first.name!r} and {layer.name!r} differ in {name} and "
                    "cannot be channels of one file; save them one by one."
                )
        points = np.vstack([np.zeros(first.ndim), np.eye(first.ndim)])
        if not all(
            np.allclose(first.data_to_world(point), layer.data_to_world(point))
            for point in points
        ):
            raise InputError(
                f"Layers {first.name!r} and {layer.name!r} do not overlap exactly "
                "and cannot be channels of one file; save them one by one."
            )
    if any(layer.rgb for layer in layers):
        raise InputError("RGB layers cannot be channels; save them one by one.")


def _channel(layer: Image) -> Channel:
    """Name, colour and optics of a layer; grey counts as no colour."""
    top = np.asarray(layer.colormap.map(np.ones(1)))[0]
    rgba = bytes(round(255 * float(part)) for part in (*top[:3], 1.0))
    grey = len(set(rgba[:3])) == 1
    color = None if grey else int.from_bytes(rgba, "big", signed=True)
    stored = layer_channels(layer)
    channel = stored[0] if len(stored) == 1 else Channel()
    return replace(channel, name=layer.name, color=color)


def _recipes(layers: Sequence[Image], stack: ImageStack) -> dict[str, Any] | None:
    """Recipe of a layer, or of an image of several; by their names if they differ."""
    recipes = {
        layer.name: layer.metadata[KEY]
        for layer in layers
        if isinstance(layer.metadata.get(KEY), dict)
    }
    if not recipes or len(layers) == 1:
        return next(iter(recipes.values()), None)
    one = None
    if len(recipes) == len(layers):
        one = joined(list(recipes.values()), stack.axes, stack.name)
    return one or {"program": "napari-zssr", "layers": recipes}


_NEUBIAS = (
    "NEUBIAS training resources, https://github.com/NEUBIAS/training-resources, "
    "CC BY 4.0, https://creativecommons.org/licenses/by/4.0/"
)
_BEI_LIU = (
    "(c) 2019 Bei Liu, https://github.com/drbeiliu/DeepLearning, MIT licence; "
    "Jin et al., Nature Communications 11, 1934 (2020)"
)
_COLORMAPS = ("bop blue", "bop orange", "green")


def cells() -> list[LayerData]:
    """One cell in three channels, one layer each."""
    show_info(f"Image from {_NEUBIAS}")
    layers = _sample_layers("cells", _NEUBIAS)
    for (_, attributes, _), colormap in zip(layers, _COLORMAPS, strict=True):
        attributes["colormap"] = colormap
    return layers


def mitosis() -> list[LayerData]:
    """Chromosomes of a dividing cell, a z-stack."""
    show_info(f"Image from {_NEUBIAS}")
    # Nothing in the stack is brighter; napari's default would be all of 8 bits.
    limits = (0, 120)
    return _sample_layers(
        "mitosis", _NEUBIAS, name="mitotic plate", contrast_limits=limits
    )


def microtubules() -> list[LayerData]:
    """Microtubules by widefield microscopy, and below them the same field by SIM."""
    show_info(f"Images {_BEI_LIU}")
    fine = _sample_layers("microtubules_sim", _BEI_LIU, name="SIM reference")
    # Centre of the first 2 x 2 pixels of the reference.
    center = [step / 2 for step in fine[0][1]["scale"]]
    return fine + _sample_layers("microtubules", _BEI_LIU, translate=center)


def _sample_layers(image: str, attribution: str, **options: Any) -> list[LayerData]:
    """Layers of a bundled image."""
    resource = files("napari_zssr") / "data" / f"{image}.ome.tif"
    if not resource.is_file():
        raise ComputeError(
            f"The image {image!r} is missing from this installation; install "
            "napari-zssr again."
        )
    with as_file(resource) as path:
        layers = _layers(read(path))
    options["metadata"] = {ATTRIBUTION: attribution}
    return [(data, attributes | options, kind) for data, attributes, kind in layers]
