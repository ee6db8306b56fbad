"""What the documentation says of estimated times is what its table says."""

from __future__ import annotations

import csv
import re

import pytest
from conftest import DOCS

from benchmarks.estimated_time import CASES, COLUMNS

BEFORE, EARLY = COLUMNS[6:]


def table() -> list[dict[str, str]]:
    path = DOCS / "benchmarks" / "cost.csv"
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def ratios(column: str) -> list[float]:
    return [float(row[column]) for row in table() if row[column]]


def within(column: str, limit: float) -> str:
    found = ratios(column)
    return f"{sum(abs(ratio - 1) <= limit for ratio in found)} of {len(found)}"


def test_the_table_is_of_the_runs_of_the_benchmark() -> None:
    rows = table()
    assert tuple(rows[0]) == COLUMNS
    assert [row["run"] for row in rows] == [case.name for case in CASES]
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
    assert f"before the run {within(BEFORE, 0.5)} times were within 50 %" in text
    assert f"{within(EARLY, 0.3)} within 30 %" in text
    before, *_ = sorted(ratios(BEFORE), reverse=True)
    first, second, *_ = sorted(ratios(EARLY), reverse=True)
    assert f"{100 * (before - 1):.0f} % too long before" in text
    assert f"{100 * (first - 1):.0f} % after its first slice" in text
    assert f"{100 * (second - 1):.0f} % too long after a third" in text
