"""One plane from input to result: learn on it, judge, enlarge it."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from napari_zssr.config import Config
from napari_zssr.imaging.noise import CLEAN, NoiseModel
from napari_zssr.imaging.resample import Window, output_size, resize
from napari_zssr.progress import Progress, Snapshot, Steps
from napari_zssr.zssr.enlarge import enlarged, predict_spec
from napari_zssr.zssr.gain import Gain, held_out_gain
from napari_zssr.zssr.look import first_look, watched
from napari_zssr.zssr.network import MeanNetwork, untrained
from napari_zssr.zssr.nonlocal_means import NonLocalMeans
from napari_zssr.zssr.pairs import PairSpec, pair_steps
from napari_zssr.zssr.policy import (
    back_projection,
    for_noise,
    gradual_factors,
    learned_windows,
    noise_level,
    pair_spec,
    recorrupted,
    training_windows,
)
from napari_zssr.zssr.predict import PredictSpec, windowed
from napari_zssr.zssr.restore import checkpoint_of, restored
from napari_zssr.zssr.ridge import fit_ridge
from napari_zssr.zssr.saved import Checkpoint
from napari_zssr.zssr.sentences import (
    CONSTANT,
    NOT_SAVED,
    gained,
    nothing_gained,
    too_small,
)
from napari_zssr.zssr.train import Trainer, train
from napari_zssr.zssr.warps import IDENTITY, Pair

SMALLEST_PX = 16
SEED_STEP = 7919


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PlaneResult:
    """An enlarged plane and what is known about it.

    Attributes
    ----------
    image : Tensor, shape (C, Y', X'), float32, CPU
        In the normalised intensity of the input.
    returned : {"learned", "bicubic", "constant"}
        What the image is.
    gain : Gain or None
        Held-out gain over bicubic, None where nothing was learned.
    steps : int
        Training steps done.
    sentence : str
        What happened, for the user.
    smoothed : bool
        Whether noise was smoothed away.
    networks : Checkpoint or None
        Those that made the image, where networks did.
    """

    image: Tensor
    returned: str
    gain: Gain | None
    steps: int
    sentence: str
    smoothed: bool = False
    networks: Checkpoint | None = None


def super_resolve_plane(
    plane: Tensor,
    config: Config,
    *,
    noise: NoiseModel = CLEAN,
    tile_px: int = 512,
    precision: str = "float32",
    seed: int = 0,
    window: Window | None = None,
    start: Checkpoint | None = None,
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
    start : Checkpoint, optional
        Networks that training starts from, or that are applied as they are where the
        settings ask for no steps.

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
    if float(plane.amax() - plane.amin()) <= 0:
        return _plain(plane, config, "constant", CONSTANT, window=window)
    if min(plane.shape[-2:]) < SMALLEST_PX:
        told = too_small(plane.shape[-2], plane.shape[-1], SMALLEST_PX)
        return _plain(plane, config, "bicubic", told, window=window)
    if start is None and config.steps == 0:
        return _plain(plane, config, "bicubic", NOT_SAVED, window=window)
    level = noise_level(plane, noise)
    job = _Job(
        plane=plane,
        config=for_noise(config, level),
        noise=noise,
        level=level,
        tile_px=tile_px,
        precision=precision,
        seed=seed,
        window=window,
        start=start,
    )
    members, gain, steps = yield from _learn(job)
    if not gain.significant and not config.always:
        told = nothing_gained(gain, trained=config.steps > 0)
        return _plain(plane, config, "bicubic", told, gain, steps, window)
    spec = _predict_spec(job, config.factors)
    image = yield from enlarged(_mean(members), plane, spec, window)
    return PlaneResult(
        image=_same_mean(image, plane) if window is None else image,
        returned="learned",
        gain=gain,
        steps=steps,
        sentence=gained(gain, trained=config.steps > 0, saved=start is not None),
        smoothed=recorrupted(job.level),
        networks=checkpoint_of(members, job.config, len(plane)),
    )


def bicubic(plane: Tensor, factors: Pair, window: Window | None = None) -> Tensor:
    """Plain bicubic enlargement, of a window alone where one is given.

    (C, Y, X) -> (C, Y', X').
    """
    return windowed(resize(plane, factors), factors, window)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Job:
    """One plane and all that is decided for it."""

    plane: Tensor
    config: Config
    noise: NoiseModel
    level: float
    tile_px: int
    precision: str
    seed: int
    window: Window | None = None
    start: Checkpoint | None = None


def _learn(job: _Job) -> Steps[tuple[list[nn.Module], Gain, int]]:
    """Train through the gradual factors; networks, held-out gain, steps done."""
    original = training_windows(job.plane)
    if job.window is not None:
        yield _first_look(job, original, job.window)
    windows = [*original]
    members: list[nn.Module] = []
    total = 0
    for number, factors in enumerate(gradual_factors(job.config)):
        spec = pair_spec(job.config, factors, job.noise, job.level, len(original))
        seed = job.seed + SEED_STEP * number
        members, steps = yield from _train_members(job, windows, spec, members, seed)
        total += steps
        if factors != job.config.factors:
            applied = _predict_spec(job, factors)
            learned = yield from enlarged(_mean(members), job.plane, applied)
            kept = windows if job.config.network == "paper" else original
            further = learned_windows(learned.to(job.plane.device), factors)
            windows = [*kept, *further]
    iterations, strength = back_projection(job.config, job.level, job.config.factors)
    gain = held_out_gain(
        _mean(members),
        original,
        spec,
        job.seed + 1,
        iterations=iterations,
        strength=strength,
    )
    return members, gain, total


def _predict_spec(job: _Job, factors: Pair) -> PredictSpec:
    return predict_spec(
        job.config,
        factors,
        level=job.level,
        tile_px=job.tile_px,
        precision=job.precision,
    )


def _first_look(job: _Job, windows: list[Tensor], window: Window) -> Snapshot:
    """What a closed-form filter makes of the window."""
    config = replace(job.config, network="ridge", gradual=1, start="random", steps=1)
    factors = config.factors
    pairs = pair_spec(config, factors, job.noise, job.level, len(windows))
    spec = _predict_spec(replace(job, config=config), factors)
    return first_look(job.plane, windows, pairs, spec, window, job.seed)


def _train_members(
    job: _Job,
    windows: list[Tensor],
    spec: PairSpec,
    members: list[nn.Module],
    seed: int,
) -> Steps[tuple[list[nn.Module], int]]:
    """Train networks: fresh ones, saved ones or those of the factor before."""
    config = job.config
    if not members and job.start is not None:
        members = [n.to(job.plane.device) for n in restored(job.start, job.noise)]
    if config.steps == 0:
        return members, 0
    # The paper's preset draws its own fathers as it goes.
    warps = (IDENTITY,) if config.network == "paper" else None
    generator = torch.Generator().manual_seed(seed)
    made = yield from pair_steps(windows, spec, generator, warps=warps)
    if config.network == "ridge":
        yield Progress(stage="fit", step=0, total=1)
        return [fit_ridge(*made, generator)], 1
    if not members:
        ridge = fit_ridge(*made, generator) if _known_blur(config, spec) else None
        base = ridge if ridge and _gains(ridge, windows, spec, seed) else None
        members = _fresh(job, spec, base, seed)
    steps = 0
    for number, member in enumerate(members):
        if number and not spec.noise.is_clean:
            generator = torch.Generator().manual_seed(seed + number)
            made = yield from pair_steps(windows, spec, generator, warps=warps)
        trainer = Trainer(
            member,
            windows,
            spec,
            config,
            precision=job.precision,
            seed=seed + number,
            made=made,
        )
        steps += yield from _trained(trainer, members[:number], job)
    return members, steps


def _trained(trainer: Trainer, ready: list[nn.Module], job: _Job) -> Steps[int]:
    """Train one network, looking at the window meanwhile where there is one."""
    if job.window is None:
        return (yield from train(trainer))
    spec = _predict_spec(job, job.config.factors)
    return (yield from watched(trainer, ready, job.plane, spec, job.window))


def _fresh(
    job: _Job, spec: PairSpec, base: nn.Module | None, seed: int
) -> list[nn.Module]:
    """Untrained networks on the device, each from its own seed."""
    guide = NonLocalMeans(job.noise) if spec.alpha > 0 else None
    made = [
        untrained(
            job.config,
            job.plane.shape[0],
            spec.ratio,
            seed=seed + n,
            base=base,
            guide=guide,
        )
        for n in range(job.config.networks)
    ]
    return [network.to(job.plane.device) for network in made]


def _mean(members: list[nn.Module]) -> nn.Module:
    return members[0] if len(members) == 1 else MeanNetwork(members)


def _known_blur(config: Config, spec: PairSpec) -> bool:
    """Whether a ridge filter may serve as base; for bicubic it holds networks back."""
    return config.network == "residual" and spec.kernel.kind != "bicubic"


def _gains(
    network: nn.Module, windows: list[Tensor], spec: PairSpec, seed: int
) -> bool:
    return held_out_gain(network, windows, spec, seed).significant


def _plain(
    plane: Tensor,
    config: Config,
    returned: str,
    sentence: str,
    gain: Gain | None = None,
    steps: int = 0,
    window: Window | None = None,
) -> PlaneResult:
    if returned == "constant":
        size = [
            output_size(n, f)
            for n, f in zip(plane.shape[1:], config.factors, strict=True)
        ]
        whole = plane[:, :1, :1].expand(-1, *size)
        image = windowed(whole, config.factors, window)
    else:
        image = bicubic(plane, config.factors, window)
    return PlaneResult(
        image=image.cpu(), returned=returned, gain=gain, steps=steps, sentence=sentence
    )


def _same_mean(image: Tensor, plane: Tensor) -> Tensor:
    """Keep the mean of every channel: the result is never brighter than the input."""
    wanted = plane.mean(dim=(-2, -1), keepdim=True).cpu()
    return image + (wanted - image.mean(dim=(-2, -1), keepdim=True))
