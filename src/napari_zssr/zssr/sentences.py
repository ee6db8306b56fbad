"""What is said of a plane. No torch in here."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from napari_zssr.zssr.gain import Gain

CONSTANT = "The plane is constant and stays so."
NOT_SAVED = "No networks were saved for this channel; bicubic was returned."


def too_small(height: int, width: int, smallest: int) -> str:
    """Of a plane that leaves nothing to learn from."""
    return (
        f"The plane of {height} x {width} pixels is too small to learn from (under "
        f"{smallest}); bicubic was returned."
    )


def gained(gain: Gain, *, trained: bool, saved: bool) -> str:
    """Of a plane that came out better than bicubic, or was asked for anyway."""
    found = f"{gain.decibel:.2f} +- {gain.error_decibel:.2f} dB over bicubic"
    if not trained:
        return (
            f"The saved networks, not trained further, gained {found} on regions of "
            "this image."
        )
    began = ", which began from saved networks" if saved else ""
    return f"Gained {found} on regions held out from training{began}."


def nothing_gained(gain: Gain, *, trained: bool) -> str:
    """Of a plane that came back as bicubic."""
    found = f"{gain.decibel:+.2f} +- {gain.error_decibel:.2f} dB on regions"
    if not trained:
        return (
            f"The saved networks, not trained further, gained nothing here ({found} of "
            "this image); bicubic was returned."
        )
    return (
        f"Nothing to gain here ({found} held out from training); bicubic was returned."
    )
