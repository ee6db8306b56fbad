"""What a result costs: training speed and peak memory."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable

import numpy as np

from benchmarks.job import Job, enlarge, load
from benchmarks.metrics import benchmark_scores
from benchmarks.promises import texture
from benchmarks.table import Cell, Table
from napari_zssr.config import FAST, PAPER, Config, change
from napari_zssr.errors import ComputeError
from napari_zssr.progress import Event, Progress

PLANE_PX = 4096
SPEED_FACTOR = 2.0
SPEED_STEPS = {"paper": 60, "residual": 240}
BUTTERFLY = "img_003_SRF_2"


def speed(job: Job) -> Table:
    """Fine pixels trained on per second, FAST against PAPER in one run.

    Parameters
    ----------
    job : Job
        Its precision and device serve both; the factor is 2. Where the data hold Set5,
        FAST's time and PSNR on its butterfly are added.
    """
    wanted = job.config
    bases = [
        change(
            base,
            factor=SPEED_FACTOR,
            precision=wanted.precision,
            device=wanted.device,
            seed=wanted.seed,
            noise=wanted.noise,
        )
        for base in (FAST, PAPER)
    ]
    rates = []
    for number, base in enumerate(bases):
        job.announce(number, len(bases), f"training, {base.preset}")
        rates.append(training_throughput(base, on_event=job.on_event))
    rows: list[tuple[Cell, ...]] = [
        ("FAST, fine pixels trained on per second", rates[0]),
        ("PAPER, fine pixels trained on per second", rates[1]),
        ("FAST over PAPER", rates[0] / rates[1]),
        *_butterfly(job, bases[0]),
    ]
    return Table(
        title=f"Training speed, precision {job.config.precision}",
        columns=("figure", "value"),
        rows=tuple(rows),
        notes=(
            "Factor 2. Fine pixels of a step: batch x the crop's area on the fine "
            "grid, over the time between reports of progress, start-up left out.",
        ),
    )


def training_throughput(
    config: Config,
    *,
    size: int = 256,
    steps: int | None = None,
    on_event: Callable[[Event], object] | None = None,
) -> float:
    """Fine pixels that training goes through in a second.

    Parameters
    ----------
    config : Config
        Settings; noise off, one factor, no ensemble.
    size : int
        Side of the generated image in pixels.
    steps : int, optional
        Training steps.
    on_event : callable, optional
        Called with every event.

    Raises
    ------
    ComputeError
        The engine reported its training fewer than twice.
    """
    if steps is None:
        steps = SPEED_STEPS.get(config.network, 60)
    seen: list[tuple[float, int]] = []

    def watch(event: Event) -> None:
        if isinstance(event, Progress) and event.stage.startswith("train"):
            seen.append((time.perf_counter(), event.step))
        if on_event is not None:
            on_event(event)

    plain = change(config, noise="off", gradual=1, ensemble=False, steps=steps)
    enlarge(texture(size), plain, on_event=watch)
    # The first report still holds the start-up.
    done = seen[-1][1] - seen[0][1] if len(seen) > 1 else 0
    if done <= 0:
        raise ComputeError(
            f"Training of preset {config.preset!r} reported no progress to time; "
            "give more steps."
        )
    return fine_pixels(config) * done / (seen[-1][0] - seen[0][0])


def fine_pixels(config: Config) -> float:
    """Fine pixels in one training step: batch x area of the crop on the fine grid.

    The paper's network takes its input on the fine grid, the others on the coarse.
    """
    y, x = (1.0, 1.0) if config.network == "paper" else config.factors
    return config.batch * config.crop_px**2 * y * x


def memory(job: Job) -> Table:
    """Peak memory of one uint16 plane, in a process of its own.

    Parameters
    ----------
    job : Job
        Without `plane_px`, 4096 x 4096 pixels are held with their result, and the
        config is used without the ensemble.
    """
    if job.plane_px is not None:
        return _memory_on_disk(job, job.plane_px)
    config = change(job.config, ensemble=False)
    job.announce(0, 1, f"{PLANE_PX} x {PLANE_PX}")
    measured = peak_memory(config, PLANE_PX)
    rows: tuple[tuple[Cell, ...], ...] = (
        ("peak memory, GB", measured["peak_bytes"] / 1e9),
        ("before the run, GB", measured["before_bytes"] / 1e9),
        ("seconds", measured["seconds"]),
    )
    return Table(
        title=f"{job.title}, {PLANE_PX} x {PLANE_PX} uint16, no ensemble",
        columns=("figure", "value"),
        rows=rows,
        notes=("Resident memory of the whole process, input and output included.",),
    )


def _memory_on_disk(job: Job, size: int) -> Table:
    """Peak memory while neither the plane's file nor its result are held whole."""
    job.announce(0, 1, f"{size} x {size}")
    measured = peak_memory(job.config, size, to_disk=True)
    rows: tuple[tuple[Cell, ...], ...] = (
        ("peak memory, GB", measured["peak_bytes"] / 1e9),
        ("estimated by the plan, GB", measured["planned_bytes"] / 1e9),
        ("scratch file, GB", measured["scratch_bytes"] / 1e9),
        ("before the run, GB", measured["before_bytes"] / 1e9),
        ("seconds", measured["seconds"]),
    )
    return Table(
        title=f"{job.title}, {size} x {size} uint16, from disk to disk",
        columns=("figure", "value"),
        rows=rows,
        notes=(
            "Resident memory of the whole process. The plane lies in a TIFF; the rows "
            "of the result are written to a file as they are restored.",
        ),
    )


def peak_memory(
    config: Config, size: int, *, to_disk: bool = False
) -> dict[str, float]:
    """Peak resident bytes and seconds of one run, measured in a subprocess.

    Parameters
    ----------
    config : Config
        Settings.
    size : int
        Side of the generated uint16 plane in pixels.
    to_disk : bool
        Read the plane from a file and write the result to one.

    Returns
    -------
    dict
        ``peak_bytes``, ``before_bytes``, ``seconds``; to disk also ``planned_bytes``
        and ``scratch_bytes``.

    Raises
    ------
    ComputeError
        The subprocess failed.
    """
    command = [sys.executable, "-m", "benchmarks.memory_child"]
    done = subprocess.run(
        [*command, str(size), json.dumps(config.to_dict()), *["disk"] * to_disk],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        last = (done.stderr.strip() or "killed").splitlines()[-1]
        raise ComputeError(f"The memory run failed ({last}).")
    measured: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return measured


def _butterfly(job: Job, config: Config) -> list[tuple[Cell, ...]]:
    folder = job.data / "sr_benchmarks" / "Set5" / "x2"
    files = [folder / f"{BUTTERFLY}_{kind}.png" for kind in ("LR", "HR")]
    if not all(file.is_file() for file in files):
        return []
    lr, hr = (np.asarray(load(file)) for file in files)
    run = enlarge(lr, config, axes="YXS", on_event=job.on_event)
    score = benchmark_scores(run.image, hr, config.factors)[0]
    return [
        ("FAST on Set5's butterfly, seconds", run.seconds),
        ("FAST on Set5's butterfly, PSNR", score),
    ]
