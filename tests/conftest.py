from __future__ import annotations

import gc
import os
import subprocess
import sys
import weakref
from collections.abc import Callable, Generator, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import settings

from napari_zssr.config import INSTANT, Config, change

if TYPE_CHECKING:
    from napari.layers import Image

    from napari_zssr.execution.executors import ProcessPool, Workers
    from napari_zssr.plugin.widget import SuperResolutionWidget
    from napari_zssr.zssr.pretrained import PretrainedStart

DOCS = Path(__file__).parent.parent / "docs"
# The quickest run of all.
RIDGE = change(INSTANT, noise="off", ensemble=False, always=True, device="cpu")

# Time never decides a test.
settings.register_profile("project", deadline=None)
settings.load_profile("project")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--slow", action="store_true", help="run tests that take minutes")


def pytest_collection_modifyitems(
    config: pytest.Config, items: list[pytest.Item]
) -> None:
    slow_too = config.getoption("--slow")
    display = _has_display()
    for item in items:
        if "qapp" in getattr(item, "fixturenames", ()) and not display:
            # Qt would end the whole process.
            item.add_marker(pytest.mark.skip(reason="no display: use xvfb-run -a"))
        if item.get_closest_marker("slow") and not slow_too:
            item.add_marker(pytest.mark.skip(reason="slow: run with --slow"))
        if item.get_closest_marker("gpu") and not _has_accelerator():
            item.add_marker(pytest.mark.skip(reason="no accelerator here"))


def _has_display() -> bool:
    names = ("DISPLAY", "WAYLAND_DISPLAY", "QT_QPA_PLATFORM")
    return not sys.platform.startswith("linux") or any(map(os.environ.get, names))


def _has_accelerator() -> bool:
    import torch

    return torch.cuda.is_available() or torch.backends.mps.is_available()


def untaught_start(width: int, dilations: tuple[int, ...]) -> PretrainedStart:
    """A pretrained start that has learned nothing."""
    from napari_zssr.zssr.pretrained import FEATURES, PretrainedStart

    hidden = 5
    rng = np.random.default_rng(7)
    shapes: dict[str, tuple[int, ...]] = {}
    for samples in (1, 3):
        shapes[f"head.{samples}"] = (width, samples, 3, 3)
        for y, x in ((1, 1), (2, 2), (2, 1), (3, 1), (4, 1)):
            shapes[f"tail.{samples}x{y}x{x}"] = (samples * y * x, width, 3, 3)
    for block in range(len(dilations)):
        for part in ("first", "second"):
            shapes[f"body.{block}.{part}"] = (width, width, 3, 3)
    shapes["condition.0"] = (hidden, FEATURES)
    shapes["condition.2"] = (2 * width * (1 + 2 * len(dilations)), hidden)
    arrays = {}
    for name, shape in shapes.items():
        arrays[f"{name}.weight"] = 0.05 * rng.standard_normal(shape)
        arrays[f"{name}.bias"] = 0.05 * rng.standard_normal(shape[0])
    return PretrainedStart(
        width=width,
        dilations=dilations,
        # Files hold them in half precision.
        arrays={k: a.astype(np.float16).astype(np.float32) for k, a in arrays.items()},
        card={"seed": 7, "from": ["nothing"]},
    )


@pytest.fixture
def small_start() -> PretrainedStart:
    """A pretrained start that has learned nothing, and is small."""
    return untaught_start(8, (2,))


@pytest.fixture
def shipped(
    small_start: PretrainedStart, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """File of a pretrained start that stands for the one of the package."""
    from napari_zssr.zssr import pretrained

    path = tmp_path / "shipped.safetensors"
    pretrained.write_start(path, small_start)
    monkeypatch.setattr(pretrained, "SHIPPED", path)
    return path


Started = tuple[Generator[Any, None, Any], list[weakref.ref[Any]]]


@pytest.fixture
def closes_cleanly() -> Callable[[Callable[[], Started], int], None]:
    """Check that a run, closed after so many events, keeps nothing alive.

    What starts the run returns its generator and weak references to what must die;
    the list may grow while it runs.
    """

    def check(start: Callable[[], Started], taken: int) -> None:
        steps, watched = start()
        for _ in range(taken):
            next(steps)
        steps.close()
        del steps
        # Slow, so only where a cycle may hold something.
        if any(reference() is not None for reference in watched):
            gc.collect()
        assert all(reference() is None for reference in watched)

    return check


@pytest.fixture
def modes_untouched() -> Callable[[Iterable[Any]], Iterator[Any]]:
    """Pass a run's events on; at each of them torch's modes must be the usual ones."""
    import torch

    def usual() -> bool:
        changed = torch.is_inference_mode_enabled() or torch.is_autocast_enabled("cpu")
        return torch.is_grad_enabled() and not changed

    def watch(steps: Iterable[Any]) -> Iterator[Any]:
        for event in steps:
            assert usual()
            yield event
        assert usual()

    return watch


@pytest.fixture
def loaded_by() -> Callable[[str], set[str]]:
    """Names of all modules that a fresh Python has loaded after running some code."""

    def run(code: str) -> set[str]:
        done = subprocess.run(
            [sys.executable, "-c", f"{code}\nimport sys; print(*sys.modules)"],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return set(done.stdout.splitlines()[-1].split())

    return run


@pytest.fixture(scope="session")
def started_processes() -> Iterator[ProcessPool]:
    """Two worker processes for all tests that only use them: a start takes seconds."""
    from napari_zssr.execution.executors import ProcessPool, Workers

    pool = ProcessPool(Workers(processes=2))
    yield pool
    pool.close()


@pytest.fixture
def two_processes(
    started_processes: ProcessPool, monkeypatch: pytest.MonkeyPatch
) -> Workers:
    """Two processes to work in, started before and left running."""
    from napari_zssr.execution.executors import ProcessPool, Workers

    executor = started_processes.executor
    monkeypatch.setattr(ProcessPool, "_new_executor", lambda self: executor)
    monkeypatch.setattr(ProcessPool, "close", lambda self: None)
    return Workers(processes=2)


class Desk:
    """A viewer with the widget docked in it."""

    def __init__(self, viewer: Any, qtbot: Any, widget: SuperResolutionWidget) -> None:
        self.viewer = viewer
        self.qtbot = qtbot
        self.widget = widget

    def add(self, data: Any, name: str = "cells", **given: Any) -> Image:
        layer: Image = self.viewer.add_image(data, name=name, **given)
        return layer

    def set(self, config: Config) -> None:
        self.widget.form.method.show_config(config)
        self.widget.form.region.show_factors(config.factors, config.factor_z)
        self.widget.refresh()

    def run(self, config: Config = RIDGE) -> None:
        self.set(config)
        self.widget.start()
        self.wait()

    def wait(self) -> None:
        self.qtbot.waitUntil(lambda: not self.widget._run.running, timeout=30_000)

    @property
    def names(self) -> list[str]:
        return [layer.name for layer in self.viewer.layers]

    @property
    def said(self) -> str:
        return self.widget.controls.messages.text

    @property
    def why(self) -> str:
        return str(self.widget.controls._reason.value)

    def idle(self) -> bool:
        controls = self.widget.controls
        return bool(controls.run.enabled) and not controls.cancel.enabled


@pytest.fixture
def settled(monkeypatch: pytest.MonkeyPatch) -> None:
    """No measurements of the cost card, which have tests of their own."""
    from napari_zssr.plugin import cost

    monkeypatch.setattr(cost, "SETTLED_MS", 3_600_000)


@pytest.fixture
def same_threads() -> Iterator[None]:
    """For Labels layers, which load numba, which changes the threads of torch."""
    import torch

    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def desk(qtbot: Any, settled: None) -> Iterator[Desk]:
    """The widget and a viewer without a window, which takes a second to open."""
    from napari.components import ViewerModel

    from napari_zssr.plugin.widget import SuperResolutionWidget

    widget = SuperResolutionWidget(ViewerModel())
    yield Desk(widget._viewer, qtbot, widget)
    widget.native.deleteLater()
    qtbot.wait(1)


@pytest.fixture
def window(make_napari_viewer: Any, qtbot: Any, settled: None) -> Desk:
    """The widget docked in a real viewer."""
    from napari_zssr.plugin.widget import SuperResolutionWidget

    viewer = make_napari_viewer()
    widget = SuperResolutionWidget(viewer)
    viewer.window.add_dock_widget(widget, name="Super-Resolution")
    return Desk(viewer, qtbot, widget)
