"""What is decided once for a channel: start, blur, shared networks, assessment."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import fields, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_zssr.config import SHARED_PLANES, Config, change
from napari_zssr.errors import InputError, compute_errors
from napari_zssr.imaging.beads import psf_fwhm_um
from napari_zssr.imaging.blur_estimate import estimated_blur
from napari_zssr.imaging.intensity import IntensityMap
from napari_zssr.imaging.kernel import FineKernel, check_fits, loaded_kernel
from napari_zssr.imaging.noise import shows_signal
from napari_zssr.imaging.optics import (
    checked_spacing,
    gaussian_psf,
    sampling_sentence,
    vectorial_psf,
)
from napari_zssr.imaging.psf import gaussian_kernel_sigma, psf_kernel
from napari_zssr.imaging.resample import spread_evenly, spread_starts
from napari_zssr.kernelspec import KernelSpec, Optics
from napari_zssr.progress import Progress, Steps, drain, map_events
from napari_zssr.stack.axis_labels import check_pixels
from napari_zssr.stack.image import (
    Channel,
    CheckedPlanes,
    ImageStack,
    PlaneIndex,
    colour_count,
    output_shape,
    plane_axes,
    planes,
    to_cyx,
)
from napari_zssr.stack.plane import (
    PLANE_SEED,
    ChannelSetup,
    colours_of,
    common_noise,
    intensity_maps,
    plane_noise,
    without_artifacts,
)
from napari_zssr.stack.resources import RunPlan
from napari_zssr.units import counted
from napari_zssr.zssr.checkpoint import Checkpoint
from napari_zssr.zssr.kinds import KINDS, RESIDUAL
from napari_zssr.zssr.pretrained import PretrainedStart
from napari_zssr.zssr.start import Start, load_start, start_checksum
from napari_zssr.zssr.training_plan import (
    Execution,
    Facts,
    resolve,
    start_message,
    trial_config,
)

if TYPE_CHECKING:
    from napari_zssr.zssr.judge import Assessment


def channel_starts(
    config: Config, axes: str, shape: Sequence[int]
) -> tuple[Start | None, ...]:
    """What each channel starts from; None is random weights. Raises InputError."""
    channels = shape[axes.index("C")] if "C" in axes else 1
    start = load_start(config)
    if isinstance(start, PretrainedStart):
        _check_network(RESIDUAL.name, config)
    if start is None or isinstance(start, PretrainedStart):
        return (start,) * channels
    for checkpoint in start:
        if checkpoint is not None:
            samples = shape[axes.index("S")] if "S" in axes else 1
            _check_fits(checkpoint, config, colour_count(samples))
    if len(start) not in (1, channels):
        wanted = "one channel" if channels == 1 else f"{channels} channels or for one"
        raise InputError(
            f"The file holds networks for {len(start)} channels, but the image has "
            f"{channels}; give networks for {wanted}."
        )
    return start if len(start) == channels else start * channels


def start_message_for_files(config: Config) -> str:
    """What training begins from, of images still to be read. Raises InputError."""
    start = load_start(config)
    one = next(filter(None, start)) if isinstance(start, tuple) else start
    return start_message(config, one)


def _check_fits(checkpoint: Checkpoint, config: Config, colours: int) -> None:
    """Refuse networks that cannot do what the settings ask for."""
    _check_network(checkpoint.network, config)
    if checkpoint.samples != colours:
        raise InputError(
            f"The saved networks were trained on {_pixels(checkpoint.samples)}, the "
            f"image has {_pixels(colours)}; give networks of an image like this one."
        )
    if not _same_factors(checkpoint, config):
        y, x = checkpoint.factors
        raise InputError(
            f"The saved networks were trained for the factor {y:g} × {x:g}, which "
            f"does not fit {config.factors[0]:g} × {config.factors[1]:g}; choose "
            "that factor, or other networks."
        )


def _check_network(network: str, config: Config) -> None:
    if network != config.network:
        known = network in KINDS
        kind = KINDS[network].presets if known else f"of an unknown kind ({network})"
        raise InputError(
            f"The saved networks are {kind}, but the settings need those "
            f"{KINDS[config.network].presets}; choose the preset that they were "
            "saved with."
        )


def _pixels(colours: int) -> str:
    return "grey pixels" if colours == 1 else f"pixels of {colours} colours"


def _same_factors(checkpoint: Checkpoint, config: Config) -> bool:
    """Whether the networks serve the factors: one along the same axes, if residual.

    A residual network is applied until the factor is reached.
    """
    if KINDS[checkpoint.network].fine_grid:
        return checkpoint.factors == config.factors
    return [f > 1 for f in checkpoint.factors] == [f > 1 for f in config.factors]


def shared_planes(
    listed: tuple[PlaneIndex, ...], channel: int
) -> tuple[PlaneIndex, ...]:
    """Planes that a channel's networks are learned from, spread over the stack."""
    own = [plane_index for plane_index in listed if plane_index.channel == channel]
    return tuple(spread_evenly(own, SHARED_PLANES))


def sharing_channels(config: Config, listed: tuple[PlaneIndex, ...]) -> tuple[int, ...]:
    """Channels whose planes share networks; the others learn plane by plane."""
    counts = Counter(plane_index.channel for plane_index in listed)
    return tuple(
        channel
        for channel, count in sorted(counts.items())
        if config.strategy_for(count) != "independent"
    )


# Beyond the numbers of planes, which have seeds of their own.
SHARED_SEED = 500_009
STAGE = "shared"
# Results of which a preview remembers what was shared.
CACHED_NETWORKS = 4


def shared_steps(
    stack: ImageStack, channel: ChannelSetup, run: RunPlan
) -> Steps[Checkpoint | None]:
    """Train what the planes of a channel share, from windows of a few of them.

    The planes of `shared_planes` are read one after the other. None where none of them
    shows anything; each plane then learns on itself.
    """
    from napari_zssr.zssr.plane_trainer import (
        TrainingData,
        plane_sample,
        train_shared,
    )

    listed = planes(stack.axes, stack.data.shape)
    chosen = shared_planes(listed, channel.number)
    renamed = partial(_as_shared, planes=len(listed))
    samples = []
    for number, plane_index in enumerate(chosen):
        yield renamed(Progress(stage="read", step=number, total=len(chosen)))
        colours, _ = _normal_colours(stack, channel, plane_index)
        sample = plane_sample(colours, len(chosen)) if shows_signal(colours) else None
        samples += [] if sample is None else [sample]
    if not samples:
        return None
    message = (
        f"Channel {channel.number + 1}: training once, on "
        f"{counted(len(samples), 'plane')} of the stack."
    )
    yield renamed(Progress(stage="read", step=1, total=1, message=message))
    windows = [window.numpy() for sample in samples for window in sample.windows]
    noise = common_noise(windows, channel.config, channel.mapping)
    with compute_errors(f"Training for channel {channel.number + 1}", run.device):
        data = TrainingData.of_samples(samples, run.device)
        levels = [noise.level(window) for window in data.windows]
        facts = Facts(
            samples=len(data.windows[0]),
            noise=noise,
            level=sum(levels) / len(levels),
            start=channel.start,
            for_stack=True,
        )
        execution = Execution(
            device=run.device,
            precision=run.precision,
            tile_px=run.tile_px,
            seed=channel.config.seed * PLANE_SEED + SHARED_SEED + channel.number,
        )
        plan = resolve(channel.config, facts)
        steps = train_shared(data, plan, execution, len(samples))
        return (yield from map_events(steps, Progress, renamed))


def _normal_colours(
    stack: ImageStack, channel: ChannelSetup, plane_index: PlaneIndex
) -> tuple[NDArray[np.float32], NDArray[Any]]:
    """Normalised colours of a plane without stripes, and its own pixels (C, Y, X)."""
    pixels = colours_of(to_cyx(stack.data[plane_index.index], plane_axes(stack.axes)))
    normal = channel.mapping.normalise(pixels)
    return without_artifacts(normal, channel.config)[0], pixels


def _as_shared(event: Progress, planes: int) -> Progress:
    """An event that is not about one plane."""
    return replace(event, stage=f"{STAGE} {event.stage}", planes=planes)


def cached_shared_steps(
    stack: ImageStack, channel: ChannelSetup, run: RunPlan
) -> Steps[Checkpoint | None]:
    """`shared_steps`, unless the same networks were trained lately."""
    key = _key(stack, channel, run)
    if key not in _shared_networks:
        _shared_networks[key] = yield from shared_steps(stack, channel, run)
        while len(_shared_networks) > CACHED_NETWORKS:
            _shared_networks.pop(next(iter(_shared_networks)), None)
    return _shared_networks[key]


_shared_networks: dict[str, Checkpoint | None] = {}


def _key(stack: ImageStack, channel: ChannelSetup, run: RunPlan) -> str:
    """Hash of all that decides what the planes of a channel share."""
    # How far it is trained on afterwards changes nothing of it.
    config = change(channel.config, strategy="shared", tuned_steps=0, always=False)
    settings = (config.to_dict(), start_checksum(config))
    resources = (run.device, run.precision, run.tile_px)
    return planes_key(stack, channel.number, (settings, resources, channel.mapping))


def planes_key(stack: ImageStack, channel: int, settings: Any) -> str:
    """Hash of settings and of the planes that a channel learns from."""
    image = (channel, stack.axes, stack.data.shape)
    digest = hashlib.sha256(repr((settings, image)).encode())
    listed = planes(stack.axes, stack.data.shape)
    for plane_index in shared_planes(listed, channel):
        plane = np.ascontiguousarray(stack.data[plane_index.index])
        digest.update(f"{plane_index.index} {plane.dtype}".encode() + plane.tobytes())
    return digest.hexdigest()


def channel_assessment(
    stack: ImageStack, channel: ChannelSetup, run: RunPlan
) -> Assessment | None:
    """Assess a channel of several planes that share no networks, on one of them.

    The plane in the middle is read, or one near it that shows something. None for other
    channels, which are assessed where their networks are trained.
    """
    import torch

    from napari_zssr.zssr.plane_trainer import trial_assessment

    listed = planes(stack.axes, stack.data.shape)
    chosen = shared_planes(listed, channel.number)
    shares = channel.number in sharing_channels(channel.config, listed)
    if shares or len(chosen) == 1:
        return None
    middle = len(chosen) // 2
    for number in sorted(range(len(chosen)), key=lambda n: abs(n - middle)):
        colours, pixels = _normal_colours(stack, channel, chosen[number])
        if not shows_signal(colours):
            continue
        noise = plane_noise(colours, pixels, channel)
        what = f"Test on plane {chosen[number].number}"
        with compute_errors(what, run.device):
            plane = torch.from_numpy(colours).to(run.device)
            facts = Facts(samples=len(plane), noise=noise, level=noise.level(plane))
            execution = Execution(
                device=run.device, tile_px=run.tile_px, seed=channel.config.seed
            )
            plan = resolve(trial_config(channel.config), facts)
            return drain(trial_assessment(plane, plan, execution))
    return None


# Planes of a channel that a blur is estimated from, at most.
ESTIMATED_PLANES = 3
# Of a larger plane windows are looked at, so many along each side.
WINDOW_PX = 512
WINDOWS = 3
# Estimates that are remembered, for previews and runs that follow each other.
CACHED_ESTIMATES = 16


def estimated_kernel(
    stack: ImageStack, config: Config, mapping: IntensityMap, channel: int
) -> FineKernel:
    """The blur that a channel's own planes show; estimates are cached."""
    parts = _parts(stack, mapping, channel)
    digest = hashlib.sha256(repr(config.factors).encode())
    for plane in parts:
        digest.update(str(plane.shape).encode() + np.ascontiguousarray(plane).tobytes())
    key = digest.hexdigest()
    if key not in _estimates:
        _estimates[key] = estimated_blur(parts, config.factors)
        while len(_estimates) > CACHED_ESTIMATES:
            _estimates.pop(next(iter(_estimates)), None)
    return _estimates[key]


_estimates: dict[str, FineKernel] = {}


def _parts(
    stack: ImageStack, mapping: IntensityMap, channel: int
) -> list[NDArray[np.float32]]:
    """Normalised planes (C, Y, X) of a channel, or windows, that show anything."""
    chosen = shared_planes(planes(stack.axes, stack.data.shape), channel)
    parts = []
    for plane_index in spread_evenly(chosen, ESTIMATED_PLANES):
        pixels = to_cyx(stack.data[plane_index.index], plane_axes(stack.axes))
        for window in _windows(colours_of(pixels)):
            colours = mapping.normalise(window)
            parts += [colours] if shows_signal(colours) else []
    return parts


def _windows(plane: NDArray[Any]) -> list[NDArray[Any]]:
    """The plane (C, Y, X), or windows spread over one that is large."""
    if max(plane.shape[1:]) <= WINDOWS * WINDOW_PX:
        return [plane]
    rows, columns = (
        sorted(set(spread_starts(size, WINDOW_PX, WINDOWS))) for size in plane.shape[1:]
    )
    return [
        plane[:, y : y + WINDOW_PX, x : x + WINDOW_PX] for y in rows for x in columns
    ]


Pair = tuple[float, float]

# A PSF is 0.53 lambda / NA wide, and Nyquist asks for lambda / (4 NA).
NYQUIST_IN_FWHM = 2.1

GIVEN = {
    "bicubic": "Default blur (bicubic); your microscope's real blur is not used.",
    "gaussian": "Gaussian blur, as given.",
    "array": "Blur kernel, as given.",
}


def kernels_of(stack: ImageStack, config: Config) -> tuple[FineKernel, ...]:
    """The blur of every channel of an image that nothing is known of yet."""
    data = CheckedPlanes(check_pixels(stack.data), config.nonfinite)
    listed = planes(stack.axes, stack.data.shape)
    maps = intensity_maps(data, stack.axes, listed)
    checked = replace(stack, data=data)
    return tuple(channel_kernel(checked, config, maps[n], n) for n in sorted(maps))


def channel_kernel(
    stack: ImageStack, config: Config, mapping: IntensityMap, channel: int
) -> FineKernel:
    """The blur of one channel on the fine grid. Raises InputError."""
    spec, factors = loaded_kernel(config.kernel), config.factors
    if spec.kind == "estimate":
        kernel = estimated_kernel(stack, config, mapping, channel)
    else:
        if spec.kind == "psf":
            spec, sentence = _of_psf(spec, stack, factors)
        elif spec.kind == "optics":
            spec, sentence = _of_optics(spec, stack, factors, channel)
        else:
            sentence = GIVEN[spec.kind]
        kernel = FineKernel(spec=spec, factors=factors, sentence=sentence)
    shape = output_shape(stack.data.shape, stack.axes, factors)
    y, x = (shape[stack.axes.index(letter)] for letter in "YX")
    check_fits(kernel.spec, (y, x))
    return replace(kernel, fine_um=fine_um(stack, factors))


def fine_um(stack: ImageStack, factors: Pair) -> tuple[float | None, float | None]:
    """Size (Y, X) of a pixel of the result, where the image tells its own."""
    y, x = (
        None if size is None else size / factor
        for size, factor in zip(map(stack.size_um, "YX"), factors, strict=True)
    )
    return y, x


def _of_psf(
    spec: KernelSpec, stack: ImageStack, factors: Pair
) -> tuple[KernelSpec, str]:
    """The kernel of a point spread function, and where it comes from."""
    spacing, fine = _known_sizes(stack, factors)
    assert spec.array is not None
    weights = psf_kernel(spec.array, spec.spacing_um, fine, factors)
    sentence = "From a measured point spread function"
    if (fwhm := psf_fwhm_um(spec.array, spec.spacing_um)) is None:
        sentence += "."
    else:
        sentence += f", FWHM {fwhm[0]:.3f} × {fwhm[1]:.3f} µm in focus."
        word = sampling_sentence(spacing, factors, min(fwhm) / NYQUIST_IN_FWHM)
        sentence = " ".join(filter(None, (sentence, word)))
    return KernelSpec(kind="array", array=weights), sentence


def _of_optics(
    spec: KernelSpec, stack: ImageStack, factors: Pair, channel: int
) -> tuple[KernelSpec, str]:
    """The kernel of a channel's optics, and a word where pixels are fine enough."""
    assert spec.optics is not None
    spacing, fine = _known_sizes(stack, factors)
    known = stack.channels[channel] if channel < len(stack.channels) else Channel()
    given = completed_optics(spec.optics, known)
    gaussian = gaussian_psf(**given)
    if spec.optics.method == "vectorial":
        psf = vectorial_psf(**given)
        weights = psf_kernel(psf.array, psf.spacing_um, fine, factors)
        kernel, sentence = KernelSpec(kind="array", array=weights), psf.sentence
    else:
        sigma = gaussian_kernel_sigma(gaussian.sigma_um, fine, factors)
        kernel = KernelSpec(kind="gaussian", sigma_px=sigma)
        sentence = gaussian.sentence
    word = sampling_sentence(spacing, factors, gaussian.nyquist_um)
    return kernel, " ".join(filter(None, (word, sentence)))


def completed_optics(optics: Optics, known: Channel) -> dict[str, Any]:
    """What was given, and what the metadata of the channel say beside it."""
    modality = optics.modality or known.modality or "widefield"
    metadata = {
        "na": known.na,
        "wavelength_nm": known.emission_nm,
        "excitation_nm": known.excitation_nm if modality == "confocal" else None,
        "index": known.index,
        "modality": modality,
    }
    names = [field.name for field in fields(Optics) if field.name != "method"]
    given = {name: getattr(optics, name) for name in names}
    return {n: metadata[n] if given[n] is None else given[n] for n in names}


def _known_sizes(stack: ImageStack, factors: Pair) -> tuple[Pair, Pair]:
    """Pixel and fine pixel (Y, X) in um, which the image has to tell."""
    y, x = checked_spacing(tuple(map(stack.size_um, "YX")))
    return (y, x), (y / factors[0], x / factors[1])
