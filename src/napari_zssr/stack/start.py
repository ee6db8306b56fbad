"""The networks that every channel of an image starts from. No torch in here."""

from __future__ import annotations

from collections.abc import Sequence

from napari_zssr.config import Config
from napari_zssr.errors import InputError
from napari_zssr.zssr.begin import Start, foretold, start_of
from napari_zssr.zssr.learned import LearnedStart
from napari_zssr.zssr.saved import Checkpoint

KINDS = {
    "residual": "of the presets fast and balanced",
    "paper": "of the preset paper",
}


def starting_networks(
    config: Config, axes: str, shape: Sequence[int]
) -> tuple[Start | None, ...]:
    """What each channel of an image starts from; None is random weights.

    Parameters
    ----------
    config : Config
    axes : str
        Letters of the image's axes.
    shape : sequence of int
        Size along each of them.

    Raises
    ------
    InputError
        The file of networks is missing or damaged, or does not fit the image or the
        settings.
    """
    channels = shape[axes.index("C")] if "C" in axes else 1
    found = start_of(config)
    if isinstance(found, LearnedStart):
        _check_network("residual", config)
    if found is None or isinstance(found, LearnedStart):
        return (found,) * channels
    for one in found:
        if one is not None:
            _check_fits(one, config, _colours(axes, shape))
    if len(found) not in (1, channels):
        raise InputError(
            f"The file of networks holds those of {len(found)} channels, the image has "
            f"{channels}; give networks of {_one_or(channels)}."
        )
    return found if len(found) == channels else found * channels


def foretold_anywhere(config: Config) -> str:
    """What training will begin from, of images that are still to be read.

    Raises
    ------
    InputError
        The file of networks is missing or damaged.
    """
    found = start_of(config)
    if isinstance(found, tuple):
        return foretold(config, next(one for one in found if one is not None))
    return foretold(config, found)


def colour_count(samples: int) -> int:
    """Samples of a pixel without alpha."""
    return samples - 1 if samples in (2, 4) else samples


def _check_fits(one: Checkpoint, config: Config, colours: int) -> None:
    """Refuse networks that cannot do what the settings ask for."""
    _check_network(one.network, config)
    if one.samples != colours:
        raise InputError(
            f"The saved networks were trained on {_pixels(one.samples)}, the image has "
            f"{_pixels(colours)}; give networks of an image like this one."
        )
    if not _same_factors(one, config):
        y, x = one.factors
        raise InputError(
            f"The saved networks were trained for the factor {y:g} x {x:g}, which does "
            f"not serve {config.factors[0]:g} x {config.factors[1]:g}; choose that "
            "factor, or other networks."
        )


def _check_network(network: str, config: Config) -> None:
    if network != config.network:
        kind = KINDS.get(network, f"of an unknown kind ({network})")
        raise InputError(
            f"The saved networks are {kind}, the settings ask for those "
            f"{KINDS[config.network]}; choose the preset that they were saved with."
        )


def _colours(axes: str, shape: Sequence[int]) -> int:
    return colour_count(shape[axes.index("S")] if "S" in axes else 1)


def _one_or(channels: int) -> str:
    return "one channel" if channels == 1 else f"{channels} channels or of one"


def _pixels(colours: int) -> str:
    return "grey pixels" if colours == 1 else f"pixels of {colours} colours"


def _same_factors(one: Checkpoint, config: Config) -> bool:
    """Whether the networks serve the factors: one along the same axes, if residual.

    A residual network is applied until the factor is reached.
    """
    if one.network == "paper":
        return one.factors == config.factors
    return [f > 1 for f in one.factors] == [f > 1 for f in config.factors]
