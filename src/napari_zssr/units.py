"""Amounts in words: bytes, durations, numbers of things, signed numbers."""

from __future__ import annotations

from collections.abc import Sequence

A_HANDFUL = 5


def bytes_text(count: float | None) -> str:
    """Bytes with their unit: ``1.2 GB``."""
    if count is None:
        return "unknown"
    for unit in ("B", "kB", "MB", "GB"):
        if count < 999.5:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} TB"


def duration_text(seconds: float) -> str:
    """Duration with its unit: ``12 s``, ``3 min``, ``2.5 h``."""
    if seconds < 100:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    if seconds < 6000:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"


def counted(count: int, noun: str) -> str:
    """A number with its noun: ``1 plane``, ``2 planes``."""
    return f"{count} {noun}{'' if count == 1 else 's'}"


def only_counted(count: int, noun: str) -> str:
    """`counted`, which says of a handful that a statement rests on little."""
    return f"{'only ' * (count < A_HANDFUL)}{counted(count, noun)}"


def list_text(names: Sequence[str]) -> str:
    """Names in words: a; a and b; a, b and c; by semicolons where they hold commas."""
    *first, last = names
    mark = "; " if any("," in name for name in names) else ", "
    return f"{mark.join(first)} and {last}" if first else last


def signed(value: float, digits: int = 2) -> str:
    """A number with its sign; what rounds to zero has a plus."""
    return f"{round(float(value), digits) + 0.0:+.{digits}f}"
