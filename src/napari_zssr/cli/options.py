"""Options that several commands share, and the settings that they add up to."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from napari_zssr.config import PRESETS, Config, change, preset
from napari_zssr.errors import InputError

Command = Callable[..., Any]


def _panel(title: str) -> Callable[..., Any]:
    """Typer's options in a panel of the help."""
    return functools.partial(typer.Option, rich_help_panel=title)


engine_option = _panel("Method")
input_option = _panel("Reading the input")
output_option = _panel("Output")
worker_option = _panel("Workers")
blur_option = _panel("Blur of the image")

Input = Annotated[
    Path, typer.Argument(metavar="INPUT", help="TIFF, OME-TIFF, OME-Zarr, PNG or JPG.")
]
Overwrite = Annotated[
    bool, output_option("--overwrite", help="Replace existing outputs.")
]
Json = Annotated[
    bool, output_option("--json", help="Print the result as JSON, without progress.")
]
Factor = Annotated[
    str | None,
    engine_option(
        "-f",
        "--factor",
        metavar="F|FY,FX",
        help=(
            "Enlargement of Y and X, from 1 to 16, also fractions; 1 keeps the "
            "pixel size and only removes noise and blur. Default: 2."
        ),
    ),
]
FactorZ = Annotated[
    str | None,
    engine_option(
        "--factor-z",
        metavar="F|isotropic",
        help=(
            "Enlargement of a stack along Z, trained on its own XY planes: 1 to 16, "
            "or isotropic (until slices are as close as pixels); with --factor 1 "
            "only along Z. Default: 1."
        ),
    ),
]
KernelZ = Annotated[
    str | None,
    engine_option(
        "--kernel-z",
        metavar="KIND",
        help=(
            "Extra blur along Z: estimate (from the stack), optics, fwhm:Z,XY "
            "(widths of a bead, µm), gaussian:SIGMA (result pixels) or section:N "
            "(thickness in slices). Default: estimate."
        ),
    ),
]
Preset = Annotated[
    str, engine_option("-p", "--preset", metavar="NAME", help=f"{', '.join(PRESETS)}.")
]
Noise = Annotated[
    str | None,
    engine_option(
        "--noise",
        metavar="auto|off|SIGMA|CAMERA",
        help=(
            "Noise of the image: auto (estimated), off, SIGMA as a fraction of the "
            "intensity range, or of a camera, in electrons: 'camera: gain 0.46, "
            "offset 100, read noise 1.6'. Default: auto."
        ),
    ),
]
Gradual = Annotated[
    int | None,
    engine_option(
        "--gradual",
        metavar="N",
        help=("Number of steps in which the image is enlarged."),
    ),
]
Ensemble = Annotated[
    bool | None,
    engine_option(
        "--ensemble/--no-ensemble",
        help="Enlarge flipped and rotated copies as well and take their median: "
        "less random error, slower.",
    ),
]
TrainingSteps = Annotated[
    int | None,
    engine_option(
        "--steps",
        metavar="N",
        help=(
            "Largest number of training steps; 0 uses the networks of --start "
            "without training."
        ),
    ),
]
Start = Annotated[
    str | None,
    engine_option(
        "--start",
        metavar="learned|random|FILE",
        help=(
            "What training starts from: learned (a network pretrained on synthetic "
            "images), random (this image only), or a file of --save-networks. "
            "Default: the preset's."
        ),
    ),
]
LearnedSteps = Annotated[
    int | None,
    engine_option(
        "--learned-steps",
        metavar="N",
        help=(
            "Largest number of training steps with --start learned; 0 uses the "
            "pretrained network without training."
        ),
    ),
]
Seed = Annotated[
    int | None,
    engine_option(
        "--seed",
        metavar="N",
        help=("Seed of random numbers; the same seed gives the same pixels."),
    ),
]
Device = Annotated[
    str | None,
    engine_option(
        "--device",
        metavar="NAME",
        help="auto, cpu, cuda, cuda:N or mps. Default: auto.",
    ),
]
Precision = Annotated[
    str | None,
    engine_option(
        "--precision",
        metavar="NAME",
        help="auto, float32 or bfloat16. Default: auto.",
    ),
]
FillNonfinite = Annotated[
    bool,
    input_option(
        "--fill-nonfinite",
        help=(
            "Fill NaN and infinite pixels with the mean instead of refusing the image."
        ),
    ),
]


def with_options_of(argument: str, record: type) -> Callable[[Command], Command]:
    """Decorator that offers the fields of a dataclass instead of one argument.

    Each field is a keyword, annotated as an option, with a default. Typer reads the
    signature that is created here: it knows only arguments with a single value.
    """
    offered = list(inspect.signature(record, eval_str=True).parameters.values())

    def decorated(command: Command) -> Command:
        signature = inspect.signature(command, eval_str=True)
        parameters: list[inspect.Parameter] = []
        for name, parameter in signature.parameters.items():
            keyword = parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY)
            parameters += offered if name == argument else [keyword]

        @functools.wraps(command)
        def run(**given: Any) -> Any:
            values = {each.name: given.pop(each.name) for each in offered}
            return command(**given, **{argument: record(**values)})

        run.__signature__ = signature.replace(  # type: ignore[attr-defined]
            parameters=parameters
        )
        run.__annotations__ = {each.name: each.annotation for each in parameters}
        return run

    return decorated


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """Options for reading the input."""

    axes: Annotated[
        str | None,
        input_option(
            "--axes",
            metavar="TCZYX",
            help="One letter for each axis, instead of what the file says.",
        ),
    ] = None
    spacing: Annotated[
        str | None,
        input_option(
            "--spacing",
            metavar="L|Y=L,X=L",
            help=(
                "Pixel size in micrometres: one number for Y and X, one for each "
                "axis, or by letter."
            ),
        ),
    ] = None
    image: Annotated[
        str | None,
        input_option(
            "--image",
            metavar="N|NAME|all",
            help=(
                "Which of several images in a file, by its index or name (see "
                "`info`); all enlarges each of them. Default: the largest."
            ),
        ),
    ] = None
    partial: Annotated[
        bool,
        input_option(
            "--partial",
            help=(
                "Use the complete planes of an interrupted acquisition, instead of "
                "refusing the file."
            ),
        ),
    ] = False


DEFAULT_READING = Reading()
with_reading_options = with_options_of("reading", Reading)


def settings(name: str, factor: str | None = None, **changes: Any) -> Config:
    """Preset with changes, of which those that are None are left out."""
    given = {key: value for key, value in changes.items() if value is not None}
    if factor is not None:
        given["factor"] = parse_factor(factor)
    return change(preset(name), **given)


def parse_factor(text: str) -> float | tuple[float, ...]:
    """Factor from ``2`` or ``1.5,2`` (Y, X)."""
    values = parse_numbers("Factor", text, "one number or FY,FX")
    if len(values) > 2:
        raise InputError(f"Factor {text!r} has {len(values)} numbers; give F or FY,FX.")
    return values[0] if len(values) == 1 else tuple(values)


def parse_spacing(
    text: str | None,
) -> float | tuple[float, ...] | dict[str, float | None] | None:
    """Spacing from ``0.1``, ``0.3,0.1,0.1`` (one for each axis) or ``Y=0.1,X=0.1``."""
    if text is None:
        return None
    if "=" not in text:
        values = parse_numbers("Spacing", text, "0.1 or Y=0.1,X=0.1")
        return values[0] if len(values) == 1 else tuple(values)
    by_axis: dict[str, float | None] = {}
    for part in text.split(","):
        letter, _, number = part.partition("=")
        values = parse_numbers("Spacing", number, "Y=0.1,X=0.1")
        by_axis[letter.strip().upper()] = values[0]
    return by_axis


def parse_shard(text: str | None) -> tuple[int, int]:
    """Part of the planes from ``2/8``; by default the only one."""
    number, count = 0, 0
    with suppress(ValueError):
        number, count = map(int, ("1/1" if text is None else text).split("/"))
    if not 1 <= number <= count:
        raise InputError(
            f"Shard {text!r} is not understood; give I/N, such as 1/8 up to 8/8."
        )
    return number, count


def parse_numbers(name: str, text: str, example: str) -> list[float]:
    """Numbers separated by commas."""
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        raise InputError(
            f"{name} {text!r} is not understood; give {example}."
        ) from None
