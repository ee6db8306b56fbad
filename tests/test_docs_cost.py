"""What the documentation says of estimated times is what its table says."""

from __future__ import annotations

import csv
import re

import pytest
from conftest import DOCS

from benchmarks.estimated_time import CASES, COLUMNS

BEFORE, EARLY, SEEN = COLUMNS[6:]


def table() -> list[dict[str, str]]:
    path = DOCS / "benchmarks" / "cost.csv"
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def within(column: str, limit: float, seen: str) -> str:
    rows = [row for row in table() if row[SEEN] == seen]
    found = [float(row[column]) for row in rows if row[column]]
    return f"{sum(abs(ratio - 1) <= limit for ratio in found)} of {len(found)}"


def furthest(column: str) -> tuple[str, str]:
    """Which run was furthest off, and by how much."""
    rows = [row for row in table() if row[column]]
    worst = max(rows, key=lambda row: abs(float(row[column]) - 1))
    off = float(worst[column]) - 1
    return worst["run"], f"{100 * abs(off):.0f} % too {'short' if off < 0 else 'long'}"


def test_the_table_is_of_the_runs_of_the_benchmark() -> None:
    rows = table()
    assert tuple(rows[0]) == COLUMNS
    assert [(row["run"], row[SEEN] == "no") for row in rows] == [
        (case.name, case.unseen) for case in CASES
    ]
    for row in rows:
        taken = float(row["taken"])
        assert float(row[BEFORE]) == pytest.approx(float(row["estimated"]) / taken)
        if row[EARLY]:
            assert float(row[EARLY]) == pytest.approx(
                float(row["estimated early"]) / taken
            )


def test_the_page_says_how_far_off_they_were() -> None:
    page = (DOCS / "benchmarks.md").read_text("utf-8")
    section = re.search(r"\*\*Estimated and taken\*\*.*?\n\n", page, re.DOTALL)
    assert section is not None
    text = " ".join(section[0].split())
    of_eight = f"Of the eight, {within(BEFORE, 0.5, 'yes')} times before the run were"
    assert f"{of_eight} within 50 %" in text
    assert f"{within(EARLY, 0.3, 'yes')} within 30 %" in text
    of_four = f"{within(BEFORE, 0.5, 'no')} and {within(EARLY, 0.3, 'no')}"
    assert f"of the four, {of_four}." in text
    run, off = furthest(BEFORE)
    assert f"the {run}, estimated {off} before the run" in text
    run, off = furthest(EARLY)
    assert f"it was the {run}, {off}." in text
