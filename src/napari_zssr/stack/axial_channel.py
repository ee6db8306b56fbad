"""What is decided for a channel along Z: its blur, and a network that bears it out."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from napari_zssr.checks import LEARNED
from napari_zssr.config import Config
from napari_zssr.errors import InputError, compute_errors
from napari_zssr.imaging.axial_blur import (
    AxialBlur,
    AxialSpectra,
    is_too_wide,
    power_growth,
    undershoot,
)
from napari_zssr.imaging.intensity import IntensityMap
from napari_zssr.imaging.noise import NoiseModel, shows_signal
from napari_zssr.imaging.optics import FWHM, gaussian_psf
from napari_zssr.imaging.resample import Window, spread_starts
from napari_zssr.kernelspec import Optics
from napari_zssr.progress import Progress, Steps
from napari_zssr.stack.axial_factor import GIVE_SPACING
from napari_zssr.stack.axial_run import AxialRun, volumes
from napari_zssr.stack.channels import completed_optics, shared_planes
from napari_zssr.stack.image import Channel, ImageStack, plane_axes, planes, to_cyx
from napari_zssr.stack.plane import PLANE_SEED, colours_of, common_noise
from napari_zssr.zssr.cost import AXIAL_SAMPLE_PX, AXIAL_SIDE_PX
from napari_zssr.zssr.messages import ERROR_TOLD, origin_sentence, what_was_tested
from napari_zssr.zssr.training_plan import Execution, smallest_axial_px

if TYPE_CHECKING:
    from napari_zssr.zssr.axial import AxialNetwork

# Windows of a lateral plane, along each side, of which one is learned from.
CANDIDATES = 6
# Narrower blurs that are tried, as shares, where a result shows too much along Z.
NARROWER = (1.0, 0.8, 0.64)
LEFT_OUT = (
    "Slices left out for a test were predicted {} better than by cubic interpolation."
)
AXIAL_SEED = 700_001


@dataclass(frozen=True, slots=True, kw_only=True)
class AxialReport:
    """What was done along Z for one channel.

    Attributes
    ----------
    channel : int
    factor : float
        Enlargement along Z.
    returned : {"learned", "cubic"}
    width_slices : float or None
        Width of the blur that was assumed, in slices; None where it is unknown, and
        next to none was.
    gain_db, gain_error_db : float or None
        Gain over cubic interpolation on held-out regions of lateral planes.
    growth : float or None
        By how much power along Z outgrows that across towards fine detail, in log10.
    steps, most_steps : int
        Training steps done, and at most.
    began : str
        ``learned`` where networks began from a pretrained start; else empty.
    noise : float or None
        Level of the noise that was suppressed, fraction of the range.
    sentence : str
    """

    channel: int
    factor: float
    returned: str
    width_slices: float | None
    gain_db: float | None = None
    gain_error_db: float | None = None
    growth: float | None = None
    steps: int = 0
    most_steps: int = 0
    began: str = ""
    noise: float | None = None
    sentence: str


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class AxialChannel:
    """What is decided for a channel: how its columns are enlarged along Z.

    Attributes
    ----------
    network : AxialNetwork or None
        None for cubic interpolation.
    report : AxialReport
    """

    network: AxialNetwork | None
    report: AxialReport

    def on_device(self, device: str) -> AxialChannel:
        """The same with its network there."""
        if self.network is None:
            return self
        return replace(self, network=self.network.on_device(device))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ChannelSample:
    """What a channel is judged by.

    Attributes
    ----------
    planes : lateral planes (Y, X), normalised, or windows of them
    columns : some of all slices, (Z, Y, X), normalised
    noise : of the planes
    sigma : its standard deviation at the mean signal
    """

    planes: list[NDArray[np.float32]]
    columns: NDArray[np.float32]
    noise: NoiseModel
    sigma: float


def channel_blur(run: AxialRun, channel: int) -> AxialBlur:
    """Blur along Z that a run would assume first."""
    return axial_blur(run, channel, _sample(run, channel))


def train_channel(run: AxialRun, channel: int) -> Steps[AxialChannel]:
    """Train the network of a channel, under a blur that its result bears out."""
    yield Progress(stage="blur", step=0, total=1)
    sample = _sample(run, channel)
    blur = axial_blur(run, channel, sample)
    network, growth, reason = None, None, ""
    smallest = smallest_axial_px(run.factor)
    if min(sample.columns.shape[1:]) < smallest:
        reason = f"Planes must be at least {smallest} pixels high and wide to train on."
    elif not shows_signal(np.stack(sample.planes)):
        reason = "The channel shows only noise."
    else:
        with compute_errors(
            f"Training along Z, channel {channel + 1}", run.plan.device
        ):
            network, growth, reason = yield from _supported_network(
                run, channel, sample, blur
            )
    assumed = network.blur if network else blur
    sentence = f"{reason} Cubic interpolation was returned."
    if run.factor == 1:
        sentence = (
            f"{reason} Slices are already as close as pixels are wide, so the stack "
            "was left unchanged."
        )
    if network is not None:
        sentence = _learned_sentence(network, network.blur.width / blur.width, reason)
    plan = network.plan if network else None
    return AxialChannel(
        network=network,
        report=AxialReport(
            channel=channel,
            factor=run.factor,
            returned="learned" if network else "cubic",
            width_slices=assumed.width if assumed.known else None,
            gain_db=network.gain.decibel if network else None,
            gain_error_db=network.gain.error_decibel if network else None,
            growth=growth,
            steps=network.steps if network else 0,
            most_steps=plan.most_steps if plan else 0,
            began=LEARNED if plan and plan.initialization == LEARNED else "",
            noise=plan.level if plan and plan.is_noisy else None,
            sentence=sentence,
        ),
    )


def _supported_network(
    run: AxialRun, channel: int, sample: ChannelSample, first: AxialBlur
) -> Steps[tuple[AxialNetwork | None, float | None, str]]:
    """A network whose result shows no more detail along Z than across.

    With its growth of power and what was tested beside; or None, and why. Where the
    blur gives too much a narrower one is tried.
    """
    import torch

    from napari_zssr.zssr.axial import (
        enlarge_block,
        gain_on_left_out_slices,
        train_axial_network,
        with_mean_kept,
    )

    device, always = run.plan.device, run.config.always
    planes = [torch.from_numpy(p[None].copy()).to(device) for p in sample.planes]
    block = torch.from_numpy(np.ascontiguousarray(sample.columns)).to(device)
    whole = slice(0, block.shape[1]), slice(0, block.shape[2])
    execution = axial_execution(run, channel)
    growth, tested = None, ""
    for share in NARROWER:
        network = yield from train_axial_network(
            planes,
            run.factor,
            first.narrowed(share),
            run.config,
            sample.noise,
            run.start,
            execution,
        )
        if not network.gain.significant and not always:
            learned = network.plan.initialization == LEARNED
            what = what_was_tested(trained=network.steps > 0, learned=learned)
            return None, growth, f"{what} brought no improvement."
        if not first.known and not always:
            gain = yield from gain_on_left_out_slices(network, block, execution)
            if gain <= 0:
                return None, growth, f"{LEFT_OUT.format('no')} {first.sentence}"
            tested = f" {LEFT_OUT.format(f'{gain:.2f} dB')}"
        result = yield from enlarge_block(network, block, whole, execution)
        growth = power_growth(result.numpy(), run.factor)
        trenches = undershoot(sample.columns, result.numpy())
        wide = is_too_wide(growth, trenches, noisy=network.plan.is_noisy)
        if always or not wide:
            return with_mean_kept(network, block, whole, result), growth, tested
    return (
        None,
        growth,
        "Bright structures got dark rims along Z, even with a narrower blur.",
    )


def _learned_sentence(network: AxialNetwork, share: float, tested: str) -> str:
    narrowed = (
        f" Only {100 * share:.0f} % of this width was used, because more gave bright "
        "structures dark rims."
    )
    smoothed = (
        f" Noise of {100 * network.plan.level:.1f} % of the intensity range was "
        "suppressed, so the result is smoother."
    )
    gain, plan = network.gain, network.plan
    return (
        f"{network.blur.sentence}{narrowed if share < 1 else ''} Test on XY planes "
        f"made as coarse as Z: {gain.decibel:.2f} \u00b1 {gain.error_decibel:.2f} dB "
        f"closer to the original than cubic interpolation.{ERROR_TOLD}{tested}"
        f"{smoothed if plan.is_noisy else ''}{origin_sentence(plan, 0, network.steps)}"
    )


def _sample(run: AxialRun, channel: int) -> ChannelSample:
    stack, mapping = run.stack, run.maps[channel]
    lateral = _lateral_planes(stack, channel, mapping)
    own = [volume for volume in volumes(stack) if volume.channel == channel]
    volume = own[len(own) // 2]
    depth = stack.data.shape[stack.axes.index("Z")]
    middle = stack.data[volume.index((slice(None), slice(None)), depth // 2)]
    noise = common_noise([plane[None] for plane in lateral], run.config, mapping)
    signal = np.array([plane.mean() for plane in lateral])
    return ChannelSample(
        planes=lateral,
        columns=mapping.normalise(volume.columns(_liveliest(middle, AXIAL_SAMPLE_PX))),
        noise=noise,
        sigma=noise.level(signal),
    )


def axial_execution(run: AxialRun, channel: int) -> Execution:
    """Where and with what arithmetic the sections of a channel are learned."""
    return Execution(
        device=run.plan.device,
        precision=run.plan.precision,
        tile_px=run.plan.tile_px,
        seed=run.config.seed * PLANE_SEED + AXIAL_SEED + channel,
    )


def _lateral_planes(
    stack: ImageStack, channel: int, mapping: IntensityMap
) -> list[NDArray[np.float32]]:
    """Normalised planes (Y, X) that are learned from; of large ones, windows."""
    listed = planes(stack.axes, stack.data.shape)
    colours = (
        colour
        for plane_index in shared_planes(listed, channel)
        for plane in [to_cyx(stack.data[plane_index.index], plane_axes(stack.axes))]
        for colour in mapping.normalise(colours_of(plane))
    )
    return [colour[_liveliest(colour, AXIAL_SIDE_PX)] for colour in colours]


def _liveliest(plane: NDArray[np.floating], side: int) -> Window:
    """Window (Y, X) with the most contrast."""
    sides = [min(side, n) for n in plane.shape]
    rows, columns = (
        spread_starts(n, s, max(1, min(CANDIDATES, round(2 * n / s))))
        for n, s in zip(plane.shape, sides, strict=True)
    )
    windows = [
        (slice(y, y + sides[0]), slice(x, x + sides[1])) for y in rows for x in columns
    ]
    return max(windows, key=lambda window: float(plane[window].std()))


def axial_blur(run: AxialRun, channel: int, sample: ChannelSample) -> AxialBlur:
    """Blur along Z beyond that across, as the settings ask for. Raises InputError."""
    kind, numbers = run.config.axial_kernel
    if kind == "estimate":
        spectra = AxialSpectra(
            volume=sample.columns, factor=run.factor, sigma=sample.sigma
        )
        return spectra.estimated_blur()
    if kind == "optics":
        return _blur_of_optics(run.stack, run.config, channel)
    if kind == "fwhm":
        z, across = (width / FWHM for width in numbers)
        return _excess(run.stack, z, across, "Blur along Z from the given widths")
    (width,) = numbers
    if kind == "section":
        return AxialBlur(
            width=width,
            shape="section",
            sentence=f"Blur along Z: sections {width:g} slice{'s' * (width != 1)} "
            "thick.",
        )
    return AxialBlur(
        width=width / run.factor, sentence="Blur along Z: Gaussian, as given."
    )


def _blur_of_optics(stack: ImageStack, config: Config, channel: int) -> AxialBlur:
    """Excess of the axial over the lateral width of the optics."""
    known = stack.channels[channel] if channel < len(stack.channels) else Channel()
    psf = gaussian_psf(**completed_optics(config.kernel.optics or Optics(), known))
    source = f"Blur along Z from the optics ({psf.optics})"
    return _excess(stack, psf.sigma_z_um, psf.sigma_um, source)


def _excess(stack: ImageStack, z: float, across: float, source: str) -> AxialBlur:
    """Blur along Z of standard deviations in um, beyond that across."""
    slice_um = stack.size_um("Z")
    if slice_um is None:
        raise InputError(
            "The distance between slices is not known, so a blur in µm cannot be "
            f"used along Z; {GIVE_SPACING}."
        )
    return AxialBlur(
        width=math.sqrt(max(0.0, z**2 - across**2)) / slice_um,
        sentence=(f"{source}: SD {z:.3g} µm along Z, {across:.3g} µm in XY."),
    )
