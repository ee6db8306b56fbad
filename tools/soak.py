"""Use the widget at random, as an impatient user would, and see whether it bears it.

``xvfb-run -a python -m tools.soak --seeds 20 --actions 200`` where there is no screen.
After each seed: no error was told or printed, no thread is left over, no window, and
the memory that was taken is in the table.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import logging
import random
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import napari
import numpy as np
import psutil
from napari.layers import Shapes
from napari.utils.notifications import (
    Notification,
    NotificationSeverity,
    notification_manager,
)
from qtpy.QtCore import QEvent, QPoint, QPointF, Qt, QThreadPool, qInstallMessageHandler
from qtpy.QtGui import QMouseEvent
from qtpy.QtWidgets import QAbstractButton, QApplication

from napari_zssr.errors import ZSSRError
from tools.screenshots import wait

MOST_LAYERS, PAUSES_S = 7, (0.0, 0.01, 0.05, 0.2)
PATIENCE_S = 60.0
# Of a headless display, or of napari alone.
HARMLESS = ("XDG_RUNTIME_DIR", "propagateSizeHints", "QFont::", "xcb", "libGL", "dbus")


@dataclass
class User:
    """A viewer with the widget, somebody's dice, and what went wrong."""

    viewer: Any
    dice: random.Random
    widget: Any = None
    faults: list[str] = field(default_factory=list)

    def open(self) -> None:
        """Dock the widget anew."""
        _, self.widget = self.viewer.window.add_plugin_dock_widget("napari-zssr")
        self.widget.form.method.preset.value = "instant"

    @property
    def canvas(self) -> Any:
        """The part of the window that shows the layers."""
        return canvas()

    def of_kind(self, kind: Any = object) -> list[Any]:
        """Layers of a kind."""
        return [layer for layer in self.viewer.layers if isinstance(layer, kind)]

    def numbers(self, *shape: int) -> Any:
        """Noise over a gradient, uint16."""
        draw = np.random.default_rng(self.dice.randrange(1000))
        return (draw.poisson(300, shape) + np.arange(shape[-1])).astype(np.uint16)

    def point(self) -> QPoint:
        """Somewhere on the canvas."""
        sizes = self.canvas.width(), self.canvas.height()
        return QPoint(*(self.dice.randrange(10, size - 10) for size in sizes))


def canvas() -> Any:
    """The part of napari's window that shows the layers."""
    name = "CanvasBackendDesktop"
    widgets = [w for w in QApplication.allWidgets() if type(w).__name__ == name]
    return next(widget for widget in widgets if widget.isVisible())


def drag(start: QPoint, stops: Sequence[QPoint]) -> None:
    """Drag over the canvas with the left button."""
    native = canvas()
    left, none = Qt.MouseButton.LeftButton, Qt.MouseButton.NoButton
    keys = Qt.KeyboardModifier.NoModifier

    def send(kind: QEvent.Type, at: QPoint, button: Any, held: Any) -> None:
        place = QPointF(native.mapToGlobal(at))
        event = QMouseEvent(kind, QPointF(at), place, button, held, keys)
        QApplication.sendEvent(native, event)
        wait(seconds=0.01)

    send(QEvent.Type.MouseButtonPress, start, left, left)
    for stop in stops:
        send(QEvent.Type.MouseMove, stop, none, left)
    send(QEvent.Type.MouseButtonRelease, stops[-1], left, none)


# What a user may do.


def add_image(user: User) -> None:
    """Open a picture."""
    user.viewer.add_image(user.numbers(64, 72), scale=(0.2, 0.2), units=("um", "um"))


def add_stack(user: User) -> None:
    """Open a stack with named or unnamed axes."""
    named = {"axis_labels": ("z", "y", "x")} if user.dice.random() < 0.5 else {}
    user.viewer.add_image(user.numbers(3, 48, 40), **named)


def add_rgb(user: User) -> None:
    """Open a picture in colours."""
    colours = (user.numbers(40, 48, 3) // 4).astype(np.uint8)
    user.viewer.add_image(colours, rgb=True)


def add_labels(user: User) -> None:
    """Open labels."""
    user.viewer.add_labels(user.numbers(40, 48) // 100)


def draw(user: User) -> None:
    """Draw a rectangle, in a new Shapes layer or another one."""
    drawn = user.of_kind(Shapes)
    layer = user.dice.choice(drawn) if drawn else user.viewer.add_shapes(ndim=2)
    user.viewer.layers.selection.active = layer
    layer.visible, layer.mode = True, "add_rectangle"
    drag(user.point(), [user.point(), user.point()])
    area = user.widget.form.region.fields["area"]
    if user.dice.random() < 0.5 and layer in area.choices:
        area.value = layer


def remove(user: User) -> None:
    """Take a layer away."""
    if len(user.viewer.layers):
        user.viewer.layers.remove(user.dice.choice(list(user.viewer.layers)))


def clear(user: User) -> None:
    """Take all layers away."""
    user.viewer.layers.clear()


def select(user: User) -> None:
    """Select one layer or several."""
    layers = list(user.viewer.layers)
    count = user.dice.randint(0, len(layers))
    user.viewer.layers.selection = set(user.dice.sample(layers, count))


def choose(user: User) -> None:
    """Choose something in a field that has choices."""
    form = user.widget.form
    fields = {**form.image.fields, **form.region.fields}
    boxes = [f for f in fields.values() if len(getattr(f, "choices", ()))]
    box = user.dice.choice(boxes)
    box.value = user.dice.choice(list(box.choices))


def factor(user: User) -> None:
    """Enter a factor."""
    user.widget.form.region.fields["factor_y"].value = user.dice.choice([1, 1.5, 2, 3])


def preset(user: User) -> None:
    """Choose a preset; mostly the quickest one."""
    user.widget.form.method.preset.value = user.dice.choice(["instant"] * 3 + ["fast"])


def blur(user: User) -> None:
    """Choose a blur."""
    kernel = user.widget.form.method.blur.fields["kernel"]
    kernel.value = user.dice.choice(list(kernel.choices))


def preview(user: User) -> None:
    """Open or close the preview."""
    if user.widget.preview.button.enabled:
        user.widget.preview.button.native.click()


def drag_preview(user: User) -> None:
    """Drag from the middle of the canvas, where a preview mostly is."""
    middle = QPoint(user.canvas.width() // 2, user.canvas.height() // 2)
    drag(middle, [user.point(), user.point(), user.point()])


def run(user: User) -> None:
    """Press Run."""
    if user.widget.controls.run.enabled:
        user.widget.controls.run.native.click()


def cancel(user: User) -> None:
    """Press Cancel."""
    if user.widget.controls.cancel.enabled:
        user.widget.controls.cancel.native.click()


def check(user: User) -> None:
    """Open or close the check."""
    if user.widget.check.button.enabled:
        user.widget.check.button.native.click()


def theme(user: User) -> None:
    """Change the theme."""
    user.viewer.theme = "light" if user.viewer.theme == "dark" else "dark"


def reopen(user: User) -> None:
    """Close the dock and open it again."""
    user.viewer.window.remove_dock_widget(user.widget.native)
    wait(seconds=0.05)
    user.open()


def turn(user: User) -> None:
    """Change between 2D and 3D."""
    user.viewer.dims.ndisplay = 5 - user.viewer.dims.ndisplay


def scroll(user: User) -> None:
    """Move a slider, or scroll the form."""
    if user.viewer.dims.ndim > 2:
        user.viewer.dims.set_current_step(0, user.dice.randrange(3))
    bar = user.widget.scrolled.verticalScrollBar()
    bar.setValue(user.dice.randint(0, bar.maximum()))


def tab(user: User) -> None:
    """Change between the tabs."""
    tabs = user.widget.tabs
    tabs.setCurrentIndex(user.dice.randrange(tabs.count()))


def fold(user: User) -> None:
    """Open or close a folded section."""
    section = user.dice.choice(list(user.widget.folds.values()))
    section.unfold(not section.is_open)


def press(user: User) -> None:
    """Press any button that can be, but for those that open a dialog or a browser."""
    buttons = user.widget.native.findChildren(QAbstractButton)
    leaving = set(user.widget.help.native.findChildren(QAbstractButton))
    pressed = [
        button
        for button in buttons
        if button.isVisible() and button.isEnabled() and button not in leaving
        if not button.text().endswith("...")
    ]
    if pressed:
        user.dice.choice(pressed).click()


def linger(user: User) -> None:
    """Do nothing for a while."""
    wait(seconds=user.dice.choice([0.3, 1.0]))


# How often, too.
ACTIONS: dict[Callable[[User], None], int] = {
    add_image: 6,
    add_stack: 4,
    add_rgb: 3,
    add_labels: 2,
    draw: 6,
    remove: 8,
    clear: 1,
    select: 6,
    choose: 8,
    factor: 4,
    preset: 3,
    blur: 3,
    preview: 8,
    drag_preview: 8,
    run: 8,
    cancel: 4,
    check: 4,
    theme: 2,
    reopen: 2,
    turn: 1,
    scroll: 4,
    tab: 3,
    fold: 4,
    press: 10,
    linger: 6,
}


def use(user: User, actions: int) -> None:
    """Do so many things; what goes wrong is kept with what was done."""
    for number in range(actions):
        if len(user.viewer.layers) > MOST_LAYERS:
            act: Callable[[User], None] = remove
        else:
            act = user.dice.choices(list(ACTIONS), list(ACTIONS.values()))[0]
        before = len(user.faults)
        try:
            act(user)
        except Exception as error:  # noqa: BLE001 that is what is looked for
            user.faults.append(f"{type(error).__name__}: {error}")
        wait(seconds=user.dice.choice(PAUSES_S))
        done = f"action {number}, {act.__name__}: "
        user.faults[before:] = [done + fault for fault in user.faults[before:]]


@contextmanager
def heard(faults: list[str]) -> Iterator[None]:
    """Write down whatever complains: Python, Qt, the log, napari."""

    def by_napari(notification: Notification) -> None:
        expected = isinstance(getattr(notification, "exception", None), ZSSRError)
        severe = notification.severity >= NotificationSeverity.ERROR
        if severe and not expected and hasattr(notification, "exception"):
            faults.append(f"napari: {notification.message}")

    def by_qt(_kind: Any, _context: Any, message: str | None) -> None:
        if message and not any(word in message for word in HARMLESS):
            faults.append(f"Qt: {message}")

    def by_python(_kind: Any, error: BaseException, _trace: Any) -> None:
        faults.append(f"Python: {type(error).__name__}: {error}")

    class ByLog(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            faults.append(f"log: {record.getMessage()[-400:]}")

    handler, usual = ByLog(logging.ERROR), sys.excepthook
    sys.excepthook = by_python
    previous = qInstallMessageHandler(by_qt)
    logging.getLogger().addHandler(handler)
    notification_manager.notification_ready.connect(by_napari)
    try:
        yield
    finally:
        notification_manager.notification_ready.disconnect(by_napari)
        logging.getLogger().removeHandler(handler)
        qInstallMessageHandler(previous)
        sys.excepthook = usual


def keep_programs() -> None:
    """Let vispy keep its shaders.

    Of napari without any plugin: where a Shapes layer is removed, vispy deletes its
    shader programs, and the next layer that is painted crashes in Mesa's driver.
    """
    from vispy.gloo import glir  # type: ignore[import-untyped]

    glir.GlirProgram.delete = lambda self: None


def soak(seed: int, actions: int) -> list[str]:
    """Faults of one user, who closes the viewer in the end."""
    app = QApplication.instance() or QApplication([])
    assert isinstance(app, QApplication)
    threads = set(threading.enumerate())
    windows = set(app.topLevelWidgets())
    pool = QThreadPool.globalInstance()
    assert pool is not None
    # An idle thread of the pool would stay for half a minute.
    pool.setExpiryTimeout(0)
    user = User(napari.Viewer(show_welcome_screen=False), random.Random(seed))
    with heard(user.faults):
        user.open()
        use(user, actions)
        if user.widget.controls.cancel.enabled:
            user.widget.cancel()
        wait(seconds=0.5)
        user.viewer.close()
        if not pool.waitForDone(int(1000 * PATIENCE_S)):
            user.faults.append("a computation does not end")
        wait(seconds=0.5)
        viewer, user.viewer, user.widget = user.viewer, None, None
        del viewer
        gc.collect()
        wait(seconds=0.2)
    # Python lists some that have ended.
    alive = {thread.id for thread in psutil.Process().threads()}
    left = {t for t in threading.enumerate() if t.native_id in alive} - threads
    user.faults += [f"thread left: {thread.name}" for thread in left]
    shown = [w for w in set(app.topLevelWidgets()) - windows if w.isVisible()]
    user.faults += [f"window left: {type(w).__name__}" for w in shown]
    return user.faults


def memory() -> str:
    """Resident memory in use; on Linux without what malloc holds back as free.

    For every new size of an image oneDNN compiles functions and keeps a thousand, or
    as many as ``ONEDNN_PRIMITIVE_CACHE_CAPACITY`` in the environment says.
    """
    with suppress(OSError, AttributeError):
        ctypes.CDLL("libc.so.6").malloc_trim(0)
    return f"{psutil.Process().memory_info().rss / 1e6:.0f}"


def main() -> None:
    """Print a table with a line for each seed, and the faults as errors."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--actions", type=int, default=200)
    given = parser.parse_args()
    keep_programs()
    failed = False
    sys.stdout.write(
        "| seed | faults | seconds | memory, MB |\n| --- | --- | --- | --- |\n"
    )
    for seed in range(given.first, given.first + given.seeds):
        started = time.monotonic()
        faults = soak(seed, given.actions)
        taken = time.monotonic() - started
        sys.stdout.write(f"| {seed} | {len(faults)} | {taken:.0f} | {memory()} |\n")
        sys.stderr.write("".join(f"seed {seed}: {fault}\n" for fault in faults))
        sys.stdout.flush()
        failed |= bool(faults)
    sys.exit(failed)


if __name__ == "__main__":
    main()
