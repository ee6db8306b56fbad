"""Make the pictures of the widget from a real viewer, dark and light.

``xvfb-run -a python docs/screenshots.py`` where there is no screen. Pictures are
written to ``docs/images/``.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import napari
import numpy as np
from napari.settings import get_settings
from PIL import Image
from qtpy.QtWidgets import QApplication

IMAGES = Path(__file__).parent / "images"
SIZE = (1250, 960)
PATIENCE_S = 120.0
COLOURS = 128


def wait(
    until: Callable[[], bool] = lambda: False, seconds: float = PATIENCE_S
) -> None:
    """Let Qt work until something has happened, or for some seconds."""
    end = time.monotonic() + seconds
    while time.monotonic() < end and not until():
        QApplication.processEvents()
        time.sleep(0.005)


def shoot(theme: str) -> None:
    """Pictures of all states of the widget in one theme."""
    get_settings().appearance.theme = theme
    viewer = napari.Viewer(show_welcome_screen=False)
    viewer.window.resize(*SIZE)
    dock, widget = viewer.window.add_plugin_dock_widget("napari-zssr")
    dock.setMinimumWidth(320)

    def picture(state: str) -> None:
        wait(seconds=0.5)
        shot = Image.fromarray(viewer.screenshot(canvas_only=False, flash=False))
        small = shot.convert("RGB").quantize(COLOURS)
        small.save(IMAGES / f"widget_{theme}_{state}.png", optimize=True)

    wait(seconds=1)
    picture("empty")
    viewer.open_sample("napari-zssr", "mitosis")
    widget.form.how.preset.value = "fast"
    wait(seconds=8)
    widget.preview.start()
    wait(seconds=8)
    picture("preview")
    widget.preview.stop()
    widget.start()
    wait(lambda: any(layer.name.endswith("x2") for layer in viewer.layers))
    picture("running")
    widget.cancel()
    wait(lambda: widget.controls.run.enabled)
    picture("cancelled")
    widget.controls.question.discard.changed.emit(True)
    widget.form.how.preset.value = "instant"
    wait(seconds=1)
    widget.start()
    wait(seconds=1)
    wait(lambda: widget.controls.run.enabled)
    picture("done")
    empty = np.full((64, 64), np.nan, dtype=np.float32)
    broken = viewer.add_image(empty, name="no numbers")
    widget.form.image.fields["layer"].value = broken
    wait(seconds=2)
    widget.start()
    wait(seconds=4)
    picture("error")
    viewer.close()


if __name__ == "__main__":
    IMAGES.mkdir(exist_ok=True)
    for name in ("dark", "light"):
        shoot(name)
