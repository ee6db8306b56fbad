"""From networks to plain data and back."""

from __future__ import annotations

import torch
from torch import nn

from napari_zssr.config import Config
from napari_zssr.errors import InputError
from napari_zssr.zssr.arrayfile import WAY_OUT
from napari_zssr.zssr.network import Block, PaperNetwork, ResidualNetwork
from napari_zssr.zssr.ridge import RidgeFilter
from napari_zssr.zssr.saved import Checkpoint, Weights


def checkpoint_of(
    network: nn.Module,
    config: Config,
    samples: int,
    *,
    began: str = "",
    further: Checkpoint | None = None,
) -> Checkpoint | None:
    """Copy of a trained network on the CPU; None where there is nothing to start from.

    Parameters
    ----------
    network : Module
    config : Config
        It was trained with.
    samples : int
        Channels of the plane.
    began : str
        What its training began from.
    further : Checkpoint, optional
        The network for what it has enlarged.
    """
    if isinstance(network, ResidualNetwork):
        width = network.head.out_channels
        dilations = tuple(b.dilation for b in network.body if isinstance(b, Block))
        base = network.base is not None
    elif isinstance(network, PaperNetwork):
        width, dilations = network.width, ()
        base = False
    else:
        return None
    return Checkpoint(
        network=config.network,
        width=width,
        dilations=dilations,
        samples=samples,
        factors=config.factors,
        ratio=network.ratio,
        base=base,
        kernel=config.kernel.to_dict(),
        weights=_arrays(network),
        began=began,
        further=further,
    )


def restored(saved: Checkpoint) -> nn.Module:
    """A network as it was saved, on the CPU.

    Raises
    ------
    InputError
        The weights are not those of such networks.
    """
    # No weights are drawn that would be thrown away.
    with torch.device("meta"):
        network = _empty(saved)
    tensors = {name: torch.tensor(array) for name, array in saved.weights.items()}
    try:
        network.load_state_dict(tensors, assign=True)
    except RuntimeError as error:
        raise InputError(
            f"The saved networks are not what their file tells of them; {WAY_OUT}."
        ) from error
    return network


def _empty(saved: Checkpoint) -> nn.Module:
    if saved.network == "paper":
        return PaperNetwork(saved.samples, width=saved.width)
    return ResidualNetwork(
        saved.weights["head.weight"].shape[1],
        saved.ratio,
        width=saved.width,
        dilations=saved.dilations,
        base=RidgeFilter(saved.ratio) if saved.base else None,
    )


def _arrays(network: nn.Module) -> Weights:
    """Weights of a network, apart from it."""
    return {
        name: tensor.detach().cpu().numpy().copy()
        for name, tensor in network.state_dict().items()
    }
