"""Every block of code on every page runs as shown, or says why it cannot."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from pages import (
    BASH,
    LANGUAGES,
    PAGES,
    ROOT,
    Block,
    blocks,
    promised,
    provide,
    run_python,
    run_shell,
)

from napari_zssr.config import PRESETS, change

# Pages whose blocks run there, where what they make is looked at too.
ELSEWHERE = {
    "docs/console.md": "test_docs_scripts.py",
    "docs/headless.md": "test_docs_scripts.py",
    "docs/large.md": "test_docs_large.py",
}
ALL = [block for page in PAGES for block in blocks(page)]
RUN = {
    page: runnable
    for page in PAGES
    if page not in ELSEWHERE
    and (runnable := [b for b in blocks(page) if b.language != "text" and not b.why])
}
WITH_NAPARI = [
    page for page, own in RUN.items() if any("napari.Viewer" in b.code for b in own)
]


# Networks that have learned something to save, in no time.
QUICK: dict[str, Any] = {
    "steps": 2,
    "learned_steps": 2,
    "tuned_steps": 1,
    "gradual": 1,
    "crop_px": 16,
    "always": True,
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder; every preset trains for a few steps only."""
    monkeypatch.chdir(tmp_path)
    if find_spec("matplotlib"):
        import matplotlib as mpl

        monkeypatch.setitem(mpl.rcParams, "backend", "agg")
    for name, config in PRESETS.items():
        if name != "instant":
            monkeypatch.setitem(PRESETS, name, change(config, **QUICK))
    return tmp_path


def run_page(page: str, capsys: pytest.CaptureFixture[str]) -> None:
    provide(page)
    names: dict[str, object] = {"__name__": "page"}
    for block in RUN[page]:
        if block.language == "sh":
            run_shell(block)
        else:
            capsys.readouterr()
            run_python(block, names)
            said = capsys.readouterr().out.splitlines()
            told = promised(block)
            assert said[: len(told)] == told, str(block)


@pytest.mark.filterwarnings("default::napari_zssr.ImageWarning")
@pytest.mark.parametrize("page", sorted({*RUN} - {*WITH_NAPARI}))
def test_a_page_runs(
    page: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run_page(page, capsys)


@pytest.mark.skipif(not find_spec("napari"), reason="no napari here")
@pytest.mark.parametrize("page", WITH_NAPARI)
def test_a_page_that_opens_napari_runs(
    page: str,
    folder: Path,
    make_napari_viewer: Any,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    import napari

    viewer = make_napari_viewer()
    monkeypatch.setattr(napari, "Viewer", lambda: viewer)
    monkeypatch.setattr(napari, "run", lambda: None)
    run_page(page, capsys)
    assert viewer.layers
    assert viewer.window.dock_widgets


def test_the_pages_have_code() -> None:
    assert len(ALL) > 40
    assert len(RUN) > 8


@pytest.mark.parametrize("page", PAGES)
def test_no_block_is_missed(page: str) -> None:
    """Fences that do not open a block as it is expected here."""
    text = (ROOT / page).read_text("utf-8")
    fences = len(re.findall(r"^\s*(?:```|~~~)", text, re.MULTILINE))
    own = blocks(page)
    assert fences == 2 * len(own)
    assert {block.language for block in own} <= {*LANGUAGES}
    marks = re.findall(r"^ *<!-- not run:", text, re.MULTILINE)
    assert len(marks) == sum(block.why is not None for block in own)


@pytest.mark.parametrize("block", [b for b in ALL if b.why], ids=str)
def test_what_cannot_run_is_well_formed(block: Block) -> None:
    starts = {line.split()[0] for line in block.code.splitlines() if line.strip()}
    assert starts != {"napari-zssr"}, "our own commands can run"
    if block.language == "python":
        compile(block.code, str(block), "exec")
    elif BASH is not None and sys.platform != "win32":
        done = subprocess.run(
            [BASH, "-n"], input=block.code, capture_output=True, text=True, check=False
        )
        assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("page", ELSEWHERE)
def test_the_other_tests_run_all_of_a_page(page: str) -> None:
    text = (Path(__file__).parent / ELSEWHERE[page]).read_text("utf-8")
    name = page.removeprefix("docs/")
    written = text.replace("code_blocks(PAGE", f'code_blocks("{name}"')
    for language in {b.language for b in blocks(page) if not b.why} - {"text"}:
        assert f'code_blocks("{name}", "{language}")' in written
