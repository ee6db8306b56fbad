"""A random user of the widget finds no fault."""

from __future__ import annotations

import random
from typing import Any

import pytest

pytest.importorskip("napari")

from tools import soak


def test_a_random_user_finds_no_fault(
    make_napari_viewer: Any,
    qtbot: Any,
    monkeypatch: pytest.MonkeyPatch,
    same_threads: None,
) -> None:
    from vispy.gloo import glir

    # As `keep_programs` does, for this test only.
    monkeypatch.setattr(glir.GlirProgram, "delete", lambda self: None)
    viewer = make_napari_viewer(show=True)
    user = soak.User(viewer, random.Random(4))
    with soak.heard(user.faults):
        user.open()
        qtbot.waitExposed(viewer.window._qt_window)
        soak.use(user, 40)
        user.widget.cancel()
        qtbot.waitUntil(lambda: not user.widget._run.running, timeout=60_000)
    assert user.faults == []


def test_faults_are_heard() -> None:
    import logging
    import sys

    from qtpy.QtCore import qWarning

    faults: list[str] = []
    with soak.heard(faults):
        logging.getLogger("x").error("from the log")
        qWarning(b"from Qt")
        sys.excepthook(ValueError, ValueError("from Python"), None)
    assert [f.split()[-1] for f in faults] == ["log", "Qt", "Python"]
