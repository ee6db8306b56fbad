"""``napari-zssr upscale``: enlarge one image file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from napari_zssr.cli import console, options
from napari_zssr.errors import InputError

if TYPE_CHECKING:
    from napari_zssr.config import Config
    from napari_zssr.stack.axes import ImageStack
    from napari_zssr.stack.run import Upscaled

SUFFIXES = (".tif", ".tiff", ".ome", ".zarr", ".png", ".jpg", ".jpeg")


def upscale(
    image: options.Input,
    output: options.Output = None,
    factor: options.Factor = None,
    preset: options.Preset = "balanced",
    kernel: options.Kernel = None,
    noise: options.Noise = None,
    gradual: options.Gradual = None,
    back_projection: options.BackProjection = None,
    ensemble: options.Ensemble = None,
    start: options.Start = None,
    steps: options.TrainingSteps = None,
    always: options.Always = False,
    seed: options.Seed = None,
    device: options.Device = None,
    precision: options.Precision = None,
    tile_px: options.TilePx = None,
    axes: options.Axes = None,
    spacing: options.Spacing = None,
    fill_nonfinite: options.FillNonfinite = False,
    save_networks: options.SaveNetworks = None,
    overwrite: options.Overwrite = False,
    json: options.Json = False,
) -> None:
    """Enlarge an image along Y and X, by a network trained on that image alone."""
    config = options.settings(
        preset,
        factor,
        kernel=kernel,
        noise=noise,
        gradual=gradual,
        back_projection=back_projection,
        ensemble=ensemble,
        start=start,
        steps=steps,
        always=always or None,
        seed=seed,
        device=device,
        precision=precision,
        tile_px=tile_px,
        nonfinite="fill" if fill_nonfinite else None,
    )
    target = output or default_output(image, config)
    _check_target(image, target, overwrite)
    if save_networks is not None:
        _check_networks(save_networks, config, overwrite)
    stack = read_image(image, axes=axes, spacing=spacing, quiet=json)
    _check_fit(target, stack)
    result = upscale_to(stack, config, target, overwrite=overwrite, quiet=json)
    networks = _save(result, save_networks, overwrite)
    if json:
        console.echo_json(_as_json(stack, result, target) | {"networks": networks})
    else:
        typer.echo(f"{target}: {console.describe(result.as_stack())}")
        typer.echo(result.report.sentence)
        if save_networks is not None:
            typer.echo(f"{save_networks}: {_of_networks(networks)}")


def default_output(image: Path, config: Config) -> Path:
    """``cells.ome.tif`` becomes ``cells_x2.ome.tif`` in the same folder."""
    stem = image.name
    while Path(stem).suffix.lower() in SUFFIXES:
        stem = Path(stem).stem
    y, x = config.factors
    label = f"x{y:g}" if y == x else f"x{y:g}x{x:g}"
    return image.with_name(f"{stem}_{label}.ome.tif")


def read_image(
    path: Path,
    *,
    axes: str | None = None,
    spacing: str | None = None,
    quiet: bool = False,
) -> ImageStack:
    """Read an image; unless quiet, tell when its axes were guessed."""
    from napari_zssr.files import read

    stack = read(path, axes=axes, spacing=options.parse_spacing(spacing))
    if not quiet:
        console.note_guess(stack)
    return stack


def upscale_to(
    stack: ImageStack,
    config: Config,
    target: Path,
    *,
    overwrite: bool = False,
    quiet: bool = False,
) -> Upscaled:
    """Enlarge an image behind a progress bar and write it with its recipe."""
    from napari_zssr.stack.recipe import recipe
    from napari_zssr.stack.run import upscale_steps
    from napari_zssr.stack.store import write

    result = console.follow(upscale_steps(stack, config), quiet=quiet)
    write(
        target,
        result.as_stack(),
        overwrite=overwrite,
        provenance=recipe(stack, result),
    )
    return result


def _check_target(image: Path, target: Path, overwrite: bool) -> None:
    from napari_zssr.stack.store import check_output

    if target.exists() and image.exists() and target.samefile(image):
        raise InputError(
            f"The output {str(target)!r} is the input itself; give another name with "
            "-o."
        )
    check_output(target, overwrite=overwrite)


def _check_fit(target: Path, stack: ImageStack) -> None:
    """Refuse before the run what the output's format could not hold after it."""
    from napari_zssr.stack.store import check_output

    check_output(target, overwrite=True, stack=stack)


def _check_networks(path: Path, config: Config, overwrite: bool) -> None:
    """Refuse before the run a file of networks that could not be written after it."""
    from napari_zssr.zssr.saved import check_networks_file

    if config.network == "ridge":
        raise InputError(
            f"The preset {config.preset!r} trains no networks that could be saved; "
            "choose another one."
        )
    check_networks_file(path, overwrite)


def _save(result: Upscaled, path: Path | None, overwrite: bool) -> str | None:
    """Name of the file of networks; None where none is wanted or nothing learned."""
    from napari_zssr.zssr.saved import write_networks

    if path is None or not result.networks:
        return None
    write_networks(path, result.networks, overwrite=overwrite)
    return str(path)


def _of_networks(path: str | None) -> str:
    return "not written, nothing was learned" if path is None else "what was learned"


def _as_json(stack: ImageStack, result: Upscaled, target: Path) -> dict[str, Any]:
    return result.report.to_dict() | {
        "output": str(target),
        "axes": result.axes,
        "axes_guessed": stack.guessed,
        "shape": result.image.shape,
        "dtype": str(result.image.dtype),
        "spacing": result.spacing,
        "units": result.units,
    }
