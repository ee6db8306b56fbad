"""docs/restoring.md says what its tables say."""

from __future__ import annotations

import csv
from statistics import fmean

from conftest import DOCS

PAGE = (DOCS / "restoring.md").read_text(encoding="utf-8")
METHODS = ("input", "Richardson-Lucy", "fast", "balanced")


def table(name: str) -> list[dict[str, str]]:
    path = DOCS / "benchmarks" / f"restoring_{name}.csv"
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_noise_alone() -> None:
    names = ("input", "non-local means", "BM3D", "fast", "balanced")
    for row in table("noise"):
        values = " | ".join(f"{float(row[name]):.2f}" for name in names)
        assert f"| {row['image']} | {values} |" in PAGE


def test_blur_and_noise() -> None:
    groups: dict[tuple[str, float], list[dict[str, str]]] = {}
    for row in table("blur"):
        groups.setdefault((row["blur"], float(row["noise %"])), []).append(row)
    for (blur, noise), rows in groups.items():
        means = (fmean(float(row[name]) for row in rows) for name in METHODS)
        values = " | ".join(f"{mean:.1f}" for mean in means)
        assert f"| {blur} | {noise:g} | {values} |" in PAGE


def test_a_measured_psf() -> None:
    for row in table("psf_binned"):
        values = " | ".join(f"{float(row[name]):.1f}" for name in METHODS)
        assert f"| {row['image']} | {float(row['noise %']):g} | {values} |" in PAGE


def test_a_wide_psf_is_left_to_others() -> None:
    rows = table("psf")
    assert {row["image"] for row in rows} == {"grid", "filaments", "nuclei"}
    assert all(float(row["Richardson-Lucy"]) > float(row["fast"]) for row in rows)
