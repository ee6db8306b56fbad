"""The kinds of networks: what is peculiar to each, in one table. No torch in here.

A further kind is one more entry here, and a module that `zssr.networks` makes for it;
docs/architecture.md lists what else names it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Schedule = Literal["closed form", "one cycle", "plateau"]


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkKind:
    """What is peculiar to a kind of network.

    Attributes
    ----------
    name : value of the setting `network`
    presets : whose networks these are, for messages
    schedule : {"closed form", "one cycle", "plateau"}; how it is trained: fitted at
        once; Muon and Adam for one cycle, with averaged weights; Adam at a rate
        that falls when the error stalls
    fine_grid : whether it works on the interpolated plane, at ratio (1, 1)
    base : whether it may stand on a closed-form filter
    random_fathers : whether it draws fathers afresh as it trains
    held_out : held-out regions, and the share of the plane that they cover
    father_planes : memory of all fathers of a plane, in planes
    """

    name: str
    presets: str
    schedule: Schedule
    fine_grid: bool = False
    base: bool = False
    random_fathers: bool = False
    held_out: tuple[int, float] = (49, 0.07)
    father_planes: float = 24.0

    @property
    def is_trained(self) -> bool:
        """Whether it takes training steps, and can be saved."""
        return self.schedule != "closed form"

    def multiply_adds(self, width: int, blocks: int) -> float:
        """Multiply-adds for one pixel of the grid that it works on."""
        if not self.is_trained:
            return 121.0 * 4
        layers = 6 if self.fine_grid else 2 * blocks
        return 9.0 * width**2 * layers


RIDGE = NetworkKind(
    name="ridge",
    presets="of the preset instant",
    schedule="closed form",
    # A filter of few weights does not miss a fifth of the plane, and many regions make
    # its gain more certain.
    held_out=(100, 0.2),
)
RESIDUAL = NetworkKind(
    name="residual",
    presets="of the presets fast and balanced",
    schedule="one cycle",
    base=True,
)
PAPER = NetworkKind(
    name="paper",
    presets="of the preset paper",
    schedule="plateau",
    fine_grid=True,
    random_fathers=True,
    father_planes=1.5,
)
KINDS = {kind.name: kind for kind in (RIDGE, RESIDUAL, PAPER)}
