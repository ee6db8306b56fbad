"""``python -m training``: learn a pretrained start from synthetic images."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from napari_zssr.atomic import check_target
from napari_zssr.checks import NETWORKS_SUFFIX, check_device
from napari_zssr.cli import console, options, run
from napari_zssr.units import bytes_text

if TYPE_CHECKING:
    from napari_zssr.zssr.pretrained import PretrainedStart
    from training.learn import LearnSpec


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
        int | None, typer.Option(metavar="N", help="Images that are drawn.")
    ] = None,
    steps: Annotated[
        int | None, typer.Option(metavar="N", help="Steps of learning.")
    ] = None,
    batch: Annotated[
        int | None, typer.Option(metavar="N", help="Pairs of each step.")
    ] = None,
    start: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Learned start to go on from, which stays for planes without "
            "noise. Default: random weights.",
        ),
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
    """Learn a start from synthetic images alone; takes an hour or more.

    A run that was stopped goes on where its state was last kept, when it is started
    again with the same options.
    """
    check_target(out, overwrite, {NETWORKS_SUFFIX}, NETWORKS_SUFFIX)
    kept = checkpoint or out.with_name(f"{out.name}.part")
    check_target(kept, True, {kept.suffix.lower()}, ".part")
    spec = _spec(
        device or "auto",
        seed=seed,
        scenes=scenes,
        steps=steps,
        batch=batch,
        start=None if start is None else str(start),
    )
    found = _learned(spec, kept, quiet=quiet)
    _write(out, found, overwrite)
    if checkpoint is None:
        kept.unlink(missing_ok=True)
    size = bytes_text(out.expanduser().stat().st_size)
    typer.echo(
        f"{out}: learned in {spec.steps} steps from {spec.scenes} synthetic images, "
        f"{size}."
    )


def _spec(device: str, **wanted: int | str | None) -> LearnSpec:
    """What is asked for, the rest as it is usual."""
    from napari_zssr.zssr.device import fast_bfloat16, resolve_device
    from training.learn import LearnSpec

    check_device(device)
    found = resolve_device(device)
    given: dict[str, Any] = {k: v for k, v in wanted.items() if v is not None}
    return LearnSpec(device=found, bfloat16=fast_bfloat16(found), **given)


def _learned(spec: LearnSpec, kept: Path, *, quiet: bool) -> PretrainedStart:
    from training import learn

    if kept.exists():
        console.note(f"Goes on from {kept}.")
    try:
        return console.follow(learn.learn_start(spec, resume=kept), quiet=quiet)
    except KeyboardInterrupt:
        if kept.exists():
            console.note(f"The same command goes on from {kept}.")
        raise


def _write(out: Path, start: PretrainedStart, overwrite: bool) -> None:
    from napari_zssr.zssr.pretrained import write_start

    write_start(out, start, overwrite=overwrite)


def command() -> Any:
    """Click command of ``python -m training``."""
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command()(learn_start)
    return typer.main.get_command(app)


if __name__ == "__main__":
    sys.exit(run(command, "python -m training"))
