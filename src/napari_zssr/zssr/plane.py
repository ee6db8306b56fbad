"""One plane from input to result: learn on it, judge, enlarge it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from napari_zssr.checks import LEARNED
from napari_zssr.config import INSTANT, Config
from napari_zssr.imaging.noise import CLEAN, NoiseModel, is_noisy
from napari_zssr.imaging.resample import Window
from napari_zssr.progress import Progress, Snapshot, Steps, drain
from napari_zssr.zssr.canvas import Canvas
from napari_zssr.zssr.checkpoint import Checkpoint
from napari_zssr.zssr.enlarge import enlarged
from napari_zssr.zssr.judge import DRAWS, Assessment, Gain, assess, assessment_of
from napari_zssr.zssr.learn import (
    Lesson,
    Train,
    checkpoint,
    initial_network,
    judge,
    learn,
)
from napari_zssr.zssr.messages import (
    CONSTANT,
    NOT_SAVED,
    WITHOUT_SIGNAL,
    Origin,
    held_back_sentence,
    nothing_gained,
    shrunk_test,
    too_small,
)
from napari_zssr.zssr.policy import (
    TUNED_RATE,
    WINDOWS,
    begun_rate,
    for_jpeg,
    noise_level,
    training_windows,
)
from napari_zssr.zssr.predict import (
    PredictSpec,
    bicubic_steps,
    enlarged_shape,
    predict,
    windowed,
    with_mean_of,
)
from napari_zssr.zssr.start import Start, begun, noisy_steps
from napari_zssr.zssr.trainer import Trainer, train

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


SMALLEST_PX = 16


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PlaneResult:
    """An enlarged plane and what is known about it.

    Attributes
    ----------
    image : Canvas, shape (C, Y', X'), float32, CPU
        In the normalised intensity of the input: a tensor, of large planes a
        `ScratchCanvas`, which is to be closed.
    returned : {"learned", "bicubic", "constant"}
        What the image is.
    gain : Gain or None
        Held-out gain over bicubic, None where nothing was learned.
    steps : int
        Training steps done.
    sentence : str
        What training came to, for the user; what the pixels came to is not in it.
    denoised : bool
        Whether training was against noise.
    networks : Checkpoint or None
        Those that made the image, where networks did.
    began : str
        What training began from, as `Beginning` has it.
    assessment : Assessment or None
        What checks told of the networks; None where they told nothing.
    """

    image: Canvas
    returned: str
    gain: Gain | None
    steps: int
    sentence: str
    denoised: bool = False
    networks: Checkpoint | None = None
    began: str = ""
    assessment: Assessment | None = None


def super_resolve_plane(
    plane: Tensor,
    config: Config,
    *,
    noise: NoiseModel = CLEAN,
    tile_px: int = 512,
    precision: str = "float32",
    seed: int = 0,
    window: Window | None = None,
    start: Start | None = None,
    shared: Checkpoint | None = None,
    assessment: Assessment | None = None,
    scratch: Path | None = None,
) -> Steps[PlaneResult]:
    """Train on one plane and enlarge it.

    Parameters
    ----------
    plane : Tensor, shape (C, Y, X), float32
        Normalised intensities, on the device that computes.
    config : Config
        Settings; noise is taken from `noise`.
    noise : NoiseModel
        Noise of the plane in normalised intensities.
    tile_px : int
        Side of a tile at inference.
    precision : {"float32", "bfloat16"}
    seed : int
        Seed of the plane.
    window : tuple of slice, optional
        Part of the plane (Y, X) that is wanted. It is shown in normalised intensities
        at once and about once a second of training (`Snapshot`), and its mean is not
        matched to that of the input.
    start : Checkpoint or LearnedStart, optional
        What training starts from, or what is applied as it is where the settings ask
        for no steps.
    shared : Checkpoint, optional
        Networks that were learned from planes of the stack, this one or others like
        it. By the strategy they are applied as they are, or trained for some more
        steps; `noise` should be theirs. The window is not looked at before.
    assessment : Assessment, optional
        What was decided for all planes of the channel; without it, and without shared
        networks, it is decided on this plane.
    scratch : Path, optional
        Folder where large results lie while they are made.

    Returns
    -------
    PlaneResult

    Raises
    ------
    InputError
        The networks to start from are damaged.
    ComputeError
        Out of memory even with the smallest tile.
    """
    if (why := _nothing_to_learn(plane)) is not None:
        return (yield from _plain(plane, config, why, window, scratch))
    lesson = _lesson(plane, config, noise, start, shared)
    if lesson.start is None and not lesson.trains:
        return (yield from _plain(plane, config, NOT_SAVED, window, scratch))
    lesson = replace(lesson, tile_px=tile_px, precision=precision, seed=seed)
    lesson = replace(lesson, scratch=scratch)
    if window is not None and shared is None:
        yield _first_look(plane, lesson, window)
    network, steps = yield from learn(lesson, _watching(plane, lesson, window))
    # What a stack has shared was judged on several planes before.
    gain = judge(network, lesson, 1 if shared else DRAWS)
    origin = Origin(
        saved=isinstance(start, Checkpoint),
        shared=shared.planes if shared else 0,
        trained=lesson.trains,
        began=lesson.began,
        steps=steps,
    )
    if not (_gains(gain, shared) or config.always):
        assessment, share, told = None, 0.0, nothing_gained(gain, origin)
    else:
        if shared is not None:
            assessment = assessment_of(shared)
        elif assessment is None:
            assessment = yield from assess(network, [plane], lesson)
        share, told = _delivered(assessment, gain, origin, config.always)
    if share == 0:
        made = yield from _plain(plane, config, told, window, scratch)
    else:
        spec = replace(lesson.applied(config.factors), share=share)
        image = yield from enlarged(network, plane, spec, window, scratch)
        made = PlaneResult(
            image=with_mean_of(image, plane) if window is None else image,
            returned="learned",
            gain=gain,
            steps=steps,
            sentence=told,
            denoised=is_noisy(lesson.level),
            networks=checkpoint(network, lesson),
        )
    return replace(
        made, gain=gain, steps=steps, began=lesson.began, assessment=assessment
    )


def trial_assessment(
    plane: Tensor,
    config: Config,
    *,
    noise: NoiseModel = CLEAN,
    tile_px: int = 512,
    seed: int = 0,
) -> Steps[Assessment | None]:
    """What checks tell of a linear filter that is learned on a plane in a second.

    It stands for networks that every plane of a channel learns for itself: a blur or
    noise that ruins the one ruins the others.

    Parameters
    ----------
    plane, config, noise, tile_px, seed
        As for `super_resolve_plane`.

    Returns
    -------
    Assessment or None
        None where nothing can be learned.
    """
    if _nothing_to_learn(plane) is not None:
        return None
    quick = replace(
        INSTANT,
        factor=config.factors,
        ratio=config.ratio,
        kernel=config.kernel,
        back_projection=config.back_projection,
    )
    lesson = _lesson(plane, quick, noise, None, None)
    lesson = replace(lesson, tile_px=tile_px, seed=seed)
    network, _ = yield from learn(lesson)
    return (yield from assess(network, [plane], lesson))


def upscale_without_signal(
    plane: Tensor,
    config: Config,
    window: Window | None = None,
    scratch: Path | None = None,
) -> Steps[PlaneResult]:
    """A plane that shows nothing but noise, plainly enlarged."""
    why = _nothing_to_learn(plane) or WITHOUT_SIGNAL
    return (yield from _plain(plane, config, why, window, scratch))


def initial_snapshot(
    plane: Tensor,
    config: Config,
    *,
    noise: NoiseModel = CLEAN,
    tile_px: int = 512,
    precision: str = "float32",
    start: Start | None = None,
    window: Window,
) -> Snapshot | None:
    """What `super_resolve_plane` shows at once of a window.

    Parameters
    ----------
    plane, config, noise, tile_px, precision, start, window
        As there.

    Returns
    -------
    Snapshot or None
        None where nothing would be learned.
    """
    if _nothing_to_learn(plane) is not None:
        return None
    lesson = _lesson(plane, config, noise, start, None)
    lesson = replace(lesson, tile_px=tile_px, precision=precision)
    return _first_look(plane, lesson, window)


def _nothing_to_learn(plane: Tensor) -> str | None:
    """What is said of a plane that comes back without a look at it."""
    if float(plane.amax() - plane.amin()) <= 0:
        return CONSTANT
    if min(plane.shape[-2:]) < SMALLEST_PX:
        return too_small(plane.shape[-2], plane.shape[-1], SMALLEST_PX)
    return None


def _lesson(
    plane: Tensor,
    config: Config,
    noise: NoiseModel,
    start: Start | None,
    shared: Checkpoint | None,
) -> Lesson:
    """What is learned on a plane, whether or not several have shared the most."""
    level = noise_level(plane, noise)
    windows = tuple(training_windows(plane))
    beginning = begun(config, shared or start, len(plane), noise=noise, level=level)
    began, rate = beginning.began, begun_rate(beginning, level)
    config = for_jpeg(beginning.config, noise)
    trains = config.steps > 0
    if shared is not None:
        began, rate = shared.began, TUNED_RATE
        steps = config.tuned_steps if config.strategy == "tuned" else 0
        if began == LEARNED and is_noisy(level):
            steps = noisy_steps(steps)
        trains = steps > 0
        config = replace(config, steps=max(1, steps), gradual=1)
    return Lesson(
        windows=windows,
        sources=(plane,),
        parts=len(windows),
        config=config,
        noise=noise,
        level=level,
        start=beginning.networks,
        trains=trains,
        rate=rate,
        began=began,
    )


def _gains(gain: Gain, shared: Checkpoint | None) -> bool:
    """Whether a plane comes back as learned.

    Where shared networks have gained on the stack, single planes are not asked to
    prove it again: a stack of slices now learned, now bicubic, would flicker.
    """
    trusted = shared is not None and shared.gained and gain.decibel > 0
    return gain.significant or trusted


def _delivered(
    assessment: Assessment | None, gain: Gain, origin: Origin, always: bool
) -> tuple[float, str]:
    """Share of the change that is delivered, and what is said of it.

    Of what is held back the gain on held-out regions is not said: it holds under the
    very settings that are in doubt.
    """
    if assessment is None or assessment.share == 1:
        return 1.0, shrunk_test(gain, origin)
    told = held_back_sentence(
        [assessment.share], assessment.supported, assessment.reason, whole=always
    )
    share = 1.0 if always else assessment.share
    return share, f"{told}{origin.on}{origin.start_sentence}"


def _first_look(plane: Tensor, lesson: Lesson, window: Window) -> Snapshot:
    """The window as what training starts from enlarges it."""
    network = initial_network(lesson.start, plane.device)
    return look(network, plane, lesson.applied(lesson.config.factors), window, 0)


def _watching(plane: Tensor, lesson: Lesson, window: Window | None) -> Train | None:
    """Training with looks at the window, where there is one."""
    if window is None:
        return None

    def train(trainer: Trainer) -> Steps[int]:
        spec = lesson.applied(lesson.config.factors)
        return watched(trainer, plane, spec, window)

    return train


def _plain(
    plane: Tensor,
    config: Config,
    why: str,
    window: Window | None,
    scratch: Path | None,
) -> Steps[PlaneResult]:
    """A plane from which nothing was learned, or nothing that helps."""
    factors = config.factors
    if why == CONSTANT:
        whole = plane[:, :1, :1].cpu().expand(*enlarged_shape(plane, factors))
        image: Canvas = windowed(whole, factors, window)
    else:
        image = yield from bicubic_steps(plane, factors, window, scratch)
    returned = "constant" if why == CONSTANT else "bicubic"
    return PlaneResult(image=image, returned=returned, gain=None, steps=0, sentence=why)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Sample:
    """What is kept of a plane to learn from.

    Attributes
    ----------
    windows : tuple of Tensor, shape (C, Y, X)
        Parts of the plane, copied out of it. The whole plane has the same ones, so
        that no training sees the regions that are held out there.
    parts : int
        How many the whole plane has.
    """

    windows: tuple[Tensor, ...]
    parts: int


def plane_sample(plane: NDArray[np.float32], planes: int) -> Sample | None:
    """Windows of a plane, fewer the more planes there are.

    Parameters
    ----------
    plane : ndarray, shape (C, Y, X)
        Normalised intensities.
    planes : int
        Planes that are learned from.

    Returns
    -------
    Sample or None
        None for a plane that is constant or too small to learn from.
    """
    if min(plane.shape[1:]) < SMALLEST_PX or np.ptp(plane) <= 0:
        return None
    windows = training_windows(torch.from_numpy(plane))
    wanted = min(len(windows), max(1, WINDOWS // planes))
    places = [(2 * n + 1) * len(windows) // (2 * wanted) for n in range(wanted)]
    return Sample(
        windows=tuple(windows[n].clone() for n in places),
        parts=len(windows),
    )


def train_shared(
    samples: Sequence[Sample],
    config: Config,
    *,
    noise: NoiseModel = CLEAN,
    device: str = "cpu",
    tile_px: int = 512,
    precision: str = "float32",
    seed: int = 0,
    start: Start | None = None,
) -> Steps[Checkpoint | None]:
    """Train on several planes.

    Parameters
    ----------
    samples : sequence of Sample
        At least one.
    config : Config
    noise : NoiseModel
        What the planes have in common.
    device : str
    tile_px : int
        Side of a tile where windows are enlarged on the way.
    precision : {"float32", "bfloat16"}
    seed : int
    start : Checkpoint or LearnedStart, optional
        What training starts from.

    Returns
    -------
    Checkpoint or None
        None where the settings' network is none that can be kept. It tells of how
        many planes it has learned, and of their noise.
    """
    windows = tuple(w.to(device) for sample in samples for w in sample.windows)
    level = sum(noise_level(window, noise) for window in windows) / len(windows)
    beginning = begun(config, start, len(windows[0]), noise=noise, level=level)
    config = replace(beginning.config, steps=beginning.config.shared_steps)
    lesson = Lesson(
        windows=windows,
        sources=windows,
        parts=samples[0].parts,
        config=config,
        noise=noise,
        level=level,
        tile_px=tile_px,
        precision=precision,
        seed=seed,
        start=beginning.networks,
        trains=config.steps > 0,
        rate=begun_rate(beginning, level),
        began=beginning.began,
    )
    network, _ = yield from learn(lesson)
    found = checkpoint(network, lesson)
    if found is None:
        return None
    assessment = yield from assess(network, windows, lesson)
    return replace(
        found,
        planes=len(samples),
        noise=asdict(noise),
        gained=judge(network, lesson).significant,
        assessment=None if assessment is None else asdict(assessment),
    )


def shared_noise(shared: Checkpoint) -> NoiseModel:
    """Noise of the planes that networks were learned from."""
    told = dict(shared.noise or {})
    for name in ("bands", "jpeg"):
        told[name] = tuple(told.get(name, getattr(CLEAN, name)))
    return NoiseModel(**told)
