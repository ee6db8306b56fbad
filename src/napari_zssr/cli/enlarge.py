"""Enlarges one image file into another, whatever its size."""

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
    from napari_zssr.stack.image import ImageStack, Outline
    from napari_zssr.stack.report import Report

SUFFIXES = (".tif", ".tiff", ".ome", ".companion", ".zarr", ".png", ".jpg", ".jpeg")


@dataclass(frozen=True, slots=True)
class Source:
    """One image of a file, the largest if `image` is None.

    The `label` stands for it in the name of the result; empty if the file has only one.
    """

    path: Path
    image: int | str | None = None
    label: str = ""

    def __str__(self) -> str:
        return f"{self.path} {self.label}".rstrip()


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What to do with each image; `networks` is the file to save trained ones in."""

    config: Config
    workers: Workers = IN_PROCESS
    threads: int | None = None
    shard: tuple[int, int] = (1, 1)
    overwrite: bool = False
    networks: Path | None = None
    reading: options.Reading = options.DEFAULT_READING
    labels: bool = False
    quiet: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """Result of one image, at `target` when no plane is missing any more.

    `guessed` are the axes; `failures` are numbers of planes, and why they failed.
    """

    target: Path
    outline: Outline
    guessed: bool
    report: Report
    networks: Path | None = None
    failures: tuple[tuple[int, str], ...] = ()
    missing: int = 0

    def to_dict(self) -> dict[str, Any]:
        """Content of ``--json``."""
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
    """Images of a file by index, name or "all".

    A file that cannot be read counts as one: reading it raises the error.
    """
    from napari_zssr.io.contents import ALL, choose, file_labels
    from napari_zssr.io.read import list_images

    if image is None:
        return [Source(path)]
    try:
        entries = list_images(path)
        chosen = entries if image == ALL else (choose(entries, image, path.name)[0],)
    except InputError:
        return [Source(path, image)]
    if len(entries) == 1:
        return [Source(path, 0)]
    labels = file_labels(entries)
    return [Source(path, entry.index, labels[entry.index]) for entry in chosen]


def default_output(
    image: Path, config: Config, ending: str = "ome.tif", label: str = ""
) -> Path:
    """``cells.ome.tif`` becomes ``cells_x2.ome.tif`` in the same folder."""
    stem = image.name
    while Path(stem).suffix.lower() in SUFFIXES:
        stem = Path(stem).stem
    parts = "_".join(filter(None, (stem, label, config.factor_text)))
    return image.with_name(f"{parts}.{ending}")


def enlarge(image: Source, target: Path, request: Request) -> Result:
    """Read, enlarge and write one image."""
    _check_files(image.path, target, request)
    is_distributed = request.workers != IN_PROCESS or request.shard != (1, 1)
    if request.labels and (is_distributed or request.networks is not None):
        raise InputError(
            "Labels are enlarged without training; leave out --workers, "
            "--scheduler, --shard and --save-networks."
        )
    stack = read_image(
        image.path,
        request.reading,
        image=image.image,
        quiet=request.quiet,
        lazy=True,
        labels=request.labels,
    )
    if request.labels:
        return _enlarge_labels(stack, target, request)
    return _enlarge_to_disk(stack, target, request)


def read_image(
    path: Path,
    reading: options.Reading = options.DEFAULT_READING,
    *,
    image: int | str | None = None,
    quiet: bool = False,
    lazy: bool = False,
    labels: bool = False,
) -> ImageStack:
    """Read an image, by default the one that `reading` names.

    Unless quiet, what was assumed of it is printed.
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
        for message in stack.messages:
            console.note(message)
    return stack


def _check_files(image: Path, target: Path, request: Request) -> None:
    """Refuse output that could not be written in the end."""
    from napari_zssr.atomic import check_name
    from napari_zssr.execution.ledger import part_folder
    from napari_zssr.io.write import check_output
    from napari_zssr.zssr.checkpoint import check_networks_file
    from napari_zssr.zssr.kinds import KINDS

    check_name(target)
    if target.exists() and image.exists() and target.samefile(image):
        raise InputError(
            f"The output {str(target)!r} is the input itself; give another name with "
            "-o."
        )
    # The run itself decides whether an unfinished one can be resumed.
    check_output(target, overwrite=request.overwrite or part_folder(target).is_dir())
    if request.networks is not None:
        if not KINDS[request.config.network].is_trained:
            raise InputError(
                f"The preset {request.config.preset!r} trains no networks; choose "
                "another one, or leave out --save-networks."
            )
        check_networks_file(request.networks, request.overwrite)


def _enlarge_labels(stack: ImageStack, target: Path, request: Request) -> Result:
    """Enlarge labels by nearest pixels, without training."""
    from napari_zssr.label_images import SENTENCE, write_enlarged_labels
    from napari_zssr.stack.image import outline_of
    from napari_zssr.stack.report import Report, versions

    started = time.monotonic()
    result = write_enlarged_labels(
        target, stack, request.config.factors, overwrite=request.overwrite
    )
    report = Report(
        planes=(),
        seconds=time.monotonic() - started,
        device="cpu",
        precision=result.data.dtype.name,
        seed=request.config.seed,
        versions=dict(versions()),
        input_name=stack.name,
        input_checksum=stack.checksum,
        sentence=SENTENCE,
    )
    return Result(
        target=target, outline=outline_of(result), guessed=stack.guessed, report=report
    )


def _enlarge_to_disk(stack: ImageStack, target: Path, request: Request) -> Result:
    from napari_zssr.execution.ledger import Ledger, part_folder
    from napari_zssr.execution.run import upscale_to_disk_steps
    from napari_zssr.zssr.checkpoint import write_networks

    steps = upscale_to_disk_steps(
        stack,
        request.config,
        target,
        workers=request.workers,
        threads=request.threads,
        shard=request.shard,
        overwrite=request.overwrite,
        keep_networks=request.networks is not None,
    )
    part = part_folder(target)
    before = len(Ledger(part).finished())
    try:
        written = console.follow(steps, quiet=request.quiet)
    except BaseException as error:
        count = len(Ledger(part).finished())
        # If this run was refused, running it again would not help.
        if count > (before if isinstance(error, InputError) else 0):
            planes = "1 plane is" if count == 1 else f"{count} planes are"
            console.note(
                f"{planes} finished and kept in {part}; run the same again to continue."
            )
        raise
    networks = None
    if request.networks is not None and written.networks:
        networks = write_networks(
            request.networks, written.networks, overwrite=request.overwrite
        )
    return Result(
        target=target,
        outline=written.outline,
        guessed=stack.guessed,
        report=written.report,
        networks=networks,
        failures=written.failures,
        missing=written.missing,
    )
