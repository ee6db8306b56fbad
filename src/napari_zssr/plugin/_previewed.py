"""What a preview does in the worker."""

from __future__ import annotations

import time
from threading import Thread
from typing import TYPE_CHECKING

from napari_zssr.progress import Progress, Snapshot, Steps

if TYPE_CHECKING:
    from napari_zssr.plugin._target import Target
    from napari_zssr.stack.preview import PreviewResult

# Step of the picture that nothing was learned for.
BEFORE = -1
# Stage of the pause between the first look and the training.
SETTLE = "settle"
# The first look stands for so long before training begins: who scrolls through slices
# has gone on by then, and nothing is under way that takes long to stop.
SETTLED_S = 0.7
NAP_S = 0.02


def previewed(found: Target) -> Steps[PreviewResult]:
    """Preview a target; a pause after the first look is ready to be stopped.

    Before all comes a `Snapshot` of step `BEFORE`, the plainly enlarged window.
    """
    import torch

    steps = _steps(found)
    usual = torch.get_num_threads()
    # It is made of many small computations: a thread that waits for a core which the
    # window needs would slow all of them down, tenfold in the worst case.
    _compute_alone(usual)
    try:
        while True:
            event = next(steps)
            yield event
            if isinstance(event, Snapshot) and event.step == 0:
                torch.set_num_threads(usual)
                yield from _pause()
    except StopIteration as stop:
        result: PreviewResult = stop.value
        return result
    finally:
        torch.set_num_threads(usual)
        steps.close()


def _steps(found: Target) -> Steps[PreviewResult]:
    """Everything that is done in the worker."""
    from napari_zssr.stack.preview import bicubic_window, preview_steps

    stack, config = found.stack, found.request.config
    yield Progress(stage="read", step=0, total=1)
    plain = bicubic_window(stack, config, place=found.place, window=found.window)
    yield Snapshot(image=plain, step=BEFORE)
    return (
        yield from preview_steps(stack, config, place=found.place, window=found.window)
    )


def _compute_alone(usual: int) -> None:
    """Let torch use one thread for what is computed in this one.

    torch also keeps the number for threads that begin later; those, of a run perhaps,
    get the usual one back.
    """
    import torch

    torch.set_num_threads(1)
    other = Thread(target=torch.set_num_threads, args=(usual,))
    other.start()
    other.join()


def _pause() -> Steps[None]:
    settled = time.monotonic() + SETTLED_S
    while time.monotonic() < settled:
        time.sleep(NAP_S)
        yield Progress(stage=SETTLE, step=0, total=1)
