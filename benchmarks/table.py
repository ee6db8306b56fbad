"""A table of figures: as text, as CSV, as Markdown and as a picture."""

from __future__ import annotations

import csv
import io
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from napari_zssr.errors import ComputeError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Cell = str | int | float | None

NO_PLOT = (
    "No picture was drawn, since matplotlib is not installed; "
    "pip install napari-zssr[benchmark] brings it."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """What a benchmark measured.

    Attributes
    ----------
    title : str
        What was measured, with which settings.
    columns : tuple of str
        Headings; the first column names the rows.
    rows : tuple of tuple
        Text, numbers, or None for nothing.
    notes : tuple of str
        Sentences on how it was measured.
    plotted : tuple of str
        Columns that the picture shows.
    images : Table, optional
        What it sums up, one row for each image.
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    notes: tuple[str, ...] = ()
    plotted: tuple[str, ...] = ()
    images: Table | None = None

    def column(self, name: str) -> tuple[Cell, ...]:
        """All cells of one column."""
        place = self.columns.index(name)
        return tuple(row[place] for row in self.rows)

    def to_csv(self) -> str:
        """Comma-separated text with full precision, headings first."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(self.columns)
        writer.writerows(
            ["" if cell is None else cell for cell in row] for row in self.rows
        )
        return text.getvalue()

    def to_markdown(self) -> str:
        """Title, table and notes as Markdown, numbers rounded for reading."""
        lines = [self.columns, ["---"] * len(self.columns)]
        lines += [[readable(cell) for cell in row] for row in self.rows]
        body = "\n".join("| " + " | ".join(line) + " |" for line in lines)
        notes = "".join(f"\n- {note}" for note in self.notes)
        return f"**{self.title}**\n\n{body}\n" + (f"{notes}\n" if notes else "")


def readable(cell: Cell) -> str:
    """Four significant digits at least, as few characters as that needs."""
    if cell is None:
        return ""
    if not isinstance(cell, float):
        return str(cell).replace("|", "\\|")
    if not math.isfinite(cell) or cell == 0:
        return f"{cell:g}"
    size = abs(cell)
    if size < 1e-3:
        return f"{cell:.2g}"
    return (
        f"{cell:.4f}" if size < 2 else f"{cell:.2f}" if size < 1000 else f"{cell:.0f}"
    )


def mean_row(rows: Sequence[tuple[Cell, ...]], label: str = "mean") -> tuple[Cell, ...]:
    """Mean of every column that holds numbers only; None elsewhere."""
    means: list[Cell] = [label]
    for column in list(zip(*rows, strict=True))[1:]:
        numbers = [float(c) for c in column if isinstance(c, int | float)]
        whole = len(numbers) == len(column)
        means.append(sum(numbers) / len(numbers) if whole and numbers else None)
    return tuple(means)


def save(table: Table, folder: Path, stem: str) -> Table:
    """Write ``stem.csv``, ``stem.md`` and ``stem.png`` into `folder`.

    What is known of each image is written as ``stem_images.csv``.

    Returns
    -------
    Table
        With a further note where no picture could be drawn.

    Raises
    ------
    ComputeError
        The folder cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if table.plotted and not _draw(table, folder / f"{stem}.png"):
            table = replace(table, notes=(*table.notes, NO_PLOT))
        _put(folder / f"{stem}.csv", table.to_csv())
        _put(folder / f"{stem}.md", table.to_markdown())
        if table.images is not None:
            _put(folder / f"{stem}_images.csv", table.images.to_csv())
    except OSError as error:
        raise ComputeError(
            f"The tables cannot be written to {folder} ({error.strerror}); give "
            "another folder."
        ) from error
    return table


def _put(path: Path, text: str) -> None:
    draft = path.with_name(f".{path.name}.part")
    draft.write_text(text, encoding="utf-8", newline="\n")
    os.replace(draft, path)


def _draw(table: Table, path: Path) -> bool:
    """Dot plot of the plotted columns; False without matplotlib."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        return False
    figure = Figure(figsize=(7, 1.5 + 0.25 * len(table.rows)), layout="constrained")
    FigureCanvasAgg(figure)
    _dots(figure.add_subplot(), table)
    draft = path.with_name(f".{path.name}.part")
    figure.savefig(draft, dpi=120, format="png")
    os.replace(draft, path)
    return True


def _dots(axes: Axes, table: Table) -> None:
    labels = [str(cell) for cell in table.column(table.columns[0])]
    for name in table.plotted:
        cells = table.column(name)
        known = [i for i, c in enumerate(cells) if isinstance(c, int | float)]
        values = [float(c) for c in cells if isinstance(c, int | float)]
        axes.plot(values, known, "o", label=name, alpha=0.8)
    axes.set_yticks(range(len(labels)), labels, fontsize=7)
    axes.invert_yaxis()
    axes.grid(axis="both", alpha=0.3)
    axes.set_title(table.title, fontsize=9, wrap=True)
    axes.legend(fontsize=7)
