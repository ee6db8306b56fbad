"""What the site has beside the pages of docs/: the icon, and tutorials as notebooks."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parent.parent
ICON = ROOT / "src" / "napari_zssr" / "plugin" / "icon.svg"
TUTORIALS = "tutorials/"
_BLOCK = re.compile(
    r"^(?P<mark><!-- not run: .*?-->\n)?"
    r"```(?P<language>python|sh)\n(?P<code>.*?)^```\n",
    re.DOTALL | re.MULTILINE,
)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the icon, and a notebook beside each tutorial."""
    icon = File.generated(config, "assets/icon.svg", abs_src_path=str(ICON))
    added = [icon]
    for file in files.documentation_pages():
        if file.src_uri.startswith(TUTORIALS):
            name = file.src_uri.removesuffix(".md") + ".ipynb"
            content = json.dumps(notebook(file.content_string), indent=1)
            added.append(File.generated(config, name, content=content))
    for file in added:
        files.append(file)
    return files


def on_page_markdown(
    markdown: str, page: Page, config: MkDocsConfig, files: Files
) -> str:
    """Offer the notebook below the heading of a tutorial."""
    if not page.file.src_uri.startswith(TUTORIALS):
        return markdown
    heading, rest = markdown.split("\n", 1)
    link = (
        f"[Download as a notebook]({Path(page.file.src_uri).stem}.ipynb){{ download }}"
    )
    return f"{heading}\n\n{link}\n{rest}"


def notebook(page: str) -> dict[str, Any]:
    """Notebook of a page in Markdown: its code blocks are the cells of code.

    Python stays as it is, commands of a shell get the ``!`` that Jupyter wants. What is
    marked as not to be run remains text.
    """
    cells: list[dict[str, Any]] = []

    def add(kind: str, text: str) -> None:
        if text.strip():
            cell = {
                "id": f"cell-{len(cells)}",
                "cell_type": kind,
                "metadata": {},
                "source": text.strip("\n").splitlines(keepends=True),
            }
            outcome = {"execution_count": None, "outputs": list[Any]()}
            cells.append(cell | outcome if kind == "code" else cell)

    end = 0
    for block in _BLOCK.finditer(page):
        if block["mark"] is None:
            code = block["code"]
            if block["language"] == "sh":
                code = re.sub(r"^(?=\S)", "!", code, flags=re.MULTILINE)
            add("markdown", page[end : block.start()])
            add("code", code)
            end = block.end()
    add("markdown", page[end:])
    python = {"display_name": "Python 3", "language": "python", "name": "python3"}
    return {
        "cells": cells,
        "metadata": {"kernelspec": python},
        "nbformat": 4,
        "nbformat_minor": 5,
    }
