"""Isotropic stacks: a channel's planes teach networks for its XZ and YZ sections."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_zssr.checks import ISOTROPIC, LEARNED, MAX_FACTOR
from napari_zssr.config import Config
from napari_zssr.errors import InputError, compute_errors
from napari_zssr.imaging.axial_blur import (
    AxialBlur,
    AxialSpectra,
    is_too_wide,
    power_growth,
    undershoot,
)
from napari_zssr.imaging.intensity import BLOCK_PX, IntensityMap
from napari_zssr.imaging.noise import NoiseModel, shows_signal
from napari_zssr.imaging.optics import gaussian_psf
from napari_zssr.imaging.resample import (
    Window,
    output_size,
    spread_starts,
    window_within,
)
from napari_zssr.kernelspec import Optics
from napari_zssr.progress import PlaneDone, Progress, Steps, T, map_events
from napari_zssr.stack.channels import (
    completed_optics,
    shared_planes,
)
from napari_zssr.stack.image import (
    Channel,
    CheckedPlanes,
    ImageStack,
    Index,
    Outline,
    outline_of,
    plane_axes,
    planes,
    to_cyx,
)
from napari_zssr.stack.plane import (
    PLANE_SEED,
    colours_of,
    common_noise,
    intensity_maps,
)
from napari_zssr.stack.prepare import enlargeable
from napari_zssr.stack.resources import RunPlan, chosen_precision, output_type
from napari_zssr.zssr.kinds import KINDS
from napari_zssr.zssr.pretrained import PretrainedStart, shipped_start
from napari_zssr.zssr.training_plan import Execution

if TYPE_CHECKING:
    from napari_zssr.zssr.axial import AxialNetwork

# Fine pixels of the columns that are enlarged at a time, and the least side of these.
STRIP_PIXELS, LEAST_PX = 2**24, 64
# Side of what is looked at to judge blur and result.
SAMPLE_PX = 160
# Side of the windows of lateral planes that are learned from, and how many of a plane
# are compared along each side.
WINDOW_PX, CANDIDATES = 256, 6
# Narrower blurs that are tried, as shares, where a result shows too much along Z.
NARROWER = (1.0, 0.8, 0.64)
FEWEST_SLICES = 4
# Side of the smallest planes that teach anything, and of their sons.
SMALLEST_PX, SMALLEST_SON_PX = 16, 8
BLUR_UNKNOWN = (
    "How much is blurred along Z could not be told from the stack (it is small, or "
    "haze or noise hide it); give it by kernel_z: optics, or gaussian:SIGMA."
)
AXIAL_SEED = 700_001
STAGE = "axial"


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
        Width of the blur that was assumed, in slices; None where none was found.
    gain_db, gain_error_db : float or None
        Gain over cubic interpolation on held-out regions of lateral planes.
    growth : float or None
        By how much power along Z outgrows that across towards fine detail, in log10.
    steps : int
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
    sentence: str


def axial_factor(config: Config, stack: ImageStack) -> float:
    """Enlargement along Z that the settings ask for, of a stack as it was given.

    1 is none; but where "isotropic" comes to 1, slices are restored without new ones.
    Raises InputError.
    """
    asked = config.factor_z
    if asked == 1:
        return 1.0
    if "Z" not in stack.axes or stack.data.shape[stack.axes.index("Z")] < FEWEST_SLICES:
        slices = stack.data.shape[stack.axes.index("Z")] if "Z" in stack.axes else 0
        raise InputError(
            f"Enlarging along Z needs at least {FEWEST_SLICES} slices, the image has "
            f"{slices or 'no axis Z'}; name its axes, or leave out factor_z."
        )
    if KINDS[config.network].fine_grid:
        raise InputError(
            f"The preset {config.preset!r} does not enlarge stacks along Z; choose "
            "another one, or leave out factor_z."
        )
    if stack.guessed:
        raise InputError(
            f"Whether the first axis of {stack.axes} is Z or time was only guessed; "
            "name the axes, such as ZYX, to have it enlarged along Z."
        )
    if asked != ISOTROPIC:
        return float(asked)
    z, x = stack.size_um("Z"), stack.size_um("X")
    if z is None or x is None:
        raise InputError(
            "How far apart the slices are is not known, so that 'isotropic' has no "
            "factor; give spacing in um along Z, Y, X, or factor_z as a number."
        )
    factor = z / x * config.factors[1]
    if factor > MAX_FACTOR:
        raise InputError(
            f"Isotropic would be {factor:.3g} times more planes (slices {z:g} um "
            f"apart, pixels of {x / config.factors[1]:g} um), beyond what can be "
            f"learned (at most {MAX_FACTOR:.0f}); check the spacing, or give a smaller "
            "factor_z."
        )
    return max(1.0, factor)


def axial_blur(run: AxialRun, channel: int, sample: ChannelSample) -> AxialBlur | None:
    """Blur along Z beyond that across, as the settings ask for.

    None where the stack does not tell it. Raises InputError.
    """
    kind, value = run.config.axial_kernel
    if kind == "estimate":
        spectra = AxialSpectra(
            volume=sample.columns, factor=run.factor, sigma=sample.sigma
        )
        return spectra.estimated_blur()
    if kind == "optics":
        return _blur_of_optics(run.stack, run.config, channel)
    if kind == "section":
        return AxialBlur(
            width=value,
            shape="section",
            sentence=f"Sections as thick as {value:g} slices.",
        )
    return AxialBlur(
        width=value / run.factor, sentence="Blur along Z: a Gaussian that was given."
    )


def _blur_of_optics(stack: ImageStack, config: Config, channel: int) -> AxialBlur:
    """Excess of the axial over the lateral width of the optics."""
    known = stack.channels[channel] if channel < len(stack.channels) else Channel()
    psf = gaussian_psf(**completed_optics(config.kernel.optics or Optics(), known))
    slice_um = stack.size_um("Z")
    if slice_um is None:
        raise InputError(
            "How far apart the slices are is not known, so that optics tell no blur "
            "along Z; give spacing in um along Z, Y, X."
        )
    excess = math.sqrt(max(0.0, psf.sigma_z_um**2 - psf.sigma_um**2))
    return AxialBlur(
        width=excess / slice_um,
        sentence=(
            f"Blur along Z from the optics: standard deviation {psf.sigma_z_um:.3g} um "
            f"along Z, {psf.sigma_um:.3g} um across."
        ),
    )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class AxialChannel:
    """What is decided for a channel: how its columns are enlarged along Z.

    Attributes
    ----------
    mapping : IntensityMap
    network : AxialNetwork or None
        None for cubic interpolation.
    report : AxialReport
    """

    mapping: IntensityMap
    network: AxialNetwork | None
    report: AxialReport

    @property
    def halo_px(self) -> int:
        """Lateral pixels around columns that change them."""
        return 0 if self.network is None else self.network.halo_px


@dataclass(frozen=True, slots=True, kw_only=True)
class Volume:
    """One channel (or sample of it) at one time point, whose pixels may be lazy."""

    stack: ImageStack
    at: Mapping[str, int]
    channel: int

    def index(self, window: Window, z: int | slice = slice(None)) -> Index:
        """Index of slices of a window (Y, X), all unless told, in the stack's axes."""
        part = {"Z": z, "Y": window[0], "X": window[1], **self.at}
        return tuple(part.get(letter, slice(None)) for letter in self.stack.axes)

    def columns(self, window: Window) -> NDArray[Any]:
        """Pixels (Z, y, x)."""
        pixels: NDArray[Any] = self.stack.data[self.index(window)]
        left = [letter for letter in self.stack.axes if letter in "ZYX"]
        return pixels.transpose([left.index(letter) for letter in "ZYX"])

    @property
    def size(self) -> tuple[int, int]:
        """Pixels (Y, X)."""
        y, x = (self.stack.data.shape[self.stack.axes.index(a)] for a in "YX")
        return y, x


def volumes(stack: ImageStack) -> Iterator[Volume]:
    """All volumes of a stack, in the order of its axes."""
    walked = [letter for letter in stack.axes if letter not in "ZYX"]
    sizes = (stack.data.shape[stack.axes.index(letter)] for letter in walked)
    for at in product(*(range(size) for size in sizes)):
        named = dict(zip(walked, at, strict=True))
        yield Volume(stack=stack, at=named, channel=named.get("C", 0))


def strips(size: tuple[int, int], depth: int) -> Iterator[Window]:
    """Windows (Y, X) of columns that are enlarged at a time, `depth` pixels each.

    As wide as memory allows: files are read by rows.
    """
    room = STRIP_PIXELS // depth
    width = min(size[1], max(LEAST_PX, room // LEAST_PX // BLOCK_PX * BLOCK_PX))
    height = min(size[0], max(LEAST_PX, room // width // BLOCK_PX * BLOCK_PX))
    rows, columns = (
        [slice(first, min(first + side, n)) for first in range(0, n, side)]
        for n, side in zip(size, (height, width), strict=True)
    )
    yield from product(rows, columns)


def enlarge_columns(
    volume: Volume,
    channel: AxialChannel,
    window: Window,
    run: RunPlan,
    config: Config,
) -> Steps[NDArray[Any]]:
    """Enlarge the columns of a window along Z; (Z', y, x), in the result's dtype."""
    import torch

    from napari_zssr.zssr.axial import enlarge_block, interpolate_block
    from napari_zssr.zssr.predict import window_with_halo

    outer = window_with_halo(window, volume.size, channel.halo_px, (1.0, 1.0))
    normal = channel.mapping.normalise(volume.columns(outer))
    block = torch.from_numpy(np.ascontiguousarray(normal)).to(run.device)
    if channel.network is None:
        result = interpolate_block(block, channel.report.factor)
    else:
        inner = window_within(window, outer)
        execution = _execution(run, config, volume.channel)
        steps = enlarge_block(channel.network, block, inner, execution)
        result = yield from _as_axial(steps)
    origin = window[0].start, window[1].start
    return channel.mapping.restore(result.numpy(), np.dtype(run.output_dtype), origin)


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


def channel_steps(run: AxialRun, channel: int) -> Steps[AxialChannel]:
    """Train the network of a channel, under a blur that its result bears out."""
    sample = _sample(run, channel)
    blur = axial_blur(run, channel, sample)
    network, growth, reason = None, None, BLUR_UNKNOWN
    smallest = max(SMALLEST_PX, SMALLEST_SON_PX * math.ceil(run.factor))
    if min(sample.columns.shape[1:]) < smallest:
        reason = f"Planes of under {smallest} pixels are too small to learn from."
    elif not shows_signal(np.stack(sample.planes)):
        reason = "The channel shows nothing to learn from."
    elif blur is not None:
        with compute_errors(f"Learning along Z, channel {channel}", run.plan.device):
            network, growth, reason = yield from _supported_network(
                run, channel, sample, blur
            )
    assumed = network.blur if network else blur
    sentence = f"{reason} Cubic interpolation was returned."
    if network is not None and blur is not None:
        sentence = _learned_sentence(network, network.blur.width / blur.width)
    return AxialChannel(
        mapping=run.maps[channel],
        network=network,
        report=AxialReport(
            channel=channel,
            factor=run.factor,
            returned="learned" if network else "cubic",
            width_slices=assumed.width if assumed else None,
            gain_db=network.gain.decibel if network else None,
            gain_error_db=network.gain.error_decibel if network else None,
            growth=growth,
            steps=network.steps if network else 0,
            sentence=sentence,
        ),
    )


def _supported_network(
    run: AxialRun, channel: int, sample: ChannelSample, first: AxialBlur
) -> Steps[tuple[AxialNetwork | None, float | None, str]]:
    """A network whose result shows no more detail along Z than across.

    With its growth of power; or None, and why. Where the blur gives too much a narrower
    one is tried.
    """
    import torch

    from napari_zssr.zssr.axial import (
        enlarge_block,
        train_axial_network,
        with_mean_kept,
    )

    device, always = run.plan.device, run.config.always
    planes = [torch.from_numpy(p[None].copy()).to(device) for p in sample.planes]
    block = torch.from_numpy(np.ascontiguousarray(sample.columns)).to(device)
    whole = slice(0, block.shape[1]), slice(0, block.shape[2])
    execution = _execution(run.plan, run.config, channel)
    growth = None
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
            return None, growth, "Nothing was gained over cubic interpolation."
        result = yield from enlarge_block(network, block, whole, execution)
        growth = power_growth(result.numpy(), run.factor)
        trenches = undershoot(sample.columns, result.numpy())
        if always or not is_too_wide(growth, trenches):
            return with_mean_kept(network, block, whole, result), growth, ""
    return (
        None,
        growth,
        "Even under a narrower blur the result has more fine detail along Z than "
        "across and values below the darkest of the image, as under a blur that is "
        "assumed too wide.",
    )


def _learned_sentence(network: AxialNetwork, share: float) -> str:
    narrowed = (
        f" It was narrowed to {100 * share:.0f} %: a wider one gave more fine detail "
        "along Z than across, and values below the darkest of the image."
    )
    return (
        f"{network.blur.sentence}{narrowed if share < 1 else ''} On lateral planes "
        "that were blurred and thinned in the same way the result was "
        f"{network.gain.decibel:.1f} dB closer than cubic interpolation."
    )


def _sample(run: AxialRun, channel: int) -> ChannelSample:
    stack, mapping = run.stack, run.maps[channel]
    lateral = _lateral_planes(stack, channel, mapping)
    own = [volume for volume in volumes(stack) if volume.channel == channel]
    volume = own[len(own) // 2]
    depth = stack.data.shape[stack.axes.index("Z")]
    middle = stack.data[volume.index((slice(None), slice(None)), depth // 2)]
    noise = common_noise([plane[None] for plane in lateral], run.config, mapping)
    signal = float(np.mean([plane.mean() for plane in lateral]))
    return ChannelSample(
        planes=lateral,
        columns=mapping.normalise(volume.columns(_liveliest(middle, SAMPLE_PX))),
        noise=noise,
        sigma=noise.sigma(min(1.0, max(0.0, signal))),
    )


def _execution(plan: RunPlan, config: Config, channel: int) -> Execution:
    return Execution(
        device=plan.device,
        precision=plan.precision,
        tile_px=plan.tile_px,
        seed=config.seed * PLANE_SEED + AXIAL_SEED + channel,
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
    return [colour[_liveliest(colour, WINDOW_PX)] for colour in colours]


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


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class AxialRun:
    """A stack that is ready to be enlarged along Z.

    Attributes
    ----------
    stack : ImageStack
        Its pixels are checked when they are read.
    config : Config
    factor : float
    maps : mapping of int to IntensityMap
        For each channel.
    start : PretrainedStart or None
        What networks may start from; saved ones serve planes only.
    plan : RunPlan
    """

    stack: ImageStack
    config: Config
    factor: float
    maps: Mapping[int, IntensityMap]
    start: PretrainedStart | None
    plan: RunPlan

    def channel(self, number: int) -> Steps[AxialChannel]:
        """Train the networks of a channel."""
        return _as_axial(channel_steps(self, number))


def prepare_axial(stack: ImageStack, config: Config, factor: float) -> AxialRun:
    """Decide what the columns of a stack have in common. Raises InputError."""
    stack = enlargeable(stack, config.nonfinite)
    checked = replace(stack, data=CheckedPlanes(stack.data, config.nonfinite))
    listed = planes(stack.axes, stack.data.shape)
    maps = intensity_maps(checked.data, stack.axes, listed)
    return AxialRun(
        stack=checked,
        config=config,
        factor=factor,
        maps=maps,
        start=shipped_start() if config.start == LEARNED else None,
        plan=_axial_plan(stack, config, factor, maps.values()),
    )


def _axial_plan(
    stack: ImageStack, config: Config, factor: float, maps: Iterable[IntensityMap]
) -> RunPlan:
    from napari_zssr.zssr.device import fast_bfloat16, resolve_device

    device = resolve_device(config.device)
    outline = axial_outline(outline_of(stack), factor)
    dtype = output_type(config, stack.data.dtype, maps)
    return RunPlan(
        output_shape=outline.shape,
        output_axes=outline.axes,
        output_dtype=dtype.name,
        planes=outline.planes,
        tile_px=LEAST_PX,
        precision=chosen_precision(config, fast_bfloat16(device)),
        device=device,
        memory_bytes=0,
        scratch_bytes=0,
        output_bytes=outline.nbytes,
        seconds=0.0,
    )


def axial_outline(outline: Outline, factor: float) -> Outline:
    """Outline of a stack with so many times more planes."""
    at = outline.axes.index("Z")
    size = outline.spacing[at]
    shift = (1.0 if size is None else size) * (1 - factor) / (2 * factor)

    def changed(values: tuple[Any, ...], value: Any) -> tuple[Any, ...]:
        return (*values[:at], value, *values[at + 1 :])

    return replace(
        outline,
        shape=changed(outline.shape, output_size(outline.shape[at], factor)),
        spacing=changed(outline.spacing, None if size is None else size / factor),
        origin=changed(outline.origin, outline.origin[at] + shift),
    )


def axial_steps(ready: AxialRun, out: NDArray[Any]) -> Steps[tuple[AxialReport, ...]]:
    """Enlarge all volumes of a stack along Z into an array of the result's shape."""
    done: dict[int, AxialChannel] = {}
    listed = list(volumes(ready.stack))
    left = [letter for letter in ready.stack.axes if letter in "ZYX"]
    for number, volume in enumerate(listed):
        if volume.channel not in done:
            done[volume.channel] = yield from ready.channel(volume.channel)
        windows = list(strips(volume.size, out.shape[ready.stack.axes.index("Z")]))
        for at, window in enumerate(windows, start=1):
            columns = yield from enlarge_columns(
                volume, done[volume.channel], window, ready.plan, ready.config
            )
            moved = columns.transpose(["ZYX".index(letter) for letter in left])
            out[volume.index(window)] = moved
            yield Progress(
                stage=f"{STAGE} columns",
                step=number * len(windows) + at,
                total=len(listed) * len(windows),
            )
    return tuple(done[channel].report for channel in sorted(done))


def axial_progress(event: PlaneDone) -> Progress:
    """A finished plane is not finished along Z."""
    return Progress(stage="planes", step=event.done, total=event.planes)


def _as_axial(steps: Steps[T]) -> Steps[T]:
    """Steps whose progress says that it is along Z."""

    def named(event: Progress) -> Progress:
        return replace(event, stage=f"{STAGE} {event.stage}")

    return map_events(steps, Progress, named)
