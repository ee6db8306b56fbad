"""Many image files, one after the other, and a table of what came of them."""

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

from napari_zssr.cli import console, verdict
from napari_zssr.cli.enlarge import Order, Outcome, Source, enlarge
from napari_zssr.errors import InputError, StorageError
from napari_zssr.writing import written_whole

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
        from napari_zssr.stack.finish import part_folder

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
        with written_whole(path) as draft:
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
    from napari_zssr.stack.store import read_provenance

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
    _, sentence = verdict(error)
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
