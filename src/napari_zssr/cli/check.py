"""``napari-zssr check``: whether a result keeps what is measured on its original."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from napari_zssr.atomic import atomic_write, check_target
from napari_zssr.cli import console, options
from napari_zssr.cli.enlarge import read_image
from napari_zssr.errors import InputError

if TYPE_CHECKING:
    from napari_zssr.stack.check import Check, PlaneCheck
    from napari_zssr.stack.detail import Finest
    from napari_zssr.stack.image import ImageStack


@options.with_reading_options
def check(
    result: Annotated[
        Path, typer.Argument(metavar="RESULT", help="The enlarged image.")
    ],
    original: Annotated[
        Path,
        options.input_option(
            "--original", metavar="IMAGE", help="The image that it was made from."
        ),
    ],
    truth: Annotated[
        Path | None,
        options.input_option(
            "--truth",
            metavar="IMAGE",
            help="The same field as it is: in the pixels of the result, or a reference "
            "in those of the original.",
        ),
    ] = None,
    labels: Annotated[
        Path | None,
        options.input_option(
            "--labels",
            metavar="IMAGE",
            help="Regions of the original whose intensities are summed. Default: found "
            "by a threshold.",
        ),
    ] = None,
    networks: Annotated[
        Path | None,
        options.input_option(
            "--networks",
            metavar="FILE",
            help="Networks of the result, as upscale --save-networks wrote them: two "
            "halves of the original are sent through them, which tells what detail "
            "can be trusted at best.",
        ),
    ] = None,
    reading: options.Reading = options.DEFAULT_READING,
    fill_nonfinite: options.FillNonfinite = False,
    html: Annotated[
        Path | None,
        options.output_option(
            "--html",
            metavar="FILE",
            help="Report with pictures and a paragraph for the methods, as one page.",
        ),
    ] = None,
    json: Annotated[
        Path | None,
        options.output_option("--json", metavar="FILE", help="All figures."),
    ] = None,
    overwrite: options.Overwrite = False,
) -> None:
    """Check a result: intensities, spots, residual, resolution, and against a truth.

    Options for reading the input are those of the original.
    """
    from napari_zssr.io.read import read
    from napari_zssr.stack.check import check_files

    for file, endings in ((html, (".html", ".htm")), (json, (".json",))):
        if file is not None:
            check_target(file, overwrite, endings, endings[0])
    stacks = {
        "result": read_image(result, lazy=True),
        "original": read_image(original, reading, lazy=True),
    }
    if truth is not None:
        stacks["truth"] = read_image(truth, lazy=True)
    regions = None if labels is None else read(labels, lazy=True, labels=True)
    done = check_files(
        stacks["result"],
        stacks["original"],
        truth=stacks.get("truth"),
        labels=regions,
        recipe=_recipe(result),
        networks=networks,
        nonfinite="fill" if fill_nonfinite else "refuse",
    )
    for line in summary(done, stacks):
        typer.echo(line)
    if json is not None:
        _write(json, console.to_json(as_dict(done, stacks)))
    if html is not None:
        from napari_zssr.cli.check_page import page

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
    return [*lines, *check.messages, check.sentence]


def image_rows(check: Check, stacks: dict[str, ImageStack]) -> list[tuple[str, str]]:
    """Table of the images and the factor."""
    from napari_zssr.stack.image import outline_of

    y, x = check.factors
    factor = f"{y:g}" if y == x else f"{y:g} along Y, {x:g} along X"
    described = [(k, console.describe(outline_of(s))) for k, s in stacks.items()]
    count = len(check.planes)
    some = [("planes", f"{count} of {check.count}")] if check.count > 1 else []
    size = [("compared", "at the size of the original, the result degraded")]
    return [
        *described,
        ("factor", f"{factor}, from the {check.factors_from}"),
        *some,
        *(size if check.before else []),
    ]


HEADER = ("plane", "regions", "sum median", "largest", "total", "changed")
HEADER_SPOTS = ("spots", "shift Y", "shift X", "rms px")
HEADER_TRUTH = ("RSP", "RSE", "PSNR", "SSIM")


def rows(check: Check) -> list[tuple[str, ...]]:
    """Table of the planes: a header, then one row for each."""
    has_truth = any(plane.scores for plane in check.planes)
    header = (*HEADER, *HEADER_SPOTS, *(HEADER_TRUTH if has_truth else ()))
    cells = [header, *(_cells(plane) for plane in check.planes)]
    return _named(check, cells)


def _named(check: Check, rows: list[tuple[str, ...]]) -> list[tuple[str, ...]]:
    """Rows without the names of planes where there is only one."""
    return rows if any(p.name for p in check.planes) else [row[1:] for row in rows]


def detail_rows(check: Check) -> list[tuple[str, ...]]:
    """Table of what the residual and the detail of each plane came to."""
    details = [plane.detail for plane in check.planes]
    unit = details[0].unit
    finest = {"before": f"detail {unit}", "after": "after, at best"}
    if any(detail.with_truth for detail in details):
        finest["with_truth"] = "with truth"
    cells = [("plane", "agrees", "flagged", "fine residual", *finest.values())]
    for plane in check.planes:
        found = plane.agreement
        answer = ("no" if found.disagrees else "yes") if found.unit else "-"
        cells.append(
            (
                plane.name,
                answer,
                _number(100 * found.flagged, ".2g", " %"),
                _number(found.level, ".2f", f" x {found.unit}"),
                *(_period(getattr(plane.detail, name)) for name in finest),
            )
        )
    return _named(check, cells)


def _period(finest: Finest | None) -> str:
    if finest is None:
        return "-"
    if finest.outcome == "nothing":
        return "none"
    limit = " (pixels)" if finest.outcome == "pixel limit" else ""
    return f"{finest.period:.3g}{limit}"


def _cells(plane: PlaneCheck) -> tuple[str, ...]:
    flux, spots, scores = plane.flux, plane.spots, plane.scores
    changes = (flux.median, flux.largest, flux.total)
    cells = [plane.name, str(len(flux.numbers))]
    cells += [_number(100 * change, "+.2f", " %") for change in changes]
    cells += [str(int(flux.changed.sum())), str(spots.spots)]
    cells += [_number(part, "+.3f") for part in spots.mean]
    cells.append(_number(spots.rms, ".3f"))
    if scores is not None:
        cells += [_number(scores.rsp, ".4f"), _number(scores.rse, ".4g")]
        cells += [_number(scores.psnr, ".2f", " dB"), _number(scores.ssim, ".4f")]
    return tuple(cells)


def _number(value: float, spec: str, unit: str = "") -> str:
    return "-" if math.isnan(value) else f"{value:{spec}}{unit}"


def as_dict(check: Check, stacks: dict[str, ImageStack]) -> dict[str, Any]:
    """Content of ``--json``."""
    from napari_zssr.stack.methods import methods

    paragraph, references = methods(check)
    files = {name: stack.source for name, stack in stacks.items()}
    text: dict[str, str | Sequence[str]] = {
        "methods": paragraph,
        "references": references,
    }
    return files | check.to_dict() | text


def _write(path: Path, text: str) -> None:
    with atomic_write(path.expanduser().resolve()) as draft:
        draft.write_text(text, encoding="utf-8")
