"""Plots of curves as SVG, to stand inside a page."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import numpy as np
from numpy.typing import NDArray

WIDTH, HEIGHT = 560, 330
LEFT, RIGHT, TOP, BOTTOM = 64, 14, 12, 46
TICKS = 6
# Told apart by all eyes (Okabe & Ito), and by their dashes in print.
COLOURS = ("#0072B2", "#D55E00", "#009E73")
DASHES = ("none", "7 3", "2 3")
INK, GRID = "#333", "#ddd"
DOTTED = f'stroke="{INK}" stroke-dasharray="1 3"'
RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Line:
    """A curve, x and y of shape (N,), and its name."""

    label: str
    x: NDArray[Any]
    y: NDArray[Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """A straight line across the plot at one value, and its name."""

    label: str
    at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Axis:
    """Name and range of an axis; `log` in decades."""

    label: str
    low: float
    high: float
    log: bool = False

    def share(self, values: Any) -> NDArray[np.float64]:
        """Where values lie, 0 at the low end and 1 at the high one; NaN nowhere."""
        ends = np.array([self.low, self.high])
        values = np.asarray(values, dtype=np.float64)
        if self.log:
            values = np.log10(np.where(values > 0, values, np.nan))
            ends = np.log10(ends)
        return np.asarray((values - ends[0]) / (ends[1] - ends[0]))

    @property
    def ticks(self) -> list[float]:
        """Round values inside the range."""
        if self.log:
            decades = range(
                math.ceil(math.log10(self.low) - 1e-9),
                math.floor(math.log10(self.high) + 1e-9) + 1,
            )
            return [10.0**n for n in decades[:: 1 + len(decades) // TICKS]]
        step = _round_step((self.high - self.low) / TICKS)
        lowest = math.ceil(self.low / step - 1e-9)
        return [n * step for n in range(lowest, int(self.high / step + 1e-9) + 1)]

    def text(self, tick: float) -> str:
        """A tick in characters."""
        if self.log:
            return "10" + str(round(math.log10(tick))).translate(RAISED)
        return f"{tick:.4g}"


def plot(
    lines: Sequence[Line],
    x: Axis,
    y: Axis,
    *,
    title: str,
    across: Sequence[Mark] = (),
    upright: Sequence[Mark] = (),
) -> str:
    """Draw curves with axes, ticks, a legend, and marks across and upright."""
    parts = [*_grid(x, y)]
    for mark in across:
        down = float(_down(y.share(mark.at)))
        parts.append(_line((LEFT, down), (WIDTH - RIGHT, down), DOTTED))
        parts.append(_text(mark.label, (LEFT + 4, down - 4), "start"))
    for mark in upright:
        along = float(_along(x.share(mark.at)))
        parts.append(_line((along, TOP), (along, HEIGHT - BOTTOM), DOTTED))
        side, anchor = (4, "start") if along < WIDTH / 2 + LEFT else (-4, "end")
        parts.append(_text(mark.label, (along + side, TOP + 16), anchor))
    for number, line in enumerate(lines):
        points = _points(line, x, y)
        parts.append(f'<path d="{points}" fill="none" {_stroke(number)}/>')
    parts += _legend([line.label for line in lines])
    return (
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" '
        f'role="img" font-family="sans-serif" font-size="12" fill="{INK}">'
        f"<title>{escape(title)}</title>{''.join(parts)}</svg>"
    )


def _round_step(least: float) -> float:
    """The smallest of 1, 2, 5, 10, ... that is no smaller."""
    power = 10.0 ** math.floor(math.log10(least))
    return next(n * power for n in (1, 2, 5, 10) if n * power >= least * (1 - 1e-9))


def _along(share: Any) -> Any:
    return LEFT + share * (WIDTH - LEFT - RIGHT)


def _down(share: Any) -> Any:
    return HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM)


def _points(line: Line, x: Axis, y: Axis) -> str:
    """Path through the points; what lies outside ends at the frame."""
    along, share = x.share(line.x), y.share(line.y)
    known = np.isfinite(share) & np.isfinite(along) & (along <= 1)
    places = zip(_along(along[known]), _down(share[known].clip(0, 1)), strict=True)
    return "M" + "L".join(f"{a:.1f} {b:.1f}" for a, b in places) if known.any() else ""


def _stroke(number: int) -> str:
    colour, dash = COLOURS[number % 3], DASHES[number % 3]
    return f'stroke="{colour}" stroke-width="1.8" stroke-dasharray="{dash}"'


def _text(text: str, place: tuple[float, float], anchor: str, more: str = "") -> str:
    across, down = place
    return (
        f'<text x="{across:.1f}" y="{down:.1f}" text-anchor="{anchor}"{more}>'
        f"{escape(text)}</text>"
    )


def _line(first: tuple[float, float], last: tuple[float, float], style: str) -> str:
    (x1, y1), (x2, y2) = first, last
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" {style}/>'


def _grid(x: Axis, y: Axis) -> list[str]:
    """Frame, ticks and names of the axes."""
    low, right = HEIGHT - BOTTOM, WIDTH - RIGHT
    parts = []
    for tick in x.ticks:
        place = float(_along(x.share(tick)))
        parts.append(_line((place, TOP), (place, low), f'stroke="{GRID}"'))
        parts.append(_text(x.text(tick), (place, low + 16), "middle"))
    for tick in y.ticks:
        place = float(_down(y.share(tick)))
        parts.append(_line((LEFT, place), (right, place), f'stroke="{GRID}"'))
        parts.append(_text(y.text(tick), (LEFT - 6, place + 4), "end"))
    parts.append(
        f'<rect x="{LEFT}" y="{TOP}" width="{right - LEFT}" height="{low - TOP}" '
        f'fill="none" stroke="{INK}"/>'
    )
    middle = (LEFT + right) / 2, (TOP + low) / 2
    parts.append(_text(x.label, (middle[0], HEIGHT - 8), "middle"))
    turned = f' transform="rotate(-90 14 {middle[1]:.1f})"'
    parts.append(_text(y.label, (14, middle[1]), "middle", turned))
    return parts


def _legend(labels: Sequence[str]) -> list[str]:
    parts = []
    for number, label in enumerate(labels):
        down = TOP + 16 + 17 * number
        ends = (WIDTH - RIGHT - 40, down), (WIDTH - RIGHT - 10, down)
        parts.append(_line(*ends, _stroke(number)))
        parts.append(_text(label, (WIDTH - RIGHT - 46, down + 4), "end"))
    return parts
