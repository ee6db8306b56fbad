"""Looking at a window of a plane while it is learned."""

from __future__ import annotations

import time
from dataclasses import replace

from torch import Tensor, nn

from napari_zssr.imaging.resample import Window
from napari_zssr.progress import Progress, Snapshot, Steps, drain
from napari_zssr.zssr.predict import PredictSpec, predict
from napari_zssr.zssr.train import Trainer, train

EVERY_S = 1.0
# A look may take this share of the time since the last one.
SHARE = 0.2


def watched(
    trainer: Trainer,
    plane: Tensor,
    spec: PredictSpec,
    window: Window,
) -> Steps[int]:
    """`train`, with a look at the window about once a second.

    Parameters
    ----------
    trainer : Trainer
    plane : Tensor, shape (C, Y, X)
    spec : PredictSpec
    window : tuple of slice
        Part of the plane.
    """
    steps = train(trainer)
    due = time.monotonic() + EVERY_S
    try:
        while True:
            event = next(steps)
            yield event
            if isinstance(event, Progress) and time.monotonic() >= due:
                started = time.monotonic()
                yield look(trainer.as_returned(), plane, spec, window, event.step)
                took = time.monotonic() - started
                due = time.monotonic() + max(EVERY_S, took / SHARE)
    except StopIteration as stop:
        done: int = stop.value
        return done
    finally:
        steps.close()


def look(
    network: nn.Module, plane: Tensor, spec: PredictSpec, window: Window, step: int
) -> Snapshot:
    """The window as a network enlarges it, without self-ensemble.

    Parameters
    ----------
    network : Module
    plane : Tensor, shape (C, Y, X)
    spec : PredictSpec
    window : tuple of slice
        Part of the plane.
    step : int
        Training steps that the network has done.
    """
    made = drain(predict(network, plane, replace(spec, transforms=(0,)), window))
    return Snapshot(image=made.numpy(), step=step)
