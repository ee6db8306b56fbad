"""The page on the widget names what is there."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("napari")


PAGE = Path(__file__).parent.parent / "docs" / "widget.md"


def test_the_page_names_every_field() -> None:
    from napari_zssr.plugin.form.advanced import NUMBERS
    from napari_zssr.plugin.form.blur import KINDS
    from napari_zssr.plugin.form.fields import PRESET_WORDS

    text = PAGE.read_text("utf-8")
    named = list(NUMBERS.values()) + list(PRESET_WORDS)
    named += list(KINDS.values())
    assert all(name in text for name in named)
