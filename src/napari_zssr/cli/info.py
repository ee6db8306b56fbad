"""``napari-zssr info`` and ``doctor``: a file, what enlarging it takes, the machine."""

from __future__ import annotations

import platform
import sys
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

import typer

from napari_zssr.checks import size_text
from napari_zssr.cli import console, options
from napari_zssr.cli.enlarge import read_image
from napari_zssr.cli.kernel import DEFAULT_BLUR, Blur, with_blur_options
from napari_zssr.units import bytes_text, duration_text

if TYPE_CHECKING:
    from napari_zssr.config import Config
    from napari_zssr.stack.image import ImageStack


@with_blur_options
@options.with_reading_options
def info(
    path: options.Input,
    factor: options.Factor = None,
    factor_z: options.FactorZ = None,
    kernel_z: options.KernelZ = None,
    preset: options.Preset = "balanced",
    blur: Blur = DEFAULT_BLUR,
    noise: options.Noise = None,
    start: options.Start = None,
    steps: options.TrainingSteps = None,
    learned_steps: options.LearnedSteps = None,
    device: options.Device = None,
    reading: options.Reading = options.DEFAULT_READING,
    json: options.Json = False,
) -> None:
    """Show axes, pixel size and noise of an image, and what enlarging it needs."""
    from napari_zssr.io.contents import ALL
    from napari_zssr.io.read import list_images

    config = options.settings(
        preset,
        factor,
        factor_z=factor_z,
        kernel_z=kernel_z,
        kernel=blur.spec(),
        noise=noise,
        start=start,
        steps=steps,
        learned_steps=learned_steps,
        device=device,
    )
    entries = list_images(path)
    show_all = reading.image == ALL
    images = [entry.index for entry in entries] if show_all else [reading.image]
    contents = []
    for image in images:
        stack = read_image(path, reading, image=image, quiet=json, lazy=True)
        content = summary(stack, config)
        contents.append(content | {"images": list(map(asdict, entries))})
        if not json:
            typer.echo(console.table(_lines(stack, content)))
    if json:
        console.echo_json(contents if show_all else contents[0])
    elif len(entries) > 1:
        rows = [(str(e.index), e.name, e.axes, e.size, e.dtype) for e in entries]
        typer.echo(console.table([("index", "name", "axes", "shape", "dtype"), *rows]))


def summary(stack: ImageStack, config: Config) -> dict[str, Any]:
    """Metadata of an image and the plan for it, JSON-serialisable."""
    from napari_zssr.progress import drain
    from napari_zssr.stack.axial_factor import axial_factor
    from napari_zssr.stack.channels import channel_starts, kernels_of
    from napari_zssr.stack.noise_estimate import noise_estimate_steps
    from napari_zssr.stack.prepare import expected_dtype, make_plan
    from napari_zssr.zssr.device import device_name
    from napari_zssr.zssr.training_plan import start_messages

    starts = channel_starts(config, stack.axes, stack.data.shape)
    dtype = expected_dtype(stack, config)
    factor_z = axial_factor(config, stack)
    noise_estimates = drain(noise_estimate_steps(stack, config))
    plan = make_plan(
        stack,
        config,
        starts,
        noise_estimates=noise_estimates,
        output_dtype=dtype,
        factor_z=factor_z,
    )
    messages = start_messages(config, starts, factor_z)
    has_blur = config.kernel.kind != "bicubic" and config.restores_planes
    return {
        "name": stack.name,
        "image_index": stack.image_index,
        "image_name": stack.image_name,
        "messages": stack.messages,
        "axes": stack.axes,
        "axes_guessed": stack.guessed,
        "shape": stack.data.shape,
        "dtype": str(stack.data.dtype),
        "spacing": stack.spacing,
        "units": stack.units,
        "channels": [channel.name for channel in stack.channels],
        "noise": noise_levels(stack),
        "kernels": [k.to_dict() for k in kernels_of(stack, config)] if has_blur else [],
        "preset": config.preset,
        "start": config.start,
        "starts": messages if any(messages) else [],
        "factor": config.factors,
        "factor_z": factor_z,
        "blurs_z": [] if factor_z is None else axial_blurs(stack, config, factor_z),
        "output_shape": plan.output_shape,
        "output_axes": plan.output_axes,
        "output_dtype": str(plan.output_dtype),
        "output_bytes": plan.output_bytes,
        "planes": plan.planes,
        "memory_bytes": plan.memory_bytes,
        "seconds": plan.seconds,
        "device": plan.device,
        "device_name": device_name(plan.device),
        "precision": plan.precision,
    }


def axial_blurs(stack: ImageStack, config: Config, factor: float) -> list[str]:
    """Sentence on the blur of each channel along Z."""
    from napari_zssr.stack.axial_channel import channel_blur
    from napari_zssr.stack.axial_run import prepare_axial

    ready = prepare_axial(stack, config, factor)
    blurs = (channel_blur(ready, channel) for channel in sorted(ready.maps))
    return [
        f"{blur.sentence} This is an SD of {blur.width:.2f} slices."
        if blur.known
        else blur.sentence
        for blur in blurs
    ]


def noise_levels(stack: ImageStack) -> list[float | None]:
    """Noise of each channel at its mean signal, as a fraction of the range.

    Estimated on the middle plane of each channel; None for a plane without contrast or
    with NaN or Inf.
    """
    from napari_zssr.stack.image import plane_axes, planes

    by_channel: dict[int, list[tuple[int | slice, ...]]] = {}
    for plane in planes(stack.axes, stack.data.shape):
        by_channel.setdefault(plane.channel, []).append(plane.index)
    middle = (indices[len(indices) // 2] for indices in by_channel.values())
    return [_noise(stack.data[index], plane_axes(stack.axes)) for index in middle]


def _noise(plane: Any, axes: str) -> float | None:
    import numpy as np

    from napari_zssr.imaging.noise import estimate_noise
    from napari_zssr.stack.image import to_cyx

    grey = to_cyx(plane, axes)[:3].astype(np.float32).mean(axis=0)
    low, high = np.percentile(grey, (0.1, 99.9))
    if not np.isfinite(grey).all() or high <= low:
        return None
    normal = (grey - low) / (high - low)
    return estimate_noise(normal).level(normal)


def _lines(stack: ImageStack, content: dict[str, Any]) -> list[tuple[str, str]]:
    from napari_zssr.stack.image import outline_of

    shape = size_text(content["output_shape"])
    planned = f"{content['output_axes']} {shape} {content['output_dtype']}"
    names = content["channels"] or [""] * len(content["noise"])
    noise = [
        f"{name} {_percent(level)}".strip()
        for name, level in zip(names, content["noise"], strict=False)
    ]
    count = content["planes"]
    sentences = [kernel["sentence"] for kernel in content["kernels"]]
    blur = console.by_channel(sentences, names)
    blurs_z = console.by_channel(content["blurs_z"], names)
    starts = console.by_channel(content["starts"], names)
    return [
        *([("name", stack.name)] if stack.image_index is not None else []),
        ("image", outline_of(stack).text),
        ("axes", f"{stack.axes}{', guessed' if stack.guessed else ''}"),
        ("noise", ", ".join(noise)),
        *((f"blur {name}".strip(), sentence) for name, sentence in blur),
        *((f"along Z {name}".strip(), sentence) for name, sentence in blurs_z),
        *((f"start {name}".strip(), sentence) for name, sentence in starts),
        ("result", f"{planned}, {bytes_text(content['output_bytes'])}"),
        ("preset", f"{content['preset']}, {count} plane{'s' * (count != 1)}"),
        ("device", f"{content['device_name']}, {content['precision']}"),
        ("memory", f"about {bytes_text(content['memory_bytes'])}"),
        ("time", f"about {duration_text(content['seconds'])}"),
    ]


def _percent(level: float | None) -> str:
    return "unknown" if level is None else f"{100 * level:.2g} % of the intensity range"


PACKAGES = ("napari-zssr", "torch", "numpy", "scipy", "tifffile", "zarr", "napari")


def doctor(json: options.Json = False) -> None:
    """Check Python, PyTorch and graphics card, and show how to fix problems."""
    content = diagnostics()
    if json:
        console.echo_json(content)
    else:
        typer.echo(console.table(_doctor_lines(content)))
        typer.echo(_conclusion(content))
    if content["problem"]:
        raise typer.Exit(1)


def diagnostics() -> dict[str, Any]:
    """Versions, devices and advice, JSON-serialisable."""
    content: dict[str, Any] = {
        "python": f"{platform.python_version()} ({sys.executable})",
        "system": platform.platform(),
        "packages": {name: _version(name) for name in PACKAGES},
        "problem": "",
        "devices": [],
        "gpus": [],
        "advice": None,
    }
    try:
        import torch
    except (ImportError, OSError) as error:
        reason = " ".join(str(error).split())[:200]
        content["problem"] = f"PyTorch cannot be imported ({reason}); install it again."
        return content
    from napari_zssr.zssr.device import examine_machine

    machine = examine_machine(every=True)
    failed = [
        f"{d.device} does not work: {d.failure}" for d in machine.devices if d.failure
    ]
    advice = machine.advice
    return content | {
        "torch_cuda": torch.version.cuda,
        "devices": [asdict(device) for device in machine.devices],
        "gpus": [gpu.name for gpu in machine.gpus],
        "advice": None if advice is None else asdict(advice),
        "problem": " ".join(failed) if advice is None else advice.sentence,
    }


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _doctor_lines(content: dict[str, Any]) -> list[tuple[str, str]]:
    lines = [("python", content["python"]), ("system", content["system"])]
    lines += [(k, v or "not installed") for k, v in content["packages"].items()]
    for device in content["devices"]:
        state = device["failure"] or (
            f"{bytes_text(device['free_bytes'])} free, "
            f"{'fast' if device['bfloat16'] else 'no fast'} bfloat16"
        )
        lines.append((device["device"], f"{device['description']}, {state}"))
    return lines


def _conclusion(content: dict[str, Any]) -> str:
    if content["advice"] is not None:
        commands = (f"  {line}" for line in content["advice"]["commands"])
        return "\n".join([content["problem"], *commands])
    if content["problem"]:
        return str(content["problem"])
    return f"All is well; images are computed on {content['devices'][0]['device']}."
