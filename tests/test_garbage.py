"""Searches for garbage during a run: short, and as ever after it."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator

import pytest

from napari_zssr.plugin.worker import GarbageFreeze


class Knot:
    """Garbage that only a search finds."""

    def __init__(self) -> None:
        self.itself = self


@pytest.fixture(autouse=True)
def nothing_set_aside() -> Iterator[None]:
    gc.unfreeze()
    yield
    assert gc.get_freeze_count() == 0


def test_what_was_there_is_not_searched_until_the_end() -> None:
    old, searches = Knot(), GarbageFreeze()
    seen = weakref.ref(old)
    searches.begin()
    del old
    gc.collect()
    assert seen() is not None
    searches.end()
    gc.collect()
    assert seen() is None


def test_what_a_run_makes_is_searched_as_ever() -> None:
    searches = GarbageFreeze()
    searches.begin()
    seen = weakref.ref(Knot())
    gc.collect()
    assert seen() is None
    searches.end()


def test_what_is_let_go_of_is_found_at_once() -> None:
    old, searches = Knot(), GarbageFreeze()
    seen = weakref.ref(old)
    searches.begin()
    del old
    searches.include_all()
    gc.collect()
    assert seen() is None
    searches.end()


def test_the_last_of_two_runs_ends_it() -> None:
    first, second = GarbageFreeze(), GarbageFreeze()
    first.begin()
    second.begin()
    first.begin()
    first.end()
    assert gc.get_freeze_count() > 0
    second.end()
    second.end()
    assert gc.get_freeze_count() == 0
