"""What the recipe in a result's file tells its checks."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from napari_zssr.checks import is_camera, parsed_camera
from napari_zssr.config import Config
from napari_zssr.errors import InputError
from napari_zssr.imaging.noise import NoiseModel
from napari_zssr.kernelspec import KernelSpec
from napari_zssr.stack.detail import checkpoints_of
from napari_zssr.stack.image import OF_PIXELS, ImageStack
from napari_zssr.stack.recipe import axial_reports
from napari_zssr.zssr.checkpoint import Checkpoint

BICUBIC = KernelSpec()
REDUCED_ALONG_Z = (
    "Before these checks, the result was {blurred}reduced along Z to the slices of the "
    "original."
)


def is_recipe(recipe: Mapping[str, Any] | None) -> bool:
    """Whether it tells how one image was enlarged."""
    if recipe is None or not isinstance(recipe.get("config"), Mapping):
        return False
    factor = recipe["config"].get("factor")
    return isinstance(factor, list | tuple) and len(factor) == 2


def camera_noise(recipe: Mapping[str, Any] | None) -> NoiseModel | None:
    """Noise of a camera that the recipe tells; other noise is estimated."""
    noise = None if recipe is None else recipe["config"].get("noise")
    if not isinstance(noise, str) or not is_camera(noise):
        return None
    return NoiseModel.of_camera(parsed_camera(noise))


def _settings(recipe: Mapping[str, Any] | None) -> Config:
    """Settings of the recipe; the usual ones where a version cannot read them."""
    with contextlib.suppress(InputError):
        return Config.from_dict({} if recipe is None else recipe["config"])
    return Config()


def settings_and_networks(
    networks: str | Path | None, recipe: Mapping[str, Any] | None, original: ImageStack
) -> tuple[Config, tuple[Checkpoint | None, ...]]:
    """Settings, and the networks of each channel where a file of them is given."""
    if networks is None:
        return _settings(recipe), ()
    if recipe is None:
        raise InputError(
            "The result contains no recipe (record of how it was made), so it is "
            f"unknown how the networks {networks} were applied; leave out "
            "--networks, or give the result as napari-zssr wrote it."
        )
    if axial_reports(recipe):
        raise InputError(
            "The result was enlarged along Z by other networks than those in "
            f"{networks}; leave out --networks."
        )
    return checkpoints_of(networks, _settings(recipe), original)


def delivered_shares(recipe: Mapping[str, Any] | None) -> dict[int, float]:
    """Share of what networks change that was delivered, by the number of the plane."""
    report = (recipe or {}).get("report") or {}
    always = recipe is not None and recipe["config"].get("always", False)
    shares = {}
    for plane in report.get("planes", ()):
        share = (plane.get("assessment") or {}).get("share", 1.0)
        learned = plane["returned"] == "learned"
        shares[plane["plane"]] = (1.0 if always else float(share)) * learned
    return shares


def kernels_of(recipe: Mapping[str, Any] | None) -> tuple[KernelSpec, ...]:
    """Blur of each channel as assumed, bicubic where nothing is known of it."""
    report = (recipe or {}).get("report") or {}
    listed = [entry["kernel"] for entry in report.get("kernels", ())]
    specs = tuple(KernelSpec.from_dict(kernel) for kernel in listed)
    return specs or (BICUBIC,)


def other_original(
    recipe: Mapping[str, Any] | None, original: ImageStack
) -> tuple[str, ...]:
    """That the result was made from another file, where its checksum tells so.

    Checksums of a file and of the pixels of a layer cannot be compared.
    """
    source = (recipe or {}).get("input") or {}
    stated, found = source.get("checksum"), original.checksum
    if not stated or not found or stated == found:
        return ()
    if stated.startswith(OF_PIXELS) != found.startswith(OF_PIXELS):
        return ()
    return (
        f"The result was made from {source.get('name') or 'an image'} with checksum "
        f"{stated}, but the given original has {found}; check that it is the same file "
        "and was not changed since.",
    )


def assumed_blur(recipe: Mapping[str, Any] | None) -> tuple[str, ...]:
    """How the result was blurred before it was compared, where that is not plain."""
    along_z = axial_reports(recipe or {})
    if along_z:
        is_blurred = any(report["returned"] == "learned" for report in along_z)
        blurred = "blurred as assumed and " * is_blurred
        return (REDUCED_ALONG_Z.format(blurred=blurred),)
    if ((recipe or {}).get("report") or {}).get("kernels"):
        return ()
    return (
        "The result does not say which blur was assumed, so its residual was "
        "computed with the default blur.",
    )
