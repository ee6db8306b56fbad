"""ZSSR (Shocher, Cohen, Irani, CVPR 2018) on one plane, from top to bottom.

The plane itself gives the pairs: fathers are the plane at several sizes, sons are
fathers degraded. A network is trained on them through gradual factors, judged on
held-out regions that no training step sees, and applied to the plane: tile by tile, as
the median over flips and rotations, with back-projection. Where it gains nothing over
bicubic enlargement bicubic is returned; where checks do not support what it changes,
less of it.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from napari_zssr.checks import LEARNED
from napari_zssr.imaging.noise import NoiseModel
from napari_zssr.imaging.resample import Window, spread_evenly
from napari_zssr.progress import Progress, Snapshot, Steps, drain
from napari_zssr.zssr.canvas import Canvas, close_canvas
from napari_zssr.zssr.checkpoint import Checkpoint
from napari_zssr.zssr.cost import DRAWS
from napari_zssr.zssr.error_map import ErrorMap, error_map
from napari_zssr.zssr.judge import (
    STAGE,
    Assessment,
    Gain,
    assess,
    held_out_gain,
)
from napari_zssr.zssr.messages import (
    CONSTANT,
    NOTHING_TO_RESTORE,
    WIDE_BLUR,
    Baseline,
    baseline,
    held_back_sentence,
    not_saved,
    nothing_gained,
    origin_sentence,
    shrunk_test,
    too_small,
    what_was_tested,
)
from napari_zssr.zssr.networks import (
    InterpolationNetwork,
    StagedNetwork,
    checkpoint_of,
    fit_ridge,
    on_device,
    restored,
    untrained,
)
from napari_zssr.zssr.pairs import (
    WHOLE_PX,
    WINDOWS,
    PairSpec,
    enlarged_windows,
    pair_spec,
    pair_steps,
    training_windows,
)
from napari_zssr.zssr.predict import (
    back_projection_iterations,
    bicubic_spec,
    bicubic_steps,
    enlarged,
    enlarged_shape,
    predict,
    predict_spec,
    windowed,
    with_mean_of,
)
from napari_zssr.zssr.trainer import Trainer, train
from napari_zssr.zssr.training_plan import SMALLEST_PX, Execution, TrainingPlan
from napari_zssr.zssr.warps import IDENTITY, Pair

SEED_STEP = 7919
# A window is shown about once a second, in at most so much of the time.
SNAPSHOT_S, SNAPSHOT_SHARE = 1.0, 0.2


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PlaneResult:
    """An enlarged plane and what is known about it.

    Attributes
    ----------
    image : (C, Y', X'), float32, CPU; in normalised intensity: a tensor, of large
        planes a `ScratchCanvas`, which is to be closed
    returned : {"learned", "bicubic", "constant"}
    gain : held-out gain over bicubic, None where nothing was learned
    steps, most_steps : training steps done, and at most
    sentence : what training came to, for the user
    denoised : whether training was against noise
    networks : those that made the image
    initialization : as in `TrainingPlan`
    error : standard error of the image, where it was asked for and is known
    """

    image: Canvas
    returned: str
    gain: Gain | None = None
    steps: int = 0
    most_steps: int = 0
    sentence: str
    denoised: bool = False
    networks: Checkpoint | None = None
    initialization: str = ""
    assessment: Assessment | None = None
    error: ErrorMap | None = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TrainingData:
    """What is learned from, on the device that computes.

    Attributes
    ----------
    windows : (C, Y, X); normalised parts of one plane or of several
    sources : (C, Y, X); what is enlarged on the way to the final factor: the plane,
        or the windows
    parts : windows that a plane of that size has; they share its held-out regions
    """

    windows: tuple[Tensor, ...]
    sources: tuple[Tensor, ...]
    parts: int

    @classmethod
    def of_plane(cls, plane: Tensor) -> TrainingData:
        """All that a plane (C, Y, X) gives to learn from."""
        windows = tuple(training_windows(plane))
        return cls(windows=windows, sources=(plane,), parts=len(windows))

    @classmethod
    def of_samples(cls, samples: Sequence[TrainingData], device: str) -> TrainingData:
        """What several planes give together."""
        windows = tuple(w.to(device) for sample in samples for w in sample.windows)
        return cls(windows=windows, sources=windows, parts=samples[0].parts)


def upscale_plane(
    plane: Tensor,
    plan: TrainingPlan,
    execution: Execution,
    *,
    window: Window | None = None,
    shared: Checkpoint | None = None,
    assessment: Assessment | None = None,
) -> Steps[PlaneResult]:
    """Train on a plane (C, Y, X), normalised, float32, and enlarge it.

    Of a `window` (Y, X) a `Snapshot` is shown at once and about once a second, and
    nothing else is enlarged. `shared` networks and an `assessment` were decided for all
    planes of the channel; without them the plane is assessed by itself.
    """
    base = baseline(plan.factors)
    reason = nothing_to_learn(plane, base, plan.smallest_px)
    if plan.has_nothing_to_restore:
        reason = reason or NOTHING_TO_RESTORE
    if plan.start is None and not plan.trains:
        reason = reason or not_saved(base)
    if reason is not None:
        return (
            yield from bicubic_result(plane, plan.factors, reason, execution, window)
        )
    data = TrainingData.of_plane(plane)
    preview = None if window is None else (plane, window)
    if window is not None and shared is None:
        yield initial_snapshot(plane, plan, execution, window)
    network, steps = yield from train_network(data, plan, execution, preview)
    # Networks that a stack shares were judged on several planes before.
    gain = judge(network, data, plan, execution, draws=1 if shared else DRAWS)
    yield Progress(stage=STAGE, step=0, total=1, gain_db=gain.decibel)
    planes = shared.planes if shared else 0
    if not (_is_gain(gain, shared) or plan.always):
        assessment, share = None, 0.0
        sentence = _without_gain(gain, plan, planes, steps)
    else:
        if shared is not None:
            assessed = shared.assessment
            assessment = Assessment(**assessed) if assessed else None
        elif assessment is None:
            assessment = yield from assess(network, [plane], plan, execution)
        share, sentence = _delivered(assessment, gain, plan)
        sentence += origin_sentence(plan, planes, steps, delivered=share > 0)
    spec = replace(predict_spec(plan, plan.factors, execution), share=share)
    if share == 0:
        network, spec = InterpolationNetwork(), bicubic_spec(spec)
        result = yield from bicubic_result(
            plane, plan.factors, sentence, execution, window
        )
    else:
        image = yield from enlarged(network, plane, spec, window, execution.scratch)
        result = PlaneResult(
            image=with_mean_of(image, plane) if window is None else image,
            returned="learned",
            sentence=sentence,
            denoised=plan.is_noisy,
            networks=checkpoint_of(network, plan),
        )
    error = None
    if plan.error_map and window is None:
        pairs = pair_spec(plan, plan.factors, data.parts)
        error = yield from error_map(
            network, plane, result.image, data.windows, pairs, spec, execution
        )
    return replace(
        result,
        error=error,
        gain=gain,
        steps=steps,
        most_steps=plan.most_steps,
        initialization=plan.initialization,
        assessment=assessment,
    )


def train_network(
    data: TrainingData,
    plan: TrainingPlan,
    execution: Execution,
    preview: tuple[Tensor, Window] | None = None,
) -> Steps[tuple[nn.Module, int]]:
    """Train through the gradual factors; returns the network and the steps done.

    What it enlarges at one factor is learned from at the next. Of a `preview`, a plane
    and a window of it, snapshots are shown meanwhile.
    """
    device = data.windows[0].device
    network = None if plan.start is None else on_device(restored(plan.start), device)
    windows, total = data.windows, 0
    for number, factors in enumerate(plan.stages):
        seed = execution.seed + SEED_STEP * number
        spec = pair_spec(plan, factors, data.parts)
        if network is None or plan.trains:
            network, steps = yield from _train_stage(
                network, windows, spec, plan, replace(execution, seed=seed), preview
            )
            total += steps
        if factors != plan.factors:
            further = yield from _enlarged_sources(
                network, data, plan, execution, factors
            )
            kept = windows if plan.kind.random_fathers else data.windows
            windows = (*kept, *further)
    assert network is not None
    return _staged(network, plan.start, device), total


def judge(
    network: nn.Module,
    data: TrainingData,
    plan: TrainingPlan,
    execution: Execution,
    draws: int = DRAWS,
) -> Gain:
    """Gain over bicubic on the held-out regions, as the network will be applied."""
    return held_out_gain(
        network,
        data.windows,
        pair_spec(plan, plan.factors, data.parts),
        execution.seed + 1,
        iterations=back_projection_iterations(plan, plan.factors),
        strength=plan.strength,
        precision=execution.precision,
        draws=draws,
    )


def _train_stage(
    network: nn.Module | None,
    windows: Sequence[Tensor],
    spec: PairSpec,
    plan: TrainingPlan,
    execution: Execution,
    preview: tuple[Tensor, Window] | None,
) -> Steps[tuple[nn.Module, int]]:
    """Make pairs and train: a new network, a saved one, or that of the stage before."""
    warps = (IDENTITY,) if plan.kind.random_fathers else None
    generator = torch.Generator().manual_seed(execution.seed)
    pairs = yield from pair_steps(windows, spec, generator, warps=warps)
    if not plan.kind.is_trained:
        yield Progress(stage="fit", step=0, total=1)
        return fit_ridge(*pairs, generator), 1
    if network is None:
        base = None
        # For bicubic's kernel a filter below the network holds it back.
        if plan.kind.base and spec.kernel.kind != "bicubic":
            ridge = fit_ridge(*pairs, generator)
            gain = held_out_gain(ridge, windows, spec, execution.seed)
            base = ridge if gain.significant else None
        network = untrained(plan, spec.ratio, seed=execution.seed, base=base)
        network = on_device(network, windows[0].device)
    trainer = Trainer(network, windows, spec, plan, execution, pairs=pairs)
    if preview is None:
        return network, (yield from train(trainer))
    return network, (
        yield from _train_with_snapshots(trainer, plan, execution, *preview)
    )


def _enlarged_sources(
    network: nn.Module,
    data: TrainingData,
    plan: TrainingPlan,
    execution: Execution,
    factors: Pair,
) -> Steps[list[Tensor]]:
    """Enlarged sources to learn from too; of many, no more pixels than before."""
    sources = data.sources
    if len(sources) > 1 and sum(s[0].numel() for s in sources) > WHOLE_PX**2:
        sources = sources[:: math.ceil(factors[0] * factors[1])]
    spec = predict_spec(plan, factors, execution)
    windows: list[Tensor] = []
    for source in sources:
        canvas = yield from enlarged(network, source, spec, scratch=execution.scratch)
        windows += [w.to(source.device) for w in enlarged_windows(canvas, factors)]
        close_canvas(canvas)
    return windows


def _staged(
    network: nn.Module, start: Checkpoint | None, device: torch.device
) -> nn.Module:
    """Add the start's network for further applications, if it has one."""
    if start is None or start.further is None:
        return network
    return StagedNetwork(network, on_device(restored(start.further), device))


# ---- what is delivered


def _is_gain(gain: Gain, shared: Checkpoint | None) -> bool:
    """Whether a plane comes back as learned.

    Where shared networks have gained on the stack, single planes are not asked to
    prove it again: a stack of slices now learned, now bicubic, would flicker.
    """
    trusted = shared is not None and shared.gained and gain.decibel > 0
    return gain.significant or trusted


def _without_gain(gain: Gain, plan: TrainingPlan, planes: int, steps: int) -> str:
    """Sentence on a plane that comes back as its baseline.

    Its networks were trained on so many planes that share them, 0 for none.
    """
    trained, learned = bool(planes or steps), plan.initialization == LEARNED
    tested = what_was_tested(trained=trained, learned=learned)
    sentence = nothing_gained(gain, baseline(plan.factors), tested)
    sentence += WIDE_BLUR if plan.has_wide_blur else ""
    return sentence + (origin_sentence(plan, planes, steps) if trained else "")


def _delivered(
    assessment: Assessment | None, gain: Gain, plan: TrainingPlan
) -> tuple[float, str]:
    """Share of the change that is delivered, and a sentence on it.

    Of what is held back the gain on held-out regions is not said: it holds under the
    very settings that are in doubt.
    """
    base = baseline(plan.factors)
    if assessment is None or assessment.share == 1:
        return 1.0, shrunk_test(gain, base, denoised=plan.is_noisy)
    sentence = held_back_sentence(
        [assessment.share],
        assessment.supported,
        assessment.reason,
        base,
        whole=plan.always,
    )
    return 1.0 if plan.always else assessment.share, sentence


def is_learnable(plane: Tensor, smallest: int = SMALLEST_PX) -> bool:
    """Whether a plane (C, Y, X) leaves anything to learn from."""
    varies = float(plane.amax() - plane.amin()) > 0
    return varies and min(plane.shape[-2:]) >= smallest


def nothing_to_learn(
    plane: Tensor, base: Baseline, smallest: int = SMALLEST_PX
) -> str | None:
    """Sentence on a plane that leaves nothing to learn from; None for others."""
    if is_learnable(plane, smallest):
        return None
    if float(plane.amax() - plane.amin()) <= 0:
        return CONSTANT
    return too_small(plane.shape[-2], plane.shape[-1], smallest, base)


def bicubic_result(
    plane: Tensor,
    factors: Pair,
    sentence: str,
    execution: Execution,
    window: Window | None,
) -> Steps[PlaneResult]:
    """A plane from which nothing was learned, or nothing that helps."""
    if sentence == CONSTANT:
        whole = plane[:, :1, :1].cpu().expand(*enlarged_shape(plane, factors))
        image: Canvas = windowed(whole, factors, window)
        return PlaneResult(image=image, returned="constant", sentence=sentence)
    image = yield from bicubic_steps(plane, factors, window, execution.scratch)
    return PlaneResult(image=image, returned="bicubic", sentence=sentence)


# ---- previews


def initial_snapshot(
    plane: Tensor, plan: TrainingPlan, execution: Execution, window: Window
) -> Snapshot:
    """The window as what training starts from enlarges it; random weights: bicubic."""
    network: nn.Module = InterpolationNetwork()
    if plan.start is not None:
        first = on_device(restored(plan.start), plane.device)
        network = _staged(first, plan.start, plane.device)
    return _snapshot(network, plane, plan, execution, window, 0)


def _train_with_snapshots(
    trainer: Trainer,
    plan: TrainingPlan,
    execution: Execution,
    plane: Tensor,
    window: Window,
) -> Steps[int]:
    """`train`, with a snapshot of the window about once a second."""
    done, due = 0, time.monotonic() + SNAPSHOT_S
    with closing(train(trainer)) as steps:
        for event in steps:
            assert isinstance(event, Progress)
            yield event
            done = event.step
            if time.monotonic() >= due:
                started = time.monotonic()
                network = trainer.as_returned()
                yield _snapshot(network, plane, plan, execution, window, done)
                taken = time.monotonic() - started
                due = time.monotonic() + max(SNAPSHOT_S, taken / SNAPSHOT_SHARE)
    return done


def _snapshot(
    network: nn.Module,
    plane: Tensor,
    plan: TrainingPlan,
    execution: Execution,
    window: Window,
    step: int,
) -> Snapshot:
    """The window as a network enlarges it, without self-ensemble."""
    spec = replace(predict_spec(plan, plan.factors, execution), transforms=(0,))
    return Snapshot(
        image=drain(predict(network, plane, spec, window)).numpy(), step=step
    )


# ---- several planes


def plane_sample(plane: NDArray[np.float32], planes: int) -> TrainingData | None:
    """Copies of windows of a plane (C, Y, X), fewer the more planes there are.

    The whole plane has the same windows, so that no training sees the regions that are
    held out there. None for a plane that is constant or too small to learn from.
    """
    whole = torch.from_numpy(plane)
    if not is_learnable(whole):
        return None
    windows = training_windows(whole)
    chosen = spread_evenly(windows, max(1, WINDOWS // planes))
    kept = tuple(window.clone() for window in chosen)
    return TrainingData(windows=kept, sources=kept, parts=len(windows))


def train_shared(
    data: TrainingData, plan: TrainingPlan, execution: Execution, planes: int
) -> Steps[Checkpoint | None]:
    """Train networks once for so many planes; None where they cannot be kept.

    The checkpoint holds the noise of the planes, whether they gained over bicubic, and
    what checks found of them.
    """
    if min(data.windows[0].shape[-2:]) < plan.smallest_px:
        return None
    network, steps = yield from train_network(data, plan, execution)
    checkpoint = checkpoint_of(network, plan)
    if checkpoint is None:
        return None
    assessment = yield from assess(network, data.windows, plan, execution)
    gain = judge(network, data, plan, execution)
    # The first plane begins here.
    yield Progress(stage="check", step=1, total=1)
    return replace(
        checkpoint,
        planes=planes if steps else 0,
        noise=asdict(plan.noise),
        gained=gain.significant,
        assessment=None if assessment is None else asdict(assessment),
    )


def shared_noise(shared: Checkpoint) -> NoiseModel:
    """Noise of the planes that networks were learned from."""
    values: dict[str, Any] = dict(shared.noise or {})
    for name in values.keys() & {"bands", "jpeg"}:
        values[name] = tuple(values[name])
    return NoiseModel(**values)


def trial_assessment(
    plane: Tensor, plan: TrainingPlan, execution: Execution
) -> Steps[Assessment | None]:
    """What checks tell of a linear filter that is learned on a plane in a second.

    It stands for networks that every plane of a channel learns for itself: a blur or
    noise that ruins the one ruins the others. None where nothing can be learned.
    """
    if not is_learnable(plane, plan.smallest_px):
        return None
    network, _ = yield from train_network(TrainingData.of_plane(plane), plan, execution)
    return (yield from assess(network, [plane], plan, execution))
