"""Many image files, one after the other, and a table of what came of them."""

from __future__ import annotations

import csv
import io
import os
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import typer

from napari_zssr.cli import console
from napari_zssr.cli.enlarge import Order, Outcome, enlarge
from napari_zssr.errors import InputError, StorageError, ZSSRError

DONE, SKIPPED, UNFINISHED, FAILED = "done", "skipped", "unfinished", "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One image in the table.

    Attributes
    ----------
    file, output : str
    status : {"done", "skipped", "unfinished", "failed"}
    planes, learned : int
        Planes that are finished, and those of them that gained over bicubic.
    gain_db : float or None
        Median held-out gain of these.
    seconds : float
    sentence : str
        What came of it.
    """

    file: str
    output: str
    status: str
    planes: int = 0
    learned: int = 0
    gain_db: float | None = None
    seconds: float = 0.0
    sentence: str = ""


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

    def run(self, pairs: Sequence[tuple[Path, Path]], *, as_json: bool = False) -> int:
        """Enlarge each image into its target; the exit code."""
        for number, (image, target) in enumerate(pairs, start=1):
            if not as_json:
                console.note(f"[{number}/{len(pairs)}] {image}")
            row = self._row(image, target)
            self._rows.append(row)
            if not as_json:
                console.note(f"  {row.status}: {row.sentence}")
            if self._report is not None:
                self._report_to(self._report)
            if row.status == FAILED and not self._continue:
                break
        if as_json:
            console.echo_json([asdict(row) for row in self._rows])
        else:
            typer.echo(console.table(_table(self._rows)))
        good = {DONE, SKIPPED} | ({UNFINISHED} if self._order.shard[1] > 1 else set())
        return 0 if all(row.status in good for row in self._rows) else 1

    def _row(self, image: Path, target: Path) -> Row:
        if self._skip_existing and target.exists():
            there = f"{target.name} is there already."
            return Row(
                file=str(image), output=str(target), status=SKIPPED, sentence=there
            )
        started = time.monotonic()
        try:
            made = enlarge(image, target, self._order)
        except StorageError:
            # The next image would find no room either.
            raise
        except (ZSSRError, MemoryError) as error:
            return Row(
                file=str(image),
                output=str(target),
                status=FAILED,
                seconds=time.monotonic() - started,
                sentence=str(error) or "The memory of this machine did not suffice.",
            )
        return _row(image, made, time.monotonic() - started)

    def _report_to(self, path: Path) -> None:
        text = io.StringIO()
        writer = csv.DictWriter(text, [field.name for field in fields(Row)])
        writer.writeheader()
        writer.writerows(asdict(row) for row in self._rows)
        draft = path.with_name(f".{path.name}.draft")
        draft.write_text(text.getvalue(), encoding="utf-8", newline="")
        os.replace(draft, path)


def _row(image: Path, made: Outcome, seconds: float) -> Row:
    learned = [p for p in made.report.planes if p.returned == "learned"]
    gains = sorted(p.gain_db for p in learned if p.gain_db is not None)
    status, sentence = DONE, made.report.sentence
    if made.missing:
        status = FAILED if made.failures else UNFINISHED
        sentence = f"{made.missing} planes are missing."
        sentence = " ".join([sentence, *(why for _, why in made.failures[:1])])
    return Row(
        file=str(image),
        output=str(made.target),
        status=status,
        planes=len(made.report.planes),
        learned=len(learned),
        gain_db=gains[len(gains) // 2] if gains else None,
        seconds=seconds,
        sentence=sentence,
    )


def _table(rows: Sequence[Row]) -> list[list[str]]:
    lines = [["file", "status", "planes", "learned", "gain dB", "time"]]
    for row in rows:
        gain = "" if row.gain_db is None else f"{row.gain_db:.2f}"
        counts = [str(row.planes or ""), str(row.learned) if row.planes else ""]
        spent = console.in_seconds(row.seconds) if row.seconds else ""
        lines.append([Path(row.file).name, row.status, *counts, gain, spent])
    return lines


def _check_report(path: Path) -> None:
    if path.suffix.lower() != ".csv":
        raise InputError(f"The report {path.name!r} must end in .csv; rename it.")
    if not path.resolve().parent.is_dir():
        raise InputError(
            f"The folder {path.resolve().parent} does not exist; create it first."
        )
