"""A request as Python code or as a command that reproduces its result elsewhere."""

from __future__ import annotations

import dataclasses
import shlex
from typing import Any

import numpy as np

from napari_zssr.config import PRESETS, Config, change
from napari_zssr.errors import InputError
from napari_zssr.kernelspec import KernelSpec
from napari_zssr.plugin.layers.layers import (
    image_index,
    layer_axes,
    layer_channels,
    layer_file,
    layer_spacing,
    level0,
    result_kwargs,
)
from napari_zssr.plugin.request import Request
from napari_zssr.stack.axial_factor import needs_slice_distance

# Kernels that are given in micrometres.
NEED_PIXEL_SIZE = ("optics", "psf")
# Attributes of `Optics` and the attributes of `Channel` that they default to.
OPTICS_METADATA = {
    "na": "na",
    "wavelength_nm": "emission_nm",
    "excitation_nm": "excitation_nm",
    "index": "index",
    "modality": "modality",
}
TRANSFORM = ("scale", "translate", "rotate", "shear", "affine")
OPTIONS = {"gradual", "back_projection", "start", "steps", "seed", "kernel"}
OPTIONS |= {
    "factor_z",
    "kernel_z",
    "learned_steps",
    "device",
    "precision",
    "noise",
    "tile_px",
    "strategy",
}
FLAGS = {
    ("ensemble", True): "--ensemble",
    ("ensemble", False): "--no-ensemble",
    ("always", True): "--always",
    ("nonfinite", "fill"): "--fill-nonfinite",
}


def as_python(request: Request) -> str:
    """Code for napari's console that computes and shows the same result."""
    layer, config = request.layer, request.config
    data = "layer.data[0]" if layer.multiscale else "layer.data"
    changes = _changes(_with_channel_optics(request))
    given = [repr(config.preset), f"axes={request.axes!r}"]
    given += [f"{name}={_code(value)}" for name, value in changes.items()]
    sizes = _pixel_sizes(request)
    if sizes and (request.target is not None or _needs_pixel_size(config)):
        given.append(f"spacing={sizes}")
    if request.target is None:
        function = "upscale"
        run = [
            f"larger = upscale(image, {', '.join(given)})",
            f"viewer.add_image(larger, {_layer_arguments(request)})",
        ]
    else:
        function = "upscale_to_disk"
        given += ["overwrite=True"] if request.overwrite else []
        run = [f"upscale_to_disk(image, {str(request.target)!r}, {', '.join(given)})"]
    kernel = "KernelSpec, " if isinstance(changes.get("kernel"), KernelSpec) else ""
    return "\n".join(
        [
            f"from napari_zssr import {kernel}{function}",
            "",
            f"layer = viewer.layers[{layer.name!r}]",
            f"image = {data}{_index_code(request)}",
            *run,
            "",
        ]
    )


def as_command(request: Request) -> str:
    """Command line that writes the same result to a file.

    Raises InputError if the layer comes from no file, or only a part is selected.
    """
    layer, config = request.layer, request.config
    file = layer_file(layer)
    if file is None:
        raise InputError(
            f"Layer {layer.name!r} was not read from a file; save it and open it again "
            "to get a command."
        )
    if request.selection.ranges:
        raise InputError(
            "The command enlarges whole files; choose all slices, channels and the "
            "whole plane."
        )
    words = ["napari-zssr", "upscale", str(file)]
    words += ["--preset", config.preset, *_options(config)]
    if request.target is not None:
        words += ["-o", str(request.target)]
        words += ["--overwrite"] if request.overwrite else []
    if _needs_pixel_size(config):
        # The pixel size may be that of the layer alone.
        sizes = _pixel_sizes(request).items()
        words += ["--spacing", ",".join(f"{letter}={size:g}" for letter, size in sizes)]
    index = image_index(layer)
    if index is not None:
        words += ["--image", str(index)]
    if layer_axes(layer)[0] != request.axes:
        words += ["--axes", request.axes]
    return shlex.join(words)


def _needs_pixel_size(config: Config) -> bool:
    """Whether the result depends on the pixel size."""
    return needs_slice_distance(config) or config.kernel.kind in NEED_PIXEL_SIZE


def _pixel_sizes(request: Request) -> dict[str, float]:
    """Pixel sizes by axis letter, in um, or s along T, where they are known."""
    sizes, units = layer_spacing(request.layer, request.axes)
    return {
        letter: size
        for letter, size in sizes.items()
        if units[letter] == ("s" if letter == "T" else "um")
    }


def _with_channel_optics(request: Request) -> Config:
    """Settings with the optics of the layer's metadata, which an array lacks."""
    config, optics = request.config, request.config.kernel.optics
    if optics is None:
        return config
    channels = layer_channels(request.layer)
    known: dict[str, Any] = {}
    for name, attribute in OPTICS_METADATA.items():
        values = {getattr(channel, attribute) or None for channel in channels}
        if getattr(optics, name) is None and len(values) == 1:
            known[name] = values.pop()
    optics = dataclasses.replace(optics, **known)
    kernel = dataclasses.replace(config.kernel, optics=optics)
    return change(config, kernel=kernel)


def _changes(config: Config) -> dict[str, Any]:
    """The factor and the settings that differ from the preset's."""
    preset = PRESETS.get(config.preset, Config())
    y, x = config.factors
    changes: dict[str, Any] = {"factor": y if y == x else (y, x)}
    for name in (field.name for field in dataclasses.fields(config)):
        value = getattr(config, name)
        if name not in ("factor", "preset") and value != getattr(preset, name):
            changes[name] = value
    if "kernel" in changes:
        changes["kernel"] = _kernel_text(config.kernel)
    return changes


def _kernel_text(kernel: KernelSpec) -> str | KernelSpec:
    """Text that `KernelSpec.parse` takes, or the kernel itself if there is none."""
    if kernel.optics is not None and kernel.kind != "optics":
        # The optics are those of the blur along Z.
        return kernel
    if kernel.kind == "gaussian":
        y, x = kernel.sigma_px
        return f"gaussian:{y:g},{x:g},{kernel.angle_deg:g}"
    if kernel.kind == "file":
        return kernel.path
    if kernel.optics is not None:
        return kernel.optics.text
    return kernel.kind if kernel.array is None else kernel


def _code(value: Any) -> str:
    """Python code of a setting."""
    if isinstance(value, KernelSpec):
        return f"KernelSpec.from_dict({value.to_dict()})"
    return repr(value)


def _options(config: Config) -> list[str]:
    """Options for the factor and for what differs from the preset.

    Raises InputError if a setting has no option.
    """
    y, x = config.factors
    words = ["--factor", f"{y:g}" if y == x else f"{y:g},{x:g}"]
    changes = _changes(config)
    changes.pop("factor")
    for name, value in changes.items():
        if isinstance(value, KernelSpec):
            raise InputError(
                "This blur cannot be given on the command line; copy as Python."
            )
        if name in OPTIONS:
            words += [f"--{name.replace('_', '-')}", str(value)]
        elif (name, value) in FLAGS:
            words.append(FLAGS[name, value])
        else:
            raise InputError(
                f"The command line has no option for {name} as it is set; copy as "
                "Python."
            )
    return words


def _index_code(request: Request) -> str:
    """The selected part as an index, ``[0:3, :, :]``; empty for the whole layer."""
    if not request.selection.ranges:
        return ""
    shape = level0(request.layer).shape
    slices = request.selection.slices(request.axes, shape)
    parts = [
        ":" if (part.start, part.stop) == (0, size) else f"{part.start}:{part.stop}"
        for part, size in zip(slices, shape, strict=True)
    ]
    return f"[{', '.join(parts)}]"


def _layer_arguments(request: Request) -> str:
    """Name, transform and colours of the result, as arguments of ``add_image``."""
    layer, part = request.layer, request.selection
    kwargs = result_kwargs(
        layer, request.axes, part, request.factors, {}, request.config.preset
    )
    ndim = layer.ndim
    defaults = {
        "rotate": np.eye(ndim),
        "shear": np.zeros(ndim * (ndim - 1) // 2),
        "affine": np.eye(ndim + 1),
    }
    words = [f"name={kwargs['name']!r}"]
    for key in TRANSFORM:
        value = np.asarray(kwargs[key])
        if key not in defaults or not np.allclose(value, defaults[key]):
            words.append(f"{key}={value.tolist()}")
    if layer.rgb:
        words.append("rgb=True")
    else:
        limits = [float(limit) for limit in layer.contrast_limits]
        words += [f"colormap={layer.colormap.name!r}", f"contrast_limits={limits}"]
    units = [str(unit) for unit in layer.units]
    return ", ".join([*words, f"units={units}"])
