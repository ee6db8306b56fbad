"""What the samples of a TIFF page are: grey, channels, a palette's indices, colours."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray

from napari_zssr.errors import InputError
from napari_zssr.files import colour
from napari_zssr.stack.axes import Channel

_MIN_IS_WHITE, _RGB, _PALETTE, _CMYK, _YCBCR = 0, 2, 3, 5, 6
_LAB = {8: "CIELab", 9: "ICCLab"}
_NAMES = {_CMYK: "CMYK", _YCBCR: "YCbCr", **_LAB}
_INTENSITIES = {0, 1, 2, 4, 34892, 51177}
_JPEG = {6, 7, 33007, 34892}
_ALPHA = {1, 2}
# Their lookup tables say how intensities are shown.
_INSTRUMENTS = ("imagej", "ome", "lsm", "stk", "fluoview", "micromanager")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PageSamples:
    """How the values of a page are given out.

    Attributes
    ----------
    axes : str
        Letters of a page as it is given out.
    shape : tuple of int
        Its size along each of them.
    dtype : dtype
        Type of its values.
    convert : callable or None
        Takes an array with the samples last; a palette's indices have none.
    sample_axis : int or None
        Where the samples are stored, counted from the last axis.
    orientation : int
        1 to 8, as in TIFF.
    channels : tuple of Channel
        Names and colours of samples, or the colour of a lookup table.
    messages : tuple of str
        What was converted or assumed.
    """

    axes: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    convert: Callable[[NDArray[Any]], NDArray[Any]] | None = None
    sample_axis: int | None = None
    orientation: int = 1
    channels: tuple[Channel, ...] = ()
    messages: tuple[str, ...] = ()

    @property
    def as_stored(self) -> bool:
        """Whether pixels are given out as they are in the file."""
        return self.convert is None and self.orientation == 1

    def __call__(self, pixels: NDArray[Any]) -> NDArray[Any]:
        """Convert and turn a page, or an array whose last axes are those of a page."""
        if self.convert is not None:
            at = -1 if self.sample_axis is None else self.sample_axis
            pixels = np.moveaxis(self.convert(np.moveaxis(pixels, at, -1)), -1, at)
        if self.orientation == 1:
            return pixels
        y, x = (self.axes.index(letter) - len(self.axes) for letter in "YX")
        return colour.oriented(pixels, self.orientation, y, x)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Meaning:
    """What the samples of a pixel are; `count` is how many are given out."""

    letter: str = "S"
    count: int = 1
    convert: Callable[[NDArray[Any]], NDArray[Any]] | None = None
    dtype: Any = None
    channels: tuple[Channel, ...] = ()
    message: str = ""


def page_samples(
    page: tifffile.TiffPage, axes: str, shape: Sequence[int]
) -> PageSamples:
    """Find out what the samples of a page are.

    Parameters
    ----------
    page : TiffPage
        Any page of a series; the others have the same tags.
    axes : str
        Letters of the axes that a page has in its series.
    shape : sequence of int
        Size along each of them.

    Raises
    ------
    InputError
        They are of a kind that cannot be converted.
    """
    at = _sample_axis(page, axes)
    meaning = _meaning(page)
    if at is not None and axes[at] == "C" and meaning.convert is None:
        meaning = _Meaning(letter="C", count=meaning.count)  # The file says the same.
    letters, sizes = list(axes), list(shape)
    if at is None and meaning.count > 1:
        letters, sizes = [*letters, "S"], [*sizes, meaning.count]
    elif at is not None:
        sizes[at] = meaning.count
        if letters[at] == "S" or _is_colour(page):
            letters[at] = meaning.letter
    orientation = _orientation(page, letters)
    if colour.swaps_sides(orientation):
        y, x = letters.index("Y"), letters.index("X")
        sizes[y], sizes[x] = sizes[x], sizes[y]
    turned = f"It was turned by its orientation tag ({orientation})."
    messages = (meaning.message, turned if orientation != 1 else "")
    return PageSamples(
        axes="".join(letters),
        shape=tuple(sizes),
        dtype=np.dtype(meaning.dtype or page.dtype).newbyteorder("="),
        convert=meaning.convert,
        sample_axis=at,
        orientation=orientation,
        channels=meaning.channels,
        messages=tuple(message for message in messages if message),
    )


def _sample_axis(page: tifffile.TiffPage, axes: str) -> int | None:
    """Axis of the samples from the end, whatever letter the file gives it."""
    own = page.axes if len(page.axes) == len(axes) else axes
    return own.index("S") - len(axes) if "S" in own else None


def _orientation(page: tifffile.TiffPage, letters: Sequence[str]) -> int:
    value = page.tags.valueof(274, 1)
    known = value in range(1, 9) and {"Y", "X"} <= set(letters)
    return int(value) if known else 1


def _photometric(page: tifffile.TiffPage) -> int:
    """The interpretation that is stated; MinIsBlack where none is."""
    old_jpeg = page.compression == 6
    return int(page.photometric) if 262 in page.tags or old_jpeg else 1


def _is_colour(page: tifffile.TiffPage) -> bool:
    return _photometric(page) in {_CMYK, _YCBCR, *_LAB}


def _meaning(page: tifffile.TiffPage) -> _Meaning:
    kind, count = _photometric(page), page.samplesperpixel
    if kind == _PALETTE and count == 1 and page.colormap is not None:
        return _palette(page, colour.table_colours(page.colormap))
    if _is_colour(page):
        return _converted(page, kind)
    if kind == _RGB and count >= 3:
        return _rgb(page)
    if kind in _INTENSITIES:
        return _intensities(page, kind)
    raise InputError(
        f"{page.parent.filename} holds {_name(kind)} pixels of {count} samples, which "
        "cannot be converted; save it as grey or RGB."
    )


def _name(kind: int) -> str:
    try:
        return tifffile.PHOTOMETRIC(kind).name
    except ValueError:
        return f"PhotometricInterpretation {kind}"


def _has_alpha(page: tifffile.TiffPage) -> bool:
    """Whether the last sample, and no other, is an alpha."""
    extra = tuple(page.extrasamples)
    return len(extra) == 1 and extra[0] in _ALPHA


def _palette(page: tifffile.TiffPage, colours: NDArray[np.uint8]) -> _Meaning:
    """Intensities where the table only shows them in another colour; else RGB."""
    ramp = colour.ramp_colour(colours)
    if ramp is not None:
        packed = int.from_bytes(bytes([*ramp, 255]), "big", signed=True)
        grey = len(set(ramp)) == 1
        return _Meaning(
            channels=() if grey else (Channel(color=packed),),
            message=""
            if _by_instrument(page)
            else "Its palette is a ramp of one "
            "colour: the pixels are read as intensities.",
        )
    if _by_instrument(page) and colour.is_smooth(colours):
        return _Meaning(
            message="Its lookup table says how the pixels are shown and is left out: "
            "they are intensities.",
        )
    grey_table = (colours == colours[:, :1]).all()
    return _Meaning(
        count=1 if grey_table else 3,
        convert=partial(_looked_up, colours[:, 0] if grey_table else colours),
        dtype=np.uint8,
        message="The palette was applied: the indices are read as "
        f"{'grey' if grey_table else 'RGB'}.",
    )


def _looked_up(table: NDArray[np.uint8], indices: NDArray[Any]) -> NDArray[Any]:
    return table.take(indices, axis=0, mode="clip")


def _by_instrument(page: tifffile.TiffPage) -> bool:
    return any(getattr(page.parent, f"is_{name}") for name in _INSTRUMENTS)


def _rgb(page: tifffile.TiffPage) -> _Meaning:
    count = page.samplesperpixel
    if count == 3 or (count == 4 and _has_alpha(page)):
        return _Meaning(count=count)
    names = [Channel(name=name) for name in ("red", "green", "blue")]
    return _Meaning(
        letter="C",
        count=count,
        channels=(*names, *(Channel() for _ in range(count - 3))),
        message=f"It holds {count - 3} more samples than red, green and blue that are "
        f"no alpha: all {count} are read as channels.",
    )


def _intensities(page: tifffile.TiffPage, kind: int) -> _Meaning:
    """Grey, grey and alpha, or channels; MinIsWhite is turned."""
    count, alpha = page.samplesperpixel, page.samplesperpixel == 2 and _has_alpha(page)
    told = []
    if count > 1 and not alpha:
        told.append(f"Its {count} samples a pixel are no colours: they are channels.")
    convert = None
    if kind == _MIN_IS_WHITE:
        turned = page.dtype is not None and page.dtype.kind in "iu"
        if turned:
            invert = partial(colour.inverted, bits=_bits(page))
            convert = partial(_with_alpha, invert, 1) if alpha else invert
        told.append(
            "In the file 0 is white (MinIsWhite): "
            + ("black and white were exchanged." if turned else "it is kept so.")
        )
    return _Meaning(
        letter="S" if alpha else "C",
        count=count,
        convert=convert,
        message=" ".join(told),
    )


def _bits(page: tifffile.TiffPage) -> int:
    bits = page.bitspersample
    return int(bits if isinstance(bits, int) else max(bits))


def _converted(page: tifffile.TiffPage, kind: int) -> _Meaning:
    """Other colours than RGB, converted to it."""
    alpha = int(_has_alpha(page))
    inks = 4 if kind == _CMYK else 3
    decoded = page.compression in _JPEG and page.planarconfig == 1
    if kind == _YCBCR and decoded and not page.extrasamples:
        return _Meaning(count=page.samplesperpixel)
    whole = page.dtype in (np.dtype(np.uint8), np.dtype(np.uint16))
    foreign = kind == _CMYK and page.tags.valueof(332, 1) != 1
    if page.samplesperpixel != inks + alpha or not whole or foreign:
        raise InputError(
            f"{page.parent.filename} holds {_name(kind)} pixels of "
            f"{page.samplesperpixel} samples of {page.dtype}, which cannot be "
            "converted; save it as grey or RGB."
        )
    return _Meaning(
        count=3 + alpha,
        convert=partial(_with_alpha, _conversion(page, kind), inks),
        message=f"Its colours were converted from {_NAMES[kind]} to RGB.",
    )


def _with_alpha(
    convert: Callable[[NDArray[Any]], NDArray[Any]], count: int, pixels: NDArray[Any]
) -> NDArray[Any]:
    """Convert the first samples, and keep what follows them."""
    return np.concatenate([convert(pixels[..., :count]), pixels[..., count:]], axis=-1)


def _conversion(
    page: tifffile.TiffPage, kind: int
) -> Callable[[NDArray[Any]], NDArray[Any]]:
    if kind == _CMYK:
        return colour.rgb_from_cmyk
    if kind in _LAB:
        return partial(colour.rgb_from_lab, signed=_LAB[kind] == "CIELab")
    return partial(
        colour.rgb_from_ycbcr,
        coefficients=_rationals(page, 529, 3) or colour.YCBCR_COEFFICIENTS,
        reference=_rationals(page, 532, 6),
    )


def _rationals(page: tifffile.TiffPage, code: int, count: int) -> list[float] | None:
    """Numbers of a tag that are stored as fractions or as they are."""
    value = page.tags.valueof(code)
    if value is None or len(value) not in {count, 2 * count}:
        return None
    if len(value) == count:
        return [float(number) for number in value]
    pairs = zip(value[::2], value[1::2], strict=True)
    return [top / bottom if bottom else 0.0 for top, bottom in pairs]
