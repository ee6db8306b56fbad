"""What an enlarged plane is written to: memory, or a scratch file where it is large.

No torch at import, so that plans can ask how much disk a plane takes.
"""

from __future__ import annotations

import math
import shutil
import tempfile
import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from napari_zssr.errors import ComputeError
from napari_zssr.units import bytes_text

if TYPE_CHECKING:
    from torch import Tensor

# Float32 results over this size go to disk; 4096 x 4096 pixels x2 are just within it.
LARGEST_HELD_BYTES = 2**28
FLOAT_BYTES = 4

BlockIndex = tuple[slice, slice, slice]


class Canvas(Protocol):
    """An enlarged plane of shape (C, Y', X'), float32 on the CPU: tensor or file."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Channels, rows and columns."""

    def __setitem__(self, index: BlockIndex, block: Tensor, /) -> None: ...

    def __getitem__(self, index: BlockIndex, /) -> Tensor: ...


class ScratchCanvas:
    """Canvas in an anonymous temporary file, deleted even if the process is killed.

    It lies in the system's folder for temporary files unless another is given. `shift`
    (C, 1, 1) is added to all that is read. ComputeError where the disk has no room.
    """

    def __init__(self, shape: Sequence[int], folder: Path | None = None) -> None:
        import torch

        channels, height, width = shape
        self.shape = (channels, height, width)
        self.shift = torch.zeros(channels, 1, 1)
        self._sums = torch.zeros(channels, 1, 1, dtype=torch.float64)
        self._folder = Path(folder or tempfile.gettempdir())
        self._needed = FLOAT_BYTES * math.prod(self.shape)
        try:
            if shutil.disk_usage(self._folder).free < self._needed:
                raise OSError("too little space is left")
            self._file: Any = tempfile.TemporaryFile(  # noqa: SIM115
                dir=self._folder, buffering=0
            )
        except OSError as error:
            raise self._failed(error) from error
        self._closed = weakref.finalize(self, self._file.close)

    def __setitem__(self, index: BlockIndex, block: Tensor, /) -> None:
        """Write a block (C, rows, columns); each pixel is to be written once."""
        _, rows, columns = index
        self._sums += block.double().sum(dim=(-2, -1), keepdim=True)
        # Row by row with all channels, as bands are read.
        pixels = np.ascontiguousarray(block.permute(1, 0, 2).numpy())
        first, last, _ = columns.indices(self.shape[2])
        try:
            if last - first == self.shape[2]:
                self._write(rows.start, 0, 0, pixels)
                return
            for row, of_channels in enumerate(pixels, start=rows.start):
                for channel, line in enumerate(of_channels):
                    self._write(row, channel, first, line)
        except OSError as error:
            raise self._failed(error) from error

    def __getitem__(self, index: BlockIndex, /) -> Tensor:
        """Block (C, rows, columns) with the shift added."""
        import torch

        _, rows, columns = index
        first, last, _ = rows.indices(self.shape[1])
        pixels = np.empty((last - first, self.shape[0], self.shape[2]), np.float32)
        try:
            self._read(self._at(first, 0, 0), pixels)
        except OSError as error:
            raise self._failed(error) from error
        block = torch.from_numpy(pixels).permute(1, 0, 2)[..., columns]
        return block + self.shift

    def mean(self) -> Tensor:
        """Mean of what was written to each channel, shape (C, 1, 1)."""
        return (self._sums / (self.shape[1] * self.shape[2])).float()

    def close(self) -> None:
        """Delete the file; nothing can be read any more."""
        self._closed()

    def _read(self, at: int, pixels: Any) -> None:
        self._file.seek(at)
        view = memoryview(pixels.data).cast("B")
        while view:
            count = self._file.readinto(view)
            if not count:
                raise OSError("it is shorter than it should be")
            view = view[count:]

    def _write(self, row: int, channel: int, column: int, pixels: Any) -> None:
        self._file.seek(self._at(row, channel, column))
        view = memoryview(pixels.data).cast("B")
        while view:
            view = view[self._file.write(view) :]

    def _at(self, row: int, channel: int, column: int) -> int:
        return FLOAT_BYTES * ((row * self.shape[0] + channel) * self.shape[2] + column)

    def _failed(self, error: OSError) -> ComputeError:
        return ComputeError(
            f"The temporary file in {self._folder} could not be written "
            f"({error.strerror or error}); free {bytes_text(self._needed)} there, "
            "or set the environment variable TMPDIR to another folder."
        )


def scratch_bytes(shape: Sequence[int]) -> int:
    """Disk that a result of shape (C, Y', X') takes while it is made, often none."""
    needed = FLOAT_BYTES * math.prod(shape)
    return needed if needed > LARGEST_HELD_BYTES else 0


@contextmanager
def new_canvas(shape: Sequence[int], folder: Path | None = None) -> Iterator[Canvas]:
    """A canvas for a result of shape (C, Y', X'), closed if what fills it fails."""
    import torch

    if not scratch_bytes(shape):
        yield torch.empty(*shape)
        return
    canvas = ScratchCanvas(shape, folder)
    try:
        yield canvas
    except BaseException:
        canvas.close()
        raise


def close_canvas(canvas: Canvas | None) -> None:
    """Give back the disk that a canvas takes."""
    if isinstance(canvas, ScratchCanvas):
        canvas.close()
