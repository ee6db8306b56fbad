"""Looking at a window of a plane while it is learned."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from napari_zssr.imaging.resample import Window
from napari_zssr.progress import Progress, Snapshot, Steps, drain
from napari_zssr.zssr.pairs import PairSpec, build_pairs
from napari_zssr.zssr.predict import PredictSpec, predict
from napari_zssr.zssr.ridge import fit_ridge
from napari_zssr.zssr.train import Trainer, train

EVERY_S = 1.0
# A look may take this share of the time since the last one.
SHARE = 0.2
FIRST_SAMPLES = 100_000
FIRST_FATHERS_PX = 2_000_000


def first_look(
    plane: Tensor,
    windows: Sequence[Tensor],
    pairs: PairSpec,
    spec: PredictSpec,
    window: Window,
    seed: int,
) -> Snapshot:
    """Window enlarged by a closed-form filter, which takes a fraction of a second.

    The filter is fitted to fewer fathers and pixels than that of a run: of a large
    plane to some windows at their own size alone.
    """
    generator = torch.Generator().manual_seed(seed)
    pixels = sum(w[0].numel() for w in windows)
    fathers = max(1, FIRST_FATHERS_PX // pixels)
    some = windows[:: max(1, pixels // FIRST_FATHERS_PX)]
    quick = replace(pairs, warps=pairs.warps[:fathers])
    made, held_out = build_pairs(some, quick, generator)
    filters = fit_ridge(made, held_out, generator, samples=FIRST_SAMPLES)
    return _look(filters, plane, spec, window, 0)


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
    plain = replace(spec, transforms=(0,))
    due = time.monotonic() + EVERY_S
    try:
        while True:
            event = next(steps)
            yield event
            if isinstance(event, Progress) and time.monotonic() >= due:
                started = time.monotonic()
                yield _look(trainer.as_returned(), plane, plain, window, event.step)
                took = time.monotonic() - started
                due = time.monotonic() + max(EVERY_S, took / SHARE)
    except StopIteration as stop:
        done: int = stop.value
        return done
    finally:
        steps.close()


def _look(
    network: nn.Module, plane: Tensor, spec: PredictSpec, window: Window, step: int
) -> Snapshot:
    made = drain(predict(network, plane, spec, window))
    return Snapshot(image=made.numpy(), step=step)
