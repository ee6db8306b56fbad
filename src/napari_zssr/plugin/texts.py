"""Texts of the plugin: tables of two columns, and the clipboard."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable

from napari.utils.notifications import show_info
from qtpy.QtWidgets import QApplication

# So many letters without a space, or fewer up to a sign that names are broken at.
LONG_WORD = re.compile(r"[^\s]{3,12}?[/\\_.+-](?=\S)|\S{12}(?=\S)")


def table_html(rows: Iterable[tuple[str, str]]) -> str:
    """Names and values as a table of rich text that is as wide as its label."""
    lines = "".join(
        f"<tr><td style='padding-right: 8px'>{_unbroken(name)}</td>"
        f"<td width='100%'>{html.escape(_breakable(text))}</td></tr>"
        for name, text in rows
    )
    return f"<table cellspacing='0' width='100%'>{lines}</table>" if lines else ""


def copy_text(text: str, note: str = "") -> None:
    """Put a text on the clipboard, and say so, and what else is to be known of it."""
    clipboard = QApplication.clipboard()
    assert clipboard is not None
    clipboard.setText(text)
    show_info(f"Copied to the clipboard. {note}".rstrip())


def _unbroken(name: str) -> str:
    """A name on one line."""
    return html.escape(name).replace(" ", "&nbsp;")


def _breakable(text: str) -> str:
    """Text whose long words may be broken, with spaces of no width.

    One path or version that cannot be broken widens its whole column in Qt.
    """
    return LONG_WORD.sub(lambda found: found.group() + "\N{ZERO WIDTH SPACE}", text)
