"""Options that several commands share, and the settings that they add up to."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import typer

from napari_zssr.config import PRESETS, Config, change, preset
from napari_zssr.errors import InputError

Command = Callable[..., Any]

ENGINE, IMAGE, OUTPUT = "What is computed", "How the input is read", "What comes out"
WORK = "Who does the work"


def option(*names: str, panel: str, help: str, metavar: str | None = None) -> Any:  # noqa: A002 typer's name
    """An option in one of the help's panels."""
    return typer.Option(*names, rich_help_panel=panel, help=help, metavar=metavar)


Input = Annotated[
    Path, typer.Argument(metavar="INPUT", help="TIFF, OME-TIFF, OME-Zarr, PNG or JPG.")
]
Output = Annotated[
    Path | None,
    option(
        "-o",
        "--output",
        panel=OUTPUT,
        metavar="FILE",
        help=".ome.tif, .ome.zarr, .tif or .png. Default: INPUT_x2.ome.tif beside the "
        "input.",
    ),
]
Inputs = Annotated[
    list[Path],
    typer.Argument(
        metavar="INPUT...",
        help="TIFF, OME-TIFF, OME-Zarr, PNG or JPG; several for a batch.",
    ),
]
OutputDir = Annotated[
    Path | None,
    option(
        "--output-dir",
        panel=OUTPUT,
        metavar="DIR",
        help="Folder of the results, made if it is not there.",
    ),
]
Ending = Annotated[
    str,
    option(
        "--format",
        panel=OUTPUT,
        metavar="ENDING",
        help="ome.tif or ome.zarr, where no name is given.",
    ),
]
SkipExisting = Annotated[
    bool,
    option(
        "--skip-existing", panel=OUTPUT, help="Leave out images whose result is there."
    ),
]
ContinueOnError = Annotated[
    bool,
    option(
        "--continue-on-error/--stop-on-error",
        panel=OUTPUT,
        help="Of several images, go on with the next one after an error.",
    ),
]
ReportFile = Annotated[
    Path | None,
    option(
        "--report",
        panel=OUTPUT,
        metavar="FILE",
        help="Table of all images as .csv, written after each of them.",
    ),
]
Processes = Annotated[
    int,
    option(
        "--workers",
        panel=WORK,
        metavar="N",
        help="Processes that do planes at the same time; 0 does them in this one. "
        "Several GPUs are shared out.",
    ),
]
Scheduler = Annotated[
    str,
    option(
        "--scheduler",
        panel=WORK,
        metavar="ADDRESS",
        help="Dask scheduler whose workers do the planes: tcp://host:8786 or its "
        "scheduler file.",
    ),
]
Threads = Annotated[
    int | None,
    option(
        "--threads",
        panel=WORK,
        metavar="N",
        help="Threads of each worker. Default: the cores, shared out.",
    ),
]
Retries = Annotated[
    int,
    option(
        "--retries", panel=WORK, metavar="N", help="Tries after the first that failed."
    ),
]
Shard = Annotated[
    str | None,
    option(
        "--shard",
        panel=WORK,
        metavar="I/N",
        help="Do the I-th of N parts of the planes, as a job of an array; the last one "
        "to finish completes the file.",
    ),
]
Overwrite = Annotated[
    bool, option("--overwrite", panel=OUTPUT, help="Replace existing outputs.")
]
Json = Annotated[
    bool, option("--json", panel=OUTPUT, help="Print one JSON object, no progress.")
]
Factor = Annotated[
    str | None,
    option(
        "-f",
        "--factor",
        panel=ENGINE,
        metavar="F|FY,FX",
        help="Enlargement of Y and X, from 1 to 16, fractions too. Default: 2.",
    ),
]
Preset = Annotated[
    str,
    option(
        "-p", "--preset", panel=ENGINE, metavar="NAME", help=f"{', '.join(PRESETS)}."
    ),
]
Noise = Annotated[
    str | None,
    option(
        "--noise",
        panel=ENGINE,
        metavar="auto|off|SIGMA|CAMERA",
        help="Noise of the image; SIGMA as a fraction of its range; or that of a "
        "camera, in electrons: 'camera: gain 0.46, offset 100, read noise 1.6'. "
        "Default: auto.",
    ),
]
Gradual = Annotated[
    int | None,
    option("--gradual", panel=ENGINE, metavar="N", help="Factors on the way."),
]
BackProjection = Annotated[
    int | None,
    option(
        "--back-projection",
        panel=ENGINE,
        metavar="N",
        help="Iterations that make the result agree with the input; 0 for none.",
    ),
]
Ensemble = Annotated[
    bool | None,
    option(
        "--ensemble/--no-ensemble",
        panel=ENGINE,
        help="Median over flips and rotations.",
    ),
]
TrainingSteps = Annotated[
    int | None,
    option(
        "--steps",
        panel=ENGINE,
        metavar="N",
        help="Training steps at most; 0 applies what --start names as it is.",
    ),
]
Start = Annotated[
    str | None,
    option(
        "--start",
        panel=ENGINE,
        metavar="learned|random|FILE",
        help="What training starts from: a network learned from generated images, "
        "nothing, or networks of --save-networks. Default: as the preset.",
    ),
]
LearnedSteps = Annotated[
    int | None,
    option(
        "--learned-steps",
        panel=ENGINE,
        metavar="N",
        help="Training steps at most, where it starts from 'learned'; 0 applies that "
        "as it is.",
    ),
]
SaveNetworks = Annotated[
    Path | None,
    option(
        "--save-networks",
        panel=OUTPUT,
        metavar="FILE",
        help="Save what was learned as .safetensors, for --start on a sister image.",
    ),
]
Strategy = Annotated[
    str | None,
    option(
        "--strategy",
        panel=ENGINE,
        metavar="NAME",
        help="Of a stack: tuned learns once, then a little on each slice; shared only "
        "once; independent each slice anew. Default: tuned, with paper independent.",
    ),
]
Always = Annotated[
    bool,
    option(
        "--always",
        panel=ENGINE,
        help="Return all that was learned, even where nothing was gained over bicubic "
        "or checks do not support it; they only warn.",
    ),
]
Seed = Annotated[
    int | None,
    option("--seed", panel=ENGINE, metavar="N", help="Seed of every random choice."),
]
Device = Annotated[
    str | None,
    option(
        "--device",
        panel=ENGINE,
        metavar="NAME",
        help="auto, cpu, cuda, cuda:N or mps. Default: auto.",
    ),
]
Precision = Annotated[
    str | None,
    option(
        "--precision",
        panel=ENGINE,
        metavar="NAME",
        help="auto, float32 or bfloat16. Default: auto.",
    ),
]
TilePx = Annotated[
    int | None,
    option(
        "--tile-px",
        panel=ENGINE,
        metavar="N",
        help="Side of the tiles in input pixels. Default: by free memory.",
    ),
]
Axes = Annotated[
    str | None,
    option(
        "--axes",
        panel=IMAGE,
        metavar="TCZYX",
        help="One letter for each axis, instead of what the file says.",
    ),
]
Spacing = Annotated[
    str | None,
    option(
        "--spacing",
        panel=IMAGE,
        metavar="L|Y=L,X=L",
        help="Pixel size in micrometres: one for Y and X, one for each axis, or by "
        "letter.",
    ),
]
Labels = Annotated[
    bool,
    option(
        "--labels",
        panel=IMAGE,
        help="Enlarge a label image or a mask by nearest pixels: nothing is learned, "
        "no value is new.",
    ),
]
Image = Annotated[
    str | None,
    option(
        "--image",
        panel=IMAGE,
        metavar="N|NAME|all",
        help="Which one of several images in a file, by its index or name in `info`; "
        "all makes one result of each. Default: the largest.",
    ),
]
Partial = Annotated[
    bool,
    option(
        "--partial",
        panel=IMAGE,
        help="Keep the complete planes of an acquisition that was stopped, instead of "
        "refusing the file.",
    ),
]
OutputType = Annotated[
    str | None,
    option(
        "--dtype",
        panel=OUTPUT,
        metavar="auto|same|float32",
        help="Pixels of the result: as in the image, but float32 where it holds few "
        "counts; always as in the image; float32. Default: auto.",
    ),
]
FillNonfinite = Annotated[
    bool,
    option(
        "--fill-nonfinite", panel=IMAGE, help="Fill NaN and Inf instead of refusing."
    ),
]


def takes(argument: str, record: type) -> Callable[[Command], Command]:
    """Offer the fields of a record as options in place of one argument of a command.

    Parameters
    ----------
    argument : str
        Name of the argument.
    record : type
        Frozen dataclass whose fields are annotated as options and have defaults.

    Returns
    -------
    callable
        Decorator; typer reads the signature that it makes, and knows only arguments of
        one value each.
    """
    hints = get_type_hints(record, include_extras=True)
    offered = [
        inspect.Parameter(
            field.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=field.default,
            annotation=hints[field.name],
        )
        for field in fields(record)
    ]

    def decorated(command: Command) -> Command:
        own = inspect.signature(command, eval_str=True)
        shown: list[inspect.Parameter] = []
        for name, parameter in own.parameters.items():
            keyword = parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY)
            shown += offered if name == argument else [keyword]

        @functools.wraps(command)
        def run(**given: Any) -> Any:
            values = {each.name: given.pop(each.name) for each in offered}
            return command(**given, **{argument: record(**values)})

        signature = own.replace(parameters=shown)
        run.__signature__ = signature  # type: ignore[attr-defined]
        run.__annotations__ = {each.name: each.annotation for each in shown}
        return run

    return decorated


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """How the input is read.

    Attributes
    ----------
    axes, spacing : str or None
        Instead of what the file says.
    image : str or None
        Index or name of one of several images in a file, or "all".
    partial : bool
        Keep the complete planes of an acquisition that was stopped.
    """

    axes: Axes = None
    spacing: Spacing = None
    image: Image = None
    partial: Partial = False


AS_THE_FILE_SAYS = Reading()
takes_reading = takes("reading", Reading)


def settings(name: str, factor: str | None = None, **changes: Any) -> Config:
    """Preset with those changes that were asked for (None: as the preset has it)."""
    wanted = {key: value for key, value in changes.items() if value is not None}
    if factor is not None:
        wanted["factor"] = parse_factor(factor)
    return change(preset(name), **wanted)


def parse_factor(text: str) -> float | tuple[float, float]:
    """Factor from ``2`` or ``1.5,2`` (Y, X)."""
    found = numbers("Factor", text, "one number or FY,FX")
    if len(found) > 2:
        raise InputError(f"Factor {text!r} has {len(found)} numbers; give F or FY,FX.")
    return found[0] if len(found) == 1 else (found[0], found[1])


def parse_spacing(
    text: str | None,
) -> float | tuple[float, ...] | dict[str, float | None] | None:
    """Spacing from ``0.1``, ``0.3,0.1,0.1`` (one for each axis) or ``Y=0.1,X=0.1``."""
    if text is None:
        return None
    if "=" not in text:
        found = numbers("Spacing", text, "0.1 or Y=0.1,X=0.1")
        return found[0] if len(found) == 1 else tuple(found)
    by_axis: dict[str, float | None] = {}
    for part in text.split(","):
        letter, _, number = part.partition("=")
        by_axis[letter.strip().upper()] = numbers("Spacing", number, "Y=0.1,X=0.1")[0]
    return by_axis


def parse_shard(text: str | None) -> tuple[int, int]:
    """Part of the planes from ``2/8``; all of them without a text."""
    if text is None:
        return 1, 1
    try:
        number, count = (int(part) for part in text.split("/"))
    except ValueError:
        number, count = 0, 0
    if not 1 <= number <= count:
        raise InputError(
            f"Shard {text!r} is not understood; give I/N, such as 1/8 up to 8/8."
        )
    return number, count


def numbers(what: str, text: str, example: str) -> list[float]:
    """Numbers from text with commas between them."""
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        raise InputError(
            f"{what} {text!r} is not understood; give {example}."
        ) from None
