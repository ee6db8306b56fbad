"""What is asked of a benchmark, where its images lie, and one run of the engine."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from napari_zssr import api
from napari_zssr.checks import LEARNED, RANDOM
from napari_zssr.config import PRESETS, Config, change
from napari_zssr.errors import InputError
from napari_zssr.imaging.resample import imresize
from napari_zssr.io.read import read
from napari_zssr.progress import Event, Progress, drain
from napari_zssr.zssr.training_plan import expected_plans

T = TypeVar("T")

SEEDS = (0, 1, 2)


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What one benchmark is asked to do.

    Attributes
    ----------
    data : Path
        Folder of the images.
    set_name : str
        Name of the set.
    config : Config
        Settings that are measured.
    limit : int, optional
        Only the first images.
    subset : str
        Part of the set.
    plane_px : int, optional
        Side of the plane, for the sets ``memory`` and ``start``.
    configs : tuple of Config
        For ``table2`` and ``table3``: settings measured beside each other; `config`
        alone unless given.
    kernels : tuple of str
        For ``table2``: kernels that each of them is given.
    seeds : tuple of int
        For ``table2``, ``table3`` and ``start``: seeds of what befalls the images.
    on_event : callable, optional
        Called with every event.
    """

    data: Path
    set_name: str
    config: Config
    limit: int | None = None
    subset: str = "all"
    plane_px: int | None = None
    configs: tuple[Config, ...] = ()
    kernels: tuple[str, ...] = ()
    seeds: tuple[int, ...] = SEEDS
    on_event: Callable[[Event], object] | None = None

    @property
    def measured(self) -> tuple[Config, ...]:
        """Settings that are measured beside each other."""
        return self.configs or (self.config,)

    @property
    def factors(self) -> tuple[float, float]:
        """Enlargement along (Y, X)."""
        return self.config.factors

    @property
    def stem(self) -> str:
        """Name of the files that are written."""
        parts = [self.set_name.lower(), f"x{factor_text(self.factors)}"]
        presets = "-".join(config.preset for config in self.measured)
        parts += [presets, f"noise-{self.config.noise}"]
        parts += [] if _usual(self.config) else [f"start-{_start_name(self.config)}"]
        parts += [] if self.plane_px is None else [f"plane-{self.plane_px}"]
        return "_".join(parts if self.subset == "all" else [*parts, self.subset])

    @property
    def title(self) -> str:
        """One line on set and settings."""
        c = self.config
        if self.configs:
            presets = ", ".join(config.preset for config in self.configs)
            return (
                f"{self.set_name} x{factor_text(self.factors)}, presets {presets}, "
                f"noise {c.noise}, seed {c.seed}"
            )
        return (
            f"{self.set_name} x{factor_text(self.factors)}, preset {c.preset} "
            f"({_training(c)}), noise {c.noise}, seed {c.seed}"
        )

    def each(self, items: Sequence[T]) -> Iterator[T]:
        """The first `limit` items, announced one by one."""
        chosen = items[: self.limit]
        for number, item in enumerate(chosen):
            name = item.stem if isinstance(item, Path) else str(item)
            self.announce(number, len(chosen), name)
            yield item

    def announce(self, step: int, total: int, message: str) -> None:
        """Tell the listener which image is measured."""
        if self.on_event is not None:
            self.on_event(
                Progress(stage="benchmark", step=step, total=total, message=message)
            )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Run:
    """One result of the engine.

    Attributes
    ----------
    image : ndarray
        Enlarged image, axes and dtype of the input.
    seconds : float
        Wall-clock time of the whole call.
    returned : str
        What the engine gave back: ``learned``, ``bicubic``, ``constant``; joined
        where its planes differ.
    learned : float
        Share of the planes that are ``learned``.
    kernels : tuple of dict
        Kernels that were used, where the engine reports them.
    """

    image: NDArray[Any]
    seconds: float
    returned: str
    learned: float
    kernels: tuple[dict[str, Any], ...] = ()


def enlarge(
    image: NDArray[Any],
    config: Config,
    *,
    axes: str = "YX",
    on_event: Callable[[Event], object] | None = None,
    **changes: Any,
) -> Run:
    """Run the engine on an array and time it.

    Parameters
    ----------
    image : ndarray
        Array with the given axes.
    config : Config
        Settings.
    axes : str
        Letters of the axes.
    on_event : callable, optional
        Called with every event.
    **changes
        Settings that differ from `config`.
    """
    wanted = change(config, **changes)
    start = time.perf_counter()
    upscaled = drain(api.upscale_steps(image, wanted, axes=axes), on_event)
    seconds = time.perf_counter() - start
    kinds = [plane.returned for plane in upscaled.report.planes]
    return Run(
        image=upscaled.image,
        seconds=seconds,
        returned=", ".join(dict.fromkeys(kinds)),
        learned=kinds.count("learned") / len(kinds),
        kernels=tuple(getattr(upscaled.report, "kernels", ())),
    )


def from_learned(config: Config, **changes: Any) -> Config:
    """Settings with a pretrained start: the file they name, or else the shipped one.

    Parameters
    ----------
    config : Config
    **changes
        Further settings that differ.
    """
    start = LEARNED if config.start == RANDOM else config.start
    return change(config, start=start, **changes)


def bicubic(image: NDArray[Any], factors: tuple[float, float]) -> NDArray[Any]:
    """(Y, X) or (Y, X, S) enlarged or, antialiased, reduced, in its own dtype."""
    planes = np.moveaxis(image, -1, 0) if image.ndim == 3 else image
    large = imresize(planes, factors)
    return as_dtype(
        np.moveaxis(large, 0, -1) if image.ndim == 3 else large, image.dtype
    )


def as_dtype(image: NDArray[Any], dtype: np.dtype[Any]) -> NDArray[Any]:
    """Rounded and clipped to an integer dtype; merely converted to a float one."""
    if np.issubdtype(dtype, np.integer):
        limits = np.iinfo(dtype)
        image = np.clip(np.round(image), limits.min, limits.max)
    return image.astype(dtype)


def load(path: Path) -> NDArray[Any]:
    """Pixels of an image file, alpha dropped."""
    stack = read(path)
    image: NDArray[Any] = np.asarray(stack.data)
    return image[..., :3] if stack.axes.endswith("S") else image


def listed(folder: Path, pattern: str) -> list[Path]:
    """Files of a folder in alphabetical order.

    Raises
    ------
    InputError
        There are none.
    """
    found = sorted(folder.glob(pattern))
    if not found:
        raise InputError(
            f"No {pattern} lies in {folder}; give the folder that holds sr_benchmarks "
            "and microscopy."
        )
    return found


def whole_factor(factors: tuple[float, float], what: str) -> int:
    """The one whole factor that a set needs.

    Raises
    ------
    InputError
        The factors differ or are fractions.
    """
    if factors[0] != factors[1] or not float(factors[0]).is_integer():
        raise InputError(
            f"{what} needs one whole factor; found {factors}; give for example 2."
        )
    return int(factors[0])


def _training(config: Config) -> str:
    """What is trained, from where and how long."""
    if config.start == RANDOM:
        _, plan = expected_plans(config, (), 1)
        return f"{config.network}, {config.steps} steps, {len(plan.stages)} factor(s)"
    started = f"{config.network}, start {_start_name(config)}"
    steps = min(config.steps, config.learned_steps)
    if config.start_file is None:
        return f"{started}, {steps} steps"
    return f"{started}, {config.steps} steps, {steps} if it is a pretrained start"


def _start_name(config: Config) -> str:
    return config.start if config.start_file is None else Path(config.start).stem


def _usual(config: Config) -> bool:
    """Whether training starts as the preset has it."""
    base = PRESETS.get(config.preset)
    return config.start == (RANDOM if base is None else base.start)


def factor_text(factors: tuple[float, float]) -> str:
    """Short form: ``2``, ``1.5`` or ``1-2`` for (Y, X)."""
    return "-".join(f"{f:g}" for f in dict.fromkeys(factors))
