"""What came of a plane: its pixels, in bands, and what happened to it."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_zssr.config import Config
from napari_zssr.imaging.intensity import BLOCK_PX, IntensityMap
from napari_zssr.imaging.noise import NoiseModel
from napari_zssr.imaging.quality import Quality, combined_quality, quality
from napari_zssr.imaging.resample import (
    Window,
    output_window,
    whole_pixel_step,
    window_within,
)
from napari_zssr.zssr.checkpoint import Checkpoint

if TYPE_CHECKING:
    from napari_zssr.zssr.canvas import Canvas
    from napari_zssr.zssr.error_map import ErrorMap

BAND_ROWS = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class PlaneReport:
    """What happened to one plane.

    Attributes
    ----------
    plane : int
        Number of the plane.
    seconds : float
    noise : float
        Standard deviation at the mean signal, fraction of the range.
    gain_db, gain_error_db : float or None
        Held-out gain over bicubic and its standard error.
    returned : {"learned", "bicubic", "constant"}
    steps, most_steps : int
        Training steps done, and at most.
    sentence : str
    denoised : bool
        Whether training was against noise.
    shared : int
        Planes that shared networks were trained on; 0 for a plane on its own, and where
        they were used as they are.
    began : str
        ``learned`` where training began from a pretrained start; else empty.
    quality : Quality or None
        Checks on the pixels; None where no networks made them, or too few.
    assessment : dict or None
        What checks found of the networks, as `Assessment` has it: the share of what
        they change that is delivered (all with ``always``), why, and the likely gain
        of all of it against the truth.
    error : dict or None
        Of the standard error, where it was asked for: ``mean``, fraction of the range,
        ``regions`` held out that it was fitted on, and whether it ``is_calibrated``.
    """

    plane: int
    seconds: float
    noise: float
    gain_db: float | None
    gain_error_db: float | None
    returned: str
    steps: int
    sentence: str
    denoised: bool = False
    shared: int = 0
    began: str = ""
    quality: Quality | None = None
    assessment: dict[str, Any] | None = None
    error: dict[str, Any] | None = None
    most_steps: int = 0

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> PlaneReport:
        """Inverse of `dataclasses.asdict`."""
        quality = content.get("quality")
        return cls(**{**content, "quality": quality and Quality(**quality)})


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class EnlargedPlane:
    """An enlarged plane; as a context manager it deletes its scratch files on exit.

    Attributes
    ----------
    colours : (C', Y', X'); normalised; of the window only, where there is one
    alpha : transparency, normalised
    dtype : of the result
    origin : row and column of the first pixel in the enlarged plane
    networks : those that made it, where networks did
    error : standard error of the colours, where it was asked for and is known
    """

    colours: Canvas
    alpha: Canvas | None
    mapping: IntensityMap
    dtype: np.dtype[Any]
    report: PlaneReport
    networks: Checkpoint | None
    origin: tuple[int, int] = (0, 0)
    error: ErrorMap | None = None

    @property
    def shape(self) -> tuple[int, int, int]:
        """Of the pixels, (C, Y', X')."""
        channels, height, width = self.colours.shape
        return channels + (self.alpha is not None), height, width

    def bands(self, rows: int = BAND_ROWS) -> Iterator[NDArray[Any]]:
        """Consecutive rows (C, rows, X') in the result's dtype. Raises ComputeError."""
        parts = [self.colours] if self.alpha is None else [self.colours, self.alpha]
        top, left = self.origin
        height, step = self.shape[1], max(1, rows // BLOCK_PX) * BLOCK_PX
        edges = [*range(-top % BLOCK_PX or step, height, step), height]
        for first, last in zip([0, *edges], edges, strict=False):
            index = (slice(None), slice(first, last), slice(None))
            band = [part[index].numpy() for part in parts]
            yield restored(band, self.mapping, self.dtype, (top + first, left))

    def error_bands(self, rows: int = BAND_ROWS) -> Iterator[NDArray[np.float32]]:
        """Consecutive rows (rows, X') of the standard error, NaN where unknown.

        In units of the image; of colours the root mean square.
        """
        _, height, width = self.colours.shape
        for first in range(0, height, rows):
            last = min(first + rows, height)
            if self.error is None:
                yield np.full((last - first, width), np.nan, np.float32)
            else:
                block = self.error.standard_error(slice(first, last))
                yield block.numpy() * np.float32(self.mapping.scale)

    def fill(self, out: NDArray[Any]) -> None:
        """Write the pixels into an array (C, Y', X'), band by band."""
        _fill(out, self.bands())

    def fill_error(self, out: NDArray[np.float32]) -> None:
        """Write the standard error into an array (Y', X'), band by band."""
        _fill(out, self.error_bands())

    @property
    def pixels(self) -> NDArray[Any]:
        """All of it, shape (C, Y', X'), in the dtype of the result."""
        out = np.empty(self.shape, dtype=self.dtype)
        self.fill(out)
        return out

    def close(self) -> None:
        """Give scratch files back; of a large plane nothing can be read any more."""
        from napari_zssr.zssr.canvas import close_canvas

        close_canvas(self.colours)
        close_canvas(self.alpha)
        if self.error is not None:
            self.error.close()

    def __enter__(self) -> EnlargedPlane:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _fill(out: NDArray[Any], bands: Iterator[NDArray[Any]]) -> None:
    """Write consecutive rows (..., rows, X) into an array (..., Y, X)."""
    first = 0
    for band in bands:
        last = first + band.shape[-2]
        out[..., first:last, :] = band
        first = last


def restored(
    parts: list[NDArray[Any]],
    mapping: IntensityMap,
    dtype: np.dtype[Any],
    origin: tuple[int, int],
) -> NDArray[Any]:
    """Normalised colours (C, Y, X) with their alpha, in the result's dtype."""
    colours = mapping.restore(parts[0], dtype, origin)
    if len(parts) == 1:
        return colours
    return np.concatenate([colours, mapping.restore_plainly(parts[1], dtype)])


# Sides up to which a plane is checked whole, and of the windows of a larger one.
WHOLE_PX, WINDOW_PX = 256, 128
# Where the centres of those windows lie, as shares of the side.
CENTRES = (0.25, 0.75)


def result_quality(
    plane: NDArray[np.float32],
    result: Canvas,
    config: Config,
    noise: NoiseModel,
    window: Window | None = None,
) -> Quality | None:
    """Check what is delivered of a plane. `plane`: (C, Y, X); `result`: (C, Y', X')."""
    window = window or (slice(0, plane.shape[1]), slice(0, plane.shape[2]))
    first = output_window(window, config.factors)
    parts = []
    for part in _parts(window, config.factors):
        fine = output_window(part, config.factors)
        pixels = result[:, *window_within(fine, first)].numpy()
        checked = quality(plane[:, *part], pixels, config.factors, config.kernel, noise)
        parts += [] if checked is None else [checked]
    return combined_quality(parts, np.mean) if parts else None


def _parts(window: Window, factors: tuple[float, float]) -> Iterator[Window]:
    """Parts of a window that begin on whole output pixels."""
    rows, columns = (_spans(s, f) for s, f in zip(window, factors, strict=True))
    return itertools.product(rows, columns)


def _spans(part: slice, factor: float) -> list[slice]:
    """Spans along one axis; none where no input pixel begins on an output pixel."""
    step = whole_pixel_step(factor)
    if step is None:
        return [part] if part.start == 0 else []
    first = -(-part.start // step) * step
    size = part.stop - first
    if size <= WHOLE_PX:
        return [slice(first, part.stop)] if size > 0 else []
    starts = [
        first + round(share * size - WINDOW_PX / 2) // step * step for share in CENTRES
    ]
    return [slice(start, start + WINDOW_PX) for start in starts]
