"""One plane of a stack: from its own dtype to normalised intensities and back."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_zssr.checks import parsed_camera
from napari_zssr.config import Config
from napari_zssr.errors import InputError, compute_errors
from napari_zssr.imaging.artifacts import (
    is_piecewise_constant,
    jpeg_steps,
    without_stripes,
)
from napari_zssr.imaging.intensity import IntensityMap, intensity_map, loses_intensity
from napari_zssr.imaging.kernel import FineKernel
from napari_zssr.imaging.noise import (
    CLEAN,
    NoiseModel,
    estimate_noise,
    has_room_for_noise,
    is_noisy,
    shows_signal,
)
from napari_zssr.imaging.quality import Quality
from napari_zssr.imaging.resample import Window, output_window
from napari_zssr.progress import Snapshot, Steps, drain, map_events
from napari_zssr.stack.image import PlaneIndex, Planes, colour_count, plane_axes, to_cyx
from napari_zssr.stack.plane_result import (
    EnlargedPlane,
    PlaneReport,
    restored,
    result_quality,
)
from napari_zssr.stack.resources import RunPlan
from napari_zssr.zssr.checkpoint import Checkpoint
from napari_zssr.zssr.messages import (
    baseline,
    error_sentence,
    faint_texture_sentence,
    quality_sentence,
    without_signal,
)
from napari_zssr.zssr.start import Start
from napari_zssr.zssr.training_plan import Execution, Facts, TrainingPlan, resolve

if TYPE_CHECKING:
    from torch import Tensor

    from napari_zssr.zssr.canvas import Canvas
    from napari_zssr.zssr.judge import Assessment
    from napari_zssr.zssr.plane_trainer import PlaneResult


def without_artifacts(
    colours: NDArray[np.float32], config: Config
) -> tuple[NDArray[np.float32], float]:
    """Normalised samples (C, Y, X) without stripes, and how strong those were.

    With noise "off" or given nothing is looked for.
    """
    return without_stripes(colours) if config.noise == "auto" else (colours, 0.0)


def artifacts_message(noise: NoiseModel, stripes: float, *, learned: bool) -> str:
    """What is said of a plane's flaws, after other sentences."""
    sentences = ""
    if noise.jpeg and learned:
        sentences += " Marks of JPEG compression were found and suppressed."
    if stripes:
        sentences += (
            f" Stripes of {100 * stripes:.2g} % of the intensity range were removed."
        )
    return sentences


SAMPLED_PLANES = 8
SAMPLED_PIXELS = 1_000_000
PLANE_SEED = 1_000_003


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ChannelSetup:
    """What is decided once for the planes of a channel.

    Attributes
    ----------
    config : with the channel's blur
    start : what training starts from
    kernel : the blur, and where it comes from
    assessment : of a channel of several planes that share no networks
    """

    number: int
    config: Config
    mapping: IntensityMap
    start: Start | None = None
    kernel: FineKernel | None = None
    assessment: Assessment | None = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PlaneInput:
    """One plane that is to be enlarged.

    Attributes
    ----------
    pixels : (C, Y, X); in the dtype of the image
    window : part of the plane (Y, X) that is wanted, and shown during training
    shared : networks that the planes of the channel have in common
    scratch : folder for a large result that is not finished
    """

    pixels: NDArray[Any]
    plane_index: PlaneIndex
    channel: ChannelSetup
    window: Window | None = None
    shared: Checkpoint | None = None
    scratch: Path | None = None

    @property
    def config(self) -> Config:
        """Settings with the blur of the plane's channel."""
        return self.channel.config

    @property
    def origin(self) -> tuple[int, int]:
        """First row and column of the enlarged plane that is wanted."""
        if self.window is None:
            return 0, 0
        rows, columns = output_window(self.window, self.config.factors)
        return rows.start, columns.start

    def execution(self, run: RunPlan) -> Execution:
        """Where this plane is computed."""
        return Execution(
            device=run.device,
            precision=run.precision,
            tile_px=run.tile_px,
            seed=self.config.seed * PLANE_SEED + self.plane_index.number,
            scratch=self.scratch,
        )


def upscale_plane_steps(work: PlaneInput, run: RunPlan) -> Steps[EnlargedPlane]:
    """Enlarge one plane; ComputeError where that fails."""
    started = time.monotonic()
    config, mapping = work.config, work.channel.mapping
    normal = mapping.normalise(work.pixels)
    colours, stripes = without_artifacts(colours_of(normal), config)
    with compute_errors(f"Plane {work.plane_index.number}", run.device):
        alpha = yield from _enlarged_alpha(normal[len(colours) :], work)
        noise, result = yield from _result(colours, alpha, work, run)
        quality = None
        if result.returned == "learned":
            quality = result_quality(colours, result.image, config, noise, work.window)
    return EnlargedPlane(
        colours=result.image,
        alpha=alpha,
        mapping=mapping,
        dtype=np.dtype(run.output_dtype),
        origin=work.origin,
        report=_report(
            result,
            quality,
            work,
            artifacts_message(noise, stripes, learned=result.returned == "learned"),
            level=noise.level(colours),
            seconds=time.monotonic() - started,
        ),
        networks=result.networks,
        error=result.error,
    )


def initial_plane_snapshot(work: PlaneInput, run: RunPlan) -> Snapshot | None:
    """The window as the start enlarges it, in pixels of the result, or None."""
    import torch

    from napari_zssr.zssr.plane_trainer import initial_snapshot, is_learnable

    assert work.window is not None
    normal = work.channel.mapping.normalise(work.pixels)
    colours, _ = without_artifacts(colours_of(normal), work.config)
    if not shows_signal(colours):
        return None
    plane = torch.from_numpy(colours).to(run.device)
    noise = plane_noise(colours, work.pixels, work.channel)
    plan = _training_plan(plane, noise, work)
    if not is_learnable(plane, plan.smallest_px):
        return None
    snapshot = initial_snapshot(plane, plan, work.execution(run), work.window)
    alpha = drain(_enlarged_alpha(normal[len(colours) :], work))
    return _in_pixels(snapshot, work, alpha, run)


def _result(
    colours: NDArray[Any], alpha: Canvas | None, work: PlaneInput, run: RunPlan
) -> Steps[tuple[NoiseModel, PlaneResult]]:
    """Enlarge the colours of a plane, by networks where it shows something."""
    import torch

    from napari_zssr.zssr.plane_trainer import (
        bicubic_result,
        nothing_to_learn,
        shared_noise,
        upscale_plane,
    )

    plane, execution = torch.from_numpy(colours), work.execution(run)
    if not shows_signal(colours):
        base = baseline(work.config.factors)
        sentence = nothing_to_learn(plane, base) or without_signal(base)
        result = yield from bicubic_result(
            plane, work.config.factors, sentence, execution, work.window
        )
        return CLEAN, result
    if work.shared is not None:
        noise = shared_noise(work.shared)
    else:
        noise = plane_noise(colours, work.pixels, work.channel)
    plane = plane.to(run.device)
    steps = upscale_plane(
        plane,
        _training_plan(plane, noise, work),
        execution,
        window=work.window,
        shared=work.shared,
        assessment=work.channel.assessment,
    )
    in_pixels = partial(_in_pixels, work=work, alpha=alpha, run=run)
    return noise, (yield from map_events(steps, Snapshot, in_pixels))


def _training_plan(plane: Tensor, noise: NoiseModel, work: PlaneInput) -> TrainingPlan:
    facts = Facts(
        samples=len(plane),
        noise=noise,
        level=noise.level(plane),
        start=work.channel.start,
        shared=work.shared,
    )
    return resolve(work.config, facts)


def plane_noise(
    colours: NDArray[Any], pixels: NDArray[Any], channel: ChannelSetup
) -> NoiseModel:
    """Noise of one plane, from its normalised colours and its own pixels (C, Y, X)."""
    noise = common_noise([colours], channel.config, channel.mapping)
    if channel.config.noise != "auto":
        return noise
    steps = jpeg_steps(colours_of(pixels))
    return replace(noise, jpeg=tuple(step / channel.mapping.scale for step in steps))


def _enlarged_alpha(alpha: NDArray[Any], work: PlaneInput) -> Steps[Canvas | None]:
    """Transparency, plainly enlarged; (0 or 1, Y, X) -> (1, Y', X')."""
    import torch

    from napari_zssr.zssr.predict import bicubic_steps

    if len(alpha) == 0:
        return None
    plane = torch.from_numpy(np.ascontiguousarray(alpha))
    factors = work.config.factors
    return (yield from bicubic_steps(plane, factors, work.window, work.scratch))


def _in_pixels(
    snapshot: Snapshot, work: PlaneInput, alpha: Canvas | None, run: RunPlan
) -> Snapshot:
    """A normalised snapshot in the pixels of the result."""
    parts = [snapshot.image]
    if alpha is not None:
        parts.append(alpha[:, :, :].numpy())
    dtype = np.dtype(run.output_dtype)
    pixels = restored(parts, work.channel.mapping, dtype, work.origin)
    return replace(snapshot, image=pixels)


def _report(
    result: PlaneResult,
    quality: Quality | None,
    work: PlaneInput,
    artifacts: str,
    *,
    level: float,
    seconds: float,
) -> PlaneReport:
    """Report of a plane, with a sentence on artifacts and the level of its noise."""
    gain, assessment = result.gain, result.assessment
    error = None if result.error is None else result.error.to_dict()
    whole = work.config.always or assessment is None or assessment.share == 1
    checked = ""
    if quality is not None:
        base = baseline(work.config.factors)
        checked = f"{quality_sentence(quality, base, whole=whole)} "
    sentences = (
        checked,
        result.sentence,
        faint_texture_sentence(quality) if result.denoised else "",
        artifacts,
        error_sentence(error) if work.config.error_map else "",
    )
    return PlaneReport(
        plane=work.plane_index.number,
        seconds=seconds,
        noise=level,
        gain_db=None if gain is None else gain.decibel,
        gain_error_db=None if gain is None else gain.error_decibel,
        returned=result.returned,
        steps=result.steps,
        most_steps=result.most_steps,
        sentence="".join(sentences),
        denoised=result.denoised,
        shared=work.shared.planes if work.shared else 0,
        began=result.initialization,
        quality=quality,
        assessment=None if assessment is None else asdict(assessment),
        error=error,
    )


def intensity_maps(
    data: Planes, axes: str, listed: tuple[PlaneIndex, ...]
) -> dict[int, IntensityMap]:
    """One map per channel, from planes spread evenly over the stack."""
    by_channel: dict[int, list[PlaneIndex]] = {}
    for plane_index in listed:
        by_channel.setdefault(plane_index.channel, []).append(plane_index)
    maps = {}
    for channel, plane_indices in by_channel.items():
        step = max(1, -(-len(plane_indices) // SAMPLED_PLANES))
        chosen = plane_indices[step // 2 :: step]
        sampled = [to_cyx(data[p.index], plane_axes(axes)) for p in chosen]
        room = max(1, SAMPLED_PIXELS // len(chosen))
        thinned = [_thinned(colours_of(plane), room) for plane in sampled]
        mapping = intensity_map(np.concatenate(thinned))
        maps[channel] = replace(
            mapping,
            few_counts=_few_counts(sampled, mapping),
            piecewise=len(sampled[0]) == 1
            and is_piecewise_constant([plane[0] for plane in sampled]),
        )
    return maps


def _few_counts(sampled: list[NDArray[Any]], mapping: IntensityMap) -> bool:
    """Whether integers are too coarse for a grey channel, by planes (C, Y, X) of it."""
    first = sampled[0]
    if first.dtype.kind not in "iu" or len(first) > 1:
        return False
    return loses_intensity([plane[0] for plane in sampled], mapping.offset)


def common_noise(
    parts: Sequence[NDArray[Any]], config: Config, mapping: IntensityMap
) -> NoiseModel:
    """Noise of parts (C, Y, X) together, as asked for. Raises InputError."""
    if config.noise == "off":
        return CLEAN
    if isinstance(config.noise, float):
        return NoiseModel(offset=config.noise**2)
    if config.noise != "auto":
        return _camera_noise(parts, config.noise, mapping)
    alone = _middle([estimate_noise(colour) for part in parts for colour in part])
    if len(parts) == 1 or has_room_for_noise(parts[0][0]):
        return alone
    together = _middle([estimate_noise(*p) for p in zip(*parts, strict=True)])
    signal = float(np.mean([part.mean() for part in parts]))
    # Weak noise, which single planes do not show, is not learned against.
    return together if is_noisy(together.sigma(signal)) else alone


def _camera_noise(
    parts: Sequence[NDArray[Any]], camera: str, mapping: IntensityMap
) -> NoiseModel:
    """Noise of a camera's counts, in normalised intensities."""
    named = parsed_camera(camera)
    brightest = mapping.offset + mapping.scale
    if brightest <= named.offset:
        raise InputError(
            f"The camera offset ({named.offset:g} counts) is above the brightest "
            f"pixels ({brightest:.4g}); give the offset in counts of this image."
        )
    noise = NoiseModel.of_camera(named).mapped(mapping.scale, mapping.offset)
    level = noise.sigma(float(np.mean([part.mean() for part in parts])))
    if level > 1:
        raise InputError(
            f"The noise of this camera would be {100 * level:.0f} % of the image's "
            "range; check its gain and offset, in counts as they are in the image."
        )
    return noise


def _middle(models: list[NoiseModel]) -> NoiseModel:
    return sorted(models, key=NoiseModel.sigma)[len(models) // 2]


def colours_of(plane: NDArray[Any]) -> NDArray[Any]:
    """Samples of a plane (C, Y, X) without alpha."""
    return plane[: colour_count(len(plane))]


def _thinned(values: NDArray[Any], room: int) -> NDArray[Any]:
    step = max(1, int(np.ceil((values[0].size / room) ** 0.5)))
    return values[:, ::step, ::step].ravel()
