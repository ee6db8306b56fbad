"""Super-resolution along Z, learned from the lateral planes of the same stack.

Lateral planes are sharp. Blurred along one of their axes by what the microscope blurs
more along Z, and subsampled to the distance of the slices, they become sons; the
network that undoes this is applied to the XZ and YZ sections (compare Zhao, Dewey,
Pham, Calabresi, Reich, Prince, "SMORE", IEEE TMI 40, 2021; Weigert, Royer, Jug, Myers,
"Isotropic reconstruction of 3D fluorescence microscopy images", MICCAI 2017).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn

from napari_zssr.checks import LEARNED
from napari_zssr.config import Config
from napari_zssr.imaging.axial_blur import AxialBlur
from napari_zssr.imaging.noise import NoiseModel
from napari_zssr.imaging.resample import (
    Window,
    output_size,
    resize,
    sampling_operator,
    window_within,
)
from napari_zssr.progress import Progress, Steps
from napari_zssr.zssr.judge import STAGE, Gain
from napari_zssr.zssr.networks import applied
from napari_zssr.zssr.plane_trainer import (
    TrainingData,
    judge,
    train_network,
)
from napari_zssr.zssr.predict import (
    PredictSpec,
    back_project,
    back_projection_iterations,
    merged,
    predict_spec,
    residual_growth,
    window_with_halo,
)
from napari_zssr.zssr.pretrained import PretrainedStart
from napari_zssr.zssr.training_plan import (
    Execution,
    Facts,
    TrainingPlan,
    axial_config,
    axial_ratio,
    resolve,
)

# Sections that pass through the network together, in input pixels.
BATCH_PIXELS = 2**17
# Lateral context of a block beside the reach of the network.
SECTION_MARGIN_PX = 3
# Gaussian between what XZ and YZ sections count for, chosen on generated volumes.
MERGE_SIGMA_PX, MERGE_RADIUS_PX = 1.0, 3


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class AxialNetwork:
    """A network for the sections of a channel, and how it is applied.

    Attributes
    ----------
    network : of ratio (R, 1)
    plan : its training plan, for the factors (R, 1)
    factor : enlargement along Z that is wanted, at most R
    blur : what it was trained against
    gain : held-out gain over cubic interpolation
    steps : training steps done
    shift : what is added to results, so that they keep the mean
    """

    network: nn.Module
    plan: TrainingPlan
    factor: float
    blur: AxialBlur
    gain: Gain
    steps: int
    shift: float = 0.0

    @property
    def halo_px(self) -> int:
        """Lateral pixels around a block that change its sections."""
        halo = int(self.network.halo)  # type: ignore[arg-type]
        return halo + SECTION_MARGIN_PX + MERGE_RADIUS_PX

    def on_device(self, device: str) -> AxialNetwork:
        """The same with its weights there."""
        # Another memory format would round differently.
        return replace(self, network=self.network.to(device))


def train_axial_network(
    planes: Sequence[Tensor],
    factor: float,
    blur: AxialBlur,
    config: Config,
    noise: NoiseModel,
    start: PretrainedStart | None,
    execution: Execution,
) -> Steps[AxialNetwork]:
    """Train on lateral planes (1, Y, X), normalised, float32, on the device.

    `start` serves ratios that it has learned; others begin from random weights.
    """
    ratio = axial_ratio(factor)
    data = axial_data(planes, ratio / factor)
    kernel = blur.kernel(ratio)
    settings = axial_config(config, factor, kernel, learned=start is not None)
    levels = [noise.level(plane) for plane in planes]
    facts = Facts(
        noise=noise,
        level=sum(levels) / len(levels),
        start=start if settings.start == LEARNED else None,
        for_stack=True,
        along_z=True,
    )
    plan = resolve(settings, facts)
    network, steps = yield from train_network(data, plan, execution)
    gain = judge(network, data, plan, execution)
    yield Progress(stage=STAGE, step=0, total=1, gain_db=gain.decibel)
    return AxialNetwork(
        network=network, plan=plan, factor=factor, blur=blur, gain=gain, steps=steps
    )


def axial_data(planes: Sequence[Tensor], stretch: float) -> TrainingData:
    """Lateral planes (1, Y, X) in both orientations, stretched along the first axis."""
    windows = [w for p in planes for w in (p, p.transpose(1, 2).contiguous())]
    if stretch != 1:
        windows = [
            resize(w, (stretch, 1.0), (output_size(w.shape[1], stretch), w.shape[2]))
            for w in windows
        ]
    return TrainingData(
        windows=tuple(windows), sources=tuple(windows), parts=len(windows)
    )


def enlarge_block(
    axial: AxialNetwork, block: Tensor, inner: Window, execution: Execution
) -> Steps[Tensor]:
    """Enlarge columns of a volume along Z, by their XZ and YZ sections.

    `block`: (Z, Y, X), normalised, with a halo around the columns `inner`; returns
    (ceil(f Z), y, x) on the CPU.
    """
    sizes = block.shape[1], block.shape[2]
    wide = window_with_halo(inner, sizes, MERGE_RADIUS_PX, (1.0, 1.0))
    rows, columns = wide
    spec = predict_spec(axial.plan, axial.plan.factors, execution)
    of_xz = block[:, rows].transpose(0, 1)
    of_yz = block[:, :, columns].permute(2, 0, 1)
    total = len(of_xz) + len(of_yz)
    enlarge = partial(
        _enlarge_sections, axial, spec=spec, precision=execution.precision, total=total
    )
    xz = yield from enlarge(of_xz, done=0)
    yz = yield from enlarge(of_yz, done=len(of_xz))
    volume = merge_sections(
        xz.transpose(0, 1)[:, :, columns], yz.permute(1, 2, 0)[:, rows]
    )
    iterations = back_projection_iterations(axial.plan, axial.plan.factors)
    projected = project_along_z(
        volume[:, *window_within(inner, wide)],
        block[:, *inner],
        axial.factor,
        axial.blur,
        iterations,
        axial.plan.strength,
    )
    return (projected + axial.shift).cpu()


def gain_on_left_out_slices(
    axial: AxialNetwork, block: Tensor, execution: Execution
) -> Steps[float]:
    """By how many decibels left-out slices are predicted better than by interpolation.

    `block`: (Z, Y, X), normalised. Every second slice is enlarged as if it were next to
    the last, twice as coarse as the network was trained for, so that the gain is rather
    too small; noise of the slices left out counts for both.
    """
    kept, left_out = block[::2], block[1::2]
    whole = slice(0, block.shape[1]), slice(0, block.shape[2])
    result = yield from enlarge_block(axial, kept, whole, execution)
    # The last has no slice behind it.
    count = len(kept) - 1
    wanted = left_out[:count].cpu().flatten(1).numpy()
    errors = []
    for volume, factor in ((kept.cpu(), 1.0), (result, axial.factor)):
        # Half a slice beyond the centres of those that were kept.
        between = sampling_operator(len(volume), factor, count, -factor / 2)
        predicted = between.matrix @ volume.flatten(1).numpy()
        errors.append(max(float(np.mean((predicted - wanted) ** 2)), 1e-20))
    interpolated, enlarged = errors
    return 10 * math.log10(interpolated / enlarged)


def merge_sections(xz: Tensor, yz: Tensor) -> Tensor:
    """Merge the results (Z, Y, X) of XZ and of YZ sections.

    Each section is enlarged by itself, so that its errors are alike along it and differ
    from those of the next: fine detail along Y is taken from YZ sections, along X from
    XZ sections, and of all else the mean.
    """
    half = (xz - yz) / 2
    return (xz + yz) / 2 + _smoothed(half, 1) - _smoothed(half, 2)


def _smoothed(volume: Tensor, axis: int) -> Tensor:
    """Smoothed along an axis by a Gaussian; what ends there goes on as it is."""
    size, reach = volume.shape[axis], MERGE_RADIUS_PX
    ends = [volume.narrow(axis, at, 1) for at in (0, size - 1)]
    padded = torch.cat([ends[0]] * reach + [volume] + [ends[1]] * reach, axis)
    shifts = torch.arange(-reach, reach + 1)
    weights = torch.softmax(-0.5 * (shifts / MERGE_SIGMA_PX) ** 2, dim=0).tolist()
    smooth = torch.zeros_like(volume)
    for first, weight in enumerate(weights):
        smooth.add_(padded.narrow(axis, first, size), alpha=weight)
    return smooth


def interpolate_block(block: Tensor, factor: float) -> Tensor:
    """Cubic interpolation along Z; (Z, Y, X) -> (ceil(f Z), Y, X), on the CPU."""
    return resize(block.transpose(0, 1), (factor, 1.0)).transpose(0, 1).cpu()


def project_along_z(
    enlarged: Tensor,
    block: Tensor,
    factor: float,
    blur: AxialBlur,
    iterations: int,
    strength: float = 1.0,
) -> Tensor:
    """Back-project along Z; `enlarged`: (Z', Y, X), `block`: (Z, Y, X)."""
    kernel, factors = blur.kernel(factor), (factor, 1.0)
    if not iterations or residual_growth(kernel, factors) > 1:
        return enlarged
    return back_project(
        enlarged.transpose(0, 1),
        block.transpose(0, 1),
        factors,
        kernel,
        iterations,
        strength,
    ).transpose(0, 1)


def _enlarge_sections(
    axial: AxialNetwork,
    sections: Tensor,
    *,
    spec: PredictSpec,
    precision: str,
    done: int,
    total: int,
) -> Steps[Tensor]:
    """Enlarge sections (N, Z, X) along Z, several at a time; (N, Z', X)."""
    batch = max(1, BATCH_PIXELS // sections[0].numel())
    parts = []
    for first in range(0, len(sections), batch):
        part = sections[first : first + batch].contiguous()
        parts.append(_enlarged_batch(axial, part, spec, precision))
        done += len(part)
        yield Progress(stage="predict", step=done, total=total)
    return torch.cat(parts)


@torch.no_grad()
def _enlarged_batch(
    axial: AxialNetwork, sections: Tensor, spec: PredictSpec, precision: str
) -> Tensor:
    flips = [tuple(d for b, d in ((1, -2), (2, -1)) if n & b) for n in spec.transforms]
    versions = []
    for flip in flips:
        turned = sections.flip(flip)[:, None]
        versions.append(applied(axial.network, turned, precision)[:, 0].flip(flip))
    result = merged(versions)
    reached = spec.factors[0]
    if reached == axial.factor:
        return result
    size = (output_size(sections.shape[1], axial.factor), sections.shape[2])
    return resize(result, (axial.factor / reached, 1.0), size)


def with_mean_kept(
    axial: AxialNetwork, block: Tensor, inner: Window, result: Tensor
) -> AxialNetwork:
    """The network with the shift by which a sample of its results keeps the mean."""
    rows, columns = inner
    missing = block[:, rows, columns].mean().cpu() - result.mean()
    return replace(axial, shift=axial.shift + float(missing))
