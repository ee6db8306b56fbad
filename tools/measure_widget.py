"""Measure how promptly the widget answers, in a real viewer.

``xvfb-run -a python -m tools.measure_widget`` where there is no screen. Prints a table:
opening, first previews of a 2048 x 2048 layer, and the longest pause of the window.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Any

import napari
import numpy as np
from qtpy.QtCore import QTimer
from qtpy.QtWidgets import QApplication

from tools.screenshots import wait

CALIBRATED_S = 8.0
BEAT_MS = 5
SIDE_PX = 2048


class Heart:
    """A timer whose longest pause is that of the window."""

    def __init__(self) -> None:
        self.beats: list[float] = []
        self._timer = QTimer()
        self._timer.timeout.connect(lambda: self.beats.append(time.perf_counter()))

    def beat(self, during: Callable[[], None]) -> float:
        """Longest pause in milliseconds."""
        self.beats.clear()
        self._timer.start(BEAT_MS)
        during()
        self._timer.stop()
        return 1000 * float(max(np.diff(self.beats)))


def field(side: int) -> Any:
    """Blobs under photon noise, (side, side) uint16."""
    draw = np.random.default_rng(0)
    y, x = np.mgrid[:side, :side] / side
    clean = 200 + 800 * (np.sin(90 * y) * np.cos(70 * x * (1 + y))) ** 2
    return draw.poisson(clean).astype(np.uint16)


def first_preview(viewer: Any, widget: Any) -> float:
    """Seconds from the click to the first picture."""
    started = time.perf_counter()
    widget.preview.button.native.click()
    wait(lambda: any(layer.name.startswith("Preview of") for layer in viewer.layers))
    taken = time.perf_counter() - started
    widget.preview.button.native.click()
    wait(seconds=1.0)
    return taken


def main() -> None:
    """Measure and print."""
    viewer = napari.Viewer(show_welcome_screen=False)
    wait(seconds=1.0)
    heart = Heart()
    rows: list[tuple[str, str]] = []
    started = time.perf_counter()
    _, widget = viewer.window.add_plugin_dock_widget("napari-zssr")
    QApplication.processEvents()
    opened = time.perf_counter() - started
    there = "loaded" if "torch" in sys.modules else "not loaded"
    rows.append(("opening the widget", f"{opened:.2f} s, torch {there}"))
    viewer.add_image(field(SIDE_PX), name="field")
    widget.form.how.preset.value = "fast"
    wait(seconds=0.3)
    rows.append(("first picture, cold", f"{first_preview(viewer, widget):.2f} s"))
    wait(seconds=CALIBRATED_S)
    times = [first_preview(viewer, widget) for _ in range(5)]
    told = f"median {np.median(times):.2f} s, longest {max(times):.2f} s"
    rows.append(("first picture, torch warm, 5 times", told))
    viewer.layers.clear()
    viewer.open_sample("napari-zssr", "mitosis")
    wait(seconds=1.0)

    def run() -> None:
        widget.start()
        wait(lambda: not widget.controls.cancel.enabled)

    rows.append(("longest pause, run on a z-stack", f"{heart.beat(run):.0f} ms"))
    rows.append(("the same again", f"{heart.beat(run):.0f} ms"))

    def add() -> None:
        viewer.add_image(field(526))
        wait(seconds=1.0)

    rows.append(("napari alone, adding a layer", f"{heart.beat(add):.0f} ms"))
    viewer.close()
    lines = [f"| {name} | {value} |\n" for name, value in rows]
    sys.stdout.write("".join(["| what | measured |\n", "| --- | --- |\n", *lines]))


if __name__ == "__main__":
    main()
