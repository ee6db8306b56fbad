"""``napari-zssr upscale``: enlarge image files."""

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
from typing import Any

import typer

from napari_zssr.atomic import atomic_write
from napari_zssr.cli import console, exit_status, options
from napari_zssr.cli.enlarge import (
    Order,
    Outcome,
    Source,
    default_output,
    enlarge,
    sources,
)
from napari_zssr.cli.kernel import NOTHING_SAID, Blur, takes_blur, told_of
from napari_zssr.errors import InputError, StorageError
from napari_zssr.execution.executors import Workers

DONE, SKIPPED, UNFINISHED, FAILED = "done", "skipped", "unfinished", "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One image in the table.

    Attributes
    ----------
    file, output : str
    status : {"done", "skipped", "unfinished", "failed"}
    planes, learned : int
        Planes that are finished, and those of them that are not bicubic's.
    changed : float or None
        Median difference of these from bicubic, root mean square, in percent of the
        intensity range.
    gain_db : float or None
        Median gain of these on held-out regions of the image shrunk.
    seconds : float
    sentence : str
        What was assumed when it was read, and what came of it.
    image : str
        Which one of several images in the file, by name or index.
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


class Batch:
    """Several images by one order.

    Parameters
    ----------
    order : Order
    skip_existing : bool
        Leave out images whose result is there.
    continue_on_error : bool
        Go on with the next image after an error.
    report : Path or None
        Table as .csv, whole again after every image.
    """

    def __init__(
        self,
        order: Order,
        *,
        skip_existing: bool = False,
        continue_on_error: bool = True,
        report: Path | None = None,
    ) -> None:
        self._order = order
        self._skip_existing = skip_existing
        self._continue = continue_on_error
        self._report = report
        self._rows: list[Row] = []
        if report is not None:
            _check_report(report)

    def run(
        self, pairs: Sequence[tuple[Source, Path]], *, as_json: bool = False
    ) -> int:
        """Enlarge each image into its target; the exit code."""
        for number, (image, target) in enumerate(pairs, start=1):
            if not as_json:
                console.note(f"[{number}/{len(pairs)}] {image}")
            row, go_on = self._row(image, target)
            self._rows.append(row)
            if not as_json:
                console.note(f"  {row.status}: {row.sentence}")
            if self._report is not None:
                self._report_to(self._report)
            if not go_on:
                break
        if as_json:
            console.echo_json([asdict(row) for row in self._rows])
        else:
            typer.echo(console.table(_table(self._rows)))
        good = {DONE, SKIPPED} | ({UNFINISHED} if self._order.shard[1] > 1 else set())
        return 0 if all(row.status in good for row in self._rows) else 1

    def _row(self, image: Source, target: Path) -> tuple[Row, bool]:
        """What came of an image, and whether to go on with the next one."""
        from napari_zssr.execution.finish import part_folder

        there = os.path.exists(target) and not part_folder(target).exists()
        if self._skip_existing and there:
            return _skipped(image, target), True
        started = time.monotonic()
        try:
            row = _row(image, enlarge(image, target, self._order))
        except Exception as error:  # noqa: BLE001 the other images are to be done
            row = _failed(image, target, error)
            # The next image would find no room either.
            go_on = self._continue and not isinstance(error, StorageError)
        else:
            go_on = self._continue or row.status != FAILED
        return replace(row, seconds=round(time.monotonic() - started, 2)), go_on

    def _report_to(self, path: Path) -> None:
        text = io.StringIO()
        writer = csv.DictWriter(text, [field.name for field in fields(Row)])
        writer.writeheader()
        writer.writerows(asdict(row) for row in self._rows)
        with atomic_write(path) as draft:
            draft.write_text(text.getvalue(), encoding="utf-8", newline="")


def _row(image: Source, made: Outcome) -> Row:
    planes = [asdict(plane) for plane in made.report.planes]
    row = _counted(image, made.target, planes)
    if not made.missing:
        return replace(row, status=DONE, sentence=_sentence(made.report.to_dict()))
    status = FAILED if made.failures else UNFINISHED
    count = "1 plane is" if made.missing == 1 else f"{made.missing} planes are"
    why = (sentence for _, sentence in made.failures[:1])
    return replace(row, status=status, sentence=" ".join([f"{count} missing.", *why]))


def _skipped(image: Source, target: Path) -> Row:
    """What the record of a finished result tells of it."""
    from napari_zssr.io.write import read_provenance

    told: Any = {}
    with suppress(InputError):
        told = (read_provenance(target) or {}).get("report")
    if not isinstance(told, dict) or not isinstance(told.get("planes"), list):
        told = {}
    row = _counted(image, target, told.get("planes", []))
    there = f"{target.name} is there already."
    return replace(row, status=SKIPPED, sentence=f"{there} {_sentence(told)}")


def _sentence(report: dict[str, Any]) -> str:
    """What was assumed when an image was read, and what came of it."""
    return " ".join([*report.get("messages", ()), report.get("sentence", "")])


def _failed(image: Source, target: Path, error: Exception) -> Row:
    _, sentence = exit_status(error)
    return Row(
        file=str(image.path),
        image=image.label,
        output=str(target),
        status=FAILED,
        sentence=sentence,
    )


def _counted(image: Source, target: Path, planes: Sequence[dict[str, Any]]) -> Row:
    learned = [p for p in planes if p.get("returned") == "learned"]
    changes = [p["quality"]["change"] for p in learned if p.get("quality")]
    gains = [p["gain_db"] for p in learned if p.get("gain_db") is not None]
    return Row(
        file=str(image.path),
        image=image.label,
        output=str(target),
        status=DONE,
        planes=len(planes),
        learned=len(learned),
        changed=100 * median(changes) if changes else None,
        gain_db=median(gains) if gains else None,
    )


def _table(rows: Sequence[Row]) -> list[list[str]]:
    lines = [["file", "status", "planes", "learned", "changed", "time"]]
    for row in rows:
        changed = "" if row.changed is None else f"{row.changed:.2g} %"
        counts = [str(row.planes or ""), str(row.learned) if row.planes else ""]
        spent = console.in_seconds(row.seconds) if row.seconds else ""
        name = f"{Path(row.file).name} {row.image}".rstrip()
        lines.append([name, row.status, *counts, changed, spent])
    return lines


def _check_report(path: Path) -> None:
    if path.suffix.lower() != ".csv":
        raise InputError(f"The report {path.name!r} must end in .csv; rename it.")
    if not path.resolve().parent.is_dir():
        raise InputError(
            f"The folder {path.resolve().parent} does not exist; create it first."
        )


@takes_blur
@options.takes_reading
def upscale(
    images: options.Inputs,
    output: options.Output = None,
    output_dir: options.OutputDir = None,
    ending: options.Ending = "ome.tif",
    factor: options.Factor = None,
    preset: options.Preset = "balanced",
    blur: Blur = NOTHING_SAID,
    noise: options.Noise = None,
    gradual: options.Gradual = None,
    back_projection: options.BackProjection = None,
    ensemble: options.Ensemble = None,
    start: options.Start = None,
    steps: options.TrainingSteps = None,
    learned_steps: options.LearnedSteps = None,
    strategy: options.Strategy = None,
    always: options.Always = False,
    seed: options.Seed = None,
    device: options.Device = None,
    precision: options.Precision = None,
    tile_px: options.TilePx = None,
    dtype: options.OutputType = None,
    reading: options.Reading = options.AS_THE_FILE_SAYS,
    labels: options.Labels = False,
    fill_nonfinite: options.FillNonfinite = False,
    save_networks: options.SaveNetworks = None,
    overwrite: options.Overwrite = False,
    skip_existing: options.SkipExisting = False,
    continue_on_error: options.ContinueOnError = True,
    report: options.ReportFile = None,
    workers: options.Processes = 0,
    scheduler: options.Scheduler = "",
    threads: options.Threads = None,
    retries: options.Retries = 1,
    shard: options.Shard = None,
    json: options.Json = False,
) -> int:
    """Enlarge images along Y and X, by networks trained on each image alone.

    A run that was stopped or killed goes on where it was when it is started again.
    """
    config = options.settings(
        preset,
        factor,
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
        seed=seed,
        device=device,
        precision=precision,
        tile_px=tile_px,
        dtype=dtype,
        nonfinite="fill" if fill_nonfinite else None,
    )
    order = Order(
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
    pairs = _pairs(expanded(images), output, output_dir, order, ending)
    if len(pairs) == 1 and report is None and not skip_existing:
        return _one(*pairs[0], order, as_json=json)
    _check_batch(pairs, output, save_networks)
    batch = Batch(
        order,
        skip_existing=skip_existing,
        continue_on_error=continue_on_error,
        report=report,
    )
    return batch.run(pairs, as_json=json)


def expanded(images: list[Path]) -> list[Path]:
    """Each file once, with those of the patterns that no shell has filled in."""
    found: list[Path] = []
    for image in images:
        pattern = image.name
        if image.exists() or not any(mark in pattern for mark in "*?["):
            found.append(image)
            continue
        matching = sorted(image.parent.glob(pattern))
        if not matching:
            raise InputError(f"No file fits {str(image)!r}; check folder and ending.")
        found += matching
    return list(dict.fromkeys(found))


def _pairs(
    images: list[Path],
    output: Path | None,
    output_dir: Path | None,
    order: Order,
    ending: str,
) -> list[tuple[Source, Path]]:
    """Images and what they become, results of the others among them left out."""
    pairs = []
    for path in images:
        for source in sources(path, order.reading.image):
            target = _target(source, output, order, ending.lstrip("."))
            if output is None and output_dir is not None:
                target = output_dir / target.name
            pairs.append((source, target))
    if output_dir is not None:
        _make_folder(output_dir)
    results = {target: each.path for each, target in pairs if each.path != target}
    for path in images:
        if path in results:
            console.note(
                f"{path} is left out: it is what {results[path].name} becomes."
            )
    return [pair for pair in pairs if pair[0].path not in results]


def _target(source: Source, output: Path | None, order: Order, ending: str) -> Path:
    """File of a result; several images of a file have their labels in the name."""
    from napari_zssr.io.contents import ALL, labelled_path

    if output is None:
        return default_output(source.path, order.config, ending, source.label)
    if source.label and order.reading.image == ALL:
        return labelled_path(output, source.label)
    return output


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"The folder {folder} cannot be made ({error.strerror}); give another one."
        ) from error


def _check_batch(
    pairs: list[tuple[Source, Path]], output: Path | None, networks: Path | None
) -> None:
    """Refuse what can only be meant for one image."""
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


def _one(image: Source, target: Path, order: Order, *, as_json: bool) -> int:
    made = enlarge(image, target, order)
    if as_json:
        console.echo_json(made.to_dict())
    else:
        _tell(made, order)
    return 1 if made.failures else 0


def _tell(made: Outcome, order: Order) -> None:
    if made.missing:
        for _, sentence in made.failures:
            console.note(sentence)
        typer.echo(_unfinished(made))
        return
    typer.echo(f"{made.target}: {console.describe(made.outline)}")
    typer.echo(made.report.sentence)
    for sentence in _blurs(made, order):
        typer.echo(sentence)
    if order.networks is not None:
        told = (
            "what was learned" if made.networks else "not written, nothing was learned"
        )
        typer.echo(f"{order.networks}: {told}")


def _blurs(made: Outcome, order: Order) -> list[str]:
    """What was found of the blur, where something was said of it."""
    if order.config.kernel.kind == "bicubic":
        return []
    told = [str(kernel["sentence"]) for kernel in made.report.kernels]
    names = [channel.name for channel in made.outline.channels]
    return [
        f"Blur of {name}: {sentence}" if name else f"Blur: {sentence}"
        for name, sentence in told_of(told, names)
    ]


def _unfinished(made: Outcome) -> str:
    planes = made.missing + len(made.report.planes)
    count = len(made.report.planes)
    done = f"{count} of {planes} planes {'is' if count == 1 else 'are'} finished"
    if made.failures:
        return (
            f"{done}, {len(made.failures)} failed; what is finished is kept in "
            f"{made.target.name}.part, run the same again to try the others."
        )
    return f"{done}; the last shard to finish completes {made.target}."
