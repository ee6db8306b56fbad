"""The engine for scripts: images in, larger images out."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, overload

from numpy.typing import NDArray

from napari_zssr.config import BALANCED, Config, change, preset
from napari_zssr.errors import ImageWarning, InputError
from napari_zssr.execution.disk_run import Written
from napari_zssr.execution.executors import Workers
from napari_zssr.execution.run import upscale_to_disk_steps
from napari_zssr.io.contents import ALL, ImageEntry, labelled_paths
from napari_zssr.io.kernel_files import loaded_kernel
from napari_zssr.io.read import list_images
from napari_zssr.io.read import read as read_file
from napari_zssr.progress import Steps, drain
from napari_zssr.stack.axis_labels import labelled, relabelled
from napari_zssr.stack.image import ImageStack
from napari_zssr.stack.run import Upscaled, lazily_upscaled
from napari_zssr.stack.run import upscale_steps as stack_steps
from napari_zssr.zssr.checkpoint import write_networks

if TYPE_CHECKING:
    import dask.array

Image = NDArray[Any] | str | PathLike[str] | ImageStack
_NO_FILE = (
    "image= chooses one of the images in a file, but pixels were given; give the path "
    "of the file, or leave image= out."
)
GivenSpacing = float | Sequence[float | None] | Mapping[str, float] | None


@overload
def upscale(
    image_or_path: Image,
    config: Config | str = BALANCED,
    *,
    image: Literal["all"],
    **options: Any,
) -> list[NDArray[Any]]: ...


@overload
def upscale(
    image_or_path: Image,
    config: Config | str = BALANCED,
    *,
    axes: str | None = None,
    spacing: GivenSpacing = None,
    image: int | str | None = None,
    partial: bool = False,
    **changes: Any,
) -> NDArray[Any]: ...


def upscale(
    image_or_path: Image,
    config: Config | str = BALANCED,
    *,
    axes: str | None = None,
    spacing: GivenSpacing = None,
    image: int | str | None = None,
    partial: bool = False,
    **changes: Any,
) -> NDArray[Any] | list[NDArray[Any]]:
    """Enlarge an image by learning from it alone.

    Parameters
    ----------
    image_or_path : ndarray, path or ImageStack
        Any of T, C, Z, Y, X and RGB samples S.
    config : Config or str
        Settings, or the name of a preset.
    axes : str, optional
        Letters of the axes, such as "TCZYX"; read or guessed unless given.
    spacing : float, sequence or mapping, optional
        Pixel size in micrometres.
    image : int or str, optional
        Index or name of one of several images in the file (`list_images` lists them),
        or "all"; the largest unless given.
    partial : bool
        Keep the complete planes of an acquisition that was stopped, instead of
        refusing the file.
    **changes
        Settings changed on top of `config`: ``factor=3``, ``steps=200``,
        ``factor_z="isotropic"``.

    Returns
    -------
    ndarray
        ceil(f Y) x ceil(f X) pixels, and as many slices as before or, with
        `factor_z`, ceil(f_z Z). Output pixel j lies at input coordinate
        (j + 0.5) / f - 0.5. The dtype is that of the input, but float32 where the
        input holds so few counts that whole numbers would lose more than 0.5 % of its
        intensity (``dtype="same"`` or ``"float32"`` decide otherwise). A list of arrays
        where `image` is "all".

    Raises
    ------
    InputError
        The image or a setting cannot be used.
    ComputeError
        The computation failed.

    Warns
    -----
    ImageWarning
        For what was assumed of the image, and where the result is float32.
    """
    if image == ALL:
        return [
            upscale(
                image_or_path,
                config,
                axes=axes,
                spacing=spacing,
                image=entry.index,
                partial=partial,
                **changes,
            )
            for entry in _entries(image_or_path)
        ]
    stack = as_stack(image_or_path, axes, spacing, image, partial)
    result = drain(stack_steps(stack, _config(config, changes)))
    for remark in result.report.remarks:
        warnings.warn(remark, ImageWarning, stacklevel=2)
    return result.image


def upscale_steps(
    image_or_path: Image,
    config: Config | str = BALANCED,
    *,
    axes: str | None = None,
    spacing: GivenSpacing = None,
    image: int | str | None = None,
    partial: bool = False,
    **changes: Any,
) -> Steps[Upscaled]:
    """`upscale` step by step: yields progress, returns all that is known.

    Parameters
    ----------
    image_or_path, config, axes, spacing, image, partial, **changes
        As in `upscale`; checked at once, not at the first step.

    Returns
    -------
    generator
        Yields `Progress` and `PlaneDone`, returns `Upscaled`. To cancel, close it.
    """
    stack = as_stack(image_or_path, axes, spacing, image, partial)
    return stack_steps(stack, _config(config, changes))


@overload
def upscale_to_disk(
    image_or_path: Image,
    target: str | PathLike[str],
    config: Config | str = BALANCED,
    *,
    image: Literal["all"],
    **options: Any,
) -> list[Written]: ...


@overload
def upscale_to_disk(
    image_or_path: Image,
    target: str | PathLike[str],
    config: Config | str = BALANCED,
    *,
    workers: int = 0,
    client: Any = None,
    scheduler: str = "",
    threads: int | None = None,
    shard: tuple[int, int] = (1, 1),
    overwrite: bool = False,
    axes: str | None = None,
    spacing: GivenSpacing = None,
    image: int | str | None = None,
    partial: bool = False,
    **changes: Any,
) -> Written: ...


def upscale_to_disk(
    image_or_path: Image,
    target: str | PathLike[str],
    config: Config | str = BALANCED,
    *,
    workers: int = 0,
    client: Any = None,
    scheduler: str = "",
    threads: int | None = None,
    shard: tuple[int, int] = (1, 1),
    overwrite: bool = False,
    axes: str | None = None,
    spacing: GivenSpacing = None,
    image: int | str | None = None,
    partial: bool = False,
    **changes: Any,
) -> Written | list[Written]:
    """Enlarge an image of any size into a file.

    The image is read and written plane by plane. What is finished stands in the folder
    ``TARGET.part``; after a stop or a crash the same call goes on from there.

    Parameters
    ----------
    image_or_path : ndarray, lazy array, path or ImageStack
        A path, a zarr or a dask array is never loaded whole.
    target : str or path
        ``.ome.zarr`` or ``.ome.tif``. Where `image` is "all" and there are several,
        each has its name or index in it: ``fine_Pos1.ome.tif``.
    config : Config or str
        Settings, or the name of a preset.
    workers : int
        Processes on this machine; 0 works in this one.
    client : distributed.Client, optional
        Client of a dask cluster whose workers do the planes. They need to reach the
        image and the target under the same names.
    scheduler : str
        Address of a dask scheduler, or its scheduler file, instead.
    threads : int, optional
        Threads of each worker; the processor's cores shared out unless given.
    shard : tuple of int
        Which part of the planes, and of how many; the last one to finish completes
        the file.
    overwrite : bool
        Replace a file that is there, and begin again what was begun otherwise.
    axes, spacing, image, partial, **changes
        As in `upscale`.

    Returns
    -------
    Written
        A list of them where `image` is "all".

    Raises
    ------
    InputError
        The image, a setting or the target cannot be used, or the run was begun with
        others.
    StorageError
        The disk is full or the folder is gone.
    ComputeError
        The computation failed.
    """
    settings = _config(config, changes)
    engaged = Workers(processes=workers, client=client, scheduler=scheduler)

    def write(which: int | str | None, path: Path) -> Written:
        stack = as_stack(image_or_path, axes, spacing, which, partial, lazy=True)
        steps = upscale_to_disk_steps(
            stack,
            settings,
            path,
            workers=engaged,
            threads=threads,
            shard=shard,
            overwrite=overwrite,
        )
        return drain(steps)

    if image != ALL:
        return write(image, Path(target))
    entries = _entries(image_or_path)
    targets = labelled_paths(Path(target), entries)
    return [
        write(entry.index, path) for entry, path in zip(entries, targets, strict=True)
    ]


def upscale_lazy(
    image_or_path: Image,
    config: Config | str = BALANCED,
    *,
    axes: str | None = None,
    spacing: GivenSpacing = None,
    image: int | str | None = None,
    partial: bool = False,
    **changes: Any,
) -> dask.array.Array:
    """Enlarge an image plane by plane, each when it is looked at.

    Parameters
    ----------
    image_or_path, config, axes, spacing, image, partial, **changes
        As in `upscale`; lazy pixels stay lazy, a few planes of each channel are read.

    Returns
    -------
    dask array
        One chunk a plane, equal to what `upscale` gives.

    Raises
    ------
    InputError
        The image or a setting cannot be used.
    """
    stack = as_stack(image_or_path, axes, spacing, image, partial, lazy=True)
    return lazily_upscaled(stack, _config(config, changes))


def _entries(source: Image) -> tuple[ImageEntry, ...]:
    """All images of a file."""
    if isinstance(source, str | PathLike):
        return list_images(source)
    raise InputError(_NO_FILE)


def save_networks(
    result: Upscaled, path: str | PathLike[str], *, overwrite: bool = False
) -> Path:
    """Save what was learned, to start from it on a sister image.

    Parameters
    ----------
    result : Upscaled
        What `upscale_steps` returns.
    path : str or path
        File ending in ``.safetensors``, for the setting `start`.
    overwrite : bool
        Replace a file that is there.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    InputError
        There are no networks, or the name or folder does not allow it.
    ComputeError
        The disk is full or fails.
    """
    return write_networks(Path(path), result.networks, overwrite=overwrite)


def _config(config: Config | str, changes: dict[str, Any]) -> Config:
    chosen = preset(config) if isinstance(config, str) else config
    chosen = change(chosen, **changes)
    return change(chosen, kernel=loaded_kernel(chosen.kernel))


def read(
    path: str | PathLike[str],
    *,
    axes: str | None = None,
    spacing: GivenSpacing = None,
    image: int | str | None = None,
    partial: bool = False,
    lazy: bool = False,
    labels: bool = False,
) -> ImageStack:
    """Read an image with axes, spacing and channels.

    Parameters
    ----------
    path : str or path
        File, or the folder of a Zarr image.
    axes : str, optional
        One letter of TCZYXS for each axis; overrides what the file says.
    spacing : float, sequence or mapping, optional
        Pixel size in micrometres (T: seconds); overrides what the file says.
    image : int or str, optional
        Index or name of one of several images in the file; the largest unless given.
    partial : bool
        Keep the complete planes of an acquisition that was stopped, instead of
        refusing the file.
    lazy : bool
        Leave the pixels of TIFF and Zarr in the file until `data` is indexed.
    labels : bool
        Read a label image or a mask, for `upscale_labels`; they are refused otherwise.

    Raises
    ------
    InputError
        The file is missing, broken, incomplete, or of a kind that cannot be used.

    Warns
    -----
    ImageWarning
        For what was assumed, chosen or converted.
    """
    if not isinstance(path, str | PathLike):
        raise InputError(
            f"read opens a file, but {type(path).__name__} was given; give the name of "
            "a file, or pass arrays to upscale directly."
        )
    return _warned(
        read_file(
            path,
            axes=axes,
            spacing=spacing,
            image=image,
            partial=partial,
            lazy=lazy,
            labels=labels,
        )
    )


def as_stack(
    source: Image,
    axes: str | None = None,
    spacing: GivenSpacing = None,
    image: int | str | None = None,
    partial: bool = False,
    lazy: bool = False,
    labels: bool = False,
) -> ImageStack:
    """Image with named axes from whatever was given; a file is read."""
    if isinstance(source, list | tuple) and any(
        isinstance(e, str | PathLike) for e in source
    ):
        raise InputError(
            f"{len(source)} files were given; enlarge one at a time, or all of them "
            "in a terminal by `napari-zssr upscale FILE ...`."
        )
    if isinstance(source, str | PathLike):
        return read(
            source,
            axes=axes,
            spacing=spacing,
            image=image,
            partial=partial,
            lazy=lazy,
            labels=labels,
        )
    if image is not None:
        raise InputError(_NO_FILE)
    if isinstance(source, ImageStack):
        return relabelled(source, axes, spacing)
    return _warned(labelled(source, axes=axes, spacing=spacing, labels=labels))


def _warned(stack: ImageStack) -> ImageStack:
    """Warn of what was assumed of an image, as the command line says it."""
    for message in stack.messages:
        warnings.warn(message, ImageWarning, stacklevel=4)
    return stack
