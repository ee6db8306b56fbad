"""One image file enlarged into another, whatever its size."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_zssr.cli import console, options
from napari_zssr.errors import InputError
from napari_zssr.execution.executors import IN_PROCESS, Workers

if TYPE_CHECKING:
    from napari_zssr.config import Config
    from napari_zssr.stack.axes import Outline
    from napari_zssr.stack.image import ImageStack
    from napari_zssr.stack.report import Report
    from napari_zssr.stack.run import Upscaled

SUFFIXES = (".tif", ".tiff", ".ome", ".companion", ".zarr", ".png", ".jpg", ".jpeg")


@dataclass(frozen=True, slots=True)
class Source:
    """One image of one file.

    Attributes
    ----------
    path : Path
    image : int, str or None
        Which one of several; None takes the largest.
    label : str
        What the name of its result has for it; empty where there is no choice.
    """

    path: Path
    image: int | str | None = None
    label: str = ""

    def __str__(self) -> str:
        return f"{self.path} {self.label}".rstrip()


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What is asked for, whichever image it is.

    Attributes
    ----------
    config : Config
    workers : Workers
    threads : int or None
    shard : tuple of int
    overwrite : bool
    networks : Path or None
        File for what was learned.
    reading : Reading
    labels : bool
        The images are label images or masks.
    quiet : bool
        Show no progress.
    """

    config: Config
    workers: Workers = IN_PROCESS
    threads: int | None = None
    shard: tuple[int, int] = (1, 1)
    overwrite: bool = False
    networks: Path | None = None
    reading: options.Reading = options.AS_THE_FILE_SAYS
    labels: bool = False
    quiet: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What came of one image.

    Attributes
    ----------
    target : Path
        Where the result is, or will be.
    outline : Outline
    guessed : bool
        Whether the axes were guessed.
    report : Report
    networks : Path or None
        File of what was learned, where anything was.
    failures : tuple of (int, str)
        Planes that failed, and why.
    missing : int
        Planes that are not finished.
    """

    target: Path
    outline: Outline
    guessed: bool
    report: Report
    networks: Path | None = None
    failures: tuple[tuple[int, str], ...] = ()
    missing: int = 0

    def to_dict(self) -> dict[str, Any]:
        """What ``--json`` prints."""
        return self.report.to_dict() | {
            "output": str(self.target) if not self.missing else None,
            "axes": self.outline.axes,
            "axes_guessed": self.guessed,
            "shape": self.outline.shape,
            "dtype": self.outline.dtype,
            "spacing": self.outline.spacing,
            "units": self.outline.units,
            "networks": None if self.networks is None else str(self.networks),
            "failures": [list(failure) for failure in self.failures],
            "missing": self.missing,
        }


def sources(path: Path, image: str | None) -> list[Source]:
    """The images of a file that are asked for.

    Parameters
    ----------
    path : Path
    image : str or None
        Index, name, or "all".

    Returns
    -------
    list of Source
        One for a file that cannot be read, too: reading it says why.
    """
    from napari_zssr.io.contents import ALL, choose, file_labels
    from napari_zssr.io.read import list_images

    if image is None:
        return [Source(path)]
    try:
        entries = list_images(path)
        wanted = entries if image == ALL else (choose(entries, image, path.name)[0],)
    except InputError:
        return [Source(path, image)]
    if len(entries) == 1:
        return [Source(path, 0)]
    labels = file_labels(entries)
    return [Source(path, entry.index, labels[entry.index]) for entry in wanted]


def default_output(
    image: Path, config: Config, ending: str = "ome.tif", label: str = ""
) -> Path:
    """``cells.ome.tif`` becomes ``cells_x2.ome.tif`` in the same folder."""
    stem = image.name
    while Path(stem).suffix.lower() in SUFFIXES:
        stem = Path(stem).stem
    y, x = config.factors
    factor = f"x{y:g}" if y == x else f"x{y:g}x{x:g}"
    parts = "_".join(filter(None, (stem, label, factor)))
    return image.with_name(f"{parts}.{ending}")


def enlarge(image: Source, target: Path, order: Order) -> Outcome:
    """Read, enlarge and write one image.

    Raises
    ------
    InputError
        The image, a setting or the target cannot be used.
    ComputeError
        The computation or the disk failed.
    """
    check_target(image.path, target, order)
    shared_out = order.workers != IN_PROCESS or order.shard != (1, 1)
    if order.labels and (shared_out or order.networks is not None):
        raise InputError(
            "Labels are enlarged at once, and nothing is learned for them; leave out "
            "--workers, --scheduler, --shard and --save-networks."
        )
    stack = read_image(
        image.path,
        order.reading,
        image=image.image,
        quiet=order.quiet,
        lazy=True,
        labels=order.labels,
    )
    if order.labels:
        return _labels(stack, target, order)
    return _to_disk(stack, target, order)


def read_image(
    path: Path,
    reading: options.Reading = options.AS_THE_FILE_SAYS,
    *,
    image: int | str | None = None,
    quiet: bool = False,
    lazy: bool = False,
    labels: bool = False,
) -> ImageStack:
    """Read an image; unless quiet, print what was assumed of it.

    Parameters
    ----------
    path : Path
    reading : Reading
    image : int, str or None
        Which one of several, in place of the one that `reading` names.
    quiet, lazy, labels : bool
    """
    from napari_zssr.io.read import read

    stack = read(
        path,
        axes=reading.axes,
        spacing=options.parse_spacing(reading.spacing),
        image=reading.image if image is None else image,
        partial=reading.partial,
        lazy=lazy,
        labels=labels,
    )
    if not quiet:
        console.note_messages(stack)
    return stack


def upscale_to(
    stack: ImageStack,
    config: Config,
    target: Path,
    *,
    overwrite: bool = False,
    quiet: bool = False,
) -> Upscaled:
    """Enlarge an image in memory behind a progress bar and write it with its recipe."""
    from napari_zssr.io.write import write
    from napari_zssr.stack.report import recipe
    from napari_zssr.stack.run import upscale_steps

    result = console.follow(upscale_steps(stack, config), quiet=quiet)
    write(
        target,
        result.as_stack(),
        overwrite=overwrite,
        provenance=recipe(stack, result),
    )
    return result


def check_target(image: Path, target: Path, order: Order) -> None:
    """Refuse before the run what could not be written after it."""
    from napari_zssr.atomic import check_name
    from napari_zssr.execution.finish import part_folder
    from napari_zssr.io.write import check_output

    check_name(target)
    if target.exists() and image.exists() and target.samefile(image):
        raise InputError(
            f"The output {str(target)!r} is the input itself; give another name with "
            "-o."
        )
    # Whether an unfinished run may go on is for the engine to say.
    check_output(target, overwrite=order.overwrite or part_folder(target).is_dir())
    if order.networks is not None:
        _check_networks(order.networks, order)


def _labels(stack: ImageStack, target: Path, order: Order) -> Outcome:
    """Labels by nearest pixels, which nothing is learned for."""
    from napari_zssr.label_images import SENTENCE, write_enlarged_labels
    from napari_zssr.stack.axes import outline_of
    from napari_zssr.stack.report import Report, versions

    started = time.monotonic()
    result = write_enlarged_labels(
        target, stack, order.config.factors, overwrite=order.overwrite
    )
    report = Report(
        planes=(),
        seconds=time.monotonic() - started,
        device="cpu",
        precision=result.data.dtype.name,
        seed=order.config.seed,
        versions=dict(versions()),
        input_name=stack.name,
        input_checksum=stack.checksum,
        sentence=SENTENCE,
    )
    return Outcome(
        target=target, outline=outline_of(result), guessed=stack.guessed, report=report
    )


def _to_disk(stack: ImageStack, target: Path, order: Order) -> Outcome:
    from napari_zssr.execution.disk_run import upscale_to_disk_steps

    steps = upscale_to_disk_steps(
        stack,
        order.config,
        target,
        workers=order.workers,
        threads=order.threads,
        shard=order.shard,
        overwrite=order.overwrite,
        keep_networks=order.networks is not None,
    )
    before = _kept(target)
    try:
        made = console.follow(steps, quiet=order.quiet)
    except InputError:
        # Where this run did nothing, doing it again would not help.
        if _kept(target) > before:
            _tell_what_is_kept(target)
        raise
    except BaseException:
        _tell_what_is_kept(target)
        raise
    return Outcome(
        target=target,
        outline=made.outline,
        guessed=stack.guessed,
        report=made.report,
        networks=_save(made.networks, order),
        failures=made.failures,
        missing=made.missing,
    )


def _kept(target: Path) -> int:
    """Planes that an unfinished run has finished."""
    from napari_zssr.execution.finish import part_folder
    from napari_zssr.execution.ledger import Ledger

    part = part_folder(target)
    return len(Ledger(part).finished()) if part.is_dir() else 0


def _tell_what_is_kept(target: Path) -> None:
    """Say how a run that ended early can go on."""
    from napari_zssr.execution.finish import part_folder

    count = _kept(target)
    if count:
        planes = "1 plane is" if count == 1 else f"{count} planes are"
        console.note(
            f"{planes} finished and kept in {part_folder(target)}; run the same again "
            "to go on."
        )


def _check_networks(path: Path, order: Order) -> None:
    """Refuse before the run a file of networks that could not be written after it."""
    from napari_zssr.zssr.checkpoint import check_networks_file
    from napari_zssr.zssr.kinds import KINDS

    if not KINDS[order.config.network].is_trained:
        raise InputError(
            f"The preset {order.config.preset!r} trains no networks that could be "
            "saved; choose another one."
        )
    check_networks_file(path, order.overwrite)


def _save(networks: Any, order: Order) -> Path | None:
    """File of networks; None where none is wanted or nothing was learned."""
    from napari_zssr.zssr.checkpoint import write_networks

    if order.networks is None or not networks:
        return None
    return write_networks(order.networks, networks, overwrite=order.overwrite)
