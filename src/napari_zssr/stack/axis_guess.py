"""Which axis is which, where an image does not name its axes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import DTypeLike

from napari_zssr.errors import InputError
from napari_zssr.stack.axis_names import LETTERS

# A leading axis of at most so many is taken for channels.
SMALL = 4
# A last axis of at most so many is never taken for X.
FEW = 6


def guess_axes(shape: Sequence[int], dtype: DTypeLike) -> str:
    """Guess the axes of an unlabelled image.

    Parameters
    ----------
    shape : sequence of int
        Two to five axes, or six with RGB samples last.
    dtype : dtype
        A last axis of 3 or 4 of uint8 is taken for RGB(A) samples.

    Raises
    ------
    InputError
        Too few or too many axes, or a short last axis that could be X as well.
    """
    sizes = tuple(shape)
    if len(sizes) < 2:
        raise InputError(f"The image has shape {sizes}; an image needs at least Y, X.")
    if len(sizes) == 2 or sizes[-1] > FEW:
        return _leading(sizes[:-2], "TZC") + "YX"
    if min(sizes[-3:-1]) <= max(FEW, 2 * sizes[-1]):
        raise _undecided(sizes)
    if np.dtype(dtype) == np.uint8 and sizes[-1] in {3, 4}:
        return _leading(sizes[:-3], "TZC") + "YXS"
    return _leading(sizes[:-3], "TZ") + "YXC"


def settle_axes(found: str, shape: Sequence[int], dtype: DTypeLike) -> tuple[str, bool]:
    """Axes of an image whose letters are not all known, such as ``"QYX"``.

    Parameters
    ----------
    found : str
        Letters that it states, any of them; empty when it states none.
    shape : sequence of int
        Size along each axis.
    dtype : dtype
        Type of the pixels.

    Returns
    -------
    tuple of (str, bool)
        Letters of TCZYXS, and whether some were guessed.

    Raises
    ------
    InputError
        They cannot be told.
    """
    known = set(found) & set(LETTERS)
    if not known:
        return guess_axes(shape, dtype), True
    unknown = [i for i, letter in enumerate(found) if letter not in LETTERS]
    missing = [letter for letter in "YX" if letter not in known]
    if not unknown and not missing:
        return found, False
    letters = list(found)
    # Rows and columns are the last of the axes without a name.
    split = len(unknown) - len(missing)
    if split < 0:
        raise _misunderstood(found)
    for i, letter in zip(unknown[split:], missing, strict=True):
        letters[i] = letter
    if "X" in missing and shape[unknown[-1]] <= FEW:
        raise _undecided(tuple(shape))
    others = unknown[:split]
    free = "".join(a for a in "TZC" if a not in known)
    if len(others) > len(free):
        raise _misunderstood(found)
    last = len(shape) - 1
    sizes = [1 if i == last and shape[i] <= FEW else shape[i] for i in others]
    named = _leading(sizes, free)
    for i, letter in zip(others, named, strict=True):
        letters[i] = letter
    return "".join(letters), True


def guess_message(axes: str, shape: Sequence[int]) -> str:
    """Say which axes were guessed, and how to name others.

    Parameters
    ----------
    axes : str
        Letters of the axes.
    shape : sequence of int
        Size along each axis.
    """
    sizes = " x ".join(str(size) for size in shape)
    colours = axes.endswith("C") and shape[-1] in {3, 4}
    example = f"; colours are {axes[:-1]}S" if colours else ""
    return (
        f"Axes guessed as {axes} ({sizes}); if they are others, name them by axes=, "
        f"--axes or in the form{example}."
    )


def _leading(sizes: Sequence[int], free: str) -> str:
    """Letters for axes besides Y and X, from those that are not taken yet."""
    if len(sizes) > len(free):
        raise InputError(
            "The image's axes are too many to guess; name them, for example "
            "axes='TCZYX'."
        )
    small = [size <= SMALL and "C" in free for size in sizes]
    if len(sizes) == 3:
        return "TZC" if small[2] and not small[1] else "TCZ"
    if len(sizes) == 2 and any(small):
        other = free.replace("C", "")[-1]
        return f"{other}C" if small[1] else f"C{other}"
    if len(sizes) == 1:
        return "C" if small[0] else "Z" if "Z" in free else free[0]
    return free[: len(sizes)]


def _undecided(shape: tuple[int, ...]) -> InputError:
    ndim = len(shape)
    return InputError(
        f"The image has shape {shape}, and whether the last axis of {shape[-1]} is X "
        f"or channels cannot be told; name the axes, for example "
        f"axes='{'TCZYX'[-ndim:]}' or axes='{'TZYXC'[-ndim:]}'."
    )


def _misunderstood(found: str) -> InputError:
    return InputError(
        f"The axes {found!r} that the image states are not understood; name them, for "
        "example axes='TCZYX'."
    )
