"""docs/checks.md says what its tables say."""

from __future__ import annotations

import csv
import re

from conftest import DOCS

PAGE = " ".join((DOCS / "checks.md").read_text(encoding="utf-8").split())


def table(name: str) -> list[dict[str, str]]:
    path = DOCS / "benchmarks" / f"checks_{name}.csv"
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def percent(values: list[float]) -> list[int]:
    return [round(100 * value) for value in (min(values), max(values))]


def test_planted_errors() -> None:
    rows = table("residual")
    count = len(rows)
    agreeing = sum(row["truth"] == "agrees" for row in rows)
    assert f"{agreeing} of {count} truths agree" in PAGE
    spots = sum(int(row["spots found of 12"]) for row in rows)
    assert f"{spots} of {12 * count} spots" in PAGE
    kinds = {"noise / 1.5": "underrated", "noise x 1.5": "overrated"}
    for column, word in (kinds | {"shift 0.3 px": "shifted"}).items():
        assert sum(word in row[column] for row in rows) == count
    assert f"told in {count} of {count} images each" in PAGE


def test_known_cutoffs() -> None:
    def ratios(transfer: str, method: str) -> list[int]:
        return percent(
            [
                float(row[f"{method}, {end}"])
                for row in table("cutoffs")
                if row["images"].endswith(transfer)
                for end in ("lowest", "highest")
            ]
        )

    ring, phases = "ring correlation", "decorrelation"
    low, high = (share - 100 for share in ratios("sharp", ring))
    assert f"by ring correlation to {low} to +{high} %" in PAGE
    low, high = (share - 100 for share in ratios("sharp", phases))
    assert f"by decorrelation to {low} to {high} %" in PAGE
    low, high = ratios("widefield", ring)
    assert f"stops at {low} to {high} % of it" in PAGE
    low, high = ratios("widefield", phases)
    assert f"decorrelation at {low} to {high} %" in PAGE


def test_captures() -> None:
    shown = (DOCS / "checks.md").read_text(encoding="utf-8").split("<!-- captures -->")
    lines = re.findall(r"^\| (Confocal\S*) \| (.*) \|$", shown[1], re.MULTILINE)
    measured = [row for row in table("captures") if row["factor"] == "1"]
    assert len(lines) == len(measured) == 4
    for (name, cells), row in zip(lines, measured, strict=True):
        figures = [row[column] for column in list(row)[2:6]]
        assert name == row["image"]
        assert [cell.split()[0] for cell in cells.split(" | ")] == [
            f"{float(figure.split()[0]):.2f}" for figure in figures
        ]
    # A bound, and far from what is true; but for one.
    figures = {
        row["image"]: [
            float(row[column].split()[0])
            for column in ("made of each half", "result and truth")
        ]
        for row in measured
    }
    halves, true = figures.pop("Confocal_FISH_1")
    assert (
        f"they agree on less ({halves:.2f} pixels) than result and truth do ({true})"
    ) in PAGE
    assert all(halves < 0.9 * true for halves, true in figures.values())


def test_captures_that_nothing_was_chosen_on() -> None:
    rows = {row["image"]: row for row in table("captures_rest") if row["factor"] == "1"}
    wrong = rows["WideField_BPAE_B_1"]
    halves, true = wrong["halves of the original"], wrong["original and truth"]
    assert f"down to {halves} pixels, while capture and truth do to {true}" in PAGE
    doubted = [name for name, row in rows.items() if "noise" in row["agrees"]]
    assert doubted == ["WideField_BPAE_B_1", "WideField_BPAE_G_1"]


def test_confirmed_detail() -> None:
    shown = (DOCS / "checks.md").read_text(encoding="utf-8")
    part = shown.split("<!-- confirmed -->")[1]
    lines = re.findall(r"^\| (\S*_1) \| (\d) \| (.*) \|$", part, re.MULTILINE)
    rows = {(r["image"], r["factor"]): r for r in table("captures")}
    rows |= {(r["image"], r["factor"]): r for r in table("captures_rest")}
    assert len(lines) == len(rows) == 16
    excess = []
    for name, factor, cells in lines:
        row = rows[name, factor]
        columns = ("confirmed %", "faint, confirmed %", "in the truth %")
        for cell, column in zip(cells.split(" | "), columns, strict=True):
            figure = row[column]
            assert cell.split()[0] == (f"{float(figure):.0f}" if figure else "not")
        # Not where the noise is in doubt.
        confirmed, true = row["confirmed %"], float(row["in the truth %"])
        assert bool(confirmed) is ("noise" not in row["agrees"])
        if confirmed:
            excess.append(min(float(confirmed), 100) - min(true, 100))
    high, low = max(excess), -min(excess)
    assert (
        f"up to {high:.0f} points more than what is true, and up to {low:.0f}" in PAGE
    )


def test_standard_errors() -> None:
    with (DOCS / "benchmarks" / "errors.csv").open(
        newline="", encoding="utf-8"
    ) as file:
        rows = [row for row in csv.DictReader(file) if row["preset"] == "balanced"]
    allowed = "covered %, noise of the truth allowed for"
    groups: dict[str, list[dict[str, str]]] = {}
    for row in rows:
        name = row["image"]
        if name.startswith("scene"):
            group = f"generated scenes, noise {name.split('noise ')[1]}"
        elif name.startswith("img"):
            group = "Set5"
        else:
            confocal = name.startswith("Confocal")
            kind = "confocal" if confocal else "two-photon, widefield"
            group = f"FMD {kind}, x{row['factor']}"
        groups.setdefault(group, []).append(row)
    for group, own in groups.items():
        values = {
            name: [float(row[name]) for row in own]
            for name in own[0]
            if name in ("covered %", allowed, "area under the curve")
        }
        covered, both, area = (sum(v) / len(v) for v in values.values())
        least = min(values[allowed])
        line = f"| {group} | {covered:.0f} | {both:.0f} | {least:.0f} | {area:.2f} |"
        assert line in PAGE
