"""``napari-zssr check``: whether a result keeps what is measured on its original."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from napari_zssr.atomic import atomic_write, check_target
from napari_zssr.cli import console, options
from napari_zssr.cli.enlarge import read_image
from napari_zssr.errors import InputError

if TYPE_CHECKING:
    from napari_zssr.stack.check import Check
    from napari_zssr.stack.image import ImageStack


@options.with_reading_options
def check(
    result: Annotated[
        Path, typer.Argument(metavar="RESULT", help="The enlarged image.")
    ],
    original: Annotated[
        Path,
        options.input_option(
            "--original", metavar="IMAGE", help="The image it was made from."
        ),
    ],
    truth: Annotated[
        Path | None,
        options.input_option(
            "--truth",
            metavar="IMAGE",
            help=(
                "Ground truth: a better image of the same field, with the pixels of "
                "the result or of the original."
            ),
        ),
    ] = None,
    labels: Annotated[
        Path | None,
        options.input_option(
            "--labels",
            metavar="IMAGE",
            help=(
                "Label image of the objects of the original whose intensities are "
                "compared. Default: objects found by a threshold."
            ),
        ),
    ] = None,
    networks: Annotated[
        Path | None,
        options.input_option(
            "--networks",
            metavar="FILE",
            help=(
                "Networks of the result, saved by upscale --save-networks; needed "
                "to measure the resolution of the result."
            ),
        ),
    ] = None,
    reading: options.Reading = options.DEFAULT_READING,
    fill_nonfinite: options.FillNonfinite = False,
    html: Annotated[
        Path | None,
        options.output_option(
            "--html",
            metavar="FILE",
            help=(
                "Write a report with pictures and texts for a paper as one web page."
            ),
        ),
    ] = None,
    json: Annotated[
        Path | None,
        options.output_option(
            "--json", metavar="FILE", help=("Write all figures as JSON.")
        ),
    ] = None,
    overwrite: options.Overwrite = False,
) -> None:
    """Check a result against its original: intensities, spots, residual and resolution.

    The options for reading the input apply to the original.
    """
    from napari_zssr.io.read import read
    from napari_zssr.stack.check import check_files
    from napari_zssr.stack.original_slices import in_original_slices

    for file, endings in ((html, (".html", ".htm")), (json, (".json",))):
        if file is not None:
            check_target(file, overwrite, endings, endings[0])
    stacks = {
        "result": read_image(result, lazy=True),
        "original": read_image(original, reading, lazy=True),
    }
    if truth is not None:
        stacks["truth"] = read_image(truth, lazy=True)
    recipe = _recipe(result)
    stacks["result"] = in_original_slices(stacks["result"], stacks["original"], recipe)
    regions = None if labels is None else read(labels, lazy=True, labels=True)
    done = check_files(
        stacks["result"],
        stacks["original"],
        truth=stacks.get("truth"),
        labels=regions,
        recipe=recipe,
        networks=networks,
        nonfinite="fill" if fill_nonfinite else "refuse",
    )
    for line in summary(done, stacks):
        typer.echo(line)
    if json is not None:
        _write(json, console.to_json(as_dict(done, stacks)))
    if html is not None:
        from napari_zssr.stack.check_page import page

        _write(html, page(done, stacks))
    for file in filter(None, (json, html)):
        typer.echo(file)


def _recipe(path: Path) -> dict[str, Any] | None:
    """Recipe in a file, None where its format has none."""
    from napari_zssr.io.write import read_provenance

    with contextlib.suppress(InputError):
        return read_provenance(path)
    return None


def summary(check: Check, stacks: dict[str, ImageStack]) -> list[str]:
    """Lines for the terminal: images, a table of the planes, sentences."""
    from napari_zssr.stack.check_tables import detail_rows, image_rows, rows
    from napari_zssr.stack.verdict import verdict

    tables = image_rows(check, stacks), rows(check), detail_rows(check)
    lines = [console.table(table) for table in tables]
    if len(check.planes) > 1:
        lines += [
            f"{plane.name}: {' '.join(plane.sentences)}"
            for plane in check.planes
            if plane.flux.changed.any()
            or plane.spots.moved
            or plane.agreement.disagrees
        ]
    return [*lines, *check.messages, check.sentence, verdict(check).text]


def as_dict(check: Check, stacks: dict[str, ImageStack]) -> dict[str, Any]:
    """Content of ``--json``."""
    from napari_zssr.stack.methods import legend, methods

    paragraph, references = methods(check)
    files = {name: stack.source for name, stack in stacks.items()}
    text: dict[str, str | Sequence[str]] = {
        "methods": paragraph,
        "references": references,
        "legend": legend(check),
    }
    return files | check.to_dict() | text


def _write(path: Path, text: str) -> None:
    with atomic_write(path.expanduser().resolve()) as draft:
        draft.write_text(text, encoding="utf-8")
