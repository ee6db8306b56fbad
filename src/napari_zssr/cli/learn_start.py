"""``napari-zssr learn-start``: learn from generated images where training starts."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from napari_zssr.checks import NETWORKS_SUFFIX, check_device
from napari_zssr.cli import console, options
from napari_zssr.writing import check_place

if TYPE_CHECKING:
    from napari_zssr.learned_start.learn import LearnSpec
    from napari_zssr.zssr.learned import LearnedStart


def learn_start(
    out: Annotated[
        Path,
        typer.Option(
            "-o",
            "--out",
            metavar="FILE",
            help=f"{NETWORKS_SUFFIX} file of the start, for --start.",
        ),
    ],
    seed: Annotated[
        int | None,
        typer.Option(metavar="N", help="Seed of images and weights. Default: 0."),
    ] = None,
    scenes: Annotated[
        int | None, typer.Option(metavar="N", help="Images that are generated.")
    ] = None,
    steps: Annotated[
        int | None, typer.Option(metavar="N", help="Steps of pretraining.")
    ] = None,
    meta_steps: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            help="Steps of meta-training, after which few steps on an image lead "
            "furthest; 0 leaves it out.",
        ),
    ] = None,
    batch: Annotated[
        int | None, typer.Option(metavar="N", help="Pairs of each step.")
    ] = None,
    checkpoint: Annotated[
        Path | None,
        typer.Option(
            "--checkpoint",
            "--resume",
            metavar="FILE",
            help="Where the state is kept, from which the same command goes on. "
            "Default: the start's name and .part, until it is finished.",
        ),
    ] = None,
    device: options.Device = None,
    overwrite: options.Overwrite = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Show no progress.")] = False,
) -> None:
    """Learn a start from generated images alone; takes an hour or more.

    A run that was stopped goes on where its state was last kept, when it is started
    again with the same options.
    """
    check_place(out, overwrite, {NETWORKS_SUFFIX}, NETWORKS_SUFFIX)
    kept = checkpoint or out.with_name(f"{out.name}.part")
    check_place(kept, True, {kept.suffix.lower()}, ".part")
    spec = _spec(
        device or "auto",
        seed=seed,
        scenes=scenes,
        steps=steps,
        meta_steps=meta_steps,
        batch=batch,
    )
    start = _learned(spec, kept, quiet=quiet)
    _write(out, start, overwrite)
    if checkpoint is None:
        kept.unlink(missing_ok=True)
    size = console.in_bytes(out.expanduser().stat().st_size)
    typer.echo(
        f"{out}: learned in {spec.steps} steps and {spec.meta_steps} of meta-training "
        f"from {spec.scenes} generated images, {size}."
    )


def _spec(device: str, **wanted: int | None) -> LearnSpec:
    """What is asked for, the rest as it is usual."""
    from napari_zssr.learned_start.learn import LearnSpec
    from napari_zssr.zssr.device import resolve_device

    check_device(device)
    given: dict[str, Any] = {k: v for k, v in wanted.items() if v is not None}
    return LearnSpec(device=resolve_device(device), **given)


def _learned(spec: LearnSpec, kept: Path, *, quiet: bool) -> LearnedStart:
    from napari_zssr.learned_start import learn

    if kept.exists():
        console.note(f"Goes on from {kept}.")
    try:
        return console.follow(learn.learn_start(spec, resume=kept), quiet=quiet)
    except KeyboardInterrupt:
        if kept.exists():
            console.note(f"The same command goes on from {kept}.")
        raise


def _write(out: Path, start: LearnedStart, overwrite: bool) -> None:
    from napari_zssr.zssr.learned import write_start

    write_start(out, start, overwrite=overwrite)
