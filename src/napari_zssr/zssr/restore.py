"""From networks to plain data and back."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from napari_zssr.config import Config
from napari_zssr.errors import InputError
from napari_zssr.imaging.noise import NoiseModel
from napari_zssr.zssr.arrayfile import WAY_OUT
from napari_zssr.zssr.network import PaperNetwork, ResidualNetwork
from napari_zssr.zssr.nonlocal_means import NonLocalMeans
from napari_zssr.zssr.ridge import RidgeFilter
from napari_zssr.zssr.saved import Checkpoint, Weights


def checkpoint_of(
    networks: Sequence[nn.Module], config: Config, samples: int, began: str = ""
) -> Checkpoint | None:
    """Copy of trained networks on the CPU; None where there is nothing to start from.

    Parameters
    ----------
    networks : sequence of Module
        Alike but for their weights.
    config : Config
        They were trained with.
    samples : int
        Channels of the plane.
    began : str
        What their training began from.
    """
    first = networks[0]
    if isinstance(first, ResidualNetwork):
        width, blocks = first.head.out_channels, len(first.body)
        base, guide = first.base is not None, first.guide is not None
    elif isinstance(first, PaperNetwork):
        width, blocks = first.width, config.blocks
        base = guide = False
    else:
        return None
    return Checkpoint(
        network=config.network,
        width=width,
        blocks=blocks,
        samples=samples,
        factors=config.factors,
        ratio=first.ratio,
        base=base,
        guide=guide,
        kernel=config.kernel.to_dict(),
        weights=tuple(_arrays(network) for network in networks),
        began=began,
    )


def restored(saved: Checkpoint, noise: NoiseModel) -> list[nn.Module]:
    """Networks as they were saved, on the CPU.

    Parameters
    ----------
    saved : Checkpoint
    noise : NoiseModel
        Noise of the plane that they are used on, which a guide smooths. A plane
        without noise is left as it is.

    Raises
    ------
    InputError
        The weights are not those of such networks.
    """
    try:
        return [_restored(saved, weights, noise) for weights in saved.weights]
    except RuntimeError as error:
        raise InputError(
            f"The saved networks are not what their file tells of them; {WAY_OUT}."
        ) from error


def _restored(saved: Checkpoint, weights: Weights, noise: NoiseModel) -> nn.Module:
    # No weights are drawn that would be thrown away.
    with torch.device("meta"):
        network = _empty(saved, noise)
    tensors = {name: torch.tensor(array) for name, array in weights.items()}
    network.load_state_dict(tensors, assign=True)
    return network


def _empty(saved: Checkpoint, noise: NoiseModel) -> nn.Module:
    if saved.network == "paper":
        return PaperNetwork(saved.samples, width=saved.width)
    return ResidualNetwork(
        saved.samples,
        saved.ratio,
        width=saved.width,
        blocks=saved.blocks,
        base=RidgeFilter(saved.ratio) if saved.base else None,
        guide=NonLocalMeans(noise) if saved.guide else None,
    )


def _arrays(network: nn.Module) -> Weights:
    """Weights of a network, apart from it."""
    return {
        name: tensor.detach().cpu().numpy().copy()
        for name, tensor in network.state_dict().items()
    }
