from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("napari")

from napari.layers import Image
from qtpy.QtCore import QTimer

from napari_zssr.config import BALANCED, change
from napari_zssr.errors import ComputeError
from napari_zssr.plugin import cost
from napari_zssr.plugin.cost import CostCard
from napari_zssr.plugin.layers.layers import WHOLE
from napari_zssr.plugin.request import Request
from napari_zssr.zssr import calibrate
from napari_zssr.zssr.cost import Rates
from napari_zssr.zssr.device import Advice, DeviceReport, Machine

CPU = DeviceReport(
    device="cpu",
    name="processor (8 cores)",
    description="AVX2",
    free_bytes=8 * 10**9,
    bfloat16=False,
)
ADVICE = Advice(sentence="torch is a CPU build.", commands=("pip install <torch>",))
RATES = Rates(step_s=0.05, pairs_s=2e-6, version_s=5e-6)


class Bench:
    """A machine that is not there, and how often it was measured."""

    def __init__(self) -> None:
        self.machine = Machine(devices=(CPU,), cores=8)
        self.examined = 0
        self.measured: list[Any] = []
        self.slowness = 1.0
        self.error: Exception | None = None

    def examine(self) -> Machine:
        self.examined += 1
        return self.machine

    def calibrate(self, plan: Any, _: Any, **how: Any) -> Iterator[Any]:
        self.measured.append(plan)
        yield from ()
        if self.error is not None:
            raise self.error
        return RATES


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Bench:
    made = Bench()
    monkeypatch.setattr(cost, "examine_machine", made.examine)
    monkeypatch.setattr(cost, "SETTLED_MS", 1)
    monkeypatch.setattr(calibrate, "calibrate_steps", made.calibrate)
    monkeypatch.setattr(calibrate, "slowness", lambda cores: made.slowness)
    return made


@pytest.fixture
def card(bench: Bench, qtbot: Any) -> Iterator[CostCard]:
    made = CostCard()
    qtbot.addWidget(made.view.native)
    yield made
    made.close()
    qtbot.waitUntil(lambda: not made._run.running)


def request(**changes: Any) -> Request:
    layer = Image(np.zeros((4, 64, 60), np.uint16))
    return Request(
        layer=layer,
        axes="ZYX",
        selection=WHOLE,
        config=change(BALANCED, **changes),
    )


def known(card: CostCard) -> bool:
    """Whether one figure is told."""
    return "about" in card._table.value and "measured" not in card._table.value


def settle(card: CostCard, qtbot: Any) -> None:
    qtbot.waitUntil(lambda: not card._later.isActive() and not card._run.running)


def test_the_result_is_told_at_once_and_the_rest_when_known(
    card: CostCard, qtbot: Any
) -> None:
    card.update([request()])
    assert "Z 4 × Y 128 × X 120, uint16" in card._table.value
    assert "Time" not in card._table.value
    qtbot.waitUntil(lambda: "Time" in card._table.value)
    assert "being measured" in card._table.value
    qtbot.waitUntil(lambda: known(card))
    assert "processor (8 cores)" in card._table.value
    assert card.problem == ""


def test_what_was_measured_is_not_measured_again(
    card: CostCard, bench: Bench, qtbot: Any
) -> None:
    for changes in ({}, {"steps": 50}, {"seed": 4}):
        card.update([request(**changes)])
        qtbot.waitUntil(lambda: known(card))
        settle(card, qtbot)
    assert (bench.examined, len(bench.measured)) == (1, 1)
    card.update([request(width=16)])
    qtbot.waitUntil(lambda: len(bench.measured) == 2)


def test_the_processor_is_tested_but_not_beside_a_preview(
    bench: Bench, qtbot: Any
) -> None:
    busy = [False]
    card = CostCard(lambda: busy[0])
    qtbot.addWidget(card.view.native)
    found = []
    for bench.slowness, busy[0] in ((2.0, False), (7.0, True), (3.0, False)):
        before, card._examined = bench.examined, -cost.STALE_S
        card.update([request()])
        qtbot.waitUntil(lambda n=before: bench.examined > n and not card._run.running)
        found.append(None if card._machine is None else card._machine.slowness)
    card.close()
    assert found == [2.0, 2.0, 3.0]


def test_nothing_is_measured_beside_a_run(
    card: CostCard, bench: Bench, qtbot: Any
) -> None:
    card.pause(True)
    card.update([request()])
    settle(card, qtbot)
    assert bench.examined == 0
    card.pause(False)
    qtbot.waitUntil(lambda: known(card))


def test_what_will_not_fit_is_red(card: CostCard, bench: Bench, qtbot: Any) -> None:
    told: list[str] = []
    card.changed.connect(told.append)
    small = replace(CPU, free_bytes=10**8)
    bench.machine = Machine(devices=(small,), cores=8)
    card.update([request()])
    qtbot.waitUntil(lambda: bool(card.problem))
    assert "will not fit" in card.problem
    assert "color:" in card._problem.value
    card.update([])
    assert (card.problem, card._problem.value) == ("", "")
    assert [bool(text) for text in told] == [True, False]


def test_a_torch_that_misses_the_gpu_is_told_with_the_command(
    card: CostCard, bench: Bench, qtbot: Any
) -> None:
    bench.machine = replace(bench.machine, advice=ADVICE)
    card.update([request()])
    qtbot.waitUntil(lambda: bool(card._advice.value))
    assert "pip install &lt;torch&gt;" in card._advice.value


@pytest.mark.parametrize("error", [ComputeError, IndexError])
def test_a_failed_measurement_is_told_and_not_repeated(
    card: CostCard, bench: Bench, qtbot: Any, error: type[Exception]
) -> None:
    bench.error = error("No memory left.")
    card.update([request()])
    qtbot.waitUntil(lambda: "No memory left" in card._table.value)
    assert "not measured: " in card._table.value
    card.update([request()])
    settle(card, qtbot)
    assert len(bench.measured) == 1
    assert card.problem == ""


def test_of_tiny_planes_nothing_is_measured(
    card: CostCard, bench: Bench, qtbot: Any
) -> None:
    tiny = replace(request(), layer=Image(np.zeros((4, 9, 12), np.uint16)))
    card.update([tiny])
    qtbot.waitUntil(lambda: known(card))
    settle(card, qtbot)
    assert not bench.measured


def test_a_machine_that_cannot_be_looked_at_is_told(
    card: CostCard, bench: Bench, qtbot: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken() -> Machine:
        bench.examined += 1
        raise ComputeError("torch cannot be imported.")

    monkeypatch.setattr(cost, "examine_machine", broken)
    card.update([request()])
    qtbot.waitUntil(lambda: "cannot be imported" in card._advice.value)
    settle(card, qtbot)
    assert bench.examined == 1


def test_nothing_is_said_without_a_request(card: CostCard) -> None:
    card.update([])
    assert card._table.value == ""
    card.close()


def test_the_noise_is_looked_at_once_for_a_selection(
    card: CostCard, qtbot: Any
) -> None:
    """And tells a layer with noise another time than one without."""
    grain = np.random.default_rng(0).normal(0, 40, (4, 64, 60))
    y, x = np.mgrid[:64, :60] / 7
    scene = 500 + 200 * np.sin(y) * np.cos(x)
    times = []
    for pixels in (np.broadcast_to(scene, (4, 64, 60)), scene + grain):
        wanted = replace(request(), layer=Image(np.asarray(pixels, np.float32)))
        card.update([wanted])
        qtbot.waitUntil(lambda: known(card))
        (look,) = card._noise.get(wanted)
        times.append((look.level, card._cost(card._workloads).seconds[0]))
    (clean, fast), (noisy, slow) = times
    assert clean < 0.004 < 0.02 < noisy
    assert fast != slow


def test_one_who_asks_for_the_same_again_does_not_put_measuring_off(
    card: CostCard, qtbot: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The time stayed unknown for as long as something else asked to be shown."""
    wanted = [request()]
    card._later.setInterval(200)
    again = QTimer(card.view.native)
    again.setInterval(50)
    again.timeout.connect(lambda: card.update(wanted))
    again.start()
    qtbot.waitUntil(lambda: known(card), timeout=5000)
    again.stop()


def test_after_a_run_that_interrupted_measuring_one_figure_is_told(
    card: CostCard, bench: Bench, qtbot: Any
) -> None:
    card.update([request()])
    card._measure()
    card.pause(True)
    card.update([request()])
    settle(card, qtbot)
    assert not known(card)
    card.pause(False)
    qtbot.waitUntil(lambda: known(card))


def test_a_run_that_has_ended_tells_how_long_the_same_one_takes(
    card: CostCard, qtbot: Any
) -> None:
    """After a run of 38 s the form went on saying that it takes 2 minutes."""
    asked, other = request(), request(steps=50)
    card.update([asked])
    qtbot.waitUntil(lambda: known(card))
    before = card._summary.value
    card.note_taken(asked, 38.0)
    card.update([asked])
    assert "about 38 s" in card._summary.value
    work = card.work(asked)
    assert work is not None
    assert work.seconds == pytest.approx(38)
    assert card.times["balanced"] == "about 38 s"
    card.update([other])
    assert "about 38 s" not in card._summary.value
    card.note_taken(replace(asked, target=Path("cells.ome.tif")), 7.0)
    card.update([asked])
    assert "about 38 s" in card._summary.value != before


def test_speed_is_not_measured_beside_a_preview(
    card: CostCard, bench: Bench, qtbot: Any
) -> None:
    """It took the device three times as long, and the form said so for good."""
    busy = [True]
    card._is_busy = lambda: busy[0]
    card.update([request()])
    qtbot.waitUntil(lambda: "speed being measured" in card._table.value)
    qtbot.wait(50)
    assert bench.measured == []
    # Nor does it count if a preview is opened meanwhile.
    key = next(iter(card._cost(card._workloads).unmeasured()))  # type: ignore[union-attr]
    card._keep_rates(key, bench.measured, RATES)  # type: ignore[arg-type]
    assert card._known == {}
    busy[0] = False
    qtbot.waitUntil(lambda: known(card))
    assert len(bench.measured) == 1


def test_layers_are_told_together(card: CostCard, qtbot: Any) -> None:
    card.update([request(), request()])
    qtbot.waitUntil(lambda: known(card))
    assert "2 layers" in card._summary.value
    assert "2 layers" in card._table.value
    told: list[Any] = []
    card.timed.connect(told.append)
    card.update([])
    assert told == [{}]
