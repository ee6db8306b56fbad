"""The site is built without a warning, and holds what it promises."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from pages import PAGES, ROOT, blocks

import napari_zssr

pytestmark = pytest.mark.skipif(
    not all(map(find_spec, ("mkdocs", "material", "mkdocstrings"))),
    reason="the dependency group docs is not installed",
)
TUTORIALS = [page for page in PAGES if page.startswith("docs/tutorials/")]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built where nothing can be fetched."""
    folder = tmp_path_factory.mktemp("site")
    nowhere = dict.fromkeys(("http_proxy", "https_proxy"), "http://127.0.0.1:9")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", folder],
        cwd=ROOT,
        env=os.environ | nowhere | {"NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def test_every_page_is_there(site: Path) -> None:
    for page in PAGES:
        if page.startswith("docs/"):
            name = page.removeprefix("docs/").removesuffix(".md")
            place = "index.html" if name == "index" else f"{name}/index.html"
            assert (site / place).is_file(), page


@pytest.mark.parametrize("name", napari_zssr.__all__)
def test_every_public_name_is_in_the_reference(site: Path, name: str) -> None:
    page = (site / "api" / "index.html").read_text("utf-8")
    assert page.count(f'id="napari_zssr.{name}"') == 1


def test_nothing_comes_from_elsewhere(site: Path) -> None:
    """Neither fonts nor scripts, styles nor pictures."""
    elsewhere = re.compile(
        r'<(?:script|img|link rel="stylesheet")[^>]*"https?://[^>]*>'
    )
    pages = [path.read_text("utf-8") for path in site.rglob("*.html")]
    assert len(pages) > 20
    assert [found for page in pages for found in elsewhere.findall(page)] == []


@pytest.mark.parametrize("page", TUTORIALS)
def test_a_tutorial_is_a_notebook_too(site: Path, page: str) -> None:
    name = page.removeprefix("docs/").removesuffix(".md")
    cells = json.loads((site / f"{name}.ipynb").read_text("utf-8"))["cells"]
    code = ["".join(c["source"]) for c in cells if c["cell_type"] == "code"]
    shown = [block for block in blocks(page) if block.why is None]
    for text, block in zip(code, shown, strict=True):
        if block.language == "sh":
            assert text.startswith("!napari-zssr ")
            text = text.replace("!napari-zssr ", "napari-zssr ")
        assert text == block.code.rstrip("\n")
    assert cells[0]["source"][0].startswith("# ")
    html = (site / name / "index.html").read_text("utf-8")
    assert f'href="../{Path(name).name}.ipynb"' in html
