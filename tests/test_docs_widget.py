"""What the widget's page shows in Python runs as shown."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("napari")

import napari
from conftest import code_blocks

PAGE = Path(__file__).parent.parent / "docs" / "widget.md"


def test_the_page_runs(
    make_napari_viewer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    viewer = make_napari_viewer()
    monkeypatch.setattr(napari, "Viewer", lambda: viewer)
    monkeypatch.setattr(napari, "run", lambda: None)
    for block in code_blocks("widget.md", "python"):
        exec(compile(block, "widget.md", "exec"), {})
    assert [layer.name for layer in viewer.layers] == ["mitotic plate"]
    (widget,) = viewer.window.dock_widgets.values()
    assert widget.form.requests()[0].axes == "ZYX"


def test_the_page_names_every_field() -> None:
    from napari_zssr.plugin.form.advanced import NUMBERS
    from napari_zssr.plugin.form.blur import KINDS
    from napari_zssr.plugin.form.fields import PRESET_WORDS

    text = PAGE.read_text("utf-8")
    named = list(NUMBERS.values()) + list(PRESET_WORDS)
    named += list(KINDS.values())
    assert all(name in text for name in named)
