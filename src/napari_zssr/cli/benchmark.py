"""``napari-zssr benchmark``: the tables of the documentation, measured."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from napari_zssr.cli import console, options

SETS = (
    "Set5",
    "Set14",
    "BSD100_odd",
    "gaussian",
    "caco",
    "fmd",
    "stacks",
    "choices",
    "speed",
    "memory",
    "invariants",
    "files",
    "large",
    "overhead",
    "kill",
    "cluster",
)


def benchmark(
    data: Annotated[
        Path, typer.Argument(metavar="DATA", help="Folder that holds the images.")
    ],
    set_name: Annotated[
        str, typer.Option("--set", metavar="NAME", help=f"{', '.join(SETS)}.")
    ] = "Set5",
    factor: options.Factor = "2",
    preset: options.Preset = "balanced",
    noise: options.Noise = None,
    gradual: options.Gradual = None,
    ensemble: options.Ensemble = None,
    steps: options.TrainingSteps = None,
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
        typer.Option(metavar="NAME", help="For fmd: all, confocal or rest."),
    ] = "all",
    plane_px: Annotated[
        int | None,
        typer.Option(
            "--plane-px",
            metavar="N",
            help="For memory: one plane of N x N pixels, from disk to disk.",
        ),
    ] = None,
) -> None:
    """Measure a preset on images whose fine version is known, beside bicubic."""
    from napari_zssr.benchmark import run_benchmark

    config = options.settings(
        preset,
        factor,
        noise=noise,
        gradual=gradual,
        ensemble=ensemble,
        steps=steps,
        seed=seed,
        device=device,
        precision=precision,
    )
    with console.progress_view() as view:
        table = run_benchmark(
            data,
            set_name=set_name,
            factor=config.factor,
            config=config,
            output=output,
            limit=limit,
            subset=subset,
            plane_px=plane_px,
            on_event=view.show,
        )
    typer.echo(table.to_markdown())
