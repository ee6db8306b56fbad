"""What a user does first: open the widget, run it on a tiny image, save the result."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import napari
import numpy as np
from qtpy.QtWidgets import QApplication

import napari_zssr

SECONDS = 240


def main(folder: Path) -> None:
    """Open, run, compare, save; any failure ends the program."""
    assert Path(napari_zssr.__file__).is_relative_to(sys.prefix), "not the wheel"
    viewer = napari.Viewer()
    _, widget = viewer.window.add_plugin_dock_widget("napari-zssr")
    assert "torch" not in sys.modules, "opening the widget has loaded torch"
    viewer.open_sample("napari-zssr", "mitosis")
    viewer.layers.clear()
    waves = np.indices((40, 48)).sum(axis=0)
    pixels = (500 + 300 * np.sin(waves / 3)).astype(np.uint16)
    viewer.add_image(pixels, name="waves", scale=(0.2, 0.2), units=("um", "um"))
    widget.form.method.preset.value = "instant"
    widget.start()
    until = time.monotonic() + SECONDS
    while len(viewer.layers) < 2 or widget.controls.cancel.enabled:
        assert time.monotonic() < until, "no result after minutes"
        QApplication.processEvents()
        time.sleep(0.02)
    result = viewer.layers[-1]
    assert result.data.shape == (80, 96)
    assert result.data.dtype == np.uint16
    assert np.allclose(result.scale, 0.1)
    assert np.allclose(result.translate, -0.05)
    written = result.save(str(folder / "waves.ome.tif"), plugin="napari-zssr")
    assert len(written) == 1
    assert napari_zssr.read(written[0]).spacing == (0.1, 0.1)
    viewer.close()


main(Path(sys.argv[1]))
