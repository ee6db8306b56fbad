"""What the form asks for, without Qt."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from napari_zssr.config import Config

if TYPE_CHECKING:
    from napari.layers import Image

    from napari_zssr.plugin._layers import Selection


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Request:
    """One layer, the part of it that is to be enlarged, and how.

    Attributes
    ----------
    layer : Image
    axes : str
        Letters of the layer's axes, guessed or corrected by the user.
    selection : Selection
        The part of the layer that is to be enlarged.
    config : Config
    step : tuple of int
        Position of the viewer's sliders, one for each of the viewer's axes.
    started : Config, optional
        The settings with the size and number of the saved networks that they start
        from; a run costs what these do.
    begins : str
        What training will begin from and why, in a sentence.
    target : Path, optional
        File that the result is written to; in memory otherwise.
    overwrite : bool
        Whether a file that is there is replaced.
    """

    layer: Image
    axes: str
    selection: Selection
    config: Config
    step: tuple[int, ...]
    started: Config | None = None
    begins: str = ""
    target: Path | None = None
    overwrite: bool = False

    @property
    def as_done(self) -> Config:
        """Settings that the cost and the course of a run follow from."""
        return self.started or self.config
