"""The recipe of a result: what is needed to compute it again, as plain JSON."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from napari_zssr.config import Config
    from napari_zssr.stack.records import ImageStack
    from napari_zssr.stack.run import Upscaled

Ranges = Mapping[str, tuple[int, int]]


def recipe(
    stack: ImageStack, result: Upscaled, *, selection: Ranges | None = None
) -> dict[str, Any]:
    """Recipe of a finished result.

    Parameters
    ----------
    stack : ImageStack
        What was enlarged.
    result : Upscaled
    selection : mapping, optional
        Half-open pixel ranges by axis letter, where only a part of an image was
        enlarged.

    Returns
    -------
    dict
        Keys ``program``, ``config``, ``input`` and ``report``; NaN and Inf are None.
    """
    started = unfinished_recipe(stack, result.config, selection=selection)
    return started | {"report": plain(result.report.to_dict())}


def unfinished_recipe(
    stack: ImageStack, config: Config, *, selection: Ranges | None = None
) -> dict[str, Any]:
    """Recipe of a run that has no report: still going on, or cancelled."""
    source: dict[str, Any] = {
        "name": stack.name,
        "checksum": stack.checksum,
        "axes": stack.axes,
        "shape": stack.data.shape,
        "spacing": stack.spacing,
        "units": stack.units,
    }
    if stack.image_index is not None:
        source["image"] = {"index": stack.image_index, "name": stack.image_name}
    if selection:
        source["selection"] = selection
    content = {
        "program": "napari-zssr",
        "config": config.to_dict(),
        "input": source,
    }
    return {key: plain(value) for key, value in content.items()}


def plain(value: Any) -> Any:
    """Copy of what JSON can hold; NaN and Inf become None, unknown kinds text."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if hasattr(value, "tolist"):
        return plain(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if isinstance(value, str | int | float | None) else str(value)
