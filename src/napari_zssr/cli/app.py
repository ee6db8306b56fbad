"""The typer application with all commands."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from napari_zssr.cli.check import check
from napari_zssr.cli.demo import demo
from napari_zssr.cli.info import doctor, info
from napari_zssr.cli.kernel import kernel
from napari_zssr.cli.upscale import upscale
from napari_zssr.zssr.device import share_cores

HELP = """Enlarge a microscope image with a neural network trained on that image alone.

Exit codes: 0 done, 1 failed, 2 wrong input or command, 130 stopped by Ctrl-C.
"""


def command() -> Any:
    """The command line as one click command."""
    app = typer.Typer(
        name="napari-zssr",
        help=HELP,
        no_args_is_help=False,
        invoke_without_command=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(_root)
    for function in (upscale, check, demo, info, kernel, doctor):
        app.command()(function)
    return typer.main.get_command(app)


def _version(is_requested: bool) -> None:
    if is_requested:
        from napari_zssr import __version__

        typer.echo(__version__)
        raise typer.Exit


def _root(
    context: typer.Context,
    _show_version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_version, is_eager=True, help="Show the version."
        ),
    ] = False,
    _debug: Annotated[
        bool,
        typer.Option("--debug", help="Show the full traceback of an error."),
    ] = False,
) -> None:
    share_cores()
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())
        raise typer.Exit(2)
