"""What is decided for training, once: `resolve(config, facts) -> TrainingPlan`.

Nothing after it decides on training again. No torch in here.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from napari_zssr.checks import LEARNED, RANDOM
from napari_zssr.config import INSTANT, Config, change, denoises_only
from napari_zssr.errors import InputError
from napari_zssr.imaging.kernel import FineKernel, kernel_for_factors
from napari_zssr.imaging.noise import CLEAN, NoiseModel, is_noisy
from napari_zssr.kernelspec import KernelSpec
from napari_zssr.zssr.checkpoint import Checkpoint
from napari_zssr.zssr.kinds import KINDS, NetworkKind
from napari_zssr.zssr.messages import (
    ALONE,
    PRETRAINED,
    will_begin_from_learned,
    will_begin_from_saved,
)
from napari_zssr.zssr.pretrained import PretrainedStart, Ratio
from napari_zssr.zssr.start import (
    LARGEST_RATIO,
    Start,
    Starts,
    initial_checkpoint,
    initial_size,
    learned_ratio,
)

Pair = tuple[float, float]

# Shares of the usual learning rates: of shared networks that are tuned to a plane, from
# a pretrained start, and from there on a noisy plane.
TUNED_RATE, LEARNED_RATE, NOISY_RATE = 0.1, 0.25, 0.1
# From a pretrained start a noisy plane takes a quarter of the steps; a few change next
# to nothing.
NOISY_SHARE, LEAST_NOISY = 4, 25
# How far training goes from a pretrained start to what it finds: fathers are softer
# than fine images, the more so the wider the blur, and what is found suits them too
# well. Lateral planes are as sharp as sections are to become.
LEARNED_SHARE, LEARNED_SHARE_ALONG_Z = 0.6, 1.0
# Standard deviation of a blur, in pixels, from which little of it is taken back.
WIDE_PX = 2.0
# Noise levels (fraction of the range) between which back-projection fades out: it would
# copy the noise into the result.
FADE = (0.003, 0.010)
# Sides of the smallest planes, and of their sons, that anything is learned from; along
# Z sons are cut from sections, which are fewer.
SMALLEST_PX, SMALLEST_SON_PX, SMALLEST_AXIAL_SON_PX = 16, 4, 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Execution:
    """Where and with what arithmetic a plan is carried out; it decides no method.

    Attributes
    ----------
    precision : {"float32", "bfloat16"}
    tile_px : side of a tile at inference, in input pixels
    scratch : folder for large results that are not finished
    """

    device: str = "cpu"
    precision: str = "float32"
    tile_px: int = 512
    seed: int = 0
    scratch: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Facts:
    """What was measured on a plane, or on planes that share their networks.

    Attributes
    ----------
    samples : colours that are learned together
    noise : in normalised intensity
    level : standard deviation of the noise at the mean signal
    start : what training is to start from; None is random weights
    shared : networks that several planes have in common already
    for_stack : whether what is learned is for several planes
    along_z : whether it is for sections along Z
    """

    samples: int = 1
    noise: NoiseModel = CLEAN
    level: float = 0.0
    start: Start | None = None
    shared: Checkpoint | None = None
    for_stack: bool = False
    along_z: bool = False


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TrainingPlan:
    """Every decision on how networks are trained and applied.

    Attributes
    ----------
    samples, width, blocks : size of the network
    ratio : enlargement (Y, X) of one application
    factors : enlargement (Y, X) that is wanted
    stages : gradual factors that are trained for, the final one last
    kernel : blur for the final factors
    steps : training steps at most for each stage; 0 applies the start as it is
    rate : share of the usual learning rates
    learned_share : of the way from a pretrained start to what training finds, 0..1
    start : initial weights; None is random
    initialization : ``learned`` for a pretrained start; else empty
    from_saved : whether the user has given saved networks to start from
    noise_is_given : whether the user has given the noise
    back_projection : iterations, before the kernel is asked whether they converge
    strength : share of each back-projection, 0..1
    ensemble, always, error_map : as in the settings
    """

    kind: NetworkKind
    samples: int
    width: int
    blocks: int
    ratio: Ratio
    factors: Pair
    stages: tuple[Pair, ...]
    kernel: KernelSpec
    steps: int
    batch: int
    crop_px: int
    rate: float
    learned_share: float
    start: Checkpoint | None
    initialization: str
    from_saved: bool
    noise: NoiseModel
    level: float
    noise_is_given: bool
    back_projection: int
    strength: float
    ensemble: bool
    always: bool
    error_map: bool

    @property
    def trains(self) -> bool:
        """Whether anything is learned, or the start is applied as it is."""
        return self.steps > 0

    @property
    def most_steps(self) -> int:
        """Training steps at most, of all stages."""
        return self.steps * len(self.stages)

    @property
    def is_noisy(self) -> bool:
        """Whether training is against noise (recorruption)."""
        return is_noisy(self.level)

    @property
    def only_denoises(self) -> bool:
        """Whether planes keep their size, and no blur is taken back."""
        return denoises_only(self.factors, self.kernel)

    @property
    def has_nothing_to_restore(self) -> bool:
        """Whether planes keep their size, without a blur or noise to be taken back."""
        return self.only_denoises and not self.is_noisy and not self.noise.jpeg

    @property
    def smallest_px(self) -> int:
        """Side of the smallest planes that are learned from."""
        learned = self.factors if self.kind.fine_grid else self.ratio
        return max(SMALLEST_PX, math.ceil(SMALLEST_SON_PX * max(learned)))

    def learns_from(self, size: Sequence[float]) -> bool:
        """Whether planes of a size (Y, X) are more than interpolated."""
        return not self.has_nothing_to_restore and min(size) >= self.smallest_px

    @property
    def has_wide_blur(self) -> bool:
        """Whether planes keep their size under a blur wider than the start knows."""
        kernel = FineKernel(spec=self.kernel, factors=self.factors, sentence="")
        widths = kernel.widths_px
        return self.factors == (1.0, 1.0) and widths is not None and widths[0] > WIDE_PX

    def kernel_for(self, factors: Pair) -> KernelSpec:
        """Blur for one gradual factor."""
        return kernel_for_factors(self.kernel, self.factors, factors)

    def applications(self, factors: Pair) -> int:
        """How often the network is applied to reach or pass the factors."""
        return _applications(self.ratio, factors)


def resolve(config: Config, facts: Facts) -> TrainingPlan:
    """Decide how networks are trained on a plane, or on several, and applied.

    The kernel of the settings is concrete, or the plan serves a cost estimate only.
    """
    plan, start = _decided(config, facts), facts.start
    if facts.shared is not None or not isinstance(start, PretrainedStart):
        return plan
    staged = plan.is_noisy and plan.applications(plan.factors) > 1
    checkpoint = initial_checkpoint(
        start,
        samples=plan.samples,
        factors=plan.factors,
        kernel=plan.kernel,
        noise=plan.noise,
        staged=staged,
    )
    size = checkpoint.width, len(checkpoint.dilations)
    return replace(plan, start=checkpoint, width=size[0], blocks=size[1])


def _decided(config: Config, facts: Facts) -> TrainingPlan:
    """`resolve` without the weights of a pretrained start, with its largest size."""
    kind = KINDS[config.network]
    noisy = is_noisy(facts.level)
    start, initialization = facts.shared or facts.start, ""
    width, blocks, ratio = config.width, config.blocks, _ratio(config, kind)
    steps, gradual = config.steps, config.gradual
    if isinstance(start, PretrainedStart):
        ratio, initialization = learned_ratio(config.factors), LEARNED
        steps = min(steps, config.learned_steps)
        if noisy:
            steps = _noisy_steps(steps)
        # Father and son differ by their noise alone, which the start knows better: on
        # four confocal captures training lost 0.05 to 0.3 dB.
        if config.only_denoises:
            steps = 0
        # Sons of sons are tiny for large enlargements, so that training is for one
        # application. What that has enlarged is learned from, too, unless it is noisy.
        further = steps > 0 and max(config.factors) > max(ratio) and not noisy
        gradual = 2 if further else 1
    elif start is not None:
        ratio = start.ratio
        # Without training there is nothing to learn on the way.
        gradual = gradual if steps else 1
    if start is not None:
        width, blocks = start.width, len(start.dilations) or blocks
    rate = 1.0
    if initialization == LEARNED:
        rate = NOISY_RATE if noisy else LEARNED_RATE
    if facts.shared is not None:
        initialization, rate, gradual = facts.shared.began, TUNED_RATE, 1
        steps = _steps_for_each(config, initialization, noisy)
    elif facts.for_stack:
        # There is more to learn.
        steps = steps * 3 // 2
    low, high = FADE
    return TrainingPlan(
        kind=kind,
        samples=facts.samples,
        width=width,
        blocks=blocks,
        ratio=ratio,
        factors=config.factors,
        stages=_stages(kind, config.factors, ratio, gradual),
        kernel=config.kernel,
        steps=steps,
        batch=config.batch,
        crop_px=config.crop_px,
        rate=rate,
        learned_share=LEARNED_SHARE_ALONG_Z if facts.along_z else LEARNED_SHARE,
        start=start if isinstance(start, Checkpoint) else None,
        initialization=initialization,
        from_saved=isinstance(facts.start, Checkpoint),
        noise=facts.noise,
        level=facts.level,
        noise_is_given=config.noise != "auto",
        # Nothing leads back to the blocks of a JPEG, and to the noise everything would.
        back_projection=0
        if facts.noise.jpeg or config.only_denoises
        else config.back_projection,
        strength=min(1.0, max(0.0, (high - facts.level) / (high - low))),
        ensemble=config.ensemble,
        always=config.always,
        error_map=config.error_map,
    )


def trial_config(config: Config) -> Config:
    """Settings of a closed-form filter that stands for the networks of others."""
    return replace(
        INSTANT,
        factor=config.factors,
        ratio=config.ratio,
        kernel=config.kernel,
        back_projection=config.back_projection,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class NoiseEstimate:
    """Noise of a channel before a run, and its deviation at the mean signal.

    `gained`: whether networks that its planes share and that are applied as they are
    did better than bicubic; True where that was not asked.
    """

    noise: NoiseModel = CLEAN
    level: float = 0.0
    gained: bool = True


def expected_plans(
    config: Config,
    starts: Starts,
    planes: int,
    samples: int = 1,
    noise_estimate: NoiseEstimate | None = None,
) -> tuple[TrainingPlan | None, TrainingPlan]:
    """Plans that the cost of a channel is estimated from.

    Without a `noise_estimate` it counts as clean, with the largest networks of a start.
    Returns what is trained once for so many planes, if anything, and what is done for
    each of them.
    """
    facts = _expected_facts(_largest(starts), samples, noise_estimate)
    own = _sized(_decided(config, facts), facts, noise_estimate)
    if config.strategy_for(planes) == "independent":
        return None, own
    once = _sized(
        _decided(config, replace(facts, for_stack=True)), facts, noise_estimate
    )
    steps = _steps_for_each(config, once.initialization, once.is_noisy)
    return once, replace(own, steps=steps, stages=own.stages[-1:])


def _expected_facts(
    start: Start | None, samples: int, noise_estimate: NoiseEstimate | None
) -> Facts:
    noise_estimate = noise_estimate or NoiseEstimate()
    return Facts(
        samples=samples,
        noise=noise_estimate.noise,
        level=noise_estimate.level,
        start=start,
    )


def _sized(
    plan: TrainingPlan, facts: Facts, noise_estimate: NoiseEstimate | None
) -> TrainingPlan:
    """A plan with the networks that a pretrained start has for the noise, if known."""
    if noise_estimate is None or not isinstance(facts.start, PretrainedStart):
        return plan
    size = initial_size(facts.start, plan.samples, plan.factors, plan.noise)
    return replace(plan, width=size[0], blocks=size[1])


def _steps_for_each(config: Config, initialization: str, noisy: bool) -> int:
    """Training steps on each of several planes that share their networks."""
    steps = config.tuned_steps if config.strategy == "tuned" else 0
    return _noisy_steps(steps) if initialization == LEARNED and noisy else steps


def axial_config(
    config: Config, factor: float, kernel: KernelSpec, *, learned: bool
) -> Config:
    """Settings by which sections are learned: of one ratio (R, 1), applied once.

    `learned`: whether there is a pretrained start, which serves ratios it has learned.
    Raises InputError where there is none, and nothing is to be trained.
    """
    ratio = axial_ratio(factor)
    is_served = learned and ratio <= LARGEST_RATIO
    if config.steps == 0 and not is_served:
        raise InputError(
            f"steps is 0, but a network for {factor:.3g}× along Z must be trained: "
            f"saved networks serve planes only, and the {PRETRAINED} at most "
            f"{LARGEST_RATIO}×; give at least 1 step, or leave Z as it is "
            "(--factor-z 1, factor_z=1)."
        )
    return change(
        config,
        factor=(float(ratio), 1.0),
        factor_z=1.0,
        kernel=kernel,
        ratio=ratio,
        gradual=1,
        start=LEARNED if is_served else RANDOM,
    )


def axial_ratio(factor: float) -> int:
    """Enlargement R of one application of the network; sections are then resampled."""
    return max(2, math.ceil(factor - 1e-9))


def smallest_axial_px(factor: float) -> int:
    """Side of the smallest lateral planes that sections are learned from."""
    return max(SMALLEST_PX, SMALLEST_AXIAL_SON_PX * math.ceil(factor))


def expected_axial_plan(
    config: Config,
    starts: Starts,
    factor: float,
    noise_estimate: NoiseEstimate | None = None,
) -> TrainingPlan:
    """Plan along Z that the cost of a channel is estimated from.

    As if it were clean, unless there is a `noise_estimate`.
    """
    start = _largest(starts)
    pretrained = isinstance(start, PretrainedStart)
    kernel = KernelSpec.parse("gaussian:1")
    settings = axial_config(config, factor, kernel, learned=pretrained)
    served = start if settings.start == LEARNED else None
    facts = _expected_facts(served, 1, noise_estimate)
    facts = replace(facts, for_stack=True, along_z=True)
    return _sized(_decided(settings, facts), facts, noise_estimate)


def start_message(config: Config, start: Start | None) -> str:
    """What training will start from, in a sentence; empty where it will not."""
    if not KINDS[config.network].is_trained:
        return ""
    if isinstance(start, PretrainedStart):
        steps = 0 if config.only_denoises else config.learned_steps
        return will_begin_from_learned(min(config.steps, steps))
    return will_begin_from_saved(config.steps) if start else ALONE


def start_messages(config: Config, starts: Starts, factor_z: float | None) -> list[str]:
    """What training will start from, for each channel; along Z alone, for all."""
    if factor_z is None or config.restores_planes:
        return [start_message(config, start) for start in starts]
    return [_axial_start_message(config, starts, factor_z)]


def _axial_start_message(config: Config, starts: Starts, factor: float) -> str:
    plan = expected_axial_plan(config, starts, factor)
    if not plan.kind.is_trained:
        return ""
    if plan.initialization == LEARNED:
        return will_begin_from_learned(plan.steps)
    return ALONE


def _largest(starts: Starts) -> Start | None:
    """Of what the channels start from, what takes most time."""
    return max(
        (start for start in starts if start is not None),
        key=lambda start: (isinstance(start, PretrainedStart), start.width),
        default=None,
    )


def _noisy_steps(steps: int) -> int:
    """Training steps on a noisy plane, from a pretrained start."""
    fewer = steps // NOISY_SHARE
    return fewer if fewer >= LEAST_NOISY else 0


def _ratio(config: Config, kind: NetworkKind) -> Ratio:
    if kind.fine_grid:
        return 1, 1
    y, x = (config.ratio if factor > 1 else 1 for factor in config.factors)
    return y, x


def _applications(ratio: Ratio, factors: Pair) -> int:
    count = 1
    while ratio != (1, 1) and any(
        r**count < f - 1e-9 for r, f in zip(ratio, factors, strict=True)
    ):
        count += 1
    return count


def _stages(
    kind: NetworkKind, final: Pair, ratio: Ratio, gradual: int
) -> tuple[Pair, ...]:
    """Factors on the way to the final one, that included."""
    if final == (1.0, 1.0):
        return (final,)
    if kind.fine_grid:
        return _paper_stages(final, gradual)
    # Within the reach of one application in equal steps, then one by one.
    first = _at_most((float(ratio[0]), float(ratio[1])), final)
    stages = _equal_stages(first, gradual)
    if gradual > 1:
        for count in range(2, _applications(ratio, final) + 1):
            reached = (float(ratio[0] ** count), float(ratio[1] ** count))
            stages.append(_at_most(reached, final))
    stages[-1] = final
    return tuple(stages)


def _paper_stages(final: Pair, count: int) -> tuple[Pair, ...]:
    """The six factors of the paper, or equal steps."""
    if count != 6:
        return tuple(_equal_stages(final, count))
    y, x = final
    half_y, half_x = (1 + y) / 2, (1 + x) / 2
    stages = [(1.0, half_x), (half_y, 1.0), (half_y, half_x)]
    stages += [(half_y, x), (y, half_x), (y, x)]
    return tuple(dict.fromkeys(stage for stage in stages if stage != (1, 1)))


def _equal_stages(final: Pair, count: int) -> list[Pair]:
    shares = [n / count for n in range(1, count)]
    return [(final[0] ** share, final[1] ** share) for share in shares] + [final]


def _at_most(factors: Pair, final: Pair) -> Pair:
    return min(factors[0], final[0]), min(factors[1], final[1])
