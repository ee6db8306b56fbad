"""What the documentation says of the time that is told is what its table says."""

from __future__ import annotations

import csv
import re

from conftest import DOCS

from benchmarks.told import CASES, COLUMNS

PATH = DOCS / "benchmarks" / "cost.csv"


def ratios(column: str) -> list[float]:
    with PATH.open(newline="", encoding="utf-8") as file:
        return [float(row[column]) for row in csv.DictReader(file)]


def furthest(found: list[float]) -> str:
    """The largest distance from 1, in per cent."""
    return f"{100 * max(abs(ratio - 1) for ratio in found):.0f} %"


def test_the_table_is_of_the_runs_of_the_benchmark() -> None:
    with PATH.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert tuple(rows[0]) == COLUMNS
    assert [row["run"] for row in rows] == [case.name for case in CASES]
    for row in rows:
        told, early, taken = (float(row[name]) for name in COLUMNS[3:6])
        assert abs(float(row[COLUMNS[6]]) - told / taken) < 1e-6
        assert abs(float(row[COLUMNS[7]]) - early / taken) < 1e-6


def test_the_page_says_how_far_off_they_were() -> None:
    page = (DOCS / "benchmarks.md").read_text("utf-8")
    section = re.search(r"\*\*Told and taken\*\*.*?\n\n", page, re.DOTALL)
    assert section is not None
    text = " ".join(section[0].split())
    assert f"at most {furthest(ratios(COLUMNS[6]))} off before" in text
    assert f"{furthest(ratios(COLUMNS[7]))} after" in text
    within = [abs(ratio - 1) <= 0.3 for ratio in ratios(COLUMNS[7])]
    assert f"{sum(within)} of {len(within)} within 30 %" in text
