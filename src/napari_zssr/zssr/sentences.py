"""What is said of a plane. No torch in here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from napari_zssr.checks import LEARNED

if TYPE_CHECKING:
    from napari_zssr.zssr.gain import Gain

CONSTANT = "The plane is constant and stays so."
WITHOUT_SIGNAL = (
    "The plane shows nothing but noise; bicubic was returned, nothing was trained."
)
NOT_SAVED = "No networks were saved for this channel; bicubic was returned."
GENERATED = "the learned start (generated images only)"
ALONE = "Training begins from random weights: this image only."


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Where the networks of a plane come from.

    Attributes
    ----------
    saved : bool
        Whether they began as saved ones.
    shared : int
        Planes of the stack that they were learned from; 0 with networks of its own.
    trained : bool
        Whether they were trained on the plane itself.
    began : str
        What training began from, as `Beginning` has it.
    steps : int
        Training steps on the plane itself.
    """

    saved: bool = False
    shared: int = 0
    trained: bool = True
    began: str = ""
    steps: int = 0

    @property
    def applied(self) -> bool:
        """Whether saved networks or a learned start were used as they are."""
        return not (self.shared or self.trained)

    @property
    def applied_as_is(self) -> str:
        """What was used as it is, for the start of a sentence."""
        if self.began == LEARNED:
            return f"T{GENERATED[1:]}, not trained further,"
        return "The saved networks, not trained further,"

    @property
    def began_from(self) -> str:
        """Sentence on where training began, after others; empty for the usual."""
        if self.began == LEARNED and self.trained and not self.shared:
            return f" Training began from {GENERATED}, {self.steps} steps."
        return began_from(self.began)

    @property
    def on(self) -> str:
        """What training was done on, where it was not the plane alone."""
        if not self.shared:
            return ""
        then = ", then on this one" if self.trained else ""
        return f" on {self.shared} planes of the stack{then}"


def too_small(height: int, width: int, smallest: int) -> str:
    """Of a plane that leaves nothing to learn from."""
    return (
        f"The plane of {height} x {width} pixels is too small to learn from (under "
        f"{smallest}); bicubic was returned."
    )


def gained(gain: Gain, origin: Origin) -> str:
    """Of a plane that came out better than bicubic, or was asked for anyway."""
    found = f"{gain.decibel:.2f} +- {gain.error_decibel:.2f} dB over bicubic"
    if origin.applied:
        return f"{origin.applied_as_is} gained {found} on regions of this image."
    began = ", which began from saved networks" if origin.saved else ""
    return (
        f"Gained {found} on regions held out from training{origin.on}{began}."
        f"{origin.began_from}"
    )


def nothing_gained(gain: Gain, origin: Origin) -> str:
    """Of a plane that came back as bicubic."""
    found = f"{gain.decibel:+.2f} +- {gain.error_decibel:.2f} dB on regions"
    if origin.applied:
        return (
            f"{origin.applied_as_is} gained nothing here ({found} of this image); "
            "bicubic was returned."
        )
    return (
        f"Nothing to gain here ({found} held out from training{origin.on}); bicubic "
        f"was returned.{origin.began_from}"
    )


def began_from(began: str) -> str:
    """Of training, after other sentences: what it began from.

    Parameters
    ----------
    began : str
        As `Beginning` has it.
    """
    return f" Training began from {GENERATED}." if began == LEARNED else ""


def will_begin_from_saved(steps: int) -> str:
    """Of a run to come that starts from saved networks."""
    if steps == 0:
        return "Saved networks are used as they are."
    return "Training begins from saved networks."


def will_begin_from_learned(steps: int) -> str:
    """Of a run to come that starts from a learned start, at most so many steps."""
    if steps == 0:
        return f"T{GENERATED[1:]} is used as it is."
    return f"Training begins from {GENERATED}, at most {steps} steps."
