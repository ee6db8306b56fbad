"""``python -m benchmarks DATA``: the tables of the documentation, measured."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from benchmarks import SETS
from napari_zssr.cli import console, options, run
from napari_zssr.errors import InputError

TABLES = (2, 3)
TABLE_PRESETS = "instant,fast,balanced"


def benchmark(
    data: Annotated[
        Path, typer.Argument(metavar="DATA", help="Folder that holds the images.")
    ],
    set_name: Annotated[
        str, typer.Option("--set", metavar="NAME", help=f"{', '.join(SETS)}.")
    ] = "Set5",
    table: Annotated[
        int | None,
        typer.Option(
            metavar="2|3",
            help="Instead of a set: that table of the ZSSR paper. DATA may be any "
            "folder of fine PNG or TIFF images.",
        ),
    ] = None,
    factor: options.Factor = "2",
    preset: Annotated[
        str | None,
        typer.Option(
            "-p",
            "--preset",
            metavar="NAME",
            help=f"Default: balanced; for a table any of {TABLE_PRESETS}, which "
            "is its default.",
        ),
    ] = None,
    kernel: Annotated[
        str,
        typer.Option(
            metavar="NAMES",
            help="For table 2: which kernels the presets are given, any of "
            "bicubic,gaussian:1.1,estimate,true.",
        ),
    ] = "",
    seeds: Annotated[
        str,
        typer.Option(
            metavar="N,N",
            help="For a table or start: seeds of its kernels or its noise.",
        ),
    ] = "0,1,2",
    noise: options.Noise = None,
    gradual: options.Gradual = None,
    ensemble: options.Ensemble = None,
    start: options.Start = None,
    steps: options.TrainingSteps = None,
    learned_steps: options.LearnedSteps = None,
    seed: options.Seed = None,
    device: options.Device = None,
    precision: options.Precision = None,
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", metavar="DIR", help="Folder for CSV and PNG."),
    ] = None,
    limit: Annotated[
        int | None, typer.Option("--limit", metavar="N", help="Only the first images.")
    ] = None,
    subset: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="For fmd: all, confocal or rest. For table 3: all or random. For "
            "start: all, Set5, Set14, BSD100_odd, gaussian or plane.",
        ),
    ] = "all",
    plane_px: Annotated[
        int | None,
        typer.Option(
            "--plane-px",
            metavar="N",
            help="For memory: one plane of N x N pixels, from disk to disk. For "
            "start: side of its plane, 512.",
        ),
    ] = None,
) -> None:
    """Measure a preset on images whose fine version is known, beside bicubic."""
    import benchmarks

    if table is not None:
        set_name = _set_of(table)
    several = set_name.lower() in {f"table{number}" for number in TABLES}
    configs = [
        options.settings(
            name.strip(),
            factor,
            noise=noise,
            gradual=gradual,
            ensemble=ensemble,
            start=start,
            steps=steps,
            learned_steps=learned_steps,
            seed=seed,
            device=device,
            precision=precision,
        )
        for name in _presets(preset, several=several)
    ]
    with console.progress_view() as view:
        measured = benchmarks.run_benchmark(
            data,
            set_name=set_name,
            config=configs[0],
            configs=configs if several else (),
            kernels=[text.strip() for text in kernel.split(",") if text.strip()],
            seeds=_seeds(seeds),
            output=output,
            limit=limit,
            subset=subset,
            plane_px=plane_px,
            on_event=view.show,
        )
    typer.echo(measured.to_markdown())


def _set_of(table: int) -> str:
    """Name of a table's set."""
    if table not in TABLES:
        raise InputError(f"Table {table} is not known; give 2 or 3.")
    return f"table{table}"


def _presets(text: str | None, *, several: bool) -> list[str]:
    if several:
        return (text or TABLE_PRESETS).split(",")
    return [text or "balanced"]


def _seeds(text: str) -> list[int]:
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise InputError(
            f"Seeds {text!r} are not understood; give whole numbers such as 0,1,2."
        ) from None


def command() -> Any:
    """Click command of ``python -m benchmarks``."""
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command()(benchmark)
    return typer.main.get_command(app)


if __name__ == "__main__":
    sys.exit(run(command, "python -m benchmarks"))
