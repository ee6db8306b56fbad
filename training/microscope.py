"""Generated images as microscopes show them, no one's photographs."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from training import fluorescence
from training.electron import electron
from training.fields import Array, Draw
from training.finish import emitted
from training.nuclei import nuclei
from training.tissue import tissue

Kind = Callable[[Draw, int], Array]


def _glowing(light: Kind) -> Kind:
    """The recorded image of what is emitted."""

    def seen(draw: Draw, side: int) -> Array:
        return emitted(draw, light(draw, side))

    return seen


KINDS: dict[str, Kind] = {
    "filaments": _glowing(fluorescence.filaments),
    "membranes": _glowing(fluorescence.membranes),
    "nuclei": _glowing(nuclei),
    "vesicles": _glowing(fluorescence.vesicles),
    "tissue": tissue,
    "points": _glowing(fluorescence.points),
    "electron": electron,
}


# How often each kind is drawn: more of those whose texture noise resembles.
WEIGHTS = {"filaments": 2.0, "membranes": 1.5, "nuclei": 2.0, "electron": 1.5}


def microscope_scene(draw: Draw, side: int = 192) -> Array:
    """A fine image such as a microscope shows, without noise.

    Parameters
    ----------
    draw : numpy.random.Generator
        Decides all: the kind, what stands where, focus and contrast.
    side : int
        Pixels of each side.

    Returns
    -------
    ndarray, shape (side, side)
        From 0 to 1.
    """
    names = tuple(KINDS)
    weights = np.array([WEIGHTS.get(name, 1.0) for name in names])
    chosen = names[int(draw.choice(len(names), p=weights / weights.sum()))]
    return KINDS[chosen](draw, side)
