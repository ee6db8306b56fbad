"""The tables of the documentation, measured on images whose truth is known."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from pathlib import Path

from benchmarks.job import SEEDS as DEFAULT_SEEDS
from benchmarks.job import Job
from benchmarks.table import Table, save
from napari_zssr.config import BALANCED, Config, change
from napari_zssr.errors import InputError
from napari_zssr.progress import Event

SETS: Mapping[str, str] = {
    "Set5": "photographs:photographs",
    "Set14": "photographs:photographs",
    "BSD100_odd": "photographs:photographs",
    "gaussian": "photographs:gaussian_kernels",
    "table2": "blurred:table_2",
    "table3": "unknown:table_3",
    "mzsr": "mzsr:mzsr",
    "start": "starts:starts",
    "invention": "invention:invention",
    "wrong-settings": "wrong_settings:wrong_settings",
    "caco": "microscopes:confocal_pair",
    "fmd": "microscopes:noisy_captures",
    "stacks": "stacks:stacks",
    "axial": "axial:axial",
    "choices": "choices:choices",
    "speed": "cost:speed",
    "memory": "cost:memory",
    "cost": "estimated_time:estimated_time",
    "invariants": "promises:invariants",
    "files": "round_trip:files",
    "large": "to_disk:large",
    "overhead": "to_disk:overhead",
    "kill": "to_disk:kill",
    "cluster": "to_disk:cluster",
}


def run_benchmark(
    data: str | Path,
    *,
    set_name: str = "Set5",
    factor: float | tuple[float, float] | None = None,
    config: Config = BALANCED,
    output: str | Path | None = None,
    limit: int | None = None,
    subset: str = "all",
    plane_px: int | None = None,
    configs: Sequence[Config] = (),
    kernels: Sequence[str] = (),
    seeds: Sequence[int] = DEFAULT_SEEDS,
    on_event: Callable[[Event], object] | None = None,
) -> Table:
    """Measure one of the tables in `SETS`.

    Parameters
    ----------
    data : str or Path
        Folder with ``sr_benchmarks`` and ``microscopy`` inside, laid out as the
        documentation says; ``speed``, ``memory``, ``invariants``, ``invention``,
        ``large`` and ``overhead`` need nothing in it. For ``table2`` and ``table3``
        also simply a folder of fine images, PNG or TIFF.
    set_name : str
        One of `SETS`; upper and lower case are the same.
    factor : float or tuple of float, optional
        Enlargement along (Y, X); the config's unless given.
    config : Config
        Settings that are measured.
    output : str or Path, optional
        Folder for the table as CSV, Markdown and picture; nothing is written without.
    limit : int, optional
        Only the first images; for ``large`` and ``overhead`` the number of planes,
        for ``kill`` that of kills.
    subset : str
        For ``fmd``: ``all``, ``confocal`` (to choose settings on) or ``rest`` (to
        judge them on). For ``start``: ``all`` or one of its parts (``Set5``, ``Set14``,
        ``BSD100_odd``, ``gaussian``, ``plane``). For ``table3``: ``all`` or
        ``random``, only the degradation that was drawn for each image.
    plane_px : int, optional
        For ``memory``: side of one plane that goes from disk to disk, instead of one
        that is held. For ``start``: side of the generated plane.
    configs : sequence of Config
        For ``table2`` and ``table3``: settings measured beside each other, instead of
        `config`.
    kernels : sequence of str
        For ``table2``: kernels that each of them is given: ``bicubic``, ``estimate``,
        ``true`` (the one that was drawn) or ``gaussian:SIGMA``; all but ``estimate``,
        with a sigma of 1.1, unless said.
    seeds : sequence of int
        For ``table2`` and ``start`` (kernels) and ``table3`` (its first: which
        degradation, and the noise).
    on_event : callable, optional
        Called with every event of the engine.

    Returns
    -------
    Table

    Raises
    ------
    InputError
        Unknown set or subset, missing images.
    """
    name = _known_set(set_name)
    if factor is not None:
        config = change(config, factor=factor)
        configs = [change(one, factor=factor) for one in configs]
    if limit is not None and limit < 1:
        raise InputError(f"Limit is {limit}; give a whole number from 1 up.")
    if len(seeds) == 0:
        raise InputError("No seed was given; give for example 0.")
    if plane_px is not None and plane_px < 1:
        raise InputError(f"Plane is {plane_px} px; give a whole number from 1 up.")
    job = Job(
        data=Path(data),
        set_name=name,
        config=configs[0] if configs else config,
        limit=limit,
        subset=subset,
        plane_px=plane_px,
        configs=tuple(configs),
        kernels=tuple(kernels),
        seeds=tuple(seeds),
        on_event=on_event,
    )
    module, function = SETS[name].split(":")
    measure: Callable[[Job], Table] = getattr(
        import_module(f"benchmarks.{module}"), function
    )
    table = measure(job)
    return table if output is None else save(table, Path(output), job.stem)


def _known_set(name: str) -> str:
    for known in SETS:
        if known.lower() == name.lower():
            return known
    raise InputError(
        f"Benchmark set {name!r} is not known; choose one of {', '.join(SETS)}."
    )
