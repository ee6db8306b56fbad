"""One plane of a stack: from its own dtype to normalised intensities and back."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
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
from napari_zssr.progress import Event, Snapshot, Steps, drain, map_events
from napari_zssr.stack.axes import plane_axes, to_cyx
from napari_zssr.stack.image import PlaneIndex, Planes, colour_count
from napari_zssr.stack.plane_result import (
    EnlargedPlane,
    PlaneReport,
    restored,
    result_quality,
)
from napari_zssr.stack.resources import RunPlan
from napari_zssr.zssr.checkpoint import Checkpoint
from napari_zssr.zssr.messages import faint_texture_sentence, quality_sentence
from napari_zssr.zssr.start import Start, sized

if TYPE_CHECKING:
    from napari_zssr.zssr.canvas import Canvas
    from napari_zssr.zssr.judge import Assessment
    from napari_zssr.zssr.plane import PlaneResult


def without_artifacts(
    colours: NDArray[np.float32], config: Config
) -> tuple[NDArray[np.float32], float]:
    """Normalised samples (C, Y, X) without stripes, and how strong those were.

    With noise "off" or given nothing is looked for.
    """
    return without_stripes(colours) if config.noise == "auto" else (colours, 0.0)


def with_jpeg_noise(
    noise: NoiseModel, pixels: NDArray[Any], scale: float, config: Config
) -> NoiseModel:
    """Noise of a plane that may have been a JPEG.

    Parameters
    ----------
    noise : NoiseModel
        In normalised intensities.
    pixels : ndarray, shape (C, Y, X)
        Samples without alpha, in the image's own dtype.
    scale : float
        Of the intensity map.
    config : Config
    """
    if config.noise != "auto":
        return noise
    return replace(noise, jpeg=tuple(step / scale for step in jpeg_steps(pixels)))


def artifacts_message(noise: NoiseModel, stripes: float, *, learned: bool) -> str:
    """What is said of a plane's flaws, after other sentences."""
    said = ""
    if noise.jpeg and learned:
        said += " JPEG traces were found (8 x 8 blocks) and learned against."
    if stripes:
        said += f" Stripes of {100 * stripes:.2g} % of its range were taken out of it."
    return said


SAMPLED_PLANES = 8
SAMPLED_PIXELS = 1_000_000
PLANE_SEED = 1_000_003


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PlaneInput:
    """One plane that is to be enlarged.

    Attributes
    ----------
    pixels : ndarray, shape (C, Y, X)
        In the dtype of the image.
    mapping : IntensityMap
        Of the plane's channel.
    plane_index : PlaneIndex
    window : tuple of slice, optional
        Part of the plane (Y, X) that is wanted, and shown while learning goes on.
    start : Checkpoint or LearnedStart, optional
        What the plane's channel starts from.
    shared : Checkpoint, optional
        Networks that the planes of the channel have in common (`shared_steps`).
    assessment : Assessment, optional
        What was decided for all planes of a channel that share no networks.
    scratch : Path, optional
        Folder where a large result lies while it is made.
    """

    pixels: NDArray[Any]
    mapping: IntensityMap
    plane_index: PlaneIndex
    window: Window | None = None
    start: Start | None = None
    shared: Checkpoint | None = None
    assessment: Assessment | None = None
    scratch: Path | None = None


def upscale_plane_steps(
    work: PlaneInput, config: Config, plan: RunPlan
) -> Steps[EnlargedPlane]:
    """Enlarge one plane.

    Raises
    ------
    ComputeError
        The computation failed.
    """
    started = time.monotonic()
    config = sized(config, work.shared or work.start)
    normal = work.mapping.normalise(work.pixels)
    colours, stripes = without_artifacts(colours_of(normal), config)
    with compute_errors(f"Plane {work.plane_index.number}", plan.device):
        alpha = yield from _enlarged_alpha(normal[len(colours) :], config, work)
        if shows_signal(colours):
            noise = _noise(colours, work, config)
            result = yield from _learned(colours, noise, alpha, work, config, plan)
        else:
            noise, result = CLEAN, (yield from _without_signal(colours, work, config))
        checked = _checked(colours, result, noise, work, config)
    seconds = time.monotonic() - started
    return EnlargedPlane(
        colours=result.image,
        alpha=alpha,
        mapping=work.mapping,
        dtype=np.dtype(plan.output_dtype),
        origin=_origin(config, work),
        report=_report(result, checked, work, noise, stripes, seconds, config.always),
        networks=result.networks,
    )


def first_look(work: PlaneInput, config: Config, plan: RunPlan) -> Snapshot | None:
    """The window as what training starts from enlarges it.

    Parameters
    ----------
    work : PlaneWork
        With a window.
    config : Config
    plan : Plan

    Returns
    -------
    Snapshot or None
        In the dtype of the image; None where nothing would be learned.
    """
    import torch

    from napari_zssr.zssr.plane import initial_snapshot

    assert work.window is not None
    normal = work.mapping.normalise(work.pixels)
    colours, _ = without_artifacts(colours_of(normal), config)
    if not shows_signal(colours):
        return None
    seen = initial_snapshot(
        torch.from_numpy(colours).to(plan.device),
        config,
        noise=_own_noise(colours, work, config),
        tile_px=plan.tile_px,
        precision=plan.precision,
        start=work.start,
        window=work.window,
    )
    if seen is None:
        return None
    alpha = drain(_enlarged_alpha(normal[len(colours) :], config, work))
    return _in_pixels(seen, work, alpha, plan, config)


def _learned(
    colours: NDArray[Any],
    noise: NoiseModel,
    alpha: Canvas | None,
    work: PlaneInput,
    config: Config,
    plan: RunPlan,
) -> Steps[PlaneResult]:
    """Enlarge the colours of a plane that shows something."""
    import torch

    from napari_zssr.zssr.plane import super_resolve_plane

    steps = super_resolve_plane(
        torch.from_numpy(colours).to(plan.device),
        config,
        noise=noise,
        tile_px=plan.tile_px,
        precision=plan.precision,
        seed=_seed(config, work),
        window=work.window,
        start=work.start,
        shared=work.shared,
        assessment=work.assessment,
        scratch=work.scratch,
    )
    in_pixels = partial(_in_pixels, work=work, alpha=alpha, plan=plan, config=config)
    return (yield from map_events(steps, partial(_shown, in_pixels=in_pixels)))


def _without_signal(
    colours: NDArray[Any], work: PlaneInput, config: Config
) -> Steps[PlaneResult]:
    """A plane that shows nothing, as bicubic."""
    import torch

    from napari_zssr.zssr.plane import upscale_without_signal

    plane = torch.from_numpy(colours)
    return upscale_without_signal(plane, config, work.window, work.scratch)


def _seed(config: Config, work: PlaneInput) -> int:
    return config.seed * PLANE_SEED + work.plane_index.number


def _noise(colours: NDArray[Any], work: PlaneInput, config: Config) -> NoiseModel:
    """Noise of a plane: that of its own networks, or of the shared ones."""
    if work.shared is None:
        return _own_noise(colours, work, config)
    from napari_zssr.zssr.plane import shared_noise

    return shared_noise(work.shared)


def _own_noise(colours: NDArray[Any], work: PlaneInput, config: Config) -> NoiseModel:
    noise = common_noise([colours], config, work.mapping)
    return with_jpeg_noise(noise, colours_of(work.pixels), work.mapping.scale, config)


def _enlarged_alpha(
    alpha: NDArray[Any], config: Config, work: PlaneInput
) -> Steps[Canvas | None]:
    """Transparency, plainly enlarged; (0 or 1, Y, X) -> (1, Y', X')."""
    import torch

    from napari_zssr.zssr.predict import bicubic_steps

    if len(alpha) == 0:
        return None
    tensor = torch.from_numpy(np.ascontiguousarray(alpha))
    return (yield from bicubic_steps(tensor, config.factors, work.window, work.scratch))


def _shown(event: Event, in_pixels: Callable[[Snapshot], Snapshot]) -> Event:
    """Turn an event's picture into the pixels of the result."""
    return in_pixels(event) if isinstance(event, Snapshot) else event


def _in_pixels(
    shot: Snapshot,
    work: PlaneInput,
    alpha: Canvas | None,
    plan: RunPlan,
    config: Config,
) -> Snapshot:
    parts = [shot.image]
    if alpha is not None:
        parts.append(alpha[:, :, :].numpy())
    dtype, origin = np.dtype(plan.output_dtype), _origin(config, work)
    return replace(shot, image=restored(parts, work.mapping, dtype, origin))


def _origin(config: Config, work: PlaneInput) -> tuple[int, int]:
    """First row and column of what is wanted of the enlarged plane."""
    if work.window is None:
        return 0, 0
    rows, columns = output_window(work.window, config.factors)
    return rows.start, columns.start


def _checked(
    colours: NDArray[Any],
    result: PlaneResult,
    noise: NoiseModel,
    work: PlaneInput,
    config: Config,
) -> Quality | None:
    """Checks on what networks made of a plane."""
    if result.returned != "learned":
        return None
    return result_quality(colours, result.image, config, noise, work.window)


def _report(
    result: PlaneResult,
    checked: Quality | None,
    work: PlaneInput,
    noise: NoiseModel,
    stripes: float,
    seconds: float,
    always: bool,
) -> PlaneReport:
    gain, decided = result.gain, result.assessment
    whole = always or decided is None or decided.share == 1
    said = (
        "" if checked is None else f"{quality_sentence(checked, whole=whole)} ",
        result.sentence,
        faint_texture_sentence(checked) if result.denoised else "",
        artifacts_message(noise, stripes, learned=result.returned == "learned"),
    )
    return PlaneReport(
        plane=work.plane_index.number,
        seconds=seconds,
        noise=noise.sigma(),
        gain_db=None if gain is None else gain.decibel,
        gain_error_db=None if gain is None else gain.error_decibel,
        returned=result.returned,
        steps=result.steps,
        sentence="".join(said),
        denoised=result.denoised,
        shared=work.shared.planes if work.shared else 0,
        began=result.began,
        quality=checked,
        assessment=None if decided is None else asdict(decided),
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
    """Noise model of planes that have it in common: as asked for, or estimated.

    Parameters
    ----------
    parts : sequence of ndarray, shape (C, Y, X)
        Normalised planes or parts of them.
    config : Config
    mapping : IntensityMap
        How they were normalised.

    Raises
    ------
    InputError
        A camera's noise would exceed the range of the image.
    """
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
            f"The offset of the camera, {named.offset:g} counts, lies above the "
            f"brightest pixels ({brightest:.4g}); give it in the image's own counts."
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
    flat: NDArray[Any] = values[:, ::step, ::step].ravel()
    return flat
