"""``napari-zssr upscale``: enlarge image files."""

from __future__ import annotations

from pathlib import Path

import typer

from napari_zssr.cli import console, options
from napari_zssr.cli.batch import Batch
from napari_zssr.cli.blur import NOTHING_SAID, Blur, takes_blur, told_of
from napari_zssr.cli.enlarge import (
    Order,
    Outcome,
    Source,
    default_output,
    enlarge,
    sources,
)
from napari_zssr.errors import InputError
from napari_zssr.stack.workers import Workers


@takes_blur
@options.takes_reading
def upscale(
    images: options.Inputs,
    output: options.Output = None,
    output_dir: options.OutputDir = None,
    ending: options.Ending = "ome.tif",
    factor: options.Factor = None,
    preset: options.Preset = "balanced",
    blur: Blur = NOTHING_SAID,
    noise: options.Noise = None,
    gradual: options.Gradual = None,
    back_projection: options.BackProjection = None,
    ensemble: options.Ensemble = None,
    start: options.Start = None,
    steps: options.TrainingSteps = None,
    learned_steps: options.LearnedSteps = None,
    strategy: options.Strategy = None,
    always: options.Always = False,
    seed: options.Seed = None,
    device: options.Device = None,
    precision: options.Precision = None,
    tile_px: options.TilePx = None,
    dtype: options.OutputType = None,
    reading: options.Reading = options.AS_THE_FILE_SAYS,
    labels: options.Labels = False,
    fill_nonfinite: options.FillNonfinite = False,
    save_networks: options.SaveNetworks = None,
    overwrite: options.Overwrite = False,
    skip_existing: options.SkipExisting = False,
    continue_on_error: options.ContinueOnError = True,
    report: options.ReportFile = None,
    workers: options.Processes = 0,
    scheduler: options.Scheduler = "",
    threads: options.Threads = None,
    retries: options.Retries = 1,
    shard: options.Shard = None,
    json: options.Json = False,
) -> int:
    """Enlarge images along Y and X, by networks trained on each image alone.

    A run that was stopped or killed goes on where it was when it is started again.
    """
    config = options.settings(
        preset,
        factor,
        kernel=blur.spec(),
        noise=noise,
        gradual=gradual,
        back_projection=back_projection,
        ensemble=ensemble,
        start=start,
        steps=steps,
        learned_steps=learned_steps,
        strategy=strategy,
        always=always or None,
        seed=seed,
        device=device,
        precision=precision,
        tile_px=tile_px,
        dtype=dtype,
        nonfinite="fill" if fill_nonfinite else None,
    )
    order = Order(
        config=config,
        workers=Workers(processes=workers, scheduler=scheduler, retries=retries),
        threads=threads,
        shard=options.parse_shard(shard),
        overwrite=overwrite,
        networks=save_networks,
        reading=reading,
        labels=labels,
        quiet=json,
    )
    pairs = _pairs(expanded(images), output, output_dir, order, ending)
    if len(pairs) == 1 and report is None and not skip_existing:
        return _one(*pairs[0], order, as_json=json)
    _check_batch(pairs, output, save_networks)
    batch = Batch(
        order,
        skip_existing=skip_existing,
        continue_on_error=continue_on_error,
        report=report,
    )
    return batch.run(pairs, as_json=json)


def expanded(images: list[Path]) -> list[Path]:
    """Each file once, with those of the patterns that no shell has filled in."""
    found: list[Path] = []
    for image in images:
        pattern = image.name
        if image.exists() or not any(mark in pattern for mark in "*?["):
            found.append(image)
            continue
        matching = sorted(image.parent.glob(pattern))
        if not matching:
            raise InputError(f"No file fits {str(image)!r}; check folder and ending.")
        found += matching
    return list(dict.fromkeys(found))


def _pairs(
    images: list[Path],
    output: Path | None,
    output_dir: Path | None,
    order: Order,
    ending: str,
) -> list[tuple[Source, Path]]:
    """Images and what they become, results of the others among them left out."""
    pairs = []
    for path in images:
        for source in sources(path, order.reading.image):
            target = _target(source, output, order, ending.lstrip("."))
            if output is None and output_dir is not None:
                target = output_dir / target.name
            pairs.append((source, target))
    if output_dir is not None:
        _make_folder(output_dir)
    results = {target: each.path for each, target in pairs if each.path != target}
    for path in images:
        if path in results:
            console.note(
                f"{path} is left out: it is what {results[path].name} becomes."
            )
    return [pair for pair in pairs if pair[0].path not in results]


def _target(source: Source, output: Path | None, order: Order, ending: str) -> Path:
    """File of a result; several images of a file have their labels in the name."""
    from napari_zssr.files.contents import ALL, labelled_path

    if output is None:
        return default_output(source.path, order.config, ending, source.label)
    if source.label and order.reading.image == ALL:
        return labelled_path(output, source.label)
    return output


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"The folder {folder} cannot be made ({error.strerror}); give another one."
        ) from error


def _check_batch(
    pairs: list[tuple[Source, Path]], output: Path | None, networks: Path | None
) -> None:
    """Refuse what can only be meant for one image."""
    option = "-o" if output is not None else "--save-networks"
    several = len({source.path for source, _ in pairs}) > 1
    if (several and output is not None) or (len(pairs) > 1 and networks is not None):
        raise InputError(
            f"{option} names one file, but {len(pairs)} images are given; give one "
            "image, or --output-dir instead of -o."
        )
    known: dict[Path, Source] = {}
    for source, target in pairs:
        if target in known:
            raise InputError(
                f"{known[target]} and {source} would both become {target.name}; "
                "rename one of them, or enlarge them into different folders."
            )
        known[target] = source


def _one(image: Source, target: Path, order: Order, *, as_json: bool) -> int:
    made = enlarge(image, target, order)
    if as_json:
        console.echo_json(made.to_dict())
    else:
        _tell(made, order)
    return 1 if made.failures else 0


def _tell(made: Outcome, order: Order) -> None:
    if made.missing:
        for _, sentence in made.failures:
            console.note(sentence)
        typer.echo(_unfinished(made))
        return
    typer.echo(f"{made.target}: {console.describe(made.outline)}")
    typer.echo(made.report.sentence)
    for sentence in _blurs(made, order):
        typer.echo(sentence)
    if order.networks is not None:
        told = (
            "what was learned" if made.networks else "not written, nothing was learned"
        )
        typer.echo(f"{order.networks}: {told}")


def _blurs(made: Outcome, order: Order) -> list[str]:
    """What was found of the blur, where something was said of it."""
    if order.config.kernel.kind == "bicubic":
        return []
    told = [str(kernel["sentence"]) for kernel in made.report.kernels]
    names = [channel.name for channel in made.outline.channels]
    return [
        f"Blur of {name}: {sentence}" if name else f"Blur: {sentence}"
        for name, sentence in told_of(told, names)
    ]


def _unfinished(made: Outcome) -> str:
    planes = made.missing + len(made.report.planes)
    count = len(made.report.planes)
    done = f"{count} of {planes} planes {'is' if count == 1 else 'are'} finished"
    if made.failures:
        return (
            f"{done}, {len(made.failures)} failed; what is finished is kept in "
            f"{made.target.name}.part, run the same again to try the others."
        )
    return f"{done}; the last shard to finish completes {made.target}."
