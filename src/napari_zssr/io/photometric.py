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
from napari_zssr.stack.image import Channel

Samples = NDArray[Any]
YCBCR_COEFFICIENTS = (0.299, 0.587, 0.114)
# White of ICC profiles (D50), and from it to linear sRGB, adapted after Bradford.
_WHITE = (0.96422, 1.0, 0.82521)
_XYZ_TO_SRGB = np.array(
    [
        [3.1338561, -1.6168667, -0.4906146],
        [-0.9787684, 1.9161415, 0.0334540],
        [0.0719453, -0.2289914, 1.4052427],
    ]
)


def inverted(pixels: Samples, bits: int) -> Samples:
    """Exchange black and white of integers.

    Parameters
    ----------
    pixels : ndarray of int
        Unsigned or signed.
    bits : int
        Bits that an unsigned value uses, at most those of its type.
    """
    most = -1 if pixels.dtype.kind == "i" else 2**bits - 1
    turned: Samples = np.subtract(most, pixels, dtype=pixels.dtype)
    return turned


def rgb_from_cmyk(inks: Samples) -> Samples:
    """Convert inks to RGB without colour management: each ink takes away its light.

    Parameters
    ----------
    inks : ndarray of uint8 or uint16
        C, M, Y and K along the last axis, 0 for no ink.
    """
    most = np.iinfo(inks.dtype).max
    light = most - inks.astype(np.float32)
    return _whole(light[..., :3] * light[..., 3:] / most, inks.dtype)


def rgb_from_ycbcr(
    pixels: Samples,
    coefficients: Sequence[float] = YCBCR_COEFFICIENTS,
    reference: Sequence[float] | None = None,
) -> Samples:
    """Convert luma and chroma to RGB.

    Parameters
    ----------
    pixels : ndarray of uint8 or uint16
        Y, Cb and Cr along the last axis.
    coefficients : sequence of float
        Share of red, green and blue in the luma.
    reference : sequence of float, optional
        Black and white of Y, Cb and Cr (``ReferenceBlackWhite``); the full range
        unless given.
    """
    most = np.iinfo(pixels.dtype).max
    middle = (most + 1) // 2
    ends = reference or (0, most, middle, most, middle, most)
    black, white = (np.array(ends[n::2], dtype=np.float32) for n in (0, 1))
    coded = np.array([most, most - middle, most - middle], dtype=np.float32)
    luma, blue, red = np.moveaxis((pixels - black) * coded / (white - black), -1, 0)
    of_red, of_green, of_blue = coefficients
    r = luma + red * (2 - 2 * of_red)
    b = luma + blue * (2 - 2 * of_blue)
    g = (luma - of_blue * b - of_red * r) / of_green
    return _whole(np.stack([r, g, b], axis=-1), pixels.dtype)


def rgb_from_lab(pixels: Samples, *, signed: bool) -> Samples:
    """Convert CIE L*a*b* (D50) to sRGB.

    Parameters
    ----------
    pixels : ndarray of uint8 or uint16
        L*, a* and b* along the last axis.
    signed : bool
        a* and b* are two's complement (CIELab); else they have an offset (ICCLab).
    """
    bits = 8 * pixels.dtype.itemsize
    step, middle = 2 ** (bits - 8), 2 ** (bits - 1)
    most = np.iinfo(pixels.dtype).max
    values = pixels.astype(np.float32)
    brightest = most if signed or bits == 8 else 255 * step
    chroma = values[..., 1:]
    chroma = (chroma + middle) % 2**bits - middle if signed else chroma - middle
    lightness = values[..., 0] * (100 / brightest)
    linear = _xyz_from_lab(lightness, chroma / step) @ _XYZ_TO_SRGB.T.astype(np.float32)
    return _whole(_srgb_curve(linear) * most, pixels.dtype)


def _xyz_from_lab(lightness: Samples, chroma: Samples) -> Samples:
    y = (lightness + 16) / 116
    cubed = np.stack([y + chroma[..., 0] / 500, y, y - chroma[..., 1] / 200], axis=-1)
    edge = 6 / 29
    ratios = np.where(cubed > edge, cubed**3, 3 * edge**2 * (cubed - 4 / 29))
    return ratios * np.array(_WHITE, dtype=np.float32)


def _srgb_curve(linear: Samples) -> Samples:
    light = np.clip(linear, 0, 1)
    return np.where(
        light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055
    )


def table_colours(table: Samples) -> Samples:
    """Entries of a ``ColorMap`` as 8-bit RGB, one row for each index.

    Parameters
    ----------
    table : ndarray
        Shape (3, n): red, green and blue of 16 bits. Some programs write 8 bits.
    """
    entries = np.asarray(table, dtype=np.uint16)
    return (entries if entries.max() <= 255 else entries >> 8).T.astype(np.uint8)


def ramp_colour(colours: Samples) -> tuple[int, int, int] | None:
    """Colour to which a table rises evenly from black; None if it does not.

    Parameters
    ----------
    colours : ndarray of uint8
        Shape (n, 3).
    """
    last = colours[-1]
    even = np.linspace(0, 1, len(colours))[:, None] * last
    if not last.any() or np.abs(colours - even).max() > 1:
        return None
    red, green, blue = (int(value) for value in last)
    return red, green, blue


def is_smooth(colours: Samples, step: int = 16) -> bool:
    """Whether neighbouring entries of a table are alike, its two ends aside.

    Indices into such a table are intensities in false colours, as of ImageJ's "Fire"
    or "HiLo"; the order of the colours of a quantised picture is arbitrary.
    """
    inner = colours[1:-1].astype(np.int16)
    return len(inner) > 1 and bool(np.abs(np.diff(inner, axis=0)).max() <= step)


def oriented(pixels: Samples, orientation: int, y: int, x: int) -> Samples:
    """Turn a picture upright.

    Parameters
    ----------
    pixels : ndarray
    orientation : int
        1 to 8, as in TIFF and EXIF.
    y, x : int
        Number of the axes of rows and columns.
    """
    if swaps_sides(orientation):
        pixels = pixels.swapaxes(y, x)
    if orientation in {3, 4, 7, 8}:
        pixels = np.flip(pixels, y)
    return np.flip(pixels, x) if orientation in {2, 3, 6, 7} else pixels


def swaps_sides(orientation: int) -> bool:
    """Whether rows become columns."""
    return orientation in {5, 6, 7, 8}


def _whole(values: Samples, dtype: np.dtype[Any]) -> Samples:
    """Round to integers of a type, kept within its range."""
    return np.clip(np.rint(values), 0, np.iinfo(dtype).max).astype(dtype)


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
        return oriented(pixels, self.orientation, y, x)


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
    if swaps_sides(orientation):
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
        return _palette(page, table_colours(page.colormap))
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
    ramp = ramp_colour(colours)
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
    if _by_instrument(page) and is_smooth(colours):
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
            invert = partial(inverted, bits=_bits(page))
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
        return rgb_from_cmyk
    if kind in _LAB:
        return partial(rgb_from_lab, signed=_LAB[kind] == "CIELab")
    return partial(
        rgb_from_ycbcr,
        coefficients=_rationals(page, 529, 3) or YCBCR_COEFFICIENTS,
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
