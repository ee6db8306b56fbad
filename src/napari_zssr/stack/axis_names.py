"""Names of axes as arrays and files store them, and the letters they stand for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

LETTERS = "TCZYXS"
UNKNOWN = "?"

_NAMES = {
    "T": ("t", "time", "times", "timepoint", "timepoints", "frame", "frames"),
    "C": ("c", "ch", "channel", "channels", "band", "bands", "wavelength"),
    "Z": ("z", "depth", "slice", "slices", "pln", "plane", "planes"),
    "Y": ("y", "row", "rows", "height"),
    "X": ("x", "column", "columns", "col", "cols", "width"),
    "S": ("s", "sample", "samples", "rgb", "rgba"),
}
_LETTERS = {name: letter for letter, names in _NAMES.items() for name in names}


def axis_letters(names: Sequence[Any]) -> str:
    """One letter of TCZYXS for each name, ``?`` for unknown and repeated ones.

    Parameters
    ----------
    names : sequence of (str or None)
        Such as ``("time", "y", "x")``; upper and lower case are the same.
    """
    letters = ""
    for name in names:
        letter = _LETTERS.get(str(name).strip().lower(), UNKNOWN)
        letters += UNKNOWN if letter in letters else letter
    return letters


def stored_names(array: Any) -> tuple[str | None, ...]:
    """Names of the axes that an array carries; empty where it carries none.

    Parameters
    ----------
    array : array
        An xarray.DataArray (`dims`), a zarr.Array of format 3 (`dimension_names`) or
        of format 2 with xarray's attribute ``_ARRAY_DIMENSIONS``.
    """
    metadata = getattr(array, "metadata", None)
    attributes = getattr(array, "attrs", None)
    if not isinstance(attributes, Mapping):
        attributes = {}
    for names in (
        getattr(array, "dims", None),
        getattr(metadata, "dimension_names", None),
        attributes.get("_ARRAY_DIMENSIONS"),
    ):
        if isinstance(names, tuple | list) and any(names) and _are_names(names, array):
            return tuple(names)
    return ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Coordinates:
    """Even coordinates along one axis.

    Attributes
    ----------
    step : float
        Distance of two pixels.
    unit : str or None
    start : float
        Of the first pixel; 0 where the coordinates fall along the axis.
    """

    step: float
    unit: str | None
    start: float


def stored_coordinates(
    array: Any, names: Sequence[str | None]
) -> list[Coordinates | None]:
    """Even coordinates that an xarray.DataArray carries.

    Parameters
    ----------
    array : array
    names : sequence of (str or None)
        Of its axes.

    Returns
    -------
    list of (Coordinates or None)
        One for each axis; None where there are none, or uneven ones, or where they
        only count pixels.
    """
    along = getattr(array, "coords", {})
    return [
        _even(along[name]) if name is not None and name in along else None
        for name in names
    ]


def _are_names(names: Sequence[Any], array: Any) -> bool:
    told = all(isinstance(name, str | None) for name in names)
    return told and len(names) == len(array.shape)


def _even(coordinate: Any) -> Coordinates | None:
    values = np.asarray(coordinate)
    if values.ndim != 1 or values.size < 2 or values.dtype.kind not in "iuf":
        return None
    steps = np.diff(values.astype(np.float64))
    step = float(steps.mean())
    if step == 0 or not np.allclose(steps, step, rtol=1e-3, atol=0):
        return None
    unit = coordinate.attrs.get("units") or coordinate.attrs.get("unit")
    if step == 1 and not unit:
        return None
    start = float(values[0]) if step > 0 else 0.0
    return Coordinates(step=abs(step), unit=unit, start=start)
