from __future__ import annotations

from dataclasses import FrozenInstanceError

import pytest

from napari_zssr.errors import Cancelled, ComputeError, InputError, ZSSRError
from napari_zssr.progress import Progress, Steps, drain


class Engine:
    """Three steps, and a record of whether it was closed."""

    def __init__(self, fail: Exception | None = None) -> None:
        self.closed = False
        self.fail = fail

    def steps(self) -> Steps[str]:
        try:
            for step in range(3):
                yield Progress(stage="train", step=step, total=3)
                if self.fail is not None:
                    raise self.fail
            return "result"
        finally:
            self.closed = True


def test_drain_returns_the_result() -> None:
    engine = Engine()
    assert drain(engine.steps()) == "result"
    assert engine.closed


def test_drain_hands_over_every_event_in_order() -> None:
    events: list[object] = []
    drain(Engine().steps(), events.append)
    assert events == [Progress(stage="train", step=s, total=3) for s in range(3)]


def test_drain_passes_errors_of_the_engine_on() -> None:
    engine = Engine(ComputeError("out of memory"))
    with pytest.raises(ComputeError, match="out of memory"):
        drain(engine.steps())
    assert engine.closed


@pytest.mark.parametrize("stop", [KeyboardInterrupt, Cancelled, ValueError])
def test_drain_closes_the_engine_when_the_listener_stops(
    stop: type[BaseException],
) -> None:
    engine = Engine()

    def listen(_: object) -> None:
        raise stop

    with pytest.raises(stop):
        drain(engine.steps(), listen)
    assert engine.closed


def test_drain_closes_nested_stages() -> None:
    engine = Engine()

    def outer() -> Steps[str]:
        return (yield from engine.steps()).upper()

    assert drain(outer()) == "RESULT"
    engine = Engine()

    def interrupt(_: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        drain(outer(), interrupt)
    assert engine.closed


def test_events_are_frozen() -> None:
    event = Progress(stage="train", step=0, total=1)
    with pytest.raises(FrozenInstanceError):
        event.step = 1  # type: ignore[misc]


@pytest.mark.parametrize("kind", [InputError, ComputeError, Cancelled])
def test_project_errors_are_never_runtime_errors(kind: type[Exception]) -> None:
    # superqt's GeneratorWorker swallows RuntimeError.
    assert issubclass(kind, ZSSRError)
    assert not issubclass(kind, RuntimeError)


def test_input_errors_are_value_errors() -> None:
    assert issubclass(InputError, ValueError)
