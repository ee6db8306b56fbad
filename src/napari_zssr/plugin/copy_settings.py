"""What the form asks for, as text that does the same elsewhere."""

from __future__ import annotations

import dataclasses
import shlex
from typing import Any

import numpy as np

from napari_zssr.config import PRESETS, Config
from napari_zssr.errors import InputError
from napari_zssr.kernelspec import KernelSpec
from napari_zssr.plugin.layers.layers import (
    image_index,
    layer_axes,
    layer_channels,
    layer_file,
    layer_spacing,
    result_kwargs,
)
from napari_zssr.plugin.layers.selection import level0
from napari_zssr.plugin.request import Request

# Blurs that are told in micrometres, and their names among what a file tells.
NEED_SIZES = ("optics", "psf")
TOLD = {
    "na": "na",
    "wavelength_nm": "emission_nm",
    "excitation_nm": "excitation_nm",
    "index": "index",
    "modality": "modality",
}
PLACE = ("scale", "translate", "rotate", "shear", "affine")
AS_OPTION: tuple[str, ...] = ("gradual", "back_projection", "start", "steps", "seed")
AS_OPTION += ("learned_steps", "device", "precision", "noise", "tile_px", "strategy")


def as_python(request: Request) -> str:
    """Lines for napari's console that make and show the same result."""
    layer, config = request.layer, request.config
    data = "layer.data[0]" if layer.multiscale else "layer.data"
    changes = _changes(_as_told(request), python=True)
    given = "".join(f", {k}={v}" for k, v in changes.items())
    given = f"{config.preset!r}, axes={request.axes!r}{given}"
    kernel = "KernelSpec, " if "KernelSpec" in given else ""
    if request.target is None:
        name = "upscale"
        sizes = _sizes(request) if config.kernel.kind in NEED_SIZES else ""
        run = [
            f"larger = upscale(image, {given}{sizes})",
            f"viewer.add_image(larger, {_placed(request)})",
        ]
    else:
        name = "upscale_to_disk"
        run = [
            f"upscale_to_disk(image, {str(request.target)!r}, {given}{_how(request)})"
        ]
    return "\n".join(
        [
            f"from napari_zssr import {kernel}{name}",
            "",
            f"layer = viewer.layers[{layer.name!r}]",
            f"image = {data}{_indexed(request)}",
            *run,
            "",
        ]
    )


def as_command(request: Request) -> str:
    """Line for a terminal that makes the same result as a file.

    Raises
    ------
    InputError
        The layer comes from no file, or only a part of it is asked for.
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
    if config.kernel.kind in NEED_SIZES:
        # The file may not tell what was given to the layer.
        words += ["--spacing", ",".join(f"{a}={n:g}" for a, n in _known(request))]
    index = image_index(layer)
    if index is not None:
        words += ["--image", str(index)]
    if layer_axes(layer)[0] != request.axes:
        words += ["--axes", request.axes]
    return shlex.join(words)


def _how(request: Request) -> str:
    """What a file cannot know from an array: pixel sizes, and whether it may go."""
    told = _sizes(request)
    return f"{told}, overwrite=True" if request.overwrite else told


def _sizes(request: Request) -> str:
    known = dict(_known(request))
    return f", spacing={known}" if known else ""


def _known(request: Request) -> list[tuple[str, float]]:
    sizes, units = layer_spacing(request.layer, request.axes)
    wanted = {letter: "s" if letter == "T" else "um" for letter in sizes}
    return [(a, size) for a, size in sizes.items() if units[a] == wanted[a]]


def _as_told(request: Request) -> Config:
    """Settings with the optics that the layer tells, which its pixels alone do not."""
    config, optics = request.config, request.config.kernel.optics
    if optics is None:
        return config
    channels = layer_channels(request.layer)
    for name, told in TOLD.items():
        values = {getattr(channel, told) or None for channel in channels}
        if getattr(optics, name) is None and len(values) == 1:
            known: dict[str, Any] = {name: values.pop()}
            optics = dataclasses.replace(optics, **known)
    kernel = dataclasses.replace(config.kernel, optics=optics)
    return dataclasses.replace(config, kernel=kernel)


def _changes(config: Config, *, python: bool) -> dict[str, str]:
    """Settings that differ from the preset's, as text."""
    preset = PRESETS.get(config.preset, Config())
    found = {}
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if field.name == "factor" or value != getattr(preset, field.name):
            found[field.name] = _kernel(value) if field.name == "kernel" else value
    found.pop("preset", None)
    y, x = config.factors
    found["factor"] = y if y == x else (y, x)
    return {k: repr(v) if python else str(v) for k, v in found.items()}


def _kernel(kernel: KernelSpec) -> Any:
    """Text of a kernel, or what makes it from plain data."""
    if kernel.kind == "gaussian":
        y, x = kernel.sigma_px
        return f"gaussian:{y:g},{x:g},{kernel.angle_deg:g}"
    if kernel.kind == "file":
        return kernel.path
    if kernel.optics is not None:
        return kernel.optics.text
    return _Made(kernel) if kernel.array is not None else kernel.kind


class _Made:
    """A kernel whose text makes it again."""

    def __init__(self, kernel: KernelSpec) -> None:
        self._content = kernel.to_dict()

    def __repr__(self) -> str:
        return f"KernelSpec.from_dict({self._content})"


def _options(config: Config) -> list[str]:
    """Options of the command line for what differs from the preset.

    Raises
    ------
    InputError
        A setting has no option.
    """
    given = _changes(config, python=False)
    y, x = config.factors
    words = ["--factor", f"{y:g}" if y == x else f"{y:g},{x:g}"]
    given.pop("factor")
    for name, text in given.items():
        option = "--" + name.replace("_", "-")
        if name in AS_OPTION or (
            name == "kernel" and not text.startswith("KernelSpec")
        ):
            words += [option, text]
        elif name == "ensemble":
            words.append("--ensemble" if config.ensemble else "--no-ensemble")
        elif name == "always":
            words.append("--always")
        elif name == "nonfinite":
            words.append("--fill-nonfinite")
        elif name == "kernel":
            raise InputError(
                "The command line has no option for a blur that was measured or found "
                "here; copy as Python."
            )
        else:
            raise InputError(
                f"The command line has no option for {name} as it is set; copy as "
                "Python."
            )
    return words


def _indexed(request: Request) -> str:
    if not request.selection.ranges:
        return ""
    shape = level0(request.layer).shape
    parts = [
        ":" if (part.start, part.stop) == (0, size) else f"{part.start}:{part.stop}"
        for part, size in zip(
            request.selection.slices(request.axes, shape), shape, strict=True
        )
    ]
    return f"[{', '.join(parts)}]"


def _placed(request: Request) -> str:
    """Name, place and colours of the result, as arguments."""
    layer, config = request.layer, request.config
    found = result_kwargs(layer, request.axes, request.selection, config.factors, {})
    ndim = layer.ndim
    usual = {
        "rotate": np.eye(ndim),
        "shear": np.zeros(ndim * (ndim - 1) // 2),
        "affine": np.eye(ndim + 1),
    }
    words = [f"name={found['name']!r}"]
    for key in PLACE:
        value = np.asarray(found[key])
        if key not in usual or not np.allclose(value, usual[key]):
            words.append(f"{key}={value.tolist()}")
    if layer.rgb:
        words.append("rgb=True")
    else:
        limits = [float(limit) for limit in layer.contrast_limits]
        words += [f"colormap={layer.colormap.name!r}", f"contrast_limits={limits}"]
    units = [str(unit) for unit in layer.units]
    return ", ".join([*words, f"units={units}"])
