"""Every sentence that the program can say: listed, and in plain English.

The list is written anew by ``python -m tools.sentences``.
"""

from __future__ import annotations

import re

import pytest

from napari_zssr.plugin.summary import FORM_ADVICE
from tools.sentences import PAGE, Sentence, page, sentences

FOUND = sentences()
# Words of our own that nobody else uses so, and what is said instead.
DIALECT = {
    r"\btold by\b|cannot be told|does not tell|\btells?\b(?! napari)": "say, show",
    r"\bbegun\b|\bbegan\b|\bbegins\b": "start",
    r"\banew\b": "again",
    r"give or take": "±",
    r"\b(is|are|was|were) taken\b(?! from)": "used",
    r"\bgo(es)? on\b|going on": "continue",
    r"\bfor want of\b": "because there is no",
    r"\bsister image\b": "similar image",
    r"\bfine pixels?\b": "result pixels",
    r"\blearn(ed|s|ing)?\b(?!')": "train",
    r"\bthere already\b": "exists already",
    r"\bmend(s|ed)?\b": "fix",
    r"\bhave it undone\b": "remove",
    r"\bnoise grain\b": "noise in flat areas",
}
# What the rules above may meet: values of the setting `start`, and an option.
ALLOWED = (
    r"'learned'|--start learned|--learned-steps|learned \(a network|random, learned"
)


def refused(pattern: str, found: list[Sentence]) -> list[str]:
    """Sentences that match a pattern."""
    return [
        f"{one.module}: {one.text}" for one in found if re.search(pattern, one.text)
    ]


def test_the_page_lists_every_sentence() -> None:
    """Else run ``python -m tools.sentences`` and read what has changed."""
    assert PAGE.read_text(encoding="utf-8") == page(FOUND)


def test_known_sentences_are_found() -> None:
    """Errors, advice, help of the command line, tooltips and menus."""
    listed = PAGE.read_text(encoding="utf-8")
    for part in (
        "give a whole number of at least",
        "Test on your image",
        "Seed of random numbers",
        "emission wavelength",
        "Open a z-stack of a mitotic plate",
        "Which of several images in a file",
    ):
        assert part in listed, part


@pytest.mark.parametrize(
    "pattern",
    [
        r"\d ?um\b|\bin um\b|› um\b|\bum\)",
        r"\+-",
        r"› x ‹|\d x \d|\bx‹",
        r"on cpu\b|\bcpu:|\bcuda:(?!N)",
        r"(?<=\S)  +(?=\S)",
        r" [,.;:](?:\s|$)",
        r"&[a-z]+;",
    ],
)
def test_nothing_is_written_like_this(pattern: str) -> None:
    assert refused(pattern, FOUND) == []


@pytest.mark.parametrize("pattern", DIALECT)
def test_words_are_those_of_everybody(pattern: str) -> None:
    used = f"{ALLOWED}|‹[^›]*›"
    found = [Sentence(one.module, re.sub(used, "", one.text)) for one in FOUND]
    assert refused(pattern, found) == [], DIALECT[pattern]


def test_refusals_end_with_a_full_stop() -> None:
    whole = [one for one in FOUND if one.is_whole]
    assert len(whole) > 150
    assert [one for one in whole if not re.search(r"[.?›]$", one.text)] == []


def test_the_command_line_prints_on_any_console() -> None:
    """Windows writes files and pipes in cp1252 unless it is told otherwise."""
    listed = "\n".join(one.text for one in FOUND)
    listed.translate(dict.fromkeys(map(ord, "‹›"))).encode("cp1252")


def test_advice_that_the_form_replaces_is_that_of_the_engine() -> None:
    """`FORM_ADVICE` looks for it word by word."""
    options = [one.text for one in FOUND if one.text.startswith("--")]
    texts = [
        one.text.replace("‹option›", option).replace("‹axes›", "(Y, X)")
        for one in FOUND
        for option in (*options, "--spacing")
    ]
    assert [key for key in FORM_ADVICE if not any(key in text for text in texts)] == []
