"""Between napari's layers and images with named axes.

Only here does napari's `scale` become our `spacing`, and back.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from napari.components import ViewerModel
from napari.layers import Image, Labels, Layer, Shapes
from napari.utils.transforms import CompositeAffine
from numpy.typing import NDArray

from napari_zssr.config import factors_text
from napari_zssr.errors import InputError
from napari_zssr.plugin.estimate import sizes_text
from napari_zssr.stack.axis_labels import (
    axis_letters,
    check_pixels,
    guess_axes,
    labelled,
    parse_axes,
    settle_axes,
)
from napari_zssr.stack.image import (
    OF_PIXELS,
    Channel,
    ImageStack,
    factor_per_axis,
    short_unit,
    to_native,
    unit_text,
)

Ranges = Mapping[str, tuple[int, int]]
# Keeps 9.5 + 0.5 from becoming 10.000001, and a pixel from being added.
ROUNDING = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Half-open pixel ranges by axis letter; an axis that is not named is whole."""

    ranges: Ranges = field(default_factory=dict)

    def slices(self, axes: str, shape: Sequence[int]) -> tuple[slice, ...]:
        """One slice for each axis; InputError for a range or axis the image lacks."""
        unknown = sorted(set(self.ranges) - set(axes))
        if unknown:
            raise InputError(
                f"The selection names axis {unknown[0]}, but the axes are {axes}; name "
                "only those."
            )
        slices = []
        for letter, size in zip(axes, shape, strict=True):
            start, stop = self.ranges.get(letter, (0, size))
            if not 0 <= start < stop <= size:
                raise InputError(
                    f"Pixels {start} to {stop} along {letter} cannot be used, because "
                    f"the image has {size}; choose a part of them."
                )
            slices.append(slice(start, stop))
        return tuple(slices)

    def shape(self, axes: str, shape: Sequence[int]) -> tuple[int, ...]:
        """Size of the part along each axis; raises as `slices` does."""
        return tuple(part.stop - part.start for part in self.slices(axes, shape))

    def starts(self, axes: str) -> tuple[int, ...]:
        """First pixel along each axis."""
        return tuple(self.ranges.get(letter, (0, 0))[0] for letter in axes)


WHOLE = Selection()


def current_slice(layer: Image, axes: str, viewer: ViewerModel) -> Ranges:
    """Range of the index along T, Z and C that the sliders show."""
    pixel = to_pixels(layer, viewer.dims.point, viewer.layers.extent.units)
    shape = level0(layer).shape[: layer.ndim]
    ranges = {}
    for letter, at, size in zip(axes[: layer.ndim], pixel, shape, strict=True):
        if letter not in "YXS":
            index = min(max(round(float(at)), 0), size - 1)
            ranges[letter] = (index, index + 1)
    return ranges


def current_view(layer: Image, axes: str, viewer: ViewerModel) -> Ranges:
    """Ranges of the part of the current slice that the canvas shows.

    InputError where the layer is outside of the canvas, or Y and X are not displayed.
    """
    dims = viewer.dims
    displayed = list(dims.displayed)[-2:]
    yx = [axes.index(letter) + dims.ndim - layer.ndim for letter in "YX"]
    if dims.ndisplay != 2 or sorted(displayed) != sorted(yx):
        raise InputError(
            "The view does not show the Y and X axes in 2D; switch to 2D, or enlarge "
            "the whole slice."
        )
    center = np.array(viewer.scene.camera.center[-2:])
    half = np.array(viewer.canvas.size) / (2 * viewer.scene.camera.zoom)
    corners = np.tile(np.array(dims.point, dtype=float), (4, 1))
    signs = ((-1, -1), (-1, 1), (1, -1), (1, 1))
    corners[:, displayed] = [center + half * sign for sign in signs]
    units = viewer.layers.extent.units
    pixels = np.array([to_pixels(layer, corner, units) for corner in corners])
    box = _bounding_box(layer, axes, pixels, "The layer lies outside of the view")
    return {**current_slice(layer, axes, viewer), **box}


def in_rectangle(layer: Image, axes: str, shapes: Shapes) -> Ranges:
    """Ranges of the box (Y, X) around a shape: the selected, or the last one.

    InputError where there is no shape, or it lies outside of the layer.
    """
    if not shapes.data:
        raise InputError(
            f"Shapes layer {shapes.name!r} is empty; draw a rectangle in it."
        )
    index = max(shapes.selected_data, default=len(shapes.data) - 1)
    world = [shapes.data_to_world(vertex) for vertex in np.asarray(shapes.data[index])]
    pixels = np.array([to_pixels(layer, at, shapes.units) for at in world])
    return _bounding_box(layer, axes, pixels, "The shape lies outside of the layer")


def level0(layer: Image) -> Any:
    """Pixels of a layer at full resolution, as they are: perhaps lazy."""
    return layer.data[0] if layer.multiscale else layer.data


def to_pixels(
    layer: Layer, position: Sequence[float] | NDArray[Any], units: Any
) -> NDArray[np.float64]:
    """Convert a point in world coordinates to pixel coordinates of a layer."""
    world = np.zeros(layer.ndim)
    count = min(layer.ndim, len(position))
    world[layer.ndim - count :] = position[len(position) - count :]
    # napari has none for layers whose units do not go together.
    if units is not None:
        for axis in range(-min(count, len(units)), 0):
            world[axis] *= unit_ratio(units[axis], layer.units[axis])
    return np.asarray(layer.world_to_data(world), dtype=np.float64)


def to_world(layer: Layer, pixel: NDArray[Any], units: Any) -> NDArray[np.float64]:
    """Convert pixel coordinates of a layer to world coordinates in these units."""
    world = np.asarray(layer.data_to_world(pixel), dtype=np.float64)
    if units is not None:
        for axis in range(-min(layer.ndim, len(units)), 0):
            world[axis] *= unit_ratio(layer.units[axis], units[axis])
    return world


def unit_ratio(unit: Any, target: Any) -> float:
    """Factor from one pint unit to another; 1 where they are not comparable."""
    if unit == target or unit.dimensionality != target.dimensionality:
        return 1.0
    return float((1 * unit).to(target).magnitude)


def _bounding_box(
    layer: Image, axes: str, pixels: NDArray[Any], outside: str
) -> Ranges:
    """Pixel ranges along Y and X around points (n, axes), cut to the layer."""
    low, high = pixels.min(axis=0), pixels.max(axis=0)
    shape = level0(layer).shape
    ranges = {}
    for letter in "YX":
        axis = axes.index(letter)
        start = max(math.floor(round(low[axis] + 0.5, ROUNDING)), 0)
        stop = min(math.ceil(round(high[axis] + 0.5, ROUNDING)), shape[axis])
        if start >= stop:
            raise InputError(f"{outside}; move one onto the other.")
        ranges[letter] = (start, stop)
    return ranges


# Keys of a layer's metadata: recipe, credits, channels and image index of its file.
KEY = "napari_zssr"
ATTRIBUTION = "attribution"
CHANNELS = "napari_zssr_channels"
IMAGE = "napari_zssr_image"

LABELS_REFUSED = (
    "Labels cannot be enlarged by networks; use napari-zssr upscale --labels, or "
    "upscale_labels(layer.data)."
)

# Not whether it is visible: who has a hidden layer enlarged wants to see the result.
_COPIED = {"gamma", "blending", "opacity", "interpolation2d"}
_COPIED |= {"interpolation3d", "depiction", "rendering", "projection_mode"}
_COPIED_GREY = {"colormap", "contrast_limits", "attenuation", "iso_threshold"}


def unwrapped(layer: Any) -> Any:
    """The layer itself instead of the proxy that napari may give to plugins."""
    return getattr(layer, "__wrapped__", layer)


def layer_channels(layer: Image) -> tuple[Channel, ...]:
    """Channel metadata from the layer's file; empty where there are none."""
    stored = layer.metadata.get(CHANNELS)
    try:
        return tuple(Channel(**fields) for fields in stored or ())
    except TypeError:  # Written by another program.
        return ()


def image_index(layer: Image) -> int | None:
    """Index of the layer's image in its file, where there are several."""
    index = layer.metadata.get(IMAGE)
    return index if isinstance(index, int) else None


def file_metadata(
    channels: Sequence[Channel], image: int | None = None
) -> dict[str, Any]:
    """Layer metadata that `layer_channels` and `image_index` read."""
    # Name and colour are properties of the layer.
    stored = [
        {k: v for k, v in asdict(channel).items() if v and k not in ("name", "color")}
        for channel in channels
    ]
    index = {} if image is None else {IMAGE: image}
    return index | ({CHANNELS: stored} if any(stored) else {})


def layer_axes(layer: Image) -> tuple[str, bool]:
    """Axis letters of a layer (of TCZYXS), and whether some were guessed.

    They come from the axis labels, a recipe or ``axes`` in the metadata, or the shape;
    InputError for too many axes without a name.
    """
    samples = "S" if layer.rgb else ""
    labels = _letters(layer.axis_labels)
    for letters in (labels, *_axes_in_metadata(layer)):
        complete = "?" not in letters and {"Y", "X"} <= set(letters)
        if complete and len(letters) == layer.ndim:
            return letters + samples, False
    if layer.ndim == 2:
        return f"YX{samples}", False
    shape = level0(layer).shape[: layer.ndim]
    try:
        axes, _ = settle_axes(labels, shape, np.uint16)
    except InputError:
        axes = guess_axes(shape, np.uint16)
    return axes + samples, True


def layer_spacing(
    layer: Image, axes: str
) -> tuple[dict[str, float], dict[str, str | None]]:
    """Pixel size and its unit by axis letter, only for axes that are calibrated.

    napari's scale of 1 in pixels is no calibration; other scales in pixels have no
    unit.
    """
    spacing: dict[str, float] = {}
    units: dict[str, str | None] = {}
    for letter, size, unit in zip(
        axes[: layer.ndim], layer.scale, map(str, layer.units), strict=True
    ):
        if letter in "TZYX" and (unit != "pixel" or size != 1):
            spacing[letter] = abs(float(size))
            units[letter] = None if unit == "pixel" else short_unit(unit) or unit
    return spacing, units


def layer_recipe(layer: Layer) -> dict[str, Any]:
    """Recipe of a result's layer; empty for other layers."""
    recipe = layer.metadata.get(KEY)
    return recipe if isinstance(recipe, dict) else {}


def is_result(layer: Layer) -> bool:
    """Whether this plugin has made a layer: a result, finished or not."""
    return KEY in layer.metadata


def layer_file(layer: Image) -> Path | None:
    """File that a layer was read from or written to, or None."""
    path = layer.source.path or layer_recipe(layer).get("file")
    return Path(path) if path else None


def channels_beside(layer: Image | None, layers: Sequence[Image]) -> list[Image]:
    """Those of some layers that are channels of a layer's image; it is one of them."""
    if layer is None:
        return []
    image = image_of(layer)
    if image is None or is_result(layer):
        return [layer]
    return [one for one in layers if image_of(one) == image and not is_result(one)]


def image_of(layer: Image) -> tuple[Any, ...] | None:
    """What the channels of one image have in common; None where it is of no file."""
    source = layer.source
    if source.path is None and source.sample is None:
        return None
    # What napari adds to the names of a file that is opened again.
    number = re.search(r" \[\d+\]$", layer.name)
    shape = tuple(level0(layer).shape)
    return (
        source.path,
        source.sample,
        image_index(layer),
        shape,
        layer.rgb,
        number and number.group(),
    )


def describe_axes(layer: Image, axes: str) -> str:
    """Axes, sizes and pixel size: ``Z 40 × Y 512 × X 512, 0.5 × 0.13 × 0.13 µm``."""
    sizes = sizes_text(axes, level0(layer).shape)
    spacing, known_units = layer_spacing(layer, axes)
    units = {
        letter: unit_text(unit) or "(no unit)" for letter, unit in known_units.items()
    }
    space = [letter for letter in axes if letter in "ZYX" and letter in spacing]
    missing = [letter for letter in axes if letter in "ZYX" and letter not in spacing]
    if len({units[letter] for letter in space}) == 1:
        pixel = " × ".join(f"{spacing[letter]:.4g}" for letter in space)
        calibration = [f"{pixel} {units[space[0]]}"]
    else:
        calibration = [f"{a} {spacing[a]:.4g} {units[a]}" for a in space]
    if space and missing:
        calibration.append(f"{' and '.join(missing)} unknown")
    if "T" in spacing:
        calibration.append(f"every {spacing['T']:.4g} {units['T']}")
    return ", ".join([sizes, *(calibration or ["no pixel size"])])


def lazy_stack(
    layer: Image, axes: str | None = None, selection: Selection = WHOLE
) -> ImageStack:
    """Part of a layer's finest level as an image, its pixels a view or a dask array.

    Axes are those of `layer_axes` unless given, and none is dropped. InputError where
    axes, selection or pixel type cannot be used, and for labels.
    """
    if isinstance(layer, Labels):
        raise InputError(LABELS_REFUSED)
    pixels = level0(layer)
    text, guessed = layer_axes(layer) if axes is None else (axes, False)
    letters = parse_axes(text, pixels.ndim)
    slices = selection.slices(letters, pixels.shape)
    if not isinstance(pixels, np.ndarray) and not hasattr(pixels, "dask"):
        from dask.array import from_array

        pixels = from_array(pixels)  # type: ignore[no-untyped-call]
    part = pixels[slices]
    spacing, units = layer_spacing(layer, letters)
    channels = layer_channels(layer)
    if "C" in letters and channels:
        channels = channels[slices[letters.index("C")]]
    stack = labelled(
        np.broadcast_to(np.zeros((), part.dtype), part.shape),
        axes=letters,
        spacing=spacing,
        units=units,
        channels=channels,
        name=layer.name,
        source=str(layer_file(layer) or ""),
    )
    return replace(stack, data=part, guessed=guessed)


def layer_stack(
    layer: Image, axes: str | None = None, selection: Selection = WHOLE
) -> ImageStack:
    """`lazy_stack` with the pixels of the selection loaded, and their checksum."""
    stack = lazy_stack(layer, axes, selection)
    data = to_native(check_pixels(stack.data))
    content = np.ascontiguousarray(data).data.cast("B")
    checksum = hashlib.sha256(content).hexdigest()[:16]
    return replace(stack, data=data, checksum=f"{OF_PIXELS}{checksum}")


# Share of the contrast limits' width by which a result may leave them; pixels along
# each axis that are looked at; percentiles.
EXCESS, SAMPLED_PX, OUTLIERS = 0.25, 256, (0.1, 99.9)
# What places a layer in the world.
PLACEMENT = (
    "scale",
    "translate",
    "rotate",
    "shear",
    "affine",
    "units",
    "axis_labels",
)


def placement_of(layer: Image) -> dict[str, Any]:
    """Arguments of a layer of the same pixels that lies exactly on this one."""
    return {key: getattr(layer, key) for key in PLACEMENT}


def result_kwargs(
    layer: Image,
    axes: str,
    selection: Selection,
    factors: Sequence[float],
    recipe: Mapping[str, Any],
    preset: str = "",
) -> dict[str, Any]:
    """Arguments of ``viewer.add_image`` that lay a result exactly on its layer.

    `selection` is the part that was enlarged by `factors` along (Y, X) or (Z, Y, X);
    `preset` stands in the name.
    """
    *along_z, y, x = factors
    by_axis = np.array(factor_per_axis(axes[: layer.ndim], factors))
    # Centre of the first fine pixel, in pixels of the layer.
    first = selection.starts(axes)[: layer.ndim] + (1 - by_axis) / (2 * by_axis)
    to_world = CompositeAffine(
        layer.scale,
        layer.translate,
        rotate=layer.rotate,
        shear=layer.shear,
        ndim=layer.ndim,
    )
    copied = _COPIED if layer.rgb else _COPIED | _COPIED_GREY
    credit = {k: v for k, v in layer.metadata.items() if k in (ATTRIBUTION, CHANNELS)}
    return {key: getattr(layer, key) for key in copied} | {
        "name": result_name(layer.name, factors_text((y, x), *along_z), preset),
        "rgb": layer.rgb,
        "multiscale": False,
        "scale": np.asarray(layer.scale) / by_axis,
        "translate": to_world(first),
        "rotate": np.array(layer.rotate),
        "shear": np.array(layer.shear),
        "affine": np.array(layer.affine.affine_matrix),
        "units": layer.units,
        "axis_labels": layer.axis_labels,
        "metadata": credit | {KEY: dict(recipe)},
    }


def result_name(name: str, factors: str, preset: str = "") -> str:
    """``cells x2 z3 fast``."""
    return f"{name} {factors.replace('_', ' ')} {preset}".rstrip()


def match_contrast(layer: Image, result: Image) -> None:
    """Let a result be shown as its layer is, but not overexposed by what it gained.

    Where brightness left the layer's contrast limits only in the result, and by more
    than `EXCESS` of their width, the result has limits of its own.
    """
    if layer.rgb:
        return
    wide = result.contrast_limits_range = layer.contrast_limits_range
    before, after = _brightness(layer), _brightness(result)
    if before is None or after is None:
        return
    low, high = layer.contrast_limits
    room = EXCESS * (high - low)
    darker = after[0] < low - room <= before[0]
    if darker or after[1] > high + room >= before[1]:
        own = min(low, after[0]), max(high, after[1])
        result.contrast_limits_range = min(wide[0], own[0]), max(wide[1], own[1])
        result.contrast_limits = own


def _brightness(layer: Image) -> tuple[float, float] | None:
    """Range of all but the brightest and darkest pixels of the middle plane.

    None where they are still in a file: to read them would freeze the window.
    """
    pixels = layer.data[-1] if layer.multiscale else layer.data
    if not (isinstance(pixels, np.ndarray) or layer.multiscale):
        return None
    plane: Any = pixels[tuple(n // 2 for n in pixels.shape[:-2])]
    step = tuple(slice(None, None, max(1, n // SAMPLED_PX)) for n in plane.shape)
    sample = np.asarray(plane[step], dtype=np.float64)
    finite = sample[np.isfinite(sample)]
    if not finite.size:
        return None
    low, high = np.percentile(finite, OUTLIERS)
    return float(low), float(high)


def _letters(names: Sequence[Any]) -> str:
    """One letter for each axis name; samples are no axis of a layer."""
    return axis_letters(names).replace("S", "?")


def _axes_in_metadata(layer: Image) -> list[str]:
    """Letters left by one of our recipes or by a reader, without samples."""
    source = layer_recipe(layer).get("input")
    own = source.get("axes") if isinstance(source, Mapping) else None
    return [
        _letters(axes.upper().replace("S", ""))
        for axes in (own, layer.metadata.get("axes"))
        if isinstance(axes, str)
    ]
