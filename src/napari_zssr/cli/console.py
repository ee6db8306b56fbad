"""Output of the command line: progress on stderr, results on stdout."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import typer

from napari_zssr.progress import PlaneDone, Progress, drain, sentence_case, stage_text

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress as Bar
    from rich.progress import TaskID

    from napari_zssr.progress import Event, Steps

T = TypeVar("T")


def follow(steps: Steps[T], *, quiet: bool = False) -> T:
    """Run steps to their end behind a progress bar, or silently."""
    if quiet:
        return drain(steps)
    with progress_view() as view:
        return drain(steps, view.show)


@contextmanager
def progress_view() -> Iterator[ProgressView]:
    """Progress on stderr, with bars only on a terminal."""
    from rich.console import Console

    with _bar(Console(stderr=True)) as bar:
        yield ProgressView(bar)


class ProgressView:
    """Shows events as a bar for the stage and one for the planes."""

    def __init__(self, bar: Bar) -> None:
        self._bar = bar
        self._messages: set[str] = set()
        self._stage: TaskID | None = None
        self._stage_key: tuple[str, int] | None = None
        self._planes: TaskID | None = None

    def show(self, event: Event) -> None:
        """Show one event; a message is printed only once."""
        if isinstance(event, PlaneDone) and self._planes is not None:
            self._bar.update(self._planes, completed=event.done)
        if not isinstance(event, Progress):
            return
        if event.message and event.message not in self._messages:
            self._messages.add(event.message)
            self._bar.console.print(event.message, highlight=False, markup=False)
        if self._planes is None and event.planes > 1:
            self._planes = self._bar.add_task("planes", total=event.planes, figure="")
        if self._stage is None or self._stage_key != (event.stage, event.plane):
            if self._stage is not None:
                self._bar.remove_task(self._stage)
            self._stage = self._bar.add_task(
                sentence_case(stage_text(event.stage)), total=event.total, figure=""
            )
            self._stage_key = (event.stage, event.plane)
        self._bar.update(self._stage, completed=event.step, total=event.total)
        if event.loss is not None:
            self._bar.update(self._stage, figure=f"training error {event.loss:.2g}")
        if event.gain_db is not None:
            self._bar.update(self._stage, figure=f"{event.gain_db:+.2f} dB")


def _bar(console: Console) -> Bar:
    from rich import progress

    return progress.Progress(
        progress.TextColumn("{task.description}"),
        progress.BarColumn(bar_width=24),
        progress.MofNCompleteColumn(),
        progress.TextColumn("{task.fields[figure]}"),
        progress.TimeRemainingColumn(elapsed_when_finished=True),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )


def table(rows: Sequence[Sequence[str]]) -> str:
    """Plain text with aligned columns, one row per line."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(
            cell.ljust(width) for cell, width in zip(row, widths, strict=True)
        ).rstrip()
        for row in rows
    )


def echo_json(content: Any) -> None:
    """Print JSON on stdout; NaN and Inf become null."""
    typer.echo(to_json(content))


def to_json(content: Any) -> str:
    """Standard JSON; NaN and Inf become null."""
    from napari_zssr.stack.report import to_json_types

    return json.dumps(to_json_types(content), indent=2, allow_nan=False)


def note(sentence: str) -> None:
    """Print a remark on stderr."""
    typer.echo(sentence, err=True)


def channel_name(names: Sequence[str], number: int) -> str:
    """Name of a channel, or its number, from 1, if it has none."""
    name = names[number] if number < len(names) else ""
    return name or f"channel {number + 1}"


def by_channel(sentences: Sequence[str], names: Sequence[str]) -> list[tuple[str, str]]:
    """Name and sentence of each channel; one that all share once, without a name."""
    if len(set(sentences)) == 1:
        return [("", sentences[0])]
    return [(channel_name(names, n), sentence) for n, sentence in enumerate(sentences)]
