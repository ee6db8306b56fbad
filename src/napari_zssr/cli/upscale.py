"""``napari-zssr upscale``: enlarges image files."""

from __future__ import annotations

import csv
import io
import os
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from statistics import median
from typing import Annotated, Any

import typer

from napari_zssr.atomic import atomic_write
from napari_zssr.cli import console, exit_status, options
from napari_zssr.cli.enlarge import (
    Request,
    Result,
    Source,
    default_output,
    enlarge,
    sources,
)
from napari_zssr.cli.kernel import DEFAULT_BLUR, Blur, with_blur_options
from napari_zssr.cli.options import (
    engine_option,
    input_option,
    output_option,
    worker_option,
)
from napari_zssr.errors import InputError, StorageError
from napari_zssr.execution.executors import Workers
from napari_zssr.units import duration_text

DONE, SKIPPED, UNFINISHED, FAILED = "done", "skipped", "unfinished", "failed"


@with_blur_options
@options.with_reading_options
def upscale(
    images: Annotated[
        list[Path],
        typer.Argument(
            metavar="INPUT...",
            help="TIFF, OME-TIFF, OME-Zarr, PNG or JPG; several for a batch.",
        ),
    ],
    output: Annotated[
        Path | None,
        output_option(
            "-o",
            "--output",
            metavar="FILE",
            help=".ome.tif, .ome.zarr, .tif or .png. Default: INPUT_x2.ome.tif beside "
            "the input.",
        ),
    ] = None,
    output_dir: Annotated[
        Path | None,
        output_option(
            "--output-dir",
            metavar="DIR",
            help="Folder for the results; created if needed.",
        ),
    ] = None,
    ending: Annotated[
        str,
        output_option(
            "--format",
            metavar="ENDING",
            help="Format of results without a given name: ome.tif or ome.zarr.",
        ),
    ] = "ome.tif",
    factor: options.Factor = None,
    factor_z: options.FactorZ = None,
    kernel_z: options.KernelZ = None,
    preset: options.Preset = "balanced",
    blur: Blur = DEFAULT_BLUR,
    noise: options.Noise = None,
    gradual: options.Gradual = None,
    back_projection: Annotated[
        int | None,
        engine_option(
            "--back-projection",
            metavar="N",
            help=(
                "Rounds of correction (back-projection) that make the result agree "
                "with the input when it is shrunk again; 0 for none."
            ),
        ),
    ] = None,
    ensemble: options.Ensemble = None,
    start: options.Start = None,
    steps: options.TrainingSteps = None,
    learned_steps: options.LearnedSteps = None,
    strategy: Annotated[
        str | None,
        engine_option(
            "--strategy",
            metavar="NAME",
            help=(
                "Training on a stack: tuned (one network, tuned per slice), shared "
                "(one network) or independent (new network per slice). Default: "
                "tuned; with the preset paper, independent."
            ),
        ),
    ] = None,
    always: Annotated[
        bool,
        engine_option(
            "--always",
            help=(
                "Return the full result even where it is no better than bicubic "
                "interpolation or checks do not support it; only a warning is given."
            ),
        ),
    ] = False,
    error_map: Annotated[
        bool,
        engine_option(
            "--error-map",
            help=(
                "Also write the standard error of every pixel, as NAME_error beside "
                "the result."
            ),
        ),
    ] = False,
    seed: options.Seed = None,
    device: options.Device = None,
    precision: options.Precision = None,
    tile_px: Annotated[
        int | None,
        engine_option(
            "--tile-px",
            metavar="N",
            help=(
                "Size of the tiles that are computed at once, in input pixels. "
                "Default: as memory allows."
            ),
        ),
    ] = None,
    dtype: Annotated[
        str | None,
        output_option(
            "--dtype",
            metavar="auto|same|float32",
            help=(
                "Pixel type of the result: same (as the image), float32, or auto "
                "(as the image, but float32 if it has few counts). Default: auto."
            ),
        ),
    ] = None,
    reading: options.Reading = options.DEFAULT_READING,
    labels: Annotated[
        bool,
        input_option(
            "--labels",
            help=(
                "The input is a label image or mask: enlarge it by nearest pixels, "
                "without new values."
            ),
        ),
    ] = False,
    fill_nonfinite: options.FillNonfinite = False,
    save_networks: Annotated[
        Path | None,
        output_option(
            "--save-networks",
            metavar="FILE",
            help=(
                "Save the trained networks as .safetensors, for --start with a "
                "similar image."
            ),
        ),
    ] = None,
    overwrite: options.Overwrite = False,
    skip_existing: Annotated[
        bool,
        output_option(
            "--skip-existing", help="Skip images whose result exists already."
        ),
    ] = False,
    continue_on_error: Annotated[
        bool,
        output_option(
            "--continue-on-error/--stop-on-error",
            help="After an error, continue with the next image, or stop.",
        ),
    ] = True,
    report: Annotated[
        Path | None,
        output_option(
            "--report",
            metavar="FILE",
            help="Write a table of all images as .csv, updated after each one.",
        ),
    ] = None,
    workers: Annotated[
        int,
        worker_option(
            "--workers",
            metavar="N",
            help=(
                "Number of processes that work in parallel, shared among all "
                "graphics cards; 0 uses this process only."
            ),
        ),
    ] = 0,
    scheduler: Annotated[
        str,
        worker_option(
            "--scheduler",
            metavar="ADDRESS",
            help=(
                "Dask scheduler of the workers: tcp://host:8786 or its scheduler file."
            ),
        ),
    ] = "",
    threads: Annotated[
        int | None,
        worker_option(
            "--threads",
            metavar="N",
            help=(
                "Threads of each worker. Default: all cores, divided among the workers."
            ),
        ),
    ] = None,
    retries: Annotated[
        int,
        worker_option(
            "--retries", metavar="N", help="How often a failed plane is tried again."
        ),
    ] = 1,
    shard: Annotated[
        str | None,
        worker_option(
            "--shard",
            metavar="I/N",
            help=(
                "Compute only part I of N, for job arrays; the last job to finish "
                "completes the file."
            ),
        ),
    ] = None,
    json: options.Json = False,
) -> int:
    """Enlarge images with networks trained on each image alone.

    An interrupted run continues where it stopped when it is started again.
    """
    config = options.settings(
        preset,
        factor,
        factor_z=factor_z,
        kernel_z=kernel_z,
        kernel=blur.spec(),
        noise=noise,
        gradual=gradual,
        back_projection=back_projection,
        ensemble=ensemble,
        start=start,
        steps=steps,
        learned_steps=learned_steps,
        strategy=strategy,
        always=always or None,
        error_map=error_map or None,
        seed=seed,
        device=device,
        precision=precision,
        tile_px=tile_px,
        dtype=dtype,
        nonfinite="fill" if fill_nonfinite else None,
    )
    request = Request(
        config=config,
        workers=Workers(processes=workers, scheduler=scheduler, retries=retries),
        threads=threads,
        shard=options.parse_shard(shard),
        overwrite=overwrite,
        networks=save_networks,
        reading=reading,
        labels=labels,
        quiet=json,
    )
    pairs = _pairs(_expand(images), output, output_dir, request, ending.lstrip("."))
    if len(pairs) == 1 and report is None and not skip_existing:
        return _upscale_single(*pairs[0], request)
    _check_batch(pairs, output, save_networks)
    if report is not None:
        _check_report(report)
    rows: list[Row] = []
    for number, (image, target) in enumerate(pairs, start=1):
        if not json:
            console.note(f"[{number}/{len(pairs)}] {image}")
        row, is_disk_full = _upscale_row(image, target, request, skip_existing)
        rows.append(row)
        if not json:
            console.note(f"  {row.status}: {row.sentence}")
        if report is not None:
            _write_report(report, rows)
        if is_disk_full or (row.status == FAILED and not continue_on_error):
            break
    if json:
        console.echo_json([asdict(row) for row in rows])
    else:
        typer.echo(console.table(_table(rows)))
    good = {DONE, SKIPPED} | ({UNFINISHED} if request.shard[1] > 1 else set())
    return 0 if all(row.status in good for row in rows) else 1


def _expand(images: list[Path]) -> list[Path]:
    """Each file once, with the patterns that the shell left."""
    files: list[Path] = []
    for image in images:
        is_pattern = any(character in image.name for character in "*?[")
        matching = [image]
        if is_pattern and not image.exists():
            matching = sorted(image.parent.glob(image.name))
        if not matching:
            raise InputError(
                f"No file matches {str(image)!r}; check the folder and the ending."
            )
        files += matching
    return list(dict.fromkeys(files))


def _pairs(
    images: list[Path],
    output: Path | None,
    output_dir: Path | None,
    request: Request,
    ending: str,
) -> list[tuple[Source, Path]]:
    """Images and their targets, without the images that are targets of others."""
    from napari_zssr.io.contents import ALL, labelled_path

    pairs = []
    for path in images:
        for source in sources(path, request.reading.image):
            target = output
            if target is None:
                target = default_output(path, request.config, ending, source.label)
                if output_dir is not None:
                    target = output_dir / target.name
            elif source.label and request.reading.image == ALL:
                target = labelled_path(target, source.label)
            pairs.append((source, target))
    if output_dir is not None:
        try:
            output_dir.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(
                f"The folder {output_dir} cannot be created ({error.strerror}); give "
                "another one."
            ) from error
    results = {target: each.path for each, target in pairs if each.path != target}
    for path in images:
        if path in results:
            console.note(
                f"{path} was skipped, because it is the result of {results[path].name}."
            )
    return [pair for pair in pairs if pair[0].path not in results]


def _upscale_single(image: Source, target: Path, request: Request) -> int:
    """Enlarge one image and print the result; the exit code."""
    result = enlarge(image, target, request)
    code = 1 if result.failures else 0
    if request.quiet:
        console.echo_json(result.to_dict())
        return code
    if result.missing:
        for _, sentence in result.failures:
            console.note(sentence)
        typer.echo(_unfinished_sentence(result))
        return code
    typer.echo(f"{target}: {result.outline.text}")
    typer.echo(result.report.sentence)
    if request.config.kernel.kind != "bicubic":
        sentences = [str(kernel["sentence"]) for kernel in result.report.kernels]
        names = [channel.name for channel in result.outline.channels]
        for name, sentence in console.by_channel(sentences, names):
            typer.echo(f"Blur of {name}: {sentence}" if name else f"Blur: {sentence}")
    if request.networks is not None:
        saved = "trained networks saved"
        if result.networks is None:
            saved = "not written, because no network was trained"
        typer.echo(f"{request.networks}: {saved}")
    return code


def _unfinished_sentence(result: Result) -> str:
    count = len(result.report.planes)
    total = result.missing + count
    done = f"{count} of {total} planes {'is' if count == 1 else 'are'} finished"
    if result.failures:
        return (
            f"{done}, {len(result.failures)} failed; finished planes are kept in "
            f"{result.target.name}.part; run the same again to try the others."
        )
    return f"{done}; the last shard to finish completes {result.target}."


def _check_batch(
    pairs: list[tuple[Source, Path]], output: Path | None, networks: Path | None
) -> None:
    """Refuse several images where only one makes sense, and clashing targets."""
    option = "-o" if output is not None else "--save-networks"
    several = len({source.path for source, _ in pairs}) > 1
    if (several and output is not None) or (len(pairs) > 1 and networks is not None):
        raise InputError(
            f"{option} names one file, but {len(pairs)} images are given; give one "
            "image, or --output-dir instead of -o."
        )
    known: dict[Path, Source] = {}
    for source, target in pairs:
        if target in known:
            raise InputError(
                f"{known[target]} and {source} would both become {target.name}; "
                "rename one of them, or enlarge them into different folders."
            )
        known[target] = source


def _check_report(path: Path) -> None:
    if path.suffix.lower() != ".csv":
        raise InputError(f"The report {path.name!r} must end in .csv; rename it.")
    if not path.resolve().parent.is_dir():
        raise InputError(
            f"The folder {path.resolve().parent} does not exist; create it first."
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One image in the table of a batch; `image` is its label in the file.

    Of the finished `planes` those are `learned` that are not bicubic, with medians of
    the difference from bicubic (RMS, percent of the range) and of the shrunk test.
    """

    file: str
    output: str
    status: str
    planes: int = 0
    learned: int = 0
    changed: float | None = None
    gain_db: float | None = None
    seconds: float = 0.0
    sentence: str = ""
    image: str = ""


def _upscale_row(
    image: Source, target: Path, request: Request, skip_existing: bool
) -> tuple[Row, bool]:
    """Enlarge an image of a batch; whether the disk is full, so that none follows."""
    from napari_zssr.execution.ledger import part_folder

    # Unlike Path.exists, this accepts names that are too long.
    if skip_existing and os.path.exists(target) and not part_folder(target).exists():
        report = _existing_report(target)
        sentence = f"{target.name} exists already. {_report_sentence(report)}"
        return _row(image, target, SKIPPED, sentence, report), False
    started = time.monotonic()
    is_disk_full = False
    try:
        result = enlarge(image, target, request)
    except Exception as error:  # noqa: BLE001 the other images are to be done
        is_disk_full = isinstance(error, StorageError)
        row = _row(image, target, FAILED, exit_status(error)[1], {})
    else:
        report = result.report.to_dict()
        status, sentence = DONE, _report_sentence(report)
        if result.missing:
            status = FAILED if result.failures else UNFINISHED
            count = result.missing
            missing = "1 plane is" if count == 1 else f"{count} planes are"
            reasons = (reason for _, reason in result.failures[:1])
            sentence = " ".join([f"{missing} missing.", *reasons])
        row = _row(image, target, status, sentence, report)
    return replace(row, seconds=round(time.monotonic() - started, 2)), is_disk_full


def _existing_report(target: Path) -> dict[str, Any]:
    """Report in the metadata of an existing result; empty if there is none."""
    from napari_zssr.io.write import read_provenance

    report: Any = None
    with suppress(InputError):
        report = (read_provenance(target) or {}).get("report")
    if isinstance(report, dict) and isinstance(report.get("planes"), list):
        return report
    return {}


def _report_sentence(report: dict[str, Any]) -> str:
    return " ".join([*report.get("messages", ()), report.get("sentence", "")])


def _row(
    image: Source, target: Path, status: str, sentence: str, report: dict[str, Any]
) -> Row:
    planes = report.get("planes", ())
    learned = [p for p in planes if p.get("returned") == "learned"]
    changes = [p["quality"]["change"] for p in learned if p.get("quality")]
    gains = [p["gain_db"] for p in learned if p.get("gain_db") is not None]
    return Row(
        file=str(image.path),
        image=image.label,
        output=str(target),
        status=status,
        planes=len(planes),
        learned=len(learned),
        changed=100 * median(changes) if changes else None,
        gain_db=median(gains) if gains else None,
        sentence=sentence,
    )


def _write_report(path: Path, rows: Sequence[Row]) -> None:
    text = io.StringIO()
    writer = csv.DictWriter(text, [field.name for field in fields(Row)])
    writer.writeheader()
    writer.writerows(map(asdict, rows))
    with atomic_write(path) as draft:
        draft.write_text(text.getvalue(), encoding="utf-8", newline="")


def _table(rows: Sequence[Row]) -> list[list[str]]:
    lines = [["file", "status", "planes", "trained", "changed", "time"]]
    for row in rows:
        changed = "" if row.changed is None else f"{row.changed:.2g} %"
        counts = [str(row.planes or ""), str(row.learned) if row.planes else ""]
        spent = duration_text(row.seconds) if row.seconds else ""
        name = f"{Path(row.file).name} {row.image}".rstrip()
        lines.append([name, row.status, *counts, changed, spent])
    return lines
