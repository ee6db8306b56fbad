"""The one mechanism for progress and cancelling: a generator that yields events.

To cancel is to stop iterating and ``close()`` the generator.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from numpy.typing import NDArray

# With this begin the stages of what is done along Z.
ALONG_Z = "axial "
# With this those of what the planes of a channel share.
SHARED = "shared "
# What a stage does, in words.
STAGE_TEXTS = {
    "read": "reading",
    "plan": "preparing",
    "learn": "training (several slices)",
    "blur": "preparing",
    "pairs": "preparing training data",
    "fit": "fitting the filter",
    "train": "training",
    "check": "checking the result",
    "predict": "enlarging",
    "planes": "enlarging",
    "intensities": "comparing intensities",
    "positions": "comparing positions of spots",
    "residual": "comparing with the original",
    "resolution": "measuring the resolution",
    "report": "writing the report",
    f"{ALONG_Z}predict": "testing along Z",
    f"{ALONG_Z}columns": "enlarging along Z",
    f"{SHARED}predict": "testing (several slices)",
    f"{SHARED}check": "checking (several slices)",
}


def stage_text(stage: str) -> str:
    """What a stage does, in words; its own name where it has none."""
    if stage in STAGE_TEXTS:
        return STAGE_TEXTS[stage]
    for prefix, suffix in ((SHARED, " (several slices)"), (ALONG_Z, " along Z")):
        if stage.startswith(prefix):
            return f"{stage_text(stage.removeprefix(prefix))}{suffix}"
    return stage


def sentence_case(text: str) -> str:
    """A text that begins with a capital letter."""
    return text[:1].upper() + text[1:]


T = TypeVar("T")
E = TypeVar("E", bound="Event")


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """Where a run stands.

    Attributes
    ----------
    stage : str
        What is being done, in words ("train", "predict", ...).
    step, total : int
        Steps done and steps expected in this stage.
    loss : float, optional
        Recent training loss of a start that is learned from many images.
    gain_db : float, optional
        Gain over interpolation (the input at factor 1) on regions held out from
        training, in dB of PSNR, where it was just measured.
    message : str
        A sentence for the user, or empty.
    plane : int
        Index of the plane that is worked on.
    planes : int
        Number of planes of the whole run.
    """

    stage: str
    step: int
    total: int
    loss: float | None = None
    gain_db: float | None = None
    message: str = ""
    plane: int = 0
    planes: int = 1


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Snapshot:
    """A preview of the plane that is being worked on.

    Attributes
    ----------
    image : ndarray
        Shape (C, Y, X) within the engine; axes and dtype of a plane of the image when
        it leaves it.
    step : int
        Training steps done.
    """

    image: NDArray[Any]
    step: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PlaneDone:
    """One plane is finished; its pixels already stand in the output.

    Attributes
    ----------
    plane, planes : int
        Index of the plane and number of planes.
    index : tuple of int or slice
        Where the plane stands in the output array.
    done : int
        Planes that are finished now; they need not be the first ones.
    """

    plane: int
    planes: int
    index: tuple[int | slice, ...] = ()
    done: int = 0


Event = Progress | Snapshot | PlaneDone
Steps = Generator[Event, None, T]


def map_events(
    steps: Steps[T], kind: type[E], change: Callable[[E], Event]
) -> Steps[T]:
    """Steps whose events of one kind are changed; closed whatever happens."""
    try:
        while True:
            event = next(steps)
            yield change(event) if isinstance(event, kind) else event
    except StopIteration as stop:
        result: T = stop.value
        return result
    finally:
        steps.close()


def drain(steps: Steps[T], on_event: Callable[[Event], object] | None = None) -> T:
    """Run a generator of steps to its end and return its result.

    Parameters
    ----------
    steps : Steps
        What to run.
    on_event : callable, optional
        Called with every event.
    """
    try:
        while True:
            event = next(steps)
            if on_event is not None:
                on_event(event)
    except StopIteration as stop:
        result: T = stop.value
        return result
    finally:
        steps.close()
