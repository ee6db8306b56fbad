"""The pages for newcomers: figures, pictures, links and code are what they say."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from pathlib import Path
from statistics import fmean

import numpy as np
import pytest
from pages import DOCS
from PIL import Image

pytest.importorskip("matplotlib")

from tools import before_after

README = DOCS.parent / "README.md"
SITE = "https://napari-zssr.github.io/napari-zssr/"
RAW = "https://raw.githubusercontent.com/napari-zssr/napari-zssr/main/"
PAGES = sorted(DOCS.glob("*.md"))
GALLERY = (DOCS / "gallery.md").read_text("utf-8")
ROWS = before_after.read_table()


def table(name: str) -> list[dict[str, str]]:
    with (DOCS / "benchmarks" / name).open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


# ---- the gallery


def test_the_gallery_has_every_scene_once() -> None:
    names = [row["name"] for row in ROWS]
    assert names == list(before_after.SCENES)
    assert len(names) == 10
    drawn = {path.stem for path in before_after.PICTURES.iterdir()}
    assert drawn == set(names)
    assert sorted(re.findall(r"<!-- figures: (\w+) -->", GALLERY)) == sorted(names)
    shown = re.findall(r"\(images/gallery/(\w+)\.png\)", GALLERY)
    assert sorted(shown) == sorted(names)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row["name"])
def test_captions_have_the_figures_of_the_table(row: dict[str, str]) -> None:
    marker = f"<!-- figures: {row['name']} -->\n"
    assert f"{marker}{before_after.figures(row)}\n" in GALLERY


def test_every_caption_names_source_and_licence() -> None:
    for section in GALLERY.split("\n## ")[1:]:
        credit = re.search(r"^\*Images?: ([^*]+)\*$", section, re.MULTILINE)
        assert credit is not None, section.splitlines()[0]
        assert re.search("CC BY|CC0|MIT|Attribution", credit[1])


def test_two_gain_nothing() -> None:
    """The captions that say so are right: by the reference, or by what was returned."""
    by_name = {row["name"]: row for row in ROWS}
    fine = by_name["enlarged_widefield"]
    assert abs(float(fine["after dB"]) - float(fine["before dB"])) < 0.05
    assert float(fine["test dB"]) > 1
    assert by_name["screen"]["returned"] == "bicubic"
    assert float(by_name["screen"]["test dB"]) < 0


def test_pictures_are_small_and_of_one_grey() -> None:
    sizes = [path.stat().st_size for path in before_after.PICTURES.iterdir()]
    assert max(sizes) < 150_000
    assert sum(sizes) < 1_500_000
    assert before_after.FIRST.stat().st_size < 150_000
    for path in (*before_after.PICTURES.iterdir(), before_after.FIRST):
        with Image.open(path) as image:
            assert image.mode == "L", path.name


def scene(pixels: np.ndarray, **given: object) -> before_after.Scene:
    settings = {"axes": "YX", "factor": 2}
    view = before_after.whole(pixels)
    return before_after.Scene(pixels=pixels, settings=settings, view=view, **given)


def test_panels_share_their_contrast() -> None:
    pixels = np.random.default_rng(0).normal(100, 20, (40, 40))
    brighter = before_after.planes_of(scene(pixels), np.ones((80, 80)))[0] + 30
    drawn = np.asarray(before_after.draw(scene(pixels), brighter))
    left, right = np.array_split(drawn[before_after.HEADER : -40], 2, axis=1)
    assert right.mean() > left.mean() + 20


def test_panels_are_a_crop_in_the_result_and_in_its_reference() -> None:
    pixels = np.zeros((40, 40))
    fine = np.zeros((80, 80))
    fine[20:60, 20:60] = np.arange(40)[:, None]
    given = scene(pixels, reference=fine)
    inside = before_after.Scene(
        pixels=pixels + np.arange(40)[:, None],
        settings=given.settings,
        view=np.s_[10:30, 10:30],
        reference=fine,
    )
    drawn = np.asarray(before_after.draw(inside, fine))
    zoom, step = 8, 40 * 8 + before_after.GAP
    result, reference = (
        drawn[before_after.HEADER :, n * step : n * step + 40 * zoom] for n in (1, 2)
    )
    np.testing.assert_array_equal(result, reference)


def test_the_page_is_written_below_its_markers(tmp_path: Path) -> None:
    page = tmp_path / "gallery.md"
    page.write_text("a\n<!-- figures: actin -->\nold\nb\n", encoding="utf-8")
    before_after.write_page(ROWS, page)
    (row,) = (row for row in ROWS if row["name"] == "actin")
    lines = page.read_text("utf-8").splitlines()
    assert lines == ["a", "<!-- figures: actin -->", before_after.figures(row), "b"]


# ---- figures on the other pages


def test_richardson_lucy_beside_it() -> None:
    page = (DOCS / "compared.md").read_text("utf-8")
    groups: dict[tuple[str, float], list[dict[str, str]]] = {}
    for row in table("restoring_blur.csv"):
        groups.setdefault((row["blur"], float(row["noise %"])), []).append(row)
    for (blur, noise), rows in groups.items():
        names = ("Richardson-Lucy", "fast", "balanced")
        means = (fmean(float(row[name]) for row in rows) for name in names)
        values = " | ".join(f"{mean:.1f}" for mean in means)
        assert f"| {blur}, noise {noise:g} % | {values} |" in page
    clean = [
        row for row in table("restoring_psf_binned.csv") if not float(row["noise %"])
    ]
    assert len(clean) == 3
    assert all(float(row["Richardson-Lucy"]) > float(row["balanced"]) for row in clean)


def test_eclare_beside_it() -> None:
    page = (DOCS / "compared.md").read_text("utf-8")
    ours = {
        (row["volume"], float(row["factor"])): float(row["learned"])
        for row in reversed(table("axial.csv"))
        if not row["photons"]
    }
    best: dict[str, dict[str, str]] = {}
    for row in table("axial_rivals.csv"):
        volume = row["volume"].removesuffix(" from plane 0")
        if row["rival"] == "eclare" and (volume, 4.0) in ours:
            known = best.setdefault(volume, row)
            if float(row["psnr"]) > float(known["psnr"]):
                best[volume] = row
    assert len(best) == 4
    for volume, row in best.items():
        theirs, minutes = float(row["psnr"]), float(row["seconds"]) / 60
        line = f"| {volume} | {theirs:.1f} | {minutes:.0f} | {ours[volume, 4.0]:.1f} |"
        assert line in page


@pytest.mark.parametrize(
    ("page", "figure", "source"),
    [
        ("choosing.md", "2.3 s", "benchmarks.md"),
        ("choosing.md", "20 s", "benchmarks.md"),
        ("choosing.md", "37.51", "benchmarks.md"),
        ("choosing.md", "37.39", "benchmarks.md"),
        ("choosing.md", "3.65", "kernels.md"),
        ("choosing.md", "1.09", "kernels.md"),
        ("quantification.md", "1.64", "checks.md"),
        ("compared.md", "2 to 5 %", "axial.md"),
    ],
)
def test_figures_stand_where_they_come_from(
    page: str, figure: str, source: str
) -> None:
    for name in (page, source):
        text = " ".join((DOCS / name).read_text("utf-8").split())
        assert figure in text, name


def test_positions_are_kept_as_well_as_is_said() -> None:
    worst = [
        float(row["value"])
        for row in table("invariants.csv")
        if row["promise"].startswith("misplacement, worst")
    ]
    told = re.search(
        r"misplaced by less than ([\d.]+) pixels",
        (DOCS / "quantification.md").read_text("utf-8"),
    )
    assert told is not None
    assert max(worst) < float(told[1]) < 1.5 * max(worst)


# ---- links


def anchor(heading: str) -> str:
    """Anchor of a heading, as GitHub and mkdocs make it."""
    plain = re.sub(r"[`*]|\]\([^)]*\)|\[", "", heading)
    return re.sub(r"[^\w\- ]", "", plain).strip().lower().replace(" ", "-")


def prose(path: Path) -> str:
    return re.sub(r"^```.*?^```", "", path.read_text("utf-8"), flags=re.M | re.S)


def links(path: Path) -> Iterator[str]:
    yield from re.findall(r"(?<!\\)\]\(([^)\s]+)\)", prose(path))


def anchors(path: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", prose(path), re.MULTILINE)
    return {anchor(heading) for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_between_pages_resolve(page: Path) -> None:
    for link in links(page):
        if link.startswith(("https://", "http://", "mailto:")):
            continue
        name, _, place = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        assert target.exists(), link
        if place:
            assert place in anchors(target), link


def test_the_first_page_leads_to_all_others() -> None:
    reached = {link.partition("#")[0] for link in links(DOCS / "index.md")}
    assert {page.name for page in PAGES} - {"index.md"} <= reached


def test_the_readme_has_links_that_hold_on_the_package_index() -> None:
    for link in links(README):
        assert link.startswith("https://"), link
        if link.startswith(SITE):
            name, _, place = link.removeprefix(SITE).partition("#")
            page = DOCS / f"{name.strip('/') or 'index'}.md"
            assert page.exists(), link
            assert not place or place in anchors(page), link
        if link.startswith(RAW):
            assert (DOCS.parent / link.removeprefix(RAW)).exists(), link
