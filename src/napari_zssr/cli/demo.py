"""``napari-zssr demo``: enlarges the bundled microscope image and reports on it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import as_file, files
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
import typer

from napari_zssr.atomic import atomic_write
from napari_zssr.cli import console, options
from napari_zssr.cli.enlarge import read_image
from napari_zssr.errors import ComputeError, InputError
from napari_zssr.stack import picture
from napari_zssr.units import duration_text

if TYPE_CHECKING:
    from PIL.Image import Image

    from napari_zssr.stack.image import ImageStack
    from napari_zssr.stack.plane_result import PlaneReport
    from napari_zssr.stack.run import Upscaled

NAME = "cells"
FIELD_PX = 56
TITLES = ("input", "bicubic", "napari-zssr")


def demo(
    output_dir: Annotated[
        Path,
        typer.Option("--output-dir", metavar="DIR", help=("Folder for the results.")),
    ] = Path("demo"),
    preset: options.Preset = "fast",
    device: options.Device = None,
    json: options.Json = False,
) -> None:
    """Enlarge the bundled three-channel image and write result, picture and report."""
    from napari_zssr.io.write import write
    from napari_zssr.stack.report import recipe
    from napari_zssr.stack.run import upscale_steps

    config = options.settings(preset, device=device)
    try:
        output_dir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"The folder {str(output_dir)!r} cannot be created ({error.strerror}); "
            "choose another with --output-dir."
        ) from None
    with bundled_image() as path:
        stack = read_image(path, quiet=json)
    result = console.follow(upscale_steps(stack, config), quiet=json)
    target = output_dir / f"{NAME}_x2.ome.tif"
    record = recipe(stack, result)
    write(target, result.as_stack(), overwrite=True, provenance=record)
    shown = output_dir / f"{NAME}_x2.png"
    with atomic_write(shown) as draft:
        draw(stack, result).save(draft, format="PNG")
    report = result.report.to_dict() | {"config": config.to_dict()}
    _write(output_dir / "report.json", console.to_json(report))
    _write(output_dir / "report.md", report_markdown(stack, result, shown.name))
    if json:
        console.echo_json(report | {"output": str(target), "picture": str(shown)})
        return
    typer.echo(console.table(report_rows(stack, result)))
    typer.echo(result.report.sentence)
    typer.echo(f"Written to {output_dir}: {target.name}, {shown.name}, report.md.")


@contextmanager
def bundled_image() -> Iterator[Path]:
    """File of the microscope image that comes with the package."""
    resource = files("napari_zssr") / "data" / f"{NAME}.ome.tif"
    if not resource.is_file():
        raise ComputeError(
            "The bundled image is missing from this installation; install napari-zssr "
            "again."
        )
    with as_file(resource) as path:
        yield path


def draw(stack: ImageStack, result: Upscaled) -> Image:
    """Picture of input (C, Y, X), bicubic and result, one row per channel."""
    from napari_zssr.imaging.resample import imresize, output_window
    from napari_zssr.stack.image import load_pixels

    factors = result.config.factors
    data = load_pixels(stack.data)
    bicubic = imresize(data, factors, result.image.shape[-2:])
    field = picture.busiest(data, FIELD_PX)
    fine = output_window(field, factors)
    rows = [
        picture.Row(
            label=name,
            panels=(
                data[(number, *field)],
                bicubic[(number, *fine)],
                result.image[(number, *fine)],
            ),
        )
        for number, name in enumerate(_channel_names(stack))
    ]
    return picture.side_by_side(rows, TITLES, side_px=6 * FIELD_PX)


def report_rows(stack: ImageStack, result: Upscaled) -> list[tuple[str, ...]]:
    """Table of the planes: a header, then one row per channel."""
    names = _channel_names(stack)
    return [
        ("channel", "noise", "changed", "shrunk test", "returned", "time"),
        *(
            (
                names[plane.plane],
                f"{100 * plane.noise:.2g} %",
                _change(plane),
                _gain(plane),
                plane.returned,
                duration_text(plane.seconds),
            )
            for plane in result.report.planes
        ),
    ]


def _change(plane: PlaneReport) -> str:
    return "none" if plane.quality is None else f"{100 * plane.quality.change:.2g} %"


def _gain(plane: PlaneReport) -> str:
    if plane.gain_db is None:
        return "not measured"
    error = plane.gain_error_db
    spread = "" if error is None else f" \u00b1 {error:.2f}"
    return f"{plane.gain_db:+.2f}{spread} dB"


def report_markdown(stack: ImageStack, result: Upscaled, shown: str) -> str:
    """Report of a run in Markdown that shows the picture."""
    from napari_zssr.stack.image import outline_of

    report = result.report
    header, *rows = (f"| {' | '.join(cells)} |" for cells in report_rows(stack, result))
    versions = ", ".join(f"{name} {v}" for name, v in report.versions.items())
    return "\n".join(
        [
            f"# {report.input_name} enlarged",
            "",
            f"- input: {outline_of(stack).text}",
            f"- result: {outline_of(result.as_stack()).text}",
            f"- preset {result.config.preset}, seed {report.seed}, "
            f"{report.device_name}, {report.precision}, "
            f"{duration_text(report.seconds)}",
            f"- {versions}",
            "",
            report.sentence,
            "",
            header,
            "|" + "---|" * len(report_rows(stack, result)[0]),
            *rows,
            "",
            "Noise is the standard deviation at the mean signal, in percent of the "
            "intensity range. Changed is the difference from bicubic interpolation "
            "(root mean square). The shrunk test is measured on regions not used "
            "for training, shrunk and re-enlarged; the true fine detail of this "
            "image is not known.",
            "",
            *(
                f"- {name}: {plane.sentence}"
                for name, plane in zip(
                    _channel_names(stack), report.planes, strict=True
                )
                if plane.sentence
            ),
            "",
            f"![input, bicubic and result]({shown})",
            "",
        ]
    )


def _channel_names(stack: ImageStack) -> list[str]:
    names = [channel.name for channel in stack.channels]
    count = int(np.prod(stack.data.shape[:-2]))
    return [console.channel_name(names, number) for number in range(count)]


def _write(path: Path, text: str) -> None:
    with atomic_write(path) as draft:
        draft.write_text(text, encoding="utf-8")
