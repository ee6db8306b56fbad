"""Whole planes enlarged: by a network or plainly, in memory or on disk."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor, nn

from napari_zssr.imaging.resample import Window, resize
from napari_zssr.kernelspec import KernelSpec
from napari_zssr.progress import Steps
from napari_zssr.zssr.canvas import Canvas, ScratchCanvas, new_canvas, scratch_bytes
from napari_zssr.zssr.network import PlainNetwork
from napari_zssr.zssr.predict import (
    PredictSpec,
    enlarged_shape,
    paint,
    predict,
    windowed,
)
from napari_zssr.zssr.warps import Pair


def painted(
    network: nn.Module,
    plane: Tensor,
    spec: PredictSpec,
    window: Window | None = None,
    scratch: Path | None = None,
) -> Steps[Canvas]:
    """Predict a window, or all onto a canvas.

    Parameters
    ----------
    network : Module
    plane : Tensor, shape (C, Y, X)
    spec : PredictSpec
    window : tuple of slice, optional
    scratch : Path, optional
        Folder where a large result lies.

    Returns
    -------
    Canvas, shape (C, Y', X')
    """
    if window is not None:
        return (yield from predict(network, plane, spec, window))
    with new_canvas(enlarged_shape(plane, spec.factors), scratch) as canvas:
        yield from paint(network, plane, spec, canvas)
        return canvas


def bicubic(plane: Tensor, factors: Pair, window: Window | None = None) -> Tensor:
    """Plain bicubic enlargement, of a window alone where one is given.

    (C, Y, X) -> (C, Y', X').
    """
    return windowed(resize(plane, factors), factors, window)


def bicubic_steps(
    plane: Tensor,
    factors: Pair,
    window: Window | None = None,
    scratch: Path | None = None,
) -> Steps[Canvas]:
    """`bicubic`, tile by tile where the enlarged plane is large.

    Parameters
    ----------
    plane : Tensor, shape (C, Y, X)
    factors : tuple of float
    window : tuple of slice, optional
    scratch : Path, optional
        Folder where a large result lies.

    Returns
    -------
    Canvas, shape (C, Y', X')
    """
    if not scratch_bytes(enlarged_shape(plane, factors)):
        return bicubic(plane, factors, window).cpu()
    spec = PredictSpec(factors=factors, kernel=KernelSpec())
    return (yield from painted(PlainNetwork(), plane, spec, window, scratch))


def with_mean_of(image: Canvas, plane: Tensor) -> Canvas:
    """Keep the mean of every channel: the result is never brighter than the input."""
    wanted = plane.mean(dim=(-2, -1), keepdim=True).cpu()
    if isinstance(image, ScratchCanvas):
        image.shift = wanted - image.mean()
        return image
    assert isinstance(image, Tensor)
    return image.add_(wanted - image.mean(dim=(-2, -1), keepdim=True))
