"""Networks applied to a plane, in as small tiles as the memory asks for."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from torch import Tensor, nn

from napari_zssr.config import Config
from napari_zssr.errors import ComputeError
from napari_zssr.imaging.kernel import kernel_for_factors, sampled_kernel
from napari_zssr.imaging.resample import Window, symmetries
from napari_zssr.progress import Progress, Steps
from napari_zssr.zssr.canvas import Canvas
from napari_zssr.zssr.policy import applications, back_projection
from napari_zssr.zssr.predict import PredictSpec, painted
from napari_zssr.zssr.warps import Pair

SMALLEST_TILE_PX = 64


def predict_spec(
    config: Config, factors: Pair, *, level: float, tile_px: int, precision: str
) -> PredictSpec:
    """How a network is applied for one gradual factor.

    Parameters
    ----------
    config : Config
    factors : tuple of float
    level : float
        Standard deviation of the noise at the plane's mean signal.
    tile_px : int
    precision : {"float32", "bfloat16"}
    """
    kernel = kernel_for_factors(config.kernel, config.factors, factors)
    iterations, strength = back_projection(config, level, factors)
    return PredictSpec(
        factors=factors,
        applications=applications(config, factors),
        kernel=kernel,
        transforms=(
            symmetries(factors, sampled_kernel(kernel)) if config.ensemble else (0,)
        ),
        back_projection=iterations,
        strength=strength,
        tile_px=tile_px,
        precision=precision,
    )


def enlarged(
    network: nn.Module,
    plane: Tensor,
    spec: PredictSpec,
    window: Window | None = None,
    scratch: Path | None = None,
) -> Steps[Canvas]:
    """`painted`, with half the tile after every failure for want of memory.

    Raises
    ------
    ComputeError
        Out of memory even with the smallest tile.
    """
    while True:
        try:
            return (yield from painted(network, plane, spec, window, scratch))
        except (MemoryError, RuntimeError) as error:
            if not _out_of_memory(error):
                raise
            if spec.tile_px // 2 < SMALLEST_TILE_PX:
                raise ComputeError(
                    f"Memory ran out even with tiles of {spec.tile_px} pixels; close "
                    "other programs or use device='cpu'."
                ) from error
        spec = replace(spec, tile_px=spec.tile_px // 2)
        yield Progress(
            stage="predict",
            step=0,
            total=1,
            message=f"Memory ran out; going on with tiles of {spec.tile_px} pixels.",
        )


def _out_of_memory(error: BaseException) -> bool:
    text = str(error).lower()
    return isinstance(error, MemoryError) or "memory" in text
