"""Make the pictures of the widget from a real viewer, dark and light.

``xvfb-run -a python -m tools.screenshots`` where there is no screen. Pictures are
written to ``docs/images/``.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import napari
import numpy as np
from napari.settings import get_settings
from PIL import Image
from qtpy.QtWidgets import QApplication

from benchmarks.volumes import generated, thinned
from napari_zssr.plugin.preview.preview import FINISHED

IMAGES = Path(__file__).parents[1] / "docs" / "images"
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


def picture(viewer: napari.Viewer, theme: str, state: str) -> None:
    """Write a picture of the whole window."""
    wait(seconds=0.5)
    shot = Image.fromarray(viewer.screenshot(canvas_only=False, flash=False))
    small = shot.convert("RGB").quantize(COLOURS)
    small.save(IMAGES / f"widget_{theme}_{state}.png", optimize=True)


def opened(theme: str) -> tuple[napari.Viewer, Any]:
    """A viewer in a theme, with the widget docked in it."""
    get_settings().appearance.theme = theme
    viewer = napari.Viewer(show_welcome_screen=False)
    viewer.window.resize(*SIZE)
    dock, widget = viewer.window.add_plugin_dock_widget("napari-zssr")
    dock.setMinimumWidth(320)
    return viewer, widget


def shoot(theme: str) -> None:
    """Pictures of all states of the widget in one theme."""
    viewer, widget = opened(theme)

    wait(seconds=1)
    picture(viewer, theme, "empty")
    viewer.open_sample("napari-zssr", "mitosis")
    widget.form.method.preset.value = "fast"
    wait(seconds=8)
    widget.preview.start()
    wait(lambda: FINISHED in widget.preview.message.value)
    picture(viewer, theme, "preview")
    widget.preview.stop()
    blur = widget.form.method.blur.fields
    blur["kernel"].value, blur["modality"].value = "optics", "confocal"
    blur["na"].value = "1.4"
    blur["excitation_nm"].value, blur["wavelength_nm"].value = "488", "520"
    wait(seconds=2)
    picture(viewer, theme, "blur")
    blur["kernel"].value = "bicubic"
    widget.start()
    wait(lambda: any(layer.name.endswith("x2 fast") for layer in viewer.layers))
    picture(viewer, theme, "running")
    widget.cancel()
    wait(lambda: widget.controls.run.enabled)
    picture(viewer, theme, "cancelled")
    widget.controls.question.discard.changed.emit(True)
    widget.form.method.preset.value = "instant"
    wait(seconds=1)
    widget.start()
    wait(seconds=1)
    wait(lambda: widget.controls.run.enabled)
    picture(viewer, theme, "done")
    empty = np.full((64, 64), np.nan, dtype=np.float32)
    broken = viewer.add_image(empty, name="no numbers")
    widget.form.image.fields["layer"].value = broken
    wait(seconds=2)
    widget.start()
    wait(seconds=4)
    picture(viewer, theme, "error")
    viewer.close()


def shoot_stack(theme: str) -> None:
    """Picture of a preview along Z, from the side."""
    viewer, widget = opened(theme)
    slices = thinned(generated("nuclei", (96, 128, 128), 1), 4, 0.6, 500)
    viewer.add_image(
        slices,
        name="nuclei",
        scale=(0.8, 0.2, 0.2),
        units=("um",) * 3,
        axis_labels=("z", "y", "x"),
    )
    widget.form.method.preset.value = "fast"
    widget.form.region.fields["factor_y"].value = 1
    widget.form.region.fields["along_z"].value = "isotropic"
    wait(lambda: widget.preview.button.enabled)
    widget.preview.start()
    wait(lambda: any("Preview of" in layer.name for layer in viewer.layers))
    widget.preview.sections.value = True
    wait(lambda: FINISHED in widget.preview.message.value)
    picture(viewer, theme, "along_z")
    viewer.close()


def shoot_check(theme: str) -> None:
    """Picture of the check of a result."""
    viewer, widget = opened(theme)
    viewer.open_sample("napari-zssr", "cells")
    for layer in viewer.layers[1:]:
        layer.visible = False
    widget.form.image.fields["in_turn"].value = False
    widget.form.method.preset.value = "fast"
    wait(lambda: widget.controls.run.enabled)
    widget.start()
    wait(seconds=1)
    wait(lambda: widget.controls.run.enabled)
    panel = widget.check
    widget.folds["check"].unfold(True)
    panel.start()
    wait(lambda: not panel.body.running.visible)
    panel.body.draw.changed.emit(True)
    panel.body.compare.changed.emit(True)
    wait(seconds=1)
    widget.controls.clear()
    wait(seconds=0.5)
    fold = widget.folds["check"].native
    widget.scrolled.verticalScrollBar().setValue(fold.y())
    picture(viewer, theme, "check")
    viewer.close()


def shoot_files(theme: str, folder: Path) -> None:
    """Pictures of a run to disk and of a batch, with files in a folder."""
    viewer, widget = opened(theme)
    viewer.open_sample("napari-zssr", "mitosis")
    image = viewer.layers[0]
    widget.form.method.preset.value = "instant"
    widget.form.result.fields["where"].value = "disk"
    widget.form.result.fields["file"].value = folder / "mitotic plate_x2.ome.zarr"
    wait(seconds=3)
    widget.start()
    wait(lambda: len(viewer.layers) > 1)
    picture(viewer, theme, "disk")
    widget.cancel()
    wait(lambda: widget.controls.run.enabled)
    plates = folder / f"{theme} plates"
    plates.mkdir()
    for number in range(3):
        path = str(plates / f"plate_{number}.ome.tif")
        cut = napari.layers.Image(
            image.data[number : number + 3],
            scale=image.scale,
            units=image.units,
            axis_labels=image.axis_labels,
        )
        cut.save(path, plugin="napari-zssr")
    (plates / "plate_9.tif").write_bytes(b"II*\0 broken")
    viewer.layers.clear()
    widget.tabs.setCurrentIndex(1)
    batch = widget.files
    batch.form.method.preset.value = "instant"
    batch.form.fields["folder"].value = plates
    wait(seconds=2)
    batch.start()
    wait(lambda: batch.controls.run.enabled)
    batch.table.selectRow(0)
    batch.open_selected()
    picture(viewer, theme, "batch")
    viewer.close()


if __name__ == "__main__":
    IMAGES.mkdir(exist_ok=True)
    for name in ("dark", "light"):
        shoot(name)
        shoot_stack(name)
        shoot_check(name)
        with TemporaryDirectory() as folder:
            shoot_files(name, Path(folder))
