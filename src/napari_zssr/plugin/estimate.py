"""What a run will cost, in words. Without Qt and without torch."""

from __future__ import annotations

import math
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_zssr.config import Config
from napari_zssr.errors import ComputeError, InputError
from napari_zssr.kernelspec import KernelSpec
from napari_zssr.plugin.controls import in_words
from napari_zssr.stack.resources import GROUND_BYTES, RunPlan, plan_run
from napari_zssr.zssr.cost import Rates, expected_seconds
from napari_zssr.zssr.device import Advice, DeviceReport, Machine
from napari_zssr.zssr.start import Starts

if TYPE_CHECKING:
    pass

SAMPLES = {1: "grey", 2: "grey with alpha", 3: "RGB", 4: "RGBA"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What is to be enlarged, and how.

    Attributes
    ----------
    config : Config
    shape : tuple of int
        Size of the part that is enlarged, along each axis.
    dtype : dtype
    axes : str
    starts : sequence of (Checkpoint, PretrainedStart or None)
        What training of each channel starts from.
    target : Path, optional
        File that the result is written to.
    """

    config: Config
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    axes: str
    starts: Starts = ()
    target: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """What the cost card says.

    Attributes
    ----------
    rows : tuple of (str, str)
        What it is and how much of it.
    problem : str
        Why it cannot run, and the way out; or empty.
    """

    rows: tuple[tuple[str, str], ...] = ()
    problem: str = ""


def estimate(
    wish: Wish, machine: Machine | None, rates: Rates | str | None
) -> Estimate:
    """Say what a run will cost.

    Parameters
    ----------
    wish : Wish
    machine : Machine, optional
        None while it is still looked at: only the result is described then.
    rates : Rates or str, optional
        Measured for this wish; a text says why they are not known, None that they are
        being measured.
    """
    result = ("Result", result_words(planned(wish)))
    if machine is None:
        return Estimate(rows=(result, ("Device", "looking at it")))
    try:
        device = machine.chosen(wish.config.device)
        if device.failure:
            return Estimate(rows=(result,), problem=_failing(device))
        plan = planned(wish, device, machine)
    except (InputError, ComputeError) as error:
        problem = f"{str(error).removesuffix('.')}{_way_out(wish, machine)}."
        return Estimate(rows=(result,), problem=problem)
    disk = () if wish.target is None else (("Disk", disk_words(plan, wish.target)),)
    return Estimate(
        rows=(
            result,
            ("Memory", memory_words(plan, machine)),
            *disk,
            ("Time", time_words(wish, plan, rates)),
            ("Device", device_words(device)),
        ),
        problem=too_large(wish, plan, machine),
    )


def planned(
    wish: Wish, device: DeviceReport | None = None, machine: Machine | None = None
) -> RunPlan:
    """Plan for a wish; without a device one that looks at no memory.

    Raises
    ------
    ComputeError
        The image and its result alone are more than the free memory.
    """
    to_disk = wish.target is not None
    if device is None or machine is None:
        return plan_run(
            wish.config,
            wish.shape,
            wish.dtype,
            wish.axes,
            starts=wish.starts,
            to_disk=to_disk,
        )
    return plan_run(
        wish.config,
        wish.shape,
        wish.dtype,
        wish.axes,
        starts=wish.starts,
        device=device.device,
        free_bytes=device.free_bytes,
        cores=machine.cores,
        bfloat16=device.bfloat16,
        to_disk=to_disk,
    )


def result_words(plan: RunPlan) -> str:
    """Shape, type and size: ``Z 40 x Y 1024 x X 1024, uint16, 84 MB``."""
    sizes = sizes_words(plan.output_axes, plan.output_shape)
    return f"{sizes}, {plan.output_dtype}, {in_bytes(plan.output_bytes)}"


def sizes_words(axes: str, shape: Sequence[int]) -> str:
    """Sizes by their axes: ``C 2 x Y 512 x X 512 x RGB``."""
    return " x ".join(
        SAMPLES.get(size, f"S {size}") if letter == "S" else f"{letter} {size}"
        for letter, size in zip(axes, shape, strict=True)
    )


def memory_words(plan: RunPlan, machine: Machine) -> str:
    """What is needed in main memory beside what is free."""
    free = machine.free_bytes
    told = "" if free is None else f", {in_bytes(free)} free"
    return f"about {in_bytes(plan.memory_bytes)} needed{told}"


def disk_words(plan: RunPlan, target: Path) -> str:
    """What is needed on disk beside what is free in the folder."""
    zarr = target.suffix.lower() == ".zarr"
    # A pyramid is a third more; a TIFF is put together from a finished Zarr.
    needed = plan.output_bytes * (4 / 3 if zarr else 2) + plan.scratch_bytes
    free = free_on_disk(target.parent)
    told = f"up to {in_bytes(needed)} needed"
    if free is None:
        return told
    little = "only " if free < needed else ""
    return f"{told}, {little}{in_bytes(free)} free in {target.parent}"


def free_on_disk(folder: Path) -> int | None:
    """Free bytes; None where the folder is not there."""
    try:
        return shutil.disk_usage(folder).free
    except OSError:
        return None


def time_words(wish: Wish, plan: RunPlan, rates: Rates | str | None) -> str:
    """Expected time, and how it is known."""
    if isinstance(rates, Rates):
        seconds = expected_seconds(
            wish.config, wish.starts, wish.shape, wish.axes, rates
        )
        return f"about {in_words(seconds)}, measured on this device"
    if rates is None:
        return "being measured on this device"
    return f"perhaps {in_words(plan.seconds)} (not measured: {rates})"


def device_words(device: DeviceReport) -> str:
    """Name of a device and its free memory."""
    name = f"{device.device}: {device.description}"
    if device.device == "cpu" or device.free_bytes is None:
        return name
    return f"{name}, {in_bytes(device.free_bytes)} free"


def too_large(wish: Wish, plan: RunPlan, machine: Machine) -> str:
    """Why it will not fit into main memory and what to do, or an empty text."""
    free, needed = machine.free_bytes, plan.memory_bytes
    if plan.device != "cpu":
        # The rest is needed on the device, where tiles shrink until they fit.
        held = math.prod(wish.shape) * wish.dtype.itemsize + plan.output_bytes
        at_once = 1 if wish.target is None else plan.planes
        needed = GROUND_BYTES + held // at_once
    if free is None or needed <= free:
        return ""
    fewer = "the current slice, " if plan.planes > 1 and wish.target is None else ""
    return (
        f"This will not fit: about {in_bytes(needed)} of memory are needed and "
        f"{in_bytes(free)} are free. Choose {fewer}a part of the plane or a smaller "
        f"factor, or close other programs{_way_out(wish, machine)}."
    )


def advice_words(advice: Advice) -> str:
    """What keeps torch from the GPU; the commands stand apart."""
    if not advice.commands:
        return advice.sentence
    return (
        f"{advice.sentence.removesuffix('.')}, in a terminal, and start napari again. "
        "Until then runs go to the processor, many times slower."
    )


def calibration_key(wish: Wish, plan: RunPlan) -> tuple[Any, ...]:
    """What decides how fast things go; the same key, the same rates."""
    samples = wish.shape[wish.axes.index("S")] if "S" in wish.axes else 1
    # A number of steps, or of factors on the way, changes nothing in each of them.
    alike = replace(wish.config, start="random", steps=1, gradual=1)
    alike = replace(alike, seed=0, noise="off", always=False)
    if alike.kernel.kind != "bicubic":
        # How wide it is changes little, and a preview needs the processor.
        alike = replace(alike, kernel=KernelSpec.parse("gaussian:1"))
    return (alike, wish.starts, plan.device, plan.precision, samples)


def in_bytes(count: float) -> str:
    """Bytes in words: ``1.2 GB``."""
    for unit in ("B", "kB", "MB"):
        if count < 999.5:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} GB"


def _way_out(wish: Wish, machine: Machine) -> str:
    """Names a file for the result, where that would help."""
    if wish.target is not None:
        return ""
    to_disk = replace(wish, target=Path())
    try:
        plan = planned(to_disk, machine.chosen(wish.config.device), machine)
    except (InputError, ComputeError):
        return ""
    fits = not too_large(to_disk, plan, machine)
    return "; or choose Result: to disk" if fits else ""


def _failing(device: DeviceReport) -> str:
    return (
        f"Device {device.device} ({device.description}) fails: {device.failure}. "
        "Choose cpu under Advanced, or let `napari-zssr doctor` say how to mend it."
    )
