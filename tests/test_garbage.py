"""Searches for garbage during a run: short, and as ever after it."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
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


WIDGET_IN_GARBAGE = """
import gc
import os
import subprocess
import sys
from qtpy.QtWidgets import QApplication, QWidget
from napari_zssr.plugin.form.rows import LatestRun

class Owner:
    def __init__(self):
        self.widget = QWidget()
        self.widget.owner = self
        gc.collect()
        self.latest = LatestRun(self.widget)

app, owner = QApplication([]), Owner()
gc.disable()
# As after a run: what is young comes first.
gc.freeze()
gc.unfreeze()
del owner
gc.collect()
"""


def test_a_widget_in_garbage_calls_nothing_that_is_garbage_too() -> None:
    """It crashed: Qt called a function that Python had emptied."""
    plain = os.environ | {"QT_QPA_PLATFORM": "offscreen"}
    ended = subprocess.run(
        [sys.executable, "-c", WIDGET_IN_GARBAGE],
        env=plain,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
