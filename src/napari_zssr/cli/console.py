"""What the command line shows: progress on stderr, results on stdout."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import typer

from napari_zssr.progress import PlaneDone, Progress, drain
from napari_zssr.stack.report import to_json_types

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress as Bar
    from rich.progress import TaskID

    from napari_zssr.progress import Event, Steps
    from napari_zssr.stack.axes import Outline
    from napari_zssr.stack.image import ImageStack

T = TypeVar("T")


def follow(steps: Steps[T], *, quiet: bool = False) -> T:
    """Run steps to their end behind a progress bar.

    Parameters
    ----------
    steps : Steps
        What to run; closed whatever happens.
    quiet : bool
        Show nothing at all. Without a terminal there is no bar, only messages.
    """
    if quiet:
        return drain(steps)
    with progress_view() as view:
        return drain(steps, view.show)


@contextmanager
def progress_view() -> Iterator[ProgressView]:
    """Progress on stderr, a bar only where that is a terminal."""
    from rich.console import Console

    console = Console(stderr=True)
    with _bar(console) as bar:
        yield ProgressView(bar, console)


class ProgressView:
    """Turns events into a bar for the stage and one for the planes."""

    def __init__(self, bar: Bar, console: Console) -> None:
        self._bar = bar
        self._console = console
        self._said: set[str] = set()
        self._stage: TaskID | None = None
        self._planes: TaskID | None = None
        self._at: tuple[str, int] | None = None

    def show(self, event: Event) -> None:
        """Show one event."""
        if isinstance(event, Progress):
            self._say(event.message)
            self._step(event)
        elif isinstance(event, PlaneDone) and self._planes is not None:
            self._bar.update(self._planes, completed=event.done)

    def _say(self, message: str) -> None:
        if message and message not in self._said:
            self._said.add(message)
            self._console.print(message, highlight=False, markup=False)

    def _step(self, event: Progress) -> None:
        if self._planes is None and event.planes > 1:
            self._planes = self._bar.add_task("planes", total=event.planes, loss="")
        if self._stage is None or self._at != (event.stage, event.plane):
            if self._stage is not None:
                self._bar.remove_task(self._stage)
            self._stage = self._bar.add_task(event.stage, total=event.total, loss="")
            self._at = (event.stage, event.plane)
        self._bar.update(self._stage, completed=event.step, total=event.total)
        if event.loss is not None:
            self._bar.update(self._stage, loss=f"loss {event.loss:.2g}")


def table(rows: Sequence[Sequence[str]]) -> str:
    """Plain text with aligned columns, one row a line."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(
            cell.ljust(width) for cell, width in zip(row, widths, strict=True)
        ).rstrip()
        for row in rows
    )


def echo_json(content: Any) -> None:
    """Print one JSON object on stdout; NaN and Inf become null."""
    typer.echo(to_json(content))


def to_json(content: Any) -> str:
    """JSON text, readable everywhere; NaN and Inf become null."""
    return json.dumps(to_json_types(content), indent=2, allow_nan=False)


def note(sentence: str) -> None:
    """Print a remark on stderr."""
    typer.echo(sentence, err=True)


def note_messages(stack: ImageStack) -> None:
    """Print what was assumed, chosen or converted when an image was read."""
    for message in stack.messages:
        note(message)


def describe(image: Outline) -> str:
    """Axes, shape, dtype and spacing of an image in a few words."""
    shape = " x ".join(str(n) for n in image.shape)
    return f"{image.axes} {shape} {image.dtype}, {describe_spacing(image)}"


def describe_spacing(stack: ImageStack | Outline) -> str:
    """Spacing in words: ``Y 0.1 um, X 0.1 um``."""
    known = [
        f"{letter} {size:.6g} {unit or ''}".strip()
        for letter, size, unit in zip(
            stack.axes, stack.spacing, stack.units, strict=True
        )
        if size is not None
    ]
    return ", ".join(known) or "no pixel size"


def in_bytes(count: float | None) -> str:
    """Bytes in words: ``1.2 GB``."""
    if count is None:
        return "unknown"
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} TB"


def in_seconds(seconds: float) -> str:
    """Duration in words: ``12 s``, ``3 min``, ``2.5 h``."""
    if seconds < 120:
        return f"{seconds:.2g} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes = seconds / 60
    return f"{minutes:.0f} min" if minutes < 120 else f"{minutes / 60:.1f} h"


def _bar(console: Console) -> Bar:
    from rich import progress

    return progress.Progress(
        progress.TextColumn("{task.description}"),
        progress.BarColumn(bar_width=24),
        progress.MofNCompleteColumn(),
        progress.TextColumn("{task.fields[loss]}"),
        progress.TimeRemainingColumn(elapsed_when_finished=True),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )
