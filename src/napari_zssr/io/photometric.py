"""What the samples of a TIFF page are: grey, channels, a palette's indices, colours."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import IntEnum
from functools import partial
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray

from napari_zssr.errors import InputError
from napari_zssr.io.calibration import pack_color
from napari_zssr.stack.image import Channel

Samples = NDArray[Any]
Conversion = Callable[[Samples], Samples]

_INTERPRETATION, _ORIENTATION, _INK_SET = 262, 274, 332  # tags by number
_YCBCR_SHARES, _REFERENCE_BLACK_WHITE = 529, 532
_BLACK_IS_ZERO, _RGB, _PALETTE, _CMYK, _YCBCR = 1, 2, 3, 5, 6
_WHITE_IS_ZERO, _CIELAB, _ICCLAB = 0, 8, 9
_CONVERTED = {_CMYK: "CMYK", _YCBCR: "YCbCr", _CIELAB: "CIELab", _ICCLAB: "ICCLab"}
_INTENSITIES = {_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB, 4, 34892, 51177}
JPEG = {6, 7, 33007, 34892}
_ALPHA = {1, 2}
# Their lookup tables say how intensities are shown.
_INSTRUMENTS = ("imagej", "ome", "lsm", "stk", "fluoview", "micromanager")
_LARGEST_STEP = 16  # of neighbouring entries of a smooth lookup table

_YCBCR_COEFFICIENTS = (0.299, 0.587, 0.114)
# White of ICC profiles (D50), and from it to linear sRGB, adapted after Bradford.
_WHITE = (0.96422, 1.0, 0.82521)
_XYZ_TO_SRGB = np.array(
    [
        [3.1338561, -1.6168667, -0.4906146],
        [-0.9787684, 1.9161415, 0.0334540],
        [0.0719453, -0.2289914, 1.4052427],
    ]
)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PageSamples:
    """Axes, size and type of a page after the conversion of its samples."""

    axes: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    convert: Conversion | None = None  # of an array with the samples last
    sample_axis: int | None = None  # in the file, counted from the last axis
    orientation: int = 1  # 1 to 8, as in TIFF and EXIF
    channels: tuple[Channel, ...] = ()
    messages: tuple[str, ...] = ()

    @property
    def is_as_stored(self) -> bool:
        """Whether pixels need neither a conversion nor a rotation."""
        return self.convert is None and self.orientation == 1

    def __call__(self, pixels: Samples) -> Samples:
        """Convert and rotate pages, which may have more axes in front."""
        if self.convert is not None:
            axis = -1 if self.sample_axis is None else self.sample_axis
            pixels = self.convert(np.moveaxis(pixels, axis, -1))
            pixels = np.moveaxis(pixels, -1, axis)
        if self.orientation == 1:
            return pixels
        y, x = (self.axes.index(letter) - len(self.axes) for letter in "YX")
        return oriented(pixels, self.orientation, y, x)


def page_samples(
    page: tifffile.TiffPage, axes: str, shape: Sequence[int]
) -> PageSamples:
    """How a page's samples are converted; its axes and shape are those in a series."""
    stored_axes = page.axes if len(page.axes) == len(axes) else axes
    sample_axis = stored_axes.index("S") - len(axes) if "S" in stored_axes else None
    meaning = _interpret(page)
    letters, sizes = list(axes), list(shape)
    if sample_axis is None:
        if meaning.count > 1:
            letters, sizes = [*letters, "S"], [*sizes, meaning.count]
    else:
        if axes[sample_axis] == "C" and meaning.convert is None:
            meaning = _Meaning(letter="C", count=meaning.count)  # The file says so.
        sizes[sample_axis] = meaning.count
        if axes[sample_axis] == "S" or _photometric(page) in _CONVERTED:
            letters[sample_axis] = meaning.letter
    messages = [meaning.message] if meaning.message else []
    stated = page.tags.valueof(_ORIENTATION, 1)
    is_valid = stated in range(1, 9) and {"Y", "X"} <= set(letters)
    orientation = int(stated) if is_valid else 1
    if orientation != 1:
        messages.append(
            f"The image was rotated as its orientation tag says ({orientation})."
        )
    if swaps_axes(orientation):
        y, x = letters.index("Y"), letters.index("X")
        sizes[y], sizes[x] = sizes[x], sizes[y]
    return PageSamples(
        axes="".join(letters),
        shape=tuple(sizes),
        dtype=np.dtype(meaning.dtype or page.dtype).newbyteorder("="),
        convert=meaning.convert,
        sample_axis=sample_axis,
        orientation=orientation,
        channels=meaning.channels,
        messages=tuple(messages),
    )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Meaning:
    """What the samples of a pixel are; `count` is their number after conversion."""

    letter: str = "S"
    count: int = 1
    convert: Conversion | None = None
    dtype: Any = None
    channels: tuple[Channel, ...] = ()
    message: str = ""


def _interpret(page: tifffile.TiffPage) -> _Meaning:
    kind, count = _photometric(page), page.samplesperpixel
    if kind == _PALETTE and count == 1 and page.colormap is not None:
        return _palette(page)
    if kind in _CONVERTED:
        return _converted(page, kind)
    if kind == _RGB and count >= 3:
        return _rgb(page)
    if kind in _INTENSITIES:
        return _intensities(page, kind)
    raise _not_convertible(page, kind, f"{count} samples")


def _photometric(page: tifffile.TiffPage) -> int:
    """PhotometricInterpretation, black is zero where there is none."""
    is_old_jpeg = page.compression == 6
    is_stated = _INTERPRETATION in page.tags
    return int(page.photometric) if is_stated or is_old_jpeg else _BLACK_IS_ZERO


def _not_convertible(page: tifffile.TiffPage, kind: int, samples: str) -> InputError:
    name = enum_name(tifffile.PHOTOMETRIC, kind, "PhotometricInterpretation")
    return InputError(
        f"{page.parent.filename} contains {name} pixels of {samples}, which cannot be "
        "converted; save it as grey or RGB."
    )


def enum_name(enum: type[IntEnum], value: int, unknown: str) -> str:
    """Name of a tag's value; what to call it, and the number, where it has none."""
    try:
        return enum(value).name
    except ValueError:
        return f"{unknown} {value}"


def _palette(page: tifffile.TiffPage) -> _Meaning:
    """Intensities where the palette only shows them in colour; else grey or RGB."""
    # 16 bits per entry, of which some programs use only the lower 8.
    entries = np.asarray(page.colormap, dtype=np.uint16).T
    colours = (entries if entries.max() <= 255 else entries >> 8).astype(np.uint8)
    is_instrument = any(getattr(page.parent, f"is_{name}") for name in _INSTRUMENTS)
    if _is_ramp(colours):
        message = "The colour palette was ignored; the pixels were read as intensities."
        color = pack_color(colours[-1])
        return _Meaning(
            channels=() if np.ptp(colours[-1]) == 0 else (Channel(color=color),),
            message="" if is_instrument else message,
        )
    if is_instrument and _is_smooth(colours):
        return _Meaning(
            message=(
                "The lookup table was ignored; the pixels were read as intensities."
            ),
        )
    is_grey = bool((colours == colours[:, :1]).all())
    grey_or_rgb = colours[:, 0] if is_grey else colours
    return _Meaning(
        count=1 if is_grey else 3,
        convert=partial(np.take, grey_or_rgb, axis=0, mode="clip"),
        dtype=np.uint8,
        message=(
            "The colour palette was applied; the pixels were read as "
            f"{'grey' if is_grey else 'RGB'}."
        ),
    )


def _is_ramp(colours: NDArray[np.uint8]) -> bool:
    """Whether a table of shape (n, 3) rises evenly from black to one colour."""
    ramp = np.linspace(0, 1, len(colours))[:, None] * colours[-1]
    return bool(colours[-1].any() and np.abs(colours - ramp).max() <= 1)


def _is_smooth(colours: NDArray[np.uint8]) -> bool:
    """Whether neighbouring entries of a table are similar, its two ends aside.

    So are those of false colours ("Fire", "HiLo"), not those of a quantised picture.
    """
    steps = np.abs(np.diff(colours[1:-1].astype(np.int16), axis=0))
    return steps.size > 0 and bool(steps.max() <= _LARGEST_STEP)


def _has_alpha(page: tifffile.TiffPage) -> bool:
    """Whether the last sample, and no other, is an alpha."""
    extra = tuple(page.extrasamples)
    return len(extra) == 1 and extra[0] in _ALPHA


def _rgb(page: tifffile.TiffPage) -> _Meaning:
    count = page.samplesperpixel
    if count == 3 or (count == 4 and _has_alpha(page)):
        return _Meaning(count=count)
    names = ["red", "green", "blue", *[""] * (count - 3)]
    return _Meaning(
        letter="C",
        count=count,
        channels=tuple(Channel(name=name) for name in names),
        message=(
            f"The pixels have {count - 3} samples besides red, green and blue; all "
            f"{count} were read as channels."
        ),
    )


def _intensities(page: tifffile.TiffPage, kind: int) -> _Meaning:
    """Grey, grey and alpha, or channels; inverted where white is zero."""
    count = page.samplesperpixel
    is_alpha = count == 2 and _has_alpha(page)
    convert: Conversion | None = None
    messages = []
    if count > 1 and not is_alpha:
        messages = [
            f"The {count} samples per pixel were read as channels, not as colours."
        ]
    if kind == _WHITE_IS_ZERO:
        outcome = "the pixels were left as they are, so dark and bright are exchanged."
        if page.dtype is not None and page.dtype.kind in "iu":
            convert = partial(_inverted, bits=int(np.max(page.bitspersample)))
            convert = partial(_with_alpha, convert, 1) if is_alpha else convert
            outcome = "dark and bright were exchanged."
        messages.append(f"In the file, 0 is white (MinIsWhite); {outcome}")
    return _Meaning(
        letter="S" if is_alpha else "C",
        count=count,
        convert=convert,
        message=" ".join(messages),
    )


def _inverted(pixels: Samples, bits: int) -> Samples:
    """Exchange black and white of integers; unsigned ones use ``bits`` bits."""
    white = -1 if pixels.dtype.kind == "i" else 2**bits - 1
    inverted: Samples = np.subtract(white, pixels, dtype=pixels.dtype)
    return inverted


def _converted(page: tifffile.TiffPage, kind: int) -> _Meaning:
    """Other colours than RGB, converted to it."""
    alpha = int(_has_alpha(page))
    inks = 4 if kind == _CMYK else 3
    is_decoded = page.compression in JPEG and page.planarconfig == 1
    if kind == _YCBCR and is_decoded and not page.extrasamples:
        return _Meaning(count=page.samplesperpixel)
    has_other_inks = kind == _CMYK and page.tags.valueof(_INK_SET, 1) != 1
    is_convertible = page.dtype in (np.uint8, np.uint16) and not has_other_inks
    if page.samplesperpixel != inks + alpha or not is_convertible:
        raise _not_convertible(
            page, kind, f"{page.samplesperpixel} samples of {page.dtype}"
        )
    convert: Conversion = rgb_from_cmyk
    if kind == _YCBCR:
        convert = partial(
            rgb_from_ycbcr,
            coefficients=_rationals(page, _YCBCR_SHARES, 3) or _YCBCR_COEFFICIENTS,
            reference=_rationals(page, _REFERENCE_BLACK_WHITE, 6),
        )
    elif kind != _CMYK:
        convert = partial(rgb_from_lab, signed=kind == _CIELAB)
    return _Meaning(
        count=3 + alpha,
        convert=partial(_with_alpha, convert, inks),
        message=f"The colours were converted from {_CONVERTED[kind]} to RGB.",
    )


def _with_alpha(convert: Conversion, count: int, pixels: Samples) -> Samples:
    """Convert the first samples, and keep those after them."""
    return np.concatenate([convert(pixels[..., :count]), pixels[..., count:]], axis=-1)


def _rationals(page: tifffile.TiffPage, code: int, count: int) -> list[float] | None:
    """Numbers in a tag, stored as fractions or as they are."""
    value = page.tags.valueof(code)
    if value is None or len(value) not in {count, 2 * count}:
        return None
    if len(value) == count:
        return [float(number) for number in value]
    pairs = zip(value[::2], value[1::2], strict=True)
    return [top / bottom if bottom else 0.0 for top, bottom in pairs]


def rgb_from_cmyk(inks: Samples) -> Samples:
    """Convert 8 or 16-bit CMYK (..., 4) to RGB without colour management."""
    full = np.iinfo(inks.dtype).max
    light = full - inks.astype(np.float32)
    return _to_integer(light[..., :3] * light[..., 3:] / full, inks.dtype)


def rgb_from_ycbcr(
    pixels: Samples,
    coefficients: Sequence[float] = _YCBCR_COEFFICIENTS,
    reference: Sequence[float] | None = None,
) -> Samples:
    """Convert 8 or 16-bit luma and chroma (..., 3) to RGB.

    The coefficients are those of R, G, B in the luma, the reference black and white.
    """
    full = np.iinfo(pixels.dtype).max
    middle = (full + 1) // 2
    ends = reference or (0, full, middle, full, middle, full)
    black, white = (np.array(ends[n::2], dtype=np.float32) for n in (0, 1))
    coded = np.array([full, full - middle, full - middle], dtype=np.float32)
    luma, blue, red = np.moveaxis((pixels - black) * coded / (white - black), -1, 0)
    of_red, of_green, of_blue = coefficients
    r = luma + red * (2 - 2 * of_red)
    b = luma + blue * (2 - 2 * of_blue)
    g = (luma - of_blue * b - of_red * r) / of_green
    return _to_integer(np.stack([r, g, b], axis=-1), pixels.dtype)


def rgb_from_lab(pixels: Samples, *, signed: bool) -> Samples:
    """Convert 8 or 16-bit CIE L*a*b* (..., 3) under D50 to sRGB.

    a* and b* are two's complement if signed (CIELab), else have an offset (ICCLab).
    """
    bits = 8 * pixels.dtype.itemsize
    step, middle = 2 ** (bits - 8), 2 ** (bits - 1)
    full = np.iinfo(pixels.dtype).max
    values = pixels.astype(np.float32)
    lightness = values[..., 0] * (100 / (full if signed or bits == 8 else 255 * step))
    chroma = values[..., 1:]
    chroma = (chroma + middle) % 2**bits - middle if signed else chroma - middle
    a, b = np.moveaxis(chroma / step, -1, 0)
    y = (lightness + 16) / 116
    cubed = np.stack([y + a / 500, y, y - b / 200], axis=-1)
    edge = 6 / 29
    xyz = np.where(cubed > edge, cubed**3, 3 * edge**2 * (cubed - 4 / 29))
    xyz = xyz * np.array(_WHITE, dtype=np.float32)
    linear = np.clip(xyz @ _XYZ_TO_SRGB.T.astype(np.float32), 0, 1)
    curved = 1.055 * linear ** (1 / 2.4) - 0.055
    srgb = np.where(linear <= 0.0031308, 12.92 * linear, curved)
    return _to_integer(srgb * full, pixels.dtype)


def _to_integer(values: Samples, dtype: np.dtype[Any]) -> Samples:
    """Round to integers of a type, clipped to its range."""
    return np.clip(np.rint(values), 0, np.iinfo(dtype).max).astype(dtype)


def oriented(pixels: Samples, orientation: int, y: int, x: int) -> Samples:
    """Rotate a picture upright by its TIFF or EXIF orientation; y and x are axes."""
    if swaps_axes(orientation):
        pixels = pixels.swapaxes(y, x)
    if orientation in {3, 4, 7, 8}:
        pixels = np.flip(pixels, y)
    return np.flip(pixels, x) if orientation in {2, 3, 6, 7} else pixels


def swaps_axes(orientation: int) -> bool:
    """Whether rows become columns."""
    return orientation in {5, 6, 7, 8}
