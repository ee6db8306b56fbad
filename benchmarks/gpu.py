"""``python -m benchmarks.gpu``: the first run on a card, checks before times.

Every check compares the device with the processor or with itself; the table of times
follows. Takes some minutes, and exits with 1 where a check fails.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any
from unittest import mock

import numpy as np
import typer
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from benchmarks.table import Cell, Table
from napari_zssr import read, upscale, upscale_to_disk
from napari_zssr.config import Config, change, preset
from napari_zssr.progress import drain
from napari_zssr.stack.axis_labels import labelled
from napari_zssr.stack.channels import channel_starts
from napari_zssr.stack.prepare import make_plan
from napari_zssr.stack.run import upscale_steps
from napari_zssr.zssr import networks, predict
from napari_zssr.zssr.device import description, release_memory, resolve_device

PRESETS = ("instant", "fast", "balanced")
# Largest difference from the processor, as a fraction of the range: what is learned
# drifts apart by rounding, the more so in bfloat16.
LIMITS = {"float32": 0.01, "bfloat16": 0.05}
SIDE_PX, NOISE = 256, 0.02
# What may be left on a card after a run: matrices of resampling.
LEFT_BYTES = 300_000_000
SIZES = ((512, 512), (2048, 2048), (64, 1024, 1024))


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that has to hold: what was found, and whether it is right."""

    name: str
    found: str
    passed: bool


def scene(shape: tuple[int, ...], noise: float = 0.0) -> NDArray[np.uint16]:
    """Blobs of several sizes, 16 bits."""
    rng = np.random.default_rng(0)
    coarse, fine = (
        gaussian_filter(rng.normal(size=shape).astype(np.float32), sigma)
        for sigma in (6, 1.5)
    )
    image = coarse / coarse.std() + 0.5 * fine / fine.std()
    image = (image - image.min()) / np.ptp(image)
    image += noise * rng.normal(size=shape)
    return np.asarray(2000 + 40000 * image.clip(-0.04, 1.4), np.uint16)


def checks(device: str, side: int) -> Iterator[Check]:
    """All checks of a device, one by one."""
    for noise in (0.0, NOISE):
        image = scene((side, side), noise)
        for name in PRESETS:
            for precision, limit in LIMITS.items():
                yield _agrees(image, name, precision, device, limit, noise)
    yield _repeats(scene((side, side), NOISE), device)
    yield _goes_on_without_memory(scene((side, side)), device)
    yield _gives_memory_back(scene((side, side)), device)
    yield _workers_agree(scene((4, side // 2, side // 2)), device)


def _agrees(
    image: NDArray[Any],
    name: str,
    precision: str,
    device: str,
    limit: float,
    noise: float,
) -> Check:
    """Device against processor, of one preset."""
    given: dict[str, Any] = {"precision": precision, "always": True}
    here = upscale(image, name, device="cpu", **given).astype(float)
    there = upscale(image, name, device=device, **given)
    difference = float(np.abs(there - here).max() / np.ptp(here))
    return Check(
        f"{name}, {precision}, noise {noise:g}: as the processor",
        f"{difference:.2g} of the range",
        difference <= limit,
    )


def _repeats(image: NDArray[Any], device: str) -> Check:
    first, second = (upscale(image, "balanced", device=device) for _ in range(2))
    different = int((first != second).sum())
    return Check("same pixels twice", f"{different} differ", different == 0)


def _goes_on_without_memory(image: NDArray[Any], device: str) -> Check:
    """A tile that does not fit is halved, and the result stays."""
    import torch

    wanted = upscale(image, "fast", device=device).astype(float)
    original, failures = networks.applied, iter([True])

    def once(*args: Any) -> Any:
        if next(failures, False):
            raise torch.OutOfMemoryError("Not enough, for a check.")
        return original(*args)

    with mock.patch.object(predict, "applied", once):
        found = upscale(image, "fast", device=device)
    difference = float(np.abs(found - wanted).max() / np.ptp(wanted))
    return Check(
        "memory runs out once", f"{difference:.2g} of the range", difference <= 0.01
    )


def _gives_memory_back(image: NDArray[Any], device: str) -> Check:
    import torch

    upscale(image, "balanced", device=device)
    release_memory()
    held = torch.cuda.memory_reserved(device) if device.startswith("cuda") else 0
    return Check("memory given back", f"{held / 1e6:.0f} MB held", held <= LEFT_BYTES)


def _workers_agree(stack: NDArray[Any], device: str) -> Check:
    """Two processes on one card against this one."""
    with TemporaryDirectory() as folder:
        targets = [Path(folder) / f"{count}.ome.zarr" for count in (0, 2)]
        for count, target in zip((0, 2), targets, strict=True):
            upscale_to_disk(
                stack,
                target,
                "fast",
                axes="ZYX",
                device=device.partition(":")[0],
                workers=count,
                threads=1,
            )
        here, there = (np.asarray(read(target).data) for target in targets)
    different = int((here != there).sum())
    return Check("two workers", f"{different} pixels differ", different == 0)


def times(device: str, shrink: int) -> Iterator[tuple[Cell, ...]]:
    """Rows of sizes and presets: seconds, seconds estimated, peak memory."""
    for size in SIZES:
        shape = tuple(max(4, side // shrink) for side in size)
        axes = "ZYX"[-len(shape) :]
        stack = labelled(scene(shape), axes=axes)
        for name in PRESETS:
            config: Config = change(preset(name), device=device)
            starts = channel_starts(config, axes, shape)
            estimated = make_plan(stack, config, starts).seconds
            seconds, peak = _timed(partial(upscale_steps, stack, config), device)
            text = " x ".join(map(str, shape))
            yield text, name, round(seconds, 2), round(estimated, 2), peak


def _timed(steps: Callable[[], Any], device: str) -> tuple[float, Cell]:
    """Seconds of a second run, and megabytes that it took on a card."""
    import torch

    drain(steps())
    on_card = device.startswith("cuda")
    if on_card:
        torch.cuda.reset_peak_memory_stats(device)
    started = time.perf_counter()
    drain(steps())
    seconds = time.perf_counter() - started
    if not on_card:
        return seconds, None
    return seconds, round(torch.cuda.max_memory_allocated(device) / 1e6)


def main(
    device: Annotated[
        str, typer.Option(help="auto, cuda, cuda:1, mps or cpu.")
    ] = "auto",
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", metavar="FILE", help="Also write it there."),
    ] = None,
    shrink: Annotated[
        int, typer.Option(help="Sizes are divided by it, for a trial.")
    ] = 1,
) -> None:
    """Check a device against the processor, then time it."""
    device = resolve_device(device)
    results = []
    for check in checks(device, max(32, SIDE_PX // shrink)):
        results.append(check)
        mark = "ok    " if check.passed else "FAILED"
        typer.echo(f"{mark} {check.name}: {check.found}")
    import torch

    table = Table(
        title=f"{description(device)}, torch {torch.__version__}",
        columns=("pixels", "preset", "seconds", "estimated", "peak MB on the device"),
        rows=tuple(times(device, shrink)),
        notes=("Seconds of a second run in one process, factor 2.",),
    )
    typer.echo(table.to_markdown())
    if output is not None:
        output.write_text(table.to_csv(), encoding="utf-8")
    if not all(check.passed for check in results):
        raise typer.Exit(1)


if __name__ == "__main__":
    typer.run(main)
