"""Measure how steadily napari's window answers while the widget works.

``xvfb-run -a python -m tools.heartbeat`` where there is no screen. Prints a table with
the gaps of a timer of 10 ms: the 95th percentile and the longest, the median of three.
Beside them stands how much of the longest gap the window's own thread has computed: on
a machine that others use, the rest is waiting for a core.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import napari
import numpy as np
from qtpy.QtCore import QPoint, QTimer

from tools.measure_widget import field as picture
from tools.screenshots import wait
from tools.soak import canvas, drag, keep_programs

# Between the mouse and the centre of what it drags, at most.
CLOSE_PX = 8
BEAT_MS, SIDE_PX, LAYERS, ROUNDS = 10, 512, 200, 3
Gaps = tuple[float, float, float]


@dataclass
class Heart:
    """Gaps of the event loop."""

    beats: list[tuple[float, float]] = field(default_factory=list)

    def gaps(self, during: Callable[[], None]) -> Gaps:
        """95th percentile, longest, and most own work in one, in milliseconds."""
        self.beats.clear()
        timer = QTimer()
        timer.timeout.connect(self._beat)
        timer.start(BEAT_MS)
        wait(seconds=0.05)
        during()
        wait(seconds=0.1)
        timer.stop()
        gaps, work = 1000 * np.diff(self.beats, axis=0).T
        return float(np.percentile(gaps, 95)), float(gaps.max()), float(work.max())

    def _beat(self) -> None:
        self.beats.append((time.perf_counter(), time.thread_time()))


def opened(*, docked: bool = True) -> tuple[Any, Any]:
    """A viewer, with the widget in it or alone."""
    viewer = napari.Viewer(show_welcome_screen=False)
    widget = None
    if docked:
        _, widget = viewer.window.add_plugin_dock_widget("napari-zssr")
        widget.form.method.preset.value = "fast"
    wait(seconds=1)
    return viewer, widget


def in_run() -> Gaps:
    """A run of one layer of 512 x 512 pixels."""
    viewer, widget = opened()
    viewer.add_image(picture(SIDE_PX), name="field")
    wait(lambda: widget.controls.run.enabled)
    wait(seconds=2)

    def run() -> None:
        widget.start()
        wait(lambda: widget.controls.run.enabled, 600)

    found = Heart().gaps(run)
    viewer.close()
    return found


def adding() -> Gaps:
    """Napari alone that adds a layer of the size of the result of `in_run`."""
    viewer, _ = opened(docked=False)
    viewer.add_image(picture(SIDE_PX), name="field")
    wait(seconds=2)
    found = Heart().gaps(lambda: viewer.add_image(picture(2 * SIDE_PX)))
    viewer.close()
    return found


def centre(viewer: napari.Viewer) -> QPoint:
    """Where the centre of the preview is on the canvas."""
    picture = next(one for one in viewer.layers if "Preview of" in one.name)
    camera, middle = viewer.scene.camera, picture.extent.world.mean(axis=0)[-2:]
    y, x = (middle - camera.center[-2:]) * camera.zoom
    return QPoint(canvas().width() // 2 + round(x), canvas().height() // 2 + round(y))


def in_drag() -> Gaps:
    """A preview that is dragged about."""
    viewer, widget = opened()
    viewer.add_image(picture(SIDE_PX), name="field")
    wait(lambda: widget.preview.button.enabled)
    widget.preview.start()
    wait(lambda: any("Preview of" in layer.name for layer in viewer.layers))
    wait(seconds=2)

    def about() -> None:
        middle = centre(viewer)
        # Towards the middle of the image, where there is room.
        aside = middle.x() < canvas().width() // 2
        away = middle + QPoint(90 if aside else -90, 0)
        share = np.linspace(0, 1, 40)[1:, None]
        way = (1 - share) * (middle.x(), middle.y()) + share * (away.x(), away.y())
        points = [QPoint(round(x), round(y)) for x, y in way]
        for _ in range(3):
            drag(middle, points)
            assert (centre(viewer) - away).manhattanLength() < CLOSE_PX
            wait(seconds=1)
            drag(away, [*points[-2::-1], middle])
            wait(seconds=1)

    found = Heart().gaps(about)
    viewer.close()
    return found


def with_many_layers(*, docked: bool = True) -> Gaps:
    """200 layers that are there, one more that is added, and some that are selected."""
    viewer, _ = opened(docked=docked)
    for number in range(LAYERS):
        viewer.add_image(np.full((32, 32), number, np.uint8), name=f"layer {number}")
    wait(seconds=2)

    def work() -> None:
        for number in range(5):
            viewer.add_image(np.zeros((32, 32), np.uint8))
            wait(seconds=0.3)
            viewer.layers.selection.active = viewer.layers[20 * number]
            wait(seconds=0.3)

    found = Heart().gaps(work)
    viewer.close()
    return found


MEASURED: dict[str, Callable[[], Gaps]] = {
    "run": in_run,
    "adding its result, napari alone": adding,
    "drag": in_drag,
    "layers": with_many_layers,
    "layers, napari alone": lambda: with_many_layers(docked=False),
}


def main() -> None:
    """Measure what was asked for, all of it by default, and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("what", nargs="*", choices=[[], *MEASURED])
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    given = parser.parse_args()
    keep_programs()
    sys.stdout.write(
        "| while | 95th percentile, ms | longest, ms | own work, ms | load |\n"
        "| --- | --- | --- | --- | --- |\n"
    )
    for name in given.what or MEASURED:
        rounds = [MEASURED[name]() for _ in range(given.rounds)]
        figures = " | ".join(f"{ms:.0f}" for ms in np.median(rounds, axis=0))
        sys.stdout.write(f"| {name} | {figures} | {os.getloadavg()[0]:.1f} |\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
